"""How a language model is asked for a verdict: rating, pairwise, logprob-weighted, five-way.

A form knows the official prompt, how the official harness samples the judge, and where its verdict is read. It does
not know endpoints, caches or prices: it is handed a function that asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from harness.endpoint.client import ChatReply, ChatRequest
from harness.errors import DataError
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import DataSource, JudgeTask
from harness.records import Preference, Response, Verdict
from judges.parsing import (
    PARSER_VERSION,
    parse_five_way,
    parse_pairwise,
    parse_preference_logprobs,
    parse_rating,
    read_text,
)
from judges.templates import (
    ArenaSettings,
    Template,
    alpaca_eval_template,
    arena_hard_v01,
    arena_hard_v2,
    fastchat_templates,
)

__all__ = ["AlpacaEvalForm", "Ask", "ChatSettings", "FiveWayForm", "JudgeForm", "PairwiseForm", "RatingForm", "Reading"]

Ask = Callable[[ChatRequest], Awaitable[ChatReply]]


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How the official harness samples the judge."""

    temperature: float = 0.0
    max_tokens: int = 2048
    top_logprobs: int = 0

    def request(self, messages: tuple[Message, ...]) -> ChatRequest:
        """Make a request of messages."""
        return ChatRequest(
            messages=messages,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_logprobs=self.top_logprobs,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """A verdict, the text it was read from, and what else it rests on."""

    verdict: Verdict
    raw: str
    meta: dict[str, Any]


class JudgeForm(Protocol):
    """One way to ask."""

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    @property
    def settings(self) -> ChatSettings:
        """How the official harness samples."""
        ...

    @property
    def usual_reply_tokens(self) -> int:
        """How long a reply usually is, for estimates."""
        ...

    def identity(self) -> str:
        """Hash of prompts and parser."""
        ...

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest | None:
        """The request a task starts with (what `assay estimate` prices); None where none is needed."""
        ...

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask and read."""
        ...


def _conversation(response: Response, upto: int, suffix: str) -> dict[str, str]:
    """Name the answers of turns 1 to `upto` as FastChat's multi-turn templates do."""
    return {f"answer{suffix}_{i + 1}": response.turns[i] for i in range(upto)}


def _question_values(task: JudgeTask) -> dict[str, str]:
    values = {"question": task.prompt.turns[0]}
    values |= {f"question_{i + 1}": text for i, text in enumerate(task.prompt.turns)}
    values |= {f"ref_answer_{i + 1}": text for i, text in enumerate(task.prompt.reference or ())}
    return values


def _fastchat_name(stem: str, task: JudgeTask) -> str:
    """FastChat's name for the prompt: "math" with a reference answer, "multi-turn" for the second turn."""
    version = {"single": "v1", "pair": "v2"}[stem]
    name = f"{stem}-math-v1" if task.prompt.reference else f"{stem}-{version}"
    return f"{name}-multi-turn" if task.turn > 1 else name


@dataclass(frozen=True)
class _FastChatForm:
    templates: dict[str, Template]
    usual_reply_tokens: ClassVar[int] = 190  # GPT-4's stored MT-Bench judgments average 740 characters

    @property
    def settings(self) -> ChatSettings:
        return ChatSettings(temperature=0.0, max_tokens=2048)

    def _identity(self, name: str) -> str:
        hashes = {key: template.hash for key, template in sorted(self.templates.items())}
        return content_hash("form", name, hashes, PARSER_VERSION)

    def _template(self, name: str) -> Template:
        if name not in self.templates:
            raise DataError(f"no judge prompt {name!r} in the judge prompt file", "one of " + ", ".join(self.templates))
        return self.templates[name]


@dataclass(frozen=True)
class RatingForm(_FastChatForm):
    """MT-Bench's single-answer grading, 1 to 10, with a reference answer where the prompt has one [1]_.

    References
    ----------
    .. [1] Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv 2306.05685, section 3.1.
    """

    name = "rating"

    @classmethod
    def from_data(cls, data: DataSource) -> RatingForm:
        """Read the official prompts."""
        found = fastchat_templates(data)
        return cls({name: found[name] for name in found if name.startswith("single-")})

    def identity(self) -> str:
        """Hash of prompts and parser."""
        return self._identity(self.name)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest:
        """Fill the prompt for the turn that is rated."""
        (response,) = task.responses
        values = _question_values(task) | {"answer": response.turns[0]} | _conversation(response, task.turn, "")
        return settings.request(self._template(_fastchat_name("single", task)).messages(values))

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask once and read the rating."""
        reply = await ask(self.first_request(task, settings))
        return Reading(read_text(reply, parse_rating), reply.text, {})


@dataclass(frozen=True)
class PairwiseForm(_FastChatForm):
    """MT-Bench's pairwise comparison with ties; the other order is another task."""

    name = "pairwise"

    @classmethod
    def from_data(cls, data: DataSource) -> PairwiseForm:
        """Read the official prompts."""
        found = fastchat_templates(data)
        return cls({name: found[name] for name in found if name.startswith("pair-")})

    def identity(self) -> str:
        """Hash of prompts and parser."""
        return self._identity(self.name)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest:
        """Fill the prompt for the turn that is compared."""
        first, second = task.responses
        values = _question_values(task) | {"answer_a": first.turns[0], "answer_b": second.turns[0]}
        values |= _conversation(first, task.turn, "_a") | _conversation(second, task.turn, "_b")
        return settings.request(self._template(_fastchat_name("pair", task)).messages(values))

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask once and read A, B or C."""
        reply = await ask(self.first_request(task, settings))
        return Reading(read_text(reply, parse_pairwise), reply.text, {})


@dataclass(frozen=True)
class AlpacaEvalForm:
    """AlpacaEval 2's judge: one token, its log-probability the verdict [1]_.

    Equal outputs are a tie without asking, as upstream.

    References
    ----------
    .. [1] Dubois et al., "Length-Controlled AlpacaEval", arXiv 2404.04475; alpaca_eval 0.6.6, annotator
       weighted_alpaca_eval_gpt4_turbo.
    """

    template: Template
    name = "alpaca_eval"
    usual_reply_tokens: ClassVar[int] = 1

    @classmethod
    def from_data(cls, data: DataSource) -> AlpacaEvalForm:
        """Read the official prompt."""
        del data  # it comes with the alpaca-eval package
        return cls(alpaca_eval_template())

    @property
    def settings(self) -> ChatSettings:
        """One token at temperature 1: the alternatives' log-probabilities are wanted, not the sample."""
        return ChatSettings(temperature=1.0, max_tokens=1, top_logprobs=5)

    def identity(self) -> str:
        """Hash of prompt and parser."""
        return content_hash("form", self.name, self.template.hash, PARSER_VERSION)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest | None:
        """Fill the prompt; None for equal outputs."""
        first, second = task.responses
        if first.turns == second.turns:
            return None
        values = {"instruction": task.prompt.turns[0], "output_1": first.turns[0], "output_2": second.turns[0]}
        # One token is what this form is; a longer limit would only buy text nobody reads.
        return replace(settings, max_tokens=1, top_logprobs=5).request(self.template.messages(values))

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask for one token and read the alternatives."""
        request = self.first_request(task, settings)
        if request is None:
            return Reading(Preference(p_first=0.5, label="equal"), "", {"equal_outputs": True})
        reply = await ask(request)
        verdict = parse_preference_logprobs(reply.logprobs)
        top = [list(pair) for pair in reply.logprobs[0].top] if reply.logprobs else []
        return Reading(verdict, reply.text, {"top_logprobs": top})


@dataclass(frozen=True)
class FiveWayForm:
    """Arena-Hard's five-way comparison; the second game is another task [1]_.

    References
    ----------
    .. [1] Li et al., "From Crowdsourced Data to High-Quality Benchmarks: Arena-Hard and BenchBuilder Pipeline",
       arXiv 2406.11939.
    """

    name: str
    arena: ArenaSettings
    last_label: bool
    usual_reply_tokens: ClassVar[int] = 700  # the judge writes its own answer first

    @classmethod
    def v01(cls, data: DataSource) -> FiveWayForm:
        """Read v0.1's prompt: all labels must agree, a second attempt where there is none."""
        return cls("five_way", arena_hard_v01(data), last_label=False)

    @classmethod
    def v2(cls, data: DataSource) -> FiveWayForm:
        """Read v2.0's prompts: the last label counts."""
        return cls("five_way_v2", arena_hard_v2(data), last_label=True)

    @property
    def settings(self) -> ChatSettings:
        """As upstream's configuration file."""
        return ChatSettings(temperature=self.arena.temperature, max_tokens=self.arena.max_tokens)

    def identity(self) -> str:
        """Hash of prompts, attempts and parser."""
        hashes = self.arena.templates[""].hash if not self.last_label else self.arena.templates["hard_prompt"].hash
        return content_hash("form", self.name, hashes, self.arena.attempts, PARSER_VERSION)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest:
        """Fill the prompt."""
        first, second = task.responses
        template = self.arena.templates[(task.prompt.category or "hard_prompt") if self.last_label else ""]
        question, answer_1, answer_2 = task.prompt.turns[0], first.turns[0], second.turns[0]
        values = {"question_1": question, "answer_1": answer_1, "answer_2": answer_2}
        values |= {"QUESTION": question, "ANSWER_A": answer_1, "ANSWER_B": answer_2}
        return settings.request(template.messages(values))

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask, and where no label came, ask to go on as upstream does."""
        request = self.first_request(task, settings)
        text = ""
        attempts = 0
        while attempts < self.arena.attempts:
            attempts += 1
            reply = await ask(request)
            text = f"{text}\n{reply.text}" if text else reply.text
            verdict = read_text(reply, lambda t: parse_five_way(t, last=self.last_label), text)
            if verdict.kind != "unscored" or verdict.reason not in ("unparsed", "truncated"):
                break
            more = (Message("assistant", reply.text), Message("user", _CONTINUE))
            request = replace(request, messages=request.messages + more)
        return Reading(verdict, text, {"attempts": attempts})


_CONTINUE = "Please go on with your judgment and end it with one of the verdict labels."
"""The request for a second attempt. Ours: upstream's wording is in its code, not in its data."""
