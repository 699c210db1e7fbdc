"""Held-out splits: by prompt, stable, and disjoint."""

from __future__ import annotations

import pytest

from harness.errors import DataError, UsageError
from harness.messages import Message
from training.data.records import Conversation, PreferencePair, PromptItem
from training.data.splitting import hold_out, shuffled, split_key


def asked(text):
    return (Message("user", text),)


def pairs(n, per_prompt=3):
    return [
        PreferencePair.of(asked(f"question {i}"), f"good {j}", f"bad {j}") for i in range(n) for j in range(per_prompt)
    ]


def test_all_pairs_of_a_prompt_are_on_one_side():
    items = pairs(400)
    split = hold_out(items, 0.25)
    train, held_out = {p.key for p in split.train}, {p.key for p in split.held_out}
    assert not train & held_out
    assert len(split.train) + len(split.held_out) == len(items)
    assert len(split.held_out) == 3 * len(held_out)
    assert 70 < len(held_out) < 130  # binomial(400, .25): mean 100, standard deviation 8.7
    order = [p for p in items if p in set(split.train)]
    assert list(split.train) == order


def test_adding_data_moves_no_prompt():
    few, many = hold_out(pairs(50), 0.2), hold_out(list(reversed(pairs(500, per_prompt=1))), 0.2)
    assert {p.key for p in few.held_out} <= {p.key for p in many.held_out}
    assert {p.key for p in few.train} <= {p.key for p in many.train}


def test_a_larger_share_holds_out_more_of_the_same():
    small, large = hold_out(pairs(300), 0.1), hold_out(pairs(300), 0.3)
    assert set(small.held_out) < set(large.held_out)


def test_the_seed_decides():
    assert hold_out(pairs(100), 0.3, seed=1) == hold_out(pairs(100), 0.3, seed=1)
    assert hold_out(pairs(100), 0.3, seed=1) != hold_out(pairs(100), 0.3, seed=2)


def turns(i, n):
    """The first n exchanges of conversation i, as HH-RLHF holds them in rows of their own."""
    prompt = [Message("user", f"Hello {i}")]
    for j in range(n):
        prompt += [Message("assistant", f"reply {j}"), Message("user", f"more {j}")]
    return PreferencePair.of(prompt, "good", "bad")


def test_the_turns_of_one_conversation_stay_together():
    items = [turns(i, n) for i in range(200) for n in range(3)]
    by_opening = hold_out(items, 0.2)
    openings = [{p.prompt[0].content for p in side} for side in (by_opening.train, by_opening.held_out)]
    assert not openings[0] & openings[1]
    by_prompt = hold_out(items, 0.2, by="prompt")
    keys = [{p.prompt_key for p in side} for side in (by_prompt.train, by_prompt.held_out)]
    assert not keys[0] & keys[1]
    openings = [{p.prompt[0].content for p in side} for side in (by_prompt.train, by_prompt.held_out)]
    assert openings[0] & openings[1]


def test_case_spacing_and_system_prompt_make_no_other_prompt():
    plain = PromptItem.of(asked("What is it?"))
    shouted = PromptItem.of(asked("  what IS\nit? "))
    told = PromptItem.of((Message("system", "be brief"), *asked("What is it?")))
    assert split_key(plain) == split_key(shouted) == split_key(told)
    assert split_key(plain, "prompt") != split_key(told, "prompt")


def test_kinds_of_record_share_their_keys():
    conversation = Conversation.of((*asked("hi"), Message("assistant", "hello")))
    pair, prompt = PreferencePair.of(asked("hi"), "a", "b"), PromptItem.of(asked("hi"))
    assert len({split_key(item) for item in (conversation, pair, prompt)}) == 1


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_shares_out_of_range(share):
    with pytest.raises(UsageError, match="a held-out share"):
        hold_out(pairs(3), share)


def test_an_empty_side_is_an_error():
    with pytest.raises(DataError, match="the held-out side is empty: 1 prompts"):
        hold_out(pairs(1), 0.0001)
    with pytest.raises(DataError, match="the training side is empty"):
        hold_out(pairs(1), 0.9999)
    with pytest.raises(UsageError, match="by='row'"):
        hold_out(pairs(3), 0.5, by="row")


def test_shuffles():
    assert shuffled(range(20), 1) == shuffled(range(20), 1)
    assert shuffled(range(20), 1) != shuffled(range(20), 2)
    assert sorted(shuffled(range(20), 1)) == list(range(20))
