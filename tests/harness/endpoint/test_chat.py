"""The endpoint client against a real HTTP server that misbehaves as scripted."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from harness.endpoint.client import ChatClient, ChatFailure, ChatReply, ChatRequest, EndpointOptions, TokenLogprob
from harness.endpoint.faults import connection_fault, redact, retry_after_s, status_fault
from harness.endpoint.wire import BadReply, encode_body, parse_chat
from harness.errors import AuthenticationError, EndpointError, SpecError
from harness.messages import Message
from harness.spec import validated
from tests.support.judge_server import (
    Answer,
    Call,
    Fault,
    JudgeServer,
    always,
    sequence,
    sometimes,
    token_logprob,
    verdict,
)

T = TypeVar("T")
KEY = "sk-secret-1234567890"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield


def ask(text: str, **fields: Any) -> ChatRequest:
    return ChatRequest((Message("user", text),), **{"max_tokens": 20, **fields})


def with_client(server: JudgeServer | str, work: Callable[[ChatClient], Awaitable[T]], **options: Any) -> T:
    url = server if isinstance(server, str) else server.base_url

    async def main() -> T:
        client = ChatClient(EndpointOptions(**{"model": "scripted", "base_url": url, **options}))
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(main())


def complete(server: JudgeServer | str, request: ChatRequest | None = None, **options: Any) -> ChatReply:
    return with_client(server, lambda client: client.complete(request or ask("hello")), **options)


def complete_all(server: JudgeServer, n: int, **options: Any) -> list[Any]:
    async def work(client: ChatClient) -> list[Any]:
        return await asyncio.gather(*(client.complete(ask(f"q{i}")) for i in range(n)), return_exceptions=True)

    return with_client(server, work, **options)


def test_a_request_says_what_was_asked_and_no_more() -> None:
    with JudgeServer() as server:
        complete(server, ask("hello"))
        complete(
            server,
            ask("hi", temperature=None, top_p=0.9, seed=3, stop=("\n",), top_logprobs=5),
            extra_body={"guided_choice": ["a"]},
            token_limit_field="max_completion_tokens",
        )
    plain, full = (dict(call.body) for call in server.calls)
    messages = [{"role": "user", "content": "hello"}]
    assert plain == {"model": "scripted", "messages": messages, "max_tokens": 20, "temperature": 0.0}
    messages = [{"role": "user", "content": "hi"}]
    assert full == {
        "model": "scripted",
        "messages": messages,
        "max_completion_tokens": 20,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["\n"],
        "logprobs": True,
        "top_logprobs": 5,
        "guided_choice": ["a"],
    }
    assert server.calls[0].authorization == f"Bearer {KEY}"


def test_a_reply_is_read_whole() -> None:
    tokens = [token_logprob("m", {"m": -0.1, "M": -2.5}), token_logprob(" é", {" é": -0.3})]
    with JudgeServer(lambda call: Answer("m é", finish="length", logprobs=tokens)) as server:
        reply = complete(server, ask("one two three", top_logprobs=2))
    assert reply == ChatReply(
        text="m é",
        finish="length",
        logprobs=(TokenLogprob("m", -0.1, (("m", -0.1), ("M", -2.5))), TokenLogprob(" é", -0.3, ((" é", -0.3),))),
        n_prompt_tokens=3,
        n_completion_tokens=2,
        model="scripted-0001",
    )
    assert ChatReply.from_json(reply.to_json()) == reply


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"text": 3, "logprobs": [1]}', '{"logprobs": null, "x": 1}'])
def test_a_stored_reply_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ChatReply.from_json(text)


CUT = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
REFUSED = {"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]}
FILTERED = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}
PARTS = {"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "x"}, {"text": "b"}]}}]}
INFINITE = {
    "choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"token": "a", "logprob": float("-inf")}]}}]
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CUT, ChatReply("", "length")),
        (REFUSED, ChatReply("", "stop", refusal="No.")),
        (FILTERED, ChatReply("", "content_filter")),
        (PARTS, ChatReply("ab")),
        (INFINITE, ChatReply("a")),
        ({**PARTS, "usage": {"prompt_tokens": True, "completion_tokens": -1}}, ChatReply("ab")),
    ],
)
def test_unusual_replies(value: dict[str, Any], expected: ChatReply) -> None:
    assert parse_chat(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"choices": []},
        {"choices": ["x"]},
        {"choices": [{}]},
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {"content": 3}, "finish_reason": "tool_calls"}]},
    ],
)
def test_replies_without_content(value: dict[str, Any]) -> None:
    with pytest.raises(BadReply):
        parse_chat(value)


def test_lone_surrogates_are_sent_as_replacement_characters() -> None:
    assert encode_body({"a": "x\ud800y"}) == '{"a":"x\ufffdy"}'.encode()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503, retry_after=0),
        Fault(status=529),
        Fault(status=408),
        Fault(status=429),
        Fault(status=429, retry_after="soon"),
        Fault(kind="malformed"),
        Fault(kind="html"),
        Fault(kind="no_choices"),
        Fault(kind="cut"),
    ],
    ids=lambda fault: fault.label,
)
def test_a_passing_fault_is_tried_again(fault: Fault) -> None:
    with JudgeServer(faults=sequence(fault)) as server:
        assert complete(server).text.startswith("Scripted answer")
    assert server.outcomes() == [fault.label, "ok"]


def test_a_reply_that_does_not_come_is_tried_again() -> None:
    with JudgeServer(faults=sequence(Fault(kind="hang"))) as server:
        assert complete(server, timeout_s=0.3).text
    assert server.outcomes() == ["hang", "ok"]


@pytest.mark.parametrize("headers", [{"retry-after": "1"}, {"retry-after-ms": "600"}])
def test_retry_after_is_honoured(headers: dict[str, str]) -> None:
    asked_s = 1.0 if "retry-after" in headers else 0.6
    with JudgeServer(faults=sequence(Fault(status=429, headers=headers))) as server:

        async def work(client: ChatClient) -> tuple[int, int, float]:
            await client.complete(ask("hello"))
            return client.n_retries, client.n_rate_limited, client.seconds_waited

        n_retries, n_rate_limited, waited = with_client(server, work)
    first, second = sorted(server.log, key=lambda entry: entry["number"])
    assert second["time"] - first["time"] >= asked_s
    assert (n_retries, n_rate_limited) == (1, 1)
    assert waited >= asked_s


def test_retry_after_as_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.endpoint.faults.time.time", lambda: 784111770.0)
    assert retry_after_s({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 7.0
    assert retry_after_s({"retry-after": "Sun, 06 Nov 1994 08:00:00 GMT"}) == 0.0
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after_s({"retry-after": "-3"}) is None
    assert retry_after_s({"retry-after": "nan"}) is None
    assert retry_after_s({}) is None


def test_one_request_that_keeps_failing_fails_alone() -> None:
    def faults(call: Call) -> Fault | None:
        return Fault(status=500, message="cannot parse this") if call.text == "q3" else None

    with JudgeServer(faults=faults) as server:

        async def work(client: ChatClient) -> list[Any]:
            async def others() -> list[Any]:
                done = []
                for i in range(4, 40):
                    done.append(await client.complete(ask(f"q{i}")))
                    await asyncio.sleep(0.05)
                return done

            failing = asyncio.create_task(client.complete(ask("q3")))
            return [*await others(), *await asyncio.gather(failing, return_exceptions=True)]

        *rest, failed = with_client(server, work, max_retries=1, concurrency=4)
    assert all(isinstance(reply, ChatReply) for reply in rest)
    assert isinstance(failed, ChatFailure)
    assert failed.kind == "server_error"
    assert "cannot parse this" in failed.detail and "attempts" in failed.detail


def test_the_last_request_of_a_run_is_not_taken_for_the_endpoint() -> None:
    """Nothing else is under way to tell an unlucky request from an endpoint that is down: it is asked to say hello."""

    def faults(call: Call) -> Fault | None:
        return None if call.text == "Hello" else Fault(status=500)

    with JudgeServer(faults=faults) as server:
        results = complete_all(server, 2, max_retries=1, give_up_after_s=0.5)
        assert [type(result) for result in results] == [ChatFailure, ChatFailure]
        assert [call.body["max_tokens"] for call in server.calls if call.text == "Hello"] == [1]


def test_a_rate_limit_is_waited_out_beyond_the_number_of_retries() -> None:
    limited = [Fault(status=429, retry_after=0.1)] * 5
    with JudgeServer(faults=sequence(*limited)) as server:
        assert complete(server, max_retries=1).text
    assert server.outcomes() == ["429"] * 5 + ["ok"]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault(status=429, retry_after=0.1, message="Rate limit reached"), "429"),
        (Fault(status=429, retry_after=900), "429"),
        (Fault(status=503, message="overloaded"), "503"),
        (Fault(kind="cut"), "cut off"),
        (Fault(kind="html"), "bad reply"),
        (Fault(kind="hang"), "timeout"),
    ],
    ids=lambda value: value.label if isinstance(value, Fault) else value,
)
def test_an_endpoint_that_is_down_is_one_error_for_all(fault: Fault, seen: str) -> None:
    with JudgeServer(faults=always(fault)) as server:
        results = complete_all(server, 6, give_up_after_s=0.6, timeout_s=0.3, max_retries=2, concurrency=4)
    assert {type(result) for result in results} == {EndpointError}
    assert len({id(result) for result in results}) == 1
    message = str(results[0])
    assert server.base_url in message and seen in message and "resume" in message
    assert fault.kind != "status" or fault.message in message


def test_nothing_is_asked_once_the_endpoint_is_known_to_be_down() -> None:
    with JudgeServer(faults=always(Fault(status=503))) as server:

        async def work(client: ChatClient) -> int:
            with pytest.raises(EndpointError):
                await client.complete(ask("a"))
            n_asked = len(server.calls)
            with pytest.raises(EndpointError):
                await client.complete(ask("b"))
            return n_asked

        assert with_client(server, work, give_up_after_s=0.3) == len(server.calls)


def test_what_was_answered_before_stands() -> None:
    def faults(call: Call) -> Fault | None:
        return Fault(status=429) if call.number > 10 else None

    with JudgeServer(faults=faults) as server:
        results = complete_all(server, 30, give_up_after_s=0.5, concurrency=8)
    assert sum(isinstance(result, ChatReply) for result in results) == 10
    assert sum(isinstance(result, EndpointError) for result in results) == 20


def test_an_endpoint_that_comes_back_in_time_loses_nothing() -> None:
    faults = sometimes(0.4, Fault(status=429), Fault(status=500), Fault(kind="cut"), seed=5)
    with JudgeServer(faults=faults) as server:
        results = complete_all(server, 40, concurrency=16, max_retries=50)
    assert all(isinstance(result, ChatReply) for result in results)
    assert set(server.answered().values()) == {1}
    assert len(server.calls) > 40


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_everything(status: int) -> None:
    fault = Fault(status=status, message=f"Incorrect API key provided: {KEY}.")
    with JudgeServer(faults=always(fault)) as server:
        results = complete_all(server, 5, concurrency=1)
        assert {type(result) for result in results} == {AuthenticationError}
        assert len(server.calls) == 1
    message = str(results[0])
    assert "OPENAI_API_KEY" in message and KEY not in message and "sk-" not in message


def test_a_moderated_request_is_not_a_refused_key() -> None:
    moderated = always(Fault(status=403, message="Your input was flagged by moderation"))
    with JudgeServer(faults=moderated) as server, pytest.raises(ChatFailure) as failure:
        complete(server)
    assert failure.value.kind == "bad_request"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=429, code="insufficient_quota", message="You exceeded your current quota"), "credit"),
        (Fault(status=402, message="Insufficient balance"), "credit"),
        (Fault(status=404, code="model_not_found"), "no model scripted"),
        (Fault(status=400, param="temperature", message="Only the default (1) value is supported"), "'temperature'"),
    ],
)
def test_what_every_request_would_meet_stops_at_once(fault: Fault, words: str) -> None:
    with JudgeServer(faults=always(fault)) as server:
        with pytest.raises(EndpointError, match=words):
            complete(server)
        assert len(server.calls) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=400, code="context_length_exceeded"),
        Fault(status=400, message="This model's maximum context length is 8192 tokens. However, you requested 9000."),
        Fault(
            status=400,
            param="input_tokens",
            message="The decoder prompt (length 9001) is longer than the maximum model length of 8192. Make sure that "
            "`max_model_len` is no smaller than the number of text tokens.",
        ),
        Fault(
            status=400,
            param="max_tokens",
            message="'max_tokens' or 'max_completion_tokens' is too large: 900. This model's maximum context length "
            "is 512 tokens and your request has 10 input tokens",
        ),
        Fault(status=400, message="prompt is too long: 210000 tokens > 200000 maximum"),
        Fault(status=400, code="exceed_context_size_error", message="the request exceeds the available context size"),
        Fault(status=413, message="Payload too large"),
    ],
)
def test_a_request_longer_than_the_context_is_recognised(fault: Fault) -> None:
    with JudgeServer(faults=always(fault)) as server:
        with pytest.raises(ChatFailure) as failure:
            complete(server)
        assert len(server.calls) == 1
    assert failure.value.kind == "context_length"


def test_a_bad_request_fails_alone_and_at_once() -> None:
    with JudgeServer(faults=sequence(Fault(status=400, message="invalid role"))) as server:
        first, second = complete_all(server, 2, concurrency=1)
    assert isinstance(first, ChatFailure) and first.kind == "bad_request" and "invalid role" in first.detail
    assert isinstance(second, ChatReply)


def test_a_reply_without_content_is_not_asked_for_again() -> None:
    with JudgeServer(faults=always(Fault(kind="null_content"))) as server:
        with pytest.raises(ChatFailure) as failure:
            complete(server)
        assert len(server.calls) == 1
    assert failure.value.kind == "bad_reply"


def test_the_token_limit_changes_its_name_where_the_server_asks_for_it() -> None:
    def faults(call: Call) -> Fault | None:
        if "max_tokens" not in call.body:
            return None
        message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
        return Fault(status=400, code="unsupported_parameter", param="max_tokens", message=message)

    with JudgeServer(faults=faults) as server:
        assert all(isinstance(result, ChatReply) for result in complete_all(server, 6, concurrency=3))
        assert sum("max_tokens" in call.body for call in server.calls) <= 3
        with pytest.raises(EndpointError, match="max_tokens"):
            complete(server, token_limit_field="max_tokens")


def test_errors_that_come_with_status_200_are_errors() -> None:
    body = b'{"error": {"code": 429, "message": "slow down"}}'
    with JudgeServer(faults=sequence(Fault(status=200))) as server:
        assert complete(server).text  # {"error": {... "code": null}}: a server error, tried again
    assert server.outcomes() == ["200", "ok"]
    fault = status_fault(EndpointOptions(model="m", base_url="http://localhost"), None, 429, {}, body)
    assert (fault.kind, fault.action, fault.detail) == ("rate_limited", "retry", "HTTP 429: slow down")


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b'{"error": "model overloaded"}', "HTTP 500: model overloaded"),
        (b'{"detail": [{"msg": "x"}]}', 'HTTP 500: [{"msg": "x"}]'),
        (b'{"object": "error", "message": "old vLLM", "code": 400}', "HTTP 500: old vLLM"),
        (b'[{"error": {"message": "Gemini"}}]', "HTTP 500: Gemini"),
        (b"<html>Bad gateway</html>", "HTTP 500"),
        (b"plain words", "HTTP 500: plain words"),
        (b"3", "HTTP 500: 3"),
        (b"", "HTTP 500"),
    ],
)
def test_error_bodies_of_several_servers(content: bytes, detail: str) -> None:
    assert (
        status_fault(EndpointOptions(model="m", base_url="http://localhost"), None, 500, {}, content).detail == detail
    )


def test_keys_never_reach_a_message() -> None:
    assert redact(f"bad key {KEY}", KEY) == "bad key [key]"
    assert redact("Incorrect API key provided: sk-abcd****wxyz.", None) == "Incorrect API key provided: [key]"
    assert redact("own-format-key is bad", "own-format-key") == "[key] is bad"
    assert len(redact("x" * 1000, None)) == 300


def test_keys_never_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with JudgeServer(faults=sequence(Fault(status=500)), key=KEY) as server:
        complete(server)
    assert KEY not in caplog.text


def test_more_requests_than_slots_wait() -> None:
    with JudgeServer(latency_s=0.02) as server:
        results = complete_all(server, 50, concurrency=7)
        assert server.most_in_flight == 7
    assert all(isinstance(result, ChatReply) for result in results)


def test_a_cancelled_request_leaves_the_client_usable() -> None:
    with JudgeServer(faults=sequence(Fault(kind="hang"))) as server:

        async def work(client: ChatClient) -> ChatReply:
            hanging = asyncio.create_task(client.complete(ask("a")))
            while not server.calls:
                await asyncio.sleep(0.01)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            return await client.complete(ask("b"))

        assert with_client(server, work, concurrency=1).text


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check(server: JudgeServer | str, **options: Any) -> None:
    with_client(server, lambda client: client.check(), **options)


def test_check_passes_where_the_model_is() -> None:
    with JudgeServer(models=("other", "org/scripted")) as server:
        check(server)
    with JudgeServer(models=("openai/*",)) as server:
        check(server, model="openai/gpt-4o")
    for models in (None, ()):
        with JudgeServer(models=models) as server:
            check(server)


def test_check_names_the_nearest_model() -> None:
    with JudgeServer(models=("gpt-4.1", "gpt-4o-mini")) as server:
        with pytest.raises(EndpointError, match=r"did you mean gpt-4o-mini\?"):
            check(server, model="gpt-4o-mini-x")
        with pytest.raises(EndpointError, match=r"gpt-4\.1, gpt-4o-mini"):
            check(server, model="zzzzz")


def test_check_says_that_nothing_listens_there() -> None:
    with pytest.raises(EndpointError, match="cannot connect") as error:
        check(f"http://127.0.0.1:{free_port()}/v1")
    assert "is the server running" in error.value.remedy
    with pytest.raises(EndpointError, match="cannot connect"):
        complete(f"http://127.0.0.1:{free_port()}/v1", give_up_after_s=0.2)


def test_check_refuses_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with JudgeServer(key="another") as server:
        with pytest.raises(AuthenticationError) as error:
            check(server)
        assert KEY not in str(error.value)
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(AuthenticationError, match="without a key"):
            check(server)
        monkeypatch.setenv("OTHER_KEY", "another")
        check(server, api_key_env="OTHER_KEY")


def test_a_local_endpoint_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with JudgeServer() as server:
        assert complete(server).text
    assert server.calls[0].authorization == "Bearer EMPTY"


def test_openai_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with pytest.raises(AuthenticationError, match="OPENAI_API_KEY is not set"):
        ChatClient(EndpointOptions(model="gpt-4o"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": ""}, "model: String should have at least 1 character"),
        ({"base_url": "localhost:8000"}, "not a web address"),
        ({"base_url": "https://user:pw@host/v1"}, "holds a key"),
        ({"base_url": "https://host/v1?api_key=abc"}, "holds a key"),
        ({"api_key_env": KEY}, "not the name"),
        ({"concurrency": 0}, "concurrency: Input should be greater"),
        ({"max_retries": -1}, "max_retries: Input should be greater"),
        ({"timeout_s": 0}, "timeout_s: Input should be greater"),
        ({"give_up_after_s": float("inf")}, "give_up_after_s"),
        ({"token_limit_field": "tokens"}, "token_limit_field"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as error:
        validated(EndpointOptions, {"model": "m", "base_url": "http://localhost:1/v1", **options}, "the judge")
    assert KEY not in str(error.value) and "pw" not in str(error.value) and "abc" not in str(error.value)


def test_causes_of_lost_connections_are_told_apart() -> None:
    class ServerDisconnectedError(OSError):
        pass

    cut = TimeoutError("wrapped")
    cut.__cause__ = ServerDisconnectedError("Server disconnected")
    assert connection_fault(cut, timed_out=True).label == "cut off"
    refused = OSError("wrapped")
    refused.__cause__ = ConnectionRefusedError(111, "Connection refused")
    fault = connection_fault(refused, timed_out=False)
    assert (fault.label, fault.endpoint_wide) == ("connection refused", True)
    assert "Connection refused" in fault.detail
    unknown_host = OSError("wrapped")
    unknown_host.__cause__ = socket.gaierror(-2, "Name or service not known")
    assert connection_fault(unknown_host, timed_out=False).endpoint_wide
    assert connection_fault(TimeoutError(), timed_out=True).kind == "timeout"


def test_without_aiohttp_the_client_uses_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    import openai

    def missing(**arguments: Any) -> None:
        raise RuntimeError("To use the aiohttp client you must have installed the package with the `aiohttp` extra")

    monkeypatch.setattr(openai, "DefaultAioHttpClient", missing)
    faults = sequence(Fault(kind="cut"), Fault(kind="hang"), Fault(status=500))
    with JudgeServer(faults=faults) as server:
        assert complete(server, timeout_s=0.5).text
    assert server.outcomes() == ["cut", "hang", "500", "ok"]
    with pytest.raises(EndpointError, match="cannot connect"):
        check(f"http://127.0.0.1:{free_port()}/v1")


def test_the_scripted_judge_gives_every_verdict_and_always_the_same() -> None:
    def texts(template: str) -> set[str]:
        with JudgeServer() as server:

            async def work(client: ChatClient) -> list[str]:
                replies = [await client.complete(ask(f"{template} {i}")) for i in range(60)]
                again = [await client.complete(ask(f"{template} {i}")) for i in range(60)]
                assert replies == again
                return [reply.text.rpartition("[[")[2].rstrip("]") for reply in replies]

            return set(with_client(server, work))

    assert texts("Rate it as [[rating]]") == {str(i) for i in range(1, 11)}
    assert texts("Say [[A>>B]] or else") == {"A>>B", "A>B", "A=B", "B>A", "B>>A"}
    assert texts("Say [[A]] or [[B]]") == {"A", "B", "C"}


def test_the_scripted_judge_gives_logprobs_of_both_models() -> None:
    with JudgeServer(verdict) as server:
        reply = complete(server, ask("which?", top_logprobs=5))
    assert reply.logprobs is not None
    top = dict(reply.logprobs[0].top)
    assert {"m", "M"} <= set(top) and reply.text in ("m", "M")
    assert top[reply.text] == max(top.values())
