"""What identifies a record, within one answer and from one window to the next.

A record's key is its `voice_id`, or its complete content where it has none. Where one answer lists different records
under one id, that id is shared: from then on, the content is the key of each record that bears it.
"""

import logging
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from .errors import IncompleteWindowError
from .models import CallRecord, R, content

__all__ = ["PageKeys", "SeenRecords", "page_keys"]

_LOGGER = logging.getLogger(__name__)

MAX_SHARED_IDS = 10_000
"""How many ids that different records share are remembered."""
HORIZON = timedelta(minutes=2)
"""How long the keys of a window are remembered once the walk has passed its end.

Neighbouring windows share one second. The rest is for servers whose replicas differ, or that round the ends of a range.
"""

Fingerprint = tuple[datetime | None, str | None]


@attrs.frozen
class PageKeys:
    """The keys of an answer's records, row by row, and what distinguishes two calls that share an id."""

    keys: tuple[Hashable, ...]
    times: list[datetime | None]
    callees: list[str | None]
    distinct: frozenset[Hashable]
    shared: frozenset[Hashable] = frozenset()
    """The ids among them that are shared, and so are no keys."""

    def lists_the_same(self, other: "PageKeys") -> bool:
        """Return whether another answer lists the same records, in whichever order."""
        one, two = (set(zip(page.keys, page.times, page.callees, strict=True)) for page in (self, other))
        return one == two

    def fingerprints(self, key: Hashable) -> list[Fingerprint]:
        """Return the submit time and the callee of each row with a key."""
        rows = zip(self.keys, self.times, self.callees, strict=True)
        return [(time, callee) for other, time, callee in rows if other == key]


def page_keys(records: Sequence[CallRecord], shared_ids: set[Hashable]) -> PageKeys:
    """Return the keys of an answer's records; ids that are found to be shared are added to `shared_ids`."""
    ids = [record.voice_id or content(record) for record in records]
    distinct, shared = frozenset(ids), frozenset[Hashable]()
    if len(distinct) < len(ids):
        _find_shared(records, shared_ids)
    if shared_ids and not shared_ids.isdisjoint(distinct):
        shared = distinct & shared_ids
        ids = [
            content(record) if record.voice_id in shared_ids else key for key, record in zip(ids, records, strict=True)
        ]
        distinct = frozenset(ids)
    return PageKeys(
        tuple(ids), [record.submit_time for record in records], [record.callee for record in records], distinct, shared
    )


def _find_shared(records: Iterable[CallRecord], shared_ids: set[Hashable]) -> None:
    """Add the ids that different records of one answer share."""
    first: dict[str, CallRecord] = {}
    for record in records:
        if record.voice_id:
            other = first.setdefault(record.voice_id, record)
            if other is not record and content(other) != content(record):
                _share(record.voice_id, shared_ids)


def _share(voice_id: str, shared_ids: set[Hashable]) -> None:
    if voice_id in shared_ids or len(shared_ids) >= MAX_SHARED_IDS:
        return
    shared_ids.add(voice_id)
    _LOGGER.warning(
        "different records share the id %.80r: they are distinguished by their content",
        voice_id,
        extra={"itnio.voice_id": voice_id},
    )


@attrs.define
class SeenRecords:
    """What has been returned, as far back as a record may come again.

    Windows overlap by a second, and what was returned of a window that is then narrowed comes again. So the keys of a
    window are remembered until the walk is past its end by `HORIZON`.
    """

    _shared_ids: set[Hashable]
    _windows: deque[tuple[datetime, dict[Hashable, PageKeys]]] = attrs.field(factory=deque[Any], init=False)

    def add(self, end: datetime, pages: Iterable[PageKeys]) -> None:
        """Remember what was returned, or belongs to the range before, of a window that ends at `end`."""
        page_of_key: dict[Hashable, PageKeys] = {}
        for page in pages:
            page_of_key.update(dict.fromkeys(page.distinct, page))
        self._windows.append((end, page_of_key))

    def forget_before(self, position: datetime) -> None:
        """Forget the windows that ended too long before a position to matter."""
        self._windows = deque(window for window in self._windows if window[0] >= position - HORIZON)

    def unseen(self, page: PageKeys, records: Iterable[R]) -> list[R]:
        """Return those of an answer's records that have not been returned before, each once.

        Raises:
            IncompleteWindowError: if records share an id and it cannot be known which of them was returned.
        """
        new = dict(zip(page.keys, records, strict=True))
        wanted = page.distinct
        if self._shared_ids:
            wanted |= {record.voice_id for record in new.values() if record.voice_id in self._shared_ids}
        if not all(page_of_key.keys().isdisjoint(wanted) for _, page_of_key in self._windows):
            returned = [key for key, record in new.items() if self._has(key, record, new.values())]
            for key in returned:
                del new[key]
        return list(new.values())

    def _has(self, key: Hashable, record: CallRecord, others: Collection[CallRecord]) -> bool:
        """Return whether a record has been returned; `others` are those that came with it."""
        name = record.voice_id
        if key != name and any(key in page_of_key for _, page_of_key in self._windows):
            return True
        before = [page_of_key[name] for _, page_of_key in self._windows if name and name in page_of_key]
        if not before:
            return False
        returned = [seen for page in before for seen in page.fingerprints(name)]
        if not any(_matches(record, seen) for seen in returned):
            _share(str(name), self._shared_ids)
            return False
        rivals = [other for other in others if other.voice_id == name and other is not record]
        if any(_matches(rival, seen) for rival in rivals for seen in returned):
            message = (
                f"different records share the id {name!r:.80}, the submit time and the callee, and one of them has "
                f"been returned: read the range again with windows(), which returns only complete windows"
            )
            raise IncompleteWindowError(message)
        return True


def _matches(record: CallRecord, seen: Fingerprint) -> bool:
    """Return whether a record can be the one with a fingerprint: what is missing in either matches anything."""
    pairs = zip((record.submit_time, record.callee), seen, strict=True)
    return all(one is None or other is None or one == other for one, other in pairs)
