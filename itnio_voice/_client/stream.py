"""Streams: the records of a range, one by one, by page, by window, or as a list."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import attrs

from .._model.records import R
from .._model.windows import Window, gaps
from .._walk.chunks import Chunk
from .._walk.walk import Walk
from .._wire.pages import Page
from .checkpoint import Checkpoint

__all__ = ["Progress", "RecordStream", "WindowBatch"]

T = TypeVar("T")


@attrs.frozen
class Progress:
    """How far a stream has come.

    Windows done, and planned as far as it can be told; records given, and expected in all: what the server told, and
    for windows not asked for yet as many per day as so far; None before the first answer.
    """

    windows_done: int
    windows_planned: int
    records: int
    expected: int | None


@attrs.frozen
class WindowBatch(Generic[R]):
    """A window that is complete: its records that no window before it gave, and the server's count of all it holds.

    `checkpoint` is the stream's once this window counts as done: write both in one transaction.
    """

    window: Window
    records: tuple[R, ...]
    total: int | None
    checkpoint: Checkpoint


class RecordStream(Generic[R]):
    """The records of a range, oldest window first; inside a window in the server's order.

    It is read once, in one of these ways: `async for record in stream`, `async for page in stream.pages()`,
    `async for batch in stream.windows()`, or `await stream.collect()`. Nothing is asked before that.
    """

    def __init__(
        self,
        of: type[R],
        window: Window | None,
        walk: Callable[[bool], Walk[R]],
        checkpoint: Checkpoint,
        *,
        limited: bool,
    ) -> None:
        self._of = of
        self._window = window
        self._new_walk = walk
        self._walk: Walk[R] | None = None
        self._limited = limited
        self._delivery = Delivery(checkpoint)
        self._reading = False

    def __aiter__(self) -> AsyncIterator[R]:
        """Read record by record."""
        self._begin(complete_windows=False)
        return _Records(self)

    def pages(self) -> AsyncIterator[Page[R]]:
        """Read page by page; each holds only records that were not in one before, and at least one."""
        self._begin(complete_windows=False)
        return _Steps(self._next_page)

    def windows(self) -> AsyncIterator[WindowBatch[R]]:
        """Read window by window, each complete: the way to write records and checkpoint in one transaction.

        Raises:
            ValueError: for a stream with a `limit`, which would end inside a window.
        """
        if self._limited:
            message = "windows() gives whole windows, so it does not go together with a limit: read records or pages"
            raise ValueError(message)
        self._begin(complete_windows=True)
        return _Steps(self._next_window)

    async def collect(self) -> list[R]:
        """Read everything into a list.

        The `checkpoint` and the `progress` move when it returns. After an error or a cancellation they cover none of
        the records, so a stream resumed from the checkpoint gives them all.
        """
        self._begin(complete_windows=False)
        records: list[R] = []
        with self._delivery.hold():
            while piece := await self._next_piece():
                records += piece.records
                self._delivery.records += len(piece.records)
        return records

    @property
    def of(self) -> type[R]:
        """The kind of record that it gives."""
        return self._of

    @property
    def progress(self) -> Progress:
        """How far the stream has come; at any time, after an error too."""
        walk = self._walk
        planned, expected = (walk.windows_done + walk.windows_left, walk.expected) if walk else (0, None)
        delivery = self._delivery
        return Progress(delivery.windows, planned, 0 if delivery.held else delivery.records, expected)

    @property
    def checkpoint(self) -> Checkpoint:
        """The windows completed so far, those whose records the caller has received before requesting more."""
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
        """The windows left out because they are too old for the server, with `expired="skip"`."""
        return self._walk.skipped if self._walk else ()

    def _begin(self, *, complete_windows: bool) -> None:
        if self._walk:
            message = "this stream has been read: ask the session for another, with resume=stream.checkpoint to go on"
            raise RuntimeError(message)
        self._walk = self._new_walk(complete_windows)

    async def _next_piece(self) -> Chunk[R] | None:
        """Return the next piece that the caller can see, or None at the end.

        No await comes after the one for the piece, so a cancellation loses none: the next call returns it.
        """
        if self._walk is None or self._reading:
            message = "this stream is being read by another task: one task reads a stream"
            raise RuntimeError(message)
        self._reading = True
        try:
            while True:
                self._delivery.complete_windows()
                piece = await self._walk.advance()
                if piece is None:
                    return None
                self._delivery.add(piece)
                if piece.records or piece.done:
                    return piece
        finally:
            self._reading = False

    async def _next_page(self) -> Page[R] | None:
        while piece := await self._next_piece():
            if piece.page:
                self._delivery.records += len(piece.records)
                return attrs.evolve(piece.page, records=tuple(piece.records), submit_times=None)
        return None

    async def _next_window(self) -> WindowBatch[R] | None:
        piece = await self._next_piece()
        if piece is None or piece.done is None:
            return None
        self._delivery.records += len(piece.records)
        checkpoint = self._delivery.checkpoint.including([piece.done.covered])
        return WindowBatch(piece.done.window, tuple(piece.records), piece.done.total, checkpoint)


class Delivery:
    """How much of a stream its caller has received: records, and completed windows.

    A window is completed when the caller has received all records up to its last, and requests more.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.records = 0
        self.windows = 0
        self.held = False
        self._read = 0
        # Windows that are not completed, each with the number of records that have been read up to its end.
        self._waiting: deque[tuple[int, Window]] = deque()

    def add(self, piece: Chunk[Any]) -> None:
        """Add what the walk has handed out: its records are still to be received."""
        self._read += len(piece.records)
        if piece.done:
            self._waiting.append((self._read, piece.done.covered))

    def complete_windows(self) -> None:
        """Count the windows whose records have all been received: the caller requests more."""
        while self._waiting and self._waiting[0][0] <= self.records and not self.held:
            _, window = self._waiting.popleft()
            self.checkpoint = self.checkpoint.including([window])
            self.windows += 1

    @contextmanager
    def hold(self) -> Generator[None]:
        """Count nothing until the block has ended without an error: its records are returned together."""
        self.held = True
        yield
        self.held = False
        self.complete_windows()


class _Records(Generic[R]):
    """The iterator over records: between two pieces it does not wait."""

    def __init__(self, stream: RecordStream[R]) -> None:
        self._stream = stream
        self._delivery = stream._delivery  # noqa: SLF001 -- one class with two faces
        self._piece: Iterator[R] = iter(())

    def __aiter__(self) -> "_Records[R]":
        return self

    async def __anext__(self) -> R:
        while True:
            for record in self._piece:
                self._delivery.records += 1
                return record
            piece = await self._stream._next_piece()  # noqa: SLF001 -- as above
            if piece is None:
                raise StopAsyncIteration
            self._piece = iter(piece.records)


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
