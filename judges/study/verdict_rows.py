"""Rows: what every file format is turned into."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.hashing import content_hash

__all__ = ["TEXT", "Grade", "Row", "RowError", "number_in", "p_of_winner", "text_name"]


TEXT = "text:"
"""What names made from texts begin with."""


class RowError(ValueError):
    """A record that is not what its format says; the reader adds file and line.

    Parameters
    ----------
    found, allowed : str
        As in :class:`harness.errors.AssayError`.
    """

    def __init__(self, found: str, allowed: str = "") -> None:
        super().__init__(found)
        self.found, self.allowed = found, allowed


@dataclass(frozen=True, slots=True)
class Row:
    """One preference between an answer A and an answer B.

    Parameters
    ----------
    prompt, answer_a, answer_b, who : str
        Names of the question, the answers, and the voter or judge.
    turn : int
        1-based.
    p_a : float or None
        Probability that A is better; None with a `reason`.
    reason : str
        Why there is no verdict.
    ordered : bool
        Whether A is known to have been shown first.
    game, repeat : int
        Number of the presentation; number of the repetition, 0 where the file does not number them.
    inconsistent : bool or None
        For a verdict that combines both orders, whether they disagreed.
    cost : float or None
        Price.
    facts_a, facts_b, facts : mapping
        ``model``, ``length``, ``text`` of an answer; ``prompt_text``, ``category`` of the pair.
    """

    prompt: str
    answer_a: str
    answer_b: str
    who: str
    p_a: float | None
    turn: int = 1
    reason: str = ""
    ordered: bool = False
    game: int = 1
    repeat: int = 0
    inconsistent: bool | None = None
    cost: float | None = None
    facts_a: Mapping[str, Any] = field(default_factory=dict)
    facts_b: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def same_text(self) -> bool:
        """Whether answers that are named by their texts are the same, so that no vote can tell them apart."""
        return self.answer_a == self.answer_b and self.answer_a.startswith(TEXT)


@dataclass(frozen=True, slots=True)
class Grade:
    """A judge's grade of one answer; two of them make a preference."""

    prompt: str
    turn: int
    model: str
    who: str
    value: float | None
    cost: float | None = None


def text_name(text: str) -> str:
    """Name a text by its hash."""
    return TEXT + content_hash("text", text)[:16]


def number_in(value: object, name: str) -> float | None:
    """A number, or None for what is missing, null or NaN."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(f"{name} is {value!r}", "a number")
    if math.isinf(value):
        raise RowError(f"{name} is infinite", "a finite number")
    return None if math.isnan(value) else float(value)


def p_of_winner(winner: object, a: tuple[str, str], b: tuple[str, str]) -> tuple[float | None, str]:
    """P(A is better), or the reason why there is none; `a` and `b` are the names a winner may go by."""
    if isinstance(winner, str):
        if winner == a[1] or (winner == a[0] and winner != b[1]):
            return 1.0, ""
        if winner == b[1] or winner == b[0]:
            return 0.0, ""
        if "tie" in winner or winner == "inconsistent":
            return 0.5, ""
    return None, "unparsed"
