"""Provenance: models, judges, prompt hashes, data, versions, cost and time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.blocks import Block, Cell, Section, Table
from reports.inputs import Inputs, RunInput
from reports.sections import SectionEntry
from reports.sections.common import cost_of, recorded


def provenance_section(inputs: Inputs) -> Section | None:
    """Where each run comes from; None without runs."""
    if not inputs.runs:
        return None
    blocks: list[Block] = [_models(inputs), _judges(inputs), _cost(inputs)]
    for run in inputs.runs:
        blocks.append(_details(run, folded=True))
    return Section("provenance", "Provenance", [b for b in blocks if not isinstance(b, Table) or b.rows])


def _models(inputs: Inputs) -> Table:
    rows = []
    for run in inputs.runs:
        model = run.stored.header.get("model") or {}
        hashes = [f"{name.replace('_', ' ')} {model[name]}" for name in _HASHES if model.get(name)]
        rows.append(
            [
                Cell(run.name, run.scores.run),
                Cell(str(model.get("source") or "not recorded")),
                Cell(str(model.get("engine") or "-")),
                Cell("; ".join(hashes) or "none: imported files name no weights", tone="" if hashes else "muted"),
                Cell(str(run.stored.header.get("started") or run.stored.header.get("imported") or "not recorded")),
            ]
        )
    return Table("Models", ["run", "source", "engine", "hashes", "started"], rows)


_HASHES = ("model_id", "weights_hash", "chat_template_hash")


def _judges(inputs: Inputs) -> Table:
    rows = []
    for run in inputs.runs:
        judge = run.stored.header.get("judge")
        if not judge:
            continue
        ids = judge.get("ids") or {}
        listed = "; ".join(f"{form} {value}" for form, value in ids.items())
        settings = {k: v for k, v in judge.items() if k not in ("ids", "model", "name") and v not in (None, {}, [])}
        words = "; ".join(f"{k} {v}" for k, v in settings.items())
        rows.append([Cell(run.name), Cell(str(judge.get("model") or judge.get("name"))), Cell(listed), Cell(words)])
    return Table(
        "Judges: an id is the hash of model, prompt template, parser and sampling",
        ["run", "judge", "ids", "settings"],
        rows,
    )


def _cost(inputs: Inputs) -> Table:
    rows = []
    for run in inputs.runs:
        judgments = list(run.stored.directory.slim_judgments())
        answers = [r for r in run.stored.responses if r.role == "candidate"]
        n_tokens = [n for r in answers for n in r.n_tokens if n is not None]
        rows.append(
            [
                Cell(run.name),
                Cell(f"{len(answers):,}"),
                recorded(f"{sum(n_tokens):,}" if n_tokens else ""),
                Cell(f"{len(judgments):,}"),
                recorded(cost_of(judgments), "not known"),
                recorded(str(run.stored.header.get("finished") or run.stored.header.get("seconds") or "")),
            ]
        )
    columns = ["run", "answers#", "tokens generated#", "verdicts#", "cost of judging#", "time"]
    return Table("Cost and time", columns, rows)


def _details(run: RunInput, folded: bool) -> Table:
    header = run.stored.header
    lines = [line for entry in header.get("benchmarks", ()) for line in _benchmark(entry)]
    settings = (name for name in ("spec_hash", "seed", "max_unscored") if header.get(name) is not None)
    lines += [(name.replace("_", " "), str(header[name])) for name in settings]
    lines += [("code", _listed(header.get("code") or {})), ("figures computed by", _listed(run.scores.made_by))]
    for name, words in (("data", "data"), ("sources", "source"), ("versions", "version of")):
        lines += [(f"{words} {key}", str(value)) for key, value in (header.get(name) or {}).items()]
    lines += [("note", str(note)) for note in header.get("notes") or ()]
    rows = [[Cell(what), Cell(value)] for what, value in lines]
    return Table(f"All that is recorded of {run.name}", ["what", "value"], rows, folded=folded)


def _benchmark(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    words = f"version {entry.get('version')}, {entry.get('n_prompts')} of {entry.get('n_all_prompts')} prompts"
    sampling = [(f"sampling of {entry['name']}", _listed(settings)) for settings in entry.get("sampling") or ()]
    return [(f"benchmark {entry['name']}", words), *sampling]


def _listed(values: Mapping[str, Any] | Any) -> str:
    if not isinstance(values, Mapping):
        return str(values)
    return ", ".join(f"{k} {_listed(v)}" for k, v in values.items() if v not in (None, [], {}))


PROVENANCE = SectionEntry(
    100, lambda context: [section] if (section := provenance_section(context.inputs)) is not None else []
)
