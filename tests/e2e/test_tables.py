"""`assay compare` and `assay leaderboard` on imported published results."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess

import pytest

from harness.cli import main
from harness.records import SummaryRow
from reports.leaderboard import Cell, Column, Leaderboard, LeaderboardRow
from reports.tables import FORMATS
from tests.paths import DATA, MIRROR, needs_data

pytestmark = [pytest.mark.e2e, needs_data]

MT = DATA / "mt_bench/mt_bench"
ALPACA = DATA / "alpaca_eval/full_xz/results"
JUDGE = "weighted_alpaca_eval_gpt4_turbo"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two MT-Bench and two AlpacaEval runs."""
    folder = tmp_path_factory.mktemp("runs")
    patch = pytest.MonkeyPatch()
    patch.setenv("ASSAY_DATA", str(MIRROR))
    for model in ("martian", "unify"):
        judgments = MT / "model_judgment/RouteLLM_independent/gpt-4_single.jsonl"
        arguments = ["--questions", MT / "question.jsonl", "--judgments", judgments, "--model", model]
        assert main(["import", "mt_bench", *map(str, arguments), "--out", str(folder / model)]) == 0
    for model in ("alpaca-7b", "claude-2.1"):
        arguments = ["--annotations", ALPACA / model / JUDGE / "annotations.json.xz"]
        assert main(["import", "alpaca_eval", *map(str, arguments), "--out", str(folder / model)]) == 0
    patch.undo()
    return folder


def test_compare_pairs_by_prompt(assay, runs):
    status, out, _ = assay("compare", runs / "martian", runs / "unify", "--json")
    found = {m["metric"]: m for m in json.loads(out)["metrics"]}
    assert status == 0
    score = found["score"]
    assert score["difference"] == pytest.approx(score["value_a"] - score["value_b"])
    assert score["ci_low"] < score["difference"] < score["ci_high"]
    assert (score["n"], score["n_clusters"], score["n_only_a"]) == (159, 80, 1)
    assert score["p_value"] <= score["p_adjusted"] <= 1
    assert score["n_needed"] > 80
    assert "published_ci_low" not in found


def test_compare_refits_the_length_controlled_win_rate(assay, runs):
    status, out, _ = assay("compare", runs / "claude-2.1", runs / "alpaca-7b", "--json")
    found = {m["metric"]: m for m in json.loads(out)["metrics"]}
    controlled = found["length_controlled_win_rate"]
    assert status == 0
    assert controlled["difference"] == pytest.approx(controlled["value_a"] - controlled["value_b"], abs=1e-6)
    assert controlled["ci_low"] > 0
    assert controlled["p_value"] < 0.001


def test_a_run_against_itself_differs_by_nothing(assay, runs):
    _, out, _ = assay("compare", runs / "martian", runs / "martian", "--json")
    for metric in json.loads(out)["metrics"]:
        assert metric["difference"] == 0.0
        assert metric["p_value"] == 1.0


def test_runs_without_a_common_benchmark_have_nothing_to_compare(assay, runs):
    status, _, err = assay("compare", runs / "martian", runs / "alpaca-7b")
    assert status == 2
    assert "share no metric" in err


def test_different_judges_are_not_compared(assay, runs, tmp_path):
    path = tmp_path / "annotations.json"
    rows = [
        {"instruction": f"i{i}", "output_1": "a", "output_2": "b", "generator_1": "gpt4_1106_preview"}
        | {"generator_2": "m", "annotator": "another", "preference": 1.5}
        for i in range(40)
    ]
    path.write_text(json.dumps(rows))
    assay("import", "alpaca_eval", "--annotations", path, "--out", tmp_path / "other")
    _, out, _ = assay("compare", runs / "alpaca-7b", tmp_path / "other", "--json")
    reasons = {m["metric"]: m["reason"] for m in json.loads(out)["metrics"]}
    assert reasons["win_rate"] == "judged by different judges, templates or parsers"
    status, out, _ = assay("leaderboard", runs / "alpaca-7b", tmp_path / "other", "--format", "json")
    assert status == 0
    assert [[f["rank"] for f in row["figures"]] for row in json.loads(out)["rows"]] == [[None, None]] * 2


def test_the_leaderboard_ranks_with_ranges(assay, runs):
    status, out, _ = assay("leaderboard", runs / "martian", runs / "unify", "--format", "json")
    board = json.loads(out)
    assert status == 0
    assert [row["model"] for row in board["rows"]] == ["unify", "martian"]
    ranks = [(f["rank"], f["rank_low"], f["rank_high"]) for row in board["rows"] for f in row["figures"]]
    assert ranks == [(1, 1, 2), (2, 1, 2)]
    assert [
        (f["rank_low_simultaneous"], f["rank_high_simultaneous"]) for row in board["rows"] for f in row["figures"]
    ] == [(1, 2), (1, 2)]
    status, out, _ = assay("leaderboard", runs / "martian", runs / "unify")
    assert "rank (marginal)" in out
    assert "all ranges together hold the true ranks of all models" in " ".join(out.split())


def test_clearly_different_models_have_one_rank_each(assay, runs):
    status, out, _ = assay("leaderboard", runs / "alpaca-7b", runs / "claude-2.1", "--format", "csv")
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(out))}
    ranks = {name: row["alpaca_eval win_rate simultaneous ranks"] for name, row in rows.items()}
    assert status == 0
    assert ranks == {"claude-2.1": "1-1", "alpaca-7b": "2-2"}


def test_published_rows_stand_among_ours(assay, runs):
    arguments = [runs / "alpaca-7b", runs / "claude-2.1", "--published", "--format", "csv"]
    status, out, _ = assay("leaderboard", *arguments)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert len(rows) > 200
    values = [float(row["alpaca_eval length_controlled_win_rate"]) for row in rows]
    assert values == sorted(values, reverse=True)
    ours = next(row for row in rows if row["model"] == "alpaca-7b")
    theirs = next(row for row in rows if row["model"] == "alpaca-7b (published)")
    assert ours["alpaca_eval win_rate"] == theirs["alpaca_eval win_rate"] == "2.59"


def test_a_metric_no_run_has_is_suggested(assay, runs):
    status, _, err = assay("leaderboard", runs / "martian", "--metric", "mt_bench:scor")
    assert status == 2
    assert "did you mean mt_bench:score?" in err


def test_two_runs_of_one_model_are_refused(assay, runs, tmp_path):
    shutil.copytree(runs / "martian", tmp_path / "again")
    status, _, err = assay("leaderboard", runs / "martian", tmp_path / "again")
    assert status == 2
    assert "--model-name" in err


HOSTILE = [
    "<script>alert(1)</script>",
    r"\input{/etc/passwd}",
    "=HYPERLINK(1)",
    "a|b",
    "x\x1b[31mred\x07",
    "right\u202eleft",
    "100% of $5 & #1_a^b~{}",
    "[link](http://x)",
    "line\nbreak",
]


def hostile_board():
    column = Column("mt_bench", "score")
    row = SummaryRow(benchmark="mt_bench", metric="score", value=5.0, ci_low=4.0, ci_high=6.0, n=80)
    rows = [LeaderboardRow(name, {column: Cell(row)}, valid=False, problems=[name]) for name in HOSTILE]
    return Leaderboard([column], rows)


def test_names_are_text_in_every_format():
    board = hostile_board()
    assert "<script>" not in FORMATS["html"](board)
    latex = FORMATS["latex"](board)
    assert r"\input" not in latex
    assert r"\textbackslash{}input\{" in latex
    markdown = FORMATS["md"](board)
    assert "a\\|b" in markdown
    assert "[link](" not in markdown
    assert "<script>" not in markdown
    table = list(csv.reader(io.StringIO(FORMATS["csv"](board))))
    assert any(row[0].startswith("'=HYPERLINK") for row in table)
    for name in ("html", "latex", "md", "csv"):
        text = FORMATS[name](board)
        assert "\x1b" not in text
        assert "\u202e" not in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex: install texlive-latex-base")
def test_the_latex_compiles(assay, runs, tmp_path):
    _, real, _ = assay("leaderboard", runs / "alpaca-7b", runs / "claude-2.1", "--format", "latex")
    for name, text in (("real", real), ("hostile", FORMATS["latex"](hostile_board()))):
        document = "\\documentclass{article}\n\\usepackage{booktabs}\n\\usepackage[margin=1cm,landscape]{geometry}\n"
        (tmp_path / f"{name}.tex").write_text(f"{document}\\begin{{document}}\n{text}\\end{{document}}\n")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout[-1500:]
