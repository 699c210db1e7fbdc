"""Conversations that end with an answer, for engines that score answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.engines.chat_template import ChatTemplate, load_chat_template, no_chat_template
from harness.engines.hf.hf_options import HFOptions
from harness.messages import Message


def required_template(tokenizer: Any, options: HFOptions) -> ChatTemplate:
    """Take the chat template from the options' file, else from the tokenizer.

    Raises
    ------
    NoChatTemplateError
        Neither has one. The template is not guessed: a model that scores answers was trained on its text.
    """
    template = load_chat_template(tokenizer, options.chat_template)
    if template is None:
        raise no_chat_template(options.display_name)
    return template


def not_an_answer(messages: Sequence[Message]) -> str:
    """Say why a conversation has no answer to score; "" if it has one."""
    if not messages:
        return "the conversation is empty"
    if messages[-1].role != "assistant":
        return f"the conversation ends with the {messages[-1].role}'s message, not with an answer"
    return ""


def cut_start(ids: list[int], limit: int | None, bos: int | None) -> tuple[list[int], bool]:
    """Keep the last tokens of a text that is too long, and its begin-of-sequence token.

    Parameters
    ----------
    ids : list of int
        The text's tokens.
    limit : int or None
        Tokens the model takes.
    bos : int or None
        The begin-of-sequence token: a model trained with it at the start is unreliable without it.

    Returns
    -------
    (list of int, bool)
        At most `limit` tokens, and whether any were cut.
    """
    if limit is None or len(ids) <= limit:
        return ids, False
    if bos is not None and ids[0] == bos and limit > 1:
        return [bos, *ids[len(ids) - limit + 1 :]], True
    return ids[len(ids) - limit :], True


def tightest(*limits: int | None) -> int | None:
    """Return the smallest of several limits; None where there is none."""
    return min((limit for limit in limits if limit is not None), default=None)
