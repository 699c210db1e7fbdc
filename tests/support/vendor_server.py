"""Stand-ins for OpenAI, Anthropic and Google, written from their documented formats, batch interfaces included.

    with VendorServer("anthropic") as server:
        server.base_url                 what a judge is given
        server.paid                     how often each question was answered in a batch
        server.batches                  the batches, by name

Each answers a question by a hash of its text, as `tests.support.judge_server.verdict`, in the vendor's own format: with
its reasoning fields, its list of content parts, its refusals, and the fields it refuses or ignores. `faults` are met by
the requests that make a batch, before or after it is made.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.judge_server import Answer, Call, verdict

KEY = "sk-vendor-key-123456"


@dataclass
class Question:
    """A request, whichever format it came in."""

    system: str
    turns: list[str]
    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        """Everything that was said."""
        return "\n".join([self.system, *self.turns] if self.system else self.turns)


@dataclass
class Said:
    """What a model says to a question, before it is put into a format."""

    text: str = ""
    reasoning: str = ""
    refused: bool = False
    cut: bool = False
    error: str = ""
    """A word for what becomes of the request in a batch in place of an answer: "expired", "overloaded", "invalid"."""


def by_hash(question: Question) -> Said:
    """Answer a judge prompt in the form it asks for."""
    answer = verdict(Call("", {"messages": [{"content": question.text}]}, "", 0, 1, ""))
    assert isinstance(answer, str | Answer)
    return Said(answer if isinstance(answer, str) else answer.text, reasoning="It could be [[1]] or [[A]] or [[A>>B]].")


@dataclass
class Batch:
    """A batch at the server."""

    name: str
    made: float
    requests: list[tuple[str, Question]]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    display_name: str = ""
    state: str = "running"
    results: dict[str, Said] = field(default_factory=dict)


class VendorServer:
    """The server; entering starts it in threads of its own.

    Parameters
    ----------
    vendor : {"openai", "anthropic", "google"}
        Whose formats it speaks.
    say : callable
        From a `Question` to what is `Said`.
    batch_s : float
        How long a batch takes.
    refuses : tuple of str
        Parameters that a single request is refused for.
    faults : list of str
        For the next submissions: "429" and "500" refuse, "lost" accepts and cuts the connection off, "failed" accepts
        and never runs; "" is none.
    """

    def __init__(
        self,
        vendor: str,
        say: Callable[[Question], Said] = by_hash,
        *,
        batch_s: float = 0.0,
        refuses: tuple[str, ...] = (),
        faults: tuple[str, ...] = (),
    ) -> None:
        self.vendor = vendor
        self.say = say
        self.batch_s = batch_s
        self.refuses = refuses
        self.faults = list(faults)
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, bytes] = {}
        self.paid: Counter[str] = Counter()
        self.single: list[Mapping[str, Any]] = []
        self.lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def base_url(self) -> str:
        """The OpenAI-compatible endpoint."""
        assert self._server is not None
        root = f"http://127.0.0.1:{self._server.server_address[1]}"
        return f"{root}/v1beta/openai" if self.vendor == "google" else f"{root}/v1"

    def __enter__(self) -> Self:
        stand_in = self

        class Handler(_Handler):
            server_of = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def make(self, requests: list[tuple[str, Question]], **fields: Any) -> Batch:
        """Accept a batch."""
        with self.lock:
            number = len(self.batches) + 1
            name = f"batches/b{number}" if self.vendor == "google" else f"batch_{number}"
            self.batches[name] = Batch(name, time.time(), requests, **fields)
            return self.batches[name]

    def now(self, batch: Batch) -> Batch:
        """Bring a batch up to date: once it has run, its requests are answered and paid for."""
        with self.lock:
            if batch.state == "running" and time.time() - batch.made >= self.batch_s:
                for name, question in batch.requests:
                    said = self.say(question)
                    batch.results[name] = said
                    self.paid[question.text] += not said.error
                batch.state = "ended"
            return batch

    def cancel(self) -> None:
        """Cancel every batch that is under way, as a person does on the vendor's page: half of it was answered."""
        with self.lock:
            for batch in self.batches.values():
                if batch.state == "running":
                    answered = batch.requests[: len(batch.requests) // 2]
                    batch.results = {name: self.say(question) for name, question in answered}
                    self.paid.update(question.text for _, question in answered)
                    batch.state = "cancelled"


class _Handler(BaseHTTPRequestHandler):
    server_of: VendorServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""

    def _send(self, status: int, value: Any) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _error(self, status: int, message: str, **fields: Any) -> None:
        self._send(status, {"error": {"message": message, "type": "invalid_request_error", **fields}})

    def _authorised(self) -> bool:
        given = self.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or self.headers.get("x-api-key", "") or self.headers.get("x-goog-api-key", "")
        if given != KEY:
            self._error(401, f"Incorrect API key provided: {given}")
        return given == KEY

    def do_GET(self) -> None:
        if not self._authorised():
            return
        parts = urlsplit(self.path)
        _GET[self.server_of.vendor](self, parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", "0")))
        if not self._authorised():
            return
        path = urlsplit(self.path).path
        if path.endswith("/chat/completions"):
            self._chat(json.loads(raw))
        else:
            _POST[self.server_of.vendor](self, path, raw)

    def _chat(self, body: dict[str, Any]) -> None:
        server = self.server_of
        refused = next((name for name in server.refuses if name in body), None)
        if refused is not None:
            words = f"Unsupported value: '{refused}' does not support {body[refused]} with this model."
            self._error(400, words, param=refused if server.vendor == "openai" else None, code="unsupported_value")
            return
        server.single.append(body)
        said = server.say(_from_chat(body))
        self._send(200, _as_chat(server.vendor, body, said))

    def accepted(self, requests: list[tuple[str, Question]], **fields: Any) -> Batch | None:
        """Accept a batch, or meet the next fault; None if the answer was sent or lost."""
        server = self.server_of
        fault = server.faults.pop(0) if server.faults else ""
        if fault in ("429", "500"):
            self._error(int(fault), "try again")
            return None
        batch = server.make(requests, **fields)
        if fault == "failed":
            batch.state = "failed"
        if fault == "lost":
            self.close_connection = True
            self.connection.close()
            return None
        return batch


def _from_chat(body: Mapping[str, Any]) -> Question:
    system = "\n".join(m["content"] for m in body["messages"] if m["role"] == "system")
    return Question(system, [m["content"] for m in body["messages"] if m["role"] != "system"], body)


def _as_chat(vendor: str, body: Mapping[str, Any], said: Said) -> dict[str, Any]:
    """A chat completion, as each vendor's (compatible) endpoint gives it."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    finish = "length" if said.cut else "stop"
    usage = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140}
    if vendor == "openai":
        message |= {"refusal": "I can't help with that." if said.refused else None, "annotations": []}
        message["content"] = None if said.refused else said.text
        usage["completion_tokens_details"] = {"reasoning_tokens": 30, "audio_tokens": 0}  # type: ignore[assignment]
    elif vendor == "google":
        thought = f"<thought>{said.reasoning}</thought>" if said.reasoning else ""
        message["content"] = None if said.refused else thought + said.text
        finish = "content_filter" if said.refused else finish
        message["extra_content"] = {"google": {"thought": bool(said.reasoning)}}
    else:
        message["content"] = [{"type": "thinking", "thinking": said.reasoning}, {"type": "text", "text": said.text}]
    choice = {"index": 0, "finish_reason": finish, "message": message, "logprobs": None}
    return {"id": "c", "object": "chat.completion", "model": f"{body['model']}-1", "choices": [choice], "usage": usage}


# OpenAI


def _openai_post(handler: _Handler, path: str, raw: bytes) -> None:
    server = handler.server_of
    if path == "/v1/files":
        uploaded = [line for line in raw.splitlines() if line.startswith(b'{"custom_id"')]
        name = f"file-{len(server.files) + 1}"
        server.files[name] = b"\n".join(uploaded)
        handler._send(200, {"id": name, "object": "file", "purpose": "batch"})
        return
    body = json.loads(raw)
    assert path == "/v1/batches" and body["endpoint"] == "/v1/chat/completions" and body["completion_window"] == "24h"
    lines = [json.loads(line) for line in server.files[body["input_file_id"]].splitlines()]
    requests = [(line["custom_id"], _from_chat(line["body"])) for line in lines]
    batch = handler.accepted(requests, metadata=body["metadata"])
    if batch is not None:
        handler._send(200, _openai_batch(batch))


def _openai_batch(batch: Batch) -> dict[str, Any]:
    status = {"running": "in_progress", "ended": "completed"}.get(batch.state, batch.state)
    has_errors = any(said.error for said in batch.results.values()) or len(batch.results) < len(batch.requests)
    return {
        "id": batch.name,
        "object": "batch",
        "status": status,
        "created_at": int(batch.made),
        "metadata": dict(batch.metadata),
        "output_file_id": f"out-{batch.name}" if batch.results else None,
        "error_file_id": f"err-{batch.name}" if batch.results and has_errors else None,
        "errors": {"data": [{"message": "the file is too large"}]} if status == "failed" else None,
        "request_counts": {"total": len(batch.requests)},
    }


def _openai_get(handler: _Handler, path: str, query: dict[str, str]) -> None:
    server = handler.server_of
    if path == "/v1/models":
        handler._send(200, {"object": "list", "data": [{"id": "m"}]})
    elif path == "/v1/batches":
        newest = sorted(server.batches.values(), key=lambda b: -b.made)
        _page(handler, newest, query.get("after"), _openai_batch)
    elif path.startswith("/v1/batches/"):
        handler._send(200, _openai_batch(server.now(server.batches[path.rpartition("/")[2]])))
    else:
        kind, _, name = path.split("/")[3].partition("-")
        batch = server.batches[name]
        lines = [_openai_line(key, question, batch.results.get(key), kind) for key, question in batch.requests]
        handler._send(200, b"\n".join(json.dumps(line).encode() for line in lines if line))


def _openai_line(key: str, question: Question, said: Said | None, kind: str) -> dict[str, Any] | None:
    if said is not None and not said.error:
        response = {"status_code": 200, "body": _as_chat("openai", question.body, said)}
        return {"id": "r", "custom_id": key, "response": response, "error": None} if kind == "out" else None
    if kind == "out":
        return None
    if said is not None and said.error == "invalid":
        error = {"message": "bad", "type": "invalid_request_error"}
        return {"custom_id": key, "response": {"status_code": 400, "body": {"error": error}}, "error": None}
    if said is not None and said.error == "overloaded":
        error = {"message": "slow down", "type": "server_error"}
        return {"custom_id": key, "response": {"status_code": 503, "body": {"error": error}}, "error": None}
    error = {"code": "batch_expired", "message": "This request could not be executed before the window expired."}
    return {"custom_id": key, "response": None, "error": error}


def _page(handler: _Handler, found: list[Batch], after: str | None, shown: Callable[[Batch], Any]) -> None:
    names = [batch.name for batch in found]
    start = names.index(after) + 1 if after else 0
    page = found[start : start + 2]  # small pages, so that paging is met
    last = page[-1].name if page else None
    handler._send(
        200, {"data": [shown(b) for b in page], "has_more": start + 2 < len(found), "last_id": last, "object": "list"}
    )


# Anthropic


def _anthropic_post(handler: _Handler, path: str, raw: bytes) -> None:
    assert path == "/v1/messages/batches" and handler.headers["anthropic-version"]
    requests = []
    for item in json.loads(raw)["requests"]:
        params = item["params"]
        assert params["max_tokens"] >= 1 and all(m["role"] in ("user", "assistant") for m in params["messages"])
        question = Question(params.get("system", ""), [m["content"] for m in params["messages"]], params)
        requests.append((item["custom_id"], question))
    batch = handler.accepted(requests)
    if batch is not None:
        handler._send(200, _anthropic_batch(batch))


def _anthropic_batch(batch: Batch) -> dict[str, Any]:
    ended = batch.state != "running"
    n, answered = len(batch.requests), len(batch.results)
    counts = {"processing": 0 if ended else n, "succeeded": answered, "errored": 0, "expired": 0}
    counts["canceled"] = n - answered if batch.state == "cancelled" else 0
    counts["expired"] = n - sum(counts.values())
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(batch.made))
    return {
        "id": batch.name,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": counts,
        "created_at": made,
        "cancel_initiated_at": made if batch.state == "cancelled" else None,
        "results_url": "unused" if ended else None,
    }


def _anthropic_get(handler: _Handler, path: str, query: dict[str, str]) -> None:
    server = handler.server_of
    if path == "/v1/models":
        handler._error(404, "not found")
    elif path == "/v1/messages/batches":
        newest = sorted(server.batches.values(), key=lambda b: -b.made)
        _page(handler, newest, query.get("after_id"), lambda b: _anthropic_batch(server.now(b)))
    elif path.endswith("/results"):
        batch = server.batches[path.split("/")[4]]
        lines = [
            {"custom_id": key, "result": _anthropic_result(question, batch.results.get(key), batch.state)}
            for key, question in batch.requests
        ]
        handler._send(200, b"\n".join(json.dumps(line).encode() for line in lines))
    else:
        handler._send(200, _anthropic_batch(server.now(server.batches[path.rpartition("/")[2]])))


def _anthropic_result(question: Question, said: Said | None, state: str) -> dict[str, Any]:
    if said is None:
        return {"type": "canceled" if state == "cancelled" else "expired"}
    if said.error in ("overloaded", "invalid"):
        kind = "overloaded_error" if said.error == "overloaded" else "invalid_request_error"
        return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": said.error}}}
    if said.error:
        return {"type": "expired"}
    content = [{"type": "thinking", "thinking": said.reasoning, "signature": "x"}, {"type": "text", "text": said.text}]
    message = {
        "type": "message",
        "role": "assistant",
        "model": question.body["model"],
        "content": [] if said.refused else content,
        "stop_reason": "refusal" if said.refused else "max_tokens" if said.cut else "end_turn",
        "usage": {"input_tokens": 60, "cache_read_input_tokens": 40, "output_tokens": 40},
    }
    return {"type": "succeeded", "message": message}


# Google


def _google_post(handler: _Handler, path: str, raw: bytes) -> None:
    assert path == "/v1beta/models/m:batchGenerateContent", path
    body = json.loads(raw)["batch"]
    requests = []
    for item in body["inputConfig"]["requests"]["requests"]:
        content = item["request"]
        system = "".join(part["text"] for part in content.get("systemInstruction", {}).get("parts", ()))
        turns = ["".join(part["text"] for part in turn["parts"]) for turn in content["contents"]]
        requests.append((item["metadata"]["key"], Question(system, turns, content)))
    batch = handler.accepted(requests, display_name=body["displayName"])
    if batch is not None:
        handler._send(200, _google_operation(batch))


def _google_operation(batch: Batch) -> dict[str, Any]:
    state = {"running": "RUNNING", "ended": "SUCCEEDED"}.get(batch.state, batch.state.upper())
    operation: dict[str, Any] = {
        "name": batch.name,
        "metadata": {"displayName": batch.display_name, "state": f"BATCH_STATE_{state}"},
        "done": batch.state != "running",
    }
    if batch.state == "failed":
        operation["error"] = {"code": 3, "message": "the batch is too large"}
    if batch.results:
        answers = [
            _google_answer(key, number, batch.results[key])
            for number, (key, _) in enumerate(batch.requests)
            if key in batch.results
        ]
        operation["response"] = {"inlinedResponses": {"inlinedResponses": answers}}
    return operation


def _google_answer(key: str, number: int, said: Said) -> dict[str, Any]:
    named = {"metadata": {"key": key}} if number % 2 else {}  # some answers come without it
    if said.error:
        code = 3 if said.error == "invalid" else 14
        return {**named, "error": {"code": code, "message": said.error}}
    candidate: dict[str, Any] = {"finishReason": "SAFETY" if said.refused else "MAX_TOKENS" if said.cut else "STOP"}
    if not said.refused:
        parts = [{"text": said.reasoning, "thought": True}, {"text": said.text}]
        candidate["content"] = {"role": "model", "parts": parts}
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "thoughtsTokenCount": 30}
    return {**named, "response": {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}}


def _google_get(handler: _Handler, path: str, query: dict[str, str]) -> None:
    server = handler.server_of
    if path.endswith("/models"):
        handler._error(500, "internal error")
    elif path == "/v1beta/batches":
        found = list(server.batches.values())
        start = int(query.get("pageToken", "0"))
        page = {"operations": [_google_operation(b) for b in found[start : start + 2]]}
        handler._send(200, page | ({"nextPageToken": str(start + 2)} if start + 2 < len(found) else {}))
    else:
        handler._send(200, _google_operation(server.now(server.batches[path.removeprefix("/v1beta/")])))


_GET = {"openai": _openai_get, "anthropic": _anthropic_get, "google": _google_get}
_POST = {"openai": _openai_post, "anthropic": _anthropic_post, "google": _google_post}
