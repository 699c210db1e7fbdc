"""Which judge, or which ensemble of judges, is the best at its price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np

from harness.stats.bootstrap import Floats, cluster_codes
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from judges.study.study_figures import NotMeasured, StudySpec, prompt_mean
from judges.study.verdicts import JudgePair, Verdicts
from judges.study.vote_records import Choice, PairKey, Vote, choice_of, majority

_MOST_JUDGES_IN_ENSEMBLES = 6
_TOO_MANY = f"ensembles of {_MOST_JUDGES_IN_ENSEMBLES} judges at most: only the most accurate were combined"
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Contender:
    """A judge or an ensemble, on the pairs all judges gave a verdict on.

    Parameters
    ----------
    name : str
        The judge, or "majority(A, B, C)", "mean(A, B)".
    kind : {"judge", "majority", "mean"}
        How the verdict is made.
    members : tuple of str
        Its judges.
    accuracy : Estimate
        Percent of the votes it agrees with, ties counted.
    decisive_accuracy : Estimate or NotMeasured
        The same where neither side says tie.
    behind_best : Estimate or NotMeasured
        Best accuracy less its own, paired by vote, in points.
    price : float or None
        Of a verdict on one pair, all orders; None where not known.
    pareto : bool or None
        Whether no other is at least as accurate, costs at most as much and is better in one of them; None where the
        price is unknown.
    """

    name: str
    kind: Literal["judge", "majority", "mean"]
    members: tuple[str, ...]
    accuracy: Estimate
    decisive_accuracy: Estimate | NotMeasured
    behind_best: Estimate | NotMeasured
    price: float | None
    pareto: bool | None


@dataclass(frozen=True)
class Contest:
    """The judges against each other.

    Parameters
    ----------
    contenders : tuple of Contender
        Most accurate first.
    chosen_accuracy : Estimate or NotMeasured
        Accuracy, on prompts not used to choose it, of whichever is the most accurate on the others: the winner's own
        figure is too good because it was chosen for it.
    n_pairs, n_votes : int
        Pairs all judges gave a verdict on and people voted on, and the votes.
    n_left_out : dict of str to int
        Pairs with votes that a judge has a verdict on and another has not, by judge.
    note : str
        What was left out; "" as a rule.
    """

    contenders: tuple[Contender, ...]
    chosen_accuracy: Estimate | NotMeasured
    n_pairs: int
    n_votes: int
    n_left_out: dict[str, int]
    note: str = ""


@dataclass(frozen=True)
class _Entry:
    """A contender's verdicts on the shared pairs, and the votes on them."""

    name: str
    kind: Literal["judge", "majority", "mean"]
    members: tuple[str, ...]
    price: float | None
    choices: list[Choice]
    votes: dict[PairKey, list[Vote]]

    @cached_property
    def hits(self) -> Floats:
        """1 for each vote it agrees with, 0 for the others."""
        said = zip(self.choices, self.votes.values(), strict=True)
        return np.array([float(choice == vote.choice) for choice, given in said for vote in given])

    @property
    def accuracy(self) -> float:
        """Share of the votes it agrees with."""
        return float(self.hits.mean())

    def is_beaten_by(self, other: _Entry) -> bool:
        """Whether another is at least as accurate, costs at most as much and is better in one of them."""
        if other is self or other.price is None or self.price is None:
            return False
        if other.accuracy < self.accuracy or other.price > self.price:
            return False
        # of two that are alike in both, the smaller stands
        is_alike = other.accuracy == self.accuracy and other.price == self.price
        return not is_alike or len(other.members) < len(self.members)


def contest(judges: list[Verdicts], votes: dict[PairKey, list[Vote]], spec: StudySpec) -> Contest | NotMeasured:
    """Compare judges and their ensembles on the pairs they share."""
    scored = {judge.name: judge.scored() for judge in judges}
    shared = {key: given for key, given in votes.items() if all(key in mine for mine in scored.values())}
    if not shared:
        return NotMeasured("the judges have no voted pair in common: each was given other pairs")
    pairs = {name: [mine[key] for key in shared] for name, mine in scored.items()}
    entries = _entries(pairs, {judge.name: _price(judge, spec) for judge in judges}, shared)
    best = max(entries, key=lambda entry: (entry.accuracy, -len(entry.members)))
    contenders = [_contender(entry, best, entries, spec) for entry in entries]
    contenders.sort(key=lambda c: (-c.accuracy.value, len(c.members), c.name))
    prompts = _prompts(shared)
    return Contest(
        tuple(contenders),
        _cross_fitted_choice(np.stack([entry.hits for entry in entries]), prompts, spec),
        len(shared),
        len(prompts),
        {name: sum(key in mine for key in votes) - len(shared) for name, mine in scored.items()},
        _TOO_MANY if len(judges) > _MOST_JUDGES_IN_ENSEMBLES else "",
    )


def _entries(
    pairs: dict[str, list[JudgePair]], prices: dict[str, float | None], votes: dict[PairKey, list[Vote]]
) -> list[_Entry]:
    """The judges, and the ensembles of the most accurate of them."""
    judges = [
        _Entry(name, "judge", (name,), prices[name], [pair.choice or "tie" for pair in mine], votes)
        for name, mine in pairs.items()
    ]
    most_accurate = sorted(judges, key=lambda entry: -entry.accuracy)[:_MOST_JUDGES_IN_ENSEMBLES]
    return judges + _ensembles({entry.name: pairs[entry.name] for entry in most_accurate}, prices, votes)


def _prompts(votes: dict[PairKey, list[Vote]]) -> list[str]:
    """The prompt of every vote."""
    return [key.prompt for key, given in votes.items() for _ in given]


def _contender(entry: _Entry, best: _Entry, entries: list[_Entry], spec: StudySpec) -> Contender:
    prompts = _prompts(entry.votes)
    behind: Estimate | NotMeasured = NotMeasured("it is the most accurate")
    if entry is not best:
        behind = cluster_mean(100.0 * (best.hits - entry.hits), prompts, spec.level, (-100.0, 100.0))
    said = zip(entry.choices, entry.votes.items(), strict=True)
    decisive = [
        (key.prompt, 100.0 * (choice == vote.choice))
        for choice, (key, given) in said
        for vote in given
        if choice != "tie" and vote.p_first != 0.5
    ]
    return Contender(
        entry.name,
        entry.kind,
        entry.members,
        cluster_mean(100.0 * entry.hits, prompts, spec.level, (0.0, 100.0)),
        prompt_mean(decisive, spec, "no comparison in which neither side says tie"),
        behind,
        entry.price,
        None if entry.price is None else not any(entry.is_beaten_by(other) for other in entries),
    )


def _price(judge: Verdicts, spec: StudySpec) -> float | None:
    if judge.name in spec.prices:
        return spec.prices[judge.name]
    costs = [pair.cost for pair in judge.pairs.values() if pair.cost is not None]
    return sum(costs) / len(costs) if costs and len(costs) == len(judge.pairs) else None


def _ensembles(
    pairs: dict[str, list[JudgePair]], prices: dict[str, float | None], votes: dict[PairKey, list[Vote]]
) -> list[_Entry]:
    """The mean of every group of judges, and the majority of every group of three and more."""
    found = []
    for size in range(2, len(pairs) + 1):
        for group in combinations(pairs, size):
            columns = list(zip(*(pairs[name] for name in group), strict=True))
            price, listed = _price_of(group, prices), ", ".join(group)
            means = [choice_of(sum(p.p_first or 0.0 for p in column) / size) for column in columns]
            found.append(_Entry(f"mean({listed})", "mean", group, price, means, votes))
            if size > 2:  # two judges' majority is their agreement, which the mean has too
                choices = [majority([p.choice or "tie" for p in column]) for column in columns]
                found.append(_Entry(f"majority({listed})", "majority", group, price, choices, votes))
    return found


def _price_of(group: Sequence[str], prices: dict[str, float | None]) -> float | None:
    known = [price for price in (prices[name] for name in group) if price is not None]
    return sum(known) if len(known) == len(group) else None


def _cross_fitted_choice(hits: Floats, prompts: list[str], spec: StudySpec) -> Estimate | NotMeasured:
    """Accuracy of choosing the best on other prompts; `hits` has a row per contender and a column per vote."""
    if hits.shape[0] < 2:
        return NotMeasured("one judge: nothing to choose from")
    codes, n_clusters = cluster_codes(prompts, len(prompts))
    folds = min(_FOLDS, n_clusters)
    if folds < 2:
        return NotMeasured("one prompt: no others to choose on")
    fold = spec.rng().permutation(n_clusters)[codes] % folds
    got = np.empty(hits.shape[1])
    for k in range(folds):
        chosen = int(np.argmax(hits[:, fold != k].mean(axis=1)))
        got[fold == k] = hits[chosen, fold == k]
    return cluster_mean(100.0 * got, prompts, spec.level, (0.0, 100.0))
