"""`itnio-voice records`: a table on a terminal, else a JSON object per line; the newest records first."""

import json
import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

import anyio
import attrs
from rich.console import RenderableType

from ..._client.owned_tasks import results_of
from ..._client.session import VoiceSession
from ..._client.stream import RecordStream
from ..._model.errors import ItnioError
from ..._model.records import CallRecord
from ...outputs.text import json_lines
from ..messages import AccountsError, message_of
from ..options import Range, ReadingOptions, has_user_names, zone_of
from ..progress import Bar, print_skipped, print_unread
from ..tables import Column, calls, chosen_names, column_of, default_columns
from ..terminal import OUTPUT, print_error, print_output, write_output

__all__ = ["View", "run"]

SHOWN = 100
"""The maximum number of records in a table, by default."""
AHEAD = 8
"""The maximum number of pages of an account that are read ahead."""
COUNT_SECONDS = 10.0
"""The maximum time for counting the records that are not shown."""
_EARLIEST = datetime.min.replace(tzinfo=UTC)

Row = tuple[str, CallRecord]
"""A record and the name of its account."""
Count = Callable[[Collection[str]], Awaitable[Mapping[str, int] | None]]
"""Returns the number of records of each account; None if that fails."""


@attrs.frozen
class View:
    """Which records of a range are printed, and how: the options of the command."""

    limit: int | None
    oldest_first: bool
    columns: str | None
    json: bool


class Output(Protocol):
    """Where records go. `is_full` once the limit has been reached."""

    is_full: bool

    def take(self, rows: Sequence[Row]) -> None:
        """Add records."""


class Lines:
    """A JSON object per line, as the records arrive; by default with all keys, and if `named` with the account."""

    def __init__(self, limit: int | None, names: Sequence[str] | None, *, named: bool) -> None:
        self.is_full: bool = limit == 0
        self._left = sys.maxsize if limit is None else limit
        self._names = names
        self._named = named or "account" in (names or ())

    def take(self, rows: Sequence[Row]) -> None:
        """Print records."""
        rows = rows[: self._left]
        accounts = groupby(rows, key=itemgetter(0))
        lines = b"".join(self._lines(name, group) for name, group in accounts)
        write_output(escaped(lines) if OUTPUT.is_terminal else lines)
        self._left -= len(rows)
        self.is_full = not self._left

    def _lines(self, account: str, rows: Iterable[Row]) -> bytes:
        records = (record for _, record in rows)
        return json_lines(records, account=account if self._named else None, columns=self._names)

    async def end(self, count: Count, failed: Collection[str]) -> Sequence[RenderableType]:  # noqa: ARG002 -- unused
        """Return what is still to be printed: nothing."""
        return ()


def escaped(lines: bytes) -> bytes:
    """Return JSON lines with characters that a terminal shows and does not interpret; the others are JSON escapes."""
    text = lines.decode()
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text).encode()


class Table:
    """A table of at most `limit` records, an equal share of each account; printed once all are there.

    It takes up to one record more of each account than it shows.
    """

    def __init__(self, limit: int, columns: Sequence[Column], *, oldest_first: bool) -> None:
        self.is_full: bool = False
        self._limit = limit
        self._columns = columns
        self._oldest_first = oldest_first
        self._rows: list[Row] = []
        self._found = Counter[str]()

    def take(self, rows: Sequence[Row]) -> None:
        """Keep records."""
        self._rows += rows
        self._found.update(name for name, _ in rows)

    async def end(self, count: Count, failed: Collection[str]) -> Sequence[RenderableType]:
        """Return what is still to be printed: the table. `failed` were not read to their end."""
        self.is_full = any(found > self._limit for found in self._found.values())
        shares = dict(zip(self._found, fair_shares([*self._found.values()], self._limit), strict=True))
        rows = list[Row]()
        for name, record in self._rows:
            if shares[name]:
                shares[name] -= 1
                rows.append((name, record))
        title = f"Calls: {len(rows):,}"
        if self._found.total() > len(rows):
            uncounted = [name for name, found in self._found.items() if found > self._limit or name in failed]
            title += f" of {self._total(await count(uncounted), len(rows))}, the {self._which(rows)}"
        if failed:
            title += f"; failed: {', '.join(failed)}"
        return [calls(rows, self._columns, title=title)]

    def _total(self, counted: Mapping[str, int] | None, shown: int) -> str:
        """Return the number of all records, if it is known and not smaller than what was taken."""
        if counted is None or any(counted[name] < self._found[name] for name in counted):
            return f"more than {shown:,}"
        return f"{sum({**self._found, **counted}.values()):,}"

    def _which(self, rows: Sequence[Row]) -> str:
        """Return which records are shown. The server decides in which order the records of a window are read."""
        which = "newest" if not self._oldest_first else "oldest" if is_ascending(rows) else "first"
        return f"{which} of each account" if len(self._found) > 1 else which


def fair_shares(available: Sequence[int], limit: int) -> list[int]:
    """Return how many records of each account are shown: as equal as possible, `limit` together at most."""
    shares = [0] * len(available)
    fewest_first = sorted(range(len(available)), key=lambda index: available[index])
    for place, index in enumerate(fewest_first):
        shares[index] = min(available[index], limit // (len(available) - place))
        limit -= shares[index]
    return shares


def is_ascending(rows: Iterable[Row]) -> bool:
    """Return whether records are in the order of their submit times, as far as they have one."""
    times = [record.submit_time for _, record in rows if record.submit_time]
    return times == sorted(times)


async def run(start: str, end: str, view: View, reading: ReadingOptions) -> None:
    """Print the records of a range, at most `view.limit` (in a table 100 by default)."""
    accounts = reading.found()
    typed = reading.range(start, end)
    names = None if view.columns is None else chosen_names(view.columns, reading.of)
    named, zone, limit = has_user_names(accounts), zone_of(reading.timezone), view.limit
    in_table = OUTPUT.is_terminal and not view.json
    output: Lines | Table = Lines(limit, names, named=named)
    if in_table:
        shown = SHOWN if limit is None else limit
        columns = default_columns(zone, account=named)
        if names is not None:
            columns = [column_of(name, reading.of, zone) for name in names]
        output = Table(shown, columns, oldest_first=view.oldest_first)
        limit = shown + 1  # one more, which shows that there are more
    async with reading.opened(
        typed.start, typed.end, accounts=accounts, limit=limit, newest_first=not view.oldest_first
    ) as opened:
        streams = {name: stream for name, (_, stream) in opened.items()}
        # Lines on the same terminal would be mixed with a bar.
        drawn = in_table or not OUTPUT.is_terminal
        with Bar(streams.values(), accounts=accounts, quiet=reading.quiet, drawn=drawn) as bar:
            failures = await read(streams, output, bar, view, reading)
            sessions = {name: session for name, (session, _) in opened.items()}
            rest = await output.end(partial(count, sessions, typed, reading), failures)
        print_output(*rest)
        print_skipped(streams)
        if failures:
            raise AccountsError(failures.values())
        if not output.is_full:
            print_unread(streams.values(), typed.start, typed.until)


async def read(
    streams: Mapping[str, RecordStream[Any]], output: Output, bar: Bar, view: View, reading: ReadingOptions
) -> dict[str, ItnioError]:
    """Read accounts at the same time, pass their records to `output` merged by submit time, and return the failures.

    Each account keeps its own order: of the next records of all accounts, the newest one follows, or the oldest one.
    """
    following = min if view.oldest_first else max
    waiting, failures = {name: deque[CallRecord]() for name in streams}, dict[str, ItnioError]()
    async with AsyncExitStack() as stack:
        ahead = {name: await stack.enter_async_context(stream.prefetch(AHEAD)) for name, stream in streams.items()}
        pages = {name: each.pages() for name, each in ahead.items()}
        while waiting and not output.is_full:
            for name in [name for name, records in waiting.items() if not records]:
                try:
                    page = await anext(pages[name], None)
                except ItnioError as failure:
                    failure.add_note(f"while reading {name!r}")
                    if reading.on_error == "raise":
                        raise
                    failures[name], page = failure, None
                if page:
                    waiting[name].extend(page.records)
                else:
                    del waiting[name]
            bar.show()
            rows = list[Row]()
            while waiting and all(waiting.values()):
                name = following(waiting, key=lambda each: waiting[each][0].submit_time or _EARLIEST)
                rows.append((name, waiting[name].popleft()))
            output.take(rows)
    return failures


async def count(
    sessions: Mapping[str, VoiceSession], typed: Range, reading: ReadingOptions, names: Collection[str]
) -> Mapping[str, int] | None:
    """Return the number of records of each account of `names`; None if that fails, or takes too long."""

    async def number(name: str) -> int:
        return await sessions[name].count(typed.start, typed.end, of=reading.of, expired=reading.expired)

    try:
        with anyio.fail_after(COUNT_SECONDS):
            return await results_of(number, names, len(names))
    except ItnioError as error:
        reason = message_of(error)
    except TimeoutError:
        reason = f"counting takes more than {COUNT_SECONDS:g} s"
    print_error(f"the number of records is not known: {reason}")
    return None
