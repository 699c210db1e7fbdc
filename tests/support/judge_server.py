"""A scripted OpenAI-compatible HTTP server, for the tests and benchmarks that talk to an endpoint.

    python -m tests.support.judge_server --port 0 --latency 0.2 --log requests.jsonl     prints its URL, then serves

    with JudgeServer(faults=sequence(Fault(status=429, retry_after=1), None)) as server:
        server.base_url                                  http://127.0.0.1:PORT/v1
        server.outcomes()                                what became of each request, in order of arrival

It speaks ``/v1/models``, ``/v1/chat/completions`` and ``/v1/completions`` (with ``echo`` and ``logprobs``) over plain
asyncio, several thousand requests a second. Unless told otherwise it answers judge prompts with verdicts that hang on
a hash of the prompt alone: the same ones every time, every grade among them.

Every request is logged when its fate is known: number in order of arrival, hash of the body, how often that body was
asked before, and the outcome. That is what proves that a resumed run asks nothing twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fnmatch
import hashlib
import json
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from harness.endpoint.probe import PROBE_TEXT
from harness.hashing import content_hash

FaultKind = Literal["status", "hang", "malformed", "cut", "no_choices", "null_content", "html"]

FIVE_WAY = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
PAIRWISE = ("A", "B", "C")
TOKEN = re.compile(r"\s*\S+|\s+$")
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True)
class Call:
    """A request as the script sees it.

    `number` counts all requests from 1, `attempt` those with this very body from 1, `hash` identifies the body.
    """

    path: str
    body: Mapping[str, Any]
    hash: str
    number: int
    attempt: int
    authorization: str

    @property
    def text(self) -> str:
        """Everything that was said, joined."""
        return "\n".join(str(message.get("content")) for message in self.body.get("messages", ()))


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    "status" answers with `status`, `headers` and an error body (`code`, `message`, `param`); "hang" never answers;
    "malformed" sends broken JSON, "html" a web page, "no_choices" and "null_content" a reply that lacks its content;
    "cut" closes the connection in the middle of the reply.
    """

    kind: FaultKind = "status"
    status: int = 500
    retry_after: float | str | None = None
    code: str | None = None
    message: str = "scripted fault"
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What the log calls it."""
        return str(self.status) if self.kind == "status" else self.kind


@dataclass(frozen=True)
class Answer:
    """A reply with more than its text set by the script; `message` adds or replaces fields of the reply's message."""

    text: str
    finish: str = "stop"
    refusal: str | None = None
    logprobs: list[dict[str, Any]] | None = None
    usage: bool = True
    message: Mapping[str, Any] = field(default_factory=dict)
    n_reasoning_tokens: int | None = None


Reply = Callable[[Call], "str | Answer | Fault"]
Faults = Callable[[Call], Fault | None]


def sequence(*faults: Fault | None) -> Faults:
    """The first requests fail like this, one after the other (None: answered); all later ones are answered."""
    return lambda call: faults[call.number - 1] if call.number <= len(faults) else None


def always(fault: Fault) -> Faults:
    """Every request fails."""
    return lambda call: fault


def sometimes(probability: float, *faults: Fault, seed: int = 0, first_attempt_only: bool = False) -> Faults:
    """Each request fails with a probability, as one of `faults`; which do hangs on body, attempt and seed alone."""

    def choose(call: Call) -> Fault | None:
        if first_attempt_only and call.attempt > 1:
            return None
        draw = random.Random(f"{seed}/{call.hash}/{call.attempt}")
        return draw.choice(faults) if draw.random() < probability else None

    return choose


def verdict(call: Call) -> str | Answer:
    """Answer a judge prompt in the form it asks for; which verdict hangs on a hash of the prompt."""
    text = call.text
    draw = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")
    if call.body.get("logprobs"):
        first = "m" if draw % 2 else "M"
        return Answer(first, logprobs=[token_logprob(first, _model_token_logprobs(draw))])
    if "[[rating]]" in text.lower():
        return f"The answer was read with care. Rating: [[{1 + draw % 10}]]"
    if "[[A>>B]]" in text:
        return f"Having compared the answers, my final verdict is: [[{FIVE_WAY[draw % 5]}]]"
    if "[[A]]" in text:
        return f"Having compared the answers: [[{PAIRWISE[draw % 3]}]]"
    return _own_form(text, draw) or f"Scripted answer {draw % 1000}."


def _own_form(text: str, draw: int) -> str:
    """Answer the prompts of judges/prompts and judges/rubrics; "" for other text."""
    if "\nRating: N\n" in text:
        return f"The reply was read with care.\nRating: {1 + draw % 5}"
    if "\nVerdict: LABEL\n" in text:
        return f"The replies were compared.\nVerdict: {FIVE_WAY[draw % 5]}"
    if "\nVerdict: A\n" in text:
        return f"The replies were compared.\nVerdict: {('A', 'B', 'tie')[draw % 3]}"
    grades = re.findall(r"(\w+)=N", text.rpartition("\nRatings: ")[2])
    return "Ratings: " + ", ".join(f"{name}={1 + (draw >> i) % 5}" for i, name in enumerate(grades)) if grades else ""


def accept(call: Call) -> str | Answer:
    """Answer a judge's probe (`harness.endpoint.probe`) as a server that takes every parameter."""
    return Answer("OK", logprobs=[token_logprob("OK", {"OK": -0.1})] if call.body.get("logprobs") else None)


def refuse(*parameters: str, named: bool = True) -> Reply:
    """Refuse parameters of a probe in OpenAI's words; without `named` the error's field `param` is empty."""

    def answer(call: Call) -> str | Answer | Fault:
        sent = next((name for name in parameters if name in call.body), None)
        if sent is None:
            return accept(call)
        words = f"Unsupported value: '{sent}' does not support {call.body[sent]} with this model."
        return Fault(status=400, code="unsupported_value", message=words, param=sent if named else None)

    return answer


def _model_token_logprobs(draw: int) -> dict[str, float]:
    gap = 0.05 + (draw // 2 % 1000) / 250  # the runner-up is up to four nats behind
    winner, loser = ("m", "M") if draw % 2 else ("M", "m")
    return {winner: -0.01, loser: -0.01 - gap, "The": -8.0}


def token_logprob(token: str, top: Mapping[str, float]) -> dict[str, Any]:
    """One token of the reply with its most likely alternatives, as chat completions give them."""
    entries = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in top.items()]
    return {"token": token, "logprob": top[token], "bytes": list(token.encode()), "top_logprobs": entries}


def prompt_logprob(token: str) -> float:
    """The log-probability ``/v1/completions`` gives a token of a prompt: a fixed function of the token."""
    return -0.25 - hashlib.sha256(token.encode()).digest()[0] / 64


class JudgeServer:
    """The server; entering starts it in a thread of its own, leaving stops it.

    Parameters
    ----------
    reply : callable
        From a `Call` to the text, an `Answer` or a `Fault`.
    faults : callable or None
        Asked first; what it returns happens instead of the reply.
    latency_s : float
        Time from request to reply.
    log : Path or None
        File the log is appended to, one JSON object a line.
    models : tuple of str or None
        What ``/v1/models`` lists; None answers 404 there.
    key : str or None
        The only key that is let in; None lets all in.
    port : int
        0 takes a free one.
    prompt_logprobs : bool
        Whether ``/v1/completions`` gives log-probabilities.
    model_fields : mapping
        Further fields of every model that ``/v1/models`` lists.
    probe : callable
        As `reply`, for the small request with which a judge finds out what the server takes. Neither it nor `faults`
        counts as a request of the run; those that came are in `probes`.
    models_status : int
        Status of ``/v1/models``.
    """

    def __init__(
        self,
        reply: Reply = verdict,
        *,
        faults: Faults | None = None,
        latency_s: float = 0.0,
        log: Path | None = None,
        models: tuple[str, ...] | None = ("scripted",),
        key: str | None = None,
        port: int = 0,
        prompt_logprobs: bool = True,
        model_fields: Mapping[str, Any] | None = None,
        probe: Reply = accept,
        models_status: int = 200,
    ) -> None:
        self.reply = reply
        self.faults = faults
        self.latency_s = latency_s
        self.models = models
        self.key = key
        self.port = port
        self.prompt_logprobs = prompt_logprobs
        self.model_fields = dict(model_fields or {})
        self.probe = probe
        self.probes: list[Call] = []
        self.models_status = models_status
        self.vocabulary: dict[int, str] = {}
        self.calls: list[Call] = []
        self.log: list[dict[str, Any]] = []
        self.n_in_flight = 0
        self.most_in_flight = 0
        self._log_path = log
        self._log_stream: IO[str] | None = None
        self._attempts: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listening: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """What a client is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def outcomes(self) -> list[str]:
        """What became of the completion requests, in order of arrival."""
        return [entry["outcome"] for entry in sorted(self.log, key=lambda entry: entry["number"])]

    def answered(self) -> Counter[str]:
        """How often each body was answered; a value above 1 means that something was paid for twice."""
        return Counter(entry["hash"] for entry in self.log if entry["outcome"] == "ok")

    async def start(self) -> None:
        """Listen, in the running loop."""
        self._loop = asyncio.get_running_loop()
        if self._log_path is not None:
            self._log_stream = self._log_path.open("a", encoding="utf-8", buffering=1)
        self._listening = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=512)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._listening is not None:
            self._listening.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for connection in list(self._connections):
            connection.transport.abort()
        if self._log_stream is not None:
            self._log_stream.close()
            self._log_stream = None

    def __enter__(self) -> Self:
        started = threading.Event()

        async def serve() -> None:
            await self.start()
            started.set()
            await stopping.wait()
            await self.stop()

        stopping = asyncio.Event()
        self._stopping = stopping
        self._thread = threading.Thread(target=asyncio.run, args=(serve(),), name="judge-server", daemon=True)
        self._thread.start()
        if not started.wait(timeout=30):
            raise RuntimeError("the scripted server did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=30)

    def new_call(self, path: str, raw: bytes, authorization: str) -> Call:
        """Number a request."""
        body = json.loads(raw) if raw else {}
        digest = content_hash(path, body)
        self._attempts[digest] += 1
        call = Call(path, body, digest, len(self.calls) + 1, self._attempts[digest], authorization)
        self.calls.append(call)
        return call

    def record(self, call: Call, outcome: str, arrived: float) -> None:
        """Log what became of a request."""
        entry = {
            "time": arrived,
            "seconds": round(time.time() - arrived, 4),
            "number": call.number,
            "path": call.path,
            "hash": call.hash,
            "attempt": call.attempt,
            "outcome": outcome,
        }
        self.log.append(entry)
        if self._log_stream is not None:
            self._log_stream.write(json.dumps(entry) + "\n")


class _Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection."""

    transport: asyncio.Transport

    def __init__(self, server: JudgeServer) -> None:
        self.server = server
        self.buffer = bytearray()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server._connections.discard(self)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).decode("latin-1")
            request_line, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            total = end + 4 + int(headers.get("content-length", "0"))
            if len(self.buffer) < total:
                return
            raw = bytes(self.buffer[end + 4 : total])
            del self.buffer[:total]
            method, path, _ = request_line.split(" ", 2)
            self.task = asyncio.get_running_loop().create_task(
                self.handle(method, path.partition("?")[0], headers, raw)
            )
            self.server.tasks.add(self.task)
            self.task.add_done_callback(self.server.tasks.discard)

    async def handle(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> None:
        authorization = headers.get("authorization", "")
        if self.server.key is not None and authorization != f"Bearer {self.server.key}":
            given = authorization.removeprefix("Bearer ")
            refusal = Fault(status=401, code="invalid_api_key", message=f"Incorrect API key provided: {given}.")
            if not path.endswith("/models"):
                self.server.record(self.server.new_call(path, raw, authorization), "401", time.time())
            self.transport.write(_fault_bytes(refusal))
        elif method == "GET" and path == "/health":
            self.transport.write(_json_bytes(200, {}))
        elif method == "GET" and path.endswith("/models") and self.server.models is not None:
            if self.server.models_status != 200:
                self.transport.write(_fault_bytes(Fault(status=self.server.models_status)))
                return
            facts = {"object": "model", "created": 0, "owned_by": "test", **self.server.model_fields}
            models = [{"id": name, **facts} for name in self.server.models]
            self.transport.write(_json_bytes(200, {"object": "list", "data": models}))
        elif method == "POST" and path.endswith(("/chat/completions", "/completions")):
            await self.complete(path, raw, authorization)
        else:
            missing = Fault(status=404, code="not_found", message=f"no such path: {method} {path}")
            self.transport.write(_fault_bytes(missing))

    def before_the_run(self, raw: bytes, authorization: str) -> bytes | None:
        """Answer what is no request of the run: a probe, or a request for a model that is not served."""
        body = json.loads(raw)
        model, served = str(body.get("model")), self.server.models or ("*",)
        if not any(fnmatch.fnmatchcase(model, name) or name.endswith("/" + model) for name in served):
            missing = f"The model `{model}` does not exist or you do not have access to it."
            return _fault_bytes(Fault(status=404, code="model_not_found", message=missing))
        if [message.get("content") for message in body.get("messages", ())] != [PROBE_TEXT]:
            return None
        call = Call("/v1/chat/completions", body, "", 0, 1, authorization)
        self.server.probes.append(call)
        answer = self.server.probe(call)
        if isinstance(answer, Fault):
            return _fault_bytes(answer)
        return _json_bytes(200, _chat_completion(call, answer if isinstance(answer, Answer) else Answer(answer)))

    async def complete(self, path: str, raw: bytes, authorization: str) -> None:
        server = self.server
        early = self.before_the_run(raw, authorization)
        if early is not None:
            self.transport.write(early)
            return
        arrived, due = time.time(), asyncio.get_running_loop().time() + server.latency_s
        call = server.new_call(path, raw, authorization)
        server.n_in_flight += 1
        server.most_in_flight = max(server.most_in_flight, server.n_in_flight)
        outcome = "abandoned"
        try:
            answer = server.faults(call) if server.faults is not None else None
            if answer is None and path.endswith("/chat/completions"):
                answer = server.reply(call)
            if isinstance(answer, Fault):
                fate, data = answer.label, _fault_bytes(answer)
            elif answer is None:
                fate, data = "ok", _json_bytes(200, _legacy_completion(call, server.prompt_logprobs, server.vocabulary))
            else:
                whole = answer if isinstance(answer, Answer) else Answer(answer)
                fate, data = "ok", _json_bytes(200, _chat_completion(call, whole))
            if fate == "hang":
                outcome = fate
                await asyncio.Event().wait()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            self.transport.write(data)
            outcome = fate
            if fate == "cut":
                self.transport.close()
        finally:
            server.n_in_flight -= 1
            server.record(call, outcome, arrived)


def _fault_bytes(fault: Fault) -> bytes:
    match fault.kind:
        case "malformed":
            return _http_bytes(200, b'{"choices": [{"message": {"content": "Rating: [[', "application/json")
        case "html":
            return _http_bytes(200, b"<html><body>Welcome to the proxy</body></html>", "text/html")
        case "no_choices":
            return _json_bytes(200, {"object": "chat.completion", "model": "scripted", "choices": []})
        case "null_content":
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": None}}
            return _json_bytes(200, {"object": "chat.completion", "model": "scripted", "choices": [choice]})
        case "cut":
            return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"
        case "hang":
            return b""
        case "status":
            headers = dict(fault.headers)
            if fault.retry_after is not None:
                headers["retry-after"] = str(fault.retry_after)
            error = {"message": fault.message, "type": "scripted", "code": fault.code, "param": fault.param}
            return _json_bytes(fault.status, {"error": error}, headers)


def _json_bytes(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bytes:
    return _http_bytes(status, json.dumps(body).encode(), "application/json", headers)


def _http_bytes(status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> bytes:
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\ncontent-type: {kind}\r\n"
        f"content-length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode("latin-1") + body


def _chat_completion(call: Call, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
    if answer.refusal is not None:
        message["content"] = None
    message |= answer.message
    choice: dict[str, Any] = {"index": 0, "finish_reason": answer.finish, "message": message, "logprobs": None}
    if answer.logprobs is not None:
        choice["logprobs"] = {"content": answer.logprobs, "refusal": None}
    n_prompt, n_completion = len(TOKEN.findall(call.text)), len(TOKEN.findall(answer.text))
    usage: dict[str, Any] = {"prompt_tokens": n_prompt, "completion_tokens": n_completion}
    usage["total_tokens"] = n_prompt + n_completion
    if answer.n_reasoning_tokens is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": answer.n_reasoning_tokens}
    return {
        "id": f"chatcmpl-{call.number}",
        "object": "chat.completion",
        "created": 0,
        "model": f"{call.body.get('model')}-0001",
        "choices": [choice],
        **({"usage": usage} if answer.usage else {}),
    }


def token_id(token: str) -> int:
    """The id of a token: a fixed function of its text."""
    return int.from_bytes(hashlib.sha256(token.encode()).digest()[:4], "big")


def _legacy_completion(call: Call, with_logprobs: bool, vocabulary: dict[int, str]) -> dict[str, Any]:
    prompt = call.body["prompt"]
    if isinstance(prompt, list):
        tokens = [vocabulary.get(number, f"t{number} ") for number in prompt]
    else:
        tokens = TOKEN.findall(prompt)
        vocabulary.update((token_id(token), token) for token in tokens)
    n_new = min(1, int(call.body.get("max_tokens", 16)))
    generated = [" end"][:n_new]
    shown = (tokens if call.body.get("echo") else []) + generated
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length", "text": "".join(shown), "logprobs": None}
    if with_logprobs and call.body.get("logprobs"):
        values: list[float | None] = [prompt_logprob(token) for token in shown]
        # The likeliest token is the one that stands there, unless it is long: then it is a full stop.
        top: list[dict[str, float] | None] = [{t: prompt_logprob(t)} for t in shown]
        top = [{**entry, ".": -0.1} if len(t) > 6 else entry for t, entry in zip(shown, top, strict=True) if entry]
        if call.body.get("echo") and values:
            values[0], top[0] = None, None
        offsets = [sum(map(len, shown[:i])) for i in range(len(shown))]
        choice["logprobs"] = {
            "tokens": shown,
            "token_logprobs": values,
            "top_logprobs": top,
            "text_offset": offsets,
        }
    if call.body.get("return_token_ids"):
        choice["prompt_token_ids"] = [token_id(token) for token in tokens]
    usage = {"prompt_tokens": len(tokens), "completion_tokens": n_new, "total_tokens": len(tokens) + n_new}
    return {"id": "cmpl", "object": "text_completion", "model": "scripted", "choices": [choice], "usage": usage}


def _fault_argument(text: str) -> tuple[float, Fault]:
    """Parse ``PROBABILITY:STATUS_OR_KIND[:RETRY_AFTER]``."""
    probability, kind, *rest = text.split(":")
    retry_after = float(rest[0]) if rest else None
    if kind.isdigit():
        return float(probability), Fault(status=int(kind), retry_after=retry_after)
    return float(probability), Fault(kind=kind)  # type: ignore[arg-type]


async def _serve(server: JudgeServer) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await server.start()
    sys.stdout.write(server.base_url + "\n")
    sys.stdout.flush()
    await stopping.wait()
    await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible server; prints its URL, then serves.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds from request to reply")
    parser.add_argument("--log", type=Path, help="JSONL file that every request is appended to")
    parser.add_argument("--model", action="append", help="a model to list (default: scripted)")
    parser.add_argument("--key", help="refuse every other key")
    parser.add_argument(
        "--fault",
        metavar="P:STATUS[:RETRY_AFTER]",
        help="share of requests that fail, as 0.1:429:2, 0.05:hang, 0.1:cut",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faults = None
    if arguments.fault:
        probability, fault = _fault_argument(arguments.fault)
        faults = sometimes(probability, fault, seed=arguments.seed)
    server = JudgeServer(
        faults=faults,
        latency_s=arguments.latency,
        log=arguments.log,
        models=tuple(arguments.model or ["scripted"]),
        key=arguments.key,
        port=arguments.port,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(server))


if __name__ == "__main__":
    main()
