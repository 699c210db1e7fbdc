"""The run directory: latest record wins, one writer, a manifest that means complete."""

from __future__ import annotations

import pytest

from harness.errors import FileFormatError, MissingDataError, RunLockedError, StoreError
from harness.records import Judgment, Prompt, Rating, Response, Unscored
from harness.store.run_directory import RunDirectory, RunWriter, judgment_key, task_key

PROMPT = Prompt(benchmark="b", version="1", key="7", turns=("q",))
FAILED = Response(prompt_id=PROMPT.id, benchmark="b", model="m", model_id="i", finish="error", error="out of memory")
ANSWER = Response(prompt_id=PROMPT.id, benchmark="b", model="m", model_id="i", turns=("a",))


def judgment(verdict, **fields):
    values = {"judge": "j", "judge_id": "i", "benchmark": "b", "prompt_id": PROMPT.id, "response_ids": (ANSWER.id,)}
    return Judgment(**{**values, "order": ("candidate",), "verdict": verdict, "raw": "text", **fields})


@pytest.fixture
def writer(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        yield writer


def test_a_later_record_replaces_an_earlier_one(writer):
    for record in (
        PROMPT,
        FAILED,
        ANSWER,
        judgment(Unscored(reason="timeout")),
        judgment(Rating(value=7, low=1, high=10)),
    ):
        writer.append(record)
    assert list(writer.prompts().values()) == [PROMPT]
    assert list(writer.responses().values()) == [ANSWER]
    (kept,) = writer.judgments().values()
    assert kept.verdict == Rating(value=7, low=1, high=10)
    (slim,) = writer.slim_judgments()
    assert (slim.verdict, slim.raw, slim.id) == (kept.verdict, "", kept.id)


def test_a_judgments_key_is_its_tasks(writer):
    made = judgment(Rating(value=7, low=1, high=10), turn=2)
    assert judgment_key(made) == task_key("i", PROMPT.id, [ANSWER.id], 2)
    assert judgment_key(made) != task_key("i", PROMPT.id, [ANSWER.id], 1)


def test_one_writer_at_a_time(writer):
    with pytest.raises(RunLockedError, match="another process is writing"):
        RunWriter(writer.path)
    writer.close()
    RunWriter(writer.path).close()


def test_the_manifest_means_complete_and_shows_tampering(writer):
    writer.write_header({"kind": "run"})
    writer.append(PROMPT)
    assert not writer.complete
    writer.write_manifest()
    assert writer.complete
    assert writer.verify() == []
    (writer.path / "prompts.jsonl").write_text("")
    assert writer.verify() == ["prompts.jsonl has changed since it was written"]
    writer.reopen()
    assert not writer.complete


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(MissingDataError, match="holds no run"):
        RunDirectory(tmp_path).header()


def test_a_record_of_another_shape_is_named(writer):
    writer.append(PROMPT)
    writer.close()
    with (writer.path / "prompts.jsonl").open("a") as stream:
        stream.write('{"benchmark": "b"}\n')
    with pytest.raises(FileFormatError, match=r"prompts\.jsonl, line 2: version: Field required"):
        RunDirectory(writer.path).prompts()


def test_a_path_that_cannot_be_a_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write to"):
        RunWriter(tmp_path / "file" / "run")
