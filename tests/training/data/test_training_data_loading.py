"""Files, directories and hub data sets, their layouts, and everything that is wrong with them."""

from __future__ import annotations

import gzip
import json

import datasets
import pytest

from harness.errors import DataError, FileFormatError, MissingDataError, UnknownNameError, UsageError
from training.data.loading import kind_of, load_conversations, load_pairs, load_prompts

U, A = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
BAD_A = {"role": "assistant", "content": "go away"}
PAIR = {"prompt": "hi", "chosen": "hello", "rejected": "go away"}


@pytest.fixture
def write(tmp_path):
    """Write rows as JSON lines; a text is written as it is."""

    def written(*rows, name="data.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return written


def texts(messages):
    return [(message.role[0], message.content) for message in messages]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"messages": [U, A]}, [("u", "hi"), ("a", "hello")]),
        ({"messages": {"role": ["user", "assistant"], "content": ["hi", "hello"]}}, [("u", "hi"), ("a", "hello")]),
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}], "system": "s"},
            [("s", "s"), ("u", "hi"), ("a", "hello")],
        ),
        ({"messages": [{"role": "system", "content": ""}, U, A]}, [("u", "hi"), ("a", "hello")]),
        ({"prompt": "hi", "completion": "hello"}, [("u", "hi"), ("a", "hello")]),
        ({"prompt": [U], "completion": [A]}, [("u", "hi"), ("a", "hello")]),
        ({"prompt": "hi", "response": "hello"}, [("u", "hi"), ("a", "hello")]),
        ({"instruction": "hi", "input": "", "output": "hello"}, [("u", "hi"), ("a", "hello")]),
        ({"instruction": "add", "input": "1 2", "output": "3"}, [("u", "add\n1 2"), ("a", "3")]),
        (
            {"instruction": "b", "output": "c", "history": [["x", "y"]], "system": "s"},
            [("s", "s"), ("u", "x"), ("a", "y"), ("u", "b"), ("a", "c")],
        ),
    ],
)
def test_layouts_of_conversations(write, row, wanted):
    path = write(row)
    assert kind_of(path) == "sft"
    (item,) = load_conversations(path)
    assert texts(item.messages) == wanted
    assert item.source == "data"


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {"prompt": [U], "chosen": [A], "rejected": [BAD_A]},
        {"prompt": [U], "chosen": "hello", "rejected": "go away"},
        {"chosen": [U, A], "rejected": [U, BAD_A]},
        {"prompt": "hi", "chosen": [U, A], "rejected": [U, BAD_A]},
        {"context_messages": [U], "chosen": "hello", "rejected": "go away"},
        {"instruction": "hi", "input": "", "chosen": "hello", "rejected": "go away"},
        {"question": "hi", "system": "", "chosen": "hello", "rejected": "go away"},
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "hello"},
            "rejected": {"from": "gpt", "value": "go away"},
        },
    ],
)
def test_layouts_of_pairs(write, row):
    path = write(row)
    assert kind_of(path) == "pairs"
    (item,) = load_pairs(path)
    assert (texts(item.prompt), texts(item.chosen), texts(item.rejected)) == (
        [("u", "hi")],
        [("a", "hello")],
        [("a", "go away")],
    )
    assert item.margin is None
    assert texts(load_prompts(path)[0].messages) == [("u", "hi")]


@pytest.mark.parametrize(
    "names",
    [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen_rating", "rejected_rating")],
)
def test_scores_of_pairs(write, names):
    (item,) = load_pairs(write(PAIR | dict(zip(names, (7, "4.5"), strict=True))))
    assert (item.chosen_score, item.rejected_score, item.margin) == (7.0, 4.5, 2.5)


def test_pairs_that_part_in_the_middle(write):
    second = {"role": "user", "content": "more"}
    (item,) = load_pairs(write({"chosen": [U, A, second, A], "rejected": [U, BAD_A]}))
    assert texts(item.prompt) == [("u", "hi")]
    assert [len(item.chosen), len(item.rejected)] == [3, 1]
    # the last shared turn is the assistant's: the prompt ends with the user's turn before it
    other = {"role": "user", "content": "other"}
    (item,) = load_pairs(write({"chosen": [U, A, second, A], "rejected": [U, A, other, BAD_A]}))
    assert texts(item.prompt) == [("u", "hi")]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"prompt": "hi"}, [("u", "hi")]),
        ({"context_messages": [U]}, [("u", "hi")]),
        ({"messages": [U, A]}, [("u", "hi")]),
        ({"messages": [U, A, U]}, [("u", "hi"), ("a", "hello"), ("u", "hi")]),
        ({"instruction": "hi", "input": "x", "output": "y"}, [("u", "hi\nx")]),
    ],
)
def test_layouts_of_prompts(write, row, wanted):
    (item,) = load_prompts(write(row))
    assert texts(item.messages) == wanted


def test_a_prompt_is_loaded_once(write):
    loaded = load_prompts(write({"prompt": "hi"}, {"prompt": "you"}, {"prompt": " hi"}))
    assert [item.messages[0].content for item in loaded] == ["hi", "you"]
    assert loaded.filtered == {"prompt met before": 1}


def test_answers_marked_as_bad_are_not_imitated(write):
    rows = [{"messages": [U, A], "label": True}, {"messages": [U, BAD_A], "label": False}]
    loaded = load_conversations(write(*rows))
    assert [item.messages[1].content for item in loaded] == ["hello"]
    assert loaded.filtered == {"label false": 1}


def test_rows_with_images_are_filtered(write):
    loaded = load_pairs(write(PAIR | {"images": ["a.jpg"]}, PAIR | {"images": []}))
    assert len(loaded) == 1
    assert loaded.filtered == {"not only text": 1}


WRONG = [
    (PAIR | {"rejected": "hello"}, "equal sides", "chosen and rejected are the same: 'hello'"),
    ({"chosen": [U, A], "rejected": [U, A]}, "equal sides", "chosen and rejected are the same conversation"),
    (PAIR | {"chosen": ""}, "empty turn", "turn 2 of 2 (assistant) is empty"),
    (PAIR | {"chosen": []}, "empty conversation", "the chosen side is empty"),
    ({"chosen": [A], "rejected": [U, A]}, "no common prompt", "do not begin with the same turns"),
    (PAIR | {"prompt": [U, A]}, "no question at the end", "the last turn is the assistant's"),
    (PAIR | {"prompt": [U, U]}, "roles out of order", "turn 2 is the user's"),
    ({"prompt": "no", "chosen": [U, A], "rejected": [U, BAD_A]}, "another prompt", "prompt is not part of"),
    (PAIR | {"chosen": 3}, "wrong type", "chosen is of type int"),
    (PAIR | {"chosen": None}, "wrong type", "chosen is missing (null)"),
    (PAIR | {"chosen": [{"role": "boss", "content": "x"}]}, "unknown role", "chosen[0]: the role 'boss'"),
    (PAIR | {"chosen": [{"role": "assistant", "content": 1}]}, "wrong type", "content is of type int"),
    (PAIR | {"chosen": ["x"]}, "wrong type", "chosen[0] is of type str"),
    (PAIR | {"chosen": [{"who": "x"}]}, "missing column", "chosen[0] has no known column (columns: who)"),
    ({"prompt": "hi", "chosen": "a"}, "missing column", "no column rejected (columns: prompt, chosen)"),
    ({"chosen": "a", "rejected": "b"}, "missing column", "no known column (columns: chosen, rejected)"),
    (PAIR | {"score_chosen": 1, "score_rejected": 2}, "scores against the labels", "chosen has the score 1"),
    (PAIR | {"score_chosen": "high", "score_rejected": 2}, "wrong type", "score_chosen is 'high'"),
]


@pytest.mark.parametrize(("row", "reason", "found"), WRONG)
def test_a_wrong_pair_stops_with_its_line(write, row, reason, found):
    path = write(PAIR, "", row)
    with pytest.raises(FileFormatError) as caught:
        load_pairs(path)
    assert caught.value.line == 3
    assert f"{path}, line 3: " in str(caught.value)
    assert found in str(caught.value)


def test_wrong_pairs_are_dropped_and_counted(write):
    loaded = load_pairs(write(PAIR, *(row for row, _, _ in WRONG), PAIR), on_bad="drop")
    assert len(loaded) == 2
    assert loaded.n_rows == len(WRONG) + 2
    counts = {}
    for _, reason, _ in WRONG:
        counts[reason] = counts.get(reason, 0) + 1
    assert loaded.dropped == counts
    assert loaded.n_left_out == len(WRONG)
    assert loaded.first["equal sides"].endswith("data.jsonl, line 2")
    assert "equal sides: 2 (first: data.jsonl, line 2)" in loaded.report()


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"messages": []}, "no turn of user or assistant"),
        ({"messages": [U, {"role": "assistant", "content": " "}]}, "turn 2 of 2 (assistant) is empty"),
        ({"messages": [U, U, A]}, "turn 2 is the user's (roles: user, user, assistant)"),
        ({"messages": [U]}, "the last turn is the user's"),
        ({"messages": "hi"}, "messages is of type str"),
        ({"text": "hi"}, "no known column (columns: text)"),
        ({"instruction": "x", "input": 3, "output": "y"}, "input is of type int"),
        ({"instruction": "x", "output": "y", "history": ["z"]}, "history holds of type str"),
    ],
)
def test_a_wrong_conversation_stops_with_its_line(write, row, found):
    with pytest.raises(FileFormatError, match="line 2") as caught:
        load_conversations(write({"messages": [U, A]}, row))
    assert found in str(caught.value)


def test_transcripts_name_their_adapter(write):
    row = {"chosen": "\n\nHuman: hi\n\nAssistant: a", "rejected": "\n\nHuman: hi\n\nAssistant: b"}
    with pytest.raises(FileFormatError, match="adapter=hh_rlhf"):
        load_pairs(write(row))
    path = write(row)
    assert len(load_pairs(path, adapter="hh_rlhf")) == len(load_pairs(f"{path}?adapter=hh_rlhf")) == 1


def test_malformed_json_is_never_dropped(write):
    path = write(PAIR, '{"prompt": "hi", "chosen": ')
    for on_bad in ("error", "drop"):
        with pytest.raises(FileFormatError, match="line 2: not valid JSON"):
            load_pairs(path, on_bad=on_bad)
    with pytest.raises(FileFormatError, match="item 1 is a JSON int"):
        load_pairs(write("[1]"))


def test_nothing_left_is_an_error(write):
    with pytest.raises(DataError, match=r"no items .*equal sides: 1"):
        load_pairs(write(PAIR | {"chosen": "go away"}), on_bad="drop")
    with pytest.raises(DataError, match="0 rows read"):
        load_pairs(write())


def test_margins_and_pairs_per_prompt(write):
    rows = [
        {"prompt": p, "chosen": f"good {i}", "rejected": "bad", "score_chosen": i, "score_rejected": 1}
        for p in ("x", "y")
        for i in (1, 2, 3, 4)
    ]
    path = write(*rows, {"prompt": "x", "chosen": "a", "rejected": "b"})
    loaded = load_pairs(path, min_margin=2)
    assert [pair.margin for pair in loaded] == [2, 3, 2, 3, None]  # no score, no margin: kept
    assert loaded.filtered == {"margin below 2": 4}
    loaded = load_pairs(path, min_margin=1, max_pairs_per_prompt=2)
    assert [pair.margin for pair in loaded] == [1, 2, 1, 2]
    assert loaded.filtered == {"margin below 1": 2, "more than 2 pairs of a prompt": 3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_margin": -1}, "min_margin=-1"),
        ({"max_pairs_per_prompt": 0}, "max_pairs_per_prompt=0"),
        ({"on_bad": "skip"}, "on_bad='skip'"),
    ],
)
def test_options_out_of_range(write, options, said):
    with pytest.raises(UsageError, match=said):
        load_pairs(write(PAIR), **options)


def test_file_formats_hold_the_same(write, tmp_path):
    rows = [PAIR, PAIR | {"prompt": "you"}]
    keys = [pair.key for pair in load_pairs(write(*rows))]
    with gzip.open(tmp_path / "data.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "pretty.json").write_text(json.dumps(rows, indent=2))
    (tmp_path / "under.json").write_text(json.dumps({"data": rows}))
    (tmp_path / "lines.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = datasets.Dataset.from_list(rows)
    dataset.to_parquet(tmp_path / "data.parquet")
    dataset.save_to_disk(tmp_path / "saved")
    for name in ("data.jsonl.gz", "list.json", "pretty.json", "under.json", "lines.json", "data.parquet", "saved"):
        assert [pair.key for pair in load_pairs(tmp_path / name)] == keys, name
    assert len(load_pairs([tmp_path / "data.jsonl.gz", tmp_path / "list.json"])) == 4


def test_conversations_in_parquet(tmp_path):
    datasets.Dataset.from_list([{"messages": [U, A], "system": None}]).to_parquet(tmp_path / "a.parquet")
    (item,) = load_conversations(tmp_path / "a.parquet")
    assert texts(item.messages) == [("u", "hi"), ("a", "hello")]


def test_faults_in_files_without_lines(tmp_path):
    rows = [PAIR, PAIR | {"rejected": "hello"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    for name, place in (("a.json", "item 2"), ("a.parquet", "row 2")):
        with pytest.raises(FileFormatError, match=f"{name}: {place}: chosen and rejected are the same"):
            load_pairs(tmp_path / name)


def test_directories_with_splits(write, tmp_path):
    write(PAIR, name="set/train.jsonl")
    write(PAIR, PAIR, name="set/test.jsonl")
    with pytest.raises(UsageError, match=r"several splits: test, train"):
        load_pairs(tmp_path / "set")
    assert len(load_pairs(f"{tmp_path}/set?split=train")) == 1
    assert len(load_pairs(f"{tmp_path}/set?split=test")) == 2
    with pytest.raises(UsageError, match="no split 'dev'"):
        load_pairs(f"{tmp_path}/set?split=dev")
    with pytest.raises(MissingDataError, match="has no sub"):
        load_pairs(f"{tmp_path}/set?data_dir=sub")
    write(PAIR, name="shards/data/train-00000-of-00002.jsonl")
    write(PAIR, name="shards/data/train-00001-of-00002.jsonl")
    assert len(load_pairs(tmp_path / "shards")) == 2


def test_saved_splits(tmp_path):
    one, two = (datasets.Dataset.from_list([PAIR] * n) for n in (1, 2))
    datasets.DatasetDict({"train": two, "test": one}).save_to_disk(tmp_path / "saved")
    assert len(load_pairs(f"{tmp_path}/saved?split=train")) == 2
    with pytest.raises(UsageError, match="several splits: test, train"):
        load_pairs(tmp_path / "saved")
    (tmp_path / "saved/train/state.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read as a saved data set"):
        load_pairs(f"{tmp_path}/saved?split=train")


def test_the_hub(write, tmp_path, monkeypatch):
    write(PAIR, PAIR, name="hub/train.jsonl")
    write(PAIR, name="hub/test.jsonl")
    asked = []

    def load_dataset(place, subset, **options):
        asked.append((place, subset, options))
        files = {split: str(tmp_path / f"hub/{split}.jsonl") for split in ("train", "test")}
        return real("json", data_files=files, split=options["split"], cache_dir=str(tmp_path / "cache"))

    real = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = load_pairs("some/pairs?split=train&subset=sub&data_dir=dir&revision=abc")
    assert len(loaded) == 2
    assert loaded[0].source == "some/pairs"
    assert asked == [("some/pairs", "sub", {"data_dir": "dir", "revision": "abc", "split": "train"})]
    with pytest.raises(UsageError, match="some/pairs has several splits: test, train"):
        load_pairs("some/pairs")


def test_a_hub_that_does_not_answer(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(MissingDataError, match="some/pairs cannot be loaded: ConnectionError: no route") as caught:
        load_pairs("some/pairs")
    assert "no local file or directory" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("none.jsonl", MissingDataError, "no such file or directory"),
        ("/no/where/at/all", MissingDataError, "no such file or directory"),
        ("some/pairs?splt=train", UsageError, "splt after the ?"),
        ("some/pairs?split=", UsageError, "split after the ?"),
        ("some/pairs?", UsageError, "nothing after the ?"),
    ],
)
def test_sources_that_are_none(name, error, said):
    with pytest.raises(error) as caught:
        load_pairs(name)
    assert said in str(caught.value)


def test_files_that_are_something_else(tmp_path, write):
    (tmp_path / "a.txt").write_text("a,b")
    with pytest.raises(FileFormatError, match=r"rows cannot be read from \.txt"):
        load_pairs(tmp_path / "a.txt")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FileFormatError, match="cannot be read as Parquet"):
        load_pairs(tmp_path / "b.parquet")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps(PAIR).encode())[:-9])
    with pytest.raises(FileFormatError, match="cannot be decompressed"):
        load_pairs(tmp_path / "c.jsonl.gz")
    with pytest.raises(MissingDataError, match="git-lfs pointer"):
        load_pairs(write("version https://git-lfs.github.com/spec/v1", "oid sha256:1", "size 3"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="holds no data files"):
        load_pairs(tmp_path / "empty")
    with pytest.raises(UsageError, match="which is one file"):
        load_pairs(f"{write(PAIR)}?split=train")
    (tmp_path / "d.json").write_text('[{"prompt": "a"}, 3]')
    with pytest.raises(FileFormatError, match="item 2 is a JSON int"):
        load_prompts(tmp_path / "d.json")
    (tmp_path / "e.json").write_text('[{"prompt": "a"},\n {"prompt": ]')
    with pytest.raises(FileFormatError, match="line 2: not valid JSON"):
        load_prompts(tmp_path / "e.json")
    with pytest.raises(UsageError, match="no source"):
        load_pairs([])


def test_unknown_adapters(write):
    with pytest.raises(UnknownNameError, match="hh_rlhf"):
        load_pairs(write(PAIR), adapter="hh-rlhf-x")
    with pytest.raises(UnknownNameError, match="adapter of conversations"):
        load_conversations(write(PAIR), adapter="shp")
    with pytest.raises(UnknownNameError):
        load_prompts(f"{write(PAIR)}?adapter=nothing")
    with pytest.raises(UnknownNameError):
        kind_of(write(PAIR), "nothing")
