"""Other people's text is shown as it is, and nothing in it takes effect: terminal, Markdown, LaTeX, CSV, JSON, SVG."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from harness.text_safety import one_line, strip_control, visible
from reports.blocks import Cell, Report, Section, Statement, Table
from reports.charts import Heatmap, IntervalChart, Mark, RefLine, SampleFilter, Series, XYChart
from reports.drawing import NARROW, WIDE, draw
from reports.escaping import latex, markdown, spreadsheet
from reports.inline_svg import inline_svg
from reports.markdown import to_markdown
from reports.samples import embedded_json
from tests.support.report_inputs import INJECTIONS


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("plain", "plain"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[1;31;40mbold\x1b[K", "bold"),
        ("\x9b31mred", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x9d52;c;aGk=\x9cb", "ab"),
        ("a\x1bPq#0\x1b\\b", "ab"),
        ("a\x1bcb", "ab"),
        ("a\x1b(Bb", "ab"),
        ("unfinished \x1b[31", "unfinished 31"),
        ("unfinished \x1b]0;never ends", "unfinished 0;never ends"),
        ("a\x00b\x07c\x08d\x7fe\x85f", "abcdef"),
        ("a\u202eb\u2066c\u200ed\u061ce", "abcde"),
        ("a\u2028b\u2029c\ufeffd\u200be", "abcde"),
        ("hi\U000e0041\U000e007f", "hi"),
        ("family 👨\u200d👩\u200d👧 می\u200cخواهم", "family 👨\u200d👩\u200d👧 می\u200cخواهم"),
    ],
)
def test_strip_control(text, stripped):
    assert strip_control(text) == stripped


def test_one_line_is_one_line():
    assert one_line("a\r\nb\x0bc\u2028d\x85e\tf") == "a b c d e f"
    assert len(one_line("\n".join(INJECTIONS)).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b", "a␀b␛"),
        ("x\x7fy\x9b", "x␡y⟨U+009B⟩"),
        ("\u202e\U000e0041", "⟨U+202E⟩⟨U+E0041⟩"),
        ("a\r\nb\tc", "a\nb\tc"),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", INJECTIONS)
def test_markdown_shows_the_text_itself(text):
    """Rendered by an independent implementation, with HTML allowed: one paragraph, and in it the text."""
    parser = _Tags()
    parser.feed(
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render("x" + markdown(text))
    )
    assert parser.tags == {"p"}
    assert parser.text.rstrip("\n") == "x" + one_line(text).rstrip()


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("see @someone", r"@\w"),
        ("fixes #12", r"(?<!&)#\d"),
        ("GH-12", r"GH-\d"),
        ("www.example.org", r"www\."),
        ("http://x.org", "://"),
    ],
)
def test_markdown_mentions_and_links_nothing(text, absent):
    assert not re.search(absent, markdown(text))


def test_a_row_of_a_markdown_table_stays_a_row():
    rows = [[Cell(text, text), Cell(text)] for text in INJECTIONS]
    table = Table(INJECTIONS[0], [INJECTIONS[1], INJECTIONS[2] + "#"], rows, summary=True)
    statement = Statement("fail", INJECTIONS[0], INJECTIONS[1], INJECTIONS)
    report = Report(INJECTIONS[2], INJECTIONS[4], [Section("s", INJECTIONS[5], [statement, table])], {}, "assay")
    text = to_markdown(report)
    parser = _Tags()
    parser.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert parser.tags <= {"h2", "h3", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert sum(line.startswith("|") for line in text.splitlines()) == len(INJECTIONS) + 2
    assert not set("\x1b\x00\u202e\u2028") & set(text)


@pytest.mark.parametrize("text", INJECTIONS)
def test_latex_keeps_no_command(text):
    found = latex(text)
    commands = set(re.findall(r"\\([a-zA-Z]+|.)", found))
    assert commands <= {
        "textbackslash",
        "textasciicircum",
        "textasciitilde",
        "textless",
        "textgreater",
        "textbar",
        *"{}$&#%_",
    }
    assert not re.search(r"(?<!\\)[%$&#]", found)


@pytest.mark.parametrize("text", ["=1+1", "+1", "@SUM(A1)", "-cmd|' /C calc'!A0", "\tx", "\rx"])
def test_a_spreadsheet_runs_no_cell(text):
    assert spreadsheet(text).startswith("'")


@pytest.mark.parametrize("text", ["plain", "-1.5", "a=b", ""])
def test_other_cells_stay_as_they_are(text):
    assert spreadsheet(text) == text


def test_json_in_a_script_element_ends_neither_element_nor_line():
    text = embedded_json({"texts": INJECTIONS, "sign": "a & b"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"texts": list(INJECTIONS), "sign": "a & b"}


def hostile_charts():
    some = INJECTIONS
    marks = [
        Mark(text, float(i), i - 1.0, i + 1.0, some[i % 3], text, SampleFilter(text, text))
        for i, text in enumerate(some)
    ]
    yield IntervalChart(some[0], some[1], marks, [RefLine(1.0, some[2])])
    x, y, low, high = [1.0, 2.0], [3.0, 4.0], [2.0, 3.0], [4.0, 5.0]
    series = [Series(text, x, y, low, high, "points", samples=[SampleFilter(text)] * 2) for text in some]
    series += [Series(text, x, y) for text in some]
    yield XYChart(some[0], some[1], some[2], series, [(1.0, some[3])], lines=[RefLine(3.0, some[4])])
    names = list(some)
    yield Heatmap(some[0], some[1], some[2], names, names, [[float(i) for i in range(len(names))]] * len(names))


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("chart", list(hostile_charts()), ids=lambda c: type(c).__name__)
def test_svg_is_well_formed_and_holds_its_own_elements_only(chart, width):
    drawn = draw(chart, width, {INJECTIONS[0]: 0})
    root = ElementTree.fromstring(inline_svg(drawn, "id", INJECTIONS[0], INJECTIONS[2]))
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "g", "a", "line", "path", "rect", "text"}
    for element in root.iter():
        assert not [name for name in element.attrib if name.startswith("on") or name == "style"]
        assert element.get("href", "#samples?").startswith("#samples?")
    shown = "".join(root.itertext())
    assert INJECTIONS[0] in shown
    assert not set("\x1b\u202e\u2028") & set(shown)


@pytest.mark.parametrize("chart", list(hostile_charts()), ids=lambda c: type(c).__name__)
def test_a_file_holds_no_link_and_no_script(chart):
    svg = draw(chart, WIDE, {}, alone=True)
    root = ElementTree.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "line", "path", "rect", "text"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    assert not set("\x1b\u202e\u2028") & set(svg)


def test_expressions_in_names_are_not_evaluated():
    """Vega evaluates expressions; names reach it as data only."""
    names = ["datum.x", "{'signal': '1+1'}", '{"expr": "1+1"}', "${1+1}"]
    series = [Series(n, [float(i)], [1.0], kind="points") for i, n in enumerate(names)]
    marks = [Mark(n, 1.0, 0.0, 2.0, n, n, SampleFilter(n)) for n in names]
    charts = [
        XYChart(
            names[1],
            names[1],
            names[1],
            series,
            [(float(i), n) for i, n in enumerate(names)],
            lines=[RefLine(1.0, names[1])],
        ),
        IntervalChart(names[1], names[1], marks),
        Heatmap(names[1], names[1], names[1], names, names, [[1.0] * 4] * 4),
    ]
    for chart in charts:
        shown = "".join(ElementTree.fromstring(draw(chart, WIDE, {}, alone=True)).itertext())
        assert names[1] in shown
