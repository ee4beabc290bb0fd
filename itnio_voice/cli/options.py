"""What commands have in common: which records, of which accounts, and how they are asked for."""

import re
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import attrs
from cyclopts import Parameter

from ..accounts import DEFAULT, Account, find_accounts, open_sessions
from ..checkpoint import Checkpoint
from ..models import CallRecord, SipRecord, VoiceRecord
from ..session import Options
from ..stream import RecordStream
from ..windows import SECOND, Window, floor, whole_seconds

__all__ = [
    "AccountOptions",
    "AskingOptions",
    "Moment",
    "Range",
    "ReadingOptions",
    "UsageError",
    "are_named",
    "duration",
    "moment",
    "usage",
    "zone_of",
]

_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Moment = Annotated[
    str,
    Parameter(help="2026-09-01T08:00+08:00, 2026-09-01 (midnight in --timezone), now, or 30d (that long ago; smhdw)."),
]
"""A point in time, as it is typed."""


class UsageError(ValueError):
    """The command line asks for what cannot be."""


@contextmanager
def usage() -> Generator[None]:
    """Tell a wrong argument that only the library finds as the wrong usage that it is."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def moment(text: str, *, zone: tzinfo, now: datetime) -> datetime:
    """Read a point in time as it is typed.

    Raises:
        ValueError: if it is none, or has a time of day without an offset.
    """
    if text == NOW:
        return now
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            return datetime.combine(date.fromisoformat(text), time(), zone)
        except ValueError:
            at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        at = None
    if at is None or at.utcoffset() is None:
        missing = "is no point in time" if at is None else "has no offset"
        message = f"{text!r} {missing}: write 2026-09-01T08:00+08:00, 2026-09-01, now, or 30d for 30 days ago"
        raise ValueError(message)
    return at


def duration(text: str, *, option: str) -> timedelta:
    """Read a length of time as it is typed.

    Raises:
        ValueError: if it is not a number and a unit; the message names the option.
    """
    if not (parts := _AGO.fullmatch(text)):
        message = f"{option} must be a duration such as 36h, 3d or 2w, not {text!r}"
        raise ValueError(message)
    try:
        return timedelta(**{_UNITS[parts[2]]: int(parts[1])})
    except OverflowError:
        message = f"{option} {text} is too long"
        raise ValueError(message) from None


NOW = "now"


@attrs.frozen
class Range:
    """A range as it is typed: `end` is None for "now", which is read by the server's clock.

    `until` is the end that must be reached: for "now", the last second that is over on this machine's clock.
    """

    start: datetime
    end: datetime | None
    until: datetime

    @property
    def window(self) -> Window | None:
        """The seconds that must be read; None if there are none."""
        first, last = floor(self.start), floor(self.until)
        return Window(first, last) if first < last else None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class AccountOptions:
    """Which accounts are asked."""

    account: Annotated[
        list[str],
        Parameter(
            help="An account by its name; may be given several times. Without it, all there are.",
            negative="",
            show_default=False,
        ),
    ] = attrs.field(factory=list[str])
    accounts: Annotated[
        Path | None,
        Parameter(
            help="A TOML file with a table for each account. Default: ITNIO_ACCOUNTS, else the ITNIO_ variables."
        ),
    ] = None

    def found(self) -> dict[str, Account]:
        """Return the accounts by name."""
        with usage():
            return find_accounts(self.account, file=self.accounts)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class AskingOptions(AccountOptions):
    """How accounts are asked, and how fast."""

    concurrency: Annotated[int, Parameter(help="Requests in flight at once, for each account.")] = 4
    rate: Annotated[float | None, Parameter(help="Requests sent per second at most, for each account.")] = None
    timezone: Annotated[str, Parameter(help="The time zone that dates are in.")] = "UTC"
    expired: Annotated[
        Literal["raise", "skip"], Parameter(help="What is older than the server keeps: an error, or left out and told.")
    ] = "raise"
    quiet: Annotated[bool, Parameter(help="Show no progress.", negative="")] = False

    @property
    def options(self) -> Options:
        """The options of each account's session."""
        return Options(concurrency=self.concurrency, rate=self.rate)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ReadingOptions(AskingOptions):
    """Which records of a range are read."""

    sip: Annotated[bool, Parameter(help="Phone (SIP) records instead of voice messages.", negative="")] = False

    @property
    def of(self) -> type[CallRecord]:
        """The kind of record."""
        return SipRecord if self.sip else VoiceRecord

    def range(self, start: str, end: str) -> Range:
        """Return the range that is typed."""
        now = floor(datetime.now(UTC))
        with usage():
            zone = zone_of(self.timezone)
            first, last = moment(start, zone=zone, now=now), moment(end, zone=zone, now=now)
            whole_seconds(first, last)  # raises for a start that is not before the end
        return Range(first, None, now - SECOND) if end == NOW else Range(first, last, last)

    @asynccontextmanager
    async def streams(
        self,
        start: datetime,
        end: datetime | None,
        *,
        accounts: dict[str, Account],
        limit: int | None = None,
        resume: Callable[[str], Checkpoint | None] = lambda _: None,
    ) -> AsyncGenerator[dict[str, RecordStream[Any]]]:
        """Open a session for each account, and give the records of a range as a stream each."""
        async with AsyncExitStack() as stack:
            with usage():
                sessions = await stack.enter_async_context(open_sessions(accounts, **self.options))
                streams = {
                    name: session.records(
                        start, end, of=self.of, limit=limit, resume=resume(name), expired=self.expired
                    )
                    for name, session in sessions.items()
                }
            yield streams


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name.

    Raises:
        ValueError: if there is none.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        message = f"there is no time zone {name!r}: write one such as UTC, Europe/Berlin or Asia/Shanghai"
        raise ValueError(message) from None


def are_named(accounts: dict[str, Account]) -> bool:
    """Tell whether accounts have names that a user gave, which records are then told with."""
    return accounts.keys() != {DEFAULT}
