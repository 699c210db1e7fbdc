"""Downloads of single files from GitHub with pooch; every failure becomes an error with a remedy."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.data.catalog import DataFile
from harness.data.checksum import git_blob_id
from harness.errors import AssayError, ChecksumError, DataError, MissingDataError, StorageFullError

TIMEOUT_S = 30.0  # between two bytes, not for the whole file

MIRROR_ADVICE = "set ASSAY_DATA (or --data-dir) to a mirror of the files (`assay data pull --to DIR` makes one)"


class HostUnreachableError(MissingDataError):
    """A host does not answer at all, so requesting another file from it is pointless."""


def download(file: DataFile, destination: Path, *, progress: bool) -> None:
    """Download a file; `destination` ends up with the complete, verified file or is unchanged.

    The bytes go to a temporary file beside `destination`, which is renamed once its checksum is verified, so that
    two processes may fetch the same file at once.

    Parameters
    ----------
    file : DataFile
        What to fetch. An existing file is fetched again only if its SHA-256 is pinned and differs.
    destination : Path
        Where to put it.
    progress : bool
        Whether to draw a progress bar on standard error.

    Raises
    ------
    HostUnreachableError
        The host does not answer.
    MissingDataError
        It answers, but not with the file; or the download was interrupted.
    ChecksumError
        The checksum of the download is wrong; the file is deleted.
    StorageFullError, DataError
        The file cannot be written.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # it would log every file, even with a progress bar
    fetch = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT_S, chunk_size=1 << 16)
    try:
        # pooch creates the directory too, but fails if another process creates it at the same time.
        destination.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            url=file.url,
            known_hash=f"sha256:{file.sha256}" if file.sha256 else None,
            fname=destination.name,
            path=destination.parent,
            downloader=_checking(fetch, file),
        )
    except (requests.ConnectionError, requests.Timeout) as error:
        host = urlsplit(file.url).hostname
        raise HostUnreachableError(
            f"{file.name}: {host} cannot be reached for {file.url} ({_reason(error)})",
            remedy=f"check the network and any proxy, or {MIRROR_ADVICE}",
        ) from error
    except requests.HTTPError as error:
        raise _http_error(file, None if error.response is None else error.response.status_code) from error
    except requests.RequestException as error:
        raise MissingDataError(
            f"{file.name}: the download of {file.url} was interrupted ({_reason(error)}); nothing was kept",
            remedy=f"try again, or {MIRROR_ADVICE}",
        ) from error
    except ValueError as error:  # pooch raises it for a wrong checksum, after it has deleted the file
        raise _wrong_file(file, str(error)) from error
    except OSError as error:
        raise write_error(destination, error) from error


def _checking(fetch: Callable[..., Any], file: DataFile) -> Callable[[str, str, Any], None]:
    """Wrap a pooch downloader to check git blob ids too; on an exception pooch deletes the temporary file."""

    def fetch_and_check(url: str, temporary: str, pooch: Any) -> None:
        fetch(url, temporary, pooch)
        path = Path(temporary)
        if file.sha256 is None and file.git_blob is not None and (actual := git_blob_id(path)) != file.git_blob:
            raise _wrong_file(file, f"git blob {actual} instead of {file.git_blob}")
        path.chmod(0o644)  # temporary files are private, but a cache may be shared

    return fetch_and_check


def _wrong_file(file: DataFile, difference: str) -> ChecksumError:
    return ChecksumError(
        f"{file.name}: what {file.url} sent does not have the pinned checksum and has been deleted ({difference})",
        f"sha256 {file.sha256}" if file.sha256 else f"git blob {file.git_blob}",
        f"try again: a proxy or a login page may have answered; or {MIRROR_ADVICE}",
    )


def _http_error(file: DataFile, status: int | None) -> MissingDataError:
    if status == 404:
        advice = f"upstream no longer has it: {MIRROR_ADVICE}"
    elif status in (403, 429):
        advice = f"too many requests or a proxy that refuses: wait and try again, or {MIRROR_ADVICE}"
    else:
        advice = f"try again later, or {MIRROR_ADVICE}"
    return MissingDataError(f"{file.name}: {file.url} answers with HTTP status {status}", remedy=advice)


def _reason(error: BaseException) -> str:
    """Describe in one line the first cause, which the HTTP library wraps in several layers."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]


def write_error(path: Path, error: OSError) -> AssayError:
    """Build the error for a fetched file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(f"no room to write {path}", remedy="free some space, or set ASSAY_CACHE elsewhere")
    return DataError(
        f"cannot write {path}: {error.strerror or error}", "a directory that can be written", "set ASSAY_CACHE to one"
    )
