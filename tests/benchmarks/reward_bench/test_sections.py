"""RewardBench aggregation: by hand, against a plain computation, and by simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.reward_bench.sections import (
    SECTIONS_V1,
    SECTIONS_V2,
    Outcomes,
    overall_score,
    section_estimate,
    section_scores,
    subset_weights,
    ties_score,
)
from harness.errors import StatisticsError, UnknownNameError


def test_overall_by_hand():
    sections = {"chat": 0.9, "chat_hard": 0.6, "safety": 0.8, "reasoning": 0.7}
    assert overall_score(sections) == pytest.approx(0.75)
    assert overall_score(sections, prior_sets=0.6) == pytest.approx((3.0 + 0.3) / 4.5)
    assert overall_score(sections | {"reasoning": None}) == pytest.approx(2.3 / 3)
    assert overall_score({}) is None
    assert overall_score(dict.fromkeys(SECTIONS_V2, 0.5), version=2) == 0.5


def test_section_by_hand():
    subsets = dict.fromkeys(SECTIONS_V1["reasoning"], 0.5) | {"math-prm": 1.0}
    found = section_scores(subsets)
    # mathematics weighs 984, the six languages 164 each, together as much
    assert found["reasoning"] == pytest.approx(0.75)
    assert found["chat"] is None


def test_section_lacking_a_subset_is_missing_not_partial():
    subsets = dict.fromkeys(SECTIONS_V1["chat"], 0.5)
    assert section_scores(subsets)["chat"] == 0.5
    assert section_scores(subsets | {"mt-bench-med": None})["chat"] is None


def test_subset_weights_reproduce_the_overall_score():
    rng = np.random.default_rng(0)
    subsets = {name: float(rng.random()) for section in SECTIONS_V1.values() for name in section}
    weights = subset_weights()
    assert sum(weights.values()) == pytest.approx(1.0)
    assert sum(weights[name] * subsets[name] for name in subsets) == pytest.approx(
        overall_score(section_scores(subsets))
    )


def outcomes(rng, chances, sizes, shared=0.0):
    credit, subset, clusters = [], [], []
    for name, chance in chances.items():
        n = sizes[name]
        luck = rng.random(n)
        common = np.random.default_rng(int(rng.integers(1 << 30))).random(n)
        credit += list((np.where(rng.random(n) < shared, common, luck) < chance).astype(float))
        subset += [name] * n
        clusters += [(name, i) for i in range(n)]
    return Outcomes(credit, subset, clusters)


def test_section_estimate_by_hand():
    data = Outcomes([1.0, 0.0, 1.0, 1.0, 1.0, 0.0], ["a", "a", "b", "b", "b", "b"], range(6))
    result = section_estimate(data, {"a": 3.0, "b": 1.0})
    assert result.value == pytest.approx(75.0 * 0.5 + 25.0 * 0.75)
    # stratified: sum of w^2 s^2 / n with s^2 = 1/2 and 1/4
    assert result.stderr == pytest.approx(100 * math.sqrt(0.75**2 * 0.5 / 2 + 0.25**2 * 0.25 / 4))


def test_section_estimate_follows_shared_prompts():
    alone = Outcomes([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], ["a"] * 3 + ["b"] * 3, range(6))
    shared = Outcomes(alone.credit, alone.subset, [0, 1, 2, 0, 1, 2])
    weights = {"a": 1.0, "b": 1.0}
    assert section_estimate(shared, weights).stderr != section_estimate(alone, weights).stderr
    assert section_estimate(shared, weights).n_clusters == 3


def test_coverage_of_a_section():
    rng = np.random.default_rng(1)
    weights = SECTIONS_V1["chat_hard"]
    chances = dict(zip(weights, [0.5, 0.9, 0.7, 0.8, 0.6, 0.4], strict=True))
    truth = 100 * sum(weights[name] * chances[name] for name in weights) / sum(weights.values())
    n_trials, hits = 500, 0
    for _ in range(n_trials):
        result = section_estimate(outcomes(rng, chances, weights), weights)
        hits += result.ci_low <= truth <= result.ci_high
    assert hits / n_trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n_trials))


def test_all_right_still_leaves_doubt():
    result = section_estimate(Outcomes([1.0] * 8, ["a"] * 8, range(8)), {"a": 1.0})
    assert result.value == result.ci_high == 100.0
    assert 40.0 < result.ci_low < 90.0
    assert result.note


def test_ties_by_hand():
    # p: margins 2 (reference) and 1 (tied), gap .5: all right, ratio 2, tanh(1)
    # q: reference wrong (-1), tied margin .5 below the gap 1: ratio -1, tanh(-2)
    reference = {"p": ([5.0], [3.0, 1.0]), "q": ([1.0], [2.0])}
    tied = {"p": ([4.0, 4.5], [3.0]), "q": ([2.0, 3.0], [1.5])}
    expected = 0.3 * 1.0 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * (math.tanh(1) + math.tanh(-2)) / 2
    assert ties_score(reference, tied) == pytest.approx(expected)


def test_ties_of_a_model_that_scores_everything_alike():
    same = {"p": ([1.0], [1.0])}
    assert ties_score(same, {"p": ([1.0, 1.0], [1.0])}) == 0.0


def test_ties_of_a_perfect_model():
    assert ties_score({"p": ([1.0], [0.0])}, {"p": ([1.0, 1.0], [0.0])}) == pytest.approx(1.01)


@pytest.mark.parametrize(
    "call",
    [
        lambda: section_scores({"alpaca-easy": 0.5}),
        lambda: overall_score({"chat": 0.5, "Chat Hard": 0.5}),
        lambda: overall_score({"chat": 0.5}, version=2),
    ],
)
def test_unknown_names_are_refused(call):
    with pytest.raises(UnknownNameError):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: overall_score({"chat": math.nan}),
        lambda: overall_score({"chat": 0.5}, version=3),
        lambda: overall_score({"math": 0.5}, prior_sets=0.4, version=2),
        lambda: section_scores(dict.fromkeys(SECTIONS_V1["chat"], math.nan)),
        lambda: section_estimate(Outcomes([2.0, 0.0], ["a", "a"], [1, 2]), {"a": 1.0}),
        lambda: section_estimate(Outcomes([1.0], ["a"], [1]), {"a": 1.0}),
        lambda: section_estimate(Outcomes([1.0, 0.0], ["a", "a"], [1, 1]), {"a": 1.0}),
        lambda: section_estimate(Outcomes([1.0, 0.0], ["a"], [1, 2]), {"a": 1.0}),
        lambda: ties_score({}, {}),
        lambda: ties_score({"p": ([1.0], [0.0])}, {"q": ([1.0], [0.0])}),
        lambda: ties_score({"p": ([1.0], [])}, {"p": ([1.0], [0.0])}),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(StatisticsError):
        call()
