"""Tiers: what a critical, a supporting and an advisory rule does to the decision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.gate.combine import combine
from harness.gate.decide import decide
from harness.gate.decision import RuleDecision
from harness.gate.opened_runs import Comparison
from harness.gate.policy import make_policy
from tests.support.gate_runs import NoData, write_run

OUTCOMES = ("pass", "fail", "undecided", "invalid")


def rule(metric, **fields):
    return {"keep": {"benchmark": "b", "metric": metric, "margin": 1, **fields}}


def combined(policy, outcomes):
    """The policy's verdict where the rules' outcomes are given by metric."""

    def test(kind, asked, group, _):
        return RuleDecision(kind, asked, outcomes[asked.metric], "", group)

    return combine(policy, policy.rules, test).verdict(policy)


@pytest.mark.parametrize(("critical", "supporting", "advisory"), list(itertools.product(OUTCOMES, repeat=3)))
def test_every_combination(critical, supporting, advisory):
    policy = make_policy({"rules": [rule("c"), rule("s", tier="supporting"), rule("a", tier="advisory")]})
    found = combined(policy, {"c": critical, "s": supporting, "a": advisory})
    if "invalid" in (critical, supporting):
        assert found == "invalid"
    elif "fail" in (critical, supporting):
        assert found == "fail"
    else:
        assert found == critical


def test_on_undecided_of_the_policy_concerns_critical_rules():
    policy = make_policy({"rules": [rule("c"), rule("s", tier="supporting")], "on_undecided": "fail"})
    assert combined(policy, {"c": "pass", "s": "undecided"}) == "pass"
    assert combined(policy, {"c": "undecided", "s": "pass"}) == "fail"


@pytest.mark.parametrize(
    ("tier", "outcome", "verdict"),
    [
        ("critical", "fail", "fail"),
        ("supporting", "fail", "fail"),
        ("advisory", "fail", "pass"),
        ("critical", "undecided", "undecided"),
        ("supporting", "undecided", "pass"),
        ("advisory", "invalid", "pass"),
    ],
)
def test_a_group_has_one_tier(tier, outcome, verdict):
    policy = make_policy({"rules": [rule("c"), {"any": [rule("x"), rule("y")], "tier": tier}]})
    assert combined(policy, {"c": "pass", "x": outcome, "y": outcome}) == verdict


# ---- on runs

N = 200
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}
SCORE = {"benchmark": "mt_bench", "metric": "score"}


def shares(seed, shift=0.0):
    return np.clip(np.random.default_rng(seed).beta(1.0, 1.0, N) * 0.8 + shift, 0.0, 1.0).tolist()


@pytest.fixture
def sides(tmp_path):
    old = write_run(tmp_path / "old", "old", alpaca_eval=shares(1), mt_bench=[5.0, 6.0] * 40)
    new = write_run(tmp_path / "new", "new", alpaca_eval=shares(2, 0.2), mt_bench=[4.0, 5.5] * 40)
    return new, old


def gate(sides, *rules, **fields):
    return decide(make_policy({"rules": list(rules), **fields}), Comparison(*sides, NoData()))


def test_a_supporting_rule_that_is_shown_not_to_hold_blocks_and_is_named(sides):
    decision = gate(sides, {"improve": WIN_RATE}, {"keep": SCORE | {"margin": 0.2, "tier": "supporting"}})
    assert decision.exit_status == 1
    assert "keep mt_bench score (supporting)" in decision.message
    assert [r["tier"] for r in decision.as_json()["rules"]] == ["critical", "supporting"]


def test_an_undecided_supporting_rule_does_not_block_and_is_noted(sides):
    decision = gate(sides, {"improve": WIN_RATE}, {"keep": SCORE | {"margin": 0.75, "tier": "supporting"}})
    assert decision.rules[1].decision == "undecided"
    assert decision.exit_status == 0
    assert decision.message == "PASS: all 1 conditions hold, and no supporting rule of 1 is shown not to"
    assert decision.notes == ("not shown, and not shown to be violated (supporting): keep mt_bench score",)


def test_an_advisory_rule_is_reported_and_never_decides(sides):
    advisory = {"keep": SCORE | {"margin": 0.2, "tier": "advisory"}}
    unknown = {"keep": {"benchmark": "gsm8k", "metric": "exact_match", "margin": 1, "tier": "advisory"}}
    decision = gate(sides, {"improve": WIN_RATE}, advisory, unknown)
    assert [r.decision for r in decision.rules] == ["pass", "fail", "invalid"]
    assert decision.exit_status == 0
    assert "keep mt_bench score: fail; keep gsm8k exact_match: invalid" in decision.notes[0]


def test_something_critical_must_apply(sides):
    absent = {"keep": {"benchmark": "gsm8k", "metric": "exact_match", "margin": 1, "required": False}}
    decision = gate(sides, absent, {"improve": WIN_RATE | {"tier": "advisory"}})
    assert decision.exit_status == 4
    assert "no critical rule of the policy applies" in decision.message
