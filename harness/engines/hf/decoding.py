"""Decoding many requests at once: rows leave the batch as they finish and waiting prompts take their places.

A batch that is decoded until its longest reply is done computes mostly padding when replies differ in length. Here a
finished row leaves, and once enough places are free the next prompts are run through the model together and join
(continuous batching; Yu et al. 2022, "Orca: A distributed serving system for transformer-based generative models").
Prompts are started longest first, so that rows of similar length share a batch and a lack of memory shows at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from harness.engines.hf.batches import BatchLimits, acknowledge, attempt, describe_fault, left_padded
from harness.engines.hf.decode_job import DecodeJob, push_chosen
from harness.engines.hf.model_loading import LoadedModel
from harness.engines.hf.slot_cache import SlotCache

# Free places are refilled together, once one eighth of the batch is free: a prompt run on its own costs nearly a whole
# step, an idle row almost nothing.
_REFILL_SHARE = 8
# Prompts of different lengths are run in several passes once their padding would cost more than a pass does: on a CPU a
# pass costs about as much as this many tokens, on a GPU as thousands.
_PADDING_WORTH_A_PASS = {"cpu": 128}


class ContinuousDecoder:
    """Decodes jobs with one model whose cache rows can be moved (`LoadedModel.merges_rows`).

    Parameters
    ----------
    loaded : LoadedModel
        The model.
    limits : BatchLimits
        Size of the batch; shrinks when memory runs out.
    """

    def __init__(self, loaded: LoadedModel, limits: BatchLimits) -> None:
        self._loaded = loaded
        self._limits = limits
        self._cache = SlotCache()
        self._rows: list[DecodeJob] = []
        self._entering: deque[list[DecodeJob]] = (
            deque()
        )  # groups that are run through the model together; the first is next
        self._keeps_logits = {"logits_to_keep": 1} if "logits_to_keep" in loaded.forward_parameters else {}

    def run(self, jobs: Sequence[DecodeJob]) -> Iterator[DecodeJob]:
        """Decode jobs, yielding each as it is done.

        A job that makes the model fail is retried alone, so that only the one at fault ends in an error.

        Parameters
        ----------
        jobs : sequence of DecodeJob
            None of them done.

        Yields
        ------
        DecodeJob
            With `finish` set.

        Raises
        ------
        ModelError
            The device itself has failed.
        """
        alone: deque[DecodeJob] = deque()
        try:
            yield from self._drain(deque(sorted(jobs, key=_longest_first)), self._limits, alone)
            yield from self._drain(alone, BatchLimits(self._limits.max_tokens, 1), None)
        finally:
            self._leave_all()

    def _drain(
        self, waiting: deque[DecodeJob], limits: BatchLimits, suspects: deque[DecodeJob] | None
    ) -> Iterator[DecodeJob]:
        while waiting or self._rows:
            fault = attempt(lambda: self._advance(waiting, limits))
            prefilling = self._entering[0] if self._entering else []
            for job in [job for job in (*self._rows, *prefilling) if job.done and not job.taken]:
                job.taken = True
                yield job
            if fault is not None:
                yield from self._recover(fault, waiting, limits, suspects)

    def _recover(
        self, fault: Exception, waiting: deque[DecodeJob], limits: BatchLimits, suspects: deque[DecodeJob] | None
    ) -> Iterator[DecodeJob]:
        """Requeue the jobs of a failed forward pass, or end a job that fails alone."""
        at_fault, others = self._interrupted()
        self._leave_all()  # the cache may be inconsistent after the fault
        acknowledge(fault, len(at_fault), self._loaded.device)
        out_of_memory = isinstance(fault, torch.OutOfMemoryError)
        if out_of_memory and len(at_fault) + len(others) > 1:
            everyone = at_fault + others
            limits.halve(len(everyone), max(job.reserved for job in everyone))
            _put_back(waiting, everyone)
            return
        _put_back(waiting, others)
        if suspects is not None and len(at_fault) > 1 and not out_of_memory:
            suspects.extend(at_fault)
            return
        for job in at_fault:
            job.fail(describe_fault(fault))
            job.taken = True
            yield job

    def _interrupted(self) -> tuple[list[DecodeJob], list[DecodeJob]]:
        """List the unfinished jobs of the pass that failed, and the unfinished others."""
        decoding = [job for job in self._rows if not job.done]
        entering = [[job for job in part if not job.done] for part in self._entering]
        if not entering:
            return decoding, []
        return entering[0], [job for part in entering[1:] for job in part] + decoding

    def _advance(self, waiting: deque[DecodeJob], limits: BatchLimits) -> None:
        """Remove finished rows, add new ones, then decode one token for every row."""
        n_done = sum(job.done for job in self._rows)
        if n_done and n_done * _REFILL_SHARE >= len(self._rows):
            self._drop_done()
        allowed_padding = _PADDING_WORTH_A_PASS.get(self._loaded.device.type, 4096)
        new = self._next_jobs(waiting, limits)
        self._entering.extend(prefill_parts(new, allowed_padding, self._loaded.pass_tokens))
        while self._entering:
            self._prefill(self._entering[0])
            self._rows += self._entering.popleft()
        if any(not job.done for job in self._rows):
            self._step()

    def _next_jobs(self, waiting: deque[DecodeJob], limits: BatchLimits) -> list[DecodeJob]:
        """Take as many waiting jobs as fit, if they justify a forward pass of their own."""
        if not waiting:
            return []
        widest = max([job.reserved for job in self._rows], default=0)
        n_free = 0
        for job in waiting:
            widest = max(widest, job.reserved)
            if len(self._rows) + n_free + 1 > limits.rows(widest):
                break
            n_free += 1
        enough = min(len(waiting), max(1, (len(self._rows) + n_free) // _REFILL_SHARE))
        if self._rows and n_free < enough:
            return []
        return [waiting.popleft() for _ in range(n_free)]

    @torch.inference_mode()
    def _prefill(self, jobs: list[DecodeJob]) -> None:
        """Run prompts through the model, choose their first tokens, and add them to the batch."""
        from transformers.cache_utils import DynamicCache

        # Several samples of one prompt share a row until their first token is chosen.
        number: dict[tuple[int, ...], int] = {}
        prompts = [tuple(job.input_ids()) for job in jobs]
        parents = [number.setdefault(prompt, len(number)) for prompt in prompts]
        device = self._loaded.device
        cache = DynamicCache()  # without a config, no layer drops tokens beyond a sliding window
        logits = self._forward(cache, **left_padded(list(number), device), **self._keeps_logits)
        if len(number) < len(jobs):
            logits = logits[torch.tensor(parents, device=logits.device)]
            cache.batch_select_indices(torch.tensor(parents, device=device))
        push_chosen(jobs, logits, self._loaded.dtype)
        self._cache.append(cache, [len(prompt) for prompt in prompts])

    @torch.inference_mode()
    def _step(self) -> None:
        """Decode one token for every row; finished rows stay until enough of them can be removed."""
        cache, jobs = self._cache, self._rows
        cache.trim([row for row, job in enumerate(jobs) if not job.done])
        cache.make_room_for_step()
        first, end = cache.window.first, cache.window.end
        ids = torch.tensor([[job.token_ids[-1]] for job in jobs], device=self._loaded.device)
        starts = torch.tensor(cache.starts, device=ids.device).unsqueeze(1)
        positions = end - starts
        if self._loaded.context_length is not None:  # a finished row may have used up the context
            positions = positions.clamp(max=self._loaded.context_length - 1)
        logits = self._forward(
            cache,
            input_ids=ids,
            attention_mask=(torch.arange(first, end + 1, device=ids.device) >= starts).long(),
            position_ids=positions,
        )
        cache.advance()
        push_chosen(jobs, logits, self._loaded.dtype)

    def _forward(self, cache: Any, **inputs: Any) -> torch.Tensor:
        """Run the model; logits of the last position, [rows, vocabulary]."""
        output = self._loaded.model(past_key_values=cache, use_cache=True, **inputs)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    @torch.inference_mode()
    def _drop_done(self) -> None:
        order = self._cache.keep([not job.done for job in self._rows])
        self._rows = [self._rows[row] for row in order]

    def _leave_all(self) -> None:
        self._rows = []
        self._entering.clear()
        self._cache.clear()


def prefill_parts(jobs: Sequence[DecodeJob], allowed_padding: int, max_tokens: int) -> list[list[DecodeJob]]:
    """Split jobs into parts to be run through the model together, longest prompts first.

    Parameters
    ----------
    jobs : sequence of DecodeJob
        In any order.
    allowed_padding : int
        Padding tokens a part may have.
    max_tokens : int
        Tokens a part may have, including padding; a longer prompt is a part of its own.

    Returns
    -------
    list of list of DecodeJob
        Every job once; jobs with the same tokens are adjacent.
    """
    parts: list[list[DecodeJob]] = []
    padding = longest = 0
    for job in sorted(jobs, key=lambda job: (-len(job.input_ids()), job.input_ids())):
        length = len(job.input_ids())
        padding += longest - length
        if not parts or padding > allowed_padding or longest * (len(parts[-1]) + 1) > max_tokens:
            parts.append([])
            longest, padding = length, 0
        parts[-1].append(job)
    return parts


def _longest_first(job: DecodeJob) -> int:
    return -len(job.prompt_ids)


def _put_back(waiting: deque[DecodeJob], jobs: Sequence[DecodeJob]) -> None:
    waiting.extendleft(sorted(jobs, key=_longest_first, reverse=True))
