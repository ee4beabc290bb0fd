"""A table of calls for the terminal."""

from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .._model.records import DEFAULT_CURRENCY, CallRecord
from .terminal import cell

__all__ = ["NOTHING", "calls"]

LONGEST = {"account": 20, "called": 20, "destination": 17, "code": 8, "cost": 24}
"""The maximum width of each column of text, in characters, so that all columns fit."""
NOTHING = "–"


def calls(records: Iterable[CallRecord], *, title: str, accounts: Sequence[str] = (), zone: tzinfo = UTC) -> Table:
    """Return a table of records, with times in `zone`; with `accounts`, the name of each one's account comes first."""
    table = Table(title=cell(title), title_justify="left", box=SIMPLE_HEAD)
    if accounts:
        table.add_column("account", no_wrap=True)
    for name in (f"time ({zone})", "called", "destination"):
        table.add_column(cell(name), no_wrap=True)
    for name in ("s", "code", "cost"):
        table.add_column(name, no_wrap=True, justify="right")
    for index, record in enumerate(records):
        table.add_row(
            *(_shortened(name, "account") for name in accounts[index : index + 1]),
            _time(record, zone),
            _shortened(record.callee, "called"),
            _shortened(record.code, "destination"),
            cell(str(record.call_duration) if record.answered else NOTHING),
            _shortened(record.termination_code, "code"),
            _shortened(_cost(record), "cost"),
        )
    return table


def _time(record: CallRecord, zone: tzinfo) -> Text:
    try:
        return Text(f"{record.submit_time.astimezone(zone):%m-%d %H:%M}" if record.submit_time else NOTHING)
    except OverflowError:  # at the edge of the calendar
        return Text(NOTHING)


def _shortened(value: str | None, column: str) -> Text:
    text = cell(value or NOTHING)
    text.truncate(LONGEST[column], overflow="ellipsis")
    return text


def _cost(record: CallRecord) -> str:
    return NOTHING if record.cost is None else f"{record.cost:f} {record.currency or DEFAULT_CURRENCY}"
