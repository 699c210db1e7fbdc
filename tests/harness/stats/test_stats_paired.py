"""Paired comparison: by hand, against scipy and statsmodels, and by simulated error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.paired import PairedSpec, paired_difference
from harness.stats.paired_binary import mcnemar_mid_p, tango_interval, tango_z
from harness.stats.sign_flip import sign_flip_test

RNG = np.random.default_rng


class TestMcNemar:
    def test_by_hand(self):
        # of 5 discordant prompts 1 against 4: P(X <= 1) = 6/32, P(X = 1) = 5/32
        assert mcnemar_mid_p(4, 1) == pytest.approx(7 / 32)

    def test_mid_p_agrees_with_r(self):
        # R: contingencytables::McNemar_midP_test_paired_2x2(rbind(c(59, 6), c(16, 80)))
        assert mcnemar_mid_p(6, 16) == pytest.approx(0.034690, abs=5e-7)

    def test_type_one_error(self):
        rng = RNG(0)
        n_trials, rejected = 3000, 0
        for _ in range(n_trials):
            b, c, _ = rng.multinomial(100, [0.15, 0.15, 0.7])
            rejected += mcnemar_mid_p(int(b), int(c)) <= 0.05
        assert rejected / n_trials == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / n_trials))

    def test_negative_counts_are_refused(self):
        with pytest.raises(StatisticsError):
            mcnemar_mid_p(-1, 2)


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


class TestSignFlip:
    def test_by_hand(self):
        # of the 8 sign patterns of (1, 2, 3) only +++ and --- reach 6
        assert sign_flip_test([1.0, 2.0, 3.0], "abc", RNG(0)) == 0.25

    def test_whole_clusters_are_flipped(self):
        assert sign_flip_test([1.0, 2.0, 3.0, 0.0], ["a", "a", "b", "b"], RNG(0)) == 0.5

    def test_agrees_with_scipy(self):
        differences = RNG(1).normal(0.4, 1.0, size=10)
        theirs = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
        )
        assert sign_flip_test(differences, range(10), RNG(0)) == pytest.approx(theirs.pvalue)

    def test_sampled_agrees_with_the_t_test_on_many_normal_differences(self):
        differences = RNG(2).normal(0.15, 1.0, size=200)
        p_value = sign_flip_test(differences, range(200), RNG(0), 20_000)
        assert p_value == pytest.approx(stats.ttest_1samp(differences, 0.0).pvalue, abs=0.01)

    def test_type_one_error_with_clusters(self):
        rng = RNG(3)
        clusters = np.repeat(np.arange(12), 2)
        n_trials = 1000
        rejected = 0
        for _ in range(n_trials):
            shared = rng.laplace(size=12)
            rejected += sign_flip_test(shared[clusters] + 0.3 * rng.laplace(size=24), clusters, rng) <= 0.05
        assert rejected / n_trials == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / n_trials))

    def test_all_zero(self):
        assert sign_flip_test([0.0, 0.0], "ab", RNG(0)) == 1.0


class TestPairedDifference:
    def test_by_hand_ratings(self):
        result = paired_difference([3.0, 5.0, 4.0, 8.0], [2.0, 5.0, 2.0, 5.0], "abcd", RNG(0))
        assert result.difference.value == 1.5
        assert result.sd == pytest.approx(np.std([1, 0, 2, 3], ddof=1))
        assert result.difference.stderr == pytest.approx(result.sd / 2)
        assert result.p_value == 0.25  # 2 of the 8 patterns of (1, 2, 3)

    def test_interval_and_one_sided_p_agree_with_scipy(self):
        a, b = RNG(1).normal(0.3, 1, 40), RNG(2).normal(0, 1, 40)
        result = paired_difference(a, b, range(40), RNG(0))
        theirs = stats.ttest_rel(a, b)
        low, high = theirs.confidence_interval()
        assert (result.difference.ci_low, result.difference.ci_high) == (pytest.approx(low), pytest.approx(high))
        one_sided = stats.ttest_1samp(a - b, -0.5, alternative="greater").pvalue
        assert result.p_above(-0.5) == pytest.approx(one_sided)

    def test_binary_in_percent(self):
        a = [100.0] * 6 + [0.0] * 4
        b = [0.0] * 4 + [100.0] * 3 + [0.0] * 3
        result = paired_difference(a, b, range(10), RNG(0), PairedSpec(scale=100.0))
        assert result.discordant == (4, 1)
        assert result.difference.value == pytest.approx(30.0)
        assert result.p_value == pytest.approx(7 / 32)
        low, high = tango_interval(4, 1, 10)
        assert result.difference.ci_low == pytest.approx(100 * low)
        assert result.difference.ci_high == pytest.approx(100 * high)
        assert result.p_above(-20.0) == pytest.approx(stats.norm.sf(tango_z(4, 1, 10, -0.2)))

    def test_interval_and_one_sided_p_say_the_same(self):
        a = (RNG(1).random(80) < 0.7).astype(float)
        b = (RNG(2).random(80) < 0.5).astype(float)
        result = paired_difference(a, b, range(80), RNG(0))
        assert result.p_above(result.difference.ci_low) == pytest.approx(0.025, abs=1e-6)
        assert 1.0 - result.p_above(result.difference.ci_high) == pytest.approx(0.025, abs=1e-6)

    def test_binary_scores_of_shared_prompts_are_clustered(self):
        result = paired_difference([1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], ["a", "a", "b", "c"], RNG(0))
        assert result.test.startswith("sign-flip")
        assert result.difference.n_clusters == 3

    @pytest.mark.parametrize("scores", [[0.0, 1.0, 1.0, 0.0], [0.3, 0.4, 0.2, 0.9]])
    def test_no_difference_anywhere(self, scores):
        result = paired_difference(scores, scores, range(4), RNG(0))
        assert (result.difference.value, result.difference.ci_low, result.difference.ci_high) == (0.0, 0.0, 0.0)
        assert result.p_value == 1.0
        assert "same" in result.difference.note
        assert result.minimum_detectable_effect is None
        assert result.p_above(0.0) >= 0.5
        # four prompts alike do not prove non-inferiority
        assert result.p_above(-0.01) > 0.05

    def test_same_difference_everywhere(self):
        result = paired_difference([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], range(3), RNG(0))
        assert result.difference.ci_low == result.difference.ci_high == 1.0
        assert result.difference.note
        assert result.p_above(0.0) == 0.125
        assert result.p_above(2.0) == 1.0

    def test_one_prompt(self):
        result = paired_difference([1.0], [0.0], ["a"], RNG(0))
        assert result.difference.value == 1.0
        assert result.p_value is result.p_above(0.0) is result.difference.ci_low is None
        assert "one cluster" in result.difference.note

    def test_minimum_detectable_effect_is_reported(self):
        a, b = RNG(1).normal(size=100), RNG(2).normal(size=100)
        result = paired_difference(a, b, range(100), RNG(0))
        assert result.minimum_detectable_effect == pytest.approx(2.83 * result.sd / 10, rel=0.01)

    def test_the_order_of_runs_only_turns_the_sign(self):
        a, b = RNG(1).random(30), RNG(2).random(30)
        there, back = (paired_difference(x, y, range(30), RNG(0)) for x, y in ((a, b), (b, a)))
        assert there.difference.value == pytest.approx(-back.difference.value)
        assert there.difference.ci_low == pytest.approx(-back.difference.ci_high)
        assert there.p_value == pytest.approx(back.p_value)

    @pytest.mark.parametrize("shared", [0.0, 2.0])
    def test_coverage_by_cluster(self, shared):
        rng = RNG(4)
        clusters = np.repeat(np.arange(40), 2)
        n_trials, hits = 600, 0
        for _ in range(n_trials):
            a = rng.normal(0.5, 1, 80) + shared * rng.normal(size=40)[clusters]
            b = rng.normal(0.0, 1, 80)
            result = paired_difference(a, b, clusters, rng, PairedSpec(n_permutations=100))
            hits += result.difference.ci_low <= 0.5 <= result.difference.ci_high
        assert hits / n_trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n_trials))

    def test_coverage_of_binary_differences(self):
        rng = RNG(5)
        n_trials, hits = 1000, 0
        for _ in range(n_trials):
            kind = rng.choice(4, 60, p=[0.5, 0.2, 0.08, 0.22])
            a, b = np.isin(kind, (0, 1)).astype(float), np.isin(kind, (0, 2)).astype(float)
            result = paired_difference(a, b, range(60), rng)
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
            paired_difference(first, second, clusters, RNG(0), spec)

    @pytest.mark.parametrize("options", [{"level": 0.0}, {"scale": -1.0}, {"n_permutations": 3}])
    def test_impossible_spec_is_refused(self, options):
        with pytest.raises(StatisticsError):
            PairedSpec(**options)

    def test_threshold_that_is_no_number_is_refused(self):
        with pytest.raises(StatisticsError):
            paired_difference([1.0, 2.0], [0.0, 3.0], [0, 1], RNG(0)).p_above(math.nan)
