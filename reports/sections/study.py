"""A judge study: agreement with people and its ceiling, what biases the judge, and whether its confidence is honest.

All figures are the study's own (`judges.study`); a part that is not measured says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.blocks import Block, Cell, Figure, Note, SampleFilter, Section, Statement, Table
from reports.charts import Heatmap, IntervalChart, Mark, RefLine, Series, XYChart
from reports.sections.common import percent, slug

__all__ = ["study_section"]

Data = Mapping[str, Any]
_COEFFICIENTS = (
    ("cohen", "Cohen's kappa"),
    ("fleiss", "Fleiss' kappa"),
    ("alpha", "Krippendorff's alpha"),
    ("ac1", "Gwet's AC1"),
)


def study_section(study: Data, number: int = 1) -> Section:
    """Show a study.

    Parameters
    ----------
    study : mapping
        What `assay calibrate --out` wrote.
    number : int
        1-based; names of the second and later studies are told apart by it.
    """
    judges = list(study["judges"])
    suffix = "" if number == 1 else f"-{number}"
    names = [str(j["name"]) for j in judges]
    blocks: list[Block] = [_head(study)]
    blocks += _agreement(study, suffix)
    for judge in judges:
        name = str(judge["name"]) + suffix
        found: list[Block] = [_confusion(judge, name), *_ranking(judge, name), *_confidence(judge, name)]
        found += [*_corrected(judge, name), *_bias(judge, name)]
        blocks += sorted(found, key=lambda block: not isinstance(block, Figure))  # figures side by side, then tables
    blocks += [*_contest(study, suffix), *_labels(study)]
    blocks += [Note(str(remark)) for remark in study.get("remarks", ())]
    return Section(f"study{suffix}", "Judge study: " + ", ".join(names), blocks)


def _value(estimate: Data, form: str = ".1f") -> str:
    return format(estimate["value"], form)


def _limits(estimate: Data, form: str = ".1f") -> str:
    low, high = estimate.get("ci_low"), estimate.get("ci_high")
    return "" if low is None or high is None else f"{format(low, form)} to {format(high, form)}"


def _cell(estimate: Data | None, form: str = ".1f", samples: SampleFilter | None = None) -> Cell:
    """A figure with its interval, or why there is none."""
    if estimate is None or "value" not in estimate:
        return Cell("-", str((estimate or {}).get("reason", "")), tone="muted")
    return Cell(_value(estimate, form), _limits(estimate, form) or str(estimate.get("note", "")), samples)


def _mark(label: str, estimate: Data, series: str = "", samples: SampleFilter | None = None) -> Mark:
    return Mark(label, estimate["value"], estimate.get("ci_low"), estimate.get("ci_high"), series, samples=samples)


def _head(study: Data) -> Statement:
    human = study["human"]
    items = []
    for judge in study["judges"]:
        whole = [_agreed(c) for c in judge["cells"] if c["turn"] is None]
        said = [
            f"{_value(found)} % ({_limits(found)}) {'with' if cell['ties'] else 'without'} ties"
            for cell, found in zip((c for c in judge["cells"] if c["turn"] is None), whole, strict=True)
            if found is not None
        ]
        items.append(f"{judge['name']} agrees with people on {' and '.join(said) or 'nothing that can be compared'}")
    ceiling = [
        f"{_value(found)} % {'with' if c['ties'] else 'without'} ties"
        for c in human["cells"]
        if c["turn"] is None and (found := _agreed(c)) is not None
    ]
    if ceiling:
        items.append(f"people agree with one another on {' and '.join(ceiling)}")
    votes = f"{human['n_votes']:,} votes of {human['n_voters']:,} people on {human['n_pairs']:,} pairs"
    problems = [str(p) for p in study.get("problems", ())]
    if problems:
        return Statement("invalid", f"NOT VALID: {votes}", "; ".join(problems), items)
    return Statement("info", votes, "", items)


def _agreed(cell: Data) -> Data | None:
    found = cell["agreement"]
    estimate: Data | None = found.get("estimate")
    return estimate


def _agreement(study: Data, suffix: str) -> list[Block]:
    """The agreement table by turn and setup, and the coefficients, people beside the judges."""
    sides: list[tuple[str, Data]] = [(str(j["name"]), j) for j in study["judges"]]
    sides.append(("people among themselves", study["human"]))
    rows = []
    for cell in sides[0][1]["cells"]:
        turn, ties = cell["turn"], cell["ties"]
        line = [Cell("all turns" if turn is None else f"turn {turn}", "with ties" if ties else "without ties")]
        for _, side in sides:
            found = next((c for c in side["cells"] if (c["turn"], c["ties"]) == (turn, ties)), None)
            agreed = found["agreement"] if found else None
            if agreed and "estimate" in agreed:
                counts = f"{agreed['n_agree']:,} of {agreed['n_compared']:,}"
                line.append(Cell(_value(agreed["estimate"]) + " %", f"{_limits(agreed['estimate'])}; {counts}"))
            else:
                line.append(_cell(agreed))
        rows.append(line)
    columns = ["comparisons", *(f"{name}#" for name, _ in sides)]
    blocks: list[Block] = [Table("Agreement with people, in percent", columns, rows, summary=True)]
    coefficient_rows, marks = [], []
    for place, ties in enumerate((True, False)):
        for key, name in _COEFFICIENTS:
            line = [Cell(name, "with ties" if ties else "without ties")]
            for side_name, side in sides:
                found = next((c for c in side["coefficients"] if c["ties"] == ties), None)
                estimate = found.get(key) if found else None
                line.append(_cell(estimate, ".3f"))
                if place == 0 and estimate and "value" in estimate:
                    marks.append(_mark(name, estimate, side_name))
            coefficient_rows.append(line)
    blocks.append(Table("Agreement beyond chance", ["coefficient", *columns[1:]], coefficient_rows, summary=True))
    if marks:
        chart = IntervalChart("Agreement beyond chance, ties counted", "", marks, [RefLine(0.0, "chance")])
        caption = "0 is what chance gives, 1 is perfect. Beside the judge, people among themselves: the ceiling."
        blocks.append(Figure(f"agreement{suffix}", caption, chart, SampleFilter(disagreement="people")))
    return blocks


def _confusion(judge: Data, name: str) -> Figure:
    counts = judge["confusion"]["counts"]
    columns = ["first", "tie", "second", "no verdict"]
    values: list[list[float | None]] = [
        [float(counts.get(vote, {}).get(verdict, 0)) for verdict in columns] for vote in ("first", "tie", "second")
    ]
    if not any(row[-1] for row in values):
        columns, values = columns[:-1], [row[:-1] for row in values]
    chart = Heatmap(
        f"{judge['name']}: votes and verdicts",
        "the judge prefers",
        "a person prefers",
        columns,
        ["first", "tie", "second"],
        values,
        limits=(0.0, max([v for row in values for v in row if v is not None] or [1.0]) or 1.0),
    )
    c = judge["confusion"]
    caption = (
        f"Comparisons of a vote with a verdict; first and second are the two answers in alphabetical order of their "
        f"models. {c['opposite']:,} contradict each other; only the judge says tie in {c['judge_tie']:,}, only the "
        f"person in {c['human_tie']:,}."
    )
    return Figure(slug("confusion", name), caption, chart, SampleFilter(disagreement="people"))


def _ranking(judge: Data, name: str) -> list[Block]:
    ranking = judge["ranking"]
    if "models" not in ranking:
        return [Note(f"{judge['name']}: no ranking of models, {ranking.get('reason')}")]
    marks = []
    for model in ranking["models"]:
        for side in ("human", "judge"):
            marks.append(_mark(str(model["model"]), model[side], "people" if side == "human" else str(judge["name"])))
    said = []
    for key, words in (("spearman", "Spearman"), ("kendall", "Kendall")):
        found = ranking[key]
        if "value" not in found:
            said.append(f"{words}: {found.get('reason')}")
            continue
        limits = _limits(found, ".3f")
        said.append(f"{words} {_value(found, '.3f')}" + (f" ({limits})" if limits else ""))
    chart = IntervalChart(f"Win rates by {judge['name']} and by people", "%", marks, [RefLine(50.0, "even")])
    caption = f"Among the pairs both saw, ties half. Rank correlation over models: {', '.join(said)}."
    return [Figure(slug("ranking", name), caption, chart)]


def _bias(judge: Data, name: str) -> list[Block]:
    rows: list[list[Cell]] = []
    position = judge["position"]
    orders = SampleFilter(disagreement="orders")
    if "n_both_orders" in position:
        rows.append([Cell("position: both orders agree (%)"), _cell(position["consistent"], samples=orders)])
        rows.append([Cell("position: for the answer shown first (%)"), _cell(position["shown_first_rate"])])
        towards = f"{position['n_favours_first']:,} to {position['n_favours_second']:,}"
        if "value" in position["shown_first_rate"]:
            rows.append([Cell("position: changed verdicts, for the first to for the second"), Cell(towards)])
    else:
        rows.append([Cell("position"), _cell(position)])
    verbosity = judge["verbosity"]
    if "bias" in verbosity:
        meaning = "agreement where people chose the longer answer, less agreement where the shorter"
        rows.append([Cell("verbosity: bias (points)", meaning), _cell(verbosity["bias"], "+.1f")])
        for key, words in (
            ("agreement_longer", "verbosity: agreement where people chose the longer (%)"),
            ("agreement_shorter", "verbosity: agreement where people chose the shorter (%)"),
            ("judge_longer", "the judge chooses the longer (%)"),
            ("human_longer", "people choose the longer (%)"),
        ):
            rows.append([Cell(words), _cell(verbosity[key])])
    else:
        rows.append([Cell("verbosity"), _cell(verbosity)])
    own = judge["self_preference"]
    if "bias" in own:
        rows.append([Cell("self-preference: bias (points)", f"family {own['family']}"), _cell(own["bias"], "+.1f")])
        rows.append([Cell("the family's answers win, by the judge (%)"), _cell(own["judge_rate"])])
        rows.append([Cell("the family's answers win, by people (%)"), _cell(own["human_rate"])])
    else:
        rows.append([Cell("self-preference"), _cell(own)])
    n, failed = judge["n_presentations"], judge["failed_presentations"]
    n_failed = sum(failed.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in failed.items())
    rows.append([Cell("verdicts that could not be read"), Cell(f"{n_failed:,} of {n:,}", reasons)])
    repeats = judge["repeats"]
    if "concordance" in repeats:
        w = repeats["concordance"]
        inner = w.get("estimate", w)
        rows.append([Cell("repeats: Kendall's W", f"{repeats['n_repeats']} repeats"), _cell(inner, ".3f")])
        rows.append([Cell("repeats: unanimous (%)"), _cell(repeats["unanimous"])])
    else:
        rows.append([Cell("repeats"), _cell(repeats)])
    return [Table(f"What biases {judge['name']}", ["what", "figure, interval#"], rows)]


def _confidence(judge: Data, name: str) -> list[Block]:
    found = judge["confidence"]
    if "raw" not in found:
        return [Note(f"{judge['name']}: no reliability diagram, {found.get('reason')}")]
    versions = [("as it is", found["raw"]), ("temperature", found["temperature"]), ("isotonic", found["isotonic"])]
    diagonal = Series("honest", [0.5, 1.0], [0.5, 1.0], slot=6)
    series = [diagonal]
    rows = []
    for place, (words, one) in enumerate(versions):
        if "bins" not in one:
            rows.append([Cell(words), _cell(one), Cell("")])
            continue
        bins = [b for b in one["bins"] if b["n"]]
        low = [b["accuracy"] if b["ci_low"] is None else b["ci_low"] for b in bins]
        high = [b["accuracy"] if b["ci_high"] is None else b["ci_high"] for b in bins]
        if words in ("as it is", found["best"]):
            x, y = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
            series.append(Series(words, x, y, low, high, "points", place))
        rows.append([Cell(words), _cell(one["ece"], ".3f"), _cell(one["brier"], ".3f")])
    chart = XYChart(
        f"{judge['name']}: reliability diagram",
        "the judge's confidence in the answer it prefers",
        "share of people who prefer it",
        series,
        y_range=(0.0, 1.0),
    )
    caption = (
        f"On the line the confidence is honest; below it the judge is too sure of itself. Best of the three: "
        f"{found['best']}. It gives {found['n_levels']} different confidences."
    )
    table = Table(
        f"Confidence of {judge['name']}", ["recalibrated by", "expected calibration error#", "Brier score#"], rows
    )
    return [Figure(slug("reliability", name), caption, chart, SampleFilter(disagreement="people")), table]


def _corrected(judge: Data, name: str) -> list[Block]:
    rates = judge["win_rates"]
    if isinstance(rates, Mapping):
        return [Note(f"{judge['name']}: no corrected win rates, {rates.get('reason')}")]
    marks = []
    rows = []
    for rate in rates:
        found = rate["rate"]
        needed = rate["labels"].get("wanted", {}) if "wanted" in rate["labels"] else rate["labels"]
        labels = needed.get("with_judge") or needed.get("labels_only")
        cells = [
            _cell(found.get(key) if "estimate" in found else found) for key in ("estimate", "labels_only", "judge_only")
        ]
        reason = str(needed.get("reason") or "")
        wanted = Cell("-" if labels is None else f"{labels:,}", reason)
        rows.append([Cell(str(rate["model"])), *cells, wanted])
        if "estimate" in found:
            for key, words in (("estimate", "corrected"), ("labels_only", "votes only"), ("judge_only", "judge only")):
                if "value" in found[key]:
                    marks.append(_mark(str(rate["model"]), found[key], words))
    blocks: list[Block] = []
    if marks:
        chart = IntervalChart(f"{judge['name']}: win rates corrected by votes", "%", marks)
        caption = "Prediction-powered: the judge's verdicts on all pairs, set right by the votes on some."
        blocks.append(Figure(slug("corrected", name), caption, chart))
    columns = ["model", "corrected#", "votes only#", "judge only#", "votes needed#"]
    return [*blocks, Table(f"Win rates by {judge['name']}, corrected by votes", columns, rows, folded=bool(marks))]


def _contest(study: Data, suffix: str) -> list[Block]:
    contest = study["contest"]
    if "contenders" not in contest or len(contest["contenders"]) < 2:
        return []
    rows, marks = [], []
    for one in contest["contenders"]:
        price = one["price"]
        best = "nothing is better at its price" if one["pareto"] else ""
        priced = Cell("not known" if price is None else f"{price:.4g}", best)
        rows.append([Cell(str(one["name"])), _cell(one["accuracy"]), _cell(one["decisive_accuracy"]), priced])
        marks.append(_mark(str(one["name"]), one["accuracy"]))
    chart = IntervalChart("Which judge or ensemble agrees with people most", "agreement (%)", marks)
    caption = f"On the {contest['n_pairs']:,} pairs all judges gave a verdict on. {contest.get('note') or ''}".strip()
    columns = ["judge or ensemble", "agreement (%)#", "without ties (%)#", "price of a verdict#"]
    return [Figure(f"contest{suffix}", caption, chart), Table("Judges and ensembles at their prices", columns, rows)]


def _labels(study: Data) -> list[Block]:
    pairs: Sequence[Data] = study["labels"]["pairs"]
    rows = []
    for pair in pairs:
        key = pair["key"]
        name = f"{key['first']} / {key['second']}"
        share = percent(pair["probability"])
        rows.append([Cell(f"{key['prompt']}, turn {key['turn']}"), Cell(name), Cell(share), Cell(str(pair["reason"]))])
    columns = ["prompt", "answers", "P(first better)#", "why"]
    return [Table("Pairs most worth a further vote", columns, rows, folded=True)] if rows else []
