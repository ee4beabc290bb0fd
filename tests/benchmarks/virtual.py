"""Latency in virtual time: round trips of a query, and how well requests in flight are used. No clock is read."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import ceil

import anyio

from itnio_voice import Page, VoiceRecord, Window
from itnio_voice._client.prefetch import WalkAhead
from itnio_voice._walk.chunks import WalkPlan
from itnio_voice._walk.walk import Walk

from ..support.virtual_time import backend_options
from .measuring import Line
from .pages import PAGE

START = datetime(2026, 9, 1, 0, 0, 1, tzinfo=UTC)
PAGES = (0, 1, 2, 5, 10, 30, 100, 240, 960)
GOALS = dict(zip(PAGES, (1, 1, 2, 2, 3, 6, 15, 33, 126), strict=True))
"""Round trips at `concurrency=8`, whatever the order of the records."""
AHEAD = 64

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
        self._order = order

    async def fetch(self, window: Window, current: int, size: int) -> Page[VoiceRecord]:
        """Answer a request."""
        self.requests += 1
        await anyio.sleep(self.latency(self.requests))
        first = bisect_left(self._times, window.start.timestamp())
        numbers = list(range(first, bisect_right(self._times, window.end.timestamp())))
        if self._order == "newest first":
            numbers.reverse()
        elif self._order == "by id":
            numbers.sort(key=lambda number: random.Random(number).random())
        listed = numbers[(current - 1) * size : current * size]
        records = tuple(
            VoiceRecord(voice_id=str(number), submit_time=datetime.fromtimestamp(self._times[number], UTC))
            for number in listed
        )
        return Page(records, len(numbers), size, current, None)


def seconds(main: Callable[[], Awaitable[None]]) -> float:
    """Run in virtual time; return the seconds that pass."""

    async def timed() -> float:
        started = anyio.current_time()
        await main()
        return anyio.current_time() - started

    return anyio.run(timed, backend="asyncio", backend_options=backend_options("asyncio"))


def walk_on(server: Server, concurrency: int) -> Walk[VoiceRecord]:
    """Return a walk over a server's range."""
    now = server.range.end.timestamp() + 3600
    return Walk(WalkPlan(fetch=server.fetch, gaps=[server.range], now=lambda: now, concurrency=concurrency))


def read(server: Server, concurrency: int) -> float:
    """Return the seconds that the library needs for a server's range."""

    async def main() -> None:
        walk = walk_on(server, concurrency)
        while await walk.advance():
            pass

    return seconds(main)


def round_trips() -> Iterator[Line]:
    """Round trips of a query in virtual time, against code without proofs that knows the number of pages."""
    for span in (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=60)):
        for concurrency in (1, 4, 8, 16):
            for pages in PAGES:
                ideal = 1 + ceil(max(pages - 1, 0) / concurrency)
                servers = [Server(pages, span, order) for order in ("oldest first", "newest first", "by id")]
                found = [round(read(server, concurrency)) for server in servers]
                requests = max(server.requests for server in servers[:2])
                name = f"{span.total_seconds() / 3600:g} h, concurrency={concurrency}, {pages} pages, ideal {ideal}"
                figure = f"{found[0]}/{found[1]}/{found[2]} in {requests}"
                is_goal = concurrency == 8 and span <= timedelta(days=1)
                yield Line(name, figure, *((max(found[:2]), GOALS[pages]) if is_goal else (max(found) / ideal,)))


def ahead() -> Iterator[Line]:
    """Use of eight requests in flight in virtual time: the time of eight workers with a queue, against ours."""
    constant: Latency = lambda _: 0.05  # noqa: E731 -- a value of a table

    def lognormal(number: int) -> float:
        return 0.05 * random.Random(number).lognormvariate(0, 0.5)

    cases: list[tuple[str, Latency, float, bool, tuple[float, float]]] = [
        ("constant, no work", constant, 0, True, (0.92, 0.96)),
        ("constant, 200 µs a record", constant, 0.02, True, (0.99, 0.99)),
        ("constant, 30 ms a page", constant, 0.03, True, (0.99, 0.99)),
        ("lognormal, no work", lognormal, 0, True, (0.92, 0.96)),
        ("lognormal, 20 µs a record", lognormal, 0.002, True, (0.93, 0.97)),
        ("lognormal, no work, without prefetch", lognormal, 0, False, (0.86, 0.91)),
    ]
    for name, latency, work, is_ahead, goals in cases:
        for pages, goal in zip((240, 960), goals, strict=True):
            workers = seconds(lambda pages=pages, latency=latency, work=work: by_workers(pages, latency, work))
            server = Server(pages, timedelta(days=pages / 12), latency=latency)
            ours = seconds(lambda server=server, work=work, is_ahead=is_ahead: consume(server, work, is_ahead))
            yield Line(f"{name}, {pages} pages", f"{ours:.2f} s", workers / ours, goal, least=True)


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
