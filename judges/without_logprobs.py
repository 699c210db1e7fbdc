"""AlpacaEval's verdict from judges that return no log-probabilities.

The official verdict is the probability of the judge's first token. Two other ways to get a probability, both deviations
that the user chooses and the run names:

- *samples*: the judge is asked k times at temperature 1, and the verdict is the share of the answers that name the
  first output. The share estimates the same probability, with the binomial variance p(1 - p) / (k - 1), which is kept;
- *structured*: the judge states the probability in JSON, held to a schema by the server. That is another question.
"""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

from harness.endpoint.exchange import ChatFailure, ChatReply, ChatRequest
from harness.errors import SpecError
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import Ask, ChatSettings, JudgeForm, JudgeTask, Reading
from harness.records import Preference, Unscored, Verdict
from harness.spec import JudgeSpec

_READER_VERSION = 1
_MAX_TOKENS = 2048  # for models that reason; the name itself is one token
_FIRST, _SECOND = "m", "M"
_NAME = re.compile(r"[^A-Za-z]*([mM])[^A-Za-z]*")

STRUCTURED_QUESTION = (
    "Instead of naming one model, state how sure you are. Reply with a JSON object with the single key "
    f'"probability": the probability, from 0 to 1, that the output of model {_FIRST} is the better one.'
)
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"probability": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["probability"],
    "additionalProperties": False,
}


def without_logprobs(form: JudgeForm, spec: JudgeSpec) -> JudgeForm:
    """Return a form that asks as the judge's spec chooses; the form itself if nothing is chosen, or it reads text.

    Raises
    ------
    SpecError
        The form gives no preference between two answers.
    """
    if form.reads != "logprobs" or (spec.samples is None and spec.probability is None):
        return form
    if form.verdict != "preference":
        raise SpecError(
            f"judge.samples and judge.probability are given, and the form asks for a {form.verdict}",
            "a form that reads a preference from log-probabilities, as alpaca_eval",
        )
    # They are made of a form and not of data, which is all that JudgeForm has and they have not.
    return cast(JudgeForm, StructuredForm(form) if spec.samples is None else SampledForm(form, spec.samples))


@dataclass(frozen=True)
class InPlaceOf(ABC):
    """What both forms share: they ask what the official form asks, and read text.

    Parameters
    ----------
    official : JudgeForm
        The form that reads log-probabilities.
    n_samples : int
        Answers per judgment.
    """

    official: JudgeForm
    n_samples: int = 1
    verdict: ClassVar[Literal["rating", "preference", "five_way"]] = "preference"
    n_answers: ClassVar[int] = 2
    reads: ClassVar[Literal["text", "logprobs"]] = "text"
    usual_reply_tokens: ClassVar[int] = 1
    schema: ClassVar[Mapping[str, Any] | None] = None

    @property
    @abstractmethod
    def deviation(self) -> str:
        """What differs from the official judge, in words."""

    @property
    def settings(self) -> ChatSettings:
        """The official sampling, with room for a reasoning model and no log-probabilities."""
        return replace(self.official.settings, max_tokens=_MAX_TOKENS, top_logprobs=0, schema=self.schema)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest | None:
        """The official question."""
        return self.official.first_request(task, settings)


@dataclass(frozen=True)
class SampledForm(InPlaceOf):
    """Asks `n_samples` times; the verdict is the share of the answers that name the first output."""

    def identity(self) -> str:
        """Hash of the official question, the number of samples and the reader."""
        return content_hash("samples", self.official.identity(), self.n_samples, _READER_VERSION)

    @property
    def deviation(self) -> str:
        """What differs from the official judge, in words."""
        return (
            f"the probability is the share of {self.n_samples} sampled verdicts, not read from log-probabilities; "
            "its sampling variance is part of the intervals"
        )

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask for all samples; unreadable ones do not count, and more than half of them must be readable."""
        request = self.first_request(task, settings)
        if request is None:
            return Reading(Preference(p_first=0.5, label="equal"), "", {"equal_outputs": True})
        asked = (ask(numbered(request, number)) for number in range(self.n_samples))
        replies = _answered(await asyncio.gather(*asked, return_exceptions=True))
        named = [name for reply in replies if (name := _named(reply))]
        return Reading(self._verdict(replies, named), "\n".join(reply.text for reply in replies), self._meta(named))

    def _verdict(self, replies: list[ChatReply], named: list[str]) -> Verdict:
        if 2 * len(named) > self.n_samples:
            return Preference(p_first=named.count(_FIRST) / len(named))
        if all(reply.refusal or reply.finish == "content_filter" for reply in replies):
            return Unscored(reason="refused", detail=replies[0].refusal or "stopped by a content filter")
        if all(reply.finish == "length" for reply in replies):
            return Unscored(reason="truncated", detail="the judge reached its token limit before a verdict")
        return Unscored(
            reason="unparsed", detail=f"{len(named)} of {self.n_samples} samples name a model, more than half must"
        )

    def _meta(self, named: list[str]) -> dict[str, Any]:
        n = len(named)
        share = named.count(_FIRST) / n if n else None
        variance = share * (1.0 - share) / (n - 1) if share is not None and n > 1 else None
        return {"samples": self.n_samples, "samples_read": n, "share_variance": variance}


@dataclass(frozen=True)
class StructuredForm(InPlaceOf):
    """Asks for the probability itself, in JSON."""

    usual_reply_tokens: ClassVar[int] = 10
    schema: ClassVar[Mapping[str, Any] | None] = SCHEMA

    def identity(self) -> str:
        """Hash of the official question, the addition to it and the reader."""
        return content_hash("structured", self.official.identity(), STRUCTURED_QUESTION, SCHEMA, _READER_VERSION)

    @property
    def deviation(self) -> str:
        """What differs from the official judge, in words."""
        return "the judge states the probability itself (a JSON schema), it is not read from log-probabilities"

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest | None:
        """Add the question for the probability to the last message."""
        request = super().first_request(task, settings)
        if request is None:
            return None
        *before, last = request.messages
        asked = Message(last.role, f"{last.content}\n\n{STRUCTURED_QUESTION}")
        return replace(request, messages=(*before, asked), schema=self.schema)

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask once and read the number."""
        request = self.first_request(task, settings)
        if request is None:
            return Reading(Preference(p_first=0.5, label="equal"), "", {"equal_outputs": True})
        reply = await ask(request)
        return Reading(_stated(reply), reply.text, {"probability": "structured"})


def numbered(request: ChatRequest, number: int) -> ChatRequest:
    """Make the requests of one judgment distinct; equal seeds would give equal answers."""
    seed = None if request.seed is None else request.seed + number
    return replace(request, sample=number, seed=seed)


def _answered(found: Sequence[ChatReply | BaseException]) -> list[ChatReply]:
    """Return the replies; one failed request leaves the others, and what stops the run stops the judgment."""
    replies = [reply for reply in found if isinstance(reply, ChatReply)]
    for failure in found:
        if isinstance(failure, BaseException) and not (replies and isinstance(failure, ChatFailure)):
            raise failure
    return replies


def _named(reply: ChatReply) -> str:
    """Return the model that a reply names, "" if it does not name one and nothing else."""
    match = _NAME.fullmatch(reply.text)
    return match.group(1) if match and not reply.refusal else ""


def _stated(reply: ChatReply) -> Verdict:
    """Read the probability of the first output."""
    if reply.refusal or reply.finish == "content_filter":
        return Unscored(reason="refused", detail=reply.refusal or "stopped by a content filter")
    try:
        value = json.loads(reply.text)
    except ValueError:
        if reply.finish == "length":
            return Unscored(reason="truncated", detail="the judge reached its token limit before a verdict")
        return Unscored(reason="unparsed", detail="the reply is not JSON")
    number = value.get("probability") if isinstance(value, dict) else None
    if isinstance(number, bool) or not isinstance(number, int | float):
        return Unscored(reason="unparsed", detail='the reply has no number "probability"')
    if not 0 <= number <= 1:
        return Unscored(reason="out_of_scale", detail=f"probability {number}, asked for one from 0 to 1")
    return Preference(p_first=float(number))
