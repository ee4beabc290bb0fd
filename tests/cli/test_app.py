"""The command line as a whole: the demo, exit codes and signals."""

import errno
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from itnio_voice import Credentials, VoiceSession
from itnio_voice._model.errors import ServerError
from itnio_voice.cli import app as command_line
from itnio_voice.sandbox._data.dataset import generate

COMMAND = [sys.executable, "-m", "itnio_voice"]


def figures_of(records: int, *, seed: int, end: datetime) -> dict[str, str]:
    """Return the figures that the demo should print, computed from the sandbox's own wire records."""
    made = list(generate(records, start=end - timedelta(days=60), end=end, seed=seed, kind="group"))
    seconds = [record["callDuration"] for record in made if record.get("answerTime")]
    cost: dict[str, Decimal] = {}
    for record in made:
        if record.get("cost") is not None:
            name = f"cost in {record.get('currency') or 'USD'}"
            cost[name] = cost.get(name, Decimal()) + Decimal(str(record["cost"]))
    return {
        "calls": f"{records:,}",
        "answer-seizure ratio (ASR)": f"{len(seconds) / records:.1%}",
        "average call duration (ACD)": f"{sum(seconds) / len(seconds):.1f}",
        **{name: f"{amount:,f}" for name, amount in cost.items()},
    }


def test_demo_prints_the_right_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo ends with its summary, whose figures match the sandbox's own records."""
    began = datetime.now(UTC).replace(microsecond=0)

    assert 0 == command_line.run(["demo", "--records", "1200", "--seed", "3"])

    took = int((datetime.now(UTC) - began).total_seconds())
    output = capsys.readouterr().out
    figures = dict(re.findall(r"^ +(.+?)  +([\d.,%]+)(?: s)? *$", output[output.index("Summary") :], re.MULTILINE))
    requests, _ = int(figures.pop("requests sent")), figures.pop("time")

    # The range ends with the second in which the demo started, which is one of these.
    assert figures in [figures_of(1200, seed=3, end=began + timedelta(seconds=late)) for late in range(took + 1)]
    assert 14 <= requests <= 20
    assert max(map(len, output.splitlines())) <= 80


def test_demo_without_records(capsys: pytest.CaptureFixture[str]) -> None:
    """Without records, no figure is divided by zero."""
    assert 0 == command_line.run(["demo", "--records", "0"])
    assert "–" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["demo", "--records", "many"], ["demo", "--records", "-1"], ["sandbox", "--port", "x"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage exits with 2, and one line describes the error."""
    assert 2 == command_line.run(arguments)
    assert capsys.readouterr().err.startswith("itnio-voice: ")


@pytest.mark.parametrize(("error", "code"), [(ServerError("-18: busy"), 1), (KeyboardInterrupt(), 130)])
def test_errors_and_interrupts_have_exit_codes(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the API is one line and exit code 1, an interrupt 130."""

    def fail() -> None:
        raise error

    command_line.app.command(fail, name="fail")
    try:
        assert code == command_line.run(["fail"])
    finally:
        del command_line.app["fail"]
    assert capsys.readouterr().err in {"itnio-voice: ServerError: -18: busy\n", ""}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("calls.csv is a folder"), "calls.csv is a folder"),
        (OSError(errno.EMFILE, "Too many open files", "/lib/x.py"), "Too many open files (/lib/x.py): raise the limit"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "a.csv"), "Permission denied (a.csv)"),
    ],
)
def test_system_errors_are_one_line(error: OSError, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of the operating system is one line, without Python's names."""

    def fail() -> None:
        raise error

    command_line.app.command(fail, name="fail")
    try:
        assert 1 == command_line.run(["fail"])
    finally:
        del command_line.app["fail"]
    assert capsys.readouterr().err.startswith(f"itnio-voice: {line}")


def test_a_command_restores_signal_handlers() -> None:
    """After a command, the process has its previous signal handlers; outside the main thread they are not touched."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert 2 == command_line.run(["nonsense"])
    thread = threading.Thread(target=command_line.run, args=[["nonsense"]])
    thread.start()
    thread.join()

    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_the_package_runs_as_a_module() -> None:
    """`python -m itnio_voice demo` does the same, without a progress bar if there is no terminal."""
    done = subprocess.run([*COMMAND, "demo", "--records", "300"], capture_output=True, text=True, check=True)  # noqa: S603

    assert "Summary" in done.stdout
    assert "" == done.stderr


@pytest.fixture
def sandbox_process() -> Iterator[subprocess.Popen[str]]:
    """Run `sandbox` in its own process, which is ended with the test in any case."""
    command = [*COMMAND, "sandbox", "--records", "500", "--api-key", "a 'key"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.anyio
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_sandbox_prints_its_environment(
    sandbox_process: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    """The sandbox prints an environment for a shell and a session, and ends on a signal."""
    assert sandbox_process.stdout is not None
    exports = [shlex.split(sandbox_process.stdout.readline()) for _ in range(3)]
    printed = dict(words[1].split("=", 1) for words in exports)
    credentials = Credentials(printed["ITNIO_API_KEY"], printed["ITNIO_API_SECRET"])
    async with VoiceSession(credentials, base_url=printed["ITNIO_BASE_URL"]) as session:
        found = await session.records(datetime.now(UTC) - timedelta(days=61)).collect()
    sandbox_process.send_signal(number)
    _, errors = sandbox_process.communicate(timeout=60)

    assert code == sandbox_process.returncode
    assert "Running until interrupted (Ctrl+C).\n" == errors
    assert "a 'key" == credentials.api_key
    assert 500 == len(found)


@pytest.mark.parametrize("debug", [False, True])
def test_a_port_in_use_is_an_error(debug: bool) -> None:
    """A port in use is one line and exit code 1; `--debug` adds the traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ["--debug"] * debug + ["sandbox", "--records", "1", "--port", str(taken.getsockname()[1])]
        done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)  # noqa: S603

    assert 1 == done.returncode
    assert debug == ("Traceback" in done.stderr)
    assert debug == (done.stderr.count("\n") > 1)
