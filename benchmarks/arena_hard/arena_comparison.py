"""Two runs' Arena-Hard win rates with length or style held equal, compared on the verdicts both have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.arena_hard.arena_figures import Style, length_pairs, style_by_prompt, verdict_table, with_style
from benchmarks.arena_hard.style import StyleControl, style_controlled_difference
from benchmarks.arena_hard.style_features import Version
from harness.errors import StatisticsError
from harness.protocols import FittedComparison
from harness.records import Score
from harness.run.figures import select
from harness.stats.length_control import LengthControlSpec, length_controlled_difference

BothScores = tuple[Sequence[Score], Sequence[Score]]


def compare_length_controlled(scores: BothScores, rng: np.random.Generator, level: float) -> FittedComparison:
    """Compare two runs' win rates at equal length; both are refitted to the same resampled prompts.

    Raises
    ------
    StatisticsError
        The runs share no verdict with known lengths, or a fit fails.
    """
    (first, first_style), (second, second_style) = _shared(scores)
    sides = length_pairs(first, first_style), length_pairs(second, second_style)
    compared = length_controlled_difference(*sides, rng, LengthControlSpec(level=level))
    return FittedComparison(compared.first, compared.second, compared.difference, compared.p_value)


def compare_style_controlled(scores: BothScores, version: Version, level: float) -> FittedComparison:
    """Compare two runs' win rates with style controlled, each by its own regression; errors as above."""
    (first, first_style), (second, second_style) = _shared(scores)
    sides = verdict_table(first, first_style), verdict_table(second, second_style)
    compared = style_controlled_difference(*sides, StyleControl(version=version), level)
    return FittedComparison(compared.first, compared.second, compared.difference, compared.p_value)


def _shared(scores: BothScores) -> list[tuple[list[Score], Style]]:
    """Return both runs' verdicts on the games that both have, in one order, with the style of the answers."""
    styles = [style_by_prompt(side) for side in scores]
    found = [
        {(s.prompt_id, s.part): s for s in with_style(select(side, "verdict"), style) if s.value is not None}
        for side, style in zip(scores, styles, strict=True)
    ]
    shared = sorted(found[0].keys() & found[1].keys())
    if not shared:
        raise StatisticsError("the runs share no verdict with known lengths", "runs of the same prompts")
    return [([side[key] for key in shared], style) for side, style in zip(found, styles, strict=True)]
