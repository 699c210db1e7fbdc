"""Which tokens the loss is taken on, with marks in the template and without, against TRL's own reading."""

from __future__ import annotations

import pytest

from harness.errors import DataError, ModelError
from harness.messages import Message
from tests.support.random_models import byte_tokenizer
from tests.support.tiny_training import MARKED, PLAIN, conversations, pairs
from training import dpo, preference, reward, sft
from training.encode import IGNORED, Encoder
from training.recipe import TrainingRecipe

RECIPE = TrainingRecipe(model="m", learning_rate=1, max_length=64)


def spoken(encoder, encoded):
    return encoder.tokenizer.decode([label for label in encoded.labels if label != IGNORED])


@pytest.mark.parametrize("template", [MARKED, PLAIN])
def test_loss_on_every_answer_and_its_end(template):
    encoder = Encoder(byte_tokenizer(template))
    turns = [Message(r, t) for r, t in (("user", "a"), ("assistant", "b c"), ("user", "d"), ("assistant", "é!"))]
    (encoded,) = encoder.conversations([turns])
    assert encoder.tokenizer.decode(encoded.input_ids) == "U:a<end>A:b c<eos>U:d<end>A:é!<eos>"
    assert spoken(encoder, encoded) == "b c<eos>é!<eos>"


def test_marked_and_unmarked_agree_on_all_records():
    records = [c.messages for c in conversations()]
    assert Encoder(byte_tokenizer(MARKED)).conversations(records) == Encoder(byte_tokenizer(PLAIN)).conversations(
        records
    )


def test_single_turns_are_trls_prompt_completion_form():
    from datasets import Dataset
    from trl.data_utils import common_prefix_length

    tokenizer = byte_tokenizer(PLAIN)
    records = [c for c in conversations() if len(c.messages) == 2]
    ours = Encoder(tokenizer).conversations([c.messages for c in records])
    for row, encoded in zip(Dataset.from_list([c.as_row() for c in records]), ours, strict=True):
        prompt = tokenizer.apply_chat_template(row["messages"][:1], add_generation_prompt=True)["input_ids"]
        whole = tokenizer.apply_chat_template(row["messages"])["input_ids"]
        n = common_prefix_length(prompt, whole)
        assert encoded.input_ids == whole
        assert encoded.labels == [IGNORED] * n + whole[n:]


def test_a_template_that_rewrites_what_went_before_is_refused():
    forgetful = PLAIN.replace("{{ m['content'] }}<eos>", "{{ m['content'] if loop.last else '...' }}<eos>")
    turns = [Message(r, t) for r, t in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))]
    encoder = Encoder(byte_tokenizer(forgetful))
    with pytest.raises(ModelError, match=r"no \{% generation %\} marks") as raised:
        encoder.conversations([turns])
    assert "set chat_template to the file" in str(raised.value)
    (single,) = encoder.conversations([turns[:2]])  # nothing went before: the prompt/completion form is exact
    assert spoken(encoder, single) == "b<eos>"


def test_what_a_template_refuses_is_shown():
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system message') }}{% endif %}" + PLAIN
    turns = [Message("system", "be kind"), Message("user", "a"), Message("assistant", "b")]
    with pytest.raises(DataError, match="no system message"):
        Encoder(byte_tokenizer(strict)).conversations([turns])


def test_a_reward_pair_keeps_the_end_of_the_answer():
    encoder = Encoder(byte_tokenizer(MARKED))
    rows, report = reward.encode_pairs(encoder, pairs(4), RECIPE.with_(max_length=8))
    assert report.truncated == 4
    assert encoder.tokenizer.decode(rows[3]["chosen_ids"]) == "ood xxx<eos>"
    assert all(len(row["chosen_ids"]) <= 8 and row["chosen_ids"][-1] == 257 for row in rows)


def test_a_dpo_pair_cuts_the_prompt_before_the_answers():
    encoder = Encoder(byte_tokenizer(MARKED))
    (row,), report = dpo.encode_pairs(encoder, pairs(4)[3:], RECIPE.with_(max_length=17))
    assert report.truncated == 0
    (row,), report = dpo.encode_pairs(encoder, pairs(4)[3:], RECIPE.with_(max_length=12))
    assert report.truncated == 1
    assert len(row["prompt_ids"]) == 6
    assert encoder.tokenizer.decode(row["prompt_ids"]) == "q1?<end>A:"
    assert [encoder.tokenizer.decode(row[k]) for k in ("chosen_ids", "rejected_ids")] == ["good x", "bad yy"]


def test_sides_that_are_equal_once_cut_are_counted():
    from training.data.records import PreferencePair

    pair = PreferencePair.of([Message("user", "q")], "x" * 40 + "a", "x" * 40 + "b")
    rows, report = dpo.encode_pairs(Encoder(byte_tokenizer(MARKED)), [pair, *pairs(2)], RECIPE.with_(max_length=24))
    assert len(rows) == 2
    assert report.as_json()["dropped"] == {"both sides equal within max_length": 1}
    assert report.n_used == 2


def test_sft_loses_the_end_and_counts_what_is_left_without_an_answer():
    rows, report = sft.encode_conversations(
        Encoder(byte_tokenizer(MARKED)), conversations(4), RECIPE.with_(max_length=8)
    )
    assert report.truncated == 4
    assert all(len(row["input_ids"]) == 8 for row in rows)
    rows, report = sft.encode_conversations(
        Encoder(byte_tokenizer(MARKED)), [*conversations(4)], RECIPE.model_copy(update={"max_length": 7})
    )
    assert not rows
    assert report.dropped["nothing of an answer within max_length"] == 4


def test_preference_loss_is_on_one_token_and_the_order_is_drawn():
    encoder = Encoder(byte_tokenizer(MARKED))
    questions, _ = preference.encode_questions(encoder, pairs(200), RECIPE.with_(max_length=200))
    first = sum(q.first_better for q in questions)
    assert 70 < first < 130
    for question in questions[:10]:
        row = preference.training_row(question)
        assert [place for place, label in enumerate(row["labels"]) if label != IGNORED] == [len(question.ids)]
        text = encoder.tokenizer.decode(row["input_ids"])
        shown_first = text.partition("[RESPONSE A] ")[2]
        assert shown_first.startswith("good" if question.first_better else "bad")
        assert text[-1] == ("A" if question.first_better else "B")
    again, _ = preference.encode_questions(encoder, pairs(200), RECIPE.with_(max_length=200))
    other, _ = preference.encode_questions(encoder, pairs(200), RECIPE.with_(max_length=200, seed=1))
    assert again == questions
    assert other != questions
