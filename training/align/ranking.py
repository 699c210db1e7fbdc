"""Rewards for sampled answers, from a reward model, from comparisons of all with all, or from a judge."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol, cast

from harness import registry
from harness.engines.rewards.scorers import (
    PreferenceEngine,
    PreferenceRequest,
    Reward,
    RewardEngine,
    RewardRequest,
)
from harness.errors import SpecError
from harness.messages import Message
from harness.protocols import DataSource, Judge, JudgeContext, JudgeTask
from harness.records import Judgment, Prompt, Response, Unscored
from harness.run.plan import load_judge
from harness.spec import JudgeSpec
from harness.store.align_directory import Sample, SampleReward, read_rewards
from harness.store.jsonl import JsonlAppender
from training.align.sampling import messages_of

__all__ = ["Ranker", "RewardRanker", "engine_ranker", "judge_ranker", "rank"]

_BLOCK_CALLS = 8
"""Judge calls handed over at once, for each the judge can take at a time: few enough to lose little, enough to keep it
busy."""

Scores = Iterator[tuple[str, int, float | None, str]]


class Ranker(Protocol):
    """Gives each answer a number; the numbers of the answers to one prompt can be compared."""

    def scores(self, answers: Sequence[Sequence[Sample]]) -> Scores:
        """Yield prompt key, answer number, reward or None, and why there is none; `answers` come prompt by prompt."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class RewardRanker:
    """Ranks by a model that gives each answer a reward."""

    def __init__(self, engine: RewardEngine) -> None:
        self._engine = engine

    def scores(self, answers: Sequence[Sequence[Sample]]) -> Scores:
        """Score all answers in one call, so that the engine can batch them."""
        asked = {f"{s.prompt_key}:{s.sample}": s for own in answers for s in own}
        requests = [RewardRequest(name, messages_of(sample)) for name, sample in asked.items()]
        for reward in self._engine.rewards(requests):
            yield _scored(asked[reward.request_id], reward)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()


def _scored(sample: Sample, reward: Reward) -> tuple[str, int, float | None, str]:
    return sample.prompt_key, sample.sample, reward.value, reward.error


class PreferenceRanker:
    """Ranks by comparisons of all with all: an answer's reward is its mean probability of being the better one."""

    def __init__(self, engine: PreferenceEngine) -> None:
        self._engine = engine

    def scores(self, answers: Sequence[Sequence[Sample]]) -> Scores:
        """Compare all answers to each prompt with each other."""
        asked: dict[str, tuple[Sample, Sample]] = {}
        requests = []
        for own in answers:
            for first, second in combinations(own, 2):
                name = f"{first.prompt_key}:{first.sample}:{second.sample}"
                asked[name] = (first, second)
                prompt = tuple(Message(m["role"], m["content"]) for m in first.prompt)
                requests.append(PreferenceRequest(name, prompt, first.response, second.response))
        table = _RoundRobin(answers)
        yield from table.alone()
        for found in self._engine.preferences(requests):
            yield from table.add(*asked[found.request_id], found.p_first, found.error)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()


class _RoundRobin:
    """Collects the comparisons of each prompt's answers, and scores a prompt's answers once it has all of them."""

    def __init__(self, answers: Sequence[Sequence[Sample]]) -> None:
        self._answers = {own[0].prompt_key: own for own in answers if own}
        self._waiting = {key: len(own) * (len(own) - 1) // 2 for key, own in self._answers.items()}
        self._shares: dict[tuple[str, int], list[float]] = defaultdict(list)
        self._errors: dict[tuple[str, int], str] = {}

    def alone(self) -> Scores:
        """Score the prompts that have one answer only: there is nothing to compare it with."""
        for key, n in self._waiting.items():
            if not n:
                yield from self._scores(key)

    def add(self, first: Sample, second: Sample, p_first: float | None, error: str) -> Scores:
        """Note one comparison; yield the scores of its prompt's answers if it was the last."""
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
        """Mean shares; an answer that lacks a comparison has none, since a mean over other opponents is another."""
        own = self._answers[prompt_key]
        for sample in own:
            key = (sample.prompt_key, sample.sample)
            shares = self._shares.pop(key, [])
            if len(shares) == len(own) - 1 and shares:
                yield (*key, sum(shares) / len(shares), "")
            else:
                yield (*key, None, self._errors.get(key, "there is no other answer to compare it with"))


class JudgeRanker:
    """Ranks by a judge's comparisons of all with all, each pair in both orders, ties kept at one half."""

    def __init__(self, judge: Judge, form: str, concurrency: int) -> None:
        self._judge = judge
        self._form = form
        self._concurrency = concurrency

    def scores(self, answers: Sequence[Sequence[Sample]]) -> Scores:
        """Ask the judge about every pair, both orders; some prompts at a time, so that a stop loses few verdicts."""
        table = _RoundRobin(answers)
        yield from table.alone()
        with asyncio.Runner() as runner:
            try:
                runner.run(self._judge.prepare())
                for block in _blocks(answers, _BLOCK_CALLS * self._concurrency):
                    for first, second, share, error in runner.run(self._judged(block)):
                        yield from table.add(first, second, share, error)
            finally:
                runner.run(self._judge.close())

    async def _judged(self, answers: Sequence[Sequence[Sample]]) -> list[tuple[Sample, Sample, float | None, str]]:
        free = asyncio.Semaphore(self._concurrency)

        async def compare(first: Sample, second: Sample) -> tuple[Sample, Sample, float | None, str]:
            prompt = Prompt(benchmark="align", version="1", key=first.prompt_key, turns=(_question(first),))
            shown = (_response(prompt, first, "candidate"), _response(prompt, second, "baseline"))
            shares: list[float] = []
            for order in (shown, shown[::-1]):
                async with free:
                    judgment = await self._judge.judge(JudgeTask(prompt, self._form, order))
                share, error = _share(judgment)
                if share is None:
                    return first, second, None, error
                shares.append(share)
            return first, second, sum(shares) / 2, ""

        pairs = [pair for own in answers for pair in combinations(own, 2)]
        return list(await asyncio.gather(*(compare(*pair) for pair in pairs)))

    def close(self) -> None:
        """Nothing is held between calls."""


def _blocks(answers: Sequence[Sequence[Sample]], n_calls: int) -> Iterator[list[Sequence[Sample]]]:
    """Take prompts together until their comparisons in both orders are so many judge calls."""
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
    """The user's last message, or the whole conversation where there was more than one."""
    turns = [m for m in sample.prompt if m["role"] != "system"]
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in sample.prompt)


def _response(prompt: Prompt, sample: Sample, role: Any) -> Response:
    model = f"answer {sample.sample}"
    return Response(
        prompt_id=prompt.id, benchmark="align", model=model, model_id=model, role=role, turns=(sample.response,)
    )


def _share(judgment: Judgment) -> tuple[float | None, str]:
    verdict = judgment.verdict
    if isinstance(verdict, Unscored):
        return None, f"{verdict.reason} {verdict.detail}".strip()
    if judgment.candidate_share is None:
        return None, "a rating where a preference was asked for"
    return judgment.candidate_share, ""


def engine_ranker(engine: str, model: str, options: dict[str, Any]) -> Ranker:
    """Load a model that scores or compares answers.

    Raises
    ------
    SpecError
        The engine does neither.
    """
    loaded = registry.make("engine", engine, {"model": model, "name": model, **options})
    if isinstance(loaded, RewardEngine):
        return RewardRanker(loaded)
    if isinstance(loaded, PreferenceEngine):
        return PreferenceRanker(loaded)
    loaded.close()
    raise SpecError(f"the engine {engine} scores no answers", "reward_model, preference_model or implicit_reward")


def judge_ranker(spec: JudgeSpec, form: str, data: DataSource, cache: Path | None) -> Ranker:
    """Make a ranker of a judge."""
    return cast(Ranker, JudgeRanker(load_judge(JudgeContext(spec, data, cache)), form, spec.concurrency))


def rank(
    answers: Iterable[Sample],
    out: Path,
    load: Callable[[], Ranker],
    gold: Callable[[], Ranker] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Rank what is not ranked yet into ``rewards.jsonl``, whole prompts at a time.

    Parameters
    ----------
    answers : iterable of Sample
        The answers; those that failed or are empty get none.
    out : Path
        The stage's directory.
    load, gold : callable
        Load the ranker, and one that knows the truth where there is one; not called where all is there.
    advance : callable
        Called once an answer.
    """
    out.mkdir(parents=True, exist_ok=True)
    there = {(r.prompt_key, r.sample) for r in read_rewards(out) if r.reward is not None}
    by_prompt: dict[str, list[Sample]] = defaultdict(list)
    for sample in answers:
        if sample.finish != "error" and sample.response.strip():
            by_prompt[sample.prompt_key].append(sample)
    waiting = [own for own in by_prompt.values() if any((s.prompt_key, s.sample) not in there for s in own)]
    if not waiting:
        return
    truth: dict[tuple[str, int], float | None] = {}
    if gold is not None:
        with closing(gold()) as knower:
            truth = {(key, number): value for key, number, value, _ in knower.scores(waiting)}
    with JsonlAppender(out / "rewards.jsonl") as file, closing(load()) as ranker:
        for key, number, value, error in ranker.scores(waiting):
            reward = SampleReward(
                prompt_key=key, sample=number, reward=value, gold=truth.get((key, number)), error=error
            )
            file.append(reward.model_dump_json(exclude_none=True))
            advance()
