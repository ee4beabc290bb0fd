"""Ways to cancel a read, on event loops whose clock moves by one tick per turn.

Cancelled reads depend on the order of events within a turn or two of the event loop. A real clock rarely reaches these
orders, and never the same one twice. Here a timeout can expire at any point of a read, and a seed repeats it.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import anyio
import trio

from .virtual_time import backend_options

__all__ = ["TICK", "TIMEOUTS", "WAYS", "attempt", "run_ticking"]

TIMEOUTS = int(os.environ.get("ITNIO_TIMEOUTS", "60"))
"""The number of calls that a test cancels, on each event loop and for each way to read."""

TICK = 1e-6
"""Seconds of virtual time between two turns of an event loop."""

Read = Callable[[], Awaitable[Any]]


def run_ticking(main: Callable[[], Awaitable[Any]], backend: str, seed: object) -> Any:
    """Run an async function on an event loop in virtual time, one tick per turn."""
    random.seed(str(seed))  # the source of waits
    if backend == "trio":
        trio._core._run._r.seed(str(seed))  # the source of trio's order of tasks
    return anyio.run(main, backend=backend, backend_options=backend_options(backend, TICK))


# Ways to cancel a read. Each returns what the read returned, or raises TimeoutError.


async def by_scope(read: Read, ticks: int) -> Any:
    """Cancel by a deadline of anyio."""
    with anyio.fail_after(ticks * TICK):
        return await read()


async def by_cancelled_scope(read: Read, ticks: int) -> Any:
    """Cancel by a task that cancels the scope."""
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(_cancel_after, scope, ticks)
            result = await read()
            group.cancel_scope.cancel()
            return result
    raise TimeoutError


async def _cancel_after(scope: anyio.CancelScope, ticks: int) -> None:
    await anyio.sleep(ticks * TICK)
    scope.cancel()


async def by_timeout(read: Read, ticks: int) -> Any:
    """Cancel by `asyncio.timeout`."""
    async with asyncio.timeout(ticks * TICK):
        return await read()


async def by_wait_for(read: Read, ticks: int) -> Any:
    """Cancel by `asyncio.wait_for`."""
    return await asyncio.wait_for(read(), ticks * TICK)


async def by_caught_cancel(read: Read, ticks: int) -> Any:
    """Cancel the task itself, which catches the cancellation and continues."""
    task = asyncio.current_task()
    assert task
    handle = asyncio.get_running_loop().call_later(ticks * TICK, task.cancel)
    try:
        return await read()
    except asyncio.CancelledError:
        task.uncancel()
        raise TimeoutError from None
    finally:
        handle.cancel()


async def by_task(read: Read, ticks: int) -> Any:
    """Cancel a task that reads."""
    reading = asyncio.ensure_future(read())
    await asyncio.sleep(ticks * TICK)
    reading.cancel()
    await asyncio.wait([reading])
    if reading.cancelled():
        raise TimeoutError
    return reading.result()


async def by_cancelled_wait_for(read: Read, ticks: int) -> Any:
    """Cancel a task that waits by `asyncio.wait_for`."""
    return await by_task(lambda: asyncio.wait_for(read(), 1000 * ticks * TICK), ticks)


WAYS: dict[str, tuple[Callable[[Read, int], Awaitable[Any]], ...]] = {
    "asyncio": (
        by_scope,
        by_cancelled_scope,
        by_timeout,
        by_wait_for,
        by_caught_cancel,
        by_task,
        by_cancelled_wait_for,
    ),
    "trio": (by_scope, by_cancelled_scope),
}


async def attempt(read: Read, backend: str, chance: Random, ticks: int) -> Any:
    """Read once, with a timeout of at most `ticks` ticks; raise TimeoutError if it expired."""
    return await chance.choice(WAYS[backend])(read, chance.randrange(ticks))
