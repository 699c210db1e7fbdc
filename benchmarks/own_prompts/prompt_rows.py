"""Rows of a file as prompts: one `prompt`, or `messages`, with optional fields."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.data.file_rows import Row
from harness.errors import SpecError, nearest
from harness.hashing import content_hash
from harness.records import Prompt

FIELDS = ("prompt", "messages", "id", "reference", "category", "system", "cluster", "weight")
VERSION = "1"
"""The version of the rules by which a row becomes a prompt; the prompts themselves are identified by their content."""

_CONTENT = ("prompt", "messages")


def chosen_columns(columns: Mapping[str, str]) -> Mapping[str, str]:
    """Check a mapping of fields to columns.

    Raises
    ------
    SpecError
        A field is unknown.
    """
    for field in columns:
        if field not in FIELDS:
            close = nearest(field, FIELDS)
            raise SpecError(
                f"columns: unknown field {field!r}",
                "FIELD=COLUMN with a field of " + ", ".join(FIELDS),
                f"did you mean {close!r}?" if close else "",
            )
    return columns


def read_prompts(rows: Iterable[Row], benchmark: str, columns: Mapping[str, str]) -> Iterator[Prompt]:
    """Convert rows to prompts.

    Parameters
    ----------
    rows : iterable of Row
        The rows.
    benchmark : str
        Name of the benchmark.
    columns : mapping of str to str
        The column of a field, where it does not have the field's name.

    Raises
    ------
    FileFormatError
        A row has no prompt, a field has the wrong type, its conversation cannot be represented, or two rows have the
        same id.
    """
    places: dict[str, str] = {}
    for row in rows:
        prompt = _prompt(row, benchmark, columns)
        place = row.place or f"line {row.line}"
        if prompt.key in places:
            own = _field(row, "id", columns) is not None
            raise row.error(
                f"{'the id ' + repr(prompt.key) if own else 'the same prompt'} is there twice (first: "
                f"{places[prompt.key]})",
                "distinct ids" if own else "each prompt once, or an id for each row",
                "remove or rename one of them",
            )
        places[prompt.key] = place
        yield prompt


def _prompt(row: Row, benchmark: str, columns: Mapping[str, str]) -> Prompt:
    system, turns, reference = _conversation(row, columns)
    own = _text(row, "system", columns)
    if own is not None and system is not None:
        raise row.error("a system message both in `system` and in `messages`", "one of them")
    system = own if own is not None else system
    identifier = _label(row, "id", columns)
    weight = _weight(row, columns)
    return Prompt(
        benchmark=benchmark,
        version=VERSION,
        key=content_hash("prompt", list(turns), system)[:16] if identifier is None else identifier,
        turns=turns,
        system=system,
        reference=_reference(row, columns) or reference,
        category=_label(row, "category", columns),
        cluster=_label(row, "cluster", columns) or "",
        meta={} if weight == 1.0 else {"weight": weight},
    )


def _conversation(row: Row, columns: Mapping[str, str]) -> tuple[str | None, tuple[str, ...], tuple[str, ...] | None]:
    """Return the system message, the user's turns, and the answer at the end of `messages` if there is one."""
    prompt, messages = _text(row, "prompt", columns), _field(row, "messages", columns)
    if prompt is not None and messages is not None:
        raise row.error("both prompt and messages", "one of them")
    if prompt is not None:
        if not prompt.strip():
            raise row.error("the prompt is empty", "text")
        return None, (prompt,), None
    if messages is None:
        raise _no_prompt(row, columns)
    return _of_messages(row, _decoded(row, messages))


def _no_prompt(row: Row, columns: Mapping[str, str]) -> Exception:
    found = ", ".join(map(str, list(row.values)[:12])) or "none"
    wanted = " or ".join(columns.get(field, field) for field in _CONTENT)
    return row.error(
        f"no column {wanted} (columns: {found})",
        "prompt or messages; optional: " + ", ".join(f for f in FIELDS if f not in _CONTENT),
        "name the column, for example --columns prompt=question",
    )


def _decoded(row: Row, messages: Any) -> list[Any]:
    """Return messages as a list; CSV holds them as JSON text."""
    if isinstance(messages, str) and messages.lstrip().startswith("["):
        try:
            messages = json.loads(messages)
        except ValueError as error:
            raise row.error(f"messages is not valid JSON ({error})", "a list of messages") from error
    if not isinstance(messages, list) or not messages:
        raise row.error(f"messages is {messages!r:.60}", 'a list of {"role": ..., "content": ...}')
    return messages


def _of_messages(row: Row, messages: Sequence[Any]) -> tuple[str | None, tuple[str, ...], tuple[str, ...] | None]:
    system: str | None = None
    turns: list[str] = []
    answer: tuple[str, ...] | None = None
    for place, message in enumerate(messages, 1):
        role, text = _role_and_text(row, message, place)
        if answer is not None:
            raise row.error(
                f"message {place - 1} is an assistant turn before the end: the model under test answers every user "
                "turn itself, so a fixed answer between them cannot be shown to it",
                "system, then user turns, then at most one assistant turn (the reference)",
                "remove it, or write the earlier conversation into the prompt",
            )
        if role == "system" and place == 1:
            system = text
        elif role == "user":
            turns.append(text)
        elif role == "assistant" and turns:
            answer = (text,)
        else:
            raise row.error(f"message {place} has the role {role!r} there", "system first, then user turns")
    if not turns:
        raise row.error("no user turn in messages", "at least one")
    return system, tuple(turns), answer


def _role_and_text(row: Row, message: Any, place: int) -> tuple[str, str]:
    if not isinstance(message, Mapping) or message.get("role") not in ("system", "user", "assistant"):
        found = message.get("role") if isinstance(message, Mapping) else message
        raise row.error(f"message {place} has the role {found!r:.60}", "system, user or assistant")
    content = message.get("content")
    if isinstance(content, list):
        content = _joined(row, content, place)
    if not isinstance(content, str) or not content.strip():
        raise row.error(f"message {place} has the content {content!r:.60}", "text")
    return str(message["role"]), content


def _joined(row: Row, content: Sequence[Any], place: int) -> str:
    parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
    if not all(isinstance(part, str) for part in parts):
        raise row.error(f"message {place} holds parts that are not text", "text only")
    return "".join(map(str, parts))


def _reference(row: Row, columns: Mapping[str, str]) -> tuple[str, ...] | None:
    value = _field(row, "reference", columns)
    if value is None:
        return None
    found = value if isinstance(value, list) else [value]
    if not found or any(isinstance(item, bool) or not isinstance(item, str | int | float) for item in found):
        raise row.error(f"reference is {value!r:.60}", "text, or a list of texts")
    return tuple(str(item) for item in found)


def _weight(row: Row, columns: Mapping[str, str]) -> float:
    value = _field(row, "weight", columns)
    if value is None:
        return 1.0
    try:
        weight = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise row.error(f"weight is {value!r:.60}", "a number above 0", "remove rows that should not count")
    return weight


def _label(row: Row, field: str, columns: Mapping[str, str]) -> str | None:
    value = _field(row, field, columns)
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise row.error(f"{field} is {value!r:.60}", "text")
    return None if value is None else str(value)


def _text(row: Row, field: str, columns: Mapping[str, str]) -> str | None:
    value = _field(row, field, columns)
    if value is not None and not isinstance(value, str):
        raise row.error(f"{field} is {value!r:.60}", "text")
    return value


def _field(row: Row, field: str, columns: Mapping[str, str]) -> Any:
    """Return a field; None where it is missing or empty.

    Raises
    ------
    FileFormatError
        A column that the user named does not exist.
    """
    column = columns.get(field, field)
    if field in columns and column not in row.values:
        found = ", ".join(map(str, list(row.values)[:12])) or "none"
        raise row.error(f"no column {column!r}, which `columns` names for {field}", f"one of: {found}")
    value = row.values.get(column)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return None if value == "" and field != "prompt" else value
