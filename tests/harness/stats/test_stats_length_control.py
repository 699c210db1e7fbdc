"""Length-controlled win rates: by hand, against scikit-learn and statsmodels, and by recovering a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from harness.errors import StatisticsError
from harness.stats.length_control import (
    LengthControlSpec,
    PairScores,
    fit_length_logit,
    length_controlled_difference,
    length_controlled_pairs,
    relative_length,
)

RNG = np.random.default_rng
WEAK = LengthControlSpec(n_boot=100, ridge_sd=100.0, slope_prior=(0.0, 100.0))


def two_games(rng, n_prompts=300, intercept=0.4, slope=2.0, wordiness=0.5):
    """Both games of each prompt with a shared prompt effect on the judge, decisive verdicts weighing three."""
    baseline = rng.lognormal(6.5, 0.5, n_prompts)
    model = baseline * rng.lognormal(wordiness, 0.6, n_prompts)
    chance = expit(intercept + slope * relative_length(model, baseline))
    # a beta-distributed chance per prompt leaves the mean at `chance` and ties the two games together
    own = rng.beta(2.0 * chance, 2.0 * (1.0 - chance))
    score = (rng.random((2, n_prompts)) < own).astype(float)
    return PairScores(
        score.ravel(),
        np.full(2 * n_prompts, 1.0),
        np.tile(model, 2),
        np.tile(baseline, 2),
        np.tile(range(n_prompts), 2),
    )


def test_relative_length_by_hand():
    # twice as long: (4 - 1) / (4 + 1); half: the negative; an empty answer beside one of 99 is nearly -1
    assert relative_length([199.0, 49.0, 99.0, 0.0], [99.0] * 4) == pytest.approx([0.6, -0.6, 0.0, -0.9998], abs=1e-4)
    assert relative_length([30.0], [7.0]) == pytest.approx(np.tanh(np.log(31 / 8)))


def test_by_hand_two_lengths():
    # equal length: 3 of 4 won; twice as long: 9 of 10. A saturated fit passes through both.
    longer = [199.0] * 10 + [99.0] * 4
    score = [1.0] * 9 + [0.0] + [1.0] * 3 + [0.0]
    pairs = PairScores(score, [1.0] * 14, longer, [99.0] * 14, range(14))
    result = length_controlled_pairs(pairs, RNG(0), WEAK)
    assert result.estimate.value == pytest.approx(75.0, abs=0.02)
    assert result.slope == pytest.approx((logit(0.9) - logit(0.75)) / 0.6, abs=0.02)
    assert result.raw == pytest.approx(100 * 12 / 14)


def test_weights_count_a_verdict_as_often_as_they_say():
    # at equal length a decisive win of weight 3 and a loss of weight 1
    pairs = PairScores([1.0, 0.0, 1.0, 0.0], [3.0, 1.0, 1.0, 1.0], [99, 99, 199, 199], [99] * 4, range(4))
    result = length_controlled_pairs(pairs, RNG(0), WEAK)
    assert result.estimate.value == pytest.approx(75.0, abs=0.02)
    assert result.raw == pytest.approx(100 * 4 / 6)


def test_fit_agrees_with_statsmodels_and_sklearn():
    rng = RNG(1)
    x = rng.uniform(-1, 1, 200)
    weight = rng.choice([1.0, 3.0], 200)
    score = rng.choice([0.0, 0.5, 1.0], 200, p=[0.3, 0.2, 0.5])
    free = LengthControlSpec(ridge_sd=1e4, slope_prior=(0.0, 1e4))
    ours = fit_length_logit(x, (score * weight)[None, :], weight[None, :], free)[0]
    theirs = sm.GLM(score, sm.add_constant(x), family=sm.families.Binomial(), freq_weights=weight).fit()
    assert ours == pytest.approx(theirs.params, abs=1e-6)
    # a ridge on both: sklearn penalises the coefficients of its design, so the intercept goes in as a column
    spec = LengthControlSpec(ridge_sd=0.5, slope_prior=(0.0, 0.5))
    won = (score > 0.4).astype(float)
    ours = fit_length_logit(x, (won * weight)[None, :], weight[None, :], spec)[0]
    model = LogisticRegression(C=0.25, fit_intercept=False, tol=1e-10, max_iter=1000)
    model.fit(sm.add_constant(x), won, sample_weight=weight)
    assert ours == pytest.approx(model.coef_[0], abs=1e-5)


def test_many_fits_at_once_equal_one_at_a_time():
    rng = RNG(2)
    x = rng.uniform(-1, 1, 50)
    trials = rng.integers(0, 4, size=(7, 50)).astype(float)
    successes = trials * rng.random(50)
    together = fit_length_logit(x, successes, trials, LengthControlSpec())
    alone = [fit_length_logit(x, successes[[b]], trials[[b]], LengthControlSpec())[0] for b in range(7)]
    assert together == pytest.approx(np.array(alone), abs=1e-8)


def test_separated_data_stay_finite():
    x = np.linspace(-0.9, 0.9, 40)
    fit = fit_length_logit(x, (x > 0).astype(float)[None, :], np.ones((1, 40)), LengthControlSpec())[0]
    assert np.isfinite(fit).all()
    assert fit[1] > 5.0


@pytest.mark.parametrize("wordiness", [-0.6, 0.0, 0.9])
def test_recovers_the_truth_whatever_the_wordiness(wordiness):
    """The same quality and the same taste for length: the raw figure moves with wordiness, the controlled does not."""
    rng = RNG(3)
    truth = 100.0 * expit(0.4)
    results = [
        length_controlled_pairs(two_games(rng, wordiness=wordiness), rng, LengthControlSpec(n_boot=100))
        for _ in range(60)
    ]
    mean = np.mean([result.estimate.value for result in results])
    noise = np.std([result.estimate.value for result in results]) / math.sqrt(60)
    assert mean == pytest.approx(truth, abs=3 * noise + 0.5)
    if wordiness:
        raw = np.mean([result.raw for result in results])
        assert abs(raw - truth) > 10.0


def test_coverage():
    rng = RNG(4)
    truth = 100.0 * expit(0.4)
    n_trials, hits = 300, 0
    for _ in range(n_trials):
        result = length_controlled_pairs(two_games(rng, n_prompts=150), rng, LengthControlSpec(n_boot=300))
        hits += result.estimate.ci_low <= truth <= result.estimate.ci_high
    assert hits / n_trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n_trials))


def test_prompts_not_games_are_resampled():
    rng = RNG(5)
    pairs = two_games(rng)
    right = length_controlled_pairs(pairs, RNG(0), LengthControlSpec(n_boot=400))
    by_row = PairScores(pairs.score, pairs.weight, pairs.length_model, pairs.length_baseline, range(600))
    wrong = length_controlled_pairs(by_row, RNG(0), LengthControlSpec(n_boot=400))
    assert right.estimate.n_clusters == 300
    assert right.estimate.stderr > 1.1 * wrong.estimate.stderr


def test_equal_lengths_leave_the_raw_figure():
    pairs = PairScores([1.0, 0.0, 1.0, 1.0], [1.0] * 4, [50.0] * 4, [50.0] * 4, range(4))
    result = length_controlled_pairs(pairs, RNG(0), WEAK)
    assert result.estimate.value == pytest.approx(result.raw, abs=0.02)
    assert result.slope == 0.0


def test_one_verdict_throughout_is_the_raw_figure_with_a_note():
    pairs = PairScores([1.0] * 6, [3.0] * 6, range(10, 16), [12.0] * 6, range(6))
    result = length_controlled_pairs(pairs, RNG(0))
    assert result.estimate.value == result.raw == 100.0
    assert 0.0 < result.estimate.ci_low < 100.0
    assert "same" in result.estimate.note


def test_one_prompt_has_no_interval():
    result = length_controlled_pairs(PairScores([1.0, 0.0], [1.0, 1.0], [9, 9], [5, 5], ["q", "q"]), RNG(0))
    assert result.estimate.ci_low is result.estimate.stderr is None
    assert result.estimate.note


def test_extrapolation_is_noted():
    rng = RNG(6)
    result = length_controlled_pairs(two_games(rng, wordiness=-1.8), rng, LengthControlSpec(n_boot=100))
    assert "extrapolated" in result.estimate.note


def test_lengths_that_never_vary_are_refused_unless_other_models_teach_the_slope():
    pairs = PairScores([1.0, 0.0, 1.0, 0.0] * 10, [1.0] * 40, [199.0] * 40, [99.0] * 40, range(40))
    with pytest.raises(StatisticsError, match="hardly vary"):
        length_controlled_pairs(pairs, RNG(0))
    spec = LengthControlSpec(n_boot=100, slope_prior=(2.0, 0.1), ridge_sd=50.0)
    result = length_controlled_pairs(pairs, RNG(0), spec)
    assert result.slope == pytest.approx(2.0, abs=0.05)
    assert result.estimate.value == pytest.approx(100 * expit(-2.0 * 0.6), abs=1.0)


def test_same_seed_same_interval():
    pairs = two_games(RNG(0), 40)
    one, two = (length_controlled_pairs(pairs, RNG(7), LengthControlSpec(n_boot=100)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    "change",
    [
        {"score": [1.5, 0.0, 1.0]},
        {"score": [-1.0, 0.0, 1.0]},
        {"score": [math.nan, 0.0, 1.0]},
        {"weight": [-1.0, 1.0, 1.0]},
        {"weight": [0.0, 0.0, 0.0]},
        {"weight": [1.0, 1.0]},
        {"length_model": [-1.0, 2.0, 3.0]},
        {"length_model": [math.inf, 2.0, 3.0]},
        {"length_baseline": [2.0, 3.0]},
        {"clusters": [1, 2]},
    ],
)
def test_wrong_input_is_refused(change):
    fine = {
        "score": [1.0, 0.0, 1.0],
        "weight": [1.0, 1.0, 3.0],
        "length_model": [5.0, 2.0, 9.0],
        "length_baseline": [4.0, 4.0, 4.0],
        "clusters": [1, 2, 3],
    }
    with pytest.raises(StatisticsError):
        length_controlled_pairs(PairScores(**(fine | change)), RNG(0))


@pytest.mark.parametrize(
    "options", [{"n_boot": 5}, {"level": 2.0}, {"ridge_sd": 0.0}, {"slope_prior": (0.0, -1.0)}, {"ridge_sd": math.nan}]
)
def test_impossible_spec_is_refused(options):
    with pytest.raises(StatisticsError):
        LengthControlSpec(**options)


def halves(rng, intercepts, n_prompts=200):
    """Two models' verdicts on the same prompts: the prompts' difficulty is shared."""
    hard = rng.normal(0.0, 0.8, n_prompts)
    baseline = rng.lognormal(6.5, 0.5, n_prompts)
    sides = []
    for intercept in intercepts:
        model = baseline * rng.lognormal(0.3, 0.6, n_prompts)
        chance = expit(intercept + hard + 1.5 * relative_length(model, baseline))
        won = (rng.random(n_prompts) < chance).astype(float)
        sides.append(PairScores(won, np.ones(n_prompts), model, baseline, range(n_prompts)))
    return sides


def test_a_difference_is_that_of_both_fits_and_paired():
    first, second = halves(RNG(5), (0.6, 0.0))
    spec = LengthControlSpec(n_boot=400)
    found = length_controlled_difference(first, second, RNG(1), spec)
    alone = [length_controlled_pairs(side, RNG(1), spec).estimate for side in (first, second)]
    assert (found.first, found.second) == (pytest.approx(alone[0].value), pytest.approx(alone[1].value))
    assert found.difference.value == pytest.approx(alone[0].value - alone[1].value)
    assert found.difference.stderr < math.hypot(alone[0].stderr, alone[1].stderr)  # what the prompts share cancels
    same = length_controlled_difference(first, first, RNG(1), spec)
    assert (same.difference.value, same.difference.stderr, same.p_value) == (0.0, 0.0, None)


def test_a_difference_needs_the_same_prompts_and_lengths_that_vary():
    first, second = halves(RNG(5), (0.6, 0.0), n_prompts=40)
    other = PairScores(second.score, second.weight, second.length_model, second.length_baseline, range(1, 41))
    with pytest.raises(StatisticsError, match="different prompts"):
        length_controlled_difference(first, other, RNG(1))
    fixed = PairScores(second.score, second.weight, [50.0] * 40, [10.0] * 40, range(40))
    with pytest.raises(StatisticsError, match="hardly vary"):
        length_controlled_difference(first, fixed, RNG(1))


@pytest.mark.slow
def test_a_difference_covers_the_truth():
    rng = RNG(9)
    truth = [
        np.mean([length_controlled_pairs(s, RNG(0), WEAK).estimate.value for s in side])
        for side in zip(*(halves(RNG(100 + k), (0.5, 0.0), 4000) for k in range(6)), strict=True)
    ]
    spec, hits, n = LengthControlSpec(n_boot=150), 0, 300
    for _ in range(n):
        found = length_controlled_difference(*halves(rng, (0.5, 0.0), 100), rng, spec).difference
        hits += found.ci_low <= truth[0] - truth[1] <= found.ci_high
    assert 0.92 <= hits / n <= 0.98, hits / n
