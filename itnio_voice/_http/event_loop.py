"""The one event loop that a session belongs to."""

import anyio.lowlevel

__all__ = ["OneEventLoop"]


class OneEventLoop:
    """The first event loop in which `check` is called; `check` refuses any other."""

    __slots__ = ("_first", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._first: list[anyio.lowlevel.EventLoopToken] = []

    def check(self) -> None:
        """Refuse a call in another event loop than the first.

        Raises:
            RuntimeError: if it is another, be it in another thread or in a later `asyncio.run`.
        """
        loop = anyio.lowlevel.current_token()
        if not self._first:
            self._first.append(loop)  # of two threads that come here at once, the first in the list is served
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
