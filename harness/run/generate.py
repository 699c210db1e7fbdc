"""Generation of answers to conversations, in its own thread; responses are delivered as they finish."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from harness.engines.base import Engine, Generation, GenerationRequest
from harness.hashing import content_hash
from harness.messages import Message
from harness.records import Prompt, Response
from harness.run.plan import PlannedBenchmark


@dataclass
class Job:
    """A conversation in progress.

    Parameters
    ----------
    prompt : Prompt
        The prompt.
    planned : PlannedBenchmark
        Its benchmark, which gives the sampling.
    seed : int
        The run's seed.
    model_name : str
        Name of the model for records.
    sample : int
        0-based sample number.
    partial : Response or None
        The turns already answered by an earlier process.
    """

    prompt: Prompt
    planned: PlannedBenchmark
    seed: int
    model_name: str
    sample: int = 0
    partial: Response | None = None
    turns: list[str] = field(init=False)
    n_tokens: list[int | None] = field(init=False)
    reasoning: list[str] = field(init=False)
    n_reasoning_tokens: list[int | None] = field(init=False)
    cut: bool = field(init=False)
    first_seed: int | None = field(init=False)

    def __post_init__(self) -> None:
        begun = self.partial
        self.turns = list(begun.turns) if begun else []
        self.n_tokens = list(begun.n_tokens) if begun else []
        self.reasoning = [""] * len(self.turns)
        self.n_reasoning_tokens = [None] * len(self.turns)
        self.cut = begun is not None and begun.finish == "length"
        self.first_seed = begun.seed if begun else None
        if begun is not None and begun.reasoning is not None:
            self.reasoning = list(begun.reasoning)
            self.n_reasoning_tokens = list(begun.n_reasoning_tokens or ())

    @property
    def done(self) -> bool:
        """Whether every turn has been answered."""
        return len(self.turns) == len(self.prompt.turns)

    def request(self) -> GenerationRequest:
        """Return the request for the next turn."""
        messages = [Message("system", self.prompt.system)] if self.prompt.system else []
        for index, question in enumerate(self.prompt.turns[: len(self.turns) + 1]):
            messages.append(Message("user", question))
            if index < len(self.turns):
                messages.append(Message("assistant", self.turns[index]))
        sampling = self.planned.sampling(self.prompt, self.seed, len(self.turns), self.sample)
        return GenerationRequest(f"{self.prompt.id}:{self.sample}", tuple(messages), sampling)

    def take(self, generation: Generation) -> None:
        """Add the answer to a turn, stripped of surrounding whitespace, as in FastChat; its reasoning is kept apart."""
        if not self.turns:
            self.first_seed = generation.seed
        self.turns.append(generation.text.strip())
        self.n_tokens.append(generation.n_tokens)
        self.reasoning.append(generation.reasoning)
        self.n_reasoning_tokens.append(generation.n_reasoning_tokens)
        self.cut = self.cut or generation.finish == "length"

    def response(self, model_id: str, failed: Generation | None = None) -> Response:
        """Return the record of the turns so far."""
        sampling = asdict(self.planned.sampling(self.prompt, self.seed, 0))
        reasoned = any(self.reasoning)
        return Response(
            prompt_id=self.prompt.id,
            benchmark=self.prompt.benchmark,
            model=self.model_name,
            model_id=content_hash("model and sampling", model_id, {**sampling, "stop": list(sampling["stop"])}),
            sample=self.sample,
            turns=tuple(self.turns),
            finish="error" if failed else "length" if self.cut else "stop",
            n_tokens=tuple(self.n_tokens),
            seed=self.first_seed,
            error=failed.error if failed else "",
            retryable=failed.retryable if failed else True,
            reasoning=tuple(self.reasoning) if reasoned else None,
            n_reasoning_tokens=tuple(self.n_reasoning_tokens) if reasoned else None,
        )


def generate(engine: Engine, jobs: Sequence[Job]) -> Iterator[tuple[Response, bool]]:
    """Generate the answers to all conversations, all first turns before all second turns.

    Yields
    ------
    (Response, bool)
        A response and whether it is finished; an unfinished one holds the turns so far.
    """
    model_id = engine.fingerprint.model_id
    waiting = [job for job in jobs if not job.done]
    while waiting:
        by_request = {}
        for job in waiting:
            request = job.request()
            by_request[request.request_id] = (job, request)
        waiting = []
        for generation in engine.generate([request for _, request in by_request.values()]):
            job, _ = by_request[generation.request_id]
            if generation.finish == "error":
                yield job.response(model_id, failed=generation), True
                continue
            job.take(generation)
            yield job.response(model_id), job.done
            if not job.done:
                waiting.append(job)


class GenerationThread(threading.Thread):
    """Drives an engine beside the event loop.

    Parameters
    ----------
    engine : Engine
        A loaded engine.
    jobs : sequence of Job
        The conversations.
    measurements : sequence of callable
        Measurements on the engine, made after the conversations and while these are judged; each returns an iterable
        of finished responses.
    deliver : callable
        Called in this thread with (response, finished), or with (None, error or None) at the end.
    """

    def __init__(
        self,
        engine: Engine,
        jobs: Sequence[Job],
        measurements: Sequence[Callable[[], Iterable[Response]]],
        deliver: Callable[[Response | None, bool | BaseException | None], None],
    ) -> None:
        super().__init__(name="assay-generation", daemon=True)
        self._engine = engine
        self._jobs = jobs
        self._measurements = measurements
        self._deliver = deliver
        self._stop_asked = threading.Event()

    def ask_to_stop(self) -> None:
        """Stop after the generation in progress."""
        self._stop_asked.set()

    def _all(self) -> Iterator[tuple[Response, bool]]:
        yield from generate(self._engine, self._jobs)
        for measure in self._measurements:
            for response in measure():
                yield response, True

    def run(self) -> None:
        """Generate until done or asked to stop."""
        try:
            for response, finished in self._all():
                self._deliver(response, finished)
                if self._stop_asked.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - passed to the event loop, which raises it
            self._deliver(None, error)
        else:
            self._deliver(None, None)
