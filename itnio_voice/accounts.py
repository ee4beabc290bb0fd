"""Accounts by name, out of a TOML file that only its owner can read, or out of the environment.

Whatever runs over many accounts names them, so that no secret stands in an argument, a task graph or a state file.
"""

import os
import stat
import tomllib
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Unpack

import attrs

from .session import Options, VoiceSession, account_of_environment
from .signing import Credentials

__all__ = ["DEFAULT", "Account", "find_accounts", "open_sessions", "read_accounts"]

DEFAULT = "default"
"""What the account of the variables `ITNIO_API_KEY` and `ITNIO_API_SECRET` is called."""

_FILE = "ITNIO_ACCOUNTS"
_KEYS = frozenset({"api_key", "api_secret", "base_url"})
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class Account:
    """A name, and the credentials and base URL that it stands for; `base_url` None is the usual one."""

    name: str
    credentials: Credentials
    base_url: str | None = None

    def session(self, **options: Unpack[Options]) -> VoiceSession:
        """Open a session with the options that `VoiceSession` has."""
        if self.base_url:
            options.setdefault("base_url", self.base_url)
        return VoiceSession(self.credentials, **options)


@asynccontextmanager
async def open_sessions(
    accounts: Mapping[str, Account], **options: Unpack[Options]
) -> AsyncGenerator[dict[str, VoiceSession]]:
    """Open a session for each account, and close them all at the end."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(account.session(**options)) for name, account in accounts.items()}


def find_accounts(names: Iterable[str] = (), *, file: str | Path | None = None) -> dict[str, Account]:
    """Return accounts by name, in the order asked for; all there are if none is named.

    They are those of `file`, else of the file that `ITNIO_ACCOUNTS` names, else the one of `ITNIO_API_KEY`,
    `ITNIO_API_SECRET` and, if it is set, `ITNIO_BASE_URL`, which is called `default`.

    Raises:
        ValueError: for a name that there is not, variables that are not set, and as `read_accounts` does.
        OSError: if the file cannot be read.
    """
    file = file or os.environ.get(_FILE)
    known = read_accounts(file) if file else {DEFAULT: _from_environment()}
    chosen = {}
    for name in names or known:
        if name not in known:
            message = f"there is no account {name!r} in {file or 'the environment'}: there are {', '.join(known)}"
            raise ValueError(message)
        chosen[name] = known[name]
    return chosen


def read_accounts(file: str | Path) -> dict[str, Account]:
    """Read a TOML file with a table for each account: its name, `api_key`, `api_secret` and perhaps `base_url`.

    Raises:
        ValueError: if others than its owner can read the file, two accounts are one, or it is not as described; the
            text holds no secret.
        OSError: if it cannot be read.
    """
    path = Path(file)
    with path.open("rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if os.name == "posix" and mode & _OTHERS:
            message = f"{path} holds secrets, and others can read it (mode {mode & 0o777:04o}): chmod 600 {path}"
            raise ValueError(message)
        try:
            tables = tomllib.load(opened)
        except ValueError as error:
            message = f"{path} is not TOML: {error}"
            raise ValueError(message) from None  # the cause holds the text
    if not tables:
        message = f"{path} holds no account: write a table such as [eu] with api_key and api_secret"
        raise ValueError(message)
    accounts = {name: _account(name, table, path) for name, table in tables.items()}
    names: dict[str, str] = {}
    for name, account in accounts.items():
        other = names.setdefault(account.credentials.api_key, name)
        if other != name:
            message = (
                f"{path}: {other!r} and {name!r} have the same api_key, so each of its records would be there twice"
            )
            raise ValueError(message)
    return accounts


def _account(name: str, table: Any, path: Path) -> Account:
    here = f"{path}, account {name!r}"
    if not isinstance(table, Mapping):
        message = f"{here}: a table with api_key and api_secret is expected"
        raise ValueError(message)  # noqa: TRY004 -- a wrong file like any other
    if unknown := table.keys() - _KEYS:
        message = f"{here}: unknown {', '.join(sorted(unknown))}: there are {', '.join(sorted(_KEYS))}"
        raise ValueError(message)
    base_url = table.get("base_url")
    if base_url is not None and not isinstance(base_url, str):
        message = f"{here}: base_url must be text"
        raise ValueError(message)
    try:
        return Account(name, Credentials(table.get("api_key", ""), table.get("api_secret", "")), base_url)
    except ValueError as error:
        message = f"{here}: {error}"
        raise ValueError(message) from None


def _from_environment() -> Account:
    try:
        return Account(DEFAULT, *account_of_environment())
    except ValueError as error:
        message = f"{error}, or name a file of accounts in {_FILE}"
        raise ValueError(message) from None
