"""A table of calls for the terminal."""

from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..models import USUAL_CURRENCY, CallRecord
from .terminal import cell

__all__ = ["NOTHING", "calls"]

LONGEST_DESTINATION = 17
NOTHING = "–"


def calls(records: Iterable[CallRecord], *, title: str, accounts: Sequence[str] = (), zone: tzinfo = UTC) -> Table:
    """Return a table of records, with times in `zone`; with `accounts`, the name of each one's account comes first."""
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD)
    if accounts:
        table.add_column("account", no_wrap=True)
    for name in (f"time ({zone})", "called", "destination"):
        table.add_column(cell(name), no_wrap=True)
    for name in ("s", "code", "cost"):
        table.add_column(name, no_wrap=True, justify="right")
    for index, record in enumerate(records):
        table.add_row(
            *map(cell, accounts[index : index + 1]),
            _time(record, zone),
            cell(record.callee or NOTHING),
            _shortened(record.code or NOTHING),
            cell(str(record.call_duration) if record.answered else NOTHING),
            cell(record.termination_code or NOTHING),
            cell(_cost(record)),
        )
    return table


def _time(record: CallRecord, zone: tzinfo) -> Text:
    try:
        return Text(f"{record.submit_time.astimezone(zone):%m-%d %H:%M}" if record.submit_time else NOTHING)
    except OverflowError:  # at the edge of the calendar
        return Text(NOTHING)


def _shortened(destination: str) -> Text:
    text = cell(destination)
    text.truncate(LONGEST_DESTINATION, overflow="ellipsis")
    return text


def _cost(record: CallRecord) -> str:
    return NOTHING if record.cost is None else f"{record.cost:f} {record.currency or USUAL_CURRENCY}"
