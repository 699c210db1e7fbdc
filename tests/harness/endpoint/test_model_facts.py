"""Prices, context windows and last days of vendors' models; requests that are too long."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest

from harness.endpoint.client import ChatClient, EndpointOptions
from harness.endpoint.context_window import refuse_too_long
from harness.endpoint.exchange import ChatFailure
from harness.endpoint.ledger import Price, find_price
from harness.endpoint.model_facts import (
    Retirement,
    announced_retirement,
    context_window,
    list_prices,
    listed_retirement,
)
from harness.messages import Message
from harness.run.retiring_judge import retirement_notice
from tests.support.judge_server import JudgeServer

# What prices.yaml held in 0.1.0 (OpenAI's list of 2025-08-07): the price list must not know less.
HELD = {
    "gpt-3.5-turbo-1106": (1, 2),
    "gpt-4-0314": (30, 60),
    "gpt-4-1106-preview": (10, 30),
    "gpt-4-turbo-preview": (10, 30),
    "gpt-4o-2024-05-13": (5, 15),
    "gpt-4o-mini-2024-07-18": (0.15, 0.6),
    "gpt-4.1-nano-2025-04-14": (0.1, 0.4),
    "o4-mini": (1.1, 4.4),
    "gpt-5-nano": (0.05, 0.4),
}


@pytest.mark.parametrize(("model", "price"), HELD.items())
def test_models_of_the_earlier_price_list(model, price):
    found = find_price(model)
    assert (found.input_per_million, found.output_per_million) == price


def test_other_vendors_by_their_address():
    assert find_price("claude-opus-4-1", "https://api.anthropic.com/v1").output_per_million == 75
    assert find_price("claude-opus-4-1") is None
    assert find_price("gpt-4", "https://me--serve.modal.run/v1") is None  # a server of one's own
    assert context_window("gpt-4") == 8192
    assert context_window("gpt-4", "http://localhost:8000/v1") is None


def test_a_price_that_rises_with_the_length_of_the_prompt():
    url = "https://generativelanguage.googleapis.com/v1beta/openai"
    tiers = list_prices("gemini-2.5-pro", url)
    assert [tier.above for tier in tiers] == [0, 200_000]
    price = find_price("gemini-2.5-pro", url)
    # 1.25 and 10 up to 200,000 prompt tokens, 2.5 and 15 above.
    assert price.cost(200_000, 1000) == pytest.approx(0.25 + 0.01)
    assert price.cost(200_001, 1000) == pytest.approx(0.5000025 + 0.015)
    assert price.cost_of_many(400_000, 2000) == pytest.approx(0.5 + 0.02)


def test_a_plain_price_has_no_tiers():
    assert find_price("gpt-4").above is None
    assert Price(1, 2).cost(10**6, 10**6) == 3


def test_announced_days_have_a_source():
    found = announced_retirement("gpt-4-1106-preview")
    assert found.day == date(2026, 10, 23)
    assert found.source.startswith("https://developers.openai.com/")
    assert announced_retirement("gpt-4-1106-preview", "http://localhost:8000/v1") is None
    assert announced_retirement("gpt-4-1106-preview", "https://api.openai.com/v1") == found
    assert announced_retirement("claude-3-opus-20240229", "https://api.anthropic.com/v1").day == date(2026, 1, 5)


@pytest.mark.parametrize(
    ("today", "words"),
    [
        (date(2026, 8, 23), None),
        (date(2026, 8, 24), "will be retired on 2026-10-23, in 60 days"),
        (date(2026, 10, 22), "in 1 days"),
        (date(2026, 10, 23), "was retired on 2026-10-23"),
        (date(2027, 5, 1), "was retired on 2026-10-23"),
    ],
)
def test_a_judge_is_announced_sixty_days_ahead(today, words):
    notice = Retirement(date(2026, 10, 23), "s").notice("gpt-4", today)
    assert notice is None if words is None else words in notice and "assay rebase" in notice


@pytest.mark.parametrize(
    ("entry", "day"),
    [
        ({"id": "m", "shutdown_date": "2026-12-11"}, date(2026, 12, 11)),
        ({"id": "m", "shutdown_date": None, "deprecation": "2027-01-02T00:00:00Z"}, date(2027, 1, 2)),
        ({"id": "m", "deprecation": True}, None),
        ({"id": "m", "shutdown_date": "soon"}, None),
        ({"id": "m", "shutdown_date": 20261211}, None),
        ({"id": "other", "shutdown_date": "2026-12-11"}, None),
    ],
)
def test_the_day_in_a_list_of_models(entry, day):
    found = listed_retirement("m", [None, "m", entry], "https://api/v1")
    assert (found and found.day) == day
    assert found is None or found.source.endswith("in https://api/v1/models")


def test_the_client_reads_the_day_from_the_endpoint():
    async def ask(server):
        client = ChatClient(EndpointOptions(model="judge", base_url=server.base_url))
        try:
            await client.check()
            return client.retirement
        finally:
            await client.aclose()

    with JudgeServer(models=("judge",), model_fields={"shutdown_date": "2026-12-11"}) as server:
        assert asyncio.run(ask(server)).day == date(2026, 12, 11)
    for silent in (JudgeServer(models=("judge",)), JudgeServer(models=None)):
        with silent as server:
            assert asyncio.run(ask(server)) is None


def test_what_is_certainly_too_long_is_refused():
    messages = [Message("user", "word " * 8192)]  # 10,240 tokens by the estimate
    refuse_too_long(messages, None)
    refuse_too_long(messages, 8192)  # within the error of the estimate: the server decides
    with pytest.raises(ChatFailure) as failure:
        refuse_too_long(messages, 8000)
    assert failure.value.kind == "context_length"
    assert "about 10,240 tokens, and the model reads 8,000; the request was not sent" in failure.value.detail


def test_a_notice_from_run_json():
    stored = {"model": "openai:m", "base_url": "https://h/v1", "retirement": {"day": "2026-12-01", "source": "s"}}
    assert "the judge m will be retired on 2026-12-01" in retirement_notice(stored, date(2026, 11, 1))
    assert retirement_notice(stored, date(2026, 9, 1)) is None
    old = {"model": "openai:gpt-4-turbo", "base_url": None}
    assert "was retired on 2026-10-23" in retirement_notice(old, date(2026, 11, 1))
    assert retirement_notice(old, date(2025, 8, 1)) is None  # a run of before
    assert retirement_notice({"model": "gpt-4-turbo"}, date(2026, 11, 1)) is None  # a name in imported files
    assert retirement_notice({"model": "reward_model:dir"}, date(2026, 11, 1)) is None
    assert retirement_notice(None, date(2026, 11, 1)) is None
