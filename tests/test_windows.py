"""Windows: pure arithmetic on whole seconds."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice.span import Span
from itnio_voice.windows import LONGEST, SECOND, SHORTEST, Window, before, ceil, cut, floor, gaps, merge, split, whole

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
def test_split_tiles(window: Window, span: timedelta) -> None:
    """Pieces cover the window, share one second with their neighbours, and are no longer than the span."""
    pieces = list(split(window, span))

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


@given(st.lists(windows))
def test_merging_covers_exactly_what_was_done(done: list[Window]) -> None:
    """Merged windows cover the same seconds, in order, and do not touch."""
    merged = merge(done)

    assert seconds(done) == seconds(merged)
    assert all(left.end < right.start for left, right in pairwise(merged))


@given(windows, st.lists(windows))
def test_gaps_are_what_is_left(window: Window, done: list[Window]) -> None:
    """What is done and the gaps make the window; no second is in both."""
    left = gaps(window, done)

    assert seconds([window]) - seconds(done) == seconds(left)


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
def test_floor_and_ceil(moment: datetime) -> None:
    """The whole seconds around a moment are at most one second apart."""
    assert floor(moment) <= moment <= ceil(moment)
    assert ceil(moment) - floor(moment) == (SECOND if moment.microsecond else timedelta())


def test_whole() -> None:
    """A range in any offset is floored and ceiled in UTC."""
    china = timezone(timedelta(hours=8))
    first = datetime(2026, 1, 1, 8, 0, 0, 999_999, tzinfo=china)
    last = datetime(2026, 1, 1, 8, 0, 2, 1, tzinfo=china)

    assert Window(at(0), at(3)) == whole(first, last)
    assert UTC is whole(first, last).start.tzinfo


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
    ],
)
def test_ranges_that_are_none(start: datetime, end: datetime, says: str) -> None:
    """A naive, reversed or endless range is a ValueError that says so."""
    with pytest.raises(ValueError, match=says):
        whole(start, end)


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


def test_span() -> None:
    """A session begins with the longest window, and never asks again for what was refused."""
    span = Span()

    assert LONGEST == span.first == span.bounded(2 * LONGEST)
    span.answer(timedelta(days=1))
    span.refuse(timedelta(days=3))
    assert timedelta(days=1) == span.first == span.bounded(timedelta(days=5))
    assert timedelta(days=2) == span.bounded(timedelta(days=2))
    span.refuse(timedelta(hours=1))
    assert SHORTEST == span.first
