"""Latency in virtual time: round trips of a query, and how well requests in flight are used. No clock is read."""

import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from math import ceil
from zlib import crc32

import anyio

from itnio_voice import Page, VoiceRecord, Window
from itnio_voice._client.prefetch import WalkAhead
from itnio_voice._walk.chunks import WalkPlan
from itnio_voice._walk.learned import Learned
from itnio_voice._walk.walk import Walk

from ..support.virtual_time import backend_options
from .measuring import Line
from .pages import PAGE

START = datetime(2026, 9, 1, 0, 0, 1, tzinfo=UTC)
PAGES = (0, 1, 2, 5, 10, 30, 100, 240, 960)
GOALS = dict(zip(PAGES, (1, 1, 2, 2, 3, 6, 15, 33, 126), strict=True))
GOALS_AT = 8
"""The goals are round trips at this concurrency, for ranges of an hour or a day that are listed by time."""
AHEAD = 64

DRAWS = 8
"""The number of draws of latencies that vary, of which the sums are compared."""

Latency = Callable[[int], float]


class Server:
    """Records at equal distances in a range; each answer takes `latency(number)` seconds."""

    def __init__(
        self, pages: float, span: timedelta, order: str = "oldest first", latency: Latency = lambda _: 1
    ) -> None:
        self.range = Window(START, START + span)
        self.latency = latency
        self.requests = 0
        number = max(0, round(pages * PAGE) - 50)
        self._times = [START.timestamp() + (index + 0.5) * span.total_seconds() / number for index in range(number)]
        self._records = [
            VoiceRecord(voice_id=str(index), submit_time=datetime.fromtimestamp(at, UTC))
            for index, at in enumerate(self._times)
        ]
        self._order = order
        self._listed = lru_cache(maxsize=64)(self._list)

    async def fetch(self, window: Window, current: int, size: int) -> Page[VoiceRecord]:
        """Answer a request."""
        self.requests += 1
        await anyio.sleep(self.latency(self.requests))
        listed = self._listed(window)
        return Page(tuple(listed[(current - 1) * size : current * size]), len(listed), size, current, None)

    def _list(self, window: Window) -> list[VoiceRecord]:
        first, last = (bisect_left(self._times, at.timestamp()) for at in (window.start, window.end))
        listed = self._records[first:last]
        if self._order == "newest first":
            listed.reverse()
        elif self._order == "by hash":
            listed.sort(key=lambda record: crc32(str(record.voice_id).encode()))
        return listed


def seconds(main: Callable[[], Awaitable[None]]) -> float:
    """Run in virtual time; return the seconds that pass."""

    async def timed() -> float:
        started = anyio.current_time()
        await main()
        return anyio.current_time() - started

    return anyio.run(timed, backend="asyncio", backend_options=backend_options("asyncio"))


def walk_on(server: Server, concurrency: int, learned: Learned | None = None) -> Walk[VoiceRecord]:
    """Return a walk over a server's range."""
    now = server.range.end.timestamp() + 3600
    return Walk(
        WalkPlan(
            fetch=server.fetch,
            gaps=[server.range],
            now=lambda: now,
            concurrency=concurrency,
            learned=learned or Learned(),
        )
    )


def read(server: Server, concurrency: int, learned: Learned | None = None) -> float:
    """Return the seconds that the library needs for a server's range."""

    async def main() -> None:
        walk = walk_on(server, concurrency, learned)
        while await walk.advance():
            pass

    return seconds(main)


def round_trips() -> Iterator[Line]:
    """Round trips of a query in virtual time, against code without proofs that knows the number of pages."""
    hour, day = timedelta(hours=1), timedelta(days=1)
    for span in (hour, day, 31 * day, 60 * day):
        for concurrency in (1, 4, 8, 16):
            orders = ("oldest first", "newest first", "by hash") if concurrency == GOALS_AT else ("oldest first",)
            for pages in PAGES:
                ideal = 1 + ceil(max(pages - 1, 0) / concurrency)
                servers = [Server(pages, span, order) for order in orders]
                learned = [Learned() for _ in servers]
                ways = list(zip(servers, learned, strict=True))
                found = [round(read(server, concurrency, known)) for server, known in ways]
                figure = f"{'/'.join(map(str, found))} in {servers[0].requests}"
                again = [round(read(server, concurrency, known)) for server, known in ways]
                name = f"{span / hour:g} h, concurrency={concurrency}, {pages} pages, ideal {ideal}"
                name += f", again {'/'.join(map(str, again))}" if again != found else ""
                goal = GOALS[pages] / ideal if concurrency == GOALS_AT and span <= day else None
                yield Line(name, figure, max(found[:2]) / ideal, goal)


def constant(_: int) -> Latency:
    """Return the same latency for each request, in each draw."""
    return lambda _: 0.05


def lognormal(draw: int) -> Latency:
    """Return a latency that varies, with the same median."""
    return lambda number: 0.05 * random.Random(number + 100_000 * draw).lognormvariate(0, 0.5)


def ahead() -> Iterator[Line]:
    """Use of eight requests in flight in virtual time: the time of eight workers with a queue, against ours."""
    cases: list[tuple[str, Callable[[int], Latency], float, bool, tuple[float, float]]] = [
        ("constant, no work", constant, 0, True, (0.92, 0.96)),
        ("constant, 200 µs a record", constant, 0.02, True, (0.99, 0.99)),
        ("constant, 30 ms a page", constant, 0.03, True, (0.99, 0.99)),
        ("lognormal, no work", lognormal, 0, True, (0.92, 0.96)),
        ("lognormal, 20 µs a record", lognormal, 0.002, True, (0.93, 0.97)),
        ("lognormal, no work, without prefetch", lognormal, 0, False, (0.86, 0.91)),
    ]
    for name, latency, work, is_ahead, goals in cases:
        for pages, goal in zip((240, 960), goals, strict=True):
            workers = ours = 0.0
            for draw in range(DRAWS if latency is lognormal else 1):
                workers += seconds(partial(by_workers, pages, latency(draw), work))
                server = Server(pages, timedelta(days=pages / 12), latency=latency(draw))
                ours += seconds(partial(consume, server, work, is_ahead))
            # The goals are whole per cents.
            yield Line(f"{name}, {pages} pages", f"{ours:.2f} s", round(workers / ours, 2), goal, least=True)


async def by_workers(pages: int, latency: Latency, work: float) -> None:
    """Let eight workers request numbered pages, at most `AHEAD` ahead of a consumer that works on each in order."""
    numbers = iter(range(1, pages + 1))
    send, receive = anyio.create_memory_object_stream[int](AHEAD)

    async def worker() -> None:
        for number in numbers:
            await anyio.sleep(latency(number))
            await send.send(number)

    async with anyio.create_task_group() as group:
        await anyio.sleep(latency(0))  # page 1, which has the number of pages
        for _ in range(8):
            group.start_soon(worker)
        for _ in range(pages):
            await receive.receive()
            await anyio.sleep(work)
    send.close()
    receive.close()


async def consume(server: Server, work: float, is_ahead: bool) -> None:
    """Read with the library, and work on each page."""
    walk = walk_on(server, 8)
    reading = WalkAhead(walk, AHEAD)
    if not is_ahead:
        walk = walk_on(server, 8)
    async with anyio.create_task_group() as group:
        if is_ahead:
            group.start_soon(reading.run)
        while chunk := await (reading.advance() if is_ahead else walk.advance()):
            if chunk.records:
                await anyio.sleep(work)
