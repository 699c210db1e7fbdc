"""The common row layouts, recognised by their columns: TRL, RLHFlow, Alpaca, ShareGPT, OASST.

Only the columns of a row decide, never the name of the file. A row with images or sound is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.messages import Message
from training.data.records import NOT_ONLY_TEXT, BadItem, Conversation, PreferencePair, PromptItem

_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "chatgpt", "bard", "bing"), "assistant"),
    "system": "system",
}
_DIALOGUE = ("messages", "conversations", "conversation")
_PROMPTS = ("prompt", "context_messages", "messages", "conversations", "instruction", "question")
_OTHER_MEDIA = ("images", "image", "videos", "audios", "audio")
_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("rating_chosen", "rating_rejected"),
)
_TRANSCRIPT = "\n\nHuman:"

Values = Mapping[str, object]


def as_conversation(values: Values, source: str) -> Conversation:
    """Read a row as a conversation.

    Layouts: `messages` or `conversations` (role/content or from/value, with an optional `system` column);
    `prompt` and `completion` (TRL); `prompt` and `response`; `instruction`, `input`, `output` with optional `system`
    and `history` (Alpaca).

    Raises
    ------
    BadItem
        It has none of these layouts ("missing column") or is invalid.
    """
    _refuse_media(values)
    for column in _DIALOGUE:
        if column in values:
            return Conversation.of(_with_system(values, message_list(values[column], column)), source)
    if "prompt" in values:
        for column in ("completion", "response"):
            if column in values:
                prompt = _prompt_messages(values, "prompt")
                return Conversation.of((*prompt, *_tail(values[column], column)), source)
    answer = _first(values, ("output", "response"))
    if "instruction" in values and answer:
        return Conversation.of((*_alpaca_prompt(values), Message("assistant", text(values, answer))), source)
    raise _missing(values, "messages", "conversations", "prompt and completion", "instruction and output")


def as_pair(values: Values, source: str) -> PreferencePair:
    """Read a row as a preference pair.

    Layouts: `prompt`, `chosen`, `rejected` (TRL, texts or messages); `chosen` and `rejected` alone, both the whole
    conversation (TRL's implicit prompt, RLHFlow), which share the prompt; `conversations`, `chosen`,
    `rejected` (ShareGPT); `instruction`, `input`, `chosen`, `rejected` (Alpaca). Scores are read from
    `score_chosen`, `chosen_score` and the like.

    Raises
    ------
    BadItem
        It has none of these layouts ("missing column") or is invalid.
    """
    _refuse_media(values)
    require(values, "chosen", "rejected")
    prompt_column = _first(values, _PROMPTS)
    chosen, rejected = values["chosen"], values["rejected"]
    sides = _tail(chosen, "chosen"), _tail(rejected, "rejected")
    scores = _scores(values)
    if any(side and side[0].role != "assistant" for side in sides):
        prompt, better, worse = split_shared_prompt(*sides)
        if prompt_column:
            _check_given_prompt(values, prompt_column, prompt)
        return PreferencePair.of(prompt, better, worse, source, scores)
    if prompt_column is None:
        if isinstance(chosen, str) and chosen.startswith(_TRANSCRIPT):
            raise BadItem(
                "missing column",
                "chosen and rejected are transcripts of Human: and Assistant:",
                "messages, or a prompt column",
                "name the layout (adapter='hh_rlhf', --adapter hh_rlhf, FILE?adapter=hh_rlhf)",
            )
        raise _missing(values, *_PROMPTS)
    return PreferencePair.of(_prompt_messages(values, prompt_column), *sides, source, scores)


def as_prompt(values: Values, source: str) -> PromptItem:
    """Read a row as a prompt to sample answers to; answers in it are ignored.

    Raises
    ------
    BadItem
        It has no known column ("missing column") or no user turn to answer.
    """
    _refuse_media(values)
    column = _first(values, _PROMPTS)
    if column is None and "chosen" in values and "rejected" in values:
        return PromptItem.of(as_pair(values, source).prompt, source)
    if column is None:
        raise _missing(values, *_PROMPTS, "chosen and rejected")
    messages = _prompt_messages(values, column)
    while messages and messages[-1].role == "assistant":
        messages = messages[:-1]
    return PromptItem.of(messages, source)


def split_shared_prompt(
    chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """Split two whole conversations into the turns they share, up to a user turn, and the rest of each.

    Raises
    ------
    BadItem
        They share no user turn ("no common prompt"), or are the same ("equal sides").
    """
    shared = 0
    for left, right in zip(chosen, rejected, strict=False):
        if left.role != right.role or left.content.strip() != right.content.strip():
            break
        shared += 1
    if shared == len(chosen) == len(rejected) and shared:
        raise BadItem("equal sides", "chosen and rejected are the same conversation", "two different answers")
    while shared and chosen[shared - 1].role != "user":
        shared -= 1
    if not shared:
        raise BadItem(
            "no common prompt", "chosen and rejected do not begin with the same turns", "one prompt and two answers"
        )
    return tuple(chosen[:shared]), tuple(chosen[shared:]), tuple(rejected[shared:])


def message_list(value: object, column: str) -> tuple[Message, ...]:
    """Read a list of {role, content} or {from, value}, or one such mapping.

    Raises
    ------
    BadItem
        "wrong type" or "unknown role".
    """
    if isinstance(value, Mapping) and "replies" in value:
        raise BadItem(
            "wrong type",
            f"{column} is a tree of messages",
            "a list of {role, content}",
            "name the layout (adapter='oasst', --adapter oasst, FILE?adapter=oasst)",
        )
    if isinstance(value, Mapping) and not any(isinstance(part, list) for part in value.values()):
        value = [value]
    items = mapping_list(value, column, "a list of {role, content} or {from, value}")
    return tuple(_message(item, f"{column}[{place}]") for place, item in enumerate(items))


def mapping_list(value: object, column: str, wanted: str = "a list of mappings") -> list[Mapping[str, object]]:
    """Read a list of mappings, or the mapping of lists that some Parquet readers make of it.

    Raises
    ------
    BadItem
        "wrong type".
    """
    if isinstance(value, Mapping) and (rows := _transposed(value)):
        return rows
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise BadItem("wrong type", f"{column} is {_kind(value)}", wanted)
    for place, item in enumerate(value):
        if not isinstance(item, Mapping):
            raise BadItem("wrong type", f"{column}[{place}] is {_kind(item)}", wanted)
    return list(value)


def _transposed(columns: Mapping[Any, Any]) -> list[Mapping[str, object]]:
    """The rows of a mapping of lists of one length; none for another mapping."""
    lists = list(columns.values())
    if not all(isinstance(part, list) for part in lists) or len({len(part) for part in lists}) != 1:
        return []
    return [dict(zip(columns, parts, strict=True)) for parts in zip(*lists, strict=True)]


def _message(item: Mapping[str, object], place: str) -> Message:
    pair = next(((r, c) for r, c in (("role", "content"), ("from", "value")) if r in item and c in item), None)
    if pair is None:
        raise _missing(item, "role and content", "from and value", where=f"{place} has ")
    role, content = item[pair[0]], item[pair[1]]
    if not isinstance(content, str):
        raise BadItem("wrong type", f"{place}: {pair[1]} is {_kind(content)}", "a text")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise BadItem("unknown role", f"{place}: the role {role!r}", "one of " + ", ".join(_ROLES))
    return Message(_ROLES[role.lower()], content)


def text(values: Values, column: str) -> str:
    """Read a text column.

    Raises
    ------
    BadItem
        "missing column" or "wrong type".
    """
    require(values, column)
    value = values[column]
    if not isinstance(value, str):
        raise BadItem("wrong type", f"{column} is {_kind(value)}", "a text")
    return value


def number(values: Values, column: str) -> float:
    """Read a column of numbers, or of texts that are numbers.

    Raises
    ------
    BadItem
        "missing column", "missing score" or "wrong type".
    """
    require(values, column)
    value = values[column]
    if value is None or (isinstance(value, str) and value.strip().upper() in ("", "N/A", "NONE", "NAN")):
        raise BadItem("missing score", f"{column} is {value!r}", "a number")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadItem("wrong type", f"{column} is {_kind(value)}", "a number")
    try:
        read = float(value)
    except ValueError:
        raise BadItem("wrong type", f"{column} is {value!r}", "a number") from None
    if not math.isfinite(read):
        raise BadItem("missing score", f"{column} is {value!r}", "a finite number")
    return read


def require(values: Values, *columns: str) -> None:
    """Check that a row has columns.

    Raises
    ------
    BadItem
        "missing column"; the message lists the missing columns and the row's.
    """
    missing = [column for column in columns if column not in values]
    if missing:
        raise BadItem(
            "missing column",
            f"no column {', '.join(missing)} (columns: {', '.join(map(str, values)) or 'none'})",
            ", ".join(columns),
            "rename the columns, or name the layout (adapter=NAME, --adapter NAME, FILE?adapter=NAME)",
        )


def _missing(values: Mapping[Any, object], *columns: str, where: str = "") -> BadItem:
    return BadItem(
        "missing column",
        f"{where}no known column (columns: {', '.join(map(str, values)) or 'none'})",
        "; or ".join(columns),
        "rename the columns, or name the layout (adapter=NAME, --adapter NAME, FILE?adapter=NAME)",
    )


def _first(values: Values, columns: Iterable[str]) -> str | None:
    return next((column for column in columns if column in values), None)


def _prompt_messages(values: Values, column: str) -> tuple[Message, ...]:
    if column == "instruction":
        return _alpaca_prompt(values)
    value = values[column]
    messages = (Message("user", value),) if isinstance(value, str) else message_list(value, column)
    return _with_system(values, messages)


def _alpaca_prompt(values: Values) -> tuple[Message, ...]:
    asked = text(values, "instruction")
    extra = values.get("input") or ""
    if not isinstance(extra, str):
        raise BadItem("wrong type", f"input is {_kind(extra)}", "a text")
    if extra.strip():
        asked = f"{asked}\n{extra}"
    return _with_system(values, (*_history(values.get("history") or []), Message("user", asked)))


def _history(turns: object) -> Iterator[Message]:
    """Read earlier turns as Alpaca lays them out."""
    if not isinstance(turns, Sequence):
        raise BadItem("wrong type", f"history is {_kind(turns)}", "a list of [question, answer]")
    for turn in turns:
        if not (isinstance(turn, Sequence) and len(turn) == 2 and all(isinstance(part, str) for part in turn)):
            raise BadItem("wrong type", f"history holds {_kind(turn)}", "[question, answer]")
        yield Message("user", turn[0])
        yield Message("assistant", turn[1])


def _with_system(values: Values, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Put the text of a `system` column first, and remove an empty system message."""
    first = messages[0] if messages else None
    if first is not None and first.role == "system":
        return messages if first.content.strip() else _with_system(values, messages[1:])
    system = values.get("system") or values.get("system_prompt")
    if not system:
        return messages
    if not isinstance(system, str):
        raise BadItem("wrong type", f"system is {_kind(system)}", "a text")
    return (Message("system", system), *messages) if system.strip() else messages


def _tail(value: object, column: str) -> tuple[Message, ...]:
    return (Message("assistant", value),) if isinstance(value, str) else message_list(value, column)


def _check_given_prompt(values: Values, column: str, shared: Sequence[Message]) -> None:
    """Check that a prompt given beside two whole conversations is among the turns they share."""
    given = _prompt_messages(values, column)
    known = {message.content.strip() for message in shared}
    strange = [message for message in given if message.role == "user" and message.content.strip() not in known]
    if strange:
        raise BadItem(
            "another prompt",
            f"{column} is not part of the turns that chosen and rejected share",
            "the same prompt in all three",
        )


def _scores(values: Values) -> tuple[float | None, float | None]:
    for better, worse in _SCORES:
        if values.get(better) is not None and values.get(worse) is not None:
            return number(values, better), number(values, worse)
    return None, None


def _refuse_media(values: Values) -> None:
    filled = [column for column in _OTHER_MEDIA if values.get(column)]
    if filled:
        raise BadItem(NOT_ONLY_TEXT, f"{', '.join(filled)} is filled", "text alone")


def _kind(value: object) -> str:
    return "missing (null)" if value is None else f"of type {type(value).__name__}"
