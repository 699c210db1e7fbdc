"""Percent agreement of votes: by hand, against a plain recount, and by simulated coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from harness.errors import StatisticsError
from harness.stats.agreement import PairVote, agreement_among, agreement_between


def vote(question, winner, a="alpha", b="beta", turn=1):
    return PairVote(question, turn, a, b, winner)


def test_by_hand():
    judge = [vote(1, "model_a"), vote(2, "tie (inconsistent)"), vote(3, "model_b")]
    human = [
        vote(1, "model_a"),
        vote(1, "model_b", a="beta", b="alpha"),  # the same choice, shown the other way round
        vote(1, "tie"),
        vote(2, "tie"),
        vote(3, "model_a"),
        vote(4, "model_a"),  # the judge has no verdict
        vote(1, "model_a", turn=2),
    ]
    with_ties = agreement_between(judge, human)
    assert (with_ties.n_agree, with_ties.n_compared) == (3, 5)
    assert with_ties.estimate.value == pytest.approx(60.0)
    assert with_ties.estimate.n_clusters == 3
    without = agreement_between(judge, human, ties=False)
    assert (without.n_agree, without.n_compared) == (2, 3)


def test_among_by_hand():
    human = [
        vote(1, "model_a"),
        vote(1, "model_a"),
        vote(1, "tie"),
        vote(2, "tie"),
        vote(2, "tie (both bad)"),
        vote(3, "tie"),
    ]
    assert (agreement_among(human).n_agree, agreement_among(human).n_compared) == (2, 4)
    assert agreement_among(human, ties=False).n_compared == 1


def test_agrees_with_a_plain_recount():
    rng = np.random.default_rng(0)
    models = ["m1", "m2", "m3"]
    human = []
    for question, (a, b) in itertools.product(range(10), itertools.permutations(models, 2)):
        human += [
            vote(question, str(rng.choice(["model_a", "model_b", "tie"])), a, b) for _ in range(rng.integers(0, 3))
        ]
    agree = total = 0
    for one, other in itertools.combinations(human, 2):
        if one.question != other.question or {one.model_a, one.model_b} != {other.model_a, other.model_b}:
            continue
        names = [
            "tie" if v.winner == "tie" else (v.model_a if v.winner == "model_a" else v.model_b) for v in (one, other)
        ]
        total += 1
        agree += names[0] == names[1]
    found = agreement_among(human)
    assert (found.n_agree, found.n_compared) == (agree, total)


def test_coverage_by_question():
    rng = np.random.default_rng(1)
    n_trials, hits, narrow = 400, 0, 0
    for _ in range(n_trials):
        # how easy a question is decides all six comparisons on it; 0.7 on average
        ease = rng.beta(2.1, 0.9, 40)
        same = rng.random((40, 6)) < ease[:, None]
        judge = [vote(q, "model_a", b=f"z{k}") for q in range(40) for k in range(6)]
        human = [vote(q, "model_a" if same[q, k] else "model_b", b=f"z{k}") for q in range(40) for k in range(6)]
        estimate = agreement_between(judge, human).estimate
        hits += estimate.ci_low <= 70.0 <= estimate.ci_high
        naive = 196.0 * math.sqrt(same.mean() * (1 - same.mean()) / 240)
        narrow += abs(100 * same.mean() - 70.0) <= naive
    assert hits / n_trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n_trials))
    assert narrow / n_trials < 0.92


@pytest.mark.parametrize("winner", ["", "model_c", "error", "A"])
def test_unknown_winner_is_refused(winner):
    with pytest.raises(StatisticsError):
        agreement_between([vote(1, "tie")], [vote(1, winner)])


def test_judge_that_votes_twice_is_refused():
    with pytest.raises(StatisticsError, match="twice"):
        agreement_between([vote(1, "tie"), vote(1, "model_a", "beta", "alpha")], [vote(1, "tie")])


def test_model_against_itself_is_refused():
    with pytest.raises(StatisticsError, match="itself"):
        agreement_among([vote(1, "tie", "m", "m"), vote(1, "tie", "m", "m")])


@pytest.mark.parametrize(
    "call",
    [
        lambda: agreement_between([], [vote(1, "tie")]),
        lambda: agreement_between([vote(1, "tie")], [vote(1, "tie")], ties=False),
        lambda: agreement_among([vote(1, "tie"), vote(2, "tie")]),
    ],
)
def test_nothing_to_compare_is_refused(call):
    with pytest.raises(StatisticsError, match="no two votes"):
        call()
