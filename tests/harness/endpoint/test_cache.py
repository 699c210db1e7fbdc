"""The judgment cache: shared, durable, and never in the way."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.endpoint.exchange import ChatReply, ChatRequest, TokenLogprob
from harness.endpoint.judgment_cache import JudgmentCache, cache_key
from harness.messages import Message

REQUEST = ChatRequest((Message("system", "Judge."), Message("user", "Which?")), max_tokens=10)
REPLY = ChatReply("[[A]] é\ud800", "stop", "", (TokenLogprob("m", -0.5, (("m", -0.5),)),), 12, 3, "judge-0613")


def test_what_was_put_is_there_at_once_and_for_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "judgments.sqlite"
    with JudgmentCache(path) as cache:
        assert cache.get("a") is None
        cache.put("a", REPLY)
        cache.put("b", replace(REPLY, text="b"))
        assert cache.get("a") == REPLY
        cache.put("a", replace(REPLY, text="newer"))
    cache.close()
    with JudgmentCache(path) as again:
        kept = again.get("a"), again.get("b"), again.get("c")
        assert again.fault == ""
    assert kept == (replace(REPLY, text="newer"), replace(REPLY, text="b"), None)


CHANGES: list[dict[str, Any]] = [
    {"messages": (Message("user", "Judge."), Message("user", "Which?"))},
    {"messages": (Message("system", "Judge.Which?"),)},
    {"max_tokens": 11},
    {"temperature": 0.7},
    {"temperature": None},
    {"top_p": 0.5},
    {"seed": 1},
    {"stop": ("x",)},
    {"top_logprobs": 5},
]


def test_the_key_hangs_on_everything_that_decides_the_reply() -> None:
    keys = [cache_key("m", None, REQUEST)]
    keys += [cache_key("m", None, replace(REQUEST, **change)) for change in CHANGES]
    keys += [cache_key("n", None, REQUEST), cache_key("m", "http://localhost:1/v1", REQUEST)]
    keys += [cache_key("m", None, REQUEST, {"guided_choice": ["A"]})]
    assert len(set(keys)) == len(keys)
    assert cache_key("m", "https://api.openai.com/v1/", replace(REQUEST, temperature=0)) == keys[0]


WRITER = """
import sys
from pathlib import Path
from harness.endpoint.judgment_cache import JudgmentCache
from harness.endpoint.exchange import ChatReply
name, n = sys.argv[2], int(sys.argv[3])
with JudgmentCache(Path(sys.argv[1])) as cache:
    for i in range(n):
        cache.put(f"{name}-{i}", ChatReply(f"{name} {i}"))
        cache.put(f"shared-{i}", ChatReply("the same"))
sys.exit(cache.fault or 0)
"""


def test_several_processes_share_it(tmp_path: Path) -> None:
    path = tmp_path / "judgments.sqlite"
    arguments = [[sys.executable, "-c", WRITER, str(path), name, "200"] for name in ("p", "q", "r")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in arguments]
    for process in processes:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
    with JudgmentCache(path) as cache:
        for name in ("p", "q", "r"):
            assert all(cache.get(f"{name}-{i}") == ChatReply(f"{name} {i}") for i in range(200))
        assert all(cache.get(f"shared-{i}") == ChatReply("the same") for i in range(200))


KILLED = """
import os, sys, time
from pathlib import Path
from harness.endpoint.judgment_cache import JudgmentCache
from harness.endpoint.exchange import ChatReply
cache = JudgmentCache(Path(sys.argv[1]))
cache.put("a", ChatReply("kept"))
while cache._pending:
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


def test_a_kill_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "judgments.sqlite"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=120).returncode == -9
    with JudgmentCache(path) as cache:
        assert cache.get("a") == ChatReply("kept")


def assert_useless_but_harmless(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), JudgmentCache(path) as cache:
        cache.put("a", REPLY)
        assert cache.get("a") is None
        assert cache.fault
    assert len(caplog.records) == 1
    assert str(path) in caplog.text and "continues without it" in caplog.text


def test_a_damaged_file_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "judgments.sqlite"
    path.write_bytes(b"this is no database, and long enough to be read as one" * 100)
    assert_useless_but_harmless(path, caplog)
    assert path.read_bytes().startswith(b"this is no database")


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert_useless_but_harmless(tmp_path / "file" / "judgments.sqlite", caplog)


def test_a_file_of_another_version_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "judgments.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=9")
    connection.close()
    assert_useless_but_harmless(path, caplog)
    assert "format 9" in caplog.text


def test_damage_during_the_run_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "judgments.sqlite"
    with JudgmentCache(path) as cache:
        for i in range(2000):
            cache.put(f"{i:08}", replace(REPLY, text="x" * 200))
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)  # all but the header page
    path.write_bytes(raw)
    with caplog.at_level(logging.WARNING), JudgmentCache(path) as cache:
        assert cache.get("00000001") is None
        cache.put("new", REPLY)
        assert cache.get("new") is None
    assert "continues without it" in caplog.text


def test_an_entry_that_cannot_be_read_is_asked_for_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "judgments.sqlite"
    with JudgmentCache(path) as cache:
        cache.put("a", REPLY)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE replies SET reply = '{\"text\": 1}'")
    connection.commit()
    connection.close()
    with caplog.at_level(logging.WARNING), JudgmentCache(path) as cache:
        assert cache.get("a") is None
        cache.put("a", REPLY)
        assert cache.get("a") == REPLY
    assert "asked for again" in caplog.text


def test_the_writer_failing_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "judgments.sqlite"
    with caplog.at_level(logging.WARNING):
        cache = JudgmentCache(path)
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE replies")
        connection.commit()
        connection.close()
        cache.put("a", REPLY)
        cache.close()
    assert "no such table" in cache.fault and "continues without it" in caplog.text
