"""A language model behind an OpenAI-compatible endpoint as judge."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from harness import registry
from harness.endpoint.client import ChatClient, ChatFailure, ChatReply, ChatRequest, EndpointOptions
from harness.endpoint.context_window import refuse_too_long
from harness.endpoint.judgment_cache import JudgmentCache, cache_key
from harness.endpoint.ledger import Ledger, Price, find_price, most_prompt_tokens
from harness.endpoint.model_facts import announced_retirement, context_window
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import ChatSettings, JudgeContext, JudgeForm, JudgeTask, Reading
from harness.records import Judgment, Unscored, UnscoredReason
from harness.spec import validated

_REASONS: dict[str, UnscoredReason] = {"timeout": "timeout", "context_length": "context_length"}


@dataclass
class _Usage:
    """What one judgment took, over all its requests; None once any part is not known."""

    n_prompt_tokens: int | None = 0
    n_completion_tokens: int | None = 0
    cost: float | None = 0.0
    n_requests: int = 0
    n_cached: int = 0
    request_hash: str = ""
    served_by: str = ""
    replies: list[tuple[str, ChatReply]] = field(default_factory=list)

    def add(self, reply: ChatReply, cost: float | None) -> None:
        """Count one reply."""
        known = reply.n_prompt_tokens is not None and reply.n_completion_tokens is not None
        if known and self.n_prompt_tokens is not None and self.n_completion_tokens is not None:
            self.n_prompt_tokens += reply.n_prompt_tokens or 0
            self.n_completion_tokens += reply.n_completion_tokens or 0
        else:
            self.n_prompt_tokens = self.n_completion_tokens = None
        self.cost = None if self.cost is None or cost is None else self.cost + cost
        self.served_by = reply.model


class LLMJudge:
    """Asks a chat model, in whatever form a task wants.

    Parameters
    ----------
    context : JudgeContext
        Who judges and what it may cost.
    """

    def __init__(self, context: JudgeContext) -> None:
        spec = context.spec
        self._context = context
        self._spec = spec
        self._forms: dict[str, JudgeForm] = {}
        self._client: ChatClient | None = None
        self._cache: JudgmentCache | None = None
        self.price = Price(*spec.price) if spec.price else find_price(spec.model_name, spec.base_url)
        self.ledger = Ledger(limit=context.max_cost, price=self.price, spent=context.spent)
        self._window = context_window(spec.model_name, spec.base_url)
        self._retirement = announced_retirement(spec.model_name, spec.base_url)

    @property
    def name(self) -> str:
        """Name for tables."""
        return self._spec.model_name

    def form(self, name: str) -> JudgeForm:
        """Return a form, made once."""
        if name not in self._forms:
            self._forms[name] = registry.make_judge_form(name, self._context.data)
        return self._forms[name]

    def settings(self, name: str) -> ChatSettings:
        """The official sampling of a form with the spec's changes."""
        form = self.form(name)
        settings = form.settings
        if self._spec.max_tokens is not None and form.reads == "text":
            settings = replace(settings, max_tokens=self._spec.max_tokens)
        if self._spec.temperature is not None:
            settings = replace(settings, temperature=self._spec.temperature)
        return settings

    def judge_id(self, form: str) -> str:
        """Hash of model, prompts, parser and sampling."""
        settings = self.settings(form)
        sampling = [settings.temperature, settings.max_tokens, settings.top_logprobs]
        return content_hash("judge", self._spec.model, self._spec.options, self.form(form).identity(), sampling)

    def describe(self) -> dict[str, Any]:
        """Model, endpoint and price, for run.json."""
        price = [self.price.input_per_million, self.price.output_per_million] if self.price else None
        known = {"model": self._spec.model, "base_url": self._spec.base_url, "price_per_million": price}
        return known | ({"retirement": self._retirement.as_json()} if self._retirement else {})

    async def prepare(self) -> None:
        """Open the cache and see that the endpoint answers."""
        spec = self._spec
        self._client = ChatClient(
            validated(
                EndpointOptions,
                {
                    "model": spec.model_name,
                    "base_url": spec.base_url,
                    "api_key_env": spec.api_key_env,
                    "concurrency": spec.concurrency,
                    "timeout_s": spec.timeout_s,
                    "max_retries": spec.max_retries,
                    "give_up_after_s": spec.give_up_after_s,
                    "extra_body": spec.options,
                },
                f"the judge {spec.model}",
            )
        )
        await self._client.check()
        self._retirement = self._client.retirement or self._retirement
        if self._context.cache_path is not None:
            self._cache = JudgmentCache(self._context.cache_path)

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Ask in the task's form; what fails for this request alone becomes `Unscored`."""
        usage = _Usage()

        async def ask(request: ChatRequest) -> ChatReply:
            return await self._ask(request, usage, fresh)

        try:
            reading = await self.form(task.form).judge(task, self.settings(task.form), ask)
        except ChatFailure as failure:
            reason = _REASONS.get(failure.kind, "request_failed")
            detail = failure.detail if failure.kind in _REASONS else f"{failure.kind}: {failure.detail}"
            reading = Reading(Unscored(reason=reason, detail=detail), "", {})
        if self._cache is not None and not isinstance(reading.verdict, Unscored):
            # A verdict that could not be read is worth asking for again, so its reply is not kept.
            for key, reply in usage.replies:
                self._cache.put(key, reply)
        return self._judgment(task, reading, usage)

    async def _ask(self, request: ChatRequest, usage: _Usage, fresh: bool) -> ChatReply:
        if self._client is None:
            raise RuntimeError("judge used before prepare()")
        key = cache_key(self._spec.model_name, self._spec.base_url, request, self._spec.options)
        usage.request_hash = usage.request_hash or key
        usage.n_requests += 1
        if self._cache is not None and not fresh:
            kept = self._cache.get(key)
            if kept is not None:
                usage.n_cached += 1
                usage.add(kept, 0.0)
                return kept
        refuse_too_long(request.messages, self._window)
        reservation = await self.ledger.acquire(most_prompt_tokens(request.messages), request.max_tokens)
        try:
            reply = await self._client.complete(request)
        except BaseException:
            self.ledger.release(reservation)
            raise
        usage.add(reply, self.ledger.settle(reservation, reply))
        usage.replies.append((key, reply))
        return reply

    def _judgment(self, task: JudgeTask, reading: Reading, usage: _Usage) -> Judgment:
        meta = dict(reading.meta)
        if usage.served_by and usage.served_by != self._spec.model_name:
            meta["served_by"] = usage.served_by
        return Judgment(
            judge=self.name,
            judge_id=self.judge_id(task.form),
            benchmark=task.prompt.benchmark,
            prompt_id=task.prompt.id,
            response_ids=tuple(r.id for r in task.responses),
            order=tuple(r.role for r in task.responses),
            turn=task.turn,
            game=task.game,
            verdict=reading.verdict,
            raw=reading.raw,
            n_prompt_tokens=usage.n_prompt_tokens,
            n_completion_tokens=usage.n_completion_tokens,
            cost=usage.cost,
            request_hash=usage.request_hash,
            cached=0 < usage.n_cached == usage.n_requests,
            meta=meta,
        )

    def first_messages(self, task: JudgeTask) -> tuple[tuple[Message, ...], int]:
        """The messages a task starts with and the limit on the reply, for estimates."""
        request = self.form(task.form).first_request(task, self.settings(task.form))
        return (request.messages, request.max_tokens) if request else ((), 0)

    def usual_reply_tokens(self, form: str) -> int:
        """How long replies in a form usually are."""
        return self.form(form).usual_reply_tokens

    async def close(self) -> None:
        """Close the connection pool and the cache."""
        if self._client is not None:
            await self._client.aclose()
        if self._cache is not None:
            self._cache.close()
