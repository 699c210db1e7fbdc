"""Batch interfaces against stand-ins of the three vendors: submitted, polled, recovered, never paid for twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harness.endpoint.batches.batch_client import BatchClient
from harness.endpoint.batches.batch_journal import BatchItem, BatchJournal
from harness.endpoint.batches.batch_vendors import batch_api
from harness.endpoint.client import ChatFailure, ChatReply, ChatRequest, EndpointOptions
from harness.errors import AuthenticationError, EndpointError, SpecError
from harness.messages import Message
from harness.spec import BatchSpec
from tests.support.vendor_server import KEY, Question, Said, VendorServer

T = TypeVar("T")
VENDORS = ("openai", "anthropic", "google")
QUICK = {"linger_s": 0.05, "poll_s": 0.05, "settle_s": 0.3}


def request(text: str, **fields: Any) -> ChatRequest:
    return ChatRequest((Message("system", "Be fair."), Message("user", text)), **{"max_tokens": 64, **fields})


def with_batches(
    server: VendorServer, directory: Path, work: Callable[[BatchClient], Awaitable[T]], key: str = KEY, **spec: Any
) -> T:
    async def main() -> T:
        options = EndpointOptions(model="m", base_url=server.base_url)
        api = batch_api(server.vendor, options, key, "max_tokens")
        client = BatchClient(api, BatchJournal(directory), BatchSpec(**{**QUICK, **spec}))
        client.start()
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(main())


def ask_all(n: int, **fields: Any) -> Callable[[BatchClient], Awaitable[list[Any]]]:
    async def work(client: BatchClient) -> list[Any]:
        asked = (client.ask(f"key{i}", request(f"question {i}", **fields)) for i in range(n))
        return await asyncio.gather(*asked, return_exceptions=True)

    return work


@pytest.mark.parametrize("vendor", VENDORS)
def test_requests_are_answered_by_batches_of_the_size_asked_for(vendor: str, tmp_path: Path) -> None:
    def say(question: Question) -> Said:
        return Said(f"re: {question.turns[-1]}", reasoning="hm")

    with VendorServer(vendor, say, batch_s=0.2) as server:
        found = with_batches(server, tmp_path, ask_all(7), max_requests=3)
    assert [reply.text for reply, _ in found] == [f"re: question {i}" for i in range(7)]
    assert all(is_first for _, is_first in found)
    assert sorted(len(batch.requests) for batch in server.batches.values()) == [1, 3, 3]
    assert set(server.paid.values()) == {1} and len(server.paid) == 7
    reply = found[0][0]
    assert (reply.n_prompt_tokens, reply.n_completion_tokens) == (100, 40)
    assert reply.reasoning == ("" if vendor == "openai" else "hm")  # OpenAI counts it and does not show it
    assert reply.n_reasoning_tokens == (None if vendor == "anthropic" else 30)


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_is_sent(vendor: str, tmp_path: Path) -> None:
    with VendorServer(vendor) as server:
        with_batches(server, tmp_path, ask_all(1, temperature=0.5, top_p=0.9, stop=("x",)))
    ((_, question),) = server.batches[next(iter(server.batches))].requests
    assert (question.system, question.turns) == ("Be fair.", ["question 0"])
    sent = question.body["generationConfig"] if vendor == "google" else question.body
    assert sent["temperature"] == 0.5
    assert (sent.get("topP") or sent.get("top_p")) == 0.9
    assert (sent.get("maxOutputTokens") or sent.get("max_tokens")) == 64


@pytest.mark.parametrize("vendor", VENDORS)
def test_equal_requests_are_paid_for_once(vendor: str, tmp_path: Path) -> None:
    async def twice(client: BatchClient) -> list[tuple[ChatReply, bool]]:
        return list(await asyncio.gather(*(client.ask("key", request("same")) for _ in range(2))))

    with VendorServer(vendor) as server:
        (first, books_first), (second, books_second) = with_batches(server, tmp_path, twice)
    assert first == second and (books_first, books_second) == (True, False)
    assert sum(server.paid.values()) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_another_process_goes_on(vendor: str, tmp_path: Path) -> None:
    async def give_up(client: BatchClient) -> None:
        waiting = [asyncio.create_task(client.ask(f"key{i}", request(f"question {i}"))) for i in range(4)]
        while not server.batches:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()

    with VendorServer(vendor, batch_s=0.5) as server:
        with_batches(server, tmp_path, give_up)
        found = with_batches(server, tmp_path, ask_all(4))
    assert all(isinstance(reply, ChatReply) and is_first for reply, is_first in found)
    assert len(server.batches) == 1 and set(server.paid.values()) == {1}


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_intent_without_a_name_is_looked_up(vendor: str, tmp_path: Path) -> None:
    """The process was killed between the submission and the record of its answer."""

    async def submit_unrecorded(client: BatchClient) -> None:
        items = [BatchItem("", f"key{i}", request(f"question {i}")) for i in range(3)]
        await client._api.submit(client._journal.intend(items))

    with VendorServer(vendor, batch_s=0.2) as server:
        for _ in range(3):  # other batches of the account
            server.make([("other-0", Question("", ["?"], {"model": "m"}))])
        with_batches(server, tmp_path, submit_unrecorded)
        found = with_batches(server, tmp_path, ask_all(3))
    assert all(isinstance(reply, ChatReply) for reply, _ in found)
    assert len(server.batches) == 4
    assert [server.paid[f"Be fair.\nquestion {i}"] for i in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_intent_that_was_never_sent_is_sent(vendor: str, tmp_path: Path) -> None:
    async def only_intend(client: BatchClient) -> None:
        client._journal.intend([BatchItem("", f"key{i}", request(f"question {i}")) for i in range(3)])

    with VendorServer(vendor) as server:
        with_batches(server, tmp_path, only_intend)
        assert not server.batches
        found = with_batches(server, tmp_path, ask_all(3))
    assert all(isinstance(reply, ChatReply) for reply, _ in found)
    assert len(server.batches) == 1


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("fault", ["429", "500", "lost"])
def test_a_submission_that_fails_is_not_made_twice(vendor: str, fault: str, tmp_path: Path) -> None:
    with VendorServer(vendor, faults=(fault,), batch_s=0.1) as server:
        found = with_batches(server, tmp_path, ask_all(3))
    assert all(isinstance(reply, ChatReply) for reply, _ in found)
    assert len(server.batches) == 1 and set(server.paid.values()) == {1}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("error", ["overloaded", "expired"])
def test_partial_failures_are_asked_again(vendor: str, error: str, tmp_path: Path) -> None:
    seen: set[str] = set()

    def say(question: Question) -> Said:
        fails = question.text.endswith(("1", "2")) and question.text not in seen
        seen.add(question.text)
        return Said(error=error) if fails else Said("fine")

    with VendorServer(vendor, say) as server:
        found = with_batches(server, tmp_path, ask_all(4))
    assert [reply.text for reply, _ in found] == ["fine"] * 4
    assert sorted(len(batch.requests) for batch in server.batches.values()) == [2, 4]
    assert set(server.paid.values()) == {1}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_request_that_cannot_be_answered_fails_alone(vendor: str, tmp_path: Path) -> None:
    def say(question: Question) -> Said:
        return Said(error={"0": "invalid", "1": "overloaded"}.get(question.text[-1], ""), text="fine")

    with VendorServer(vendor, say) as server:
        invalid, overloaded, (fine, _) = with_batches(server, tmp_path, ask_all(3))
        assert isinstance(invalid, ChatFailure) and invalid.kind == "bad_request"
        assert isinstance(overloaded, ChatFailure) and "in 3 batches" in overloaded.detail
        assert fine.text == "fine"
        assert len(server.batches) == 3
        again = with_batches(server, tmp_path, ask_all(3))
    assert isinstance(again[0], ChatFailure) and len(server.batches) == 3, "nothing is asked anew unasked"


@pytest.mark.parametrize("vendor", VENDORS)
def test_refused_and_cut_replies(vendor: str, tmp_path: Path) -> None:
    def say(question: Question) -> Said:
        return Said(refused=True) if question.text.endswith("0") else Said("half", cut=True)

    with VendorServer(vendor, say) as server:
        (refused, _), (cut, _) = with_batches(server, tmp_path, ask_all(2))
    assert refused.text == "" and (refused.refusal or refused.finish == "content_filter")
    assert (cut.text, cut.finish) == ("half", "length")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_batch_cancelled_by_hand_stops_the_run_and_keeps_its_half(vendor: str, tmp_path: Path) -> None:
    async def cancelled(client: BatchClient) -> list[Any]:
        waiting = asyncio.gather(
            *(client.ask(f"key{i}", request(f"question {i}")) for i in range(4)), return_exceptions=True
        )
        while not server.batches:
            await asyncio.sleep(0.01)
        server.cancel()
        return list(await waiting)

    with VendorServer(vendor, batch_s=60) as server:
        found = with_batches(server, tmp_path, cancelled)
        assert [isinstance(f, EndpointError) for f in found] == [False, False, True, True]
        assert "2 of its 4 requests were answered" in str(found[2])
        server.batch_s = 0.0
        resumed = with_batches(server, tmp_path, ask_all(4))
    assert all(isinstance(reply, ChatReply) for reply, _ in resumed)
    assert set(server.paid.values()) == {1}


@pytest.mark.parametrize("vendor", ["openai", "google"])
def test_a_batch_that_the_server_refuses_says_why(vendor: str, tmp_path: Path) -> None:
    with VendorServer(vendor, faults=("failed",)) as server:
        found = with_batches(server, tmp_path, ask_all(2))
    assert all(isinstance(f, EndpointError) and "is too large" in str(f) for f in found)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_refused_key_is_one_error(vendor: str, tmp_path: Path) -> None:
    with VendorServer(vendor) as server:
        found = with_batches(server, tmp_path, ask_all(2), key="sk-another-key")
    assert all(isinstance(f, AuthenticationError) for f in found)
    assert "sk-another-key" not in str(found[0])


def test_a_verdict_that_is_asked_for_again_is_another_request(tmp_path: Path) -> None:
    async def twice(client: BatchClient) -> tuple[bool, bool]:
        await client.ask("key", request("same"))
        assert client.is_paid("key", fresh=True), "nothing of it is stored yet"
        client.deliver_soon(["key"])
        await asyncio.sleep(0)
        known = client.is_paid("key", fresh=True)
        await client.ask("key", request("same"), fresh=True)
        return known, client.is_paid("key")

    with VendorServer("openai") as server:
        assert with_batches(server, tmp_path, twice) == (False, True)
    assert sum(server.paid.values()) == 2


def test_a_reply_is_booked_by_the_process_that_stores_its_verdict(tmp_path: Path) -> None:
    """A judgment of two requests, killed between them, is made again and books the first reply again."""

    def asked(*, stored: bool) -> Callable[[BatchClient], Awaitable[bool]]:
        async def work(client: BatchClient) -> bool:
            _, is_first = await client.ask("key", request("same"))
            if stored:
                client.deliver_soon(["key"])
                await asyncio.sleep(0)
            return is_first

        return work

    with VendorServer("openai") as server:
        booked = [with_batches(server, tmp_path, asked(stored=stored)) for stored in (False, True, True)]
    assert booked == [True, True, False]
    assert sum(server.paid.values()) == 1


def test_google_has_no_counterpart_for_some_fields() -> None:
    with pytest.raises(SpecError, match="extra_body"):
        batch_api("google", EndpointOptions(model="m", base_url="http://x/v1", extra_body={"a": 1}), KEY, "max_tokens")
    api = batch_api("google", EndpointOptions(model="m", base_url="http://x/v1"), KEY, "max_tokens")
    with pytest.raises(SpecError, match="reasoning_effort"):
        api.size(request("x", reasoning_effort="low"))


def test_other_kinds_have_no_batches() -> None:
    with pytest.raises(SpecError, match="openai, anthropic or google"):
        batch_api("vllm", EndpointOptions(model="m", base_url="http://x/v1"), KEY, "max_tokens")
