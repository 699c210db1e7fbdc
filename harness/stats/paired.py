"""Two runs on the same prompts: their difference, with an interval and p-values of one test.

Scores of one prompt are compared with each other, so what makes a prompt hard cancels. The independent unit is the
prompt (the cluster). Binary scores get Tango's score test, everything else the test of a bounded mean.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, finite_array
from harness.stats.estimate import Estimate
from harness.stats.mean import ClusterVariance, checked_level, cluster_variance
from harness.stats.mean_test import Ends, decisiveness, mean_limits, mean_p_values
from harness.stats.paired_binary import tango_interval, tango_z
from harness.stats.power import PowerSpec, minimum_detectable_effect


@dataclass(frozen=True, slots=True)
class PairedSpec:
    """How to compare.

    Parameters
    ----------
    level : float
        Nominal coverage of the interval.
    scale : float
        Width of the scores' scale, which differences cannot pass; None where the scale is open. For scores in percent
        100, for MT-Bench ratings 9.
    span : tuple of float, optional
        Ends of the differences' scale where they are not -`scale` and `scale`.
    bounds : tuple of float, optional
        Ends of the scores' scale, to see how decisive they are; without them every score counts as decisive.
    power : PowerSpec
        Of what test the minimum detectable effect is computed.
    """

    level: float = 0.95
    scale: float | None = None
    span: tuple[float, float] | None = None
    bounds: tuple[float, float] | None = None
    power: PowerSpec = field(default_factory=PowerSpec)

    def __post_init__(self) -> None:
        checked_level(self.level)
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0.0):
            raise StatisticsError(f"the width of the scale is {self.scale}", "a positive number, or None")


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """The difference first minus second, and what is known of it.

    Parameters
    ----------
    difference : Estimate
        In the unit of the scores.
    test : str
        What the interval and the p-values are of.
    sd : float or None
        Standard deviation of the difference of one cluster (standard error times the root of their number); None with
        one cluster.
    discordant : tuple of (int, int) or None
        For binary scores: how often only the first, only the second scored.
    unit : float
        Size of one binary success in the scores' unit (1 or 100).
    minimum_detectable_effect : float or None
        With the design given in the spec; None where there is no spread to compute it from.
    values : ndarray, shape (n_clusters,)
        One difference for each cluster; their mean is the difference.
    ends : Ends
        Ends of the scale of `values`.
    """

    difference: Estimate
    test: str
    sd: float | None
    discordant: tuple[int, int] | None
    unit: float
    minimum_detectable_effect: float | None
    values: Floats
    ends: Ends

    @property
    def p_value(self) -> float | None:
        """Two-sided, against no difference: twice the smaller of the one-sided p-values; None if they are."""
        sides = self.p_values(0.0)
        return None if sides is None else min(1.0, 2.0 * min(sides))

    def p_values(self, threshold: float = 0.0) -> tuple[float, float] | None:
        """One-sided p-values against "the true difference is at most", and "at least", the threshold.

        Superiority by a margin m asks for the first at m, non-inferiority within m for the first at -m. They agree with
        the interval: it holds the thresholds that neither refutes at half the remaining level.

        Parameters
        ----------
        threshold : float
            In the unit of the scores.

        Returns
        -------
        tuple of float, or None
            None where there is no interval: one cluster, or no spread on an open scale.

        Raises
        ------
        StatisticsError
            A threshold that is not finite.
        """
        if not math.isfinite(threshold):
            raise StatisticsError(f"threshold is {threshold}", "a finite number")
        if self.difference.ci_low is None:
            return None
        if self.discordant is None:
            return mean_p_values(self.values, threshold, self.ends)
        share = threshold / self.unit
        if abs(share) >= 1.0:
            return (0.0, 1.0) if share <= -1.0 else (1.0, 0.0)
        z = tango_z(*self.discordant, self.difference.n, share)
        return float(stats.norm.sf(z)), float(stats.norm.cdf(z))


def paired_difference(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    clusters: Sequence[Hashable] | NDArray[np.generic],
    spec: PairedSpec | None = None,
) -> PairedComparison:
    """Compare two runs' scores of the same prompts, first minus second.

    Parameters
    ----------
    first, second : sequence of float, length n
        Scores of the same prompts in the same order.
    clusters : sequence of hashable, length n
        The prompt of each observation.
    spec : PairedSpec, optional
        Level, scale, design.

    Returns
    -------
    PairedComparison

    Raises
    ------
    StatisticsError
        Lengths differ, a value is not finite, or the differences pass the scale's width.

    Notes
    -----
    Binary scores (0 and one other value, independent prompts): Tango's score test and the interval it inverts.
    Otherwise :func:`harness.stats.mean_test.mean_p_values` on one value per cluster, and the interval it inverts;
    on clusters of unequal size the value is R + G (t - R m) / n, with R the difference, t the cluster's total and m its
    size, whose mean is R and whose spread is that of a ratio of totals (Cochran 1977, Sampling Techniques, section
    6.4). The standard error is CR2's.

    References
    ----------
    Tango (1998), Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17:891-908. Miller (2024), Adding error bars to evals, arXiv:2411.00640, section 4.
    """
    spec = spec or PairedSpec()
    if spec.span is None and spec.scale is not None:
        spec = replace(spec, span=(-spec.scale, spec.scale))
    a, b = finite_array(first, "scores of the first run"), finite_array(second, "scores of the second run")
    if a.size != b.size:
        raise StatisticsError(f"{a.size} scores against {b.size}", "as many in both runs", "align them by key first")
    differences = a - b
    if spec.scale is not None and float(np.abs(differences).max()) > spec.scale * (1.0 + 1e-9):
        raise StatisticsError(
            f"a difference of {np.abs(differences).max():g} on a scale {spec.scale:g} wide",
            "scores on the scale",
            "check the unit and that no -1 marks a failed verdict",
        )
    _, n_clusters = cluster_codes(clusters, a.size)
    unit = _binary_unit(a, b, spec.scale) if n_clusters == a.size else None
    if unit is not None and n_clusters > 1:
        return _compare_binary(differences, unit, spec)
    decisive = 1.0 if spec.bounds is None else max(decisiveness(side, spec.bounds) for side in (a, b))
    return _compare_by_cluster(differences, clusters, decisive, spec)


def _binary_unit(a: Floats, b: Floats, scale: float | None) -> float | None:
    """The size of a success (1, 100 or the scale's width) where every score is that or 0; None elsewhere."""
    highest = float(max(a.max(), b.max()))
    unit = highest if highest > 0.0 else scale
    if unit is None or unit not in (1.0, 100.0, scale):
        return None
    binary = all(bool(np.all((scores == 0.0) | (scores == unit))) for scores in (a, b))
    return unit if binary else None


def _compare_binary(differences: Floats, unit: float, spec: PairedSpec) -> PairedComparison:
    n = differences.size
    only_first, only_second = int((differences > 0.0).sum()), int((differences < 0.0).sum())
    value = (only_first - only_second) / n * unit
    variance = (only_first + only_second - (only_first - only_second) ** 2 / n) / (n - 1)
    sd = unit * variance**0.5
    low, high = tango_interval(only_first, only_second, n, spec.level)
    method = "paired difference of proportions; Tango score interval"
    note = "every pair differs alike; the standard error of 0 understates what is not known" if sd == 0 else ""
    estimate = Estimate(value, sd / n**0.5, low * unit, high * unit, spec.level, method, n, n, note)
    detectable = minimum_detectable_effect(sd, n, spec.power) if sd > 0.0 else None
    discordant: tuple[int, int] = (only_first, only_second)
    ends = Ends(-unit, unit)
    return PairedComparison(estimate, "Tango score test", sd, discordant, unit, detectable, differences, ends)


def _compare_by_cluster(
    differences: Floats, clusters: Sequence[Hashable] | NDArray[np.generic], decisive: float, spec: PairedSpec
) -> PairedComparison:
    test = "bounded mean by prompt" if spec.scale is not None else "mean by prompt"
    found = cluster_variance(differences, clusters)
    n, n_clusters, level = found.n, found.n_clusters, spec.level
    values, widest = cluster_values(differences, clusters)
    ends = Ends(None, None) if spec.span is None else Ends(widest * spec.span[0], widest * spec.span[1], decisive)
    note = _no_interval(found, differences, spec)
    if found.stderr is None or note:
        sd = None if found.stderr is None else 0.0
        estimate = Estimate(found.mean, found.stderr, None, None, level, "paired difference", n, n_clusters, note)
        return PairedComparison(estimate, test, sd, None, 1.0, None, values, ends)
    low, high = mean_limits(values, level, ends)
    if spec.span is not None:
        low, high = max(low, spec.span[0]), min(high, spec.span[1])
    if _all_alike(differences):
        note = "every pair differs alike; the standard error of 0 understates what is not known"
    method = f"paired difference by prompt; interval of the {test.removesuffix(' by prompt')} test"
    estimate = Estimate(found.mean, found.stderr, low, high, level, method, n, n_clusters, note)
    sd = found.stderr * n_clusters**0.5
    detectable = minimum_detectable_effect(sd, n_clusters, spec.power) if sd > 0.0 else None
    return PairedComparison(estimate, test, sd, None, 1.0, detectable, values, ends)


def _no_interval(found: ClusterVariance, differences: Floats, spec: PairedSpec) -> str:
    """Say why there is no interval; "" if there is one."""
    if found.stderr is None:
        return "one cluster: no spread between clusters to learn an interval from"
    if spec.scale is None and _all_alike(differences):
        return "every difference is the same, on an open scale: no spread to learn an interval from"
    return ""


def _all_alike(differences: Floats) -> bool:
    return float(np.ptp(differences)) <= 1e-12 * max(1.0, float(np.abs(differences).max()))


def cluster_values(values: Floats, clusters: Sequence[Hashable] | NDArray[np.generic]) -> tuple[Floats, float]:
    """Reduce observations to one value per cluster with the same mean.

    Returns
    -------
    values : ndarray, shape (n_clusters,)
    widest : float
        How far a value may lie from the mean, as a multiple of an observation's; 1 where clusters are of equal size.
    """
    codes, n_clusters = cluster_codes(clusters, values.size)
    sizes = np.bincount(codes, minlength=n_clusters).astype(np.float64)
    totals = np.bincount(codes, weights=values, minlength=n_clusters)
    if bool(np.all(sizes == sizes[0])):
        return np.asarray(totals / sizes), 1.0
    mean, share = float(values.mean()), n_clusters / values.size
    # a value is mean + k (cluster's mean - mean), k its size over the mean size; twice covers both ends
    return np.asarray(mean + share * (totals - mean * sizes)), 2.0 * share * float(sizes.max()) - 1.0
