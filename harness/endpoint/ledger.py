"""The cost of judging: prices, token estimates, and a ledger that enforces a limit."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from harness.endpoint.exchange import ChatReply
from harness.endpoint.model_facts import list_prices, price_source
from harness.errors import CostLimitReached, SpecError, UsageError
from harness.messages import Message

_ASCII_PER_TOKEN = 4.0
_OTHER_PER_TOKEN = 1.25
# Role markers and the start of the reply: OpenAI's format takes 4 tokens a message and 3 a reply, others up to 10.
_TOKENS_PER_MESSAGE = 16
_TOKENS_PER_REQUEST = 16


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model.

    Parameters
    ----------
    input_per_million, output_per_million : float
        Money per million prompt and completion tokens.
    currency : str
        The currency.
    as_of : str
        Which price list; "" for a price given by the user.
    above : tuple of (int, Price) or None
        Number of prompt tokens above which a request has another price, and that price.

    Raises
    ------
    SpecError
        A price is negative or not finite.
    """

    input_per_million: float
    output_per_million: float
    currency: str = "USD"
    as_of: str = ""
    above: tuple[int, Price] | None = None

    def __post_init__(self) -> None:
        for value in (self.input_per_million, self.output_per_million):
            if not 0 <= value < math.inf:
                raise SpecError(f"a price of {value}", "money per million tokens, from 0", "give --judge-price IN,OUT")

    def halved(self) -> Price:
        """Return the price in a batch, which is half at OpenAI, Anthropic and Google."""
        above = None if self.above is None else (self.above[0], self.above[1].halved())
        prompt, completion = self.input_per_million / 2, self.output_per_million / 2
        return replace(self, input_per_million=prompt, output_per_million=completion, above=above)

    def cost(self, n_prompt_tokens: int, n_completion_tokens: int) -> float:
        """Compute the cost of a call."""
        if self.above is not None and n_prompt_tokens > self.above[0]:
            return self.above[1].cost(n_prompt_tokens, n_completion_tokens)
        return self.cost_of_many(n_prompt_tokens, n_completion_tokens)

    def cost_of_many(self, n_prompt_tokens: int, n_completion_tokens: int) -> float:
        """Compute the cost of many calls, none of which is long enough for another price, from their sums."""
        return (n_prompt_tokens * self.input_per_million + n_completion_tokens * self.output_per_million) / 1e6


def find_price(model: str, base_url: str | None = None) -> Price | None:
    """Look up the list price of a model (`harness.endpoint.model_facts`).

    Parameters
    ----------
    model : str
        The name the endpoint knows.
    base_url : str or None
        The endpoint; None is OpenAI.

    Returns
    -------
    Price or None
        None if unknown, which does not mean free: a model of the same name elsewhere may have any price.
    """
    found, start = None, 0
    for tier in reversed(list_prices(model, base_url)):
        above = None if found is None else (start, found)
        found = Price(tier.input_per_million, tier.output_per_million, as_of=price_source(), above=above)
        start = tier.above
    return found


def estimate_tokens(text: str) -> int:
    """Estimate the number of tokens of a text, without the model's tokenizer.

    Returns
    -------
    int
        One token per four ASCII characters, four per five others. Byte-pair encodings have 3.5 to 4.5 characters per
        token in English prose and code, and 0.8 to 1.6 in Chinese, Japanese or Korean; the estimate is accurate to
        about 20 %. For a strict limit use :func:`most_prompt_tokens`.
    """
    n_ascii = len(text.encode("ascii", "ignore"))
    return math.ceil(n_ascii / _ASCII_PER_TOKEN + (len(text) - n_ascii) / _OTHER_PER_TOKEN)


def most_prompt_tokens(messages: Iterable[Message]) -> int:
    """Bound the tokens of a conversation from above.

    Returns
    -------
    int
        Its UTF-8 bytes (a byte-level encoding never has more tokens than bytes) and an allowance for the chat format.
    """
    sizes = [len(message.content.encode("utf-8", "surrogatepass")) + _TOKENS_PER_MESSAGE for message in messages]
    return sum(sizes) + _TOKENS_PER_REQUEST


@dataclass(eq=False, slots=True)
class Reservation:
    """Money reserved for a call in flight."""

    amount: float
    n_prompt_tokens: int
    n_completion_tokens: int
    is_open: bool = True


class Budget:
    """Money that one judge or several may spend: spent, reserved, and the limit of both together.

    Parameters
    ----------
    limit : float or None
        The most that may be spent, `spent` included; None for no limit.
    spent : float
        Money spent before, by the run that is resumed.

    Raises
    ------
    UsageError
        The limit is no amount of money.
    """

    def __init__(self, limit: float | None, spent: float = 0.0) -> None:
        if limit is not None and not 0 <= limit < math.inf:
            raise UsageError(f"the cost limit is {limit}", "an amount of money from 0", "correct --max-cost")
        self.limit = limit
        self.spent = spent
        self.reserved = 0.0
        self.lock = threading.Lock()
        self.waiting: list[asyncio.Future[None]] = []

    def fits(self, amount: float) -> bool:
        """Whether an amount may be spent beyond what is spent already."""
        return self.limit is None or self.spent + amount <= self.limit


class Ledger:
    """Counts tokens and money, and keeps the total of spent and reserved money within a limit.

    The highest possible price of a call is reserved before it, the actual one is booked after it. Failed calls cost
    nothing here; the provider may still bill a call that timed out, which a client cannot see.

    Parameters
    ----------
    limit : float or None
        The most that may be spent, `spent` included; None for no limit.
    price : Price or None
        None if unknown: tokens are counted, money is not.
    spent : float
        Money spent before, by the run that is resumed.
    budget : Budget or None
        Money shared with the ledgers of other judges, in place of `limit` and `spent`.

    Attributes
    ----------
    n_calls, n_prompt_tokens, n_completion_tokens : int
        Answered calls, and their tokens.
    n_unmetered : int
        Calls whose reply did not report its tokens; they are booked as reserved.

    Raises
    ------
    UsageError
        There is a limit and no price.
    """

    def __init__(
        self, limit: float | None, price: Price | None, spent: float = 0.0, budget: Budget | None = None
    ) -> None:
        self._budget = budget or Budget(limit, spent)
        if self._budget.limit is not None and price is None:
            raise UsageError(
                "a cost limit was given, but the price of the judge is unknown",
                "a price for every model with a limit",
                "give --judge-price IN,OUT (money per million prompt and completion tokens; 0,0 for a free one)",
            )
        self.price = price
        self.n_calls = 0
        self.n_prompt_tokens = 0
        self.n_completion_tokens = 0
        self.n_unmetered = 0

    @property
    def spent(self) -> float:
        """Money spent so far, including what was spent before; 0 if the price is unknown."""
        return self._budget.spent

    @property
    def reserved(self) -> float:
        """Money reserved for calls in flight."""
        return self._budget.reserved

    def reserve(self, expected_prompt_tokens: int, max_completion_tokens: int) -> Reservation:
        """Reserve money for a call.

        Parameters
        ----------
        expected_prompt_tokens : int
            Tokens of the prompt. The limit is strict if this is an upper bound, as :func:`most_prompt_tokens` is; with
            an estimate it is as accurate as the estimate.
        max_completion_tokens : int
            The limit on the reply.

        Raises
        ------
        CostLimitReached
            With this call and those in flight the total could exceed the limit.
        """
        amount = self._amount(expected_prompt_tokens, max_completion_tokens)
        with self._budget.lock:
            if not self._budget.fits(amount + self._budget.reserved):
                raise self._limit_reached(amount)
            self._budget.reserved += amount
        return Reservation(amount, expected_prompt_tokens, max_completion_tokens)

    def _amount(self, n_prompt_tokens: int, n_completion_tokens: int) -> float:
        return self.price.cost(n_prompt_tokens, n_completion_tokens) if self.price else 0.0

    async def acquire(self, expected_prompt_tokens: int, max_completion_tokens: int) -> Reservation:
        """Reserve money as `reserve` does, but wait for calls in flight that may turn out cheaper.

        Most calls cost a fraction of what is reserved for them. Waiting for them lets a run spend its money up to the
        last call that fits, instead of stopping when the reservations reach the limit.

        Raises
        ------
        CostLimitReached
            The call could exceed the limit even with nothing else in flight.
        """
        amount = self._amount(expected_prompt_tokens, max_completion_tokens)
        while True:
            with self._budget.lock:
                if not self._budget.fits(amount):
                    raise self._limit_reached(amount)
                if self._budget.fits(amount + self._budget.reserved):
                    self._budget.reserved += amount
                    return Reservation(amount, expected_prompt_tokens, max_completion_tokens)
                settled = asyncio.get_running_loop().create_future()
                self._budget.waiting.append(settled)
            await settled

    def _limit_reached(self, amount: float) -> CostLimitReached:
        currency = self.price.currency if self.price else ""
        budget = self._budget
        under_way = f", {budget.reserved:.4f} are reserved for calls in flight" if budget.reserved > 0 else ""
        return CostLimitReached(
            f"the cost limit of {budget.limit:.4f} {currency} is reached: {budget.spent:.4f} are spent{under_way}, and "
            f"the next call could cost {amount:.4f}",
            remedy="everything obtained so far is kept; resume with `assay resume` and a higher --max-cost",
        )

    def settle(self, reservation: Reservation, reply: ChatReply) -> float | None:
        """Book the cost of a call.

        Parameters
        ----------
        reservation : Reservation
            Its reservation, which is released.
        reply : ChatReply
            The reply. If it does not report its tokens, the reserved amount is booked.

        Returns
        -------
        float or None
            Its cost; None if the price or the number of tokens is unknown.
        """
        with self._budget.lock:
            self._close(reservation)
        return self._book(reply, reservation.n_prompt_tokens, reservation.n_completion_tokens)

    def book(self, reply: ChatReply) -> float | None:
        """Book the cost of a reply that was paid for before it was asked for here; see `settle`."""
        return self._book(reply, 0, 0)

    def _book(self, reply: ChatReply, most_prompt: int, most_completion: int) -> float | None:
        n_prompt, n_completion = reply.n_prompt_tokens, reply.n_completion_tokens
        metered = n_prompt is not None and n_completion is not None
        n_prompt = most_prompt if n_prompt is None else n_prompt
        n_completion = most_completion if n_completion is None else n_completion
        cost = self.price.cost(n_prompt, n_completion) if self.price else None
        with self._budget.lock:
            self.n_calls += 1
            self.n_unmetered += not metered
            self.n_prompt_tokens += n_prompt
            self.n_completion_tokens += n_completion
            self._budget.spent += cost or 0.0
        self._wake()
        return cost if metered else None

    def release(self, reservation: Reservation) -> None:
        """Release the reservation of a call that was not answered."""
        with self._budget.lock:
            self._close(reservation)
        self._wake()

    def _close(self, reservation: Reservation) -> None:
        if not reservation.is_open:
            raise ValueError("the reservation was settled or released before")
        reservation.is_open = False
        self._budget.reserved -= reservation.amount
        if self._budget.reserved < 1e-12:  # rounding must not leave a remainder that is never released
            self._budget.reserved = 0.0

    def _wake(self) -> None:
        with self._budget.lock:
            waiting, self._budget.waiting = self._budget.waiting, []
        for settled in waiting:
            if not settled.done():
                settled.get_loop().call_soon_threadsafe(_finish, settled)


def _finish(settled: asyncio.Future[None]) -> None:
    if not settled.done():
        settled.set_result(None)
