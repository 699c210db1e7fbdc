"""Access to upstream files: from a mirror, or fetched once into a cache; verified on every use."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from harness.data import download, hub
from harness.data.catalog import CATALOG, DataFile, find, select
from harness.data.checksum import SUMS_NAME, Pin, check, read_sums
from harness.errors import AssayError, ChecksumError, DataError, MissingDataError
from harness.hashing import file_sha256
from harness.settings import Settings
from harness.store.jsonl import write_atomically

CATALOGUE = "pinned in assay's catalogue"
"""Source of the pins that do not come from a mirror's own list."""


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The state of one file.

    Parameters
    ----------
    name : str
        Its name in the catalogue.
    state : {"ok", "unpinned", "missing", "bad"}
        "unpinned": readable, but without an expected checksum. "bad": present, but never used.
    path : Path or None
        Its location; None if missing.
    sha256 : str or None
        Its checksum; None unless it is usable.
    message : str
        What is wrong and what to do; "" if nothing is.
    """

    name: str
    state: Literal["ok", "unpinned", "missing", "bad"]
    path: Path | None
    sha256: str | None
    message: str = ""

    @property
    def usable(self) -> bool:
        """Whether the file can be used."""
        return self.state in ("ok", "unpinned")


class DataStore:
    """Upstream files by name.

    With a mirror the network is never used: a file is in the mirror or it is missing. Without one, files of GitHub are
    fetched once into the cache, and files of the Hugging Face hub are kept in the hub's own cache.

    Parameters
    ----------
    data_dir : Path or None
        The mirror: ``github/OWNER/REPO/COMMIT/PATH`` and ``huggingface/datasets/ORG/NAME/FILE``, and optionally
        ``SHA256SUMS`` at its root, which has the checksums of files that the catalogue does not pin.
    cache_dir : Path
        Where fetched files are kept: below ``data/``, laid out as a mirror.
    hub_offline : bool
        Whether the Hugging Face hub must not be contacted.
    catalog : mapping of str to DataFile
        The files.

    Raises
    ------
    MissingDataError
        `data_dir` is not a mirror.
    """

    def __init__(
        self, data_dir: Path | None, cache_dir: Path, hub_offline: bool, catalog: Mapping[str, DataFile] = CATALOG
    ) -> None:
        self.data_dir = data_dir
        self.cache_dir = cache_dir
        self.hub_offline = hub_offline
        self.catalog = catalog
        self._used: dict[str, str] = {}
        self._from_hub: dict[str, Path] = {}
        self._mirror_sums: dict[str, str] = {}
        if data_dir is not None:
            _require_mirror(data_dir)
            self._mirror_sums = read_sums(data_dir / SUMS_NAME)

    @classmethod
    def of_settings(cls, settings: Settings, data_dir: Path | None = None) -> Self:
        """Make the store of the settings, or of another mirror in place of theirs."""
        return cls(data_dir or settings.data_dir, settings.cache_dir, settings.hub_offline)

    def path(self, name: str) -> Path:
        """Return a local copy of a file after verifying it.

        Parameters
        ----------
        name : str
            Its name in the catalogue, for example ``mt_bench/questions``.

        Returns
        -------
        Path
            The file, which must not be modified.

        Raises
        ------
        UnknownNameError
            The catalogue has no such file.
        MissingDataError
            It is not in the mirror, or cannot be fetched.
        ChecksumError
            Its checksum is wrong, or changed since its first use.
        DataError
            It cannot be read or written.
        """
        file = find(name, self.catalog)
        path = self._obtain(file)
        sha256 = self._checked(file, path)
        self._note_use(name, path, sha256)
        return path

    def local(self, relative: str) -> Path | None:
        """Find a file the catalogue does not name, in the mirror or beside it.

        Parameters
        ----------
        relative : str
            Its path with forward slashes, for example ``academic/mbpp/mbpp.jsonl``.

        Returns
        -------
        Path or None
            The file, whose sha256 is recorded as used; None where there is none, or no mirror.

        Raises
        ------
        ChecksumError
            It changed since its first use.
        """
        if self.data_dir is None:
            return None
        for place in (self.data_dir, self.data_dir.resolve().parent):
            path = place / relative
            if path.is_file():
                self._note_use(relative, path, file_sha256(path))
                return path
        return None

    def _note_use(self, name: str, path: Path, sha256: str) -> None:
        before = self._used.setdefault(name, sha256)
        if sha256 != before:
            raise ChecksumError(
                f"{name}: {path} changed while it was in use; its sha256 is now {sha256}",
                f"sha256 {before}, as at the start",
                "start again; what was computed may rest on two versions of the file",
            )

    def used(self) -> dict[str, str]:
        """List the files that were used.

        Returns
        -------
        dict of str to str
            SHA-256 by name, sorted by name, for ``run.json``.
        """
        return dict(sorted(self._used.items()))

    def pin(self, file: DataFile) -> Pin | None:
        """Return the expected hash of a file; None if unknown."""
        if file.sha256 is not None:
            return Pin("sha256", file.sha256, CATALOGUE)
        if file.git_blob is not None:
            return Pin("git_blob", file.git_blob, CATALOGUE)
        if file.mirror_path in self._mirror_sums:
            return Pin("sha256", self._mirror_sums[file.mirror_path], f"listed in the mirror's {SUMS_NAME}")
        return None

    def locate(self, file: DataFile) -> Path | None:
        """Find the local copy of a file, unverified and without using the network; None if there is none."""
        if self.data_dir is None and file.host == "huggingface":
            return hub.cached(file)
        path = self._own_path(file)
        return path if path.is_file() else None

    def verify(self, names: Iterable[str] = ()) -> list[FileCheck]:
        """Verify local copies, without using the network.

        Parameters
        ----------
        names : iterable of str
            Names of files or benchmarks; all files where empty.

        Returns
        -------
        list of FileCheck
            One for each file, in the order of the catalogue.

        Raises
        ------
        UnknownNameError
            A name is neither a file nor a benchmark.
        """
        return [self._verified(file) for file in select(names, self.catalog)]

    def pull(self, names: Iterable[str] = ()) -> list[FileCheck]:
        """Fetch files; a copy with a wrong checksum is replaced.

        One file's failure does not stop the others, but a host that does not answer is not tried again.
        With a mirror nothing is fetched; its files are verified.

        Parameters
        ----------
        names : iterable of str
            Names of files or benchmarks; all files where empty.

        Returns
        -------
        list of FileCheck
            One for each file, in the order of the catalogue.

        Raises
        ------
        UnknownNameError
            A name is neither a file nor a benchmark.
        """
        checks: list[FileCheck] = []
        silent: dict[str, str] = {}
        for file in select(names, self.catalog):
            found = self._verified(file)
            if self.data_dir is None and found.state != "ok":
                if file.host not in silent:
                    found = self._refreshed(file, found, silent)
                elif not found.usable:
                    found = replace(found, message=f"{file.name}: not tried, since {silent[file.host]}")
            checks.append(found)
        return checks

    def _refreshed(self, file: DataFile, found: FileCheck, silent: dict[str, str]) -> FileCheck:
        """Fetch a file and verify it; record a host that does not answer in `silent`."""
        try:
            self._discard(file, found)
            self._obtain(file)
        except download.HostUnreachableError as error:
            silent[file.host] = f"its host did not answer for {file.name}"
            return FileCheck(file.name, "missing", None, None, str(error))
        except ChecksumError as error:
            return FileCheck(file.name, "bad", None, None, str(error))
        except AssayError as error:
            return FileCheck(file.name, "missing", None, None, str(error))
        return self._verified(file)

    def export(self, names: Iterable[str], directory: Path) -> list[FileCheck]:
        """Copy files into a mirror, so that machines without a network can use them.

        Parameters
        ----------
        names : iterable of str
            Names of files or benchmarks; all files where empty.
        directory : Path
            The mirror; created if missing, else added to.

        Returns
        -------
        list of FileCheck
            One for each file: where its copy is, or why there is none.

        Raises
        ------
        UnknownNameError
            A name is neither a file nor a benchmark.
        DataError
            The mirror cannot be written.
        """
        sums = read_sums(directory / SUMS_NAME)
        checks = []
        for found in self.pull(names):
            if found.usable and found.path is not None:
                file = self.catalog[found.name]
                target = directory / file.mirror_path
                _copy(found.path, target)
                sums[file.mirror_path] = file_sha256(target)
                found = replace(found, path=target)
            checks.append(found)
        if sums:
            write_atomically(directory / SUMS_NAME, "".join(f"{sums[key]}  {key}\n" for key in sorted(sums)))
        return checks

    def _own_path(self, file: DataFile) -> Path:
        return (self.data_dir or self.cache_dir / "data") / file.mirror_path

    def _obtain(self, file: DataFile) -> Path:
        """Return the path of a copy; fetch it if it is missing and there is no mirror."""
        if self.data_dir is None and file.host == "huggingface":
            known = self._from_hub.get(file.name)
            if known is None or not known.is_file():
                known = self._from_hub[file.name] = hub.download(file, offline=self.hub_offline)
            return known
        path = self._own_path(file)
        if path.is_file():
            return path
        if self.data_dir is not None:
            raise _not_in_mirror(file, path, self.data_dir)
        download.download(file, path, progress=sys.stderr.isatty())
        return path

    def _checked(self, file: DataFile, path: Path) -> str:
        pin = self.pin(file)
        if self.data_dir is not None:
            remedy = f"restore it from {file.url}"
            if pin is not None and SUMS_NAME in pin.source:
                remedy += f", or correct {self.data_dir / SUMS_NAME} if it was replaced deliberately"
        else:
            remedy = f"`assay data pull {file.name}` fetches it again"
            if file.host == "huggingface":
                pin = pin or hub.cached_pin(path)
        return check(file, path, pin, remedy)

    def _verified(self, file: DataFile) -> FileCheck:
        path = self.locate(file)
        if path is None:
            if self.data_dir is not None:
                message = str(_not_in_mirror(file, self._own_path(file), self.data_dir))
            else:
                message = f"{file.name}: not fetched yet\n  to do:    `assay data pull {file.name}`"
            return FileCheck(file.name, "missing", None, None, message)
        try:
            sha256 = self._checked(file, path)
        except DataError as error:
            return FileCheck(file.name, "bad", path, None, str(error))
        return FileCheck(file.name, "unpinned" if self.pin(file) is None else "ok", path, sha256)

    def _discard(self, file: DataFile, found: FileCheck) -> None:
        """Delete a bad copy before it is fetched again."""
        if found.state != "bad" or found.path is None:
            return
        try:
            if file.host == "huggingface":
                hub.discard(found.path)
            else:
                found.path.unlink(missing_ok=True)
        except OSError as error:
            raise download.write_error(found.path, error) from error


def _require_mirror(data_dir: Path) -> None:
    layout = "a directory with github/OWNER/REPO/COMMIT/PATH and huggingface/datasets/ORG/NAME/FILE below it"
    if not data_dir.is_dir():
        fault = "is a file" if data_dir.exists() else "does not exist"
        raise MissingDataError(
            f"the mirror {data_dir} {fault}", layout, "correct ASSAY_DATA or --data-dir, or unset it to fetch files"
        )
    if not _has_layout(data_dir):
        nearby = [data_dir / inner for inner in ("mirror", "data", "data/mirror") if _has_layout(data_dir / inner)]
        raise MissingDataError(
            f"{data_dir} is no mirror: it has neither github/ nor huggingface/",
            layout,
            f"did you mean {nearby[0]}?" if nearby else "correct ASSAY_DATA or --data-dir, or unset it to fetch files",
        )


def _has_layout(directory: Path) -> bool:
    return any((directory / host).is_dir() for host in ("github", "huggingface"))


def _not_in_mirror(file: DataFile, path: Path, data_dir: Path) -> MissingDataError:
    return MissingDataError(
        f"{file.name}: the mirror has no {path}",
        f"the file of {file.url}",
        f"download it there, or unset ASSAY_DATA and leave --data-dir out on a machine with a network and run "
        f"`assay data pull {file.name} --to {data_dir}`",
    )


def _copy(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream, source.open("rb") as content:
                shutil.copyfileobj(content, stream)
            Path(partial).chmod(0o644)
            Path(partial).replace(target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DataError(f"cannot write {target}: {error.strerror or error}", remedy="choose another --to") from error
