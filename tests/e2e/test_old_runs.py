"""Runs that version 0.1.0 wrote are scored, compared, gated, ranked, exported and reported with the same figures."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).resolve().parents[1] / "fixtures" / "runs_0_1_0" / "runs.tar.xz"
FIGURES = (
    "benchmark",
    "metric",
    "value",
    "stderr",
    "ci_low",
    "ci_high",
    "level",
    "n",
    "n_clusters",
    "n_unscored",
    "unscored",
)
COMPARED = (
    "benchmark",
    "metric",
    "value_a",
    "value_b",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_adjusted",
    "n",
)
RULES = (
    "benchmark",
    "metric",
    "kind",
    "margin",
    "effect",
    "ci_low",
    "ci_high",
    "p_value",
    "p_adjusted",
    "decision",
    "n_needed",
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def stored(old, name):
    return json.loads((old / name).read_text())


def picked(rows, fields):
    return [{field: row[field] for field in fields} for row in rows]


def close(found, expected, fields):
    found, expected = picked(found, fields), picked(expected, fields)
    assert [row["metric"] for row in found] == [row["metric"] for row in expected]
    for a, b in zip(found, expected, strict=True):
        for field in fields:
            same = isinstance(b[field], float) and a[field] == pytest.approx(b[field], rel=1e-9, abs=1e-12)
            assert same or a[field] == b[field], (field, a, b)


def printed(assay, *arguments, status=0):
    found, out, err = assay(*arguments, "--json")
    assert found == status, err
    return json.loads(out)


@pytest.mark.parametrize("name", ["short", "long"])
def test_scored(assay, old, name):
    before = stored(old, f"score-{name}.json")
    after = printed(assay, "score", old / name)
    assert after["valid"] is before["valid"] is True
    close(after["rows"], before["rows"], FIGURES)


def test_compared(assay, old):
    close(
        printed(assay, "compare", old / "short", old / "long")["metrics"],
        stored(old, "compare.json")["metrics"],
        COMPARED,
    )


@pytest.mark.parametrize("name", ["gate", "gate-demo"])
def test_gated(assay, old, name):
    before = stored(old, f"{name}.json")
    sides = old / "short", old / "long"
    if name == "gate-demo":
        stages = old / "demo" / "align" / "stages"
        sides = next(stages.glob("evaluate-dpo-1-*")) / "run", next(stages.glob("evaluate-sft-*")) / "run"
    status = {"pass": 0, "fail": 1, "undecided": 3, "invalid": 4}[before["decision"]]
    arguments = ("--candidate", sides[0], "--baseline", sides[1], "--policy", old / "policy.yaml")
    after = printed(assay, "gate", *arguments, status=status)
    assert after["decision"] == before["decision"]
    close(after["rules"], before["rules"], RULES)


def test_ranked(assay, old):
    before = stored(old, "leaderboard.json")
    status, out, err = assay("leaderboard", old / "short", old / "long", "--format", "json", *columns(before))
    assert status == 0, err
    after = json.loads(out)
    assert [row["model"] for row in after["rows"]] == [row["model"] for row in before["rows"]]


def columns(board):
    return [part for column in board["columns"] for part in ("--metric", f"{column['benchmark']}:{column['metric']}")]


def test_resumed(assay, old):
    """There is nothing left to do, and what the run used has not changed."""
    before = (old / "short" / "judgments.jsonl").read_bytes()
    (old / "short.jsonl").touch()
    status, _, err = assay("score", old / "short")
    assert status == 0, err
    assert (old / "short" / "judgments.jsonl").read_bytes() == before


def test_exported_and_reported(assay, old, tmp_path):
    status, _, err = assay("export", old / "short", "--format", "lm_eval", "--out", tmp_path / "exported")
    assert status == 0, err
    for name, inputs in {"runs": [old / "short", old / "long"], "align": [old / "demo" / "align"]}.items():
        status, _, err = assay("report", *inputs, "--out", tmp_path / f"{name}.html")
        assert status == 0, err
        assert "demo_mt" in (tmp_path / f"{name}.html").read_text()
