"""How a language model is asked for a verdict: rating, pairwise, weighted by log-probabilities, five-way.

Each is a `harness.protocols.JudgeForm`: it knows the official prompt, how the official harness samples the judge, and
where the verdict is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, Self

from harness.endpoint.exchange import ChatRequest
from harness.errors import DataError
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import Ask, ChatSettings, DataSource, JudgeTask, Reading
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


@dataclass(frozen=True)
class _FastChatForm(ABC):
    """MT-Bench's prompts, by FastChat's names."""

    templates: dict[str, Template]
    name: ClassVar[str]
    stem: ClassVar[str]
    plain_version: ClassVar[str]
    reads: ClassVar[Literal["text", "logprobs"]] = "text"
    usual_reply_tokens: ClassVar[int] = 190  # GPT-4's stored MT-Bench judgments average 740 characters

    @classmethod
    def from_data(cls, data: DataSource) -> Self:
        """Read the official prompts."""
        found = fastchat_templates(data)
        return cls({name: found[name] for name in found if name.startswith(f"{cls.stem}-")})

    @property
    def settings(self) -> ChatSettings:
        """As FastChat samples."""
        return ChatSettings(temperature=0.0, max_tokens=2048)

    def identity(self) -> str:
        """Hash of prompts and parser."""
        hashes = {key: template.hash for key, template in sorted(self.templates.items())}
        return content_hash("form", self.name, hashes, PARSER_VERSION)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest:
        """Fill the prompt for the turn that is judged."""
        prompt = task.prompt
        values = {"question": prompt.turns[0], **_numbered("question", prompt.turns)}
        values |= _numbered("ref_answer", prompt.reference or ()) | self._answers(task)
        return settings.request(self._template(task).messages(values))

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask once and read the verdict."""
        reply = await ask(self.first_request(task, settings))
        return Reading(read_text(reply, partial(self._parse, answers=judged_texts(task))), reply.text, {})

    @abstractmethod
    def _answers(self, task: JudgeTask) -> dict[str, str]:
        """Name the answers as the templates do."""

    @abstractmethod
    def _parse(self, text: str, answers: Sequence[str]) -> Verdict: ...

    def _template(self, task: JudgeTask) -> Template:
        """Choose the prompt: "math" with a reference answer, "multi-turn" for the second turn."""
        name = f"{self.stem}-math-v1" if task.prompt.reference else f"{self.stem}-{self.plain_version}"
        name = f"{name}-multi-turn" if task.turn > 1 else name
        if name not in self.templates:
            raise DataError(f"no judge prompt {name!r} in the judge prompt file", "one of " + ", ".join(self.templates))
        return self.templates[name]


def _numbered(name: str, texts: tuple[str, ...]) -> dict[str, str]:
    return {f"{name}_{i}": text for i, text in enumerate(texts, 1)}


def _conversation(response: Response, task: JudgeTask, suffix: str) -> dict[str, str]:
    """Name an answer's turns, up to the one that is judged."""
    turns = response.turns[: task.turn]
    return {f"answer{suffix}": turns[0], **_numbered(f"answer{suffix}", turns)}


def judged_texts(task: JudgeTask) -> tuple[str, ...]:
    """Return the answers a judge is shown, up to the judged turn."""
    return tuple(turn for response in task.responses for turn in response.turns[: task.turn])


class RatingForm(_FastChatForm):
    """MT-Bench's single-answer grading, 1 to 10, with a reference answer where the prompt has one [1]_.

    References
    ----------
    .. [1] Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv 2306.05685, section 3.1.
    """

    name, stem, plain_version = "rating", "single", "v1"
    verdict: ClassVar[Literal["rating"]] = "rating"
    n_answers: ClassVar[int] = 1

    def _answers(self, task: JudgeTask) -> dict[str, str]:
        (response,) = task.responses
        return _conversation(response, task, "")

    def _parse(self, text: str, answers: Sequence[str]) -> Verdict:
        return parse_rating(text, answers)


class PairwiseForm(_FastChatForm):
    """MT-Bench's pairwise comparison with ties; the other order is another task."""

    name, stem, plain_version = "pairwise", "pair", "v2"
    verdict: ClassVar[Literal["preference"]] = "preference"
    n_answers: ClassVar[int] = 2

    def _answers(self, task: JudgeTask) -> dict[str, str]:
        first, second = task.responses
        return _conversation(first, task, "_a") | _conversation(second, task, "_b")

    def _parse(self, text: str, answers: Sequence[str]) -> Verdict:
        return parse_pairwise(text, answers)


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
    name: ClassVar[str] = "alpaca_eval"
    verdict: ClassVar[Literal["preference"]] = "preference"
    n_answers: ClassVar[int] = 2
    reads: ClassVar[Literal["text", "logprobs"]] = "logprobs"
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
        return settings.request(self.template.messages(values))

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
    """Arena-Hard v0.1's five-way comparison; the second game is another task [1]_.

    All labels in a reply must agree. Where there is none the judge is asked once more.

    References
    ----------
    .. [1] Li et al., "From Crowdsourced Data to High-Quality Benchmarks: Arena-Hard and BenchBuilder Pipeline",
       arXiv 2406.11939.
    """

    arena: ArenaSettings
    name: ClassVar[str] = "five_way"
    last_label: ClassVar[bool] = False
    verdict: ClassVar[Literal["five_way"]] = "five_way"
    n_answers: ClassVar[int] = 2
    reads: ClassVar[Literal["text", "logprobs"]] = "text"
    usual_reply_tokens: ClassVar[int] = 700  # the judge writes its own answer first

    @classmethod
    def from_data(cls, data: DataSource) -> Self:
        """Read the official prompts."""
        return cls(arena_hard_v01(data))

    @property
    def settings(self) -> ChatSettings:
        """As upstream's configuration file."""
        return ChatSettings(temperature=self.arena.temperature, max_tokens=self.arena.max_tokens)

    def identity(self) -> str:
        """Hash of prompts, attempts and parser."""
        return content_hash("form", self.name, self._template(None).hash, self.arena.attempts, PARSER_VERSION)

    def first_request(self, task: JudgeTask, settings: ChatSettings) -> ChatRequest:
        """Fill the prompt."""
        question, (answer_1, answer_2) = task.prompt.turns[0], (response.turns[0] for response in task.responses)
        values = {"question_1": question, "answer_1": answer_1, "answer_2": answer_2}
        values |= {"QUESTION": question, "ANSWER_A": answer_1, "ANSWER_B": answer_2}
        return settings.request(self._template(task.prompt.category).messages(values))

    async def judge(self, task: JudgeTask, settings: ChatSettings, ask: Ask) -> Reading:
        """Ask, and where no label came, ask for one as often as upstream does."""
        request = self.first_request(task, settings)
        parse = partial(parse_five_way, answers=judged_texts(task), last=self.last_label)
        text = ""
        attempts = 0
        while attempts < self.arena.attempts:
            attempts += 1
            reply = await ask(request)
            text = f"{text}\n{reply.text}" if text else reply.text
            verdict = read_text(reply, parse, text)
            if verdict.kind != "unscored" or verdict.reason not in ("unparsed", "truncated"):
                break
            more = (Message("assistant", reply.text), Message("user", _CONTINUE))
            request = replace(request, messages=request.messages + more)
        return Reading(verdict, text, {"attempts": attempts})

    def _template(self, category: str | None) -> Template:
        del category  # one prompt for all
        return self.arena.templates[""]


class FiveWayV2Form(FiveWayForm):
    """Arena-Hard v2.0's: a prompt for each category of questions, and the last label counts."""

    name = "five_way_v2"
    last_label = True

    @classmethod
    def from_data(cls, data: DataSource) -> Self:
        """Read the official prompts."""
        return cls(arena_hard_v2(data))

    def identity(self) -> str:
        """Hash of all prompts, attempts and parser.

        Where upstream's creative-writing prompt is unavailable, those questions cannot be judged either, and the hash
        is that of the other prompt alone.
        """
        hashes = [self._template(None).hash]
        try:
            hashes.append(self._template("creative_writing").hash)
        except DataError:
            return super().identity()
        return content_hash("form", self.name, hashes, self.arena.attempts, PARSER_VERSION)

    def _template(self, category: str | None) -> Template:
        return self.arena.templates[category or "hard_prompt"]


_CONTINUE = "Please go on with your judgment and end it with one of the verdict labels."
"""The request for a second attempt. Ours: upstream's wording is in its code, not in its data."""
