"""Anchors: stored answers that every run has judged again, to see whether the judge has changed in between.

A judge behind an endpoint may change from one session to the next, and a difference between two runs may be the
judge's. The answers and verdicts of an earlier run are fixed; the same answers judged again in two later runs differ
only by the judge. Anchors are asked beside the canaries, past the cache of verdicts, are stored with them, and enter
no figure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.hashing import content_hash
from harness.records import Judgment, Preference, Rating, Response
from harness.run.canary_questions import CanaryQuestion
from harness.run.plan import Plan, PlannedBenchmark
from harness.spec import RunSpec
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from harness.store.run_directory import RunDirectory

ANCHOR = "anchor"
"""Name of the check in ``meta["canary"]``."""


def anchor_questions(spec: RunSpec, planned: PlannedBenchmark) -> list[CanaryQuestion]:
    """Choose the anchors of a benchmark: the same for every run that names the same anchor run and number.

    Parameters
    ----------
    spec : RunSpec
        Its `anchors` and `anchor_run`.
    planned : PlannedBenchmark
        The benchmark, whose questions are asked about the stored answers.

    Returns
    -------
    list of CanaryQuestion
        All questions about the answers to the chosen prompts; none without anchors or a judge.
    """
    if not spec.anchors or spec.anchor_run is None or not planned.benchmark.judge_forms:
        return []
    directory, benchmark = RunDirectory(Path(spec.anchor_run)), planned.benchmark
    answers = _answers(directory, benchmark.name)
    prompts = [p for p in directory.prompts().values() if "candidate" in answers[p.id]]
    prompts.sort(key=lambda prompt: content_hash(ANCHOR, prompt.id))
    return [
        CanaryQuestion(ANCHOR, task)
        for prompt in prompts[: spec.anchors]
        for task in benchmark.tasks(prompt, answers[prompt.id]["candidate"], answers[prompt.id].get("baseline"))
    ]


def _answers(directory: RunDirectory, benchmark: str) -> dict[str, dict[str, Response]]:
    """The first answers of a benchmark by prompt and role."""
    found: dict[str, dict[str, Response]] = defaultdict(dict)
    for response in directory.responses().values():
        if response.benchmark == benchmark and response.sample == 0 and response.ok:
            found[response.prompt_id][response.role] = response
    return found


def refuse_bad_anchors(plan: Plan) -> None:
    """Refuse an anchor run that cannot serve, before anything is generated.

    Raises
    ------
    UsageError
        The directory holds no run, or it lacks a judged benchmark of the plan or has another version of it.
    """
    spec = plan.spec
    if not spec.anchors or spec.anchor_run is None:
        return
    directory = RunDirectory(Path(spec.anchor_run))
    if not (directory.path / "run.json").is_file():
        raise UsageError(f"--anchor-run {spec.anchor_run}: no run (no run.json)", "a directory made by `assay run`")
    held = {str(entry["name"]): str(entry.get("version")) for entry in directory.header()["benchmarks"]}
    for name, planned in plan.benchmarks.items():
        if planned.benchmark.judge_forms and held.get(name) != planned.benchmark.version:
            listed = ", ".join(f"{key} {version}" for key, version in held.items())
            raise UsageError(
                f"--anchor-run {spec.anchor_run} does not hold {name} {planned.benchmark.version} (it holds: {listed})",
                "a run of the same benchmarks",
            )


@dataclass(frozen=True)
class JudgeDrift:
    """How much higher the judge of the first run judges the same answers than that of the second.

    Parameters
    ----------
    benchmark : str
    difference : Estimate
        Mean difference of the verdicts on the anchors both runs judged: points of 100 for preferences, points of the
        scale for ratings.
    """

    benchmark: str
    difference: Estimate

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes zero."""
        low, high = self.difference.ci_low, self.difference.ci_high
        return low is not None and high is not None and not low <= 0.0 <= high

    @property
    def message(self) -> str:
        """The drift in words."""
        d = self.difference
        limits = "no interval" if d.ci_low is None else f"{d.level:.0%} interval {d.ci_low:+.2f} to {d.ci_high:+.2f}"
        seen = "the judge changed between the runs" if self.is_shown else "no change of the judge is shown"
        return f"{self.benchmark}: {seen}: {d.value:+.2f} ({limits}) on {d.n_clusters} stored answers judged in both"

    def as_json(self) -> dict[str, Any]:
        """Return the entry for ``--json``."""
        d = self.difference
        names = ("stderr", "ci_low", "ci_high", "level")
        figures = {name: getattr(d, name) for name in names}
        return {"benchmark": self.benchmark, "drift": d.value, **figures, "n": d.n, "n_prompts": d.n_clusters}


def judge_drifts(first: RunDirectory, second: RunDirectory) -> list[JudgeDrift]:
    """Compare the judges of two runs on the anchors both judged.

    Returns
    -------
    list of JudgeDrift
        One for each benchmark with anchors in common; first minus second.
    """
    values = [_verdicts(run.canaries().values()) for run in (first, second)]
    shared = [key for key in values[0] if key in values[1]]
    return [
        JudgeDrift(name, _mean([(key[1], values[0][key] - values[1][key]) for key in shared if key[0] == name]))
        for name in dict.fromkeys(key[0] for key in shared)
    ]


def _mean(differences: list[tuple[str, float]]) -> Estimate:
    return cluster_mean([difference for _, difference in differences], [prompt for prompt, _ in differences])


def _verdicts(canaries: Iterable[Judgment]) -> dict[tuple[Any, ...], float]:
    """Verdicts on anchors by benchmark, prompt, answers in their order, and turn."""
    found = {}
    for judgment in canaries:
        if judgment.meta.get("canary") == ANCHOR:
            value = _value(judgment)
            if value is not None:
                found[judgment.benchmark, judgment.prompt_id, judgment.response_ids, judgment.turn] = value
    return found


def _value(judgment: Judgment) -> float | None:
    if isinstance(judgment.verdict, Rating):
        return judgment.verdict.value
    if isinstance(judgment.verdict, Preference):
        share = judgment.candidate_share
        return None if share is None else 100.0 * share
    return None
