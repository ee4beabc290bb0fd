"""Reads that are cancelled, left, closed or forgotten leave nothing: no task, no connection, no request, no warning."""

import asyncio
import gc
import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx2
import pytest
import trio

from itnio_voice import ItnioError, VoiceSession
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .conftest import session_on

pytestmark = pytest.mark.anyio

CANCELLATIONS = int(os.environ.get("ITNIO_CANCELLATIONS", "1000"))
AT_ONCE = 10
CONNECTIONS = 4
LONGEST = 0.03
"""Seconds after which a read is cancelled at the latest; an undisturbed one takes about as long."""

END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=30)
SLOW = Behaviour(latency=0.002)
FAULTY = Behaviour(
    latency=0.002,
    faults=(Fault("drop", 0.1), Fault("half_body", 0.1), Fault("status_503", 0.1), Fault("hang", 0.05)),
)

Read = Callable[[], Awaitable[object]]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let no test leave a warning, in the log or for the collector of garbage; but stamina may tell of retries."""
    yield
    gc.collect()

    told = [record for record in caplog.get_records("call") if record.name != "stamina"]
    assert [] == [record.getMessage() for record in told if record.levelno >= logging.WARNING]


@pytest.fixture(params=["own", "httpx2"])
async def session(request: pytest.FixtureRequest, itnio_sandbox: Sandbox) -> AsyncIterator[VoiceSession]:
    """Open a session, on its own client or on a caller's; all connections are closed with it."""
    async with opened(itnio_sandbox, request.param) as session:
        yield session


@asynccontextmanager
async def opened(sandbox: Sandbox, client: str) -> AsyncIterator[VoiceSession]:
    """Open a session on four connections; at the end no task of it is left, and no connection."""
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
    """Wait for what the server's thread has yet to notice."""
    with anyio.fail_after(5):
        while not done():
            await anyio.sleep(0.005)


async def whole(session: VoiceSession, sandbox: Sandbox) -> int:
    """Check that nothing is stuck and that ten reads at once succeed; return how many connections are open then."""
    transport: Any = session._transport._http
    pool = transport._transport._pool
    await until(lambda: sandbox.in_flight == 0 and sandbox.connections == len(pool.connections))
    assert all(connection.is_idle() for connection in pool.connections)
    sandbox.behaviour = SLOW
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(at_once, session)
    await until(lambda: sandbox.in_flight == 0 and sandbox.connections == len(pool.connections))
    assert all(connection.is_idle() for connection in pool.connections)
    return sandbox.connections


# The ways to read, and to cancel


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
    """Ask for one page."""
    await session.page(START, END)


READINGS = (by_record, by_page, by_window, at_once, one_page)


async def by_scope(read: Read, seconds: float) -> bool:
    """Cancel by a cancel scope; tell whether there was something to cancel."""
    with anyio.move_on_after(seconds) as scope:
        await read()
    return scope.cancelled_caught


async def by_timeout(read: Read, seconds: float) -> bool:
    """Cancel by asyncio's timeout."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await read()
        return False
    return True


async def by_task(read: Read, seconds: float) -> bool:
    """Cancel as asyncio itself does, by the task."""
    task = asyncio.ensure_future(read())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled() or bool(task.result())


WAYS = {"asyncio": (by_scope, by_timeout, by_task), "trio": (by_scope,)}


async def cancel_reads(
    session: VoiceSession, ways: tuple[Any, ...], chance: random.Random, *errors: type[Exception]
) -> int:
    """Cancel ten reads, together or each at its own moment; return how many were cancelled."""
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
async def test_cancelled_reads_cost_nothing(
    session: VoiceSession, itnio_sandbox: Sandbox, anyio_backend: str, behaviour: Behaviour, errors: Any
) -> None:
    """After any number of reads cancelled at any moment, in any way, there are the connections that there were."""
    chance = random.Random(f"{anyio_backend} {behaviour}")
    before, tasks_before = await whole(session, itnio_sandbox), tasks()
    itnio_sandbox.behaviour = behaviour
    cancelled = 0
    while cancelled < CANCELLATIONS:
        cancelled += await cancel_reads(session, WAYS[anyio_backend], chance, *errors)
    assert tasks_before == tasks()
    after = await whole(session, itnio_sandbox)

    assert CONNECTIONS == before == after
