"""A mean difference of two runs, labelled on some prompts and predicted on all: PPI++ with one-sided tests.

The label of a prompt is the difference of what a strong judge, or people, said of both runs; the prediction is the
difference of what a cheap judge said. `harness.stats.prediction_powered` gives the estimate; here are the degrees of
freedom of its test, from the prompts' part in its error, and the two values it is the difference of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.prediction_powered import LabelledSample, PredictionPowered, prediction_powered_mean
from harness.stats.rate_interval import informative_degrees_of_freedom

FEWEST_LABELS = 20
"""Labelled prompts below which the tuned power and the standard error are too poorly known for a test."""


@dataclass(frozen=True, slots=True)
class PairedLabels:
    """Values of two runs by prompt.

    Parameters
    ----------
    first, second : ndarray, shape (n,)
        Labels of both runs on the labelled prompts; constants for a number in place of a run.
    predicted : ndarray, shape (n,)
        Predicted difference, first minus second, on the same prompts.
    unlabelled : ndarray, shape (m,)
        Predicted difference on the other prompts.
    """

    first: Floats
    second: Floats
    predicted: Floats
    unlabelled: Floats


@dataclass(frozen=True, slots=True)
class PredictedDifference:
    """The difference first minus second.

    Parameters
    ----------
    estimate : Estimate
        PPI++, with the t interval of `df` degrees of freedom.
    first, second : float
        The values it is the difference of; what the predictions correct is shared equally between them.
    df : float
        Degrees of freedom.
    powered : PredictionPowered
        The estimate beside those of the labels and of the predictions alone.
    """

    estimate: Estimate
    first: float
    second: float
    df: float
    powered: PredictionPowered

    def p_above(self, threshold: float) -> float:
        """One-sided p-value against "the true difference is at most the threshold"."""
        assert self.estimate.stderr, "a difference without standard error is refused"
        return float(stats.t.sf((self.estimate.value - threshold) / self.estimate.stderr, self.df))


def predicted_difference(sample: PairedLabels, level: float = 0.95) -> PredictedDifference:
    """Estimate a mean difference from labels on some prompts and predictions on all.

    Parameters
    ----------
    sample : PairedLabels
        One value per prompt; the labelled prompts are a random sample of all.
    level : float
        Nominal coverage of the interval.

    Returns
    -------
    PredictedDifference

    Raises
    ------
    StatisticsError
        Fewer than `FEWEST_LABELS` labelled prompts, none without a label, labels without spread.

    Notes
    -----
    A labelled prompt's part in the error is y - lambda f; the kurtosis of these values says how well the standard
    error is known (Satterthwaite), and a tuned lambda costs one degree of freedom.

    References
    ----------
    Angelopoulos, Duchi and Zrnic (2023), PPI++: Efficient prediction-powered inference, arXiv:2311.01453.
    """
    labels = sample.first - sample.second
    n = labels.size
    if n < FEWEST_LABELS:
        raise StatisticsError(f"{n} labelled prompts", f"at least {FEWEST_LABELS}", "label more prompts")
    powered = prediction_powered_mean(LabelledSample(labels, sample.predicted, sample.unlabelled), level)
    found = powered.estimate
    if not found.stderr:
        raise StatisticsError("labels that the predictions match exactly", "labels with a spread of their own")
    errors = labels - powered.power * sample.predicted
    df = max(min(n - 1.0 - (powered.power > 0.0), informative_degrees_of_freedom(errors)), 1.0)
    half = float(stats.t.ppf(0.5 + level / 2.0, df)) * found.stderr
    method = f"PPI++ of the difference by prompt, power {powered.power:.2f}; t interval, {df:.1f} degrees of freedom"
    estimate = Estimate(
        found.value, found.stderr, found.value - half, found.value + half, level, method, found.n, found.n_clusters
    )
    correction = 0.5 * (found.value - float(labels.mean()))
    first, second = float(np.mean(sample.first)) + correction, float(np.mean(sample.second)) - correction
    return PredictedDifference(estimate, first, second, df, powered)
