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

__all__ = ["CorrectedRate", "LabelCurve", "corrected_rates"]

_CURVE = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0)


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
    credit: dict[str, tuple[list[tuple[str, float, float]], list[tuple[str, float]]]] = defaultdict(lambda: ([], []))
    for key, pair in sides.judge.scored().items():
        models = sides.models(key)
        if models[0] is None or models[1] is None or pair.p_first is None:
            return NotMeasured("the files do not say whose answers they are")
        votes = sides.votes.get(key)
        for model, flip in ((models[0], False), (models[1], True)):
            verdict = 100.0 * (1.0 - pair.p_first if flip else pair.p_first)
            labelled, unlabelled = credit[model]
            if votes:
                human = 100.0 * sum(vote.p_first for vote in votes) / len(votes)
                labelled.append((key.prompt, 100.0 - human if flip else human, verdict))
            else:
                unlabelled.append((key.prompt, verdict))
    return tuple(_corrected(model, *credit[model], spec) for model in sorted(credit))


def _corrected(
    model: str, labelled: list[tuple[str, float, float]], unlabelled: list[tuple[str, float]], spec: StudySpec
) -> CorrectedRate:
    if not unlabelled:
        missing = NotMeasured("people voted on every judged pair: the mean of the votes needs no correction")
        return CorrectedRate(model, missing, missing)
    if not labelled:
        missing = NotMeasured("no pair of this model has a human vote")
        return CorrectedRate(model, missing, missing)
    sample = LabelledSample(
        [human for _, human, _ in labelled],
        [verdict for _, _, verdict in labelled],
        [verdict for _, verdict in unlabelled],
        [prompt for prompt, _, _ in labelled],
        [prompt for prompt, _ in unlabelled],
    )
    rate = attempt(lambda: prediction_powered_mean(sample, spec.level, (0.0, 100.0)))
    if isinstance(rate, NotMeasured):
        return CorrectedRate(model, rate, rate)
    found: PredictionPowered = rate

    def labels() -> LabelCurve:
        curve = tuple(labels_needed(found, width) for width in _CURVE)
        return LabelCurve(labels_needed(found, spec.half_width), curve)

    try:
        return CorrectedRate(model, found, labels())
    except StatisticsError as error:
        return CorrectedRate(model, found, NotMeasured(error.found))
