"""Run specs: unknown fields are refused with the nearest known one, and identity leaves out how requests are made."""

from __future__ import annotations

import pytest

from harness.errors import MissingDataError, SpecError
from harness.spec import RunSpec, differing_fields, load_spec, validated

VALUES = {
    "model": {"path": "models/tiny", "engine": "hf"},
    "benchmarks": ["mt_bench", {"name": "alpaca_eval", "limit": 10}],
    "judge": {"model": "openai:gpt-4.1"},
}


def spec(**changes) -> RunSpec:
    return validated(RunSpec, {**VALUES, **changes}, "test")


def test_a_name_is_enough():
    made = validated(
        RunSpec, {"model": "models/tiny", "benchmarks": "mt_bench, arena_hard", "judge": "openai:x:y"}, "t"
    )
    assert [b.name for b in made.benchmarks] == ["mt_bench", "arena_hard"]
    assert (made.model.path, made.model.engine, made.model.display_name) == ("models/tiny", "hf", "tiny")
    assert (made.judge.kind, made.judge.model_name) == ("openai", "x:y")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": []}, "unknown field 'benchmark', did you mean 'benchmarks'?"),
        ({"judge": {"model": "openai:x", "base_ulr": "u"}}, "unknown field 'judge.base_ulr', did you mean 'base_url'?"),
        ({"benchmarks": [{"name": "a", "limt": 3}]}, "unknown field 'benchmarks.0.limt', did you mean 'limit'?"),
        ({"judge": "gpt-4"}, "judge.model"),
        ({"limit": 0}, "limit"),
        ({"first": 0}, "first"),
        ({"limit": 5, "first": 5}, "both limit and first are set; leave one out"),
        ({"benchmarks": [{"name": "a", "limit": 5, "first": 5}]}, "both limit and first are set; leave one out"),
        ({"max_unscored": 2}, "max_unscored"),
        ({"benchmarks": ["mt_bench", "mt_bench"]}, "benchmark named twice: mt_bench"),
        ({"benchmarks": []}, "benchmarks"),
    ],
)
def test_wrong_fields(changes, message):
    with pytest.raises(SpecError) as caught:
        spec(**changes)
    assert message in str(caught.value)


def test_a_missing_field_is_named():
    with pytest.raises(SpecError, match="field 'model' is missing"):
        validated(RunSpec, {"benchmarks": ["mt_bench"]}, "test")


def test_identity_leaves_out_how_requests_are_made():
    moved = spec(
        judge={"model": "openai:gpt-4.1", "base_url": "http://localhost:1/v1", "concurrency": 2, "timeout_s": 5}
    )
    assert moved.spec_hash == spec().spec_hash
    assert spec(judge={"model": "openai:gpt-4.1", "temperature": 1.0}).spec_hash != spec().spec_hash
    assert spec(seed=1).spec_hash != spec().spec_hash


def test_the_first_prompts_are_what_limit_meant_in_0_1_0():
    """Neither the hash nor what is stored of a spec without either has changed; a run of 0.1.0 keeps its meaning."""
    plain = spec(benchmarks=["mt_bench", "alpaca_eval"])
    assert plain.spec_hash == "ecd92de93c713e6b2863"
    assert "first" not in plain.model_dump() | plain.model_dump()["benchmarks"][0]
    old = {"benchmarks": ["mt_bench", {"name": "alpaca_eval", "limit": 10}], "limit": 5}
    new = {"benchmarks": ["mt_bench", {"name": "alpaca_eval", "first": 10}], "first": 5}
    assert spec(**new).spec_hash == "22590ee12895392af4c5"
    assert spec(**old).with_first_for_limit() == spec(**new)
    assert spec(**old).identity()["limit"] == "5 at random"


def test_differences_are_named():
    differences = differing_fields(spec().identity(), spec(seed=1, limit=5).identity())
    assert differences == ["limit: was None, now '5 at random'", "seed: was 0, now 1"]


def test_files(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("model: models/tiny\nbenchmarks: [mt_bench]\njudge: openai:gpt-4.1\n")
    assert load_spec(path).benchmarks[0].name == "mt_bench"
    with pytest.raises(MissingDataError, match="no such file"):
        load_spec(tmp_path / "nope.yaml")
    path.write_text("model: [")
    with pytest.raises(SpecError, match="is not YAML"):
        load_spec(path)
    path.write_text("- a\n")
    with pytest.raises(SpecError, match="holds a list"):
        load_spec(path)
