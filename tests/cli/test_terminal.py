"""Standard output and standard error: closed, full, in ASCII, and with hostile text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from itnio_voice.cli.app import run
from itnio_voice.cli.terminal import cell

COMMAND = [sys.executable, "-m", "itnio_voice"]
PRINTING = [["records", "61d"], ["check"], ["demo", "--records", "100"], ["--help"], ["--version"], ["sandbox"]]


def in_a_shell(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command in bash, where `$COMMAND` is its name."""
    environment = os.environ | {"COMMAND": " ".join(COMMAND)}
    return subprocess.run(  # noqa: S603
        ["/bin/bash", "-c", line], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_closed_standard_output_is_one_line(words: list[str], tmp_path: Path) -> None:
    """Output that cannot be printed is a one-line error; if standard error is closed too, only the exit code."""
    done = in_a_shell(f"$COMMAND {' '.join(words)} >&-", tmp_path)

    assert (1, 1) == (done.returncode, done.stderr.count("\n"))
    assert done.stderr.startswith("itnio-voice: Bad file descriptor")
    assert 1 == in_a_shell(f"$COMMAND {' '.join(words)} >&- 2>&-", tmp_path).returncode


@pytest.mark.usefixtures("sandbox")
def test_an_export_needs_no_standard_output(tmp_path: Path) -> None:
    """A command that prints nothing works without the standard streams, and writes into no other file."""
    done = in_a_shell("$COMMAND export 61d -o calls.csv <&- >&- 2>&-", tmp_path)

    assert 0 == done.returncode
    assert (tmp_path / "calls.csv").read_text().startswith("voice_id,")
    assert ["calls.csv"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.usefixtures("sandbox")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """A full disk is a one-line error; on standard error it has no effect."""
    done = in_a_shell("$COMMAND records 61d >/dev/full", tmp_path)

    assert (1, 1) == (done.returncode, done.stderr.count("\n"))
    assert "No space left on device (standard output)" in done.stderr
    assert 2 == in_a_shell("$COMMAND records nonsense 2>/dev/full", tmp_path).returncode


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
def test_a_closed_pipe_exits_with_141(words: list[str], tmp_path: Path) -> None:
    """A closed pipe ends a command as SIGPIPE does: exit code 141, and nothing on standard error."""
    with subprocess.Popen(  # noqa: S603
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()

    assert (141, b"") == (process.returncode, errors)


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("words", [["check"], ["demo", "--records", "100"], ["--help"]], ids=" ".join)
def test_an_ascii_terminal_shows_replacements(words: list[str]) -> None:
    """If the encoding is ASCII, other characters are replaced."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, *words], capture_output=True, check=False, env=environment)  # noqa: S603

    assert (0, b"") == (done.returncode, done.stderr)
    assert done.stdout.isascii()


@pytest.mark.usefixtures("sandbox")
def test_marks_are_distinct_in_ascii() -> None:
    """The marks of a check are distinct in ASCII too."""
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "ITNIO_API_SECRET": "other"}
    done = subprocess.run(  # noqa: S603
        [*COMMAND, "check"], capture_output=True, check=False, env=environment, text=True
    )

    assert 1 == done.returncode
    assert "| address     | + |" in done.stdout
    assert "| credentials | x |" in done.stdout


def test_cells_show_markup_as_text() -> None:
    """Markup and control characters in a cell are shown as text."""
    assert r"[/][b]\x1b[2J\x9b\u202e\n" == cell("[/][b]\x1b[2J\x9b\u202e\n").plain


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("words", [["records", "[/]\x1b[2J"], ["\x1b[2J\u202e"], ["records", "1d", "--\x1b[2J"]])
def test_errors_are_printable(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """An error is one line of printable characters, for any input."""
    assert 2 == run(words)

    errors = capfd.readouterr().err
    assert 1 == errors.count("\n")
    assert errors.strip("\n").isprintable()
    assert r"\x1b[2J" in errors
