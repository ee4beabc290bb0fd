"""A fixed number of slots for requests in flight, granted round-robin between callers."""

from collections import OrderedDict, deque
from collections.abc import Hashable

import anyio

__all__ = ["FairSlots"]


class FairSlots:
    """A fixed number of slots, granted round-robin between callers; the requests of one caller keep their order."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: OrderedDict[Hashable, deque[anyio.Event]] = OrderedDict()

    async def acquire(self, caller: Hashable) -> None:
        """Wait for a slot and take it; the caller must call `release`."""
        if self._free:
            self._free -= 1
        else:
            await self._wait_turn(caller)

    async def _wait_turn(self, caller: Hashable) -> None:
        turn = anyio.Event()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.release()
            else:
                self._leave(caller, turn)
            raise

    def release(self) -> None:
        """Release a slot: it goes to the first waiting request of the next caller."""
        if not self._waiting:
            self._free += 1
            return
        caller, turns = next(iter(self._waiting.items()))
        self._waiting.move_to_end(caller)
        turn = turns[0]
        self._leave(caller, turn)
        turn.set()

    def _leave(self, caller: Hashable, turn: anyio.Event) -> None:
        self._waiting[caller].remove(turn)
        if not self._waiting[caller]:
            del self._waiting[caller]
