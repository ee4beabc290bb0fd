"""A table of calls for the terminal."""

from collections.abc import Iterable, Sequence
from datetime import UTC

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..models import USUAL_CURRENCY, CallRecord

__all__ = ["NOTHING", "calls"]

LONGEST_DESTINATION = 17
NOTHING = "–"


def calls(records: Iterable[CallRecord], *, title: str, accounts: Sequence[str] = ()) -> Table:
    """Return a table of records; with `accounts`, the name of each one's account comes first."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    if accounts:
        table.add_column("account", no_wrap=True)
    for name in ("time (UTC)", "called", "destination"):
        table.add_column(name, no_wrap=True)
    for name in ("s", "code", "cost"):
        table.add_column(name, no_wrap=True, justify="right")
    for index, record in enumerate(records):
        table.add_row(
            *map(_text, accounts[index : index + 1]),
            f"{record.submit_time.astimezone(UTC):%m-%d %H:%M}" if record.submit_time else NOTHING,
            _text(record.callee or NOTHING),
            _shortened(record.code or NOTHING),
            str(record.call_duration) if record.answered else NOTHING,
            _text(record.termination_code or NOTHING),
            _text(_cost(record)),
        )
    return table


def _text(value: str) -> Text:
    """Return text without what would steer the terminal."""
    return Text("".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value))


def _shortened(destination: str) -> Text:
    text = _text(destination)
    text.truncate(LONGEST_DESTINATION, overflow="ellipsis")
    return text


def _cost(record: CallRecord) -> str:
    return NOTHING if record.cost is None else f"{record.cost:f} {record.currency or USUAL_CURRENCY}"
