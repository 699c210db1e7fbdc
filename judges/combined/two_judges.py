"""Two judges: a cheap one judges everything, a strong one a random part, and the figures are the strong one's.

The cheap verdicts only make the strong judge's figures more precise (prediction-powered inference,
`harness.stats.prediction_powered`): a cheap judge that is wrong widens the interval, and biases nothing.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from pydantic import Field

from harness.endpoint.ledger import Price
from harness.hashing import content_hash
from harness.protocols import JudgeTask
from harness.records import Judgment, Unscored
from harness.run.estimate import Estimable
from harness.run.several_judges import CHEAP, NOT_CHOSEN
from judges.combined.members import CombinedJudge, MemberOptions, summed_price


class TwoJudgesOptions(MemberOptions):
    """Options of two judges.

    Parameters
    ----------
    share : float
        Share of prompts the strong judge judges.
    """

    share: float = Field(gt=0.0, lt=1.0, strict=False)


class TwoJudges(CombinedJudge):
    """``two:CHEAP,STRONG``; raises as `CombinedJudge`."""

    kind = "two"
    n_members = (2, 2)
    options_class: ClassVar[type[MemberOptions]] = TwoJudgesOptions
    options: TwoJudgesOptions

    @property
    def price(self) -> Price | None:
        """Price of a question to the cheap judge and a share of one to the strong one."""
        prices = [member.price if isinstance(member, Estimable) else None for member in self.members]
        return summed_price(prices, [1.0, self.options.share])

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Ask the cheap judge, and the strong one on the chosen prompts."""
        cheap, strong = self.members
        if not self.is_chosen(task.prompt.id):
            first = await cheap.judge(task, fresh=fresh)
            skipped = Unscored(reason=NOT_CHOSEN, detail=f"{strong.name} was not to be asked about this prompt")
            return self.combined(task, [first], skipped, {CHEAP: first.verdict.model_dump(mode="json")})
        first, second = await asyncio.gather(cheap.judge(task, fresh=fresh), strong.judge(task, fresh=fresh))
        return self.combined(task, [first, second], second.verdict, {CHEAP: first.verdict.model_dump(mode="json")})

    def is_chosen(self, prompt_id: str) -> bool:
        """Whether the strong judge judges a prompt: by a hash, so alike in every run with this share."""
        return int(content_hash("strong judge", prompt_id)[:12], 16) < self.options.share * 16**12
