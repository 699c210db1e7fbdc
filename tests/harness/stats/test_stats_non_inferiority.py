"""The corrected score test: by hand, against McNemar with Edwards' correction, and its exact error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from harness.stats.non_inferiority import corrected_interval, corrected_p_values
from harness.stats.paired_binary import tango_interval


def test_by_hand():
    # b = 20, c = 10 against 0: (20 - 10 - 1/2) / sqrt(30)
    above, below = corrected_p_values(20, 10, 100, 0.0)
    assert above == pytest.approx(stats.norm.sf(9.5 / math.sqrt(30)))
    assert below == pytest.approx(stats.norm.cdf(10.5 / math.sqrt(30)))


def test_no_discordant_pair_by_hand():
    # against -m: excess n m, variance n m (1 - m)
    above, below = corrected_p_values(0, 0, 500, -0.02)
    assert above == pytest.approx(stats.norm.sf(9.5 / math.sqrt(500 * 0.02 * 0.98)))
    assert below > 0.5
    assert corrected_p_values(0, 0, 500, 0.0) == (0.5, 0.5)


def test_at_zero_half_edwards_correction_lies_between_the_plain_and_edwards_own():
    table = [[50, 20], [10, 20]]
    plain = mcnemar(table, exact=False, correction=False).pvalue / 2
    edwards = mcnemar(table, exact=False, correction=True).pvalue / 2
    assert plain < corrected_p_values(20, 10, 100, 0.0)[0] < edwards


def exact_size(n, discordance, threshold):
    """Chance of p <= 5 % where the difference is the threshold, over all outcomes of the trinomial."""
    up = (discordance + threshold) / 2
    total = 0.0
    for k, weight in enumerate(stats.binom.pmf(np.arange(n + 1), n, discordance)):
        if weight < 1e-9:
            continue
        for b, share in enumerate(stats.binom.pmf(np.arange(k + 1), k, up / discordance)):
            if weight * share > 1e-12 and corrected_p_values(b, k - b, n, threshold)[0] <= 0.05:
                total += weight * share
    return total


@pytest.mark.parametrize("n", [40, 164])
@pytest.mark.parametrize("discordance", [0.05, 0.2])
@pytest.mark.parametrize("threshold", [0.0, 0.01, -0.01])
def test_the_exact_error_stays_at_five_percent(n, discordance, threshold):
    assert exact_size(n, discordance, threshold) <= 0.05


def test_the_interval_is_what_is_not_refuted_and_holds_the_plain_one():
    low, high = corrected_interval(20, 10, 100, 0.9)
    assert corrected_p_values(20, 10, 100, low)[0] == pytest.approx(0.05, abs=1e-6)
    assert corrected_p_values(20, 10, 100, high)[1] == pytest.approx(0.05, abs=1e-6)
    plain = tango_interval(20, 10, 100, 0.9)
    assert low < plain[0] < plain[1] < high


@pytest.mark.parametrize("counts", [(0, 0), (30, 0), (0, 30), (100, 0), (0, 100), (15, 15)])
def test_the_interval_of_extremes_holds_the_estimate(counts):
    low, high = corrected_interval(*counts, 100, 0.9)
    assert -1.0 <= low <= (counts[0] - counts[1]) / 100 <= high <= 1.0
