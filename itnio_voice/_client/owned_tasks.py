"""Tasks that end with an `async with` of the caller, or with a call."""

from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

__all__ = ["OwnedTasks", "finish_in_thread", "results_of"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


async def results_of(call: Callable[[K], Awaitable[T]], items: Iterable[K], concurrency: int) -> dict[K, T]:
    """Return the result of a call for each item, of which at most `concurrency` run at once.

    The first exception ends the other calls, and is raised as it is, not as an ExceptionGroup.
    """
    items = list(dict.fromkeys(items))
    following, results, failures = iter(items), dict[K, T](), list[Exception]()

    async def work() -> None:
        for item in following:
            try:
                results[item] = await call(item)
            except Exception as error:  # noqa: BLE001 -- raised below
                failures.append(error)
                group.cancel_scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in items[:concurrency]:
            group.start_soon(work)
    if failures:
        raise failures[0]
    return results


async def finish_in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Return the result of a function that runs in a thread, and wait for its end even if this task is cancelled.

    anyio's `run_sync` waits if a cancel scope is cancelled, but not if asyncio cancels the task. The thread would then
    write to a journal that the caller has closed, or into the file that another export writes.
    """
    results, errors = list[T](), list[Exception]()

    async def call() -> None:
        try:
            results.append(await anyio.to_thread.run_sync(function, *arguments))
        except Exception as error:  # noqa: BLE001 -- raised below, without the group's own around it
            errors.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
    if errors:
        raise errors[0]
    return results[0]


class OwnedTasks:
    """The tasks of one `async with`, from `enter` to `leave`."""

    def __init__(self) -> None:
        self.are_running = False
        self._group: TaskGroup | None = None

    @property
    def were_started(self) -> bool:
        """Whether the `async with` was entered, now or before: it can be entered once."""
        return self._group is not None

    async def enter(self) -> None:
        """Enter the `async with`."""
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self.are_running = True

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task."""
        assert self._group  # noqa: S101 -- set by enter
        self._group.start_soon(task)

    async def leave(self) -> None:
        """End the tasks."""
        assert self._group  # noqa: S101 -- set by enter
        self.are_running = False
        self._group.cancel_scope.cancel()
        # The caller's exception is not passed to the group, which would wrap it in an ExceptionGroup.
        await self._group.__aexit__(None, None, None)
