"""Reading human votes and judges' verdicts: files of any known format, folders of them, run directories."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Any

from harness.errors import FileFormatError, MissingDataError, UsageError
from harness.store.jsonl import read_text
from judges.study.formats import grade_of, is_by_text, is_grade, rows_of
from judges.study.run_rows import rows_of_run
from judges.study.verdict_rows import Grade, Row, RowError
from judges.study.vote_records import JudgeFile, PairFacts, PairKey, Presentation, Vote, VoteFile, merged

__all__ = ["files_of", "read_judges", "read_votes", "records_of"]

_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".json.xz", ".jsonl.xz")


def read_votes(path: Path, voters: str | None = None) -> VoteFile:
    """Read human votes.

    Parameters
    ----------
    path : Path
        A file of votes (FastChat's, alpaca_eval's cross-annotations, LLMBar's gold labels, our own JSONL).
    voters : str, optional
        A pattern their names must match ("expert*"); all where not given.

    Returns
    -------
    VoteFile

    Raises
    ------
    MissingDataError, FileFormatError
        No such file; a record that is no vote; no votes at all.
    UsageError
        No voter matches.
    """
    found = VoteFile(source=str(path))
    others: Counter[str] = Counter()
    for line, record in records_of(path):
        if is_grade(record):
            raise FileFormatError(path, line, "a judge's grade of one answer", "votes between two answers")
        found.by_text = found.by_text or is_by_text(record)
        for row in _rows(path, line, record):
            if row.p_a is None:
                raise FileFormatError(
                    path, line, f"no vote ({row.reason})", "a winner: model_a, model_b or tie", "leave the line out"
                )
            if voters is not None and not fnmatchcase(row.who, voters):
                others[row.who] += 1
                continue
            if row.same_text:
                found.n_same_text += 1
                continue
            key, facts, flipped = _keyed(row, path, line)
            found.votes.append(Vote(key, row.who, 1.0 - row.p_a if flipped else row.p_a))
            found.facts = _with(found.facts, key, facts)
    if not found.votes and others:
        raise UsageError(f"no voter matches {voters!r}", "one of " + ", ".join(sorted(others)[:12]), "check --voters")
    if not found.votes:
        raise FileFormatError(path, None, "no votes", "at least one")
    return found


def read_judges(sources: Iterable[tuple[str | None, Path]]) -> list[JudgeFile]:
    """Read verdicts.

    Parameters
    ----------
    sources : iterable of (name, path)
        Where, and what to call the judge; None takes the names the files give. What has one name is one judge, and
        what it says twice of one pair in one order is a repetition.

    Returns
    -------
    list of JudgeFile
        In the order first named.

    Raises
    ------
    MissingDataError, FileFormatError
        Nothing there; a record of no known format; no verdicts.
    """
    rows: dict[str, list[tuple[Row, Path, int | None]]] = {}
    grades: dict[str, list[Grade]] = defaultdict(list)
    judges: dict[str, JudgeFile] = {}

    def judge(name: str | None, who: str, path: Path) -> str:
        called = name or who or _stem(path)
        known = judges.setdefault(called, JudgeFile(called))
        if str(path) not in known.sources:
            known.sources.append(str(path))
        rows.setdefault(called, [])
        return called

    for name, path in sources:
        before = sum(map(len, rows.values())) + sum(map(len, grades.values()))
        if (path / "run.json").is_file():
            run = rows_of_run(path)
            named = [(judge(name, row.who, path), row) for row in run.rows]
            graded = [(judge(name, grade.who, path), grade) for grade in run.grades]
            for called, row in named:
                rows[called].append((row, path, None))
            for called, grade in graded:
                grades[called].append(grade)
            for called in {called for called, _ in (*named, *graded)}:
                judges[called].problems += run.problems
        else:
            for file in files_of(path):
                for line, record in records_of(file):
                    if is_grade(record):
                        grade = _grade(file, line, record)
                        grades[judge(name, grade.who, file)].append(grade)
                        continue
                    for row in _rows(file, line, record):
                        called = judge(name, row.who, file)
                        rows[called].append((row, file, line))
                        judges[called].by_text = judges[called].by_text or is_by_text(record)
        if sum(map(len, rows.values())) + sum(map(len, grades.values())) == before:
            raise MissingDataError(f"{path} holds no judgments", "at least one verdict", "check that it was judged")
    for called, mine in judges.items():
        _fill(mine, rows[called], grades[called])
    return list(judges.values())


def _stem(path: Path) -> str:
    return next((path.name.removesuffix(suffix) for suffix in _SUFFIXES if path.name.endswith(suffix)), path.name)


def files_of(path: Path) -> list[Path]:
    """The file, or the JSON and JSON-lines files of a folder.

    Raises
    ------
    MissingDataError
        A folder without any.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES))
    if not files:
        raise MissingDataError(
            f"{path} holds neither a run (run.json) nor .json or .jsonl files", "a run directory or judgment files"
        )
    return files


def records_of(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Read the records of a JSON list or of JSON lines, with line (or element) numbers.

    Raises
    ------
    MissingDataError, FileFormatError
        No such file, or no JSON objects.
    """
    text = read_text(path)
    escaped = "\\ud" in text or "\\uD" in text
    if text.lstrip().startswith("["):
        try:
            records = json.loads(text)
        except json.JSONDecodeError as error:
            raise FileFormatError(path, error.lineno, f"not valid JSON ({error.msg})", "a list of records") from error
        numbered: Iterable[tuple[int, Any]] = enumerate(records, 1)
    else:
        numbered = _lines(path, text)
    for number, record in numbered:
        if not isinstance(record, Mapping):
            raise FileFormatError(path, number, f"{type(record).__name__} instead of a record", "a JSON object")
        yield number, _well_formed(record) if escaped else record


def _well_formed(value: Any) -> Any:
    """Replace lone surrogates, which JSON's escapes allow and UTF-8 does not, by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_well_formed(name): _well_formed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_well_formed(part) for part in value]
    return value


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise FileFormatError(path, number, f"not valid JSON ({error.msg})", "one object a line") from error


def _rows(path: Path, line: int, record: Mapping[str, Any]) -> list[Row]:
    try:
        return rows_of(record)
    except RowError as error:
        raise FileFormatError(path, line, error.found, error.allowed) from error


def _grade(path: Path, line: int, record: Mapping[str, Any]) -> Grade:
    try:
        return grade_of(record)
    except (RowError, TypeError, ValueError, OverflowError) as error:
        raise FileFormatError(path, line, str(error), "question_id, model, score") from error


def _keyed(row: Row, path: Path, line: int | None) -> tuple[PairKey, PairFacts, bool]:
    """The pair of a row, what the row says of it, and whether its answers change places in the key."""
    if row.answer_a == row.answer_b:
        raise FileFormatError(path, line, f"{row.answer_a!r} against itself", "two answers")
    flipped = row.answer_a > row.answer_b
    a, b = (row.facts_b, row.facts_a) if flipped else (row.facts_a, row.facts_b)
    names = (row.answer_b, row.answer_a) if flipped else (row.answer_a, row.answer_b)
    lengths = [
        len(side["text"]) if side.get("length") is None and side.get("text") is not None else side.get("length")
        for side in (a, b)
    ]
    facts = PairFacts(
        a.get("model"),
        b.get("model"),
        lengths[0],
        lengths[1],
        row.facts.get("prompt_text"),
        a.get("text"),
        b.get("text"),
        row.facts.get("category"),
    )
    return PairKey(row.prompt, row.turn, *names), facts, flipped


def _with(known: dict[PairKey, PairFacts], key: PairKey, facts: PairFacts) -> dict[PairKey, PairFacts]:
    if key in known:
        facts = merged({key: known[key]}, {key: facts})[key]
    known[key] = facts
    return known


def _fill(judge: JudgeFile, rows: list[tuple[Row, Path, int | None]], grades: list[Grade]) -> None:
    said: Counter[tuple[PairKey, int]] = Counter()
    paired = [(row, Path(judge.sources[0]), None) for row in _paired(grades)]
    for row, path, line in [*rows, *paired]:
        if row.same_text:
            judge.n_same_text += 1
            continue
        key, facts, flipped = _keyed(row, path, line)
        judge.facts = _with(judge.facts, key, facts)
        said[key, row.game] += 1
        p_first = row.p_a if row.p_a is None or not flipped else 1.0 - row.p_a
        judge.presentations.append(
            Presentation(
                key,
                p_first,
                row.reason,
                (not flipped) if row.ordered else None,
                row.game,
                row.repeat or said[key, row.game],
                row.inconsistent,
                row.cost,
            )
        )


def _paired(grades: list[Grade]) -> Iterator[Row]:
    """Every two graded answers to a question, the higher grade preferred; a failed grade leaves no verdict.

    A grade given again is a repetition: the first grades of two models are compared, then the second ones.
    """
    graded: dict[tuple[str, int], dict[str, list[Grade]]] = defaultdict(lambda: defaultdict(list))
    for grade in grades:
        graded[grade.prompt, grade.turn][grade.model].append(grade)
    for (prompt, turn), models in graded.items():
        for one, other in combinations(sorted(models), 2):
            for repeat, (a, b) in enumerate(zip(models[one], models[other], strict=False), 1):
                cost = None if a.cost is None or b.cost is None else (a.cost + b.cost) / max(1, len(models) - 1)
                row = Row(prompt, one, other, a.who, None, turn, "unparsed", repeat=repeat, cost=cost)
                row = replace(row, facts_a={"model": one}, facts_b={"model": other})
                if a.value is not None and b.value is not None:
                    p_a = 0.5 if a.value == b.value else float(a.value > b.value)
                    row = replace(row, p_a=p_a, reason="")
                yield row
