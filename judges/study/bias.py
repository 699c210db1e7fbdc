"""What moves a judge besides quality: the order shown, the length, its own family."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_bootstrap
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from judges.study.study_figures import NotMeasured, Sides, StudySpec, attempt, prompt_mean
from judges.study.verdicts import JudgePair
from judges.study.vote_records import Choice, PairFacts, PairKey, mean_vote


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
    both = [pair for pair in sides.judge.scored().values() if pair.inconsistent is not None]
    beyond = _beyond_people(sides)
    if not both and not beyond:
        return NotMeasured("the files do not say which answer was shown first")
    combined, not_both = "the files hold combined verdicts only", "no pair was shown in both orders"
    shown = [(pair.key.prompt, 100.0 * rate) for pair in both for rate in _shown_rates(pair)]
    leans = Counter(_lean(pair) for pair in both if pair.inconsistent)
    right = _both_right(sides)
    return Position(
        len(both),
        prompt_mean([(pair.key.prompt, 100.0 * (not pair.inconsistent)) for pair in both], spec, not_both),
        prompt_mean(beyond, spec, combined, -100.0),
        leans["first"],
        leans["second"],
        prompt_mean(shown, spec, combined if both else not_both),
        _games(sides, spec),
        prompt_mean([(p, 100.0 * hit) for p, hit in right], spec, "no pair with votes was shown in both orders"),
        sum(hit for _, hit in right),
        len(right),
    )


def _shown_rates(pair: JudgePair) -> list[float]:
    """What the answer shown first got, presentation by presentation."""
    return [p.p_shown_first for p in pair.presentations if p.p_shown_first is not None]


def _lean(pair: JudgePair) -> str:
    """Which place a pair's verdicts favour."""
    rates = _shown_rates(pair)
    middle = sum(rates) / len(rates) if rates else 0.5
    return "first" if middle > 0.5 else "second" if middle < 0.5 else "neither"


def _beyond_people(sides: Sides) -> list[tuple[str, float]]:
    """For every presentation on a pair with votes, what it gives the answer shown first less what people do."""
    rows = []
    for key, votes in sides.votes.items():
        human = mean_vote(votes)
        for p in sides.presentations(key):
            if p.p_first is not None and p.shown_first is not None:
                gap = p.p_first - human
                rows.append((key.prompt, 100.0 * (gap if p.shown_first else -gap)))
    return rows


def _games(sides: Sides, spec: StudySpec) -> tuple[GameAgreement, ...]:
    seen: dict[int, list[tuple[str, bool | None]]] = defaultdict(list)
    for key, votes in sides.votes.items():
        for p in sides.presentations(key):
            if p.shown_first is not None:
                seen[p.game] += [(key.prompt, None if p.choice is None else p.choice == v.choice) for v in votes]
    games = []
    for game, rows in sorted(seen.items()):
        had = [(prompt, 100.0 * hit) for prompt, hit in rows if hit is not None]
        n_agree = sum(bool(hit) for _, hit in rows)
        agreement = prompt_mean(had, spec, "no verdicts")
        share = 100.0 * n_agree / len(rows)
        games.append(GameAgreement(game, agreement, n_agree, len(had), len(rows) - len(had), share))
    return tuple(games)


def _both_right(sides: Sides) -> list[tuple[str, bool]]:
    """For every vote on a pair shown in both orders, whether each presentation agrees with it."""
    rows: list[tuple[str, bool]] = []
    for key, votes in sides.votes.items():
        shown = sides.presentations(key)
        if {True, False} <= {p.shown_first for p in shown}:
            rows += [(key.prompt, all(p.choice == vote.choice for p in shown)) for vote in votes]
    return rows


@dataclass(frozen=True)
class _Split:
    """Comparisons of two kinds: their prompts, which are of the first kind, and which agree."""

    prompts: list[str]
    is_first_kind: NDArray[np.bool_]
    agrees: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[tuple[str, bool, bool]]) -> _Split:
        return cls([row[0] for row in rows], *(np.array([row[i] for row in rows], bool) for i in (1, 2)))

    def percent(self, which: NDArray[np.bool_], spec: StudySpec) -> Estimate | NotMeasured:
        """How often something holds, in percent."""
        return prompt_mean(list(zip(self.prompts, 100.0 * which, strict=True)), spec, "no such comparison")

    def agreement(self, spec: StudySpec, *, first_kind: bool) -> Estimate | NotMeasured:
        """Percent agreement of one kind."""
        rows = np.flatnonzero(self.is_first_kind == first_kind)
        return prompt_mean([(self.prompts[i], 100.0 * self.agrees[i]) for i in rows], spec, "no such comparison")

    def difference(self, spec: StudySpec) -> Estimate:
        """Agreement of the first kind less that of the other, in points, prompts resampled."""
        first, agrees = self.is_first_kind, self.agrees
        if first.all() or not first.any():
            raise StatisticsError(
                "every vote went to the same kind of answer", "some for the longer, some for the shorter"
            )

        def statistic(weights: Floats) -> Floats:
            with np.errstate(invalid="ignore", divide="ignore"):
                one = weights @ (first & agrees) / (weights @ first.astype(np.float64))
                other = weights @ (~first & agrees) / (weights @ (~first).astype(np.float64))
            points: Floats = 100.0 * (one - other)
            return points

        found = cluster_bootstrap(statistic, self.prompts, spec.rng(), spec.bootstrap)
        method = f"difference of agreements; percentile bootstrap of prompts, {spec.n_boot} resamples"
        return found.estimate(method, int(first.size), spec.level)


def verbosity(sides: Sides, spec: StudySpec) -> Verbosity | NotMeasured:
    """Measure verbosity bias on comparisons in which neither side says tie and the lengths differ."""
    rows: list[tuple[str, bool, bool]] = []  # prompt, the vote is for the longer, the judge agrees
    n_unknown = 0
    for comparison in sides.comparisons():
        facts = sides.facts.get(comparison.pair.key, PairFacts())
        if not comparison.is_decisive or (facts.length_first is not None and facts.length_first == facts.length_second):
            continue
        if facts.length_first is None or facts.length_second is None:
            n_unknown += 1
            continue
        is_for_longer = (comparison.vote.p_first > 0.5) == (facts.length_first > facts.length_second)
        rows.append((comparison.pair.key.prompt, is_for_longer, comparison.agrees))
    if not rows:
        why = "the lengths of the answers are not known; give --answers" if n_unknown else "no decisive comparisons"
        return NotMeasured(why)
    split = _Split.of(rows)
    by_people = split.is_first_kind
    by_judge = by_people == split.agrees  # it agrees with a vote for the longer, or not with one against it
    return Verbosity(
        split.agreement(spec, first_kind=True),
        split.agreement(spec, first_kind=False),
        attempt(lambda: split.difference(spec)),
        split.percent(by_judge, spec),
        split.percent(by_people, spec),
        int(by_people.sum()),
        int((~by_people).sum()),
        n_unknown,
    )


def self_preference(sides: Sides, spec: StudySpec) -> SelfPreference | NotMeasured:
    """Measure self-preference on pairs of which exactly one answer is of the judge's family."""
    family = spec.families.get(sides.judge.name)
    if family is None:
        return NotMeasured("the judge's family is not given (--family NAME=FAMILY for judge and models)")
    scored = sides.judge.scored()
    own = {key: place for key in sides.votes if key in scored and (place := _own_place(sides, key, family, spec))}
    if not own:
        return NotMeasured(f"no judged pair with votes has exactly one answer of family {family!r}")
    prompts = [key.prompt for key in own]
    judge = np.array([_own_rate(scored[key].credit, place) for key, place in own.items()])
    human = np.array([_own_rate(mean_vote(sides.votes[key]), place) for key, place in own.items()])
    decisive = [c for c in sides.comparisons() if c.is_decisive and c.pair.key in own]
    split = _Split.of([(c.pair.key.prompt, c.vote.choice == own[c.pair.key], c.agrees) for c in decisive])
    return SelfPreference(
        family,
        tuple(sorted({str(sides.models(key)[place == "second"]) for key, place in own.items()})),
        cluster_mean(judge, prompts, spec.level, (0.0, 100.0)),
        cluster_mean(human, prompts, spec.level, (0.0, 100.0)),
        cluster_mean(judge - human, prompts, spec.level, (-100.0, 100.0)),
        split.agreement(spec, first_kind=True),
        split.agreement(spec, first_kind=False),
        len(own),
    )


def _own_rate(p_first: float, place: Choice) -> float:
    """What the family's answer gets, in percent."""
    return 100.0 * (p_first if place == "first" else 1.0 - p_first)


def _own_place(sides: Sides, key: PairKey, family: str, spec: StudySpec) -> Choice | None:
    """Which of a pair's answers is of the family; None where both are, or neither."""
    first, second = (model is not None and spec.families.get(model) == family for model in sides.models(key))
    return None if first == second else "first" if first else "second"
