"""Newton's method for win rates with style covariates: one intercept a model, a few coefficients shared by all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from harness.stats.bootstrap import Floats

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
        Factor of the log likelihood relative to the penalty.
    """

    won: Floats
    weight: Floats
    design: Floats
    ridge_model: float
    ridge_design: Floats
    likelihood_scale: float

    @property
    def settled(self) -> NDArray[np.bool_]:
        """Models whose intercept is infinite: they won or lost everything, and nothing penalises that."""
        won, weight = self.won.sum(axis=1), self.weight.sum(axis=1)
        return np.asarray((self.ridge_model == 0) & ((won == 0) | (won == weight)), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class StyleFit:
    """Fitted parameters.

    Parameters
    ----------
    strength : ndarray, shape (M,)
        Intercepts; infinite for models that are `settled`.
    coefficients : ndarray, shape (K,)
        Of the covariates.
    converged : bool
        False where there is no single finite maximum: the covariates separate wins from losses, or are collinear.
    """

    strength: Floats
    coefficients: Floats
    converged: bool


def fit_style(problem: StyleProblem) -> StyleFit:
    """Maximise the penalised likelihood."""
    settled = problem.settled
    won, weight = problem.won.sum(axis=1), problem.weight.sum(axis=1)
    share = np.clip((won + 0.5) / (weight + 1.0), 1e-3, 1.0 - 1e-3)
    point = np.concatenate([np.where(settled, 0.0, np.log(share / (1.0 - share))), np.zeros(problem.design.shape[2])])
    free = np.concatenate([~settled, np.ones(problem.design.shape[2], dtype=np.bool_)])
    converged = False
    for _ in range(_MAX_ITERATIONS):
        gradient, information, _ = _derivatives(problem, point)
        information = information[np.ix_(free, free)]
        if np.linalg.eigvalsh(information)[0] < _VANISHED:
            break
        step = np.zeros_like(point)
        step[free] = np.linalg.solve(information, gradient[free])
        largest = float(np.abs(step).max())
        point = point + step * min(1.0, _LARGEST_STEP / max(largest, _LARGEST_STEP))
        if largest < _TOLERANCE:
            converged = True
            break
    strength, coefficients = np.split(point, [len(won)])
    strength = np.where(settled, np.where(won > 0, np.inf, -np.inf), strength)
    return StyleFit(strength, coefficients, converged)


def prompt_influence(problem: StyleProblem, fit: StyleFit) -> Floats:
    """Influence of each prompt on each parameter (the sandwich's halves).

    Parameters
    ----------
    problem : StyleProblem
        The data.
    fit : StyleFit
        Its fit.

    Returns
    -------
    ndarray, shape (P, M + K)
        Intercepts first, then coefficients; 0 for the intercept of a model that is settled.
    """
    free = np.concatenate([~problem.settled, np.ones(len(fit.coefficients), dtype=np.bool_)])
    _, information, scores = _derivatives(problem, np.concatenate([fit.strength, fit.coefficients]))
    influence = np.zeros((problem.won.shape[1], free.size))
    influence[:, free] = np.linalg.solve(information[np.ix_(free, free)], scores[:, free].T).T
    return influence


def _derivatives(problem: StyleProblem, point: Floats) -> tuple[Floats, Floats, Floats]:
    """Gradient and negative Hessian of the penalised log likelihood, intercepts first, and each prompt's scores."""
    design, scale = problem.design, problem.likelihood_scale
    n_models, _, n_design = design.shape
    strength, coefficients = point[:n_models], point[n_models:]
    probability = expit(strength[:, None] + design @ coefficients)
    used = ~problem.settled[:, None]
    residual = scale * used * (problem.won - problem.weight * probability)
    curvature = scale * used * problem.weight * probability * (1.0 - probability)
    ridge = np.concatenate([np.full(n_models, problem.ridge_model), problem.ridge_design])
    scores = np.column_stack([residual.T, np.einsum("mp,mpk->pk", residual, design)])
    information = np.diag(np.concatenate([curvature.sum(axis=1), np.zeros(n_design)]) + ridge)
    cross = np.einsum("mp,mpk->mk", curvature, design)
    information[:n_models, n_models:], information[n_models:, :n_models] = cross, cross.T
    weighted = (curvature[..., None] * design).reshape(-1, n_design)
    information[n_models:, n_models:] += weighted.T @ design.reshape(-1, n_design)
    penalty = ridge * np.where(np.isfinite(point), point, 0.0)
    return scores.sum(axis=0) - penalty, information, scores
