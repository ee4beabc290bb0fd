"""Event loops in virtual time, for asyncio and trio.

The clock never waits. It moves by `tick` seconds with each turn of the event loop, and jumps to the next event when the
loop has nothing else to do. With `tick=0` it only jumps.
"""

import asyncio
import functools
import math
import selectors
from typing import Any

import trio

__all__ = ["VirtualLoop", "backend_options"]

START = 1000.0


def backend_options(backend: str, tick: float = 0) -> dict[str, Any]:
    """Return the options with which `anyio.run` runs a backend in virtual time."""
    if backend == "trio":
        return {"clock": VirtualClock(tick)}
    return {"loop_factory": functools.partial(VirtualLoop, tick)}


class VirtualSelector(selectors.DefaultSelector):
    """A selector that moves the clock instead of waiting."""

    def __init__(self, tick: float) -> None:
        super().__init__()
        self.now = START
        self.tick = tick

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "deadlock: every task waits for another"
        self.now += max(self.tick, 0 if ready else timeout or 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio in virtual time."""

    def __init__(self, tick: float = 0) -> None:
        self._virtual_selector = VirtualSelector(tick)
        super().__init__(self._virtual_selector)

    def time(self) -> float:
        """Return the virtual time."""
        return self._virtual_selector.now


class VirtualClock(trio.abc.Clock):
    """A clock of trio in virtual time."""

    def __init__(self, tick: float = 0) -> None:
        self.now = START
        self.tick = tick

    def start_clock(self) -> None:
        """Do nothing: only turns and deadlines move the clock."""

    def current_time(self) -> float:
        """Return the virtual time; trio reads it once a turn."""
        self.now += self.tick
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump to the deadline: trio has nothing else to do until then."""
        if deadline == math.inf:
            return deadline
        self.now = max(self.now, deadline)
        return 0
