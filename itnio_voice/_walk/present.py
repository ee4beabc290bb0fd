"""The server's current time: which seconds are over, may still change, or lie in the future."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs

from .._model.windows import SECOND, Window, floor
from .learned import Learned
from .log import warn_unread

__all__ = ["Present"]

LIVE = timedelta(minutes=5)
"""A window that ends later than this before now may still receive records."""
NEAR_NOW, NEAR_UNKNOWN_NOW = timedelta(seconds=5), timedelta(minutes=10)
"""A window that ends later than this before now may be refused because it ends in the server's future.

The second value is for a server that has not shown its time, so that only this machine's time is known.
"""


@attrs.define(eq=False, repr=False)
class Present:
    """The server's time, and which windows end too close to it.

    `seconds` returns the time in Unix seconds, or the best estimate of it. `is_known` returns whether the server has
    shown it. With `until_now`, the range is meant to end at the present.
    """

    seconds: Callable[[], float]
    is_known: Callable[[], bool]
    until_now: bool
    _learned: Learned
    _has_warned: bool = attrs.field(default=False, init=False)

    @property
    def now(self) -> datetime:
        """The server's time."""
        return datetime.fromtimestamp(self.seconds(), UTC)

    def reachable_end(self, gap: Window) -> datetime:
        """Return the end of a gap, or if that is later, the last second that is over on the server's clock."""
        now, margin = self.now, self._learned.end_margin
        return gap.end if gap.end <= now - margin else min(gap.end, floor(now) - SECOND - margin)

    def learn_refused_end(self, accepted: datetime) -> None:
        """Record that the server refuses windows that end later than `accepted`."""
        self._learned.end_margin = max(timedelta(), floor(self.now) - SECOND - accepted)

    def learn_accepted_end(self) -> None:
        """Record that the server answered a window that ends as late as possible: a later end is tried next time."""
        self._learned.end_margin = self._learned.end_margin // 2 // SECOND * SECOND

    def is_live(self, window: Window) -> bool:
        """Return whether a window may still receive records."""
        return window.end > self.now - LIVE

    def is_near(self, at: datetime) -> bool:
        """Return whether a window that ends at `at` may be refused because that is in the server's future.

        A margin that was learned has been halved since, if an end was accepted.
        """
        near = NEAR_NOW if self.is_known() else NEAR_UNKNOWN_NOW
        return at > self.now - near - 2 * self._learned.end_margin

    def before(self, at: datetime) -> datetime:
        """Return a time that is surely before the server's present, for an `at` near the present."""
        return at - NEAR_UNKNOWN_NOW

    def warn_unread(self, gap: Window, end: datetime) -> None:
        """Warn once that a part of the range is in the server's future, unless it is meant to end at the present."""
        if not self._has_warned and not (self.until_now and end > gap.start):
            self._has_warned = True
            warn_unread(gap, max(end, gap.start), self.now)
