"""Asking whatever can tell answers apart: reward models, preference models, prompted language models.

What is measured of an item stands in the response's `meta`:

rewards   one number an answer (reward models; a rating judge's grades; a preference model over more than two answers)
shown     for answers compared: [index shown first, index shown second, probability that the first is better]
p_first   a preference model's probability that the first of two answers is better, averaged over the orders
reason    why a judge's text holds no verdict
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.reward_bench.items import answers_of, conversation
from harness import registry
from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.engines.base import Engine, Generation, GenerationRequest
from harness.engines.rewards.scorers import PreferenceEngine, PreferenceRequest, RewardEngine, RewardRequest
from harness.errors import UsageError
from harness.hashing import content_hash
from harness.messages import Message, Sampling
from harness.protocols import ChatSettings, DataSource, JudgeForm, JudgeTask, MeasureContext
from harness.records import Preference, Prompt, Rating, Response, Unscored
from harness.run.figures import unscored_reason

__all__ = ["Judging", "Orders", "measured"]

Orders = Literal["both", "one"]
_MOST_TURNS = 2  # the official pairwise and rating prompts are for one turn or two
_LEAST_P = 1e-12


@dataclass(frozen=True)
class Judging:
    """How a language model is asked.

    Parameters
    ----------
    ask : {"judge", "implicit"}
        By a prompt, as a judge; or not at all: its log-probabilities are an implicit reward (the hf engine).
    reference : str or None
        The reference model of an implicit reward; None where it is reference-free.
    reference_free : {"sum", "average"}
        Without a reference, the log-probability of an answer or its mean over tokens.
    form : str
        Registered judge form: "pairwise" (two answers), or "rating" (each answer a grade).
    orders : {"both", "one"}
        Show two answers in both orders, or in one that the seed chooses, as upstream does.
    max_tokens : int or None
        Limit on the judge's reply in place of the official one.
    data : list of DataSource
        Where the official prompt comes from; one, or none before the items are read.
    """

    form: str = "pairwise"
    orders: Orders = "both"
    max_tokens: int | None = None
    ask: Literal["judge", "implicit"] = "judge"
    reference: str | None = None
    reference_free: Literal["sum", "average"] = "sum"
    data: list[DataSource] = field(default_factory=list, compare=False, repr=False)


def measured(prompts: Sequence[Prompt], context: MeasureContext, judging: Judging) -> Iterator[Response]:
    """Measure items with the engine at hand, yielding each as it is done.

    Parameters
    ----------
    prompts : sequence of Prompt
        Items with their answers.
    context : MeasureContext
        The engine.
    judging : Judging
        How a language model is asked.

    Yields
    ------
    Response
        One a prompt; what cannot be measured has ``finish="error"``.

    Raises
    ------
    UsageError
        The engine can do none of it.
    """
    engine = context.engine
    if isinstance(engine, RewardEngine):
        return _by_reward(prompts, context, engine)
    if isinstance(engine, PreferenceEngine):
        return _by_preference(prompts, context, engine)
    if isinstance(engine, Engine) and judging.ask == "implicit":
        return _by_likelihood(prompts, context, judging)
    if isinstance(engine, Engine):
        return _by_judge(prompts, context, engine, judging)
    raise UsageError(
        f"the engine {getattr(engine, 'name', type(engine).__name__)} neither scores answers nor writes text",
        "reward_model, preference_model, implicit_reward, or an engine that generates",
    )


def _response(prompt: Prompt, context: MeasureContext, meta: dict[str, Any], turns: Sequence[str] = ()) -> Response:
    return Response(
        prompt_id=prompt.id,
        benchmark=prompt.benchmark,
        model=context.model,
        model_id=context.engine.fingerprint.model_id,
        turns=tuple(turns),
        meta={**meta, "characters": [len(answer) for answer in answers_of(prompt)]},
    )


def _failed(prompt: Prompt, context: MeasureContext, error: str, retryable: bool = False) -> Response:
    return Response(
        prompt_id=prompt.id,
        benchmark=prompt.benchmark,
        model=context.model,
        model_id=context.engine.fingerprint.model_id,
        finish="error",
        error=error,
        retryable=retryable,
    )


class _Parts:
    """Collects what comes in any order until an item has all of its parts."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.prompts = {prompt.id: prompt for prompt in prompts}
        self._wanted: dict[str, int] = {}
        self._found: dict[str, dict[int, Any]] = {}

    def expect(self, prompt: Prompt) -> str:
        """Name one more part of an item."""
        number = self._wanted.get(prompt.id, 0)
        self._wanted[prompt.id] = number + 1
        return f"{prompt.id}:{number}"

    def take(self, name: str, part: Any) -> tuple[Prompt, list[Any]] | None:
        """Keep a part; the item and all its parts once they are there."""
        prompt_id, _, number = name.rpartition(":")
        found = self._found.setdefault(prompt_id, {})
        found[int(number)] = part
        if len(found) < self._wanted[prompt_id]:
            return None
        del self._found[prompt_id]
        return self.prompts[prompt_id], [found[i] for i in sorted(found)]


def _by_likelihood(prompts: Sequence[Prompt], context: MeasureContext, judging: Judging) -> Iterator[Response]:
    """Take the loaded model for the policy of an implicit reward, so that it is not loaded twice."""
    from harness.engines.hf.engine import HFEngine
    from harness.engines.rewards.implicit_reward import ImplicitRewardEngine
    from harness.engines.rewards.scorer_options import ImplicitRewardOptions

    if not isinstance(context.engine, HFEngine):
        raise UsageError(
            f"the engine {context.engine.name} cannot give implicit rewards",
            "the hf engine, which has the model's log-probabilities of given tokens",
            "use --engine hf or --engine implicit_reward, or leave the option ask out",
        )
    options = ImplicitRewardOptions(context.engine.options, judging.reference, judging.reference_free)
    with ImplicitRewardEngine(options, context.engine) as engine:
        of = {k: v for k, v in engine.fingerprint.options.items() if k.startswith("reference") and k != "reference"}
        yield from _by_reward(prompts, context, engine, of)


def _by_reward(
    prompts: Sequence[Prompt], context: MeasureContext, engine: RewardEngine, of: dict[str, Any] | None = None
) -> Iterator[Response]:
    parts = _Parts(prompts)
    requests = [
        RewardRequest(parts.expect(prompt), (*conversation(prompt), Message("assistant", answer)))
        for prompt in prompts
        for answer in answers_of(prompt)
    ]
    for reward in engine.rewards(requests):
        done = parts.take(reward.request_id, reward)
        if done is None:
            continue
        prompt, rewards = done
        error = next((r.error or "no reward" for r in rewards if r.value is None), "")
        if error:
            yield _failed(prompt, context, error)
            continue
        meta: dict[str, Any] = {"rewards": [r.value for r in rewards], "n_tokens": [r.n_tokens for r in rewards]}
        meta |= of or {}
        if any(r.truncated for r in rewards):
            meta["truncated"] = [r.truncated for r in rewards]
        yield _response(prompt, context, meta)


def _by_preference(prompts: Sequence[Prompt], context: MeasureContext, engine: PreferenceEngine) -> Iterator[Response]:
    parts = _Parts(prompts)
    requests = [
        PreferenceRequest(parts.expect(prompt), conversation(prompt), first, second)
        for prompt in prompts
        for first, second in itertools.combinations(answers_of(prompt), 2)
    ]
    for found in engine.preferences(requests):
        done = parts.take(found.request_id, found)
        if done is None:
            continue
        prompt, pairs = done
        error = next((p.error or "no probability" for p in pairs if p.p_first is None), "")
        if error:
            yield _failed(prompt, context, error)
            continue
        n_answers = len(answers_of(prompt))
        meta: dict[str, Any] = {"n_tokens": [p.n_tokens for p in pairs]}
        if any(p.truncated for p in pairs):
            meta["truncated"] = [p.truncated for p in pairs]
        indices = itertools.combinations(range(n_answers), 2)
        meta["shown"] = [
            shown
            for (i, j), p in zip(indices, pairs, strict=True)
            for shown in ([i, j, p.p_as_shown], [j, i, 1.0 - p.p_swapped])
        ]
        if n_answers == 2:
            meta["p_first"] = pairs[0].p_first
        else:
            meta["rewards"] = _round_robin([p.p_first for p in pairs], n_answers)
        yield _response(prompt, context, meta)


def _round_robin(probabilities: Sequence[float], n: int) -> list[float]:
    """Give each of n answers its mean log-odds against the others; pairs in the order of `combinations`."""
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
    prompts: Sequence[Prompt], context: MeasureContext, engine: Engine, judging: Judging
) -> Iterator[Response]:
    if not judging.data:
        raise RuntimeError("the items are read before they are measured")
    form: JudgeForm = registry.make("judge form", judging.form, judging.data[0])
    settings = form.settings
    parts = _Parts(prompts)
    asked: dict[str, list[_Asked]] = {}
    requests = []
    for prompt in prompts:
        if len(prompt.turns) > _MOST_TURNS:
            reason = f"{len(prompt.turns)} turns, and the judge's official prompts are for {_MOST_TURNS} at most"
            yield _failed(prompt, context, reason)
            continue
        asked[prompt.id] = list(_questions(prompt, context.seed, judging, form))
        for question in asked[prompt.id]:
            request = form.first_request(question.task, settings)
            if request is None:
                raise RuntimeError(f"the judge form {judging.form} asks nothing")
            sampling = Sampling(temperature=0.0, max_tokens=judging.max_tokens or settings.max_tokens)
            requests.append(GenerationRequest(parts.expect(prompt), request.messages, sampling))
    about = {"form": judging.form, "form_id": form.identity()}
    for generation in engine.generate(requests):
        done = parts.take(generation.request_id, generation)
        if done is None:
            continue
        prompt, replies = done
        failed = next((g for g in replies if g.finish == "error"), None)
        if failed is not None:
            yield _failed(prompt, context, failed.error, failed.retryable)
            continue
        verdicts = [
            _verdict(form, settings, question.task, reply)
            for question, reply in zip(asked[prompt.id], replies, strict=True)
        ]
        meta = _read(verdicts, asked[prompt.id]) | about
        yield _response(prompt, context, meta, [reply.text for reply in replies])


def _questions(prompt: Prompt, seed: int, judging: Judging, form: JudgeForm) -> Iterator[_Asked]:
    """Put an item into the judge form's terms."""
    earlier = [m.content for m in conversation(prompt) if m.role == "assistant"]
    bare = prompt.model_copy(update={"meta": {}})
    answers = [
        Response(prompt_id=prompt.id, benchmark=prompt.benchmark, model="", model_id="", turns=(*earlier, answer))
        for answer in answers_of(prompt)
    ]
    turn = len(prompt.turns)
    if form.n_answers == 1:
        for index, answer in enumerate(answers):
            yield _Asked(JudgeTask(bare, judging.form, (answer,), turn=turn, game=index + 1), (index,))
        return
    orders = [(0, 1), (1, 0)]
    if judging.orders == "one":
        orders = [orders[int(content_hash("order", seed, prompt.id)[:8], 16) % 2]]
    for game, (first, second) in enumerate(orders, start=1):
        task = JudgeTask(bare, judging.form, (answers[first], answers[second]), turn=turn, game=game)
        yield _Asked(task, (first, second))


def _verdict(form: JudgeForm, settings: ChatSettings, task: JudgeTask, generation: Generation) -> Any:
    """Have the form read a reply that is there already."""

    async def ask(request: ChatRequest) -> ChatReply:
        del request
        return ChatReply(text=generation.text, finish=generation.finish)

    return _result(form.judge(task, settings, ask)).verdict


def _result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("a judge form that waits for something other than its replies")


def _read(verdicts: Sequence[Any], asked: Sequence[_Asked]) -> dict[str, Any]:
    """Turn verdicts into what is stored of an item."""
    unscored = next((v for v in verdicts if isinstance(v, Unscored)), None)
    if unscored is not None:
        return {"reason": unscored_reason(unscored)}
    if all(isinstance(v, Rating) for v in verdicts):
        return {"rewards": [v.value for v in verdicts]}
    if all(isinstance(v, Preference) for v in verdicts):
        return {"shown": [[*one.indices, v.p_first] for one, v in zip(asked, verdicts, strict=True)]}
    return {"reason": "out_of_scale: a verdict of another kind than was asked for"}
