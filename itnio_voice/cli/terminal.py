"""Standard output and standard error: printable text only, on any terminal, also where a stream is closed."""

import codecs
import errno
import os
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import TextIOWrapper

from rich.console import Console, RenderableType
from rich.text import Text

from .._model.printable import printable

__all__ = [
    "SCREEN",
    "begin_line",
    "cell",
    "end_output",
    "flush_output",
    "prepare_streams",
    "print_error",
    "print_line",
    "print_output",
    "sync_output",
    "write_output",
]

_ASCII = {"✓": "+", "✗": "x", "–": "-", "…": "~", "█": "#"}
"""Characters of tables outside ASCII, and their replacements on a terminal that cannot show them."""


class _Screen(Console):
    """Standard error. A stream that is closed, or a full disk behind it, does not end the command."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _Output(Console):
    """Standard output. A closed pipe is an exception like any other, instead of rich's exit code."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


SCREEN = _Screen(stderr=True, highlight=False)
OUTPUT = _Output(highlight=False)


def print_error(message: str) -> None:
    """Print a line on standard error."""
    with suppress(OSError):
        SCREEN.print(Text(f"itnio-voice: {printable(message)}"), soft_wrap=True)


def cell(value: str) -> Text:
    """Return data for a table: rich and the terminal show its characters and interpret none."""
    return Text(printable(value))


def print_output(*parts: RenderableType, width: int | None = None) -> None:
    """Print on standard output; pass data as `Text`, because rich interprets markup in `str`."""
    if width is not None:
        width = max(OUTPUT.width, width) if OUTPUT.is_terminal else width
    with _named_output():
        for part in parts:
            OUTPUT.print(part, width=width)


def print_line(text: str) -> None:
    """Print data on standard output as one line, however long it is."""
    with _named_output():
        OUTPUT.print(cell(text), soft_wrap=True)


def write_output(content: bytes) -> None:
    """Write bytes to standard output at once."""
    with _named_output():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def begin_line() -> None:
    """Begin a new line if standard output is a file whose last line was cut, as by a kill; not where it is unreadable.

    Otherwise the first line of this run would be the rest of that line.
    """
    if _is_file() and not _ends_with_line():
        write_output(b"\n")


def sync_output() -> None:
    """Write standard output to the disk if it is a file, so that it is kept after a power failure."""
    if _is_file():
        with _named_output():
            os.fsync(sys.stdout.fileno())


def _is_file() -> bool:
    return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)


def _ends_with_line() -> bool:
    try:
        with open("/dev/stdout", "rb") as file:  # noqa: PTH123 -- no path of a file
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:  # it is empty, or cannot be read
        return True


@contextmanager
def _named_output() -> Generator[None]:
    """Name standard output in the errors of writing to it; a closed pipe remains a `BrokenPipeError`."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def prepare_streams() -> None:
    """Open the standard streams that are closed, and let all replace characters that their encoding does not have.

    A file that is opened later would get the descriptor of a closed stream, and so its output.
    """
    # Standard output is opened for reading, so that printing is an error: records would be lost.
    modes = {"stdin": (os.O_RDONLY, "r"), "stdout": (os.O_RDONLY, "w"), "stderr": (os.O_WRONLY, "w")}
    for name, (flags, mode) in modes.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, flags), mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    codecs.register_error("itnio_voice", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="itnio_voice")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Return what is written instead of characters that the encoding of a stream does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    marks = error.object[error.start : error.end]
    return "".join(_ASCII.get(mark) or ascii(mark)[1:-1] for mark in marks), error.end


def flush_output() -> None:
    """Write what is left in the buffer of standard output."""
    with _named_output():
        sys.stdout.flush()


def end_output() -> None:
    """Write what is left in the buffers of the outputs, or drop it, because Python would try again at exit.

    From Python 3.14 on, a failure to write to standard error then would be the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):  # in tests, it may be no file
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
