"""The group of prompts in which a run is worst, and how two runs compare in theirs.

The mean of the group that looks worst is too low on average: what made it look worst is partly chance. Two things
avoid that. The estimate chooses the group on one half of the prompts and takes its mean on the other, over many
splits. The limits need no choice, because the worst mean is below every group's mean:

- it is above a number if every group's mean is (an intersection-union test: every group at alpha, no correction);
- it is below a number if some group's mean is (a union: every group at alpha / G, Bonferroni).

A difference of two worst means, min_g mu_1(g) - min_h mu_2(h), is max_h min_g (mu_1(g) - mu_2(h)) and also
min_g max_h of the same, so both rules apply to the table of all pairs (g, h). Testing the group chosen on one half on
the other half is valid too, at twice the median p-value over splits (Meinshausen, Meier and Bühlmann 2009), but its
limits are wider with up to about thirty groups: 2.24 sqrt(2) = 3.17 standard errors against 2.73 for eight groups at
2.5 %.

References
----------
Berger (1982), Multiparameter hypothesis testing and acceptance sampling, Technometrics 24:295-300 (intersection-union).
Meinshausen, Meier and Bühlmann (2009), p-values for high-dimensional regression, JASA 104:1671-1681 (several splits).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level
from harness.stats.mean_test import Ends, decisiveness, mean_limits
from harness.stats.rate_interval import informative_degrees_of_freedom

_RULE_OF_THREE = 3.0 / 1.645
"""Standard errors' worth of 1/n at the end of the scale that n equal values cannot exclude at 95 %."""

Groups = Mapping[str, Sequence[float] | Floats]


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """How to treat groups.

    Parameters
    ----------
    level : float
        Nominal coverage of the interval.
    lowest : bool
        Whether the worst group is the one with the lowest mean, or the highest.
    bounds : (float, float) or None
        Ends of the values' scale. With them the limits of `worst_group` hold for skewed values, and values of a group
        that are all equal can be used.
    n_splits : int
        Random halvings of every group behind the estimate.
    seed : int
        Of the halvings.
    """

    level: float = 0.95
    lowest: bool = True
    bounds: tuple[float, float] | None = None
    n_splits: int = 100
    seed: int = 20241124

    def __post_init__(self) -> None:
        checked_level(self.level)
        if self.n_splits < 1:
            raise StatisticsError(f"{self.n_splits} splits", "at least 1")


@dataclass(frozen=True, slots=True)
class WorstGroup:
    """A figure of the worst group.

    Parameters
    ----------
    estimate : Estimate
        The figure, without a standard error: the worst group is chosen anew in every split.
    group : str
        The group chosen most often.
    share : float
        In what share of the splits.
    first, second : float
        For a difference the estimates it is the difference of; else the estimate twice.
    p_above, p_below : float or None
        For a difference, one-sided p-values against "it is at most" and "at least" the threshold.
    """

    estimate: Estimate
    group: str
    share: float
    first: float
    second: float
    p_above: float | None = None
    p_below: float | None = None


@dataclass(frozen=True, slots=True)
class _Means:
    """Means with standard errors and degrees of freedom; arrays of shape (G,) or (G, G)."""

    value: Floats
    stderr: Floats
    df: Floats

    def limit(self, tail: float) -> Floats:
        """Return the lower limits at a one-sided error."""
        return np.asarray(self.value - stats.t.isf(tail, self.df) * self.stderr)

    def p_above(self, threshold: float) -> Floats:
        """Return p-values against "at most the threshold"."""
        return np.asarray(stats.t.sf((self.value - threshold) / self.stderr, self.df))

    def mirrored(self) -> _Means:
        """Return the means of the negated values."""
        return _Means(-self.value, self.stderr, self.df)


def worst_group(groups: Groups, spec: GroupSpec | None = None) -> WorstGroup:
    """Estimate the mean of the group with the worst mean.

    Parameters
    ----------
    groups : mapping of str to sequence of float
        One value per independent unit (prompt), by group.
    spec : GroupSpec, optional
        Level, direction, splits.

    Returns
    -------
    WorstGroup

    Raises
    ------
    StatisticsError
        Fewer than two groups, a group of one unit, a value that is not finite or off the scale.
    """
    spec = spec or GroupSpec()
    names, values = _checked(groups, spec)
    chosen, found = _split(values, spec)
    tail = (1.0 - spec.level) / 2.0
    own, shared = (_limits(values, one_sided, spec.bounds) for one_sided in (tail, tail / len(names)))
    low, high = (own[0].min(), shared[1].min()) if spec.lowest else (shared[0].max(), own[1].max())
    low, high = float(low), float(high)
    return _worst(names, chosen, found, (low, high), (values, spec))


def split_estimate(groups: Groups, spec: GroupSpec | None = None) -> tuple[str, float]:
    """Return the group that is chosen as the worst most often, and the estimate of :func:`worst_group`, without limits.

    Parameters and errors are those of :func:`worst_group`.
    """
    spec = spec or GroupSpec()
    names, values = _checked(groups, spec)
    chosen, found = _split(values, spec)
    return names[int(np.bincount(chosen, minlength=len(names)).argmax())], float(found.mean())


def group_spread(groups: Groups, spec: GroupSpec | None = None) -> WorstGroup:
    """Estimate the difference between the best and the worst group's mean.

    Parameters and errors are those of :func:`worst_group`; `first` is the best group's estimate, `second` the worst's,
    and `group` the worst.
    """
    spec = spec or GroupSpec()
    names, values = _checked(groups, spec)
    pairs = _pairs(values, values, spec)
    other = ~np.eye(len(names), dtype=bool)
    tail = (1.0 - spec.level) / 2.0
    low = max(0.0, float(pairs.limit(tail / other.sum())[other].max()))
    high = -float(pairs.mirrored().limit(tail)[other].min())
    chosen, worst = _split(values, spec)
    _, best = _split(values, replace(spec, lowest=not spec.lowest))
    made = _worst(names, chosen, (best - worst) if spec.lowest else (worst - best), (low, high), (values, spec))
    return replace(made, first=float(best.mean()), second=float(worst.mean()))


def worst_group_difference(
    first: Groups, second: Groups, threshold: float = 0.0, spec: GroupSpec | None = None
) -> WorstGroup:
    """Compare two runs in the groups in which each is worst: worst mean of the first minus that of the second.

    Parameters
    ----------
    first, second : mapping of str to sequence of float
        One value per unit, by group; the same units in the same order, so that differences within a group are paired.
    threshold : float
        Value the p-values refer to.
    spec : GroupSpec, optional
        Level, direction, splits.

    Returns
    -------
    WorstGroup

    Raises
    ------
    StatisticsError
        As in :func:`worst_group`, or groups that differ between the runs.
    """
    spec = spec or GroupSpec()
    names, values = _checked(first, spec)
    others, values_of_second = _checked(second, spec)
    if names != others or any(a.size != b.size for a, b in zip(values, values_of_second, strict=True)):
        raise StatisticsError("groups that differ between the runs", "the same units of the same groups")
    pairs = _pairs(values, values_of_second, spec)
    if not spec.lowest:
        # highest mean: max_g mu_1(g) - max_h mu_2(h) is the lowest of -mu_2 minus the lowest of -mu_1
        pairs = _Means(pairs.value.T, pairs.stderr.T, pairs.df.T)
    tail, n = (1.0 - spec.level) / 2.0, len(names)
    mirrored = pairs.mirrored()
    low = float(pairs.limit(tail / n).min(axis=0).max())
    high = -float(mirrored.limit(tail / n).min(axis=1).max())
    p_above = min(1.0, n * float(pairs.p_above(threshold).max(axis=0).min()))
    p_below = min(1.0, n * float(mirrored.p_above(-threshold).max(axis=1).min()))
    chosen, worst = _split(values, spec)
    _, worst_of_second = _split(values_of_second, spec)
    made = _worst(names, chosen, worst - worst_of_second, (low, high), (values, spec))
    made = replace(made, first=float(worst.mean()), second=float(worst_of_second.mean()))
    return replace(made, p_above=p_above, p_below=p_below)


def _checked(groups: Groups, spec: GroupSpec) -> tuple[list[str], list[Floats]]:
    names = list(groups)
    if len(names) < 2:
        raise StatisticsError(f"{len(names)} group", "at least two")
    values = [finite_array(groups[name], f"values of {name}") for name in names]
    for name, array in zip(names, values, strict=True):
        if array.size < 2:
            raise StatisticsError(
                f"the group {name} has one prompt, from which nothing is known of its spread",
                "at least two prompts in every group",
                "add prompts, or leave the group out",
            )
        if spec.bounds is not None and not (spec.bounds[0] <= array.min() and array.max() <= spec.bounds[1]):
            raise StatisticsError(f"values of {name} from {array.min():g} to {array.max():g}", f"on {spec.bounds}")
    return names, values


def _limits(values: Sequence[Floats], tail: float, bounds: tuple[float, float] | None) -> tuple[Floats, Floats]:
    """Limits of every group's mean at a one-sided error; on a bounded scale those that hold for skewed values."""
    if bounds is None:
        means = _means(values, GroupSpec())
        return means.limit(tail), -means.mirrored().limit(tail)
    found = [mean_limits(array, 1.0 - 2.0 * tail, Ends(*bounds, decisiveness(array, bounds))) for array in values]
    low, high = np.array(found).T
    return low, high


def _means(values: Sequence[Floats], spec: GroupSpec) -> _Means:
    found = np.array([_mean(array, spec.bounds) for array in values]).T
    return _Means(*found)


def _mean(array: Floats, bounds: tuple[float, float] | None) -> tuple[float, float, float]:
    """Mean, standard error, degrees of freedom; equal values count as having missed one at the far end."""
    stderr = float(array.std(ddof=1)) / math.sqrt(array.size)
    mean = float(array.mean())
    if stderr > 1e-12 * max(1.0, abs(mean)):
        return mean, stderr, informative_degrees_of_freedom(array)
    if bounds is None:
        raise StatisticsError(
            f"all {array.size} values of a group are {mean:g}", "values that differ, or a scale that ends"
        )
    reach = max(bounds[1] - mean, mean - bounds[0])
    return mean, _RULE_OF_THREE * reach / array.size, float(array.size - 1)


def _pairs(first: Sequence[Floats], second: Sequence[Floats], spec: GroupSpec) -> _Means:
    """Means of the first run in group g minus those of the second in group h, shape (G, G); paired where g is h."""
    a, b = _means(first, spec), _means(second, spec)
    variances = a.stderr[:, None] ** 2 + b.stderr[None, :] ** 2
    # Welch and Satterthwaite, with each side's degrees of freedom
    df = variances**2 / (a.stderr[:, None] ** 4 / a.df[:, None] + b.stderr[None, :] ** 4 / b.df[None, :])
    value, stderr = a.value[:, None] - b.value[None, :], np.sqrt(variances)
    if first is not second:
        reach = None if spec.bounds is None else spec.bounds[1] - spec.bounds[0]
        paired = [_mean(x - y, None if reach is None else (-reach, reach)) for x, y in zip(first, second, strict=True)]
        np.fill_diagonal(stderr, [p[1] for p in paired])
        np.fill_diagonal(df, [p[2] for p in paired])
    return _Means(value, stderr, df)


def _split(values: Sequence[Floats], spec: GroupSpec) -> tuple[NDArray[np.int64], Floats]:
    """Choose the worst group on half of every group's units and take its mean on the others, both ways round.

    Returns
    -------
    (chosen, means) : tuple of ndarray, shape (2 n_splits,)
        The same splits for all runs with the same groups and seed.
    """
    rng = np.random.default_rng(spec.seed)
    sign = 1.0 if spec.lowest else -1.0
    halves = np.empty((2, spec.n_splits, len(values)))
    other = np.empty_like(halves)
    for g, array in enumerate(values):
        order = rng.permuted(np.tile(np.arange(array.size), (spec.n_splits, 1)), axis=1)
        cut = array.size // 2
        parts = order[:, :cut], order[:, cut:]
        for side in (0, 1):
            halves[side, :, g] = array[parts[side]].mean(axis=1)
            other[side, :, g] = array[parts[1 - side]].mean(axis=1)
    chosen = (sign * halves).argmin(axis=2).reshape(-1)
    return chosen, np.take_along_axis(other.reshape(-1, len(values)), chosen[:, None], axis=1)[:, 0]


def _worst(
    names: Sequence[str],
    chosen: NDArray[np.int64],
    found: Floats,
    limits: tuple[float, float],
    given: tuple[Sequence[Floats], GroupSpec],
) -> WorstGroup:
    values, spec = given
    low, high = limits
    counts = np.bincount(chosen, minlength=len(names))
    n = sum(array.size for array in values)
    value = min(max(float(found.mean()), low), high)
    method = (
        f"worst of {len(names)} groups, chosen and estimated on different prompts ({spec.n_splits} splits); limits by "
        "intersection-union on one side, Bonferroni on the other"
    )
    estimate = Estimate(value, None, low, high, spec.level, method, n, n)
    worst = int(counts.argmax())
    return WorstGroup(estimate, names[worst], float(counts[worst] / chosen.size), value, value)
