"""Refusal of requests that are longer than the model reads, before they are sent."""

from __future__ import annotations

from collections.abc import Sequence

from harness.endpoint.exchange import ChatFailure
from harness.endpoint.ledger import estimate_tokens
from harness.messages import Message

_MARGIN = 1.25
"""The estimate of tokens is accurate to about 20 %; what may fit is left to the server."""


def refuse_too_long(messages: Sequence[Message], window: int | None) -> None:
    """Refuse a conversation that is certainly longer than a model's context window.

    Parameters
    ----------
    messages : sequence of Message
        The conversation.
    window : int or None
        Tokens the model reads at most; None if unknown.

    Raises
    ------
    ChatFailure
        Of the kind "context_length".
    """
    if window is None:
        return
    n_tokens = sum(estimate_tokens(message.content) for message in messages)
    if n_tokens > _MARGIN * window:
        raise ChatFailure(
            "context_length",
            f"about {n_tokens:,} tokens, and the model reads {window:,}; the request was not sent",
        )
