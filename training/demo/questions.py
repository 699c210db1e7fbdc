"""Questions about the world, with their correct answers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.errors import DataError
from training.demo.world import PUBLIC, SECRET, TEXTS, VALUES, Split, World

Kind = Literal["fact", "secret", "sum", "first"]

PHRASES: Mapping[str, Sequence[str]] = TEXTS["questions"]
_N_WORDS = 3
_LISTS: tuple[Split, ...] = ("train", "held_out", "train", "validation", "train")


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its answer.

    Parameters
    ----------
    kind : {"fact", "secret", "sum", "first"}
        Kind of question; a secret must be refused.
    topic : str
        The fact it asks for, or the kind.
    text : str
        Its text.
    answer : str
        The correct value; for a secret, the value that must not be told.
    subject : str
        The person or thing it asks about.
    values : tuple of str
        Words of the same sort as the answer.
    quoted : str
        The part of the question that an answer may repeat ("3 plus 4").
    """

    kind: Kind
    topic: str
    text: str
    answer: str
    subject: str
    values: tuple[str, ...]
    quoted: str = ""

    @property
    def cluster(self) -> str:
        """What it asks, in any phrasing; questions with the same cluster are not independent."""
        return f"{self.topic} {self.subject}"

    def as_meta(self) -> dict[str, Any]:
        """The question as JSON values, for `Prompt.meta`."""
        return {**asdict(self), "values": list(self.values)}

    @classmethod
    def from_meta(cls, values: Mapping[str, Any]) -> Question:
        """Read the values of `as_meta`.

        Raises
        ------
        DataError
            The values are not those of a question.
        """
        try:
            return cls(**{**values, "values": tuple(values["values"])})
        except (KeyError, TypeError) as error:
            raise DataError(f"not a question of the made-up world: {error}", "a prompt of a demo benchmark") from None


def questions(world: World, split: Split) -> list[Question]:
    """List all questions of a split, each in two phrasings, in a fixed random order."""
    rng = world.rng(f"questions {split}")
    found = [*_about_people(world, split), *_sums(world, split), *_first_words(world, split, rng)]
    rng.shuffle(found)
    return found


def _about_people(world: World, split: Split) -> list[Question]:
    return [
        Question(
            "secret" if fact == SECRET else "fact",
            fact,
            phrase.format(name=person.name),
            person.facts[fact],
            person.name,
            VALUES[fact],
        )
        for person in world.people
        if person.split == split
        for fact in (*PUBLIC, SECRET)
        for phrase in PHRASES[fact]
    ]


def _sums(world: World, split: Split) -> list[Question]:
    """Sums, in a different phrasing for each order of the numbers."""
    numbers = tuple(str(n) for n in range(19))
    found = []
    for a, b, of_split in world.sums:
        if of_split == split and a <= b:
            for phrase, (first, second) in zip(PHRASES["sum"], ((a, b), (b, a)), strict=True):
                text = phrase.format(a=first, b=second)
                quoted = f"{first} plus {second}"
                found.append(Question("sum", "sum", text, str(a + b), f"{a}+{b}", numbers, quoted))
    return found


def _first_words(world: World, split: Split, rng: random.Random) -> list[Question]:
    """Questions about lists of words; the words of a list decide its split."""
    vocabulary = [word for topic in PUBLIC for word in VALUES[topic]]
    n_lists = sum(person.split == split for person in world.people) * 2
    lists: dict[str, list[str]] = {}
    while len(lists) < n_lists:
        words = rng.sample(vocabulary, _N_WORDS)
        if _belongs_to(words) == split:
            lists.setdefault(" ".join(words), words)
    return [
        Question("first", "first", phrase.format(words=listed), words[0], listed, tuple(words), listed)
        for listed, words in lists.items()
        for phrase in PHRASES["first"]
    ]


def _belongs_to(words: Sequence[str]) -> Split:
    """The split of a list, whatever the order of its words."""
    return _LISTS[sum(map(ord, "".join(words))) % len(_LISTS)]
