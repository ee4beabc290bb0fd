"""Measure the library against its alternatives, and print one table with ratios, all from this run.

Give names of sections to run only those.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import httpx2
import uvloop
from httpx_aiohttp import HttpxAiohttpClient

from itnio_voice import Credentials, Page, VoiceRecord, VoiceSession, Window
from itnio_voice._walk.chunks import WalkPlan
from itnio_voice._walk.walk import Walk
from itnio_voice._wire.pages import PageRequest, rows_of
from itnio_voice._wire.responses import read_page

from . import peers
from .measuring import Line, by_turns, timed
from .pages import END, PAGE, START, Held, answers, rows
from .service import service
from .virtual import ahead, round_trips

ACCOUNT = Credentials(peers.KEY, peers.SECRET)
ready_client = partial(httpx.AsyncClient, verify=httpx.create_ssl_context())
"""A client whose SSL context is ready: making one takes 20 ms, and sessions share theirs."""
MICRO = 1e6


def reading(
    make: Callable[[], Any], read: Callable[[Any], Awaitable[int]], run: Callable[[Any], int] = asyncio.run
) -> int:
    """Create a client and read with it, in a new event loop; return the number of records."""

    async def main() -> int:
        async with make() as client:
            return await read(client)

    return run(main())


async def stream(
    client: httpx.AsyncClient | None, base_url: str, start: datetime, end: datetime, concurrency: int
) -> int:
    """Read a range with the library, record by record; return the number of records."""
    count = 0
    async with VoiceSession(ACCOUNT, base_url=base_url, http_client=client, concurrency=concurrency) as session:
        async for _ in session.records(start, end):
            count += 1
    return count


def decoding() -> Iterator[Line]:
    """Convert bytes to typed records."""
    pages, window = 30, Window(START, END)

    def library(bodies: Sequence[bytes]) -> None:
        for current, body in enumerate(bodies, 1):
            read_page(body, PageRequest(window, current, PAGE), VoiceRecord)

    def each(read: Callable[[bytes], object], bodies: Sequence[bytes]) -> None:
        for body in bodies:
            read(body)

    rounds = [answers(pages, seed=seed) for seed in range(25)]
    ways: dict[str, Callable[[Sequence[bytes]], object]] = {
        "json.loads, dicts": partial(each, json.loads),
        "msgspec structs, nothing converted": partial(each, peers.raw.decode),
        "pydantic v2, model_validate_json": partial(each, peers.Answer.model_validate_json),
        "itnio_voice": library,
    }
    times = by_turns(timed(ways), rounds)
    for name, spent in times.items():
        yield Line(name, f"{spent / pages / PAGE * MICRO:.2f} µs/record")
    ours = times["itnio_voice"]
    yield Line("… against json.loads", "", ours / times["json.loads, dicts"], 1.35)
    yield Line("… against pydantic", "", ours / times["pydantic v2, model_validate_json"], 0.6)
    unknown = by_turns(
        timed({"json": partial(each, json.loads), "ours": library}),
        [answers(pages, seed=seed, orders=[], remark="") for seed in range(100, 111)],
    )
    yield Line("… with two unknown fields, against json.loads", "", unknown["ours"] / unknown["json"])


def memory() -> Iterator[Line]:
    """Stream over a transport in memory."""
    pages, url = 50, "https://example.com/voice"

    def run(read: Callable[[httpx.AsyncClient], Awaitable[int]], bodies: Sequence[bytes]) -> None:
        assert rows(pages) == reading(lambda: httpx.AsyncClient(transport=Held(bodies)), read)

    def loop(read: Any) -> Callable[[Sequence[bytes]], None]:
        return partial(run, lambda client: peers.one_by_one(client, url, START, END, read))

    def library(concurrency: int) -> Callable[[Sequence[bytes]], None]:
        return partial(run, lambda client: stream(client, url, START, END, concurrency))

    ways = {
        "httpx loop, json.loads": loop(peers.plain),
        "httpx loop, pydantic": loop(peers.modelled),
        "itnio_voice, concurrency=1": library(1),
        "itnio_voice, concurrency=4, the default": library(4),
        "itnio_voice, concurrency=8": library(8),
    }
    rounds = [answers(pages, seed=seed) for seed in range(200, 213)]
    times = by_turns(timed(ways), rounds)
    for name, spent in times.items():
        yield Line(name, f"{spent / pages / PAGE * MICRO:.2f} µs/record")
    base = times["httpx loop, json.loads"]
    yield Line("… concurrency=1 against the loop with dicts", "", times["itnio_voice, concurrency=1"] / base, 1.3)
    yield Line("… the default against the same", "", times["itnio_voice, concurrency=4, the default"] / base, 1.42)
    yield Line("… concurrency=8 against the same", "", times["itnio_voice, concurrency=8"] / base, 1.45)


def walking() -> Iterator[Line]:
    """Plan, check and deduplicate: a walk over pages that have been read."""
    window, pages = Window(START, END), 50
    nothing: Page[VoiceRecord] = Page((), 0, PAGE, 1, 0)

    def read(bodies: Sequence[bytes]) -> list[Page[VoiceRecord]]:
        requests = [PageRequest(window, current, PAGE) for current in range(1, pages + 1)]
        # As a stream reads them, but with their records built, which takes no part in the walk.
        answered = [
            read_page(body, request, VoiceRecord, redact=lambda _: None)
            for body, request in zip(bodies, requests, strict=True)
        ]
        for page in answered:
            tuple(rows_of(page))
        return answered

    def alone(_: Sequence[Page[VoiceRecord]]) -> None:
        asyncio.run(asyncio.sleep(0))

    def walked(concurrency: int, answered: Sequence[Page[VoiceRecord]]) -> None:
        async def fetch(window: Window, current: int, _: int) -> Page[VoiceRecord]:
            return nothing if window.end == START else answered[current - 1]

        async def main() -> None:
            walk = Walk(WalkPlan(fetch=fetch, gaps=[window], now=END.timestamp, concurrency=concurrency))
            while await walk.advance():
                pass
            assert rows(pages) == walk.records

        asyncio.run(main())

    ways = {"an event loop": alone} | {
        f"concurrency={concurrency}": partial(walked, concurrency) for concurrency in (1, 4, 8)
    }
    times = by_turns(timed(ways), [read(answers(pages, seed=seed)) for seed in range(300, 313)])
    base = times.pop("an event loop")
    for name, spent in times.items():
        a_page = (spent - base) / pages * MICRO
        yield Line(f"{name}, against 60 µs", f"{a_page:.0f} µs/page", a_page / 60, 1)


def loopback() -> Iterator[Line]:
    """Stream over HTTP on loopback, from another process."""
    start, rounds, days, each = datetime(2026, 9, 1, tzinfo=UTC), 5, timedelta(days=9), 9000
    with service("cheap", rounds * each, start, start + rounds * days) as server:
        query = server.base_url + "/recordGroupQuery"

        def by_hand(read: Any, loop: Any, first: datetime) -> None:
            reading(ready_client, lambda client: loop(client, query, first, first + days, read))

        def library(concurrency: int, first: datetime, run: Any = asyncio.run, make: Any = nullcontext) -> None:
            reading(make, lambda client: stream(client, server.base_url, first, first + days, concurrency), run)

        ways: dict[str, Callable[[datetime], object]] = {
            "httpx loop, json.loads": partial(by_hand, peers.plain, peers.one_by_one),
            "httpx loop, pydantic": partial(by_hand, peers.modelled, peers.one_by_one),
            "eight workers, httpx, json.loads": partial(by_hand, peers.plain, peers.by_workers),
            "eight workers, httpx, msgspec structs": partial(by_hand, peers.structs, peers.by_workers),
            "dlt's REST client": lambda first: peers.dlt_client(server.base_url, first, first + days),
            "itnio_voice, concurrency=1": partial(library, 1),
            "itnio_voice, concurrency=8": partial(library, 8),
            "… with an httpx.AsyncClient": partial(library, 8, make=httpx.AsyncClient),
            "… with an httpx2.AsyncClient": partial(library, 8, make=httpx2.AsyncClient),
            "… with httpx-aiohttp's client": partial(library, 8, make=HttpxAiohttpClient),
            "… and uvloop": partial(library, 8, make=HttpxAiohttpClient, run=uvloop.run),
        }
        turns = [start + turn * days for turn in range(rounds)]
        times = by_turns(timed(ways), turns)
    for name, spent in times.items():
        yield Line(name, f"{spent / each * MICRO:.2f} µs/record", spent / times["httpx loop, pydantic"])
    eight, one = times["itnio_voice, concurrency=8"], times["itnio_voice, concurrency=1"]
    yield Line("eight at once against the loop with pydantic", "", eight / times["httpx loop, pydantic"], 0.85)
    yield Line("one at a time against the same", "", one / times["httpx loop, pydantic"], 0.75)
    yield Line("one at a time against the loop with json.loads", "", one / times["httpx loop, json.loads"], 1)


def latency() -> Iterator[Line]:
    """Wait 50 ms for each answer: wall time."""
    start, day, dense = datetime(2026, 9, 1, tzinfo=UTC), timedelta(days=1), 1200
    with service("cheap", 80 * dense, start, start + 80 * day, latency=0.05) as server:
        query = server.base_url + "/recordGroupQuery"

        def by_hand(loop: Any, days: int, _: int) -> None:
            reading(ready_client, lambda client: loop(client, query, start, start + days * day))

        def library(concurrency: int, days: int, _: int, make: Any = nullcontext) -> None:
            reading(make, lambda client: stream(client, server.base_url, start, start + days * day, concurrency))

        for days, rounds in ((20, 5), (80, 3)):
            pages = days * dense // PAGE
            ways = {
                "eight workers, httpx, json.loads": partial(by_hand, peers.by_workers, days),
                "itnio_voice, concurrency=8, the same client": partial(library, 8, days, make=httpx.AsyncClient),
                "itnio_voice, concurrency=8, its own client": partial(library, 8, days),
            }
            times = by_turns(timed(ways, time.perf_counter), range(rounds))
            for name, spent in times.items():
                yield Line(f"{pages} pages, {name}", f"{spent:.2f} s")
            workers, ours, _ = times.values()
            yield Line("… the workers' time against the same client's", "", workers / ours, 0.9, least=True)
        slow: dict[str, Callable[[int], object]] = {
            "httpx loop, json.loads": partial(by_hand, peers.one_by_one, 20),
            "dlt's REST client": lambda _: peers.dlt_client(server.base_url, start, start + 20 * day),
            **{
                f"itnio_voice, concurrency={concurrency}": partial(library, concurrency, 20)
                for concurrency in (1, 2, 4, 8, 16)
            },
        }
        times = by_turns(timed(slow, time.perf_counter), range(2))
    for name, spent in times.items():
        yield Line(f"240 pages, {name}", f"{spent:.2f} s")
    loop, ours = times["httpx loop, json.loads"], times["itnio_voice, concurrency=8"]
    yield Line("… the loop's time against concurrency=8", "", loop / ours, 6.5, least=True)
    yield Line("… concurrency=1 against the loop", "", times["itnio_voice, concurrency=1"] / loop)


def long() -> Iterator[Line]:
    """Stream a million records, and a hundred thousand at the same density."""
    start, day, dense = datetime(2026, 9, 1, tzinfo=UTC), timedelta(days=1), 20_000
    with service("sandbox", 50 * dense, start, start + 50 * day) as server:
        walks = {}
        for days in (5, 50):
            command = [sys.executable, "-m", "tests.benchmarks.walker", server.base_url]
            command += [start.isoformat(), (start + days * day).isoformat()]
            walks[days] = json.loads(subprocess.check_output(command)) | {"requested": server.requested()}
    small, large = walks[5], walks[50]
    requested = large["requested"]
    for walk in (small, large):
        yield Line(
            f"{walk['records']:,} records, {walk['requested'].requests:,} requests, {walk['windows']} windows",
            f"{walk['wall'] / walk['records'] * MICRO:.1f} µs/record",
        )
    yield Line("… time per record", "", large["wall"] / large["records"] / small["wall"] * small["records"], 1.25)
    yield Line("… CPU time per record", "", large["cpu"] / large["records"] / small["cpu"] * small["records"], 1.25)
    yield Line("… peak memory of the process", f"{large['peak']:.0f} MB", large["peak"] / small["peak"], 1.1)
    yield Line("… deepest offset, in thousands of records", f"{requested.deepest:,}", requested.deepest / 1000, 12)
    thrown = requested.windows - large["windows"] - 1
    yield Line("… first pages thrown away, % of requests", f"{thrown}", 100 * thrown / requested.requests, 3)


def importing() -> Iterator[Line]:
    """Import, in a new process."""
    # As for users, with compiled bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(modules: str, _: int) -> float:
        program = f"import time; began = time.process_time(); import {modules}; print(time.process_time() - began)"
        return float(subprocess.check_output([sys.executable, "-c", program], env=environment))

    ways = {modules: partial(run, modules) for modules in ("httpx, cattrs", "itnio_voice", "httpx, itnio_voice")}
    by_turns(ways, range(1))
    times = by_turns(ways, range(21))
    for modules, spent in times.items():
        yield Line(f"import {modules}", f"{spent * 1000:.0f} ms")
    yield Line("… against httpx and cattrs", "", times["itnio_voice"] / times["httpx, cattrs"], 1.3)
    yield Line(
        "… with httpx, which the first session imports", "", times["httpx, itnio_voice"] / times["httpx, cattrs"], 1.3
    )


SECTIONS: dict[str, Callable[[], Iterator[Line]]] = {
    section.__name__: section
    for section in (decoding, memory, walking, loopback, latency, round_trips, ahead, long, importing)
}


def main(names: Sequence[str]) -> None:
    """Print the table, each section from its own process, so that none affects the next."""
    if len(names) == 1:
        section = SECTIONS[names[0]]
        print(f"\n{section.__doc__}")
        for line in section():
            print(f"  {line}", flush=True)
        return
    print(f"{'':60}{'figure':>14}{'ratio':>8}{'goal':>9}", flush=True)
    for name in names or SECTIONS:
        subprocess.run([sys.executable, "-m", "tests.benchmarks", name], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
