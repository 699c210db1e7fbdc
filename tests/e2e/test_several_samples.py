"""`assay run --samples N`: several answers a prompt; the first is judged, the diversity of all is measured."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from harness.data.store import DataStore
from harness.engines.base import Generation
from harness.engines.scripted import ScriptedEngine
from harness.stats.diversity import distinct_n, self_bleu, words
from tests.paths import MIRROR, needs_data

pytestmark = [pytest.mark.e2e, needs_data]

TEXTS = ("red green blue yellow", "red green blue black", "one two three four five")


@pytest.fixture(autouse=True)
def varied(monkeypatch):
    """Answers that hang on the sample's number, and the sampling each was asked with."""
    asked = []

    def generate(engine, requests):
        for request in requests:
            asked.append(request)
            number = int(request.request_id.rpartition(":")[2])
            text = "the same" if request.sampling.temperature == 0 else TEXTS[number]
            yield Generation(request.request_id, text, "stop", n_tokens=4, seed=request.sampling.seed)

    monkeypatch.setattr(ScriptedEngine, "generate", generate)
    return asked


def rows(out: str) -> dict[tuple[str, str], dict]:
    return {(r["benchmark"], r["metric"]): r for r in json.loads(out)["rows"]}


def test_the_first_is_judged_and_all_are_compared(assay, run_arguments, judge, varied, tmp_path):
    arguments = run_arguments(limit=4, benchmark="mt_bench,arena_hard", samples=3, temperature=0.8)
    status, out, err = assay(*arguments, "--json")
    assert status == 0, err
    assert len(judge.log) == 4 * 2 + 4 * 2, "only the first answers are judged"
    responses = [json.loads(line) for line in (tmp_path / "run" / "responses.jsonl").read_text().splitlines()]
    of_candidate = [r for r in responses if r["role"] == "candidate"]
    assert Counter(r["sample"] for r in of_candidate) == {0: 8, 1: 8, 2: 8}
    first_turns = [r for r in varied if len(r.messages) == 1]
    assert len({r.sampling.seed for r in first_turns}) == 3 * 8, "every answer has a random stream of its own"
    assert {r.sampling.temperature for r in varied} == {0.8}
    found = rows(out)
    split = [words(text) for text in TEXTS]
    assert found["arena_hard", "distinct_2"]["value"] == pytest.approx(distinct_n(split, 2))
    assert found["arena_hard", "self_bleu"]["value"] == pytest.approx(self_bleu(split))
    assert found["arena_hard", "distinct_1"]["n"] == 4
    both_turns = [words(f"{text}\n{text}") for text in TEXTS]
    assert found["mt_bench", "distinct_1"]["value"] == pytest.approx(distinct_n(both_turns, 1))
    assert found["mt_bench", "embedding_diversity"]["reason"]
    # again: nothing to do; scored anew: the same; as if there had been one sample: the same verdicts' figures
    n_asked = len(varied)
    assert assay("resume", tmp_path / "run", "--json")[0] == 0
    assert len(varied) == n_asked
    assert rows(assay("score", tmp_path / "run", "--json")[1]) == found
    status, alone, _ = assay(
        *run_arguments(limit=4, out="one", benchmark="mt_bench,arena_hard", temperature=0.8), "--json"
    )
    assert status == 0
    assert {k: r["value"] for k, r in rows(alone).items()} == {k: found[k]["value"] for k in rows(alone)}


def test_a_killed_run_draws_only_what_is_missing(assay, run_arguments, varied, tmp_path):
    arguments = run_arguments(limit=5, benchmark="arena_hard", samples=3, temperature=1.0)
    assert assay(*arguments)[0] == 0
    path = tmp_path / "run" / "responses.jsonl"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["role"] == "baseline" or json.loads(line)["sample"] != 1]
    path.write_text("\n".join(kept) + "\n")
    (tmp_path / "run" / "manifest.json").unlink()
    n_asked = len(varied)
    status, out, _ = assay(*arguments, "--json")
    assert status == 0
    assert [r.request_id.rpartition(":")[2] for r in varied[n_asked:]] == ["1"] * 5
    assert rows(out)["arena_hard", "distinct_1"]["n"] == 5


def test_another_temperature_is_another_run_and_no_fair_comparison(assay, run_arguments, tmp_path):
    assert assay(*run_arguments(limit=4, out="cool", benchmark="arena_hard", temperature=0.5))[0] == 0
    assert assay(*run_arguments(limit=4, out="warm", benchmark="arena_hard", temperature=1.0))[0] == 0
    status, _, err = assay(*run_arguments(limit=4, out="warm", benchmark="arena_hard", temperature=0.5))
    assert status == 1
    assert "temperature: was 1.0, now 0.5" in err
    (tmp_path / "p.yaml").write_text("min_n: 2\nrules:\n  - improve: {benchmark: arena_hard, metric: win_rate}\n")
    sides = ("--candidate", tmp_path / "warm", "--baseline", tmp_path / "cool")
    status, out, _ = assay("gate", *sides, "--policy", tmp_path / "p.yaml", "--json")
    assert status == 4
    assert (
        "different sampling: temperature is 1.0 for the candidate, 0.5 for the baseline" in json.loads(out)["message"]
    )


def test_one_sample_is_the_run_it_always_was():
    from harness.run.plan import make_plan
    from harness.spec import RunSpec

    spec = RunSpec(model="m", benchmarks=["arena_hard"], judge="openai:j", limit=2)
    assert "samples" not in spec.identity()
    assert spec.identity()["benchmarks"]["arena_hard"].keys() == {"name", "limit", "max_tokens"}
    plan = make_plan(spec, DataStore(MIRROR, None, True))
    planned = plan.benchmarks["arena_hard"]
    prompt = planned.prompts[0]
    assert planned.sampling(prompt, 0, 0) == planned.sampling(prompt, 0, 0, 0)
    assert planned.sampling(prompt, 0, 0).seed != planned.sampling(prompt, 0, 0, 1).seed
