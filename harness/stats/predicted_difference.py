"""A mean difference of two runs, labelled on some prompts and predicted on all: PPI++ with one-sided tests.

The label of a prompt is the difference of what a strong judge, or people, said of both runs; the prediction is the
difference of what a cheap judge said. `harness.stats.prediction_powered` gives the estimate; here are its tests, by
each labelled prompt's part in its error, and the two values it is the difference of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.estimate import Estimate
from harness.stats.mean_test import Ends, mean_limits, mean_p_values
from harness.stats.prediction_powered import LabelledSample, PredictionPowered, prediction_powered_mean

FEWEST_LABELS = 30
"""Labelled prompts below which the tests do not keep their size on skewed labels (`bench/rules.py`)."""

_OPEN = Ends(None, None)
"""The corrected values have no ends of their own: where the judge misses a loss, it is corrected beyond the scale."""


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
        PPI++, with the limits its tests do not refute.
    first, second : float
        The values it is the difference of; what the predictions correct is shared equally between them.
    corrected : ndarray, shape (n,)
        A value for each labelled prompt; their mean is the estimate, and their standard error its.
    powered : PredictionPowered
        The estimate beside those of the labels and of the predictions alone.
    """

    estimate: Estimate
    first: float
    second: float
    corrected: Floats
    powered: PredictionPowered

    def p_values(self, threshold: float) -> tuple[float, float]:
        """One-sided p-values against "the true difference is at most", and "at least", the threshold."""
        return mean_p_values(self.corrected, threshold, _OPEN)


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
    A labelled prompt's part in the error is y - lambda f. These values, moved to the estimate and stretched so that
    their standard error is that of the estimate (which the unlabelled prompts have a part in), are tested by
    `harness.stats.mean_test`, which corrects their skewness.

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
    stretched = (errors - errors.mean()) * (found.stderr * math.sqrt(n) / float(errors.std(ddof=1)))
    corrected = found.value + stretched
    low, high = mean_limits(corrected, level, _OPEN)
    method = f"PPI++ of the difference by prompt, power {powered.power:.2f}; limits corrected for skewness"
    estimate = Estimate(found.value, found.stderr, low, high, level, method, found.n, found.n_clusters)
    correction = 0.5 * (found.value - float(labels.mean()))
    first, second = float(np.mean(sample.first)) + correction, float(np.mean(sample.second)) - correction
    return PredictedDifference(estimate, first, second, corrected, powered)
