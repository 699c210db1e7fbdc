"""`assay export`: each format is read by the tool it is meant for."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from tests.paths import needs_data

pytestmark = [pytest.mark.e2e, needs_data]

HOSTILE = "| <script>alert(1)</script> \u202e `x` **b** [l](http://x) \x1b[31m"


@pytest.fixture
def run(assay, run_arguments, tmp_path):
    reply = {"prompt": "*", "reply": HOSTILE}
    (tmp_path / "replies.jsonl").write_text(json.dumps(reply) + "\n")
    status, _, err = assay(*run_arguments(limit=4, canaries=2), "--model-name", "a|b <i>")
    assert status == 0, err
    return tmp_path / "run"


def figures(assay, run) -> dict:
    return {(r["benchmark"], r["metric"]): r for r in json.loads(assay("score", run, "--json")[1])["rows"]}


def test_parquet_holds_every_record(assay, run, tmp_path):
    status, out, _ = assay("export", run, "--format", "parquet", "--out", tmp_path / "parquet")
    assert status == 0
    assert {line.rsplit("/", 1)[1] for line in out.split()} == {
        *("prompts.parquet", "responses.parquet", "judgments.parquet"),
        *("canaries.parquet", "scores.parquet", "summary.parquet"),
    }
    frames = {name: pd.read_parquet(tmp_path / "parquet" / f"{name}.parquet") for name in ("prompts", "judgments")}
    for name, frame in frames.items():
        assert len(frame) == len((run / f"{name}.jsonl").read_text().splitlines())
    responses = pd.read_parquet(tmp_path / "parquet" / "responses.parquet")
    assert set(responses[responses.role == "candidate"].turns.str[0]) == {HOSTILE.strip()}
    judged = frames["judgments"]
    stored = {j["id"]: j for j in map(json.loads, (run / "judgments.jsonl").read_text().splitlines())}
    for row in judged.itertuples():
        verdict = stored[row.id]["verdict"]
        assert row.verdict_kind == verdict["kind"]
        if verdict["kind"] == "preference":
            assert row.verdict_value == verdict["p_first"]
    summary = pd.read_parquet(tmp_path / "parquet" / "summary.parquet")
    for (benchmark, metric), row in figures(assay, run).items():
        value = summary[(summary.benchmark == benchmark) & (summary.metric == metric)].value.iloc[0]
        assert (math.isnan(value) and row["value"] is None) or value == row["value"]


def test_inspect_reads_its_log(assay, run, tmp_path):
    from inspect_ai.log import read_eval_log

    status, out, _ = assay("export", run, "--format", "inspect", "--out", tmp_path / "logs")
    assert status == 0
    assert len(out.split()) == 3
    log = read_eval_log(str(tmp_path / "logs" / "mt_bench.eval"))
    assert log.status == "success"
    assert log.eval.task == "mt_bench"
    asked = map(json.loads, (run / "prompts.jsonl").read_text().splitlines())
    assert {s.id for s in log.samples} == {p["key"] for p in asked if p["benchmark"] == "mt_bench"}
    sample = log.samples[0]
    assert [m.role for m in sample.messages] == ["user", "assistant", "user", "assistant"]
    assert sample.messages[1].content == HOSTILE.strip()
    judgments = map(json.loads, (run / "judgments.jsonl").read_text().splitlines())
    rated = next(j["raw"] for j in judgments if j["benchmark"] == "mt_bench" and j["turn"] == 1)
    explanations = [s.scores["rating/turn_1"].explanation for s in log.samples]
    assert any(rated in text for text in explanations)
    row = figures(assay, run)["mt_bench", "score"]
    (score,) = [s for s in log.results.scores if s.name == "score"]
    assert score.metrics["value"].value == row["value"]
    mean = sum(s.scores[f"rating/turn_{t}"].as_float() for s in log.samples for t in (1, 2)) / 8
    assert mean == pytest.approx(row["value"])


def test_lm_eval_results_come_back_through_our_own_import(assay, run, tmp_path):
    status, _, _ = assay("export", run, "--format", "lm_eval", "--out", tmp_path / "out")
    assert status == 0
    (path,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(path.read_text())["results"]
    row = figures(assay, run)["alpaca_eval", "win_rate"]
    assert results["alpaca_eval"]["win_rate,none"] == pytest.approx(row["value"] / 100)
    assert results["alpaca_eval"]["win_rate_stderr,none"] == pytest.approx(row["stderr"] / 100)
    arguments = ("lm_eval", "--results", tmp_path / "out", "--task", "alpaca_eval", "--out", tmp_path / "again")
    status, _, err = assay("import", *arguments)
    assert status == 0, err
    again = figures(assay, tmp_path / "again")
    assert again["alpaca_eval", "win_rate"]["value"] == pytest.approx(row["value"])
    assert again["alpaca_eval", "win_rate"]["ci_low"] == pytest.approx(row["ci_low"])


def test_a_model_card_is_made_and_its_section_replaced(assay, run, tmp_path):
    from huggingface_hub import ModelCard

    card = tmp_path / "README.md"
    assert assay("export", run, "--format", "model_card", "--out", card)[0] == 0
    first = ModelCard.load(str(card))
    row = figures(assay, run)["mt_bench", "score"]
    (found,) = [r for r in first.data.eval_results if (r.dataset_name, r.metric_type) == ("mt_bench", "score")]
    assert found.metric_value == row["value"]
    assert f"{row['value']:.2f}" in card.read_text()
    assert "<i>" not in card.read_text().partition("---\n")[2].partition("---\n")[2]

    text = card.read_text()
    head, _, rest = text.partition("<!-- assay: begin -->")
    own = head.replace("---\n", "---\nlicense: apache-2.0\n", 1) + "What the author says.\n\n<!-- assay: begin -->"
    card.write_text(own + "old" + rest[rest.index("<!-- assay: end -->") :] + "\nAnd after it.\n")
    assert assay("export", run, "--format", "model_card", "--out", card)[0] == 0
    again = card.read_text()
    assert "What the author says." in again
    assert again.rstrip().endswith("And after it.")
    assert again.count("## Evaluation") == 1
    loaded = ModelCard.load(str(card))
    assert loaded.data.license == "apache-2.0"
    assert len(loaded.data.eval_results) == len(first.data.eval_results)


def test_wrong_input(assay, run, tmp_path):
    status, _, err = assay("export", tmp_path / "nothing", "--format", "parquet", "--out", tmp_path / "x")
    assert (status, "holds no run" in err) == (1, True)
    status, _, err = assay("export", run, run, "--format", "parquet", "--out", tmp_path / "x")
    assert (status, "one run at a time" in err) == (2, True)
    (tmp_path / "half.md").write_text("text <!-- assay: begin --> text")
    status, _, err = assay("export", run, "--format", "model_card", "--out", tmp_path / "half.md")
    assert (status, "only one of assay's two marks" in err) == (1, True)
    (tmp_path / "file").write_text("")
    status, _, err = assay("export", run, "--format", "inspect", "--out", tmp_path / "file")
    assert (status, "cannot write" in err) == (1, True)
