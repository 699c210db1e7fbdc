"""What is asked of a chat endpoint, what it replies, and what keeps it from replying."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from harness.messages import Message

__all__ = ["ChatFailure", "ChatReply", "ChatRequest", "FailureKind", "TokenLogprob"]

FailureKind = Literal[
    "timeout",  # no whole reply within the limit for one request
    "bad_request",  # refused as malformed or not allowed
    "context_length",  # longer than the model's context
    "server_error",  # status 5xx
    "rate_limited",  # status 429
    "connection",  # not reached, or cut off
    "bad_reply",  # answered, but not with a chat completion
]


class ChatFailure(Exception):  # noqa: N818 - recorded as "not measured", as a rule not an error of the run
    """One request failed while the endpoint works for others.

    Parameters
    ----------
    kind : FailureKind
        What kept it from being answered.
    detail : str
        The same in words, the server's own message included; never the key.
    """

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind: FailureKind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation that wants one more turn, and how to decode it.

    Parameters
    ----------
    messages : tuple of Message
        The conversation.
    max_tokens : int
        Limit on new tokens.
    temperature : float or None
        None sends none and leaves it to the server.
    top_p : float
        Nucleus mass; 1 is not sent.
    seed : int or None
        None sends none.
    stop : tuple of str
        Strings that end the reply.
    top_logprobs : int
        How many alternatives are wanted for each token; 0 asks for no log-probabilities.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a reply, its log-probability in nats, and its most likely alternatives (itself included)."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What came back.

    Parameters
    ----------
    text : str
        The reply; "" where the model refused or was cut before its first visible token.
    finish : str
        The server's reason: "stop", "length", "content_filter", ...
    refusal : str
        The refusal, where the server marks it as one.
    logprobs : tuple of TokenLogprob or None
        One for each token; None where not asked for or not given.
    n_prompt_tokens, n_completion_tokens : int or None
        As the server counts them (and bills them); None where it does not say.
    model : str
        The model as the server names it, which may be more exact than the name asked for; "" where it does not say.
    """

    text: str
    finish: str = "stop"
    refusal: str = ""
    logprobs: tuple[TokenLogprob, ...] | None = None
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None
    model: str = ""

    def to_json(self) -> str:
        """Serialise to one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            `text` is something else.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            logprobs = fields.pop("logprobs")
            if logprobs is not None:
                logprobs = tuple(
                    TokenLogprob(t["token"], t["logprob"], tuple((token, p) for token, p in t["top"])) for t in logprobs
                )
            return cls(logprobs=logprobs, **fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a reply as assay writes it: {error!r}") from error
