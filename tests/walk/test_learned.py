"""What a session learns about the server."""

from datetime import timedelta

import pytest

from itnio_voice._model.windows import LONGEST, SECOND, SHORTEST
from itnio_voice._walk.learned import (
    GROWTH,
    MAX_QUERIES,
    MAX_TOTALS,
    REPRESENTATIVE,
    TRIAL_AFTER,
    TRIAL_BACKOFF,
    WORTH_A_TRIAL,
    Learned,
    SpanLimit,
)
from itnio_voice._walk.widths import WindowWidth

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def limited() -> SpanLimit:
    """Return the limit after an answer for one hour and a refusal of two hours."""
    limit = SpanLimit()
    limit.answer(HOUR)
    limit.refuse(2 * HOUR)
    return limit


def complete(limit: SpanLimit, windows: int) -> None:
    """Complete a number of windows at the limit."""
    for _ in range(windows):
        limit.complete(HOUR)


def test_the_first_window_is_the_longest() -> None:
    """With nothing known, the window is the requested range, up to 31 days."""
    limit = SpanLimit()

    assert LONGEST == limit.first == limit.bounded(2 * LONGEST)
    assert SHORTEST == limit.bounded(timedelta())
    assert 3 * SECOND == limit.bounded(timedelta(seconds=3.9))


def test_no_refused_width_is_requested_again() -> None:
    """The limit is the longest answered width, or half of the shortest refused one."""
    limit = SpanLimit()
    limit.answer(DAY)
    limit.refuse(3 * DAY)
    assert 1.5 * DAY == limit.first == limit.bounded(5 * DAY)
    limit.answer(2 * DAY)
    assert 2 * DAY == limit.bounded(5 * DAY)
    assert DAY == limit.bounded(DAY)
    limit.refuse(4 * DAY)
    assert 3 * DAY == limit.refused
    limit.refuse(HOUR)
    assert HOUR / 2 == limit.first


def test_repeated_refusals_end_at_the_shortest_window() -> None:
    """Each refusal lowers the limit, down to two seconds."""
    limit = SpanLimit()
    refused: list[timedelta] = []
    while limit.first > SHORTEST:
        refused.append(limit.first)
        limit.refuse(limit.first)

    assert sorted(set(refused), reverse=True) == refused
    assert len(refused) < 25


def test_a_trial_after_some_complete_windows() -> None:
    """A longer window is tried after `TRIAL_AFTER` complete windows at the limit, if enough of the range remains."""
    limit = limited()
    worth = WORTH_A_TRIAL * HOUR
    complete(limit, TRIAL_AFTER - 1)
    assert HOUR == limit.bounded(DAY, worth)
    complete(limit, 1)

    assert GROWTH * HOUR == limit.bounded(DAY, worth)
    assert HOUR == limit.bounded(DAY, worth - SECOND)
    assert HOUR == limit.first


def test_short_windows_do_not_count_for_a_trial() -> None:
    """A window shorter than half of the limit says nothing about it."""
    limit = limited()
    for _ in range(2 * TRIAL_AFTER):
        limit.complete(HOUR / 2 - SECOND)
    assert HOUR == limit.bounded(DAY, 99 * DAY)

    for _ in range(TRIAL_AFTER):
        limit.complete(HOUR / 2)
    assert GROWTH * HOUR == limit.bounded(DAY, 99 * DAY)


def test_windows_before_a_refusal_do_not_count_for_a_trial() -> None:
    """Without a refusal, there is nothing to try."""
    limit = SpanLimit()
    limit.answer(HOUR)
    complete(limit, TRIAL_AFTER)
    limit.refuse(2 * HOUR)

    assert HOUR == limit.bounded(DAY, 99 * DAY)


def test_trials_that_fail_become_rarer() -> None:
    """Each failed trial multiplies the windows before the next one; other refusals do not."""
    limit = limited()
    wait = TRIAL_AFTER
    for _ in range(2):
        complete(limit, wait - 1)
        assert HOUR == limit.bounded(DAY, 99 * DAY)
        complete(limit, 1)
        assert GROWTH * HOUR == limit.bounded(DAY, 99 * DAY)
        limit.refuse(GROWTH * HOUR)
        wait *= TRIAL_BACKOFF
    limit.refuse(2 * HOUR)
    complete(limit, wait)

    assert GROWTH * HOUR == limit.bounded(DAY, 99 * DAY)


def test_a_trial_that_is_answered_lifts_the_limit() -> None:
    """The refusal was temporary: the limit is removed, and the next refusal is followed by an early trial."""
    limit = limited()
    complete(limit, TRIAL_AFTER)
    limit.refuse(GROWTH * HOUR)
    complete(limit, TRIAL_AFTER * TRIAL_BACKOFF)
    limit.answer(GROWTH * HOUR)
    assert limit.refused is None
    assert LONGEST == limit.first

    limit.refuse(8 * HOUR)
    for _ in range(TRIAL_AFTER):
        limit.complete(4 * HOUR)
    assert GROWTH * 4 * HOUR == limit.bounded(9 * DAY, 99 * DAY)


def test_an_answer_below_the_refused_width_lifts_nothing() -> None:
    """Only a window as long as the refused one removes the limit."""
    limit = limited()
    limit.answer(2 * HOUR - SECOND)

    assert 2 * HOUR == limit.refused
    assert 2 * HOUR - SECOND == limit.first


def test_round_totals_are_suspicious() -> None:
    """A multiple of 1,000 may be a cap."""
    learned = Learned()

    assert [False, True, False, True] == [learned.is_suspicious(total, HOUR) for total in (999, 1000, 1001, 10_000)]


def test_the_total_of_a_wider_window_is_suspicious() -> None:
    """A window with as many records as a clearly wider one may be capped; one about as wide is not."""
    learned = Learned()

    assert not learned.is_suspicious(4321, DAY)
    assert not learned.is_suspicious(4321, DAY)
    assert not learned.is_suspicious(4321, DAY - HOUR)
    assert learned.is_suspicious(4321, DAY / 2)
    assert not learned.is_suspicious(4321, 2 * DAY)
    assert learned.is_suspicious(4321, DAY)
    assert not learned.is_suspicious(4322, HOUR)


def test_the_totals_that_are_remembered_are_bounded() -> None:
    """The oldest total is dropped first; a repeated one counts as new."""
    learned = Learned()
    totals = range(1, MAX_TOTALS)
    for total in (0, *totals, 0, 100_001):
        learned.is_suspicious(total, DAY)

    assert MAX_TOTALS == len(learned._totals)
    assert not learned.is_suspicious(1, HOUR)
    assert learned.is_suspicious(100_001, HOUR)
    assert learned.is_suspicious(3, HOUR)


def test_the_density_of_a_query_is_known_for_ranges_of_about_its_length() -> None:
    """A busy hour says nothing about a month, nor about another query."""
    learned = Learned()
    assert learned.density("q", HOUR) is None
    learned.learn_density("q", HOUR, 7200)

    assert 2.0 == learned.density("q", HOUR / 2) == learned.density("q", REPRESENTATIVE * HOUR)
    assert learned.density("q", REPRESENTATIVE * HOUR + SECOND) is None
    assert learned.density("other", HOUR) is None


def test_a_much_shorter_stream_teaches_no_density() -> None:
    """What a day taught stays; a newer stream of at least half its length replaces it."""
    learned = Learned()
    learned.learn_density("q", DAY, 86_400)
    learned.learn_density("q", HOUR, 36_000)
    assert 1.0 == learned.density("q", DAY)
    learned.learn_density("q", DAY / 2, 86_400)
    assert 2.0 == learned.density("q", DAY)


def test_the_densities_of_a_bounded_number_of_queries_are_remembered() -> None:
    """The oldest is forgotten first."""
    learned = Learned()
    for query in range(MAX_QUERIES + 1):
        learned.learn_density(query, HOUR, 3600)
    assert learned.density(0, HOUR) is None
    assert 1.0 == learned.density(1, HOUR)
    assert 1.0 == learned.density(MAX_QUERIES, HOUR)


@pytest.mark.parametrize(("density", "span", "width"), [(1.0, HOUR, LONGEST), (10.0, DAY, timedelta(seconds=595))])
def test_the_first_width_follows_the_density(density: float, span: timedelta, width: timedelta) -> None:
    """Only if the first window would have too many records."""
    result = WindowWidth(SpanLimit(), most_open=8)

    assert result.expect(density, span) == (width < LONGEST)
    assert width == result.current
    assert 8 == result.open_limit


def test_windows_grow_twofold() -> None:
    """After a quiet night, the next window has no more records than expected, and fewer are opened ahead."""
    width = WindowWidth(SpanLimit(), most_open=8)
    width.continue_with(5 * HOUR)
    for _ in range(3):
        width.complete(5 * HOUR, 5_950, 9 * DAY)
    assert (5 * HOUR, 8) == (width.current, width.open_limit)

    width.complete(5 * HOUR, 400, 9 * DAY)
    assert (10 * HOUR, 4) == (width.current, width.open_limit)
    width.complete(10 * HOUR, 800, 9 * DAY)
    assert (20 * HOUR, 2) == (width.current, width.open_limit)
    width.complete(20 * HOUR, 5_950, 9 * DAY)
    assert (20 * HOUR, 4) == (width.current, width.open_limit)
