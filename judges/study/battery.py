"""Agreement of a judge with people and of people among themselves: percent, beyond chance, over models."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.stats.agreement import Agreement, PairVote, agreement_among, agreement_between
from harness.stats.bootstrap import BootstrapSpec
from harness.stats.chance_agreement import RatingTable, cohen_kappa, fleiss_kappa, gwet_ac1, krippendorff_alpha
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from harness.stats.ranking import kendall, spearman
from judges.study.study_figures import NotMeasured, Sides, StudySpec, attempt
from judges.study.vote_records import Choice, PairKey, Vote, mean_vote

_WINNER = {"first": "model_a", "second": "model_b", "tie": "tie"}


@dataclass(frozen=True, slots=True)
class AgreementCell:
    """One cell of the agreement table.

    Parameters
    ----------
    turn : int or None
        The turn; None for all.
    ties : bool
        Whether ties count; without them comparisons in which either side says tie are left out.
    agreement : Agreement or NotMeasured
        In percent, with its counts.
    """

    turn: int | None
    ties: bool
    agreement: Agreement | NotMeasured


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Agreement beyond chance; categories are the two models in alphabetical order and, where they count, ties.

    Parameters
    ----------
    ties : bool
        Whether ties are a category.
    cohen : Estimate or NotMeasured
        Cohen's kappa of verdict and vote over all comparisons; among people NotMeasured (they are interchangeable).
    fleiss : Estimate or NotMeasured
        Fleiss' kappa: of verdict and vote over all comparisons; among people on the pairs with as many votes as is
        commonest.
    alpha : Estimate or NotMeasured
        Krippendorff's, nominal: the judge as one more rater of each pair beside its votes; among people their votes.
        Without ties, votes for a tie are missing ratings, and a pair on which the judge says tie is left out.
    alpha_tie_missing : Estimate or NotMeasured
        The same with the judge's tie as a missing rating, so that the votes on the pair stay (Krippendorff's treatment
        of missing data); NotMeasured where ties count, and among people, whose ties are missing ratings in `alpha` too.
    ac1 : Estimate or NotMeasured
        Gwet's AC1 of the same table as alpha.
    """

    ties: bool
    cohen: Estimate | NotMeasured
    fleiss: Estimate | NotMeasured
    alpha: Estimate | NotMeasured
    alpha_tie_missing: Estimate | NotMeasured
    ac1: Estimate | NotMeasured


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often which vote met which verdict.

    Parameters
    ----------
    counts : dict of str to dict of str to int
        By vote, then by verdict: "first", "second" (models in alphabetical order), "tie", and "no verdict".
    opposite, judge_tie, human_tie : int
        Comparisons that contradict each other; in which only the judge, or only the person, says tie.
    """

    counts: dict[str, dict[str, int]]
    opposite: int
    judge_tie: int
    human_tie: int


@dataclass(frozen=True, slots=True)
class ModelRate:
    """A model's win rate among the pairs both sides saw, in percent, ties half.

    Parameters
    ----------
    model : str
        The model.
    judge, human : Estimate
        By the judge, and by people (the votes on a pair averaged).
    n_pairs : int
        Pairs it is in.
    """

    model: str
    judge: Estimate
    human: Estimate
    n_pairs: int


@dataclass(frozen=True, slots=True)
class ModelRanking:
    """Whether judge and people rank the models alike.

    Parameters
    ----------
    models : tuple of ModelRate
        Best by people first.
    spearman, kendall : Estimate or NotMeasured
        Rank correlations of the two columns.
    """

    models: tuple[ModelRate, ...]
    spearman: Estimate | NotMeasured
    kendall: Estimate | NotMeasured


def judge_cells(sides: Sides, spec: StudySpec) -> tuple[AgreementCell, ...]:
    """The judge against every vote: by turn and over all, with ties and without."""
    verdicts = [_pair_vote(pair.key, pair.choice or "tie") for pair in sides.judge.scored().values()]
    votes = [_pair_vote(vote.key, vote.choice) for given in sides.votes.values() for vote in given]
    return _cells(
        sorted({vote.turn for vote in votes}),
        lambda turn, ties: agreement_between(_of(verdicts, turn), _of(votes, turn), ties, spec.level),
    )


def human_cells(votes: Iterable[Vote], spec: StudySpec) -> tuple[AgreementCell, ...]:
    """Every two votes on one pair: what a judge can at best be expected to reach."""
    given = [_pair_vote(vote.key, vote.choice) for vote in votes]
    return _cells(
        sorted({vote.turn for vote in given}),
        lambda turn, ties: agreement_among(_of(given, turn), ties, spec.level),
    )


def judge_coefficients(sides: Sides, spec: StudySpec, ties: bool) -> Coefficients:
    """Agreement beyond chance of a judge with people."""
    table: list[_Said] = []
    tied: list[_Said] = []
    for key, votes in sides.votes.items():
        verdict = sides.judge.choice(key)
        said = [vote.choice for vote in votes if ties or vote.choice != "tie"]
        if said and verdict is not None and (ties or verdict != "tie"):
            table.append((key.prompt, [verdict, *said]))
        elif verdict == "tie" and len(said) >= 2:
            tied.append((key.prompt, said))
    two = _table([(prompt, [verdict, choice]) for prompt, (verdict, *said) in table for choice in said])
    many = _table(table)
    return Coefficients(
        ties,
        _coefficient(cohen_kappa, two, spec),
        _coefficient(fleiss_kappa, two, spec),
        _coefficient(krippendorff_alpha, many, spec),
        NotMeasured("ties count: no unit is left out") if ties else _with_tied(table, tied, spec),
        _coefficient(gwet_ac1, many, spec),
    )


def _with_tied(table: list[_Said], tied: list[_Said], spec: StudySpec) -> Estimate | NotMeasured:
    """Alpha with the units on which the judge says tie; nothing to compare without a unit it decides."""
    return _coefficient(krippendorff_alpha, _table([*table, *tied]) if table else None, spec)


def human_coefficients(votes: Iterable[Vote], spec: StudySpec, ties: bool) -> Coefficients:
    """Agreement beyond chance of people among themselves."""
    by_pair: dict[object, list[Vote]] = defaultdict(list)
    for vote in votes:
        if ties or vote.p_first != 0.5:
            by_pair[vote.key].append(vote)
    said = [(given[0].key.prompt, [v.choice for v in given]) for given in by_pair.values() if len(given) >= 2]
    usual = Counter(len(choices) for _, choices in said).most_common(1)
    even = _table([row for row in said if len(row[1]) == usual[0][0]])
    many = _table(said)
    return Coefficients(
        ties,
        NotMeasured("Cohen's kappa is of two named raters; people are interchangeable"),
        _coefficient(fleiss_kappa, even, spec),
        _coefficient(krippendorff_alpha, many, spec),
        NotMeasured("people among themselves: there is no judge"),
        _coefficient(gwet_ac1, many, spec),
    )


def confusion(sides: Sides) -> Confusion:
    """Count votes against verdicts."""
    names = ("first", "second", "tie")
    counts = {vote: dict.fromkeys((*names, "no verdict"), 0) for vote in names}
    for key, votes in sides.votes.items():
        if key in sides.judge.pairs:
            for vote in votes:
                counts[vote.choice][sides.judge.choice(key) or "no verdict"] += 1
    first, second, tie = (counts[name] for name in names)
    opposite = first["second"] + second["first"]
    return Confusion(counts, opposite, first["tie"] + second["tie"], tie["first"] + tie["second"])


def ranking(sides: Sides, spec: StudySpec) -> ModelRanking | NotMeasured:
    """Win rates of the models by judge and people on the same pairs, and how the two orders agree."""
    scored = sides.judge.scored()
    credit: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for key, votes in sides.votes.items():
        if key not in scored:
            continue
        judge, human = scored[key].credit, mean_vote(votes)
        first, second = sides.models(key)
        if first is None or second is None:
            return NotMeasured("the files do not say whose answers they are")
        credit[first].append((key.prompt, judge, human))
        credit[second].append((key.prompt, 1.0 - judge, 1.0 - human))
    rates = [_rate(model, rows, spec.level) for model, rows in credit.items()]
    rates.sort(key=lambda rate: (-rate.human.value, rate.model))
    judged = np.array([rate.judge.value for rate in rates])
    voted = np.array([rate.human.value for rate in rates])
    return ModelRanking(
        tuple(rates),
        attempt(lambda: spearman(judged, voted, spec.level)),
        attempt(lambda: kendall(judged, voted, spec.level)),
    )


def _rate(model: str, rows: list[tuple[str, float, float]], level: float) -> ModelRate:
    prompts = [prompt for prompt, _, _ in rows]
    judge = cluster_mean([100.0 * j for _, j, _ in rows], prompts, level, (0.0, 100.0))
    human = cluster_mean([100.0 * h for _, _, h in rows], prompts, level, (0.0, 100.0))
    return ModelRate(model, judge, human, len(rows))


def _cells(turns: list[int], agreement: Callable[[int | None, bool], Agreement]) -> tuple[AgreementCell, ...]:
    wanted: list[int | None] = [*turns, None] if len(turns) > 1 else [None]
    return tuple(
        AgreementCell(turn, ties, attempt(partial(agreement, turn, ties))) for turn in wanted for ties in (True, False)
    )


def _of(votes: list[PairVote], turn: int | None) -> list[PairVote]:
    return [vote for vote in votes if turn is None or vote.turn == turn]


def _pair_vote(key: PairKey, choice: Choice) -> PairVote:
    return PairVote(*key, _WINNER[choice])


_Said = tuple[str, list[Choice]]
"""A prompt and what was said of one pair of its answers."""


def _table(rows: list[_Said]) -> RatingTable | None:
    """One row per item; items with fewer ratings are filled up with None."""
    if not rows:
        return None
    most = max(len(said) for _, said in rows)
    filled = [[*said, *([None] * (most - len(said)))] for _, said in rows]
    return RatingTable(filled, [prompt for prompt, _ in rows])


def _coefficient(
    coefficient: Callable[[RatingTable, np.random.Generator, BootstrapSpec], Estimate],
    table: RatingTable | None,
    spec: StudySpec,
) -> Estimate | NotMeasured:
    if table is None:
        return NotMeasured("nothing to compare (needed: two ratings of one pair)")
    given = {entry for row in table.ratings for entry in row if entry is not None}
    if len(given) == 1:
        return NotMeasured(f"one class only: every rating is {given.pop()!r}, so chance explains all agreement")
    return attempt(lambda: coefficient(table, spec.rng(), spec.bootstrap))
