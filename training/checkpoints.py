"""Checkpoints: only complete ones count, and a full disk damages none."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from harness.errors import StorageFullError
from harness.store.jsonl import write_atomically
from training.stage import sync_tree

_MARK = "complete"
_FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded|os error (28|27|122)", re.IGNORECASE)
# torch's zip writer reports a short write without saying why.
_SHORT_WRITE = re.compile(r"inline_container|unexpected pos|PytorchStreamWriter", re.IGNORECASE)


class CompleteMark(TrainerCallback):
    """Marks a checkpoint as complete once every process has written its part and the files are on the disk.

    The mark contains the number of tokens read so far, which TRL does not save.

    Parameters
    ----------
    trainer : TRL trainer
        The one that writes the checkpoints.
    checkpoint : Path or None
        The checkpoint to resume from.
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
    """Find the last complete checkpoint.

    Parameters
    ----------
    checkpoints : Path
        Their directory.
    clean : bool
        Whether to delete incomplete and older ones. A process killed while it deletes an old checkpoint leaves a part
        of it that is marked and has the newest time; the trainer, which keeps the newest, would delete a good one.

    Returns
    -------
    Path or None
        None if there is none.
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
    """Make the error for a full disk from whatever was raised; None if it was something else.

    The incomplete checkpoint is deleted, which frees its space; complete ones are kept.
    """
    if not any(_says_full(raised) for raised in _chain(error)):
        return None
    last = latest(checkpoints, clean=True)
    kept = f"{last.name} is complete, and training resumes from it" if last else "no checkpoint was written yet"
    return StorageFullError(
        f"no space left to write a checkpoint or model to {checkpoints.parent}; {kept}",
        remedy="free some space and repeat the command (a larger save_steps or smaller save_total_limit needs less)",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        inner = inner.__cause__ or inner.__context__


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    text = str(error)
    return bool(_FULL.search(text) or (isinstance(error, RuntimeError) and _SHORT_WRITE.search(text)))
