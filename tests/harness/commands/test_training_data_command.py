"""`assay train data` as a user calls it."""

from __future__ import annotations

import argparse
import json

import pytest

from harness.commands.train_data import add_arguments, run
from harness.errors import AssayError, DataError, FileFormatError, UnknownNameError, UsageError
from tests.paths import MIRROR, MODELS, needs_data, needs_models
from training.data.loading import load_pairs


@pytest.fixture
def call(capsys):
    def called(*arguments):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        status, error = 1, None
        try:
            status = run(parser.parse_args([str(argument) for argument in arguments]))
        except AssayError as raised:
            error = raised
        printed = capsys.readouterr()
        return status, printed.out, printed.err, error

    return called


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"question {i // 2}", "chosen": f"good {i}", "rejected": "bad", "chosen_score": i % 3 + 1,
             "rejected_score": 1} for i in range(60)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_table(call, pairs, tmp_path):
    talk = tmp_path / "talk.jsonl"
    talk.write_text('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}\n')
    status, out, err, _ = call(pairs, talk)
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["pairs", "pairs", "60", "30", "-", "0"] in rows
    assert ["talk", "conversations", "1", "1", "-", "0"] in rows
    assert "No token lengths: --tokenizer DIR counts them." in out


@needs_models
def test_json(call, pairs):
    status, out, _, _ = call(pairs, pairs, "--json", "--tokenizer", MODELS / "neo3m-chat-hf", "--min-margin", "1")
    answer = json.loads(out)
    assert status == 0
    (first, second), (total,) = answer["sources"], answer["totals"]
    assert first == second
    assert (first["n_items"], first["n_rows"], first["left_out"]) == (40, 60, {"margin below 1": 20})
    assert first["lengths"]["prompt"]["mean"] > 1
    assert (total["n_items"], total["n_prompts"]) == (80, first["n_prompts"])


def test_faults(call, tmp_path):
    path = tmp_path / "pairs.jsonl"
    good = {"prompt": "x", "chosen": "a", "rejected": "b"}
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, good | {"rejected": "a"})))
    _, _, _, error = call(path)
    assert isinstance(error, FileFormatError)
    assert error.line == 2
    status, out, err, _ = call(path, "--on-bad", "drop", "--json")
    assert status == 0
    assert json.loads(out)["sources"][0]["left_out"] == {"equal sides": 1}
    assert f"dropped 1, equal sides (first: {path}, line 2)" in err


def test_writing_and_reading_back(call, pairs, tmp_path):
    status, out, _, _ = call(pairs, "--write", tmp_path / "out", "--hold-out", "0.2", "--seed", "3")
    assert status == 0
    train, held_out = load_pairs(tmp_path / "out/train.jsonl"), load_pairs(tmp_path / "out/held_out.jsonl")
    assert f"wrote {len(train)} items to {tmp_path / 'out/train.jsonl'}" in out
    before = {(p.key, p.chosen, p.rejected, p.margin) for p in load_pairs(pairs)}
    assert {(p.key, p.chosen, p.rejected, p.margin) for p in (*train, *held_out)} == before
    assert not {p.key for p in train} & {p.key for p in held_out}
    _, _, _, error = call(pairs, "--write", tmp_path / "out")
    assert isinstance(error, UsageError)
    assert "already exists" in str(error)


@needs_data
def test_overlap_is_refused_after_the_figures(call, pairs, tmp_path):
    from harness.data.store import DataStore
    from training.data.contamination import benchmark_prompts

    turns = benchmark_prompts(["mt_bench"], DataStore(MIRROR, tmp_path, True))["mt_bench"]
    first = next(iter(turns.values()))[0]
    with pairs.open("a") as stream:
        stream.write(json.dumps({"prompt": first, "chosen": "a", "rejected": "b"}) + "\n")
    check = (pairs, "--check-against", "mt_bench", "--data-dir", MIRROR)
    _, out, err, error = call(*check, "--json", "--write", tmp_path / "no")
    assert isinstance(error, DataError)
    assert "1 of 31 training prompts (3.23 %)" in str(error)
    assert json.loads(out)["overlap"]["pairs"]["n_overlapping"] == 1
    assert "mt_bench: 1 of 80 found" in err
    assert not (tmp_path / "no").exists()
    assert call(*check, "--max-overlap", "0.05")[0] == 0
    status, _, err, _ = call(*check, "--remove-overlap", "--write", tmp_path / "clean")
    assert status == 0
    assert "left out 1 items whose prompts overlap" in err
    kept = load_pairs(tmp_path / "clean/train.jsonl")
    assert len(kept) == 60
    assert first not in {pair.prompt[0].content for pair in kept}


def test_a_mix(call, tmp_path):
    path = tmp_path / "orca.jsonl"
    path.write_text(json.dumps({"input": "q", "chosen": "a", "rejected": "b"}) + "\n")
    status, out, _, _ = call("--mix", "mix2", "--only", "open_orca", "--source", f"open_orca={path}")
    assert status == 0
    assert ["open_orca", "pairs", "1", "1"] in [line.split()[:4] for line in out.splitlines()]
    assert ["open_orca", "paper", "6926", "6791"] in [line.split()[:4] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no data"),
        (("x.jsonl", "--mix", "mix1"), "paths and --mix"),
        (("x.jsonl", "--only", "shp"), "choose sources of a mix"),
        (("--mix", "mix1", "--adapter", "shp"), "say how paths are read"),
        (("--mix", "mix1", "--kind", "sft"), "--kind sft of a mix"),
        (("--mix", "mix1", "--source", "shp"), "--source shp"),
        (("x.jsonl", "--hold-out", "0.1"), "--write DIR with it"),
        (("x.jsonl", "--hold-out", "2", "--write", "d"), "--hold-out 2"),
        (("x.jsonl", "--remove-overlap"), "--check-against A,B and --write DIR with it"),
        (("x.jsonl", "--seed", "-1"), "--seed -1"),
        (("x.jsonl", "--max-overlap", "7"), "--max-overlap 7"),
    ],
)
def test_wrong_usage(call, arguments, said):
    _, out, _, error = call(*arguments)
    assert isinstance(error, UsageError)
    assert said in str(error)
    assert out == ""


def test_unknown_names(call, pairs):
    assert isinstance(call(pairs, "--adapter", "no")[3], UnknownNameError)
    assert isinstance(call("--mix", "no")[3], UnknownNameError)
    assert isinstance(call(pairs, "--check-against", "mt_bnch")[3], UnknownNameError)
    assert isinstance(call(pairs, "--kind", "sft")[3], FileFormatError)
