"""The single event loop that a session may be used in."""

import anyio.lowlevel

__all__ = ["OneEventLoop"]


class OneEventLoop:
    """A check that an object is used in one event loop only: the one of the first call of `check`."""

    __slots__ = ("_first", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._first: list[anyio.lowlevel.EventLoopToken] = []

    def check(self) -> None:
        """Refuse a call in another event loop than that of the first call.

        Raises:
            RuntimeError: if the event loop is another one, in another thread or in a later `asyncio.run`.
        """
        loop = anyio.lowlevel.current_token()
        if not self._first:
            self._first.append(loop)  # if two threads append at the same time, the first item of the list counts
        if self._first[0] != loop:
            message = (
                f"this {self._what} belongs to another event loop: make one in each asyncio.run() or trio.run(), and "
                "call it from other threads with anyio.from_thread.run()"
            )
            raise RuntimeError(message)

    @property
    def is_known(self) -> bool:
        """Whether `check` has been called."""
        return bool(self._first)
