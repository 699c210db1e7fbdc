"""`assay compare` and `assay leaderboard` on imported published results."""

from __future__ import annotations

import csv
import io
import json
import lzma
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
    for model, judge, out in (
        ("alpaca-7b", JUDGE, "alpaca-7b"),
        ("claude-2.1", JUDGE, "claude-2.1"),
        ("Yi-34B-Chat", "alpaca_eval_gpt4", "against_davinci"),
    ):
        arguments = ["--annotations", ALPACA / model / judge / "annotations.json.xz"]
        assert main(["import", "alpaca_eval", *map(str, arguments), "--out", str(folder / out)]) == 0
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
    assert reasons["win_rate"] == f"judged by different judges: {JUDGE} for A, another for B"
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


class TestAnotherBaseline:
    """AlpacaEval 1's verdicts are against text_davinci_003: nearly every model wins, and no difficulty is theirs."""

    def test_the_length_controlled_win_rate_is_a_reason(self, assay, runs):
        _, out, _ = assay("score", runs / "against_davinci", "--json")
        rows = {row["metric"]: row for row in json.loads(out)["rows"]}
        assert rows["win_rate"]["value"] > 90
        assert rows["length_controlled_win_rate"]["value"] is None
        assert "belong to comparisons with gpt4_1106_preview" in rows["length_controlled_win_rate"]["reason"]
        published = rows["published_length_controlled_win_rate"]
        assert published["value"] > 50
        assert "as alpaca_eval does" in published["method"]

    def test_compare_gives_no_figure(self, assay, runs):
        _, out, _ = assay("compare", runs / "against_davinci", runs / "alpaca-7b", "--json")
        found = json.loads(out)
        metrics = {m["metric"]: m for m in found["metrics"]}
        for name in ("win_rate", "length_controlled_win_rate"):
            assert (metrics[name]["difference"], metrics[name]["p_value"]) == (None, None)
            assert "different baselines: text_davinci_003 and gpt4_1106_preview" in metrics[name]["reason"]
        assert metrics["avg_length"]["difference"] is not None
        assert {d["aspect"] for d in found["differences"]} >= {"baseline", "judge"}
        _, out, _ = assay("compare", runs / "against_davinci", runs / "alpaca-7b")
        assert "What the comparison rests on" in out

    def test_it_does_not_top_the_published_rows(self, assay, runs):
        arguments = (runs / "against_davinci", runs / "claude-2.1", "--published")
        _, out, _ = assay("leaderboard", *arguments, "--format", "json", "--metric", "alpaca_eval:win_rate")
        rows = json.loads(out)["rows"]
        assert rows[-1]["baselines"] == {"alpaca_eval": ["text_davinci_003"]}
        assert rows[-1]["figures"][0]["value"] > max(row["figures"][0]["value"] for row in rows[:-1] if row["figures"])
        assert {tuple(row["baselines"]["alpaca_eval"]) for row in rows[:-1]} == {("gpt4_1106_preview",)}
        _, out, _ = assay("leaderboard", *arguments)
        assert "against different baselines are on different scales" in " ".join(out.split())

    def test_one_judge_and_two_baselines(self, assay, runs, tmp_path):
        for baseline, preference in (("gpt4_1106_preview", 1.2), ("text_davinci_003", 1.9)):
            rows = [
                {"instruction": f"i{i}", "output_1": f"a{i}", "output_2": f"b{i}", "generator_1": baseline}
                | {"generator_2": f"m-{baseline}", "annotator": JUDGE, "preference": preference - 0.1 * (i % 2)}
                for i in range(40)
            ]
            (tmp_path / baseline).with_suffix(".json").write_text(json.dumps(rows))
            annotations = (tmp_path / baseline).with_suffix(".json")
            assert assay("import", "alpaca_eval", "--annotations", annotations, "--out", tmp_path / baseline)[0] == 0
        both = tmp_path / "gpt4_1106_preview", tmp_path / "text_davinci_003"
        _, out, _ = assay("leaderboard", *both, "--format", "csv")
        judges = {row["model"]: row["alpaca_eval win_rate judge"] for row in csv.DictReader(io.StringIO(out))}
        assert judges["m-text_davinci_003"] == f"{JUDGE} against text_davinci_003"
        assert all(row["alpaca_eval win_rate rank"] == "" for row in csv.DictReader(io.StringIO(out)))
        _, out, _ = assay("compare", *both, "--json")
        found = {m["metric"]: m["reason"] for m in json.loads(out)["metrics"]}
        assert found["win_rate"] == "judged against different baselines: gpt4_1106_preview and text_davinci_003"


def test_some_prompts_beside_all_are_said(assay, runs, tmp_path):
    with lzma.open(ALPACA / "alpaca-7b" / JUDGE / "annotations.json.xz", "rt") as file:
        rows = json.load(file)[:40]
    annotations = tmp_path / "annotations.json"
    annotations.write_text(json.dumps([{**row, "generator_2": "part"} for row in rows]))
    status, out, _ = assay("import", "alpaca_eval", "--annotations", annotations, "--out", tmp_path / "part")
    assert (status, "40 of 805 prompts" in out) == (0, True)
    both = tmp_path / "part", runs / "claude-2.1"
    _, out, _ = assay("leaderboard", *both, "--format", "csv")
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(out))}
    assert rows["part"]["alpaca_eval win_rate n"] == "40 of 805 prompts"
    assert rows["claude-2.1"]["alpaca_eval win_rate n"] == "805"
    _, out, _ = assay("leaderboard", *both, "--format", "json")
    counts = {row["model"]: row["prompts"] for row in json.loads(out)["rows"]}
    assert (counts["part"]["alpaca_eval"]["n"], counts["claude-2.1"]) == (40, {})
    assert json.loads(out)["differences"] == [
        "alpaca_eval: figures of part (40) are from some of the 805 prompts of claude-2.1"
    ]
    _, out, _ = assay("compare", *both)
    assert "A has 40 of 805 prompts" in out
    assert assay("report", *both, "--out", tmp_path / "report.html")[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert "40 of 805 prompts" in page
    assert "are from some of the 805 prompts of claude-2.1" in page


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
