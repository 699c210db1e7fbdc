"""Requests through a vendor's batch interface: collected, submitted, polled, and resumed after a kill.

::

    batches = BatchClient(api, BatchJournal(directory), BatchSpec())
    batches.start()                               # goes on with what earlier processes submitted
    reply, is_first = await batches.ask(key, request)

Every request is paid for once. Before a batch is submitted its requests are in the journal, and a submission whose
outcome is not known is looked up at the server before its requests go into another batch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from harness.endpoint.batches.batch_api import Again, BatchApi, Result, StillRunning
from harness.endpoint.batches.batch_http import Unsure
from harness.endpoint.batches.batch_journal import BatchItem, BatchJournal, Chunk
from harness.endpoint.exchange import ChatFailure, ChatReply, ChatRequest
from harness.errors import AssayError, EndpointError
from harness.spec import BatchSpec

_LOG = logging.getLogger(__name__)
_FIRST_POLL_S = 1.0
_MOST_ATTEMPTS = 3


class BatchClient:
    """Answers requests by batches, within one event loop.

    Parameters
    ----------
    api : BatchApi
        The vendor's interface.
    journal : BatchJournal
        The journal of the run.
    spec : BatchSpec
        How requests are collected.
    """

    def __init__(self, api: BatchApi, journal: BatchJournal, spec: BatchSpec) -> None:
        self._api = api
        self._journal = journal
        self._spec = spec
        self._items: dict[str, list[BatchItem]] = {}
        self._done: dict[BatchItem, asyncio.Future[ChatReply | ChatFailure]] = {}
        self._waiting: list[BatchItem] = []
        self._came = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: AssayError | None = None

    def start(self) -> None:
        """Go on with the batches of earlier processes, and begin to collect."""
        for chunk in self._journal.chunks:
            for item in chunk.items:
                if item.result is not None or chunk.state == "open":
                    self._items.setdefault(item.key, []).append(item)
            if chunk.state == "open":
                self._spawn(self._follow(chunk))
        self._spawn(self._collect())

    def is_paid(self, key: str, *, fresh: bool = False) -> bool:
        """Whether a request is part of a batch already, so that asking for it costs nothing more."""
        return self._found(key, fresh) is not None

    async def ask(self, key: str, request: ChatRequest, *, fresh: bool = False) -> tuple[ChatReply, bool]:
        """Return the reply to a request, from its batch.

        Parameters
        ----------
        key : str
            Hash of the request; equal requests share one reply.
        request : ChatRequest
            The request.
        fresh : bool
            Do not take a reply whose verdict is stored with the run already.

        Returns
        -------
        (ChatReply, bool)
            The reply, and whether its cost is not booked with the run yet.

        Raises
        ------
        ChatFailure
            This request failed.
        AssayError
            The batch was cancelled or refused, or the server cannot be reached.
        """
        if self._error is not None:
            raise self._error
        item = self._found(key, fresh)
        if item is None:
            item = BatchItem("", key)
            self._items.setdefault(key, []).append(item)
            self._waiting.append(item)
            self._came.set()
        item.request = item.request or request
        is_first = not item.is_delivered and item not in self._done
        future = self._done.setdefault(item, asyncio.get_running_loop().create_future())
        result = await asyncio.shield(future) if item.result is None else item.result
        if isinstance(result, ChatFailure):
            raise result
        return result, is_first

    def _found(self, key: str, fresh: bool) -> BatchItem | None:
        items = [item for item in self._items.get(key, ()) if not (fresh and item.is_delivered)]
        return items[-1] if items else None

    def deliver_soon(self, keys: Sequence[str]) -> None:
        """Record that what requests led to is stored with the run, once the event loop goes on from the caller.

        Parameters
        ----------
        keys : sequence of str
            The requests of one judgment. Its caller stores it before it gives the loop back.
        """
        asyncio.get_running_loop().call_soon(self._deliver, keys)

    def _deliver(self, keys: Sequence[str]) -> None:
        if self._error is not None:
            return
        for item in (item for key in keys for item in self._items.get(key, ())):
            if item.result is not None:
                self._journal.delivered(item)

    async def _collect(self) -> None:
        """Submit what waits when nothing more has come for a while, or a batch is full."""
        while True:
            await self._came.wait()
            while len(self._waiting) < self._spec.max_requests:
                self._came.clear()
                try:
                    async with asyncio.timeout(self._spec.linger_s):
                        await self._came.wait()
                except TimeoutError:
                    break
            self._came.clear()
            while self._waiting:
                self._spawn(self._submit(self._journal.intend(self._take())))

    def _take(self) -> list[BatchItem]:
        """Take the requests of one batch from those that wait."""
        taken, size = 0, 0
        for item in self._waiting[: self._spec.max_requests]:
            assert item.request is not None
            size += self._api.size(item.request)
            if taken and size > self._api.max_bytes:
                break
            taken += 1
        items, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return items

    async def _submit(self, chunk: Chunk) -> None:
        while chunk.batch_id is None:
            try:
                batch_id: str | None = await self._api.submit(chunk)
            except Unsure as unsure:
                _LOG.warning("it is not known whether the batch %s was accepted: %s", chunk.name, unsure)
                batch_id = await self._recovered(chunk)
            except AssayError:
                self._journal.closed(chunk)
                raise
            if batch_id is not None:
                self._journal.submitted(chunk, batch_id)
        _LOG.info("batch %s: %d requests submitted", chunk.batch_id, len(chunk.items))
        await self._follow(chunk)

    async def _follow(self, chunk: Chunk) -> None:
        """See a batch to its end; one of an earlier process may never have been made."""
        if chunk.batch_id is None:
            found = await self._recovered(chunk)
            if found is None:
                self._journal.closed(chunk)
                self._ask_again([item for item in chunk.items if item.result is None])
                return
            self._journal.submitted(chunk, found)
        assert chunk.batch_id is not None
        delay = min(_FIRST_POLL_S, self._spec.poll_s)
        while (status := await self._api.status(chunk.batch_id)).state == "running":
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, self._spec.poll_s)
        results = {} if status.state == "refused" else await self._api.results(chunk.batch_id, chunk.items)
        left = self._settle(chunk, results)
        self._journal.closed(chunk)
        if status.state in ("cancelled", "refused") and left:
            raise EndpointError(
                f"the batch {chunk.batch_id} was {status.state} at the server ({status.detail}): "
                f"{len(chunk.items) - len(left)} of its {len(chunk.items)} requests were answered, which are kept",
                "a batch that is left to end",
                "`assay resume` submits the others again",
            )
        self._ask_again(left)

    async def _recovered(self, chunk: Chunk) -> str | None:
        """Find a batch whose name was lost; None if the server does not list it in the time it may take."""
        began = time.monotonic()
        while True:
            known = frozenset(other.batch_id for other in self._journal.chunks if other.batch_id is not None)
            settled = time.monotonic() - began >= self._spec.settle_s
            try:
                found = await self._api.find(chunk, known)
            except StillRunning:
                settled, found = False, None
            if found is not None or settled:
                return found
            await asyncio.sleep(min(_FIRST_POLL_S, self._spec.poll_s))

    def _settle(self, chunk: Chunk, results: dict[str, Result]) -> list[BatchItem]:
        """Record results and hand them out; return the requests that have none and may be asked again."""
        settled: list[tuple[BatchItem, ChatReply | ChatFailure]] = []
        left = []
        for item in (item for item in chunk.items if item.result is None):
            found = results.get(item.custom_id, Again("the batch ended without it"))
            if not isinstance(found, Again):
                settled.append((item, found))
            elif item.n_attempts >= _MOST_ATTEMPTS:
                settled.append((item, ChatFailure("server_error", f"{found} (in {item.n_attempts} batches)")))
            else:
                left.append(item)
        self._journal.results(settled)
        for item, result in settled:
            future = self._done.get(item)
            if future is not None and not future.done():
                future.set_result(result)
        return left

    def _ask_again(self, items: list[BatchItem]) -> None:
        """Put requests into another batch, those that somebody waits for; the others are asked for when needed."""
        for item in items:
            if item.request is None:
                self._items[item.key].remove(item)
                continue
            item.n_attempts += 1
            self._waiting.append(item)
        if self._waiting:
            self._came.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Pass the error that ended a task to everybody who waits."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._error = self._error or (error if isinstance(error, AssayError) else EndpointError(repr(error)))
        for future in self._done.values():
            if not future.done():
                future.set_exception(self._error)

    async def aclose(self) -> None:
        """Stop watching; what was submitted goes on at the server."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._api.http.aclose()
        self._journal.close()
