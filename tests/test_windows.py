"""Windows: pure arithmetic on whole seconds."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice.learned import SpanLimit
from itnio_voice.windows import LONGEST, SECOND, SHORTEST, Window, before, ceil, covering, cut, floor, gaps, join

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    """Return a whole second."""
    return START + second * SECOND


windows = st.builds(lambda first, length: Window(at(first), at(first + length)), st.integers(0, 60), st.integers(1, 40))
spans = st.integers(2, 50).map(lambda seconds: seconds * SECOND)


def seconds(pieces: object) -> set[datetime]:
    """Return the stretches of one second that windows cover, by where each begins."""
    covered: set[datetime] = set()
    for window in pieces:  # type: ignore[attr-defined]
        covered |= {window.start + n * SECOND for n in range(window.span // SECOND)}
    return covered


@given(windows, spans)
def test_cutting_tiles(window: Window, span: timedelta) -> None:
    """Pieces cover the window, share one second with their neighbours, and are no longer than the span."""
    pieces: list[Window] = []
    rest: Window | None = window
    while rest:
        piece, rest = cut(rest, span)
        pieces.append(piece)

    assert (window.start, window.end) == (pieces[0].start, pieces[-1].end)
    assert all(left.end - SECOND == right.start for left, right in pairwise(pieces))
    assert all(piece.span <= span for piece in pieces)


@given(windows, st.integers(0, 50).map(lambda seconds: seconds * SECOND))
def test_cutting_keeps_the_union(window: Window, width: timedelta) -> None:
    """A cut loses nothing, moves on, and never gives a rest as long as the window."""
    piece, rest = cut(window, width)

    assert seconds([window]) == seconds([piece, rest] if rest else [piece])
    assert rest is None or rest.span < window.span
    assert piece.span <= max(width, SHORTEST)


@pytest.mark.parametrize(
    ("length", "width", "expected"),
    [
        (10, 4, [(0, 4), (3, 10)]),
        (10, 9, [(0, 9), (8, 10)]),
        (10, 10, [(0, 10)]),
        (10, 11, [(0, 10)]),
        (10, 1, [(0, 2), (1, 10)]),
        (10, -5, [(0, 2), (1, 10)]),
        (2, 1, [(0, 2)]),
        (1, 1, [(0, 1)]),
    ],
)
def test_cut(length: int, width: int, expected: list[tuple[int, int]]) -> None:
    """The rest begins one second before the piece ends; no piece is shorter than two seconds if it can be helped."""
    piece, rest = cut(Window(at(0), at(length)), width * SECOND)

    assert [Window(at(start), at(end)) for start, end in expected] == ([piece, rest] if rest else [piece])


@given(st.lists(windows))
def test_merging_covers_exactly_what_was_done(done: list[Window]) -> None:
    """Merged windows cover the same seconds, in order, and do not touch."""
    joined = join(done)

    assert seconds(done) == seconds(joined)
    assert all(left.end < right.start for left, right in pairwise(joined))


@given(windows, st.lists(windows))
def test_gaps_are_what_is_left(window: Window, done: list[Window]) -> None:
    """What is done and the gaps make the window; no second is in both."""
    left = gaps(window, done)

    assert seconds([window]) - seconds(done) == seconds(left)
    assert all(first.end < second.start for first, second in pairwise(left))


def test_gaps_touch_what_is_done() -> None:
    """A gap begins where something ends and ends where something begins; what lies outside the window is left out."""
    done = [Window(at(30), at(35)), Window(at(0), at(12)), Window(at(15), at(16)), Window(at(90), at(99))]

    assert (Window(at(12), at(15)), Window(at(16), at(20))) == gaps(Window(at(10), at(20)), done)


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
def test_floor_and_ceil(moment: datetime) -> None:
    """The whole seconds around a moment are at most one second apart."""
    assert floor(moment) <= moment <= ceil(moment)
    assert ceil(moment) - floor(moment) == (SECOND if moment.microsecond else timedelta())


HOUR = timedelta(hours=1)


@pytest.mark.parametrize("offset", [8 * HOUR, -11 * HOUR, 5.75 * HOUR, timedelta(hours=-3, seconds=-28)])
@pytest.mark.parametrize(
    ("first", "last", "expected"), [(0, 0, (0, 3)), (999_999, 1, (0, 4)), (1, 999_999, (0, 4)), (500_000, 0, (0, 3))]
)
def test_whole_in_any_offset(offset: timedelta, first: int, last: int, expected: tuple[int, int]) -> None:
    """The start is floored and the end ceiled, by their instants, and told in UTC."""
    there = timezone(offset)
    microsecond = timedelta(microseconds=1)
    window = covering((at(0) + first * microsecond).astimezone(there), (at(3) + last * microsecond).astimezone(there))

    assert (at(expected[0]), at(expected[1])) == (window.start, window.end)
    assert (UTC, UTC) == (window.start.tzinfo, window.end.tzinfo)


def test_a_range_inside_one_second() -> None:
    """It is asked for as that second."""
    inside = at(5) + timedelta(microseconds=1)

    assert Window(at(5), at(6)) == covering(inside, inside + timedelta(microseconds=1))


def test_a_range_across_the_end_of_summer_time() -> None:
    """A range is in order if its instants are, whatever the wall clock shows."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 25, 2, 50, tzinfo=berlin)
    end = datetime(2026, 10, 25, 2, 10, tzinfo=berlin, fold=1)

    assert timedelta(minutes=20) == covering(start, end).span


def test_ceil_in_an_offset_with_a_fraction() -> None:
    """The whole second is at or after the moment, whatever its offset."""
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(milliseconds=500)))

    assert moment <= ceil(moment)


def test_whole() -> None:
    """A range in any offset is floored and ceiled in UTC."""
    china = timezone(timedelta(hours=8))
    first = datetime(2026, 1, 1, 8, 0, 0, 999_999, tzinfo=china)
    last = datetime(2026, 1, 1, 8, 0, 2, 1, tzinfo=china)

    assert Window(at(0), at(3)) == covering(first, last)
    assert UTC is covering(first, last).start.tzinfo


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (START.replace(tzinfo=None), at(1), "start must be a datetime with an offset"),
        (at(0), START.replace(tzinfo=None), "end must be a datetime with an offset"),
        (at(0), "2026-01-01", "end must be a datetime with an offset"),
        (at(1), at(1), "before"),
        (at(2), at(1), "before"),
        (datetime.min.replace(tzinfo=UTC), at(1), "calendar"),
        (at(0), datetime.max.replace(tzinfo=UTC), "calendar"),
        (datetime.min.replace(tzinfo=timezone(8 * HOUR)), at(1), "calendar"),
        (at(0), datetime.max.replace(microsecond=0, tzinfo=timezone(-8 * HOUR)), "calendar"),
        (None, at(1), "start must be a datetime with an offset"),
        (at(0), START.date(), "end must be a datetime with an offset"),
    ],
)
def test_ranges_that_are_none(start: datetime, end: datetime, says: str) -> None:
    """A naive, reversed or endless range is a ValueError that says so."""
    with pytest.raises(ValueError, match=says):
        covering(start, end)


@pytest.mark.parametrize(
    ("start", "end"),
    [(at(1), at(1)), (at(2), at(1)), (START.replace(tzinfo=None), at(1)), (START.replace(microsecond=1), at(1))],
)
def test_windows_that_are_none(start: datetime, end: datetime) -> None:
    """A window is a pair of aware whole seconds in order."""
    with pytest.raises(ValueError, match="window"):
        Window(start, end)


def test_before() -> None:
    """The second before a window, and how a window reads."""
    window = Window(at(10), at(20))

    assert Window(at(9), at(10)) == before(window)
    assert "2026-01-01T00:00:10+00:00 to 2026-01-01T00:00:20+00:00" == str(window)


def test_windows_are_values() -> None:
    """Frozen, hashable, and in the order of their starts."""
    early, late = Window(at(1), at(9)), Window(at(2), at(3))

    assert [early, late] == sorted([late, early])
    assert {early} == {early, Window(at(1), at(9))}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        early.start = at(0)  # type: ignore[misc]


def test_span() -> None:
    """A session begins with the longest window, and never asks again for what was refused."""
    span = SpanLimit()

    assert LONGEST == span.first == span.bounded(2 * LONGEST)
    span.answer(timedelta(days=1))
    span.refuse(timedelta(days=3))
    assert timedelta(days=1) == span.first == span.bounded(timedelta(days=5))
    assert timedelta(days=2) == span.bounded(timedelta(days=2))
    span.refuse(timedelta(hours=1))
    assert SHORTEST == span.first
