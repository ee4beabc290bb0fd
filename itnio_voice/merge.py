"""Several streams read at once, as one: many accounts, or a stream ahead of a slow consumer."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

__all__ = ["Merged", "merge"]

_LOGGER = logging.getLogger(__name__)

K = TypeVar("K")
T = TypeVar("T")


def merge(
    streams: Mapping[K, AsyncIterable[T]], *, buffer: int = 1000, on_error: Literal["raise", "collect"] = "raise"
) -> "Merged[K, T]":
    """Read several streams at once, as pairs of a stream's name and an item of it.

    `async with merge({"eu": eu.records(a, b), "us": us.records(a, b)}) as merged: async for name, record in merged: …`

    Each stream keeps its own order; they mix as they come. At most `buffer` items in all, and what the streams hold
    themselves, are read ahead of the consumer: a slow one stops the fetching. Leaving the `async with` stops all.

    A stream's `checkpoint` tells what has been read here, which may be ahead of the consumer. To go on exactly, merge
    `stream.windows()`: each batch carries its own.

    With `on_error="raise"` the first failure stops all, and is raised itself where the next item is asked for. With
    "collect" the other streams are read to their end first, and the failures are raised as an `ExceptionGroup`. A note
    on each names its stream, and `merged.failures` has them by name.

    Raises:
        ValueError: for a buffer that is not a whole number from 1, another `on_error`, or what is no stream.
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
    return Merged(dict(streams), buffer, first_failure_ends=on_error == "raise")


class Merged(Generic[K, T]):
    """What `merge` makes: enter it, then read it."""

    def __init__(self, streams: dict[K, AsyncIterable[T]], buffer: int, *, first_failure_ends: bool) -> None:
        self._streams = streams
        self._buffer = buffer
        self._first_failure_ends = first_failure_ends
        self._failures: dict[K, Exception] = {}
        self._told = False
        self._group: TaskGroup | None = None
        self._inside = False
        self._items: MemoryObjectReceiveStream[tuple[K, T]]

    async def __aenter__(self) -> Self:
        if self._group:
            message = "these streams have been merged before: merge others"
            raise RuntimeError(message)
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        send, self._items = anyio.create_memory_object_stream[tuple[K, T]](self._buffer)
        self._group.start_soon(self._read_all, send)
        self._inside = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._group  # noqa: S101 -- it has been entered
        self._inside = False
        self._group.cancel_scope.cancel()
        try:
            # The group is not told of the caller's exception, which it would wrap in one of its own.
            await self._group.__aexit__(None, None, None)
        finally:
            self._items.close()

    def __aiter__(self) -> AsyncIterator[tuple[K, T]]:
        return self

    async def __anext__(self) -> tuple[K, T]:
        if not self._inside:
            message = "merged streams are read inside `async with`"
            raise RuntimeError(message)
        if self._first_failure_ends:
            self._raise_failures()
        try:
            try:
                return self._items.receive_nowait()
            except anyio.WouldBlock:
                return await self._items.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._raise_failures()
            raise StopAsyncIteration from None

    @property
    def failures(self) -> dict[K, Exception]:
        """What has failed so far, by the names of the streams."""
        return dict(self._failures)

    def _raise_failures(self) -> None:
        """Raise what failed, once."""
        if self._told or not self._failures:
            return
        self._told = True
        failures = list(self._failures.values())
        if self._first_failure_ends:
            self._items.close()
            raise failures[0]
        message = f"{len(failures)} of {len(self._streams)} streams failed"
        raise ExceptionGroup(message, failures)

    async def _read_all(self, send: MemoryObjectSendStream[tuple[K, T]]) -> None:
        """Read every stream, in a group of their own: what ends the readers is not to end the caller."""
        with send:
            async with anyio.create_task_group() as readers:
                for name, stream in self._streams.items():
                    readers.start_soon(self._read, name, stream, send, readers)

    async def _read(
        self, name: K, stream: AsyncIterable[T], send: MemoryObjectSendStream[tuple[K, T]], readers: TaskGroup
    ) -> None:
        try:
            async for item in stream:
                try:
                    send.send_nowait((name, item))
                except anyio.WouldBlock:
                    await send.send((name, item))
        except Exception as failure:  # noqa: BLE001 -- each is raised where the items are read
            failure.add_note(f"while reading {name!r}")
            self._failures[name] = failure
            if self._first_failure_ends:
                readers.cancel_scope.cancel()
            else:
                told = {"itnio.stream": str(name), "itnio.error": type(failure).__name__}
                _LOGGER.warning("reading %r failed, the others go on: %s", name, failure, extra=told)
