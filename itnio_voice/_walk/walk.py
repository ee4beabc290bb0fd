"""From a range to its records: sends the requests that `GapWalk` chooses, and finds out why some of them fail.

This is the only part of the reading algorithm that awaits. It works in steps: a step sends requests, and settles what
they brought. No task runs between two calls of `advance`, unless `read_ahead` was called: then the requests of a step
continue while the caller works, each answer is settled at once, and a step ends only where answers have to be evaluated
before anything else may be requested.

A window that is too long, too deep, too slow or inconsistent is narrowed: it is closed, and the walk continues from its
start with a smaller width. Records that were returned of it are remembered, and not returned again. A step that is
cancelled keeps the answers that have arrived, and the next step requests the rest.
"""

import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from math import ceil, inf
from typing import Generic

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .._model.errors import ItnioError, ParameterError, TimeRangeError, may_be_overload
from .._model.records import R
from .._model.windows import SHORTEST, Window, join
from .availability import AvailabilitySearch
from .chunks import Chunk, WalkPlan
from .gap_walk import GapWalk, PageOfWindow
from .log import log_skipped, log_window
from .open_window import OpenWindow
from .outbox import Outbox
from .present import Present
from .seen import SeenRecords
from .widths import WindowWidth

__all__ = ["Walk"]

BATCHES_PER_SLOT = 16
"""The maximum number of requests of one step, for each request that may be in flight."""


class Walk(Generic[R]):
    """One walk over a range. `advance` returns its records, chunk by chunk."""

    def __init__(self, plan: WalkPlan[R]) -> None:
        self._plan = plan
        self._width = WindowWidth(plan.learned.span_limit, most_open=2 * plan.concurrency)
        self._present = Present(plan.now, plan.clock_known, plan.until_now, plan.learned)
        self._search = AvailabilitySearch(lambda window: plan.fetch(window, 1, plan.page_size))
        seen = SeenRecords(plan.learned.shared_ids)
        if plan.seen:
            seen.add(plan.gaps[-1].end, plan.seen)
        self._outbox = Outbox[R](plan.limit, plan.complete_windows, seen)
        self._gaps = deque(plan.gaps)
        self._gap: GapWalk[R] | None = None
        self._in_flight = 0
        # The event loop's time at the start of the step, or at its last answer.
        self._now = -inf
        # The maximum number of requests of a step, and how many more the current step may send.
        self._batch_size = self._batch_room = 1.0
        span = sum((gap.span for gap in plan.gaps), timedelta())
        if (density := plan.learned.density(plan.query, span)) and self._width.expect(density, span):
            # The first pages of several windows are needed, so they are requested at once.
            self._batch_size = plan.concurrency
        self._is_short = True
        # When reading ahead: the maximum number of pages that wait or are in flight, and what to call with a new chunk.
        self._most_ahead: int | None = None
        self._on_chunk: Callable[[], None] = lambda: None
        # What starts more requests of the current step, when there is room again.
        self._start_more: Callable[[], None] = lambda: None
        self._failure: ItnioError | None = None
        self.skipped: tuple[Window, ...] = ()

    async def advance(self) -> Chunk[R] | None:
        """Return the next chunk; None at the end."""
        while not self._outbox and await self.step():
            pass
        return self.take()

    def take(self) -> Chunk[R] | None:
        """Return the next chunk if one is ready. When reading ahead, its room is used at once."""
        chunk = self._outbox.take()
        if self._in_flight:
            self._now = anyio.current_time()
            self._start_more()
        return chunk

    def read_ahead(self, pages: int, on_chunk: Callable[[], None]) -> None:
        """Let steps continue while at most `pages` pages wait or are in flight; call `on_chunk` when one is ready."""
        self._most_ahead, self._on_chunk = pages, on_chunk

    @property
    def has_room(self) -> bool:
        """Whether one more page may be requested ahead; if none waits or is in flight, always."""
        if self._most_ahead is None or not (self._outbox or self._in_flight):
            return True
        needed = self._in_flight + (self._gap.pages_waiting if self._gap else 0)
        return needed < self._outbox.left / self._plan.page_size and needed + self._outbox.pages < self._most_ahead

    # Steps

    async def step(self) -> bool:
        """Send requests and settle their answers, or recover from a failure; return False at the end."""
        gap = self._current_gap() if self._outbox.left > 0 else None
        if gap is None:
            return False
        if failed := gap.failed:
            await self._recover(gap, failed)
        else:
            await self._fetch(gap)
            self._settle(gap)
        return True

    def _current_gap(self) -> GapWalk[R] | None:
        """Return the gap that is being read, or start the next one."""
        if self._gap and not self._gap.is_over:
            return self._gap
        while self._gaps:
            gap = self._gaps.popleft()
            # Until the first answer shows the server's time, no gap is left out because of a clock that may be wrong.
            if self._gap is None or self._present.reachable_end(gap) > gap.start:
                now = anyio.current_time()
                self._gap = GapWalk(gap, self._plan, self._width, self._present, self._outbox, now)
                return self._gap
            self._present.warn_unread(gap, gap.start)
        return None

    async def _fetch(self, gap: GapWalk[R]) -> None:
        """Send the requests of a step, several at once. Each answer may show what to request next."""
        await anyio.lowlevel.checkpoint()  # with a transport in memory, it may be the only one
        self._now = anyio.current_time()
        most = ceil(min(self._batch_size, max(1, self._outbox.left / self._plan.page_size)))
        self._batch_room = most if self._most_ahead is None else inf
        # A short step is a single round trip, so that its records are returned as soon as possible.
        self._is_short = self._batch_room <= self._plan.concurrency > 1
        request = self._next_request(gap)
        if request is None:
            await self._pause(gap)
        elif self._plan.concurrency == 1:
            await self._work(gap, None, request)
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(self._work, gap, group, request)
                self._start_more = partial(self._start_workers, gap, group)
                self._start_more()
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure
        # One request at a time needs no larger steps, and pages that wait for others cost time.
        if self._plan.concurrency > 1:
            concurrency, has_failed = self._plan.concurrency, any(opened.error for opened in gap.open)
            larger = min(max(4 * self._batch_size, concurrency), concurrency * BATCHES_PER_SLOT)
            self._batch_size = 1 if has_failed else larger

    async def _pause(self, gap: GapWalk[R]) -> None:
        """Wait until the first open window may be read again."""
        if gap.open:
            await anyio.sleep(max(0, gap.open[0].not_before - self._now))
            self._now = anyio.current_time()

    def _start_workers(self, gap: GapWalk[R], group: TaskGroup) -> None:
        """Start tasks that send requests, up to `concurrency` requests in flight."""
        while self._in_flight < self._plan.concurrency and (request := self._next_request(gap)):
            group.start_soon(self._work, gap, group, request)

    async def _work(self, gap: GapWalk[R], group: TaskGroup | None, request: PageOfWindow[R] | None) -> None:
        """Send one request after the other; after each answer, start more tasks for the requests that it allows."""
        while request:
            await self._request(gap, request)
            if self._most_ahead is not None:
                self._settle_ahead(gap)
            request = None if self._is_short else self._next_request(gap)
            if group and not self._is_short:
                self._start_workers(gap, group)

    def _next_request(self, gap: GapWalk[R]) -> PageOfWindow[R] | None:
        """Return the next request of a step, and count it as in flight.

        The seconds at the ends of a gap do not count as requests of the step, so they take no round trip of their own.
        """
        if self._failure or not self.has_room:
            return None
        request = gap.next_request(self._now, only_edges=not self._batch_room)
        if request:
            self._batch_room -= not gap.is_edge(request.opened)
            self._in_flight += 1
        return request

    async def _request(self, gap: GapWalk[R], request: PageOfWindow[R]) -> None:
        """Request a page, and add what it brought to the gap."""
        try:
            rows = request.rows
            page = await self._plan.fetch(request.opened.window, rows.current, rows.size)
            self._now = anyio.current_time()
            gap.add_page(request, page, self._now)
        except Exception as error:  # noqa: BLE001 -- raised later, when all records before it have been returned
            if isinstance(error, ItnioError):
                error.__traceback__ = None  # its frames may hold the text of an answer
            self._now = anyio.current_time()
            gap.add_error(request, error, self._now)
        finally:
            self._in_flight -= 1
            gap.give_back(request)

    def _settle(self, gap: GapWalk[R]) -> None:
        if gap.settle(self._now):
            # A single round trip, as for the first pages.
            self._batch_size = self._plan.concurrency
        if self._outbox:
            self._on_chunk()

    def _settle_ahead(self, gap: GapWalk[R]) -> None:
        """Settle while other requests are in flight. A failure ends the step, which then raises it."""
        try:
            self._settle(gap)
        except ItnioError as failure:
            self._failure = failure

    # Failures

    async def _recover(self, gap: GapWalk[R], opened: OpenWindow[R]) -> None:
        """Continue after a failure of the front window, or raise it. No request is in flight."""
        error, is_boundary = opened.error, opened is gap.boundary
        assert error  # noqa: S101 -- the window has failed
        match error:
            case TimeRangeError() if is_boundary and await self._is_future(opened.window.start):
                gap.end_at(opened.window.end, anyio.current_time())
            case TimeRangeError() if is_boundary:
                first = next((each.error for each in gap.windows), None)
                gap.leave_boundary_out()
                if isinstance(first, TimeRangeError) and gap.unopened:
                    await self._adjust_start(gap, first)
            case TimeRangeError() if await self._adjust_range(gap, opened):
                pass
            case _ if opened.can_be_narrowed and may_be_overload(error):
                self._width.fail(opened.window.span)
                self._reopen(gap, opened)
            case ParameterError() if opened.current.keys and opened.can_be_narrowed:
                self._width.narrow(opened.window.span)
                self._reopen(gap, opened)
            case _:
                self._width.forget_failures()
                if not is_boundary:
                    self._width.continue_with(opened.window.span)
                self._reopen(gap, opened)
                if isinstance(error, ParameterError) and opened.current.keys:
                    raise opened.too_deep() from error
                error.add_note(f"while reading {opened.window}")
                raise error
        self._batch_size = 1

    def _reopen(self, gap: GapWalk[R], opened: OpenWindow[R]) -> None:
        gap.reopen(opened, anyio.current_time())
        self._search.forget()

    async def _adjust_range(self, gap: GapWalk[R], opened: OpenWindow[R]) -> bool:
        """Find out why a window was refused, and adapt; return False if it is too old and that is an error."""
        window = opened.window
        if window.span > SHORTEST and await self._search.is_available(window.start):
            if self._present.is_near(window.end) and not await self._search.is_available(window.end - SHORTEST):
                gap.end_at(await self._search.latest_end(window), anyio.current_time())
            else:
                span = window.span
                log_window(logging.INFO, "%s: refused, as it is longer than the server allows (%s)", opened, span)
                self._width.refuse(span)
                gap.reopen(opened, anyio.current_time())
        elif await self._is_future(window.start):
            gap.end_at(window.start, anyio.current_time())
        elif self._plan.skip_expired:
            await self._skip(gap, window.start)
        else:
            return False
        self._search.forget()
        return True

    async def _adjust_start(self, gap: GapWalk[R], error: TimeRangeError) -> None:
        """Skip the start of a gap if it is too old too, or raise the error: the first window was refused as well."""
        start = gap.gap.start
        if await self._search.is_available(start):
            return
        if self._plan.skip_expired:
            await self._skip(gap, start)
        self._search.forget()
        if not self._plan.skip_expired:
            error.window = error.window and Window(start, error.window.end)
            error.add_note(f"while reading {error.window}")
            raise error

    async def _skip(self, gap: GapWalk[R], refused: datetime) -> None:
        """Skip the part that is too old: search for the oldest available record, and continue a minute after it."""
        available = await self._search.first_available(max(refused, gap.position), gap.end, self._present.now)
        expired = Window(gap.position, available)
        log_skipped(self._plan.skipped_level, expired)
        self.skipped = join((*self.skipped, expired))
        gap.give_up()
        if available < gap.end:
            self._gaps.appendleft(Window(available, gap.end))

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
    def windows_done(self) -> int:
        """The number of complete windows."""
        return self._outbox.windows

    @property
    def windows_left(self) -> int:
        """The estimated number of windows that are not complete yet."""
        opened = len(self._gap.windows) if self._gap else 0
        return opened + sum(ceil(window.span / self._width.current) for window in self._unopened())

    @property
    def expected(self) -> int | None:
        """The expected number of records: the server's totals, plus an estimate from the records per day so far."""
        opened = self._gap.windows if self._gap else []
        counted = [each for each in opened if each.current.keys]
        unknown = [each.window for each in opened if not each.current.keys]
        covered = sum((each.window.span for each in counted), self._outbox.covered)
        rest = sum((window.span for window in (*unknown, *self._unopened())), timedelta())
        handed_out = self._outbox.number_handed_out(opened[0]) if opened else 0
        records = self.records - handed_out + sum(each.current.depth for each in counted)
        if rest and not covered:
            return None
        return int(min(records + (records * (rest / covered) if rest else 0), self._plan.limit))

    def _unopened(self) -> list[Window]:
        """Return the parts of the range up to the server's present of which nothing has been requested."""
        ends = [(gap, self._present.reachable_end(gap)) for gap in self._gaps]
        gaps = [Window(gap.start, end) for gap, end in ends if gap.start < end]
        return [self._gap.unopened, *gaps] if self._gap and self._gap.unopened else gaps
