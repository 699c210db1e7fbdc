"""Several metrics tested at once: keep the chance of any false claim at alpha."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Holm's step-down adjusted p-values.

    Sorted ascending, the i-th of m becomes max_{j <= i} min(1, (m - j + 1) p_(j)). Rejecting where the adjusted
    value is at most alpha keeps the familywise error rate at alpha under any dependence between the tests.

    Parameters
    ----------
    p_values : sequence of float, length m
        Each in [0, 1].

    Returns
    -------
    ndarray, shape (m,)
        In the order given.

    Raises
    ------
    StatisticsError
        No p-values, or one that is not a probability.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian J. Statistics 6:65-70.
    """
    p = finite_array(p_values, "p-values")
    if (p < 0.0).any() or (p > 1.0).any():
        raise StatisticsError(f"p-values from {p.min():g} to {p.max():g}", "numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


def holm_by_name(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Adjust named p-values; a test that could not be made stays None and does not count towards the number of tests.

    Parameters
    ----------
    p_values : mapping of str to float or None
        One per metric.

    Returns
    -------
    dict of str to float or None
        Same keys, same order.

    Raises
    ------
    StatisticsError
        A value that is not a probability.
    """
    names = [name for name, p in p_values.items() if p is not None]
    if not names:
        return dict.fromkeys(p_values)
    adjusted = holm([p for p in p_values.values() if p is not None])
    found = dict(zip(names, adjusted.tolist(), strict=True))
    return {name: found.get(name) for name in p_values}
