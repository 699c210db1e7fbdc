"""Options of both versions of RewardBench, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.reward_bench.measuring import Judging
from harness.errors import SpecError, nearest

__all__ = ["OPTIONS", "checked_options", "judging_of"]


OPTIONS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "data": (lambda v: isinstance(v, str | Path) and str(v) != "", "a path"),
    "prior_sets": (lambda v: isinstance(v, bool), "true or false"),
    "orders": (lambda v: v in ("both", "one"), "both, or one (chosen by the seed, as upstream)"),
    "max_tokens": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v > 0, "a positive whole number"),
    "ask": (lambda v: v in ("judge", "implicit"), "judge (by a prompt), or implicit (by log-probabilities)"),
    "reference": (lambda v: isinstance(v, str | Path) and str(v) != "", "a directory or hub id"),
    "reference_free": (lambda v: v in ("sum", "average"), "sum or average"),
}
"""Options by name: what is valid, in code and in words."""


def checked_options(benchmark: str, options: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Check options and give them their types.

    Parameters
    ----------
    benchmark : str
        For messages.
    options : mapping
        As given in a spec or on the command line.
    known : set of str
        Names this version takes, of `OPTIONS`.

    Raises
    ------
    SpecError
        An option is not known, or its value is wrong.
    """
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            close = nearest(key, known)
            raise SpecError(
                f"unknown option {key!r} of {benchmark}",
                "one of " + ", ".join(sorted(known)),
                f"did you mean {close}?" if close else "remove it",
            )
        valid, wanted = OPTIONS[key]
        if not valid(value):
            raise SpecError(f"option {key} of {benchmark} is {value!r}", wanted, f"correct {key}")
        values[key] = Path(value) if key == "data" else value
    if values.get("ask") != "implicit":
        implied = [key for key in ("reference", "reference_free") if key in values]
        if implied and values.get("ask") == "judge":
            raise SpecError(f"option {implied[0]} of {benchmark} is for ask=implicit", remedy="leave one of them out")
        values |= {"ask": "implicit"} if implied else {}
    if "reference" in values and "reference_free" in values:
        raise SpecError(f"both reference and reference_free are options of {benchmark}", "one of them")
    return values


def judging_of(form: str, values: Mapping[str, Any]) -> Judging:
    """Make of checked options how a language model is asked."""
    reference = values.get("reference")
    return Judging(
        form=form,
        orders=values.get("orders", "both"),
        max_tokens=values.get("max_tokens"),
        ask=values.get("ask", "judge"),
        reference=None if reference is None else str(reference),
        reference_free=values.get("reference_free", "sum"),
    )
