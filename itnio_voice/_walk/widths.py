"""The width of the next window: narrowed where one does not fit, widened again after successes. Pure."""

from datetime import timedelta

import attrs

from .._model.windows import LONGEST, SECOND, SHORTEST
from .learned import SpanLimit

__all__ = ["DEEPEST", "FITTING", "WindowWidth"]

DEEPEST = 10_000
"""A window with more records is narrowed: a deep page costs the server time in proportion to its depth."""
FITTING = 5_950
"""The planned number of records of the next window: the window still fits if the traffic grows by two thirds.

A multiple of 1,000 would be suspected to be a cap. With 5,950, the last page is half full.
"""
WIDER = 2
"""A window is at most this many times as long as one that was complete before.

Traffic differs by hour. After a quiet night, a window that is much longer than the last one has too many records.
"""


@attrs.define(eq=False, repr=False)
class WindowWidth:
    """The width of the next window, and how many windows may be open at once."""

    limit: SpanLimit
    most_open: int
    current: timedelta = attrs.field(init=False)
    open_limit: int = attrs.field(init=False)
    _shrinks: int = attrs.field(default=0, init=False)
    _failing: timedelta | None = attrs.field(default=None, init=False)
    """The shortest window that the server failed to answer since a window was last complete."""

    def __attrs_post_init__(self) -> None:
        self.current = self.limit.first
        self.open_limit = self.most_open

    def expect(self, density: float, span: timedelta) -> bool:
        """Choose the first width for a range from the expected records per second; return whether it is smaller."""
        is_dense = self.is_too_deep(density * min(self.current, span).total_seconds())
        if is_dense:
            self.current = self.limit.bounded(timedelta(seconds=FITTING / density))
        return is_dense

    def is_too_deep(self, depth: float) -> bool:
        """Return whether a window has too many records."""
        return depth > DEEPEST

    def narrow(self, span: timedelta, depth: float = 0) -> None:
        """Choose a smaller width than `span`; if the window has too many records, by their number.

        Otherwise it is a half of `span`, in the next call a quarter of it, then a sixteenth and so on. So a limit of a
        minute is found about as fast as one of several days.
        """
        if self.is_too_deep(depth):
            open_limit = self.open_limit
            self.continue_with(min(span * FITTING / depth, span / 2))
            self.open_limit = open_limit
        else:
            self._shrinks += 1
            self.continue_with(self.limit.bounded(span / 2**2 ** min(self._shrinks - 1, 5)))

    def continue_with(self, width: timedelta) -> None:
        """Use a width, and open one window at a time: if it does not fit either, others would be discarded."""
        self.current = max(width // SECOND * SECOND, SHORTEST)
        self.open_limit = 1

    def refuse(self, span: timedelta) -> None:
        """Record that the server refused a window because of its length."""
        self.limit.refuse(span)
        self.narrow(span)

    def fail(self, span: timedelta) -> None:
        """Record that the server failed to answer a window: if a shorter one is complete, this one was too long."""
        self._failing = min(span, self._failing or span)
        self.narrow(span)

    def forget_failures(self) -> None:
        """Forget which windows the server failed to answer: their length was not the reason."""
        self._failing = None

    def complete(self, span: timedelta, depth: int, rest: timedelta) -> None:
        """Record that a window of `depth` records is complete, and choose the width for the rest of the range."""
        self._shrinks = 0
        self.limit.complete(span)
        if self._failing and span < self._failing:
            self.limit.refuse(self._failing)
            self._failing = None
        if not rest or span >= self.current:
            wanted = self.limit.bounded(span * FITTING / depth if depth else LONGEST, rest)
            self.current = min(wanted, self.limit.bounded(WIDER * span, rest))
            # Windows that are opened while the width still grows are smaller than necessary.
            is_growing = wanted > self.current
            self.open_limit = max(1, self.open_limit // 2) if is_growing else min(2 * self.open_limit, self.most_open)
