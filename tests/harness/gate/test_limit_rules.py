"""Limits: one run against a number, with every outcome and every reason for refusing to decide."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.gate.decide import decide
from harness.gate.evidence import limit_units
from harness.gate.opened_runs import Comparison
from harness.gate.order import random_order
from harness.gate.policy import make_policy
from harness.gate.sequential import SequentialTest
from harness.protocols import Items
from harness.records import Score
from harness.stats.confidence_sequence import Scale, betting_log_capital
from harness.stats.mean_test import Ends, decisiveness, mean_limits, mean_p_values
from tests.support.gate_runs import NoData, write_run

N = 200
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}


def shares(seed=1, n=N):
    return (np.random.default_rng(seed).beta(1.0, 1.0, n) * 0.8).tolist()


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", "m", alpaca_eval=shares(), mt_bench=[5.0, 6.0] * 40)


def gate(run, *rules, baseline=None, test=None, **fields):
    return decide(make_policy({"rules": list(rules), **fields}), Comparison(run, baseline, NoData()), test)


def limit(**fields):
    return {"limit": WIN_RATE | fields}


def test_a_limit_is_the_one_sided_test_of_the_figure_against_the_number(run):
    decision = gate(run, limit(at_most=45))
    (rule,) = decision.rules
    values = 100 * np.array(shares())
    ends = Ends(-45.0, 55.0, decisiveness(values, (0.0, 100.0)))
    assert decision.decision == "pass"
    assert rule.tested.p_pass == pytest.approx(mean_p_values(values - 45.0, 0.0, ends)[1], rel=1e-9)
    assert rule.tested.difference.value == pytest.approx(values.mean() - 45.0)
    low, high = mean_limits(values - 45.0, 0.9, ends)
    assert rule.tested.difference.ci_low == pytest.approx(low)
    assert rule.tested.difference.ci_high == pytest.approx(high)
    # on many shares that are not skewed it is close to Student's interval
    half = stats.t.isf(0.05, N - 1) * values.std(ddof=1) / math.sqrt(N)
    assert high == pytest.approx(values.mean() - 45.0 + half, abs=0.1 * half)
    assert f"{values.mean():.2f} (90% interval" in rule.reason
    assert rule.reason.endswith("below 45 (required: at most 45)")


def test_the_other_sides_and_the_fail(run):
    assert gate(run, limit(at_least=35)).decision == "pass"
    failed = gate(run, limit(at_most=30))
    assert failed.exit_status == 1
    assert "above 30 (required: at most 30)" in failed.message
    assert gate(run, limit(at_least=50)).exit_status == 1
    mean = 100 * float(np.mean(shares()))
    open_ = gate(run, limit(at_most=round(mean + 1)))
    assert open_.exit_status == 3
    assert "further prompts would decide" in open_.message
    assert "prompts show a value of" in open_.message


def test_its_json_has_the_keys_of_other_rules(tmp_path, run):
    old = write_run(tmp_path / "old", "old", alpaca_eval=shares(2))
    found = gate(run, limit(at_most=45), {"improve": WIN_RATE}, baseline=old).as_json()
    first, second = json.loads(json.dumps(found, allow_nan=False))["rules"]
    assert set(first) == set(second)
    assert (first["kind"], first["at_most"], first["at_least"], first["margin"]) == ("limit", 45.0, None, None)
    assert (first["baseline"], first["better"], first["thresholds"]) == (None, "lower", [-0.0])
    assert first["effect"] == pytest.approx(first["candidate"] - 45.0)
    assert (second["kind"], second["margin"], second["at_most"], second["tier"]) == ("improve", 0.0, None, "critical")


def test_a_policy_of_limits_needs_no_baseline_and_any_other_does(run):
    assert gate(run, limit(at_most=45)).baseline == ""
    with pytest.raises(UsageError, match=r"no baseline.*improve alpaca_eval win_rate"):
        gate(run, limit(at_most=45), {"improve": WIN_RATE})


def test_a_limit_does_not_look_at_the_baseline(tmp_path, run):
    other = write_run(tmp_path / "other", "other", mt_bench=[4.0, 5.5] * 40)
    keep = {"keep": {"benchmark": "mt_bench", "metric": "score", "margin": 0.5}}
    decision = gate(run, limit(at_most=45), keep, baseline=other)
    assert [r.decision for r in decision.rules] == ["pass", "pass"]


def test_every_prompt_the_same(tmp_path):
    run = write_run(tmp_path / "run", "m", alpaca_eval=[0.0] * 60)
    decision = gate(run, limit(at_most=5))
    (rule,) = decision.rules
    assert decision.decision == "undecided" or rule.tested.p_pass <= 0.05
    assert rule.tested.p_pass >= 0.95**60 * 0.99  # sixty draws of which none is won, at a rate of 5 %


def test_weighted_and_unbounded_metrics(run):
    rule = {"limit": {"benchmark": "alpaca_eval", "metric": "avg_length", "at_most": 30}}
    assert gate(run, rule).decision == "pass"
    decision = gate(run, rule, test=SequentialTest(3))
    assert decision.decision == "pass"
    assert "unbounded" in decision.rules[0].sequential["because"]


# ---- sequential


def test_a_limit_stops_as_soon_as_the_capital_suffices(run):
    decision = gate(run, limit(at_least=25), test=SequentialTest(7))
    (rule,) = decision.rules
    assert decision.decision == "pass"
    assert 30 <= rule.sequential["n_used"] < N
    assert "could have been saved" in decision.notes[-1]
    low, high = rule.tested.difference.ci_low, rule.tested.difference.ci_high
    assert 0.0 < low < rule.tested.difference.value < high <= 75.0


def test_the_bets_use_the_scale_of_the_figure():
    values = np.random.default_rng(2).beta(0.5, 5.0, 150)
    items = Items([Score("b", str(i), "m", str(i), value=float(v)) for i, v in enumerate(values)], 100.0, (0.0, 1.0))
    units = limit_units(items, 2.0)
    assert (units.span, units.reach) == ((-2.0, 98.0), 98.0)
    policy = make_policy({"rules": [{"limit": {"benchmark": "b", "metric": "m", "at_least": 2}}], "min_n": 2})
    ((_, rule),) = policy.each_rule()
    tested, looked = SequentialTest(0)("improve", rule.as_improve(), policy, units, 1)
    order = [units.keys.index(k) for k in random_order(units.keys, 0)]
    capital = betting_log_capital(100 * values[order], 2.0, Scale(0.0, 100.0))
    first = int(np.argmax(capital >= -math.log(0.05))) + 1
    assert looked["n_used"] == first < 60
    assert tested.p_pass == pytest.approx(math.exp(-capital[first - 1]))


# ---- fits and figures


def test_a_fit_is_tested_with_its_standard_error(run):
    rows = json.loads((run / "summary.json").read_text())
    misspelt = {"benchmark": "alpaca_eval", "metric": "length_controlled_win_rat", "at_most": 3}
    said = "the run does not hold alpaca_eval length_controlled_win_rat; did you mean length_con"
    assert gate(run, {"limit": misspelt}).rules[0].reason.startswith(said)
    for row in rows["rows"]:
        if row["metric"] == "length_controlled_win_rate":
            row |= {"value": 40.0, "stderr": 2.0, "n": N, "n_clusters": N, "method": "fit", "reason": None}
    (run / "summary.json").write_text(json.dumps(rows))
    figure = {"benchmark": "alpaca_eval", "metric": "length_controlled_win_rate"}
    decision = gate(_resealed(run), {"limit": figure | {"at_most": 45}})
    (rule,) = decision.rules
    assert decision.decision == "pass"
    assert rule.tested.p_pass == pytest.approx(stats.t.sf(2.5, N - 1))
    assert "fit; interval and p from its standard error" in rule.tested.difference.method


def _resealed(run):
    from harness.store.run_directory import RunWriter

    with RunWriter(run) as writer:
        writer.write_manifest()
    return run


def test_a_figure_without_an_interval_is_no_ground_for_a_limit(run):
    rows = json.loads((run / "summary.json").read_text())
    row = next(r for r in rows["rows"] if r["metric"] == "length_controlled_win_rate")
    assert "the run has no figure" in gate(run, {"limit": _named(row) | {"at_most": 45}}).message
    row |= {"value": 40.0, "stderr": None, "method": "", "reason": None}
    (run / "summary.json").write_text(json.dumps(rows))
    assert "has no standard error" in gate(_resealed(run), {"limit": _named(row) | {"at_most": 45}}).message


def _named(row):
    return {"benchmark": row["benchmark"], "metric": row["metric"]}


# ---- what is refused


@pytest.mark.parametrize("number", [0, -1, 100, 450])
def test_a_limit_off_the_scale(run, number):
    with pytest.raises(UsageError, match="on a scale from 0 to 100"):
        gate(run, limit(at_most=number))


def test_a_metric_the_run_does_not_hold(run):
    decision = gate(run, {"limit": {"benchmark": "alpaca_eval", "metric": "winrate", "at_most": 5}})
    assert decision.exit_status == 4
    assert "the run does not hold alpaca_eval winrate; did you mean win_rate?" in decision.message
    decision = gate(run, {"limit": {"benchmark": "gsm8k", "metric": "exact_match", "at_least": 5}})
    assert "the candidate run does not hold gsm8k (it holds: alpaca_eval, mt_bench)" in decision.message


def test_too_few_prompts_and_too_many_unscored(tmp_path, run):
    assert "200 prompts, but the policy requires at least 300" in gate(run, limit(at_most=45), min_n=300).message
    holes = write_run(tmp_path / "holes", "m", alpaca_eval=["unparsed"] * 10 + shares(n=190))
    message = gate(holes, limit(at_most=45), {"limit": WIN_RATE | {"at_least": 1, "max_unscored": 0.5}}).message
    assert "10 of 200 items are not scored (unparsed 10)" in message or "not valid" in message
