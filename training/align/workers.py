"""Sampling in several processes with an engine each; they end with the process that started them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import AssayError, ModelError
from training.align.sampling import Drawing, draw, load_engine
from training.data.records import PromptItem


def draw_in_processes(
    prompts: Sequence[PromptItem], drawing: Drawing, out: Path, engine: tuple[str, str, dict[str, Any]], n: int
) -> None:
    """Divide the prompts among processes, each with its own engine and, if there are several, its own device.

    Raises
    ------
    ModelError
        A process failed; the answers it had sampled are kept.
    """
    context = multiprocessing.get_context("spawn")
    jobs = [
        context.Process(target=_draw_share, args=(list(prompts), drawing, out, engine, worker, n))
        for worker in range(n)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    failed = [worker for worker, job in enumerate(jobs) if job.exitcode != 0]
    if failed:
        raise ModelError(
            f"{len(failed)} of {n} sampling processes failed (number {', '.join(map(str, failed))})",
            remedy="see their errors above; the same command samples the missing answers",
        )


def _end_with_parent() -> None:
    """End this process with the one that started it, because a resumed loop starts another writer of its file."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _draw_share(
    prompts: list[PromptItem],
    drawing: Drawing,
    out: Path,
    engine: tuple[str, str, dict[str, Any]],
    worker: int,
    n_workers: int,
) -> None:
    _end_with_parent()
    name, model, options = engine
    if name == "hf" and "device" not in options:
        import torch

        if torch.cuda.device_count() > 1:
            options = {**options, "device": f"cuda:{worker % torch.cuda.device_count()}"}
    try:
        draw(prompts, drawing, out, lambda: load_engine(name, model, options), worker=worker, n_workers=n_workers)
    except AssayError as error:
        sys.stderr.write(f"sampling process {worker}: {error}\n")
        sys.exit(1)
