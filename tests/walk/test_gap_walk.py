"""A gap, read without I/O: requests and answers in any order, on servers of any order and any ends of a range."""

import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import IncompleteWindowError, Page, VoiceRecord, Window
from itnio_voice._model.windows import SECOND
from itnio_voice._walk import widths
from itnio_voice._walk.chunks import Chunk, WalkPlan
from itnio_voice._walk.gap_walk import GapWalk, PageOfWindow
from itnio_voice._walk.learned import Learned
from itnio_voice._walk.outbox import Outbox
from itnio_voice._walk.present import Present
from itnio_voice._walk.seen import SeenRecords
from itnio_voice._walk.widths import WindowWidth

from ..model.test_windows import START
from ..support.window_server import record, submitted

ORDERS: dict[str, Any] = {
    "oldest first": lambda row: (submitted(row), row.voice_id),
    "newest first": lambda row: (-submitted(row).timestamp(), row.voice_id),
    "by id": lambda row: row.voice_id[::-1],
}


class Gap:
    """The reading of a gap, and the server that answers it."""

    def __init__(self, seconds: int, rows: list[VoiceRecord], ends: str, order: str, size: int) -> None:
        self.rows, self.ends, self.order = rows, ends, ORDERS[order]
        self.end = START + seconds * SECOND
        self.now = self.end.timestamp() + 3600
        learned = self.learned = Learned()
        plan = WalkPlan[VoiceRecord](_never, [], lambda: self.now, concurrency=4, page_size=size, learned=learned)
        self.outbox = Outbox[VoiceRecord](float("inf"), complete_windows=False, seen=SeenRecords(learned.shared_ids))
        present = Present(plan.now, lambda: True, until_now=False, learned=learned)
        self.width = WindowWidth(learned.span_limit, most_open=8)
        self.walk = GapWalk(Window(START, self.end), plan, self.width, present, self.outbox, now=0.0)
        self.requests = 0

    def listed(self, window: Window) -> list[VoiceRecord]:
        """Return the records of a window, with the ends that the server includes."""
        return sorted(filter(lambda row: self.includes(window, row), self.rows), key=self.order)

    def includes(self, window: Window, row: VoiceRecord) -> bool:
        """Return whether the server lists a record in a window."""
        at = submitted(row)
        after = at >= window.start if self.ends[0] == "[" else at > window.start
        before = at <= window.end if self.ends[1] == "]" else at < window.end
        return after and before

    def answer(self, request: PageOfWindow[VoiceRecord]) -> Page[VoiceRecord]:
        """Return what the server answers to a request."""
        self.requests += 1
        rows, names = request.rows, self.listed(request.opened.window)
        return Page(tuple(names[rows.start : rows.stop]), len(names), rows.size, rows.current, None)

    def read(self, chance: random.Random, at_once: int) -> list[str]:
        """Read to the end with several requests in flight, answered in a random order; return the ids."""
        found: list[str] = []
        sent: list[tuple[PageOfWindow[VoiceRecord], Page[VoiceRecord]]] = []
        while not self.walk.is_over:
            assert self.requests < 2000, "the gap is read without end"
            request = self.walk.next_request(0.0) if len(sent) < at_once else None
            if request:
                sent.append((request, self.answer(request)))
            elif sent:
                request, page = sent.pop(chance.randrange(len(sent)))
                if chance.random() < 0.1:
                    self.walk.give_back(request)
                    continue
                self.walk.add_page(request, page, 0.0)
                self.walk.give_back(request)
            if not sent or chance.random() < 0.5:
                self.walk.settle(0.0)
            while chunk := self.outbox.take():
                found += [str(row.voice_id) for row in chunk.records]
        return found


async def _never(*_: object) -> Page[VoiceRecord]:
    raise AssertionError


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ends", ["[]", "[)", "(]", "()"])
@given(
    st.integers(1, 60),
    st.lists(st.integers(-3, 62), max_size=40),
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from([6, 20, 10_000]),
    st.integers(0, 10**6),
)
def test_any_order_of_answers_returns_each_record_once(  # noqa: PLR0917 -- what is drawn
    ends: str, order: str, seconds: int, times: list[int], size: int, at_once: int, deepest: int, seed: int
) -> None:
    """Adjacent gaps return each record once; narrowed windows, lost answers and late settling make no difference."""
    rows = [record(f"{number:03}", at) for number, at in enumerate(times)]
    before, widths.DEEPEST, widths.FITTING = (widths.DEEPEST, widths.FITTING), deepest, deepest // 2
    try:
        found = Counter(Gap(seconds, rows, ends, order, size).read(random.Random(seed), at_once))
    finally:
        widths.DEEPEST, widths.FITTING = before
    must = {row.voice_id for row in rows if START < submitted(row) < START + seconds * SECOND}
    may = {row.voice_id for row in rows if START <= submitted(row) <= START + seconds * SECOND}

    assert must <= found.keys() <= may
    assert not found or 1 == max(found.values())


def test_the_boundary_second_and_page_1_are_requested_together() -> None:
    """And pages are returned only when the boundary second is known."""
    gap = Gap(3600, [record("a", 0), record("b", 5)], "[]", "oldest first", 100)
    boundary, first = gap.walk.next_request(0.0), gap.walk.next_request(0.0)
    assert boundary
    assert first
    assert gap.walk.next_request(0.0) is None

    gap.walk.add_page(first, gap.answer(first), 0.0)
    gap.walk.settle(0.0)
    assert gap.outbox.take() is None
    gap.walk.add_page(boundary, gap.answer(boundary), 0.0)
    gap.walk.settle(0.0)
    assert (chunk := gap.outbox.take())
    assert ["b"] == [row.voice_id for row in chunk.records]


def test_a_refused_boundary_discards_what_came_with_it() -> None:
    """The first window then starts at the gap, and is requested again."""
    gap = Gap(3600, [record("a", 0), record("b", 5)], "[]", "oldest first", 100)
    boundary, first = gap.walk.next_request(0.0), gap.walk.next_request(0.0)
    assert boundary
    assert first
    gap.walk.add_error(boundary, ValueError("too old"), 0.0)
    gap.walk.settle(0.0)
    assert gap.walk.failed is boundary.opened
    gap.walk.leave_boundary_out()
    gap.walk.add_page(first, gap.answer(first), 0.0)
    gap.walk.settle(0.0)
    assert gap.outbox.take() is None

    assert ["a", "b"] == gap.read(random.Random(0), 1)


def test_a_clock_that_was_ahead_discards_the_future() -> None:
    """The first answer shows that a part of the gap is in the server's future: it is not read."""
    gap = Gap(3600, [record("a", 5), record("b", 3000)], "[]", "oldest first", 100)
    boundary, first = gap.walk.next_request(0.0), gap.walk.next_request(0.0)
    assert boundary
    assert first
    gap.walk.add_page(first, gap.answer(first), 0.0)
    gap.now = START.timestamp() + 600
    gap.walk.add_page(boundary, gap.answer(boundary), 0.0)
    gap.walk.settle(0.0)

    assert ["a"] == gap.read(random.Random(0), 1)
    assert gap.walk.position == START + 599 * SECOND


def test_a_record_of_an_earlier_pass_over_the_boundary_is_not_returned() -> None:
    """It may have come with the first window, and have expired before the second pass over the boundary second."""
    gap = Gap(3600, [record("a", -0.5), record("b", 5)], "[]", "oldest first", 100)
    boundary, first = gap.walk.next_request(0.0), gap.walk.next_request(0.0)
    assert boundary
    assert first
    gap.walk.add_page(first, gap.answer(first), 0.0)
    gap.walk.add_page(boundary, Page((gap.rows[0],), 2, 100, 1, None), 0.0)
    gap.rows = gap.rows[1:]

    assert ["b"] == gap.read(random.Random(0), 1)


def test_answers_of_closed_windows_are_ignored() -> None:
    """With reading ahead, a window may be narrowed while its pages are in flight."""
    gap = Gap(3600, [record(f"{name:03}", name) for name in range(250)], "[]", "oldest first", 100)
    boundary, first = gap.walk.next_request(0.0), gap.walk.next_request(0.0)
    assert boundary
    assert first
    gap.walk.add_page(first, gap.answer(first), 0.0)
    second, third = gap.walk.next_request(0.0), gap.walk.next_request(0.0)
    assert second
    assert third
    gap.walk.add_page(second, Page((), 249, 100, 2, None), 0.0)
    assert gap.walk.settle(0.0)
    gap.walk.add_page(boundary, gap.answer(boundary), 0.0)
    gap.walk.add_error(third, ValueError("late"), 0.0)
    gap.walk.give_back(third)

    assert [f"{name:03}" for name in range(1, 250)] == gap.read(random.Random(0), 1)


def test_a_window_that_cannot_be_returned_stays_open() -> None:
    """Two records share an id, and one of them was returned with the window before: it is not clear which."""
    gap = Gap(120, [record("x", 59, call_duration=1)], "[]", "oldest first", 100)
    gap.width.continue_with(timedelta(seconds=60))
    gap.outbox.complete_windows = True
    for _ in range(3):
        while request := gap.walk.next_request(0.0):
            gap.walk.add_page(request, gap.answer(request), 0.0)
        with suppress(IncompleteWindowError):
            gap.walk.settle(0.0)
        gap.rows = [record("x", 59, call_duration=seconds) for seconds in (1, 2, 3)]

    assert START + 59 * SECOND == gap.walk.position
    assert not gap.walk.is_over


@pytest.mark.parametrize(("limit", "left"), [(inf, 3), (1050, 0)])
def test_the_next_window_is_opened_before_the_pages_of_the_last_run_out(limit: float, left: int) -> None:
    """Its number of pages is then known in time; not if the limit may end in the last window."""
    rows = [record(f"{number:04}", number) for number in range(1, 2101)]
    gap = Gap(2101, rows, "[]", "oldest first", 100)
    gap.outbox.left = limit
    gap.width.continue_with(timedelta(seconds=1050))
    gap.width.open_limit = 8
    boundary, first = gap.walk.next_request(0.0), gap.walk.next_request(0.0)
    assert boundary
    assert first
    for answered in (boundary, first):
        gap.walk.add_page(answered, gap.answer(answered), 0.0)
    gap.walk.settle(0.0)
    requests: list[PageOfWindow[VoiceRecord]] = []
    while (request := gap.walk.next_request(0.0)) and request.opened is first.opened:
        requests.append(request)

    assert request
    assert 1 == request.number
    assert left == first.opened.current.last_page - 1 - len(requests)


@pytest.mark.parametrize("limit", [120, 150])
def test_a_window_in_which_the_limit_ends_is_not_completed(limit: int) -> None:
    """Also if its records are returned together, because two passes were needed."""
    rows = [record(number * 7919 % 1000, number) for number in range(1, 151)]
    gap = Gap(3600, rows, "[]", "by id", 100)
    gap.learned.honours_sizes = False
    gap.outbox.left = limit
    chunks: list[Chunk[VoiceRecord]] = []
    while gap.outbox.left > 0:
        while request := gap.walk.next_request(0.0):
            gap.walk.add_page(request, gap.answer(request), 0.0)
        gap.walk.settle(0.0)
    while chunk := gap.outbox.take():
        chunks.append(chunk)

    assert limit == sum(len(chunk.records) for chunk in chunks)
    assert (limit == 150) == any(chunk.done for chunk in chunks)
