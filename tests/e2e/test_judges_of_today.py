"""A run with a candidate that reasons and a judge of today: what is judged, stored, said and paid."""

from __future__ import annotations

import json

import pytest

from tests.paths import needs_data
from tests.support.judge_server import Answer, Call, JudgeServer, refuse
from tests.support.vendor_server import KEY, VendorServer

pytestmark = [pytest.mark.e2e, needs_data]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def reasoning_replies(tmp_path):
    path = tmp_path / "reasoning.jsonl"
    path.write_text(json.dumps({"prompt": "*", "reply": "<think>SECRET PLAN</think> A scripted answer."}) + "\n")
    return path


def command(replies, out, server, *more, benchmark="mt_bench", judge="openai:scripted", limit=2):
    return (
        *("run", "--model", replies, "--engine", "scripted", "--benchmark", benchmark, "--limit", limit),
        *("--judge", judge, "--judge-base-url", server.base_url, "--canaries", 0, "--out", out, *more),
    )


def test_a_candidates_reasoning_is_stored_and_never_judged(assay, reasoning_replies, tmp_path):
    out = tmp_path / "run"
    with JudgeServer() as server:
        status, _, err = assay(*command(reasoning_replies, out, server, benchmark="mt_bench,arena_hard,alpaca_eval"))
        assert status == 0, err
        assert all("SECRET PLAN" not in call.text for call in server.calls)
        follow_ups = [call for call in server.calls if "A scripted answer." not in call.text]
        assert not follow_ups
    for response in lines(out / "responses.jsonl"):
        if response["role"] == "candidate":
            assert set(response["turns"]) == {"A scripted answer."}
            assert set(response["reasoning"]) == {"SECRET PLAN"}
            assert set(response["n_reasoning_tokens"]) == {2} and set(response["n_tokens"]) == {5}
    lengths = [s for s in lines(out / "scores.jsonl") if s["metric"] == "length" and s["part"] in ("", "candidate")]
    assert lengths and {s["value"] for s in lengths} == {float(len("A scripted answer."))}


def test_answers_that_are_only_reasoning_are_said(assay, tmp_path):
    path = tmp_path / "cut.jsonl"
    path.write_text(json.dumps({"prompt": "*", "reply": "<think>Still thinking"}) + "\n")
    with JudgeServer() as server:
        status, out, err = assay(*command(path, tmp_path / "run", server))
    assert status == 0, err
    assert "mt_bench: 2 answers are empty" in out
    assert {r["finish"] for r in lines(tmp_path / "run" / "responses.jsonl")} == {"length"}


def test_a_judge_without_logprobs_stops_before_anything_is_generated(assay, replies, tmp_path):
    out = tmp_path / "run"
    with JudgeServer(probe=lambda call: "OK") as server:
        status, _, err = assay(*command(replies, out, server, benchmark="alpaca_eval"))
        assert status == 1 and "--judge-samples" in err and not server.calls
        assert not (out / "responses.jsonl").exists()

        def choose(call: Call) -> str | Answer:
            return "m" if call.attempt % 2 else "M"

        server.reply = choose
        status, table, err = assay(
            *command(replies, out, server, "--judge-samples", 4, "--no-cache", benchmark="alpaca_eval")
        )
        assert status == 0, err
    assert "share of 4 sampled verdicts" in table
    judgments = lines(out / "judgments.jsonl")
    assert [j["verdict"]["p_first"] for j in judgments] == [0.5, 0.5]
    assert [j["meta"]["share_variance"] for j in judgments] == pytest.approx([0.5 * 0.5 / 3] * 2)
    assert json.loads((out / "run.json").read_text())["judge"]["deviations"]


def test_what_is_left_out_is_said_and_resumed_as_such(assay, replies, tmp_path):
    out = tmp_path / "run"
    with JudgeServer(probe=refuse("temperature")) as server:
        status, _, err = assay(*command(replies, out, server))
        assert status == 1 and "refuses parameters" in err and "Unsupported value" in err
        status, table, err = assay(*command(replies, out, server, "--judge-drop-unsupported"))
        assert status == 0, err
        assert "temperature is not sent" in table
        before = len(server.calls)
        status, _, err = assay("resume", out)
        assert status == 0, err
        assert len(server.calls) == before
    assert "temperature" in json.loads((out / "run.json").read_text())["judge"]["left_out"]


def test_a_schema_that_the_server_refuses_is_found_out_before_anything_is_generated(assay, replies, tmp_path):
    form, prompts, out = tmp_path / "form.txt", tmp_path / "mine.jsonl", tmp_path / "run"
    schema = "{type: object, properties: {verdict: {type: number}}, required: [verdict]}"
    form.write_text(f"---\nverdict: rating\nschema: {schema}\n---\nGrade {{{{ answer }}}}")
    prompts.write_text('{"prompt": "What is 1 + 1?"}\n')
    arguments = (
        *("run", "--model", replies, "--engine", "scripted", "--prompts", prompts, "--judge-prompt", form),
        *("--out", out, "--canaries", 0, "--judge", "openai:scripted"),
    )
    with JudgeServer(probe=refuse("response_format")) as server:
        status, _, err = assay(*arguments, "--judge-base-url", server.base_url)
        assert status == 1 and "takes no JSON schema" in err and "a judge form with a `pattern`" in err
        assert not server.calls and not (out / "responses.jsonl").exists()
        server.probe = lambda call: "OK"
        server.reply = lambda call: '{"verdict": 7}'
        status, table, err = assay(*arguments, "--judge-base-url", server.base_url)
        assert status == 0, err
        assert "7.00" in table
        assert {call.body["response_format"]["type"] for call in server.calls} == {"json_schema"}


def test_a_misspelt_option_is_no_field_of_the_request(assay, replies, tmp_path):
    with JudgeServer() as server:
        status, _, err = assay(*command(replies, tmp_path / "run", server, "--judge-option", "temprature=1"))
        assert status == 2 and "did you mean temperature" in err
        status, _, err = assay(*command(replies, tmp_path / "run", server, "--judge-extra-body", "top_k=5"))
        assert status == 0, err
        assert {call.body["top_k"] for call in server.calls} == {5}


def test_a_run_of_0_1_0_with_options_for_the_server_is_resumed(assay, replies, tmp_path):
    out = tmp_path / "run"
    with JudgeServer() as server:
        assert assay(*command(replies, out, server, "--judge-extra-body", "top_k=5", limit=1))[0] == 0
        header = json.loads((out / "run.json").read_text())
        header["spec"]["judge"] |= {"options": header["spec"]["judge"].pop("extra_body")}
        (out / "run.json").write_text(json.dumps(header))
        status, _, err = assay("resume", out)
    assert status == 0, err


def test_a_batch_costs_half_in_the_ledger_and_in_the_estimate(assay, replies, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    out = tmp_path / "run"
    spec = tmp_path / "spec.yaml"
    with VendorServer("anthropic", batch_s=0.1) as server:
        judge = {"model": "anthropic:m", "base_url": server.base_url, "price": [10, 20]}
        quick = {"linger_s": 0.1, "poll_s": 0.1}
        fields = {"model": {"path": str(replies), "engine": "scripted"}, "benchmarks": ["mt_bench"], "limit": 2}
        costs = []
        for batch in ({}, {"batch": quick}):
            spec.write_text(json.dumps({**fields, "canaries": 0, "judge": {**judge, **batch}}))
            status, printed, err = assay("estimate", spec, "--json")
            assert status == 0, err
            costs.append(json.loads(printed)["cost"])
        assert costs[1] == pytest.approx(costs[0] / 2)
        status, _, err = assay("run", spec, "--out", out, "--max-cost", 1)
        assert status == 0, err
        assert set(server.paid.values()) == {1} and len(server.paid) == 4
        assert len(server.single) == 1, "the probe"
        assert sum(j["cost"] for j in lines(out / "judgments.jsonl")) == pytest.approx(4 * (1000 + 800) / 1e6 / 2)
        status, _, err = assay("run", spec, "--out", tmp_path / "limited", "--max-cost", 0.0001, "--no-cache")
        assert status == 1 and "cost limit" in err
