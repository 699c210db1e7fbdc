r"""Decide under a policy whether a candidate run is better than, or no worse than, a baseline run.

Rules compare the two runs prompt by prompt, or hold the candidate against a number (limits, which need no baseline).
The exit status is the decision.

For example:
  assay gate --candidate runs/dpo-2 --baseline runs/dpo-1 --policy chat-progress
  assay gate --candidate runs/dpo-2 --baseline runs/dpo-1 --policy gate.yaml --sequential --seed 1
  assay gate --run candidate.yaml --early-stop --candidate runs/dpo-2 --baseline runs/dpo-1 --policy gate.yaml
  assay gate --candidate runs/dpo-2 --baseline runs/dpo-1 --policy gate.yaml \
             --head-to-head runs/dpo-2-against-dpo-1 --judge openai:gpt-6-luna
  assay gate --candidate runs/dpo-2 --baseline runs/dpo-1 --policy gate.yaml --on-pass mlflow:chat/12@champion
  assay gate --candidate runs/dpo-2 --policy limits.yaml
  assay gate --candidate runs/dpo-2 --baseline runs/sft --policy gate.yaml --among runs/dpo-1 runs/dpo-2 runs/dpo-3
  assay gate --policy chat-progress --show

exit status: 0 pass, 1 fail, 3 undecided, 4 invalid or a promotion (--on-pass) that failed, 2 wrong usage
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.gate.decision import Decision
    from harness.gate.people import PeoplesVotes
    from harness.gate.selection import Selection
    from harness.integrations.promotion import Promotion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    from harness.commands.run import add_judge_options

    add = parser.add_argument
    add("--candidate", type=Path, metavar="DIR", help="run of the new checkpoint")
    add("--baseline", type=Path, metavar="DIR", help="run it is compared with; not needed for a policy of limits alone")
    add("--policy", required=True, metavar="FILE", help="YAML file, or the name of a shipped policy")
    add("--head-to-head", type=Path, metavar="DIR", help="run that judged candidate against baseline")
    add_judge_options(parser)
    add(
        "--training-prompts", type=Path, metavar="FILE", help="training texts (JSON lines or plain); overlap is invalid"
    )
    add("--sequential", action="store_true", help="test after every prompt in a seeded random order; stop when decided")
    add("--seed", type=int, default=0, help="seed of the random order (0)")
    add(
        "--run", type=Path, metavar="SPEC.yaml", dest="spec", help="first generate and judge the candidate into its DIR"
    )
    add("--early-stop", action="store_true", help="with --run: stop when the gate is decided, at looks or by betting")
    add("--wave", type=int, default=32, metavar="N", help="prompts between looks of betting (32)")
    add("--effect", type=float, metavar="D", help="with --early-stop: difference supposed when the method is chosen")
    add("--max-cost", type=float, metavar="X", help="with --run: stop before judging costs more")
    add("--selected-from", type=int, metavar="N", help="the candidate is the best of N on these prompts: correct it")
    add("--among", type=Path, nargs="+", metavar="DIR", help="the same, given the candidates' runs (a sharper level)")
    add("--human", type=Path, metavar="FILE", help="people's votes, for rules with labels: human (docs/calibrate.md)")
    add("--voters", metavar="PATTERN", help="with --human: only votes of people whose name matches")
    add("--locked", type=Path, metavar="DIR", help="the prompts are a locked final test set: record this look in DIR")
    add("--who", default="assay gate", help="who looks, for the record of looks")
    add("--data-dir", type=Path, metavar="DIR", help="a mirror of the upstream files (ASSAY_DATA)")
    add("--explain", action="store_true", help="say what would have to be true for another decision")
    add(
        "--on-pass",
        action="append",
        default=[],
        metavar="TARGET",
        help="on pass alone: mlflow:MODEL/VERSION@ALIAS moves an alias, hub:OWNER/NAME[:REVISION]@BRANCH a branch",
    )
    add("--show", action="store_true", help="print the policy and exit")
    add("--json", action="store_true", help="print the decision as JSON on stdout")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from harness.errors import AssayError, MissingDataError, UsageError
    from harness.gate.decision import Decision
    from harness.gate.policy import find_policy
    from harness.integrations.promotion import promotions

    try:
        policy = find_policy(arguments.policy)
    except MissingDataError as error:
        raise UsageError(error.found, error.allowed, error.remedy) from error
    if arguments.show:
        return _show(policy)
    _check_sides(policy, arguments)
    on_pass = promotions(arguments.on_pass)
    selection = _selection(policy, arguments)
    policy = policy if selection is None else selection.policy(policy)
    if arguments.spec is not None:
        _measure(policy, arguments)
    if arguments.judge is not None:
        _judge_directly(policy, arguments)
    try:
        decision = _decide(policy, arguments)
    except UsageError:
        raise
    except AssayError as error:
        # A damaged file is not a "fail": exit status 1 means that the checkpoint failed.
        decision = Decision("invalid", f"INVALID: {' '.join(str(error).split())}", (), problems=(str(error),))
    decision = _explained(decision, policy, arguments, selection)
    if arguments.locked is not None:
        decision = _counted(decision, policy, arguments)
    return _finish(decision, on_pass, as_json=arguments.json)


def _finish(decision: Decision, on_pass: dict[str, Promotion], *, as_json: bool) -> int:
    """Promote where the decision is pass, print it, and return the exit status: 4 if a promotion failed."""
    from harness.commands.output import print_json
    from harness.gate.decision import EXIT_STATUS
    from harness.integrations.promotion import promote_all, promotion_json
    from reports.blocks import Statement
    from reports.sections.gate_blocks import gate_blocks
    from reports.terminal import print_blocks

    done = promote_all(on_pass, decision)
    if as_json:
        print_json(decision.as_json() | ({"promotions": promotion_json(done)} if done else {}))
    else:
        tones = [Statement("info" if one.done else "invalid", one.target, one.message) for one in done]
        print_blocks([*gate_blocks(decision.as_json()), *tones])
    failed = decision.decision == "pass" and not all(one.done for one in done)
    return EXIT_STATUS["invalid" if failed else decision.decision]


def _explained(decision: Decision, policy: Any, arguments: argparse.Namespace, selection: Selection | None) -> Decision:
    """Add what would turn each rule's decision, with --explain in words too, and what was corrected."""
    from harness.gate.judge_drift import with_drift
    from harness.gate.tipping import explained, with_tipping

    decision = with_tipping(decision, policy)
    decision = with_drift(decision, arguments.candidate, arguments.baseline)
    decision = explained(decision) if arguments.explain else decision
    return decision if selection is None else selection.applied(decision)


def _check_sides(policy: Any, arguments: argparse.Namespace) -> None:
    from harness.errors import UsageError

    if arguments.candidate is None:
        raise UsageError("--candidate is missing", "the run of the new checkpoint")
    if arguments.baseline is None and policy.needs_baseline:
        raise UsageError(
            "--baseline is missing, and the policy compares with one",
            "the directory of a run; only a policy of limits alone needs none",
        )
    if arguments.baseline is None and (arguments.early_stop or arguments.judge is not None):
        raise UsageError("--early-stop and --judge compare two runs", "--baseline DIR")


def _decide(policy: Any, arguments: argparse.Namespace) -> Decision:
    from harness.commands.output import data_store
    from harness.gate.decide import decide
    from harness.gate.opened_runs import Comparison

    comparison = Comparison(
        arguments.candidate,
        arguments.baseline,
        data_store(arguments.data_dir),
        arguments.head_to_head,
        _texts(arguments.training_prompts),
        arguments.seed,
        _votes(arguments),
    )
    seed = arguments.seed if arguments.sequential else _stopped_seed(arguments.candidate)
    if seed is None:
        return decide(policy, comparison)
    from harness.gate.sequential import SequentialTest

    return decide(policy, comparison, SequentialTest(seed))


def _selection(policy: Any, arguments: argparse.Namespace) -> Selection | None:
    """How the candidate was chosen; None if it is not said to be one of several."""
    from harness.commands.output import refuse
    from harness.gate.selection import Selection

    both = arguments.selected_from is not None and arguments.among is not None
    refuse((both, "--selected-from with --among", "one of them: a number, or the candidates' runs"))
    if arguments.selected_from is not None:
        return Selection.from_number(arguments.selected_from, policy)
    if arguments.among is not None:
        return Selection.among(arguments.among, policy, (arguments.candidate, arguments.baseline))
    return None


def _measure(policy: Any, arguments: argparse.Namespace) -> None:
    """Generate and judge the candidate; with --early-stop only until the gate is decided."""
    from harness.errors import UsageError
    from harness.run.runner import RunOptions, run
    from harness.spec import load_spec

    spec = load_spec(arguments.spec)
    early_stop = None
    if arguments.early_stop:
        if len(spec.benchmarks) != 1:
            names = ", ".join(item.name for item in spec.benchmarks)
            raise UsageError(f"--early-stop with {names}", "a spec of one benchmark", "measure the others with `run`")
        early_stop = _early_stop(policy, spec.benchmarks[0].name, arguments)
    options = RunOptions(arguments.candidate, arguments.data_dir, max_cost=arguments.max_cost, early_stop=early_stop)
    run(spec, options)


def _early_stop(policy: Any, benchmark: str, arguments: argparse.Namespace) -> Any:
    """Return when the run stops: as it was begun, or the method chosen, which is said before it starts."""
    from harness.commands.output import data_store
    from harness.gate.stop_choice import StopRequest, choose_stop, resumed_stop
    from harness.progress import say
    from harness.run.stored_run import StoredRun

    baseline, data = StoredRun.open(arguments.baseline), data_store(arguments.data_dir)
    request = StopRequest(policy, baseline, benchmark, data, arguments.seed, arguments.wave, arguments.effect)
    if (arguments.candidate / "run.json").is_file():
        begun = resumed_stop(request, StoredRun.open(arguments.candidate))
        if begun is not None:
            return begun
    chosen = choose_stop(request)
    for reason in chosen.reasons:
        say(reason)
    return chosen.stop


def _judge_directly(policy: Any, arguments: argparse.Namespace) -> None:
    """Judge the two runs' answers against each other, for the benchmarks of the policy's head-to-head rules."""
    from harness.commands.run import judge_values
    from harness.errors import UsageError
    from harness.gate.head_to_head import head_to_head_names, head_to_head_spec
    from harness.run.runner import RunOptions, run
    from harness.run.stored_run import StoredRun

    if arguments.head_to_head is None:
        raise UsageError("--judge without --head-to-head", "--head-to-head DIR, the directory for the verdicts")
    runs = [StoredRun.open(path) for path in (arguments.candidate, arguments.baseline)]
    required, names = head_to_head_names(policy, runs)
    if not names:
        raise UsageError(
            "there is nothing to judge head to head",
            "a policy with a rule of the metric head_to_head on a benchmark that both runs hold",
            f"benchmarks with such a rule in this policy: {', '.join(required) or 'none'}",
        )
    fields = {"judge": {key: value for key, value in judge_values(arguments).items() if value is not None}}
    spec = head_to_head_spec((runs[0].model, arguments.candidate), arguments.baseline, names, fields)
    run(spec, RunOptions(arguments.head_to_head, arguments.data_dir, max_cost=arguments.max_cost))


def _stopped_seed(candidate: Path) -> int | None:
    """Return the seed of a run that betting stopped early; only the sequential test with that seed may decide it."""
    from harness.errors import MissingDataError
    from harness.gate.look_plan import LookPlan
    from harness.run.stored_run import StoredRun

    try:
        found = StoredRun.open(candidate)
        return None if LookPlan.recorded(found) is not None else found.stopped_seed
    except MissingDataError:
        return None  # `decide` reports what is wrong


def _counted(decision: Decision, policy: Any, arguments: argparse.Namespace) -> Decision:
    """Record this look at the locked test set, and add the number of looks to the notes."""
    from dataclasses import replace

    from harness.gate.looks import Look, LookLedger, now, test_set_hash
    from harness.store.run_directory import RunDirectory

    name = test_set_hash(RunDirectory(arguments.baseline or arguments.candidate).prompts())
    ledger = LookLedger(arguments.locked)
    outcome = decision.decision
    ledger.record(Look(name, now(), arguments.who, str(arguments.candidate), outcome, policy.alpha, policy.identity))
    return replace(decision, notes=(*decision.notes, ledger.describe(name)))


def _votes(arguments: argparse.Namespace) -> PeoplesVotes | None:
    """Read people's votes, for rules with ``labels: human``."""
    from harness.gate.people import PeoplesVotes
    from judges.study.reading import read_votes

    if arguments.human is None:
        return None
    found = read_votes(arguments.human, arguments.voters)
    keys = ((v.key.prompt, v.key.first, v.key.second, v.p_first) for v in found.votes)
    return PeoplesVotes.of(keys, str(arguments.human))


def _texts(path: Path | None) -> tuple[str, ...]:
    """Return every string in the objects of a JSON lines file, or the lines of a plain text file."""
    if path is None:
        return ()
    import json

    from harness.errors import UsageError
    from harness.store.jsonl import read_text

    if not path.is_file():
        raise UsageError(f"no such file: {path}", remedy="check --training-prompts")
    found: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    for line in read_text(path).splitlines():
        try:
            collect(json.loads(line))
        except json.JSONDecodeError:
            collect(line)
    return tuple(found)


def _show(policy: Any) -> int:
    import sys

    import yaml

    values = policy.model_dump(mode="json", exclude_defaults=True)
    sys.stdout.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return 0
