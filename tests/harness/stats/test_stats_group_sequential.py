"""Group-sequential bounds: published tables, two looks by the bivariate normal, simulated paths, estimates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from harness.errors import StatisticsError
from harness.stats.error_spending import Spending
from harness.stats.group_sequential import Bounds, bounds_for, classic_bounds, exits, spending_bounds, with_futility
from harness.stats.group_sequential_estimates import chance_at_least, stage_wise_estimate, stage_wise_p

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]
UNEQUAL = [0.13, 0.3, 0.55, 1.0]


@pytest.mark.parametrize(
    ("n_looks", "obrien_fleming", "pocock"),
    # Jennison and Turnbull (2000), tables 2.3 and 2.1, alpha = 0.05 two-sided
    [(2, 1.977, 2.178), (3, 2.004, 2.289), (4, 2.024, 2.361), (5, 2.040, 2.413), (10, 2.087, 2.555)],
)
def test_classic_constants(n_looks, obrien_fleming, pocock):
    assert classic_bounds(n_looks, 0.05, "obrien_fleming").upper[-1] == pytest.approx(obrien_fleming, abs=5.1e-4)
    assert classic_bounds(n_looks, 0.05, "pocock").upper[-1] == pytest.approx(pocock, abs=5.1e-4)


def test_sample_size_inflation():
    # tables 2.4 and 2.2: five looks have 90 % power with 1.026 and 1.207 times the fixed sample size
    fixed = stats.norm.isf(0.025) + stats.norm.isf(0.1)
    for shape, inflation in (("obrien_fleming", 1.026), ("pocock", 1.207)):
        power = exits(classic_bounds(5, 0.05, shape), math.sqrt(inflation) * fixed).power
        assert power == pytest.approx(0.9, abs=3e-4)


@pytest.mark.parametrize(
    ("kind", "expected"),
    # one-sided 0.025, five looks: gsDesign's sfLDOF and sfLDPocock; Lan-DeMets program, Reboussin et al. (2000)
    [
        ("obrien_fleming", [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
        ("pocock", [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]),
    ],
)
def test_spending_bounds(kind, expected):
    assert spending_bounds(FIVE, Spending(kind), 0.025).upper == pytest.approx(expected, abs=2e-4)


def test_gsdesign_default():
    # gsDesign(): k = 3, one-sided 0.025, power 0.9, Hwang-Shih-DeCani -4 and -2, non-binding futility
    bounds = spending_bounds([1 / 3, 2 / 3, 1.0], Spending("hwang_shih_decani", -4.0), 0.025)
    assert bounds.upper == pytest.approx([3.0107, 2.5465, 1.9992], abs=1e-4)
    design, drift = with_futility(bounds, Spending("hwang_shih_decani", -2.0), 0.1)
    assert design.upper == bounds.upper
    assert design.lower == pytest.approx([-0.2387, 0.9411, 1.9992], abs=1e-4)
    inflation = (drift / (stats.norm.isf(0.025) + stats.norm.isf(0.1))) ** 2
    assert inflation == pytest.approx(1.070, abs=5e-4)
    assert exits(design, drift).power == pytest.approx(0.9, abs=1e-6)
    assert sum(exits(bounds, 0.0).upper) == pytest.approx(0.025, abs=1e-7)


def test_two_looks_by_the_bivariate_normal():
    t, alpha, spent = 0.4, 0.05, 0.012
    bounds = bounds_for([t, 1.0], [spent, alpha], alpha)
    first = stats.norm.isf(spent)
    joint = stats.multivariate_normal(cov=[[1.0, math.sqrt(t)], [math.sqrt(t), 1.0]])
    second = optimize.brentq(lambda c: 1.0 - joint.cdf([first, c]) - alpha, 0.0, 5.0)
    assert bounds.upper == pytest.approx([first, second], abs=1e-5)
    assert bounds.levels == pytest.approx(stats.norm.sf([first, second]), abs=1e-6)


def paths(information, drift, n, rng):
    t = np.array(information)
    steps = np.diff([0.0, *t])
    brownian = np.cumsum(rng.normal(size=(n, t.size)) * np.sqrt(steps), axis=1) + drift * t
    return brownian / np.sqrt(t)


def stops(z, bounds):
    """Look of the stop and whether it was the upper bound; the last look if no bound is crossed."""
    up, down = z >= np.array(bounds.upper), z <= np.array(bounds.lower)
    crossed = up | down
    at = np.where(crossed.any(axis=1), crossed.argmax(axis=1), z.shape[1] - 1)
    return at, up[np.arange(len(z)), at], down[np.arange(len(z)), at]


@pytest.mark.parametrize("drift", [0.0, 2.0])
@pytest.mark.parametrize("kind", ["obrien_fleming", "pocock", "hwang_shih_decani"])
def test_simulated_paths_stop_as_computed(kind, drift):
    upper = spending_bounds(UNEQUAL, Spending(kind, 1.5), 0.05)
    bounds = Bounds(upper.information, upper.upper, (-1.2, -0.5, 0.1, -math.inf))
    z = paths(UNEQUAL, drift, 200_000, np.random.default_rng(1))
    at, up, down = stops(z, bounds)
    found = exits(bounds, drift)
    for k in range(4):
        assert np.mean(up & (at == k)) == pytest.approx(found.upper[k], abs=0.004)
        assert np.mean(down & (at == k)) == pytest.approx(found.lower[k], abs=0.004)
    assert np.mean(np.array(UNEQUAL)[at]) == pytest.approx(found.expected_information, abs=0.003)


def test_unplanned_looks_spend_alpha_and_no_more():
    rng = np.random.default_rng(5)
    for kind in ("obrien_fleming", "pocock", "hwang_shih_decani"):
        looks = [*np.sort(rng.uniform(0.02, 0.98, 6)).tolist(), 1.0]
        bounds = spending_bounds(looks, Spending(kind), 0.05)
        assert exits(bounds, 0.0).power == pytest.approx(0.05, abs=1e-7)
        # bounds of early looks do not depend on later ones
        assert spending_bounds(looks[:3], Spending(kind), 0.05).upper == pytest.approx(bounds.upper[:3], abs=1e-9)


def test_one_look_is_the_fixed_test():
    assert spending_bounds([1.0], Spending(), 0.05).levels == pytest.approx([0.05])


def test_a_look_that_may_spend_nothing_stops_nothing():
    bounds = bounds_for([0.1, 0.5, 1.0], [0.0, 0.01, 0.05], 0.05)
    assert bounds.upper[0] == math.inf
    assert exits(bounds, 0.0).power == pytest.approx(0.05, abs=1e-7)


def test_bounds_hold_far_in_the_tail():
    levels = spending_bounds([0.05, 0.5, 1.0], Spending(), 0.001).levels
    assert 0.0 <= levels[0] < 1e-40
    assert levels[-1] == pytest.approx(0.001, rel=0.05)


@pytest.mark.parametrize(
    ("looks", "alpha", "said"),
    [
        ([0.5, 0.2], 0.05, "each look later"),
        ([0.5, 0.5], 0.05, "each look later"),
        ([0.5, 1.5], 0.05, "above 0 and at most 1"),
        ([], 0.05, "none"),
        ([0.5, 1.0], 0.0, "alpha is 0"),
    ],
)
def test_wrong_looks_are_refused(looks, alpha, said):
    with pytest.raises(StatisticsError, match=said):
        spending_bounds(looks, Spending(), alpha)


def test_a_function_that_spends_too_much_or_takes_back_is_refused():
    with pytest.raises(StatisticsError, match=r"more than 0\.05"):
        bounds_for([0.5, 1.0], [0.01, 0.06], 0.05)
    with pytest.raises(StatisticsError, match="cannot fall"):
        bounds_for([0.5, 1.0], [0.03, 0.02], 0.05)
    with pytest.raises(StatisticsError, match="more than 1"):
        Spending("shares", shares=(0.5, 1.1))
    with pytest.raises(StatisticsError, match="1 shares of alpha for 2 looks"):
        Spending("shares", shares=(0.5,)).spent([0.5, 1.0], 0.05)
    with pytest.raises(StatisticsError, match="gamma"):
        Spending("hwang_shih_decani", 1000.0)


# ---- estimates at the stop


@pytest.mark.parametrize("drift", [0.0, 3.0])
def test_estimates_at_the_stop_are_median_unbiased_and_cover(drift):
    # an estimate lies below the drift where the chance of an outcome at least as extreme is above one half there
    alpha, n = 0.05, 1200
    upper = spending_bounds(UNEQUAL, Spending("pocock"), alpha)
    bounds = Bounds(upper.information, upper.upper, tuple(-bound for bound in upper.upper))
    z = paths(UNEQUAL, drift, n, np.random.default_rng(2))
    at, _, _ = stops(z, bounds)
    chances, plain = [], []
    for index, (path, k) in enumerate(zip(z, at.tolist(), strict=True)):
        so_far = Bounds(bounds.information[: k + 1], bounds.upper[: k + 1], bounds.lower[: k + 1])
        chances.append(chance_at_least(so_far, path[k], drift))
        plain.append(path[k] / math.sqrt(UNEQUAL[k]))
        if index < 5:
            found = stage_wise_estimate(so_far, path[k], alpha)
            assert (found.median_unbiased < drift) == (chances[-1] > 0.5)
            assert (found.low <= drift <= found.high) == (alpha <= chances[-1] <= 1.0 - alpha)
    assert stats.kstest(chances, "uniform").pvalue > 0.001
    if drift == 3.0:
        assert np.mean(plain) > 3.2  # the plain estimate is biased


def test_with_one_look_the_estimate_is_the_plain_one():
    found = stage_wise_estimate(spending_bounds([1.0], Spending(), 0.05), 2.2, 0.05)
    assert found.median_unbiased == pytest.approx(2.2, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((2.2 - 1.644854, 2.2 + 1.644854), abs=1e-5)


def test_the_p_value_is_at_most_alpha_exactly_where_the_test_rejects():
    bounds = spending_bounds(UNEQUAL, Spending(), 0.05)
    for k in range(1, 5):
        so_far = Bounds(bounds.information[:k], bounds.upper[:k], bounds.lower[:k])
        spent = Spending().spent(UNEQUAL, 0.05)[k - 1]
        assert stage_wise_p(so_far, bounds.upper[k - 1]) == pytest.approx(spent, rel=1e-5)
    last = bounds.upper[-1]
    assert stage_wise_p(bounds, last + 0.01) < 0.05 < stage_wise_p(bounds, last - 0.01)
    assert stage_wise_p(bounds, math.inf) == pytest.approx(Spending().spent(UNEQUAL, 0.05)[2], rel=1e-4)
