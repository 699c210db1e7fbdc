"""Encode conversations and pairs as token ids, with the labels of the loss.

The assistant's tokens are found in one of two ways:

- The chat template marks them (``{% generation %}`` ... ``{% endgeneration %}``).
- Without marks, an assistant's turn is what the template adds to the rendering of the turns before it with the
  generation prompt. That is the prompt/completion form of every turn, and what the model has to write at inference. The
  template must render the start of a conversation the same with and without its continuation. This is checked for every
  conversation, and a template that does not (some drop earlier reasoning) is refused.

Notation: n tokens in a sequence; labels are -100 for tokens without loss, as in torch's cross entropy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import DataError, ModelError
from harness.messages import Message

IGNORED = -100

_MARKS = re.compile(r"{%-?\s*generation\s*-?%}")


@dataclass(frozen=True, slots=True)
class EncodedConversation:
    """A conversation of n tokens.

    Parameters
    ----------
    input_ids : list of int, length n
    labels : list of int, length n
        The ids of the assistant's tokens, -100 elsewhere.
    """

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A prompt and two answers; the model reads prompt + answer.

    Parameters
    ----------
    prompt_ids, chosen_ids, rejected_ids : list of int
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


def has_generation_marks(template: str) -> bool:
    """Whether a chat template marks the assistant's turns."""
    return bool(_MARKS.search(template))


class Encoder:
    """Renders conversations with a tokenizer's chat template and finds the assistant's tokens.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        A fast one, with a chat template.

    Raises
    ------
    ModelError
        The tokenizer has no offsets of tokens in the text.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.is_fast:
            raise ModelError(
                f"{type(tokenizer).__name__} does not give the characters of a token",
                "a fast tokenizer (tokenizer.json)",
                "convert it: AutoTokenizer.from_pretrained(MODEL, use_fast=True).save_pretrained(MODEL)",
            )
        self.tokenizer = tokenizer
        self.marked = has_generation_marks(tokenizer.chat_template)

    def render(self, messages: Sequence[Message], *, prompt: bool) -> str:
        """Render a conversation with the template; `prompt` adds the start of the next assistant turn.

        Raises
        ------
        DataError
            The template refuses it.
        """
        import jinja2

        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in messages], tokenize=False, add_generation_prompt=prompt
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"the chat template refuses a conversation ({error}): {_describe(messages)}",
                "roles in the order the template accepts",
                "correct or remove it",
            ) from error
        return str(text)

    def conversations(self, conversations: Sequence[Sequence[Message]]) -> list[EncodedConversation]:
        """Encode whole conversations, with labels on the assistant's tokens.

        Raises
        ------
        DataError
            The template refuses a conversation, or one has no assistant turn.
        ModelError
            The template does not render a conversation's start the same with and without its continuation.
        """
        if self.marked:
            return [self._by_marks(messages) for messages in conversations]
        texts = [self.render(messages, prompt=False) for messages in conversations]
        encoded = self._tokenize(texts)
        found = []
        for messages, text, (ids, ends) in zip(conversations, texts, encoded, strict=True):
            spans = self.spans(messages, text)
            labels, place = [IGNORED] * len(ids), 0
            for start, stop in spans:
                while place < len(ids) and ends[place] <= start:
                    place += 1
                while place < len(ids) and ends[place] <= stop:
                    labels[place] = ids[place]
                    place += 1
            found.append(EncodedConversation(ids, labels))
        return found

    def _by_marks(self, messages: Sequence[Message]) -> EncodedConversation:
        encoded = self.tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages],
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids = [int(i) for i in encoded["input_ids"]]
        labels = [i if bit else IGNORED for i, bit in zip(ids, encoded["assistant_masks"], strict=True)]
        if not any(encoded["assistant_masks"]):
            raise _silent(messages)
        return EncodedConversation(ids, labels)

    def spans(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Find the assistant's characters in a rendered conversation by rendering its starts."""
        found = []
        for turn, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self.render(messages[:turn], prompt=True) if turn else ""
            through = text if turn == len(messages) - 1 else self.render(messages[: turn + 1], prompt=False)
            if not (text.startswith(before) and text.startswith(through) and len(before) < len(through)):
                raise ModelError(
                    "the chat template has no {% generation %} marks, and renders the start of a conversation "
                    f"differently when it continues, so the assistant's tokens are unknown: {_describe(messages)}",
                    "a template that marks assistant turns with {% generation %} ... {% endgeneration %}",
                    "add the marks (transformers' documentation of chat templates shows how) and set chat_template to "
                    "the file",
                )
            found.append((len(before), len(through)))
        if not found:
            raise _silent(messages)
        return found

    def pairs(
        self, prompts: Sequence[Sequence[Message]], sides: Sequence[tuple[Sequence[Message], Sequence[Message]]]
    ) -> list[EncodedPair]:
        """Encode prompts with two continuations each, split where the renderings of prompt and whole diverge.

        Raises
        ------
        DataError
            The template refuses a conversation.
        """
        texts: list[str] = []
        for messages, both in zip(prompts, sides, strict=True):
            texts.append(self.render(messages, prompt=True))
            texts += [self.render([*messages, *side], prompt=False) for side in both]
        encoded = [ids for ids, _ in self._tokenize(texts)]
        found = []
        for place in range(0, len(encoded), 3):
            prompt, chosen_whole, rejected_whole = encoded[place : place + 3]
            n = min(_common_prefix(prompt, chosen_whole), _common_prefix(prompt, rejected_whole))
            found.append(EncodedPair(prompt[:n], chosen_whole[n:], rejected_whole[n:]))
        return found

    def _tokenize(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """Tokenise rendered texts; for each, the ids and the offsets of the tokens' ends, length n."""
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [
            ([int(i) for i in ids], [stop for _, stop in offsets])
            for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    n = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        n += 1
    return n


def _silent(messages: Sequence[Message]) -> DataError:
    return DataError(
        f"a conversation without an assistant turn: {_describe(messages)}", "at least one assistant turn", "remove it"
    )


def _describe(messages: Sequence[Message]) -> str:
    """The start of a conversation, for an error message."""
    shown = "; ".join(f"{m.role}: {m.content[:40]!r}" for m in list(messages)[:3])
    return shown + ("; ..." if len(messages) > 3 else "") if messages else "(no messages)"
