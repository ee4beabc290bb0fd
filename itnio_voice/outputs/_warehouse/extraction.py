"""What dlt knows while it extracts the rows of a table: the load's id, and the type of amounts in the table."""

import dlt
import pyarrow as pa

from ..._model.records import CallRecord
from ..arrow import MONEY
from .rows import columns_of

__all__ = ["MoneyError", "fitted", "money_of", "with_load_id"]

LOAD = "_dlt_load_id"
"""The column with the load of a row, under the name that dlt gives it in tables of its own."""


class MoneyError(ValueError):
    """Amounts of another type than a table has. The text says what to do."""


def money_of(table: str, chosen: pa.DataType | None) -> pa.DataType:
    """Return the type of amounts for a table of the schema that dlt is extracting: its own, else the chosen one.

    Raises:
        MoneyError: if another one is chosen than the table has: the destination would round.
    """
    column = dlt.current.source_schema().tables.get(table, {}).get("columns", {}).get("cost", {})
    digits, decimals = column.get("precision"), column.get("scale")
    if digits is None:
        return chosen or MONEY
    stored = pa.decimal128(digits, decimals or 0)
    if chosen not in (None, stored):
        message = (
            f"money cannot be {chosen}: the table {table} was created with {stored}. "
            "Leave money out to keep that type, or sync into another dataset"
        )
        raise MoneyError(message)
    return stored


def fitted(rows: pa.Table, table: str, of: type[CallRecord]) -> pa.Table:
    """Return rows with the type of amounts that their table has.

    Raises:
        MoneyError: for an amount that the type cannot hold exactly.
    """
    money = money_of(table, None)
    try:
        return rows.cast(columns_of(of, money))
    except pa.ArrowInvalid as error:
        message = f"an amount does not fit into the table {table} ({money}): {error}: sync into another dataset"
        raise MoneyError(message) from error


def with_load_id(rows: pa.Table) -> pa.Table:
    """Return rows with the id of the load that dlt is extracting, for which `_dlt_loads` has the time.

    The column may be null: a table of an earlier version has rows without it.
    """
    load = dlt.current.load_package_state().get("load_id")
    return rows.append_column(LOAD, pa.repeat(load, rows.num_rows).cast(pa.string()))
