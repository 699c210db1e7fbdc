"""Chat templates: the tokenizer's own, or one from a file; never guessed from the model's name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from harness.errors import MissingDataError, ModelError, NoChatTemplateError
from harness.messages import Message

_SENTINEL = "assistantturnsentinel"


class ChatTemplateError(ValueError):
    """A template refuses a conversation (an unsupported role, turns that do not alternate)."""


class ChatTemplate:
    """A Jinja chat template bound to its tokenizer.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        Renders the template with its special tokens as variables.
    source : str
        The template's text.
    """

    def __init__(self, tokenizer: Any, source: str) -> None:
        self._tokenizer = tokenizer
        self.source = source

    @property
    def sha256(self) -> str:
        """SHA-256 of the template's text, 64 hex digits."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def render(self, messages: Sequence[Message]) -> str:
        """Write a conversation as the prompt for the next assistant turn.

        Raises
        ------
        ChatTemplateError
            The template rejects these messages; the error's text is its own.
        """
        return self._apply([{"role": m.role, "content": m.content} for m in messages], add_generation_prompt=True)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Render and tokenise a conversation; the template alone says which special tokens there are.

        Raises
        ------
        ChatTemplateError
            As in :meth:`render`.
        """
        return self.tokenise(self.render(messages))

    def render_answered(self, messages: Sequence[Message]) -> str:
        """Write a conversation that ends with the assistant's answer, as reward models read it.

        Raises
        ------
        ChatTemplateError
            As in :meth:`render`.
        """
        return self._apply([{"role": m.role, "content": m.content} for m in messages], add_generation_prompt=False)

    def encode_answered(self, messages: Sequence[Message]) -> list[int]:
        """Render and tokenise a conversation that ends with the assistant's answer.

        Raises
        ------
        ChatTemplateError
            As in :meth:`render`.
        """
        return self.tokenise(self.render_answered(messages))

    def tokenise(self, text: str) -> list[int]:
        """Tokenise rendered text; no special token is added to those the template wrote."""
        return [int(i) for i in self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]

    def end_of_turn_ids(self) -> set[int]:
        """Find the special token the template itself writes right after an assistant's turn.

        Some chat checkpoints declare only the end of *text* as eos, and their template ends a *turn* with another
        token; a generation that does not stop there continues with the next user's turn. Only tokens that the
        tokenizer declares as special are considered.

        Returns
        -------
        set of int
            At most one id.
        """
        conversation = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _SENTINEL}]
        try:
            text = self._apply(conversation, add_generation_prompt=False)
        except ChatTemplateError:
            return set()
        _, found, after = text.rpartition(_SENTINEL)
        if not found:
            return set()
        after = after.lstrip()
        declared = {t.content: i for i, t in self._tokenizer.added_tokens_decoder.items() if t.special}
        matching = [content for content in declared if content and after.startswith(content)]
        return {declared[max(matching, key=len)]} if matching else set()

    def check_syntax(self, where: str) -> None:
        """Parse the template.

        Raises
        ------
        ModelError
            It is not valid Jinja.
        """
        try:
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": "x"}], chat_template=self.source, tokenize=False
            )
        except jinja2.TemplateSyntaxError as error:
            raise ModelError(
                f"the chat template {where} is not valid Jinja: line {error.lineno}: {error.message}",
                remedy="correct it, or give another with --chat-template FILE",
            ) from error
        except (jinja2.TemplateError, ValueError, TypeError):
            return  # it parses; whether it accepts a conversation is checked for each conversation

    def _apply(self, conversation: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                conversation, chat_template=self.source, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise ChatTemplateError(f"the chat template refuses the conversation: {error}") from error
        return str(text)


def load_chat_template(tokenizer: Any, path: Path | None) -> ChatTemplate | None:
    """Take the template from a file, else from the tokenizer.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        Its `chat_template` is None, a text, or named texts of which "default" is taken.
    path : Path or None
        A file with a Jinja template, which wins.

    Returns
    -------
    ChatTemplate or None
        None if neither has one.

    Raises
    ------
    MissingDataError
        The file is missing or not text.
    ModelError
        The template is not valid Jinja.
    """
    if path is not None:
        try:
            source: str | None = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MissingDataError(
                f"the chat template {path} cannot be read: {error}",
                "a Jinja template in UTF-8",
                "check --chat-template",
            ) from error
    else:
        declared = tokenizer.chat_template
        source = declared.get("default") if isinstance(declared, dict) else declared
    if not source:
        return None
    template = ChatTemplate(tokenizer, source)
    template.check_syntax(str(path) if path is not None else "of the tokenizer")
    return template


def no_chat_template(model: str) -> NoChatTemplateError:
    """Build the error for a conversation put to a model without a template."""
    return NoChatTemplateError(
        f"{model} has no chat template, so a conversation cannot be put to it",
        "a tokenizer with a chat template (chat_template in tokenizer_config.json, or chat_template.jinja)",
        "give one with --chat-template FILE, or use a benchmark of plain-text prompts",
    )
