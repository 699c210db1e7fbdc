"""Start-up of the command line against a bare interpreter, and the memory of scoring a large run.

    python bench/command_line.py

(c) ``assay --help`` against ``python -c pass``: the issue allows three times as long. Scoring 100,000 stored judgments
must stay within 1 GB.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import write_result

from harness.records import Judgment, Preference, Prompt, Response
from harness.run.import_results import Imported, write_import

JUDGMENT_TEXT = "Assistant A is more thorough, while assistant B stays closer to the question. " * 20


def start_up(n: int) -> dict[str, float]:
    """Median seconds of both, taken in turn so that a busy moment hits both."""
    assay = str(Path(sys.executable).with_name("assay"))
    times: dict[str, list[float]] = {"python -c pass": [], "assay --help": []}
    for _ in range(n):
        for name, command in (("python -c pass", [sys.executable, "-c", "pass"]), ("assay --help", [assay, "--help"])):
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken) for name, taken in times.items()}


def large_run(folder: Path, n_judgments: int) -> None:
    """An Arena-Hard run with half as many prompts as judgments, each judgment with 1.5 KB of text."""
    imported = Imported("arena_hard", "arena_hard", "v0.1", "large", "judge")
    source = folder / "source"
    source.write_text("generated")
    imported.sources = [source]
    for number in range(n_judgments // 2):
        prompt = Prompt(
            benchmark="arena_hard", version="v0.1", key=str(number), turns=(f"q{number}",), category="arena-hard-v0.1"
        )
        sides = [
            Response(
                prompt_id=prompt.id, benchmark="arena_hard", model=role, model_id=role, role=role, turns=("a" * 800,)
            )
            for role in ("baseline", "candidate")
        ]
        imported.prompts.append(prompt)
        imported.responses += sides
        for game in (1, 2):
            order = sides if game == 1 else sides[::-1]
            imported.judgments.append(
                Judgment(
                    judge="judge",
                    judge_id="judge",
                    benchmark="arena_hard",
                    prompt_id=prompt.id,
                    response_ids=tuple(side.id for side in order),
                    order=tuple(side.role for side in order),
                    game=game,
                    verdict=Preference(p_first=(number + game) % 2, label=("B>A", "A>B")[(number + game) % 2]),
                    raw=JUDGMENT_TEXT,
                )
            )

    class NoData:
        def path(self, name: str) -> Path:
            raise AssertionError(name)

        def used(self) -> dict[str, str]:
            return {}

    write_import(imported, folder / "run", NoData())


def score_in_child(run: Path) -> tuple[float, float]:
    """Seconds and peak memory in GB of `assay score` in a process of its own."""
    program = (
        "import resource, sys; from harness.cli import main; main(['score', sys.argv[1], '--json']);"
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, int(done.stderr) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=31)
    parser.add_argument("--judgments", type=int, default=100_000)
    arguments = parser.parse_args()
    medians = start_up(arguments.starts)
    ratio = medians["assay --help"] / medians["python -c pass"]
    print(f"start-up: {json.dumps(medians)}  ratio {ratio:.2f} (at most 3)")
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a child's peak memory is never reported below what its parent held when it forked.
        maker = multiprocessing.get_context("spawn").Process(target=large_run, args=(Path(folder), arguments.judgments))
        maker.start()
        maker.join()
        run = Path(folder) / "run"
        stored_mb = (run / "judgments.jsonl").stat().st_size / 2**20
        seconds, gigabytes = score_in_child(run)
    print(
        f"scoring {arguments.judgments} judgments ({stored_mb:.0f} MiB): {seconds:.1f} s, {gigabytes:.2f} GiB at peak"
    )
    result = {"start_up_s": medians, "ratio": ratio, "n_judgments": arguments.judgments, "stored_mib": stored_mb}
    write_result("command_line", result | {"score_s": seconds, "peak_gib": gigabytes})


if __name__ == "__main__":
    main()
