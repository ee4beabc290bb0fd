"""Destinations of `sync`: DuckDB's file, dlt's telemetry, logs and errors, and signals."""

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pytest

from itnio_voice import Credentials
from itnio_voice._client.accounts import Account
from itnio_voice.outputs.warehouse import sync
from itnio_voice.sandbox import Sandbox

from ..conftest import environment_of

SINCE = datetime.now(UTC) - timedelta(days=61)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox with a few records."""
    with Sandbox(records=20, sip_records=5, end=datetime.now(UTC) - timedelta(minutes=1)) as sandbox:
        yield sandbox


@pytest.fixture
def accounts(sandbox: Sandbox) -> dict[str, Account]:
    """Return the sandbox's account."""
    return {"eu": Account("eu", Credentials(sandbox.api_key, sandbox.api_secret), sandbox.base_url)}


def run_script(script: str, sandbox: Sandbox, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a folder, with dlt's own default settings."""
    inherited = {name: value for name, value in environment_of(sandbox).items() if "DLTHUB" not in name}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", script],
        env=inherited | {"HOME": str(folder), "TMPDIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


# DuckDB's file


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("itnio_voice.duckdb", ("itnio_voice", "itnio_voice")),
        ("CALLS.duckdb", ("calls", "calls")),
        ("calls.old.duckdb", ("calls", "calls")),
        ("a-b", ("a-b", "a_b")),
        ('o\'clock "new"; -- .duckdb', ("o'clock", "o_clock")),
        ("звонки.duckdb", ("звонки", "x")),
        ("memory.duckdb", ("memory", "memory")),
        ("temp.duckdb", ("system", "system")),
        ("information_schema.duckdb", ("main", "main")),
        ("itnio_voice_file.duckdb", ("itnio_voice_file", "itnio_voice_file")),
        ("calls_staging.duckdb", ("calls", "calls")),
    ],
)
def test_file_and_dataset_may_have_any_names(
    file: str, names: tuple[str, str], accounts: dict[str, Account], sandbox: Sandbox, tmp_path: Path
) -> None:
    """Two syncs fill the dataset of the file, also where both have the same name, and return the schema's name."""
    dataset, schema = names
    for _ in range(2):
        synced = sync(accounts, since=SINCE, database=tmp_path / file, dataset=dataset)

    assert schema == synced.dataset
    with duckdb.connect(str(tmp_path / "reader")) as reader:
        quoted = str(tmp_path / file).replace("'", "''")
        reader.execute(f"ATTACH '{quoted}' AS warehouse (READ_ONLY)")
        found = reader.execute(f'SELECT voice_id FROM warehouse."{schema}".voice_records').fetchall()  # noqa: S608
    assert sorted(sandbox.ids()) == sorted(name for (name,) in found)


def test_a_new_file_is_private(accounts: dict[str, Account], tmp_path: Path) -> None:
    """Only its owner can read a new file. An existing file keeps its mode, and no other file is left."""
    database = tmp_path / "calls.duckdb"
    sync(accounts, since=SINCE, database=database)
    assert 0o600 == stat.S_IMODE(database.stat().st_mode)
    database.chmod(0o644)
    sync(accounts, since=SINCE, database=database)

    assert 0o644 == stat.S_IMODE(database.stat().st_mode)
    assert [database] == list(tmp_path.iterdir())


def test_a_missing_folder_is_an_error(accounts: dict[str, Account], tmp_path: Path) -> None:
    """The error names the folder."""
    with pytest.raises(FileNotFoundError, match=r"there is no such folder: .*nowhere'"):
        sync(accounts, since=SINCE, database=tmp_path / "nowhere" / "calls.duckdb")


def test_a_locked_file_is_an_error(accounts: dict[str, Account], tmp_path: Path) -> None:
    """The error is one line that says which process has the file open."""
    script = "import duckdb, sys; duckdb.connect('calls.duckdb'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script.replace("duckdb.c", "connection = duckdb.c")]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # noqa: S603
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(OSError, match=r"the destination failed: .*Could not set lock on file") as failed:
            sync(accounts, since=SINCE, database=tmp_path / "calls.duckdb")
        holder.communicate()

    assert f"PID {holder.pid}" in str(failed.value)
    assert "\n" not in str(failed.value)


# Telemetry and logs

RESOLVER = """
import socket
names, resolve = [], socket.getaddrinfo
def only_loopback(host, *arguments, **options):
    names.append(host)
    if host not in ("127.0.0.1", "localhost"):
        raise socket.gaierror(socket.EAI_NONAME, "refused")
    return resolve(host, *arguments, **options)
socket.getaddrinfo = only_loopback
"""
"""Refuses all names but those of this machine, and lists the requested names in `names`."""

OWN_PIPELINE = """
import dlt
from datetime import UTC, datetime, timedelta
from itnio_voice import find_accounts
from itnio_voice.outputs.warehouse import sync, voice_calls
since = datetime.now(UTC) - timedelta(days=61)
assert dlt.config.get("runtime.dlthub_telemetry") is None
def run():
    pipeline = dlt.pipeline("own", pipelines_dir="own", destination=dlt.destinations.duckdb("own.duckdb"))
    pipeline.run(voice_calls(find_accounts(), since=since))
"""
SHOWN = """
from dlt.common.runtime.anon_tracker import disable_anon_tracker
disable_anon_tracker()  # ends its threads
print(sorted({name for name in names if name not in ("127.0.0.1", "localhost")}))
"""


def test_a_sync_looks_up_no_other_host(sandbox: Sandbox, tmp_path: Path) -> None:
    """Only the API's host is looked up, and dlt writes no file: on the command line, and in Python."""
    command = "from itnio_voice.cli.app import run\nassert run(['sync', '--since', '61d', '--quiet']) == 0\n"
    function = "sync(find_accounts(), since=since, database=__import__('pathlib').Path('other.duckdb'))\n"
    done = run_script(RESOLVER + command + OWN_PIPELINE + function + SHOWN, sandbox, tmp_path)

    assert ("[]\n", "") == (done.stdout, done.stderr)
    assert {"itnio_voice.duckdb", "other.duckdb"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("before", ["", "sync(find_accounts(), since=since)\n"])
def test_a_pipeline_of_ones_own_keeps_the_settings_of_dlt(before: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """dlt reports a user's own pipeline, also after a sync in the same process, as is its default."""
    done = run_script(RESOLVER + OWN_PIPELINE + before + "run()\n" + SHOWN, sandbox, tmp_path)

    assert "['telemetry.scalevector.ai']\n" == done.stdout


def test_logs_of_dlt_go_to_the_logger_of_the_warehouse(
    accounts: dict[str, Account], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are at DEBUG and have no credentials. dlt's own logger is as before after the run."""
    log = logging.getLogger("dlt")

    def on_progress(_: object) -> None:
        log.warning("connecting to %s", "postgresql://loader:s3cret@db.example.com/calls")

    before = list(log.filters)
    with caplog.at_level(logging.DEBUG, "itnio_voice.warehouse"):
        sync(accounts, since=SINCE, database=tmp_path / "calls.duckdb", on_progress=on_progress)

    text = "dlt: connecting to postgresql://***@db.example.com/calls"
    assert ("itnio_voice.warehouse", logging.DEBUG, text) in caplog.record_tuples
    assert "connecting" not in capsys.readouterr().err
    assert before == log.filters


# Errors


def frames(error: BaseException | None) -> Iterator[str]:
    """Return all that an error reporter may record: texts, and the values in all frames, of an error and its causes."""
    while error:
        yield str(error)
        trace: TracebackType | None = error.__traceback__
        while trace:
            if trace.tb_frame.f_code.co_filename != __file__:
                yield from map(repr, trace.tb_frame.f_locals.values())
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://loader:s3cret%40x@127.0.0.1:1/calls?password=s3cret2",
        "postgresql://loader:s3cret@127.0.0.1:port/calls",
        "postgresql:/loader:s3cret@127.0.0.1:1/calls",
    ],
)
def test_no_password_is_in_an_error(
    address: str, accounts: dict[str, Account], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database that cannot be reached, and an address that is wrong, show no password in texts, frames and logs."""
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", address)
    with pytest.raises((OSError, ValueError)) as failed:
        sync(accounts, since=SINCE, destination="postgres")

    assert [] == [text for text in frames(failed.value) if "s3cret" in text]
    assert "\n" not in str(failed.value)
    assert "" == capsys.readouterr().err


def test_no_password_of_an_unknown_destination_is_in_an_error(accounts: dict[str, Account]) -> None:
    """A URL passed as the destination's name is shown without its password."""
    with pytest.raises(
        ValueError, match=r"dlt has no destination 'postgresql://\*\*\*@db.example.com/calls'"
    ) as failed:
        sync(accounts, since=SINCE, destination="postgresql://loader:s3cret@db.example.com/calls")

    assert (None, None) == (failed.value.__cause__, failed.value.__context__)


def test_an_error_while_reading_names_the_table(accounts: dict[str, Account], tmp_path: Path) -> None:
    """An error of the caller's own function is not reported as one of the destination."""

    def on_progress(_: Any) -> None:
        message = "no room\nto show it"
        raise RuntimeError(message)

    with pytest.raises(OSError, match=r"^reading (voice|sip)_records failed: RuntimeError: no room$"):
        sync(accounts, since=SINCE, database=tmp_path / "calls.duckdb", on_progress=on_progress)


# Signals

TERMINATED = """
import os, signal, sys
from itnio_voice.cli.app import run

def end(number, frame):
    raise KeyboardInterrupt

def kill(*_):
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, end)
"""
WHILE_READING = """
import itnio_voice.cli.commands.sync as command
command.Bar.show = kill
"""
WHILE_LOADING = """
from dlt.destinations.impl.duckdb.duck import DuckDbCopyJob
load = DuckDbCopyJob.run
DuckDbCopyJob.run = lambda job: (kill(), load(job))
"""


@pytest.mark.parametrize("when", [WHILE_READING, WHILE_LOADING])
def test_a_sync_that_is_terminated_leaves_no_files(when: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """Handlers of SIGTERM that raise also run while dlt intercepts signals; call data are removed."""
    done = run_script(TERMINATED + when + "sys.exit(run(['sync', '--since', '61d']))", sandbox, tmp_path)

    assert (143, "") == (done.returncode, done.stderr)
    assert {"itnio_voice.duckdb"} >= {path.name for path in tmp_path.iterdir()}
    assert os.listdir(tmp_path) in ([], ["itnio_voice.duckdb"])
