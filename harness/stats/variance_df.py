"""Degrees of freedom of a t test when the spread itself is poorly known."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array


def variance_df(values: Sequence[float] | Floats) -> float:
    """Degrees of freedom that the sample variance of heavy-tailed values is worth.

    For independent values of variance s2 and kurtosis k, Var(sample variance) = s2^2 ((k - 3) / n + 2 / (n - 1)). A
    scaled chi-square with the same mean and variance has df = 2 / ((k - 3) / n + 2 / (n - 1)) (Satterthwaite's
    matching): n - 1 for normal values, far fewer where the mean rests on a handful of them. The sample's kurtosis
    stands for k, and tails lighter than the normal's count as normal, so the result never passes n - 1.

    Parameters
    ----------
    values : sequence of float, length n
        At least 2, one per independent unit.

    Returns
    -------
    float
        At most n - 1.

    Raises
    ------
    StatisticsError
        Fewer than two values, or one that is not finite.

    References
    ----------
    Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics 2:110-114.
    Kenney and Keeping (1951), Mathematics of Statistics, part 2, section 7.7 (the variance of a sample variance).
    """
    array = finite_array(values, "values")
    n = array.size
    if n < 2:
        raise StatisticsError(f"{n} values", "at least 2")
    centred = array - array.mean()
    second = float((centred**2).mean())
    if second <= (1e-12 * max(1.0, abs(float(array.mean())))) ** 2:
        return float(n - 1)
    kurtosis = float((centred**4).mean()) / second**2
    return min(float(n - 1), 2.0 / (max(kurtosis - 3.0, 0.0) / n + 2.0 / (n - 1)))
