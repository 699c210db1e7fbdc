"""Length-controlled ratings: by hand, against statsmodels, and by recovering a known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from harness.errors import StatisticsError
from harness.stats.length_control import LengthControlSpec, relative_length
from harness.stats.length_control_ratings import (
    ModelRatings,
    RatingPanel,
    length_controlled_panel,
    length_controlled_ratings,
)

RNG = np.random.default_rng
WEAK = LengthControlSpec(n_boot=100, slope_prior=(0.0, 1e5))


def ratings_with_effect(rng, n_questions=80, slope=1.5, wordiness=0.4):
    clusters = np.repeat(np.arange(n_questions), 2)
    reference = rng.lognormal(6.0, 0.4, 2 * n_questions)
    length = reference * rng.lognormal(wordiness, 0.5, 2 * n_questions)
    noise = rng.normal(0, 0.8, n_questions)[clusters] + rng.normal(0, 0.8, 2 * n_questions)
    rating = np.clip(6.0 + slope * relative_length(length, reference) + np.clip(noise, -2.5, 2.5), 1, 10)
    return ModelRatings(rating, length, reference, clusters)


def panel_with_effect(rng, n_questions=80, slope=1.5, quality=(5.0, 6.0, 5.5), wordiness=(-0.4, 0.0, 0.6)):
    """Hard questions get longer answers and lower ratings, so the slope within one model is misleading."""
    hard = rng.normal(size=n_questions)
    rows = {"rating": [], "length": [], "model": [], "item": [], "clusters": []}
    for m, (level, words) in enumerate(zip(quality, wordiness, strict=True)):
        for turn in (1, 2):
            length = np.exp(6.0 + 0.4 * hard + words + rng.normal(0, 0.5, n_questions))
            rows["length"].append(length)
            rows["rating"].append((level, hard, rng.normal(0, 0.7, n_questions)))
            rows["model"] += [f"m{m}"] * n_questions
            rows["item"] += [(q, turn) for q in range(n_questions)]
            rows["clusters"] += list(range(n_questions))
    length = np.concatenate(rows["length"])
    logs = np.log1p(np.stack(rows["length"])).reshape(3, 2, n_questions)
    reference = np.expm1(np.broadcast_to(logs.mean(axis=0), logs.shape)).ravel()
    feature = relative_length(length, reference)
    base = np.concatenate([level - 0.8 * hard + noise for level, hard, noise in rows["rating"]])
    rating = np.clip(base + slope * feature, 1.0, 10.0)
    return RatingPanel(rating, length, rows["model"], rows["item"], rows["clusters"])


def test_by_hand():
    # at the reference length ratings 5 and 7, at twice the length 8 and 10: figure 6, slope 3 / 0.6
    ratings = ModelRatings([5.0, 7.0, 8.0, 10.0], [99, 99, 199, 199], [99] * 4, "abcd")
    result = length_controlled_ratings(ratings, RNG(0), WEAK)
    assert result.estimate.value == pytest.approx(6.0, abs=1e-6)
    assert result.slope == pytest.approx(5.0, abs=1e-5)
    assert result.raw == 7.5
    assert result.share_longer == 0.5


def test_agrees_with_statsmodels():
    ratings = ratings_with_effect(RNG(1))
    x = relative_length(ratings.length, ratings.reference_length)
    fit = sm.OLS(ratings.rating, sm.add_constant(x)).fit(cov_type="cluster", cov_kwds={"groups": ratings.clusters})
    result = length_controlled_ratings(ratings, RNG(0), replace(WEAK, n_boot=4000))
    assert (result.estimate.value, result.slope) == (pytest.approx(fit.params[0]), pytest.approx(fit.params[1]))
    assert result.estimate.stderr == pytest.approx(fit.bse[0], rel=0.08)


def test_panel_agrees_with_statsmodels_dummies():
    panel = panel_with_effect(RNG(2), n_questions=25)
    # leave some out, so that nothing is balanced
    keep = RNG(3).random(150) < 0.85
    keep[:2] = True
    index = np.flatnonzero(keep)
    panel = RatingPanel(
        np.asarray(panel.rating)[index],
        np.asarray(panel.length)[index],
        [panel.model[i] for i in index],
        [panel.item[i] for i in index],
        [panel.clusters[i] for i in index],
    )
    found = length_controlled_panel(panel, RNG(0), WEAK)
    items = sorted(set(panel.item))
    models = sorted(set(panel.model))
    logs = np.log1p(np.asarray(panel.length))
    means = {item: np.mean([v for v, i in zip(logs, panel.item, strict=True) if i == item]) for item in items}
    x = relative_length(panel.length, np.expm1([means[item] for item in panel.item]))
    dummies = [[float(item == other) for other in items] for item in panel.item]
    model_dummies = [[float(model == other) for other in models[1:]] for model in panel.model]
    design = np.column_stack([dummies, model_dummies, x])
    slope = sm.OLS(np.asarray(panel.rating), design).fit().params[-1]
    for model in models:
        own = np.array([m == model for m in panel.model])
        assert found[model].slope == pytest.approx(slope, abs=1e-6)
        assert found[model].estimate.value == pytest.approx(
            float(np.mean(np.asarray(panel.rating)[own] - slope * x[own])), abs=1e-6
        )


def test_panel_recovers_the_truth_where_one_model_alone_misleads():
    rng = RNG(4)
    truth = {"m0": 5.0, "m1": 6.0, "m2": 5.5}
    panels = [panel_with_effect(rng) for _ in range(40)]
    fits = [length_controlled_panel(panel, rng, LengthControlSpec(n_boot=100)) for panel in panels]
    for model, quality in truth.items():
        values = [fit[model].estimate.value for fit in fits]
        assert np.mean(values) == pytest.approx(quality, abs=3 * np.std(values) / math.sqrt(40) + 0.05)
    slopes = [fit["m0"].slope for fit in fits]
    assert np.mean(slopes) == pytest.approx(1.5, abs=0.1)
    # raw ranks m2, the wordy one, beside m1
    raw_gap = np.mean([fit["m1"].raw - fit["m2"].raw for fit in fits])
    assert raw_gap < 0.2
    # against one fixed length the difficulty of questions passes for an effect of length
    own = np.array([m == "m0" for m in panels[0].model])
    lone = ModelRatings(
        np.asarray(panels[0].rating)[own],
        np.asarray(panels[0].length)[own],
        np.full(int(own.sum()), 400.0),
        np.asarray(panels[0].clusters)[own],
    )
    assert length_controlled_ratings(lone, rng, LengthControlSpec(n_boot=100)).slope < 1.0


def coverage(draw, truth, n_trials):
    rng = RNG(5)
    hits = 0
    for _ in range(n_trials):
        estimate = draw(rng)
        hits += estimate.ci_low <= truth <= estimate.ci_high
    return hits / n_trials


def test_coverage_of_one_model():
    def draw(rng):
        return length_controlled_ratings(ratings_with_effect(rng), rng, LengthControlSpec(n_boot=400)).estimate

    assert coverage(draw, 6.0, 500) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 500))


def test_coverage_of_a_panel():
    def draw(rng):
        panel = panel_with_effect(rng)
        return length_controlled_panel(panel, rng, LengthControlSpec(n_boot=400))["m2"].estimate

    assert coverage(draw, 5.5, 200) == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 200) + 0.01)


def test_lengths_of_the_reference_leave_the_raw_mean():
    ratings = ModelRatings([5.0, 7.0, 9.0], [50.0, 80.0, 20.0], [50.0, 80.0, 20.0], "abc")
    result = length_controlled_ratings(ratings, RNG(0), WEAK)
    assert result.estimate.value == result.raw == 7.0


def test_figure_stays_on_the_scale_and_says_so():
    ratings = ModelRatings([9.0, 9.5, 10.0, 10.0], [20.0, 30.0, 45.0, 50.0], [99.0] * 4, "abcd")
    result = length_controlled_ratings(ratings, RNG(0), WEAK)
    assert result.estimate.value <= 10.0
    assert result.estimate.ci_high <= 10.0
    assert "end of the scale" in result.estimate.note
    assert "extrapolated" in result.estimate.note


def test_one_rating_throughout():
    ratings = ModelRatings([8.0] * 5, [10, 20, 30, 40, 50], [25.0] * 5, range(5))
    result = length_controlled_ratings(ratings, RNG(0), LengthControlSpec(n_boot=100))
    assert result.estimate.value == result.estimate.ci_low == result.estimate.ci_high == pytest.approx(8.0)
    assert "same" in result.estimate.note


@pytest.mark.parametrize(
    "change",
    [
        {"rating": [-1.0, 5.0, 6.0, 7.0]},
        {"rating": [math.nan, 5.0, 6.0, 7.0]},
        {"rating": [5.0, 6.0]},
        {"length": [-5.0, 5.0, 6.0, 7.0]},
        {"length": [1.0, 2.0]},
        {"clusters": [1, 1, 2, 2]},
        {"clusters": [1, 2, 3]},
        {"length": [20.0] * 4},
    ],
)
def test_wrong_ratings_are_refused(change):
    fine = {
        "rating": [4.0, 5.0, 6.0, 8.0],
        "length": [5.0, 10.0, 15.0, 30.0],
        "reference_length": [10.0] * 4,
        "clusters": [1, 2, 3, 4],
    }
    with pytest.raises(StatisticsError):
        length_controlled_ratings(ModelRatings(**(fine | change)), RNG(0))


@pytest.mark.parametrize(
    "change",
    [
        {"model": ["a"] * 6},
        {"item": [1, 1, 2, 3, 2, 3]},
        {"item": [1, 2, 3, 4, 5, 6]},
        {"clusters": [1, 2, 3, 4, 2, 3]},
        {"clusters": [1, 1, 2, 1, 1, 2]},
        {"rating": [11.0, 4.0, 5.0, 6.0, 7.0, 8.0]},
        {"length": [1.0, 2.0]},
        {"length": [-1.0, 2.0, 3.0, 4.0, 5.0, 6.0]},
    ],
)
def test_wrong_panels_are_refused(change):
    fine = {
        "rating": [3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        "length": [5.0, 9.0, 7.0, 9.0, 12.0, 6.0],
        "model": ["a", "a", "a", "b", "b", "b"],
        "item": [1, 2, 3, 1, 2, 3],
        "clusters": [1, 2, 3, 1, 2, 3],
    }
    with pytest.raises(StatisticsError):
        length_controlled_panel(RatingPanel(**(fine | change)), RNG(0))
