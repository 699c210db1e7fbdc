"""Runs `assay run` in forked children of a process that has everything imported, and kills them at random moments.

    python -m tests.support.killed_run SPEC.json

Forking makes a start cost milliseconds instead of seconds, so that fifty kills fit into a test. The scripted engine
logs every request it begins to answer; the judge behind the endpoint keeps its own log.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import registry
from harness.engines.base import Generation, GenerationRequest
from harness.engines.scripted import ScriptedEngine
from harness.run.runner import RunOptions, run
from harness.spec import RunSpec, validated


def log_generations(path: Path) -> None:
    """Make the scripted engine write down what it is asked, at the moment it answers."""
    generate = ScriptedEngine.generate

    def logged(engine: ScriptedEngine, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        turns = {r.request_id: len(r.messages) for r in requests}
        for generation in generate(engine, requests):
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps([os.getpid(), generation.request_id, turns[generation.request_id]]) + "\n")
            yield generation

    ScriptedEngine.generate = logged  # type: ignore[method-assign]


def child(spec: RunSpec, options: RunOptions) -> None:
    """Run in a child of its own until done or killed."""
    try:
        run(spec, options)
    except BaseException as error:  # noqa: BLE001 - the parent reports it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def stored(out: Path) -> dict[str, list[str]]:
    """What is on disk: whole lines of answers and verdicts."""
    found: dict[str, list[str]] = {}
    for name in ("responses", "turns", "judgments"):
        path = out / f"{name}.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found[name] = text[: text.rfind("\n") + 1].splitlines()
    return found


def main() -> None:
    """Kill the number of times asked for, then let every run end."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    spec = validated(RunSpec, job["spec"], "test")
    rng = random.Random(job["seed"])
    log_generations(Path(job["engine_log"]))
    registry.load("benchmark", "mt_bench")
    registry.load("judge form", "rating")
    import openai  # noqa: F401 - imported once here instead of in every child

    n_killed, number = 0, 0
    while n_killed < job["kills"] or (Path(job["out"]) / f"run{number}" / "manifest.json").exists() is False:
        out = Path(job["out"]) / f"run{number}"
        if (out / "manifest.json").exists():
            number += 1
            continue
        before = stored(out)
        started = time.time()
        pid = os.fork()
        if pid == 0:
            child(spec, RunOptions(out=out, data_dir=Path(job["data"]), use_cache=False, progress=False))
        killed = False
        if n_killed < job["kills"]:
            time.sleep(rng.uniform(0.0, job["longest_s"]))
            os.kill(pid, signal.SIGKILL)
            killed = True
        _, status = os.waitpid(pid, 0)
        killed = killed and os.WIFSIGNALED(status)
        n_killed += killed
        sys.stdout.write(
            json.dumps({"pid": pid, "run": number, "killed": killed, "status": status, "started": started, **before})
            + "\n"
        )
        sys.stdout.flush()
        if not killed and status != 0:
            sys.exit(1)


if __name__ == "__main__":
    main()
