"""Variance components: by hand, against statsmodels' REML, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from harness.errors import StatisticsError
from harness.stats.estimate import Estimate
from harness.stats.variance_components import session_variance, variance_components, with_session


def nested(sizes, sds, rng):
    """Values of `sizes` = (prompts, answers, judgments) with these standard deviations."""
    a, b, c = sizes
    prompt, answer = rng.normal(0, sds[0], (a, 1, 1)), rng.normal(0, sds[1], (a, b, 1))
    return 50.0 + prompt + answer + rng.normal(0, sds[2], (a, b, c))


class TestVarianceComponents:
    def test_by_hand(self):
        """Two prompts, two answers each, two judgments each.

        Judge: four answers with a squared deviation of 2 each (4 and 6 around 5: 2), mean square 8 / 4 = 2. Answers:
        means 5, 9 and 15, 19, mean square 2 (4 + 4) 2 / 2 = 16, so (16 - 2) / 2 = 7. Prompts: means 7, 17, mean
        square 4 (25 + 25) = 200, so (200 - 16) / 4 = 46.
        """
        values = [[[4, 6], [8, 10]], [[14, 16], [18, 20]]]
        found = variance_components(values, np.random.default_rng(0))
        assert [c.variance for c in found.components] == pytest.approx([46.0, 7.0, 2.0])
        assert [c.share.value for c in found.components] == pytest.approx([46 / 55, 7 / 55, 2 / 55])
        assert (found.n_prompts, found.n_answers, found.n_values) == (2, 4, 8)

    def test_balanced_designs_are_statsmodels_reml(self):
        values = nested((60, 3, 4), (8.0, 5.0, 6.0), np.random.default_rng(1))
        found = variance_components(values.tolist(), np.random.default_rng(0))
        a, b, c = values.shape
        prompts, answers = np.repeat(np.arange(a), b * c), np.repeat(np.arange(a * b), c)
        model = MixedLM(
            values.ravel(),
            np.ones((values.size, 1)),
            prompts,
            exog_vc={"answer": {i: np.kron(np.eye(b), np.ones((c, 1))) for i in range(a)}},
            exog_re=np.ones((values.size, 1)),
        )
        assert len(set(answers)) == a * b
        reml = model.fit(reml=True)
        expected = [float(reml.cov_re[0, 0]), float(reml.vcomp[0]), float(reml.scale)]
        assert [c.variance for c in found.components] == pytest.approx(expected, rel=2e-3)

    def test_unbalanced_designs_are_unbiased(self):
        """Means over 400 simulations of sizes 1 to 4; Monte-Carlo error about 2 %."""
        rng = np.random.default_rng(2)
        sizes = [[int(rng.integers(1, 5)) for _ in range(int(rng.integers(1, 4)))] for _ in range(40)]
        found = []
        for _ in range(400):
            values = []
            for answers in sizes:
                prompt = rng.normal(0, 4)
                values.append([(prompt + rng.normal(0, 3) + rng.normal(0, 2, k)).tolist() for k in answers])
            found.append([c.variance for c in variance_components(values, rng).components])
        assert np.mean(found, axis=0) == pytest.approx([16.0, 9.0, 4.0], rel=0.07)

    def test_skewed_values_and_the_coverage_of_shares(self):
        """Win rates near 0, judged three times: the judge's share; 200 simulations, Monte-Carlo error 1.5 points."""
        rng, hits, n_rounds = np.random.default_rng(3), 0, 200
        big = rng.beta(0.3, 3.0, 200_000)
        between, within = big.var(), (big * (1 - big)).mean()
        truth = within / (between + within)
        for _ in range(n_rounds):
            p = rng.beta(0.3, 3.0, 150)
            values = (rng.random((150, 1, 3)) < p[:, None, None]).astype(float)
            share = variance_components(values.tolist(), rng).judge.share
            hits += share.ci_low <= truth <= share.ci_high
        assert hits / n_rounds >= 0.90

    def test_levels_without_repeats_have_a_reason(self):
        values = np.random.default_rng(4).normal(size=(30, 1, 1))
        found = variance_components(values.tolist(), np.random.default_rng(0))
        assert found.prompt.variance == pytest.approx(values.var(ddof=1))
        assert found.answer.reason == "one answer per prompt"
        assert found.judge.reason == "one verdict per answer"
        assert found.judge.variance is None
        two = variance_components(
            nested((30, 1, 4), (2, 0, 3), np.random.default_rng(5)).tolist(), np.random.default_rng(0)
        )
        assert two.answer.variance is None
        assert two.judge.variance == pytest.approx(9.0, rel=0.4)

    def test_no_spread_at_all(self):
        found = variance_components([[[1.0, 1.0]], [[1.0, 1.0]]], np.random.default_rng(0))
        assert (found.prompt.variance, found.judge.variance) == (0.0, 0.0)

    @pytest.mark.parametrize("values", [[], [[[1.0]]], [[[1.0]], [[]]], [[[1.0]], [[math.nan]]]])
    def test_wrong_input_is_refused(self, values):
        with pytest.raises(StatisticsError):
            variance_components(values, np.random.default_rng(0))


class TestSessionVariance:
    def test_by_hand(self):
        """Two prompts, the second session 4 higher, exactly additive: MS(session) 16, rest 0, s^2 = 16 / 2."""
        found = session_variance([[1.0, 5.0], [3.0, 7.0]])
        assert found.variance == pytest.approx(8.0)
        assert found.stderr == pytest.approx((2.0 / 2 + 8.0) ** 0.5)

    def test_sessions_that_do_not_differ(self):
        values = np.random.default_rng(0).normal(size=(50, 1)) + np.zeros((1, 3))
        found = session_variance(values)
        assert found.variance == pytest.approx(0.0, abs=1e-12)
        assert found.stderr == pytest.approx(values[:, 0].std(ddof=1) / 50**0.5)
        assert found.df == pytest.approx(49.0)

    def test_the_rest_is_a_two_way_analysis_of_variance(self):
        """The mean squares are those of an ordinary least-squares fit with dummies."""
        rng = np.random.default_rng(1)
        table = rng.normal(size=(20, 1)) * 3 + rng.normal(size=(1, 4)) * 2 + rng.normal(size=(20, 4))
        x = np.hstack([np.kron(np.eye(20), np.ones((4, 1))), np.tile(np.eye(4)[:, 1:], (20, 1))])
        residual = table.ravel() - x @ np.linalg.lstsq(x, table.ravel(), rcond=None)[0]
        within = residual @ residual / (19 * 3)
        between = 20 * table.mean(axis=0).var(ddof=1)
        assert session_variance(table).variance == pytest.approx((between - within) / 20)

    def test_the_interval_covers_the_shift(self):
        """Four sessions with a shift of 2 points beside prompts' standard error of 1; Monte-Carlo error 1.3 points."""
        rng, plain, hits, n_rounds = np.random.default_rng(2), 0, 0, 300
        for _ in range(n_rounds):
            table = rng.normal(0, 10, (100, 1)) + rng.normal(0, 2, (1, 4)) + rng.normal(0, 5, (100, 4))
            mean, stderr = table[:, 0].mean(), table[:, 0].std(ddof=1) / 10
            half = stats.t.ppf(0.975, 99) * stderr
            estimate = Estimate(mean, stderr, mean - half, mean + half, 0.95, "mean", 100, 100)
            wide = with_session(estimate, session_variance(table))
            plain += abs(mean) <= half
            hits += wide.ci_low <= 0.0 <= wide.ci_high
        assert plain / n_rounds < 0.8
        assert hits / n_rounds >= 0.91

    @pytest.mark.parametrize("values", [np.ones((1, 2)), np.ones((3, 1)), np.full((3, 2), np.nan)])
    def test_wrong_input_is_refused(self, values):
        with pytest.raises(StatisticsError):
            session_variance(values)
