"""A language model behind an OpenAI-compatible endpoint as judge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Protocol, cast

from harness import registry
from harness.endpoint.batches.batch_client import BatchClient
from harness.endpoint.batches.batch_journal import BatchJournal
from harness.endpoint.batches.batch_vendors import batch_api
from harness.endpoint.client import ChatClient, ChatFailure, ChatReply, ChatRequest, EndpointOptions
from harness.endpoint.context_window import refuse_too_long
from harness.endpoint.credentials import read_key
from harness.endpoint.judgment_cache import JudgmentCache, cache_key
from harness.endpoint.ledger import Ledger, Price, find_price, most_prompt_tokens
from harness.endpoint.model_facts import announced_retirement, context_window
from harness.endpoint.probe import probe_request
from harness.endpoint.vendors import ANTHROPIC, GOOGLE, OPENAI, Vendor
from harness.errors import SpecError
from harness.hashing import content_hash
from harness.messages import Message
from harness.protocols import ChatSettings, JudgeContext, JudgeForm, JudgeTask, Reading
from harness.records import Judgment, Unscored, UnscoredReason
from harness.spec import BatchSpec, validated
from judges.judge_parameters import left_out, refuse_unknown, try_requests
from judges.judge_usage import JudgeUsage
from judges.repeated_form import RepeatedForm
from judges.without_logprobs import InPlaceOf, without_logprobs

_REASONS: dict[str, UnscoredReason] = {"timeout": "timeout", "context_length": "context_length"}
_LEFT_OUT: dict[str, Any] = {"temperature": None, "top_p": 1.0, "seed": None, "reasoning_effort": None}
"""The settings that send no parameter, by the parameters that may be left out."""


class ChatBackend(Protocol):
    """Answers requests: the client of an endpoint, a batch interface, a model in this process."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Return the reply; raises `ChatFailure` if there is none."""
        ...

    async def aclose(self) -> None:
        """Free the resources."""
        ...


class LLMJudge:
    """Asks a chat model, in whatever form a task wants: ``openai:MODEL``.

    Parameters
    ----------
    context : JudgeContext
        Who judges and what it may cost.

    Raises
    ------
    SpecError
        An option is not known.
    """

    vendor: ClassVar[Vendor] = OPENAI
    is_listed: ClassVar[bool] = True
    """Whether price, context window and retirement are those of a vendor's model."""

    def __init__(self, context: JudgeContext) -> None:
        spec = context.spec
        self._context = context
        self._spec = spec
        self._forms: dict[str, JudgeForm] = {}
        self._backend: ChatBackend | None = None
        self._batches: BatchClient | None = None
        self._cache: JudgmentCache | None = None
        self._dropped: dict[str, str] = {}
        self._check_options()
        price = Price(*spec.price) if spec.price else self._list_price()
        self.price = price if price is None or spec.batch is None else price.halved()
        self._window = context_window(spec.model_name, self._base_url) if self.is_listed else None
        self._retirement = announced_retirement(spec.model_name, self._base_url) if self.is_listed else None
        self.ledger = Ledger(context.max_cost, self.price, context.spent, context.budget)

    @property
    def name(self) -> str:
        """Name for tables."""
        return self._spec.model_name

    @property
    def _base_url(self) -> str | None:
        return self._spec.base_url or (None if self.vendor is OPENAI else self.vendor.base_url)

    @property
    def _cached_as(self) -> tuple[str, str | None]:
        """The model and its address in the keys of the cache."""
        return self._spec.model_name, self._base_url

    def _list_price(self) -> Price | None:
        return find_price(self._spec.model_name, self._base_url)

    @property
    def _sent(self) -> dict[str, Any]:
        """The fields that every request is sent as they are."""
        return self._spec.sent_options

    def _check_options(self) -> None:
        refuse_unknown(self._spec, self._spec.options, ())

    def form(self, name: str) -> JudgeForm:
        """Return a form, made once."""
        if name not in self._forms:
            official = registry.make_judge_form(name, self._context.data)
            if self._spec.samples is not None and official.reads == "text":
                # It has what a form has, but is made of a form and not of data.
                self._forms[name] = cast(JudgeForm, RepeatedForm(official, self._spec.samples))
            else:
                self._forms[name] = without_logprobs(official, self._spec)
        return self._forms[name]

    def settings(self, name: str) -> ChatSettings:
        """The official sampling of a form with the spec's changes, without the parameters that the server refuses."""
        form, spec = self.form(name), self._spec
        changes: dict[str, Any] = {}
        if spec.max_reply_tokens is not None and form.reads == "text":
            changes["max_tokens"] = spec.max_reply_tokens
        for parameter in _LEFT_OUT:
            if (value := getattr(spec, parameter)) is not None:
                changes[parameter] = value
        changes |= {parameter: _LEFT_OUT[parameter] for parameter in self._dropped}
        return replace(form.settings, **changes)

    def judge_id(self, form: str) -> str:
        """Hash of model, prompts, parser and sampling; parameters left out are known only after `prepare`."""
        settings = self.settings(form)
        sampling = [settings.temperature, settings.max_tokens, settings.top_logprobs]
        newer = self._newer_sampling()
        named = self._identified_by()
        return content_hash("judge", *named, self.form(form).identity(), sampling, *([newer] if newer else []))

    def _identified_by(self) -> tuple[Any, ...]:
        """What identifies the model in the judge's id."""
        return self._spec.model, self._sent

    def _newer_sampling(self) -> dict[str, Any]:
        """The parameters that are set, of those that judge ids of 0.1.0 did not know."""
        spec = self._spec
        found: dict[str, Any] = {
            "top_p": spec.top_p,
            "seed": spec.seed,
            "reasoning_effort": spec.reasoning_effort,
            "reasoning_tags": None if spec.reasoning_tags is None else [list(pair) for pair in spec.reasoning_tags],
            "left_out": sorted(self._dropped) or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Model, endpoint, price, and what differs from the official judge, for run.json."""
        price = [self.price.input_per_million, self.price.output_per_million] if self.price else None
        known = {"model": self._spec.model, "base_url": self._base_url, "price_per_million": price}
        further: dict[str, Any] = {
            "sampling": self._newer_sampling(),
            "left_out": self._dropped,
            "deviations": self._deviations(),
        }
        further["retirement"] = self._retirement.as_json() if self._retirement else None
        return known | {name: value for name, value in further.items() if value}

    def _deviations(self) -> list[str]:
        """What differs from the official judges, in words for readers of the figures."""
        found = [f"{name} is not sent: the server refuses it ({words})" for name, words in self._dropped.items()]
        for name in self._context.forms:
            form = self.form(name)
            if isinstance(form, InPlaceOf | RepeatedForm):
                found.append(f"{name}: {form.deviation}")
        return found

    async def prepare(self) -> None:
        """Find out whether the judge answers and which parameters it takes, and open the cache.

        Raises
        ------
        EndpointError
            It does not answer, or refuses a parameter that may not be left out.
        """
        self._check_choices()
        self._backend = await self._connect()
        if self._context.cache_path is not None:
            self._cache = JudgmentCache(self._context.cache_path)

    def _check_choices(self) -> None:
        spec, forms = self._spec, [self.form(name) for name in self._context.forms]
        if spec.probability is not None and forms and not any(isinstance(form, InPlaceOf) for form in forms):
            raise SpecError(
                f"judge.probability is given, and no form of this run ({', '.join(self._context.forms)}) reads "
                "log-probabilities",
                "alpaca_eval, or another form whose verdict is a probability",
                "leave --judge-probability out",
            )

    async def _connect(self) -> ChatBackend:
        """Open the connection and try it."""
        client = self._client(self._base_url, self._spec.model_name)
        try:
            await self._try(client)
            self._retirement = client.retirement or self._retirement
            if self._spec.batch is not None:
                self._batches = self._open_batches(client, self._spec.batch)
        except BaseException:
            await client.aclose()
            raise
        return client

    def _open_batches(self, client: ChatClient, spec: BatchSpec) -> BatchClient:
        """Go on with the batches of the run."""
        if self._context.work is None:
            raise SpecError(
                "judge.batch is given, and there is no run whose batches could be resumed",
                remedy="leave --judge-batch out",
            )
        key = read_key(client.options.api_key_env)
        api = batch_api(self._spec.kind, client.options, key, client.limit_field)
        batches = BatchClient(api, BatchJournal(self._context.work), spec)
        batches.start()
        return batches

    def _client(self, base_url: str | None, model: str) -> ChatClient:
        spec = self._spec
        return ChatClient(
            validated(
                EndpointOptions,
                {
                    "model": model,
                    "base_url": base_url,
                    "api_key_env": self.vendor.key_variable(spec.api_key_env),
                    "concurrency": spec.concurrency,
                    "timeout_s": spec.timeout_s,
                    "max_retries": spec.max_retries,
                    "give_up_after_s": spec.give_up_after_s,
                    "extra_body": self._sent,
                    "reasoning_tags": spec.reasoning_tags,
                    "token_limit_field": None if spec.max_completion_tokens is None else "max_completion_tokens",
                },
                f"the judge {spec.model}",
            )
        )

    async def _try(self, client: ChatClient) -> None:
        """Send one small request for each combination of parameters that the run's forms send."""
        requests: dict[str, ChatRequest] = {}
        for name in self._context.forms:
            request = probe_request(self.settings(name).request(()))
            requests.setdefault(cache_key("", "", request), request)
        where = f"{self._spec.model_name} at {client.options.url}"
        tried = await try_requests(client, list(requests.values()), self.vendor.ignored)
        for reply in tried.replies:
            self.ledger.book(reply)
        self._dropped |= left_out(tried.refused, where, allowed=self._spec.drop_unsupported)

    async def judge(self, task: JudgeTask, *, fresh: bool = False) -> Judgment:
        """Ask in the task's form; what fails for this request alone becomes `Unscored`."""
        usage = JudgeUsage()

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
        if self._batches is not None:
            self._batches.deliver_soon(usage.batch_keys)
        return self._judgment(task, reading, usage)

    def _key(self, request: ChatRequest) -> str:
        sent = self._sent
        if self._spec.reasoning_tags is not None:  # a stored reply was separated by them
            sent = {**sent, "reasoning_tags": [list(pair) for pair in self._spec.reasoning_tags]}
        return cache_key(*self._cached_as, request, sent)

    async def _ask(self, request: ChatRequest, usage: JudgeUsage, fresh: bool) -> ChatReply:
        if self._backend is None:
            raise RuntimeError("judge used before prepare()")
        key = self._key(request)
        usage.request_hash = usage.request_hash or key
        usage.n_requests += 1
        if self._cache is not None and not fresh:
            kept = self._cache.get(key)
            if kept is not None:
                usage.n_cached += 1
                usage.add(kept, 0.0)
                return kept
        if self._batches is not None:
            usage.batch_keys.append(key)
        reply, cost = await self._paid(self._backend, key, request, fresh)
        usage.add(reply, cost)
        usage.replies.append((key, reply))
        return reply

    async def _paid(
        self, backend: ChatBackend, key: str, request: ChatRequest, fresh: bool
    ) -> tuple[ChatReply, float | None]:
        """Get a reply and book what it costs."""
        refuse_too_long(request.messages, self._window)
        if self._batches is not None:
            return await self._paid_in_batch(self._batches, key, request, fresh)
        reservation = await self.ledger.acquire(most_prompt_tokens(request.messages), request.max_tokens)
        try:
            reply = await backend.complete(request)
        except BaseException:
            self.ledger.release(reservation)
            raise
        return reply, self.ledger.settle(reservation, reply)

    async def _paid_in_batch(
        self, batches: BatchClient, key: str, request: ChatRequest, fresh: bool
    ) -> tuple[ChatReply, float | None]:
        """Get a reply from a batch; what an earlier process submitted is booked, whatever the limit is now."""
        if batches.is_paid(key, fresh=fresh):
            reply, is_first = await batches.ask(key, request, fresh=fresh)
            return reply, self.ledger.book(reply) if is_first else 0.0
        reservation = await self.ledger.acquire(most_prompt_tokens(request.messages), request.max_tokens)
        try:
            reply, is_first = await batches.ask(key, request, fresh=fresh)
        except BaseException:
            self.ledger.release(reservation)
            raise
        if is_first:
            return reply, self.ledger.settle(reservation, reply)
        self.ledger.release(reservation)
        return reply, 0.0

    def _judgment(self, task: JudgeTask, reading: Reading, usage: JudgeUsage) -> Judgment:
        return task.judgment(
            self.name,
            self.judge_id(task.form),
            reading.verdict,
            raw=reading.raw,
            n_prompt_tokens=usage.n_prompt_tokens,
            n_completion_tokens=usage.n_completion_tokens,
            cost=usage.cost,
            request_hash=usage.request_hash,
            cached=usage.all_cached,
            meta={**reading.meta, **usage.notes(self._spec.model_name)},
        )

    def first_messages(self, task: JudgeTask) -> tuple[tuple[Message, ...], int]:
        """The messages a task starts with and the limit on the reply, for estimates."""
        request = self.form(task.form).first_request(task, self.settings(task.form))
        return (request.messages, request.max_tokens) if request else ((), 0)

    def n_requests(self, form: str) -> int:
        """How many requests a judgment takes, if the first reply can be read."""
        asked = self.form(form)
        return asked.n_samples if isinstance(asked, InPlaceOf | RepeatedForm) else 1

    def usual_reply_tokens(self, form: str) -> int:
        """How long replies in a form usually are."""
        return self.form(form).usual_reply_tokens

    async def close(self) -> None:
        """Close the connection pool and the cache; batches go on at the server."""
        if self._batches is not None:
            await self._batches.aclose()
        if self._backend is not None:
            await self._backend.aclose()
        if self._cache is not None:
            self._cache.close()


class AnthropicJudge(LLMJudge):
    """A model of Anthropic, through its OpenAI-compatible endpoint: ``anthropic:MODEL``."""

    vendor = ANTHROPIC


class GoogleJudge(LLMJudge):
    """A model of Google, through Gemini's OpenAI-compatible endpoint: ``google:MODEL``."""

    vendor = GOOGLE
