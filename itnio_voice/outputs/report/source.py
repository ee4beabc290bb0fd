"""The call records of a file, as the DuckDB table or view `calls`.

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
from .columns import COLUMNS, AdvisedError, check_types
from .exported import READERS, Tables
from .warehouse import attach, quoted

__all__ = ["opened"]

_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",  # a file that does not fit into memory is an error, and leaves nothing behind
}
_SQL_COLUMNS = ", ".join(f"{name} {column.sql}" for name, column in COLUMNS.items())
_DUCKDB, _MAGIC = b"DUCK", slice(8, 12)
"""The magic bytes of a DuckDB database, and their position."""
_CHECKPOINT = 500_000
"""Rows after which the rows in memory are compressed, to about a tenth."""
_LONGEST_REASON = 400
_HINT = "; make a file with `itnio-voice export`, or a DuckDB database with `itnio-voice sync`"


@contextmanager
def opened(source: Path, *, timezone: str, dataset: str | None = None) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a file read-only, its records as `calls`, days and hours in a time zone.

    Raises:
        ValueError: if it does not hold call records, or the time zone is unknown.
        OSError: if it cannot be opened.
    """
    with duckdb.connect(config=_CONFIGURATION) as connection:
        try:
            connection.execute(f"SET TimeZone = {quoted(timezone)}")
        except duckdb.Error as error:
            message = f"{timezone!r} is not a time zone of DuckDB: write one such as UTC or Europe/Berlin"
            raise ValueError(message) from error
        with _errors_of(source):
            _fill(connection, source, dataset)
            yield connection


def _fill(connection: duckdb.DuckDBPyConnection, source: Path, dataset: str | None) -> None:
    """Make `calls` of a file's rows."""
    connection.execute(f"ATTACH ':memory:' AS report (COMPRESS); USE report; CREATE TABLE read ({_SQL_COLUMNS})")
    _check_file(source)
    with source.open("rb") as file:
        if tables := READERS.get(source.suffix.lower()):
            _insert(connection, tables(file))
            rows = "SELECT * FROM read"
        elif file.read(_MAGIC.stop)[_MAGIC] == _DUCKDB:
            # An absolute path is neither a URL nor a name that DuckDB has a meaning for.
            rows = f"SELECT * FROM read UNION ALL BY NAME {attach(connection, source.absolute(), dataset)}"
        else:
            message = f"it is neither a DuckDB database nor named {', '.join(READERS)}"
            raise ValueError(message)
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    values = ", ".join(f"{name}::{column.sql} AS {name}" for name, column in COLUMNS.items())
    connection.execute(f"CREATE VIEW calls AS SELECT {values} FROM ({rows})")


def _check_file(source: Path) -> None:
    """Raise an OSError unless the source is a regular file: opening a FIFO, for example, would block."""
    mode = source.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(source))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(source))


def _insert(connection: duckdb.DuckDBPyConnection, tables: Tables) -> None:
    """Insert Arrow tables into `read`, and check the types of the first one's columns."""
    unpacked = 0
    for number, table in enumerate(tables):
        connection.register("rows", table)
        if not number:
            check_types({row[0]: row[1] for row in connection.execute("DESCRIBE rows").fetchall()})
        connection.execute("INSERT INTO read BY NAME FROM rows")
        connection.unregister("rows")
        unpacked += table.num_rows
        if unpacked >= _CHECKPOINT:
            connection.execute("CHECKPOINT report")
            unpacked = 0


@contextmanager
def _errors_of(source: Path) -> Generator[None]:
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
