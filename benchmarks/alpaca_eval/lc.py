"""AlpacaEval 2's win rates: raw, discrete and length-controlled.

Each figure is the package alpaca-eval 0.6.6's own (``metrics/winrate.py``, ``metrics/helpers.py``,
``metrics/glm_winrate.py``); the intervals are ours. The published length-controlled figure and the corrected one are
one function: the published one takes the difficulty by row position and ``solver="liblinear"``, the corrected one
takes it by instruction and solves the regression.

Two conventions are easily turned round. Upstream's first output is the baseline's and its preference runs from 1
(baseline) to 2 (model), so that preference - 1 is the model's share; an old-style 0 is a draw, a share of 0.5. The
length difference is baseline minus model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.alpaca_eval.lc_data import GamedBaseline, LengthControlData, LengthControlSpec
from benchmarks.alpaca_eval.lc_fit import LengthControlEstimator
from benchmarks.alpaca_eval.logistic import Array
from harness.errors import StatisticsError
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean


@dataclass(frozen=True, slots=True)
class LengthControlCoefficients:
    """One model's row of upstream's weights file.

    Parameters
    ----------
    length : float
        Of the hyperbolic tangent of the standardised length difference; negative where longer answers win.
    difficulty : float
        Of the instruction's difficulty.
    model : float
        The model's own intercept ("not_gamed_baseline").
    """

    length: float
    difficulty: float
    model: float


@dataclass(frozen=True, slots=True)
class LengthControlledResult:
    """A length-controlled win rate as upstream reports it.

    Parameters
    ----------
    win_rate : float
        Percent.
    published_standard_error : float
        Upstream's ``lc_standard_error``, percent: the spread of the *fitted* preferences over prompts. It is not the
        uncertainty of the win rate; :func:`~benchmarks.alpaca_eval.lc_bootstrap.bootstrap_length_controlled` is.
    coefficients : LengthControlCoefficients
        The fit.
    C : float
        Inverse strength of the penalty, as chosen by cross-validation.
    predictions : ndarray, shape (n,)
        Probability of the model at equal length, a value a prompt (upstream's ``glm_preference`` minus one).
    """

    win_rate: float
    published_standard_error: float
    coefficients: LengthControlCoefficients
    C: float
    predictions: Array


def win_rate(preference: npt.ArrayLike, level: float = 0.95) -> Estimate:
    """Mean share of the model, in percent.

    Parameters
    ----------
    preference : array_like, shape (n,)
        Share of the model on each scored prompt, in [0, 1].
    level : float, default 0.95
        Nominal coverage.

    Returns
    -------
    Estimate
        ``value`` and ``stderr`` are upstream's ``win_rate`` and ``standard_error``.

    Raises
    ------
    StatisticsError
        No prompts, or a preference that is missing or outside [0, 1].
    """
    share = _shares(preference)
    return cluster_mean(100.0 * share, range(len(share)), level, bounds=(0.0, 100.0))


def discrete_win_rate(preference: npt.ArrayLike, level: float = 0.95) -> Estimate:
    """Share of prompts the model wins, in percent, a draw counting half.

    Parameters
    ----------
    preference : array_like, shape (n,)
        Share of the model on each scored prompt, in [0, 1]; only exactly 0.5 is a draw, as upstream.
    level : float, default 0.95
        Nominal coverage.

    Returns
    -------
    Estimate
        ``value`` is upstream's ``discrete_win_rate``.

    Raises
    ------
    StatisticsError
        No prompts, or a preference that is missing or outside [0, 1].
    """
    share = _shares(preference)
    decided = np.where(share == 0.5, 0.5, np.where(share > 0.5, 1.0, 0.0))
    return cluster_mean(100.0 * decided, range(len(share)), level, bounds=(0.0, 100.0))


def length_controlled_win_rate(
    data: LengthControlData, gamed: GamedBaseline, spec: LengthControlSpec | None = None
) -> LengthControlledResult:
    """Win rate the model would have if its answers were as long as the baseline's.

    Parameters
    ----------
    data : LengthControlData
        One model's verdicts. With the difficulty looked up by row position and ``LengthControlSpec(solver=
        "liblinear", unscored="predict")`` the result is the published definition's.
    gamed : GamedBaseline
        The gamed models' rows.
    spec : LengthControlSpec, optional
        How.

    Returns
    -------
    LengthControlledResult

    Raises
    ------
    StatisticsError
        Too few prompts, a verdict or length missing, all verdicts equal or separable, no spread of the length
        difference.
    """
    spec = spec or LengthControlSpec()
    estimator = LengthControlEstimator(data, gamed, spec)
    _, fits = estimator.observe_published() if spec.solver == "liblinear" else estimator.observe()
    predictions = fits.predictions[0]
    length, difficulty, model = (float(b) for b in fits.coefficients[0])
    return LengthControlledResult(
        win_rate=100.0 * float(fits.win_rate[0]),
        published_standard_error=100.0 * float(predictions.std(ddof=1) / np.sqrt(len(predictions))),
        coefficients=LengthControlCoefficients(length, difficulty, model),
        C=float(fits.C[0]),
        predictions=predictions,
    )


def _shares(preference: npt.ArrayLike) -> Array:
    share = np.asarray(preference, dtype=float)
    bad = ~((share >= 0.0) & (share <= 1.0))
    if share.ndim != 1 or not share.size or bad.any():
        raise StatisticsError(
            f"{int(bad.sum())} of {share.size} preferences are missing or outside [0, 1]",
            "the share of the model on every scored prompt, at least one",
            "leave out and count what was not scored; upstream's preference minus 1 is the share, its 0 a draw",
        )
    return share
