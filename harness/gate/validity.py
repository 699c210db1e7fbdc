"""Checks whether two runs can be compared; if not, the decision is `invalid`."""

from __future__ import annotations

from harness.gate.order import random_order
from harness.run.comparability import Sides, differences, judge_difference
from harness.run.stored_run import StoredRun

_SIDES = Sides("the candidate", "the baseline", " run")


def run_problems(candidate: StoredRun, baseline: StoredRun | None) -> list[str]:
    """Return the problems that make the runs unusable as a whole.

    Problems of a single benchmark are left to the rules about it; all others (the run is not complete, the judge failed
    a canary) concern the whole run.
    """
    problems = []
    if baseline is not None and candidate.directory.path.resolve() == baseline.directory.path.resolve():
        return ["candidate and baseline are the same run; give two different runs"]
    for side, run in _sides(candidate, baseline):
        if not run.directory.complete:
            problems.append(f"the {side} run is not complete; `assay resume {run.path}` finishes it")
            continue
        problems += [
            f"{side}: {fault}; score it again with `assay score {run.path}`" for fault in run.directory.verify()
        ]
        own = tuple(f"{entry['name']}: " for entry in run.header.get("benchmarks", ()))
        found = [str(p) for p in run.summary.get("problems", ())]
        problems += [f"the {side} run is not valid: {p}" for p in found if not p.startswith(own)]
    return problems


def _sides(candidate: StoredRun, baseline: StoredRun | None) -> list[tuple[str, StoredRun]]:
    return [("candidate", candidate)] if baseline is None else [("candidate", candidate), ("baseline", baseline)]


def benchmark_problems(name: str, candidate: StoredRun, baseline: StoredRun) -> list[str]:
    """Return what makes a benchmark of the two runs incomparable, apart from the judge, and whether they are the same.

    A run that stopped early may lack prompts of the baseline run, if it has the first of the random order.
    """
    entries = candidate.entry(name), baseline.entry(name)
    if entries[0] is None or entries[1] is None:
        side = "candidate" if entries[0] is None else "baseline"
        held = sorted({e["name"] for run in (candidate, baseline) for e in run.header.get("benchmarks", ())})
        return [f"the {side} run does not hold {name} (the runs hold: {', '.join(held)})"]
    plain = str(entries[0]["name"])
    found = [d for d in differences(plain, candidate, baseline, _SIDES) if d.aspect != "judge"]
    problems = []
    seed = candidate.stopped_seed
    if seed is not None and candidate.prompts_of(plain).keys() < baseline.prompts_of(plain).keys():
        problems = _prefix_problems(plain, candidate, baseline, seed)
        found = [d for d in found if d.aspect != "prompts"]
    return [*problems, *(d.words for d in found), *_same_answers(plain, candidate, baseline)]


def judge_problem(name: str, candidate: StoredRun, baseline: StoredRun) -> str | None:
    """Return a problem if a benchmark was judged by different judges, templates or parsers."""
    found = judge_difference(name, candidate, baseline, _SIDES)
    return f"{found.words}; judge one of the runs again with the other's judge" if found else None


def _prefix_problems(name: str, candidate: StoredRun, baseline: StoredRun, seed: int) -> list[str]:
    """Return a problem if a run that stopped early does not hold exactly the first prompts of the random order."""
    asked = {p.cluster for p in candidate.prompts_of(name).values()}
    order = random_order({p.cluster for p in baseline.prompts_of(name).values()}, seed)
    if set(order[: len(asked)]) == asked:
        return []
    place = f"the first {len(asked)} in the order of seed {seed}"
    return [f"the candidate run stopped early, but its prompts are not {place}"]


def _same_answers(name: str, candidate: StoredRun, baseline: StoredRun) -> list[str]:
    """Return a problem if both runs hold the same answers."""
    here, there = candidate.answers(name, "candidate"), baseline.answers(name, "candidate")
    shared = [key for key in here if key in there and here[key].ok and there[key].ok]
    if shared and all(here[key].turns == there[key].turns for key in shared):
        return [
            f"the runs hold the same answers to all {len(shared)} prompts: both are of the same model, or one is a copy"
        ]
    return []
