"""docs/extending: each example is installed as a package of its own and does what the page says of it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import registry
from tests.house import ROOT
from tests.paths import MIRROR, needs_data
from tests.support.judge_server import JudgeServer

PAGE = ROOT / "docs" / "extending.md"
EXAMPLES = sorted(path.parent for path in (ROOT / "docs" / "extending").glob("*/pyproject.toml"))
SIZES = {"benchmark": 50, "judge_form": 45}
POLICY = "min_n: 8\nrules:\n  - improve: {benchmark: support, metric: helpfulness, margin: 1}\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The examples, installed by pip into a folder of their own."""
    work = tmp_path_factory.mktemp("extending")
    sources = []
    for example in EXAMPLES:
        sources.append(shutil.copytree(example, work / example.name))
    site = work / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", site, *sources], check=True, capture_output=True)
    return site


@pytest.fixture
def assay(site, tmp_path):
    """The command line in a process that has the examples installed."""

    def run(*arguments: object, status: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "assay", *map(str, arguments)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)]),
                "ASSAY_CACHE": str(tmp_path / "cache"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr + done.stdout
        return done.stdout

    return run


@pytest.fixture
def two_runs(assay, tmp_path):
    """The benchmark, the engine and the judge together: a parrot of few words and one of many."""
    for words in (2, 50):
        model = ("--model", f"parrot-{words}", "--engine", "parrot", "--engine-option", f"words={words}")
        assay("run", *model, "--benchmark", "support", "--judge", "on_topic:4", "--out", f"runs/{words}")
    return tmp_path / "runs"


def test_every_door_has_an_example_that_the_page_shows():
    assert {example.name for example in EXAMPLES} == {
        kind.replace("training ", "").replace(" ", "_") for kind in registry.DOORS
    }
    page = PAGE.read_text()
    for example in EXAMPLES:
        (module,) = example.glob("*.py")
        for path in (module, example / "pyproject.toml"):
            assert path.read_text().strip() in page, (
                f"docs/extending.md does not show {path.relative_to(ROOT)} as it is"
            )
        assert len(module.read_text().splitlines()) <= SIZES.get(example.name, 60)


def test_a_benchmark_an_engine_and_a_judge(assay, two_runs, tmp_path):
    scores = json.loads(assay("score", "runs/50", "--json"))
    assert scores["valid"]
    assert [(row["metric"], row["n"]) for row in scores["rows"]] == [("helpfulness", 8)]
    (tmp_path / "policy.yaml").write_text(POLICY)
    sides = ("--candidate", "runs/50", "--baseline", "runs/2", "--policy", "policy.yaml")
    assert json.loads(assay("gate", *sides, "--json"))["decision"] == "pass"
    board = json.loads(assay("leaderboard", "runs/50", "runs/2", "--format", "json"))
    assert "helpfulness" in json.dumps(board)
    assay("report", "runs/50", "runs/2", "--policy", "policy.yaml", "--out", "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "helpfulness" in page
    assert re.search(r"\bpass\b", page, re.IGNORECASE)


def test_runs_of_different_judges_are_not_compared(assay, two_runs, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    model = ("--model", "parrot", "--engine", "parrot", "--engine-option", "words=50")
    assay("run", *model, "--benchmark", "support", "--judge", "on_topic:6", "--out", "runs/other")
    sides = ("--candidate", "runs/other", "--baseline", "runs/2", "--policy", "policy.yaml")
    assert "judged by different judges" in assay("gate", *sides, status=4)


def test_a_changed_prompt_is_refused_by_name(assay, two_runs, site, tmp_path):
    changed = tmp_path / "changed"
    changed.mkdir()
    source = (site / "assay_support.py").read_text()
    (changed / "assay_support.py").write_text(source.replace("a wrong size", "a wrong colour"))
    path = os.pathsep.join(map(str, (changed, ROOT, site)))
    done = subprocess.run(
        [sys.executable, "-m", "assay", "resume", "runs/2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "ASSAY_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the prompts of support (version 1) have changed" in done.stderr
    assert "'q3'" in done.stderr


def test_an_exporter(assay, two_runs, tmp_path):
    assay("export", "runs/50", "runs/2", "--format", "figures_csv", "--out", "figures.csv")
    rows = list(csv.DictReader((tmp_path / "figures.csv").open()))
    assert [(row["model"], row["metric"]) for row in rows] == [
        ("parrot-50", "helpfulness"),
        ("parrot-2", "helpfulness"),
    ]


def test_an_importer(assay, tmp_path):
    with (tmp_path / "grades.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["question_id", "question", "turn", "answer", "grade"])
        writer.writerows(
            [f"q{n}", f"Question {n}?", turn, f"Answer {turn}.", 4 + turn] for n in range(3) for turn in (1, 2)
        )
    assay("import", "grades", "--csv", "grades.csv", "--model", "ann", "--out", "runs/ann")
    rows = {row["metric"]: row for row in json.loads(assay("score", "runs/ann", "--json"))["rows"]}
    assert rows["score"]["value"] == 5.5
    (tmp_path / "wrong.csv").write_text("question,grade\nWhy?,3\n")
    assay("import", "grades", "--csv", "wrong.csv", "--model", "ann", "--out", "runs/wrong", status=1)


@needs_data
def test_a_suite(assay):
    said = json.loads(
        assay(
            *("estimate", "--model", "m", "--benchmark", "weekly", "--judge", "openai:gpt-4.1", "--json"),
            ASSAY_DATA=str(MIRROR),
        )
    )
    assert {found["benchmark"]: found["n_calls"] for found in said["benchmarks"]} == {"mt_bench": 40, "gsm8k": 0}


def test_a_judge_form_with_a_benchmark_of_its_own(assay, site, tmp_path, monkeypatch):
    """The benchmark asks in the form of the other package; the judge is a served model."""
    (tmp_path / "five").mkdir()
    source = (site / "assay_support.py").read_text()
    source = source.replace('("rating",)', '("five_points",)').replace(
        'JudgeTask(prompt, "rating"', 'JudgeTask(prompt, "five_points"'
    )
    (tmp_path / "five" / "assay_support.py").write_text(source.replace("(1.0, 10.0)", "(1.0, 5.0)"))
    with JudgeServer(reply=lambda call: "It repeats the question.\nGrade: 2") as server:
        assay(
            *("run", "--model", "parrot", "--engine", "parrot", "--benchmark", "support", "--canaries", "0"),
            *("--judge", "openai:scripted", "--judge-base-url", server.base_url, "--out", "runs/five"),
            PYTHONPATH=os.pathsep.join(map(str, (tmp_path / "five", ROOT, site))),
        )
    assert json.loads(assay("score", "runs/five", "--json"))["rows"][0]["value"] == 2.0


def test_a_report_section(assay, two_runs, tmp_path):
    assay("report", "runs/2", "--out", "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Answers cut" in page
    assert page.index("Answers cut") < page.index("Provenance")
