"""How well a judge's confidence is calibrated, before and after recalibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import special

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats
from harness.stats.calibration import Reliability, reliability
from harness.stats.recalibration import CERTAIN, cross_fitted, fit_isotonic, fit_temperature, folded
from judges.study.study_figures import NotMeasured, Sides, StudySpec, attempt
from judges.study.vote_records import PairKey

Method = Literal["as it is", "temperature", "isotonic"]


@dataclass(frozen=True)
class Confidence:
    """How well a judge's probabilities are calibrated.

    One observation is a pair: the judge's confidence against the mean of the votes.

    Parameters
    ----------
    raw : Reliability
        Confidence in the preferred answer against the share of people who prefer it too, as the judge gives it.
    temperature, isotonic : Reliability or NotMeasured
        After recalibration by fits that never saw the prompt.
    best : {"as it is", "temperature", "isotonic"}
        The one with the lowest Brier score.
    slope : float
        One over the temperature, fitted on all pairs; below 1 the judge is over-confident.
    n_levels : int
        Different confidences the judge gives: 2 for one that only names a winner or a tie.
    probabilities : dict of PairKey to float
        Calibrated P(first is better) of every pair with a verdict: out of fold where there are votes.
    """

    raw: Reliability
    temperature: Reliability | NotMeasured
    isotonic: Reliability | NotMeasured
    best: Method
    slope: float
    n_levels: int
    probabilities: dict[PairKey, float] = field(repr=False)


def confidence(sides: Sides, spec: StudySpec) -> Confidence:
    """Compare a judge's confidence with the votes, before and after recalibration.

    Raises
    ------
    StatisticsError
        No pair with a verdict and a vote.
    """
    scored = sides.judge.scored()
    keys = [key for key in sides.votes if key in scored]
    if not keys:
        raise StatisticsError("no pair with a verdict and a vote", "at least one")
    p = np.array([scored[key].p_first for key in keys], dtype=np.float64)
    votes = np.array([np.mean([vote.p_first for vote in sides.votes[key]]) for key in keys])
    prompts = [key.prompt for key in keys]

    def diagram(probabilities: Floats) -> Reliability:
        sure, right = folded(probabilities, votes)
        return reliability(sure, right, spec.n_bins, spec.scheme, prompts, spec.rng(), spec.bootstrap)

    fitted: dict[Method, Floats] = {"as it is": p}
    raw = diagram(p)
    diagrams: dict[Method, Reliability | NotMeasured] = {}
    for method in ("temperature", "isotonic"):
        mapped = attempt(lambda method=method: cross_fitted(p, votes, prompts, method, spec.rng()))  # type: ignore[misc]
        if isinstance(mapped, NotMeasured):
            diagrams[method] = mapped
        else:
            fitted[method], diagrams[method] = mapped, diagram(mapped)
    best = min(fitted, key=lambda method: float(((fitted[method] - votes) ** 2).mean()))
    others = [key for key in scored if key not in sides.votes]
    unvoted = np.array([scored[key].p_first for key in others], dtype=np.float64)
    probabilities = dict(zip(keys, fitted[best].tolist(), strict=True))  # out of fold
    probabilities |= dict(zip(others, calibrated(p, votes, unvoted, best).tolist(), strict=True))
    return Confidence(
        raw,
        diagrams["temperature"],
        diagrams["isotonic"],
        best,
        fit_temperature(p, votes),
        len(np.unique(np.maximum(p, 1.0 - p))),
        probabilities,
    )


def calibrated(p: Floats, votes: Floats, new: Floats, method: Method) -> Floats:
    """Calibrate probabilities of pairs without votes by a fit on those that have some."""
    if method == "isotonic":
        return fit_isotonic(p, votes)(new)
    if method == "temperature":
        logits = special.logit(np.clip(new, CERTAIN, 1.0 - CERTAIN))
        mapped: Floats = special.expit(fit_temperature(p, votes) * logits)
        return mapped
    return new
