"""HumanEval and MBPP through the sandbox: published solutions, and a model's published generations."""

from __future__ import annotations

import gzip
import json
import zipfile

import pytest

from benchmarks.sandbox import NotAvailable, Outcome, available, run_many
from benchmarks.sandbox.code_checks import HUMAN_EVAL_LIMITS, MBPP_LIMITS, CodeProblem, human_eval_problem, mbpp_problem
from tests.paths import DATA, MIRROR, needs_data

pytestmark = [
    pytest.mark.golden,
    needs_data,
    pytest.mark.skipif(isinstance(available(), NotAvailable), reason="no sandbox can be had"),
]

HUMAN_EVAL = MIRROR / "github/openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/data/HumanEval.jsonl.gz"
WIZARD_CODER = DATA / "academic/wizardcoder/humaneval.59.8.gen.zip"
MBPP = DATA / "academic/mbpp"


@pytest.fixture(scope="module")
def human_eval() -> dict[str, CodeProblem]:
    with gzip.open(HUMAN_EVAL, "rt") as lines:
        problems = [human_eval_problem(json.loads(line)) for line in lines]
    assert len(problems) == 164
    return {problem.name: problem for problem in problems}


def outcomes(programs, limits) -> list[Outcome]:
    programs = list(programs)
    found = dict(run_many(programs, 2, limits))
    return [found[number] for number in range(len(programs))]


def test_canonical_solutions_score_100(human_eval):
    found = outcomes((problem.program(problem.solution) for problem in human_eval.values()), HUMAN_EVAL_LIMITS)
    wrong = {name: each for name, each in zip(human_eval, found, strict=True) if not each.passed}
    assert not wrong
    assert len(found) == 164


def test_wizard_coder_scores_59_76_verdict_by_verdict(human_eval):
    """WizardCoder-15B-V1.0's greedy completions, with what upstream's own evaluation said of each."""
    with zipfile.ZipFile(WIZARD_CODER) as archive, archive.open(archive.namelist()[0]) as lines:
        samples = [json.loads(line) for line in lines]
    programs = [human_eval[sample["task_id"]].program(sample["completion"]) for sample in samples]
    found = outcomes(programs, HUMAN_EVAL_LIMITS)
    assert all(each.measured for each in found)
    differing = [
        (sample["task_id"], sample["result"], each)
        for sample, each in zip(samples, found, strict=True)
        if each.passed != sample["passed"]
    ]
    assert not differing
    passed = {sample["task_id"]: each.passed for sample, each in zip(samples, found, strict=True)}
    assert len(passed) == 164
    assert round(100 * sum(passed.values()) / len(passed), 2) == 59.76


def test_wrong_solutions_score_0(human_eval):
    found = outcomes((problem.program("    return None\n") for problem in human_eval.values()), HUMAN_EVAL_LIMITS)
    assert all(each.measured for each in found)
    assert not any(each.passed for each in found)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_problems"), [("mbpp.jsonl", 974), ("sanitized-mbpp.json", 427)])
def test_mbpp_solutions_score_100(name, n_problems):
    text = (MBPP / name).read_text()
    rows = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    problems = [mbpp_problem(row) for row in rows]
    assert len(problems) == n_problems
    found = outcomes((problem.program(problem.solution) for problem in problems), MBPP_LIMITS)
    wrong = {problem.name: each for problem, each in zip(problems, found, strict=True) if not each.passed}
    assert not wrong
