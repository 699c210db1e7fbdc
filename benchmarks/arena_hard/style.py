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
from scipy import stats
from scipy.special import expit

from benchmarks.arena_hard.style_features import FEATURES, StyleCounts, Version, refuse_missing_style, style_differences
from benchmarks.arena_hard.style_fit import StyleFit, StyleProblem, fit_style, prompt_influence
from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.bounded_interval import widened_by_raw
from harness.stats.estimate import Estimate
from harness.stats.rate_interval import RateSample, informative_degrees_of_freedom, rate_interval

Reference = Literal["equal", "mean"]

_LOG_10 = math.log(10.0)
_FEWEST_FOR_RIDGE = 50
_RIDGE_DECIDES = f"no interval: on fewer than {_FEWEST_FOR_RIDGE} prompts the ridge decides and intervals cover 91 %"


@dataclass(frozen=True, slots=True)
class VerdictTable:
    """Models' verdicts against one baseline, added up by prompt.

    Parameters
    ----------
    models : tuple of str, length M
        The models, the baseline not among them.
    won, weight : ndarray, shape (M, P)
        Weight won and played on each prompt: a decisive win 3, a slight one 1, half of a tie; 0 played where a model
        has no verdict.
    """

    models: tuple[str, ...]
    won: Floats
    weight: Floats


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
class _Features:
    """Standardised style differences of the features that vary.

    Parameters
    ----------
    names : tuple of str
        The features.
    columns : ndarray, shape (M, P, K)
        Their differences, mean 0 and standard deviation 1 over the verdict rows.
    zero : ndarray, shape (K,)
        Where no difference at all stands on that scale.
    left_out : dict
        Feature to the reason it is not among them.
    """

    names: tuple[str, ...]
    columns: Floats
    zero: Floats
    left_out: dict[str, str]


def style_controlled_win_rates(
    table: VerdictTable, style: StyleCounts, control: StyleControl = _FULL_CONTROL, level: float = 0.95
) -> StyleControlled:
    """Estimate all models' win rates with style controlled, intervals over prompts.

    Parameters
    ----------
    table : VerdictTable
        The verdicts.
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
    features = _features(table, style, control)
    problem = _problem(table, features, control.version)
    fit = _whole_fit(problem)
    influence = prompt_influence(problem, fit)
    n_models, n_features = len(table.models), len(features.names)
    shift, shift_influence = _read_shift(features, problem, fit, influence[:, n_models:], control)
    method = _describe(control, features)
    estimates = {}
    for row, model in enumerate(table.models):
        judged = table.weight[row] > 0
        settled = bool(np.isinf(fit.strength[row]))
        rate = float(expit(fit.strength[row] + shift))
        effect = (influence[:, row] + shift_influence) * rate * (1.0 - rate)
        part = np.zeros(int(judged.sum())) if settled else effect
        sample = RateSample(rate, part, int(judged.sum()), 1 + problem.design.shape[2])
        found = rate_interval(sample, level, method)
        ridge_decides = control.version == "v0.1" and int(judged.sum()) < _FEWEST_FOR_RIDGE
        if ridge_decides:
            estimates[model] = replace(found, ci_low=None, ci_high=None, note=_RIDGE_DECIDES)
        else:
            estimates[model] = _with_raw(found, table.won[row, judged], table.weight[row, judged])
    n_rows = int(np.count_nonzero(table.weight))
    coefficients = {
        name: _coefficient_estimate(float(value), column, n_rows, level)
        for name, value, column in zip(
            features.names, fit.coefficients[-n_features:], influence[:, -n_features:].T, strict=True
        )
    }
    return StyleControlled(estimates, coefficients, features.left_out)


def _with_raw(found: Estimate, won: Floats, weight: Floats) -> Estimate:
    """Limits no closer than the raw rate's; those of a settled model are the raw rate's already."""
    if found.ci_low is None or found.ci_high is None or not 0.0 < found.value < 100.0:
        return found
    limits = found.ci_low / 100.0, found.ci_high / 100.0
    low, high = widened_by_raw(found.value / 100.0, limits, won, weight, found.level)
    return replace(found, ci_low=100.0 * low, ci_high=100.0 * high)


def _features(table: VerdictTable, style: StyleCounts, control: StyleControl) -> _Features:
    """Normalise and standardise the style differences."""
    wanted = (*table.won.shape, 4)
    if style.models.shape != wanted or style.baseline.shape != wanted[1:]:
        raise StatisticsError(
            f"style counts of shape {style.models.shape} and {style.baseline.shape}",
            f"{wanted} for the models and {wanted[1:]} for the baseline",
        )
    refuse_missing_style(table.models, table.weight, style)
    unjudged, never = table.weight == 0, table.weight.sum(axis=0) == 0
    known = StyleCounts(
        np.where(unjudged[:, :, None], 0.0, style.models), np.where(never[:, None], 0.0, style.baseline)
    )
    differences, weight = style_differences(known, control.version), table.weight
    n_rows = float(weight.sum())
    columns, zero, left_out = {}, [], {}
    for name in control.features:
        column = differences[:, :, FEATURES.index(name)]
        mean = float((weight * column).sum()) / n_rows
        spread = float((weight * (column - mean) ** 2).sum())
        deviation = math.sqrt(spread / (n_rows - (1.0 if control.version == "v2" else 0.0)))
        if deviation < 1e-12:
            left_out[name] = "the same in every answer"
            continue
        columns[name] = (column - mean) / deviation
        zero.append(-mean / deviation)
    if not columns:
        raise StatisticsError(
            f"no style difference in {', '.join(control.features)}",
            "answers that differ in style",
            "nothing to control",
        )
    return _Features(tuple(columns), np.stack(list(columns.values()), axis=2), np.array(zero), left_out)


def _problem(table: VerdictTable, features: _Features, version: Version) -> StyleProblem:
    """The regression of upstream's version; version 0.1 has a column for the baseline, and a ridge in base 10."""
    if version == "v2":
        no_ridge = np.zeros(len(features.names))
        return StyleProblem(table.won, table.weight, features.columns, 0.0, no_ridge, 1.0)
    baseline = np.full((*table.won.shape, 1), -1.0)
    ridge = np.array([1.0 / _LOG_10**2] + [1.0] * len(features.names))
    design = np.concatenate([baseline, features.columns], axis=2)
    return StyleProblem(table.won, table.weight, design, 1.0 / _LOG_10**2, ridge, 2.0)


def _whole_fit(problem: StyleProblem) -> StyleFit:
    """Fit, or say why there is no fit."""
    if problem.settled.all():
        raise StatisticsError(
            "every model won or lost all of its verdicts", "a model with both", "there is nothing to control"
        )
    fit = fit_style(problem)
    if not fit.converged:
        raise StatisticsError(
            "style alone tells wins from losses, or its features are collinear: there is no finite fit",
            "wins and losses at similar style, and features that vary separately",
            "control fewer features, or judge more prompts",
        )
    return fit


def _read_shift(
    features: _Features, problem: StyleProblem, fit: StyleFit, influence: Floats, control: StyleControl
) -> tuple[float, Floats]:
    """What is added to a strength where the win rate is read, and each prompt's influence on it."""
    n_baseline = problem.design.shape[2] - len(features.names)
    at = features.zero if control.reference == "equal" else np.zeros_like(features.zero)
    read_at = np.concatenate([np.full(n_baseline, -1.0), at])
    shift, effect = float(fit.coefficients @ read_at), influence @ read_at
    if control.reference == "mean":
        means = np.einsum("mp,mpk->pk", problem.weight, features.columns)
        effect = effect + means @ fit.coefficients[n_baseline:] / problem.weight.sum()
    return shift, np.asarray(effect, dtype=np.float64)


def _coefficient_estimate(value: float, influence: Floats, n_rows: int, level: float) -> Estimate:
    n_prompts = len(influence)
    centred = influence - influence.mean()
    stderr = math.sqrt(float(centred @ centred) * n_prompts / (n_prompts - 1))
    reach = float(stats.t.ppf(0.5 + level / 2, informative_degrees_of_freedom(influence))) * stderr
    method = "log odds per standard deviation; cluster-robust over prompts, t"
    return Estimate(value, stderr, value - reach, value + reach, level, method, n_rows, n_prompts)


def _describe(control: StyleControl, features: _Features) -> str:
    where = "equal style" if control.reference == "equal" else "the mean style difference"
    penalty = "ridge as scikit-learn's C = 1" if control.version == "v0.1" else "unpenalised"
    return f"win rate at {where}, controlled for {', '.join(features.names)} ({control.version} features, {penalty})"


@dataclass(frozen=True, slots=True)
class StyleDifference:
    """Two models' win rates with style controlled, their difference (percent), and its two-sided p-value."""

    first: float
    second: float
    difference: Estimate
    p_value: float | None


Judged = tuple[VerdictTable, StyleCounts]
"""One model's verdicts, and the style of the answers judged."""


def style_controlled_difference(
    first: Judged, second: Judged, control: StyleControl = _FULL_CONTROL, level: float = 0.95
) -> StyleDifference:
    """Difference of two models' win rates against one baseline, each with style controlled by its own regression.

    Parameters
    ----------
    first, second : (VerdictTable, StyleCounts)
        One model each, on the same prompts in the same order.
    control : StyleControl
        What to control and how.
    level : float
        Nominal coverage.

    Returns
    -------
    StyleDifference
        First minus second. The standard error is the cluster-robust one of the difference of both rates' influences by
        prompt, the limit of a bootstrap that resamples prompts and refits both; the interval is Student's t.

    Raises
    ------
    StatisticsError
        As :func:`style_controlled_win_rates`; other prompts; or a model that won or lost everything.
    """
    if first[0].won.shape != second[0].won.shape or first[0].won.shape[0] != 1:
        raise StatisticsError("two models' verdicts on different prompts", "one model each, on the same prompts")
    (rate_a, effect_a, names), (rate_b, effect_b, _) = (_rate_alone(*side, control) for side in (first, second))
    effect = effect_a - effect_b
    n_prompts = effect.size
    stderr = float(np.linalg.norm(effect - effect.mean())) * math.sqrt(n_prompts / (n_prompts - 1))
    value, df = rate_a - rate_b, n_prompts - 1
    half = float(stats.t.ppf(0.5 + level / 2.0, df)) * stderr
    p_value = 2.0 * float(stats.t.sf(abs(value) / stderr, df)) if stderr > 0.0 else None
    n_rows = int(np.count_nonzero(first[0].weight))
    estimate = Estimate(value, stderr, value - half, value + half, level, f"difference of {names}", n_rows, n_prompts)
    return StyleDifference(rate_a, rate_b, estimate, p_value)


def _rate_alone(table: VerdictTable, style: StyleCounts, control: StyleControl) -> tuple[float, Floats, str]:
    """One model's win rate in percent, each prompt's influence on it, and the method."""
    features = _features(table, style, control)
    problem = _problem(table, features, control.version)
    if problem.settled.any():
        raise StatisticsError(
            f"{table.models[0]} won or lost every verdict", "a model with both", "compare the plain win rates"
        )
    fit = _whole_fit(problem)
    influence = prompt_influence(problem, fit)
    shift, shift_influence = _read_shift(features, problem, fit, influence[:, 1:], control)
    rate = float(expit(fit.strength[0] + shift))
    effect: Floats = 100.0 * (influence[:, 0] + shift_influence) * rate * (1.0 - rate)
    return 100.0 * rate, effect, _describe(control, features)
