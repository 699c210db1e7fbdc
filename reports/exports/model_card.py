"""A model card's evaluation section: a table for people, `model-index` metadata for the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import FileFormatError, UsageError
from harness.records import SummaryRow
from harness.run.score import RunScores
from harness.store.jsonl import write_atomically
from reports.blocks import limits
from reports.exports import Exporter

BEGIN = "<!-- assay: begin -->"
END = "<!-- assay: end -->"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def write_model_card(runs: Sequence[RunScores], path: Path) -> Path:
    """Write a card, or replace the section of an existing one and leave the rest unchanged.

    Parameters
    ----------
    runs : sequence of RunScores
        Runs of one model.
    path : Path
        The card, usually README.md.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    UsageError
        The runs are of several models.
    FileFormatError
        The existing card has only one of the two marks, or metadata that cannot be read.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    write_atomically(path, model_card(runs, text, path))
    return path


def model_card(runs: Sequence[RunScores], text: str, path: Path) -> str:
    """Make the text of a card from runs and the existing card; errors as in :func:`write_model_card`."""
    from huggingface_hub import ModelCardData

    models = sorted({run.model for run in runs})
    if len(models) != 1:
        raise UsageError(f"runs of {len(models)} models: {', '.join(models)}", "runs of one model per card")
    card = _card(text, path) if text.strip() else None
    data: Any = card.data if card is not None else ModelCardData(model_name=models[0])
    data.model_name = data.model_name or models[0]
    kept = [r for r in data.eval_results or [] if not str(r.source_name or "").startswith("assay")]
    data.eval_results = kept + [_result(run, row) for run in runs for row in run.rows if row.value is not None]
    body = _replaced(card.text if card is not None else f"\n# {_plain(models[0])}\n", _section(runs), path)
    return f"---\n{data.to_yaml()}\n---\n{body}"


def _card(text: str, path: Path) -> Any:
    import yaml
    from huggingface_hub import ModelCard

    try:
        return ModelCard(text, ignore_metadata_errors=False)
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise FileFormatError(path, None, f"the card's metadata cannot be read: {why}", "a model card") from error


def _replaced(body: str, section: str, path: Path) -> str:
    if (BEGIN in body) != (END in body):
        raise FileFormatError(path, None, "only one of assay's two marks is present", f"{BEGIN} and {END}")
    marked = f"{BEGIN}\n{section}\n{END}"
    if BEGIN in body:
        before, _, rest = body.partition(BEGIN)
        return before + marked + rest.partition(END)[2]
    return body.rstrip("\n") + f"\n\n{marked}\n"


def _result(run: RunScores, row: SummaryRow) -> Any:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="text-generation",
        dataset_type=run.asked_as.get(row.benchmark, row.benchmark),
        dataset_name=row.benchmark,
        metric_type=row.metric,
        metric_value=row.value,
        metric_name=row.metric,
        metric_args={
            key: value
            for key, value in (("ci_low", row.ci_low), ("ci_high", row.ci_high), ("level", row.level), ("n", row.n))
            if value is not None
        },
        verified=None,
        source_name=f"assay {run.made_by.get('assay') or ''}".strip(),
        source_url="https://pypi.org/project/assay/",
    )


def _section(runs: Sequence[RunScores]) -> str:
    lines = ["## Evaluation", ""]
    for run in runs:
        if not run.valid:
            lines += [f"**Not valid:** {_plain('; '.join(run.problems))}", ""]
    lines += ["| benchmark | metric | value | 95 % interval | n | not scored |", "|---|---|---:|---|---:|---:|"]
    for run in runs:
        for row in run.rows:
            lines.append(_line(row))
    remarks = [remark for run in runs for remark in run.remarks]
    if remarks:
        lines += ["", *(f"- {_plain(remark)}" for remark in remarks)]
    return "\n".join(lines)


def _line(row: SummaryRow) -> str:
    names = f"| {_plain(row.benchmark)} | {_plain(row.metric)} |"
    if row.value is None:
        return f"{names} - | {_plain(row.reason or '')} | {row.n} | {row.n_unscored} |"
    return f"{names} {row.value:.2f} | {limits(row.ci_low, row.ci_high) or '-'} | {row.n} | {row.n_unscored} |"


def _plain(text: str) -> str:
    """Make text safe in a Markdown table: one line, nothing of it markup."""
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", text)).replace("&", "&amp;")


EXPORTER = Exporter(
    "model_card",
    "a model card's evaluation section: --out README.md is created, or its section replaced",
    lambda _, scores, out: [write_model_card(scores, out)],
    several=True,
)
