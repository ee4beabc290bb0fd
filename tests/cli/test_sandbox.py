"""The command `sandbox` with several accounts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from itnio_voice._client.accounts import find_accounts, read_accounts
from itnio_voice.cli import app as command_line

COMMAND = [sys.executable, "-m", "itnio_voice"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
HANG = 60.0
"""Timeout in seconds of a process that should not hang."""


@contextmanager
def sandbox_into(file: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run `sandbox` with its output redirected into a file, from the printed accounts to the end of the block."""
    command = [*COMMAND, "sandbox", *options]
    with (
        file.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True) as process,  # noqa: S603
    ):
        try:
            assert process.stderr
            assert "Running until interrupted (Ctrl+C).\n" == process.stderr.readline()
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=HANG)


@pytest.mark.anyio
async def test_redirected_accounts_are_an_accounts_file(tmp_path: Path) -> None:
    """The redirected accounts are a file that find_accounts reads, each with its own key, secret and records."""
    file = tmp_path / "accounts.toml"
    before = os.umask(0o022)
    try:
        with sandbox_into(file, "--records", "30", "--account", "eu", "--account", "us") as process:
            found = find_accounts(file=file)
            ids = {}
            for name, account in found.items():
                async with account.session() as session:
                    ids[name] = {
                        record.voice_id
                        for record in await session.records(datetime.now(UTC) - timedelta(days=61)).collect()
                    }
    finally:
        os.umask(before)

    assert 130 == process.returncode
    assert ["eu", "us"] == list(found)
    assert {("eu-key", "eu-secret"), ("us-key", "us-secret")} == {
        (account.credentials.api_key, account.credentials.api_secret) for account in found.values()
    }
    assert [30, 30] == [len(each) for each in ids.values()]
    assert not ids["eu"] & ids["us"]


def test_another_command_reads_the_file(tmp_path: Path) -> None:
    """A command with `--accounts` reads every account of the redirected file."""
    file = tmp_path / "accounts.toml"
    with sandbox_into(file, "--records", "30", "--account", "eu", "--account", "us"):
        command = [*COMMAND, "records", "59d", "--accounts", str(file)]
        printed = subprocess.check_output(command, text=True)  # noqa: S603

    assert {"eu", "us"} == {line.split('"')[3] for line in printed.splitlines()}


def test_a_redirected_file_stays_private(tmp_path: Path) -> None:
    """The file has no permissions for others, also if it existed before."""
    file = tmp_path / "accounts.toml"
    file.touch(mode=0o644)
    with sandbox_into(file, "--records", "1", "--account", "a-B_1"):
        assert 0o600 == file.stat().st_mode & 0o777
        assert ["a-B_1"] == list(read_accounts(file))


def test_a_closed_standard_output_is_an_error(tmp_path: Path) -> None:
    """Without a standard output, the account cannot be printed: an error, not a sandbox that runs unnoticed."""
    command = ["sh", "-c", '"$0" -m itnio_voice sandbox --records 1 --account eu >&-', sys.executable]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False, env=ENVIRONMENT)  # noqa: S603

    assert (1, 1) == (done.returncode, done.stderr.count("\n"))
    assert "it is closed" in done.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--account", "a b"], "--account must be a name of ASCII letters, digits, - and _, not 'a b'"),
        (["--account", ""], "not ''"),
        (["--account", "a]\n[b"], r"not 'a]\n[b'"),
        (["--account", "eu\n"], r"not 'eu\n'"),
        (["--account", "é"], "not 'é'"),
        (["--account", "eu", "--account", "eu"], "--account eu is given 2 times"),
        (["--account", "eu", "--api-key", "k"], "--api-key is for a single account"),
    ],
)
def test_invalid_account_names_are_wrong_usage(
    options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is not a plain key, a duplicate name, and a key beside names are wrong usage."""
    assert 2 == command_line.run(["sandbox", *options])

    printed = capsys.readouterr()
    assert "" == printed.out
    assert text in printed.err
