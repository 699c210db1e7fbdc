"""Tipping points: the bias and the exchanged results that turn a decision, checked by deciding again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from harness.cli import main
from harness.gate.evidence import PairedUnits
from harness.gate.policy import Rule, make_policy
from harness.gate.rule import decide_units
from harness.gate.tipping import tipping_points
from tests.support.gate_runs import write_run

POLICY = make_policy({"rules": [{"improve": {"benchmark": "b", "metric": "m"}}]})


def units_of(first, second):
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    keys = tuple(str(i) for i in range(first.size))
    return PairedUnits(keys, first, second, first.size, first.size, {}, None, None, None, True)


def normal_units(gain, n=200, seed=0):
    rng = np.random.default_rng(seed)
    second = rng.normal(50, 20, n)
    return units_of(second + rng.normal(gain, 10, n), second)


def decided(units, kind="improve", **fields):
    return decide_units(kind, Rule(benchmark="b", metric="m", **fields), POLICY, units)


CASES = [
    ("improve", 3.0, {}, "pass"),
    ("improve", -3.0, {}, "fail"),
    ("improve", 0.2, {}, "undecided"),
    ("improve", -3.0, {"better": "lower"}, "pass"),
    ("keep", -0.5, {"margin": 3.0}, "pass"),
    ("keep", 0.0, {"margin": 4.0, "better": "neither"}, "pass"),
    ("keep", 8.0, {"margin": 4.0, "better": "neither"}, "fail"),
    ("keep", -4.0, {"margin": 4.0, "better": "neither"}, "undecided"),
]


@pytest.mark.parametrize(("kind", "gain", "fields", "now"), CASES)
def test_the_bias_turns_the_decision_and_a_smaller_one_does_not(kind, gain, fields, now):
    units = normal_units(gain)
    rule = decided(units, kind, **fields)
    assert rule.decision == now
    points = tipping_points(rule, POLICY)
    assert {p.decision for p in points} == {"pass", "fail", "undecided"} - {now}
    for point in points:
        without = replace(units, first=units.first - 1.0001 * point.bias)
        before = replace(units, first=units.first - 0.99 * point.bias)
        assert decided(without, kind, **fields).decision == point.decision
        assert decided(before, kind, **fields).decision != point.decision


@pytest.mark.parametrize(
    ("kind", "gain", "fields", "now"), [case for case in CASES if case[2].get("better") != "neither"]
)
def test_the_fewest_exchanges_by_trying_each_number(kind, gain, fields, now):
    units = normal_units(gain)
    order = {"fail": 0, "undecided": 1, "pass": 2}
    for point in tipping_points(decided(units, kind, **fields), POLICY):
        upwards = order[point.decision] > order[now]
        gains = (units.first - units.second) * (-1 if fields.get("better") == "lower" else 1)
        ranked = np.argsort(gains) if upwards else np.argsort(-gains)
        for n_exchanged in range(1, len(ranked)):
            first, second = units.first.copy(), units.second.copy()
            places = ranked[:n_exchanged]
            first[places], second[places] = units.second[places], units.first[places]
            place = order[decided(replace(units, first=first, second=second), kind, **fields).decision]
            if (place >= order[point.decision]) if upwards else (place <= order[point.decision]):
                break
        assert point.n_verdicts == n_exchanged


def test_by_hand_with_binary_results():
    """40 prompts, only the candidate right on 12, only the baseline on 2."""
    first = [100.0] * 12 + [0.0] * 2 + [100.0] * 26
    second = [0.0] * 12 + [100.0] * 2 + [100.0] * 26
    rule = decided(units_of(first, second))
    assert rule.decision == "pass"
    points = {p.decision: p for p in tipping_points(rule, POLICY)}
    assert 1 <= points["undecided"].n_verdicts < points["fail"].n_verdicts <= 12
    assert points["undecided"].bias > 0
    assert "favours the candidate" in points["undecided"].words(40)


def test_what_is_not_counted_has_a_reason():
    units = normal_units(3.0)
    for fields, changed, reason in (
        ({"margin": 4.0, "better": "neither"}, units, "neither rise nor fall"),
        ({"margin": 4.0}, replace(units, sequential=False), "weights"),
    ):
        points = tipping_points(decided(changed, "keep", **fields), POLICY)
        assert all(reason in p.reason and p.n_verdicts is None and p.bias is not None for p in points)
    assert tipping_points(decided(normal_units(3.0, n=5)), POLICY) == ()


def test_the_command(tmp_path, capsys):
    rng = np.random.default_rng(1)
    base = rng.beta(1, 1, 120) * 0.7
    for name, gain in (("old", 0.0), ("new", 0.08)):
        write_run(tmp_path / name, name, alpaca_eval=np.clip(base + gain + rng.normal(0, 0.1, 120), 0, 1).tolist())
    policy = tmp_path / "policy.yaml"
    policy.write_text(json.dumps({"rules": [{"improve": {"benchmark": "alpaca_eval", "metric": "win_rate"}}]}))
    sides = ["--candidate", str(tmp_path / "new"), "--baseline", str(tmp_path / "old"), "--policy", str(policy)]
    assert main(["gate", *sides, "--json"]) == 0
    tipping = json.loads(capsys.readouterr().out)["rules"][0]["tipping"]
    assert [point["decision"] for point in tipping] == ["fail", "undecided"]
    assert tipping[0]["bias"] > tipping[1]["bias"] > 0
    assert tipping[0]["n_verdicts"] > tipping[1]["n_verdicts"] > 0
    main(["gate", *sides])
    assert "what would turn" not in capsys.readouterr().out
    main(["gate", *sides, "--explain"])
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "what would turn improve alpaca_eval win_rate (pass) into fail: a judge that favours the candidate by" in said
    )
