"""Append-only JSON lines: torn tails, full disks, damaged files."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import FileFormatError, MissingDataError, StorageFullError, StoreError
from harness.store.jsonl import JsonlAppender, read_json, read_jsonl, write_atomically


def lines(path):
    return [value for _, value in read_jsonl(path)]


def test_appending_and_reading(tmp_path):
    path = tmp_path / "a.jsonl"
    with JsonlAppender(path) as appender:
        appender.append('{"a": 1}')
    with JsonlAppender(path) as appender:
        appender.append('{"a": "ü"}')
    assert lines(path) == [{"a": 1}, {"a": "ü"}]


@pytest.mark.parametrize("keep", range(1, len('{"a": 2}')))
def test_a_torn_last_line_is_cut_off_before_the_next_is_written(tmp_path, keep):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' + '{"a": 2}'[:keep])
    with JsonlAppender(path) as appender:
        appender.append('{"a": 3}')
    assert lines(path) == [{"a": 1}, {"a": 3}]


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}')
    with JsonlAppender(path) as appender:
        appender.append('{"a": 3}')
    assert lines(path) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_torn_tail_longer_than_a_block_is_found(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": "' + "x" * 200_000)
    with JsonlAppender(path) as appender:
        appender.append('{"a": 3}')
    assert lines(path) == [{"a": 1}, {"a": 3}]


def test_a_file_of_one_torn_line_becomes_empty(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a"')
    JsonlAppender(path).close()
    assert path.read_bytes() == b""


def test_readers_of_a_run_being_written_pass_over_the_torn_tail(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a"')
    assert [v for _, v in read_jsonl(path, allow_torn_tail=True)] == [{"a": 1}]
    with pytest.raises(FileFormatError, match="line 2"):
        list(read_jsonl(path))


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(FileFormatError, match=r"a\.jsonl, line 2: not valid JSON") as caught:
        list(read_jsonl(path, allow_torn_tail=True))
    assert caught.value.line == 2
    assert "repair or remove" in str(caught.value)


@pytest.mark.parametrize(("text", "found"), [("[1]\n", "a JSON list"), ("3\n", "a JSON int")])
def test_a_line_that_is_no_object_is_named(tmp_path, text, found):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=found):
        list(read_jsonl(path))


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_compressed_files_are_read_as_they_are(tmp_path, suffix, opener):
    path = tmp_path / f"a.jsonl{suffix}"
    with opener(path, "wt") as stream:
        stream.write('{"a": 1}\n')
    assert lines(path) == [{"a": 1}]


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_archive_is_named(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(b"not an archive at all")
    with pytest.raises(FileFormatError, match="cannot be decompressed"):
        list(read_jsonl(path))


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(MissingDataError, match="no such file"):
        list(read_jsonl(tmp_path / "nope.jsonl"))
    with pytest.raises(MissingDataError, match="is a directory"):
        list(read_jsonl(tmp_path))
    with pytest.raises(FileFormatError, match="line 2"):
        (tmp_path / "a.json").write_text("{\n,}")
        read_json(tmp_path / "a.json")


def test_a_full_disk_leaves_whole_lines(tmp_path):
    """A file-size limit stands in for a full disk: the write is cut in the middle of a line."""
    path = tmp_path / "a.jsonl"
    program = f"""
import resource, signal
from pathlib import Path
from harness.errors import StorageFullError
from harness.store.jsonl import JsonlAppender
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
appender = JsonlAppender(Path({str(path)!r}))
n = 0
try:
    while True:
        appender.append('{{"text": "' + "x" * 90 + '"}}')
        n += 1
except StorageFullError as error:
    print(n, "free some space" in str(error))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, advice = done.stdout.split()
    assert advice == "True"
    assert len(lines(path)) == int(count) == 1000 // 103
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_no_space_left_is_said_in_words(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    appender = JsonlAppender(path)
    appender.append('{"a": 1}')
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(os, "write", lambda _, data, write=os.write: write(full, data))
    with pytest.raises(StorageFullError, match="No space left"):
        appender.append('{"a": 2}')
    monkeypatch.undo()
    os.close(full)
    appender.close()
    assert lines(path) == [{"a": 1}]


def test_atomic_writes_replace_or_leave(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(StoreError, match="cannot write"):
        write_atomically(tmp_path / "no" / "a.json", "x")
    assert json.dumps(path.read_text()) == '"two"'
