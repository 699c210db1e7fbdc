"""Figures at equal length of the answers, for benchmarks whose judge rates answers or compares them with a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.errors import AssayError, StatisticsError
from harness.protocols import FittedComparison
from harness.records import Score, SummaryRow
from harness.run.figures import estimate_row, guarded_row, reason_row, select
from harness.stats.estimate import Estimate
from harness.stats.length_control import (
    LengthControlSpec,
    PairScores,
    length_controlled_difference,
    length_controlled_pairs,
)
from harness.stats.length_control_ratings import RatingPanel, length_controlled_panel


def controlled_ratings(
    benchmark: str, metric: str, scores: Mapping[str, Sequence[Score]], scale: tuple[tuple[float, float], int]
) -> dict[str, SummaryRow]:
    """Rate several models as if their answers were equally long.

    Parameters
    ----------
    benchmark, metric : str
        Name of the rows.
    scores : mapping of str to sequence of Score
        Each model's scores "rating" and "length", with the same parts.
    scale : ((float, float), int)
        Ends of the ratings' scale, and the seed of the bootstrap.

    Returns
    -------
    dict of str to SummaryRow
        The length-controlled score of each model.
    """
    rating, length, model, item, cluster = [], [], [], [], []
    for name, found in scores.items():
        lengths = {(s.prompt_id, s.part): s.value for s in select(found, "length")}
        for s in select(found, "rating"):
            known = lengths.get((s.prompt_id, s.part))
            if s.value is not None and known is not None:
                rating.append(s.value)
                length.append(known)
                model.append(name)
                item.append((s.prompt_id, s.part))
                cluster.append(s.cluster)
    bounds, seed = scale
    panel = RatingPanel(rating, length, model, item, cluster, bounds)
    try:
        controlled = length_controlled_panel(panel, np.random.default_rng(seed))
    except AssayError as error:
        reason = " ".join(str(error).split())
        return {name: reason_row(benchmark, metric, reason) for name in scores}
    return {
        name: estimate_row(benchmark, metric, controlled[name].estimate, select(scores[name], "rating"))
        if name in controlled
        else reason_row(benchmark, metric, "no rating with a known length")
        for name in scores
    }


def controlled_win_rate(benchmark: str, metric: str, scores: Sequence[Score], seed: int) -> SummaryRow:
    """Return the row of the win rate at equal length, from the scores "preference" and "length" of both sides."""
    lengths = _lengths(scores)

    def compute(scored: list[Score]) -> Estimate:
        return length_controlled_pairs(_pairs(scored, lengths), np.random.default_rng(seed)).estimate

    verdicts = select(scores, "preference")
    if not lengths:
        return reason_row(benchmark, metric, "the answers of both sides are needed", verdicts)
    return guarded_row(benchmark, metric, verdicts, compute)


def compare_controlled(
    scores: tuple[Sequence[Score], Sequence[Score]], rng: np.random.Generator, level: float
) -> FittedComparison:
    """Compare two runs' win rates at equal length on the verdicts both have; both are refitted to the same resamples.

    Raises
    ------
    StatisticsError
        The runs share no verdict with known lengths, or a fit fails.
    """
    lengths = _lengths(scores[0]), _lengths(scores[1])
    found = [
        {(s.prompt_id, s.part): s for s in select(side, "preference") if s.value is not None and s.prompt_id in known}
        for side, known in zip(scores, lengths, strict=True)
    ]
    shared = sorted(found[0].keys() & found[1].keys())
    if not shared:
        raise StatisticsError("the runs share no verdict with known lengths", "runs of the same prompts")
    first, second = (_pairs([side[key] for key in shared], known) for side, known in zip(found, lengths, strict=True))
    compared = length_controlled_difference(first, second, rng, LengthControlSpec(level=level))
    return FittedComparison(compared.first, compared.second, compared.difference, compared.p_value)


def _lengths(scores: Sequence[Score]) -> dict[str, tuple[float, float]]:
    """Both sides' lengths, of prompts for which both are known."""
    sides = [{s.prompt_id: s.value for s in select(scores, "length", part)} for part in ("candidate", "baseline")]
    return {
        key: (own, other)
        for key, own in sides[0].items()
        if own is not None and (other := sides[1].get(key)) is not None
    }


def _pairs(scored: Sequence[Score], lengths: Mapping[str, tuple[float, float]]) -> PairScores:
    used = [s for s in scored if s.value is not None and s.prompt_id in lengths]
    return PairScores(
        score=[s.value or 0.0 for s in used],
        weight=[s.weight for s in used],
        length_model=[lengths[s.prompt_id][0] for s in used],
        length_baseline=[lengths[s.prompt_id][1] for s in used],
        clusters=[s.cluster for s in used],
    )
