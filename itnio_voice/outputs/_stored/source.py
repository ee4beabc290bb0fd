"""The contents of a file, in a DuckDB connection of its own: an export's rows, or a database's tables.

A file is opened by its exact name: no pattern, partition or URL in it is interpreted, and DuckDB loads no extension.
"""

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from ..._model.printable import printable
from .columns import AdvisedError, check_types
from .database import Dataset, attach, quoted
from .exported import READERS, Choose, Tables

__all__ = ["connected", "contents", "errors_of", "insert"]

_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",  # a file that does not fit into memory is an error, and leaves nothing behind
}
_DUCKDB, _MAGIC = b"DUCK", slice(8, 12)
"""The magic bytes of a DuckDB database, and their position."""
_CHECKPOINT = 500_000
"""Rows after which the rows in memory are compressed, to about a tenth."""
_LONGEST_REASON = 400
_HINT = "; make a file with `itnio-voice export`, or a DuckDB database with `itnio-voice sync`"


@contextmanager
def connected(*, timezone: str) -> Generator[duckdb.DuckDBPyConnection]:
    """Open an empty database in memory, with days and hours in a time zone.

    Raises:
        ValueError: if the time zone is unknown.
    """
    with duckdb.connect(config=_CONFIGURATION) as connection:
        try:
            connection.execute(f"SET TimeZone = {quoted(timezone)}")
        except duckdb.Error as error:
            message = f"{timezone!r} is not a time zone of DuckDB: write one such as UTC or Europe/Berlin"
            raise ValueError(message) from error
        connection.execute("ATTACH ':memory:' AS local (COMPRESS); USE local")
        yield connection


@contextmanager
def contents(
    connection: duckdb.DuckDBPyConnection, source: Path, choose: Choose, dataset: str | None
) -> Generator[Tables | Dataset]:
    """Open a file read-only: an export as its rows, a database as the dataset that is attached to a connection.

    Raises:
        ValueError: if it is neither, or does not hold call records.
        OSError: if it cannot be opened.
    """
    _check_file(source)
    with source.open("rb") as file:
        if read := READERS.get(source.suffix.lower()):
            yield _typed(connection, read(file, choose), choose)
        elif file.read(_MAGIC.stop)[_MAGIC] == _DUCKDB:
            # An absolute path is neither a URL nor a name that DuckDB has a meaning for.
            yield attach(connection, source.absolute(), dataset)
        else:
            message = f"it is neither a DuckDB database nor named {', '.join(READERS)}"
            raise ValueError(message)


def _check_file(source: Path) -> None:
    """Raise an OSError unless the source is a regular file: opening a FIFO, for example, would block."""
    mode = source.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(source))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(source))


def _typed(connection: duckdb.DuckDBPyConnection, tables: Tables, choose: Choose) -> Tables:
    """Check the types of the first table's columns."""
    for number, table in enumerate(tables):
        if not number:
            connection.register("rows", table)
            types = {row[0]: row[1] for row in connection.execute("DESCRIBE rows").fetchall()}
            connection.unregister("rows")
            check_types(types, choose(types))
        yield table


def insert(connection: duckdb.DuckDBPyConnection, tables: Tables, into: str) -> None:
    """Insert Arrow tables into a table."""
    unpacked = 0
    for table in tables:
        connection.register("rows", table)
        connection.execute(f"INSERT INTO {into} BY NAME FROM rows")
        connection.unregister("rows")
        unpacked += table.num_rows
        if unpacked >= _CHECKPOINT:
            connection.execute("CHECKPOINT local")
            unpacked = 0


@contextmanager
def errors_of(source: Path) -> Generator[None]:
    """Raise the errors of DuckDB and Arrow as a ValueError or an OSError that names the file."""
    try:
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise OSError(errno.ENOMEM, "not enough memory for the records of this file", str(source)) from error
    except (duckdb.Error, pa.ArrowException, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = printable(str(error).strip().partition("\n")[0].rstrip("."))
        message = f"{printable(str(source))} cannot be read: {reason:.{_LONGEST_REASON}}"
        message += "" if isinstance(error, AdvisedError) else _HINT
        raise ValueError(message) from error
