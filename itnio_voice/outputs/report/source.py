"""The call records of a file, as the DuckDB view `calls`, and the range that was read of them."""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from .._stored.columns import Columns, check_names
from .._stored.database import Dataset
from .._stored.source import connected, contents, errors_of, insert
from .._warehouse.coverage import Coverage
from .columns import COLUMNS, PHONE
from .days import ReadRange

__all__ = ["PHONE_CALLS", "VOICE_MESSAGES", "Ranges", "opened"]

VOICE_MESSAGES, PHONE_CALLS = "Voice messages", "Phone calls"
_KINDS = {"voice_records": VOICE_MESSAGES, "sip_records": PHONE_CALLS}
_SQL_COLUMNS = ", ".join(f"{name} {column.sql}" for name, column in COLUMNS.items())

Ranges = dict[str, ReadRange]
"""The range that was read, by kind. A file of `export` does not say it."""


@contextmanager
def opened(
    source: Path, *, timezone: str, dataset: str | None = None
) -> Generator[tuple[duckdb.DuckDBPyConnection, Ranges]]:
    """Open a file read-only, its records as `calls`, days and hours in a time zone.

    Raises:
        ValueError: if it does not hold call records, or the time zone is unknown.
        OSError: if it cannot be opened.
    """
    with connected(timezone=timezone) as connection, errors_of(source):
        yield connection, _fill(connection, source, dataset)


def _fill(connection: duckdb.DuckDBPyConnection, source: Path, dataset: str | None) -> Ranges:
    """Make `calls` of a file's rows, and return what has been read of each kind."""
    names = set[str]()
    ranges: Ranges = {}

    def choose(found: Iterable[str]) -> Columns:
        columns = check_names(found, COLUMNS)
        names.update(columns)
        return columns

    connection.execute(f"CREATE TABLE read ({_SQL_COLUMNS})")
    rows = "SELECT * FROM read"
    kind = VOICE_MESSAGES
    with contents(connection, source, choose, dataset) as found:
        if isinstance(found, Dataset):
            selects = [
                f"SELECT *, '{_KINDS[table]}' AS kind FROM ({found.select(table, check_names(types, COLUMNS))})"
                for table, types in found.tables.items()
            ]
            rows = " UNION ALL BY NAME ".join([rows, *selects])
            done = {table: _common(found.coverage.get(table, {}).values()) for table in found.tables}
            ranges = {_KINDS[table]: span for table, span in done.items() if span}
        else:
            insert(connection, found, "read")
            kind = PHONE_CALLS if PHONE in names else VOICE_MESSAGES
            rows = f"SELECT *, '{kind}' AS kind FROM read"
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    values = ", ".join(f"{name}::{column.sql} AS {name}" for name, column in COLUMNS.items())
    connection.execute(f"CREATE VIEW calls AS SELECT kind, {values} FROM ({rows})")
    return ranges


def _common(states: Iterable[Mapping[str, str]]) -> ReadRange | None:
    """Return the range that has been read of all accounts; None if it is not known of one."""
    try:
        read = [Coverage.from_state(state, state["key"]) if state else None for state in states]
    except (LookupError, TypeError) as error:
        message = f"the state of its last sync is damaged: {error!r}"
        raise ValueError(message) from error
    known = [coverage for coverage in read if coverage]
    if not known or len(known) < len(read):
        return None
    starts = [coverage.since for coverage in known]
    return ReadRange(max(starts), min(coverage.until for coverage in known), min(starts))
