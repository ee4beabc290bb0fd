"""A file that is whole once it has its name, and not there before."""

import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["new_file"]


@contextmanager
def new_file(output: Path) -> Generator[io.BufferedWriter]:
    """Open a file that gets its name, and replaces what had it, once it is written; or else is removed.

    Raises:
        OSError: if it cannot be written.
    """
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
