"""Arena-Hard figures against published ones: Ko-Arena-Hard's leaderboards, stored bootstraps, style counts."""

from __future__ import annotations

import csv
import gzip
import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.arena_hard.markdown_features import count_markdown
from benchmarks.arena_hard.published_arena import published_v01, rating_percentile
from benchmarks.arena_hard.style import StyleControl, VerdictTable, style_controlled_win_rates
from benchmarks.arena_hard.style_features import FEATURES, StyleCounts
from harness.stats.bradley_terry import compare, elo_ratings, fit_bradley_terry
from harness.stats.ranking import rank_ranges, separability
from tests.paths import DATA, MIRROR, needs_data
from tests.support.arena_battles import LENGTH, MARKDOWN, Battle, resampled_win_rates, tabulate, win_rates

pytestmark = [pytest.mark.golden, needs_data]

KO = DATA / "arena_hard" / "ko-arena-hard"
AUTO = DATA / "arena_hard" / "arena-hard-auto"
BASELINE = "claude-3.7-sonnet"


def json_lines(path):
    # not splitlines: answers hold U+2028, which it takes for a line end
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def published(name):
    path = KO / "leaderboard" / "arena_hard_leaderboard_20250423_ensemble" / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def table():
    battles = []
    for path in sorted((KO / "data" / "ko-arena-hard-v0.1" / "model_judgment" / "ensemble").glob("*.jsonl")):
        for row in json_lines(path):
            games = tuple(game["score"] for game in row["games"])
            battles.append(Battle(row["model"], row["question_id"], games))
    return tabulate(battles)


@pytest.fixture(scope="module")
def styled(table):
    """The 35 models whose style counts are published, and those counts."""
    with gzip.open(KO / "conv_metadata_72models.json.gz", "rt", encoding="utf-8") as file:
        metadata = json.load(file)

    def counts(model):
        return [
            [m["token_len"], *(sum(m[key].values()) for key in ("header_count", "list_count", "bold_count"))]
            for m in (metadata[model][prompt] for prompt in table.prompts)
        ]

    rows = [i for i, model in enumerate(table.models) if model in metadata and model != BASELINE]
    kept = VerdictTable(tuple(table.models[i] for i in rows), table.won[rows], table.weight[rows])
    style = StyleCounts(
        np.array([counts(m) for m in kept.models], dtype=float), np.array(counts(BASELINE), dtype=float)
    )
    return kept, style


def test_no_control_scores_to_the_printed_digit(table):
    board, found = published("no_control"), win_rates(table)
    contestants = [m for m in table.models if m != BASELINE]
    assert len(contestants) == 38
    for model in contestants:
        assert round(found[model].value, 2) == float(board[model]["score"]), model


def test_joint_bradley_terry_fit_gives_the_published_elo(table):
    board = published("no_control")
    rows = [i for i, m in enumerate(table.models) if m != BASELINE]
    cells = [(i, p) for i in rows for p in range(len(table.prompts)) if table.weight[i, p] > 0]
    data = compare(
        [table.models[i] for i, _ in cells],
        [BASELINE] * len(cells),
        [table.won[i, p] / table.weight[i, p] for i, p in cells],
        [table.weight[i, p] for i, p in cells],
        [p for _, p in cells],
    )
    fit = fit_bradley_terry(data)
    elo = dict(zip(data.models, elo_ratings(fit, anchor=data.models.index(BASELINE)), strict=True))
    # the published fit stops at its optimiser's tolerance, 7e-4 points from the optimum at worst
    for i in rows:
        assert elo[table.models[i]] == pytest.approx(float(board[table.models[i]]["elo_score"]), rel=3e-5)


def test_published_interval_is_the_leaderboards_up_to_its_100_rounds(table):
    board = published("no_control")
    found = published_v01(table.models, table.outcomes, BASELINE, np.random.default_rng(0), 2000)
    gaps = []
    for model, interval in found.items():
        assert interval.score == float(board[model]["score"])
        low, high = float(board[model]["rating_q025"]), float(board[model]["rating_q975"])
        # a 2.5th percentile of 100 draws has a standard error of 0.27 standard deviations, i.e. 0.07 widths
        noise = 0.07 * (interval.ci_high - interval.ci_low)
        gaps += [(interval.ci_low - low) / noise, (interval.ci_high - high) / noise]
    assert abs(np.mean(gaps)) < 1.0
    assert max(np.abs(gaps)) < 5.0


def test_rows_are_not_independent(table):
    """The prompt-level standard error is 1.7 times the row-level one (median over the models)."""
    found, ratios = win_rates(table), []
    for model, counts in zip(table.models, table.outcomes, strict=True):
        n, rate = counts.sum(), counts @ [1.0, 0.5, 0.0] / counts.sum()
        row_variance = (counts @ [1.0, 0.25, 0.0] / n - rate**2) / n
        if model != BASELINE:
            ratios.append(found[model].stderr / (100 * math.sqrt(row_variance)))
    assert np.median(ratios) == pytest.approx(1.71, abs=0.05)
    assert 2.0 < max(ratios) < 2.2


def test_rank_ranges_hold_the_published_order(table):
    draws = resampled_win_rates(table, np.random.default_rng(1), 1000)
    ranges = rank_ranges(draws)
    by_score = stats.rankdata([-e.value for e in win_rates(table).values()], method="min")
    assert all(r.low <= rank <= r.high for r, rank in zip(ranges, by_score, strict=True))
    assert max(r.high - r.low for r in ranges) >= 5  # the middle of the table is crowded


def test_stored_bootstraps_give_the_stored_intervals():
    rows = json_lines(AUTO / "history" / "notebook" / "bootstrap_stats_arena_hard_bt.jsonl")
    draws = np.array([row["results"] for row in rows]).T
    assert draws.shape == (100, 28)
    assert rating_percentile(draws, 2.5) == pytest.approx([row["lower"] for row in rows], abs=1e-10, rel=0)
    assert rating_percentile(draws, 97.5) == pytest.approx([row["upper"] for row in rows], abs=1e-10, rel=0)
    limits = np.array([[row["lower"], row["upper"]] for row in rows])
    recomputed = np.column_stack([rating_percentile(draws, 2.5), rating_percentile(draws, 97.5)])
    assert separability(recomputed) == separability(limits)


def test_markdown_counts_equal_the_published_ones():
    path = next(MIRROR.glob("github/lmarena/arena-hard-auto/*/data/arena-hard-v2.0/model_answer/o3-mini-*.jsonl"))
    answers = json_lines(path)
    assert len(answers) == 750
    for row in answers:
        found, meta = count_markdown(row["messages"][-1]["content"]["answer"]), row["metadata"]
        published = [sum(meta[f"{name}_count"].values()) for name in ("header", "list", "bold")]
        assert [found.headers, found.lists, found.bold] == published, row["uid"]


@pytest.mark.parametrize(
    ("name", "features", "median_gap"),
    [("style_control", FEATURES, 0.9), ("length_control", LENGTH, 1.4), ("markdown_control", MARKDOWN, 0.5)],
)
def test_style_control_by_upstreams_definition_is_near_the_published_columns(styled, name, features, median_gap):
    """Those were fitted with more models than have verdicts here, so the digits differ and the picture does not."""
    table, style = styled
    board, raw = published(name), win_rates(table)
    found = style_controlled_win_rates(table, style, StyleControl("v0.1", features, "mean")).win_rates
    ours = np.array([found[m].value for m in table.models])
    theirs = np.array([float(board[m]["score"]) for m in table.models])
    assert np.median(np.abs(ours - theirs)) < median_gap
    assert stats.spearmanr(ours, theirs).statistic > 0.99
    untouched = np.array([raw[m].value for m in table.models])
    assert np.abs(ours - theirs).mean() < 0.35 * np.abs(untouched - theirs).mean()
