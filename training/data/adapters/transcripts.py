"""HH-RLHF: two transcripts of Human and Assistant that share the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.messages import Message
from training.data.loaded import Row, Sieve
from training.data.records import BadItem, PreferencePair
from training.data.schemas import split_shared_prompt, text

_TURN = re.compile(r"\n\n(Human|Assistant):")


def hh_rlhf(rows: Iterator[Row], label: str, sieve: Sieve) -> Iterator[PreferencePair]:
    r"""Read Anthropic/hh-rlhf: `chosen` and `rejected`, each "\n\nHuman: ... \n\nAssistant: ...".

    The prompt is the turns both have, up to a Human turn. Transcripts with an empty turn or with two consecutive turns
    of one speaker are filtered and counted.
    """
    for row in rows:
        try:
            chosen, rejected = (transcript(text(row.values, side)) for side in ("chosen", "rejected"))
            yield PreferencePair.of(*split_shared_prompt(chosen, rejected), label)
        except BadItem as fault:
            sieve.noise(row, fault)


def transcript(written: str) -> tuple[Message, ...]:
    """Read a transcript as messages, without the spaces around turns.

    Raises
    ------
    BadItem
        It does not begin with a turn of Human or Assistant.
    """
    head, *parts = _TURN.split(written)
    if head.strip() or not parts:
        raise BadItem(
            "no transcript", f"the text begins {written[:40]!r}", r"'\n\nHuman:' and '\n\nAssistant:' before each turn"
        )
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Message(roles[who], said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True))
