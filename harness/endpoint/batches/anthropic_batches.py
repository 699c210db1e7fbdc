"""Anthropic's batch interface: https://platform.claude.com/docs/en/api/messages/batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from harness.endpoint.batches.batch_api import (
    CLOCK_SKEW_S,
    PAGE,
    Again,
    BatchStatus,
    Result,
    StillRunning,
    field_of,
    json_lines,
    present,
    read_reply,
    request_of,
    single_fault,
    split_system,
)
from harness.endpoint.batches.batch_http import BatchHttp
from harness.endpoint.batches.batch_journal import BatchItem, Chunk
from harness.endpoint.client_options import EndpointOptions
from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.endpoint.wire import BadReply, count, encode_body, parted_reply, read_content

_PROMPT_TOKENS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class AnthropicBatches:
    """Anthropic's message batches, in the format of its own messages.

    A batch has no metadata: a batch whose name was lost is found by the custom ids in its results, once it has ended.

    Parameters
    ----------
    options : EndpointOptions
        The endpoint (``.../v1``).
    key : str or None
        Its key.
    """

    max_bytes: ClassVar[int] = 250_000_000

    def __init__(self, options: EndpointOptions, key: str | None) -> None:
        self.options = options
        self._url = f"{options.url}/messages/batches"
        self.http = BatchHttp(options, key, {"x-api-key": key or "", "anthropic-version": "2023-06-01"})
        self._key = key

    def _params(self, request: ChatRequest) -> dict[str, Any]:
        system, turns = split_system(request)
        params = {
            "model": self.options.model,
            "max_tokens": request.max_tokens,
            "messages": [{"role": m.role, "content": m.content} for m in turns],
            "system": system or None,
            "temperature": request.temperature,
            "top_p": request.top_p if request.top_p != 1.0 else None,
            "stop_sequences": list(request.stop) or None,
        }
        return present(params) | dict(self.options.extra_body)

    def size(self, request: ChatRequest) -> int:
        """Return the bytes of a request."""
        return len(encode_body(self._params(request))) + 100

    async def submit(self, chunk: Chunk) -> str:
        """Make the batch."""
        requests = [{"custom_id": item.custom_id, "params": self._params(request_of(item))} for item in chunk.items]
        return str((await self.http.submit(self._url, {"requests": requests}))["id"])

    async def status(self, batch_id: str) -> BatchStatus:
        """Read the batch."""
        batch = await self.http.get_object(f"{self._url}/{batch_id}")
        if batch.get("processing_status") != "ended":
            return BatchStatus("running")
        if (batch.get("request_counts") or {}).get("canceled"):
            return BatchStatus("cancelled", f"cancelled at {batch.get('cancel_initiated_at')}")
        return BatchStatus("ended")

    async def results(self, batch_id: str, items: Sequence[BatchItem]) -> dict[str, Result]:
        """Read the results."""
        del items
        content = await self.http.get(f"{self._url}/{batch_id}/results")
        return {str(line["custom_id"]): self._result(line.get("result") or {}) for line in json_lines(content)}

    def _result(self, result: Mapping[str, Any]) -> Result:
        match result.get("type"):
            case "succeeded":
                return read_reply(lambda: self._reply(result.get("message")))
            case "errored":
                error = (result.get("error") or {}).get("error") or {}
                if error.get("type") == "invalid_request_error":
                    return single_fault(self.options, self._key, 400, {"error": error})
                return Again(str(error.get("message") or error.get("type")))
            case other:
                return Again(f"{other} before it was answered")

    def _reply(self, message: Any) -> ChatReply:
        if not isinstance(message, dict) or not isinstance(message.get("content"), list):
            raise BadReply("the message has no content")
        content = read_content(message["content"])
        prompt = [count(field_of(message, "usage", kind)) for kind in _PROMPT_TOKENS]
        stop = message.get("stop_reason")
        if stop == "refusal":
            content = replace(content, refusal="the model refused (stop_reason refusal)")
        return parted_reply(
            content,
            self.options.tags,
            finish="length" if stop == "max_tokens" else "stop",
            n_prompt_tokens=None if prompt[0] is None else sum(n or 0 for n in prompt),
            n_completion_tokens=count(field_of(message, "usage", "output_tokens")),
            model=str(message.get("model") or ""),
        )

    async def find(self, chunk: Chunk, known: frozenset[str]) -> str | None:
        """Look into the results of the batches made since that have as many requests; wait for those under way."""
        params = {"limit": PAGE}
        while True:
            page = await self.http.get_object(self._url, params)
            for batch in page.get("data", ()):
                if batch["id"] not in known and await self._is_of(chunk, batch):
                    return str(batch["id"])
            if not page.get("has_more") or not page.get("last_id") or _is_older(page, chunk):
                return None
            params["after_id"] = page["last_id"]

    async def _is_of(self, chunk: Chunk, batch: Mapping[str, Any]) -> bool:
        counts = batch.get("request_counts") or {}
        if sum(n for n in counts.values() if isinstance(n, int)) != len(chunk.items) or _made_before(batch, chunk):
            return False
        if batch.get("processing_status") != "ended":
            raise StillRunning(str(batch["id"]))
        content = await self.http.get(f"{self._url}/{batch['id']}/results")
        return any(str(line.get("custom_id", "")).startswith(f"{chunk.name}-") for line in json_lines(content))


def _made_before(batch: Mapping[str, Any], chunk: Chunk) -> bool:
    try:
        made = datetime.fromisoformat(str(batch.get("created_at"))).timestamp()
    except ValueError:
        return False
    return made < chunk.created - CLOCK_SKEW_S


def _is_older(page: Mapping[str, Any], chunk: Chunk) -> bool:
    return bool(page.get("data")) and _made_before(page["data"][-1], chunk)
