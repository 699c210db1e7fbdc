"""Checks whether two runs can be compared; if not, the decision is `invalid`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness.gate.order import random_order
from harness.gate.runs import StoredRun
from harness.spec import differing_fields


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
    """Return what makes a benchmark of the two runs incomparable: version, prompts, sampling, data, answers."""
    entries = candidate.entry(name), baseline.entry(name)
    if entries[0] is None or entries[1] is None:
        side = "candidate" if entries[0] is None else "baseline"
        held = sorted({e["name"] for run in (candidate, baseline) for e in run.header.get("benchmarks", ())})
        return [f"the {side} run does not hold {name} (the runs hold: {', '.join(held)})"]
    plain = str(entries[0]["name"])
    problems = []
    if entries[0].get("version") != entries[1].get("version"):
        return [f"different versions of {plain}: {entries[0].get('version')} and {entries[1].get('version')}"]
    problems += _prompt_problems(plain, candidate, baseline)
    problems += _sampling_problems(plain, candidate.header, baseline.header)
    problems += _data_problems(plain, candidate.header, baseline.header)
    problems += _baseline_problems(plain, candidate, baseline)
    problems += _same_answers(plain, candidate, baseline)
    return problems


def judge_problem(name: str, candidate: StoredRun, baseline: StoredRun) -> str | None:
    """Return a problem if a benchmark was judged by different judges, templates or parsers."""
    ids = candidate.judges.get(name, set()), baseline.judges.get(name, set())
    if ids[0] == ids[1]:
        return None
    if not ids[0] or not ids[1]:
        what = f"{'the candidate' if not ids[0] else 'the baseline'} run holds no verdicts on it"
    else:
        what = _other_judge(_judge_of(candidate), _judge_of(baseline))
    return f"judged by different judges: {what}; judge one of the runs again with the other's judge"


def _judge_of(run: StoredRun) -> dict[str, Any]:
    """Return the judge's entry in the header without fields that do not affect verdicts."""
    judge = run.header.get("judge") or {}
    return {key: value for key, value in judge.items() if key not in ("ids", "base_url")}


def _other_judge(here: dict[str, Any], there: dict[str, Any]) -> str:
    models = str(here.get("model")), str(there.get("model"))
    if models[0] != models[1]:
        return f"{models[0]} for the candidate, {models[1]} for the baseline"
    differing = "; ".join(differing_fields(there, here, ("baseline", "candidate")))
    return f"{models[0]} for both, with another template, parser or sampling" + (f" ({differing})" if differing else "")


def _prompt_problems(name: str, candidate: StoredRun, baseline: StoredRun) -> list[str]:
    prompts = candidate.prompts_of(name), baseline.prompts_of(name)
    here, there = set(prompts[0]), set(prompts[1])
    if here == there:
        n_other = sum(prompt.reference != prompts[1][key].reference for key, prompt in prompts[0].items())
        return [f"different references: those of {n_other} of {len(here)} prompts"] if n_other else []
    if candidate.stopped_seed is not None and here < there:
        return _prefix_problems(name, candidate, baseline, candidate.stopped_seed)
    n_only = len(here - there), len(there - here)
    hint = _limits(name, candidate, baseline)
    only = f"{n_only[0]} only in the candidate run, {n_only[1]} only in the baseline run"
    return [f"different prompts: {only}, {len(here & there)} in both{hint}"]


def _prefix_problems(name: str, candidate: StoredRun, baseline: StoredRun, seed: int) -> list[str]:
    """Return a problem if a run that stopped early does not hold exactly the first prompts of the random order."""
    asked = {p.cluster for p in candidate.prompts_of(name).values()}
    order = random_order({p.cluster for p in baseline.prompts_of(name).values()}, seed)
    if set(order[: len(asked)]) == asked:
        return []
    place = f"the first {len(asked)} in the order of seed {seed}"
    return [f"the candidate run stopped early, but its prompts are not {place}"]


def _limits(name: str, candidate: StoredRun, baseline: StoredRun) -> str:
    sizes = []
    for run in (candidate, baseline):
        entry = run.entry(name) or {}
        sizes.append((entry.get("n_prompts", 0), entry.get("n_all_prompts", 0)))
    limited = [f"{n} of {n_all}" for n, n_all in sizes if n < n_all]
    return f" (a limit was set: {', '.join(limited)})" if limited else ""


def _sampling_problems(name: str, first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Compare the runs' sampling parameters; those of an imported run are unknown."""
    entries: list[dict[str, Any]] = [
        next((e for e in h.get("benchmarks", ()) if e["name"] == name), {}) for h in (first, second)
    ]
    ways = entries[0].get("sampling"), entries[1].get("sampling")
    if ways[0] and ways[1]:
        return _other_ways(ways[0], ways[1])
    specs = _benchmark_spec(first, name), _benchmark_spec(second, name)
    if specs[0] is None or specs[1] is None:
        return []
    limits = specs[0].get("max_tokens"), specs[1].get("max_tokens")
    if limits[0] == limits[1]:
        return []
    words = ["the benchmark's own" if limit is None else str(limit) for limit in limits]
    return [f"different sampling: max_tokens is {words[0]} for the candidate, {words[1]} for the baseline"]


def _other_ways(here: Sequence[dict[str, Any]], there: Sequence[dict[str, Any]]) -> list[str]:
    """Describe the fields in which the sampling parameters of two runs differ."""
    if here == there:
        return []
    differing = [f for f in here[0] if [way[f] for way in here] != [way[f] for way in there]] or ["number of samplings"]
    listed = "; ".join(
        f"{field} is {_values(here, field)} for the candidate, {_values(there, field)} for the baseline"
        for field in differing
    )
    return [f"different sampling: {listed}"]


def _values(ways: Sequence[dict[str, Any]], field: str) -> str:
    return ", ".join(dict.fromkeys(str(way.get(field)) for way in ways))


def _benchmark_spec(header: dict[str, Any], name: str) -> dict[str, Any] | None:
    asked = next((e.get("asked_as") for e in header.get("benchmarks", ()) if e["name"] == name), None)
    specs: Sequence[dict[str, Any]] = header.get("spec", {}).get("benchmarks", ())
    return next((s for s in specs if s.get("name") in (name, asked)), None)


def _data_problems(name: str, first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Compare the checksums of the benchmark's files that both runs recorded."""
    data = [header.get("data") or {} for header in (first, second)]
    shared: Iterable[str] = sorted(set(data[0]) & set(data[1]))
    changed = [key for key in shared if key.partition("/")[0].startswith(name) and data[0][key] != data[1][key]]
    return [f"different data files: {', '.join(changed)}"] if changed else []


def _baseline_problems(name: str, candidate: StoredRun, baseline: StoredRun) -> list[str]:
    """Compare the baseline answers both runs were judged against."""
    against = candidate.answers(name, "baseline"), baseline.answers(name, "baseline")
    models = [sorted({r.model for r in answers.values()}) for answers in against]
    if not models[0] or not models[1]:
        return []
    if models[0] != models[1]:
        return [f"judged against different baselines: {', '.join(models[0])} and {', '.join(models[1])}"]
    shared = set(against[0]) & set(against[1])
    n_other = sum(against[0][key].turns != against[1][key].turns for key in shared)
    return [f"judged against different answers of {models[0][0]} for {n_other} prompts"] if n_other else []


def _same_answers(name: str, candidate: StoredRun, baseline: StoredRun) -> list[str]:
    """Return a problem if both runs hold the same answers."""
    here, there = candidate.answers(name, "candidate"), baseline.answers(name, "candidate")
    shared = [key for key in here if key in there and here[key].ok and there[key].ok]
    if shared and all(here[key].turns == there[key].turns for key in shared):
        return [
            f"the runs hold the same answers to all {len(shared)} prompts: both are of the same model, or one is a copy"
        ]
    return []
