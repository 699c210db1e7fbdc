"""Panels: how members' verdicts make one, by hand."""

from __future__ import annotations

import pytest

from harness.records import Preference, Rating, Unscored
from judges.combined.panel import aggregated, spread_of


def rating(value, high=10):
    return Rating(value=value, low=1, high=high)


NONE = Unscored(reason="timeout")


def label(text):
    return Preference(p_first={"A>>B": 1.0, "A>B": 1.0, "A=B": 0.5, "B>A": 0.0, "B>>A": 0.0}[text], label=text)


def test_means_and_medians_by_hand():
    verdicts = [rating(2), rating(3), rating(10)]
    assert aggregated(verdicts, "mean", 2).value == 5.0
    assert aggregated(verdicts, "median", 2).value == 3.0
    shares = [Preference(p_first=p) for p in (0.9, 0.2, 0.4)]
    assert aggregated(shares, "mean", 2).p_first == pytest.approx(0.5)
    assert aggregated(shares, "median", 2).p_first == 0.4


@pytest.mark.parametrize(
    ("labels", "how", "expected"),
    [
        (("A>>B", "A>B", "A>B"), "mean", "A>B"),
        (("A>>B", "A>>B", "A>B"), "mean", "A>>B"),
        (("A>>B", "A>B"), "mean", "A>B"),  # between two ranks: the weaker one
        (("B>>A", "B>A"), "mean", "B>A"),
        (("A>B", "A=B"), "mean", "A=B"),
        (("A>>B", "B>>A"), "mean", "A=B"),
        (("A>>B", "B>A", "B>A"), "median", "B>A"),
    ],
)
def test_five_way_labels_by_hand(labels, how, expected):
    found = aggregated([label(text) for text in labels], how, 2)
    assert found == label(expected)


def test_too_few_verdicts_are_none():
    found = aggregated([rating(2), NONE, NONE], "mean", 2)
    assert (found.reason, found.detail) == ("timeout", "1 of 3 members gave a verdict, 2 are needed")
    assert aggregated([rating(2), rating(4), NONE], "mean", 2).value == 3.0
    assert aggregated([rating(2), rating(4, high=5)], "mean", 2).reason == "out_of_scale"
    assert aggregated([rating(2), Preference(p_first=1.0)], "mean", 2).reason == "out_of_scale"


def test_the_spread_is_on_a_scale_from_0_to_1():
    assert spread_of([rating(1), rating(10)]) == pytest.approx(2**-0.5)
    assert spread_of([rating(4), rating(4), NONE]) == 0.0
    assert spread_of([label("A>>B"), label("B>>A")]) == pytest.approx(2**-0.5)
    assert spread_of([rating(4), NONE]) is None
