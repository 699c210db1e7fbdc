"""An event loop in its own thread, so that concurrent requests can feed a plain iterator."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from harness.errors import AssayError

Item = TypeVar("Item")
Result = TypeVar("Result")

_GRACE_S = 10.0  # how long to wait, after a failure, for results that are already paid for


class BackgroundLoop:
    """Runs coroutines for callers without an event loop; must be closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run one coroutine and wait for its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stream(
        self, items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], n_workers: int
    ) -> Iterator[Result]:
        """Process many items concurrently and yield the results as they complete.

        An exception of `work` ends the iteration, after the results of the items in flight. Closing the iterator
        cancels the items in flight.

        Parameters
        ----------
        items : iterable
            Taken one by one, in order.
        work : callable
            A coroutine function of one item.
        n_workers : int
            Number of items processed at once.
        """
        results: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(_work_all(iter(items), work, n_workers, results), self._loop)
        is_result = True
        try:
            while True:
                is_result, value = results.get()
                if is_result:
                    yield value
                elif value is None:
                    return
                else:
                    raise value
        finally:
            if is_result:  # not at the end: the iterator is being closed, or the caller was interrupted
                future.cancel()
                _drain(results)

    def close(self) -> None:
        """Cancel what is in flight and end the thread; closing twice is harmless."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _work_all(
    items: Iterator[Item],
    work: Callable[[Item], Awaitable[Result]],
    n_workers: int,
    results: queue.SimpleQueue[tuple[bool, Any]],
) -> None:
    """Put (True, result) for each item, and at the end (False, error or None)."""
    fault: BaseException | None = AssayError("the engine was closed while requests were in flight")
    stopping = False

    async def worker() -> None:
        for item in items:
            if stopping:
                return
            results.put((True, await work(item)))

    workers = {asyncio.create_task(worker()) for _ in range(n_workers)}
    try:
        done, under_way = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        stopping = True
        if under_way:
            late, under_way = await asyncio.wait(under_way, timeout=_GRACE_S)
            done |= late
        faults = [task.exception() for task in done if not task.cancelled()]
        fault = next((error for error in faults if error is not None), None)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        results.put((False, fault))


def _drain(results: queue.SimpleQueue[tuple[bool, Any]]) -> None:
    """Wait until everything in flight is cancelled."""
    with suppress(queue.Empty):
        while results.get(timeout=_GRACE_S)[0]:
            pass


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
