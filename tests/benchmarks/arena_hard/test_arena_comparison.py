"""Arena-Hard at equal length or style, two runs: figures of each alone, the spread by resampling, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.arena_hard.benchmark import ArenaHard
from benchmarks.arena_hard.style import (
    StyleControl,
    VerdictTable,
    style_controlled_difference,
    style_controlled_win_rates,
)
from benchmarks.arena_hard.style_features import StyleCounts
from harness.errors import StatisticsError
from harness.gate.policy import make_policy
from harness.gate.testing import fitted_test
from harness.records import Score
from tests.benchmarks.arena_hard.test_stats_style import simulated
from tests.support.gate_runs import NoData

CONTROL = StyleControl(version="v0.1")


def one(table, style, row):
    judged = VerdictTable((table.models[row],), table.won[[row]], table.weight[[row]])
    return judged, StyleCounts(style.models[[row]], style.baseline)


def cut(side, prompts):
    table, style = side
    judged = VerdictTable(table.models, table.won[:, prompts], table.weight[:, prompts])
    return judged, StyleCounts(style.models[:, prompts], style.baseline[prompts])


@pytest.fixture
def sides():
    table, style = simulated(np.random.default_rng(3), 300, [0.4, -0.1])
    return one(table, style, 0), one(table, style, 1)


def test_the_rates_are_those_of_each_model_alone(sides):
    found = style_controlled_difference(*sides, CONTROL)
    alone = [style_controlled_win_rates(*side, CONTROL).win_rates[side[0].models[0]].value for side in sides]
    assert (found.first, found.second) == pytest.approx(alone)
    assert found.difference.value == pytest.approx(alone[0] - alone[1])
    assert found.difference.n_clusters == 300


def test_the_standard_error_is_that_of_resampled_prompts(sides):
    found = style_controlled_difference(*sides, CONTROL).difference
    rng, draws = np.random.default_rng(4), []
    for _ in range(300):
        rows = rng.integers(0, 300, 300)
        draws.append(style_controlled_difference(*(cut(side, rows) for side in sides), CONTROL).difference.value)
    assert found.stderr == pytest.approx(np.std(draws, ddof=1), rel=0.12)


def test_a_model_that_won_everything_and_other_prompts_are_refused(sides):
    table, style = sides[0]
    everything = VerdictTable(table.models, table.weight, table.weight)
    with pytest.raises(StatisticsError, match="won or lost every verdict"):
        style_controlled_difference((everything, style), sides[1], StyleControl(version="v2"))
    with pytest.raises(StatisticsError, match="different prompts"):
        style_controlled_difference(sides[0], cut(sides[1], np.arange(100)), CONTROL)


def scores_of(side):
    """A run's scores: two games a prompt, and the style of both answers."""
    table, style = side
    found = []

    def score(prompt, metric, part, value, weight=1.0):
        fields = {"benchmark": "arena_hard", "prompt_id": f"p{prompt}", "cluster": f"p{prompt}"}
        found.append(Score(metric=metric, part=part, value=float(value), weight=weight, **fields))

    for prompt, (won, weight) in enumerate(zip(table.won[0], table.weight[0], strict=True)):
        for game in (1, 2):
            score(prompt, "verdict", f"game_{game}", won / weight, weight / 2)
        for part, counts in (("candidate", style.models[0, prompt]), ("baseline", style.baseline[prompt])):
            for metric, value in zip(("length", "headers", "lists", "bold"), counts, strict=True):
                score(prompt, metric, part, value)
    return found


@pytest.mark.parametrize("metric", ["length_controlled_win_rate", "style_controlled_win_rate"])
def test_the_benchmark_compares_its_controlled_rates(sides, metric):
    benchmark = ArenaHard.of_version(None)
    scores = scores_of(sides[0]), scores_of(sides[1])
    rows = [{row.metric: row for row in benchmark.summarize(side, NoData())} for side in scores]
    compared = benchmark.compare_fitted(metric, scores, NoData(), np.random.default_rng(1), 0.9)
    assert (compared.first, compared.second) == pytest.approx([row[metric].value for row in rows], abs=1e-6)
    policy = make_policy({"rules": [{"improve": {"benchmark": "arena_hard", "metric": metric}}]})
    tested = fitted_test("improve", policy.rules[0].improve, policy, (50.0, 50.0), compared.difference)
    assert tested.p_pass < 0.05
    assert benchmark.compare_fitted("win_rate", scores, NoData(), np.random.default_rng(1), 0.9) is None
    with pytest.raises(StatisticsError, match="share no verdict"):
        benchmark.compare_fitted(metric, (scores[0], []), NoData(), np.random.default_rng(1), 0.9)
