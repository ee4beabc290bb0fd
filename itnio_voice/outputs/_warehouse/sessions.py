"""The sessions of a run, in an event loop of their own: dlt reads its tables in threads."""

from collections.abc import Mapping
from contextlib import ExitStack
from threading import Lock
from typing import Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ..._client.accounts import Account, open_sessions
from ..._client.session import SessionOptions, VoiceSession

__all__ = ["SharedSessions"]


class SharedSessions:
    """A session for each account, open in a thread of their own from the first `with` to the end of the last one.

    All tables share them: `concurrency` and `rate` are limits of a session, so they hold for an account only if it has
    one session.
    """

    def __init__(self, accounts: Mapping[str, Account], options: SessionOptions) -> None:
        self.portal: BlockingPortal
        self.by_account: Mapping[str, VoiceSession]
        self._accounts = accounts
        self._options = options
        self._users = 0
        self._lock = Lock()
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with self._lock:
            if not self._users:
                with ExitStack() as stack:
                    self.portal = stack.enter_context(start_blocking_portal())
                    opening = open_sessions(self._accounts, **self._options)
                    self.by_account = stack.enter_context(self.portal.wrap_async_context_manager(opening))
                    self._opened = stack.pop_all()
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._opened.close()
