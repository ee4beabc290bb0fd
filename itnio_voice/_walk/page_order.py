"""The pages of a window: which rows each names, how they overlap, and the order of their records. Pure."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby, islice, pairwise, product
from operator import eq, ge, le
from typing import Any

import attrs

from .._model.records import CallRecord
from .._wire.late_records import column, picked

__all__ = ["RecordOrder", "Slice", "overlapping_slices"]

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
        sizes = [(k + 1, (before - overlap) // k) for k in range(fewest, fewest + 8)]
        current, size = max(sizes, key=lambda page: page[0] * page[1])
        slices.append(Slice(current, size, before - (current - 1) * size))
        if slices[-1].stop <= before or len(slices) > MAX_SLICES:
            return None
    return slices


def _longest_run(values: Sequence[Any]) -> int:
    """Return the maximum number of equal values in a row."""
    if not any(map(eq, values, islice(values, 1, None))):  # most pages, and much faster than counting
        return 1
    return max(sum(1 for _ in run) for _, run in groupby(values))


_Ends = Sequence[CallRecord]
"""The first and the last record of a page."""


@attrs.frozen(eq=False, repr=False)
class _Order:
    """An order of records by a column, ascending (`le`) or descending (`ge`).

    Records without a value are listed first or last, as databases do with NULL.
    """

    name: str
    comparison: Callable[[Any, Any], bool]
    nulls_first: bool

    @property
    def is_time(self) -> bool:
        return self.name in _TIMES

    @property
    def is_descending(self) -> bool:
        return self.comparison is ge

    def sorts(self, values: Sequence[Any]) -> bool:
        """Return whether the values of some records in a row are in this order."""
        with suppress(TypeError):  # None compares with nothing
            return all(map(self.comparison, values, islice(values, 1, None)))
        ranked = [self._rank(value) for value in values]
        with suppress(TypeError):  # a class of a user's own may have values that do not compare
            return all(map(self.comparison, ranked, islice(ranked, 1, None)))
        return False

    def _rank(self, value: Any) -> tuple[int, Any]:
        null_rank = -1 if self.nulls_first != self.is_descending else 1
        return (null_rank, None) if value is None else (0, value)

    def shows_expiry(self, pages: Sequence[_Ends]) -> bool:
        """Return whether all records with the oldest time are on one page: the first, or the last if descending."""
        outer, end = (pages[-2:], -1) if self.is_descending else (pages[:2], 0)
        one, other = (column(ends, self.name)[end] for ends in outer)
        return None not in (one, other) and one != other


_TIMES = ("submit_time", "call_time", "hangup_time", "ringing_time", "answer_time")
_TEXTS = ("voice_id", "callee", "display_num")
_ORDERS = {name: [_Order(name, *each) for each in product((le, ge), (False, True))] for name in (*_TIMES, *_TEXTS)}


@attrs.define(eq=False, repr=False)
class RecordOrder:
    """The orders that the server may list the records of a pass in: all those that page 1 is in.

    Times are usually in the same order, so which of them the server sorts by is not known. What the pages prove must
    hold for each of these orders.
    """

    longest_run: int = 0
    """The maximum number of records on page 1 in a row that are equal in one of the orders; 0 if it is in none."""
    is_lost: bool = False
    """Whether a later page is in another order, so that page 1 was in its order by chance."""
    _orders: list[_Order] = attrs.field(factory=list[_Order])
    _ends: dict[int, _Ends] = attrs.field(factory=dict[int, Any])

    def __bool__(self) -> bool:
        return bool(self._orders) and not self.is_lost

    @property
    def is_by_time(self) -> bool:
        """Whether the records may be sorted by a time."""
        return bool(self) and self._orders[0].is_time

    @property
    def is_descending(self) -> bool:
        """Whether the newest records may be listed first."""
        return bool(self) and any(order.is_descending for order in self._orders if order.is_time)

    def add(self, number: int, records: Sequence[CallRecord]) -> None:
        """Add the records of page `number`; page 1 is added first."""
        if not records:
            return
        if number == 1:
            for name, orders in _ORDERS.items():
                values = column(records, name)
                # One time for all records is an order with many ties. One text for all, or none, is no order.
                if values[0] != values[-1] or (name in _TIMES and values[0] is not None):
                    has_null = None in values
                    fitting = [order for order in orders if order.nulls_first <= has_null and order.sorts(values)]
                    self._orders += fitting
                    if fitting:
                        self.longest_run = max(self.longest_run, _longest_run(values))
        elif self._orders:
            name = self._orders[0].name
            values = column(records, name)
            self._orders = [order for order in self._orders if order.name != name or order.sorts(values)]
            self.is_lost |= not self._orders or self._orders[0].name != name
        self._ends[number] = picked(records, [0, -1])

    def distinguishes(self, records: Sequence[CallRecord]) -> bool:
        """Return whether records in a row have different values of whatever they may be sorted by."""
        if not self or not records:
            return False
        columns = (column(records, order.name) for order in self._orders)
        return all(values[0] != values[-1] for values in columns)

    def show_expiry(self) -> bool:
        """Return whether the pages are in time order, and an outer one would show that a record has expired."""
        if not self.is_by_time or len(self._ends) < 2:  # noqa: PLR2004 -- a seam needs two pages
            return False
        name, pages = self._orders[0].name, [ends for _, ends in sorted(self._ends.items())]
        seams = [(one[-1], other[0]) for one, other in pairwise(column(ends, name) for ends in pages)]
        self._orders = [order for order in self._orders if order.name != name or all(map(order.sorts, seams))]
        is_ordered = bool(self._orders) and self._orders[0].name == name
        return is_ordered and all(order.shows_expiry(pages) for order in self._orders if order.is_time)
