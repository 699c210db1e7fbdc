"""Error spending: how much of alpha a test that is looked at several times may have used up at each look.

A spending function of Lan and DeMets gives the share of alpha spent by the time the share t of the information is in.
The looks need not be planned: the bound of a look follows from what was spent before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from harness.errors import StatisticsError

SpendingKind = Literal["obrien_fleming", "pocock", "hwang_shih_decani", "shares"]


@dataclass(frozen=True, slots=True)
class Spending:
    """A spending function.

    Parameters
    ----------
    kind : {"obrien_fleming", "pocock", "hwang_shih_decani", "shares"}
        obrien_fleming: 2 - 2 Phi(z_{alpha/2} / sqrt(t)), nearly nothing early. pocock: alpha log(1 + (e - 1) t), much
        early. hwang_shih_decani: alpha (1 - exp(-gamma t)) / (1 - exp(-gamma)). shares: given for each look.
    gamma : float
        Parameter of hwang_shih_decani; 0 is linear.
    shares : tuple of float
        Shares of alpha spent by each look, for the kind "shares".

    Raises
    ------
    StatisticsError
        An unknown kind, a gamma beyond [-40, 40], or shares that fall or exceed 1.

    References
    ----------
    Lan and DeMets (1983), Discrete sequential boundaries for clinical trials, Biometrika 70:659-663. Hwang, Shih and
    DeCani (1990), Group sequential designs using a family of type I error probability spending functions, Statistics
    in Medicine 9:1439-1445. One-sided forms as in gsDesign (`sfLDOF`, `sfLDPocock`, `sfHSD`).
    """

    kind: SpendingKind = "obrien_fleming"
    gamma: float = -4.0
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("obrien_fleming", "pocock", "hwang_shih_decani", "shares"):
            raise StatisticsError(f"spending {self.kind!r}", "obrien_fleming, pocock, hwang_shih_decani or shares")
        if not -40.0 <= self.gamma <= 40.0:
            raise StatisticsError(f"gamma is {self.gamma}", "a number from -40 to 40", "-4 and 1 are usual")
        if self.kind == "shares":
            _check(self.shares, 1.0)

    def spent(self, information: Sequence[float], alpha: float) -> tuple[float, ...]:
        """Return the error spent by each look.

        Parameters
        ----------
        information : sequence of float
            Share of the information at each look, rising, in (0, 1].
        alpha : float
            One-sided error to be spent in all.

        Returns
        -------
        tuple of float

        Raises
        ------
        StatisticsError
            An alpha outside (0, 1), looks that go back in time or beyond all information, or another number of shares.
        """
        check_alpha(alpha)
        check_information(information)
        if self.kind == "shares":
            if len(self.shares) < len(information):
                raise StatisticsError(f"{len(self.shares)} shares of alpha for {len(information)} looks", "one a look")
            return tuple(alpha * share for share in self.shares[: len(information)])
        return tuple(min(alpha, self._at(t, alpha)) for t in information)

    def _at(self, t: float, alpha: float) -> float:
        if self.kind == "obrien_fleming":
            return 2.0 * float(stats.norm.sf(stats.norm.isf(alpha / 2.0) / math.sqrt(t)))
        if self.kind == "pocock":
            return alpha * math.log1p((math.e - 1.0) * t)
        if abs(self.gamma) < 1e-9:
            return alpha * t
        return alpha * math.expm1(-self.gamma * t) / math.expm1(-self.gamma)


def check_alpha(alpha: float) -> None:
    """Refuse an error level that no test can have.

    Raises
    ------
    StatisticsError
        It is not between 0 and 1.
    """
    if not 0.0 < alpha < 1.0:
        raise StatisticsError(f"alpha is {alpha}", "a number between 0 and 1", "0.05 is usual")


def check_information(information: Sequence[float]) -> None:
    """Refuse shares of the information that no sequence of looks can have.

    Raises
    ------
    StatisticsError
        There are none, they do not rise, or they lie outside (0, 1].
    """
    shown = ", ".join(f"{t:g}" for t in information) or "none"
    if not information or not all(0.0 < t <= 1.0 + 1e-12 for t in information):
        raise StatisticsError(f"information at the looks: {shown}", "shares of all information, above 0 and at most 1")
    if any(later <= earlier for earlier, later in itertools.pairwise(information)):
        raise StatisticsError(f"information at the looks: {shown}", "each look later than the one before")


def increments(spent: Sequence[float], alpha: float) -> tuple[float, ...]:
    """Return the error that each look may spend.

    Raises
    ------
    StatisticsError
        What was spent falls from one look to the next, or exceeds alpha.
    """
    _check(spent, alpha)
    return tuple(float(part) for part in np.diff([0.0, *spent]))


def _check(spent: Sequence[float], alpha: float) -> None:
    shown = ", ".join(f"{part:g}" for part in spent) or "none"
    if not spent or not all(math.isfinite(part) and part >= 0.0 for part in spent):
        raise StatisticsError(f"spent by each look: {shown}", "a number of at least 0 for each look")
    if any(later < earlier for earlier, later in itertools.pairwise(spent)):
        raise StatisticsError(f"spent by each look: {shown}", "what was spent cannot fall")
    if spent[-1] > alpha * (1.0 + 1e-9):
        raise StatisticsError(f"spent by each look: {shown}, more than {alpha:g}", f"at most {alpha:g} in all")
