"""Real SFT and preference files: every figure against one worked out from the raw file in another way."""

from __future__ import annotations

import gzip
import json
import re
from math import comb
from pathlib import Path

import numpy as np
import pytest

from harness.data.store import DataStore
from harness.errors import MissingDataError
from tests.paths import DATA, MIRROR, MODELS, needs_data, needs_models
from training.data.contamination import benchmark_prompts, measure_overlap
from training.data.loading import load_conversations, load_pairs, load_prompts
from training.data.splitting import hold_out
from training.data.statistics import data_statistics, load_tokenizer

pytestmark = [pytest.mark.golden, needs_data]

FILES = DATA / "sft_pref"
HH = FILES / "hh-rlhf/harmless-base_test.jsonl.gz"
OASST = FILES / "oasst/en_100_tree.jsonl.gz"


def lines(path):
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.decode().split("\n") if line]


def speakers(transcript):
    """Who speaks, and whether anybody says nothing, from the lines that begin with a name."""
    who, said = [], []
    for block in transcript.split("\n\n"):
        name = next((name for name in ("Human:", "Assistant:") if block.startswith(name)), None)
        if name:
            who.append(name[0])
            said.append(block[len(name) :].strip())
        elif said:
            said[-1] += block.strip()
    return "".join(who), not all(said)


@pytest.fixture(scope="module")
def hh():
    return load_pairs(HH, adapter="hh_rlhf")


def test_hh_rlhf_counts(hh):
    rows = lines(HH)
    assert (len(rows), hh.n_rows) == (2312, 2312)
    silent = alternating = 0
    for row in rows:
        (who_a, silent_a), (who_b, silent_b) = speakers(row["chosen"]), speakers(row["rejected"])
        in_turn = all(re.fullmatch("(HA)+", who) for who in (who_a, who_b))
        silent += silent_a or silent_b
        alternating += in_turn and not (silent_a or silent_b)
    assert alternating == len(hh) == 2299
    assert hh.filtered == {"empty turn": silent, "roles out of order": 2312 - 2299 - silent}
    assert silent == 4


def test_hh_rlhf_sides_and_prompts(hh):
    kept = [r for r in lines(HH) if all(re.fullmatch("(HA)+", speakers(r[s])[0]) and not speakers(r[s])[1]
                                        for s in ("chosen", "rejected"))]  # fmt: skip
    for row, pair in zip(kept, hh, strict=True):
        assert pair.chosen[-1].content == row["chosen"].rpartition("\n\nAssistant:")[2].strip()
        assert pair.rejected[-1].content == row["rejected"].rpartition("\n\nAssistant:")[2].strip()
        opening = row["chosen"].removeprefix("\n\nHuman:").partition("\n\nAssistant:")[0].strip()
        assert pair.prompt[0].content == opening
        for tail, side in ((pair.chosen, "chosen"), (pair.rejected, "rejected")):
            assert len(pair.prompt) + len(tail) == len(speakers(row[side])[0])


@needs_models
def test_table_5_of_hh_rlhf(hh):
    from tokenizers import Tokenizer

    row = data_statistics(hh, load_tokenizer(MODELS / "neo3m-chat-hf"))
    assert (row.source, row.n_items, row.n_prompts) == ("harmless-base_test", 2299, 2297)
    tokenizer = Tokenizer.from_file(str(MODELS / "neo3m-chat-hf/tokenizer.json"))
    tokenizer.no_truncation()

    def counted(side):
        return [
            sum(len(tokenizer.encode(message.content, add_special_tokens=False).ids) for message in getattr(pair, side))
            for pair in hh
        ]

    for side in ("prompt", "chosen", "rejected"):
        lengths = counted(side)
        assert row.lengths[side].mean == pytest.approx(np.mean(lengths))
        assert row.lengths[side].p50 == np.median(lengths)
        assert row.lengths[side].max == max(lengths)
    assert {side: round(value.mean, 1) for side, value in row.lengths.items()} == {
        "prompt": 114.1, "chosen": 44.4, "rejected": 56.0,
    }  # fmt: skip


DOCUMENTED = re.compile(
    r"^\| (\w[\w-]*) \| (pairs|conversations) \| ([\d,]+) \| ([\d,]+) \|.*\| ([^|]+) \|$", re.MULTILINE
)


def test_the_documented_table():
    text = (Path(__file__).parents[2] / "docs/training-data.md").read_text()
    rows = {name: row for name, *row in DOCUMENTED.findall(text) if name != "all"}
    files = {path.name.split(".")[0]: path for path in FILES.rglob("*.json*")}
    adapters = {"harmless-base_test": "hh_rlhf", "en_100_tree": "oasst"}
    assert set(files) - set(rows) == {"en_100_message", "rlvr_sample"}
    for name, (kind, n_items, n_prompts, left_out) in rows.items():
        load = load_pairs if kind == "pairs" else load_conversations
        row = data_statistics(load(files[name], adapter=adapters.get(name)))
        shown = ", ".join(f"{reason} {count}" for reason, count in row.left_out.items()) or "0"
        assert (f"{row.n_items:,}", f"{row.n_prompts:,}", shown) == (n_items, n_prompts, left_out), name


def test_a_pointer_in_place_of_a_file():
    with pytest.raises(MissingDataError, match="git-lfs pointer"):
        load_prompts(FILES / "open-instruct/rlvr_sample.jsonl")


def test_successive_turns_of_one_conversation_stay_on_one_side(hh):
    split = hold_out(hh, 0.1)
    assert len(split.train) + len(split.held_out) == 2299
    openings = [
        {" ".join(pair.prompt[0].content.lower().split()) for pair in side} for side in (split.train, split.held_out)
    ]
    assert not openings[0] & openings[1]
    assert 170 < len(split.held_out) < 290


@pytest.mark.parametrize(
    ("name", "n", "with_input"),
    [("alpaca/alpaca_data_cleaned_1000", 1000, 409), ("llama-factory/alpaca_en_demo", 1000, 412)],
)
def test_alpaca(name, n, with_input):
    rows = json.loads((FILES / f"{name}.json").read_text())
    loaded = load_conversations(FILES / f"{name}.json")
    assert len(loaded) == len(rows) == n
    assert sum(bool(row["input"]) for row in rows) == with_input
    for row, item in zip(rows, loaded, strict=True):
        wanted = row["instruction"] + ("\n" + row["input"] if row["input"] else "")
        assert [message.content for message in item.messages] == [wanted, row["output"]]
    assert len(load_prompts(FILES / f"{name}.json")) == len(
        {(row["instruction"] + ("\n" + row["input"] if row["input"] else "")).strip() for row in rows}
    )


def test_dpo_demo():
    rows = [row for row in json.loads((FILES / "llama-factory/dpo_en_demo.json").read_text()) if not row.get("images")]
    loaded = load_pairs(FILES / "llama-factory/dpo_en_demo.json")
    assert (loaded.n_rows, len(loaded), loaded.filtered) == (300, 299, {"not only text": 1})
    for row, pair in zip(rows, loaded, strict=True):
        assert [message.content for message in pair.prompt] == [turn["value"] for turn in row["conversations"]]
        assert pair.chosen[0].content == row["chosen"]["value"]
        assert pair.rejected[0].content == row["rejected"]["value"]
    assert sum(pair.prompt[0].role == "system" for pair in loaded) == 80


def test_kto_demo():
    rows = json.loads((FILES / "llama-factory/kto_en_demo.json").read_text())
    loaded = load_conversations(FILES / "llama-factory/kto_en_demo.json")
    good = [row for row in rows if row["label"]]
    assert len(loaded) == len(good) == 150
    assert loaded.filtered == {"label false": len(rows) - len(good)}
    assert [item.messages[-1].content for item in loaded] == [row["messages"][-1]["content"] for row in good]


def test_open_instruct():
    rows = lines(FILES / "open-instruct/preference_sample.jsonl")
    pairs = load_pairs(FILES / "open-instruct/preference_sample.jsonl")
    assert [(p.prompt[0].content, p.chosen[0].content, p.rejected[0].content) for p in pairs] == [
        (row["prompt"], row["chosen"][1]["content"], row["rejected"][1]["content"]) for row in rows
    ]
    talks = load_conversations(FILES / "open-instruct/sft_sample.jsonl")
    assert len(talks) == 100
    assert sorted(len(item.messages) for item in talks) == [2] * 66 + [4] * 34


def walk(node):
    yield node
    for reply in node["replies"]:
        yield from walk(reply)


@pytest.mark.parametrize("name", ["en_100_tree", "en_100_message"])
def test_oasst(name):
    path = FILES / f"oasst/{name}.jsonl.gz"
    roots = [row.get("prompt", row) for row in lines(path)]
    n_pairs = sum(
        comb(sum(reply.get("rank") is not None for reply in node["replies"]), 2)
        for root in roots
        for node in walk(root)
        if node["role"] == "prompter"
    )
    pairs = load_pairs(path, adapter="oasst")
    assert len(pairs) == n_pairs == 754
    talks = load_conversations(path, adapter="oasst")
    assert len(talks) == 100
    answers = {node["text"] for root in roots for node in walk(root) if node.get("rank") in (0, None)}
    assert all(message.content in answers for item in talks for message in item.messages[1::2])


def words_of(text):
    return re.findall(r"\w+", text.lower())


def test_benchmark_prompts_among_oasst_prompts(tmp_path):
    prompts = benchmark_prompts(["mt_bench", "alpaca_eval", "arena_hard"], DataStore(MIRROR, tmp_path, True))
    pairs = load_pairs(OASST, adapter="oasst")
    result = measure_overlap(pairs, prompts)
    flat = {f" {' '.join(words_of(m.content))} " for p in pairs for m in p.prompt if m.role == "user"}
    found = dict.fromkeys(prompts, 0)
    for name, keyed in prompts.items():
        for turns in keyed.values():
            spoken = [words_of(turn) for turn in turns]
            found[name] += any(
                f" {' '.join(words)} " in flat
                if len(words) < 13
                else any(f" {' '.join(words[i : i + 13])} " in text for i in range(len(words) - 12) for text in flat)
                for words in spoken
                if words
            )
    assert result.n_found == found == {"mt_bench": 0, "alpaca_eval": 6, "arena_hard": 0}
