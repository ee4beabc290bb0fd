"""The options that commands share: accounts, time ranges, and how records are requested."""

import re
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import attrs
from cyclopts import Parameter

from .._client.accounts import DEFAULT, Account, find_accounts, open_sessions
from .._client.checkpoint import Checkpoint
from .._client.session import SessionOptions, VoiceSession
from .._client.stream import RecordStream
from .._model.records import CallRecord, SipRecord, VoiceRecord
from .._model.windows import SECOND, Window, floor, whole_seconds
from .messages import UsageError

__all__ = [
    "AccountOptions",
    "KindOptions",
    "Moment",
    "Money",
    "PaceOptions",
    "Range",
    "ReadingOptions",
    "RequestOptions",
    "decimal_type",
    "duration",
    "has_user_names",
    "moment",
    "usage",
    "zone_of",
]

_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Moment = Annotated[
    str,
    Parameter(
        help="2026-09-01T08:00+08:00; '2026-09-01 08:00' or 2026-09-01 (midnight), both in --timezone; now; "
        "or 30d for 30 days ago (also s, m, h, w)."
    ),
]
"""A point in time, as it is typed."""
Expired = Annotated[
    Literal["raise", "skip"],
    Parameter(help="For times older than the server's retention: raise an error, or skip and report them."),
]
"""The option for expired records."""
_FORMS = '2026-09-01, "2026-09-01 08:00", 2026-09-01T08:00+08:00, now, or 30d for 30 days ago'


Money = Annotated[
    str | None,
    Parameter(
        help="Columns of amounts: the number of digits, and how many of them are decimals, such as 38,18. "
        "Default: 18,8. An amount that does not fit is an error."
    ),
]
_DIGITS = re.compile(r"([0-9]{1,2}),([0-9]{1,2})")
_MOST_DIGITS, _MOST_DECIMALS = 38, 18


@contextmanager
def usage() -> Generator[None]:
    """Raise a wrong argument that only the library finds as a `UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def moment(text: str, *, zone: tzinfo, now: datetime) -> datetime:
    """Read a point in time as it is typed; without an offset it is in `zone`, and a date is the day's first moment.

    Raises:
        ValueError: if it cannot be read, or if that time of day does not exist in `zone`, or exists twice.
    """
    at = now if text == NOW else _read(text, zone, now)
    if at is None:
        message = f"{text!r} is not a time: write {_FORMS}"
        raise ValueError(message)
    return at if at.utcoffset() is not None else _in_zone(at, zone)


def _read(text: str, zone: tzinfo, now: datetime) -> datetime | None:
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            # In UTC: a time that its zone never or twice shows equals no time of another zone in Python.
            return datetime.combine(date.fromisoformat(text), time(), zone).astimezone(UTC)
        except ValueError:
            return datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None


def _in_zone(at: datetime, zone: tzinfo) -> datetime:
    """Return the time that the clocks of a zone show as `at`.

    Raises:
        ValueError: if that time does not exist in the zone, or exists twice.
    """
    first, second = (at.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    # If clocks are set forward, a conversion to UTC and back changes both.
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != at:
        message = f"{at} does not exist in {zone}: the clocks are set forward then; write another time"
    else:
        both = " or ".join(each.isoformat() for each in (first, second))
        message = f"{at} occurs twice in {zone}: the clocks are set back then; write {both}"
    raise ValueError(message)


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


def decimal_type(text: str | None) -> Any:
    """Return the Arrow type of amounts that the option --money names; None if it is not given.

    Raises:
        UsageError: for another text than two numbers.
    """
    if text is None:
        return None
    import pyarrow as pa  # noqa: PLC0415 -- an extra of its own

    digits, decimals = map(int, found.groups()) if (found := _DIGITS.fullmatch(text)) else (0, 0)
    if not (0 < digits <= _MOST_DIGITS and decimals <= min(digits, _MOST_DECIMALS)):
        most = f"at most {_MOST_DIGITS} digits and {_MOST_DECIMALS} decimals"
        message = f"--money must be digits,decimals such as 38,18, with {most}, not {text!r:.80}"
        raise UsageError(message)
    return pa.decimal128(digits, decimals)


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
        """The window that must be read; None if the range has no complete second."""
        first, last = floor(self.start), floor(self.until)
        return Window(first, last) if first < last else None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class AccountOptions:
    """The accounts to read."""

    account: Annotated[
        list[str],
        Parameter(
            help="The name of an account; can be given several times. Default: all accounts.",
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
class PaceOptions(AccountOptions):
    """How fast accounts are read, and how times are typed and shown."""

    concurrency: Annotated[int, Parameter(help="Requests in flight at once, for each account.")] = 4
    rate: Annotated[float | None, Parameter(help="At most this many requests per second, for each account.")] = None
    timezone: Annotated[
        str, Parameter(help="The time zone of dates and times without an offset, and of the times in tables.")
    ] = "UTC"
    quiet: Annotated[bool, Parameter(help="Print neither progress nor retries.", negative="")] = False

    @property
    def options(self) -> SessionOptions:
        """The options of each account's session."""
        return SessionOptions(concurrency=self.concurrency, rate=self.rate)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RequestOptions(PaceOptions):
    """How and how fast accounts are read."""

    expired: Expired = "raise"


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class KindOptions(PaceOptions):
    """Which kind of record is read, and what happens when an account fails."""

    sip: Annotated[bool, Parameter(help="Phone (SIP) records instead of voice messages.", negative="")] = False
    on_error: Annotated[
        Literal["raise", "collect"],
        Parameter(help="When an account fails: stop at once, or read the others to their end first. Both exit with 1."),
    ] = "raise"

    @property
    def of(self) -> type[CallRecord]:
        """The kind of record."""
        return SipRecord if self.sip else VoiceRecord

    @asynccontextmanager
    async def sessions(self, accounts: dict[str, Account]) -> AsyncGenerator[dict[str, VoiceSession]]:
        """Open a session for each account."""
        async with AsyncExitStack() as stack:
            with usage():
                sessions = await stack.enter_async_context(open_sessions(accounts, **self.options))
            yield sessions

    def moment(self, name: str, text: str, now: datetime) -> datetime:
        """Read a point in time of the argument `name`."""
        with usage():
            zone = zone_of(self.timezone)
        try:
            return moment(text, zone=zone, now=now)
        except ValueError as error:
            hint = "; each account needs its own --account" if self.account else ""
            message = f"{name}: {error}{hint}"
            raise UsageError(message) from None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ReadingOptions(KindOptions):
    """Which records of a range are read."""

    expired: Expired = "raise"

    def range(self, start: str, end: str) -> Range:
        """Return the range that START and END describe."""
        now = floor(datetime.now(UTC))
        first, last = (self.moment(*each, now) for each in (("START", start), ("END", end)))
        with usage():
            whole_seconds(first, last)  # raises for a start that is not before the end
        return Range(first, None, now - SECOND) if end == NOW else Range(first, last, last)

    @asynccontextmanager
    async def streams(
        self,
        start: datetime,
        end: datetime | None,
        *,
        accounts: dict[str, Account],
        resume: Callable[[str], Checkpoint | None],
    ) -> AsyncGenerator[dict[str, RecordStream[Any]]]:
        """Open a session for each account, and yield a stream of the records of a range for each."""
        async with self.opened(start, end, accounts=accounts, resume=resume) as opened:
            yield {name: stream for name, (_, stream) in opened.items()}

    @asynccontextmanager
    async def opened(
        self,
        start: datetime,
        end: datetime | None,
        *,
        accounts: dict[str, Account],
        limit: int | None = None,
        newest_first: bool = False,
        resume: Callable[[str], Checkpoint | None] = lambda _: None,
    ) -> AsyncGenerator[dict[str, tuple[VoiceSession, RecordStream[Any]]]]:
        """Open a session for each account, and yield it with a stream of the records of a range."""
        async with self.sessions(accounts) as sessions:
            with usage():
                opened = {
                    name: (
                        session,
                        session.records(
                            start,
                            end,
                            of=self.of,
                            limit=limit,
                            resume=resume(name),
                            expired=self.expired,
                            newest_first=newest_first,
                        ),
                    )
                    for name, session in sessions.items()
                }
            yield opened


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name.

    Raises:
        ValueError: if there is no such time zone.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        message = f"there is no time zone {name!r}: write one such as UTC, Europe/Berlin or Asia/Shanghai"
        raise ValueError(message) from None


def has_user_names(accounts: dict[str, Account]) -> bool:
    """Return whether a user named the accounts, so that records are shown with their account."""
    return accounts.keys() != {DEFAULT}
