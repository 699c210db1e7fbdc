"""Bradley-Terry: by hand, against scikit-learn, statsmodels and the MM iteration, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from harness.errors import StatisticsError
from harness.stats.bootstrap import expanded_tails
from harness.stats.bradley_terry import bootstrap_bradley_terry, compare, elo_ratings, fit_bradley_terry

RIDGE = 0.5


def from_wins(models, wins):
    """Comparisons that add up to a table of wins, each on a prompt of its own."""
    wins = np.asarray(wins, dtype=float)
    cells = [(i, j) for i, j in np.ndindex(wins.shape) if wins[i, j]]
    first, second = ([models[cell[side]] for cell in cells] for side in (0, 1))
    return compare(first, second, np.ones(len(cells)), [wins[cell] for cell in cells], range(len(cells)))


def simulated(rng, n_prompts, strengths, spread=0.0, n_each=6):
    """Random pairs on each prompt; the prompt moves every model's strength on it by a common amount each."""
    names = [f"m{i}" for i in range(len(strengths))]
    first, second, scores, weights, prompts = [], [], [], [], []
    for prompt in range(n_prompts):
        on_prompt = np.asarray(strengths) + spread * rng.standard_normal(len(strengths))
        for _ in range(n_each):
            i, j = rng.choice(len(strengths), 2, replace=False)
            chance = 1 / (1 + math.exp(on_prompt[j] - on_prompt[i]))
            first.append(names[i])
            second.append(names[j])
            scores.append(0.5 if rng.random() < 0.1 else float(rng.random() < chance))
            weights.append(int(rng.choice([1, 3])))
            prompts.append(prompt)
    return first, second, scores, weights, prompts


def design_of(first, second, models):
    design = np.zeros((len(first), len(models)))
    rows = np.arange(len(first))
    design[rows, [models.index(m) for m in first]] = 1
    design[rows, [models.index(m) for m in second]] = -1
    return design


def split_ties(design, scores, weights):
    """One row won with weight w s and one lost with weight w (1 - s)."""
    scores, weights = np.asarray(scores), np.asarray(weights, dtype=float)
    target = np.repeat([1, 0], len(scores))
    return np.vstack([design, design]), target, np.concatenate([weights * scores, weights * (1 - scores)])


class TestByHand:
    def test_two_models(self):
        # 3 wins to 1: odds 3, so strengths +-log(3) / 2
        data = from_wins(["x", "y"], [[0, 3], [1, 0]])
        result = fit_bradley_terry(data)
        assert data.models == ("x", "y")
        assert result == pytest.approx([math.log(3) / 2, -math.log(3) / 2])
        assert elo_ratings(result, anchor=1)[0] == pytest.approx(1000 + 400 * math.log10(3))

    def test_a_cycle_is_level(self):
        wins = np.array([[0, 2.0, 1], [1, 0, 2], [2, 1, 0]])
        result = fit_bradley_terry(from_wins(["r", "p", "s"], wins))
        assert result == pytest.approx([0, 0, 0], abs=1e-12)

    def test_a_chain_adds_up(self):
        # x beats y 2:1, y beats z 3:1, x and z never meet: odds 6
        wins = np.array([[0, 2.0, 0], [1, 0, 3], [0, 1, 0]])
        result = fit_bradley_terry(from_wins(["x", "y", "z"], wins))
        assert result[0] - result[2] == pytest.approx(math.log(6))

    def test_a_tie_is_half_a_win_each(self):
        tied = compare(["x", "x"], ["y", "y"], [0.5, 1.0], [2, 2], ["a", "b"])
        wins = from_wins(["x", "y"], np.array([[0.0, 3.0], [1.0, 0.0]]))
        assert fit_bradley_terry(tied) == pytest.approx(fit_bradley_terry(wins))

    def test_elo_mean_is_the_anchor_without_a_model(self):
        assert elo_ratings(np.array([1.0, -1.0, 0.0])).mean() == pytest.approx(1000)
        assert elo_ratings(np.log([[10.0, 1.0]]), anchor=1).tolist() == [[pytest.approx(1400), 1000]]


class TestAgainstOthers:
    @pytest.fixture
    def rows(self):
        return simulated(np.random.default_rng(1), 60, [0.8, 0.2, 0.0, -0.4, -0.9], spread=0.8)

    def test_statsmodels_with_clusters(self):
        """Estimates, and the bootstrap's spread against the cluster-robust errors, which are its limit."""
        first, second, scores, weights, prompts = simulated(np.random.default_rng(5), 300, [0.6, 0.0, -0.6], spread=1.0)
        data = compare(first, second, scores, weights, prompts)
        # whole rows: a comparison of weight w is 2 w rows, of which 2 w s are won; a factor 2 leaves a sandwich alone
        design, target, weight = split_ties(design_of(first, second, list(data.models)), scores, weights)
        repeat = np.round(2 * weight).astype(int)
        glm = sm.GLM(np.repeat(target, repeat), np.repeat(design[:, 1:], repeat, 0), family=sm.families.Binomial())
        clusters = {"groups": np.repeat(prompts * 2, repeat), "use_correction": False}
        fit = glm.fit(tol=1e-14, cov_type="cluster", cov_kwds=clusters)
        result = fit_bradley_terry(data)
        assert result[1:] - result[0] == pytest.approx(fit.params, abs=1e-8)
        draws = bootstrap_bradley_terry(data, np.random.default_rng(6), 3000)
        assert draws.n_dropped == 0
        # 3,000 draws know a standard deviation to 1.3 %
        spread = (draws.log_strength[:, 1:] - draws.log_strength[:, :1]).std(axis=0)
        assert spread == pytest.approx(np.sqrt(np.diag(fit.cov_params())), rel=0.06)

    def test_scikit_learn_ridge(self, rows):
        first, second, scores, weights, _ = rows
        data = compare(*rows)
        result = fit_bradley_terry(data, RIDGE)
        design, target, weight = split_ties(design_of(first, second, list(data.models)), scores, weights)
        fit = LogisticRegression(fit_intercept=False, C=2.0, tol=1e-12, max_iter=5000)
        fit.fit(design, target, sample_weight=weight)
        assert result == pytest.approx(fit.coef_[0], abs=1e-5)

    def test_mm_iteration(self, rows):
        """Hunter (2004), equation 3: strength = wins / sum over opponents of games / (both strengths)."""
        data = compare(*rows)
        size = len(data.models)
        wins = np.zeros((size, size))
        wins[data.first, data.second] = np.asarray(data.won_first.sum(axis=0)).ravel()
        wins[data.second, data.first] = np.asarray(data.won_second.sum(axis=0)).ravel()
        games, strength = wins + wins.T, np.ones(size)
        for _ in range(5000):
            strength = wins.sum(axis=1) / (games / (strength[:, None] + strength)).sum(axis=1)
            strength /= np.exp(np.log(strength).mean())
        assert fit_bradley_terry(data) == pytest.approx(np.log(strength), abs=1e-9)

    def test_bootstrap_replicates_are_single_fits(self, rows):
        draws = bootstrap_bradley_terry(compare(*rows), np.random.default_rng(3), 20)
        counts = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=20)
        for replicate in (0, 7, 19):
            copies = [i for i, prompt in enumerate(rows[4]) for _ in range(counts[replicate, prompt])]
            again = compare(*([column[i] for i in copies] for column in rows))
            assert draws.log_strength[replicate] == pytest.approx(fit_bradley_terry(again), abs=1e-7)


def test_rating_differences_cover_with_prompt_effects():
    """Percentile intervals of the difference of two strengths, 400 samples of 100 prompts."""
    rng = np.random.default_rng(21)
    strengths = [0.7, 0.0, -0.7]
    truth = fit_bradley_terry(compare(*simulated(rng, 20_000, strengths, spread=1.0)))
    n_rounds, held = 400, 0
    for _ in range(n_rounds):
        draws = bootstrap_bradley_terry(compare(*simulated(rng, 100, strengths, spread=1.0)), rng, 300).log_strength
        low, high = np.quantile(draws[:, 0] - draws[:, 2], expanded_tails(0.95, 100))
        held += low <= truth[0] - truth[2] <= high
    assert 0.95 - 0.035 <= held / n_rounds <= 0.95 + 0.035  # three standard errors


class TestNoFiniteFit:
    def test_a_model_that_won_everything_is_named(self):
        wins = np.array([[0, 5.0, 3], [0, 0, 2], [0, 1, 0]])
        with pytest.raises(StatisticsError, match="star won every comparison"):
            fit_bradley_terry(from_wins(["star", "x", "y"], wins))

    def test_a_group_that_lost_everything_is_named(self):
        wins = np.array([[0, 2.0, 3, 1], [1, 0, 2, 2], [0, 0, 0, 1], [0, 0, 1, 0]])
        with pytest.raises(StatisticsError, match="c, d lost every comparison"):
            fit_bradley_terry(from_wins(["a", "b", "c", "d"], wins))

    def test_groups_that_never_met_are_named(self):
        wins = np.array([[0, 2.0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
        with pytest.raises(StatisticsError, match=r"a, b \| c, d"):
            fit_bradley_terry(from_wins(["a", "b", "c", "d"], wins))

    def test_a_ridge_fits_all_the_same_and_says_so(self):
        wins = np.array([[0, 5.0, 3], [0, 0, 2], [0, 1, 0]])
        result = fit_bradley_terry(from_wins(["star", "x", "y"], wins), RIDGE)
        assert np.isfinite(result).all()
        assert result[0] == result.max()

    def test_resamples_without_a_fit_are_counted_or_refused(self):
        lopsided = ["x"] * 40, ["y"] * 40, [1.0] * 39 + [0.0], [1] * 40, list(range(40))
        with pytest.raises(StatisticsError, match="no finite fit"):
            bootstrap_bradley_terry(compare(*lopsided), np.random.default_rng(0), 200)
        draws = bootstrap_bradley_terry(compare(*lopsided), np.random.default_rng(0), 200, RIDGE)
        assert draws.log_strength.shape == (200, 2)
        rarer = ["x"] * 40, ["y"] * 40, [1.0] * 35 + [0.0] * 5, [1] * 40, list(range(40))
        draws = bootstrap_bradley_terry(compare(*rarer), np.random.default_rng(0), 1000)
        # each of the five losses is missed by all 40 draws with chance (35/40)^40 = 0.5 %
        assert 0 < draws.n_dropped < 25
        assert draws.log_strength.shape == (1000 - draws.n_dropped, 2)


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((["x"], ["x"], [1.0], [1], ["p"]), "compared with itself"),
            ((["x"], ["y"], [2.0], [1], ["p"]), "outside 0 to 1"),
            ((["x"], ["y"], [1.0], [0], ["p"]), "weight of 0"),
            ((["x"], ["y"], [math.nan], [1], ["p"]), "NaN"),
            ((["x"], ["y", "z"], [1.0], [1], ["p"]), "one length"),
            (([], [], [], [], []), "no scores"),
        ],
    )
    def test_comparisons(self, arguments, message):
        with pytest.raises(StatisticsError, match=message):
            compare(*arguments)

    def test_one_prompt_cannot_be_resampled(self):
        data = compare(["x", "x"], ["y", "y"], [1.0, 0.0], [1, 1], ["p", "p"])
        with pytest.raises(StatisticsError, match="at least 2 prompts"):
            bootstrap_bradley_terry(data, np.random.default_rng(0))

    @pytest.mark.parametrize("ridge", [-1.0, math.inf, math.nan])
    def test_ridge(self, ridge):
        with pytest.raises(StatisticsError, match="ridge"):
            fit_bradley_terry(compare(["x"], ["y"], [0.5], [1], ["p"]), ridge)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=6, max_size=6), st.permutations(["a", "b", "c"]), st.floats(0.2, 5.0))
def test_names_order_and_scale_do_not_matter(counts, names, factor):
    wins = np.zeros((3, 3))
    wins[[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]] = counts
    plain = fit_bradley_terry(from_wins(["a", "b", "c"], wins))
    order = ["abc".index(name) for name in names]
    moved = fit_bradley_terry(from_wins(names, factor * wins[np.ix_(order, order)]))
    assert moved == pytest.approx(plain, abs=1e-7)
    assert plain.sum() == pytest.approx(0, abs=1e-9)
