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
from harness.stats.bradley_terry import (
    Regularisation,
    bootstrap_bradley_terry,
    elo_ratings,
    fit_bradley_terry,
    win_probability,
)
from harness.stats.comparisons import compare, comparisons_from_wins

RIDGE = Regularisation("ridge", 0.5)


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
        # 3 wins to 1: odds 3, so strengths +-log(3) / 2; information 4 * 3/16 gives variance 4/3 of the difference
        result = fit_bradley_terry(comparisons_from_wins(["x", "y"], np.array([[0.0, 3.0], [1.0, 0.0]])))
        assert result.models == ("x", "y")
        assert result.log_strength == pytest.approx([math.log(3) / 2, -math.log(3) / 2])
        c = result.covariance
        assert c[0, 0] + c[1, 1] - 2 * c[0, 1] == pytest.approx(4 / 3)
        assert result.converged
        assert elo_ratings(result.log_strength, anchor=1)[0] == pytest.approx(1000 + 400 * math.log10(3))

    def test_a_cycle_is_level(self):
        wins = np.array([[0, 2.0, 1], [1, 0, 2], [2, 1, 0]])
        result = fit_bradley_terry(comparisons_from_wins(["r", "p", "s"], wins))
        assert result.log_strength == pytest.approx([0, 0, 0], abs=1e-12)

    def test_a_chain_adds_up(self):
        # x beats y 2:1, y beats z 3:1, x and z never meet: odds 6
        wins = np.array([[0, 2.0, 0], [1, 0, 3], [0, 1, 0]])
        result = fit_bradley_terry(comparisons_from_wins(["x", "y", "z"], wins))
        estimate = win_probability(result, "x", "z")
        assert estimate.value == pytest.approx(600 / 7)
        assert "no prompts were given" in estimate.note

    def test_a_tie_is_half_a_win_each(self):
        tied = compare(["x", "x"], ["y", "y"], [0.5, 1.0], [2, 2], ["a", "b"])
        wins = comparisons_from_wins(["x", "y"], np.array([[0.0, 3.0], [1.0, 0.0]]))
        assert fit_bradley_terry(tied).log_strength == pytest.approx(fit_bradley_terry(wins).log_strength)

    def test_elo_mean_is_the_anchor_without_a_model(self):
        assert elo_ratings(np.array([1.0, -1.0, 0.0])).mean() == pytest.approx(1000)
        assert elo_ratings(np.log([[10.0, 1.0]]), anchor=1).tolist() == [[pytest.approx(1400), 1000]]


class TestAgainstOthers:
    @pytest.fixture
    def rows(self):
        return simulated(np.random.default_rng(1), 60, [0.8, 0.2, 0.0, -0.4, -0.9], spread=0.8)

    def test_statsmodels_with_clusters(self, rows):
        first, second, scores, weights, prompts = rows
        result = fit_bradley_terry(compare(*rows))
        models = list(result.models)
        # whole rows: a comparison of weight w is 2 w rows, of which 2 w s are won; a factor 2 leaves a sandwich alone
        design, target, weight = split_ties(design_of(first, second, models), scores, weights)
        repeat = np.round(2 * weight).astype(int)
        glm = sm.GLM(np.repeat(target, repeat), np.repeat(design[:, 1:], repeat, 0), family=sm.families.Binomial())
        clusters = {"groups": np.repeat(prompts * 2, repeat), "use_correction": False}
        fit = glm.fit(tol=1e-14, cov_type="cluster", cov_kwds=clusters)
        assert result.log_strength[1:] - result.log_strength[0] == pytest.approx(fit.params, abs=1e-8)
        c = result.covariance
        contrast = np.column_stack([-np.ones(4), np.eye(4)])
        ours = contrast @ c @ contrast.T
        assert ours == pytest.approx(np.asarray(fit.cov_params()) * 60 / 59, rel=1e-6)

    def test_statsmodels_inverse_information(self, rows):
        first, second, scores, weights, _ = rows
        models = sorted(set(first) | set(second))
        wins = np.zeros((5, 5))
        for a, b, s, w in zip(first, second, scores, weights, strict=True):
            wins[models.index(a), models.index(b)] += w * s
            wins[models.index(b), models.index(a)] += w * (1 - s)
        result = fit_bradley_terry(comparisons_from_wins(models, wins))
        design, target, weight = split_ties(design_of(first, second, models), scores, weights)
        fit = sm.GLM(target, design[:, 1:], family=sm.families.Binomial(), freq_weights=weight).fit(tol=1e-14)
        contrast = np.column_stack([-np.ones(4), np.eye(4)])
        assert contrast @ result.covariance @ contrast.T == pytest.approx(np.asarray(fit.cov_params()), rel=1e-6)

    def test_scikit_learn_ridge(self, rows):
        first, second, scores, weights, _ = rows
        result = fit_bradley_terry(compare(*rows), RIDGE)
        design, target, weight = split_ties(design_of(first, second, list(result.models)), scores, weights)
        fit = LogisticRegression(fit_intercept=False, C=2.0, tol=1e-12, max_iter=5000)
        fit.fit(design, target, sample_weight=weight)
        assert result.log_strength == pytest.approx(fit.coef_[0], abs=1e-5)
        assert result.regularisation == "ridge of precision 0.5"

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
        assert fit_bradley_terry(data).log_strength == pytest.approx(np.log(strength), abs=1e-9)

    def test_bootstrap_replicates_are_single_fits(self, rows):
        draws = bootstrap_bradley_terry(compare(*rows), np.random.default_rng(3), 20)
        counts = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=20)
        for replicate in (0, 7, 19):
            copies = [i for i, prompt in enumerate(rows[4]) for _ in range(counts[replicate, prompt])]
            again = compare(*([column[i] for i in copies] for column in rows))
            assert draws.log_strength[replicate] == pytest.approx(fit_bradley_terry(again).log_strength, abs=1e-7)

    def test_bootstrap_spread_is_the_sandwich(self):
        rows = simulated(np.random.default_rng(5), 300, [0.6, 0.0, -0.6], spread=1.0)
        data = compare(*rows)
        draws = bootstrap_bradley_terry(data, np.random.default_rng(6), 3000)
        # 3,000 draws know a standard deviation to 1.3 %; the sandwich is its large-sample limit
        assert draws.log_strength.std(axis=0) == pytest.approx(
            np.sqrt(np.diag(fit_bradley_terry(data).covariance)), rel=0.06
        )
        assert draws.n_dropped == 0


def test_coverage_with_prompt_effects():
    rng = np.random.default_rng(21)
    strengths = [0.7, 0.0, -0.7]
    population = compare(*simulated(rng, 20_000, strengths, spread=1.0))
    truth = fit_bradley_terry(population)
    target = win_probability(truth, "m0", "m2").value
    n_rounds, robust, naive = 400, 0, 0
    for _ in range(n_rounds):
        rows = simulated(rng, 100, strengths, spread=1.0)
        result = fit_bradley_terry(compare(*rows))
        found = win_probability(result, "m0", "m2")
        robust += found.ci_low <= target <= found.ci_high
        wins = np.zeros((3, 3))
        for a, b, s, w in zip(*rows[:4], strict=True):
            wins[int(a[1]), int(b[1])] += w * s
            wins[int(b[1]), int(a[1])] += w * (1 - s)
        plain = win_probability(fit_bradley_terry(comparisons_from_wins(["m0", "m1", "m2"], wins)), "m0", "m2")
        naive += plain.ci_low <= target <= plain.ci_high
    assert 0.95 - 0.035 <= robust / n_rounds <= 0.95 + 0.035  # three standard errors
    assert naive / n_rounds < 0.9


class TestNoFiniteFit:
    def test_a_model_that_won_everything_is_named(self):
        wins = np.array([[0, 5.0, 3], [0, 0, 2], [0, 1, 0]])
        with pytest.raises(StatisticsError, match="star won every comparison"):
            fit_bradley_terry(comparisons_from_wins(["star", "x", "y"], wins))

    def test_a_group_that_lost_everything_is_named(self):
        wins = np.array([[0, 2.0, 3, 1], [1, 0, 2, 2], [0, 0, 0, 1], [0, 0, 1, 0]])
        with pytest.raises(StatisticsError, match="c, d lost every comparison"):
            fit_bradley_terry(comparisons_from_wins(["a", "b", "c", "d"], wins))

    def test_groups_that_never_met_are_named(self):
        wins = np.array([[0, 2.0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
        with pytest.raises(StatisticsError, match=r"a, b \| c, d"):
            fit_bradley_terry(comparisons_from_wins(["a", "b", "c", "d"], wins))

    def test_a_ridge_fits_all_the_same_and_says_so(self):
        wins = np.array([[0, 5.0, 3], [0, 0, 2], [0, 1, 0]])
        result = fit_bradley_terry(comparisons_from_wins(["star", "x", "y"], wins), RIDGE)
        assert result.converged
        assert np.isfinite(result.log_strength).all()
        assert result.log_strength[0] == result.log_strength.max()
        assert "ridge" in win_probability(result, "star", "x").method

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

    @pytest.mark.parametrize(
        ("models", "wins"),
        [
            (["x", "y"], np.ones((2, 2))),
            (["x", "y"], np.array([[0, -1.0], [1, 0]])),
            (["x", "y"], np.array([[0, np.nan], [1, 0]])),
            (["x", "x"], np.array([[0, 1.0], [1, 0]])),
            (["x"], np.array([[0, 1.0], [1, 0]])),
        ],
    )
    def test_tables(self, models, wins):
        with pytest.raises(StatisticsError):
            comparisons_from_wins(models, wins)

    def test_one_model(self):
        with pytest.raises(StatisticsError, match="at least 2 models"):
            fit_bradley_terry(comparisons_from_wins(["x"], np.zeros((1, 1))))

    def test_a_table_cannot_be_resampled(self):
        data = comparisons_from_wins(["x", "y"], np.array([[0, 2.0], [1, 0]]))
        with pytest.raises(StatisticsError, match="no clusters"):
            bootstrap_bradley_terry(data, np.random.default_rng(0))

    def test_unknown_name(self):
        result = fit_bradley_terry(comparisons_from_wins(["x", "y"], np.array([[0, 2.0], [1, 0]])))
        with pytest.raises(StatisticsError, match="no strength of z"):
            win_probability(result, "x", "z")

    @pytest.mark.parametrize(("kind", "precision"), [("ridge", 0.0), ("ridge", math.inf), ("none", 1.0)])
    def test_regularisation(self, kind, precision):
        with pytest.raises(StatisticsError):
            Regularisation(kind, precision)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=6, max_size=6), st.permutations(["a", "b", "c"]), st.floats(0.2, 5.0))
def test_names_order_and_scale_do_not_matter(counts, names, factor):
    wins = np.zeros((3, 3))
    wins[[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]] = counts
    plain = fit_bradley_terry(comparisons_from_wins(["a", "b", "c"], wins))
    order = ["abc".index(name) for name in names]
    moved = fit_bradley_terry(comparisons_from_wins(names, factor * wins[np.ix_(order, order)]))
    assert moved.models == plain.models
    assert moved.log_strength == pytest.approx(plain.log_strength, abs=1e-7)
    assert plain.log_strength.sum() == pytest.approx(0, abs=1e-9)
