"""Sample answers to prompts, half at each of two temperatures; each answer is stored immediately."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from harness import registry
from harness.engines.base import Engine, Generation, GenerationRequest
from harness.errors import ModelError
from harness.hashing import content_hash
from harness.messages import Message, Sampling
from harness.store.align_directory import Sample, read_samples
from harness.store.jsonl import JsonlAppender
from training.align.prompts import shard
from training.data.records import PromptItem, plain_messages


@dataclass(frozen=True, slots=True)
class Drawing:
    """How answers are sampled.

    Parameters
    ----------
    responses : int
        Answers per prompt.
    temperatures : tuple of float
        One temperature, or two for one half of the answers each.
    max_tokens : int
        Token limit of an answer.
    seed : int
        Each answer has a random stream derived from this seed, the prompt and the answer's number.
    """

    responses: int
    temperatures: tuple[float, ...]
    max_tokens: int
    seed: int

    def temperature(self, sample: int) -> float:
        """Temperature of the answer with this number."""
        return self.temperatures[sample * len(self.temperatures) // self.responses]


def requests_for(
    prompts: Sequence[PromptItem], drawing: Drawing, there: set[tuple[str, int]] | None = None
) -> dict[str, tuple[PromptItem, int, GenerationRequest]]:
    """Make the requests that have no answer yet, by request id.

    Parameters
    ----------
    prompts : sequence of PromptItem
        The prompts.
    drawing : Drawing
        How answers are sampled.
    there : set of (prompt key, number), optional
        Answers stored already.
    """
    found = {}
    for prompt in prompts:
        for sample in range(drawing.responses):
            if there is not None and (prompt.key, sample) in there:
                continue
            sampling = Sampling(
                temperature=drawing.temperature(sample),
                max_tokens=drawing.max_tokens,
                seed=int(content_hash("sample", drawing.seed, prompt.key, sample)[:8], 16),
            )
            name = f"{prompt.key}:{sample}"
            found[name] = (
                prompt,
                sample,
                GenerationRequest(name, tuple(prompt.messages), sampling, part_reasoning=False),
            )
    return found


def load_engine(engine: str, model: str, options: dict[str, Any]) -> Engine:
    """Load a checkpoint in a registered engine."""
    return cast(Engine, registry.make("engine", engine, {"model": model, "name": model, **options}))


def draw(
    prompts: Sequence[PromptItem],
    drawing: Drawing,
    out: Path,
    load: Callable[[], Engine],
    *,
    worker: int = 0,
    n_workers: int = 1,
) -> None:
    """Sample the missing answers into ``samples.jsonl`` (``samples-K.jsonl`` for worker K of several).

    Parameters
    ----------
    prompts : sequence of PromptItem
        All prompts; a worker takes its share.
    drawing : Drawing
        How answers are sampled.
    out : Path
        The stage's directory.
    load : callable
        Loads the engine; not called if no answer is missing.
    worker, n_workers : int
        The worker's number, and how many there are.

    Raises
    ------
    ModelError
        The engine returned neither an answer nor an error for a request.
    """
    out.mkdir(parents=True, exist_ok=True)
    there = {(s.prompt_key, s.sample) for s in read_samples(out) if s.finish != "error"}
    waiting = requests_for(shard(prompts, worker, n_workers), drawing, there)
    if not waiting:
        return
    name = "samples.jsonl" if n_workers == 1 else f"samples-{worker}.jsonl"
    with JsonlAppender(out / name) as file, closing(load()) as engine:
        open_requests = dict(waiting)
        for generation in engine.generate([request for _, _, request in waiting.values()]):
            prompt, sample, request = open_requests.pop(generation.request_id)
            file.append(_sample(prompt, sample, request, generation).model_dump_json(exclude_none=True))
        if open_requests:
            raise ModelError(f"the engine gave no answer to {len(open_requests)} of {len(waiting)} requests")


def _sample(prompt: PromptItem, number: int, request: GenerationRequest, generation: Generation) -> Sample:
    text = generation.text.strip()
    return Sample(
        prompt_key=prompt.key,
        prompt=plain_messages(prompt.messages),
        sample=number,
        temperature=request.sampling.temperature,
        response=text,
        drawn=generation.text if generation.text != text else None,
        finish=generation.finish,
        n_tokens=generation.n_tokens,
        n_chars=len(text),
        seed=generation.seed,
        error=generation.error,
    )


def prompt_of(sample: Sample) -> tuple[Message, ...]:
    """The conversation before the answer."""
    return tuple(Message(m["role"], m["content"]) for m in sample.prompt)


def messages_of(sample: Sample) -> tuple[Message, ...]:
    """The conversation with the answer."""
    return (*prompt_of(sample), Message("assistant", sample.response))
