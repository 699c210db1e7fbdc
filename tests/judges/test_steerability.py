"""Steerability: by hand."""

from __future__ import annotations

import pytest
from scipy import stats

from harness.errors import UsageError
from harness.records import Rating, Unscored
from judges.rubric_form import negations
from judges.steerability import steerability


def grade(value):
    return Unscored(reason="timeout") if value is None else Rating(value=value, low=1, high=5)


def pairs(*values):
    return [(grade(a), grade(b)) for a, b in values]


def test_by_hand():
    found = steerability("polite", pairs((5, 1), (4, 2), (2, 5), (5, 5), (4, 3), (3, 1), (None, 1), (5, None)))
    assert (found.n, found.n_turned, found.n_neutral, found.n_unscored) == (5, 3, 1, 2)
    assert found.share == pytest.approx(0.6)
    # Clopper-Pearson by the quantiles of the beta distribution
    assert found.ci_low == pytest.approx(stats.beta.ppf(0.025, 3, 3))
    assert found.ci_high == pytest.approx(stats.beta.ppf(0.975, 4, 2))


def test_nothing_to_tell():
    for values in ((), ((3, 1),), ((None, 1),)):
        found = steerability("polite", pairs(*values))
        assert found.share is None
        assert found.reason


def test_what_can_be_negated(tmp_path):
    assert negations("rubric:honest")[0] == ("truthful", ("rubric:honest#truthful", "rubric:honest#not-truthful"))
    with pytest.raises(UsageError, match="no principles"):
        negations("own:rating")
    path = tmp_path / "plain.yaml"
    path.write_text("name: plain\ndimensions: [{name: good, question: Good}]\n")
    with pytest.raises(UsageError, match="`negated:`"):
        negations(f"rubric:{path}")
