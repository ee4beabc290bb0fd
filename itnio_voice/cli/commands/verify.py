"""`itnio-voice verify`: compare a warehouse or an exported file with the API, and repair a warehouse."""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import attrs

from ...outputs.verify import VerifiedTable, verify
from ..messages import UsageError
from ..options import PaceOptions, has_user_names, moment, usage, zone_of
from ..progress import Bar, counted
from ..terminal import OUTPUT, print_error, print_line
from .sync import private_files

__all__ = ["How", "run"]

SHOWN = 20
"""The maximum number of ids of each type of difference that are printed on a terminal; elsewhere, all are."""


@attrs.frozen(kw_only=True)
class How:
    """What is compared, as it is typed, and what is done about differences."""

    since: str | None
    until: str | None
    dataset: str | None
    by_id: bool
    repair: bool


async def run(source: Path, how: How, pace: PaceOptions) -> bool:
    """Compare, print the differences, and return whether there are none left."""
    accounts = pace.found()
    now = datetime.now(UTC)
    with usage():
        zone = zone_of(pace.timezone)
        since, until = (_moment(*each, zone, now) for each in (("--since", how.since), ("--until", how.until)))
        with Bar(accounts=accounts, quiet=pace.quiet), private_files():
            done = await verify(
                accounts,
                source,
                since=since,
                until=until,
                dataset=how.dataset,
                by_id=how.by_id,
                repair=how.repair,
                **pace.options,
            )
    for name, number in done.not_compared.items():
        print_error(f"not compared: {counted(number, 'row')} of the account {name!r}, which is not configured")
    for table in done.tables:
        label = f"{table.account} {table.table}" if has_user_names(accounts) else table.table
        if table.undated:
            print_error(f"{label}: {counted(table.undated, 'row')} without a submit time may be extra")
        for line in _lines(table, label, zone):
            print_line(line)
    return done.agrees


def _moment(option: str, text: str | None, zone: tzinfo, now: datetime) -> datetime | None:
    try:
        return None if text is None else moment(text, zone=zone, now=now)
    except ValueError as error:
        message = f"{option}: {error}"
        raise UsageError(message) from None


def _lines(table: VerifiedTable, label: str, zone: tzinfo) -> Iterator[str]:
    """Yield the result for a table as a line, and a line for each id."""
    if table.window is None:
        yield f"{label}: not compared, all of it is older than the API's retention"
        return
    differing = {"missing": table.missing, "extra": table.extra, "changed": table.changed}
    numbers = ", ".join(f"{what} {len(ids):,}" for what, ids in differing.items())
    start, end = (at.astimezone(zone).isoformat() for at in (table.window.start, table.window.end))
    merged = f"; merged {counted(len(table.missing) + len(table.changed), 'record')}" if table.repaired else ""
    yield f"{label}: {numbers}{merged} ({counted(table.records, 'record')} from {start} to {end})"
    for what, ids in differing.items():
        shown = SHOWN if OUTPUT.is_terminal else len(ids)
        yield from (f"  {what} {name}" for name in ids[:shown])
        if len(ids) > shown:
            yield f"  {what}: and {len(ids) - shown:,} more"
