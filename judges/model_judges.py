"""Models that score answers as judges: a comparison of two answers is a probability, and no text is written.

A reward model's verdict is P(first is better) = sigmoid(r(first) - r(second)), a preference model's its own
probability, averaged over both orders. A comparison so has no position bias, and the forms that ask twice get the same
verdict twice. A grade on a scale is not theirs to give.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import registry
from harness.engines.base import Fingerprint
from harness.errors import UsageError
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import JudgeContext, JudgeTask
from harness.records import Judgment, Preference, Response, Unscored, Verdict
from harness.run.plan import compares

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """What a model said of one task: a verdict, what it rests on, and the tokens it read."""

    verdict: Verdict
    meta: dict[str, Any]
    n_tokens: int = 0


class ModelJudge(ABC):
    """A judge with a loaded model; a `harness.protocols.Judge`.

    Tasks that wait while the model is busy are judged together in the next pass.

    Parameters
    ----------
    context : JudgeContext
        Which model (``KIND:DIR``), and the options of its engine.
    """

    kind = ""
    """The engine's registered name, which is the judge's."""

    def __init__(self, context: JudgeContext) -> None:
        self._spec = context.spec
        self._loaded: Any = None
        self._fingerprint: Fingerprint | None = None
        self._waiting: list[tuple[JudgeTask, asyncio.Future[Compared]]] = []
        self._pass: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Name for tables."""
        return self._identity().name

    def judge_id(self, form: str) -> str:
        """Hash of the model and the form.

        Raises
        ------
        UsageError
            The form wants a grade, which these models do not give.
        ModelError
            The model cannot be loaded.
        """
        if not compares(form):
            raise UsageError(
                f"a {self.kind} compares two answers, and the judge form {form!r} asks for a "
                f"{registry.judge_form(form).verdict} of {registry.judge_form(form).n_answers}",
                "a form that compares two answers, as those of alpaca_eval, arena_hard and head_to_head do",
                "judge this benchmark with a language model (--judge openai:MODEL), or leave it out",
            )
        return content_hash("judge", self.kind, self._identity().model_id, form, _VERSION)

    def describe(self) -> dict[str, Any]:
        """What run.json says of it."""
        identity = self._identity()
        return {
            "model": self._spec.model,
            "weights_hash": identity.weights_hash,
            "chat_template_hash": identity.chat_template_hash,
            "options": dict(identity.options),
        }

    async def prepare(self) -> None:
        """Load the model."""
        await asyncio.to_thread(self._engine)

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Compare two answers; what the model cannot read becomes `Unscored`."""
        del fresh  # nothing is cached: the verdict is computed anew
        future: asyncio.Future[Compared] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, future))
        if self._pass is None or self._pass.done():
            self._pass = asyncio.create_task(self._work())
        compared = await future
        return task.judgment(
            self.name,
            self.judge_id(task.form),
            compared.verdict,
            n_prompt_tokens=compared.n_tokens,
            n_completion_tokens=0,
            cost=0.0,
            meta=compared.meta,
        )

    async def close(self) -> None:
        """Free the model."""
        if self._pass is not None and not self._pass.done():
            await asyncio.wait([self._pass])
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    @abstractmethod
    def compare(self, engine: Any, tasks: Sequence[JudgeTask]) -> list[Compared]:
        """Compare the answers of tasks, all in one go."""

    def _identity(self) -> Fingerprint:
        if self._fingerprint is None:
            self._fingerprint = self._engine().fingerprint
        return self._fingerprint

    def _engine(self) -> Any:
        if self._loaded is None:
            options: Mapping[str, Any] = {"model": self._spec.model_name, **self._spec.options}
            self._loaded = registry.make("engine", self.kind, options)
        return self._loaded

    async def _work(self) -> None:
        """Judge what waits until nothing does."""
        await asyncio.sleep(0)  # let those who ask at the same time join
        while self._waiting:
            batch, self._waiting = self._waiting, []
            tasks = [task for task, _ in batch]
            try:
                found = await asyncio.to_thread(self.compare, self._engine(), tasks)
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, future), compared in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(compared)


def conversation(task: JudgeTask, response: Response) -> tuple[Message, ...]:
    """Write a conversation up to the answer of the turn that is judged."""
    messages = [Message("system", task.prompt.system)] if task.prompt.system else []
    for question, answer in zip(task.prompt.turns[: task.turn], response.turns[: task.turn], strict=True):
        messages += [Message("user", question), Message("assistant", answer)]
    return tuple(messages)


def unread(reason: str, n_tokens: int = 0) -> Compared:
    """Make a verdict of what could not be read."""
    return Compared(Unscored(reason="request_failed", detail=reason), {}, n_tokens)


def preferred(p_first: float, meta: dict[str, Any], n_tokens: int) -> Compared:
    """Make a verdict of a probability."""
    return Compared(Preference(p_first=min(max(p_first, 0.0), 1.0)), meta, n_tokens)
