"""A panel: every member judges everything, and the verdict is the mean or the median of theirs [1]_.

References
----------
.. [1] Verga et al. (2024), "Replacing Judges with Juries: Evaluating LLM Generations with a Panel of Diverse Models",
   arXiv 2404.18796.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from harness.errors import SpecError
from harness.protocols import JudgeContext, JudgeTask
from harness.records import Judgment, Preference, Rating, Unscored, Verdict
from harness.run.several_judges import SPREAD
from judges.combined.members import CombinedJudge, MemberOptions

_LADDER = ("B>>A", "B>A", "A=B", "A>B", "A>>B")
_SHARES = (0.0, 0.0, 0.5, 1.0, 1.0)


class PanelOptions(MemberOptions):
    """Options of a panel.

    Parameters
    ----------
    aggregate : {"mean", "median"}
        How the members' verdicts make one.
    min_valid : int or None
        Fewest members with a verdict; by default more than half.
    """

    aggregate: Literal["mean", "median"] = "mean"
    min_valid: int | None = Field(default=None, ge=1)


class PanelJudge(CombinedJudge):
    """``panel:A,B,C``; raises as `CombinedJudge`."""

    kind = "panel"
    options_class: ClassVar[type[MemberOptions]] = PanelOptions
    options: PanelOptions

    def __init__(self, context: JudgeContext) -> None:
        super().__init__(context)
        wanted = self.options.min_valid
        if wanted is not None and wanted > len(self.members):
            raise SpecError(f"min_valid is {wanted}, and the panel has {len(self.members)} members", "at most as many")
        self._min_valid = wanted or len(self.members) // 2 + 1

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Ask all members at once; too few verdicts are none."""
        parts = await asyncio.gather(*(member.judge(task, fresh=fresh) for member in self.members))
        verdict = aggregated([j.verdict for j in parts], self.options.aggregate, self._min_valid)
        spread = spread_of([j.verdict for j in parts])
        return self.combined(task, parts, verdict, {} if spread is None else {SPREAD: spread})


def aggregated(verdicts: Sequence[Verdict], how: Literal["mean", "median"], min_valid: int) -> Verdict:
    """Return the verdict of a panel.

    Ratings must be on one scale. Five-way labels are averaged by their rank; a mean between two ranks goes to the
    weaker one.
    """
    valid = [v for v in verdicts if not isinstance(v, Unscored)]
    if len(valid) < min_valid:
        return _too_few(verdicts, min_valid)
    if len({_scale_of(v) for v in valid}) > 1:
        return Unscored(reason="out_of_scale", detail="the members' verdicts are on different scales")
    average = _AVERAGES[how]
    ratings = [v for v in valid if isinstance(v, Rating)]
    return _rated(ratings, average) if ratings else _preferred(valid, average)


def _scale_of(verdict: Verdict) -> tuple[float, float] | None:
    """Return the ends of a rating's scale; None for a preference."""
    return (verdict.low, verdict.high) if isinstance(verdict, Rating) else None


def _too_few(verdicts: Sequence[Verdict], min_valid: int) -> Unscored:
    """Return the commonest reason, with the number of members that gave a verdict."""
    failed = [v for v in verdicts if isinstance(v, Unscored)]
    detail = f"{len(verdicts) - len(failed)} of {len(verdicts)} members gave a verdict, {min_valid} are needed"
    return Unscored(reason=Counter(v.reason for v in failed).most_common(1)[0][0], detail=detail)


_Average = Callable[[Sequence[float]], float]
_AVERAGES: dict[str, _Average] = {"mean": statistics.fmean, "median": statistics.median}


def _rated(ratings: Sequence[Rating], average: _Average) -> Rating:
    low, high = ratings[0].low, ratings[0].high
    return Rating(value=min(max(average([r.value for r in ratings]), low), high), low=low, high=high)


def _preferred(verdicts: Sequence[Verdict], average: _Average) -> Preference:
    """Average preferences: by rank if all have labels, else by probability."""
    preferences = [v for v in verdicts if isinstance(v, Preference)]
    if not all(p.label in _LADDER for p in preferences):
        return Preference(p_first=average([p.p_first for p in preferences]))
    rung = average([_LADDER.index(p.label) for p in preferences]) - 2
    steps = math.ceil(abs(rung) - 0.5 - 1e-9)  # half a step goes to the weaker label
    place = 2 + int(math.copysign(steps, rung))
    return Preference(p_first=_SHARES[place], label=_LADDER[place])


def spread_of(verdicts: Sequence[Verdict]) -> float | None:
    """Return the standard deviation of the members' verdicts, on a scale from 0 to 1; None for fewer than two."""
    places = [p for verdict in verdicts if (p := place_of(verdict)) is not None]
    return statistics.stdev(places) if len(places) > 1 else None


def place_of(verdict: Verdict) -> float | None:
    """Return where a verdict lies on its scale, from 0 to 1; None for no verdict."""
    if isinstance(verdict, Rating):
        return (verdict.value - verdict.low) / (verdict.high - verdict.low)
    if isinstance(verdict, Preference):
        return _LADDER.index(verdict.label) / 4 if verdict.label in _LADDER else verdict.p_first
    return None
