"""Agreement beyond chance: Cohen's and Fleiss' kappa, Krippendorff's alpha, Gwet's AC1, with intervals.

Each coefficient is 1 - (disagreement seen) / (disagreement expected by chance); they differ in what chance means.
Intervals resample clusters of items, the coefficient computed anew on each resample.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.bootstrap import BootstrapSpec, Floats, Statistic, cluster_bootstrap
from harness.stats.estimate import Estimate

_MOST_CATEGORIES = 200


@dataclass(frozen=True, slots=True)
class RatingTable:
    """Who gave which item which category.

    Parameters
    ----------
    ratings : sequence of rows, one per item
        Each row has one entry per rater: a category (a string or a number), or None where that rater gave none.
    clusters : sequence of hashable
        One per item: the prompt. None takes every item as its own.
    """

    ratings: Sequence[Sequence[str | float | None]]
    clusters: Sequence[Hashable] | None = None

    def counts(self) -> tuple[Floats, tuple[str | float, ...]]:
        """How many raters gave each item each category.

        Returns
        -------
        counts : ndarray, shape (items, categories)
        categories : tuple
            Sorted.

        Raises
        ------
        StatisticsError
            No items, rows of different length, NaN, text mixed with numbers, or far too many categories.
        """
        categories = self._categories()
        index = {category: k for k, category in enumerate(categories)}
        counts = np.zeros((len(self.ratings), len(categories)))
        for i, row in enumerate(self.ratings):
            for entry in row:
                if entry is not None:
                    counts[i, index[entry]] += 1.0
        return counts, categories

    def _categories(self) -> tuple[str | float, ...]:
        """The categories in use, sorted; as checked as `counts` says."""
        if not self.ratings or len({len(row) for row in self.ratings}) != 1:
            raise StatisticsError("no items, or rows of different length", "one row per item, one entry per rater")
        given = {entry for row in self.ratings for entry in row if entry is not None}
        numbers = [entry for entry in given if not isinstance(entry, str)]
        if 0 < len(numbers) < len(given):
            raise StatisticsError("text and numbers among the ratings", "categories of one type")
        if not np.isfinite(numbers).all():
            raise StatisticsError("a rating is NaN or infinite", "None where a rater gave none")
        if not 1 <= len(given) <= _MOST_CATEGORIES:
            raise StatisticsError(
                f"{len(given)} categories", f"1 to {_MOST_CATEGORIES}", "round a continuous score to a grid"
            )
        return tuple(sorted(given))

    def labels(self) -> list[Hashable]:
        """The cluster of each item.

        Raises
        ------
        StatisticsError
            Not one label per item.
        """
        labels: list[Hashable] = list(range(len(self.ratings)) if self.clusters is None else self.clusters)
        if len(labels) != len(self.ratings):
            raise StatisticsError(f"{len(labels)} cluster labels for {len(self.ratings)} items", "one label per item")
        return labels


def cohen_kappa(table: RatingTable, rng: np.random.Generator, spec: BootstrapSpec | None = None) -> Estimate:
    """Cohen's kappa of two raters; chance is each rater's own use of the categories.

    1 - sum_jk v_jk p_jk / sum_jk v_jk p_j. p_.k, with v_jk 1 off the diagonal and 0 on it.

    Parameters
    ----------
    table : RatingTable
        Two raters; items one of them left out are not used.
    rng : numpy.random.Generator
        For the bootstrap.
    spec : BootstrapSpec, optional
        Replicates and level.

    Returns
    -------
    Estimate

    Raises
    ------
    StatisticsError
        Not two raters, no item both rated, or both use one and the same category throughout (0 / 0).

    References
    ----------
    Cohen (1960), Educational and Psychological Measurement 20:37-46; (1968), Psychological Bulletin 70:213-220.
    """
    if any(len(row) != 2 for row in table.ratings):
        raise StatisticsError("not two raters", "two entries per item", "use fleiss_kappa or krippendorff_alpha")
    keep = [i for i, row in enumerate(table.ratings) if None not in row]
    if not keep:
        raise StatisticsError("no item that both raters rated", "at least one")
    labels = table.labels()
    both = RatingTable([table.ratings[i] for i in keep], [labels[i] for i in keep])
    _, categories = both.counts()
    k = len(categories)
    index: dict[str | float | None, int] = {category: j for j, category in enumerate(categories)}
    cells = np.zeros((len(keep), k * k))
    for i, (one, other) in enumerate(both.ratings):
        cells[i, index[one] * k + index[other]] = 1.0
    cost = 1.0 - np.eye(k)

    def statistic(resamples: Floats) -> Floats:
        joint = (resamples @ cells).reshape(-1, k, k) / resamples.sum(axis=1)[:, None, None]
        seen = (joint * cost).sum(axis=(1, 2))
        expected = np.einsum("bj,jk,bk->b", joint.sum(axis=2), cost, joint.sum(axis=1))
        return _beyond_chance(seen, expected)

    return _estimate(statistic, both, rng, spec, "Cohen's kappa, nominal weights")


def fleiss_kappa(table: RatingTable, rng: np.random.Generator, spec: BootstrapSpec | None = None) -> Estimate:
    """Fleiss' kappa of several interchangeable raters; chance is the pooled use of the categories.

    With n_ij raters of m giving item i category j: P_i = (sum_j n_ij^2 - m) / (m (m - 1)), p_j the pooled shares,
    kappa = (mean P_i - sum p_j^2) / (1 - sum p_j^2).

    Parameters
    ----------
    table : RatingTable
        Every item rated by the same number of raters, at least two.
    rng : numpy.random.Generator
        For the bootstrap.
    spec : BootstrapSpec, optional
        Replicates and level.

    Returns
    -------
    Estimate

    Raises
    ------
    StatisticsError
        Items with different numbers of ratings (Krippendorff's alpha takes those), fewer than two, or one category.

    References
    ----------
    Fleiss (1971), Measuring nominal scale agreement among many raters, Psychological Bulletin 76:378-382.
    """
    counts, _ = table.counts()
    per_item = counts.sum(axis=1)
    m = float(per_item[0])
    if m < 2.0 or not np.all(per_item == m):
        raise StatisticsError(
            f"{int(per_item.min())} to {int(per_item.max())} ratings per item",
            "the same number, at least two, for every item",
            "use krippendorff_alpha",
        )
    disagreement = 1.0 - ((counts**2).sum(axis=1) - m) / (m * (m - 1.0))

    def statistic(resamples: Floats) -> Floats:
        total = resamples.sum(axis=1)
        shares = resamples @ counts / (m * total)[:, None]
        return _beyond_chance(resamples @ disagreement / total, 1.0 - (shares**2).sum(axis=1))

    return _estimate(statistic, table, rng, spec, "Fleiss' kappa")


def gwet_ac1(table: RatingTable, rng: np.random.Generator, spec: BootstrapSpec | None = None) -> Estimate:
    """Gwet's AC1; chance is sum_j p_j (1 - p_j) / (K - 1), which stays informative where one category prevails.

    Parameters
    ----------
    table : RatingTable
        Two or more raters, entries may be missing; at least two categories in use.
    rng : numpy.random.Generator
        For the bootstrap.
    spec : BootstrapSpec, optional
        Replicates and level.

    Returns
    -------
    Estimate

    Raises
    ------
    StatisticsError
        No item with two ratings, or one category only.

    References
    ----------
    Gwet (2008), Computing inter-rater reliability and its variance in the presence of high agreement, British J.
    Mathematical and Statistical Psychology 61:29-48, equations 6 and 15.
    """
    counts, categories = table.counts()
    k = len(categories)
    if k < 2:
        raise StatisticsError("one category only", "at least two in use")
    per_item = counts.sum(axis=1)
    rated, paired = per_item >= 1.0, per_item >= 2.0
    if not paired.any():
        raise StatisticsError("no item with two ratings", "at least one")
    pairs = np.where(paired, per_item * (per_item - 1.0), 1.0)
    disagreement = np.where(paired, 1.0 - ((counts**2).sum(axis=1) - per_item) / pairs, 0.0)
    shares = counts / np.maximum(per_item, 1.0)[:, None]

    def statistic(resamples: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            seen = resamples @ disagreement / (resamples @ paired.astype(np.float64))
            p = resamples @ shares / (resamples @ rated.astype(np.float64))[:, None]
        chance = (p * (1.0 - p)).sum(axis=1) / (k - 1)
        return _beyond_chance(seen, 1.0 - chance)

    return _estimate(statistic, table, rng, spec, "Gwet's AC1")


def krippendorff_alpha(table: RatingTable, rng: np.random.Generator, spec: BootstrapSpec | None = None) -> Estimate:
    """Krippendorff's alpha for nominal categories: any number of raters, and missing entries.

    With the coincidences o_ck = sum_u n_uc (n_uk - [c = k]) / (m_u - 1) over items u of m_u >= 2 ratings, margins n_c
    and n in all, alpha = 1 - (n - 1) sum o_ck / sum n_c n_k, both sums over c != k.

    Parameters
    ----------
    table : RatingTable
        Two or more raters.
    rng : numpy.random.Generator
        For the bootstrap.
    spec : BootstrapSpec, optional
        Replicates and level.

    Returns
    -------
    Estimate

    Raises
    ------
    StatisticsError
        No item with two ratings, or one category only.

    References
    ----------
    Krippendorff (2011), Computing Krippendorff's alpha-reliability, University of Pennsylvania; (2004), Content
    Analysis, chapter 11.
    """
    counts, categories = table.counts()
    per_item = counts.sum(axis=1)
    pairable = per_item >= 2.0
    if not pairable.any():
        raise StatisticsError("no item with two ratings", "at least one")
    counts, per_item = counts * pairable[:, None], np.where(pairable, per_item, 2.0)
    k = len(categories)
    coincidences = counts[:, :, None] * (counts[:, None, :] - np.eye(k)) / (per_item - 1.0)[:, None, None]
    flat = coincidences.reshape(-1, k * k)
    distance = 1.0 - np.eye(k)

    def statistic(resamples: Floats) -> Floats:
        together = (resamples @ flat).reshape(-1, k, k)
        margins = together.sum(axis=2)
        seen = (together * distance).sum(axis=(1, 2))
        by_chance = np.einsum("bc,ck,bk->b", margins, distance, margins)
        return _beyond_chance(seen * (margins.sum(axis=1) - 1.0), by_chance)

    return _estimate(statistic, table, rng, spec, "Krippendorff's alpha, nominal")


def _beyond_chance(seen: Floats, expected: NDArray[np.float64]) -> Floats:
    """1 - seen / expected, NaN where chance leaves no disagreement to explain."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 1e-15, 1.0 - seen / expected, np.nan)


def _estimate(
    statistic: Statistic, table: RatingTable, rng: np.random.Generator, spec: BootstrapSpec | None, name: str
) -> Estimate:
    spec = spec or BootstrapSpec()
    found = cluster_bootstrap(statistic, table.labels(), rng, spec)
    method = f"{name}; percentile bootstrap of clusters, {spec.n_boot} resamples"
    return found.estimate(method, len(table.ratings), spec.level)
