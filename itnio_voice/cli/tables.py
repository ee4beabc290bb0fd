"""A table of calls for the terminal, and its columns."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any

import attrs
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .._model.records import DEFAULT_CURRENCY, CallRecord
from .messages import UsageError
from .terminal import cell

__all__ = ["NOTHING", "Column", "calls", "chosen_names", "column_of", "continued", "default_columns"]

NOTHING = "–"
DERIVED = ("answered", "finished", "pressed_key")
"""The properties of records that can be columns."""
NUMBERS = (int | None, Decimal | None)
"""The types of the fields whose columns are aligned to the right."""
TIME = datetime | None
"""The type of the fields whose columns have the time zone in their heading."""


@attrs.frozen
class Column:
    """A column of a table: its heading, the text of a record of an account, and the maximum width in characters.

    `usual` is the minimum width where rows are printed one by one.
    """

    heading: str
    text: Callable[[str, CallRecord], str | None]
    longest: int = 40
    is_number: bool = False
    usual: int = 0


def default_columns(zone: tzinfo = UTC, *, account: bool = False) -> list[Column]:
    """Return the default columns of a table, narrow enough for a line of a terminal, with times in `zone`."""
    columns = [
        Column("account", lambda account, _: account, longest=20, usual=8),
        Column(f"time ({zone})", lambda _, record: _in_zone(record.submit_time, zone, "%m-%d %H:%M"), usual=11),
        Column("called", lambda _, record: record.callee, longest=20, usual=13),
        Column("destination", lambda _, record: record.code, longest=17, usual=17),
        Column("s", lambda _, record: str(record.call_duration) if record.answered else None, is_number=True, usual=4),
        Column("code", lambda _, record: record.termination_code, longest=8, is_number=True, usual=4),
        Column("cost", lambda _, record: _cost(record), longest=24, is_number=True, usual=12),
    ]
    return columns if account else columns[1:]


def chosen_names(text: str, of: type[CallRecord]) -> list[str]:
    """Read the names of columns, separated by commas: attributes of a kind of record, or `account`.

    Raises:
        UsageError: if there is no such column.
    """
    known = ["account", *attrs.fields_dict(of), *(name for name in DERIVED if hasattr(of, name))]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            message = f"--columns: there is no column {name!r:.80}: choose from {', '.join(known)}"
            raise UsageError(message)
    return list(dict.fromkeys(names))


def column_of(name: str, of: type[CallRecord], zone: tzinfo) -> Column:
    """Return the column of an attribute of records, or of `account`; times are in `zone`."""

    def text(account: str, record: CallRecord) -> str | None:
        return account if name == "account" else _shown(getattr(record, name), zone)

    field = attrs.fields_dict(of).get(name)
    kind: Any = field.type if field else None
    return Column(f"{name} ({zone})" if kind == TIME else name, text, is_number=kind in NUMBERS)


def calls(rows: Iterable[tuple[str, CallRecord]], columns: Sequence[Column], *, title: str) -> Table:
    """Return a table of records, each with the name of its account."""
    table = Table(title=cell(title), title_justify="left", box=SIMPLE_HEAD)
    return _filled(table, rows, columns)


def continued(rows: Iterable[tuple[str, CallRecord]], columns: Sequence[Column], *, headed: bool) -> Table:
    """Return the next rows of a table that is printed in parts, which line up; the first part has the heading."""
    table = Table(box=SIMPLE_HEAD if headed else None, show_header=headed)
    return _filled(table, rows, columns, is_part=True)


def _filled(
    table: Table, rows: Iterable[tuple[str, CallRecord]], columns: Sequence[Column], *, is_part: bool = False
) -> Table:
    """Return a table after adding columns, and a row for each record."""
    for column in columns:
        heading = cell(column.heading)
        least = max(column.usual, heading.cell_len) if is_part else None
        table.add_column(heading, no_wrap=True, justify="right" if column.is_number else "left", min_width=least)
    for row in rows:
        table.add_row(*(_shortened(column.text(*row), column.longest) for column in columns))
    return table


def _shortened(value: str | None, longest: int) -> Text:
    text = cell(value or NOTHING)
    text.truncate(longest, overflow="ellipsis")
    return text


def _in_zone(at: datetime | None, zone: tzinfo, form: str) -> str | None:
    try:
        return format(at.astimezone(zone), form) if at else None
    except OverflowError:  # at the edge of the calendar
        return None


def _cost(record: CallRecord) -> str | None:
    return None if record.cost is None else f"{record.cost:f} {record.currency or DEFAULT_CURRENCY}"


def _shown(value: Any, zone: tzinfo) -> str | None:
    """Return the value of an attribute as text."""
    match value:
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case datetime():
            return _in_zone(value, zone, "%Y-%m-%d %H:%M:%S")
        case Decimal():
            return f"{value:f}"
        case Mapping():
            return json.dumps(dict(value), ensure_ascii=False, default=str) if value else None
        case _:
            return str(value)
