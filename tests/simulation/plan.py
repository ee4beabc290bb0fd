"""The plan of a scenario: everything that is drawn from its seed before it starts."""

from datetime import timedelta
from random import Random
from typing import Any

import attrs

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice.sandbox import Behaviour, Fault
from itnio_voice.sandbox.behaviour import Order

__all__ = ["DAY", "SECOND", "Plan"]

SECOND = timedelta(seconds=1)
DAY = 86_400
PAST = 100_000
"""Seconds between the end of a past range and the server's clock."""

# Not `get_args`: a new choice would change the scenario of every seed. Traits draw the newer ones.
ENDS: Any = ("[)", "[]", "(]", "()")
ORDERS: tuple[Order, ...] = ("ascending", "ascending", "ascending", "descending", "unstable")
SELECTS_BY: Any = ("submit_time", "call_time", "hangup_time")
PAST_LAST: Any = ("empty", "first", "first_silent")
APPEARS: Any = ("submitted", "finished")
FAULTS: Any = (
    *("status_500", "status_502", "status_503", "status_429", "system_error", "html", "empty", "truncated"),
    *("half_body", "drop", "hang", "drip"),
)
SLOW = frozenset({"hang", "drip"})
"""The faults that end only with a timeout."""


@attrs.define
class Plan:
    """A server's traits and a reader's habits. `real` is over a socket; times are in seconds.

    `chance` is the random source of scenarios without traits, `more` that of traits.
    """

    chance: Random
    more: Random
    real: bool
    traits: tuple[str, ...] = ()

    # The server
    length: int = 0
    ago: int = PAST
    tempo: float = 1.0
    skew: float = 0.0
    seed: int = 0
    behaviour: Behaviour = attrs.field(factory=Behaviour)
    appearing: float = 0.0
    expiring: float = 0.0
    swapping: float = 0.0
    """The share of requests before which one record appears and one expires."""
    most_changes: int = 60
    """A server that changes forever never adds up."""
    deep: int = 10_000
    """The number of records above which the reader narrows a window."""
    crowds: list[tuple[int, int]] = attrs.field(factory=list)
    """Seconds with many records, and their numbers."""
    rows: int | None = None
    """The number of other records; None draws it."""
    shared_id: str = ""
    """`second` shares an id between records of one second, `everywhere` between any records."""
    spelled: bool = False
    """Whether the times of records are written in different notations."""
    newest: int = 0
    """The number of records that have just arrived when the scenario starts."""
    hot: list[int] = attrs.field(factory=list)
    """Seconds on which most records appear and expire, and ranges that are counted begin."""
    per_second: float = 0.0
    per_request: float = 0.0
    late: float = 0.0
    """Live traffic: new records in virtual time, between two requests, and the share of late ones."""

    outage: tuple[Fault, ...] = ()
    outage_from: int = 0
    """Faults that start at the request with this number."""
    warm_up: int = 0
    """The seconds of live traffic before the scenario starts."""

    # The reader
    of: type[Any] = VoiceRecord
    expired: Any = "raise"
    cancelling: float = 0.0
    leaving: float = 0.0
    patience: float | None = None
    """The seconds after which a reader cancels waiting for an item, and tries again."""
    concurrency: int | None = None
    ahead: int = 0
    """The number of pages to read ahead; 0 reads without it."""
    attempts: int | None = None
    page_size: int | None = None
    first_part: int = 0
    """The seconds of the first part of a stream that is read backwards; 0 reads forwards."""
    limit: int | None = None
    """The limit of the first stream; it is doubled for each stream that resumes from there."""
    machine_skew: float = 0.0
    fractions: bool = False
    shuffled: bool = False
    open_end: bool | None = None
    """Whether the last range has no end; None decides by the server's clock."""
    lookback: int = 0
    """The lookback of a follower in seconds; 0 reads ranges."""
    every: int = 30
    """The seconds between two polls of a follower."""
    counts: int = 0
    """The number of ranges that are counted, each together with its parts; 0 reads ranges."""
    few: int = 1_000
    """The number of records up to which a window is read instead of counted in halves."""
    rounds: int = 0
    """The number of times that a synchronisation resumes from its checkpoint; 0 reads adjacent ranges."""
    tight: bool = False
    """Whether few requests are expected, because the server misbehaves in one way only."""

    @property
    def age(self) -> int:
        """The seconds from the start of the range to the server's clock when the scenario starts."""
        return self.length + self.ago

    def rarely(self, share: float, value: Any, else_: Any = 0) -> Any:
        """Return a value in a share of the scenarios, otherwise another one."""
        return value if self.chance.random() < share else else_

    def draw(self) -> None:
        """Draw a scenario without traits."""
        chance = self.chance
        self.length = chance.choice([1, 2, 5, 30, 300, 5000])
        self.appearing, self.expiring = chance.choice(
            [(0, 0), (0, 0), (0.02, 0), (0.1, 0.05), (0.2, 0.2), (0.03, 0.03)]
        )
        self.cancelling = chance.choice([0, 0, 0, 0.02, 0.2])
        self.leaving = chance.choice([0, 0, 0.05, 0.3])
        self.of = chance.choice([VoiceRecord, VoiceRecord, SipRecord])
        self.expired = chance.choice(["raise", "skip", "skip"])
        self.skew = chance.choice([-7200, 7200])
        self.ago = chance.choice([PAST, PAST, 100, 3, 0, -(self.length // 2)])
        self.tempo = chance.choice([1, 1, 0.01, 30 if self.ago == PAST else 2])
        self.behaviour = self._draw_behaviour()
        self.seed = chance.randrange(1000)

    def _draw_behaviour(self) -> Behaviour:
        chance, rarely = self.chance, self.rarely
        kinds = [kind for kind in FAULTS if not (self.real and kind in SLOW)]
        faults = [
            Fault(chance.choice(kinds), chance.choice([0.01, 0.05, 0.2]), retry_after=rarely(0.1, 0.1, None))
            for _ in range(chance.choice([0, 0, 1, 3]))
        ]
        if self.real and self.more.random() < 0.3:
            faults.append(Fault("surplus", self.more.choice([0.05, 0.5])))
        least = 2 + self.length // 200  # a walk in windows of two seconds takes a while
        edge = chance.choice([None, None, -5, -1, 0, self.length // 3, self.length])
        return Behaviour(
            ends=chance.choice(ENDS),
            order=(order := chance.choice(ORDERS)),
            selects_by=chance.choice(SELECTS_BY),
            past_last=chance.choice(PAST_LAST),
            always_first_page=bool(rarely(0.01, value=True)),
            appears=chance.choice(APPEARS),
            late_share=rarely(0.2, 0.3),
            late_by=chance.choice([1, 30]),
            changes_after=rarely(0.1, 10.0, None),
            duplicates=rarely(0.1, 0.1),
            max_span=SECOND * max(least, chance.choice([10**8, 10**8, 2, 7, 60, self.length // 2 + 2])),
            retention=None if edge is None else SECOND * max(self.age - edge, 1),
            refuses_beyond_retention=chance.random() < 0.7,
            max_size=max(chance.choice([1, 2, 3, 5, 100, 100]), least_page(order)),
            timestamp_tolerance=30,
            clock_skew=rarely(0.2, self.skew),
            omits=rarely(0.2, chance.sample(["total", "size", "current", "pages"], chance.randrange(1, 5)), ()),
            null_records=chance.random() < 0.3,
            numbers_as_text=chance.random() < 0.1,
            status_as_number=chance.random() < 0.1,
            byte_order_mark=chance.random() < 0.1,
            gzip=chance.random() < 0.1,
            latency=0 if self.real else chance.choice([0, 0.01, 0.3, 2]),
            window_fails_over=rarely(0.1, chance.choice([5, 20]), None),
            rate_limit=None if self.real else rarely(0.05, 20, None),
            faults=tuple(faults),
        )

    def calm(self, **switches: Any) -> None:
        """Make the server correct and static except for some switches, and the reader patient."""
        self.appearing = self.expiring = self.cancelling = self.leaving = self.skew = 0
        self.ago, self.tempo, self.tight = PAST, 1, True
        order = self.behaviour.order
        honest = Behaviour(
            retention=None,
            timestamp_tolerance=30,
            ends=self.behaviour.ends,
            order="ascending" if order == "unstable" else order,
            past_last=self.behaviour.past_last,
            selects_by=self.behaviour.selects_by,
            null_records=self.behaviour.null_records,
            latency=self.behaviour.latency,
        )
        self.behaviour = attrs.evolve(honest, **switches)

    def change(self, **switches: Any) -> None:
        """Set switches on a server that is otherwise correct, or in a third of the scenarios has other faults."""
        if self.more.random() < 2 / 3:
            self.calm()
        self.behaviour = attrs.evolve(self.behaviour, **switches)


def least_page(order: Order) -> int:
    """Return the smallest page size: a few records in random order are soon equal twice by chance."""
    return 10 if order == "unstable" else 1
