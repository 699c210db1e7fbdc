"""The test of a bounded mean: by hand, against Clopper-Pearson and drawn weights, and its size on skewed verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats import mean_test
from harness.stats.mean_test import Ends, above_p_values, mean_limits, mean_p_values
from tests.paths import DATA, needs_data

RNG = np.random.default_rng
PERCENT = Ends(-100.0, 100.0)


def test_loss_never_seen_by_hand():
    # a mean of -2 with losses of 100 on one prompt in fifty shows none of them with 0.98^n
    p_values = {n: mean_p_values(np.zeros(n), -2.0, PERCENT)[0] for n in (30, 140, 155)}
    assert p_values[30] >= 0.98**30
    assert p_values[140] > 0.05
    assert p_values[155] == pytest.approx(0.98**155, rel=0.05)
    assert p_values[155] < 0.05


@pytest.mark.parametrize("lost", [1, 3, 10])
def test_rare_losses_lie_between_jeffreys_and_clopper_pearson(lost):
    n = 100
    values = -100.0 * (np.arange(n) < lost)
    low, _ = mean_limits(values, 0.90, PERCENT)
    jeffreys, exact = stats.beta.ppf(0.95, lost + 0.5, n - lost), stats.beta.ppf(0.95, lost + 1, n - lost)
    assert jeffreys * 0.98 < -low / 100.0 < exact * 1.05


def test_weights_drawn_at_random_give_the_same_chance():
    rng = RNG(0)
    values = np.concatenate([rng.normal(3.0, 20.0, 40), [-90.0]])
    terms = np.append(values, -60.0) + 4.0
    shapes = np.append(np.ones(values.size), 0.7)
    weights = rng.gamma(shapes, size=(200_000, shapes.size))
    drawn = float((weights @ terms <= 0.0).mean())
    found = float(mean_test._at_most_zero(terms[None], shapes[None])[0])
    assert found == pytest.approx(drawn, abs=4 * (drawn * (1 - drawn) / 200_000) ** 0.5 + 1e-3)


def test_the_two_sides_are_mirrored():
    values = RNG(1).beta(0.3, 4.0, 60) * 100.0
    above, below = mean_p_values(values, 8.0, Ends(0.0, 100.0))
    assert mean_p_values(-values, -8.0, Ends(-100.0, 0.0)) == (below, above)
    low, high = mean_limits(values, 0.9, Ends(0.0, 100.0))
    assert mean_limits(-values, 0.9, Ends(-100.0, 0.0)) == (pytest.approx(-high), pytest.approx(-low))


def test_limits_are_where_the_test_stops_rejecting():
    values = RNG(2).normal(1.0, 15.0, 50)
    low, high = mean_limits(values, 0.9, PERCENT)
    assert mean_p_values(values, low, PERCENT)[0] == pytest.approx(0.05, abs=1e-6)
    assert mean_p_values(values, high, PERCENT)[1] == pytest.approx(0.05, abs=1e-6)


def test_values_all_alike_at_the_end_of_the_scale_stay_on_it():
    low, high = mean_limits(np.full(50, 10.0), 0.95, Ends(1.0, 10.0))
    assert high == 10.0
    assert 9.0 < low < 10.0


def test_open_scale_needs_a_spread():
    with pytest.raises(StatisticsError, match="same amount"):
        mean_p_values([3.0] * 20, 0.0, Ends(None, None))


@pytest.mark.parametrize("bad", [[1.0], [1.0, np.nan], [1.0, 101.0]])
def test_wrong_input_is_refused(bad):
    with pytest.raises(StatisticsError):
        mean_p_values(bad, 0.0, PERCENT)


@needs_data
@pytest.mark.parametrize(("n", "worst_of_t"), [(30, 0.12), (80, 0.06)])
def test_size_on_weak_models(n, worst_of_t):
    """Wrong passes of rules at their boundary on real verdicts of weak models, where Student's t has 20 %."""
    from bench.real_scores import alpaca_pairs

    models = ("alpaca-7b", "gpt4_gamed", "vicuna-7b", "gemma-7b-it", "claude-2.1_concise")
    shares = {}
    for model in models:
        pairs = alpaca_pairs(DATA, model)
        shares[model] = dict(zip(pairs.clusters, (100.0 * pairs.score).tolist(), strict=True))
    keys = sorted(set.intersection(*(set(found) for found in shares.values())))
    table = np.array([[shares[model][key] for key in keys] for model in models])
    rng, trials = RNG(3), 1000
    sizes, students = [], []
    for i, j in ((i, j) for i in range(5) for j in range(5) if i != j):
        population = table[i] - table[j]
        truth = float(population.mean())
        drawn = population[rng.integers(0, population.size, (trials, n))]
        sizes.append(float((above_p_values(drawn, truth, -100.0) <= 0.05).mean()))
        students.append(float((stats.ttest_1samp(drawn, truth, axis=1, alternative="greater").pvalue <= 0.05).mean()))
    assert max(students) > worst_of_t
    assert max(sizes) <= 0.065 + 2 * (0.05 * 0.95 / trials) ** 0.5
    assert float(np.mean(sizes)) <= 0.05
