"""Figures of runs with several judges: what their judgments carry, and the estimates of two judges.

With two judges, the strong one's verdicts on a random part of the prompts are the run's scores; gate, comparisons and
leaderboards use them as they use those of any smaller run. Where a metric is a mean, its row in the table is made more
precise with the cheap judge's verdicts on all prompts (`harness.stats.prediction_powered`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import TypeAdapter

from harness.errors import StatisticsError
from harness.protocols import Benchmark, Items
from harness.records import Judgment, Score, SummaryRow, Unscored, Verdict
from harness.run.figures import estimate_row
from harness.stats.predicted_difference import PairedLabels, PredictedDifference, predicted_difference
from harness.stats.prediction_powered import LabelledSample, PredictionPowered, prediction_powered_mean

CHEAP = "cheap"
"""Key of `Judgment.meta` with the cheap judge's verdict, where `Judgment.verdict` is the strong one's."""

NOT_CHOSEN = "not_chosen"
"""Reason of a verdict that the strong judge was not asked for; nothing is missing then."""

SPREAD = "spread"
"""Key of `Judgment.meta` with the standard deviation of a panel's verdicts, on a scale from 0 to 1."""

_VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)
_Key = tuple[str, str, str]


def has_two_judges(judgments: Iterable[Judgment]) -> bool:
    """Whether judgments come from two judges."""
    return any(CHEAP in j.meta for j in judgments)


def is_settled(verdict: Verdict) -> bool:
    """Whether a question need not be asked again: it has a verdict, or was not to be asked."""
    return not isinstance(verdict, Unscored) or verdict.reason == NOT_CHOSEN


def of_strong_judge(judgments: Iterable[Judgment]) -> list[Judgment]:
    """Return the judgments without those that the strong judge of two was not asked for."""
    return [j for j in judgments if not (isinstance(j.verdict, Unscored) and j.verdict.reason == NOT_CHOSEN)]


def of_cheap_judge(judgments: Iterable[Judgment]) -> list[Judgment]:
    """Return the judgments of two judges with the cheap one's verdicts."""
    return [
        j.model_copy(update={"verdict": _VERDICT.validate_python(j.meta[CHEAP])}) for j in judgments if CHEAP in j.meta
    ]


def sharpened(
    benchmark: Benchmark, rows: Sequence[SummaryRow], strong: Sequence[Score], cheap: Sequence[Score]
) -> list[SummaryRow]:
    """Make the rows of means more precise with the cheap judge's scores.

    Parameters
    ----------
    benchmark : Benchmark
        The benchmark.
    rows : sequence of SummaryRow
        Its rows by the strong judge's scores.
    strong : sequence of Score
        Scores by the strong judge, of the prompts it judged.
    cheap : sequence of Score
        Scores by the cheap judge, of all prompts.

    Returns
    -------
    list of SummaryRow
        The same rows; those of judged, equally weighted means are PPI++ estimates.
    """
    return [_sharpened(benchmark, row, strong, cheap) for row in rows]


def _sharpened(benchmark: Benchmark, row: SummaryRow, strong: Sequence[Score], cheap: Sequence[Score]) -> SummaryRow:
    found = powered(benchmark, row.metric, strong, cheap)
    labelled = benchmark.items(row.metric, strong)
    if found is None or labelled is None:
        return row
    made = estimate_row(row.benchmark, row.metric, found.estimate, labelled.scores)
    n_prompts = len({s.cluster for s in labelled.scores if s.value is not None})
    method = f"two judges: the strong one on {n_prompts} of {found.estimate.n_clusters} prompts; {made.method}"
    return made.model_copy(update={"method": method})


def powered(
    benchmark: Benchmark, metric: str, strong: Sequence[Score], cheap: Sequence[Score]
) -> PredictionPowered | None:
    """Return the PPI++ estimate of a metric; None if it is no judged mean, or there is too little to estimate it.

    Parameters are those of :func:`sharpened`.
    """
    labelled, predicted = benchmark.items(metric, strong), benchmark.items(metric, cheap)
    if labelled is None or predicted is None or not _is_judged_mean(benchmark, labelled):
        return None
    sample = _sample(labelled, predicted)
    scale = labelled.scale
    bounds = None if labelled.bounds is None else (scale * labelled.bounds[0], scale * labelled.bounds[1])
    try:
        return None if sample is None else prediction_powered_mean(sample, bounds=bounds)
    except StatisticsError:
        return None


def powered_difference(
    benchmark: Benchmark,
    metric: str,
    strong: tuple[Sequence[Score], Sequence[Score]],
    cheap: tuple[Sequence[Score], Sequence[Score]],
    level: float = 0.95,
) -> PredictedDifference | None:
    """Compare two runs judged by two judges: the strong one's verdicts on some prompts, the cheap one's on all.

    Parameters
    ----------
    benchmark : Benchmark
        The benchmark.
    metric : str
        The metric.
    strong, cheap : (sequence of Score, sequence of Score)
        Both runs' scores by each judge.
    level : float
        Nominal coverage of the interval.

    Returns
    -------
    PredictedDifference or None
        First run minus second; None if the metric is no judged, equally weighted mean, or there is too little.
    """
    labels = [_by_cluster(benchmark, metric, side) for side in strong]
    guesses = [_by_cluster(benchmark, metric, side) for side in cheap]
    asked = [items.scores for side in cheap if (items := benchmark.items(metric, side)) is not None]
    sample = _paired(labels, guesses, {score.cluster for scores in asked for score in scores})
    try:
        return None if sample is None else predicted_difference(sample, level)
    except StatisticsError:
        return None


def _paired(
    labels: Sequence[dict[str, float]], guesses: Sequence[dict[str, float]], every: set[str]
) -> PairedLabels | None:
    """Bring both runs' labels and predictions together by prompt."""
    shared = sorted(labels[0].keys() & labels[1].keys())
    known = {key: guesses[0][key] - guesses[1][key] for key in guesses[0].keys() & guesses[1].keys()}
    if not shared or not known:
        return None
    # A missing cheap verdict is predicted by the mean, alike with and without a label, so that nothing is biased.
    usual = float(np.mean(list(known.values())))
    return PairedLabels(
        np.array([labels[0][key] for key in shared]),
        np.array([labels[1][key] for key in shared]),
        np.array([known.get(key, usual) for key in shared]),
        np.array([known.get(key, usual) for key in sorted(every - set(shared))]),
    )


def _by_cluster(benchmark: Benchmark, metric: str, scores: Sequence[Score]) -> dict[str, float]:
    """Return a judged mean by prompt; empty if it is not one, or prompts have unequal numbers of scores."""
    items = benchmark.items(metric, scores)
    if items is None or not _is_judged_mean(benchmark, items):
        return {}
    found: dict[str, list[float]] = {}
    for score in items.scores:
        if score.value is not None:
            found.setdefault(score.cluster, []).append(items.scale * score.value)
    alike = len({len(values) for values in found.values()}) == 1
    return {key: sum(values) / len(values) for key, values in found.items()} if alike else {}


def _sample(labelled: Items, predicted: Items) -> LabelledSample | None:
    """Bring the strong judge's scores (labels) and the cheap one's (predictions) together."""
    known = _scored(predicted.scores)
    scored = _scored(labelled.scores)
    clusters = {_key(s): s.cluster for s in labelled.scores}
    others = {_key(s): s.cluster for s in predicted.scores if _key(s) not in clusters}
    if not known or not scored or not others:
        return None
    # A missing cheap verdict is predicted by the mean, alike with and without a label, so that nothing is biased.
    usual = sum(known.values()) / len(known)

    def predictions(keys: Iterable[_Key]) -> list[float]:
        return [predicted.scale * known.get(key, usual) for key in keys]

    return LabelledSample(
        [labelled.scale * value for value in scored.values()],
        predictions(scored),
        predictions(others),
        [clusters[key] for key in scored],
        list(others.values()),
    )


def _scored(scores: Sequence[Score]) -> dict[_Key, float]:
    return {_key(s): s.value for s in scores if s.value is not None}


def _is_judged_mean(benchmark: Benchmark, items: Items) -> bool:
    kinds = benchmark.score_kinds
    scores = items.scores
    return bool(scores) and all(kinds[s.metric].judged and s.weight == 1.0 for s in scores if s.metric in kinds)


def _key(score: Score) -> _Key:
    return score.prompt_id, score.metric, score.part
