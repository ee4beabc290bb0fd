"""The search for the oldest and the newest available record."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta

import attrs

from .._model.errors import TimeRangeError
from .._model.windows import SECOND, SHORTEST, WIRE_ZONE, Window, floor
from .learned import GROWTH

__all__ = ["AvailabilitySearch"]

DAY = timedelta(days=1)
RESOLUTION = timedelta(minutes=1)
"""Precision of the search for the oldest available record."""


@attrs.define(eq=False, repr=False)
class AvailabilitySearch:
    """A search that requests windows of two seconds, and checks which of them the server refuses.

    Results are kept until `forget`, so a search whose caller is cancelled continues where it stopped.
    """

    request: Callable[[Window], Awaitable[object]]
    _available: dict[datetime, bool] = attrs.field(factory=dict[datetime, bool], init=False)
    _began: datetime | None = attrs.field(default=None, init=False)
    """The time at which the search began, in whole seconds: a search that is continued tries the same times."""

    def forget(self) -> None:
        """Forget all results: the search is over."""
        self._available.clear()
        self._began = None

    async def is_available(self, start: datetime) -> bool:
        """Return whether the server accepts a window of two seconds from a start."""
        if start not in self._available:
            try:
                await self.request(Window(start, start + SHORTEST))
            except TimeRangeError:
                self._available[start] = False
            else:
                self._available[start] = True
        return self._available[start]

    async def latest_end(self, window: Window) -> datetime:
        """Return an end that the server accepts, for a window that ends in the server's future."""
        step = SHORTEST
        while (end := window.end - step) > window.start + SHORTEST and not await self.is_available(end - SHORTEST):
            step *= GROWTH
        return max(end, window.start + SHORTEST)

    async def first_available(self, refused: datetime, end: datetime, now: datetime) -> datetime:
        """Return a start that the server accepts, at most two minutes after the earliest one; `end` if there is none.

        The retention limit moves during the walk, so a minute is added to the precision of the search. Most servers
        keep records for a whole number of days before `now`, or before a midnight, so that is tried first.
        """
        last = end - SHORTEST
        if refused >= last or not await self.is_available(last):
            return end
        began = self._began = self._began or floor(now)
        available = last
        while available - refused > RESOLUTION:
            middle = _between(refused, available, began)
            if await self.is_available(middle):
                available = middle
            else:
                refused = middle
        return min(available + RESOLUTION, last)


def _between(refused: datetime, available: datetime, now: datetime) -> datetime:
    """Return the next time to try: a whole number of days ago, then the midnights between, at last the middle.

    A minute beside a time that has been tried shows whether the limit is there.
    """
    days = range((now - available) // DAY + 1, -((refused - now) // DAY))
    if days:
        return now - days[len(days) // 2] * DAY
    likely = (now, *(now.astimezone(zone).replace(hour=0, minute=0, second=0) for zone in (WIRE_ZONE, UTC)))
    if available - refused > 2 * RESOLUTION:
        if _is_days_from(likely, refused):
            return refused + RESOLUTION
        if _is_days_from(likely, available):
            return available - RESOLUTION
        for origin in likely:
            time = origin - (origin - refused) // DAY * DAY
            time += DAY * (time <= refused)
            if time < available:
                return time
    return refused + (available - refused) // (2 * SECOND) * SECOND


def _is_days_from(origins: Iterable[datetime], time: datetime) -> bool:
    """Return whether a time is a whole number of days from one of others."""
    return any((origin - time) % DAY == timedelta() for origin in origins)
