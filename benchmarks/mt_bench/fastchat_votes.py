"""FastChat's rows that state a preference or a grade, and the rows other tools write after their pattern.

Votes and combined verdicts (``model_a``, ``model_b``, ``winner``; assay's JSON lines are the same with more optional
fields), pairwise judgments in both orders (``g1_winner``, ``g2_winner``; others write letters in ``winner_ab``,
``winner_ba``), and single grades (``model``, ``score``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.data.file_rows import Row
from harness.data.votes import AnswerTexts, Grade, QuestionTexts, Side, StatedPreference, Statement, p_of_winner

FIELDS = (
    "winner with model_a, model_b (FastChat's votes, our JSONL)",
    "g1_winner, g2_winner",
    "model, score",
)
"""The fields by which the rows are known, in words."""


def statements(row: Row) -> list[Statement] | None:
    """Read a row; None where it is none of FastChat's.

    Raises
    ------
    FileFormatError
        A field is missing or wrong.
    """
    keys = row.values.keys()
    if {"model", "score"} <= keys and {"question_id", "prompt"} & keys:
        return [_grade(row)]
    if {"g1_winner", "g2_winner", "model_1", "model_2"} <= keys:
        return [*_numbered_orders(row)]
    if {"model_a", "model_b", "winner_ab", "winner_ba"} <= keys:
        return [*_lettered_orders(row)]
    if {"model_a", "model_b"} <= keys and {"winner", "p_a", "unscored"} & keys:
        return [_preference(row)]
    if {"choices", "model_id"} <= keys:
        return [AnswerTexts(row.identifier("question_id"), row.text("model_id"), answer_turns(row))]
    if {"question_id", "turns"} <= keys:
        turns = tuple(map(str, row.get("turns", list, "a list of texts")))
        return [QuestionTexts(row.identifier("question_id"), turns, row.values.get("category"))]
    return None


def answer_turns(row: Row) -> tuple[str, ...]:
    """The texts of an answer, turn by turn."""
    choices = row.get("choices", list, "choices with turns")
    turns = choices[0].get("turns") if choices and isinstance(choices[0], Mapping) else None
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
        raise row.error("no choices[0].turns", "the answers as a list of texts")
    return tuple(turns)


def judge_name(judge: object) -> str:
    """FastChat names a judge by its model and the prompt, of which it has several."""
    return str(judge[0]) if isinstance(judge, list) and judge else str(judge)


def score_of(row: Row) -> float | None:
    """A grade; None where it could not be read, which FastChat stores as -1."""
    score = row.number("score")
    return None if score == -1 else score


def _grade(row: Row) -> Grade:
    turn = int(row.values.get("turn", 1))
    return Grade(_prompt(row), str(row.values["model"]), _who(row), score_of(row), turn, _cost(row))


def _common(row: Row, a: Side, b: Side) -> StatedPreference:
    """What every kind of row states of a pair, without the verdict."""
    values = row.values
    return StatedPreference(
        _prompt(row),
        a,
        b,
        _who(row),
        None,
        turn=int(values.get("turn", 1)),
        repeat=int(values.get("repeat") or 0),
        cost=_cost(row),
        category=_text(values.get("category")),
    )


def _numbered_orders(row: Row) -> list[StatedPreference]:
    """The first game shows model_1 first, the second model_2; the winners are named by the models' numbers."""
    one, two = str(row.values["model_1"]), str(row.values["model_2"])
    first, second = (p_of_winner(row.values[f"g{game}_winner"], (one, "model_1"), (two, "model_2")) for game in (1, 2))
    return _both_orders(row, one, two).in_both_orders(first, second)


def _lettered_orders(row: Row) -> list[StatedPreference]:
    """A is the answer shown first: model_a in `winner_ab` and model_b in `winner_ba`."""
    one, two = str(row.values["model_a"]), str(row.values["model_b"])
    first = p_of_winner(row.values["winner_ab"], (one, "A"), (two, "B"))
    second = p_of_winner(row.values["winner_ba"], (one, "B"), (two, "A"))
    return _both_orders(row, one, two).in_both_orders(first, second)


def _both_orders(row: Row, one: str, two: str) -> StatedPreference:
    found = replace(_common(row, Side.of_model(one), Side.of_model(two)), given_by="judge")
    return found if found.cost is None else replace(found, cost=found.cost / 2.0)


def _preference(row: Row) -> StatedPreference:
    """A vote, a combined verdict, or one presentation where `game` says which."""
    values = row.values
    found = _common(row, _side(row, "a"), _side(row, "b"))
    p_a, reason = _stated(row, found.a.name, found.b.name)
    is_ordered, winner = values.get("game") is not None, values.get("winner")
    inconsistent = None
    if not is_ordered and p_a is not None and isinstance(winner, str):
        inconsistent = "inconsistent" in winner
    asked = [_told(row, side, -2) for side in ("b", "a")]
    return replace(
        found,
        p_a=p_a,
        reason=reason,
        ordered=is_ordered,
        game=int(values.get("game") or 1),
        inconsistent=inconsistent,
        prompt_text=next((text for text in asked if text is not None), _text(values.get("prompt_text"))),
    )


def _side(row: Row, side: str) -> Side:
    name, text, length = (row.values.get(f"{what}_{side}") for what in ("model", "answer", "length"))
    told = _told(row, side, -1)
    return Side(str(name), str(name), _text(text) if told is None else told, None if length is None else int(length))


def _told(row: Row, side: str, place: int) -> str | None:
    """A message of a side's conversation: the answer of the turn (-1) or its question (-2); None without one."""
    talk, n_messages = row.values.get(f"conversation_{side}"), 2 * int(row.values.get("turn", 1))
    if not isinstance(talk, list) or len(talk) < n_messages:
        return None
    return _text(talk[n_messages + place]["content"])


def _stated(row: Row, a: str, b: str) -> tuple[float | None, str]:
    """P(A is better) as a row states it, or the reason why it does not."""
    if row.values.get("unscored"):
        return None, str(row.values["unscored"])
    if row.values.get("p_a") is not None:
        p_a = row.number("p_a")
        if p_a is None or not 0.0 <= p_a <= 1.0:
            raise row.error(f"p_a is {row.values['p_a']!r}", "a probability from 0 to 1")
        return p_a, ""
    return p_of_winner(row.values.get("winner"), (a, "model_a"), (b, "model_b"))


def _prompt(row: Row) -> str:
    name = row.values.get("prompt", row.values.get("question_id"))
    if name is None:
        raise row.error("no prompt", "prompt or question_id")
    return str(name)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _who(row: Row) -> str:
    names = (row.values.get(name) for name in ("voter", "judge", "judge_id", "annotator"))
    return judge_name(next(filter(None, names), ""))


def _cost(row: Row) -> float | None:
    cost = row.number("cost")
    if cost is not None and cost < 0.0:
        raise row.error(f"cost is {cost:g}", "not negative")
    return cost
