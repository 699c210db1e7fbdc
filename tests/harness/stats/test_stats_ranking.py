"""Rank ranges, separability, agreement, Brier score, rank correlations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import brier_score_loss

from harness.errors import StatisticsError
from harness.stats.ranking import (
    agreement,
    kendall,
    pair_rank_brier,
    rank_ranges,
    separability,
    significant_ranks,
    spearman,
)


class TestRankRanges:
    def test_by_hand(self):
        # model 0 is first in 3 of 4 replicates, model 1 in one; model 2 is always last
        draws = np.array([[9.0, 5, 1], [9, 5, 1], [9, 5, 1], [4, 5, 1]])
        ranges = rank_ranges(draws, level=0.9)
        assert [(r.rank, r.low, r.high) for r in ranges] == [(1, 1, 2), (2, 1, 2), (3, 3, 3)]
        narrow = rank_ranges(draws, level=0.4)
        assert [(r.low, r.high) for r in narrow] == [(1, 1), (2, 2), (3, 3)]

    def test_ties_share_the_best_rank(self):
        ranges = rank_ranges(np.full((5, 3), 2.0))
        assert [(r.rank, r.low, r.high) for r in ranges] == [(1, 1, 1)] * 3

    def test_the_range_holds_the_level(self):
        draws = np.random.default_rng(1).normal([0, 0.5, 1, 3], 1, size=(999, 4))
        ranks = stats.rankdata(-draws, axis=1)
        for level in (0.5, 0.9, 0.95):
            for m, found in enumerate(rank_ranges(draws, level)):
                assert np.mean((ranks[:, m] >= found.low) & (ranks[:, m] <= found.high)) >= level - 0.002

    def test_true_rank_is_covered(self):
        """Ranges from normal draws around noisy estimates hold the true rank at least as often as the level."""
        rng, truth = np.random.default_rng(2), np.array([0.0, 0.4, 0.8, 1.2, 3.0])
        true_rank = stats.rankdata(-truth)
        held = np.zeros(5)
        for _ in range(300):
            draws = rng.normal(truth + 0.3 * rng.standard_normal(5), 0.3, size=(400, 5))
            held += [r.low <= t <= r.high for r, t in zip(rank_ranges(draws), true_rank, strict=True)]
        assert (held / 300 >= 0.95 - 0.04).all()

    @pytest.mark.parametrize("draws", [np.zeros((0, 3)), np.zeros(3), np.array([[1.0, np.nan]])])
    def test_wrong_draws_are_refused(self, draws):
        with pytest.raises(StatisticsError, match="draws"):
            rank_ranges(draws)

    def test_wrong_level_is_refused(self):
        with pytest.raises(StatisticsError, match="level"):
            rank_ranges(np.ones((2, 2)), level=1.0)


def resampled_means(values, rng, n_boot=400):
    """Means of the columns and their bootstrap draws over rows."""
    n = len(values)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_boot)
    return values.mean(axis=0), counts @ values / n


class TestSignificantRanks:
    def test_clear_differences_leave_one_rank_each(self):
        scores, draws = (
            np.array([3.0, 1, 2]),
            np.array([3.0, 1, 2]) + np.random.default_rng(0).normal(0, 0.01, (500, 3)),
        )
        for ranges in significant_ranks(scores, draws, 500):
            assert [(r.rank, r.low, r.high) for r in ranges] == [(1, 1, 1), (3, 3, 3), (2, 2, 2)]

    def test_noise_leaves_every_rank_open(self):
        draws = np.random.default_rng(1).normal(size=(500, 4))
        for ranges in significant_ranks(draws.mean(axis=0), draws, 500):
            assert all((r.low, r.high) == (1, 4) for r in ranges)

    def test_two_models_are_a_two_sided_t_test(self):
        """Two models: the ranks part where the t test of the difference rejects at 5 %."""
        rng = np.random.default_rng(2)
        for shift in (0.12, 0.35):
            values = rng.normal(size=(200, 2))
            values[:, 1] += shift
            scores, draws = resampled_means(values, rng, 4000)
            _, both = significant_ranks(scores, draws, 200)
            assert (both[1].high == 1) == (stats.ttest_rel(*values.T).pvalue < 0.05)

    def test_stepping_down_finds_at_least_what_one_step_finds(self):
        rng = np.random.default_rng(3)
        values = rng.normal(size=(200, 8)) * 2 + np.arange(8) * 0.35
        scores, draws = resampled_means(values, rng, 2000)
        marginal, both = significant_ranks(scores, draws, 200)
        stderr = np.array([[np.std(draws[:, i] - draws[:, j], ddof=1) for j in range(8)] for i in range(8)])
        np.fill_diagonal(stderr, np.inf)
        errors = ((draws - scores)[:, :, None] - (draws - scores)[:, None, :]) / stderr
        critical = np.quantile(errors.max(axis=(1, 2)), 0.95)
        one_step = (scores[:, None] - scores) / stderr > 1.02 * critical
        for model, found in enumerate(both):
            assert found.low >= 1 + one_step[:, model].sum()
            assert found.high <= 8 - one_step[model].sum()
            assert found.low <= marginal[model].low <= marginal[model].high <= found.high

    def test_equal_differences_in_every_draw_are_certain(self):
        draws = np.random.default_rng(4).normal(size=(300, 1)) + np.array([1.0, 0.0])
        _, both = significant_ranks(draws.mean(axis=0), draws, 300)
        assert [(r.low, r.high) for r in both] == [(1, 1), (2, 2)]

    @pytest.mark.parametrize(("n", "gaps"), [(200, 0.0), (40, 0.0), (200, 0.3)])
    def test_coverage(self, n, gaps):
        """All ranks at once, and each by itself; 300 samples, Monte-Carlo error 1.3 %."""
        rng = np.random.default_rng(5)
        truth = gaps * np.repeat([0, 1], 3)
        best, worst = 1 + (truth[:, None] < truth).sum(axis=1), 6 - (truth[:, None] > truth).sum(axis=1)
        marginal_hits, all_hits, n_rounds = 0.0, 0, 300
        for _ in range(n_rounds):
            values = truth + rng.normal(size=(n, 6)) + rng.normal(size=(n, 1))
            marginal, both = significant_ranks(*resampled_means(values, rng), n)
            held = [
                [r.low <= b and r.high >= w for r, b, w in zip(x, best, worst, strict=True)] for x in (marginal, both)
            ]
            marginal_hits += np.mean(held[0])
            all_hits += all(held[1])
        assert all_hits / n_rounds >= 0.95 - 0.04
        assert marginal_hits / n_rounds >= 0.95 - 0.03

    @pytest.mark.parametrize(
        ("scores", "draws", "n", "level"),
        [
            (np.ones(3), np.ones((5, 2)), 9, 0.95),
            (np.ones(1), np.ones((5, 1)), 9, 0.95),
            (np.ones(2), np.full((5, 2), math.nan), 9, 0.95),
            (np.ones(2), np.ones((5, 2)), 1, 0.95),
            (np.ones(2), np.ones((5, 2)), 9, 1.0),
        ],
    )
    def test_wrong_input_is_refused(self, scores, draws, n, level):
        with pytest.raises(StatisticsError):
            significant_ranks(scores, draws, n, level)


class TestSeparability:
    def test_by_hand(self):
        # a-b overlap, a-c and b-c do not
        assert separability(np.array([[1.0, 3], [2, 4], [5, 6]])) == pytest.approx(200 / 3)

    def test_touching_is_apart_and_a_point_inside_is_not(self):
        assert separability(np.array([[1.0, 2], [2, 3]])) == 100.0
        assert separability(np.array([[48.0, 52], [50, 50]])) == 0.0
        assert separability(np.array([[50.0, 50], [50, 50]])) == 0.0

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=2, max_size=8))
    def test_brute_force(self, parts):
        limits = np.array([[low, low + width] for low, width in parts], dtype=float)
        pairs = [(a, b) for i, a in enumerate(limits) for b in limits[i + 1 :]]
        apart = sum(a[1] <= b[0] or b[1] <= a[0] for a, b in pairs)
        assert separability(limits) == pytest.approx(100 * apart / len(pairs))

    @pytest.mark.parametrize(
        "limits",
        [np.array([[1.0, 2]]), np.array([[2.0, 1], [1, 2]]), np.array([[1.0, np.nan], [1, 2]]), np.ones((3, 3))],
    )
    def test_wrong_intervals_are_refused(self, limits):
        with pytest.raises(StatisticsError):
            separability(limits)


class TestAgreement:
    def test_by_hand(self):
        reference = np.array([[0.0, 1], [2, 3], [2.5, 4]])  # 0 below 1 and 2, which overlap
        benchmark = np.array([[0.0, 1], [2, 3], [0.5, 1.5]])  # 0 below 1, 0 and 2 overlap, 1 above 2
        found = agreement(benchmark, reference)
        assert (found.n_pairs, found.n_reference_separated) == (3, 2)
        assert found.score == pytest.approx(100 * (1 + 0.5) / 2)
        assert found.signed_score == pytest.approx(100 / 3)

    def test_itself_and_its_mirror(self):
        limits = np.array([[0.0, 1], [2, 3], [4, 5]])
        assert agreement(limits, limits).score == agreement(limits, limits).signed_score == 100
        mirror = -limits[:, ::-1]
        assert agreement(mirror, limits).score == 0
        assert agreement(mirror, limits).signed_score == -100

    def test_an_anchor_without_width_counts_as_apart(self):
        reference = np.array([[48.0, 53], [50, 50]])
        found = agreement(np.array([[1.0, 2], [3, 4]]), reference)
        assert (found.n_reference_separated, found.score) == (1, 100.0)  # 48 is below 50

    def test_wrong_input_is_refused(self):
        limits = np.array([[0.0, 1], [2, 3]])
        with pytest.raises(StatisticsError, match="same models"):
            agreement(limits, np.array([[0.0, 1], [2, 3], [4, 5]]))
        with pytest.raises(StatisticsError, match="separates no pair"):
            agreement(limits, np.array([[0.0, 3], [1, 4]]))


class TestBrier:
    def test_by_hand(self):
        # means 0 and 1, variances 1 and 0: chance that the second is better is Phi(1)
        scores, stderrs, chance = np.array([0.0, 1.0]), np.array([1.0, 0.0]), stats.norm.cdf(1.0)
        assert pair_rank_brier(scores, stderrs, np.array([3.0, 5.0])) == pytest.approx((1 - chance) ** 2)
        assert pair_rank_brier(scores, stderrs, np.array([5.0, 3.0])) == pytest.approx(chance**2)

    def test_certain_forecasts(self):
        scores, certain = np.array([1.0, 2.0, 3.0]), np.zeros(3)
        assert pair_rank_brier(scores, certain, np.array([1.0, 2, 3])) == 0.0
        assert pair_rank_brier(scores, certain, np.array([3.0, 2, 1])) == 1.0
        assert pair_rank_brier(np.ones(3), certain, np.array([1.0, 2, 3])) == 0.25

    def test_scikit_learn(self):
        rng = np.random.default_rng(4)
        scores, stderrs, truth = rng.normal(size=6), rng.uniform(0.1, 1, 6), rng.normal(size=6)
        forecasts, labels = [], []
        for i in range(6):
            for j in range(i + 1, 6):
                forecasts.append(stats.norm(scores[i] - scores[j], math.hypot(stderrs[i], stderrs[j])).cdf(0))
                labels.append(int(truth[i] < truth[j]))
        assert pair_rank_brier(scores, stderrs, truth) == pytest.approx(brier_score_loss(labels, forecasts))

    @pytest.mark.parametrize(("stderrs", "truth"), [(np.ones(3), np.array([1.0, 2])), (-np.ones(3), np.arange(3.0))])
    def test_wrong_input_is_refused(self, stderrs, truth):
        with pytest.raises(StatisticsError, match="standard errors"):
            pair_rank_brier(np.ones(3), stderrs, truth)


class TestCorrelations:
    def test_by_hand(self):
        # ranks 1..5 against 2 1 4 3 5: squared differences sum to 4, so 1 - 6*4/120; two discordant pairs of ten
        x, y = np.arange(5.0), np.array([2.0, 1, 4, 3, 5])
        assert spearman(x, y).value == pytest.approx(0.8)
        assert kendall(x, y).value == pytest.approx(0.6)

    def test_fisher_limits_by_hand(self):
        x, y = np.arange(5.0), np.array([2.0, 1, 4, 3, 5])
        found = spearman(x, y)
        stderr = math.sqrt((1 + 0.64 / 2) / 2)
        assert found.ci_high == pytest.approx(math.tanh(math.atanh(0.8) + stats.norm.ppf(0.975) * stderr))
        other = kendall(x, y, level=0.9)
        assert other.ci_low == pytest.approx(math.tanh(math.atanh(0.6) - stats.norm.ppf(0.95) * math.sqrt(0.437)))

    def test_scipy_with_ties(self):
        rng = np.random.default_rng(5)
        x, y = rng.integers(0, 6, 30).astype(float), rng.integers(0, 6, 30).astype(float)
        assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
        assert kendall(x, y).value == pytest.approx(stats.kendalltau(x, y).statistic)

    @pytest.mark.parametrize(
        ("measure", "truth"),
        [(spearman, 6 / math.pi * math.asin(0.7 / 2)), (kendall, 2 / math.pi * math.asin(0.7))],
    )
    def test_coverage_for_a_bivariate_normal(self, measure, truth):
        """Population values of a normal pair with correlation 0.7 (Kruskal 1958)."""
        rng = np.random.default_rng(8)
        n_rounds, covered = 600, 0
        for _ in range(n_rounds):
            x, e = rng.standard_normal((2, 40))
            found = measure(x, 0.7 * x + math.sqrt(1 - 0.49) * e)
            covered += found.ci_low <= truth <= found.ci_high
        assert covered / n_rounds == pytest.approx(0.95, abs=0.03)

    @pytest.mark.parametrize("measure", [spearman, kendall])
    def test_no_interval_is_a_reason(self, measure):
        perfect = measure(np.arange(9.0), np.arange(9.0))
        assert (perfect.value, perfect.ci_low) == (pytest.approx(1.0), None)
        assert "perfect" in perfect.note
        few = measure(np.arange(4.0), np.array([1.0, 0, 2, 3]))
        assert few.ci_low is None
        assert "4 models" in few.note

    @pytest.mark.parametrize("measure", [spearman, kendall])
    @pytest.mark.parametrize(
        ("x", "y"),
        [([1.0, 2], [1.0, 2]), ([1.0, 2, 3], [1.0, 2]), ([1.0, 1, 1], [1.0, 2, 3]), ([1.0, math.nan, 3], [1.0, 2, 3])],
    )
    def test_wrong_input_is_refused(self, measure, x, y):
        with pytest.raises(StatisticsError):
            measure(np.array(x), np.array(y))
