"""Paired comparison: by hand, against scipy and statsmodels, and by simulated error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.paired import PairedSpec, paired_difference
from harness.stats.paired_binary import tango_interval, tango_z

RNG = np.random.default_rng


class TestTango:
    @pytest.mark.parametrize(
        ("b", "c", "n", "low", "high"), [(6, 16, 161, -0.1240, -0.0054), (1, 7, 21, -0.517, -0.026)]
    )
    def test_agrees_with_r(self, b, c, n, low, high):
        # R: contingencytables::Tango_asymptotic_score_CI_paired_2x2(rbind(c(59, 6), c(16, 80))) and
        # rbind(c(1, 1), c(7, 12)), the examples of Cavo et al. (2012) and Bentur et al. (2009)
        digits = 5e-5 if n == 161 else 5e-4
        assert tango_interval(b, c, n) == (pytest.approx(low, abs=digits), pytest.approx(high, abs=digits))

    def test_at_zero_it_is_mcnemars_statistic(self):
        assert tango_z(12, 5, 80, 0.0) == pytest.approx(7 / math.sqrt(17))

    @given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40), st.floats(-0.9, 0.9))
    def test_constrained_maximum_agrees_with_a_search(self, b, c, concordant, threshold):
        n = b + c + concordant
        if n == 0:
            return
        low, high = max(0.0, -threshold), (1.0 - threshold) / 2.0
        grid = np.linspace(low, high, 20001)[1:-1]
        with np.errstate(divide="ignore"):
            likelihood = stats.multinomial.logpmf(
                np.stack([np.full(grid.size, b), np.full(grid.size, c), np.full(grid.size, concordant)], axis=1),
                n,
                np.stack([grid + threshold, grid, 1.0 - 2.0 * grid - threshold], axis=1),
            )
        q = float(grid[int(np.argmax(likelihood))])
        variance = n * (2.0 * q + threshold * (1.0 - threshold))
        z = tango_z(b, c, n, threshold)
        if variance > 0.05:
            assert z == pytest.approx((b - c - n * threshold) / variance**0.5, abs=0.05 + 0.01 * abs(z))

    def test_interval_is_where_the_score_test_stops_rejecting(self):
        low, high = tango_interval(9, 4, 60)
        assert tango_z(9, 4, 60, low) == pytest.approx(stats.norm.ppf(0.975), abs=1e-6)
        assert tango_z(9, 4, 60, high) == pytest.approx(stats.norm.ppf(0.025), abs=1e-6)

    @pytest.mark.parametrize(("b", "c", "n"), [(10, 0, 10), (0, 10, 10), (0, 0, 10), (1, 0, 1)])
    def test_extremes_stay_in_range(self, b, c, n):
        low, high = tango_interval(b, c, n)
        assert -1.0 <= low <= (b - c) / n <= high <= 1.0
        assert low < high

    @pytest.mark.parametrize("arguments", [(5, 6, 10, 0.0), (1, 1, 10, 1.0), (-1, 1, 10, 0.0)])
    def test_impossible_counts_are_refused(self, arguments):
        with pytest.raises(StatisticsError):
            tango_z(*arguments)


class TestPairedDifference:
    def test_by_hand_ratings(self):
        result = paired_difference([3.0, 5.0, 4.0, 8.0], [2.0, 5.0, 2.0, 5.0], "abcd")
        assert result.difference.value == 1.5
        assert result.sd == pytest.approx(np.std([1, 0, 2, 3], ddof=1))
        assert result.difference.stderr == pytest.approx(result.sd / 2)
        assert result.values.tolist() == [1.0, 0.0, 2.0, 3.0]

    def test_close_to_students_t_on_many_normal_differences(self):
        a, b = RNG(1).normal(0.3, 1, 400), RNG(2).normal(0, 1, 400)
        result = paired_difference(a, b, range(400), PairedSpec(scale=10.0))
        low, high = stats.ttest_rel(a, b).confidence_interval()
        width = high - low
        assert result.difference.ci_low == pytest.approx(low, abs=0.05 * width)
        assert result.difference.ci_high == pytest.approx(high, abs=0.05 * width)
        theirs = stats.ttest_1samp(a - b, 0.25, alternative="greater").pvalue
        assert result.p_values(0.25)[0] == pytest.approx(theirs, abs=0.08)

    def test_clusters_of_unequal_size_keep_the_mean(self):
        a, clusters = [4.0, 2.0, 6.0, 1.0], ["p", "p", "p", "q"]
        result = paired_difference(a, [0.0] * 4, clusters, PairedSpec(scale=9.0))
        # R = 13/4, G/n = 1/2: 3.25 + (12 - 9.75) / 2 and 3.25 + (1 - 3.25) / 2
        assert result.values.tolist() == [4.375, 2.125]
        assert result.values.mean() == pytest.approx(result.difference.value) == 3.25

    def test_binary_in_percent(self):
        a = [100.0] * 6 + [0.0] * 4
        b = [0.0] * 4 + [100.0] * 3 + [0.0] * 3
        result = paired_difference(a, b, range(10), PairedSpec(scale=100.0))
        assert result.discordant == (4, 1)
        assert result.difference.value == pytest.approx(30.0)
        assert result.p_value == pytest.approx(2 * stats.norm.sf(3 / math.sqrt(5)))
        low, high = tango_interval(4, 1, 10)
        assert result.difference.ci_low == pytest.approx(100 * low)
        assert result.difference.ci_high == pytest.approx(100 * high)
        assert result.p_values(-20.0)[0] == pytest.approx(stats.norm.sf(tango_z(4, 1, 10, -0.2)))

    def test_interval_and_one_sided_p_say_the_same(self):
        a = (RNG(1).random(80) < 0.7).astype(float)
        b = (RNG(2).random(80) < 0.5).astype(float)
        result = paired_difference(a, b, range(80))
        assert result.p_values(result.difference.ci_low)[0] == pytest.approx(0.025, abs=1e-6)
        assert result.p_values(result.difference.ci_high)[1] == pytest.approx(0.025, abs=1e-6)

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.floats(-1, 1), min_size=2, max_size=40))
    def test_p_value_and_interval_never_clash(self, differences):
        # p = .98 beside an interval far from 0, or p = .01 beside one that holds it, came from two tests
        result = paired_difference(
            differences, [0.0] * len(differences), range(len(differences)), PairedSpec(scale=1.0)
        )
        holds_zero = result.difference.ci_low <= 0.0 <= result.difference.ci_high
        assert holds_zero == (result.p_value > 0.05) or result.p_value == pytest.approx(0.05, abs=1e-6)

    def test_binary_scores_of_shared_prompts_are_clustered(self):
        result = paired_difference([1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], ["a", "a", "b", "c"])
        assert result.discordant is None
        assert result.difference.n_clusters == 3

    @pytest.mark.parametrize("scores", [[0.0, 1.0, 1.0, 0.0], [0.3, 0.4, 0.2, 0.9]])
    def test_no_difference_anywhere(self, scores):
        result = paired_difference(scores, scores, range(4), PairedSpec(scale=1.0))
        assert result.difference.value == 0.0
        assert result.p_value == 1.0
        assert "alike" in result.difference.note
        assert result.minimum_detectable_effect is None
        # four prompts alike do not prove that no other prompt differs
        assert result.difference.ci_low < -0.3
        assert result.difference.ci_high > 0.3
        assert result.p_values(-0.01)[0] > 0.05

    def test_same_difference_everywhere(self):
        result = paired_difference([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], range(3), PairedSpec(scale=9.0))
        assert result.difference.ci_low < 1.0 < result.difference.ci_high
        assert result.difference.note
        # a mean of 0 with a share of 9/10 at 1 and the rest at the scale's end shows 1 three times with 0.9^3
        assert result.p_values(0.0)[0] == pytest.approx(0.9**3)
        assert result.p_values(2.0)[0] == 1.0

    def test_no_spread_on_an_open_scale_has_no_interval(self):
        result = paired_difference([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], range(3))
        assert result.difference.ci_low is result.p_value is None
        assert "open scale" in result.difference.note

    def test_one_prompt(self):
        result = paired_difference([1.0], [0.0], ["a"])
        assert result.difference.value == 1.0
        assert result.p_value is result.p_values(0.0) is result.difference.ci_low is None
        assert "one cluster" in result.difference.note

    def test_minimum_detectable_effect_is_reported(self):
        a, b = RNG(1).normal(size=100), RNG(2).normal(size=100)
        result = paired_difference(a, b, range(100))
        assert result.minimum_detectable_effect == pytest.approx(2.83 * result.sd / 10, rel=0.01)

    def test_the_order_of_runs_only_turns_the_sign(self):
        a, b = RNG(1).random(30), RNG(2).random(30)
        there, back = (paired_difference(x, y, range(30)) for x, y in ((a, b), (b, a)))
        assert there.difference.value == pytest.approx(-back.difference.value)
        assert there.difference.ci_low == pytest.approx(-back.difference.ci_high)
        assert there.p_value == pytest.approx(back.p_value)

    @pytest.mark.parametrize("shared", [0.0, 2.0])
    def test_coverage_by_cluster(self, shared):
        rng = RNG(4)
        clusters = np.repeat(np.arange(40), 2)
        n_trials, hits = 250, 0
        for _ in range(n_trials):
            a = rng.normal(0.5, 1, 80) + shared * rng.normal(size=40)[clusters]
            b = rng.normal(0.0, 1, 80)
            result = paired_difference(a, b, clusters)
            hits += result.difference.ci_low <= 0.5 <= result.difference.ci_high
        assert hits / n_trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n_trials))

    def test_coverage_of_binary_differences(self):
        rng = RNG(5)
        n_trials, hits = 500, 0
        for _ in range(n_trials):
            kind = rng.choice(4, 60, p=[0.5, 0.2, 0.08, 0.22])
            a, b = np.isin(kind, (0, 1)).astype(float), np.isin(kind, (0, 2)).astype(float)
            result = paired_difference(a, b, range(60))
            hits += result.difference.ci_low <= 0.12 <= result.difference.ci_high
        assert hits / n_trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n_trials) + 0.005)

    @pytest.mark.parametrize(
        ("first", "second", "clusters", "spec"),
        [
            ([1.0], [1.0, 2.0], [0], None),
            ([1.0, math.nan], [1.0, 2.0], [0, 1], None),
            ([1.0, 2.0], [1.0, 2.0], [0], None),
            ([9.0, 2.0], [-1.0, 2.0], [0, 1], PairedSpec(scale=9.0)),
            ([], [], [], None),
        ],
    )
    def test_wrong_input_is_refused(self, first, second, clusters, spec):
        with pytest.raises(StatisticsError):
            paired_difference(first, second, clusters, spec)

    @pytest.mark.parametrize("options", [{"level": 0.0}, {"scale": -1.0}])
    def test_impossible_spec_is_refused(self, options):
        with pytest.raises(StatisticsError):
            PairedSpec(**options)

    def test_threshold_that_is_no_number_is_refused(self):
        with pytest.raises(StatisticsError):
            paired_difference([1.0, 2.0], [0.0, 3.0], [0, 1]).p_values(math.nan)
