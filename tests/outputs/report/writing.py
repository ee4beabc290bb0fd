"""Files of call records, written as the commands write them."""

import base64
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import ipc, parquet

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice.outputs.arrow import WIDEST_MONEY, record_batch, schema
from itnio_voice.outputs.text import csv_header, csv_lines, json_lines

Write = Callable[..., Path]


def as_parquet(folder: Path, records: Sequence[Any], of: type[Any] = VoiceRecord) -> Path:
    """Write a Parquet file."""
    path = folder / "calls.parquet"
    parquet.write_table(pa.Table.from_batches([record_batch(records, of, money=WIDEST_MONEY)]), path)
    return path


def as_arrow(folder: Path, records: Sequence[Any], of: type[Any] = VoiceRecord) -> Path:
    """Write an Arrow IPC file."""
    path = folder / "calls.arrow"
    with ipc.new_file(str(path), schema(of, money=WIDEST_MONEY)) as writer:
        writer.write_batch(record_batch(records, of, money=WIDEST_MONEY))
    return path


def as_csv(folder: Path, records: Sequence[Any], of: type[Any] = VoiceRecord) -> Path:
    """Write a CSV file."""
    path = folder / "calls.csv"
    path.write_bytes(csv_header(of) + csv_lines(records))
    return path


def as_json_lines(folder: Path, records: Sequence[Any], of: type[Any] = VoiceRecord) -> Path:
    """Write a file of JSON lines."""
    assert of
    path = folder / "calls.jsonl"
    path.write_bytes(json_lines(records))
    return path


def as_duckdb(
    folder: Path,
    records: Sequence[Any],
    of: type[Any] = VoiceRecord,
    *,
    dataset: str = "itnio_voice",
    finished: bool = True,
    accounts: Sequence[str] | Mapping[str, Mapping[str, str]] = ("default",),
    phones: Sequence[SipRecord] = (),
) -> Path:
    """Write a database like `sync`: each kind in its own table, also in the staging area.

    `finished` is whether the load has completed; `accounts` are those that have been read, and which range of each;
    `phones` are phone calls beside voice messages.
    """
    path = folder / "calls.duckdb"
    dataset = dataset.replace('"', '""')
    tables = {"voice_records" if of is VoiceRecord else "sip_records": records}
    if of is VoiceRecord:
        tables["sip_records"] = phones
    read = accounts if isinstance(accounts, Mapping) else {name: {} for name in accounts}
    done: dict[str, Any] = {name: {"done": dict(read)} for name in tables}
    state = json.dumps({"sources": {"itnio_voice": {"resources": done}}})
    with duckdb.connect(str(path)) as connection:
        for table_schema in (dataset, f"{dataset}_staging"):
            connection.execute(f'CREATE SCHEMA "{table_schema}"')
            for name, rows in tables.items():
                kind: type[Any] = SipRecord if name == "sip_records" else VoiceRecord
                connection.register(
                    "rows",
                    pa.Table.from_batches(
                        [record_batch(rows, kind, money=WIDEST_MONEY)], schema(kind, money=WIDEST_MONEY)
                    ),
                )
                connection.execute(f'CREATE TABLE "{table_schema}".{name} AS FROM rows')
                connection.unregister("rows")
        connection.execute(f'USE "{dataset}"')
        connection.execute("CREATE TABLE _dlt_loads (load_id VARCHAR, status BIGINT)")
        connection.execute("CREATE TABLE _dlt_pipeline_state (version BIGINT, state VARCHAR, _dlt_load_id VARCHAR)")
        if finished:
            connection.execute("INSERT INTO _dlt_loads VALUES ('1', 0)")
            compressed = base64.b64encode(zlib.compress(state.encode())).decode()
            connection.execute("INSERT INTO _dlt_pipeline_state VALUES (1, ?, '1')", [compressed])
    return path


EXPORTS: list[Write] = [as_parquet, as_arrow, as_csv, as_json_lines]
WRITE: list[Write] = [*EXPORTS, as_duckdb]
