"""The confidence from which a judge may decide alone, for `--judge cascade:CHEAP,STRONG`."""

from __future__ import annotations

from harness.errors import StatisticsError
from harness.stats.escalation import EscalationThreshold, escalation_threshold
from judges.study.study_figures import Sides, StudySpec
from judges.study.vote_records import majority


def escalation(sides: Sides, spec: StudySpec) -> EscalationThreshold:
    """Find the threshold from the first presentation of each pair with a decided vote.

    A cascade asks about one presentation at a time, and the two orders of a pair are not independent.

    Parameters
    ----------
    sides : Sides
        A judge and the people.
    spec : StudySpec
        Holds the guarantee.

    Raises
    ------
    StatisticsError
        No pair with a verdict and a decided vote.
    """
    confidence, agrees = [], []
    for key, votes in sides.votes.items():
        chosen = majority([vote.choice for vote in votes])
        shown = next((p.p_first for p in sides.presentations(key) if p.p_first is not None), None)
        if shown is None or chosen == "tie":
            continue
        confidence.append(max(shown, 1.0 - shown))
        agrees.append(shown != 0.5 and (shown > 0.5) == (chosen == "first"))
    if not confidence:
        raise StatisticsError("no pair with a verdict and a decided vote", "at least one")
    return escalation_threshold(confidence, agrees, *spec.escalation)
