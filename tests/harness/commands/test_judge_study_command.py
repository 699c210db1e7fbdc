"""`assay calibrate` as a user meets it: tables, JSON, the stored study, wrong input without a traceback."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness.cli import main
from tests.support.gate_runs import write_head_to_head, write_run

MODELS = ("x", "y", "z")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Votes on most pairs of three models, and two judges in both orders, one of them dear and good."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    votes, good, poor = [], [], []
    for prompt in range(60):
        for a, b in (("x", "y"), ("x", "z"), ("y", "z")):
            truth = rng.uniform() < 0.6
            if rng.uniform() < 0.6:
                for voter in ("ann", "bob"):
                    winner = "model_a" if truth == (rng.uniform() < 0.9) else "model_b"
                    votes.append({"prompt": prompt, "model_a": a, "model_b": b, "winner": winner, "voter": voter})
            for name, rows, right, cost in (("good", good, 0.9, 0.01), ("poor", poor, 0.65, 0.001)):
                p = float(np.clip(rng.normal(right, 0.1), 0.5, 1.0))
                p = p if truth else 1.0 - p
                for game, (one, other, q) in enumerate(((a, b, p), (b, a, 1.0 - p)), 1):
                    shown = {"prompt": prompt, "model_a": one, "model_b": other, "game": game, "judge": name}
                    rows.append(shown | {"p_a": round(q, 3), "cost": cost})
    for name, rows in (("votes", votes), ("good", good), ("poor", poor)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def calibrate(capsys, *arguments, status=0):
    assert main(["calibrate", "--resamples", "100", *map(str, arguments)]) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out if status == 0 else err


def both(files):
    return ["--human", files / "votes.jsonl", "--judgments", files / "good.jsonl", "--judgments", files / "poor.jsonl"]


def test_tables(capsys, files):
    out = calibrate(capsys, *both(files))
    assert out.startswith("good, poor against") and ": valid" in out.splitlines()[0]
    for words in (
        "people among themselves",
        "Cohen's kappa",
        "same in both orders",
        "order 2 alone",
        "Is its confidence calibrated?",
        "mean(good, poor)",
        "choosing the best on other prompts",
        "PPI++",
        "Pairs most worth a further vote",
    ):
        assert words in out, words


def test_json_and_the_stored_study_are_the_same_and_reproducible(capsys, files, tmp_path):
    out = calibrate(capsys, *both(files), "--json", "--out", tmp_path / "study.json")
    study = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    assert study == json.loads((tmp_path / "study.json").read_text())
    assert study == json.loads(calibrate(capsys, *both(files), "--json"))
    assert [judge["name"] for judge in study["judges"]] == ["good", "poor"]
    best = study["contest"]["contenders"][0]
    assert "good" in best["members"] and best["price"] >= 0.02
    assert study["judges"][0]["position"]["consistent"]["value"] == 100.0
    rate = study["judges"][0]["win_rates"][0]["rate"]
    assert rate["n_labelled"] + rate["n_unlabelled"] == 120


def test_options_reach_the_study(capsys, files):
    options = [
        "--level",
        0.9,
        "--bins",
        4,
        "--scheme",
        "equal_mass",
        "--half-width",
        4,
        "--top",
        3,
        "--orders",
        "agree",
    ]
    options += ["--price", "good=7", "--voters", "ann", "--family", "good=f", "--family", "x=f"]
    study = json.loads(calibrate(capsys, *both(files), *options, "--json"))
    good = study["judges"][0]
    assert study["human"]["n_voters"] == 1 and good["orders"] == "agree"
    assert good["cells"][0]["agreement"]["estimate"]["level"] == 0.9
    assert good["confidence"]["raw"]["scheme"] == "equal_mass" and len(good["confidence"]["raw"]["bins"]) <= 4
    assert good["win_rates"][0]["labels"]["wanted"]["half_width"] == 4.0
    assert len(study["labels"]["pairs"]) == 3
    assert good["self_preference"]["own_models"] == ["x"]
    assert {c["name"]: c["price"] for c in study["contest"]["contenders"]}["good"] == 7.0


def test_one_name_twice_is_a_repetition(capsys, files):
    sources = ["--judgments", f"j={files / 'good.jsonl'}", "--judgments", f"j={files / 'poor.jsonl'}"]
    study = json.loads(calibrate(capsys, "--human", files / "votes.jsonl", *sources, "--json"))
    (judge,) = study["judges"]
    assert judge["repeats"]["n_repeats"] == 2 and 0 < judge["repeats"]["concordance"]["w"]["value"] < 1


def test_runs(capsys, tmp_path):
    votes = [{"prompt": f"k{i}", "model_a": "new", "model_b": "old", "winner": "model_a"} for i in range(3)]
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(vote) + "\n" for vote in votes))
    run = write_head_to_head(tmp_path / "run", [(0.9, 0.7), (0.8, 0.9), (0.4, 0.3), (0.6, 0.2)])
    study = json.loads(calibrate(capsys, "--human", tmp_path / "votes.jsonl", "--judgments", run, "--json"))
    (judge,) = study["judges"]
    assert (judge["n_pairs"], judge["n_voted"]) == (4, 3)
    assert judge["cells"][0]["agreement"]["n_agree"] == 2
    assert judge["verbosity"]["n_longer"] + judge["verbosity"]["n_shorter"] > 0 or "reason" in judge["verbosity"]
    unfinished = write_run(tmp_path / "part", "new", alpaca_eval=[0.9, 0.2, 0.8], complete=False, baseline_name="old")
    out = calibrate(capsys, "--human", tmp_path / "votes.jsonl", "--judgments", unfinished)
    assert "NOT VALID" in out.splitlines()[0] and "is not complete" in out.splitlines()[1]
    empty = write_run(tmp_path / "empty", "new", alpaca_eval=[])
    err = calibrate(capsys, "--human", tmp_path / "votes.jsonl", "--judgments", empty, status=1)
    assert "holds no judgments" in err
    other = write_run(tmp_path / "other", "third", alpaca_eval=[0.9], baseline_name="old")
    err = calibrate(capsys, "--human", tmp_path / "votes.jsonl", "--judgments", other, status=1)
    assert "no pair has both" in err and "'third'" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--level", 95], "a number between 0 and 1"),
        (["--bins", 0], "1 to 1000"),
        (["--half-width", 0], "points between"),
        (["--top", -1], "0 or more"),
        (["--max-unscored", 101], "percent"),
        (["--price", "good=dear"], "a price"),
        (["--price", "good"], "NAME=VALUE"),
        (["--price", "nobody=1"], "which is no judge here"),
        (["--family", "x"], "NAME=VALUE"),
        (["--voters", "nobody"], "no voter matches"),
        (["--judgments", "=x"], "NAME=PATH"),
        (["--out", "."], "cannot write"),
    ],
)
def test_wrong_usage(capsys, files, options, words):
    assert words in calibrate(capsys, *both(files), *options, status=2)


def test_too_few_resamples(capsys, files):
    assert main(["calibrate", *map(str, both(files)), "--resamples", "10"]) == 2
    assert "at least 100" in capsys.readouterr().err


def test_broken_unicode_is_replaced(capsys, tmp_path):
    rows = [
        {"prompt": f"p{i}\ud800", "model_a": "x\udfff", "model_b": "y", "winner": "model_a", "prompt_text": "\ud83d"}
        for i in range(3)
    ]
    for name in ("votes", "verdicts"):
        rows = [row | {"judge": row.get("judge", name), "file": name} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = calibrate(capsys, "--human", tmp_path / "votes.jsonl", "--judgments", tmp_path / "verdicts.jsonl", "--json")
    out.encode()
    assert json.loads(out)["pairs"][0]["prompt"] == "p0\ufffd"


def test_terminal_escapes_in_files_do_not_reach_the_terminal(capsys, tmp_path):
    nasty = "m\x1b[31m\u202e[bold]"
    rows = [
        {"prompt": f"p{i}\x07", "model_a": nasty, "model_b": "y", "winner": "model_a", "judge": "j\x1b]0;x\x07"}
        for i in range(4)
    ]
    for name in ("votes", "verdicts"):
        rows = [row | {"judge": row.get("judge", name), "file": name} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = calibrate(capsys, "--human", tmp_path / "votes.jsonl", "--judgments", tmp_path / "verdicts.jsonl")
    assert not set("\x1b\x07\u202e") & set(out) and "[bold]" in out
