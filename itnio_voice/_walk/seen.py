"""Deduplication keys of records, and the keys of what has been returned.

A record's key is its `voice_id`, or its complete content if it has none. If one answer lists different records with the
same id, that id is shared: from then on, the key of each record with this id is its content.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from types import NoneType
from typing import Any

import attrs

from .._model.errors import IncompleteWindowError
from .._model.printable import get_logger
from .._model.records import CallRecord, R, content
from .._wire.late_records import LateRecords, column, picked

__all__ = ["HORIZON", "PageKeys", "SeenRecords", "page_keys", "share_id"]

_LOGGER = get_logger("itnio_voice.records")

MAX_SHARED_IDS = 10_000
"""The maximum number of shared ids that are remembered."""
HORIZON = timedelta(minutes=2)
"""The keys of a window are remembered until the walk is this far past the window's end.

Neighbouring windows share one second. The rest is for servers whose replicas differ, or that round the ends of a range.
"""
SEARCHES = 32
"""The number of lookups in a window without an index; the next one builds an index of its keys."""

_NONE: frozenset[Hashable] = frozenset()
_TIMES = frozenset({datetime, NoneType})
_Mark = tuple[Any, Any]
"""The submit time and the callee of a record."""


@attrs.frozen(eq=False, repr=False)
class PageKeys:
    """The keys of an answer's records, row by row.

    The keys of all pages of a window are kept, and every object that is kept slows down the rest of the program. So as
    little as possible is kept for each record: its submit time and its callee. Two calls with the same id hardly ever
    have both in common, so these distinguish them from one record that is listed twice.
    """

    keys: Sequence[Hashable]
    ids: Sequence[str | None]
    times: Sequence[Any]
    callees: Sequence[Any]
    repeats: bool = False
    """Whether a key is listed more than once."""
    shared: frozenset[Hashable] = _NONE
    """The ids of the records that are shared, and therefore not used as keys."""

    @property
    def distinct(self) -> frozenset[Hashable]:
        """The set of the keys."""
        return frozenset(self.keys)

    def lists_the_same(self, other: "PageKeys") -> bool:
        """Return whether another answer lists the same records, in any order and each as often."""
        one, two = self.rows(0, None), other.rows(0, None)
        return one == two or Counter(one) == Counter(two)

    def rows(self, start: int, stop: int | None) -> list[tuple[Hashable, ...]]:
        """Return what is kept of some rows, in their order."""
        columns = (self.keys, self.ids, self.times, self.callees)
        return list(zip(*(column[start:stop] for column in columns), strict=True))

    def without(self, rows: int) -> "PageKeys":
        """Return the keys without those of the first rows."""
        names = ("keys", "ids", "times", "callees")
        return attrs.evolve(self, **{name: getattr(self, name)[rows:] for name in names})

    def mark(self, row: int) -> _Mark:
        """Return the submit time and the callee of a row."""
        return self.times[row], self.callees[row]

    def marks_of(self, voice_id: str) -> set[_Mark]:
        """Return the submit time and the callee of each row with an id."""
        marks = zip(self.ids, self.times, self.callees, strict=True)
        return {(time, callee) for name, time, callee in marks if name == voice_id}


def page_keys(records: Sequence[CallRecord], shared_ids: set[Hashable]) -> PageKeys:
    """Return the keys of an answer's records; ids that turn out to be shared are added to `shared_ids`."""
    ids = column(records, "voice_id")
    keys: Sequence[Hashable] = ids
    distinct: set[Hashable] = set(ids)
    if len(distinct) < len(ids):
        _find_shared(records, shared_ids)
    shared = frozenset(distinct & shared_ids) if shared_ids else _NONE
    if shared or None in distinct:
        pairs = zip(ids, records, strict=True)
        keys = [content(record) if name is None or name in shared else name for name, record in pairs]
        distinct = set(keys)
    times, callees = column(records, "submit_time"), column(records, "callee")
    if not isinstance(records, LateRecords):  # a class of a user's own may have values of any type
        times = times if _TIMES.issuperset(map(type, times)) else [None if at is None else str(at) for at in times]
        callees = list(map(_hashable, callees))
    return PageKeys(keys, ids, times, callees, len(distinct) < len(keys), shared)


def _hashable(value: Any) -> Hashable:
    """Return a value, or if it has no hash, its text."""
    try:
        hash(value)
    except TypeError:
        return str(value)
    return value  # type: ignore[no-any-return] # it has a hash


def _may_be(mark: _Mark, marks: Collection[_Mark]) -> bool:
    """Return whether a record may be one of others, by their marks. A missing time or callee matches any other."""
    return any(
        all(one == other or None in (one, other) for one, other in zip(mark, each, strict=True)) for each in marks
    )


def _find_shared(records: Iterable[CallRecord], shared_ids: set[Hashable]) -> None:
    """Add the ids that different records of one answer have in common to `shared_ids`."""
    first: dict[str, CallRecord] = {}
    for record in records:
        if record.voice_id:
            other = first.setdefault(record.voice_id, record)
            if other is not record and content(other) != content(record):
                share_id(record.voice_id, shared_ids)


def share_id(voice_id: str | None, shared_ids: set[Hashable]) -> None:
    """Record that different records have the same id, with a warning."""
    if voice_id in shared_ids or len(shared_ids) >= MAX_SHARED_IDS:
        return
    shared_ids.add(voice_id)
    _LOGGER.warning(
        "different records share the id %.80r: they are distinguished by their content",
        voice_id,
        extra={"itnio.voice_id": voice_id},
    )


@attrs.define(eq=False, repr=False)
class _SeenWindow:
    """The keys of the records that have been returned of one window."""

    end: datetime
    keys: AbstractSet[Hashable]
    pages: Sequence[PageKeys]
    _lookups: int = 0
    _page_of_key: dict[Hashable, PageKeys] | None = None

    def page_of(self, key: Hashable) -> PageKeys:
        """Return the page with a key, without an index for the first few: neighbours share records of outer pages."""
        self._lookups += 1
        if self._lookups <= SEARCHES:
            return next(page for page in reversed(self.pages) if key in page.keys)
        if self._page_of_key is None:
            self._page_of_key = {each: page for page in self.pages for each in page.keys}
        return self._page_of_key[key]


@attrs.define(eq=False, repr=False)
class SeenRecords:
    """The records that have been returned, as far back as the server may list one again.

    Windows overlap by one second, and a window of which records were returned may be narrowed and read again. So the
    keys of a window are remembered until the walk is past its end by `HORIZON`.
    """

    _shared_ids: set[Hashable]
    _windows: list[_SeenWindow] = attrs.field(factory=list[_SeenWindow], init=False)

    def add(self, end: datetime, pages: Sequence[PageKeys], keys: AbstractSet[Hashable] | None = None) -> None:
        """Remember records of a window that ends at `end`: they were returned, or belong to the previous range.

        `keys` are those of all pages, if they are known as a set.
        """
        if keys is None:
            keys = set[Hashable]().union(*(page.keys for page in pages))
        self._windows.append(_SeenWindow(end, keys, pages))

    def forget_before(self, position: datetime) -> None:
        """Forget the windows that ended more than `HORIZON` before a position."""
        self._windows = [window for window in self._windows if window.end >= position - HORIZON]

    def unseen(self, page: PageKeys, records: Sequence[R]) -> Sequence[R]:
        """Return the records of an answer that have not been returned before, each once.

        Raises:
            IncompleteWindowError: if different records share an id and it is not clear which of them was returned.
        """
        if self._shared_ids and not (self._shared_ids & set(page.ids)) <= page.shared:
            # The page arrived before another answer showed that one of its ids is shared.
            page = page_keys(records, self._shared_ids)
        names = [page.keys, page.ids] if self._shared_ids else [page.keys]
        is_new = all(window.keys.isdisjoint(each) for window in self._windows for each in names)
        if is_new and not page.repeats:
            return records
        last = {key: row for row, key in enumerate(page.keys)}
        rows = [row for row in last.values() if is_new or not self._has(page, row)]
        return picked(records, rows)

    def _has(self, page: PageKeys, row: int) -> bool:
        """Return whether the record of a row has been returned."""
        key, name = page.keys[row], page.ids[row]
        if key != name and any(key in window.keys for window in self._windows):
            return True
        before = [window.page_of(name) for window in self._windows if name in window.keys]
        if name is None or not before:
            return False
        returned = set[_Mark]().union(*(each.marks_of(name) for each in before))
        if not _may_be(page.mark(row), returned):
            share_id(name, self._shared_ids)
            return False
        last = {each: other for other, each in enumerate(page.keys) if page.ids[other] == name}
        if any(_may_be(page.mark(other), returned) for other in last.values() if other != row):
            message = (
                f"different records share the id {name!r:.80}, the submit time and the callee, and one of them has "
                f"been returned: read the range again with windows(), which returns only complete windows"
            )
            raise IncompleteWindowError(message)
        return True
