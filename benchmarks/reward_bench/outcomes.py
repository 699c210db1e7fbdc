"""Scores of measured items, for both versions: outcomes, ties, and whether the order of presentation decided.

An outcome is 1 if a right answer scores above every wrong one, 0 if a wrong one scores above, and 1/k if it shares the
first place with k - 1 others, as in upstream's version 2 (upstream's version 1 counts such a tie as wrong). A judge's
verdicts on the two orders of a pair count half each, so a judge that always names the first gets 0.5. A preference
model's probabilities are averaged over both orders before they decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.protocols import ScoreKind
from harness.records import Prompt, Response, Score, SummaryRow
from harness.run.figures import guarded_row, missing_reason, prompt_score, select
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean

TIED = "tied"
FIRST_SHOWN = "first_shown_preferred"
SCORE_KINDS: Mapping[str, ScoreKind] = {
    "outcome": ScoreKind("outcome", "share", (0.0, 1.0)),
    TIED: ScoreKind("measurement", "share", (0.0, 1.0)),
    FIRST_SHOWN: ScoreKind("measurement", "share", (0.0, 1.0)),
}
_MOST_FIRST_SHOWN = 90.0
_LEAST_ITEMS = 8


def outcome_of(meta: dict[str, Any], n_right: int) -> float:
    """Compute an item's credit from its measurements, 0 to 1."""
    if "rewards" in meta:
        best = max(meta["rewards"])
        winners = [i for i, reward in enumerate(meta["rewards"]) if reward == best]
        return sum(i < n_right for i in winners) / len(winners)
    if "p_first" in meta:
        return _half(meta["p_first"])
    credited = [_half(p if first == 0 else 1.0 - p) for first, _, p in meta["shown"]]
    return sum(credited) / len(credited)


def measured_scores(prompt: Prompt, candidate: Response) -> list[Score]:
    """Turn an item's measurements into scores.

    Parameters
    ----------
    prompt : Prompt
        The item.
    candidate : Response
        Its measurements, as `benchmarks.reward_bench.measuring` stores them.

    Returns
    -------
    list of Score
        "outcome"; "tied" (1 if right and wrong answers share the first place); and "first_shown_preferred" for each
        presentation, if answers were shown in an order.
    """
    if not candidate.ok:
        reason = missing_reason(candidate, None, needs_baseline=False)
        return [prompt_score(prompt, "outcome", reason=reason)]
    meta = candidate.meta
    if "reason" in meta:
        return [prompt_score(prompt, "outcome", reason=meta["reason"])]
    if "rewards" not in meta and "shown" not in meta:
        return [prompt_score(prompt, "outcome", reason="missing: nothing was measured")]
    outcome = outcome_of(meta, prompt.meta["n_right"])
    if "rewards" in meta:
        tied = 0.0 < outcome < 1.0
    else:
        tied = all(p == 0.5 for _, _, p in meta["shown"])
    scores = [
        prompt_score(prompt, "outcome", value=outcome),
        prompt_score(prompt, TIED, value=float(tied)),
    ]
    for number, (_, _, p) in enumerate(meta.get("shown", ()), start=1):
        scores.append(prompt_score(prompt, FIRST_SHOWN, f"presentation_{number}", value=_half(p)))
    return scores


def check_rows(name: str, scores: Sequence[Score]) -> list[SummaryRow]:
    """Make the rows that show whether accuracies are meaningful: the shares of ties and of first-shown verdicts."""
    rows = []
    for metric in (TIED, FIRST_SHOWN):
        chosen = select(scores, metric)
        if chosen:
            rows.append(guarded_row(name, metric, chosen, _share))
    return rows


def judge_problems(name: str, scores: Sequence[Score]) -> list[str]:
    """Say why no accuracy of the run can be trusted; empty if nothing is wrong.

    A model that ties all answers does not distinguish them; one that nearly always names the answer shown first (or
    second) judges the order.
    """
    problems = []
    tied = [s.value for s in select(scores, TIED) if s.value is not None]
    if len(tied) >= _LEAST_ITEMS and all(tied):
        problems.append(
            f"{name}: all {len(tied)} items are tied: the model does not tell answers apart (a head that gives all the "
            "same reward, a pad token that hides the answer, a judge that only says tie)"
        )
    first = [s.value for s in select(scores, FIRST_SHOWN) if s.value is not None]
    if len(first) >= _LEAST_ITEMS:
        share = 100.0 * sum(first) / len(first)
        if max(share, 100.0 - share) >= _MOST_FIRST_SHOWN:
            named = "first" if share > 50.0 else "second"
            problems.append(
                f"{name}: position bias: the answer shown {named} is preferred in {max(share, 100.0 - share):.1f} % of "
                f"{len(first)} presentations (limit {_MOST_FIRST_SHOWN:.0f} %)"
            )
    return problems


def _share(scored: list[Score]) -> Estimate:
    values = [100.0 * (s.value or 0.0) for s in scored]
    return cluster_mean(values, [s.cluster for s in scored], bounds=(0.0, 100.0))


def _half(p: float) -> float:
    """Turn a probability into a decision; 0.5 stays 0.5."""
    return 1.0 if p > 0.5 else 0.0 if p < 0.5 else 0.5
