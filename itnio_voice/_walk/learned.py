"""What a session learns about the server: the longest window, and whether its totals are right. Pure."""

from collections.abc import Hashable
from datetime import timedelta
from typing import TypeVar

import attrs

from .._model.windows import LONGEST, SECOND, SHORTEST

__all__ = ["Learned", "SpanLimit"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

GROWTH = 4
"""A trial is this many times as long as the longest answered window; a step of a search, as the step before it."""
TRIAL_AFTER = TRIAL_BACKOFF = 16
"""The number of complete windows at the limit before a longer one is tried, and its factor after a failed trial."""
WORTH_A_TRIAL = 32
"""A longer window is tried only if the rest of the range takes at least this many windows at the limit."""
MAX_TOTALS = 1_000
"""The maximum number of totals that are remembered."""
MAX_MISSED_OVERLAPS = 3
"""After this many windows in a row, the order of the records is taken to depend on the page size."""
MAX_QUERIES = 100
"""The maximum number of queries of which the density is remembered."""
REPRESENTATIVE = 4
"""A range may be at most this many times as long as the one whose density is used for it."""
CLEARLY_WIDER = 1.25
"""How much wider a window must be for its total to be expected to be larger."""
ROUND_TOTAL = 1_000
"""Servers that cap totals cap them at a multiple of this."""


@attrs.define(eq=False, repr=False)
class SpanLimit:
    """The longest window that the server answered, and the shortest that it refused or failed to answer.

    A refusal may be a temporary fault of the server. So after some windows at the limit, a longer one is tried again.
    """

    answered: timedelta = timedelta()
    refused: timedelta | None = None
    _at_limit: int = 0
    _trial_after: int = TRIAL_AFTER

    @property
    def first(self) -> timedelta:
        """The width of a walk's first window."""
        return self.bounded(LONGEST)

    def bounded(self, width: timedelta, rest: timedelta = timedelta()) -> timedelta:
        """Return the width to use instead of `width`: at most the limit, except in a trial.

        `rest` is the length of the range that is still to be read. A longer window is tried only if that would save
        many requests.
        """
        if self.refused is None:
            limit = LONGEST
        elif self._at_limit < self._trial_after or rest < WORTH_A_TRIAL * self.answered:
            limit = max(self.answered, self.refused / 2)
        else:
            limit = min(GROWTH * self.answered, LONGEST)
        return max(min(width, limit) // SECOND * SECOND, SHORTEST)

    def answer(self, width: timedelta) -> None:
        """Record that a page of a window of `width` was answered."""
        self.answered = max(self.answered, width)
        if self.refused is not None and width >= self.refused:
            self.refused, self._at_limit, self._trial_after = None, 0, TRIAL_AFTER

    def complete(self, width: timedelta) -> None:
        """Record that a window of `width` is complete."""
        self._at_limit += self.refused is not None and 2 * width >= self.answered

    def refuse(self, width: timedelta) -> None:
        """Record that a window of `width` was too long."""
        if self._at_limit >= self._trial_after:
            self._trial_after *= TRIAL_BACKOFF
        self._at_limit = 0
        self.refused = width if self.refused is None else min(self.refused, width)
        if self.answered >= self.refused:
            self.answered = SHORTEST


def _remember(memory: dict[K, V], key: K, value: V, most: int) -> None:
    """Put an entry at the end of a memory, and forget the oldest one if there are more than `most`."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > most:
        del memory[next(iter(memory))]


@attrs.define(eq=False, repr=False)
class Learned:
    """What the streams of a session have learned about the server, shared between them."""

    span_limit: SpanLimit = attrs.field(factory=SpanLimit)
    trusts_totals: bool = True
    """False once an answer had more records than its own total allows."""
    proven_total: int = 0
    """The largest total that the last page of its window has confirmed: totals are not capped below it."""
    end_margin: timedelta = timedelta()
    """A window must end at least this long before the server's time: the server refuses later ends."""
    shared_ids: set[Hashable] = attrs.field(factory=set)
    """The ids that different records have in common."""
    honours_sizes: bool = True
    """False once the server did not answer a page of an unusual size as requested."""
    keeps_order: bool = True
    """False once the order of the records seems to depend on the page size."""
    missed_overlaps: int = 0
    """The number of windows in a row with a page that did not repeat the last rows of the page before."""
    _totals: dict[int, timedelta] = attrs.field(factory=dict)
    _densities: dict[Hashable, tuple[timedelta, int]] = attrs.field(factory=dict)
    """The time that a stream covered, and its number of records, by query."""

    def learn_density(self, query: Hashable, covered: timedelta, records: int) -> None:
        """Record how many records a stream of a query has returned; a much shorter one than before teaches nothing."""
        if 2 * covered >= self._densities.get(query, (timedelta(), 0))[0]:
            _remember(self._densities, query, (covered, records), MAX_QUERIES)

    def density(self, query: Hashable, span: timedelta) -> float | None:
        """Return the expected records per second of a range; None if no stream has covered a good share of its length.

        The density of a busy hour is not that of a month.
        """
        covered, records = self._densities.get(query, (timedelta(), 0))
        return records / covered.total_seconds() if covered and REPRESENTATIVE * covered >= span else None

    def miss_overlap(self) -> None:
        """Record that a page did not repeat the last rows of the page before, though the total was the same."""
        self.missed_overlaps += 1
        self.keeps_order &= self.missed_overlaps < MAX_MISSED_OVERLAPS

    def is_suspicious(self, total: int, span: timedelta) -> bool:
        """Return whether a total may be a cap: a round number, or also the total of a window that is clearly wider.

        Windows of about the same length often have the same total by chance. The total is remembered for later windows.
        """
        wider = self._totals.get(total, timedelta())
        _remember(self._totals, total, max(wider, span), MAX_TOTALS)
        return total % ROUND_TOTAL == 0 or wider > CLEARLY_WIDER * span
