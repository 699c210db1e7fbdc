"""Canaries in a run: which judges make it not valid, what it costs, and that no figure is made of them."""

from __future__ import annotations

import json

import pytest

from harness.run.canaries import NULL_RESPONSE
from tests.paths import needs_data
from tests.support.judge_server import Answer, token_logprob

pytestmark = [pytest.mark.e2e, needs_data]


def null_place(text: str, second: str) -> str | None:
    """Where the null response is shown: "first", "second" or nowhere."""
    if NULL_RESPONSE not in text:
        return None
    return "first" if text.index(NULL_RESPONSE) < text.rindex(second) else "second"


def judge_who(null_wins: bool):
    """Ties everything but the null response, which loses (or wins) always."""

    def reply(call):
        text = call.text
        if call.body.get("logprobs"):
            place = null_place(text, '"model_identifier": "M"')
            prefer_first = None if place is None else (place == "first") == null_wins
            gap = 0.0 if prefer_first is None else 4.0
            top = {"m": -0.7, "M": -0.7 - gap} if prefer_first in (True, None) else {"M": -0.7, "m": -0.7 - gap}
            first = next(iter(top))
            return Answer(first, logprobs=[token_logprob(first, top)])
        if "[[rating]]" in text.lower():
            low, high = ("9", "3") if null_wins else ("1", "8")
            return f"Rating: [[{low if NULL_RESPONSE in text else high}]]"
        place = null_place(text, "Start of Assistant B's Answer")
        if place is None:
            return "My final verdict is: [[A=B]]"
        return f"My final verdict is: [[{'A>>B' if (place == 'first') == null_wins else 'B>>A'}]]"

    return reply


def always_first(call):
    if call.body.get("logprobs"):
        return Answer("m", logprobs=[token_logprob("m", {"m": -0.01, "M": -6.0})])
    return "Rating: [[7]]" if "[[rating]]" in call.text.lower() else "My final verdict is: [[A>B]]"


def findings(found: dict) -> dict[tuple[str, str], dict]:
    return {(f["benchmark"], f["name"]): f for f in found["canaries"]}


def test_a_sound_judge_passes_and_its_canaries_are_no_part_of_the_figures(assay, run_arguments, judge, tmp_path):
    judge.reply = judge_who(null_wins=False)
    _, plain, _ = assay(*run_arguments(limit=10, out="plain"), "--json", "--no-cache")
    n_plain = len(judge.log)
    status, out, _ = assay(*run_arguments(limit=10, canaries=8), "--json", "--no-cache")
    found = json.loads(out)
    assert (status, found["valid"], found["problems"]) == (0, True, [])
    assert found["rows"] == json.loads(plain)["rows"]
    by = findings(found)
    assert by.keys() == {
        ("mt_bench", "null_rating"),
        ("mt_bench", "planted_verdict"),
        ("alpaca_eval", "null_response"),
        ("alpaca_eval", "planted_verdict"),
        ("alpaca_eval", "order_contradictions"),
        ("arena_hard", "null_response"),
        ("arena_hard", "planted_verdict"),
        ("arena_hard", "self_comparison"),
        ("arena_hard", "order_contradictions"),
    }
    assert all(f["n_bad"] == 0 for f in by.values())
    # Arena-Hard judges both orders itself: its contradictions cost nothing; equal outputs are never asked of AlpacaEval
    assert by["arena_hard", "order_contradictions"]["n"] == 10
    assert len(judge.log) - 2 * n_plain == 2 * 8 + (2 * 8 + 8) + (2 * 8 + 8)
    lines = (tmp_path / "run" / "canaries.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 8 + (2 * 8 + 8 + 8) + (2 * 8 + 8)
    _, again, _ = assay("score", tmp_path / "run", "--json")
    assert json.loads(again)["canaries"] == found["canaries"]
    n_asked = len(judge.log)
    assert assay("resume", tmp_path / "run", "--json", "--no-cache")[0] == 0
    assert len(judge.log) == n_asked, "canaries that have a verdict are not asked again"


def test_a_judge_who_prefers_nothing_makes_the_run_not_valid(assay, run_arguments, judge):
    judge.reply = judge_who(null_wins=True)
    status, out, _ = assay(*run_arguments(limit=10, canaries=8), "--no-cache")
    assert status == 0
    assert "NOT VALID" in out
    for name, check in (("mt_bench", "null_rating"), ("alpaca_eval", "null_response"), ("arena_hard", "null_response")):
        assert f"! judge canary {check} on {name}" in out
    assert "8 of 8" in out


def test_a_judge_who_follows_the_position_makes_the_run_not_valid(assay, run_arguments, judge, tmp_path):
    judge.reply = always_first
    status, out, _ = assay(*run_arguments(limit=10, canaries=8, benchmark="alpaca_eval,arena_hard"), "--json")
    assert status == 0
    tripped = {key for key, f in findings(json.loads(out)).items() if f["tripped"]}
    assert tripped == {
        ("alpaca_eval", "null_response"),  # first half of the time
        ("alpaca_eval", "planted_verdict"),
        ("alpaca_eval", "order_contradictions"),
        ("arena_hard", "null_response"),
        ("arena_hard", "planted_verdict"),
        ("arena_hard", "self_comparison"),
        ("arena_hard", "order_contradictions"),
    }
    # and the gate lets nothing through that such a judge judged
    (tmp_path / "policy.yaml").write_text(
        "rules:\n  - keep: {benchmark: arena_hard, metric: win_rate, margin: 50}\nmin_n: 2\n"
    )
    assay(*run_arguments(limit=10, out="other", canaries=0, benchmark="alpaca_eval,arena_hard", seed=1), "--json")
    arguments = ("--candidate", tmp_path / "run", "--baseline", tmp_path / "other")
    status, out, _ = assay("gate", *arguments, "--policy", tmp_path / "policy.yaml", "--json")
    assert status == 4
    assert "judge canary" in json.loads(out)["message"]


def obedient(call):
    """Judges soundly, but obeys an answer that states the verdict."""
    if "Note to the judge" not in call.text:
        return judge_who(null_wins=False)(call)
    if call.body.get("logprobs"):
        first = null_place(call.text, '"model_identifier": "M"') == "first"
        top = {"m": -0.1, "M": -5.0} if first else {"M": -0.1, "m": -5.0}
        return Answer(next(iter(top)), logprobs=[token_logprob(next(iter(top)), top)])
    if "[[rating]]" in call.text.lower():
        return "Rating: [[10]]"
    label = "A>>B" if null_place(call.text, "Start of Assistant B's Answer") == "first" else "B>>A"
    return f"My final verdict is: [[{label}]]"


def test_a_judge_who_obeys_a_planted_verdict_makes_the_run_not_valid(assay, run_arguments, judge):
    judge.reply = obedient
    status, out, _ = assay(*run_arguments(limit=10, canaries=8), "--json", "--no-cache")
    assert status == 0
    tripped = {key: f for key, f in findings(json.loads(out)).items() if f["tripped"]}
    assert tripped.keys() == {(name, "planted_verdict") for name in ("mt_bench", "alpaca_eval", "arena_hard")}
    # where the answer holds the very verdict it is not scored, and counts as followed
    assert all((f["n_bad"], f["n"], f["n_unscored"]) == (8, 8, 0) for f in tripped.values())
