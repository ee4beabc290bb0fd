"""What a follower has read of the recent past, in stretches, and which of them it looks at again. Pure.

A stretch is a range that was read completely, with the digests of all records that the server listed for it. As long as
the server's total for the stretch is the number of these records, no record has appeared in it. Neighbouring stretches
overlap by one second, as windows do. So what the server lists for several neighbours together is the union of their
records, whichever ends of a range it includes, and one request shows whether a record has appeared in any of them.

A stretch is quiet if nothing new was found when it was looked at last. Neighbours that are quiet are looked at
together.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby, takewhile

import attrs

from ..._model.windows import Window
from ..._walk.seen import HORIZON
from .known import identity

__all__ = ["Lookback", "Stretch", "number_of_records", "window_of"]


@attrs.frozen
class Stretch:
    """A range that was read, as it is requested, and the digests of its records. No two have the same range.

    `surplus` is the difference between the server's total and their number: a server may count records twice.
    `looked_at` is the server's time when it was last read, or its total last showed that nothing had appeared.
    `others` are records that are known as well, but not counted: those that it listed before, but not when it was last
    read, and those that were found late in the stretches before it, which may be on a shared second.
    """

    window: Window
    digests: frozenset[bytes]
    surplus: int
    looked_at: datetime
    is_quiet: bool = False
    others: frozenset[bytes] = frozenset()

    @property
    def end(self) -> datetime:
        """The end of its range."""
        return self.window.end

    def was_looked_at(self, age: timedelta) -> bool:
        """Return whether it was looked at since it has an age."""
        return self.end + age <= self.looked_at


def window_of(group: Sequence[Stretch]) -> Window:
    """Return the range of neighbouring stretches."""
    return Window(group[0].window.start, group[-1].window.end)


def number_of_records(group: Sequence[Stretch]) -> int:
    """Return the total of neighbouring stretches, if nothing has appeared in them."""
    return len({identity(digest) for each in group for digest in each.digests}) + sum(each.surplus for each in group)


@attrs.frozen
class Lookback:
    """What was read so far: everything up to `position`, and the recent stretches.

    Before the first request there are no stretches, and `position` is the start; None for the server's present.
    """

    position: datetime | None = None
    stretches: tuple[Stretch, ...] = ()

    def with_read(self, read: Stretch, instead_of: Sequence[Stretch] = ()) -> "Lookback":
        """Return the lookback with a stretch that was read: a new one, or instead of those that it contains."""
        windows = {each.window for each in instead_of}
        replaced = [each for each in self.stretches if each.window in windows]
        kept = [each for each in self.stretches if each.window not in windows]
        known = frozenset[bytes]().union(*(each.digests | each.others for each in replaced))
        read = attrs.evolve(read, others=known - read.digests)
        position = max([read.end, *(each.end for each in kept)])
        return attrs.evolve(self, position=position, stretches=tuple(sorted((*kept, read), key=_start)))

    def with_late(self, window: Window, late: frozenset[bytes]) -> "Lookback":
        """Return the lookback after records were found late in a stretch: those that follow remember them.

        A stretch of two seconds shares seconds with the two that follow.
        """
        place = next(place for place, each in enumerate(self.stretches) if each.window == window)
        following = slice(place + 1, place + 3)
        stretches = list(self.stretches)
        stretches[following] = [attrs.evolve(each, others=each.others | late) for each in stretches[following]]
        return attrs.evolve(self, stretches=tuple(stretches))

    def with_quiet(self, group: Sequence[Stretch], now: datetime) -> "Lookback":
        """Return the lookback after the server's total has shown that nothing has appeared in a group."""
        quiet = {each.window for each in group}
        stretches = (
            attrs.evolve(each, looked_at=now, is_quiet=True) if each.window in quiet else each
            for each in self.stretches
        )
        return attrs.evolve(self, stretches=tuple(stretches))

    def due(self, age: timedelta, patience: timedelta, now: datetime) -> tuple[Stretch, ...]:
        """Return the stretches that have an age, and were not looked at since; one group of neighbours.

        Looking at several together takes fewer requests. So none is due until the oldest one has waited for `patience`.
        """
        due = [
            place for place, each in enumerate(self.stretches) if not each.was_looked_at(age) and each.end + age <= now
        ]
        is_time = due and self.stretches[due[0]].end + age + patience <= now
        return self.stretches[due[0] : due[-1] + 1] if is_time else ()

    def groups(self, lookback: timedelta, now: datetime) -> list[tuple[Stretch, ...]]:
        """Return the stretches that were looked at before now, in groups: the quiet ones, and then the others.

        Those come first that were not looked at for the longest time.
        """
        # A quiet stretch belongs to the group of its neighbours; each other one is a group of its own.
        waiting = [each for each in self.stretches if not each.was_looked_at(lookback)]
        grouped = groupby(waiting, key=lambda each: each.is_quiet or each.window)
        groups = [tuple(group) for _, group in grouped]
        older = [group for group in groups if min(each.looked_at for each in group) < now]
        return sorted(older, key=lambda group: (not group[0].is_quiet, min(each.looked_at for each in group)))

    def without_left(self, lookback: timedelta) -> "Lookback":
        """Return the lookback without the oldest stretches that were looked at after the lookback.

        Those near the position are kept: new time begins on the last second of a stretch, and the server may be
        replicas that differ.
        """
        horizon = self.stretches[-1].end - HORIZON
        left = list(takewhile(lambda each: each.was_looked_at(lookback) and each.end < horizon, self.stretches))
        return attrs.evolve(self, stretches=self.stretches[len(left) :])


def _start(stretch: Stretch) -> datetime:
    return stretch.window.start
