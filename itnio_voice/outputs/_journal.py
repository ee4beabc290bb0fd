"""The records that an export has read so far, in SQLite, so that it can be stopped at any time.

Each row has a seal: a digest of its values and of the seal before it. When the file is opened, all seals are checked
under the lock that is then held until it is closed. So no value that was edited or damaged is used.
"""

import json
import os
import sqlite3
import stat
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .._client.checkpoint import Checkpoint

__all__ = ["Journal"]

_SCHEMA = (
    "CREATE TABLE export (request TEXT, resolved TEXT, records INTEGER, digest TEXT, seal TEXT)",
    "CREATE TABLE chunks (id INTEGER PRIMARY KEY, stream TEXT, records INTEGER, checkpoint TEXT, chunk, seal TEXT)",
)

_ROWS = "SELECT id, stream, records, checkpoint, chunk, seal FROM chunks ORDER BY id"

_IN_USE = "is in use by another export. Wait until that has ended, or choose another output"
_PROBLEMS = {
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_FULL: "cannot be written: the disk is full. Free some space, and run the same export again",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_IOERR: "cannot be read or written. Check the disk, and run the same export again",
    sqlite3.SQLITE_PERM: "cannot be written: permission denied",
    sqlite3.SQLITE_READONLY: "cannot be written: it is read-only",
}
"""Primary result codes of SQLite: what is wrong with the file, and what to do. Any other one means damage."""
_PRIMARY = 0xFF

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PRIVATE = 0o600
_SMALLEST = 512
"""The size of the smallest page of SQLite, in bytes."""


class Journal:
    """A file with the records that an export has read. A window's chunk and checkpoint are written in one transaction.

    `request` identifies the export: the file of an export with other values is refused. `resolved` holds the values
    that the first run derived from them, such as an instant for `30d`; they stay until `restart`. One process uses the
    file at a time, and only its owner can read it. Without a path it is a temporary file, which ends with the process.

    Raises:
        ValueError: if the file is the journal of another export.
        OSError: if another process uses it, it is damaged or no journal, or it cannot be read or written.
    """

    def __init__(
        self, path: Path | None = None, *, request: Mapping[str, object] = {}, resolved: Mapping[str, str] = {}
    ) -> None:
        self._name = str(path) if path else "The temporary file of the export"
        self._request = self._seal = ""
        self._resolved: dict[str, str] = {}
        self._records = 0
        self._digest: str | None = None
        self._checkpoints: dict[str, Checkpoint] = {}
        self._ids: dict[str, list[int]] = {}
        if path:
            _make_private(path)
        with self._readable_errors():
            self._database = sqlite3.connect(path or "", timeout=0, check_same_thread=False)
        try:
            with self._readable_errors():
                self._lock(json.dumps(request, sort_keys=True), json.dumps(resolved, sort_keys=True))
                self._read(request)
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
    def resolved(self) -> dict[str, str]:
        """The values that the first run resolved."""
        return dict(self._resolved)

    @property
    def records(self) -> int:
        """The number of records in all chunks, also after `finish`."""
        return self._records

    @property
    def digest(self) -> str | None:
        """The digest of the finished output; None until then."""
        return self._digest

    @property
    def begun(self) -> bool:
        """Whether the journal has windows that the output does not have yet."""
        return bool(self._checkpoints)

    @property
    def finished(self) -> bool:
        """Whether the export is finished."""
        return self._digest is not None

    def checkpoint(self, stream: str) -> Checkpoint | None:
        """Return the checkpoint of a stream; None if it has not begun, or if the export is finished."""
        return self._checkpoints.get(stream)

    def add(self, stream: str, chunk: bytes, checkpoint: Checkpoint, records: int) -> None:
        """Add a chunk of a stream that has a number of records, and with it the stream's checkpoint.

        Raises:
            OSError: if the file cannot be written; the chunk is not added then.
        """
        seal = _seal(self._seal, stream, records, str(checkpoint), chunk)
        with self._readable_errors(), self._database:
            added = self._database.execute(
                "INSERT INTO chunks (stream, records, checkpoint, chunk, seal) VALUES (?, ?, ?, ?, ?)",
                (stream, records, str(checkpoint), chunk, seal),
            )
        self._take(added.lastrowid, stream, records, checkpoint, seal)

    def chunks(self, *, without: Collection[str] = ()) -> Iterator[bytes]:
        """Yield the chunks of all streams but those in `without`: stream by stream, each in its order.

        Raises:
            OSError: if the file cannot be read.
        """
        for stream in sorted(self._ids.keys() - without):
            for number in self._ids[stream]:
                with self._readable_errors():
                    (chunk,) = self._database.execute("SELECT chunk FROM chunks WHERE id = ?", [number]).fetchone()
                yield chunk

    def finish(self, digest: str) -> None:
        """Mark the export as finished, with the digest of its output, and delete the chunks.

        Raises:
            OSError: if the file cannot be written; the export is then not finished.
        """
        self._replace(self.resolved, self._records, digest)
        with suppress(sqlite3.Error):  # it only makes the file smaller
            self._database.execute("VACUUM")

    def restart(self, resolved: Mapping[str, str]) -> None:
        """Delete all but what identifies the export: it begins again, with the values that are resolved now.

        Raises:
            OSError: if the file cannot be written.
        """
        self._replace(dict(resolved), 0, None)

    def _replace(self, resolved: dict[str, str], records: int, digest: str | None) -> None:
        """Replace the header of the export, and delete its chunks."""
        header = (self._request, json.dumps(resolved, sort_keys=True), records, digest)
        with self._readable_errors(), self._database:
            self._database.execute("DELETE FROM chunks")
            self._database.execute(
                "UPDATE export SET request = ?, resolved = ?, records = ?, digest = ?, seal = ?",
                (*header, _seal(*header)),
            )
        self._resolved, self._records, self._digest = resolved, records, digest
        self._seal = _seal(*header)
        self._checkpoints.clear()
        self._ids.clear()

    def _take(self, number: int | None, stream: str, records: int, checkpoint: Checkpoint, seal: str) -> None:
        """Store the values of a row of the file."""
        self._seal = seal
        self._checkpoints[stream] = checkpoint
        self._ids.setdefault(stream, []).append(number or 0)
        self._records += records

    def _lock(self, request: str, resolved: str) -> None:
        """Lock the file, and create the tables of a new one."""
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("BEGIN EXCLUSIVE")
        with self._database:
            schema = [sql for (sql,) in self._database.execute("SELECT sql FROM sqlite_master")]
            if not schema:
                for table in _SCHEMA:
                    self._database.execute(table)
                header = (request, resolved, 0, None)
                self._database.execute("INSERT INTO export VALUES (?, ?, ?, ?, ?)", (*header, _seal(*header)))
            elif sorted(map(str, schema)) != sorted(_SCHEMA):
                problem = "it has other tables"
                raise self._damaged(problem)

    def _read(self, request: Mapping[str, object]) -> None:
        """Read and check all that the file holds."""
        headers = self._database.execute("SELECT * FROM export").fetchall()
        if len(headers) != 1 or headers[0][-1] != _seal(*headers[0][:-1]):
            problem = "the description of the export was changed"
            raise self._damaged(problem)
        self._request, resolved, self._records, self._digest, self._seal = headers[0]
        try:
            self._resolved = json.loads(resolved)
            others = _differences(json.loads(self._request), json.loads(json.dumps(request)))
            for number, stream, records, checkpoint, chunk, seal in self._database.execute(_ROWS):
                if not isinstance(chunk, bytes) or seal != _seal(self._seal, stream, records, checkpoint, chunk):
                    problem = "a chunk of records was changed or is missing"
                    raise self._damaged(problem)
                self._take(number, stream, records, Checkpoint.parse(checkpoint), seal)
        except (AttributeError, TypeError, ValueError) as error:
            raise self._damaged(str(error)) from error
        if others:
            message = (
                f"{self._name} is the state of another export ({others}): repeat that command, choose another output, "
                f"or delete {self._name} to start afresh"
            )
            raise ValueError(message)

    @contextmanager
    def _readable_errors(self) -> Generator[None]:
        """Raise the errors of SQLite with a message that names the file and says what to do."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            problem = _PROBLEMS.get(getattr(error, "sqlite_errorcode", 0) & _PRIMARY)
            raise OSError(f"{self._name} {problem} ({error})") if problem else self._damaged(str(error)) from error

    def _damaged(self, problem: str) -> OSError:
        return _damaged(self._name, problem)


def _make_private(path: Path) -> None:
    """Create a file for its owner alone, or remove the permissions of others. SQLite's own files get its mode.

    An existing file is not opened: closing it would release the locks that this process has on it.

    Raises:
        OSError: if it cannot be created, is not a regular file, or belongs to another user.
    """
    try:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE))
        except FileExistsError:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                message = f"{path} is not a regular file, so it is not the state of an export: delete it"
                raise OSError(message) from None
            if 0 < found.st_size < _SMALLEST:  # SQLite would overwrite it
                raise _damaged(str(path), "it is too small") from None
            if os.name == "posix" and found.st_mode & _OTHERS:
                path.chmod(_PRIVATE)
    except OSError as error:
        if error.errno is None:
            raise
        message = f"{path}, the state of the export, cannot be written: {error.strerror}"
        raise type(error)(message) from error


def _damaged(name: str, problem: str) -> OSError:
    shown = repr(problem)[1:-1]  # it may quote what the file holds
    return OSError(
        f"{name} is damaged, or not the state of an export ({shown:.160}): delete it to start afresh, "
        "or choose another output"
    )


def _seal(*values: object) -> str:
    """Return a digest of values, which differs for values of another type."""
    digest = sha256()
    for value in values:
        data = value if isinstance(value, bytes) else repr(value).encode(errors="backslashreplace")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a text that says how an export differs from the one in its journal."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name}: {json.dumps(before.get(name))}, not {json.dumps(now.get(name))}" for name in names)
