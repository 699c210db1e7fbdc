"""The best of several candidates, measured on the data it was chosen on.

The largest of several noisy means is too large on average (the winner's curse). `selected_effect` corrects the estimate
and the interval of the candidate with the best mean; `simultaneous_interval` is wider and holds whatever rule chose the
candidate; `selection_level` is the level at which one candidate of several must be tested so that the chance of any
wrong pass stays at alpha. Which is used where, and what they cover on real data: docs/design/042-after-selection.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level
from harness.stats.variance_df import variance_df

_N_DRAWS = 20_000
_SEED = 20241127  # of the draws of the largest statistic; fixed for reproducible intervals
_FIRST_STEP = 0.1
"""Share of the error that the hybrid interval spends on the simultaneous one (beta = alpha / 10, as in the paper)."""
_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class SelectedEffect:
    """The effect of the candidate with the best mean.

    Parameters
    ----------
    selected : int
        Which candidate.
    raw : Estimate
        Its mean and t interval, as if it had been the only candidate.
    corrected : Estimate
        The median-unbiased estimate and the interval given that it was the best.
    n_candidates : int
        Number of candidates.
    """

    selected: int
    raw: Estimate
    corrected: Estimate
    n_candidates: int


def selected_effect(differences: Floats | Sequence[Sequence[float]], level: float = 0.95) -> SelectedEffect:
    r"""Estimate the effect of the candidate with the largest mean, corrected for having chosen it.

    Parameters
    ----------
    differences : array_like, shape (n, T)
        Differences between each of T candidates and the baseline, one row per prompt; larger is better. A column of
        zeros is the baseline itself among the candidates.
    level : float
        Nominal coverage.

    Returns
    -------
    SelectedEffect
        In the unit of the differences. If the best two tie, nothing is known of the margin by which the best was
        chosen: then `corrected` has the simultaneous interval, and its note says so.

    Raises
    ------
    StatisticsError
        Fewer than two prompts, no candidate, or values that are not finite.

    Notes
    -----
    The hybrid of Andrews, Kitagawa and McCloskey. Given the part of the means that is independent of the best one, Y,
    the event that it is the best says that Y lies in [lo, hi]; given further that the true effect mu lies in the
    simultaneous interval Y -+ c s of level 1 - beta, Y is normal with mean mu, truncated to the intersection of [lo,
    hi] and mu -+ c s. Limits and estimate are the values of mu for which the observed Y is that distribution's quantile
    at 1 - a, a and one half, a = (alpha - beta) / (1 - beta) / 2. The standard error is widened as Student's t with the
    reduced degrees of freedom of `variance_df` is, since the theory is that of many prompts.

    References
    ----------
    Andrews, Kitagawa and McCloskey (2024), Inference on Winners, Quarterly Journal of Economics 139, 305-358 (sections
    III and IV).
    """
    values = _checked(differences, level)
    means, covariance = values.mean(axis=0), _covariance_of_means(values)
    selected = int(means.argmax())
    raw = _t_estimate(values[:, selected], level)
    n_candidates = values.shape[1]
    if n_candidates == 1 or not raw.stderr:
        return SelectedEffect(selected, raw, raw, n_candidates)
    low, high = _truncation(means, covariance, selected)
    if low > means[selected] - _TIE * raw.stderr:
        wide = simultaneous_interval(values, selected, level)
        note = "another candidate has the same mean; the interval holds for all candidates at once"
        return SelectedEffect(selected, raw, replace(wide, note=note), n_candidates)
    value, limits = _hybrid(means[selected], (low, high), _Scaled.of(values, selected, level))
    method = f"best of {n_candidates}; median-unbiased, hybrid interval (Andrews, Kitagawa and McCloskey 2024)"
    n = len(values)
    corrected = Estimate(value, raw.stderr, *limits, level, method, n, n)
    return SelectedEffect(selected, raw, corrected, n_candidates)


def simultaneous_interval(
    differences: Floats | Sequence[Sequence[float]], selected: int, level: float = 0.95
) -> Estimate:
    """Return one candidate's interval of those that hold for all candidates at once.

    It holds whatever rule chose the candidate, including one that looked at other figures or at decisions of a gate.

    Parameters
    ----------
    differences : array_like, shape (n, T)
        As in :func:`selected_effect`.
    selected : int
        Which candidate.
    level : float
        Chance that the intervals of all candidates hold.

    Returns
    -------
    Estimate
        The mean with its interval; no correction of the mean itself is known without the rule.

    Raises
    ------
    StatisticsError
        As in :func:`selected_effect`, or no such candidate.
    """
    values = _checked(differences, level)
    n, n_candidates = values.shape
    if not 0 <= selected < n_candidates:
        raise StatisticsError(f"candidate {selected} of {n_candidates}", f"0 to {n_candidates - 1}")
    raw = _t_estimate(values[:, selected], level)
    if not raw.stderr:
        return raw
    half = _widened(_largest_quantile(values, level), values[:, selected]) * raw.stderr
    method = f"one of {n_candidates}; simultaneous interval (max-t)"
    return Estimate(raw.value, raw.stderr, raw.value - half, raw.value + half, level, method, n, n)


def selection_level(differences: Floats | Sequence[Sequence[float]], alpha: float) -> float:
    """Return the one-sided level at which each candidate must be tested for a chance of any wrong pass of alpha.

    Parameters
    ----------
    differences : array_like, shape (n, T)
        Differences between each of T candidates and the baseline, one row per prompt.
    alpha : float
        Familywise level.

    Returns
    -------
    float
        From alpha / T (Bonferroni) to alpha: the tail beyond the 1 - alpha quantile of the largest of T normal
        statistics with the correlations of the differences. Candidates without any difference do not count.

    Raises
    ------
    StatisticsError
        As in :func:`selected_effect`.

    References
    ----------
    Westfall and Young (1993), Resampling-Based Multiple Testing, section 2.3 (single-step min-P).
    """
    values = _checked(differences, 1.0 - alpha)
    draws = _correlated(values)
    if draws.shape[1] < 2:
        return alpha
    quantile = float(np.quantile(draws.max(axis=1), 1.0 - alpha, method="higher"))
    return float(min(alpha, max(alpha / draws.shape[1], stats.norm.sf(quantile))))


def _checked(differences: Floats | Sequence[Sequence[float]], level: float) -> Floats:
    checked_level(level)
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise StatisticsError(f"differences of shape {values.shape}", "an array (prompts, candidates), at least (2, 1)")
    if not np.isfinite(values).all():
        raise StatisticsError("differences that are NaN or infinite", "finite numbers", "leave out unscored prompts")
    return values


def _covariance_of_means(values: Floats) -> Floats:
    return np.atleast_2d(np.cov(values, rowvar=False)) / len(values)


def _t_estimate(values: Floats, level: float) -> Estimate:
    n, mean, stderr = values.size, float(values.mean()), float(values.std(ddof=1)) / math.sqrt(values.size)
    if stderr <= 1e-12 * max(1.0, abs(mean)):
        return Estimate(mean, 0.0, mean, mean, level, "mean; no spread", n, n, "every prompt has the same difference")
    df = variance_df(values)
    half = float(stats.t.ppf(0.5 + level / 2.0, df)) * stderr
    return Estimate(mean, stderr, mean - half, mean + half, level, f"mean; t interval, {df:.1f} df", n, n)


def _correlated(values: Floats) -> Floats:
    """Draws of correlated normal statistics, shape (draws, candidates with a spread)."""
    spread = values.std(axis=0) > 1e-12 * np.maximum(1.0, np.abs(values.mean(axis=0)))
    if not spread.any():
        return np.zeros((1, 0))
    correlation = np.atleast_2d(np.corrcoef(values[:, spread], rowvar=False))
    root, size, _ = np.linalg.svd(correlation)
    return np.asarray(_noise(len(correlation)) * np.sqrt(size) @ root.T)


@lru_cache(maxsize=8)
def _noise(n_candidates: int) -> Floats:
    return np.random.default_rng(_SEED).standard_normal((_N_DRAWS, n_candidates))


def _largest_quantile(values: Floats, level: float) -> float:
    return float(np.quantile(np.abs(_correlated(values)).max(axis=1), level, method="higher"))


def _widened(quantile: float, values: Floats) -> float:
    """A normal quantile made as wide as Student's t with the reduced degrees of freedom."""
    return float(stats.t.isf(stats.norm.sf(quantile), variance_df(values)))


def _truncation(means: Floats, covariance: Floats, selected: int) -> tuple[float, float]:
    """Return between which limits the best mean is the best, given the part of the others independent of it."""
    slope = covariance[:, selected] / covariance[selected, selected]
    rest = means - slope * means[selected]
    lead = 1.0 - slope  # by how much the best gains on another when it grows by one
    others = np.arange(means.size) != selected
    below, above = others & (lead > _TIE), others & (lead < -_TIE)
    low = float((rest[below] / lead[below]).max()) if below.any() else -math.inf
    high = float((rest[above] / lead[above]).min()) if above.any() else math.inf
    return low, high


@dataclass(frozen=True, slots=True)
class _Scaled:
    """The scale of the hybrid interval.

    Parameters
    ----------
    stderr : float
        Standard error, widened as Student's t is.
    reach : float
        Half-width of the simultaneous interval of level 1 - beta, in those standard errors.
    tail : float
        Error of each side.
    """

    stderr: float
    reach: float
    tail: float

    @classmethod
    def of(cls, values: Floats, selected: int, level: float) -> _Scaled:
        alpha = 1.0 - level
        beta = _FIRST_STEP * alpha
        own = values[:, selected]
        wider = _widened(float(stats.norm.ppf(0.5 + level / 2.0)), own) / float(stats.norm.ppf(0.5 + level / 2.0))
        stderr = float(own.std(ddof=1)) / math.sqrt(own.size)
        reach = _widened(_largest_quantile(values, 1.0 - beta), own)
        return cls(stderr * wider, reach / wider, (alpha - beta) / (1.0 - beta) / 2.0)


def _hybrid(value: float, limits: tuple[float, float], scaled: _Scaled) -> tuple[float, tuple[float, float]]:
    """Estimate and interval of a normal mean from a value that was only seen because it lies within limits."""
    sd, reach = scaled.stderr, scaled.reach
    ends = value - reach * sd * (1.0 - _TIE), value + reach * sd * (1.0 - _TIE)

    def below(mean: float) -> float:
        """Chance of a value at most as large as the one seen, were this the true mean."""
        low, high = (max(limits[0] - mean, -reach * sd) / sd, min(limits[1] - mean, reach * sd) / sd)
        return _truncated_cdf((value - mean) / sd, low, high)

    def mean_at(share: float) -> float:
        if below(ends[0]) <= share:
            return ends[0]
        if below(ends[1]) >= share:
            return ends[1]
        return float(optimize.brentq(lambda mean: below(mean) - share, *ends, xtol=1e-10 * sd))

    return mean_at(0.5), (mean_at(1.0 - scaled.tail), mean_at(scaled.tail))


def _truncated_cdf(x: float, low: float, high: float) -> float:
    """Distribution function of the standard normal truncated to [low, high], in the tail where it is exact."""
    sign = -1.0 if low > 0.0 else 1.0
    at, start, end = special.ndtr(sign * np.array([x, low, high]))
    return float((at - start) / (end - start)) if end != start else float(x > low)
