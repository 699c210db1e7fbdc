"""`assay report` as a user calls it: every kind of input, files beside the page, and what is wrong said in words."""

from __future__ import annotations

import csv
import json
import re

import pytest

from harness.hashing import file_sha256
from reports.blocks import Figure, Note, Report, Section
from reports.charts import Heatmap, IntervalChart, Mark, Panels, RefLine, Series, XYChart
from reports.figure_files import write_figures
from reports.page import to_html
from tests.paths import DATA, needs_data
from tests.support.gate_runs import write_run
from tests.support.report_inputs import INJECTIONS, write_align, write_hostile_run

pytestmark = [pytest.mark.e2e, needs_data]


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", "model", alpaca_eval=[0.2, 0.9, 0.4, 0.6] * 10, mt_bench=[7, 8, 3] * 10)


@pytest.fixture
def report(assay, tmp_path):
    def report(*arguments):
        out = tmp_path / "out" / "report.html"
        status, printed, said = assay("report", *arguments, "--out", out)
        assert printed == ""
        return status, said, out.read_text() if status == 0 else ""

    return report


def text_of(page):
    return re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)


def test_one_run(report, run):
    status, said, page = report(run)
    assert status == 0
    assert "wrote" in said
    assert page.startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert "default-src &#39;none&#39;" in page
    for part in ("verdict", "length", "judge", "provenance", "samples"):
        assert f'<section id="{part}"' in page


def test_the_same_input_makes_the_same_page(report, run):
    assert report(run)[2] == report(run)[2]


def test_two_runs_and_a_policy(report, run, tmp_path):
    other = write_run(tmp_path / "other", "other", alpaca_eval=[0.1, 0.5, 0.2, 0.3] * 10, mt_bench=[6, 7, 2] * 10)
    policy = tmp_path / "policy.yaml"
    policy.write_text("min_n: 10\nrules:\n  - improve: {benchmark: alpaca_eval, metric: win_rate, margin: 0}\n")
    status, _, page = report(run, other, "--policy", policy)
    assert status == 0
    assert "Gate: model against other under policy" in text_of(page)
    assert "PASS: all 1 conditions hold" in page
    assert "model minus other" in page
    assert "Paired differences: A is model, B is other" in page


def test_a_decision_made_elsewhere(assay, report, run, tmp_path):
    other = write_run(tmp_path / "other", "other", alpaca_eval=[0.1, 0.5, 0.2, 0.3] * 10, mt_bench=[6, 7, 2] * 10)
    arguments = ["--candidate", other, "--baseline", run, "--policy", "no-regression", "--json"]
    status, out, _ = assay("gate", *arguments)
    decision = tmp_path / "gate.json"
    decision.write_text(out)
    _, _, page = report(run, "--gate", decision)
    assert status == 1
    assert "FAIL: " in page
    assert "other against model under no-regression" in page


def test_runs_of_one_model_are_told_apart(report, run, tmp_path):
    again = write_run(tmp_path / "again", "model", alpaca_eval=[0.3, 0.8, 0.4, 0.6] * 10)
    _, _, page = report(run, again)
    assert "model (run) against model (again)" in page


def test_judges_that_differ_are_ranked_apart(report, run, tmp_path):
    other = write_run(tmp_path / "other", "other", judge="another", alpaca_eval=[0.3, 0.8, 0.4, 0.6] * 10)
    status, _, page = report(run, other)
    assert status == 0
    words = "Figures by different judges or against different baselines are on different scales; they are ranked apart."
    assert words in page
    assert "published AlpacaEval 2 rows are not shown" in page
    assert "these runs by judge against gpt4_1106_preview, another against gpt4_1106_preview" in page
    assert "judged by different judges: openai:judge for A, openai:another for B" in page


def test_a_run_that_is_not_complete_says_so_on_top(report, tmp_path):
    path = write_run(tmp_path / "open", "model", alpaca_eval=[0.2, 0.9] * 5, complete=False)
    status, _, page = report(path)
    first = re.search(r'<div class="statement (\w+)">(.*?)</div>', page, re.DOTALL)
    assert status == 0
    assert first[1] == "invalid"
    assert "model is NOT COMPLETE" in first[2]
    assert "10 of 10 prompts answered, 10 verdicts stored" in first[2]
    assert f"assay resume {path}" in first[2]


def test_a_run_that_is_not_valid_says_why(report, tmp_path):
    path = write_run(tmp_path / "run", "model", alpaca_eval=[0.2, "unparsed"] * 10)
    _, _, page = report(path)
    assert "model is NOT VALID" in page
    assert "10 of 20 not scored (50.0%, limit 1.0%): unparsed 10" in page


def test_an_empty_run(report, tmp_path):
    status, _, page = report(write_run(tmp_path / "run", "model", alpaca_eval=[]))
    assert status == 0
    assert "NOT VALID" in page
    assert '<section id="samples"' not in page


def test_a_training_loop(report, tmp_path):
    align = write_align(tmp_path / "align", 24)
    status, _, page = report(align)
    words = text_of(page)
    assert status == 0
    for figure in ("training-loss", "training-accuracy", "iterations", "alignment-tax", "over-optimisation", "rewards"):
        assert f'id="fig-{figure}"' in page, figure
    assert 'id="fig-reward-length"' in page
    heat = page[page.index('id="fig-reward-length"') :].partition("</figure>")[0]
    assert [name for name in ("sft", "dpo-1", "dpo-2", "sample-1") if f"<h4>{name}</h4>" not in heat] == []
    tax = page[page.index('id="fig-alignment-tax"') :].partition("</figure>")[0]
    assert "gsm8k" in tax
    assert "mt_bench" not in tax, "judged benchmarks are what training aims at"
    assert words.index("dpo-1 is chosen") < words.index("Gate: dpo-1 against sft") < words.index("Losses")
    assert "Reward hacking, dpo-2" in words
    assert "each gate errs with probability 0.05 at most" in words


def test_a_training_loop_under_way(report, tmp_path):
    align = write_align(tmp_path / "align", 24, finished=False)
    (align / "stages/evaluate-dpo-2/run/run.json").unlink()
    with (align / "stages/sample-sft/samples.jsonl").open("a") as stream:
        stream.write('{"prompt_key": "torn')
    status, _, page = report(align)
    assert status == 0
    assert "demo is NOT FINISHED" in page
    assert "the evaluation run of dpo-2 is not at stages/evaluate-dpo-2/run" in page


@needs_data
def test_a_judge_study_on_real_votes(assay, report, tmp_path):
    """MT-Bench's human votes: the paper's agreement with and without ties, and the ceiling people set."""
    votes, study = DATA / "mt_bench/human_judgments", tmp_path / "study.json"
    arguments = ["--judgments", votes / "gpt4_pair.jsonl", "--human", votes / "human.jsonl", "--resamples", 200]
    status, _, _ = assay("calibrate", *arguments, "--out", study)
    assert status == 0
    status, _, page = report(study)
    words = text_of(page)
    assert status == 0
    for figure in ("agreement", "confusion-gpt4-pair", "ranking-gpt4-pair", "reliability-gpt4-pair"):
        assert f'id="fig-{figure}"' in page, figure
    assert "1,125 of 1,689" in words
    assert "85.6 %" in words
    assert "people agree with one another on 65.5 % with ties and 82.7 % without ties" in words


@needs_data
def test_a_real_model_by_category(assay, report, tmp_path):
    """Figures by category are the benchmark's own, to the digit."""
    mt = DATA / "mt_bench/mt_bench"
    judgments = mt / "model_judgment/RouteLLM_independent/gpt-4_single.jsonl"
    arguments = ["--questions", mt / "question.jsonl", "--judgments", judgments, "--model", "martian"]
    status, out, _ = assay("import", "mt_bench", *arguments, "--out", tmp_path / "run", "--json")
    assert status == 0
    rows = {row["metric"]: row for row in json.loads(out)["rows"]}
    folder = tmp_path / "figures"
    assert report(tmp_path / "run", "--figures", folder)[0] == 0
    with (folder / "categories-mt-bench.csv").open() as stream:
        found = {row["name"]: row for row in csv.DictReader(stream)}
    assert len(found) == 8
    for name, row in found.items():
        own = rows[f"score_{name}"]
        assert [float(row[k]) for k in ("value", "low", "high")] == [own["value"], own["ci_low"], own["ci_high"]]


def test_figures_are_png_svg_and_csv_and_the_same_every_time(report, run, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    status, said, page = report(run, "--figures", first)
    assert status == 0
    names = set(re.findall(r'id="fig-([^"]+)"', page))
    assert {path.name for path in first.iterdir()} == {f"{n}.{end}" for n in names for end in ("png", "svg", "csv")}
    assert f"more files in {first}" in said
    for name in names:
        assert (first / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (first / f"{name}.svg").read_text()
        with (first / f"{name}.csv").open() as stream:
            header, *rows = list(csv.reader(stream))
        assert rows, name
        assert {len(row) for row in rows} == {len(header)}
    report(run, "--figures", second)
    assert {p.name: file_sha256(p) for p in first.iterdir()} == {p.name: file_sha256(p) for p in second.iterdir()}


def test_every_kind_of_chart_is_drawn_to_a_file(tmp_path):
    steps = Series("s", [0.0, 1.0, 2.0], [3.0, 4.0, 0.0], kind="step")
    line = Series("s", [0.0, 1.0], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5])
    panel = XYChart("p", "x", "y", [steps], lines=[RefLine(1.0, "r")])
    band = XYChart("b", "x", "y", [line], [(0.0, "a"), (1.0, "b")])
    heat = Heatmap("h", "x", "y", ["a", "b"], ["c"], [[1.0, None]], centre=0.0)
    marks = IntervalChart("i", "v", [Mark("m", 1.0, 0.5, 1.5, "one"), Mark("m", 2.0, series="two")])
    charts = {"panels": Panels("t", [panel, band]), "heat": heat, "marks": marks}
    figures = [Figure(name, "c", chart) for name, chart in charts.items()]
    written = write_figures(Report("t", "s", [Section("s", "s", figures)]), tmp_path)
    assert [path.name for path in written] == [f"{name}.{end}" for name in charts for end in ("png", "svg", "csv")]


def test_hostile_names_in_files(report, tmp_path):
    status, said, _ = report(
        write_hostile_run(tmp_path / "run"), "--figures", tmp_path / "figures", "--summary", tmp_path / "summary.md"
    )
    assert status == 0
    assert "\x1b" not in said
    assert "<script" not in (tmp_path / "summary.md").read_text()
    for path in (tmp_path / "figures").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.(png|svg|csv)", path.name)
        if path.suffix == ".svg":
            assert "<script" not in path.read_text()
        if path.suffix == ".csv":
            with path.open() as stream:
                cells = [cell for row in csv.reader(stream) for cell in row]
            assert not [
                cell for cell in cells if cell[:1] in ("=", "+", "@") and not re.fullmatch(r"[+-]?[\d.e+-]+", cell)
            ]


def test_the_summary_for_a_pull_request(report, run, tmp_path):
    other = write_run(tmp_path / "other", "other", alpaca_eval=[0.1, 0.5, 0.2, 0.3] * 10, mt_bench=[6, 7, 2] * 10)
    summary = tmp_path / "summary.md"
    status, _, _ = report(run, other, "--policy", "no-regression", "--summary", summary)
    text = summary.read_text()
    assert status == 0
    assert text.startswith("## model against other\n")
    assert "**PASS: Gate: model against other under no-regression**" in text
    assert "| win\\_rate (alpaca\\_eval) | 52.50 | 27.50 | +25.00 " in text
    assert len(text) < 65_536, "GitHub's limit for a comment"


def test_fewer_samples(report, run):
    _, _, page = report(run, "--max-samples", 20)
    assert "of 70 samples are in this page, taken at even distances" in text_of(page)
    _, _, page = report(run, "--max-samples", 0)
    assert '<section id="samples"' not in page


@pytest.mark.parametrize(
    ("make", "arguments", "status", "words"),
    [
        (None, ["nowhere"], 1, "nowhere does not exist"),
        ("folder", ["folder"], 1, "holds no run"),
        ("runs", ["runs"], 2, "holds runs (a, b) and is none"),
        ("json", ["file.json"], 1, "not a judge study"),
        ("text", ["file.json"], 1, "not valid JSON"),
        ("part", ["file.json"], 1, "no human, judges, contest, labels, pairs, texts"),
        ("later", ["file.json"], 1, "a study of version 2"),
        ("changed", ["file.json"], 1, "not as it was written (KeyError"),
        ("rule", ["run", "--gate", "gate.json"], 1, "not a gate's decision"),
        ("align", ["align"], 1, "what `assay align` writes"),
        ("run", ["run", "run"], 2, "is given twice"),
        ("run", ["run", "--policy", "no-regression"], 2, "--policy requires two runs, and 1 were given"),
        ("run", ["run", "--gate", "run/run.json"], 1, "not a gate's decision"),
        ("run", ["run", "--max-samples", "-1"], 2, "--max-samples is -1"),
        ("run", ["run", "--figures", "run/run.json"], 1, "cannot write to"),
        ("torn", ["run"], 1, "judgments.jsonl, line 1"),
    ],
)
def test_wrong_input(report, tmp_path, monkeypatch, make, arguments, status, words):
    monkeypatch.chdir(tmp_path)
    match make:
        case "folder":
            (tmp_path / "folder").mkdir()
        case "runs":
            for name in ("a", "b"):
                write_run(tmp_path / "runs" / name, name, alpaca_eval=[0.5] * 3)
        case "json":
            (tmp_path / "file.json").write_text('{"kind": "something"}')
        case "part":
            (tmp_path / "file.json").write_text('{"kind": "judge_study", "version": 1}')
        case "later" | "changed":
            names = ("human", "judges", "contest", "labels", "pairs", "texts")
            study = {"kind": "judge_study", "version": 2 if make == "later" else 1, **{name: {} for name in names}}
            (tmp_path / "file.json").write_text(json.dumps(study))
        case "text":
            (tmp_path / "file.json").write_text("{")
        case "align":
            (tmp_path / "align").mkdir()
            (tmp_path / "align/align.json").write_text('{"kind": "align"}')
        case "run" | "torn" | "rule":
            write_run(tmp_path / "run", "model", alpaca_eval=[0.5, 0.7] * 3)
    if make == "rule":
        (tmp_path / "gate.json").write_text('{"decision": "pass", "rules": [{"kind": "keep"}]}')
    if make == "torn":
        (tmp_path / "run/judgments.jsonl").write_text('{"judge": 3}\n')
    found, said, _ = report(*arguments)
    assert found == status
    assert words in said
    assert "Traceback" not in said


def test_out_that_cannot_be_written(assay, run, tmp_path):
    status, _, said = assay("report", run, "--out", tmp_path)
    assert status == 2
    assert "is a directory" in said
    (tmp_path / "file").write_text("")
    status, _, said = assay("report", run, "--out", tmp_path / "file/report.html")
    assert status == 1
    assert "cannot write" in said


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_hostile_title(text):
    page = to_html(Report(text, text, [Section("s", text, [Note(text)])], {}, text))
    assert page.count("<script") == 1
    assert len(re.findall(r"<title>[^<]*</title>\n<style>", page)) == 1
