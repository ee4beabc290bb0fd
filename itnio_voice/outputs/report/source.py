"""The call records of a file, as the DuckDB view `calls`."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb

from .._stored.columns import check_names
from .._stored.database import Dataset
from .._stored.source import connected, contents, errors_of, insert
from .columns import COLUMNS

__all__ = ["opened"]

_SQL_COLUMNS = ", ".join(f"{name} {column.sql}" for name, column in COLUMNS.items())


@contextmanager
def opened(source: Path, *, timezone: str, dataset: str | None = None) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a file read-only, its records as `calls`, days and hours in a time zone.

    Raises:
        ValueError: if it does not hold call records, or the time zone is unknown.
        OSError: if it cannot be opened.
    """
    with connected(timezone=timezone) as connection, errors_of(source):
        _fill(connection, source, dataset)
        yield connection


def _fill(connection: duckdb.DuckDBPyConnection, source: Path, dataset: str | None) -> None:
    """Make `calls` of a file's rows."""
    connection.execute(f"CREATE TABLE read ({_SQL_COLUMNS})")
    rows = "SELECT * FROM read"
    with contents(connection, source, partial(check_names, columns=COLUMNS), dataset) as found:
        if isinstance(found, Dataset):
            selects = [found.select(table, check_names(types, COLUMNS)) for table, types in found.tables.items()]
            rows = " UNION ALL BY NAME ".join([rows, *selects])
        else:
            insert(connection, found, "read")
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    values = ", ".join(f"{name}::{column.sql} AS {name}" for name, column in COLUMNS.items())
    connection.execute(f"CREATE VIEW calls AS SELECT {values} FROM ({rows})")
