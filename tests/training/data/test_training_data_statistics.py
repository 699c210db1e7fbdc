"""Table 5: counts and lengths against figures worked by hand."""

from __future__ import annotations

import json

import pytest

from harness.errors import DataError, ModelError
from harness.messages import Message
from tests.paths import MODELS, needs_models
from training.data.loaded import Loaded
from training.data.records import Conversation, PreferencePair, PromptItem
from training.data.statistics import data_statistics, load_tokenizer, statistics_table


def words(texts, *, add_special_tokens):
    """A tokenizer of words."""
    assert not add_special_tokens
    return {"input_ids": [text.split() for text in texts]}


def asked(text):
    return (Message("user", text),)


PAIRS = [
    PreferencePair.of(asked("a b"), "c d e", "f", "one"),
    PreferencePair.of(asked("a b"), "c", "d e", "one"),
    PreferencePair.of(
        (Message("system", "s"), *asked("a b c"), Message("assistant", "x y"), *asked("z")), "c d", "e f"
    ),
]


def test_pairs():
    row = data_statistics(PAIRS[:2] * 1 + PAIRS[2:], words, "here")
    assert (row.source, row.kind, row.n_items, row.n_prompts) == ("here", "pairs", 3, 2)
    # prompts 2, 2 and 1+3+2+1 = 7; chosen 3, 1, 2; rejected 1, 2, 2
    assert row.lengths["prompt"].mean == pytest.approx(11 / 3)
    assert (row.lengths["prompt"].p50, row.lengths["prompt"].max) == (2, 7)
    assert row.lengths["prompt"].p95 == pytest.approx(2 + 0.9 * 5)  # linear between order statistics 1 and 2
    assert row.lengths["chosen"].mean == 2
    assert row.lengths["rejected"].mean == pytest.approx(5 / 3)
    assert row.chosen_longer == pytest.approx((1 + 0 + 0.5) / 3)


def test_sides_of_several_turns_count_all_of_them():
    tail = (Message("assistant", "a b"), *asked("c"), Message("assistant", "d e f"))
    row = data_statistics([PreferencePair.of(asked("x"), tail, "y")], words)
    assert row.lengths["chosen"].mean == 6


def test_conversations_and_prompts():
    talk = (Message("system", "s s"), *asked("a"), Message("assistant", "b c"), *asked("d"), Message("assistant", "e"))
    row = data_statistics([Conversation.of(talk, "talk")], words)
    assert (row.source, row.kind) == ("talk", "conversations")
    assert (row.lengths["prompt"].mean, row.lengths["answer"].mean) == (4, 3)
    assert row.chosen_longer is None
    row = data_statistics([PromptItem.of(asked("a b c"), "p")], words)
    assert (row.kind, row.lengths["prompt"].mean, set(row.lengths)) == ("prompts", 3, {"prompt"})


def test_without_a_tokenizer_there_are_no_lengths():
    row = data_statistics(PAIRS)
    assert (row.n_items, row.lengths, row.chosen_longer, row.source) == (3, {}, None, "2 sources")
    with pytest.raises(DataError, match="no items"):
        data_statistics([])


def test_what_was_left_out_is_in_the_row():
    loaded = Loaded(tuple(PAIRS), "f", 9, {"equal sides": 2}, {"margin below 1": 4}, {"equal sides": "f, line 2"})
    row = data_statistics(loaded, words, "here")
    assert row.left_out == {"equal sides": 2, "margin below 1": 4}
    columns, cells = statistics_table([row, data_statistics([PromptItem.of(asked("a b c"), "p")], words)])
    assert columns == ["source", "kind", "items", "prompts", "prompt len.", "chosen len.", "rejected len.",
                       "chosen longer", "left out"]  # fmt: skip
    assert cells[0] == ["here", "pairs", "3", "2", "3.7 (2, 6)", "2.0 (2, 3)", "1.7 (2, 2)", "50.0 %",
                        "equal sides 2, margin below 1 4"]  # fmt: skip
    assert cells[1] == ["p", "prompts", "1", "1", "3.0 (3, 3)", "-", "-", "-", "0"]
    assert json.loads(json.dumps(row.as_json()))["lengths"]["prompt"]["p50"] == 2


@needs_models
def test_a_real_tokenizer():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODELS / "neo3m-chat-hf")
    row = data_statistics(PAIRS, load_tokenizer(MODELS / "neo3m-chat-hf"))
    wanted = sum(len(tokenizer.encode(p.chosen[0].content, add_special_tokens=False)) for p in PAIRS) / 3
    assert row.lengths["chosen"].mean == pytest.approx(wanted)


def test_tokenizers_that_are_none(tmp_path):
    with pytest.raises(ModelError, match="there is no directory"):
        load_tokenizer(tmp_path / "no")
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        load_tokenizer(tmp_path)
