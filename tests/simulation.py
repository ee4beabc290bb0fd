"""Scenarios drawn from a seed: a server that does what it likes, and readers that are stopped and go on at any moment.

The server is the sandbox, asked inside this process, with every switch and every fault that it has; time is virtual, so
that waits cost nothing. Between any two requests a record may appear anywhere, the oldest may expire, the server's
clock may jump, and the reader may be cancelled. What must hold in the end is in `Scenario.judge`.
"""

import asyncio
import math
import random
import selectors
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any, get_args

import anyio
import attrs
import httpx
import trio
import trio.testing

from itnio_voice import (
    Checkpoint,
    Credentials,
    IncompleteWindowError,
    ItnioError,
    ProtocolError,
    Retry,
    ServerError,
    SipRecord,
    TimeRangeError,
    TimestampExpiredError,
    TransportError,
    VoiceRecord,
    VoiceSession,
    Window,
)
from itnio_voice import walk as walking
from itnio_voice.sandbox import Behaviour, Fault, Sandbox
from itnio_voice.sandbox.behaviour import Appears, Ends, FaultKind, Order, PastLast, SelectsBy
from itnio_voice.sandbox.store import Selection

__all__ = ["Scenario", "simulate"]

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PATIENCE = 10
"""So many errors a reader takes before it gives up."""
MOST_CHANGES = 60
"""So many records come and go: a server that changes for ever never adds up."""
MOST_STOPS = 60
"""So often readers are stopped."""
SLOW = frozenset({"hang", "drip"})
"""The faults that end only with a timeout."""


@attrs.define
class Scenario:
    """A server, and the calls that are made of it. `real` is over a socket, with the session's own client."""

    chance: Random
    real: bool
    loop_time: Callable[[], float]

    length: int = attrs.field(init=False)
    sandbox: Sandbox = attrs.field(init=False)
    skew: float = attrs.field(init=False)
    tempo: float = attrs.field(init=False)
    appearing: float = attrs.field(init=False)
    expiring: float = attrs.field(init=False)
    cancelling: float = attrs.field(init=False)
    leaving: float = attrs.field(init=False)
    of: type[Any] = attrs.field(init=False)
    expired: Any = attrs.field(init=False)
    quiet: bool = attrs.field(init=False)
    latest: float = attrs.field(init=False)

    began: float = attrs.field(default=0.0, init=False)
    seconds: dict[str, int] = attrs.field(factory=dict, init=False)
    changes: int = attrs.field(default=0, init=False)
    scope: anyio.CancelScope | None = attrs.field(default=None, init=False)
    found: Counter[str] = attrs.field(factory=Counter, init=False)
    came: set[str] = attrs.field(factory=set, init=False)
    twice: set[str] = attrs.field(factory=set, init=False)
    skipped: list[Window] = attrs.field(factory=list, init=False)
    errors: list[ItnioError] = attrs.field(factory=list, init=False)
    whole: bool = attrs.field(default=False, init=False)
    beyond: bool = attrs.field(default=False, init=False)
    stops: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Draw everything."""
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
        ago = chance.choice([100_000, 100_000, 100, 3, 0, -(self.length // 2)])
        self.tempo = chance.choice([1, 1, 0.01, 30 if ago == 100_000 else 2])
        age = self.length + ago
        self.began = self.loop_time()
        self.sandbox = Sandbox(
            start=START,
            end=START,
            behaviour=self._behaviour(age),
            seed=chance.randrange(1000),
            clock=lambda: START.timestamp() + age + self.tempo * (self.loop_time() - self.began),
            on_request=self.live,
        )
        self.latest = self._told_now()
        behaviour = self.sandbox.behaviour
        self.quiet = not self.appearing and ago == 100_000 and behaviour.retention is None and not self.expiring
        crowd = chance.randrange(self.length)
        for _ in range(chance.randrange(60)):
            self.insert(crowd if chance.random() < 0.2 else chance.randrange(-2, self.length + 2))

    def _behaviour(self, age: int) -> Behaviour:
        chance = self.chance

        def rarely(share: float, value: Any, else_: Any = 0) -> Any:
            return value if chance.random() < share else else_

        # Drawn apart, so that the other draws of a seed stay what they were.
        apart = Random()
        apart.setstate(chance.getstate())
        kinds = [kind for kind in get_args(FaultKind) if kind != "surplus" and not (self.real and kind in SLOW)]
        faults = [
            Fault(chance.choice(kinds), chance.choice([0.01, 0.05, 0.2]), retry_after=rarely(0.1, 0.1, None))
            for _ in range(chance.choice([0, 0, 1, 3]))
        ]
        faults += [Fault("surplus", apart.choice([0.05, 0.5])) for _ in range(apart.choice([0, 0, 0, 1]))]
        least = 2 + self.length // 200  # a walk in windows of two seconds takes its time
        edge = chance.choice([None, None, -5, -1, 0, self.length // 3, self.length])
        return Behaviour(
            ends=chance.choice(get_args(Ends)),
            order=(order := chance.choice(["ascending", "ascending", *get_args(Order)])),
            selects_by=chance.choice(get_args(SelectsBy)),
            past_last=chance.choice(get_args(PastLast)),
            always_first_page=bool(rarely(0.01, value=True)),
            appears=chance.choice(get_args(Appears)),
            late_share=rarely(0.2, 0.3),
            late_by=chance.choice([1, 30]),
            changes_after=rarely(0.1, 10.0, None),
            duplicates=rarely(0.1, 0.1),
            max_span=SECOND * max(least, chance.choice([10**8, 10**8, 2, 7, 60, self.length // 2 + 2])),
            retention=None if edge is None else SECOND * max(age - edge, 1),
            refuses_beyond_retention=chance.random() < 0.7,
            max_size=max(chance.choice([1, 2, 3, 5, 100, 100]), _least_page(order)),
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
            rate_limit_window=apart.choice([1, 60]),
            rate_limit_retry_after=apart.random() < 0.5,
            faults=tuple(faults),
        )

    # What happens on the server

    def insert(self, at: int) -> str:
        """Add a record of a second; return its mark, which is what tells it here."""
        mark = f"m{len(self.seconds)}"
        self.seconds[mark] = at
        when = (START + at * SECOND).isoformat()
        fields: dict[str, Any] = dict.fromkeys(("submitTime", "callTime", "hangupTime"), when)
        fields |= {"voiceId": mark, "mark": mark}
        if self.chance.random() < 0.02 and self.sandbox.behaviour.changes_after is None:
            fields["voiceId"] = self.chance.choice([None, "", ...])
        self.sandbox.insert(fields, kind=self.kind)
        return mark

    def expire(self) -> None:
        """Remove the oldest record."""
        there = self.visible()
        if there:
            oldest = min(there, key=lambda mark: (self.seconds[mark], int(mark[1:])))
            sql = "DELETE FROM records WHERE json_extract(wire, '$.mark') = ?"
            self.sandbox._opened()._connection.execute(sql, (oldest,))

    def live(self, sandbox: Sandbox, _: int) -> None:
        """Let things happen before a request is looked at."""
        chance = self.chance
        if self.changes < MOST_CHANGES and chance.random() < self.appearing:
            self.came.add(self.insert(chance.randrange(-1, self.length + 1)))
            self.changes += 1
        if self.changes < MOST_CHANGES and chance.random() < self.expiring:
            self.expire()
            self.changes += 1
        if chance.random() < 0.002:
            sandbox.behaviour = attrs.evolve(sandbox.behaviour, clock_skew=chance.choice([0, self.skew]))
            self.changes += 1
        self.latest = min(self.latest, self._told_now())
        if self.scope and not self.real and self.stops < MOST_STOPS and chance.random() < self.cancelling:
            self.scope.cancel()

    @property
    def kind(self) -> Any:
        """The sandbox's name of the kind of records."""
        return "group" if self.of is VoiceRecord else "sip"

    def visible(self) -> set[str]:
        """Return the marks of the records that the server shows now."""
        sandbox = self.sandbox
        selection = Selection(sandbox.api_key, self.kind, sandbox.behaviour, sandbox._clock())
        sql = f"SELECT json_extract(wire, '$.mark') FROM ({selection.query})"  # noqa: S608 -- from constants
        return {mark for (mark,) in sandbox._opened()._all(sql, selection.values)}

    def _told_now(self) -> float:
        """Return the least second that a client may take for now."""
        sandbox = self.sandbox
        return sandbox._clock() + min(sandbox.behaviour.clock_skew, 0) - START.timestamp() - 2

    # What readers do

    async def run(self) -> None:
        """Make calls that adjoin, one after the other, and judge what they gave."""
        chance, sandbox = self.chance, self.sandbox
        cuts = sorted({0, self.length, *(chance.randrange(self.length + 1) for _ in range(chance.choice([0, 0, 2])))})
        client = None if self.real else httpx.AsyncClient(transport=httpx.ASGITransport(sandbox.app))
        session = VoiceSession(
            Credentials(sandbox.api_key, sandbox.api_secret),
            base_url=sandbox.base_url if self.real else "http://127.0.0.1/voice",
            http_client=client,
            concurrency=chance.choice([1, 2, 4, 8]),
            timeout=0.2 if self.real else 5,
            retry=Retry(
                attempts=chance.choice([2, 3, 6]),
                total=3 if self.real else 120,
                wait_initial=0.001 if self.real else 0.5,
                jitter=0.001 if self.real else 1,
            ),
        )
        session._transport.clock = sandbox._clock
        there = self.visible()
        self.came = self.seconds.keys() - there
        async with session:
            self.whole = True
            for start, end in pairwise(cuts):
                self.whole = self.whole and await self.read(session, start, end)
        self.judge(there & self.visible() if self.whole else set())

    async def read(self, session: VoiceSession, start: int, end: int) -> bool:
        """Read a range in a way drawn at random; tell whether it was read to its end."""
        chance = self.chance
        way = chance.choice(["records", "pages", "windows"])
        first, last = START + start * SECOND, START + end * SECOND
        now = datetime.fromtimestamp(session._transport.now(), UTC)
        # Where the server's clock is hours ahead, there are as many hours to walk: not in windows of seconds.
        wide = self.sandbox.behaviour.max_span >= 60 * SECOND
        until_now = end == self.length and first < now <= last and self.skew > 0 and wide
        self.beyond |= until_now
        size = max(chance.choice([1, 2, 5, 100]), _least_page(self.sandbox.behaviour.order))
        checkpoint: Checkpoint | None = None
        mine: list[str] = []
        while True:
            stream = session.records(
                first,
                None if until_now else last,
                of=self.of,
                page_size=size,
                resume=checkpoint,
                expired=self.expired,
            )
            before = len(mine)
            ended = False
            try:
                reading = stream.__aiter__() if way == "records" else getattr(stream, way)()
                async with aclosing(self.items(reading)) as items:
                    async for item in items:
                        mine += [record.extra["mark"] for record in ([item] if way == "records" else item.records)]
                        checkpoint = item.checkpoint if way == "windows" else None
                        if self.stops < MOST_STOPS and chance.random() < self.leaving:
                            break
                    else:
                        ended = True
            except ItnioError as error:
                self.check(error)
            self.skipped += stream.skipped
            if ended or len(self.errors) > PATIENCE:
                self.found.update(mine)
                return ended
            self.stops += 1
            if way == "windows":
                checkpoint = Checkpoint.parse(str(checkpoint or stream.checkpoint))
            else:
                # At least once: what came since the checkpoint may come again.
                checkpoint = stream.checkpoint
                self.twice.update(mine[before:])

    async def items(self, reading: AsyncIterator[Any]) -> AsyncGenerator[Any]:
        """Read on after cancellations, and at times after errors."""
        while True:
            item = None
            with anyio.CancelScope() as self.scope:
                if self.real and self.chance.random() < self.cancelling:
                    self.scope.deadline = anyio.current_time() + self.chance.random() / 100
                try:
                    item = await anext(reading, None)
                except ItnioError as error:
                    if isinstance(error, TimeRangeError) or self.chance.random() < 0.5:
                        raise
                    self.check(error)
                    continue
            if item is not None:
                yield item
            elif self.scope.cancelled_caught:
                self.stops += 1
            else:
                return

    # What must hold

    def check(self, error: ItnioError) -> None:
        """Refuse an error for which the server gave no reason."""
        self.errors.append(error)
        behaviour = self.sandbox.behaviour
        faults = bool(behaviour.faults or behaviour.rate_limit)
        vague = "total" in behaviour.omits or behaviour.order == "unstable" or behaviour.duplicates
        reason = {
            TimeRangeError: self.expired == "raise" and behaviour.retention and behaviour.refuses_beyond_retention,
            IncompleteWindowError: not self.quiet or vague or behaviour.always_first_page,
            ServerError: faults or behaviour.window_fails_over is not None,
            ProtocolError: faults or behaviour.always_first_page or (vague and behaviour.past_last == "first"),
            TimestampExpiredError: behaviour.clock_skew or self.changes,
            TransportError: faults,
        }
        assert any(allowed for kind, allowed in reason.items() if isinstance(error, kind)), repr(error)

    def judge(self, there: set[str]) -> None:
        """Hold the promises; `there` are the records that were there from the first request to the last."""
        behaviour = self.sandbox.behaviour
        edge = self.sandbox._clock() - START.timestamp()
        edge -= math.inf if behaviour.retention is None else behaviour.retention.total_seconds()
        end = min(self.length, self.latest)
        # At the limit of retention the second before a range cannot be asked for, and what lies on its start may come
        # with the range before, too, or with neither.
        kept = max(0, math.floor(max(edge, -1) + 1)) + 1
        must = {mark for mark in there if kept <= self.seconds[mark] < end and not self._skips(self.seconds[mark])}
        # What appears once a walk has begun may be of the second before it.
        last = sys.maxsize if self.beyond else self.length
        strange = {mark for mark in self.found if not -(mark in self.came) <= self.seconds[mark] <= last}
        # What appears on the second that a skipped part ends with may be of it, where a resumed walk can read it.
        ends = {(window.end - START) // SECOND for window in self.skipped}
        free = {mark for mark in self.found if mark in self.came and self.seconds[mark] in ends} | self.twice
        lost = must - self.found.keys()
        doubled = {mark for mark, count in self.found.items() if count > 1 and self.seconds[mark] >= kept} - free

        assert not lost, f"lost: {sorted(lost)}"
        assert not doubled, f"doubled: {sorted(doubled)}"
        assert not strange, f"not of the range: { ({mark: self.seconds[mark] for mark in strange}) }"
        for window in self.skipped:
            # A minute of resolution, and another one for a limit that moves.
            assert self.expired == "skip"
            assert behaviour.refuses_beyond_retention
            assert (window.end - START) / SECOND <= edge + 123, f"skipped {window}, but the limit is {edge}"
        assert self.sandbox.in_flight == 0

    def _skips(self, at: int) -> bool:
        return any(window.start <= START + at * SECOND <= window.end for window in self.skipped)


def _least_page(order: Order) -> int:
    """Return the least size of pages: a few records in another order each time are soon the same twice, by chance."""
    return 10 if order == "unstable" else 1


class _Jumping(selectors.DefaultSelector):
    """Does not wait: the clock jumps to the next moment at which something is due."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for something else"
            self.now += max(timeout, 0)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def simulate(seed: int, *, real: bool = False) -> Scenario:
    """Run the scenario of a seed: on asyncio, each third on trio; `real` is over a socket and in real time."""
    chance = Random(seed)
    random.seed(seed)  # what waits are drawn from
    scenarios: list[Scenario] = []

    async def main() -> None:
        tasks = anyio.get_running_tasks()
        # The sandbox's thread has another event loop, and so another clock.
        scenario = Scenario(chance, real, time.monotonic if real else anyio.current_time)
        scenarios.append(scenario)
        if real:
            async with scenario.sandbox:
                await scenario.run()
        else:
            try:
                await scenario.run()
            finally:
                scenario.sandbox.close()
        assert tasks == anyio.get_running_tasks()

    deepest, fitting = walking.DEEPEST, walking.FITTING
    walking.DEEPEST, walking.FITTING = chance.choice([(10_000, 5_000), (20, 10), (6, 3)])
    try:
        if seed % 3 == 2:
            trio._core._run._r.seed(seed)  # what trio draws the order of tasks from
            options = {} if real else {"clock": trio.testing.MockClock(autojump_threshold=0)}
            anyio.run(main, backend="trio", backend_options=options)
        else:
            anyio.run(main, backend_options={} if real else {"loop_factory": _VirtualLoop})
    except BaseException as error:
        error.add_note(f"the scenario's seed is {seed}")
        raise
    finally:
        walking.DEEPEST, walking.FITTING = deepest, fitting
    return scenarios[0]
