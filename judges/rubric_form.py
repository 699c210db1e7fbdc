"""The judge form `rubric:NAME` or `rubric:FILE.yaml`: an answer is graded by each dimension of a rubric."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Literal, Self, cast

from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.errors import DataError, UsageError
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import Ask, ChatSettings, DataSource, JudgeTask, Reading
from harness.records import Rating, Unscored, Verdict
from judges.file_form import last_line
from judges.forms import judged_texts
from judges.parsing import rating_of, unusable
from judges.prompt_text import PromptText, answer_fields, fields, task_values
from judges.rubric import Dimension, Rubric, load_rubric, question_text

_VERSION = "1"
_EXTRA = ("dimensions", "own_answer")


class RubricForm:
    """Grades by a rubric; each rubric has a class of its own, made by :meth:`of`.

    The verdict is the weighted mean; ``meta["rubric"]`` holds the grades by dimension.
    """

    rubric: ClassVar[Rubric]
    verdict: ClassVar[Literal["rating"]] = "rating"
    n_answers: ClassVar[int] = 1
    reads: ClassVar[Literal["text", "logprobs"]] = "text"
    usual_reply_tokens: ClassVar[int] = 120

    def __init__(self) -> None:
        self._prompt = PromptText(question_text(), "the rubric prompt", fields(1, _EXTRA), answer_fields(1))

    @classmethod
    def of(cls, argument: str) -> type[Self]:
        """Return the form of a shipped rubric or a file.

        "NAME#DIMENSION" asks one dimension only, "NAME#not-DIMENSION" the opposite of its principle.

        Raises
        ------
        UnknownNameError, MissingDataError, SpecError
            There is no such rubric or dimension, or the rubric is wrong.
        """
        return cast(type[Self], _class_of_name(argument))

    @classmethod
    def of_rubric(cls, rubric: Rubric) -> type[Self]:
        """Return the form of a rubric."""
        n_requests = 1 if rubric.ask == "together" else len(rubric.dimensions)
        scales = {dimension.name: rubric.scale_of(dimension) for dimension in rubric.dimensions}
        declared = {"rubric": rubric, "scale": rubric.scale, "dimensions": scales}
        return type(cls.__name__, (cls,), {**declared, "usual_reply_tokens": 120 * n_requests})

    @classmethod
    def from_data(cls, data: DataSource) -> Self:
        """Return the form; it needs no upstream files."""
        del data
        return cls()

    @property
    def settings(self) -> ChatSettings:
        """Greedy, with room for an explanation."""
        return ChatSettings(temperature=0.0, max_tokens=1024)

    def identity(self) -> str:
        """Hash of the rubric and the template; the negated questions are not asked and not part of it."""
        rubric = self.rubric.model_dump(mode="json", exclude={"name": True, "dimensions": {"__all__": {"negated"}}})
        return content_hash("form", "rubric", rubric, self._prompt.source, _VERSION)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest:
        """Return the request for the judge's own answer if there is one, else the first question.

        Raises
        ------
        DataError
            The template fails on this task.
        """
        if self.rubric.own_answer:
            return settings.request(_conversation(task))
        return self._request(task, settings, self._asked()[0], "")

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask for all dimensions; without the grade of one there is no verdict."""
        if missing := self._unanswerable(task):
            return Reading(Unscored(reason="missing", detail=missing), "", {})
        own, texts = "", []
        if self.rubric.own_answer:
            own = (await ask(settings.request(_conversation(task)))).text
            texts.append(own)
        asked = self._asked()
        try:
            requests = [self._request(task, settings, dimensions, own) for dimensions in asked]
        except DataError as error:
            return Reading(Unscored(reason="request_failed", detail=str(error)), "", {})
        replies = await asyncio.gather(*(ask(request) for request in requests))
        answers = judged_texts(task)
        graded = [self._graded(reply, dimensions, answers) for reply, dimensions in zip(replies, asked, strict=True)]
        return self._reading(graded, "\n\n".join([*texts, *(reply.text for reply in replies)]))

    def _asked(self) -> list[tuple[Dimension, ...]]:
        """Return the dimensions of each request."""
        dimensions = self.rubric.dimensions
        return [dimensions] if self.rubric.ask == "together" else [(dimension,) for dimension in dimensions]

    def _unanswerable(self, task: JudgeTask) -> str:
        """Return why the task cannot be judged; "" if it can."""
        if task.prompt.reference:
            return ""
        lacking = [dimension.name for dimension in self.rubric.dimensions if dimension.needs_reference]
        return f"the prompt has no reference, which {', '.join(lacking)} needs" if lacking else ""

    def _request(
        self, task: JudgeTask, settings: ChatSettings, dimensions: Sequence[Dimension], own: str
    ) -> ChatRequest:
        asked = [
            {"name": d.name, "question": d.question, "low": f"{low:g}", "high": f"{high:g}"}
            for d, (low, high) in ((d, self.rubric.scale_of(d)) for d in dimensions)
        ]
        values = {**task_values(task), "dimensions": asked, "own_answer": own}
        return settings.request((Message("user", self._prompt.render(values)),))

    def _graded(
        self, reply: ChatReply, dimensions: Sequence[Dimension], answers: tuple[str, ...]
    ) -> dict[str, Verdict] | Unscored:
        """Read the grades of one request."""
        line = unusable(reply) or last_line(reply.text, _pattern(tuple(d.name for d in dimensions)), answers)
        if isinstance(line, Unscored):
            return line
        values = re.findall(r"=\s?([0-9.]+)", line)
        return {d.name: rating_of(value, *self.rubric.scale_of(d)) for d, value in zip(dimensions, values, strict=True)}

    def _reading(self, graded: Sequence[dict[str, Verdict] | Unscored], raw: str) -> Reading:
        """Combine the grades of all requests."""
        failed: list[Unscored] = []
        grades: dict[str, float] = {}
        for found in graded:
            for name, verdict in (found if isinstance(found, dict) else {"": found}).items():
                if isinstance(verdict, Rating):
                    grades[name] = verdict.value
                elif isinstance(verdict, Unscored):
                    where = f"{name}: " if name else ""
                    failed.append(verdict.model_copy(update={"detail": where + verdict.detail}))
        if failed:
            return Reading(failed[0], raw, {"rubric": grades})
        low, high = self.rubric.scale
        return Reading(Rating(value=self.rubric.combined(grades), low=low, high=high), raw, {"rubric": grades})


@cache
def _class_of_name(argument: str) -> type[RubricForm]:
    name, _, dimension = argument.partition("#")
    rubric = load_rubric(name)
    if dimension:
        wanted = dimension.removeprefix("not-")
        rubric = rubric.negated(wanted) if dimension != wanted else rubric.alone(wanted)
    return RubricForm.of_rubric(rubric)


def negations(reference: str) -> list[tuple[str, tuple[str, str]]]:
    """Return each dimension of ``rubric:NAME`` with the form that asks it and the form that asks its opposite.

    Raises
    ------
    UsageError
        The form is no rubric, or none of its dimensions has a negated principle.
    """
    kind, _, name = reference.partition(":")
    if kind != "rubric":
        raise UsageError(f"{reference} has no principles to negate", "rubric:NAME or rubric:FILE.yaml")
    dimensions = [d.name for d in load_rubric(name).dimensions if d.negated]
    if not dimensions:
        raise UsageError(f"no dimension of {reference} has a negated principle", "`negated:` in the rubric's file")
    return [(d, (f"{reference}#{d}", f"{reference}#not-{d}")) for d in dimensions]


@cache
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Compile the format of the last line: "Ratings: helpful=4, harmless=5"."""
    return re.compile(
        "Ratings?: (" + r",\s*".join(rf"{name}\s?=\s?[0-9]+(?:\.[0-9]+)?" for name in names) + ")", re.ASCII
    )


def _conversation(task: JudgeTask) -> tuple[Message, ...]:
    """Return the conversation the judge answers itself: the user's turns, with the judged answers before the last."""
    (response,) = task.responses
    messages = [Message("system", task.prompt.system)] if task.prompt.system else []
    for i in range(task.turn):
        messages.append(Message("user", task.prompt.turns[i]))
        if i < task.turn - 1:
            messages.append(Message("assistant", response.turns[i]))
    return tuple(messages)
