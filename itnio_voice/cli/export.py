"""Records into a file, which can be stopped at any instant and gone on with."""

import time
from datetime import datetime
from pathlib import Path

from ..accounts import Account
from ..files import export, format_of
from ..journal import Journal
from .messages import collected
from .options import NOW, Range, ReadingOptions, are_named, usage
from .progress import Bar, say, tell_skipped, tell_unread

__all__ = ["run"]

STATE = ".state"


async def run(start: str, end: str, output: Path, reading: ReadingOptions, *, resume: bool) -> None:
    """Write the records of a range into a file."""
    accounts = reading.found()
    with usage():
        format_of(output)
        journal = _journal(start, end, output, accounts, reading, resume=resume)
    with journal:
        if journal.finished:
            say(f"{output} is finished: remove {_state(output)} to export it again")
            return
        typed = _settled(journal, end)
        await _export(output, accounts, journal, typed, reading, resume=resume)


async def _export(
    output: Path,
    accounts: dict[str, Account],
    journal: Journal,
    typed: Range,
    reading: ReadingOptions,
    *,
    resume: bool,
) -> None:
    began = time.monotonic()
    async with reading.streams(typed.start, typed.end, accounts=accounts, resume=journal.checkpoint) as streams:
        with Bar(streams.values(), accounts=accounts, quiet=reading.quiet) as bar, collected():
            await export(
                streams,
                output,
                journal,
                account=are_named(accounts),
                window=typed.window,
                on_error=reading.on_error,
                told=bar.show,
            )
        tell_skipped(streams)
        tell_unread(streams.values(), typed.start, typed.until, continues=resume)
    records, seconds = sum(stream.progress.records for stream in streams.values()), time.monotonic() - began
    bar.tell(f"{records:,} records in {seconds:.1f} s; {output} has {_size(output):,} bytes")


def _size(output: Path) -> int:
    return output.stat().st_size


def _journal(
    start: str, end: str, output: Path, accounts: dict[str, Account], reading: ReadingOptions, *, resume: bool
) -> Journal:
    """Return the journal to go on with, or a new one.

    What is asked for is compared as it is typed, so that the same command goes on. The first run settles the start, and
    the end that must be reached; an end of "now" is that of each run.
    """
    typed = reading.range(start, end)
    settled = {"start": typed.start.isoformat(), "end": typed.until.isoformat()}
    asked = {
        "start": start,
        "end": end,
        "timezone": reading.timezone,
        "sip": reading.sip,
        "accounts": list(accounts),
        "expired": reading.expired,
    }
    journal = Journal(_state(output) if resume else None, asked=asked, settled=settled)
    if journal.finished and not output.exists():
        journal.restart(settled)
    return journal


def _settled(journal: Journal, end: str) -> Range:
    """Return the range of an export as its first run settled it."""
    start, until = (datetime.fromisoformat(journal.settled[name]) for name in ("start", "end"))
    return Range(start, None if end == NOW else until, until)


def _state(output: Path) -> Path:
    return output.with_name(output.name + STATE)
