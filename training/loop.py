"""What every stage does around TRL's trainer: resume, train, measure, save, and write the record.

A stage's module makes the trainer; this module runs it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import AssayError, ModelError, StoreError
from harness.store.jsonl import read_json, write_atomically
from harness.store.provenance import code_revision, package_versions
from training.checkpoints import CompleteMark, disk_full, latest, steps_of
from training.checks import ItemReport
from training.inputs import Inputs
from training.metrics import MetricsFile, figures
from training.models import merge_adapter, model_identity, require_extra, template_text
from training.recipe import TrainingRecipe
from training.stage import StageDirectory, StageResult, read_stage


def is_main_process() -> bool:
    """Whether this process is the one of a distributed job that prints and writes."""
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


@dataclass
class Finding:
    """What a stage measures of its trained model besides the losses.

    Parameters
    ----------
    held_out : dict
        Further held-out figures.
    problems : list of str
        Defects of the model.
    """

    held_out: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass
class Prepared:
    """A trainer ready to run.

    Parameters
    ----------
    trainer : TRL trainer
        With training and held-out data.
    tokenizer : transformers tokenizer
        Saved beside the model.
    reports : dict of str to ItemReport
        What became of the records, "train" and "held_out".
    base : callable
        Loads the starting model again, to merge an adapter into it.
    examine : callable
        Measures the trained model: ``examine(trainer) -> Finding``.
    """

    trainer: Any
    tokenizer: Any
    reports: dict[str, ItemReport]
    base: Callable[[], Any]
    examine: Callable[[Any], Finding] = lambda trainer: Finding()


@dataclass(frozen=True)
class Stage:
    """A stage to run.

    Parameters
    ----------
    name : str
        The stage's registered name.
    recipe : TrainingRecipe
        Its recipe.
    inputs : Inputs
        Its records.
    prepare : callable
        Makes the trainer: ``prepare(directory, n_processes) -> Prepared``.
    identity : mapping
        What else decides the result, as JSON values.
    """

    name: str
    recipe: TrainingRecipe
    inputs: Inputs[Any]
    prepare: Callable[[Path, int], Prepared]
    identity: Mapping[str, Any] = field(default_factory=dict)


def run_stage(stage: Stage, out: Path) -> StageResult:
    """Run a stage in its directory, resume it, or read it if it is finished.

    Parameters
    ----------
    stage : Stage
        The stage.
    out : Path
        Its directory.

    Returns
    -------
    StageResult

    Raises
    ------
    RunConflictError
        The directory holds another stage, recipe or inputs.
    StorageFullError
        The disk is full. Complete checkpoints are kept, and the same call resumes from the last.
    AssayError
        A check before training failed.
    """
    require_extra(*stage.recipe.report_to)
    from accelerate import PartialState

    with _quiet():
        process = PartialState(cpu=stage.recipe.use_cpu) if stage.recipe.use_cpu else PartialState()
        with StageDirectory(out, main=process.is_main_process) as directory:
            identity = {
                "recipe": {**stage.recipe.identity(), "chat_template": template_text(stage.recipe)},
                "model": model_identity(stage.recipe.model),
                **stage.inputs.identity(),
                **stage.identity,
            }
            done = directory.begin(stage.name, identity, stage.recipe.model_dump(mode="json"))
            if done is not None:
                return done
            try:
                return _train(stage, directory, identity, process)
            except AssayError:
                raise
            except Exception as error:
                full = disk_full(error, out / "checkpoints")
                if full is not None:
                    raise full from error
                raise


def _train(stage: Stage, directory: StageDirectory, identity: Mapping[str, Any], process: Any) -> StageResult:
    from transformers import PrinterCallback

    began, out = time.monotonic(), directory.out
    prepared = stage.prepare(out, process.num_processes)
    trainer = prepared.trainer
    checkpoint = latest(out / "checkpoints", clean=process.is_main_process)
    resumed_at = steps_of(checkpoint) if checkpoint is not None else None
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(CompleteMark(trainer, checkpoint))
    trainer.add_callback(MetricsFile(out / "metrics.jsonl", resumed_at))
    before_path, measured = out / "before.json", bool(stage.inputs.held_out)
    before = _before(trainer, before_path, resumed_at, process) if measured else {}
    loss, seconds = _trained(trainer, checkpoint)
    after = figures(trainer.evaluate()) if measured else {}
    finding = prepared.examine(trainer)
    _save(trainer, directory, prepared, stage.recipe, process)
    record = {
        "stage": stage.name,
        "recipe": stage.recipe.model_dump(mode="json"),
        "identity": identity,
        "items": {name: report.as_json() for name, report in prepared.reports.items()},
        "steps": trainer.state.global_step,
        "train_loss": loss,
        "held_out": {"before": before, "after": after, **finding.held_out} if measured else {},
        "problems": finding.problems,
        "seconds": round(time.monotonic() - began, 3),
        "train_seconds": seconds,
        "resumed_at_step": resumed_at,
        "n_processes": process.num_processes,
        "versions": package_versions(),
        "code": code_revision(),
    }
    if process.is_main_process:
        before_path.unlink(missing_ok=True)
        directory.finish(record)
    process.wait_for_everyone()
    result = read_stage(out)
    if result is None:
        raise StoreError(f"{out} is not on a disk that all machines of the job share", remedy="give such an --out")
    return result


def _trained(trainer: Any, checkpoint: Path | None) -> tuple[float | None, float | None]:
    """Train, from a checkpoint if there is one; the training loss, and the seconds this process took.

    A checkpoint after the last step is only loaded: resuming from it, the trainer would take one more step unless an
    epoch ends there.

    Raises
    ------
    ModelError
        Training diverged.
    """
    seconds = None
    if checkpoint is not None and _is_last(checkpoint):
        loss = _load(trainer, checkpoint)
    else:
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
        loss, seconds = outcome.training_loss, outcome.metrics.get("train_runtime")
    if loss is not None and not math.isfinite(loss):
        raise ModelError(
            f"the training loss is {loss}",
            "a finite loss",
            "lower learning_rate, raise warmup_ratio, or train in float32 (precision: float32)",
        )
    return loss, seconds


def _is_last(checkpoint: Path) -> bool:
    state = read_json(checkpoint / "trainer_state.json")
    return int(state["global_step"]) >= int(state["max_steps"])


def _load(trainer: Any, checkpoint: Path) -> float | None:
    """Load a checkpoint's model and state; the mean of the logged losses, None if none was logged."""
    from transformers import TrainerState

    trainer._load_from_checkpoint(str(checkpoint))
    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return sum(losses) / len(losses) if losses else None


def _before(trainer: Any, path: Path, resumed_at: int | None, process: Any) -> dict[str, Any]:
    """Measure the model before training; a resumed stage reads what was measured then."""
    if resumed_at is not None and path.is_file():
        return dict(read_json(path))
    with _same_random_state():
        found = figures(trainer.evaluate())
    if process.is_main_process:
        write_atomically(path, json.dumps(found) + "\n")
    return found


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """Restore the random state afterwards, so that measuring does not change the training."""
    import numpy as np
    import torch

    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the stream transformers seeds and uses
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def _save(trainer: Any, directory: StageDirectory, prepared: Prepared, recipe: TrainingRecipe, process: Any) -> None:
    """Write the model, and the adapter under LoRA; every process takes part, and the main one writes."""
    name = "model" if recipe.lora is None else "adapter"
    partial = directory.partial(name)
    process.wait_for_everyone()
    trainer.save_model(str(partial))
    process.wait_for_everyone()
    if not process.is_main_process:
        return
    for extra in ("README.md", "training_args.bin"):
        (partial / extra).unlink(missing_ok=True)
    prepared.tokenizer.save_pretrained(str(partial))
    final = directory.publish(name)
    if recipe.lora is not None:
        merged = directory.partial("model")
        merge_adapter(prepared.base(), final).save_pretrained(str(merged))
        prepared.tokenizer.save_pretrained(str(merged))
        directory.publish("model")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the libraries except for their errors."""
    import datasets
    import transformers.utils.logging

    transformers_logging: Any = transformers.utils.logging
    level, bars = transformers_logging.get_verbosity(), datasets.are_progress_bars_disabled()
    trl_logger = logging.getLogger("trl")
    trl_level = trl_logger.level
    transformers_logging.set_verbosity_error()
    transformers_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    trl_logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        trl_logger.setLevel(trl_level)
        if transformers_bars:
            transformers_logging.enable_progress_bar()
        if not bars:
            datasets.enable_progress_bars()
