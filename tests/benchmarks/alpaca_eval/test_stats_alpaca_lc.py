"""AlpacaEval's win rates: by hand, against the alpaca_eval package, and by simulation."""

import csv
import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.alpaca_eval.lc import discrete_win_rate, length_controlled_win_rate, win_rate
from benchmarks.alpaca_eval.lc_bootstrap import (
    LengthControlBootstrap,
    bootstrap_length_controlled,
    compare_length_controlled,
    length_controlled_draws,
    studentized_interval,
)
from benchmarks.alpaca_eval.lc_data import (
    GamedBaseline,
    LengthControlData,
    LengthControlSpec,
    read_gamed,
)
from benchmarks.alpaca_eval.lc_fit import LengthControlEstimator, gather
from benchmarks.alpaca_eval.logistic import logistic
from harness.errors import FileFormatError, StatisticsError

PUBLISHED = LengthControlSpec(solver="liblinear", unscored="predict")


def simulated_gamed(n=120, seed=99):
    """Two gamed models over n instructions, and the instructions' difficulty."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=n)
    delta = np.concatenate([rng.normal(2, 1, n), rng.normal(-2, 1, n)])
    preference = logistic(-1.2 * np.tanh(delta) + 0.8 * np.tile(difficulty, 2) + rng.normal(size=2 * n))
    return GamedBaseline(preference, delta, np.tile(difficulty, 2)), difficulty


def simulated_model(difficulty, rng, n=None, intercept=-0.8, spread=3.0):
    """Verdicts with prompt effects of the given spread in the logit."""
    n = n or len(difficulty)
    difficulty = difficulty[np.arange(n) % len(difficulty)]
    length_baseline = rng.integers(200, 4000, n)
    length_model = np.maximum(1, length_baseline + rng.normal(-300, 900, n).astype(int))
    delta = (length_baseline - length_model) / 900
    score = -1.5 * np.tanh(delta) + 0.8 * difficulty + intercept + rng.normal(0, spread, n)
    return LengthControlData(logistic(score), length_model, length_baseline, difficulty)


@pytest.fixture(scope="module")
def gamed():
    return simulated_gamed()[0]


@pytest.fixture(scope="module")
def model():
    return simulated_model(simulated_gamed()[1], np.random.default_rng(5))


class TestWinRate:
    def test_by_hand(self):
        # Mean 0.6; squared deviations .16 + .16 + .01 + .01 = .34; s^2 = .34 / 3; stderr = sqrt(.34 / 12).
        found = win_rate([1.0, 0.2, 0.5, 0.7])
        assert found.value == pytest.approx(60.0)
        assert found.stderr == pytest.approx(100 * math.sqrt(0.34 / 12))
        assert found.n == found.n_clusters == 4
        assert 0 <= found.ci_low < 60 < found.ci_high <= 100

    def test_discrete_by_hand(self):
        # Two wins, one draw, one loss, and a share a hair off the middle that is no draw.
        assert discrete_win_rate([1.0, 0.51, 0.5, 0.2]).value == pytest.approx(62.5)
        assert discrete_win_rate([0.5 + 1e-9]).value == 100.0

    def test_agrees_with_alpaca_eval(self):
        from alpaca_eval.metrics import get_winrate

        rng = np.random.default_rng(0)
        preference = np.concatenate([rng.uniform(1, 2, 40), [1.5, 1.5, 1.0, 2.0]])
        upstream = get_winrate(pd.DataFrame({"preference": preference}))
        assert win_rate(preference - 1).value == pytest.approx(upstream["win_rate"], abs=1e-10)
        assert win_rate(preference - 1).stderr == pytest.approx(upstream["standard_error"], abs=1e-10)
        assert discrete_win_rate(preference - 1).value == pytest.approx(upstream["discrete_win_rate"], abs=1e-10)

    def test_interval_covers(self):
        # Bimodal verdicts near the floor, where a symmetric interval misses; 2000 trials, Monte-Carlo error 0.5 %.
        rng = np.random.default_rng(1)
        hits = 0
        for _ in range(2000):
            share = np.where(rng.random(300) < 0.05, rng.uniform(0.7, 1, 300), rng.uniform(0, 0.02, 300))
            found = win_rate(share)
            hits += found.ci_low <= 100 * (0.05 * 0.85 + 0.95 * 0.01) <= found.ci_high
        assert hits / 2000 == pytest.approx(0.95, abs=0.02)

    @pytest.mark.parametrize("bad", [[], [0.5, float("nan")], [1.2], [-0.1]])
    def test_refuses(self, bad):
        with pytest.raises(StatisticsError, match="missing or outside"):
            win_rate(bad)


class TestByHand:
    def test_two_groups_that_the_model_fits_exactly(self):
        """Length +-L and difficulty 0 leave two cells, logit a - c and a + c; at equal length the logit is a.

        Gamed rows at zero length and difficulty pull on nothing, and a weak penalty bends nothing.
        """
        a, c, n = 0.4, 1.1, 40
        sign = np.tile([1.0, -1.0], n // 2)
        data = LengthControlData(logistic(a - c * sign), 1000 - 100 * sign, np.full(n, 1000), np.zeros(n))
        gamed = GamedBaseline(np.full(6, 0.5), np.zeros(6), np.zeros(6))
        found = length_controlled_win_rate(data, gamed, LengthControlSpec(C_grid=(1e9,)))
        assert found.win_rate == pytest.approx(100 / (1 + math.exp(-a)), abs=1e-5)
        # s = L sqrt(n / (n - 1)), upstream's standard deviation with n - 1.
        assert found.coefficients.length == pytest.approx(-c / math.tanh(math.sqrt((n - 1) / n)), abs=1e-6)
        assert found.coefficients.difficulty == 0.0
        assert found.published_standard_error == pytest.approx(0.0, abs=1e-9)

    def test_longer_answers_that_win_are_held_against_the_model(self):
        rng = np.random.default_rng(0)
        base = np.full(200, 1000)
        longer = base + rng.integers(0, 1500, 200)
        share = logistic((longer - base) / 300 - 1.0 + rng.normal(0, 1, 200))
        gamed = GamedBaseline(np.full(6, 0.5), np.zeros(6), np.zeros(6))
        found = length_controlled_win_rate(LengthControlData(share, longer, base, np.zeros(200)), gamed)
        assert found.coefficients.length < 0
        assert found.win_rate < 100 * share.mean()


def write_gamed(path, gamed, n):
    rows = zip(gamed.preference, gamed.std_delta_len, gamed.instruction_difficulty, strict=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["model", "index", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline"]
        )
        for number, row in enumerate(rows):
            writer.writerow([f"gamed_{number // n}", number % n, *(repr(float(v)) for v in row), False])


class TestAgainstAlpacaEval:
    @pytest.fixture
    def upstream(self, tmp_path, monkeypatch, gamed):
        from alpaca_eval.metrics import glm_winrate

        path = tmp_path / "df_gamed.csv"
        write_gamed(path, gamed, 120)
        monkeypatch.setattr(glm_winrate, "hf_hub_download", lambda **_: str(path))

        def evaluate(data, preference):
            frame = pd.DataFrame(
                {
                    "preference": preference,
                    "output_1": ["x" * int(k) for k in data.length_baseline],
                    "output_2": ["x" * int(k) for k in data.length_model],
                    "generator_1": "baseline",
                    "generator_2": "model",
                    "annotator": "judge",
                }
            )
            metrics = glm_winrate.get_length_controlled_winrate(frame, save_weights_dir=None)
            return metrics, frame["glm_preference"].to_numpy()

        return evaluate

    @pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
    @pytest.mark.parametrize(("seed", "n", "intercept"), [(0, 120, -0.8), (1, 117, 1.0), (2, 64, -3.0)])
    def test_published_figure_to_rounding(self, upstream, gamed, seed, n, intercept):
        data = simulated_model(simulated_gamed()[1], np.random.default_rng(seed), n, intercept)
        metrics, predictions = upstream(data, data.preference + 1)
        found = length_controlled_win_rate(data, gamed, PUBLISHED)
        assert found.win_rate == pytest.approx(metrics["length_controlled_winrate"], abs=1e-7)
        assert found.published_standard_error == pytest.approx(metrics["lc_standard_error"], abs=1e-7)
        np.testing.assert_allclose(found.predictions, predictions, atol=1e-9)
        # The minimum itself is near the place where upstream's solver stops.
        assert length_controlled_win_rate(data, gamed).win_rate == pytest.approx(found.win_rate, abs=0.3)

    @pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
    def test_draws_and_unscored_rows(self, upstream, gamed):
        data = simulated_model(simulated_gamed()[1], np.random.default_rng(3))
        share = data.preference.copy()
        share[[4, 17]] = 0.5
        share[[9, 60, 61]] = np.nan
        old_style = share + 1
        old_style[4] = 0.0
        metrics, predictions = upstream(data, old_style)
        quirky = LengthControlData(share, data.length_model, data.length_baseline, data.difficulty)
        found = length_controlled_win_rate(quirky, gamed, PUBLISHED)
        assert found.win_rate == pytest.approx(metrics["length_controlled_winrate"], abs=1e-7)
        np.testing.assert_allclose(found.predictions, predictions, atol=1e-9)


class TestBootstrap:
    def test_refits_equal_scikit_learn_on_the_repeated_rows(self, model, gamed):
        from sklearn.linear_model import LogisticRegression

        C = 2.0
        rng = np.random.default_rng(0)
        estimator = LengthControlEstimator(model, gamed, LengthControlSpec())
        for _ in range(5):
            drawn = rng.integers(0, model.n, model.n)
            counts = np.bincount(drawn, minlength=model.n).astype(float)
            found = estimator.fit(gather(model, counts[None]), C)
            delta = (model.length_baseline - model.length_model)[drawn]
            own = np.stack([np.tanh(delta / delta.std(ddof=1)), model.difficulty[drawn], np.ones(model.n)], axis=1)
            fixed = np.stack([np.tanh(gamed.std_delta_len), gamed.instruction_difficulty, 0 * gamed.preference], axis=1)
            X = np.concatenate([fixed, own])
            share = np.concatenate([gamed.preference, model.preference[drawn]])
            weight = np.repeat([0.1, 1.0], [len(fixed), len(own)])
            fit = LogisticRegression(
                l1_ratio=1.0, solver="liblinear", fit_intercept=False, C=C, tol=1e-12, max_iter=10_000
            )
            weights = np.concatenate([share * weight, (1 - share) * weight])
            fit.fit(np.concatenate([X, X]), np.repeat([1, 0], len(X)), sample_weight=weights)
            np.testing.assert_allclose(found.coefficients[0], fit.coef_[0], atol=1e-6)
            at_equal = logistic(own[:, 1] * fit.coef_[0, 1] + fit.coef_[0, 2])
            assert found.win_rate[0] == pytest.approx(at_equal.mean(), abs=1e-7)

    def test_a_batch_with_the_penalty_chosen_anew_is_the_resamples_one_by_one(self, model, gamed):
        rng = np.random.default_rng(1)
        counts = rng.multinomial(model.n, np.full(model.n, 1 / model.n), size=20).astype(float)
        estimator = LengthControlEstimator(model, gamed, LengthControlSpec())
        _, observed = estimator.observe()
        together = estimator.fit(gather(model, counts), start=observed)
        for row in range(20):
            alone = estimator.fit(gather(model, counts[row : row + 1]))
            assert together.C[row] == alone.C[0]
            assert together.win_rate[row] == pytest.approx(alone.win_rate[0], abs=1e-9)
        assert len(set(together.C)) > 1

    def test_influence_is_the_derivative(self, model, gamed):
        estimator = LengthControlEstimator(model, gamed, LengthControlSpec(), 1e-9)
        sample, fits = estimator.observe()
        influence = estimator.influence(sample, fits)[0]
        assert influence.sum() == pytest.approx(0.0, abs=1e-9)
        step, prompts = 1e-5, np.array([0, 31, 77])
        unit = model.n * np.eye(model.n)[prompts] - 1.0
        up, down = (estimator.fit(gather(model, 1.0 + s * unit), float(fits.C[0]), fits) for s in (step, -step))
        slope = (up.win_rate - down.win_rate) / (2 * step)
        np.testing.assert_allclose(influence[prompts], slope, rtol=1e-5)

    def test_standard_error_is_the_jackknifes(self, model, gamed):
        draws = length_controlled_draws(
            [model], gamed, np.random.default_rng(0), bootstrap=LengthControlBootstrap(2000, reselect_C=False)
        )
        assert draws.resampled.std(ddof=1) == pytest.approx(draws.jackknife_stderr[0], rel=0.12)

    def test_same_seed_same_answer_and_reselection_is_in_the_method(self, model, gamed):
        spec = LengthControlBootstrap(100)
        found = [bootstrap_length_controlled(model, gamed, np.random.default_rng(3), bootstrap=spec) for _ in range(2)]
        assert found[0] == found[1]
        assert found[0].value == length_controlled_win_rate(model, gamed).win_rate
        assert found[0].ci_low < found[0].value < found[0].ci_high
        assert "chosen anew" in found[0].method
        held = LengthControlBootstrap(100, reselect_C=False)
        assert "held" in bootstrap_length_controlled(model, gamed, np.random.default_rng(3), bootstrap=held).method

    def test_models_share_their_resamples(self, model, gamed):
        other = simulated_model(simulated_gamed()[1], np.random.default_rng(8))
        spec = LengthControlBootstrap(130, reselect_C=False)
        draws = length_controlled_draws([model, other, model], gamed, np.random.default_rng(0), bootstrap=spec)
        np.testing.assert_array_equal(draws.resampled[0], draws.resampled[2])
        alone = length_controlled_draws([other], gamed, np.random.default_rng(0), bootstrap=spec)
        np.testing.assert_array_equal(draws.resampled[1], alone.resampled[0])
        nothing = compare_length_controlled(model, model, gamed, np.random.default_rng(0), bootstrap=spec)
        assert nothing.value == nothing.ci_low == nothing.ci_high == 0.0
        gap = compare_length_controlled(model, other, gamed, np.random.default_rng(0), bootstrap=spec)
        assert gap.value == pytest.approx(draws.win_rate[0] - draws.win_rate[1])

    def test_the_interval_is_as_wide_as_the_jackknife_says(self, model, gamed):
        spec = LengthControlBootstrap(400, reselect_C=False)
        draws = length_controlled_draws([model], gamed, np.random.default_rng(0), bootstrap=spec)
        low, high = studentized_interval(draws, 0, 0.95)
        assert low < draws.win_rate[0] < high
        assert (high - low) / (2 * 1.96 * draws.jackknife_stderr[0]) == pytest.approx(1.0, abs=0.2)

    @pytest.mark.slow
    def test_interval_covers(self, gamed):
        """The population is 20,000 prompts; 300 samples of 150 (Monte-Carlo error 1.3 %)."""
        rng = np.random.default_rng(11)
        population = simulated_model(simulated_gamed()[1], rng, 20_000)
        n, trials = 150, 300
        truth_spec = LengthControlSpec(C_grid=(100.0,))
        everyone = gather(population, np.full((1, population.n), n / population.n))
        truth = 100 * LengthControlEstimator(population, gamed, truth_spec).fit(everyone).win_rate[0]
        spec = LengthControlBootstrap(200, reselect_C=False)
        hits = published_hits = 0
        for _ in range(trials):
            drawn = rng.integers(0, population.n, n)
            columns = ("preference", "length_model", "length_baseline", "difficulty")
            sample = LengthControlData(*(getattr(population, name)[drawn] for name in columns))
            found = bootstrap_length_controlled(sample, gamed, rng, truth_spec, spec)
            hits += found.ci_low <= truth <= found.ci_high
            published = length_controlled_win_rate(sample, gamed, truth_spec)
            published_hits += abs(published.win_rate - truth) <= 1.96 * published.published_standard_error
        assert hits / trials == pytest.approx(0.95, abs=0.045)
        assert published_hits / trials < 0.8


def changed(data, **columns):
    names = ("preference", "length_model", "length_baseline", "difficulty")
    return LengthControlData(**{name: columns.get(name, getattr(data, name)) for name in names})


class TestRefusals:
    def test_all_verdicts_equal(self, model, gamed):
        with pytest.raises(StatisticsError, match="every verdict is 1"):
            length_controlled_win_rate(changed(model, preference=np.ones(model.n)), gamed)

    @pytest.mark.parametrize("spec", [LengthControlSpec(), PUBLISHED])
    def test_verdicts_all_on_one_side(self, model, gamed, spec):
        share = np.linspace(0.9999, 1.0, model.n)
        with pytest.raises(StatisticsError, match="without error"):
            length_controlled_win_rate(changed(model, preference=share), gamed, spec)

    def test_separable_by_length(self, model, gamed):
        share = (model.length_difference < np.median(model.length_difference)).astype(float)
        exact = changed(model, preference=share, length_model=model.length_baseline - np.where(share > 0, -500, 500))
        with pytest.raises(StatisticsError, match="without error"):
            length_controlled_win_rate(exact, gamed)

    def test_too_few_prompts(self, model, gamed):
        few = LengthControlData(*(np.asarray(c)[:29] for c in (model.preference, model.length_model,
                                                              model.length_baseline, model.difficulty)))  # fmt: skip
        with pytest.raises(StatisticsError, match="29 scored prompts"):
            length_controlled_win_rate(few, gamed)

    def test_no_spread_of_length(self, model, gamed):
        with pytest.raises(StatisticsError, match="length difference is the same"):
            length_controlled_win_rate(changed(model, length_model=model.length_baseline - 7), gamed)

    def test_missing_verdict(self, model, gamed):
        share = model.preference.copy()
        share[3] = np.nan
        with pytest.raises(StatisticsError, match="1 of 120 verdicts are missing"):
            length_controlled_win_rate(changed(model, preference=share), gamed)

    @pytest.mark.parametrize("name", ["length_model", "length_baseline", "difficulty"])
    def test_missing_feature(self, model, name):
        column = getattr(model, name).copy()
        column[[2, 5]] = np.nan
        with pytest.raises(StatisticsError, match=f"{name} of the model's verdicts is missing on 2 of 120 rows"):
            changed(model, **{name: column})
        with pytest.raises(StatisticsError, match="not all numbers"):
            changed(model, **{name: np.array([None, "a"] * 60, dtype=object)})

    def test_upstream_scale_is_named(self, model):
        with pytest.raises(StatisticsError, match="lie outside"):
            changed(model, preference=model.preference + 1)

    def test_mismatched_lengths(self, model):
        with pytest.raises(StatisticsError, match="shapes"):
            changed(model, difficulty=model.difficulty[:-1])

    def test_different_prompts(self, model, gamed):
        shorter = LengthControlData(*(c[:-1] for c in (model.preference, model.length_model, model.length_baseline,
                                                       model.difficulty)))  # fmt: skip
        with pytest.raises(StatisticsError, match="the same prompts"):
            compare_length_controlled(model, shorter, gamed, np.random.default_rng(0))
        with pytest.raises(StatisticsError, match="the same prompts"):
            length_controlled_draws([], gamed, np.random.default_rng(0))

    @pytest.mark.parametrize("wrong", [{"C_grid": ()}, {"C_grid": (1.0, 0.5)}, {"unscored": "x"}, {"solver": "x"}])
    def test_impossible_spec(self, wrong):
        with pytest.raises(StatisticsError):
            LengthControlSpec(**wrong)

    @pytest.mark.parametrize("wrong", [{"n_boot": 3}, {"level": 95.0}])
    def test_impossible_bootstrap(self, wrong):
        with pytest.raises(StatisticsError):
            LengthControlBootstrap(**wrong)

    def test_one_dissenting_prompt_still_gives_finite_limits(self, model, gamed):
        rng = np.random.default_rng(2)
        share = rng.uniform(0, 1e-6, model.n)
        share[[10, 11]] = 0.9
        found = bootstrap_length_controlled(
            changed(model, preference=share), gamed, rng, bootstrap=LengthControlBootstrap(200)
        )
        assert 0 <= found.ci_low <= found.value <= found.ci_high <= 100
        assert found.ci_high > found.value + 0.5, "other prompts could dissent too"


class TestFiles:
    def test_round_trip(self, tmp_path):
        gamed, difficulty = simulated_gamed(7)
        path = tmp_path / "df_gamed.csv"
        write_gamed(path, gamed, 7)
        read, by_index = read_gamed(path)
        np.testing.assert_array_equal(read.preference, gamed.preference)
        np.testing.assert_array_equal(read.std_delta_len, gamed.std_delta_len)
        np.testing.assert_array_equal(by_index, difficulty)

    def test_a_row_without_a_preference_is_left_out_but_keeps_its_difficulty(self, tmp_path):
        path = tmp_path / "g.csv"
        header = "index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline\n"
        path.write_text(header + "0,,0.1,0.5,False\n1,0.3,0.2,0.25,False\n")
        gamed, difficulty = read_gamed(path)
        np.testing.assert_array_equal(gamed.preference, [0.3])
        np.testing.assert_array_equal(difficulty, [0.5, 0.25])

    @pytest.mark.parametrize(
        ("body", "line", "message"),
        [
            ("0,0.5,x,0.5,False", 2, "std_delta_len is 'x'"),
            ("0,0.5,0.1,nan,False", 2, "instruction_difficulty is 'nan'"),
            ("0,0.5,0.1,0.5,True", 2, "not_gamed_baseline"),
            ("0,0.5,0.1", 2, "too few columns"),
            ("0,0.5,0.1,0.5,False\n0,0.5,0.1,0.6,False", 3, "has difficulty"),
            ("1,0.5,0.1,0.5,False", None, "gaps"),
            ("0,,0.1,0.5,False", None, "no row has a preference"),
            ("", None, "no rows"),
        ],
    )
    def test_wrong_content_is_named_with_its_line(self, tmp_path, body, line, message):
        path = tmp_path / "g.csv"
        path.write_text("index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline\n" + body + "\n")
        with pytest.raises(FileFormatError, match=message) as caught:
            read_gamed(path)
        assert caught.value.line == line

    def test_wrong_columns(self, tmp_path):
        path = tmp_path / "g.csv"
        path.write_text("index,preference\n0,0.5\n")
        with pytest.raises(FileFormatError, match="lack"):
            read_gamed(path)
