"""A server whose records appear, change and disappear while it is read. It shares no code with the sandbox."""

import functools
import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import anyio
import attrs
import httpx

from itnio_voice import Credentials, Retry, VoiceSession

__all__ = ["ENDS", "SECOND", "START", "Call", "LiveService", "traffic"]

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ENDS: dict[str, tuple[Callable[[float, float], bool], Callable[[float, float], bool]]] = {
    "[]": (float.__le__, float.__le__),
    "[)": (float.__le__, float.__lt__),
    "(]": (float.__lt__, float.__le__),
    "()": (float.__lt__, float.__lt__),
}
FARTHEST = 60
"""The maximum number of seconds by which a call moves."""
MOST_REQUESTS = 60_000


@attrs.define
class Call:
    """A call, with times in seconds from START: its own, and those at which it appears and ends.

    From `moves` on, the server lists it at the second `moved`.
    """

    name: str
    second: int
    appears: float
    ends: float = -math.inf
    voice_id: str | None = None
    moves: float = math.inf
    moved: int = 0

    def at(self, now: float) -> int:
        """Return the second at which the server lists it."""
        return self.moved if now >= self.moves else self.second


@functools.cache
def submit_time(second: int) -> str:
    """Return the time of a second from START as it is on the wire."""
    return (START + second * SECOND).astimezone().isoformat()


def row_of(call: Call, now: float) -> dict[str, Any]:
    """Return a call as it is on the wire."""
    row = {"submitTime": submit_time(call.second), "callee": call.name, "cost": "0.1" if now >= call.ends else "0"}
    name = call.name if call.voice_id is None else call.voice_id
    return {**row, **({"voiceId": name} if name else {})}


def traffic(chance: Random, span: tuple[float, float], rate: float, late: float, most_late: float) -> list[Call]:
    """Return calls at a rate per second, of which a share appears late."""
    calls, (at, last) = list[Call](), span
    while rate and (at := at + chance.expovariate(rate)) < last:
        delay = chance.uniform(0, most_late) if chance.random() < late else 0.0
        calls.append(Call(f"{len(calls):06}", int(at), at + delay))
    return calls


class LiveService:
    """Lists the calls that have appeared, by their second. `now` is its clock, in seconds from START."""

    def __init__(self, calls: list[Call], ends: str = "[]", now: float = 0.0, **switches: Any) -> None:
        self.calls = sorted(calls, key=lambda call: (call.second, call.name))
        self._seconds = [call.second for call in self.calls]
        self.after, self.before = ENDS[ends]
        self.began = now
        self.requests: list[tuple[float, datetime, datetime, int]] = []
        self.latency: float = switches.pop("latency", 0.05)
        self.total: Callable[[int], int | None] = switches.pop("total", lambda total: total)
        self.kept: float = switches.pop("kept", -math.inf)
        self.fails: Callable[[int], str | None] = switches.pop("fails", lambda _: None)
        self.lag: Callable[[int], float] = switches.pop("lag", lambda _: 0.0)
        self.date_behind: Callable[[int], float] = switches.pop("date_behind", lambda _: 0.0)
        self.end_margin: float = switches.pop("end_margin", -math.inf)
        self.wrong_clock: float = switches.pop("wrong_clock", 0.0)
        assert not switches
        self._loop_began: float | None = None

    @property
    def now(self) -> float:
        """The server's time."""
        if self._loop_began is None:
            self._loop_began = anyio.current_time()
        return self.began + anyio.current_time() - self._loop_began

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        await anyio.sleep(self.latency)
        body = json.loads(request.content)
        start, end = (datetime.fromisoformat(body["params"][name]) for name in ("strTime", "endTime"))
        self.requests.append((self.now, start, end, body["current"]))
        assert len(self.requests) < MOST_REQUESTS, "a reader without an end"
        first, last = ((at - START) / SECOND for at in (start, end))
        failure = self.fails(len(self.requests))
        if failure == "500":
            return httpx.Response(500)
        if failure:
            return self._reply({"status": failure, "reason": "failed"})
        is_too_old = self.kept > 0 and first < self.now - self.kept
        if is_too_old or last > self.now - self.end_margin or last - first > 31 * 86_400:
            return self._reply({"status": "-25", "reason": "out of time range"})
        now = self.now - self.lag(len(self.requests))
        near = slice(bisect_left(self._seconds, first - FARTHEST), bisect_right(self._seconds, last))
        listed = [
            call
            for call in self.calls[near]
            if call.appears <= now and self.after(first, at := float(call.at(now))) and self.before(at, last)
        ]
        listed.sort(key=lambda call: (call.at(now), call.name))
        size, current = body["size"], body["current"]
        present = self.now
        rows = [row_of(call, present) for call in listed[(current - 1) * size : current * size]]
        data = {"total": self.total(len(listed)), "size": size, "current": current, "records": rows}
        return self._reply({"status": "0", "reason": "", "data": data})

    def _reply(self, content: dict[str, Any]) -> httpx.Response:
        date = (START + (self.now - self.date_behind(len(self.requests))) * SECOND).strftime(
            "%a, %d %b %Y %H:%M:%S GMT"
        )
        return httpx.Response(200, json=content, headers={"Date": date})

    def session(self, **options: Any) -> VoiceSession:
        """Return a session on this server, which does not retry; its clock is off by `wrong_clock` seconds."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        options = {"retry": Retry(attempts=1), **options}
        session = VoiceSession(Credentials("key", "secret"), http_client=client, **options)
        session._transport.clock = lambda: START.timestamp() + self.now + self.wrong_clock
        return session
