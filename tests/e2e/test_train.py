"""`assay train` as a user runs it: a stage, its directory, a kill, a full disk, and what is said of wrong input."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import yaml

from harness.cli import main
from tests.support.tiny_training import common, conversations, pairs, save_model

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def write(tmp_path, model):
    """Write a recipe and its data; returns the recipe's path."""

    def write(stage, records=None, **changes):
        rows = (
            records if records is not None else [r.as_row() for r in (conversations() if stage == "sft" else pairs())]
        )
        data = tmp_path / "data.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        fields = common(model, stage=stage, data=str(data), **changes)
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(fields))
        return path

    return write


def test_a_stage_from_the_command_line(assay, write, tmp_path):
    recipe = write("reward", held_out_share=0.25)
    status, out, _ = assay("train", "reward", recipe, "--out", tmp_path / "out", "--set", "max_steps=3", "--json")
    assert status == 0
    printed = json.loads(out)
    assert printed["steps"] == 3
    assert printed["held_out"]["accuracy"]["n_clusters"] == 3
    assert printed == {"out": str(tmp_path / "out"), "model": str(tmp_path / "out" / "model")} | json.loads(
        (tmp_path / "out" / "stage.json").read_text()
    )
    status, out, _ = assay("train", "reward", recipe, "--out", tmp_path / "out", "--set", "max_steps=3")
    assert status == 0
    assert "held-out accuracy" in out
    status, _, err = assay("train", "reward", recipe, "--out", tmp_path / "out")
    assert status == 1
    assert "recipe.max_steps: was 3, now 6" in err


def test_recipes_are_listed(assay):
    status, out, _ = assay("train", "recipes")
    assert status == 0
    assert {"sft-paper", "dpo-tiny", "zero3"} <= {line.split()[0] for line in out.splitlines() if line.strip()}
    status, out, _ = assay("train", "recipes", "--show", "dpo-paper")
    assert yaml.safe_load(out)["learning_rate"] == 5e-7
    status, out, _ = assay("train", "recipes", "--config", "fsdp")
    assert out.strip().endswith("fsdp.yaml")
    status, _, err = assay("train", "recipes", "--config", "zero4")
    assert status == 2
    assert "did you mean zero" in err


GOOD = {"role": "assistant", "content": "b"}
ASKED = {"role": "user", "content": "a"}
WRONG = {
    "equal sides": ("dpo", {"prompt": [ASKED], "chosen": [GOOD], "rejected": [GOOD]}, "are the same"),
    "empty conversation": ("sft", {"messages": []}, "no turn of user or assistant"),
    "roles": ("sft", {"messages": [GOOD, ASKED, GOOD]}, "turn 1 is the assistant's"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_records_stop_before_training(name, assay, write, tmp_path, model):
    stage, bad, message = WRONG[name]
    good = [r.as_row() for r in (conversations() if stage == "sft" else pairs())]
    recipe = write(stage, [*good[:3], bad, *good[3:]], **({"reference": model} if stage == "dpo" else {}))
    status, _, err = assay("train", stage, recipe, "--out", tmp_path / "out")
    assert status == 1
    assert "data.jsonl, line 4" in err
    assert message in err
    assert not (tmp_path / "out").exists()
    status, out, _ = assay(
        "train", stage, recipe, "--out", tmp_path / "out", "--set", "on_bad_item=drop", "--set", "max_steps=1", "--json"
    )
    assert status == 0
    assert sum(json.loads(out)["items"]["train"]["dropped"].values()) == 1


def test_a_misspelt_field(assay, write, tmp_path):
    status, _, err = assay("train", "sft", write("sft", learning_rat=1.0), "--out", tmp_path / "out")
    assert status == 2
    assert "did you mean 'learning_rate'?" in err
    status, _, err = assay("train", "sft", tmp_path / "none.yaml", "--out", tmp_path / "out")
    assert status == 1
    assert "no such file" in err


def start(arguments):
    """`assay` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_checkpoint(process, out):
    give_up = time.monotonic() + 120
    while not list((out / "checkpoints").glob("checkpoint-*/complete")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_killed_and_out_of_room(write, tmp_path):
    """Both lose the steps since the last whole checkpoint and nothing else; the weights end up the same."""
    recipe = write("sft", max_steps=60, save_steps=1, batch_size=2)
    outs = {name: tmp_path / name for name in ("killed", "full", "whole")}
    processes = {name: start(["train", "sft", recipe, "--out", outs[name]]) for name in ("killed", "full")}
    wait_for_checkpoint(processes["killed"], outs["killed"])
    processes["killed"].send_signal(signal.SIGKILL)
    wait_for_checkpoint(processes["full"], outs["full"])
    # The optimiser's state is twice the size of the weights: from here on there is room for the weights only.
    limit = (outs["full"] / "checkpoints").glob("checkpoint-*/model.safetensors")
    resource.prlimit(processes["full"].pid, resource.RLIMIT_FSIZE, (next(limit).stat().st_size * 3 // 2,) * 2)
    _, err = processes["full"].communicate(timeout=240)
    assert processes["full"].returncode == 1, err
    assert "no space left to write a checkpoint" in err
    assert "is complete, and training resumes from it" in err
    assert "Traceback" not in err
    processes["killed"].communicate()
    left = list((outs["full"] / "checkpoints").glob("checkpoint-*"))
    assert left
    assert all((path / "complete").is_file() for path in left)
    assert not (outs["full"] / "stage.json").exists()
    for out in outs.values():
        assert main(["train", "sft", str(recipe), "--out", str(out)]) == 0
    records = {name: json.loads((out / "stage.json").read_text()) for name, out in outs.items()}
    assert records["killed"]["resumed_at_step"] >= 1
    assert records["full"]["resumed_at_step"] >= 1
    assert len({record["weights_sha256"] for record in records.values()}) == 1
