"""The records to return: deduplicated, in order, and no more than the limit. Pure."""

from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Generic

import attrs

from .._model.records import R
from .._model.windows import Window
from .._wire.pages import rows_of
from .chunks import Chunk, CompletedWindow
from .open_window import OpenWindow
from .seen import PageKeys, SeenRecords

__all__ = ["Outbox"]


@attrs.define(eq=False, repr=False)
class Outbox(Generic[R]):
    """The chunks that are ready to be returned, and the keys of the records returned before.

    `left` is the number of records that the limit still allows. With `complete_windows`, a window's records are
    returned together, when it is complete. `records` and `windows` are the numbers of records and of complete windows
    that were put into chunks so far, `covered` is the length of these windows, and `pages` the number of pages in
    chunks that are ready.
    """

    left: float
    complete_windows: bool
    _seen: SeenRecords
    records: int = attrs.field(default=0, init=False)
    windows: int = attrs.field(default=0, init=False)
    covered: timedelta = attrs.field(default=timedelta(), init=False)
    pages: int = attrs.field(default=0, init=False)
    _ready: deque[Chunk[R]] = attrs.field(factory=deque[Chunk[R]], init=False)
    _handed_out: int = attrs.field(default=0, init=False)
    """The number of pages that have been returned of the first open window."""

    def __bool__(self) -> bool:
        return bool(self._ready)

    def take(self) -> Chunk[R] | None:
        """Return the next chunk, with its records; None if none is ready.

        Raises:
            DecodeError: if a value is invalid for its field; the next call raises it again.
        """
        if not self._ready:
            return None
        chunk = self._ready[0].built()
        self._ready.popleft()
        self.pages -= chunk.pages
        return chunk

    def _put(self, chunk: Chunk[R]) -> None:
        self._ready.append(chunk)
        self.pages += chunk.pages

    def add_boundary(self, window: Window, keys: Sequence[PageKeys]) -> None:
        """Remember the records of a boundary second: they belong to the range before."""
        self._seen.add(window.end, keys)

    def add_pages(self, opened: OpenWindow[R]) -> None:
        """Return the next pages of the first open window in order, unless its answers contradict each other."""
        reading = opened.current
        if self.complete_windows or not opened.returns_pages:
            return
        while self.left > 0 and not reading.inconsistent and (page := reading.pages.get(self._handed_out + 1)):
            unseen = self._seen.unseen(reading.keys[self._handed_out + 1], rows_of(page))
            self._handed_out += 1
            self._put(Chunk(self._within_limit(unseen), page, pages=1))
            del reading.pages[self._handed_out]

    def add_window(self, opened: OpenWindow[R], own: Window, covered: Window) -> int:
        """Put the rest of a complete window into chunks, and return the number of their records.

        `own` is the window without a boundary second, `covered` the part of the range that it completes. If the limit
        ends within the window, it is not completed.
        """
        contents = opened.contents()
        unseen = [(self._seen.unseen(keys, rows_of(page)), page) for keys, page in contents]
        is_whole = sum(len(records) for records, _ in unseen) <= self.left
        chunks = [Chunk(self._within_limit(records), page, pages=1) for records, page in unseen]
        keys = opened.current.distinct if opened.is_read_by_one_pass else None
        self._seen.add(opened.window.end, [*self._keys_handed_out(opened), *(keys for keys, _ in contents)], keys)
        self._seen.forget_before(opened.window.end)
        self._handed_out = 0
        done = CompletedWindow(own, opened.current.total, covered)
        whole = Chunk[R](parts=[chunk.records for chunk in chunks], done=done, pages=len(chunks))
        for chunk in [whole] if self.complete_windows else [*chunks, *[Chunk[R](done=done)] * is_whole]:
            self._put(chunk)
        self.windows += 1
        self.covered += opened.window.span
        return sum(len(chunk.records) for chunk in chunks)

    def remember(self, opened: OpenWindow[R], keys: dict[int, PageKeys]) -> None:
        """Remember the records that were returned of the first open window, by page: the window is read again."""
        if self._handed_out:
            self._seen.add(opened.window.end, [keys[current] for current in range(1, self._handed_out + 1)])
        self._handed_out = 0

    def number_handed_out(self, opened: OpenWindow[R]) -> int:
        """Return the number of rows that have been returned of the first open window."""
        return sum(len(page.keys) for page in self._keys_handed_out(opened))

    def _keys_handed_out(self, opened: OpenWindow[R]) -> list[PageKeys]:
        return [opened.current.keys[current] for current in range(1, self._handed_out + 1)]

    def _within_limit(self, new: Sequence[R]) -> Sequence[R]:
        """Return as many of these records as the limit still allows, and count them."""
        if len(new) > self.left:
            new = new[: int(self.left)]
        self.left -= len(new)
        self.records += len(new)
        return new
