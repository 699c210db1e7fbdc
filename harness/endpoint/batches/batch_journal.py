"""The journal of submitted batches: what must be known after a kill so that nothing is paid for twice.

One JSON object a line. Before a batch is submitted an *intent* with its requests' keys reaches the disk itself, after
it the server's name of the batch. An intent without a name is looked up at the server, which keeps our name for the
batch.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.closing import Closing
from harness.endpoint.exchange import ChatFailure, ChatReply, ChatRequest, FailureKind
from harness.store.jsonl import JsonlAppender, read_jsonl

_JOURNAL = "batches.jsonl"


@dataclass(eq=False)
class BatchItem:
    """One request of a batch.

    Parameters
    ----------
    custom_id : str
        Its name in the batch.
    key : str
        Hash of the request.
    request : ChatRequest or None
        The request; None until it is asked for in this process.
    result : ChatReply or ChatFailure or None
        What came of it; None while it is under way.
    is_delivered : bool
        Whether the result was handed out and what came of it is stored with the run.
    n_attempts : int
        Batches it was part of.
    """

    custom_id: str
    key: str
    request: ChatRequest | None = None
    result: ChatReply | ChatFailure | None = None
    is_delivered: bool = False
    n_attempts: int = 1


@dataclass(eq=False)
class Chunk:
    """The requests of one batch, its name here and at the server (None while not known), and when it was made."""

    name: str
    items: list[BatchItem]
    created: float
    batch_id: str | None = None
    state: Literal["open", "closed"] = "open"


@dataclass
class _State:
    chunks: dict[str, Chunk] = field(default_factory=dict)
    items: dict[str, BatchItem] = field(default_factory=dict)


class BatchJournal(Closing):
    """The journal of one run.

    Parameters
    ----------
    directory : Path
        Where it is kept; created if missing.

    Attributes
    ----------
    chunks : list of Chunk
        The batches of earlier processes and of this one.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / _JOURNAL
        self._file = JsonlAppender(path)  # removes a torn last line
        self._state = _State()
        for _, event in read_jsonl(path):
            _apply(self._state, event)
        self.chunks = list(self._state.chunks.values())

    def intend(self, waiting: Sequence[BatchItem]) -> Chunk:
        """Record a batch that is about to be submitted; it is on disk when this returns."""
        name = f"assay-{secrets.token_hex(8)}"
        for number, item in enumerate(waiting):
            item.custom_id = f"{name}-{number}"
        chunk = Chunk(name, list(waiting), time.time())
        listed = [[item.custom_id, item.key, item.n_attempts] for item in waiting]
        self._write({"event": "intent", "chunk": name, "created": chunk.created, "items": listed}, sync=True)
        self.chunks.append(chunk)
        return chunk

    def submitted(self, chunk: Chunk, batch_id: str) -> None:
        """Record the server's name of a batch."""
        chunk.batch_id = batch_id
        self._write({"event": "submitted", "chunk": chunk.name, "batch": batch_id}, sync=True)

    def results(self, found: Iterable[tuple[BatchItem, ChatReply | ChatFailure]]) -> None:
        """Record what came of requests."""
        for item, result in found:
            item.result = result
            self._write({"event": "result", "id": item.custom_id, **_as_json(result)})
        self._file.sync()

    def closed(self, chunk: Chunk) -> None:
        """Record that a batch needs no further look: it has ended, or was never made."""
        chunk.state = "closed"
        self._write({"event": "closed", "chunk": chunk.name}, sync=True)

    def delivered(self, item: BatchItem) -> None:
        """Record that a result is stored with the run."""
        if not item.is_delivered:
            item.is_delivered = True
            self._write({"event": "delivered", "id": item.custom_id})

    def _write(self, event: dict[str, Any], *, sync: bool = False) -> None:
        self._file.append(json.dumps(event, ensure_ascii=True, allow_nan=False))
        if sync:
            self._file.sync()

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._file.close()


def _apply(state: _State, event: dict[str, Any]) -> None:
    """Apply one line of the journal."""
    match event["event"]:
        case "intent":
            items = [BatchItem(name, key, n_attempts=n) for name, key, n in event["items"]]
            state.chunks[event["chunk"]] = Chunk(event["chunk"], items, event["created"])
            state.items |= {item.custom_id: item for item in items}
        case "submitted":
            state.chunks[event["chunk"]].batch_id = event["batch"]
        case "result":
            state.items[event["id"]].result = _from_json(event)
        case "closed":
            state.chunks[event["chunk"]].state = "closed"
        case "delivered":
            state.items[event["id"]].is_delivered = True


def _as_json(result: ChatReply | ChatFailure) -> dict[str, Any]:
    if isinstance(result, ChatFailure):
        return {"failure": [result.kind, result.detail]}
    return {"reply": json.loads(result.to_json())}


def _from_json(event: dict[str, Any]) -> ChatReply | ChatFailure:
    if "failure" in event:
        kind: FailureKind = event["failure"][0]
        return ChatFailure(kind, event["failure"][1])
    return ChatReply.from_json(json.dumps(event["reply"]))
