"""Which endpoint to use, and how to send requests to it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from harness.reasoning import DEFAULT_TAGS, ReasoningTags
from harness.spec import Options

OPENAI_BASE_URL = "https://api.openai.com/v1"
TokenLimitField = Literal["max_tokens", "max_completion_tokens"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_PARAMETERS = ("key", "token", "secret", "password", "sig")


class EndpointOptions(Options):
    """An OpenAI-compatible endpoint and how requests to it are made.

    Parameters
    ----------
    model : str
        The name the endpoint knows.
    base_url : str or None
        Its base URL, for example ``http://localhost:8000/v1``; None is OpenAI.
    api_key_env : str
        Environment variable that holds the key.
    concurrency : int
        Requests in flight at once.
    timeout_s : float
        Limit on one attempt, from sending to the last byte of the reply.
    max_retries : int
        Attempts after the first that a request gets while the endpoint answers others; after a timeout at most two,
        since what timed out may have been billed.
    give_up_after_s : float
        Time without a success after which the endpoint counts as down; also the longest wait a server may request.
    extra_body : mapping
        Further fields of every request's body, sent unchanged; they override ours.
    token_limit_field : {"max_tokens", "max_completion_tokens"} or None
        Name of the limit on new tokens. None sends "max_tokens" and switches to the other if the server asks for it, as
        OpenAI's reasoning models do.
    reasoning_tags : list of pairs of str, or None
        The tags around reasoning in the text of a reply, where the server does not separate it; [] leaves it in the
        answer, None knows the usual ones (`harness.reasoning`).
    """

    model: str = Field(min_length=1)
    base_url: str | None = Field(default=None, repr=False)
    api_key_env: str = Field(default="OPENAI_API_KEY", repr=False)
    concurrency: int = Field(default=32, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    max_retries: int = Field(default=6, ge=0)
    give_up_after_s: float = Field(default=60.0, gt=0)
    extra_body: Mapping[str, Any] = Field(default_factory=dict)
    token_limit_field: TokenLimitField | None = None
    reasoning_tags: ReasoningTags | None = None

    @field_validator("base_url")
    @classmethod
    def _an_address_without_a_key(cls, value: str | None) -> str | None:
        if value:  # an empty address is OpenAI too
            _check_address(value)
        return value

    @field_validator("api_key_env")
    @classmethod
    def _a_variable(cls, value: str) -> str:
        if not _VARIABLE.fullmatch(value):  # usually a key given in its place
            raise ValueError(
                "not the name of an environment variable; export the key under a name such as OPENAI_API_KEY and give "
                "that name"
            )
        return value

    @property
    def tags(self) -> ReasoningTags:
        """The tags around reasoning."""
        return DEFAULT_TAGS if self.reasoning_tags is None else self.reasoning_tags

    @property
    def url(self) -> str:
        """The address in use, without a trailing slash."""
        return (self.base_url or OPENAI_BASE_URL).rstrip("/")


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not a web address; one is for example http://localhost:8000/v1")
    names = [name.lower() for name, _ in parse_qsl(parts.query)]
    if parts.username or parts.password or any(secret in name for name in names for secret in _SECRET_PARAMETERS):
        raise ValueError(
            "the address holds a key or password, which would be stored with the run; put the key into an environment "
            "variable and name it with api_key_env"
        )


def is_local(url: str) -> bool:
    """Whether an address is on this machine or its local network."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".localhost", ".internal"))
    return address.is_loopback or address.is_private or address.is_link_local
