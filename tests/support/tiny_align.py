"""A whole alignment in seconds: a microscopic Llama, a few dozen prompts, two or three iterations.

python -m tests.support.tiny_align JOB.json      # see `main`: kills it at random moments
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from harness import registry
from harness.data.store import DataStore
from tests.support.tiny_training import common, save_model
from training.align.book import Book
from training.align.loop import AlignOptions, align
from training.align.recipe import AlignRecipe

__all__ = ["carry_out", "hashes", "import_everything", "make_recipe", "user", "write_rows"]

_ANSWERS = ("yes", "no way", "well, maybe so", "I think not")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def user(text: str) -> list[dict[str, str]]:
    """A prompt of one turn."""
    return [{"role": "user", "content": text}]


def make_recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write a model and data into a folder; a recipe's values that use them."""
    folder.mkdir(parents=True, exist_ok=True)
    model = save_model(folder / "base")
    said = [{"messages": [*user(f"s{i}?"), {"role": "assistant", "content": _ANSWERS[i % 4]}]} for i in range(24)]
    pairs = [
        {"prompt": user(f"r{i}?"), "chosen": f"good {'x' * (i % 4)}", "rejected": f"bad {'y' * (i % 5)}"}
        for i in range(24)
    ]
    common_fields = common(model, save_steps=1, max_steps=3)
    common_fields.pop("model")
    values = {
        "name": "tiny",
        "seed": 1,
        "base": model,
        "sft": {**common_fields, "packing": False, "data": write_rows(folder / "sft.jsonl", said)},
        "ranker": {"recipe": {**common_fields, "data": write_rows(folder / "pairs.jsonl", pairs)}},
        "sampling": {
            "prompts": write_rows(folder / "prompts.jsonl", [{"prompt": user(f"p{i}?")} for i in range(24)]),
            "prompts_per_iteration": 8,
            "responses": 4,
            "max_tokens": 6,
            "engine_options": {"device": "cpu"},
        },
        "iterations": 2,
        "dpo": {**common_fields, "learning_rate": 1e-3, "max_steps": None, "epochs": 2},
        "validation": {
            "prompts": write_rows(folder / "validation.jsonl", [{"prompt": user(f"v{i}?")} for i in range(6)]),
            "responses": 2,
        },
    }
    return {**values, **changes}


def carry_out(values: dict[str, Any], out: Path) -> Book:
    """Run the loop as `assay align` does."""
    return align(AlignRecipe.model_validate(values), AlignOptions(out, DataStore(None, out.parent / "cache", True)))


def hashes(out: Path) -> dict[str, str]:
    """Weights of every trained stage, by the stage's directory."""
    records = {path.parent.name: json.loads(path.read_text()) for path in (out / "stages").glob("*/stage.json")}
    return {name: record["weights_sha256"] for name, record in records.items() if "weights_sha256" in record}


def _log_steps(path: Path) -> None:
    """Make training write down every optimiser step at the moment it was done, before its checkpoint is written."""
    from training.metrics import MetricsFile

    on_log = MetricsFile.on_log

    def logged(own: Any, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps([os.getpid(), own.path.parent.name, state.global_step]) + "\n")
        on_log(own, args, state, control, logs, **kwargs)

    MetricsFile.on_log = logged  # type: ignore[method-assign]


def import_everything() -> None:
    """Import what the loop needs and keep it out of garbage collection; autograd, which no fork survives, stays off."""
    for name in ("hf", "reward_model", "implicit_reward"):
        registry.load("engine", name)
    for stage in ("sft", "reward", "dpo"):
        import_module(f"training.{stage}")
    for name in ("sft", "reward", "dpo"):
        import_module(f"trl.trainer.{name}_trainer")
    import_module("transformers.models.llama.modeling_llama")
    training_data("{}")
    gc.collect()
    gc.freeze()  # engines collect garbage when they close: not that of all these modules, in every child


def training_data(line: str) -> None:
    """Read a line as JSON by `datasets`, whose first use imports most of it."""
    from datasets import Dataset

    Dataset.from_list([json.loads(line)] * 2)


def _start(values: dict[str, Any], out: Path, errors: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    with errors.open("a", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 2)
        try:
            carry_out(values, out)
        except BaseException:  # noqa: BLE001 - the parent reports it
            traceback.print_exc()
            stream.flush()
            os._exit(1)
    os._exit(0)


def _begun(out: Path) -> str:
    """The stage that is under way."""
    path = out / "align.json"
    stages = json.loads(path.read_text())["stages"] if path.exists() else []
    return stages[-1]["name"] if stages and stages[-1]["status"] == "running" else ""


def main() -> None:
    """Run once without a kill, then kill runs at random moments until there were enough, and let the last one end.

    A JSON line a child says which directory it worked in, whether it was killed, and in the middle of which stage.
    """
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    folder, rng = Path(job["folder"]), random.Random(job["seed"])
    import_everything()
    _log_steps(folder / "steps.jsonl")
    began = time.monotonic()
    _, status = os.waitpid(_start(job["recipe"], folder / "whole", folder / "errors.txt"), 0)
    whole_s, n_killed, number = time.monotonic() - began, 0, 0
    while status == 0 and n_killed < job["kills"]:
        out, killed = folder / f"killed{number}", True
        while killed:
            pid = _start(job["recipe"], out, folder / "errors.txt")
            if n_killed < job["kills"]:
                time.sleep(rng.uniform(0.0, job["longest_share"] * whole_s))
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            killed = os.WIFSIGNALED(status)
            n_killed += killed
            line = {"out": out.name, "pid": pid, "killed": killed, "during": _begun(out) if killed else ""}
            sys.stdout.write(json.dumps(line) + "\n")
        number += 1
    sys.exit(0 if status == 0 else 1)


if __name__ == "__main__":
    main()
