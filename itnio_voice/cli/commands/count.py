"""`itnio-voice count`: the number of records, for each account, and for each day or hour."""

import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Literal

import attrs
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..._client.merging import merge
from ..._client.owned_tasks import results_of
from ..._client.session import VoiceSession
from ..._model.printable import printable
from ..._walk.log import UNREAD
from ..messages import AccountsError, UsageError
from ..options import Range, ReadingOptions, has_user_names, zone_of
from ..progress import Bar, print_skipped
from ..terminal import OUTPUT, cell, print_error, print_output, write_output

__all__ = ["Period", "periods", "run"]

LENGTHS = {"day": timedelta(days=1), "hour": timedelta(hours=1)}
MOST_PERIODS = 10_000
BATCH = 64
"""The maximum number of periods that are counted together."""
LONGEST_BAR, SHORTEST_BAR = 60, 8
BORDERS = 3
"""The characters between two columns of the table; there is one more at its edge."""

By = Literal["day", "hour"] | None


@attrs.frozen
class Period:
    """A part of a range, with the day or the hour that it is in; `end` is None if it ends at the server's present."""

    label: str
    start: datetime
    end: datetime | None


@attrs.frozen
class Row:
    """A number of records."""

    account: str
    label: str
    records: int


def periods(typed: Range, by: By, zone: tzinfo) -> Iterator[Period]:
    """Yield the parts of a range that lie in different days or hours of a zone; without `by`, only the range."""
    start, end = typed.start.astimezone(UTC), typed.until.astimezone(UTC)
    while by and (following := _next_start(start, by, zone)) < end:
        yield Period(_label(start, by, zone), start, following)
        start = following
    if typed.end is None or start < end:
        yield Period(_label(start, by, zone), start, typed.end)


def _next_start(at: datetime, by: By, zone: tzinfo) -> datetime:
    """Return the start of the next day or hour of a zone, in UTC."""
    local = at.astimezone(zone)
    if by == "hour":
        return at.replace(microsecond=0) + timedelta(hours=1, minutes=-local.minute, seconds=-local.second)
    return datetime.combine(local.date() + timedelta(days=1), time(), zone).astimezone(UTC)


def _label(at: datetime, by: By, zone: tzinfo) -> str:
    match by:
        case "day":
            return at.astimezone(zone).date().isoformat()
        case "hour":
            return at.astimezone(zone).replace(minute=0).isoformat(timespec="minutes")
        case None:
            return ""


class _Unread(logging.Handler):
    """Prints the first warning about a range that ends in the server's future: later periods have the same."""

    _is_printed = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == UNREAD and not self._is_printed:
            self._is_printed = True
            print_error(record.getMessage())


async def run(start: str, end: str, by: By, reading: ReadingOptions) -> None:
    """Print the number of records of a range, or of each day or hour of it."""
    accounts = reading.found()
    typed = reading.range(start, end)
    _check_periods(typed, by, zone_of(reading.timezone))
    rows = list[Row]()
    logger, handler = logging.getLogger("itnio_voice.windows"), _Unread()
    if typed.end is not None:  # with `now`, a day by this machine's clock may end after the server's time
        logger.addHandler(handler)
    try:
        async with reading.sessions(accounts) as sessions:
            with Bar(accounts=accounts, quiet=reading.quiet):
                counts = {name: _count(name, session, typed, by, reading) for name, session in sessions.items()}
                # A collected failure is in `merged.failures`, and is reported below the numbers.
                async with merge(counts, on_error=reading.on_error) as merged:
                    with suppress(ExceptionGroup):
                        async for _, row in merged:
                            rows.append(row)
    finally:
        logger.removeHandler(handler)
    order = {name: place for place, name in enumerate(accounts)}
    complete = [row for row in rows if row.account not in merged.failures]
    _print(sorted(complete, key=lambda row: order[row.account]), by, reading, named=has_user_names(accounts))
    if merged.failures:
        raise AccountsError(merged.failures.values())


def _check_periods(typed: Range, by: By, zone: tzinfo) -> None:
    """Raise a `UsageError` if a range has too many days or hours, or some outside the calendar."""
    if by and (typed.until - typed.start) / LENGTHS[by] > MOST_PERIODS:
        message = f"--by {by}: the range has more than {MOST_PERIODS:,} {by}s: use a shorter one"
        raise UsageError(message)
    try:
        deque(periods(typed, by, zone), maxlen=0)
    except OverflowError:
        message = f"--by {by}: the range reaches the edge of the calendar in {zone}: use a shorter one"
        raise UsageError(message) from None


async def _count(
    name: str, session: VoiceSession, typed: Range, by: By, reading: ReadingOptions
) -> AsyncGenerator[Row]:
    """Count the records of an account, several periods at once."""
    if reading.expired == "skip":
        typed = await _available(name, session, typed, reading)

    async def number(period: Period) -> int:
        return await session.count(period.start, period.end, of=reading.of, expired=reading.expired)

    parts = list(periods(typed, by, zone_of(reading.timezone)))
    if not (parts or by):
        yield Row(name, "", 0)  # all of it was skipped
    for first in range(0, len(parts), BATCH):
        numbers = await results_of(number, parts[first : first + BATCH], reading.concurrency)
        for period in parts[first : first + BATCH]:
            yield Row(name, period.label, numbers[period])


async def _available(name: str, session: VoiceSession, typed: Range, reading: ReadingOptions) -> Range:
    """Return a range without what is older than the server's retention, and print what is skipped."""
    stream = session.records(typed.start, typed.end, of=reading.of, limit=1, expired="skip")
    await stream.collect()
    print_skipped({name: stream})
    return attrs.evolve(typed, start=stream.skipped[-1].end) if stream.skipped else typed


def _print(rows: Sequence[Row], by: By, reading: ReadingOptions, *, named: bool) -> None:
    """Print a line for each row: on a terminal a table with bars, else the columns with tabs between them."""
    names = ["account"] * named + [f"{by} ({reading.timezone})"] * bool(by)
    cells = [[printable(row.account)] * named + [row.label] * bool(by) for row in rows]
    if not OUTPUT.is_terminal:
        lines = ("\t".join([*texts, str(row.records)]) for texts, row in zip(cells, rows, strict=True))
        write_output("".join(f"{line}\n" for line in lines).encode())
        return
    if not names:
        print_output(*(cell(f"{row.records:,}") for row in rows))
        return
    table = Table(box=SIMPLE_HEAD)
    for text in names:
        table.add_column(cell(text), no_wrap=True)
    table.add_column("records", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    most = max((row.records for row in rows), default=0)
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    room = OUTPUT.width - sum(widths) - max(len("records"), len(f"{most:,}")) - BORDERS * (len(names) + 2) - 1
    longest = max(SHORTEST_BAR, min(LONGEST_BAR, room))
    for texts, row in zip(cells, rows, strict=True):
        table.add_row(*map(cell, texts), f"{row.records:,}", bar(row.records, most, longest))
    print_output(table)


def bar(number: int, most: int, longest: int) -> str:
    """Return a bar whose length is in proportion to a number; for any number but 0, it can be seen."""
    return "█" * -(-number * longest // max(most, 1))
