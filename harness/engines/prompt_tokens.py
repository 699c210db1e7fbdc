"""Requests as token ids, and refusals, for all engines that load a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.engines.base import Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.engines.chat_template import ChatTemplate, ChatTemplateError
from harness.engines.hf.boundary import TokenPair, encode_requests, encode_text, prefix_token_id

ENCODING_ERRORS = (ValueError, TypeError, UnicodeError, OverflowError)
"""What a tokenizer raises on text it cannot take (lone surrogates, not a string)."""


def encode_prompt(
    request: GenerationRequest,
    tokenizer: Any,
    template: ChatTemplate | None,
    n_embeddings: int,
    context_length: int | None,
) -> list[int] | Generation:
    """Tokenise a request, or say why no reply to it can be generated."""
    try:
        token_ids = _prompt_ids(request, tokenizer, template)
    except ChatTemplateError as error:
        return refused_generation(request, str(error))
    except ENCODING_ERRORS as error:
        return refused_generation(request, f"the tokenizer refuses the prompt: {type(error).__name__}: {error}")
    reason = "" if token_ids else "the prompt is empty and the tokenizer has neither a bos nor an eos token for it"
    reason = reason or unknown_token(token_ids, n_embeddings)
    if not reason and context_length is not None and len(token_ids) >= context_length:
        reason = (
            f"the prompt has {len(token_ids)} tokens and the model's context {context_length}, "
            "which leaves no room for a reply; nothing was cut"
        )
    return refused_generation(request, reason, len(token_ids)) if reason else token_ids


def _prompt_ids(request: GenerationRequest, tokenizer: Any, template: ChatTemplate | None) -> list[int]:
    if request.prompt_ids is not None:
        return list(request.prompt_ids)
    if request.text is None and template is not None:
        return template.encode(request.messages)
    token_ids = encode_text(tokenizer, request.text or "")
    prefix = prefix_token_id(tokenizer)
    return token_ids if token_ids or prefix is None else [prefix]


def encode_pairs(tokenizer: Any, requests: Sequence[LogLikelihoodRequest]) -> list[TokenPair | str]:
    """Tokenise requests; the reason where that fails."""
    try:
        return encode_requests(tokenizer, requests)
    except ENCODING_ERRORS as error:
        if len(requests) == 1:
            return [f"the tokenizer refuses the text: {type(error).__name__}: {error}"]
        # One text fails: find it.
        return [pair for request in requests for pair in encode_pairs(tokenizer, [request])]


def misfit(pair: TokenPair, n_embeddings: int, context_length: int | None, n_unread: int) -> str:
    """Say why a continuation cannot be scored; "" if it can.

    Parameters
    ----------
    pair : TokenPair
        Context and continuation.
    n_embeddings : int
        Tokens the model knows.
    context_length : int or None
        Tokens it reads.
    n_unread : int
        Tokens at the end that are predicted and never read.
    """
    token_ids = [*pair.context_ids, *pair.continuation_ids]
    reason = unknown_token(token_ids, n_embeddings)
    if not reason and context_length is not None and len(token_ids) - n_unread > context_length:
        reason = (
            f"context and continuation have {len(token_ids)} tokens and the model's context is {context_length}; "
            "nothing was cut"
        )
    return reason


def unknown_token(token_ids: Sequence[int], n_embeddings: int) -> str:
    """Say which token the model has no embedding for; "" if there is none.

    On a GPU such a lookup would destroy the whole process's context, not only one request.
    """
    highest = max(token_ids, default=0)
    if highest < n_embeddings:
        return ""
    return f"the tokenizer makes token {highest}, but the model has embeddings for {n_embeddings} tokens only"


def seed_used(request: GenerationRequest) -> int | None:
    """Return the seed a generation depends on; None for greedy decoding."""
    return request.sampling.seed if request.sampling.temperature > 0 else None


def refused_generation(request: GenerationRequest, reason: str, n_prompt_tokens: int | None = None) -> Generation:
    """Build the result of a request that cannot be served."""
    return Generation(
        request.request_id, "", "error", n_prompt_tokens, seed=seed_used(request), error=reason, retryable=False
    )


def refused_loglikelihood(request: LogLikelihoodRequest, reason: str, n_tokens: int = 0) -> LogLikelihood:
    """Build the result of a continuation that cannot be scored."""
    return LogLikelihood(request.request_id, None, None, n_tokens, error=reason)
