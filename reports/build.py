"""Build a report from its inputs: the sections that apply, in order, the verdict first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness import registry
from harness.errors import AssayError
from harness.gate.decide import decide
from harness.gate.opened_runs import Comparison as GateComparison
from harness.gate.policy import Policy
from harness.run.compare import Comparison, compare_runs
from harness.store.provenance import package_versions
from reports.blocks import Report
from reports.inputs import Inputs
from reports.rewards import add_rewards
from reports.samples import SampleLimits, SampleTables, add_runs
from reports.sections import ReportContext
from reports.study_samples import add_study


def build_report(
    inputs: Inputs,
    title: str = "",
    policy: Policy | None = None,
    decisions: Sequence[Mapping[str, Any]] = (),
    limits: SampleLimits | None = None,
) -> Report:
    """Make a report.

    Parameters
    ----------
    inputs : Inputs
        Runs, `align` directories, judge studies.
    title : str
        Heading; derived from the inputs if empty.
    policy : Policy or None
        A gate policy to decide two runs under, the first against the second.
    decisions : sequence of mapping
        Decisions made elsewhere (`assay gate --json`).
    limits : SampleLimits, optional
        How many samples go into the page.

    Returns
    -------
    Report
    """
    context = ReportContext(inputs, _comparison(inputs), [*decisions, *_decided(inputs, policy)])
    parts = sorted(
        (registry.load("report section", name) for name in registry.names("report section")),
        key=lambda part: part.place,
    )
    return Report(
        title or _title(inputs),
        _subtitle(inputs),
        [section for part in parts for section in part.build(context)],
        _samples(inputs, limits or SampleLimits()),
        f"assay {package_versions().get('assay') or ''}".strip(),
        [run.name for run in inputs.runs],
    )


def _samples(inputs: Inputs, limits: SampleLimits) -> dict[str, Any]:
    tables = SampleTables(limits)
    add_runs(tables, inputs.runs)
    for align in inputs.aligns:
        add_rewards(tables, align)
    for study in inputs.studies:
        add_study(tables, study)
    return tables.as_json() if tables.rows else {}


def _decided(inputs: Inputs, policy: Policy | None) -> list[dict[str, Any]]:
    if policy is None:
        return []
    first, second = (run.stored.directory.path for run in inputs.runs)
    return [decide(policy, GateComparison(first, second, inputs.data)).as_json()]


def _comparison(inputs: Inputs) -> Comparison | str | None:
    if len(inputs.runs) != 2 or inputs.aligns:
        return None
    first, second = (run.stored.directory.path for run in inputs.runs)
    try:
        return compare_runs(first, second, inputs.data)
    except AssayError as error:
        return " ".join(str(error).split())


def _title(inputs: Inputs) -> str:
    if inputs.aligns:
        return ", ".join(align.state.name for align in inputs.aligns)
    names = [run.name for run in inputs.runs]
    if len(names) == 1:
        return names[0]
    if len(names) == 2:
        return f"{names[0]} against {names[1]}"
    if names:
        return f"{len(names)} models"
    return "Judge study"


def _subtitle(inputs: Inputs) -> str:
    n_prompts = sum(len(run.stored.prompts) for run in inputs.runs)
    parts = []
    if inputs.runs:
        where = f", {len(inputs.runs)} runs" if len(inputs.runs) > 1 else ""
        parts.append(f"{', '.join(inputs.benchmarks)}: {n_prompts:,} prompts{where}")
    if inputs.aligns:
        parts.append("iterative alignment: every stage, variant and gate")
    if len(inputs.runs) > 2:
        parts.append(", ".join(run.name for run in inputs.runs))
    return ". ".join(parts)
