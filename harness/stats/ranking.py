"""How certain a ranking is, and how well it agrees with another one.

Rank ranges from bootstrap draws, marginal (each model's rank by itself) and simultaneous (all ranks at once); rank
correlations with intervals; and the figures of the Arena-Hard paper (arXiv:2406.11939, section 3), separability with
confidence, agreement with confidence interval and the pair rank Brier score, as its analysis notebook computes them
(arena-hard-auto commit b4b78bf, ``notebook/benchmark_statistics.ipynb``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level

_FEWEST = 5
"""Models below which a rank correlation is given without an interval."""


@dataclass(frozen=True, slots=True)
class RankRange:
    """Where a model stands, 1 being the best.

    Parameters
    ----------
    rank : int
        By the median of its draws.
    low, high : int
        Best and worst rank that the level does not rule out.
    """

    rank: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a benchmark's intervals agree with a reference's, over all pairs of models.

    Parameters
    ----------
    score : float
        Mean over the pairs the reference separates, in percent: 1 where the benchmark separates them the same way, 0
        the other way round, one half where it does not separate them. The notebook's "agreement with confidence".
    signed_score : float
        Mean over *all* pairs, in percent from -100 to 100: 1 where both separate the pair the same way, -1 where they
        separate it opposite ways, 0 where one of them does not separate it. The paper's wording.
    n_pairs, n_reference_separated : int
        All pairs, and those the reference separates.
    """

    score: float
    signed_score: float
    n_pairs: int
    n_reference_separated: int


def rank_ranges(draws: Floats, level: float = 0.95) -> tuple[RankRange, ...]:
    """Give every model the range of ranks it takes among bootstrap draws.

    Parameters
    ----------
    draws : ndarray, shape (B, M)
        Scores of M models in B replicates, all models on the same resampled prompts; higher is better.
    level : float
        Share of the replicates the range holds at least.

    Returns
    -------
    tuple of RankRange, length M

    Raises
    ------
    StatisticsError
        No draws, a NaN among them, or a level outside (0, 1).

    Notes
    -----
    Models that tie in a replicate share the best rank of the tie. The limits are order statistics of the ranks, so
    they are whole numbers and hold at least `level` of the replicates.
    """
    scores = np.asarray(draws, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0 or np.isnan(scores).any():
        raise StatisticsError(f"draws of shape {scores.shape}", "an array (replicates, models) without NaN")
    checked_level(level)
    ranks = stats.rankdata(-scores, method="min", axis=1).astype(np.int64)
    tail = (1.0 - level) / 2
    low = np.quantile(ranks, tail, axis=0, method="inverted_cdf")
    high = np.quantile(ranks, 1.0 - tail, axis=0, method="inverted_cdf")
    middle = stats.rankdata(-np.median(scores, axis=0), method="min").astype(np.int64)
    return tuple(RankRange(int(m), int(a), int(b)) for m, a, b in zip(middle, low, high, strict=True))


def significant_ranks(
    scores: Floats, draws: Floats, n_clusters: int, level: float = 0.95
) -> tuple[tuple[RankRange, ...], tuple[RankRange, ...]]:
    r"""Rank ranges from tests of all pairwise differences.

    A model's best rank is one more than the number of models that are significantly better, its worst rank is M less
    the number that are significantly worse. The tests compare studentised differences with quantiles of the largest
    of them over bootstrap draws (max-t), which accounts for their dependence, and step down: hypotheses already
    rejected are left out of the maximum and the others tested again.

    Parameters
    ----------
    scores : ndarray, shape (M,)
        Estimated scores; higher is better.
    draws : ndarray, shape (B, M)
        Scores of the models in B replicates, all models on the same resampled prompts.
    n_clusters : int
        Prompts that were resampled; with few of them the quantiles are widened as Student's t is.
    level : float
        Confidence that a range holds the true rank: for the marginal ranges of each model by itself, for the
        simultaneous ones of all models at once.

    Returns
    -------
    marginal, simultaneous : tuple of RankRange, length M

    Raises
    ------
    StatisticsError
        Shapes that differ, fewer than two draws or models, NaN, or a level outside (0, 1).

    References
    ----------
    Mogstad, Romano, Shaikh and Wilhelm (2024), Inference for Ranks with Applications to Mobility across Neighbourhoods
    and Academic Achievement across Countries, Review of Economic Studies 91, 476-518 (sections 3.1 and 3.3). Romano and
    Wolf (2005), Exact and approximate stepdown methods for multiple hypothesis testing, JASA 100, 94-108.
    """
    values, replicates = _checked_draws(scores, draws, n_clusters, level)
    test = partial(_significantly_better, values, replicates, level, n_clusters)
    everyone = ~np.eye(values.size, dtype=np.bool_)
    places = stats.rankdata(-values, method="min").astype(np.int64)
    own = []
    for model in range(values.size):
        pairs = np.zeros_like(everyone)
        pairs[model], pairs[:, model] = everyone[model], everyone[:, model]
        own.append(_rank_range(test(pairs), places, model))
    return tuple(own), simultaneous_ranks(values, replicates, n_clusters, level)


def simultaneous_ranks(scores: Floats, draws: Floats, n_clusters: int, level: float = 0.95) -> tuple[RankRange, ...]:
    """Rank ranges that hold the true ranks of all models at once: the second part of :func:`significant_ranks`.

    Parameters
    ----------
    scores, draws, n_clusters
        As in :func:`significant_ranks`.
    level : float
        Confidence that all ranges hold.

    Returns
    -------
    tuple of RankRange, length M

    Raises
    ------
    StatisticsError
        As in :func:`significant_ranks`.
    """
    values, replicates = _checked_draws(scores, draws, n_clusters, level)
    places = stats.rankdata(-values, method="min").astype(np.int64)
    better = _significantly_better(values, replicates, level, n_clusters, ~np.eye(values.size, dtype=np.bool_))
    return tuple(_rank_range(better, places, model) for model in range(values.size))


def _checked_draws(scores: Floats, draws: Floats, n_clusters: int, level: float) -> tuple[Floats, Floats]:
    values, replicates = finite_array(scores, "scores"), np.asarray(draws, dtype=np.float64)
    if replicates.ndim != 2 or min(replicates.shape) < 2 or replicates.shape[1] != values.size:
        raise StatisticsError(f"draws of shape {replicates.shape} for {values.size} scores", "B >= 2 draws of M >= 2")
    if np.isnan(replicates).any():
        raise StatisticsError("NaN among the draws", "numbers")
    if n_clusters < 2:
        raise StatisticsError(f"{n_clusters} prompt(s)", "at least 2")
    checked_level(level)
    return values, replicates


def _rank_range(better: NDArray[np.bool_], places: NDArray[np.int64], model: int) -> RankRange:
    low, high = 1 + int(better[:, model].sum()), len(places) - int(better[model].sum())
    return RankRange(int(places[model]), low, high)


def _significantly_better(
    scores: Floats, draws: Floats, level: float, n_clusters: int, pairs: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which ordered pairs (i, j) among `pairs` show i above j; familywise error 1 - level by step-down max-t."""
    covariance = np.cov(draws, rowvar=False)
    variance = np.diag(covariance)[:, None] + np.diag(covariance) - 2.0 * covariance
    stderr = np.sqrt(np.maximum(variance, 0.0))
    scale = np.where(stderr > 1e-12 * max(1.0, float(np.abs(scores).max())), stderr, np.inf)
    gap = scores[:, None] - scores
    # Two models that differ by the same amount in every draw leave nothing to test.
    certain = pairs & np.isinf(scale) & (gap > 0)
    centred = draws - scores
    better = np.zeros_like(pairs)
    while True:
        tested = pairs & ~better
        largest = np.full(len(draws), -np.inf)
        for first in np.flatnonzero(tested.any(axis=1)):
            others = tested[first]
            errors = (centred[:, [first]] - centred[:, others]) / scale[first, others]
            np.maximum(largest, errors.max(axis=1), out=largest)
        critical = _widened(float(np.quantile(largest, level, method="higher")), n_clusters)
        found = tested & (gap / scale > critical)
        if not found.any():
            return better | certain
        better |= found


def _widened(quantile: float, n_clusters: int) -> float:
    """A bootstrap quantile of a studentised error, made as wide as Student's t (as `expanded_tails` does)."""
    t_quantile = stats.t.isf(stats.norm.sf(quantile), n_clusters - 1)
    return float(t_quantile) * math.sqrt(n_clusters / (n_clusters - 1))


def separability(intervals: Floats) -> float:
    """Share of model pairs, in percent, whose intervals do not overlap.

    Parameters
    ----------
    intervals : ndarray, shape (M, 2)
        Lower and upper limit of each model's score.

    Returns
    -------
    float
        0 to 100. Intervals that only touch do not overlap; a point (the baseline's 50) inside an interval does.

    Raises
    ------
    StatisticsError
        Fewer than two models, a NaN, or a lower limit above the upper.
    """
    limits = _checked_intervals(intervals, "intervals")
    one, two = np.triu_indices(len(limits), k=1)
    return 100.0 * float(np.mean(_direction(limits, one, two, point_overlaps=True) != 0))


def agreement(benchmark: Floats, reference: Floats) -> Agreement:
    """Compare a benchmark's intervals with a reference's, for example Chatbot Arena's.

    Parameters
    ----------
    benchmark, reference : ndarray, shape (M, 2)
        Lower and upper limits, the same models in the same order.

    Returns
    -------
    Agreement

    Raises
    ------
    StatisticsError
        Different numbers of models, or a reference that separates no pair.

    Notes
    -----
    As in the notebook, and unlike in :func:`separability`, a point inside an interval does not overlap it: the model an
    Elo scale is anchored at has no width, and is taken for separate from all others.
    """
    mine, theirs = _checked_intervals(benchmark, "benchmark intervals"), _checked_intervals(reference, "reference")
    if mine.shape != theirs.shape:
        raise StatisticsError(f"{len(mine)} and {len(theirs)} models", "the same models in both")
    one, two = np.triu_indices(len(mine), k=1)
    ours, truth = (_direction(limits, one, two, point_overlaps=False) for limits in (mine, theirs))
    separated = truth != 0
    if not separated.any():
        raise StatisticsError("the reference separates no pair", "a reference with at least two distinct models")
    credit = np.where(ours == 0, 0.5, (ours == truth).astype(np.float64))
    return Agreement(
        100.0 * float(credit[separated].mean()),
        100.0 * float((ours * truth).mean()),
        one.size,
        int(np.count_nonzero(separated)),
    )


def pair_rank_brier(scores: Floats, stderrs: Floats, reference_scores: Floats) -> float:
    """Brier score of the benchmark's forecasts of which model of a pair is better, by the reference.

    Parameters
    ----------
    scores, stderrs : ndarray, shape (M,)
        The benchmark's scores and their standard errors (the notebook: standard deviations of bootstrap draws).
    reference_scores : ndarray, shape (M,)
        The reference's scores of the same models.

    Returns
    -------
    float
        Mean squared error of the forecast probabilities, 0 (perfect) to 1; a coin scores 0.25.

    Raises
    ------
    StatisticsError
        Lengths that differ, fewer than two models, NaN, a negative standard error.

    Notes
    -----
    The chance that one model is better than another is that of a normal variable with the difference of the scores and
    the sum of their variances (the models' errors taken for independent, as the paper does). Where both variances are
    zero the forecast is 0, 1 or, for equal scores, one half. A pair the reference ties counts as not better.
    """
    values, errors = finite_array(scores, "scores"), finite_array(stderrs, "standard errors")
    truth = finite_array(reference_scores, "reference scores")
    if not values.size == errors.size == truth.size or truth.size < 2 or (errors < 0).any():
        raise StatisticsError(
            f"{values.size} scores, {errors.size} standard errors and {truth.size} reference scores",
            "one of each for at least two models, standard errors of 0 or more",
        )
    one, two = np.triu_indices(truth.size, k=1)
    gap, spread = values[two] - values[one], np.hypot(errors[one], errors[two])
    certain = 0.5 + 0.5 * np.sign(gap)
    forecast = np.where(spread > 0, stats.norm.cdf(gap / np.where(spread > 0, spread, 1.0)), certain)
    return float(np.mean((forecast - (truth[one] < truth[two])) ** 2))


def spearman(x: Floats, y: Floats, level: float = 0.95) -> Estimate:
    """Spearman's rank correlation with an interval over models.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Two scores of the same models; ties get average ranks.
    level : float
        Nominal coverage.

    Returns
    -------
    Estimate
        A correlation from -1 to 1, with Fisher's z interval and standard error sqrt((1 + r^2 / 2) / (n - 3)). No limits
        (a note says why) below 5 models and at a perfect correlation.

    Raises
    ------
    StatisticsError
        Lengths that differ, fewer than 3 models, or all scores equal.

    References
    ----------
    Bonett and Wright (2000), Psychometrika 65, 23-28.
    """
    return _correlation(
        "Spearman's rank correlation",
        lambda: float(stats.spearmanr(x, y).statistic),
        lambda r, n: math.sqrt((1.0 + r * r / 2.0) / (n - 3)),
        (x, y),
        level,
    )


def kendall(x: Floats, y: Floats, level: float = 0.95) -> Estimate:
    """Kendall's tau-b with an interval over models.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Two scores of the same models.
    level : float
        Nominal coverage.

    Returns
    -------
    Estimate
        As in :func:`spearman`, with standard error sqrt(0.437 / (n - 4)).

    Raises
    ------
    StatisticsError
        Lengths that differ, fewer than 3 models, or all scores equal.

    References
    ----------
    Fieller, Hartley and Pearson (1957), Biometrika 44, 470-481.
    """
    return _correlation(
        "Kendall's tau-b",
        lambda: float(stats.kendalltau(x, y).statistic),
        lambda _, n: math.sqrt(0.437 / (n - 4)),
        (x, y),
        level,
    )


def _correlation(
    name: str,
    measure: Callable[[], float],
    fisher_stderr: Callable[[float, int], float],
    pair: tuple[Floats, Floats],
    level: float,
) -> Estimate:
    x, y = finite_array(pair[0], "first scores"), finite_array(pair[1], "second scores")
    checked_level(level)
    if x.size != y.size or x.size < 3:
        raise StatisticsError(f"{x.size} and {y.size} scores", "the same models in both, at least 3")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise StatisticsError("all scores of one ranking are equal", "scores that differ", "a constant ranks nobody")
    n, r = x.size, measure()
    if n < _FEWEST:
        return Estimate(r, None, None, None, level, name, n, n, f"no interval from {n} models")
    if abs(r) >= 1.0 - 1e-12:
        return Estimate(r, None, None, None, level, name, n, n, "no Fisher interval at a perfect correlation")
    stderr = fisher_stderr(r, n)
    reach = float(stats.norm.ppf(0.5 + level / 2)) * stderr
    low, high = math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)
    return Estimate(r, stderr * (1 - r * r), low, high, level, f"{name}, Fisher z interval", n, n)


def _direction(
    limits: Floats, one: NDArray[np.intp], two: NDArray[np.intp], *, point_overlaps: bool
) -> NDArray[np.int64]:
    """Give 1 where the first of a pair is clearly above the second, -1 where below, 0 where the intervals overlap."""
    overlap = np.minimum(limits[one, 1], limits[two, 1]) > np.maximum(limits[one, 0], limits[two, 0])
    if point_overlaps:
        overlap |= (limits[one, 0] < limits[two, 1]) & (limits[two, 0] < limits[one, 1])
    by_low = np.sign(limits[one, 0] - limits[two, 0])
    order = np.where(by_low != 0, by_low, np.sign(limits[one, 1] - limits[two, 1]))
    return np.where(overlap, 0, order).astype(np.int64)


def _checked_intervals(intervals: Floats, name: str) -> Floats:
    limits = np.asarray(intervals, dtype=np.float64)
    if limits.ndim != 2 or limits.shape[1] != 2 or len(limits) < 2:
        raise StatisticsError(f"{name} of shape {limits.shape}", "lower and upper limits of at least two models")
    if np.isnan(limits).any() or (limits[:, 0] > limits[:, 1]).any():
        raise StatisticsError(f"NaN or a lower limit above the upper one in the {name}", "limits in order")
    return limits
