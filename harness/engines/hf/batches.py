"""The size of batches, and retries of failed batches in parts.

Every retry is logged as a warning. Only a row that fails alone ends in an error, and only a failed device ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from harness.errors import ModelError

_LOG = logging.getLogger(__name__)
MODEL_FAULTS = (RuntimeError, ValueError, IndexError, TypeError, KeyError, NotImplementedError)
"""What a forward pass may raise because of one of its rows."""

Row = TypeVar("Row")


@dataclass(slots=True)
class BatchLimits:
    """The maximum size of a batch; halved when memory runs out.

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
        """Compute how many rows of a length fit; at least one."""
        return max(1, min(self.max_rows, self.max_tokens // tokens_per_row))

    def halve(self, n_rows: int, tokens_per_row: int) -> None:
        """Allow half of a batch that did not fit."""
        self.max_tokens = max(1, min(self.max_tokens, n_rows * tokens_per_row) // 2)
        self.max_rows = max(1, min(self.max_rows, n_rows) // 2) if n_rows > 1 else self.max_rows


def attempt(work: Callable[[], None]) -> Exception | None:
    """Run a batch; return what it failed with, without the traceback, which would keep the batch's tensors alive."""
    try:
        work()
    except MODEL_FAULTS as error:
        return error.with_traceback(None)
    return None


def acknowledge(fault: Exception, n_rows: int, device: torch.device) -> None:
    """Log that a batch failed and release its memory.

    Raises
    ------
    ModelError
        The device has failed.
    """
    _LOG.warning("a batch of %d failed, trying again in parts: %s", n_rows, describe_fault(fault))
    if isinstance(fault, torch.AcceleratorError):
        raise ModelError(
            f"the device has failed: {describe_fault(fault)}",
            remedy="run again; what is finished is kept. CUDA_LAUNCH_BLOCKING=1 shows which operation fails",
        )
    if isinstance(fault, torch.OutOfMemoryError):
        free_memory(device)


def halves(batch: Sequence[Row]) -> list[Sequence[Row]]:
    """Split a batch in two; no parts for a single row."""
    half = len(batch) // 2
    return [batch[:half], batch[half:]] if half else []


def run_in_parts(
    batch: Sequence[Row],
    work: Callable[[Sequence[Row]], None],
    limits: BatchLimits,
    device: torch.device,
    shape: Callable[[Sequence[Row]], tuple[int, int]],
    split: Callable[[Sequence[Row]], list[Sequence[Row]]] = halves,
) -> Iterator[tuple[Sequence[Row], str]]:
    """Run a batch; if it fails, run its parts.

    Parameters
    ----------
    batch : sequence
        The rows.
    work : callable
        Runs rows through the model and stores the results.
    limits : BatchLimits
        Halved when memory runs out.
    device : torch.device
        The model's.
    shape : callable
        Number of rows of a batch, and tokens of its longest.
    split : callable
        The parts of a batch; empty if it cannot be split.

    Yields
    ------
    (sequence, str)
        Finished rows with "", or a row that failed alone with the reason.
    """
    fault = attempt(lambda: work(batch))
    if fault is None:
        yield batch, ""
        return
    acknowledge(fault, len(batch), device)
    if isinstance(fault, torch.OutOfMemoryError):
        limits.halve(*shape(batch))
    parts = split(batch)
    if not parts:
        yield batch, describe_fault(fault)
    for part in parts:
        yield from run_in_parts(part, work, limits, device, shape, split)


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> dict[str, torch.Tensor]:
    """Make a model's inputs of rows of tokens that end in the same column."""
    width = max(len(ids) for ids in rows)
    starts = torch.tensor([width - len(ids) for ids in rows], device=device).unsqueeze(1)
    columns = torch.arange(width, device=device)
    return {
        "input_ids": torch.tensor([[0] * (width - len(ids)) + list(ids) for ids in rows], device=device),
        "attention_mask": (columns >= starts).long(),
        "position_ids": (columns - starts).clamp(min=0),
    }


def describe_fault(error: Exception) -> str:
    """Name an exception and its message."""
    return f"{type(error).__name__}: {error}"


def free_memory(device: torch.device) -> None:
    """Give cached blocks back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
