"""The datasets that tasks are given.

Task definitions are lm-eval's own; only the result of ``datasets.load_dataset`` while they are built is ours.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.lm_eval.local_rows import LocalRows, examples_from_test, find_rows
from harness.data.file_rows import read_rows
from harness.errors import AssayError, FileFormatError, MissingDataError, line_of
from harness.protocols import DataSource

_LOCK = threading.RLock()
_ROW_FILES = (".json", ".jsonl", ".gz", ".xz")


@dataclass(frozen=True, slots=True)
class Served:
    """A dataset that was given to a task.

    Parameters
    ----------
    path, name : str, str or None
        As the task asked for it.
    source : str
        Where it came from.
    fields : tuple of str
        Columns of its first split.
    splits : tuple of str
        Its splits.
    held_out : dict of str to int
        Number of test rows that replace a missing split, by that split.
    """

    path: str
    name: str | None
    source: str
    fields: tuple[str, ...]
    splits: tuple[str, ...]
    held_out: dict[str, int]


@dataclass
class GivenData:
    """Provides the datasets a task asks for.

    Parameters
    ----------
    data : DataSource
        The mirror, if there is one.
    override : str or None
        The option ``data``: a file or directory instead of what the task asks for.
    num_fewshot : int or None
        Number of examples needed; None for the task's own number.
    """

    data: DataSource
    override: str | None = None
    num_fewshot: int | None = None
    served: list[Served] = field(default_factory=list)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace ``datasets.load_dataset`` in the meantime."""
        import datasets

        with _LOCK:
            self._original = datasets.load_dataset
            datasets.load_dataset = self._load
            try:
                yield
            finally:
                datasets.load_dataset = self._original

    def _load(self, path: str, name: str | None = None, **arguments: Any) -> Any:
        if self.override is not None:
            found, source, held_out = self._from_override(Path(self.override), path, name, arguments)
        elif getattr(self.data, "data_dir", None) is not None:
            found, source, held_out = self._from_mirror(self.data.data_dir, path, name, arguments)  # type: ignore[attr-defined]
        else:
            found, source, held_out = self._from_hub(path, name, arguments), f"{path} on the hub", {}
        splits = tuple(found) if hasattr(found, "keys") else ()
        fields = tuple(found[splits[0]].features) if splits and found[splits[0]].features else ()
        self.served.append(Served(path, name, source, fields, splits, held_out))
        return found

    def _from_override(
        self, place: Path, path: str, name: str | None, arguments: dict[str, Any]
    ) -> tuple[Any, str, dict[str, int]]:
        if place.is_dir():
            return self._from_directory(place, name, arguments), str(place), {}
        if not place.is_file():
            raise MissingDataError(f"the option data names {place}, which does not exist", "a file or a directory")
        if not place.name.endswith(_ROW_FILES):
            raise FileFormatError(place, None, "a file of another kind", "rows as .json or .jsonl (also .gz, .xz)")
        rows = [dict(row.values) for row in read_rows(place)]
        found = examples_from_test(rows, self.num_fewshot or 0, "train", place)
        examples, test = found.splits["train"], found.splits["test"]
        splits = {"train": examples, "dev": examples, "validation": test, "test": test}
        return _dataset(LocalRows(splits)), str(place), found.held_out

    def _from_mirror(
        self, mirror: Path, path: str, name: str | None, arguments: dict[str, Any]
    ) -> tuple[Any, str, dict[str, int]]:
        copy = mirror / "huggingface" / "datasets" / path
        if copy.is_dir():
            return self._from_directory(copy, name, arguments), str(copy), {}
        rows = find_rows(path, name, self.data, self.num_fewshot)
        if rows is not None:
            return _dataset(rows), str(rows.source), rows.held_out
        if Path(path).exists() or "data_files" in arguments:
            return self._from_hub(path, name, arguments), path, {}  # a task over files of its own
        raise MissingDataError(
            f"the task's dataset {path} is not in the data directory",
            f"a copy of it in {copy}",
            f"on a machine with a network: hf download --repo-type dataset {path} --local-dir {copy}; or give the "
            "option data; or leave the data directory out to fetch it from the hub",
        )

    def _from_directory(self, directory: Path, name: str | None, arguments: dict[str, Any]) -> Any:
        try:
            return self._original(str(directory), name, **arguments)
        except AssayError:
            raise
        except Exception as error:  # datasets raises whatever a file makes it raise
            raise FileFormatError(
                directory, None, f"datasets cannot read it: {line_of(error)}", "a copy of the task's dataset"
            ) from error

    def _from_hub(self, path: str, name: str | None, arguments: dict[str, Any]) -> Any:
        try:
            return self._original(path, name, **arguments)
        except ImportError:
            raise
        except Exception as error:  # network, hub, cache and builder errors have no common class
            raise MissingDataError(
                f"the task's dataset {path} cannot be loaded from the hub: {line_of(error)}",
                remedy="check the network and, for a gated dataset, `hf auth login`; without a network set ASSAY_DATA "
                "to a mirror, see docs/academic.md",
            ) from error


def _dataset(rows: LocalRows) -> Any:
    import datasets

    return datasets.DatasetDict({split: datasets.Dataset.from_list(found) for split, found in rows.splits.items()})
