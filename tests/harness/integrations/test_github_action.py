"""The sticky comment and the steps of action.yml, against a local stand-in of GitHub's REST interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from harness.cli import main
from reports.gate_comment import gate_comment, marker
from tests.house import ROOT
from tests.support.gate_runs import write_run
from tests.support.github_server import TOKEN, github_server

POLICY = "alpha: 0.05\nmin_n: 20\nrules:\n  - improve: {benchmark: alpaca_eval, metric: win_rate, margin: 0}\n"


@pytest.fixture
def github():
    with github_server() as found:
        yield found


@pytest.fixture
def runs(tmp_path):
    """A baseline, runs that are better, worse and neither, and a policy."""
    shares = [(i % 5) / 4 for i in range(60)]
    write_run(tmp_path / "base", "base", alpaca_eval=shares)
    write_run(tmp_path / "better", "better|@team", alpaca_eval=[min(1.0, s + 0.3) for s in shares])
    write_run(tmp_path / "worse", "worse", alpaca_eval=[max(0.0, s - 0.3) for s in shares])
    write_run(tmp_path / "alike", "alike", alpaca_eval=shares[::-1])
    (tmp_path / "gate.yaml").write_text(POLICY)
    return tmp_path


@pytest.fixture
def action(runs, github, tmp_path):
    """Run the steps of action.yml one after another, as GitHub's runner does."""
    shim = tmp_path / "bin" / "assay"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m assay "$@"\n')
    shim.chmod(0o755)
    python = shim.with_name("python")
    python.symlink_to(sys.executable)
    steps = [step for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"] if "env" in step]

    def run(**inputs):
        given = {"candidate": runs / "better", "baseline": runs / "base", "policy": runs / "gate.yaml", "arguments": ""}
        given |= {"name": "gate", "token": TOKEN, "allow": "", "pull-request": "7", **inputs}
        outputs: dict[str, str] = {}
        status = 0
        for step in steps:
            environment = {name: expression(value, given, outputs) for name, value in step["env"].items()}
            files = {"GITHUB_OUTPUT": tmp_path / "output", "GITHUB_STEP_SUMMARY": tmp_path / "summary.md"}
            environment |= {name: str(path) for name, path in files.items()}
            environment |= {"GITHUB_REPOSITORY": "o/r", "GITHUB_API_URL": github.url, "RUNNER_TEMP": str(tmp_path)}
            environment |= {
                "PATH": f"{shim.parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "HOME": str(tmp_path),
            }
            files["GITHUB_OUTPUT"].write_text("")
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
            status, said = done.returncode, done.stdout + done.stderr
            lines = files["GITHUB_OUTPUT"].read_text().splitlines()
            outputs |= {
                f"steps.gate.outputs.{name}": value for name, _, value in (line.partition("=") for line in lines)
            }
            if status:
                break
        return status, outputs, said

    return run


def expression(value, inputs, outputs):
    """Evaluate the few expressions of action.yml."""
    text = str(value).removeprefix("${{").removesuffix("}}").split("||")[0].strip()
    return str(outputs[text] if text in outputs else inputs[text.removeprefix("inputs.")])


def test_the_comment_is_created_once_and_updated(action, github, runs):
    github.comments += [{"id": i + 1, "body": f"remark {i}"} for i in range(150)]
    status, outputs, _ = action()
    assert (status, outputs["steps.gate.outputs.decision"]) == (0, "pass")
    assert len(github.comments) == 151
    comment = github.comments[-1]
    assert comment["body"].startswith(marker("gate") + "\n**PASS: ")
    assert "better" in comment["body"]
    assert "@team" not in comment["body"]  # nobody is notified
    assert "| improve alpaca\\_eval win\\_rate | pass |" in comment["body"]
    assert comment["body"] in (runs / "summary.md").read_text()
    status, outputs, _ = action(candidate=runs / "worse")
    assert (status, outputs["steps.gate.outputs.status"]) == (1, "1")
    assert len(github.comments) == 151
    assert github.comments[-1]["body"].startswith(marker("gate") + "\n**FAIL: ")
    action(name="second gate")
    assert [c["body"].partition("\n")[0] for c in github.comments[150:]] == [marker("gate"), marker("second gate")]


def test_statuses_that_are_allowed_do_not_fail_the_job(action, runs):
    assert action(candidate=runs / "alike")[0] == 3
    assert action(candidate=runs / "alike", allow="3")[0] == 0
    assert action(candidate=runs / "worse", allow="3")[0] == 1
    # further arguments reach the gate
    assert action(arguments="--sequential --seed 4")[0] == 0


def test_a_gate_that_did_not_run_replaces_an_old_decision(action, github, runs):
    action()
    status, outputs, _ = action(policy=runs / "missing.yaml")
    assert status == 2
    assert outputs["steps.gate.outputs.decision"] == ""
    assert "The gate did not run" in github.comments[-1]["body"]


def test_the_decision_stands_where_the_comment_cannot_be_written(action, github):
    github.may_write = False
    status, outputs, _ = action()
    assert (status, outputs["steps.gate.outputs.decision"]) == (0, "pass")
    assert github.comments == []


@pytest.fixture
def decision(tmp_path):
    path = tmp_path / "decision.json"
    path.write_text(json.dumps({"decision": "pass", "message": "all hold", "rules": []}))
    return str(path)


def comment(*arguments):
    return main(["comment", *arguments, "--repo", "o/r", "--pull", "7"])


def test_someone_elses_comment_with_our_marker_is_left_alone(decision, github, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("GITHUB_API_URL", github.url)
    github.comments.append({"id": 1, "body": marker("gate") + "\nplanted"})
    github.foreign.add(1)
    assert comment(decision) == 0
    assert comment(decision) == 0
    assert [c["body"].splitlines()[1] for c in github.comments] == ["planted", "**PASS: Gate** all hold"]


@pytest.mark.parametrize(
    ("token", "may_write", "words"),
    [
        ("", True, ["no token for GitHub", "GITHUB_TOKEN"]),
        ("wrong", True, ["status 401", "Bad credentials", "pull-requests: write"]),
        (TOKEN, False, ["status 403", "not accessible by integration", "fork"]),
    ],
)
def test_what_github_refuses_is_said(decision, github, monkeypatch, capsys, token, may_write, words):
    monkeypatch.setenv("GITHUB_TOKEN", token)
    monkeypatch.setenv("GITHUB_API_URL", github.url)
    github.may_write = may_write
    assert comment(decision) in (1, 2)
    err = capsys.readouterr().err
    for word in words:
        assert word in err
    assert "Traceback" not in err
    assert token == "" or token not in err


def test_an_unreachable_github_is_said(decision, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    assert comment(decision) == 1
    assert "check GITHUB_API_URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("{", (), "not JSON"),
        ("[1]", (), "not a decision"),
        ('{"decision": "pass"}', (), "not a decision"),
        (None, (), "no such file"),
        ("", ("--name", "a-->b"), "without --"),
        ("", ("--repo", "o/r"), "--repo without --pull"),
        ("", ("--repo", "o/r/../x", "--pull", "1"), "OWNER/NAME"),
    ],
)
def test_wrong_input(tmp_path, capsys, monkeypatch, text, arguments, words):
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    path = tmp_path / "d.json"
    if text is not None:
        path.write_text(text)
    assert main(["comment", str(path), *arguments]) in (1, 2)
    assert words in capsys.readouterr().err


def test_a_long_decision_is_cut():
    rule = {"kind": "keep", "benchmark": "b" * 3000, "metric": "m", "decision": "pass", "reason": "r" * 3000}
    text = gate_comment({"decision": "pass", "message": "", "rules": [rule] * 30}, "gate")
    assert len(text) < 65_536
    assert text.endswith("too long.\n")
