"""Streams: the records of a range, one by one, by page, by window, or as a list."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import attrs

from .._model.observing import Observers
from .._model.records import R
from .._model.windows import Window, gaps
from .._walk.chunks import Chunk
from .._walk.walk import Walk
from .._wire.pages import Page
from .checkpoint import Checkpoint
from .newest_first import BackwardWalk
from .owned_tasks import OwnedTasks
from .prefetch import WalkAhead

__all__ = ["PrefetchedStream", "Progress", "RecordStream", "WindowBatch"]

T = TypeVar("T")


@attrs.frozen
class Progress:
    """The progress of a stream.

    `windows_done` windows are completed, of about `windows_planned`. `records` were returned, of about `expected`: the
    sum of the server's totals, and for windows not requested yet an estimate from the records per day so far. It is
    None before the first answer.
    """

    windows_done: int
    windows_planned: int
    records: int
    expected: int | None


@attrs.frozen
class WindowBatch(Generic[R]):
    """A complete window: its records that no earlier window returned, and the server's total for the window.

    `checkpoint` is the stream's checkpoint with this window completed: write both in one transaction.
    """

    window: Window
    records: tuple[R, ...]
    total: int | None
    checkpoint: Checkpoint


class RecordStream(Generic[R]):
    """The records of a range, oldest window first, and within a window in the server's order; or newest first.

    A stream can be read once, in one of these ways: `async for record in stream`, `async for page in stream.pages()`,
    `async for batch in stream.windows()`, or `await stream.collect()`. No request is sent before that.
    """

    def __init__(
        self,
        of: type[R],
        window: Window | None,
        walk: Callable[[bool], Walk[R] | BackwardWalk[R]],
        checkpoint: Checkpoint,
        observers: Observers,
        *,
        limited: bool,
    ) -> None:
        self._of = of
        self._window = window
        self._new_walk = walk
        self._walk: Walk[R] | BackwardWalk[R] | None = None
        self._advance: Callable[[], Awaitable[Chunk[R] | None]] | None = None
        self._observers = observers
        self._limited = limited
        self._delivery = Delivery(checkpoint)
        self._reading = False

    def __aiter__(self) -> AsyncIterator[R]:
        """Read record by record."""
        self._begin(complete_windows=False)
        return _Records(self)

    def pages(self) -> AsyncIterator[Page[R]]:
        """Read page by page. Each has at least one record, and none that an earlier page had."""
        self._begin(complete_windows=False)
        return _Steps(self._next_page)

    def windows(self) -> AsyncIterator[WindowBatch[R]]:
        """Read window by window; each is complete. Use it to write records and checkpoint in one transaction.

        Raises:
            ValueError: if the stream has a `limit`: it would end within a window.
        """
        if self._limited:
            message = "windows() returns complete windows, so it cannot be used with a limit: read records or pages"
            raise ValueError(message)
        self._begin(complete_windows=True)
        return _Steps(self._next_window)

    async def collect(self) -> list[R]:
        """Read all records into a list.

        `checkpoint` and `progress` are updated when it returns. After an error or a cancellation they cover none of the
        records, so a stream that resumes from the checkpoint returns all of them.
        """
        self._begin(complete_windows=False)
        records: list[R] = []
        with self._delivery.hold():
            while chunk := await self._next_chunk():
                records += chunk.records
                self._delivery.records += len(chunk.records)
        return records

    def prefetch(self, pages: int = 64) -> "PrefetchedStream[R]":
        """Read the stream ahead of the consumer: requests are sent while it works.

        `async with stream.prefetch() as ahead: async for record in ahead: …`

        It is read like the stream: record by record, or with `ahead.pages()` or `ahead.windows()`. At most `pages`
        pages wait or are in flight. A window that is returned as a whole counts only when it is complete: each with
        `windows()`, and one of two seconds always.

        Raises:
            ValueError: if `pages` is not an int of at least 1.
        """
        if type(pages) is not int or pages < 1:
            message = f"pages must be a whole number from 1, not {pages!r}"
            raise ValueError(message)
        return PrefetchedStream(self, pages)

    @property
    def of(self) -> type[R]:
        """The class of its records."""
        return self._of

    @property
    def progress(self) -> Progress:
        """The progress of the stream; available at any time, also after an error."""
        walk = self._walk
        planned, expected = (walk.windows_done + walk.windows_left, walk.expected) if walk else (0, None)
        delivery = self._delivery
        return Progress(delivery.windows, planned, 0 if delivery.held else delivery.records, expected)

    @property
    def checkpoint(self) -> Checkpoint:
        """The completed windows. The caller has received all their records, and has requested more."""
        return self._delivery.checkpoint

    @property
    def unread(self) -> tuple[Window, ...]:
        """The parts of the range that are neither in `checkpoint` nor in `skipped`, oldest first.

        After a complete reading these are the parts in the server's future. With `end=None`, the last part ends in the
        year 9999.
        """
        return gaps(self._window, (*self.checkpoint.done, *self.skipped)) if self._window else ()

    @property
    def skipped(self) -> tuple[Window, ...]:
        """The windows that were skipped with `expired="skip"`: older than the server's retention."""
        return self._walk.skipped if self._walk else ()

    def _begin(self, *, complete_windows: bool) -> None:
        if self._walk:
            message = (
                "this stream has been read: call session.records() again, with resume=stream.checkpoint to continue"
            )
            raise RuntimeError(message)
        self._walk = self._new_walk(complete_windows)
        self._advance = self._walk.advance

    async def _next_chunk(self) -> Chunk[R] | None:
        """Return the next chunk with records or a completed window, or None at the end.

        There is no await after the one for the chunk, so a cancellation loses no chunk: the next call returns it.
        """
        if self._advance is None or self._reading:
            message = "this stream is being read by another task: a stream can be read by one task only"
            raise RuntimeError(message)
        self._reading = True
        try:
            while True:
                self._delivery.complete_windows()
                chunk = await self._advance()
                if chunk is None:
                    return None
                self._delivery.add(chunk)
                if self._observers:
                    self._observers.records(len(chunk.records))
                if chunk.records or chunk.done:
                    return chunk
        finally:
            self._reading = False

    async def _next_page(self) -> Page[R] | None:
        while chunk := await self._next_chunk():
            if chunk.page:
                self._delivery.records += len(chunk.records)
                return chunk.page
        return None

    async def _next_window(self) -> WindowBatch[R] | None:
        chunk = await self._next_chunk()
        if chunk is None or chunk.done is None:
            return None
        self._delivery.records += len(chunk.records)
        checkpoint = self._delivery.checkpoint.including([chunk.done.covered])
        return WindowBatch(chunk.done.window, tuple(chunk.records), chunk.done.total, checkpoint)


class PrefetchedStream(Generic[R]):
    """A stream that is read ahead, from `stream.prefetch()`: enter it with `async with`, then read it like the stream.

    Leaving the `async with` ends its requests. A failure is raised where the records before it have been read; whoever
    reads on tries again. `stream.checkpoint` and `stream.progress` cover what the consumer has received.
    """

    def __init__(self, stream: RecordStream[R], pages: int) -> None:
        self._stream = stream
        self._pages = pages
        self._tasks = OwnedTasks()
        self._ahead: WalkAhead[R] | None = None

    async def __aenter__(self) -> Self:
        if self._tasks.were_started:
            message = "this was already entered: call session.records() again, and prefetch() of the new stream"
            raise RuntimeError(message)
        await self._tasks.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ahead:
            self._ahead.close()
        await self._tasks.leave()

    def __aiter__(self) -> AsyncIterator[R]:
        """Read record by record."""
        return self._begin(self._stream.__aiter__)

    def pages(self) -> AsyncIterator[Page[R]]:
        """Read page by page, as `stream.pages()` does."""
        return self._begin(self._stream.pages)

    def windows(self) -> AsyncIterator[WindowBatch[R]]:
        """Read window by window, as `stream.windows()` does.

        Raises:
            ValueError: if the stream has a `limit`: it would end within a window.
        """
        return self._begin(self._stream.windows)

    def _begin(self, read: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
        if not self._tasks.are_running:
            message = "a stream can only be read ahead inside `async with`"
            raise RuntimeError(message)
        reading, stream = read(), self._stream
        walk = stream._walk  # noqa: SLF001 -- a part of RecordStream
        assert walk  # noqa: S101 -- the reading has begun
        self._ahead = WalkAhead(walk, self._pages)
        stream._advance = self._ahead.advance  # noqa: SLF001 -- as above
        self._tasks.start(self._ahead.run)
        return reading


class Delivery:
    """The records and the completed windows of a stream that its caller has received.

    A window is completed when the caller has received its last record, and requests more.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.records = 0
        self.windows = 0
        self.held = False
        self._read = 0
        # Windows that are read but not completed, each with the number of the stream's records up to its end.
        self._waiting: deque[tuple[int, Window]] = deque()

    def add(self, chunk: Chunk[Any]) -> None:
        """Add a chunk that the walk has returned and the caller has not received yet."""
        self._read += len(chunk.records)
        if chunk.done:
            self._waiting.append((self._read, chunk.done.covered))

    def complete_windows(self) -> None:
        """Complete the windows whose records have all been received; to be called when the caller requests more."""
        while self._waiting and self._waiting[0][0] <= self.records and not self.held:
            _, window = self._waiting.popleft()
            self.checkpoint = self.checkpoint.including([window])
            self.windows += 1

    @contextmanager
    def hold(self) -> Generator[None]:
        """Complete no window until the block ends without an error: the caller receives all its records at once."""
        self.held = True
        yield
        self.held = False
        self.complete_windows()


class _Records(Generic[R]):
    """The iterator over records: it awaits only when the current chunk has no more records."""

    def __init__(self, stream: RecordStream[R]) -> None:
        self._stream = stream
        self._delivery = stream._delivery  # noqa: SLF001 -- a part of RecordStream
        self._chunk: Iterator[R] = iter(())

    def __aiter__(self) -> "_Records[R]":
        return self

    async def __anext__(self) -> R:
        while True:
            for record in self._chunk:
                self._delivery.records += 1
                return record
            chunk = await self._stream._next_chunk()  # noqa: SLF001 -- as above
            if chunk is None:
                raise StopAsyncIteration
            self._chunk = iter(chunk.records)


class _Steps(Generic[T]):
    """An iterator that awaits a method until it returns None."""

    def __init__(self, step: Callable[[], Coroutine[Any, Any, T | None]]) -> None:
        self._step = step

    def __aiter__(self) -> "_Steps[T]":
        return self

    async def __anext__(self) -> T:
        item = await self._step()
        if item is None:
            raise StopAsyncIteration
        return item
