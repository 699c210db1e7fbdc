"""Run directories of assay 0.1.0 are scored, compared, ranked, gated, exported, reported and resumed as before."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness.data.store import DataStore
from harness.protocols import RankerContext
from harness.spec import validated
from harness.store.align_directory import read_align
from training.align.book import Book
from training.align.evaluating import Evaluator
from training.align.ranking import JudgeRanker
from training.align.recipe import AlignRecipe

pytestmark = pytest.mark.e2e

FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "runs_0_1_0"
NUMBER = re.compile(r"[+-]?\d")
INTERVAL = re.compile(r" \([^()]* to [^()]*\)|(?<=\| )[\d.-]+ to [\d.-]+ \| ")
NUMBERS = ("value", "stderr", "ci_low", "ci_high", "level", "n", "n_clusters", "n_unscored", "unscored")
DIFFERENCE = ("value_a", "value_b", "difference", "stderr", "ci_low", "ci_high", "p_value", "p_adjusted", "n")
RULE = (
    *("kind", "margin", "effect", "stderr", "ci_low", "ci_high", "p_value", "p_adjusted", "decision"),
    *("n", "n_items", "n_unscored", "n_needed"),
)


def printed(name: str) -> Any:
    return json.loads((FIXTURE / "printed" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs_0_1_0")
    with tarfile.open(FIXTURE / "runs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def runs(unpacked, tmp_path, monkeypatch) -> Path:
    """A copy of the runs; the working directory, since they were written with relative paths."""
    folder = tmp_path / "runs"
    shutil.copytree(unpacked, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def said(assay, runs):
    """What a command prints as JSON."""

    def run(*arguments: object, status: int = 0) -> Any:
        found, out, err = assay(*arguments)
        assert found == status, err
        return json.loads(out)

    return run


def nearly(value: Any) -> Any:
    """The value, or for a float what rounding may make of it."""
    return pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value


def made_anew(row: dict[str, Any]) -> bool:
    """Whether 0.2 makes the row's interval in another way (docs/design/025 for single figures, 040 for differences)."""
    if row["ci_low"] is None:
        return False
    if "value" in row:
        return not row["method"].startswith("mean; CR2 cluster-robust t interval")
    return row["method"].startswith("paired difference") and "Tango" not in row["method"]


def same_figures(found: list[dict[str, Any]], expected: list[dict[str, Any]], fields: tuple[str, ...]) -> None:
    """Every figure of 0.1.0 is there, in its order, with its numbers; intervals made anew hold the figure."""
    by_key = {(row["benchmark"], row["metric"]): row for row in found}
    keys = [(row["benchmark"], row["metric"]) for row in expected]
    assert [key for key in by_key if key in set(keys)] == keys
    for row in expected:
        if row["metric"] != "embedding_diversity":  # depends on whether sentence-transformers is installed
            now = by_key[row["benchmark"], row["metric"]]
            anew = made_anew(row)
            for name in fields:
                # p_adjusted is Holm's over all metrics, so one p-value made anew changes others'
                # on a handful of prompts the test of 0.2 leaves undecided what t passed
                if anew and name == "decision":
                    assert now[name] in (row[name], "undecided")
                elif not (anew and name.startswith(("ci_", "p_", "n_needed"))) and name != "p_adjusted":
                    assert now[name] == nearly(row[name]), (row["benchmark"], row["metric"], name)
            if anew:
                figure = next(row[name] for name in ("value", "difference", "effect") if name in row)
                assert now["ci_low"] <= figure <= now["ci_high"], (row["benchmark"], row["metric"])


@pytest.mark.parametrize("run", ["strong", "weak", "direct", "rewards"])
def test_score(said, run):
    expected = printed(f"score-{run}")
    found = said("score", run, "--json")
    assert (found["model"], found["valid"]) == (expected["model"], expected["valid"])
    assert len(found["canaries"]) == len(expected["canaries"])
    same_figures(found["rows"], expected["rows"], NUMBERS)
    methods = {row["metric"]: row["method"].partition(" (")[0] for row in found["rows"]}
    same = {r["metric"]: r["method"].partition(" (")[0] for r in expected["rows"] if not made_anew(r)}
    assert {metric: methods[metric] for metric in same} == same


def test_compare(said):
    found, expected = said("compare", "strong", "weak", "--json"), printed("compare")
    assert found["problems"] == expected["problems"]
    compared = [row for row in expected["metrics"] if row["difference"] is not None]
    assert len(compared) == 13
    same_figures(found["metrics"], compared, DIFFERENCE)


def test_leaderboard(said):
    found, expected = said("leaderboard", "strong", "weak", "--format", "json"), printed("leaderboard")
    assert [row["model"] for row in found["rows"]] == [row["model"] for row in expected["rows"]]
    for now, then in zip(found["rows"], expected["rows"], strict=True):
        same_figures(now["figures"], then["figures"], (*NUMBERS, "rank", "rank_low", "rank_high"))


STATUS = {"pass": 0, "fail": 1, "undecided": 3, "invalid": 4}
HEAD_TO_HEAD = ("--head-to-head", "direct", "--judge", "gold:world")


@pytest.mark.parametrize(
    ("name", "policy", "more"),
    [
        ("gate", "policy.yaml", ()),
        ("gate-head-to-head", "head_to_head.yaml", HEAD_TO_HEAD),
        ("gate-align", "align_policy.yaml", ()),
    ],
)
def test_gate(said, runs, name, policy, more):
    expected = printed(name)
    sides: list[object] = ["strong", "weak"]
    if name == "gate-align":
        sides = [next(runs.glob(f"align/stages/evaluate-{variant}-*/run")) for variant in ("dpo-1", "sft")]
    gate = ("gate", "--candidate", sides[0], "--baseline", sides[1], "--json", "--policy", policy, *more)
    found = said(*gate, status=STATUS[expected["decision"]])
    assert (found["decision"], found["problems"]) == (expected["decision"], expected["problems"])
    same_figures(found["rules"], expected["rules"], RULE)


@pytest.mark.parametrize("directory", ["direct", "strong", "weak"])
def test_resuming_a_finished_run_changes_no_answer_and_no_verdict(assay, runs, directory):
    before = {name: (runs / directory / name).read_bytes() for name in ("prompts.jsonl", "judgments.jsonl")}
    status, out, err = assay("resume", directory, "--json")
    assert status == 0, err
    assert {name: (runs / directory / name).read_bytes() for name in before} == before
    same_figures(json.loads(out)["rows"], printed(f"score-{directory}")["rows"], NUMBERS)


def test_an_unfinished_run_is_resumed(assay, runs):
    run = runs / "strong"
    (run / "manifest.json").unlink()
    (run / "summary.json").unlink()
    for name, kept in (("responses.jsonl", 20), ("judgments.jsonl", 12), ("scores.jsonl", 0), ("turns.jsonl", 4)):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:kept]) + (lines[kept][:30] if kept else ""))  # torn by a kill
    status, out, err = assay("resume", "strong", "--json")
    assert status == 0, err
    same_figures(json.loads(out)["rows"], printed("score-strong")["rows"], NUMBERS)
    assert (run / "manifest.json").is_file()


def test_export_to_lm_eval(assay, runs):
    status, _, err = assay("export", "strong", "--format", "lm_eval", "--out", "exported")
    assert status == 0, err
    (path,) = (runs / "exported").rglob("results_*.json")
    found, expected = json.loads(path.read_text()), printed("export-lm_eval")
    assert set(found["results"]) == set(expected["results"])
    for benchmark, results in expected["results"].items():
        assert found["results"][benchmark] == {name: nearly(value) for name, value in results.items()}
    assert set(found) == set(expected)


@pytest.mark.parametrize("name", ["parquet", "inspect"])
def test_export_to_other_formats(assay, runs, name):
    status, out, err = assay("export", "strong", "--format", name, "--out", "exported")
    assert status == 0, err
    assert all(Path(line).stat().st_size > 0 for line in out.split())


def figures_of(markdown: str) -> list[list[str]]:
    """For every row of every table that holds a number: its name, then its numbers, without their intervals.

    How many prompts of how many a run holds is said since.
    """
    markdown = re.sub(r"(\| \d+)(?:, \d+)? of \d+ prompts(?= \|)", r"\1", markdown)
    lines = [INTERVAL.sub("", line).strip("|").split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    rows = [[name.strip(), *(c.strip() for c in cells if NUMBER.match(c.strip()))] for name, *cells in lines]
    return [row for row in rows if len(row) > 1 and "embedding" not in row[0]]


def test_export_to_a_model_card(assay, runs):
    status, _, err = assay("export", "strong", "--format", "model_card", "--out", "card.md")
    assert status == 0, err
    expected = (FIXTURE / "printed" / "export-model_card.md").read_text()
    assert figures_of((runs / "card.md").read_text()) == figures_of(expected)


@pytest.mark.parametrize(
    ("name", "directories"), [("run", ("strong",)), ("two", ("strong", "weak")), ("align", ("align",))]
)
def test_report(assay, runs, name, directories):
    status, _, err = assay("report", *directories, "--out", "report.html", "--summary", "summary.md")
    assert status == 0, err
    found = figures_of((runs / "summary.md").read_text())
    for row in figures_of((FIXTURE / "printed" / f"report-{name}.md").read_text()):
        # The leaderboard has gained columns since, at its end; p-values stand behind a signed difference.
        kept = 4 if len(row) > 4 and row[3][0] in "+-" else len(row)
        assert any(now[:kept] == row[:kept] for now in found), row
    assert "</html>" in (runs / "report.html").read_text()


def test_the_align_directory_is_read(runs):
    state = read_align(runs / "align")
    assert [variant.name for variant in state.variants] == ["base", "sft", "dpo-1", "dpo-2"]


def test_an_align_directory_goes_on_with_the_prompts_it_has(runs):
    """`limit` meant the first prompts: a new variant is evaluated on those, in a directory named as before."""
    state = read_align(runs / "align")
    recipe = validated(AlignRecipe, state.recipe, "align.json")
    data = DataStore(None, runs, True)
    book = Book.open(runs / "align", state, print)
    ranker = JudgeRanker.from_options({"judge": {"model": "openai:j"}, "form": "rating"}, RankerContext(data))
    evaluator = Evaluator(recipe, data, None, book, [], runs, ranker)
    spec = evaluator.evaluation(state.variants[-1])
    assert {(item.limit, item.first) for item in spec.benchmarks} == {(None, 10)}
    shutil.rmtree(runs / "align" / "stages")
    spec = evaluator.evaluation(state.variants[-1])
    assert {(item.limit, item.first) for item in spec.benchmarks} == {(10, None)}
