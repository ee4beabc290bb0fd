"""`itnio-voice sandbox`: a sandbox that runs until it is interrupted, and the accounts that it accepts."""

import os
import re
import shlex
import signal
import stat
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import FrameType

from ...sandbox import Sandbox
from ..messages import UsageError

__all__ = ["run"]

_NAME = re.compile(r"[A-Za-z0-9_-]+")
"""A name that TOML takes as a key without quotes."""


def run(*, port: int, records: int, sip_records: int, seed: int, api_key: str | None, account: Sequence[str]) -> None:
    """Run a sandbox, print its account as variables or its accounts as a file, and wait for an interrupt."""
    accounts = _accounts(account, api_key)
    signal.signal(signal.SIGTERM, _terminate)
    with Sandbox(port=port, records=records, sip_records=sip_records, seed=seed, accounts=accounts) as running:
        if account:
            _make_private(sys.stdout.fileno())
        sys.stdout.write(_file(running, account) if account else _variables(running))
        sys.stdout.flush()
        sys.stderr.write("Running until interrupted (Ctrl+C).\n")
        threading.Event().wait()


def _accounts(names: Sequence[str], api_key: str | None) -> Mapping[str, str]:
    """Return secrets by key, in the order of the accounts' names."""
    if not names:
        return {api_key or "sandbox-key": "sandbox-secret"}
    if api_key:
        message = "--api-key is for a single account; with --account the key of an account is NAME-key"
        raise UsageError(message)
    for name, count in Counter(names).items():
        if not _NAME.fullmatch(name):
            message = f"--account must be a name of ASCII letters, digits, - and _, not {name!r}"
            raise UsageError(message)
        if count > 1:
            message = f"--account {name} is given {count} times: give each account another name"
            raise UsageError(message)
    return {f"{name}-key": f"{name}-secret" for name in names}


def _variables(running: Sandbox) -> str:
    return (
        f"export ITNIO_BASE_URL={running.base_url}\n"
        f"export ITNIO_API_KEY={shlex.quote(running.api_key)}\n"
        f"export ITNIO_API_SECRET={running.api_secret}\n"
    )


def _file(running: Sandbox, names: Sequence[str]) -> str:
    """Return the accounts in the format that `--accounts` reads."""
    tables = (
        f'[{name}]\napi_key = "{key}"\napi_secret = "{secret}"\nbase_url = "{running.base_url}"\n'
        for name, (key, secret) in zip(names, running.accounts.items(), strict=True)
    )
    return "\n".join(tables)


def _make_private(output: int) -> None:
    """Remove the permissions of others from a redirected file: an accounts file that others can read is refused."""
    if os.name == "posix" and stat.S_ISREG(os.fstat(output).st_mode):
        os.fchmod(output, stat.S_IRUSR | stat.S_IWUSR)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
