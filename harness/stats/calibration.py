"""Is a confidence worth what it says? Reliability diagram, calibration error, Brier score.

A judge that is 80 % sure should be right in eight cases of ten. Confidences are sorted into bins, and in each the mean
confidence stands beside the share that was right. Everything here is in units of probability, 0 to 1.

The expected calibration error is a sum of absolute values, so it is never 0 on real data: noise alone gives some. Two
things keep that honest: `Reliability.ece_if_calibrated`, what a perfectly calibrated source would show on data of this
size, with a p-value; and an interval that does not take the noise for miscalibration.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.bootstrap import (
    BootstrapSpec,
    Floats,
    cluster_codes,
    cluster_resamples,
    expanded_tails,
    finite_array,
)
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean

Scheme = Literal["equal_width", "equal_mass"]
Ints = NDArray[np.int64]

_MOST_BINS = 1000


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bar of a reliability diagram.

    Parameters
    ----------
    low, high : float
        Edges; a confidence on an edge belongs to the bin above it, 1.0 to the last.
    n : int
        Observations in the bin, at least 1.
    confidence : float
        Their mean confidence.
    accuracy : float
        Share of them that was right.
    ci_low, ci_high : float or None
        Confidence limits of the accuracy, clustered; None where the bin holds a single cluster.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class BrierParts:
    """What a Brier score is made of: ``reliability - resolution + uncertainty + within_bins`` is the score, exactly.

    Parameters
    ----------
    reliability : float
        Mean squared gap between confidence and accuracy of the bins; 0 is perfectly calibrated.
    resolution : float
        How far the bins' accuracies differ from the overall one; more is better.
    uncertainty : float
        Variance of the outcomes: the score of always saying the base rate.
    within_bins : float
        What binning hides: variance of the confidences inside bins less twice their covariance with the outcomes.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidences can be believed.

    Parameters
    ----------
    bins : tuple of ReliabilityBin
        The bins that hold anything, lowest first.
    ece : Estimate
        Expected calibration error, the mean over observations of the gap of their bin.
    ece_if_calibrated : float or None
        What the same confidences would show on average if they were perfectly calibrated; None with one cluster.
    p_calibrated : float or None
        Share of such data whose error is at least as large as the one seen; None with one cluster.
    max_error : float
        The largest gap of a bin (no interval: it is the largest of many noisy gaps, often of the emptiest bin).
    max_error_n : int
        Observations in that bin.
    brier : Estimate
        Mean squared distance between confidence and outcome.
    parts : BrierParts
        Its decomposition over these bins.
    scheme : {"equal_width", "equal_mass"}
        How the bins were cut.
    n, n_clusters : int
        Observations and clusters.
    """

    bins: tuple[ReliabilityBin, ...]
    ece: Estimate
    ece_if_calibrated: float | None
    p_calibrated: float | None
    max_error: float
    max_error_n: int
    brier: Estimate
    parts: BrierParts
    scheme: Scheme
    n: int
    n_clusters: int

    def as_json(self) -> dict[str, Any]:
        """Plain data for JSON; every number finite."""
        return asdict(self)


def bin_edges(confidence: Floats, n_bins: int, scheme: Scheme) -> Floats:
    """Cut the scale of confidences into bins.

    Parameters
    ----------
    confidence : ndarray, shape (n,)
        Between 0 and 1.
    n_bins : int
        Bins wanted.
    scheme : {"equal_width", "equal_mass"}
        0, 1/n, ..., 1, or quantiles of `confidence`; equal quantiles make one bin, so there may be fewer.

    Returns
    -------
    ndarray, shape (at most n_bins + 1,)
        Increasing.

    Raises
    ------
    StatisticsError
        An impossible number of bins or an unknown scheme.
    """
    if not 1 <= n_bins <= _MOST_BINS:
        raise StatisticsError(f"{n_bins} bins", f"1 to {_MOST_BINS}")
    if scheme == "equal_width":
        return np.linspace(0.0, 1.0, n_bins + 1)
    if scheme != "equal_mass":
        raise StatisticsError(f"binning scheme {scheme!r}", "equal_width or equal_mass")
    # order statistics, not interpolated quantiles: equal confidences never straddle an edge
    cuts = np.quantile(confidence, np.linspace(0.0, 1.0, n_bins + 1)[1:-1], method="inverted_cdf")
    return np.unique(np.concatenate([[0.0], cuts[cuts > confidence.min()], [1.0]]))


def reliability(
    confidence: Sequence[float] | Floats,
    correct: Sequence[float] | NDArray[np.generic],
    n_bins: int = 10,
    scheme: Scheme = "equal_width",
    clusters: Sequence[Hashable] | None = None,
    rng: np.random.Generator | None = None,
    spec: BootstrapSpec | None = None,
) -> Reliability:
    """Compare confidences with what turned out to be right.

    Parameters
    ----------
    confidence : sequence of float, length n
        Probability given to being right, 0 to 1.
    correct : sequence of bool or float, length n
        Whether it was; a share between 0 and 1 where several people judged (a tie is 0.5).
    n_bins : int
        Bins of the diagram.
    scheme : {"equal_width", "equal_mass"}
        Bins of equal width, or holding equally many observations.
    clusters : sequence of hashable, optional
        The prompt of each observation; every observation its own where not given.
    rng : numpy.random.Generator, optional
        Source of randomness of the bootstrap; a fixed seed where not given.
    spec : BootstrapSpec, optional
        Replicates and level.

    Returns
    -------
    Reliability

    Raises
    ------
    StatisticsError
        Nothing given, lengths that differ, NaN, a value outside 0 to 1, or an impossible binning.

    Notes
    -----
    With signed gaps g_b = (sum of outcomes - sum of confidences in bin b) / n, ECE = sum_b |g_b|, which has kinks, so
    the plain percentile bootstrap adds the noise twice. A gap seen is g + h, h its noise, and
    sign(g) h <= |g + h| - |g| <= |h|. The interval bounds the error of the ECE by these on cluster resamples: its upper
    limit takes sign(g_b) h_b for every bin; its lower limit |h_b|, except for bins whose sign is certain (|g_b| above
    sqrt(log G) standard errors, G clusters), which keep sign(g_b) h_b (the pre-test of Fang and Santos 2019). It is
    therefore conservative where gaps are about as large as their noise. What a calibrated source would show is
    simulated by flipping the signs of whole clusters' residuals, which leaves their dependence and size alone.
    Equal-mass edges count as fixed.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015), AAAI 29 (ECE). Murphy (1973), J. Applied Meteorology 12:595-600, and
    Stephenson, Coelho and Jolliffe (2008), Weather and Forecasting 23:752-757 (decomposition with what bins hide).
    Fang and Santos (2019), Review of Economic Studies 86:377-412, theorem 3.2. Bröcker and Smith (2007), Weather and
    Forecasting 22:651-661 (what a calibrated forecast would show).
    """
    spec = spec or BootstrapSpec()
    rng = np.random.default_rng(0) if rng is None else rng
    p, outcome = _checked(confidence, "confidences"), _checked(np.asarray(correct, dtype=np.float64), "outcomes")
    if p.size != outcome.size:
        raise StatisticsError(f"{p.size} confidences for {outcome.size} outcomes", "one of each per observation")
    labels: list[Hashable] = list(range(p.size)) if clusters is None else list(clusters)
    codes, n_clusters = cluster_codes(labels, p.size)
    edges = bin_edges(p, n_bins, scheme)
    which, counts = _assign(p, edges)
    n = p.size
    mean_p = np.bincount(which, weights=p) / counts
    mean_o = np.bincount(which, weights=outcome) / counts
    error = np.abs(mean_o - mean_p)
    worst = int(np.argmax(error))
    ece, by_chance, p_value = _calibration_error(outcome - p, which, codes, rng, spec)
    return Reliability(
        _bins(which, (p, outcome), edges, labels, spec.level),
        ece,
        by_chance,
        p_value,
        float(error[worst]),
        int(counts[worst]),
        cluster_mean((p - outcome) ** 2, labels, spec.level, (0.0, 1.0)),
        _brier_parts(p, outcome, which, counts / n),
        scheme,
        n,
        n_clusters,
    )


def _checked(values: Sequence[float] | Floats, name: str) -> Floats:
    array = finite_array(values, name)
    outside = (array < 0.0) | (array > 1.0)
    if outside.any():
        raise StatisticsError(
            f"{int(outside.sum())} of {array.size} {name} are outside 0 to 1, for example {array[outside][0]:g}",
            "probabilities from 0 to 1",
            "divide percentages by 100; turn log-probabilities into probabilities",
        )
    return array


def _assign(p: Floats, edges: Floats) -> tuple[Ints, Floats]:
    """The bin of each observation, numbered over the bins in use, and how many each holds."""
    raw = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, edges.size - 2)
    _, which, counts = np.unique(raw, return_inverse=True, return_counts=True)
    return which.astype(np.int64), counts.astype(np.float64)


def _bins(
    which: Ints, pair: tuple[Floats, Floats], edges: Floats, labels: list[Hashable], level: float
) -> tuple[ReliabilityBin, ...]:
    p, outcome = pair
    bins = []
    for b in range(int(which.max()) + 1):
        rows = np.flatnonzero(which == b)
        at = min(int(np.searchsorted(edges, p[rows[0]], side="right")) - 1, edges.size - 2)
        share = cluster_mean(outcome[rows], [labels[i] for i in rows], level, (0.0, 1.0))
        low, high = float(edges[at]), float(edges[at + 1])
        bins.append(
            ReliabilityBin(low, high, rows.size, float(p[rows].mean()), share.value, share.ci_low, share.ci_high)
        )
    return tuple(bins)


def _brier_parts(p: Floats, outcome: Floats, which: Ints, share: Floats) -> BrierParts:
    n = p.size
    mean_p = np.bincount(which, weights=p) / (n * share)
    mean_o = np.bincount(which, weights=outcome) / (n * share)
    base = float(outcome.mean())
    inner_p, inner_o = p - mean_p[which], outcome - mean_o[which]
    return BrierParts(
        float(share @ (mean_p - mean_o) ** 2),
        float(share @ (mean_o - base) ** 2),
        float(((outcome - base) ** 2).mean()),
        float((inner_p**2).mean() - 2.0 * (inner_p * inner_o).mean()),
    )


def _calibration_error(
    residual: Floats, which: Ints, codes: Ints, rng: np.random.Generator, spec: BootstrapSpec
) -> tuple[Estimate, float | None, float | None]:
    """ECE with its interval, and its mean and tail probability if the confidences were calibrated."""
    n, n_clusters, n_bins = residual.size, int(codes.max()) + 1, int(which.max()) + 1
    cell = codes * n_bins + which
    # by_cluster[g, b]: sum of residuals of cluster g in bin b; sizes likewise counts
    by_cluster = np.bincount(cell, weights=residual, minlength=n_clusters * n_bins).reshape(n_clusters, n_bins)
    gaps = by_cluster.sum(axis=0) / n
    value = float(np.abs(gaps).sum())
    if n_clusters == 1:
        note = "one cluster: no spread between clusters to learn an interval from"
        return Estimate(value, None, None, None, spec.level, "ECE", n, 1, note), None, None
    sizes = np.bincount(codes, minlength=n_clusters).astype(np.float64)
    draws, nulls = [], []
    for resample in cluster_resamples(n_clusters, n_bins, rng, spec.n_boot):
        draws.append(resample @ by_cluster / (resample @ sizes)[:, None] - gaps)
        signs = rng.integers(0, 2, size=resample.shape) * 2.0 - 1.0
        nulls.append(np.abs(signs @ by_cluster).sum(axis=1) / n)
    moved, null = np.concatenate(draws), np.concatenate(nulls)
    spread = moved.std(axis=0, ddof=1)
    certain = np.abs(gaps) > np.sqrt(np.log(n_clusters)) * spread
    linear = np.sign(gaps) * moved
    tail = expanded_tails(spec.level, n_clusters)[1]
    low = value - float(np.quantile(np.where(certain, linear, np.abs(moved)).sum(axis=1), tail))
    high = value + float(np.quantile(-linear.sum(axis=1), tail))
    method = f"ECE, {n_bins} bins in use; bootstrap of clusters bounding each bin's error, {spec.n_boot} resamples"
    stderr = float(linear.sum(axis=1).std(ddof=1))
    low, high = min(max(0.0, low), value), max(min(1.0, high), value)
    estimate = Estimate(value, stderr, low, high, spec.level, method, n, n_clusters)
    # the +1 counts the data themselves among the draws, so the p-value is never 0
    p_value = (1.0 + float(np.count_nonzero(null >= value * (1.0 - 1e-12)))) / (1.0 + null.size)
    return estimate, float(null.mean()), p_value
