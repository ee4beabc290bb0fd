"""The command `sync`."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from dlt.destinations.impl.duckdb.configuration import DuckDbConnectionPool

from itnio_voice._extras import install_command
from itnio_voice.cli.app import run
from itnio_voice.sandbox import Sandbox

from .conftest import ServerTime


@pytest.mark.parametrize("ahead", [-7200, 7200])
def test_a_sync_reads_up_to_the_servers_time(
    ahead: int, skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sync reads up to the server's time. A line reports how far that is behind; a later run continues."""
    server_time.ahead = ahead
    words = ["sync", "--since", "1d", "--lookback", "0s", "--database", str(tmp_path / "calls.duckdb")]
    skewed.insert({"submitTime": server_time.after(-60).isoformat()})
    assert 0 == run(words)
    errors = capsys.readouterr().err
    assert (ahead < 0) == errors.startswith("itnio-voice: read up to ")
    assert (ahead < 0) == ("; run the command again after " in errors)
    assert 1 + (ahead < 0) == errors.count("\n")
    server_time.ahead += 7200
    skewed.insert({"submitTime": server_time.after(-3600).isoformat()})

    assert 0 == run([*words, "--quiet"])
    assert "" == capsys.readouterr().err
    with duckdb.connect(str(tmp_path / "calls.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT voice_id FROM itnio_voice.voice_records").fetchall()
    assert skewed.ids() == {name for (name,) in found}


@pytest.mark.usefixtures("skewed")
def test_a_start_in_the_future_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A start that is not in the past is wrong usage."""
    assert 2 == run(["sync", "--since", "2100-01-01", "--database", str(tmp_path / "calls.duckdb")])
    assert "start must be before end" in capsys.readouterr().err


def test_a_sync_with_defaults_creates_one_file(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder it creates one file, and one line on standard error has its rows, destination and path."""
    monkeypatch.chdir(tmp_path)
    assert 0 == run(["sync", "--since", "61d"])
    shown = capsys.readouterr()

    assert "" == shown.out
    assert (
        "itnio-voice: merged 150 rows into voice_records and 40 rows into sip_records: "
        f"duckdb file {tmp_path / 'itnio_voice.duckdb'}, dataset itnio_voice\n"
    ) == shown.err
    assert ["itnio_voice.duckdb"] == [path.name for path in tmp_path.iterdir()]
    with duckdb.connect("itnio_voice.duckdb", read_only=True) as connection:
        connection.execute("USE itnio_voice.itnio_voice")
        found = connection.execute("SELECT voice_id FROM voice_records").fetchall()
    assert sandbox.ids() == {name for (name,) in found}


@pytest.mark.usefixtures("sandbox")
def test_quiet_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A successful sync prints nothing."""
    assert 0 == run(["sync", "--since", "7d", "--database", str(tmp_path / "calls.duckdb"), "--quiet"])
    assert ("", "") == capsys.readouterr()


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("text", ["2026-09-01", "now", "3", "-3d", "3 d", "2026-09-01T08:00+08:00", "999999999w", ""])
def test_an_invalid_lookback_is_wrong_usage(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A date is wrong usage, and the message says what to write."""
    words = ["sync", "--since", "7d", f"--lookback={text}", "--database", str(tmp_path / "calls.duckdb")]
    assert 2 == run(words)
    assert "--lookback" in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["2d", "36h", "90m", "0s", "200000w"])
def test_a_lookback_is_a_duration(text: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """The second sync reads that duration again."""
    words = ["sync", "--since", "7d", "--lookback", text, "--database", str(tmp_path / "calls.duckdb"), "--quiet"]
    assert [0, 0] == [run(words) for _ in range(2)]
    assert sandbox.requests


def test_a_failing_account_is_named_once(
    sandbox: Sandbox, accounts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line has the account, the error and both tables; the rows of the other account are counted."""
    accounts.write_text(accounts.read_text().replace("us-secret", "wrong"))
    words = ["sync", "--since", "61d", "--database", str(tmp_path / "calls.duckdb"), "--accounts", str(accounts)]
    assert 1 == run(words)
    failed, merged = capsys.readouterr().err.splitlines()

    assert failed.startswith("itnio-voice: us: AuthenticationError: -1: ")
    assert failed.endswith("_records)")
    assert {"voice_records", "sip_records"} == set(failed.rpartition("(")[2].strip(")").split(", "))
    assert f"merged {len(sandbox.ids())} rows into voice_records" in merged


def test_the_failure_of_the_only_account_is_one_line(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No other account is mentioned if there is none."""
    monkeypatch.setenv("ITNIO_API_SECRET", "wrong")
    assert 1 == run(["sync", "--since", "61d", "--database", str(tmp_path / "calls.duckdb"), "--quiet"])
    errors = capsys.readouterr().err

    assert errors.startswith("itnio-voice: AuthenticationError: -1: ")
    assert 1 == errors.count("\n")
    assert "others" not in errors
    assert sandbox.requests


@pytest.mark.usefixtures("sandbox")
def test_the_files_of_a_sync_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB's write-ahead log contains call data too. Afterwards the process creates files as before."""
    modes: set[int] = set()
    return_conn = DuckDbConnectionPool.return_conn

    def look(pool: DuckDbConnectionPool, connection: duckdb.DuckDBPyConnection) -> int:
        modes.update(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.duckdb*"))
        return int(return_conn(pool, connection))

    monkeypatch.setattr(DuckDbConnectionPool, "return_conn", look)
    assert 0 == run(["sync", "--since", "61d", "--database", str(tmp_path / "calls.duckdb"), "--quiet"])
    (tmp_path / "other").touch()

    assert {0o600} == modes
    assert 0o666 & ~umask() == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def umask() -> int:
    """Return the mode bits that new files of this process lack."""
    before = os.umask(0o077)
    os.umask(before)
    return before


def test_a_missing_driver_is_wrong_usage(sandbox: Sandbox, tmp_path: Path) -> None:
    """A destination without its driver is wrong usage: one line has the install command."""
    script = (
        "import sys; sys.modules['psycopg2'] = None; from itnio_voice.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "sync", "--since", "7d", "--destination", "postgres"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)  # noqa: S603

    line = f"itnio-voice: the driver of postgres is not installed: {install_command('postgres')}\n"
    assert (2, line, "") == (done.returncode, done.stderr, done.stdout)
    assert [] == sandbox.requests


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_an_unreachable_database_shows_no_password(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the address, and no password is shown, not even in a traceback."""
    monkeypatch.setenv(
        "DESTINATION__POSTGRES__CREDENTIALS", "postgresql://loader:s3cret@127.0.0.1:1/calls?password=s3cret"
    )
    assert 1 == run([*options, "sync", "--since", "7d", "--destination", "postgres"])
    errors = capsys.readouterr().err

    assert "s3cret" not in errors
    assert errors.splitlines()[-1].startswith("itnio-voice: the destination failed: OperationalError: connection")
    assert options or errors.count("\n") == 1
