"""`assay demo --size tiny`: every step with a model that learns nothing; what is checked is that it adds up."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli import main
from harness.store.align_directory import read_align

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
KEYS = {"gold_win_rate", "gold_rating", "gold_arena", "knowledge", "reward", "kl", "characters"}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def demo(out: Path, *more: str) -> Done:
    """In this process: torch and lm-eval's index are loaded once."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = main(["demo", "--size", "tiny", "--out", str(out), *more])
    return Done(status, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "made"
    done = demo(out, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_the_table_holds_every_checkpoint_and_every_figure(made):
    out, said = made
    names = [row["name"] for row in said["rows"]]
    assert names[:2] == ["base", "sft"] and set(names[2:]) == {"dpo-1", "dpo-2"}
    for row in said["rows"]:
        assert set(row["figures"]) == KEYS
        for key, figure in row["figures"].items():
            assert ("value" in figure) != ("reason" in figure), (row["name"], key)
            if key != "kl":  # a model that learnt nothing writes words in tokens that no text tells
                assert "value" in figure, (row["name"], key, figure)
    assert said == json.loads((out / "demo.json").read_text())


def test_figures_are_those_of_the_runs(made):
    out, said = made
    variants = {variant.name: variant for variant in read_align(out / "align").variants}
    for row in said["rows"]:
        variant = variants[row["name"]]
        summary = json.loads((out / "align" / variant.run / "summary.json").read_text())
        of_run = {(r["benchmark"], r["metric"]): r["value"] for r in summary["rows"] if "value" in r}
        assert row["figures"]["gold_win_rate"]["value"] == of_run["demo_pairs", "win_rate"]
        assert row["figures"]["knowledge"]["value"] == of_run["demo_facts", "acc"]
        assert summary["valid"] is True


def test_sft_is_the_reference_and_the_gate_has_reasons(made):
    _, said = made
    by_name = {row["name"]: row for row in said["rows"]}
    assert by_name["sft"]["figures"]["kl"]["value"] == 0.0
    for name in ("dpo-1", "dpo-2"):
        assert by_name[name]["gate"] in ("pass", "fail", "undecided", "invalid")
        assert len(by_name[name]["reasons"]) == 2
    passed = [name for name in ("dpo-1", "dpo-2") if by_name[name]["gate"] == "pass"]
    assert said["chosen"] in ("sft", *passed)
    assert [found["iteration"] for found in said["agreement"]] == [1, 2]
    assert all(0 < found["n_pairs"] <= 12 for found in said["agreement"])


def test_the_story_is_told_from_the_figures(made):
    _, said = made
    text = "\n".join(said["story"])
    for name in ("dpo-1", "dpo-2"):
        row = next(row for row in said["rows"] if row["name"] == name)
        assert f"{row['figures']['reward']['value']:.4g}" in text
        assert f"The gate says {row['gate']}" in text
    assert set(said["reward_model"]) >= {"score", "brief", "polite", "careful", "correct"}


def test_again_does_nothing_and_says_the_same(made):
    out, said = made
    stages = out / "align" / "stages"
    before = {path: path.stat().st_mtime_ns for path in stages.rglob("*") if path.is_file()}
    done = demo(out)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in stages.rglob("*") if path.is_file()} == before
    again = json.loads((out / "demo.json").read_text())
    assert again["rows"] == said["rows"] and again["story"] == said["story"]
    assert "What happened" in done.stdout and str(out) in done.stdout
    for line in said["story"]:
        assert line.strip()[:40] in done.stdout


def test_another_demo_or_other_files_in_the_directory_are_refused(made, tmp_path):
    out, _ = made
    other = demo(out, "--seed", "1")
    assert other.returncode == 1 and "another demo" in other.stderr and "seed" in other.stderr
    (tmp_path / "thesis.tex").write_text("precious")
    assert demo(tmp_path).returncode == 1
    assert demo(tmp_path / "new", "--seed", "-1").returncode == 2
    assert not (tmp_path / "new").exists()
