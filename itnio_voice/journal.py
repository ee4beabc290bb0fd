"""What an export has read so far: chunks and checkpoints in a SQLite file, so that it can be stopped at any instant."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .checkpoint import Checkpoint

__all__ = ["Journal"]

_TABLES = (
    "CREATE TABLE IF NOT EXISTS export (asked TEXT NOT NULL, settled TEXT NOT NULL, finished INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS checkpoints (stream TEXT PRIMARY KEY, checkpoint TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS chunks (id INTEGER PRIMARY KEY, stream TEXT NOT NULL, chunk BLOB NOT NULL)",
    # Without it the chunks would be sorted, all of them in memory.
    "CREATE INDEX IF NOT EXISTS by_stream ON chunks (stream, id)",
)

CHUNKS = "SELECT stream, chunk FROM chunks ORDER BY stream, id"


class Journal:
    """A file that holds what an export has read; a window's chunk and its checkpoint get there in one transaction.

    `asked` is what the export was asked for, as it was typed; `settled` what became of it ("now" is an instant), and
    remains so while the journal is there. One process uses it at a time. Without a path it is a temporary file that is
    gone with the process, however that ends.

    Raises:
        ValueError: if the file is the journal of another export, or no journal.
        OSError: if another process uses it, or it cannot be written.
    """

    def __init__(
        self, path: Path | None = None, *, asked: Mapping[str, object] = {}, settled: Mapping[str, str] = {}
    ) -> None:
        try:
            self._database = sqlite3.connect(path or "", timeout=0, check_same_thread=False)
        except sqlite3.OperationalError as error:
            message = f"{path} cannot be written ({error})"
            raise OSError(message) from error
        try:
            self._open(path, json.dumps(asked, sort_keys=True), json.dumps(settled))
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    @property
    def settled(self) -> dict[str, str]:
        """What was settled when the export began."""
        return dict(json.loads(self._value("SELECT settled FROM export")))

    @property
    def finished(self) -> bool:
        """Whether the export has come to its end."""
        return bool(self._value("SELECT finished FROM export"))

    def checkpoint(self, stream: str) -> Checkpoint | None:
        """Return how far a stream has come; None if it has not begun."""
        text = self._value("SELECT checkpoint FROM checkpoints WHERE stream = ?", stream)
        return Checkpoint.parse(text) if text else None

    def add(self, stream: str, chunk: bytes, checkpoint: Checkpoint) -> None:
        """Take in a chunk of a stream, and with it the stream's checkpoint."""
        with self._database:
            self._database.execute("INSERT INTO chunks (stream, chunk) VALUES (?, ?)", (stream, chunk))
            self._database.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (stream, str(checkpoint)))

    def chunks(self, *, without: Collection[str] = ()) -> Iterator[bytes]:
        """Yield the chunks of all streams but those in `without`: stream by stream, each in its order."""
        for stream, chunk in self._database.execute(CHUNKS):
            if stream not in without:
                yield chunk

    def finish(self) -> None:
        """Remember that the export has come to its end, and forget the chunks."""
        with self._database:
            self._database.execute("DELETE FROM chunks")
            self._database.execute("UPDATE export SET finished = 1")
        self._database.execute("VACUUM")

    def restart(self, settled: Mapping[str, str]) -> None:
        """Forget all but what was asked: the export begins anew, with what is settled now."""
        with self._database:
            self._database.execute("DELETE FROM chunks")
            self._database.execute("DELETE FROM checkpoints")
            self._database.execute("UPDATE export SET finished = 0, settled = ?", [json.dumps(settled)])

    def _open(self, path: Path | None, asked: str, settled: str) -> None:
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("BEGIN EXCLUSIVE")
            with self._database:
                for table in _TABLES:
                    self._database.execute(table)
                if self._value("SELECT count(*) FROM export") == 0:
                    self._database.execute("INSERT INTO export VALUES (?, ?, 0)", (asked, settled))
        except sqlite3.OperationalError as error:
            message = f"{path} cannot be used ({error}): does another export work on it?"
            raise OSError(message) from error
        except sqlite3.DatabaseError as error:
            message = f"{path} is not the state of an export ({error}): remove it, or choose another output"
            raise ValueError(message) from error
        before = self._value("SELECT asked FROM export")
        if before != asked:
            message = f"{path} is the state of another export, which asked for {before}: remove it to begin anew"
            raise ValueError(message)

    def _value(self, query: str, *values: str) -> Any:
        """Return the one value that a query gives, None if it gives no row."""
        row = self._database.execute(query, values).fetchone()
        return row[0] if row else None
