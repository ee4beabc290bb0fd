"""The number of records of a range, by the server's totals; only windows whose totals are not trusted are read.

How a window is counted
=======================

`records(a, b)` returns what the server lists for [a - 1 s, b], without what it lists for the boundary second
[a - 1 s, a]. The second list is a part of the first one, whichever ends of a range the server includes. So the number
of records is the difference of the two totals, and the numbers of adjacent windows add up.

A total is trusted if its own answer does not contradict it. The answer has a full page of rows, because that takes no
more requests: a total of less than a page is proven by its rows. The total of a full page is suspicious if it is a
multiple of the page size, or may be a cap (`Learned.is_suspicious`). The last page of the largest total shows whether
the server caps totals below it: that is one more request, until a larger total appears. A window with a total that is
not trusted is split in halves if it has many records, otherwise it is read with `records()`.

In the boundary second of a recent or a very old window, a record may appear or expire between the two answers. So it is
requested before the window and again after it: if both totals are equal, it had this total when the window was
answered, unless one record appeared there and one left within that time.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from math import inf
from typing import Any

import attrs

from .._model.errors import ItnioError, TimeRangeError, may_be_overload
from .._model.windows import LONGEST, SECOND, SHORTEST, Window, before, join
from .._walk.availability import AvailabilitySearch
from .._walk.learned import Learned
from .._walk.present import Present
from .._walk.seen import page_keys
from .._walk.widths import DEEPEST
from .._wire.pages import Page, rows_of
from .owned_tasks import results_of
from .stream import RecordStream

__all__ = ["CountPlan", "RecordCount", "halves", "is_settled", "number_of_records", "trusted_total", "with_boundary"]

BATCH = 32
"""The maximum number of windows that are requested together."""
FEW_RECORDS = 1_000
"""A window with at most this many records is read instead of split: that takes about ten requests."""
MAX_SPLITS = 32
"""The maximum number of splits of one count: on a server whose totals are never trusted, the rest is read."""
RECENT, OLD = timedelta(days=1), timedelta(days=50)
"""In a second between these ages, records neither appear nor expire: a call takes less than a day."""

Answer = Page[Any] | TimeRangeError | None
"""The first page of a window, or its refusal; None if the server is overloaded, or if another answer contradicts it."""


# What the answers prove: no I/O and no clock.


def with_boundary(window: Window) -> Window:
    """Return a window together with its boundary second."""
    return Window(window.start - SECOND, window.end)


def halves(window: Window) -> tuple[Window, Window]:
    """Return the halves of a window of at least two seconds."""
    middle = window.start + window.span // (2 * SECOND) * SECOND
    return Window(window.start, middle), Window(middle, window.end)


def is_settled(age: timedelta) -> bool:
    """Return whether records neither appear in a second of this age, nor expire from it."""
    return RECENT < age < OLD


def trusted_total(answer: Answer, window: Window, learned: Learned) -> int | None:
    """Return the total of the first page of a window; None if it is missing or cannot be trusted."""
    if not isinstance(answer, Page) or answer.total is None or not learned.trusts_totals:
        return None
    rows, total, size = rows_of(answer), answer.total, answer.size
    if len(rows) != min(total, size) or page_keys(rows, learned.shared_ids).repeats:
        return None
    may_be_wrong = len(rows) == size and (total % size == 0 or learned.is_suspicious(total, window.span))
    return None if may_be_wrong else total


def last_page(total: int, size: int) -> int:
    """Return the number of the last page."""
    return -(-total // size)


def is_confirmed(last: Page[Any]) -> bool:
    """Return whether a page is the last one by its own total, and not full, so that there are no more records."""
    rows_before = (last.current - 1) * last.size
    return last.total is not None and 0 < len(rows_of(last)) == last.total - rows_before < last.size


def number_of_records(window: Window, answers: Mapping[Window, Answer], learned: Learned) -> int | None:
    """Return the number of records of a window; None if its total or that of its boundary second proves nothing."""
    outer, boundary = (trusted_total(answers[each], each, learned) for each in (with_boundary(window), before(window)))
    return None if outer is None or boundary is None or outer < boundary else outer - boundary


# The requests.


@attrs.frozen(eq=False, repr=False)
class CountPlan:
    """The arguments of a count.

    - `fetch(window, current)` requests page `current` of a window.
    - `read(window, limit)` returns the stream of a window's records. It skips what is older than the retention, or
      raises an error.
    - `present` is the server's time, `learned` what is known about the server, and `query` what is requested.
    - `concurrency`: at most this many requests in flight.
    """

    fetch: Callable[[Window, int], Coroutine[Any, Any, Page[Any]]]
    read: Callable[[Window, int | None], RecordStream[Any]]
    present: Present
    learned: Learned
    query: Hashable
    concurrency: int


class RecordCount:
    """One count of the records of a range."""

    def __init__(self, plan: CountPlan) -> None:
        self._plan = plan
        self._learned = plan.learned
        # The parts of the range: not requested yet, counted, and those that must be read.
        self._pending = deque[Window]()
        self._counted: dict[Window, int] = {}
        self._to_read: list[Window] = []
        self._splits_left = MAX_SPLITS
        # The smallest total that its last page has not confirmed: it may be a cap.
        self._refuted_total = inf

    async def of(self, window: Window) -> int:
        """Return the number of records of a range, up to the last second that is over on the server's clock."""
        present, answers = self._plan.present, dict[Window, Answer]()
        if not present.is_known():
            answers = await self._request([before(window)])  # shows the server's time
        end = present.reachable_end(window)
        if end < window.end:
            present.warn_unread(window, end)
        if end <= window.start:
            return 0
        self._pending.append(Window(window.start, end))
        while self._pending and self._learned.trusts_totals:
            windows = self._next_windows()
            answers = await self._request_totals(windows, answers)
            await self._confirm_totals(answers.items())
            for each in windows:
                await self._settle(each, answers)
        self._to_read += self._pending
        records = await self._read(self._to_read)
        if self._learned.trusts_totals:
            records += sum(self._counted.values())
        else:
            # The reading has shown that the server's totals are wrong, so those of the other windows may be wrong too.
            records += await self._read(self._counted)
        if any(each.end == end for each in self._counted):
            present.learn_accepted_end()
        covered = sum((each.span for each in (*self._counted, *self._to_read)), timedelta())
        self._learned.learn_density(self._plan.query, covered, records)
        return records

    def _next_windows(self) -> list[Window]:
        """Take the next windows; several only if the server is expected to accept their length."""
        limit, windows, most = self._learned.span_limit, list[Window](), BATCH
        while self._pending and len(windows) < most:
            window = self._pending.popleft()
            width = limit.bounded(LONGEST, window.span) - SECOND
            if window.span > width:
                middle = window.start + width
                self._pending.appendleft(Window(middle, window.end))
                window = Window(window.start, middle)
            windows.append(window)
            if limit.refused is not None and with_boundary(window).span > limit.answered:
                most = 1
        return windows

    async def _request_totals(self, windows: Sequence[Window], known: Mapping[Window, Answer]) -> dict[Window, Answer]:
        """Return the first pages of windows and of their boundary seconds.

        A boundary second that may change is requested first, and once more at the end. If its total has changed,
        it has no answer.
        """
        now = self._plan.present.now
        changing = [before(each) for each in windows if not is_settled(now - each.start)]
        answers = dict(known)
        for wanted in (changing, [other for each in windows for other in (before(each), with_boundary(each))]):
            answers |= await self._request(each for each in wanted if each not in answers)
        for boundary, answer in (await self._request(changing)).items():
            if not isinstance(answer, Page) or answer.total != _total(answers[boundary]):
                answers[boundary] = answer if isinstance(answer, TimeRangeError) else None
        return answers

    async def _confirm_totals(self, answers: Iterable[tuple[Window, Answer]]) -> None:
        """Compare the largest total with its last page, unless a larger one is confirmed; if it is wrong, the next.

        A confirmed total proves nothing about an equal one: by chance, the first may be as large as the cap. The last
        pages of more than `DEEPEST` records are not requested: deep pages take the server long.
        """
        pages = [(window, page) for window, page in answers if isinstance(page, Page)]
        for window, page in sorted(pages, key=lambda each: each[1].total or 0, reverse=True):
            total = trusted_total(page, window, self._learned) or 0
            if self._learned.proven_total <= total < min(self._refuted_total, DEEPEST) and total > page.size:
                try:
                    is_right = is_confirmed(await self._plan.fetch(window, last_page(total, page.size)))
                except ItnioError:
                    is_right = False  # The window is read, which raises the error if it is permanent.
                if is_right:
                    self._learned.proven_total = total
                else:
                    self._refuted_total = total

    async def _request(self, windows: Iterable[Window]) -> dict[Window, Answer]:
        """Request the first pages of windows, several at once."""
        return await results_of(self._answer, windows, self._plan.concurrency)

    async def _answer(self, window: Window) -> Answer:
        """Request the first page of a window. A refusal or an overload is an answer too."""
        try:
            return await self._plan.fetch(window, 1)
        except TimeRangeError as refusal:
            return refusal
        except ItnioError as error:
            if may_be_overload(error):
                return None
            error.add_note(f"while counting {window}")
            raise

    async def _settle(self, window: Window, answers: Mapping[Window, Answer]) -> None:
        """Count a window; if its answers prove nothing, decide how to continue."""
        requested, limit = with_boundary(window), self._learned.span_limit
        outer = answers[requested]
        if isinstance(answers[before(window)], TimeRangeError):
            await self._start_later(window)
        elif isinstance(outer, TimeRangeError):
            await self._shorten(window)
        else:
            if isinstance(outer, Page):
                limit.answer(requested.span)
            records, total = number_of_records(window, answers, self._learned), _total(outer) or 0
            if records is not None and total < self._refuted_total:
                limit.complete(requested.span)
                self._counted[window] = records
            elif total > FEW_RECORDS and window.span >= SHORTEST:
                self._split(*halves(window))
            else:
                self._to_read.append(window)

    def _split(self, first: Window, second: Window) -> None:
        """Count both parts of a window, or read it after too many splits."""
        self._splits_left -= 1
        parts = self._pending if self._splits_left >= 0 else self._to_read
        parts.extend((first, second))

    async def _start_later(self, window: Window) -> None:
        """Skip what is older than the retention, or raise the error for it: the boundary second was refused."""
        stream = self._plan.read(window, 1)
        await stream.collect()
        if not stream.skipped:
            self._to_read.append(window)  # Only its boundary second is refused.
        elif stream.skipped[-1].end < window.end:
            self._pending.appendleft(Window(stream.skipped[-1].end, window.end))

    async def _shorten(self, window: Window) -> None:
        """Count a refused window in shorter parts. If its end is in the server's future, its last part is read."""
        present, search = self._plan.present, AvailabilitySearch(lambda each: self._plan.fetch(each, 1))
        if window.span <= SHORTEST:
            self._to_read.append(window)
        elif present.is_near(window.end) and not await search.is_available(window.end - SHORTEST):
            middle = max(present.before(window.end), window.start + SECOND)
            self._pending.appendleft(Window(window.start, middle))
            self._to_read.append(Window(middle, window.end))
        elif not await search.is_available(window.start - SECOND):
            # The retention has passed the start since the boundary second was answered.
            await self._start_later(window)
        else:
            self._learned.span_limit.refuse(with_boundary(window).span)
            self._pending.appendleft(window)

    async def _read(self, windows: Iterable[Window]) -> int:
        """Return the number of records in windows by reading them."""
        records = 0
        for window in join(windows):
            async for page in self._plan.read(window, None).pages():
                records += len(page.records)
        return records


def _total(answer: Answer) -> int | None:
    return answer.total if isinstance(answer, Page) else None
