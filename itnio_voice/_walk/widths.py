"""The width of the next window: narrowed where one does not fit, widened again after successes. Pure."""

from datetime import timedelta

import attrs

from .._model.windows import LONGEST, SECOND, SHORTEST
from .learned import GROWTH, SpanLimit

__all__ = ["DEEPEST", "FITTING", "WindowWidth"]

DEEPEST = 10_000
"""A window with more records is narrowed: a deep page costs the server time in proportion to its depth."""
FITTING = 4_950
"""The number of records that the next window is planned to hold: it still fits if the traffic doubles.

It is no multiple of 1,000, which is suspected to be a cap, and leaves the last page half full.
"""


@attrs.define
class WindowWidth:
    """The width of the next window, and how many windows may be open at once."""

    limit: SpanLimit
    most_open: int
    current: timedelta = attrs.field(init=False)
    open_limit: int = attrs.field(init=False)
    _shrinks: int = attrs.field(default=0, init=False)
    _failing: timedelta | None = attrs.field(default=None, init=False)
    """The shortest window that the server failed at since one was complete."""

    def __attrs_post_init__(self) -> None:
        self.current = self.limit.first
        self.open_limit = self.most_open

    def is_too_deep(self, depth: float) -> bool:
        """Return whether a window has too many records."""
        return depth > DEEPEST

    def narrow(self, span: timedelta, depth: float = 0) -> None:
        """Choose a smaller width than `span`, by the number of records if there are too many.

        Else it is half, then a quarter of that, then a sixteenth and so on: a limit of a minute is found about as soon
        as one of some days.
        """
        if self.is_too_deep(depth):
            open_limit = self.open_limit
            self.continue_with(min(span * FITTING / depth, span / 2))
            self.open_limit = open_limit
        else:
            self._shrinks += 1
            self.continue_with(self.limit.bounded(span / 2**2 ** min(self._shrinks - 1, 5)))

    def continue_with(self, width: timedelta) -> None:
        """Use a width, and open one window at a time: others would be thrown away if it does not fit either."""
        self.current = max(width // SECOND * SECOND, SHORTEST)
        self.open_limit = 1

    def refuse(self, span: timedelta) -> None:
        """Take in that the server refused a window for its length."""
        self.limit.refuse(span)
        self.narrow(span)

    def fail(self, span: timedelta) -> None:
        """Take in that the server failed at a window: it is too long if a shorter one is answered."""
        self._failing = min(span, self._failing or span)
        self.narrow(span)

    def forget_failures(self) -> None:
        """Take in that the server fails at the shortest window too."""
        self._failing = None

    def complete(self, span: timedelta, depth: int, rest: timedelta) -> None:
        """Take in that a window of `depth` records is complete, and choose the width for the rest of the range."""
        self._shrinks = 0
        self.limit.complete(span)
        if self._failing and span < self._failing:
            self.limit.refuse(self._failing)
            self._failing = None
        if not rest or span >= self.current:
            wanted = span * FITTING / depth if depth else LONGEST
            self.current = self.limit.bounded(min(wanted, GROWTH * span), rest)
            # While the width grows fast, windows that are opened ahead are too small.
            is_growing = self.current > 2 * span
            self.open_limit = 1 if is_growing else min(2 * self.open_limit, self.most_open)
