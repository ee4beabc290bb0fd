"""The commands, as they are typed."""

import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from itnio_voice import Credentials, VoiceSession
from itnio_voice.cli import app as command_line
from itnio_voice.errors import ServerError

COMMAND = [sys.executable, "-m", "itnio_voice"]


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo ends with its summary, whose figures are those of the records."""
    assert 0 == command_line.run(["demo", "--records", "1200", "--seed", "3"])
    output = capsys.readouterr().out
    figures = dict(re.findall(r"^ +(.+?)  +([\d.,%]+)(?: s)? *$", output[output.index("Summary") :], re.MULTILINE))

    assert "1,200" == figures["calls"]
    assert 20 < float(figures["answer-seizure ratio (ASR)"].rstrip("%")) < 80
    assert {"cost in EUR", "cost in USD", "requests sent", "time"} <= figures.keys()
    assert 14 <= int(figures["requests sent"]) <= 20
    assert max(map(len, output.splitlines())) <= 80
    assert 10 == len(re.findall(r" (?:USD|EUR) *$", output, re.MULTILINE))


def test_demo_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Without records there are no figures to divide."""
    assert 0 == command_line.run(["demo", "--records", "0"])
    assert "–" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["demo", "--records", "many"], ["demo", "--records", "-1"], ["sandbox", "--port", "x"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage exits with 2, and one line says what is wrong."""
    assert 2 == command_line.run(arguments)
    assert capsys.readouterr().err.startswith("itnio-voice: ")


@pytest.mark.parametrize(("error", "code"), [(ServerError("-18: busy"), 1), (KeyboardInterrupt(), 130)])
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of the API is one line and exit code 1, an interrupt 130."""

    def fail() -> None:
        raise error

    command_line.app.command(fail, name="fail")
    try:
        assert code == command_line.run(["fail"])
    finally:
        del command_line.app["fail"]
    assert capsys.readouterr().err in {"itnio-voice: ServerError: -18: busy\n", ""}


def test_as_a_module() -> None:
    """`python -m itnio_voice demo` does the same, without a progress bar where there is no terminal."""
    done = subprocess.run([*COMMAND, "demo", "--records", "300"], capture_output=True, text=True, check=True)  # noqa: S603

    assert "Summary" in done.stdout
    assert "" == done.stderr


def test_help_without_the_extras() -> None:
    """Where an extra is missing, a line says what to install."""
    script = "import sys; sys.modules['cyclopts'] = None; from itnio_voice.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603

    assert 2 == done.returncode
    assert "itnio-voice needs its extras: pip install 'itnio-voice[cli,sandbox]'\n" == done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_sandbox(number: signal.Signals) -> None:
    """The sandbox prints an environment that a session can use, and ends when it is told to."""
    process = subprocess.Popen(  # noqa: ASYNC220, S603
        [*COMMAND, "sandbox", "--records", "500"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    printed = dict(re.fullmatch(r"export (\w+)=(\S+)\n", process.stdout.readline()).groups() for _ in range(3))  # type: ignore[union-attr,misc]
    credentials = Credentials(printed["ITNIO_API_KEY"], printed["ITNIO_API_SECRET"])
    async with VoiceSession(credentials, base_url=printed["ITNIO_BASE_URL"]) as session:
        found = await session.records(datetime.now(UTC) - timedelta(days=61)).collect()
    process.send_signal(number)

    assert 0 == process.wait(5)
    assert 500 == len(found)
    process.stdout.close()
