"""Length: whether longer answers win, how long answers are, and figures with length held equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from harness.errors import AssayError
from harness.records import Score
from harness.stats.length_control import LengthControlSpec, PairScores, length_controlled_pairs, relative_length
from harness.stats.length_control_ratings import ModelRatings, length_controlled_ratings
from harness.stats.length_correlation import pearson
from harness.stats.mean import cluster_mean
from reports.blocks import Block, Figure, Note, Section
from reports.charts import (
    Heatmap,
    IntervalChart,
    Mark,
    SampleFilter,
    Series,
    XYChart,
    extent,
    histogram,
    log_edges,
    side_by_side,
)
from reports.inputs import Inputs, RunInput
from reports.plot import NEUTRAL
from reports.sections import SectionEntry
from reports.sections.common import mark_of, slug

_SEED = 20240404  # of the bootstrap behind the fitted curves; fixed, so that the same runs give the same report
_BINS = 8
_MOST_PANELS, _MOST_CATEGORIES = 12, 16
_LEAST_PROMPTS = 5  # of a correlation
_BASELINE = "baseline"

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

    @property
    def rated(self) -> bool:
        """Whether the values are ratings; they are win rates otherwise."""
        return self.reference is None

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value on the axis."""
        return (1.0, 10.0) if self.rated else (0.0, 100.0)


def length_section(inputs: Inputs) -> Section | None:
    """How the figures depend on length; None if no run has the lengths of its answers."""
    blocks = [block for name in inputs.benchmarks for block in _of_benchmark(inputs, name)]
    known = any(run.scores_in_role(name, "length") for run in inputs.runs for name in run.benchmarks)
    if not blocks and inputs.runs and not known:
        blocks = [Note("None of the runs holds the answers' texts, so nothing is known of their lengths.")]
    return Section("length", "Length", blocks) if blocks else None


def _of_benchmark(inputs: Inputs, benchmark: str) -> list[Block]:
    runs = inputs.holding(benchmark)
    found = [(run, scored) for run in runs if (scored := _scored(run, benchmark)) is not None]
    blocks: list[Block] = _controlled(runs, benchmark)
    if found:
        slots = {run.name: slot for slot, run in enumerate(inputs.runs)}
        blocks += [
            *_correlations(found, benchmark),
            *_curves(found, benchmark, slots),
            *_distributions(runs, benchmark),
        ]
    return blocks


def _scored(run: RunInput, benchmark: str) -> _Scored | None:
    """Put scores and lengths together, prompt by prompt (and turn by turn for ratings)."""
    lengths = {(s.prompt_id, s.part): s.value or 0.0 for s in run.scores_in_role(benchmark, "length")}
    rated = [s for s in run.scores_in_role(benchmark, "rating") if (s.prompt_id, s.part) in lengths]
    if rated:
        return _together(rated, [lengths[s.prompt_id, s.part] for s in rated], None)
    compared = [
        s
        for s in run.scores_in_role(benchmark, "preference")
        if {(s.prompt_id, "candidate"), (s.prompt_id, "baseline")} <= set(lengths)
    ]
    own, other = ([lengths[s.prompt_id, side] for s in compared] for side in ("candidate", "baseline"))
    return _together(compared, own, other) if compared else None


def _together(scores: Sequence[Score], lengths: Sequence[float], reference: Sequence[float] | None) -> _Scored:
    return _Scored(
        np.array([s.value for s in scores], dtype=np.float64),
        np.array(lengths, dtype=np.float64),
        None if reference is None else np.array(reference, dtype=np.float64),
        np.array([s.weight for s in scores]),
        [s.cluster for s in scores],
        [s.category or "" for s in scores],
    )


def _controlled(runs: Sequence[RunInput], benchmark: str) -> list[Block]:
    marks: dict[tuple[str, str], Mark] = {}
    for run in runs:
        samples = SampleFilter(run.name, benchmark)
        for held, raw in run.controlled(benchmark).items():
            before, after = run.row(benchmark, raw), run.row(benchmark, held)
            if before is not None and after is not None:
                series = held.split("_")[0] + " controlled"
                marks[run.name, "raw"] = mark_of(run.name, before, samples, "raw")
                marks[run.name, series] = mark_of(run.name, after, samples, series)
    if not marks:
        return []
    chart = IntervalChart(f"{benchmark}: raw beside length-controlled", "", [*marks.values()])
    caption = "The figure as it is, and with the length of the answers held equal."
    return [Figure(slug("raw-and-controlled", benchmark), caption, chart, SampleFilter(benchmark=benchmark))]


def _curves(found: Sequence[tuple[RunInput, _Scored]], benchmark: str, slots: Mapping[str, int]) -> list[Block]:
    panels: list[XYChart] = []
    notes = []
    for run, scored in found[:_MOST_PANELS]:
        try:
            panels.append(_curve(run.name, scored, slots[run.name]))
        except AssayError as error:
            notes.append(f"{run.name}: no curve of {benchmark}, {' '.join(str(error).split())}")
    if len(found) > _MOST_PANELS:
        notes.append(f"{len(found) - _MOST_PANELS} more models have no panel here; the heat map above has them all.")
    figure = [_curve_figure(panels, benchmark, found[0][1])] if panels else []
    return [*figure, *(Note(note) for note in notes)]


def _curve_figure(panels: Sequence[XYChart], benchmark: str, scored: _Scored) -> Figure:
    what = "Score against the answer's own length" if scored.rated else "Win rate against the difference in length"
    caption = (
        f"{what}. Points are means of eighths of the prompts, with 95 % intervals; the curve is a fit in tanh of the "
        "logarithm of the lengths' ratio. A curve that rises means longer answers score higher."
    )
    if benchmark == "alpaca_eval":
        caption += " AlpacaEval's length-controlled figure rests on upstream's fit, which knows the instructions too."
    ends = extent([v for p in panels for s in p.series for vs in (s.y, s.low or (), s.high or ()) for v in vs])
    shared = max(ends[0], scored.bounds[0]), min(ends[1], scored.bounds[1])
    chart = side_by_side(f"{benchmark}: {what.lower()}", [replace(p, y_range=shared) for p in panels])
    return Figure(slug("length-curve", benchmark), caption, chart, SampleFilter(benchmark=benchmark))


def _curve(name: str, scored: _Scored, slot: int) -> XYChart:
    """Binned means and the fitted curve of one run, in the run's colour."""
    rng = np.random.default_rng(_SEED)
    spec = LengthControlSpec(n_boot=100)  # only the curve is shown, and it does not depend on the resamples
    if scored.reference is None:
        middle = float(np.exp(np.log(scored.length + 1.0).mean())) - 1.0
        reference = np.full(scored.length.shape, middle)
        fit = length_controlled_ratings(
            ModelRatings(scored.value, scored.length, reference, scored.clusters), rng, spec
        )
        x = np.log2(scored.length + 1.0)
    else:
        reference = scored.reference
        pairs = PairScores(scored.value, scored.weight, scored.length, reference, scored.clusters)
        fit = length_controlled_pairs(pairs, rng, spec)
        x = np.log2((scored.length + 1.0) / (reference + 1.0))
    low, high = (float(np.quantile(x, q)) for q in (0.01, 0.99))
    grid = np.linspace(low, high, 60)
    at = relative_length(2.0**grid - 1.0, np.full(60, reference[0])) if scored.rated else np.tanh(grid * np.log(2.0))
    line = fit.intercept + fit.slope * at
    curve = np.clip(line if scored.rated else 100.0 * expit(line), *scored.bounds)
    points = _binned(x, scored.value if scored.rated else 100.0 * scored.value, scored.clusters, scored.bounds)
    series = [
        Series("fit", grid.tolist(), curve.tolist(), slot=slot),
        Series("prompts, in eighths", *points, kind="points", slot=NEUTRAL),
    ]
    if scored.rated:
        return XYChart(name, "characters", "rating", series, _ticks(low, high, _characters), legend=False)
    label = "length, relative to the other answer"
    return XYChart(name, label, "win rate (%)", series, _ticks(low, high, _ratio), legend=False)


def _ticks(low: float, high: float, name: Callable[[float], str]) -> list[tuple[float, str]]:
    """Names of places on an axis of logarithms to base 2: whole powers, or halves and quarters of narrow ranges."""
    step = next((step for step in (2.0, 1.0, 0.5, 0.25) if (high - low) / step >= 3), 0.125)
    places = range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
    return [(k * step, name(2.0 ** (k * step))) for k in places]


def _characters(n: float) -> str:
    return f"{n:,.0f}"


def _ratio(value: float) -> str:
    return "same" if value == 1.0 else f"1/{1 / value:.3g}" if value < 1.0 else f"{value:.3g}×"


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
    named = {run.name: own for run in runs if (own := _lengths(run, benchmark, baseline=False)).size}
    theirs = next((found for run in runs if (found := _lengths(run, benchmark, baseline=True)).size), None)
    named = dict([*named.items()][:_MOST_PANELS]) | ({} if theirs is None else {_BASELINE: theirs})
    if not named:
        return []
    edges = log_edges(np.concatenate([*named.values()]))
    ticks = _ticks(float(edges[0]), float(edges[-1]), _characters)
    panels = []
    for name, values in named.items():
        series = histogram(name, np.log2(values + 1.0), edges)
        series = replace(series, slot=NEUTRAL) if name == _BASELINE else series
        panels.append(XYChart(name, "characters", "share of answers (%)", [series], ticks))
    caption = "Share of answers by length in characters, on one axis of lengths."
    chart = side_by_side(f"{benchmark}: how long the answers are", panels)
    return [Figure(slug("lengths", benchmark), caption, chart, SampleFilter(benchmark=benchmark))]


def _lengths(run: RunInput, benchmark: str, baseline: bool) -> Floats:
    scores = run.scores_in_role(benchmark, "length")
    return np.array([s.value for s in scores if (s.part == "baseline") is baseline], dtype=np.float64)


def _correlations(found: Sequence[tuple[RunInput, _Scored]], benchmark: str) -> list[Block]:
    """Pearson's r of score and length, model by category."""
    categories = sorted({c for _, scored in found for c in scored.categories if c})
    names = [None, *categories] if 1 < len(categories) <= _MOST_CATEGORIES else [None]
    values = [[_correlation(scored, name) for name in names] for _, scored in found]
    if not any(set(row) - {None} for row in values):
        return []
    title, models = f"{benchmark}: correlation of score and length", [run.name for run, _ in found]
    columns = [name or "all" for name in names]
    chart = Heatmap(title, "", "", columns, models, values, centre=0.0, limits=(-1.0, 1.0), form="+.2f")
    what = "length" if found[0][1].rated else "length relative to the other answer (its logarithm)"
    caption = f"Pearson's r over prompts between the score and the answer's {what}; empty where it has none."
    return [Figure(slug("length-correlation", benchmark), caption, chart, SampleFilter(benchmark=benchmark))]


def _correlation(scored: _Scored, category: str | None) -> float | None:
    """Over prompts: a prompt's verdicts and lengths are averaged first."""
    lengths = np.log((scored.length + 1.0) / (1.0 if scored.reference is None else scored.reference + 1.0))
    by_prompt: dict[str, list[int]] = {}
    for i, (cluster, own) in enumerate(zip(scored.clusters, scored.categories, strict=True)):
        if category in (None, own):
            by_prompt.setdefault(cluster, []).append(i)
    if len(by_prompt) < _LEAST_PROMPTS:
        return None
    places = [*by_prompt.values()]
    try:
        return pearson(
            [float(scored.value[i].mean()) for i in places], [float(lengths[i].mean()) for i in places]
        ).value
    except AssayError:
        return None


LENGTH = SectionEntry(40, lambda context: [section] if (section := length_section(context.inputs)) is not None else [])
