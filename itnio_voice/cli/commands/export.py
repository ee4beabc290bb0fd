"""`itnio-voice export`: records to a file or to standard output, resumable with `--resume`."""

import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from ..._client.accounts import Account
from ..._client.checkpoint import fingerprint
from ..._files.atomic_file import check_place
from ...outputs._journal import Journal
from ...outputs.files import Writable, digest_of, export, format_of
from ..messages import UsageError, collected
from ..options import NOW, Range, ReadingOptions, decimal_type, has_user_names, usage
from ..progress import Bar, print_skipped, print_unread
from ..terminal import print_error

__all__ = ["Target", "run"]

STATE = ".state"
STANDARD_OUTPUT = Path("-")


@attrs.frozen
class Target:
    """Where the records go, and in which format."""

    output: Path
    form: str | None = None
    csv_safe: bool = False
    resume: bool = False
    money: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether they go into a file, not to standard output."""
        return self.output != STANDARD_OUTPUT

    @property
    def state(self) -> Path:
        """The file that holds the records read so far."""
        return self.output.with_name(self.output.name + STATE)

    def check(self) -> None:
        """Check what can be checked before records are read.

        Raises:
            UsageError: if the options do not go together.
            OSError: if the output cannot be written.
        """
        if not self.is_file and self.form is None:
            message = "standard output (-o -) has no ending that names a format: add --format csv, for example"
            raise UsageError(message)
        if not self.is_file and self.resume:
            message = "--resume needs a file: what went to standard output cannot be continued"
            raise UsageError(message)
        with usage():
            form = format_of(self.output, self.form, csv_safe=self.csv_safe, money=self.money)
        decimal_type(self.money)
        if self.is_file:
            check_place(self.output)
        elif sys.stdout.isatty() and not form.is_text:
            message = f"{self.form} is binary and standard output is a terminal: redirect it, or name a file"
            raise UsageError(message)

    @contextmanager
    def opened(self) -> Generator[Path | Writable]:
        """Yield the file's path, or standard output."""
        if self.is_file:
            yield self.output
            return
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            yield file

    def written(self) -> str:
        """Return a text that says what was written."""
        return f"{self.output} has {self.output.stat().st_size:,} bytes" if self.is_file else "to standard output"


async def run(start: str, end: str, target: Target, reading: ReadingOptions) -> None:
    """Write the records of a range."""
    accounts = reading.found()
    typed = reading.range(start, end)
    target.check()
    with usage():
        journal = Journal(
            target.state if target.resume else None,
            request=_identity(start, end, target, accounts, reading),
            resolved=_resolved(typed),
        )
    with journal:
        if journal.finished:
            if not (reason := _outdated(journal, typed, target.output)):
                _note(reading, f"{target.output} is finished: delete {target.state} to export it again")
                return
            _note(reading, f"{target.output} {reason}: exporting it again")
        if journal.begun:
            typed = _first_range(journal, end)
            until = "the present" if typed.end is None else typed.until.isoformat()
            read = f"{journal.records:,} records for {target.output} have been read"
            _note(reading, f"{read}: continuing with {typed.start.isoformat()} to {until}")
        else:
            journal.restart(_resolved(typed))
        await _export(target, accounts, journal, typed, reading)


def _note(reading: ReadingOptions, text: str) -> None:
    """Print a line on standard error, but not with `--quiet`."""
    if not reading.quiet:
        print_error(text)


async def _export(
    target: Target, accounts: dict[str, Account], journal: Journal, typed: Range, reading: ReadingOptions
) -> None:
    began = time.monotonic()
    before = journal.records
    async with reading.streams(typed.start, typed.end, accounts=accounts, resume=journal.checkpoint) as streams:
        bar = Bar(streams.values(), accounts=accounts, quiet=reading.quiet, before=before)
        with target.opened() as output, bar, collected():
            await export(
                streams,
                output,
                journal,
                form=target.form,
                account=has_user_names(accounts),
                csv_safe=target.csv_safe,
                money=decimal_type(target.money),
                window=typed.window,
                on_error=reading.on_error,
                on_progress=bar.show,
            )
        print_skipped(streams)
        print_unread(streams.values(), typed.start, typed.until, continues=target.resume)
    of_this_run = f" ({journal.records - before:,} of this run)" if before else ""
    seconds = time.monotonic() - began
    _note(reading, f"{journal.records:,} records{of_this_run} in {seconds:.1f} s: {target.written()}")


def _identity(
    start: str, end: str, target: Target, accounts: dict[str, Account], reading: ReadingOptions
) -> Mapping[str, Any]:
    """Return the values that must be the same for a state to be continued.

    The range is compared as it is typed: the first run resolves `30d`. Accounts count by a digest of their
    key, and fields because another version of this package may have others. Money is compared as it is typed:
    without it, an export keeps the type in which its first run, also of an earlier version, read the records.
    """
    return {
        "start": start,
        "end": end,
        "timezone": reading.timezone,
        "sip": reading.sip,
        "expired": reading.expired,
        "accounts": {
            name: fingerprint(account.credentials.api_key, account.base_url) for name, account in accounts.items()
        },
        "format": target.form or target.output.suffix.lower().removeprefix("."),
        "csv_safe": target.csv_safe,
        "money": target.money,
        "fields": ", ".join(field.name for field in attrs.fields(reading.of)),
    }


def _resolved(typed: Range) -> dict[str, str]:
    return {"start": typed.start.isoformat(), "end": typed.until.isoformat()}


def _outdated(journal: Journal, typed: Range, output: Path) -> str | None:
    """Return the reason why a finished output must be exported again; None if it is up to date."""
    if journal.resolved != _resolved(typed):
        return "has the records of an earlier range"
    digest = digest_of(output)
    if digest is None:
        return "was finished and is not there"
    return None if digest == journal.digest else "was changed since it was finished"


def _first_range(journal: Journal, end: str) -> Range:
    """Return the range of an export as its first run resolved it; "now" as the end is that of each run."""
    start, until = (datetime.fromisoformat(journal.resolved[name]) for name in ("start", "end"))
    return Range(start, None if end == NOW else until, until)
