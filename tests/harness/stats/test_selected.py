"""The best of several candidates: by hand, against a second implementation, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.selected import selected_effect, selection_level, simultaneous_interval
from harness.stats.variance_df import variance_df


def normal_columns(means, n, rng, shared=0.0):
    """Differences of candidates: normal with these means, and a part that all share."""
    return np.asarray(means) + rng.normal(size=(n, len(means))) + shared * rng.normal(size=(n, 1))


class TestSelectedEffect:
    def test_one_candidate_needs_no_correction(self):
        values = np.random.default_rng(0).normal(1.0, 2.0, (40, 1))
        found = selected_effect(values)
        reference = stats.ttest_1samp(values[:, 0], 0.0)
        assert found.corrected == found.raw
        assert found.raw.value == pytest.approx(values.mean())
        assert found.raw.value / found.raw.stderr == pytest.approx(reference.statistic)

    def test_a_clear_winner_keeps_its_estimate(self):
        values = normal_columns([0.0, 0.1, 9.0], 400, np.random.default_rng(1))
        found = selected_effect(values)
        assert found.selected == 2
        assert found.corrected.value == pytest.approx(found.raw.value, abs=0.05 * found.raw.stderr)
        assert found.corrected.ci_low == pytest.approx(found.raw.ci_low, abs=0.2 * found.raw.stderr)

    def test_a_narrow_winner_is_pulled_down(self):
        values = normal_columns([0.0] * 5, 400, np.random.default_rng(2))
        found = selected_effect(values)
        assert found.corrected.value < found.raw.value
        assert found.corrected.ci_low < found.raw.ci_low
        assert found.corrected.ci_low <= found.corrected.value <= found.corrected.ci_high

    def test_the_same_by_truncated_normals_on_a_grid(self):
        """A second implementation: scipy's truncated normal over a grid of true effects."""
        values = normal_columns([0.1, 0.0, -0.05, 0.12], 300, np.random.default_rng(3), shared=0.7)
        level, alpha, beta = 0.9, 0.1, 0.01
        found = selected_effect(values, level)
        best, n = found.selected, len(values)
        mean, covariance = values.mean(axis=0), np.cov(values, rowvar=False) / n
        wider = stats.t.isf(alpha / 2, variance_df(values[:, best])) / stats.norm.isf(alpha / 2)
        sd = math.sqrt(covariance[best, best]) * wider
        # How low the best mean could have been: where the first other candidate, moved along with it, draws level.
        low = -math.inf
        for other in set(range(4)) - {best}:
            slope = covariance[other, best] / covariance[best, best]
            assert slope < 1
            low = max(low, (mean[other] - slope * mean[best]) / (1 - slope))
        rng = np.random.default_rng(4)
        scaled = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        largest = np.abs(rng.multivariate_normal(np.zeros(4), scaled, 400_000)).max(axis=1)
        reach = stats.t.isf(stats.norm.sf(np.quantile(largest, 1 - beta)), variance_df(values[:, best])) / wider
        effects = np.linspace(mean[best] - reach * sd, mean[best] + reach * sd, 20_001)[1:-1]
        start = np.maximum((low - effects) / sd, -reach)
        share = stats.truncnorm.cdf((mean[best] - effects) / sd, start, reach)
        tail = (alpha - beta) / (1 - beta) / 2
        assert np.all(np.diff(share) <= 1e-9)
        inside = effects[(share >= tail) & (share <= 1 - tail)]
        middle = effects[np.argmin(np.abs(share - 0.5))]
        assert found.corrected.value == pytest.approx(middle, abs=0.02 * sd)
        assert found.corrected.ci_low == pytest.approx(inside.min(), abs=0.03 * sd)
        assert found.corrected.ci_high == pytest.approx(inside.max(), abs=0.03 * sd)

    def test_coverage_and_median_of_equal_candidates(self):
        """Five equal candidates, the hardest case for the raw interval; Monte-Carlo error 1.1 and 2.5 points."""
        rng, n_rounds = np.random.default_rng(5), 400
        raw_hits, hits, above = 0, 0, 0
        for _ in range(n_rounds):
            found = selected_effect(normal_columns([0.0] * 5, 60, rng))
            raw_hits += found.raw.ci_low <= 0.0 <= found.raw.ci_high
            hits += found.corrected.ci_low <= 0.0 <= found.corrected.ci_high
            above += found.corrected.value > 0.0
        assert raw_hits / n_rounds < 0.93
        assert 0.92 <= hits / n_rounds <= 0.98
        assert 0.42 <= above / n_rounds <= 0.58

    def test_a_tie_has_the_simultaneous_interval(self):
        values = np.random.default_rng(6).normal(size=(50, 1))
        both = np.hstack([values, values[::-1]])
        found = selected_effect(both)
        wide = simultaneous_interval(both, found.selected)
        assert "same mean" in found.corrected.note
        assert (found.corrected.ci_low, found.corrected.ci_high) == (wide.ci_low, wide.ci_high)

    def test_the_baseline_among_the_candidates(self):
        """The baseline's own column is zero: a candidate was chosen because its mean is above zero."""
        values = normal_columns([0.02], 100, np.random.default_rng(8))
        values -= values.mean() - 0.05
        alone, among = selected_effect(values), selected_effect(np.hstack([np.zeros_like(values), values]))
        assert among.selected == 1
        assert among.corrected.value < alone.corrected.value
        worse = selected_effect(np.hstack([np.zeros_like(values), values - 5.0]))
        assert (worse.selected, worse.corrected.value, worse.corrected.stderr) == (0, 0.0, 0.0)

    @pytest.mark.parametrize("values", [np.ones((1, 2)), np.ones(5), np.ones((5, 0)), np.full((5, 2), np.nan)])
    def test_wrong_input_is_refused(self, values):
        with pytest.raises(StatisticsError):
            selected_effect(values)


class TestSimultaneousInterval:
    def test_two_independent_candidates_by_hand(self):
        """P(|Z1| <= c)^2 = 0.95 for c = 2.2365; with many prompts Student's t is normal."""
        values = normal_columns([0.0, 3.0], 20_000, np.random.default_rng(9))
        found = simultaneous_interval(values, 1)
        assert (found.ci_high - found.value) / found.stderr == pytest.approx(
            stats.norm.isf((1 - math.sqrt(0.95)) / 2), abs=0.03
        )

    def test_holds_for_a_rule_that_looks_at_the_decision(self):
        """The candidate with the most significant effect, which is not the one with the best mean."""
        rng, n_rounds, hits = np.random.default_rng(10), 300, 0
        for _ in range(n_rounds):
            values = normal_columns([0.0] * 6, 80, rng) * np.array([1, 1, 2, 2, 4, 4])
            chosen = int((values.mean(axis=0) / values.std(axis=0)).argmax())
            found = simultaneous_interval(values, chosen)
            hits += found.ci_low <= 0.0 <= found.ci_high
        assert hits / n_rounds >= 0.95 - 0.03

    def test_no_such_candidate(self):
        with pytest.raises(StatisticsError, match="candidate 2 of 2"):
            simultaneous_interval(np.random.default_rng(0).normal(size=(9, 2)), 2)


class TestSelectionLevel:
    def test_independent_candidates_by_hand(self):
        """P(all of T below) = (1 - a)^T."""
        values = np.random.default_rng(11).normal(size=(100_000, 4))
        assert selection_level(values, 0.05) == pytest.approx(1 - 0.95**0.25, rel=0.05)

    def test_the_same_candidate_twice_counts_once(self):
        values = np.random.default_rng(12).normal(size=(100, 1))
        assert selection_level(np.hstack([values, values]), 0.05) == pytest.approx(0.05, rel=0.05)
        assert selection_level(values, 0.05) == 0.05
        assert selection_level(np.hstack([values, np.zeros_like(values)]), 0.05) == 0.05

    def test_never_below_bonferroni(self):
        values = np.random.default_rng(13).normal(size=(50, 6))
        assert 0.05 / 6 <= selection_level(values, 0.05) <= 0.05

    def test_between_by_quadrature(self):
        """Equal correlations of one half: P(max <= c) = E[Phi((c - sqrt(r) U) / sqrt(1 - r))^T], Gauss-Hermite."""
        rng, t = np.random.default_rng(14), 5
        values = rng.normal(size=(200_000, t)) + rng.normal(size=(200_000, 1))
        nodes, weights = np.polynomial.hermite_e.hermegauss(80)
        weights = weights / weights.sum()
        level = selection_level(values, 0.05)
        c = stats.norm.isf(level)
        inside = (weights * stats.norm.cdf((c - math.sqrt(0.5) * nodes) / math.sqrt(0.5)) ** t).sum()
        assert 1 - inside == pytest.approx(0.05, abs=0.003)
