"""The circuit breaker of a client: whether its endpoint works at all.

A request that keeps failing while others are answered fails alone. When nothing is answered any more, the run must
stop soon and with one message, instead of marking every item as failed. The breaker distinguishes the two cases by what
happened to the other requests since the last success.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from harness.endpoint.client_options import EndpointOptions
from harness.endpoint.faults import Fault
from harness.errors import AssayError, EndpointError


@dataclass(slots=True)
class CallState:
    """One request in flight.

    Parameters
    ----------
    n_failures : int
        Failed attempts.
    first_failure_at : float
        When the first of them failed (monotonic clock).
    streak, n_in_streak : int
        The streak of failures (of all requests, since the last success) of its last failure, and its failures in it.
    renamed : bool
        Whether it was resent with the other name of the token limit.
    """

    n_failures: int = 0
    first_failure_at: float = 0.0
    streak: int = -1
    n_in_streak: int = 0
    renamed: bool = False


class EndpointHealth:
    """Tracks the requests of a client; once open, it raises the same error for every request.

    A streak of failures begins with the first after a success. The endpoint counts as silent once a streak has
    lasted for `give_up_after_s` and every request in flight has failed in it.
    """

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._error: AssayError | None = None
        self._opened = asyncio.Event()
        self._active: set[int] = set()
        self._streak = 0
        self._streak_began: float | None = None
        self._failed_now = 0  # of those in flight
        self._seen: Counter[str] = Counter()
        self._last_detail = ""

    def enter(self) -> CallState:
        """Register a request.

        Raises
        ------
        AssayError
            The endpoint is known to be down.
        """
        self.raise_if_open()
        call = CallState()
        self._active.add(id(call))
        return call

    def leave(self, call: CallState) -> None:
        """Forget a request, however it ended."""
        self._active.discard(id(call))
        if call.streak == self._streak:
            self._failed_now -= 1

    def succeeded(self) -> None:
        """Record that the endpoint answered a request, even with a refusal."""
        if self._streak_began is not None:
            self._streak += 1
            self._streak_began = None
            self._failed_now = 0
            self._seen.clear()

    def failed(self, call: CallState, fault: Fault) -> None:
        """Record a failed attempt."""
        now = time.monotonic()
        if self._streak_began is None:
            self._streak_began = now
        if call.n_failures == 0:
            call.first_failure_at = now
        if call.streak != self._streak:
            call.streak, call.n_in_streak = self._streak, 0
            self._failed_now += 1
        call.n_failures += 1
        call.n_in_streak += 1
        self._seen[fault.label] += 1
        self._last_detail = fault.detail

    def is_own_fault(self, call: CallState) -> bool:
        """Whether other requests were answered while this one kept failing.

        An outage may begin while some requests are being retried: the test is whether at least half of a request's
        failures came before the last success.
        """
        in_streak = call.n_in_streak if call.streak == self._streak else 0
        return 2 * in_streak <= call.n_failures

    def is_silent(self) -> bool:
        """Whether nothing was answered within `give_up_after_s`, and every request in flight has failed."""
        return self.patience_left() <= 0 and self._failed_now >= len(self._active)

    def patience_left(self) -> float:
        """Seconds until the endpoint may count as down, never more than `give_up_after_s`."""
        patience = self._options.give_up_after_s
        return patience if self._streak_began is None else self._streak_began + patience - time.monotonic()

    def open_as_down(self) -> None:
        """Open the breaker because nothing is answered."""
        silent_s = time.monotonic() - (self._streak_began or 0.0)
        seen = ", ".join(f"{label} ({count}x)" for label, count in self._seen.most_common())
        self.open(
            EndpointError(
                f"{self._options.url} (model {self._options.model}) has answered no request for {silent_s:.0f} s: "
                f"{seen}; the last: {self._last_detail}",
                f"an answer within {self._options.give_up_after_s:g} s of the first failure",
                "everything obtained so far is kept: when the endpoint answers again, resume with `assay resume`; "
                " fewer requests at once (concurrency) or more patience (give_up_after_s) may help",
            )
        )

    def open(self, error: AssayError) -> None:
        """Refuse every further request with this error, or with the one it was opened with before."""
        if self._error is None:
            self._error = error
            self._opened.set()

    def raise_if_open(self) -> None:
        """Raise the error the breaker was opened with, if it is open."""
        if self._error is not None:
            raise self._error

    async def sleep(self, seconds: float) -> None:
        """Wait, at most until the breaker opens.

        Raises
        ------
        AssayError
            It opened.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._opened.wait()
        self.raise_if_open()
