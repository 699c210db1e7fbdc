"""`assay run --anchors N --anchor-run DIR`: stored answers are judged again, past the cache, and enter no figure."""

from __future__ import annotations

import json

import pytest

from tests.paths import needs_data

pytestmark = [pytest.mark.e2e, needs_data]


def test_two_runs_judge_the_same_stored_answers(assay, run_arguments, tmp_path):
    benchmarks = "mt_bench,alpaca_eval"
    assert assay(*run_arguments(limit=6, out="stored", benchmark=benchmarks))[0] == 0
    options = {"anchors": 3, "anchor_run": tmp_path / "stored", "benchmark": benchmarks}
    for out in ("a", "b"):
        status, found, err = assay(*run_arguments(limit=6, out=out, **options), "--json")
        assert status == 0, err
        assert json.loads(found)["canaries"] == []
    asked = [json.loads(line) for line in (tmp_path / "b" / "canaries.jsonl").read_text().splitlines()]
    assert {(j["benchmark"], j["meta"]["canary"]) for j in asked} == {("mt_bench", "anchor"), ("alpaca_eval", "anchor")}
    assert len({j["prompt_id"] for j in asked}) == 6
    assert not any(j.get("cached") for j in asked)  # the same questions are in the cache by now
    status, out, _ = assay("compare", tmp_path / "a", tmp_path / "b", "--json")
    drifts = {entry["benchmark"]: entry for entry in json.loads(out)["drift"]}
    assert {name: entry["n_prompts"] for name, entry in drifts.items()} == {"mt_bench": 3, "alpaca_eval": 3}
    assert all(entry["drift"] == 0.0 for entry in drifts.values())  # the scripted judge does not change
    again = assay(*run_arguments(limit=6, out="b", **options))[0]
    assert again == 0
    assert len((tmp_path / "b" / "canaries.jsonl").read_text().splitlines()) == len(asked)


def test_an_anchor_run_that_cannot_serve_is_refused_before_anything_is_spent(assay, run_arguments, tmp_path):
    status, _, err = assay(*run_arguments(out="x", anchors=3, anchor_run=tmp_path / "none"))
    assert status == 2
    assert "no run (no run.json)" in err
    assay(*run_arguments(limit=2, out="stored", benchmark="mt_bench"))
    arguments = run_arguments(limit=2, out="y", benchmark="alpaca_eval", anchors=3, anchor_run=tmp_path / "stored")
    status, _, err = assay(*arguments)
    assert status == 2
    assert "does not hold alpaca_eval" in err
    assert not (tmp_path / "y" / "responses.jsonl").exists()
