"""What moves a judge besides quality: the order shown, the length, its own family."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_bootstrap
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from judges.study.study_figures import Comparison, NotMeasured, Sides, StudySpec, attempt
from judges.study.vote_records import PairFacts, Presentation, choice_of

__all__ = ["GameAgreement", "Position", "SelfPreference", "Verbosity", "position", "self_preference", "verbosity"]


@dataclass(frozen=True, slots=True)
class GameAgreement:
    """Agreement with people of one presentation alone.

    Parameters
    ----------
    game : int
        1 and 2 for the two orders.
    agreement : Estimate or NotMeasured
        Percent of comparisons that agree, ties counted.
    n_agree, n_compared, n_no_verdict : int
        Comparisons; those without a verdict are not among `n_compared`.
    percent_of_all : float
        The same with missing verdicts counted as wrong.
    """

    game: int
    agreement: Estimate | NotMeasured
    n_agree: int
    n_compared: int
    n_no_verdict: int
    percent_of_all: float


@dataclass(frozen=True, slots=True)
class Position:
    """Position bias.

    Parameters
    ----------
    n_both_orders : int
        Pairs with a verdict in both orders.
    consistent : Estimate or NotMeasured
        Percent of them on which both orders agree.
    beyond_people : Estimate or NotMeasured
        How much more often than people the judge prefers the answer shown first, in points, over every presentation
        on a pair with votes; this needs one order only.
    n_favours_first, n_favours_second : int
        Pairs on which the orders differ, towards the answer shown first or second.
    shown_first_rate : Estimate or NotMeasured
        How often the answer shown first wins over both orders, in percent, ties half; 50 is no bias.
    games : tuple of GameAgreement
        Each order alone.
    both_right : Estimate or NotMeasured
        Percent of votes that agree with the verdict of both orders, missing verdicts counted as wrong.
    n_both_right, n_votes : int
        The counts behind it.
    """

    n_both_orders: int
    consistent: Estimate | NotMeasured
    beyond_people: Estimate | NotMeasured
    n_favours_first: int
    n_favours_second: int
    shown_first_rate: Estimate | NotMeasured
    games: tuple[GameAgreement, ...]
    both_right: Estimate | NotMeasured
    n_both_right: int
    n_votes: int


@dataclass(frozen=True, slots=True)
class Verbosity:
    """Whether the judge agrees more where people chose the longer answer.

    Parameters
    ----------
    agreement_longer, agreement_shorter : Estimate or NotMeasured
        Percent agreement where the vote went to the longer, or the shorter, answer; neither side says tie.
    bias : Estimate or NotMeasured
        Their difference in points; positive favours length.
    judge_longer, human_longer : Estimate or NotMeasured
        How often each chooses the longer answer, in percent of the same comparisons.
    n_longer, n_shorter : int
        Comparisons of each kind.
    n_no_length : int
        Comparisons left out because a length is not known.
    """

    agreement_longer: Estimate | NotMeasured
    agreement_shorter: Estimate | NotMeasured
    bias: Estimate | NotMeasured
    judge_longer: Estimate | NotMeasured
    human_longer: Estimate | NotMeasured
    n_longer: int
    n_shorter: int
    n_no_length: int


@dataclass(frozen=True, slots=True)
class SelfPreference:
    """Whether the judge favours answers of its own family.

    Parameters
    ----------
    family : str
        The judge's.
    own_models : tuple of str
        Models of that family in the study.
    judge_rate, human_rate : Estimate
        How often the family's answer wins against others, in percent, by the judge and by people on the same pairs.
    bias : Estimate
        Their difference in points; positive favours the family beyond what people see in its answers.
    agreement_own, agreement_other : Estimate or NotMeasured
        Percent agreement where people preferred the family's answer, and the other one; neither side says tie.
    n_pairs : int
        Pairs of a family answer and another.
    """

    family: str
    own_models: tuple[str, ...]
    judge_rate: Estimate
    human_rate: Estimate
    bias: Estimate
    agreement_own: Estimate | NotMeasured
    agreement_other: Estimate | NotMeasured
    n_pairs: int


def position(sides: Sides, spec: StudySpec) -> Position | NotMeasured:
    """Measure position bias, from verdicts in both orders or from combined verdicts that say if they differed."""
    both = {key: pair for key, pair in sides.judge.scored().items() if pair.inconsistent is not None}
    beyond = _beyond_people(sides)
    if not both and not beyond:
        return NotMeasured("the files do not say which answer was shown first")
    same = [100.0 * (not pair.inconsistent) for pair in both.values()]
    prompts = [key.prompt for key in both]
    lean: Counter[str] = Counter()
    shown: list[tuple[str, float]] = []
    for pair in both.values():
        rates = [
            p.p_first if p.shown_first else 1.0 - p.p_first
            for p in pair.presentations
            if p.p_first is not None and p.shown_first is not None
        ]
        shown += [(pair.key.prompt, 100.0 * rate) for rate in rates]
        middle = sum(rates) / len(rates) if rates else 0.5
        if pair.inconsistent and rates:
            lean["first" if middle > 0.5 else "second" if middle < 0.5 else "neither"] += 1
    first_rate: Estimate | NotMeasured = NotMeasured(
        "the files hold combined verdicts only" if both else "no pair was shown in both orders"
    )
    if shown:
        first_rate = attempt(lambda: _percent([rate for _, rate in shown], [p for p, _ in shown], spec))
    right, n_votes = _both_right(sides)
    return Position(
        len(both),
        _percent(same, prompts, spec) if same else NotMeasured("no pair was shown in both orders"),
        cluster_mean([gap for _, gap in beyond], [prompt for prompt, _ in beyond], spec.level, (-100.0, 100.0))
        if beyond
        else NotMeasured("the files hold combined verdicts only"),
        lean["first"],
        lean["second"],
        first_rate,
        _games(sides, spec),
        _percent([100.0 * hit for _, hit in right], [prompt for prompt, _ in right], spec)
        if right
        else NotMeasured("no pair with votes was shown in both orders"),
        sum(hit for _, hit in right),
        n_votes,
    )


def verbosity(sides: Sides, spec: StudySpec) -> Verbosity | NotMeasured:
    """Measure verbosity bias on comparisons in which neither side says tie and the lengths differ."""
    longer: list[tuple[str, bool, bool]] = []  # prompt, the vote is for the longer, the judge agrees
    n_unknown = 0
    for comparison in sides.comparisons():
        if not _decisive(comparison):
            continue
        facts = sides.facts.get(comparison.pair.key, PairFacts())
        if facts.length_first is None or facts.length_second is None:
            n_unknown += 1
            continue
        if facts.length_first != facts.length_second:
            chose_first = comparison.vote.p_first > 0.5
            chose_longer = chose_first == (facts.length_first > facts.length_second)
            longer.append((comparison.pair.key.prompt, chose_longer, _agrees(comparison)))
    if not longer:
        why = "the lengths of the answers are not known; give --answers" if n_unknown else "no decisive comparisons"
        return NotMeasured(why)
    prompts = [prompt for prompt, _, _ in longer]
    by = np.array([is_longer for _, is_longer, _ in longer])
    hit = np.array([agrees for _, _, agrees in longer])
    judge_longer = by == hit  # the judge chose the longer where it agrees with a vote for it or not with one against it
    return Verbosity(
        _part(hit, by, prompts, spec),
        _part(hit, ~by, prompts, spec),
        attempt(lambda: _difference(hit, by, prompts, spec)),
        attempt(lambda: _percent(100.0 * judge_longer, prompts, spec)),
        attempt(lambda: _percent(100.0 * by, prompts, spec)),
        int(by.sum()),
        int((~by).sum()),
        n_unknown,
    )


def self_preference(sides: Sides, spec: StudySpec) -> SelfPreference | NotMeasured:
    """Measure self-preference on pairs of which exactly one answer is of the judge's family."""
    family = spec.families.get(sides.judge.name)
    if family is None:
        return NotMeasured("the judge's family is not given (--family NAME=FAMILY for judge and models)")
    own: set[str] = set()
    rows: list[tuple[str, float, float]] = []
    hits: list[tuple[str, bool, bool]] = []
    scored = sides.judge.scored()
    for key, votes in sides.votes.items():
        mine = [model is not None and spec.families.get(model) == family for model in sides.models(key)]
        if key not in scored or mine[0] == mine[1]:
            continue
        own.update(m for m, is_own in zip(sides.models(key), mine, strict=True) if is_own and m is not None)
        verdict = {"first": 1.0, "tie": 0.5, "second": 0.0}[scored[key].choice or "tie"]
        human = sum(vote.p_first for vote in votes) / len(votes)
        rows.append((key.prompt, verdict if mine[0] else 1.0 - verdict, human if mine[0] else 1.0 - human))
        for vote in votes:
            comparison = Comparison(scored[key], vote)
            if _decisive(comparison):
                hits.append((key.prompt, (vote.p_first > 0.5) == mine[0], _agrees(comparison)))
    if not rows:
        return NotMeasured(f"no judged pair with votes has exactly one answer of family {family!r}")
    prompts = [prompt for prompt, _, _ in rows]
    judge, human_rates = np.array([[100.0 * verdict, 100.0 * human] for _, verdict, human in rows]).T
    by, hit = np.array([own_won for _, own_won, _ in hits], bool), np.array([h for _, _, h in hits], bool)
    where = [prompt for prompt, _, _ in hits]
    return SelfPreference(
        family,
        tuple(sorted(own)),
        cluster_mean(judge, prompts, spec.level, (0.0, 100.0)),
        cluster_mean(human_rates, prompts, spec.level, (0.0, 100.0)),
        cluster_mean(judge - human_rates, prompts, spec.level, (-100.0, 100.0)),
        _part(hit, by, where, spec),
        _part(hit, ~by, where, spec),
        len(rows),
    )


def _decisive(comparison: Comparison) -> bool:
    return comparison.pair.choice in ("first", "second") and comparison.vote.p_first != 0.5


def _agrees(comparison: Comparison) -> bool:
    return comparison.pair.choice == choice_of(comparison.vote.p_first)


def _percent(values: Sequence[float] | Floats, prompts: Sequence[Hashable], spec: StudySpec) -> Estimate:
    return cluster_mean(values, prompts, spec.level, (0.0, 100.0))


def _part(hit: np.ndarray, by: np.ndarray, prompts: list[str], spec: StudySpec) -> Estimate | NotMeasured:
    rows = np.flatnonzero(by)
    if rows.size == 0:
        return NotMeasured("no such comparison")
    return attempt(lambda: _percent(100.0 * hit[rows], [prompts[i] for i in rows], spec))


def _difference(hit: np.ndarray, by: np.ndarray, prompts: list[str], spec: StudySpec) -> Estimate:
    """Agreement where `by` holds less where it does not, in points, prompts resampled."""
    if by.all() or not by.any():
        raise StatisticsError("every vote went to the same kind of answer", "some for the longer, some for the shorter")

    def statistic(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            one = weights @ (by & hit) / (weights @ by.astype(np.float64))
            other = weights @ (~by & hit) / (weights @ (~by).astype(np.float64))
        difference: Floats = 100.0 * (one - other)
        return difference

    found = cluster_bootstrap(statistic, prompts, spec.rng(), spec.bootstrap)
    method = f"difference of agreements; percentile bootstrap of prompts, {spec.n_boot} resamples"
    return Estimate(
        found.value,
        found.stderr,
        found.ci_low,
        found.ci_high,
        spec.level,
        method,
        int(by.size),
        found.n_clusters,
        found.note,
    )


def _beyond_people(sides: Sides) -> list[tuple[str, float]]:
    """For every presentation on a pair with votes, what it gives the answer shown first less what people do."""
    rows = []
    for key, votes in sides.votes.items():
        pair = sides.judge.pairs.get(key)
        human = sum(vote.p_first for vote in votes) / len(votes)
        for p in pair.presentations if pair is not None else ():
            if p.p_first is not None and p.shown_first is not None:
                gap = p.p_first - human
                rows.append((key.prompt, 100.0 * (gap if p.shown_first else -gap)))
    return rows


def _games(sides: Sides, spec: StudySpec) -> tuple[GameAgreement, ...]:
    seen: dict[int, list[tuple[str, bool | None]]] = defaultdict(list)
    for key, votes in sides.votes.items():
        pair = sides.judge.pairs.get(key)
        for presentation in pair.presentations if pair is not None else ():
            if presentation.shown_first is None:
                continue
            for vote in votes:
                seen[presentation.game].append((key.prompt, _hit(presentation, vote.p_first)))
    games = []
    for game, rows in sorted(seen.items()):
        had = [(prompt, hit) for prompt, hit in rows if hit is not None]
        n_agree = sum(bool(hit) for _, hit in had)
        agreement: Estimate | NotMeasured = NotMeasured("no verdicts")
        if had:
            agreement = _percent([100.0 * bool(hit) for _, hit in had], [prompt for prompt, _ in had], spec)
        share = 100.0 * n_agree / len(rows)
        games.append(GameAgreement(game, agreement, n_agree, len(had), len(rows) - len(had), share))
    return tuple(games)


def _hit(presentation: Presentation, vote: float) -> bool | None:
    return None if presentation.choice is None else presentation.choice == choice_of(vote)


def _both_right(sides: Sides) -> tuple[list[tuple[str, bool]], int]:
    rows: list[tuple[str, bool]] = []
    for key, votes in sides.votes.items():
        pair = sides.judge.pairs.get(key)
        if pair is None or not {True, False} <= {p.shown_first for p in pair.presentations}:
            continue
        rows += [(key.prompt, all(_hit(p, vote.p_first) is True for p in pair.presentations)) for vote in votes]
    return rows, len(rows)
