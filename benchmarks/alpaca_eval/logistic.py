"""L1-penalised weighted logistic regression with soft labels, many small problems at once.

Each problem minimises, over coefficients ``b`` (the convention of liblinear's ``L1R_LR`` and of scikit-learn),

    ||b||_1 + C * sum_i w_i [ log(1 + exp(x_i . b)) - y_i x_i . b ],      y_i in [0, 1],

which with a soft label ``y`` is the loss of two rows labelled 1 and 0 weighted ``w y`` and ``w (1 - y)``. Every
coefficient is penalised: an intercept is a column of ones like any other.

The solver is a proximal Newton method. Two things make it fast on thousands of problems that share most rows. Rows
common to all problems are one matrix product. And a Newton model built for one ``C`` serves the next as long as the
step it proposes is small, so that the upper end of a grid of ``C`` costs next to nothing.

References
----------
Fan, Chang, Hsieh, Wang, Lin (2008). LIBLINEAR: a library for large linear classification. JMLR 9 (objective).
Lee, Sun, Saunders (2014). Proximal Newton-type methods for minimizing composite functions. SIAM J. Optim. 24.
Sun, Tran-Dinh (2019). Generalized self-concordant functions. Math. Program. 178 (the damped step).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.errors import StatisticsError

Array = npt.NDArray[np.float64]

_MAX_EVALUATIONS = 200
_DESCENT_SWEEPS = 200
_LONG_REACH = 0.25


@dataclass(frozen=True, slots=True)
class Rows:
    """Observations of a batch of R problems.

    Parameters
    ----------
    features : ndarray, shape (k, n) or (R, k, n)
        One row a coefficient, one column an observation. With two axes the observations are the same in every
        problem, and so are their labels and weights.
    label : ndarray, shape (n,) or (R, n)
        Probability of the positive class, in [0, 1].
    weight : ndarray, shape (n,) or (R, n)
        Non-negative; zero drops the observation from that problem.
    """

    features: Array
    label: Array
    weight: Array

    @property
    def shared(self) -> bool:
        """Whether every problem sees the same observations."""
        return self.features.ndim == 2

    def of(self, which: npt.NDArray[np.bool_]) -> Rows:
        """Keep some of the problems; `which` has shape (R,)."""
        return self if self.shared else Rows(self.features[which], self.label[which], self.weight[which])

    def where(self, keep: npt.NDArray[np.bool_]) -> Rows:
        """Keep, in each problem, the observations named; `keep` has shape (R, n), narrowed to the widest problem."""
        weight = self.weight * keep
        width = int((weight > 0).sum(axis=1).max())
        index = np.argsort(weight == 0, axis=1, kind="stable")[:, :width]
        features = np.take_along_axis(self.features, index[:, None, :], axis=2)
        label, weight = (np.take_along_axis(a, index, axis=1) for a in (self.label, weight))
        return Rows(features, label, weight)

    def __post_init__(self) -> None:
        leading = () if self.shared else self.features.shape[:1]
        wanted = (*leading, self.features.shape[-1])
        for name in ("label", "weight"):
            shape = getattr(self, name).shape
            if shape != wanted:
                raise StatisticsError(
                    f"{name} has shape {shape} beside features of shape {self.features.shape}", f"shape {wanted}"
                )


def logistic(x: npt.ArrayLike) -> Array:
    """Compute 1 / (1 + exp(-x)) without overflow warnings.

    Parameters
    ----------
    x : array_like
        Any shape.

    Returns
    -------
    ndarray
        Same shape, in [0, 1].
    """
    return _logistic_of_negative(np.negative(np.atleast_1d(x), dtype=float)).reshape(np.shape(x))


def _logistic_of_negative(x: Array) -> Array:
    """Compute 1 / (1 + exp(x)) in place."""
    np.minimum(x, 700.0, out=x)
    np.exp(x, out=x)
    x += 1.0
    np.reciprocal(x, out=x)
    return x


def l1_logistic_path(rows: Sequence[Rows], C: npt.ArrayLike, start: Array, tolerance: float = 1e-6) -> Array:
    """Solve R problems for each of several penalties.

    Parameters
    ----------
    rows : sequence of Rows
        The observations of the R problems; at least one element.
    C : array_like, shape (n_C,) or (R, n_C)
        Inverse strengths of the penalty, positive, in descending order along the last axis (solutions of the largest
        are nearest to the unpenalised ones, and each is the start of the next).
    start : ndarray, shape (R, k) or (R, n_C, k)
        Where to begin, at the largest C or at each; its number of rows says how many problems there are.
    tolerance : float, default 1e-6
        Largest change of any linear predictor in a Newton step that is applied unchecked. The error left behind is of
        the order of its square, because the steps converge quadratically.

    Returns
    -------
    ndarray, shape (R, n_C, k)
        The coefficients; exactly zero where the penalty holds them there.

    Raises
    ------
    StatisticsError
        The solver did not converge (coefficients that run away with a weak penalty on separable data are the usual
        reason).
    """
    n_problems, n_features = start.shape[0], start.shape[-1]
    strengths = np.broadcast_to(1.0 / np.asarray(C, dtype=float), (n_problems, np.shape(C)[-1]))
    losses = [_Loss(part) for part in rows]
    widest = _widest(rows, n_problems)
    steepest_at_zero = _steepest_at_zero(losses, (n_problems, n_features))
    solution = np.zeros((n_problems, strengths.shape[1], n_features))
    guesses = start.astype(float) if start.ndim == 3 else start.astype(float)[:, None]
    point = guesses[:, 0].copy()
    gradient, hessian = _evaluate(losses, point, None)
    for column in range(strengths.shape[1]):
        strength = strengths[:, column]
        # Where the penalty outweighs the gradient at zero, zero is the solution and no row need be touched.
        todo = np.flatnonzero(steepest_at_zero > strength)
        for evaluation in range(_MAX_EVALUATIONS):
            target = _minimise_model(gradient[todo], hessian[todo], point[todo], strength[todo])
            step = target - point[todo]
            reach = (np.abs(step) * widest[todo]).sum(axis=-1)
            done = reach <= tolerance
            solution[todo[done], column] = target[done]
            todo, step, reach = todo[~done], step[~done], reach[~done]
            if not todo.size:
                break
            moved = point[todo] + step * _damping(reach)[:, None]
            if evaluation == 0 and 0 < column < guesses.shape[1]:
                # A caller's guess beats a long extrapolation from the last C.
                moved = np.where(reach[:, None] > _LONG_REACH, guesses[todo, column], moved)
            point[todo] = moved
            gradient[todo], hessian[todo] = _evaluate(losses, point[todo], None if todo.size == n_problems else todo)
        else:
            raise StatisticsError(
                f"logistic regression did not converge in {_MAX_EVALUATIONS} steps for {todo.size} of "
                f"{n_problems} problems",
                "a finite solution",
                "look for separable data or a feature that is nearly constant",
            )
    return solution


def _steepest_at_zero(losses: Sequence[_Loss], shape: tuple[int, int]) -> Array:
    """Largest absolute slope of each problem's loss where all coefficients are zero, shape (R,)."""
    gradient = sum(loss.gradient_at_zero() for loss in losses)
    return np.asarray(np.abs(np.broadcast_to(gradient, shape)).max(axis=-1))


def _damping(reach: Array) -> Array:
    """Step length that cannot overshoot; reach bounds the change of any linear predictor, shape (R,).

    The logistic loss is generalised self-concordant: a full step of reach 1 or less always lowers the objective
    (by 1 - (e - 2) = 0.28 of the squared Newton decrement at the least), and log(1 + reach) / reach does beyond.
    """
    return np.asarray(np.where(reach <= 1.0, 1.0, np.log1p(reach) / np.maximum(reach, 1.0)))


def _widest(rows: Sequence[Rows], n_problems: int) -> Array:
    """Largest absolute value of each feature in each problem, shape (R, k)."""
    widest = [np.abs(part.features).max(axis=-1) for part in rows]
    return np.asarray(np.max([np.broadcast_to(w, (n_problems, w.shape[-1])) for w in widest], axis=0))


def _scores(features: Array, coefficients: Array) -> Array:
    """Linear predictors, shape (R, n)."""
    if features.ndim == 2:
        return np.asarray(coefficients @ features)
    return np.asarray(np.matmul(coefficients[:, None, :], features)[:, 0, :])


class _Loss:
    """Gradient and curvature of the weighted loss of some rows, weights folded into the features once."""

    def __init__(self, rows: Rows) -> None:
        first, second = np.triu_indices(rows.features.shape[-2])
        weighted = rows.features * rows.weight[..., None, :]
        self._shared = rows.shared
        self._features = rows.features
        self._weighted = weighted
        self._products = weighted[..., first, :] * rows.features[..., second, :]
        self._pull = (weighted * rows.label[..., None, :]).sum(axis=-1)
        self._triangle = (first, second)

    def gradient_at_zero(self) -> Array:
        """Gradient where all coefficients are zero, shape (k,) or (R, k)."""
        return np.asarray(0.5 * self._weighted.sum(axis=-1) - self._pull)

    def add_to(self, gradient: Array, hessian: Array, point: Array, which: npt.NDArray[np.intp] | None) -> None:
        """Add this loss's gradient (r, k) and Hessian (r, k, k) at point (r, k), for all problems or those named."""
        select = slice(None) if which is None or self._shared else which
        features = self._features[select] if not self._shared else self._features
        probability = _logistic_of_negative(_scores(features, -point))
        if self._shared:
            gradient += probability @ self._weighted.T - self._pull
            upper = _spread(probability) @ self._products.T
        else:
            gradient += np.matmul(self._weighted[select], probability[:, :, None])[:, :, 0] - self._pull[select]
            upper = np.matmul(self._products[select], _spread(probability)[:, :, None])[:, :, 0]
        first, second = self._triangle
        hessian[:, first, second] += upper
        off_diagonal = first != second
        hessian[:, second[off_diagonal], first[off_diagonal]] += upper[:, off_diagonal]


def _spread(probability: Array) -> Array:
    """Compute p (1 - p) in place."""
    square = probability * probability
    np.subtract(probability, square, out=probability)
    return probability


def _evaluate(losses: Sequence[_Loss], point: Array, which: npt.NDArray[np.intp] | None) -> tuple[Array, Array]:
    """Gradient (r, k) and Hessian (r, k, k) of the whole loss at point (r, k)."""
    gradient = np.zeros_like(point)
    hessian = np.zeros((*point.shape, point.shape[-1]))
    for loss in losses:
        loss.add_to(gradient, hessian, point, which)
    # Keeps the model solvable where the loss is flat; the fixed point does not move, the gradient being exact.
    diagonal = np.arange(point.shape[-1])
    trace = hessian[:, diagonal, diagonal].sum(axis=-1, keepdims=True)
    hessian[:, diagonal, diagonal] += 1e-12 * trace + 1e-300
    return gradient, hessian


def _minimise_model(gradient: Array, hessian: Array, point: Array, strength: Array) -> Array:
    """Minimise the L1-penalised quadratic models exactly, shape (r, k).

    The signs of the present point are nearly always those of the solution; where they are, it is one linear solve.
    Elsewhere coordinate descent finds the signs.
    """
    target = _solve_with_signs(gradient, hessian, point, strength, np.sign(point))
    wrong = np.flatnonzero(~_is_minimum(gradient, hessian, point, strength, target))
    if wrong.size:
        part = (gradient[wrong], hessian[wrong], point[wrong], strength[wrong])
        descended = _descend(*part)
        polished = _solve_with_signs(*part, np.sign(descended))
        target[wrong] = np.where(_is_minimum(*part, polished)[:, None], polished, descended)
    return target


def _solve_with_signs(gradient: Array, hessian: Array, point: Array, strength: Array, signs: Array) -> Array:
    """Stationary point of the model with the signs given; coordinates of sign 0 stay at 0."""
    active = signs != 0
    both = active[:, :, None] & active[:, None, :]
    matrix = np.where(both, hessian, np.eye(hessian.shape[-1]))
    # The model's gradient at z is gradient + hessian (z - point) + strength * signs.
    right = np.where(active, np.einsum("rij,rj->ri", hessian, point) - gradient - strength[:, None] * signs, 0.0)
    return np.asarray(np.linalg.solve(matrix, right[:, :, None])[:, :, 0])


def _is_minimum(gradient: Array, hessian: Array, point: Array, strength: Array, target: Array) -> npt.NDArray[np.bool_]:
    """Whether the optimality conditions of the penalised model hold at target, shape (r,)."""
    slope = gradient + np.einsum("rij,rj->ri", hessian, target - point)
    slack = 1e-9 * (strength[:, None] + np.abs(gradient).max(axis=-1, keepdims=True))
    at_zero = (target == 0) & (np.abs(slope) <= strength[:, None] + slack)
    inside = (target != 0) & (np.abs(slope + strength[:, None] * np.sign(target)) <= slack)
    return np.asarray((at_zero | inside).all(axis=-1))


def _descend(gradient: Array, hessian: Array, point: Array, strength: Array) -> Array:
    """Minimise the model by cyclic coordinate descent, shape (r, k)."""
    target = point.copy()
    slope = gradient.copy()
    for _ in range(_DESCENT_SWEEPS):
        moved = 0.0
        for j in range(point.shape[-1]):
            curvature = hessian[:, j, j]
            free = curvature * target[:, j] - slope[:, j]
            new = np.sign(free) * np.maximum(np.abs(free) - strength, 0.0) / curvature
            change = new - target[:, j]
            target[:, j] = new
            slope += hessian[:, :, j] * change[:, None]
            moved = max(moved, float(np.abs(change).max()))
        if moved < 1e-13:
            break
    return target
