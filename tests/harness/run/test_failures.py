"""The kinds of errors of a run, and checks of a judge by its ratings and its name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.protocols import ScoreKind
from harness.records import Judgment, Rating, Score, Unscored
from harness.run.failures import failures
from harness.run.judge_checks import ENOUGH_PROMPTS, constant_rating, judges_itself


def score(prompt, reason=None, value=None, metric="rating"):
    return Score(benchmark="b", prompt_id=prompt, metric=metric, cluster=prompt, reason=reason, value=value)


def test_kinds_are_counted_with_their_first_message_and_a_remedy():
    found = failures(
        [
            score("p1", "no_response: HTTP 400: prompt 17 is too long"),
            score("p2", "no_response: HTTP 400: prompt 9 is too long"),
            score("p3", "no_response: HTTP 500: it broke"),
            score("p4", value=3.0),
            score("p5", "unparsed: no verdict"),
            score("p6", "unparsed: no verdict"),
            score("p7", "unparsed: no verdict"),
            score("p8", "something_new"),
        ],
        "runs/x",
    )
    assert [(f.reason, f.n, f.prompt_id) for f in found] == [
        ("unparsed", 3, "p5"),
        ("no_response", 2, "p1"),
        ("no_response", 1, "p3"),
        ("something_new", 1, "p8"),
    ]
    assert found[1].error == "HTTP 400: prompt 17 is too long"
    assert all("assay resume runs/x" in f.remedy for f in found)
    assert failures([score("p", value=1.0)], "x") == []


def benchmark(**kinds):
    return SimpleNamespace(name="b", score_kinds={name: ScoreKind(role) for name, role in kinds.items()})


def null(value, check="null_rating", name="b"):
    verdict = Rating(value=value, low=1, high=10) if value else Unscored(reason="unparsed")
    return Judgment(
        judge="j",
        judge_id="j",
        benchmark=name,
        prompt_id="p",
        response_ids=("r",),
        order=("candidate",),
        verdict=verdict,
        meta={"canary": check},
    )


SAME = [score(f"p{i}", value=5.0) for i in range(ENOUGH_PROMPTS)]


@pytest.mark.parametrize(
    ("scores", "canaries", "found"),
    [
        (SAME, [null(5.0)], ("and null responses got it too", "")),
        (SAME, [], ("all 10 answers got the same rating, 5", "")),
        (SAME, [null(None)], ("it does not tell them apart", "")),
        (SAME, [null(1.0), null(5.0)], ("", "null responses got 1, 5")),
        (SAME, [null(1.0, name="other"), null(1.0, check="planted_verdict")], ("all 10 answers", "")),
        (SAME[1:], [null(5.0)], ("", "")),  # too few
        ([SAME[0]] * 50, [null(5.0)], ("", "")),  # of one prompt
        ([*SAME, score("q", value=6.0)], [null(5.0)], ("", "")),
        ([*SAME, score("q", "unparsed: x")], [null(5.0)], ("all 10 answers", "")),
    ],
)
def test_the_same_rating_throughout(scores, canaries, found):
    problems, remarks = constant_rating(benchmark(rating="rating", length="length"), scores, canaries)
    for words, said in zip(found, (problems, remarks), strict=True):
        assert words in said[0] if words else said == [], said


def test_only_ratings_are_checked():
    scores = [score(f"p{i}", value=1.0, metric="right") for i in range(20)]
    assert constant_rating(benchmark(right="outcome"), scores, []) == ([], [])


@pytest.mark.parametrize(
    ("judge", "source", "itself"),
    [
        ("openai:gpt-4", "http://localhost/v1 gpt-4", True),
        ("openai:gpt-4", "http://localhost/v1 gpt-4.1", False),
        ("openai:llama3:8b", "http://localhost/v1 llama3:8b", True),
        ("hf:/models/me", "/models/me/", True),
        ("openai:me", "/models/me", True),
        ("panel:openai:a,openai:b", "b", True),
        ("panel:openai:a,openai:b", "c", False),
        (None, "a", False),
    ],
)
def test_a_judge_that_is_the_model_under_test(judge, source, itself):
    header = {"model": {"source": source}, "judge": judge and {"model": judge}}
    assert bool(judges_itself(header)) is itself
