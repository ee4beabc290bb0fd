"""Output while records are read: the progress bar, and each retry."""

import json
import re
from pathlib import Path

import pytest

from itnio_voice import Progress
from itnio_voice.cli.app import run
from itnio_voice.cli.progress import combined_progress
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .conftest import on_a_terminal

RETRY = (
    r"itnio-voice: {name}: POST /recordGroupQuery: HTTPStatusError: HTTP 503 .*; attempt {attempt} of 5, "
    r"next in [0-9]+\.[0-9] s\n"
)


def test_the_bar_of_one_stream() -> None:
    """The bar shows records read and expected, their rate, the time left and the windows."""
    assert (500, 2000, "500/2,000 250/s 0:00:06 left window 1/4") == combined_progress([Progress(1, 4, 500, 2000)], 2.0)


def test_several_streams_are_added_up() -> None:
    """Several streams are added up; a number that one of them lacks is unknown."""
    known, unknown = Progress(1, 2, 10, 20), Progress(0, 0, 0, None)

    assert (20, 40, "20/40 10/s 0:00:02 left window 2/4") == combined_progress([known, known], 2.0)
    assert (10, None, "10 5/s window 1/2") == combined_progress([known, unknown], 2.0)


def test_the_bar_at_the_beginning_and_the_end() -> None:
    """Nothing is divided by zero, and the number read never exceeds the expected one."""
    assert (0, None, "0 0/s window 0/0") == combined_progress([Progress(0, 0, 0, None)], 0.0)
    assert (30, 30, "30/30 30/s 0:00:00 left window 3/3") == combined_progress([Progress(3, 3, 30, 25)], 1.0)


def test_a_resumed_export_starts_at_its_records() -> None:
    """A resumed export starts at its existing records, and its rate is that of this run."""
    assert (600, 2100, "600/2,100 250/s 0:00:06 left window 1/4") == combined_progress(
        [Progress(1, 4, 500, 2000)], 2.0, before=100
    )
    assert (100, None, "100 0/s window 0/0") == combined_progress([Progress(0, 0, 0, None)], 1.0, before=100)


def test_a_spinner_is_shown_before_the_first_record(sandbox: Sandbox) -> None:
    """From the start, the bar shows a spinner, the account, and the number of requests so far."""
    shown = on_a_terminal("records", "61d")

    assert re.search(r"^[-\\|/] default .* 0 requests", shown)
    # rich wraps figures that are too long for the terminal.
    assert re.search(rf"101/101 .* window ./. {len(sandbox.requests)} requests", " ".join(shown.split()))


def test_names_of_accounts_are_data(sandbox: Sandbox, accounts: Path) -> None:
    """The name of an account can neither colour nor control the terminal."""
    accounts.write_text(accounts.read_text().replace("[eu]", '["[/]\\u001b[2J\\u202e"]'))

    shown = on_a_terminal("records", "61d", "--accounts", str(accounts))
    assert r"[/]\x1b[2J\u202e, us" in shown
    assert "\u202e" not in shown
    assert sandbox.requests


def test_each_retry_is_one_line(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """Each retry is a line with the account, the failure, the number of the attempt, and the wait."""
    sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=2, retry_after=0),))

    assert 0 == run(["records", "1h", "--concurrency", "1"])
    output, errors = capfd.readouterr()
    lines = "".join(RETRY.format(name="default", attempt=attempt) for attempt in (1, 2))
    assert re.fullmatch(lines, errors)
    assert all(json.loads(line) for line in output.splitlines())


def test_retries_name_their_account(sandbox: Sandbox, accounts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The account has its name in the accounts file."""
    sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=1, retry_after=0),))

    assert 0 == run(["records", "1h", "--accounts", str(accounts), "--account", "us"])
    assert re.fullmatch(RETRY.format(name="us", attempt=1), capfd.readouterr().err)


@pytest.mark.parametrize("command", [["records", "1h"], ["export", "1h", "-o", "calls.csv"], ["sync", "--since", "1h"]])
def test_quiet_hides_retries(
    command: list[str],
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With `--quiet`, retries are not printed."""
    monkeypatch.chdir(tmp_path)
    sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=2, retry_after=0),))

    run([*command, "--quiet"])
    assert "attempt" not in capfd.readouterr().err
    assert len(sandbox.requests) > 2
