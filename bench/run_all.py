"""Every benchmark in turn: `make bench`. Results go to bench/results/; the simulations take most of the time.

    python bench/run_all.py [NAME ...]

The data some of them read is found as the tests find it (ASSAY_TEST_DATA); `docs/benchmarks.md` says what each shows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMANDS = {
    "command_line": ["command_line.py"],
    "judging": ["judging.py"],
    "generation": ["generation.py"],
    "decode_rival": ["decode_rival.py"],
    "loglikelihood": ["loglikelihood.py"],
    "one_load": ["one_load.py"],
    "sandbox": ["sandbox.py"],
    "training_stages": ["training_stages.py"],
    "align": ["align.py"],
    "report_drawing": ["report_drawing.py"],
    "length_control": ["length_control.py"],
    "alpaca_lc_speed": ["alpaca_lc.py", "--speed", "--gameability"],
    "arena_hard_speed": ["arena_hard.py", "--speed"],
    "paired": ["paired.py"],
    "coverage": ["coverage.py"],
    "alpaca_lc_coverage": ["alpaca_lc.py", "--coverage"],
    "arena_hard_coverage": ["arena_hard.py", "--coverage"],
    "ppi_coverage": ["ppi_coverage.py"],
    "rebase": ["rebase.py"],
    "judging_cost": ["judging_cost.py"],
    "gate": ["gate.py"],
    "group_sequential": ["group_sequential.py"],
    "selection": ["selection.py"],
}


def main() -> int:
    """Run those asked for, or all that are there; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *COMMANDS], metavar="NAME", help=", ".join(COMMANDS))
    wanted = parser.parse_args().names or list(COMMANDS)
    failed = []
    for name in wanted:
        script, *options = COMMANDS[name]
        print(f"== {name}", flush=True)
        began = time.perf_counter()
        done = subprocess.run([sys.executable, str(HERE / script), *options], cwd=HERE.parent, check=False)
        print(f"== {name}: {'done' if done.returncode == 0 else 'FAILED'} in {time.perf_counter() - began:.0f} s")
        if done.returncode != 0:
            failed.append(name)
    if failed:
        print("failed: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
