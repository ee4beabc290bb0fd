"""Tasks that run inside an `async with` of the caller, and end with it."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.abc import TaskGroup

__all__ = ["OwnedTasks"]


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
