"""Looking after every prompt: by hand, against a loop, the same verdict as the fixed gate, and the error held."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.errors import UsageError
from harness.gate.decide import decide
from harness.gate.early_stop import EarlyStop
from harness.gate.opened_runs import Comparison
from harness.gate.order import random_order
from harness.gate.policy import make_policy
from harness.gate.sequential import SequentialTest, sequential_decide
from harness.gate.testing import Claim
from harness.run.stored_run import StoredRun
from tests.support.gate_runs import NoData, alpaca_prompt, write_run

UP = [Claim(1.0, 0.0)]
WIN_RATE = {"benchmark": "alpaca_eval", "metric": "win_rate"}
LEVELS = (0.05, 0.05)


def capital(differences, threshold, reach=1.0):
    bets = np.geomspace(0.01, 0.95, 16)
    log_weights = np.log(bets / bets.sum())
    factors = 1.0 + bets[:, None] * (np.asarray(differences) - threshold) / (reach + threshold)
    return (np.exp(log_weights)[:, None] * np.cumprod(factors, axis=1)).sum(axis=0)


def test_it_stops_where_the_capital_first_reaches_one_over_alpha():
    d = np.random.default_rng(0).uniform(-0.6, 1.0, 300)
    path = capital(d, 0.0)
    stopped = sequential_decide(d, UP, 1.0, LEVELS)
    assert stopped.verdict == "pass"
    assert stopped.n_used == int(np.argmax(path >= 20.0)) + 1
    assert stopped.p_pass == pytest.approx(1.0 / path[stopped.n_used - 1])


def test_wins_only_by_hand():
    # every difference 1 against 0: the largest bet, 0.95, doubles nearly; 20 is passed by its share in six steps
    stopped = sequential_decide(np.ones(20), UP, 1.0, LEVELS)
    path = capital(np.ones(20), 0.0)
    assert path[stopped.n_used - 2] < 20.0 <= path[stopped.n_used - 1]
    assert stopped.n_used == 6


def test_losses_fail_and_nothing_is_undecided():
    assert sequential_decide(-np.ones(20), UP, 1.0, LEVELS).verdict == "fail"
    stopped = sequential_decide(np.zeros(20), UP, 1.0, LEVELS)
    assert (stopped.verdict, stopped.n_used, stopped.p_pass, stopped.p_fail) == ("undecided", 20, 1.0, 1.0)


def test_margins_move_the_threshold():
    d = np.full(200, 0.02)
    assert sequential_decide(d, [Claim(1.0, -0.1)], 1.0, LEVELS).verdict == "pass"  # keep within 0.1
    assert sequential_decide(d, [Claim(1.0, 0.2)], 1.0, LEVELS).verdict == "fail"  # improve by 0.2
    both = [Claim(1.0, -0.1), Claim(-1.0, -0.1)]
    assert sequential_decide(d, both, 1.0, LEVELS).verdict == "pass"
    assert sequential_decide(d + 0.3, both, 1.0, LEVELS).verdict == "fail"


def test_a_margin_beyond_the_scale_is_certain():
    assert sequential_decide(np.zeros(3), [Claim(1.0, -1.5)], 1.0, LEVELS).verdict == "pass"


def test_nothing_is_decided_before_the_least_number():
    assert sequential_decide(np.ones(50), UP, 1.0, LEVELS, min_n=30).n_used == 30


def test_the_order_is_a_seeds_and_does_not_depend_on_the_company():
    keys = [f"k{i}" for i in range(50)]
    order = random_order(keys, 1)
    assert order == random_order(reversed(keys), 1) != random_order(keys, 2)
    some = keys[::3]
    assert random_order(some, 1) == [key for key in order if key in set(some)]
    assert order != sorted(keys)


@pytest.mark.parametrize("kind", ["binary", "weighted", "ratings"])
def test_false_passes_at_the_boundary_though_every_prompt_is_looked_at(kind):
    rng = np.random.default_rng(11)
    n_trials, n, alpha = 1500, 300, 0.05
    wrong = 0
    for _ in range(n_trials):
        if kind == "binary":
            d, reach, threshold = rng.choice([-1.0, 0.0, 1.0], n, p=[0.13, 0.75, 0.12]), 1.0, -0.01
        elif kind == "weighted":
            d, reach, threshold = rng.beta(0.3, 1.2, n) - rng.beta(0.3, 1.2, n), 1.0, 0.0
        else:
            d, reach, threshold = np.clip(np.round(rng.normal(0, 1.5, n)), -9, 9), 9.0, 0.0
        wrong += sequential_decide(d, [Claim(1.0, threshold)], reach, (alpha, alpha)).verdict == "pass"
    assert wrong / n_trials <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / n_trials)


# ---- on stored runs


def shares(seed, shift=0.0, n=300):
    return np.clip(np.random.default_rng(seed).uniform(0, 0.8, n) + shift, 0, 1).tolist()


@pytest.fixture
def runs(tmp_path):
    old = write_run(tmp_path / "old", "old", alpaca_eval=shares(1))
    new = write_run(tmp_path / "new", "new", alpaca_eval=shares(2, 0.2))
    return new, old


def test_the_gate_stops_early_and_says_what_was_saved(runs):
    policy = make_policy({"rules": [{"improve": WIN_RATE}]})
    fixed = decide(policy, Comparison(*runs, NoData()))
    early = decide(policy, Comparison(*runs, NoData()), SequentialTest(seed=4))
    (rule,) = early.rules
    assert fixed.decision == early.decision == "pass"
    used = rule.sequential["n_used"]
    assert 30 <= used < 150
    assert f"{300 - used} verdicts could have been saved" in early.notes[0]
    assert rule.tested.difference.ci_low > 0.0
    assert rule.tested.difference.n == used
    again = decide(policy, Comparison(*runs, NoData()), SequentialTest(seed=4))
    assert again.as_json() == early.as_json()
    other = decide(policy, Comparison(*runs, NoData()), SequentialTest(seed=5))
    assert other.rules[0].tested.difference.value != rule.tested.difference.value


def test_what_cannot_be_watched_is_looked_at_once(runs):
    length = {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": 5}
    policy = make_policy({"rules": [{"improve": WIN_RATE}, {"keep": length}]})
    decision = decide(policy, Comparison(*runs, NoData()), SequentialTest())
    assert decision.rules[1].sequential["looked_at"] == "once, on all prompts"
    assert decision.rules[1].n == 300
    assert decision.decision == "pass"


def test_waves_cover_every_prompt_once_in_the_random_order(runs):
    stop = EarlyStop(make_policy({"rules": [{"improve": WIN_RATE}]}), StoredRun.open(runs[1]), "alpaca_eval", seed=4)
    prompts = [alpaca_prompt(i) for i in range(300)]
    waves = list(stop.waves(prompts))
    assert [p.cluster for wave in waves for p in wave] == random_order([p.cluster for p in prompts], 4)
    assert {len(wave) for wave in waves[:-1]} == {32}


def test_stopping_between_waves_decides_as_the_replay_does(runs):
    policy = make_policy({"rules": [{"improve": WIN_RATE}]})
    candidate, baseline = StoredRun.open(runs[0]), StoredRun.open(runs[1])
    stop = EarlyStop(policy, baseline, "alpaca_eval", seed=4)
    replayed = decide(policy, Comparison(*runs, NoData()), SequentialTest(seed=4)).rules[0].sequential["n_used"]
    asked: set[str] = set()
    for wave in stop.waves([alpaca_prompt(i) for i in range(300)]):
        asked |= {p.id for p in wave}
        look = stop.look([s for s in candidate.scores_of("alpaca_eval") if s.prompt_id in asked])
        assert look.n_prompts == len(asked)
        if look.decided:
            break
    assert look.verdicts == {"improve win_rate": "pass"}
    assert replayed <= len(asked) < replayed + 32


def test_early_stop_refuses_a_policy_it_cannot_watch(runs):
    length = {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": 5}
    with pytest.raises(UsageError, match="before the run is complete"):
        EarlyStop(make_policy({"rules": [{"keep": length}]}), StoredRun.open(runs[1]), "alpaca_eval")


def test_a_run_that_stopped_early_is_decided_by_the_same_order_only(runs, tmp_path):
    stopped = write_run(tmp_path / "stopped", "new", alpaca_eval=shares(2, 0.2), stopped=(4, 64))
    policy = make_policy({"rules": [{"improve": WIN_RATE}]})
    whole = decide(policy, Comparison(*runs, NoData()), SequentialTest(seed=4))
    early = decide(policy, Comparison(stopped, runs[1], NoData()), SequentialTest(seed=4))
    assert early.decision == "pass"
    assert early.rules[0].tested.p_pass == pytest.approx(whole.rules[0].tested.p_pass)
    assert early.rules[0].n_unscored == 0
    for test in (None, SequentialTest(seed=5)):
        refused = decide(policy, Comparison(stopped, runs[1], NoData()), test)
        assert refused.decision == "invalid"
        assert "only the sequential test with seed 4" in refused.message
    length = {"benchmark": "alpaca_eval", "metric": "avg_length", "margin": 5}
    both = make_policy({"rules": [{"improve": WIN_RATE}, {"keep": length}]})
    assert "needs all prompts" in decide(both, Comparison(stopped, runs[1], NoData()), SequentialTest(4)).message


def test_a_choice_of_prompts_is_no_early_stop(runs, tmp_path):
    stopped = write_run(tmp_path / "stopped", "new", alpaca_eval=shares(2, 0.2), stopped=(4, 64))
    header = stopped / "run.json"
    header.write_text(header.read_text().replace('"seed": 4', '"seed": 9'))
    from harness.store.run_directory import RunWriter

    with RunWriter(stopped) as writer:
        writer.write_manifest()
    policy = make_policy({"rules": [{"improve": WIN_RATE}]})
    refused = decide(policy, Comparison(stopped, runs[1], NoData()), SequentialTest(seed=9))
    assert "not the first 64" in refused.message


def test_a_run_under_way_is_scored_and_looked_at(runs):
    directory, asked = StoredRun.open(runs[0]).directory, [alpaca_prompt(i) for i in range(300)]
    stop = EarlyStop(make_policy({"rules": [{"improve": WIN_RATE}]}), StoredRun.open(runs[1]), "alpaca_eval")
    assert stop.decided(directory, asked)
    none = EarlyStop(
        make_policy({"rules": [{"improve": WIN_RATE | {"margin": 19}}]}), StoredRun.open(runs[1]), "alpaca_eval"
    )
    assert not none.decided(directory, asked)
