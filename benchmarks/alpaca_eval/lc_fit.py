"""The length-controlled win rate of AlpacaEval 2 as an estimator, fitted to one sample or to many resamples at once.

The model of one judged prompt is

    logit P(model preferred) = b1 tanh(delta / s) + b2 difficulty + b3,    delta = length_baseline - length_model,

with ``s`` the standard deviation of ``delta`` over the model's prompts. It is fitted by L1-penalised logistic
regression to the judge's probabilities, together with the rows of two "gamed" models (weight 0.2 / 2 each, no ``b3``),
the penalty's strength chosen by five-fold cross-validation. The win rate is the mean prediction at ``delta = 0``.

References
----------
Dubois, Galambosi, Liang, Hashimoto (2024). Length-Controlled AlpacaEval: a simple way to debias automatic evaluators.
arXiv:2404.04475. The definition followed to the letter is the one in the package alpaca-eval 0.6.6
(``metrics/glm_winrate.py``, ``length_controlled_v1``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.alpaca_eval.lc_data import (
    GAMED_WEIGHT,
    N_FOLDS,
    GamedBaseline,
    LengthControlData,
    LengthControlSpec,
    refuse_unusable,
)
from benchmarks.alpaca_eval.lc_published import fit_as_published
from benchmarks.alpaca_eval.logistic import Array, Rows, l1_logistic_path, logistic
from harness.errors import StatisticsError

_EXACT = 1e-6
_DECIDED = 0.01
"""A verdict nearer than this to 0 or 1 counts as a plain loss or win when separation is looked for."""
_LENGTH, _DIFFICULTY, _INTERCEPT = range(3)


@dataclass(frozen=True, slots=True)
class Resamples:
    """The rows of R samples, each prompt once with its count; padded with count 0.

    Parameters
    ----------
    index : ndarray of int, shape (R, w)
        Prompt of each row.
    count : ndarray, shape (R, w)
        How often it was drawn.
    delta : ndarray, shape (R, w)
        Length difference, characters.
    features : ndarray, shape (R, 3, w)
        tanh of the standardised length difference, difficulty, one.
    scale : ndarray, shape (R,)
        Standard deviation of the length difference.
    """

    index: npt.NDArray[np.intp]
    count: Array
    delta: Array
    features: Array
    scale: Array


@dataclass(frozen=True, slots=True)
class Fits:
    """The estimator on R samples.

    Parameters
    ----------
    coefficients : ndarray, shape (R, 3)
        Of tanh length, difficulty and the model's own intercept.
    C : ndarray, shape (R,)
        Inverse penalty used.
    predictions : ndarray, shape (R, w)
        Probability of the model at equal length, a column a row of the sample.
    win_rate : ndarray, shape (R,)
        Their mean, a share in [0, 1].
    folds : ndarray, shape (R, n_folds, n_C, 3)
        Solutions of the training folds, the largest C first; zeros where C was given.
    """

    coefficients: Array
    C: Array
    predictions: Array
    win_rate: Array
    folds: Array


def gather(data: LengthControlData, counts: Array) -> Resamples:
    """Lay out R samples for fitting; the length difference is standardised within each.

    Parameters
    ----------
    data : LengthControlData
        The observed prompts.
    counts : ndarray, shape (R, n)
        How often each prompt occurs in each sample (or any non-negative weights that add up to its size).

    Returns
    -------
    Resamples
        Only the prompts that occur.

    Raises
    ------
    StatisticsError
        In one of the samples all length differences are equal.
    """
    difference = data.length_difference
    centred = difference - difference.mean()
    total = counts.sum(axis=1)
    squares = counts @ centred**2 - (counts @ centred) ** 2 / total
    scale = np.sqrt(np.maximum(squares, 0.0) / (total - 1.0))
    # Lengths are whole characters: a spread below this is rounding.
    if not (scale > 1e-6).all():
        raise StatisticsError(
            "the length difference is the same on every prompt (of the sample or of a resample), so it cannot be "
            "standardised",
            "responses of varying length",
            "report the plain win rate (the baseline against itself is 50 by construction)",
        )
    width = int((counts > 0).sum(axis=1).max())
    # Prompts that occur come first, in their own order; the padding behind them carries count 0.
    index = np.argsort(counts == 0, axis=1, kind="stable")[:, :width]
    delta = difference[index]
    features = np.ones((len(counts), 3, width))
    np.tanh(delta / scale[:, None], out=features[:, _LENGTH])
    features[:, _DIFFICULTY] = data.difficulty[index]
    return Resamples(index, np.take_along_axis(counts, index, axis=1), delta, features, scale)


class LengthControlEstimator:
    """The whole estimator for one model: folds, choice of the penalty, fit, prediction at equal length.

    Parameters
    ----------
    data : LengthControlData
        The observed prompts.
    gamed : GamedBaseline
        Fixed rows that enter every fit.
    spec : LengthControlSpec
        How.
    tolerance : float
        Of the solver, see :func:`benchmarks.alpaca_eval.logistic.l1_logistic_path`.

    Raises
    ------
    StatisticsError
        Too few prompts, a verdict missing that the spec does not allow to be missing, or all verdicts equal.

    Notes
    -----
    Folds belong to prompts, as assigned in the observed sample: two copies of a prompt never sit on both sides of a
    split, which would let the validation reward overfitting. In the observed sample this is upstream's split: the
    gamed rows are stacked on the model's scored rows and a greedy balancer deals them out from the last row, so that
    the fold is the position counted from the end, modulo the number of folds.
    """

    def __init__(
        self, data: LengthControlData, gamed: GamedBaseline, spec: LengthControlSpec, tolerance: float = _EXACT
    ) -> None:
        refuse_unusable(data, spec)
        self._data = data
        self._spec = spec
        self._tolerance = tolerance
        self._scored = ~np.isnan(data.preference)
        self._label = np.where(self._scored, data.preference, 0.0)
        n_gamed = len(gamed.preference)
        n_rows = n_gamed + int(self._scored.sum())
        fold = (n_rows - 1 - np.arange(n_rows)) % N_FOLDS
        self._gamed_fold = fold[:n_gamed]
        self._prompt_fold = np.full(data.n, -1)
        self._prompt_fold[self._scored] = fold[n_gamed:]
        design = np.stack([np.tanh(gamed.std_delta_len), gamed.instruction_difficulty, np.zeros(n_gamed)])
        self._gamed = Rows(design, gamed.preference, np.full(n_gamed, GAMED_WEIGHT))

    @property
    def data(self) -> LengthControlData:
        """The observed prompts."""
        return self._data

    def observe(self) -> tuple[Resamples, Fits]:
        """Fit the sample as it was observed, to the minimum.

        Raises
        ------
        StatisticsError
            Length and difficulty tell the verdicts apart without error, the length difference has no spread, or the
            regression did not converge.
        """
        sample = gather(self._data, np.ones((1, self._data.n)))
        fits = self.fit(sample)
        self._refuse_separated(sample, fits)
        return sample, fits

    def observe_published(self) -> tuple[Resamples, Fits]:
        """Fit the sample as it was observed by upstream's own solver, which stops short of the minimum."""
        sample = gather(self._data, np.ones((1, self._data.n)))
        gamed, own = self.training_rows(sample)
        features = np.concatenate([gamed.features, own.features[0][:, self._scored]], axis=1)
        label = np.concatenate([gamed.label, own.label[0, self._scored]])
        weight = np.concatenate([gamed.weight, own.weight[0, self._scored]])
        point, C = fit_as_published(features, label, weight, N_FOLDS, np.asarray(self._spec.C_grid))
        folds = np.zeros((1, N_FOLDS, len(self._spec.C_grid), 3))
        fits = self._predict(sample, point[None], np.array([C]), folds)
        self._refuse_separated(sample, fits)
        return sample, fits

    def fit(self, resamples: Resamples, C: float | None = None, start: Fits | None = None) -> Fits:
        """Fit each of R samples.

        Parameters
        ----------
        resamples : Resamples
            Which prompts, from :func:`gather`.
        C : float, optional
            Inverse penalty to use; None chooses it in every sample by cross-validation.
        start : Fits, optional
            Fit of the observed sample, to start from.

        Returns
        -------
        Fits
            One row a sample.

        Raises
        ------
        StatisticsError
            The regression did not converge.
        """
        n_samples = len(resamples.scale)
        grid = np.asarray(self._spec.C_grid)
        everything = self.training_rows(resamples)
        origin = np.zeros((n_samples, 3)) if start is None else np.repeat(start.coefficients[:1], n_samples, axis=0)
        first_C = C if C is not None else (grid[-1] if start is None else float(start.C[0]))
        point = l1_logistic_path(everything, [first_C], origin, self._tolerance)[:, 0]
        chosen = np.full(n_samples, first_C)
        folds = np.zeros((n_samples, N_FOLDS, len(grid), 3))
        if C is None:
            shift = (point - origin)[:, None, None]
            folds[:] = point[:, None, None] if start is None else start.folds[:1] + shift
            for fold in range(N_FOLDS):
                training = self.training_rows(resamples, fold)
                folds[:, fold] = l1_logistic_path(training, grid[::-1], folds[:, fold], self._tolerance)
            chosen = self._select_penalty(resamples, folds)
            moved = chosen != first_C
            if moved.any():
                rows = tuple(part.of(moved) for part in everything)
                point[moved] = l1_logistic_path(rows, chosen[moved, None], point[moved], self._tolerance)[:, 0]
        return self._predict(resamples, point, chosen, folds)

    def influence(self, resamples: Resamples, fits: Fits) -> Array:
        """Infinitesimal jackknife: derivative of the win rate in the share of one prompt, shape (R, w).

        The penalty's strength is held; the standardisation of the length and the average over difficulty are not.
        The sum of ``count * influence**2`` over ``n (n - 1)`` estimates the variance of the win rate.

        Parameters
        ----------
        resamples : Resamples
            The samples that were fitted.
        fits : Fits
            Their fits.

        Returns
        -------
        ndarray, shape (R, w)
            Influence of each row's prompt, as a share.

        References
        ----------
        Efron (1982). The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6.
        """
        count, features = resamples.count, resamples.features
        n = count.sum(axis=1, keepdims=True)
        scored = self._scored[resamples.index]
        score = np.matmul(fits.coefficients[:, None, :], features)[:, 0]
        probability = logistic(score)
        residual = np.where(scored, probability - self._label[resamples.index], 0.0)
        curvature = np.where(scored, probability * (1.0 - probability), 0.0)
        slope_at_equal = fits.predictions * (1.0 - fits.predictions) * count / n
        target = np.stack([np.zeros(len(n)), *np.einsum("rw,rkw->kr", slope_at_equal, features[:, 1:])], axis=1)
        pull = self._solve_active(target, self._hessian(features, curvature * count, fits), fits)
        # Score of one prompt along the direction that moves the win rate, less its mean (which the gamed rows and the
        # penalty balance in the fit), and the same through the standard deviation of the length.
        own = np.matmul(pull[:, None, :], features)[:, 0]
        own_score = residual * own
        tilt = -(resamples.delta / resamples.scale[:, None] ** 2) * (1.0 - features[:, _LENGTH] ** 2)
        length = fits.coefficients[:, _LENGTH, None]
        by_scale = (count * tilt * (curvature * length * own + residual * pull[:, _LENGTH, None])).sum(1, keepdims=True)
        scale = resamples.scale[:, None]
        mean = (count * resamples.delta).sum(axis=1, keepdims=True) / n
        scale_moves = ((resamples.delta - mean) ** 2 * n / (n - 1.0) - scale**2) / (2.0 * scale)
        mean_score = (count * own_score).sum(axis=1, keepdims=True) / n
        through_fit = n * (own_score - mean_score) + by_scale * scale_moves
        return np.asarray(fits.predictions - fits.win_rate[:, None] - through_fit)

    def _hessian(self, features: Array, weight: Array, fits: Fits) -> Array:
        """Hessian of the whole loss at the fits, shape (R, 3, 3)."""
        gamed = logistic(fits.coefficients @ self._gamed.features)
        products = self._gamed.features[:, None] * self._gamed.features[None] * self._gamed.weight
        own = np.matmul(features * weight[:, None, :], features.transpose(0, 2, 1))
        return np.asarray(own + np.einsum("rg,ijg->rij", gamed * (1.0 - gamed), products, optimize=True))

    def _solve_active(self, right: Array, hessian: Array, fits: Fits) -> Array:
        """Solve with the Hessian over the coefficients the penalty does not hold at zero, shape (R, 3)."""
        active = fits.coefficients != 0
        both = active[:, :, None] & active[:, None, :]
        matrix = np.where(both, hessian, np.eye(3))
        return np.asarray(np.linalg.solve(matrix, np.where(active, right, 0.0)[:, :, None])[:, :, 0])

    def _refuse_separated(self, sample: Resamples, fits: Fits) -> None:
        """Refuse a fit that only the penalty keeps finite."""
        score = (fits.coefficients[:, None, :] @ sample.features)[0, 0][self._scored]
        label = self._label[self._scored]
        decided = np.minimum(label, 1.0 - label).max() < _DECIDED
        if decided and bool(np.all((score > 0) == (label > 0.5))):
            raise StatisticsError(
                "length and difficulty tell the model's wins and losses apart without error, so that the penalty "
                "alone decides the length-controlled win rate",
                "verdicts that overlap",
                "judge more prompts, or report the plain win rate",
            )

    def training_rows(self, resamples: Resamples, held_out: int | None = None) -> tuple[Rows, Rows]:
        """Rows the regression is fitted to.

        Parameters
        ----------
        resamples : Resamples
            Which prompts.
        held_out : int, optional
            Fold to leave out; None takes all.

        Returns
        -------
        tuple of Rows
            The gamed rows, shared by all samples, and each sample's own.
        """
        fold = self._prompt_fold[resamples.index]
        own = Rows(resamples.features, self._label[resamples.index], resamples.count * (fold >= 0))
        if held_out is None:
            return self._gamed, own
        return self._gamed_rows(self._gamed_fold != held_out), own.where(fold != held_out)

    def _held_out_rows(self, resamples: Resamples, fold: int) -> tuple[Rows, Rows]:
        own = Rows(resamples.features, self._label[resamples.index], resamples.count)
        chosen = self._prompt_fold[resamples.index] == fold
        return self._gamed_rows(self._gamed_fold == fold), own.where(chosen)

    def _gamed_rows(self, keep: npt.NDArray[np.bool_]) -> Rows:
        return Rows(self._gamed.features[:, keep], self._gamed.label[keep], self._gamed.weight[keep])

    def _select_penalty(self, resamples: Resamples, folds: Array) -> Array:
        """Inverse penalty with the lowest held-out log loss, averaged over folds, shape (R,)."""
        grid = np.asarray(self._spec.C_grid)
        loss = np.zeros((len(resamples.scale), len(grid)))
        for fold in range(N_FOLDS):
            loss += _held_out_loss(self._held_out_rows(resamples, fold), folds[:, fold])
        # Of equal losses the smallest C wins, as in scikit-learn.
        return np.asarray(grid[np.argmin(loss[:, ::-1], axis=1)])

    def _predict(self, resamples: Resamples, point: Array, C: Array, folds: Array) -> Fits:
        score = point[:, _DIFFICULTY, None] * resamples.features[:, _DIFFICULTY] + point[:, _INTERCEPT, None]
        predictions = logistic(score)
        win_rate = (predictions * resamples.count).sum(axis=-1) / resamples.count.sum(axis=-1)
        return Fits(point, C, predictions, win_rate, folds)


def _held_out_loss(rows: tuple[Rows, Rows], coefficients: Array) -> Array:
    """Weighted log loss summed over the rows and divided by their number, shape (R, n_C)."""
    gamed, own = rows
    total = len(gamed.label) + own.weight.sum(axis=-1)
    loss = _log_loss(coefficients @ gamed.features, gamed.label) @ gamed.weight
    own_loss = _log_loss(np.matmul(coefficients, own.features), own.label[:, None, :])
    loss += np.matmul(own_loss, own.weight[:, :, None])[:, :, 0]
    return np.asarray(loss / total[:, None])


def _log_loss(score: Array, label: Array) -> Array:
    """Cross-entropy of label and logistic(score): log(1 + exp(score)) - label * score."""
    softplus = np.log(1.0 + np.exp(-np.abs(score)))
    softplus += np.maximum(score, 0.0)
    softplus -= label * score
    return np.asarray(softplus)
