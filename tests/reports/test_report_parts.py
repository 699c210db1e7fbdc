"""Parts of a report: scales, charts as numbers, samples, what the sections compute from records."""

from __future__ import annotations

import re
from importlib.resources import files
from urllib.parse import parse_qs

import numpy as np
import pytest
from scipy import stats

from harness.protocols import ScoreKind
from harness.records import Judgment, Preference, Rating, Score, SummaryRow, Unscored
from harness.run.figures import select
from harness.stats.length_control import LengthControlSpec, PairScores, length_controlled_pairs
from reports.charts import (
    Heatmap,
    IntervalChart,
    Mark,
    Panels,
    RefLine,
    SampleFilter,
    Series,
    XYChart,
    data_table,
    edges_of,
    extent,
    histogram,
    log_edges,
    number,
)
from reports.drawing import NARROW, WIDE, draw, specification
from reports.inputs import open_inputs
from reports.leaderboard import Cell as BoardCell
from reports.leaderboard import Column, Leaderboard, LeaderboardRow
from reports.palette import LIGHT, SERIES
from reports.samples import SampleLimits, SampleTables, add_runs, verdict_class, verdict_words
from reports.sections.judging import judge_section
from reports.sections.length import length_section
from reports.sections.ranking import _nearest
from tests.support.gate_runs import NoData, write_head_to_head, write_run


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (1234.5, "1234"),
        (0.123456, "0.1235"),
        (-12.5, "-12.5"),
        (1e-7, "1e-07"),
        (100.0, "100"),
        (2e9, "2e+09"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_an_axis_has_room_for_its_values():
    assert extent([3.0, None, 3.0]) == (2.7, 3.3)
    assert extent([]) == (0.0, 1.0)


def test_colours_of_series_differ_for_people_with_deuteranopia():
    """Viénot, Brettel and Mollon (1999): no two of the first six series look the same to a dichromat."""
    matrix = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    seen = [matrix @ [(int(c[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)] for c in SERIES[:5]]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert np.abs(one - other).max() > 0.02


def test_the_page_has_every_colour_of_a_drawing():
    """A drawing's colours are the page's custom properties: the same in the light theme, and there in the dark one."""
    css = (files("reports") / "templates" / "page.css").read_text(encoding="utf-8")
    light, *others = re.findall(r"--page:.*?\}", css, re.DOTALL)
    for name, colour in LIGHT.items():
        assert f"--{name}: {colour};" in light, name
        assert all(f"--{name}: #" in other for other in others), name
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_the_numbers_behind_each_kind_of_chart():
    xy = XYChart("t", "x", "y", [Series("s", [1.0, 2.0], [3.0, 4.0], [2.5, 3.5], [3.5, 4.5])], [(1.0, "one")])
    header, rows = data_table(xy)
    assert header == ["series", "x", "y", "low", "high"]
    assert rows == [["s", "one", 3.0, 2.5, 3.5], ["s", 2.0, 4.0, 3.5, 4.5]]
    header, rows = data_table(Panels("p", [IntervalChart("a", "v", [Mark("m", 1.0, 0.5, 1.5, "s", "n")])]))
    assert (header, rows) == (
        ["panel", "name", "series", "v", "low", "high", "note"],
        [["a", "m", "s", 1.0, 0.5, 1.5, "n"]],
    )
    header, rows = data_table(Heatmap("h", "x", "y", ["a", "b"], ["r"], [[1.0, None]]))
    assert (header, rows) == (["y / x", "a", "b"], [["r", 1.0, None]])


def texts_of(svg):
    found = re.findall(r'<text text-anchor="(\w+)"[^>]*>([^<]*)</text>', svg)
    return [text for _, text in found]


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("reach", [1e-6, 0.013, 1.0, 7.3, 1234.5, 1e6])
def test_axes_have_several_ticks(width, reach):
    """Whatever the range, an axis of numbers has two numbers at least."""
    rng = np.random.default_rng(0)
    for start in rng.normal(0.0, 10.0 * reach, 3):
        marks = [Mark("m", start + reach, start, start + 2 * reach)]
        assert len(texts_of(draw(IntervalChart("t", "", marks), width, {}))) >= 3
        line = Series("", [start, start + reach], [start, start + reach])
        assert len(texts_of(draw(XYChart("t", "", "", [line]), width, {}))) >= 4


def test_specifications_are_valid():
    """Drawing skips the validation, so every kind of chart is validated here."""
    line = Series("l", [0.0, 1.0], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5])
    points = Series("p", [0.0, 1.0], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5], "points", samples=[SampleFilter("m")] * 2)
    steps = Series("s", [0.0, 1.0, 2.0], [3.0, 4.0, 0.0], kind="step")
    curves = XYChart("t", "x", "y", [line, points, steps], [(0.0, "a"), (1.0, "b")], lines=[RefLine(1.0, "r")])
    marks = [Mark("a", 1.0, 0.5, 1.5, "s", samples=SampleFilter("m")), Mark("b", 2.0, series="r")]
    intervals = IntervalChart("t", "x", marks, [RefLine(0.0, "none")])
    cells = Heatmap("t", "x", "y", ["long name of a column", "b"], ["r"], [[1.0, None]], 0.0)
    for chart in (curves, intervals, cells, Panels("t", [curves, intervals, cells])):
        for width in (NARROW, WIDE):
            assert specification(chart, width, {"a": 0}, alone=True).to_dict()["$schema"]


def test_a_model_has_one_colour_in_every_chart():
    slots = {"a": 0, "b": 1}
    rows = IntervalChart("t", "", [Mark("b", 1.0), Mark("other", 2.0)])
    series = IntervalChart("t", "", [Mark("x", 1.0, series="b"), Mark("x", 2.0, series="other")])
    curve = XYChart("t", "", "", [Series("b", [0.0, 1.0], [1.0, 2.0])])
    for chart in (rows, series, curve):
        svg = draw(chart, NARROW, slots)
        assert LIGHT["c1"] in svg
    assert LIGHT["c6"] in draw(rows, NARROW, slots), "what is no model is grey"
    assert LIGHT["c0"] in draw(series, NARROW, slots), "a series that is no model takes a colour no model there has"


def test_a_file_has_the_title_and_no_links():
    chart = IntervalChart("the title", "", [Mark("m", 1.0, samples=SampleFilter("m"))], [RefLine(1.0, "here")])
    page, file = draw(chart, WIDE, {}), draw(chart, WIDE, {}, alone=True)
    assert ("the title" in page, "the title" in file) == (False, True)
    assert ("<a " in page, "<a " in file) == (True, False)


def test_histograms_count_every_value():
    values = np.array([1.0, 5.0, 9.0, 40.0, 1e6])
    series = histogram("h", np.log2(values + 1), log_edges(values))
    assert sum(series.y) == pytest.approx(100.0)
    assert len(edges_of(np.zeros(5))) == 2
    assert sum(histogram("r", values, edges_of(values)).y) == pytest.approx(100.0)


def score(metric, value, weight=1.0):
    reason = "unparsed" if value is None else None
    return Score("b", "p", metric, "p", value=value, reason=reason, weight=weight)


@pytest.mark.parametrize(
    ("scores", "name", "value"),
    [
        ([score("preference", 0.7)], "win", 0.7),
        ([score("preference", 0.5)], "tie", 0.5),
        ([score("preference", None)], "not scored", None),
        ([score("verdict", 1.0), score("verdict", 0.0)], "tie", 0.5),
        ([score("verdict", 1.0, 3.0), score("verdict", 0.0)], "win", 0.75),
        ([score("verdict", 1.0), score("verdict", None)], "not scored", None),
        ([score("rating", 9.0), score("rating", 6.0)], "high", 7.5),
        ([score("rating", 3.9)], "low", 3.9),
        ([score("outcome", 1.0), score("outcome", 1.0)], "right", 1.0),
        ([score("outcome", 0.0)], "wrong", 0.0),
        ([score("outcome", 1.0), score("outcome", 0.0)], "partly", 0.5),
        ([score("outcome", -12.0)], "measured", -12.0),
        ([score("length", 12.0)], "not scored", None),
        ([], "not scored", None),
    ],
)
def test_verdict_class(scores, name, value):
    kinds = {
        "preference": ScoreKind("preference"),
        "verdict": ScoreKind("preference"),
        "rating": ScoreKind("rating", scale=(1.0, 10.0)),
        "outcome": ScoreKind("outcome"),
        "length": ScoreKind("length"),
    }
    assert verdict_class(scores, kinds) == (name, value)


def judgment(verdict, order=("candidate", "baseline")):
    return Judgment(
        judge="j", judge_id="j", benchmark="b", prompt_id="p", response_ids=("a", "b"), order=order, verdict=verdict
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (judgment(Preference(p_first=0.8)), "P(candidate better) = 0.8"),
        (
            judgment(Preference(p_first=0.75, label="A>B"), ("baseline", "candidate")),
            "P(candidate better) = 0.25 [A>B]",
        ),
        (judgment(Rating(value=7, low=1, high=10)), "rated 7 on 1 to 10"),
        (judgment(Unscored(reason="unparsed", detail="no grade")), "not scored: unparsed (no grade)"),
    ],
)
def test_verdict_words(found, words):
    assert verdict_words(found) == words


def test_links_are_read_back_as_they_were_meant():
    href = SampleFilter(model="a&b=c #1", category="x y\x1b").href
    assert parse_qs(href.partition("?")[2]) == {"model": ["a&b=c #1"], "category": ["x y␛"]}


@pytest.fixture
def two(tmp_path):
    shares = [((7 * i) % 10) / 10 for i in range(60)]
    write_run(tmp_path / "a", "a", alpaca_eval=shares, length=8, spread=40)
    write_run(tmp_path / "b", "b", alpaca_eval=[1.0 - s for s in shares], length=8, spread=40)
    return open_inputs([tmp_path / "a", tmp_path / "b"], NoData())


def test_samples_share_what_is_the_same(two):
    tables = SampleTables(SampleLimits())
    add_runs(tables, two.runs)
    data = tables.as_json()
    assert (data["n_all"], len(data["rows"]), len(data["prompts"]), len(data["models"])) == (120, 120, 60, 2)
    assert len(data["answers"]) == 180, "the baseline's answers are there once"


def test_too_many_samples_are_thinned_evenly_and_counted(two):
    tables = SampleTables(SampleLimits(n_rows=50))
    add_runs(tables, two.runs)
    data = tables.as_json()
    assert data["n_all"] == 120
    assert len(data["rows"]) == 40
    assert {row[0] for row in data["rows"]} == {0, 1}
    tables = SampleTables(SampleLimits(n_rows=0))
    add_runs(tables, two.runs)
    assert tables.as_json()["rows"] == []


def test_long_texts_are_cut_with_a_word(two):
    tables = SampleTables(SampleLimits(n_characters=10))
    assert tables.text("x" * 25) == "x" * 10 + "\n[... 15 more characters, not in this page]"


def blocks_of(section, name):
    return next(b for b in section.blocks if getattr(b, "name", "") == name)


def test_the_length_curve_is_the_fit_of_the_length_controlled_figure(two):
    """The curve at equal length is the fitted win rate; the correlation is scipy's over prompts."""
    section = length_section(two)
    panel = blocks_of(section, "length-curve-alpaca-eval").chart.panels[0]
    run = two.runs[0]
    scores = run.scores.scores_of("alpaca_eval")
    own = [s.value for s in select(scores, "length", "candidate")]
    other = [s.value for s in select(scores, "length", "baseline")]
    shares = [s.value for s in select(scores, "preference")]
    clusters = [s.cluster for s in select(scores, "preference")]
    pairs = PairScores(shares, [1.0] * 60, own, other, clusters)
    fit = length_controlled_pairs(pairs, np.random.default_rng(0), LengthControlSpec(n_boot=100))
    x, y = np.array(panel.series[0].x), np.array(panel.series[0].y)
    expected = 100 / (1 + np.exp(-(fit.intercept + fit.slope * np.tanh(x * np.log(2)))))
    assert y == pytest.approx(expected, abs=1e-9)
    heat = blocks_of(section, "length-correlation-alpaca-eval").chart
    ratio = np.log((np.array(own) + 1) / (np.array(other) + 1))
    assert heat.values[0][0] == pytest.approx(stats.pearsonr(shares, ratio).statistic, abs=1e-12)


def test_position_bias_in_both_orders(tmp_path):
    """Three of four pairs keep their winner; the answer shown first takes 0.6 of the win on average."""
    pairs = [(1.0, 1.0)] * 20 + [(0.0, 0.0)] * 10 + [(0.9, 0.1)] * 10
    write_head_to_head(tmp_path / "run", pairs)
    section = judge_section(open_inputs([tmp_path / "run"], NoData()))
    table = next(b for b in section.blocks if getattr(b, "caption", "").startswith("Position"))
    assert [cell.text for cell in table.rows[0]] == ["new", "60.0", "75.0", "40"]


def test_position_bias_is_not_told_where_one_side_is_always_first(two):
    """These runs show the baseline first every time, so the share of the first is the win rate, not a bias."""
    table = next(b for b in judge_section(two).blocks if getattr(b, "caption", "").startswith("Position"))
    assert [cell.text for cell in table.rows[0]] == ["a", "-", "-", "-"]
    assert "cannot be told" in table.rows[0][0].small


def test_published_rows_next_to_a_run():
    column = Column("alpaca_eval", "win_rate")

    def row(name, value, published):
        figure = SummaryRow(benchmark="alpaca_eval", metric="win_rate", value=value, n=1)
        return LeaderboardRow(name, {column: BoardCell(figure)}, published=published)

    published = [row(f"p{i}", float(i), True) for i in range(20)]
    board = Leaderboard([column], [row("run", 10.5, False)])
    assert [r.model for r in _nearest(board, published)] == ["p12", "p11", "p10", "p9"]
