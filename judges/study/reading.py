"""Reading human votes and judges' verdicts: files of any known format, folders of them, run directories."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path

from harness.data.file_rows import Row
from harness.data.votes import Grade, Side, StatedPreference
from harness.errors import FileFormatError, MissingDataError, UsageError
from judges.study.run_rows import Verdict, statements_of_run
from judges.study.statements import SUFFIXES, content_hash_of, each_statement, files_of, unexpected
from judges.study.vote_records import JudgeFile, PairFacts, PairKey, Presentation, RowKey, Vote, VoteFile, merged


def read_votes(path: Path, voters: str | None = None) -> VoteFile:
    """Read human votes.

    Parameters
    ----------
    path : Path
        A file of votes (FastChat's, alpaca_eval's cross-annotations, our own JSONL) or of gold labels (LLMBar's). Where
        rows hold gold labels and a judge's verdicts, the gold labels are the votes.
    voters : str, optional
        A pattern their names must match ("expert*"); all where not given.

    Returns
    -------
    VoteFile

    Raises
    ------
    MissingDataError, FileFormatError
        No such file; a record that is no vote; an automatic judge's verdicts without gold labels; gold labels on some
        rows only; no votes at all.
    UsageError
        No voter matches.
    """
    stated_in_all = list(_preferences(path))
    chosen = _votes_among(stated_in_all)
    content = content_hash_of(path)
    found = VoteFile(source=str(path), n_verdicts=len(stated_in_all) - len(chosen))
    others: set[str] = set()
    for row, stated in chosen:
        if stated.p_a is None:
            raise row.error(f"no vote ({stated.reason})", "a winner: model_a, model_b or tie", "leave the line out")
        if voters is None or fnmatchcase(stated.who, voters):
            _add_vote(found, stated, row, content)
        else:
            others.add(stated.who)
    if not found.votes and others:
        raise UsageError(f"no voter matches {voters!r}", "one of " + ", ".join(sorted(others)[:12]), "check --voters")
    if not found.votes:
        raise FileFormatError(path, None, "no votes", "at least one")
    return found


def _preferences(path: Path) -> Iterator[tuple[Row, StatedPreference]]:
    for row, stated in each_statement(path):
        if not isinstance(stated, StatedPreference):
            raise unexpected(row, stated, "votes between two answers")
        yield row, stated


def _votes_among(stated: list[tuple[Row, StatedPreference]]) -> list[tuple[Row, StatedPreference]]:
    """The gold labels where there are any, else the votes; never an automatic judge's verdicts."""
    gold = [(row, one) for row, one in stated if one.given_by == "gold"]
    if not gold:
        for row, one in stated:
            if one.given_by == "judge":
                raise row.error(
                    "verdicts of an automatic judge, and no gold label",
                    "votes of people, or gold labels",
                    "give this file with --judgments, and votes of people with --human",
                )
        return stated
    labelled = {row.line for row, _ in gold}
    for row, _ in stated:
        if row.line not in labelled:
            raise row.error(
                f"no gold label, but {len(gold)} other rows have one",
                "gold labels on all rows, or votes of people alone",
                "add the label, leave the row out, or put votes and gold labels into two files",
            )
    return gold


def _add_vote(file: VoteFile, stated: StatedPreference, row: Row, content: str) -> None:
    file.by_text = file.by_text or stated.by_text
    file.is_gold = file.is_gold or stated.given_by == "gold"
    file.rows.add(RowKey(content, row.line, stated.given_by == "gold"))
    if stated.is_of_one_text:
        file.n_same_text += 1
        return
    key, shown = _keyed(stated, row.path, row.line)
    file.votes.append(Vote(key, stated.who, shown.p_a or 0.0))
    _add_facts(file.facts, key, shown)


@dataclass
class _Judge:
    """What one judge states, wherever it is read."""

    file: JudgeFile
    preferences: list[tuple[StatedPreference, Path, int | None]] = field(default_factory=list)
    grades: list[Grade] = field(default_factory=list)

    def add(self, stated: Verdict, path: Path, row: RowKey | None) -> None:
        """Take a verdict, and the row of the file where it is one of a file."""
        line = None if row is None else row.line
        if row is not None:
            self.file.rows.add(row)
        if str(path) not in self.file.sources:
            self.file.sources.append(str(path))
        if isinstance(stated, Grade):
            self.grades.append(stated)
        else:
            self.preferences.append((stated, path, line))
            self.file.by_text = self.file.by_text or stated.by_text


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
    judges: dict[str, _Judge] = {}
    for name, path in sources:
        problems: list[str] = []
        verdicts = _of_files(path)
        if (path / "run.json").is_file():
            found, problems = statements_of_run(path)
            verdicts = ((stated, path, None) for stated in found)
        named: dict[str, _Judge] = {}
        for stated, place, row in verdicts:
            called = name or stated.who or _stem(place)
            named[called] = judges.setdefault(called, _Judge(JudgeFile(called)))
            named[called].add(stated, place, row)
        if not named:
            raise MissingDataError(f"{path} holds no judgments", "at least one verdict", "check that it was judged")
        for judge in named.values():
            judge.file.problems += problems
    return [_filled(judge) for judge in judges.values()]


def _of_files(path: Path) -> Iterator[tuple[Verdict, Path, RowKey | None]]:
    for file in files_of(path):
        content = content_hash_of(file)
        verdicts = list(_verdicts(file))
        # gold labels beside verdicts are the other side of a study; alone, they are a judge that is never wrong
        without_gold = [(row, one) for row, one in verdicts if not _is_gold(one)]
        for row, stated in without_gold or verdicts:
            yield stated, row.path, RowKey(content, row.line, _is_gold(stated))


def _verdicts(file: Path) -> Iterator[tuple[Row, Verdict]]:
    for row, stated in each_statement(file):
        if not isinstance(stated, StatedPreference | Grade):
            raise unexpected(row, stated, "verdicts on answers")
        yield row, stated


def _is_gold(stated: Verdict) -> bool:
    return isinstance(stated, StatedPreference) and stated.given_by == "gold"


def _stem(path: Path) -> str:
    return next((path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)), path.name)


def _keyed(stated: StatedPreference, path: Path, line: int | None) -> tuple[PairKey, StatedPreference]:
    """The pair of a preference, and the preference with its answers in the key's order."""
    if stated.a.name == stated.b.name:
        raise FileFormatError(path, line, f"{stated.a.name!r} against itself", "two answers")
    stated = stated.swapped if stated.a.name > stated.b.name else stated
    return PairKey(stated.prompt, stated.turn, stated.a.name, stated.b.name), stated


def _add_facts(known: dict[PairKey, PairFacts], key: PairKey, stated: StatedPreference) -> None:
    a, b = stated.a, stated.b
    facts = PairFacts(
        a.model, b.model, a.n_characters, b.n_characters, stated.prompt_text, a.text, b.text, stated.category
    )
    known[key] = merged({key: known[key]}, {key: facts})[key] if key in known else facts


def _filled(judge: _Judge) -> JudgeFile:
    """Turn what a judge states into presentations of pairs."""
    file = judge.file
    n_said: Counter[tuple[PairKey, int]] = Counter()
    paired = ((stated, Path(file.sources[0]), None) for stated in _paired(judge.grades))
    for stated, path, line in (*judge.preferences, *paired):
        if stated.is_of_one_text:
            file.n_same_text += 1
            continue
        key, shown = _keyed(stated, path, line)
        _add_facts(file.facts, key, shown)
        n_said[key, stated.game] += 1
        is_first = (shown is stated) if stated.ordered else None
        repeat = stated.repeat or n_said[key, stated.game]
        judged = (shown.p_a, stated.reason, is_first, stated.game, repeat, stated.inconsistent, stated.cost)
        file.presentations.append(Presentation(key, *judged))
    return file


def _paired(grades: list[Grade]) -> Iterator[StatedPreference]:
    """Every two graded answers to a question, the higher grade preferred; a failed grade leaves no verdict.

    A grade given again is a repetition: the first grades of two models are compared, then the second ones.
    """
    graded: dict[tuple[str, int], dict[str, list[Grade]]] = defaultdict(lambda: defaultdict(list))
    for grade in grades:
        graded[grade.prompt, grade.turn][grade.model].append(grade)
    for models in graded.values():
        for one, other in combinations(sorted(models), 2):
            for repeat, (a, b) in enumerate(zip(models[one], models[other], strict=False), 1):
                yield _of_grades(a, b, repeat, len(models) - 1)


def _of_grades(a: Grade, b: Grade, repeat: int, n_pairs_of_each: int) -> StatedPreference:
    p_a, reason = None, "unparsed"
    if a.value is not None and b.value is not None:
        p_a, reason = (0.5 if a.value == b.value else float(a.value > b.value)), ""
    cost = None if a.cost is None or b.cost is None else (a.cost + b.cost) / n_pairs_of_each
    sides = Side.of_model(a.model), Side.of_model(b.model)
    return StatedPreference(a.prompt, *sides, a.who, p_a, reason, a.turn, repeat=repeat, cost=cost)
