"""Vendors of models with an OpenAI-compatible endpoint: addresses, keys, and fields documented as ignored.

Sources: https://platform.claude.com/docs/en/api/openai-sdk (Anthropic's list of ignored fields) and
https://ai.google.dev/gemini-api/docs/openai.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.endpoint.client_options import OPENAI_BASE_URL
from harness.endpoint.credentials import read_key

_DEFAULT_KEY = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor.

    Parameters
    ----------
    base_url : str
        Address of its OpenAI-compatible endpoint.
    key_variables : tuple of str
        Environment variables that may hold the key, the first that is set counts.
    ignored : frozenset of str
        Parameters of a chat request that the endpoint accepts and ignores, according to its documentation. They are
        treated as refused: a parameter that has no effect must not be recorded as if it had.
    """

    base_url: str
    key_variables: tuple[str, ...]
    ignored: frozenset[str] = frozenset()

    def key_variable(self, given: str) -> str:
        """Return the variable to read the key from: the given one, unless it is only the default of the spec."""
        if given != _DEFAULT_KEY:
            return given
        return next((name for name in self.key_variables if read_key(name)), self.key_variables[0])


OPENAI = Vendor(OPENAI_BASE_URL, (_DEFAULT_KEY,))
ANTHROPIC = Vendor(
    "https://api.anthropic.com/v1",
    ("ANTHROPIC_API_KEY",),
    frozenset({"seed", "logprobs", "reasoning_effort", "response_format"}),
)
GOOGLE = Vendor(
    "https://generativelanguage.googleapis.com/v1beta/openai",
    ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
)

VENDORS: Mapping[str, Vendor] = {"openai": OPENAI, "anthropic": ANTHROPIC, "google": GOOGLE}


def requires_key(url: str) -> bool:
    """Whether an address is a vendor's, which answers nobody without a key."""
    return any(url == vendor.base_url for vendor in VENDORS.values())
