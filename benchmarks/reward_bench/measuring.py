"""Measuring an item with the engine at hand: a reward model, a preference model, or a language model as judge.

What is measured is kept in the response's `meta`:

rewards   one number per answer (reward models; a judge's ratings; a preference model over more than two answers)
shown     for answers shown in pairs: [index shown first, index shown second, probability that the first is better]
p_first   a preference model's probability that the first of two answers is better, averaged over both orders
reason    why a judge's text holds no verdict
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from benchmarks.reward_bench.items import answers_of, conversation
from harness import registry
from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.engines.base import Engine, Generation, GenerationRequest
from harness.engines.rewards.scorers import (
    PreferenceEngine,
    PreferenceProbability,
    PreferenceRequest,
    Reward,
    RewardEngine,
    RewardRequest,
)
from harness.errors import UsageError
from harness.hashing import content_hash
from harness.messages import Message, Sampling
from harness.protocols import JudgeForm, JudgeTask, MeasureContext
from harness.records import Preference, Prompt, Rating, Response, Unscored
from harness.run.figures import unscored_reason

Orders = Literal["both", "one"]
_Result = TypeVar("_Result", Reward, PreferenceProbability, Generation)
_MOST_TURNS = 2  # the official pairwise and rating prompts are for one turn or two
_LEAST_P = 1e-12


class MeasureOptions(BaseModel):
    """Options of both versions of RewardBench.

    Parameters
    ----------
    data : Path or None
        The user's own items instead of upstream's: a file or a directory.
    max_tokens : int or None
        Limit on the judge's reply instead of the official one.
    ask : {"judge", "implicit"}
        How a language model decides: as a prompted judge, or by its log-probabilities, as an implicit reward (hf).
    reference : str or None
        Reference model of an implicit reward; None for a reference-free one. Implies ``ask="implicit"``.
    reference_free : {"sum", "average"}
        Without a reference: the answer's log-probability, or its mean over tokens. Implies ``ask="implicit"``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path | None = None
    max_tokens: StrictInt | None = Field(default=None, gt=0)
    ask: Literal["judge", "implicit"] = "judge"
    reference: str | None = None
    reference_free: Literal["sum", "average"] = "sum"

    @model_validator(mode="before")
    @classmethod
    def _infer_ask(cls, values: Any) -> Any:
        given = [name for name in ("reference", "reference_free") if name in values]
        if len(given) > 1:
            raise ValueError("both reference and reference_free are given: leave one of them out")
        if given and values.get("ask") == "judge":
            raise ValueError(f"{given[0]} is for ask=implicit: leave one of them out")
        return {**values, "ask": "implicit"} if given else values


def measured(
    prompts: Sequence[Prompt],
    context: MeasureContext,
    form: str = "pairwise",
    options: MeasureOptions | None = None,
    orders: Orders = "both",
) -> Iterator[Response]:
    """Measure items with the engine at hand, yielding each as it is done.

    Parameters
    ----------
    prompts : sequence of Prompt
        Items with their answers.
    context : MeasureContext
        The engine, and the source of the judge's official prompts.
    form : str
        Judge form for a language model: "pairwise" (two answers) or "rating" (a grade for each answer).
    options : MeasureOptions, optional
    orders : {"both", "one"}
        Show two answers in both orders, or in one chosen by the seed, as upstream does.

    Yields
    ------
    Response
        One per prompt; an item that cannot be measured has ``finish="error"``.

    Raises
    ------
    UsageError
        The engine neither scores answers nor generates.
    """
    engine, options = context.engine, options or MeasureOptions()
    if isinstance(engine, RewardEngine):
        return _by_reward(prompts, context, engine)
    if isinstance(engine, PreferenceEngine):
        return _by_preference(prompts, context, engine)
    if isinstance(engine, Engine) and options.ask == "implicit":
        return _by_likelihood(prompts, context, options)
    if isinstance(engine, Engine):
        return _by_judge(prompts, context, form, orders, options.max_tokens)
    raise UsageError(
        f"the engine {getattr(engine, 'name', type(engine).__name__)} neither scores answers nor writes text",
        "reward_model, preference_model, implicit_reward, or an engine that generates",
    )


def _response(prompt: Prompt, context: MeasureContext, **fields: Any) -> Response:
    return Response.to(prompt, context.model, context.engine.fingerprint.model_id, **fields)


def _succeeded(prompt: Prompt, context: MeasureContext, meta: dict[str, Any], turns: Sequence[str] = ()) -> Response:
    characters = [len(answer) for answer in answers_of(prompt)]
    return _response(prompt, context, turns=tuple(turns), meta={**meta, "characters": characters})


def _failed(prompt: Prompt, context: MeasureContext, error: str, retryable: bool = False) -> Response:
    return _response(prompt, context, finish="error", error=error, retryable=retryable)


class _Parts:
    """Collects results that arrive in any order until an item has all of its own."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompts = {prompt.id: prompt for prompt in prompts}
        self._wanted: Counter[str] = Counter()

    def expect(self, prompt_id: str) -> str:
        """Name one more request of an item."""
        name = f"{prompt_id}:{self._wanted[prompt_id]}"
        self._wanted[prompt_id] += 1
        return name

    def complete(self, results: Iterable[_Result]) -> Iterator[tuple[Prompt, list[_Result]]]:
        """Yield each item with its results, in the order of its requests, as soon as all have arrived."""
        found: dict[str, dict[int, _Result]] = defaultdict(dict)
        for result in results:
            prompt_id, _, number = result.request_id.rpartition(":")
            found[prompt_id][int(number)] = result
            if len(found[prompt_id]) == self._wanted[prompt_id]:
                parts = found.pop(prompt_id)
                yield self._prompts[prompt_id], [parts[i] for i in sorted(parts)]


def _truncated(results: Sequence[Reward] | Sequence[PreferenceProbability]) -> dict[str, Any]:
    """Say which inputs were cut, if any was."""
    cut = [result.truncated for result in results]
    return {"truncated": cut} if any(cut) else {}


def _by_likelihood(prompts: Sequence[Prompt], context: MeasureContext, options: MeasureOptions) -> Iterator[Response]:
    """Use the loaded model as the policy of an implicit reward, so that it is not loaded twice."""
    from harness.engines.hf.engine import HFEngine
    from harness.engines.rewards.implicit_reward import ImplicitRewardEngine
    from harness.engines.rewards.scorer_options import ImplicitRewardOptions

    if not isinstance(context.engine, HFEngine):
        raise UsageError(
            f"the engine {context.engine.name} cannot give implicit rewards",
            "the hf engine, which has the model's log-probabilities of given tokens",
            "use --engine hf or --engine implicit_reward, or leave the option ask out",
        )
    figure: dict[str, Any] = {"reference": options.reference}
    if options.reference is None:
        figure = {"reference_free": options.reference_free}
    implicit = ImplicitRewardOptions(**context.engine.options.model_dump(), **figure)
    with ImplicitRewardEngine(implicit, context.engine) as engine:
        of = {k: v for k, v in engine.fingerprint.options.items() if k.startswith("reference") and k != "reference"}
        yield from _by_reward(prompts, context, engine, of)


def _by_reward(
    prompts: Sequence[Prompt],
    context: MeasureContext,
    engine: RewardEngine,
    of: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Response]:
    parts = _Parts(prompts)
    requests = [
        RewardRequest(parts.expect(prompt.id), (*conversation(prompt), Message("assistant", answer)))
        for prompt in prompts
        for answer in answers_of(prompt)
    ]
    for prompt, rewards in parts.complete(engine.rewards(requests)):
        failed = next((r for r in rewards if r.value is None), None)
        if failed is not None:
            yield _failed(prompt, context, failed.error or "no reward")
            continue
        meta = {"rewards": [r.value for r in rewards], "n_tokens": [r.n_tokens for r in rewards], **of}
        yield _succeeded(prompt, context, meta | _truncated(rewards))


def _by_preference(prompts: Sequence[Prompt], context: MeasureContext, engine: PreferenceEngine) -> Iterator[Response]:
    parts = _Parts(prompts)
    requests = [
        PreferenceRequest(parts.expect(prompt.id), conversation(prompt), first, second)
        for prompt in prompts
        for first, second in itertools.combinations(answers_of(prompt), 2)
    ]
    for prompt, pairs in parts.complete(engine.preferences(requests)):
        failed = next((p for p in pairs if p.p_first is None), None)
        if failed is not None:
            yield _failed(prompt, context, failed.error or "no probability")
        else:
            yield _succeeded(prompt, context, _preference_meta(pairs, len(answers_of(prompt))))


def _preference_meta(pairs: Sequence[Any], n_answers: int) -> dict[str, Any]:
    """Record the comparisons of every pair of answers, in the order of `combinations`."""
    indices = itertools.combinations(range(n_answers), 2)
    meta: dict[str, Any] = {"n_tokens": [p.n_tokens for p in pairs], **_truncated(pairs)}
    meta["shown"] = [
        shown
        for (i, j), p in zip(indices, pairs, strict=True)
        for shown in ([i, j, p.p_as_shown], [j, i, 1.0 - p.p_swapped])
    ]
    if n_answers == 2:
        return {**meta, "p_first": pairs[0].p_first}
    return {**meta, "rewards": _round_robin([p.p_first for p in pairs], n_answers)}


def _round_robin(probabilities: Sequence[float], n: int) -> list[float]:
    """Mean log-odds of each of n answers against the others; pairs in the order of `combinations`."""
    totals = [0.0] * n
    for (i, j), p in zip(itertools.combinations(range(n), 2), probabilities, strict=True):
        p = min(max(p, _LEAST_P), 1.0 - _LEAST_P)
        odds = math.log(p) - math.log1p(-p)
        totals[i] += odds
        totals[j] -= odds
    return [total / (n - 1) for total in totals]


@dataclass(frozen=True)
class _Asked:
    """One question to the judge and the answers it shows, by index."""

    task: JudgeTask
    indices: tuple[int, ...]


def _by_judge(
    prompts: Sequence[Prompt], context: MeasureContext, form_name: str, orders: Orders, max_tokens: int | None
) -> Iterator[Response]:
    """Ask a language model as a judge; `max_tokens` of None is the official limit."""
    form: JudgeForm = registry.make_judge_form(form_name, context.data)
    for prompt in prompts:
        if len(prompt.turns) > _MOST_TURNS:
            reason = f"{len(prompt.turns)} turns; the judge's official prompts take at most {_MOST_TURNS}"
            yield _failed(prompt, context, reason)
    short = (prompt for prompt in prompts if len(prompt.turns) <= _MOST_TURNS)
    asked = {prompt.id: list(_questions(prompt, context.seed, orders, form_name, form)) for prompt in short}
    parts = _Parts(prompts)
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens or form.settings.max_tokens)
    requests = [
        GenerationRequest(parts.expect(prompt_id), _messages_to(form, question.task), sampling)
        for prompt_id, questions in asked.items()
        for question in questions
    ]
    for prompt, replies in parts.complete(context.engine.generate(requests)):
        yield _judged(prompt, context, form, asked[prompt.id], replies)


def _judged(
    prompt: Prompt, context: MeasureContext, form: JudgeForm, asked: Sequence[_Asked], replies: Sequence[Generation]
) -> Response:
    """Record the judge's replies about one item."""
    failed = next((reply for reply in replies if reply.finish == "error"), None)
    if failed is not None:
        return _failed(prompt, context, failed.error, failed.retryable)
    verdicts = [_verdict(form, question.task, reply) for question, reply in zip(asked, replies, strict=True)]
    meta = _read(verdicts, asked) | {"form": asked[0].task.form, "form_id": form.identity()}
    return _succeeded(prompt, context, meta, [reply.text for reply in replies])


def _messages_to(form: JudgeForm, task: JudgeTask) -> tuple[Message, ...]:
    request = form.first_request(task, form.settings)
    if request is None:
        raise RuntimeError(f"the judge form {task.form} asks nothing")
    return request.messages


def _questions(prompt: Prompt, seed: int, orders: Orders, form_name: str, form: JudgeForm) -> Iterator[_Asked]:
    """Turn an item into questions for the judge."""
    earlier = [m.content for m in conversation(prompt) if m.role == "assistant"]
    bare = prompt.model_copy(update={"meta": {}})
    answers = [Response.to(prompt, model="", model_id="", turns=(*earlier, answer)) for answer in answers_of(prompt)]
    turn = len(prompt.turns)
    if form.n_answers == 1:
        for index, answer in enumerate(answers):
            yield _Asked(JudgeTask(bare, form_name, (answer,), turn=turn, game=index + 1), (index,))
        return
    shown = [(0, 1), (1, 0)]
    if orders == "one":
        shown = [shown[int(content_hash("order", seed, prompt.id)[:8], 16) % 2]]
    for game, (first, second) in enumerate(shown, start=1):
        task = JudgeTask(bare, form_name, (answers[first], answers[second]), turn=turn, game=game)
        yield _Asked(task, (first, second))


def _verdict(form: JudgeForm, task: JudgeTask, generation: Generation) -> Any:
    """Let the form read a reply that has already been generated."""

    async def ask(request: ChatRequest) -> ChatReply:
        del request
        return ChatReply(text=generation.text, finish=generation.finish)

    return _result(form.judge(task, form.settings, ask)).verdict


def _result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("the judge form waits for something other than its replies")


def _read(verdicts: Sequence[Any], asked: Sequence[_Asked]) -> dict[str, Any]:
    """Turn verdicts into what is stored for an item."""
    unscored = next((v for v in verdicts if isinstance(v, Unscored)), None)
    if unscored is not None:
        return {"reason": unscored_reason(unscored)}
    if all(isinstance(v, Rating) for v in verdicts):
        return {"rewards": [v.value for v in verdicts]}
    if all(isinstance(v, Preference) for v in verdicts):
        return {"shown": [[*one.indices, v.p_first] for one, v in zip(asked, verdicts, strict=True)]}
    return {"reason": "out_of_scale: a verdict of another kind than was asked for"}
