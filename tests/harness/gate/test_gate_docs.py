"""The examples of docs/gate-in-ci.md: the script blocks and lets through, the workflow and its policy are sound."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.gate.policy import make_policy
from tests.support.gate_runs import write_run

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "gate-in-ci.md"
POLICY = "rules: [{improve: {benchmark: alpaca_eval, metric: win_rate, margin: 0}}]\n"
ASSAY = f"""#!{sys.executable}
import sys
from harness import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def blocks(language, document=DOCUMENT):
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)


def shares(seed, shift):
    return np.clip(np.random.default_rng(seed).uniform(0, 0.8, 120) + shift, 0, 1).tolist()


@pytest.fixture
def script(tmp_path):
    (tmp_path / "bin").mkdir()
    assay = tmp_path / "bin" / "assay"
    assay.write_text(ASSAY)
    assay.chmod(0o755)
    (tmp_path / "promote.sh").write_text(blocks("bash")[0])
    (tmp_path / "gate.yaml").write_text(POLICY)
    write_run(tmp_path / "old", "old", alpaca_eval=shares(1, 0.0))

    def promote(candidate, baseline="old", policy="gate.yaml"):
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "POLICY": policy, "PYTHONPATH": str(DOCUMENT.parents[1])}
        return subprocess.run(
            ["bash", "promote.sh", candidate, baseline],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return promote


@pytest.mark.parametrize(
    ("shift", "status", "said"),
    [(0.25, 0, "pass: promoting"), (-0.25, 1, "is not promoted"), (0.02, 3, "undecided")],
)
def test_the_script_lets_through_and_blocks(script, tmp_path, shift, status, said):
    write_run(tmp_path / "new", "new", alpaca_eval=shares(2, shift))
    found = script("new")
    assert found.returncode == status, found.stderr
    assert said in found.stdout
    assert (tmp_path / "decision.json").read_text().startswith("{")


def test_the_script_blocks_what_cannot_be_compared(script):
    assert script("old").returncode == 4
    wrong = script("nowhere")
    assert wrong.returncode == 2
    assert "did not run" in wrong.stdout


def test_the_workflow_gates_with_a_policy_that_loads():
    workflow, policy = (yaml.safe_load(text) for text in blocks("yaml"))
    steps = workflow["jobs"]["gate"]["steps"]
    (gate,) = [step for step in steps if step.get("id") == "gate"]
    inputs = yaml.safe_load((DOCUMENT.parents[1] / "action.yml").read_text())["inputs"]
    assert set(gate["with"]) <= set(inputs)
    assert {name for name, field in inputs.items() if field.get("required")} <= set(gate["with"])
    assert "continue-on-error" not in gate
    assert len(list(make_policy(policy).each_rule())) == 4


def test_the_policies_of_the_page_on_rules_load():
    policies = [make_policy(yaml.safe_load(text)) for text in blocks("yaml", DOCUMENT.with_name("gate.md"))]
    assert {kind for policy in policies for kind, _ in policy.each_rule()} == {"improve", "keep", "limit"}
