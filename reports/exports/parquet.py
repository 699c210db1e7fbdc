"""Every record of a run as Parquet, one file per kind of record, for pandas, DuckDB and similar tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records import Judgment, Prompt, Response, Score, SummaryRow
from harness.run.score import RunScores
from harness.store.run_directory import RunDirectory
from reports.exports import Exporter

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 10_000


def write_parquet(directory: RunDirectory, scores: RunScores, out: Path) -> list[Path]:
    """Write prompts, responses, judgments, canaries, scores and the summary.

    Parameters
    ----------
    directory : RunDirectory
        The run.
    scores : RunScores
        Its figures.
    out : Path
        A directory; files of the same names are replaced.

    Returns
    -------
    list of Path
        The files, one per kind of record in the run. Nested values (``meta``) are JSON text; a verdict is spread
        over ``verdict_kind``, ``verdict_value``, ``verdict_label`` and ``verdict_reason``.
    """
    import pyarrow as pa

    text, number, whole = pa.string(), pa.float64(), pa.int64()
    texts, wholes = pa.list_(text), pa.list_(whole)
    out.mkdir(parents=True, exist_ok=True)
    common = {"id": text, "benchmark": text}
    kinds: list[tuple[str, dict[str, Any], Iterable[dict[str, Any]]]] = [
        (
            "prompts",
            {**common, "version": text, "key": text, "turns": texts, "system": text, "reference": texts}
            | {"category": text, "cluster": text, "meta": text},
            (_plain(p) for p in directory.each_prompt()),
        ),
        (
            "responses",
            {**common, "prompt_id": text, "model": text, "model_id": text, "role": text, "sample": whole}
            | {"turns": texts, "finish": text, "n_tokens": wholes, "seed": whole, "error": text}
            | {"retryable": pa.bool_(), "meta": text},
            (_plain(r) for r in directory.responses().values()),
        ),
        ("judgments", _judgment_fields(pa), (_judged(j) for j in directory.judgments().values())),
        ("canaries", _judgment_fields(pa), (_judged(j) for j in directory.canaries().values())),
        (
            "scores",
            {"benchmark": text, "prompt_id": text, "metric": text, "part": text, "cluster": text, "value": number}
            | {"reason": text, "weight": number, "category": text},
            ({name: getattr(s, name) for name in Score.__dataclass_fields__} for s in scores.scores),
        ),
        (
            "summary",
            {"benchmark": text, "metric": text, "value": number, "stderr": number, "ci_low": number, "ci_high": number}
            | {"level": number, "method": text, "n": whole, "n_clusters": whole, "n_unscored": whole}
            | {"unscored": text, "reason": text},
            (_row(row) for row in scores.rows),
        ),
    ]
    written = (_write(out / f"{name}.parquet", pa.schema(list(fields.items())), rows) for name, fields, rows in kinds)
    return [path for path in written if path is not None]


def _judgment_fields(pa: Any) -> dict[str, Any]:
    text, number, whole = pa.string(), pa.float64(), pa.int64()
    fields = {"id": text, "benchmark": text, "prompt_id": text, "judge": text, "judge_id": text}
    fields |= {"response_ids": pa.list_(text), "order": pa.list_(text), "turn": whole, "game": whole}
    fields |= {"verdict_kind": text, "verdict_value": number, "verdict_label": text, "verdict_reason": text}
    fields |= {"raw": text, "n_prompt_tokens": whole, "n_completion_tokens": whole, "cost": number, "currency": text}
    return fields | {"request_hash": text, "cached": pa.bool_(), "meta": text}


def _plain(record: Prompt | Response) -> dict[str, Any]:
    fields = record.model_dump(mode="json")
    fields["meta"] = json.dumps(fields["meta"], ensure_ascii=False)
    return fields


def _judged(judgment: Judgment) -> dict[str, Any]:
    fields = judgment.model_dump(mode="json")
    verdict = fields.pop("verdict")
    fields["meta"] = json.dumps(fields["meta"], ensure_ascii=False)
    fields["verdict_kind"] = verdict["kind"]
    fields["verdict_value"] = verdict.get("value", verdict.get("p_first"))
    fields["verdict_label"] = verdict.get("label")
    fields["verdict_reason"] = verdict.get("reason")
    return fields


def _row(row: SummaryRow) -> dict[str, Any]:
    fields = row.model_dump(mode="json")
    fields["unscored"] = json.dumps(fields["unscored"])
    return fields


def _write(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> Path | None:
    """Write rows batch by batch, so that a large run needs little memory; no file is written if there are none."""
    import pyarrow.parquet as pq

    batches = _batches(iter(rows))
    first = next(batches, None)
    if first is None:
        path.unlink(missing_ok=True)
        return None
    import pyarrow as pa

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        writer.write_table(pa.Table.from_pylist(first, schema=schema))
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return path


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


EXPORTER = Exporter(
    "parquet",
    "every record, one Parquet file per kind, into the directory --out",
    lambda directories, scores, out: write_parquet(directories[0], scores[0], out),
)
