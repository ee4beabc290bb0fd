"""A range from its newest records to its oldest: one walk after the other, each over an older part of the range.

A part is read by a walk of its own, so all guarantees of a walk hold for it. Its records are sorted when it is
complete. The first part is short, so that the newest records are returned after a few requests. Each following part is
longer, up to 16 times, unless it would have too many records.

A part is requested from the second before it, as a window of a walk is. So neighbouring parts share a second, and its
records are returned with the later part, which is read first; the walk of the earlier part gets their keys. Only the
oldest part has a boundary second, which belongs to the range before. A stream that resumes does not know the keys, so
it reads the shared second first.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Generic

import attrs

from .._model.records import CallRecord, R
from .._model.windows import LONGEST, SECOND, SHORTEST, Window, before, join
from .._walk.chunks import Chunk, CompletedWindow, WalkPlan
from .._walk.log import log_skipped
from .._walk.present import Present
from .._walk.seen import PageKeys, page_keys
from .._walk.walk import Walk
from .._walk.widths import FITTING
from .._wire.pages import Page

__all__ = ["BackwardWalk"]

FIRST, SHORTEST_PART, LONGEST_PART = timedelta(hours=1), timedelta(minutes=1), LONGEST - SECOND
"""The length of the first part, if the density of the records is not known; of the shortest, and of the longest."""
WIDENING = 16
"""A part is at most this many times as long as the one before it."""
SPARE = 4
"""A part has at most about this many times the records that the limit still allows."""


@attrs.define(eq=False, repr=False)
class _Part(Generic[R]):
    """A part of the range that is being read, and what its walk has returned so far."""

    window: Window
    """The part of the range, without the second before it."""
    span: timedelta
    """Its length up to the server's present."""
    walk: Walk[R]
    is_checked: bool = False
    """Whether its number of records is known to fit."""
    records: list[R] = attrs.field(factory=list)
    done: list[CompletedWindow] = attrs.field(factory=list)

    def take(self) -> None:
        """Take what the walk has ready."""
        while chunk := self.walk.take():
            self.records += chunk.records
            self.done += [chunk.done] if chunk.done else []


class BackwardWalk(Generic[R]):
    """A walk from the newest records of a range to the oldest. It is used like a `Walk`."""

    def __init__(self, plan: WalkPlan[R], end: datetime | None) -> None:
        """`end` is the end of the range, also if the plan's gaps end before."""
        self._plan, self._range_end = plan, end
        self._present = Present(plan.now, plan.clock_known, plan.until_now, plan.learned)
        self._left = plan.limit
        # The parts of the range that have not been begun, oldest first.
        self._rest = list(plan.gaps)
        self._seen: Sequence[PageKeys] | None = None
        """The keys of the part that was read last; None if they are not known."""
        self._shared: _Part[R] | None = None
        self._part: _Part[R] | None = None
        self._width = self._first_width()
        self._ready: deque[Chunk[R]] = deque()
        self._covered = timedelta()
        self._most_ahead = 1
        self._on_chunk: Callable[[], None] = lambda: None
        self.skipped: tuple[Window, ...] = ()
        self.records = 0
        self.windows_done = 0

    def _first_width(self) -> timedelta:
        density = self._plan.learned.density(self._plan.query, timedelta())
        return _bounded(timedelta(seconds=self._wanted / density)) if density else FIRST

    @property
    def _wanted(self) -> float:
        """The number of records that a part should have."""
        return min(FITTING, max(self._plan.page_size, SPARE * self._left))

    # As of a walk

    async def advance(self) -> Chunk[R] | None:
        """Return the next chunk; None at the end."""
        while not self._ready and await self.step():
            pass
        return self.take()

    def take(self) -> Chunk[R] | None:
        """Return the next chunk if one is ready."""
        return self._ready.popleft() if self._ready else None

    def read_ahead(self, pages: int, on_chunk: Callable[[], None]) -> None:
        """Let parts be read until `pages` pages are ready; call `on_chunk` when there are new ones."""
        self._most_ahead, self._on_chunk = pages, on_chunk

    @property
    def has_room(self) -> bool:
        """Whether another part may be read ahead."""
        return len(self._ready) < self._most_ahead

    async def step(self) -> bool:
        """Make a step of the current part, or begin the next one; return False at the end."""
        if self._left <= 0 or not (self._part or self._rest):
            return False
        if not self._part and self._needs_shared_second(self._rest[-1]):
            await self._read_shared_second(self._rest[-1])
            return True
        part = self._part or self._begin()
        goes_on = await part.walk.step()
        part.take()
        if self._is_too_dense(part):
            self._narrow(part)
        elif not goes_on:
            self._finish(part)
        return True

    # Parts

    def _begin(self) -> _Part[R]:
        """Begin the next part: the newest of what is left."""
        gap = self._rest.pop()
        end = min(gap.end, max(gap.start, self._present.reachable_end(gap)))
        start = max(gap.start, end - self._width)
        if start < gap.start + SHORTEST:
            start = gap.start  # the shared second would reach the boundary second of the gap
        if start > gap.start:
            self._rest.append(Window(gap.start, start))
        is_oldest = start == gap.start
        window = Window(start, gap.end)
        first = start if is_oldest else start - SECOND
        walk = self._walk(Window(first, gap.end), has_boundary=is_oldest, seen=self._seen or ())
        self._part = _Part(window, max(end - start, SECOND), walk)
        return self._part

    def _walk(self, gap: Window, **options: Any) -> Walk[R]:
        plan = attrs.evolve(self._plan, gaps=(gap,), limit=float("inf"), complete_windows=False, **options)
        return Walk(plan)

    def _needs_shared_second(self, gap: Window) -> bool:
        """Return whether a later part was read before, by a stream whose keys are not known."""
        return self._seen is None and gap.end != self._range_end

    async def _read_shared_second(self, gap: Window) -> None:
        """Read the second that a gap shares with the later part."""
        window = before(Window(gap.end, gap.end + SECOND))
        part = self._shared = self._shared or _Part(window, SECOND, self._walk(window, has_boundary=False))
        goes_on = await part.walk.step()
        part.take()
        if not goes_on:
            self._seen, self._shared = [page_keys(part.records, self._plan.learned.shared_ids)], None

    def _is_too_dense(self, part: _Part[R]) -> bool:
        """Return whether the first answers show that a part has many more records than wanted."""
        expected = part.walk.expected
        if part.is_checked or expected is None or part.done or part.span <= SHORTEST_PART + SHORTEST:
            return False
        part.is_checked = True
        return expected > 2 * self._wanted

    def _narrow(self, part: _Part[R]) -> None:
        """Begin again with a shorter part. Nothing of it has been returned."""
        window, expected = part.window, part.walk.expected or 1
        if self._rest and self._rest[-1].end == window.start:
            window = Window(self._rest.pop().start, window.end)
        self._rest.append(window)
        self._width = _bounded(min(part.span / 2, part.span * (self._wanted / expected)))
        self._part = None

    def _finish(self, part: _Part[R]) -> None:
        """Return the records of a part, newest first, and choose the length of the next one."""
        records = sorted(part.records, key=_age, reverse=True)
        is_whole = len(records) <= self._left
        records = records if is_whole else records[: int(self._left)]
        self._left -= len(records)
        self.records += len(records)
        self._part = None
        done = _together(part) if is_whole else None
        self._covered += done.covered.span if done else timedelta()
        self._seen = [page_keys(part.records, self._plan.learned.shared_ids)]
        if self._rest and self._rest[-1].end != part.window.start:
            self._seen = None
        self._put(records, done)
        wanted = part.span * (self._wanted / len(part.records)) if part.records else LONGEST
        self._width = _bounded(min(wanted, WIDENING * part.span))
        if part.walk.skipped:
            self._skip(part.window, part.walk.skipped)

    def _put(self, records: list[R], done: CompletedWindow | None) -> None:
        size = len(records) or 1 if self._plan.complete_windows else self._plan.page_size
        pages = [tuple(records[first : first + size]) for first in range(0, len(records), size)]
        chunks = [
            Chunk(page, Page(page, None, size, number, len(pages)), pages=1) for number, page in enumerate(pages, 1)
        ]
        if self._plan.complete_windows:
            chunks = [Chunk(tuple(records), done=done, pages=1)] if done else []
        elif done:
            chunks.append(Chunk(done=done))
        self._ready.extend(chunks)
        self.windows_done += done is not None
        if chunks:
            self._on_chunk()

    def _skip(self, part: Window, skipped: tuple[Window, ...]) -> None:
        """End here: everything older than what is too old is too old as well."""
        for window in self._rest:
            log_skipped(self._plan.skipped_level, window)
        own = [Window(max(window.start, part.start), window.end) for window in skipped if window.end > part.start]
        self.skipped = join((*self.skipped, *own, *self._rest))
        self._rest.clear()

    # Progress

    @property
    def windows_left(self) -> int:
        """The estimated number of parts that are not complete yet."""
        return bool(self._part) + sum(ceil(window.span / self._width) for window in self._unread())

    @property
    def expected(self) -> int | None:
        """The expected number of records, from the records per day so far; None before the first answer."""
        begun = self._part.walk.expected if self._part else 0
        rest = sum((window.span for window in self._unread()), timedelta())
        if begun is None or (rest and not self._covered):
            return None
        return int(min(self.records + begun + (self.records * (rest / self._covered) if rest else 0), self._plan.limit))

    def _unread(self) -> list[Window]:
        ends = [(gap, self._present.reachable_end(gap)) for gap in self._rest]
        return [Window(gap.start, end) for gap, end in ends if gap.start < end]


def _bounded(width: timedelta) -> timedelta:
    return max(min(width, LONGEST_PART) // SECOND * SECOND, SHORTEST_PART)


_NEVER = datetime.min.replace(tzinfo=UTC)


def _age(record: CallRecord) -> tuple[datetime, str]:
    """Return what records are sorted by: the submit time, and the id for equal ones. A record without one is oldest."""
    return record.submit_time or _NEVER, record.voice_id or ""


def _together(part: _Part[Any]) -> CompletedWindow | None:
    """Return the complete windows of a part as one; the server's total is known if there is only one."""
    done = part.done
    if not done or done[-1].covered.end <= part.window.start:
        return None
    covered = Window(max(done[0].covered.start, part.window.start), done[-1].covered.end)
    return CompletedWindow(covered, done[0].total if len(done) == 1 else None, covered)
