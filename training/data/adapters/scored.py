"""Data sets with scores of several answers to a prompt: every two answers with different scores are a pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from harness.data.file_rows import Row
from harness.messages import Message
from training.data.loaded import Sieve
from training.data.records import BadItem, PreferencePair
from training.data.schemas import mapping_list, number, require, text

Answer = tuple[str, float]


def scored_pairs(
    row: Row, prompt: Sequence[Message], answers: Iterable[Answer], label: str, sieve: Sieve
) -> Iterator[PreferencePair]:
    """Pair every two answers; equal scores and equal answers are filtered and counted.

    Parameters
    ----------
    row : Row
        The row with the answers, for messages.
    prompt : sequence of Message
        The prompt.
    answers : iterable of (str, float)
        Text and score; higher is better.
    label : str
        Name of the source.
    sieve : Sieve
        Counts what is left out.
    """
    for one, other in combinations(answers, 2):
        if one[1] == other[1]:
            sieve.leave_out("equal scores")
            continue
        better, worse = (one, other) if one[1] > other[1] else (other, one)
        try:
            yield PreferencePair.of(prompt, better[0], worse[0], label, (better[1], worse[1]))
        except BadItem as fault:
            sieve.noise(row, fault)


def ultrafeedback(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PreferencePair]:
    """Read openbmb/UltraFeedback: `instruction` and four `completions` with a `fine-grained_score`.

    The fine-grained score is the mean of the ratings of four aspects. The `overall_score` is not used because it is
    known to be wrong for some completions (a 1 that was read as a 10).
    """
    for row in rows:
        try:
            prompt = (Message("user", text(row.values, "instruction")),)
            completions = _mappings(row.values, "completions")
            answers = list(_scores(completions, "response", "fine-grained_score", sieve))
        except BadItem as fault:
            sieve.bad(row, fault)
            continue
        yield from scored_pairs(row, prompt, answers, label, sieve)


def code_ultrafeedback(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PreferencePair]:
    """Read coseal/CodeUltraFeedback: `responses` and `annotations`, joined by the name of the model.

    Ratings are texts and are compared as numbers.
    """
    for row in rows:
        try:
            prompt = (Message("user", text(row.values, "instruction")),)
            ratings = {text(item, "model"): item for item in _mappings(row.values, "annotations")}
            rated = []
            for item in _mappings(row.values, "responses"):
                model = text(item, "model")
                if model not in ratings:
                    sieve.leave_out("answer without a score")
                    continue
                rated.append({"response": item.get("response"), "rating": ratings[model].get("rating")})
            answers = list(_scores(rated, "response", "rating", sieve))
        except BadItem as fault:
            sieve.bad(row, fault)
            continue
        yield from scored_pairs(row, prompt, answers, label, sieve)


def helpsteer(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PreferencePair]:
    """Read nvidia/HelpSteer (and HelpSteer2): one answer a row, scored by its `helpfulness` of 0 to 4.

    The answers to a prompt are joined by its text, wherever they are in the file.
    """
    answers: dict[str, list[Answer]] = {}
    first: dict[str, Row] = {}
    for row in rows:
        try:
            asked = text(row.values, "prompt")
            answer = (text(row.values, "response"), number(row.values, "helpfulness"))
        except BadItem as fault:
            sieve.bad(row, fault)
            continue
        answers.setdefault(asked, []).append(answer)
        first.setdefault(asked, row)
    for asked, given in answers.items():
        if len(given) == 1:
            sieve.leave_out("prompt with one answer")
        yield from scored_pairs(first[asked], (Message("user", asked),), given, label, sieve)


def _mappings(values: Mapping[str, object], column: str) -> list[Mapping[str, object]]:
    require(values, column)
    return mapping_list(values[column], column)


def _scores(items: Iterable[Mapping[str, object]], answer: str, score: str, sieve: Sieve) -> Iterator[Answer]:
    for item in items:
        written = text(item, answer)
        try:
            yield written, number(item, score)
        except BadItem as fault:
            if fault.reason != "missing score":
                raise
            sieve.leave_out("answer without a score")
