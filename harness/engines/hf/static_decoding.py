"""Decoding for models whose state cannot be moved between batches (recurrent, hybrid, shared-cache layers).

Transformers' own `generate` drives the model and builds its state; tokens are chosen and rows ended here. A batch holds
prompts of one length only: a recurrent layer would process padding, so a row's result would depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from harness.engines.hf.batches import BatchLimits, acknowledge, attempt, describe_fault, halves
from harness.engines.hf.decode_job import DecodeJob, push_chosen
from harness.engines.hf.model_loading import LoadedModel


class StaticDecoder:
    """Decodes jobs in fixed batches of equally long prompts.

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

    def run(self, jobs: Sequence[DecodeJob]) -> Iterator[DecodeJob]:
        """Decode jobs, yielding a batch's as it is done; otherwise as `ContinuousDecoder.run`.

        Yields
        ------
        DecodeJob
            With `finish` set.

        Raises
        ------
        ModelError
            The device itself has failed.
        """
        ordered = sorted(jobs, key=lambda job: -len(job.prompt_ids))
        for _, same_length in groupby(ordered, key=lambda job: len(job.prompt_ids)):
            waiting = list(same_length)
            while waiting:
                n_rows = self._limits.rows(max(job.reserved for job in waiting))
                batch, waiting = waiting[:n_rows], waiting[n_rows:]
                yield from self._run_batch(batch)

    def _run_batch(self, batch: Sequence[DecodeJob]) -> Iterator[DecodeJob]:
        fault = attempt(lambda: self._generate(batch))
        yield from (job for job in batch if job.done)
        if fault is not None:
            acknowledge(fault, len(batch), self._loaded.device)
        unfinished = [job for job in batch if not job.done]
        if fault is not None and len(batch) == 1:
            for job in unfinished:
                job.fail(describe_fault(fault))
                yield job
        elif unfinished:
            if isinstance(fault, torch.OutOfMemoryError):
                self._limits.halve(len(batch), max(job.reserved for job in batch))
            yield from self._run_again(unfinished)

    def _run_again(self, jobs: Sequence[DecodeJob]) -> Iterator[DecodeJob]:
        """Decode in two parts and from the start: prompts with the tokens so far would differ in length."""
        for job in jobs:
            job.restart()
        for part in halves(jobs) or [jobs]:
            yield from self._run_batch(part)

    @torch.inference_mode()
    def _generate(self, batch: Sequence[DecodeJob]) -> None:
        ids = torch.tensor([job.prompt_ids for job in batch], device=self._loaded.device)
        longest = max(job.limit for job in batch)
        model = self._loaded.model
        # The checkpoint's own configuration may hold penalties and sampling defaults, from which `generate` fills in
        # whatever the given configuration leaves unset.
        configuration: Any = GenerationConfig
        declared, model.generation_config = model.generation_config, configuration()
        try:
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=configuration(max_new_tokens=longest, do_sample=False, pad_token_id=0),
                logits_processor=LogitsProcessorList([_Choose(batch, self._loaded.dtype)]),
                stopping_criteria=StoppingCriteriaList([_Done(batch)]),
            )
        finally:
            model.generation_config = declared


class _Choose(LogitsProcessor):
    """Leaves each row a single possible token: the one chosen by `choose_tokens`."""

    def __init__(self, jobs: Sequence[DecodeJob], dtype: str) -> None:
        self._jobs = jobs
        self._dtype = dtype

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        jobs = self._jobs
        token_ids = push_chosen(jobs, scores, self._dtype)
        forced = torch.full_like(scores, -torch.inf)
        forced[torch.arange(len(jobs), device=scores.device), torch.tensor(token_ids, device=scores.device)] = 0
        return forced


class _Done(StoppingCriteria):
    """Ends a row when its job is done."""

    def __init__(self, jobs: Sequence[DecodeJob]) -> None:
        self._jobs = jobs

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_kwargs: Any) -> torch.Tensor:
        return torch.tensor([job.done for job in self._jobs], device=input_ids.device)
