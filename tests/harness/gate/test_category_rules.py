"""Rules over categories: each category, the worst category, and what cannot be decided."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.gate.decide import decide
from harness.gate.early_stop import EarlyStop
from harness.gate.opened_runs import Comparison
from harness.gate.policy import make_policy
from harness.gate.sequential import SequentialTest
from harness.run.stored_run import StoredRun
from harness.stats.worst_group import GroupSpec, worst_group_difference
from tests.support.gate_runs import NoData, write_head_to_head, write_run

N = 240
CATEGORIES = ("math", "code", "chat")
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}


def shares(seed, **shifts):
    """Shares in the order of the categories, shifted by category."""
    found = np.random.default_rng(seed).beta(1.0, 1.0, N) * 0.5 + 0.2
    return np.clip(found + [shifts.get(CATEGORIES[i % 3], 0.0) for i in range(N)], 0.0, 1.0).tolist()


def run(path, name, values, categories=CATEGORIES, **fields):
    return write_run(path / name, name, alpaca_eval=values, categories=categories, **fields)


@pytest.fixture
def old(tmp_path):
    return run(tmp_path, "old", shares(1, math=-0.1))


def gate(candidate, baseline, *rules, test=None, head_to_head=None, **fields):
    policy = make_policy({"rules": list(rules), **fields})
    return decide(policy, Comparison(candidate, baseline, NoData(), head_to_head), test)


def only(rule, category, values):
    return [v for i, v in enumerate(values) if CATEGORIES[i % 3] == category]


def test_each_is_the_rule_in_every_category(tmp_path, old):
    values = shares(2, math=-0.15, code=0.05)
    new = run(tmp_path, "new", values)
    each = gate(new, old, {"keep": WIN_RATE | {"margin": 15, "categories": "each"}})
    (rule,) = each.rules
    alone = {}
    for category in CATEGORIES:
        sides = [
            run(tmp_path, f"{name}-{category}", only(rule, category, side), (category,))
            for name, side in (("new", values), ("old", shares(1, math=-0.1)))
        ]
        (alone[category],) = gate(*sides, {"keep": WIN_RATE | {"margin": 15}}).rules
    assert rule.tested.p_pass == pytest.approx(max(r.tested.p_pass for r in alone.values()))
    assert rule.tested.p_fail == pytest.approx(min(1.0, 3 * min(r.tested.p_fail for r in alone.values())))
    assert rule.tested.difference.ci_low == pytest.approx(min(r.tested.difference.ci_low for r in alone.values()))
    listed = {c["category"]: c for c in rule.as_json()["categories"]}
    assert {c: listed[c]["effect"] for c in listed} == pytest.approx(
        {c: r.tested.difference.value for c, r in alone.items()}
    )
    assert each.decision == "pass"
    assert "kept within 15 in each of 3 categories" in rule.reason
    furthest = max(alone, key=lambda c: alone[c].tested.p_pass)
    assert f"{furthest} is furthest from passing" in rule.reason


def test_a_loss_in_one_category_fails_what_passes_overall(tmp_path, old):
    new = run(tmp_path, "new", shares(1, math=-0.25, code=0.1, chat=0.1))
    keep = {"margin": 5}
    assert gate(new, old, {"keep": WIN_RATE | keep}).decision == "pass"
    both = gate(new, old, {"keep": WIN_RATE | keep}, {"keep": WIN_RATE | keep | {"categories": "each"}})
    assert [r.decision for r in both.rules] == ["pass", "fail"]
    assert "keep alpaca_eval win_rate in each category: " in both.message
    assert "lost more than 5 in at least one category" in both.message


def test_every_kind_over_categories(tmp_path, old):
    new = run(tmp_path, "new", shares(2, math=0.2, code=0.3, chat=0.3))
    assert gate(new, old, {"improve": WIN_RATE | {"categories": "each"}}).decision == "pass"
    assert gate(old, new, {"improve": WIN_RATE | {"categories": "each"}}).decision == "fail"
    assert gate(new, None, {"limit": WIN_RATE | {"at_least": 50, "categories": "each"}}).decision == "pass"
    failed = gate(new, None, {"limit": WIN_RATE | {"at_least": 70, "categories": "each"}})
    assert failed.decision == "fail"
    assert "math is furthest from passing: on the wrong side in at least one category" in failed.message
    equal = {"equivalent": WIN_RATE | {"margin": 20, "categories": "each"}}
    near = run(tmp_path, "near", shares(3, math=-0.1))
    assert gate(near, old, equal).decision == "pass"
    assert gate(new, old, equal).decision == "fail"
    lower = {"improve": WIN_RATE | {"better": "lower", "categories": "each"}}
    assert gate(old, new, lower).decision == "pass"


def test_the_worst_category_is_the_figure_of_the_worst_of_each_run(tmp_path, old):
    # math rises and code becomes the worst: the worst figure gains less than math does
    values = shares(2, math=0.3, code=-0.02)
    new = run(tmp_path, "new", values)
    (rule,) = gate(new, old, {"improve": WIN_RATE | {"categories": "worst"}}).rules
    groups = [{c: 100 * np.array(only(rule, c, side)) for c in CATEGORIES} for side in (values, shares(1, math=-0.1))]
    expected = worst_group_difference(*groups, 0.0, GroupSpec(0.9, bounds=(0.0, 100.0)))
    assert rule.tested.p_pass == pytest.approx(expected.p_above)
    assert rule.tested.difference.value == pytest.approx(expected.estimate.value)
    assert "(code of the candidate)" in rule.reason
    lost = run(tmp_path, "lost", shares(2, math=0.3, code=-0.2))
    assert gate(lost, old, {"improve": WIN_RATE | {"categories": "worst"}}).decision == "fail"
    assert gate(lost, old, {"keep": WIN_RATE | {"categories": "worst", "margin": 30}}).decision == "pass"
    (mirrored,) = gate(old, lost, {"improve": WIN_RATE | {"categories": "worst", "better": "lower"}}).rules
    assert mirrored.tested.thresholds == (0.0,)


def test_head_to_head_by_category(tmp_path, old):
    new = run(tmp_path, "new", shares(2))
    direct = write_head_to_head(tmp_path / "direct", [(0.9, 0.8), (0.7, 0.7), (0.2, 0.3)] * 80, categories=CATEGORIES)
    rule = {"benchmark": "alpaca_eval", "metric": "head_to_head", "categories": "each"}
    decision = gate(new, old, {"keep": rule | {"margin": 1}}, head_to_head=direct)
    assert decision.decision == "fail"
    listed = {c["category"]: c["effect"] for c in decision.rules[0].as_json()["categories"]}
    assert listed == pytest.approx({"math": 35.0, "code": 20.0, "chat": -25.0})
    assert "no head-to-head run" in gate(new, old, {"keep": rule | {"margin": 1}}).message


def test_the_json(tmp_path, old):
    new = run(tmp_path, "new", shares(2, math=0.2))
    found = gate(
        new, old, {"improve": WIN_RATE | {"categories": "worst"}}, {"keep": WIN_RATE | {"margin": 9}}
    ).as_json()
    first, second = json.loads(json.dumps(found, allow_nan=False))["rules"]
    assert set(first) == set(second)
    assert (first["over_categories"], second["over_categories"], second["categories"]) == ("worst", None, None)
    assert [c["category"] for c in first["categories"]] == list(CATEGORIES)
    assert first["ci_low"] <= first["effect"] <= first["ci_high"]


def test_sequential_looks_once(tmp_path, old):
    new = run(tmp_path, "new", shares(2, math=0.3, code=0.3, chat=0.3))
    rule = {"improve": WIN_RATE | {"categories": "each"}}
    (decided,) = gate(new, old, rule, test=SequentialTest(1)).rules
    assert decided.decision == "pass"
    assert "needs all its prompts" in decided.sequential["because"]


def test_a_run_that_stopped_early_is_not_enough_and_one_at_its_end_is(tmp_path, old):
    better = shares(2, math=0.3, code=0.3, chat=0.3)
    rule = {"improve": WIN_RATE | {"categories": "each"}}
    early = run(tmp_path, "early", better, stopped=(5, 120))
    assert "a rule over categories needs all prompts" in gate(early, old, rule, test=SequentialTest(5)).message
    late = run(tmp_path, "late", better, stopped=(5, N))
    assert gate(late, old, rule, test=SequentialTest(5)).decision == "pass"


def test_early_stopping_waits_for_rules_over_categories(tmp_path, old):
    better = StoredRun.open(run(tmp_path, "new", shares(2, math=0.3, code=0.3, chat=0.3)))
    plain = {"improve": WIN_RATE}
    overs = {"improve": WIN_RATE | {"categories": "each"}}
    for rules, decided in (([plain], True), ([plain, overs], False)):
        stop = EarlyStop(make_policy({"rules": rules}), StoredRun.open(old), "alpaca_eval")
        assert stop.look(better.scores_of("alpaca_eval")).decided is decided


def test_planned_looks_leave_them_to_the_end(tmp_path, old):
    new = run(tmp_path, "new", shares(2, math=0.3, code=0.3, chat=0.3))
    rules = [{"improve": WIN_RATE}, {"improve": WIN_RATE | {"categories": "each"}}]
    decision = gate(new, old, *rules, method="group_sequential", looks=4)
    assert [r.decision for r in decision.rules] == ["pass", "pass"]
    assert decision.rules[0].sequential["n_used"] < N
    assert "in each of 3 categories" in decision.rules[1].reason


# ---- what cannot be decided


def test_categories_that_are_missing_or_too_small(tmp_path, old):
    rule = {"keep": WIN_RATE | {"margin": 5, "categories": "each"}}
    half = run(tmp_path, "half", shares(2), ("math", "code", None))
    assert "80 of 240 prompts have no category" in gate(half, old, rule).message
    one = [run(tmp_path, f"one{i}", shares(i), ("math",)) for i in (1, 2)]
    assert "all prompts are of the category math" in gate(*one, rule).message
    said = "too few prompts (math 80, code 80, chat 80), but the policy requires at least 100 in each category"
    assert said in gate(run(tmp_path, "new", shares(2)), old, rule, min_n=100).message


def test_a_category_of_one_prompt(tmp_path):
    categories = ["math"] * (N - 1) + ["odd"]
    sides = [run(tmp_path, f"r{i}", shares(i), categories) for i in (1, 2)]
    message = gate(*sides, {"keep": WIN_RATE | {"margin": 5, "categories": "worst", "min_n": 2}}).message
    assert "too few prompts (odd 1), but the policy requires at least 2 in each category" in message


def test_a_metric_without_values_by_category(tmp_path, old):
    new = run(tmp_path, "new", shares(2))
    fit = {"benchmark": "alpaca_eval", "metric": "length_controlled_win_rate", "categories": "each"}
    assert "is not a mean over prompts" in gate(new, old, {"improve": fit}).message
    unknown = {"benchmark": "alpaca_eval", "metric": "winrate", "categories": "each"}
    assert "did you mean win_rate" in gate(new, old, {"improve": unknown}).message
    assert "did you mean win_rate" in gate(new, None, {"limit": unknown | {"at_least": 4}}).message
    other = run(tmp_path, "other", shares(2), judge="another")
    assert "different judges" in gate(other, old, {"improve": WIN_RATE | {"categories": "each"}}).message
