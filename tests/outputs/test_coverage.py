"""The range that a warehouse has read of an account, and the start of the next run."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from itnio_voice import Window
from itnio_voice.outputs._warehouse.coverage import Coverage

DAY = timedelta(days=1)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    """Return a day of November 2026, counted from 0."""
    return BEGIN + number * DAY


def covered(since: int, until: int, key: str = "key") -> Coverage:
    """Return a coverage from one day to another."""
    return Coverage(day(since), day(until), key)


def windows(*days: int) -> list[Window]:
    """Return adjacent windows with these ends."""
    return [Window(day(one), day(other)) for one, other in pairwise(days)]


@pytest.mark.parametrize(
    ("before", "since", "until", "lookback", "start"),
    [
        (covered(0, 10), 0, None, 3, 7),
        (covered(0, 10), 0, 8, 3, 5),
        (covered(0, 10), 0, 20, 3, 7),
        (covered(0, 10), 0, None, 0, 10),
        (covered(0, 10), 2, None, 3, 7),
        (covered(0, 10), 8, None, 3, 8),
        (covered(0, 10), 0, None, 1_000_000, 0),
        (covered(5, 10), 0, None, 3, 0),
        (covered(0, 2), 0, None, 3, 0),
    ],
)
def test_a_run_starts_a_lookback_before_the_end_of_the_read_range(
    before: Coverage, since: int, until: int | None, lookback: int, start: int
) -> None:
    """It starts at its own `since` if that is earlier than the read range, or later than the lookback's start."""
    end = None if until is None else day(until)

    assert day(start) == before.next_start(day(since), end, lookback * DAY)


@pytest.mark.parametrize(
    ("before", "since", "read", "after"),
    [
        (None, 0, (0, 5, 10), covered(0, 10)),
        (None, 3, (), covered(3, 3)),
        (covered(0, 10), 0, (7, 12), covered(0, 12)),
        (covered(0, 10), 5, (7, 9), covered(0, 10)),
        (covered(5, 10), 0, (0, 12), covered(0, 12)),
        (covered(5, 10), 0, (0, 5), covered(0, 10)),
        (covered(5, 10), 0, (0, 3), covered(0, 3)),
        (covered(0, 3), 5, (5, 8), covered(5, 8)),
        (covered(0, 10), 4, (), covered(0, 10)),
    ],
)
def test_a_run_extends_the_read_range_unless_there_is_a_gap(
    before: Coverage | None, since: int, read: tuple[int, ...], after: Coverage
) -> None:
    """Two ranges that touch become one; of two ranges with a gap between them, the run's is kept."""
    assert after == Coverage.extended(before, day(since), "key", windows(*read))


def test_the_state_of_another_account_of_the_same_name_does_not_count() -> None:
    """Otherwise the records of the new account would count as read."""
    state = covered(0, 10).to_state()

    assert covered(0, 10) == Coverage.from_state(state, "key")
    assert Coverage.from_state(state, "another key") is None
    assert Coverage.from_state(None, "key") is None


def test_fractions_of_a_second_in_a_state_are_dropped() -> None:
    """A range has whole seconds, so a state that another version wrote is read with them."""
    state = {"since": day(0).isoformat(), "until": (day(1) + timedelta(seconds=0.5)).isoformat(), "key": "key"}

    assert covered(0, 1) == Coverage.from_state(state, "key")
