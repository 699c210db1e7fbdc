"""OpenAI's batch interface: https://platform.openai.com/docs/guides/batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from harness.endpoint.batches.batch_api import (
    CLOCK_SKEW_S,
    PAGE,
    Again,
    BatchStatus,
    Result,
    json_lines,
    read_reply,
    request_of,
    single_fault,
)
from harness.endpoint.batches.batch_http import BatchHttp
from harness.endpoint.batches.batch_journal import BatchItem, Chunk
from harness.endpoint.client_options import EndpointOptions, TokenLimitField
from harness.endpoint.exchange import ChatRequest
from harness.endpoint.wire import chat_body, encode_body, parse_chat


class OpenAIBatches:
    """OpenAI's: a file of requests, a batch with our name for it in its metadata, and files of results.

    Parameters
    ----------
    options : EndpointOptions
        The endpoint.
    key : str or None
        Its key.
    limit_field : {"max_tokens", "max_completion_tokens"}
        The name of the limit on tokens that the model takes.
    """

    max_bytes: ClassVar[int] = 190_000_000

    def __init__(self, options: EndpointOptions, key: str | None, limit_field: TokenLimitField) -> None:
        self.options = options
        self.limit_field = limit_field
        self.http = BatchHttp(options, key, {"Authorization": f"Bearer {key}"})
        self._key = key

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        return chat_body(self.options, request, self.limit_field)

    def size(self, request: ChatRequest) -> int:
        """Return the bytes of a request's line."""
        return len(encode_body(self._body(request))) + 200

    async def submit(self, chunk: Chunk) -> str:
        """Upload the requests and make the batch."""
        lines = [
            {
                "custom_id": item.custom_id,
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": self._body(request_of(item)),
            }
            for item in chunk.items
        ]
        content = b"\n".join(encode_body(line) for line in lines)
        url = self.options.url
        uploaded = await self.http.upload(f"{url}/files", f"{chunk.name}.jsonl", content, {"purpose": "batch"})
        made = await self.http.submit(
            f"{url}/batches",
            {
                "input_file_id": uploaded["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "metadata": {"assay_chunk": chunk.name},
            },
        )
        return str(made["id"])

    async def status(self, batch_id: str) -> BatchStatus:
        """Read the batch."""
        batch = await self.http.get_object(f"{self.options.url}/batches/{batch_id}")
        match batch.get("status"):
            case "completed" | "expired":
                return BatchStatus("ended")
            case "cancelled":
                return BatchStatus("cancelled", "its status is cancelled")
            case "failed":
                errors = (batch.get("errors") or {}).get("data") or []
                return BatchStatus("refused", "; ".join(str(error.get("message")) for error in errors[:3]))
            case _:
                return BatchStatus("running")

    async def results(self, batch_id: str, items: Sequence[BatchItem]) -> dict[str, Result]:
        """Read the files of answers and of errors."""
        del items
        batch = await self.http.get_object(f"{self.options.url}/batches/{batch_id}")
        found: dict[str, Result] = {}
        for name in ("output_file_id", "error_file_id"):
            if batch.get(name):
                content = await self.http.get(f"{self.options.url}/files/{batch[name]}/content")
                found |= {str(line["custom_id"]): self._result(line) for line in json_lines(content)}
        return found

    def _result(self, line: Mapping[str, Any]) -> Result:
        response = line.get("response") or {}
        status, body = response.get("status_code"), response.get("body")
        if status == 200 and isinstance(body, dict):
            return read_reply(lambda: parse_chat(body, self.options.tags))
        if isinstance(status, int) and status >= 400:
            return single_fault(self.options, self._key, status, body)
        return Again(str((line.get("error") or {}).get("message") or "no answer"))

    async def find(self, chunk: Chunk, known: frozenset[str]) -> str | None:
        """Look for our name in the metadata of the batches made since."""
        async for batch in self._newest(chunk.created - CLOCK_SKEW_S):
            if (batch.get("metadata") or {}).get("assay_chunk") == chunk.name and batch["id"] not in known:
                return str(batch["id"])
        return None

    async def _newest(self, since: float) -> AsyncIterator[dict[str, Any]]:
        params = {"limit": PAGE}
        while True:
            page = await self.http.get_object(f"{self.options.url}/batches", params)
            for batch in page.get("data", ()):
                if batch.get("created_at", since) < since:
                    return
                yield batch
            if not page.get("has_more") or not page.get("data"):
                return
            params["after"] = page["data"][-1]["id"]
