"""The stored records, in DuckDB: counted, listed by time and looked up by id."""

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..._model.records import CallRecord
from ..._model.windows import Window, floor, gaps
from .._stored.columns import AdvisedError, check_names
from .._stored.database import Dataset
from .._stored.exported import Tables
from .._stored.source import connected, contents, errors_of, insert
from .._warehouse.coverage import Coverage
from .._warehouse.rows import TABLES
from .rows import Row, exported_columns, kind_of, plain_rows, sql_columns

__all__ = ["READINGS", "StoredRecords", "stored_records"]

READINGS = (
    "submit_time >= $start AND submit_time < $end",
    "submit_time > $start AND submit_time <= $end",
)
"""The rows of a window, by the end that the API includes. It is not known which one that is."""
_DAY = timedelta(days=1)


@attrs.frozen(kw_only=True)
class StoredRecords:
    """The records of a file or a database.

    `tables` are the kinds that it can have. `dataset` is None for a file.
    """

    source: Path
    connection: duckdb.DuckDBPyConnection
    tables: Mapping[str, type[CallRecord]]
    dataset: Dataset | None
    is_csv: bool

    def accounts(self) -> dict[str, int]:
        """Return the number of rows of each account."""
        rows = " UNION ALL ".join(f"SELECT account FROM {table}" for table in self.tables)
        found = self._query(f"SELECT account, count(*) AS rows FROM ({rows}) GROUP BY 1 ORDER BY 1")
        return {row["account"]: row["rows"] for row in found}

    def span(self, table: str, account: str, key: str) -> tuple[datetime, datetime] | None:
        """Return the range to compare: what `sync` has read, otherwise from the first submit time to the last.

        An account without rows has that of all accounts. `key` is the digest of the account's API key.
        """
        done = self.dataset.coverage.get(table, {}).get(account) if self.dataset else None
        if covered := Coverage.from_state(done or None, key):
            return covered.since, covered.until
        times = " UNION ALL ".join(f"SELECT account, submit_time FROM {each}" for each in self.tables)
        for which in ("account = $account", "$account IS NOT NULL"):
            query = f"SELECT min(submit_time) AS first, max(submit_time) AS last FROM ({times}) WHERE {which}"
            (found,) = self._query(query, account=account)
            if found["first"]:
                return floor(found["first"]), floor(found["last"])
        return None

    def days(self, table: str, account: str, window: Window) -> list[Window]:
        """Return the days of a window, in UTC. Neighbouring days without rows are one window."""
        query = f"SELECT DISTINCT date_trunc('day', submit_time) AS day FROM {table} WHERE account = $account"
        found = self._query(f"{query} AND {READINGS[0]}", account=account, start=window.start, end=window.end)
        starts = [row["day"].astimezone(UTC) for row in found]
        days = [Window(max(start, window.start), min(start + _DAY, window.end)) for start in starts]
        # A gap between two days is what `gaps` finds, so days that touch stay apart.
        return sorted([*days, *gaps(window, days)])

    def count(self, table: str, account: str, window: Window, reading: int) -> int:
        """Return the number of rows of a window."""
        query = f"SELECT count(*) AS rows FROM {table} WHERE account = $account AND {READINGS[reading]}"
        (found,) = self._query(query, account=account, start=window.start, end=window.end)
        return int(found["rows"])

    def sample(self, table: str, account: str, window: Window) -> tuple[str, datetime] | None:
        """Return the id and the submit time of a row whose time is a whole second."""
        query = f"SELECT voice_id, submit_time FROM {table} WHERE account = $account AND {READINGS[0]}"
        whole = "date_trunc('second', submit_time) = submit_time ORDER BY hash(voice_id) LIMIT 1"
        found = self._query(f"{query} AND {whole}", account=account, start=window.start, end=window.end)
        return (found[0]["voice_id"], found[0]["submit_time"]) if found else None

    def undated(self, table: str, account: str) -> int:
        """Return the number of rows without a submit time."""
        query = f"SELECT count(*) AS rows FROM {table} WHERE account = $account AND submit_time IS NULL"
        (found,) = self._query(query, account=account)
        return int(found["rows"])

    def rows(self, table: str, account: str, ids: Collection[str], window: Window | None, reading: int) -> list[Row]:
        """Return the rows with these ids, and those of a window."""
        query, names = f"SELECT * FROM {table} WHERE account = $account AND (voice_id IN (SELECT unnest($ids))", [*ids]
        if window is None:
            return self._query(f"{query})", account=account, ids=names)
        times = {"start": window.start, "end": window.end}
        return self._query(f"{query} OR ({READINGS[reading]}))", account=account, ids=names, **times)

    def _query(self, query: str, **values: Any) -> list[Row]:
        with errors_of(self.source):
            found: Any = self.connection.sql(query, params=values).to_arrow_table()
            rows: list[Row] = found.to_pylist()
            return rows


@contextmanager
def stored_records(source: Path, *, dataset: str | None, account: str | None) -> Generator[StoredRecords]:
    """Open a file or a database, read-only.

    `account` is that of a file without a column for it; None if it is not known.

    Raises:
        ValueError: if it does not hold call records.
        OSError: if it cannot be opened.
    """
    with connected(timezone="UTC") as connection:
        with errors_of(source), contents(connection, source, exported_columns, dataset) as found:
            if isinstance(found, Dataset):
                tables = TABLES
                for table, of in tables.items():
                    _view(connection, found, table, of)
            else:
                is_csv = source.suffix.lower() == ".csv"
                tables = _fill(connection, found, account, is_csv=is_csv)
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        yield StoredRecords(
            source=source,
            connection=connection,
            tables=tables,
            dataset=found if isinstance(found, Dataset) else None,
            is_csv=source.suffix.lower() == ".csv",
        )


def _view(connection: duckdb.DuckDBPyConnection, dataset: Dataset, table: str, of: type[CallRecord]) -> None:
    """Make a view of a table of a database; an empty table if it does not exist."""
    columns = sql_columns(of)
    if table not in dataset.tables:
        _create(connection, table, of)
        return
    rows = dataset.select(table, check_names(dataset.tables[table], columns))
    values = ", ".join(f"{name}::{column.sql} AS {name}" for name, column in columns.items())
    connection.execute(f"CREATE VIEW {table} AS SELECT {values} FROM ({rows})")


def _create(connection: duckdb.DuckDBPyConnection, table: str, of: type[CallRecord]) -> None:
    columns = ", ".join(f"{name} {column.sql}" for name, column in sql_columns(of).items())
    connection.execute(f"CREATE TABLE {table} ({columns})")


def _fill(
    connection: duckdb.DuckDBPyConnection, found: Tables, account: str | None, *, is_csv: bool
) -> Mapping[str, type[CallRecord]]:
    """Make a table of an export's rows, and return it with its kind of record."""
    first = next(found, None)
    if first is None:
        message = "it holds no record, so there is nothing to compare"
        raise AdvisedError(message)
    of = kind_of(first.column_names)
    (name,) = (name for name, kind in TABLES.items() if kind is of)
    _create(connection, name, of)
    parts = (plain_rows(_with_account(part, account), of, is_csv=is_csv) for part in chain([first], found))
    insert(connection, parts, name)
    return {name: of}


def _with_account(table: pa.Table, account: str | None) -> pa.Table:
    """Return rows with an account in each."""
    if "account" in table.column_names:
        names: Any = pc.fill_null(table["account"].cast(pa.string()), pa.scalar(""))
        return table.set_column(table.column_names.index("account"), "account", names)
    if account is None:
        message = "it has no column account, and there are several accounts: choose one of them with --account"
        raise AdvisedError(message)
    return table.append_column("account", pa.array([account] * table.num_rows, pa.string()))
