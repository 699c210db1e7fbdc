"""Canaries: which judges trip them."""

from __future__ import annotations

import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.gate.head_to_head import head_to_head_shares
from harness.records import Judgment, Preference, Rating, Unscored
from harness.run.canaries import (
    clopper_pearson,
    null_rating,
    null_response,
    order_contradictions,
    self_comparison,
)

NULL_FIRST, NULL_LAST = ("candidate", "baseline"), ("baseline", "candidate")


def judged(p_first, order=NULL_FIRST, prompt="p", turn=1):
    verdict = Unscored(reason="unparsed") if p_first is None else Preference(p_first=p_first)
    return Judgment(
        judge="j",
        judge_id="i",
        benchmark="b",
        prompt_id=prompt,
        response_ids=order,
        order=order,
        turn=turn,
        verdict=verdict,
    )


def test_a_judge_who_knows_nothing_from_something():
    found = null_response([judged(0.02)] * 5 + [judged(0.99, NULL_LAST)] * 5)
    assert (found.n, found.rate, found.tripped) == (10, 0.0, False)


def test_a_judge_who_prefers_nothing():
    found = null_response([judged(0.9)] * 6 + [judged(0.5)] * 2 + [judged(0.1)] * 4 + [judged(None)])
    assert (found.n, found.n_bad, found.n_unscored, found.tripped) == (12, 7.0, 1, True)
    assert found.ci_low == pytest.approx(stats.binomtest(7, 12).proportion_ci(0.9, "exact").low)
    assert "prefers a null response" in found.message
    assert "7 of 12" in found.message


def test_one_unlucky_verdict_in_ten_does_not_trip():
    assert not null_response([judged(0.9)] + [judged(0.01)] * 9).tripped


def test_null_ratings():
    def rated(value):
        return Rating(value=value, low=1, high=10)

    assert not null_rating([rated(1)] * 9 + [rated(5)]).tripped
    found = null_rating([rated(6)] * 4 + [rated(2)] * 4 + [Unscored(reason="timeout")])
    assert (found.n_bad, found.n, found.n_unscored, found.tripped) == (4, 8, 1, True)


def test_an_answer_against_itself():
    assert not self_comparison([Preference(p_first=0.55)] * 10).tripped
    found = self_comparison([Preference(p_first=0.95)] * 8 + [Preference(p_first=0.5)] * 2)
    assert (found.rate, found.tripped) == (0.8, True)


def test_contradictions():
    consistent = (judged(0.9, NULL_FIRST), judged(0.1, NULL_LAST))
    position = (judged(0.9, NULL_FIRST), judged(0.9, NULL_LAST))
    tie = (judged(0.5, NULL_FIRST), judged(0.9, NULL_LAST))
    assert order_contradictions([consistent] * 8 + [position] * 2 + [tie]).rate == pytest.approx(2 / 11)
    assert order_contradictions([position] * 10).tripped
    with pytest.raises(StatisticsError, match="same order"):
        order_contradictions([(judged(0.9), judged(0.8))])


def test_no_verdicts_are_no_finding():
    found = null_response([judged(None)])
    assert (found.rate, found.tripped) == (None, False)
    assert "no verdict" in found.message


@pytest.mark.parametrize(("bad", "n"), [(0, 10), (3, 10), (10, 10)])
def test_exact_limits(bad, n):
    expected = stats.binomtest(bad, n).proportion_ci(0.9, "exact")
    assert clopper_pearson(bad, n, 0.05) == pytest.approx((expected.low, expected.high))


def test_head_to_head_shares_by_hand():
    found = head_to_head_shares(
        [
            judged(0.9, NULL_FIRST, "a"),
            judged(0.3, NULL_LAST, "a"),  # the candidate's share is 0.7
            judged(1.0, NULL_FIRST, "b"),
            judged(1.0, NULL_LAST, "b"),  # the position decides: 0.5, a contradiction
            judged(0.9, NULL_FIRST, "c"),  # one order only
            judged(0.9, NULL_FIRST, "d"),
            judged(None, NULL_LAST, "d"),
            judged(0.5, NULL_FIRST, "e"),
            judged(0.5, NULL_LAST, "e"),
        ]
    )
    assert found.shares == pytest.approx({"a": 0.8, "b": 0.5, "e": 0.5})
    assert found.unscored == {"one_order": 1, "unparsed": 1}
    assert found.n_contradicting == 1
