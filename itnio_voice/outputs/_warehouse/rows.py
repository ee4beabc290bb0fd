"""Arrow batches to the rows of a warehouse: plain columns, a key per row, and text that every database stores."""

import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..._client.checkpoint import fingerprint
from ..._model.records import CallRecord, SipRecord, VoiceRecord
from ..._wire.scalars import number
from ..arrow import MONEY, WIDEST_MONEY, money_in, schema, to_scale
from ..text import json_text

__all__ = ["KEY", "TABLES", "columns_of", "rows_of"]

TABLES: Mapping[str, type[CallRecord]] = {"voice_records": VoiceRecord, "sip_records": SipRecord}

KEY = ("account", "voice_id")
"""Two rows in which these are the same are the same record."""

_NUL = "\0"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ESCAPED_NUL = r"\u0000"

_scaled = to_scale(WIDEST_MONEY)


def columns_of(of: type[CallRecord], money: pa.DataType = MONEY) -> pa.Schema:
    """Return the columns of a kind of record: those of Arrow, without dictionaries, and the key never null."""
    columns = schema(of, account=True, money=money)
    plain = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in columns]
    return pa.schema([field.with_nullable(field.name not in KEY) for field in plain])


def rows_of(batch: pa.RecordBatch, of: type[CallRecord]) -> pa.Table:
    """Return the rows of a batch."""
    columns = columns_of(of, money_in(batch.schema))
    rows = _with_ids(pa.Table.from_batches([batch]))
    rows = rows.cast(columns)
    return pa.table([_storable(rows[field.name], field) for field in columns], schema=columns)


def _with_ids(rows: pa.Table) -> pa.Table:
    """Give a digest of its values as id to each row that has no id, or one that cannot be stored.

    In a warehouse, rows with the same id are one record.
    """
    ids = rows["voice_id"]
    if not ids.null_count and not pc.any(pc.match_substring(ids, _NUL)).as_py():
        return rows
    made = [_id_of(row) for row in rows.to_pylist()]
    place = rows.schema.get_field_index("voice_id")
    return rows.set_column(place, rows.schema.field(place), pa.array(made, pa.string()))


def _id_of(row: dict[str, Any]) -> str:
    name: str | None = row["voice_id"]
    if not name:
        return f"none-{fingerprint({field: _digested(field, value) for field, value in row.items()})}"
    # Two ids that differ in a NUL must not become one.
    return f"{name.replace(_NUL, _REPLACEMENT)}-{fingerprint(name)}" if _NUL in name else name


def _digested(name: str, value: Any) -> Any:
    """Return a value as earlier versions stored it: its digest depends neither on `money` nor on the version."""
    if name == "extra" and value:
        return json.dumps(json.loads(value, parse_float=str), ensure_ascii=False)
    if not isinstance(value, Decimal):
        return value
    with suppress(ArithmeticError):  # it has more digits than earlier versions stored
        return _scaled(value)
    return value


def _storable(column: "pa.ChunkedArray[Any]", field: "pa.Field[Any]") -> "pa.ChunkedArray[Any]":
    """Return a column with U+FFFD for each NUL, which PostgreSQL stores neither in text nor in JSON."""
    if not pa.types.is_string(column.type):
        return column
    if field.name == "extra" and pc.any(pc.match_substring(column, _ESCAPED_NUL)).as_py():
        texts = [text and json_text(_without_nul(json.loads(text, parse_float=number))) for text in column.to_pylist()]
        return pa.chunked_array([texts], pa.string())
    return pc.replace_substring(column, _NUL, _REPLACEMENT)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(_NUL, _REPLACEMENT)
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed: dict[str, Any] = {name: _without_nul(item) for name, item in value.items() if _NUL not in name}
    for name in value.keys() - renamed.keys():
        new = _without_nul(name)
        while new in renamed:  # no field replaces another one
            new += _REPLACEMENT
        renamed[new] = _without_nul(value[name])
    return renamed
