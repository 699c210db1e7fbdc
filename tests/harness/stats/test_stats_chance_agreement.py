"""Chance-corrected agreement: textbook examples, scikit-learn and statsmodels, simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as sm_fleiss_kappa

from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec
from harness.stats.chance_agreement import RatingTable, cohen_kappa, fleiss_kappa, gwet_ac1, krippendorff_alpha

RNG = np.random.default_rng
FAST = BootstrapSpec(n_boot=200)

# Krippendorff (2011), example C: 4 observers, 12 units, missing entries
OBSERVERS = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]
EXAMPLE_C = RatingTable(
    [
        [None if mark == "." else float(mark) for mark in unit]
        for unit in zip(*(o.split() for o in OBSERVERS), strict=True)
    ]
)


def test_krippendorff_textbook():
    assert krippendorff_alpha(EXAMPLE_C, RNG(0), FAST).value == pytest.approx(0.743, abs=5e-4)


def test_krippendorff_by_hand():
    table = RatingTable([["a", "a"], ["a", "b"], ["b", "b"], ["b", "b"]])
    # o_aa = 2, o_ab = o_ba = 1, o_bb = 4; n_a = 3, n_b = 5; alpha = 1 - (8 - 1) * 2 / (2 * 3 * 5)
    assert krippendorff_alpha(table, RNG(0), BootstrapSpec(n_boot=400)).value == pytest.approx(1 - 14 / 30)


def test_cohen_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: seen .7, by chance .5
    rows = [["y", "y"]] * 20 + [["y", "n"]] * 5 + [["n", "y"]] * 10 + [["n", "n"]] * 15
    result = cohen_kappa(RatingTable(rows), RNG(0), FAST)
    assert result.value == pytest.approx(0.4)
    assert result.ci_low < 0.4 < result.ci_high


def test_cohen_agrees_with_sklearn():
    rng = RNG(1)
    first = rng.integers(1, 6, 100)
    second = np.clip(first + rng.integers(-1, 2, 100), 1, 5)
    table = RatingTable(list(zip(first.astype(float), second.astype(float), strict=True)))
    expected = cohen_kappa_score(first, second)
    assert cohen_kappa(table, RNG(0), FAST).value == pytest.approx(expected)


def test_cohen_leaves_out_items_one_rater_skipped():
    rows = [["y", "y"], ["n", "n"], ["y", "n"], ["n", "n"], ["y", "y"], ["n", "n"], ["y", "y"], ["n", "y"]]
    whole = cohen_kappa(RatingTable(rows), RNG(0), FAST)
    with_gaps = cohen_kappa(RatingTable([*rows, ["y", None], [None, "n"]]), RNG(0), FAST)
    assert (with_gaps.value, with_gaps.n) == (whole.value, 8)


def test_fleiss_by_hand_and_with_statsmodels():
    # 3 raters: (3,0), (0,3), (2,1): P = 1, 1, 1/3; p = 5/9, 4/9
    rows = [["a"] * 3, ["b"] * 3, ["a", "a", "b"]]
    expected = (7 / 9 - 41 / 81) / (1 - 41 / 81)
    assert fleiss_kappa(RatingTable(rows * 5), RNG(0), FAST).value == pytest.approx(expected)
    ratings = RNG(2).integers(0, 3, size=(40, 4))
    counts, _ = aggregate_raters(ratings)
    table = RatingTable([[float(value) for value in row] for row in ratings])
    assert fleiss_kappa(table, RNG(0), FAST).value == pytest.approx(sm_fleiss_kappa(counts))


def test_gwet_textbook_where_kappa_fails():
    # Gwet (2002): 118 yes-yes, 5 yes-no, 2 no-yes, 0 no-no: agreement .944, kappa -.023, AC1 .941
    rows = [["+", "+"]] * 118 + [["+", "-"]] * 5 + [["-", "+"]] * 2
    table = RatingTable(rows)
    assert gwet_ac1(table, RNG(0), FAST).value == pytest.approx(0.9408, abs=5e-5)
    assert cohen_kappa(table, RNG(0), FAST).value == pytest.approx(-0.0234, abs=5e-5)


def test_gwet_with_missing_entries_by_hand():
    # items (a, a), (a, b), (b, -), each twice: seen 1/2; p_a = (1 + .5 + 0) / 3 = .5; chance .5
    rows = [["a", "a"], ["a", "b"], ["b", None]] * 10
    assert gwet_ac1(RatingTable(rows), RNG(0), FAST).value == pytest.approx(0.0)


def test_perfect_agreement_is_one_everywhere():
    table = RatingTable([["a", "a"], ["b", "b"]] * 10)
    for coefficient in (cohen_kappa, fleiss_kappa, gwet_ac1, krippendorff_alpha):
        result = coefficient(table, RNG(0), FAST)
        assert (result.value, result.ci_low, result.ci_high) == (1.0, 1.0, 1.0)


def test_coverage_with_clusters():
    rng = RNG(3)
    # a rater flips the truth in 15 % of cases; both turns of a question share their truth
    truth_kappa = (0.85**2 + 0.15**2 - 0.5) / 0.5
    n_trials, hits = 300, 0
    clusters = np.repeat(np.arange(50), 2)
    for _ in range(n_trials):
        truth = (rng.random(50) < 0.5)[clusters]
        raters = np.stack([truth ^ (rng.random(100) < 0.15) for _ in range(2)], axis=1).astype(float)
        table = RatingTable(raters.tolist(), clusters.tolist())
        result = cohen_kappa(table, rng, BootstrapSpec(n_boot=300))
        hits += result.ci_low <= truth_kappa <= result.ci_high
    assert hits / n_trials == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n_trials))


def test_clusters_widen_the_interval():
    rows = [["a", "a"], ["b", "b"], ["a", "b"], ["b", "b"]] * 10
    alone = cohen_kappa(RatingTable(rows), RNG(0), FAST)
    doubled = RatingTable([row for row in rows for _ in (0, 1)], [i for i in range(40) for _ in (0, 1)])
    together = cohen_kappa(doubled, RNG(0), FAST)
    assert together.value == pytest.approx(alone.value)
    assert together.stderr == pytest.approx(alone.stderr, rel=1e-9)
    assert together.n_clusters == 40


@pytest.mark.parametrize(
    "call",
    [
        lambda: cohen_kappa(RatingTable([["a", "a"], ["a", "a"]]), RNG(0)),
        lambda: cohen_kappa(RatingTable([["a", "a", "b"]]), RNG(0)),
        lambda: cohen_kappa(RatingTable([["a", None]]), RNG(0)),
        lambda: fleiss_kappa(RatingTable([["a", "a"], ["a", None]]), RNG(0)),
        lambda: fleiss_kappa(RatingTable([["a"], ["b"]]), RNG(0)),
        lambda: gwet_ac1(RatingTable([["a", "a"], ["a", "a"]]), RNG(0)),
        lambda: gwet_ac1(RatingTable([["a", None], ["b", None]]), RNG(0)),
        lambda: krippendorff_alpha(RatingTable([["a", None], ["b", None]]), RNG(0)),
        lambda: krippendorff_alpha(RatingTable([[1.0, math.nan]]), RNG(0)),
        lambda: krippendorff_alpha(RatingTable([[1.0, "a"]]), RNG(0)),
        lambda: krippendorff_alpha(RatingTable([]), RNG(0)),
        lambda: krippendorff_alpha(RatingTable([["a", "b"], ["a"]]), RNG(0)),
        lambda: krippendorff_alpha(RatingTable([[float(i), i + 0.5] for i in range(200)]), RNG(0)),
        lambda: krippendorff_alpha(RatingTable([[None, None]]), RNG(0)),
        lambda: cohen_kappa(RatingTable([["a", "b"], ["b", "b"]], ["q"]), RNG(0)),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(StatisticsError):
        call()
