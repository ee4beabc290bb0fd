"""Reading several streams at the same time: `merge`."""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .._http.event_loop import OneEventLoop
from .._model.printable import get_logger
from .._wire.pages import LARGEST_PAGE
from .owned_tasks import OwnedTasks
from .stream import RecordStream

__all__ = ["MergedStreams", "merge"]

_LOGGER = get_logger("itnio_voice.merge")

K = TypeVar("K")
T = TypeVar("T")


def merge(
    streams: Mapping[K, AsyncIterable[T]], *, buffer: int = 1000, on_error: Literal["raise", "collect"] = "raise"
) -> "MergedStreams[K, T]":
    """Read several streams at the same time, as pairs of a stream's name and one of its items.

    `async with merge({"eu": eu.records(a, b), "us": us.records(a, b)}) as merged: async for name, record in merged: …`

    Each stream keeps its own order, and the streams are interleaved as their items arrive. At most `buffer` items, plus
    one of each stream, are read ahead of the consumer; of a stream of records, as many pages as hold `buffer` records
    wait or are in flight besides. When the consumer is slow, no more requests are sent. Leaving the `async with` stops
    all streams.

    Any number of tasks may call `anext(merged)`, and each call may be cancelled, also by `asyncio.timeout` or
    `asyncio.wait_for`: the next call returns the item that the cancelled call did not return.

    A stream's own `checkpoint` covers the items that `merge` has read, which may be ahead of the consumer. To resume
    exactly, merge `stream.windows()`: each batch has its own checkpoint.

    With `on_error="raise"` the first failure stops all streams, and the next `anext(merged)` raises it; items that were
    read ahead are dropped. With "collect" the other streams are first read to their end, and then the failures are
    raised as an `ExceptionGroup`. A note on each failure names its stream, and `merged.failures` has the failures by
    stream name. If the reading of a stream is cancelled before its end, that is a failure too, with a RuntimeError.

    Raises:
        ValueError: if `buffer` is not an int of at least 1, `on_error` is neither "raise" nor "collect", or a stream
            cannot be read with `async for`.
    """
    if type(buffer) is not int or buffer < 1:
        message = f"buffer must be a whole number from 1, not {buffer!r}"
        raise ValueError(message)
    if on_error not in {"raise", "collect"}:
        message = f'on_error must be "raise" or "collect", not {on_error!r}'
        raise ValueError(message)
    for name, stream in streams.items():
        if not isinstance(stream, AsyncIterable):
            message = f"{name!r} must be a stream to read with async for, not {stream!r:.80}"
            raise ValueError(message)  # noqa: TRY004 -- a wrong argument like any other
    return MergedStreams(dict(streams), buffer, first_failure_ends=on_error == "raise")


class MergedStreams(Generic[K, T]):
    """The streams that `merge` reads: enter it with `async with`, then read it with `async for`."""

    def __init__(self, streams: dict[K, AsyncIterable[T]], buffer: int, *, first_failure_ends: bool) -> None:
        self._streams = streams
        self._first_failure_ends = first_failure_ends
        self._queue = _Queue[tuple[K, T]](buffer)
        self._pages_ahead = -(-buffer // LARGEST_PAGE)
        self._unfinished = set(streams)
        self._failures: dict[K, Exception] = {}
        self._raised = False
        self._tasks = OwnedTasks()

    async def __aenter__(self) -> Self:
        if self._tasks.were_started:
            message = "these merged streams were already entered: call merge() again, with new streams"
            raise RuntimeError(message)
        self._queue.loop.check()
        await self._tasks.enter()
        self._tasks.start(self._read_all)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._tasks.leave()
        finally:
            self._queue.end()

    def __aiter__(self) -> AsyncIterator[tuple[K, T]]:
        return self

    async def __anext__(self) -> tuple[K, T]:
        if not self._tasks.are_running:
            message = "merged streams can only be read inside `async with`"
            raise RuntimeError(message)
        if self._first_failure_ends and self._failures:
            self._raise_failures()
            raise StopAsyncIteration
        while not self._queue.items:
            if self._queue.ended:
                self._fail_unfinished()
                self._raise_failures()
                raise StopAsyncIteration
            # Most items arrive within one cycle of the event loop, and an event costs more than a cycle.
            await anyio.lowlevel.checkpoint()
            if not self._queue.items and not self._queue.ended:
                await self._queue.change().wait()
        return self._queue.take()

    @property
    def failures(self) -> dict[K, Exception]:
        """The failures so far, by the names of the streams."""
        return dict(self._failures)

    def _fail_unfinished(self) -> None:
        """Add a failure for each stream that neither reached its end nor failed: the rest of its items is missing."""
        for name in self._unfinished:
            failure = RuntimeError("the reading of this stream was cancelled before its end")
            failure.add_note(f"while reading {name!r}")
            self._failures[name] = failure
        self._unfinished.clear()

    def _raise_failures(self) -> None:
        """Raise the failures, once."""
        if self._raised or not self._failures:
            return
        self._raised = True
        failures = list(self._failures.values())
        if self._first_failure_ends:
            raise failures[0]
        message = f"{len(failures)} of {len(self._streams)} streams failed"
        raise ExceptionGroup(message, failures)

    async def _read_all(self) -> None:
        """Read every stream, in a task group of their own: cancelling the readers must not cancel the caller."""
        try:
            async with anyio.create_task_group() as readers:
                for name, stream in self._streams.items():
                    readers.start_soon(self._read, name, stream, readers)
        except anyio.get_cancelled_exc_class():
            # This task ends here. If a cancellation of this task alone were raised, it would cancel the caller.
            pass
        finally:
            self._queue.end()

    async def _read(self, name: K, stream: AsyncIterable[T], readers: TaskGroup) -> None:
        try:
            if isinstance(stream, RecordStream):
                async with stream.prefetch(self._pages_ahead) as ahead:
                    await self._read_items(name, ahead)
            else:
                await self._read_items(name, stream)
            self._unfinished.remove(name)
        except Exception as failure:  # noqa: BLE001 -- __anext__ raises it
            failure.add_note(f"while reading {name!r}")
            self._unfinished.remove(name)
            self._failures[name] = failure
            if self._first_failure_ends:
                readers.cancel_scope.cancel()
            else:
                extra = {"itnio.stream": str(name), "itnio.error": type(failure).__name__}
                rest = ", the others go on" if self._unfinished else ""
                _LOGGER.warning("reading %r failed%s: %s", name, rest, failure, extra=extra)

    async def _read_items(self, name: K, items: AsyncIterable[T]) -> None:
        async for item in items:
            if fits := self._queue.put((name, item)):
                await fits.wait()


class _Queue(Generic[T]):
    """The items between the readers and the consumer: at most `size`, plus one of each reader.

    An item is in `items` from the moment its stream yields it until the consumer's call returns it. There is no await
    between `take` and that return, so a cancellation can neither lose an item nor return one twice. A memory object
    stream of anyio does not guarantee this: it passes the item to the receiver before the receiver wakes up, and drops
    the item if asyncio cancels the receiver in between.
    """

    def __init__(self, size: int) -> None:
        self.items: deque[T] = deque()
        self.ended = False
        self.loop = OneEventLoop("merge")
        self._size = size
        self._change: anyio.Event | None = None
        # One event for each item beyond `size`, in the order of the items.
        self._beyond: deque[anyio.Event] = deque()

    def put(self, item: T) -> anyio.Event | None:
        """Append an item; if it is beyond `size`, return the event that its reader must wait for."""
        self.items.append(item)
        if self._change:
            self._wake()
        if len(self.items) <= self._size:
            return None
        self._beyond.append(anyio.Event())
        return self._beyond[-1]

    def take(self) -> T:
        """Remove and return the oldest item."""
        if self._beyond:
            self.loop.check()
            self._beyond.popleft().set()
        return self.items.popleft()

    def end(self) -> None:
        """Record that no more items will be put."""
        self.ended = True
        self._wake()

    def change(self) -> anyio.Event:
        """Return the event that is set when an item is put, or the queue ends."""
        self.loop.check()
        if self._change is None:
            self._change = anyio.Event()
        return self._change

    def _wake(self) -> None:
        """Wake every waiting consumer: if only one were woken and then cancelled, the others would wait on."""
        if self._change:
            self._change.set()
            self._change = None
