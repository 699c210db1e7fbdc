"""Requests to a chat endpoint, its replies, and its failures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from harness.messages import Message

FailureKind = Literal[
    "timeout",  # no complete reply within the limit for one request
    "bad_request",  # refused as malformed or not allowed
    "context_length",  # longer than the model's context
    "server_error",  # status 5xx
    "rate_limited",  # status 429
    "connection",  # not reached, or interrupted
    "bad_reply",  # the reply is not a chat completion
]


class ChatFailure(Exception):  # noqa: N818 - recorded as "not measured", as a rule not an error of the run
    """One request failed while the endpoint works for others.

    Parameters
    ----------
    kind : FailureKind
        The kind of failure.
    detail : str
        A description with the server's own message; never the key.
    """

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind: FailureKind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to be continued by one turn, and how to decode it.

    Parameters
    ----------
    messages : tuple of Message
        The conversation.
    max_tokens : int
        Limit on new tokens.
    temperature : float or None
        None sends none: the server decides.
    top_p : float
        Nucleus mass; 1 is not sent.
    seed : int or None
        None sends none.
    stop : tuple of str
        Strings that end the reply.
    top_logprobs : int
        Number of alternatives per token; 0 requests no log-probabilities.
    schema : mapping or None
        JSON schema the reply must follow (``response_format``); None for free text.
    reasoning_effort : str or None
        How long the model may reason, in the server's words ("low", "high", ...); None sends none.
    sample : int
        Number of the request among equal ones; not sent, but each has its own reply.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float | None = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    schema: Mapping[str, Any] | None = None
    reasoning_effort: str | None = None
    sample: int = 0

    @property
    def newer_fields(self) -> dict[str, Any]:
        """The fields that stored hashes of requests lack where they are not set."""
        fields = {"reasoning_effort": self.reasoning_effort, "sample": self.sample or None}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a reply, its log-probability in nats, and its most likely alternatives (itself included)."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A reply.

    Parameters
    ----------
    text : str
        The answer without its reasoning; "" if the model refused or was cut before its first visible token.
    finish : str
        The server's reason: "stop", "length", "content_filter", ...; "length" if the text ends within the reasoning.
    refusal : str
        The refusal, if the server marks it as one.
    logprobs : tuple of TokenLogprob or None
        One for each token; None if not requested or not returned.
    n_prompt_tokens, n_completion_tokens : int or None
        As counted (and billed) by the server; None if not reported.
    model : str
        The model's name as reported, which may be more precise than the requested one; "" if not reported.
    reasoning : str
        The reasoning, from a field of its own or from the tags around it; "" if there is none, or it is not shown.
    n_reasoning_tokens : int or None
        Its tokens, which `n_completion_tokens` includes; None if not reported.
    """

    text: str
    finish: str = "stop"
    refusal: str = ""
    logprobs: tuple[TokenLogprob, ...] | None = None
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None
    model: str = ""
    reasoning: str = ""
    n_reasoning_tokens: int | None = None

    def to_json(self) -> str:
        """Serialise to one line of JSON."""
        fields = asdict(self)
        for name in ("reasoning", "n_reasoning_tokens"):
            if not fields[name]:
                fields.pop(name)
        return json.dumps(fields, separators=(",", ":"), allow_nan=False)

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
