"""Checkpoints that can be trusted: one counts only once it is wholly on the disk, and a full disk spoils none."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from harness.errors import StorageFullError
from harness.store.jsonl import write_atomically
from training.stage import sync_tree

__all__ = ["CompleteMark", "disk_full", "latest", "steps_of"]

_MARK = "complete"
_FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded|os error (28|27|122)", re.IGNORECASE)
# torch's zip writer reports a short write without saying why.
_SHORT_WRITE = re.compile(r"inline_container|unexpected pos|PytorchStreamWriter", re.IGNORECASE)


class CompleteMark(TrainerCallback):
    """Marks a checkpoint as whole, after every process has written its part and the files are on the disk.

    The mark holds the number of tokens read so far, which TRL does not put into a checkpoint.

    Parameters
    ----------
    trainer : TRL trainer
        The one that writes the checkpoints.
    checkpoint : Path or None
        What training goes on from.
    """

    def __init__(self, trainer: Any, checkpoint: Path | None) -> None:
        self._trainer = trainer
        if checkpoint is not None:
            trainer._total_train_tokens = int((checkpoint / _MARK).read_text() or 0)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint that was just written."""
        from accelerate import PartialState

        PartialState().wait_for_everyone()
        if not state.is_world_process_zero:
            return
        directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        sync_tree(directory)
        write_atomically(directory / _MARK, str(int(self._trainer._total_train_tokens)))


def latest(checkpoints: Path, *, clean: bool) -> Path | None:
    """Find the last whole checkpoint.

    Parameters
    ----------
    checkpoints : Path
        Where they are.
    clean : bool
        Whether to delete all others: those that are not whole, and older ones. A kill in the middle of deleting an old
        one leaves part of it, marked, and with the newest time of all, so that the trainer, which keeps the newest,
        would delete a good one in its place.

    Returns
    -------
    Path or None
        None where there is none.
    """
    found = list(checkpoints.glob("checkpoint-*"))
    newest = max((path for path in found if (path / _MARK).is_file()), key=steps_of, default=None)
    for path in found if clean else ():
        if path != newest:
            shutil.rmtree(path, ignore_errors=True)
    return newest


def steps_of(checkpoint: Path) -> int:
    """Optimiser steps a checkpoint was written after."""
    return int(checkpoint.name.rpartition("-")[2])


def disk_full(error: BaseException, checkpoints: Path) -> StorageFullError | None:
    """Make the error for a disk that filled, out of whatever was raised; None where it was something else.

    What was being written is deleted, which frees its room; whole checkpoints stay.
    """
    chain, seen = [error], {id(error)}
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and id(inner) not in seen:
        chain.append(inner)
        seen.add(id(inner))
    full = any(
        (isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
        or _FULL.search(str(e))
        or (isinstance(e, RuntimeError) and _SHORT_WRITE.search(str(e)))
        for e in chain
    )
    if not full:
        return None
    last = latest(checkpoints, clean=True)
    kept = f"{last.name} is whole and training goes on from it" if last else "no checkpoint was written yet"
    return StorageFullError(
        f"no room to write a checkpoint or model to {checkpoints.parent}; {kept}",
        remedy="free some space and give the same command again (a larger save_steps or smaller save_total_limit "
        "needs less)",
    )
