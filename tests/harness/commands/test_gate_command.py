"""`assay gate`: exit statuses and output, as scripts see them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness import cli
from tests.support.gate_runs import write_run


@pytest.fixture(autouse=True)
def command(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


def shares(seed, shift=0.0, n=120):
    return np.clip(np.random.default_rng(seed).uniform(0, 0.8, n) + shift, 0, 1).tolist()


@pytest.fixture
def call(tmp_path, capsys):
    write_run(tmp_path / "old", "old", alpaca_eval=shares(1))
    policy = tmp_path / "p.yaml"
    policy.write_text("rules: [{improve: {benchmark: alpaca_eval, metric: win_rate, margin: 0}}]\n")

    def gate(shift, *more, name="new", policy=policy):
        if not (tmp_path / name).exists():
            write_run(tmp_path / name, name, alpaca_eval=shares(2, shift))
        arguments = ["--candidate", str(tmp_path / name), "--baseline", str(tmp_path / "old"), "--policy", str(policy)]
        status = cli.main(["gate", *arguments, *more])
        return status, capsys.readouterr()

    return gate


@pytest.mark.parametrize(("shift", "status"), [(0.25, 0), (-0.25, 1), (0.02, 3)])
def test_exit_status_is_the_decision(call, shift, status):
    found, output = call(shift, "--json")
    decision = json.loads(output.out)
    assert found == status
    assert {0: "pass", 1: "fail", 3: "undecided"}[found] == decision["decision"] == decision["rules"][0]["decision"]


def test_invalid_is_four(call, tmp_path):
    status, output = call(0.0, "--json", name="old")
    assert status == 4
    assert "same run" in json.loads(output.out)["message"]


def test_a_damaged_run_is_invalid_and_no_fail(call, tmp_path):
    call(0.2)
    (tmp_path / "new" / "run.json").write_text("{")
    status, output = call(0.2, "--json")
    assert status == 4
    assert json.loads(output.out)["problems"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "chat-progres"], "did you mean chat-progress"),
        (["--policy", "chat-progress"], "--candidate is missing"),
        (["--policy", "chat-progress", "--candidate", "x"], "--baseline is missing, and the policy compares"),
        (["--policy", "chat-progress", "--candidate", "/nowhere", "--baseline", "/nowhere"], "holds no run"),
    ],
)
def test_wrong_usage_is_two(arguments, said, capsys):
    assert cli.main(["gate", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_wrong_policy_is_wrong_usage(call, tmp_path):
    policy = tmp_path / "bad.yaml"
    policy.write_text("rules: [{improve: {benchmark: a, metrc: b}}]\n")
    status, output = call(0.2, policy=policy)
    assert status == 2
    assert "did you mean 'metric'" in output.err


def test_the_table_says_which_rule_and_what_to_do(call):
    _, output = call(0.02)
    assert "UNDECIDED: improve alpaca_eval win_rate" in output.out
    assert "further prompts would decide" in output.out


def test_sequential(call):
    status, output = call(0.25, "--sequential", "--seed", "3")
    assert status == 0
    assert "decided after" in output.out


def test_training_prompts(call, tmp_path):
    texts = tmp_path / "train.jsonl"
    texts.write_text(json.dumps({"messages": [{"role": "user", "content": "Instruction number 5."}]}) + "\nplain\n")
    status, output = call(0.25, "--training-prompts", str(texts))
    assert status == 4
    assert "training prompts are among the test prompts" in output.out


def test_looks_at_a_locked_set_are_counted(call, tmp_path):
    call(0.25, "--locked", str(tmp_path / "loop"))
    _, output = call(0.25, "--locked", str(tmp_path / "loop"), "--who", "iteration 2", "--json")
    assert "looked at 2 times" in " ".join(json.loads(output.out)["notes"])
    assert "iteration 2" in (tmp_path / "loop" / "looks.jsonl").read_text()


def test_another_policy_on_a_locked_set_is_said(call, tmp_path):
    call(0.25, "--locked", str(tmp_path / "loop"))
    other = tmp_path / "easier.yaml"
    other.write_text("rules: [{keep: {benchmark: alpaca_eval, metric: win_rate, margin: 2}}]\n")
    _, output = call(0.25, "--locked", str(tmp_path / "loop"), "--json", policy=other)
    (note,) = [n for n in json.loads(output.out)["notes"] if "locked" in n]
    assert "under 2 policies (p " in note
    assert "not covered by that figure" in note
    old = (tmp_path / "loop" / "looks.jsonl").read_text().splitlines()[0]
    older = {key: value for key, value in json.loads(old).items() if key != "policy"}
    (tmp_path / "loop" / "looks.jsonl").write_text(json.dumps(older) + "\n")
    _, output = call(0.25, "--locked", str(tmp_path / "loop"), "--json")
    assert "policies" not in " ".join(json.loads(output.out)["notes"])


def test_limits_need_no_baseline(tmp_path, capsys):
    write_run(tmp_path / "new", "new", alpaca_eval=shares(2))
    policy = tmp_path / "limits.yaml"
    policy.write_text("rules: [{limit: {benchmark: alpaca_eval, metric: win_rate, at_least: 20}}]\n")
    arguments = ["gate", "--candidate", str(tmp_path / "new"), "--policy", str(policy)]
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rules"][0]["kind"] == "limit"
    assert cli.main([*arguments, "--sequential", "--locked", str(tmp_path / "looks")]) == 0
    assert "limit alpaca_eval win_rate" in capsys.readouterr().out
    assert cli.main([*arguments, "--early-stop"]) == 2


def test_show_prints_the_policy(capsys):
    assert cli.main(["gate", "--policy", "no-regression", "--show"]) == 0
    assert "exact_match" in capsys.readouterr().out
