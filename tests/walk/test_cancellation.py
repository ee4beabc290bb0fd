"""Reads that are cancelled, left, closed or dropped leave no task, connection, request or warning."""

import asyncio
import gc
import logging
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import attrs
import httpx
import httpx2
import pytest
import trio

from itnio_voice import Credentials, ItnioError, VoiceSession, merge
from itnio_voice.outputs.arrow import record_batches
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import session_on
from ..support.ticking import TIMEOUTS, attempt, run_ticking

pytestmark = pytest.mark.anyio

CANCELLATIONS = int(os.environ.get("ITNIO_CANCELLATIONS", "150"))
AT_ONCE = 10
CONNECTIONS = 4
HANG = 60
"""Timeout in seconds of what should not hang; a busy machine does not reach it."""
LONGEST = 0.03
"""The latest time of a cancellation, in seconds; an undisturbed read takes about as long."""

END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=30)
SLOW = Behaviour(latency=0.002)
FAULTY = Behaviour(
    latency=0.002,
    faults=tuple(Fault(kind, 0.07) for kind in ("drop", "half_body", "status_503", "hang", "drip")),
)

Read = Callable[[], Awaitable[object]]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that no test leaves a warning in the log or at garbage collection, except warnings of retries."""
    yield
    gc.collect()

    log_records = [record for record in caplog.get_records("call") if record.name != "itnio_voice.requests"]
    assert [] == [record.getMessage() for record in log_records if record.levelno >= logging.WARNING]


@pytest.fixture(params=["own", "httpx2"])
async def session(request: pytest.FixtureRequest, itnio_sandbox: Sandbox) -> AsyncIterator[VoiceSession]:
    """Open a session on its own client or on a caller's; all connections are closed with it."""
    async with opened(itnio_sandbox, request.param) as session:
        yield session


@asynccontextmanager
async def opened(sandbox: Sandbox, client: str) -> AsyncIterator[VoiceSession]:
    """Open a session on four connections; at the end, no task and no connection of it is left."""
    before = tasks()
    if client == "own":
        async with session_on(sandbox, concurrency=CONNECTIONS) as session:
            yield session
    else:
        async with httpx2.AsyncClient() as theirs, session_on(sandbox, http_client=theirs) as session:
            yield session
    assert before == tasks()
    await until(lambda: sandbox.connections == 0)


def tasks() -> int:
    """Count the tasks of this event loop."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return trio.lowlevel.current_statistics().tasks_living


async def until(done: Callable[[], bool]) -> None:
    """Wait for a condition that the server's thread brings about."""
    with anyio.fail_after(HANG):
        while not done():
            await anyio.sleep(0.005)


async def assert_usable(session: VoiceSession, sandbox: Sandbox) -> int:
    """Check that nothing is stuck and that ten concurrent reads succeed; return the number of open connections."""
    await assert_idle(session, sandbox)
    sandbox.behaviour = SLOW
    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(at_once, session)
    return await assert_idle(session, sandbox)


async def assert_idle(session: VoiceSession, sandbox: Sandbox) -> int:
    """Check that no request is in flight; return the number of open connections, all of them in the pool."""
    own: Any = session._transport._http
    theirs: Any = session._transport.client
    pool = (theirs._transport if theirs else own.transport)._pool
    await until(lambda: sandbox.in_flight == 0 and sandbox.connections == len(pool.connections))
    assert f"[Requests: 0 active, 0 queued | Connections: 0 active, {sandbox.connections} idle]" in repr(pool)
    return sandbox.connections


# Ways to read, and to cancel


async def by_record(session: VoiceSession) -> None:
    """Read record by record."""
    async for _ in session.records(START, END):
        pass


async def by_page(session: VoiceSession) -> None:
    """Read page by page."""
    async for _ in session.records(START, END).pages():
        pass


async def by_window(session: VoiceSession) -> None:
    """Read window by window."""
    async for _ in session.records(START, END).windows():
        pass


async def at_once(session: VoiceSession) -> None:
    """Read all at once."""
    await session.records(START, END, page_size=20).collect()


async def one_page(session: VoiceSession) -> None:
    """Request one page."""
    await session.page(START, END)


READINGS = (by_record, by_page, by_window, at_once, one_page)


async def by_scope(read: Read, seconds: float) -> bool:
    """Cancel by a cancel scope; return whether anything was cancelled."""
    with anyio.move_on_after(seconds) as scope:
        await read()
    return scope.cancelled_caught


async def by_timeout(read: Read, seconds: float) -> bool:
    """Cancel by `asyncio.timeout`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await read()
        return False
    return True


async def by_task(read: Read, seconds: float, *, times: int = 1) -> bool:
    """Cancel by `task.cancel()`, as asyncio does; several times while the task still cleans up."""
    task = asyncio.ensure_future(read())
    await asyncio.sleep(seconds)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([task])
    return task.cancelled() or bool(task.result())


WAYS = {"asyncio": (by_scope, by_timeout, by_task, partial(by_task, times=3)), "trio": (by_scope,)}


async def cancel_reads(
    session: VoiceSession, ways: tuple[Any, ...], chance: random.Random, *errors: type[Exception]
) -> int:
    """Cancel ten reads, together or each at its own moment; return the number of cancelled ones."""
    cancelled = 0
    together = chance.choice([None, chance.uniform(0, LONGEST)])

    async def attempt() -> None:
        nonlocal cancelled
        reading, way = chance.choice(READINGS), chance.choice(ways)

        async def read() -> None:
            with suppress(*errors):
                await reading(session)

        if await way(read, chance.uniform(0, LONGEST) if together is None else together):
            cancelled += 1

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(attempt)
    return cancelled


@pytest.mark.parametrize(("behaviour", "errors"), [(SLOW, ()), (FAULTY, (ItnioError,))], ids=["slow", "faulty"])
async def test_cancelled_reads_leave_nothing_behind(
    session: VoiceSession, itnio_sandbox: Sandbox, anyio_backend: str, behaviour: Behaviour, errors: Any
) -> None:
    """After any number of reads cancelled at any moment, in any way, the same connections are open."""
    chance = random.Random(f"{anyio_backend} {behaviour}")
    before, tasks_before = await assert_usable(session, itnio_sandbox), tasks()
    itnio_sandbox.behaviour = behaviour
    cancelled = 0
    while cancelled < CANCELLATIONS:
        cancelled += await cancel_reads(session, WAYS[anyio_backend], chance, *errors)
    assert tasks_before == tasks()
    after = await assert_usable(session, itnio_sandbox)

    assert CONNECTIONS == before == after


# Readings that are left, and continued


@pytest.mark.parametrize("reading", ["records", "pages", "windows"])
async def test_leaving_a_loop_leaves_nothing_behind(
    session: VoiceSession, itnio_sandbox: Sandbox, reading: str
) -> None:
    """A break, an exception or a timeout in a loop leaves no task and no connection, at any point of the loop."""
    before, tasks_before = await assert_usable(session, itnio_sandbox), tasks()
    for rest in range(0, 12, 2):
        stream: Any = session.records(START, END, page_size=10)
        loop = stream if reading == "records" else getattr(stream, reading)()
        async for _ in loop:
            if rest % 3 == 0:
                break
        with pytest.raises(ZeroDivisionError):
            async for _ in session.records(START, END, page_size=10):
                rest // 0
        with anyio.move_on_after(rest / 400):
            async for _ in session.records(START, END, page_size=10):
                await anyio.sleep(rest / 2000)
        assert tasks_before == tasks()

    assert before == await assert_usable(session, itnio_sandbox)


@pytest.mark.itnio_sandbox(records=800)
@pytest.mark.parametrize("reading", ["records", "pages", "windows"])
async def test_a_cancelled_reading_continues_without_loss(
    session: VoiceSession, itnio_sandbox: Sandbox, reading: str, anyio_backend: str
) -> None:
    """A reading that is cancelled and continued repeatedly returns each record exactly once."""
    itnio_sandbox.behaviour = attrs.evolve(SLOW, max_span=timedelta(days=4))
    chance = random.Random(reading)
    stream: Any = session.records(START, END, page_size=10)
    steps = aiter(stream) if reading == "records" else getattr(stream, reading)()
    found: list[Any] = []
    cancelled = 0

    async def read() -> None:
        async for item in steps:
            found.extend([item] if reading == "records" else item.records)

    # Later each time, so that the loop ends.
    while await chance.choice(WAYS[anyio_backend])(read, chance.uniform(0, 0.002 * cancelled)):
        cancelled += 1

    ids = [record.voice_id for record in found]
    assert cancelled > 3
    assert len(ids) == len(set(ids))
    assert itnio_sandbox.ids(START, END) == set(ids)


PAST = END - timedelta(days=1)
STEPS: dict[str, Callable[[Any], Any]] = {
    "records": aiter,
    "pages": lambda stream: stream.pages(),
    "windows": lambda stream: stream.windows(),
    "batches": lambda stream: record_batches(stream, size=33),
    "merged records": lambda stream: merge({"a": stream}, buffer=3),
    "merged windows": lambda stream: merge({"a": stream.windows()}, buffer=1),
}


@pytest.mark.parametrize("reading", STEPS)
def test_cancelled_calls_lose_no_record(anyio_backend: str, reading: str, record_property: Any) -> None:
    """Each record is returned once, at whatever point and in whatever way calls for the next item are cancelled."""
    chance = random.Random(f"{anyio_backend} {reading}")
    counts = Counter(timeouts=0, items=0, lost=0, doubled=0)
    sandbox = Sandbox(
        records=200, start=PAST - timedelta(days=30), end=PAST, behaviour=Behaviour(max_span=timedelta(days=5))
    )

    async def main() -> None:
        async with (
            httpx.AsyncClient(transport=httpx.ASGITransport(sandbox.app)) as client,
            VoiceSession(
                Credentials(sandbox.api_key, sandbox.api_secret),
                base_url="http://127.0.0.1/voice",
                http_client=client,
            ) as session,
        ):
            while counts["timeouts"] < TIMEOUTS:
                await read(session)

    async def read(session: VoiceSession) -> None:
        stream = session.records(PAST - timedelta(days=30), PAST, page_size=20)
        steps = STEPS[reading](stream)
        if reading.startswith("merged"):
            async with steps:
                found, last = await read_steps(steps)
        else:
            found, last = await read_steps(steps)

        counts["items"] += 200
        counts["lost"] += len(sandbox.ids() - found.keys())
        counts["doubled"] += found.total() - len(found)
        assert 200 == stream.progress.records
        assert "windows" not in reading or last.checkpoint == stream.checkpoint

    async def read_steps(steps: Any) -> tuple[Counter[str], Any]:
        found: list[Any] = []
        last, ticks = None, 10
        while True:
            try:
                item = await attempt(lambda: anext(steps, None), anyio_backend, chance, ticks)
            except TimeoutError:
                counts["timeouts"] += 1
                ticks += 2  # so that the loop ends
                continue
            if item is None:
                return Counter(found), last
            last = item[1] if reading.startswith("merged") else item
            found += ids_of(last)
            ticks = chance.choice([2, 4, 10, 20])

    run_ticking(main, anyio_backend, reading)
    sandbox.close()
    for name, count in counts.items():
        record_property(name, count)

    assert (0, 0) == (counts["lost"], counts["doubled"])


def ids_of(item: Any) -> list[str]:
    """Return the ids of the records that a step returned."""
    if hasattr(item, "voice_id"):
        return [item.voice_id]
    return [record.voice_id for record in item.records] if hasattr(item, "records") else item["voice_id"].to_pylist()


@pytest.mark.parametrize("client", ["own", "httpx2"])
async def test_readers_of_a_closed_session_raise_at_once(
    itnio_sandbox: Sandbox, client: str, anyio_backend: str
) -> None:
    """When another task closes the session, readers raise an error at once, in any state."""
    chance = random.Random(f"{anyio_backend} {client}")
    errors = Counter[str]()

    async def read(session: VoiceSession) -> None:
        try:
            await chance.choice(READINGS)(session)
        except (RuntimeError, ItnioError) as error:
            errors[str(error)] += isinstance(error, RuntimeError)

    for _ in range(15):
        itnio_sandbox.behaviour = chance.choice([SLOW, FAULTY])
        async with opened(itnio_sandbox, client) as session:
            with anyio.fail_after(HANG):
                async with anyio.create_task_group() as group:
                    for _ in range(AT_ONCE):
                        group.start_soon(read, session)
                    await anyio.sleep(chance.uniform(0, LONGEST))
                    await session.aclose()
    ((words, times),) = (+errors).items()
    assert "this VoiceSession is closed: open another one" == words
    assert times


async def test_a_stream_of_a_closed_session_raises(itnio_sandbox: Sandbox) -> None:
    """After a close, or two, the next request of a stream raises a clear RuntimeError."""
    session = session_on(itnio_sandbox)
    reading = aiter(session.records(START, END, page_size=10))
    await anext(reading)
    await session.aclose()
    await session.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        while True:
            await anext(reading)


@pytest.mark.parametrize("doing", ["hang", "status_503"])
async def test_closing_a_session_ends_its_calls(itnio_sandbox: Sandbox, doing: Any) -> None:
    """A close ends calls in flight, between two attempts, and waiting for a slot or for the rate."""
    itnio_sandbox.behaviour = Behaviour(faults=(Fault(doing, retry_after=60),))
    closed = 0

    session = session_on(itnio_sandbox, concurrency=2, rate=20)

    async def request_page() -> None:
        nonlocal closed
        with pytest.raises(RuntimeError, match="closed"):
            await session.page(START, END)
        closed += 1

    with anyio.fail_after(HANG):
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(request_page)
            await anyio.sleep(0.1)
            await session.aclose()
        await until(lambda: itnio_sandbox.connections == 0)

    assert 8 == closed
    assert len(itnio_sandbox.requests) < 8


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("ticks", range(1, 7))
async def test_a_cancelled_close_leaves_no_connection(itnio_sandbox: Sandbox, ticks: int) -> None:
    """A task that is cancelled while it closes its session leaves no connection open."""
    session = session_on(itnio_sandbox)
    assert CONNECTIONS == await assert_usable(session, itnio_sandbox)
    closing = asyncio.create_task(session.aclose())
    for _ in range(ticks):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await until(lambda: itnio_sandbox.connections == 0)


# Dropped streams


async def test_dropped_streams_leave_nothing_behind(session: VoiceSession, itnio_sandbox: Sandbox) -> None:
    """Streams that are dropped half read, in any way of reading, leave no task and no connection."""
    before, tasks_before = await assert_usable(session, itnio_sandbox), tasks()
    for _ in range(20):
        await anext(aiter(session.records(START, END, page_size=10)))
        await anext(session.records(START, END, page_size=10).pages())
        await anext(session.records(START, END, page_size=10).windows())
        session.records(START, END).pages()
    gc.collect()

    assert tasks_before == tasks()
    assert before == await assert_usable(session, itnio_sandbox)


def test_a_program_may_end_with_a_stream_half_read(itnio_sandbox: Sandbox, anyio_backend: str) -> None:
    """A program that ends with a stream half read causes no warning, if its session is closed."""
    kept: list[Any] = []

    async def main() -> None:
        async with session_on(itnio_sandbox) as session:
            kept.append(aiter(session.records(START, END, page_size=10)))
            await anext(kept[0])

    anyio.run(main, backend=anyio_backend)
    gc.collect()
    kept.clear()


@pytest.mark.itnio_sandbox(behaviour=Behaviour(latency=0.05))
@pytest.mark.parametrize("requests", [1, 2, 5])
def test_a_program_may_end_while_a_task_reads(itnio_sandbox: Sandbox, requests: int) -> None:
    """A program that ends while its task reads cancels the task and causes no warning."""

    async def read() -> None:
        async with session_on(itnio_sandbox) as session:
            await session.records(START, END, page_size=10).collect()

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(read())
        await until(lambda: len(itnio_sandbox.requests) >= requests)
        return task

    task = asyncio.run(main())
    gc.collect()
    assert task.cancelled()


def test_a_session_left_open_warns_of_its_connections(itnio_sandbox: Sandbox, anyio_backend: str) -> None:
    """A session that is never closed causes only Python's warnings of its open connections."""

    async def read() -> None:
        await anext(aiter(session_on(itnio_sandbox).records(START, END)))

    def run() -> None:
        anyio.run(read, backend=anyio_backend)
        gc.collect()

    # Any other warning is raised.
    with pytest.warns(ResourceWarning, match="unclosed"):
        run()
