"""The comparison of one account's stored records with those of the API: counts by day, then rows by id.

Counts are requested for each day. Where a count differs, the day is halved, down to a minute, while that takes fewer
requests than reading its records. The rest is read and compared by id. So equal counts save requests, and only the
comparison by id decides: a count may also differ because the API puts a record on midnight into the other day.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import attrs

from ..._client.counting import halves
from ..._client.owned_tasks import results_of
from ..._client.session import VoiceSession
from ..._model.errors import RecordNotFoundError
from ..._model.records import CallRecord
from ..._model.windows import SECOND, Window, floor
from .rows import Row, content_of, fetched_rows
from .stored import READINGS, StoredRecords

__all__ = ["Compared", "Comparing", "differences"]

FEW = 500
"""Reading this many records for each missing one takes about as many requests as halving."""
SHORTEST = timedelta(minutes=1)
"""A window of this length is not halved."""
MARGIN = timedelta(hours=1)
"""The distance from the oldest available record, so that none expires during the comparison."""
LONGEST_ID = 1000
"""The maximum length of an id that can be requested."""


@attrs.define
class Compared:
    """The result for one account and kind: rows of the API that are missing or changed, and ids of extra rows.

    `window` is None if all of the range is older than the API's retention. `records` is the number of the API's
    records, and `read` how many of them were compared by id.
    """

    window: Window | None = None
    records: int = 0
    read: int = 0
    missing: list[Row] = attrs.field(factory=list[Row])
    changed: list[Row] = attrs.field(factory=list[Row])
    extra: list[str] = attrs.field(factory=list[str])


@attrs.frozen
class Differences:
    """The rows in which one id differs: of the API those that are missing or changed, and the stored ones left over."""

    missing: Sequence[Row]
    changed: Sequence[Row]
    left_over: Sequence[Row]


def differences(theirs: Iterable[Row], ours: Iterable[Row], *, merged: bool) -> Differences:
    """Compare the API's rows with one id with the stored ones.

    `merged` is for a warehouse, in which records with the same id are one row.
    """
    wanted, stored = _by_content(theirs), _by_content(ours)
    common = Counter({content: len(rows) for content, rows in wanted.items()}) & Counter(
        {content: len(rows) for content, rows in stored.items()}
    )
    absent = [row for content, rows in wanted.items() for row in rows[common[content] :]]
    left_over = [row for content, rows in stored.items() for row in rows[common[content] :]]
    if merged:
        absent = absent[:0] if common else absent[-1:]
    pairs = min(len(absent), len(left_over))
    return Differences(absent[pairs:], absent[:pairs], left_over[pairs:])


def _by_content(rows: Iterable[Row]) -> Mapping[Hashable, list[Row]]:
    found = defaultdict[Hashable, list[Row]](list)
    for row in rows:
        found[content_of(row)].append(row)
    return found


@attrs.define(kw_only=True)
class Comparing:
    """The comparison of one account's records of a kind."""

    stored: StoredRecords
    session: VoiceSession
    account: str
    table: str
    of: type[CallRecord]
    window: Window
    concurrency: int
    by_id: bool
    _reading: int = 0
    _result: Compared = attrs.field(factory=Compared, init=False)

    async def run(self) -> Compared:
        """Compare, and return the result."""
        window = await self._available()
        if window is None:
            return self._result
        self._result.window = window
        days = self.stored.days(self.table, self.account, window)
        if self.by_id:
            differing = days
        else:
            numbers = await results_of(self._number, days, self.concurrency)
            self._result.records = sum(numbers.values())
            differing = await self._differing(numbers)
        left_over = defaultdict[str, list[Row]](list)
        for part in sorted(differing):
            for row in await self._compare(part):
                left_over[row["voice_id"]].append(row)
        if self.by_id:
            self._result.records = self._result.read
        await self._settle(left_over)
        return self._result

    async def _available(self) -> Window | None:
        """Return the range without what is older than the API's retention."""
        window = self.window
        stream = self.session.records(window.start, window.end, of=self.of, limit=1, expired="skip")
        await stream.collect()
        if stream.skipped:
            start = stream.skipped[-1].end + MARGIN
            return Window(start, window.end) if start < window.end else None
        return window

    async def _number(self, window: Window) -> int:
        return await self.session.count(window.start, window.end, of=self.of, expired="skip")

    def _count(self, window: Window) -> int:
        return self.stored.count(self.table, self.account, window, self._reading)

    async def _differing(self, numbers: Mapping[Window, int]) -> list[Window]:
        """Return the windows to read: those with other numbers of records, narrowed.

        The end of a day that the API includes is the one by which fewer days differ. The first one is preferred,
        because a single day may agree by chance.
        """
        ours = [
            {day: self.stored.count(self.table, self.account, day, reading) for day in numbers}
            for reading in range(len(READINGS))
        ]
        wrong = [[day for day, number in numbers.items() if each[day] != number] for each in ours]
        self._reading = min(range(len(wrong)), key=lambda reading: len(wrong[reading]) + bool(reading))
        narrowed = await results_of(
            lambda day: self._narrowed(day, numbers[day]), wrong[self._reading], self.concurrency
        )
        return [window for windows in narrowed.values() for window in windows]

    async def _narrowed(self, window: Window, theirs: int) -> list[Window]:
        """Return the parts of a window whose numbers differ, halved while that saves requests."""
        pending, found = [(window, theirs)], list[Window]()
        while pending:
            part, number = pending.pop()
            difference = abs(number - self._count(part))
            if difference and (part.span <= SHORTEST or number <= FEW * difference):
                found.append(part)
            elif difference:
                first, second = halves(part)
                before = await self._number(first)
                pending += [(second, number - before), (first, before)]
        return found

    async def _compare(self, window: Window) -> list[Row]:
        """Compare a window by id, and return the stored rows that it does not list."""
        theirs = defaultdict[str, list[Row]](list)
        for row in await self._read(window):
            theirs[row["voice_id"]].append(row)
            self._result.read += 1
        ours = defaultdict[str, list[Row]](list)
        for row in self.stored.rows(self.table, self.account, theirs, window, self._reading):
            ours[row["voice_id"]].append(row)
        left_over = list[Row]()
        for name in {**theirs, **ours}:
            found = differences(theirs.get(name, ()), ours.get(name, ()), merged=self.stored.dataset is not None)
            self._result.missing += found.missing
            self._result.changed += found.changed
            left_over += found.left_over
        return left_over

    async def _settle(self, left_over: Mapping[str, Sequence[Row]]) -> None:
        """Find out which stored rows the API has at another time, and which are extra or changed."""
        theirs = await results_of(lambda name: self._find(name, left_over[name]), left_over, self.concurrency)
        known = {row["voice_id"] for row in self._result.changed}
        ours = defaultdict[str, list[Row]](list)
        for row in self.stored.rows(self.table, self.account, theirs, None, self._reading):
            ours[row["voice_id"]].append(row)
        for name, rows in theirs.items():
            found = differences(rows, ours[name], merged=False)
            self._result.changed += [row for row in found.changed if name not in known]
            self._result.extra += [name] * len(found.left_over)

    async def _find(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """Return the API's records with an id: by that id, and at the submit times of stored rows."""
        found = list[Row]()
        if name.strip(". ") and len(name) <= LONGEST_ID:
            with suppress(RecordNotFoundError):
                found += self._rows([await self.session.record(name, of=self.of)])
        for second in sorted({floor(row["submit_time"]) for row in rows if row["submit_time"]}):
            found += await self._read(Window(second - SECOND, second + 2 * SECOND))
        return list({content_of(row): row for row in found if row["voice_id"] == name}.values())

    async def _read(self, window: Window) -> list[Row]:
        stream = self.session.records(window.start, window.end, of=self.of, expired="skip")
        async with stream.prefetch() as ahead:
            return self._rows([record async for record in ahead])

    def _rows(self, records: Sequence[Any]) -> list[Row]:
        return fetched_rows(records, self.of, self.account, is_csv=self.stored.is_csv)
