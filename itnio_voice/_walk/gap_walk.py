"""One gap of a range, from requests to records. Pure: no I/O and no clock, so that tests can try any order of answers.

How a gap is read
=================

A gap is a part of the range that no checkpoint covers. It is cut into windows, oldest first. Several are open at a
time: `GapWalk.open` has them in order, and the first is the *front*. Only records of the front are put into the outbox.

- `next_request` returns the next page to request: a missing page of an open window, or the first page of the next one.
  It returns None if answers are needed first.
- `add_page` and `add_error` take what a request brought, in any order.
- `settle` draws the conclusions: it narrows the first window that does not fit, and moves the records of the front into
  the outbox. A complete front is closed, and the window after it is the front.

The first open window of a gap is its boundary second. Its records belong to the range before, so their keys must be
known before any record is returned. It is requested together with the first window, which cannot settle before it.

A window whose request failed keeps the `error` until it is the front, so that all records before it are returned.
Nothing after it is requested meanwhile. Then the walk finds the reason, which may take requests, and calls one of the
methods under "Recovery".
"""

import logging
from collections import deque
from datetime import datetime, timedelta
from math import ceil
from typing import Generic

import attrs

from .._model.errors import APIError, HTTPStatusError, ParameterError, ProtocolError
from .._model.records import R
from .._model.windows import SECOND, SHORTEST, Window, before, cut
from .._wire.pages import Page
from .chunks import WalkPlan
from .log import log_window, reading_of
from .open_window import OpenWindow
from .outbox import Outbox
from .page_order import Slice
from .present import Present
from .widths import WindowWidth
from .window_pass import WindowPass

__all__ = ["GapWalk", "PageOfWindow"]

_MAY_BE_THE_SIZE = {ParameterError, ProtocolError, HTTPStatusError, APIError}
"""What servers that do not honour all page sizes may answer to an unusual one."""
SAME_PRESENT = 2 * SECOND
"""The server's present is read from dates of whole seconds, so it is known to within this."""


@attrs.frozen(eq=False, repr=False)
class PageOfWindow(Generic[R]):
    """A request: page `number` of a pass over an open window."""

    opened: OpenWindow[R]
    reading: WindowPass[R]
    number: int

    @property
    def rows(self) -> Slice:
        """What to request."""
        return self.reading.slice_of(self.number)


class GapWalk(Generic[R]):
    """The reading of one gap. `width`, `present` and `outbox` are those of the walk, shared by its gaps."""

    def __init__(  # noqa: PLR0917 -- what the gaps of a walk share
        self, gap: Window, plan: WalkPlan[R], width: WindowWidth, present: Present, outbox: Outbox[R], now: float
    ) -> None:
        self.gap = gap
        self._plan = plan
        self._width = width
        self._present = present
        self._outbox = outbox
        self._reported = outbox.records
        self._begin(now)

    def _begin(self, now: float) -> None:
        """Open the boundary second. The rest, up to the server's present as far as it is known, is not opened yet."""
        self._began, self._is_corrected = now, False
        boundary = before(self.gap) if self._plan.has_boundary else None
        self.boundary: OpenWindow[R] | None = self._new_window(boundary, now) if boundary else None
        self.open: deque[OpenWindow[R]] = deque([self.boundary] if self.boundary else [])
        # Where the first window begins, where the last one ends, and how far the gap is complete.
        self._start, self.position = (boundary or self.gap).start, self.gap.start
        self.end = self._present.reachable_end(self.gap)
        self.unopened = Window(self._start, self.end) if self.end > self.gap.start else None

    def _new_window(self, window: Window, now: float) -> OpenWindow[R]:
        return OpenWindow[R](window, self._plan.page_size, self._plan.learned, now)

    @property
    def failed(self) -> OpenWindow[R] | None:
        """The front, if it has failed."""
        return self.open[0] if self.open and self.open[0].error else None

    @property
    def is_over(self) -> bool:
        """Whether the gap is complete, as far as it can be read."""
        return not self.open and self.unopened is None

    @property
    def windows(self) -> list[OpenWindow[R]]:
        """The open windows, without the boundary second."""
        return [opened for opened in self.open if opened is not self.boundary]

    @property
    def pages_waiting(self) -> int:
        """The number of pages that have arrived and are not in the outbox.

        The pages of the front do not count if they are returned together: all of them are needed.
        """
        is_returned_whole = bool(self.open) and (self._plan.complete_windows or not self.open[0].returns_pages)
        return sum(len(opened.current.pages) for opened in list(self.open)[is_returned_whole:])

    def is_edge(self, opened: OpenWindow[R]) -> bool:
        """Return whether a window is the boundary second, or a last one as short."""
        return opened is self.boundary or (opened.window.span <= SHORTEST and opened.window.end == self.end)

    # Requests

    def next_request(self, now: float, *, only_edges: bool = False) -> PageOfWindow[R] | None:
        """Return the next page to request at `now`, and mark it as in flight; None if answers are needed first.

        With `only_edges`, only pages of the seconds at the ends of the gap.
        """
        for opened in self.open:
            if opened.error or self._must_narrow(opened):
                return None
            if only_edges and not self.is_edge(opened):
                continue
            if self._ends_soon(opened) and (request := self._open_next(now, only_edges=only_edges)):
                return request
            if request := self._take_next(opened, now):
                return request
        return self._open_next(now, only_edges=only_edges)

    def _take_next(self, opened: OpenWindow[R], now: float) -> PageOfWindow[R] | None:
        number = opened.take_next(now)
        return PageOfWindow(opened, opened.current, number) if number else None

    def _open_next(self, now: float, *, only_edges: bool) -> PageOfWindow[R] | None:
        """Open the next window, and return the request for its first page; None if it may not be opened."""
        if self.unopened is None or not self._may_open(self.unopened):
            return None
        if only_edges and self.unopened.span > SHORTEST:
            return None
        window, self.unopened = cut(self.unopened, self._width.current)
        opened = self._new_window(window, now)
        self.open.append(opened)
        return self._take_next(opened, now)

    def _ends_soon(self, opened: OpenWindow[R]) -> bool:
        """Return whether a window is the last open one, and a round trip is enough for its other pages.

        If the next window is opened first, its number of pages is known when these have been requested.
        """
        if not 0 < opened.current.pages_left < self._plan.concurrency or opened is not self.open[-1]:
            return False
        return sum(each.current.depth for each in self.open) < self._outbox.left

    def _may_open(self, unopened: Window) -> bool:
        """Return whether the next window may be opened; while others are open, only if its width is known to fit."""
        width = self._width
        if unopened.span <= SHORTEST or all(opened is self.boundary for opened in self.open):
            return True
        return len(self.open) < width.open_limit and width.current <= width.limit.answered

    # Answers

    def _is_needed(self, request: PageOfWindow[R]) -> bool:
        """Return whether an answer is still needed: its window is open, and the pass is not over."""
        opened = request.opened
        return opened in self.open and request.reading is opened.current and not opened.is_complete

    def add_page(self, request: PageOfWindow[R], page: Page[R], now: float) -> None:
        """Add the answer to a request, and learn from it about the server."""
        if not self._is_needed(request):
            return
        opened, learned = request.opened, self._plan.learned
        is_first = not opened.current.keys
        opened.add(request.number, page)
        self._width.limit.answer(opened.window.span)
        total, step = opened.current.total, opened.current.step
        if is_first and total is not None and opened.can_be_narrowed and min(total, self._outbox.left) > step:
            opened.is_exhausted |= learned.is_suspicious(total, opened.window.span)
        self._finish_pass(opened, now)

    def add_error(self, request: PageOfWindow[R], error: Exception, now: float) -> None:
        """Add the failure of a request; its window keeps it, unless it only shows that there is no such page."""
        if not self._is_needed(request):
            return
        reading, number = request.reading, request.number
        if isinstance(error, ParameterError) and reading.add_refusal(number):
            self._finish_pass(request.opened, now)
        elif type(error) in _MAY_BE_THE_SIZE and reading.pages_overlap and number > 1:
            # The reason may be the size. The window is narrowed, and later pages do not overlap.
            reading.give_up_overlaps()
        elif type(error) in _MAY_BE_THE_SIZE and request.opened.leave_size_out():
            pass
        else:
            request.opened.error = request.opened.error or error

    def give_back(self, request: PageOfWindow[R]) -> None:
        """Record that a request has ended; if it has no answer, the page is requested again."""
        request.reading.give_back(request.number)

    def _finish_pass(self, opened: OpenWindow[R], now: float) -> None:
        """Finish the pass over a window if it has all pages. What was returned of it is remembered for the next."""
        reading = opened.current
        if not reading.is_read or opened.is_exhausted:
            return
        opened.finish_pass(is_live=self._present.is_live(opened.window), now=now)
        if opened.current is not reading:
            done = opened.passes - 1
            log_window(logging.INFO, "%s: pass %d proves nothing by itself", opened, done, number=done)
            if opened is self.boundary:
                # A record of it that expires before the next pass may have come with the first window.
                self._outbox.add_boundary(opened.window, list(reading.keys.values()))
            elif opened is self.open[0]:
                self._outbox.remember(opened, reading.keys)

    # Conclusions

    def settle(self, now: float) -> bool:
        """Narrow the first window that does not fit, and put the records of those before it into the outbox.

        Returns whether a window was narrowed.
        """
        unfit = next(filter(self._must_narrow, self.open), None)
        if unfit:
            self._width.narrow(unfit.window.span, min(unfit.current.depth, self._outbox.left))
            self.reopen(unfit, now)
        while self.open and self._outbox.left > 0:
            front = self.open[0]
            if not self._is_corrected and not self.boundary and front.current.keys:
                self._correct_end(now)
                continue
            if front is not self.boundary:
                self._outbox.add_pages(front)
            if self._outbox.left <= 0 or front.error:
                break
            if front.is_complete:
                self._complete(front, now)
            elif front.is_exhausted:
                front.error = front.incomplete()
            else:
                break
        return unfit is not None

    def _must_narrow(self, opened: OpenWindow[R]) -> bool:
        """Return whether a window must be replaced by smaller ones."""
        reading = opened.current
        if opened.is_complete or not opened.can_be_narrowed or not reading.keys:
            return False
        is_too_deep = self._width.is_too_deep(min(reading.depth, self._outbox.left))
        return opened.is_exhausted or reading.inconsistent or is_too_deep

    def _complete(self, opened: OpenWindow[R], now: float) -> None:
        """Close a complete front, and return the rest of its records."""
        window = opened.window
        if opened is self.boundary:
            self.open.popleft()
            self.boundary = None
            self._outbox.add_boundary(window, [keys for keys, _ in opened.contents()])
            self._correct_end(now)
            return
        # The first window begins with the boundary second, which belongs to the range before.
        own = Window(max(window.start, self.gap.start), window.end)
        # It may raise: then the window stays open, so that it is not taken as returned.
        records = self._outbox.add_window(opened, own, Window(self.position, window.end))
        self.open.popleft()
        log_window(logging.DEBUG, "%s: complete, with %d records not returned before", opened, records)
        self._report(opened, now)
        self.position = window.end
        rest = self.unopened.span if self.unopened else timedelta()
        self._width.complete(window.span, opened.current.depth, rest)
        self._plan.learned.learn_density(self._plan.query, self._outbox.covered, self._outbox.records)
        if window.end == self.end:
            self._present.learn_accepted_end()

    def _correct_end(self, now: float) -> None:
        """End the gap at the server's present. The first answer may have shown that the clock was wrong."""
        self._is_corrected = True
        end = self._present.reachable_end(self.gap)
        passed = timedelta(seconds=ceil(now - self._began)) + SAME_PRESENT
        if end < self.end:
            while self.open and self.open[-1].window.end > end:
                self._start_again_at(self.open.pop().window.start, end)
            if self.unopened:
                self._start_again_at(self.unopened.start, end)
            self.end = end
        elif end > self.end + passed or self.end < end == self.gap.end:
            opened_to = self.open[-1].window.end - SECOND if self.open else self._start
            self._start_again_at(self.unopened.start if self.unopened else opened_to, end)
            self.end = end
        if self.end < self.gap.end:
            self._present.warn_unread(self.gap, self.end)

    def _start_again_at(self, start: datetime, end: datetime) -> None:
        """Let windows be opened from `start` to `end`, unless the open ones reach as far."""
        is_left = end > (self.open[-1].window.end if self.open else self.position)
        self.unopened = Window(start, end) if is_left else None

    def _report(self, opened: OpenWindow[R], now: float) -> None:
        """Report that a window is complete, or closed to be read again."""
        if self._plan.observers:
            records, self._reported = self._outbox.records - self._reported, self._outbox.records
            self._plan.observers.window(reading_of(opened, self._width.current, records, now))

    # Recovery

    def reopen(self, opened: OpenWindow[R], now: float) -> None:
        """Close a window and those after it, and continue from its start with the current width."""
        log_window(logging.DEBUG, "%s: closed, to continue with a width of %s", opened, self._width.current)
        self._report(opened, now)
        if opened is self.boundary:
            self._begin(now)
            return
        if opened is self.open[0]:
            self._outbox.remember(opened, opened.current.keys)
        while self.open.pop() is not opened:
            pass
        self._start_again_at(opened.window.start, self.end)

    def leave_boundary_out(self) -> None:
        """Continue without the boundary second: it is too old, so the server has no records before the start."""
        self.give_up()
        self._is_corrected = True
        self._start, self.end = self.gap.start, self._present.reachable_end(self.gap)
        self._start_again_at(self._start, self.end)
        if self.end < self.gap.end:
            self._present.warn_unread(self.gap, self.end)

    def end_at(self, end: datetime, now: float) -> None:
        """End the gap at `end`, because the rest of it is in the server's future."""
        front = self.open[0]
        self._present.learn_refused_end(end)
        self._present.warn_unread(self.gap, end)
        self.end = end
        if front is self.boundary or end <= front.window.start:
            self.give_up()
        else:
            self.reopen(front, now)

    def give_up(self) -> None:
        """Close all windows, and read no more of the gap; what was returned of the front is remembered."""
        if self.windows and not self.boundary:
            self._outbox.remember(self.open[0], self.open[0].current.keys)
        self.open.clear()
        self.unopened = self.boundary = None
