"""Drawn prompts: each has the same chance, categories their share, clusters stay whole, no bias on real verdicts."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.alpaca_eval.benchmark import AlpacaEval
from harness.data.store import DataStore
from harness.records import Prompt
from harness.run.prompt_draw import drawn_prompts
from tests.paths import DATA, MIRROR, needs_data

SLIM = DATA / "alpaca_eval" / "annotations_slim"


def prompts(**sizes: int) -> list[Prompt]:
    """So many prompts of every category, all of the first category first."""
    return [
        Prompt(benchmark="b", version="1", key=f"{category}{n}", turns=("?",), category=category)
        for category, size in sizes.items()
        for n in range(size)
    ]


def in_clusters(sizes: list[int], categories: str = "x") -> list[Prompt]:
    """Clusters of so many prompts, whose categories go round."""
    return [
        Prompt(
            benchmark="b",
            version="1",
            key=f"{place}-{n}",
            turns=("?",),
            category=categories[n % len(categories)],
            cluster=f"c{place}",
        )
        for place, size in enumerate(sizes)
        for n in range(size)
    ]


def keys(found: list[Prompt]) -> set[str]:
    return {prompt.key for prompt in found}


@pytest.mark.parametrize("n", [1, 7, 20, 99])
def test_the_number_and_the_share_of_every_category(n):
    every = prompts(a=60, b=30, c=9, d=1)
    for seed in range(20):
        found = drawn_prompts(every, n, seed)
        assert len(found) == n
        assert found == [prompt for prompt in every if prompt.key in keys(found)], "in the order of the benchmark"
        counts = Counter(prompt.category for prompt in found)
        for category, size in (("a", 60), ("b", 30), ("c", 9), ("d", 1)):
            assert abs(counts[category] - n * size / 100) < 1


def test_by_hand():
    """One of three prompts, of which one is alone in its category: each comes up in a third of the seeds."""
    every = prompts(a=1, b=2)
    counts = Counter(drawn_prompts(every, 1, seed)[0].key for seed in range(3000))
    assert all(abs(counts[key] - 1000) < 4 * np.sqrt(3000 * 2 / 9) for key in ("a0", "b0", "b1"))


@pytest.mark.parametrize(
    ("every", "n"),
    [
        (prompts(a=13, b=5, c=2, d=1, e=1), 5),
        (in_clusters([3] * 4 + [1] * 11), 7),  # single ones make up for the clusters
        (in_clusters([3] * 6), 7),
        (in_clusters([4, 1, 1, 1]), 2),
        (in_clusters([2, 3, 2, 4, 3, 2], "xyz"), 6),
    ],
)
def test_every_prompt_has_the_same_chance(every, n):
    n_seeds = 1500
    counts = Counter(key for seed in range(n_seeds) for key in keys(drawn_prompts(every, n, seed)))
    chance = n / len(every)
    assert set(counts) == keys(every)
    spread = np.sqrt(n_seeds * chance * (1 - chance))
    assert max(abs(count - n_seeds * chance) for count in counts.values()) < 4.5 * spread


def test_of_clusters_alone_at_least_one_is_drawn():
    every = in_clusters([6] * 10)
    assert {len(drawn_prompts(every, 2, seed)) for seed in range(50)} == {6}


def test_clusters_stay_whole_and_single_prompts_make_up_the_number():
    every = in_clusters([6] * 20 + [1] * 80, "abc")
    sizes = Counter(prompt.cluster for prompt in every)
    for seed in range(30):
        found = drawn_prompts(every, 50, seed)
        assert len(found) == 50
        assert all(count == sizes[cluster] for cluster, count in Counter(p.cluster for p in found).items())


def test_neither_the_order_of_the_file_nor_other_runs_matter():
    every = prompts(a=60, b=30, c=10)
    shuffled = random.Random(1).sample(every, len(every))
    assert keys(drawn_prompts(shuffled, 20, 3)) == keys(drawn_prompts(every, 20, 3))
    assert keys(drawn_prompts(every, 20, 4)) != keys(drawn_prompts(every, 20, 3))
    assert drawn_prompts(every, 100, 3) == drawn_prompts(every, 1000, 3) == every


def test_a_larger_limit_holds_the_smaller_ones_prompts():
    every = prompts(a=60, b=30, c=10)
    for seed in range(20):
        found = [keys(drawn_prompts(every, n, seed)) for n in range(10, 101, 10)]
        assert all(smaller < larger for smaller, larger in pairwise(found))


@needs_data
def test_on_real_verdicts_the_first_prompts_are_biased_and_drawn_ones_are_not():
    """AlpacaEval is ordered by source, and the first source is harder than the rest for these models."""
    every, _ = AlpacaEval().prompts(DataStore(MIRROR, MIRROR, True))
    assert Counter(p.category for p in every)["selfinstruct"] == 252
    paths = [path for path in sorted(SLIM.glob("*.gz")) if not path.name.startswith("gpt4_1106_preview")]
    rates = np.array([shares(path) for path in paths])
    assert rates.shape == (15, 805)
    full = rates.mean(1)
    for n in (30, 100):
        assert (rates[:, :n].mean(1) - full).mean() < -2.5
        places = [[p.meta["row"] for p in drawn_prompts(every, n, seed)] for seed in range(200)]
        errors = np.array([rates[:, drawn].mean(1) - full for drawn in places])
        spread = errors.mean(1).std(ddof=1) / np.sqrt(len(places))
        assert abs(errors.mean()) < 3 * spread < 0.9
        plain = rates.std(1, ddof=1) * np.sqrt((1 - n / 805) / n)
        assert (errors.std(0) / plain).mean() < 1.0, "strata do not make it worse"


def shares(path) -> np.ndarray:
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    found = np.full(805, np.nan)
    for row in rows:
        if row["preference"] is not None:
            found[row["q"]] = 100 * (row["preference"] - 1)
    return np.where(np.isnan(found), np.nanmean(found), found)
