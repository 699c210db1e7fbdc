"""The random order of prompts in sequential tests."""

from __future__ import annotations

from collections.abc import Iterable

from harness.hashing import content_hash


def random_order(keys: Iterable[str], seed: int) -> list[str]:
    """Return prompts in the random order of a seed.

    The relative order of two prompts does not depend on the other prompts, so a run that stopped early and a complete
    run agree on the order.
    """
    return sorted(keys, key=lambda key: content_hash("order", seed, key))
