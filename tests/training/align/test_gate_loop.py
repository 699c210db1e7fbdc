"""Between iterations: levels, counted looks, the reward-hacking alarm."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from harness.errors import FileFormatError, StatisticsError
from harness.gate.decide import decide
from harness.gate.looks import Look, LookLedger, test_set_hash
from harness.gate.opened_runs import Comparison
from harness.gate.policy import make_policy
from harness.stats.error_spending import Spending
from harness.stats.group_sequential import spending_bounds
from tests.support.gate_runs import NoData, write_run
from training.align.alpha import LoopGate
from training.align.reward_hacking import reward_hacking

POLICY = make_policy({"rules": [{"improve": {"benchmark": "a", "metric": "b"}}], "alpha": 0.05})


def test_a_loop_hands_its_alpha_on_when_it_passes():
    gate = LoopGate.plan(POLICY, 5)
    assert gate.next_policy().alpha == pytest.approx(0.01)
    gate = gate.after("pass")
    assert gate.next_policy().alpha == pytest.approx(0.02)
    gate = gate.after("undecided")
    assert gate.next_policy().alpha == pytest.approx(0.01)
    assert [s.alpha for s in gate.steps] == pytest.approx([0.01, 0.02])
    assert "at most 0.05 (fallback)" in gate.describe()
    assert "2: undecided at 0.02" in gate.describe()


def test_a_fixed_sequence_ends_with_the_first_that_does_not_pass():
    gate = LoopGate.plan(POLICY, 5, "fixed_sequence").after("pass")
    assert gate.next_policy().alpha == 0.05
    assert gate.after("fail").next_policy() is None


def test_planned_looks_are_taken_at_the_level_the_loop_hands_on(tmp_path):
    rng = np.random.default_rng(1)
    shares = [np.clip(rng.uniform(0, 0.8, 300) + shift, 0, 1).tolist() for shift in (0.0, 0.1)]
    old, new = (
        write_run(tmp_path / name, name, alpaca_eval=values)
        for name, values in zip(("old", "new"), shares, strict=True)
    )
    rules = [{"improve": {"benchmark": "alpaca_eval", "metric": "win_rate"}}]
    loop = LoopGate.plan(make_policy({"rules": rules, "method": "group_sequential", "looks": 5}), 5)
    information = [0.2, 0.4, 0.6, 0.8, 1.0]
    for _ in range(2):
        decision = decide(loop.next_policy(), Comparison(new, old, NoData()))
        taken = decision.rules[0].sequential["looks"]
        levels = spending_bounds(information, Spending("hwang_shih_decani", -4.0), loop.level).levels
        expected = [(round(300 * t), level) for t, level in zip(information, levels, strict=True) if level > 1e-7]
        assert [look["n"] for look in taken] == [n for n, _ in expected[: len(taken)]]
        assert [look["level_pass"] for look in taken] == pytest.approx([p for _, p in expected[: len(taken)]], rel=1e-3)
        assert decision.decision == "pass"
        assert decision.rules[0].tested.p_pass <= loop.level
        loop = loop.after(decision)
    assert [step.alpha for step in loop.steps] == pytest.approx([0.01, 0.02])


def look(test_set="s", candidate="c", decision="pass"):
    return Look(test_set, "2026-01-01T00:00:00Z", "me", candidate, decision, 0.05)


def test_looks_are_counted_by_test_set(tmp_path):
    ledger = LookLedger(tmp_path / "loop")
    assert "no looks at" in ledger.describe("s")
    assert ledger.record(look()) == 1
    assert ledger.record(look("other")) == 1
    assert ledger.record(look(candidate="d", decision="fail")) == 2
    assert [entry.candidate for entry in ledger.looks("s")] == ["c", "d"]
    assert "2 times" in ledger.describe("s")
    assert "up to 0.1" in ledger.describe("s")
    assert LookLedger(tmp_path / "loop").looks() == ledger.looks()


def test_a_torn_line_is_cut_and_a_strange_one_refused(tmp_path):
    ledger = LookLedger(tmp_path)
    ledger.record(look())
    with ledger.path.open("a") as file:
        file.write('{"test_set": "s", "wh')
    assert ledger.record(look()) == 2
    with ledger.path.open("a") as file:
        file.write('{"who": "x"}\n')
    with pytest.raises(FileFormatError, match="line 3"):
        ledger.looks()


def test_a_test_set_is_its_prompts_in_any_order():
    assert test_set_hash(["a", "b"]) == test_set_hash(["b", "a"]) != test_set_hash(["a"])


def series(rng, n=200, reward_gain=0.5, judge_gain=0.0):
    before = rng.normal(0, 1, (2, n))
    return (before[0], before[0] + rng.normal(reward_gain, 1, n)), (before[1], before[1] + rng.normal(judge_gain, 1, n))


@pytest.mark.parametrize(
    ("gains", "least", "verdict"),
    [
        ((0.5, -0.5), 0.0, "alarm"),
        ((0.5, 0.5), 0.0, "clear"),
        ((0.5, 0.0), 0.0, "unclear"),
        ((0.5, 0.0), 0.3, "alarm"),
        ((0.0, -0.5), 0.0, "no_reward_gain"),
    ],
)
def test_the_alarm(gains, least, verdict):
    found = reward_hacking(*series(np.random.default_rng(2), 200, *gains), least_gain=least)
    assert found.verdict == verdict
    json.dumps(asdict(found), allow_nan=False)


def test_the_evidence_is_the_paired_t_tests():
    reward, judge = series(np.random.default_rng(1), 100, 0.4, -0.4)
    found = reward_hacking(reward, judge)
    interval = stats.ttest_rel(reward[1], reward[0]).confidence_interval(0.9)
    assert (found.reward.low, found.reward.high) == pytest.approx(interval)
    r = stats.pearsonr(reward[1] - reward[0], judge[1] - judge[0])
    assert found.correlation == pytest.approx(r.statistic)
    low, high = r.confidence_interval(0.9)
    assert (found.correlation_low, found.correlation_high) == pytest.approx((low, high))
    assert "exploits the reward" in found.message


def test_false_alarms_at_the_boundary():
    rng = np.random.default_rng(3)
    alarms = sum(reward_hacking(*series(rng, 60, 1.0, 0.0)).verdict == "alarm" for _ in range(2000))
    assert alarms / 2000 <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_no_spread_and_wrong_sizes():
    flat = [1.0] * 10
    found = reward_hacking((flat, [2.0] * 10), (flat, flat))
    assert (found.verdict, found.correlation, found.detectable) == ("unclear", None, None)
    json.dumps(asdict(found), allow_nan=False)
    with pytest.raises(StatisticsError, match="four times"):
        reward_hacking((flat, flat[:9]), (flat, flat))
