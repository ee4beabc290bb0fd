"""The pages of a window: which rows each names, how they overlap, and the time order of their records. Pure."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from operator import attrgetter, ge, le
from typing import Any

import attrs

from .._model.records import CallRecord

__all__ = ["Slice", "TimeOrder", "overlapping_slices"]

MAX_SLICES = 150
"""The maximum number of pages that overlap: enough for the deepest window with the largest pages."""


@attrs.frozen
class Slice:
    """The rows of a window that page `current` of `size` rows names; its first `repeated` are on the page before too.

    Rows are counted from 0, in the server's order. `start` is the first row, `stop` the row after the last.
    """

    current: int
    size: int
    repeated: int = 0

    @property
    def start(self) -> int:
        """The first row."""
        return (self.current - 1) * self.size

    @property
    def stop(self) -> int:
        """The row after the last one."""
        return self.current * self.size


@lru_cache(maxsize=64)
def overlapping_slices(largest: int, overlap: int, total: int) -> Sequence[Slice] | None:
    """Return the pages to read `total` rows with, each repeating at least `overlap` rows of the one before.

    The first has `largest` rows and no other has more. The last one reaches past the total, so that its answer shows
    the end. None if pages of this size cannot overlap by as much, or too many would be needed.
    """
    slices = [Slice(1, largest)]
    while slices[-1].stop <= total:
        before = slices[-1].stop
        if before <= overlap:
            return None
        # Page `k + 1` of `size` rows starts at row `k * size`, and that row must be repeated.
        fewest = -(-(before - overlap) // largest)
        sizes = [(k + 1, (before - overlap) // k) for k in range(fewest, fewest + 4)]
        current, size = max(sizes, key=lambda page: page[0] * page[1])
        slices.append(Slice(current, size, before - (current - 1) * size))
        if slices[-1].stop <= before or len(slices) > MAX_SLICES:
            return None
    return slices


Ends = list[tuple[CallRecord, CallRecord]]
"""The first and the last record of each page, in the order of the pages."""


@attrs.frozen
class _Order:
    """An order of records: by one of their times, ascending (`le`) or descending (`ge`)."""

    read_time: Any
    comparison: Any

    def sorts(self, records: Sequence[CallRecord]) -> bool:
        """Return whether records are in this order; False if one of them lacks the time."""
        return self.sorts_times(list(map(self.read_time, records)))

    def sorts_times(self, times: Sequence[Any]) -> bool:
        """Return whether times are in this order: datetimes, or texts that compare like them."""
        return None not in times and list(times) == sorted(times, reverse=self.comparison is ge)

    def shows_expiry(self, ends: Ends) -> bool:
        """Return whether all records with the oldest time are on one page: the first, or the last if descending."""
        one, other = (ends[0][0], ends[1][0]) if self.comparison is le else (ends[-2][1], ends[-1][1])
        return not self.comparison(self.read_time(other), self.read_time(one))


_submit_time = attrgetter("submit_time")
_other_times = map(attrgetter, ("call_time", "hangup_time", "ringing_time", "answer_time"))
_ORDERS = tuple(_Order(read_time, comparison) for read_time in (_submit_time, *_other_times) for comparison in (le, ge))


@attrs.define(eq=False)
class TimeOrder:
    """The time order of the records of a pass: the first of `_ORDERS` that page 1 is in."""

    longest_run: int = 0
    """The maximum number of records on page 1 in a row that have the same time; 0 if it is in no order."""
    _order: _Order | None = None
    _ends: dict[int, tuple[CallRecord, CallRecord]] = attrs.field(factory=dict[Any, Any])

    def __bool__(self) -> bool:
        return self._order is not None

    @property
    def is_descending(self) -> bool:
        """Whether the newest records are listed first."""
        return self._order is not None and self._order.comparison is ge

    def add(self, number: int, records: Sequence[CallRecord], submit_times: Sequence[str] | None) -> None:
        """Add the records of page `number`, with their submit times if they sort as text; page 1 is added first."""
        if not records:
            return

        def times_of(order: _Order) -> Sequence[Any]:
            if submit_times is not None and order.read_time is _submit_time:
                return submit_times
            return list(map(order.read_time, records))

        if number == 1:
            self._order = next((order for order in _ORDERS if order.sorts_times(times_of(order))), None)
            if self._order:
                self.longest_run = max(sum(1 for _ in run) for _, run in groupby(times_of(self._order)))
        elif self._order and not self._order.sorts_times(times_of(self._order)):
            self._order = None
        self._ends[number] = records[0], records[-1]

    def distinguishes(self, one: CallRecord, other: CallRecord) -> bool:
        """Return whether the times of two records differ."""
        return self._order is not None and self._order.read_time(one) != self._order.read_time(other)

    @property
    def shows_expiry(self) -> bool:
        """Whether all pages together are in one order, and an outer page would show that a record has expired."""
        ends = [end for _, end in sorted(self._ends.items())]
        seams = [(one[1], other[0]) for one, other in pairwise(ends)]
        order = self._order
        return order is not None and bool(seams) and all(map(order.sorts, seams)) and order.shows_expiry(ends)
