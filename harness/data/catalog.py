"""The upstream files by name, as `catalog.yaml` lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal
from urllib.parse import quote

import yaml

from harness.errors import UnknownNameError

Host = Literal["github", "huggingface"]

GITHUB_RAW = "https://raw.githubusercontent.com"
HUGGINGFACE = "https://huggingface.co"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One upstream file.

    Parameters
    ----------
    name : str
        ``BENCHMARK/FILE``: how assay names it.
    host : {"github", "huggingface"}
        Where it is hosted; on the hub, in a dataset repository.
    repository : str
        ``OWNER/NAME``.
    commit : str
        Commit (GitHub), or branch (hub).
    path : str
        Path inside the repository.
    licence : str
        SPDX identifier of the licence the upstream project gives.
    what : str
        What it is, in a few words.
    sha256 : str or None
        Pinned checksum, 64 hex digits; None if unknown.
    git_blob : str or None
        Pinned git object id, 40 hex digits, for a file whose `sha256` is unknown.
    size : int or None
        Bytes; None if unknown.
    """

    name: str
    host: Host
    repository: str
    commit: str
    path: str
    licence: str
    what: str
    sha256: str | None = None
    git_blob: str | None = None
    size: int | None = None

    @property
    def benchmark(self) -> str:
        """The benchmark it belongs to: the part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def url(self) -> str:
        """Its download address."""
        if self.host == "github":
            return f"{GITHUB_RAW}/{self.repository}/{self.commit}/{quote(self.path)}"
        return f"{HUGGINGFACE}/datasets/{self.repository}/resolve/{self.commit}/{quote(self.path)}"

    @property
    def mirror_path(self) -> str:
        """Its path below a mirror (and below the cache), with forward slashes."""
        if self.host == "github":
            return f"github/{self.repository}/{self.commit}/{self.path}"
        return f"huggingface/datasets/{self.repository}/{self.path}"


def _read_catalog() -> dict[str, DataFile]:
    listed = yaml.safe_load(resources.files("harness.data").joinpath("catalog.yaml").read_text(encoding="utf-8"))
    return {
        name: DataFile(name=name, **listed["sources"][entry.pop("source")], **entry)
        for name, entry in listed["files"].items()
    }


CATALOG: Mapping[str, DataFile] = _read_catalog()
"""Every upstream file by name, in the order they are listed."""


def find(name: str, catalog: Mapping[str, DataFile] = CATALOG) -> DataFile:
    """Look up one file.

    Raises
    ------
    UnknownNameError
        There is no file of that name.
    """
    if name not in catalog:
        raise UnknownNameError("data file", name, catalog, "see `assay data list`")
    return catalog[name]


def select(names: Iterable[str], catalog: Mapping[str, DataFile] = CATALOG) -> list[DataFile]:
    """Look up files by their names or their benchmarks'.

    Parameters
    ----------
    names : iterable of str
        ``mt_bench/questions`` is a file, ``mt_bench`` and ``arena_hard@v2.0`` all files of a benchmark, ``arena_hard``
        those of all its versions. No name means every file.
    catalog : mapping of str to DataFile
        The files to select from.

    Returns
    -------
    list of DataFile
        In the order of the catalogue, without repetition.

    Raises
    ------
    UnknownNameError
        A name matches no file and no benchmark.
    """
    wanted: set[str] = set()
    asked = list(names)
    for name in asked:
        found = [file.name for file in catalog.values() if name == file.name or _is_of(name, file)]
        if not found:
            benchmarks = {file.benchmark for file in catalog.values()}
            raise UnknownNameError("data file or benchmark", name, {*catalog, *benchmarks}, "see `assay data list`")
        wanted.update(found)
    return [file for file in catalog.values() if not asked or file.name in wanted]


def _is_of(benchmark: str, file: DataFile) -> bool:
    return file.benchmark == benchmark.replace("@", "_") or file.benchmark.startswith(f"{benchmark}_v")
