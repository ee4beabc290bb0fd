"""The columns that are read from a file: names, types, and the check of a file's columns."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import attrs
import pyarrow as pa

from ..._wire.scalars import amount, brief, integer, text, timestamp
from ..arrow import WIDEST_MONEY, to_scale

__all__ = ["AMOUNT", "SECONDS", "TEXT", "TIME", "AdvisedError", "Column", "Columns", "check_names", "check_types"]


class AdvisedError(ValueError):
    """An error whose text says what to do."""


@attrs.frozen
class Column:
    """The type of a column: as DuckDB and Arrow name it, and how a value of a CSV or JSON file is read.

    `accepted` matches the DuckDB types that convert to `sql` without loss. `read` raises a ValueError for a value that
    the column cannot hold exactly. A file may lack a column that is `optional`.
    """

    sql: str
    arrow: pa.DataType
    accepted: re.Pattern[str]
    read: Callable[[Any], Any]
    optional: bool = False


Columns = Mapping[str, Column]


def _column(sql: str, arrow: pa.DataType, accepted: str, read: Callable[[Any], Any]) -> Column:
    # A column without any value has the type "NULL" in some Parquet files.
    return Column(sql, arrow, re.compile(rf'{accepted}|"NULL"'), read)


_scaled = to_scale(WIDEST_MONEY)


def _exact_amount(value: Any) -> Decimal | None:
    """Return an amount with 18 decimals."""
    exact = amount(value)
    try:
        return None if exact is None else _scaled(exact)
    except ArithmeticError:
        message = "an amount of at most 20 digits before the point and 18 decimals is expected"
        raise ValueError(message) from None


TEXT = _column("VARCHAR", pa.string(), r"VARCHAR|ENUM\(.*\)", text)
TIME = _column("TIMESTAMPTZ", pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE", timestamp)
SECONDS = _column("BIGINT", pa.int64(), "U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", integer)
AMOUNT = _column("DECIMAL(38,18)", WIDEST_MONEY, r"DECIMAL\(\d+,(\d|1[0-8])\)", _exact_amount)


def check_names(names: Iterable[str], columns: Columns) -> Columns:
    """Return the columns that a file has, in its order.

    Raises:
        ValueError: if one is missing or duplicated.
    """
    present = [name for name in names if name in columns]
    if missing := [name for name, column in columns.items() if name not in present and not column.optional]:
        message = f"columns are missing: {', '.join(missing)}"
        raise ValueError(message)
    if doubled := sorted({name for name in present if present.count(name) > 1}):
        message = f"columns occur more than once: {', '.join(doubled)}"
        raise ValueError(message)
    return {name: columns[name] for name in present}


def check_types(types: Mapping[str, str], columns: Columns) -> None:
    """Check the DuckDB types of columns.

    Raises:
        ValueError: if a type cannot be converted without loss.
    """
    wrong = [
        f"{name} is {brief(found)[1:-1]} instead of {columns[name].sql}"
        for name, found in types.items()
        if not columns[name].accepted.fullmatch(found)
    ]
    if wrong:
        message = f"columns have other types: {', '.join(wrong)}"
        raise ValueError(message)
