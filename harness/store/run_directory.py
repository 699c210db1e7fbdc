"""The run directory.

::

    runs/NAME/
      run.json         written first: the spec, code revision, package versions, data checksums, seeds
      prompts.jsonl    append-only, one writer each
      responses.jsonl
      turns.jsonl      first turns of unfinished conversations
      judgments.jsonl
      canaries.jsonl   verdicts on questions that test the judge itself
      scores.jsonl     derived, rewritten by scoring
      summary.json     derived: the figures
      manifest.json    sha256 of every file; written last: it marks the run as complete

A later record with the same key replaces an earlier one: a retried answer after one that failed, a new verdict after
one that could not be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.closing import Closing
from harness.errors import FileFormatError, MissingDataError
from harness.hashing import content_hash, file_sha256
from harness.records import Judgment, Prompt, Record, Response, Score
from harness.store.jsonl import (
    JsonlAppender,
    as_record,
    read_json,
    read_jsonl,
    read_jsonl_places,
    write_atomically,
    write_json,
)
from harness.store.locking import DirectoryLock

RecordType = TypeVar("RecordType", bound=Record)

_DATA_FILES = (
    "run.json",
    "prompts.jsonl",
    "responses.jsonl",
    "judgments.jsonl",
    "canaries.jsonl",
    "scores.jsonl",
    "summary.json",
)


def response_key(response: Response) -> tuple[str, str, int, str]:
    """Key of a response: prompt, role, sample and, for baselines, the model."""
    return (response.prompt_id, response.role, response.sample, response.model if response.role == "baseline" else "")


def judgment_key(judgment: Judgment) -> str:
    """Key of a judgment: judge, prompt, responses in the order shown, turn."""
    return task_key(judgment.judge_id, judgment.prompt_id, judgment.response_ids, judgment.turn)


def task_key(judge_id: str, prompt_id: str, response_ids: Iterable[str], turn: int) -> str:
    """Key of a judging task, before it is judged."""
    return content_hash("task", judge_id, prompt_id, list(response_ids), turn)


class RunDirectory:
    """Read access to a run.

    Parameters
    ----------
    path : Path
        The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether the directory holds a run."""
        return (self.path / "run.json").is_file()

    @property
    def complete(self) -> bool:
        """Whether the run was finished (it may still contain items without a score)."""
        return (self.path / "manifest.json").is_file()

    def header(self) -> dict[str, Any]:
        """Read run.json.

        Raises
        ------
        MissingDataError
            The directory holds no run.
        """
        if not self.exists:
            raise MissingDataError(
                f"{self.path} holds no run (no run.json)",
                remedy="give a directory that `assay run` or `assay import` made",
            )
        header = read_json(self.path / "run.json")
        if not isinstance(header, dict):
            raise FileFormatError(self.path / "run.json", None, "not a JSON object", "the header of a run")
        return header

    def each_prompt(self) -> Iterator[Prompt]:
        """Read the prompts one by one, in file order."""
        yield from self._records("prompts.jsonl", Prompt)

    def responses_by_prompt(self) -> RecordsByPrompt[Response]:
        """Index the latest responses by prompt, without keeping them in memory."""
        return RecordsByPrompt(
            self.path / "responses.jsonl",
            Response,
            lambda r: (r["role"], r.get("sample", 0), r["model"] if r["role"] == "baseline" else ""),
        )

    def judgments_by_prompt(self) -> RecordsByPrompt[Judgment]:
        """Index the latest judgments by prompt, without keeping them in memory."""
        return RecordsByPrompt(
            self.path / "judgments.jsonl", Judgment, lambda j: (j["judge_id"], *j["response_ids"], j.get("turn", 1))
        )

    def prompts(self) -> dict[str, Prompt]:
        """Read all prompts by id, in file order."""
        return {p.id: p for p in self._records("prompts.jsonl", Prompt)}

    def responses(self) -> dict[tuple[str, str, int, str], Response]:
        """Read the latest response for each key of :func:`response_key`."""
        return {response_key(r): r for r in self._records("responses.jsonl", Response)}

    def first_turns(self) -> dict[tuple[str, int], Response]:
        """Read the unfinished conversations by prompt id and sample number; the longest for each."""
        return {(r.prompt_id, r.sample): r for r in self._records("turns.jsonl", Response)}

    def judgments(self) -> dict[str, Judgment]:
        """Read the latest judgment for each :func:`judgment_key`."""
        return {judgment_key(j): j for j in self._records("judgments.jsonl", Judgment)}

    def slim_judgments(self) -> Iterator[Judgment]:
        """Read the latest judgments without their texts, so that 100,000 fit in little memory."""
        judgments = self._records("judgments.jsonl", Judgment, drop=("raw", "meta"))
        yield from {judgment_key(j): j for j in judgments}.values()

    def canaries(self) -> dict[str, Judgment]:
        """Read the latest verdict on each canary question."""
        return {judgment_key(j): j for j in self._records("canaries.jsonl", Judgment, drop=("raw",))}

    def scores(self) -> list[Score]:
        """Read the latest scores."""
        path = self.path / "scores.jsonl"
        if not path.exists():
            return []
        found = []
        for number, value in read_jsonl(path):
            try:
                found.append(Score.from_json(value))
            except ValueError as error:
                raise FileFormatError(path, number, str(error), "a score as assay writes it") from error
        return found

    def _records(self, name: str, kind: type[RecordType], drop: tuple[str, ...] = ()) -> Iterator[RecordType]:
        path = self.path / name
        if not path.exists():
            return
        for number, value in read_jsonl(path, allow_torn_tail=True):
            for field in drop:
                value.pop(field, None)
            yield as_record(kind, path, number, value)

    def verify(self) -> list[str]:
        """Compare every file with the manifest.

        Returns
        -------
        list of str
            The differences, in words; empty if there are none.
        """
        manifest = read_json(self.path / "manifest.json")
        faults = []
        for name, expected in manifest["files"].items():
            path = self.path / name
            if not path.exists():
                faults.append(f"{name} is missing")
            elif file_sha256(path) != expected:
                faults.append(f"{name} has changed since it was written")
        return faults


class RecordsByPrompt(Generic[RecordType]):
    """The latest records of each prompt, read from their file on demand.

    Parameters
    ----------
    path : Path
        A file of records, which need not exist.
    kind : type
        The type of its lines.
    key : callable
        From a line's JSON to its key among the records of a prompt; a later record with the same key replaces an
        earlier one.
    """

    def __init__(self, path: Path, kind: type[RecordType], key: Callable[[dict[str, Any]], Hashable]) -> None:
        self._path = path
        self._kind = kind
        self._places: dict[str, dict[Hashable, tuple[int, int]]] = {}
        if path.exists():
            self._index(key)

    def _index(self, key: Callable[[dict[str, Any]], Hashable]) -> None:
        for number, value, offset in read_jsonl_places(self._path, allow_torn_tail=True):
            try:
                self._places.setdefault(value["prompt_id"], {})[key(value)] = (offset, number)
            except (KeyError, TypeError) as error:
                raise FileFormatError(
                    self._path, number, f"no field {error}", f"a {self._kind.__name__} as assay writes it"
                ) from error

    def of(self, prompt_id: str) -> list[RecordType]:
        """Read the latest records of a prompt."""
        places = self._places.get(prompt_id)
        if not places:
            return []
        found = []
        with self._path.open("rb") as stream:
            for offset, number in places.values():
                stream.seek(offset)
                found.append(as_record(self._kind, self._path, number, json.loads(stream.readline())))
        return found


class RunWriter(RunDirectory, Closing):
    """Write access to a run; one process at a time.

    Raises
    ------
    RunLockedError
        Another process writes to it.
    StoreError
        The directory cannot be created or written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._lock = DirectoryLock(path, "writing to")
        self._appenders: dict[str, JsonlAppender] = {}

    def write_header(self, header: dict[str, Any]) -> None:
        """Write run.json."""
        write_json(self.path / "run.json", header)

    def record_data(self, used: dict[str, str]) -> None:
        """Add the checksums of upstream files to run.json; those read by scoring are known only afterwards."""
        header = self.header()
        known = header.get("data", {})
        if used.keys() - known.keys():
            self.write_header(header | {"data": {**used, **known}})

    def append(self, record: Record) -> None:
        """Append a prompt, response or judgment to its file."""
        name = {Prompt: "prompts.jsonl", Response: "responses.jsonl", Judgment: "judgments.jsonl"}[type(record)]
        self._appender(name).append(record.to_line())

    def append_canary(self, judgment: Judgment) -> None:
        """Append a verdict that tests the judge itself."""
        self._appender("canaries.jsonl").append(judgment.to_line())

    def append_turn(self, partial: Response) -> None:
        """Append an unfinished conversation, so that a resumed run does not generate it again."""
        self._appender("turns.jsonl").append(partial.to_line())

    def _appender(self, name: str) -> JsonlAppender:
        if name not in self._appenders:
            self._appenders[name] = JsonlAppender(self.path / name)
        return self._appenders[name]

    def reopen(self) -> None:
        """Mark the run as incomplete again."""
        (self.path / "manifest.json").unlink(missing_ok=True)

    def write_scores(self, scores: Iterable[Score]) -> None:
        """Replace scores.jsonl."""
        write_atomically(self.path / "scores.jsonl", (score.to_line() + "\n" for score in scores))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace summary.json."""
        write_json(self.path / "summary.json", summary, allow_nan=False)

    def write_manifest(self) -> None:
        """Mark the run as complete: write the hash of every file."""
        self.sync()
        files = {name: file_sha256(self.path / name) for name in _DATA_FILES if (self.path / name).exists()}
        write_json(self.path / "manifest.json", {"complete": True, "files": files})

    def sync(self) -> None:
        """Flush everything to the disk itself."""
        for appender in self._appenders.values():
            appender.sync()

    def close(self) -> None:
        """Flush, close and release the lock; closing twice is harmless."""
        try:
            for appender in self._appenders.values():
                appender.close()
        finally:
            self._appenders.clear()
            self._lock.close()
