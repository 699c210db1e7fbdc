"""A report's blocks in a terminal: everything that is said stands there, charts do not."""

from __future__ import annotations

from reports.blocks import Cell, Figure, Note, Statement, Table
from reports.charts import IntervalChart, Mark
from reports.terminal import print_blocks


def shown(capsys, *blocks):
    print_blocks(blocks)
    return capsys.readouterr().out


def test_statements_and_notes(capsys):
    out = shown(capsys, Statement("invalid", "j: NOT VALID", "a run is not complete", ["one", "two"]), Note("A note."))
    assert out == "j: NOT VALID\n  ! a run is not complete\n  - one\n  - two\n\nA note.\n\n"


def test_a_table_names_each_reason_once_below_it(capsys):
    missing = Cell("-", "no lengths", tone="muted")
    rows = [[Cell("a"), Cell("1.0", "0.5 to 1.5"), missing], [Cell("b"), missing, Cell("-", "no votes", tone="muted")]]
    out = shown(capsys, Table("Figures", ["who", "one#", "two#"], rows)).splitlines()
    assert out[0] == "Figures"
    assert [line.split("  ")[0].split() for line in out[4:6]] == [["a"], ["b"]]
    assert "1.0 (0.5 to 1.5)" in out[4] and out[4].rstrip().endswith("- [1]")
    assert out[5].split() == ["b", "-", "[1]", "-", "[2]"]
    assert out[7:9] == ["[1] no lengths", "[2] no votes"]


def test_long_text_is_not_cut_and_charts_are_left_out(capsys):
    why = "because " * 60
    chart = IntervalChart("chart", "", [Mark("m", 1.0)])
    out = shown(capsys, Figure("f", "caption", chart), Table("T", ["a", "why"], [[Cell("x"), Cell(why)]]))
    assert out.count("because") == 60 and "chart" not in out and "caption" not in out


def test_control_characters_and_markup_stay_text(capsys):
    nasty = "m\x1b[31m\u202e[bold]"
    out = shown(capsys, Statement("info", nasty), Note(nasty), Table(nasty, [nasty], [[Cell(nasty, nasty)]]))
    assert (
        not set("\x1b\u202e") & set(out) and out.count("m[bold]") == 6
    )  # head, note, caption, header, cell and its small text
