"""Figures that may be impossible, and what every part of a study works on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from harness.data.votes import is_text_name
from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec
from harness.stats.calibration import Scheme
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from judges.study.verdicts import JudgePair, OrderRule, Verdicts
from judges.study.vote_records import PairFacts, PairKey, Presentation, Vote

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """Why a figure is missing."""

    reason: str


@dataclass(frozen=True)
class StudySpec:
    """What to compute.

    Parameters
    ----------
    level : float
        Nominal coverage of every interval.
    n_boot, seed : int
        Resamples of every bootstrap, and where its randomness starts.
    n_bins : int
        Bins of the reliability diagrams.
    scheme : {"equal_width", "equal_mass"}
        How they are cut.
    half_width : float
        Wanted half of a win rate's interval, in points; how many labels reach it is reported.
    n_pairs_listed : int
        Pairs in the list of those most worth a vote.
    orders : {"auto", "agree", "mean"}
        How two orders make a verdict (`judges.study.verdicts`).
    families : mapping of str to str
        Family of a model or judge, for self-preference.
    prices : mapping of str to float
        Price of a judge's verdict on a pair, where its files hold none.
    escalation : (float, float)
        The guarantee of a cascade: largest disagreement, and the probability with which it may fail.
    """

    level: float = 0.95
    n_boot: int = 2000
    seed: int = 0
    n_bins: int = 10
    scheme: Scheme = "equal_width"
    half_width: float = 2.5
    n_pairs_listed: int = 20
    orders: OrderRule = "auto"
    families: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    escalation: tuple[float, float] = (0.15, 0.1)

    @property
    def bootstrap(self) -> BootstrapSpec:
        """How to resample."""
        return BootstrapSpec(self.n_boot, self.level)

    def rng(self) -> np.random.Generator:
        """A fresh source of randomness: no figure depends on which others were computed."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One human vote beside the judge's verdict on its pair."""

    pair: JudgePair
    vote: Vote

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.pair.choice == self.vote.choice

    @property
    def is_decisive(self) -> bool:
        """Whether neither side says tie."""
        return self.pair.choice in ("first", "second") and self.vote.p_first != 0.5


@dataclass(frozen=True)
class Sides:
    """A judge and the people, brought together.

    Parameters
    ----------
    judge : Verdicts
        The judge.
    votes : dict of PairKey to list of Vote
        All votes by pair, in a fixed order.
    facts : mapping
        What is known of the pairs.
    """

    judge: Verdicts
    votes: dict[PairKey, list[Vote]]
    facts: Mapping[PairKey, PairFacts]

    @classmethod
    def of(cls, judge: Verdicts, votes: list[Vote], facts: Mapping[PairKey, PairFacts]) -> Sides:
        """Group the votes by pair."""
        grouped: dict[PairKey, list[Vote]] = defaultdict(list)
        for vote in votes:
            grouped[vote.key].append(vote)
        return cls(judge, dict(grouped), facts)

    def comparisons(self) -> list[Comparison]:
        """Every vote on a pair that has a verdict."""
        scored = self.judge.scored()
        return [Comparison(scored[key], vote) for key, votes in self.votes.items() if key in scored for vote in votes]

    def presentations(self, key: PairKey) -> tuple[Presentation, ...]:
        """The judge's presentations of a pair; none where it was not asked about it."""
        pair = self.judge.pairs.get(key)
        return () if pair is None else pair.presentations

    def models(self, key: PairKey) -> tuple[str | None, str | None]:
        """Whose answers a pair holds; None where only their texts are known."""
        known = self.facts.get(key, PairFacts())
        named = [known.model_first, known.model_second]
        for i, answer in enumerate((key.first, key.second)):
            if named[i] is None and not is_text_name(answer):
                named[i] = answer
        return named[0], named[1]


def attempt(figure: Callable[[], T]) -> T | NotMeasured:
    """Compute a figure, or say why it cannot be."""
    try:
        return figure()
    except StatisticsError as error:
        allowed = f" (needed: {error.allowed})" if error.allowed else ""
        return NotMeasured(error.found + allowed)


def prompt_mean(
    rows: Sequence[tuple[str, float]], spec: StudySpec, reason: str, low: float = 0.0
) -> Estimate | NotMeasured:
    """Average values with an interval over prompts.

    Parameters
    ----------
    rows : sequence of (str, float)
        Prompts and values, in percent or points.
    spec : StudySpec
        The interval's level.
    reason : str
        Why there is no figure where there are no rows.
    low : float
        Least possible value; the greatest is 100.
    """
    if not rows:
        return NotMeasured(reason)
    prompts, values = zip(*rows, strict=True)
    return attempt(lambda: cluster_mean(values, prompts, spec.level, (low, 100.0)))


def plain_data(value: Any) -> Any:
    """Turn records into what JSON holds, tuples as lists, pair keys as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain_data(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain_data(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return value
