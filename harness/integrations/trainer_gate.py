"""A Trainer callback that measures the checkpoint while it is trained, gates it, and may stop the training.

It works with any trainer made on `transformers.Trainer`, TRL's included::

    trainer = SFTTrainer(...)
    trainer.add_callback(GateCallback(trainer, "spec.yaml", "chat-progress", "runs/sft", every_steps=500))
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness.data.store import DataStore
from harness.errors import AssayError, UsageError
from harness.gate.decide import decide
from harness.gate.decision import Decision
from harness.gate.opened_runs import Comparison
from harness.gate.policy import Policy, find_policy
from harness.run.runner import RunOptions, run
from harness.run.stored_run import StoredRun
from harness.settings import Settings
from harness.spec import RunSpec, load_spec, validated
from harness.store.jsonl import write_atomically
from harness.store.run_directory import RunDirectory

_ERROR = "invalid"


class GateCallback(TrainerCallback):
    """Measures, gates and logs checkpoints during training.

    Parameters
    ----------
    trainer : transformers.Trainer
        The trainer the callback is added to; it saves the checkpoints and keeps the log.
    spec : RunSpec, mapping, Path or str
        What to measure, as for `assay run`. Its model's engine and options are used; the path and the name become the
        checkpoint's.
    policy : Policy, Path or str
        The policy, its file, or the name of a shipped one.
    out : Path or str
        A directory. ``step-N/run`` becomes the run and ``step-N/decision.json`` the decision.
    baseline : Path or str, optional
        A run directory. Without it the model is measured before the first step, into ``start/run``.
    every_steps, every_epochs : int, optional
        The interval; at least one of them.
    stop_on_fail : bool
        Whether the training stops once the decision is fail. Undecided and invalid never stop it.
    keep_checkpoints : bool
        Whether ``step-N/model`` stays after it is measured.
    data_dir : Path or str, optional
        A mirror of the upstream files.

    Raises
    ------
    AssayError
        The spec, the policy or the baseline cannot be read; raised before the training starts.

    Notes
    -----
    Every decision is an entry of ``trainer.state.log_history``: ``assay/decision`` and ``assay/passed`` (0 or 1), and
    for each rule ``assay/BENCHMARK/METRIC`` with ``/effect``, ``/ci_low``, ``/ci_high``. Numbers go to all of the
    trainer's reporters. A measurement that fails is logged as invalid with its message, and the training goes on.

    The state of all random generators is put back after a measurement, so that the training is the same as without it.
    Several looks at one test set add up: over T decisions at level alpha the chance that a wrong pass is among them is
    up to T alpha. The measured model is a second copy in the memory of the training's first process; the others wait
    for it.
    """

    def __init__(
        self,
        trainer: Trainer,
        spec: RunSpec | Mapping[str, Any] | Path | str,
        policy: Policy | Path | str,
        out: Path | str,
        baseline: Path | str | None = None,
        *,
        every_steps: int | None = None,
        every_epochs: int | None = None,
        stop_on_fail: bool = False,
        keep_checkpoints: bool = False,
        data_dir: Path | str | None = None,
    ) -> None:
        for name, value in (("every_steps", every_steps), ("every_epochs", every_epochs)):
            if value is not None and value < 1:
                raise UsageError(f"{name}={value}", "1 or more")
        if every_steps is None and every_epochs is None:
            raise UsageError("no interval", "every_steps or every_epochs", "for example every_steps=500")
        self.trainer = trainer
        self.spec = _spec_of(spec)
        self.policy = policy if isinstance(policy, Policy) else find_policy(str(policy))
        self.out = Path(out)
        self.baseline = None if baseline is None else Path(StoredRun.open(Path(baseline)).path)
        self.every_steps, self.every_epochs = every_steps, every_epochs
        self.stop_on_fail, self.keep_checkpoints = stop_on_fail, keep_checkpoints
        self.data_dir = None if data_dir is None else Path(data_dir)
        self._measured_at = -1
        self._n_epochs = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the model before the first step where no baseline is given."""
        if self.baseline is None:
            start = self.out / "start"
            if not RunDirectory(start / "run").complete:  # a resumed training has it
                self._measured(start)
            self.baseline = start / "run"

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure every so many steps."""
        if self.every_steps is not None and state.global_step % self.every_steps == 0:
            self._gate(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure every so many epochs."""
        self._n_epochs += 1
        if self.every_epochs is not None and self._n_epochs % self.every_epochs == 0:
            self._gate(state, control)

    def _gate(self, state: TrainerState, control: TrainerControl) -> None:
        if self._measured_at == state.global_step:
            return
        self._measured_at = state.global_step
        where = self.out / f"step-{state.global_step}"
        found: list[Any] = [None]
        try:
            self._measured(where)
            if self.trainer.is_world_process_zero():
                found = [self._decision(where / "run").as_json()]
        except AssayError as error:
            message = " ".join(str(error).split())
            warnings.warn(f"step {state.global_step} could not be measured: {message}", stacklevel=2)
            found = [{"decision": _ERROR, "message": message, "rules": []}]
        decision = broadcast_object_list(found)[0]
        if self.trainer.is_world_process_zero():
            write_atomically(where / "decision.json", json.dumps(decision, ensure_ascii=False, indent=1) + "\n")
        self._log(decision, control)
        if self.stop_on_fail and decision["decision"] == "fail":
            control.should_training_stop = True

    def _measured(self, where: Path) -> None:
        """Save the model and run the spec on it, in the first process."""
        model = where / "model"
        with _generators_kept():
            self.trainer.save_model(str(model))  # every process: a sharded model is gathered
            if self.trainer.is_world_process_zero():
                spec = self.spec.model_copy(
                    update={"model": self.spec.model.model_copy(update={"path": str(model), "name": where.name})}
                )
                run(spec, RunOptions(where / "run", self.data_dir))
                if not self.keep_checkpoints:
                    shutil.rmtree(model)

    def _decision(self, candidate: Path) -> Decision:
        data = DataStore.of_settings(Settings.from_env(), self.data_dir)
        return decide(self.policy, Comparison(candidate, self.baseline, data))

    def _log(self, decision: Mapping[str, Any], control: TrainerControl) -> None:
        logs = {"assay/passed": float(decision["decision"] == "pass")}
        for rule in decision["rules"]:
            name = f"assay/{rule['benchmark']}/{rule['metric']}"
            figures = {"": "candidate", "/effect": "effect", "/ci_low": "ci_low", "/ci_high": "ci_high"}
            logs |= {name + end: rule[key] for end, key in figures.items() if rule[key] is not None}
        should_log = control.should_log
        # The log of a subclass would add, and forget, its averages since the last entry (TRL's do).
        Trainer.log(self.trainer, logs)
        control.should_log = should_log  # logging clears it, and the loss of this step may still be due
        told = {"assay/decision": decision["decision"], "assay/message": decision["message"]}
        self.trainer.state.log_history[-1] |= told


def _spec_of(given: RunSpec | Mapping[str, Any] | Path | str) -> RunSpec:
    if isinstance(given, RunSpec):
        return given
    if isinstance(given, Mapping):
        return validated(RunSpec, {"model": "the checkpoint", **given}, "spec")
    return load_spec(Path(given))


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Put the state of all random generators back at the end."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that training code uses
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)  # noqa: NPY002
