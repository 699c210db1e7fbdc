"""Win rates the judge reports, corrected by the human labels there are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from harness.errors import StatisticsError
from harness.stats.prediction_powered import (
    LabelledSample,
    LabelsNeeded,
    PredictionPowered,
    labels_needed,
    prediction_powered_mean,
)
from judges.study.study_figures import NotMeasured, Sides, StudySpec, attempt

_CURVE = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0)

_Credit = tuple[str, float, float | None]
"""What a model's answer to a prompt got, in percent: the prompt, by the judge, by people (None where nobody voted)."""


@dataclass(frozen=True, slots=True)
class LabelCurve:
    """Labels that reach an interval, for several widths.

    Parameters
    ----------
    wanted : LabelsNeeded
        For the half width asked for.
    curve : tuple of LabelsNeeded
        For widths from 1 to 10 points, for a plot.
    """

    wanted: LabelsNeeded
    curve: tuple[LabelsNeeded, ...]


@dataclass(frozen=True, slots=True)
class CorrectedRate:
    """A model's win rate over all pairs the judge saw, in percent, ties half.

    Parameters
    ----------
    model : str
        The model.
    rate : PredictionPowered or NotMeasured
        Corrected by the labels, with what labels alone and the judge alone say.
    labels : LabelCurve or NotMeasured
        How many labels a narrower interval takes.
    """

    model: str
    rate: PredictionPowered | NotMeasured
    labels: LabelCurve | NotMeasured


def corrected_rates(sides: Sides, spec: StudySpec) -> tuple[CorrectedRate, ...] | NotMeasured:
    """Correct every model's win rate. A pair is one observation, its votes averaged; prompts are the clusters."""
    credit: dict[str, list[_Credit]] = defaultdict(list)
    for key, pair in sides.judge.scored().items():
        votes, (first, second) = sides.votes.get(key), sides.models(key)
        if first is None or second is None or pair.p_first is None:
            return NotMeasured("the files do not say whose answers they are")
        human = 100.0 * sum(vote.p_first for vote in votes) / len(votes) if votes else None
        credit[first].append((key.prompt, 100.0 * pair.p_first, human))
        credit[second].append((key.prompt, 100.0 * (1.0 - pair.p_first), None if human is None else 100.0 - human))
    return tuple(_corrected(model, credit[model], spec) for model in sorted(credit))


def _corrected(model: str, credit: list[_Credit], spec: StudySpec) -> CorrectedRate:
    labelled = [(prompt, judge, human) for prompt, judge, human in credit if human is not None]
    unlabelled = [(prompt, judge) for prompt, judge, human in credit if human is None]
    if not unlabelled:
        missing = NotMeasured("people voted on every judged pair: the mean of the votes needs no correction")
        return CorrectedRate(model, missing, missing)
    if not labelled:
        missing = NotMeasured("no pair of this model has a human vote")
        return CorrectedRate(model, missing, missing)
    prompts, judge, human = zip(*labelled, strict=True)
    other_prompts, other_judge = zip(*unlabelled, strict=True)
    sample = LabelledSample(human, judge, other_judge, prompts, other_prompts)
    rate = attempt(lambda: prediction_powered_mean(sample, spec.level, (0.0, 100.0)))
    if isinstance(rate, NotMeasured):
        return CorrectedRate(model, rate, rate)
    found: PredictionPowered = rate
    try:
        curve = LabelCurve(
            labels_needed(found, spec.half_width), tuple(labels_needed(found, width) for width in _CURVE)
        )
        return CorrectedRate(model, found, curve)
    except StatisticsError as error:
        return CorrectedRate(model, found, NotMeasured(error.found))
