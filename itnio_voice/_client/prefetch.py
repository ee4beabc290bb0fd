"""A walk that is read ahead of its consumer, in a task of its own."""

from typing import Generic

import anyio
import anyio.lowlevel

from .._model.records import R
from .._walk.chunks import Chunk
from .._walk.walk import Walk
from .newest_first import BackwardWalk

__all__ = ["WalkAhead"]


class WalkAhead(Generic[R]):
    """A walk whose requests are sent while its consumer works. `run` is its task, `advance` is for the consumer.

    A chunk stays in the walk until the consumer's call returns it, and there is no await between, so a call that is
    cancelled loses none. After a failure, `run` waits until the consumer has received it and asks for more.
    """

    def __init__(self, walk: Walk[R] | BackwardWalk[R], pages: int) -> None:
        self._walk = walk
        self._failure: Exception | None = None
        # Why no more chunks will come: the walk has ended, its task has ended, or the consumer has left.
        self._is_complete = self._is_over = self._is_closed = False
        self._chunk_ready = self._room_left = self._goes_on = anyio.Event()
        walk.read_ahead(pages, self._wake_consumer)

    async def run(self) -> None:
        """Read to the end, at most as far ahead as allowed."""
        try:
            while not self._is_complete:
                await self._wait_for_room()
                try:
                    self._is_complete = not await self._walk.step()
                except Exception as failure:  # noqa: BLE001 -- advance raises it
                    self._failure, self._goes_on = failure, anyio.Event()
                    self._wake_consumer()
                    await self._goes_on.wait()
        except anyio.get_cancelled_exc_class():
            # This task ends here. If a cancellation of this task alone were raised, it would cancel the consumer.
            pass
        finally:
            self._is_over = True
            self._wake_consumer()

    async def advance(self) -> Chunk[R] | None:
        """Return the next chunk; None at the end.

        Raises:
            Exception: why the walk failed, where the records before the failure have been returned.
            RuntimeError: if the task was cancelled before the end, or the consumer has left the `async with`.
        """
        await anyio.lowlevel.checkpoint()
        if self._failure is None:
            self._goes_on.set()
        while not self._is_closed:
            if chunk := self._walk.take():
                self._room_left.set()
                return chunk
            if self._failure:
                failure, self._failure = self._failure, None
                raise failure
            if self._is_over:
                break
            self._chunk_ready = anyio.Event()
            await self._chunk_ready.wait()
        if self._is_complete and not self._is_closed:
            return None
        message = (
            "the stream is not read ahead any more: read it inside `async with`, or call session.records() again, "
            "with resume=stream.checkpoint to continue"
        )
        raise RuntimeError(message)

    def close(self) -> None:
        """End the reading for the consumer too."""
        self._is_closed = True

    def _wake_consumer(self) -> None:
        self._chunk_ready.set()

    async def _wait_for_room(self) -> None:
        while not self._walk.has_room:
            self._room_left = anyio.Event()
            await self._room_left.wait()
