"""A file that appears under its name when it is complete."""

import contextlib
import io
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_place", "new_file", "sync_folder"]

_PRIVATE = 0o600
_PERMISSIONS = 0o777
_LONGEST = 40
"""The part file's name repeats this many characters of the name: a file name has at most 255 bytes."""


@contextmanager
def new_file(output: Path, *, sync: bool = True) -> Generator[io.BufferedWriter]:
    """Open a part file, which replaces `output` when the block ends and is removed when it raises an error.

    The part file is new, has a random name, and is in the folder of `output`. Its permissions are those of the file
    that it replaces, or 0600. With `sync=False`, the caller writes the content to the disk within the block, and the
    name after it, with `sync_folder`: async code does that in a thread.

    Raises:
        OSError: if `output` cannot be written.
    """
    with _readable_errors(output):
        _check(output)
        name = f".{output.name[:_LONGEST]}."
        descriptor, path = tempfile.mkstemp(prefix=name, suffix=".part", dir=output.parent)
        part = Path(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                part.chmod(_permissions(output))
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
        if sync:
            sync_folder(output.parent)


def check_place(output: Path) -> None:
    """Check that a file can be written at a path.

    Raises:
        OSError: if it cannot.
    """
    with _readable_errors(output):
        _check(output)
        with tempfile.TemporaryFile(dir=output.parent):
            pass


def _check(output: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = output.stat().st_mode
        if stat.S_ISDIR(mode):
            message = f"{output} is a folder: choose the name of a file"
            raise IsADirectoryError(message)
        if not stat.S_ISREG(mode):
            message = f"{output} is not a regular file: choose another name"
            raise FileExistsError(message)
    if not output.parent.is_dir():
        message = f"{output} cannot be written: {output.parent} is not a folder. Create it, or choose another one"
        raise NotADirectoryError(message)


@contextmanager
def _readable_errors(output: Path) -> Generator[None]:
    """Raise the errors of the operating system with a message that names the output instead of the part file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        message = f"{output} cannot be written: {error.strerror}"
        raise type(error)(message) from error


def _permissions(output: Path) -> int:
    """Return the permissions of the file at a path; private ones if there is no file, or if it is a link."""
    try:
        mode = output.lstat().st_mode
    except FileNotFoundError:
        return _PRIVATE
    return mode & _PERMISSIONS if stat.S_ISREG(mode) else _PRIVATE


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk, if the system can, so that the file is kept after a power failure."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
