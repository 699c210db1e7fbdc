"""Newton's method for win rates with style covariates: one intercept a model, a few coefficients shared by all.

The Hessian is diagonal in the intercepts, so one step costs a K x K solve (K style coefficients) whatever the number of
models, and a batch of bootstrap replicates takes the step together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]

_MAX_ITERATIONS = 100
_TOLERANCE = 1e-6
"""Last change of a parameter at which the fit has converged: the error left is about its square."""
_VANISHED = 1e-8
"""Curvature below which wins and losses are told apart perfectly."""
_LARGEST_STEP = 2.0
"""Newton's step is shortened to this, so that a poor start does not overshoot."""


@dataclass(frozen=True, slots=True)
class StyleProblem:
    """Verdicts and covariates.

    Parameters
    ----------
    won, weight : ndarray, shape (M, P)
        Weight won and played by model and prompt.
    design : ndarray, shape (M, P, K)
        Covariates of the log odds that the model wins; finite everywhere, of no effect where `weight` is 0.
    ridge_model : float
        Precision of the penalty on the intercepts.
    ridge_design : ndarray, shape (K,)
        Precision of the penalty on each coefficient.
    likelihood_scale : float
        What the log likelihood is multiplied with against the penalty.
    """

    won: Floats
    weight: Floats
    design: Floats
    ridge_model: float
    ridge_design: Floats
    likelihood_scale: float


@dataclass(frozen=True, slots=True)
class StyleFit:
    """Fitted parameters of a batch.

    Parameters
    ----------
    strength : ndarray, shape (B, M)
        Intercepts; infinite where a model won (or lost) everything and nothing penalises that.
    coefficients : ndarray, shape (B, K)
        Of the covariates.
    converged : ndarray of bool, shape (B,)
        False where there is no single finite maximum: the covariates separate wins from losses, or are collinear.
    """

    strength: Floats
    coefficients: Floats
    converged: NDArray[np.bool_]


@dataclass(slots=True)
class _Normal:
    """Gradient and Hessian of a batch, by block."""

    gradient_model: Floats
    gradient_design: Floats
    diagonal: Floats
    cross: Floats
    dense: Floats


def fit_style(problem: StyleProblem, counts: Floats, start: StyleFit | None = None) -> StyleFit:
    """Maximise the penalised likelihood for each row of prompt weights.

    Parameters
    ----------
    problem : StyleProblem
        The data.
    counts : ndarray, shape (B, P)
        How often each prompt counts; a row of ones for the data as they are.
    start : StyleFit, optional
        Parameters of one fit (B = 1) to start from.

    Returns
    -------
    StyleFit
    """
    won, weight = counts @ problem.won.T, counts @ problem.weight.T
    free = ((won > 0) & (won < weight)) | (problem.ridge_model > 0)
    n_batch, n_design = len(counts), problem.design.shape[2]
    if start is None:
        share = np.clip((won + 0.5) / (weight + 1.0), 1e-3, 1.0 - 1e-3)
        strength, coefficients = np.log(share / (1.0 - share)), np.zeros((n_batch, n_design))
    else:
        # one row for the whole batch until the first step parts them, which spares that step most of its work
        strength, coefficients = start.strength, start.coefficients
    strength = np.nan_to_num(strength, posinf=0.0, neginf=0.0)
    products = _products(problem.design)
    lost = np.zeros(n_batch, dtype=np.bool_)
    for _ in range(_MAX_ITERATIONS):
        normal = _normal_equations(problem, counts, (strength, coefficients), products, free)
        lost |= (normal.diagonal < _VANISHED).any(axis=1)
        step_model, step_design = _step(normal, lost)
        largest = np.maximum(np.abs(step_model).max(axis=1), np.abs(step_design).max(axis=1))
        shorten = np.minimum(1.0, _LARGEST_STEP / np.maximum(largest, _LARGEST_STEP))[:, None]
        strength, coefficients = strength + shorten * step_model, coefficients + shorten * step_design
        if (largest < _TOLERANCE).all():
            break
    strength = np.where(free, strength, np.where(won > 0, np.inf, -np.inf))
    return StyleFit(strength, coefficients, (largest < _TOLERANCE) & ~lost)


def prompt_influence(problem: StyleProblem, fit: StyleFit) -> Floats:
    """Influence of each prompt on each parameter (the sandwich's halves).

    Parameters
    ----------
    problem : StyleProblem
        The data.
    fit : StyleFit
        Its fit (B = 1), all strengths finite.

    Returns
    -------
    ndarray, shape (P, M + K)
        Intercepts first, then coefficients.
    """
    n_models, n_prompts, n_design = problem.design.shape
    ones = np.ones((1, n_prompts))
    free = np.ones((1, n_models), dtype=np.bool_)
    normal = _normal_equations(problem, ones, (fit.strength, fit.coefficients), _products(problem.design), free)
    hessian = np.zeros((n_models + n_design, n_models + n_design))
    hessian[np.arange(n_models), np.arange(n_models)] = normal.diagonal[0]
    hessian[:n_models, n_models:], hessian[n_models:, :n_models] = normal.cross[0], normal.cross[0].T
    hessian[n_models:, n_models:] = normal.dense[0]
    log_odds = fit.strength[0][:, None] + problem.design @ fit.coefficients[0]
    residual = problem.likelihood_scale * (problem.won - problem.weight * expit(log_odds))
    scores = np.column_stack([residual.T, np.einsum("mp,mpk->pk", residual, problem.design)])
    return np.asarray(np.linalg.solve(hessian, scores.T).T, dtype=np.float64)


def _products(design: Floats) -> Floats:
    """Columns 1, x_k and x_k x_l (k <= l) of each model, shape (M, P, 1 + K + K (K + 1) / 2)."""
    n_models, n_prompts, n_design = design.shape
    one, two = np.triu_indices(n_design)
    return np.concatenate([np.ones((n_models, n_prompts, 1)), design, design[:, :, one] * design[:, :, two]], axis=2)


def _normal_equations(
    problem: StyleProblem, counts: Floats, at: tuple[Floats, Floats], products: Floats, free: NDArray[np.bool_]
) -> _Normal:
    strength, coefficients = at
    n_models, _, n_design = problem.design.shape
    n_batch, scale = len(counts), problem.likelihood_scale
    one, two = np.triu_indices(n_design)
    normal = _Normal(
        np.tile(-problem.ridge_model * strength, (n_batch // len(strength), 1)),
        np.tile(-problem.ridge_design * coefficients, (n_batch // len(coefficients), 1)),
        np.full((n_batch, n_models), problem.ridge_model),
        np.zeros((n_batch, n_models, n_design)),
        np.tile(np.diag(problem.ridge_design), (n_batch, 1, 1)),
    )
    for model in range(n_models):
        # few passes over (B, P): this loop is all the time there is
        design, counted = problem.design[model], scale * free[:, [model]]
        probability = expit(strength[:, [model]] + coefficients @ design.T)
        expected = problem.weight[model] * probability
        residual = counts * (problem.won[model] - expected)
        expected *= 1.0 - probability
        curvature = counts * expected
        normal.gradient_model[:, model] += counted[:, 0] * residual.sum(axis=1)
        normal.gradient_design += counted * (residual @ design)
        sums = counted * (curvature @ products[model])
        normal.diagonal[:, model] += sums[:, 0]
        normal.cross[:, model] = sums[:, 1 : 1 + n_design]
        normal.dense[:, one, two] += sums[:, 1 + n_design :]
    normal.diagonal[~free] = 1.0
    normal.dense[:, two, one] = normal.dense[:, one, two]
    return normal


def _step(normal: _Normal, lost: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Newton's step by eliminating the intercepts, whose block is diagonal; none for rows without a finite maximum.

    `lost` marks those rows and is added to where the coefficients' own curvature vanishes.
    """
    diagonal = np.where(lost[:, None], 1.0, normal.diagonal)
    scaled = normal.cross / diagonal[:, :, None]
    schur = normal.dense - np.einsum("bmk,bml->bkl", scaled, normal.cross)
    lost |= np.linalg.eigvalsh(schur)[:, 0] < _VANISHED
    schur[lost] = np.eye(schur.shape[1])
    target = normal.gradient_design - np.einsum("bmk,bm->bk", scaled, normal.gradient_model)
    target[lost] = 0.0
    step_design = np.linalg.solve(schur, target[:, :, None])[:, :, 0]
    step_model = normal.gradient_model / diagonal - np.einsum("bmk,bk->bm", scaled, step_design)
    step_model[lost] = 0.0
    return np.asarray(step_model, dtype=np.float64), np.asarray(step_design, dtype=np.float64)
