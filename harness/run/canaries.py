"""Canaries: questions to a judge whose right answer is known, asked in every judged run.

A constant, empty-handed answer must lose; an answer against itself must tie; swapping two answers must not swap the
verdict. A judge who fails these measures something else, and a run judged by it is not valid. (A constant answer wins
86.5 % of AlpacaEval 2, length controlled: Zheng et al. 2024, arXiv:2410.07137.)

Each check is a rate with an exact interval; it trips where the interval lies beyond the limit, so that a few unlucky
verdicts do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from harness.errors import StatisticsError
from harness.records import Judgment, Preference, Rating, Verdict

__all__ = [
    "CanaryFinding",
    "CanaryLimits",
    "canary_problems",
    "null_rating",
    "null_response",
    "order_contradictions",
    "self_comparison",
]

NULL_RESPONSE = "I am sorry, but I cannot say anything about that."
"""An answer that fits no question."""


@dataclass(frozen=True)
class CanaryLimits:
    """Where a judge is no longer believed.

    Parameters
    ----------
    null_preferred : float
        Share of prompts on which the null response may be preferred to a real answer (ties count half).
    self_not_tied : float
        Share of comparisons of an answer with itself that may be decisive.
    contradictions : float
        Share of pairs whose two orders may prefer different sides. GPT-4 on MT-Bench: about 0.2 to 0.35.
    null_rating : float
        Share of the scale the null response may be rated at or above (0.5: the middle).
    decisive : float
        How far from one half a probability must lie to count as a preference.
    alpha : float
        One-sided error of tripping.
    """

    null_preferred: float = 0.1
    self_not_tied: float = 0.2
    contradictions: float = 0.4
    null_rating: float = 0.5
    decisive: float = 0.1
    alpha: float = 0.05


@dataclass(frozen=True)
class CanaryFinding:
    """What one check found.

    Parameters
    ----------
    name : str
        Which check.
    n : int
        Verdicts it rests on.
    n_bad : float
        How many went wrong (a tie with the null response counts half).
    rate, ci_low, ci_high : float or None
        Their share with the Clopper-Pearson interval of level 1 - 2 alpha; None without verdicts.
    limit : float
        What is allowed.
    tripped : bool
        Whether the interval lies above the limit.
    n_unscored : int
        Canary verdicts that could not be read.
    message : str
        In words.
    """

    name: str
    n: int
    n_bad: float
    rate: float | None
    ci_low: float | None
    ci_high: float | None
    limit: float
    tripped: bool
    n_unscored: int
    message: str

    def as_json(self) -> dict[str, Any]:
        """Plain values for summary.json."""
        return dict(vars(self))


_DEFAULT = CanaryLimits()


def null_response(judgments: Iterable[Judgment], limits: CanaryLimits = _DEFAULT) -> CanaryFinding:
    """Check that a real answer beats the null response.

    Parameters
    ----------
    judgments : iterable of Judgment
        Comparisons in which the null response has the role "candidate" and a real answer the role "baseline".
    """
    bad, n, n_unscored = 0.0, 0, 0
    for j in judgments:
        share = _share(j.verdict, j.order[0] == "candidate")
        if share is None:
            n_unscored += 1
            continue
        n += 1
        bad += 1.0 if share > 0.5 + limits.decisive else 0.5 if share >= 0.5 - limits.decisive else 0.0
    what = "the judge prefers a null response to a real answer"
    return _finding("null_response", (bad, n, n_unscored), limits.null_preferred, limits.alpha, what)


def null_rating(verdicts: Iterable[Verdict], limits: CanaryLimits = _DEFAULT) -> CanaryFinding:
    """Check that the null response is rated low, for judges who give single ratings.

    Parameters
    ----------
    verdicts : iterable of verdict
        On the null response, one a prompt.
    """
    bad, n, n_unscored = 0, 0, 0
    for verdict in verdicts:
        if not isinstance(verdict, Rating):
            n_unscored += 1
            continue
        n += 1
        bad += verdict.value >= verdict.low + limits.null_rating * (verdict.high - verdict.low)
    what = f"the judge rates a null response at {limits.null_rating:.0%} of the scale or above"
    return _finding("null_rating", (bad, n, n_unscored), limits.null_preferred, limits.alpha, what)


def self_comparison(verdicts: Iterable[Verdict], limits: CanaryLimits = _DEFAULT) -> CanaryFinding:
    """Check that an answer ties with itself.

    Parameters
    ----------
    verdicts : iterable of verdict
        Preferences between two copies of an answer. A judge who has no tie to offer but a probability is decisive
        where the probability is further than `limits.decisive` from one half.
    """
    bad, n, n_unscored = 0, 0, 0
    for verdict in verdicts:
        share = _share(verdict, True)
        if share is None:
            n_unscored += 1
            continue
        n += 1
        bad += abs(share - 0.5) > limits.decisive
    what = "the judge prefers one of two equal answers"
    return _finding("self_comparison", (bad, n, n_unscored), limits.self_not_tied, limits.alpha, what)


def order_contradictions(pairs: Iterable[tuple[Judgment, Judgment]], limits: CanaryLimits = _DEFAULT) -> CanaryFinding:
    """Check that the verdict follows the answers and not their places.

    Parameters
    ----------
    pairs : iterable of (Judgment, Judgment)
        The same two answers in both orders.

    Raises
    ------
    StatisticsError
        A pair was shown in the same order twice.
    """
    bad, n, n_unscored = 0, 0, 0
    for first, second in pairs:
        if first.order == second.order:
            raise StatisticsError("two judgments in the same order", "the same answers in both orders")
        shares = [_share(j.verdict, j.order[0] == "candidate") for j in (first, second)]
        if shares[0] is None or shares[1] is None:
            n_unscored += 1
            continue
        n += 1
        leans = [share - 0.5 for share in shares if share is not None]
        bad += leans[0] * leans[1] < 0.0 and min(abs(lean) for lean in leans) > limits.decisive
    what = "the judge contradicts itself when the order of two answers is swapped"
    return _finding("order_contradictions", (bad, n, n_unscored), limits.contradictions, limits.alpha, what)


def canary_problems(findings: Sequence[CanaryFinding]) -> list[str]:
    """Say what makes a run not valid; empty where every canary lives."""
    return [f"judge canary {f.name}: {f.message}" for f in findings if f.tripped]


def _share(verdict: Verdict, candidate_first: bool) -> float | None:
    if not isinstance(verdict, Preference):
        return None
    return verdict.p_first if candidate_first else 1.0 - verdict.p_first


def _finding(name: str, counts: tuple[float, int, int], limit: float, alpha: float, what: str) -> CanaryFinding:
    bad, n, n_unscored = counts
    if n == 0:
        message = f"no verdict to go by ({n_unscored} not scored)"
        return CanaryFinding(name, 0, 0.0, None, None, None, limit, False, n_unscored, message)
    low, high = clopper_pearson(bad, n, alpha)
    tripped = low > limit
    message = f"{what}: {bad:g} of {n} ({bad / n:.0%}, {1 - 2 * alpha:.0%} interval {low:.0%} to {high:.0%})"
    message += f", limit {limit:.0%}" if tripped else f", within the limit of {limit:.0%} or not certainly beyond it"
    return CanaryFinding(name, n, bad, bad / n, low, high, limit, tripped, n_unscored, message)


def clopper_pearson(n_bad: float, n: int, alpha: float) -> tuple[float, float]:
    """Exact limits of a proportion, each with one-sided error alpha; halves are taken as counted.

    References
    ----------
    Clopper and Pearson (1934), Biometrika 26:404-413.
    """
    low = 0.0 if n_bad <= 0 else float(stats.beta.ppf(alpha, n_bad, n - n_bad + 1))
    high = 1.0 if n_bad >= n else float(stats.beta.isf(alpha, n_bad + 1, n - n_bad))
    return low, high
