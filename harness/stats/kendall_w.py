"""Kendall's coefficient of concordance: how far several rankings of the same things agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec, Floats, cluster_codes, expanded_tails
from harness.stats.estimate import Estimate

_CELLS_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Concordance:
    """Agreement of rankings.

    Parameters
    ----------
    w : Estimate
        0 (none) to 1 (identical rankings), with an interval over clusters of items.
    p_value : float
        Of no agreement, by the chi-square approximation of Friedman's test; it takes items for independent.
    n_raters, n_items : int
        Rankings, and things ranked.
    """

    w: Estimate
    p_value: float
    n_raters: int
    n_items: int


def kendall_w(
    scores: Sequence[Sequence[float]] | Floats,
    rng: np.random.Generator,
    spec: BootstrapSpec | None = None,
    clusters: Sequence[Hashable] | None = None,
) -> Concordance:
    """Kendall's W of several raters, corrected for ties.

    With ranks r_ij of item j by rater i (ties get their average), column sums R_j, m raters, n items and
    T_i = sum over groups of ties of (t^3 - t): W = 12 sum (R_j - mean R)^2 / (m^2 (n^3 - n) - m sum T_i).

    Parameters
    ----------
    scores : array-like, shape (m, n)
        Every rater's score of every item; at least two of each.
    rng : numpy.random.Generator
        For the bootstrap.
    spec : BootstrapSpec, optional
        Replicates and level.
    clusters : sequence of hashable, optional
        The cluster (prompt) of each item; every item its own where not given.

    Returns
    -------
    Concordance

    Raises
    ------
    StatisticsError
        Fewer than two raters or items, NaN, or raters who all give every item the same score.

    References
    ----------
    Kendall and Gibbons (1990), Rank Correlation Methods, 5th edition, chapter 6. With ties, (m (n - 1)) W is Friedman's
    statistic.
    """
    spec = spec or BootstrapSpec()
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise StatisticsError(
            f"scores of shape {table.shape}", "finite scores, at least two raters and two items", "repeat the judging"
        )
    m, n = table.shape
    value = float(_w_of_many(table[None, :, :])[0])
    if not np.isfinite(value):
        raise StatisticsError("every rater gives all items the same score", "scores that differ")
    p_value = float(stats.chi2.sf(m * (n - 1) * value, n - 1))
    codes, n_clusters = cluster_codes(list(range(n)) if clusters is None else clusters, n)
    members = [np.flatnonzero(codes == g) for g in range(n_clusters)]

    def without_interval(note: str) -> Concordance:
        return Concordance(
            Estimate(value, None, None, None, spec.level, "Kendall's W", n, n_clusters, note), p_value, m, n
        )

    if n_clusters < 3:
        return without_interval(f"{n_clusters} clusters: too few for an interval")
    draws = _resampled(table, members, rng, spec.n_boot)
    defined = draws[np.isfinite(draws)]
    if defined.size < 0.95 * draws.size:
        return without_interval("too many resamples leave all scores equal for an interval")
    low, high = np.quantile(defined, expanded_tails(spec.level, n_clusters))
    method = f"Kendall's W, corrected for ties; percentile bootstrap of clusters, {spec.n_boot} resamples"
    estimate = Estimate(value, float(defined.std(ddof=1)), float(low), float(high), spec.level, method, n, n_clusters)
    return Concordance(estimate, p_value, m, n)


def _resampled(table: Floats, members: list[NDArray[np.intp]], rng: np.random.Generator, n_boot: int) -> Floats:
    """W on resamples of whole clusters; those with equally many items are ranked together."""
    n_clusters = len(members)
    by_size: dict[int, list[NDArray[np.intp]]] = defaultdict(list)
    for _ in range(n_boot):
        drawn = np.concatenate([members[g] for g in rng.integers(0, n_clusters, n_clusters)])
        by_size[drawn.size].append(drawn)
    parts = []
    for size, rows in by_size.items():
        step = max(1, _CELLS_AT_ONCE // (size * table.shape[0]))
        for start in range(0, len(rows), step):
            tables = table[:, np.stack(rows[start : start + step])]
            parts.append(_w_of_many(np.moveaxis(tables, 1, 0)))
    return np.concatenate(parts)


def _w_of_many(tables: Floats) -> Floats:
    """W of each of a stack of tables, shape (k, m, n)."""
    m = tables.shape[1]
    ranks = stats.rankdata(tables, axis=2)
    ranks = ranks - (tables.shape[2] + 1.0) / 2.0
    # m^2 (n^3 - n) - m sum T is 12 m times the raters' sums of squares: tied ranks have (n^3 - n - T) / 12 each
    most = m * (ranks**2).sum(axis=(1, 2))
    seen = (ranks.sum(axis=1) ** 2).sum(axis=1)
    found: Floats = np.where(most > 0.0, seen / np.where(most > 0.0, most, 1.0), np.nan)
    return found
