"""A judge that changed between two runs, and whether that could explain the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.gate.decision import Decision, RuleDecision
from harness.gate.policy import HEAD_TO_HEAD
from harness.run.anchors import JudgeDrift, judge_drifts
from harness.run.stored_run import StoredRun
from harness.store.run_directory import RunDirectory


def with_drift(decision: Decision, candidate: Path, baseline: Path | None) -> Decision:
    """Return a decision with the judge's drift between the runs among its notes; invalid if that could explain it.

    A drift explains a decision if its interval excludes zero and reaches the bias that would lead to another decision
    (`harness.gate.tipping`). A drift that is not shown is a note, and a warning if its interval reaches that bias.

    Parameters
    ----------
    decision : Decision
        With tipping points.
    candidate, baseline : Path
        The runs; without a baseline, or anchors that both judged, nothing is changed.
    """
    if baseline is None or decision.decision == "invalid":
        return decision
    drifts = {drift.benchmark: drift for drift in judge_drifts(RunDirectory(candidate), RunDirectory(baseline))}
    if not drifts:
        return decision
    explained = _explained(decision, drifts, StoredRun.open(candidate))
    noted = replace(
        decision,
        drift=tuple(drift.as_json() for drift in drifts.values()),
        notes=(*decision.notes, *(drift.message for drift in drifts.values()), *_warnings(explained)),
    )
    return _invalid(noted, [(rule, drift) for rule, drift in explained if drift.is_shown])


def _invalid(decision: Decision, shown: Sequence[tuple[RuleDecision, JudgeDrift]]) -> Decision:
    """Return a decision as invalid if a drift that is shown explains it."""
    if not shown:
        return decision
    problems = [
        f"{rule.name}: {drift.message}, enough to explain its decision ({rule.decision})" for rule, drift in shown
    ]
    message = "INVALID: " + "; ".join(problems)
    return replace(decision, decision="invalid", message=message, problems=(*decision.problems, *problems))


def _explained(
    decision: Decision, drifts: dict[str, JudgeDrift], run: StoredRun
) -> list[tuple[RuleDecision, JudgeDrift]]:
    """The rules whose decision the interval of a drift could explain."""
    about = [(rule, drift) for rule in decision.rules if (drift := _drift_of(rule, drifts, run)) is not None]
    return [(rule, drift) for rule, drift in about if _reaches(rule, drift)]


def _drift_of(rule: RuleDecision, drifts: dict[str, JudgeDrift], run: StoredRun) -> JudgeDrift | None:
    """Return the drift that a rule may owe its decision to; head to head both sides are judged in one session."""
    name, metric = str((run.entry(rule.rule.benchmark) or {}).get("name")), rule.rule.metric
    compares = rule.kind != "limit" and metric != HEAD_TO_HEAD
    return drifts[name] if compares and name in drifts and _is_judged(run, name, metric) else None


def _is_judged(run: StoredRun, name: str, metric: str) -> bool:
    """Whether a metric is a judge's: an average of verdicts, or a fit to them."""
    benchmark = run.benchmark(name)
    items = benchmark.items(metric, run.scores_of(name))
    return items is None or any(benchmark.score_kinds[score.metric].judged for score in items.scores)


def _reaches(rule: RuleDecision, drift: JudgeDrift) -> bool:
    """Whether the interval of the drift reaches a bias that would lead to another decision."""
    low, high = drift.difference.ci_low, drift.difference.ci_high
    if low is None or high is None or rule.decision not in ("pass", "fail"):
        return False
    biases = [point.bias for point in rule.tipping if point.bias is not None]
    return any(high >= bias > 0.0 or low <= bias < 0.0 for bias in biases)


def _warnings(explained: Sequence[tuple[RuleDecision, JudgeDrift]]) -> list[str]:
    return [
        f"{rule.name}: a drift of the judge within its interval would be enough for another decision; more anchors "
        "(assay run --anchors) would tell"
        for rule, drift in explained
        if not drift.is_shown
    ]
