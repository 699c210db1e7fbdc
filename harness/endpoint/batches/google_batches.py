"""Google's batch interface: https://ai.google.dev/api/batch-api."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.endpoint.batches.batch_api import (
    PAGE,
    Again,
    BatchStatus,
    Result,
    field_of,
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
from harness.errors import SpecError

_ROLES = {"assistant": "model"}
_FINISHES = {"": "stop", "STOP": "stop", "MAX_TOKENS": "length"}


class GoogleBatches:
    """Google's, with the requests in the batch, in the format of Gemini's own requests.

    Parameters
    ----------
    options : EndpointOptions
        The OpenAI-compatible endpoint (``.../v1beta/openai``), beside which the batches are.
    key : str or None
        Its key.

    Raises
    ------
    SpecError
        The spec has fields of chat completions that have no counterpart here.
    """

    max_bytes: ClassVar[int] = 18_000_000

    def __init__(self, options: EndpointOptions, key: str | None) -> None:
        self.options = options
        self._root = options.url.removesuffix("/openai")
        self.http = BatchHttp(options, key, {"x-goog-api-key": key or ""})
        self._key = key
        if options.extra_body:
            raise SpecError(
                f"extra_body ({', '.join(options.extra_body)}) is for the OpenAI-compatible endpoint, and Google's "
                "batches have another format",
                remedy="leave it out, or judge without --judge-batch",
            )

    def _content(self, request: ChatRequest) -> dict[str, Any]:
        if request.reasoning_effort is not None:
            raise SpecError(
                "reasoning_effort has no counterpart in Google's batches", remedy="judge without --judge-batch"
            )
        config: dict[str, Any] = {
            "maxOutputTokens": request.max_tokens,
            "temperature": request.temperature,
            "topP": request.top_p if request.top_p != 1.0 else None,
            "seed": request.seed,
            "stopSequences": list(request.stop) or None,
        }
        if request.schema is not None:
            config |= {"responseMimeType": "application/json", "responseJsonSchema": dict(request.schema)}
        system, turns = split_system(request)
        content = {
            "contents": [{"role": _ROLES.get(m.role, "user"), "parts": [{"text": m.content}]} for m in turns],
            "generationConfig": present(config),
            "systemInstruction": {"parts": [{"text": system}]} if system else None,
        }
        return present(content)

    def size(self, request: ChatRequest) -> int:
        """Return the bytes of a request."""
        return len(encode_body(self._content(request))) + 100

    async def submit(self, chunk: Chunk) -> str:
        """Make the batch, with our name as its display name."""
        requests = [
            {"request": self._content(request_of(item)), "metadata": {"key": item.custom_id}} for item in chunk.items
        ]
        model = self.options.model.removeprefix("models/")
        body = {"batch": {"displayName": chunk.name, "inputConfig": {"requests": {"requests": requests}}}}
        return str((await self.http.submit(f"{self._root}/models/{model}:batchGenerateContent", body))["name"])

    async def status(self, batch_id: str) -> BatchStatus:
        """Read the operation."""
        operation = await self.http.get_object(f"{self._root}/{batch_id}")
        state = str((operation.get("metadata") or {}).get("state") or "").rpartition("STATE_")[2]
        error = (operation.get("error") or {}).get("message")
        match state:
            case "SUCCEEDED" | "EXPIRED":
                return BatchStatus("ended")
            case "CANCELLED":
                return BatchStatus("cancelled", str(error or "its state is cancelled"))
            case "FAILED":
                return BatchStatus("refused", str(error or "its state is failed"))
            case _:
                return BatchStatus("ended" if operation.get("done") else "running")

    async def results(self, batch_id: str, items: Sequence[BatchItem]) -> dict[str, Result]:
        """Read the operation's answers, which are in the order of the requests."""
        operation = await self.http.get_object(f"{self._root}/{batch_id}")
        output = operation.get("response") or (operation.get("metadata") or {}).get("output") or {}
        inlined = output.get("inlinedResponses") or {}
        answers = inlined.get("inlinedResponses", ()) if isinstance(inlined, dict) else inlined
        found: dict[str, Result] = {}
        for item, answer in zip(items, answers, strict=False):
            named = (answer.get("metadata") or {}).get("key")  # some models leave it out
            found[str(named or item.custom_id)] = self._result(answer)
        return found

    def _result(self, answer: Mapping[str, Any]) -> Result:
        error = answer.get("error")
        if isinstance(error, dict):
            if error.get("code") in (3, 400):  # INVALID_ARGUMENT
                return single_fault(self.options, self._key, 400, {"error": {"message": error.get("message")}})
            return Again(str(error.get("message") or error.get("code")))
        return read_reply(lambda: self._reply(answer.get("response")))

    def _reply(self, response: Any) -> ChatReply:
        if not isinstance(response, dict):
            raise BadReply("the answer has no response")
        candidate = (response.get("candidates") or [{}])[0]
        content = read_content(field_of(candidate, "content", "parts"))
        reason = str(field_of(response, "promptFeedback", "blockReason") or candidate.get("finishReason") or "")
        if content.text is None and not reason:
            raise BadReply("the answer has no candidates")
        finish = _FINISHES.get(reason, "content_filter")
        n_prompt, n_completion, n_thoughts = _tokens(response.get("usageMetadata") or {})
        return parted_reply(
            content,
            self.options.tags,
            finish=finish,
            n_prompt_tokens=n_prompt,
            n_completion_tokens=n_completion,
            model=str(response.get("modelVersion") or ""),
            n_reasoning_tokens=n_thoughts,
        )

    async def find(self, chunk: Chunk, known: frozenset[str]) -> str | None:
        """Look for our name among the batches."""
        params = {"pageSize": PAGE}
        while True:
            page = await self.http.get_object(f"{self._root}/batches", params)
            for operation in page.get("operations", ()):
                named = (operation.get("metadata") or {}).get("displayName")
                if named == chunk.name and operation["name"] not in known:
                    return str(operation["name"])
            if not page.get("nextPageToken"):
                return None
            params["pageToken"] = page["nextPageToken"]


def _tokens(usage: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Read the tokens of prompt, reply (thoughts are billed as part of it) and thoughts."""
    answered, thought = count(usage.get("candidatesTokenCount")), count(usage.get("thoughtsTokenCount"))
    n_completion = None if answered is None and thought is None else (answered or 0) + (thought or 0)
    return count(usage.get("promptTokenCount")), n_completion, thought
