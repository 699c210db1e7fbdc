"""Try a judge form on stored answers, or measure whether a judge follows a rubric.

FORM is a registered judge form (rating, pairwise, five_way, alpaca_eval, ...), own:rating, own:pairwise,
own:five_way, own:FILE.txt, rubric:NAME or rubric:FILE.yaml (see docs/judge-forms.md).

For example:
  assay judge try own:grade.txt --on runs/checkpoint --n 3 --dry-run
  assay judge try rubric:honest --on runs/checkpoint --judge openai:gpt-4.1
  assay judge steer rubric:honest --on runs/checkpoint --n 30

exit status: 0 success, 1 error, 2 wrong usage
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.protocols import Judge, JudgeTask
    from harness.records import Judgment

_ACTIONS = {
    "try": "judge a few stored answers, and show what is asked, what comes back and how it is read",
    "steer": "measure the share of verdicts that turn when a principle of a rubric is negated",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from harness.commands.run import add_judge_options

    actions = parser.add_subparsers(dest="action", metavar="try|steer", required=True)
    for action, text in _ACTIONS.items():
        sub = actions.add_parser(action, help=text, description=text)
        sub.add_argument("form", metavar="FORM", help="the judge form")
        sub.add_argument("--on", type=Path, required=True, metavar="RUN", help="the run whose answers are judged")
        sub.add_argument(
            "--n", type=int, default=3 if action == "try" else 30, metavar="N", help="answers (%(default)s)"
        )
        sub.add_argument("--benchmark", metavar="B", help="use only this benchmark's prompts")
        if action == "try":
            sub.add_argument("--against", type=Path, metavar="RUN", help="the run whose answers are shown second")
            sub.add_argument("--dry-run", action="store_true", help="show what would be asked, and ask nothing")
        sub.add_argument("--max-cost", type=float, metavar="X", help="stop before judging costs more than X")
        sub.add_argument("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
        sub.add_argument("--json", action="store_true", help="print JSON on stdout")
        add_judge_options(sub)


def run(arguments: argparse.Namespace) -> int:
    """Run the command.

    Raises
    ------
    UsageError
        The form, the run or the judge cannot be used.
    """
    from harness.errors import UsageError

    if arguments.n < 1:
        raise UsageError(f"--n {arguments.n}", "a number of answers, at least 1")
    return _try(arguments) if arguments.action == "try" else _steer(arguments)


def _try(arguments: argparse.Namespace) -> int:
    import asyncio

    from harness.commands.output import data_store, print_json
    from harness.store.run_directory import RunDirectory
    from harness.text_safety import strip_control
    from judges.trial import Trial, as_json, cost_line, describe, requests_of, tasks_on

    data = data_store(arguments.data_dir)
    against = RunDirectory(arguments.against) if arguments.against else None
    tasks = tasks_on(RunDirectory(arguments.on), arguments.form, arguments.n, arguments.benchmark, against)
    judge = None if arguments.dry_run else _judge(arguments, data)

    async def tried() -> list[Trial]:
        requests = [await requests_of(task, data) for task in tasks]
        verdicts = await _verdicts(judge, tasks) if judge is not None else [None] * len(tasks)
        return [Trial(*parts) for parts in zip(tasks, requests, verdicts, strict=True)]

    trials = asyncio.run(tried())
    if arguments.json:
        print_json({"form": arguments.form, "trials": as_json(trials)})
        return 0
    lines = [line for trial in trials for line in describe(trial)] + cost_line(trials)
    sys.stdout.write(strip_control("\n".join(lines)) + "\n")
    return 0


def _steer(arguments: argparse.Namespace) -> int:
    import asyncio

    from harness.commands.output import data_store, print_json, print_table
    from harness.store.run_directory import RunDirectory
    from judges.rubric_form import negations
    from judges.steerability import steerability
    from judges.trial import tasks_on

    data = data_store(arguments.data_dir)
    forms = negations(arguments.form)
    run_ = RunDirectory(arguments.on)
    tasks = [tasks_on(run_, form, arguments.n, arguments.benchmark) for _, pair in forms for form in pair]
    judge = _judge(arguments, data)
    flat = [task for own in tasks for task in own]
    verdicts = [j.verdict for j in asyncio.run(_verdicts(judge, flat))]
    n = len(tasks[0])  # the same answers for every form
    found = [
        steerability(name, list(zip(verdicts[i : i + n], verdicts[i + n : i + 2 * n], strict=True)))
        for i, (name, _) in zip(range(0, len(verdicts), 2 * n), forms, strict=True)
    ]
    if arguments.json:
        print_json({"form": arguments.form, "judge": judge.name, "steerability": [s.as_json() for s in found]})
        return 0
    columns = ["rubric", "dimension", "turned", "95 % interval", "n", "neutral", "not scored"]
    print_table(columns, [[arguments.form, *_cells(s)] for s in found])
    return 0


def _cells(found: Any) -> list[str]:
    if found.share is None:
        return [found.dimension, "-", found.reason, str(found.n), str(found.n_neutral), str(found.n_unscored)]
    interval = f"{found.ci_low:.0%} to {found.ci_high:.0%}"
    return [found.dimension, f"{found.share:.0%}", interval, str(found.n), str(found.n_neutral), str(found.n_unscored)]


def _judge(arguments: argparse.Namespace, data: Any) -> Judge:
    """Return the judge of the command line, or of the run."""
    from harness.commands.run import judge_values
    from harness.errors import UsageError
    from harness.protocols import JudgeContext
    from harness.run.plan import load_judge
    from harness.spec import JudgeSpec, validated
    from harness.store.run_directory import RunDirectory

    given = {key: value for key, value in judge_values(arguments).items() if value is not None}
    if "model" not in given:
        stored = (RunDirectory(arguments.on).header().get("spec") or {}).get("judge")
        if not stored:
            raise UsageError(f"{arguments.on} names no judge", "a judge", "name one with --judge KIND:MODEL")
        given = {**stored, **given}
    spec = validated(JudgeSpec, given, "the judge")
    return load_judge(JudgeContext(spec, data, None, arguments.max_cost, forms=(arguments.form,)))


async def _verdicts(judge: Judge, tasks: list[JudgeTask]) -> list[Judgment]:
    import asyncio

    await judge.prepare()
    try:
        return list(await asyncio.gather(*(judge.judge(task) for task in tasks)))
    finally:
        await judge.close()
