"""What a session learns of how long a window may be. Pure."""

from datetime import timedelta

import attrs

from .windows import LONGEST, SECOND, SHORTEST

__all__ = ["SpanLimit"]


@attrs.define
class SpanLimit:
    """The longest window that the server answered, and the shortest that it refused."""

    answered: timedelta = timedelta()
    refused: timedelta = LONGEST + SECOND

    @property
    def first(self) -> timedelta:
        """The width to begin with."""
        return self.bounded(LONGEST)

    def bounded(self, width: timedelta) -> timedelta:
        """Return a width that has not been refused."""
        width = min(width, LONGEST)
        return max(width if width < self.refused else min(width, self.answered), SHORTEST)

    def answer(self, width: timedelta) -> None:
        """Take in that a window was answered."""
        self.answered = max(self.answered, width)

    def refuse(self, width: timedelta) -> None:
        """Take in that a window was too long."""
        self.refused = min(self.refused, width)
        if self.answered >= self.refused:
            self.answered = SHORTEST
