"""An engine whose replies are written beforehand: for tests, dry runs and documentation.

It implements the engine protocol in full, so that everything above an engine can be tested without a model. Replies
come from a function, a mapping or a file. It can delay each reply, fail single requests, and fail as a whole after a
number of replies, as an engine that crashes in the middle of a run does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.data.file_rows import each_row
from harness.engines.base import Fingerprint, Generation, GenerationRequest, LogLikelihood, LogLikelihoodRequest
from harness.engines.engine_options import EngineOptions, Text
from harness.engines.hf.stopping import cut_at_stop
from harness.engines.lifecycle import BaseEngine
from harness.errors import EndpointError
from harness.hashing import content_hash
from harness.reasoning import DEFAULT_TAGS, part_reasoning

DEFAULT_REPLY = "*"
"""The key whose reply answers every prompt that has none of its own."""

Reply = Callable[[GenerationRequest], str]
Score = Callable[[LogLikelihoodRequest], float]


class ScriptedOptions(EngineOptions):
    """Options of the scripted engine.

    Parameters
    ----------
    model : str
        Name of the simulated model; or, where it names an existing ``.jsonl`` file and `replies` is not given, the
        file of replies: one object ``{"prompt": ..., "reply": ...}`` a line, the prompt being a request id, the text
        of the last message, or "*" for all others; an ``"error"`` in place of the reply makes that request fail.
    replies : callable, mapping or None
        A function of the request, or replies by request id, prompt text or "*".
    errors : mapping
        Faults by request id or prompt text: the message.
    logprobs : callable, mapping or None
        A function of the request, or log-probabilities by request id or continuation.
    delay_s : float
        Seconds to wait before each reply.
    fail_after : int or None
        Raise `EndpointError` after so many replies of the engine's life.
    name : str or None
        Name for tables; None takes the model's.
    """

    model: Text = "scripted"
    replies: Reply | Mapping[str, str] | None = None
    errors: Mapping[str, str] = Field(default_factory=dict)
    logprobs: Score | Mapping[str, float] | None = None
    delay_s: float = Field(default=0.0, ge=0)
    fail_after: int | None = Field(default=None, ge=0)


class ScriptedEngine(BaseEngine[ScriptedOptions]):
    """Gives the replies of its options; an `harness.engines.base.Engine`.

    Parameters
    ----------
    options : ScriptedOptions
        The script.

    Attributes
    ----------
    requests : list of GenerationRequest
        Every request it was given, in order.

    Raises
    ------
    MissingDataError, FileFormatError
        The file of replies cannot be read.
    """

    name = "scripted"
    options_type = ScriptedOptions

    def __init__(self, options: ScriptedOptions) -> None:
        super().__init__(options)
        self.requests: list[GenerationRequest] = []
        self._replies, self._errors = options.replies, dict(options.errors)
        if options.replies is None and options.model.endswith(".jsonl"):
            self._replies, from_file = _read_replies(Path(options.model))
            self._errors.update(from_file)
        self._n_answered = 0

    def _identify(self) -> Fingerprint:
        """Identify a written script by its content, a function by the model's name alone."""
        written = self._replies if isinstance(self._replies, Mapping) else {}
        return Fingerprint(
            name=self.options.name or Path(self.options.model).stem,
            source=self.options.model,
            engine=self.name,
            weights_hash=content_hash("script", dict(written), self._errors),
        )

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Reply to each request, in the order given.

        A token is a white-space-separated word; a reply longer than `max_tokens` words is cut, and one that holds a
        stop string ends before it.

        Raises
        ------
        ModelError
            The engine is closed.
        EndpointError
            `fail_after` replies have been given.
        """
        self._check_open()
        return self._generate(requests)

    def loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        """Give the written log-probability of each request; an error if none is written.

        Raises
        ------
        ModelError
            The engine is closed.
        EndpointError
            `fail_after` replies have been given.
        """
        self._check_open()
        return self._loglikelihood(requests)

    def _generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        for request in requests:
            self._before_reply()
            self.requests.append(request)
            yield self._reply(request)

    def _loglikelihood(self, requests: Sequence[LogLikelihoodRequest]) -> Iterator[LogLikelihood]:
        for request in requests:
            self._before_reply()
            n_tokens = len(request.continuation_ids or request.continuation.split())
            error = _first(self._errors, (request.request_id, request.continuation)) or ""
            logprobs = self.options.logprobs
            if callable(logprobs):
                logprob: float | None = logprobs(request)
            else:
                logprob = _first(logprobs or {}, (request.request_id, request.continuation))
            if not error and logprob is None:
                error = f"no log-probability is written for {request.continuation!r}"
            yield LogLikelihood(request.request_id, None if error else logprob, None, n_tokens, error)

    def _reply(self, request: GenerationRequest) -> Generation:
        whole = request.text if request.text is not None else "\n".join(m.content for m in request.messages)
        sampling = request.sampling
        seed = sampling.seed if sampling.temperature > 0 else None
        n_prompt_tokens = len(whole.split())
        text, error = self._written(request)
        if error:
            return Generation(request.request_id, "", "error", n_prompt_tokens, seed=seed, error=error)
        cut = cut_at_stop(text, sampling.stop)
        text = text if cut is None else cut
        words = text.split()
        too_long = len(words) > sampling.max_tokens
        written = " ".join(words[: sampling.max_tokens]) if too_long else text
        parted = part_reasoning(written, DEFAULT_TAGS if request.text is None and request.part_reasoning else ())
        n_tokens = min(len(words), sampling.max_tokens)
        return Generation(
            request.request_id,
            parted.answer,
            "length" if too_long or parted.cut else "stop",
            n_prompt_tokens=n_prompt_tokens,
            n_tokens=n_tokens,
            seed=seed,
            reasoning=parted.reasoning,
            n_reasoning_tokens=n_tokens - len(parted.answer.split()) if parted.reasoning else None,
        )

    def _written(self, request: GenerationRequest) -> tuple[str, str]:
        """Look up the reply to a request or, if there is none, the reason."""
        prompt = request.text if request.text is not None else request.messages[-1].content
        error = _first(self._errors, (request.request_id, prompt))
        if error is not None:
            return "", error
        if callable(self._replies):
            return self._replies(request), ""
        text = _first(self._replies or {}, (request.request_id, prompt, DEFAULT_REPLY))
        return ("", f"no reply is written for {prompt[:80]!r}") if text is None else (text, "")

    def _before_reply(self) -> None:
        self._check_open()
        if self.options.fail_after is not None and self._n_answered >= self.options.fail_after:
            raise EndpointError(
                f"the scripted engine fails after {self.options.fail_after} replies, as it was told to",
                remedy="resume the run",
            )
        self._n_answered += 1
        if self.options.delay_s:
            time.sleep(self.options.delay_s)


def _first(written: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Look up the first key that is there; None if there is none."""
    return next((written[key] for key in keys if key in written), None)


def _read_replies(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Read a file of replies into (replies, errors), both by prompt."""
    found: dict[str, dict[str, str]] = {"reply": {}, "error": {}}
    for row in each_row(path):
        kinds = [kind for kind in found if kind in row.values]
        if len(kinds) != 1:
            raise row.error("no reply and no error, or both", '{"prompt": TEXT, "reply": TEXT} or "error" for "reply"')
        found[kinds[0]][row.text("prompt")] = row.text(kinds[0])
    return found["reply"], found["error"]
