"""The protocol of engines.

An engine is loaded once for a checkpoint and serves every benchmark. It receives all requests at once, so that
it can order and batch them, and yields each generation as it completes. A generation does not depend on the other
requests in its batch: greedy decoding is batch-invariant in fp32, and every sampled request has its own random stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from harness.hashing import content_hash
from harness.messages import Message, Sampling

Finish = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A conversation to be continued by one assistant turn.

    Exactly one of `messages` and `text` is given: messages go through the chat template, text is taken as it is
    (with the tokenizer's own special tokens), as few-shot academic suites require.

    Parameters
    ----------
    request_id : str
        The caller's name for it; unique within one call.
    messages : tuple of Message
        The conversation so far; the last one is not the assistant's.
    sampling : Sampling
        How to decode.
    text : str or None
        A raw prompt instead of messages.
    prompt_ids : tuple of int or None
        The tokens of `text`, if the caller has truncated them itself; an engine without a tokenizer uses `text`.
    part_reasoning : bool
        Whether the reasoning is separated from the reply to a conversation (`harness.reasoning`); the continuation of
        a raw prompt is always left whole.
    """

    request_id: str
    messages: tuple[Message, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    text: str | None = None
    prompt_ids: tuple[int, ...] | None = None
    part_reasoning: bool = True


@dataclass(frozen=True, slots=True)
class Generation:
    """The result of a request.

    Parameters
    ----------
    request_id : str
        As in the request.
    text : str
        The new text, special tokens, stop strings and the reasoning of a reply to a conversation removed, not stripped
        of anything else; "" on error.
    finish : {"stop", "length", "error"}
        "length" means cut by `max_tokens` or by the context.
    n_prompt_tokens, n_tokens : int or None
        Tokens in the prompt and in the generation, end-of-sequence token counted; None if unknown.
    seed : int or None
        The seed that was used; None for greedy decoding.
    error : str
        Why there is no text; "" unless finish is "error".
    retryable : bool
        False if a retry would give the same error (a prompt longer than the context).
    reasoning : str
        The reasoning before `text`, which is no part of it; "" if there is none.
    n_reasoning_tokens : int or None
        Tokens of the reasoning, which `n_tokens` includes; None if there is none, or they are not counted.
    """

    request_id: str
    text: str
    finish: Finish
    n_prompt_tokens: int | None = None
    n_tokens: int | None = None
    seed: int | None = None
    error: str = ""
    retryable: bool = True
    reasoning: str = ""
    n_reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class LogLikelihoodRequest:
    """A continuation whose log-probability is requested.

    `context_ids` and `continuation_ids`, where given, are used as they are; else the engine tokenises
    `context + continuation` and finds the boundary (see `harness.engines.hf.boundary`).
    """

    request_id: str
    context: str
    continuation: str
    context_ids: tuple[int, ...] | None = None
    continuation_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """The log-probability of a continuation.

    Parameters
    ----------
    request_id : str
        As in the request.
    logprob : float or None
        Sum over the continuation's tokens, in nats; None on error.
    is_greedy : bool or None
        Whether every token is the arg max.
    n_tokens : int
        Tokens in the continuation.
    error : str
        Why there is no value.
    """

    request_id: str
    logprob: float | None
    is_greedy: bool | None
    n_tokens: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies the model behind an engine, for `run.json` and for comparing runs.

    Parameters
    ----------
    name : str
        A short name for tables.
    source : str
        Directory, hub id or endpoint.
    engine : str
        Name of the engine.
    weights_hash : str or None
        SHA-256 over the weight files; None if they are not accessible (an endpoint).
    chat_template_hash : str or None
        SHA-256 of the chat template; None if the server applies its own.
    options : mapping
        Everything else that changes the output: dtype, adapter, revision.
    """

    name: str
    source: str
    engine: str
    weights_hash: str | None = None
    chat_template_hash: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        """Content hash of the fields above except the name."""
        fields = asdict(self)
        fields.pop("name")
        return content_hash("model", fields)


class LoadedEngine(Protocol):
    """What every engine offers. Engines are context managers; the exit frees the model."""

    @property
    def name(self) -> str:
        """Name of the kind of engine ("hf", "vllm", "openai", ...)."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """What identifies the model."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@runtime_checkable
class Engine(LoadedEngine, Protocol):
    """An engine that generates."""

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yield one generation per request, in the order they complete.

        A fault of one request is a `Generation` with ``finish="error"``; a fault of the engine is an
        `AssayError`, and what was yielded before it stands.
        """
        ...

    def loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        """Yield one log-likelihood per request, in the order they complete."""
        ...
