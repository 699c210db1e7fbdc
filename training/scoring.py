"""Score held-out pairs with a trained model, and compute the pairwise accuracy with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from harness.errors import StatisticsError
from harness.stats.mean import cluster_mean


def accuracy(margins: Sequence[float], prompts: Sequence[str], level: float = 0.95) -> dict[str, Any]:
    """Share of pairs in which the chosen answer has the higher score.

    Parameters
    ----------
    margins : sequence of float, length n
        Score of chosen minus score of rejected; a tie (0) counts as incorrect, as in RewardBench.
    prompts : sequence of str, length n
        Each pair's prompt; the interval is clustered by it.
    level : float
        Nominal coverage.

    Returns
    -------
    dict
        An :class:`harness.stats.estimate.Estimate` in percent, and "n_tied"; a "reason" instead of a value if there is
        nothing to average.
    """
    values = np.asarray(margins, dtype=np.float64)
    try:
        estimate = cluster_mean([100.0 * (v > 0.0) for v in values], list(prompts), level, (0.0, 100.0))
    except StatisticsError as error:
        return {"value": None, "reason": str(error)}
    return {**asdict(estimate), "n_tied": int((values == 0.0).sum())}


def logits_of(trainer: Any, rows: Sequence[Sequence[int]], batch: int) -> Iterator[Any]:
    """Yield the logits of each row, `batch` rows in a forward pass.

    Every process of a distributed job computes all of them, because sharded weights need all processes in every
    forward pass.
    """
    import torch

    model, device, pad = trainer.model_wrapped, trainer.accelerator.device, trainer.processing_class.pad_token_id
    model.eval()
    for start in range(0, len(rows), batch):
        with torch.no_grad(), trainer.compute_loss_context_manager():
            logits = model(**padded(rows[start : start + batch], pad, device), use_cache=False).logits
        yield from logits.float()


def padded(rows: Sequence[Sequence[int]], pad: int, device: Any) -> dict[str, Any]:
    """Pad rows on the right.

    Returns
    -------
    dict
        "input_ids" and "attention_mask", each of shape (n rows, longest).
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    tensors = [torch.tensor(list(row), dtype=torch.long) for row in rows]
    ids = pad_sequence(tensors, batch_first=True, padding_value=pad)
    mask = pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
