"""Anchors: stored answers judged again in every run, the drift between two runs, and what the gate makes of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.cli import main
from harness.errors import SpecError
from harness.records import Judgment, Preference, Rating
from harness.run.anchors import judge_drifts
from harness.spec import RunSpec, validated
from harness.store.run_directory import RunDirectory, RunWriter
from tests.support.gate_runs import alpaca_prompt, write_run

N = 120


def ask_anchors(path, shares, *, order=("candidate", "baseline"), verdict=None):
    """Add verdicts on anchors to a run: the candidate's share on each prompt."""
    with RunWriter(path) as writer:
        writer.reopen()
        for i, share in enumerate(shares):
            prompt = alpaca_prompt(1000 + i)
            found = (
                Preference(p_first=share if order[0] == "candidate" else 1.0 - share) if verdict is None else verdict
            )
            about = {"judge": "judge", "judge_id": "judge", "benchmark": "alpaca_eval", "prompt_id": prompt.id}
            names = {"candidate": "stored", "baseline": "other"}
            answers = tuple(f"{names[role]} {i}" for role in order)
            writer.append_canary(
                Judgment(**about, response_ids=answers, order=order, verdict=found, meta={"canary": "anchor"})
            )
        writer.write_manifest()


def pair(tmp_path, gain, drift, errors=None):
    """Two runs whose candidate's win shares differ by `gain`, with anchors that differ by `drift` and these errors."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.6, N)
    paths = {}
    for name, own in (("old", 0.0), ("new", gain)):
        shares = np.clip(base + own + rng.normal(0, 0.05, N), 0, 1).tolist()
        paths[name] = write_run(tmp_path / name, name, alpaca_eval=shares)
    errors = rng.normal(0, 0.02, 60) if errors is None else np.asarray(errors)
    stored = rng.uniform(0.3, 0.6, errors.size)
    ask_anchors(paths["old"], stored.tolist())
    ask_anchors(paths["new"], (stored + drift + errors).tolist())
    return paths["new"], paths["old"]


def gate(paths, tmp_path, capsys, rule=None):
    rule = rule or {"improve": {"benchmark": "alpaca_eval", "metric": "win_rate"}}
    (tmp_path / "policy.yaml").write_text(json.dumps({"rules": [rule]}))
    sides = ["--candidate", str(paths[0]), "--baseline", str(paths[1]), "--policy", str(tmp_path / "policy.yaml")]
    status = main(["gate", *sides, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_drift_by_hand(tmp_path):
    first, second = (write_run(tmp_path / name, name, alpaca_eval=[0.5] * 9 + [0.6]) for name in ("a", "b"))
    ask_anchors(first, [0.5, 0.7, 0.9])
    ask_anchors(second, [0.4, 0.4, 0.4, 0.1])
    (found,) = judge_drifts(RunDirectory(first), RunDirectory(second))
    assert found.difference.value == pytest.approx(100 * (0.1 + 0.3 + 0.5) / 3)
    assert found.difference.n_clusters == 3
    (mirrored,) = judge_drifts(RunDirectory(second), RunDirectory(first))
    assert mirrored.difference.value == pytest.approx(-found.difference.value)


def test_both_orders_count_for_the_candidate_and_ratings_in_their_points(tmp_path):
    first, second = (write_run(tmp_path / name, name, alpaca_eval=[0.5] * 9 + [0.6]) for name in ("a", "b"))
    for path, share in ((first, 0.8), (second, 0.6)):
        ask_anchors(path, [share, share, share], order=("baseline", "candidate"))
    (found,) = judge_drifts(RunDirectory(first), RunDirectory(second))
    assert found.difference.value == pytest.approx(20.0)
    for path, value in ((first, 7.0), (second, 5.5)):
        ask_anchors(path, [0.5] * 3, order=("candidate",), verdict=Rating(value=value, low=1, high=10))
    found = judge_drifts(RunDirectory(first), RunDirectory(second))[0]
    assert found.difference.value == pytest.approx((20.0 + 1.5) / 2)


def test_without_anchors_there_is_no_drift(tmp_path, capsys):
    paths = [
        write_run(tmp_path / n, n, alpaca_eval=np.linspace(0.1, 0.9, N).tolist()[:: (1 if n == "a" else -1)])
        for n in "ab"
    ]
    assert judge_drifts(RunDirectory(paths[0]), RunDirectory(paths[1])) == []
    _, found = gate(paths, tmp_path, capsys)
    assert found["drift"] == []


def test_a_drift_that_explains_the_decision_makes_it_invalid(tmp_path, capsys):
    status, found = gate(pair(tmp_path, gain=0.05, drift=0.06), tmp_path, capsys)
    assert (status, found["decision"]) == (4, "invalid")
    assert "enough to explain its decision (pass)" in found["message"]
    assert found["rules"][0]["decision"] == "pass"
    assert found["drift"][0]["ci_low"] > 0


def test_a_large_gain_survives_a_small_drift(tmp_path, capsys):
    status, found = gate(pair(tmp_path, gain=0.15, drift=0.03), tmp_path, capsys)
    assert (status, found["decision"]) == (0, "pass")
    assert any("the judge changed between the runs" in note for note in found["notes"])


def test_a_drift_against_the_decision_does_not_matter(tmp_path, capsys):
    status, _ = gate(pair(tmp_path, gain=0.05, drift=-0.06), tmp_path, capsys)
    assert status == 0


def test_few_anchors_are_a_warning(tmp_path, capsys):
    paths = pair(tmp_path, gain=0.03, drift=0.0, errors=[0.1, -0.08, 0.05, -0.06, 0.02])
    status, found = gate(paths, tmp_path, capsys)
    assert status == 0
    assert any("more anchors" in note for note in found["notes"])


def test_a_rule_on_lengths_is_not_the_judges(tmp_path, capsys):
    rule = {"keep": {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": 5, "better": "neither"}}
    status, found = gate(pair(tmp_path, gain=0.05, drift=0.06), tmp_path, capsys, rule)
    assert (status, found["decision"]) == (0, "pass")


def test_compare_states_the_drift(tmp_path, capsys):
    first, second = pair(tmp_path, gain=0.05, drift=0.06)
    assert main(["compare", str(first), str(second), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["drift"]
    assert found["benchmark"] == "alpaca_eval"
    assert found["drift"] == pytest.approx(6.0, abs=1.0)
    main(["compare", str(first), str(second)])
    assert "the judge changed between the runs" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("fields", [{"anchors": 5}, {"anchor_run": "runs/a"}])
def test_anchors_need_a_run_and_a_number(fields):
    with pytest.raises(SpecError, match="anchor"):
        validated(RunSpec, {"model": "m", "benchmarks": ["mt_bench"], **fields}, "spec")


def test_anchors_are_no_part_of_the_identity():
    plain = {"model": "m", "benchmarks": ["mt_bench"], "judge": "openai:j"}
    with_anchors = {**plain, "anchors": 5, "anchor_run": "runs/a"}
    first, second = (validated(RunSpec, fields, "spec") for fields in (plain, with_anchors))
    assert first.spec_hash == second.spec_hash
