"""How a score goes with the length of what was scored: Pearson's correlation, over answers and within each prompt."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, finite_array
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean


@dataclass(frozen=True, slots=True)
class CorrelationBand:
    """Prompts of similar mean score.

    Parameters
    ----------
    low, high : float
        Range of the prompts' mean scores.
    n_prompts : int
        Prompts in it.
    pearson : float or None
        Mean of their correlations; None where none of them has one.
    """

    low: float
    high: float
    n_prompts: int
    pearson: float | None


@dataclass(frozen=True, slots=True)
class PromptCorrelations:
    """One correlation a prompt, over its answers.

    Parameters
    ----------
    mean : Estimate
        The mean over prompts, with an interval over prompts.
    correlations : ndarray, shape (m,)
        Each prompt's correlation.
    mean_scores : ndarray, shape (m,)
        The mean score of each of these prompts' answers.
    prompts : tuple of hashable, length m
        The prompts.
    n_left_out : int
        Prompts with fewer answers than asked for, or whose answers all have one score or one length: they have no
        correlation.
    """

    mean: Estimate
    correlations: Floats
    mean_scores: Floats
    prompts: tuple[Hashable, ...]
    n_left_out: int


def pearson(first: Sequence[float] | Floats, second: Sequence[float] | Floats, level: float = 0.95) -> Estimate:
    """Pearson's correlation with Fisher's z interval.

    Parameters
    ----------
    first, second : sequence of float, length n
        One pair an independent unit.
    level : float
        Nominal coverage, for pairs that are normal or nearly so.

    Returns
    -------
    Estimate
        Without an interval for fewer than four pairs or a perfect correlation.

    Raises
    ------
    StatisticsError
        Lengths differ, fewer than three pairs, or one of the two does not vary.

    References
    ----------
    Fisher (1921), On the probable error of a coefficient of correlation deduced from a small sample, Metron 1:3-32.
    """
    x, y = finite_array(first, "values"), finite_array(second, "values")
    if x.size != y.size or x.size < 3:
        raise StatisticsError(f"{x.size} and {y.size} values", "as many of each, at least three")
    if min(float(np.ptp(x)), float(np.ptp(y))) == 0.0:
        raise StatisticsError("all values are the same", "values that vary")
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))
    method = "Pearson's r, Fisher's z"
    if x.size < 4 or abs(r) >= 1.0:
        return Estimate(r, None, None, None, level, method, x.size, x.size, "too few pairs, or perfect: no interval")
    half = float(stats.norm.ppf(0.5 + level / 2.0)) / (x.size - 3) ** 0.5
    z = np.arctanh(r)
    stderr = (1.0 - r**2) / (x.size - 1) ** 0.5
    return Estimate(r, stderr, float(np.tanh(z - half)), float(np.tanh(z + half)), level, method, x.size, x.size)


def correlations_within_prompts(
    scores: Sequence[float] | Floats,
    lengths: Sequence[float] | Floats,
    prompts: Sequence[Hashable],
    level: float = 0.95,
    fewest: int = 3,
) -> PromptCorrelations:
    """Correlate score and length among the answers to each prompt.

    Parameters
    ----------
    scores, lengths : sequence of float, length n
        Of each answer.
    prompts : sequence of hashable, length n
        Which prompt it answers.
    level : float
        Nominal coverage of the mean's interval.
    fewest : int
        Answers a prompt needs for a correlation, at least two.

    Returns
    -------
    PromptCorrelations

    Raises
    ------
    StatisticsError
        Lengths differ, or no prompt has so many answers that vary.

    References
    ----------
    Dong et al. (2024), RLHF Workflow, arXiv:2405.07863, figure 3.
    """
    r, means = _each_prompt(scores, lengths, prompts, fewest)
    has_one = np.isfinite(r)
    if not has_one.any():
        raise StatisticsError(
            f"no prompt has {fewest} answers or more that differ in score and in length", "several answers a prompt"
        )
    kept = tuple(prompt for prompt, chosen in zip(dict.fromkeys(prompts), has_one, strict=True) if chosen)
    mean = cluster_mean(r[has_one], range(len(kept)), level, (-1.0, 1.0))
    return PromptCorrelations(mean, r[has_one], means[has_one], kept, int(r.size - len(kept)))


def correlation_bands(
    scores: Sequence[float] | Floats, lengths: Sequence[float] | Floats, prompts: Sequence[Hashable], n_bands: int = 8
) -> list[CorrelationBand]:
    """Group prompts by their mean score, and average the correlations of score and length in each group.

    Parameters
    ----------
    scores, lengths, prompts
        As in :func:`correlations_within_prompts`; two answers make a correlation.
    n_bands : int
        Groups of (nearly) equal numbers of prompts.

    Returns
    -------
    list of CorrelationBand
        From the lowest mean score up; fewer than `n_bands` where there are fewer prompts.

    Raises
    ------
    StatisticsError
        Lengths differ, no answers, or a value that is not finite.

    References
    ----------
    Dong et al. (2024), arXiv:2405.07863, figure 3.
    """
    r, means = _each_prompt(scores, lengths, prompts, fewest=2)
    bands = []
    for part in np.array_split(np.argsort(means, kind="stable"), min(n_bands, r.size)):
        known = r[part][np.isfinite(r[part])]
        low, high = float(means[part[0]]), float(means[part[-1]])
        bands.append(CorrelationBand(low, high, part.size, float(known.mean()) if known.size else None))
    return bands


def _each_prompt(
    scores: Sequence[float] | Floats, lengths: Sequence[float] | Floats, prompts: Sequence[Hashable], fewest: int
) -> tuple[Floats, Floats]:
    """Compute each prompt's correlation, NaN where it has none, and its mean score."""
    x, y = finite_array(scores, "scores"), finite_array(lengths, "lengths")
    if not x.size == y.size == len(prompts):
        raise StatisticsError(f"{x.size} scores, {y.size} lengths, {len(prompts)} prompts", "as many of each")
    codes, n_prompts = cluster_codes(prompts, x.size)
    n = np.bincount(codes, minlength=n_prompts).astype(np.float64)
    means = [np.bincount(codes, weights=v, minlength=n_prompts) / n for v in (x, y)]
    dx, dy = x - means[0][codes], y - means[1][codes]
    xx, yy, xy = (np.bincount(codes, weights=v, minlength=n_prompts) for v in (dx * dx, dy * dy, dx * dy))
    floor = 1e-18 * np.maximum(1.0, np.abs(np.stack(means)) ** 2).max(axis=0) * n
    usable = (n >= fewest) & (xx > floor) & (yy > floor)
    r = np.full(n_prompts, np.nan)
    r[usable] = np.clip(xy[usable] / np.sqrt(xx[usable] * yy[usable]), -1.0, 1.0)
    return r, means[0]
