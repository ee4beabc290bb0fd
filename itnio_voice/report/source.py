"""The records of a Parquet or DuckDB file, as one DuckDB view `calls` that has every column."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import duckdb

__all__ = ["opened"]

_TABLES = ("voice_records", "sip_records")

_COLUMNS = {
    **dict.fromkeys(["code", "currency", "feedback_value", "termination_code", "termination_reason"], "VARCHAR"),
    **dict.fromkeys(["submit_time", "call_time", "ringing_time", "answer_time"], "TIMESTAMPTZ"),
    **dict.fromkeys(["call_duration", "charged_duration"], "BIGINT"),
    "cost": "DECIMAL(38, 18)",
}
"""What the queries use: a file may lack what its kind of record does not have."""


@contextmanager
def opened(source: Path, *, timezone: str) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a file read-only, its records as the view `calls`, days and hours in a time zone.

    Raises:
        ValueError: if it holds no call records.
        OSError: if it is not there.
    """
    if not source.is_file():
        raise FileNotFoundError(source)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute(f"SET TimeZone = {_quoted(timezone)}")
        missing = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
        connection.execute(f"CREATE TABLE nothing ({missing})")
        try:
            tables = _parquet(source) if source.suffix.lower() == ".parquet" else _attached(connection, source)
            united = " UNION ALL BY NAME ".join(f"SELECT * FROM {table}" for table in ("nothing", *tables))
            columns = ", ".join(f"{name}::{kind} AS {name}" for name, kind in _COLUMNS.items())
            connection.execute(f"CREATE VIEW calls AS SELECT {columns} FROM ({united})")
            yield connection
        except duckdb.Error as error:
            message = f"{source} is no Parquet or DuckDB file of call records: {str(error).partition(chr(10))[0]}"
            raise ValueError(message) from error


def _parquet(source: Path) -> list[str]:
    return [f"read_parquet({_quoted(str(source))})"]


def _attached(connection: duckdb.DuckDBPyConnection, source: Path) -> list[str]:
    """Attach a database, and return its tables of call records."""
    connection.execute(f"ATTACH {_quoted(str(source))} AS warehouse (READ_ONLY)")
    query = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'warehouse' ORDER BY ALL"
    found = [
        f'warehouse."{schema.replace(chr(34), chr(34) * 2)}"."{table}"'
        for schema, table in connection.execute(query).fetchall()
        if table in _TABLES and not schema.endswith("_staging")
    ]
    if not found:
        message = f"{source} has no table {' or '.join(_TABLES)}: fill it with `itnio-voice sync`"
        raise ValueError(message)
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
