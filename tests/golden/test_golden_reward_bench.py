"""Published RewardBench leaderboards from their sections, and sections from published subsets."""

from __future__ import annotations

import csv
import json

import pytest

from benchmarks.reward_bench.sections import (
    SECTIONS_V1,
    SECTIONS_V2,
    overall_score,
    section_scores,
)
from tests.paths import DATA, needs_data

pytestmark = [pytest.mark.golden, needs_data]

FOLDER = DATA / "rewardbench"
V1 = {"Chat": "chat", "Chat Hard": "chat_hard", "Safety": "safety", "Reasoning": "reasoning"}


def leaderboard(version):
    with (FOLDER / f"rewardbench_v{version}_leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def number(text):
    return float(text) if text else None


def test_facts_equal_upstreams_constants():
    constants = json.loads((FOLDER / "constants.json").read_text())
    for theirs, ours in V1.items():
        expected = {name: constants["EXAMPLE_COUNTS"][name] for name in constants["SUBSET_MAPPING"][theirs]}
        assert dict(SECTIONS_V1[ours]) == expected


def test_overall_of_every_row_of_version_1():
    rows = leaderboard(1)
    assert len(rows) == 179
    for row in rows:
        sections = {ours: number(row[theirs]) for theirs, ours in V1.items()}
        prior = number(row["Prior Sets (0.5 weight)"]) or None  # 0 marks one that was not measured
        assert overall_score(sections, prior) == pytest.approx(float(row["Score"]), abs=1e-4), row["model"]


def test_seven_zeros_mean_missing():
    zeros = [row for row in leaderboard(1) if number(row["Prior Sets (0.5 weight)"]) == 0.0]
    assert len(zeros) == 7
    for row in zeros:
        sections = {ours: number(row[theirs]) for theirs, ours in V1.items()}
        taken_at_its_word = overall_score(sections, 0.0)
        assert taken_at_its_word < float(row["Score"]) - 0.09


def test_overall_of_every_row_of_version_2():
    rows = leaderboard(2)
    assert len(rows) == 197
    names = dict(zip(["Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"], SECTIONS_V2, strict=True))
    for row in rows:
        sections = {ours: number(row[theirs]) for theirs, ours in names.items()}
        assert overall_score(sections, version=2) == pytest.approx(float(row["Score"]), abs=1e-4), row["model"]


def subsets(name):
    scores = json.loads((FOLDER / "per_subset" / f"{name}.json").read_text())
    return {key: value for key, value in scores.items() if isinstance(value, (int, float))}


@pytest.mark.parametrize(
    "name",
    ["GPM-Gemma-2B", "GPM-Gemma-2-2B", "GPM-Gemma-2-9B", "GPM-Llama-3.1-8B-Instruct", "beaver-7b-v1.0-cost"],
)
def test_sections_from_subsets(name):
    scores = subsets(name)
    constants = json.loads((FOLDER / "constants.json").read_text())
    found = section_scores(scores)
    for theirs, ours in V1.items():
        names = constants["SUBSET_MAPPING"][theirs]
        counts = [constants["EXAMPLE_COUNTS"][subset] for subset in names]
        expected = sum(n * scores[subset] for n, subset in zip(counts, names, strict=True)) / sum(counts)
        assert found[ours] == pytest.approx(expected, abs=1e-12)


def test_overall_from_published_subsets():
    assert overall_score(section_scores(subsets("GPM-Gemma-2B"))) == pytest.approx(0.774, abs=5e-4)


def test_published_entries_that_disagree_with_their_own_subsets():
    """Three models are on the leaderboard under another run than their subset files; one section alone agrees."""
    published = {row["model"]: row for row in leaderboard(1)}
    pairs = {
        "GPM-Gemma-2B": "general-preference/GPM-Gemma-2B",
        "GPM-Llama-3.1-8B-Instruct": "general-preference/GPM-Llama-3.1-8B",
        "beaver-7b-v1.0-cost": "PKU-Alignment/beaver-7b-v1.0-cost",
    }
    agree = []
    for file, model in pairs.items():
        found = section_scores(subsets(file))
        for theirs, ours in V1.items():
            if abs(found[ours] - float(published[model][theirs])) < 1e-4:
                agree.append((file, ours))
    assert agree == [("GPM-Llama-3.1-8B-Instruct", "chat")]
    assert float(published["general-preference/GPM-Gemma-2B"]["Score"]) == pytest.approx(0.745, abs=5e-4)
