"""The callback inside TRL's own SFT trainer, on a small real model."""

from __future__ import annotations

import json

import pytest
import torch

from harness.errors import MissingDataError, UsageError
from harness.integrations.trainer_gate import GateCallback
from tests.paths import MODELS, needs_models

pytest.importorskip("trl")
pytestmark = [needs_models, pytest.mark.slow]

PROMPTS = [f"Is {i} a number?" for i in range(24)]
IMPROVE = {"improve": {"benchmark": "prompts:asked", "metric": "contains", "margin": 10}}
KEEP = {"keep": {"benchmark": "prompts:asked", "metric": "contains", "margin": 10}}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "asked.jsonl"
    rows = [{"id": str(i), "prompt": prompt, "reference": "yes"} for i, prompt in enumerate(PROMPTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = {"prompts": str(path), "name": "asked", "metric": "contains", "max_tokens": 4}
    return {"model": {"path": "-", "options": {"dtype": "float32"}}, "benchmarks": [benchmark]}


def policy_of(*rules):
    from harness.gate.policy import make_policy

    return make_policy({"rules": list(rules), "min_n": 20}, name="test")


def trainer_of(out, model, says, **changes):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": says}]}
        for prompt in PROMPTS
    ]
    config = SFTConfig(
        output_dir=str(out),
        per_device_train_batch_size=8,
        learning_rate=4e-4,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        max_length=64,
        seed=0,
        **{"max_steps": 18, **changes},
    )
    return SFTTrainer(str(model), args=config, train_dataset=Dataset.from_list(rows))


@pytest.fixture(scope="module")
def trained(spec, tmp_path_factory):
    """A model taught to say yes, measured before the first step, every six steps and every three epochs."""
    out = tmp_path_factory.mktemp("trained")
    trainer = trainer_of(out / "trl", MODELS / "neo3m-chat-hf", "yes")
    arguments = {"every_steps": 6, "every_epochs": 3, "keep_checkpoints": True}
    trainer.add_callback(GateCallback(trainer, spec, policy_of(IMPROVE), out / "gate", **arguments))
    trainer.train()
    return trainer, out


def test_decisions_are_in_the_log_history_and_on_disk(trained):
    trainer, out = trained
    decided = [entry for entry in trainer.state.log_history if "assay/decision" in entry]
    # an epoch has three steps, and no step is measured twice
    assert [entry["step"] for entry in decided] == [6, 9, 12, 18]
    last = decided[-1]
    assert (last["assay/decision"], last["assay/passed"]) == ("pass", 1.0)
    assert last["assay/prompts:asked/contains"] == 100.0
    assert last["assay/prompts:asked/contains/effect"] > last["assay/prompts:asked/contains/ci_low"] > 10.0
    stored = json.loads((out / "gate" / "step-18" / "decision.json").read_text())
    assert (stored["decision"], stored["rules"][0]["candidate"]) == ("pass", 100.0)
    assert (out / "gate" / "start" / "run" / "manifest.json").is_file()
    assert (out / "gate" / "step-18" / "model" / "model.safetensors").is_file()


def test_training_is_the_same_as_without_it(trained, tmp_path):
    trainer, _ = trained
    alone = trainer_of(tmp_path, MODELS / "neo3m-chat-hf", "yes")
    alone.train()
    for (name, one), (_, other) in zip(trainer.model.named_parameters(), alone.model.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["loss"] for entry in history] == [
        entry["loss"] for entry in alone.state.log_history if "loss" in entry
    ]
    accuracy = "mean_token_accuracy"
    assert [e[accuracy] for e in history] == [e[accuracy] for e in alone.state.log_history if "loss" in e]


def test_training_stops_on_fail_by_option(trained, spec, tmp_path):
    _, out = trained
    good = out / "gate" / "step-18"
    stopped = []
    for stop in (True, False):
        trainer = trainer_of(tmp_path / f"trl-{stop}", good / "model", "no")
        gate = GateCallback(
            trainer, spec, policy_of(KEEP), tmp_path / f"gate-{stop}", good / "run", every_steps=6, stop_on_fail=stop
        )
        trainer.add_callback(gate)
        trainer.train()
        stopped.append(trainer.state.global_step)
        decided = [entry["assay/decision"] for entry in trainer.state.log_history if "assay/decision" in entry]
        assert decided.index("fail") == (len(decided) - 1 if stop else decided.index("fail"))
        assert not (tmp_path / f"gate-{stop}" / "step-6" / "model").exists()
    assert stopped[0] < stopped[1] == 18


def test_a_measurement_that_fails_is_logged_and_training_goes_on(trained, spec, tmp_path):
    _, out = trained
    trainer = trainer_of(tmp_path / "trl", MODELS / "neo3m-chat-hf", "yes", max_steps=2)
    other = {**spec, "benchmarks": [{**spec["benchmarks"][0], "prompts": str(tmp_path / "gone.jsonl")}]}
    baseline = out / "gate" / "start" / "run"
    gate = GateCallback(trainer, other, policy_of(KEEP), tmp_path / "g", baseline, every_steps=1, stop_on_fail=True)
    trainer.add_callback(gate)
    with pytest.warns(UserWarning, match=r"step 1 could not be measured: .*gone\.jsonl"):
        trainer.train()
    assert trainer.state.global_step == 2
    entry = next(entry for entry in trainer.state.log_history if "assay/decision" in entry)
    assert (entry["assay/decision"], entry["assay/passed"]) == ("invalid", 0.0)
    assert "gone.jsonl" in entry["assay/message"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, UsageError, "no interval"),
        ({"every_steps": 0}, UsageError, "every_steps=0"),
        ({"every_steps": 1, "baseline": "nothing-here"}, MissingDataError, "nothing-here"),
    ],
)
def test_wrong_arguments_are_refused_before_training(spec, tmp_path, arguments, error, words):
    with pytest.raises(error, match=words):
        GateCallback(None, spec, policy_of(KEEP), tmp_path, **arguments)
