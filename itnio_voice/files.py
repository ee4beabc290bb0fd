"""Records into a file that is whole or not there: Parquet, Arrow (both need the extra `arrow`), CSV, JSON lines.

Each window of records becomes a chunk of bytes in a journal, and once all are there the file is written out of them. So
an export can be stopped at any instant and go on, and memory holds a few windows, however many records there are.
"""

import errno
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import attrs

from .atomic import new_file
from .journal import Journal
from .lines import csv_header, csv_lines, json_lines
from .merge import merge
from .models import CallRecord
from .stream import RecordStream
from .windows import Window, gaps

__all__ = ["FORMATS", "Format", "Kind", "export", "format_of"]

Chunks = Callable[[], Iterable[bytes]]
"""Chunks that can be read repeatedly."""


@attrs.frozen
class Kind:
    """What a file holds: a kind of record, and whether each is told with the account that it belongs to."""

    of: type[CallRecord]
    account: bool


@attrs.frozen
class Format:
    """How records, with their account if it is to be told, become a chunk, and how a file is written out of chunks."""

    chunk: Callable[[Sequence[CallRecord], type[CallRecord], str | None], bytes]
    write: Callable[[io.BufferedWriter, Kind, Chunks], None]


async def export(
    streams: Mapping[str, RecordStream[Any]],
    output: Path,
    journal: Journal,
    *,
    account: bool = False,
    window: Window | None = None,
    told: Callable[[], None] = lambda: None,
) -> None:
    """Read streams, one for each account, and write them into a file in the format of its name's ending.

    What the journal has is not read again: the streams are made with `resume=journal.checkpoint(name)`. The file
    appears once all is read, at once; until then there is none, or the one before. With `account`, its name is a
    column. `window` is the range that the file must cover. While a stream has not read it all, because it ends in the
    server's future, the file is written but the journal is not finished: a later export reads the rest and writes the
    file again, with all records. `told` is called for each window.

    Raises:
        ValueError: for an ending that is no format's.
        OSError: if a file cannot be written.
        ItnioError: as the streams do, and for a value that has no room in its column.
    """
    form = format_of(output)
    await anyio.to_thread.run_sync(_check_place, output)
    kind = Kind(next(iter(streams.values())).of, account)
    async with merge({name: stream.windows() for name, stream in streams.items()}, buffer=1) as merged:
        async for name, batch in merged:
            told()
            chunk = await anyio.to_thread.run_sync(form.chunk, batch.records, kind.of, name if account else None)
            await _finish_in_thread(journal.add, name, chunk, batch.checkpoint)
    is_complete = window is None or not any(
        gaps(window, (*stream.checkpoint.done, *stream.skipped)) for stream in streams.values()
    )
    await _finish_in_thread(_write, form, output, kind, journal, is_complete)


def format_of(output: Path) -> Format:
    """Return the format of a file's name.

    Raises:
        ValueError: for an ending that is none's.
        MissingExtraError: for a columnar format without the extra `arrow`.
    """
    try:
        form = FORMATS[output.suffix.lower()]
    except KeyError:
        message = f"{output} must end with one of {', '.join(FORMATS)}, which tells the format"
        raise ValueError(message) from None
    return form()


def _check_place(output: Path) -> None:
    """Find out whether a file can be written, before anything is asked for it."""
    if output.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
    if not output.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(output.parent))
    with tempfile.TemporaryFile(dir=output.parent):
        pass


async def _finish_in_thread(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a thread, and wait for its end even if this task is cancelled.

    anyio's `run_sync` waits if a cancel scope is cancelled, but not if asyncio cancels the task. The thread would then
    write to a journal that the caller has closed, or into the file that another export writes.
    """
    errors: list[Exception] = []

    async def call() -> None:
        try:
            await anyio.to_thread.run_sync(function, *arguments)
        except Exception as error:  # noqa: BLE001 -- raised below, without the group's own around it
            errors.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
    if errors:
        raise errors[0]


def _write(form: Format, output: Path, kind: Kind, journal: Journal, is_complete: bool) -> None:  # noqa: FBT001 -- called in a thread
    with new_file(output) as file:
        form.write(file, kind, journal.chunks)
    if is_complete:
        journal.finish()


# Text


def _json_chunk(records: Sequence[CallRecord], _: type[CallRecord], account: str | None) -> bytes:
    return json_lines(records, account=account)


def _csv_chunk(records: Sequence[CallRecord], _: type[CallRecord], account: str | None) -> bytes:
    return csv_lines(records, account=account)


def _write_json(file: io.BufferedWriter, _: Kind, chunks: Chunks) -> None:
    file.writelines(chunks())


def _write_csv(file: io.BufferedWriter, kind: Kind, chunks: Chunks) -> None:
    file.write(csv_header(kind.of, account=kind.account))
    file.writelines(chunks())


# Columns


def _parquet() -> Format:
    from .arrow import schema  # noqa: PLC0415 -- the formats of text do not need the extra `arrow`
    from .columnar import column_chunk, write_parquet  # noqa: PLC0415 -- as above

    return Format(
        column_chunk, lambda file, kind, chunks: write_parquet(file, schema(kind.of, account=kind.account), chunks)
    )


def _arrow() -> Format:
    from .arrow import schema  # noqa: PLC0415 -- as above
    from .columnar import column_chunk, write_arrow  # noqa: PLC0415 -- as above

    return Format(
        column_chunk, lambda file, kind, chunks: write_arrow(file, schema(kind.of, account=kind.account), chunks)
    )


FORMATS: Mapping[str, Callable[[], Format]] = {
    ".parquet": _parquet,
    ".csv": lambda: Format(_csv_chunk, _write_csv),
    ".jsonl": lambda: Format(_json_chunk, _write_json),
    ".arrow": _arrow,
}
"""The format of each ending; a function, since those of columns need an extra."""
