"""The passes over one window, and what they prove together. Pure."""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any, Generic

import attrs

from .._model.errors import IncompleteWindowError
from .._model.records import R
from .._model.windows import SHORTEST, Window
from .._wire.pages import LARGEST_PAGE, Page, rows_of
from .learned import Learned
from .seen import PageKeys, page_keys
from .window_pass import WindowPass

__all__ = ["OpenWindow"]

MAX_PASSES = 24
"""The maximum number of passes over a window that cannot be narrowed."""
MAX_RECORDS = 50_000
"""The maximum number of records in a window that cannot be narrowed: it stops servers that return pages without end."""
MAX_IDLE_PASSES = 8
"""The maximum number of passes in a row that find no new record."""
USUAL_SIZES = (100, 50, 20, 10, 5, 2, 1)
"""The page sizes for passes over a window, on a server that does not honour all sizes."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 4.0
"""Seconds between two passes over a window that may still receive records: doubled each time, from first to longest."""


@attrs.define(eq=False, repr=False)
class _Union:
    """The records of passes with the same total. Each counts as often as a single answer lists it."""

    total: int | None
    counts: Counter[Hashable] = attrs.field(factory=Counter[Hashable])

    def add(self, pages: Iterable[PageKeys]) -> bool:
        """Add the pages of a pass; return whether they have a new record."""
        before = self.counts.total()
        for page in pages:
            self.counts |= Counter(page.keys)
        return self.counts.total() > before


@attrs.define(eq=False, repr=False)
class OpenWindow(Generic[R]):
    """A window that is being read: its current pass, and what all of its passes prove together."""

    window: Window
    page_size: int
    learned: Learned
    began: float = 0.0
    """When its first page was requested, in seconds of the event loop's clock."""
    pages: int = attrs.field(default=0, init=False)
    """The number of answers that were used, in all passes."""
    current: WindowPass[R] = attrs.field(init=False)
    passes: int = attrs.field(default=1, init=False)
    is_complete: bool = attrs.field(default=False, init=False)
    is_exhausted: bool = attrs.field(default=False, init=False)
    """Whether no further pass can help: the window must be narrowed, or reading it fails."""
    error: Exception | None = attrs.field(default=None, init=False)
    """Why a request failed; nothing more is requested."""
    not_before: float = attrs.field(default=0.0, init=False)
    """When the next request may be sent, in seconds of the event loop's clock."""
    _union: _Union | None = attrs.field(default=None, init=False)
    _finished_union: _Union | None = attrs.field(default=None, init=False)
    _idle_passes: int = attrs.field(default=0, init=False)
    _largest_page: int = attrs.field(default=LARGEST_PAGE, init=False)
    _records: dict[Hashable, R] = attrs.field(factory=dict[Any, Any], init=False)
    _found: set[Hashable] = attrs.field(factory=set[Any], init=False)

    can_be_narrowed: bool = attrs.field(init=False)
    """Whether the window is longer than the shortest one."""

    def __attrs_post_init__(self) -> None:
        self.can_be_narrowed = self.window.span > SHORTEST
        # A window that cannot be narrowed is read with the largest page: a single answer proves it at once.
        size = self.page_size if self.can_be_narrowed else LARGEST_PAGE
        self.current = WindowPass(self.window, size, self.learned, may_overlap=self.can_be_narrowed)

    @property
    def returns_pages(self) -> bool:
        """Whether the pages of the window may be returned one by one, before it is complete."""
        return self.can_be_narrowed and self.passes == 1

    def take_next(self, now: float) -> int | None:
        """Return the next page to request, and mark it as in flight; None if none may be requested at `now`."""
        if self.is_complete or self.is_exhausted or now < self.not_before:
            return None
        return self.current.take_next()

    def add(self, current: int, page: Page[R]) -> None:
        """Add an answer to the current pass."""
        self.pages += 1
        self.current.add(current, page)
        is_too_deep = not self.can_be_narrowed and self.current.depth > MAX_RECORDS
        self.is_exhausted |= is_too_deep or self.current.is_endless

    def finish_pass(self, *, is_live: bool, now: float) -> None:
        """Evaluate a pass that has been read, and begin another one if that may help.

        `is_live`: the window may still receive records, so there are pauses between passes.
        """
        done = self.current
        if done.proves_window:
            self.is_complete = True
            return
        self._unite(done)
        if self.is_complete:
            return
        if self.can_be_narrowed:
            self.is_exhausted = self.passes > 1 or self._finished_union is None
        else:
            self.is_exhausted = self.passes >= MAX_PASSES or (self._idle_passes >= MAX_IDLE_PASSES and not is_live)
        if not self.is_exhausted:
            self.current = WindowPass(self.window, self._next_size(done), self.learned)
            # If a pass adds up, the next one follows at once, to confirm it before the window changes again.
            if is_live and not done.adds_up:
                self.not_before = now + min(FIRST_PAUSE * 2.0 ** (self.passes - 1), LONGEST_PAUSE)
            self.passes += 1

    def _unite(self, done: WindowPass[R]) -> None:
        """Add a pass to the unions, and compare them."""
        pages = done.keys.values()
        if not self.can_be_narrowed:
            for number, page in done.pages.items():
                self._records.update(zip(done.keys[number].keys, rows_of(page), strict=True))
        before = len(self._found)
        self._found.update(*(page.distinct for page in pages))
        self._idle_passes = 0 if len(self._found) > before else self._idle_passes + 1
        if done.totals_differ or (done.total is None and not done.adds_up):
            self._union = self._finished_union = None
            return
        if self._finished_union and self._finished_union.total != done.total:
            self._finished_union = None
        if self._union is None or self._union.total != done.total:
            self._union = _Union(done.total)
        self._union.add(pages)
        count = self._union.counts.total()
        if done.total is not None and count > done.total:
            self._union = self._finished_union = None
        elif done.total in (None, count):
            self.is_complete = self._finished_union is not None and self._finished_union.counts == self._union.counts
            self._finished_union, self._union = self._union, None
            self._idle_passes = 0

    def _next_size(self, done: WindowPass[R]) -> int:
        """Return the page size of the next pass. For ties, it is different each time, starting with the largest."""
        if done.repeats_only_page:
            # With smaller pages, the records of the only page need two. Larger pages would show no difference if the
            # page is as full as the server allows. Only one record cannot be divided.
            return done.step - 1 or 2
        if self.can_be_narrowed:
            return self.page_size
        if len(done.keys) > 1 and 0 < done.step < done.size:
            self._largest_page = done.step
        if self.learned.honours_sizes:
            return self._largest_page - self.passes % self._largest_page
        sizes = [size for size in USUAL_SIZES if size <= self._largest_page]
        return sizes[self.passes % len(sizes)]

    def leave_size_out(self) -> bool:
        """Begin the pass again with a usual size, if its size is not, and may be the reason for a failure."""
        if self.current.size in {*USUAL_SIZES, self.page_size}:
            return False
        self.learned.honours_sizes = False
        self.current = WindowPass(self.window, self._next_size(self.current), self.learned)
        return True

    @property
    def is_read_by_one_pass(self) -> bool:
        """Whether the pages of the current pass hold all records of the complete window."""
        return self.can_be_narrowed or self.current.proves_window

    def contents(self) -> list[tuple[PageKeys, Page[R]]]:
        """Return the pages of a complete window that have not been returned yet, with their keys.

        If a union proves the window, all its records are on one page.
        """
        done = self.current
        if self.is_read_by_one_pass:
            return [(done.keys[number], page) for number, page in sorted(done.pages.items())]
        keys = self._finished_union.counts if self._finished_union else ()
        records = tuple(self._records[key] for key in keys)
        page = Page(records, done.total, len(records), 1, 1)
        return [(page_keys(records, self.learned.shared_ids), page)]

    def incomplete(self) -> IncompleteWindowError:
        """Return the error for a window that cannot be proven complete."""
        total, received = self.current.total, len(self._found.union(self.current.distinct))
        expected = "does not say how many records it holds" if total is None else f"says that it holds {total} records"
        message = (
            f"{self.window}: the server {expected}, and {received} different ones were received in {self.passes} "
            f"passes: try again later, or report it to the vendor"
        )
        return IncompleteWindowError(message, window=self.window, expected=total, received=received)

    def too_deep(self) -> IncompleteWindowError:
        """Return the error for a window that cannot be narrowed and whose later pages the server refuses."""
        received = self.current.rows
        message = (
            f"{self.window}: the server refuses the pages after the first {received} records, and a window of two "
            f"seconds cannot be narrowed: ask the vendor to allow deeper pages"
        )
        return IncompleteWindowError(message, window=self.window, expected=self.current.total, received=received)
