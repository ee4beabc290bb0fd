"""An event loop in virtual time: the clock jumps to the next moment at which something is due."""

import asyncio
import selectors
from typing import Any

import trio.testing

__all__ = ["VirtualLoop", "backend_options"]


def backend_options(backend: str) -> dict[str, Any]:
    """Return what makes an event loop run in virtual time."""
    if backend == "trio":
        return {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return {"loop_factory": VirtualLoop}


class _Jumping(selectors.DefaultSelector):
    """Does not wait."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for something else"
            self.now += max(timeout, 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time."""
        return self._jumping.now
