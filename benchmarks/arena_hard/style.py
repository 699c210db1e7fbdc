"""Style control for Arena-Hard: the win rate with length and Markdown held fixed.

The log odds that a model beats the baseline get, beside the model's strength, a term for each style difference
between the two answers: tokens, headers, list items, bold spans. All models share these coefficients. Upstream has two
versions:

- v0.1 (commit b4b78bf, ``utils_math.py``) fits with scikit-learn's default ridge (C = 1) on rows taken twice.
- v2 (commit 196f6b8, ``show_result.py``, ``utils/math_utils.py``) fits without a penalty. It stops its optimiser after
  50 damped steps, close to the optimum; here the optimum is reached.

How each normalises a difference is in :mod:`benchmarks.arena_hard.style_features`. Both subtract the *mean*
difference, so their controlled win rate is that of a model whose style differs from the baseline's as much as the
leaderboard's average model's does. Alone on the board, a model is its own average and the control does next to nothing.
``reference="equal"``, the default here, asks what is meant: the win rate if both answers had the same style.
``reference="mean"`` is upstream's.

Any of the four features can be controlled alone; upstream v2 crashes on length only (it fits the first model's column)
and on Markdown only shifts the models' names by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.arena_hard.five_way import VerdictTable
from benchmarks.arena_hard.style_features import FEATURES, StyleCounts, Version, refuse_missing_style, style_differences
from benchmarks.arena_hard.style_fit import StyleFit, StyleProblem, fit_style, prompt_influence
from harness.errors import StatisticsError
from harness.stats.estimate import Estimate
from harness.stats.rate_interval import RateSample, informative_degrees_of_freedom, rate_interval

Floats = NDArray[np.float64]
Reference = Literal["equal", "mean"]

_LOG_10 = math.log(10.0)


@dataclass(frozen=True, slots=True)
class StyleControl:
    """What to control and how.

    Parameters
    ----------
    version : {"v0.1", "v2"}
        Upstream's normalisation and penalty.
    features : tuple of str
        Among `FEATURES`.
    reference : {"equal", "mean"}
        At which style difference the win rate is read: none, or upstream's mean over all verdict rows.
    """

    version: Version = "v2"
    features: tuple[str, ...] = FEATURES
    reference: Reference = "equal"

    def __post_init__(self) -> None:
        unknown = [name for name in self.features if name not in FEATURES]
        if unknown or not self.features or len(set(self.features)) < len(self.features):
            raise StatisticsError(
                f"style features {', '.join(self.features) or '(none)'}",
                "some of " + ", ".join(FEATURES) + ", each once",
            )
        if self.version not in ("v0.1", "v2") or self.reference not in ("equal", "mean"):
            raise StatisticsError(
                f"version {self.version!r}, reference {self.reference!r}", "'v0.1' or 'v2'; 'equal' or 'mean'"
            )


_FULL_CONTROL = StyleControl()


@dataclass(frozen=True, slots=True)
class StyleControlled:
    """Controlled win rates and what style was worth.

    Parameters
    ----------
    win_rates : dict
        Model to estimate, in percent.
    coefficients : dict
        Feature to estimate: change of the log odds of a win for one standard deviation more of the feature.
    left_out : dict
        Feature to the reason it could not be controlled.
    """

    win_rates: dict[str, Estimate]
    coefficients: dict[str, Estimate]
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A fit ready to run: standardised differences, and where the win rate is read."""

    control: StyleControl
    models: tuple[str, ...]
    problem: StyleProblem
    n_baseline_columns: int
    read_at: Floats
    left_out: dict[str, str]


def style_controlled_win_rates(
    table: VerdictTable, style: StyleCounts, control: StyleControl = _FULL_CONTROL, level: float = 0.95
) -> StyleControlled:
    """Estimate all models' win rates with style controlled, intervals over prompts.

    Parameters
    ----------
    table : VerdictTable
        The verdicts; rows of the baseline against itself are left out.
    style : StyleCounts
        Style of the answers judged.
    control : StyleControl
        What to control and how; all four features of version 2 at equal style unless told otherwise.
    level : float
        Nominal coverage.

    Returns
    -------
    StyleControlled

    Raises
    ------
    StatisticsError
        Lengths missing for a judged answer, negative counts, fewer than two prompts, no feature that varies, or
        features that tell wins from losses by themselves.

    Notes
    -----
    The standard error is cluster-robust (Liang and Zeger 1986), the limit of a bootstrap that resamples prompts for all
    models together and refits; the interval is as for the plain win rate. A model that won or lost everything says
    nothing about style: its win rate stays 100 or 0 (version 2; the ridge of 0.1 keeps it finite).
    """
    prepared = _prepare(table, style, control)
    fit = _whole_fit(prepared)
    settled = np.isfinite(fit.strength[0])
    kept = _only(prepared.problem, settled)
    kept_fit = replace(fit, strength=fit.strength[:, settled])
    influence = prompt_influence(kept, kept_fit)
    n_kept = int(settled.sum())
    n_rows = {m: int(np.count_nonzero(w)) for m, w in zip(prepared.models, prepared.problem.weight, strict=True)}
    method = _describe(prepared)
    shift, shift_influence = _read_shift(prepared, fit.coefficients[0], influence[:, n_kept:], kept)
    estimates, column = {}, 0
    for row, model in enumerate(prepared.models):
        judged = prepared.problem.weight[row] > 0
        log_odds = float(fit.strength[0, row]) + shift if settled[row] else float(fit.strength[0, row])
        rate = _expit(log_odds)
        effect = np.zeros(table.won.shape[1])
        if settled[row]:
            effect = (influence[:, column] + shift_influence) * rate * (1.0 - rate)
            column += 1
        part = effect if settled[row] else effect[judged]
        estimates[model] = rate_interval(RateSample(rate, part, n_rows[model]), level, method)
    coefficients = _coefficient_estimates(prepared, fit.coefficients[0], influence[:, n_kept:], level)
    return StyleControlled(estimates, coefficients, prepared.left_out)


def bootstrap_style_controlled(
    table: VerdictTable,
    style: StyleCounts,
    rng: np.random.Generator,
    control: StyleControl = _FULL_CONTROL,
    n_rounds: int = 1000,
) -> Floats:
    """Resample prompts, refit, and read the controlled win rates again, all replicates in one Newton iteration.

    Parameters
    ----------
    table : VerdictTable
        The verdicts.
    style : StyleCounts
        Style of the answers judged.
    rng : numpy.random.Generator
        Source of randomness.
    control : StyleControl
        What to control and how.
    n_rounds : int
        Replicates.

    Returns
    -------
    ndarray, shape (at most n_rounds, M)
        Win rates in percent, columns in the order of the table without the baseline; for rank ranges. Resamples in
        which style alone tells wins from losses are left out.

    Raises
    ------
    StatisticsError
        As :func:`style_controlled_win_rates`, no round, or more than one resample in twenty without a fit.
    """
    if n_rounds < 1:
        raise StatisticsError(f"{n_rounds} bootstrap rounds", "at least 1")
    prepared = _prepare(table, style, control)
    n_prompts = table.won.shape[1]
    whole = _whole_fit(prepared)
    draws, n_lost = [], 0
    for begin in range(0, n_rounds, 1000):
        size = min(1000, n_rounds - begin)
        counts = rng.multinomial(n_prompts, np.full(n_prompts, 1.0 / n_prompts), size=size).astype(np.float64)
        fit = fit_style(prepared.problem, counts, whole)
        at = np.tile(prepared.read_at, (size, 1))
        if control.reference == "mean":
            at[:, prepared.n_baseline_columns :] = _mean_design(prepared, counts)
        shift = (fit.coefficients * at).sum(axis=1, keepdims=True)
        rates = 50.0 * (1.0 + np.tanh(0.5 * (fit.strength + shift)))
        draws.append(rates[fit.converged])
        n_lost += int(np.count_nonzero(~fit.converged))
    if n_lost > 0.05 * n_rounds:
        raise StatisticsError(
            f"style alone tells wins from losses (or is collinear) in {n_lost} of {n_rounds} resamples",
            "at most one in twenty",
            "control fewer features, or judge more prompts",
        )
    return np.concatenate(draws)


def _whole_fit(prepared: _Prepared) -> StyleFit:
    """Fit to the data as they are, or say why there is no fit."""
    problem = prepared.problem
    won, weight = problem.won.sum(axis=1), problem.weight.sum(axis=1)
    if problem.ridge_model == 0 and ((won == 0) | (won == weight)).all():
        raise StatisticsError(
            "every model won or lost all of its verdicts", "a model with both", "there is nothing to control"
        )
    fit = fit_style(problem, np.ones((1, problem.won.shape[1])))
    if not fit.converged[0]:
        raise StatisticsError(
            "style alone tells wins from losses, or its features are collinear: there is no finite fit",
            "wins and losses at similar style, and features that vary separately",
            "control fewer features, or judge more prompts",
        )
    return fit


def _prepare(table: VerdictTable, style: StyleCounts, control: StyleControl) -> _Prepared:
    rows = [i for i, model in enumerate(table.models) if model != table.baseline]
    models = tuple(table.models[i] for i in rows)
    if not rows:
        raise StatisticsError(f"nobody plays the baseline {table.baseline}", "at least one other model")
    if style.models.shape != (*table.won.shape, 4) or style.baseline.shape != (table.won.shape[1], 4):
        raise StatisticsError(
            f"style counts of shape {style.models.shape} and {style.baseline.shape}",
            f"{(*table.won.shape, 4)} for the models and {(table.won.shape[1], 4)} for the baseline",
        )
    won, weight = table.won[rows], table.weight[rows]
    counts = StyleCounts(style.models[rows], style.baseline)
    refuse_missing_style(models, weight, counts)
    unjudged: NDArray[np.bool_] = weight == 0
    never: NDArray[np.bool_] = weight.sum(axis=0) == 0
    known = StyleCounts(
        np.where(unjudged[:, :, None], 0.0, counts.models), np.where(never[:, None], 0.0, counts.baseline)
    )
    differences = style_differences(known, control.version)
    columns, names, zero, left_out = [], [], [], {}
    n_rows = float(weight.sum())
    for name in control.features:
        column = differences[:, :, FEATURES.index(name)]
        mean = float((weight * column).sum()) / n_rows
        spread = float((weight * (column - mean) ** 2).sum())
        deviation = math.sqrt(spread / (n_rows - (1.0 if control.version == "v2" else 0.0)))
        if deviation < 1e-12:
            left_out[name] = "the same in every answer"
            continue
        columns.append((column - mean) / deviation)
        names.append(name)
        zero.append(-mean / deviation)
    if not names:
        raise StatisticsError(
            f"no style difference in {', '.join(control.features)}",
            "answers that differ in style",
            "nothing to control",
        )
    control = replace(control, features=tuple(names))
    ridge = 1.0 if control.version == "v0.1" else 0.0
    n_baseline = 1 if control.version == "v0.1" else 0
    design = np.stack([np.full_like(won, -1.0)] * n_baseline + columns, axis=2)
    at_zero = zero if control.reference == "equal" else [0.0] * len(zero)
    problem = StyleProblem(
        won,
        weight,
        design,
        ridge / _LOG_10**2,
        np.array([ridge / _LOG_10**2] * n_baseline + [ridge] * len(names)),
        2.0 if control.version == "v0.1" else 1.0,
    )
    return _Prepared(control, models, problem, n_baseline, np.array([-1.0] * n_baseline + at_zero), left_out)


def _only(problem: StyleProblem, rows: NDArray[np.bool_]) -> StyleProblem:
    return replace(problem, won=problem.won[rows], weight=problem.weight[rows], design=problem.design[rows])


def _mean_design(prepared: _Prepared, counts: Floats) -> Floats:
    """Mean standardised style difference over the verdict rows of each replicate, shape (B, features)."""
    weight = prepared.problem.weight
    style = prepared.problem.design[:, :, prepared.n_baseline_columns :]
    totals = np.einsum("mp,mpk->pk", weight, style)
    return np.asarray(counts @ totals / (counts @ weight.sum(axis=0))[:, None], dtype=np.float64)


def _read_shift(
    prepared: _Prepared, coefficients: Floats, influence: Floats, kept: StyleProblem
) -> tuple[float, Floats]:
    """What is added to a strength where the win rate is read, and each prompt's influence on it."""
    shift = float(coefficients @ prepared.read_at)
    effect = influence @ prepared.read_at
    if prepared.control.reference == "mean":
        n_baseline = prepared.n_baseline_columns
        mean_parts = np.einsum("mp,mpk->pk", prepared.problem.weight, prepared.problem.design[:, :, n_baseline:])
        effect = effect + mean_parts @ coefficients[n_baseline:] / prepared.problem.weight.sum()
    return shift, np.asarray(effect, dtype=np.float64)


def _coefficient_estimates(
    prepared: _Prepared, coefficients: Floats, influence: Floats, level: float
) -> dict[str, Estimate]:
    estimates = {}
    n_prompts = len(influence)
    for k, name in enumerate(prepared.control.features, start=prepared.n_baseline_columns):
        centred = influence[:, k] - influence[:, k].mean()
        stderr = math.sqrt(float(centred @ centred) * n_prompts / (n_prompts - 1))
        reach = float(stats.t.ppf(0.5 + level / 2, informative_degrees_of_freedom(influence[:, k]))) * stderr
        value = float(coefficients[k])
        estimates[name] = Estimate(
            value,
            stderr,
            value - reach,
            value + reach,
            level,
            "log odds per standard deviation; cluster-robust over prompts, t",
            int(np.count_nonzero(prepared.problem.weight)),
            n_prompts,
        )
    return estimates


def _describe(prepared: _Prepared) -> str:
    control = prepared.control
    where = "equal style" if control.reference == "equal" else "the mean style difference"
    penalty = "ridge as scikit-learn's C = 1" if control.version == "v0.1" else "unpenalised"
    return f"win rate at {where}, controlled for {', '.join(control.features)} ({control.version} features, {penalty})"


def _expit(x: float) -> float:
    return 0.5 * (1.0 + math.tanh(0.5 * x))
