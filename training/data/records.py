"""The records of training data: conversations, preference pairs and prompts, each validated when it is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from harness.errors import DataError
from harness.hashing import content_hash
from harness.messages import Message

NOT_ONLY_TEXT = "not only text"


class BadItem(DataError):  # noqa: N818 - the item is bad, and the program is not
    """An invalid item.

    Parameters
    ----------
    reason : str
        The fault in two or three words, the same for every item with it; `on_bad="drop"` counts by reason.
    found : str
        The fault in this item.
    allowed, remedy : str, optional
        As in :class:`harness.errors.AssayError`.
    """

    def __init__(self, reason: str, found: str, allowed: str = "", remedy: str = "") -> None:
        super().__init__(found, allowed, remedy)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation for fine-tuning.

    Parameters
    ----------
    messages : tuple of Message
        An optional system message, then user and assistant in turn, the last one the assistant's.
    key : str
        Content hash of the messages.
    source : str
        Name of the source, for tables.
    """

    messages: tuple[Message, ...]
    key: str
    source: str = ""

    @classmethod
    def of(cls, messages: Iterable[Message], source: str = "") -> Self:
        """Validate messages and make a conversation.

        Raises
        ------
        BadItem
            "empty conversation", "empty turn", "broken text", "roles out of order" or "no answer at the end".
        """
        turns = tuple(messages)
        check_turns(turns, last="assistant")
        return cls(turns, content_hash("conversation", plain_messages(turns)), source)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last answer."""
        return self.messages[:-1]

    @property
    def prompt_key(self) -> str:
        """Content hash of the prompt; a pair or prompt with these messages has the same."""
        return prompt_key(self.prompt)

    def as_row(self) -> dict[str, Any]:
        """The columns of TRL's SFT trainer."""
        return {"messages": plain_messages(self.messages)}


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two continuations of a conversation, one better than the other.

    Parameters
    ----------
    prompt : tuple of Message
        The conversation so far; the last message is the user's.
    chosen, rejected : tuple of Message
        The continuations: usually one answer; in general turns from the assistant's to the assistant's.
    key : str
        Content hash of the prompt; pairs of one prompt share it.
    source : str
        Name of the source, for tables.
    chosen_score, rejected_score : float or None
        Scores of the two on the source's scale, where it has one.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    key: str
    source: str = ""
    chosen_score: float | None = None
    rejected_score: float | None = None

    @classmethod
    def of(
        cls,
        prompt: Iterable[Message],
        chosen: str | Iterable[Message],
        rejected: str | Iterable[Message],
        source: str = "",
        scores: tuple[float | None, float | None] = (None, None),
    ) -> Self:
        """Validate a prompt and two continuations and make a pair.

        Parameters
        ----------
        prompt : iterable of Message
            Ends with the user's turn.
        chosen, rejected : str or iterable of Message
            An answer, or turns from the assistant's to the assistant's.
        source : str
            Name of the source.
        scores : tuple of float or None
            Scores of chosen and rejected.

        Raises
        ------
        BadItem
            "equal sides", "empty conversation", "empty turn", "broken text", "roles out of order",
            "no question at the end", "no answer at the end" or "scores against the labels".
        """
        asked, better, worse = tuple(prompt), _tail(chosen), _tail(rejected)
        check_turns(asked, last="user")
        for side, tail in (("chosen", better), ("rejected", worse)):
            if not tail:
                raise BadItem("empty conversation", f"the {side} side is empty", "an answer")
            check_turns((*asked, *tail), last="assistant")
        if _bare(better) == _bare(worse):
            raise BadItem(
                "equal sides",
                f"chosen and rejected are the same: {_start(better[-1].content)}",
                "two different answers",
                "remove the pair, or drop and count such pairs (on_bad='drop', --on-bad drop)",
            )
        if scores[0] is not None and scores[1] is not None and scores[0] < scores[1]:
            raise BadItem(
                "scores against the labels",
                f"chosen has the score {scores[0]:g}, rejected {scores[1]:g}",
                "the higher score on the chosen side",
            )
        return cls(asked, better, worse, prompt_key(asked), source, *scores)

    @property
    def margin(self) -> float | None:
        """Score of chosen minus score of rejected; None without scores."""
        if self.chosen_score is None or self.rejected_score is None:
            return None
        return self.chosen_score - self.rejected_score

    @property
    def prompt_key(self) -> str:
        """The key, under the name that all records have."""
        return self.key

    @property
    def is_single_turn(self) -> bool:
        """Whether each side is one answer."""
        return len(self.chosen) == 1 and len(self.rejected) == 1

    def as_row(self) -> dict[str, Any]:
        """The columns of TRL's DPO and reward trainers."""
        return {
            "prompt": plain_messages(self.prompt),
            "chosen": plain_messages(self.chosen),
            "rejected": plain_messages(self.rejected),
        }


@dataclass(frozen=True, slots=True)
class PromptItem:
    """A prompt to sample answers to.

    Parameters
    ----------
    messages : tuple of Message
        The conversation so far; the last message is the user's.
    key : str
        Content hash of the messages.
    source : str
        Name of the source, for tables.
    """

    messages: tuple[Message, ...]
    key: str
    source: str = ""

    @classmethod
    def of(cls, messages: Iterable[Message], source: str = "") -> Self:
        """Validate messages and make a prompt.

        Raises
        ------
        BadItem
            "empty conversation", "empty turn", "broken text", "roles out of order" or "no question at the end".
        """
        turns = tuple(messages)
        check_turns(turns, last="user")
        return cls(turns, prompt_key(turns), source)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages, under the name that all records have."""
        return self.messages

    @property
    def prompt_key(self) -> str:
        """The key, under the name that all records have."""
        return self.key

    def as_row(self) -> dict[str, Any]:
        """The columns of TRL's online trainers."""
        return {"prompt": plain_messages(self.messages)}


Record: TypeAlias = Conversation | PreferencePair | PromptItem


def prompt_item(record: Record) -> PromptItem:
    """The prompt of a record."""
    return PromptItem(record.prompt, record.prompt_key, record.source)


def prompt_key(messages: Sequence[Message]) -> str:
    """Hash a prompt's messages, without the spaces around them."""
    return content_hash("prompt", _bare(messages))


def plain_messages(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Messages as the mappings that chat templates take."""
    return [{"role": message.role, "content": message.content} for message in messages]


def check_turns(messages: Sequence[Message], last: str) -> None:
    """Check that messages are a conversation.

    Parameters
    ----------
    messages : sequence of Message
        An optional system message, then user and assistant in turn, the user first.
    last : {"user", "assistant"}
        Role of the last message.

    Raises
    ------
    BadItem
        They are not.
    """
    if all(message.role == "system" for message in messages):
        raise BadItem("empty conversation", "no turn of user or assistant", "at least one user turn")
    for number, message in enumerate(messages, start=1):
        _check_text(message, f"turn {number} of {len(messages)} ({message.role})")
    start = 1 if messages[0].role == "system" else 0
    for number, message in enumerate(messages[start:]):
        wanted = "assistant" if number % 2 else "user"
        if message.role != wanted:
            raise BadItem(
                "roles out of order",
                f"turn {start + number + 1} is the {message.role}'s (roles: {_roles(messages)})",
                "an optional system message first, then user and assistant in turn",
            )
    if messages[-1].role != last:
        reason = "no answer at the end" if last == "assistant" else "no question at the end"
        raise BadItem(reason, f"the last turn is the {messages[-1].role}'s", f"the {last}'s turn last")


def _check_text(message: Message, turn: str) -> None:
    if not message.content.strip():
        raise BadItem("empty turn", f"{turn} is empty", "some text")
    try:
        message.content.encode()
    except UnicodeEncodeError:  # JSON can hold lone surrogates, which no tokenizer takes
        raise BadItem(
            "broken text", f"{turn} holds half a character (a lone surrogate)", "text that can be written as UTF-8"
        ) from None


def _tail(side: str | Iterable[Message]) -> tuple[Message, ...]:
    return (Message("assistant", side),) if isinstance(side, str) else tuple(side)


def _bare(messages: Iterable[Message]) -> list[list[str]]:
    return [[message.role, message.content.strip()] for message in messages]


def _roles(messages: Sequence[Message]) -> str:
    names = [message.role for message in messages[:8]]
    return ", ".join(names) + (", ..." if len(messages) > len(names) else "")


def _start(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else line[:57] + "...")
