"""Settings from environment variables. Only this module and the engines read the environment.

==================  ==============================================================================
``ASSAY_DATA``      A mirror of the upstream files; if set, no file is fetched.
``ASSAY_CACHE``     Directory of fetched files; else ``$XDG_CACHE_HOME/assay``, else ``~/.cache/assay``.
``HF_HUB_OFFLINE``  True ("1", "on", "yes", "true"): the Hugging Face hub is not contacted.
``GITHUB_TOKEN``    Token of `assay comment`; ``GITHUB_API_URL`` is the address of GitHub's interface.
==================  ==============================================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.errors import UsageError

_TRUE = frozenset({"1", "on", "yes", "true"})  # as huggingface_hub reads them


@dataclass(frozen=True, slots=True)
class Settings:
    """Locations of files, and whether the hub may be contacted.

    Parameters
    ----------
    data_dir : Path or None
        A mirror of the upstream files.
    cache_dir : Path
        Directory of fetched files. It need not exist.
    hub_offline : bool
        Whether the Hugging Face hub must not be contacted.
    """

    data_dir: Path | None
    cache_dir: Path
    hub_offline: bool

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; an empty variable counts as unset.

        Parameters
        ----------
        environ : mapping of str to str
            The environment.

        Raises
        ------
        UsageError
            The cache directory is unknown: no ``ASSAY_CACHE``, no ``XDG_CACHE_HOME`` and no home directory.
        """
        data_dir = environ.get("ASSAY_DATA")
        # huggingface_hub goes offline if either variable is set.
        offline = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or ""
        return cls(
            data_dir=Path(data_dir).expanduser() if data_dir else None,
            cache_dir=_cache_dir(environ),
            hub_offline=offline.strip().lower() in _TRUE,
        )


def github_access(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the address of GitHub's REST interface and the token for it, which GitHub Actions set.

    Raises
    ------
    UsageError
        There is no token.
    """
    token = environ.get("GITHUB_TOKEN") or ""
    if not token:
        raise UsageError(
            "there is no token for GitHub", "GITHUB_TOKEN", "in a workflow: env: {GITHUB_TOKEN: ${{ github.token }}}"
        )
    return environ.get("GITHUB_API_URL") or "https://api.github.com", token


def cache_dir() -> Path:
    """Return the directory of everything that assay can recreate."""
    return Settings.from_env().cache_dir


def _cache_dir(environ: Mapping[str, str]) -> Path:
    if own := environ.get("ASSAY_CACHE"):
        return Path(own).expanduser()
    shared = Path(environ.get("XDG_CACHE_HOME") or "")
    if shared.is_absolute():  # the XDG specification: a relative path is to be ignored
        return shared / "assay"
    try:
        home = Path(environ.get("HOME") or Path.home())
    except RuntimeError as error:
        raise UsageError(
            "there is no home directory to keep fetched files in", remedy="set ASSAY_CACHE to a directory"
        ) from error
    return home / ".cache" / "assay"
