"""Followers: the records of an account as they become visible, one by one or in batches."""

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from ..._model.records import R
from ..._model.windows import FOREVER, floor, whole_seconds
from ..query import Query
from .checkpoint import FollowCheckpoint
from .polls import FollowBatch, FollowOptions, Polls

__all__ = ["FollowBatch", "RecordFollower", "first_second", "follow_options"]

T = TypeVar("T")

LONGEST_LOOKBACK = timedelta(days=30)


def first_second(start: datetime, now: float) -> datetime:
    """Return the start of a follower; `now` is the server's time in Unix seconds, or the best estimate of it.

    Raises:
        ValueError: if it has no offset, or is in the future.
    """
    whole_seconds(start, FOREVER)
    if start.timestamp() > now:
        present = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        message = f"start must not be in the future, but {start.isoformat()} is after {present}"
        raise ValueError(message)
    return floor(start)


def follow_options(every: float, lookback: timedelta, *, changes: bool) -> FollowOptions:
    """Return the arguments of a follower.

    Raises:
        ValueError: if one of them is out of range.
    """
    if isinstance(every, bool) or not isinstance(every, int | float) or not 0 < every < math.inf:
        message = f"every must be a positive number of seconds, not {every!r}"
        raise ValueError(message)
    if not isinstance(lookback, timedelta) or not timedelta() < lookback <= LONGEST_LOOKBACK:
        message = f"lookback must be a timedelta above 0 and of at most {LONGEST_LOOKBACK.days} days, not {lookback!r}"
        raise ValueError(message)
    return FollowOptions(every, lookback, changes)


class RecordFollower(Generic[R]):
    """The records of an account as they become visible, each once, without an end.

    Read it with `async for record in follower`, or with `follower.batches()` to write records and checkpoint in one
    transaction. It may be left and read on at any time, in the same way.
    """

    def __init__(self, query: Query[R], options: FollowOptions, checkpoint: FollowCheckpoint) -> None:
        self._polls = Polls(query, options, checkpoint)
        self._observers = query.transport.observers
        self._taken = checkpoint
        self._returned: FollowBatch[R] | None = None
        self._way: str | None = None
        self._records: deque[R] = deque()
        self._is_reading = False

    def __aiter__(self) -> AsyncIterator[R]:
        """Read record by record."""
        self._begin("records")
        return _Steps(self._next_record)

    def batches(self) -> AsyncIterator[FollowBatch[R]]:
        """Read batch by batch. Each has at least one record, and a checkpoint that covers all batches so far."""
        self._begin("batches")
        return _Steps(self._next_batch)

    @property
    def checkpoint(self) -> FollowCheckpoint:
        """What the consumer has received; of records that were returned together, when more have been requested."""
        return self._taken

    @property
    def latest_arrival(self) -> timedelta:
        """The longest time, so far, that a record was still missing after its time, before it appeared.

        A record that appears later than the lookback is not found. A warning is logged above half of it.
        """
        return self._polls.late

    def _begin(self, way: str) -> None:
        if self._way not in {None, way}:
            message = f"this follower is read as {self._way}: call session.follow() again to read it as {way}"
            raise RuntimeError(message)
        self._way = way

    async def _next_record(self) -> R:
        if not self._records:
            batch = await self._next_batch()
            self._records.extend(batch.records)
        return self._records.popleft()

    async def _next_batch(self) -> FollowBatch[R]:
        """Return the next batch. A cancellation loses none: there is no await between a batch and its return."""
        if self._is_reading:
            message = "this follower is being read by another task: it can be read by one task only"
            raise RuntimeError(message)
        self._is_reading = True
        try:
            if self._returned:
                self._taken, self._returned = self._returned.checkpoint, None
            while not self._polls.ready:
                # The consumer has received everything.
                self._taken = self._polls.checkpoint
                await self._polls.step()
        finally:
            self._is_reading = False
        self._returned = self._polls.ready.popleft()
        if self._observers:
            self._observers.records(len(self._returned.records))
        return self._returned


class _Steps(Generic[T]):
    """An iterator that awaits a method, without an end."""

    def __init__(self, step: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._step = step

    def __aiter__(self) -> "_Steps[T]":
        return self

    async def __anext__(self) -> T:
        return await self._step()
