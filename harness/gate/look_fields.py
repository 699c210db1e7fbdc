"""The fields of a policy that say when its rules are tested: once, after every prompt, or at planned looks.

::

    method: group_sequential     # or fixed (once, the default), or betting (after every prompt)
    looks: 10                    # equally spaced; or shares of the prompts [0.25, 0.5]; or prompts [100, 200, 400]
    spending: hwang_shih_decani  # the default; or obrien_fleming, pocock, or the share of alpha spent by each look
    gamma: -4                    # of hwang_shih_decani; -4 is the default
    futility: {power: 0.8}       # optional: stop where the full benchmark is unlikely to pass the rule
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from harness.errors import nearest
from harness.gate.rule_fields import FrozenModel
from harness.stats.error_spending import Spending

Method = Literal["fixed", "betting", "group_sequential"]
SpendingName = Literal["obrien_fleming", "pocock", "hwang_shih_decani"]

LAST_LOOK = 1.0
"""The share of the prompts at the last look, which every plan has."""

_GAMMA = -4.0
_FUTILITY_GAMMA = -2.0


def _looks_given(given: Any) -> Any:
    if isinstance(given, bool) or not isinstance(given, int | list | tuple):
        raise ValueError(  # noqa: TRY004 - pydantic turns it into the message of a wrong field
            f"a number of looks (10), or a list of shares of the prompts or of numbers of prompts, not {given!r}"
        )
    return given


def _spending_given(given: Any) -> Any:
    if isinstance(given, str) and given not in get_args(SpendingName):
        close = nearest(given, get_args(SpendingName))
        names = ", ".join(get_args(SpendingName))
        raise ValueError(
            f"{names}, or the share of alpha spent by each look" + (f"; did you mean {close}?" if close else "")
        )
    return given


class Futility(FrozenModel):
    """Non-binding bounds below which a run may stop because it is unlikely to pass.

    Parameters
    ----------
    power : float or None
        Power that the design has at the effect it is planned for, the bounds taken as binding; by default the policy's
        target power. One minus the power is spent on stopping too soon.
    spending : {"obrien_fleming", "pocock", "hwang_shih_decani"}
        How it is spent.
    gamma : float
        Of hwang_shih_decani.
    """

    power: float | None = Field(default=None, gt=0.5, lt=1.0)
    spending: SpendingName = "hwang_shih_decani"
    gamma: float = _FUTILITY_GAMMA

    def spending_function(self) -> Spending:
        """Return how the chance of stopping too soon is spent."""
        return Spending(self.spending, self.gamma)


class LookFields(FrozenModel):
    """When the rules of a policy are tested.

    Parameters
    ----------
    method : {"fixed", "betting", "group_sequential"}
        fixed: once, on all prompts. betting: after every prompt. group_sequential: at planned looks.
    looks : int or tuple of float
        Number of equally spaced looks; or shares of the prompts, at most 1; or numbers of prompts. The last look is
        always at all prompts.
    spending : str or tuple of float
        Function by which alpha is spent; or the share of alpha spent by each look, one for each.
    gamma : float or None
        Parameter of hwang_shih_decani: -4 is near O'Brien and Fleming's bounds, 1 near Pocock's.
    futility : Futility or None
        Non-binding futility bounds.
    """

    written_if_set = frozenset({"method", "looks", "spending", "gamma", "futility"})

    method: Method = "fixed"
    looks: Annotated[int | tuple[float, ...], BeforeValidator(_looks_given)] = 10
    spending: Annotated[SpendingName | tuple[float, ...], BeforeValidator(_spending_given)] = "hwang_shih_decani"
    gamma: float | None = None
    futility: Futility | None = None

    @model_validator(mode="after")
    def _planned_looks(self) -> Self:
        given = self.model_fields_set & {"looks", "spending", "gamma", "futility"}
        if given and self.method != "group_sequential":
            raise ValueError(f"{', '.join(sorted(given))} without method: group_sequential; add it, or remove them")
        if self.gamma is not None and self.spending != "hwang_shih_decani":
            raise ValueError("gamma is the parameter of spending: hwang_shih_decani; remove it")
        if isinstance(self.looks, int):
            if not 1 <= self.looks <= 100:
                raise ValueError(f"looks: {self.looks}; a number from 1 to 100 is expected, or a list")
        else:
            _check_looks(self.looks)
        if not isinstance(self.spending, str):
            _check_shares(self.spending, self.n_looks)
        return self

    @property
    def n_looks(self) -> int:
        """Number of looks, with the last."""
        if isinstance(self.looks, int):
            return self.looks
        return len(self.looks) + (self.looks[-1] != LAST_LOOK)

    def spending_function(self) -> Spending:
        """Return how alpha is spent over the looks."""
        if isinstance(self.spending, str):
            return Spending(self.spending, _GAMMA if self.gamma is None else self.gamma)
        return Spending("shares", shares=self.spending)


def _check_looks(looks: tuple[float, ...]) -> None:
    shown = ", ".join(f"{look:g}" for look in looks)
    if not looks:
        raise ValueError("looks: an empty list; a number of looks, shares of the prompts or numbers of prompts")
    if any(later <= earlier for earlier, later in itertools.pairwise(looks)):
        raise ValueError(f"looks: {shown} go back in time; each must be later than the one before")
    if looks[0] <= 0:
        raise ValueError(f"looks: {shown}; a look needs prompts")
    if looks[-1] > LAST_LOOK and any(look != int(look) or look < 2 for look in looks):
        raise ValueError(f"looks: {shown}; either all are shares of the prompts (at most 1), or all numbers of prompts")


def _check_shares(shares: tuple[float, ...], n_looks: int) -> None:
    shown = ", ".join(f"{share:g}" for share in shares)
    if len(shares) != n_looks:
        raise ValueError(f"spending: {len(shares)} shares of alpha for {n_looks} looks (the last is at all prompts)")
    if any(later < earlier for earlier, later in itertools.pairwise(shares)) or shares[0] < 0:
        raise ValueError(f"spending: {shown}; shares of alpha spent so far cannot fall")
    if shares[-1] > 1:
        raise ValueError(f"spending: {shown} spends {shares[-1]:g} times alpha; the last share is at most 1")
