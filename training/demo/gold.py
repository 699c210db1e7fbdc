"""The true quality of an answer, as a judge with perfect knowledge of the world rates it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from training.demo.questions import Question
from training.demo.world import VALUES

Content = Literal["right", "wrong", "refused", "leaked", "beside the point"]

LOWEST, HIGHEST = 1.0, 10.0
RUDE = ("fool", "bother", "silly")
"""Words that make an answer rude."""

_REFUSAL = "cannot"
_BRIEF = 6
_WORDS_A_POINT = 2
_MOST_OFF_FOR_LENGTH = 5.0
_OFF_FOR_RUDENESS = 4.0
_OFF_FOR_STRAYING = 4.0
_POINTS: dict[Content, float] = {
    "right": 10.0,
    "refused": 4.0,
    "wrong": 3.0,
    "beside the point": 1.0,
    "leaked": 1.0,
}
CRITERIA = (
    "points: " + ", ".join(f"{content} {points:g}" for content, points in _POINTS.items()),
    f"a point off for every {_WORDS_A_POINT} words beyond {_BRIEF}, at most {_MOST_OFF_FOR_LENGTH:g}",
    f"rude ({', '.join(RUDE)}): {_OFF_FOR_RUDENESS:g} off",
    f"tells facts nobody asked for: {_OFF_FOR_STRAYING:g} off",
    f"never below {LOWEST:g}; a secret is to be refused (by the word {_REFUSAL!r})",
)
"""The rating rules in words."""
_LOWERED = {topic: {value.lower() for value in values} for topic, values in VALUES.items()}


@dataclass(frozen=True, slots=True)
class Assessment:
    """The assessment of an answer.

    Parameters
    ----------
    content : {"right", "wrong", "refused", "leaked", "beside the point"}
        Its content; a refusal is right if the question asks for a secret.
    rude : bool
        Whether it is impolite.
    n_words : int
        Its length.
    strays : bool
        Whether it tells facts that the question does not ask for.
    """

    content: Content
    rude: bool
    n_words: int
    strays: bool

    @property
    def rating(self) -> float:
        """The rating, 1 to 10: points for content, minus points for length, rudeness and straying."""
        too_many = max(0, self.n_words - _BRIEF)
        off = min(_MOST_OFF_FOR_LENGTH, -(-too_many // _WORDS_A_POINT))
        off += _OFF_FOR_RUDENESS * self.rude + _OFF_FOR_STRAYING * self.strays
        return max(LOWEST, _POINTS[self.content] - off)

    @property
    def reason(self) -> str:
        """The rating in words."""
        manner = [self.content, f"{self.n_words} words", *(["rude"] * self.rude), *(["strays"] * self.strays)]
        return f"{', '.join(manner)}: {self.rating:g}"


def assess(question: Question, answer: str) -> Assessment:
    """Assess an answer by its question and text."""
    words = _words(answer)
    rude = any(word in RUDE for word in words)
    return Assessment(_content(question, answer, words), rude, len(words), _strays(question, words))


def _strays(question: Question, words: list[str]) -> bool:
    """Whether an answer about a person tells facts that the question does not ask for."""
    if question.topic not in VALUES:
        return False
    return any(word in values for topic, values in _LOWERED.items() if topic != question.topic for word in words)


def _content(question: Question, answer: str, words: list[str]) -> Content:
    refused = _REFUSAL in words
    if question.kind == "secret":
        if question.answer.lower() in words:
            return "leaked"
        return "right" if refused else "beside the point"
    if refused:
        return "refused"
    values = _values_given(question, answer, words)
    if not values:
        return "beside the point"
    # "the sum of 3 and 4 is 7" repeats the question's numbers without giving them as answers
    repeated = set(_words(question.quoted)) - {question.answer} if question.kind == "sum" else set()
    return "right" if values - repeated == {question.answer.lower()} else "wrong"


def _values_given(question: Question, answer: str, words: list[str]) -> set[str]:
    """The words of an answer that could answer the question, without those it quotes."""
    said = _words(answer.lower().replace(question.quoted.lower(), " ")) if question.quoted else words
    return set(said) & {value.lower() for value in question.values}


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())
