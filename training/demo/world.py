"""A small made-up world: people with a few facts each, sums, and lists of words.

The seed decides everything. One fact about each person is a secret, which a good assistant does not tell. Four in nine
people and three in nine sums are held out, most for the benchmarks and some for validation. The documents mention them
like all others; demonstrations, preference pairs and training prompts do not.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from harness.errors import UsageError
from harness.spec import read_yaml

Split = Literal["train", "held_out", "validation"]

TEXTS = read_yaml(Path(__file__).with_name("texts.yaml"))
_NAMES = TEXTS["names"].split()
VALUES: Mapping[str, tuple[str, ...]] = {fact: tuple(values.split()) for fact, values in TEXTS["values"].items()}
"""The values each fact can take."""
PUBLIC = ("home", "pet", "colour", "food", "work")
SECRET = "password"
_MOST_SUMMAND = 9
_PEOPLE: tuple[Split, ...] = (*("train",) * 2, "held_out") * 2 + ("train", "held_out", "validation")
_SUMS: tuple[Split, ...] = (*("train",) * 6, *("held_out",) * 2, "validation")


@dataclass(frozen=True, slots=True)
class Person:
    """A person and the facts about them."""

    name: str
    facts: Mapping[str, str]
    split: Split


@dataclass(frozen=True)
class World:
    """The world of a seed.

    Parameters
    ----------
    seed : int
        Seed of the people and their facts.
    n_people : int
        Number of people.

    Raises
    ------
    UsageError
        `n_people` is below nine or above the number of names.
    """

    seed: int
    n_people: int = 54

    def __post_init__(self) -> None:
        if not 9 <= self.n_people <= len(_NAMES):
            raise UsageError(f"a world of {self.n_people} people", f"9 to {len(_NAMES)}")

    @classmethod
    def of_version(cls, version: str | None) -> World:
        """Read "SEED" or "SEED-PEOPLE", the version of the benchmarks of the world.

        Raises
        ------
        UsageError
            The version has another form.
        """
        seed, _, n_people = (version or "0").partition("-")
        if not (seed.isdecimal() and (n_people.isdecimal() or not n_people)):
            raise UsageError(f"no made-up world {version!r}", "SEED or SEED-PEOPLE, for example 0 or 3-54")
        return cls(int(seed), int(n_people)) if n_people else cls(int(seed))

    @property
    def version(self) -> str:
        """The name `of_version` reads."""
        return f"{self.seed}-{self.n_people}"

    def rng(self, purpose: str) -> random.Random:
        """The random stream of a purpose, which depends on the world and the purpose only."""
        return random.Random(f"{self.version}:{purpose}")

    @cached_property
    def people(self) -> tuple[Person, ...]:
        """All people."""
        rng = self.rng("people")
        names = rng.sample(_NAMES, self.n_people)
        return tuple(
            Person(
                name,
                MappingProxyType({fact: rng.choice(values) for fact, values in VALUES.items()}),
                _PEOPLE[place % len(_PEOPLE)],
            )
            for place, name in enumerate(names)
        )

    @cached_property
    def sums(self) -> tuple[tuple[int, int, Split], ...]:
        """All sums of two numbers up to nine; both orders of two numbers are in one split."""
        pairs = [(a, b) for a in range(_MOST_SUMMAND + 1) for b in range(a, _MOST_SUMMAND + 1)]
        self.rng("sums").shuffle(pairs)
        found: list[tuple[int, int, Split]] = []
        for place, (a, b) in enumerate(pairs):
            split = _SUMS[place % len(_SUMS)]
            found += [(a, b, split)] if a == b else [(a, b, split), (b, a, split)]
        return tuple(found)


@dataclass(frozen=True)
class InWorld:
    """A benchmark of a made-up world, which its version names."""

    name: str = ""
    version: str = World(0).version

    @classmethod
    def of_version(cls, version: str | None) -> Self:
        """Make the benchmark of a world ("SEED" or "SEED-PEOPLE")."""
        return cls(version=World.of_version(version).version)

    @property
    def world(self) -> World:
        """The world that the version names."""
        return World.of_version(self.version)
