"""What a walk is to do, and what it hands out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic

import attrs

from .learned import Learned
from .models import R
from .paging import LARGEST_PAGE, Page
from .windows import Window

__all__ = ["Done", "Piece", "Plan"]


@attrs.frozen
class Plan(Generic[R]):
    """What a walk is to do.

    `fetch` requests page `current` of `size` records of a window. `gaps` are the parts of the range to walk, oldest
    first. `now` returns the server's time in Unix seconds, as far as it is known: none of a gap that lies after it is
    read, and with `until_now` that is no surprise. `limit` counts records, `at_once` requests. `whole`: hand out a
    window's records only when they are complete. `skip`: skip what is too old for the server.
    """

    fetch: Callable[[Window, int, int], Awaitable[Page[R]]]
    gaps: Sequence[Window]
    now: Callable[[], float]
    at_once: int
    page_size: int = LARGEST_PAGE
    limit: float = float("inf")
    skip: bool = False
    whole: bool = False
    until_now: bool = False
    clock_known: Callable[[], bool] = lambda: True
    learned: Learned = attrs.field(factory=Learned)


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
