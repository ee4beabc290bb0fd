"""Rows as they are compared: the columns of a warehouse, from files and from the API's records alike. Pure."""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from ..._model.records import CallRecord, SipRecord, VoiceRecord
from ..._wire.scalars import number
from .._stored.columns import AMOUNT, SECONDS, TEXT, TIME, Column, Columns, check_names
from .._warehouse.rows import columns_of, rows_of
from ..arrow import WIDEST_MONEY, record_batch
from ..text import json_text

__all__ = ["Row", "content_of", "exported_columns", "fetched_rows", "kind_of", "plain_rows", "sql_columns"]

Row = dict[str, Any]

_BY_TYPE: Mapping[pa.DataType, Column] = {column.arrow: column for column in (TEXT, TIME, SECONDS, AMOUNT)}
_GUARDED = r"^'([\s\p{Z}]*[=+\-@＝＋－＠]|[\t\r\n])"
"""The beginning of a formula with the apostrophe of `csv_safe`."""


def _json_text(value: Any) -> str | None:
    """Return `extra` as the JSON text of an Arrow column; a CSV file has it as text, a JSON file as an object."""
    extra = json.loads(value, parse_float=number) if isinstance(value, str) and value else value
    return json_text(extra) if extra else None


_EXTRA = attrs.evolve(TEXT, read=_json_text)


def sql_columns(of: type[CallRecord]) -> Columns:
    """Return the columns of a kind of record in a warehouse."""
    return {
        field.name: _EXTRA if field.name == "extra" else _BY_TYPE[field.type] for field in columns_of(of, WIDEST_MONEY)
    }


def kind_of(names: Iterable[str]) -> type[CallRecord]:
    """Return the kind of record that has these columns."""
    return SipRecord if "sip_group_name" in names else VoiceRecord


def exported_columns(names: Iterable[str]) -> Columns:
    """Return the columns of an exported file, which may have no account.

    Raises:
        ValueError: if one is missing or duplicated.
    """
    present = list(names)
    columns = sql_columns(kind_of(present))
    return check_names(present, {**columns, "account": attrs.evolve(columns["account"], optional=True)})


def plain_rows(table: pa.Table, of: type[CallRecord], *, is_csv: bool) -> pa.Table:
    """Return rows as a warehouse has them: an id in each, and text that every database stores.

    A CSV file may have apostrophes before formulas (`csv_safe`). They are removed if `is_csv`.
    """
    columns = columns_of(of, WIDEST_MONEY)
    nullable = pa.schema([field.with_nullable(True) for field in columns])  # noqa: FBT003 -- pyarrow's argument
    table = table.select(columns.names).cast(nullable)
    for place, field in enumerate(nullable):
        if is_csv and pa.types.is_string(field.type) and field.name != "extra":
            text = pc.replace_substring_regex(table[field.name], _GUARDED, r"\1")
            table = table.set_column(place, field, text)
    return pa.concat_tables([columns.empty_table(), *(rows_of(batch, of) for batch in table.to_batches())])


def fetched_rows(records: Sequence[CallRecord], of: type[CallRecord], account: str, *, is_csv: bool) -> list[Row]:
    """Return the rows of an account's records.

    Raises:
        DecodeError: for a value that a warehouse cannot hold.
    """
    batch = record_batch(records, of, account=account, money=WIDEST_MONEY)
    return plain_rows(pa.Table.from_batches([batch]), of, is_csv=is_csv).to_pylist()


def content_of(row: Row) -> Hashable:
    """Return the values of a row, which are equal if the records are; JSON is compared by its content."""
    return tuple(_comparable(row["extra"]) if name == "extra" else row[name] for name in sorted(row))


def _comparable(extra: str | None) -> str | None:
    # Numbers with a point are compared as their text, as which earlier versions stored them.
    try:
        return json.dumps(json.loads(extra, parse_float=str), sort_keys=True) if extra else None
    except (ValueError, RecursionError):
        return extra
