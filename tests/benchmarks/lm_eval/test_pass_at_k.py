"""pass@k: by hand, against other implementations, and simulated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.lm_eval.code_eval import pass_at_k
from harness.errors import StatisticsError
from harness.stats.mean import cluster_mean


def mean_pass_at_k(correct, problems, k):
    """The figure of a code task: the mean of the documents' pass@k, each document a cluster."""
    values = []
    for problem in dict.fromkeys(problems):
        mine = [bool(c) for c, p in zip(correct, problems, strict=True) if p == problem]
        values.append(100.0 * pass_at_k(len(mine), sum(mine), k))
    return cluster_mean(values, range(len(values)), bounds=(0.0, 100.0))


def test_by_hand():
    """Of the C(5, 2) = 10 pairs from 5 samples, 3 hold none of the 2 right ones."""
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7, abs=1e-15)
    assert pass_at_k(5, 2, 1) == pytest.approx(0.4, abs=1e-15)
    assert pass_at_k(5, 2, 4) == 1.0
    assert pass_at_k(5, 0, 5) == 0.0
    assert pass_at_k(5, 5, 1) == 1.0
    # Two problems: (0.7 + 1 - C(2, 2) / C(3, 2)) / 2 = (7 / 10 + 2 / 3) / 2.
    correct = [True, False, True, False, False, False, True, False]
    found = mean_pass_at_k(correct, ["a"] * 5 + ["b"] * 3, k=2)
    assert found.value == pytest.approx(100 * (0.7 + 2 / 3) / 2, abs=1e-12)
    assert found.n_clusters == 2
    # Two values d apart have the standard error d / 2.
    assert found.stderr == pytest.approx(100 * (0.7 - 2 / 3) / 2, abs=1e-12)


def test_one_sample_each_is_a_share_with_a_binomial_interval():
    found = mean_pass_at_k([1] * 98 + [0] * 66, range(164), k=1)
    exact = stats.binomtest(98, 164).proportion_ci(0.95, method="exact")
    assert found.value == pytest.approx(59.7560975609756)
    assert 100 * exact.low < found.ci_low < found.ci_high < 100 * exact.high
    # mid-p: half of the probability of exactly 98 counts on either side
    for limit, sign in ((found.ci_low, 1), (found.ci_high, -1)):
        beyond = stats.binom.sf(98, 164, limit / 100) if sign == 1 else stats.binom.cdf(97, 164, limit / 100)
        assert beyond + 0.5 * stats.binom.pmf(98, 164, limit / 100) == pytest.approx(0.025, abs=1e-8)


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_against_enumeration(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        samples = [True] * c + [False] * (n - c)
        drawn = [any(subset) for subset in itertools.combinations(samples, k)]
        assert pass_at_k(n, c, k) == pytest.approx(sum(drawn) / len(drawn), abs=1e-12)


@pytest.mark.parametrize("n", [10, 200, 2000])
def test_against_the_hypergeometric_distribution(n):
    for c, k in itertools.product({0, 1, n // 3, n - 1, n}, {1, 2, n // 10, n}):
        independent = stats.hypergeom.sf(0, n, c, k)
        exact = 1 - math.comb(n - c, k) / math.comb(n, k)
        assert pass_at_k(n, c, k) == pytest.approx(independent, abs=1e-9)
        assert pass_at_k(n, c, k) == pytest.approx(exact, abs=1e-12)


def test_order_of_samples_and_problems_does_not_matter():
    rng = np.random.default_rng(3)
    correct, problems = rng.random(60) < 0.3, np.repeat(np.arange(10), 6)
    order = rng.permutation(60)
    assert mean_pass_at_k(correct, problems, 3).value == pytest.approx(
        mean_pass_at_k(correct[order], problems[order], 3).value
    )


def test_unbiased_where_the_plug_in_is_not():
    rng = np.random.default_rng(11)
    p, n, k, n_rounds = 0.2, 10, 5, 20_000
    counts = rng.binomial(n, p, n_rounds)
    table = np.array([pass_at_k(n, c, k) for c in range(n + 1)])
    truth = 1 - (1 - p) ** k
    values = table[counts]
    assert abs(values.mean() - truth) < 4 * values.std() / n_rounds**0.5
    plug_in = 1 - (1 - counts / n) ** k
    assert plug_in.mean() < truth - 8 * plug_in.std() / n_rounds**0.5


@pytest.mark.parametrize(("n", "k"), [(1, 1), (8, 1), (8, 4)])
def test_coverage(n, k):
    """Problems of different difficulty, drawn anew in every round."""
    rng = np.random.default_rng(17)
    n_problems, n_rounds = 60, 600
    a, b = 0.6, 0.9
    # E[1 - (1 - p)^k] for p ~ Beta(a, b).
    truth = 100 * (1 - math.exp(math.lgamma(b + k) + math.lgamma(a + b) - math.lgamma(b) - math.lgamma(a + b + k)))
    problems = np.repeat(np.arange(n_problems), n)
    covered = 0
    for _ in range(n_rounds):
        p = rng.beta(a, b, n_problems)
        found = mean_pass_at_k(rng.random(n_problems * n) < np.repeat(p, n), problems, k)
        assert found.ci_low is not None and found.ci_high is not None
        covered += found.ci_low <= truth <= found.ci_high
    assert abs(covered / n_rounds - 0.95) < 4 * (0.95 * 0.05 / n_rounds) ** 0.5


def test_one_problem_has_no_interval():
    found = mean_pass_at_k([True, False, False], ["a"] * 3, 2)
    assert found.value == pytest.approx(100 * 2 / 3)
    assert found.stderr is None and found.ci_low is None and found.note


@pytest.mark.parametrize(("n", "c", "k", "message"), [(1, 1, 2, "pass@2 from 1 samples"), (1, 1, 0, "k is 0")])
def test_what_cannot_be_estimated(n, c, k, message):
    with pytest.raises(StatisticsError, match=message):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(("n", "c"), [(5, 6), (5, -1), (-1, 0)])
def test_impossible_counts(n, c):
    with pytest.raises(StatisticsError, match="samples are right"):
        pass_at_k(n, c, 1)
