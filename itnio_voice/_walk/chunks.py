"""The arguments of a walk, and the chunks of records that it returns."""

import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from itertools import chain
from typing import Generic

import attrs

from .._model.observing import Observers
from .._model.records import R
from .._model.windows import Window
from .._wire.pages import LARGEST_PAGE, Page, with_records
from .learned import Learned
from .seen import PageKeys

__all__ = ["Chunk", "CompletedWindow", "WalkPlan"]


@attrs.frozen(eq=False, repr=False)
class WalkPlan(Generic[R]):
    """The arguments of a walk.

    - `fetch(window, current, size)` requests page `current`, of `size` records, of a window.
    - `gaps`: the parts of the range to read, oldest first.
    - `now` returns the server's time in Unix seconds, or the best estimate of it. Nothing after it is read, and a
      warning is logged if a gap reaches beyond it. `until_now`: the range is meant to end there, so do not warn.
    - `clock_known` returns whether the server has shown its time.
    - `limit`: at most this many records. `concurrency`: at most this many requests in flight.
    - `complete_windows`: return a window's records only when the window is complete.
    - `skip_expired`: skip what is older than the server's retention, and log it at `skipped_level`.
    - `has_boundary`: return no record of the second before a gap, as it belongs to the range before. Otherwise a gap is
      read exactly as it is given.
    - `seen`: the keys of records that were returned before.
    - `observers`: receive a report of each window that is complete, or closed to be read again.
    - `query`: what is requested, apart from the range; streams of the same query have about the same density.
    """

    fetch: Callable[[Window, int, int], Awaitable[Page[R]]]
    gaps: Sequence[Window]
    now: Callable[[], float]
    concurrency: int
    page_size: int = LARGEST_PAGE
    limit: float = float("inf")
    skip_expired: bool = False
    skipped_level: int = logging.WARNING
    complete_windows: bool = False
    until_now: bool = False
    clock_known: Callable[[], bool] = lambda: True
    learned: Learned = attrs.field(factory=Learned)
    query: Hashable = None
    has_boundary: bool = True
    seen: Sequence[PageKeys] = ()
    observers: Observers = attrs.field(factory=partial(Observers, ()))


@attrs.frozen(eq=False, repr=False)
class CompletedWindow:
    """A complete window: the server's `total`, and the part of the range that it completes (`covered`)."""

    window: Window
    total: int | None
    covered: Window


@attrs.frozen(eq=False, repr=False)
class Chunk(Generic[R]):
    """A part of what a walk returns: records that it has not returned before.

    `page` is the page that listed them. `done` is the window that is completed when they have been received. `pages` is
    the number of pages that it holds. Until it is built, `parts` are the records of several pages.
    """

    records: Sequence[R] = ()
    page: Page[R] | None = None
    done: CompletedWindow | None = None
    pages: int = 0
    parts: Sequence[Sequence[R]] = ()

    def built(self) -> "Chunk[R]":
        """Return the chunk with all its records built."""
        records = tuple(chain(self.records, *self.parts))
        return Chunk(records, self.page and with_records(self.page, records), self.done, self.pages)
