"""The plan of a run: benchmarks, prompts and baselines of a spec, and the header in run.json."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from harness import registry
from harness.data.store import DataStore
from harness.engines.base import Fingerprint
from harness.errors import SpecError, UsageError
from harness.hashing import content_hash
from harness.messages import Sampling
from harness.protocols import (
    Benchmark,
    ConfigurableBenchmark,
    EngineBenchmark,
    Judge,
    JudgeContext,
    NotAvailable,
    PinnedBenchmark,
)
from harness.records import Prompt, Response
from harness.run.prompt_draw import drawn_prompts
from harness.spec import BenchmarkSpec, RunSpec
from harness.store.provenance import code_revision, package_versions

Chosen = Literal["all", "random", "first"]
_DATA = (".jsonl", ".json", ".csv", ".parquet")


@dataclass(frozen=True)
class PlannedBenchmark:
    """A benchmark with its prompts and baseline answers.

    Parameters
    ----------
    benchmark : Benchmark
    spec : BenchmarkSpec
    prompts : tuple of Prompt
        The prompts the run uses.
    baselines : dict of str to Response
        The answers to compare with, by prompt id.
    left_out : tuple of NotAvailable
        The parts that cannot be run.
    n_all : int
        Number of prompts the benchmark has.
    chosen : {"all", "random", "first"}
        Which of them the run uses.
    """

    benchmark: Benchmark
    spec: BenchmarkSpec
    prompts: tuple[Prompt, ...]
    baselines: dict[str, Response]
    left_out: tuple[NotAvailable, ...]
    n_all: int
    chosen: Chosen = "all"

    @property
    def prompts_hash(self) -> str:
        """Hash of the prompts and references; it changes even if the author did not change the version."""
        return content_hash("prompts", sorted([prompt.id, *(prompt.reference or ())] for prompt in self.prompts))

    @property
    def asks_engine(self) -> bool:
        """Whether it queries the engine directly instead of generating answers to conversations."""
        return isinstance(self.benchmark, EngineBenchmark)

    def sampling(self, prompt: Prompt, seed: int, turn: int, sample: int = 0) -> Sampling:
        """Return the official sampling with the spec's overrides and the seed of the request."""
        official = self.benchmark.sampling(prompt)
        own = (seed, prompt.id, turn) if sample == 0 else (seed, prompt.id, turn, sample)
        return Sampling(
            temperature=official.temperature if self.spec.temperature is None else self.spec.temperature,
            top_p=official.top_p,
            max_tokens=self.spec.max_tokens or official.max_tokens,
            seed=int(content_hash("seed", *own)[:8], 16),
            stop=official.stop,
        )


@dataclass(frozen=True)
class Plan:
    """All benchmarks of a run."""

    spec: RunSpec
    benchmarks: dict[str, PlannedBenchmark]

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts of all benchmarks, in order."""
        return [prompt for planned in self.benchmarks.values() for prompt in planned.prompts]

    @property
    def by_id(self) -> dict[str, Prompt]:
        """The prompts by id."""
        return {prompt.id: prompt for prompt in self.prompts}

    @property
    def judge_forms(self) -> list[str]:
        """The judge forms the benchmarks need."""
        return sorted({form for planned in self.benchmarks.values() for form in planned.benchmark.judge_forms})


def load_benchmark(name: str, options: Mapping[str, Any] | None = None) -> Benchmark:
    """Return the benchmark of "NAME", "NAME@VERSION" or "NAME:TASK".

    Raises
    ------
    UnknownNameError
        The benchmark is not registered.
    SpecError
        The benchmark does not accept these options.
    """
    plain, version = _split(name)
    if plain not in registry.names("benchmark") and (Path(name).is_file() or Path(name).suffix in _DATA):
        raise UsageError(
            f"the benchmark {name} is a file",
            "the name of a benchmark",
            f"use --prompts {name}, or {{prompts: {name}}} in a spec",
        )
    benchmark = cast(Benchmark, registry.make("benchmark", plain, version or None))
    if not options:
        return benchmark
    if not isinstance(benchmark, ConfigurableBenchmark):
        raise SpecError(f"{name} takes no options (given: {', '.join(sorted(options))})")
    return cast(Benchmark, benchmark.with_options(options))


def expand_suites(items: Iterable[BenchmarkSpec]) -> list[BenchmarkSpec]:
    """Replace the name of a suite ("academic") with its benchmarks; the suite's limits apply to each of them.

    Raises
    ------
    SpecError
        Options are given for a suite.
    """
    expanded: list[BenchmarkSpec] = []
    for item in items:
        if item.name not in registry.names("suite"):
            expanded.append(item)
            continue
        if item.options:
            raise SpecError(
                f"options for {item.name}, which is a suite of benchmarks", remedy="name its benchmarks one by one"
            )
        changes: dict[str, Any] = {"max_tokens": item.max_tokens, "temperature": item.temperature}
        changes = {field: value for field, value in changes.items() if value is not None}
        if item.limit or item.first:
            changes |= {"limit": item.limit, "first": item.first}
        expanded += [part.model_copy(update=changes) for part in registry.load("suite", item.name)]
    return expanded


def _split(name: str) -> tuple[str, str]:
    """Split "NAME@VERSION" or "NAME:TASK"."""
    place = min((name.find(mark) for mark in "@:" if mark in name), default=len(name))
    return name[:place], name[place + 1 :]


def load_judge(context: JudgeContext) -> Judge:
    """Return the judge of a spec's ``KIND:MODEL``."""
    return cast(Judge, registry.make("judge", context.spec.kind, context))


def compares(name: str) -> bool:
    """Whether a judge form shows two answers and asks which is better."""
    form = registry.judge_form(name)
    return form.n_answers == 2 and form.verdict != "rating"


def make_plan(spec: RunSpec, data: DataStore) -> Plan:
    """Load benchmarks, prompts and baselines.

    Raises
    ------
    UsageError
        A benchmark needs a judge and the spec has none, or a benchmark or prompt occurs twice.
    DataError
        An upstream file is missing or malformed.
    """
    planned: dict[str, PlannedBenchmark] = {}
    for item in expand_suites(spec.benchmarks):
        benchmark = load_benchmark(item.name, item.options)
        _check_judge(benchmark, item, spec)
        if benchmark.name in planned:
            raise UsageError(f"benchmark named twice: {item.name} is {benchmark.name}")
        prompts, left_out = benchmark.prompts(data)
        chosen, how = _chosen(prompts, item, spec)
        baselines = {r.prompt_id: r for r in benchmark.baselines(chosen, data)}
        if isinstance(benchmark, PinnedBenchmark):
            options = dict(benchmark.pinned(chosen, list(baselines.values())))
            item = item.model_copy(update={"options": options})
            benchmark = load_benchmark(item.name, options)
        planned[benchmark.name] = PlannedBenchmark(
            benchmark, item, chosen, baselines, tuple(left_out), len(prompts), how
        )
    plan = Plan(_pinned(spec, planned), planned)
    _refuse_idle_judge(plan)
    _refuse_duplicates(plan.prompts)
    return plan


def _chosen(prompts: Sequence[Prompt], item: BenchmarkSpec, spec: RunSpec) -> tuple[tuple[Prompt, ...], Chosen]:
    """Return the prompts a run uses, and which they are."""
    limits = item if item.limit or item.first else spec
    if limits.limit:
        return tuple(drawn_prompts(prompts, limits.limit, spec.seed)), "random"
    return tuple(prompts[: limits.first]), "first" if limits.first else "all"


def limit_took_the_first(header: Mapping[str, Any]) -> bool:
    """Whether a run was made by 0.1.0, whose ``limit`` took the first prompts."""
    return header.get("kind") == "run" and not all("chosen" in entry for entry in header["benchmarks"])


def _check_judge(benchmark: Benchmark, item: BenchmarkSpec, spec: RunSpec) -> None:
    if benchmark.judge_forms and spec.judge is None:
        raise UsageError(
            f"{item.name} needs a judge, and none is given",
            "openai:MODEL, with judge.base_url for another endpoint",
            "give --judge" + (", or a metric (--metric exact_match)" if "files" in item.options else ""),
        )


def _refuse_idle_judge(plan: Plan) -> None:
    """Refuse a judge beside a metric where nothing else is judged: one of them is a mistake."""
    judge = plan.spec.judge
    measured = [name for name, found in plan.benchmarks.items() if "metric" in found.spec.options]
    if judge is not None and measured and not plan.judge_forms:
        raise UsageError(
            f"the judge {judge.model} has nothing to judge: {', '.join(measured)} is measured by a metric",
            "a judge or a metric",
            "leave out --judge or --metric",
        )


def _pinned(spec: RunSpec, planned: Mapping[str, PlannedBenchmark]) -> RunSpec:
    """Return the spec with the options of benchmarks made from files as the plan completed them."""
    items = {found.spec.name: found.spec for found in planned.values()}
    return spec.model_copy(update={"benchmarks": tuple(items.get(item.name, item) for item in spec.benchmarks)})


def _refuse_duplicates(prompts: Iterable[Prompt]) -> None:
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        if prompt.id in seen:
            raise UsageError(f"{prompt.benchmark} holds the prompt {prompt.key!r} twice", "distinct question ids")
        seen[prompt.id] = prompt


def _samplings(planned: PlannedBenchmark) -> list[dict[str, Any]]:
    """The distinct sampling parameters of a benchmark's prompts, without seeds."""
    if planned.asks_engine:
        return []
    found = {planned.sampling(prompt, 0, 0) for prompt in planned.prompts}
    plain = [
        {k: v for k, v in asdict(sampling).items() if k != "seed"} | {"stop": list(sampling.stop)} for sampling in found
    ]
    return sorted({content_hash("sampling", item): item for item in plain}.values(), key=str)


def run_header(
    plan: Plan, fingerprint: Fingerprint, judge: Judge | None, data: DataStore, forms: Sequence[str]
) -> dict[str, Any]:
    """Return the content of run.json: everything needed to repeat the run and to compare it with another."""
    spec = plan.spec
    return {
        "kind": "run",
        "model": {
            "name": spec.model.display_name,
            "source": fingerprint.source,
            "engine": fingerprint.engine,
            "model_id": fingerprint.model_id,
            "weights_hash": fingerprint.weights_hash,
            "chat_template_hash": fingerprint.chat_template_hash,
            "options": dict(fingerprint.options),
        },
        "judge": None if judge is None else judge.describe() | {"ids": {form: judge.judge_id(form) for form in forms}},
        "benchmarks": [
            {
                "name": name,
                "version": planned.benchmark.version,
                "prompts_hash": planned.prompts_hash,
                "asked_as": planned.spec.name,
                "sampling": _samplings(planned),
                **({"options": planned.spec.options} if planned.spec.options else {}),
                "n_prompts": len(planned.prompts),
                "n_all_prompts": planned.n_all,
                "chosen": planned.chosen,
                "left_out": [
                    {"part": part.part, "n_prompts": part.n_prompts, "reason": part.reason} for part in planned.left_out
                ],
            }
            for name, planned in plan.benchmarks.items()
        ],
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec.spec_hash,
        "max_unscored": spec.max_unscored,
        "seed": spec.seed,
        "data": data.used(),
        "code": code_revision(),
        "versions": package_versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
