"""lm-eval's output path: ``results_*.json`` and, with ``--log_samples``, ``samples_TASK_*.jsonl``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lm_eval.task_records import VALUES, document_key, document_text, metric_name, version_of
from harness.data.file_rows import Row, read_rows
from harness.errors import FileFormatError, MissingDataError
from harness.hashing import content_hash
from harness.protocols import Imported
from harness.records import Prompt, Response, SummaryRow
from harness.run.import_results import choose_one
from harness.store.jsonl import read_json

_SAME = 1e-9


class LMEvalImporter:
    """Reads one task of lm-eval's results.

    With samples every figure has its items, and runs can be compared document by document. Without them, and for
    metrics that are no mean over documents, the figure and its standard error are taken as they stand.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the directory's options."""
        parser.add_argument(
            "--results", type=Path, required=True, metavar="DIR", help="lm-eval's output path, or a results file"
        )
        parser.add_argument("--task", metavar="TASK", help="which task, where there are several")
        parser.add_argument("--model", metavar="NAME", help="name for tables; lm-eval's own where missing")

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the newest results in the directory."""
        path = _results_file(arguments.results)
        value = read_json(path)
        results = value.get("results") if isinstance(value, dict) else None
        if not isinstance(results, dict) or not results:
            raise FileFormatError(path, None, "no results by task", "what lm-eval writes as results_*.json")
        task = choose_one("task", "--task", results, arguments.task)
        model = str(
            arguments.model or value.get("model_name") or value.get("config", {}).get("model") or path.parent.name
        )
        version = _version(value, task)
        imported = Imported(f"lm_eval:{task}", task, version, model, "", sources=[path])
        imported.n_all_prompts = value.get("n-samples", {}).get(task, {}).get("original")
        names = _metric_names(results[task])
        for leaf in _leaves(value, task):
            samples = path.parent / path.name.replace("results_", f"samples_{leaf}_").replace(".json", ".jsonl")
            if samples.is_file():
                imported.sources.append(samples)
                _add_documents(imported, samples, leaf, names)
        for key, name in names.items():
            if not _is_mean(name, results[task][key], imported.responses):
                imported.figures.append(_figure(task, name, key, results[task], value))
                for response in imported.responses:  # a metric that is no mean over documents must not look like one
                    response.meta[VALUES].pop(name, None)
        return imported


def _is_mean(name: str, figure: float, responses: Sequence[Response]) -> bool:
    """Whether a figure is the mean of the documents' values."""
    column = [r.meta[VALUES][name] for r in responses if name in r.meta[VALUES]]
    if not column or not all(math.isfinite(v) for v in column):
        return False
    return abs(math.fsum(column) / len(column) - figure) <= _SAME


def _version(value: dict[str, Any], task: str) -> str:
    """Say what makes prompts comparable, as for a task that assay runs; "lm_eval" where the files do not tell."""
    versions, shots = value.get("versions"), value.get("n-shot")
    if not isinstance(versions, dict) or task not in versions:
        return "lm_eval"
    found = shots.get(task) if isinstance(shots, dict) else None
    return version_of(
        versions[task],
        found if isinstance(found, int) else None,
        chat_template=bool(value.get("chat_template")),
        fewshot_as_multiturn=bool(value.get("fewshot_as_multiturn", True)),
        system_instruction=value.get("system_instruction"),
    )


def _leaves(value: dict[str, Any], task: str) -> list[str]:
    """List the tasks of a group; the task itself where it is none."""
    children = (value.get("group_subtasks") or {}).get(task)
    return [leaf for child in children for leaf in _leaves(value, child)] if children else [task]


def _results_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.rglob("results_*.json"), key=lambda p: p.name)
    if not found:
        raise MissingDataError(
            f"no results_*.json under {path}", "lm-eval's output path", "run lm-eval with --output_path"
        )
    return found[-1]


def _metric_names(results: dict[str, Any]) -> dict[str, str]:
    """Name lm-eval's "metric,filter" keys: the metric alone for its first filter, "metric,filter" for others."""
    names: dict[str, str] = {}
    for key, value in results.items():
        metric, _, filter_name = key.partition(",")
        is_figure = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_figure or not filter_name or metric.endswith("_stderr"):
            continue
        names[key] = metric if metric not in names.values() else key
    return names


def _add_documents(imported: Imported, path: Path, task: str, names: dict[str, str]) -> None:
    """Add a prompt and a response for each document of a task, with its value of every metric."""
    by_document: dict[str, list[Row]] = {}
    for row in read_rows(path):
        by_document.setdefault(row.identifier("doc_id"), []).append(row)
    filters = list(dict.fromkeys(_filter_of(row) for rows in by_document.values() for row in rows))
    model_id = content_hash("imported from lm-eval", imported.model)
    for identifier, rows in by_document.items():
        values: dict[str, float] = {}
        for row in rows:
            _read_values(row, identifier, names, filters, values)
        prompt = _prompt(imported, task, identifier, rows[0].values)
        filtered = {str(row.values.get("filter")): row.values.get("filtered_resps") for row in rows}
        imported.prompts.append(prompt)
        turns, meta = (_answer_of(rows[0].values),), {VALUES: values, "filtered": filtered}
        imported.responses.append(Response.to(prompt, imported.model, model_id, turns=turns, meta=meta))


def _filter_of(row: Row) -> str:
    return str(row.values.get("filter", "none"))


def _prompt(imported: Imported, task: str, identifier: str, sample: Mapping[str, Any]) -> Prompt:
    document, is_part = sample.get("doc"), task != imported.benchmark
    return Prompt(
        benchmark=imported.benchmark,
        version=imported.version,
        key=document_key(task, imported.benchmark, identifier, sample.get("doc_hash")),
        turns=(document_text(document) if isinstance(document, dict) else str(document or identifier),),
        category=task if is_part else None,
        cluster=f"{task}:{identifier}" if is_part else identifier,
        meta={"task": task, "doc_id": int(identifier) if identifier.isdigit() else identifier},
    )


def _read_values(
    row: Row, identifier: str, names: dict[str, str], filters: list[str], values: dict[str, float]
) -> None:
    """Take the metrics of one line, which is about one document under one filter."""
    filter_name = _filter_of(row)
    metrics = {key.partition(",")[0] for key in names} or set(row.values.get("metrics", ()))
    for metric in metrics:
        value = row.values.get(metric)
        if not isinstance(value, int | float):
            continue
        name = names.get(f"{metric},{filter_name}", metric_name(metric, filter_name, filters))
        if name in values:
            raise row.error(f"document {identifier} has {metric},{filter_name} twice", "each document once a filter")
        values[name] = float(value)


def _answer_of(values: Mapping[str, Any]) -> str:
    """Find the text a model wrote; "" where it was asked for log-likelihoods."""
    found = values.get("resps")
    while isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, str) else ""


def _figure(task: str, name: str, key: str, results: dict[str, Any], value: dict[str, Any]) -> SummaryRow:
    metric, _, filter_name = key.partition(",")
    stderr = results.get(f"{metric}_stderr,{filter_name}")
    percent = 100.0 if 0.0 <= results[key] <= 1.0 else 1.0
    n = value.get("n-samples", {}).get(task, {}).get("effective", 0)
    return SummaryRow(
        benchmark=task,
        metric=name,
        value=percent * results[key],
        stderr=percent * stderr if isinstance(stderr, int | float) else None,
        method="as lm-eval reports it; the files have no items to make an interval from",
        n=n,
        n_clusters=n,
    )
