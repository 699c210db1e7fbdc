"""A mean of human labels, sharpened by a judge that labelled everything: prediction-powered inference (PPI++).

A few pairs carry a human label Y and a verdict f, many more the verdict alone. The mean label is estimated as

    mean(Y) - lambda * (mean of f where labelled - mean of f where not)

which is right on average whatever the judge is worth, as long as the labelled pairs are a random sample of all.
lambda is tuned to the least variance: a useless judge gets 0 and costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, finite_array
from harness.stats.estimate import Estimate
from harness.stats.mean import checked_level, cluster_mean, cluster_variance


@dataclass(frozen=True, slots=True)
class LabelledSample:
    """Labels on some pairs and predictions on all.

    Parameters
    ----------
    labels, predictions : sequence of float, length n
        The human label and the judge's prediction of each labelled pair, on one scale.
    unlabelled : sequence of float, length N
        The prediction of each pair without a label.
    clusters, unlabelled_clusters : sequence of hashable, optional
        The prompt of each pair; a prompt may have pairs of both kinds. Every pair its own where not given.
    """

    labels: Sequence[float] | Floats
    predictions: Sequence[float] | Floats
    unlabelled: Sequence[float] | Floats
    clusters: Sequence[Hashable] | None = None
    unlabelled_clusters: Sequence[Hashable] | None = None


@dataclass(frozen=True, slots=True)
class PredictionPowered:
    """The corrected mean beside the two it is made of.

    Parameters
    ----------
    estimate : Estimate
        PPI++.
    labels_only : Estimate
        Mean of the labels.
    judge_only : Estimate
        Mean of the predictions on all pairs: what would be reported without labels.
    judge_bias : Estimate
        Mean of prediction minus label where there is a label.
    power : float
        lambda, from 0 (the judge is not used) to 1.
    explained : float
        Share of the labels' variance that the judge explains (the squared correlation of their prompts' sums).
    effective_labels : float
        How many labels alone would give as narrow an interval.
    n_labelled, n_unlabelled : int
        Pairs.
    """

    estimate: Estimate
    labels_only: Estimate
    judge_only: Estimate
    judge_bias: Estimate
    power: float
    explained: float
    effective_labels: float
    n_labelled: int
    n_unlabelled: int

    def as_json(self) -> dict[str, Any]:
        """Plain data for JSON; every number finite."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LabelsNeeded:
    """How many labels reach an interval of a wanted half width.

    Parameters
    ----------
    half_width : float
        Wanted, in the unit of the labels.
    labels_only : int
        Without a judge, on as many prompts as that takes.
    with_judge : int or None
        With the judge's verdicts on the pairs there are; None where even labels on all of them do not reach it.
    reason : str
        Why there is no number; "" where there is.
    """

    half_width: float
    labels_only: int
    with_judge: int | None
    reason: str = ""


def prediction_powered_mean(
    sample: LabelledSample,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
    power: float | None = None,
) -> PredictionPowered:
    """Estimate the mean label with the help of predictions.

    Parameters
    ----------
    sample : LabelledSample
        At least two labelled prompts and one unlabelled pair.
    level : float
        Nominal coverage.
    bounds : tuple of two floats, optional
        Ends of the scale; the interval is cut off there.
    power : float, optional
        A fixed lambda; tuned where not given.

    Returns
    -------
    PredictionPowered

    Raises
    ------
    StatisticsError
        Nothing labelled or nothing unlabelled, fewer than two labelled prompts, NaN, lengths that differ.

    Notes
    -----
    With a_g = sum over the labelled pairs of prompt g of (Y - mean Y) / n, and b_g = the same of f less the sum over
    its unlabelled pairs of (f - mean f) / N, the variance is sum_g (a_g - lambda b_g)^2. It is least at
    lambda = sum a_g b_g / sum b_g^2. Labelled and unlabelled pairs of one prompt are thus not taken for independent, as
    they are in the paper's own interval. The small-sample corrections (CR2, Satterthwaite's degrees of freedom) are
    those of the mean of the labels alone; a tuned lambda costs one more degree of freedom.

    References
    ----------
    Angelopoulos, Duchi and Zrnic (2023), PPI++: Efficient prediction-powered inference, arXiv:2311.01453.
    Angelopoulos, Bates, Fannjiang, Jordan and Zrnic (2023), Prediction-powered inference, Science 382:669-674.
    """
    checked_level(level)
    y, f, other = _checked(sample)
    labels, others = _clusters(sample, y.size, other.size)
    codes, n_clusters = cluster_codes([*labels, *others], y.size + other.size)
    if np.count_nonzero(np.bincount(codes[: y.size])) < 2:
        raise StatisticsError("labels on fewer than two prompts", "at least two", "label pairs of more prompts")
    a, b = _influence(y, f, other, codes)
    lam = _tuned_power(a, b) if power is None else power
    plain, reduced = float(a @ a), float((a - lam * b) @ (a - lam * b))
    stderr, quantile = _clustered(y, labels, (plain, reduced), level, lost=int(power is None and lam > 0.0))
    value, n = float(y.mean() - lam * (f.mean() - other.mean())), y.size + other.size
    method = "PPI++, power-tuned; cluster-robust t interval over prompts"
    note = "" if lam > 0.0 else "the judge does not help (power 0): this is the mean of the labels"
    estimate = Estimate(value, stderr, None, None, level, method, n, n_clusters, note)
    return PredictionPowered(
        _with_limits(estimate, quantile * stderr, bounds),
        _mean(y, labels, level, bounds),
        _mean(np.concatenate([f, other]), [*labels, *others], level, bounds),
        _mean(f - y, labels, level, None),
        lam,
        _explained(plain, a, b, y.size / other.size),
        y.size * (plain / reduced if reduced > 1e-24 else 1.0),
        y.size,
        other.size,
    )


def _checked(sample: LabelledSample) -> tuple[Floats, Floats, Floats]:
    y, f = finite_array(sample.labels, "labels"), finite_array(sample.predictions, "predictions")
    if y.size != f.size:
        raise StatisticsError(f"{y.size} labels for {f.size} predictions", "a prediction for every labelled pair")
    return y, f, finite_array(sample.unlabelled, "unlabelled predictions")


def _clusters(sample: LabelledSample, n: int, n_other: int) -> tuple[list[Hashable], list[Hashable]]:
    """The cluster of every labelled and of every unlabelled pair; each pair its own where none is given."""
    if sample.clusters is None:
        return [("labelled", i) for i in range(n)], [("unlabelled", i) for i in range(n_other)]
    if sample.unlabelled_clusters is None:
        raise StatisticsError("clusters for the labelled pairs only", "clusters for both, or for neither")
    return list(sample.clusters), list(sample.unlabelled_clusters)


def _tuned_power(a: Floats, b: Floats) -> float:
    b_squared = float(b @ b)
    return min(max(float(a @ b) / b_squared, 0.0), 1.0) if b_squared > 1e-24 else 0.0


def _with_limits(found: Estimate, half: float, bounds: tuple[float, float] | None) -> Estimate:
    low, high = found.value - half, found.value + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return replace(found, ci_low=low, ci_high=high)


def labels_needed(found: PredictionPowered, half_width: float) -> LabelsNeeded:
    """How many labels would make the interval as narrow as wanted, with the judge and without.

    With M pairs judged, of which m are labelled, a label's variance s2 (prompts as units) and the share r2 of it that
    the judge explains, the tuned variance is s2 (1 - r2) / m + s2 r2 / M: labels beyond m buy down what the judge
    cannot explain, judged pairs the rest.

    Parameters
    ----------
    found : PredictionPowered
        From labels spread over prompts as the further ones will be.
    half_width : float
        Wanted half of the interval's width, in the unit of the labels.

    Returns
    -------
    LabelsNeeded

    Raises
    ------
    StatisticsError
        A half width that is not positive, or labels without spread.

    References
    ----------
    The variance is that of Angelopoulos, Duchi and Zrnic (2023), arXiv:2311.01453, at its optimal lambda.
    """
    if not half_width > 0.0 or not math.isfinite(half_width):
        raise StatisticsError(f"a half width of {half_width}", "a positive number")
    stderr = found.labels_only.stderr
    if stderr is None or stderr == 0.0:
        raise StatisticsError("labels without spread", "labels that differ", "label more pairs")
    quantile = float(stats.norm.ppf(0.5 + found.estimate.level / 2.0))
    per_label = stderr**2 * found.n_labelled
    wanted = (half_width / quantile) ** 2
    alone = max(2, math.ceil(per_label / wanted - 1e-9))
    n_judged = found.n_labelled + found.n_unlabelled
    left = wanted - per_label * found.explained / n_judged
    if left <= 0.0 or per_label * (1.0 - found.explained) / left > n_judged:
        narrowest = quantile * math.sqrt(per_label / n_judged)
        reason = f"labels on all {n_judged} judged pairs reach {narrowest:.3g}; judge more prompts"
        return LabelsNeeded(half_width, alone, None, reason)
    needed = max(2, math.ceil(per_label * (1.0 - found.explained) / left - 1e-9))
    return LabelsNeeded(half_width, alone, min(needed, alone))


def _influence(y: Floats, f: Floats, other: Floats, codes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Each cluster's part in the mean label (a) and in the difference of the two means of predictions (b)."""
    n, size = y.size, int(codes.max()) + 1

    def sums(values: Floats, of: NDArray[np.int64]) -> Floats:
        return np.bincount(of, weights=(values - values.mean()) / values.size, minlength=size).astype(np.float64)

    return sums(y, codes[:n]), sums(f, codes[:n]) - sums(other, codes[n:])


def _clustered(
    y: Floats, labels: list[Hashable], variances: tuple[float, float], level: float, lost: int
) -> tuple[float, float]:
    """Standard error and t quantile: those of the labels' mean, scaled by what the predictions save."""
    plain, reduced = variances
    alone = cluster_variance(y, labels)
    if alone.stderr is None or alone.df is None or plain <= 1e-24:
        raise StatisticsError(
            "every label is the same: no spread to make an interval from", "labels that differ", "label more pairs"
        )
    df = max(alone.df - lost, 1.0)
    inflation = alone.df / df
    return alone.stderr * math.sqrt(reduced / plain * inflation), float(stats.t.ppf(0.5 + level / 2.0, df))


def _explained(plain: float, a: Floats, b: Floats, ratio: float) -> float:
    """r2 of the tuned variance plain * (1 - r2 / (1 + n/N))."""
    b_squared, along = float(b @ b), float(a @ b)
    if b_squared <= 1e-24 or plain <= 1e-24 or along <= 0.0:
        return 0.0
    return min(1.0, along**2 / (b_squared * plain) * (1.0 + ratio))


def _mean(values: Floats, labels: list[Hashable], level: float, bounds: tuple[float, float] | None) -> Estimate:
    found = cluster_mean(values, labels, level)
    if bounds is None or found.ci_low is None or found.ci_high is None:
        return found
    return replace(found, ci_low=max(found.ci_low, bounds[0]), ci_high=min(found.ci_high, bounds[1]))
