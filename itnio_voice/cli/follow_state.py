"""The file of `follow --state`: a checkpoint for each account.

Each write replaces the file, so that it is complete at any time. One process uses it at a time: the new file is locked
before it replaces the old one. A process that has locked a file which was replaced meanwhile opens it again.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .._client.following.checkpoint import FollowCheckpoint
from .._files.atomic_file import check_place, new_file
from .._files.locks import lock
from .messages import UsageError

__all__ = ["FollowState"]

_PRIVATE = 0o600


class FollowState:
    """The checkpoints by account, in a locked file; without a path, nothing is stored.

    Accounts that this run does not follow keep their checkpoints.

    Raises:
        UsageError: if the file is damaged, or another process uses it.
        OSError: if it cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path and path.resolve()
        self._name = str(path)
        self._descriptor = -1
        self.checkpoints: dict[str, FollowCheckpoint] = {}
        self._texts: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._path:
            check_place(self._path)
            self._open(self._path)
            try:
                self._read(self._path)
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    @property
    def is_stored(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    def resume(self, name: str, query: str) -> FollowCheckpoint | None:
        """Return the checkpoint of an account, None if it has none; `query` is the fingerprint of what is followed.

        Raises:
            UsageError: if the checkpoint is of another query.
        """
        checkpoint = self.checkpoints.get(name)
        if checkpoint and checkpoint.query != query:
            message = (
                f"--state: {self._name} is of another key or kind of record for the account {name!r}: "
                "choose another file, or delete it to start again"
            )
            raise UsageError(message)
        return checkpoint

    def store(self, checkpoints: Mapping[str, FollowCheckpoint]) -> None:
        """Replace the checkpoints of accounts. One without a position is of a follower that has read nothing."""
        texts = {name: str(each) for name, each in checkpoints.items() if each.position}
        if self._path is None or texts.items() <= self._texts.items():
            return
        self._texts.update(texts)
        accounts = ", ".join(f"{json.dumps(name)}: {text}" for name, text in self._texts.items())
        with new_file(self._path) as file:
            file.write(f'{{"version": 1, "accounts": {{{accounts}}}}}\n'.encode())
            new = os.dup(file.fileno())
            lock(new)
        self._close()
        self._descriptor = new

    def _open(self, path: Path) -> None:
        """Open the file, or a new one, and lock it."""
        while True:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE)
            if not lock(self._descriptor):
                self._close()
                message = (
                    f"--state: {self._name} is in use by another run. Wait until that has ended, or choose another file"
                )
                raise UsageError(message)
            if os.path.samestat(os.fstat(self._descriptor), path.stat()):
                return
            self._close()

    def _read(self, path: Path) -> None:
        """Read the file; an empty one has no checkpoint."""
        try:
            match json.loads(path.read_text(encoding="utf-8") or '{"version": 1, "accounts": {}}'):
                case {"version": 1, "accounts": dict(accounts)}:
                    self._texts = {name: json.dumps(each) for name, each in accounts.items()}
                    self.checkpoints = {name: FollowCheckpoint.parse(text) for name, text in self._texts.items()}
                    return
                case _:
                    problem = "version 1 of a state is expected"
        except (ValueError, RecursionError) as error:
            problem = str(error)
        message = f"--state: {self._name} is not a state of follow, or is damaged: {problem}"
        raise UsageError(message)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
