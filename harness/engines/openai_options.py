"""What the engine for OpenAI-compatible endpoints can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

from harness.endpoint.client_options import EndpointOptions
from harness.errors import SpecError, nearest

__all__ = ["OpenAIOptions"]


@dataclass(frozen=True)
class OpenAIOptions:
    """Options of the openai engine; those not explained here are as in `EndpointOptions`.

    Parameters
    ----------
    model : str
        The name the endpoint knows.
    name : str or None
        Name for tables; None takes the last part of `model`.
    """

    model: str
    name: str | None = None
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 32
    timeout_s: float = 600.0
    max_retries: int = 6
    give_up_after_s: float = 60.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    token_limit_field: str | None = None

    @property
    def display_name(self) -> str:
        """The name for tables."""
        return self.name or PurePosixPath(self.model.rstrip("/")).name or self.model

    @property
    def endpoint(self) -> EndpointOptions:
        """The part that says how requests are made.

        Raises
        ------
        SpecError
            A value is out of range.
        """
        return EndpointOptions(**{f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> OpenAIOptions:
        """Build the options from plain values, as a run spec or the command line has them.

        Raises
        ------
        SpecError
            A field is unknown, missing, of the wrong type or out of range.
        """
        known = {f.name for f in fields(cls)}
        for key in values:
            if key not in known:
                close = nearest(str(key), known)
                hint = f"did you mean {close}?" if close else "remove it; the endpoint's server decides such things"
                allowed = "one of " + ", ".join(sorted(known))
                raise SpecError(f"unknown option {key!r} of the openai engine", allowed, hint)
        if not values.get("model"):
            raise SpecError("the openai engine was given no model", "the name the endpoint knows", "set model")
        for key, value in values.items():
            _check_type(key, value)
        options = cls(**values)
        options.endpoint  # noqa: B018 - checks the ranges
        return options


_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "model": (str, "text"),
    "name": ((str, type(None)), "text"),
    "base_url": ((str, type(None)), "a web address"),
    "api_key_env": (str, "the name of an environment variable"),
    "concurrency": (int, "a whole number"),
    "max_retries": (int, "a whole number"),
    "timeout_s": ((int, float), "a number of seconds"),
    "give_up_after_s": ((int, float), "a number of seconds"),
    "extra_body": (Mapping, "a mapping of field names to values"),
    "token_limit_field": ((str, type(None)), "max_tokens or max_completion_tokens"),
}


def _check_type(key: str, value: Any) -> None:
    kinds, wanted = _TYPES[key]
    if not isinstance(value, kinds) or isinstance(value, bool):
        # A key given in place of its variable's name must not be repeated.
        shown = type(value).__name__ if key == "api_key_env" else repr(value)
        raise SpecError(f"option {key} of the openai engine is {shown}", wanted, f"correct {key}")
