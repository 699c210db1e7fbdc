"""Five-way win rates: by hand, against scikit-learn and statsmodels, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression

from benchmarks.arena_hard.five_way import win_rate
from benchmarks.arena_hard.published_arena import published_v01, published_v2, rate_from_elo
from harness.errors import StatisticsError
from harness.stats.bounded_interval import confidence_below
from harness.stats.bradley_terry import compare, elo_ratings, fit_bradley_terry
from harness.stats.rate_interval import RateSample, informative_degrees_of_freedom, rate_interval
from tests.support.arena_battles import Battle, resampled_win_rates, tabulate, win_rates

VERDICTS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")


def simulated_verdicts(rng, n_prompts, strength, spread, model="m"):
    """Two games a prompt around a common prompt effect; a verdict is cut from a normal latent."""
    latent = strength + spread * rng.standard_normal(n_prompts)[:, None] + rng.standard_normal((n_prompts, 2))
    grade = np.digitize(latent, [-1.5, -0.3, 0.3, 1.5])  # 0 lost badly .. 4 won clearly
    second = np.array(["A>>B", "A>B", "A=B", "B>A", "B>>A"])  # the model is B
    first = second[::-1]
    return [Battle(model, i, (str(second[a]), str(first[b]))) for i, (a, b) in enumerate(grade)]


def exploded(table, row=0):
    """Verdict rows of one model, a decisive verdict three times: scores and prompts."""
    scores, prompts = [], []
    for column in range(len(table.prompts)):
        # a pair's weight and wins determine its rows up to order, except ties: keep them as halves
        weight, won = int(table.weight[row, column]), table.won[row, column]
        halves = round(2 * (won % 1))
        scores += [0.5] * halves + [1.0] * int(won - 0.5 * halves)
        scores += [0.0] * (weight - halves - int(won - 0.5 * halves))
        prompts += [column] * weight
    return np.array(scores), np.array(prompts)


class TestWinRate:
    def test_by_hand(self):
        # prompts with (won, weight) = (3, 4), (1, 2), (0, 2): rate 4/8; residuals 1, 0, -1; variance (2/64) * 3/2
        scores, weights = [1.0, 0.0, 0.5, 0.5, 0.0, 0.0], [3, 1, 1, 1, 1, 1]
        found = win_rate(scores, weights, ["p", "p", "q", "q", "r", "r"])
        assert found.value == pytest.approx(50.0)
        assert found.stderr == pytest.approx(100 * math.sqrt(2 / 64 * 3 / 2))
        # prompts win 3 of 4, 1 of 2 and 0 of 2; a fourth of weight 8 / 3 is won or lost
        draws = np.random.default_rng(0).exponential(size=(200_000, 4)) * [4, 2, 2, 8 / 3]
        end = (np.arange(200_000) % 2).astype(float)
        means = (draws @ [0.75, 0.5, 0.0, 0.0] + draws[:, 3] * end) / draws.sum(axis=1)
        assert np.mean(100 * means <= found.ci_low) == pytest.approx(0.025, abs=0.002)
        assert (found.n, found.n_clusters) == (6, 3)

    def test_standard_error_is_that_of_statsmodels_with_clusters(self):
        table = tabulate(simulated_verdicts(np.random.default_rng(3), 80, 0.4, 1.0))
        scores, prompts = exploded(table)
        fit = sm.OLS(scores, np.ones_like(scores)).fit(cov_type="cluster", cov_kwds={"groups": prompts})
        found = win_rates(table)["m"]
        assert found.value == pytest.approx(100 * fit.params[0], abs=1e-9)
        assert found.stderr == pytest.approx(100 * fit.bse[0], rel=1e-9)

    def test_standard_error_is_that_of_the_prompt_bootstrap(self):
        rng = np.random.default_rng(4)
        table = tabulate(simulated_verdicts(rng, 300, -0.5, 1.0))
        draws = resampled_win_rates(table, rng, 4000)
        # a standard deviation of 4,000 draws has a relative error of 1 / sqrt(8000) = 1.1 %
        assert draws.std() == pytest.approx(win_rates(table)["m"].stderr, rel=0.045)

    def test_rows_in_any_order_and_split_give_the_same(self):
        one = win_rate([1.0, 0.0, 0.5], [3, 1, 1], ["a", "b", "a"])
        other = win_rate([0.5, 1.0, 1.0, 1.0, 0.0], [1, 1, 1, 1, 1], ["a", "a", "a", "a", "b"])
        assert other.value == pytest.approx(one.value)
        assert other.stderr == pytest.approx(one.stderr)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(VERDICTS), st.sampled_from(VERDICTS)), min_size=2, max_size=40))
    def test_interval_holds_the_estimate_and_mirrors(self, games):
        table = tabulate([Battle("m", i, pair) for i, pair in enumerate(games)])
        mirrored = tabulate([Battle("m", i, (pair[1], pair[0])) for i, pair in enumerate(games)])
        found, other = win_rates(table)["m"], win_rates(mirrored)["m"]
        assert other.value == pytest.approx(100 - found.value)
        assert 0 <= found.ci_low <= found.value <= found.ci_high <= 100
        assert other.ci_low == pytest.approx(100 - found.ci_high, abs=1e-7)

    def test_all_lost_has_the_exact_limit(self):
        found = win_rate([0.0] * 100, [3] * 100, list(range(100)))
        exact = stats.binomtest(0, 100).proportion_ci(0.95, method="exact")
        assert (found.value, found.ci_low) == (0.0, 0.0)
        assert found.ci_high == pytest.approx(100 * exact.high)
        won = win_rate([1.0] * 100, [3] * 100, list(range(100)))
        assert won.ci_low == pytest.approx(100 - found.ci_high)
        assert won.ci_high == 100.0

    def test_all_ties_leave_doubt(self):
        found = win_rate([0.5] * 40, [1] * 40, list(range(40)))
        assert (found.value, found.stderr) == (50.0, 0.0)
        assert 40.0 < found.ci_low < 50.0 < found.ci_high < 60.0

    @pytest.mark.parametrize(
        ("scores", "weights", "clusters", "message"),
        [
            ([1.0], [1], ["a"], "at least 2 prompts"),
            ([1.0, 2.0], [1, 1], ["a", "b"], "outside the scale"),
            ([1.0, math.nan], [1, 1], ["a", "b"], "NaN"),
            ([1.0, 0.0], [1, 0], ["a", "b"], "weight of zero"),
            ([1.0, 0.0], [1], ["a", "b"], "one weight a score"),
            ([1.0, 0.0], [1, 1], ["a"], "cluster"),
            ([], [], [], "no scores"),
        ],
    )
    def test_wrong_input_is_refused(self, scores, weights, clusters, message):
        with pytest.raises(StatisticsError, match=message):
            win_rate(scores, weights, clusters)

    def test_level_outside_zero_to_one_is_refused(self):
        with pytest.raises(StatisticsError, match="level is 95"):
            win_rate([1.0, 0.0], [1, 1], ["a", "b"], level=95)

    @pytest.mark.parametrize("strength", [0.0, -2.2])
    def test_coverage(self, strength):
        rng = np.random.default_rng(11)
        population = tabulate(simulated_verdicts(rng, 200_000, strength, 1.0))
        truth = 100 * population.won.sum() / population.weight.sum()
        n_rounds, ours, published = 500, 0, 0
        for _ in range(n_rounds):
            chosen = rng.integers(200_000, size=200)
            won, weight = population.won[0, chosen], population.weight[0, chosen]
            ours += 0.025 <= confidence_below(won, weight, truth / 100) <= 0.975
            ties = 2 * (won % 1)
            rows = np.array([(won - ties / 2).sum(), ties.sum(), (weight - won - ties / 2).sum()]).round().astype(int)
            interval = published_v2(rows, rng)
            published += interval.ci_low <= truth <= interval.ci_high
        # three Monte-Carlo standard errors of 0.95 at 500 rounds are 2.9 points
        assert 0.95 - 0.03 <= ours / n_rounds <= 0.95 + 0.03
        assert published / n_rounds < 0.80  # nominal 0.90


class TestDegreesOfFreedom:
    def test_by_hand(self):
        # values -1, 1 in equal numbers have kurtosis 1: as many degrees as can be
        assert informative_degrees_of_freedom(np.array([1.0, -1.0, 1.0, -1.0])) == 3.0
        # one of ten stands out: with p = 0.1, kurtosis 1 / (p (1 - p)) - 3 = 8.11, so 2 * 10 / 7.11
        assert informative_degrees_of_freedom(np.array([1.0] + [0.0] * 9)) == pytest.approx(20 / (1 / 0.09 - 4))

    def test_normal_influence_loses_next_to_nothing(self):
        degrees = informative_degrees_of_freedom(np.random.default_rng(0).standard_normal(5000))
        assert degrees == pytest.approx(4999, rel=0.15)

    def test_fitted_parameters_cost_degrees_of_freedom_and_width(self):
        influence = np.random.default_rng(0).standard_normal(30) / 300
        assert informative_degrees_of_freedom(np.array([1.0, -1.0] * 5), 4) == 6.0
        one, five = (rate_interval(RateSample(0.5, influence, 30, p)) for p in (1, 5))
        assert one.stderr == five.stderr
        quantiles = [stats.t.ppf(0.975, informative_degrees_of_freedom(influence, p)) for p in (1, 5)]
        reach = [np.log(found.ci_high / (100 - found.ci_high)) for found in (one, five)]
        assert reach[1] / reach[0] == pytest.approx(quantiles[1] / quantiles[0] * math.sqrt(29 / 25))

    def test_wrong_rates_are_refused(self):
        with pytest.raises(StatisticsError, match="between 0 and 1"):
            rate_interval(RateSample(1.5, np.array([0.1, -0.1]), 2))


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(8)
    battles = []
    for name, strength in (("weak", -1.0), ("even", 0.1), ("strong", 0.8)):
        battles += simulated_verdicts(rng, 60, strength, 0.7, model=name)
    return tabulate(battles)


class TestBradleyTerryIsTheWeightedShare:
    """Version 0.1's joint fit of several models equals each model's weighted share when all play only the baseline."""

    def upstream_design(self, table):
        """Rows twice, a tie as one win and one loss, +-log 10 in the columns: the baseline is A."""
        rows, targets = [], []
        for model, (won, tied, lost) in enumerate(table.outcomes):
            x = np.zeros(len(table.models) + 1)
            x[-1], x[model] = math.log(10), -math.log(10)
            rows += [x] * 2 * (won + tied + lost)
            targets += [0] * 2 * won + [1, 0] * tied + [1] * 2 * lost
        return np.array(rows), np.array(targets)

    def test_scikit_learn_as_upstream_calls_it(self, table):
        design, target = self.upstream_design(table)
        fit = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-8, max_iter=1000).fit(design, target)
        elo = 400 * (fit.coef_[0][:-1] - fit.coef_[0][-1])
        for model, rating in zip(table.models, elo, strict=True):
            estimate = win_rates(table)[model]
            assert 100 * rate_from_elo(rating) == pytest.approx(estimate.value, abs=2e-3)

    def test_ratings_left_to_float_keep_their_mean(self, table):
        design, target = self.upstream_design(table)
        fit = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-8, max_iter=1000).fit(design, target)
        assert fit.coef_[0].sum() == pytest.approx(0.0, abs=1e-6)

    def test_our_joint_fit(self, table):
        scores, weights, models, prompts = [], [], [], []
        for row, model in enumerate(table.models):
            for column in range(len(table.prompts)):
                won, weight = table.won[row, column], table.weight[row, column]
                scores.append(won / weight)
                weights.append(weight)
                models.append(model)
                prompts.append(column)
        data = compare(models, ["base"] * len(models), scores, weights, prompts)
        ratings = elo_ratings(fit_bradley_terry(data), anchor=data.models.index("base"))
        for model in table.models:
            rating = ratings[data.models.index(model)]
            assert 100 * rate_from_elo(rating - 1000) == pytest.approx(win_rates(table)[model].value, abs=1e-8)


class TestPublished:
    def test_v2_is_the_row_bootstrap(self):
        rng = np.random.default_rng(5)
        rows = np.repeat([1.0, 0.5, 0.0], [60, 15, 125])
        loop = np.array([rng.choice(rows, rows.size).mean() for _ in range(4000)])
        found = published_v2(np.array([60, 15, 125]), rng, 4000)
        assert found.score == pytest.approx(33.75, abs=0.25)  # standard error 3.3 / sqrt(4000) = 0.05
        # a 5th percentile of 4,000 draws has standard error 3.3 * 0.0335 = 0.11
        assert found.ci_low == pytest.approx(100 * np.percentile(loop, 5), abs=0.6)
        assert found.ci_high == pytest.approx(100 * np.percentile(loop, 95), abs=0.6)
        assert found.level == 0.90

    def test_v01_pinned_is_the_joint_row_bootstrap(self):
        rng = np.random.default_rng(6)
        outcomes = np.array([[60, 15, 125], [150, 10, 60]])
        owner = np.repeat([0, 0, 0, 1, 1, 1], outcomes.ravel())
        score = np.repeat([1, 0.5, 0, 1, 0.5, 0], outcomes.ravel())
        loop = []
        for _ in range(3000):
            drawn = rng.integers(owner.size, size=owner.size)
            loop.append([score[drawn][owner[drawn] == k].mean() for k in (0, 1)])
        found = published_v01(("x", "y"), outcomes, "gpt-4-0314", rng, 3000)
        for k, name in enumerate(("x", "y")):
            low, high = np.percentile(np.array(loop)[:, k], [2.5, 97.5])
            assert found[name].score == round(100 * float(outcomes[k] @ [1, 0.5, 0]) / outcomes[k].sum(), 2)
            assert found[name].ci_low == pytest.approx(100 * low, abs=0.7)
            assert found[name].ci_high == pytest.approx(100 * high, abs=0.7)

    def test_v01_not_pinned_compares_percentiles_of_both_ratings(self):
        # with equal models the floating baseline moves against them, so the published interval comes out narrower
        outcomes = np.array([[100, 0, 100]] * 3)
        free = published_v01(("x", "y", "z"), outcomes, "other", np.random.default_rng(7), 4000)["x"]
        pinned = published_v01(("x", "y", "z"), outcomes, "gpt-4-0314", np.random.default_rng(7), 4000)["x"]
        assert free.score == pinned.score == 50.0
        assert free.ci_high - free.ci_low < 0.75 * (pinned.ci_high - pinned.ci_low)

    def test_v01_rows_of_the_baseline_against_itself_fix_its_rating(self):
        # P(baseline's rating as A wins) = 40 % means a log-odds of log(60 / 40) for the lone entry of those rows
        outcomes = np.array([[100, 0, 100], [120, 0, 80]])
        design = np.array([[-math.log(10), math.log(10)]] * 200 + [[0, -math.log(10)]] * 200)
        target = np.repeat([0, 1, 0, 1], [100, 100, 120, 80])
        fit = LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=1000).fit(design, target)
        base_elo = 400 * fit.coef_[0][1]
        assert base_elo == pytest.approx(400 * math.log10(0.6 / 0.4), abs=0.01)
        draws = published_v01(("x", "base"), outcomes, "base", np.random.default_rng(9), 2000)
        assert set(draws) == {"x"}
        # both ratings share the baseline's error, so the interval is about the model's own
        assert draws["x"].ci_low < 50 < draws["x"].ci_high

    def test_a_model_that_won_everything_is_100_throughout(self):
        found = published_v01(("x",), np.array([[50, 0, 0]]), "gpt-4-0314", np.random.default_rng(0))["x"]
        assert (found.score, found.ci_low, found.ci_high) == (100.0, 100.0, 100.0)

    def test_infinite_and_finite_replicates_are_not_nan(self):
        found = published_v01(("x",), np.array([[2, 0, 60]]), "gpt-4-0314", np.random.default_rng(0), 1000)["x"]
        assert found.ci_low == 0.0
        assert 3 < found.ci_high < 15

    def test_floating_ratings_with_an_infinite_one_are_refused(self):
        with pytest.raises(StatisticsError, match="float with their mean"):
            published_v01(("x", "y"), np.array([[50, 0, 0], [5, 0, 5]]), "b", np.random.default_rng(0))

    @pytest.mark.parametrize(
        "outcomes", [np.array([1.0, 0, 1]), np.array([0, 0, 0]), np.array([-1, 0, 5]), np.array([1, 2])]
    )
    def test_wrong_counts_are_refused(self, outcomes):
        with pytest.raises(StatisticsError):
            published_v2(outcomes, np.random.default_rng(0))

    def test_wrong_calls_are_refused(self):
        rng = np.random.default_rng(0)
        with pytest.raises(StatisticsError, match="rounds"):
            published_v2(np.array([1, 1, 1]), rng, 0)
        with pytest.raises(StatisticsError, match="nobody plays"):
            published_v01(("b",), np.array([[1, 1, 1]]), "b", rng)
        with pytest.raises(StatisticsError, match="one row a model"):
            published_v01(("a", "b"), np.array([[1, 1, 1]]), "b", rng)

    @pytest.mark.parametrize("rate", [0.001, 0.31, 0.5, 0.999])
    def test_elo_and_back(self, rate):
        assert rate_from_elo(400 * math.log10(rate / (1 - rate))) == pytest.approx(rate)

    def test_elo_by_hand(self):
        assert rate_from_elo(400.0) == pytest.approx(10 / 11)
        assert rate_from_elo(-math.inf) == 0.0
        assert rate_from_elo(math.inf) == 1.0
