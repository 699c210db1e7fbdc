"""Two runs on the same prompts: their difference, tested the way the data allow.

Scores of one prompt are compared with each other, so what makes a prompt hard cancels. The independent unit is the
prompt (the cluster); binary scores get the score test and McNemar's, everything else a cluster-robust t and a
sign-flip permutation test.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, finite_array
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level, cluster_variance
from harness.stats.paired_binary import mcnemar_mid_p, tango_interval, tango_z
from harness.stats.power import PowerSpec, minimum_detectable_effect
from harness.stats.sign_flip import sign_flip_test


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
    n_permutations : int
        Random sign flips where enumerating them all is too much.
    power : PowerSpec
        Of what test the minimum detectable effect is computed.
    """

    level: float = 0.95
    scale: float | None = None
    n_permutations: int = 10_000
    power: PowerSpec = field(default_factory=PowerSpec)

    def __post_init__(self) -> None:
        checked_level(self.level)
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0.0):
            raise StatisticsError(f"the width of the scale is {self.scale}", "a positive number, or None")
        if self.n_permutations < 100:
            raise StatisticsError(f"{self.n_permutations} permutations", "at least 100")


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """The difference first minus second, and what is known of it.

    Parameters
    ----------
    difference : Estimate
        In the unit of the scores.
    p_value : float or None
        Two-sided, against no difference, of the test that `test` names; None with one cluster.
    test : str
        "McNemar mid-p" for independent binary scores, else "sign-flip permutation by cluster".
    sd : float or None
        Standard deviation of the difference of one cluster (standard error times the root of their number); None with
        one cluster.
    df : float or None
        Degrees of freedom of the t test.
    discordant : tuple of (int, int) or None
        For binary scores: how often only the first, only the second scored.
    unit : float
        Size of one binary success in the scores' unit (1 or 100).
    minimum_detectable_effect : float or None
        With the design given in the spec; None where there is no spread to compute it from.
    """

    difference: Estimate
    p_value: float | None
    test: str
    sd: float | None
    df: float | None
    discordant: tuple[int, int] | None
    unit: float
    minimum_detectable_effect: float | None

    def p_above(self, threshold: float = 0.0) -> float | None:
        """One-sided p-value against "the true difference is at most `threshold`".

        Superiority by a margin m asks for ``p_above(m)``, non-inferiority within m for ``p_above(-m)``. Binary scores
        of independent prompts use Tango's score test, others the cluster-robust t test. Without any spread the t test
        is undefined; then the chance that all clusters fall on one side of the threshold, 2^-G, stands for it.

        Parameters
        ----------
        threshold : float
            In the unit of the scores.

        Returns
        -------
        float or None
            None with a single cluster: nothing is known of the spread.

        Raises
        ------
        StatisticsError
            A threshold that is not finite.
        """
        if not math.isfinite(threshold):
            raise StatisticsError(f"threshold is {threshold}", "a finite number")
        estimate = self.difference
        if self.discordant is not None:
            share = threshold / self.unit
            if abs(share) >= 1.0:
                return 0.0 if share < -1.0 else 1.0
            return float(stats.norm.sf(tango_z(*self.discordant, estimate.n, share)))
        if estimate.stderr is None or self.df is None:
            return None
        if estimate.stderr == 0.0:
            return 0.5**estimate.n_clusters if estimate.value > threshold else 1.0
        return float(stats.t.sf((estimate.value - threshold) / estimate.stderr, self.df))


def paired_difference(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    clusters: Sequence[Hashable] | NDArray[np.generic],
    rng: np.random.Generator,
    spec: PairedSpec | None = None,
) -> PairedComparison:
    """Compare two runs' scores of the same prompts, first minus second.

    Parameters
    ----------
    first, second : sequence of float, length n
        Scores of the same prompts in the same order.
    clusters : sequence of hashable, length n
        The prompt of each observation.
    rng : numpy.random.Generator
        For the permutation test.
    spec : PairedSpec, optional
        Level, scale, permutations, design.

    Returns
    -------
    PairedComparison

    Raises
    ------
    StatisticsError
        Lengths differ, a value is not finite, or the differences pass the scale's width.

    Notes
    -----
    Binary scores (0 and one other value, independent prompts): Tango's score interval and McNemar's mid-p. Otherwise
    the CR2 cluster-robust t interval and the sign-flip test. A difference of exactly 0 everywhere gives the interval
    [0, 0], p = 1 and a note.

    References
    ----------
    Tango (1998), Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17:891-908. Fagerland, Lydersen and Laake (2013), The McNemar test for binary
    matched-pairs data: mid-p and asymptotic are better than exact conditional, BMC Medical Research Methodology 13:91.
    Miller (2024), Adding error bars to evals, arXiv:2411.00640, section 4.
    """
    spec = spec or PairedSpec()
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
    return _compare_by_cluster(differences, clusters, rng, spec)


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
    if only_first + only_second == 0:
        estimate = _no_difference(n, n, spec.level, "paired difference of proportions; no discordant pair")
        return PairedComparison(estimate, 1.0, "McNemar mid-p", 0.0, None, (0, 0), unit, None)
    variance = (only_first + only_second - (only_first - only_second) ** 2 / n) / (n - 1)
    sd = unit * variance**0.5
    low, high = tango_interval(only_first, only_second, n, spec.level)
    p_value = mcnemar_mid_p(only_first, only_second)
    method = "paired difference of proportions; Tango score interval"
    note = "every pair differs the same way; the standard error of 0 understates what is not known" if sd == 0 else ""
    estimate = Estimate(value, sd / n**0.5, low * unit, high * unit, spec.level, method, n, n, note)
    detectable = minimum_detectable_effect(sd, n, spec.power) if sd > 0.0 else None
    discordant: tuple[int, int] = (only_first, only_second)
    return PairedComparison(estimate, p_value, "McNemar mid-p", sd, None, discordant, unit, detectable)


def _compare_by_cluster(
    differences: Floats,
    clusters: Sequence[Hashable] | NDArray[np.generic],
    rng: np.random.Generator,
    spec: PairedSpec,
) -> PairedComparison:
    test: Literal["sign-flip permutation by cluster"] = "sign-flip permutation by cluster"
    found = cluster_variance(differences, clusters)
    n, n_clusters, level = found.n, found.n_clusters, spec.level
    if found.stderr is None or found.df is None:
        note = "one cluster: no spread between clusters to learn an interval from"
        estimate = Estimate(found.mean, None, None, None, level, "paired difference", n, n_clusters, note)
        return PairedComparison(estimate, None, test, None, None, None, 1.0, None)
    if not differences.any():
        estimate = _no_difference(n, n_clusters, level, "paired difference; no spread")
        return PairedComparison(estimate, 1.0, test, 0.0, found.df, None, 1.0, None)
    p_value = sign_flip_test(differences, clusters, rng, spec.n_permutations)
    half = float(stats.t.ppf(0.5 + level / 2.0, found.df)) * found.stderr
    low, high = found.mean - half, found.mean + half
    if spec.scale is not None:
        low, high = max(low, -spec.scale), min(high, spec.scale)
    note = "every difference is the same; the interval shows no spread" if found.stderr == 0.0 else ""
    method = f"paired difference; CR2 cluster-robust t interval, {found.df:.1f} degrees of freedom"
    estimate = Estimate(found.mean, found.stderr, low, high, level, method, n, n_clusters, note)
    sd = found.stderr * n_clusters**0.5
    detectable = minimum_detectable_effect(sd, n_clusters, spec.power) if sd > 0.0 else None
    return PairedComparison(estimate, p_value, test, sd, found.df, None, 1.0, detectable)


def _no_difference(n: int, n_clusters: int, level: float, method: str) -> Estimate:
    note = "the two runs score the same on every prompt; the interval shows no spread"
    return Estimate(0.0, 0.0, 0.0, 0.0, level, method, n, n_clusters, note)
