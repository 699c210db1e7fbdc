"""Length: does the longer answer win, how long are the answers, and what is left when length is held equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from harness.errors import AssayError
from harness.stats.length_control import LengthControlSpec, PairScores, length_controlled_pairs, relative_length
from harness.stats.length_control_ratings import ModelRatings, length_controlled_ratings
from harness.stats.length_correlation import pearson
from harness.stats.mean import cluster_mean
from reports.blocks import Block, Figure, Note, SampleFilter, Section
from reports.charts import Heatmap, IntervalChart, Mark, Panels, Series, XYChart, extent, histogram, log_edges
from reports.inputs import Inputs, RunInput
from reports.sections import SectionEntry
from reports.sections.common import slug

__all__ = ["LENGTH", "length_section"]

_SEED = 20240404  # of the bootstrap behind the fitted curves; fixed, so that the same runs give the same report
_BINS = 8
_MOST_PANELS = 12
_RATIOS = ((-3.0, "⅛"), (-2.0, "¼"), (-1.0, "½"), (0.0, "same"), (1.0, "2×"), (2.0, "4×"), (3.0, "8×"))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Scored:
    """A run's scores with the lengths beside them: values are shares (0 to 1) or ratings."""

    value: Floats
    length: Floats
    reference: Floats | None
    weight: Floats
    clusters: list[str]
    categories: list[str]
    rated: bool


def length_section(inputs: Inputs) -> Section | None:
    """What length has to do with the figures; None where no run knows the lengths of its answers."""
    blocks: list[Block] = []
    for benchmark in inputs.benchmarks:
        runs = inputs.holding(benchmark)
        found = [(run, scored) for run in runs if (scored := _scored(run, benchmark)) is not None]
        controlled = _controlled(runs, benchmark)
        blocks += [controlled] if controlled else []
        if not found:
            continue
        heat = _correlations(found, benchmark)
        blocks += [heat] if heat else []
        blocks += _curves(found, benchmark)
        blocks += _distributions(runs, benchmark)
    if not blocks:
        known = any(run.scores_in_role(name, "length") for run in inputs.runs for name in run.benchmarks)
        if not inputs.runs or known:
            return None
        blocks = [Note("None of the runs holds the answers' texts, so nothing is known of their lengths.")]
    return Section("length", "Length", blocks)


def _scored(run: RunInput, benchmark: str) -> _Scored | None:
    """Put scores and lengths together, prompt by prompt (and turn by turn for ratings)."""
    lengths = {(s.prompt_id, s.part): s.value for s in run.scores_in_role(benchmark, "length")}
    if not lengths:
        return None
    rated = [s for s in run.scores_in_role(benchmark, "rating") if (s.prompt_id, s.part) in lengths]
    if rated:
        return _Scored(
            np.array([s.value for s in rated], dtype=np.float64),
            np.array([lengths[s.prompt_id, s.part] for s in rated], dtype=np.float64),
            None,
            np.array([s.weight for s in rated]),
            [s.cluster for s in rated],
            [s.category or "" for s in rated],
            rated=True,
        )
    compared = [
        s
        for s in run.scores_in_role(benchmark, "preference")
        if (s.prompt_id, "candidate") in lengths and (s.prompt_id, "baseline") in lengths
    ]
    if not compared:
        return None
    return _Scored(
        np.array([s.value for s in compared], dtype=np.float64),
        np.array([lengths[s.prompt_id, "candidate"] for s in compared], dtype=np.float64),
        np.array([lengths[s.prompt_id, "baseline"] for s in compared], dtype=np.float64),
        np.array([s.weight for s in compared]),
        [s.cluster for s in compared],
        [s.category or "" for s in compared],
        rated=False,
    )


def _controlled(runs: Sequence[RunInput], benchmark: str) -> Figure | None:
    marks = []
    for run in runs:
        for held, raw in run.controlled(benchmark).items():
            pair = run.row(benchmark, raw), run.row(benchmark, held)
            if pair[0] is None or pair[1] is None:
                continue
            for row, series in zip(pair, ("raw", held.split("_")[0] + " controlled"), strict=True):
                if row is not None and row.value is not None:
                    samples = SampleFilter(model=run.name, benchmark=benchmark)
                    mark = Mark(run.name, row.value, row.ci_low, row.ci_high, series, samples=samples)
                    if mark not in marks:
                        marks.append(mark)
    if not marks:
        return None
    chart = IntervalChart(f"{benchmark}: raw beside length-controlled", "", marks)
    caption = "The figure as it is, and with the length of the answers held equal."
    return Figure(slug("raw-and-controlled", benchmark), caption, chart, SampleFilter(benchmark=benchmark))


def _curves(found: Sequence[tuple[RunInput, _Scored]], benchmark: str) -> list[Block]:
    panels: list[XYChart] = []
    notes = []
    for run, scored in found[:_MOST_PANELS]:
        try:
            panels.append(_curve(run, scored))
        except AssayError as error:
            notes.append(f"{run.name}: no curve of {benchmark}, {' '.join(str(error).split())}")
    if len(found) > _MOST_PANELS:
        notes.append(f"{len(found) - _MOST_PANELS} more models have no panel here; the heat map below has them all.")
    blocks: list[Block] = []
    if panels:
        rated = found[0][1].rated
        what = "Score against the answer's own length" if rated else "Win rate against the difference in length"
        caption = (
            "Points are means of eighths of the prompts, with 95 % intervals; the curve is a fit in tanh of the "
            "logarithm of the lengths' ratio. A curve that rises means longer answers score higher."
        )
        if benchmark == "alpaca_eval":
            caption += (
                " AlpacaEval's length-controlled figure rests on upstream's fit, which knows the instructions too."
            )
        title = f"{benchmark}: {what.lower()}"
        samples = SampleFilter(benchmark=benchmark)
        ends = extent([v for p in panels for s in p.series for vs in (s.y, s.low or (), s.high or ()) for v in vs])
        bounds = (1.0, 10.0) if rated else (0.0, 100.0)
        shared = max(ends[0], bounds[0]), min(ends[1], bounds[1])
        panels = [replace(p, y_range=shared) for p in panels]
        chart = replace(panels[0], title=title) if len(panels) == 1 else Panels(title, panels)
        blocks.append(Figure(slug("length-curve", benchmark), f"{what}. {caption}", chart, samples))
    return [*blocks, *(Note(note) for note in notes)]


def _curve(run: RunInput, scored: _Scored) -> XYChart:
    """Binned means and the fitted curve of one run."""
    rng = np.random.default_rng(_SEED)
    spec = LengthControlSpec(n_boot=100)  # only the curve is shown, and it does not depend on the resamples
    if scored.rated:
        reference = np.full(scored.length.shape, float(np.exp(np.log(scored.length + 1.0).mean())) - 1.0)
        ratings = ModelRatings(scored.value, scored.length, reference, scored.clusters)
        fit = length_controlled_ratings(ratings, rng, spec)
        x = np.log2(scored.length + 1.0)
        scale, bounds = 1.0, (1.0, 10.0)
    else:
        assert scored.reference is not None
        reference = scored.reference
        pairs = PairScores(scored.value, scored.weight, scored.length, reference, scored.clusters)
        fit = length_controlled_pairs(pairs, rng, spec)
        x = np.log2((scored.length + 1.0) / (reference + 1.0))
        scale, bounds = 100.0, (0.0, 100.0)
    points = _binned(x, scored.value * scale, scored.clusters, bounds)
    grid = np.linspace(float(np.quantile(x, 0.01)), float(np.quantile(x, 0.99)), 60)
    at = relative_length(2.0**grid - 1.0, np.full(60, reference[0])) if scored.rated else np.tanh(grid * np.log(2.0))
    line = fit.intercept + fit.slope * at
    curve = line if scored.rated else 100.0 * expit(line)
    curve = np.clip(curve, *bounds)
    series = [
        Series("fit", grid.tolist(), curve.tolist()),
        Series("prompts, in eighths", *points, kind="points"),
    ]
    if scored.rated:
        ticks = [(float(k), f"{2**k:,}") for k in range(2, 16) if x.min() - 0.5 <= k <= x.max() + 0.5]
        return XYChart(run.name, "characters", "rating", series, ticks)
    low, high = float(np.quantile(x, 0.01)), float(np.quantile(x, 0.99))
    ticks = [(k, name) for k, name in _RATIOS if low - 0.3 <= k <= high + 0.3] or [(0.0, "same")]
    return XYChart(run.name, "length, relative to the other answer", "win rate (%)", series, ticks)


def _binned(
    x: Floats, y: Floats, clusters: Sequence[str], bounds: tuple[float, float]
) -> tuple[list[float], list[float], list[float], list[float]]:
    order = np.argsort(x, kind="stable")
    found: tuple[list[float], list[float], list[float], list[float]] = ([], [], [], [])
    for part in np.array_split(order, min(_BINS, max(x.size // 5, 1))):
        mean = cluster_mean(y[part], [clusters[i] for i in part], bounds=bounds)
        low = mean.value if mean.ci_low is None else mean.ci_low
        high = mean.value if mean.ci_high is None else mean.ci_high
        for values, value in zip(found, (float(np.median(x[part])), mean.value, low, high), strict=True):
            values.append(value)
    return found


def _distributions(runs: Sequence[RunInput], benchmark: str) -> list[Block]:
    named: list[tuple[str, Floats]] = []
    for run in runs:
        own = [s.value for s in run.scores_in_role(benchmark, "length") if s.part != "baseline"]
        if own:
            named.append((run.name, np.array(own, dtype=np.float64)))
    theirs = next((found for run in runs if (found := _baseline_lengths(run, benchmark))), [])
    if theirs:
        named.append(("baseline", np.array(theirs, dtype=np.float64)))
    if not named:
        return []
    edges = log_edges(np.concatenate([values for _, values in named]))
    ticks = [(float(k), f"{2**k:,}") for k in range(int(edges[0]), int(edges[-1]) + 2, 2) if edges[0] <= k <= edges[-1]]
    panels = []
    for name, values in named[: _MOST_PANELS + 1]:
        series = histogram(name, np.log2(values + 1.0), edges)
        panels.append(XYChart(name, "characters", "share of answers (%)", [series], ticks))
    title = f"{benchmark}: how long the answers are"
    caption = "Share of answers by length in characters, on one axis of lengths."
    chart = replace(panels[0], title=title) if len(panels) == 1 else Panels(title, panels)
    return [Figure(slug("lengths", benchmark), caption, chart, SampleFilter(benchmark=benchmark))]


def _baseline_lengths(run: RunInput, benchmark: str) -> list[float]:
    return [s.value or 0.0 for s in run.scores_in_role(benchmark, "length") if s.part == "baseline"]


def _correlations(found: Sequence[tuple[RunInput, _Scored]], benchmark: str) -> Figure | None:
    """Pearson's r of score and length, model by category."""
    names = sorted({c for _, scored in found for c in scored.categories if c})
    columns = ["all", *names] if 1 < len(names) <= 16 else ["all"]
    values: list[list[float | None]] = []
    for _, scored in found:
        values.append([_correlation(scored, None if name == "all" else name) for name in columns])
    if all(v is None for row in values for v in row):
        return None
    chart = Heatmap(
        f"{benchmark}: correlation of score and length",
        "",
        "",
        columns,
        [run.name for run, _ in found],
        values,
        centre=0.0,
        limits=(-1.0, 1.0),
        form="+.2f",
    )
    what = "length" if found[0][1].rated else "length relative to the other answer (its logarithm)"
    caption = f"Pearson's r over prompts between the score and the answer's {what}; empty where it has none."
    return Figure(slug("length-correlation", benchmark), caption, chart, SampleFilter(benchmark=benchmark))


def _correlation(scored: _Scored, category: str | None) -> float | None:
    """Over prompts: a prompt's verdicts and lengths are averaged first."""
    kept = [i for i, c in enumerate(scored.categories) if category is None or c == category]
    lengths = np.log((scored.length + 1.0) / (1.0 if scored.reference is None else scored.reference + 1.0))
    by_prompt: dict[str, list[int]] = {}
    for i in kept:
        by_prompt.setdefault(scored.clusters[i], []).append(i)
    means = [(float(scored.value[i].mean()), float(lengths[i].mean())) for i in by_prompt.values()]
    if len(means) < 5:
        return None
    try:
        return pearson([v for v, _ in means], [length for _, length in means]).value
    except AssayError:
        return None


LENGTH = SectionEntry(40, lambda context: [section] if (section := length_section(context.inputs)) is not None else [])
