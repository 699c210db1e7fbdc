"""What a decision takes: prompts, judge calls, money and time of each design, before anything is measured.

The spread by prompt is taken from finished runs (the candidate's may be a pilot), from the baseline's run alone, or
from --sd. Effects are candidate minus baseline in the metric's unit; without --effect a `keep` rule is planned for an
unchanged candidate, any other for the least effect that the runs' prompts show.

For example:
  assay plan --policy gate.yaml --baseline runs/dpo-1 --effect 3
  assay plan --policy gate.yaml --candidate runs/pilot --baseline runs/dpo-1 --power 0.9 --effect alpaca_eval:win_rate=3
  assay plan --policy gate.yaml --candidate runs/dpo-2 --baseline runs/dpo-1 --width 4
  assay plan --policy gate.yaml --sd 30 --effect 2 --spec candidate.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.gate.planning import PlannedRule, PolicyPlan
    from harness.run.estimate import RunEstimate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("--policy", required=True, metavar="FILE", help="YAML file, or the name of a shipped policy")
    add("--candidate", type=Path, metavar="DIR", help="a run of the candidate, or a pilot of few prompts")
    add("--baseline", type=Path, metavar="DIR", help="the baseline's run, over all prompts")
    add("--head-to-head", type=Path, metavar="DIR", help="a run that judged two models against each other")
    add("--power", type=float, default=None, metavar="P", help="wanted chance of passing (the policy's target_power)")
    add("--width", type=float, metavar="W", help="plan for an interval of this width, in the metric's unit, instead")
    add("--effect", action="append", default=[], metavar="[BENCHMARK:METRIC=]D", help="supposed difference; repeatable")
    add("--sd", action="append", default=[], metavar="[BENCHMARK:METRIC=]S", help="its standard deviation by prompt")
    add("--correlation", type=float, default=0.5, metavar="R", help="of two runs by prompt, if one is given (0.5)")
    add("--spec", type=Path, metavar="SPEC.yaml", help="estimate calls and money from the spec of the run to come")
    add("--seconds-per-prompt", type=float, metavar="S", help="wall time of one prompt, answered and judged")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add("--json", action="store_true", help="print the plan as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.commands.output import data_store, print_json, refuse
    from harness.gate.planning import PlanRequest, plan_policy
    from harness.gate.policy import find_policy
    from harness.run.stored_run import StoredRun

    both = arguments.power is not None and arguments.width is not None
    refuse((both, "--power with --width", "one of them: a chance of passing, or an interval's width"))
    policy, data = find_policy(arguments.policy), data_store(arguments.data_dir)
    paths = (arguments.candidate, arguments.baseline, arguments.head_to_head)
    for path in paths:
        missing = path is not None and not (path / "run.json").is_file()
        refuse((missing, f"{path} holds no run (no run.json)", "a directory made by `assay run` or `assay import`"))
    runs = [None if path is None else StoredRun.open(path) for path in paths]
    found = plan_policy(
        PlanRequest(
            policy,
            data,
            candidate=runs[0],
            baseline=runs[1],
            direct=runs[2],
            power=policy.target_power if arguments.power is None else arguments.power,
            width=arguments.width,
            effects=_numbers(arguments.effect, "--effect"),
            sds=_numbers(arguments.sd, "--sd"),
            correlation=arguments.correlation,
            estimate=None if arguments.spec is None else _estimate(arguments.spec, data),
            seconds=arguments.seconds_per_prompt,
        )
    )
    if arguments.json:
        print_json(found.as_json())
        return 0
    _print(found)
    return 0


def _numbers(given: list[str], option: str) -> dict[str, float]:
    """Read repeated options: a number for all rules, or BENCHMARK:METRIC=NUMBER for one."""
    from harness.errors import UsageError

    found = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise UsageError(f"{option} {text}", "a number, or BENCHMARK:METRIC=NUMBER") from None
    return found


def _estimate(path: Path, data: Any) -> RunEstimate:
    from harness.protocols import JudgeContext
    from harness.run.estimate import estimate_run
    from harness.run.plan import load_judge, make_plan
    from harness.spec import load_spec

    spec = load_spec(path)
    judge = load_judge(JudgeContext(spec.judge, data)) if spec.judge else None
    return estimate_run(make_plan(spec, data), judge)


_COLUMNS = ["design", "judged", "prompts", "expected", "judge calls", "money", "time", "chance of passing"]
_HERE = ["pass", "undecided", "fail"]


def _print(found: PolicyPlan) -> None:
    from harness.commands.output import print_table

    for rule in found.rules:
        title = rule.rule.title(rule.kind)
        if rule.reason:
            print_table(["not planned"], [[rule.reason]], title=title)
            continue
        here = [] if rule.n_runs is None else [f"{name} at {rule.n_runs}" for name in _HERE]
        rows = [_cells(row, rule, bool(here)) for row in rule.rows()]
        print_table(["design", "judged", *_COLUMNS[2:], *here], rows, title=title, note="\n".join(_notes(rule)))
    for title in found.left_out:
        print_table(["left out"], [["no run holds its benchmark, or no head-to-head run was given"]], title=title)


def _notes(rule: PlannedRule) -> list[str]:
    best = rule.fewest_calls()
    notes = [f"from {rule.notes[0]}", *rule.notes[1:]]
    if best is not None:
        notes.append(f"expected to need the fewest judge calls: {best}")
    return notes


def _cells(row: dict[str, Any], rule: PlannedRule, with_here: bool) -> list[str]:
    judged = row["judged"].replace("_", " ")
    here = []
    if with_here:
        chances = row["here"] or {}
        here = [_percent(chances.get(name)) for name in _HERE]
    if row["n_prompts"] is None:
        return [row["design"], judged, row["reason"] or "-", "-", "-", "-", "-", "-", *here]
    cost = row["expected"]
    money = "-" if cost["money"] is None else f"{cost['money']:.2f} {rule.cost.currency}"
    return [
        row["design"],
        judged,
        f"{row['n_prompts']:,}",
        f"{row['expected_prompts']:,.0f}",
        "-" if cost["judge_calls"] is None else f"{cost['judge_calls']:,.0f}",
        money,
        "-" if cost["seconds"] is None else f"{cost['seconds'] / 60.0:,.1f} min",
        _percent(row["power"]),
        *here,
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
