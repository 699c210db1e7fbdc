"""The engine for models behind an OpenAI-compatible endpoint: OpenAI, vLLM, SGLang, llama.cpp, ..."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic import Field

from harness.endpoint.background_loop import BackgroundLoop
from harness.endpoint.client import ChatClient, ChatFailure, ChatReply, ChatRequest
from harness.endpoint.client_options import OPENAI_BASE_URL, EndpointOptions
from harness.endpoint.wire import parse_completion
from harness.engines.base import Fingerprint, Finish, Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.engines.engine_options import EngineOptions
from harness.engines.hf.stopping import cut_at_stop
from harness.engines.lifecycle import BaseEngine
from harness.engines.prompt_logprobs import PromptLogprobs
from harness.errors import ModelError

_MOST_STOPS = 4  # OpenAI refuses more


class OpenAIOptions(EndpointOptions, EngineOptions):
    """Options of the openai engine: those of `EndpointOptions`, with more time for a long answer, and `name`."""

    timeout_s: float = Field(default=600.0, gt=0)


class OpenAIEngine(BaseEngine[OpenAIOptions]):
    """Generates through an endpoint, `concurrency` requests at a time.

    The endpoint applies the chat template and holds the weights. Neither can be hashed, so two runs have the same
    model if address and model name are equal.

    Parameters
    ----------
    options : OpenAIOptions
        Which endpoint, and how requests are sent to it.

    Raises
    ------
    AuthenticationError
        The endpoint is OpenAI's and there is no key.
    """

    name = "openai"
    options_type = OpenAIOptions

    def __init__(self, options: OpenAIOptions) -> None:
        super().__init__(options)
        self._client = ChatClient(options)
        self._loop = BackgroundLoop("assay-endpoint")

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Self:
        """Make an engine from plain values and check that its endpoint answers.

        Raises
        ------
        SpecError
            An option is unknown or wrong.
        EndpointError
            The endpoint cannot be reached, refuses the key, or does not have the model.
        """
        engine = super().from_options(values)
        with engine._closing_on_error():
            engine.check()
        return engine

    def check(self) -> None:
        """Check that the endpoint answers and has the model.

        Raises
        ------
        EndpointError
            It cannot be reached, refuses the key, or does not have the model.
        """
        self._loop.run(self._client.check())

    def _identify(self) -> Fingerprint:
        options: dict[str, Any] = {"extra_body": dict(self.options.extra_body)} if self.options.extra_body else {}
        if self.options.reasoning_tags is not None:
            options["reasoning_tags"] = [list(pair) for pair in self.options.reasoning_tags]
        return Fingerprint(
            name=self.options.display_name,
            source=f"{self.options.url} {self.options.model}",
            engine=self.name,
            options=options,
        )

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yield one generation per request, in the order they complete; see `Engine`.

        Raises
        ------
        EndpointError
            The endpoint is down or refuses the key; what was in flight is yielded first.
        ModelError
            The endpoint cannot continue raw text, and a request needs it.
        """
        if any(request.text is not None for request in requests):
            self._loop.run(self._check_completions())
        yield from self._loop.stream(requests, self._generate, self.options.concurrency)

    async def _check_completions(self) -> None:
        """Check that raw text can be continued, so that not every request fails for the same reason."""
        try:
            await self._client.complete_raw("/completions", {"prompt": "Hello", "max_tokens": 1}, parse_completion)
        except ChatFailure as failure:
            if failure.kind not in ("bad_request", "bad_reply"):
                return  # each request reports its own failure
            raise ModelError(
                f"{self.options.url} does not continue raw text: {failure.detail}",
                "an endpoint with /completions, as vLLM's, for benchmarks that bring their own prompt format",
                "measure these benchmarks with the hf or vllm engine",
            ) from None

    async def _generate(self, request: GenerationRequest) -> Generation:
        sampling = request.sampling
        seed = sampling.seed if sampling.temperature > 0 else None
        try:
            reply = await (self._chat(request, seed) if request.text is None else self._continue(request, seed))
        except ChatFailure as failure:
            retryable = failure.kind != "context_length"
            return Generation(request.request_id, "", "error", seed=seed, error=str(failure), retryable=retryable)
        if reply.finish == "content_filter":
            return Generation(
                request.request_id, "", "error", seed=seed, error="the endpoint's content filter stopped the reply"
            )
        text = reply.text or reply.refusal
        cut = cut_at_stop(text, sampling.stop)
        finish: Finish = "length" if reply.finish == "length" and cut is None else "stop"
        return Generation(
            request.request_id,
            text if cut is None else cut,
            finish,
            reply.n_prompt_tokens,
            reply.n_completion_tokens,
            seed=seed,
            reasoning=reply.reasoning,
            n_reasoning_tokens=reply.n_reasoning_tokens if reply.reasoning else None,
        )

    async def _chat(self, request: GenerationRequest, seed: int | None) -> ChatReply:
        sampling = request.sampling
        return await self._client.complete(
            ChatRequest(
                messages=request.messages,
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=seed,
                stop=self._sent_stops(sampling.stop),
            )
        )

    async def _continue(self, request: GenerationRequest, seed: int | None) -> ChatReply:
        """Continue raw text, without a chat template."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "prompt": request.text,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
        }
        if sampling.top_p != 1.0:
            body["top_p"] = sampling.top_p
        if seed is not None:
            body["seed"] = seed
        if sampling.stop:
            body["stop"] = list(self._sent_stops(sampling.stop))
        return await self._client.complete_raw("/completions", body, parse_completion)

    def _sent_stops(self, stops: tuple[str, ...]) -> tuple[str, ...]:
        """The stop strings the endpoint accepts; the reply is cut at all of them afterwards."""
        return stops[:_MOST_STOPS] if self.options.url == OPENAI_BASE_URL else stops

    def loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        """Yield one log-likelihood per request, in the order they complete.

        Raises
        ------
        ModelError
            The endpoint gives no log-probabilities of prompts.
        EndpointError
            As in `generate`.
        """
        scorer = PromptLogprobs(self._client)
        self._loop.run(scorer.check())
        yield from self._loop.stream(requests, scorer.score, self.options.concurrency)

    def _release(self) -> None:
        self._loop.run(self._client.aclose())
        self._loop.close()
