"""The comparison of one account's stored records with those of the API: counts by day, then rows by id.

Counts are requested for each day. Where a count differs, the day is halved, down to a minute, while that takes fewer
requests than reading its records. The rest is read and compared by id. So equal counts save requests, and only the
comparison by id decides: a count may also differ because the API selects by another time than the submit time.
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
from .stored import StoredRecords

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
    records, and `read` how many were read to compare them by id.
    """

    window: Window | None = None
    records: int = 0
    read: int = 0
    missing: dict[Hashable, Row] = attrs.field(factory=dict[Hashable, Row])
    changed: dict[str, Row] = attrs.field(factory=dict[str, Row])
    extra: Counter[str] = attrs.field(factory=Counter[str])

    def add(self, other: "Compared") -> None:
        """Add the result of a part. Two parts may have the same row: one by its time, the other by its id."""
        self.read += other.read
        self.missing |= other.missing
        self.changed |= other.changed
        self.extra |= other.extra

    def conclude(self, name: str, found: "Differences") -> None:
        """Add the differences of an id."""
        self.missing |= {(name, content_of(row)): row for row in found.missing}
        self.changed.update((name, row) for row in found.changed)
        self.extra |= Counter({name: len(found.left_over)})


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


def _by_id(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    found = defaultdict[str, list[Row]](list)
    for row in rows:
        found[row["voice_id"]].append(row)
    return found


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
    _reading: int = attrs.field(default=0, init=False)

    async def run(self) -> Compared:
        """Compare, and return the result."""
        window = await self._available()
        if window is None:
            return Compared()
        days, records = self.stored.days(self.table, self.account, window), 0
        if self.by_id:
            parts = await results_of(lambda day: self._compare([day]), days, self.concurrency)
            records = sum(part.read for part in parts.values())
        else:
            numbers = await results_of(self._number, days, self.concurrency)
            if any(number != self._count(day) for day, number in numbers.items()):
                self._reading = await self._find_reading(window)
            parts = await results_of(lambda day: self._compare_day(day, numbers[day]), days, self.concurrency)
            records = sum(numbers.values())
        result = Compared(window, records)
        for day in days:
            result.add(parts[day])
        return result

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

    async def _find_reading(self, window: Window) -> int:
        """Return which end of a range the API includes: whether it lists a record at the end of a second."""
        sample = self.stored.sample(self.table, self.account, window)
        if sample is None:
            return 0
        name, at = sample
        page = await self.session.page(at - SECOND, at, of=self.of)
        return int(any(record.voice_id == name for record in page.records))

    async def _compare_day(self, day: Window, number: int) -> Compared:
        """Compare a day: the parts that differ, or all of it if they do not explain the day's difference."""
        difference = number - self._count(day)
        if not difference:
            return Compared()
        parts = await self._narrowed(day, number)
        found = await self._compare(parts)
        if parts != [day] and len(found.missing) - found.extra.total() != difference:
            read = found.read
            found = await self._compare([day])
            found.read += read
        return found

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

    async def _compare(self, windows: Sequence[Window]) -> Compared:
        """Compare windows by id."""
        result = Compared()
        merged = self.stored.dataset is not None
        unsettled = defaultdict[str, list[Row]](list)
        for window in windows:
            theirs = _by_id(await self._read(window))
            ours = _by_id(self.stored.rows(self.table, self.account, theirs, window, self._reading))
            result.read += sum(map(len, theirs.values()))
            for name in {**theirs, **ours}:
                one, other = theirs.get(name, []), ours.get(name, [])
                found = differences(one, other, merged=merged)
                if not other or len(one) == len(other) == 1:
                    result.conclude(name, found)
                elif found.missing or found.changed or found.left_over:
                    unsettled[name] += one
        # The API may have rows of these ids at another time.
        ours = _by_id(self.stored.rows(self.table, self.account, unsettled, None, self._reading))
        found_rows = await results_of(
            lambda name: self._find(name, ours[name], unsettled[name]), unsettled, self.concurrency
        )
        for name, rows in found_rows.items():
            distinct = {content_of(row): row for row in rows}.values()
            result.conclude(name, differences(distinct, ours[name], merged=merged))
        return result

    async def _find(self, name: str, ours: Sequence[Row], listed: Sequence[Row]) -> list[Row]:
        """Return the API's records with an id: those listed, those at the times of stored rows, or the one by its id.

        The last is requested only if there is no other, because its values may be more recent than those of a list.
        """
        found = list(listed)
        for second in sorted({floor(row["submit_time"]) for row in ours if row["submit_time"]}):
            found += [
                row for row in await self._read(Window(second - SECOND, second + 2 * SECOND)) if row["voice_id"] == name
            ]
        if not found and name.strip(". ") and len(name) <= LONGEST_ID:
            with suppress(RecordNotFoundError):
                found += self._rows([await self.session.record(name, of=self.of)])
        return [row for row in found if row["voice_id"] == name]

    async def _read(self, window: Window) -> list[Row]:
        stream = self.session.records(window.start, window.end, of=self.of, expired="skip")
        async with stream.prefetch() as ahead:
            return self._rows([record async for record in ahead])

    def _rows(self, records: Sequence[Any]) -> list[Row]:
        return fetched_rows(records, self.of, self.account, is_csv=self.stored.is_csv)
