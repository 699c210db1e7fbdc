"""The score and interval arena-hard-auto prints, version 0.1 and version 2, for comparison with published tables.

Both resample verdict rows as if they were independent. They are not: a decisive verdict stands in three rows, and the
two orders share a prompt and its answers. A nominal 95 % interval covers about 75 %; our own interval is in
:mod:`benchmarks.arena_hard.five_way`. What is kept here is upstream's definition, quirks included:

- version 2 (commit 196f6b8, ``show_result.py``): each model's rows are resampled on their own; the score is the mean of
  the 100 replicates (so it moves a little from run to run), the limits are the 5th and 95th percentile.
- version 0.1 (commit b4b78bf, ``show_result.py``, ``utils_math.py``): all models' rows are resampled together and the
  Bradley-Terry model refitted on the Elo scale; the limits are the 2.5th and 97.5th percentile of the Elo ratings,
  turned into win rates against *the same percentile of the baseline's rating* and rounded to two decimals. Only where
  the baseline is gpt-4-0314 does a replicate pin the baseline's rating; elsewhere the ratings of a replicate float.

A row bootstrap only needs the counts of rows won, tied and lost: drawing N rows with replacement is drawing those
counts from a multinomial distribution, which is what is done here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats

Counts = NDArray[np.int64]

ELO_SCALE = 400.0
PINNED_BASELINE = "gpt-4-0314"
"""The one baseline whose rating version 0.1 pins to 1000 in every replicate."""

_INITIAL_RATING = 1000.0
_HALF = np.array([1.0, 0.5, 0.0])


@dataclass(frozen=True, slots=True)
class PublishedInterval:
    """What upstream prints of a model, win rates in percent.

    Parameters
    ----------
    score : float
        Version 0.1: the Bradley-Terry win rate; version 2: the mean of the bootstrap replicates.
    ci_low, ci_high : float
        Upstream's percentiles.
    level : float
        Their nominal coverage: 0.95 in version 0.1, 0.90 in version 2.
    method : str
        How they were made.
    """

    score: float
    ci_low: float
    ci_high: float
    level: float
    method: str


def rate_from_elo(difference: float) -> float:
    """Share of games (0 to 1) won at this Elo difference."""
    if difference < -1e5:
        return 0.0
    return 1.0 / (1.0 + math.pow(10.0, -difference / ELO_SCALE))


def published_v2(outcomes: Counts, rng: np.random.Generator, n_rounds: int = 100) -> PublishedInterval:
    """Score and 90 % interval as version 2 prints them, for one model.

    Parameters
    ----------
    outcomes : ndarray of int, shape (3,)
        Verdict rows won, tied and lost; a decisive verdict is three rows.
    rng : numpy.random.Generator
        Source of randomness.
    n_rounds : int
        Replicates; upstream draws 100.

    Returns
    -------
    PublishedInterval

    Raises
    ------
    StatisticsError
        No rows, a negative count, or no round.
    """
    counts = _checked(outcomes[None, :], n_rounds)[0]
    n_rows = int(counts.sum())
    replicates = 100.0 * (rng.multinomial(n_rows, counts / n_rows, size=n_rounds) @ _HALF) / n_rows
    low, high = np.percentile(replicates, [5.0, 95.0])
    method = f"arena-hard-auto v2: row bootstrap, {n_rounds} rounds, 5th to 95th percentile, score their mean"
    return PublishedInterval(float(replicates.mean()), float(low), float(high), 0.90, method)


def rating_percentile(replicates: Floats, percent: float) -> Floats:
    """Percentile of each model's ratings by linear interpolation, as upstream takes it; ratings may be infinite.

    Parameters
    ----------
    replicates : ndarray, shape (B, ...)
        Ratings; infinite where a model won or lost everything.
    percent : float
        0 to 100.

    Returns
    -------
    ndarray, shape (...)
        Infinite where one of the two neighbouring order statistics is.
    """
    ordered = np.sort(replicates, axis=0)
    place = percent / 100.0 * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    lower, upper = ordered[below], ordered[above]
    both_finite = np.isfinite(lower) & np.isfinite(upper)
    gap = np.where(both_finite, upper - np.where(both_finite, lower, 0.0), 0.0)
    edge = np.where(np.isfinite(lower), upper, lower)
    return np.asarray(np.where(both_finite, lower + (place - below) * gap, edge), dtype=np.float64)


def published_v01(
    models: tuple[str, ...], outcomes: Counts, baseline: str, rng: np.random.Generator, n_rounds: int = 100
) -> dict[str, PublishedInterval]:
    """Scores and 95 % intervals as version 0.1 prints them, for all models of a leaderboard.

    Parameters
    ----------
    models : tuple of str, length M
        The models; the baseline's verdicts against itself, if there are any, are among them under its name.
    outcomes : ndarray of int, shape (M, 3)
        Verdict rows won, tied and lost; a decisive verdict is three rows.
    baseline : str
        Whom all play.
    rng : numpy.random.Generator
        Source of randomness.
    n_rounds : int
        Replicates; upstream draws 100 unless told otherwise.

    Returns
    -------
    dict
        Model to interval; without the baseline, which is 50 by definition.

    Raises
    ------
    StatisticsError
        No rows, a negative count, no round, or nobody but the baseline.

    Notes
    -----
    An unpinned replicate's ratings are fixed by the start of upstream's optimiser: their mean stays at 1000. If the
    baseline is judged against itself those rows fix its own rating instead, since upstream's design matrix gives them a
    single entry.
    """
    counts = _checked(outcomes, n_rounds)
    if len(models) != counts.shape[0]:
        raise StatisticsError(f"{len(models)} models and {counts.shape[0]} rows of counts", "one row a model")
    contestants = [i for i, model in enumerate(models) if model != baseline]
    if not contestants:
        raise StatisticsError(f"nobody plays the baseline {baseline}", "at least one other model")
    own = next((i for i, model in enumerate(models) if model == baseline), None)
    n_rows = int(counts.sum())
    drawn = rng.multinomial(n_rows, counts.ravel() / n_rows, size=n_rounds).reshape(n_rounds, *counts.shape)
    point = _elo(counts[None].astype(np.float64), contestants, own, pinned=True)[0]
    replicates = _elo(drawn.astype(np.float64), contestants, own, pinned=baseline == PINNED_BASELINE)
    low, high = (rating_percentile(replicates, q) for q in (2.5, 97.5))
    method = (
        f"arena-hard-auto v0.1: row bootstrap of Bradley-Terry ratings, {n_rounds} rounds, 2.5th to 97.5th percentile"
    )
    return {
        models[i]: PublishedInterval(
            _printed(point[k] - point[-1]),
            _printed(low[k] - low[-1]),
            _printed(high[k] - high[-1]),
            0.95,
            method,
        )
        for k, i in enumerate(contestants)
    }


def _elo(drawn: Floats, contestants: list[int], own: int | None, *, pinned: bool) -> Floats:
    """Fit ratings, shape (B, M + 1), the baseline last, to counts of shape (B, M, 3)."""
    difference = _elo_differences(drawn[:, contestants])
    if pinned:
        base = np.full(len(drawn), _INITIAL_RATING)
    elif own is not None:
        base = _INITIAL_RATING + _elo_differences(drawn[:, [own]])[:, 0]
    else:
        with np.errstate(invalid="ignore"):  # a model that won all and one that lost all: inf - inf, caught below
            base = _INITIAL_RATING - difference.sum(axis=1) / (difference.shape[1] + 1)
        if not np.isfinite(base).all():
            raise StatisticsError(
                "a model won or lost every verdict of a resample, and the ratings float with their mean",
                "models with both wins and losses",
                "leave that model out of the published interval",
            )
    return np.column_stack([base[:, None] + difference, base])


def _elo_differences(counts: Floats) -> Floats:
    won, lost = counts @ _HALF, counts @ _HALF[::-1]
    with np.errstate(divide="ignore"):  # an infinite rating is what winning everything means
        return np.asarray(ELO_SCALE * (np.log10(won) - np.log10(lost)), dtype=np.float64)


def _printed(difference: float) -> float:
    return round(100.0 * rate_from_elo(float(difference)), 2)


def _checked(outcomes: Counts, n_rounds: int) -> Counts:
    counts = np.asarray(outcomes)
    if counts.ndim != 2 or counts.shape[1] != 3 or not np.issubdtype(counts.dtype, np.integer):
        raise StatisticsError(
            f"counts of shape {counts.shape} and type {counts.dtype}", "whole numbers of rows won, tied, lost"
        )
    if (counts < 0).any() or (counts.sum(axis=1) == 0).any():
        raise StatisticsError("a negative count, or a model without verdicts", "at least one verdict a model")
    if n_rounds < 1:
        raise StatisticsError(f"{n_rounds} bootstrap rounds", "at least 1; upstream draws 100")
    return counts
