"""What a walk is to do, and what it hands out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic

import attrs

from .models import R
from .paging import LARGEST_PAGE, Page
from .span import SpanLimit
from .windows import Window

__all__ = ["Done", "Piece", "Plan"]


@attrs.frozen
class Plan(Generic[R]):
    """What a walk is to do.

    `ask` asks for page `current` of a window. `gaps` are the parts of the range to walk, oldest first; none is walked
    further than `now` says that time has come. `limit` counts records, `at_once` requests. `whole`: hand out a window's
    records only when they are complete. `skip`: leave out what is too old for the server.
    """

    ask: Callable[[Window, int], Awaitable[Page[R]]]
    gaps: Sequence[Window]
    now: Callable[[], float]
    at_once: int
    page_size: int = LARGEST_PAGE
    limit: float = float("inf")
    skip: bool = False
    whole: bool = False
    span_limit: SpanLimit = attrs.field(factory=SpanLimit)


@attrs.frozen
class Done:
    """A window that is complete: the server's `total` of it, and the `part` of the range that is done with it."""

    window: Window
    total: int | None
    part: Window


@attrs.frozen
class Piece(Generic[R]):
    """What a walk hands out: records not handed out before.

    With them comes the page that they were on, or the window that is done once they have been taken.
    """

    records: Sequence[R]
    page: Page[R] | None = None
    done: Done | None = None
