"""Which pages are asked for, and when a window is whole."""

import json
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import IncompleteWindowError, Page, VoiceRecord, Window
from itnio_voice.paging import PageRequest, Reading, keys

from .test_windows import START

WINDOW = Window(START, START + timedelta(days=1))
TOLD: Any = object()


def page(names: str, total: int | None = TOLD, current: int = 1) -> Page[VoiceRecord]:
    """Return a page with a record for each letter; its total is their number unless it is given."""
    records = tuple(VoiceRecord(voice_id=name) for name in names)
    return Page(records, len(names) if total is TOLD else total, 100, current, None)


def reading(*pages: Page[VoiceRecord], into: Reading[VoiceRecord] | None = None) -> Reading[VoiceRecord]:
    """Return a reading that has had these pages."""
    result = into or Reading(WINDOW)
    for current, each in enumerate(pages, 1):
        result.add(current, each)
    return result


def test_a_request() -> None:
    """The body of a page request is the vendor's, with whole seconds and offsets, and filters beside the times."""
    body = json.loads(PageRequest(WINDOW, 2, 20, {"phoneName": "a"}).body())
    times = {"strTime": "2026-01-01T00:00:00+00:00", "endTime": "2026-01-02T00:00:00+00:00"}

    assert {"current": 2, "size": 20, "params": times | {"phoneName": "a"}} == body


def test_keys() -> None:
    """A record is told by its id; without one by all that it holds."""
    assert keys([VoiceRecord(voice_id="1")]) == keys([VoiceRecord(voice_id="1", callee="2")])
    assert keys([VoiceRecord(callee="1")]) != keys([VoiceRecord(callee="2")])
    assert keys([VoiceRecord(callee="1", extra={"a": []})]) == keys([VoiceRecord(callee="1", extra={"a": []})])


def test_keys_of_records_without_a_hash() -> None:
    """A record with a list has a key, too: its id, or its content."""
    of: Any = attrs.make_class("Own", {"tags": attrs.field(factory=list)}, bases=(VoiceRecord,), frozen=True)

    assert ("1",) == keys([of(voice_id="1", tags=[1])])
    assert 2 == len({*keys([of(tags=[1]), of(tags=[2]), of(tags=[1])])})


@given(st.integers(0, 60), st.integers(1, 12))
def test_each_page_is_asked_for_once(total: int, size: int) -> None:
    """Whatever the total, and whatever size the server caps pages at; of several, the first again in the end."""
    everything = [VoiceRecord(voice_id=str(name)) for name in range(total)]
    asked: list[int] = []
    result: Reading[VoiceRecord] = Reading(WINDOW)
    while not result.read:
        current = next(result.wanted())
        asked.append(current)
        rows = tuple(everything[(current - 1) * size : current * size])
        result.add(current, Page(rows, total, 100, current, None))

    pages = max(1, -(-total // size))
    assert [*range(1, pages + 1), *[1] * (pages > 1)] == asked
    assert result.proven
    assert {str(name) for name in range(total)} == result.keys


@given(st.integers(0, 40), st.integers(1, 9), st.booleans(), st.randoms())
def test_pages_may_come_in_any_order(total: int, size: int, told: bool, chance: random.Random) -> None:
    """`wanted` names each page until it has come, the last one last, and then the first once more."""
    everything = [VoiceRecord(voice_id=str(name)) for name in range(total)]
    result: Reading[VoiceRecord] = Reading(WINDOW)
    asked: Counter[int] = Counter()
    while wanted := list(result.wanted()):
        assert sorted(wanted) == wanted
        assert not told or wanted in ([1], [-(-total // size)]) or -(-total // size) not in wanted
        batch = chance.sample(wanted, chance.randint(1, len(wanted)))
        for current in batch:
            rows = tuple(everything[(current - 1) * size : current * size])
            result.add(current, Page(rows, total if told else None, 100, current, None))
        asked.update(batch)

    pages = -(-total // size)
    once = dict.fromkeys(range(1, max(1, pages) + 1 if told else pages + 2), 1)
    assert (once | {1: 2} if told and pages > 1 else once) == asked
    assert total == result.rows == result.depth
    assert told == result.proven


@given(st.integers(2, 30), st.integers(1, 5), st.booleans(), st.randoms())
def test_what_is_proven_is_whole(count: int, size: int, newest_first: bool, chance: random.Random) -> None:
    """The oldest expire and others appear between two answers: a pass that is proven has all that stayed.

    Once, both happen between the same two, so that the total stays; after that nothing happens, for of two such moments
    no answer may tell.
    """
    rows = [VoiceRecord(voice_id=str(number)) for number in range(count)]
    stayed = {row.voice_id for row in rows}
    result: Reading[VoiceRecord] = Reading(WINDOW)
    appear, expire = chance.choice([(0, 0.2), (0.2, 0), (0.2, 0.2), (0.5, 0.5)])
    together = chance.random() < 0.7
    while wanted := list(result.wanted()):
        for current in chance.sample(wanted, chance.randint(1, len(wanted))):
            share = chance.random()
            expires, appears = share < expire, (share if together else chance.random()) < appear
            if len(rows) > 1 and expires:
                stayed.discard(rows.pop(0).voice_id)
            if appears:
                count += 1
                rows.insert(chance.randint(0, len(rows)), VoiceRecord(voice_id=str(count)))
            if expires and appears:
                expire = appear = 0
            shown = rows[::-1] if newest_first else rows
            result.add(
                current, Page(tuple(shown[(current - 1) * size : current * size]), len(rows), 100, current, None)
            )

    assert not result.proven or stayed <= result.keys


@pytest.mark.parametrize(
    ("pages", "wanted"),
    [
        ([], [1]),
        ([page("")], []),
        ([page("abc")], []),
        ([page("", 7)], []),
        ([page("ab", 7)], [2, 3]),
        ([page("ab", 6)], [2]),
        ([page("ab", 7), page("cd", 7)], [3]),
        ([page("ab", 7), page("cd", 7), page("ef", 7)], [4]),
        ([page("ab", 7), page("cd", 7), page("ef", 7), page("g", 7)], [1]),
        ([page("ab", 7), page("cd", 7), page("de", 7), page("f", 7)], []),
        ([page("ab", 7), page("", 7)], []),
        ([page("ab", 7), page("ba", 7)], []),
        ([page("ab", 7), page("bc", 7)], [3]),
        ([page("ab", None)], [2]),
        ([page("ab", None), page("cd", None)], [3]),
        ([page("ab", None), page("", None)], []),
        ([page("", None)], []),
    ],
    ids=str,
)
def test_what_is_still_wanted(pages: list[Page[VoiceRecord]], wanted: list[int]) -> None:
    """Pages as long as the first, up to the total or to an empty one; none after a page that brought nothing new.

    The last is asked for when all others have come, and then the first again, if it can still prove anything.
    """
    result = reading(*pages)

    assert wanted == list(result.wanted())
    assert (not wanted) == result.read


def test_what_is_known() -> None:
    """A pass begins with nothing known; its depth is what the server tells, not what has come."""
    first: Reading[VoiceRecord] = Reading(WINDOW)

    assert (None, 0, False, False) == (first.total, first.depth, first.read, first.proven)
    first.add(1, page("ab", 9))
    assert (9, 9, 2) == (first.total, first.depth, first.rows)


CLEAN = [
    [page("")],
    [page("abc")],
    [page("ab", 5), page("cd", 5), page("e", 5)],
    [page("aa")],
]
DOUBTFUL = [
    [page("ab", 3), page("c", 4)],
    [page("ab", 3), page("c", None)],
    [page("ab", 4), page("bc", 4)],
    [page("ab", 4), page("c", 4)],
    [page("ab", 4), page("ab", 4)],
    [page("ab", 6), page("", 6)],
    [page("", 3)],
    [page("abc", 2)],
    [page("ab", 3), page("cd", 3)],
    [page("ab", 6), page("c", 6), page("def", 6)],
    [page("ab", 6), page("", 6), page("cd", 6)],
]


@pytest.mark.parametrize("pages", CLEAN, ids=str)
def test_what_is_clean(pages: list[Page[VoiceRecord]]) -> None:
    """One total, pages as long as their place says, no record on two pages, and in the end the same first page."""
    result = reading(*pages)
    if len(pages) > 1:
        assert not result.proven
        result.add(1, pages[0])

    assert result.read
    assert result.proven
    assert not result.doubtful


def test_a_first_page_that_changes() -> None:
    """What expired while a window was read is missing from its first page in the end: the pass proves nothing."""
    result = reading(page("ab", 4), page("de", 4))
    result.add(1, page("bc", 4))

    assert result.read
    assert result.doubtful
    assert not result.proven


@pytest.mark.parametrize("pages", DOUBTFUL, ids=str)
def test_what_is_not(pages: list[Page[VoiceRecord]]) -> None:
    """A total that changes, rows that do not add up, a page that comes again: none of these proves a window."""
    result = reading(*pages)

    assert not result.proven
    assert result.doubtful or result.rows != result.total


def test_two_passes_that_agree() -> None:
    """A second pass with the same ids, and as many rows as the total, proves what one does not."""
    pages = page("ab", 4), page("bc", 4)
    first = reading(*pages)
    second = reading(*pages, into=first.again())
    other = reading(page("ab", 4), page("bd", 4), into=first.again())

    assert (1, 2) == (first.passes, second.passes)
    assert second.proven
    assert not other.proven
    assert not reading(*pages, into=other.again()).proven


@pytest.mark.parametrize(
    "pages", [[page("ab", 4), page("ab", 4)], [page("ab", 4), page("c", 4)], [page("ab", 4), page("", 4)]]
)
def test_passes_that_do_not_count(pages: list[Page[VoiceRecord]]) -> None:
    """Passes that agree prove nothing if a page brought nothing new, or the rows are not as many as the total."""
    first = reading(*pages)

    assert first.found is None
    assert not reading(*pages, into=first.again()).proven


@pytest.mark.parametrize(
    ("pages", "other"),
    [
        ([page("ab", None), page("", None)], [page("ac", None), page("", None)]),
        ([page("", None)], [page("a", None), page("", None)]),
    ],
)
def test_passes_without_a_total(pages: list[Page[VoiceRecord]], other: list[Page[VoiceRecord]]) -> None:
    """Two passes that agree prove a window whose total is never told, were it empty; two that differ do not."""
    first = reading(*pages)

    assert not first.proven
    assert reading(*pages, into=first.again()).proven
    assert not reading(*other, into=first.again()).proven


def test_passes_in_another_order() -> None:
    """A server that lists its records anew each time may leave the same one out twice: that is no agreement."""
    first = reading(page("abc", 5), page("cd", 5))

    assert not reading(page("bac", 5), page("cd", 5), into=first.again()).proven
    assert not reading(page("abd", 5), page("cd", 5), into=first.again()).proven
    assert reading(page("abc", 5), page("cd", 5), into=first.again()).proven
    untold = page("abc", None), page("cd", None), page("", None)
    assert not reading(*untold, into=reading(*untold).again()).proven


def test_without_a_total() -> None:
    """Pages are asked for until one is empty, and two passes must agree; a page that comes again ends a pass."""
    pages = page("ab", None), page("c", None), page("", None)
    first = reading(*pages[:2])

    assert [3] == list(first.wanted())
    assert 3 == first.depth
    first.add(3, pages[2])
    assert first.read
    assert not first.proven
    assert reading(*pages, into=first.again()).proven
    again = reading(pages[0], pages[0])
    assert [] == list(again.wanted())
    assert again.found is None


def test_the_error() -> None:
    """It tells the window, what was expected, and what came."""
    error = reading(page("ab", 4), page("bc", 4)).incomplete()
    untold = reading(page("ab", None)).incomplete()

    assert isinstance(error, IncompleteWindowError)
    assert (WINDOW, 4, 3) == (error.window, error.expected, error.received)
    assert str(WINDOW) in str(error)
    assert untold.expected is None
    assert "unknown number" in str(untold)
