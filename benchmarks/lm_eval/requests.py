"""Requests of lm-eval tasks to an engine: cut to length as lm-eval does, sent all at once, stored as they are answered.

The prompt/continuation boundary is `harness.engines.hf.boundary`; lengths are lm-eval's (``HFLM``, 0.4.13): a
continuation is scored after the last ``max_length + 1 - n`` tokens of its context, a generation follows the last
``max_length - max_gen_toks``. Where that would leave nothing of the prompt, which lm-eval refuses, the prompt keeps
half the context. What was cut is recorded.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.engines.base import Engine, GenerationRequest, LogLikelihoodRequest
from harness.engines.hf.boundary import encode_requests, encode_text
from harness.errors import UsageError
from harness.hashing import content_hash
from harness.messages import Message, Sampling
from harness.store.jsonl import JsonlAppender, read_jsonl

_NO_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class ScoringAsk:
    """A continuation whose log-likelihood is wanted.

    Parameters
    ----------
    context, continuation : str
        As lm-eval gives them.
    context_ids, continuation_ids : tuple of int or None
        Their tokens, where the caller split a text itself.
    """

    context: str
    continuation: str
    context_ids: tuple[int, ...] | None = None
    continuation_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class GenerationAsk:
    """A prompt to continue.

    Parameters
    ----------
    prompt : str
        Raw text; "" where there are messages.
    messages : tuple of Message
        A conversation, for engines that apply the chat template themselves.
    stop : tuple of str
        Strings that end the text.
    max_tokens : int
        Limit on new tokens.
    temperature, top_p : float
        How to decode; temperature 0 is greedy.
    sample : int
        Which of several samples of one prompt; 0 for greedy decoding.
    """

    prompt: str
    messages: tuple[Message, ...] = ()
    stop: tuple[str, ...] = ()
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    sample: int = 0


Ask = ScoringAsk | GenerationAsk


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request.

    Parameters
    ----------
    logprob : float or None
        Of a continuation, in nats.
    is_greedy : bool or None
        Whether the continuation is what greedy decoding gives.
    text : str or None
        Of a generation.
    finish : str
        "stop", "length" or "error".
    n_tokens : int or None
        Tokens generated, or of the continuation.
    n_cut : int
        Tokens cut from the beginning of the prompt.
    max_tokens : int or None
        The limit on new tokens, if it had to be lowered.
    error : str
        Why there is no answer.
    retryable : bool
        False if asking again would give the same error.
    """

    logprob: float | None = None
    is_greedy: bool | None = None
    text: str | None = None
    finish: str = "stop"
    n_tokens: int | None = None
    n_cut: int = 0
    max_tokens: int | None = None
    error: str = ""
    retryable: bool = True


_DEFAULTS = asdict(Answer())


class Asker:
    """Asks an engine, and stores each answer as it arrives.

    Parameters
    ----------
    engine : Engine
    path : Path or None
        File of stored answers, one JSON object per line; None stores them in memory only. Stored requests are not
        asked again.
    seed : int
        Seed of sampled generations; each has a random stream of its own.
    """

    def __init__(self, engine: Engine, path: Path | None = None, seed: int = 0) -> None:
        self.engine = engine
        self.tokenizer: Any = getattr(engine, "tokenizer", None)
        self.context_length: int | None = getattr(engine, "context_length", None)
        self._seed = seed
        self._known: dict[str, Answer] = {}
        self._appender: JsonlAppender | None = None
        if path is not None:
            self._appender = JsonlAppender(path)
            for _, row in read_jsonl(path):
                key = row.pop("key")
                self._known[key] = Answer(**row)

    def close(self) -> None:
        """Close the file."""
        if self._appender is not None:
            self._appender.close()

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Answer]]:
        """Yield the answer to each request with its position, as they arrive; stored answers come first.

        Equal requests are asked once. Errors are yielded and not stored.
        """
        places: dict[str, list[int]] = {}
        for place, ask in enumerate(asks):
            places.setdefault(_key(ask, self._seed), []).append(place)
        for key, answer in self._distinct({key: asks[found[0]] for key, found in places.items()}):
            yield from ((place, answer) for place in places[key])

    def _distinct(self, asks: Mapping[str, Ask]) -> Iterator[tuple[str, Answer]]:
        """Answer requests by key: from the store, else from the engine."""
        unknown = {key: ask for key, ask in asks.items() if key not in self._known}
        yield from ((key, self._known[key]) for key in asks if key not in unknown)
        scoring = {key: ask for key, ask in unknown.items() if isinstance(ask, ScoringAsk)}
        generating = {key: ask for key, ask in unknown.items() if isinstance(ask, GenerationAsk)}
        for key, answer in itertools.chain(self._scored(scoring), self._generated(generating)):
            self._keep(key, answer)
            yield key, answer

    def _keep(self, key: str, answer: Answer) -> None:
        if answer.error:
            return
        self._known[key] = answer
        if self._appender is not None:
            fields = {name: value for name, value in asdict(answer).items() if value != _DEFAULTS[name]}
            self._appender.append(json.dumps({"key": key, **fields}, ensure_ascii=False))

    def _scored(self, asks: Mapping[str, ScoringAsk]) -> Iterator[tuple[str, Answer]]:
        if not asks:
            return
        requests = [
            LogLikelihoodRequest(key, ask.context, ask.continuation, ask.context_ids, ask.continuation_ids)
            for key, ask in asks.items()
        ]
        n_cut: dict[str, int] = {}
        if self.tokenizer is not None:
            fitting = []
            for key, fitted in self._fit(requests, n_cut):
                if isinstance(fitted, Answer):
                    yield key, fitted
                else:
                    fitting.append(fitted)
            requests = fitting
        for found in self.engine.loglikelihood(requests):
            answer = Answer(
                logprob=found.logprob,
                is_greedy=found.is_greedy,
                n_tokens=found.n_tokens,
                n_cut=n_cut.get(found.request_id, 0),
                finish="error" if found.error else "stop",
                error=found.error,
            )
            yield found.request_id, answer

    def _fit(
        self, requests: Sequence[LogLikelihoodRequest], n_cut: dict[str, int]
    ) -> Iterator[tuple[str, LogLikelihoodRequest | Answer]]:
        """Tokenise, and cut the beginning of contexts that are longer than the model's."""
        length = self.context_length or _NO_LIMIT
        for request, pair in zip(requests, encode_requests(self.tokenizer, requests), strict=True):
            key = request.request_id
            if isinstance(pair, str):
                yield key, Answer(finish="error", error=str(pair), retryable=False)
                continue
            n = len(pair.continuation_ids)
            if n > length:
                error = f"the continuation has {n} tokens and the model's context is {length}"
                yield key, Answer(finish="error", error=error, retryable=False)
                continue
            kept = pair.context_ids[-(length + 1 - n) :]
            n_cut[key] = len(pair.context_ids) - len(kept)
            yield key, replace(request, context_ids=kept, continuation_ids=pair.continuation_ids)

    def _generated(self, asks: Mapping[str, GenerationAsk]) -> Iterator[tuple[str, Answer]]:
        if not asks:
            return
        requests, n_cut, lowered = [], {}, {}
        for key, ask in asks.items():
            max_tokens = ask.max_tokens
            if self.tokenizer is not None and self.context_length is not None and max_tokens >= self.context_length:
                max_tokens = lowered[key] = self.context_length // 2
            sampling = Sampling(
                temperature=ask.temperature,
                top_p=ask.top_p,
                max_tokens=max_tokens,
                seed=int(content_hash("sample", self._seed, key)[:8], 16),
                stop=ask.stop,
            )
            request = GenerationRequest(key, ask.messages, sampling, None if ask.messages else ask.prompt)
            if not ask.messages:
                request, n_cut[key] = self._fit_prompt(request)
            requests.append(request)
        for found in self.engine.generate(requests):
            key = found.request_id
            answer = Answer(
                text=_until(found.text, asks[key].stop) if found.finish != "error" else None,
                finish=found.finish,
                n_tokens=found.n_tokens,
                n_cut=n_cut.get(key, 0),
                max_tokens=lowered.get(key),
                error=found.error,
                retryable=found.retryable,
            )
            yield key, answer

    def _fit_prompt(self, request: GenerationRequest) -> tuple[GenerationRequest, int]:
        """Cut the beginning of a prompt so that the new tokens fit."""
        if self.tokenizer is None or self.context_length is None or not request.text:
            return request, 0
        ids = encode_text(self.tokenizer, request.text)
        room = self.context_length - request.sampling.max_tokens
        if len(ids) <= room:
            return request, 0
        kept = tuple(ids[-room:])
        return replace(request, text=str(self.tokenizer.decode(kept)), prompt_ids=kept), len(ids) - room


def _until(text: str, stop: Sequence[str]) -> str:
    """Cut a text at the first of its stop strings, as some engines leave them in."""
    for term in stop:
        if term:
            text = text.split(term)[0]
    return text


def _key(ask: Ask, seed: int) -> str:
    fields = asdict(ask)
    if isinstance(ask, GenerationAsk) and ask.temperature > 0:
        fields["seed"] = seed
    return content_hash(type(ask).__name__, fields)


def refuse_unknown_settings(settings: Mapping[str, Any]) -> None:
    """Refuse generation settings that would change the text and that engines do not support.

    Raises
    ------
    UsageError
        Names them.
    """
    unknown = sorted(name for name, value in settings.items() if value not in (None, 1, 1.0, False))
    if unknown:
        raise UsageError(
            f"the task asks for generation settings that assay's engines do not support: {', '.join(unknown)}",
            "until, max_gen_toks, do_sample, temperature, top_p",
            "leave them out with gen_kwargs, or run the task with lm-eval and `assay import lm_eval`",
        )
