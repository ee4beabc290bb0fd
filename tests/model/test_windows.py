"""Windows: pure arithmetic on whole seconds."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice._model.windows import (
    SECOND,
    SHORTEST,
    WIRE_ZONE,
    Window,
    before,
    cut,
    floor,
    gaps,
    join,
    whole_seconds,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    """Return a whole second."""
    return START + second * SECOND


windows = st.builds(lambda first, length: Window(at(first), at(first + length)), st.integers(0, 60), st.integers(1, 40))
spans = st.integers(2, 50).map(lambda seconds: seconds * SECOND)


def seconds(pieces: object) -> set[datetime]:
    """Return the starts of all seconds that windows cover."""
    covered: set[datetime] = set()
    for window in pieces:  # type: ignore[attr-defined]
        covered |= {window.start + n * SECOND for n in range(window.span // SECOND)}
    return covered


@given(windows, spans)
def test_cutting_tiles(window: Window, span: timedelta) -> None:
    """Pieces cover the window, share one second with their neighbours, and are at most as long as the span."""
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
    """A cut loses nothing, advances, and the rest is always shorter than the window."""
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
def test_the_rest_of_a_cut_overlaps_by_a_second(length: int, width: int, expected: list[tuple[int, int]]) -> None:
    """The rest begins one second before the piece ends; a piece has at least two seconds if possible."""
    piece, rest = cut(Window(at(0), at(length)), width * SECOND)

    assert [Window(at(start), at(end)) for start, end in expected] == ([piece, rest] if rest else [piece])


@given(st.lists(windows))
def test_merging_covers_exactly_the_completed_windows(done: list[Window]) -> None:
    """Merged windows cover the same seconds, in order, and do not touch."""
    joined = join(done)

    assert seconds(done) == seconds(joined)
    assert all(left.end < right.start for left, right in pairwise(joined))


@given(windows, st.lists(windows))
def test_gaps_are_the_uncovered_rest(window: Window, done: list[Window]) -> None:
    """The completed windows and the gaps cover the window; no second is in both."""
    left = gaps(window, done)

    assert seconds([window]) - seconds(done) == seconds(left)
    assert all(first.end < second.start for first, second in pairwise(left))


def test_gaps_touch_completed_windows() -> None:
    """A gap ends and begins where completed windows begin and end; seconds outside the window are not included."""
    done = [Window(at(30), at(35)), Window(at(0), at(12)), Window(at(15), at(16)), Window(at(90), at(99))]

    assert (Window(at(12), at(15)), Window(at(16), at(20))) == gaps(Window(at(10), at(20)), done)


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
def test_floor_is_the_second_of_the_moment(moment: datetime) -> None:
    """The second is in UTC, and less than a second before the moment."""
    assert timedelta() <= moment.astimezone(UTC) - floor(moment) < SECOND
    assert (0, UTC) == (floor(moment).microsecond, floor(moment).tzinfo)


def test_floor_is_in_utc_for_fractional_offsets() -> None:
    """The second is one of UTC, not of the offset."""
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(milliseconds=500)))

    assert START - SECOND == floor(moment)


HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize("offset", [8 * HOUR, -11 * HOUR, 5.75 * HOUR, timedelta(hours=-3, seconds=-28)])
@pytest.mark.parametrize(("first", "last"), [(0, 0), (999_999, 1), (1, 999_999), (500_000, 0)])
def test_both_ends_are_rounded_down_in_any_offset(offset: timedelta, first: int, last: int) -> None:
    """Both ends are whole seconds of UTC."""
    there = timezone(offset)
    start, end = at(0) + first * MICROSECOND, at(3) + last * MICROSECOND
    window = whole_seconds(start.astimezone(there), end.astimezone(there))

    assert window
    assert (at(0), at(3)) == (window.start, window.end)
    assert (UTC, UTC) == (window.start.tzinfo, window.end.tzinfo)


@given(st.lists(st.integers(0, 9_000_000), min_size=2, max_size=8, unique=True).map(sorted))
def test_ranges_that_share_an_end_tile(moments: list[int]) -> None:
    """Ranges cut at any microseconds cover the same whole seconds as one range, each once."""
    times = [START + moment * MICROSECOND for moment in moments]
    pieces = [window for start, end in pairwise(times) if (window := whole_seconds(start, end))]
    complete = whole_seconds(times[0], times[-1])

    assert seconds(pieces) == seconds([complete] if complete else [])
    assert all(left.end == right.start for left, right in pairwise(pieces))


@pytest.mark.parametrize(("first", "last"), [(0, 1), (1, 2), (1, 999_999), (0, 999_999)])
def test_a_range_within_one_second_is_empty(first: int, last: int) -> None:
    """A range is empty if both ends fall into one second."""
    assert whole_seconds(at(5) + first * MICROSECOND, at(5) + last * MICROSECOND) is None


def test_a_range_across_a_second_is_the_second_before() -> None:
    """A range from a microsecond before a second to the second itself is the second before it."""
    assert Window(at(5), at(6)) == whole_seconds(at(6) - MICROSECOND, at(6))


def test_a_range_across_the_end_of_summer_time() -> None:
    """A range is in order if its instants are, regardless of the wall clock."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 25, 2, 50, tzinfo=berlin)
    end = datetime(2026, 10, 25, 2, 10, tzinfo=berlin, fold=1)
    window = whole_seconds(start, end)

    assert window
    assert timedelta(minutes=20) == window.span


def test_a_reversed_range_across_the_end_of_summer_time() -> None:
    """A range is reversed if its instants are, regardless of the wall clock."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 25, 2, 10, tzinfo=berlin, fold=1)

    with pytest.raises(ValueError, match="before"):
        whole_seconds(start, datetime(2026, 10, 25, 2, 50, tzinfo=berlin))


def test_requests_write_times_in_the_offset_of_the_vendor() -> None:
    """The offset is eight hours ahead of UTC, without summer time."""
    assert 8 * HOUR == WIRE_ZONE.utcoffset(at(0))
    assert "2026-01-01T08:00:00+08:00" == at(0).astimezone(WIRE_ZONE).isoformat()


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (START.replace(tzinfo=None), at(1), "start must be a datetime with an offset"),
        (at(0), START.replace(tzinfo=None), "end must be a datetime with an offset"),
        (at(0), "2026-01-01", "end must be a datetime with an offset"),
        (at(1), at(1), "before"),
        (at(2), at(1), "before"),
        (at(1) + timedelta(microseconds=1), at(1), "before"),
        (datetime.min.replace(tzinfo=UTC), at(1), "calendar"),
        (at(0), datetime.max.replace(tzinfo=UTC), "calendar"),
        (datetime.min.replace(tzinfo=timezone(8 * HOUR)), at(1), "calendar"),
        (at(0), datetime.max.replace(microsecond=0, tzinfo=timezone(-8 * HOUR)), "calendar"),
        (None, at(1), "start must be a datetime with an offset"),
        (at(0), START.date(), "end must be a datetime with an offset"),
    ],
)
def test_invalid_ranges_are_refused(start: datetime, end: datetime, message: str) -> None:
    """A naive, reversed or endless range raises a ValueError that message so."""
    with pytest.raises(ValueError, match=message):
        whole_seconds(start, end)


@pytest.mark.parametrize(
    ("start", "end"),
    [(at(1), at(1)), (at(2), at(1)), (START.replace(tzinfo=None), at(1)), (START.replace(microsecond=1), at(1))],
)
def test_invalid_windows_are_refused(start: datetime, end: datetime) -> None:
    """A window has aware ends in whole seconds, in order."""
    with pytest.raises(ValueError, match="window"):
        Window(start, end)


def test_before_is_the_preceding_second() -> None:
    """`before` is the second before a window; its text is the range."""
    window = Window(at(10), at(20))

    assert Window(at(9), at(10)) == before(window)
    assert "2026-01-01T00:00:10+00:00 to 2026-01-01T00:00:20+00:00" == str(window)


def test_windows_are_values() -> None:
    """Windows are frozen, hashable, and sorted by their starts."""
    early, late = Window(at(1), at(9)), Window(at(2), at(3))

    assert [early, late] == sorted([late, early])
    assert {early} == {early, Window(at(1), at(9))}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        early.start = at(0)  # type: ignore[misc]
