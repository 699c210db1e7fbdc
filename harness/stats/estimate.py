"""The one shape every figure comes in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.errors import StatisticsError


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its uncertainty.

    Parameters
    ----------
    value : float
        The point estimate, in the metric's own unit (win rates and accuracies in percent).
    stderr : float or None
        Standard error, same unit; None where it cannot be estimated (one cluster).
    ci_low, ci_high : float or None
        Confidence limits, same unit.
    level : float
        Nominal coverage of the interval, for example 0.95.
    method : str
        How the interval was made, in words a methods section can use.
    n : int
        Observations used.
    n_clusters : int
        Independent units among them (prompts).
    note : str
        Why part of it is missing, or what to beware of; "" as a rule.

    Raises
    ------
    StatisticsError
        A field is NaN or infinite: not measured is a reason, never a number.
    """

    value: float
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    level: float
    method: str
    n: int
    n_clusters: int
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "stderr", "ci_low", "ci_high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise StatisticsError(
                    f"{name} is {number} ({self.method})", "a finite number", "give a reason, not a number"
                )
