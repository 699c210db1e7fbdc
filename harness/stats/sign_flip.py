"""Permutation test of paired differences by flipping the sign of whole clusters."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, finite_array

_MOST_ENUMERATED = 14
"""Up to this many clusters that differ, all 2^G flips are counted."""
_CELLS_AT_ONCE = 2_000_000


def sign_flip_test(
    differences: Sequence[float] | Floats,
    clusters: Sequence[Hashable] | NDArray[np.generic],
    rng: np.random.Generator,
    n_permutations: int = 10_000,
) -> float:
    """Test that paired differences are symmetric about 0.

    Exchanging the two runs on a prompt flips the sign of all its differences. If the runs are equally good the flips
    are equally likely, and the p-value is the share of sign patterns whose sum is at least as far from 0.

    Parameters
    ----------
    differences : sequence of float, length n
        First run minus second.
    clusters : sequence of hashable, length n
        The prompt of each.
    rng : numpy.random.Generator
        Used where the patterns are sampled.
    n_permutations : int
        Patterns to sample where there are too many to enumerate.

    Returns
    -------
    float
        Two-sided p-value, in (0, 1]. With sampled patterns it is (b + 1) / (m + 1), which keeps the test valid.

    Raises
    ------
    StatisticsError
        A difference that is not finite, labels that do not fit, no permutations.

    References
    ----------
    Fisher (1935), The Design of Experiments, section 21. Phipson and Smyth (2010), Permutation p-values should never
    be zero, Statistical Applications in Genetics and Molecular Biology 9:39.
    """
    array = finite_array(differences, "differences")
    codes, n_clusters = cluster_codes(clusters, array.size)
    if n_permutations < 1:
        raise StatisticsError(f"{n_permutations} permutations", "at least 1")
    sums = np.bincount(codes, weights=array, minlength=n_clusters)
    sums = sums[sums != 0.0]
    if sums.size == 0:
        return 1.0
    # sums that differ by rounding alone are ties, and ties count against the null
    seen = abs(float(sums.sum())) * (1.0 - 1e-9) - 1e-12 * float(np.abs(sums).sum())
    if sums.size <= _MOST_ENUMERATED:
        patterns = (np.arange(2**sums.size)[:, None] >> np.arange(sums.size)) & 1
        totals = (1.0 - 2.0 * patterns) @ sums
        return float(np.mean(np.abs(totals) >= seen))
    n_extreme, step = 0, max(1, _CELLS_AT_ONCE // sums.size)
    for start in range(0, n_permutations, step):
        signs = rng.integers(0, 2, size=(min(step, n_permutations - start), sums.size), dtype=np.int8)
        totals = sums.sum() - 2.0 * (signs.astype(np.float64) @ sums)
        n_extreme += int(np.count_nonzero(np.abs(totals) >= seen))
    return (n_extreme + 1) / (n_permutations + 1)
