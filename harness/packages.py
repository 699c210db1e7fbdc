"""Data files inside installed packages, found without importing them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from harness.errors import MissingDataError


def package_file(package: str, *parts: str) -> Path:
    """Return the path of a data file of an installed package.

    The package is not imported: for some packages that takes a second and prints warnings.

    Raises
    ------
    MissingDataError
        The package is not installed, or has no such file.
    """
    spec = find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location, *parts)
        if path.is_file():
            return path
    raise MissingDataError(
        f"the package {package} has no file {'/'.join(parts)}" if spec else f"the package {package} is not installed",
        remedy=f"install the version of {package} that assay's constraints file names",
    )
