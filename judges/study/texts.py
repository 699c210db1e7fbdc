"""Texts of the pairs: from FastChat's answer files, and as names where a file gives no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from harness.data.file_rows import Row
from harness.data.votes import AnswerTexts, QuestionTexts, Statement, text_name
from harness.errors import UsageError
from judges.study.statements import each_statement, files_of, unexpected
from judges.study.vote_records import JudgeFile, PairFacts, PairKey, Presentation, Vote, VoteFile, merged

Item = TypeVar("Item", Vote, Presentation)


@dataclass(frozen=True, slots=True)
class Texts:
    """What FastChat's files hold.

    Parameters
    ----------
    answers : mapping
        Text under (question, turn, model).
    questions : mapping
        Text and category under (question, turn).
    """

    answers: Mapping[tuple[str, int, str], str]
    questions: Mapping[tuple[str, int], tuple[str, str | None]]


def read_texts(answers: Iterable[Path], questions: Iterable[Path]) -> Texts:
    """Read FastChat's answer and question files.

    Parameters
    ----------
    answers, questions : iterable of Path
        Files, or folders of them.

    Returns
    -------
    Texts

    Raises
    ------
    MissingDataError, FileFormatError
        No such file, or not in FastChat's format.
    """
    answered: dict[tuple[str, int, str], str] = {}
    asked: dict[tuple[str, int], tuple[str, str | None]] = {}
    for row, stated in _each_statement(answers):
        if not isinstance(stated, AnswerTexts):
            raise unexpected(row, stated, "FastChat's answers: question_id, model_id, choices with turns")
        answered |= {(stated.prompt, turn, stated.model): text for turn, text in enumerate(stated.turns, 1)}
    for row, stated in _each_statement(questions):
        if not isinstance(stated, QuestionTexts):
            raise unexpected(row, stated, "FastChat's questions: question_id, turns")
        asked |= {(stated.prompt, turn): (text, stated.category) for turn, text in enumerate(stated.turns, 1)}
    return Texts(answered, asked)


def with_texts(keys: Iterable[PairKey], facts: Mapping[PairKey, PairFacts], texts: Texts) -> dict[PairKey, PairFacts]:
    """Add texts and lengths to what is known of pairs."""
    more: dict[PairKey, PairFacts] = {}
    for key in keys:
        known = facts.get(key, PairFacts())
        names = (known.model_first or key.first, known.model_second or key.second)
        one, other = (texts.answers.get((key.prompt, key.turn, name)) for name in names)
        prompt, category = texts.questions.get((key.prompt, key.turn), (None, None))
        more[key] = PairFacts(*names, _length(one), _length(other), prompt, one, other, category)
    return merged(facts, more)


def name_by_text(file: VoteFile | JudgeFile, facts: Mapping[PairKey, PairFacts], source: str) -> None:
    """Rename the pairs of a file by the texts of prompt and answers, to meet a file that names nothing else.

    Parameters
    ----------
    file : VoteFile or JudgeFile
        Changed in place.
    facts : mapping
        What is known of its pairs.
    source : str
        What to call it in the error.

    Raises
    ------
    UsageError
        A text is not known.
    """
    items: Sequence[Vote | Presentation] = file.votes if isinstance(file, VoteFile) else file.presentations
    renamed: dict[PairKey, tuple[PairKey, bool]] = {}
    for key in file.facts.keys() | {item.key for item in items}:
        found = _key_by_text(key, facts.get(key, PairFacts()), source)
        if found is not None:
            renamed[key] = found
    file.facts = {
        new: facts[key].flipped if is_flipped else facts[key]
        for key, (new, is_flipped) in renamed.items()
        if key in facts
    }
    if isinstance(file, VoteFile):
        file.votes = _moved(file.votes, renamed)
        n_left = len(file.votes)
    else:
        file.presentations = _moved(file.presentations, renamed)
        n_left = len(file.presentations)
    file.n_same_text += len(items) - n_left


def _key_by_text(key: PairKey, known: PairFacts, source: str) -> tuple[PairKey, bool] | None:
    """The key made of a pair's texts, and whether it exchanges the answers; None where both are the same text."""
    if known.prompt_text is None or known.text_first is None or known.text_second is None:
        raise UsageError(
            f"one side names answers by their texts, and {source} holds no texts for {key.prompt}",
            "texts on both sides, or names on both",
            "give --answers and --questions, or votes with prompt, model_a and model_b",
        )
    one, other = text_name(known.text_first), text_name(known.text_second)
    if one == other:
        return None
    return PairKey(text_name(known.prompt_text), key.turn, *sorted((one, other))), one > other


def _moved(items: Iterable[Item], renamed: Mapping[PairKey, tuple[PairKey, bool]]) -> list[Item]:
    found = []
    for item in items:
        if item.key in renamed:
            key, is_flipped = renamed[item.key]
            found.append(replace(item.flipped if is_flipped else item, key=key))
    return found


def _length(text: str | None) -> int | None:
    return None if text is None else len(text)


def _each_statement(paths: Iterable[Path]) -> Iterator[tuple[Row, Statement]]:
    for path in paths:
        for file in files_of(path):
            yield from each_statement(file)
