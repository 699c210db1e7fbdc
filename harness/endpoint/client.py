"""The client of OpenAI-compatible chat endpoints: concurrent requests with retries and a circuit breaker.

::

    client = ChatClient(EndpointOptions(model="judge", base_url="http://localhost:8000/v1", concurrency=64))
    await client.check()                      # fails early
    reply = await client.complete(ChatRequest((Message("user", "Hello"),), max_tokens=64))
    await client.aclose()

The `openai` package provides transport, connection pool and errors. Retries are made here, because whether to retry a
request depends on the other requests (see `harness.endpoint.health`).
"""

from __future__ import annotations

import asyncio
import fnmatch
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from harness.endpoint.client_options import OPENAI_BASE_URL, EndpointOptions, TokenLimitField, is_local
from harness.endpoint.credentials import read_key
from harness.endpoint.exchange import ChatFailure, ChatReply, ChatRequest, FailureKind, TokenLogprob
from harness.endpoint.faults import Fault, connection_fault, redact, reply_fault, status_fault
from harness.endpoint.health import CallState, EndpointHealth
from harness.endpoint.model_facts import Retirement, listed_retirement
from harness.endpoint.vendors import requires_key
from harness.endpoint.wire import BadReply, chat_body, encode_body, listed_models, parse_chat, parse_object
from harness.errors import AuthenticationError, EndpointError, nearest
from harness.messages import Message

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

__all__ = [
    "OPENAI_BASE_URL",
    "ChatClient",
    "ChatFailure",
    "ChatReply",
    "ChatRequest",
    "EndpointOptions",
    "FailureKind",
    "TokenLogprob",
]

Parsed = TypeVar("Parsed")

_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 8.0
_MOST_TIMEOUT_RETRIES = 2
_CONNECT_TIMEOUT_S = 10.0
_CHECK_TIMEOUT_S = 15.0
_CHECK_DELAYS_S = (0.5, 2.0)
_NO_KEY = "EMPTY"  # sent to servers that need no key, as in vLLM's documentation
_CHAT_PATH = "/chat/completions"
_REFUSALS = frozenset({"400", "404", "405", "422"})
_JSON = {"content-type": "application/json"}


class ChatClient:
    """Sends requests to one model of one endpoint, within one event loop.

    Parameters
    ----------
    options : EndpointOptions
        Which endpoint, and how requests are sent to it.

    Attributes
    ----------
    n_calls, n_replies, n_retries, n_rate_limited : int
        Requests started, replies received, attempts after the first, responses with status 429.
    seconds_waited : float
        Time spent between attempts, summed over requests.
    retirement : Retirement or None
        The last day of the model according to the endpoint's list of models, once checked.

    Raises
    ------
    AuthenticationError
        The endpoint is a vendor's and there is no key.
    """

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options
        self.n_calls = 0
        self.n_replies = 0
        self.n_retries = 0
        self.n_rate_limited = 0
        self.seconds_waited = 0.0
        self.retirement: Retirement | None = None
        self._key = read_key(options.api_key_env)
        if self._key is None and requires_key(options.url):
            raise AuthenticationError(
                f"{options.api_key_env} is not set, and {options.url} requires a key",
                "a key in the environment",
                f"export {options.api_key_env}=..., or name another endpoint (--judge-base-url, or base_url)",
            )
        self._limit_field: TokenLimitField = options.token_limit_field or "max_tokens"
        self._health = EndpointHealth(options)
        self._slots = asyncio.Semaphore(options.concurrency)
        self._probing = asyncio.Lock()
        self._client: AsyncOpenAI | None = None
        self._jitter = random.Random()

    @property
    def limit_field(self) -> TokenLimitField:
        """The name of the limit on tokens that the model takes."""
        return self._limit_field

    async def check(self) -> None:
        """Check that the endpoint can be reached, accepts the key and has the model.

        The list of models is a hint: where it lacks the model, or cannot be read, a small chat request decides.

        Raises
        ------
        EndpointError
            It cannot be reached, or does not have the model.
        AuthenticationError
            It refuses the key.
        """
        hint = await self.listing_hint()
        if hint is not None:
            answer = await self.try_once(ChatRequest((Message("user", "Hello"),), max_tokens=1))
            # A refusal of a parameter (one token may be too few) shows that the model is there.
            if isinstance(answer, Fault) and (answer.error is not None or not answer.parameter):
                raise self.unusable(answer, hint)

    async def listing_hint(self) -> str | None:
        """Look for the model in the endpoint's list of models.

        Returns
        -------
        str or None
            None if it is listed, else what the list says, "" if there is none.
        """
        content = await self._fetch("GET", "/models", None, min(_CHECK_TIMEOUT_S, self.options.timeout_s))
        listed = [] if isinstance(content, Fault) else listed_models(content)
        self.retirement = listed_retirement(self.options.model, listed, self.options.url)
        names = [str(entry["id"]) for entry in listed]
        model = self.options.model
        # Proxies list patterns ("openai/*"); Gemini lists names with a prefix ("models/...").
        if any(fnmatch.fnmatchcase(model, n) or n.endswith("/" + model) for n in names):
            return None
        if not names:
            return ""
        close = nearest(model, names)
        shown = ", ".join(sorted(names)[:10]) + (", ..." if len(names) > 10 else "")
        return f"it lists {shown}" + (f"; did you mean {close}?" if close else "")

    async def try_once(self, request: ChatRequest) -> ChatReply | Fault:
        """Send a request outside the rules for the run's requests, to find out whether it can be answered.

        Passing faults are tried again twice. The limit on tokens changes its name if the server asks for it.
        """

        async def attempt() -> ChatReply | Fault:
            body = encode_body(chat_body(self.options, request, self._limit_field))
            return await self._attempt(_CHAT_PATH, body, self._parse_chat)

        answer = await attempt()
        for delay in _CHECK_DELAYS_S:
            if isinstance(answer, Fault) and answer.action == "rename_limit" and self.options.token_limit_field is None:
                self._limit_field = "max_completion_tokens"
            elif not isinstance(answer, Fault) or answer.action != "retry" or answer.label == "connection refused":
                break
            else:
                await asyncio.sleep(delay)
            answer = await attempt()
        return answer

    def unusable(self, fault: Fault, hint: str | None) -> EndpointError:
        """Build the error for an endpoint that did not answer the first request.

        Parameters
        ----------
        fault : Fault
            What came instead of an answer.
        hint : str or None
            As `listing_hint` returned it.
        """
        options = self.options
        if isinstance(fault.error, AuthenticationError):
            return fault.error
        if hint and fault.label in ("404", "400", "405"):
            return EndpointError(
                f"{options.url} has no model {options.model!r}: {fault.detail}", hint, "name one of its models"
            )
        if fault.error is not None:
            return fault.error
        if fault.action == "fail":
            return EndpointError(
                f"{options.url} refuses a simple request to the model {options.model}: {fault.detail}",
                "a chat model that the endpoint serves",
                "correct base_url or the model's name",
            )
        local = "; is the server running, and on this port?" if is_local(options.url) else ""
        return EndpointError(
            f"{options.url} (model {options.model}) does not answer: {fault.detail}",
            "an OpenAI-compatible endpoint that can be reached",
            f"check base_url and the network{local}",
        )

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Request one more turn; waits for a free slot, and between attempts.

        Raises
        ------
        ChatFailure
            This request failed, while the endpoint answers others.
        EndpointError
            The endpoint is down, has no credit left, or lacks the model; every other request gets the same error.
        AuthenticationError
            It refuses the key.
        """

        def body() -> bytes:
            return encode_body(chat_body(self.options, request, self._limit_field))

        return await self._ask(_CHAT_PATH, body, self._parse_chat)

    def _parse_chat(self, value: dict[str, Any]) -> ChatReply:
        return parse_chat(value, self.options.tags)

    async def complete_raw(
        self, path: str, body: Mapping[str, Any], parse: Callable[[dict[str, Any]], Parsed]
    ) -> Parsed:
        """Post any other body under the same rules, for requests that are not chat completions.

        Parameters
        ----------
        path : str
            Below the base URL, as "/completions".
        body : mapping
            The JSON body without the model.
        parse : callable
            Converts the reply's object to a result; raises `BadReply` if it is malformed.
        """
        encoded = encode_body({"model": self.options.model, **body, **self.options.extra_body})
        return await self._ask(path, lambda: encoded, parse)

    async def _ask(self, path: str, body: Callable[[], bytes], parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
        async with self._slots:
            call = self._health.enter()
            self.n_calls += 1
            try:
                while True:
                    result = await self._attempt(path, body(), parse)
                    if not isinstance(result, Fault):
                        self._health.succeeded()
                        self.n_replies += 1
                        return result
                    await self._after_fault(path, call, result)
                    self.n_retries += 1
            finally:
                self._health.leave(call)

    async def _attempt(self, path: str, body: bytes, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed | Fault:
        content = await self._fetch("POST", path, body, self.options.timeout_s)
        if isinstance(content, Fault):
            return content
        try:
            value = parse_object(content)
            error = value.get("error")
            if isinstance(error, dict) and not value.get("choices"):  # some proxies report errors with status 200
                code = error.get("code")
                status = code if isinstance(code, int) and 400 <= code < 600 else 502
                return status_fault(self.options, self._key, status, {}, content)
            return parse(value)
        except BadReply as bad:
            return reply_fault(bad.detail, final=bad.final, key=self._key)

    async def _after_fault(self, path: str, call: CallState, fault: Fault) -> None:
        """Wait before the next attempt, or raise."""
        self._health.raise_if_open()
        if fault.action == "rename_limit" and self.options.token_limit_field is None and not call.renamed:
            self._health.succeeded()
            self._limit_field = "max_completion_tokens"
            call.renamed = True
            return
        # Another path may be missing while chat completions work.
        only_here = path != _CHAT_PATH and fault.label in _REFUSALS
        if fault.error is not None and not only_here:
            self._health.open(fault.error)
            raise fault.error
        if fault.action == "fail" or only_here:
            self._health.succeeded()
            raise ChatFailure(fault.kind, fault.detail)
        self.n_rate_limited += fault.kind == "rate_limited"
        self._health.failed(call, fault)
        await self._stop_if_down(path, fault)
        if self._is_exhausted(call, fault) and self._health.is_own_fault(call):
            raise ChatFailure(fault.kind, f"{fault.detail} (after {call.n_failures} attempts)")
        await self._wait(path, call, fault)

    async def _stop_if_down(self, path: str, fault: Fault) -> None:
        """Open the circuit breaker if nothing is answered any more.

        The last requests of a run may all be requests this server cannot answer. A fault that may be caused by the
        request counts against the endpoint only if the simplest request fails too.
        """
        if not self._health.is_silent():
            return
        async with self._probing:
            if not self._health.is_silent():
                return
            if not fault.endpoint_wide and await self._answers_hello(path):
                self._health.succeeded()
                return
            self._health.open_as_down()
        self._health.raise_if_open()

    async def _answers_hello(self, path: str) -> bool:
        if path == _CHAT_PATH:
            body = chat_body(self.options, ChatRequest((Message("user", "Hello"),), max_tokens=1), self._limit_field)
        else:
            body = {"model": self.options.model, "prompt": "Hello", "max_tokens": 1, **self.options.extra_body}
        answer = await self._attempt(path, encode_body(body), lambda value: value)
        return not isinstance(answer, Fault) or answer.action == "fail"

    def _is_exhausted(self, call: CallState, fault: Fault) -> bool:
        if fault.endpoint_wide:  # not caused by the request: it is retried for as long as allowed
            waited = time.monotonic() - call.first_failure_at
            return call.n_failures > self.options.max_retries and waited >= self.options.give_up_after_s
        # A request that timed out may have been answered and billed.
        limit = min(self.options.max_retries, _MOST_TIMEOUT_RETRIES) if fault.kind == "timeout" else None
        return call.n_failures > (self.options.max_retries if limit is None else limit)

    async def _wait(self, path: str, call: CallState, fault: Fault) -> None:
        backoff = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2.0 ** min(call.n_failures - 1, 10))
        jitter = self._jitter.uniform(
            0.0, backoff
        )  # full jitter: requests that failed together are retried at different times
        asked = fault.retry_after_s
        patience = max(0.0, self._health.patience_left())
        began = time.monotonic()
        try:
            if asked is None:
                await self._health.sleep(min(jitter, patience) if patience else jitter)
            elif asked <= self.options.give_up_after_s:
                await self._health.sleep(asked + min(jitter, 0.1 * asked))
            else:  # too long; meanwhile another request may show that the endpoint is up
                await self._health.sleep(patience)
                await self._stop_if_down(path, fault)
                raise ChatFailure(
                    fault.kind,
                    f"{fault.detail} (the server asks to wait {asked:.0f} s, more than the "
                    f"{self.options.give_up_after_s:g} s of give_up_after_s)",
                )
        finally:
            self.seconds_waited += time.monotonic() - began

    async def _fetch(self, method: str, path: str, body: bytes | None, timeout_s: float) -> bytes | Fault:
        """Send one request and read its whole response."""
        import openai

        client = self._client or self._connect()
        try:
            async with asyncio.timeout(timeout_s):
                if body is None:
                    response = await client.get(path, cast_to=_response_type())
                else:
                    response = await client.post(
                        path, content=body, cast_to=_response_type(), options={"headers": _JSON}
                    )
                return response.content
        except TimeoutError as error:
            return connection_fault(error, timed_out=True, key=self._key)
        except openai.APIStatusError as error:
            answer = error.response
            return status_fault(self.options, self._key, answer.status_code, answer.headers, answer.content)
        except openai.APIConnectionError as error:
            timed_out = isinstance(error, openai.APITimeoutError)
            return connection_fault(error, timed_out=timed_out, key=self._key)
        except openai.OpenAIError as error:
            return reply_fault(redact(str(error), self._key), final=False)

    def _connect(self) -> AsyncOpenAI:
        import httpx2
        import openai

        options = self.options
        arguments: dict[str, Any] = {
            "limits": httpx2.Limits(
                max_connections=options.concurrency + 1, max_keepalive_connections=options.concurrency + 1
            ),
            "timeout": httpx2.Timeout(options.timeout_s, connect=min(_CONNECT_TIMEOUT_S, options.timeout_s)),
        }
        try:
            # aiohttp takes half the time of httpx for each request, and even less with many connections.
            http_client = openai.DefaultAioHttpClient(**arguments)
        except RuntimeError:
            http_client = openai.DefaultAsyncHttpxClient(**arguments)
        self._client = openai.AsyncOpenAI(
            api_key=self._key or _NO_KEY, base_url=options.url, max_retries=0, http_client=http_client
        )
        return self._client

    async def aclose(self) -> None:
        """Close the connections; closing twice is harmless."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _response_type() -> type[httpx2.Response]:
    """The raw response: parsing by the package costs more than the rest of a request."""
    import httpx2

    return httpx2.Response
