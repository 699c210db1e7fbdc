"""Resampling whole clusters, vectorised by multinomial weights.

Drawing G clusters with replacement is drawing how often each is taken, a multinomial count. A statistic that
accepts observation weights is therefore evaluated on all replicates at once, with no copy of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.estimate import Estimate

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

_CELLS_AT_ONCE = 4_000_000
"""Weights held in memory at a time (32 MB)."""


def finite_array(values: Sequence[float] | Floats, name: str) -> Floats:
    """Turn values into a one-dimensional float array, refusing what is not a number.

    Parameters
    ----------
    values : sequence of float
        What to convert.
    name : str
        What to call them in the error.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    StatisticsError
        Empty, not one-dimensional, not numeric, NaN or infinite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StatisticsError(f"{name} are not all numbers ({error})", "finite numbers") from error
    if array.ndim != 1:
        raise StatisticsError(f"{name} have {array.ndim} dimensions", "one dimension")
    if array.size == 0:
        raise StatisticsError(f"no {name}", "at least one observation", "check that anything was scored")
    n_bad = int(np.count_nonzero(~np.isfinite(array)))
    if n_bad:
        raise StatisticsError(
            f"{n_bad} of {array.size} {name} are NaN or infinite",
            "finite numbers",
            "leave out what was not scored and count it; a missing score is a reason, never a number",
        )
    return array


def cluster_codes(clusters: Sequence[Hashable] | NDArray[np.generic], n: int) -> tuple[NDArray[np.int64], int]:
    """Number the clusters 0 to G - 1 in order of first appearance.

    Parameters
    ----------
    clusters : sequence of hashable, length n
        One label per observation.
    n : int
        Observations there should be.

    Returns
    -------
    codes : ndarray of int, shape (n,)
    n_clusters : int

    Raises
    ------
    StatisticsError
        The lengths differ, or a label is None or NaN.
    """
    labels = clusters.tolist() if isinstance(clusters, np.ndarray) else list(clusters)
    if len(labels) != n:
        raise StatisticsError(f"{len(labels)} cluster labels for {n} observations", "one label per observation")
    if any(label is None or (isinstance(label, float) and math.isnan(label)) for label in labels):
        raise StatisticsError("a cluster label is None or NaN", "a label per observation", "name the prompt of each")
    known: dict[Hashable, int] = {}
    codes = np.fromiter((known.setdefault(label, len(known)) for label in labels), dtype=np.int64, count=n)
    return codes, len(known)


@dataclass(frozen=True, slots=True)
class BootstrapSpec:
    """How to resample.

    Parameters
    ----------
    n_boot : int
        Replicates.
    level : float
        Nominal coverage.
    """

    n_boot: int = 2000
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.n_boot < 100:
            raise StatisticsError(f"n_boot is {self.n_boot}", "at least 100", "2000 is usual for a 95 % interval")
        if not 0.0 < self.level < 1.0:
            raise StatisticsError(f"level is {self.level}", "a number between 0 and 1", "write 0.95 for 95 %")


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """A statistic and what resampling says of it.

    Parameters
    ----------
    value : float
        The statistic on the data as they are.
    stderr : float or None
        Standard deviation of the replicates; None with a single cluster.
    ci_low, ci_high : float or None
        Confidence limits: quantiles of the replicates, moved outwards for the number of clusters (`expanded_tails`).
    replicates : ndarray, shape (at most n_boot,)
        The statistic on each resample; resamples on which it is undefined are left out.
    n_clusters : int
        Clusters resampled.
    note : str
        Why part is missing; "" as a rule.
    """

    value: float
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    replicates: Floats
    n_clusters: int
    note: str = ""

    def estimate(self, method: str, n: int, level: float) -> Estimate:
        """Give the statistic of n observations as an estimate."""
        limits = self.stderr, self.ci_low, self.ci_high
        return Estimate(self.value, *limits, level, method, n, self.n_clusters, self.note)


def cluster_bootstrap(
    statistic: Statistic,
    clusters: Sequence[Hashable] | NDArray[np.generic],
    rng: np.random.Generator,
    spec: BootstrapSpec | None = None,
) -> BootstrapResult:
    """Bootstrap a weighted statistic by resampling whole clusters.

    Parameters
    ----------
    statistic : callable
        Maps weights of shape (B, n), one row per resample, to values of shape (B,). A row of ones must give the
        statistic of the data. Where a resample leaves it undefined it returns NaN.
    clusters : sequence of hashable, length n
        The cluster (prompt) of each observation.
    rng : numpy.random.Generator
        Source of randomness.
    spec : BootstrapSpec, optional
        Replicates and level.

    Returns
    -------
    BootstrapResult

    Raises
    ------
    StatisticsError
        The statistic is undefined on the data, or on more than one resample in twenty.

    References
    ----------
    Davison and Hinkley (1997), Bootstrap Methods and their Application, sections 2.4 (resampling of units) and
    5.2-5.3.
    """
    spec = spec or BootstrapSpec()
    labels = clusters.tolist() if isinstance(clusters, np.ndarray) else list(clusters)
    codes, n_clusters = cluster_codes(labels, len(labels))
    value = float(statistic(np.ones((1, codes.size)))[0])
    if not np.isfinite(value):
        raise StatisticsError("the statistic is undefined on these data", "a finite value", "check for missing groups")
    if n_clusters == 1:
        note = "one cluster: no spread between clusters to learn an interval from"
        return BootstrapResult(value, None, None, None, np.empty(0), 1, note)
    batches = cluster_resamples(n_clusters, codes.size, rng, spec.n_boot)
    replicates = np.concatenate([statistic(counts[:, codes]) for counts in batches])
    defined = replicates[np.isfinite(replicates)]
    n_undefined = replicates.size - defined.size
    if n_undefined > 0.05 * replicates.size:
        raise StatisticsError(
            f"the statistic is undefined on {n_undefined} of {replicates.size} resamples",
            "at most one in twenty",
            "there are too few clusters, or too few that matter; collect more",
        )
    note = f"{n_undefined} of {replicates.size} resamples left the statistic undefined" if n_undefined else ""
    low, high = np.quantile(defined, expanded_tails(spec.level, n_clusters))
    return BootstrapResult(value, float(defined.std(ddof=1)), float(low), float(high), defined, n_clusters, note)


def cluster_resamples(n_clusters: int, n_columns: int, rng: np.random.Generator, n_boot: int) -> Iterator[Floats]:
    """How often each cluster is drawn in each resample, in batches that fit in memory.

    Parameters
    ----------
    n_clusters : int
        Clusters to draw from, and draws per resample.
    n_columns : int
        Width of the widest array the caller makes per resample; it sets the batch.
    rng : numpy.random.Generator
        Source of randomness.
    n_boot : int
        Resamples in all.

    Yields
    ------
    ndarray, shape (b, n_clusters)
        Counts as floats; the b add up to `n_boot`.
    """
    probabilities = np.full(n_clusters, 1.0 / n_clusters)
    step = max(1, _CELLS_AT_ONCE // max(n_columns, n_clusters))
    for start in range(0, n_boot, step):
        counts = rng.multinomial(n_clusters, probabilities, size=min(step, n_boot - start))
        yield counts.astype(np.float64)


def expanded_tails(level: float, n_clusters: int) -> Floats:
    """Tail probabilities that give a percentile interval the width of a t interval.

    Resampling G clusters understates the spread by sqrt((G - 1) / G) and ignores that it is estimated. The lower
    tail becomes Phi(-sqrt(G / (G - 1)) t), t the t quantile on G - 1 degrees of freedom.

    Parameters
    ----------
    level : float
        Nominal coverage.
    n_clusters : int
        At least 2.

    Returns
    -------
    ndarray, shape (2,)

    References
    ----------
    Hesterberg (2015), What teachers should know about the bootstrap, The American Statistician 69:371-386,
    section 5.3.
    """
    quantile = stats.t.ppf(0.5 + level / 2.0, n_clusters - 1) * (n_clusters / (n_clusters - 1)) ** 0.5
    tail = float(stats.norm.sf(quantile))
    return np.array([tail, 1.0 - tail])
