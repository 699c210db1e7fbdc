"""Training throughput against TRL used directly: same model, data, batches and machine, one run.

    OMP_NUM_THREADS=1 python bench/training_stages.py
    OMP_NUM_THREADS=1 python bench/training_stages.py --stage sft --steps 4 --repeats 1

A stage here and TRL's trainer take the same optimiser steps on the same batches; what is timed is the training loop
(TRL's own figure), checkpoints and held-out figures off on both sides, figures logged at every step on both. Tokens are
TRL's own count. Loading, tokenising and checks before training, and writing the model after it, are stated apart
(`whole_s`). Peak memory is of a process of its own for each.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from engine_rival import MODELS
from report import write_result

DATA = MODELS.parent / "data" / "sft_pref" / "llama-factory"
SOURCES = {"sft": DATA / "alpaca_en_demo.json", "dpo": DATA / "dpo_en_demo.json"}
MODEL = MODELS / "neo3m-chat-hf"
BATCH, LENGTH, RATE = 8, 256, 1e-4


def ours(stage: str, records: list[Any], steps: int, out: Path) -> dict[str, float]:
    from training import dpo, sft
    from training.metrics import read_metrics

    fields = {
        "model": str(MODEL),
        "max_length": LENGTH,
        "max_truncated_share": 1.0,
        "batch_size": BATCH,
        "micro_batch_size": BATCH,
        "learning_rate": RATE,
        "max_steps": steps,
        "logging_steps": 1,
        "save_steps": None,
        "use_cpu": True,
    }
    if stage == "sft":
        result = sft.train(sft.SFTRecipe(**fields, packing=False), out, data=records)
    else:
        result = dpo.train(dpo.DPORecipe(**fields, reference=str(MODEL)), out, data=records)
    lines = [line for line in read_metrics(out / "metrics.jsonl") if "loss" in line]
    return {
        "seconds": result.record["train_seconds"],
        "tokens": lines[-1]["num_tokens"],
        "last_loss": lines[-1]["loss"],
    }


def trl(stage: str, records: list[Any], steps: int, out: Path) -> dict[str, float]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    fields: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": BATCH,
        "learning_rate": RATE,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "max_steps": steps,
        "max_length": LENGTH,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 0,
        "data_seed": 0,
    }
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    rows = [r.as_row() for r in records]
    if stage == "sft":
        rows = [{"prompt": r["messages"][:-1], "completion": r["messages"][-1:]} for r in rows]
        trainer: Any = SFTTrainer(
            model=str(MODEL),
            args=SFTConfig(**fields),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
    else:
        import torch

        trainer = DPOTrainer(
            model=str(MODEL),
            ref_model=AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32),
            args=DPOConfig(**fields),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
    seconds = trainer.train().metrics["train_runtime"]
    trainer.save_model(str(out / "model"))
    lines = [line for line in trainer.state.log_history if "loss" in line]
    return {"seconds": seconds, "tokens": lines[-1]["num_tokens"], "last_loss": lines[-1]["loss"]}


def records_of(stage: str, n: int) -> list[Any]:
    """Records that fit, so that how each side cuts long ones plays no part."""
    from transformers import AutoTokenizer

    from training.data.loading import load_conversations, load_pairs

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    load: Any = load_conversations if stage == "sft" else load_pairs
    found = []
    for record in load(str(SOURCES[stage]), on_bad="drop"):
        row = record.as_row()
        sides = [row["messages"]] if stage == "sft" else [row["prompt"] + row[k] for k in ("chosen", "rejected")]
        if max(len(tokenizer.apply_chat_template(s)["input_ids"]) for s in sides) <= LENGTH:
            found.append(record)
    return (found * (n // len(found) + 1))[:n]


def one(side: str, stage: str, steps: int) -> None:
    """Run one side in this process and print its figures."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        records = records_of(stage, BATCH * steps)
        loaded = time.perf_counter()
        found = (ours if side == "assay" else trl)(stage, records, steps, Path(folder) / "out")
    found["whole_s"] = time.perf_counter() - loaded
    found["start_s"] = loaded - begun
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT " + json.dumps(found))


def measure(stage: str, steps: int, repeats: int) -> dict[str, Any]:
    """Alternate the two sides in processes of their own, so that a slow minute of the machine hits both."""
    runs: dict[str, list[dict[str, float]]] = {"assay": [], "trl": []}
    for _ in range(repeats):
        for side, found in runs.items():
            command = [sys.executable, __file__, "--one", side, "--stage", stage, "--steps", str(steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
            found.append(json.loads(line.removeprefix("RESULT ")))
    table = {}
    for side, found in runs.items():
        table[side] = {
            "tokens_per_s": statistics.median(r["tokens"] / r["seconds"] for r in found),
            "peak_mb": statistics.median(r["peak_mb"] for r in found),
            "whole_s": statistics.median(r["whole_s"] for r in found),
            "last_loss": found[-1]["last_loss"],
            "runs_s": [round(r["seconds"], 3) for r in found],
        }
    ratios = [t["seconds"] / a["seconds"] for a, t in zip(runs["assay"], runs["trl"], strict=True)]
    ratio = table["assay"]["tokens_per_s"] / table["trl"]["tokens_per_s"]
    print(f"\n{stage}: {steps} steps of {BATCH}, {runs['assay'][0]['tokens']:.0f} tokens")
    for side, row in table.items():
        print(
            f"  {side:6} {row['tokens_per_s']:8.0f} tokens/s  {row['peak_mb']:6.0f} MB  whole {row['whole_s']:.1f} s  "
            f"last loss {row['last_loss']:.6f}"
        )
    print(f"  ratio of medians {ratio:.3f}; pair by pair {min(ratios):.3f} to {max(ratios):.3f}")
    return {"steps": steps, "sides": table, "ratio": ratio, "ratio_lowest": min(ratios), "ratio_highest": max(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=sorted(SOURCES), action="append", help="may be repeated; default: all")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=("assay", "trl"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.stage[0], args.steps)
        return
    stages = {stage: measure(stage, args.steps, args.repeats) for stage in args.stage or list(SOURCES)}
    result = {"model": MODEL.name, "batch": BATCH, "max_length": LENGTH, "stages": stages}
    print(f"\nwrote {write_result('training_stages', result, ('torch', 'transformers', 'trl', 'accelerate'))}")


if __name__ == "__main__":
    main()
