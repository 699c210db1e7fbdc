"""Panel, cascade and two judges: whole runs against two served judges."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.paths import needs_data
from tests.support.judge_server import JudgeServer

pytestmark = [pytest.mark.e2e, needs_data]


@pytest.fixture
def strong():
    with JudgeServer() as server:
        yield server


def grades(offset):
    """A judge whose grade hangs on the question, shifted."""

    def reply(call):
        digits = re.sub(r"\D", "", call.hash) or "0"
        return f"Rating: [[{min(10, 1 + int(digits[:6]) % 6 + offset)}]]"

    return reply


@pytest.fixture
def run(assay, replies, judge, strong, tmp_path):
    judge.reply, strong.reply = grades(0), grades(2)

    def start(
        kind, *options, limit=20, benchmark="mt_bench", out="run", names="openai:scripted,openai:scripted", more=()
    ):
        members = [{"base_url": judge.base_url}, {"base_url": strong.base_url, "temperature": 0.5}]
        arguments = [
            *("run", "--model", replies, "--engine", "scripted", "--model-name", "scripted", "--limit", limit),
            *("--benchmark", benchmark, "--out", tmp_path / out, "--canaries", 0, "--judge", f"{kind}:{names}"),
            *("--judge-option", f"members={json.dumps(members)}", "--json", "--no-cache", *more),
        ]
        return assay(*arguments, *(x for option in options for x in ("--judge-option", option)))

    return start


def judgments(path):
    return [json.loads(line) for line in (path / "judgments.jsonl").read_text().splitlines()]


def test_a_panel_averages_its_members(run, tmp_path, judge, strong):
    status, out, err = run("panel")
    assert status == 0, err
    found = judgments(tmp_path / "run")
    assert len(judge.log) == len(strong.log) == 40  # each turn of 20 questions
    for j in found:
        first, second = (member["verdict"]["value"] for member in j["meta"]["members"])
        assert j["verdict"]["value"] == pytest.approx((first + second) / 2)
        assert j["meta"]["spread"] == pytest.approx(abs(first - second) / 9 / 2**0.5)
    (row,) = (r for r in json.loads(out)["rows"] if r["metric"] == "score")
    assert row["value"] == pytest.approx(np.mean([j["verdict"]["value"] for j in found]))
    spread = np.mean([j["meta"]["spread"] for j in found])
    assert f"mt_bench: members or samples of the judge differ by {spread:.0%} of the scale" in " ".join(
        json.loads(out)["remarks"]
    )


def test_a_member_that_fails(run, tmp_path, strong):
    strong.reply = lambda call: "I would rather not."
    status, out, _ = run("panel", "min_valid=1")
    assert (status, json.loads(out)["valid"]) == (0, True)
    assert all(j["verdict"]["kind"] == "rating" for j in judgments(tmp_path / "run"))
    status, out, _ = run("panel", out="strict")
    assert json.loads(out)["valid"] is False
    assert all(j["verdict"]["detail"].startswith("1 of 2") for j in judgments(tmp_path / "strict"))


def test_two_judges_estimate_the_strong_ones_mean(run, assay, tmp_path, judge, strong):
    status, out, err = run("two", "share=0.5", limit=80)
    assert status == 0, err
    n_strong = len(strong.log)
    assert len(judge.log) == 160
    assert 60 <= n_strong <= 100
    found = json.loads(out)
    (row,) = (r for r in found["rows"] if r["metric"] == "score")
    assert row["method"].startswith(f"two judges: the strong one on {n_strong // 2} of 80 prompts")
    # the strong judge's own mean over all prompts, from a run of its own
    status, out, _ = run("two", "share=0.999999", limit=80, out="whole")
    truth = np.mean([j["verdict"]["value"] for j in judgments(tmp_path / "whole")])
    assert row["ci_low"] < truth < row["ci_high"]
    cheap = np.mean([j["meta"]["cheap"]["value"] for j in judgments(tmp_path / "run")])
    assert not row["ci_low"] < cheap < row["ci_high"], "the cheap judge is two points too strict"
    # scores, and with them gate and comparison, are the strong judge's
    scores = [json.loads(line) for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert sum(s["metric"] == "rating" for s in scores) == n_strong
    assert found["valid"], "prompts that the strong judge was not to be asked about are not missing"
    (tmp_path / "run" / "manifest.json").unlink()
    assert assay("resume", tmp_path / "run", "--no-cache")[0] == 0
    assert (len(strong.log) - n_strong, len(judge.log)) == (160, 320), "a resumed run asks nothing again"


def test_a_pilot_says_what_share_to_buy(run, assay, replies, tmp_path):
    assert run("two", "share=0.5", limit=80)[0] == 0
    plan = ("estimate", "--model", replies, "--engine", "scripted", "--benchmark", "mt_bench", "--limit", 80)
    arguments = (*plan, "--judge", "two:openai:a,openai:b", "--judge-option", "share=0.5", "--pilot", tmp_path / "run")
    status, out, err = assay(*arguments, "--half-width", 0.3, "--json")
    assert status == 0, err
    (row,) = json.loads(out)["strong_judge"]
    assert (row["benchmark"], row["metric"]) == ("mt_bench", "score")
    assert row["with_cheap"] <= row["strong_alone"]
    # by the formula of two judges: alone / needed variances at this correlation
    assert row["share"] == pytest.approx(row["with_cheap"] / 160)
    status, out, _ = assay(*arguments, "--half-width", 0.3)
    assert "Verdicts of the strong judge" in out
    status, _, err = assay(*arguments)
    assert status == 2
    assert "belong together" in err


def test_a_cascade_asks_the_strong_judge_where_the_cheap_one_is_unsure(run, tmp_path, judge, strong):
    from tests.support.judge_server import Answer, token_logprob

    def sure(call):
        p = -0.05 if int(call.hash[:2], 16) % 2 else -0.6
        return Answer("m", logprobs=[token_logprob("m", {"m": p, "M": -1.0})])

    judge.reply = sure
    strong.reply = lambda call: Answer("M", logprobs=[token_logprob("M", {"M": -0.01, "m": -6.0})])
    status, _, err = run("cascade", "threshold=0.7", benchmark="alpaca_eval", limit=40)
    assert status == 0, err
    found = judgments(tmp_path / "run")
    escalated = [j for j in found if len(j["meta"]["members"]) == 2]
    assert 0 < len(escalated) < 40
    assert len(strong.log) == len(escalated)
    for j in found:
        assert (j["meta"]["confidence"] < 0.7) == (j in escalated)
        assert j["verdict"] == j["meta"]["members"][-1]["verdict"]


@pytest.mark.parametrize(
    ("kind", "options", "names", "message"),
    [
        ("panel", (), "openai:scripted", "at least 2 judges separated by commas"),
        ("two", ("share=0.5",), "openai:a,openai:b,openai:c", "2 judges separated by commas"),
        ("two", (), "openai:scripted,openai:scripted", "share"),
        ("two", ("share=1.5",), "openai:scripted,openai:scripted", "share"),
        ("cascade", ("threshold=0.2",), "openai:scripted,openai:scripted", "threshold"),
        ("panel", ("aggregate=mode",), "openai:scripted,openai:scripted", "aggregate"),
        ("panel", ("min_valid=3",), "openai:scripted,openai:scripted", "the panel has 2 members"),
        ("panel", ("mebers=[]",), "openai:scripted,openai:scripted", "did you mean 'members'?"),
    ],
)
def test_wrong_input(run, kind, options, names, message):
    status, _, err = run(kind, *options, names=names)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_a_panel_of_one_judge_twice_is_refused(assay, run_arguments, judge, tmp_path):
    arguments = [
        a if a != "openai:scripted" else "panel:openai:scripted,openai:scripted" for a in run_arguments(limit=2)
    ]
    status, _, err = assay(*arguments)
    assert status == 2
    assert "two members of the panel are the same judge: scripted" in err


def test_the_members_share_the_cost_limit(run, tmp_path, judge, strong):
    status, _, err = run("panel", out="priceless", more=("--max-cost", "1"))
    assert status == 2
    assert "the price of the judge is unknown" in err
    status, _, err = run("panel", more=("--max-cost", "1", "--judge-price", "100,100"))
    assert status == 1
    assert "the cost limit of 1.0000" in err
    spent = sum(j["cost"] for j in judgments(tmp_path / "run"))
    assert 0.0 < spent <= 1.0


def test_samples_of_one_judge_are_averaged(assay, run_arguments, judge, tmp_path):
    judge.reply = lambda call: f"Rating: [[{1 + call.number % 5}]]"
    arguments = run_arguments(limit=4, benchmark="mt_bench", judge_samples=3)
    status, out, err = assay(*arguments, "--json", "--no-cache")
    assert status == 0, err
    found = judgments(tmp_path / "run")
    assert len(judge.log) == 3 * len(found) == 24
    assert {call["body"]["temperature"] for call in judge.log if "body" in call} <= {1.0}
    for j in found:
        values = [verdict["value"] for verdict in j["meta"]["sampled"]]
        assert len(values) == 3
        assert j["verdict"]["value"] == pytest.approx(np.mean(values))
    assert any("the mean of 3 sampled ones" in remark for remark in json.loads(out)["remarks"])


def test_a_panel_measures_the_self_preference_of_the_model_under_test(assay, judge, tmp_path):
    """The model `self` answers and is a member of the panel: it gives itself two points more than the other judge."""
    judge.reply = lambda call: "Rating: [[9]]" if "[[rating]]" in call.text.lower() else "An answer."
    with JudgeServer(lambda call: f"Rating: [[{6 + call.number % 3}]]", models=("other",)) as other:
        members = json.dumps([{"base_url": judge.base_url}, {"base_url": other.base_url}])
        status, out, err = assay(
            *("run", "--model", "scripted", "--engine", "openai", "--engine-option", f"base_url={judge.base_url}"),
            *("--benchmark", "mt_bench", "--limit", 12, "--out", tmp_path / "run", "--canaries", 0, "--no-cache"),
            *("--judge", "panel:openai:scripted,openai:other", "--judge-option", f"members={members}", "--json"),
        )
    assert status == 0, err
    remarks = json.loads(out)["remarks"]
    assert any("is the model under test" in remark for remark in remarks)
    (measured,) = (remark for remark in remarks if "self-preference of the member" in remark)
    gaps = [
        (j["meta"]["members"][0]["verdict"]["value"] - j["meta"]["members"][1]["verdict"]["value"]) / 9
        for j in judgments(tmp_path / "run")
    ]
    assert f"{100 * np.mean(gaps):+.1f} points of 100" in measured
