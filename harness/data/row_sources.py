"""Rows of local files, directories and hub data sets, each with its position."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from harness.data.file_rows import Row, each_row
from harness.errors import DataError, FileFormatError, MissingDataError, UsageError

_ENDINGS = (*(kind + packed for kind in (".jsonl", ".json", ".csv") for packed in ("", ".gz", ".xz")), ".parquet")
_SPLITS = ("train", "test", "validation", "valid", "dev", "eval")
_OPTIONS = ("split", "subset", "data_dir", "revision", "adapter")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class SourceName:
    """The source of rows.

    Parameters
    ----------
    place : str
        A file, a directory or a hub id.
    split, subset, data_dir, revision : str
        The part of a directory or hub data set; "" where there is only one.
    adapter : str
        The layout of the rows; "" to recognise it by the columns.
    """

    place: str
    split: str = ""
    subset: str = ""
    data_dir: str = ""
    revision: str = ""
    adapter: str = ""

    @classmethod
    def parse(cls, text: str) -> SourceName:
        """Read "PLACE" or "PLACE?split=train&subset=NAME&data_dir=DIR&revision=COMMIT&adapter=NAME".

        Raises
        ------
        UsageError
            An option is unknown or has no value.
        """
        if Path(text).exists() or "?" not in text:
            return cls(text)
        place, _, query = text.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        wrong = [name for name, value in options.items() if name not in _OPTIONS or not value]
        if wrong or not options:
            raise UsageError(
                f"{text}: {', '.join(wrong) or 'nothing'} after the ?",
                " or ".join(f"{name}=..." for name in _OPTIONS),
            )
        return cls(place, **options)

    @property
    def label(self) -> str:
        """A short name: the hub id, or the file's name without its suffixes."""
        path = Path(self.place)
        if not path.exists():
            return self.place
        return path.name.split(".")[0] if path.is_file() else path.name

    def __str__(self) -> str:
        given = [f"{name}={getattr(self, name)}" for name in _OPTIONS if getattr(self, name)]
        return self.place + ("?" + "&".join(given) if given else "")


def source_rows(source: str | Path | SourceName) -> Iterator[Row]:
    """Read rows from JSONL, JSON, CSV (also .gz, .xz), Parquet, a directory of them, a saved data set or the hub.

    Parameters
    ----------
    source : str, Path or SourceName
        A path, or a hub id where no such path exists, with options after "?".

    Yields
    ------
    Row

    Raises
    ------
    MissingDataError
        There is no such file, or the hub does not have it or denies it.
    FileFormatError
        A file does not have its format; the message names the line.
    UsageError
        There are several splits and none is selected.
    """
    name = source if isinstance(source, SourceName) else SourceName.parse(str(source))
    path = Path(name.place)
    if path.is_dir():
        yield from _read_directory(path, name)
    elif path.exists():
        if name.split or name.subset or name.data_dir or name.revision:
            raise UsageError(
                f"{name} selects a part of {path}, which is one file", "a directory or hub id before the ?"
            )
        yield from _read_file(path)
    elif _HUB_ID.fullmatch(name.place) and not name.place.endswith(_ENDINGS):
        yield from _read_hub(name)
    else:
        raise MissingDataError(
            f"no such file or directory: {path}", "a path, or a hub id such as Anthropic/hh-rlhf", "check the path"
        )


def _read_file(path: Path) -> Iterator[Row]:
    if not path.name.endswith(_ENDINGS):
        raise FileFormatError(
            path, None, f"rows cannot be read from {path.suffix or 'such'} files", ", ".join(_ENDINGS)
        )
    yield from each_row(path)


def _read_directory(path: Path, name: SourceName) -> Iterator[Row]:
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        yield from _read_saved(path, name)
        return
    root = _folder(_folder(path, name.data_dir), name.subset)
    files = sorted(entry for entry in root.rglob("*") if entry.is_file() and entry.name.endswith(_ENDINGS))
    if not files:
        raise MissingDataError(f"{root} holds no data files", "files ending in " + ", ".join(_ENDINGS))
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(root)), []).append(file)
    for file in by_split[_choose(name, by_split)]:
        yield from _read_file(file)


def _folder(parent: Path, part: str) -> Path:
    """A folder of a folder; the folder itself for ""."""
    if not (parent / part).is_dir():
        folders = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
        raise MissingDataError(f"{parent} has no {part}", "one of " + (", ".join(folders) or "none"))
    return parent / part


def _split_of(relative: Path) -> str:
    """The split in a file's path ("train" for data/train-00000.parquet and HH's train.jsonl.gz), or ""."""
    words = re.split(r"[^A-Za-z]+", str(relative).lower())
    return next((split for split in _SPLITS if split in words), "")


def _choose(name: SourceName, splits: Any) -> str:
    found = [str(split) for split in splits]
    if name.split:
        if name.split not in found:
            raise UsageError(f"{name.place} has no split {name.split!r}", "one of " + (", ".join(found) or "none"))
        return name.split
    if len(found) != 1:
        shown = ", ".join(split or "(files without one)" for split in sorted(found))
        named = next((split for split in found if split), "train")
        raise UsageError(
            f"{name.place} has several splits: {shown}", "one of them", f"name it: {name.place}?split={named}"
        )
    return found[0]


def _read_saved(path: Path, name: SourceName) -> Iterator[Row]:
    """Read a data set saved with `save_to_disk` of `datasets`."""
    datasets = _import_datasets()
    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets and arrow raise errors of many kinds for a broken directory
        raise DataError(
            f"{path} cannot be read as a saved data set: {error}", "a whole save_to_disk directory"
        ) from error
    if isinstance(saved, datasets.DatasetDict):
        saved = saved[_choose(name, saved)]
    elif name.split:
        raise UsageError(f"{path} is one split, and {name.split!r} was selected", "the directory alone")
    yield from _read_dataset(saved, str(name))


def _read_hub(name: SourceName) -> Iterator[Row]:
    datasets = _import_datasets()
    options = {"data_dir": name.data_dir or None, "revision": name.revision or None, "split": name.split or None}
    try:
        loaded = datasets.load_dataset(name.place, name.subset or None, **options)
    except Exception as error:  # datasets passes on the errors of its many back ends
        detail = str(error).strip().splitlines()
        raise MissingDataError(
            f"the hub data set {name} cannot be loaded: {type(error).__name__}: {detail[0] if detail else ''}",
            "a public data set or one HF_TOKEN can read, or a local path",
            f"check the name and the network; there is no local file or directory {name.place}",
        ) from error
    yield from _read_dataset(loaded if name.split else loaded[_choose(name, loaded)], str(name))


def _read_dataset(dataset: Any, shown: str) -> Iterator[Row]:
    for number, values in enumerate(dataset, start=1):
        yield Row(Path(shown), number, values, f"row {number}")


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise UsageError(
            "hub and saved data sets need the package datasets", remedy="pip install 'assay[train]'"
        ) from None
    return datasets
