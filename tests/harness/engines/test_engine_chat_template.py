"""Chat templates: where they come from, what they refuse, what ends a turn."""

from __future__ import annotations

import hashlib

import pytest

from harness.engines.chat_template import ChatTemplate, ChatTemplateError, load_chat_template
from harness.errors import MissingDataError, ModelError
from harness.messages import Message
from tests.paths import MODELS, needs_models
from tests.support.random_models import BOS, END_OF_TURN, EOS, byte_tokenizer

PLAIN = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + PLAIN
)
CONVERSATION = (Message("user", "hi"),)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def test_renders_with_the_prompt_for_the_next_turn(tokenizer):
    assert ChatTemplate(tokenizer, PLAIN).render(CONVERSATION) == "[user]hi<end>[assistant]"


def test_the_template_alone_decides_on_bos(tokenizer):
    assert ChatTemplate(tokenizer, "{{ bos_token }}" + PLAIN).encode(CONVERSATION).count(BOS) == 1
    assert BOS not in ChatTemplate(tokenizer, PLAIN).encode(CONVERSATION)


def test_a_refusal_is_in_the_templates_own_words(tokenizer):
    with pytest.raises(ChatTemplateError, match="System role not supported"):
        ChatTemplate(tokenizer, NO_SYSTEM).render((Message("system", "be kind"), *CONVERSATION))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (PLAIN, {END_OF_TURN}),
        (PLAIN.replace("<end>", "\n<eos>\n"), {EOS}),
        (PLAIN.replace("<end>", "###"), set()),
        ("{% for m in messages %}{{ m['role'] }}{% endfor %}", set()),
        ("{{ raise_exception('never') }}", set()),
    ],
)
def test_the_token_that_ends_an_assistants_turn(tokenizer, source, expected):
    assert ChatTemplate(tokenizer, source).end_of_turn_ids() == expected


def test_a_file_wins_over_the_tokenizer(tmp_path):
    path = tmp_path / "template.jinja"
    path.write_text(PLAIN)
    own = byte_tokenizer("{{ messages }}")
    template = load_chat_template(own, path)
    assert template is not None and template.source == PLAIN
    assert template.sha256 == hashlib.sha256(PLAIN.encode()).hexdigest()
    from_tokenizer = load_chat_template(own, None)
    assert from_tokenizer is not None and from_tokenizer.source == "{{ messages }}"


def test_named_templates_have_a_default():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = {"default": PLAIN, "tool_use": "x"}
    template = load_chat_template(tokenizer, None)
    assert template is not None and template.source == PLAIN
    tokenizer.chat_template = {"tool_use": "x"}
    assert load_chat_template(tokenizer, None) is None


def test_none_where_there_is_none(tokenizer):
    assert load_chat_template(tokenizer, None) is None


def test_a_file_that_is_not_there_or_not_text(tokenizer, tmp_path):
    with pytest.raises(MissingDataError, match=r"gone\.jinja"):
        load_chat_template(tokenizer, tmp_path / "gone.jinja")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MissingDataError, match="binary"):
        load_chat_template(tokenizer, tmp_path / "binary")


def test_bad_jinja_names_file_and_line(tokenizer, tmp_path):
    path = tmp_path / "bad.jinja"
    path.write_text("ok\n{% for m in messages %}")
    with pytest.raises(ModelError, match=r"bad\.jinja is not valid Jinja: line 2"):
        load_chat_template(tokenizer, path)


def test_a_template_that_refuses_a_bare_question_is_still_valid(tokenizer, tmp_path):
    path = tmp_path / "picky.jinja"
    path.write_text("{{ raise_exception('needs a system prompt') }}")
    assert load_chat_template(tokenizer, path) is not None


@needs_models
def test_the_real_chat_models_template():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODELS / "neo3m-chat-hf")
    template = load_chat_template(tokenizer, None)
    assert template is not None
    turns = (Message("user", " hi "), Message("assistant", "hello"), Message("user", "bye"))
    assert template.render(turns) == "User: hi\nBot: hello<|endoftext|>\nUser: bye\nBot:"
    assert template.end_of_turn_ids() == {tokenizer.eos_token_id}
