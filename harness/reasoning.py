"""Reasoning told apart from the answer it leads to, in the text of a model.

Judge and candidate are read by the same rules:

- reasoning stands at the start of a reply, between an opening and a closing tag; several such blocks may follow each
  other;
- the opening tag is missing where the chat template wrote it into the prompt: a closing tag alone on its line, once,
  ends reasoning that began with the reply;
- reasoning that is not closed was cut: there is no answer;
- a tag anywhere else is part of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

__all__ = ["DEFAULT_TAGS", "Parted", "ReasoningTags", "opened_by", "part_reasoning"]


def _pairs(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(tuple(pair) if isinstance(pair, list) else pair for pair in value)
    return value


Tag = Annotated[str, Field(min_length=1)]

ReasoningTags = Annotated[tuple[tuple[Tag, Tag], ...], BeforeValidator(_pairs)]
"""Pairs of an opening and a closing tag; none switches the separation off."""

DEFAULT_TAGS: ReasoningTags = (
    ("<think>", "</think>"),  # DeepSeek R1, Qwen3, QwQ, GLM, ...
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),  # Gemini's OpenAI-compatible endpoint
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi K2 Thinking
    ("<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>"),  # gpt-oss
)


@dataclass(frozen=True, slots=True)
class Parted:
    """A text in two parts.

    Parameters
    ----------
    answer : str
        What follows the reasoning; the whole text, unchanged, if there is none.
    reasoning : str
        The reasoning without its tags; "" if there is none.
    cut : bool
        Whether the text ends within the reasoning.
    """

    answer: str
    reasoning: str = ""
    cut: bool = False

    @property
    def has_reasoning(self) -> bool:
        """Whether anything was separated."""
        return self.cut or bool(self.reasoning)


def part_reasoning(text: str, tags: ReasoningTags = DEFAULT_TAGS, opened: str = "") -> Parted:
    """Tell reasoning and answer apart.

    Parameters
    ----------
    text : str
        What the model wrote.
    tags : tuple of (str, str)
        Pairs of an opening and a closing tag.
    opened : str
        The opening tag with which the prompt ended (`opened_by`); "" if it ended with none, or is not known.
    """
    rest = opened + text
    blocks: list[str] = []
    while (pair := _opening(rest, tags)) is not None:
        block, closing, after = rest.lstrip()[len(pair[0]) :].partition(pair[1])
        blocks.append(block.strip())
        if not closing:
            return Parted("", _joined(blocks), cut=True)
        rest = after
    if blocks:
        return Parted(rest.lstrip(), _joined(blocks))
    return _without_opening(text, tags)


def opened_by(prompt_end: str, tags: ReasoningTags = DEFAULT_TAGS) -> str:
    """Return the opening tag with which a prompt ends; "" if it ends with none."""
    end = prompt_end.rstrip()
    return next((opening for opening, _ in tags if end.endswith(opening)), "")


def _opening(text: str, tags: ReasoningTags) -> tuple[str, str] | None:
    start = text.lstrip()
    return next((pair for pair in tags if start.startswith(pair[0])), None)


def _joined(blocks: list[str]) -> str:
    return "\n\n".join(block for block in blocks if block)


def _without_opening(text: str, tags: ReasoningTags) -> Parted:
    """Separate at a closing tag whose opening one the model did not write."""
    for opening, closing in tags:
        if text.count(closing) != 1 or opening in text:
            continue
        before, _, after = text.partition(closing)
        alone = (not before or before.endswith("\n")) and (not after or after.startswith("\n"))
        if alone:
            return Parted(after.lstrip(), before.strip())
    return Parted(text)
