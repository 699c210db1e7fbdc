"""Arena-Hard's figures: upstream's win rate and interval, ours, and both with length or style held equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.arena_hard.five_way import win_rate
from benchmarks.arena_hard.published_arena import PublishedInterval, published_v01, published_v2
from benchmarks.arena_hard.style import StyleControl, VerdictTable, style_controlled_win_rates
from benchmarks.arena_hard.style_features import StyleCounts, Version
from harness.protocols import Items
from harness.records import Score, SummaryRow
from harness.run.figures import guarded_row, mean_row, reason_row, select
from harness.stats.estimate import Estimate
from harness.stats.length_control import PairScores, length_controlled_pairs

STYLE_METRICS = ("length", "headers", "lists", "bold")
"""Scores that describe an answer's style, in the order the style control takes them; length in characters."""

_SEED = 20240611  # of the bootstraps; fixed, so that the same verdicts always give the same figures
_MODEL = "candidate"
_BASELINE = "baseline"


def arena_rows(
    benchmark: str, metric: str, scores: Sequence[Score], *, version: Version, baseline: str
) -> list[SummaryRow]:
    """Make the rows of one part of the benchmark.

    Parameters
    ----------
    benchmark, metric : str
        Name of the benchmark and of the part's win rate; the names of the other rows follow from it.
    scores : sequence of Score
        The part's scores: verdicts of both games, style of both answers.
    version : {"v0.1", "v2"}
        Whose published interval and style normalisation.
    baseline : str
        The baseline's name, which decides a quirk of the published interval.
    """
    verdicts = select(scores, "verdict")
    suffix = metric.removeprefix("win_rate")
    rows = [guarded_row(benchmark, metric, verdicts, _win_rate)]
    rows += _published_rows(benchmark, suffix, verdicts, version, baseline)
    style = style_by_prompt(scores)
    controlled: dict[str, Callable[[list[Score]], Estimate]] = {
        "length_controlled_win_rate": lambda scored: _length_controlled(scored, style),
        "style_controlled_win_rate": lambda scored: _style_controlled(scored, style, version),
    }
    for name, compute in controlled.items():
        if any(_is_known(counts) for counts in style.values()):
            rows.append(guarded_row(benchmark, name + suffix, verdicts, compute))
        else:
            rows.append(reason_row(benchmark, name + suffix, "the answers of both sides are needed"))
    for measured in ("length", "tokens"):
        sizes = select(scores, measured, _MODEL)
        if sizes:
            rows.append(mean_row(benchmark, f"avg_{measured}{suffix}", Items(sizes)))
    return rows


def _win_rate(scored: list[Score]) -> Estimate:
    return win_rate([s.value or 0.0 for s in scored], [s.weight for s in scored], [s.cluster for s in scored])


def _published_rows(
    benchmark: str, suffix: str, verdicts: Sequence[Score], version: Version, baseline: str
) -> list[SummaryRow]:
    """Upstream's interval, from the verdicts upstream would have used."""
    scored = [s for s in verdicts if s.value is not None]
    names = ("published_ci_low", "published_ci_high")
    if not scored:
        return [reason_row(benchmark, name + suffix, "nothing was scored", verdicts) for name in names]
    rng = np.random.default_rng(_SEED)
    outcomes = _outcomes(scored, drop_half_judged=version == "v2")
    published: PublishedInterval
    if version == "v2":
        published = published_v2(outcomes, rng)
    else:
        published = published_v01((_MODEL,), outcomes[None, :], baseline, rng)[_MODEL]

    def at(value: float) -> Callable[[list[Score]], Estimate]:
        method = f"{published.method}; too narrow, for comparison only"
        n_clusters = len({s.cluster for s in scored})
        return lambda used: Estimate(value, None, None, None, published.level, method, len(used), n_clusters)

    return [
        guarded_row(benchmark, name + suffix, verdicts, at(value))
        for name, value in zip(names, (published.ci_low, published.ci_high), strict=True)
    ]


def _outcomes(scored: list[Score], *, drop_half_judged: bool) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Count rows won, tied and lost; upstream's v2.0 drops a prompt unless both games have a verdict."""
    games: dict[str, int] = {}
    for s in scored:
        games[s.prompt_id] = games.get(s.prompt_id, 0) + 1
    counts = np.zeros(3, dtype=np.int64)
    for s in scored:
        if drop_half_judged and games[s.prompt_id] < 2:
            continue
        counts[0 if s.value == 1.0 else 2 if s.value == 0.0 else 1] += int(s.weight)
    return counts


Style = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]
"""Prompt id to counts, shape (2, 4): the model's and the baseline's, as in STYLE_METRICS; NaN where not known."""


def style_by_prompt(scores: Sequence[Score]) -> Style:
    """Return the style of both answers to each prompt."""
    place = {metric: index for index, metric in enumerate(STYLE_METRICS)}
    sides = {_MODEL: 0, _BASELINE: 1}
    style: Style = {}
    for s in scores:
        if s.metric in place and s.value is not None:
            if s.prompt_id not in style:
                style[s.prompt_id] = np.full((2, len(STYLE_METRICS)), np.nan)
            style[s.prompt_id][sides[s.part], place[s.metric]] = s.value
    return style


def _is_known(counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bool:
    return bool(np.isfinite(counts).all())


def with_style(scored: Sequence[Score], style: Style) -> list[Score]:
    """Return the scores of prompts for which the style of both answers is known."""
    return [s for s in scored if s.prompt_id in style and _is_known(style[s.prompt_id])]


def _length_controlled(scored: list[Score], style: Style) -> Estimate:
    pairs = length_pairs(with_style(scored, style), style)
    return length_controlled_pairs(pairs, np.random.default_rng(_SEED)).estimate


def length_pairs(used: Sequence[Score], style: Style) -> PairScores:
    """Return verdicts with the length of both answers."""
    return PairScores(
        score=[s.value or 0.0 for s in used],
        weight=[s.weight for s in used],
        length_model=[float(style[s.prompt_id][0, 0]) for s in used],
        length_baseline=[float(style[s.prompt_id][1, 0]) for s in used],
        clusters=[s.cluster for s in used],
    )


def verdict_table(used: Sequence[Score], style: Style) -> tuple[VerdictTable, StyleCounts]:
    """Add verdicts up by prompt, in the order of their first verdict, with the style of both answers."""
    prompts = tuple(dict.fromkeys(s.prompt_id for s in used))
    place = {prompt: index for index, prompt in enumerate(prompts)}
    won, weight = np.zeros((1, len(prompts))), np.zeros((1, len(prompts)))
    for s in used:
        won[0, place[s.prompt_id]] += s.weight * (s.value or 0.0)
        weight[0, place[s.prompt_id]] += s.weight
    counts = StyleCounts(
        models=np.array([[style[p][0] for p in prompts]]),
        baseline=np.array([style[p][1] for p in prompts]),
    )
    return VerdictTable((_MODEL,), won, weight), counts


def _style_controlled(scored: list[Score], style: Style, version: Version) -> Estimate:
    table, counts = verdict_table(with_style(scored, style), style)
    result = style_controlled_win_rates(table, counts, StyleControl(version=version))
    if _MODEL not in result.win_rates:
        from harness.errors import StatisticsError

        raise StatisticsError(result.left_out.get(_MODEL, "the style regression has no figure for this model"))
    estimate = result.win_rates[_MODEL]
    return replace(estimate, method=f"{estimate.method}; lengths in characters")
