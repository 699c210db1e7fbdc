"""The confidence above which a judge may decide alone: a threshold with a guarantee on its agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.errors import StatisticsError
from harness.stats.bootstrap import Floats, finite_array

_GRID = np.round(np.arange(1.0, 0.495, -0.01), 2)
"""Thresholds tried, from the strictest; fixed, so that the labels do not choose them."""


@dataclass(frozen=True, slots=True)
class EscalationThreshold:
    """A threshold on confidence, and what it keeps.

    Parameters
    ----------
    threshold : float or None
        The judge decides alone where its confidence is at least this; None if no threshold keeps the guarantee.
    alpha, delta : float
        Disagreement above the threshold is at most `alpha` with probability at least 1 - `delta`.
    n : int
        Labelled pairs.
    n_kept : int
        Those above the threshold.
    share_kept : float
        Share of pairs on which the judge decides alone.
    disagreement : float or None
        Observed share of disagreements among the kept.
    bound : float or None
        Upper confidence bound of the disagreement, of level 1 - `delta`.
    reason : str
        Why there is no threshold.
    """

    threshold: float | None
    alpha: float
    delta: float
    n: int
    n_kept: int = 0
    share_kept: float = 0.0
    disagreement: float | None = None
    bound: float | None = None
    reason: str = ""


def escalation_threshold(
    confidence: Sequence[float] | Floats, agrees: Sequence[bool], alpha: float = 0.15, delta: float = 0.1
) -> EscalationThreshold:
    """Find the lowest threshold at which the judge still agrees often enough.

    Parameters
    ----------
    confidence : sequence of float, length n
        The judge's probability of its own choice, from 0.5 to 1, on labelled pairs drawn at random.
    agrees : sequence of bool, length n
        Whether its choice is the label.
    alpha : float
        Largest share of disagreements above the threshold.
    delta : float
        Probability with which the guarantee may fail.

    Returns
    -------
    EscalationThreshold

    Raises
    ------
    StatisticsError
        No pairs, lengths that differ, confidences outside 0.5 to 1, or `alpha` or `delta` outside 0 to 1.

    Notes
    -----
    Fixed-sequence testing [1]_: from the strictest threshold down, the exact binomial upper bound of the disagreement
    is compared with `alpha`, and the first failure ends the sequence. Thresholds that keep so few pairs that even no
    disagreement would fail (fewer than log(delta) / log(1 - alpha)) are passed over; that depends on counts, not on
    labels.

    References
    ----------
    .. [1] Jung, Brahman and Choi (2024), "Trust or Escalate: LLM Judges with Provable Guarantees for Human Agreement",
       arXiv 2407.18370, section 2.
    """
    sure, right = finite_array(confidence, "confidences"), np.asarray(agrees, dtype=bool)
    _check(sure, right, alpha, delta)
    fewest = math.ceil(math.log(delta) / math.log1p(-alpha))
    best: EscalationThreshold | None = None
    for threshold in _GRID:
        kept = sure >= threshold - 1e-9
        n_kept = int(kept.sum())
        if n_kept < fewest:
            continue
        n_wrong = int((~right[kept]).sum())
        bound = 1.0 if n_wrong == n_kept else float(stats.beta.ppf(1.0 - delta, n_wrong + 1, n_kept - n_wrong))
        if bound > alpha:
            break
        share, observed = n_kept / sure.size, n_wrong / n_kept
        best = EscalationThreshold(float(threshold), alpha, delta, sure.size, n_kept, share, observed, bound)
    if best is not None:
        return best
    reason = (
        f"{sure.size} labelled pairs are too few: at least {fewest} above the threshold are needed"
        if int((sure >= _GRID[-1]).sum()) < fewest
        else f"even where the judge is surest it disagrees too often for at most {alpha:.0%}"
    )
    return EscalationThreshold(None, alpha, delta, sure.size, reason=reason)


def _check(sure: Floats, right: np.ndarray[tuple[int], np.dtype[np.bool_]], alpha: float, delta: float) -> None:
    if sure.size != right.size:
        raise StatisticsError(f"{sure.size} confidences for {right.size} labels", "a label for every confidence")
    if sure.min() < 0.5 - 1e-9 or sure.max() > 1.0 + 1e-9:
        raise StatisticsError(f"confidences from {sure.min():g} to {sure.max():g}", "probabilities from 0.5 to 1")
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0.0 < value < 1.0:
            raise StatisticsError(f"{name} is {value:g}", "a number between 0 and 1")
