"""Following an account: polls that read what is new, and find what has appeared late.

A poll has three parts:

1. Stretches that leave the lookback are looked at for the last time.
2. The time since the last poll is read, by a walk, up to the last second that is over on the server's clock. If the
   last stretch has few records, it is read again together with that time.
3. Stretches of the lookback are looked at again: each one at a fifth of the lookback, and before that as far as the
   number of requests allows. On a busy account, reading a stretch again takes as many requests as its new records
   took; so it is better to wait until most of its late records are there.

To look at a group of stretches is to request its first page. If the total is the number of known records, nothing has
appeared. Otherwise the group is read again by a walk, which gets that page. A large group is first divided.

Nothing runs between two polls. A poll that is cancelled continues where it was: a walk keeps its answers.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic

import anyio
import attrs

from ..._model.errors import ItnioError, TimeRangeError, may_be_overload
from ..._model.printable import get_logger
from ..._model.records import R
from ..._model.windows import FOREVER, SECOND, Window, floor
from ..._walk.walk import Walk
from ..._wire.pages import LARGEST_PAGE, Page
from ..counting import trusted_total
from ..query import Query
from .checkpoint import FollowCheckpoint
from .known import Known, digest_of, identity
from .lookback import Lookback, Stretch, number_of_records, window_of

__all__ = ["FollowBatch", "FollowOptions", "Polls"]

_LOGGER = get_logger("itnio_voice.follow")

FEW_RECORDS = LARGEST_PAGE // 2
"""A last stretch with at most this many records is read again together with new time: that takes one request."""
FITTING = 10 * LARGEST_PAGE
"""A stretch has about this many records: it may have to be read again."""
MOST_STRETCHES = 8
"""New time is read in at most this many stretches."""
ENOUGH_SECONDS = 10
"""The seconds that must have been read to know how many records are to be expected."""
LONGEST_GROWN = 1 / 4
"""A stretch is at most this part of the lookback, when it is read together with new time or with its neighbours."""
REQUESTS, REQUESTS_PER_PAGE = 5.0, 1.3
"""A poll sends about this many requests, and this many for each page of new records; more only for stretches that are
due."""
SETTLING = 1 / 5
"""The part of the lookback after which a stretch is looked at in any case: by then, most late records are there."""
PATIENCE = 1 / 8
"""Stretches are due together, after at most this part of the lookback."""
LONGEST_BACKOFF = 300.0
"""The longest wait after failures, in seconds, if polls are not farther apart anyway."""
CLOCK_ERROR = timedelta(seconds=10)
"""If the server's clock turns out to be farther off than this, following begins at its present instead."""
_ADVICE = "the range starts before the oldest available record: start later"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(eq=False, repr=False)
class FollowOptions:
    """The arguments of a follower, except for its start: `every` is in seconds."""

    every: float
    lookback: timedelta
    changes: bool


@attrs.frozen
class FollowBatch(Generic[R]):
    """Records that have become visible, and the follower's checkpoint with them: write both in one transaction."""

    records: tuple[R, ...]
    checkpoint: FollowCheckpoint


@attrs.define(eq=False, repr=False)
class _Reading(Generic[R]):
    """A range that is being read by a walk.

    `again` are the stretches that it replaces, and `first` its first page, if that has been requested. `is_history` is
    time before the lookback: each of its windows is returned when it is complete.
    """

    window: Window
    is_new: bool = True
    again: tuple[Stretch, ...] = ()
    is_history: bool = False
    first: Page[R] | None = None
    walk: Walk[R] | None = None
    records: list[R] = attrs.field(factory=list)
    totals: list[int | None] = attrs.field(factory=list)
    end: datetime | None = None


@attrs.define(eq=False, repr=False)
class _Look:
    """A group of stretches to look at. `must` is set for those that are due: they do not wait for the next poll.

    `is_changed` is set if it is known that a record has appeared: in this group, as it has not in `other`, its half.
    """

    group: tuple[Stretch, ...]
    must: bool = False
    is_changed: bool = False
    other: "_Look | None" = None


_Work = _Reading[Any] | _Look | Callable[[], None]


class Polls(Generic[R]):
    """The polls of a follower, in steps; `ready` are the batches that they have found."""

    def __init__(self, query: Query[R], options: FollowOptions, checkpoint: FollowCheckpoint) -> None:
        self._query = query
        self._options = options
        self._fingerprint = checkpoint.query
        self._state = checkpoint.lookback
        self._present = query.present(until_now=True)
        self._fetch = query.fetcher(_ADVICE)
        self._work: list[_Work] = []
        self._polled_at = datetime.min.replace(tzinfo=UTC)
        self._next_poll = self._retry_at = -math.inf
        self._failures = 0
        # How many more requests this poll may send, unless a stretch is due.
        self._allowance = 0.0
        self.ready: deque[FollowBatch[R]] = deque()
        self.late = timedelta()

    @property
    def checkpoint(self) -> FollowCheckpoint:
        """What was read; all of it is in batches."""
        return FollowCheckpoint(self._fingerprint, self._state)

    async def step(self) -> None:
        """Make a step of the current poll, or wait for the next one and begin it.

        After a failure, the poll is continued where it was.
        """
        await anyio.sleep_until(self._retry_at if self._work else max(self._next_poll, self._retry_at))
        if not self._work:
            self._begin_poll()
        work = self._work[-1]
        try:
            match work:
                case _Reading():
                    await self._read(work)
                case _Look():
                    await self._look(work)
                case _:
                    self._work.pop()
                    work()
        except ItnioError as error:
            if isinstance(error, TimeRangeError) and isinstance(work, _Reading) and self._is_too_new(work):
                self._end_reading(work)
                return
            wait = self._backoff()
            self._retry_at = anyio.current_time() + wait
            if not error.transient:
                raise
            extra = {"itnio.failures": self._failures, "itnio.api_key": self._query.transport.credentials.api_key}
            _LOGGER.warning("%s: following continues in %.0f s", error, wait, extra=extra)

    def _is_too_new(self, reading: _Reading[R]) -> bool:
        """Return whether a range was refused that is so new that the server may not have it yet."""
        return reading.window.start > self._present.before(self._polled_at)

    def _backoff(self) -> float:
        """Return the seconds to wait after another failure in a row."""
        self._failures += 1
        every = self._options.every
        return min(every * 2.0 ** min(self._failures - 1, 20), max(every, LONGEST_BACKOFF))

    def _begin_poll(self) -> None:
        """Plan a poll: its parts, the first one last."""
        self._next_poll = anyio.current_time() + self._options.every
        self._polled_at = self._present.now
        self._allowance = REQUESTS
        self._work = [self._look_again, self._read_new]
        self._work += self._due(self._options.lookback)

    def _due(self, age: timedelta) -> list[_Work]:
        """Return the looks at the stretches that have an age."""
        due = self._state.due(age, PATIENCE * self._options.lookback, self._polled_at)
        return [_Look(due, must=True)] if due else []

    def _read_new(self) -> None:
        """Plan the second part of a poll: the range that begins where the last poll ended."""
        if self._state.stretches:
            self._read_new_time()
            return
        is_known, is_present = self._present.is_known(), self._state.position is None
        self._work += [self._read_new_time, self._first_second()]
        if is_present and not is_known:
            # The answer shows the server's clock. If this machine's is wrong, its present was not the server's.
            self._work.insert(-1, self._correct_first_second)

    def _first_second(self) -> _Reading[R]:
        """Return the reading of the second before the start: its records belong to the range before."""
        start = self._state.position or self._present.reachable_end(Window(_EPOCH, FOREVER))
        self._state = Lookback(start)
        return _Reading[R](Window(start - SECOND, start))

    def _correct_first_second(self) -> None:
        """Begin at the server's present, if its clock turned out to differ from this machine's."""
        position = self._state.position
        if position is None or abs(self._present.now - position) > CLOCK_ERROR:
            self._state = Lookback()
            self._work.append(self._first_second())

    def _read_new_time(self) -> None:
        """Plan to read the time since the last poll."""
        start = self._state.position
        if start is None:
            return
        if start > self._present.now:
            # One answer had a clock that was behind. Without another answer, nothing would ever be read again.
            first = Stretch(Window(start - SECOND, start), frozenset(), 0, self._polled_at)
            self._work.append(_Look(self._state.stretches[-1:] or (first,), must=True))
        end = self._present.reachable_end(Window(start, FOREVER))
        if end <= start or not self._state.stretches:
            return
        last, lookback = self._state.stretches[-1], self._options.lookback
        recent = max(start, min(end, floor(self._polled_at - lookback)))
        is_small = len(last.digests) <= FEW_RECORDS and last.end == start == recent
        if is_small and end - last.window.start <= LONGEST_GROWN * lookback:
            self._work.append(_Reading[R](Window(last.window.start, end), again=(last,)))
            return
        history = [_Reading[R](Window(start - SECOND, recent), is_history=True)] if start < recent else []
        self._work += reversed([*history, *(_Reading[R](each) for each in self._stretches(recent, end))])

    def _stretches(self, start: datetime, end: datetime) -> list[Window]:
        """Return the stretches in which to read new time, by the number of records that the last ones had."""
        before, seconds = self._state.stretches, (end - start) // SECOND
        observed = window_of(before).span // SECOND
        expected = number_of_records(before) / observed * seconds if observed >= ENOUGH_SECONDS else math.inf
        number = min(math.ceil(min(expected / FITTING, MOST_STRETCHES)) or 1, seconds)
        ends = [start + seconds * part // number * SECOND for part in range(1, number + 1)]
        return [Window(first - SECOND, last) for first, last in zip([start, *ends], ends, strict=False)]

    def _look_again(self) -> None:
        """Plan the third part of a poll."""
        if self._options.changes:
            again = [each for each in self._state.stretches if each.looked_at < self._polled_at]
            self._work += [_Reading[R](each.window, is_new=False, again=(each,)) for each in reversed(again)]
        else:
            self._work += [self._look_freely, *self._due(SETTLING * self._options.lookback)]

    def _look_freely(self) -> None:
        """Plan to look at stretches that are not due."""
        groups = self._state.groups(self._options.lookback, self._polled_at)
        self._work.extend(_Look(group) for group in reversed(groups))

    # Reading

    async def _read(self, reading: _Reading[R]) -> None:
        """Make a step of a walk."""
        walk = reading.walk = reading.walk or self._walk(reading)
        goes_on = await walk.step()
        while chunk := walk.take():
            reading.records += chunk.records
            if chunk.done:
                self._failures = 0
                reading.totals.append(chunk.done.total)
                reading.end = chunk.done.covered.end
                if reading.is_history:
                    self._add(reading, chunk.done.window)
                    reading.records, reading.totals = [], []
        if goes_on:
            return
        self._end_reading(reading)
        # If the server's clock is behind what it was, a stretch may not be available to its end: it is kept.
        is_complete = reading.end and not (reading.again and reading.end < reading.again[-1].end)
        if reading.end and is_complete and not reading.is_history:
            self._add(reading, Window(reading.window.start, reading.end))

    def _end_reading(self, reading: _Reading[R]) -> None:
        """End a reading. If its end is not available, the new time after it is left for the next poll."""
        self._work.remove(reading)
        if reading.is_new and (reading.end is None or reading.end < reading.window.end):
            self._work = [work for work in self._work if not (isinstance(work, _Reading) and work.is_new)]

    def _walk(self, reading: _Reading[R]) -> Walk[R]:
        async def fetch(window: Window, current: int, size: int) -> Page[R]:
            first, reading.first = reading.first, None
            if first and (window, current, size) == (reading.window, 1, LARGEST_PAGE):
                return first
            self._allowance -= 1
            return await self._fetch(window, current, size)

        plan = self._query.plan((reading.window,), until_now=True, complete_windows=True, has_boundary=False)
        return Walk(attrs.evolve(plan, fetch=fetch))

    def _add(self, reading: _Reading[R], window: Window) -> None:
        """Add a range that was read completely, and return its records that are new."""
        rows = [(digest_of(record), record) for record in reading.records]
        known = frozenset[bytes]().union(*(each.digests | each.others for each in self._state.stretches))
        found = Known(known, self._shared_ids).sort(rows)
        digests = frozenset(digest for digest, _ in rows)
        # The total of a single window; several ones overlap.
        total = reading.totals[0] if len(reading.totals) == 1 else None
        surplus = max(0, total - len({identity(digest) for digest in digests})) if total else 0
        is_again = bool(reading.again) and not reading.is_new
        if is_again and found.new:
            self._note_late(min(each.looked_at - each.end for each in reading.again))
        is_settled = window.end + SETTLING * self._options.lookback <= self._polled_at
        is_quiet = is_again and (is_settled or not found.new)
        stretch = Stretch(window, digests, surplus, self._polled_at, is_quiet)
        is_first = not self._state.stretches
        self._state = self._state.with_read(stretch, reading.again)
        if is_again:
            self._state = self._state.with_late(window, digests - known)
        self._state = self._state.without_left(self._options.lookback)
        if is_first:
            return  # the second before the start
        if reading.is_new:
            self._allowance += REQUESTS_PER_PAGE * len(found.new) / LARGEST_PAGE
        if records := (*found.new, *(found.changed if self._options.changes else ())):
            self.ready.append(FollowBatch(records, self.checkpoint))

    @property
    def _shared_ids(self) -> set[Any]:
        return self._query.learned.shared_ids

    # Looking

    async def _look(self, look: _Look) -> None:
        """Look at a group of stretches, unless this poll has sent enough requests."""
        group, window = look.group, window_of(look.group)
        if not look.must and self._allowance < self._least_allowance(group):
            self._work.pop()
            return
        page = None if look.is_changed else await self._first_page(group)
        self._work.pop()
        known = number_of_records(group)
        if page and trusted_total(page, window, self._query.learned) == known:
            self._state = self._state.with_quiet(group, self._polled_at)
            if look.other:
                look.other.is_changed = True
        elif len(group) == 1 or (known <= FITTING and window.span <= LONGEST_GROWN * self._options.lookback):
            self._work.append(_Reading[R](window, is_new=False, again=group, first=page))
        else:
            middle = len(group) // 2
            newer = _Look(group[middle:], look.must)
            self._work += [newer, _Look(group[:middle], look.must, other=newer)]

    def _least_allowance(self, group: Sequence[Stretch]) -> float:
        """Return the allowance that a look needs. If something is likely to have appeared, the group is read."""
        return 1 if group[0].is_quiet else 1 + len(group[0].digests) / LARGEST_PAGE

    async def _first_page(self, group: Sequence[Stretch]) -> Page[R] | None:
        """Request the first page of a group; None if it is refused, but its parts may be answered."""
        self._allowance -= 1
        try:
            return await self._fetch(window_of(group), 1)
        except ItnioError as error:
            if isinstance(error, TimeRangeError) or may_be_overload(error):
                return None
            raise

    def _note_late(self, lateness: timedelta) -> None:
        """Remember how late a record has appeared, and warn if the lookback is hardly longer."""
        if lateness <= self.late:
            return
        self.late = lateness
        if lateness > self._options.lookback / 2:
            _LOGGER.warning(
                "a record appeared more than %s after its time, and the lookback is %s: use a longer lookback",
                lateness,
                self._options.lookback,
                extra={
                    "itnio.late": lateness.total_seconds(),
                    "itnio.api_key": self._query.transport.credentials.api_key,
                },
            )
