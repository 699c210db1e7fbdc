"""Language models of one's own as judges: served by vLLM beside the run, or run in this process by transformers.

A judge is identified by its weights and by the options that change its answers, not by where it runs.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from harness import registry
from harness.endpoint.client import ChatFailure, ChatReply, ChatRequest
from harness.endpoint.exchange import FailureKind
from harness.endpoint.ledger import Price
from harness.engines.base import Engine, Generation, GenerationRequest
from harness.engines.vllm.served import ServedOptions, VLLMServer
from harness.errors import SpecError
from harness.hashing import content_hash
from harness.messages import Sampling
from harness.protocols import JudgeContext
from harness.spec import validated
from judges.judge_parameters import left_out
from judges.llm import ChatBackend, LLMJudge


class VLLMJudge(LLMJudge):
    """A model that `vllm serve` serves beside the run: ``vllm:DIR_OR_ID``.

    Parameters
    ----------
    context : JudgeContext
        The options are those of `harness.engines.vllm.served.ServedOptions`.
    """

    is_listed = False

    def __init__(self, context: JudgeContext) -> None:
        super().__init__(context)
        _refuse_address(context)
        self._identity: dict[str, Any] | None = None

    def _list_price(self) -> Price:
        return Price(0.0, 0.0)

    @property
    def name(self) -> str:
        """The last part of the model's path."""
        return _last_part(self._spec.model_name)

    def _check_options(self) -> None:
        options = validated(ServedOptions, self._spec.options, f"options of the judge {self._spec.model}")
        self._server = VLLMServer(self._spec.model_name, options)

    @property
    def _sent(self) -> dict[str, Any]:
        return self._spec.extra_body

    @property
    def _cached_as(self) -> tuple[str, str | None]:
        return content_hash("served", self._identified()), "vllm:"

    def _identified(self) -> dict[str, Any]:
        if self._identity is None:
            self._identity = self._server.identity()
        return self._identity

    def _identified_by(self) -> tuple[Any, ...]:
        return "vllm", self._identified(), self._sent

    def describe(self) -> dict[str, Any]:
        """As of every language model, with the hash of its weights in place of an address."""
        known = super().describe()
        known.pop("base_url")
        return known | self._identified()

    async def _connect(self) -> ChatBackend:
        """Start the server, then try it."""
        await asyncio.to_thread(self._identified)
        await asyncio.to_thread(self._server.start)
        client = self._client(self._server.base_url, self._server.served_name)
        try:
            await self._try(client)
        except BaseException:
            await client.aclose()
            raise
        return client

    async def close(self) -> None:
        """Close the connections and stop the server."""
        try:
            await super().close()
        finally:
            await asyncio.to_thread(self._server.close)


class HFJudge(LLMJudge):
    """A model that the hf engine runs in this process: ``hf:DIR_OR_ID``.

    Parameters
    ----------
    context : JudgeContext
        The options are those of the hf engine.
    """

    is_listed = False

    def __init__(self, context: JudgeContext) -> None:
        super().__init__(context)
        _refuse_address(context)
        self._loaded: Engine | None = None

    def _list_price(self) -> Price:
        return Price(0.0, 0.0)

    @property
    def name(self) -> str:
        """The last part of the model's path."""
        return _last_part(self._spec.model_name)

    def _check_options(self) -> None:
        """The engine checks its options when it is loaded."""
        if self._spec.extra_body:
            raise SpecError(
                f"extra_body is given for {self._spec.model}, which is sent no requests", "options of the hf engine"
            )

    @property
    def _sent(self) -> dict[str, Any]:
        return {}

    @property
    def _cached_as(self) -> tuple[str, str | None]:
        return self._engine().fingerprint.model_id, "hf:"

    def _engine(self) -> Engine:
        if self._loaded is None:
            tags = self._spec.reasoning_tags
            own = {} if tags is None else {"reasoning_tags": tags}
            options = {"model": self._spec.model_name, **self._spec.options, **own}
            self._loaded = cast(Engine, registry.make("engine", "hf", options))
        return self._loaded

    def _identified_by(self) -> tuple[Any, ...]:
        return "hf", self._engine().fingerprint.model_id

    def describe(self) -> dict[str, Any]:
        """As of every language model, with the hash of its weights in place of an address."""
        known = super().describe()
        known.pop("base_url")
        return known | {"weights_hash": self._engine().fingerprint.weights_hash}

    async def _connect(self) -> ChatBackend:
        """Load the engine; it takes every parameter but gives no log-probabilities and holds to no schema."""
        for name in self._context.forms:
            if self.settings(name).top_logprobs > 0:
                left_out({"logprobs": "the hf engine gives none of what it generates"}, self.name, allowed=False)
        if self._spec.probability is not None:
            left_out({"response_format": "the hf engine has no structured output"}, self.name, allowed=False)
        return EngineBackend(await asyncio.to_thread(self._engine))

    async def close(self) -> None:
        """Wait for the pass under way and free the model."""
        await super().close()
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None


class EngineBackend:
    """Answers chat requests with an engine; those that wait while it is busy are answered together in its next pass.

    Parameters
    ----------
    engine : Engine
        A loaded engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[tuple[ChatRequest, asyncio.Future[ChatReply]]] = []
        self._pass: asyncio.Task[None] | None = None

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Return the reply; raises `ChatFailure` if the model cannot take the request."""
        future: asyncio.Future[ChatReply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._pass is None or self._pass.done():
            self._pass = asyncio.create_task(self._work())
        return await future

    async def aclose(self) -> None:
        """Wait for the pass under way."""
        if self._pass is not None and not self._pass.done():
            await asyncio.wait([self._pass])

    async def _work(self) -> None:
        await asyncio.sleep(0)  # let those who ask at the same time join
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                found = await asyncio.to_thread(self._generate, [request for request, _ in batch])
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
                continue
            for number, (_, future) in enumerate(batch):
                if not future.done():
                    _settle(future, found[str(number)])

    def _generate(self, requests: list[ChatRequest]) -> dict[str, Generation]:
        asked = [_generation_request(str(number), request) for number, request in enumerate(requests)]
        return {generation.request_id: generation for generation in self._engine.generate(asked)}


def _generation_request(request_id: str, request: ChatRequest) -> GenerationRequest:
    seed = request.seed
    if seed is None:  # every sample of a question has its own, the same one in every run
        said = [[message.role, message.content] for message in request.messages]
        seed = int(content_hash("judge seed", said, request.sample)[:8], 16)
    temperature = 1.0 if request.temperature is None else request.temperature
    sampling = Sampling(temperature, request.top_p, request.max_tokens, seed, request.stop)
    return GenerationRequest(request_id, request.messages, sampling)


def _settle(future: asyncio.Future[ChatReply], generation: Generation) -> None:
    if generation.finish == "error":
        kind: FailureKind = "context_length" if "context" in generation.error else "bad_request"
        future.set_exception(ChatFailure(kind, generation.error))
        return
    future.set_result(
        ChatReply(
            generation.text,
            generation.finish,
            n_prompt_tokens=generation.n_prompt_tokens,
            n_completion_tokens=generation.n_tokens,
            reasoning=generation.reasoning,
            n_reasoning_tokens=generation.n_reasoning_tokens,
        )
    )


def _last_part(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2] or model


def _refuse_address(context: JudgeContext) -> None:
    spec = context.spec
    for field in ("base_url", "batch"):
        if getattr(spec, field) is not None:
            raise SpecError(
                f"{field} is given for the judge {spec.model}, which runs on this machine",
                f"{spec.kind}:DIR_OR_ID alone",
                "for a server that runs already, use openai:NAME with --judge-base-url",
            )
