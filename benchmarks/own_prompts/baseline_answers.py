"""The answers a model is compared with: a file of answers, or another run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.own_prompts.prompt_rows import read_prompts
from harness.data.file_rows import Row
from harness.data.row_sources import source_rows
from harness.errors import FileFormatError, MissingDataError, UsageError
from harness.hashing import content_hash
from harness.records import Prompt, Response
from harness.store.run_directory import RunDirectory

_ANSWERS = ("answers", "answer", "response", "output", "completion")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Answered:
    """A baseline's answer: its turns, who gave it, where it stands."""

    turns: tuple[str, ...]
    model: str
    where: str
    error: str = ""


_Index = tuple[dict[str, _Answered], dict[Any, _Answered]]
"""Answers by the prompt's id, and by its turns and system message."""


def baseline_answers(source: str, prompts: Sequence[Prompt]) -> list[Response]:
    """Read the baseline's answers to prompts.

    Parameters
    ----------
    source : str
        A file of rows with an answer (`answer`, or `answers` with one for each turn) and the prompt's `id`, `prompt` or
        `messages`; or a run directory.
    prompts : sequence of Prompt
        The prompts to answer.

    Returns
    -------
    list of Response
        One for each prompt. A run's failed answer stays a failed answer.

    Raises
    ------
    UsageError
        It lacks answers to some prompts.
    FileFormatError
        A row has no answer, or as many as the prompt has no turns.
    """
    path = Path(source)
    if not path.exists():
        raise MissingDataError(f"no such baseline: {source}", "a file of answers or a run directory", "check the path")
    by_id, by_text = _of_run(RunDirectory(path)) if (path / "run.json").is_file() else _of_rows(source, path)
    found = {
        p.id: by_id.get(p.key) or by_text.get((p.turns, p.system)) or by_text.get((p.turns, None)) for p in prompts
    }
    _refuse_lacking(source, [p.key for p in prompts if found[p.id] is None], len(prompts))
    return [_response(p, answered) for p in prompts if (answered := found[p.id]) is not None]


def _refuse_lacking(source: str, lacking: Sequence[str], n_prompts: int) -> None:
    if lacking:
        shown = ", ".join(map(repr, lacking[:_SHOWN])) + (", ..." if len(lacking) > _SHOWN else "")
        raise UsageError(
            f"the baseline {source} lacks answers to {len(lacking)} of {n_prompts} prompts: {shown}",
            "an answer to every prompt, matched by id or by the prompt's text",
            "add them, or remove these prompts",
        )


def _of_rows(source: str, path: Path) -> _Index:
    by_id: dict[str, _Answered] = {}
    by_text: dict[Any, _Answered] = {}
    for row in source_rows(source):
        _index(row, path, by_id, by_text)
    return by_id, by_text


def _of_run(run: RunDirectory) -> _Index:
    prompts = run.prompts()
    found: dict[Any, _Answered] = {}
    for answer in run.responses().values():
        if answer.role == "candidate" and answer.sample == 0 and answer.prompt_id in prompts:
            asked = prompts[answer.prompt_id]
            found[asked.turns, asked.system] = _Answered(
                answer.turns, answer.model, str(run.path), "" if answer.ok else answer.error or "failed"
            )
    return {}, found


def _index(row: Row, path: Path, by_id: dict[str, _Answered], by_text: dict[Any, _Answered]) -> None:
    turns = _turns(row)
    model = row.values.get("model")
    answered = _Answered(turns, str(model) if model else path.name.split(".")[0], row.where)
    identifier = row.values.get("id")
    if identifier is not None:
        if str(identifier) in by_id:
            raise row.error(f"the id {str(identifier)!r:.60} is there twice", "one answer to each prompt")
        by_id[str(identifier)] = answered
    if row.values.get("prompt") or row.values.get("messages"):
        for prompt in _prompt_of(row):
            by_text[prompt.turns, prompt.system] = answered
    elif identifier is None:
        raise row.error("neither id nor prompt", "the id or the text of the prompt that is answered")


def _prompt_of(row: Row) -> Iterator[Prompt]:
    values = {name: row.values[name] for name in ("prompt", "messages", "system") if row.values.get(name)}
    yield from read_prompts([Row(row.path, row.line, values, row.place)], "", {})


def _turns(row: Row) -> tuple[str, ...]:
    name = next((name for name in _ANSWERS if row.values.get(name) is not None), None)
    if name is None:
        there = ", ".join(map(str, list(row.values)[:12])) or "none"
        raise row.error(f"no answer (columns: {there})", "one of " + ", ".join(_ANSWERS))
    value = row.values[name]
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(text, str) for text in found):
        raise row.error(f"{name} is {value!r:.60}", "text, or a list with one text for each turn")
    return tuple(found)


def _response(prompt: Prompt, answered: _Answered) -> Response:
    if not answered.error and len(answered.turns) != len(prompt.turns):
        raise FileFormatError(
            answered.where,
            None,
            f"{len(answered.turns)} answers to the prompt {prompt.key!r}, which has {len(prompt.turns)} turns",
            "one answer for each turn",
        )
    return Response(
        prompt_id=prompt.id,
        benchmark=prompt.benchmark,
        model=answered.model,
        model_id=f"baseline:{content_hash('baseline', answered.model)[:16]}",
        role="baseline",
        turns=answered.turns,
        finish="error" if answered.error else "stop",
        error=answered.error,
    )
