"""Items of training data: what is refused, and in which words."""

from __future__ import annotations

import pytest

from harness.messages import Message
from training.data.records import BadItem, Conversation, PreferencePair, PromptItem, prompt_key


def said(*turns):
    """Messages from "u: text", "a: text", "s: text"."""
    roles = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    return [Message(roles[turn[0]], turn[3:]) for turn in turns]


def test_a_conversation():
    item = Conversation.of(said("s: be brief", "u: hi", "a: hello", "u: bye", "a: goodbye"), "here")
    assert item.source == "here"
    assert item.prompt == tuple(said("s: be brief", "u: hi", "a: hello", "u: bye"))
    assert item.prompt_key == PromptItem.of(item.prompt).key
    assert item.key == Conversation.of(item.messages).key != Conversation.of(said("u: hi", "a: hello")).key
    assert item.as_row()["messages"][1] == {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("turns", "reason", "found"),
    [
        ([], "empty conversation", "no turn of user or assistant"),
        (["s: be brief"], "empty conversation", "no turn of user or assistant"),
        (["u: ", "a: x"], "empty turn", "turn 1 of 2 (user) is empty"),
        (["u: x", "a:  \n\t"], "empty turn", "turn 2 of 2 (assistant) is empty"),
        (["s: ", "u: x", "a: y"], "empty turn", "turn 1 of 3 (system) is empty"),
        (["u: x", "a: \ud83d"], "broken text", "turn 2 of 2 (assistant) holds half a character"),
        (["a: x", "u: y", "a: z"], "roles out of order", "turn 1 is the assistant's (roles: assistant, user, assist"),
        (["u: x", "u: y", "a: z"], "roles out of order", "turn 2 is the user's"),
        (["u: x", "a: y", "a: z"], "roles out of order", "turn 3 is the assistant's"),
        (["u: x", "s: y", "a: z"], "roles out of order", "turn 2 is the system's"),
        (["s: q", "s: x", "u: y", "a: z"], "roles out of order", "turn 2 is the system's"),
        (["u: x", "t: y", "a: z"], "roles out of order", "turn 2 is the tool's"),
        (["u: x"], "no answer at the end", "the last turn is the user's"),
        (["u: x", "a: y", "u: z"], "no answer at the end", "the last turn is the user's"),
    ],
)
def test_conversations_that_are_none(turns, reason, found):
    with pytest.raises(BadItem) as caught:
        Conversation.of(said(*turns))
    assert caught.value.reason == reason
    assert found in str(caught.value)


def test_a_pair():
    item = PreferencePair.of(said("u: hi"), "hello", "go away", "here", (4.0, 1.5))
    assert item.chosen == (Message("assistant", "hello"),)
    assert item.margin == 2.5
    assert item.is_single_turn
    assert item.key == prompt_key(said("u:  hi "))  # spaces around a turn do not make another prompt
    assert item.as_row() == {
        "prompt": [{"role": "user", "content": "hi"}],
        "chosen": [{"role": "assistant", "content": "hello"}],
        "rejected": [{"role": "assistant", "content": "go away"}],
    }


def test_sides_of_several_turns():
    item = PreferencePair.of(said("u: hi"), said("a: a", "u: b", "a: c"), said("a: d"))
    assert not item.is_single_turn
    assert item.margin is None


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "scores", "reason"),
    [
        (["u: x"], "same", "same", (None, None), "equal sides"),
        (["u: x"], "same ", "\nsame", (None, None), "equal sides"),
        (["u: x"], "", "b", (None, None), "empty turn"),
        (["u: x"], "a", " ", (None, None), "empty turn"),
        (["u: x"], [], "b", (None, None), "empty conversation"),
        ([], "a", "b", (None, None), "empty conversation"),
        (["u: x", "a: y"], "a", "b", (None, None), "no question at the end"),
        (["u: x"], said("u: y", "a: z"), "b", (None, None), "roles out of order"),
        (["u: x"], said("a: y", "u: z"), "b", (None, None), "no answer at the end"),
        (["u: x"], "a", "b", (1.0, 2.0), "scores against the labels"),
    ],
)
def test_pairs_that_are_none(prompt, chosen, rejected, scores, reason):
    with pytest.raises(BadItem) as caught:
        PreferencePair.of(said(*prompt), chosen, rejected, "", scores)
    assert caught.value.reason == reason


def test_equal_sides_say_what_to_do():
    with pytest.raises(BadItem, match="'the same answer'") as caught:
        PreferencePair.of(said("u: x"), "the same\nanswer", "the same\nanswer")
    assert "--on-bad drop" in str(caught.value)


def test_prompts():
    item = PromptItem.of(said("s: be brief", "u: hi"))
    assert item.key == PreferencePair.of(said("s: be brief", "u: hi"), "a", "b").key
    assert item.key != PromptItem.of(said("u: hi")).key
    assert item.as_row() == {"prompt": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]}
    with pytest.raises(BadItem, match="the last turn is the assistant's"):
        PromptItem.of(said("u: hi", "a: hello"))
