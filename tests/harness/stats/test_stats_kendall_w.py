"""Kendall's W: by hand, against Friedman's statistic, its level and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec
from harness.stats.kendall_w import kendall_w

FAST = BootstrapSpec(n_boot=200)


def test_by_hand():
    # ranks 1 2 3, 1 3 2, 2 1 3: sums 4 6 8, S = 8, W = 12 * 8 / (9 * 24)
    found = kendall_w([[1, 2, 3], [1, 3, 2], [2, 1, 3]], np.random.default_rng(0), FAST)
    assert found.w.value == pytest.approx(96 / 216)
    assert (found.n_raters, found.n_items) == (3, 3)
    assert kendall_w([[1, 2, 3], [10, 20, 30]], np.random.default_rng(0), FAST).w.value == pytest.approx(1.0)
    assert kendall_w([[1, 2, 3], [3, 2, 1]], np.random.default_rng(0), FAST).w.value == pytest.approx(0.0)


@pytest.mark.parametrize("grid", [1000, 3])
def test_is_friedmans_statistic(grid):
    rng = np.random.default_rng(1)
    table = rng.integers(0, grid, (5, 40)) + rng.integers(0, grid, 40)
    found = kendall_w(table, rng, FAST)
    statistic, p_value = stats.friedmanchisquare(*table.T)
    assert found.w.value == pytest.approx(statistic / (5 * 39), abs=1e-9)
    assert found.p_value == pytest.approx(p_value, abs=1e-9)


def test_level_and_interval():
    rng = np.random.default_rng(2)
    rejected = sum(kendall_w(rng.normal(size=(6, 20)), rng, BootstrapSpec(100)).p_value < 0.05 for _ in range(200))
    assert rejected / 200 < 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    # W of two raters is (1 + Spearman's rho) / 2; rho of normals with correlation 0.8 is 6 / pi asin(0.4)
    truth = (1 + 6 / np.pi * np.arcsin(0.4)) / 2
    covered = 0
    for _ in range(150):
        item = rng.normal(size=(1, 100)) * 0.8**0.5
        w = kendall_w(item + 0.2**0.5 * rng.normal(size=(2, 100)), rng, FAST).w
        covered += w.ci_low <= truth <= w.ci_high
    assert covered / 150 > 0.95 - 3 * (0.05 * 0.95 / 150) ** 0.5


@pytest.mark.parametrize("scores", [[[1, 2, 3]], [[1], [2]], [[1, 1], [2, 2]], [[1, float("nan")], [1, 2]]])
def test_wrong_input(scores):
    with pytest.raises(StatisticsError):
        kendall_w(scores, np.random.default_rng(0))
