"""The command `report`: its output, its exit codes, and the files that it does not touch."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from itnio_voice import VoiceRecord
from itnio_voice.cli.app import run
from itnio_voice.sandbox import Behaviour, Sandbox
from tests.cli.conftest import END

from .test_report import CALLS
from .writing import EXPORTS, WRITE, Write, as_duckdb, as_parquet

CALL = VoiceRecord(submit_time=datetime(2026, 10, 1, tzinfo=UTC), cost=Decimal("0.1"))


def test_command_prints_the_headline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures on the terminal are those of the page; one line on standard error has the rows and the path."""
    source, output = as_parquet(tmp_path, CALLS), tmp_path / "calls.html"

    assert 0 == run(["report", str(source), "-o", str(output)])
    printed = capsys.readouterr()
    for figure in ("50.0%", "22.5 s", "3.0 s", "1.5 min", "0.3", "0.000000000000000002"):
        assert figure in printed.out
        assert f"<dd>{figure}</dd>" in output.read_text()
    assert f"itnio-voice: wrote {output}: 4 records of {source}\n" == printed.err


@pytest.mark.parametrize("found", [True, False])
def test_open_shows_the_page_in_a_browser(
    found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is opened by its absolute address; without a browser, its path is printed, and it is written anyway."""
    opened: list[str] = []

    def open_in_browser(address: str) -> bool:
        opened.append(address)
        return found

    monkeypatch.setattr("webbrowser.open", open_in_browser)
    source = as_parquet(tmp_path, CALLS)
    monkeypatch.chdir(tmp_path)
    name = "a b;#%41.html"

    assert 0 == run(["report", source.name, "-o", name])
    assert [] == opened
    assert 0 == run(["report", source.name, "-o", name, "--open"])
    assert [f"{tmp_path.as_uri()}/a%20b%3B%23%2541.html"] == opened
    assert found == (f"no browser was found: open {tmp_path / name} in one" not in capsys.readouterr().err)
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("write", WRITE)
def test_the_page_is_written_into_the_working_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is written into the working folder, and no other file is."""
    source = write(tmp_path, CALLS)
    monkeypatch.chdir(tmp_path)

    assert 0 == run(["report", source.name])
    assert {source.name, "report.html"} == {path.name for path in tmp_path.iterdir()}


def test_two_commands_may_write_one_page(tmp_path: Path) -> None:
    """Two processes report one database into one page, and both succeed."""
    source = as_duckdb(tmp_path, CALLS)
    command = [sys.executable, "-m", "itnio_voice", "report", source.name]
    both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]  # noqa: S603
    printed = [process.communicate()[1] for process in both]

    assert ["itnio-voice: wrote report.html: 4 records of calls.duckdb\n"] * 2 == printed
    assert {source.name, "report.html"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("write", WRITE)
def test_input_is_never_the_output(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output does not replace the input, under any name."""
    source = write(tmp_path, CALLS)
    before = source.read_bytes()
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "folder").mkdir()
    relative = os.path.relpath(source)
    names = [source, tmp_path / "link", tmp_path / "hard", tmp_path / "folder" / ".." / source.name, relative]

    for read in (source, tmp_path / "link"):
        for output in names:
            assert 2 == run(["report", str(read), "-o", str(output)])
            assert "is the file that is read: choose another name for the page" in capsys.readouterr().err
    assert before == source.read_bytes()
    assert {source.name, "link", "hard", "folder"} == {path.name for path in tmp_path.iterdir()}


def test_an_output_that_is_not_a_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder, a missing folder and a device are errors before the source is read, and are unchanged."""
    source = tmp_path / "missing.parquet"
    os.mkfifo(tmp_path / "fifo")
    cases = [(tmp_path, "Is a directory"), (tmp_path / "none" / "x", "Not a directory"), (tmp_path / "fifo", "regular")]

    for output, words in cases:
        assert 1 == run(["report", str(source), "-o", str(output)]) or words == "regular"
        assert 1 == capsys.readouterr().err.count("\n")
    as_parquet(tmp_path, CALLS).rename(source)
    for output, words in cases:
        assert 1 == run(["report", str(source), "-o", str(output)])
        assert words in capsys.readouterr().err
    assert {"missing.parquet", "fifo"} == {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "fifo").is_fifo()


def test_errors_exit_with_1_or_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage exits with 2, a file that cannot be opened with 1; each prints one line and writes no page."""
    source, output = str(as_parquet(tmp_path, CALLS)), str(tmp_path / "report.html")
    (tmp_path / "empty.parquet").touch()
    cases = [
        (2, [source, "--timezone", "Mars"]),
        (2, [__file__]),
        (2, [str(tmp_path / "empty.parquet")]),
        (1, [str(tmp_path / "none.parquet")]),
        (1, [str(tmp_path)]),
        (1, ["s3://bucket/calls.parquet"]),
    ]

    for code, words in cases:
        assert code == run(["report", *words, "-o", output])
        printed = capsys.readouterr()
        assert ("", 1) == (printed.out, printed.err.count("\n"))
        assert printed.err.startswith("itnio-voice: ")
    assert not Path(output).exists()


def test_reports_of_what_the_commands_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All exports and a sync of the same range are reported as the same figures."""
    printed = set()
    with Sandbox(records=150, sip_records=0, end=END) as sandbox:
        for name, value in (
            ("ITNIO_BASE_URL", sandbox.base_url),
            ("ITNIO_API_KEY", sandbox.api_key),
            ("ITNIO_API_SECRET", sandbox.api_secret),
        ):
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
        monkeypatch.chdir(tmp_path)
        assert 0 == run(["sync", "--since", "50d", "--database", "calls.duckdb"])
        for suffix in ("parquet", "arrow", "csv", "jsonl"):
            assert 0 == run(["export", "50d", "-o", f"calls.{suffix}"])
    capsys.readouterr()
    for suffix in ("duckdb", "parquet", "arrow", "csv", "jsonl"):
        assert 0 == run(["report", f"calls.{suffix}"])
        printed.add(capsys.readouterr().out)

    assert len(EXPORTS) == 4
    assert 1 == len(printed)
    assert "Cost in USD" in printed.pop()


def test_database_of_a_failed_sync_has_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sync that read no account leaves a database without figures; one of an account without calls has zeros."""
    with Sandbox(records=0, sip_records=0, end=END) as sandbox:
        monkeypatch.setenv("ITNIO_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("ITNIO_API_KEY", sandbox.api_key)
        monkeypatch.setenv("ITNIO_API_SECRET", sandbox.api_secret)
        monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
        monkeypatch.chdir(tmp_path)
        sandbox.behaviour = Behaviour(locked=True)
        assert 1 == run(["sync", "--since", "2d", "--database", "failed.duckdb"])
        sandbox.behaviour = Behaviour()
        assert 0 == run(["sync", "--since", "2d", "--database", "empty.duckdb"])
    capsys.readouterr()

    assert 2 == run(["report", "failed.duckdb"])
    assert "no sync has been completed: run `itnio-voice sync` again" in capsys.readouterr().err
    assert not Path("report.html").exists()
    assert 0 == run(["report", "empty.duckdb"])
    assert "There are no calls in this file." in Path("report.html").read_text()
