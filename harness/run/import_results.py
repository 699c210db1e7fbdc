"""Turning files other tools wrote into a run directory."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.errors import FileFormatError, RunConflictError, UsageError
from harness.hashing import content_hash, file_sha256
from harness.protocols import DataSource
from harness.records import Judgment, Prompt, Response, SummaryRow
from harness.run.score import RunScores, score_run
from harness.store.provenance import code_revision, package_versions
from harness.store.run_directory import RunWriter

__all__ = ["Imported", "Importer", "absent_response_id", "choose_one", "write_import"]


@dataclass
class Imported:
    """What files hold of one model's run.

    Parameters
    ----------
    asked_as : str
        The benchmark, with `@version` where several are offered.
    benchmark : str
        Its name in tables.
    version : str
        Version of its questions.
    model : str
        The model that was judged.
    judge : str
        The judge, as the files name it.
    prompts, responses, judgments : list
        The records.
    sources : list of Path
        The files, for run.json.
    notes : list of str
        What a reader of the figures should know.
    figures : list of SummaryRow
        Figures the files give without the items behind them.
    """

    asked_as: str
    benchmark: str
    version: str
    model: str
    judge: str
    prompts: list[Prompt] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: list[SummaryRow] = field(default_factory=list)


class Importer(Protocol):
    """Reads one tool's files. Registered under the entry point ``assay.importers``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the files' options."""
        ...

    def read(self, arguments: argparse.Namespace) -> Imported:
        """Read the files.

        Raises
        ------
        FileFormatError
            A line or field is not what the format says.
        UsageError
            The files hold several models or judges and none was chosen.
        """
        ...


def absent_response_id(model: str, prompt_id: str) -> str:
    """Stand for an answer whose text is in none of the files."""
    return content_hash("absent", model, prompt_id)


def choose_one(kind: str, option: str, found: Iterable[str], chosen: str | None) -> str:
    """Choose the one name in a file, or the one asked for.

    Raises
    ------
    UsageError
        There are several and none was chosen, or the chosen one is not there.
    """
    names = sorted(set(found))
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    if chosen is not None:
        if chosen not in names:
            from harness.errors import nearest

            close = nearest(chosen, names)
            raise UsageError(f"no {kind} {chosen!r} in the file", listed, f"did you mean {close}?" if close else "")
        return chosen
    if len(names) != 1:
        raise UsageError(f"the file holds {len(names)} {kind}s: {listed}", f"one {kind}", f"choose with {option} NAME")
    return names[0]


def write_import(imported: Imported, out: Path, data: DataSource) -> RunScores:
    """Write a run directory and score it.

    Raises
    ------
    RunConflictError
        The directory holds a run already.
    FileFormatError
        The files hold no items.
    """
    if not imported.prompts and not imported.figures:
        raise FileFormatError(imported.sources[0], None, "no items", "at least one question")
    with RunWriter(out) as writer:
        if writer.exists:
            raise RunConflictError(f"{out} holds a run already", "an empty or new directory", "choose another --out")
        writer.write_header(_header(imported))
        for record in (*imported.prompts, *imported.responses, *imported.judgments):
            writer.append(record)
        writer.sync()
        scores = score_run(writer, data, complete=True)
        writer.record_data(data.used())
        writer.write_scores(scores.scores)
        writer.write_summary(scores.as_json())
        writer.write_manifest()
    return scores


def _header(imported: Imported) -> dict[str, Any]:
    n_prompts = len(imported.prompts)
    return {
        "kind": "import",
        "model": {"name": imported.model, "source": "import", "engine": None, "model_id": None},
        "judge": {
            "model": imported.judge,
            "ids": {j.judge_id: imported.judge for j in imported.judgments},
        },
        "benchmarks": [
            {
                "name": imported.benchmark,
                "version": imported.version,
                "asked_as": imported.asked_as,
                "n_prompts": n_prompts,
                "n_all_prompts": n_prompts,
                "left_out": [],
            }
        ],
        "sources": {str(path): file_sha256(path) for path in imported.sources},
        "notes": imported.notes,
        "figures": [figure.model_dump(mode="json") for figure in imported.figures],
        "max_unscored": 0.01,
        "code": code_revision(),
        "versions": package_versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
