"""Style control: features by hand, fits against scikit-learn and statsmodels, a known effect found, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression

from benchmarks.arena_hard.style import StyleControl, VerdictTable, style_controlled_win_rates
from benchmarks.arena_hard.style_features import FEATURES, StyleCounts, style_differences
from harness.errors import StatisticsError
from tests.support.arena_battles import LENGTH, MARKDOWN, Battle, tabulate, win_rates


def simulated(rng, n_prompts, strengths, length_effect=1.0, longer=0.5, games=(1.0, 0.7)):
    """Verdicts that depend on strength, on who is longer, and on a prompt effect shared by a pair's two games."""
    n_models = len(strengths)
    base = np.column_stack([rng.integers(100, 900, n_prompts), rng.poisson([4, 8, 6], (n_prompts, 3))]).astype(float)
    tokens = base[None, :, 0] * np.exp(longer * rng.standard_normal((n_models, n_prompts)) + longer)
    marks = rng.poisson([6, 9, 9], (n_models, n_prompts, 3)).astype(float)
    style = StyleCounts(np.concatenate([np.round(tokens)[..., None], marks], axis=2), base)
    ratio = style_differences(style, "v2")[..., 0]
    battles = []
    scale, noise = games
    for m, strength in enumerate(strengths):
        effect = scale * rng.standard_normal(n_prompts)
        latent = strength + length_effect * ratio[m] * 3 + effect
        grades = np.digitize(latent[:, None] + noise * rng.logistic(size=(n_prompts, 2)), [-1.8, -0.3, 0.3, 1.8])
        labels = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
        battles += [Battle(f"m{m}", p, (labels[a], labels[4 - b])) for p, (a, b) in enumerate(grades)]
    return tabulate(battles), style


def rows_of(table: VerdictTable, columns: np.ndarray):
    """Split every cell into a won and a lost part: design (models, then columns), target, weight, prompt."""
    n_models, n_prompts = table.won.shape
    design, target, weight, prompt = [], [], [], []
    for m in range(n_models):
        for p in range(n_prompts):
            x = np.zeros(n_models + columns.shape[2])
            x[m], x[n_models:] = 1, columns[m, p]
            for value, part in ((1, table.won[m, p]), (0, table.weight[m, p] - table.won[m, p])):
                design.append(x)
                target.append(value)
                weight.append(part)
                prompt.append(p)
    return np.array(design), np.array(target), np.array(weight), np.array(prompt)


def standardised(table, differences, ddof):
    weight = table.weight[..., None]
    n = weight.sum()
    mean = (weight * differences).sum(axis=(0, 1)) / n
    spread = np.sqrt((weight * (differences - mean) ** 2).sum(axis=(0, 1)) / (n - ddof))
    return (differences - mean) / spread, mean / spread


class TestFeatures:
    MODEL = np.array([[[300.0, 3, 0, 9]]])
    BASE = np.array([[100.0, 1, 4, 9]])

    def test_v01_by_hand(self):
        found = style_differences(StyleCounts(self.MODEL, self.BASE), "v0.1")[0, 0]
        assert found == pytest.approx([200 / 401, 2 / 5, -4 / 5, 0])

    def test_v2_by_hand(self):
        found = style_differences(StyleCounts(self.MODEL, self.BASE), "v2")[0, 0]
        h, k = 3 / 301, 1 / 101
        bold, other_bold = 9 / 301, 9 / 101
        expected = [
            0.5,
            (h - k) / (h + k + 1),
            (0 - 4 / 101) / (4 / 101 + 1),
            (bold - other_bold) / (bold + other_bold + 1),
        ]
        assert found == pytest.approx(expected)

    def test_two_empty_answers_do_not_differ(self):
        zero = StyleCounts(np.zeros((1, 1, 4)), np.zeros((1, 4)))
        for version in ("v0.1", "v2"):
            assert style_differences(zero, version).tolist() == [[[0, 0, 0, 0]]]


class TestAgainstOthers:
    def test_v01_is_scikit_learn_as_upstream_calls_it(self):
        """Baseline in A, +-log 10 in the models' columns, rows twice, default ridge, no intercept."""
        table, style = simulated(np.random.default_rng(1), 60, [-0.5, 0.2, 1.0])
        x, _ = standardised(table, style_differences(style, "v0.1"), ddof=0)
        design, target, weight, _ = rows_of(table, x)
        models = -math.log(10) * design[:, :3]
        upstream = np.column_stack([models, np.full(len(design), math.log(10)), -design[:, 3:]])
        fit = LogisticRegression(fit_intercept=False, tol=1e-12, max_iter=10_000)
        fit.fit(upstream, 1 - target, sample_weight=2 * weight)
        elo = 400 * (fit.coef_[0][:3] - fit.coef_[0][3])
        found = style_controlled_win_rates(table, style, StyleControl("v0.1", FEATURES, "mean"))
        for m, name in enumerate(table.models):
            assert found.win_rates[name].value == pytest.approx(100 / (1 + 10 ** (-elo[m] / 400)), abs=1e-3)
        assert [c.value for c in found.coefficients.values()] == pytest.approx(list(fit.coef_[0][4:]), abs=1e-4)

    @pytest.mark.parametrize("features", [FEATURES, LENGTH, MARKDOWN, ("bold",)])
    def test_v2_is_the_unpenalised_fit_with_clustered_errors_of_statsmodels(self, features):
        table, style = simulated(np.random.default_rng(2), 60, [-0.5, 0.2, 1.0])
        chosen = [FEATURES.index(name) for name in features]
        x, mean = standardised(table, style_differences(style, "v2")[..., chosen], ddof=1)
        design, target, weight, prompt = rows_of(table, x)
        repeat = np.round(2 * weight).astype(int)
        glm = sm.GLM(np.repeat(target, repeat), np.repeat(design, repeat, 0), family=sm.families.Binomial())
        clusters = {"groups": np.repeat(prompt, repeat), "use_correction": False}
        fit = glm.fit(tol=1e-13, cov_type="cluster", cov_kwds=clusters)
        found = style_controlled_win_rates(table, style, StyleControl("v2", features, "equal"))
        for m, name in enumerate(table.models):
            contrast = np.concatenate([np.eye(3)[m], -mean])
            log_odds = float(contrast @ fit.params)
            rate = 1 / (1 + math.exp(-log_odds))
            stderr = math.sqrt(contrast @ np.asarray(fit.cov_params()) @ contrast * 60 / 59) * rate * (1 - rate)
            assert found.win_rates[name].value == pytest.approx(100 * rate, abs=1e-7)
            assert found.win_rates[name].stderr == pytest.approx(100 * stderr, rel=1e-6)
        assert [c.value for c in found.coefficients.values()] == pytest.approx(list(fit.params[3:]), abs=1e-9)
        bse = fit.bse[3:] * math.sqrt(60 / 59)
        assert [c.stderr for c in found.coefficients.values()] == pytest.approx(list(bse), rel=1e-6)

    @pytest.mark.parametrize("version", ["v0.1", "v2"])
    @pytest.mark.parametrize("reference", ["equal", "mean"])
    def test_standard_error_is_the_spread_of_the_prompt_bootstrap(self, version, reference):
        table, style = simulated(np.random.default_rng(3), 300, [-0.5, 0.7])
        control = StyleControl(version, FEATURES, reference)
        found = style_controlled_win_rates(table, style, control)
        rng, draws = np.random.default_rng(4), []
        for _ in range(500):
            chosen = rng.integers(300, size=300)
            again = VerdictTable(table.models, table.won[:, chosen], table.weight[:, chosen])
            copies = StyleCounts(style.models[:, chosen], style.baseline[chosen])
            refit = style_controlled_win_rates(again, copies, control).win_rates
            draws.append([refit[name].value for name in table.models])
        # 500 draws know a standard deviation to 3.2 %
        for spread, name in zip(np.std(draws, axis=0), table.models, strict=True):
            assert spread == pytest.approx(found.win_rates[name].stderr, rel=0.1)


class TestWhatItMeans:
    def test_a_model_that_wins_by_length_alone_comes_out_level(self):
        table, style = simulated(np.random.default_rng(7), 3000, [0.0], length_effect=1.5, longer=0.6)
        raw = win_rates(table)["m0"]
        found = style_controlled_win_rates(table, style, StyleControl("v2", LENGTH)).win_rates["m0"]
        assert raw.value > 68
        assert found.ci_low < 50 < found.ci_high
        assert abs(found.value - 50) < 5

    def test_upstreams_mean_reference_does_next_to_nothing_for_a_model_alone(self):
        table, style = simulated(np.random.default_rng(7), 3000, [0.0], length_effect=1.5, longer=0.6)
        found = style_controlled_win_rates(table, style, StyleControl("v2", LENGTH, "mean")).win_rates["m0"]
        assert found.value > 68

    def test_style_that_does_not_matter_changes_little(self):
        table, style = simulated(np.random.default_rng(8), 2000, [0.5], length_effect=0.0)
        raw = win_rates(table)["m0"]
        found = style_controlled_win_rates(table, style)
        assert abs(found.win_rates["m0"].value - raw.value) < 4 * raw.stderr
        assert found.coefficients["tokens"].ci_low < 0 < found.coefficients["tokens"].ci_high

    @pytest.mark.parametrize("features", [LENGTH, MARKDOWN, ("headers",)])
    def test_features_alone_keep_the_models_names(self, features):
        """Upstream v2 crashes on the first and shifts the names on the second."""
        table, style = simulated(np.random.default_rng(9), 150, [-1.5, 0.0, 1.5])
        found = style_controlled_win_rates(table, style, StyleControl("v2", features))
        assert list(found.win_rates) == ["m0", "m1", "m2"]
        values = [e.value for e in found.win_rates.values()]
        assert values == sorted(values)
        assert tuple(found.coefficients) == features
        assert all(", ".join(features) in e.method for e in found.win_rates.values())

    @pytest.mark.parametrize("reference", ["equal", "mean"])
    def test_coverage(self, reference):
        rng = np.random.default_rng(10)
        control = StyleControl("v2", LENGTH, reference)
        table, style = simulated(rng, 40_000, [-0.8, 0.6])
        truth = style_controlled_win_rates(table, style, control)
        n_rounds, covered = 400, np.zeros(2)
        for _ in range(n_rounds):
            sample, sample_style = simulated(rng, 150, [-0.8, 0.6])
            found = style_controlled_win_rates(sample, sample_style, control)
            for m in range(2):
                estimate = found.win_rates[f"m{m}"]
                covered[m] += estimate.ci_low <= truth.win_rates[f"m{m}"].value <= estimate.ci_high
        assert covered / n_rounds == pytest.approx([0.95, 0.95], abs=0.035)  # three standard errors


class TestEdges:
    def test_a_model_that_lost_everything_stays_at_zero_and_leaves_the_others_alone(self):
        table, style = simulated(np.random.default_rng(11), 80, [-0.5, 0.7])
        battles = [Battle("hopeless", p, ("A>>B", "B>A")) for p in range(80)]
        lost = tabulate(battles)
        models = (*table.models, "hopeless")
        wider = VerdictTable(models, np.vstack([table.won, lost.won]), np.vstack([table.weight, lost.weight]))
        more = StyleCounts(np.concatenate([style.models, style.models[:1]]), style.baseline)
        found = style_controlled_win_rates(wider, more, StyleControl("v2", LENGTH))
        lost = found.win_rates["hopeless"]
        assert (lost.value, lost.ci_low, lost.note) == (0.0, 0.0, "every verdict lost")
        assert 0 < lost.ci_high < 6
        alone = style_controlled_win_rates(table, style, StyleControl("v2", LENGTH))
        for name in table.models:
            assert found.win_rates[name].value == pytest.approx(alone.win_rates[name].value, abs=1e-6)
        ridge = style_controlled_win_rates(wider, more, StyleControl("v0.1", LENGTH)).win_rates["hopeless"]
        assert 0 < ridge.value < 2

    def test_a_ridge_fit_to_few_prompts_has_a_reason_and_no_interval(self):
        for n_prompts, has_interval in ((49, False), (50, True)):
            table, style = simulated(np.random.default_rng(19), n_prompts, [0.3])
            found = style_controlled_win_rates(table, style, StyleControl("v0.1", LENGTH)).win_rates["m0"]
            assert 0 < found.value < 100
            assert ((found.ci_low is None) or (found.ci_high is None)) != has_interval
            assert ("the ridge decides" in found.note) != has_interval

    def test_a_feature_that_never_varies_is_left_out_with_its_reason(self):
        table, style = simulated(np.random.default_rng(13), 50, [0.3])
        style.models[..., 1], style.baseline[:, 1] = 0, 0
        found = style_controlled_win_rates(table, style)
        assert found.left_out == {"headers": "the same in every answer"}
        assert list(found.coefficients) == ["tokens", "lists", "bold"]
        with pytest.raises(StatisticsError, match="no style difference in headers"):
            style_controlled_win_rates(table, style, StyleControl("v2", ("headers",)))

    def test_missing_counts_matter_only_where_there_is_a_verdict(self):
        table, style = simulated(np.random.default_rng(14), 50, [0.3, 0.5])
        style.models[1, 3] = np.nan
        with pytest.raises(StatisticsError, match=r"no style counts for judged answers of m1 \(1\)"):
            style_controlled_win_rates(table, style)
        table.weight[1, 3] = table.won[1, 3] = 0
        found = style_controlled_win_rates(table, style)
        assert all(math.isfinite(e.value) for e in found.win_rates.values())

    def test_missing_baseline_counts_are_refused(self):
        table, style = simulated(np.random.default_rng(14), 50, [0.3])
        style.baseline[0, 0] = np.nan
        with pytest.raises(StatisticsError, match="no style counts"):
            style_controlled_win_rates(table, style)

    def test_negative_counts_are_refused(self):
        table, style = simulated(np.random.default_rng(14), 50, [0.3])
        style.models[0, 0, 2] = -1
        with pytest.raises(StatisticsError, match="negative style count"):
            style_controlled_win_rates(table, style)

    def test_all_won_is_refused(self):
        table = tabulate([Battle("m0", p, ("B>>A", "A>>B")) for p in range(50)])
        style = simulated(np.random.default_rng(15), 50, [0.0])[1]
        with pytest.raises(StatisticsError, match="won or lost all"):
            style_controlled_win_rates(table, style)

    def test_style_that_separates_wins_from_losses_is_refused(self):
        style = StyleCounts(np.full((1, 50, 4), 100.0), np.full((50, 4), 100.0))
        style.models[0, :25, 0] = 300
        battles = [Battle("m0", p, ("B>A", "A>B") if p < 25 else ("A>B", "B>A")) for p in range(50)]
        with pytest.raises(StatisticsError, match="style alone tells wins from losses"):
            style_controlled_win_rates(tabulate(battles), style, StyleControl("v2", LENGTH))
        ridge = style_controlled_win_rates(tabulate(battles), style, StyleControl("v0.1", LENGTH))
        assert 0 < ridge.win_rates["m0"].value < 100

    def test_collinear_features_are_refused(self):
        table, style = simulated(np.random.default_rng(17), 50, [0.3])
        style.models[..., 3], style.baseline[:, 3] = style.models[..., 2], style.baseline[:, 2]
        with pytest.raises(StatisticsError, match="collinear"):
            style_controlled_win_rates(table, style)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"features": ()},
            {"features": ("length",)},
            {"features": ("bold", "bold")},
            {"version": "v3"},
            {"reference": "x"},
        ],
    )
    def test_wrong_controls_are_refused(self, wrong):
        with pytest.raises(StatisticsError):
            StyleControl(**wrong)

    def test_wrong_shapes_are_refused(self):
        table, style = simulated(np.random.default_rng(16), 50, [0.3])
        with pytest.raises(StatisticsError, match="shape"):
            style_controlled_win_rates(table, StyleCounts(style.models[:, :40], style.baseline))
