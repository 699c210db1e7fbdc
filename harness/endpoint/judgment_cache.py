"""The judgment cache: a judge's replies, shared by runs, so that no request is paid for twice.

Runs keep their own judgments and do not depend on it. A fault of the cache is logged as a warning, and the run
continues without it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.closing import Closing
from harness.endpoint.client_options import OPENAI_BASE_URL
from harness.endpoint.exchange import ChatReply, ChatRequest
from harness.hashing import content_hash

_LOG = logging.getLogger(__name__)

_FORMAT = 1  # kept in the file as user_version
_TABLE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL, stored REAL NOT NULL)"
_BUSY_TIMEOUT_S = 30.0
_COMMIT_INTERVAL_S = 0.05
_CLOSE_TIMEOUT_S = 60.0


def cache_key(
    model: str, base_url: str | None, request: ChatRequest, extra_body: Mapping[str, Any] | None = None
) -> str:
    """Hash everything that determines a reply.

    Parameters
    ----------
    model, base_url
        Model and endpoint; None is OpenAI.
    request : ChatRequest
        The request.
    extra_body : mapping, optional
        `EndpointOptions.extra_body`, which affects the reply too.
    """
    return content_hash(
        "chat",
        model,
        (base_url or OPENAI_BASE_URL).rstrip("/"),
        [[message.role, message.content] for message in request.messages],
        request.max_tokens,
        None if request.temperature is None else float(request.temperature),
        float(request.top_p),
        request.seed,
        list(request.stop),
        request.top_logprobs,
        dict(extra_body or {}),
        *([dict(request.schema)] if request.schema is not None else []),  # keys of free text stay as they were
        *([request.newer_fields] if request.newer_fields else []),
    )


class JudgmentCache(Closing):
    """A store of replies by the hash of their requests, in one SQLite file that several processes may use.

    Replies are written in a thread of its own, many per commit, so that neither the disk nor another process's lock
    blocks an event loop. A killed process loses at most the last twentieth of a second, and its run has kept those
    judgments.

    Parameters
    ----------
    path : Path
        The file; it and its directory are created if missing.

    Attributes
    ----------
    fault : str
        Why the cache is not used; "" while it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault = ""
        self._pending: dict[str, str] = {}
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._reader: sqlite3.Connection | None = None
        self._writer: threading.Thread | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._reader = self._open()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
            return
        self._writer = threading.Thread(target=self._write_until_closed, name="judgment-cache", daemon=True)
        self._writer.start()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _FORMAT):
                raise sqlite3.DatabaseError(f"it is of format {version}, this version of assay uses {_FORMAT}")
            connection.execute("PRAGMA synchronous=NORMAL")
            if version == 0:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version={_FORMAT}")
        except BaseException:
            connection.close()
            raise
        return connection

    def get(self, key: str) -> ChatReply | None:
        """Look up a reply; None if there is none."""
        kept = self._pending.get(key)
        if kept is None and self._reader is not None and not self.fault:
            try:
                row = self._reader.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error as error:
                self._give_up(error)
                return None
            kept = row[0] if row else None
        if kept is None:
            return None
        try:
            return ChatReply.from_json(kept)
        except ValueError as error:
            _LOG.warning("%s: an entry cannot be read and is asked for again (%s)", self.path, error)
            return None

    def put(self, key: str, reply: ChatReply) -> None:
        """Store a reply, in place of an earlier one to the same request."""
        if self.fault or self._writer is None:
            return
        self._pending[key] = reply.to_json()
        if not self._wanted.is_set():  # waking a thread costs more than the rest of this method
            self._wanted.set()

    def _write_until_closed(self) -> None:
        try:
            connection = self._open()
        except sqlite3.Error as error:
            self._give_up(error)
            return
        try:
            while not (self._closing.is_set() and not self._pending):
                self._wanted.wait()
                self._closing.wait(_COMMIT_INTERVAL_S)
                self._wanted.clear()
                self._commit(connection, list(self._pending.items()))
                if self._closing.is_set():
                    self._wanted.set()
        except sqlite3.Error as error:
            self._give_up(error)
        finally:
            connection.close()

    def _commit(self, connection: sqlite3.Connection, batch: list[tuple[str, str]]) -> None:
        now = time.time()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", [(key, text, now) for key, text in batch]
        )
        connection.execute("COMMIT")
        for key, text in batch:
            if self._pending.get(key) is text:  # not replaced meanwhile
                self._pending.pop(key, None)

    def _give_up(self, error: Exception) -> None:
        if self.fault:
            return
        self.fault = str(error)
        _LOG.warning(
            "the judgment cache %s cannot be used (%s); the run continues without it. If the file is damaged, delete "
            "it and a new one is created",
            self.path,
            error,
        )

    def close(self) -> None:
        """Write pending replies and close; closing twice is harmless."""
        if self._writer is not None:
            self._closing.set()
            self._wanted.set()
            self._writer.join(_CLOSE_TIMEOUT_S)
            self._writer = None
        if self._reader is not None:
            with suppress(sqlite3.Error):
                self._reader.close()
            self._reader = None
