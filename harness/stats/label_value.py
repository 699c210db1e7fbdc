"""The pairs that are most worth one more human vote.

Before any vote on a pair, the judge's calibrated probability q that the first answer is better stands for what people
will say; how far people scatter around it is learnt from the pairs that were voted on. That is a Beta distribution,
votes update it, and the value of one more vote is how much variance it is expected to take away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array

_WEAKEST, _STRONGEST = 0.5, 100.0
FEWEST_VOTES = 10
"""Pairs with two votes below which the strength is not estimated but taken as 2."""


def prior_strength(q: Sequence[float] | Floats, votes: Sequence[Sequence[float]]) -> float:
    """How many votes the judge's calibrated probability is worth.

    Two votes on one pair, v and w, scatter around q with covariance q (1 - q) / (s + 1) if people's preferences are
    Beta(s q, s (1 - q)); s is the moment estimate over all pairs of votes.

    Parameters
    ----------
    q : sequence of float, length n
        The judge's calibrated probability that the first answer is better.
    votes : sequence of n sequences
        The votes on each pair (1, 0 or 0.5 for a tie).

    Returns
    -------
    float
        From 0.5 to 100; 2 where fewer than ten pairs have two votes.

    Raises
    ------
    StatisticsError
        Lengths that differ, or NaN.

    References
    ----------
    The Beta-binomial's intraclass correlation 1 / (s + 1): Ridout, Demetrio and Firth (1999), Biometrics 55:137-148.
    """
    probability = finite_array(q, "probabilities")
    if probability.size != len(votes):
        raise StatisticsError(f"{probability.size} probabilities for {len(votes)} pairs", "one per pair")
    seen = expected = 0.0
    n_pairs = 0
    for p, given in zip(probability, votes, strict=True):
        if len(given) < 2:
            continue
        n_pairs += 1
        residual = np.asarray(given, dtype=np.float64) - p
        both = (residual.sum() ** 2 - (residual**2).sum()) / 2.0
        n_both = len(given) * (len(given) - 1) / 2.0
        # every pair of answers counts once, however many people voted on it
        seen += both / n_both
        expected += p * (1.0 - p)
    if n_pairs < FEWEST_VOTES:
        return 2.0
    if seen <= 0.0:
        return _STRONGEST
    return float(min(max(expected / seen - 1.0, _WEAKEST), _STRONGEST))


def vote_value(q: float, votes: Sequence[float], strength: float) -> float:
    """Expected drop in the variance of a pair's human preference by one more vote.

    With a = s q + sum of votes, b = s (1 - q) + sum of (1 - vote) and c = a + b, the variance is
    a b / (c^2 (c + 1)), and one more vote takes 1 / (c + 1) of it away on average.

    Parameters
    ----------
    q : float
        The judge's calibrated probability, 0 to 1.
    votes : sequence of float
        Votes so far (1, 0, 0.5).
    strength : float
        s, from :func:`prior_strength`.

    Returns
    -------
    float
        Not negative; at most 0.25 / (s + 1)^2.

    Raises
    ------
    StatisticsError
        A probability outside 0 to 1 or a strength that is not positive.

    References
    ----------
    Conjugate Beta-Bernoulli updating, for example Gelman et al. (2013), Bayesian Data Analysis, section 2.4. Choosing
    labels by what a model cannot say: Zrnic and Candès (2024), Active statistical inference, arXiv:2403.03208.
    """
    if not 0.0 <= q <= 1.0 or not strength > 0.0:
        raise StatisticsError(f"probability {q}, strength {strength}", "a probability and a positive strength")
    a = strength * q + sum(votes)
    b = strength * (1.0 - q) + len(votes) - sum(votes)
    c = a + b
    return max(0.0, a * b) / (c**2 * (c + 1.0) ** 2)
