"""Windows: ranges of whole seconds, cut, joined and subtracted. Pure: no clock."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

import attrs

__all__ = [
    "FOREVER",
    "LONGEST",
    "SECOND",
    "SHORTEST",
    "WIRE_ZONE",
    "Window",
    "before",
    "cut",
    "floor",
    "gaps",
    "join",
    "whole_seconds",
]

SECOND = timedelta(seconds=1)
LONGEST = timedelta(days=31)
"""The longest window that the vendor's page allows."""
SHORTEST = 2 * SECOND
"""The shortest window with which a walk makes progress: neighbouring windows share one second."""
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a range that has none."""
WIRE_ZONE = timezone(timedelta(hours=8))
"""The offset of the times in requests. All of the vendor's examples use it, so requests are also correct for a server
that ignores the offset and reads every time as its own local time."""


def _whole_second(_: object, attribute: "attrs.Attribute[datetime]", value: datetime) -> None:
    if value.utcoffset() is None or value.microsecond:
        message = f"a window's {attribute.name} must be an aware datetime of whole seconds, not {value!r}"
        raise ValueError(message)


def _after_start(window: "Window", _: object, end: datetime) -> None:
    if end <= window.start:
        message = f"a window must end after its start, but {end} is not after {window.start}"
        raise ValueError(message)


@attrs.frozen(order=True)
class Window:
    """The time from `start` to `end`: aware datetimes of whole seconds, `start < end`.

    It is not known whether the API includes a record that is exactly on an end. So neighbouring windows overlap by one
    second, and records in both are recognised by their ids.
    """

    start: datetime = attrs.field(validator=_whole_second)
    end: datetime = attrs.field(validator=[_whole_second, _after_start])

    @property
    def span(self) -> timedelta:
        """The length of the window."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.start.isoformat()} to {self.end.isoformat()}"


def floor(at: datetime) -> datetime:
    """Return the whole second, in UTC, at or before `at`."""
    return at.astimezone(UTC).replace(microsecond=0)


def whole_seconds(start: datetime, end: datetime) -> Window | None:
    """Return a caller's range with both ends rounded down to whole seconds; None if they are in the same second.

    Both are rounded in the same way, so that adjacent ranges stay adjacent.

    Raises:
        ValueError: if either is naive, `start` is not before `end`, or either is at the edge of the calendar.
    """
    for name, value in (("start", start), ("end", end)):
        if not isinstance(value, datetime) or value.utcoffset() is None:
            message = f"{name} must be a datetime with an offset, such as tzinfo=UTC, not {value!r}"
            raise ValueError(message)
    try:
        # In UTC: Python compares two times of the same zone by their wall clocks, also when those are set back.
        if start.astimezone(UTC) >= end.astimezone(UTC):
            message = f"start must be before end, but {start.isoformat()} is not before {end.isoformat()}"
            raise ValueError(message)
        first, last = floor(start), floor(end)
        # Requests start one second before the range, and their times are in WIRE_ZONE.
        for at in (first - SECOND, last):
            at.astimezone(WIRE_ZONE)
    except OverflowError:
        message = f"{start.isoformat()} to {end.isoformat()} reaches the edge of the calendar: use a shorter range"
        raise ValueError(message) from None
    return Window(first, last) if first < last else None


def before(window: Window) -> Window:
    """Return the second before a window."""
    return Window(window.start - SECOND, window.start)


def cut(window: Window, width: timedelta) -> tuple[Window, Window | None]:
    """Cut a window after `width`, and return the first part and the rest (None if nothing is left).

    The two share one second, and their union is the window. The first part is at least `SHORTEST`, so the rest is
    shorter than the window.
    """
    width = max(width, SHORTEST)
    if width >= window.span:
        return window, None
    middle = window.start + width
    return Window(window.start, middle), Window(middle - SECOND, window.end)


def join(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Join windows that overlap or touch, oldest first."""
    joined: list[Window] = []
    for window in sorted(windows):
        if joined and window.start <= joined[-1].end:
            joined[-1] = Window(joined[-1].start, max(joined[-1].end, window.end))
        else:
            joined.append(window)
    return tuple(joined)


def gaps(window: Window, done: Iterable[Window]) -> tuple[Window, ...]:
    """Return the parts of a window that none of `done` covers, oldest first."""
    missing: list[Window] = []
    start = window.start
    for piece in join(done):
        end = min(piece.start, window.end)
        if start < end:
            missing.append(Window(start, end))
        start = max(start, piece.end)
    if start < window.end:
        missing.append(Window(start, window.end))
    return tuple(missing)
