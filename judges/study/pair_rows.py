"""One row a pair, for the sample browser and for plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.data.votes import text_name
from judges.study.confidence import Confidence
from judges.study.labels import LabelList, WorthLabelling
from judges.study.study_figures import NotMeasured, Sides
from judges.study.verdicts import JudgePair
from judges.study.vote_records import Choice, PairFacts, PairKey, Vote, mean_vote


def pair_rows(
    sides: Sequence[Sides], confidences: Sequence[Confidence | NotMeasured], labels: LabelList
) -> list[dict[str, Any]]:
    """Put together everything about every pair.

    Parameters
    ----------
    sides : sequence of Sides
        A judge each; the same votes.
    confidences : sequence of Confidence or NotMeasured
        Of the same judges.
    labels : LabelList
        What a vote on each is worth.

    Returns
    -------
    list of dict
        Pairs in the order of the files. ``winner`` is the majority of the votes ("first", "second", "tie", None
        without votes or at a draw of them); ``disagreement`` says that a judge's verdict is not it. Probabilities are
        those of the first answer being better. Texts are named by their hashes (`texts_of`). Under ``judges`` is a row
        for each judge that was asked.
    """
    worth = {item.key: item for item in labels.pairs}
    votes = sides[0].votes
    keys = dict.fromkeys([*(key for side in sides for key in side.judge.pairs), *votes])
    return [_row(key, sides, confidences, worth.get(key)) for key in keys]


def texts_of(sides: Sides) -> dict[str, str]:
    """The texts the rows name: an answer is in many pairs and is stored once."""
    texts = (t for facts in sides.facts.values() for t in (facts.prompt_text, facts.text_first, facts.text_second))
    return {text_name(text): text for text in texts if text is not None}


def _name(text: str | None) -> str | None:
    return None if text is None else text_name(text)


def _row(
    key: PairKey,
    sides: Sequence[Sides],
    confidences: Sequence[Confidence | NotMeasured],
    worth: WorthLabelling | None,
) -> dict[str, Any]:
    facts = sides[0].facts.get(key, PairFacts())
    votes = sides[0].votes.get(key, [])
    winner = _winner(votes)
    judges = {
        side.judge.name: _verdict(side.judge.pairs[key], confidence)
        for side, confidence in zip(sides, confidences, strict=True)
        if key in side.judge.pairs
    }
    models = sides[0].models(key)
    return {
        "prompt": key.prompt,
        "turn": key.turn,
        "first": key.first,
        "second": key.second,
        "model_first": models[0],
        "model_second": models[1],
        "category": facts.category,
        "length_first": facts.length_first,
        "length_second": facts.length_second,
        "prompt_text": _name(facts.prompt_text),
        "text_first": _name(facts.text_first),
        "text_second": _name(facts.text_second),
        "votes": [{"voter": vote.voter, "p_first": vote.p_first} for vote in votes],
        "human": mean_vote(votes) if votes else None,
        "winner": winner,
        "judges": judges,
        "disagreement": winner is not None and any(j["choice"] not in (None, winner) for j in judges.values()),
        "vote_value": None if worth is None else worth.value,
        "worth_because": None if worth is None else worth.reason,
    }


def _verdict(pair: JudgePair, confidence: Confidence | NotMeasured) -> dict[str, Any]:
    presentation = ("game", "repeat", "shown_first", "p_first")
    return {
        "p_first": pair.p_first,
        "calibrated": None if isinstance(confidence, NotMeasured) else confidence.probabilities.get(pair.key),
        "choice": pair.choice,
        "reason": pair.reason or None,
        "inconsistent": pair.inconsistent,
        "cost": pair.cost,
        "presentations": [
            {**{name: getattr(p, name) for name in presentation}, "reason": p.reason or None}
            for p in pair.presentations
        ],
    }


def _winner(votes: Sequence[Vote]) -> Choice | None:
    """The majority of the votes; None without votes or at a draw."""
    counted = Counter(vote.choice for vote in votes).most_common(2)
    is_drawn = len(counted) == 2 and counted[0][1] == counted[1][1]
    return counted[0][0] if counted and not is_drawn else None
