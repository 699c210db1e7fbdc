"""The judge in a run: unreadable verdicts, position bias, grades given, canaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from harness.errors import StatisticsError
from harness.records import Judgment, Preference, Rating, Unscored
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from reports.blocks import Block, Cell, Figure, Note, Section, Table, limits
from reports.charts import Heatmap, IntervalChart, RefLine, SampleFilter, XYChart, histogram, side_by_side
from reports.inputs import Inputs, RunInput
from reports.sections import SectionEntry
from reports.sections.common import cost_of, mark_of, percent, recorded, slug

_LEAST_FIRST = 20  # verdicts with either side shown first, to tell position from quality
_MOST_PANELS = 8
_TENTHS = np.linspace(0.0, 100.0, 11)
_FIVE = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
_MIRRORED = {"A<B": "B>A", "A<<B": "B>>A", "B<A": "A>B", "B<<A": "A>>B", "B=A": "A=B"}


@dataclass
class _Judged:
    """A judge's verdicts on one benchmark of a run."""

    run: RunInput
    benchmark: str
    judge: str
    judgments: list[Judgment] = field(default_factory=list)

    @property
    def unscored(self) -> Counter[str]:
        """How many verdicts are missing, by reason."""
        return Counter(j.verdict.reason for j in self.judgments if isinstance(j.verdict, Unscored))

    @property
    def samples(self) -> SampleFilter:
        """The samples behind it."""
        return SampleFilter(model=self.run.name, benchmark=self.benchmark)


def judge_section(inputs: Inputs) -> Section | None:
    """What is known of the judges without people's votes; None where nothing was judged."""
    found = [judged for run in inputs.runs for judged in _judged(run)]
    blocks: list[Block] = [_who(found), *_positions(found), *_grades(found)] if found else []
    blocks += _canaries(inputs.runs)
    if not blocks:
        return None
    if not inputs.studies:
        words = "assay calibrate --out FILE.json measures it, and FILE.json given to assay report shows it."
        blocks.append(Note(f"Agreement with people is not in these runs: {words}"))
    return Section("judge", "Judge", blocks)


def _judged(run: RunInput) -> list[_Judged]:
    groups: dict[tuple[str, str], _Judged] = {}
    for j in run.stored.directory.slim_judgments():
        groups.setdefault((j.benchmark, j.judge), _Judged(run, j.benchmark, j.judge)).judgments.append(j)
    return list(groups.values())


def _canaries(runs: Sequence[RunInput]) -> list[Block]:
    rows = [
        [
            Cell(f"{run.name}: {c['name']}", str(c["benchmark"])),
            Cell("tripped" if c["tripped"] else "passed", tone="fail" if c["tripped"] else "pass"),
            Cell(str(c["n"])),
            Cell(str(c["n_unscored"])),
            Cell(str(c["message"])),
        ]
        for run in runs
        for c in run.scores.canaries
    ]
    columns = ["canary", "outcome", "verdicts#", "not read#", "what was found"]
    return [Table("Canaries: questions whose right verdict is known", columns, rows)] if rows else []


def _who(found: Sequence[_Judged]) -> Table:
    rows = []
    for g in found:
        cached = sum(j.cached for j in g.judgments)
        verdicts = Cell(f"{len(g.judgments):,}", f"{cached:,} out of the cache" if cached else "")
        name = Cell(g.judge, f"{g.run.name} on {g.benchmark}")
        rows.append(
            [
                name,
                verdicts,
                _unreadable(g),
                recorded(_tokens(g.judgments)),
                recorded(cost_of(g.judgments), "not known"),
            ]
        )
    columns = ["judge", "verdicts#", "not readable#", "tokens in / out#", "cost#"]
    return Table("Who judged, and what could not be read", columns, rows)


def _unreadable(g: _Judged) -> Cell:
    n = sum(g.unscored.values())
    if not n:
        return Cell("0")
    reasons = ", ".join(f"{reason} {count}" for reason, count in g.unscored.most_common())
    share = percent(n / len(g.judgments))
    return Cell(f"{n:,}", f"{share} {reasons}", replace(g.samples, verdict="not scored"), "undecided")


def _tokens(judgments: Sequence[Judgment]) -> str:
    if all(j.n_completion_tokens is None for j in judgments):
        return ""
    sent, received = (
        sum(getattr(j, name) or 0 for j in judgments) for name in ("n_prompt_tokens", "n_completion_tokens")
    )
    reasoning = sum(j.meta.get("n_reasoning_tokens", 0) for j in judgments)
    return f"{sent:,} / {received:,}" + (f" ({reasoning:,} reasoning)" if reasoning else "")


# Position


def _positions(found: Sequence[_Judged]) -> list[Block]:
    compared = [g for g in found if _comparisons(g.judgments)]
    several = len({g.benchmark for g in found}) > 1
    measured = [_position(g, f"{g.run.name}, {g.benchmark}" if several else g.run.name) for g in compared]
    if not measured:
        return []
    columns = ["run", "for the answer shown first (%)#", "same winner in both orders (%)#", "pairs in both orders#"]
    table = Table("Position: does it matter which answer the judge sees first", columns, [p.row for p in measured])
    figure = _position_figure(measured)
    return [table, figure] if figure else [table]


@dataclass(frozen=True)
class _Position:
    """How often the answer shown first wins, and how often both orders name the same winner."""

    judged: _Judged
    label: str
    how: str
    first: Estimate | None
    consistent: Estimate | None
    n_pairs: int

    @property
    def flipped(self) -> SampleFilter:
        """The samples whose winner changes with the order."""
        return replace(self.judged.samples, disagreement="orders")

    @property
    def row(self) -> list[Cell]:
        """A row of the table."""
        pairs = Cell(f"{self.n_pairs:,}" if self.n_pairs else "-")
        first, consistent = _cell(self.first, self.judged.samples), _cell(self.consistent, self.flipped)
        return [Cell(self.label, self.how), first, consistent, pairs]


def _comparisons(judgments: Sequence[Judgment]) -> list[Judgment]:
    return [j for j in judgments if isinstance(j.verdict, Preference) and len(j.order) == 2]


def _position(g: _Judged, label: str) -> _Position:
    compared = _comparisons(g.judgments)
    both = _both_orders(compared)
    first = _share_first([j for pair in both for j in pair]) if both else _share_first_unpaired(compared)
    how = "both orders" if both else "one order a prompt"
    if first is None:
        how = "one side is shown first every time or nearly so: bias cannot be told"
    return _Position(g, label, how, first, _consistent(both) if both else None, len(both))


def _position_figure(measured: Sequence[_Position]) -> Figure | None:
    first = [mark_of(p.label, p.first, p.judged.samples, note=p.how) for p in measured if p.first]
    same = [mark_of(p.label, p.consistent, p.flipped) for p in measured if p.consistent]
    panels = [
        IntervalChart("for the answer shown first (%)", "", first, [RefLine(50.0, "no favour")]),
        IntervalChart("same winner in both orders (%)", "", same),
    ]
    panels = [panel for panel in panels if panel.marks]
    if not panels:
        return None
    caption = (
        "Left of 50 % the judge favours what it sees second, right of it what it sees first. Where each prompt was "
        "judged in one order only, both sides' shares when shown first are averaged, which both orders need not."
    )
    title = "Position bias" if len(panels) > 1 else f"Position bias: verdicts {panels[0].title}"
    samples = SampleFilter(disagreement="orders") if same else None
    return Figure("position-bias", caption, side_by_side(title, panels), samples)


def _cell(estimate: Estimate | None, samples: SampleFilter) -> Cell:
    if estimate is None:
        return Cell("-", tone="muted")
    return Cell(f"{estimate.value:.1f}", limits(estimate.ci_low, estimate.ci_high, ".1f"), samples)


def _both_orders(judgments: Sequence[Judgment]) -> list[tuple[Judgment, Judgment]]:
    """Pairs of verdicts on the same two answers, each shown first once."""
    groups: dict[tuple[str, str, int, frozenset[str]], dict[str, Judgment]] = {}
    for j in judgments:
        key = (j.judge_id, j.prompt_id, j.turn, frozenset(j.response_ids))
        groups.setdefault(key, {})[j.order[0]] = j
    return [(g["candidate"], g["baseline"]) for g in groups.values() if len(g) == 2]


def _mean(
    values: Sequence[float], judgments: Sequence[Judgment], bounds: tuple[float, float] | None
) -> Estimate | None:
    try:
        return cluster_mean(values, [j.prompt_id for j in judgments], bounds=bounds)
    except StatisticsError:
        return None


def _p_first(judgment: Judgment) -> float:
    """The probability that the answer shown first is the better one, of a comparison."""
    assert isinstance(judgment.verdict, Preference)
    return judgment.verdict.p_first


def _share_first(judgments: Sequence[Judgment]) -> Estimate | None:
    return _mean([100.0 * _p_first(j) for j in judgments], judgments, (0.0, 100.0))


def _share_first_unpaired(judgments: Sequence[Judgment]) -> Estimate | None:
    """Where each prompt was judged in one order: the mean of how the two sides fare when shown first.

    The plain share would be the better side's win rate wherever that side is shown first more often. None where one
    side is hardly ever first: position and quality cannot be told apart then.
    """
    n_first = Counter(j.order[0] for j in judgments)
    if len(n_first) < 2 or min(n_first.values()) < _LEAST_FIRST:
        return None
    n = len(judgments)
    values = [100.0 * (0.5 + (_p_first(j) - 0.5) * n / (2.0 * n_first[j.order[0]])) for j in judgments]
    return _mean(values, judgments, None)


def _consistent(pairs: Sequence[tuple[Judgment, Judgment]]) -> Estimate | None:
    values = [100.0 * (_side(_p_first(one)) == _side(1.0 - _p_first(other))) for one, other in pairs]
    return _mean(values, [one for one, _ in pairs], (0.0, 100.0))


def _side(p: float) -> int:
    return (p > 0.5) - (p < 0.5)


# Grades


def _grades(found: Sequence[_Judged]) -> list[Block]:
    """How often each grade was given: a judge that gives everything an 8 discriminates nothing."""
    benchmarks = dict.fromkeys(g.benchmark for g in found)
    return [block for name in benchmarks for block in _grades_on(name, [g for g in found if g.benchmark == name])]


def _grades_on(benchmark: str, found: Sequence[_Judged]) -> list[Block]:
    rated = {g.run.name: counts for g in found if (counts := _ratings(g.judgments))}
    labelled = {g.run.name: counts for g in found if len(counts := _labels(g.judgments)) > 1}
    blocks: list[Block] = []
    if rated:
        caption = "Share of each grade in percent (grades between whole numbers at the nearest)."
        blocks.append(_shares(benchmark, rated, caption, ("grades given", "grade", ".0f")))
    if labelled:
        caption = "Share of each grade in percent, games in both orders taken together."
        blocks.append(_shares(benchmark, labelled, caption, ("verdicts given", "A: the model, B: the baseline", ".1f")))
    return blocks or _certainty(benchmark, found)


def _ratings(judgments: Sequence[Judgment]) -> Counter[str]:
    return Counter(str(round(j.verdict.value)) for j in judgments if isinstance(j.verdict, Rating))


def _labels(judgments: Sequence[Judgment]) -> Counter[str]:
    return Counter(label for j in judgments if (label := _label(j)))


def _label(judgment: Judgment) -> str:
    """The grade from the candidate's side: A is the candidate."""
    verdict = judgment.verdict
    if not isinstance(verdict, Preference) or not verdict.label:
        return ""
    label = verdict.label
    if set(label) <= set("AB<>=") and not (judgment.order and judgment.order[0] == "candidate"):
        label = label.translate(str.maketrans("AB", "BA"))
    return _MIRRORED.get(label, label)


def _shares(benchmark: str, found: dict[str, Counter[str]], caption: str, words: tuple[str, str, str]) -> Figure:
    """A heat map of how often each grade was given, in percent by model; `words` are title, axis and format."""
    title, axis, form = words
    grades = sorted({grade for counts in found.values() for grade in counts}, key=_place)
    values: list[list[float | None]] = [
        [100.0 * counts[grade] / counts.total() for grade in grades] for counts in found.values()
    ]
    top = max(value for row in values for value in row if value is not None)
    chart = Heatmap(f"{benchmark}: {title} (%)", axis, "", grades, [*found], values, limits=(0.0, top), form=form)
    return Figure(slug("grades", benchmark), caption, chart, SampleFilter(benchmark=benchmark))


def _place(grade: str) -> tuple[float, str]:
    """Numbers by value, the five grades from the best for A to the best for B, others after them."""
    if grade.lstrip("-").isdigit():
        return float(grade), ""
    return (_FIVE.index(grade) if grade in _FIVE else len(_FIVE)), grade


def _certainty(benchmark: str, found: Sequence[_Judged]) -> list[Block]:
    """How sure the judge is: the distribution of its preference probabilities."""
    shares = [(g.run.name, _certainties(g.judgments)) for g in found[:_MOST_PANELS]]
    panels = [
        XYChart(name, "P(model better), %", "share (%)", [histogram(name, own, _TENTHS)], y_range=(0.0, 100.0))
        for name, own in shares
        if own.size
    ]
    if not panels:
        return []
    chart = side_by_side(f"{benchmark}: how sure the judge is", panels)
    caption = "Distribution of the judge's probability that the model's answer is the better one."
    return [Figure(slug("certainty", benchmark), caption, chart, SampleFilter(benchmark=benchmark))]


def _certainties(judgments: Sequence[Judgment]) -> NDArray[np.float64]:
    return np.array([100.0 * j.candidate_share for j in judgments if j.candidate_share is not None])


JUDGING = SectionEntry(50, lambda context: [section] if (section := judge_section(context.inputs)) is not None else [])
