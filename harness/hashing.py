"""Content hashes, which identify stored records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ID_LENGTH = 20  # hex digits kept: 80 bits, so 1e9 records collide with probability 4e-7


def canonical_json(value: Any) -> str:
    """Serialise a JSON value canonically: sorted keys, no spaces, NaN rejected."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(*parts: Any) -> str:
    """Hash JSON values.

    Parameters
    ----------
    *parts : JSON values
        What to hash; order matters.

    Returns
    -------
    str
        The first 20 hex digits of the SHA-256 of the canonical JSON of `parts`.
    """
    # Lone surrogates are legal in JSON strings, and broken tokenizers emit them: they must not raise an error.
    digest = hashlib.sha256(canonical_json(parts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:ID_LENGTH]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits; the file is read in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
