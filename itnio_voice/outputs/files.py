"""Records to a file that is complete or absent: CSV, JSON lines, and with the extra `arrow` Parquet and Arrow IPC.

Each window of records becomes a chunk of bytes in a journal, and once all are there the file is written out of them. So
an export can be stopped at any instant and go on, and memory holds a few windows, however many records there are.
"""

import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio
import anyio.to_thread
import attrs

from .._client.merging import merge
from .._client.owned_tasks import finish_in_thread
from .._client.stream import RecordStream
from .._files.atomic_file import check_place, new_file
from .._model.records import CallRecord
from .._model.windows import Window, gaps
from ._journal import Journal
from .text import csv_header, csv_lines, json_lines

if TYPE_CHECKING:
    import pyarrow as pa  # an extra

__all__ = ["FORMATS", "FileSpec", "Format", "Journal", "Writable", "digest_of", "export", "format_of"]

Chunks = Callable[[], Iterable[bytes]]
"""Chunks that can be read repeatedly."""


class Writable(Protocol):
    """A binary file that is open for writing, such as `sys.stdout.buffer`. It need not be able to seek."""

    def write(self, data: bytes, /) -> object:
        """Write bytes."""

    def flush(self) -> object:
        """Write what is buffered."""


@attrs.frozen
class FileSpec:
    """The content of a file: a kind of record, whether it has a column for the account, and whether text is inert.

    `money` is the Arrow type of amounts in a columnar file.
    """

    of: type[CallRecord]
    account: bool = False
    csv_safe: bool = False
    money: Any = None


@attrs.frozen
class Format:
    """The functions of a format: from records (and the name of their account) to a chunk, and from chunks to a file.

    `money` returns the type of amounts, given the chunks of an export that was begun, and the type that is chosen.
    """

    chunk: Callable[[Sequence[CallRecord], FileSpec, str | None], bytes]
    write: Callable[[io.BufferedWriter, FileSpec, Chunks], None]
    is_text: bool = False
    money: Callable[[Iterable[bytes], Any], Any] = lambda _, chosen: chosen


async def export(
    streams: Mapping[str, RecordStream[Any]],
    output: Path | Writable,
    journal: Journal,
    *,
    form: str | None = None,
    account: bool = False,
    csv_safe: bool = False,
    money: "pa.DataType | None" = None,
    window: Window | None = None,
    on_error: Literal["raise", "collect"] = "raise",
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Read streams, one for each account, and write them into a file.

    `form` is the format: parquet, arrow, csv or jsonl; without it, the ending of the output's name. A binary file that
    is open for writing needs it. Records in the journal are not read again: the streams are created with
    `resume=journal.checkpoint(name)`. The file appears at once when all has been read. Until then there is none, or the
    previous one. With `account`, its name is a column. `csv_safe` puts an apostrophe before text that a spreadsheet
    would run as a formula, and goes with CSV only. `money` is the decimal type of
    amounts in Parquet and Arrow, by default that of `arrow.schema`; a journal with records keeps the type in which they
    were read. `window` is the range that the file must cover. While a stream has
    not read it all, because it ends in the server's future, the file is written but the journal is not finished: a
    later export reads the rest and writes the file again, with all records. `on_progress` is called for each window.

    With `on_error="collect"`, a stream that fails does not stop the others. The file then holds the streams that have
    been read to their end, if any, and the journal is not finished; the failures are raised as an `ExceptionGroup`.

    Raises:
        ValueError: for an unknown format, `csv_safe` with another one than CSV, or `money` with a format of text, that
            is no decimal type, or that is another one than the journal's records have.
        OSError: if a file cannot be written.
        ItnioError: as the streams do, and for a value that does not fit into its column.
    """
    writer = format_of(output, form, csv_safe=csv_safe, money=money)
    if isinstance(output, Path):
        await anyio.to_thread.run_sync(check_place, output)
    of = next(iter(streams.values())).of
    kind = FileSpec(of, account, csv_safe, await anyio.to_thread.run_sync(writer.money, journal.chunks(), money))
    failed: ExceptionGroup[Exception] | None = None
    async with AsyncExitStack() as stack:
        ahead = {name: await stack.enter_async_context(stream.prefetch()) for name, stream in streams.items()}
        windows = {name: stream.windows() for name, stream in ahead.items()}
        merged = await stack.enter_async_context(merge(windows, buffer=1, on_error=on_error))
        try:
            async for name, batch in merged:
                on_progress()
                chunk = await anyio.to_thread.run_sync(writer.chunk, batch.records, kind, name if account else None)
                await finish_in_thread(journal.add, name, chunk, batch.checkpoint, len(batch.records))
        except ExceptionGroup as group:
            failed = group
    if failed and len(merged.failures) == len(streams):
        raise failed
    is_complete = not failed and (
        window is None
        or not any(gaps(window, (*stream.checkpoint.done, *stream.skipped)) for stream in streams.values())
    )
    chunks = partial(journal.chunks, without=merged.failures)
    await finish_in_thread(_write, writer, output, kind, chunks, journal.finish if is_complete else None)
    if failed:
        raise failed


def format_of(
    output: Path | Writable, form: str | None = None, *, csv_safe: bool = False, money: object = None
) -> Format:
    """Return a format by its name, or else by the ending of a file's name.

    Raises:
        ValueError: for an unknown format, `csv_safe` with another one than CSV, or `money` with a format of text.
        MissingExtraError: for a columnar format without the extra `arrow`.
    """
    name, problem = form, f"the format must be one of {', '.join(FORMATS)}, not {form!r}"
    if form is None and isinstance(output, Path):
        name = output.suffix.lower().removeprefix(".")
        problem = (
            f"{output} must end with one of {', '.join(f'.{each}' for each in FORMATS)}, or the format must be given"
        )
    if name is None or name not in FORMATS:
        raise ValueError(problem)
    if csv_safe and name != "csv":
        message = f"text that is safe in spreadsheets is an option of the format csv, not of {name}"
        raise ValueError(message)
    found = FORMATS[name]()
    if money is not None and found.is_text:
        message = f"money is an option of the formats parquet and arrow, not of {name}, which has all digits"
        raise ValueError(message)
    return found


def digest_of(output: Path) -> str | None:
    """Return the digest of a file's content; None if there is no such file.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        with output.open("rb") as file:
            return _digest(file)
    except FileNotFoundError:
        return None


def _write(
    form: Format, output: Path | Writable, kind: FileSpec, chunks: Chunks, finish: Callable[[str], None] | None
) -> None:
    with new_file(output) if isinstance(output, Path) else _copied_to(output) as file:
        form.write(file, kind, chunks)
        file.flush()
        with _reread(file) as written:
            digest = _digest(written)
    if finish:
        finish(digest)


@contextmanager
def _copied_to(output: Writable) -> Generator[io.BufferedWriter]:
    """Open a temporary file that is copied to an output when the block ends: not all writers can write to a pipe."""
    with tempfile.TemporaryFile("wb") as file:
        yield file
        with _reread(file) as written:
            shutil.copyfileobj(written, output)
        output.flush()


def _reread(file: io.BufferedWriter) -> io.BufferedReader:
    """Open a file that is being written, at its first byte."""
    file.seek(0)
    return open(file.fileno(), "rb", closefd=False)


def _digest(file: io.BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


# Text


def _json_chunk(records: Sequence[CallRecord], _: FileSpec, account: str | None) -> bytes:
    return json_lines(records, account=account)


def _csv_chunk(records: Sequence[CallRecord], kind: FileSpec, account: str | None) -> bytes:
    return csv_lines(records, account=account, safe=kind.csv_safe)


def _write_json(file: io.BufferedWriter, _: FileSpec, chunks: Chunks) -> None:
    file.writelines(chunks())


def _write_csv(file: io.BufferedWriter, kind: FileSpec, chunks: Chunks) -> None:
    file.write(csv_header(kind.of, account=kind.account))
    file.writelines(chunks())


# Columns


def _columnar(name: str) -> Format:
    from ._columnar import WRITERS, column_chunk, money_of  # noqa: PLC0415 -- as above
    from .arrow import schema  # noqa: PLC0415 -- the formats of text do not need the extra `arrow`

    write = WRITERS[name]
    return Format(
        lambda records, kind, account: column_chunk(records, kind.of, account, kind.money),
        lambda file, kind, chunks: write(file, schema(kind.of, account=kind.account, money=kind.money), chunks),
        money=money_of,
    )


FORMATS: Mapping[str, Callable[[], Format]] = {
    "parquet": partial(_columnar, "parquet"),
    "csv": lambda: Format(_csv_chunk, _write_csv, is_text=True),
    "jsonl": lambda: Format(_json_chunk, _write_json, is_text=True),
    "arrow": partial(_columnar, "arrow"),
}
"""The formats by their names, which are also the endings of files. Functions: those of columns need an extra."""
