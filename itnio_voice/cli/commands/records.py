"""`itnio-voice records`: a table on a terminal, else a JSON object per line."""

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol

import attrs

from ..._client.merging import merge
from ..._client.stream import RecordStream
from ..._model.records import CallRecord
from ..._wire.pages import Page
from ...outputs.text import json_lines
from ..messages import AccountsError
from ..options import ReadingOptions, has_user_names, zone_of
from ..progress import Bar, print_skipped, print_unread
from ..tables import calls
from ..terminal import OUTPUT, print_output, write_output

__all__ = ["run"]

SHOWN = 100
"""The maximum number of records in a table, by default."""
_EARLIEST = datetime.min.replace(tzinfo=UTC)


class Output(Protocol):
    """Where records go. `is_full` once the limit has been reached."""

    is_full: bool

    def take(self, account: str, page: Page[Any]) -> None:
        """Add a page of an account."""

    def end(self, streams: Mapping[str, RecordStream[Any]], failed: Collection[str]) -> None:
        """Print what has not been printed; `failed` are the accounts that have not been read to their end."""


class Lines:
    """A JSON object per line, as the pages arrive."""

    def __init__(self, limit: int | None, *, named: bool) -> None:
        self.is_full = limit == 0
        self._left = sys.maxsize if limit is None else limit
        self._named = named

    def take(self, account: str, page: Page[Any]) -> None:
        """Print records."""
        records = page.records[: self._left]
        write_output(json_lines(records, account=account if self._named else None))
        self._left -= len(records)
        self.is_full = not self._left

    def end(self, streams: Mapping[str, RecordStream[Any]], failed: Collection[str]) -> None:
        """Do nothing: all records have been printed."""


@attrs.define
class Taken:
    """The first records of an account, up to one more than are shown.

    `total` is the number of records up to the end of the last window read, by the server's total; None if that is
    missing or wrong.
    """

    records: list[CallRecord] = attrs.field(factory=list[CallRecord])
    total: int | None = None
    _before: int = 0

    def add(self, page: Page[Any]) -> None:
        """Add a page; the first one of a window has the number 1."""
        if page.current == 1:
            self._before = len(self.records)
        self.records += page.records
        total = self._before + (page.total or 0)
        self.total = total if total >= len(self.records) else None


class Table:
    """A table of at most `limit` records, an equal share of each account; printed once all are there."""

    def __init__(self, limit: int, *, named: bool, zone: tzinfo) -> None:
        self.is_full = False
        self._limit = limit
        self._named = named
        self._zone = zone
        self._taken: dict[str, Taken] = {}

    def take(self, account: str, page: Page[Any]) -> None:
        """Keep records."""
        self._taken.setdefault(account, Taken()).add(page)

    def end(self, streams: Mapping[str, RecordStream[Any]], failed: Collection[str]) -> None:
        """Print the table."""
        self.is_full = any(len(taken.records) > self._limit for taken in self._taken.values())
        shares = fair_shares([len(taken.records) for taken in self._taken.values()], self._limit)
        rows = [
            (name, record)
            for (name, taken), share in zip(self._taken.items(), shares, strict=True)
            for record in taken.records[:share]
        ]
        if len(self._taken) > 1:
            rows.sort(key=lambda row: row[1].submit_time or _EARLIEST)
        table = calls(
            [record for _, record in rows],
            title=f"Calls: {self._count(len(rows), streams, failed)}"
            + (f"; failed: {', '.join(failed)}" if failed else ""),
            accounts=[name for name, _ in rows] if self._named else (),
            zone=self._zone,
        )
        print_output(table)

    def _count(self, shown: int, streams: Mapping[str, RecordStream[Any]], failed: Collection[str]) -> str:
        """Return how many records are shown, of how many, and which."""
        if sum(len(taken.records) for taken in self._taken.values()) == shown:
            return f"{shown:,}"
        least, is_exact, is_counted = 0, not failed, False
        for name, taken in self._taken.items():
            if len(taken.records) <= self._limit:  # all that there are
                least += len(taken.records)
            else:
                progress = streams[name].progress
                is_last = progress.windows_planned - progress.windows_done == 1
                is_exact &= is_last and taken.total is not None
                is_counted |= taken.total is not None
                least += taken.total or len(taken.records)
        total = f"{least:,}" if is_exact else f"at least {least:,}" if is_counted else f"more than {shown:,}"
        which = "oldest" if all(is_ascending(taken.records) for taken in self._taken.values()) else "first"
        return f"{shown:,} of {total}, the {which}{' of each account' if len(self._taken) > 1 else ''}"


def fair_shares(available: Sequence[int], limit: int) -> list[int]:
    """Return how many records of each account are shown: as equal as possible, `limit` together at most."""
    shares = [0] * len(available)
    fewest_first = sorted(range(len(available)), key=lambda index: available[index])
    for place, index in enumerate(fewest_first):
        shares[index] = min(available[index], limit // (len(available) - place))
        limit -= shares[index]
    return shares


def is_ascending(records: Sequence[CallRecord]) -> bool:
    """Return whether records are in the order of their submit times, as far as they have one."""
    times = [record.submit_time for record in records if record.submit_time]
    return times == sorted(times)


async def run(start: str, end: str, limit: int | None, reading: ReadingOptions) -> None:
    """Print the records of a range, at most `limit` (on a terminal 100 by default)."""
    accounts = reading.found()
    typed = reading.range(start, end)
    named = has_user_names(accounts)
    output: Output
    if OUTPUT.is_terminal:
        shown = SHOWN if limit is None else limit
        output = Table(shown, named=named, zone=zone_of(reading.timezone))
        limit = shown + 1  # one more, which shows that there are more
    else:
        output = Lines(limit, named=named)
    async with reading.streams(typed.start, typed.end, accounts=accounts, limit=limit) as streams:
        with Bar(streams.values(), accounts=accounts, quiet=reading.quiet) as bar:
            pages = {name: stream.pages() for name, stream in streams.items()}
            # A collected failure is in `merged.failures`, and is reported below the records.
            async with merge(pages, buffer=1, on_error=reading.on_error) as merged:
                with suppress(ExceptionGroup):
                    async for name, page in merged:
                        bar.show()
                        output.take(name, page)
                        if output.is_full:
                            break
        output.end(streams, merged.failures)
        print_skipped(streams)
        if merged.failures:
            raise AccountsError(merged.failures.values())
        if not output.is_full:
            print_unread(streams.values(), typed.start, typed.until)
