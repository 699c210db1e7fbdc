"""Prices, token estimates, and the promise that a run never spends more than it may."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.endpoint.exchange import ChatReply
from harness.endpoint.ledger import Ledger, Price, estimate_tokens, find_price, most_prompt_tokens
from harness.errors import CostLimitReached, SpecError, UsageError
from harness.messages import Message

GPT4 = Price(30, 60)


def reply(n_prompt: int | None, n_completion: int | None) -> ChatReply:
    return ChatReply("x", n_prompt_tokens=n_prompt, n_completion_tokens=n_completion)


def test_a_price_by_hand() -> None:
    # 1,000 prompt tokens at 30 a million are 0.03; 500 completion tokens at 60 a million are 0.03.
    assert GPT4.cost(1000, 500) == pytest.approx(0.06)


def test_known_prices() -> None:
    price = find_price("gpt-4-1106-preview")
    assert price is not None
    assert (price.input_per_million, price.output_per_million, price.currency) == (10, 30, "USD")
    assert price.as_of.startswith("genai-prices ")
    assert find_price("gpt-4o", "https://api.openai.com/v1/") == find_price("gpt-4o")


@pytest.mark.parametrize(
    ("model", "base_url"), [("gpt-4-9999", None), ("", None), ("gpt-4", "http://localhost:8000/v1")]
)
def test_an_unknown_price_is_not_zero(model: str, base_url: str | None) -> None:
    assert find_price(model, base_url) is None


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_prices(value: float) -> None:
    with pytest.raises(SpecError, match="judge-price"):
        Price(value, 1.0)


def test_token_estimates() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("abcd" * 25) == 25
    assert estimate_tokens("日本語" * 5) == 12
    assert estimate_tokens("\ud800") == 1


@given(st.lists(st.text(max_size=200), max_size=4))
def test_the_bound_is_never_below_the_bytes_or_the_estimate(texts: list[str]) -> None:
    bound = most_prompt_tokens(Message("user", text) for text in texts)
    assert bound >= sum(len(text.encode()) for text in texts)
    assert bound >= sum(estimate_tokens(text) for text in texts)


def test_what_was_used_is_booked() -> None:
    ledger = Ledger(limit=1.0, price=GPT4, spent=0.5)
    reservation = ledger.reserve(1000, 500)
    assert (ledger.spent, ledger.reserved) == (0.5, pytest.approx(0.06))
    assert ledger.settle(reservation, reply(900, 10)) == pytest.approx(0.0276)
    assert (ledger.spent, ledger.reserved) == (pytest.approx(0.5276), 0.0)
    assert (ledger.n_calls, ledger.n_prompt_tokens, ledger.n_completion_tokens) == (1, 900, 10)


def test_the_limit_counts_what_is_under_way() -> None:
    ledger = Ledger(limit=0.12, price=GPT4)
    first, _ = ledger.reserve(1000, 500), ledger.reserve(1000, 500)
    with pytest.raises(CostLimitReached, match=r"0\.1200 are reserved") as stop:
        ledger.reserve(1, 1)
    assert "resume" in stop.value.remedy
    ledger.release(first)
    assert ledger.reserve(1000, 500).amount == pytest.approx(0.06)
    assert (ledger.spent, ledger.n_calls) == (0.0, 0)


def test_a_resumed_run_counts_what_it_spent_before() -> None:
    with pytest.raises(CostLimitReached, match=r"0\.9900 are spent"):
        Ledger(limit=1.0, price=GPT4, spent=0.99).reserve(1000, 500)


def test_a_reply_without_usage_is_booked_at_its_reservation() -> None:
    ledger = Ledger(limit=1.0, price=GPT4)
    assert ledger.settle(ledger.reserve(1000, 500), reply(None, None)) is None
    assert ledger.spent == pytest.approx(0.06)
    assert (ledger.n_unmetered, ledger.n_prompt_tokens, ledger.n_completion_tokens) == (1, 1000, 500)


def test_without_a_price_tokens_are_counted_and_money_is_not() -> None:
    ledger = Ledger(limit=None, price=None)
    assert ledger.settle(ledger.reserve(10**9, 10**9), reply(5, 6)) is None
    assert (ledger.spent, ledger.n_prompt_tokens, ledger.n_completion_tokens) == (0.0, 5, 6)


def test_a_limit_needs_a_price() -> None:
    with pytest.raises(UsageError, match="--judge-price IN,OUT"):
        Ledger(limit=1.0, price=None)
    free = Ledger(limit=0.0, price=Price(0, 0))
    assert free.settle(free.reserve(1000, 1000), reply(1000, 1000)) == 0.0


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf")])
def test_impossible_limits(limit: float) -> None:
    with pytest.raises(UsageError, match="max-cost"):
        Ledger(limit=limit, price=GPT4)


def test_a_reservation_is_closed_once() -> None:
    ledger = Ledger(limit=1.0, price=GPT4)
    reservation = ledger.reserve(1, 1)
    ledger.release(reservation)
    with pytest.raises(ValueError, match="before"):
        ledger.settle(reservation, reply(1, 1))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), limit=st.floats(0.0, 1.0), n_workers=st.integers(1, 8))
def test_the_limit_holds_and_is_used_up(seed: int, limit: float, n_workers: int) -> None:
    """Calls of random size in random order: never above the limit, and no stop while a call would still have fitted."""
    rng = random.Random(seed)
    ledger = Ledger(limit=limit, price=GPT4)
    highest = 0.0

    async def worker() -> None:
        nonlocal highest
        while True:
            n_prompt, most = rng.randrange(1, 3000), rng.randrange(1, 1000)
            try:
                reservation = await ledger.acquire(n_prompt, most)
            except CostLimitReached:
                assert ledger.spent + GPT4.cost(n_prompt, most) > limit
                return
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            if rng.random() < 0.1:
                ledger.release(reservation)
            else:
                ledger.settle(reservation, reply(rng.randrange(n_prompt + 1), rng.randrange(most + 1)))
            highest = max(highest, ledger.spent + ledger.reserved)

    async def main() -> None:
        await asyncio.gather(*(worker() for _ in range(n_workers)))

    asyncio.run(main())
    assert highest <= limit + 1e-12
    assert ledger.reserved == 0.0


def test_acquire_waits_for_calls_under_way_to_turn_out_cheaper() -> None:
    async def main() -> list[str]:
        ledger = Ledger(limit=0.1, price=GPT4)
        order = []
        first = ledger.reserve(1000, 500)  # 0.06 of 0.10

        async def second() -> None:
            ledger.release(await ledger.acquire(1000, 500))
            order.append("second")

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        with pytest.raises(CostLimitReached):
            ledger.reserve(1000, 500)
        order.append("first")
        ledger.settle(first, reply(10, 10))
        await waiting
        return order

    assert asyncio.run(main()) == ["first", "second"]


def test_a_waiter_that_gives_up_does_not_disturb() -> None:
    async def main() -> None:
        ledger = Ledger(limit=0.1, price=GPT4)
        first = ledger.reserve(1000, 500)
        waiting = asyncio.create_task(ledger.acquire(1000, 500))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        ledger.settle(first, reply(10, 10))
        assert ledger.reserved == 0.0
        assert ledger.reserve(1000, 500).amount == pytest.approx(0.06)

    asyncio.run(main())
