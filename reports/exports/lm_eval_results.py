"""Figures in the layout of lm-eval's ``results_*.json`` and ``samples_*.jsonl``, for tools that read these."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.hashing import content_hash
from harness.protocols import Benchmark
from harness.records import Prompt, SummaryRow
from harness.run.plan import load_benchmark
from harness.run.score import RunScores
from harness.store.jsonl import write_atomically, write_json
from harness.store.run_directory import RunDirectory
from reports.exports import Exporter

_FILTER = "none"


def write_lm_eval_results(directory: RunDirectory, scores: RunScores, out: Path) -> list[Path]:
    """Write ``results_DATE.json`` and a samples file for each benchmark.

    Parameters
    ----------
    directory : RunDirectory
        The run.
    scores : RunScores
        Its figures.
    out : Path
        A directory, laid out as lm-eval's ``--output_path``.

    Returns
    -------
    list of Path
        The files written. A metric that is a share of the prompts is on lm-eval's scale of 0 to 1; all others are in
        the unit of assay's tables. Figures that were not measured are left out of "results" and named with their
        reason under "not_measured".
    """
    header = directory.header()
    date = re.sub(r"[^0-9T]", "-", str(header.get("started", "1970-01-01T00:00:00"))).strip("-")
    folder = out / re.sub(r"[^\w.-]+", "_", scores.model)
    folder.mkdir(parents=True, exist_ok=True)
    prompts = list(directory.each_prompt())
    results: dict[str, dict[str, Any]] = {}
    n_samples: dict[str, dict[str, int]] = {}
    written = []
    for entry in header["benchmarks"]:
        name = entry["name"]
        results[name], samples = _figures(entry, scores)
        there = [p for p in prompts if p.benchmark == name]
        n_samples[name] = {"original": int(entry.get("n_all_prompts", len(there))), "effective": len(there)}
        if samples:
            written.append(folder / f"samples_{name}_{date}.jsonl")
            lines = (_sample(index, p, samples.get(p.id, {})) + "\n" for index, p in enumerate(there))
            write_atomically(written[-1], lines)
    document = {
        "results": results,
        "not_measured": _not_measured(scores),
        "configs": {entry["name"]: {"task": entry["name"], **entry} for entry in header["benchmarks"]},
        "versions": {entry["name"]: entry["version"] for entry in header["benchmarks"]},
        "n-samples": n_samples,
        "config": {"model": header["model"].get("engine"), "model_args": header["model"], "seed": header.get("seed")},
        "model_name": scores.model,
        "date": header.get("started"),
        "valid": scores.valid,
        "problems": scores.problems,
        "made_by": scores.made_by,
    }
    path = folder / f"results_{date}.json"
    write_json(path, document, allow_nan=False)
    return [path, *written]


def _not_measured(scores: RunScores) -> dict[str, dict[str, str]]:
    missing: dict[str, dict[str, str]] = {}
    for row in scores.rows:
        if row.value is None:
            missing.setdefault(row.benchmark, {})[row.metric] = row.reason or ""
    return missing


def _figures(entry: Mapping[str, Any], scores: RunScores) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """A benchmark's figures on lm-eval's scale, and their values by prompt."""
    name = entry["name"]
    benchmark = load_benchmark(entry.get("asked_as") or name, entry.get("options"))
    own = scores.scores_of(name)
    figures: dict[str, Any] = {"alias": name}
    samples: dict[str, dict[str, float]] = {}
    for row in scores.rows:
        if row.benchmark != name or row.value is None:
            continue
        items = benchmark.items(row.metric, own)
        scale = items.scale if items else 1.0
        figures[f"{row.metric},{_FILTER}"] = row.value / scale
        figures[f"{row.metric}_stderr,{_FILTER}"] = "N/A" if row.stderr is None else row.stderr / scale
        for prompt_id, value in _by_prompt(benchmark, row, own).items():
            samples.setdefault(prompt_id, {})[row.metric] = value
    return figures, samples


def _by_prompt(benchmark: Benchmark, row: SummaryRow, scores: list[Any]) -> dict[str, float]:
    """Values of a metric that is the plain mean over prompts; other metrics have no value per document."""
    items = benchmark.items(row.metric, scores)
    if items is None:
        return {}
    found: dict[str, list[float]] = {}
    for score in items.scores:
        if score.value is not None:
            found.setdefault(score.prompt_id, []).append(score.value)
    if any(len(values) > 1 for values in found.values()) or any(s.weight != 1.0 for s in items.scores):
        return {}
    return {prompt_id: values[0] for prompt_id, values in found.items()}


def _sample(index: int, prompt: Prompt, values: dict[str, float]) -> str:
    fields = {
        "doc_id": index,
        "doc": {"key": prompt.key, "turns": list(prompt.turns), "category": prompt.category},
        "target": "\n".join(prompt.reference or ()),
        "filter": _FILTER,
        "metrics": list(values),
        "doc_hash": content_hash("document", prompt.id),
        **values,
    }
    return json.dumps(fields, ensure_ascii=False)


EXPORTER = Exporter(
    "lm_eval",
    "results_*.json and samples_*.jsonl as lm-eval writes them, into the directory --out",
    lambda directories, scores, out: write_lm_eval_results(directories[0], scores[0], out),
)
