"""A training stage: how it is registered, and its directory.

::

    DIR/
      begun.json         written first: stage, recipe, hashes of model and data
      metrics.jsonl      one JSON line per logged step (`training.metrics` lists the keys)
      checkpoints/       checkpoint-STEP, usable once it contains the file `complete`
      encoded/           a precomputed reference's log-probabilities, until the stage is finished
      model/             the trained model, a plain transformers directory with its tokenizer
      adapter/           with LoRA: the adapter alone (model/ has it merged)
      stage.json         the result; written last, so it marks the stage as finished

A finished stage with the same recipe and inputs is read, not repeated; a stage with others is refused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness import registry
from harness.closing import Closing
from harness.engines.weights_hash import weights_hash
from harness.errors import PluginError, RunConflictError
from harness.spec import differing_fields
from harness.store.jsonl import read_json, write_json
from harness.store.locking import DirectoryLock

RecipeType = TypeVar("RecipeType")


@dataclass(frozen=True, slots=True)
class StageEntry(Generic[RecipeType]):
    """A training stage as the entry point ``assay.stages`` registers it (`harness.protocols.TrainingStage`).

    Parameters
    ----------
    name : str
        Name on the command line, in recipes and in stage.json; the name of the entry point.
    summary : str
        What it does, in half a sentence.
    recipe : type
        Its recipe class, a `training.recipe.TrainingRecipe`.
    train : callable
        ``train(recipe, out, data=None)`` returns a :class:`StageResult`.
    """

    name: str
    summary: str
    recipe: type[RecipeType]
    train: Callable[..., StageResult]


def find_stage(name: str) -> StageEntry[Any]:
    """Find a registered training stage.

    Raises
    ------
    UnknownNameError
        No installed package registers one of this name.
    PluginError
        It cannot be imported, lacks what a stage has, or is registered under another name than its own.
    """
    found: StageEntry[Any] = registry.load("training stage", name)
    if found.name != name:
        raise PluginError(
            "training stage",
            name,
            f"calls itself {found.name!r}",
            "one name in entry point and StageEntry",
        )
    return found


@dataclass(frozen=True, slots=True)
class StageResult:
    """A finished stage.

    Parameters
    ----------
    out : Path
        The stage's directory.
    stage : str
        Its registered name.
    record : dict
        Contents of stage.json: recipe, inputs, counts, held-out figures, problems, hash of the weights.
    """

    out: Path
    stage: str
    record: dict[str, Any]

    @property
    def model(self) -> Path:
        """The trained model, a plain transformers directory."""
        return self.out / "model"

    @property
    def adapter(self) -> Path | None:
        """The LoRA adapter, if one was trained."""
        return self.out / "adapter" if (self.out / "adapter").is_dir() else None

    @property
    def weights_sha256(self) -> str:
        """Hash of the trained model's weight files."""
        return str(self.record["weights_sha256"])

    @property
    def held_out(self) -> dict[str, Any]:
        """Figures "before" and "after" training, "accuracy" with its interval; empty if nothing was held out."""
        return dict(self.record["held_out"])

    @property
    def problems(self) -> list[str]:
        """Defects of the trained model, in words; a gate should reject it."""
        return list(self.record["problems"])


def read_stage(out: Path) -> StageResult | None:
    """Read a finished stage; None if the directory has none.

    Raises
    ------
    FileFormatError
        stage.json is damaged.
    """
    path = out / "stage.json"
    if not path.is_file():
        return None
    record = read_json(path)
    return StageResult(out, str(record["stage"]), record)


class StageDirectory(Closing):
    """The directory of a running stage; one process at a time writes to it.

    Parameters
    ----------
    out : Path
        The directory; created if it does not exist.
    main : bool
        Whether this process writes (the main one of a distributed job).

    Raises
    ------
    RunLockedError
        Another job writes to it.
    StoreError
        It cannot be created or written.
    """

    def __init__(self, out: Path, *, main: bool = True) -> None:
        self.out, self.main = out, main
        self._lock = DirectoryLock(out, "training in") if main else None

    def begin(self, stage: str, identity: Mapping[str, Any], recipe: Mapping[str, Any]) -> StageResult | None:
        """Record what is trained here.

        Parameters
        ----------
        stage : str
            The stage's name.
        identity : mapping
            What decides the result: recipe fields and hashes of inputs.
        recipe : mapping
            The whole recipe, for the reader.

        Returns
        -------
        StageResult or None
            The finished stage if the directory already has it.

        Raises
        ------
        RunConflictError
            The directory has another stage, recipe or inputs; the message names the differences.
        """
        asked = {"stage": stage, **json.loads(json.dumps(identity))}
        path = self.out / "begun.json"
        if path.is_file():
            there = read_json(path)["identity"]
            if differs := differing_fields(there, asked):
                raise RunConflictError(
                    f"{self.out} contains a different training ({'; '.join(differs[:6])})",
                    "the same recipe and inputs, or an empty directory",
                    "choose another --out, or delete the directory to start over",
                )
            done = read_stage(self.out)
            if done is not None and self.main:
                shutil.rmtree(self.out / "checkpoints", ignore_errors=True)  # killed in the middle of `finish`
            return done
        if self.main:
            write_json(path, {"identity": asked, "recipe": dict(recipe)})
        return None

    def publish(self, name: str) -> Path:
        """Replace `name` by the complete `name`.partial."""
        partial, final = self.out / f"{name}.partial", self.out / name
        sync_tree(partial)
        if final.exists():
            shutil.rmtree(final)
        partial.replace(final)
        return final

    def partial(self, name: str) -> Path:
        """An empty directory to write `name` into before `publish`."""
        partial = self.out / f"{name}.partial"
        if self.main:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        return partial

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write stage.json and delete checkpoints and other temporary files."""
        weights = weights_hash([self.out / "model"])
        write_json(self.out / "stage.json", {**record, "weights_sha256": weights})
        for name in ("checkpoints", "encoded"):
            shutil.rmtree(self.out / name, ignore_errors=True)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()


def sync_tree(directory: Path) -> None:
    """Flush every file below a directory to the disk."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
