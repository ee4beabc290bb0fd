"""From a range to its records: asks for windows page by page, checks what comes, and narrows what does not fit.

One idea serves a window that is too long, too deep, too slow, or not the same from page to page: take it back, and go
on from its start with a smaller width. What had been handed out of it is remembered until the walk has passed its end.

A step asks, and settles the windows in order. One that is cancelled keeps what has come: the next asks for the rest.
"""

import logging
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil as up
from typing import Generic

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .errors import RequestTimeoutError, ServerError, TimeRangeError
from .models import R
from .paging import Reading
from .plan import Done, Piece, Plan
from .windows import LONGEST, SECOND, SHORTEST, Window, before, ceil, cut, join

__all__ = ["Walk"]

_LOGGER = logging.getLogger(__name__)

DEEPEST = 10_000
"""A window with more records is narrowed: a deep page costs the server time in proportion to its depth."""
FITTING = DEEPEST // 2
"""So many records the next window is planned to hold: it still fits if the traffic doubles."""
PASSES = 5
"""So often a window that cannot be cut is walked before the walk gives up."""
RESOLUTION = timedelta(minutes=1)
"""So exactly the first instant that is still served is looked for."""
ROUNDS = 8
"""So many requests, at most, a step asks for each that may be in flight."""


class Walk(Generic[R]):
    """One walk over a range. `advance` hands out what it finds, piece by piece."""

    def __init__(self, plan: Plan[R]) -> None:
        self._plan = plan
        self._gaps = deque(plan.gaps)
        self._ready: deque[Piece[R]] = deque()
        self._left = plan.limit
        self._most = plan.at_once * min(plan.at_once, ROUNDS)
        # How many requests a step asks, how many more this one may, and how wide the next window is.
        self._asks = 1
        self._room = 0
        self._width = plan.span_limit.first
        self._shrinks = 0
        # The gap that is walked, how far it is complete, the windows open in it, and what is not open yet.
        self._start = self._end = self._position = datetime.min.replace(tzinfo=UTC)
        self._open: deque[Reading[R]] = deque()
        self._rest: Window | None = None
        self._seam: Reading[R] | None = None
        self._failed: tuple[Reading[R], Exception] | None = None
        # Ids: of the two windows before, of the last, and of what was handed out of windows that were taken back.
        self._known: set[Hashable] = set()
        self._last: set[Hashable] = set()
        self._held: set[Hashable] = set()
        self._held_until = self._position
        self._given_pages = 0
        self._walked = timedelta()
        self.records = self.windows_done = 0
        self.skipped: tuple[Window, ...] = ()

    async def advance(self) -> Piece[R] | None:
        """Return the next piece; None at the end."""
        while not self._ready and await self._step():
            pass
        return self._ready.popleft() if self._ready else None

    async def _step(self) -> bool:
        if self._left <= 0:
            return False
        if self._failed and self._failed[0] is self._open[0]:
            await self._mend(*self._failed)
        elif self._open or self._rest or self._enter():
            await self._fetch()
            self._settle()
        else:
            return False
        return True

    def _enter(self) -> bool:
        """Begin the next gap, with the second before it: what is found there is not this walk's."""
        while self._gaps:
            gap = self._gaps.popleft()
            if gap.start < self._now():
                self._start, self._end, self._position = gap.start, gap.end, gap.start
                self._seam = Reading(before(gap))
                self._open.append(self._seam)
                return True
        return False

    def _begin(self, start: datetime, known: set[Hashable]) -> None:
        """Go on from the seam of a gap. The clock is read here, for by now the server's may be known."""
        self._end = min(self._end, max(self._now(), self._start + SECOND))
        self._rest = Window(start, self._end)
        self._known, self._last, self._seam = known, known, None
        self._asks = 1

    # What to ask

    async def _fetch(self) -> None:
        """Ask, several at once, and take in what comes: each answer may tell what to ask next, up to a step's worth."""
        await anyio.lowlevel.checkpoint()  # over a transport in memory, there may be no other
        self._room = up(min(self._asks, max(1, self._left / self._plan.page_size)))
        if self._plan.at_once == 1:
            while question := self._choose():
                await self._ask(*question)
        else:
            async with anyio.create_task_group() as group:
                self._spread(group)
        self._asks = min(4 * self._asks, self._most) if self._failed is None else 1

    def _spread(self, group: TaskGroup) -> None:
        """Begin to ask as much at once as may be."""
        while sum(len(opened.flying) for opened in self._open) < self._plan.at_once and (question := self._choose()):
            group.start_soon(self._work, group, question)

    async def _work(self, group: TaskGroup, question: tuple[Reading[R], int] | None) -> None:
        """Ask one question after the other; what an answer makes room for is asked by others."""
        while question:
            await self._ask(*question)
            question = self._choose()
            self._spread(group)

    def _choose(self) -> tuple[Reading[R], int] | None:
        """Choose the next question: a missing page of an open window, or the first page of the next window."""
        opened: Reading[R]
        if not self._room:
            return None
        for opened in self._open:
            if (self._failed and opened is self._failed[0]) or self._narrower(opened):
                return None
            current = next((current for current in opened.wanted() if current not in opened.flying), None)
            if current:
                break
        else:
            if self._rest is None or (self._open and self._width > self._plan.span_limit.answered):
                return None
            window, self._rest = cut(self._rest, self._width)
            opened, current = Reading[R](window), 1
            self._open.append(opened)
        self._room -= 1
        opened.flying.add(current)
        return opened, current

    async def _ask(self, reading: Reading[R], current: int) -> None:
        """Ask for a page, and take in what comes."""
        try:
            page = await self._plan.ask(reading.window, current)
            reading.add(current, page)
            self._plan.span_limit.answer(reading.window.span)
        except Exception as error:  # noqa: BLE001 -- raised later, when all before it has been handed out
            if self._failed is None or self._open.index(reading) < self._open.index(self._failed[0]):
                self._failed = (reading, error)
        finally:
            reading.flying.remove(current)

    def _settle(self) -> None:
        """Take back the first window that does not fit, and hand out what is ready of those before it."""
        for reading in self._open:
            width = self._narrower(reading)
            if width:
                self._take_back(reading, width)
                break
        while self._open and self._left > 0:
            front = self._open[0]
            if not self._plan.whole and front is not self._seam:
                self._hand_out_pages(front)
            if not front.read or self._left <= 0 or (self._failed and self._failed[0] is front):
                break
            if front.proven:
                self._complete(front)
            elif front.passes < PASSES:
                _tell(logging.INFO, "%s: does not add up in pass %d", front, front.passes)
                self._hold(front)
                self._open[0] = front.again()
                if front is self._seam:
                    self._seam = self._open[0]
            else:
                self._failed = (front, front.incomplete())

    def _narrower(self, reading: Reading[R]) -> timedelta | None:
        """Return the width to read a window with instead; None if it may stay."""
        span = reading.window.span
        if span <= SHORTEST or not reading.ids:
            return None
        if min(reading.depth, self._left) > DEEPEST:
            return _whole(min(span * FITTING / reading.depth, span / 2))
        untold = reading.total is None and reading.passes > 1 and reading.read and not reading.proven
        return _whole(span / 2) if reading.doubtful or untold else None

    def _take_back(self, reading: Reading[R], width: timedelta) -> None:
        """Close a window and those after it, and go on from its start with another width."""
        _tell(logging.DEBUG, "%s: taken back, to go on with a width of %s", reading, width)
        if reading is self._open[0]:
            self._hold(reading)
        while self._open and self._open.pop() is not reading:
            pass
        if self._failed and self._failed[0] not in self._open:
            self._failed = None
        if reading is self._seam:
            self._gaps.appendleft(Window(self._start, self._end))
        else:
            self._width, self._rest = width, Window(reading.window.start, self._end)

    def _hold(self, reading: Reading[R]) -> None:
        """Remember what was handed out of a window until the walk has passed its end."""
        self._held.update(*self._given(reading))
        self._held_until = max(self._held_until, reading.window.end)
        self._given_pages = 0

    def _complete(self, reading: Reading[R]) -> None:
        """Close a window that is whole."""
        self._open.popleft()
        if reading is self._seam:
            self._begin(reading.window.start, reading.keys)
            return
        window = reading.window
        records: list[R] = []
        for current in sorted(reading.pages):
            records += self._new(reading, current)
        # The first window of a gap begins with the second before it, which is not this walk's.
        mine = Window(max(window.start, self._start), window.end)
        self._ready.append(Piece(records, done=Done(mine, reading.total, Window(self._position, window.end))))
        _tell(logging.DEBUG, "%s: whole, with %d records not given before", reading, len(records))
        self._walked += window.span
        self._position = window.end
        # A second may lie in three windows whose answers are of different moments: two windows of ids are kept.
        keys = reading.keys | self._held
        self._known, self._last = keys | self._last, keys
        if self._held_until <= window.end:
            self._held = set()
        self._given_pages = 0
        self.windows_done += 1
        self._shrinks = 0
        if self._rest is None or window.span >= self._width:
            wished = window.span * FITTING / reading.depth if reading.depth else LONGEST
            self._width = self._plan.span_limit.bounded(_whole(min(wished, 2 * window.span)))

    def _hand_out_pages(self, reading: Reading[R]) -> None:
        """Hand out the pages that follow on those already handed out."""
        while self._left > 0 and (page := reading.pages.get(self._given_pages + 1)):
            self._ready.append(Piece(self._new(reading, self._given_pages + 1), page))

    def _given(self, reading: Reading[R]) -> Iterable[Sequence[Hashable]]:
        """Return the ids, page by page, of what has been handed out of the first open window."""
        return (reading.ids[current] for current in range(1, self._given_pages + 1))

    def _new(self, reading: Reading[R], current: int) -> list[R]:
        """Take out a page's records, and keep what was not handed out before, as far as the limit goes."""
        new = dict(zip(reading.ids[current], reading.pages.pop(current).records, strict=True))
        # Only in a doubtful window may a record be on two pages.
        for old in (self._known, self._held, *(map(set, self._given(reading)) if reading.doubtful else ())):
            for name in old.intersection(new):
                del new[name]
        self._given_pages = current
        taken = list(new.values())[: int(min(self._left, len(new)))]
        self._left -= len(taken)
        self.records += len(taken)
        return taken

    # What failed

    async def _mend(self, reading: Reading[R], error: Exception) -> None:
        """Go on after a failure, or raise it."""
        span = reading.window.span
        match error:
            case TimeRangeError() if reading is self._seam:
                # Too old, for it cannot be too long: there is nothing before the start.
                self._failed = None
                self._open.clear()
                self._begin(reading.window.end, set())
            case TimeRangeError() if span > SHORTEST and await self._served(reading.window.start):
                _tell(logging.INFO, "%s: refused, as it is longer than the server allows (%s)", reading, span)
                self._plan.span_limit.refuse(span)
                self._take_back(reading, self._shrunk(span))
            case TimeRangeError() if self._plan.skip:
                await self._skip(reading.window.start)
            case ServerError() | RequestTimeoutError() if span > SHORTEST:
                self._take_back(reading, self._shrunk(span))
            case _:
                self._take_back(reading, span)
                error.add_note(f"while reading {reading.window}")
                raise error

    def _shrunk(self, span: timedelta) -> timedelta:
        """Return a smaller width: half, then a quarter of that, then a sixteenth and so on.

        So a limit of a minute is found about as soon as one of some days.
        """
        self._shrinks += 1
        return _whole(span / 2**2 ** min(self._shrinks - 1, 5))

    async def _served(self, start: datetime) -> bool:
        """Ask whether the server still serves two seconds from a start."""
        try:
            await self._plan.ask(Window(start, start + SHORTEST), 1)
        except TimeRangeError:
            return False
        return True

    async def _skip(self, refused: datetime) -> None:
        """Leave out what is too old: look for the first instant that is served, and go on a minute after it."""
        end = served = self._end
        last = end - SHORTEST
        if max(refused, self._position) < last and await self._served(last):
            served = last
            while served - refused > RESOLUTION:
                middle = refused + (served - refused) // (2 * SECOND) * SECOND
                if await self._served(middle):
                    served = middle
                else:
                    refused = middle
            # Retention moves on while the walk does.
            served = min(served + RESOLUTION, last)
        expired = Window(self._position, served)
        _LOGGER.warning("%s: left out, for the server has it no more", expired, extra=_named(expired))
        self.skipped = join((*self.skipped, expired))
        self._failed, self._rest = None, None
        self._hold(self._open[0])
        self._open.clear()
        if served < end:
            self._gaps.appendleft(Window(served, end))

    # How far it is

    @property
    def windows_left(self) -> int:
        """How many windows are still to come, as far as it can be told."""
        opened = sum(reading is not self._seam for reading in self._open)
        return opened + sum(up(window.span / self._width) for window in self._unasked())

    @property
    def expected(self) -> int | None:
        """How many records the walk will give: what the server told, and for the rest as many per day as so far."""
        told = [reading for reading in self._open if reading.ids and reading is not self._seam]
        untold = [reading.window.span for reading in self._open if not reading.ids]
        covered = sum((reading.window.span for reading in told), self._walked)
        unasked = sum((window.span for window in self._unasked()), sum(untold, timedelta()))
        given = sum(map(len, self._given(self._open[0]))) if self._given_pages else 0
        known = self.records - given + sum(reading.depth for reading in told)
        if unasked and not covered:
            return None
        return int(min(known + (known * (unasked / covered) if unasked else 0), self._plan.limit))

    def _unasked(self) -> list[Window]:
        """Return the windows that nothing has been asked of, up to now."""
        now = self._now()
        gaps = [Window(gap.start, min(gap.end, now)) for gap in self._gaps if gap.start < now]
        return [self._rest, *gaps] if self._rest else gaps

    def _now(self) -> datetime:
        return ceil(datetime.fromtimestamp(self._plan.now(), UTC))


def _tell(level: int, message: str, reading: Reading[R], what: object) -> None:
    """Log something about a window."""
    told = {"itnio.total": reading.total, "itnio.rows": reading.rows, "itnio.pass": reading.passes}
    _LOGGER.log(level, message, reading.window, what, extra={**told, **_named(reading.window)})


def _named(window: Window) -> dict[str, str]:
    """Return a window as a log record carries it."""
    return {"itnio.window_start": window.start.isoformat(), "itnio.window_end": window.end.isoformat()}


def _whole(width: timedelta) -> timedelta:
    """Return a width of whole seconds that a window may have."""
    return max(width // SECOND * SECOND, SHORTEST)
