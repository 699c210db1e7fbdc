"""Helpers with which benchmarks make scores and the rows of the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from harness.errors import AssayError, PluginError
from harness.protocols import Benchmark, Items
from harness.records import Judgment, Preference, Prompt, Rating, Response, Score, SummaryRow, Unscored
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from harness.stats.weighted_mean import weighted_mean


def prompt_score(
    prompt: Prompt,
    metric: str,
    part: str = "",
    *,
    value: float | None = None,
    reason: str | None = None,
    weight: float = 1.0,
) -> Score:
    """Return a score of a prompt, with the prompt's cluster and category."""
    return Score(
        benchmark=prompt.benchmark,
        prompt_id=prompt.id,
        metric=metric,
        part=part,
        value=value,
        reason=reason,
        weight=weight,
        cluster=prompt.cluster,
        category=prompt.category,
    )


def select(scores: Iterable[Score], metric: str, part: str | None = None, category: str | None = None) -> list[Score]:
    """Return the scores of a metric, optionally of a part or category."""
    return [
        s
        for s in scores
        if s.metric == metric and (part is None or s.part == part) and (category is None or s.category == category)
    ]


def declared(benchmark: Benchmark, scores: list[Score]) -> list[Score]:
    """Return `scores` if the benchmark declares all their names.

    Raises
    ------
    PluginError
        A score has an undeclared name, which the gate and reports could not interpret.
    """
    unknown = sorted({s.metric for s in scores} - set(benchmark.score_kinds))
    if unknown:
        raise PluginError(
            "benchmark",
            benchmark.name,
            f"it returned scores it does not declare: {', '.join(unknown)}",
            f"names in score_kinds ({', '.join(benchmark.score_kinds)})",
        )
    return scores


def deciding(benchmark: Benchmark, scores: Iterable[Score]) -> list[Score]:
    """Return the scores that measure the quality of an answer (`ScoreKind.decides`)."""
    kinds = benchmark.score_kinds
    return [s for s in scores if s.metric in kinds and kinds[s.metric].decides]


def reasons_of(scores: Iterable[Score]) -> dict[str, int]:
    """Count the scores without a value by the code of their reason, most frequent first."""
    return dict(Counter(s.reason.partition(":")[0] for s in scores if s.reason is not None).most_common())


def unscored_reason(verdict: Unscored) -> str:
    """Return a verdict's reason in the format of a score's: the code, then the detail."""
    return f"{verdict.reason}: {verdict.detail}" if verdict.detail else verdict.reason


def missing_reason(candidate: Response, baseline: Response | None, needs_baseline: bool) -> str:
    """Return the reason why a prompt has no judgment."""
    if not candidate.ok:
        return f"no_response: {candidate.error}" if candidate.error else "missing: nothing stored"
    if needs_baseline and baseline is None:
        return "no_baseline: the baseline has no answer to this prompt"
    if needs_baseline and baseline is not None and not baseline.ok:
        return f"no_baseline: {baseline.error}"
    return "missing: not judged"


def verdict_of(judgments: Sequence[Judgment], turn: int, game: int) -> Judgment | None:
    """Return the judgment of a turn and game; None if it is missing."""
    return next((j for j in judgments if j.turn == turn and j.game == game), None)


def verdict_score(
    prompt: Prompt,
    metric: str,
    found: Judgment | None,
    missing: str,
    *,
    part: str = "",
    expected: type[Rating | Preference] = Preference,
) -> Score:
    """Return the score of a verdict: the rating, or the candidate's share of the preference.

    Parameters
    ----------
    prompt : Prompt
    metric : str
        Name of the score.
    found : Judgment or None
        The judgment, if any.
    missing : str
        Reason of the score if there is no judgment (`missing_reason`).
    part : str
        Part of the score.
    expected : type
        Expected kind of verdict; the other kind is "out_of_scale".
    """
    if found is None:
        return prompt_score(prompt, metric, part, reason=missing)
    verdict = found.verdict
    if isinstance(verdict, Unscored):
        return prompt_score(prompt, metric, part, reason=unscored_reason(verdict))
    if not isinstance(verdict, expected):
        kind = "rating" if expected is Rating else "preference"
        return prompt_score(prompt, metric, part, reason=f"out_of_scale: a {verdict.kind} instead of a {kind}")
    value = verdict.value if isinstance(verdict, Rating) else found.candidate_share
    return prompt_score(prompt, metric, part, value=value)


def estimate_row(benchmark: str, metric: str, estimate: Estimate, scores: Sequence[Score]) -> SummaryRow:
    """Return the row of an estimate; `scores` are all expected scores, including unscored ones."""
    unscored = reasons_of(scores)
    method = f"{estimate.method} ({estimate.note})" if estimate.note else estimate.method
    return SummaryRow(
        benchmark=benchmark,
        metric=metric,
        value=estimate.value,
        stderr=estimate.stderr,
        ci_low=estimate.ci_low,
        ci_high=estimate.ci_high,
        level=estimate.level,
        method=method,
        n=estimate.n,
        n_clusters=estimate.n_clusters,
        n_unscored=sum(unscored.values()),
        unscored=unscored,
    )


def reason_row(benchmark: str, metric: str, reason: str, scores: Sequence[Score] = ()) -> SummaryRow:
    """Return a row with the reason why there is no figure."""
    unscored = reasons_of(scores)
    return SummaryRow(
        benchmark=benchmark, metric=metric, reason=reason, n_unscored=sum(unscored.values()), unscored=unscored
    )


def guarded_row(
    benchmark: str, metric: str, scores: Sequence[Score], compute: Callable[[list[Score]], Estimate]
) -> SummaryRow:
    """Return the row of a figure computed from the scored items, or of the reason why it cannot be computed.

    Parameters
    ----------
    benchmark, metric : str
        Name of the row.
    scores : sequence of Score
        All expected scores, including unscored ones.
    compute : callable
        Computes the estimate from the scores with a value.
    """
    scored = [s for s in scores if s.value is not None]
    if not scored:
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons_of(scores).items())
        return reason_row(benchmark, metric, f"nothing was scored ({counts or 'no items'})", scores)
    try:
        return estimate_row(benchmark, metric, compute(scored), scores)
    except AssayError as error:
        return reason_row(benchmark, metric, " ".join(str(error).split()), scores)


def mean_row(benchmark: str, metric: str, items: Items) -> SummaryRow:
    """Return the row of the mean of equally weighted scores, with an interval clustered by prompt."""
    return _row_of_mean(benchmark, metric, items, cluster_mean)


def weighted_row(benchmark: str, metric: str, items: Items) -> SummaryRow:
    """Return the row of the weighted mean of scores, with an interval clustered by prompt."""
    weights = [s.weight for s in items.scores if s.value is not None]
    if len(set(weights)) < 2:
        return mean_row(benchmark, metric, items)

    def weighted(values: list[float], clusters: list[str], bounds: tuple[float, float] | None) -> Estimate:
        return weighted_mean(values, weights, clusters, bounds=bounds)

    return _row_of_mean(benchmark, metric, items, weighted)


def _row_of_mean(benchmark: str, metric: str, items: Items, mean: Callable[..., Estimate]) -> SummaryRow:
    scale, bounds = items.scale, items.bounds

    def compute(scored: list[Score]) -> Estimate:
        values = [scale * s.value for s in scored if s.value is not None]
        scaled = (scale * bounds[0], scale * bounds[1]) if bounds else None
        return mean(values, [s.cluster for s in scored], bounds=scaled)

    return guarded_row(benchmark, metric, items.scores, compute)
