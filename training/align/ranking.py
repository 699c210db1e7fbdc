"""Rankers of sampled answers: a reward model, a preference model, or a judge."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from harness import registry
from harness.engines.base import Engine
from harness.engines.rewards.scorers import (
    PreferenceEngine,
    PreferenceRequest,
    RewardEngine,
    RewardRequest,
)
from harness.errors import SpecError
from harness.protocols import Judge, JudgeContext, JudgeTask, Ranker, RankerContext
from harness.reasoning import part_reasoning
from harness.records import Judgment, Prompt, Rating, Response, Unscored, Verdict
from harness.run.plan import load_judge
from harness.spec import JudgeSpec, validated
from harness.store.align_directory import Sample, SampleReward, read_rewards
from harness.store.jsonl import JsonlAppender
from training.align.book import identity_of
from training.align.sampling import load_engine, messages_of, prompt_of

_OPERATIONAL = ("device", "device_map", "max_batch_tokens")
_VERDICT_FIELDS = ("top_p", "seed", "reasoning_effort", "samples", "probability")
_BLOCK_CALLS = 8
"""Judge calls scheduled at once, for each the judge takes in parallel."""

Scores = Iterator[tuple[str, int, float | None, str]]
"""Prompt key, number of the answer, its reward, and why it has none."""


class _EngineOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    engine: str = "reward_model"
    model: str
    engine_options: dict[str, Any] = Field(default_factory=dict)


class _JudgeOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    judge: JudgeSpec
    form: str = "pairwise"


@dataclass(frozen=True)
class EngineRanker:
    """Ranks by an engine that gives rewards or preferences.

    Parameters
    ----------
    name : str
        Name for tables.
    identity : mapping
        What the rewards depend on.
    load : callable
        Loads the engine.
    """

    name: str
    identity: Mapping[str, Any]
    load: Callable[[], Engine]

    @classmethod
    def from_options(cls, options: Mapping[str, Any], context: RankerContext) -> Self:
        """Make the ranker from `engine`, `model` and `engine_options`.

        Raises
        ------
        SpecError
            An option is unknown or wrong.
        ModelError
            There is no such checkpoint.
        """
        del context
        given = validated(_EngineOptions, options, "the ranker 'engine'")
        kept = {key: value for key, value in given.engine_options.items() if key not in _OPERATIONAL}
        return cls(
            "reward model" if given.engine == "reward_model" else given.engine,
            {"engine": given.engine, "model": identity_of(given.model), "options": kept},
            partial(load_engine, given.engine, given.model, given.engine_options),
        )

    def scores(self, answers: Sequence[Sequence[Sample]]) -> Scores:
        """Load the engine, score, and free it.

        Raises
        ------
        SpecError
            The engine gives neither rewards nor preferences.
        """
        with closing(self.load()) as loaded:
            if isinstance(loaded, RewardEngine):
                yield from reward_scores(loaded, answers)
            elif isinstance(loaded, PreferenceEngine):
                yield from preference_scores(loaded, answers)
            else:
                raise SpecError(
                    f"the engine {loaded.name} scores no answers",
                    "reward_model, preference_model or implicit_reward",
                )


def reward_scores(engine: RewardEngine, answers: Sequence[Sequence[Sample]]) -> Scores:
    """Score all answers in one call, so that the engine can batch them."""
    asked = {f"{s.prompt_key}:{s.sample}": s for own in answers for s in own}
    requests = [RewardRequest(name, messages_of(sample)) for name, sample in asked.items()]
    for reward in engine.rewards(requests):
        sample = asked[reward.request_id]
        yield sample.prompt_key, sample.sample, reward.value, reward.error


def preference_scores(engine: PreferenceEngine, answers: Sequence[Sequence[Sample]]) -> Scores:
    """Compare the answers to each prompt; an answer's score is its mean probability of being the better one."""
    asked: dict[str, tuple[Sample, Sample]] = {}
    requests = []
    for own in answers:
        for first, second in combinations(own, 2):
            name = f"{first.prompt_key}:{first.sample}:{second.sample}"
            asked[name] = (first, second)
            requests.append(PreferenceRequest(name, prompt_of(first), first.response, second.response))
    table = _RoundRobin(answers)
    yield from table.alone()
    for found in engine.preferences(requests):
        yield from table.add(*asked[found.request_id], found.p_first, found.error)


class _RoundRobin:
    """Collects comparisons of the answers to each prompt, and scores a prompt's answers when it has all of them."""

    def __init__(self, answers: Sequence[Sequence[Sample]]) -> None:
        self._answers = {own[0].prompt_key: own for own in answers if own}
        self._waiting = {key: len(own) * (len(own) - 1) // 2 for key, own in self._answers.items()}
        self._shares: dict[tuple[str, int], list[float]] = defaultdict(list)
        self._errors: dict[tuple[str, int], str] = {}

    def alone(self) -> Scores:
        """Score the prompts with one answer only, which cannot be compared."""
        for key, n in self._waiting.items():
            if not n:
                yield from self._scores(key)

    def add(self, first: Sample, second: Sample, p_first: float | None, error: str) -> Scores:
        """Add a comparison; yield the scores of its prompt's answers if it was the last."""
        for sample, share in ((first, p_first), (second, None if p_first is None else 1.0 - p_first)):
            key = (sample.prompt_key, sample.sample)
            if share is None:
                self._errors.setdefault(key, error or "no verdict")
            else:
                self._shares[key].append(share)
        self._waiting[first.prompt_key] -= 1
        if not self._waiting[first.prompt_key]:
            yield from self._scores(first.prompt_key)

    def _scores(self, prompt_key: str) -> Scores:
        """Mean shares of the answers to a prompt; an answer that lacks a comparison has no score."""
        own = self._answers[prompt_key]
        for sample in own:
            key = (sample.prompt_key, sample.sample)
            shares = self._shares.pop(key, [])
            if len(shares) == len(own) - 1 and shares:
                yield (*key, sum(shares) / len(shares), "")
            else:
                yield (*key, None, self._errors.get(key, "there is no other answer to compare it with"))


@dataclass(frozen=True)
class JudgeRanker:
    """Ranks by a judge.

    A form that compares is asked about every two answers, in both orders, a tie counting one half. A form that rates,
    such as a rubric, is asked about each answer, and the grade is the reward.

    Parameters
    ----------
    spec : JudgeSpec
        The judge.
    form : str
        How the judge is asked.
    load : callable
        Makes the judge.
    content : str
        Hash of the form's content, if it comes from a file.
    """

    spec: JudgeSpec
    form: str
    load: Callable[[], Judge]
    content: str = ""

    @classmethod
    def from_options(cls, options: Mapping[str, Any], context: RankerContext) -> Self:
        """Make the ranker from `judge`, a judge spec, and `form`.

        Raises
        ------
        SpecError, UnknownNameError
            An option is unknown or wrong, or there is no such form.
        """
        given = validated(_JudgeOptions, options, "the ranker 'judge'")
        from_file = ":" in given.form
        content = registry.make_judge_form(given.form, context.data).identity() if from_file else ""
        return cls(
            given.judge,
            given.form,
            lambda: load_judge(JudgeContext(given.judge, context.data, context.cache_path, forms=(given.form,))),
            content,
        )

    @property
    def name(self) -> str:
        """The judge's model, for tables."""
        return self.spec.model_name

    @property
    def identity(self) -> Mapping[str, Any]:
        """Judge, form and options, and the fields of the judge's spec that change its verdicts."""
        changed = self.spec.model_dump(include=set(_VERDICT_FIELDS), exclude_defaults=True)
        content = {"form_content": self.content} if self.content else {}
        return {"judge": self.spec.model, "form": self.form, "options": self.spec.sent_options, **changed, **content}

    def scores(self, answers: Sequence[Sequence[Sample]]) -> Scores:
        """Judge the answers to a few prompts at a time, so that an interruption loses few verdicts."""
        judge = self.load()
        rates = registry.judge_form(self.form).n_answers == 1
        table = _RoundRobin([] if rates else answers)
        yield from table.alone()
        with asyncio.Runner() as runner:
            try:
                runner.run(judge.prepare())
                for block in _blocks(answers, _BLOCK_CALLS * self.spec.concurrency):
                    if rates:
                        yield from runner.run(self._graded(judge, block))
                        continue
                    for first, second, share, error in runner.run(self._judged(judge, block)):
                        yield from table.add(first, second, share, error)
            finally:
                runner.run(judge.close())

    async def _graded(
        self, judge: Judge, answers: Sequence[Sequence[Sample]]
    ) -> list[tuple[str, int, float | None, str]]:
        """Return the grade of each answer, or why it has none."""
        free = asyncio.Semaphore(self.spec.concurrency)

        async def grade(sample: Sample) -> tuple[str, int, float | None, str]:
            prompt = Prompt(benchmark="align", version="1", key=sample.prompt_key, turns=(_question(sample),))
            async with free:
                judgment = await judge.judge(JudgeTask(prompt, self.form, (_response(prompt, sample, "candidate"),)))
            value, error = _grade(judgment.verdict)
            return sample.prompt_key, sample.sample, value, error

        return list(await asyncio.gather(*(grade(sample) for own in answers for sample in own)))

    async def _judged(
        self, judge: Judge, answers: Sequence[Sequence[Sample]]
    ) -> list[tuple[Sample, Sample, float | None, str]]:
        free = asyncio.Semaphore(self.spec.concurrency)

        async def compare(first: Sample, second: Sample) -> tuple[Sample, Sample, float | None, str]:
            prompt = Prompt(benchmark="align", version="1", key=first.prompt_key, turns=(_question(first),))
            shown = (_response(prompt, first, "candidate"), _response(prompt, second, "baseline"))
            shares: list[float] = []
            for order in (shown, shown[::-1]):
                async with free:
                    judgment = await judge.judge(JudgeTask(prompt, self.form, order))
                share, error = _share(judgment)
                if share is None:
                    return first, second, None, error
                shares.append(share)
            return first, second, sum(shares) / 2, ""

        pairs = [pair for own in answers for pair in combinations(own, 2)]
        return list(await asyncio.gather(*(compare(*pair) for pair in pairs)))


def _blocks(answers: Sequence[Sequence[Sample]], n_calls: int) -> Iterator[list[Sequence[Sample]]]:
    """Group prompts until their comparisons in both orders make this number of judge calls."""
    block: list[Sequence[Sample]] = []
    waiting = 0
    for own in answers:
        block.append(own)
        waiting += len(own) * (len(own) - 1)
        if waiting >= n_calls:
            yield block
            block, waiting = [], 0
    if block:
        yield block


def _question(sample: Sample) -> str:
    """The user's message, or the whole conversation if it has several turns."""
    turns = [m for m in sample.prompt if m["role"] != "system"]
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in sample.prompt)


def _response(prompt: Prompt, sample: Sample, role: Any) -> Response:
    model = f"answer {sample.sample}"
    answer = part_reasoning(sample.response).answer  # a sample is stored whole, since its likelihood is measured
    return Response(prompt_id=prompt.id, benchmark="align", model=model, model_id=model, role=role, turns=(answer,))


def _grade(verdict: Verdict) -> tuple[float | None, str]:
    if isinstance(verdict, Unscored):
        return None, f"{verdict.reason} {verdict.detail}".strip()
    return (verdict.value, "") if isinstance(verdict, Rating) else (None, "a preference where a rating was asked for")


def _share(judgment: Judgment) -> tuple[float | None, str]:
    verdict = judgment.verdict
    if isinstance(verdict, Unscored):
        return None, f"{verdict.reason} {verdict.detail}".strip()
    if judgment.candidate_share is None:
        return None, "a rating where a preference was asked for"
    return judgment.candidate_share, ""


def rank(answers: Iterable[Sample], out: Path, ranker: Ranker, gold: Ranker | None = None) -> None:
    """Rank the answers that have no reward yet into ``rewards.jsonl``, all answers to a prompt together.

    Parameters
    ----------
    answers : iterable of Sample
        The answers; failed and empty ones get no reward.
    out : Path
        The stage's directory.
    ranker : Ranker
        Gives the rewards; not asked if every answer has one.
    gold : Ranker or None
        Gives the true scores, if they are known.
    """
    out.mkdir(parents=True, exist_ok=True)
    waiting = _unranked(answers, {(r.prompt_key, r.sample) for r in read_rewards(out) if r.reward is not None})
    if not waiting:
        return
    truth = {} if gold is None else {(key, number): value for key, number, value, _ in gold.scores(waiting)}
    with JsonlAppender(out / "rewards.jsonl") as file:
        for key, number, value, error in ranker.scores(waiting):
            reward = SampleReward(
                prompt_key=key, sample=number, reward=value, gold=truth.get((key, number)), error=error
            )
            file.append(reward.model_dump_json(exclude_none=True))


def _unranked(answers: Iterable[Sample], ranked: set[tuple[str, int]]) -> list[list[Sample]]:
    """The answers that can be ranked, by prompt, of the prompts that lack a reward."""
    by_prompt: dict[str, list[Sample]] = defaultdict(list)
    for sample in answers:
        if sample.finish != "error" and sample.response.strip():
            by_prompt[sample.prompt_key].append(sample)
    return [own for own in by_prompt.values() if any((s.prompt_key, s.sample) not in ranked for s in own)]
