"""Decoding many requests at once: rows leave the batch as they finish and waiting prompts take their places.

The usual way, a batch of n prompts decoded until its longest reply is done, computes mostly padding when replies differ
in length. Here a row that is done leaves; when enough places are free the next prompts are run through the model in one
go and join (continuous batching; Yu et al. 2022, "Orca: A distributed serving system for transformer-based
generative models"). Prompts come longest first, so that rows of like length share a batch and a lack of memory shows at
once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.engines.hf.decode_job import DecodeJob
from harness.engines.hf.model_loading import LoadedModel
from harness.engines.hf.slot_cache import SlotCache
from harness.engines.hf.token_sampling import choose_tokens
from harness.errors import ModelError

__all__ = [
    "MODEL_FAULTS",
    "NOT_NUMBERS",
    "BatchLimits",
    "ContinuousDecoder",
    "describe_fault",
    "free_memory",
    "model_fault",
    "prefill_parts",
]

_LOG = logging.getLogger(__name__)
# A place that falls free is refilled with others once this share of the batch is: a prompt run on its own costs
# nearly a whole step, an idle row next to nothing.
_REFILL_SHARE = 8
# Prompts of unlike length run through the model in several passes once their padding would cost more than a pass does:
# on a CPU a pass is worth about so many tokens, on a GPU thousands.
_PADDING_WORTH_A_PASS = {"cpu": 128}
NOT_NUMBERS = "the model's logits are not numbers (overflow in {dtype}?)"
MODEL_FAULTS = (RuntimeError, ValueError, IndexError, TypeError, KeyError, NotImplementedError)
"""What a forward pass may raise because of one of its rows."""


@dataclass(slots=True)
class BatchLimits:
    """How much may be in a batch; halved when memory runs out.

    Parameters
    ----------
    max_tokens : int
        Rows times the longest prompt plus reply among them.
    max_rows : int
        Rows.
    """

    max_tokens: int
    max_rows: int

    def rows(self, tokens_per_row: int) -> int:
        """Compute how many rows of a length fit; one always does."""
        return max(1, min(self.max_rows, self.max_tokens // tokens_per_row))

    def halve(self, n_rows: int, tokens_per_row: int) -> None:
        """Allow half of what has just proved too much."""
        self.max_tokens = max(1, min(self.max_tokens, n_rows * tokens_per_row) // 2)
        self.max_rows = max(1, min(self.max_rows, n_rows) // 2) if n_rows > 1 else self.max_rows


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
        self._entering: deque[list[DecodeJob]] = deque()  # what is run through the model together; the first is next
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
            fault: Exception | None = None
            try:
                self._advance(waiting, limits)
            except MODEL_FAULTS as error:
                fault = error.with_traceback(None)  # a traceback would keep the batch's tensors alive
            prefilling = self._entering[0] if self._entering else []
            for job in [job for job in (*self._rows, *prefilling) if job.done and not job.taken]:
                job.taken = True
                yield job
            if fault is not None:
                yield from self._recover(fault, waiting, limits, suspects)

    def _recover(
        self, fault: Exception, waiting: deque[DecodeJob], limits: BatchLimits, suspects: deque[DecodeJob] | None
    ) -> Iterator[DecodeJob]:
        """Put the jobs of a failed forward pass back, or end the one that fails even alone."""
        decoding = [job for job in self._rows if not job.done]
        entering = [[job for job in part if not job.done] for part in self._entering]
        at_fault = entering[0] if entering else decoding
        others = [job for part in entering[1:] for job in part] + (decoding if entering else [])
        _LOG.warning("a batch of %d failed, trying again in parts: %s", len(at_fault), describe_fault(fault))
        self._leave_all()  # the fault may have struck in the middle of a change to the cache
        if isinstance(fault, torch.AcceleratorError):
            raise model_fault(fault)
        if isinstance(fault, torch.OutOfMemoryError):
            free_memory(self._loaded.device)
            everyone = at_fault + others
            if len(everyone) > 1:
                limits.halve(len(everyone), max(job.reserved for job in everyone))
                waiting.extendleft(sorted(everyone, key=_longest_first, reverse=True))
                return
        waiting.extendleft(sorted(others, key=_longest_first, reverse=True))
        if suspects is not None and len(at_fault) > 1 and not isinstance(fault, torch.OutOfMemoryError):
            suspects.extend(at_fault)
            return
        for job in at_fault:
            job.fail(describe_fault(fault))
            job.taken = True
            yield job

    def _advance(self, waiting: deque[DecodeJob], limits: BatchLimits) -> None:
        """Let finished rows go and new ones in, then decode one token for every row."""
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
        """Take as many waiting jobs as fit, once that is worth a forward pass of its own."""
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
        """Run prompts through the model, choose their first tokens, and let them join the batch."""
        from transformers.cache_utils import DynamicCache

        # Several samples of one prompt are one row until here, and several in the batch.
        number: dict[tuple[int, ...], int] = {}
        prompts = [tuple(job.input_ids()) for job in jobs]
        parents = [number.setdefault(prompt, len(number)) for prompt in prompts]
        longest = max(len(prompt) for prompt in number)
        device = self._loaded.device
        ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in number], device=device)
        starts = torch.tensor([longest - len(prompt) for prompt in number], device=device).unsqueeze(1)
        columns = torch.arange(longest, device=device)
        cache = DynamicCache()  # without a config no layer drops what is beyond a sliding window
        logits = self._forward(
            cache,
            input_ids=ids,
            attention_mask=(columns >= starts).long(),
            position_ids=(columns - starts).clamp(min=0),
            **self._keeps_logits,
        )
        if len(number) < len(jobs):
            logits = logits[torch.tensor(parents, device=logits.device)]
            cache.batch_select_indices(torch.tensor(parents, device=device))
        self._choose(jobs, logits)
        self._cache.append(cache, [len(prompt) for prompt in prompts])

    @torch.inference_mode()
    def _step(self) -> None:
        """Decode one token for every row; rows that are done ride along until enough of them are."""
        cache, jobs = self._cache, self._rows
        cache.trim([row for row, job in enumerate(jobs) if not job.done])
        cache.make_room_for_step()
        first, end = cache.window.first, cache.window.end
        ids = torch.tensor([[job.token_ids[-1]] for job in jobs], device=self._loaded.device)
        starts = torch.tensor(cache.starts, device=ids.device).unsqueeze(1)
        positions = end - starts
        if self._loaded.context_length is not None:  # a row that is done may have used up the context
            positions = positions.clamp(max=self._loaded.context_length - 1)
        logits = self._forward(
            cache,
            input_ids=ids,
            attention_mask=(torch.arange(first, end + 1, device=ids.device) >= starts).long(),
            position_ids=positions,
        )
        cache.advance()
        self._choose(jobs, logits)

    def _forward(self, cache: Any, **inputs: Any) -> torch.Tensor:
        """Run the model; logits of the last position, [rows, vocabulary]."""
        output = self._loaded.model(past_key_values=cache, use_cache=True, **inputs)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _choose(self, jobs: list[DecodeJob], logits: torch.Tensor) -> None:
        chosen = choose_tokens(logits, [job.sampling for job in jobs], [len(job.token_ids) for job in jobs])
        for job, token_id, valid in zip(jobs, chosen.token_ids, chosen.valid, strict=True):
            if job.done:
                continue
            if valid:
                job.push(token_id)
            else:
                job.fail(NOT_NUMBERS.format(dtype=self._loaded.dtype))

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
        Tokens a part may have, padding counted; a longer prompt is a part of its own.

    Returns
    -------
    list of list of DecodeJob
        Every job once; jobs with the same tokens stand side by side.
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


def describe_fault(error: Exception) -> str:
    """Name an exception and its message."""
    return f"{type(error).__name__}: {error}"


def model_fault(error: Exception) -> ModelError:
    """Build the error for a device that can do nothing more."""
    return ModelError(
        f"the device has failed: {describe_fault(error)}",
        remedy="run again; what is finished is kept. CUDA_LAUNCH_BLOCKING=1 shows which operation fails",
    )


def free_memory(device: torch.device) -> None:
    """Give cached blocks back after an out-of-memory error."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _longest_first(job: DecodeJob) -> int:
    return -len(job.prompt_ids)
