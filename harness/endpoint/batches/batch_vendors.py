"""The batch interface of each kind of judge. All of them cost half of single requests."""

from __future__ import annotations

from harness.endpoint.batches.anthropic_batches import AnthropicBatches
from harness.endpoint.batches.batch_api import BatchApi
from harness.endpoint.batches.google_batches import GoogleBatches
from harness.endpoint.batches.openai_batches import OpenAIBatches
from harness.endpoint.client_options import EndpointOptions, TokenLimitField
from harness.errors import SpecError


def batch_api(kind: str, options: EndpointOptions, key: str | None, limit_field: TokenLimitField) -> BatchApi:
    """Return the batch interface of a kind of judge.

    Raises
    ------
    SpecError
        The kind has none.
    """
    if kind == "openai":
        return OpenAIBatches(options, key, limit_field)
    if kind == "anthropic":
        return AnthropicBatches(options, key)
    if kind == "google":
        return GoogleBatches(options, key)
    raise SpecError(f"a judge of the kind {kind} has no batch interface", "openai, anthropic or google")
