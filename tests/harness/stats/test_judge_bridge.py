"""A bridge between judges: its tests, its refusals, its errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.errors_in_both import ErrorVariances, PairedFigures
from harness.stats.judge_bridge import Bridge, errors_of_means, family_of

OLD = np.array([20.0, 35.0, 42.0, 50.0, 61.0, 68.0, 77.0, 85.0])
WOBBLE = np.array([0.5, -0.4, 0.3, -0.6, 0.2, 0.4, -0.5, 0.1])


def bridge(y, *, lengths=None, families=None, x=OLD):
    m = len(x)
    figures = PairedFigures(np.asarray(x), np.asarray(y), ErrorVariances(*np.full((3, m), [[0.1], [0.1], [0.0]])))
    names = tuple(f"model-{i}" for i in range(m))
    return Bridge(figures, names, tuple(lengths or [None] * m), tuple(families or [""] * m))


def test_a_bridge_that_holds_converts_with_an_interval_around_the_truth():
    found = bridge(10 + 0.8 * OLD + WOBBLE)
    assert found.problems == ()
    assert found.rank_agreement.value == pytest.approx(1.0)
    # 8 models, all 28 pairs in order: one ranking of 8! is as good.
    assert found.rank_p_value == pytest.approx(1 / 40320)
    new = found.convert(55.0, 1.0)
    assert new.value == pytest.approx(54.0, abs=0.5)
    assert new.ci_low < 54.0 < new.ci_high
    assert new.stderr > 0.8  # the slope times the error of the old figure
    assert new.note == ""
    assert found.n_inside == 8
    assert found.prediction_error < 1
    assert found.error_of_mean > 10


def test_each_model_is_predicted_from_the_others_alone():
    y = 10 + 0.8 * OLD + WOBBLE
    y[3] += 15.0
    found = bridge(y)
    line = stats.linregress(np.delete(OLD, 3), np.delete(y, 3))
    assert found.left_out[3].residual == pytest.approx(y[3] - line.intercept - line.slope * OLD[3], abs=0.1)
    assert not found.left_out[3].inside
    assert found.n_inside == 7


def test_an_old_figure_without_an_error_has_a_value_and_a_reason():
    found = bridge(10 + 0.8 * OLD + WOBBLE).convert(99.0, None)
    assert found.ci_low is None
    assert found.note == "beyond the figures of the bridge's models; no interval: the old figure has no standard error"


def test_a_judge_that_ranks_at_random_is_refused():
    rng = np.random.default_rng(0)
    refused = sum(not bridge(rng.permutation(10 + 0.8 * OLD + WOBBLE)).holds for _ in range(100))
    assert refused >= 94


def test_a_judge_that_ranks_the_other_way_is_refused_for_rank_and_slope():
    found = bridge(90 - 0.8 * OLD + WOBBLE)
    assert not found.holds
    assert "do not rank the 8 models alike: Kendall's tau -1.00" in found.problems[0]
    assert "is not above 0" in found.problems[1]
    with pytest.raises(StatisticsError, match="does not hold: the judges do not rank"):
        found.convert(50.0, 1.0)


def test_a_judge_that_likes_long_answers_is_refused():
    lengths = [900, 300, 700, 200, 800, 250, 1000, 400]
    bonus = 6 * np.log(np.array(lengths) / 500)
    found = bridge(10 + 0.8 * OLD + bonus, lengths=lengths)
    assert found.length_dependence.statistic > 0.9
    (problem,) = found.problems
    p_value = f"{found.length_dependence.p_value:.2g}"
    assert problem == f"what the line leaves over depends on the length of the answers (p = {p_value}, 8 models)"
    assert bridge(10 + 0.8 * OLD + WOBBLE, lengths=lengths).holds


def test_a_judge_that_likes_one_family_is_refused():
    families = ["a", "b", "b", "a", "b", "a", "b", "a"]
    bonus = np.array([8.0 if family == "a" else 0.0 for family in families])
    # 35 ways to deal eight residuals to two families of four: more models than eight are needed for p below 0.01.
    x = np.concatenate([OLD, OLD + 3.0])
    y = np.concatenate([10 + 0.8 * OLD + bonus + WOBBLE] * 2)
    found = bridge(y, families=families * 2, x=x)
    assert found.family_dependence.statistic > 0.9
    assert "depends on family" in found.problems[-1]
    assert bridge(10 + 0.8 * OLD + WOBBLE, families=families).holds


def test_dependence_is_not_tested_without_enough_to_go_by():
    found = bridge(10 + 0.8 * OLD + WOBBLE, lengths=[500.0] * 8, families=["a"] * 8)
    assert found.length_dependence is None
    assert found.family_dependence is None


def test_errors_of_means_by_hand():
    old = np.array([[1.0, 3.0], [2.0, 6.0]])
    new = np.array([[0.0, 2.0], [5.0, 5.0]])
    own, shared = errors_of_means(old, new)
    # Two prompts: the variance of a mean is (d / 2)^2 for a difference d, the covariance (d1 / 2) (d2 / 2).
    assert own.x.tolist() == [1.0, 4.0]
    assert own.y.tolist() == [1.0, 0.0]
    assert own.xy.tolist() == [1.0, 0.0]
    assert shared == ErrorVariances(2.0, 0.0, 0.0)  # xy: mean of 0 (first, second) and 2 (second, first), held to 0


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "llama"),
        ("gemma-2-9b-it", "gemma"),
        ("runs/mine/", "mine"),
        ("7b", ""),
    ],
)
def test_family_of(name, family):
    assert family_of(name) == family


def test_names_of_another_number_are_refused():
    found = bridge(10 + 0.8 * OLD)
    with pytest.raises(StatisticsError, match="1 names of 8 models"):
        Bridge(found.figures, ("a",), (None,) * 8, ("",) * 8)
