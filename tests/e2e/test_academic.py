"""The academic suites from the command line: beside chat benchmarks, killed and resumed, against imported results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from benchmarks.lm_eval.academic import SHOTS
from harness.engines.hf import engine as hf
from tests.paths import MIRROR, MODELS, needs_data, needs_models

pytestmark = [pytest.mark.e2e, needs_data, needs_models]


def table(out):
    return {(row["benchmark"], row["metric"]): row for row in json.loads(out)["rows"]}


@pytest.mark.slow
def test_chat_benchmarks_and_academic_suites_with_one_load(assay, judge, tmp_path, monkeypatch):
    loads = []
    load = hf.load_model
    monkeypatch.setattr(hf, "load_model", lambda options: loads.append(options) or load(options))
    status, out, err = assay(
        *("run", "--model", MODELS / "neo3m-chat-hf", "--benchmark", "mt_bench,alpaca_eval,arena_hard,academic"),
        *("--limit", 3, "--max-tokens", 8, "--out", tmp_path / "run", "--json"),
        *("--judge", "openai:scripted", "--judge-base-url", judge.base_url, "--max-unscored", 1),
    )
    assert status == 0, err
    assert len(loads) == 1
    rows = table(out)
    for key in (("mt_bench", "score"), ("alpaca_eval", "win_rate"), ("arena_hard", "win_rate")):
        assert key in rows
    metric = {"gsm8k": "exact_match", "humaneval": "pass@1", "mbpp": "pass_at_1"}
    for task in SHOTS:
        row = rows[task, metric.get(task, "acc")]
        assert (row["n"], row["n_unscored"]) == (3, 0), row
    assert 0 <= rows["truthfulqa_mc1", "ece"]["value"] <= 1
    header = json.loads((tmp_path / "run/run.json").read_text())
    entries = {b["name"]: b for b in header["benchmarks"]}
    assert entries["gsm8k"]["version"] == "lm_eval 3.0, 8-shot"
    assert entries["gsm8k"]["left_out"][0]["n_prompts"] == 8
    assert "academic/truthfulqa/mc_task.json" in header["data"]
    assert not (tmp_path / "run/work").exists(), "partial results are not kept"
    status, again, _ = assay("score", tmp_path / "run", "--json")
    assert {k: r["value"] for k, r in table(again).items()} == {k: r["value"] for k, r in rows.items()}


@pytest.mark.slow
def test_a_killed_suite_goes_on_where_it_was(assay, replies, tmp_path):
    arguments = [
        *("run", "--model", str(replies), "--engine", "scripted", "--engine-option", "delay_s=0.05"),
        *("--benchmark", "gsm8k,mbpp", "--limit", "20", "--json"),
    ]
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *arguments, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "ASSAY_DATA": str(MIRROR)},
    )
    stores = [out / f"work/{name}/answers.jsonl" for name in ("gsm8k", "mbpp")]
    give_up = time.monotonic() + 200
    while not stores[1].exists() or stores[1].read_bytes().count(b"\n") < 5:
        assert process.poll() is None, "ended before it was killed"
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = [len(store.read_text().splitlines()) for store in stores]
    assert before[0] == 20
    assert 5 <= before[1] < 20
    asked: Counter[str] = Counter()

    from harness.engines.scripted import ScriptedEngine

    generate = ScriptedEngine.generate

    def counted(engine, requests):
        asked.update(str(r.text) for r in requests)
        return generate(engine, requests)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptedEngine, "generate", counted)
        status, resumed, err = assay("resume", out, "--json")
    assert status == 0, err
    assert 0 < sum(asked.values()) <= 20 - before[1]
    assert set(asked.values()) == {1}
    rows = table(resumed)
    assert rows["gsm8k", "exact_match"]["n"] == rows["mbpp", "pass_at_1"]["n"] == 20
    assert len((out / "responses.jsonl").read_text().splitlines()) == 40


def test_imported_and_own_results_are_one_representation(assay, tmp_path):
    """lm-eval's own run, written by its own tracker and imported, pairs with assay's document by document."""
    from lm_eval.loggers import EvaluationTracker

    from benchmarks.lm_eval.adapter import EngineLM
    from tests.golden.make_academic_hflm import evaluate

    model = MODELS / "stories260K-hf"
    with hf.HFEngine.from_options({"model": str(model), "device": "cpu"}) as engine:
        found = evaluate(EngineLM(engine), "truthfulqa_mc1", 6, {})
    tracker = EvaluationTracker(output_path=str(tmp_path / "lm_eval"))
    tracker.general_config_tracker.model_name = tracker.general_config_tracker.model_name_sanitized = "stories"
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    tracker.save_results_samples(task_name="truthfulqa_mc1", samples=samples["truthfulqa_mc1"])
    status, out, err = assay(
        "import", "lm_eval", "--results", tmp_path / "lm_eval", "--out", tmp_path / "theirs", "--json"
    )
    assert status == 0, err
    theirs = table(out)["truthfulqa_mc1", "acc"]
    status, out, err = assay(
        *("run", "--model", model, "--benchmark", "truthfulqa_mc1", "--first", 6, "--out", tmp_path / "ours", "--json")
    )
    assert status == 0, err
    ours = table(out)["truthfulqa_mc1", "acc"]
    assert (ours["value"], ours["n"], ours["stderr"]) == (theirs["value"], theirs["n"], theirs["stderr"])
    _, out, _ = assay("compare", tmp_path / "ours", tmp_path / "theirs", "--json")
    compared = {m["metric"]: m for m in json.loads(out)["metrics"]}["acc"]
    assert (compared["difference"], compared["n_only_a"], compared["n_only_b"]) == (0.0, 0, 0)


def test_what_is_asked_for_wrongly(assay, replies, tmp_path):
    base = ("run", "--model", replies, "--engine", "scripted", "--out", tmp_path / "run")
    status, _, err = assay(*base, "--benchmark", "gsm8k", "--benchmark-option", "gsm8k.num_fewshots=3")
    assert status == 2
    assert "did you mean 'num_fewshot'?" in err
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"problem": "1 + 1?", "answer": "#### 2"}\n')
    given = ("--benchmark-option", "gsm8k.num_fewshot=0", "--benchmark-option", f"gsm8k.data={rows}")
    status, _, err = assay(*base, "--benchmark", "gsm8k", *given)
    assert status == 1
    assert "'question' is undefined" in err
    assert "problem, answer" in err
    status, _, err = assay(
        "run", "--model", replies, "--benchmark", "gsm8k", "--out", tmp_path / "x", "--data-dir", tmp_path
    )
    assert status == 1
    assert "is no mirror" in err


def test_the_estimate_counts_texts_to_score_and_tokens_to_generate(assay, replies):
    status, out, err = assay(
        *("estimate", "--model", replies, "--engine", "scripted", "--json", "--limit", 4),
        *("--benchmark", "gsm8k,truthfulqa_mc1", "--max-tokens", 100),
    )
    assert status == 0, err
    found = {b["benchmark"]: b for b in json.loads(out)["benchmarks"]}
    assert (found["gsm8k"]["n_answers"], found["gsm8k"]["most_answer_tokens"], found["gsm8k"]["n_scored"]) == (
        4,
        400,
        0,
    )
    mc1 = found["truthfulqa_mc1"]
    assert (mc1["n_answers"], mc1["most_answer_tokens"]) == (0, 0)
    assert mc1["n_scored"] > 8
