"""A judge study: agreement with people and its ceiling, what biases the judges, and how well they are calibrated.

The figures are the study's own (`judges.study`). A figure that is not measured is a "-" with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml

from harness.errors import FileFormatError
from reports.blocks import Block, Cell, Figure, Note, Section, Statement, Table
from reports.charts import Heatmap, IntervalChart, Mark, RefLine, SampleFilter, Series, XYChart
from reports.sections import SectionEntry
from reports.sections.common import percent, slug

Data = Mapping[str, Any]

_ROWS = yaml.safe_load(files("reports.sections").joinpath("study.yaml").read_text(encoding="utf-8"))
"""The coefficients of agreement, and the biases, that the tables list."""

_RECALIBRATED = (("raw", "as it is"), ("temperature", "temperature"), ("isotonic", "isotonic"))
_MOST_CONTENDERS = 12
_TIE_MISSING = "alpha_tie_missing"
_NOT_STORED = {"reason": "not in the study file, which an earlier version wrote"}


def study_section(study: Data, number: int = 1) -> Section:
    """Show a study.

    Parameters
    ----------
    study : mapping
        What `assay calibrate --out` wrote.
    number : int
        1-based; names of the second and later studies are told apart by it.
    """
    judges: list[Data] = list(study["judges"])
    suffix = "" if number == 1 else f"-{number}"
    blocks: list[Block] = [_head(study), *_agreement(study, suffix)]
    for judge in judges:
        blocks += _charts(judge, f"{judge['name']}{suffix}")
    blocks += [_biases(judges), *_orders(judges), *_confidence(judges), *_alone(judges), _rankings(judges)]
    blocks += [*_contest(study, suffix), *_corrected(study), *_labels(study)]
    return Section(f"study{suffix}", "Judge study: " + ", ".join(str(judge["name"]) for judge in judges), blocks)


# ---- figures as cells


def _at(data: Any, path: str) -> Any:
    """Look a figure up; where a part of the path is not measured, what says why."""
    for name in path.split("."):
        if name not in data:
            return data
        data = data[name]
    return data


def _limits(estimate: Data, form: str = ".1f") -> str:
    low, high = estimate.get("ci_low"), estimate.get("ci_high")
    return "" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _words(estimate: Data, form: str = ".1f", unit: str = "") -> str:
    limits = _limits(estimate, form)
    return f"{estimate['value']:{form}}{unit}" + (f" ({limits})" if limits else "")


def _missing(found: Data) -> Cell:
    return Cell("-", str(found.get("reason") or ""), tone="muted")


def _cell(found: Any, form: str = ".1f", samples: SampleFilter | None = None) -> Cell:
    """A figure with its interval, or why there is none; a count or a name as it is."""
    if not isinstance(found, Mapping):
        return Cell(f"{found:{form}}")
    if "value" not in found:
        return _missing(found)
    return Cell(f"{found['value']:{form}}", _limits(found, form) or str(found.get("note", "")), samples)


def _number(value: float | None, form: str) -> Cell:
    return Cell("-" if value is None else f"{value:{form}}")


def _by_judge(
    caption: str, columns: Sequence[str], judges: Iterable[Data], rows_of: Callable[[Data], Iterable[Sequence[Cell]]]
) -> Table:
    """The rows of every judge behind its name; short ones are filled up."""
    n_cells = len(columns) - 1
    rows = [
        [Cell(judge["name"]), *cells, *[Cell("-")] * (n_cells - len(cells))]
        for judge in judges
        for cells in rows_of(judge)
    ]
    return Table(caption, columns, rows)


def _counts(counts: Data, n_all: int) -> Cell:
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    return Cell(f"{sum(counts.values()):,} of {n_all:,}", reasons)


def _mark(label: str, estimate: Data, series: str = "") -> Mark:
    return Mark(label, estimate["value"], estimate.get("ci_low"), estimate.get("ci_high"), series)


# ---- agreement


def _sides(study: Data) -> list[tuple[str, Data]]:
    """The judges, and people beside them as the ceiling."""
    return [*((str(judge["name"]), judge) for judge in study["judges"]), ("people among themselves", study["human"])]


def _ties(counted: bool) -> str:
    return "with ties" if counted else "without ties"


def _head(study: Data) -> Statement:
    human, problems = study["human"], [str(problem) for problem in study.get("problems", ())]
    names = ", ".join(str(judge["name"]) for judge in study["judges"])
    counts = [_many(human[f"n_{thing}s"], thing) for thing in ("vote", "voter", "pair")]
    against = _many(human["n_votes"], "gold label") if human.get("is_gold") else " of ".join(counts[:2])
    head = f"{names} against {against} on {counts[2]}: {'NOT VALID' if problems else 'valid'}"
    items = [*_agreements(study), *(str(remark) for remark in study.get("remarks", ()))]
    return Statement("invalid" if problems else "info", head, "; ".join(problems), items)


def _agreements(study: Data) -> Iterable[str]:
    """How far judges and people agree, in words."""
    for judge in study["judges"]:
        said = [f"{_words(found, '.1f', ' %')} {ties}" for found, ties in _overall(judge)]
        whom = "the gold labels" if study["human"].get("is_gold") else "people"
        yield f"{judge['name']} agrees with {whom} on {' and '.join(said) or 'nothing that can be compared'}"
    ceiling = [f"{found['value']:.1f} % {ties}" for found, ties in _overall(study["human"])]
    if ceiling:
        yield f"people agree with one another on {' and '.join(ceiling)}"


def _overall(side: Data) -> list[tuple[Data, str]]:
    """A side's agreement over all turns, with ties and without."""
    whole = [(cell["agreement"], _ties(cell["ties"])) for cell in side["cells"] if cell["turn"] is None]
    return [(agreement["estimate"], ties) for agreement, ties in whole if "estimate" in agreement]


def _many(n: int, thing: str) -> str:
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def _agreement(study: Data, suffix: str) -> list[Block]:
    """Agreement by turn, and beyond chance."""
    sides = _sides(study)
    names = [f"{name}#" for name, _ in sides]
    rows = []
    for cell in sides[0][1]["cells"]:
        turn = "all turns" if cell["turn"] is None else f"turn {cell['turn']}"
        rows.append([Cell(turn, _ties(cell["ties"])), *(_agreed(side, cell) for _, side in sides)])
    level = f"{study['spec']['level']:.0%} interval"
    caption = f"Agreement with each human vote, percent ({level}; agreeing of compared)"
    return [Table(caption, ["comparisons", *names], rows, summary=True), *_beyond_chance(sides, names, suffix)]


def _beyond_chance(sides: Sequence[tuple[str, Data]], names: Sequence[str], suffix: str) -> Iterable[Block]:
    rows = [row for ties in (True, False) for row in _coefficient_rows(sides, ties)]
    counted = [(name, _coefficients(side, ties=True)) for name, side in sides]
    marks = [
        _mark(words, found[key], name)
        for key, words in _ROWS["coefficients"].items()
        for name, found in counted
        if "value" in found.get(key, ())
    ]
    yield Table("Agreement beyond chance", ["coefficient", *names], rows, summary=True)
    yield from (Note(text) for text in _ROWS["conventions"])
    if marks:
        chart = IntervalChart("Agreement beyond chance, ties counted", "", marks, [RefLine(0.0, "chance")])
        caption = "0 is what chance gives, 1 is perfect. People among themselves are the ceiling for a judge."
        yield Figure(f"agreement{suffix}", caption, chart, SampleFilter(disagreement="people"))


def _coefficients(side: Data, *, ties: bool) -> Data:
    found: Data = next(one for one in side["coefficients"] if one["ties"] == ties)
    return found


def _coefficient_rows(sides: Sequence[tuple[str, Data]], ties: bool) -> Iterable[list[Cell]]:
    by_side = [_coefficients(side, ties=ties) for _, side in sides]
    for key, words in _ROWS["coefficients"].items():
        if key == _TIE_MISSING and (ties or not any(key in found for found in by_side)):
            continue
        yield [Cell(words, _ties(ties)), *(_cell(found.get(key, _NOT_STORED), ".3f") for found in by_side)]


def _agreed(side: Data, like: Data) -> Cell:
    """A side's agreement for a turn, with ties or without."""
    same = [c["agreement"] for c in side["cells"] if (c["turn"], c["ties"]) == (like["turn"], like["ties"])]
    if not same or "estimate" not in same[0]:
        return _missing(same[0] if same else {})
    found = same[0]
    limits, counts = _limits(found["estimate"]), f"{found['n_agree']:,} of {found['n_compared']:,}"
    return Cell(f"{found['estimate']['value']:.1f}", f"{limits}; {counts}" if limits else counts)


# ---- charts of one judge


def _charts(judge: Data, name: str) -> list[Block]:
    """The charts of a judge; the figures in them are in the tables too."""
    found: list[Block] = [_confusion(judge, name)]
    if "models" in judge["ranking"]:
        found.append(_ranking_chart(judge, name))
    if "raw" in judge["confidence"]:
        found.append(_reliability(judge, name))
    rates = [] if isinstance(judge["win_rates"], Mapping) else judge["win_rates"]
    marks = [
        _mark(str(rate["model"]), rate["rate"][key], words)
        for rate in rates
        for key, words in (("estimate", "corrected"), ("labels_only", "votes only"), ("judge_only", "judge only"))
        if "value" in rate["rate"].get(key, ())
    ]
    if marks:
        chart = IntervalChart(f"{judge['name']}: win rates corrected by votes", "%", marks)
        caption = "Prediction-powered: the judge's verdicts on all pairs, corrected by the votes on some."
        found.append(Figure(slug("corrected", name), caption, chart))
    return found


def _confusion(judge: Data, name: str) -> Figure:
    confusion = judge["confusion"]
    rows, columns = ["first", "tie", "second"], ["first", "tie", "second", "no verdict"]
    counts = [[float(confusion["counts"].get(vote, {}).get(said, 0)) for said in columns] for vote in rows]
    if not any(row[-1] for row in counts):
        columns, counts = columns[:-1], [row[:-1] for row in counts]
    chart = Heatmap(
        f"{judge['name']}: votes and verdicts",
        "the judge prefers",
        "a person prefers",
        columns,
        rows,
        counts,
        limits=(0.0, max(max(row) for row in counts) or 1.0),
    )
    caption = (
        f"Comparisons of a vote with a verdict; first and second are the two answers in alphabetical order of their "
        f"models. {confusion['opposite']:,} contradict each other; only the judge says tie in "
        f"{confusion['judge_tie']:,}, only the person in {confusion['human_tie']:,}."
    )
    return Figure(slug("confusion", name), caption, chart, SampleFilter(disagreement="people"))


def _ranking_chart(judge: Data, name: str) -> Figure:
    ranking = judge["ranking"]
    sides = (("human", "people"), ("judge", str(judge["name"])))
    marks = [_mark(str(model["model"]), model[side], words) for model in ranking["models"] for side, words in sides]
    chart = IntervalChart(f"Win rates by {judge['name']} and by people", "%", marks, [RefLine(50.0, "even")])
    said = [
        f"{words} {_words(found, '.3f')}" if "value" in found else f"{words}: {found.get('reason')}"
        for found, words in ((ranking["spearman"], "Spearman"), (ranking["kendall"], "Kendall"))
    ]
    caption = f"Among the pairs both saw, ties half. Rank correlation over models: {', '.join(said)}."
    return Figure(slug("ranking", name), caption, chart)


def _reliability(judge: Data, name: str) -> Figure:
    found = judge["confidence"]
    series = [Series("calibrated", [0.5, 1.0], [0.5, 1.0], slot=6)]
    for place, (key, words) in enumerate(_RECALIBRATED):
        if words in ("as it is", found["best"]) and "bins" in found[key]:
            series.append(_bins([b for b in found[key]["bins"] if b["n"]], words, place))
    chart = XYChart(
        f"{judge['name']}: reliability diagram",
        "the judge's confidence in the answer it prefers",
        "share of people who prefer it",
        series,
        y_range=(0.0, 1.0),
    )
    caption = (
        f"On the line the judge is calibrated; below it, over-confident. Best of the three: "
        f"{found['best']}. It gives {found['n_levels']} different confidences."
    )
    return Figure(slug("reliability", name), caption, chart, SampleFilter(disagreement="people"))


def _bins(bins: Sequence[Data], name: str, slot: int) -> Series:
    low = [b["accuracy"] if b["ci_low"] is None else b["ci_low"] for b in bins]
    high = [b["accuracy"] if b["ci_high"] is None else b["ci_high"] for b in bins]
    return Series(name, [b["confidence"] for b in bins], [b["accuracy"] for b in bins], low, high, "points", slot)


# ---- tables of all judges


def _biases(judges: Sequence[Data]) -> Table:
    unread = [_counts(judge["failed_presentations"], judge["n_presentations"]) for judge in judges]
    rows = [
        [Cell("pairs without a verdict"), *(_counts(judge["unscored"], judge["n_pairs"]) for judge in judges)],
        [Cell("verdicts that could not be read"), *unread],
    ]
    unmeasured: set[str] = set()
    for part, figure, words, form in _ROWS["biases"]:
        if part in unmeasured:
            continue
        if all("reason" in judge[part] for judge in judges):
            unmeasured.add(part)  # one row says why
        samples = SampleFilter(disagreement="orders") if figure == "consistent" else None
        rows.append([Cell(words), *(_cell(_bias(judge[part], figure), form, samples) for judge in judges)])
    return Table("Biases", ["what", *(f"{judge['name']}#" for judge in judges)], rows)


def _bias(part: Data, figure: str) -> Any:
    first_rate = part.get("shown_first_rate", {})
    if figure.startswith("n_favours") and "reason" in first_rate:
        return first_rate  # the files say that the order mattered, not which way
    return _at(part, figure)


def _orders(judges: Sequence[Data]) -> list[Block]:
    columns = ["judge", "verdict", "agreement#", "agree#", "compared#", "no verdict#", "missing counted as wrong#"]
    table = _by_judge("Each order alone, percent with ties", columns, judges, _order_rows)
    return [table] if table.rows else []


def _order_rows(judge: Data) -> Iterable[Sequence[Cell]]:
    position = judge["position"]
    for game in position.get("games", ()):
        counts = [Cell(f"{game[key]:,}") for key in ("n_agree", "n_compared", "n_no_verdict")]
        wrong = Cell(f"{game['percent_of_all']:.1f}")
        yield [Cell(f"order {game['game']} alone"), _cell(game["agreement"]), *counts, wrong]
    if position.get("games"):
        n, n_all = position["n_both_right"], position["n_votes"]
        right = _number(100.0 * n / n_all if n_all else 0.0, ".1f")
        yield [Cell("both orders"), _cell(position["both_right"]), Cell(f"{n:,}"), Cell(f"{n_all:,}"), Cell("-"), right]


def _confidence(judges: Sequence[Data]) -> list[Block]:
    columns = ["judge", "confidence", "ECE#", "if calibrated#", "p calibrated#", "largest gap#", "Brier score#"]
    note = (
        "ECE: expected calibration error. It is never 0 on real data: compare it with the next column. Recalibration "
        "is by fits that never saw the prompt."
    )
    return [_by_judge("Is its confidence calibrated?", columns, judges, _confidence_rows), Note(note)]


def _alone(judges: Sequence[Data]) -> list[Block]:
    """From which confidence each judge may decide alone; studies stored by earlier versions do not say."""
    known = [judge for judge in judges if judge.get("escalation")]
    if not known:
        return []
    columns = ["judge", "threshold#", "pairs decided alone#", "disagreement there#", "at most#", "labelled pairs#"]
    note = "For assay run --judge cascade:CHEAP,STRONG: the disagreement with people holds with the stated probability."
    return [_by_judge("From which confidence may it decide alone?", columns, known, _alone_rows), Note(note)]


def _alone_rows(judge: Data) -> Iterable[Sequence[Cell]]:
    found = judge["escalation"]
    if found.get("threshold") is None:
        yield [_missing(found)]
        return
    yield [
        Cell(f"{found['threshold']:.2f}"),
        Cell(f"{100 * found['share_kept']:.0f} %"),
        Cell(f"{100 * found['disagreement']:.1f} %", f"at most {100 * found['bound']:.1f} %"),
        Cell(f"{100 * found['alpha']:.0f} %", f"with probability {1 - found['delta']:.2g}"),
        Cell(f"{found['n']:,}"),
    ]


def _confidence_rows(judge: Data) -> Iterable[Sequence[Cell]]:
    found = judge["confidence"]
    if "raw" not in found:
        yield [_missing(found)]
        return
    for key, words in _RECALIBRATED:
        best = " (best)" if words == found["best"] else ""
        yield [Cell(words + best), *_calibration(found[key])]


def _calibration(found: Data) -> list[Cell]:
    if "ece" not in found:
        return [_missing(found)]
    return [
        _cell(found["ece"], ".3f"),
        _number(found["ece_if_calibrated"], ".3f"),
        _number(found["p_calibrated"], ".2g"),
        Cell(f"{found['max_error']:.3f}", f"n {found['max_error_n']}"),
        _cell(found["brier"], ".3f"),
    ]


def _rankings(judges: Sequence[Data]) -> Table:
    columns = ["judge", "models#", "Spearman#", "Kendall's tau#"]
    return _by_judge("Order of the models by win rate, judge against people", columns, judges, _ranking_rows)


def _ranking_rows(judge: Data) -> Iterable[Sequence[Cell]]:
    found = judge["ranking"]
    if "models" in found:
        yield [Cell(str(len(found["models"]))), _cell(found["spearman"], ".3f"), _cell(found["kendall"], ".3f")]
    else:
        yield [_missing(found)]


def _contest(study: Data, suffix: str) -> list[Block]:
    contest = study["contest"]
    if "contenders" not in contest:
        return [Note(f"Judges against each other: {contest.get('reason')}")]
    contenders: list[Data] = list(contest["contenders"])
    if len(contenders) < 2:
        return []
    shown = [c for i, c in enumerate(contenders) if i < _MOST_CONTENDERS or c["kind"] == "judge" or c["pareto"]]
    caption = (
        f"Accuracy and price on the {contest['n_pairs']:,} pairs all judges share ({contest['n_votes']:,} votes), "
        "percent"
    )
    columns = ["judge or ensemble", "best at its price", "accuracy#", "without ties#", "behind the best#"]
    table = Table(caption, [*columns, "price of a pair#"], [_contender(one) for one in shown])
    chart = IntervalChart(
        "Which judge or ensemble agrees with people most",
        "agreement (%)",
        [_mark(str(one["name"]), one["accuracy"]) for one in contenders],
    )
    figure = Figure(f"contest{suffix}", "On the pairs on which all judges gave a verdict.", chart)
    return [figure, table, *map(Note, _contest_notes(contest, len(contenders) - len(shown)))]


def _contender(one: Data) -> list[Cell]:
    return [
        Cell(str(one["name"])),
        Cell({True: "yes", False: "no", None: "-"}[one["pareto"]]),
        _cell(one["accuracy"]),
        _cell(one["decisive_accuracy"]),
        _cell(one["behind_best"]) if "value" in one["behind_best"] else Cell("best"),
        _number(one["price"], ".4g"),
    ]


def _contest_notes(contest: Data, n_left_out: int) -> Iterable[str]:
    if n_left_out:
        yield f"{n_left_out} less accurate ensembles are not listed; the study's JSON holds them."
    if "value" in contest["chosen_accuracy"]:
        yield f"Accuracy of choosing the best on other prompts: {_words(contest['chosen_accuracy'])}."
    if any(one["price"] is None for one in contest["contenders"]):
        yield "The price of a judge is unknown: give --price JUDGE=PRICE."
    if contest.get("note"):
        yield str(contest["note"])


def _corrected(study: Data) -> list[Block]:
    columns = ["judge", "model", "judge alone#", "votes alone#", "corrected#", "votes#", "worth#"]
    columns += [f"votes for +-{study['spec']['half_width']:g}#", "without the judge#"]
    note = "Corrected win rates are right if the pairs with votes are a random sample of the judged ones."
    caption = "Win rates corrected by human votes (PPI++), percent"
    return [_by_judge(caption, columns, study["judges"], _corrected_rows), Note(note)]


def _corrected_rows(judge: Data) -> Iterable[Sequence[Cell]]:
    rates = judge["win_rates"]
    if isinstance(rates, Mapping):
        return [[_missing(rates)]]
    return [[Cell(str(rate["model"])), *_rate(rate["rate"], rate["labels"])] for rate in rates]


def _rate(rate: Data, labels: Data) -> list[Cell]:
    if "estimate" not in rate:
        return [_missing(rate)]
    cells = [_cell(rate[key]) for key in ("judge_only", "labels_only", "estimate")]
    cells += [Cell(f"{rate['n_labelled']:,}"), Cell(f"{rate['effective_labels']:.0f}")]
    if "wanted" not in labels:
        return [*cells, _missing(labels)]
    wanted = labels["wanted"]
    needed = Cell("more pairs") if wanted["with_judge"] is None else Cell(f"{wanted['with_judge']:,}")
    return [*cells, needed, Cell(f"{wanted['labels_only']:,}")]


def _labels(study: Data) -> list[Block]:
    pairs: Sequence[Data] = study["labels"]["pairs"]
    if not pairs:
        return []
    texts = study.get("texts") or {}
    asked = {(row["prompt"], row["turn"]): texts.get(row["prompt_text"]) for row in study.get("pairs") or ()}
    rows = []
    for pair in pairs:
        key = pair["key"]
        prompt, text = str(key["prompt"]), asked.get((key["prompt"], key["turn"]))
        # a name that is a hash of the text says less than the text
        named = f'"{text[:50]}"' if prompt.startswith("text:") and text else f"{prompt}, turn {key['turn']}"
        answers = "" if str(key["first"]).startswith("text:") else f"{key['first']} / {key['second']}"
        figures = Cell(percent(pair["probability"])), Cell(str(pair["n_votes"])), Cell(f"{pair['value']:.2g}")
        rows.append([Cell(named), Cell(answers), *figures, Cell(str(pair["reason"]))])
    columns = ["prompt", "answers", "P(first better)#", "votes#", "value#", "why"]
    note = (
        "This list is for finding a judge's faults. Leave votes collected with it out of corrected win rates, which "
        "need a random sample."
    )
    return [Table("Pairs most worth a further vote", columns, rows, folded=True), Note(note)]


def _checked_section(study: Mapping[str, Any], number: int) -> Section:
    """Show a study; a file that was changed by hand is an error of the file."""
    try:
        return study_section(study, number)
    except (KeyError, TypeError, ValueError) as error:
        found = f"not as it was written ({type(error).__name__}: {error})"
        raise FileFormatError(study["path"], None, found, "JSON that `assay calibrate --out` wrote") from error


STUDY = SectionEntry(
    60, lambda context: [_checked_section(study, n) for n, study in enumerate(context.inputs.studies, 1)]
)
