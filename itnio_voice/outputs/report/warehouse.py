"""The tables of call records in a DuckDB database that `sync` fills, attached read-only."""

import base64
import errno
import json
import zlib
from pathlib import Path
from typing import Any

import duckdb

from ..._model.printable import printable
from .columns import AdvisedError, check_names, check_types

__all__ = ["attach", "quoted"]

_TABLES = ("voice_records", "sip_records")
_LOADS, _STATE = "_dlt_loads", "_dlt_pipeline_state"
_LARGEST_STATE = 64 * 1024 * 1024

Tables = dict[str, list[str]]
"""The names of the tables of call records, by dataset."""


def attach(connection: duckdb.DuckDBPyConnection, source: Path, dataset: str | None) -> str:
    """Attach a database, and return the query that returns the rows of its call records.

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
    selects = []
    for table in tables[found]:
        name = f"warehouse.{_identifier(found)}.{_identifier(table)}"
        types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE {name}").fetchall()}
        columns = check_names(types)
        check_types({column: types[column] for column in columns})
        selects.append(f"SELECT {', '.join(columns)} FROM {name}")
    return " UNION ALL BY NAME ".join(selects)


def quoted(text: str) -> str:
    """Return text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tables(connection: duckdb.DuckDBPyConnection) -> Tables:
    """Return the tables of call records. A schema without dlt's table of loads is a staging area."""
    query = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'warehouse' ORDER BY ALL"
    names: Tables = {}
    for schema, table in connection.execute(query).fetchall():
        names.setdefault(schema, []).append(table)
    return {
        schema: found
        for schema, tables in names.items()
        if {_LOADS, _STATE} <= {*tables} and (found := [table for table in tables if table in _TABLES])
    }


def _choose(connection: duckdb.DuckDBPyConnection, tables: Tables, dataset: str | None) -> str:
    """Return the dataset to report: the one with a completed sync, or the one that the user names."""
    named = {name: tables[name] for name in tables if dataset in (None, name)}
    if not named:
        where = f" in the dataset {dataset!r}" if dataset else ""
        message = f"there is no table {' or '.join(_TABLES)}{where}: fill it with `itnio-voice sync`"
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

    where = f"warehouse.{_identifier(schema)}"
    if not one(f"SELECT count(*) FROM {where}.{_LOADS} WHERE status = 0"):
        return False
    if any(one(f"SELECT count(*) FROM {where}.{_identifier(table)}") for table in tables):
        return True
    states = connection.execute(f"SELECT state FROM {where}.{_STATE} ORDER BY version").fetchall()
    return any(_names_an_account(state) for (state,) in states)


def _names_an_account(state: str) -> bool:
    """Return whether dlt's state holds how far any account has been read."""
    text = zlib.decompressobj().decompress(base64.b64decode(state), _LARGEST_STATE)
    sources = json.loads(text).get("sources", {}).values()
    return any(resource.get("done") for source in sources for resource in source.get("resources", {}).values())
