"""Time of `assay report` on an `align` directory and on two runs, with and without `--figures`.

    python bench/report_drawing.py [--before CHECKOUT]

CHECKOUT is an earlier version of the project to run on the same input, installed nowhere: its packages are put first
on the path. Seconds are of the processor (user and system), medians of runs taken in turn.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from report import write_result

from tests.support.gate_runs import write_run
from tests.support.report_inputs import write_align

ROOT = Path(__file__).resolve().parent.parent


def inputs(folder: Path) -> dict[str, list[str]]:
    """The arguments of each report."""
    shares = [((7 * i) % 10) / 10 for i in range(200)]
    ratings = [7, 8, 3, 9, 5] * 16
    runs = [
        write_run(folder / name, name, alpaca_eval=values, mt_bench=ratings, length=length, spread=41)
        for name, values, length in (("new", [min(s + 0.3, 1.0) for s in shares], 60), ("old", shares, 40))
    ]
    align = str(write_align(folder / "align", 60))
    figures = ["--figures", str(folder / "figures")]
    return {"align": [align], "two runs": [*map(str, runs)], "align, figures": [align, *figures]}


def processor_s(checkout: Path, arguments: list[str], out: Path) -> float:
    """Processor seconds of one report."""
    command = [sys.executable, "-m", "assay", "report", *arguments, "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, cwd=checkout, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT")
    parser.add_argument("--n", type=int, default=5)
    arguments = parser.parse_args()
    checkouts = {"now": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, given in inputs(Path(folder)).items():
            taken: dict[str, list[float]] = {which: [] for which in checkouts}
            for _ in range(arguments.n):
                for which, checkout in checkouts.items():
                    taken[which].append(processor_s(checkout, given, Path(folder) / "report.html"))
            result[name] = {which: round(statistics.median(times), 2) for which, times in taken.items()}
            print(name, result[name])
    write_result("report_drawing", {"processor_s": result}, ("altair", "vl-convert-python"))


if __name__ == "__main__":
    main()
