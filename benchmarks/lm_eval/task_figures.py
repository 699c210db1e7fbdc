"""From a document's record to scores, and from scores to the figures of the table.

Metrics that lm-eval averages over documents are means here too, accuracies in percent; perplexities are computed from
log-likelihoods. Questions with one right choice also give the model's calibration: its probability
of choice k is exp(l_k) / sum_j exp(l_j), l the choices' log-likelihoods (``_norm``: l divided by the choice's length in
characters, as in lm-eval's acc_norm). ``brier`` is the mean of sum_k (p_k - y_k)^2 (Brier 1950, 0 to 2); ``ece`` the
expected calibration error of the choice with the highest probability, in 10 bins of equal width, 0 to 1.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.lm_eval.task_records import VALUES
from harness.errors import AssayError
from harness.protocols import Items, ScoreKind
from harness.records import Prompt, Response, Score, SummaryRow
from harness.run.figures import guarded_row, mean_row, missing_reason, prompt_score, reason_row, select
from harness.stats.calibration import Reliability, reliability
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean

_OUTCOME = "outcome"
_BY_TASK = "outcome_by_task"
_CALIBRATION = "calibration"
_NOT_KEPT = "not_kept"
_CUT = "prompt_cut"
SCORE_KINDS: Mapping[str, ScoreKind] = {
    _OUTCOME: ScoreKind("outcome"),
    _BY_TASK: ScoreKind("measurement"),
    _CALIBRATION: ScoreKind("measurement", "probability"),
    _NOT_KEPT: ScoreKind("measurement"),
    _CUT: ScoreKind("measurement", "tokens"),
}
_ROUNDING = 1e-9
_NORMAL_95 = 1.959963984540054
_UNMEASURED = "all"
"""Part of the score of a document that was not measured; which metrics it would have had is unknown."""


def scores_of(prompt: Prompt, candidate: Response) -> list[Score]:
    """Turn a document's measurements into scores.

    Parameters
    ----------
    prompt : Prompt
    candidate : Response
        Its ``meta`` as `benchmarks.lm_eval.task_records` says.

    Returns
    -------
    list of Score
        One per metric, and one more per group figure the document enters; a reason if it was not measured.
    """
    if not candidate.ok:
        return [prompt_score(prompt, _OUTCOME, _UNMEASURED, reason=missing_reason(candidate, None, False))]
    meta = candidate.meta
    scores = []
    for name, given in meta.get(VALUES, {}).items():
        value = _without_rounding(float(given))
        scores.append(prompt_score(prompt, _OUTCOME, name, value=value))
        scores += _group_scores(prompt, name, value)
    for name, (loglikelihood, size) in meta.get("log_likelihoods", {}).items():
        if size > 0:
            value = loglikelihood / size
            scores.append(prompt_score(prompt, _OUTCOME, name, value=value, weight=float(size)))
    scores += [
        prompt_score(prompt, _NOT_KEPT, name, reason=f"not_kept: {how}")
        for name, how in meta.get("not_kept", {}).items()
    ]
    scores += _calibration_scores(prompt, meta)
    if meta.get("n_cut"):
        scores.append(prompt_score(prompt, _CUT, value=float(meta["n_cut"])))
    if meta.get("max_tokens"):
        scores.append(prompt_score(prompt, _CUT, "max_tokens", value=float(meta["max_tokens"])))
    return scores


def _without_rounding(value: float) -> float:
    """Clip a sum of probabilities that rounding carried past 0 or 1."""
    nearest = min(max(value, 0.0), 1.0)
    return nearest if abs(value - nearest) < _ROUNDING else value


def _group_scores(prompt: Prompt, name: str, value: float) -> list[Score]:
    """Repeat a value for the groups the document is in; the benchmark's own group has the metric's bare name."""
    found = []
    for group, metric, by_task in prompt.meta.get("groups", ()):
        if metric != name.partition(",")[0]:
            continue
        whole = group == prompt.benchmark
        if whole and not by_task:
            continue  # the bare metric already is the mean over documents
        part = name if whole else f"{name}_{group}"
        found.append(prompt_score(prompt, _BY_TASK if by_task else _OUTCOME, part, value=value))
    return found


def _calibration_scores(prompt: Prompt, meta: Mapping[str, Any]) -> list[Score]:
    choices = meta.get("choices", {})
    if "gold" not in choices or any(x is None for x in choices["logprobs"]):
        return []
    logprobs = np.asarray(choices["logprobs"], dtype=np.float64)
    variants = {"": logprobs}
    lengths = choices.get("n_characters")
    if lengths and min(lengths) > 0:
        variants["_norm"] = logprobs / np.asarray(lengths, dtype=np.float64)
    scores = []
    for suffix, values in variants.items():
        p = np.exp(values - values.max())
        p /= p.sum()
        chosen = int(np.argmax(values))
        truth = np.zeros_like(p)
        truth[choices["gold"]] = 1.0
        for part, value in (
            ("confidence", float(p[chosen])),
            ("correct", float(chosen == choices["gold"])),
            ("brier", float(((p - truth) ** 2).sum())),
        ):
            scores.append(prompt_score(prompt, _CALIBRATION, part + suffix, value=min(value, 2.0)))
    return scores


def calibration_of(scores: Sequence[Score], suffix: str = "") -> Reliability:
    """Compute the reliability diagram of the model on questions with one right choice.

    Parameters
    ----------
    scores : sequence of Score
        Of one benchmark, as stored in scores.jsonl.
    suffix : {"", "_norm"}
        Whether log-likelihoods are divided by the choices' lengths.

    Returns
    -------
    Reliability
        Bins, expected calibration error and its interval.

    Raises
    ------
    StatisticsError
        There are no such questions.
    """
    right = {s.prompt_id: s.value for s in select(scores, _CALIBRATION, f"correct{suffix}")}
    found = [
        (s.value, right[s.prompt_id], s.cluster)
        for s in select(scores, _CALIBRATION, f"confidence{suffix}")
        if s.value is not None and right.get(s.prompt_id) is not None
    ]
    return reliability([p for p, _, _ in found], [c or 0.0 for _, c, _ in found], clusters=[g for _, _, g in found])


def metric_items(benchmark: str, metric: str, scores: Sequence[Score]) -> Items | None:
    """Return what a metric averages; None if it is not a mean over documents."""
    if metric.startswith("brier"):
        chosen = select(scores, _CALIBRATION, metric)
        return Items(chosen, bounds=(0.0, 2.0)) if chosen else None
    if select(scores, _BY_TASK, metric) or _perplexity_of(metric) is not None:
        return None
    chosen = select(scores, _OUTCOME, metric)
    if not chosen:
        return None
    chosen += _unmeasured_for(metric, chosen, scores)
    values = [s.value for s in chosen if s.value is not None]
    bounded = all(0.0 <= value <= 1.0 for value in values)
    return Items(chosen, scale=100.0, bounds=(0.0, 1.0)) if bounded else Items(chosen)


def _unmeasured_for(metric: str, chosen: Sequence[Score], scores: Sequence[Score]) -> list[Score]:
    """Find the unmeasured documents that belong to a metric."""
    missing = select(scores, _OUTCOME, _UNMEASURED)
    whole = {s.prompt_id for s in scores if s.value is not None and s.metric == _OUTCOME}
    if len({s.prompt_id for s in chosen}) == len(whole):
        return missing
    categories = {s.category for s in chosen}
    return [s for s in missing if s.category in categories]


def summary_rows(benchmark: str, scores: Sequence[Score]) -> list[SummaryRow]:
    """Compute every figure of a task."""
    measured = [s for s in scores if s.metric == _OUTCOME and s.part != _UNMEASURED]
    grouped = select(scores, _BY_TASK)
    names = list(dict.fromkeys(s.part for s in [*grouped, *measured]))
    rows = [_row(benchmark, name, scores) for name in names]
    for name, how in dict.fromkeys((s.part, s.reason) for s in select(scores, _NOT_KEPT)):
        reason = (
            f"lm-eval computes this figure from all documents at once ({how}); assay computes means and perplexities"
        )
        rows.append(reason_row(benchmark, name, f"{reason}; run the task with lm-eval for it"))
    if not rows:
        unmeasured = select(scores, _OUTCOME, _UNMEASURED)
        return [_nothing_row(benchmark, unmeasured)]
    return rows + _calibration_rows(benchmark, scores)


def _nothing_row(benchmark: str, unmeasured: Sequence[Score]) -> SummaryRow:
    """Say why nothing was measured, in full if there is one reason."""
    reasons = list(dict.fromkeys(s.reason for s in unmeasured if s.reason is not None))
    text = reasons[0].partition(": ")[2] if len(reasons) == 1 else "; ".join(r[:120] for r in reasons[:3])
    return reason_row(benchmark, _UNMEASURED, f"nothing was measured: {text or 'no documents'}", unmeasured)


def _row(benchmark: str, name: str, scores: Sequence[Score]) -> SummaryRow:
    by_task = select(scores, _BY_TASK, name)
    if by_task:
        row = guarded_row(benchmark, name, by_task, _mean_of_tasks)
    elif (kind := _perplexity_of(name)) is not None:
        row = guarded_row(benchmark, name, select(scores, _OUTCOME, name), lambda scored: _perplexity(scored, kind))
    else:
        items = metric_items(benchmark, name, scores)
        row = mean_row(benchmark, name, items or Items([]))
    return _annotated(row, scores)


def _annotated(row: SummaryRow, scores: Sequence[Score]) -> SummaryRow:
    """Add to the method how prompts and generations were cut."""
    if row.value is None:
        return row
    notes = []
    n_cut = len(select(scores, _CUT, ""))
    if n_cut:
        notes.append(f"{n_cut} prompts longer than the model's context, cut at their beginning as lm-eval does")
    lowered = [s.value for s in select(scores, _CUT, "max_tokens") if s.value is not None]
    if lowered:
        notes.append(f"at most {min(lowered):.0f} new tokens, since the task's limit fills the model's context")
    return row.model_copy(update={"method": "; ".join([row.method, *notes])}) if notes else row


def _calibration_rows(benchmark: str, scores: Sequence[Score]) -> list[SummaryRow]:
    def ece(suffix: str, scored: Sequence[Score]) -> Estimate:
        return calibration_of(scores, suffix).ece

    rows = []
    for suffix in ("", "_norm"):
        brier = select(scores, _CALIBRATION, f"brier{suffix}")
        if brier:
            rows.append(guarded_row(benchmark, f"ece{suffix}", brier, partial(ece, suffix)))
            rows.append(mean_row(benchmark, f"brier{suffix}", Items(brier, bounds=(0.0, 2.0))))
    return rows


def _mean_of_tasks(scored: Sequence[Score]) -> Estimate:
    """Average tasks with equal weight; the standard error is that of independent means."""
    by_task: dict[str | None, list[float]] = defaultdict(list)
    for score in scored:
        if score.value is not None:
            by_task[score.category].append(100.0 * score.value)
    means = [cluster_mean(values, list(range(len(values)))) for values in by_task.values()]
    value = math.fsum(m.value for m in means) / len(means)
    if any(m.stderr is None for m in means):
        raise AssayError("a task has a single document", "at least two in each task")
    stderr = math.sqrt(math.fsum((m.stderr or 0.0) ** 2 for m in means)) / len(means)
    reach, n = _NORMAL_95 * stderr, len(scored)
    method = f"mean of {len(means)} tasks' means; normal interval"
    return Estimate(value, stderr, value - reach, value + reach, 0.95, method, n, n)


def _perplexity_of(name: str) -> str | None:
    plain = name.partition(",")[0]
    return plain if plain in ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte") else None


def _perplexity(scored: Sequence[Score], kind: str) -> Estimate:
    """exp(-sum of log-likelihoods / sum of sizes), or bits; the interval is of the ratio (delta method)."""
    values = np.asarray([s.value for s in scored], dtype=np.float64)
    sizes = np.asarray([s.weight for s in scored], dtype=np.float64)
    rate = float((values * sizes).sum() / sizes.sum())
    n = len(scored)
    bits = kind == "bits_per_byte"
    value = -rate / math.log(2) if bits else math.exp(-rate)
    method = "log-likelihoods over their sizes; delta method" + ("" if bits else ", interval on the log scale")
    if n < 2:
        return Estimate(value, None, None, None, 0.95, method, n, n)
    residuals = sizes * (values - rate)
    stderr = float(math.sqrt(n / (n - 1) * float((residuals**2).sum())) / sizes.sum())
    reach = _NORMAL_95 * stderr
    if bits:
        stderr, low, high = stderr / math.log(2), value - reach / math.log(2), value + reach / math.log(2)
    else:
        stderr, low, high = value * stderr, math.exp(-rate - reach), math.exp(-rate + reach)
    return Estimate(value, stderr, low, high, 0.95, method, n, n)
