"""Sampling: half and half in temperature, each answer its own stream, nothing asked twice, nothing lost."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from harness.engines.scripted import ScriptedEngine, ScriptedOptions
from harness.errors import EndpointError, SpecError
from harness.messages import Message
from harness.spec import validated
from harness.store.align_directory import read_samples
from training.align.recipe import SamplingRecipe
from training.align.sampling import Drawing, draw, requests_for
from training.data.records import PromptItem


def items(n):
    return [PromptItem.of([Message("user", f"question {i}")]) for i in range(n)]


def reply(request):
    return f"  answer of {request.messages[-1].content} at {request.sampling.temperature} seed {request.sampling.seed} "


def drawing(responses=4, temperatures=(1.0, 0.7)):
    return Drawing(responses, temperatures, 64, seed=5)


@pytest.mark.parametrize("n", [2, 4, 6, 8, 16])
def test_responses_are_half_and_half(n):
    asked = requests_for(items(3), drawing(n)).values()
    temperatures = Counter((item.key, request.sampling.temperature) for item, _, request in asked)
    assert set(temperatures.values()) == {n // 2}
    assert {t for _, t in temperatures} == {1.0, 0.7}
    assert all(r.sampling.top_p == 1.0 and r.sampling.max_tokens == 64 for _, _, r in asked)


@pytest.mark.parametrize("n", [3, 5, 7])
def test_an_odd_number_of_responses_is_refused(n):
    with pytest.raises(SpecError, match=r"responses: .*multiple of 2"):
        validated(SamplingRecipe, {"responses": n, "prompts": "p.jsonl"}, "recipe")


def test_every_answer_has_a_stream_of_its_own_that_other_prompts_do_not_change():
    all_seeds = {name: r.sampling.seed for name, (_, _, r) in requests_for(items(50), drawing(8)).items()}
    assert len(set(all_seeds.values())) == 400
    one = {name: r.sampling.seed for name, (_, _, r) in requests_for(items(50)[7:8], drawing(8)).items()}
    assert one.items() <= all_seeds.items()
    other = requests_for(items(1), Drawing(8, (1.0, 0.7), 64, seed=6))
    assert {r.sampling.seed for _, _, r in other.values()}.isdisjoint(all_seeds.values())


def test_answers_are_stored_as_they_were_given(tmp_path):
    draw(items(2), drawing(), tmp_path, lambda: ScriptedEngine(ScriptedOptions(replies=reply)))
    samples = list(read_samples(tmp_path))
    assert len(samples) == 8
    for sample in samples:
        assert sample.response == sample.response.strip() and sample.drawn == f"  {sample.response} "
        assert f"at {sample.temperature}" in sample.response
        assert sample.n_chars == len(sample.response)
        assert sample.finish == "stop" and sample.n_tokens == len(sample.response.split())


def test_a_stopped_stage_asks_only_for_what_is_missing(tmp_path):
    prompts, whole = items(6), tmp_path / "whole"
    draw(prompts, drawing(), whole, lambda: ScriptedEngine(ScriptedOptions(replies=reply)))
    out, asked = tmp_path / "stopped", []
    for fail_after in (3, 0, 10, 10, None):
        engine = ScriptedEngine(ScriptedOptions(replies=reply, fail_after=fail_after))
        try:
            draw(prompts, drawing(), out, lambda engine=engine: engine)
        except EndpointError:
            with (out / "samples.jsonl").open("a") as file:
                file.write('{"prompt_key": "torn')  # what a kill in the middle of a line leaves
        asked += [request.request_id for request in engine.requests]
    assert len(asked) == len(set(asked)) == 24
    assert {(s.prompt_key, s.sample): s for s in read_samples(out)} == {
        (s.prompt_key, s.sample): s for s in read_samples(whole)
    }
    lines = (out / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 24 and all(json.loads(line) for line in lines)


def test_a_complete_stage_loads_no_engine(tmp_path):
    draw(items(2), drawing(), tmp_path, lambda: ScriptedEngine(ScriptedOptions(replies=reply)))
    draw(items(2), drawing(), tmp_path, lambda: pytest.fail("the engine was loaded"))


@pytest.mark.parametrize("n", [1, 5, 7])
@pytest.mark.parametrize("n_workers", [1, 2, 3, 4, 9])
def test_workers_together_draw_what_one_would(tmp_path, n, n_workers):
    def load():
        return ScriptedEngine(ScriptedOptions(replies=reply))

    draw(items(n), drawing(), tmp_path / "one", load)
    for worker in range(n_workers):
        draw(items(n), drawing(), tmp_path / "several", load, worker=worker, n_workers=n_workers)
    one, several = ({(s.prompt_key, s.sample): s for s in read_samples(tmp_path / name)} for name in ("one", "several"))
    assert one == several and len(one) == 4 * n


def test_another_number_of_workers_goes_on_with_what_is_there(tmp_path):
    prompts, asked = items(9), []
    for worker, n_workers in ((0, 3), (2, 3), (1, 2), (0, 2), (0, 1)):
        engine = ScriptedEngine(ScriptedOptions(replies=reply))
        draw(prompts, drawing(), tmp_path, lambda engine=engine: engine, worker=worker, n_workers=n_workers)
        asked += [request.request_id for request in engine.requests]
    assert len(asked) == len(set(asked)) == 36


def test_a_fault_is_no_answer_and_is_tried_again(tmp_path):
    prompts = items(3)
    errors = {"question 1": "the prompt is too long"}
    draw(prompts, drawing(), tmp_path, lambda: ScriptedEngine(ScriptedOptions(replies=reply, errors=errors)))
    failed = [s for s in read_samples(tmp_path) if s.finish == "error"]
    assert len(failed) == 4 and all(s.response == "" and "too long" in s.error for s in failed)
    engine = ScriptedEngine(ScriptedOptions(replies=reply))
    draw(prompts, drawing(), tmp_path, lambda: engine)
    assert len(engine.requests) == 4
    assert all(s.finish == "stop" for s in read_samples(tmp_path))
