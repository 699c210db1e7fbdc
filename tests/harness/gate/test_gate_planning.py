"""`assay plan`: the prompts of each design, against formulas, the gate's own decisions and what users may get wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.gate.evidence import PairedUnits
from harness.gate.planned_rule import Spread, SupposedRule, moved
from harness.gate.planning import EVERY, PlanRequest, plan_policy
from harness.gate.policy import make_policy
from harness.gate.testing import Claim, paired_test
from harness.run.stored_run import StoredRun
from harness.stats.power import PowerSpec, units_needed
from tests.support.gate_runs import NoData, write_head_to_head, write_run

WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}


def policy_of(*rules, **fields):
    return make_policy({"rules": list(rules) or [{"improve": WIN_RATE}], **fields})


def shares(seed, n=200):
    return np.random.default_rng(seed).beta(0.4, 0.8, n).tolist()


@pytest.fixture
def old(tmp_path):
    return StoredRun.open(write_run(tmp_path / "old", "old", alpaca_eval=shares(1)))


@pytest.fixture
def new(tmp_path):
    return StoredRun.open(write_run(tmp_path / "new", "new", alpaca_eval=shares(2)))


def designs(plan, index=0):
    return {(needed.design): needed for needed in plan.rules[index].designs}


def test_differences_move_to_the_effect_and_stay_on_their_values():
    values = np.array([-100.0, 0.0, 0.0, 0.0, 100.0])
    spread = Spread(values, np.zeros(5), (-100.0, 100.0), unit=100.0)
    same, weights = moved(spread, 10.0)
    assert same is spread
    assert weights @ values == pytest.approx(10.0)
    # by hand: w (e^-c, 1, 1, 1, e^c) / sum, so that 100 (e^c - e^-c) / (e^c + e^-c + 3) = 10
    c = np.log(weights[4] / weights[1])
    assert 100 * 2 * np.sinh(c) / (2 * np.cosh(c) + 3) == pytest.approx(10.0)
    far, equal = moved(spread, 130.0)
    assert far.differences.mean() == pytest.approx(130.0)
    assert (far.span, far.unit) == ((-100.0, 230.0), None)
    assert equal.tolist() == [0.2] * 5


def test_prompts_for_a_standard_deviation_are_those_of_the_formula():
    plan = plan_policy(PlanRequest(policy_of(), NoData(), sds={EVERY: 30.0}, effects={EVERY: 4.0}))
    found = designs(plan)
    assert found["fixed"].n == pytest.approx(units_needed(4.0, 30.0, PowerSpec(sides=1)), rel=0.05)
    assert found["fixed"].here is None
    # O'Brien-Fleming-like looks cost little in prompts and save much: 1.0 to 1.1 times as many at most
    assert 1.0 <= found["group_sequential"].n / found["fixed"].n < 1.12
    assert found["group_sequential"].outcome.expected < 0.9 * found["fixed"].n
    assert "the scale is not known" in found["betting"].reason


def test_thousands_of_prompts_by_normal_theory_agree_with_the_formula():
    plan = plan_policy(PlanRequest(policy_of(), NoData(), sds={EVERY: 30.0}, effects={EVERY: 0.5}))
    found = designs(plan)
    assert found["fixed"].n == pytest.approx(units_needed(0.5, 30.0, PowerSpec(sides=1)), rel=0.001)
    assert found["fixed"].outcome.passes == pytest.approx(0.8, abs=0.001)
    assert found["group_sequential"].outcome.passes == pytest.approx(0.8, abs=0.005)


def test_the_power_is_that_of_the_gate_s_own_test(old, new):
    policy = policy_of(min_n=10)
    planned = plan_policy(PlanRequest(policy, NoData(), new, old, effects={EVERY: 12.0})).rules[0]
    needed = planned.designs[0]
    first, second = (100.0 * np.array(shares(seed)) for seed in (2, 1))
    _, weights = moved(Spread(first - second, second, (-100.0, 100.0)), 12.0)
    rng, passed = np.random.default_rng(5), []
    for _ in range(400):
        row = rng.choice(200, needed.n, p=weights)
        keys = tuple(map(str, range(needed.n)))
        units = PairedUnits(keys, first[row], second[row], needed.n, needed.n, {}, 100.0, 0.0, 100.0, True)
        passed.append(paired_test(*policy.rules[0].rule, policy, units).p_pass <= 0.05)
    assert needed.outcome.passes == pytest.approx(np.mean(passed), abs=0.06)
    assert needed.outcome.passes == pytest.approx(0.8, abs=0.05)


def test_binary_scores_are_tested_as_proportions():
    values = np.repeat([-100.0, 0.0, 100.0], [10, 70, 20])
    binary = Spread(values, np.zeros(100), (-100.0, 100.0), unit=100.0)
    rule = SupposedRule(binary, np.full(100, 0.01), (Claim(1.0, 0.0),), None, (0.05, 0.05), 2)
    other = replace(rule, spread=replace(binary, unit=None))
    rows = rule.draw((50, 60), np.random.default_rng(0))
    assert not np.allclose(rule.passing(rows), other.passing(rows))
    assert np.corrcoef(rule.passing(rows), other.passing(rows))[0, 1] > 0.99
    assert np.all(rule.passing(rows) + rule.failing(rows) >= 1.0)


def test_a_width_of_the_interval(old, new):
    found = designs(plan_policy(PlanRequest(policy_of(), NoData(), new, old, width=20.0)))
    first, second = (100.0 * np.array(shares(seed)) for seed in (2, 1))
    normal = (2 * 1.645 * (first - second).std() / 20.0) ** 2
    assert found["fixed"].n == pytest.approx(normal, rel=0.1)
    assert found["betting"].n > found["group_sequential"].n >= found["fixed"].n


def test_chances_at_the_prompts_of_the_runs(old, new):
    rows = plan_policy(PlanRequest(policy_of(), NoData(), new, old, effects={EVERY: -20.0})).as_json()["rules"][0]
    here = rows["designs"][0]["here"]
    assert here["fail"] > 0.95
    assert here["pass"] + here["undecided"] + here["fail"] == pytest.approx(1.0)
    assert rows["designs"][0]["n_prompts"] is None
    assert "does not hold" in rows["designs"][0]["reason"]


def test_the_least_effect_is_planned_for_if_none_is_given(old, new):
    planned = plan_policy(PlanRequest(policy_of(), NoData(), new, old)).rules[0]
    assert "the least that the runs' 200 prompts show" in planned.notes[1]
    assert planned.designs[0].n == pytest.approx(200, rel=0.15)


def test_one_run_alone_and_its_correlation(old):
    few, many = (
        plan_policy(PlanRequest(policy_of(), NoData(), None, old, width=20.0, correlation=share)).rules[0]
        for share in (0.8, 0.0)
    )
    assert "a correlation of 0.8" in few.notes[0]
    assert few.sd == pytest.approx(many.sd * np.sqrt(0.2), rel=0.08)
    assert few.designs[0].n < 0.5 * many.designs[0].n


def test_lengths_within_a_share_of_the_baseline(old, new):
    rule = {"keep": {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": "20%", "better": "neither"}}
    found = designs(plan_policy(PlanRequest(policy_of(rule, min_n=5), NoData(), new, old)))
    assert found["fixed"].outcome.passes >= 0.75
    assert "unbounded" in found["betting"].reason


def test_head_to_head_is_preferred_where_it_needs_fewer_calls(tmp_path, old, new):
    plan = plan_policy(PlanRequest(policy_of(), NoData(), new, old, effects={EVERY: 3.0})).rules[0]
    assert "Bradley and Terry's model" in plan.notes[-1]
    rows = [row for row in plan.rows() if row["judged"] == "head_to_head"]
    assert rows[0]["expected"]["judge_calls"] == 2 * rows[0]["n_prompts"]
    direct = write_head_to_head(tmp_path / "direct", [(s, s) for s in (0.55, 0.5, 0.6, 0.45, 0.5) * 40])
    judged = plan_policy(PlanRequest(policy_of(), NoData(), new, old, StoredRun.open(direct), effects={EVERY: 3.0}))
    assert "200 prompts judged head to head" in judged.rules[0].notes[-1]
    assert judged.rules[0].fewest_calls().endswith("head to head")


def test_a_pilot_below_min_n_is_said(tmp_path, old):
    pilot = StoredRun.open(write_run(tmp_path / "pilot", "pilot", alpaca_eval=shares(3, 20)))
    plan = plan_policy(PlanRequest(policy_of(), NoData(), pilot, old, effects={EVERY: 10.0})).rules[0]
    assert "a pilot of 20 prompts, fewer than the policy's min_n of 30" in plan.notes[-2] + plan.notes[-1]
    assert plan.n_runs == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"effects": {EVERY: 0.0}}, "an effect of 0 for improve alpaca_eval win_rate, exactly on its threshold"),
        ({"width": 250.0}, "a width of 250 for improve alpaca_eval win_rate"),
        ({"width": -1.0}, "a width of -1"),
        ({"correlation": 1.0}, "a correlation of 1"),
        ({"power": 0.01}, "a power of 0.01"),
        ({"sds": {EVERY: 0.0}}, "a standard deviation of 0"),
        ({"effects": {"alpaca_eval:winrate": 1.0}}, "no rule of the policy is about alpaca_eval:winrate"),
    ],
)
def test_what_is_wrong_is_refused(old, new, fields, words):
    with pytest.raises(UsageError, match=words):
        plan_policy(PlanRequest(policy_of(), NoData(), new, old, **fields))


def test_a_rule_that_the_runs_do_not_hold(old, new):
    missing = {"improve": {"benchmark": "mt_bench", "metric": "score"}}
    with pytest.raises(UsageError, match="the runs do not hold mt_bench"):
        plan_policy(PlanRequest(policy_of(missing), NoData(), new, old))
    plan = plan_policy(PlanRequest(policy_of({"improve": WIN_RATE}, missing), NoData(), new, old, width=20.0))
    assert "do not hold mt_bench" in plan.rules[1].reason
    optional = {"improve": {**missing["improve"], "required": False}}
    assert plan_policy(
        PlanRequest(policy_of({"improve": WIN_RATE}, optional), NoData(), new, old, width=20.0)
    ).left_out == ("improve mt_bench score",)


def test_the_command(tmp_path, old, new, capsys):
    policy = tmp_path / "gate.yaml"
    policy.write_text("rules: [{improve: {benchmark: alpaca_eval, metric: win_rate}}]\n")
    given = ["plan", "--policy", str(policy), "--candidate", new.path, "--baseline", old.path, "--effect", "10"]
    assert main([*given, "--json", "--seconds-per-prompt", "2"]) == 0
    row = json.loads(capsys.readouterr().out)["rules"][0]["designs"][0]
    assert row["design"] == "fixed"
    assert row["expected"] == {
        "judge_calls": row["n_prompts"],
        "money": None,
        "seconds": 2.0 * row["n_prompts"],
    }
    assert main(given) == 0
    shown = capsys.readouterr().out
    assert "pass at 200" in shown
    assert "expected to need the fewest judge calls" in shown
    assert main([*given, "--power", "0.9", "--width", "3"]) == 2
    assert main(["plan", "--policy", str(policy), "--effect", "1"]) == 2
    assert "there is no run to plan from" in capsys.readouterr().err
