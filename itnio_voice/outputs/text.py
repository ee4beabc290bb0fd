"""Records to lines of text: JSON objects or CSV, with amounts and times as in `to_dict()`."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import attrs

from .._model.records import CallRecord
from .._wire.scalars import Oversized

__all__ = ["csv_header", "csv_lines", "json_lines", "json_text"]

_encoded_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Raises a TypeError for a value that has no JSON type."""

_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
"""The beginning of text that a spreadsheet would run as a formula, also with full-width characters."""


def json_lines(
    records: Iterable[CallRecord], *, account: str | None = None, columns: Sequence[str] | None = None
) -> bytes:
    """Return a JSON object per line, with the keys of `to_dict()`; with `account`, that key comes first.

    `extra` is null if there are no unknown fields, because Parquet cannot store an object without fields. Its numbers
    are JSON numbers with the digits that the server sent.

    With `columns`, only these keys are written, in this order. They may include `account`, and properties of the
    records whose values are text, numbers or booleans, such as `answered`.

    Raises:
        AttributeError: if a record has no such attribute.
    """
    return _encoded("".join(f"{json_text(_row(record, account, columns))}\n" for record in records))


def csv_header(of: type[CallRecord], *, account: bool = False) -> bytes:
    """Return the line of column names."""
    names = [field.name for field in attrs.fields(of)]
    return _encoded(",".join(["account", *names] if account else names) + "\r\n")


def csv_lines(records: Iterable[CallRecord], *, account: str | None = None, safe: bool = False) -> bytes:
    """Return a line for each record, as in RFC 4180; a missing value is empty, and `extra` is JSON.

    With `safe`, an apostrophe comes before text that a spreadsheet would run as a formula (OWASP, CSV injection): text
    that begins with = + - @, also after white space, or with a tab or a line break. Numbers and times stay as they are.
    All cells are quoted, for a spreadsheet may take another character than the comma for the separator.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL if safe else csv.QUOTE_MINIMAL)
    for record in records:
        row = _row(record, account)
        row["extra"] = json_text(row["extra"]) if row["extra"] else None
        if safe:
            # Amounts and times are text in a row, but not in the record. The account is in the row only.
            texts = {name: text for name, text in row.items() if isinstance(getattr(record, name, text), str)}
            row.update({name: _inert(text) for name, text in texts.items()})
        writer.writerow(row.values())
    return _encoded(text.getvalue())


def _inert(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _row(record: CallRecord, account: str | None, columns: Sequence[str] | None = None) -> dict[str, Any]:
    row = {**({} if account is None else {"account": account}), **record.to_dict(), "extra": record.extra or None}
    if columns is None:
        return row
    return {name: row[name] if name in row else getattr(record, name) for name in columns}


def json_text(value: object) -> str:
    """Return a value as JSON. A number is written with its digits, also one that a float would round."""
    with suppress(TypeError):
        return _encoded_json(value)
    match value:
        case Mapping():
            return f"{{{','.join(f'{_encoded_json(str(key))}:{json_text(item)}' for key, item in value.items())}}}"
        case list() | tuple():
            return f"[{','.join(map(json_text, value))}]"
        case Decimal() | Oversized():
            return str(value)
        case _:
            return _encoded_json(str(value))


def _encoded(text: str) -> bytes:
    # UTF-8 cannot encode half of a surrogate pair: it is written as a JSON escape.
    return text.encode(errors="backslashreplace")
