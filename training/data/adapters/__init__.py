"""Named readers of data sets whose rows have a layout of their own.

An adapter is a function over rows, so it reads a local file of the layout as well as the hub. It counts what it removes
by reason. Defects known in published sets (empty rounds, speakers out of turn, equal or contradicting labels) are
filtered; a missing column or a value of the wrong type is an error in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from harness.data.file_rows import Row
from harness.errors import UnknownNameError
from training.data.adapters import labelled, oasst, scored, transcripts
from training.data.loaded import Sieve
from training.data.records import Conversation, PreferencePair

Adapter = TypeVar("Adapter")
PairAdapter = Callable[[Iterator[Row], str, Sieve], Iterator[PreferencePair]]
ConversationAdapter = Callable[[Iterator[Row], str, Sieve], Iterator[Conversation]]

PAIR_ADAPTERS: dict[str, PairAdapter] = {
    "argilla_math": labelled.argilla_math,
    "capybara": labelled.capybara,
    "code_ultrafeedback": scored.code_ultrafeedback,
    "helpsteer": scored.helpsteer,
    "hh_rlhf": transcripts.hh_rlhf,
    "oasst": oasst.oasst_pairs,
    "open_orca": labelled.open_orca,
    "pku_safe_rlhf": labelled.pku_safe_rlhf,
    "shp": labelled.shp,
    "summarize": labelled.summarize,
    "ultra_interact": labelled.ultra_interact,
    "ultrafeedback": scored.ultrafeedback,
}

CONVERSATION_ADAPTERS: dict[str, ConversationAdapter] = {"oasst": oasst.oasst_best}


def adapter_of(known: Mapping[str, Adapter], name: str, kind: str) -> Adapter:
    """Find an adapter; `kind` is its name in the error.

    Raises
    ------
    UnknownNameError
        `known` has none with this name.
    """
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return known[name]
