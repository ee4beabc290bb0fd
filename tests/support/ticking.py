"""Event loops whose clock moves by one tick per turn: a timeout of some ticks can expire at any point of a read.

Cancelled reads depend on the order of events within a turn or two of the event loop. A real clock rarely reaches these
orders, and never the same one twice. Here all of them are reached, and a seed repeats them.
"""

import asyncio
import math
import os
import random
import selectors
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import anyio
import trio

__all__ = ["TICK", "TIMEOUTS", "WAYS", "attempt", "run_ticking"]

TIMEOUTS = int(os.environ.get("ITNIO_TIMEOUTS", "60"))
"""How many calls a test cancels, on each event loop and for each way to read."""

TICK = 1e-6
"""Seconds of virtual time between two turns of an event loop."""

Read = Callable[[], Awaitable[Any]]


class _Selector(selectors.DefaultSelector):
    """Does not wait: the clock moves by a tick, or to the next moment at which something is due."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "every task waits"
        self.now += max(timeout or 0, TICK)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    """An event loop of asyncio in virtual time."""

    def __init__(self) -> None:
        self._ticking = _Selector()
        super().__init__(self._ticking)

    def time(self) -> float:
        return self._ticking.now


class _Clock(trio.abc.Clock):
    """A clock for trio that does the same."""

    def __init__(self) -> None:
        self.now = 1000.0

    def start_clock(self) -> None:
        """Do nothing: the clock moves by turns."""

    def current_time(self) -> float:
        """Return the time; trio reads it once a turn."""
        self.now += TICK
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Move to the deadline: trio has nothing else to do until then."""
        if deadline == math.inf:
            return deadline
        self.now = max(self.now, deadline)
        return 0


def run_ticking(main: Callable[[], Awaitable[Any]], backend: str, seed: object) -> Any:
    """Run an async function on an event loop in ticking time."""
    random.seed(str(seed))  # what waits are drawn from
    if backend == "trio":
        trio._core._run._r.seed(str(seed))  # what trio draws the order of tasks from
        return anyio.run(main, backend="trio", backend_options={"clock": _Clock()})
    return anyio.run(main, backend_options={"loop_factory": _Loop})


# Ways to cancel a read. Each returns what the read returned, or raises TimeoutError.


async def by_scope(read: Read, ticks: int) -> Any:
    """Cancel by a deadline of anyio's."""
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
    """Cancel the task itself, which catches it and goes on."""
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
