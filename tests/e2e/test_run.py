"""`assay run` and what follows it, on the real questions with a scripted model and judge."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tests.paths import MIRROR, needs_data
from tests.support.judge_server import Fault, JudgeServer, always, sequence

pytestmark = [pytest.mark.e2e, needs_data]


def summary(out: str) -> dict:
    return json.loads(out)


def figures(found: dict) -> dict[tuple[str, str], dict]:
    return {(row["benchmark"], row["metric"]): row for row in found["rows"]}


def test_a_run_prints_its_figures_and_stores_everything(assay, run_arguments, judge, tmp_path):
    status, out, err = assay(*run_arguments(), "--json")
    assert (status, err) == (0, "")
    found = summary(out)
    rows = figures(found)
    assert found["valid"], found["problems"]
    assert rows["mt_bench", "score"]["n"] == 10
    assert rows["alpaca_eval", "win_rate"]["n"] == 5
    assert rows["arena_hard", "win_rate"]["n"] == 10
    assert len(judge.log) == 10 + 5 + 10
    run = tmp_path / "run"
    names = ["run.json", "prompts.jsonl", "responses.jsonl", "judgments.jsonl", "scores.jsonl", "summary.json"]
    assert all((run / name).exists() for name in [*names, "manifest.json"])
    header = json.loads((run / "run.json").read_text())
    assert header["judge"]["ids"].keys() == {"rating", "alpaca_eval", "five_way"}
    assert header["data"]["mt_bench/questions"]
    assert header["data"]["alpaca_eval/gamed"], "a file that only scoring reads is recorded too"
    assert header["model"]["engine"] == "scripted"
    assert json.loads((run / "summary.json").read_text())["rows"] == found["rows"]


def test_a_finished_run_is_not_done_again(assay, run_arguments, judge, tmp_path):
    assay(*run_arguments())
    before = len(judge.log), (tmp_path / "run" / "judgments.jsonl").read_bytes()
    status, out, _ = assay("resume", tmp_path / "run", "--json")
    assert status == 0
    assert summary(out)["valid"]
    assert (len(judge.log), (tmp_path / "run" / "judgments.jsonl").read_bytes()) == before


def test_scoring_needs_no_judge_and_changes_nothing(assay, run_arguments, judge, tmp_path):
    _, first, _ = assay(*run_arguments(), "--json")
    n_asked = len(judge.log)
    status, again, _ = assay("score", tmp_path / "run", "--json")
    assert status == 0
    assert summary(again)["rows"] == summary(first)["rows"]
    assert len(judge.log) == n_asked
    _, only, _ = assay("score", tmp_path / "run", "--benchmark", "mt_bench", "--json")
    assert {row["benchmark"] for row in summary(only)["rows"]} == {"mt_bench"}


def test_another_run_in_the_same_directory_is_refused_by_field(assay, run_arguments, tmp_path):
    assay(*run_arguments())
    status, out, err = assay(*run_arguments(seed=3))
    assert (status, out) == (1, "")
    assert "seed: was 0, now 3" in err
    status, _, err = assay(*run_arguments(benchmark="mt_bench"))
    assert status == 1
    assert "benchmarks.alpaca_eval" in err


def test_a_second_model_takes_its_verdicts_on_equal_answers_from_the_cache(assay, run_arguments, judge):
    assay(*run_arguments(out="first"))
    n_asked = len(judge.log)
    status, _, _ = assay(*run_arguments(out="second"))
    assert status == 0
    assert len(judge.log) == n_asked
    assay(*run_arguments(out="third"), "--no-cache")
    assert len(judge.log) == 2 * n_asked


def test_verdicts_that_cannot_be_read_are_counted_and_asked_for_again(assay, run_arguments, judge, tmp_path):
    verdict = judge.reply
    judge.reply = lambda call: "I would rather not say."
    status, out, err = assay(*run_arguments(benchmark="mt_bench"), "--json")
    found = summary(out)
    assert status == 1
    assert "nothing was scored" in err
    assert not found["valid"]
    (failure,) = found["failures"]
    assert (failure["reason"], failure["n"]) == ("unparsed", 10)
    assert failure["error"] == "no verdict in the judge's text"
    assert "assay resume" in failure["remedy"]
    assert found["problems"] == ["mt_bench: 10 of 10 not scored (100.0%, limit 1.0%): unparsed 10"]
    row = figures(found)["mt_bench", "score"]
    assert (row["value"], row["n_unscored"], row["unscored"]) == (None, 10, {"unparsed": 10})
    assert row["reason"] == "nothing was scored (unparsed 10)"
    judge.reply = verdict
    status, out, _ = assay("resume", tmp_path / "run", "--json")
    assert summary(out)["valid"]
    assert figures(summary(out))["mt_bench", "score"]["n"] == 10
    status, out, _ = assay("run", *run_arguments(out="lenient", benchmark="mt_bench")[1:], "--max-unscored", 1)
    assert status == 0


def test_what_failed_stands_under_the_table_and_strict_exits_5(assay, run_arguments, judge, tmp_path):
    verdict = judge.reply
    judge.reply = lambda call: "I would rather not say." if call.number % 3 == 0 else verdict(call)
    status, out, _ = assay(*run_arguments(benchmark="mt_bench", judge_concurrency=1))
    assert status == 0
    assert "10 items not scored" not in out
    assert "3 unparsed, the first: no verdict in the judge's text. To do: read what the judge said" in out
    for command in ("score", "report"):
        more = ("--strict",) if command == "score" else ("--out", tmp_path / "page.html")
        status, out, _ = assay(command, tmp_path / "run", *more)
        assert status == (5 if command == "score" else 0)
    assert "3 unparsed, the first:" in (tmp_path / "page.html").read_text()
    judge.reply = verdict
    assert assay("resume", tmp_path / "run", "--strict")[0] == 0
    status, out, _ = assay("score", tmp_path / "run", "--strict")
    assert status == 0
    assert "not scored\n" not in out


def test_the_servers_words_about_a_model_that_answers_nothing(assay, judge, tmp_path):
    judge.faults = lambda call: (
        Fault(status=400, message="unknown parameter 'frob'") if "Question" in call.text else None
    )
    rows = "".join(json.dumps({"prompt": f"Question {i}?", "reference": "x"}) + "\n" for i in range(6))
    (tmp_path / "p.jsonl").write_text(rows)
    engine = ("--engine", "openai", "--engine-option", f"base_url={judge.base_url}")
    arguments = ("--model", "scripted", *engine, "--prompts", tmp_path / "p.jsonl", "--metric", "f1")
    status, out, err = assay("run", *arguments, "--out", tmp_path / "run")
    assert status == 1, err
    assert "6 no_response, the first: bad_request: HTTP 400: unknown parameter 'frob'" in out
    assert "nothing was scored" in err
    judge.faults = None
    status, out, err = assay("run", *arguments, "--out", tmp_path / "run")
    assert status in (0, 1), err


def test_a_constant_judge_and_one_that_judges_itself(assay, judge, tmp_path):
    judge.reply = lambda call: "Rating: 5" if "The reply to grade:" in call.text else "An answer."
    rows = "".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(12))
    (tmp_path / "p.jsonl").write_text(rows)
    engine = ("--engine", "openai", "--engine-option", f"base_url={judge.base_url}")
    arguments = ("--model", "scripted", *engine, "--prompts", tmp_path / "p.jsonl")
    judging = ("--judge", "openai:scripted", "--judge-base-url", judge.base_url)
    status, out, _ = assay("run", *arguments, *judging, "--out", tmp_path / "run", "--json", "--strict")
    found = summary(out)
    assert status == 5
    said = "all 12 answers got the same rating, 5, and null responses got it too: it does not tell them apart"
    assert f"judge of prompts:p: {said}" in found["problems"]
    assert any("is the model under test" in remark for remark in found["remarks"])


def test_the_cost_limit_stops_cleanly_and_resume_goes_on(assay, run_arguments, judge, tmp_path):
    arguments = run_arguments(limit=20, benchmark="mt_bench", judge_price="10,30", judge_concurrency=4)
    status, out, err = assay(*arguments, "--max-cost", "0.11", "--no-cache")
    assert (status, out) == (1, "")
    assert "cost limit of 0.1100 USD is reached" in err
    assert "assay resume" in err
    stored = (tmp_path / "run" / "judgments.jsonl").read_text().splitlines()
    assert len(stored) == len(judge.log) > 0, "whatever was paid for is on disk"
    spent = sum(json.loads(line)["cost"] for line in stored)
    assert 0 < spent <= 0.11
    status, out, _ = assay("resume", tmp_path / "run", "--no-cache", "--json")
    assert status == 0
    assert summary(out)["valid"]
    assert len(judge.log) == 40


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=401, message="no such key"), "key"),
        (Fault(status=429, retry_after=0.2), "429"),
        (Fault(status=500), "500"),
        (Fault(kind="cut"), "connection"),
    ],
)
def test_an_endpoint_that_stops_answering_stops_the_run_and_loses_nothing(
    assay, run_arguments, judge, tmp_path, fault, words
):
    verdict = judge.reply
    judge.reply = lambda call: verdict(call) if call.number <= 12 else fault
    status, out, err = assay(*run_arguments(judge_give_up_after=1, judge_concurrency=2), "--no-cache")
    assert (status, out) == (1, "")
    assert words in err
    assert "to do:" in err
    assert len((tmp_path / "run" / "judgments.jsonl").read_text().splitlines()) == 12
    judge.reply = verdict
    status, out, _ = assay("resume", tmp_path / "run", "--no-cache", "--json")
    assert status == 0
    assert summary(out)["valid"]
    assert max(judge.answered().values()) == 1, "nothing was paid for twice"


def test_a_request_that_fails_alone_is_one_item_not_measured(assay, run_arguments, judge, tmp_path):
    judge.faults = lambda call: Fault(status=400, message="too odd") if call.number == 7 else None
    _, out, _ = assay(*run_arguments(), "--no-cache", "--json")
    found = summary(out)
    assert not found["valid"]
    assert sum(row["n_unscored"] for row in found["rows"] if row["metric"] in ("score", "win_rate")) == 1
    judge.faults = None
    _, out, _ = assay("resume", tmp_path / "run", "--json")
    assert summary(out)["valid"]


def test_a_429_that_passes_is_waited_out(assay, run_arguments, judge):
    judge.faults = sequence(*[Fault(status=429, retry_after=0.1)] * 5)
    status, out, _ = assay(*run_arguments(), "--json")
    assert status == 0
    assert summary(out)["valid"]


def test_an_engine_that_breaks_leaves_its_answers(assay, run_arguments, tmp_path):
    arguments = run_arguments(benchmark="alpaca_eval")
    status, _, err = assay(*arguments, "--engine-option", "fail_after=3")
    assert status == 1
    assert err
    answers = [json.loads(x) for x in (tmp_path / "run" / "responses.jsonl").read_text().splitlines()]
    assert sum(a["role"] == "candidate" for a in answers) == 3


def test_an_answer_that_failed_is_not_judged_and_tried_again(assay, run_arguments, judge, tmp_path):
    replies = tmp_path / "replies.jsonl"
    lines = replies.read_text()
    replies.write_text(
        json.dumps(
            {
                "prompt": "What are the names of some famous actors that started their careers on Broadway?",
                "error": "out of memory",
            }
        )
        + "\n"
        + lines
    )
    arguments = ["--first" if a == "--limit" else a for a in run_arguments(benchmark="alpaca_eval")]
    _, out, _ = assay(*arguments, "--json")
    row = figures(summary(out))["alpaca_eval", "win_rate"]
    assert (row["n"], row["unscored"]) == (4, {"no_response": 1})
    assert len(judge.log) == 4


def test_interrupting_stops_in_order_and_keeps_everything(tmp_path, replies):
    import os
    import signal
    import time

    with JudgeServer(latency_s=0.05) as judge:
        command = [sys.executable, "-m", "harness.cli", "run", "--model", str(replies), "--engine", "scripted"]
        command += ["--engine-option", "delay_s=0.01", "--benchmark", "alpaca_eval", "--out", str(tmp_path / "run")]
        command += ["--judge", "openai:scripted", "--judge-base-url", judge.base_url, "--no-cache"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}, text=True)
        while len(judge.log) < 20 and child.poll() is None:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert child.returncode == 130, err
        assert "stopped by SIGINT" in err
        assert "Traceback" not in err
        stored = (tmp_path / "run" / "judgments.jsonl").read_text().splitlines()
        assert len(stored) == len([e for e in judge.log if e["outcome"] == "ok"])


def test_a_full_disk_is_said_in_words_and_loses_nothing(tmp_path, replies):
    """A limit on file size stands in for a full disk."""
    with JudgeServer() as judge:
        program = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
from harness.cli import main
sys.exit(main(["run", "--model", {str(replies)!r}, "--engine", "scripted", "--benchmark", "alpaca_eval",
    "--judge", "openai:scripted", "--judge-base-url", {judge.base_url!r}, "--out", {str(tmp_path / "run")!r}]))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "no room to write" in done.stderr
    assert "free some space" in done.stderr
    assert "Traceback" not in done.stderr
    for line in (tmp_path / "run" / "prompts.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        (["--benchmark", "mt_bnch"], 2, "did you mean mt_bench?"),
        (["--benchmark", "arena_hard@v9"], 2, "version of arena_hard"),
        (["--engine", "scriptd"], 2, "did you mean scripted?"),
        (["--engine-option", "dely_s=1"], 2, "did you mean 'delay_s'?"),
        (["--engine-option", "delay_s"], 2, "KEY=VALUE"),
        (["--judge", "gpt-4"], 2, "KIND:MODEL"),
        (["--judge", "opnai:x"], 2, "did you mean openai?"),
        (["--judge-price", "ten"], 2, "two numbers"),
        (["--max-cost", "1"], 2, "price of the judge is unknown"),
        (["--judge-base-url", "http://127.0.0.1:9/v1"], 1, "does not answer"),
        (["--limit", "0"], 2, "limit"),
        (["--first", "3"], 2, "both limit and first are set; leave one out"),
        (["--data-dir", "/no/such/directory"], 1, "/no/such/directory"),
    ],
)
def test_wrong_usage_is_explained_before_anything_is_asked(
    assay, run_arguments, judge, tmp_path, changes, status, words
):
    found, out, err = assay(*run_arguments(), *changes)
    assert (found, out) == (status, "")
    assert words in err
    assert "Traceback" not in err
    assert judge.log == []
    assert not (tmp_path / "run" / "run.json").exists()


def test_arena_hard_v2_leaves_out_what_cannot_be_had_and_says_so(assay, run_arguments):
    status, out, _ = assay(*run_arguments(benchmark="arena_hard@v2.0"), "--json")
    assert status == 0
    found = summary(out)
    row = figures(found)["arena_hard@v2.0", "win_rate_creative_writing"]
    assert row["value"] is None
    assert "250 prompts not run" in row["reason"]
    assert figures(found)["arena_hard@v2.0", "win_rate"]["n"] == 10


def test_a_judge_that_lists_other_models_is_named(assay, run_arguments, judge):
    judge.models = ("gpt-4.1", "other")
    status, _, err = assay(*run_arguments())
    assert status == 1
    assert "gpt-4.1, other" in err


def test_estimate_asks_nothing(assay, run_arguments, judge):
    arguments = [a for a in run_arguments(judge_price="10,30") if a != "run"]
    place = arguments.index("--out")
    status, out, _ = assay("estimate", *arguments[:place], *arguments[place + 2 :], "--json")
    found = json.loads(out)
    assert status == 0
    assert judge.log == []
    assert [b["n_calls"] for b in found["benchmarks"]] == [10, 5, 10]
    assert 0 < found["cost"] < found["most_cost"]


def test_the_readmes_python(tmp_path, replies, judge):
    import assay

    spec = assay.RunSpec(
        model={"path": str(replies), "engine": "scripted"},
        benchmarks=["mt_bench"],
        judge={"model": "openai:scripted", "base_url": judge.base_url},
        limit=3,
        canaries=0,  # the scripted judge would trip them
    )
    scores = assay.run(spec, out=tmp_path / "run")
    assert scores.valid
    assert 1 <= scores.row("mt_bench", "score").value <= 10


def test_a_hundred_percent_dead_judge_is_found_before_generation(assay, run_arguments, tmp_path):
    with JudgeServer(faults=always(Fault(status=401)), key="secret") as server:
        status, _, err = assay(*run_arguments(), "--judge-base-url", server.base_url)
    assert status == 1
    assert "key" in err
    assert "secret" not in err
    assert not (tmp_path / "run" / "responses.jsonl").exists()
    assert MIRROR.is_dir()


class TestRetiringJudge:
    """A judge whose endpoint announces its end: said at the start, stored, and a remark of every summary."""

    @pytest.fixture
    def announced(self):
        day = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
        with JudgeServer(models=("scripted",), model_fields={"shutdown_date": day}) as server:
            yield server, day

    def test_it_is_said(self, assay, replies, tmp_path, announced):
        server, day = announced
        out = tmp_path / "run"
        status, _, err = assay(
            "run",
            *("--model", replies, "--engine", "scripted", "--benchmark", "mt_bench", "--limit", 2, "--canaries", 0),
            *("--judge", "openai:scripted", "--judge-base-url", server.base_url, "--out", out),
        )
        assert status in (0, 1), err
        words = f"the judge scripted will be retired on {day}, in 30 days"
        assert err.count(words) == 1
        assert json.loads((out / "run.json").read_text())["judge"]["retirement"]["day"] == day
        assert any(words in remark for remark in json.loads((out / "summary.json").read_text())["remarks"])
        assert words in assay("resume", out)[2]
        page = tmp_path / "report.html"
        assert assay("report", out, "--out", page)[0] == 0
        assert words in page.read_text()

    def test_an_estimate_says_it(self, assay, replies):
        given = ["--model", replies, "--engine", "scripted", "--benchmark", "mt_bench", "--limit", 2]
        _, out, _ = assay("estimate", *given, "--judge", "openai:gpt-4-1106-preview", "--json")
        assert "was retired on 2026-10-23" in json.loads(out)["judge_retirement"]
        _, out, _ = assay("estimate", *given, "--judge", "openai:gpt-4-1106-preview")
        assert "was retired on 2026-10-23" in " ".join(out.split())
        _, out, _ = assay("estimate", *given, "--judge", "openai:mine", "--judge-base-url", "http://h/v1", "--json")
        assert json.loads(out)["judge_retirement"] is None


class TestSomePrompts:
    """``--limit`` draws prompts of every category, ``--first`` takes the first, and old runs keep what they hold."""

    @pytest.fixture
    def run(self, assay, run_arguments, tmp_path):
        def run(flag: str, n: int, *more: object, out: str = "run") -> tuple[int, str, dict[str, str | None]]:
            arguments = [flag if a == "--limit" else a for a in run_arguments(n, out, "alpaca_eval")]
            status, _, err = assay(*arguments, *more)
            stored = (tmp_path / out / "prompts.jsonl").read_text().splitlines()
            return status, err, {p["key"]: p["category"] for p in map(json.loads, stored)}

        return run

    def test_which(self, run, tmp_path):
        _, _, drawn = run("--limit", 20)
        sizes = {"selfinstruct": 252, "oasst": 188, "koala": 156, "helpful_base": 129, "vicuna": 80}
        counts = Counter(drawn.values())
        assert sum(counts.values()) == 20
        assert all(abs(counts[category] - 20 * size / 805) < 1 for category, size in sizes.items())
        _, _, first = run("--first", 20, out="first")
        assert set(first.values()) == {"helpful_base"}
        _, _, again = run("--limit", 20, "--seed", 0, out="again")
        _, _, other = run("--limit", 20, "--seed", 1, out="other")
        assert (again == drawn, other == drawn) == (True, False)
        for out, chosen, words in (("run", "random", "drawn at random by category"), ("first", "first", "the first")):
            found = json.loads((tmp_path / out / "summary.json").read_text())
            assert any(f"only 20 of 805 prompts ({words}" in remark for remark in found["remarks"])
            assert (found["prompts"]["alpaca_eval"]["n"], found["prompts"]["alpaca_eval"]["n_all"]) == (20, 805)
            (entry,) = json.loads((tmp_path / out / "run.json").read_text())["benchmarks"]
            assert entry["chosen"] == chosen

    def test_either_option_replaces_the_files(self, run, tmp_path):
        spec = tmp_path / "spec.yaml"
        spec.write_text("{limit: 3}")
        _, _, first = run("--first", 4, spec)
        assert (len(first), set(first.values())) == (4, {"helpful_base"})

    @pytest.mark.parametrize("command", ["resume", "run"])
    def test_a_run_that_0_1_0_began_keeps_its_prompts(self, assay, run, tmp_path, command):
        _, _, before = run("--first", 6)
        path = tmp_path / "run" / "run.json"
        header = json.loads(path.read_text())
        header["spec"]["limit"] = header["spec"].pop("first")
        del header["benchmarks"][0]["chosen"]
        path.write_text(json.dumps(header))
        for name in ("manifest.json", "summary.json", "responses.jsonl"):
            (tmp_path / "run" / name).unlink()
        status, err, _ = run("--limit", 7)
        assert (status, "limit: was 6, now 7" in err) == (1, True)
        if command == "resume":
            assert assay("resume", tmp_path / "run")[0] == 0
        else:
            assert run("--limit", 6)[0] == 0
        _, _, after = run("--limit", 6)
        assert after == before
        found = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert "alpaca_eval: only 6 of 805 prompts (--limit)" in found["remarks"]
