"""A folder of recordings with its manifest: which files are complete, and which recordings are missing."""

import json
import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Literal, Self

import attrs
from attrs.validators import in_, instance_of, optional

from .atomic_file import new_file
from .locks import lock

__all__ = ["MANIFEST", "Entry", "Manifest", "file_name"]

MANIFEST = "manifest.jsonl"

_KINDS = ("group", "sip")
_ENDINGS = frozenset(
    {".aac", ".amr", ".flac", ".gsm", ".m4a", ".mp3", ".mp4", ".ogg", ".opus", ".wav", ".webm", ".wma"}
)
_LONGEST_STEM = 60
_DIGITS = 16
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_PART = re.compile(r"\.(manifest\.jsonl|(group|sip)-[A-Za-z0-9.-]*)\.[a-z0-9_]+\.part")
"""The part files of `new_file`: a process that was killed leaves them behind."""


@attrs.frozen(kw_only=True)
class Entry:
    """A line of the manifest: a recording, and its file, unless it is missing at the vendor.

    `voice_id` is the id of the first record with the recording. `file` is the name in the folder, and `size` is in
    bytes; they and `sha256` are None if the recording is missing.
    """

    voice_id: str | None = attrs.field(validator=optional(instance_of(str)))
    recording_file_id: str = attrs.field(validator=instance_of(str))
    account: str = attrs.field(validator=instance_of(str))
    kind: str = attrs.field(validator=in_(_KINDS))
    status: Literal["complete", "missing"] = attrs.field(validator=in_(("complete", "missing")))
    file: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    size: int | None = attrs.field(default=None, validator=optional(instance_of(int)))
    sha256: str | None = attrs.field(default=None, validator=optional(instance_of(str)))

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the recording."""
        return self.account, self.kind, self.recording_file_id

    def line(self) -> bytes:
        """Return the entry as a line of JSON, in ASCII: the ids are a server's text."""
        return json.dumps(attrs.asdict(self)).encode() + b"\n"


def file_name(account: str, kind: str, recording_file_id: str) -> str:
    """Return the name of a recording's file, which is different for each account, kind and id.

    A server chooses the id. So only its letters and digits are in the name, after the kind, and before a digest of all
    three, and the ending is one of audio files. So the name is neither a path nor hidden, nor reserved by a system, and
    two names differ on file systems that ignore case too.
    """
    id_path = PurePosixPath(recording_file_id)
    ending = id_path.suffix.lower()
    stem = _NOT_IN_NAMES.sub("-", id_path.stem)[:_LONGEST_STEM].strip("-")
    digest = sha256(json.dumps([account, kind, recording_file_id]).encode()).hexdigest()[:_DIGITS]
    name = "-".join(part for part in (kind, stem, digest) if part)
    return name + (ending if ending in _ENDINGS else ".bin")


class Manifest:
    """The folder, locked while it is open, so that one process at a time writes into it.

    Each entry is appended as soon as its file is complete. A line that was cut off, because the process was killed, is
    ignored. The manifest is written anew, with one line for each recording, when it is opened, and when it is closed
    after an entry has replaced another one.

    Raises:
        OSError: if the folder or the manifest cannot be written, another process uses it, or the manifest has lines
            that are none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[tuple[str, str, str], Entry] = {}
        self._is_repeated = False
        self._stack = ExitStack()
        self._file: BinaryIO

    def __enter__(self) -> Self:
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        with ExitStack() as stack:
            stack.enter_context(_locked(self._folder))
            self._entries = {entry.key: entry for entry in self._read()}
            for path in self._folder.iterdir():
                if _PART.fullmatch(path.name):
                    path.unlink()
            self._write()
            self._file = stack.enter_context((self._folder / MANIFEST).open("ab"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            if self._is_repeated:
                self._write()

    def path(self, key: tuple[str, str, str]) -> Path:
        """Return the path of a recording's file."""
        return self._folder / file_name(*key)

    def is_complete(self, key: tuple[str, str, str]) -> bool:
        """Return whether a recording's file is complete: listed, and in the folder with its size."""
        entry = self._entries.get(key)
        if entry is None or entry.status != "complete":
            return False
        try:
            status = self.path(key).lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == entry.size

    def add(self, entry: Entry) -> None:
        """Add an entry, which replaces an earlier one of the same recording."""
        if self._entries.get(entry.key) == entry:
            return
        self._is_repeated |= entry.key in self._entries
        self._entries[entry.key] = entry
        self._file.write(entry.line())
        self._file.flush()

    def _read(self) -> Iterator[Entry]:
        """Yield the entries of the file."""
        path = self._folder / MANIFEST
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        # What follows the last line break is a line that was cut off.
        for number, line in enumerate(lines[:-1], 1):
            try:
                yield Entry(**json.loads(line))
            except (TypeError, ValueError, RecursionError):
                what = f"{path} is not a manifest of recordings (line {number})"
                message = f"{what}: choose another folder, or delete it to download all recordings again"
                raise OSError(message) from None

    def _write(self) -> None:
        """Write the manifest anew."""
        with new_file(self._folder / MANIFEST) as file:
            file.writelines(entry.line() for entry in self._entries.values())


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Lock a folder for this process, where the system can lock folders.

    Raises:
        OSError: if another process has locked it.
    """
    if os.name != "posix":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not lock(descriptor):
            message = f"{folder} is in use by another download. Wait until that has ended, or choose another folder"
            raise OSError(message)
        yield
    finally:
        os.close(descriptor)
