"""Uncertainty of the length-controlled win rate: prompts are resampled and the whole estimator refitted.

docs/design/020-alpaca-length-control.md says what is being estimated and how the interval was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from benchmarks.alpaca_eval.lc_data import GamedBaseline, LengthControlData, LengthControlSpec
from benchmarks.alpaca_eval.lc_fit import LengthControlEstimator, gather
from benchmarks.alpaca_eval.logistic import Array
from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec
from harness.stats.bounded_interval import widened_by_raw
from harness.stats.estimate import Estimate

_AT_ONCE = 64
"""Resamples fitted together: enough to spread numpy's overhead, few enough to stay near the cache (13 MiB)."""
_LOOSE = 1e-4
"""Solver tolerance of a refit; it leaves errors below 1e-6 points."""


@dataclass(frozen=True, slots=True)
class LengthControlBootstrap(BootstrapSpec):
    """How the uncertainty is measured.

    Parameters
    ----------
    n_boot : int, default 1000
        Resamples of the prompts.
    level : float, default 0.95
        Nominal coverage.
    reselect_C : bool, default True
        Choose the penalty's strength anew in every resample; False keeps the observed sample's.
    """

    n_boot: int = 1000
    reselect_C: bool = True  # noqa: N815 - C is what the literature calls it


@dataclass(frozen=True, slots=True)
class LengthControlDraws:
    """Length-controlled win rates of M models on the observed prompts and on B resamples shared by all models.

    Parameters
    ----------
    win_rate : ndarray, shape (M,)
        On the observed prompts, percent.
    influence : ndarray, shape (M, n)
        Of each prompt on each win rate, percent (first-order change when the prompt's share grows).
    resampled : ndarray, shape (M, B)
        On the resamples, percent. Column b of every model comes from the same resampled prompts.
    resampled_stderr : ndarray, shape (M, B)
        Standard error within each resample by the infinitesimal jackknife, percent.
    """

    win_rate: Array
    influence: Array
    resampled: Array
    resampled_stderr: Array

    @property
    def n(self) -> int:
        """Number of prompts."""
        return int(self.influence.shape[1])

    @property
    def jackknife_stderr(self) -> Array:
        """Standard error by the infinitesimal jackknife, percent, shape (M,)."""
        return np.asarray(np.sqrt((self.influence**2).sum(axis=1) / (self.n * (self.n - 1))))


def bootstrap_length_controlled(
    data: LengthControlData,
    gamed: GamedBaseline,
    rng: np.random.Generator,
    spec: LengthControlSpec | None = None,
    bootstrap: LengthControlBootstrap | None = None,
) -> Estimate:
    """Length-controlled win rate with its standard error and interval over prompts.

    Parameters
    ----------
    data : LengthControlData
        One model's verdicts.
    gamed : GamedBaseline
        Stays fixed: it is part of the definition, not of the sample.
    rng : numpy.random.Generator
        Source of randomness.
    spec : LengthControlSpec, optional
        The estimator.
    bootstrap : LengthControlBootstrap, optional
        The resampling and the interval.

    Returns
    -------
    Estimate
        In percent. ``stderr`` is the standard deviation over resamples.

    Raises
    ------
    StatisticsError
        As :class:`benchmarks.alpaca_eval.lc_fit.LengthControlEstimator`.

    References
    ----------
    Davison, Hinkley (1997). Bootstrap Methods and their Application, sections 2.4 and 5.2-5.3.
    """
    bootstrap = bootstrap or LengthControlBootstrap()
    draws = length_controlled_draws([data], gamed, rng, spec, bootstrap)
    studentized = studentized_interval(draws, 0, bootstrap.level)
    value = float(_share(draws.win_rate[0]))
    scored = data.preference[np.isfinite(data.preference)]
    low, high = widened_by_raw(
        value, (studentized[0] / 100.0, studentized[1] / 100.0), scored, np.ones_like(scored), bootstrap.level
    )
    resampled = draws.resampled[0]
    chosen = "penalty chosen anew in each" if bootstrap.reselect_C else "penalty held"
    method = f"prompt bootstrap of the whole length-controlled fit, {bootstrap.n_boot} resamples, {chosen}"
    stderr = float(resampled.std(ddof=1))
    method += "; studentized interval"
    percent = float(draws.win_rate[0]), stderr, 100.0 * low, 100.0 * high
    return Estimate(*percent, bootstrap.level, method, data.n, data.n)


def compare_length_controlled(
    model: LengthControlData,
    other: LengthControlData,
    gamed: GamedBaseline,
    rng: np.random.Generator,
    spec: LengthControlSpec | None = None,
    bootstrap: LengthControlBootstrap | None = None,
) -> Estimate:
    """Difference of two models' length-controlled win rates on the same prompts, model less other.

    Parameters
    ----------
    model, other : LengthControlData
        Verdicts on the same prompts in the same order.
    gamed, rng, spec
        As in :func:`bootstrap_length_controlled`.
    bootstrap : LengthControlBootstrap, optional
        The resampling; the interval is the percentile one.

    Returns
    -------
    Estimate
        In points.

    Raises
    ------
    StatisticsError
        The models differ in their number of prompts, or as the estimator's.
    """
    bootstrap = bootstrap or LengthControlBootstrap()
    draws = length_controlled_draws([model, other], gamed, rng, spec, bootstrap)
    difference = draws.resampled[0] - draws.resampled[1]
    tail = (1.0 - bootstrap.level) / 2.0
    low, high = np.quantile(difference, [tail, 1.0 - tail])
    method = f"paired prompt bootstrap of the whole length-controlled fits, {bootstrap.n_boot} resamples; percentile"
    value, stderr = float(draws.win_rate[0] - draws.win_rate[1]), float(difference.std(ddof=1))
    return Estimate(value, stderr, float(low), float(high), bootstrap.level, method, model.n, model.n)


def length_controlled_draws(
    models: Sequence[LengthControlData],
    gamed: GamedBaseline,
    rng: np.random.Generator,
    spec: LengthControlSpec | None = None,
    bootstrap: LengthControlBootstrap | None = None,
) -> LengthControlDraws:
    """Refit one or more models on the same resampled prompts.

    Parameters
    ----------
    models : sequence of LengthControlData
        Verdicts on the same prompts in the same order.
    gamed, rng, spec, bootstrap
        As in :func:`bootstrap_length_controlled`.

    Returns
    -------
    LengthControlDraws
        For intervals, paired differences and rank ranges.

    Raises
    ------
    StatisticsError
        No model, different numbers of prompts, or as the estimator's.
    """
    spec, bootstrap = spec or LengthControlSpec(), bootstrap or LengthControlBootstrap()
    batches = list(_counts(_shared_size(models), rng, bootstrap.n_boot))
    each = [_draws_of(data, gamed, spec, bootstrap, batches) for data in models]
    win_rate, influence, resampled, stderr = (100.0 * np.stack(part) for part in zip(*each, strict=True))
    return LengthControlDraws(win_rate, influence, resampled, stderr)


def _shared_size(models: Sequence[LengthControlData]) -> int:
    sizes = {model.n for model in models}
    if len(sizes) != 1:
        raise StatisticsError(
            f"models with {sorted(sizes)} prompts", "the same prompts for every model", "keep the prompts all share"
        )
    return sizes.pop()


def _draws_of(
    data: LengthControlData,
    gamed: GamedBaseline,
    spec: LengthControlSpec,
    bootstrap: LengthControlBootstrap,
    batches: Sequence[Array],
) -> tuple[Array, Array, Array, Array]:
    """One model's win rate, influence, resampled win rates and their jackknife standard errors, as shares."""
    sample, fits = LengthControlEstimator(data, gamed, spec).observe()
    estimator = LengthControlEstimator(data, gamed, spec, _LOOSE)
    resampled, stderr = [], []
    for counts in batches:
        samples = gather(data, counts)
        refits = estimator.fit(samples, None if bootstrap.reselect_C else float(fits.C[0]), fits)
        n = samples.count.sum(axis=1)
        squares = (samples.count * estimator.influence(samples, refits) ** 2).sum(axis=1)
        resampled.append(refits.win_rate)
        stderr.append(np.sqrt(squares / (n * (n - 1.0))))
    influence = estimator.influence(sample, fits)[0]
    return fits.win_rate[0], influence, np.concatenate(resampled), np.concatenate(stderr)


def studentized_interval(draws: LengthControlDraws, model: int, level: float) -> tuple[float, float]:
    """Studentized confidence limits for one model's win rate, on the logit scale.

    The standard errors are the infinitesimal jackknife's. On the logit scale the interval stays inside 0 to 100 and the
    spread changes little with the value.

    Parameters
    ----------
    draws : LengthControlDraws
        From :func:`length_controlled_draws`.
    model : int
        Which model.
    level : float
        Nominal coverage.

    Returns
    -------
    low, high : float
        Percent.

    References
    ----------
    Davison, Hinkley (1997), section 5.2 (studentized, on a transformed scale).
    """
    value, resampled = _share(draws.win_rate[model]), _share(draws.resampled[model])
    pivot = (logit(resampled) - logit(value)) / (draws.resampled_stderr[model] / _slope(resampled))
    reach = draws.jackknife_stderr[model] / _slope(value)
    tails = [(1.0 + level) / 2.0, (1.0 - level) / 2.0]
    low, high = 100.0 * expit(logit(value) - np.quantile(pivot, tails) * reach)
    return float(low), float(high)


def _counts(n: int, rng: np.random.Generator, n_boot: int) -> Iterator[Array]:
    """How often each prompt is drawn, in batches of shape (b, n)."""
    for first in range(0, n_boot, _AT_ONCE):
        size = min(_AT_ONCE, n_boot - first)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)


def _share(percent: Array) -> Array:
    """Percent as a share inside (0, 1)."""
    return np.clip(np.asarray(percent) / 100.0, 1e-9, 1.0 - 1e-9)


def _slope(share: Array) -> Array:
    """Derivative of percent in the logit of the share."""
    return np.asarray(100.0 * share * (1.0 - share))
