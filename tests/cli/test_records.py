"""`itnio-voice records`, as it is typed."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from itnio_voice.cli.app import run
from itnio_voice.sandbox import Behaviour, Sandbox

from .conftest import ServerTime

COMMAND = [sys.executable, "-m", "itnio_voice", "records"]


def on_a_terminal(*words: str, columns: int = 100) -> str:
    """Run the command with a terminal as its output, and return what that shows, without colours."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen([*COMMAND, *words], stdout=theirs, stderr=theirs, env=environment) as process:  # noqa: S603
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 1 << 16)
            except OSError:
                break
    os.close(ours)
    assert 0 == process.returncode, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


@pytest.mark.parametrize(("words", "kind"), [([], "group"), (["--sip"], "sip")])
def test_lines(words: list[str], kind: str, sandbox: Sandbox, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Where there is no terminal, each record is a JSON object a line, and nothing else is told."""
    assert 0 == run(["records", "61d", *words])

    output, errors = capfdbinary.readouterr()
    found = [json.loads(line)["voice_id"] for line in output.splitlines()]
    assert len(found) == len(set(found))
    assert sandbox.ids(kind=kind) == set(found)  # type: ignore[arg-type]
    assert b"" == errors


def test_limit(sandbox: Sandbox, accounts: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A limit counts the records of all accounts; each is told with its account."""
    assert 0 == run(["records", "61d", "now", "--accounts", str(accounts), "--limit", "170"])

    rows = [json.loads(line) for line in capfdbinary.readouterr()[0].splitlines()]
    assert 170 == len(rows)
    assert {"eu", "us"} == {row["account"] for row in rows}
    assert {row["voice_id"] for row in rows} < sandbox.ids(account="eu-key") | sandbox.ids(account="us-key")


def test_one_account(sandbox: Sandbox, accounts: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """An account is read by its name."""
    assert 0 == run(["records", "61d", "--accounts", str(accounts), "--account", "us"])

    rows = [json.loads(line) for line in capfdbinary.readouterr()[0].splitlines()]
    assert sandbox.ids(account="us-key") == {row["voice_id"] for row in rows}
    assert ["us"] == sorted({row["account"] for row in rows})


def test_a_table(sandbox: Sandbox, accounts: Path) -> None:
    """On a terminal it is a table of a hundred at most, with progress; the data can neither colour nor steer it."""
    sandbox.insert({"callee": "[/red]", "code": "[bold]", "terminationCode": "[link]"})
    sandbox.insert({"callee": "\x1b[2J\x07"})

    assert "Calls: 100" in on_a_terminal("61d")
    shown = on_a_terminal("1h", "--accounts", str(accounts), "--account", "eu")
    assert re.search(r"^ +eu +\d\d-\d\d \d\d:\d\d +\[/red\] +\[bold\]", shown, re.MULTILINE)
    assert r"\x1b[2J\x07" in shown
    assert "window 1/1" in shown
    assert "window" not in on_a_terminal("1h", "--quiet")


@pytest.mark.usefixtures("sandbox")
def test_expired(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What is older than the retention is an error that names the option, or is skipped and reported."""
    assert 1 == run(["records", "200d"])
    errors = capfdbinary.readouterr()[1]
    assert errors.startswith(b"itnio-voice: TimeRangeError: -25")
    assert b"--expired skip" in errors
    assert b"expired=" not in errors
    assert errors.endswith(b"; while reading 'default'\n")
    assert 0 == run(["records", "200d", "--expired", "skip"])

    output, errors = capfdbinary.readouterr()
    assert 150 == len(output.splitlines())
    assert re.fullmatch(
        rb"itnio-voice: default: skipped .* to .*, which is older than the server's retention\n", errors
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["now", "1d"], "start must be before end"),
        (["1d", "1d"], "start must be before end"),
        (["soon"], "START: 'soon' is not a time: write "),
        (["1d", "--account", "default", "us"], "END: 'us' is not a time: "),
        (["1d", "--account", "default", "us"], "each account needs its own --account"),
        (["2026-03-29T02:30", "--timezone", "Europe/Berlin"], "does not exist in Europe/Berlin"),
        (["1d", "--timezone", "Mars"], "there is no time zone 'Mars'"),
        (["1d", "--concurrency", "0"], "itnio-voice: --concurrency must be a whole number from 1"),
        (["1d", "--rate", "-1"], "itnio-voice: --rate must be"),
        (["1d", "--limit", "-1"], "--limit"),
        (["1d", "--account", "asia"], "there is no account 'asia'"),
        (["1d", "--expired", "maybe"], "--expired"),
        (["1d", "--api-secret", "x"], "--api-secret"),
        ([], "START"),
    ],
)
def test_wrong_usage(words: list[str], told: str, sandbox: Sandbox, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Wrong arguments exit with 2 and a line that says what is wrong; nothing is asked."""
    assert 2 == run(["records", *words])

    output, errors = capfdbinary.readouterr()
    assert (b"", 1) == (output, errors.count(b"\n"))
    assert told in errors.decode()
    assert [] == sandbox.requests


def test_a_file_that_others_can_read(sandbox: Sandbox, accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of accounts that others can read is refused."""
    accounts.chmod(0o644)

    assert 2 == run(["records", "1d", "--accounts", str(accounts)])
    assert "chmod 600" in capsys.readouterr().err
    assert [] == sandbox.requests


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("debug", [False, True])
def test_a_wrong_secret(debug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the API is exit code 1 and one line, with `--debug` its traceback; the secret is in neither."""
    monkeypatch.setenv("ITNIO_API_SECRET", "hush-hush")
    command = [*COMMAND, "1d", *["--debug"] * debug]
    assert 2 == subprocess.run([*command, "--rate", "0"], stderr=subprocess.DEVNULL, check=False).returncode  # noqa: S603
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603

    assert (1, "") == (done.returncode, done.stdout)
    assert "AuthenticationError: -1" in done.stderr
    assert debug == ("Traceback" in done.stderr)
    assert debug == (done.stderr.count("\n") > 1)
    assert "hush-hush" not in done.stderr


def test_interrupted(sandbox: Sandbox) -> None:
    """An interrupt is exit code 130, and no traceback."""
    sandbox.behaviour = Behaviour(latency=0.5)
    with subprocess.Popen([*COMMAND, "61d"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        while not sandbox.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)

    assert (130, b"") == (process.returncode, errors)


@pytest.mark.usefixtures("sandbox")
def test_a_reader_that_has_enough() -> None:
    """A closed pipe ends the command as SIGPIPE does: exit code 141, and nothing on standard error."""
    with subprocess.Popen([*COMMAND, "61d"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()

    assert (141, b"") == (process.returncode, errors)


@pytest.fixture
def both(skewed: Sandbox, server_time: ServerTime) -> tuple[Sandbox, ServerTime]:
    """Return a sandbox and its clock."""
    return skewed, server_time


@pytest.mark.parametrize(
    ("case", "read", "told"),
    [
        ((-7200,), 2, True),
        ((-7200, "--limit", "1"), 1, False),
        ((-7200, "--limit", "2"), 2, False),
        ((-7200, "--limit", "3"), 2, True),
        ((7200,), 2, False),
        ((0, "2100-01-01"), 2, True),
        ((0, "1m"), 1, False),
    ],
)
def test_what_is_not_over_yet(
    case: tuple[Any, ...],
    read: int,
    told: bool,
    both: tuple[Sandbox, ServerTime],
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Records are read up to the server's time; one line reports what is not over, unless a limit ended the reading."""
    sandbox, server_time = both
    server_time.ahead, *words = case
    sandbox.insert(*({"submitTime": server_time.after(-ago).isoformat()} for ago in (30, 7300)))

    assert 0 == run(["records", "1d", *words])
    output, errors = capfdbinary.readouterr()
    assert read == len(output.splitlines())
    assert told == errors.startswith(b"itnio-voice: read up to ")
    assert told == errors.count(b"\n")
