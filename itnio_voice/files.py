"""Records into a file that is whole or not there: Parquet, Arrow, CSV, JSON lines. Behind the extra `arrow`.

Each window of records becomes a chunk of bytes in a journal, and once all are there the file is written out of them. So
an export can be stopped at any instant and go on, and memory holds a few windows, however many records there are.
"""

import errno
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread
import attrs
import pyarrow as pa
from pyarrow import ipc, parquet

from .arrow import ROWS, record_batch, schema
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

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return schema(self.of, account=self.account)


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
    on_error: Literal["raise", "collect"] = "raise",
    told: Callable[[], None] = lambda: None,
) -> None:
    """Read streams, one for each account, and write them into a file in the format of its name's ending.

    What the journal has is not read again: the streams are made with `resume=journal.checkpoint(name)`. The file
    appears once all is read, at once; until then there is none, or the one before. With `account`, its name is a
    column. `window` is the range that the file must cover. While a stream has not read it all, because it ends in the
    server's future, the file is written but the journal is not finished: a later export reads the rest and writes the
    file again, with all records. `told` is called for each window.

    With `on_error="collect"`, a stream that fails does not stop the others. The file then holds the streams that have
    been read to their end, if any, and the journal is not finished; the failures are raised as an `ExceptionGroup`.

    Raises:
        ValueError: for an ending that is no format's.
        OSError: if a file cannot be written.
        ItnioError: as the streams do, and for a value that has no room in its column.
    """
    form = format_of(output)
    await anyio.to_thread.run_sync(_check_place, output)
    kind = Kind(next(iter(streams.values())).of, account)
    failed: ExceptionGroup[Exception] | None = None
    windows = {name: stream.windows() for name, stream in streams.items()}
    async with merge(windows, buffer=1, on_error=on_error) as merged:
        try:
            async for name, batch in merged:
                told()
                chunk = await anyio.to_thread.run_sync(form.chunk, batch.records, kind.of, name if account else None)
                await _finish_in_thread(journal.add, name, chunk, batch.checkpoint)
        except ExceptionGroup as group:
            failed = group
    if failed and len(merged.failures) == len(streams):
        raise failed
    is_complete = not failed and (
        window is None
        or not any(gaps(window, (*stream.checkpoint.done, *stream.skipped)) for stream in streams.values())
    )
    chunks = partial(journal.chunks, without=merged.failures)
    await _finish_in_thread(_write, form, output, kind, chunks, journal.finish if is_complete else None)
    if failed:
        raise failed


def format_of(output: Path) -> Format:
    """Return the format of a file's name.

    Raises:
        ValueError: for an ending that is none's.
    """
    try:
        return FORMATS[output.suffix.lower()]
    except KeyError:
        message = f"{output} must end with one of {', '.join(FORMATS)}, which tells the format"
        raise ValueError(message) from None


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


def _write(form: Format, output: Path, kind: Kind, chunks: Chunks, finish: Callable[[], None] | None) -> None:
    with new_file(output) as file:
        form.write(file, kind, chunks)
    if finish:
        finish()


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


def _column_chunk(records: Sequence[CallRecord], of: type[CallRecord], account: str | None) -> bytes:
    batch = record_batch(records, of, account=account)
    stream = io.BytesIO()
    with ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    return stream.getvalue()


def _batches(chunks: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
    return (batch for chunk in chunks for batch in ipc.open_stream(chunk))


def _write_parquet(file: io.BufferedWriter, kind: Kind, chunks: Chunks) -> None:
    with parquet.ParquetWriter(file, kind.schema, compression="zstd") as writer:
        for table in _tables(_batches(chunks()), kind.schema):
            writer.write_table(table)


def _tables(batches: Iterable[pa.RecordBatch], columns: pa.Schema) -> Iterator[pa.Table]:
    """Join batches into tables that are large enough for a group of rows."""
    joined: list[pa.RecordBatch] = []
    for batch in batches:
        joined.append(batch)
        if sum(each.num_rows for each in joined) >= ROWS:
            yield pa.Table.from_batches(joined, columns)
            joined = []
    yield pa.Table.from_batches(joined, columns)


def _write_arrow(file: io.BufferedWriter, kind: Kind, chunks: Chunks) -> None:
    """Write an IPC file.

    A column may have one dictionary only, known before the first row (not all readers know those that grow). So the
    texts are gathered in a first reading, and the rows written in a second.
    """
    texts: dict[str, dict[str, int]] = {field.name: {} for field in kind.schema if pa.types.is_dictionary(field.type)}
    for batch in _batches(chunks()):
        for name, places in texts.items():
            for text in _texts(batch[name]):
                places.setdefault(text, len(places))
    with ipc.new_file(file, kind.schema) as writer:
        dictionaries = {name: pa.array(list(places), pa.string()) for name, places in texts.items()}
        for batch in _batches(chunks()):
            columns = [
                _as_places(batch[name], texts[name], dictionaries[name]) if name in texts else batch[name]
                for name in kind.schema.names
            ]
            writer.write_batch(pa.record_batch(columns, schema=kind.schema))


def _as_places(column: Any, places: Mapping[str, int], dictionary: "pa.Array[Any]") -> "pa.Array[Any]":
    """Return a column with another dictionary, one in which its texts have these places."""
    moved = pa.array([places[text] for text in _texts(column)], pa.int32())
    return pa.DictionaryArray.from_arrays(moved.take(column.indices), dictionary)


def _texts(column: Any) -> list[str]:
    """Return the dictionary of a column."""
    return list(column.dictionary.to_pylist())


FORMATS: Mapping[str, Format] = {
    ".parquet": Format(_column_chunk, _write_parquet),
    ".csv": Format(_csv_chunk, _write_csv),
    ".jsonl": Format(_json_chunk, _write_json),
    ".arrow": Format(_column_chunk, _write_arrow),
}
