"""The arguments of a walk, and the chunks of records that it returns."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic

import attrs

from .._model.records import R
from .._model.windows import Window
from .._wire.pages import LARGEST_PAGE, Page
from .learned import Learned

__all__ = ["Chunk", "CompletedWindow", "WalkPlan"]


@attrs.frozen
class WalkPlan(Generic[R]):
    """What a walk is to do.

    `fetch` requests page `current` of `size` records of a window. `gaps` are the parts of the range to walk, oldest
    first. `now` returns the server's time in Unix seconds, as far as it is known: none of a gap that lies after it is
    read, and with `until_now` that is no surprise. `limit` counts records, `concurrency` requests.
    `complete_windows`: return a window's records only when the window is complete. `skip_expired`: skip what is older
    than the server's retention.
    """

    fetch: Callable[[Window, int, int], Awaitable[Page[R]]]
    gaps: Sequence[Window]
    now: Callable[[], float]
    concurrency: int
    page_size: int = LARGEST_PAGE
    limit: float = float("inf")
    skip_expired: bool = False
    complete_windows: bool = False
    until_now: bool = False
    clock_known: Callable[[], bool] = lambda: True
    learned: Learned = attrs.field(factory=Learned)


@attrs.frozen
class CompletedWindow:
    """A window that is complete: the server's `total` of it, and the `covered` of the range that is done with it."""

    window: Window
    total: int | None
    covered: Window


@attrs.frozen
class Chunk(Generic[R]):
    """What a walk hands out: records not handed out before.

    With them comes the page that they were on, or the window that is done once they have been taken.
    """

    records: Sequence[R]
    page: Page[R] | None = None
    done: CompletedWindow | None = None
