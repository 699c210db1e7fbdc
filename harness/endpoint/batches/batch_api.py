"""What every batch interface offers, and how the result of one request is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from harness.endpoint.batches.batch_http import BatchHttp
from harness.endpoint.batches.batch_journal import BatchItem, Chunk
from harness.endpoint.client_options import EndpointOptions
from harness.endpoint.exchange import ChatFailure, ChatReply, ChatRequest
from harness.endpoint.faults import status_fault
from harness.endpoint.wire import BadReply
from harness.errors import EndpointError
from harness.messages import Message

CLOCK_SKEW_S = 900.0
PAGE = "100"


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How a batch stands.

    Parameters
    ----------
    state : {"running", "ended", "cancelled", "refused"}
        "ended" includes expired ones; "cancelled" is at somebody's wish; "refused" was not run at all.
    detail : str
        The server's words.
    """

    state: Literal["running", "ended", "cancelled", "refused"]
    detail: str = ""


class Again(Exception):  # noqa: N818 - the request goes into another batch
    """A request that was not answered for a reason that may pass."""


Result = ChatReply | ChatFailure | Again


class BatchApi(Protocol):
    """A vendor's batch interface."""

    max_bytes: ClassVar[int]
    """Largest batch."""

    @property
    def http(self) -> BatchHttp:
        """The connection."""
        ...

    def size(self, request: ChatRequest) -> int:
        """Return the bytes of a request in a batch."""
        ...

    async def submit(self, chunk: Chunk) -> str:
        """Submit a batch and return the server's name for it; raises `Unsure` or `EndpointError`."""
        ...

    async def status(self, batch_id: str) -> BatchStatus:
        """Return how a batch stands."""
        ...

    async def results(self, batch_id: str, items: Sequence[BatchItem]) -> dict[str, Result]:
        """Return what came of the requests of an ended batch, by custom id; those without a result are missing."""
        ...

    async def find(self, chunk: Chunk, known: frozenset[str]) -> str | None:
        """Find the batch of a chunk at the server, not among those `known`; None if it has none."""
        ...


class StillRunning(Exception):  # noqa: N818 - the caller waits
    """Whether a batch is ours can be seen only once it has ended."""


def request_of(item: BatchItem) -> ChatRequest:
    """Return the request of an item that this process was asked for."""
    if item.request is None:
        raise EndpointError(f"the request {item.custom_id} of an earlier process is not known here")
    return item.request


def json_lines(content: bytes) -> list[dict[str, Any]]:
    """Read the objects of a file of results."""
    lines = [json.loads(line) for line in content.splitlines() if line.strip()]
    return [line for line in lines if isinstance(line, dict)]


def read_reply(parse: Callable[[], ChatReply]) -> Result:
    """Read a reply; one that is none fails as it would alone."""
    try:
        return parse()
    except BadReply as bad:
        return ChatFailure("bad_reply", bad.detail)


def single_fault(options: EndpointOptions, key: str | None, status: int, body: Any) -> Result:
    """Classify the error of one request as if it had been sent alone."""
    fault = status_fault(options, key, status, {}, json.dumps(body).encode())
    return Again(fault.detail) if fault.action == "retry" else ChatFailure(fault.kind, fault.detail)


def split_system(request: ChatRequest) -> tuple[str, list[Message]]:
    """Return the system messages as one text, and the turns of the conversation."""
    system = [message.content for message in request.messages if message.role == "system"]
    return "\n\n".join(system), [message for message in request.messages if message.role != "system"]


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def field_of(value: Mapping[str, Any], *path: str) -> Any:
    """Return a nested field of a JSON object; None if a part of the path is missing or no object."""
    found: Any = value
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
