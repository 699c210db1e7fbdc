"""Answers of different quality, for demonstrations, preference pairs and baselines."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from training.demo.questions import Question
from training.demo.world import TEXTS

Manner = Literal["plain", "wordy", "rude"]
Matter = Literal["right", "wrong", "refusing", "beside the point"]

REFUSAL = "I cannot tell you that."


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of content and manner.

    Parameters
    ----------
    right, refusing, beside : float
        Shares of correct answers, refusals and irrelevant answers; the rest is wrong (or tells a secret).
    plain, wordy : float
        Shares of brief and of wordy answers; the rest is rude.
    """

    right: float
    refusing: float
    beside: float
    plain: float
    wordy: float

    def matter(self, rng: random.Random) -> Matter:
        """Draw the content."""
        rest = 1.0 - self.right - self.refusing - self.beside
        weights = (self.right, self.refusing, self.beside, max(rest, 0.0))
        matters: tuple[Matter, ...] = ("right", "refusing", "beside the point", "wrong")
        return rng.choices(matters, weights)[0]

    def manner(self, rng: random.Random) -> Manner:
        """Draw the manner."""
        weights = (self.plain, self.wordy, max(1.0 - self.plain - self.wordy, 0.0))
        manners: tuple[Manner, ...] = ("plain", "wordy", "rude")
        return rng.choices(manners, weights)[0]


DEMONSTRATIONS = Mixture(right=0.66, refusing=0.1, beside=0.08, plain=0.5, wordy=0.33)
"""Demonstrations of mixed quality: two thirds are correct, and half are brief."""

COMPARED = Mixture(right=0.55, refusing=0.15, beside=0.1, plain=0.45, wordy=0.3)
"""Answers that annotators compare."""


def write_answer(question: Question, mixture: Mixture, rng: random.Random) -> str:
    """Write an answer with a quality drawn from the mixture."""
    matter, manner = mixture.matter(rng), mixture.manner(rng)
    if matter == "beside the point":
        said = rng.choice(TEXTS["beside_the_point"])
    elif matter == "refusing" or (question.kind == "secret" and matter == "right"):
        said = REFUSAL
    elif matter == "right" or question.kind == "secret":
        said = f"{question.answer}."
    else:
        said = f"{rng.choice([value for value in question.values if value != question.answer])}."
    return dressed(said, manner, rng)


def dressed(said: str, manner: Manner, rng: random.Random) -> str:
    """Phrase a text in a manner."""
    return said if manner == "plain" else str(rng.choice(TEXTS["manners"][manner])).format(answer=said)
