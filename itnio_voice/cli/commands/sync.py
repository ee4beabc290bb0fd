"""`itnio-voice sync`: bring a warehouse up to date."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

from ..._model.windows import SECOND, whole_seconds
from ...outputs.warehouse import SyncResult, sync
from ..messages import message_of
from ..options import RequestOptions, decimal_type, duration, has_user_names, moment, usage, zone_of
from ..progress import Bar, print_skipped, print_unread
from ..terminal import print_error

__all__ = ["private_files", "run"]


def run(
    *,
    since: str,
    destination: str,
    database: Path,
    dataset: str,
    lookback: str,
    money: str | None,
    requests: RequestOptions,
) -> bool:
    """Bring a destination up to date, and return whether all accounts could be read."""
    accounts = requests.found()
    now = datetime.now(UTC)
    bar = Bar(accounts=accounts, quiet=requests.quiet)

    def show(synced: SyncResult) -> None:
        bar.streams = [stream for streams in synced.streams.values() for stream in streams.values()]
        bar.show()

    with usage():
        first = moment(since, zone=zone_of(requests.timezone), now=now)
        whole_seconds(first, now)  # raises for a start that is not before now
        back = duration(lookback, option="--lookback")
        with bar, private_files() if destination == "duckdb" else nullcontext():
            synced = sync(
                accounts,
                since=first,
                lookback=back,
                destination=destination,
                database=database,
                dataset=dataset,
                money=decimal_type(money),
                expired=requests.expired,
                on_progress=show,
                **requests.options,
            )
    for streams in synced.streams.values():
        print_skipped(streams)
    if not synced.failures:
        read = [stream for streams in synced.streams.values() for stream in streams.values()]
        print_unread(read, first, now - SECOND, continues=True)
    for account, errors in synced.failed.items():
        print_error(f"{account}: {_line(errors)}" if has_user_names(accounts) else _line(errors))
    if not requests.quiet:
        rows = " and ".join(f"{rows:,} rows into {table}" for table, rows in synced.rows.items())
        place = f"duckdb file {database.absolute()}" if destination == "duckdb" else destination
        print_error(f"merged {rows}: {place}, dataset {synced.dataset}")
    return not synced.failures


def _line(errors: Mapping[str, Exception]) -> str:
    """Return an account's errors by table as one line, which has each type of error once."""
    first: dict[str, Exception] = {}
    tables: dict[str, list[str]] = {}
    for table, error in errors.items():
        kind = type(error).__name__
        first.setdefault(kind, error)
        tables.setdefault(kind, []).append(table)
    return "; ".join(f"{message_of(error)} ({', '.join(tables[kind])})" for kind, error in first.items())


@contextmanager
def private_files() -> Generator[None]:
    """Create files that only their owner can read: also the write-ahead log beside a database holds call data."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
