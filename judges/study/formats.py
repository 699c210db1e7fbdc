"""The file formats that hold preferences between two answers, each turned into the same rows.

FastChat's votes and combined verdicts (``model_a``, ``model_b``, ``winner``; our own JSONL is the same with more
optional fields), its pairwise judgments in both orders (``g1_winner``, ``g2_winner``; others write letters in
``winner_ab``, ``winner_ba``) and its single grades (``model``, ``score``), alpaca_eval's annotations (``output_1``,
``output_2``, ``preference``) and LLMBar's evaluators (``label``, ``results``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from judges.study.verdict_rows import Grade, Row, RowError, number_in, p_of_winner, text_name

__all__ = ["grade_of", "is_by_text", "is_grade", "rows_of"]

_DIRECT_ORDER = ("model_a", "model_b")


def rows_of(record: Mapping[str, Any]) -> list[Row]:
    """Read one record.

    Raises
    ------
    RowError
        No format is recognised, or a field is missing or wrong.
    """
    reader = _reader(record)
    if reader is None:
        listed = ", ".join(sorted(record)[:8]) or "nothing"
        raise RowError(
            f"no format has the fields {listed}",
            "winner with model_a, model_b (FastChat's votes, our JSONL); g1_winner, g2_winner; model, score; "
            "output_1, output_2, preference (alpaca_eval); or label, results (LLMBar)",
        )
    try:
        return reader(record)
    except RowError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError) as error:
        raise RowError(f"a field is missing or of the wrong kind ({type(error).__name__}: {error})") from error


def is_grade(record: Mapping[str, Any]) -> bool:
    """Whether it is FastChat's grade of a single answer."""
    return {"model", "score"} <= record.keys() and bool({"question_id", "prompt"} & record.keys())


def is_by_text(record: Mapping[str, Any]) -> bool:
    """Whether it names answers by their texts alone."""
    return {"instruction", "output_1", "output_2"} <= record.keys()


def grade_of(record: Mapping[str, Any]) -> Grade:
    """Read a grade; FastChat's -1 is a failed one.

    Raises
    ------
    RowError
        A field is wrong.
    """
    score = number_in(record["score"], "score")
    value = None if score is None or score == -1 else score
    return Grade(_prompt(record), int(record.get("turn", 1)), str(record["model"]), _who(record), value, _cost(record))


def _reader(record: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], list[Row]] | None:
    keys = record.keys()
    if {"g1_winner", "g2_winner", "model_1", "model_2"} <= keys:
        return _both_orders
    if {"model_a", "model_b", "winner_ab", "winner_ba"} <= keys:
        return _letters
    if {"model_a", "model_b"} <= keys and keys & {"winner", "p_a", "unscored"}:
        return _direct
    if is_by_text(record) and "preference" in keys:
        return _alpaca_eval
    if {"output_1", "output_2", "label"} <= keys:
        return _llmbar
    return None


def _direct(record: Mapping[str, Any]) -> list[Row]:
    turn = int(record.get("turn", 1))
    a, b = str(record["model_a"]), str(record["model_b"])
    ordered = record.get("game") is not None
    p_a, reason = _stated(record, a, b)
    winner = record.get("winner")
    inconsistent = None
    if not ordered and p_a is not None and isinstance(winner, str):
        inconsistent = "inconsistent" in winner
    facts: dict[str, Any] = {"category": _text(record.get("category")), "prompt_text": _text(record.get("prompt_text"))}
    sides: list[dict[str, Any]] = []
    for side in ("a", "b"):
        talk = record.get(f"conversation_{side}")
        text = record.get(f"answer_{side}")
        if isinstance(talk, list) and len(talk) >= 2 * turn:
            text = talk[2 * turn - 1]["content"]
            facts["prompt_text"] = _text(talk[2 * turn - 2]["content"])
        length = record.get(f"length_{side}")
        sides.append(
            {
                "model": str(record[f"model_{side}"]),
                "text": _text(text),
                "length": None if length is None else int(length),
            }
        )
    return [
        Row(
            _prompt(record),
            a,
            b,
            _who(record),
            p_a,
            turn,
            reason,
            ordered,
            int(record.get("game") or 1),
            int(record.get("repeat") or 0),
            inconsistent,
            _cost(record),
            sides[0],
            sides[1],
            facts,
        )
    ]


def _stated(record: Mapping[str, Any], a: str, b: str) -> tuple[float | None, str]:
    """P(A is better) as a record states it, or the reason why it does not."""
    if record.get("unscored"):
        return None, str(record["unscored"])
    if record.get("p_a") is not None:
        p_a = number_in(record["p_a"], "p_a")
        if p_a is None or not 0.0 <= p_a <= 1.0:
            raise RowError(f"p_a is {record['p_a']!r}", "a probability from 0 to 1")
        return p_a, ""
    return p_of_winner(record.get("winner"), (a, "model_a"), (b, "model_b"))


def _both_orders(record: Mapping[str, Any]) -> list[Row]:
    """FastChat's pairwise file: g1 shows model_1 first, g2 model_2; the winners are named by model number."""
    one, two = str(record["model_1"]), str(record["model_2"])
    who = _who(record)
    rows = []
    for game, (a, b) in ((1, (one, two)), (2, (two, one))):
        p_one, reason = p_of_winner(record[f"g{game}_winner"], (one, "model_1"), (two, "model_2"))
        p_a = p_one if p_one is None or game == 1 else 1.0 - p_one
        cost = _cost(record)
        rows.append(
            Row(
                _prompt(record),
                a,
                b,
                who,
                p_a,
                int(record.get("turn", 1)),
                reason,
                True,
                game,
                int(record.get("repeat") or 0),
                None,
                None if cost is None else cost / 2.0,
                {"model": a},
                {"model": b},
            )
        )
    return rows


def _letters(record: Mapping[str, Any]) -> list[Row]:
    """Both orders in letters: A is the answer shown first, model_a in `winner_ab` and model_b in `winner_ba`."""
    one, other = str(record["model_a"]), str(record["model_b"])
    rows = []
    for game, (a, b) in ((1, (one, other)), (2, (other, one))):
        p_a, reason = p_of_winner(record["winner_ab" if game == 1 else "winner_ba"], (a, "A"), (b, "B"))
        turn, repeat = int(record.get("turn", 1)), int(record.get("repeat") or 0)
        row = Row(_prompt(record), a, b, _who(record), p_a, turn, reason, True, game, repeat)
        rows.append(
            replace(row, facts_a={"model": a}, facts_b={"model": b}, facts={"category": _text(record.get("category"))})
        )
    return rows


def _alpaca_eval(record: Mapping[str, Any]) -> list[Row]:
    """1 prefers output_1, 2 output_2, 1.5 (or 0, in older files) is a draw; in between is a probability."""
    preference = number_in(record["preference"], "preference")
    p_a: float | None
    if preference is None or preference == -1:
        p_a, reason = None, "unparsed"
    elif preference == 0:
        p_a, reason = 0.5, ""
    elif 1.0 <= preference <= 2.0:
        p_a, reason = 2.0 - preference, ""
    else:
        raise RowError(f"preference is {preference:g}", "1 to 2, or 0 for a draw")
    prompt = str(record["instruction"]) + (f"\n\n{record['input']}" if record.get("input") else "")
    texts = [str(record["output_1"]), str(record["output_2"])]
    sides = [
        {"model": _text(record.get(f"generator_{i + 1}")), "text": text, "length": len(text)}
        for i, text in enumerate(texts)
    ]
    annotator = record.get("annotator_index")
    who = str(record.get("annotator") or "annotator") if annotator is None else f"annotator {annotator}"
    cost = number_in(record.get("price_per_example"), "price_per_example")
    return [
        Row(
            text_name(prompt),
            text_name(texts[0]),
            text_name(texts[1]),
            who,
            p_a,
            reason=reason,
            cost=cost,
            facts_a=sides[0],
            facts_b=sides[1],
            facts={"prompt_text": prompt, "category": _text(record.get("dataset"))},
        )
    ]


def _llmbar(record: Mapping[str, Any]) -> list[Row]:
    """LLMBar: a gold label, and with `results` an evaluator's verdicts in both orders (the last one counts)."""
    texts = [str(record["output_1"]), str(record["output_2"])]
    prompt = text_name("\n".join([str(record["input"]), *texts]))
    sides = [{"model": f"output_{i + 1}", "text": t, "length": len(t)} for i, t in enumerate(texts)]
    facts = {"prompt_text": str(record["input"])}
    if "results" not in record:
        if record["label"] not in (1, 2):
            raise RowError(f"label is {record['label']!r}", "1 or 2")
        p_a = 1.0 if record["label"] == 1 else 0.0
        return [Row(prompt, "output_1", "output_2", "gold", p_a, facts_a=sides[0], facts_b=sides[1], facts=facts)]
    found = [part for part in record["results"] if isinstance(part, Mapping) and "swap = False" in part]
    if not found:
        raise RowError("no verdict under `results`", "swap = False and swap = True")
    rows = []
    for game, swap in ((1, "swap = False"), (2, "swap = True")):
        # the winner is named by the answer's number in the file, whatever the order shown
        p_one, reason = p_of_winner(str(found[-1][swap]["winner"]), ("output_1", "1"), ("output_2", "2"))
        order = (0, 1) if game == 1 else (1, 0)
        rows.append(
            Row(
                prompt,
                f"output_{order[0] + 1}",
                f"output_{order[1] + 1}",
                "",
                p_one if p_one is None or game == 1 else 1.0 - p_one,
                reason=reason,
                ordered=True,
                game=game,
                facts_a=sides[order[0]],
                facts_b=sides[order[1]],
                facts=facts,
            )
        )
    return rows


def _prompt(record: Mapping[str, Any]) -> str:
    name = record.get("prompt", record.get("question_id"))
    if name is None:
        raise RowError("no prompt", "prompt or question_id")
    return str(name)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _who(record: Mapping[str, Any]) -> str:
    who = next((record[name] for name in ("voter", "judge", "judge_id", "annotator") if record.get(name)), "")
    # FastChat names a judge by model and prompt template, of which it uses several
    return str(who[0]) if isinstance(who, list) and who else str(who)


def _cost(record: Mapping[str, Any]) -> float | None:
    cost = number_in(record.get("cost"), "cost")
    if cost is not None and cost < 0.0:
        raise RowError(f"cost is {cost:g}", "not negative")
    return cost
