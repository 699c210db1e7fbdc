"""What lm-eval's own HFLM says on the local data: makes ``academic_MODEL.json``, which test_academic_golden.py reads.

    OMP_NUM_THREADS=1 python -m tests.golden.make_academic_hflm [MODEL]

lm-eval 0.4.13, `simple_evaluate` with its HFLM in fp32, the six suites with the paper's shots, the first 200 documents
(mmlu: 4 of each subject), contexts of 128 or 64 tokens so that the run stays short and every way of cutting is met, 32
new tokens. Programs are run by a plain interpreter, so that no part of assay's sandbox is in the figures.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.lm_eval.academic import SHOTS
from benchmarks.lm_eval.datasets import GivenData
from harness.data.store import DataStore
from tests.paths import MIRROR, MODELS

LENGTHS = {"stories260K-hf": 128, "neo3m-chat-hf": 64}
"""Tokens of context for each model; the longest answers of TruthfulQA must fit."""
NEW_TOKENS, LIMIT = 32, 200
GEN_KWARGS = {"max_gen_toks": NEW_TOKENS}
FOLDERS = {"mmlu": "mmlu/default", "truthfulqa_mc1": "truthfulqa", "truthfulqa_mc2": "truthfulqa"}


class PlainCodeEval:
    """Runs a program in an interpreter of its own."""

    def compute(self, references: list[str], predictions: list[list[str]], k: Any = (1,)) -> Any:
        program = f"{predictions[0][0]}\n{references[0]}"
        try:
            done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return {"pass@1": 0.0}, {}
        return {"pass@1": float(done.returncode == 0)}, {}


def evaluate(model: Any, task: str, limit: int, gen_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Run lm-eval itself on the local data."""
    import evaluate as hub
    import lm_eval
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    folder = Path(lm_eval.tasks.__file__).parent / FOLDERS.get(task, task.partition("_")[0])
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    original, hub.load = hub.load, lambda *_: PlainCodeEval()
    data = DataStore(MIRROR, MIRROR, True)
    try:
        with GivenData(data, None, SHOTS[task]).in_place(), contextlib.redirect_stderr(io.StringIO()):
            loaded = manager.load([task])
            per_task = -(-limit // len(loaded["tasks"]))
            given = loaded["groups"].get(task) or loaded["tasks"][task]
            return lm_eval.simple_evaluate(
                model=model,
                tasks=[given],
                num_fewshot=SHOTS[task] if task != "humaneval" else None,
                limit=per_task,
                task_manager=manager,
                gen_kwargs=dict(gen_kwargs),
                bootstrap_iters=0,
                confirm_run_unsafe_code=True,
            )
    finally:
        hub.load = original


def digest(texts: list[str]) -> str:
    """Hash what a model wrote, in order."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def summary(found: dict[str, Any], task: str) -> dict[str, Any]:
    """Keep the figures, and what every document came to."""
    figures = {
        key: value
        for key, value in found["results"][task].items()
        if "," in key and "_stderr" not in key and isinstance(value, float | int)
    }
    samples = [s for leaf in found["samples"].values() for s in leaf]
    kept: dict[str, Any] = {"n": sum(n["effective"] for n in found["n-samples"].values()), "figures": figures}
    groups = {g: r["acc,none"] for g, r in found["results"].items() if g in found.get("groups", {}) and g != task}
    if groups:
        kept["groups"] = groups
    first = samples[0]["filter"]
    resps = [s["resps"] for s in samples if s["filter"] == first]
    if isinstance(resps[0][0][0], str):
        kept["texts"] = digest([r[0][0] for r in resps])
    else:
        kept["best_choices"] = "".join("0123456789abcdefghijklmnop"[_best(r)] for r in resps)
    return kept


def _best(resps: Any) -> int:
    values = [r[0][0] for r in resps]
    return values.index(max(values))


def result_path(model: str) -> Path:
    """Where a model's figures are."""
    return Path(__file__).with_name(f"academic_{model}.json")


def main() -> None:
    logging.disable(logging.WARNING)
    from lm_eval.models.huggingface import HFLM

    for name in sys.argv[1:] or LENGTHS:
        model = HFLM(
            pretrained=str(MODELS / name), device="cpu", dtype="float32", batch_size=32, max_length=LENGTHS[name]
        )
        path = result_path(name)
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        for task in SHOTS:
            if task not in found:
                found[task] = summary(evaluate(model, task, LIMIT, GEN_KWARGS), task)
                path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
