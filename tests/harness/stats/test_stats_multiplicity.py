"""Holm's procedure: by hand, against statsmodels, and by simulated familywise error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from harness.errors import StatisticsError
from harness.stats.multiplicity import holm, holm_by_name


def test_by_hand():
    # sorted .01 .02 .04: times 3, 2, 1 gives .03 .04 .04
    assert holm([0.04, 0.01, 0.02]).tolist() == pytest.approx([0.04, 0.03, 0.04])


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_agrees_with_statsmodels(p_values):
    theirs = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(theirs, abs=1e-12)


def test_familywise_error():
    rng = np.random.default_rng(0)
    n_trials = 2000
    # five tests that share noise; all null
    false_claims = 0
    for _ in range(n_trials):
        z = rng.normal(size=5) * math.sqrt(0.7) + rng.normal() * math.sqrt(0.3)
        p = [math.erfc(abs(value) / math.sqrt(2)) for value in z]
        false_claims += min(holm(p)) <= 0.05
    assert false_claims / n_trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_trials)
    assert false_claims / n_trials > 0.025


def test_named_and_missing():
    adjusted = holm_by_name({"gsm8k": 0.02, "mmlu": None, "mbpp": 0.03})
    assert adjusted == {"gsm8k": pytest.approx(0.04), "mmlu": None, "mbpp": pytest.approx(0.04)}
    assert list(adjusted) == ["gsm8k", "mmlu", "mbpp"]
    assert holm_by_name({"mmlu": None}) == {"mmlu": None}
    assert holm_by_name({}) == {}


@pytest.mark.parametrize("p_values", [[], [math.nan], [1.2], [-0.1, 0.3]])
def test_what_is_no_probability_is_refused(p_values):
    with pytest.raises(StatisticsError):
        holm(p_values)
