"""HH-RLHF: two transcripts of Human and Assistant that share the prompt."""

from __future__ import annotations

import re

from harness.messages import Message
from training.data.adapters.labelled import Values, by_row
from training.data.records import BadItem, PreferencePair
from training.data.schemas import split_shared_prompt, text

_TURN = re.compile(r"\n\n(Human|Assistant):")


@by_row
def hh_rlhf(values: Values, label: str) -> PreferencePair:
    r"""Read Anthropic/hh-rlhf: `chosen` and `rejected`, each "\n\nHuman: ... \n\nAssistant: ...".

    The prompt is the turns both have, up to a Human turn. Transcripts with an empty turn or with two consecutive turns
    of one speaker are filtered and counted.
    """
    chosen, rejected = (transcript(text(values, side)) for side in ("chosen", "rejected"))
    return PreferencePair.of(*split_shared_prompt(chosen, rejected), label)


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
