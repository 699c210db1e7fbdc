"""Arena-Hard: five-way verdicts of a model against one baseline, played in both orders.

Both versions of the benchmark count a slight verdict once and a decisive one (``A>>B``, ``B>>A``) three times, a tie as
half a win. Version 2 averages the counts; version 0.1 fits a Bradley-Terry model, which for models that all play
only the baseline gives the same number (:func:`win_rate` says why).

The figures here are win rates in percent with an interval over prompts. The interval upstream publishes, which
takes verdict rows for independent, is in :mod:`benchmarks.arena_hard.published_arena`.

References
----------
Li et al. (2024), From Crowdsourced Data to High-Quality Benchmarks: Arena-Hard and BenchBuilder, arXiv:2406.11939.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from harness.stats.bootstrap import Floats, finite_array
from harness.stats.estimate import Estimate
from harness.stats.weighted_mean import weighted_mean


def win_rate(
    scores: Sequence[float] | Floats,
    weights: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
    level: float = 0.95,
) -> Estimate:
    r"""Estimate a model's win rate against the baseline, in percent, with an interval over prompts.

    The weighted mean of the verdicts' scores. It is version 2's definition (the mean over verdict rows, a decisive
    verdict being three) and also version 0.1's: with one opponent the Bradley-Terry likelihood
    :math:`w \log \sigma(d) + (n - w) \log \sigma(-d)` of a log strength difference d is greatest where
    :math:`\sigma(d) = w / n`, and it splits into one such term a model when all models play only the baseline.

    Parameters
    ----------
    scores : sequence of float, length n
        1 won, 0.5 tied, 0 lost.
    weights : sequence of float, length n
        3 for a decisive verdict, 1 otherwise.
    clusters : sequence of hashable, length n
        The prompt of each verdict.
    level : float
        Nominal coverage.

    Returns
    -------
    Estimate
        In percent. The standard error is that of a ratio of cluster totals (the limit of the prompt bootstrap); the
        interval is :func:`harness.stats.bounded_interval.bounded_mean_limits`.

    Raises
    ------
    StatisticsError
        A score outside 0 to 1, a weight that is not positive, lengths that differ, fewer than two prompts.

    References
    ----------
    Cochran (1977), Sampling Techniques, section 6.4, for the variance of a ratio of totals.
    """
    percent = 100.0 * finite_array(scores, "scores")
    return weighted_mean(percent, weights, clusters, level, (0.0, 100.0), "weighted five-way win rate")
