"""The judge in a run: who judged, what could not be read, which position it favours, how it grades, its canaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.errors import StatisticsError
from harness.records import Judgment, Preference, Rating, Unscored
from harness.stats.estimate import Estimate
from harness.stats.mean import cluster_mean
from reports.blocks import Block, Cell, Figure, Note, SampleFilter, Section, Table
from reports.charts import Heatmap, IntervalChart, Mark, Panels, RefLine, Series, XYChart
from reports.inputs import Inputs, RunInput
from reports.sections import SectionEntry
from reports.sections.common import percent, slug

__all__ = ["JUDGING", "judge_section"]


@dataclass
class _Judged:
    """A judge's verdicts on one benchmark of a run."""

    run: RunInput
    benchmark: str
    judge: str
    judgments: list[Judgment] = field(default_factory=list)

    @property
    def unscored(self) -> Counter[str]:
        """How many could not be had, by reason."""
        return Counter(j.verdict.reason for j in self.judgments if isinstance(j.verdict, Unscored))


def judge_section(inputs: Inputs) -> Section | None:
    """What is known of the judges without people's votes; None where nothing was judged."""
    found = [judged for run in inputs.runs for judged in _judged(run)]
    canaries = [(run, c) for run in inputs.runs for c in run.scores.canaries]
    if not found and not canaries:
        return None
    blocks: list[Block] = []
    if found:
        blocks.append(_who(found))
        blocks += _positions(found)
        blocks += _grades(found)
    if canaries:
        rows = [
            [
                Cell(f"{run.name}: {c['name']}", str(c["benchmark"])),
                Cell("tripped" if c["tripped"] else "passed", tone="fail" if c["tripped"] else "pass"),
                Cell(str(c["n"])),
                Cell(str(c["n_unscored"])),
                Cell(str(c["message"])),
            ]
            for run, c in canaries
        ]
        caption = "Canaries: questions whose right verdict is known"
        blocks.append(Table(caption, ["canary", "outcome", "verdicts#", "not read#", "what was found"], rows))
    if not inputs.studies:
        blocks.append(
            Note(
                "Agreement with people is not in these runs: assay calibrate --out FILE.json measures it, and "
                "FILE.json given to assay report shows it."
            )
        )
    return Section("judge", "Judge", blocks)


def _judged(run: RunInput) -> list[_Judged]:
    groups: dict[tuple[str, str], _Judged] = {}
    for j in run.stored.directory.slim_judgments():
        groups.setdefault((j.benchmark, j.judge), _Judged(run, j.benchmark, j.judge)).judgments.append(j)
    return list(groups.values())


def _who(found: Sequence[_Judged]) -> Table:
    rows = []
    for g in found:
        n, n_bad = len(g.judgments), sum(g.unscored.values())
        reasons = ", ".join(f"{reason} {count}" for reason, count in g.unscored.most_common())
        bad = SampleFilter(model=g.run.name, benchmark=g.benchmark, verdict="not scored") if n_bad else None
        tokens = [sum(t for j in g.judgments if (t := getattr(j, name))) for name in _TOKENS]
        known = any(j.n_completion_tokens is not None for j in g.judgments)
        cost = [j.cost for j in g.judgments if j.cost is not None]
        currency = next((j.currency for j in g.judgments if j.cost is not None), "")
        cached = sum(j.cached for j in g.judgments)
        rows.append(
            [
                Cell(g.judge, f"{g.run.name} on {g.benchmark}"),
                Cell(f"{n:,}", f"{cached:,} out of the cache" if cached else ""),
                Cell(
                    f"{n_bad:,}", f"{percent(n_bad / n)} {reasons}" if n_bad else "", bad, "undecided" if n_bad else ""
                ),
                Cell(f"{tokens[0]:,} / {tokens[1]:,}" if known else "not recorded", tone="" if known else "muted"),
                Cell(f"{sum(cost):.2f} {currency}" if cost else "not known", tone="" if cost else "muted"),
            ]
        )
    columns = ["judge", "verdicts#", "not readable#", "tokens in / out#", "cost#"]
    return Table("Who judged, and what could not be read", columns, rows)


_TOKENS = ("n_prompt_tokens", "n_completion_tokens")


def _positions(found: Sequence[_Judged]) -> list[Block]:
    marks, flips = [], []
    rows = []
    for g in found:
        compared = [j for j in g.judgments if isinstance(j.verdict, Preference) and len(j.order) == 2]
        if not compared:
            continue
        both = _both_orders(compared)
        samples = SampleFilter(model=g.run.name, benchmark=g.benchmark)
        label = g.run.name if len({x.benchmark for x in found}) == 1 else f"{g.run.name}, {g.benchmark}"
        first = _share_first([j for pair in both for j in pair]) if both else _share_first_unpaired(compared)
        consistent = _consistent(both) if both else None
        how = "both orders" if both else "one order a prompt"
        if first is None:
            how = "one side is shown first every time or nearly so: bias cannot be told"
        if first:
            marks.append(Mark(label, first.value, first.ci_low, first.ci_high, note=how, samples=samples))
        if consistent:
            other = SampleFilter(model=g.run.name, benchmark=g.benchmark, disagreement="orders")
            flips.append(Mark(label, consistent.value, consistent.ci_low, consistent.ci_high, samples=other))
        rows.append(
            [
                Cell(label, how),
                _estimate_cell(first, samples),
                _estimate_cell(
                    consistent, SampleFilter(model=g.run.name, benchmark=g.benchmark, disagreement="orders")
                ),
                Cell(f"{len(both):,}" if both else "-"),
            ]
        )
    if not rows:
        return []
    columns = ["run", "for the answer shown first (%)#", "same winner in both orders (%)#", "pairs in both orders#"]
    blocks: list[Block] = [Table("Position: does it matter which answer the judge sees first", columns, rows)]
    panels = []
    if marks:
        panels.append(IntervalChart("for the answer shown first (%)", "", marks, [RefLine(50.0, "no favour")]))
    if flips:
        panels.append(IntervalChart("same winner in both orders (%)", "", flips))
    caption = (
        "Left of 50 % the judge favours what it sees second, right of it what it sees first. Where each prompt was "
        "judged in one order only, both sides' shares when shown first are averaged, which both orders need not."
    )
    if panels:
        chart = panels[0] if len(panels) == 1 else Panels("Position bias", panels)
        if isinstance(chart, IntervalChart):
            chart = IntervalChart("Position bias: verdicts " + chart.title, "%", chart.marks, chart.lines)
        blocks.append(Figure("position-bias", caption, chart, SampleFilter(disagreement="orders") if flips else None))
    return blocks


def _estimate_cell(estimate: Estimate | None, samples: SampleFilter) -> Cell:
    if estimate is None:
        return Cell("-", tone="muted")
    low, high = estimate.ci_low, estimate.ci_high
    return Cell(f"{estimate.value:.1f}", "" if low is None or high is None else f"{low:.1f} to {high:.1f}", samples)


def _both_orders(judgments: Sequence[Judgment]) -> list[tuple[Judgment, Judgment]]:
    """Pairs of verdicts on the same two answers, each shown first once."""
    groups: dict[tuple[str, str, int, frozenset[str]], dict[str, Judgment]] = {}
    for j in judgments:
        key = (j.judge_id, j.prompt_id, j.turn, frozenset(j.response_ids))
        groups.setdefault(key, {})[j.order[0]] = j
    return [(g["candidate"], g["baseline"]) for g in groups.values() if len(g) == 2]


def _share_first(judgments: Sequence[Judgment]) -> Estimate | None:
    values = [100.0 * j.verdict.p_first for j in judgments if isinstance(j.verdict, Preference)]
    try:
        return cluster_mean(values, [j.prompt_id for j in judgments], bounds=(0.0, 100.0))
    except StatisticsError:
        return None


def _share_first_unpaired(judgments: Sequence[Judgment]) -> Estimate | None:
    """Where each prompt was judged in one order: the mean of how the two sides fare when shown first.

    The plain share would be the better side's win rate wherever that side is shown first more often. None where one
    side is hardly ever first: then nothing tells position from quality.
    """
    n_first = Counter(j.order[0] for j in judgments)
    if len(n_first) < 2 or min(n_first.values()) < 20:
        return None
    n = len(judgments)
    values = [
        100.0 * (0.5 + (j.verdict.p_first - 0.5) * n / (2.0 * n_first[j.order[0]]))
        for j in judgments
        if isinstance(j.verdict, Preference)
    ]
    try:
        return cluster_mean(values, [j.prompt_id for j in judgments])
    except StatisticsError:
        return None


def _consistent(pairs: Sequence[tuple[Judgment, Judgment]]) -> Estimate | None:
    values = []
    for first, second in pairs:
        one, other = first.verdict, second.verdict
        if isinstance(one, Preference) and isinstance(other, Preference):
            values.append(100.0 * (_side(one.p_first) == _side(1.0 - other.p_first)))
    try:
        return cluster_mean(values, [first.prompt_id for first, _ in pairs], bounds=(0.0, 100.0))
    except StatisticsError:
        return None


def _side(p: float) -> int:
    return (p > 0.5) - (p < 0.5)


def _grades(found: Sequence[_Judged]) -> list[Block]:
    """How often each grade was given: a judge that gives everything an 8 tells nothing apart."""
    blocks: list[Block] = []
    for benchmark in dict.fromkeys(g.benchmark for g in found):
        rated = [
            (g.run.name, c)
            for g in found
            if g.benchmark == benchmark
            and (c := Counter(j.verdict.value for j in g.judgments if isinstance(j.verdict, Rating)))
        ]
        labelled = [
            (g.run.name, labels)
            for g in found
            if g.benchmark == benchmark
            and len(labels := Counter(label for j in g.judgments if (label := _label(j)))) > 1
        ]
        if rated:
            blocks.append(_rating_chart(benchmark, rated))
        if labelled:
            blocks.append(_label_chart(benchmark, labelled))
        if not rated and not labelled:
            blocks += _preference_chart(benchmark, [g for g in found if g.benchmark == benchmark])
    return blocks


def _label(judgment: Judgment) -> str:
    """The grade, from the candidate's side: A is the candidate."""
    verdict = judgment.verdict
    if not isinstance(verdict, Preference) or not verdict.label:
        return ""
    if judgment.order and judgment.order[0] == "candidate":
        return verdict.label
    return verdict.label.translate(str.maketrans("AB", "BA")) if set(verdict.label) <= set("AB<>=") else verdict.label


_FIVE = ("A>>B", "A>B", "A=B", "B>A", "B>>A")


def _label_chart(benchmark: str, found: Sequence[tuple[str, Counter[str]]]) -> Figure:
    labels = sorted({_ordered(label) for _, c in found for label in c}, key=_place)
    values: list[list[float | None]] = []
    for _, counts in found:
        together: Counter[str] = Counter()
        for label, count in counts.items():
            together[_ordered(label)] += count
        total = sum(together.values())
        values.append([100.0 * together[label] / total for label in labels])
    chart = Heatmap(
        f"{benchmark}: verdicts given (%)", "A: the model, B: the baseline", "", labels, [n for n, _ in found], values,
        limits=(0.0, max(v for row in values for v in row if v is not None)), form=".1f",
    )  # fmt: skip
    caption = "Share of each grade in percent, games in both orders taken together."
    return Figure(slug("grades", benchmark), caption, chart, SampleFilter(benchmark=benchmark))


def _ordered(label: str) -> str:
    return {"A<B": "B>A", "A<<B": "B>>A", "B<A": "A>B", "B<<A": "A>>B", "B=A": "A=B"}.get(label, label)


def _place(label: str) -> tuple[int, str]:
    return (_FIVE.index(label) if label in _FIVE else len(_FIVE), label)


def _rating_chart(benchmark: str, found: Sequence[tuple[str, Counter[float]]]) -> Figure:
    grades = sorted({grade for _, c in found for grade in c})
    whole = sorted({round(g) for g in grades})
    values: list[list[float | None]] = []
    for _, counts in found:
        total = sum(counts.values())
        values.append([100.0 * sum(n for g, n in counts.items() if round(g) == w) / total for w in whole])
    chart = Heatmap(
        f"{benchmark}: grades given (%)", "grade", "", [str(w) for w in whole], [n for n, _ in found], values,
        limits=(0.0, max(v for row in values for v in row if v is not None)), form=".0f",
    )  # fmt: skip
    caption = "Share of each grade in percent (grades between whole numbers at the nearest)."
    return Figure(slug("grades", benchmark), caption, chart, SampleFilter(benchmark=benchmark))


def _preference_chart(benchmark: str, found: Sequence[_Judged]) -> list[Block]:
    """How sure the judge is: the distribution of its preference probabilities."""
    series = []
    edges = [i * 10.0 for i in range(11)]
    for g in found[:8]:
        shares = [
            100.0 * (j.verdict.p_first if j.order[0] == "candidate" else 1.0 - j.verdict.p_first)
            for j in g.judgments
            if isinstance(j.verdict, Preference) and j.order
        ]
        if shares:
            counts = Counter(min(int(s // 10.0), 9) for s in shares)
            heights = [100.0 * counts[i] / len(shares) for i in range(10)]
            series.append(Series(g.run.name, edges, [*heights, 0.0], kind="step"))
    if not series:
        return []
    panels = [
        XYChart(
            s.name,
            "P(model better), %",
            "share (%)",
            [s],
            y_range=(0.0, 100.0),
        )
        for s in series
    ]
    title = f"{benchmark}: how sure the judge is"
    chart = (
        Panels(title, panels) if len(panels) > 1 else XYChart(title, panels[0].x_label, "share (%)", panels[0].series)
    )
    caption = "Distribution of the judge's probability that the model's answer is the better one."
    return [Figure(slug("certainty", benchmark), caption, chart, SampleFilter(benchmark=benchmark))]


JUDGING = SectionEntry(50, lambda context: [section] if (section := judge_section(context.inputs)) is not None else [])
