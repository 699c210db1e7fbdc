"""HTTP for batch interfaces: reading is tried again for as long as it takes, submitting is not.

A submission that is cut off may have been accepted. It raises `Unsure`, and its caller asks the server before it tries
again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.endpoint.client_options import EndpointOptions
from harness.endpoint.faults import Fault, connection_fault, status_fault
from harness.endpoint.wire import BadReply, parse_object
from harness.errors import EndpointError

if TYPE_CHECKING:
    import httpx2

_TIMEOUT_S = 120.0
_BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_PATIENCE_S = 900.0  # a batch takes hours, and an outage of minutes is no reason to give it up


class Unsure(Exception):  # noqa: N818 - the caller finds out
    """A submission whose outcome is not known."""


class BatchHttp:
    """Requests to a vendor's batch interface.

    Parameters
    ----------
    options : EndpointOptions
        The endpoint, for messages.
    key : str or None
        The key, for messages, from which it is removed.
    headers : mapping
        Sent with every request.
    """

    def __init__(self, options: EndpointOptions, key: str | None, headers: Mapping[str, str]) -> None:
        self.options = options
        self._key = key
        self._headers = headers
        self._client: httpx2.AsyncClient | None = None

    async def get(self, url: str, params: Mapping[str, str] | None = None) -> bytes:
        """Read, through outages of up to a quarter of an hour.

        Raises
        ------
        EndpointError
            The server refuses, or the outage lasts.
        """
        return await self._until_answered("GET", url, params=dict(params or {}))

    async def get_object(self, url: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read a JSON object; errors as in `get`."""
        return self._object(await self.get(url, params))

    async def upload(self, url: str, name: str, content: bytes, fields: Mapping[str, str]) -> dict[str, Any]:
        """Send a file; a second copy costs nothing, so this is tried again as reading is."""
        files = {"file": (name, content, "application/jsonl")}
        return self._object(await self._until_answered("POST", url, files=files, data=dict(fields)))

    async def submit(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send what must not be sent twice.

        Raises
        ------
        Unsure
            It may or may not have been accepted.
        EndpointError
            The server refuses it.
        """
        for delay in (*_BACKOFF_S, None):
            answer = await self._once("POST", url, json=dict(body))
            if isinstance(answer, bytes):
                try:
                    return parse_object(answer)
                except BadReply as bad:
                    raise Unsure(bad.detail) from None
            if answer.action == "retry" and answer.kind != "rate_limited":
                raise Unsure(answer.detail)
            if answer.kind != "rate_limited" or answer.error is not None or delay is None:
                raise self._error(answer)
            await asyncio.sleep(answer.retry_after_s or delay)
        raise AssertionError("the last attempt returns or raises")

    async def _until_answered(self, method: str, url: str, **arguments: Any) -> bytes:
        began, n_failures = time.monotonic(), 0
        while True:
            answer = await self._once(method, url, **arguments)
            if isinstance(answer, bytes):
                return answer
            out_of_patience = time.monotonic() - began > max(_PATIENCE_S, self.options.give_up_after_s)
            if answer.action != "retry" or out_of_patience:
                raise self._error(answer)
            await asyncio.sleep(answer.retry_after_s or _BACKOFF_S[min(n_failures, len(_BACKOFF_S) - 1)])
            n_failures += 1

    async def _once(self, method: str, url: str, **arguments: Any) -> bytes | Fault:
        import httpx2

        if self._client is None:
            self._client = httpx2.AsyncClient(timeout=_TIMEOUT_S, headers=dict(self._headers))
        try:
            answer = await self._client.request(method, url, **arguments)
        except httpx2.TimeoutException as error:
            return connection_fault(error, timed_out=True, key=self._key)
        except httpx2.HTTPError as error:
            return connection_fault(error, timed_out=False, key=self._key)
        if answer.status_code < 300:
            return bytes(answer.content)
        return status_fault(self.options, self._key, answer.status_code, answer.headers, answer.content)

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            return parse_object(content)
        except BadReply as bad:
            raise EndpointError(f"the batch interface of {self.options.url}: {bad.detail}") from None

    def _error(self, fault: Fault) -> EndpointError:
        if fault.error is not None and fault.label not in ("404", "405"):
            return fault.error
        return EndpointError(
            f"the batch interface of {self.options.url} (model {self.options.model}) refuses: {fault.detail}",
            "a vendor with a batch interface: openai, anthropic or google",
            "everything obtained so far is kept, and what was submitted goes on at the server: resume later, or judge "
            "without --judge-batch",
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
