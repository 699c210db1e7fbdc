"""Every record of a run as Parquet, one file per kind of record, for pandas, DuckDB and similar tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

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
    out.mkdir(parents=True, exist_ok=True)
    kinds: list[tuple[str, type, Iterable[dict[str, Any]]]] = [
        ("prompts", Prompt, (_plain(p) for p in directory.each_prompt())),
        ("responses", Response, (_plain(r) for r in directory.responses().values())),
        ("judgments", Judgment, (_judged(j) for j in directory.judgments().values())),
        ("canaries", Judgment, (_judged(j) for j in directory.canaries().values())),
        ("scores", Score, ({name: getattr(s, name) for name in Score.__dataclass_fields__} for s in scores.scores)),
        ("summary", SummaryRow, (_row(row) for row in scores.rows)),
    ]
    written = (_write(out / f"{name}.parquet", _schema(kind), rows) for name, kind, rows in kinds)
    return [path for path in written if path is not None]


def _schema(kind: type) -> pa.Schema:
    """The columns of a kind of record, by its JSON schema."""
    import pyarrow as pa

    columns = TypeAdapter(kind).json_schema()["properties"]
    if columns.pop("verdict", None) is not None:
        parts = {"kind": "string", "value": "number", "label": "string", "reason": "string"}
        columns |= {f"verdict_{part}": {"type": name} for part, name in parts.items()}
    return pa.schema([(name, _type(column)) for name, column in columns.items()])


def _type(column: Mapping[str, Any]) -> pa.DataType:
    """The type of a column or of the entries of a list; what may be null has the type it has otherwise."""
    import pyarrow as pa

    simple = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}
    shown = next((part for part in column.get("anyOf", ()) if part["type"] != "null"), column)
    return pa.list_(_type(shown["items"])) if shown["type"] == "array" else simple.get(shown["type"], pa.string())


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
