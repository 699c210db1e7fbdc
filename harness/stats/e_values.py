"""E-values: evidence that may be multiplied as it comes in.

An e-value is nonnegative and has mean at most 1 under the null hypothesis, so it exceeds 1/alpha with probability at
most alpha. Capital won by betting is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats


def combine_e_values(
    log_e: Sequence[float] | Floats, dependence: Literal["sequential", "arbitrary"] = "arbitrary"
) -> float:
    """Combine e-values against the same hypothesis into one, on the log scale.

    Parameters
    ----------
    log_e : sequence of float
        Logarithms; -inf stands for an e-value of 0.
    dependence : {"sequential", "arbitrary"}
        Sequential: each was made from data independent of those before (fresh prompts), or is conditionally valid given
        them; their product is an e-value. Arbitrary: the same prompts; only their mean is.

    Returns
    -------
    float
        Logarithm of the combined e-value.

    Raises
    ------
    StatisticsError
        No e-values, or NaN or infinite evidence.

    References
    ----------
    Vovk and Wang (2021), E-values: calibration, combination and applications, Annals of Statistics 49:1736-1754.
    """
    array = np.asarray(log_e, dtype=np.float64)
    if array.size == 0 or np.isnan(array).any() or (array == np.inf).any():
        raise StatisticsError(f"{array.size} e-values, not all of them numbers", "finite e-values, at least one")
    if dependence == "sequential":
        return float(array.sum())
    top = float(array.max())
    if top == -math.inf:
        return -math.inf
    return top + math.log(float(np.mean(np.exp(array - top))))


def e_to_p(log_e: float) -> float:
    """Turn an e-value, or the largest capital so far, into a p-value: min(1, 1/e) (Ville's inequality)."""
    return 1.0 if log_e <= 0.0 else math.exp(-log_e)


def p_to_e(p_value: float, kappa: float = 0.5) -> float:
    """Calibrate a p-value to an e-value, kappa p^(kappa - 1).

    Parameters
    ----------
    p_value : float
        In (0, 1].
    kappa : float
        In (0, 1); smaller values reward very small p more.

    Raises
    ------
    StatisticsError
        Either is out of range.

    References
    ----------
    Vovk and Wang (2021), section 2.
    """
    if not 0.0 < p_value <= 1.0 or not 0.0 < kappa < 1.0:
        raise StatisticsError(f"p = {p_value}, kappa = {kappa}", "p in (0, 1], kappa in (0, 1)")
    return float(kappa * p_value ** (kappa - 1.0))
