"""Records to Parquet and Arrow IPC files, by way of chunks of bytes. Extra `arrow`."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .._extras import needs
from .._model.records import CallRecord
from .arrow import MONEY, ROWS, money_in, record_batch

with needs("arrow"):
    import pyarrow as pa
    from pyarrow import ipc, parquet

__all__ = ["WRITERS", "column_chunk", "money_of"]

Chunks = Callable[[], Iterable[bytes]]
"""Chunks that can be read repeatedly."""


def column_chunk(records: Sequence[CallRecord], of: type[CallRecord], account: str | None, money: pa.DataType) -> bytes:
    """Return records as an Arrow IPC stream."""
    batch = record_batch(records, of, account=account, money=money)
    stream = io.BytesIO()
    with ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    return stream.getvalue()


def money_of(chunks: Iterable[bytes], chosen: pa.DataType | None) -> pa.DataType:
    """Return the type of amounts for a file: that of the chunks which are there already, else the chosen one.

    Raises:
        ValueError: if another one is chosen than the chunks have, for a file has one type.
    """
    before = next((money_in(batch.schema) for batch in _batches(chunks)), None)
    if before and chosen not in (None, before):
        message = (
            f"money cannot be {chosen}: this export was begun with {before}. Leave money out to continue it, "
            "or delete its state to start afresh"
        )
        raise ValueError(message)
    return before or chosen or MONEY


def _batches(chunks: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
    # A buffer, because pyarrow would open text as a path.
    return (batch for chunk in chunks for batch in ipc.open_stream(pa.BufferReader(chunk)))


def _write_parquet(file: io.BufferedWriter, columns: pa.Schema, chunks: Chunks) -> None:
    """Write a Parquet file."""
    with parquet.ParquetWriter(file, columns, compression="zstd") as writer:
        for table in _tables(_batches(chunks()), columns):
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


def _write_arrow(file: io.BufferedWriter, columns: pa.Schema, chunks: Chunks) -> None:
    """Write an IPC file.

    A column can have only one dictionary, complete before the first row, because not all readers support dictionaries
    that grow. So a first reading collects the texts, and a second one writes the rows.
    """
    texts: dict[str, dict[str, int]] = {field.name: {} for field in columns if pa.types.is_dictionary(field.type)}
    for batch in _batches(chunks()):
        for name, places in texts.items():
            for text in _texts(batch[name]):
                places.setdefault(text, len(places))
    with ipc.new_file(file, columns) as writer:
        dictionaries = {name: pa.array(list(places), pa.string()) for name, places in texts.items()}
        for batch in _batches(chunks()):
            arrays = [
                _as_places(batch[name], texts[name], dictionaries[name]) if name in texts else batch[name]
                for name in columns.names
            ]
            writer.write_batch(pa.record_batch(arrays, schema=columns))


WRITERS: Mapping[str, Callable[[io.BufferedWriter, pa.Schema, Chunks], None]] = {
    "parquet": _write_parquet,
    "arrow": _write_arrow,
}
"""How each format is written, by its name."""


def _as_places(column: Any, places: Mapping[str, int], dictionary: "pa.Array[Any]") -> "pa.Array[Any]":
    """Return a column with another dictionary, in which its texts have the given positions."""
    moved = pa.array([places[text] for text in _texts(column)], pa.int32())
    return pa.DictionaryArray.from_arrays(moved.take(column.indices), dictionary)


def _texts(column: Any) -> list[str]:
    """Return the dictionary of a column."""
    return list(column.dictionary.to_pylist())
