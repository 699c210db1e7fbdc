"""Power and sample size: by hand, against statsmodels, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from harness.errors import StatisticsError
from harness.stats.power import PowerSpec, minimum_detectable_effect, power, units_needed


def test_by_hand_from_the_normal_formula():
    # n = (1.96 + 0.8416)^2 sd^2 / effect^2 = 785 for sd 40, effect 4; the t test needs about two more
    assert units_needed(4.0, 40.0) == pytest.approx(785, abs=3)
    assert minimum_detectable_effect(40.0, 805) == pytest.approx((1.95996 + 0.84162) * 40 / math.sqrt(805), rel=0.003)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("n", [2, 5, 80, 805, 9000, 20_000])
@pytest.mark.parametrize("effect", [0.01, 0.1, 1.0])
def test_power_agrees_with_statsmodels(sides, n, effect):
    theirs = TTestPower().power(effect, n, 0.05, alternative={1: "larger", 2: "two-sided"}[sides])
    if math.isfinite(theirs):
        assert power(effect, 1.0, n, PowerSpec(sides=sides)) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(("effect", "sides"), [(0.05, 1), (0.2, 2), (0.8, 2)])
def test_sample_size_agrees_with_statsmodels(effect, sides):
    theirs = TTestPower().solve_power(effect, power=0.9, alpha=0.025, alternative={1: "larger", 2: "two-sided"}[sides])
    design = PowerSpec(alpha=0.025, target_power=0.9, sides=sides)
    assert units_needed(effect, 1.0, design) == math.ceil(theirs)


@pytest.mark.parametrize("threshold", [0.0, 0.5, -0.5])
def test_effect_size_and_power_are_inverse(threshold):
    design = PowerSpec(sides=1, threshold=threshold, target_power=0.9)
    effect = minimum_detectable_effect(2.0, 57, design)
    assert effect > threshold
    assert power(effect, 2.0, 57, design) == pytest.approx(0.9, abs=1e-6)
    needed = units_needed(effect * 1.0000001 + 1e-9, 2.0, design)
    assert needed == pytest.approx(57, abs=1)


@pytest.mark.parametrize("n", [2, 3])
def test_tiny_samples(n):
    effect = minimum_detectable_effect(1.0, n)
    assert power(effect, 1.0, n) == pytest.approx(0.8, abs=1e-6)


def rejection_rate(effect, design, n, n_trials=4000):
    rng = np.random.default_rng(1)
    # ratings' differences: skewed, in steps
    steps = np.array([-3, -1, 0, 0, 0, 1, 1, 5], dtype=float)
    steps = (steps - steps.mean()) / steps.std()
    samples = rng.choice(steps, size=(n_trials, n)) + effect
    alternative = {1: "greater", 2: "two-sided"}[design.sides]
    return float((stats.ttest_1samp(samples, design.threshold, axis=1, alternative=alternative).pvalue <= 0.05).mean())


@pytest.mark.parametrize("design", [PowerSpec(), PowerSpec(sides=1, threshold=0.2), PowerSpec(sides=1, threshold=-0.2)])
def test_simulated_power_is_the_power_promised(design):
    n = 120
    effect = minimum_detectable_effect(1.0, n, design)
    noise = 3 * math.sqrt(0.8 * 0.2 / 4000)
    assert rejection_rate(effect, design, n) == pytest.approx(0.8, abs=noise + 0.01)


def test_at_the_threshold_power_is_alpha():
    assert power(0.3, 1.0, 50, PowerSpec(sides=1, threshold=0.3)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("effect", "design"),
    [
        (0.0, PowerSpec()),
        (0.1, PowerSpec(sides=1, threshold=0.1)),
        (-0.5, PowerSpec(sides=1, threshold=-0.2)),
        (1e-9, PowerSpec()),
    ],
)
def test_no_number_would_do(effect, design):
    assert units_needed(effect, 1.0, design) is None


def test_non_inferiority_of_equal_models_needs_a_finite_number():
    # (1.645 + 0.8416)^2 / 0.1^2 = 618
    assert units_needed(0.0, 1.0, PowerSpec(sides=1, threshold=-0.1)) == pytest.approx(620, abs=2)


@pytest.mark.parametrize(
    "options",
    [{"alpha": 0.0}, {"target_power": 0.01}, {"target_power": 1.0}, {"sides": 3}, {"threshold": math.nan}],
)
def test_impossible_design_is_refused(options):
    with pytest.raises(StatisticsError):
        PowerSpec(**options)


@pytest.mark.parametrize("call", [lambda: power(1.0, 0.0, 10), lambda: power(1.0, 1.0, 1)])
def test_no_spread_or_one_unit_is_refused(call):
    with pytest.raises(StatisticsError):
        call()


@pytest.mark.parametrize("effect", [math.nan, math.inf])
def test_effect_that_is_no_number_is_refused(effect):
    with pytest.raises(StatisticsError):
        units_needed(effect, 1.0)
