"""Time of each kind of sandbox against evaluation without one, on WizardCoder's 164 HumanEval generations.

    python bench/sandbox.py [--data DIR] [--upstream DIR] [--rounds 5] [--workers 2]

``--upstream`` is a checkout of openai/human-eval; its ``check_correctness`` then runs beside ours, in a pool of threads
as its own command has it. Without one, the rival is a plain process per sample that executes program and test together,
which is what upstream does less its extra manager process. Rounds alternate, so that a slow minute of the machine hits
all contestants. "bubblewrap alone" lets bubblewrap do every step it has an option for (`bwrap_alone`). The start is the
time from a new sandbox to the verdict on a program that does nothing, alone on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib
import json
import multiprocessing
import shutil
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bwrap_alone import bwrap_alone
from report import write_result

from benchmarks.sandbox import Program, SandboxKind, available, run_many
from benchmarks.sandbox.availability import candidates
from benchmarks.sandbox.code_checks import HUMAN_EVAL_LIMITS, human_eval_problem

PROBLEMS = "mirror/github/openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/data/HumanEval.jsonl.gz"
SAMPLES = "academic/wizardcoder/humaneval.59.8.gen.zip"
TIMEOUT_S = 3.0
N_STARTS = 5
Contestant = Callable[[], int]
Opened = Callable[[], contextlib.AbstractContextManager[SandboxKind]]


def read(data: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with gzip.open(data / PROBLEMS, "rt") as lines:
        problems = {row["task_id"]: row for row in map(json.loads, lines)}
    with zipfile.ZipFile(data / SAMPLES) as archive, archive.open(archive.namelist()[0]) as lines:
        return problems, [json.loads(line) for line in lines]


def sandboxed(problems: Mapping[str, Any], samples: list[dict[str, Any]], opened: Opened, workers: int) -> Contestant:
    def run() -> int:
        checks = {name: human_eval_problem(row) for name, row in problems.items()}
        programs = (checks[sample["task_id"]].program(sample["completion"]) for sample in samples)
        with opened() as kind:
            outcomes = [outcome for _, outcome in run_many(programs, workers, HUMAN_EVAL_LIMITS, kind=kind)]
        unmeasured = {outcome.reason for outcome in outcomes if not outcome.measured}
        assert not unmeasured, (kind, unmeasured)
        return sum(outcome.passed for outcome in outcomes)

    return run


def start_seconds(opened: Opened) -> float:
    with opened() as kind:
        list(run_many([Program("", "pass")], 1, kind=kind))  # compiles the checker
        begin = time.perf_counter()
        for _ in range(N_STARTS):
            ((_, outcome),) = run_many([Program("", "pass")], 1, kind=kind)
            assert outcome.passed
        return (time.perf_counter() - begin) / N_STARTS


def upstream(problems: Mapping[str, Any], samples: list[dict[str, Any]], checkout: Path, workers: int) -> Contestant:
    sys.path.insert(0, str(checkout))
    check: Any = importlib.import_module("human_eval.execution").check_correctness

    def run() -> int:
        with ThreadPoolExecutor(workers) as pool:
            done = pool.map(lambda each: check(problems[each["task_id"]], each["completion"], TIMEOUT_S), samples)
            return sum(result["passed"] for result in done)

    return run


def _execute(program: str, report: Connection) -> None:
    with Path("/dev/null").open("w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            exec(program, {})  # noqa: S102 - what is timed
        except BaseException:  # noqa: BLE001 - a failure
            report.send(False)
        else:
            report.send(True)


def plain(problems: Mapping[str, Any], samples: list[dict[str, Any]], workers: int) -> Contestant:
    def check(sample: dict[str, Any]) -> bool:
        row = problems[sample["task_id"]]
        program = f"{row['prompt']}{sample['completion']}\n{row['test']}\ncheck({row['entry_point']})"
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_execute, args=(program, theirs))
        process.start()
        theirs.close()
        try:
            return ours.poll(TIMEOUT_S) and bool(ours.recv())
        except EOFError:
            return False
        finally:
            process.kill()
            process.join()

    def run() -> int:
        with ThreadPoolExecutor(workers) as pool:
            return sum(pool.map(check, samples))

    return run


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument("--upstream", type=Path, help="a checkout of openai/human-eval")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    problems, samples = read(options.data)
    rival = "openai/human-eval" if options.upstream else "plain process per sample"
    contestants: dict[str, Contestant] = {"plain process per sample": plain(problems, samples, options.workers)}
    if options.upstream:
        contestants[rival] = upstream(problems, samples, options.upstream, options.workers)
    chosen = available()
    assert isinstance(chosen, SandboxKind), chosen.reason
    sandboxes: dict[str, Opened] = {
        f"sandbox: {kind}": lambda kind=kind: contextlib.nullcontext(kind)  # type: ignore[misc]
        for kind in [*candidates(), SandboxKind("none")]
    }
    if shutil.which("bwrap"):
        sandboxes["sandbox: bubblewrap alone"] = bwrap_alone
    for name, opened in sandboxes.items():
        contestants[name] = sandboxed(problems, samples, opened, options.workers)

    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    starts: dict[str, list[float]] = {name: [] for name in contestants}
    passed: dict[str, int] = {}
    for number in range(options.rounds + 1):
        for name, run in contestants.items():
            begin = time.perf_counter()
            passed[name] = run()
            if number:  # the first round warms the caches
                seconds[name].append(time.perf_counter() - begin)
                if name in sandboxes:
                    starts[name].append(start_seconds(sandboxes[name]))

    ours = f"sandbox: {chosen}"
    rows = []
    print(f"{'':52s} {'pass@1':>7s} {'per s':>7s} {'to rival':>8s} {'to ours':>8s} {'start ms':>8s}")
    for name, times in seconds.items():
        share = 100 * passed[name] / len(samples)
        ratios = [statistics.median(a / b for a, b in zip(times, seconds[of], strict=True)) for of in (rival, ours)]
        start_ms = 1000 * statistics.median(starts[name]) if starts[name] else None
        per_s = len(samples) / statistics.median(times)
        rows.append(
            {
                "contestant": name,
                "pass_at_1": share,
                "seconds": times,
                "programs_per_s": per_s,
                "median_ratio_to_rival": ratios[0],
                "median_ratio_to_chosen": ratios[1],
                "start_ms": start_ms,
            }
        )
        shown = f"{start_ms:8.0f}" if start_ms else ""
        print(f"{name:52s} {share:7.2f} {per_s:7.1f} {ratios[0]:8.2f} {ratios[1]:8.2f} {shown}")
    print(f"rival: {rival}; ours: {chosen}; medians of {options.rounds} rounds, {options.workers} workers")
    figures = {"rival": rival, "chosen": str(chosen), "workers": options.workers, "n": len(samples), "rows": rows}
    write_result("sandbox", figures)


if __name__ == "__main__":
    main()
