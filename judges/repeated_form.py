"""A form that reads text, asked several times: the verdict is the mean of the replies' verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

from harness.endpoint.exchange import ChatFailure, ChatReply, ChatRequest
from harness.hashing import content_hash
from harness.protocols import Ask, ChatSettings, JudgeForm, JudgeTask, Reading
from harness.run.several_judges import SPREAD
from judges.combined.panel import aggregated, spread_of
from judges.without_logprobs import numbered

_TEMPERATURE = 1.0
"""Temperature where the official one is 0, at which all replies would be the same."""


@dataclass(frozen=True)
class RepeatedForm:
    """Asks a form `n_samples` times, as far as the rest of the program can tell a form of its own.

    Parameters
    ----------
    official : JudgeForm
        A form that reads text.
    n_samples : int
        Judgments per verdict.
    """

    official: JudgeForm
    n_samples: int

    @property
    def verdict(self) -> Literal["rating", "preference", "five_way"]:
        """The official form's kind of verdict."""
        return self.official.verdict

    @property
    def n_answers(self) -> int:
        """The official form's number of answers."""
        return self.official.n_answers

    @property
    def reads(self) -> Literal["text", "logprobs"]:
        """The text of the reply."""
        return "text"

    @property
    def usual_reply_tokens(self) -> int:
        """The official form's, of one reply."""
        return self.official.usual_reply_tokens

    @property
    def settings(self) -> ChatSettings:
        """The official sampling, at a temperature at which replies differ."""
        official = self.official.settings
        return replace(official, temperature=official.temperature or _TEMPERATURE)

    @property
    def deviation(self) -> str:
        """What differs from the official judge, in words."""
        return f"each verdict is the mean of {self.n_samples} sampled ones"

    def identity(self) -> str:
        """Hash of the official form and the number of samples."""
        return content_hash("repeated", self.official.identity(), self.n_samples)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest | None:
        """The official question."""
        return self.official.first_request(task, settings)

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask for all samples; more than half of them must have a verdict."""
        found = await asyncio.gather(
            *(self._once(task, settings, ask, number) for number in range(self.n_samples)), return_exceptions=True
        )
        readings = [reading for reading in found if isinstance(reading, Reading)]
        for failure in found:
            if isinstance(failure, BaseException) and not (readings and isinstance(failure, ChatFailure)):
                raise failure
        verdicts = [reading.verdict for reading in readings]
        spread = spread_of(verdicts)
        meta: dict[str, Any] = {"samples": self.n_samples, "sampled": [v.model_dump(mode="json") for v in verdicts]}
        meta |= {} if spread is None else {SPREAD: spread}
        verdict = aggregated(verdicts, "mean", self.n_samples // 2 + 1)
        return Reading(verdict, "\n\n".join(reading.raw for reading in readings), meta | _grades(readings))

    async def _once(self, task: JudgeTask, settings: ChatSettings, ask: Ask, number: int) -> Reading:
        async def ask_numbered(request: ChatRequest) -> ChatReply:
            return await ask(numbered(request, number))

        return await self.official.judge(task, settings, ask_numbered)


def _grades(readings: Sequence[Reading]) -> dict[str, Any]:
    """Average a rubric's grades over the samples that have them; none for other forms."""
    graded = [reading.meta["rubric"] for reading in readings if "rubric" in reading.meta]
    names = dict.fromkeys(name for grades in graded for name in grades)
    means = {name: fmean(grades[name] for grades in graded if name in grades) for name in names}
    return {"rubric": means} if graded else {}
