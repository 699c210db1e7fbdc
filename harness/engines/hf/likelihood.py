"""Log-probabilities of continuations, with as little computation as possible.

Compared with running context + continuation of every request through the whole model, three things are saved:

- the vocabulary projection, most of the work of a small model, is applied at the scored positions only;
- requests with one context and one-token continuations (multiple choice by letter) are one row;
- requests that share a longer context (multiple choice by text) run it once and branch off its key-value cache.

Rows are padded on the right, which a causal model does not see.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.engines.hf.batches import BatchLimits, halves, left_padded, run_in_parts
from harness.engines.hf.boundary import TokenPair
from harness.engines.hf.model_loading import LoadedModel

# A second forward pass for the branches costs a launch; a shorter context is cheaper to repeat.
_MIN_SHARED_CONTEXT = 16
# Elements of the float32 logits held at once: 512 MiB on a GPU, on a CPU about the size of its cache.
_MAX_LOGITS = {"cpu": 2**22}
_MAX_LOGITS_ELSEWHERE = 2**27


@dataclass(slots=True)
class LikelihoodJob:
    """A tokenised request and its result.

    Parameters
    ----------
    request_id : str
        The caller's name for it.
    pair : TokenPair
        Context and continuation.
    logprob : float or None
        Sum of the continuation's log-probabilities, nats.
    is_greedy : bool or None
        Whether each of its tokens is the arg max.
    error : str
        Why there is no value.
    """

    request_id: str
    pair: TokenPair
    logprob: float | None = None
    is_greedy: bool | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """One context and the continuations scored after it.

    Either all continuations have one token, or there is only one, or they branch off the context's cache.
    """

    context_ids: tuple[int, ...]
    jobs: tuple[LikelihoodJob, ...]

    @property
    def longest_continuation(self) -> int:
        return max(len(job.pair.continuation_ids) for job in self.jobs)

    @property
    def branches(self) -> bool:
        return len(self.jobs) > 1 and self.longest_continuation > 1

    @property
    def width(self) -> int:
        """Columns of the forward pass; the last token of a continuation is never an input."""
        return len(self.context_ids) + self.longest_continuation - 1

    @property
    def n_rows(self) -> int:
        return len(self.jobs) if self.branches else 1

    @property
    def n_scored(self) -> int:
        """Positions whose logits are needed."""
        if self.branches:
            return sum(len(job.pair.continuation_ids) for job in self.jobs)
        return self.longest_continuation


class LikelihoodScorer:
    """Scores jobs with one model.

    Parameters
    ----------
    loaded : LoadedModel
        The model.
    limits : BatchLimits
        Size of a batch; shrinks when memory runs out.
    """

    def __init__(self, loaded: LoadedModel, limits: BatchLimits) -> None:
        self._loaded = loaded
        self._limits = limits

    def run(self, jobs: Sequence[LikelihoodJob]) -> Iterator[LikelihoodJob]:
        """Score jobs, yielding each batch's as it is done.

        Yields
        ------
        LikelihoodJob
            With `logprob` and `is_greedy`, or `error`, set.

        Raises
        ------
        ModelError
            The device itself has failed.
        """
        # Batches of one kind, of similar width, so that little of a forward pass is padding.
        rows = sorted(self._rows(jobs), key=lambda row: (row.branches, -row.width, row.context_ids))
        while rows:
            batch = self._next_batch(rows)
            rows = rows[len(batch) :]
            yield from self._run_batch(batch)

    def _rows(self, jobs: Sequence[LikelihoodJob]) -> list[_Row]:
        by_context: dict[tuple[int, ...], list[LikelihoodJob]] = {}
        for job in jobs:
            by_context.setdefault(job.pair.context_ids, []).append(job)
        return [row for context_ids, sharing in by_context.items() for row in self._rows_of(context_ids, sharing)]

    def _rows_of(self, context_ids: tuple[int, ...], jobs: Sequence[LikelihoodJob]) -> list[_Row]:
        """Arrange the continuations of one context in as few rows as possible."""
        single = tuple(job for job in jobs if len(job.pair.continuation_ids) == 1)
        longer = tuple(job for job in jobs if len(job.pair.continuation_ids) > 1)
        if len(longer) > 1 and len(context_ids) >= _MIN_SHARED_CONTEXT and self._loaded.merges_rows:
            return [_Row(context_ids, single + longer)]
        first = [_Row(context_ids, single)] if single else []
        return first + [_Row(context_ids, (job,)) for job in longer]

    def _next_batch(self, rows: Sequence[_Row]) -> list[_Row]:
        """Take the rows that fit into one forward pass; at least one."""
        batch: list[_Row] = []
        n_rows = n_scored = 0
        contexts = continuations = 0
        limit = self._loaded.context_length
        max_logits = _MAX_LOGITS.get(self._loaded.device.type, _MAX_LOGITS_ELSEWHERE)
        for row in rows:
            contexts = max(contexts, len(row.context_ids))
            continuations = max(continuations, row.longest_continuation)
            n_rows += row.n_rows
            n_scored += row.n_scored
            # Branches of different contexts are as wide as the longest context plus the longest continuation.
            width = contexts + continuations - 1 if row.branches else max(r.width for r in (rows[0], row))
            full = (
                n_rows > self._limits.rows(width)
                or n_rows * width > self._loaded.pass_tokens
                or n_scored * self._loaded.n_embeddings > max_logits
            )
            if batch and (full or row.branches != batch[0].branches or (limit is not None and width > limit)):
                break
            batch.append(row)
        return batch

    def _run_batch(self, batch: Sequence[_Row]) -> Iterator[LikelihoodJob]:
        parts = run_in_parts(batch, self._score, self._limits, self._loaded.device, _shape, _parts)
        for rows, error in parts:
            for job in (job for row in rows for job in row.jobs):
                job.error = job.error or error
                yield job

    def _score(self, batch: Sequence[_Row]) -> None:
        if batch[0].branches:
            self._score_branches(batch)
        else:
            self._score_flat(batch)

    @torch.inference_mode()
    def _score_flat(self, batch: Sequence[_Row]) -> None:
        """Run whole rows: the context and all but the last token of its longest continuation."""
        inputs = [[*row.context_ids, *row.jobs[0].pair.continuation_ids[:-1]] for row in batch]
        width = max(len(ids) for ids in inputs)
        places = [
            at * width + len(row.context_ids) - 1 + step
            for at, row in enumerate(batch)
            for step in range(row.longest_continuation)
        ]
        logits = self._logits(places, input_ids=self._pad_right(inputs, width), use_cache=False)
        first = 0
        scored: list[tuple[LikelihoodJob, list[int]]] = []
        for row in batch:
            for job in row.jobs:
                scored.append((job, list(range(first, first + len(job.pair.continuation_ids)))))
            first += row.longest_continuation
        _record(scored, logits, self._loaded.dtype)

    @torch.inference_mode()
    def _score_branches(self, batch: Sequence[_Row]) -> None:
        """Run each context once, then all continuations on copies of its cache."""
        cache, starts, first_logits = self._run_contexts([row.context_ids for row in batch])
        branches = [(at, job) for at, row in enumerate(batch) for job in row.jobs if len(job.pair.continuation_ids) > 1]
        parents = torch.tensor([at for at, _ in branches], device=self._loaded.device)
        cache.batch_select_indices(parents)
        inputs = [job.pair.continuation_ids[:-1] for _, job in branches]
        logits = self._run_continuations(inputs, cache, starts[parents])
        # Every job's first token is scored by its context's last logits, the others by its own branch's.
        places = {id(job): [at] for at, row in enumerate(batch) for job in row.jobs}
        place = len(batch)
        for (_, job), ids in zip(branches, inputs, strict=True):
            places[id(job)] += range(place, place + len(ids))
            place += len(ids)
        scored = [(job, places[id(job)]) for row in batch for job in row.jobs]
        _record(scored, torch.cat([first_logits, logits]), self._loaded.dtype)

    def _run_contexts(self, contexts: Sequence[Sequence[int]]) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Run contexts, padded on the left; their cache, their first columns [rows, 1], and their last logits."""
        from transformers.cache_utils import DynamicCache

        device = self._loaded.device
        width = max(len(ids) for ids in contexts)
        starts = torch.tensor([width - len(ids) for ids in contexts], device=device).unsqueeze(1)
        cache = DynamicCache()
        logits = self._logits(
            [at * width + width - 1 for at in range(len(contexts))],
            **left_padded(contexts, device),
            past_key_values=cache,
            use_cache=True,
        )
        return cache, starts, logits

    def _run_continuations(self, inputs: Sequence[Sequence[int]], cache: Any, starts: torch.Tensor) -> torch.Tensor:
        """Run continuations on their contexts' cache; the logits of all their tokens, one after the other."""
        width = int(cache.get_seq_length())
        n_steps = max(len(ids) for ids in inputs)
        columns = torch.arange(width + n_steps, device=self._loaded.device)
        return self._logits(
            [at * n_steps + step for at, ids in enumerate(inputs) for step in range(len(ids))],
            input_ids=self._pad_right(inputs, n_steps),
            attention_mask=(columns >= starts).long(),
            position_ids=columns[width:] - starts,
            past_key_values=cache,
            use_cache=True,
        )

    def _pad_right(self, inputs: Sequence[Sequence[int]], width: int) -> torch.Tensor:
        return torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in inputs], device=self._loaded.device)

    def _logits(self, places: Sequence[int], **inputs: Any) -> torch.Tensor:
        """Run the model and project only the positions asked for; [places, vocabulary], float32.

        `places` index the flattened [rows, columns] of `input_ids`.
        """
        model = self._loaded.model
        index = torch.tensor(places, device=self._loaded.device)
        with _projecting_only(model, index) as projected:
            logits = model(**inputs).logits
        if projected():
            return logits[0].float()  # type: ignore[no-any-return]
        flat = logits.reshape(-1, logits.shape[-1])
        return flat[index.to(flat.device)].float()  # type: ignore[no-any-return]


def _shape(batch: Sequence[_Row]) -> tuple[int, int]:
    return sum(row.n_rows for row in batch), max(row.width for row in batch)


def _parts(batch: Sequence[_Row]) -> list[Sequence[_Row]]:
    """Split a batch in two, and a row of several continuations into rows of one."""
    if len(batch) == 1 and len(batch[0].jobs) > 1:
        batch = [_Row(job.pair.context_ids, (job,)) for job in batch[0].jobs]
    return halves(batch)


@contextlib.contextmanager
def _projecting_only(model: Any, index: torch.Tensor) -> Iterator[Callable[[], bool]]:
    """Restrict the output embedding to some positions.

    What follows the projection in a model (soft-capping, scaling) is elementwise, so it works on [1, places,
    vocabulary] as it does on [rows, columns, vocabulary].

    Yields
    ------
    callable
        Returns afterwards whether it took effect; a model with an unusual output embedding projects all positions.
    """
    head = model.get_output_embeddings()
    happened = False

    def select(_module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal happened
        if not args or not isinstance(args[0], torch.Tensor) or args[0].dim() != 3:
            return None
        hidden = args[0]
        happened = True
        return (hidden.reshape(-1, hidden.shape[-1])[index.to(hidden.device)].unsqueeze(0), *args[1:])

    if head is None:
        yield lambda: False
        return
    handle = head.register_forward_pre_hook(select)
    try:
        yield lambda: happened
    finally:
        handle.remove()


def _record(scored: Sequence[tuple[LikelihoodJob, list[int]]], logits: torch.Tensor, dtype: str) -> None:
    """Compute each job's results from logits [places, vocabulary]."""
    rows = torch.tensor([place for _, places in scored for place in places], device=logits.device)
    targets = torch.tensor([i for job, _ in scored for i in job.pair.continuation_ids], device=logits.device)
    greedy = (logits.argmax(dim=-1)[rows] == targets).tolist()
    logprobs = (logits[rows, targets] - torch.logsumexp(logits, dim=-1)[rows]).double()
    first = 0
    values = logprobs.tolist()
    for job, places in scored:
        part = slice(first, first + len(places))
        first += len(places)
        total = sum(values[part])
        if not math.isfinite(total):
            job.error = f"the log-probability is {total} (overflow in {dtype}?)"
            continue
        job.logprob = total
        job.is_greedy = all(greedy[part])
