"""A warehouse brought up to date."""

from datetime import UTC, datetime
from pathlib import Path

from ..warehouse import Synced, sync
from ..windows import SECOND, whole_seconds
from .messages import message_of
from .options import AskingOptions, moment, usage, zone_of
from .progress import Bar, say, tell_skipped, tell_unread

__all__ = ["run"]


def run(*, since: str, destination: str, database: Path, dataset: str, lookback: str, asking: AskingOptions) -> bool:
    """Bring a destination up to date, and return whether all accounts could be read."""
    accounts = asking.found()
    now = datetime.now(UTC)
    bar = Bar(accounts=accounts, quiet=asking.quiet)

    def told(synced: Synced) -> None:
        bar.streams = [stream for streams in synced.streams.values() for stream in streams.values()]
        bar.show()

    with usage():
        first = moment(since, zone=zone_of(asking.timezone), now=now)
        whole_seconds(first, now)  # raises for a start that is not before now
        back = now - moment(lookback, zone=UTC, now=now)
        with bar:
            synced = sync(
                accounts,
                since=first,
                lookback=back,
                destination=destination,
                database=database,
                dataset=dataset,
                expired=asking.expired,
                told=told,
                **asking.options,
            )
    for streams in synced.streams.values():
        tell_skipped(streams)
    if not synced.failures:
        read = [stream for streams in synced.streams.values() for stream in streams.values()]
        tell_unread(read, first, now - SECOND, continues=True)
    for failure in synced.failures:
        say(message_of(failure))
    bar.tell(", ".join(f"{table}: {rows:,} rows merged" for table, rows in synced.rows.items()))
    return not synced.failures
