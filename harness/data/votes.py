"""What rows of upstream files state: preferences between two answers, grades of one, and the texts they are about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from harness.hashing import content_hash
from harness.records import Preference, Verdict

GivenBy = Literal["unknown", "judge", "gold"]
"""Where a format says so: an automatic judge, or the reference labels of a data set."""

_TEXT = "text:"


def text_name(text: str) -> str:
    """Name a text by its hash, where a file gives it no other name."""
    return _TEXT + content_hash("text", text)[:16]


def is_text_name(name: str) -> bool:
    """Whether a name was made of a text."""
    return name.startswith(_TEXT)


@dataclass(frozen=True, slots=True)
class Side:
    """One of two answers.

    Parameters
    ----------
    name : str
        What identifies it: its model, or its text's name.
    model : str or None
        Whose it is, where known.
    text : str or None
        The answer.
    length : int or None
        In characters; that of the text where None.
    """

    name: str
    model: str | None = None
    text: str | None = None
    length: int | None = None

    @classmethod
    def of_model(cls, model: str) -> Side:
        """An answer of which the model is all that is known."""
        return cls(model, model)

    @property
    def n_characters(self) -> int | None:
        """Its length, where known."""
        return len(self.text) if self.length is None and self.text is not None else self.length


@dataclass(frozen=True, slots=True)
class StatedPreference:
    """A person's or a judge's preference between answers A and B to one prompt.

    Parameters
    ----------
    prompt : str
        Name of the question.
    a, b : Side
        The answers.
    who : str
        The voter or judge; "" where the file does not say.
    p_a : float or None
        Probability that A is better; None with a `reason`.
    reason : str
        Why there is no verdict.
    turn : int
        1-based.
    ordered : bool
        Whether A is known to have been shown first.
    game, repeat : int
        Number of the presentation; number of the repetition, 0 where the file does not number them.
    inconsistent : bool or None
        For a verdict that combines both orders, whether they disagreed.
    cost : float or None
        Price.
    prompt_text, category : str or None
        The question, where known.
    given_by : {"unknown", "judge", "gold"}
        Whether the format tells that it is an automatic judge's verdict or a gold label.
    """

    prompt: str
    a: Side
    b: Side
    who: str
    p_a: float | None
    reason: str = ""
    turn: int = 1
    ordered: bool = False
    game: int = 1
    repeat: int = 0
    inconsistent: bool | None = None
    cost: float | None = None
    prompt_text: str | None = None
    category: str | None = None
    given_by: GivenBy = "unknown"

    @property
    def by_text(self) -> bool:
        """Whether the answers are named by their texts alone."""
        return is_text_name(self.a.name)

    @property
    def is_of_one_text(self) -> bool:
        """Whether both answers are the same text, so that their names cannot tell them apart."""
        return self.a.name == self.b.name and self.by_text

    @property
    def swapped(self) -> StatedPreference:
        """The same with A and B exchanged."""
        return replace(self, a=self.b, b=self.a, p_a=None if self.p_a is None else 1.0 - self.p_a)

    def by_verdict(self, verdict: Verdict) -> StatedPreference:
        """The same with another verdict on it."""
        if isinstance(verdict, Preference):
            return replace(self, p_a=verdict.p_first, reason="")
        return replace(self, p_a=None, reason=getattr(verdict, "reason", "out_of_scale"))

    def in_both_orders(self, *verdicts: tuple[float | None, str]) -> list[StatedPreference]:
        """The presentations of a pair: A shown first, then B, each with P(A is better) or the reason for none."""
        (p_1, reason_1), (p_2, reason_2) = verdicts
        return [
            replace(self, p_a=p_1, reason=reason_1, ordered=True, game=1),
            replace(self, p_a=p_2, reason=reason_2, ordered=True, game=2).swapped,
        ]


@dataclass(frozen=True, slots=True)
class Grade:
    """A judge's grade of one answer; two of them make a preference.

    Parameters
    ----------
    prompt, model, who : str
        Names of the question, the model and the judge.
    value : float or None
        The grade; None where it could not be read.
    turn : int
        1-based.
    cost : float or None
        Price.
    """

    prompt: str
    model: str
    who: str
    value: float | None
    turn: int = 1
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerTexts:
    """A model's answers to a question, turn by turn."""

    prompt: str
    model: str
    turns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuestionTexts:
    """A question, turn by turn."""

    prompt: str
    turns: tuple[str, ...]
    category: str | None = None


Statement = StatedPreference | Grade | AnswerTexts | QuestionTexts


def p_of_winner(winner: object, a: tuple[str, str], b: tuple[str, str]) -> tuple[float | None, str]:
    """P(A is better), or the reason why there is none; `a` and `b` are the names a winner may go by."""
    if isinstance(winner, str):
        if winner == a[1] or (winner == a[0] and winner != b[1]):
            return 1.0, ""
        if winner in (b[0], b[1]):
            return 0.0, ""
        if "tie" in winner or winner == "inconsistent":
            return 0.5, ""
    return None, "unparsed"
