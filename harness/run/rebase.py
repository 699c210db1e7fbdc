"""A bridge between two judges from runs: the answers both judged, and the figures both gave them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.errors import AssayError, StatisticsError, UsageError
from harness.protocols import DataSource, ScoreKind
from harness.records import Score, SummaryRow
from harness.run.bridge_file import BridgeFile, JudgeName, bridge_record
from harness.run.compare import unit_values
from harness.run.judged_by import JudgedBy, judged_by, one_judge
from harness.run.score import RunScores, stored_or_scored
from harness.stats.errors_in_both import FEWEST_MODELS, ErrorVariances, PairedFigures
from harness.stats.estimate import Estimate
from harness.stats.judge_bridge import Bridge, errors_of_means, family_of
from harness.store.run_directory import RunDirectory

_FEWEST_SHARED = 10
"""Prompts on which all models were judged, below which each model's errors stand alone."""


@dataclass(frozen=True)
class JudgedRun:
    """A run, its judges and its answers.

    Parameters
    ----------
    scores : RunScores
        Its figures.
    judges : dict of str to JudgedBy
        By benchmark.
    answers, baselines : dict
        The turns of the answers by benchmark and prompt id.
    """

    scores: RunScores
    judges: dict[str, JudgedBy]
    answers: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=lambda: defaultdict(dict))
    baselines: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def name(self) -> str:
        """Its directory."""
        return self.scores.run


@dataclass(frozen=True)
class JudgedTwice:
    """Two runs of one model whose answers are the same, on some prompts at least.

    Parameters
    ----------
    model : str
        The model.
    old, new : RunScores
        The runs by the old and by the new judge.
    prompts : frozenset of str
        Ids of the prompts with the same answer in both.
    length : float
        Mean characters of these answers.
    """

    model: str
    old: RunScores
    new: RunScores
    prompts: frozenset[str]
    length: float


@dataclass(frozen=True)
class Converted:
    """An old figure on the new judge's scale, or why there is none."""

    model: str
    benchmark: str
    metric: str
    old: float
    new: Estimate | None
    reason: str | None = None


@dataclass(frozen=True)
class Rebased:
    """The bridges between two judges, and the figures of the old runs that only the old judge judged.

    Parameters
    ----------
    file : BridgeFile
        The bridges, as written to a file.
    converted : list of Converted
        Figures of old runs without a new one.
    skipped : list of str
        Metrics without a bridge, and why.
    """

    file: BridgeFile
    converted: list[Converted]
    skipped: list[str]


def read_judged(path: Path, data: DataSource) -> JudgedRun:
    """Read a run with its judges and the texts of its answers."""
    directory = RunDirectory(path)
    run = JudgedRun(stored_or_scored(directory, data), judged_by(directory))
    for response in directory.responses().values():
        if response.ok and response.sample == 0:
            side = run.answers if response.role == "candidate" else run.baselines
            side[response.benchmark][response.prompt_id] = response.turns
    return run


def rebase(
    old: Sequence[JudgedRun],
    new: Sequence[JudgedRun],
    metrics: Sequence[str] | None = None,
    families: Mapping[str, str] | None = None,
    level: float = 0.95,
) -> Rebased:
    """Make a bridge for every judged metric that old and new runs share.

    Parameters
    ----------
    old, new : sequence of JudgedRun
        Runs by the old and by the new judge. A run that no run of the other side shares answers with is converted if
        it is an old one, and refused if it is a new one.
    metrics : sequence of str, optional
        "benchmark:metric"; the headlines of the shared benchmarks where not given.
    families : mapping of str to str, optional
        Families of models; where not given, guessed from the name.
    level : float
        Nominal coverage.

    Returns
    -------
    Rebased

    Raises
    ------
    UsageError
        No shared benchmark, no shared answers, other baselines, too few models, or the same judge on both sides.
    """
    found = Rebased(BridgeFile(old=JudgeName(name=""), new=JudgeName(name=""), level=level, bridges=[]), [], [])
    for benchmark in _shared_benchmarks(old, new):
        sides = _two_judges(benchmark, old, new)
        names = {"old": JudgeName(name=sides[0].name), "new": JudgeName(name=sides[1].name)}
        found = replace(found, file=found.file.model_copy(update=names))
        pairs = _pairs(benchmark, _judged(old, benchmark), _judged(new, benchmark))
        used = {pair.old.run for pair in pairs}
        alone = [run.scores for run in _judged(old, benchmark) if run.name not in used]
        for metric in _metrics(benchmark, pairs, metrics):
            try:
                bridge = _bridge(benchmark, metric, pairs, families or {}, level)
            except StatisticsError as error:
                found.skipped.append(f"{benchmark} {metric}: {' '.join(str(error).split())}")
                continue
            found.file.bridges.append(bridge_record(benchmark, metric, bridge, sides[0].ids, sides[1].ids))
            found.converted.extend(_conversions(benchmark, metric, alone, bridge))
    if not found.file.bridges:
        raise UsageError(
            "no metric has a bridge: " + ("; ".join(found.skipped) or "none was asked for"),
            "a judged metric with figures of both judges",
            "choose one with --metric BENCHMARK:METRIC",
        )
    return found


def _shared_benchmarks(old: Sequence[JudgedRun], new: Sequence[JudgedRun]) -> list[str]:
    shared = [b for b in dict.fromkeys(b for run in old for b in run.judges) if _judged(new, b)]
    if not shared:
        raise UsageError(
            f"the old runs were judged on {_benchmarks(old)}, the new ones on {_benchmarks(new)}",
            "runs of the same benchmark by two judges",
            "judge the old answers again with the new judge, and give both runs",
        )
    return shared


def _judged(runs: Sequence[JudgedRun], benchmark: str) -> list[JudgedRun]:
    return [run for run in runs if benchmark in run.judges]


def _benchmarks(runs: Sequence[JudgedRun]) -> str:
    return ", ".join(sorted({b for run in runs for b in run.judges})) or "nothing"


def _two_judges(benchmark: str, old: Sequence[JudgedRun], new: Sequence[JudgedRun]) -> tuple[JudgedBy, JudgedBy]:
    sides = [
        one_judge(benchmark, name, {run.name: run.judges[benchmark] for run in _judged(runs, benchmark)})
        for name, runs in (("old", old), ("new", new))
    ]
    if not sides[0].has_same_baseline(sides[1]):
        raise UsageError(
            f"{benchmark}: the old runs were judged by {sides[0].words}, the new ones by {sides[1].words}",
            "the same answers, compared with the same baseline",
            "judge the old answers against the same baseline with the new judge",
        )
    if sides[0].is_same_judge(sides[1]):
        raise UsageError(
            f"{benchmark}: the old and the new runs were judged by the same judge ({sides[0].name})",
            "two judges",
            "compare the runs directly: assay leaderboard, assay compare",
        )
    return sides[0], sides[1]


def _pairs(benchmark: str, old: Sequence[JudgedRun], new: Sequence[JudgedRun]) -> list[JudgedTwice]:
    """Pair each new run with the old run that has most of its answers."""
    found: dict[str, JudgedTwice] = {}
    for run in new:
        mine = run.answers[benchmark]
        same = {o.name: _same(mine, o.answers[benchmark]) for o in old}
        best = max(old, key=lambda o: len(same[o.name]))
        prompts = same[best.name]
        if not prompts:
            raise UsageError(
                f"{benchmark}: no old run holds an answer of {run.name} ({run.scores.model})",
                "the same answers, judged by both judges",
                "judge the old answers again: import them, or run with --engine stored",
            )
        _refuse_other_baselines(benchmark, best, run, prompts)
        if best.name in found:
            raise UsageError(
                f"{benchmark}: {found[best.name].new.run} and {run.name} both hold the answers of {best.name}",
                "one new run for each old one",
                "leave one of them out",
            )
        length = float(np.mean([sum(len(turn) for turn in mine[p]) for p in prompts]))
        found[best.name] = JudgedTwice(run.scores.model, best.scores, run.scores, prompts, length)
    if len(found) < FEWEST_MODELS:
        raise UsageError(
            f"{benchmark}: the answers of {len(found)} model{'s' * (len(found) != 1)} were judged by both judges",
            f"at least {FEWEST_MODELS} models, better 10 or more",
            "judge the answers of more models with the new judge",
        )
    return list(found.values())


def _same(mine: Mapping[str, tuple[str, ...]], other: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    return frozenset(prompt for prompt, turns in mine.items() if other.get(prompt) == turns)


def _refuse_other_baselines(benchmark: str, old: JudgedRun, new: JudgedRun, prompts: frozenset[str]) -> None:
    there, here = old.baselines[benchmark], new.baselines[benchmark]
    differing = [p for p in prompts if p in there and p in here and there[p] != here[p]]
    if differing:
        raise UsageError(
            f"{benchmark}: {old.name} and {new.name} were judged against different baselines "
            f"(the baseline's answer differs on {len(differing)} of {len(prompts)} prompts)",
            "the same baseline in both",
            "judge the old answers against the old baseline with the new judge",
        )


def _metrics(benchmark: str, pairs: Sequence[JudgedTwice], asked: Sequence[str] | None) -> list[str]:
    """Return the metrics asked for, or the headlines that both sides have."""
    there = _held(benchmark, [pair.old for pair in pairs]) & _held(benchmark, [pair.new for pair in pairs])
    if asked is None:
        return [m for m in pairs[0].new.benchmark(benchmark).headlines if m in there] or sorted(there)[:1]
    wanted = [text.partition(":")[2] for text in asked if text.partition(":")[0] == benchmark]
    missing = ", ".join(sorted(set(wanted) - there))
    if missing:
        raise UsageError(f"{benchmark} has no {missing} in both", ", ".join(sorted(there)))
    return wanted


def _held(benchmark: str, runs: Sequence[RunScores]) -> set[str]:
    return {row.metric for run in runs for row in run.rows if row.benchmark == benchmark}


def _bridge(
    benchmark: str, metric: str, pairs: Sequence[JudgedTwice], families: Mapping[str, str], level: float
) -> Bridge:
    kept, figures = _averaged(benchmark, metric, pairs) or _fitted(benchmark, metric, pairs)
    models = tuple(pair.model for pair in kept)
    family = tuple(families.get(model, family_of(model)) for model in models)
    lengths = tuple(pair.length for pair in kept)
    return Bridge(figures, models, lengths, family, level)


def _averaged(
    benchmark: str, metric: str, pairs: Sequence[JudgedTwice]
) -> tuple[list[JudgedTwice], PairedFigures] | None:
    """Return the pairs scored by both judges and their figures; None if the metric is no mean over prompts."""
    found = [(pair, _unit_values(benchmark, metric, pair)) for pair in pairs]
    if all(values is None for _, values in found):
        return None
    kept = [(pair, values) for pair, values in found if values]
    return [pair for pair, _ in kept], _figures_of_values([values for _, values in kept])


def _fitted(benchmark: str, metric: str, pairs: Sequence[JudgedTwice]) -> tuple[list[JudgedTwice], PairedFigures]:
    """Return the pairs that have a figure that is a fit, and the figures."""
    kept: list[JudgedTwice] = []
    rows: list[tuple[SummaryRow, SummaryRow]] = []
    for pair in pairs:
        old, new = _row(pair.old, benchmark, metric), _row(pair.new, benchmark, metric)
        if old is not None and new is not None:
            _refuse_other_prompts(benchmark, metric, pair)
            kept.append(pair)
            rows.append((old, new))
    return kept, _figures_of_rows(metric, rows)


def _unit_values(benchmark: str, metric: str, pair: JudgedTwice) -> dict[str, tuple[float, float]] | None:
    """Return a model's values by prompt for both judges; None if the metric is no mean over prompts."""
    scored = [_scored(run, benchmark, pair.prompts) for run in (pair.old, pair.new)]
    found = []
    for run, own, other in zip((pair.old, pair.new), scored, reversed(scored), strict=True):
        items = run.benchmark(benchmark).items(metric, [score for key, score in own.items() if key in other])
        if items is None:
            return None
        _refuse_unjudged(metric, items.scores, run.benchmark(benchmark).score_kinds)
        found.append(unit_values(items))
    return {cluster: (found[0][cluster], found[1][cluster]) for cluster in found[0] if cluster in found[1]}


def _scored(run: RunScores, benchmark: str, prompts: frozenset[str]) -> dict[tuple[str, str, str], Score]:
    scores = [s for s in run.scores_of(benchmark) if s.prompt_id in prompts and s.value is not None]
    return {(s.metric, s.prompt_id, s.part): s for s in scores}


def _refuse_unjudged(metric: str, scores: Sequence[Score], kinds: Mapping[str, ScoreKind]) -> None:
    if not scores or not all(kinds[s.metric].judged for s in scores if s.metric in kinds):
        raise StatisticsError(f"{metric} is not a judge's opinion, or was not scored by both", "a judged metric")


def _figures_of_values(values: Sequence[dict[str, tuple[float, float]]]) -> PairedFigures:
    """Return figures over the prompts that all models share, or over each model's own where they share too few."""
    shared = sorted(set.intersection(*map(set, values))) if len(values) > 1 else []
    if len(shared) < max(_FEWEST_SHARED, min(map(len, values)) // 2):
        return _figures_apart(values)
    table = np.array([[own[cluster] for cluster in shared] for own in values])
    old, new = table[..., 0], table[..., 1]
    errors, common = errors_of_means(old, new)
    return PairedFigures(old.mean(axis=1), new.mean(axis=1), errors, common)


def _figures_apart(values: Sequence[dict[str, tuple[float, float]]]) -> PairedFigures:
    if any(len(own) < 2 for own in values):
        raise StatisticsError("a model was judged by both judges on fewer than 2 prompts", "at least 2")
    tables = [np.array(list(own.values())).T for own in values]
    covariances = np.array([np.cov(table) / table.shape[1] for table in tables])
    means = np.array([table.mean(axis=1) for table in tables])
    errors = ErrorVariances(covariances[:, 0, 0], covariances[:, 1, 1], covariances[:, 0, 1])
    return PairedFigures(means[:, 0], means[:, 1], errors)


def _refuse_other_prompts(benchmark: str, metric: str, pair: JudgedTwice) -> None:
    """Refuse figures that are fits to different answers."""
    n_answers = {len({s.prompt_id for s in run.scores_of(benchmark)}) for run in (pair.old, pair.new)}
    if n_answers != {len(pair.prompts)}:
        raise StatisticsError(
            f"{metric} is a fit over all prompts, and {pair.old.run} and {pair.new.run} share the answers of "
            f"{len(pair.prompts)} of {max(n_answers)}",
            "the same answers to all prompts",
        )


def _figures_of_rows(metric: str, rows: Sequence[tuple[SummaryRow, SummaryRow]]) -> PairedFigures:
    """Return figures that are fits: those of the runs, whose errors by the two judges are taken for independent."""
    if any(row.stderr is None for both in rows for row in both):
        raise StatisticsError(f"a figure of {metric} has no standard error", "figures with standard errors")
    values = np.array([[_number(row.value) for row in both] for both in rows]).reshape(-1, 2)
    variances = np.square(np.array([[_number(row.stderr) for row in both] for both in rows]).reshape(-1, 2))
    errors = ErrorVariances(variances[:, 0], variances[:, 1], np.zeros(len(rows)))
    return PairedFigures(values[:, 0], values[:, 1], errors)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _row(run: RunScores, benchmark: str, metric: str) -> SummaryRow | None:
    held = (row for row in run.rows if (row.benchmark, row.metric) == (benchmark, metric))
    return next((row for row in held if row.value is not None), None)


def _conversions(benchmark: str, metric: str, runs: Sequence[RunScores], bridge: Bridge) -> list[Converted]:
    rows = [(run, _row(run, benchmark, metric)) for run in runs]
    return [_converted(run.model, row, bridge) for run, row in rows if row is not None]


def _converted(model: str, row: SummaryRow, bridge: Bridge) -> Converted:
    value = _number(row.value)
    try:
        return Converted(model, row.benchmark, row.metric, value, bridge.convert(value, row.stderr))
    except AssayError as error:
        return Converted(model, row.benchmark, row.metric, value, None, error.found)
