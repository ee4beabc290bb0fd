"""The reader of a scenario: adjacent calls, or a synchronisation, stopped and resumed at any moment."""

import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, nullcontext
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import attrs
import httpx

from itnio_voice import (
    Checkpoint,
    Credentials,
    FollowCheckpoint,
    ItnioError,
    PrefetchedStream,
    RecordStream,
    Retry,
    SipRecord,
    TimeRangeError,
    VoiceSession,
    Window,
)

from .counts import Counted
from .plan import SECOND, Plan, least_page
from .server import GROUPS, START, Server

__all__ = ["Call", "Reader"]

PATIENCE = 10
"""The number of errors after which a reader gives up; two, if the server misbehaves in one way only."""
MOST_STOPS = 60
"""The number of times that readers are stopped."""
STOPS_OF_COUNT = 3
"""The number of times that a count is cancelled: it begins again each time."""


@attrs.define
class Call:
    """A range that was read: its ends in seconds from START, the last None for now, and its records."""

    start: float
    end: float | None
    marks: list[str] = attrs.field(factory=list)
    twice: set[str] = attrs.field(factory=set)
    """Records that may be returned again, because they followed the checkpoint that was resumed from."""
    skipped: list[Window] = attrs.field(factory=list)
    checkpoint: Checkpoint | None = None
    resumed: set[datetime] = attrs.field(factory=set)
    """Where streams began again: the ends of the windows in their checkpoints."""
    ended: bool = False

    @property
    def found(self) -> Counter[str]:
        """The number of times that each record was returned."""
        return Counter(self.marks)


@attrs.define
class Reader:
    """Reads a server according to its plan; `check` is called with each error."""

    plan: Plan
    server: Server
    check: Callable[[ItnioError], None]

    calls: list[Call] = attrs.field(factory=list, init=False)
    counts: list[Counted] = attrs.field(factory=list, init=False)
    concurrency: int = attrs.field(default=1, init=False)
    attempts: int = attrs.field(default=1, init=False)
    page_size: int = attrs.field(default=100, init=False)
    errors: int = attrs.field(default=0, init=False)
    retries: int = attrs.field(default=0, init=False)
    """The number of errors after which a stream was continued."""
    streams: int = attrs.field(default=0, init=False)
    stops: int = attrs.field(default=0, init=False)
    """The number of cancellations and of readings that were left early."""
    followed_until: float | None = attrs.field(default=None, init=False)
    """The server's time after which a follower read on only to find late records."""
    _followed: FollowCheckpoint | None = attrs.field(default=None, init=False)
    _scope: anyio.CancelScope | None = attrs.field(default=None, init=False)

    async def run(self) -> bool:
        """Read; return whether everything was read to the end."""
        plan, chance, server = self.plan, self.plan.chance, self.server
        numbers = {0, plan.length, *(chance.randrange(plan.length + 1) for _ in range(chance.choice([0, 0, 2])))}
        cuts: list[float] = sorted(numbers)
        if plan.fractions:
            seconds = sorted({*numbers, *(second for second, _ in plan.crowds)})
            # In some scenarios, two boundaries are within one second: that range is empty.
            seconds += [plan.more.choice(seconds)] * (plan.more.random() < 0.2)
            cuts = sorted({second + plan.more.choice([0, 0.25, 0.5, 0.999]) for second in seconds})
        async with self._session() as session:
            if plan.lookback:
                return await self._follow(session)
            if plan.rounds:
                return await self._synchronise(session)
            if plan.counts:
                return await self._count_ranges(session)
            ranges = list(pairwise(cuts))
            server.cancel = self._cancel
            if plan.shuffled:
                plan.more.shuffle(ranges)
            for start, end in ranges:
                if not await self._read(session, start, end, last=end == cuts[-1]):
                    return False
        return True

    def _session(self) -> VoiceSession:
        plan, sandbox, chance = self.plan, self.server.sandbox, self.plan.chance
        client = None if plan.real else httpx.AsyncClient(transport=httpx.ASGITransport(sandbox.app))
        drawn = chance.choice([1, 2, 4, 8]), chance.choice([2, 3, 6])
        self.concurrency, self.attempts = plan.concurrency or drawn[0], plan.attempts or drawn[1]
        session = VoiceSession(
            Credentials(sandbox.api_key, sandbox.api_secret),
            base_url=sandbox.base_url if plan.real else "http://127.0.0.1/voice",
            http_client=client,
            concurrency=self.concurrency,
            timeout=60 if plan.real else 5,
            retry=Retry(
                attempts=self.attempts,
                total=120,
                wait_initial=0.001 if plan.real else 0.5,
                jitter=0.001 if plan.real else 1,
            ),
        )
        # No argument sets the clock of a session.
        session._transport.clock = lambda: self.server.clock() + plan.machine_skew
        return session

    def _cancel(self) -> None:
        """Cancel the reading, in a share of the requests."""
        if self._scope and self.stops < MOST_STOPS and self.plan.chance.random() < self.plan.cancelling:
            self._scope.cancel()

    async def _read(self, session: VoiceSession, start: float, end: float, *, last: bool) -> bool:
        """Read a range in a randomly drawn way; return whether it was read to its end."""
        plan, chance = self.plan, self.plan.chance
        way = chance.choice(["records", "pages", "windows"])
        way, limit = ("records" if plan.limit else way), plan.limit
        drawn = max(chance.choice([1, 2, 5, 100]), least_page(plan.behaviour.order))
        self.page_size = plan.page_size or drawn
        self.calls.append(call := Call(start, None if last and self._is_open(start, end) else end))
        began = self.server.requests
        while True:
            call.resumed.update(window.end for window in (call.checkpoint.done if call.checkpoint else ()))
            stream = self._stream(session, call, call.checkpoint, limit)
            before = len(call.marks)
            error = await self._read_stream(call, stream, way)
            call.skipped += stream.skipped
            if limit and stream.progress.records == limit:
                call.ended, limit = False, 2 * limit
            if call.ended or self._gives_up:
                call.checkpoint = stream.checkpoint
                if not plan.real and call.end is not None and math.floor(start) == math.floor(end):
                    assert self.server.requests == began, "a range within one second needs no request"
                return call.ended
            self.stops += error is None
            if way == "windows":
                call.checkpoint = Checkpoint.parse(str(call.checkpoint or stream.checkpoint))
            else:
                # At-least-once: records after the checkpoint may be returned again.
                call.checkpoint = stream.checkpoint
                call.twice.update(call.marks[before:])

    def _is_open(self, start: float, end: float) -> bool:
        """Decide whether a range is read up to now, without an end."""
        plan, now = self.plan, self.server.second()
        if plan.open_end is not None:
            return plan.open_end
        # If the server's clock is hours ahead, those hours are read as well: not in windows of seconds.
        return start < now <= end and plan.skew > 0 and self.server.sandbox.behaviour.max_span >= 60 * SECOND

    def _stream(
        self, session: VoiceSession, call: Call, checkpoint: Checkpoint | None, limit: int | None = None
    ) -> RecordStream[Any]:
        self.streams += 1
        return session.records(
            _time(call.start),
            None if call.end is None else _time(call.end),
            of=self.plan.of,
            page_size=self.page_size,
            limit=limit,
            newest_first=bool(self.plan.first_part),
            resume=checkpoint,
            expired=self.plan.expired,
        )

    async def _read_stream(self, call: Call, stream: RecordStream[Any], way: str) -> ItnioError | None:
        """Read a stream until it ends, fails or is left; return its error."""
        plan, chance = self.plan, self.plan.chance
        ahead = stream.prefetch(plan.ahead) if plan.ahead else nullcontext(stream)
        try:
            async with ahead as source, aclosing(self._items(_reading(source, way))) as items:
                async for item in items:
                    # The records that an endless server invents have no mark.
                    call.marks += [
                        record.extra["mark"]
                        for record in ([item] if way == "records" else item.records)
                        if "mark" in record.extra
                    ]
                    if way == "windows":
                        call.checkpoint = item.checkpoint
                    if self.stops < MOST_STOPS and chance.random() < plan.leaving:
                        break
                else:
                    call.ended = True
        except ItnioError as error:
            self._count(error)
            return error
        return None

    async def _items(self, reading: AsyncIterator[Any]) -> AsyncGenerator[Any]:
        """Continue after cancellations, and sometimes after errors."""
        plan, chance = self.plan, self.plan.chance
        while True:
            item = None
            with anyio.CancelScope() as self._scope:
                if plan.real and chance.random() < plan.cancelling:
                    self._scope.deadline = anyio.current_time() + chance.random() / 100
                elif plan.patience is not None:
                    self._scope.deadline = anyio.current_time() + plan.patience
                try:
                    item = await anext(reading, None)
                except ItnioError as error:
                    if isinstance(error, TimeRangeError) or self._gives_up or chance.random() < 0.5:
                        raise
                    self._count(error)
                    self.retries += 1
                    continue
            if item is not None:
                yield item
            elif self._scope.cancelled_caught:
                # A reader with short timeouts must end too: its cancellations do not raise the limit.
                self.stops += plan.patience is None
            else:
                return

    @property
    def _gives_up(self) -> bool:
        return self.errors > (2 if self.plan.tight else PATIENCE)

    def _count(self, error: ItnioError) -> None:
        self.errors += 1
        self.check(error)

    async def _count_ranges(self, session: VoiceSession) -> bool:
        """Count ranges and their parts, in any order; return whether there were few errors."""
        plan, draw = self.plan, self.plan.more
        for _ in range(plan.counts):
            start, middle, end = sorted(self._draw_end() for _ in range(3))
            # As in `_is_open`: hours are not counted in windows of seconds.
            is_open = plan.ago <= 0 and plan.behaviour.max_span >= 60 * SECOND and draw.random() < 0.5
            last = draw.choice([None, end + 1000]) if is_open else end
            group = draw.choice([None, *GROUPS]) if plan.of is SipRecord else None
            ranges = [(start, middle), (middle, last), (start, last)]
            draw.shuffle(ranges)
            for first, until in ranges:
                if until is None or first < until:
                    await self._count_range(session, first, until, group)
            if self._gives_up:
                return False
        return True

    def _draw_end(self) -> float:
        """Draw an end of a range: often near a second with many records, and often within a second."""
        plan, draw = self.plan, self.plan.more
        near = draw.choice(plan.hot) + draw.choice([-1, 0, 0, 1])
        second = near if draw.random() < 0.7 else draw.randrange(plan.length + 1)
        return second + draw.choice([0, 0, 0.25, 0.999])

    async def _count_range(self, session: VoiceSession, start: float, end: float | None, group: str | None) -> None:
        """Count a range, again after a cancellation or an error; not if it is older than the retention."""
        plan, server, stops = self.plan, self.server, 0
        while not self._gives_up:
            server.cancel = self._cancel if stops < STOPS_OF_COUNT else None
            counted, is_counted = Counted(start, end, group, server.watch_call()), False
            self.streams += 1
            with anyio.CancelScope() as self._scope:
                try:
                    counted.number = await session.count(
                        _time(start),
                        None if end is None else _time(end),
                        of=plan.of,
                        where={"sip_group_name": group} if group else None,
                        expired=plan.expired,
                    )
                    is_counted = True
                except ItnioError as error:
                    self._count(error)
                    if isinstance(error, TimeRangeError):
                        return
            if is_counted:
                self.counts.append(counted)
                return
            stops += self._scope.cancelled_caught

    async def _synchronise(self, session: VoiceSession) -> bool:
        """Read up to now repeatedly, each time from the last checkpoint."""
        plan, server = self.plan, self.server
        self.page_size = plan.page_size or 100
        self.calls.append(call := Call(0, None))
        for _ in range(plan.rounds):
            call.ended = False
            stream = self._stream(session, call, call.checkpoint)
            await self._read_stream(call, stream, "windows")
            if not call.ended:
                return False
            call.checkpoint = Checkpoint.parse(str(stream.checkpoint))
            await anyio.sleep(plan.more.choice([0.3, 1, 7.7, 20]))
            server.traffic()
        return True

    async def _follow(self, session: VoiceSession) -> bool:
        """Follow for some time, stopped and resumed, then until all last looks are over and no record is missing."""
        plan, server, draw = self.plan, self.server, self.plan.more
        self.calls.append(call := Call(0, None))
        server.cancel = self._cancel
        until = server.second() + plan.lookback * draw.choice([0.5, 1, 2])
        while server.second() < until and not self._gives_up:
            await self._follow_for(session, call, draw.uniform(1, 2 * plan.lookback))
            await anyio.sleep(plan.lookback * draw.choice([0, 0, 0.5, 3]))
        self.followed_until = server.second()
        await self._follow_for(session, call, 1.25 * plan.lookback + 2 * plan.every + 5)
        for _ in range(3):  # errors may have delayed the last looks
            await self._follow_for(session, call, 2 * plan.lookback + 10 * plan.every + 100, only_missing=True)
        return not self._gives_up

    @property
    def followed_to(self) -> float:
        """The second up to which the follower's checkpoint has all new records."""
        position = self._followed and self._followed.lookback.position
        return (position - START).total_seconds() if position else 0.0

    async def _follow_for(
        self, session: VoiceSession, call: Call, seconds: float, *, only_missing: bool = False
    ) -> None:
        """Follow for some time, from the last checkpoint; with `only_missing`, while a record is missing."""
        plan, server, until = self.plan, self.server, self.followed_until or 0
        if only_missing and server.appeared_in_time(until) <= set(call.marks):
            return
        follower = session.follow(
            _time(0), of=plan.of, every=plan.every, lookback=plan.lookback * SECOND, resume=self._followed
        )
        self.streams += 1
        try:
            with anyio.move_on_after(seconds):
                async with aclosing(self._items(follower.batches())) as items:
                    async for batch in items:
                        call.marks += [record.extra["mark"] for record in batch.records]
                        self._followed = FollowCheckpoint.parse(str(batch.checkpoint))
                        if only_missing and server.appeared_in_time(until) <= set(call.marks):
                            break
        except ItnioError as error:
            self._count(error)
        if plan.more.random() < 0.3:
            self._followed = follower.checkpoint


def _reading(source: RecordStream[Any] | PrefetchedStream[Any], way: str) -> AsyncIterator[Any]:
    return source.__aiter__() if way == "records" else getattr(source, way)()


def _time(second: float) -> datetime:
    return START + timedelta(seconds=second)
