"""The pages of a window: which to ask for, and whether what came is the whole of it. Pure."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Generic

import attrs

from .errors import IncompleteWindowError
from .models import CallRecord, R, content
from .windows import Window

__all__ = ["LARGEST_PAGE", "Page", "PageRequest", "Reading", "keys"]

LARGEST_PAGE = 100
"""The largest `size` that the vendor's page allows."""


@attrs.frozen
class PageRequest:
    """A question to the API: page `current`, counted from 1, of `size` records, of a window and its filters."""

    window: Window
    current: int
    size: int
    filters: Mapping[str, str] = attrs.field(factory=dict)

    def body(self) -> bytes:
        """Return the JSON that asks it."""
        times = {"strTime": self.window.start.isoformat(), "endTime": self.window.end.isoformat()}
        return json.dumps({"current": self.current, "size": self.size, "params": times | dict(self.filters)}).encode()


@attrs.frozen
class Page(Generic[R]):
    """An answer: its records in the server's order, and what the server says of the whole.

    `total` is the number of records and `pages` the number of pages, None where the server does not tell; `size` and
    `current` are what was asked for where it does not.
    """

    records: tuple[R, ...]
    total: int | None
    size: int
    current: int
    pages: int | None


def keys(records: Iterable[CallRecord]) -> tuple[Hashable, ...]:
    """Return each record's deduplication key: its id, or its content if it has none."""
    return tuple([record.voice_id or content(record) for record in records])


@attrs.define(eq=False)
class Reading(Generic[R]):
    """One pass over a window: the pages that have come, and what they prove.

    The pass is clean when every page told the same total, brought as many records as its place says, and shared none
    with another; and where there are several, when the last was asked for after all others, and the first, asked for
    once more in the end, is the same. For the records of several answers may add up and yet leave one out: if one
    expires and one appears between two answers, the total stays, and the rows between them move. Where the oldest come
    first, the first page then changes; where they come last, the last page begins with what another page had.

    `before` is what an earlier pass over the same window found, None if that pass does not count.
    """

    window: Window
    passes: int = 1
    before: tuple[Hashable, ...] | None = None
    pages: dict[int, Page[R]] = attrs.field(factory=dict, init=False)
    """Those that have come, until they are taken out: what they prove is kept without them."""
    ids: dict[int, tuple[Hashable, ...]] = attrs.field(factory=dict, init=False)
    """The keys of the records, page by page."""
    flying: set[int] = attrs.field(factory=set, init=False)
    """The pages asked for whose answers have not come."""
    keys: set[Hashable] = attrs.field(factory=set, init=False)
    total: int | None = attrs.field(default=None, init=False)
    """How many records the server says that the window holds; None before its first page, or if it never says."""
    rows: int = attrs.field(default=0, init=False)
    doubtful: bool = attrs.field(default=False, init=False)
    _confirmed: bool = attrs.field(default=False, init=False)
    _empty: bool = attrs.field(default=False, init=False)
    _repeated: bool = attrs.field(default=False, init=False)

    @property
    def depth(self) -> int:
        """How many records are known to be there."""
        return self.rows if self.total is None else self.total

    def wanted(self) -> Iterator[int]:
        """Tell which pages are still to be asked for, in order.

        A server may cap the size of its pages silently, so the first one shows how many there are. If it tells no
        total, the next page is asked for until one is empty.
        """
        if not self.ids:
            yield 1
        elif self._empty or self._repeated:
            return
        elif self.total is None:
            yield len(self.ids) + 1
        else:
            last = -(-self.total // len(self.ids[1]))
            missing = (current for current in range(2, last) if current not in self.ids)
            first_missing = next(missing, None)
            if first_missing:
                yield first_missing
                yield from missing
            elif last > 1 and last not in self.ids:
                yield last
            elif last > 1 and not (self._confirmed or self.doubtful or self._agrees):
                yield 1

    def add(self, current: int, page: Page[R]) -> None:
        """Take in an answer."""
        ids = keys(page.records)
        if current in self.ids:
            self._confirmed = True
            self.doubtful |= set(ids) != set(self.ids[current])
            return
        if not self.ids:
            self.total = page.total
        known = len(self.keys)
        self.keys.update(ids)
        new = len(self.keys) - known
        self._empty |= not ids
        self._repeated |= not new and bool(ids)
        self.pages[current], self.ids[current] = page, ids
        self.doubtful |= (
            page.total != self.total
            or (new < len(ids) and new < len(set(ids)))
            or (self.total is not None and len(ids) != self._place(current, self.total))
        )
        self.rows += len(ids)

    def _place(self, current: int, total: int) -> int:
        """How many records page `current` has if the total is true and pages are as long as the first."""
        step = len(self.ids[1])
        return max(0, min(step, total - (current - 1) * step))

    @property
    def read(self) -> bool:
        """Whether no page is missing."""
        return next(self.wanted(), None) is None

    @property
    def found(self) -> tuple[Hashable, ...] | None:
        """What the pass found, in order, if it counts.

        It counts with as many records as the total says and no page with nothing new; without a total, if it came to
        an empty page and no record was on two. In order, for a server that lists a second's records in another order
        each time can show the same ones twice, and leave the same ones out.
        """
        counts = self._empty and not self.doubtful if self.total is None else self.rows == self.total
        if self._repeated or not counts:
            return None
        return tuple(chain.from_iterable(ids for _, ids in sorted(self.ids.items())))

    @property
    def proven(self) -> bool:
        """Whether the window is whole: every page read, and the pass clean or the same as the one before."""
        clean = self.rows == self.total and not self.doubtful
        return self.read and (clean or self._agrees)

    @property
    def _agrees(self) -> bool:
        """Whether the pass found what the one before found."""
        return self.before is not None and self.found == self.before

    def incomplete(self) -> IncompleteWindowError:
        """Return the error for a window that no pass proves."""
        told = "an unknown number of" if self.total is None else self.total
        message = (
            f"{self.window}: the server tells of {told} records, and {len(self.keys)} different ones came, also after "
            f"{self.passes} passes: try again later, or report it to the vendor"
        )
        return IncompleteWindowError(message, window=self.window, expected=self.total, received=len(self.keys))

    def again(self) -> "Reading[R]":
        """Begin another pass over the same window."""
        return Reading(self.window, self.passes + 1, self.found)
