"""The completion of commands and options in a shell, and the version."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import itnio_voice

COMMAND = [sys.executable, "-m", "itnio_voice"]


def run(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line for a user with this home folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ZDOTDIR"))}
    environment["HOME"] = str(home)
    return subprocess.run([*COMMAND, *words], env=environment, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    """The installed script completes the names of commands and options; a second installation changes nothing."""
    first = run(tmp_path, "--install-completion", "--shell", "bash")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    second = run(tmp_path, "--install-completion", "--shell", "bash")
    script = next(path for path in files if path.name == "itnio-voice")
    typed = """
        source "$0"; complete -p itnio-voice
        function=$(complete -p itnio-voice | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=(itnio-voice rec); COMP_CWORD=1; $function; echo "commands: ${COMPREPLY[*]}"
        COMP_WORDS=(itnio-voice count --timez); COMP_CWORD=2; $function; echo "options: ${COMPREPLY[*]}"
    """
    completed = subprocess.check_output(["bash", "-c", typed, str(script)], text=True)  # noqa: S603, S607

    assert (first.returncode, second.returncode) == (0, 0)
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "commands: records recordings\n" in completed
    assert "options: --timezone\n" in completed


def test_an_unknown_shell_is_wrong_usage(tmp_path: Path) -> None:
    """A shell without completions is refused with one line, and nothing is written."""
    done = run(tmp_path, "--install-completion", "--shell", "tcsh")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "tcsh" in done.stderr
    assert [] == list(tmp_path.iterdir())


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file in place of the home folder is an error of one line."""
    (tmp_path / "home").write_text("")
    done = run(tmp_path / "home", "--install-completion", "--shell", "fish")

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_the_version_is_printed(tmp_path: Path) -> None:
    """`--version` prints the package's version."""
    assert run(tmp_path, "--version").stdout == f"{itnio_voice.__version__}\n"
