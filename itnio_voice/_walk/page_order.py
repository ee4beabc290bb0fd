"""The pages of a window: which rows each names, how they overlap, and the order of their records. Pure."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from itertools import chain, groupby, pairwise, product
from operator import ge, le
from typing import Any

import attrs

from .._model.records import CallRecord
from .._wire.late_records import column

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


Ends = list[tuple[Any, Any]]
"""The values of the first and the last record of each page, in the order of the pages."""


def _as_time(value: Any) -> Any:
    """Return a value that compares with those of all pages: a time for a time as text, None if it is invalid."""
    with suppress(ValueError):
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    return None


@attrs.frozen
class _Order:
    """An order of records by a column, ascending (`le`) or descending (`ge`).

    Records without a value are listed first or last, as databases do with NULL.
    """

    name: str
    is_time: bool
    comparison: Callable[[Any, Any], bool]
    nulls_first: bool

    @property
    def is_descending(self) -> bool:
        return self.comparison is ge

    def sorts(self, values: Sequence[Any]) -> bool:
        """Return whether the values of some records in a row are in this order."""
        ranked = [self._rank(value) for value in values] if None in values else list(values)
        return ranked == sorted(ranked, reverse=self.is_descending)

    def _rank(self, value: Any) -> tuple[int, Any]:
        null_rank = -1 if self.nulls_first != self.is_descending else 1
        return (null_rank, None) if value is None else (0, value)

    def shows_expiry(self, ends: Ends) -> bool:
        """Return whether all records with the oldest time are on one page: the first, or the last if descending."""
        times = [*chain.from_iterable(ends)]
        one, other = (times[0], times[2]) if not self.is_descending else (times[-3], times[-1])
        return None not in times and not self.comparison(other, one)


_TIMES = ("submit_time", "call_time", "hangup_time", "ringing_time", "answer_time")
_TEXTS = ("voice_id", "callee", "display_num")
_ORDERS = tuple(
    _Order(name, name in _TIMES, comparison, nulls_first)
    for name, nulls_first, comparison in product((*_TIMES, *_TEXTS), (False, True), (le, ge))
)


@attrs.define(eq=False)
class RecordOrder:
    """The order of the records of a pass: the first of `_ORDERS` that page 1 is in."""

    longest_run: int = 0
    """The maximum number of records on page 1 in a row that have the same value; 0 if it is in no order."""
    _order: _Order | None = None
    _ends: dict[int, tuple[Any, Any]] = attrs.field(factory=dict[Any, Any])

    def __bool__(self) -> bool:
        return self._order is not None

    @property
    def is_by_time(self) -> bool:
        """Whether the records are sorted by a time."""
        return self._order is not None and self._order.is_time

    @property
    def is_descending(self) -> bool:
        """Whether the newest records are listed first."""
        return self._order is not None and self._order.is_descending

    def add(self, number: int, records: Sequence[CallRecord]) -> None:
        """Add the records of page `number`; page 1 is added first."""
        if not records:
            return
        values: Sequence[Any] = []
        if number == 1:
            for order in _ORDERS:
                values = column(records, order.name)
                # One time for all records is an order with many ties. One text for all, or none, is no order.
                is_order = values[0] != values[-1] or (order.is_time and values[0] is not None)
                if is_order and order.sorts(values):
                    self._order = order
                    self.longest_run = max(sum(1 for _ in run) for _, run in groupby(values))
                    break
        elif self._order:
            values = column(records, self._order.name)
            if not self._order.sorts(values):
                self._order = None
        if self.is_by_time:
            self._ends[number] = _as_time(values[0]), _as_time(values[-1])

    def distinguishes(self, records: Sequence[CallRecord]) -> bool:
        """Return whether records in a row have different values of what they are sorted by."""
        if self._order is None or not records:
            return False
        values = column(records, self._order.name)
        return bool(values[0] != values[-1])

    @property
    def shows_expiry(self) -> bool:
        """Whether all pages together are in one time order, and an outer page would show that a record has expired."""
        order = self._order
        if order is None or len(self._ends) < 2:  # noqa: PLR2004 -- a seam needs two pages
            return False
        ends = [end for _, end in sorted(self._ends.items())]
        seams = [(one[1], other[0]) for one, other in pairwise(ends)]
        return all(map(order.sorts, seams)) and order.shows_expiry(ends)
