"""One pass over a window: which page to request next, and what the answers prove. Pure.

How a window is proven complete
===============================

A window with one page that is not full is one answer: it cannot change between answers, and is complete. A pass over
several pages proves the window by itself if

- every answer has the same total, and the distinct records add up to it (a record counts as often as a single answer
  lists it, so duplicates that the server itself lists are accepted);
- each page has as many records as its position requires, and no record is on two pages;
- nothing moved between the pages while they were read.

If one record expires and another appears between two answers, the total stays the same, but the rows between the two
move by one position. So a row may move from a page that has not been read to one that has, and be missed. There are two
proofs that this did not happen.

1. The pages overlap: `current` and `size` name rows, so pages of different sizes can be placed so that each repeats the
   last rows of the one before, and the last reaches past the total. Suppose a record was missed that was there all the
   time. On the page before it, all rows come before the record; on the page after it, all rows come after. A row that
   both pages list would come before and after it. That cannot be, in one fixed order. If records are sorted by a time,
   and equal times stand in any order, the rows that are repeated must have two different times: the record's time would
   be at least the later one, and at most the earlier one. The same holds for other values by which records are sorted.
   If the order is none that the records show, three rows are repeated, so up to two equal records may stand in any
   order. If page 1 is in the order of several values, all of this must hold for each of them. The keys that are
   repeated must occur once in the window.
2. The records are sorted by one of their times, all records with the oldest time are on one page, and page 1, requested
   again after all others had arrived, is unchanged; if the newest records are listed first, the last page too. Records
   expire oldest first, so from the first page (oldest first) or from the last (newest first). If nothing has left the
   first page, nothing has expired since it was read, and as the totals are equal, nothing has appeared. If nothing has
   left the last page, a record may still have expired, and another appeared, before it was first read. Then all rows
   between the place of the new one and the end moved back. Going from the end to the front, each page must have been
   read after that, or it would have a row in common with the page after it, up to the page with the new record.

The first takes fewer round trips, the second fewer requests if there are many pages. If the last page is full, the page
after it must be empty, since a total may be too low. (Some servers repeat their first or last page there; that is
accepted only if there are several pages.) Pages that overlap reach past the total anyway.

Every other window is proven by two unions of passes. The reason is ties: `ORDER BY submit_time LIMIT n OFFSET m`
without a tie-breaker lists the records of one second in a different order for each `n` and `m`. So the pages of one
pass repeat some records and miss others. Passes with different page sizes miss different records. A union of passes is
finished when all its answers have the same total, and its distinct records add up to it. One union may still contain
both a record that has expired and one that appeared later. So a second union, of later requests, must be equal to the
first. Without a total, a pass is a union by itself if it ends with an empty page and no record was on two pages.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Generic

import attrs

from .._model.records import R
from .._model.windows import SHORTEST, Window
from .._wire.pages import LARGEST_PAGE, Page, rows_of, without_rows
from .learned import Learned
from .page_order import RecordOrder, Slice, overlapping_slices
from .seen import PageKeys, page_keys

__all__ = ["WindowPass"]

MAX_PAGES, MAX_PAGES_PER_STEP = 50, 10
"""The maximum number of pages without a total: the first, plus the second for each record of a full page."""
MAX_SHORT_PAGES = 3
"""The maximum number of short pages that may be followed by another page."""
HIDDEN_RUN = 2
"""How many records in a row may be equal in the server's order, if it is none that the records show."""


@attrs.define(eq=False, repr=False)
class WindowPass(Generic[R]):
    """One pass over a window: the pages that have arrived, the pages that are missing, and what the answers prove."""

    window: Window
    size: int
    learned: Learned
    may_overlap: bool = False
    """Whether the pages may overlap: the pass then proves the window in fewer round trips."""
    pages: dict[int, Page[R]] = attrs.field(factory=dict[Any, Any], init=False)
    """The pages that have arrived and have not been returned yet."""
    keys: dict[int, PageKeys] = attrs.field(factory=dict[Any, Any], init=False)
    """The keys of all pages that have arrived."""
    in_flight: set[int] = attrs.field(factory=set[int], init=False)
    total: int | None = attrs.field(default=None, init=False)
    """The server's number of records; None before page 1, and if it is missing or not trusted."""
    step: int = attrs.field(init=False)
    """The number of records on page 1, as on each page but the last: the server may cap `size`."""
    last_page: int = attrs.field(default=1, init=False)
    """The number of the last page according to the total, at least 1; if page 1 is empty, it is the last."""
    rows: int = attrs.field(default=0, init=False)
    inconsistent: bool = attrs.field(default=False, init=False)
    """Whether the answers contradict each other, so that the pass cannot prove the window by itself."""
    totals_differ: bool = attrs.field(default=False, init=False)
    _trusts_totals: bool = attrs.field(init=False)
    distinct: set[Hashable] = attrs.field(factory=set[Any], init=False)
    _order: RecordOrder = attrs.field(factory=RecordOrder, init=False)
    _next: int = attrs.field(default=2, init=False)
    _given_back: list[int] = attrs.field(factory=list[int], init=False)
    _server_size: int = attrs.field(default=LARGEST_PAGE, init=False)
    _short_pages: int = attrs.field(default=0, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _slices: Sequence[Slice] | None = attrs.field(default=None, init=False)
    """The pages, if they overlap."""
    _answers: dict[int, PageKeys] = attrs.field(factory=dict[int, PageKeys], init=False)
    """The keys of pages that overlap, with those of the repeated rows."""
    _overlaps_prove: bool = attrs.field(default=False, init=False)
    _can_be_confirmed: bool = attrs.field(default=False, init=False)
    _to_confirm: set[int] = attrs.field(factory=set[int], init=False)
    """The pages to request again when all have arrived."""
    _probed: bool = attrs.field(default=False, init=False)
    repeats_only_page: bool = attrs.field(default=False, init=False)
    """Whether page 2 repeats the only page: if the server repeats it for every page, there may be more records."""

    def __attrs_post_init__(self) -> None:
        self._trusts_totals = self.learned.trusts_totals
        self.step = self.size

    # Which page to request

    def take_next(self) -> int | None:
        """Return the next page to request, and mark it as in flight; None if no page is left or answers are needed."""
        current = self._next_missing()
        if current:
            self.in_flight.add(current)
        return current

    def slice_of(self, number: int) -> Slice:
        """Return what to request for page `number`."""
        return self._slices[number - 1] if self._slices and number > 1 else Slice(number, self.size)

    def give_back(self, number: int) -> None:
        """Record that the request for a page has ended; if it has no answer, the page is requested again."""
        self.in_flight.discard(number)
        if 1 < number <= self.last_page and number not in self.keys:
            self._given_back.append(number)

    def _next_missing(self) -> int | None:
        if not self.keys or self.total is None:
            return None if self._ended or self.in_flight else len(self.keys) + 1
        if self._given_back:
            return self._given_back.pop()
        if self._next <= self.last_page:
            self._next += 1
            return self._next - 1
        return next((number for number in self._closing_pages() if number not in self.in_flight), None)

    def _closing_pages(self) -> Iterator[int]:
        """Yield the pages to request when all have arrived: the one behind the last, and then the outer ones again."""
        if len(self.keys) >= self.last_page:
            if self._needs_probe:
                yield self.last_page + 1
            elif self._needs_confirmation:
                yield from sorted(self._to_confirm)

    @property
    def pages_left(self) -> int:
        """The number of pages that are known to be needed and have not been requested."""
        return self.last_page + 1 - self._next + len(self._given_back)

    @property
    def step_or_size(self) -> int:
        """The number of records from which a page counts as full."""
        return self.step if len(self.keys) > 1 else self._full_page

    @property
    def is_read(self) -> bool:
        """Whether no page is missing."""
        if not self.keys or self.total is None:
            return self._ended
        return len(self.keys) >= self.last_page and not (self._needs_probe or self._needs_confirmation)

    @property
    def depth(self) -> int:
        """The known number of records: the total, or without one, the rows received."""
        return self.rows if self.total is None else self.total

    @property
    def is_endless(self) -> bool:
        """Whether more pages were received without a total than are accepted."""
        return self.total is None and len(self.keys) > MAX_PAGES + MAX_PAGES_PER_STEP * self.step

    def is_behind_the_last(self, current: int) -> bool:
        """Return whether a page is after the last one; such a page is requested to check the total."""
        return self.total is not None and current > self.last_page

    @property
    def _needs_probe(self) -> bool:
        """Whether to request the page after the last one: the last page is full, so the total may be too low."""
        full = not self._slices and len(self.keys[self.last_page].keys) >= self.step_or_size
        gives_up = self.inconsistent and self.window.span > SHORTEST
        return full and self.rows > 0 and not (self._probed or gives_up)

    @property
    def _needs_confirmation(self) -> bool:
        return bool(self._to_confirm) and not (self.inconsistent or self.repeats_only_page)

    @property
    def _full_page(self) -> int:
        """The number of records on a full page, according to the first answer."""
        return min(self.size, self._server_size)

    # Answers

    def add(self, number: int, page: Page[R]) -> None:
        """Add the answer to the request for page `number`."""
        self.in_flight.discard(number)
        records = rows_of(page)
        keys = page_keys(records, self.learned.shared_ids)
        total = page.total if self._trusts_totals else None
        if number in self.keys:
            self._to_confirm.discard(number)
            self._compare_total(total)
            self.inconsistent |= not keys.lists_the_same(self._answers.get(number, self.keys[number]))
        elif self.is_behind_the_last(number):
            # Some servers answer with the first or the last page instead. If there is only one, that proves nothing.
            self.repeats_only_page = self.last_page == 1 and (bool(keys.keys) or page.is_substitute)
            self._add_behind_the_last(number, keys, total)
        else:
            if self._slices:
                page, keys = self._without_repeated_rows(number, page, keys, total)
            self._add_page(number, page, keys, total)
            if self.total is not None and len(self.keys) == self.last_page:
                self._plan_confirmation()

    def _without_repeated_rows(
        self, number: int, page: Page[R], keys: PageKeys, total: int | None
    ) -> tuple[Page[R], PageKeys]:
        """Check the rows of a page that are also on its neighbours, and return it without those of the page before."""
        assert self._slices  # noqa: S101 -- its pages overlap
        rows, repeated = self._slices[number - 1], self._slices[number - 1].repeated
        self._answers[number] = keys
        if total == self.total:
            if len(keys.keys) != max(0, min(rows.stop, total or 0) - rows.start) or page.is_substitute:
                self.give_up_overlaps()
            elif not all(map(self._overlap_is_equal, (number, number + 1))):
                self.inconsistent = True
                self.learned.miss_overlap()
        if self._order and not self._order.distinguishes(rows_of(page)[:repeated]):
            self._overlaps_prove = False
        return without_rows(page, repeated), keys.without(repeated)

    @property
    def pages_overlap(self) -> bool:
        """Whether the pages overlap."""
        return self._slices is not None

    def give_up_overlaps(self) -> None:
        """Record that the server did not answer a page of another size as requested: it may not allow all sizes."""
        self.inconsistent, self.learned.honours_sizes = True, False

    def _overlap_is_equal(self, number: int) -> bool:
        """Return whether a page repeats the last rows of the page before; also if one of them has not arrived."""
        one, other = self._answers.get(number - 1), self._answers.get(number)
        if one is None or other is None or not self._slices:
            return True
        repeated = self._slices[number - 1].repeated
        return one.rows(-repeated, None) == other.rows(0, repeated)

    def _add_page(self, number: int, page: Page[R], keys: PageKeys, total: int | None) -> None:
        is_first = not self.keys
        if is_first:
            self.total, self._server_size, self.step = total, page.size, len(keys.keys)
            self.last_page = max(1, -(-(total or 0) // self.step)) if self.step else 1
        known, rows = len(self.distinct), len(keys.keys)
        self.inconsistent |= not keys.shared.isdisjoint(self.distinct)
        self.distinct.update(keys.keys)
        new = len(self.distinct) - known
        self.pages[number], self.keys[number] = page, keys
        self.rows += rows
        self._compare_total(total)
        self.inconsistent |= new < rows and new < len(keys.distinct)
        records = rows_of(page)
        if total is None:
            self._add_without_total(keys, is_new=new > 0)
            self._order.add(number, records)
            return
        offset = self._first_row(number)
        if not self._slices or self.learned.honours_sizes:
            self._check_total(total, offset + rows, is_new=new > 0)
        stop = self._slices[number - 1].stop if self._slices else offset + self.step
        self.inconsistent |= rows != max(0, min(stop, total) - offset)
        self.totals_differ |= total < offset + rows
        if total > self.step or (is_first and self.may_overlap and rows >= self._full_page):
            self._order.add(number, records)
        if is_first:
            self._let_pages_overlap()

    def _first_row(self, number: int) -> int:
        """Return the first row of a page that is not on the page before."""
        if self._slices and number > 1:
            return self._slices[number - 2].stop
        return (number - 1) * self.step

    def _let_pages_overlap(self) -> None:
        """Let the pages overlap, if there is more than one and that costs no more requests than another proof."""
        total, step = self.total or 0, self.step
        may_overlap = self.may_overlap and self.learned.honours_sizes and self.learned.keeps_order
        if not may_overlap or self.inconsistent or not step:
            return
        if total > step or (total == step >= self._full_page):
            slices = overlapping_slices(step, (self._order.longest_run or HIDDEN_RUN) + 1, total)
            # Otherwise the first and the last page are requested again, or without a time order, all pages are.
            pages = self.last_page + (total % step == 0)
            otherwise = pages + 1 + self._order.is_descending if self._order.is_by_time else 2 * pages
            if slices and len(slices) <= otherwise:
                self._slices, self._answers[1], self.last_page = slices, self.keys[1], len(slices)
                self._overlaps_prove = not self.keys[1].repeats

    def _plan_confirmation(self) -> None:
        """Choose the pages to request again when all have arrived: the outer ones, which change if a record expires."""
        self._overlaps_prove &= not (self._order.is_lost or any(keys.repeats for keys in self._answers.values()))
        if self._overlaps_prove:
            self.learned.missed_overlaps = 0
            return
        self._can_be_confirmed = self.last_page == 1 or self._order.show_expiry()
        if self._can_be_confirmed and (self.last_page > 1 or self._needs_probe):
            self._to_confirm = {1, self.last_page} if self._order.is_descending else {1}

    def _add_behind_the_last(self, current: int, keys: PageKeys, total: int | None) -> None:
        """Add the page after the last one. It is empty, unless the total is too low or a record has appeared."""
        self._probed = True
        if keys.keys:
            # Unless it repeats the first or the last page, it has records that the total does not count.
            if not any(keys.lists_the_same(self.keys[known]) for known in (1, self.last_page)):
                self.totals_differ = self.inconsistent = True
            is_new = not keys.distinct <= self.distinct
            self._check_total(total, (current - 1) * self.step + len(keys.keys), is_new=is_new)
            self._compare_total(total)

    def _check_total(self, total: int | None, known: int, *, is_new: bool) -> None:
        """Stop trusting the server's totals if an answer has new records beyond its own total."""
        if total is not None and is_new and total < known:
            self.learned.trusts_totals, self.inconsistent = False, True

    def add_refusal(self, current: int) -> bool:
        """Record that the server refused a page; return whether that only means that there is no such page."""
        if self.is_behind_the_last(current):
            self._probed = True
        elif self.keys and self.total is None and len(self.keys[len(self.keys)].keys) < self.step_or_size:
            self._ended = True
        else:
            return False
        self.in_flight.discard(current)
        return True

    def _compare_total(self, total: int | None) -> None:
        if total != self.total:
            self.totals_differ = self.inconsistent = True

    def _add_without_total(self, keys: PageKeys, *, is_new: bool) -> None:
        """Check for the end of a pass without a total: an empty page, or one without new records, which proves nothing.

        A pass also ends without a proof after too many short pages.
        """
        if keys.keys and self._short_pages:
            self.inconsistent = True
        self._short_pages += len(keys.keys) < self.step
        self._ended = not is_new or self._short_pages > MAX_SHORT_PAGES

    # What it proves

    @property
    def adds_up(self) -> bool:
        """Whether the pass is complete and consistent, and its rows add up to the total, if there is one."""
        return self.is_read and not self.inconsistent and self.total in (None, self.rows)

    @property
    def proves_window(self) -> bool:
        """Whether the pass proves the window by itself."""
        if not self.adds_up or self.total is None or self.repeats_only_page:
            return False
        return self._overlaps_prove or self._can_be_confirmed
