"""Stopping at planned looks: the run stops where the gate decides, and the method is chosen by the supposed effect."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import UsageError
from harness.gate.decide import decide
from harness.gate.early_stop import EarlyStop
from harness.gate.look_stop import LookStop, RunSoFar
from harness.gate.opened_runs import Comparison
from harness.gate.order import random_order
from harness.gate.policy import make_policy
from harness.gate.stop_choice import StopRequest, choose_stop
from harness.run.stored_run import StoredRun
from tests.support.gate_runs import NoData, alpaca_prompt, write_run

N = 300
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}
LENGTH = {"benchmark": "alpaca_eval", "metric": "avg_length"}


def shares(seed, shift=0.0, n=N):
    return np.clip(np.random.default_rng(seed).uniform(0, 0.8, n) + shift, 0, 1).tolist()


def policy_of(*rules, **fields):
    return make_policy({"rules": list(rules) or [{"improve": WIN_RATE}], **fields})


def request_of(baseline, policy, **fields):
    return StopRequest(policy, StoredRun.open(baseline), "alpaca_eval", NoData(), seed=4, **fields)


@pytest.fixture
def runs(tmp_path):
    old = write_run(tmp_path / "old", "old", alpaca_eval=shares(1))
    new = write_run(tmp_path / "new", "new", alpaca_eval=shares(2, 0.1))
    return new, old


def stopped_at(stop, candidate):
    """Go through the waves until the run is decided; the look and the number of prompts."""
    whole = StoredRun.open(candidate)
    asked = []
    for wave in stop.waves([alpaca_prompt(i) for i in range(N)]):
        asked += wave
        ids = {prompt.id for prompt in asked}
        scores = tuple(s for s in whole.scores if s.prompt_id in ids)
        so_far = RunSoFar(whole.directory, scores, tuple(asked), stop.baseline, stop.plan)
        look = stop.look(so_far)
        if look.decided:
            break
    return look, len(asked)


def test_waves_go_from_look_to_look_in_the_random_order(runs):
    stop = request_of(runs[1], policy_of(looks=[60, 200], method="group_sequential")).in_looks()
    waves = list(stop.waves([alpaca_prompt(i) for i in range(N)]))
    assert [len(wave) for wave in waves] == [60, 140, 100]
    assert [p.cluster for wave in waves for p in wave] == random_order([f"k{i}" for i in range(N)], 4)
    with pytest.raises(UsageError, match="200 prompts of alpaca_eval, the baseline's run 300"):
        list(stop.waves([alpaca_prompt(i) for i in range(200)]))


@pytest.mark.parametrize(
    "rules",
    [
        [{"improve": WIN_RATE}],
        [{"improve": WIN_RATE}, {"keep": {**LENGTH, "margin": "20%", "better": "neither"}}],
        [{"any": [{"improve": WIN_RATE}, {"keep": {**LENGTH, "margin": 1}}]}],
        [{"improve": {**WIN_RATE, "margin": 19}}],
    ],
)
def test_a_run_stops_where_the_gate_decides(tmp_path, runs, rules):
    policy = policy_of(*rules, method="group_sequential")
    stop = request_of(runs[1], policy).in_looks()
    look, n = stopped_at(stop, runs[0])
    whole = decide(policy, Comparison(*runs, NoData(), seed=4))
    stopped = write_run(tmp_path / "stopped", "new", alpaca_eval=shares(2, 0.1), stopped=(4, n), plan=stop.plan)
    early = decide(policy, Comparison(stopped, runs[1], NoData()))
    assert look.decided
    assert n < N
    assert n == max(r.sequential["n_used"] for r in early.rules) or early.decision == "fail" or "any" in rules[0]
    assert early.decision == whole.decision in ("pass", "fail")
    for there, here in zip(whole.rules, early.rules, strict=True):
        if there.sequential["n_used"] <= n:
            assert here.tested.p_pass == pytest.approx(there.tested.p_pass)
            assert here.sequential["n_all"] == N


def test_one_failed_rule_ends_the_run_and_an_advisory_one_does_not(runs):
    keep = {"keep": {**WIN_RATE, "margin": 2}}
    fails = {"improve": {**WIN_RATE, "margin": 45}}
    stop = request_of(runs[1], policy_of(keep, fails, method="group_sequential")).in_looks()
    look, n = stopped_at(stop, runs[0])
    assert look.verdicts == {"keep win_rate": "undecided", "improve win_rate": "fail"}
    advisory = {"improve": {**WIN_RATE, "margin": 45, "tier": "advisory"}}
    stop = request_of(runs[1], policy_of(keep, advisory, method="group_sequential")).in_looks()
    look, m = stopped_at(stop, runs[0])
    assert m > n
    assert look.verdicts == {"keep win_rate": "pass", "improve win_rate": "fail"}


def test_futility_stops_a_run_and_leaves_it_undecided(tmp_path, runs):
    flat = write_run(tmp_path / "flat", "flat", alpaca_eval=shares(7, -0.01))
    rule = {"improve": {**WIN_RATE, "margin": 1}}
    plain = request_of(runs[1], policy_of(rule, method="group_sequential")).in_looks()
    futile = policy_of(rule, method="group_sequential", futility={})
    stop = request_of(runs[1], futile).in_looks()
    (_, without), (look, n) = stopped_at(plain, flat), stopped_at(stop, flat)
    assert n < without
    assert look.verdicts == {"improve win_rate": "undecided"}
    stopped = write_run(tmp_path / "stopped", "flat", alpaca_eval=shares(7, -0.01), stopped=(4, n), plan=stop.plan)
    decision = decide(futile, Comparison(stopped, runs[1], NoData()))
    assert decision.decision == "undecided"
    assert "below the futility bound" in decision.message
    assert decision.rules[0].tested.p_pass > 0.05
    # where an undecided rule would pass, futility stops nothing
    lenient = request_of(runs[1], futile.model_copy(update={"on_undecided": "pass"})).in_looks()
    assert stopped_at(lenient, flat)[1] == without


def test_prompts_added_after_a_look_are_noticed(tmp_path, runs):
    policy = policy_of(method="group_sequential")
    stop = request_of(runs[1], policy).in_looks()
    stopped = write_run(tmp_path / "stopped", "new", alpaca_eval=shares(2, 0.1), stopped=(4, 150), plan=stop.plan)
    more = write_run(tmp_path / "more", "old", alpaca_eval=shares(1, n=310))
    decision = decide(policy, Comparison(stopped, more, NoData()))
    assert decision.decision == "invalid"
    assert "planned for 300 prompts, and there are 310 now" in decision.message
    assert "prompts added after a look" in decision.message


def test_a_stopped_run_cannot_pass_on_prompts_of_an_unplanned_look(tmp_path, runs):
    stop = request_of(runs[1], policy_of(method="group_sequential", looks=[200])).in_looks()
    stopped = write_run(tmp_path / "stopped", "new", alpaca_eval=shares(2, 0.1), stopped=(4, 150), plan=stop.plan)
    decision = decide(policy_of(), Comparison(stopped, runs[1], NoData()))
    assert decision.decision == "invalid"
    assert "the first look is at 200" in decision.message


# ---- which method


def test_planned_looks_are_chosen_for_the_least_effect_and_betting_for_a_large_one(runs):
    chosen = choose_stop(request_of(runs[1], policy_of()))
    assert isinstance(chosen.stop, LookStop)
    assert chosen.reasons[0].startswith("early stop by group_sequential: looks at 30, 60,")
    assert "the least that all 300 prompts show with 80% power" in chosen.reasons[1]
    assert "it is expected to use" in chosen.reasons[1]
    assert "; betting " in chosen.reasons[1]
    large = choose_stop(request_of(runs[1], policy_of(min_n=5), effect=30.0, wave=8))
    assert isinstance(large.stop, EarlyStop)
    assert "group_sequential" in large.reasons[1]


def test_the_policy_and_the_metric_may_leave_no_choice(runs):
    assert isinstance(choose_stop(request_of(runs[1], policy_of(method="betting"))).stop, EarlyStop)
    forced = choose_stop(request_of(runs[1], policy_of(method="group_sequential"), effect=30.0))
    assert isinstance(forced.stop, LookStop)
    unbounded = choose_stop(request_of(runs[1], policy_of({"limit": {**LENGTH, "at_most": 30}}), effect=-10.0))
    assert isinstance(unbounded.stop, LookStop)
    assert "betting cannot test limit alpaca_eval avg_length" in unbounded.reasons[-1]
    with pytest.raises(UsageError, match="before the run is complete"):
        choose_stop(request_of(runs[1], policy_of({"improve": {"benchmark": "mt_bench", "metric": "score"}})))
