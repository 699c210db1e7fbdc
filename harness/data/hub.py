"""Files of Hugging Face hub datasets, which huggingface_hub downloads to its own cache."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness.data.catalog import DataFile
from harness.data.checksum import Pin
from harness.data.download import MIRROR_ADVICE, HostUnreachableError, write_error
from harness.errors import AssayError, MissingDataError

_KINDS: dict[int, Literal["sha256", "git_blob"]] = {64: "sha256", 40: "git_blob"}
"""Which checksum the name of a blob is, by its length."""


def cached(file: DataFile) -> Path | None:
    """Find the copy in the hub's cache, without contacting the hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repository, file.path, revision=file.commit, repo_type="dataset")
    return Path(found) if isinstance(found, str) else None


def cached_pin(path: Path) -> Pin | None:
    """Return the expected hash of a file of the hub's cache.

    The cache names content by the hash the hub reported: the SHA-256 of a large file, the git blob id of any other.
    A copy that was changed or truncated later no longer matches its name.
    """
    content = path.resolve()
    if content.parent.name != "blobs" or set(content.name) - set("0123456789abcdef"):
        return None
    kind = _KINDS.get(len(content.name))
    return None if kind is None else Pin(kind, content.name, "the hub, when it was fetched")


def discard(path: Path) -> None:
    """Delete a copy from the hub's cache, so that it is downloaded again."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def download(file: DataFile, *, offline: bool) -> Path:
    """Download a file of a hub dataset unless the cached copy is current.

    Parameters
    ----------
    file : DataFile
        What to fetch.
    offline : bool
        Use the cached copy without contacting the hub.

    Returns
    -------
    Path
        The file, in the hub's cache.

    Raises
    ------
    HostUnreachableError
        The hub does not answer and there is no copy.
    MissingDataError
        There is no such file, or no copy of it while offline.
    StorageFullError, DataError
        It cannot be written.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    # The base exception of the HTTP library huggingface_hub uses, which differs between its versions.
    transport_error: type[Exception] = HfHubHTTPError.__bases__[0]
    try:
        return Path(
            hf_hub_download(
                file.repository, file.path, repo_type="dataset", revision=file.commit, local_files_only=offline
            )
        )
    except LocalEntryNotFoundError as error:
        raise _no_copy(file, offline) from error
    except (EntryNotFoundError, HfHubHTTPError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingDataError(
            f"{file.name}: the hub refuses {file.url} ({type(error).__name__}: {first_line})",
            remedy=f"check HF_TOKEN and HF_ENDPOINT if they are set, or {MIRROR_ADVICE}",
        ) from error
    except transport_error as error:
        raise MissingDataError(
            f"{file.name}: the download of {file.url} was interrupted ({type(error).__name__}: {error})",
            remedy=f"try again, or {MIRROR_ADVICE}",
        ) from error
    except OSError as error:
        raise write_error(Path(error.filename or file.path), error) from error


def _no_copy(file: DataFile, offline: bool) -> AssayError:
    if offline:
        return MissingDataError(
            f"{file.name}: HF_HUB_OFFLINE is set and {file.path} of the hub dataset {file.repository} is not in the "
            "hub's cache",
            remedy=f"unset HF_HUB_OFFLINE for one `assay data pull {file.name}`, or {MIRROR_ADVICE}",
        )
    return HostUnreachableError(
        f"{file.name}: the Hugging Face hub cannot be reached for {file.url}",
        remedy=f"check the network and any proxy, or {MIRROR_ADVICE}",
    )
