"""Pretraining: what it makes, and that a killed one goes on to the same weights."""

from __future__ import annotations

import dataclasses
import json

import pytest

from training.demo import pretrain as module
from training.demo.settings import DemoSettings, Pretraining
from training.demo.tokens import END, train_tokenizer

SETTINGS = dataclasses.replace(
    DemoSettings.of_size("tiny", 5),
    pretraining=Pretraining(
        n_documents=200, hidden_size=16, n_heads=2, intermediate_size=32, n_steps=12, batch_size=2, context=32
    ),
)


class Killed(BaseException):
    pass


def test_a_killed_pretraining_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = module.pretrain(SETTINGS, tmp_path / "whole")
    monkeypatch.setattr(module, "_SAVE_EVERY", 5)
    steps = []

    def kill(step, loss):
        steps.append(step)
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        module.pretrain(SETTINGS, tmp_path / "killed", kill)
    assert not (tmp_path / "killed" / "made.json").exists()
    more = []
    module.pretrain(SETTINGS, tmp_path / "killed", lambda step, loss: more.append(step))
    assert steps == list(range(1, 9)) and more == list(range(6, 13))
    made = [json.loads((tmp_path / name / "made.json").read_text()) for name in ("whole", "killed")]
    assert made[0] == made[1]
    assert not list((tmp_path / "killed").glob("state-*"))
    again = []
    assert module.pretrain(SETTINGS, tmp_path / "whole", lambda step, loss: again.append(step)) == whole
    assert again == []


def test_another_seed_makes_other_weights(tmp_path):
    module.pretrain(SETTINGS, tmp_path)
    first = json.loads((tmp_path / "made.json").read_text())
    module.pretrain(dataclasses.replace(SETTINGS, seed=6), tmp_path)
    second = json.loads((tmp_path / "made.json").read_text())
    assert first["weights_hash"] != second["weights_hash"]


def test_the_learning_rate_warms_up_and_falls_to_a_tenth():
    plan = Pretraining(n_steps=100, warmup_steps=10)
    rates = [module._rate(plan, step) for step in range(100)]
    assert rates[0] == 0.1 and rates[9] == 1.0 == max(rates)
    assert rates[-1] == pytest.approx(0.1, abs=0.001)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_word_is_one_token_at_the_start_of_an_answer_and_inside_a_document():
    tokenizer = train_tokenizer([" Ada lives in Oslo."] * 50, 300)
    messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Oslo."}]
    ids = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    document = tokenizer(" Ada lives in Oslo.")["input_ids"]
    assistant = [i for i, mask in zip(ids["input_ids"], ids["assistant_masks"], strict=True) if mask]
    assert assistant[0] in document
    assert tokenizer.decode(assistant) == f" Oslo.{END}"
    spaced = [messages[0], {"role": "assistant", "content": " Oslo. "}]
    assert tokenizer.apply_chat_template(spaced, tokenize=False) == tokenizer.apply_chat_template(
        messages, tokenize=False
    )
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(messages, tokenize=False).startswith(prompt)
