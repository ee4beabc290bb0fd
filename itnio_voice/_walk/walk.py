"""From a range to its records: requests windows page by page, and narrows those that do not fit.

A window that is too long, too deep, too slow or inconsistent is narrowed: it is closed, and the walk continues from its
start with a smaller width. Records that were returned of it are remembered, and not returned again.

A step sends requests, and then completes or narrows the windows in order. A step that is cancelled keeps the answers
that have arrived, and the next step requests the rest.
"""

import logging
from collections import deque
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Generic

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .._model.errors import ParameterError, TimeRangeError, may_be_overload
from .._model.records import R
from .._model.windows import SHORTEST, Window, before, cut, join
from .._wire.pages import Page
from .availability import AvailabilitySearch
from .chunks import Chunk, WalkPlan
from .log import log_window, warn_skipped
from .open_window import OpenWindow
from .outbox import Outbox
from .present import Present
from .seen import SeenRecords
from .widths import WindowWidth

__all__ = ["Walk"]

BATCHES_PER_SLOT = 8
"""The maximum number of requests of one step, for each request that may be in flight."""


class Walk(Generic[R]):
    """One walk over a range. `advance` returns its records, chunk by chunk."""

    def __init__(self, plan: WalkPlan[R]) -> None:
        self._plan = plan
        self._learned = plan.learned
        self._width = WindowWidth(plan.learned.span_limit, most_open=2 * plan.concurrency)
        self._present = Present(plan.now, plan.clock_known, plan.until_now, plan.learned)
        self._search = AvailabilitySearch(lambda window: plan.fetch(window, 1, plan.page_size))
        self._gaps = deque(plan.gaps)
        self._outbox = Outbox[R](plan.limit, plan.complete_windows, SeenRecords(plan.learned.shared_ids))
        self._max_batch = plan.concurrency * min(plan.concurrency, BATCHES_PER_SLOT)
        # The maximum number of requests of a step, and how many more the current step may send.
        self._batch_size = 1
        self._batch_room = 0
        # The current gap, its end and how far it is complete, its open windows, and the part that is not opened yet.
        self._gap: Window | None = None
        self._end = self._position = datetime.min.replace(tzinfo=UTC)
        self._open: deque[OpenWindow[R]] = deque()
        self._unopened: Window | None = None
        self._boundary: OpenWindow[R] | None = None
        self._failed: tuple[OpenWindow[R], Exception] | None = None
        self._walked = timedelta()
        self.windows_done = 0
        self.skipped: tuple[Window, ...] = ()

    async def advance(self) -> Chunk[R] | None:
        """Return the next chunk; None at the end."""
        while not self._outbox and await self._step():
            pass
        return self._outbox.take()

    async def _step(self) -> bool:
        if self._outbox.left <= 0:
            return False
        if self._failed and self._failed[0] is self._open[0]:
            await self._recover(*self._failed)
        elif self._open or self._unopened or self._start_gap():
            await self._fetch()
            self._settle()
        else:
            return False
        return True

    def _start_gap(self) -> bool:
        """Start the next gap with its boundary second: the records found there belong to the range before."""
        while self._gaps:
            gap = self._gaps.popleft()
            # Until the first answer shows the server's time, no gap is cut by a clock that may be wrong.
            if self._gap is None or self._present.reachable_end(gap) > gap.start:
                self._gap, self._end, self._position = gap, gap.end, gap.start
                self._boundary = OpenWindow(before(gap), self._plan.page_size, self._learned)
                self._open.append(self._boundary)
                return True
            self._present.warn_unread(gap, gap.start)
        return False

    def _enter_gap(self, start: datetime) -> None:
        """Continue after the boundary second of a gap. Its answer may have shown the server's time."""
        assert self._gap  # noqa: S101 -- it has been started
        self._boundary = None
        self._batch_size = 1
        self._end = self._present.reachable_end(self._gap)
        if self._end < self._gap.end:
            self._present.warn_unread(self._gap, self._end)
        if self._end > self._gap.start:
            self._unopened = Window(start, self._end)

    # What to request

    async def _fetch(self) -> None:
        """Send the requests of a step, several at once. Each answer may show what to request next."""
        await anyio.lowlevel.checkpoint()  # with a transport in memory, it may be the only one
        self._batch_room = ceil(min(self._batch_size, max(1, self._outbox.left / self._plan.page_size)))
        request = self._next_request()
        if request is None:
            await self._pause()
        elif self._plan.concurrency == 1:
            while request:
                await self._request(*request)
                request = self._next_request()
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(self._work, group, request)
                self._start_workers(group)
        self._batch_size = min(4 * self._batch_size, self._max_batch) if self._failed is None else 1

    async def _pause(self) -> None:
        """Wait until the first open window may be read again."""
        if self._open:
            await anyio.sleep(max(0, self._open[0].not_before - anyio.current_time()))

    def _start_workers(self, group: TaskGroup) -> None:
        """Start tasks that send requests, up to `concurrency` requests in flight."""
        while sum(len(opened.current.in_flight) for opened in self._open) < self._plan.concurrency:
            request = self._next_request()
            if request is None:
                break
            group.start_soon(self._work, group, request)

    async def _work(self, group: TaskGroup, request: tuple[OpenWindow[R], int] | None) -> None:
        """Send one request after the other; after each answer, start more tasks for the requests that it allows."""
        while request:
            await self._request(*request)
            request = self._next_request()
            self._start_workers(group)

    def _next_request(self) -> tuple[OpenWindow[R], int] | None:
        """Return the next request: a missing page of an open window, or the first page of the next window."""
        if not self._batch_room:
            return None
        now = anyio.current_time()
        opened: OpenWindow[R]
        for opened in self._open:
            if (self._failed and opened is self._failed[0]) or self._must_narrow(opened):
                return None
            current = opened.take_next(now)
            if current:
                break
        else:
            if self._unopened is None or not self._may_open():
                return None
            window, self._unopened = cut(self._unopened, self._width.current)
            opened = OpenWindow[R](window, self._plan.page_size, self._learned)
            self._open.append(opened)
            current = opened.take_next(now)
            assert current  # noqa: S101 -- its first page
        self._batch_room -= 1
        return opened, current

    def _may_open(self) -> bool:
        """Return whether the next window may be opened; while others are open, only if its width is known to fit."""
        width = self._width
        return not self._open or (len(self._open) < width.open_limit and width.current <= width.limit.answered)

    async def _request(self, opened: OpenWindow[R], current: int) -> None:
        """Request a page, and process the answer."""
        reading = opened.current
        try:
            rows = reading.slice_of(current)
            page = await self._plan.fetch(opened.window, rows.current, rows.size)
            self._add_answer(opened, current, page)
        except Exception as error:  # noqa: BLE001 -- raised later, when all records before it have been returned
            if reading is not opened.current or opened.is_complete:
                pass  # the page is no longer needed
            elif isinstance(error, ParameterError) and reading.add_refusal(current):
                pass
            elif self._failed is None or self._open.index(opened) < self._open.index(self._failed[0]):
                self._failed = (opened, error)
        finally:
            reading.give_back(current)
        if reading is opened.current and reading.is_read and not (opened.is_complete or opened.is_exhausted):
            self._finish_pass(opened)

    def _add_answer(self, opened: OpenWindow[R], current: int, page: Page[R]) -> None:
        """Add an answer to its window, and learn from it about the server."""
        is_first = not opened.current.keys
        opened.add(current, page)
        self._width.limit.answer(opened.window.span)
        total, span = opened.current.total, opened.window.span
        if (
            is_first
            and total is not None
            and opened.can_be_narrowed
            and min(total, self._outbox.left) > opened.current.step
        ):
            opened.is_exhausted |= self._learned.is_suspicious(total, span)

    def _finish_pass(self, opened: OpenWindow[R]) -> None:
        """Finish a pass. If another one follows, the records that were returned of this one are remembered."""
        reading = opened.current
        opened.finish_pass(is_live=self._present.is_live(opened.window), now=anyio.current_time())
        if opened.current is not reading:
            done = opened.passes - 1
            log_window(logging.INFO, "%s: pass %d proves nothing by itself", opened, done, number=done)
            if opened is self._open[0]:
                self._outbox.remember(opened, reading.keys)

    # What to return

    def _settle(self) -> None:
        """Narrow the first window that does not fit, and return the records that are ready in the windows before it."""
        for opened in self._open:
            if self._must_narrow(opened):
                self._width.narrow(opened.window.span, min(opened.current.depth, self._outbox.left))
                self._reopen(opened)
                break
        while self._open and self._outbox.left > 0:
            front = self._open[0]
            self._outbox.add_pages(front)
            if self._outbox.left <= 0 or (self._failed and self._failed[0] is front):
                break
            if front.is_complete:
                self._complete(front)
            elif front.is_exhausted:
                self._failed = (front, front.incomplete())
            else:
                break

    def _must_narrow(self, opened: OpenWindow[R]) -> bool:
        """Return whether a window must be replaced by smaller ones."""
        reading = opened.current
        if opened.is_complete or not opened.can_be_narrowed or not reading.keys:
            return False
        is_too_deep = self._width.is_too_deep(min(reading.depth, self._outbox.left))
        return opened.is_exhausted or reading.inconsistent or is_too_deep

    def _reopen(self, opened: OpenWindow[R]) -> None:
        """Close a window and those after it, and continue from its start with the current width."""
        log_window(logging.DEBUG, "%s: closed, to continue with a width of %s", opened, self._width.current)
        if opened is self._open[0]:
            self._outbox.remember(opened, opened.current.keys)
        while self._open and self._open.pop() is not opened:
            pass
        self._failed = None if self._failed and self._failed[0] not in self._open else self._failed
        self._search.forget()
        self._batch_size = 1
        if opened is self._boundary and self._gap:
            self._gaps.appendleft(self._gap)
            self._gap = None
        else:
            self._unopened = Window(opened.window.start, self._end)

    def _complete(self, opened: OpenWindow[R]) -> None:
        """Close a complete window, and return the rest of its records."""
        window = opened.window
        if opened is self._boundary:
            self._open.popleft()
            self._outbox.add_boundary(opened)
            self._enter_gap(window.start)
            return
        assert self._gap  # noqa: S101 -- the window is a part of it
        # The first window of a gap begins with the boundary second, which belongs to the range before.
        own = Window(max(window.start, self._gap.start), window.end)
        records = self._outbox.add_window(opened, own, Window(self._position, window.end))
        self._open.popleft()
        log_window(logging.DEBUG, "%s: complete, with %d records not returned before", opened, records)
        self._walked += window.span
        self._position = window.end
        self.windows_done += 1
        rest = self._unopened.span if self._unopened else timedelta()
        self._width.complete(window.span, opened.current.depth, rest)
        if window.end == self._end:
            self._present.learn_accepted_end()

    # Failures

    async def _recover(self, opened: OpenWindow[R], error: Exception) -> None:
        """Continue after a failure, or raise it."""
        match error:
            case TimeRangeError() if opened is self._boundary and await self._is_future(opened.window.start):
                self._end_reading(opened.window.end)
            case TimeRangeError() if opened is self._boundary:
                # It is too old, as a second cannot be too long: the server has no records before the start.
                self._failed = None
                self._open.clear()
                self._enter_gap(opened.window.end)
            case TimeRangeError() if await self._adjust_range(opened):
                pass
            case _ if opened.can_be_narrowed and may_be_overload(error):
                self._width.fail(opened.window.span)
                self._reopen(opened)
            case ParameterError() if opened.current.keys and opened.can_be_narrowed:
                self._width.narrow(opened.window.span)
                self._reopen(opened)
            case _:
                self._width.forget_failures()
                if opened is not self._boundary:
                    self._width.continue_with(opened.window.span)
                self._reopen(opened)
                if isinstance(error, ParameterError) and opened.current.keys:
                    raise opened.too_deep() from error
                error.add_note(f"while reading {opened.window}")
                raise error

    async def _adjust_range(self, opened: OpenWindow[R]) -> bool:
        """Find out why a window was refused, and adapt; return False if it is too old and that is an error."""
        window = opened.window
        if window.span > SHORTEST and await self._search.is_available(window.start):
            if self._present.is_near(window.end) and not await self._search.is_available(window.end - SHORTEST):
                self._end_reading(await self._search.latest_end(window))
            else:
                span = window.span
                log_window(logging.INFO, "%s: refused, as it is longer than the server allows (%s)", opened, span)
                self._width.refuse(span)
                self._reopen(opened)
        elif await self._is_future(window.start):
            self._end_reading(window.start)
        elif self._plan.skip_expired:
            await self._skip(window.start)
        else:
            return False
        return True

    def _end_reading(self, end: datetime) -> None:
        """End the current gap at `end`, because the rest of it is in the server's future."""
        assert self._gap  # noqa: S101 -- it has been started
        front = self._open[0]
        self._present.learn_refused_end(end)
        self._present.warn_unread(self._gap, end)
        self._end = end
        if front is self._boundary or end <= front.window.start:
            self._outbox.remember(front, front.current.keys)
            self._open.clear()
            self._failed = self._unopened = self._boundary = None
            self._search.forget()
        else:
            self._reopen(front)

    async def _skip(self, refused: datetime) -> None:
        """Skip the part that is too old: search for the oldest available record, and continue a minute after it."""
        end = self._end
        available = await self._search.first_available(max(refused, self._position), end)
        expired = Window(self._position, available)
        warn_skipped(expired)
        self.skipped = join((*self.skipped, expired))
        self._outbox.remember(self._open[0], self._open[0].current.keys)
        self._failed, self._unopened = None, None
        self._open.clear()
        self._search.forget()
        if available < end:
            self._gaps.appendleft(Window(available, end))

    async def _is_future(self, refused: datetime) -> bool:
        """Return whether two seconds were refused because they are in the server's future: older ones are available."""
        present = self._present
        return present.is_near(refused) and await self._search.is_available(present.before(refused))

    # Progress

    @property
    def records(self) -> int:
        """The number of records that have been returned."""
        return self._outbox.records

    @property
    def windows_left(self) -> int:
        """The estimated number of windows that are not complete yet."""
        opened = sum(opened is not self._boundary for opened in self._open)
        return opened + sum(ceil(window.span / self._width.current) for window in self._unopened_windows())

    @property
    def expected(self) -> int | None:
        """The expected number of records: the server's totals, plus an estimate from the records per day so far."""
        opened = [opened for opened in self._open if opened is not self._boundary]
        counted = [each for each in opened if each.current.keys]
        unknown = [each.window for each in opened if not each.current.keys]
        covered = sum((each.window.span for each in counted), self._walked)
        rest = sum((window.span for window in (*unknown, *self._unopened_windows())), timedelta())
        handed_out = self._outbox.number_handed_out(self._open[0]) if self._open else 0
        records = self.records - handed_out + sum(each.current.depth for each in counted)
        if rest and not covered:
            return None
        return int(min(records + (records * (rest / covered) if rest else 0), self._plan.limit))

    def _unopened_windows(self) -> list[Window]:
        """Return the parts of the range up to the server's present of which nothing has been requested."""
        ends = [(gap, self._present.reachable_end(gap)) for gap in self._gaps]
        gaps = [Window(gap.start, end) for gap, end in ends if gap.start < end]
        return [self._unopened, *gaps] if self._unopened else gaps
