"""A cascade: a cheap judge decides where it is sure, a strong one judges the rest.

`assay calibrate --escalate` finds the confidence from which the cheap judge agrees often enough, with a guarantee
(`harness.stats.escalation`).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harness.protocols import JudgeTask
from harness.records import Judgment, Preference, Verdict
from judges.combined.members import CombinedJudge, MemberOptions


class CascadeOptions(MemberOptions):
    """Options of a cascade.

    Parameters
    ----------
    threshold : float
        The first judge decides alone where the probability of its choice is at least this.
    """

    threshold: float = Field(ge=0.5, le=1.0, strict=False)


class CascadeJudge(CombinedJudge):
    """``cascade:CHEAP,STRONG``; raises as `CombinedJudge`."""

    kind = "cascade"
    n_members = (2, 2)
    options_class: ClassVar[type[MemberOptions]] = CascadeOptions
    options: CascadeOptions

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Ask the cheap judge, and the strong one where it gave no verdict or was unsure."""
        cheap, strong = self.members
        first = await cheap.judge(task, fresh=fresh)
        sure = confidence_of(first.verdict)
        meta = {} if sure is None else {"confidence": sure}
        if sure is not None and sure >= self.options.threshold:
            return self.combined(task, [first], first.verdict, {"decided_by": cheap.name, **meta})
        second = await strong.judge(task, fresh=fresh)
        return self.combined(task, [first, second], second.verdict, {"decided_by": strong.name, **meta})


def confidence_of(verdict: Verdict) -> float | None:
    """Return the probability a judge gives its own choice; None if the verdict is no preference.

    A tie has confidence 0.5, so that it goes to the strong judge.
    """
    return max(verdict.p_first, 1.0 - verdict.p_first) if isinstance(verdict, Preference) else None
