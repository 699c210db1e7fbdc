"""Keys of endpoints: read from the environment when they are needed, stored nowhere."""

from __future__ import annotations

import os

__all__ = ["read_key"]


def read_key(variable: str) -> str | None:
    """Read a key from an environment variable; None where it is not set or empty."""
    return os.environ.get(variable, "").strip() or None
