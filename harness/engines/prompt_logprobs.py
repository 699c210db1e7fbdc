"""Log-probabilities of given text from an endpoint: the legacy completions API with `echo`.

A prompt is sent with ``echo`` and ``logprobs``, and the server returns the log-probability of each of its tokens. vLLM
and SGLang do that; OpenAI no longer does. The continuation is found as in `harness.engines.hf.boundary`:
the context is tokenised alone too, and the continuation is what the joint tokenisation has beyond it. If the two differ
within the context, because a token crosses the boundary, the server is asked for token ids (vLLM returns them), and
context and continuation are sent as ids.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.endpoint.client import ChatClient, ChatFailure
from harness.endpoint.wire import BadReply, first_choice
from harness.engines.base import LogLikelihood, LogLikelihoodRequest
from harness.errors import EndpointError, ModelError

_PATH = "/completions"


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    logprob: float | None
    is_greedy: bool


class PromptLogprobs:
    """Scores continuations through one client, within its event loop.

    Parameters
    ----------
    client : ChatClient
        The endpoint.
    """

    def __init__(self, client: ChatClient) -> None:
        self._client = client
        self._contexts: dict[str, asyncio.Task[list[_Token]]] = {}

    async def check(self) -> None:
        """Check that the endpoint returns prompt log-probabilities.

        Raises
        ------
        ModelError
            It returns none.
        """
        try:
            tokens = await self._tokens("The sky is blue")
        except ChatFailure as failure:
            if failure.kind in ("bad_request", "bad_reply"):
                raise self._unsupported(failure.detail) from None
            raise EndpointError(
                f"{self._client.options.url}{_PATH} does not answer: {failure}",
                "log-probabilities of a four-word prompt",
                "look at the server's log",
            ) from None
        if len(tokens) < 2 or any(token.logprob is None for token in tokens[1:]):
            raise self._unsupported("the reply lacks the log-probabilities of the prompt")

    def _unsupported(self, found: str) -> ModelError:
        options = self._client.options
        return ModelError(
            f"the endpoint {options.url} gives no prompt log-probabilities for {options.model}: {found}",
            "a server whose /completions takes echo with logprobs, as vLLM's does",
            "measure log-likelihood benchmarks with the hf or vllm engine, or serve the model with vLLM",
        )

    async def score(self, request: LogLikelihoodRequest) -> LogLikelihood:
        """Score one continuation; what fails for this request alone is a `LogLikelihood` with an error."""
        try:
            return await self._score(request)
        except ChatFailure as failure:
            return _failed(request, str(failure))
        except BadReply as bad:
            return _failed(request, bad.detail)

    async def _score(self, request: LogLikelihoodRequest) -> LogLikelihood:
        if request.context_ids is not None and request.continuation_ids is not None:
            n_context = len(request.context_ids)
            tokens = await self._tokens([*request.context_ids, *request.continuation_ids])
            if len(tokens) != n_context + len(request.continuation_ids):
                raise BadReply(f"{len(tokens)} tokens came back for the prompt's ids, which are another number")
        else:
            tokens, n_context = await self._split(request)
        scored = tokens[n_context:]
        if not scored:
            return _failed(request, f"the continuation {request.continuation[:40]!r} has no tokens of its own")
        logprobs = [token.logprob for token in scored if token.logprob is not None]
        if len(logprobs) < len(scored):
            return _failed(request, "the context is empty, and the endpoint conditions on nothing in its place")
        return LogLikelihood(
            request.request_id, math.fsum(logprobs), all(token.is_greedy for token in scored), len(scored)
        )

    async def _split(self, request: LogLikelihoodRequest) -> tuple[list[_Token], int]:
        """Tokenise text; return its tokens and how many of them are the context's."""
        whole = request.context + request.continuation
        kept = request.context.rstrip()  # white space at the end of the context belongs to the continuation
        tokens = await self._tokens(whole)
        if not kept:
            # A server may add one token before every prompt (bos), which is then the context.
            return tokens, int("".join(token.text for token in tokens[1:]) == whole)
        alone = await self._context(kept)
        n_context = len(alone)
        if [token.text for token in tokens[:n_context]] != [token.text for token in alone] and tokens[n_context:]:
            context_ids, whole_ids = await asyncio.gather(self._ids(kept), self._ids(whole))
            tokens = await self._tokens([*context_ids, *whole_ids[n_context:]])
        return tokens, n_context

    async def _tokens(self, prompt: str | list[int]) -> list[_Token]:
        # One token is generated and dropped: some servers refuse to generate none.
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        return await self._client.complete_raw(_PATH, body, _echoed_tokens)

    async def _context(self, context: str) -> list[_Token]:
        """Tokenise a context, once for all its continuations."""
        if context not in self._contexts:
            self._contexts[context] = asyncio.ensure_future(self._tokens(context))
        return await asyncio.shield(self._contexts[context])

    async def _ids(self, prompt: str) -> list[int]:
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "return_token_ids": True}
        return await self._client.complete_raw(_PATH, body, _prompt_token_ids)


def _failed(request: LogLikelihoodRequest, error: str) -> LogLikelihood:
    return LogLikelihood(request.request_id, None, None, 0, error=error)


def _prompt_token_ids(value: Mapping[str, Any]) -> list[int]:
    choice = first_choice(value) or {}
    ids = choice.get("prompt_token_ids")
    if not isinstance(ids, list) or not all(isinstance(i, int) for i in ids):
        raise BadReply(
            "a token crosses from the context into the continuation, and the endpoint returns no token ids",
            final=True,
        )
    return ids


def _n_prompt_tokens(value: Mapping[str, Any]) -> int:
    usage = value.get("usage")
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if not isinstance(count, int) or isinstance(count, bool):
        raise BadReply("the reply does not say how many tokens the prompt has", final=True)
    return count


def _echoed_tokens(value: Mapping[str, Any]) -> list[_Token]:
    """Read the prompt's tokens from a completion with echo; the generated ones are left out."""
    logprobs: Any = (first_choice(value) or {}).get("logprobs")
    if not isinstance(logprobs, dict):
        raise BadReply("the reply has no log-probabilities", final=True)
    texts: Any = logprobs.get("tokens")
    values: Any = logprobs.get("token_logprobs")
    tops: Any = logprobs.get("top_logprobs")
    if not _are_lists(texts, values):
        raise BadReply("the reply's log-probabilities are not one for each token", final=True)
    if not _are_lists(texts, tops):
        raise BadReply("the reply does not say which tokens are most likely", final=True)
    n_prompt = _n_prompt_tokens(value)
    if n_prompt > len(texts):
        raise BadReply("the reply does not repeat the prompt (echo)", final=True)
    return [_token(*triple) for triple in zip(texts[:n_prompt], values, tops, strict=False)]


def _are_lists(texts: Any, others: Any) -> bool:
    """Whether both are lists, of the same length."""
    return isinstance(texts, list) and isinstance(others, list) and len(texts) == len(others)


def _token(text: Any, logprob: Any, top: Any) -> _Token:
    if logprob is None:
        return _Token(str(text), None, False)
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or not math.isfinite(logprob):
        raise BadReply(f"the log-probability of the token {text!r} is {logprob!r}", final=True)
    best = max(top.values(), default=logprob) if isinstance(top, dict) else logprob
    return _Token(str(text), float(logprob), logprob >= best)
