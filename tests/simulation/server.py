"""The server of a scenario: the sandbox in virtual time, and its changes between two requests."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from heapq import heappop, heappush
from typing import Any

import attrs

from itnio_voice import VoiceRecord
from itnio_voice.sandbox import Sandbox
from itnio_voice.sandbox._data.store import Selection

from .plan import DAY, SECOND, Plan

__all__ = ["START", "Runaway", "Server", "Watch"]

START = datetime(2026, 1, 1, tzinfo=UTC)
GROUPS = ("sales", "support")
BUSIEST = 300.0
"""The largest number of new records per second."""
LATENESS = 30.0
"""The mean delay, in seconds, of a late record of live traffic."""
BOUND = 2 * DAY
"""How far a clock may be off before a reader rejects it."""


SPELLINGS: tuple[Callable[[datetime], str], ...] = (
    lambda at: at.isoformat(),
    lambda at: at.isoformat().replace("+00:00", "Z"),
    lambda at: at.isoformat(sep=" "),
    lambda at: at.isoformat(timespec="milliseconds"),
    lambda at: at.astimezone(timezone(timedelta(hours=8))).isoformat(),
)
"""Notations of a time."""


class Runaway(AssertionError):  # noqa: N818 -- it is a finding
    """A reader sends more requests than any correct reading needs."""


@attrs.define
class Watch:
    """What the server showed at the requests of a call: `always` and `ever`, the marks of its records.

    `passing` are those that it showed neither at the first request nor at the last. `began` and `ended` are the
    server's time, in seconds from START, before the call and at its last request.
    """

    began: float
    first_request: int
    always: set[str] | None = None
    ever: set[str] = attrs.field(factory=set)
    passing: set[str] = attrs.field(factory=set)
    ended: float = 0.0
    _first: set[str] = attrs.field(factory=set)

    def add(self, everywhere: set[str], anywhere: set[str], now: float) -> None:
        """Add what all replicas show at a request, and what any of them does."""
        if self.always is None:
            self.always, self._first = everywhere, anywhere
        self.always &= everywhere
        self.ever |= anywhere
        self.passing = self.ever - self._first - anywhere
        self.ended = now


@attrs.define
class Server:
    """A sandbox whose clock is that of `loop_time`, with the records and the changes of a plan.

    Records are identified by their mark: `seconds` has the submit time of each, counted from `START`. `came` are those
    that some replica lacked at the first request.
    """

    plan: Plan
    loop_time: Callable[[], float]

    sandbox: Sandbox = attrs.field(init=False)
    began: float = 0.0
    seconds: dict[str, int] = attrs.field(factory=dict, init=False)
    appeared: dict[str, float] = attrs.field(factory=dict, init=False)
    """The server's time at which each record appeared."""
    came: set[str] = attrs.field(factory=set, init=False)
    changes: int = attrs.field(default=0, init=False)
    requests: int = attrs.field(default=0, init=False)
    latest: float = attrs.field(default=math.inf, init=False)
    """The earliest second that a reader may take for now."""
    newest: float = attrs.field(default=-math.inf, init=False)
    """The latest one."""
    slowest: float = attrs.field(default=0.0, init=False)
    fastest: float = attrs.field(default=0.0, init=False)
    """The seconds by which a reader may believe the server's clock to be ahead."""
    groups: dict[str, str] = attrs.field(factory=dict, init=False)
    """The SIP group of each record."""
    watch: Watch | None = attrs.field(default=None, init=False)
    allowed: Callable[[], float] = attrs.field(default=lambda: math.inf, init=False)
    cancel: Callable[[], None] | None = attrs.field(default=None, init=False)
    _past: float = attrs.field(default=0.0, init=False)
    _traffic: float = attrs.field(default=0.0, init=False)
    _owed: float = attrs.field(default=0.0, init=False)
    _waiting: list[tuple[float, int]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        plan, chance = self.plan, self.plan.chance
        self.began = self.loop_time()
        self.sandbox = Sandbox(
            start=START,
            end=START,
            behaviour=plan.behaviour,
            seed=plan.seed,
            clock=self.clock,
            on_request=self._live,
        )
        self._observe_clock()
        crowd = chance.randrange(plan.length)
        self._past = 100.0 * DAY
        for _ in range(chance.randrange(60) if plan.rows is None else plan.rows):
            self.insert(crowd if chance.random() < 0.2 else chance.randrange(-2, plan.length + 2))
        for second, count in plan.crowds:
            for _ in range(count):
                self.insert(second)
        self._past = 0.0
        for _ in range(plan.newest):
            crowded = [second for second, _ in plan.crowds] * 3
            self.insert(plan.more.choice([plan.more.randrange(-1, plan.length + 1), *crowded]))
        self._traffic = self.second() - plan.warm_up
        self.traffic(plan.per_request / max(plan.behaviour.latency, 0.01) * plan.warm_up)

    def clock(self) -> float:
        """Return the server's time, in Unix seconds."""
        plan = self.plan
        return START.timestamp() + plan.age - self._past + plan.tempo * (self.loop_time() - self.began)

    def second(self) -> float:
        """Return the server's time, in seconds from START."""
        return self.clock() - START.timestamp()

    @property
    def kind(self) -> Any:
        """The sandbox's name of the kind of records."""
        return "group" if self.plan.of is VoiceRecord else "sip"

    # Records

    def insert(self, *seconds: int) -> list[str]:
        """Add a record of each second; return their marks."""
        marks, records = list[str](), list[dict[str, Any]]()
        chance, plan = self.plan.chance, self.plan
        for at in seconds:
            mark = f"m{len(self.seconds)}"
            self.seconds[mark], self.appeared[mark] = at, self.second()
            when = (START + at * SECOND).isoformat()
            if plan.spelled:
                when = plan.more.choice(SPELLINGS)(START + at * SECOND)
            fields: dict[str, Any] = dict.fromkeys(("submitTime", "callTime", "hangupTime"), when)
            fields |= {"voiceId": mark, "mark": mark} | ({"callee": mark} if plan.spelled else {})
            if chance.random() < 0.02 and plan.behaviour.changes_after is None:
                fields["voiceId"] = chance.choice([None, "", ...])
            elif plan.shared_id and plan.more.random() < 0.4:
                fields["voiceId"] = "0" if plan.shared_id == "everywhere" else f"s{at}"
            if plan.counts:
                self.groups[mark] = fields["sipGroupName"] = plan.more.choice(GROUPS)
            marks.append(mark)
            records.append(fields)
        self.sandbox.insert(*records, kind=self.kind)
        return marks

    def visible(self, *, everywhere: bool = False) -> set[str]:
        """Return the marks of the records that the server shows now, or that all of its replicas do."""
        sandbox, behaviour = self.sandbox, self.sandbox.behaviour
        lag = behaviour.replica_lag if everywhere and behaviour.replicas > 1 else 0.0
        selection = Selection(sandbox.api_key, self.kind, behaviour, self.clock(), lag=lag)
        sql = f"SELECT json_extract(wire, '$.mark') FROM ({selection.query})"  # noqa: S608 -- from constants
        return {mark for (mark,) in sandbox._opened()._all(sql, selection.values)}

    def appeared_in_time(self, until: float) -> set[str]:
        """Return the marks of the records that a follower must have returned, if it has read on after `until`."""
        lookback, appeared = self.plan.lookback, self.appeared
        return {
            mark
            for mark in self.visible()
            if (second := self.seconds[mark]) > 1 and appeared[mark] <= min(second + lookback, until)
        }

    def watch_call(self) -> Watch:
        """Watch what the server shows from now on."""
        self.watch = Watch(self.second(), len(self.sandbox.requests))
        return self.watch

    def counted_twice(self) -> set[str]:
        """Return the marks of the records that the server counts twice, and of those that it no longer has."""
        sql = "SELECT json_extract(wire, '$.mark') FROM records WHERE twice >= :least"
        least = self.plan.behaviour.duplicates * 2**32
        return self.seconds.keys() - {mark for (mark,) in self.sandbox._opened()._all(sql, {"least": least})}

    def _second_of_change(self) -> int:
        """Draw the second of a record that appears or expires."""
        drawn = self.plan.chance.randrange(-1, self.plan.length + 1)
        return self.plan.more.choice(self.plan.hot) if self.plan.hot and self.plan.more.random() < 0.8 else drawn

    def _expire(self, since: float = -math.inf) -> None:
        """Remove the oldest record from a second on."""
        # Within a lookback, nothing expires.
        until = self.second() - 2 * self.plan.lookback if self.plan.lookback else math.inf
        there = {mark for mark in self.visible() if since <= self.seconds[mark] < until}
        if there:
            oldest = min(there, key=lambda mark: (self.seconds[mark], int(mark[1:])))
            sql = "DELETE FROM records WHERE json_extract(wire, '$.mark') = ?"
            self.sandbox._opened()._connection.execute(sql, (oldest,))

    # What happens

    def _live(self, sandbox: Sandbox, _: int) -> None:
        """Make changes before a request is processed."""
        plan, chance = self.plan, self.plan.chance
        self.requests += 1
        if not plan.real and self.requests > (most := self.allowed()):
            message = f"{self.requests} requests, more than {most:.0f}: the walk is endless, or their number quadratic"
            raise Runaway(message)
        if self.changes < plan.most_changes and chance.random() < plan.appearing:
            self.came.update(self.insert(self._second_of_change()))
            self.changes += 1
        if self.changes < plan.most_changes and chance.random() < plan.expiring:
            self._expire(self._second_of_change() if plan.hot else -math.inf)
            self.changes += 1
        if self.changes < plan.most_changes and plan.more.random() < plan.swapping:
            self._expire(since=1)
            self.came.update(self.insert(plan.more.randrange(1, plan.length)))
            self.changes += 1
        if chance.random() < 0.002 and plan.skew:
            sandbox.behaviour = attrs.evolve(sandbox.behaviour, clock_skew=chance.choice([0, plan.skew]))
            self.changes += 1
        if self.requests == plan.outage_from:
            sandbox.behaviour = attrs.evolve(sandbox.behaviour, faults=plan.outage)
        self.traffic(plan.per_request)
        self._observe_clock()
        if self.watch:
            anywhere = self.visible()
            everywhere = self.visible(everywhere=True) if plan.behaviour.replicas > 1 else anywhere
            self.watch.add(everywhere, anywhere, self.second())
        if self.cancel and not plan.real:
            self.cancel()

    def traffic(self, more: float = 0.0) -> None:
        """Insert the records since the last call, `more` additional ones, and late ones that are due."""
        plan, now = self.plan, self.second()
        if not (plan.per_second or plan.per_request):
            return
        since = now - self._traffic
        self._owed += min(plan.per_second * since + more, BUSIEST * since)
        for _ in range(int(self._owed)):
            submitted = now - plan.more.random() * since
            late = plan.more.expovariate(1 / LATENESS) if plan.more.random() < plan.late else 0.0
            heappush(self._waiting, (submitted + late, math.floor(submitted)))
        self._owed %= 1
        self._traffic = now
        arrived: list[int] = []
        while self._waiting and self._waiting[0][0] <= now:
            arrived.append(heappop(self._waiting)[1])
        if arrived:
            self.came.update(self.insert(*arrived))

    def _observe_clock(self) -> None:
        """Record the earliest and the latest second that a reader may take for now."""
        plan, skew = self.plan, self.sandbox.behaviour.clock_skew
        ahead = [0.0, skew, *(fault.date_ahead for fault in self.sandbox.behaviour.faults)]
        believed = [seconds for seconds in ahead if abs(seconds) <= BOUND]
        wrong = plan.machine_skew
        self.latest = min(self.latest, self.second() + min(believed) + (min(wrong, 0) if plan.open_end else 0) - 2)
        self.slowest, self.fastest = min(self.slowest, *believed, wrong), max(self.fastest, *believed, wrong)
        self.newest = max(self.newest, self.second() + max(*believed, wrong))
