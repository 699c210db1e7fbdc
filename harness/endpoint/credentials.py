"""API keys: read from the environment when needed, never stored."""

from __future__ import annotations

import os


def read_key(variable: str) -> str | None:
    """Read a key from an environment variable; None if it is unset or empty."""
    return os.environ.get(variable, "").strip() or None
