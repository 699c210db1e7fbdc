"""Rules at planned looks: the same test on the first prompts, its p-value against the look's level, what is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.errors import FileFormatError, UsageError
from harness.gate.decide import decide
from harness.gate.evidence import PairedUnits
from harness.gate.look_plan import LookPlan
from harness.gate.opened_runs import Comparison
from harness.gate.order import random_order
from harness.gate.policy import make_policy
from harness.gate.testing import paired_test
from harness.run.stored_run import StoredRun
from harness.stats.error_spending import Spending
from harness.stats.group_sequential import spending_bounds
from tests.support.gate_runs import NoData, write_head_to_head, write_run

N = 300
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}
LENGTH = {"benchmark": "alpaca_eval", "metric": "avg_length"}
IMPROVE = {"improve": WIN_RATE}


def shares(seed, shift=0.0, n=N):
    return np.clip(np.random.default_rng(seed).uniform(0, 0.8, n) + shift, 0, 1).tolist()


def planned(*rules, **fields):
    return make_policy({"rules": list(rules) or [IMPROVE], "method": "group_sequential", **fields})


@pytest.fixture
def runs(tmp_path):
    old = write_run(tmp_path / "old", "old", alpaca_eval=shares(1))
    new = write_run(tmp_path / "new", "new", alpaca_eval=shares(2, 0.1))
    return new, old


def decided(runs, policy, test=None, **fields):
    return decide(policy, Comparison(*runs, NoData(), **fields), test)


def test_the_first_look_whose_p_value_is_below_its_level_decides(runs):
    (rule,) = decided(runs, planned(), seed=3).rules
    # by hand: the fixed test on the first prompts of the order, against the levels of the bounds
    candidate, baseline = (StoredRun.open(run) for run in runs)
    order = random_order([p.cluster for p in candidate.prompts.values()], 3)
    items = [run.benchmark("alpaca_eval").items("win_rate", run.scores) for run in (candidate, baseline)]
    values = [{s.cluster: side.scale * s.value for s in side.scores} for side in items]
    levels = spending_bounds([k / 10 for k in range(1, 11)], Spending("hwang_shih_decani", -4.0), 0.05).levels
    for k, level in enumerate(levels):
        first, second = (np.array([side[key] for key in order[: 30 * (k + 1)]]) for side in values)
        units = PairedUnits(tuple(order[: 30 * (k + 1)]), first, second, 0, 0, {}, 100.0, 0.0, 100.0, True)
        tested = paired_test("improve", planned().rules[0].improve, planned(), units)
        assert rule.sequential["looks"][k]["p_pass"] == pytest.approx(tested.p_pass, rel=1e-9)
        assert rule.sequential["looks"][k]["level_pass"] == pytest.approx(level, rel=1e-6)
        if tested.p_pass <= level:
            break
    assert rule.decision == "pass"
    assert rule.sequential["n_used"] == 30 * (k + 1) < N
    assert len(rule.sequential["looks"]) == k + 1
    # the repeated interval is the test's own at the look's level
    low = tested.difference.value - stats.t.isf(level, units.first.size - 1) * tested.difference.stderr
    assert rule.sequential["repeated_interval"][0] == pytest.approx(low, abs=0.3)
    assert 0.0 < rule.tested.difference.ci_low == rule.sequential["repeated_interval"][0]
    assert rule.tested.p_pass <= 0.05
    assert f"{30 * (k + 1)} of {N} prompts" in rule.reason
    assert "median-unbiased estimate" in rule.reason


def test_the_estimate_is_drawn_towards_the_threshold(runs):
    (rule,) = decided(runs, planned(spending="pocock")).rules
    found = rule.sequential
    assert found["n_used"] < N
    assert found["interval"][0] < found["median_unbiased"] < found["interval"][1]
    assert found["median_unbiased"] < rule.tested.difference.value
    assert found["interval"][0] > 0.0


def test_a_worse_candidate_fails_early(runs):
    (rule,) = decided(runs[::-1], planned()).rules
    assert rule.decision == "fail"
    assert rule.sequential["n_used"] < N
    assert rule.tested.p_fail <= 0.05
    assert rule.tested.p_pass > 0.9


def test_nothing_decided_is_undecided_after_all_prompts(tmp_path, runs):
    same = write_run(tmp_path / "same", "same", alpaca_eval=shares(5))
    (rule,) = decided((same, runs[1]), planned()).rules
    assert (rule.decision, rule.sequential["n_used"]) == ("undecided", N)
    assert rule.tested.p_pass > 0.05
    assert rule.tested.p_fail > 0.05


def test_one_look_is_the_fixed_gate(runs):
    one, fixed = decided(runs, planned(looks=1)).rules[0], decided(runs, make_policy({"rules": [IMPROVE]})).rules[0]
    assert one.decision == fixed.decision
    assert one.tested.p_pass == pytest.approx(fixed.tested.p_pass, abs=1e-9)
    assert one.tested.difference.ci_low == pytest.approx(fixed.tested.difference.ci_low, abs=1e-6)
    assert one.sequential["median_unbiased"] == pytest.approx(fixed.tested.difference.value, abs=1e-5)


def test_lengths_relative_margins_and_head_to_head_are_looked_at(tmp_path, runs):
    rules = (
        {"keep": {**LENGTH, "margin": "20%", "better": "neither"}},
        {"limit": {**LENGTH, "at_most": 24}},
        {"improve": {"benchmark": "alpaca_eval", "metric": "head_to_head"}},
    )
    rng = np.random.default_rng(8)
    direct = write_head_to_head(tmp_path / "direct", [tuple(rng.uniform(0.3, 1.0, 2).tolist()) for _ in range(N)])
    decision = decided(runs, planned(*rules), head_to_head=direct)
    assert decision.decision == "pass"
    for rule in decision.rules:
        assert rule.sequential["n_used"] < N
    relative, absolute, direct_rule = (rule.sequential for rule in decision.rules)
    assert relative["no_estimate"] == "the rule passes between two thresholds"
    assert absolute["interval"][0] < absolute["median_unbiased"] < absolute["interval"][1] < 0.0
    assert direct_rule["median_unbiased"] > 0.0


def test_a_limit_is_looked_at(runs):
    (rule,) = decided(runs, planned({"limit": {**WIN_RATE, "at_least": 40.0}})).rules
    assert rule.decision == "pass"
    assert rule.sequential["n_used"] < N
    assert rule.sequential["median_unbiased"] > 0.0  # above the number
    (rule,) = decided(runs, planned({"limit": {**WIN_RATE, "at_most": 40.0}})).rules
    assert rule.decision == "fail"


def test_rules_of_a_group_share_alpha(runs):
    keep = {"keep": {**WIN_RATE, "margin": 2.0}}
    group = decided(runs, planned({"any": [IMPROVE, keep]}))
    alone = decided(runs, planned(IMPROVE)).rules[0].sequential["looks"][0]
    halves = spending_bounds([0.1], Spending("hwang_shih_decani", -4.0), 0.025).levels
    for rule in group.rules:
        assert rule.decision == "pass"
        assert rule.sequential["looks"][0]["level_pass"] == pytest.approx(halves[0], rel=1e-6)
        assert rule.sequential["looks"][0]["level_fail"] == pytest.approx(alone["level_fail"], rel=1e-6)
        assert rule.p_adjusted <= 0.05
    assert group.decision == "pass"


def test_looks_in_prompts_and_shares(runs):
    for looks in ([60, 120, 240], [0.2, 0.4, 0.8], [0.2, 0.4, 0.8, 1.0], [60, 120, 240, 900]):
        plan = LookPlan.of(planned(looks=looks), ["a"], N)
        assert plan.at == (60, 120, 240, N), looks
    assert LookPlan.of(planned(looks=20), ["a"], 80).at[0] == 32  # none below min_n
    assert LookPlan.of(planned(), ["a"], 25).at == (25,)
    shared = LookPlan.of(planned(looks=4, spending=[0.0, 0.2, 0.6, 1.0], min_n=150), ["a"], N)
    assert shared.at == (150, 225, 300)
    assert shared.spending.shares == (0.2, 0.6, 1.0)
    assert sum(np.diff([0.0, *shared.spending.spent(shared.information, 0.05)])) == pytest.approx(0.05)


def test_a_look_below_the_least_number_of_prompts_is_refused(runs):
    for looks in ([20, 100], [0.05, 0.5]):
        with pytest.raises(UsageError, match="at least 30 prompts at every look"):
            decided(runs, planned(looks=looks))


def test_a_rule_that_wants_more_prompts_skips_early_looks(runs):
    (rule,) = decided(runs, planned({"improve": {**WIN_RATE, "min_n": 100}})).rules
    assert next(look["n"] for look in rule.sequential["looks"]) == 120


def test_futility_is_reported_and_does_not_bind(tmp_path, runs):
    # slightly worse: the bound is crossed, and going on keeps the error
    worse = write_run(tmp_path / "worse", "worse", alpaca_eval=shares(7, -0.03))
    policy = planned({"improve": {**WIN_RATE, "margin": 1.0}}, futility={"power": 0.9})
    (rule,) = decided((worse, runs[1]), policy).rules
    found = rule.sequential
    assert 30 <= found["futile_from"] < N
    assert found["n_used"] > found["futile_from"] or rule.decision == "fail"
    assert found["futile"] is False
    assert decided(runs, policy).rules[0].sequential["futile_from"] is None


def test_an_invalid_rule_is_invalid_without_looks(runs):
    (rule,) = decided(runs, planned({"improve": {"benchmark": "alpaca_eval", "metric": "win_rat"}})).rules
    assert rule.decision == "invalid"
    assert "win_rate" in rule.reason
    (rule,) = decided(runs, planned({"improve": {**WIN_RATE, "min_n": 400}})).rules
    assert "requires at least 400" in rule.reason


def test_a_plan_is_stored_and_read_back():
    for fields in ({}, {"spending": "hwang_shih_decani", "gamma": 1.0}, {"looks": 2, "spending": [0.1, 1.0]}):
        plan = LookPlan.of(planned(futility={"power": 0.9}, **fields), ["a", "b"], N, seed=5)
        assert LookPlan.stored(plan.as_json(), "run.json") == plan
    for broken in ({"looks": []}, {"looks": [200, 100]}, {"spending": "pocok"}, {"looks": None}):
        with pytest.raises(FileFormatError, match="looks as assay writes them"):
            LookPlan.stored({**plan.as_json(), **broken}, "run.json")


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_false_passes_over_all_looks_stay_at_alpha(spending):
    """Real p-values of the paired test, at the boundary, on skewed scores."""
    rng = np.random.default_rng(6)
    n_trials, alpha, n, looks = 400, 0.05, 400, 5
    levels = spending_bounds([(k + 1) / looks for k in range(looks)], Spending(spending), alpha).levels
    policy, wrong = planned(), 0
    rule = policy.rules[0].improve
    for _ in range(n_trials):
        first, second = 100 * rng.beta(0.3, 1.2, (2, n))
        for k, level in enumerate(levels):
            m = n * (k + 1) // looks
            units = PairedUnits(tuple(map(str, range(m))), first[:m], second[:m], m, m, {}, 100.0, 0.0, 100.0, True)
            if paired_test("improve", rule, policy, units).p_pass <= level:
                wrong += 1
                break
    assert wrong / n_trials <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / n_trials)
