"""The stages of a loop, named by the hash of their inputs: done once, and redone if an input changes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.hashing import content_hash
from harness.store.align_directory import AlignState, AlignVariant, StageRecord, read_align
from harness.store.jsonl import read_json, write_atomically, write_json
from training.models import model_identity

Work = Callable[[Path], Mapping[str, Any]]


def identity_of(model: str) -> dict[str, str]:
    """Identify a checkpoint by its contents (`training.models.model_identity`), cached until its files change.

    Raises
    ------
    ModelError
        There is no such checkpoint.
    """
    directory = Path(model)
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    seen = tuple((path.name, found.st_size, found.st_mtime_ns) for path in files if (found := path.stat()))
    return dict(_identity(model, seen))


@lru_cache(maxsize=64)
def _identity(model: str, seen: tuple[tuple[str, int, int], ...]) -> dict[str, str]:
    del seen
    return model_identity(model)


@dataclass
class Book:
    """The state of a loop on disk: align.json, and the stages' directories.

    Parameters
    ----------
    out : Path
        The align directory.
    state : AlignState
        The current state; align.json is rewritten after every change.
    say : callable
        Called with progress messages.
    n_worked : int
        Stages that were not done already; 0 if a finished recipe is run again.
    silent : bool
        Whether to leave align.json as an earlier process wrote it until a stage has to be done. Otherwise a reader
        would see a loop that starts anew.
    """

    out: Path
    state: AlignState
    say: Callable[[str], None]
    n_worked: int = 0
    silent: bool = False
    _began: float = field(default_factory=time.monotonic)
    _before: float = 0.0

    def __post_init__(self) -> None:
        self._before = self.state.seconds

    @classmethod
    def open(cls, out: Path, state: AlignState, say: Callable[[str], None]) -> Book:
        """Open a directory.

        Its recipe may have changed: stages with the same inputs are found by their keys, and the others are redone.
        """
        if (out / "align.json").is_file():
            before = read_align(out)
            state = state.model_copy(update={"started": before.started, "seconds": before.seconds})
            return cls(out, state, say, silent=True)
        book = cls(out, state, say)
        book.write()
        return book

    def write(self, **changes: Any) -> None:
        """Change the state and write align.json."""
        if self.n_worked:
            changes["seconds"] = round(self._before + time.monotonic() - self._began, 1)
        self.state = self.state.model_copy(update=changes)
        if self.silent and not self.n_worked and not self.state.finished:
            return
        text = self.state.model_dump_json(indent=2) + "\n"
        write_atomically(self.out / "align.json", text)

    def relative(self, path: Path) -> str:
        """A path as the state has it: relative to the directory if it is inside."""
        return str(path.relative_to(self.out)) if path.is_relative_to(self.out) else str(path)

    def path(self, relative: str | None) -> Path | None:
        """A path of the state, relative to the current directory."""
        return None if relative is None else self.out / relative

    def stage(self, name: str, inputs: Mapping[str, Any], work: Work) -> Path:
        """Do a stage, unless it is done.

        Parameters
        ----------
        name : str
            Its name.
        inputs : mapping
            Everything its result depends on, as JSON values.
        work : callable
            Does the stage in the given directory, resuming it if it was interrupted, and returns figures.

        Returns
        -------
        Path
            Its directory.
        """
        key = content_hash("align stage", name, inputs)
        directory = self.out / "stages" / f"{name}-{key[:8]}"
        done = directory / "stage.json"
        record = StageRecord(name=name, key=key, dir=str(directory.relative_to(self.out)), status="running")
        if not done.is_file():
            self._note(record)
            self.n_worked += 1
            self.say(f"{name} ...")
            directory.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            figures = dict(work(directory))
            if self.n_worked == 1:
                # Engines collect garbage when they close. Freezing the imported modules saves a second each time.
                gc.collect()
                gc.freeze()
            seconds = round(time.monotonic() - began, 1)
            if not done.is_file():  # training stages write their own
                write_json(done, {"stage": name, "seconds": seconds, "figures": figures, "inputs": inputs})
            self.say(f"{name} done in {seconds:.1f} s")
        found = read_json(done)
        figures = dict(found.get("figures") or _training_figures(found))
        self._note(record.model_copy(update={"status": "done", "seconds": found.get("seconds"), "figures": figures}))
        return directory

    def _note(self, record: StageRecord) -> None:
        kept = tuple(s for s in self.state.stages if s.name != record.name)
        if record in self.state.stages:
            return
        self.write(stages=(*kept, record))

    def put(self, variant: AlignVariant) -> None:
        """Add a variant, or replace the one with its name."""
        names = [v.name for v in self.state.variants]
        if variant.name in names:
            variants = tuple(variant if v.name == variant.name else v for v in self.state.variants)
        else:
            variants = (*self.state.variants, variant)
        if variants != self.state.variants:
            self.write(variants=variants)


def _training_figures(record: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a training stage, from its own record."""
    figures = {"steps": record.get("steps"), "train_loss": record.get("train_loss"), "items": record.get("items")}
    return {**figures, "held_out": record.get("held_out"), "problems": record.get("problems", [])}
