r"""Bradley-Terry strengths of many models from comparisons with any opponents, not only one baseline.

The probability that i beats j is :math:`\sigma(\theta_i - \theta_j)`. A tie counts half a win for each side and a
comparison may carry a weight. Strengths are natural-log odds with sum zero. The fit is Newton's method on counts
added up by pair, for one data set or for a whole batch of bootstrap replicates at once.

A finite maximum exists only if no group of models won (or lost) everything against the rest (Ford 1957). Where there
is none, the error names the group; a ridge makes any data fit by shrinking all strengths towards equality.

References
----------
Bradley and Terry (1952), Biometrika 39, 324-345. Ford (1957), American Mathematical Monthly 64(8), 28-33. Hunter
(2004), Annals of Statistics 32, 384-406.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.special import expit

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, cluster_resamples, finite_array

Indices = NDArray[np.int64]

_MAX_ITERATIONS = 100
_TOLERANCE = 1e-10
"""Largest change of a strength at which the fit has converged."""
_LARGEST_STEP = 4.0
"""Newton's step is shortened to this, so that a start far from the optimum does not overshoot."""


@dataclass(frozen=True)
class Comparisons:
    """Comparisons added up by cluster and pair.

    Parameters
    ----------
    models : tuple of str, length M
        Sorted by name.
    first, second : ndarray of int, shape (P,)
        The pairs that met, as positions in `models`, first < second.
    won_first, won_second : sparse array, shape (C, P)
        Weight won by each side in each cluster; half of a tie to each.
    n : int
        Comparisons added up.
    """

    models: tuple[str, ...]
    first: Indices
    second: Indices
    won_first: Any
    won_second: Any
    n: int

    @property
    def n_clusters(self) -> int:
        """Independent units."""
        return int(self.won_first.shape[0])

    @cached_property
    def totals(self) -> tuple[Floats, Floats]:
        """Weight won by each side of each pair over all clusters, each of shape (1, P)."""
        first, second = (np.asarray(won.sum(axis=0), dtype=np.float64) for won in (self.won_first, self.won_second))
        return first.reshape(1, -1), second.reshape(1, -1)

    @cached_property
    def incidence(self) -> Any:
        """One row a pair: 1 for its first model, -1 for its second; sparse, shape (P, M)."""
        n_pairs = self.first.size
        rows, columns = np.tile(np.arange(n_pairs), 2), np.concatenate([self.first, self.second])
        return sparse.csr_array((np.repeat([1.0, -1.0], n_pairs), (rows, columns)), shape=(n_pairs, len(self.models)))


@dataclass(frozen=True, slots=True)
class BradleyTerryDraws:
    """Strengths refitted to resampled clusters.

    Parameters
    ----------
    models : tuple of str, length M
        Sorted by name.
    log_strength : ndarray, shape (B, M)
        One row a replicate.
    n_dropped : int
        Replicates without a finite fit, left out of `log_strength`.
    """

    models: tuple[str, ...]
    log_strength: Floats
    n_dropped: int


def compare(
    first: Sequence[str],
    second: Sequence[str],
    scores: Sequence[float] | Floats,
    weights: Sequence[float] | Floats,
    clusters: Sequence[Hashable],
) -> Comparisons:
    """Add single comparisons up.

    Parameters
    ----------
    first, second : sequence of str, length n
        Who is compared.
    scores : sequence of float, length n
        Score of `first`: 1 won, 0.5 tied, 0 lost, or a share between.
    weights : sequence of float, length n
        Weight of each comparison, above 0.
    clusters : sequence of hashable, length n
        The independent unit each belongs to, as a rule the prompt.

    Returns
    -------
    Comparisons

    Raises
    ------
    StatisticsError
        Lengths differ, a model meets itself, a score outside 0 to 1, a weight of 0 or less.
    """
    score, weight = finite_array(scores, "scores"), finite_array(weights, "weights")
    if not len(first) == len(second) == score.size == weight.size:
        raise StatisticsError(
            f"{len(first)} first models, {len(second)} second, {score.size} scores, {weight.size} weights",
            "four sequences of one length",
        )
    if np.any((score < 0) | (score > 1)) or np.any(weight <= 0):
        raise StatisticsError("a score outside 0 to 1 or a weight of 0 or less", "scores 1, 0.5 or 0; weights above 0")
    codes, n_clusters = cluster_codes(clusters, score.size)
    models = tuple(sorted(set(first) | set(second)))
    place = {model: i for i, model in enumerate(models)}
    one, two = (np.array([place[m] for m in side], dtype=np.int64) for side in (first, second))
    if np.any(one == two):
        raise StatisticsError(
            f"{models[int(one[one == two][0])]} is compared with itself",
            "two different models",
            "leave such rows out: they say nothing about strength",
        )
    keys, pair = np.unique(np.minimum(one, two) * len(models) + np.maximum(one, two), return_inverse=True)
    score_low = np.where(one < two, score, 1.0 - score)
    won_first, won_second = (
        sparse.csr_array((weight * share, (codes, pair)), shape=(n_clusters, keys.size))
        for share in (score_low, 1.0 - score_low)
    )
    return Comparisons(models, keys // len(models), keys % len(models), won_first, won_second, score.size)


def fit_bradley_terry(data: Comparisons, ridge: float = 0.0) -> Floats:
    """Fit strengths by maximum (penalised) likelihood.

    Parameters
    ----------
    data : Comparisons
        From :func:`compare`.
    ridge : float
        Precision of a normal prior on each log strength; 0 for none, 0.01 is weak, 1 strong.

    Returns
    -------
    ndarray, shape (M,)
        Log strengths in the order of ``data.models``, sum zero.

    Raises
    ------
    StatisticsError
        A ridge below 0 or (without a ridge) groups that never met or a group that won or lost everything.
    """
    if not (math.isfinite(ridge) and ridge >= 0.0):
        raise StatisticsError(f"a ridge of precision {ridge}", "a number of 0 or more", "0.01 is a weak one")
    if ridge == 0.0:
        refuse_unconnected(data)
        _refuse_infinite_fit(data)
    return np.asarray(_newton(data, data.totals, np.zeros((1, len(data.models))), ridge)[0], dtype=np.float64)


def bootstrap_bradley_terry(
    data: Comparisons, rng: np.random.Generator, n_rounds: int = 1000, ridge: float = 0.0
) -> BradleyTerryDraws:
    """Refit strengths to resampled clusters, all replicates of a batch in one Newton iteration.

    Parameters
    ----------
    data : Comparisons
        At least two clusters.
    rng : numpy.random.Generator
        Source of randomness.
    n_rounds : int
        Replicates.
    ridge : float
        As in the fit.

    Returns
    -------
    BradleyTerryDraws

    Raises
    ------
    StatisticsError
        One cluster, or more than one replicate in twenty without a finite fit.
    """
    if data.n_clusters < 2 or n_rounds < 1:
        raise StatisticsError(
            f"{data.n_clusters} prompt(s) to resample in {n_rounds} rounds", "at least 2 prompts and 1 round"
        )
    start = fit_bradley_terry(data, ridge)
    chunks, n_dropped = [], 0
    widest = max(len(data.models) ** 2, data.first.size)
    for counts in cluster_resamples(data.n_clusters, widest, rng, n_rounds):
        won = counts @ data.won_first, counts @ data.won_second
        if ridge == 0.0:
            finite = _has_finite_fit(data, won)
            n_dropped += int(np.count_nonzero(~finite))
            won = won[0][finite], won[1][finite]
        chunks.append(_newton(data, won, np.tile(start, (len(won[0]), 1)), ridge))
    if n_dropped > 0.05 * n_rounds:
        raise StatisticsError(
            f"{n_dropped} of {n_rounds} resamples have no finite fit: a model won or lost everything in them",
            "at most one in twenty",
            "collect more prompts, or use a ridge of precision 0.01",
        )
    return BradleyTerryDraws(data.models, np.concatenate(chunks), n_dropped)


def elo_ratings(log_strength: Floats, anchor: int | None = None) -> Floats:
    """Put strengths on the Elo scale: 400 points are odds of ten to one.

    Parameters
    ----------
    log_strength : ndarray, shape (..., M)
        Natural-log strengths.
    anchor : int, optional
        Position of the model that is given 1000 points; otherwise the mean is.

    Returns
    -------
    ndarray, shape (..., M)
    """
    ratings = 400.0 / math.log(10.0) * np.asarray(log_strength, dtype=np.float64)
    base = ratings.mean(axis=-1, keepdims=True) if anchor is None else ratings[..., [anchor]]
    return np.asarray(ratings - base + 1000.0, dtype=np.float64)


def refuse_unconnected(data: Comparisons) -> None:
    """Raise if there are groups of models that never met, directly or through others.

    Raises
    ------
    StatisticsError
        The message names the groups.
    """
    labels = _components(data, (data.totals[0][0], data.totals[1][0]), "weak")
    if labels.max() > 0:
        groups = [_named(data.models, labels == label) for label in range(labels.max() + 1)]
        raise StatisticsError(
            "groups of models that never met: " + " | ".join(groups),
            "models joined by a chain of comparisons",
            "add comparisons that join them, or rate each group alone",
        )


def _refuse_infinite_fit(data: Comparisons) -> None:
    """Raise if a group of models won or lost everything against the rest (Ford 1957); the group is named."""
    won_first, won_second = data.totals[0][0], data.totals[1][0]
    labels = _components(data, (won_first, won_second), "strong")
    if labels.max() == 0:
        return
    complaints = []
    for label in range(labels.max() + 1):
        inside = labels == label
        leaves_first = inside[data.first] & ~inside[data.second]
        leaves_second = inside[data.second] & ~inside[data.first]
        lost = won_second[leaves_first].sum() + won_first[leaves_second].sum()
        won = won_first[leaves_first].sum() + won_second[leaves_second].sum()
        if lost == 0 or won == 0:
            what = "won" if lost == 0 else "lost"
            complaints.append(f"{_named(data.models, inside)} {what} every comparison with the others")
    raise StatisticsError(
        "; ".join(complaints) + ": the strength is infinite",
        "both wins and losses between any two groups",
        "add comparisons, or use a ridge of precision 0.01",
    )


def _has_finite_fit(data: Comparisons, won: tuple[Floats, Floats]) -> NDArray[np.bool_]:
    """Whether each row of pair totals (B, P) has a finite fit, given that the data it was resampled from have one."""
    finite = np.ones(len(won[0]), dtype=np.bool_)
    never_first, never_second = (total[0] == 0 for total in data.totals)
    lacking = (((won[0] == 0) & ~never_first) | ((won[1] == 0) & ~never_second)).any(axis=1)
    for row in np.flatnonzero(lacking):
        finite[row] = _components(data, (won[0][row], won[1][row]), "strong").max() == 0
    return finite


def _components(data: Comparisons, won: tuple[Floats, Floats], connection: Literal["weak", "strong"]) -> Indices:
    """Label models by component of the graph in which an edge leads from a winner to whom it beat."""
    up, down = won[0] > 0, won[1] > 0
    winners = np.concatenate([data.first[up], data.second[down]])
    losers = np.concatenate([data.second[up], data.first[down]])
    shape = (len(data.models), len(data.models))
    graph = sparse.csr_array((np.ones(winners.size), (winners, losers)), shape=shape)
    return np.asarray(csgraph.connected_components(graph, connection=connection)[1], dtype=np.int64)


def _named(models: Sequence[str], chosen: NDArray[np.bool_]) -> str:
    names = [model for model, included in zip(models, chosen, strict=True) if included]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _newton(data: Comparisons, won: tuple[Floats, Floats], start: Floats, ridge: float) -> Floats:
    """Maximise the likelihood of pair totals (B, P) from `start` (B, M); a step that would lower it is halved."""
    strength: Floats = start - start.mean(axis=1, keepdims=True)
    total = won[0] + won[1]
    value = _objective(data, won, strength, ridge)
    for _ in range(_MAX_ITERATIONS):
        probability = expit(strength[:, data.first] - strength[:, data.second])
        gradient = (won[0] - total * probability) @ data.incidence - ridge * strength
        information = _information(data, total * probability * (1.0 - probability), ridge)
        step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
        step -= step.mean(axis=1, keepdims=True)
        largest = np.abs(step).max(axis=1, initial=0.0)
        if (largest < _TOLERANCE).all():
            break
        step *= np.minimum(1.0, _LARGEST_STEP / np.maximum(largest, _LARGEST_STEP))[:, None]
        for _ in range(30):
            moved = strength + step
            reached = _objective(data, won, moved, ridge)
            worse = reached < value - 1e-12 * np.abs(value)
            if not worse.any():
                break
            step = np.where(worse[:, None], 0.5 * step, step)
        strength, value = moved, reached
    return strength


def _information(data: Comparisons, curvature: Floats, ridge: float) -> Floats:
    """Information matrices (B, M, M) from the pairs' curvature (B, P), made invertible along the free shift."""
    n_models = len(data.models)
    matrix = np.zeros((len(curvature), n_models, n_models))
    matrix[:, data.first, data.second] = -curvature
    matrix[:, data.second, data.first] = -curvature
    diagonal = np.arange(n_models)
    matrix[:, diagonal, diagonal] = -matrix.sum(axis=2) + ridge
    if ridge == 0.0:
        matrix += (curvature.sum(axis=1) / n_models**2)[:, None, None]
    return matrix


def _objective(data: Comparisons, won: tuple[Floats, Floats], strength: Floats, ridge: float) -> Floats:
    difference = strength[:, data.first] - strength[:, data.second]
    likelihood = -(won[0] * np.logaddexp(0.0, -difference) + won[1] * np.logaddexp(0.0, difference)).sum(axis=1)
    return np.asarray(likelihood - 0.5 * ridge * (strength**2).sum(axis=1), dtype=np.float64)
