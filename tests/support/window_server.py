"""A synchronous model of a server's window, which lists, counts and pages its records, and a reader of it."""

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from itnio_voice import Page, VoiceRecord, Window
from itnio_voice._model.records import content
from itnio_voice._model.windows import SECOND, SHORTEST
from itnio_voice._walk.open_window import OpenWindow
from itnio_voice._walk.page_order import Slice
from itnio_voice._walk.seen import PageKeys, SeenRecords

from ..model.test_windows import START

__all__ = [
    "BEHIND",
    "LISTINGS",
    "LONG",
    "PAIR_LISTINGS",
    "SHORT",
    "TIME_LISTINGS",
    "TOTALS",
    "Reader",
    "Server",
    "in_pairs",
    "record",
]

TIME_LISTINGS = ("oldest first", "newest first")
PAIR_LISTINGS = ("nulls first", "nulls last", "by callee", "by nothing shown", "by call time")
LISTINGS = (*TIME_LISTINGS, "by id", "heap ties", "random ties")
TOTALS = ("honest", "capped", "one short", "of the page", "missing", "differing")
BEHIND = ("empty", "first again", "refused")
LONG = Window(START, START + timedelta(days=1))
"""A window that can be narrowed."""
SHORT = Window(START, START + SHORTEST)
"""A window that cannot be narrowed."""
MOST_ANSWERS = 1_000


def record(name: object, second: float = 0, **values: Any) -> VoiceRecord:
    """Return a record with an id, submitted at a second."""
    return VoiceRecord(voice_id=str(name), submit_time=START + second * SECOND, **values)


def submitted(row: VoiceRecord) -> datetime:
    """Return the submit time of a record."""
    assert row.submit_time
    return row.submit_time


def by_time_and_id(row: VoiceRecord) -> tuple[datetime, str]:
    """Return the sort key of an order with a tie-breaker."""
    return submitted(row), row.voice_id or ""


def in_pairs(name: str, place: int, listing: str) -> VoiceRecord:
    """Return a record for a place in one of `PAIR_LISTINGS`, which is equal there to one of its neighbours.

    By call time, three are equal, and the submit times are in the same order.
    """
    value = (place + 1) // 2
    match listing:
        case "nulls first" | "nulls last":
            is_null = place < 3 if listing == "nulls first" else place > 8
            values: dict[str, Any] = {"call_time": None if is_null else START + value * SECOND}
        case "by callee":
            values = {"callee": str(20 + value)}
        case "by call time":
            return record(name, place, call_time=START + place // 3 * SECOND)
        case _:
            values = {"call_duration": value}
    return record(name, place * 5 % 11, **values)


def pair_key(row: VoiceRecord, listing: str) -> tuple[Any, ...]:
    """Return the sort key of a record in one of `PAIR_LISTINGS`."""
    if listing.startswith("nulls") or listing == "by call time":
        return (row.call_time is None) == (listing == "nulls last"), row.call_time or START
    return row.callee or "", row.call_duration or 0


@attrs.frozen(eq=False)
class _Newest:
    """A record in a heap whose root is the newest record; ties are equal."""

    row: VoiceRecord

    def __lt__(self, other: "_Newest") -> bool:
        return submitted(self.row) > submitted(other.row)


def heap_order(rows: Sequence[VoiceRecord], depth: int) -> list[VoiceRecord]:
    """Return the oldest `depth` records in order, with ties as a bounded heap leaves them."""
    heap: list[_Newest] = []
    for row in rows:
        if len(heap) < depth:
            heapq.heappush(heap, _Newest(row))
        elif submitted(row) < submitted(heap[0].row):
            heapq.heapreplace(heap, _Newest(row))
    return [heapq.heappop(heap).row for _ in range(len(heap))][::-1]


@attrs.define
class Server:
    """The records of one window, and their order.

    `heap ties`: the page at offset m of size n is cut from the order that a heap of m + n records produces, so records
    of one time are in another order on each page. `random ties`: they are in another order in each answer.
    `PAIR_LISTINGS`: two records each are equal, and two of them, `swapped`, change places if the page is not full size.
    """

    rows: list[VoiceRecord]
    listing: str = "oldest first"
    totals: str = "honest"
    behind: str = "empty"
    largest_page: int = 100
    chance: random.Random = attrs.field(factory=lambda: random.Random(0))
    answers: int = 0
    swapped: str = ""

    def answer(self, current: int, size: int) -> Page[VoiceRecord] | None:
        """Return a page; None if it is refused."""
        size = min(size, self.largest_page)
        offset = (current - 1) * size
        if offset >= len(self.rows) and current > 1 and self.behind != "empty":
            if self.behind == "refused":
                return None
            offset = 0
        records = tuple(self._listed(offset + size, size)[offset : offset + size])
        self.answers += 1
        return Page(records, self._total(len(records)), size, current, None)

    def _listed(self, depth: int, size: int) -> list[VoiceRecord]:
        match self.listing:
            case "oldest first":
                return sorted(self.rows, key=by_time_and_id)
            case "newest first":
                return sorted(self.rows, key=by_time_and_id, reverse=True)
            case "by id":
                return sorted(self.rows, key=lambda row: row.voice_id or "")
            case "heap ties":
                return heap_order(self.rows, depth)
            case listing if listing in PAIR_LISTINGS:
                first = "" if size == self.largest_page else self.swapped
                return sorted(self.rows, key=lambda row: (pair_key(row, listing), row.voice_id != first, row.voice_id))
            case _:
                return sorted(self.chance.sample(self.rows, len(self.rows)), key=submitted)

    def _total(self, on_page: int) -> int | None:
        count = len(self.rows)
        totals = {"capped": min(count, 4), "one short": max(0, count - 1), "of the page": on_page, "missing": None}
        return count - self.answers % 2 if self.totals == "differing" else totals.get(self.totals, count)


@attrs.define
class Reader:
    """Reads a window as a walk does, with `at_once` requests in flight, and changes the server between answers.

    `changes` maps the number of an answer to a change of the server before it. The answers of concurrent requests are
    created, and arrive, in a random order; with `losses`, some requests end without an answer.
    """

    server: Server
    opened: OpenWindow[VoiceRecord]
    chance: random.Random
    at_once: int = 1
    hands_out: bool = False
    losses: float = 0.0
    changes: dict[int, list[Any]] = attrs.field(factory=dict[int, list[Any]])
    made: int = 0
    requested: list[int] = attrs.field(factory=list[int])
    always: set[Any] = attrs.field(factory=set[Any])
    """The contents of the records that every answer could list."""
    received: Counter[Any] = attrs.field(factory=Counter[Any])
    """The contents of the records that were returned."""
    _handed_out: int = 0
    _seen: SeenRecords = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = SeenRecords(self.opened.learned.shared_ids)

    def read(self) -> bool:
        """Read until the window is complete or further passes are useless; return whether it is complete."""
        self.always = set(map(content, self.server.rows))
        while not (self.opened.is_complete or self.opened.is_exhausted):
            self._read_pass()
        if self.opened.is_complete:
            for keys, page in self.opened.contents():
                self._take(keys, page)
        return self.opened.is_complete

    def _read_pass(self) -> None:
        reading = self.opened.current
        sent: list[int] = []
        arriving: list[tuple[int, Page[VoiceRecord] | None]] = []
        while not (reading.is_read or self.opened.is_exhausted):
            is_narrowed = self.opened.can_be_narrowed and reading.inconsistent
            while len(sent) + len(arriving) < self.at_once and not is_narrowed:
                current = self.opened.take_next(self.opened.not_before)
                if current is None:
                    break
                sent.append(current)
                self.requested.append(current)
            if is_narrowed and not (sent or arriving):
                self.opened.is_exhausted = True
                break
            assert sent or arriving, "pages are missing, but none is requested"
            if sent and (not arriving or self.chance.random() < 0.6):
                current = sent.pop(self.chance.randrange(len(sent)))
                if self.chance.random() < self.losses:
                    reading.give_back(current)
                else:
                    arriving.append((current, self._make_answer(reading.slice_of(current))))
            else:
                self._arrive(*arriving.pop(self.chance.randrange(len(arriving))))
        if not self.opened.is_exhausted:
            self.opened.finish_pass(is_live=False, now=0.0)
            if self.opened.current is not reading:
                handed_out = [reading.keys[number] for number in range(1, self._handed_out + 1)]
                self._seen.add(self.opened.window.end, handed_out)
                self._handed_out = 0

    def _make_answer(self, rows: Slice) -> Page[VoiceRecord] | None:
        for change in self.changes.get(self.made, ()):
            change(self.server)
        self.made += 1
        assert self.made < MOST_ANSWERS, "the window is read without end"
        self.always &= set(map(content, self.server.rows))
        return self.server.answer(rows.current, rows.size)

    def _arrive(self, current: int, page: Page[VoiceRecord] | None) -> None:
        reading = self.opened.current
        if page is None:
            # The walk would narrow the window, or raise an error.
            self.opened.is_exhausted |= not reading.add_refusal(current)
        else:
            self.opened.add(current, page)
        reading.give_back(current)
        hands_out = self.hands_out and self.opened.can_be_narrowed and self.opened.passes == 1
        while hands_out and not reading.inconsistent:
            following = reading.pages.pop(self._handed_out + 1, None)
            if following is None:
                break
            self._handed_out += 1
            self._take(reading.keys[self._handed_out], following)

    def _take(self, keys: PageKeys, page: Page[VoiceRecord]) -> None:
        self.received.update(map(content, self._seen.unseen(keys, page.records)))
