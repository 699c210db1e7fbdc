"""Whether the figures of two runs mean the same: what they rest on is compared, and every difference is named.

The gate refuses a pair of runs for any of them. `compare` gives no figure where a difference forbids it, and says the
others; tables keep figures apart that a judge or a baseline divides, and say the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.protocols import Benchmark, Items
from harness.run.stored_run import StoredRun
from harness.spec import differing_fields

Aspect = Literal["version", "prompts", "references", "sampling", "data", "baseline", "judge"]

_OF_VERDICTS: tuple[Aspect, ...] = ("baseline", "judge")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two runs of a benchmark differ.

    Parameters
    ----------
    aspect : str
        What differs: "version" of the questions, "prompts", "references" (the answers the judge is given), "sampling",
        "data" (upstream files), "baseline" (the answers compared with), "judge" (model, template, parser, sampling).
    words : str
        How, naming both sides.
    """

    aspect: Aspect
    words: str

    def forbids(self, judged: bool) -> bool:
        """Whether a figure of the two runs has no difference that means anything; `judged` if it is of verdicts."""
        return self.aspect == "version" or (judged and self.aspect in _OF_VERDICTS)


@dataclass(frozen=True, slots=True)
class Sides:
    """What two runs are called in messages: alone, and before "run"."""

    first: str
    second: str
    of_runs: str = ""

    @property
    def runs(self) -> tuple[str, str]:
        """The runs in words."""
        return self.first + self.of_runs, self.second + self.of_runs


def differences(name: str, first: StoredRun, second: StoredRun, sides: Sides) -> list[Difference]:
    """Return what differs between two runs that hold a benchmark.

    Parameters
    ----------
    name : str
        Name of the benchmark in both.
    first, second : StoredRun
        The runs.
    sides : Sides
        What they are called.

    Returns
    -------
    list of Difference
        Empty if their figures can be compared in every respect; the version alone if that differs. What a run does not
        record (the sampling of an import) counts as equal.
    """
    entries = first.entry(name) or {}, second.entry(name) or {}
    versions = entries[0].get("version"), entries[1].get("version")
    if versions[0] != versions[1]:
        return [Difference("version", f"different versions of {name}: {versions[0]} and {versions[1]}")]
    found = [
        *_prompts(name, first, second, sides),
        _sampling(name, first, second, sides),
        _data(name, first.header, second.header),
        _baseline(name, first, second),
        judge_difference(name, first, second, sides),
    ]
    return [difference for difference in found if difference is not None]


def differing_runs(runs: Mapping[str, StoredRun]) -> list[str]:
    """Say how the runs of a table differ, apart from judge and baseline, by which tables part them.

    Parameters
    ----------
    runs : mapping of str to StoredRun
        The runs by their names in the table.

    Returns
    -------
    list of str
        For every benchmark, the runs with only some prompts of the run that has most, and what else differs from it.
    """
    held = {str(entry["name"]): None for run in runs.values() for entry in run.header["benchmarks"]}
    return [said for name in held for said in _differing_from_the_largest(name, runs)]


def _differing_from_the_largest(name: str, runs: Mapping[str, StoredRun]) -> Iterator[str]:
    prompts = {model: run.prompts_of(name).keys() for model, run in runs.items() if run.entry(name) is not None}
    largest = max(prompts, key=lambda model: len(prompts[model]))
    every = prompts.pop(largest)
    for model, own in prompts.items():
        said = _said(differences(name, runs[model], runs[largest], Sides(model, largest)), own < every)
        if said:
            yield f"{name}: {model} and {largest} differ: {said}"
    parts = [f"{model} ({len(own)})" for model, own in prompts.items() if own < every]
    if parts:
        yield f"{name}: figures of {', '.join(parts)} are from some of the {len(every)} prompts of {largest}"


def _said(found: Sequence[Difference], is_part: bool) -> str:
    """Describe differences, except those by which tables part runs and that a run has only some of the prompts."""
    parted = (*_OF_VERDICTS, *(("prompts",) if is_part else ()))
    return "; ".join(difference.words for difference in found if difference.aspect not in parted)


def is_judged(benchmark: Benchmark, items: Items | None) -> bool:
    """Whether a metric is of a judge's verdicts: the scores it averages are; a fit is one of verdicts."""
    if items is None:
        return bool(benchmark.judge_forms)
    kinds = benchmark.score_kinds
    return any(kinds[score.metric].judged for score in items.scores)


def judge_difference(name: str, first: StoredRun, second: StoredRun, sides: Sides) -> Difference | None:
    """Return the difference if a benchmark was judged by different judges, templates or parsers."""
    ids = first.judges.get(name, set()), second.judges.get(name, set())
    if ids[0] == ids[1]:
        return None
    if not ids[0] or not ids[1]:
        what = f"{sides.runs[0] if not ids[0] else sides.runs[1]} holds no verdicts on it"
    else:
        what = _other_judge(_judge_of(first), _judge_of(second), sides)
    return Difference("judge", f"judged by different judges: {what}")


def _judge_of(run: StoredRun) -> dict[str, Any]:
    """Return the judge's entry in the header without fields that do not affect verdicts."""
    judge = run.header.get("judge") or {}
    return {key: value for key, value in judge.items() if key not in ("ids", "base_url")}


def _other_judge(here: dict[str, Any], there: dict[str, Any], sides: Sides) -> str:
    models = str(here.get("model")), str(there.get("model"))
    if models[0] != models[1]:
        return f"{models[0]} for {sides.first}, {models[1]} for {sides.second}"
    labels = sides.second.removeprefix("the "), sides.first.removeprefix("the ")
    differing = "; ".join(differing_fields(there, here, labels))
    return f"{models[0]} for both, with another template, parser or sampling" + (f" ({differing})" if differing else "")


def _prompts(name: str, first: StoredRun, second: StoredRun, sides: Sides) -> Iterator[Difference]:
    prompts = first.prompts_of(name), second.prompts_of(name)
    here, there = set(prompts[0]), set(prompts[1])
    n_other = sum(prompts[0][key].reference != prompts[1][key].reference for key in here & there)
    if here != there:
        only = f"{len(here - there)} only in {sides.runs[0]}, {len(there - here)} only in {sides.runs[1]}"
        limits = _limits(name, (first, second))
        yield Difference("prompts", f"different prompts: {only}, {len(here & there)} in both{limits}")
    if n_other:
        yield Difference("references", f"different references: those of {n_other} of {len(here & there)} prompts")


def _limits(name: str, runs: tuple[StoredRun, StoredRun]) -> str:
    entries = [run.entry(name) or {} for run in runs]
    sizes = [(entry.get("n_prompts", 0), entry.get("n_all_prompts", 0)) for entry in entries]
    limited = [f"{n} of {n_all}" for n, n_all in sizes if n < n_all]
    return f" (a limit was set: {', '.join(limited)}{_seeds(runs, entries)})" if limited else ""


def _seeds(runs: tuple[StoredRun, StoredRun], entries: Sequence[Mapping[str, Any]]) -> str:
    """Say that the prompts of two runs were drawn with different seeds."""
    first, second = (run.header.get("seed") for run in runs)
    drawn = first != second and all(entry.get("chosen") == "random" for entry in entries)
    return f", drawn with the seeds {first} and {second}" if drawn else ""


def _sampling(name: str, first: StoredRun, second: StoredRun, sides: Sides) -> Difference | None:
    """Compare the runs' sampling parameters; those of an imported run are unknown."""
    entries = first.entry(name) or {}, second.entry(name) or {}
    ways = entries[0].get("sampling"), entries[1].get("sampling")
    if ways[0] and ways[1]:
        return _other_ways(ways[0], ways[1], sides)
    specs = _benchmark_spec(first.header, name), _benchmark_spec(second.header, name)
    if specs[0] is None or specs[1] is None:
        return None
    limits = specs[0].get("max_tokens"), specs[1].get("max_tokens")
    if limits[0] == limits[1]:
        return None
    words = ["the benchmark's own" if limit is None else str(limit) for limit in limits]
    what = f"max_tokens is {words[0]} for {sides.first}, {words[1]} for {sides.second}"
    return Difference("sampling", f"different sampling: {what}")


def _other_ways(here: Sequence[dict[str, Any]], there: Sequence[dict[str, Any]], sides: Sides) -> Difference | None:
    """Describe the fields in which the sampling parameters of two runs differ."""
    if here == there:
        return None
    differing = [f for f in here[0] if [way[f] for way in here] != [way[f] for way in there]] or ["number of samplings"]
    listed = "; ".join(
        f"{field} is {_values(here, field)} for {sides.first}, {_values(there, field)} for {sides.second}"
        for field in differing
    )
    return Difference("sampling", f"different sampling: {listed}")


def _values(ways: Sequence[dict[str, Any]], field: str) -> str:
    return ", ".join(dict.fromkeys(str(way.get(field)) for way in ways))


def _benchmark_spec(header: dict[str, Any], name: str) -> dict[str, Any] | None:
    asked = next((e.get("asked_as") for e in header.get("benchmarks", ()) if e["name"] == name), None)
    specs: Sequence[dict[str, Any]] = header.get("spec", {}).get("benchmarks", ())
    return next((s for s in specs if s.get("name") in (name, asked)), None)


def _data(name: str, first: dict[str, Any], second: dict[str, Any]) -> Difference | None:
    """Compare the checksums of the benchmark's files that both runs recorded."""
    data = [header.get("data") or {} for header in (first, second)]
    shared = sorted(set(data[0]) & set(data[1]))
    changed = [key for key in shared if key.partition("/")[0].startswith(name) and data[0][key] != data[1][key]]
    return Difference("data", f"different data files: {', '.join(changed)}") if changed else None


def _baseline(name: str, first: StoredRun, second: StoredRun) -> Difference | None:
    """Compare the answers both runs were judged against."""
    here, there = first.baselines(name), second.baselines(name)
    if _are_apart(here, there):
        return _other_baseline(here, there)
    against = first.answers(name, "baseline"), second.answers(name, "baseline")
    shared = [(against[0][key], against[1][key]) for key in against[0].keys() & against[1].keys()]
    models = [(a.model, b.model) for a, b in shared if a.model != b.model]
    if models:
        return _other_baseline(*zip(*models, strict=True))
    n_other = sum(a.turns != b.turns for a, b in shared)
    words = f"judged against different answers of {', '.join(sorted(here))} for {n_other} prompts"
    return Difference("baseline", words) if n_other else None


def _are_apart(here: set[str], there: set[str]) -> bool:
    """Whether the baselines of neither run are among those of the other; a run of some prompts may have some."""
    return bool(here and there) and not (here <= there or there <= here)


def _other_baseline(here: Iterable[str], there: Iterable[str]) -> Difference:
    listed = " and ".join(", ".join(sorted(set(models))) for models in (here, there))
    return Difference("baseline", f"judged against different baselines: {listed}")
