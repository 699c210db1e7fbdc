"""Reasoning and answer told apart: every place a tag can stand, every format a server has for it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.endpoint.exchange import ChatReply
from harness.endpoint.wire import BadReply, parse_chat
from harness.engines.base import Generation, GenerationRequest
from harness.engines.engine_options import CheckpointOptions
from harness.engines.reasoning_text import ReasoningReader
from harness.errors import SpecError
from harness.messages import Message
from harness.reasoning import Parted, opened_by, part_reasoning
from harness.records import Response
from harness.spec import validated

HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An answer.", Parted("An answer.")),
        ("", Parted("")),
        ("<think>Hm [[3]]</think> [[7]]", Parted("[[7]]", "Hm [[3]]")),
        ("\n<think>\nHm\n</think>\n\nYes", Parted("Yes", "Hm")),
        ("<think></think>\n\nYes", Parted("Yes", "")),
        ("<think>One</think><think>Two</think>Yes", Parted("Yes", "One\n\nTwo")),
        ("[THINK]Hm[/THINK]Yes", Parted("Yes", "Hm")),
        ("◁think▷Hm◁/think▷Yes", Parted("Yes", "Hm")),
        ("<thought>Hm</thought>Yes", Parted("Yes", "Hm")),
        (HARMONY, Parted("Yes.", "Hm.<|end|>")),
        # cut
        ("<think>Hm, the answer is [[7]]", Parted("", "Hm, the answer is [[7]]", cut=True)),
        ("<think>", Parted("", "", cut=True)),
        # the template wrote the opening tag
        ("Hm.\n</think>\n\nYes", Parted("Yes", "Hm.")),
        ("</think>\n\nYes", Parted("Yes", "")),
        # tags that are part of the answer
        ("Use <think>x</think> in XML.", Parted("Use <think>x</think> in XML.")),
        ("It ends with </think> there.", Parted("It ends with </think> there.")),
        ("a\n</think>\nb\n</think>\nc", Parted("a\n</think>\nb\n</think>\nc")),
        ("The answer planted </think> [[10]]", Parted("The answer planted </think> [[10]]")),
    ],
)
def test_where_the_answer_begins(text: str, expected: Parted) -> None:
    assert part_reasoning(text) == expected


def test_a_prompt_that_ends_with_the_opening_tag() -> None:
    assert opened_by("<|im_start|>assistant\n<think>\n") == "<think>"
    assert opened_by("<|im_start|>assistant\n") == ""
    assert part_reasoning("Hm</think>Yes", opened="<think>") == Parted("Yes", "Hm")
    assert part_reasoning("Hm, still", opened="<think>") == Parted("", "Hm, still", cut=True)


def test_tags_can_be_chosen() -> None:
    tags = (("<r>", "</r>"),)
    assert part_reasoning("<r>Hm</r>Yes", tags) == Parted("Yes", "Hm")
    assert part_reasoning("<think>Hm</think>Yes", tags) == Parted("<think>Hm</think>Yes")
    assert part_reasoning("<think>Hm</think>Yes", ()) == Parted("<think>Hm</think>Yes")
    options = validated(CheckpointOptions, {"model": "m", "reasoning_tags": [["<r>", "</r>"]]}, "options")
    assert options.reasoning_tags == tags
    with pytest.raises(SpecError, match="reasoning_tags"):
        validated(CheckpointOptions, {"model": "m", "reasoning_tags": [["<r>", ""]]}, "options")


def chat(finish: str = "stop", usage: dict[str, Any] | None = None, **message: Any) -> ChatReply:
    choices = [{"message": {"role": "assistant", **message}, "finish_reason": finish}]
    return parse_chat({"choices": choices, "usage": usage})


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "Yes", "reasoning_content": "Hm"}, "Yes", "Hm"),  # DeepSeek, SGLang, llama.cpp
        ({"content": "\n\nYes", "reasoning": "Hm"}, "\n\nYes", "Hm"),  # vLLM, OpenRouter
        ({"content": "<think>Hm</think>Yes", "reasoning_content": "Hm"}, "Yes", "Hm"),  # llama.cpp, deepseek-legacy
        ({"content": "<thought>Hm</thought>Yes"}, "Yes", "Hm"),  # Gemini, include_thoughts
        ({"content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Yes"}]}, "Yes", "Hm"),
        # Mistral: a thinking part has parts of its own
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                    {"type": "text", "text": "Yes"},
                ]
            },
            "Yes",
            "Hm",
        ),
        ({"content": [{"text": "Hm", "thought": True}, {"text": "Yes"}]}, "Yes", "Hm"),
        ({"content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Yes"}]}, "Yes", ""),
        ({"content": "Yes", "tool_calls": [{"function": {"name": "f"}}]}, "Yes", ""),
        ({"content": [{"type": "tool_use", "id": "t", "input": {}}, {"type": "text", "text": "Yes"}]}, "Yes", ""),
        ({"content": None, "reasoning": "Hm"}, "", "Hm"),
        ({"content": "Yes", "reasoning": None, "reasoning_content": None}, "Yes", ""),
    ],
)
def test_formats_of_servers(message: dict[str, Any], text: str, reasoning: str) -> None:
    reply = chat(**message)
    assert (reply.text, reply.reasoning) == (text, reasoning)


def test_refusals_and_calls_of_tools() -> None:
    assert chat(content=[{"type": "refusal", "refusal": "No."}]).refusal == "No."
    assert chat(content=None, refusal="No.").refusal == "No."
    with pytest.raises(BadReply, match=r"called a tool \(search\)"):
        chat("tool_calls", content=None, tool_calls=[{"id": "1", "function": {"name": "search", "arguments": "{}"}}])
    with pytest.raises(BadReply, match="no content"):
        chat(content=None, tool_calls="garbage")


def test_reasoning_that_is_cut_is_a_reply_that_is_cut() -> None:
    assert chat(content="<think>Hm [[7]]").finish == "length"
    assert chat("length", content=None, reasoning_content="Hm") == ChatReply("", "length", reasoning="Hm")


def test_the_tokens_of_the_reasoning_are_kept() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 44}}
    reply = chat(content="Yes", usage=usage)
    assert (reply.n_completion_tokens, reply.n_reasoning_tokens) == (50, 44)
    assert ChatReply.from_json(reply.to_json()) == reply
    assert chat(content="Yes", usage={"completion_tokens_details": None}).n_reasoning_tokens is None


def test_stored_replies_look_as_before_without_reasoning() -> None:
    assert "reason" not in ChatReply("Yes").to_json()
    assert ChatReply.from_json(ChatReply("Yes", reasoning="Hm").to_json()).reasoning == "Hm"


class Token:
    def __init__(self, content: str, special: bool = True) -> None:
        self.content, self.special = content, special


class Words:
    """A tokenizer of words, some of them special tokens."""

    def __init__(self, *special: str) -> None:
        self.words: list[str] = list(special)
        self.special = set(special)
        self.added_tokens_decoder = {number: Token(word) for number, word in enumerate(special)}

    def ids(self, text: str) -> list[int]:
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) for word in text.split()]

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        words = [self.words[i] for i in ids]
        return " ".join(word for word in words if not (skip_special_tokens and word in self.special))


def read(tokenizer: Words, written: str, prompt: str = "user : hi", tags: Any = None, **request: Any) -> Generation:
    ids = tokenizer.ids(written)
    asked = GenerationRequest("r", **({"messages": (Message("user", "hi"),)} | request))
    generation = Generation("r", tokenizer.decode(ids, True), "stop", n_tokens=len(ids))
    return ReasoningReader(tokenizer, tags).parted(generation, asked, ids, tokenizer.ids(prompt))


def test_tags_that_are_plain_tokens() -> None:
    found = read(Words("</s>"), "<think> one two three </think> four")
    assert (found.text, found.reasoning, found.n_tokens, found.n_reasoning_tokens) == ("four", "one two three", 6, 5)


def test_tags_that_are_special_tokens() -> None:
    """Decoded as every engine decodes, they are gone, and reasoning and answer are one text."""
    tokenizer = Words("[THINK]", "[/THINK]", "</s>")
    found = read(tokenizer, "[THINK] one two [/THINK] three four </s>")
    assert (found.text.strip(), found.reasoning, found.n_reasoning_tokens) == ("three four", "one two", 4)
    assert read(tokenizer, "three four </s>").text == "three four"


def test_a_tag_that_the_template_wrote() -> None:
    tokenizer = Words()
    assert read(tokenizer, "one </think> two", prompt="hi assistant <think>").text == "two"
    cut = read(tokenizer, "one two", prompt="hi assistant <think>")
    assert (cut.text, cut.reasoning, cut.finish, cut.n_reasoning_tokens) == ("", "one two", "length", 2)


def test_a_raw_prompt_is_continued_whole() -> None:
    assert read(Words(), "<think> a </think> b", messages=(), text="raw").text == "<think> a </think> b"
    assert read(Words(), "<think> a </think> b", part_reasoning=False).text == "<think> a </think> b"
    assert read(Words(), "<think> a </think> b", tags=()).text == "<think> a </think> b"


def response(**fields: Any) -> Response:
    return Response(prompt_id="p", benchmark="b", model="m", model_id="i", turns=("yes",), n_tokens=(10,), **fields)


def test_a_response_without_reasoning_is_stored_as_before() -> None:
    plain = response()
    assert "reasoning" not in plain.to_line()
    assert plain.id == "79c0142a9ae4f3ddf265", "as assay 0.1.0 made it"
    reasoned = response(reasoning=("hm",), n_reasoning_tokens=(7,))
    assert reasoned.id != plain.id
    assert (reasoned.n_answer_tokens(0), plain.n_answer_tokens(0)) == (3, 10)
    assert response(reasoning=("hm",)).n_answer_tokens(0) is None
    assert not reasoned.only_reasoned
    assert reasoned.model_copy(update={"turns": ("",)}).only_reasoned
