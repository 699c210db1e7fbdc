"""`assay gate --head-to-head DIR --judge J`: two runs' answers judged against each other, and decided."""

from __future__ import annotations

import json

import pytest

from tests.paths import needs_data
from tests.support.judge_server import Answer, token_logprob

pytestmark = [pytest.mark.e2e, needs_data]

N = 12
POLICY = """\
min_n: 5
rules:
  - improve: {benchmark: mt_bench, metric: head_to_head, required: false}
  - improve: {benchmark: alpaca_eval, metric: head_to_head, required: false}
  - improve: {benchmark: arena_hard, metric: head_to_head, required: false}
"""


def prefers_better(call):
    """Prefers the answer that says "better"; ties where both or neither do."""
    text = call.text
    if call.body.get("logprobs"):
        head, _, tail = text.partition('"model_identifier": "M"')
        first, second = "A better" in head, "A better" in tail
        gap = 0.0 if first == second else 3.0
        top = {"m": -0.1, "M": -0.1 - gap} if first >= second else {"M": -0.1, "m": -0.1 - gap}
        chosen = next(iter(top))
        return Answer(chosen, logprobs=[token_logprob(chosen, top)])
    marker = "Start of Assistant B"
    head, _, tail = text.rpartition(marker) if text.count(marker) == 1 else text.partition(marker)
    first, second = "A better" in head, "A better" in tail
    if "[[C]]" not in text:  # a planted answer holds the labels of all forms, but no tie
        return f"Verdict: [[{'A=B' if first == second else 'A>B' if first else 'B>A'}]]"
    return f"Verdict: [[{'C' if first == second else 'A' if first else 'B'}]]"


@pytest.fixture
def two_runs(assay, run_arguments, tmp_path):
    def make(benchmark: str):
        for name, reply in (("old", "A plain answer."), ("new", "A better answer.")):
            (tmp_path / "replies.jsonl").write_text(json.dumps({"prompt": "*", "reply": reply}) + "\n")
            status, _, err = assay(*run_arguments(limit=N, out=name, benchmark=benchmark), "--model-name", name)
            assert status == 0, err
        (tmp_path / "policy.yaml").write_text(POLICY)
        return tmp_path / "new", tmp_path / "old"

    return make


@pytest.mark.parametrize(("benchmark", "n_calls"), [("mt_bench", 4 * N), ("alpaca_eval", 2 * N), ("arena_hard", 2 * N)])
def test_the_better_run_is_let_through_and_the_other_is_not(assay, two_runs, judge, tmp_path, benchmark, n_calls):
    new, old = two_runs(benchmark)
    judge.reply = prefers_better
    asked = len(judge.log)
    gate = ("gate", "--policy", tmp_path / "policy.yaml", "--judge", "openai:scripted")
    gate += ("--judge-base-url", judge.base_url, "--json")
    direct = tmp_path / "direct"
    status, out, err = assay(*gate, "--candidate", new, "--baseline", old, "--head-to-head", direct)
    decision = json.loads(out)
    assert status == 0, (decision["message"], err)
    (rule,) = decision["rules"]
    assert (rule["benchmark"], rule["decision"]) == (benchmark, "pass")
    assert rule["effect"] > 25
    header = json.loads((direct / "run.json").read_text())
    assert header["model"]["engine"] == "stored"
    n_canaries = len((direct / "canaries.jsonl").read_text().splitlines())
    assert len(judge.log) - asked - n_canaries in (n_calls, n_calls - 8)  # equal outputs are not asked of AlpacaEval
    status, out, _ = assay("score", direct, "--json")
    row = next(r for r in json.loads(out)["rows"] if r["metric"] == "head_to_head")
    assert (status, row["n"], row["n_unscored"]) == (0, N, 0)
    assert row["value"] == pytest.approx(50 + rule["effect"])
    # again: nothing is asked, and the other way round it fails
    n_asked = len(judge.log)
    assert assay(*gate, "--candidate", new, "--baseline", old, "--head-to-head", direct)[0] == 0
    assert len(judge.log) == n_asked
    status, out, _ = assay(*gate, "--candidate", old, "--baseline", new, "--head-to-head", tmp_path / "back")
    assert status == 1
    assert json.loads(out)["rules"][0]["effect"] == pytest.approx(-rule["effect"])


def test_what_cannot_be_judged_head_to_head(assay, two_runs, judge, tmp_path):
    new, old = two_runs("alpaca_eval")
    options = ("--judge", "openai:scripted", "--judge-base-url", judge.base_url)
    gate = ("gate", "--candidate", new, "--baseline", old, *options)
    status, _, err = assay(*gate, "--policy", tmp_path / "policy.yaml")
    assert (status, "--head-to-head DIR" in err) == (2, True)
    (tmp_path / "other.yaml").write_text("rules:\n  - improve: {benchmark: alpaca_eval, metric: win_rate}\n")
    status, _, err = assay(*gate, "--policy", tmp_path / "other.yaml", "--head-to-head", tmp_path / "direct")
    assert status == 2
    assert "nothing to judge head to head" in err
    arguments = ("--out", tmp_path / "direct", *options, "--engine", "stored", "--model", new)
    status, _, err = assay("run", *arguments, "--benchmark", "head_to_head:alpaca_eval")
    assert status == 2
    assert "head_to_head:alpaca_eval.baseline=DIR" in err
    option = ("--benchmark-option", f"head_to_head:mt_bench.baseline={old}")
    status, _, err = assay("run", *arguments, "--benchmark", "head_to_head:mt_bench", *option)
    assert status == 2
    assert "holds no prompts of mt_bench" in err
    status, _, err = assay("run", *arguments, "--benchmark", "head_to_head:academic")
    assert status == 2
    assert "no benchmark 'academic'" in err or "unknown" in err


def test_a_run_without_an_answer_counts_the_prompt(assay, two_runs, judge, tmp_path):
    new, old = two_runs("alpaca_eval")
    lines = (new / "responses.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["role"] == "baseline"]
    candidates = [line for line in lines if json.loads(line)["role"] == "candidate"]
    (new / "responses.jsonl").write_text("\n".join(kept + candidates[:-2]) + "\n")
    judge.reply = prefers_better
    option = ("--benchmark-option", f"head_to_head:alpaca_eval.baseline={old}")
    arguments = ("--judge", "openai:scripted", "--judge-base-url", judge.base_url, "--json", "--canaries", 0)
    status, out, _ = assay(
        *("run", "--model", new, "--engine", "stored", "--benchmark", "head_to_head:alpaca_eval", *option),
        *(*arguments, "--out", tmp_path / "direct"),
    )
    found = json.loads(out)
    assert (status, found["valid"]) == (0, False)
    row = next(r for r in found["rows"] if r["metric"] == "head_to_head")
    assert (row["n"], row["unscored"]) == (N - 2, {"no_response": 2})
