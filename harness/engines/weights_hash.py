"""The identity of a checkpoint's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.errors import ModelError
from harness.hashing import file_sha256

_ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
_BIN_PREFIXES = ("pytorch_model", "model")  # not optimizer.bin, scheduler.bin, training_args.bin


def weight_files(directory: Path) -> list[Path]:
    """List the files of a directory that hold the weights transformers or peft would load, sorted by name.

    Safetensors files take precedence over pickled ones, as in loading, so converting a checkpoint and keeping the old
    files does not change its identity. For a LoRA directory, only the adapter is listed.

    Parameters
    ----------
    directory : Path
        A checkpoint or an adapter.

    Returns
    -------
    list of Path
        Empty if there is none.
    """
    if (directory / "adapter_config.json").is_file() and not (directory / "config.json").is_file():
        return [directory / name for name in _ADAPTER if (directory / name).is_file()][:1]
    safetensors = sorted(p for p in directory.glob("*.safetensors") if p.name not in _ADAPTER)
    if safetensors:
        return safetensors
    return sorted(p for p in directory.glob("*.bin") if p.name.startswith(_BIN_PREFIXES))


def weights_hash(directories: Sequence[Path]) -> str:
    """Compute the SHA-256 over all weight files of a model and its adapter.

    Files are hashed in parallel threads (hashlib releases the interpreter lock). Nothing is cached, so a checkpoint
    that is overwritten in place gets a new hash.

    Parameters
    ----------
    directories : sequence of Path
        The model's directory, then the adapter's, if any.

    Returns
    -------
    str
        64 hex digits: the SHA-256 of one line ``NAME SHA256`` per file, in order of directory, then name.

    Raises
    ------
    ModelError
        A directory holds no weights, or a file cannot be read.
    """
    files: list[tuple[str, Path]] = []
    for place, directory in enumerate(directories):
        found = weight_files(directory)
        if not found:
            raise ModelError(
                f"{directory} holds no weights", "*.safetensors or pytorch_model*.bin", "check the model's directory"
            )
        files += [(f"{place}/{path.name}", path) for path in found]
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            digests = list(pool.map(file_sha256, [path for _, path in files]))
    except OSError as error:
        raise ModelError(f"a weight file cannot be read: {error}", remedy="check the file's permissions") from error
    lines = "".join(f"{name} {digest}\n" for (name, _), digest in zip(files, digests, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()
