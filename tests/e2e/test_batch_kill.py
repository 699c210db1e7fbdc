"""SIGKILL at twenty random moments of submitting, polling and fetching batches: every verdict once, paid for once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.paths import MIRROR, needs_data
from tests.support.vendor_server import KEY, Question, Said, VendorServer, by_hash

pytestmark = [pytest.mark.e2e, pytest.mark.slow, needs_data, pytest.mark.timeout(600)]

KILLS = 20
PROMPTS = 6
VERDICTS = 4 * PROMPTS  # two turns of MT-Bench, two games of Arena-Hard
COST = (100 * 10 + 40 * 20) / 1e6 / 2  # per request: tokens by half the price
VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "google": "GEMINI_API_KEY"}


def undecided_at_first(question: Question) -> Said:
    """Give Arena-Hard's judge no label at first for some prompts, so that a batch has a follow-up."""
    if "[[A>>B]]" in question.text and len(question.turns) == 1 and len(question.turns[0]) % 3 == 0:
        return Said("I cannot decide yet.")
    return by_hash(question)


@pytest.fixture(scope="module", params=["openai", "anthropic", "google"])
def killed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch_kill")
    replies = folder / "replies.jsonl"
    replies.write_text(json.dumps({"prompt": "*", "reply": "Scripted."}) + "\n")
    with VendorServer(request.param, undecided_at_first, batch_s=0.3) as server:
        spec = {
            "model": {"path": str(replies), "engine": "scripted", "name": "scripted", "options": {"delay_s": 0.01}},
            "benchmarks": ["mt_bench", "arena_hard"],
            "judge": {
                "model": f"{request.param}:m",
                "base_url": server.base_url,
                "price": [10, 20],
                "batch": {"linger_s": 0.2, "poll_s": 0.1, "settle_s": 0.6, "max_requests": 10},
            },
            "limit": PROMPTS,
            "canaries": 0,
        }
        job = {
            "spec": spec,
            "out": str(folder / "runs"),
            "data": str(MIRROR),
            "engine_log": str(folder / "engine.jsonl"),
            "kills": KILLS,
            "longest_s": 2.5,
            "seed": 7,
        }
        (folder / "job.json").write_text(json.dumps(job))
        command = [sys.executable, "-m", "tests.support.killed_run", str(folder / "job.json")]
        env = {**os.environ, VARIABLES[request.param]: KEY}
        done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False, env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        yield folder, [json.loads(line) for line in done.stdout.splitlines()], server


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def runs(folder: Path) -> list[Path]:
    return sorted((folder / "runs").iterdir())


def test_twenty_were_killed_and_every_run_ended(killed):
    folder, attempts, _ = killed
    assert sum(a["killed"] for a in attempts) == KILLS
    for out in runs(folder):
        assert json.loads((out / "summary.json").read_text())["valid"]
        assert not (out / "work").exists()


def test_every_verdict_is_there_once(killed):
    folder, _, _ = killed
    for out in runs(folder):
        judged = Counter((j["prompt_id"], j["turn"], j["game"]) for j in lines(out / "judgments.jsonl"))
        assert len(judged) == VERDICTS and set(judged.values()) == {1}


def test_every_request_was_paid_for_once(killed):
    """By the server's count: a request of one run is answered in one batch, however often the run was killed."""
    folder, _, server = killed
    assert set(server.paid.values()) == {len(runs(folder))}
    assert len(server.paid) > VERDICTS, "some verdicts took a follow-up"


def test_the_ledger_has_half_the_price(killed):
    folder, _, server = killed
    booked = [sum(j["cost"] for j in lines(out / "judgments.jsonl")) for out in runs(folder)]
    assert booked == pytest.approx([COST * len(server.paid)] * len(booked))
