"""The random order in which prompts are looked at."""

from __future__ import annotations

from collections.abc import Iterable

from harness.hashing import content_hash


def random_order(keys: Iterable[str], seed: int) -> list[str]:
    """Put prompts into the random order of a seed.

    The order of two prompts does not depend on which others there are, so a run that stopped early and one over all
    prompts agree on what came first.
    """
    return sorted(keys, key=lambda key: content_hash("order", seed, key))
