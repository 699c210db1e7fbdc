"""What is known of a vendor's model: list price and context window (`genai-prices`), and its announced last day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from harness.endpoint.client_options import OPENAI_BASE_URL

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo

_NOTICE = timedelta(days=60)
_OWN_SERVERS = ("modal",)
"""Providers in the price list at whose addresses people run servers of their own, at other prices."""


@dataclass(frozen=True, slots=True)
class ListPrice:
    """Money (US dollars) per million prompt and completion tokens, of requests with more than `above` prompt tokens."""

    above: int
    input_per_million: float
    output_per_million: float


def list_prices(model: str, base_url: str | None = None) -> tuple[ListPrice, ...]:
    """Return the prices of a model today, by length of the prompt; empty if they are not known.

    Parameters
    ----------
    model : str
        The name the endpoint knows.
    base_url : str or None
        The endpoint; None is OpenAI. A model of the same name at another address may have any price.
    """
    known = _known(model, base_url)
    if known is None:
        return ()
    prices = known.get_prices(datetime.now(UTC))
    both = [_tiers(prices.input_mtok), _tiers(prices.output_mtok)]
    if not all(both):
        return ()
    starts = sorted({start for tiers in both for start in tiers})
    return tuple(ListPrice(start, *(_at(tiers, start) for tiers in both)) for start in starts)


def price_source() -> str:
    """Return the name and version of the price list."""
    return f"genai-prices {version('genai-prices')}"


def context_window(model: str, base_url: str | None = None) -> int | None:
    """Return how many tokens a model reads at most; None if unknown."""
    known = _known(model, base_url)
    return None if known is None else known.context_window


def _known(model: str, base_url: str | None) -> ModelInfo | None:
    from genai_prices.data_snapshot import get_snapshot

    try:
        provider, found = get_snapshot().find_provider_model(model, None, None, base_url or OPENAI_BASE_URL)
    except LookupError:
        return None
    return None if provider.id in _OWN_SERVERS else found


def _tiers(price: Any) -> dict[int, float]:
    """Return a price by the number of prompt tokens above which it holds; empty if there is none."""
    if price is None:
        return {}
    if hasattr(price, "tiers"):
        return {0: float(price.base), **{tier.start: float(tier.price) for tier in price.tiers}}
    return {0: float(price)}


def _at(tiers: Mapping[int, float], start: int) -> float:
    return tiers[max(held for held in tiers if held <= start)]


@dataclass(frozen=True, slots=True)
class Retirement:
    """The announced last day of a model.

    Parameters
    ----------
    day : date
        From this day requests fail.
    source : str
        Who says so.
    """

    day: date
    source: str

    def notice(self, model: str, today: date) -> str | None:
        """Say that a judge is retired or will be within 60 days; None if it will not.

        Parameters
        ----------
        model : str
            The judge.
        today : date
            The day to judge by.
        """
        if self.day - today > _NOTICE:
            return None
        left = (self.day - today).days
        when = f"was retired on {self.day}" if left <= 0 else f"will be retired on {self.day}, in {left} days"
        return (
            f"the judge {model} {when} ({self.source}); figures of another judge are on another scale: "
            "`assay rebase` makes a bridge while both can judge, or from answers both judged"
        )

    def as_json(self) -> dict[str, str]:
        """Return it for run.json."""
        return {"day": self.day.isoformat(), "source": self.source}


def announced_retirement(model: str, base_url: str | None = None) -> Retirement | None:
    """Return the announced last day of a model, from our table; None if it has none there."""
    return _announced().get((urlsplit(base_url or OPENAI_BASE_URL).hostname or "", model))


@cache
def _announced() -> dict[tuple[str, str], Retirement]:
    text = resources.files("harness.endpoint").joinpath("retirements.yaml").read_text(encoding="utf-8")
    return {
        (entry["host"], model): Retirement(day, entry["source"])
        for entry in yaml.safe_load(text)
        for model, day in entry["models"].items()
    }


def listed_retirement(model: str, listed: Iterable[Any], url: str) -> Retirement | None:
    """Return the last day of a model according to an endpoint's list of models.

    Parameters
    ----------
    model : str
        The model.
    listed : iterable
        The objects of the list. OpenAI gives ``shutdown_date`` (YYYY-MM-DD); others a ``deprecation`` or
        ``deprecation_date`` in the same form.
    url : str
        The endpoint, for the source.
    """
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("id") != model:
            continue
        for name in ("shutdown_date", "deprecation", "deprecation_date"):
            day = _day(entry.get(name))
            if day is not None:
                return Retirement(day, f"{name} in {url}/models")
    return None


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
