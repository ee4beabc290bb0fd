"""Accounts by name, from a TOML file that only its owner can read, or from the environment.

Code that works with many accounts refers to them by name, so no secret is in an argument, a task graph or a state file.
"""

import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Unpack

import attrs

from .._http.credentials import Credentials, credentials_problem
from .._http.request import base_url_problem
from .._model.printable import printable
from .environment import credentials_from_env
from .session import SessionOptions, VoiceSession

__all__ = ["DEFAULT", "Account", "FileAccess", "find_accounts", "open_sessions", "read_accounts"]

DEFAULT = "default"
"""The name of the account that `ITNIO_API_KEY` and `ITNIO_API_SECRET` define."""

_FILE = "ITNIO_ACCOUNTS"
_OR_FILE = f", or name a file of accounts in {_FILE}"
_KEYS = frozenset({"api_key", "api_secret", "base_url"})
_NEEDED = frozenset({"api_key", "api_secret"})
_NOT_OWNER = stat.S_IRWXG | stat.S_IRWXO
_ROOT = 0
_LARGEST = 2**20


@attrs.frozen
class Account:
    """An account's name, credentials and base URL; with `base_url` None, the default of `VoiceSession` is used."""

    name: str
    credentials: Credentials
    base_url: str | None = None

    def session(self, **options: Unpack[SessionOptions]) -> VoiceSession:
        """Return a session for the account; the options are those of `VoiceSession`."""
        if self.base_url:
            options.setdefault("base_url", self.base_url)
        return VoiceSession(self.credentials, **options)


@asynccontextmanager
async def open_sessions(
    accounts: Mapping[str, Account], **options: Unpack[SessionOptions]
) -> AsyncGenerator[dict[str, VoiceSession]]:
    """Open a session for each account, and close all of them on exit."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(account.session(**options)) for name, account in accounts.items()}


def find_accounts(names: Iterable[str] = (), *, file: str | Path | None = None) -> dict[str, Account]:
    """Return accounts by name, in the order of `names`; all accounts if no name is given.

    They are read from `file`, else from the file that `ITNIO_ACCOUNTS` names. Without either, the only account is
    `default`, with `ITNIO_API_KEY`, `ITNIO_API_SECRET` and, if it is set, `ITNIO_BASE_URL`.

    Raises:
        ValueError: if a name is unknown, if the variables are not set, and in the cases of `read_accounts`.
        OSError: if the file cannot be read.
    """
    file = file or os.environ.get(_FILE)
    known = read_accounts(file) if file else {DEFAULT: Account(DEFAULT, *credentials_from_env(_OR_FILE))}
    chosen = {}
    for name in names or known:
        if name not in known:
            where = printable(str(file or "the environment"))
            message = f"there is no account {name!r:.80} in {where}: there are {printable(', '.join(known), 500)}"
            raise ValueError(message)
        chosen[name] = known[name]
    return chosen


@attrs.frozen(eq=False, repr=False)
class FileAccess:
    """A file's mode, owner, group and mount, and the `user` and `groups` of this process.

    Kubernetes and Docker mount secrets read-only. The owner is often root, and the group one of this process's.
    """

    mode: int
    owner: int
    group: int
    is_read_only: bool
    user: int
    groups: frozenset[int]

    @classmethod
    def of_file(cls, descriptor: int) -> "FileAccess | None":
        """Return the access to an open file; None if the system has no owners and modes."""
        if os.name != "posix":
            return None
        status = os.fstat(descriptor)
        is_read_only = bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
        groups = frozenset({os.getegid(), *os.getgroups()})
        return cls(status.st_mode, status.st_uid, status.st_gid, is_read_only, os.geteuid(), groups)

    def problem(self, path: str) -> str | None:
        """Return the reason to refuse a file with secrets; None if it is accepted."""
        if self.owner not in {self.user, _ROOT}:
            return f"{path} holds secrets, and belongs to user {self.owner}: it must belong to {self.user} or root"
        is_of_group = self.is_read_only and self.group in self.groups
        if not self.mode & (_NOT_OWNER & ~stat.S_IRGRP if is_of_group else _NOT_OWNER):
            return None
        mount = " (or mount it read-only with mode 0440 and a group of this process)" if self.is_read_only else ""
        return f"{path} holds secrets, and others can read it (mode {self.mode & 0o777:04o}): chmod 600 {path}{mount}"


def read_accounts(
    file: str | Path, *, access: Callable[[int], FileAccess | None] = FileAccess.of_file
) -> dict[str, Account]:
    """Read a TOML file with a table for each account.

    The table's name is the account's. It has `api_key`, `api_secret` and optionally `base_url`. `access` returns the
    access to an open file, given its descriptor.

    Raises:
        ValueError: if users other than its owner can read the file, two accounts have the same key, or the content is
            invalid. The message holds no secret. On a read-only mount, a group of this process may read the file too.
        OSError: if the file cannot be read.
    """
    try:
        return _read(Path(file), access)
    except ValueError as error:
        problem = str(error)
    # Raised here, so that the error has no context: error reporters record the variables of its frames, with secrets.
    raise ValueError(problem)


def _read(path: Path, access: Callable[[int], FileAccess | None]) -> dict[str, Account]:
    """Return the accounts of a file. The frames of its errors hold secrets, their messages do not."""
    shown = printable(str(path))
    tables = _tables(path, shown, access)
    if not tables:
        message = f"{shown} holds no account: add a table such as [eu] with api_key and api_secret"
        raise ValueError(message)
    accounts = {name: _account(name, table, f"{shown}, account {name!r:.80}") for name, table in tables.items()}
    names: dict[str, str] = {}
    for name, account in accounts.items():
        other = names.setdefault(account.credentials.api_key, name)
        if other != name:
            both = f"{other!r:.80} and {name!r:.80}"
            message = f"{shown}: {both} have the same api_key, so each of its records would be read twice"
            raise ValueError(message)
    return accounts


def _tables(path: Path, shown: str, access: Callable[[int], FileAccess | None]) -> dict[str, Any]:
    """Return the content of a TOML file, if its access is accepted."""
    with path.open("rb") as opened:
        allowed = access(opened.fileno())
        problem = allowed.problem(shown) if allowed else None
        content = b"" if problem else opened.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        problem = f"{shown} is larger than {_LARGEST} bytes: it is not a file of accounts"
    if problem:
        raise ValueError(problem)
    try:
        import tomllib  # noqa: PLC0415 -- few programs have such a file, and all would wait for it

        return tomllib.loads(content.decode())
    except UnicodeDecodeError:
        problem = "it is not UTF-8 text"
    except (ValueError, RecursionError) as error:
        problem = printable(str(error), 200)
    message = f"{shown} is not TOML: {problem}"
    raise ValueError(message)


def _account(name: str, table: Any, here: str) -> Account:
    if not isinstance(table, Mapping):
        message = f"{here}: a table with api_key and api_secret is expected"
        raise ValueError(message)  # noqa: TRY004 -- a wrong file like any other
    if unknown := table.keys() - _KEYS:
        names = printable(", ".join(sorted(unknown)), 80)
        message = f"{here}: unknown {names}: there are {', '.join(sorted(_KEYS))}"
        raise ValueError(message)
    if missing := _NEEDED - table.keys():
        message = f"{here}: {' and '.join(sorted(missing))} {'is' if len(missing) == 1 else 'are'} missing"
        raise ValueError(message)
    base_url = table.get("base_url") or None
    problem = credentials_problem(table["api_key"], table["api_secret"])
    if not problem and base_url:
        wrong = base_url_problem(base_url) if isinstance(base_url, str) else "must be text"
        problem = wrong and f"base_url {wrong}"
    if problem:
        message = f"{here}: {problem}"
        raise ValueError(message)
    return Account(name, Credentials(table["api_key"], table["api_secret"]), base_url)
