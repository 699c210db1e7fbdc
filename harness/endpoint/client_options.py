"""Which endpoint, and how it is asked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from harness.errors import SpecError

__all__ = ["OPENAI_BASE_URL", "EndpointOptions", "TokenLimitField", "is_local"]

OPENAI_BASE_URL = "https://api.openai.com/v1"
TokenLimitField = Literal["max_tokens", "max_completion_tokens"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_PARAMETERS = ("key", "token", "secret", "password", "sig")


@dataclass(frozen=True)
class EndpointOptions:
    """An OpenAI-compatible endpoint and how requests to it are made.

    Parameters
    ----------
    model : str
        The name the endpoint knows.
    base_url : str or None
        Where its paths start, as ``http://localhost:8000/v1``; None is OpenAI.
    api_key_env : str
        Environment variable that holds the key.
    concurrency : int
        Requests under way at once.
    timeout_s : float
        Limit on one attempt, from sending to the last byte of the reply.
    max_retries : int
        Attempts after the first that a request gets while the endpoint answers others; after a timeout at most two,
        since what timed out may have been billed.
    give_up_after_s : float
        How long nothing may succeed before the endpoint counts as down; also the longest wait a server may ask for.
    extra_body : mapping
        Further fields of every request's body, sent as they are; they may replace ours.
    token_limit_field : {"max_tokens", "max_completion_tokens"} or None
        What the limit on new tokens is called. None sends "max_tokens" and changes to the other when the server
        answers that it wants that one, as OpenAI's reasoning models do.

    Raises
    ------
    SpecError
        A value is out of range, or the address holds a key.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 32
    timeout_s: float = 120.0
    max_retries: int = 6
    give_up_after_s: float = 60.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    token_limit_field: TokenLimitField | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise SpecError("no model was named for the endpoint", "the name the endpoint knows", "set model")
        _check_address(self.url)
        if not _VARIABLE.fullmatch(self.api_key_env):  # mostly a key given in its place: it is not repeated
            raise SpecError(
                "api_key_env is not the name of an environment variable",
                "a name such as OPENAI_API_KEY",
                "export the key under a name and give that name",
            )
        for name, lowest in (("concurrency", 1), ("max_retries", 0)):
            value = getattr(self, name)
            if value < lowest:
                raise SpecError(f"{name} is {value}", f"a whole number from {lowest}", f"correct {name}")
        for name in ("timeout_s", "give_up_after_s"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise SpecError(f"{name} is {value}", "a positive number of seconds", f"correct {name}")
        if self.token_limit_field not in (None, "max_tokens", "max_completion_tokens"):
            raise SpecError(
                f"token_limit_field is {self.token_limit_field!r}", "max_tokens or max_completion_tokens", "correct it"
            )

    @property
    def url(self) -> str:
        """The address in force, without a slash at its end."""
        return (self.base_url or OPENAI_BASE_URL).rstrip("/")


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # The text may be a key that slipped into the wrong option: it is not repeated.
        raise SpecError("base_url is no web address", "for example http://localhost:8000/v1", "correct base_url")
    names = [name.lower() for name, _ in parse_qsl(parts.query)]
    if parts.username or parts.password or any(secret in name for name in names for secret in _SECRET_PARAMETERS):
        raise SpecError(
            "base_url holds a key or password, which would be stored with the run",
            "an address without one",
            "put the key into an environment variable and name it with api_key_env",
        )


def is_local(url: str) -> bool:
    """Whether an address is this machine or on its own network."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".localhost", ".internal"))
    return address.is_loopback or address.is_private or address.is_link_local
