"""The pairs on which one more human vote tells most, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.stats.label_value import FEWEST_VOTES, prior_strength, vote_value
from judges.study.confidence import Confidence
from judges.study.study_figures import NotMeasured
from judges.study.verdicts import JudgePair, Verdicts
from judges.study.vote_records import Choice, PairKey, Vote, choice_of

_SURE = 0.75


@dataclass(frozen=True, slots=True)
class WorthLabelling:
    """A pair that one more vote would tell most about.

    Parameters
    ----------
    key : PairKey
        The pair.
    value : float
        Expected drop in the variance of its human preference (`harness.stats.label_value`).
    probability : float
        P(first is better) that the judges' calibrated verdicts give, on average.
    n_votes : int
        Votes it has.
    reason : str
        Why it is worth a vote, in words.
    """

    key: PairKey
    value: float
    probability: float
    n_votes: int
    reason: str


@dataclass(frozen=True)
class LabelList:
    """The ranked list.

    Parameters
    ----------
    pairs : tuple of WorthLabelling
        Every judged pair, most valuable first; of equally valuable ones those of prompts not listed yet.
    strength : float
        How many votes the judges' verdict is worth.
    strength_is_estimated : bool
        False where too few pairs have two votes to learn it.
    """

    pairs: tuple[WorthLabelling, ...]
    strength: float
    strength_is_estimated: bool


def worth_labelling(
    judges: Sequence[tuple[Verdicts, Confidence | NotMeasured]], votes: Mapping[PairKey, list[Vote]]
) -> LabelList:
    """Rank every judged pair by what one more human vote is expected to tell.

    Parameters
    ----------
    judges : sequence of (verdicts, confidence)
        All judges; one whose confidence could not be measured says nothing of the probability.
    votes : mapping
        The votes so far.

    Returns
    -------
    LabelList
    """
    keys = list(dict.fromkeys(key for verdicts, _ in judges for key in verdicts.pairs))
    beliefs = {key: _belief(key, judges) for key in keys}
    said = {key: [vote.p_first for vote in votes.get(key, [])] for key in keys}
    voted = {key: given for key, given in said.items() if given}
    strength = prior_strength([beliefs[key] for key in voted], list(voted.values())) if voted else 2.0
    values = {key: vote_value(beliefs[key], said[key], strength) for key in keys}
    pairs = tuple(
        WorthLabelling(key, values[key], beliefs[key], len(said[key]), _reason(key, beliefs[key], said[key], judges))
        for key in _ranked(values)
    )
    is_estimated = sum(len(given) >= 2 for given in voted.values()) >= FEWEST_VOTES
    return LabelList(pairs, strength, is_estimated)


def _ranked(values: Mapping[PairKey, float]) -> list[PairKey]:
    """Pairs by value; of equally valuable ones each prompt's first pair before any second one."""
    places: dict[str, int] = {}
    ranked = []
    for rounded, key in sorted((-round(value, 12), key) for key, value in values.items()):
        places[key.prompt] = places.get(key.prompt, -1) + 1
        ranked.append((rounded, places[key.prompt], key))
    return [key for _, _, key in sorted(ranked)]


def _belief(key: PairKey, judges: Sequence[tuple[Verdicts, Confidence | NotMeasured]]) -> float:
    """Mean calibrated probability of the judges that have a verdict; one half where none has."""
    given = [c.probabilities[key] for _, c in judges if not isinstance(c, NotMeasured) and key in c.probabilities]
    return sum(given) / len(given) if given else 0.5


def _reason(
    key: PairKey, q: float, votes: list[float], judges: Sequence[tuple[Verdicts, Confidence | NotMeasured]]
) -> str:
    pairs = [(verdicts.name, verdicts.pairs[key]) for verdicts, _ in judges if key in verdicts.pairs]
    words = [_of_votes(votes)]
    words += _of_judges(pairs)
    sure = max(q, 1.0 - q)
    if votes and sure >= _SURE and (sum(votes) / len(votes) - 0.5) * (q - 0.5) < 0.0:
        words.append(f"the judge is {sure:.0%} sure of the opposite: one of them is wrong")
    elif sure < _SURE:
        words.append(f"the calibrated judge is only {sure:.0%} sure")
    return "; ".join(words)


def _of_votes(votes: list[float]) -> str:
    if not votes:
        return "no human vote yet"
    choices = [choice_of(vote) for vote in votes]
    if len(set(choices)) == 1:
        return f"{len(votes)} vote{'s' if len(votes) > 1 else ''}"
    first, second, tie = (choices.count(c) for c in ("first", "second", "tie"))
    return f"people differ ({first} first, {second} second, {tie} tie)"


def _of_judges(pairs: list[tuple[str, JudgePair]]) -> list[str]:
    failed = ", ".join(name for name, pair in pairs if pair.choice is None)
    turned = ", ".join(name for name, pair in pairs if pair.inconsistent)
    verdicts = {name: pair.choice for name, pair in pairs if pair.choice is not None}
    words = [
        f"no verdict by {failed}" if failed else "",
        "the order changed the verdict" + (f" of {turned}" if len(pairs) > 1 else "") if turned else "",
        _of_verdicts(verdicts, is_turned=bool(turned)),
        "repetitions differ" if any(_repeats_differ(pair) for _, pair in pairs) else "",
    ]
    return [text for text in words if text]


def _repeats_differ(pair: JudgePair) -> bool:
    return len({choice_of(p) for p in pair.repeats}) > 1


def _of_verdicts(verdicts: Mapping[str, Choice], *, is_turned: bool) -> str:
    choices = set(verdicts.values())
    if len(choices) > 1:
        return f"judges disagree ({', '.join(f'{name}: {choice}' for name, choice in verdicts.items())})"
    return "the judge says tie" if choices == {"tie"} and not is_turned else ""
