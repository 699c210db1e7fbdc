"""Rewards of tokenised conversations, each read at the row's own last token.

transformers' classifiers look for the last token that is not the pad token, which fails if a text ends with that token
or there is none. Here the position is known from the row's length: the backbone computes the hidden states, and the
head, in float32, is applied at that position alone. A model with another kind of head is run as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.engines.hf.batches import MODEL_FAULTS, BatchLimits, describe_fault, run_in_parts
from harness.engines.hf.model_loading import LoadedModel
from harness.engines.rewards.scorer_checks import pad_token_id
from harness.engines.rewards.scorer_options import PaddingSide
from harness.errors import ModelError

_PROBE_TOKENS = 3
_PROBE_TOLERANCE = {"float32": 1e-4}
_ROUGH_TOLERANCE = 0.03  # bfloat16 has eight bits, and sums may be computed in another order


@dataclass(slots=True)
class RewardJob:
    """A tokenised conversation and its reward.

    Parameters
    ----------
    request_id : str
        The caller's name for it.
    token_ids : list of int
        What the model reads; not empty.
    place : int
        The token whose hidden state is the reward's, counted from the start.
    truncated : bool
        Whether the start was cut.
    value : float or None
        The reward.
    error : str
        Why there is none.
    """

    request_id: str
    token_ids: list[int]
    place: int
    truncated: bool = False
    value: float | None = None
    error: str = ""


class RewardScorer:
    """Scores jobs with one sequence classifier.

    Parameters
    ----------
    loaded : LoadedModel
        The model; its head is turned to float32.
    limits : BatchLimits
        Size of a batch; shrinks when memory runs out.
    padding_side : {"right", "left"}
        Where rows are filled up.
    """

    def __init__(self, loaded: LoadedModel, limits: BatchLimits, padding_side: PaddingSide = "right") -> None:
        self._loaded = loaded
        self._limits = limits
        self._left = padding_side == "left"
        pad = pad_token_id(loaded.model.config, loaded.tokenizer)
        self._pad = 0 if pad is None or pad >= loaded.n_embeddings else pad
        self._backbone, self._head = _parts(loaded, self._pad)
        if self._head is None and pad is None:
            self._limits.max_rows = 1  # it finds the position by the pad token, so nothing may be padded

    def run(self, jobs: Sequence[RewardJob]) -> Iterator[RewardJob]:
        """Score jobs, yielding each batch's as it is done.

        Yields
        ------
        RewardJob
            With `value` or `error` set.

        Raises
        ------
        ModelError
            The device itself has failed.
        """
        waiting = sorted(jobs, key=lambda job: -len(job.token_ids))
        while waiting:
            width = len(waiting[0].token_ids)
            n_rows = min(self._limits.rows(width), max(1, self._loaded.pass_tokens // width))
            batch, waiting = waiting[:n_rows], waiting[n_rows:]
            for rows, error in run_in_parts(batch, self._score, self._limits, self._loaded.device, _shape):
                for job in rows:
                    job.error = job.error or error
                    yield job

    def _score(self, batch: Sequence[RewardJob]) -> None:
        for job, value in zip(batch, self._values(batch), strict=True):
            if math.isfinite(value):
                job.value = value
            else:
                job.error = f"the reward is {value} (overflow in {self._loaded.dtype}?)"

    @torch.inference_mode()
    def _values(self, batch: Sequence[RewardJob]) -> list[float]:
        inputs = self._inputs(batch)
        if self._head is None:
            return [float(value) for value in self._loaded.model(**inputs).logits.float().reshape(-1).tolist()]
        hidden = self._backbone(**inputs).last_hidden_state
        places = [job.place + (gap if self._left else 0) for job, gap in zip(batch, _gaps(batch), strict=True)]
        picked = hidden[torch.arange(len(batch), device=hidden.device), torch.tensor(places, device=hidden.device)]
        weight = next(self._head.parameters())
        return [float(value) for value in self._head(picked.to(weight.device).float()).reshape(-1).tolist()]

    def _inputs(self, batch: Sequence[RewardJob]) -> dict[str, Any]:
        """Pad a batch; `input_ids` and `attention_mask` are [rows, columns]."""
        rows, mask = [], []
        for job, gap in zip(batch, _gaps(batch), strict=True):
            filler, ones, zeros = [self._pad] * gap, [1] * len(job.token_ids), [0] * gap
            rows.append(filler + job.token_ids if self._left else job.token_ids + filler)
            mask.append(zeros + ones if self._left else ones + zeros)
        device = self._loaded.device
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor(rows, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }
        if (
            self._left and "position_ids" in self._loaded.forward_parameters
        ):  # by default they count from the row's first column
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        if "use_cache" in self._loaded.forward_parameters:
            inputs["use_cache"] = False
        return inputs


def _gaps(batch: Sequence[RewardJob]) -> list[int]:
    """Padding of each row."""
    width = _shape(batch)[1]
    return [width - len(job.token_ids) for job in batch]


def _shape(batch: Sequence[RewardJob]) -> tuple[int, int]:
    return len(batch), max(len(job.token_ids) for job in batch)


@torch.inference_mode()
def _parts(loaded: LoadedModel, pad: int) -> tuple[Any, Any]:
    """Split a classifier into backbone and head; (None, None) if together they give another reward than the whole."""
    model = loaded.model
    backbone = getattr(model, str(getattr(model, "base_model_prefix", "")), None)
    head = getattr(model, "score", None)
    probe = torch.tensor([[next(i for i in (5, 6) if i != pad)] * _PROBE_TOKENS], device=loaded.device)
    try:
        whole = model(input_ids=probe, attention_mask=torch.ones_like(probe)).logits
    except MODEL_FAULTS as error:
        raise ModelError(
            f"{type(model).__name__} fails on a short text: {describe_fault(error)}",
            remedy="check the checkpoint and the installed transformers and torch",
        ) from error
    if whole.numel() != 1:
        raise ModelError(
            f"{type(model).__name__} gives {tuple(whole.shape)[1:]} numbers for one conversation",
            "one number",
            "give a reward model with num_labels = 1",
        )
    if backbone is None or not isinstance(head, torch.nn.Module):
        return None, None
    try:
        hidden = backbone(input_ids=probe, attention_mask=torch.ones_like(probe)).last_hidden_state
        parts = float(head(hidden[:, -1].to(next(head.parameters()).device)))
    except (*MODEL_FAULTS, AttributeError, StopIteration):
        return None, None
    tolerance = _PROBE_TOLERANCE.get(loaded.dtype, _ROUGH_TOLERANCE)
    if abs(parts - float(whole)) > tolerance * max(1.0, abs(float(whole))):
        return None, None
    head.float()
    return backbone, head
