"""Requests in flight inside vLLM: added as room allows, removed as each finishes.

``vllm.LLM.generate`` returns nothing before the last request is done. A run needs each answer as soon as it is
finished, so that it can be stored and judged while others are still being decoded; therefore the inner engine is
stepped here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.errors import ModelError

Request = TypeVar("Request")
Result = TypeVar("Result")

_QUEUE_FACTOR = 4
"""Requests handed over per decoding slot: enough that none stays idle, few enough to abort quickly."""


@dataclass(frozen=True, slots=True)
class Job:
    """What vLLM is given for a request."""

    token_ids: list[int]
    params: Any


class RequestPool:
    """Adds requests to vLLM and steps it.

    Several iterators may use it in turn: a result that finishes while another one is waiting is kept for its owner.

    Parameters
    ----------
    engine : vllm.v1.engine.llm_engine.LLMEngine
        A started engine.
    max_num_seqs : int
        Requests it decodes together.
    lora : vllm.lora.request.LoRARequest or None
        Goes with every request.
    """

    def __init__(self, engine: Any, max_num_seqs: int, lora: Any) -> None:
        self._engine: Any = engine
        self._limit = _QUEUE_FACTOR * max_num_seqs
        self._lora = lora
        self._keys = itertools.count()
        self._finished: dict[str, Any] = {}
        self._owned: set[str] = set()

    def run(
        self,
        requests: Iterable[Request],
        prepare: Callable[[Request], Job | Result],
        finish: Callable[[Request, Any], Result],
        refuse: Callable[[Request, str], Result],
    ) -> Iterator[Result]:
        """Serve requests, yielding each result as soon as it is finished.

        If the iterator is closed early, unfinished requests are aborted.

        Parameters
        ----------
        requests : iterable
            Consumed only as room allows.
        prepare : callable
            Makes the job of a request, or its result if there is nothing to run.
        finish : callable
            Makes the result from a request and vLLM's output.
        refuse : callable
            Makes the result from a request vLLM does not accept and the reason.

        Raises
        ------
        ModelError
            vLLM itself fails.
        """
        from vllm.exceptions import VLLMClientError

        waiting = iter(requests)
        inside: dict[str, Request] = {}
        try:
            exhausted = False
            while inside or not exhausted:
                while not exhausted and len(inside) < self._limit:
                    request = next(waiting, None)
                    if request is None:
                        exhausted = True
                        break
                    job = prepare(request)
                    if not isinstance(job, Job):
                        yield job
                        continue
                    try:
                        key = self._submit(job)
                    except (VLLMClientError, ValueError) as error:  # vLLM rejected the request and is still usable
                        yield refuse(request, str(error))
                        continue
                    inside[key] = request
                for key in self._wait(inside):
                    output = self._finished.pop(key)
                    self._owned.discard(key)
                    yield finish(inside.pop(key), output)
        finally:
            self._abort(inside)

    def close(self) -> None:
        """Release vLLM; iterators that are still open raise on their next use."""
        self._engine = None

    def _submit(self, job: Job) -> str:
        if self._engine is None:
            raise _closed()
        key = f"assay-{next(self._keys)}"
        prompt = {"type": "token", "prompt_token_ids": job.token_ids}
        self._engine.add_request(key, prompt, job.params, lora_request=self._lora)
        self._owned.add(key)
        return key

    def _wait(self, inside: dict[str, Any]) -> list[str]:
        """Step until one of these requests is finished; return the keys of all that are."""
        while inside:
            done = [key for key in inside if key in self._finished]
            if done:
                return done
            if self._engine is None:
                raise _closed()
            if not self._engine.has_unfinished_requests():
                raise ModelError(
                    f"vLLM lost {len(inside)} requests: it reports that nothing is left to do",
                    "an output for every request",
                    "run again with `assay resume`; if it happens again report it with vLLM's log",
                )
            for output in self._step():
                if output.finished and output.request_id in self._owned:
                    self._finished[output.request_id] = output
        return []

    def _step(self) -> list[Any]:
        from vllm.exceptions import VLLMError

        try:
            outputs: list[Any] = self._engine.step()
        except (RuntimeError, ValueError, AssertionError, VLLMError) as error:
            reason = str(error).strip() or type(error).__name__
            raise ModelError(
                f"vLLM failed while it was running: {reason}",
                remedy="see its own message above; what was generated is kept; resume with `assay resume`",
            ) from error
        return outputs

    def _abort(self, inside: dict[str, Any]) -> None:
        running = [key for key in inside if key not in self._finished]
        for key in inside:
            self._finished.pop(key, None)
            self._owned.discard(key)
        if running and self._engine is not None:
            self._engine.abort_request(running)


def _closed() -> ModelError:
    return ModelError("the vLLM engine was closed while requests were in flight", remedy="make another")
