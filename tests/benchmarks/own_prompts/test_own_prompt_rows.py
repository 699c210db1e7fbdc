"""Rows as prompts: what is read, and what is refused with which words."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks.own_prompts.prompt_rows import read_prompts
from harness.data.file_rows import Row, each_row
from harness.data.row_sources import source_rows
from harness.errors import AssayError, FileFormatError, MissingDataError

USER = {"role": "user", "content": "Hello"}


def read(*rows, columns=()):
    return list(
        read_prompts([Row(Path("f.jsonl"), i, row) for i, row in enumerate(rows, 1)], "prompts:x", dict(columns))
    )


def refused(*rows, columns=()):
    with pytest.raises(AssayError) as caught:
        read(*rows, columns=columns)
    return str(caught.value)


def test_a_row_becomes_a_prompt():
    (found,) = read(
        {
            "prompt": "Why?",
            "id": 7,
            "reference": "Because.",
            "category": "c",
            "system": "Be brief.",
            "cluster": "k",
            "weight": 2,
        }
    )
    assert (found.key, found.turns, found.reference) == ("7", ("Why?",), ("Because.",))
    assert (found.category, found.system, found.cluster, found.meta) == ("c", "Be brief.", "k", {"weight": 2.0})


def test_messages_become_turns_and_the_last_answer_the_reference():
    system, second = {"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "More"}]}
    answer = {"role": "assistant", "content": "Hi"}
    (found,) = read({"messages": [system, USER, second]})
    assert (found.system, found.turns, found.reference) == ("S", ("Hello", "More"), None)
    (found,) = read({"messages": [USER, answer]})
    assert found.reference == ("Hi",)
    (found,) = read({"messages": [USER, answer], "reference": ["a", "b"]})
    assert found.reference == ("a", "b")
    (found,) = read({"messages": json.dumps([USER])})  # as in CSV
    assert found.turns == ("Hello",)


def test_the_key_is_the_content():
    first, second = read({"prompt": "a"}, {"prompt": "b"})
    assert [p.id for p in read({"prompt": "b"}, {"prompt": "new"}, {"prompt": "a"})][::2] == [second.id, first.id]
    assert read({"prompt": "a", "system": "s"})[0].id != first.id
    assert read({"prompt": "a", "category": "c", "weight": 2})[0].id == first.id


def test_columns():
    (found,) = read({"question": "q", "nr": "1"}, columns={"prompt": "question", "id": "nr"})
    assert (found.key, found.turns) == ("1", ("q",))


ASSISTANT = {"role": "assistant", "content": "Hi"}
TOOL = {"role": "tool", "content": "x"}
IMAGE = {"role": "user", "content": [{"type": "image"}]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a", "n": 1}, ["line 1", "no column prompt or messages (columns: text, n)", "--columns prompt="]),
        ({}, ["(columns: none)"]),
        ({"prompt": ""}, ["line 1: the prompt is empty"]),
        ({"prompt": 3}, ["prompt is 3", "text"]),
        ({"prompt": "a", "messages": [USER]}, ["both prompt and messages"]),
        ({"messages": []}, ["messages is []"]),
        ({"messages": "hello"}, ["messages is 'hello'"]),
        ({"messages": "[1,"}, ["not valid JSON"]),
        ({"messages": [{"role": "system", "content": "s"}]}, ["no user turn"]),
        ({"messages": [USER, ASSISTANT, USER]}, ["message 2 is an assistant turn before the end"]),
        ({"messages": [ASSISTANT, USER]}, ["message 1 has the role 'assistant' there"]),
        ({"messages": [USER, {"role": "system", "content": "s"}]}, ["message 2 has the role 'system' there"]),
        ({"messages": [TOOL]}, ["message 1 has the role 'tool'", "system, user or assistant"]),
        ({"messages": ["hi"]}, ["message 1 has the role 'hi'"]),
        ({"messages": [IMAGE]}, ["parts that are not text"]),
        ({"messages": [{"role": "user", "content": None}]}, ["message 1 has the content None"]),
        ({"messages": [{"role": "system", "content": "s"}, USER], "system": "t"}, ["both in `system` and"]),
        ({"prompt": "a", "weight": 0}, ["weight is 0", "above 0"]),
        ({"prompt": "a", "weight": "x"}, ["weight is 'x'"]),
        ({"prompt": "a", "weight": True}, ["weight is True"]),
        ({"prompt": "a", "weight": float("inf")}, ["weight is inf"]),
        ({"prompt": "a", "reference": {"a": 1}}, ["reference is {'a': 1}"]),
        ({"prompt": "a", "reference": []}, ["reference is []"]),
        ({"prompt": "a", "id": [1]}, ["id is [1]"]),
        ({"prompt": "a", "category": ["x"]}, ["category is ['x']"]),
    ],
)
def test_rows_that_are_no_prompt(row, words):
    said = refused(row)
    assert all(word in said for word in words), said


def test_repeated_ids_and_prompts():
    assert "line 2: the id '1' is there twice (first: line 1)" in refused(
        {"prompt": "a", "id": 1}, {"prompt": "b", "id": "1"}
    )
    assert "the same prompt is there twice (first: line 1)" in refused({"prompt": "a"}, {"prompt": "a"})
    assert len(read({"prompt": "a", "id": 1}, {"prompt": "a", "id": 2})) == 2


def test_a_named_column_that_is_not_there():
    said = refused({"prompt": "a"}, columns={"reference": "gold"})
    assert "no column 'gold', which `columns` names for reference" in said


ROWS = [{"prompt": "Ärger?", "weight": 2.0, "category": "x"}, {"prompt": "b, c\nd", "weight": 1.0, "category": None}]


def test_the_formats_agree(tmp_path):
    datasets = pytest.importorskip("datasets")
    pandas = pytest.importorskip("pandas")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "b.json").write_text(json.dumps(ROWS, ensure_ascii=False))
    (tmp_path / "c.json").write_text(json.dumps({"rows": ROWS}, indent=1))
    pandas.DataFrame(ROWS).to_csv(tmp_path / "d.csv", index=False)
    (tmp_path / "e.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "d.csv").read_bytes())  # as Excel writes it
    table = datasets.Dataset.from_list(ROWS)
    table.to_parquet(tmp_path / "f.parquet")
    table.save_to_disk(tmp_path / "g")
    wanted = read(*ROWS)
    for name in ("a.jsonl", "b.json", "c.json", "d.csv", "e.csv", "f.parquet", "g"):
        assert list(read_prompts(source_rows(tmp_path / name), "prompts:x", {})) == wanted, name


def test_a_hub_data_set_read_from_a_local_directory(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    for split, rows in (("train", ROWS), ("test", ROWS[:1])):
        path = tmp_path / "hub/owner/name" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    real = datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset", lambda place, *rest, **more: real(str(tmp_path / "hub" / place), *rest, **more)
    )
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert len(list(read_prompts(source_rows("owner/name?split=test"), "prompts:x", {}))) == 1
    with pytest.raises(AssayError, match="several splits: test, train"):
        list(source_rows("owner/name"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"prompt": "é"}\n'.encode("utf-16"), "looks like UTF-16"),
        ("a.csv", "prompt\né\n".encode("utf-16-le"), "looks like UTF-16"),
        ("a.jsonl", '{"prompt": "é"}\n'.encode("latin-1"), "line 1: not UTF-8"),
        ("a.csv", "prompt\né\n".encode("latin-1"), "not UTF-8"),
        ("a.json", '[{"prompt": "é"}]'.encode("latin-1"), "not UTF-8"),
        ("a.csv", b"prompt,id\na,1,2\n", "line 2: another number of columns"),
        ("a.csv", b"prompt,id\na\n", "line 2: another number of columns"),
        ("a.csv", b'prompt\n"a', "not CSV"),
        ("a.jsonl", b"{\n", "line 1: not valid JSON"),
        ("a.json", b"3", "a JSON int"),
        ("a.json", b"[3]", "item 1 is a JSON int"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.xlsx", b"PK", "rows cannot be read from .xlsx"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        list(source_rows(tmp_path / name))
    assert words in str(caught.value), str(caught.value)


def test_a_pointer_and_no_file(tmp_path):
    (tmp_path / "p.jsonl").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(MissingDataError, match="git-lfs pointer"):
        list(each_row(tmp_path / "p.jsonl"))
    for name in ("no.jsonl", "no.parquet", "no.csv"):
        with pytest.raises(MissingDataError, match="no such file"):
            list(each_row(tmp_path / name))


def test_lone_surrogates_become_replacement_characters(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a\\ud800b", "category": "\\udfff"}\n')
    (found,) = read_prompts(each_row(tmp_path / "a.jsonl"), "prompts:x", {})
    assert (found.turns, found.category) == (("a�b",), "�")


def test_many_rows_are_read_in_time(tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Question {i}?", "id": i}) + "\n" for i in range(100_000)))
    start = time.perf_counter()
    assert sum(1 for _ in read_prompts(each_row(path), "prompts:x", {})) == 100_000
    assert time.perf_counter() - start < 60  # 4 s alone
