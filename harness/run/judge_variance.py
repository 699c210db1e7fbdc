"""How much of a run's variance is its judge's: from repeats it stored, and from other runs of the same model.

The judge's repeats are the samples of ``--judge-samples``. Another run of the same model on the same prompts is
another answer to each prompt, or, where its answers are the same, another judging session.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from harness.errors import StatisticsError, UsageError
from harness.protocols import Benchmark
from harness.records import Judgment, Score, Verdict
from harness.run.compare import unit_values
from harness.run.figures import deciding, declared
from harness.run.judged_by import judge_ids
from harness.run.plan import load_benchmark
from harness.stats.estimate import Estimate
from harness.stats.variance_components import (
    Component,
    Nested,
    SessionVariance,
    VarianceComponents,
    session_variance,
    variance_components,
    with_session,
)
from harness.store.run_directory import RunDirectory

_SEED = 20241128  # of the intervals of the shares; fixed for reproducible figures
_SAMPLED = "sampled"
"""Key of `Judgment.meta` with the verdicts that a repeated form averages."""
_VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)

NO_SESSIONS = "not measured: no other run judged the same answers again (--repeats DIR)"
NO_REPEATS = "not measured: no repeats are stored (--judge-samples K)"
NO_SAMPLES = "not measured: one answer per prompt is judged (--repeats DIR, a run with another seed)"


@dataclass(frozen=True)
class JudgeVariance:
    """The variance of one metric of a run.

    Parameters
    ----------
    benchmark, metric : str
    components : VarianceComponents or None
        None with a `reason`.
    session : SessionVariance or None
        None if the same answers were not judged in several sessions.
    estimate : Estimate or None
        The metric, with an interval that also covers the shift of a judging session; None if that was not measured.
    reason : str or None
        Why nothing was measured.
    """

    benchmark: str
    metric: str
    components: VarianceComponents | None = None
    session: SessionVariance | None = None
    estimate: Estimate | None = None
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the entry under ``variance`` of ``assay score --variance --json``."""
        return {
            "benchmark": self.benchmark,
            "metric": self.metric,
            **_components_json(self.components),
            "session": None if self.session is None else _session_json(self.session),
            "session_reason": None if self.session is not None else self.reason or NO_SESSIONS,
            "with_session": None if self.estimate is None else _estimate_json(self.estimate),
            "reason": self.reason,
        }


def _components_json(found: VarianceComponents | None) -> dict[str, Any]:
    if found is None:
        return {"components": {}, "n_prompts": 0, "n_answers": 0, "n_verdicts": 0}
    components = {c.name: _component_json(c) for c in found.components}
    counts = {"n_prompts": found.n_prompts, "n_answers": found.n_answers, "n_verdicts": found.n_values}
    return {"components": components, **counts}


def _component_json(component: Component) -> dict[str, Any]:
    share = component.share
    limits = (None, None, None) if share is None else (share.value, share.ci_low, share.ci_high)
    return {
        "variance": component.variance,
        **dict(zip(("share", "share_ci_low", "share_ci_high"), limits, strict=True)),
        "reason": reason_of(component.name) if component.reason else None,
    }


def _session_json(session: SessionVariance) -> dict[str, Any]:
    return {"variance": session.variance, "n_sessions": session.n_sessions, "n_prompts": session.n_prompts}


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    names = ("value", "stderr", "ci_low", "ci_high", "level", "method")
    return {name: getattr(estimate, name) for name in names}


def reason_of(component: str) -> str:
    """Return why a component was not measured, and what would measure it."""
    return {"answer": NO_SAMPLES, "judge": NO_REPEATS}[component]


@dataclass
class _Told:
    """What one run tells of a benchmark: its scores for each repeat of its judge, and its answers."""

    by_repeat: dict[int, list[Score]]
    answers: dict[str, tuple[str, ...]]

    def values(self, benchmark: Benchmark, metric: str) -> dict[str, list[float]]:
        """Values of a metric by prompt, one for each repeat."""
        found: dict[str, list[float]] = defaultdict(list)
        for scores in self.by_repeat.values():
            items = benchmark.items(metric, scores)
            if items is not None and any(score.value is not None for score in items.scores):
                for prompt, value in unit_values(items).items():
                    found[prompt].append(value)
        return found


def judge_variance(
    directory: RunDirectory, repeats: Sequence[RunDirectory] = (), benchmark: str | None = None
) -> list[JudgeVariance]:
    """Measure the variance components of a run's judged means.

    Parameters
    ----------
    directory : RunDirectory
        The run.
    repeats : sequence of RunDirectory
        Runs of the same model on the same prompts by the same judge.
    benchmark : str, optional
        Only this one.

    Returns
    -------
    list of JudgeVariance
        One for each headline that a judge decides; a fit has a reason.

    Raises
    ------
    UsageError
        A repeat is of another model or judge, or nothing of the run was judged.
    """
    header = directory.header()
    for other in repeats:
        _refuse_other(directory, other)
    found: list[JudgeVariance] = []
    for entry in header["benchmarks"]:
        if benchmark in (None, entry["name"], entry.get("asked_as")):
            loaded = load_benchmark(entry.get("asked_as") or entry["name"], entry.get("options"))
            if loaded.judge_forms:
                found += _of_benchmark(loaded, [_told(run, loaded, entry["name"]) for run in (directory, *repeats)])
    if not found:
        raise UsageError(f"{directory.path} has no figure that a judge decides", "a judged run")
    return found


def _refuse_other(directory: RunDirectory, other: RunDirectory) -> None:
    models = [run.header()["model"].get("model_id") for run in (directory, other)]
    if models[0] != models[1]:
        raise UsageError(
            f"--repeats {other.path}: a run of another model, or with other sampling", "runs of the same model"
        )
    judges = [judge_ids(run) for run in (directory, other)]
    differing = [name for name in judges[0] if name in judges[1] and judges[0][name] != judges[1][name]]
    if differing:
        raise UsageError(
            f"--repeats {other.path}: {', '.join(differing)} judged by another judge, template or parser",
            "the same judge",
        )


def _told(directory: RunDirectory, benchmark: Benchmark, name: str) -> _Told:
    """Score a run once for each repeat of its judge."""
    responses, judgments = directory.responses_by_prompt(), directory.judgments_by_prompt()
    told = _Told(defaultdict(list), {})
    for prompt in directory.each_prompt():
        first = {r.role: r for r in responses.of(prompt.id) if r.sample == 0 and prompt.benchmark == name}
        candidate = first.get("candidate")
        if candidate is None or not candidate.ok:
            continue
        told.answers[prompt.id] = candidate.turns
        own = [j for j in judgments.of(prompt.id) if candidate.id in j.response_ids]
        for number, repeat in enumerate(_repeats(own)):
            scores = benchmark.score(prompt, candidate, first.get("baseline"), repeat)
            told.by_repeat[number] += declared(benchmark, scores)
    return told


def _repeats(judgments: Sequence[Judgment]) -> Iterator[list[Judgment]]:
    """The judgments of an answer with the first sampled verdict of each, with the second, and so on."""
    n_repeats = min((len(j.meta[_SAMPLED]) for j in judgments if _SAMPLED in j.meta), default=0)
    if not n_repeats:
        yield list(judgments)
    for number in range(n_repeats):
        yield [_with_sample(j, number) for j in judgments]


def _with_sample(judgment: Judgment, number: int) -> Judgment:
    if _SAMPLED not in judgment.meta:
        return judgment
    return judgment.model_copy(update={"verdict": _VERDICT.validate_python(judgment.meta[_SAMPLED][number])})


def _of_benchmark(benchmark: Benchmark, told: Sequence[_Told]) -> list[JudgeVariance]:
    found = []
    for metric in benchmark.headlines:
        items = [benchmark.items(metric, scores) for scores in told[0].by_repeat.values()]
        if not items or items[0] is None:
            known = "a fit, not a mean over prompts" if items else "nothing was judged"
            found.append(JudgeVariance(benchmark.name, metric, reason=known))
        elif deciding(benchmark, items[0].scores):
            found.append(_of_metric(benchmark, metric, told))
    return found


def _of_metric(benchmark: Benchmark, metric: str, told: Sequence[_Told]) -> JudgeVariance:
    values = [own.values(benchmark, metric) for own in told]
    if not values[0]:
        return JudgeVariance(benchmark.name, metric, reason="nothing was scored")
    by_session: dict[bool, list[dict[str, list[float]]]] = {True: [], False: []}
    for run, own in zip(told, values, strict=True):
        by_session[_same_answers(told[0], run)].append(own)
    sessions, others = by_session[True], by_session[False]
    try:
        components = variance_components(_nested(sessions, others), np.random.default_rng(_SEED))
    except StatisticsError as error:
        return JudgeVariance(benchmark.name, metric, reason=" ".join(str(error).split()))
    session = _session(sessions)
    return JudgeVariance(benchmark.name, metric, components, session, _estimate(values[0], session))


def _nested(sessions: Sequence[dict[str, list[float]]], others: Sequence[dict[str, list[float]]]) -> Nested:
    """Values by prompt, answer and judgment: all sessions judged one answer, every other run another."""
    nested = []
    for prompt in sessions[0]:
        same = [value for own in sessions for value in own.get(prompt, ())]
        nested.append([same, *(own[prompt] for own in others if prompt in own)])
    return nested


def _same_answers(first: _Told, other: _Told) -> bool:
    shared = first.answers.keys() & other.answers.keys()
    return bool(shared) and all(first.answers[prompt] == other.answers[prompt] for prompt in shared)


def _session(sessions: Sequence[dict[str, list[float]]]) -> SessionVariance | None:
    """The variance between sessions; None if fewer than two share two prompts."""
    shared = sorted(set.intersection(*map(set, sessions)))
    if len(sessions) < 2 or len(shared) < 2:
        return None
    return session_variance([[float(np.mean(own[prompt])) for own in sessions] for prompt in shared])


def _estimate(values: dict[str, list[float]], session: SessionVariance | None) -> Estimate | None:
    """The run's own mean, with an interval that covers the session's shift."""
    if session is None:
        return None
    means = np.array([np.mean(own) for own in values.values()])
    n = means.size
    stderr = float(means.std(ddof=1)) / n**0.5
    return with_session(Estimate(float(means.mean()), stderr, None, None, 0.95, "mean over prompts", n, n), session)
