"""The time order in which a server lists records, and what it shows about records that expire. Pure."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import attrgetter, ge, le
from typing import Any

import attrs

from .._model.records import CallRecord

__all__ = ["TimeOrder"]

Ends = list[tuple[CallRecord, CallRecord]]
"""The first and the last record of each page, in the order of the pages."""


@attrs.frozen
class Order:
    """An order of records: by one of their times, ascending (`le`) or descending (`ge`)."""

    read_time: Any
    comparison: Any

    def sorts(self, records: Sequence[CallRecord]) -> bool:
        """Return whether records are in this order; False if one of them lacks the time."""
        return self.sorts_times(list(map(self.read_time, records)))

    def sorts_times(self, times: Sequence[Any]) -> bool:
        """Return whether times are in this order: datetimes, or texts that compare like them."""
        return None not in times and list(times) == sorted(times, reverse=self.comparison is ge)

    def page_that_shows_expiry(self, ends: Ends) -> int | None:
        """Return the number of the page with the oldest records: the first, or the last if descending.

        None if another page has a record of the oldest time too.
        """
        one, other = (ends[0][0], ends[1][0]) if self.comparison is le else (ends[-2][1], ends[-1][1])
        if self.comparison(self.read_time(other), self.read_time(one)):
            return None
        return 1 if self.comparison is le else len(ends)


_submit_time = attrgetter("submit_time")
_other_times = map(attrgetter, ("call_time", "hangup_time", "ringing_time", "answer_time"))
_ORDERS = tuple(Order(read_time, comparison) for read_time in (_submit_time, *_other_times) for comparison in (le, ge))


@attrs.define(eq=False)
class TimeOrder:
    """The time order of the records of a pass: the first of `_ORDERS` that page 1 is in."""

    longest_run: int = 0
    """The maximum number of records on page 1 in a row that have the same time; 0 if it is in no order."""
    _order: Order | None = None
    _ends: dict[int, tuple[CallRecord, CallRecord]] = attrs.field(factory=dict[Any, Any])

    def __bool__(self) -> bool:
        return self._order is not None

    def add(self, number: int, records: Sequence[CallRecord], submit_times: Sequence[str] | None) -> None:
        """Add the records of page `number`, with their submit times if they sort as text; page 1 is added first."""
        if not records:
            return

        def times_of(order: Order) -> Sequence[Any]:
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
    def page_that_shows_expiry(self) -> int | None:
        """The number of the page that changes when a record expires; None if the pages together are in no order."""
        ends = [end for _, end in sorted(self._ends.items())]
        seams = [(one[1], other[0]) for one, other in pairwise(ends)]
        order = self._order
        if order is None or not seams or not all(map(order.sorts, seams)):
            return None
        return order.page_that_shows_expiry(ends)
