"""A judge's parameters: what the spec sets is sent, what a server refuses is said, and nothing old changes its hash."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.errors import AuthenticationError, EndpointError, SpecError
from harness.protocols import JudgeContext, JudgeTask
from harness.records import Prompt, Response
from harness.run.plan import load_judge
from harness.spec import JudgeSpec, RunSpec, validated
from judges.llm import LLMJudge
from tests.paths import needs_data
from tests.support.judge_server import Answer, Call, Fault, JudgeServer, refuse
from tests.support.vendor_server import KEY, VendorServer

pytestmark = needs_data

PROMPT = Prompt(benchmark="b", version="1", key="1", turns=("Why?",))
TASK = JudgeTask(
    PROMPT, "rating", (Response(prompt_id="p", benchmark="b", model="m", model_id="i", turns=("Because.",)),)
)


def judge_of(
    data: Any, server: Any, forms: tuple[str, ...] = ("rating",), model: str = "openai:scripted", **fields: Any
):
    spec = validated(JudgeSpec, {"model": model, "base_url": server.base_url, **fields}, "judge")
    return load_judge(JudgeContext(spec, data, forms=forms))


def prepared(judge: LLMJudge, task: JudgeTask | None = None) -> Any:
    async def main() -> Any:
        try:
            await judge.prepare()
            return await judge.judge(task) if task else None
        finally:
            await judge.close()

    return asyncio.run(main())


def test_what_the_spec_sets_is_sent(data):
    fields = {"temperature": 0.3, "top_p": 0.9, "seed": 5, "reasoning_effort": "low", "max_completion_tokens": 77}
    with JudgeServer() as server:
        prepared(judge_of(data, server, **fields, extra_body={"chat_template_kwargs": {"thinking": True}}), TASK)
    (call,) = server.calls
    sent = {name: call.body.get(name) for name in fields}
    assert sent == fields and "max_tokens" not in call.body
    assert call.body["chat_template_kwargs"] == {"thinking": True}
    (probe,) = server.probes
    assert {name: probe.body.get(name) for name in ("temperature", "top_p", "seed", "reasoning_effort")} == {
        name: fields[name] for name in ("temperature", "top_p", "seed", "reasoning_effort")
    }
    assert probe.body["max_completion_tokens"] == 16, "the probe is small"


def test_specs_and_ids_without_the_new_fields_are_as_before(data):
    spec = JudgeSpec(model="openai:gpt-4")
    assert set(spec.model_dump()) == {
        *("model", "base_url", "api_key_env", "max_tokens", "temperature", "price", "options"),
        *("concurrency", "timeout_s", "give_up_after_s", "max_retries"),
    }
    run = RunSpec(model="m", benchmarks="mt_bench", judge=spec)
    assert run.spec_hash == "cd988b2cef93e418bcba", "as assay 0.1.0 made it"
    assert run.model_copy(update={"judge": JudgeSpec(model="openai:gpt-4", batch=True)}).spec_hash == run.spec_hash
    changed = JudgeSpec(model="openai:gpt-4", seed=1)
    assert run.model_copy(update={"judge": changed}).spec_hash != run.spec_hash


@pytest.mark.parametrize("field", [{"top_p": 0.5}, {"seed": 1}, {"reasoning_effort": "high"}, {"reasoning_tags": []}])
def test_every_parameter_is_part_of_the_judges_id(data, field):
    with JudgeServer() as server:
        assert judge_of(data, server).judge_id("rating") != judge_of(data, server, **field).judge_id("rating")


def test_extra_body_has_the_ids_that_options_had(data):
    old = JudgeSpec(model="openai:j", options={"top_k": 5})
    new = JudgeSpec(model="openai:j", extra_body={"top_k": 5})
    assert (
        RunSpec(model="m", benchmarks="b", judge=old).spec_hash
        == RunSpec(model="m", benchmarks="b", judge=new).spec_hash
    )


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("temprature", r"did you mean temperature \(--judge-temperature\)\?"),
        ("reasoning_efort", r"--judge-reasoning-effort"),
        ("guided_choice", "--judge-extra-body guided_choice=VALUE"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(data, option, words):
    with pytest.raises(SpecError, match=words):
        load_judge(JudgeContext(JudgeSpec(model="openai:j", options={option: 1}), data))


def test_impossible_combinations() -> None:
    with pytest.raises(SpecError, match="both max_tokens and max_completion_tokens"):
        validated(JudgeSpec, {"model": "openai:j", "max_tokens": 1, "max_completion_tokens": 1}, "judge")
    with pytest.raises(SpecError, match="both samples and probability"):
        validated(JudgeSpec, {"model": "openai:j", "samples": 4, "probability": "structured"}, "judge")


def test_a_model_that_takes_everything_is_asked_once(data):
    with JudgeServer() as server:
        prepared(judge_of(data, server, forms=("rating", "pairwise")))
        assert len(server.probes) == 1, "both forms send the same parameters"
        prepared(judge_of(data, server, forms=("rating", "alpaca_eval")))
        assert len(server.probes) == 3


@pytest.mark.parametrize("named", [True, False])
def test_a_refused_parameter_stops_the_run_before_it_begins(data, named):
    with JudgeServer(probe=refuse("temperature", named=named)) as server:
        with pytest.raises(EndpointError, match=r"temperature \(HTTP 400: Unsupported value: 'temperature'") as error:
            prepared(judge_of(data, server))
        assert "--judge-drop-unsupported" in error.value.remedy
        assert not server.calls
        prepared(judge_of(data, server, forms=()))  # nothing is known of the run's parameters


def test_refused_parameters_are_left_out_where_the_user_allows_it(data):
    with JudgeServer(probe=refuse("temperature", "seed")) as server:
        plain = judge_of(data, server, seed=3)
        judge = judge_of(data, server, seed=3, drop_unsupported=True)
        judgment = prepared(judge, TASK)
    (call,) = server.calls
    assert "temperature" not in call.body and "seed" not in call.body
    assert judgment.judge_id == judge.judge_id("rating") != plain.judge_id("rating")
    described = judge.describe()
    assert set(described["left_out"]) == {"temperature", "seed"}
    assert any("temperature is not sent" in words for words in described["deviations"])
    assert len(server.probes) == 3


def test_the_limit_on_tokens_gets_its_other_name_before_the_run(data):
    def wants_other_name(call: Call) -> str | Fault:
        words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return Fault(status=400, message=words, param="max_tokens") if "max_tokens" in call.body else "OK"

    with JudgeServer(probe=wants_other_name) as server:
        prepared(judge_of(data, server), TASK)
    assert server.calls[0].body["max_completion_tokens"] == 2048


def test_a_reasoning_model_that_cannot_finish_in_so_few_tokens(data):
    words = "Could not finish the message because max_tokens or model output limit was reached."
    with JudgeServer(probe=lambda call: Fault(status=400, message=words)) as server:
        assert prepared(judge_of(data, server), TASK).verdict.kind == "rating"


def test_a_refusal_of_something_else_is_shown(data):
    refusal = Fault(status=400, message="this model is for embeddings")
    with JudgeServer(probe=lambda call: refusal) as server, pytest.raises(EndpointError, match="is for embeddings"):
        prepared(judge_of(data, server))


@pytest.mark.parametrize("status", [404, 405, 500, 503])
def test_a_list_of_models_is_a_hint(data, status):
    with JudgeServer(models_status=status) as server:
        assert prepared(judge_of(data, server), TASK).verdict.kind == "rating"
    with JudgeServer(models=()) as server:
        assert prepared(judge_of(data, server), TASK).verdict.kind == "rating"


def test_a_model_that_is_not_listed_and_does_not_answer_is_named_with_the_nearest(data):
    with JudgeServer(models=("scripted-2",)) as server, pytest.raises(EndpointError) as error:
        prepared(judge_of(data, server))
    assert "has no model 'scripted'" in str(error.value) and "did you mean scripted-2" in str(error.value)


def test_the_judges_reasoning_is_kept_and_not_read(data):
    def reasons(call: Call) -> Answer:
        return Answer("<think>It could be [[3]].</think> Rating: [[7]]", n_reasoning_tokens=6)

    with JudgeServer(reasons) as server:
        judgment = prepared(judge_of(data, server), TASK)
    assert judgment.verdict.value == 7 and judgment.raw == "Rating: [[7]]"
    assert judgment.meta["reasoning"] == "It could be [[3]]."
    assert judgment.meta["n_reasoning_tokens"] == 6


def test_reasoning_that_is_cut_is_truncated(data):
    with JudgeServer(lambda call: Answer("<think>It could be [[3]].", finish="length")) as server:
        verdict = prepared(judge_of(data, server), TASK).verdict
    assert verdict.reason == "truncated"


@pytest.mark.parametrize(
    ("vendor", "variable"),
    [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("google", "GOOGLE_API_KEY")],
)
def test_vendors(data, vendor, variable, monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AuthenticationError, match=variable.replace("GOOGLE", "GEMINI")):
        prepared(load_judge(JudgeContext(JudgeSpec(model=f"{vendor}:m"), data)))
    monkeypatch.setenv(variable, KEY)
    with VendorServer(vendor) as server:
        judgment = prepared(judge_of(data, server, model=f"{vendor}:m"), TASK)
        assert judgment.verdict.kind == "rating"
        assert judgment.meta.get("reasoning", "") == (
            "" if vendor == "openai" else "It could be [[1]] or [[A]] or [[A>>B]]."
        )
        refusing = judge_of(data, server, model=f"{vendor}:m", seed=1)
        if vendor == "anthropic":  # documented as ignored, which is not said by the server
            with pytest.raises(EndpointError, match=r"seed \(ignored"):
                prepared(refusing)
        else:
            prepared(refusing)
    with VendorServer(vendor, refuses=("temperature",)) as server:
        dropped = judge_of(data, server, model=f"{vendor}:m", drop_unsupported=True)
        prepared(dropped, TASK)
        assert list(dropped.describe()["left_out"]) == ["temperature"]
