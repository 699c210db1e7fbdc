"""Arena-Hard: five-way verdicts of a model against one baseline, played in both orders.

Both versions of the benchmark count a slight verdict once and a decisive one (``A>>B``, ``B>>A``) three times, a tie as
half a win. Version 2 averages the counts; version 0.1 fits a Bradley-Terry model, which for models that all play
only the baseline gives the same number (:func:`win_rate` says why).

The figures here are win rates in percent with an interval over prompts. The interval upstream publishes, which
takes verdict rows for independent, is in :mod:`benchmarks.arena_hard.published_arena`.

References
----------
Li et al. (2024), From Crowdsourced Data to High-Quality Benchmarks: Arena-Hard and BenchBuilder, arXiv:2406.11939.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.bootstrap import cluster_codes, finite_array
from harness.stats.estimate import Estimate
from harness.stats.rate_interval import RateSample, rate_interval

Floats = NDArray[np.float64]
Position = Literal["A", "B"]

DECISIVE_WEIGHT = 3
"""How often a decisive verdict counts."""

_A_SCORE = {
    "A>>B": (1.0, True),
    "A>B": (1.0, False),
    "A=B": (0.5, False),
    "B>A": (0.0, False),
    "B>>A": (0.0, True),
    # the same five written from the other side; the judge is not asked for them but uses them now and then
    "B<<A": (1.0, True),
    "B<A": (1.0, False),
    "B=A": (0.5, False),
    "A<B": (0.0, False),
    "A<<B": (0.0, True),
}

LABELS: Mapping[tuple[str, Position], tuple[float, int]] = {
    (label, position): (score if position == "A" else 1.0 - score, DECISIVE_WEIGHT if decisive else 1)
    for label, (score, decisive) in _A_SCORE.items()
    for position in ("A", "B")
}
"""(verdict, where the model's answer stood) -> (score of the model: 1, 0.5 or 0; weight)."""

_GAME_POSITIONS: tuple[Position, Position] = ("B", "A")
"""Where the model stands in the two games: second in the first game, first in the second."""


@dataclass(frozen=True, slots=True)
class Battle:
    """A model against the baseline on one prompt.

    Parameters
    ----------
    model, baseline : str
        Who plays.
    prompt : hashable
        The prompt's id, the unit that is resampled.
    games : tuple of two (str or None)
        The verdicts: in the first game the baseline is A, in the second the model is. None where there is none.
    """

    model: str
    baseline: str
    prompt: Hashable
    games: tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class VerdictTable:
    """All models' verdicts against one baseline, added up by prompt.

    Parameters
    ----------
    models : tuple of str, length M
        In order of first appearance; the baseline may be among them, judged against itself.
    baseline : str
        Whom all play.
    prompts : tuple, length P
        In order of first appearance.
    won : ndarray, shape (M, P)
        Weight won: a decisive win 3, a slight one 1, a tie 0.5.
    weight : ndarray, shape (M, P)
        Weight played; 0 where a model has no verdict on a prompt.
    outcomes : ndarray of int, shape (M, 3)
        Verdict rows won, tied, lost, a decisive verdict being three rows.
    n_games : ndarray of int, shape (M,)
        Verdicts used.
    n_unscored : ndarray of int, shape (M,)
        Verdicts left out: missing, or the other order's verdict is.
    """

    models: tuple[str, ...]
    baseline: str
    prompts: tuple[Hashable, ...]
    won: Floats
    weight: Floats
    outcomes: NDArray[np.int64]
    n_games: NDArray[np.int64]
    n_unscored: NDArray[np.int64]


def score_verdict(label: str, position: Position, decisive_weight: int = DECISIVE_WEIGHT) -> tuple[float, int]:
    """Score a verdict for the model.

    Parameters
    ----------
    label : str
        The verdict, for example "A>>B".
    position : {"A", "B"}
        Where the model's answer was shown.
    decisive_weight : int
        How often a decisive verdict counts.

    Returns
    -------
    score : float
        1 won, 0.5 tied, 0 lost.
    weight : int

    Raises
    ------
    StatisticsError
        The verdict is not one of the scale, or the weight is below 1.

    Examples
    --------
    >>> score_verdict("A>>B", "B")
    (0.0, 3)
    """
    if decisive_weight < 1:
        raise StatisticsError(f"a decisive verdict weighing {decisive_weight}", "a whole number of at least 1")
    try:
        score, weight = LABELS[label, position]
    except KeyError:
        raise StatisticsError(
            f"verdict {label!r} (model shown as {position!r})",
            "one of " + ", ".join(_A_SCORE) + "; the model shown as A or B",
            "count a verdict that could not be read as unscored (None), never as a tie",
        ) from None
    return score, decisive_weight if weight > 1 else 1


def tabulate(
    battles: Iterable[Battle],
    on_missing: Literal["pair", "game"] = "pair",
    decisive_weight: int = DECISIVE_WEIGHT,
) -> VerdictTable:
    """Add verdicts up by model and prompt.

    Parameters
    ----------
    battles : iterable of Battle
        One a model and prompt.
    on_missing : {"pair", "game"}
        What a missing verdict takes with it: both orders (as version 2 does, so that position cancels) or only itself
        (as version 0.1 does).
    decisive_weight : int
        How often a decisive verdict counts.

    Returns
    -------
    VerdictTable

    Raises
    ------
    StatisticsError
        No battle, two baselines, a model twice on one prompt, a verdict outside the scale, or a model with no verdict.
    """
    found = list(battles)
    baseline = _only_baseline(found)
    _refuse_duplicates(found)
    models = tuple(dict.fromkeys(b.model for b in found))
    prompts = tuple(dict.fromkeys(b.prompt for b in found))
    row_of, column_of = {m: i for i, m in enumerate(models)}, {p: i for i, p in enumerate(prompts)}
    won = np.zeros((len(models), len(prompts)))
    weight = np.zeros_like(won)
    outcomes = np.zeros((len(models), 3), dtype=np.int64)
    n_games = np.zeros(len(models), dtype=np.int64)
    n_unscored = np.zeros(len(models), dtype=np.int64)
    for battle in found:
        row, column = row_of[battle.model], column_of[battle.prompt]
        usable = [(label, position) for label, position in zip(battle.games, _GAME_POSITIONS, strict=True) if label]
        if on_missing == "pair" and len(usable) < 2:
            usable = []
        n_unscored[row] += 2 - len(usable)
        n_games[row] += len(usable)
        for label, position in usable:
            score, rows = score_verdict(label, position, decisive_weight)
            won[row, column] += rows * score
            weight[row, column] += rows
            outcomes[row, round(2 * (1.0 - score))] += rows
    empty = [m for m, total in zip(models, weight.sum(axis=1), strict=True) if total == 0]
    if empty:
        raise StatisticsError(
            f"no usable verdict for {', '.join(empty)}", "at least one", "judge the model, or leave it out"
        )
    return VerdictTable(models, baseline, prompts, won, weight, outcomes, n_games, n_unscored)


def win_rate(
    scores: Sequence[float] | Floats,
    weights: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
    level: float = 0.95,
) -> Estimate:
    r"""Estimate a model's win rate against the baseline, in percent, with an interval over prompts.

    The weighted mean of the verdicts' scores. It is version 2's definition (the mean over verdict rows, a decisive
    verdict being three) and also version 0.1's: with one opponent the Bradley-Terry likelihood
    :math:`w \log \sigma(d) + (n - w) \log \sigma(-d)` of a log strength difference d is greatest where
    :math:`\sigma(d) = w / n`, and it splits into one such term a model when all models play only the baseline.

    Parameters
    ----------
    scores : sequence of float, length n
        1 won, 0.5 tied, 0 lost.
    weights : sequence of float, length n
        3 for a decisive verdict, 1 otherwise.
    clusters : sequence of hashable, length n
        The prompt of each verdict.
    level : float
        Nominal coverage.

    Returns
    -------
    Estimate
        In percent. The standard error is that of a ratio of cluster totals (the limit of the prompt bootstrap); the
        interval is a t interval on the logit scale (:func:`harness.stats.rate_interval.rate_interval`).

    Raises
    ------
    StatisticsError
        A score outside 0 to 1, a weight that is not positive, lengths that differ, fewer than two prompts.

    References
    ----------
    Cochran (1977), Sampling Techniques, section 6.4, for the variance of a ratio of totals.
    """
    score_array, weight_array = finite_array(scores, "scores"), finite_array(weights, "weights")
    if score_array.size != weight_array.size:
        raise StatisticsError(f"{score_array.size} scores and {weight_array.size} weights", "one weight a score")
    if np.any((score_array < 0) | (score_array > 1)):
        raise StatisticsError("a score outside the scale", "scores between 0 (lost) and 1 (won)")
    if np.any(weight_array <= 0):
        raise StatisticsError("a weight of zero or less", "weights above 0", "leave out what is not scored")
    codes, n_clusters = cluster_codes(clusters, score_array.size)
    won, weight = np.zeros(n_clusters), np.zeros(n_clusters)
    np.add.at(won, codes, weight_array * score_array)
    np.add.at(weight, codes, weight_array)
    return _ratio_estimate(won, weight, score_array.size, level)


def win_rates(table: VerdictTable, level: float = 0.95) -> dict[str, Estimate]:
    """Estimate every model's win rate, as :func:`win_rate` does one.

    Parameters
    ----------
    table : VerdictTable
        The verdicts.
    level : float
        Nominal coverage.

    Returns
    -------
    dict
        Model to estimate, in percent.

    Raises
    ------
    StatisticsError
        A model with fewer than two prompts.
    """
    estimates = {}
    for row, model in enumerate(table.models):
        judged = table.weight[row] > 0
        estimates[model] = _ratio_estimate(
            table.won[row, judged], table.weight[row, judged], int(table.n_games[row]), level
        )
    return estimates


def bootstrap_win_rates(table: VerdictTable, rng: np.random.Generator, n_rounds: int = 1000) -> Floats:
    """Resample prompts, the same ones for all models, and recompute every win rate.

    Parameters
    ----------
    table : VerdictTable
        The verdicts.
    rng : numpy.random.Generator
        Source of randomness.
    n_rounds : int
        Replicates.

    Returns
    -------
    ndarray, shape (n_rounds, M)
        Win rates in percent, for rank ranges and for differences between models.

    Raises
    ------
    StatisticsError
        Fewer than two prompts or one round, or a model judged on so few prompts that a resample misses all of them.
    """
    n_prompts = len(table.prompts)
    if n_prompts < 2 or n_rounds < 1:
        raise StatisticsError(f"{n_prompts} prompts, {n_rounds} rounds", "at least 2 prompts and 1 round")
    counts = rng.multinomial(n_prompts, np.full(n_prompts, 1.0 / n_prompts), size=n_rounds).astype(np.float64)
    weight = counts @ table.weight.T
    missed = np.flatnonzero((weight == 0).any(axis=0))
    if missed.size:
        raise StatisticsError(
            f"a resample holds no verdict of {', '.join(table.models[i] for i in missed)}",
            "models judged on (nearly) the same prompts",
            "judge the missing prompts, or leave the model out",
        )
    return np.asarray(100.0 * (counts @ table.won.T) / weight, dtype=np.float64)


def _ratio_estimate(won: Floats, weight: Floats, n: int, level: float) -> Estimate:
    total = weight.sum()
    rate = float(won.sum() / total)
    return rate_interval(RateSample(rate, (won - rate * weight) / total, n), level, "weighted five-way win rate")


def _only_baseline(battles: Sequence[Battle]) -> str:
    baselines = sorted({b.baseline for b in battles})
    if len(baselines) != 1:
        raise StatisticsError(
            f"{len(baselines)} baselines ({', '.join(baselines) or 'no battle at all'})",
            "one baseline",
            "score each category against its own baseline, or fit harness.stats.bradley_terry to all of them",
        )
    return baselines[0]


def _refuse_duplicates(battles: Sequence[Battle]) -> None:
    twice = [key for key, count in Counter((b.model, b.prompt) for b in battles).items() if count > 1]
    if twice:
        model, prompt = twice[0]
        raise StatisticsError(
            f"{len(twice)} prompts judged twice, for example {model} on {prompt!r}",
            "one pair of games a model and prompt",
            "keep one judgment of each",
        )
