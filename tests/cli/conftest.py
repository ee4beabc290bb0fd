"""Shared by the tests of the commands: an account in the environment, on a sandbox."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from itnio_voice.sandbox import Sandbox

END = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)


def on_a_terminal(*words: str, columns: int = 100, code: int = 0, interrupt_after: str | None = None) -> str:
    """Run a command with a terminal as its output, and return the shown text without colours.

    `interrupt_after` is a text after whose line the command is interrupted, as with Ctrl-C.
    """
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "itnio_voice", *words]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:  # noqa: S603
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 1 << 16)
            except OSError:
                break
            if interrupt_after and interrupt_after.encode() in shown.rpartition(b"\n")[0]:
                process.send_signal(signal.SIGINT)
                interrupt_after = None
    os.close(ours)
    assert code == process.returncode, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


@contextmanager
def two_accounts(environment: pytest.MonkeyPatch) -> Generator[Sandbox]:
    """Run a sandbox with two accounts, the first of which is in the environment; its records are always the same."""
    accounts = {"eu-key": "eu-secret", "us-key": "us-secret"}
    with Sandbox(records=150, sip_records=40, end=END, accounts=accounts) as sandbox:
        environment.delenv("ITNIO_ACCOUNTS", raising=False)
        environment.setenv("ITNIO_BASE_URL", sandbox.base_url)
        environment.setenv("ITNIO_API_KEY", sandbox.api_key)
        environment.setenv("ITNIO_API_SECRET", sandbox.api_secret)
        yield sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox with two accounts, the first of which is in the environment."""
    with two_accounts(monkeypatch) as sandbox:
        yield sandbox


@attrs.define
class ServerTime:
    """The clock of a server, in seconds ahead of this machine's."""

    ahead: float

    def __call__(self) -> float:
        """Return the time in Unix seconds."""
        return time.time() + self.ahead

    def after(self, seconds: float) -> datetime:
        """Return the server's time in a number of seconds, rounded down to a second."""
        return datetime.fromtimestamp(int(self() + seconds), UTC)


@pytest.fixture
def server_time() -> ServerTime:
    """Return the clock of the sandbox `skewed`, which tests may change."""
    return ServerTime(0)


@pytest.fixture
def skewed(server_time: ServerTime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run a sandbox without records and with its own clock, with its account in the environment."""
    with Sandbox(records=0, clock=server_time) as sandbox:
        monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
        monkeypatch.setenv("ITNIO_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("ITNIO_API_KEY", sandbox.api_key)
        monkeypatch.setenv("ITNIO_API_SECRET", sandbox.api_secret)
        yield sandbox


@pytest.fixture
def accounts(sandbox: Sandbox, tmp_path: Path) -> Path:
    """Write an accounts file with both accounts."""
    path = tmp_path / "accounts.toml"
    path.touch(mode=0o600)
    path.write_text(
        "".join(
            f'[{key[:2]}]\napi_key = "{key}"\napi_secret = "{secret}"\nbase_url = "{sandbox.base_url}"\n'
            for key, secret in sandbox.accounts.items()
        )
    )
    return path
