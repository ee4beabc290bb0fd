"""The rows of an exported file, as Arrow tables."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BufferedReader
from itertools import count, islice
from typing import Any

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from ..._wire.scalars import brief
from ..._wire.scalars import number as exact_number
from ..arrow import ROWS
from .columns import Column, Columns

__all__ = ["READERS", "Choose", "Tables"]

Tables = Iterator[pa.Table]
Choose = Callable[[Iterable[str]], Columns]
"""Returns the columns to read of a file with these columns, or raises a ValueError."""

LONGEST_LINE = 16 * 1024 * 1024
"""The maximum length of a line of a text file, in bytes: no export has longer ones."""


def _parquet(file: BufferedReader, choose: Choose) -> Tables:
    with parquet.ParquetFile(file) as opened:
        columns = list(choose(opened.schema_arrow.names))
        yield opened.schema_arrow.empty_table().select(columns)
        for batch in opened.iter_batches(ROWS, columns=columns):
            yield _checked(pa.Table.from_batches([batch]))


def _arrow(file: BufferedReader, choose: Choose) -> Tables:
    with ipc.open_file(file) as opened:
        columns = list(choose(opened.schema.names))
        yield opened.schema.empty_table().select(columns)
        for index in range(opened.num_record_batches):
            yield _checked(pa.Table.from_batches([opened.get_batch(index)]).select(columns))


def _checked(table: pa.Table) -> pa.Table:
    """Return a table whose buffers are consistent: DuckDB would read past the end of those of a corrupt file."""
    table.validate(full=True)
    return table


def _csv(file: BufferedReader, choose: Choose) -> Tables:
    def read(**options: Any) -> csv.CSVStreamingReader:
        file.seek(0)
        return csv.open_csv(
            file,
            csv.ReadOptions(block_size=LONGEST_LINE),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(null_values=[""], strings_can_be_null=True, **options),
        )

    columns = choose(read().schema.names)
    before = 0
    for batch in read(include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string())):
        for start in range(0, batch.num_rows, ROWS):
            yield _table(batch.slice(start, ROWS).to_pydict(), columns, before + start)
        before += batch.num_rows


def _json_lines(file: BufferedReader, choose: Choose) -> Tables:
    before = 0
    rows = _objects(file)
    while chunk := list(islice(rows, ROWS)):
        columns = choose(chunk[0])
        for row in chunk:
            if not row.keys() >= columns.keys():
                choose(row)
        yield _table({name: [row.get(name) for row in chunk] for name in columns}, columns, before)
        before += len(chunk)


def _objects(file: BufferedReader) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON object of each line."""
    for number in count(1):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        try:
            row = json.loads(line, parse_float=exact_number) if len(line) < LONGEST_LINE else None
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            message = f"line {number:,} is not a JSON object of at most {LONGEST_LINE:,} bytes: {brief(line[:99])}"
            raise ValueError(message)  # noqa: TRY004 -- a wrong file like any other
        yield row


def _table(read: Mapping[str, Sequence[Any]], columns: Columns, before: int) -> pa.Table:
    """Return a table of values that were read from text; `before` is the number of rows before it."""
    return pa.table({name: _array(name, values, columns[name], before) for name, values in read.items()})


def _array(name: str, values: Sequence[Any], column: Column, before: int) -> "pa.Array[Any]":
    read: list[Any] = []
    for value in values:
        try:
            read.append(column.read(value))
        except ValueError as error:
            message = f"record {before + len(read) + 1:,} has {name} {brief(value)}: {error}"
            raise ValueError(message) from None
    return pa.array(read, column.arrow)


READERS: Mapping[str, Callable[[BufferedReader, Choose], Tables]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".csv": _csv,
    ".jsonl": _json_lines,
}
"""The reader of each format, by the ending of a file's name."""
