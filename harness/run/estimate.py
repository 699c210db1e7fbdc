"""Estimates of a run's calls, tokens and cost."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from harness.endpoint.ledger import Price, estimate_tokens
from harness.messages import Message
from harness.protocols import Judge, JudgeTask
from harness.records import Prompt, Response
from harness.run.anchors import anchor_questions
from harness.run.canary_questions import canary_questions
from harness.run.plan import Plan, PlannedBenchmark

_CHARACTERS_PER_TOKEN = 4


@runtime_checkable
class Estimable(Protocol):
    """A judge that can report the requests it would send."""

    @property
    def price(self) -> Price | None:
        """Price per million tokens; None if unknown."""
        ...

    def first_messages(self, task: JudgeTask) -> tuple[tuple[Message, ...], int]:
        """Return the messages of a task's first request, empty if none is sent, and the limit on the reply."""
        ...

    def n_requests(self, form: str) -> int:
        """Return the number of requests of a judgment in a form."""
        ...

    def usual_reply_tokens(self, form: str) -> int:
        """Return the typical length of a reply in a form, in tokens."""
        ...


@dataclass(frozen=True)
class BenchmarkEstimate:
    """The estimate of one benchmark.

    Parameters
    ----------
    benchmark : str
        Its name.
    n_prompts, n_answers : int
        Prompts, and turns to answer.
    n_calls : int
        Judge requests about the answers.
    n_canary_calls : int
        Judge requests that test the judge.
    prompt_tokens, completion_tokens : int
        Tokens of the judge, including canaries, for answers and replies of typical length.
    most_prompt_tokens, most_completion_tokens : int
        The same with every answer and reply at its limit.
    answer_tokens, most_answer_tokens : int
        Tokens the model generates, typically and at most.
    n_scored : int
        Texts whose log-likelihood or reward the model computes.
    """

    benchmark: str
    n_prompts: int
    n_answers: int
    n_calls: int = 0
    n_canary_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    most_prompt_tokens: int = 0
    most_completion_tokens: int = 0
    answer_tokens: int = 0
    most_answer_tokens: int = 0
    n_scored: int = 0


@dataclass(frozen=True)
class RunEstimate:
    """The estimate of a run.

    Parameters
    ----------
    judge : str or None
        The judge.
    price : Price or None
        Price per million tokens; None if unknown.
    benchmarks : list of BenchmarkEstimate
        One per benchmark.
    """

    judge: str | None
    price: Price | None
    benchmarks: list[BenchmarkEstimate] = field(default_factory=list)

    @property
    def cost(self) -> float | None:
        """Cost with answers and replies of typical length."""
        return self._cost("prompt_tokens", "completion_tokens")

    @property
    def most_cost(self) -> float | None:
        """Cost with every answer and reply at its limit."""
        return self._cost("most_prompt_tokens", "most_completion_tokens")

    def _cost(self, prompt: str, completion: str) -> float | None:
        if self.price is None:
            return None
        return self.price.cost_of_many(
            sum(getattr(b, prompt) for b in self.benchmarks), sum(getattr(b, completion) for b in self.benchmarks)
        )

    def as_json(self) -> dict[str, Any]:
        """Return the output of `assay estimate --json`."""
        return {
            "judge": self.judge,
            "price_per_million": [self.price.input_per_million, self.price.output_per_million] if self.price else None,
            "price_as_of": self.price.as_of if self.price else None,
            "currency": self.price.currency if self.price else None,
            "cost": self.cost,
            "most_cost": self.most_cost,
            "benchmarks": [asdict(b) for b in self.benchmarks],
        }


def estimate_run(plan: Plan, judge: Judge | None, answer_tokens: int = 400) -> RunEstimate:
    """Estimate calls, tokens and cost.

    Parameters
    ----------
    plan : Plan
        Prompts and baselines.
    judge : Judge or None
        The judge.
    answer_tokens : int
        Typical tokens of an answer, used if there is no baseline answer.

    Returns
    -------
    RunEstimate
        Token counts are estimated from characters; those of the judge's tokenizer may differ by about 20 %.
    """
    asker = judge if isinstance(judge, Estimable) else None
    found = []
    for name, planned in plan.benchmarks.items():
        if planned.asks_engine:
            found.append(_measured(name, planned, answer_tokens))
            continue
        limits = {p.id: planned.sampling(p, 0, 0).max_tokens for p in planned.prompts}
        usual = _count(plan, name, asker, lambda _, b: _usual_answer(b, answer_tokens))
        most = _count(plan, name, asker, lambda p, b, limits=limits: "x" * (limits[p.id] * _CHARACTERS_PER_TOKEN))
        found.append(
            BenchmarkEstimate(
                benchmark=name,
                n_prompts=len(planned.prompts),
                n_answers=sum(len(p.turns) for p in planned.prompts),
                n_calls=usual.n_calls,
                n_canary_calls=usual.n_canaries,
                prompt_tokens=usual.n_prompt,
                completion_tokens=usual.n_usual,
                most_prompt_tokens=most.n_prompt,
                most_completion_tokens=most.n_most,
                answer_tokens=sum(_usual_tokens(p, planned, answer_tokens) for p in planned.prompts),
                most_answer_tokens=sum(len(p.turns) * limits[p.id] for p in planned.prompts),
            )
        )
    return RunEstimate(judge.name if judge else None, asker.price if asker else None, found)


def _measured(name: str, planned: PlannedBenchmark, answer_tokens: int) -> BenchmarkEstimate:
    """Estimate a benchmark measured on the engine; its prompts hold the counts (`Prompt.meta`)."""
    generated, scored, usual, most = 0, 0, 0, 0
    for prompt in planned.prompts:
        n = int(prompt.meta.get("n_generated", 0))
        limit = n * planned.spec.max_tokens if planned.spec.max_tokens else int(prompt.meta.get("max_tokens", 0))
        generated += n
        scored += int(prompt.meta.get("n_scored", 0 if n else 1))
        usual += min(limit, n * answer_tokens)
        most += limit if n else 0
    return BenchmarkEstimate(
        benchmark=name,
        n_prompts=len(planned.prompts),
        n_answers=generated,
        answer_tokens=usual,
        most_answer_tokens=most,
        n_scored=scored,
    )


def _usual_answer(baseline: Response | None, answer_tokens: int) -> str:
    """Return the baseline's answer, or text of the typical length."""
    return baseline.turns[0] + " " if baseline is not None else "x" * (answer_tokens * _CHARACTERS_PER_TOKEN)


def _usual_tokens(prompt: Prompt, planned: PlannedBenchmark, answer_tokens: int) -> int:
    text = _usual_answer(planned.baselines.get(prompt.id), answer_tokens)
    return len(prompt.turns) * math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class _Counted:
    """Judge calls, prompt tokens, and reply tokens, typical and at most; token counts include canaries."""

    n_calls: int = 0
    n_canaries: int = 0
    n_prompt: int = 0
    n_usual: int = 0
    n_most: int = 0


def _count(plan: Plan, name: str, asker: Estimable | None, answer: Any) -> _Counted:
    """Count calls and tokens of judging, given the text of the answers."""
    if asker is None:
        return _Counted()
    planned = plan.benchmarks[name]
    answers: dict[str, Response] = {}
    own: list[JudgeTask] = []
    for prompt in planned.prompts:
        baseline = planned.baselines.get(prompt.id)
        turns = (answer(prompt, baseline),) * len(prompt.turns)
        answers[prompt.id] = Response(prompt_id=prompt.id, benchmark=name, model="", model_id="", turns=turns)
        own += planned.benchmark.tasks(prompt, answers[prompt.id], baseline)
    questions = canary_questions(planned, answers.get, plan.spec.canaries)
    canaries = [q.task for q in (*questions, *anchor_questions(plan.spec, planned))]
    asked = [(task, *asker.first_messages(task)) for task in (*own, *canaries)]
    sent = [(task, messages, limit, asker.n_requests(task.form)) for task, messages, limit in asked if messages]
    n_own = sum(asker.n_requests(task.form) for task, messages, _ in asked[: len(own)] if messages)
    return _Counted(
        n_calls=n_own,
        n_canaries=sum(n for *_, n in sent) - n_own,
        n_prompt=sum(n * estimate_tokens(m.content) for _, messages, _, n in sent for m in messages),
        n_usual=sum(n * min(limit, asker.usual_reply_tokens(task.form)) for task, _, limit, n in sent),
        n_most=sum(n * limit for _, _, limit, n in sent),
    )
