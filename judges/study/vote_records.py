"""What a judge study is made of: pairs of answers, human votes on them, and a judge's presentations of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

Choice = Literal["first", "second", "tie"]

_ROUNDING = 1e-9


class PairKey(NamedTuple):
    """Two answers to one prompt, in alphabetical order of their names, so that it does not matter who was shown first.

    Parameters
    ----------
    prompt : str
        Name of the question (the cluster of every interval), or a hash of its text.
    turn : int
        1-based turn.
    first, second : str
        The answers: the names of their models, or hashes of their texts.
    """

    prompt: str
    turn: int
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class PairFacts:
    """What else is known of a pair; None where nothing says so.

    Parameters
    ----------
    model_first, model_second : str or None
        Whose answers they are.
    length_first, length_second : int or None
        Their lengths in characters.
    prompt_text, text_first, text_second, category : str or None
        For people who look at the pair.
    """

    model_first: str | None = None
    model_second: str | None = None
    length_first: int | None = None
    length_second: int | None = None
    prompt_text: str | None = None
    text_first: str | None = None
    text_second: str | None = None
    category: str | None = None

    @property
    def flipped(self) -> PairFacts:
        """The same with the two answers exchanged."""
        return replace(
            self,
            model_first=self.model_second,
            model_second=self.model_first,
            length_first=self.length_second,
            length_second=self.length_first,
            text_first=self.text_second,
            text_second=self.text_first,
        )


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's preference.

    Parameters
    ----------
    key : PairKey
        The pair.
    voter : str
        Who.
    p_first : float
        1 where the first answer is better, 0 where the second, 0.5 for a tie.
    """

    key: PairKey
    voter: str
    p_first: float

    @property
    def flipped(self) -> Vote:
        """The same with the two answers exchanged."""
        return replace(self, p_first=1.0 - self.p_first)

    @property
    def choice(self) -> Choice:
        """Which answer it prefers."""
        return choice_of(self.p_first)


@dataclass(frozen=True, slots=True)
class Presentation:
    """One verdict of a judge on a pair shown in one order, or the reason why there is none.

    Parameters
    ----------
    key : PairKey
        The pair.
    p_first : float or None
        Probability that the first answer is better; None with a `reason`.
    reason : str
        Why there is no verdict; "" where there is one.
    shown_first : bool or None
        Whether the first answer was shown first; None for a verdict that already combines both orders.
    game : int
        1-based number of the presentation.
    repeat : int
        1-based number of the repetition of the whole judging.
    inconsistent : bool or None
        For combined verdicts: whether the two orders disagreed; None where the file does not say.
    cost : float or None
        Price; None where not known.
    """

    key: PairKey
    p_first: float | None
    reason: str = ""
    shown_first: bool | None = None
    game: int = 1
    repeat: int = 1
    inconsistent: bool | None = None
    cost: float | None = None

    @property
    def choice(self) -> Choice | None:
        """Which answer it prefers."""
        return None if self.p_first is None else choice_of(self.p_first)

    @property
    def p_shown_first(self) -> float | None:
        """Probability of the answer shown first; None where it, or what was shown first, is unknown."""
        if self.p_first is None or self.shown_first is None:
            return None
        return self.p_first if self.shown_first else 1.0 - self.p_first

    @property
    def flipped(self) -> Presentation:
        """The same with the two answers exchanged."""
        p_first = None if self.p_first is None else 1.0 - self.p_first
        return replace(self, p_first=p_first, shown_first=None if self.shown_first is None else not self.shown_first)


def choice_of(p_first: float) -> Choice:
    """The answer a probability prefers; one half is a tie, within the rounding of means and complements."""
    return "tie" if abs(p_first - 0.5) < _ROUNDING else "first" if p_first > 0.5 else "second"


def mean_vote(votes: Sequence[Vote]) -> float:
    """The share of people who prefer the first answer, ties half."""
    return sum(vote.p_first for vote in votes) / len(votes)


def majority(choices: Sequence[Choice]) -> Choice:
    """The commonest choice; a tie where there are two."""
    (top, n), *rest = Counter(choices).most_common()
    return "tie" if rest and rest[0][1] == n else top


class RowKey(NamedTuple):
    """A statement of a file, so that a vote and a verdict read from the same one are known.

    Parameters
    ----------
    content : str
        Hash of the file's content, unpacked.
    line : int
        1-based line, or place in the list.
    is_gold : bool
        Whether it is the row's gold label; a row may hold a judge's verdicts beside it.
    """

    content: str
    line: int
    is_gold: bool


@dataclass
class VoteFile:
    """The human side of a study.

    Parameters
    ----------
    votes : list of Vote
        All votes.
    facts : dict of PairKey to PairFacts
        What the file says of the pairs.
    by_text : bool
        Whether prompts and answers are named by hashes of their texts (a file that names no models).
    source : str
        The file.
    n_same_text : int
        Votes left out because both answers are the same text, which then names neither.
    is_gold : bool
        Whether the votes are gold labels of a data set.
    n_verdicts : int
        Verdicts that stand beside the gold labels and were not read as votes.
    rows : set of RowKey
        Where the votes were read.
    """

    votes: list[Vote] = field(default_factory=list)
    facts: dict[PairKey, PairFacts] = field(default_factory=dict)
    by_text: bool = False
    source: str = ""
    n_same_text: int = 0
    is_gold: bool = False
    n_verdicts: int = 0
    rows: set[RowKey] = field(default_factory=set)


@dataclass
class JudgeFile:
    """The verdicts of one judge.

    Parameters
    ----------
    name : str
        The judge.
    presentations : list of Presentation
        All of them.
    facts : dict of PairKey to PairFacts
        What the files say of the pairs.
    by_text : bool
        As in :class:`VoteFile`.
    sources : list of str
        The files or run directories.
    problems : list of str
        Why the study is not valid on account of them (an unfinished run).
    n_same_text : int
        Presentations left out because both answers are the same text.
    rows : set of RowKey
        Where the preferences of files were read.
    """

    name: str
    presentations: list[Presentation] = field(default_factory=list)
    facts: dict[PairKey, PairFacts] = field(default_factory=dict)
    by_text: bool = False
    sources: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    n_same_text: int = 0
    rows: set[RowKey] = field(default_factory=set)


def merged(known: Mapping[PairKey, PairFacts], more: Mapping[PairKey, PairFacts]) -> dict[PairKey, PairFacts]:
    """Put together what two files say of pairs; where they differ, the first counts."""
    together = dict(known)
    for key, facts in more.items():
        mine = together.get(key)
        if mine is None:
            together[key] = facts
        else:
            unknown = {name: getattr(facts, name) for name in PairFacts.__slots__ if getattr(mine, name) is None}
            together[key] = replace(mine, **unknown)
    return together
