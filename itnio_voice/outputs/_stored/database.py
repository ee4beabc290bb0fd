"""The tables of call records in a DuckDB database that `sync` fills, attached read-only."""

import base64
import errno
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import duckdb

from ..._model.printable import printable
from .._warehouse.rows import TABLES
from .columns import AdvisedError, Columns, check_types

__all__ = ["Coverages", "Dataset", "attach", "quoted"]

_LOADS, _STATE = "_dlt_loads", "_dlt_pipeline_state"
_LARGEST_STATE = 64 * 1024 * 1024

Tables = dict[str, list[str]]
"""The names of the tables of call records, by dataset."""
Coverages = Mapping[str, Mapping[str, Mapping[str, str]]]


@attrs.frozen
class Dataset:
    """The dataset of an attached database: the tables of call records with the DuckDB types of their columns.

    `coverage` is how far `sync` has read each account, as it is stored, by table and account.
    """

    name: str
    tables: Mapping[str, Mapping[str, str]]
    coverage: Coverages

    def select(self, table: str, columns: Columns) -> str:
        """Return the query that returns columns of a table.

        Raises:
            ValueError: if a type cannot be converted without loss.
        """
        check_types({name: self.tables[table][name] for name in columns}, columns)
        return f"SELECT {', '.join(columns)} FROM {_place(self.name, table)}"


def attach(connection: duckdb.DuckDBPyConnection, source: Path, dataset: str | None) -> Dataset:
    """Attach a database, and return its dataset of call records.

    Raises:
        AdvisedError: if it has no call records, no completed load, or several datasets to choose from.
        BlockingIOError: if another process writes to it.
    """
    try:
        connection.execute(f"ATTACH {quoted(str(source))} AS warehouse (READ_ONLY, TYPE duckdb)")
    except duckdb.IOException as error:
        if "Could not set lock on file" not in str(error):
            raise
        message = "another process is using the database: try again when it has finished"
        raise BlockingIOError(errno.EAGAIN, message, str(source)) from error
    connection.execute("SET enable_external_access = false")
    tables = _tables(connection)
    found = _choose(connection, tables, dataset)
    types = {
        table: {row[0]: row[1] for row in connection.execute(f"DESCRIBE {_place(found, table)}").fetchall()}
        for table in tables[found]
    }
    return Dataset(found, types, _coverage(connection, found))


def quoted(text: str) -> str:
    """Return text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _place(schema: str, table: str) -> str:
    """Return the qualified name of a table."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in ("warehouse", schema, table))


def _tables(connection: duckdb.DuckDBPyConnection) -> Tables:
    """Return the tables of call records. A schema without dlt's table of loads is a staging area."""
    query = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'warehouse' ORDER BY ALL"
    names: Tables = {}
    for schema, table in connection.execute(query).fetchall():
        names.setdefault(schema, []).append(table)
    return {
        schema: found
        for schema, tables in names.items()
        if {_LOADS, _STATE} <= {*tables} and (found := [table for table in tables if table in TABLES])
    }


def _choose(connection: duckdb.DuckDBPyConnection, tables: Tables, dataset: str | None) -> str:
    """Return the dataset to report: the one with a completed sync, or the one that the user names."""
    named = {name: tables[name] for name in tables if dataset in (None, name)}
    if not named:
        where = f" in the dataset {dataset!r}" if dataset else ""
        message = f"there is no table {' or '.join(TABLES)}{where}: fill it with `itnio-voice sync`"
        raise AdvisedError(message)
    complete = [name for name in named if _has_been_synced(connection, name, named[name])]
    if not complete:
        message = "no sync has been completed: run `itnio-voice sync` again, and see what it reports"
        raise AdvisedError(message)
    if len(complete) > 1:
        message = f"there are several datasets: choose one of {', '.join(map(printable, complete))} with --dataset"
        raise AdvisedError(message)
    return complete[0]


def _has_been_synced(connection: duckdb.DuckDBPyConnection, schema: str, tables: list[str]) -> bool:
    """Return whether a load has been completed that read an account.

    dlt also completes the load of a sync in which all accounts failed. It has no rows and names no account.
    """

    def one(query: str) -> Any:
        row = connection.execute(query).fetchone()
        return row[0] if row else None

    if not one(f"SELECT count(*) FROM {_place(schema, _LOADS)} WHERE status = 0"):
        return False
    if any(one(f"SELECT count(*) FROM {_place(schema, table)}") for table in tables):
        return True
    return any(_coverage(connection, schema).values())


def _coverage(connection: duckdb.DuckDBPyConnection, schema: str) -> Coverages:
    """Return how far accounts have been read, of the states of completed loads: the last one counts."""
    done: dict[str, dict[str, Mapping[str, str]]] = {}
    complete = f"SELECT load_id FROM {_place(schema, _LOADS)} WHERE status = 0"
    query = f"SELECT state FROM {_place(schema, _STATE)} WHERE _dlt_load_id IN ({complete}) ORDER BY version"
    for (state,) in connection.execute(query).fetchall():
        text = zlib.decompressobj().decompress(base64.b64decode(state), _LARGEST_STATE)
        for source in json.loads(text).get("sources", {}).values():
            for table, resource in source.get("resources", {}).items():
                done.setdefault(table, {}).update(resource.get("done") or {})
    return done
