"""Conversion of other tools' files to a run directory."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.data.file_rows import Row, unique_by
from harness.errors import FileFormatError, RunConflictError, UsageError
from harness.hashing import content_hash, file_sha256
from harness.protocols import DataSource, Imported
from harness.records import Judgment, Prompt, Response, Role, Verdict
from harness.run.score import RunScores, score_run
from harness.store.provenance import code_revision, package_versions
from harness.store.run_directory import RunWriter


def absent_response_id(model: str, prompt_id: str) -> str:
    """Return the id of an answer whose text is in none of the files."""
    return content_hash("absent", model, prompt_id)


def stored_response(
    prompt: Prompt, model: str, turns: Sequence[str], role: Role = "candidate", n_tokens: tuple[int | None, ...] = ()
) -> Response:
    """Return the record of an answer stored by another tool."""
    return Response.to(prompt, model, f"import:{model}", role=role, turns=tuple(turns), n_tokens=n_tokens)


def stored_judgment(
    prompt: Prompt, judge: str, shown: Sequence[tuple[Role, str, Response | None]], verdict: Verdict, **more: Any
) -> Judgment:
    """Return the record of a verdict stored by another tool.

    Parameters
    ----------
    prompt : Prompt
        The question.
    judge : str
        Name of the judge.
    shown : sequence of (role, model, Response or None)
        The answers in the order shown; None for an answer whose text is in none of the files.
    verdict : Verdict
        The verdict.
    **more
        Other fields of `harness.records.Judgment`.
    """
    return Judgment(
        judge=judge,
        judge_id=content_hash("import", prompt.benchmark, judge),
        benchmark=prompt.benchmark,
        prompt_id=prompt.id,
        response_ids=tuple(answer.id if answer else absent_response_id(name, prompt.id) for _, name, answer in shown),
        order=tuple(role for role, _, _ in shown),
        verdict=verdict,
        **more,
    )


def choose_rows(
    rows: Sequence[Row], kind: str, option: str, name_of: Callable[[Row], str], chosen: str | None
) -> tuple[str, list[Row]]:
    """Return the only name in a file, or the chosen one, and its rows; errors as in :func:`choose_one`."""
    names = [name_of(row) for row in rows]
    name = choose_one(kind, option, names, chosen)
    return name, [row for row, other in zip(rows, names, strict=True) if other == name]


def choose_one(kind: str, option: str, found: Iterable[str], chosen: str | None) -> str:
    """Return the only name in a file, or the chosen one.

    Raises
    ------
    UsageError
        There are several names and none was chosen, or the chosen one is missing.
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


def add_duplicates_option(parser: argparse.ArgumentParser, what: str, *, mean: bool = False) -> None:
    """Add ``--duplicates``: what becomes of several verdicts on one thing; `mean` where they can be averaged."""
    choices = ["error", "first", "last", *(["mean"] if mean else [])]
    parser.add_argument(
        "--duplicates",
        choices=choices,
        default="error",
        help=f"several verdicts on one {what}: refuse the file, or take the first, the last"
        + (" or the mean of those that could be read" if mean else "")
        + " (error); what was repaired is counted in the remarks",
    )


def rows_by(
    rows: Sequence[Row], what: str, keys: Sequence[str], repair: str, imported: Imported
) -> dict[str, list[Row]]:
    """Group rows by key, and note in the run what was repaired.

    Parameters
    ----------
    rows : sequence of Row
        The rows of one file.
    what : str
        What a row is: "verdict on".
    keys : sequence of str
        What each row is about.
    repair : str
        The value of ``--duplicates``: "error", "first", "last" or "mean".
    imported : Imported
        Takes the note.

    Returns
    -------
    dict of str to list of Row
        In the file's order; one row each, or all where `repair` is "mean".

    Raises
    ------
    FileFormatError
        A key is there twice and `repair` is "error".
    """
    if repair == "error":
        remedy = "remove one of them, or choose with --duplicates (`assay import KIND --help` has the choices)"
        return {key: [row] for key, row in unique_by(rows, what, keys, remedy).items()}
    found: dict[str, list[Row]] = {}
    for row, key in zip(rows, keys, strict=True):
        found.setdefault(key, []).append(row)
    _note_repeats(imported, what, list(map(len, found.values())), repair)
    if repair == "mean":
        return found
    return {key: [group[0 if repair == "first" else -1]] for key, group in found.items()}


def _note_repeats(imported: Imported, what: str, n_rows: list[int], repair: str) -> None:
    repeated = [n for n in n_rows if n > 1]
    if repeated:
        used = "the mean of those that could be read" if repair == "mean" else f"the {repair} of each"
        imported.notes.append(
            f"{sum(repeated)} rows repeat a {what} {len(repeated)} of {len(n_rows)}: {used} is used "
            f"(--duplicates {repair})"
        )


def write_import(imported: Imported, out: Path, data: DataSource) -> RunScores:
    """Write a run directory and score it.

    Raises
    ------
    RunConflictError
        The directory already holds a run.
    FileFormatError
        The files hold no items.
    """
    if not imported.prompts and not imported.figures:
        raise FileFormatError(imported.sources[0], None, "no items", "at least one question")
    with RunWriter(out) as writer:
        if writer.exists:
            raise RunConflictError(f"{out} already holds a run", "an empty or new directory", "choose another --out")
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
                "n_all_prompts": imported.n_all_prompts or n_prompts,
                **({"baselines": list(imported.baselines)} if imported.baselines else {}),
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
