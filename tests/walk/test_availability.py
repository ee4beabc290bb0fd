"""The search for the oldest available record."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import anyio
import pytest

from itnio_voice import TimeRangeError, Window
from itnio_voice._walk.availability import AvailabilitySearch

NOW = datetime(2026, 1, 1, 12, 30, 5, 250_000, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


class Server:
    """Keeps records for some time before its clock; if that moves, by a second with each request."""

    def __init__(self, kept: timedelta, *, moves: bool = True) -> None:
        self.kept, self.moves = kept, moves
        self.windows: list[Window] = []

    @property
    def oldest(self) -> datetime:
        """The oldest available time."""
        moved = timedelta(seconds=len(self.windows)) if self.moves else timedelta(microseconds=-250_000)
        return NOW + moved - self.kept

    async def request(self, window: Window) -> None:
        """Refuse a window that is too old."""
        await anyio.lowlevel.checkpoint()
        self.windows.append(window)
        if window.start < self.oldest:
            message = "too old"
            raise TimeRangeError(message)


@pytest.mark.parametrize(
    ("kept", "most"),
    [
        *[(timedelta(days=days), 12) for days in (1, 30, 59, 60, 61, 62, 90, 365)],
        *[(timedelta(days=days, seconds=40), 26) for days in (59, 60)],
        *[(timedelta(days=60, hours=hours), 26) for hours in (1, 7, 23)],
        (timedelta(minutes=5), 26),
    ],
)
@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("back", [timedelta(days=366), timedelta(days=3660)])
def test_the_oldest_available_time_is_found(kept: timedelta, most: int, back: timedelta, moves: bool) -> None:
    """At most two minutes after the earliest one, and with few requests if records are kept for whole days."""
    server = Server(kept, moves=moves)
    search = AvailabilitySearch(server.request)
    found = anyio.run(search.first_available, NOW.replace(microsecond=0) - back, NOW.replace(microsecond=0), NOW)
    assert server.oldest <= found <= server.oldest + 2 * MINUTE
    assert len(server.windows) <= most + 4 * (back > 400 * DAY)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=8))])
@pytest.mark.parametrize("days", [1, 31, 60, 90])
def test_a_limit_at_midnight_is_found(zone: tzinfo, days: int) -> None:
    """With few requests, in the vendor's time zone and in UTC."""
    end = NOW.replace(microsecond=0)
    midnight = (end - days * DAY).astimezone(zone).replace(hour=0, minute=0, second=0)
    server = Server(end - midnight, moves=False)
    found = anyio.run(AvailabilitySearch(server.request).first_available, end - 366 * DAY, end, NOW)
    assert midnight <= found <= midnight + 2 * MINUTE
    assert len(server.windows) <= 16


def test_a_cancelled_search_tries_the_same_times_again() -> None:
    """So a caller with little patience reaches the end, although the clock moves."""
    server = Server(timedelta(days=60, hours=5))
    search = AvailabilitySearch(server.request)
    end = NOW.replace(microsecond=0)

    async def main() -> datetime:
        for attempt in range(100):
            with anyio.CancelScope() as scope:
                most = len(server.windows) + 2

                async def request(window: Window, scope: anyio.CancelScope = scope, most: int = most) -> None:
                    if len(server.windows) >= most:
                        scope.cancel()
                    await server.request(window)

                search.request = request
                return await search.first_available(end - 366 * DAY, end, NOW + attempt * MINUTE)
        pytest.fail("the search begins anew each time")

    anyio.run(main)
    assert len(server.windows) <= 34
