"""Progress bars on stderr, with the remaining time; none if stderr is not a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Protocol, Self

from harness.text_safety import one_line


class Progress(Protocol):
    """Receives the progress of a run."""

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Start a bar."""
        ...

    def advance(self, task: str, note: str = "") -> None:
        """Count one item."""
        ...

    def __enter__(self) -> Self:
        """Start drawing."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        ...


class NoProgress:
    """Reports nothing."""

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Do nothing."""

    def advance(self, task: str, note: str = "") -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class RunProgress:
    """Draws one bar per task with rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("to go"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Start a bar at `done` of `total`, or extend an existing one by `total`."""
        if task in self._tasks:
            more = self._bars.tasks[self._tasks[task]].total or 0
            self._bars.update(self._tasks[task], total=more + total)
        else:
            self._tasks[task] = self._bars.add_task(task, total=total, completed=done, note="")

    def advance(self, task: str, note: str = "") -> None:
        """Count one item."""
        self._bars.update(self._tasks[task], advance=1, note=note)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


def make_progress(enabled: bool | None = None) -> Progress:
    """Return progress bars or a silent stand-in; by default, bars if stderr is a terminal."""
    if enabled is None:
        enabled = sys.stderr.isatty()
    return RunProgress() if enabled else NoProgress()


def say(text: str) -> None:
    """Write a line on stderr."""
    sys.stderr.write(f"{one_line(text)}\n")
