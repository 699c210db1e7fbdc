"""Run a training stage of the loop: in this process, or by a launcher that starts one process per device."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from harness.errors import AssayError, ModelError
from harness.store.jsonl import write_atomically
from training.data.records import PreferencePair
from training.recipe import TrainingRecipe
from training.stage import StageResult, find_stage, read_stage


def train(
    stage: str,
    recipe: TrainingRecipe,
    out: Path,
    launch: Sequence[str],
    data: Sequence[PreferencePair] | None = None,
) -> StageResult:
    """Train a stage, or resume it.

    Parameters
    ----------
    stage : str
        A registered stage.
    recipe : TrainingRecipe
        Its recipe.
    out : Path
        Its directory.
    launch : sequence of str
        Launcher command; empty to train in this process.
    data : sequence of PreferencePair, optional
        Training pairs instead of the recipe's.

    Raises
    ------
    ModelError
        The trained model has problems (a constant reward), or the launched command failed.
    AssayError
        Errors of the stage.
    """
    if launch:
        result = _launched(stage, recipe, out, launch, data)
    else:
        result = find_stage(stage).train(recipe, out, data=data)
    if result.problems:
        raise ModelError(f"{out}: " + "; ".join(result.problems))
    return result


def _launched(
    stage: str, recipe: TrainingRecipe, out: Path, launch: Sequence[str], data: Sequence[PreferencePair] | None
) -> StageResult:
    folder = out.with_name(out.name + ".inputs")
    folder.mkdir(parents=True, exist_ok=True)
    if data is not None:
        recipe = recipe.with_(data=[str(pairs_file(folder / "pairs.jsonl", data))])
    path = folder / "recipe.yaml"
    write_atomically(path, yaml.safe_dump({"stage": stage, **recipe.model_dump(mode="json")}, sort_keys=False))
    python = [] if any(Path(word).name in ("accelerate", "torchrun") for word in launch) else [sys.executable]
    command = [*launch, *python, "-m", "harness.cli", "train", stage, str(path), "--out", str(out)]
    try:
        done = subprocess.run(command, check=False)
    except OSError as error:
        raise AssayError(f"cannot start {launch[0]}: {error.strerror}", remedy="check the recipe's launch") from error
    result = read_stage(out)
    if done.returncode != 0 or result is None:
        raise ModelError(
            f"the launched {stage} stage ended with exit status {done.returncode}", remedy="see its output above"
        )
    return result


def pairs_file(path: Path, pairs: Sequence[PreferencePair]) -> Path:
    """Write pairs as JSON lines that `training.data.load_pairs` reads."""
    lines = (
        json.dumps({**pair.as_row(), "chosen_score": pair.chosen_score, "rejected_score": pair.rejected_score}) + "\n"
        for pair in pairs
    )
    write_atomically(path, lines)
    return path
