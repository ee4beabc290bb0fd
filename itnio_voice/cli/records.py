"""Records on standard output: a table on a terminal, else a JSON object a line."""

import sys
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console

from ..lines import json_lines
from ..merge import merge
from ..models import CallRecord
from .calls import calls
from .options import ReadingOptions, are_named
from .progress import Bar, tell_skipped, tell_unread

__all__ = ["run"]

SHOWN = 100
"""So many records a table has at most, unless told."""


class Output(Protocol):
    """Where records go."""

    def take(self, account: str | None, records: Sequence[CallRecord]) -> None:
        """Take in records, with their account if it is to be told."""

    def end(self) -> None:
        """Print what is left to print."""


class Lines:
    """A JSON object a line."""

    def take(self, account: str | None, records: Sequence[CallRecord]) -> None:
        """Print records."""
        sys.stdout.buffer.write(json_lines(records, account=account))
        sys.stdout.buffer.flush()

    def end(self) -> None:
        """Print nothing more."""


class Table:
    """A table, once all records are there: their width tells its columns'."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._records: list[CallRecord] = []
        self._accounts: list[str] = []

    def take(self, account: str | None, records: Sequence[CallRecord]) -> None:
        """Keep records."""
        self._records += records
        self._accounts += [account] * len(records) if account else ()

    def end(self) -> None:
        """Print the table."""
        self._console.print(calls(self._records, title=f"Calls: {len(self._records):,}", accounts=self._accounts))


async def run(start: str, end: str, limit: int | None, reading: ReadingOptions) -> None:
    """Print the records of a range, at most `limit` (on a terminal, a hundred unless told)."""
    accounts = reading.found()
    named = are_named(accounts)
    console = Console()
    output: Output = Table(console) if console.is_terminal else Lines()
    if limit is None and console.is_terminal:
        limit = SHOWN
    typed = reading.range(start, end)
    async with reading.streams(typed.start, typed.end, accounts=accounts, limit=limit) as streams:
        left = sys.maxsize if limit is None else limit
        with Bar(streams.values(), quiet=reading.quiet) as bar:
            async with merge({name: stream.pages() for name, stream in streams.items()}, buffer=1) as merged:
                async for name, page in merged:
                    bar.show()
                    output.take(name if named else None, page.records[:left])
                    left -= len(page.records)
                    if left <= 0:
                        break
        output.end()
        tell_skipped(streams)
        if left > 0:
            tell_unread(streams.values(), typed.start, typed.until)
