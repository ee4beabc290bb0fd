"""The checks of counts. They share no reasoning with the library.

A record that the server shows during a complete count must be counted, if it is of the range; one that it never shows
must not. Between the two, any number is right: the number of each window is that of one moment.
"""

import math
from collections import Counter
from collections.abc import Set as AbstractSet
from itertools import permutations

import attrs

from .plan import DAY, SECOND, Plan
from .server import START, Server, Watch

__all__ = ["Counted", "judge_counts"]

CLOCK = 3
"""The seconds by which a range up to now may end early: the running one, and the precision of the server's dates.

In addition, the server's time may be behind by the time of an answer's way.
"""
SKIPPED = 123
"""The seconds after the limit of the retention that may be skipped, as for a stream."""
SETTLED = (DAY - 3 * 3600, 50 * DAY + 3 * 3600)
"""Between these ages, a second is taken to change no more: the documented ones, and the error of a clock."""
ANSWERS = 2
"""The number of answers for a second between two windows, if the window after it is not read."""


@attrs.define
class Counted:
    """A count: the ends of its range in seconds from START, the last None for now, its filter, and its number."""

    start: float
    end: float | None
    group: str | None
    watch: Watch
    number: int = 0

    def is_union(self, first: "Counted", second: "Counted") -> bool:
        """Return whether the range is that of two others."""
        return (self.start, self.end, self.group) == (first.start, second.end, first.group)


@attrs.define
class _Bounds:
    """Which seconds a range certainly has, from `first` to `shortest`, and which it may have, up to `longest`.

    `at_edge` is whether the second before the range cannot be requested.
    """

    start: float
    first: float
    shortest: float
    longest: float
    is_closed: bool
    at_edge: bool

    def has(self, second: float) -> bool:
        """Return whether a record of a second must be counted."""
        return self.first <= second and self._is_within(second, self.shortest)

    def may_have(self, second: float) -> bool:
        """Return whether a record of a second may be counted."""
        return self._is_within(second, self.longest) or (self.at_edge and second == self.start)

    def _is_within(self, second: float, end: float) -> bool:
        return self.start < second <= end if self.is_closed else self.start <= second < end


def judge_counts(plan: Plan, server: Server, counts: list[Counted]) -> None:
    """Check each number, and that numbers of adjacent ranges add up if nothing has changed."""
    exact = list[Counted]()
    for each in counts:
        least, most = allowed_numbers(plan, server, each)
        exact += [each] * (least == most and each.watch.always == each.watch.ever)
        shown = f"count({each.start}, {each.end}) of {each.group or 'all'} is {each.number}, not {least} to {most}"
        assert least <= each.number <= most, shown
    for first, second in permutations(exact, 2):
        if (first.end, first.group) == (second.start, second.group):
            total = next((each for each in exact if each.is_union(first, second)), None)
            if total and first.watch.ever == second.watch.ever == total.watch.ever:
                parts = f"{first.number} + {second.number}"
                shown = f"{first.start}, {first.end}, {second.end}: {parts} is not {total.number}"
                assert first.number + second.number == total.number, shown


def allowed_numbers(plan: Plan, server: Server, counted: Counted) -> tuple[int, int]:
    """Return the smallest and the largest number that the guarantees allow."""
    watch = counted.watch
    if watch.always is None:
        return 0, 0  # A range within one second needs no request.
    bounds = _bounds(plan, server, counted)
    always, ever = (
        {mark for mark in marks if counted.group in {None, server.groups.get(mark)}}
        for marks in (watch.always, watch.ever)
    )
    seconds = server.seconds
    least = sum(bounds.has(seconds[mark]) for mark in always)
    possible = [mark for mark in ever if bounds.may_have(seconds[mark])]
    free = _unsettled(server, watch, ever - always)
    twice = server.counted_twice() if plan.behaviour.duplicates else set[str]()
    return least - free, len(possible) + free + len(twice.intersection(possible))


def _bounds(plan: Plan, server: Server, counted: Counted) -> _Bounds:
    watch, behaviour = counted.watch, server.sandbox.behaviour
    start, longest = math.floor(counted.start), math.inf if counted.end is None else math.floor(counted.end)
    slow, fast = server.slowest, server.fastest
    if behaviour.refuses_future_end:
        slow -= fast - slow  # The end that was refused by a wrong clock is remembered.
    behind = CLOCK + math.ceil(behaviour.latency * plan.tempo)
    shortest = min(longest, math.floor(watch.began + slow) - behind)
    longest = min(longest, math.floor(watch.ended + fast))
    first, at_edge = float(start), False
    if behaviour.retention is not None and behaviour.refuses_beyond_retention:
        edge = watch.ended - behaviour.retention.total_seconds()
        at_edge = start - 1 < edge
        if at_edge:
            # What lies on the start may come with the range before, too, or with neither.
            first = edge + SKIPPED if start < edge and plan.expired == "skip" else start + 1
    return _Bounds(start, first, shortest, longest, behaviour.ends[1] == "]", at_edge)


def _unsettled(server: Server, watch: Watch, changed: AbstractSet[str]) -> int:
    """Return how many of the records that have changed may be counted once too often or too seldom.

    They are those of a second between two windows, if it is one that is taken to be settled, if two changes there may
    have made its total the same again, or if the window after it was read: a record that appears meanwhile may come
    with either window.
    """
    requests = server.sandbox.requests[watch.first_request :]
    free = set[str]()
    seconds = [(each.start, each) for each in requests if each.start and each.end == each.start + SECOND]
    answers = Counter(start for start, each in seconds if each.answered == "0")
    for start in {start for start, _ in seconds}:
        second = (start - START) / SECOND
        there = {mark for mark in changed if second <= server.seconds[mark] <= second + 1}
        changes = len(there) + len(there & watch.passing)
        was_read = answers[start] > ANSWERS
        if changes > 1 or was_read or SETTLED[0] < watch.ended - second < SETTLED[1]:
            free |= there
    return len(free)
