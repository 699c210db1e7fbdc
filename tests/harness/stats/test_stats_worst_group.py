"""The worst group: by hand, against its definition written out, and its coverage on skewed verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.rate_interval import informative_degrees_of_freedom
from harness.stats.worst_group import GroupSpec, group_spread, worst_group, worst_group_difference


def groups(seed, means=(0.5, 0.3, 0.6), n=40):
    rng = np.random.default_rng(seed)
    return {f"g{i}": np.clip(rng.normal(m, 0.2, n), 0, 1) for i, m in enumerate(means)}


def limits(array, tail):
    half = stats.t.isf(tail, informative_degrees_of_freedom(array)) * array.std(ddof=1) / math.sqrt(array.size)
    return array.mean() - half, array.mean() + half


def test_the_limits_are_those_of_every_group():
    found = groups(1)
    made = worst_group(found, GroupSpec(level=0.9))
    assert made.estimate.ci_low == pytest.approx(min(limits(v, 0.05)[0] for v in found.values()))
    assert made.estimate.ci_high == pytest.approx(min(limits(v, 0.05 / 3)[1] for v in found.values()))
    assert made.group == "g1"
    assert made.share > 0.9
    assert made.estimate.value == pytest.approx(found["g1"].mean(), abs=0.01)
    bounded = worst_group(found, GroupSpec(level=0.9, bounds=(0.0, 1.0))).estimate
    assert bounded.ci_low == pytest.approx(made.estimate.ci_low, abs=0.01)
    assert bounded.ci_high == pytest.approx(made.estimate.ci_high, abs=0.01)
    assert made.estimate.stderr is None


def test_the_highest_is_the_lowest_of_the_negated_values():
    found = groups(2)
    high = worst_group(found, GroupSpec(lowest=False)).estimate
    low = worst_group({name: -v for name, v in found.items()}).estimate
    assert (high.value, high.ci_low, high.ci_high) == pytest.approx((-low.value, -low.ci_high, -low.ci_low))
    a, b = groups(2), groups(3)
    one = worst_group_difference(a, b, 0.02, GroupSpec(lowest=False))
    other = worst_group_difference({k: -v for k, v in b.items()}, {k: -v for k, v in a.items()}, 0.02)
    assert (one.p_above, one.p_below) == pytest.approx((other.p_above, other.p_below))
    assert one.estimate.value == pytest.approx(other.estimate.value)
    assert (one.estimate.ci_low, one.estimate.ci_high) == pytest.approx((other.estimate.ci_low, other.estimate.ci_high))


def test_the_estimate_by_hand_with_two_prompts_a_group():
    # halves of one prompt: the group chosen on one is taken on the other
    made = worst_group({"a": [0.0, 4.0], "b": [3.0, 3.5]}, GroupSpec(n_splits=4000))
    # a (0 | 4) against b (3 | 3.5): with 0 in the first half a is chosen there and its 4 taken; with 4, b and b's other
    expected = np.mean([4.0, 3.5, 4.0, 3.0, 3.5, 4.0, 3.0, 4.0])
    assert made.estimate.value == pytest.approx(expected, abs=0.02)


def pair(a, b, g, h, tail, paired):
    """The lower limit of mu_a(g) - mu_b(h), written out."""
    if paired:
        return limits(a[g] - b[h], tail)[0]
    va, vb = a[g].var(ddof=1) / a[g].size, b[h].var(ddof=1) / b[h].size
    df = (va + vb) ** 2 / (va**2 / informative_degrees_of_freedom(a[g]) + vb**2 / informative_degrees_of_freedom(b[h]))
    return a[g].mean() - b[h].mean() - stats.t.isf(tail, df) * math.sqrt(va + vb)


def test_a_difference_is_the_table_of_all_pairs():
    a, b = groups(4, (0.6, 0.5, 0.7)), groups(5, (0.5, 0.3, 0.6))
    made = worst_group_difference(a, b, 0.1, GroupSpec(level=0.9))
    low = max(min(pair(a, b, g, h, 0.05 / 3, g == h) for g in a) for h in b)
    high = min(max(-pair(b, a, h, g, 0.05 / 3, g == h) for h in b) for g in a)
    assert made.estimate.ci_low == pytest.approx(low)
    assert made.estimate.ci_high == pytest.approx(high)
    assert made.estimate.value == pytest.approx(0.2, abs=0.1)
    assert made.first - made.second == pytest.approx(made.estimate.value)


def test_p_values_and_limits_say_the_same():
    a, b = groups(6, (0.6, 0.45, 0.7)), groups(7, (0.5, 0.35, 0.6))
    for threshold in np.linspace(-0.2, 0.3, 26):
        made = worst_group_difference(a, b, float(threshold), GroupSpec(level=0.9))
        assert (made.p_above <= 0.05) == (made.estimate.ci_low >= threshold)
        assert (made.p_below <= 0.05) == (made.estimate.ci_high <= threshold)


def test_the_spread_is_between_the_ends():
    made = group_spread(groups(8, (0.2, 0.5, 0.9)))
    assert made.estimate.ci_low < 0.7 < made.estimate.ci_high
    assert made.estimate.value == pytest.approx(0.66, abs=0.06)
    assert made.first - made.second == pytest.approx(made.estimate.value)
    same = group_spread(groups(9, (0.5, 0.5)))
    assert same.estimate.ci_low == 0.0


def test_equal_values():
    sure = {"a": np.ones(20), "b": groups(1)["g0"]}
    made = worst_group(sure, GroupSpec(bounds=(0.0, 1.0)))
    assert made.group == "b"
    # twenty times 0 of two groups say as much as 0 to 1 - 0.025^(1/20), the exact limit, or a little more
    lowest = worst_group({"a": np.zeros(20), "b": np.ones(20)}, GroupSpec(level=0.9, bounds=(0.0, 1.0))).estimate
    assert lowest.ci_high == pytest.approx(1.0 - 0.025 ** (1 / 20), rel=0.15)
    with pytest.raises(StatisticsError, match="a scale that ends"):
        worst_group(sure)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": [1.0, 2.0]}, "1 group"),
        ({"a": [1.0, 2.0], "writing": [1.0]}, "the group writing has one prompt"),
        ({"a": [1.0, math.nan], "b": [1.0, 2.0]}, "values of a"),
        ({"a": [1.0, 2.0], "b": [0.0, 1.0]}, "values of a from 1 to 2"),
    ],
)
def test_refusals(given, said):
    with pytest.raises(StatisticsError, match=said):
        worst_group(given, GroupSpec(bounds=(0.0, 1.0)) if "b" in given and 2.0 in given["a"] else None)


def test_other_groups_in_the_second_run():
    with pytest.raises(StatisticsError, match="groups that differ"):
        worst_group_difference({"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "c": [1, 2]})


def test_coverage_where_the_naive_minimum_is_too_low():
    """Eight equal groups of skewed shares: the lowest mean's own interval misses, the limits here do not."""
    rng, hits, naive, trials = np.random.default_rng(10), 0, 0, 300
    values = []
    for _ in range(trials):
        found = {str(g): rng.beta(0.6, 1.4, 50) for g in range(8)}
        made = worst_group(found, GroupSpec(n_splits=20)).estimate
        hits += made.ci_low <= 0.3 <= made.ci_high
        values.append(made.value)
        low, high = limits(min(found.values(), key=np.mean), 0.025)
        naive += low <= 0.3 <= high
    assert naive / trials < 0.9
    assert hits / trials > 0.94
    assert np.mean(values) == pytest.approx(0.3, abs=0.01)
