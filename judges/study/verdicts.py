"""From a judge's presentations to its verdict on each pair."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from judges.study.vote_records import Choice, PairKey, Presentation, choice_of, majority

OrderRule = Literal["auto", "agree", "mean"]


@dataclass(frozen=True, slots=True)
class JudgePair:
    """A judge's verdict on a pair, over both orders and all repetitions.

    Parameters
    ----------
    key : PairKey
        The pair.
    p_first : float or None
        Mean probability that the first answer is better; None with a `reason`.
    choice : {"first", "second", "tie"} or None
        The verdict.
    reason : str
        Why there is none.
    inconsistent : bool or None
        Whether the order shown changed the verdict; None where only one order is known.
    repeats : tuple of float
        P(first is better) of each repetition that has a verdict.
    presentations : tuple of Presentation
        What it is made of.
    cost : float or None
        What one verdict on the pair costs: all orders of one repetition.
    """

    key: PairKey
    p_first: float | None
    choice: Choice | None
    reason: str
    inconsistent: bool | None
    repeats: tuple[float, ...]
    presentations: tuple[Presentation, ...]
    cost: float | None

    @property
    def credit(self) -> float:
        """What the first answer gets by the verdict: 1, 0, or 0.5 for a tie."""
        return {"first": 1.0, "tie": 0.5, "second": 0.0}[self.choice or "tie"]


@dataclass(frozen=True)
class Verdicts:
    """All verdicts of one judge.

    Parameters
    ----------
    name : str
        The judge.
    pairs : dict of PairKey to JudgePair
        With a verdict or a reason.
    rule : {"agree", "mean"}
        How two orders make one verdict.
    """

    name: str
    pairs: dict[PairKey, JudgePair]
    rule: OrderRule

    def scored(self) -> dict[PairKey, JudgePair]:
        """The pairs that have a verdict."""
        return {key: pair for key, pair in self.pairs.items() if pair.p_first is not None}

    def choice(self, key: PairKey) -> Choice | None:
        """The verdict on a pair; None where there is none."""
        pair = self.pairs.get(key)
        return None if pair is None else pair.choice

    def reasons(self) -> Counter[str]:
        """How many pairs have no verdict, by reason."""
        return Counter(pair.reason for pair in self.pairs.values() if pair.p_first is None)


def judge_pairs(name: str, presentations: Iterable[Presentation], rule: OrderRule = "auto") -> Verdicts:
    """Combine presentations.

    Parameters
    ----------
    name : str
        The judge.
    presentations : iterable of Presentation
        Any order.
    rule : {"auto", "agree", "mean"}
        "agree": the orders' common verdict, a tie where they differ (FastChat); "mean": the side the mean probability
        is on. "auto" takes "mean" for a judge that gives probabilities, "agree" for one that only says who wins.

    Returns
    -------
    Verdicts
        A pair one of whose orders has no verdict has none: the other order alone would bring its bias in.
    """
    by_pair: dict[PairKey, list[Presentation]] = defaultdict(list)
    for presentation in presentations:
        by_pair[presentation.key].append(presentation)
    if rule == "auto":
        hard = all(p.p_first in (None, 0.0, 0.5, 1.0) for shown in by_pair.values() for p in shown)
        rule = "agree" if hard else "mean"
    return Verdicts(name, {key: _pair(key, shown, rule) for key, shown in by_pair.items()}, rule)


def combined_p(shown: Sequence[float], rule: OrderRule) -> float:
    """P(first is better) of one repetition: 0.5 where orders that must agree do not."""
    if rule == "agree" and len({choice_of(p) for p in shown}) > 1:
        return 0.5
    return _mean(shown)


def _pair(key: PairKey, shown: list[Presentation], rule: OrderRule) -> JudgePair:
    by_repeat: dict[int, list[Presentation]] = defaultdict(list)
    for presentation in sorted(shown, key=lambda p: (p.repeat, p.game)):
        by_repeat[presentation.repeat].append(presentation)
    repetitions = list(by_repeat.values())
    cost = _cost(repetitions)
    whole = _whole(repetitions)
    if not whole:
        reasons = Counter(p.reason for p in shown if p.p_first is None)
        reason = reasons.most_common(1)[0][0] if reasons else "missing"
        return JudgePair(key, None, None, reason, None, (), tuple(shown), cost)
    # the confidence is the mean over orders, so that a verdict both orders share differs from one they do not
    p_first = _mean([_mean(values) for values in whole])
    repeats = tuple(combined_p(values, rule) for values in whole)
    choice = majority([choice_of(p) for p in repeats])
    return JudgePair(key, p_first, choice, "", _inconsistent(repetitions), repeats, tuple(shown), cost)


def _whole(repetitions: Collection[list[Presentation]]) -> list[list[float]]:
    """The probabilities of the repetitions in which every presentation has a verdict."""
    n_games = max(len(games) for games in repetitions)
    given = [[p.p_first for p in games if p.p_first is not None] for games in repetitions]
    return [values for values in given if len(values) == n_games]


def _cost(repetitions: Collection[list[Presentation]]) -> float | None:
    """What one repetition costs on average; None where a price is missing."""
    costs = [p.cost for games in repetitions for p in games]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    return sum(sum(p.cost or 0.0 for p in games) for games in repetitions) / len(repetitions)


def _mean(values: Sequence[float]) -> float:
    """The mean, exactly one half where it is one half but for rounding: 0.9 in one order and 0.1 in the other."""
    mean = sum(values) / len(values)
    return 0.5 if choice_of(mean) == "tie" else mean


def _inconsistent(repetitions: Collection[list[Presentation]]) -> bool | None:
    """Whether any repetition's verdict depends on the order; None where no repetition shows both orders."""
    known: list[bool] = []
    for games in repetitions:
        stated = [p.inconsistent for p in games if p.inconsistent is not None]
        known += stated
        if {p.shown_first for p in games if p.p_first is not None} >= {True, False}:
            known.append(len({choice_of(p.p_first) for p in games if p.p_first is not None}) > 1)
    return any(known) if known else None
