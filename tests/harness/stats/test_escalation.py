"""The threshold above which a cheap judge decides: by hand, its guarantee in simulation, wrong input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.escalation import escalation_threshold


def test_by_hand():
    # 60 pairs at 0.95 with one error keep the guarantee alone; with 40 at 0.7 with 20 errors they do not
    confidence = [0.95] * 60 + [0.7] * 40
    agrees = [True] * 59 + [False] + [True] * 20 + [False] * 20
    found = escalation_threshold(confidence, agrees, alpha=0.1, delta=0.1)
    assert (found.threshold, found.n_kept, found.share_kept) == (0.71, 60, 0.6)
    assert found.disagreement == pytest.approx(1 / 60)
    # the exact bound: at this rate at most one error in 60 has probability 0.1
    assert stats.binom.cdf(1, 60, found.bound) == pytest.approx(0.1, abs=1e-9)


def test_no_threshold():
    few = escalation_threshold([0.9] * 5, [True] * 5)
    assert few.threshold is None
    assert "too few" in few.reason
    wrong = escalation_threshold([0.9] * 100, [True, False] * 50)
    assert wrong.threshold is None
    assert "disagrees too often" in wrong.reason


@pytest.mark.parametrize("n", [60, 200])
@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_the_guarantee_holds_for_an_overconfident_judge(n, alpha):
    """Above the threshold the true disagreement exceeds alpha in at most delta of the studies."""
    rng = np.random.default_rng(n)
    failed, n_studies = 0, 600

    def truth(confidence):
        return np.clip(confidence - 0.07, 0.5, 1.0)

    population = 0.5 + 0.5 * rng.beta(3, 1, 20_000)
    for _ in range(n_studies):
        confidence = 0.5 + 0.5 * rng.beta(3, 1, n)
        found = escalation_threshold(confidence, rng.random(n) < truth(confidence), alpha, delta=0.1)
        if found.threshold is not None:
            failed += 1.0 - truth(population[population >= found.threshold]).mean() > alpha
    # three standard errors above delta would be 0.137
    assert failed / n_studies <= 0.1 + 3 * (0.09 / n_studies) ** 0.5


@pytest.mark.parametrize(
    ("confidence", "agrees", "alpha", "message"),
    [
        ([0.9], [True, False], 0.1, "1 confidences for 2 labels"),
        ([0.3], [True], 0.1, "probabilities from 0.5 to 1"),
        ([0.9], [True], 0.0, "alpha is 0"),
        ([0.9], [True], 1.5, "alpha is 1.5"),
    ],
)
def test_wrong_input(confidence, agrees, alpha, message):
    with pytest.raises(StatisticsError, match=message):
        escalation_threshold(confidence, agrees, alpha)
