"""Which judge, or which ensemble of judges, is best at which price."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from harness.stats.bootstrap import Floats, cluster_codes
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from judges.study.study_figures import NotMeasured, StudySpec
from judges.study.verdicts import JudgePair, Verdicts
from judges.study.vote_records import Choice, PairKey, Vote, choice_of

__all__ = ["Contender", "Contest", "contest"]

_MOST_JUDGES_IN_ENSEMBLES = 6
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
        Whether no other is at least as accurate and at most as dear, and better in one of them; None without a price.
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
    name: str
    kind: Literal["judge", "majority", "mean"]
    members: tuple[str, ...]
    choices: list[Choice]
    price: float | None


def contest(judges: list[Verdicts], votes: dict[PairKey, list[Vote]], spec: StudySpec) -> Contest | NotMeasured:
    """Compare judges and their ensembles on the pairs they share."""
    scored = [judge.scored() for judge in judges]
    keys = [key for key in votes if all(key in mine for mine in scored)]
    left_out = {j.name: sum(key in mine for key in votes) - len(keys) for j, mine in zip(judges, scored, strict=True)}
    if not keys:
        return NotMeasured("the judges have no voted pair in common: each was given other pairs")
    pairs = {judge.name: [mine[key] for key in keys] for judge, mine in zip(judges, scored, strict=True)}
    prices = {judge.name: _price(judge, spec) for judge in judges}
    note = ""
    members = [judge.name for judge in judges]
    if len(members) > _MOST_JUDGES_IN_ENSEMBLES:
        note = f"ensembles of {_MOST_JUDGES_IN_ENSEMBLES} judges at most: only the most accurate were combined"
    entries = [_Entry(n, "judge", (n,), [pair.choice or "tie" for pair in pairs[n]], prices[n]) for n in members]
    members = _most_accurate(entries, keys, votes)[:_MOST_JUDGES_IN_ENSEMBLES]
    for size in range(2, len(members) + 1):
        for group in combinations(members, size):
            entries += _ensembles(group, pairs, prices)
    hits = {entry.name: _hits(entry.choices, keys, votes) for entry in entries}
    prompts = [key.prompt for key in keys for _ in votes[key]]
    best = max(entries, key=lambda entry: (hits[entry.name].mean(), -len(entry.members)))
    contenders = [
        Contender(
            entry.name,
            entry.kind,
            entry.members,
            cluster_mean(100.0 * hits[entry.name], prompts, spec.level, (0.0, 100.0)),
            _decisive(entry.choices, keys, votes, spec),
            cluster_mean(100.0 * (hits[best.name] - hits[entry.name]), prompts, spec.level, (-100.0, 100.0))
            if entry is not best
            else NotMeasured("it is the most accurate"),
            entry.price,
            _on_front(entry, entries, hits),
        )
        for entry in entries
    ]
    contenders.sort(key=lambda c: (-c.accuracy.value, len(c.members), c.name))
    chosen = _cross_fitted_choice(np.stack([hits[entry.name] for entry in entries]), prompts, spec)
    return Contest(tuple(contenders), chosen, len(keys), len(prompts), left_out, note)


def _price(judge: Verdicts, spec: StudySpec) -> float | None:
    if judge.name in spec.prices:
        return spec.prices[judge.name]
    costs = [pair.cost for pair in judge.pairs.values() if pair.cost is not None]
    return sum(costs) / len(costs) if costs and len(costs) == len(judge.pairs) else None


def _most_accurate(entries: list[_Entry], keys: list[PairKey], votes: dict[PairKey, list[Vote]]) -> list[str]:
    return [e.name for e in sorted(entries, key=lambda e: -float(_hits(e.choices, keys, votes).mean()))]


def _ensembles(
    group: tuple[str, ...], pairs: dict[str, list[JudgePair]], prices: dict[str, float | None]
) -> list[_Entry]:
    known = [prices[name] for name in group]
    price = sum(p for p in known if p is not None) if None not in known else None
    columns = list(zip(*(pairs[name] for name in group), strict=True))
    means = [sum(p.p_first or 0.0 for p in column) / len(column) for column in columns]
    listed = ", ".join(group)
    found = [_Entry(f"mean({listed})", "mean", group, [choice_of(mean) for mean in means], price)]
    if len(group) > 2:  # two judges' majority is their agreement, which the mean has too
        majority = [_vote([p.choice or "tie" for p in column]) for column in columns]
        found.append(_Entry(f"majority({listed})", "majority", group, majority, price))
    return found


def _vote(choices: list[Choice]) -> Choice:
    (top, n), *rest = Counter(choices).most_common()
    return "tie" if rest and rest[0][1] == n else top


def _hits(choices: list[Choice], keys: list[PairKey], votes: dict[PairKey, list[Vote]]) -> Floats:
    return np.array(
        [float(choice == choice_of(v.p_first)) for choice, key in zip(choices, keys, strict=True) for v in votes[key]]
    )


def _decisive(
    choices: list[Choice], keys: list[PairKey], votes: dict[PairKey, list[Vote]], spec: StudySpec
) -> Estimate | NotMeasured:
    rows = [
        (key.prompt, 100.0 * (choice == choice_of(vote.p_first)))
        for choice, key in zip(choices, keys, strict=True)
        for vote in votes[key]
        if choice != "tie" and vote.p_first != 0.5
    ]
    if not rows:
        return NotMeasured("no comparison in which neither side says tie")
    return cluster_mean([hit for _, hit in rows], [prompt for prompt, _ in rows], spec.level, (0.0, 100.0))


def _on_front(entry: _Entry, entries: list[_Entry], hits: dict[str, Floats]) -> bool | None:
    if entry.price is None:
        return None
    mine = float(hits[entry.name].mean())
    for other in entries:
        if other is entry or other.price is None:
            continue
        theirs = float(hits[other.name].mean())
        as_good = theirs >= mine and other.price <= entry.price
        # of two that are alike in both, the smaller stands
        smaller = len(other.members) < len(entry.members) and theirs == mine and other.price == entry.price
        if as_good and (theirs > mine or other.price < entry.price or smaller):
            return False
    return True


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
