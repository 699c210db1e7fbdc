"""pass@k: the chance that at least one of k samples for a problem is right."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, cluster_codes, finite_array
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean

__all__ = ["pass_at_k", "pass_at_k_of_problem"]


def pass_at_k_of_problem(n_samples: int, n_correct: int, k: int) -> float:
    """Estimate pass@k of one problem without bias, from n >= k samples.

    1 - C(n - c, k) / C(n, k), the chance that k of the n samples drawn without replacement hold a right one. The
    plug-in 1 - (1 - c / n)^k is biased low.

    Parameters
    ----------
    n_samples : int
        Samples taken, n.
    n_correct : int
        Right ones among them, c.
    k : int
        Samples a user would draw.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    StatisticsError
        Counts that cannot be, or fewer samples than k.

    References
    ----------
    Chen et al. (2021), Evaluating large language models trained on code, arXiv 2107.03374, equation 1.

    Examples
    --------
    >>> round(pass_at_k_of_problem(5, 2, 2), 12)
    0.7
    """
    if k < 1:
        raise StatisticsError(f"k is {k}", "a whole number from 1 on")
    if not 0 <= n_correct <= n_samples:
        raise StatisticsError(f"{n_correct} of {n_samples} samples are right", "from 0 to all of them")
    if n_samples < k:
        raise StatisticsError(
            f"pass@{k} from {n_samples} samples of a problem", f"at least {k} samples of each", "take more samples"
        )
    n_wrong = n_samples - n_correct
    if n_wrong < k:
        return 1.0
    # C(n - c, k) / C(n, k) as a product of c factors below 1: the binomials themselves overflow.
    return 1.0 - float(np.prod(1.0 - k / np.arange(n_wrong + 1, n_samples + 1, dtype=np.float64)))


def pass_at_k(
    correct: Sequence[bool] | Sequence[float] | Floats,
    problems: Sequence[Hashable] | NDArray[np.generic],
    k: int,
    level: float = 0.95,
) -> Estimate:
    """Mean pass@k over problems, with an interval over problems.

    Parameters
    ----------
    correct : sequence of bool, length n
        Whether each sample is right; what was not measured is left out by the caller.
    problems : sequence of hashable, length n
        The problem each sample is for. Problems may have different numbers of samples.
    k : int
        Samples a user would draw.
    level : float
        Nominal coverage.

    Returns
    -------
    Estimate
        In percent. `n` counts samples, `n_clusters` problems.

    Raises
    ------
    StatisticsError
        No samples, a value that is neither right nor wrong, lengths that differ, or a problem with fewer than k.

    Notes
    -----
    Problems, not samples, are the independent draws: the per-problem estimates are averaged with equal weight and
    their spread holds both kinds of chance, that of the problems and that of the samples. One sample each and k = 1
    is a share of right answers, with Wilson's interval; else see `harness.stats.mean.cluster_mean`. With the
    problems held fixed the interval is wider than needed.
    """
    right = finite_array(np.asarray(correct, dtype=np.float64), "samples")
    if not bool(np.all((right == 0.0) | (right == 1.0))):
        raise StatisticsError("a sample is neither right nor wrong", "0 or 1, or False or True")
    codes, n_problems = cluster_codes(problems, right.size)
    n_samples = np.bincount(codes, minlength=n_problems)
    n_correct = np.bincount(codes, weights=right, minlength=n_problems).astype(np.int64)
    values = [100.0 * pass_at_k_of_problem(int(n), int(c), k) for n, c in zip(n_samples, n_correct, strict=True)]
    estimate = cluster_mean(values, range(n_problems), level, bounds=(0.0, 100.0))
    method = f"pass@{k}, unbiased per problem; {estimate.method.replace('mean; ', 'mean over problems; ')}"
    return replace(estimate, method=method, n=int(right.size))
