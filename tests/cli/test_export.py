"""The command `export`."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from itnio_voice.cli.app import run
from itnio_voice.outputs._journal import Journal
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .conftest import ServerTime

END = datetime.now(UTC).replace(microsecond=0)
PAST = [(END - timedelta(days=61)).isoformat(), END.isoformat()]
"""A range that does not move with the clock."""

COMMAND = [sys.executable, "-m", "itnio_voice", "export"]


def test_a_file_has_every_record(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file has every record; without a terminal, one line reports their number and the path."""
    assert 0 == run(["export", "61d", "-o", str(tmp_path / "calls.parquet")])

    assert sandbox.ids() == set(parquet.read_table(tmp_path / "calls.parquet")["voice_id"].to_pylist())
    assert ["calls.parquet"] == [path.name for path in tmp_path.iterdir()]
    assert re.fullmatch(
        r"itnio-voice: 150 records in [0-9.]+ s: \S*calls.parquet has [0-9,]+ bytes\n", capsys.readouterr().err
    )


def test_several_accounts_have_a_column(sandbox: Sandbox, accounts: Path, tmp_path: Path) -> None:
    """Several accounts are distinguished by their own column."""
    words = ["61d", "--sip", "--output", str(tmp_path / "calls.jsonl"), "--accounts", str(accounts), "--resume"]

    assert 0 == run(["export", *words])
    rows = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert {key[:2]: sandbox.ids(kind="sip", account=key) for key in sandbox.accounts} == {
        name: {row["voice_id"] for row in rows if row["account"] == name} for name in ("eu", "us")
    }


def test_a_finished_export_requests_nothing(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a finished output, `--resume` changes and requests nothing; without the output it starts again."""
    output = tmp_path / "calls.csv"
    words = ["export", *PAST, "-o", str(output), "--resume"]
    assert 0 == run(words)
    before, requests = output.read_bytes(), len(sandbox.requests)
    assert (0, before, requests) == (run(words), output.read_bytes(), len(sandbox.requests))
    assert "calls.csv is finished" in capsys.readouterr().err
    output.unlink()
    sandbox.insert({"voiceId": "late", "submitTime": (END - timedelta(minutes=5)).isoformat()})
    assert 0 == run(words)
    assert "was finished and is not there: exporting it again" in capsys.readouterr().err
    assert "late" in output.read_text()
    assert output.read_text().count("\n") == before.count(b"\n") + 1


def test_an_output_that_another_export_replaced_is_exported_again(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state is valid only for the output that it describes: for other content, the export is repeated."""
    output = tmp_path / "calls.csv"
    words = ["export", *PAST, "-o", str(output), "--resume"]
    assert 0 == run(words)
    right = output.read_bytes()
    assert 0 == run(["export", "1d", "-o", str(output)])
    assert right != output.read_bytes()
    capsys.readouterr()

    assert 0 == run(words)
    assert "was changed since it was finished: exporting it again" in capsys.readouterr().err
    assert right == output.read_bytes()
    output.write_bytes(right[:-2] + b"!\n")  # of the same size
    os.utime(output, ns=(0, 0))
    assert 0 == run(words)
    assert right == output.read_bytes()
    assert sandbox.ids() == set(ids_of(output))


def test_a_finished_output_can_be_moved_with_its_state(sandbox: Sandbox, tmp_path: Path) -> None:
    """An output that is copied or moved together with its state stays finished."""
    words = ["export", *PAST, "--resume", "-o"]
    assert 0 == run([*words, str(tmp_path / "calls.csv")])
    (tmp_path / "new").mkdir()
    for name in ("calls.csv", "calls.csv.state"):
        shutil.copy(tmp_path / name, tmp_path / "new" / name.replace("calls", "moved"))
    sandbox.reset_requests()

    assert 0 == run([*words, str(tmp_path / "new" / "moved.csv")])
    assert [] == sandbox.requests


def test_a_relative_range_that_has_moved_on_is_exported_again(
    skewed: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A day later, the same command with `1d` writes the records of the new range, and only those."""
    now, output = datetime.now(UTC), tmp_path / "calls.csv"
    insert(skewed, now - timedelta(hours=47), now - timedelta(hours=25), now - timedelta(hours=1))
    words = ["export", "1d", "-o", str(output), "--resume"]
    with monkeypatch.context() as yesterday:
        yesterday.setattr("itnio_voice.cli.options.datetime", DayBefore)
        assert 0 == run([*words[:2], "0d", *words[2:]])
        assert ["a", "b"] == ids_of(output)
    capsys.readouterr()

    assert 0 == run([*words[:2], "0d", *words[2:]])
    assert ["c"] == ids_of(output)
    assert "has the records of an earlier range: exporting it again" in capsys.readouterr().err


def test_a_stopped_relative_range_continues_with_the_first_start(
    skewed: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped run continues from the start that `1d` meant then, up to the present."""
    now, output = datetime.now(UTC), tmp_path / "calls.csv"
    insert(skewed, now - timedelta(hours=47), now - timedelta(hours=25), now - timedelta(hours=1))
    skewed.behaviour = Behaviour(max_span=timedelta(hours=4))
    words = ["export", "1d", "-o", str(output), "--resume", "--concurrency", "1"]
    with monkeypatch.context() as yesterday:
        yesterday.setattr("itnio_voice.cli.options.datetime", DayBefore)
        refuse_from(skewed, 14)
        assert 1 == run(words)
        assert not output.exists()
    skewed.on_request, skewed.behaviour = None, Behaviour()
    capsys.readouterr()

    assert 0 == run(words)
    assert ["a", "b", "c"] == ids_of(output)
    errors = capsys.readouterr().err
    assert "1 records for" in errors
    assert f"have been read: continuing with {(now - timedelta(days=2)).date().isoformat()}" in errors
    assert "3 records (2 of this run) in" in errors


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["61d", "-o", "calls.csv", "--sip"], "is the state of another export"),
        (["60d", "-o", "calls.csv"], "is the state of another export"),
        (["61d", "-o", "calls.xlsx"], "must end with one of .parquet, .csv, .jsonl, .arrow"),
        (["now", "61d", "-o", "new.csv"], "start must be before end"),
    ],
)
def test_conflicting_options_change_nothing(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options that conflict with the state beside the output, or are invalid, exit with 2 and change nothing."""
    monkeypatch.chdir(tmp_path)
    assert 0 == run(["export", "61d", "-o", "calls.csv", "--resume"])
    before = Path("calls.csv").read_bytes()

    assert 2 == run(["export", "--resume", *words])
    assert text in capsys.readouterr().err
    assert before == Path("calls.csv").read_bytes()


def test_a_state_continues_only_its_own_account(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that were read are not read again; for another account of the same name the state is not used."""
    words = ["export", "61d", "-o", str(tmp_path / "calls.csv"), "--resume", "--concurrency", "1"]
    sandbox.behaviour = Behaviour(max_span=timedelta(days=4))
    refuse_from(sandbox, 12)
    assert 1 == run(words)
    assert ["calls.csv.state"] == [path.name for path in tmp_path.iterdir()]
    sandbox.behaviour = Behaviour()
    with monkeypatch.context() as environment:
        environment.setenv("ITNIO_API_KEY", "us-key")
        environment.setenv("ITNIO_API_SECRET", "us-secret")
        assert 2 == run(words)
    sandbox.reset_requests()
    sandbox.on_request = None

    assert 0 == run(words)
    with (tmp_path / "calls.csv").open(newline="") as file:
        assert sandbox.ids() == {row["voice_id"] for row in csv.DictReader(file)}
    assert len(sandbox.requests) < 12


def test_a_missing_folder_is_an_error(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing folder is exit code 1, before any request."""
    assert 1 == run(["export", "61d", "-o", str(tmp_path / "none" / "calls.csv")])
    assert "is not a folder. Create it, or choose another one" in capsys.readouterr().err
    assert [] == sandbox.requests


def test_an_interrupt_leaves_no_incomplete_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """An interrupt is exit code 130, and leaves no file that looks complete."""
    sandbox.behaviour = Behaviour(latency=0.3)
    command = [*COMMAND, "61d", "-o", str(tmp_path / "calls.csv")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:  # noqa: S603
        while not sandbox.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert (130, b"") == (process.returncode, errors)
    assert [] == list(tmp_path.iterdir())


def refuse_from(sandbox: Sandbox, request: int) -> None:
    """Make a sandbox refuse its requests, from a number on."""

    def refuse(sandbox: Sandbox, number: int) -> None:
        if number == request:
            sandbox.behaviour = Behaviour(allowed_addresses=())

    sandbox.on_request = refuse


class DayBefore(datetime):
    """The clock of the command line, one day ago."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """Return the time."""
        return datetime.now(tz) - timedelta(days=1)


# Clocks

CLOCKS = pytest.mark.parametrize("ahead", [-7200, 0, 7200])


def ids_of(output: Path) -> list[str]:
    """Return the ids in a file, in order."""
    with output.open(newline="") as file:
        return sorted(row["voice_id"] for row in csv.DictReader(file))


def warnings(errors: str) -> str:
    """Return standard error without the lines about the written file and the continued export."""
    usual = re.compile(r"records .*in [0-9.]+ s: |: continuing with ")
    return "".join(line for line in errors.splitlines(keepends=True) if not usual.search(line))


def insert(sandbox: Sandbox, *times: datetime) -> None:
    """Insert a record at each time, with consecutive letters as ids."""
    first = len(sandbox.ids())
    sandbox.insert(
        *({"voiceId": chr(97 + index), "submitTime": at.isoformat()} for index, at in enumerate(times, first))
    )


@CLOCKS
def test_a_later_run_reads_what_was_in_the_future(
    ahead: int, skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range that ends in the server's future is not finished: the same command reads the rest later."""
    server_time.ahead = ahead
    output, start, end = tmp_path / "calls.csv", server_time.after(-86400), server_time.after(3600)
    words = ["export", start.isoformat(), end.isoformat(), "-o", str(output), "--resume"]
    insert(skewed, server_time.after(-7000), server_time.after(-60))
    for _ in range(2):
        assert 0 == run(words)
        assert ["a", "b"] == ids_of(output)
        errors = warnings(capsys.readouterr().err)
        assert errors.startswith("itnio-voice: read up to ")
        assert errors.endswith(f"; run the command again after {end.isoformat()} for the rest\n")
        assert 1 == errors.count("\n")

    insert(skewed, end - timedelta(minutes=30))
    server_time.ahead += 7200
    assert 0 == run(words)
    assert ["a", "b", "c"] == ids_of(output)
    assert "" == warnings(capsys.readouterr().err)
    skewed.reset_requests()
    assert 0 == run(words)
    assert "is finished" in (capsys.readouterr().err)
    assert [] == skewed.requests


def test_an_export_up_to_now_with_a_clock_ahead(
    skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export up to "now" is finished when the server's clock has passed this machine's time at its start."""
    server_time.ahead = -7200
    output = tmp_path / "calls.csv"
    words = ["export", "1d", "-o", str(output), "--resume"]
    insert(skewed, server_time.after(-60))
    assert 0 == run(words)
    assert "; run the command again after " in warnings(capsys.readouterr().err)
    insert(skewed, server_time.after(600))
    server_time.ahead = 0

    assert 0 == run(words)
    assert ["a", "b"] == ids_of(output)
    assert "" == warnings(capsys.readouterr().err)


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_an_export_up_to_now_with_a_clock_behind(
    resume: list[str], skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export up to "now" includes the server's latest hours, which this machine's clock has not reached."""
    server_time.ahead = 7200
    insert(skewed, server_time.after(-7300), server_time.after(-60))

    assert 0 == run(["export", "1d", "-o", str(tmp_path / "calls.csv"), *resume])
    assert ["a", "b"] == ids_of(tmp_path / "calls.csv")
    assert "" == warnings(capsys.readouterr().err)


@pytest.mark.parametrize("end", ["2100-01-01", "now"])
def test_without_resume_the_rest_is_reported(
    end: str, skewed: Sandbox, server_time: ServerTime, tmp_path: Path
) -> None:
    """Without `--resume`, the same line does not suggest another run. The library's warnings are not printed."""
    server_time.ahead = -7200
    insert(skewed, server_time.after(-60))
    output = tmp_path / "calls.csv"
    done = subprocess.run(  # noqa: S603
        [*COMMAND, "1d", end, "-o", str(output)], capture_output=True, text=True, check=True, env=os.environ
    )

    assert ["a"] == ids_of(output)
    assert done.stderr.startswith("itnio-voice: read up to ")
    assert 1 == warnings(done.stderr).count("\n")
    assert "again" not in done.stderr


@pytest.mark.parametrize("ends", ["[)", "(]", "[]", "()"])
def test_adjacent_exports_share_no_record(ends: Any, skewed: Sandbox, server_time: ServerTime, tmp_path: Path) -> None:
    """Exports that share an end within a second have each record once."""
    skewed.behaviour = Behaviour(ends=ends)
    middle = server_time.after(-3600)
    insert(skewed, *(middle + timedelta(seconds=step) for step in (-2, -1, 0, 1, 2)))
    a, b, c = middle - timedelta(hours=1), middle + timedelta(seconds=0.6), middle + timedelta(hours=0.5)
    found = []
    for name, start, end in (("first", a, b), ("second", b, c)):
        output = tmp_path / f"{name}.csv"
        assert 0 == run(["export", start.isoformat(), end.isoformat(), "-o", str(output), "--resume"])
        found += ids_of(output)

    assert ["a", "b", "c", "d", "e"] == found


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_range_within_a_second_sends_no_request(
    resume: list[str], skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range within one second is a file without records, and sends no request."""
    at, output = server_time.after(-60), tmp_path / "calls.csv"
    insert(skewed, at)
    start, end = at + timedelta(seconds=0.2), at + timedelta(seconds=0.7)

    assert 0 == run(["export", start.isoformat(), end.isoformat(), "-o", str(output), *resume])
    assert [] == ids_of(output)
    assert ("", []) == (warnings(capsys.readouterr().err), skewed.requests)


@CLOCKS
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_past_range_is_complete_with_a_wrong_clock(
    ahead: int, resume: list[str], skewed: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range that is over on the server's clock is complete, even if this machine's clock is hours off."""
    skewed.behaviour = Behaviour(clock_skew=ahead)
    ours = datetime.now(UTC).replace(microsecond=0)
    now = ours + timedelta(seconds=ahead)
    start, end = now - timedelta(days=1), now - timedelta(minutes=1)
    # The sandbox shows a record when its clock without the skew, which is this machine's, has passed it.
    insert(
        skewed, start + timedelta(seconds=1), min(now, ours) - timedelta(hours=2), min(end, ours) - timedelta(seconds=1)
    )

    output = tmp_path / "calls.csv"
    assert 0 == run(["export", start.isoformat(), end.isoformat(), "-o", str(output), *resume])
    assert ["a", "b", "c"] == ids_of(output)
    assert "" == warnings(capsys.readouterr().err)


DAYS = 5 * 86400


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(clock_skew=DAYS),
        Behaviour(clock_skew=-DAYS),
        Behaviour(faults=(Fault("timestamp_expired", date_ahead=DAYS),)),
        Behaviour(faults=(Fault("timestamp_expired", date_ahead=-DAYS),)),
    ],
)
def test_a_clock_that_is_days_off_is_an_error(
    behaviour: Behaviour, skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that is off by more than the limit is an error that names both times, and leaves no file."""
    skewed.behaviour = behaviour
    words = ["export", server_time.after(-86400).isoformat(), server_time.after(-3600).isoformat()]

    assert 1 == run([*words, "-o", str(tmp_path / "calls.csv"), "--resume"])
    assert "set this machine's clock" in warnings(capsys.readouterr().err)
    assert not (tmp_path / "calls.csv").exists()


# Concurrent commands, signals, and invalid outputs


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_call_data(
    number: signal.Signals, code: int, ignored: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    """SIGTERM ends an export as SIGINT does, also in a background job, which starts with SIGINT ignored."""
    sandbox.behaviour = Behaviour(latency=0.3)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignored else signal.getsignal(signal.SIGINT)
    try:
        process = subprocess.Popen(  # noqa: S603
            [*COMMAND, "61d", "-o", str(tmp_path / "calls.csv")], stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        while not sandbox.requests:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate()

    assert (code, b"") == (process.returncode, errors)
    assert [] == list(tmp_path.iterdir())


def test_a_signal_during_writing_removes_the_part_file(tmp_path: Path) -> None:
    """A part file is removed when SIGTERM interrupts writing."""
    script = (
        "import signal, sys; from pathlib import Path; from itnio_voice._files.atomic_file import new_file\n"
        "from itnio_voice.cli.signals import interruptible\n"
        "with interruptible(), new_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'call data'); file.flush(); signal.raise_signal(signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "calls.csv")], check=False)  # noqa: S603

    assert 143 == done.returncode
    assert [] == list(tmp_path.iterdir())


def test_two_concurrent_exports_write_complete_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two exports into one output each write a complete file."""
    sandbox.behaviour = Behaviour(latency=0.2)
    output = tmp_path / "calls.csv"
    runs = [subprocess.Popen([*COMMAND, *PAST, "-o", str(output)], stderr=subprocess.DEVNULL) for _ in range(2)]  # noqa: S603

    assert [0, 0] == [process.wait() for process in runs]
    assert sandbox.ids() == set(ids_of(output))
    assert ["calls.csv"] == os.listdir(tmp_path)


def test_two_resumed_exports_cannot_share_a_state(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While an export uses a state, another one ends with an error that says so."""
    with Journal(tmp_path / "calls.csv.state"):
        assert 1 == run(["export", *PAST, "-o", str(tmp_path / "calls.csv"), "--resume"])

    assert "calls.csv.state is in use by another export. Wait until that has ended" in capsys.readouterr().err
    assert [] == sandbox.requests


@pytest.mark.usefixtures("sandbox")
def test_a_state_of_another_account_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finished export of another account with the same name does not count for this account."""
    words = ["export", *PAST, "-o", str(tmp_path / "calls.csv"), "--resume"]
    assert 0 == run(words)
    monkeypatch.setenv("ITNIO_API_KEY", "us-key")
    monkeypatch.setenv("ITNIO_API_SECRET", "us-secret")

    assert 2 == run(words)
    assert "is the state of another export (accounts: " in capsys.readouterr().err


@pytest.mark.usefixtures("sandbox")
def test_a_damaged_state_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unusable state is exit code 1 and one line that names it; the output is unchanged."""
    output = tmp_path / "calls.csv"
    words = ["export", *PAST, "-o", str(output), "--resume"]
    assert 0 == run(words)
    before = output.read_bytes()
    (tmp_path / "calls.csv.state").write_bytes(b"x" * 5000)
    capsys.readouterr()

    assert 1 == run(words)
    errors = capsys.readouterr().err
    assert errors.startswith(f"itnio-voice: {output}.state is damaged, or not the state of an export (")
    assert errors.endswith("delete it to start afresh, or choose another output\n")
    assert before == output.read_bytes()


def test_a_full_disk_is_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    """On a full disk, one line says so; the previous output is unchanged, and the same command continues."""
    output = tmp_path / "calls.csv"
    output.write_text("before")
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from itnio_voice.__main__ import main; main()"
    )
    # The limit would also apply to coverage's own file.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    for resume in ([], ["--resume"]):
        command = [sys.executable, "-c", script, "export", *PAST, "-o", str(output), *resume]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        assert (1, 1) == (done.returncode, done.stderr.count("\n"))
        assert re.match(r"itnio-voice: (\S*calls.csv\S*|The temporary file of the export) cannot be ", done.stderr)
        assert "before" == output.read_text()
        assert not list(tmp_path.glob(".*"))

    assert 0 == run(["export", *PAST, "-o", str(output), "--resume"])
    assert sandbox.ids() == set(ids_of(output))


@pytest.mark.usefixtures("sandbox")
def test_an_invalid_output_is_named_without_names_of_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An output that cannot be written is named, without Python's names."""
    (tmp_path / "folder.csv").mkdir()
    for output, text in [
        (tmp_path / "folder.csv", f"{tmp_path}/folder.csv is a folder: choose the name of a file"),
        (Path("/none/calls.csv"), "/none/calls.csv cannot be written: /none is not a folder. Create it, or choose"),
        (tmp_path / f"{'n' * 252}.csv", "n.csv cannot be written: File name too long"),
    ]:
        for resume in ([], ["--resume"]):
            assert 1 == run(["export", "1d", "-o", str(output), *resume])
            errors = capsys.readouterr().err
            assert text in errors
            assert not re.search(r"Error|Errno|\.part", errors)
    assert ["folder.csv"] == os.listdir(tmp_path)


# Standard output, formats and progress


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "arrow"])
def test_standard_output_has_only_the_file(form: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """`-o -` writes the file to standard output, and everything else to standard error."""
    done = subprocess.run([*COMMAND, *PAST, "-o", "-", "--format", form], capture_output=True, check=True)  # noqa: S603
    assert 0 == run(["export", *PAST, "-o", str(tmp_path / "calls"), "--format", form])

    assert (tmp_path / "calls").read_bytes() == done.stdout
    assert re.fullmatch(rb"itnio-voice: 150 records in [0-9.]+ s: to standard output\n", done.stderr)
    assert sandbox.ids()


def test_a_closed_pipe_ends_an_export_quietly(sandbox: Sandbox) -> None:
    """If the reader closes the pipe, the command ends without output."""
    sandbox.insert(*({"voiceId": f"x{number}", "submitTime": END.isoformat()} for number in range(500)))
    command = [*COMMAND, *PAST, "-o", "-", "--format", "jsonl", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        errors = process.stderr.read()

    assert (141, b"") == (process.returncode, errors)


@pytest.mark.parametrize(
    "case",
    [
        (["-o", "-"], "add --format csv, for example"),
        (["-o", "-", "--format", "csv", "--resume"], "--resume needs a file"),
        (["-o", "calls.jsonl", "--csv-safe"], "is an option of the format csv, not of jsonl"),
        (["-o", "-", "--format", "xlsx"], "xlsx"),
    ],
)
def test_incompatible_options_are_wrong_usage(
    case: tuple[list[str], str],
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are wrong usage, before anything is requested or written."""
    words, text = case
    monkeypatch.chdir(tmp_path)
    assert 2 == run(["export", "1d", *words])
    assert text in capsys.readouterr().err
    assert ([], []) == (sandbox.requests, list(tmp_path.iterdir()))


def test_a_binary_format_is_not_written_to_a_terminal(sandbox: Sandbox) -> None:
    """Parquet on a terminal is wrong usage; CSV is not."""
    for form, code in [("parquet", 2), ("arrow", 2), ("csv", 0)]:
        terminal, screen = os.openpty()
        try:
            done = subprocess.run(  # noqa: S603
                [*COMMAND, "1d", "-o", "-", "--format", form], stdout=screen, stderr=subprocess.PIPE, check=False
            )
        finally:
            os.close(screen)
            os.close(terminal)
        assert code == done.returncode
        assert (code == 2) == (b"binary and standard output is a terminal" in done.stderr)
    assert sandbox.requests


def test_csv_safe_neutralizes_formulas(skewed: Sandbox, server_time: ServerTime, tmp_path: Path) -> None:
    """`--csv-safe` neutralizes text that a spreadsheet would execute; a state without it is another export's."""
    skewed.insert({"voiceId": "a", "callee": "=1+1", "cost": "-0.5", "submitTime": server_time.after(-60).isoformat()})
    output = tmp_path / "calls.csv"
    words = ["export", "1d", "-o", str(output), "--resume"]
    for option, expected in ([], "=1+1"), (["--csv-safe"], "'=1+1"):
        assert 0 == run([*words, *option])
        with output.open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert (expected, "-0.5") == (row["callee"], row["cost"])
        assert 2 == run([*words, *([] if option else ["--csv-safe"])])
        (tmp_path / "calls.csv.state").unlink()


def test_a_quiet_export_prints_nothing(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--quiet`, a successful export prints nothing."""
    for _ in range(2):
        assert 0 == run(["export", *PAST, "-o", str(tmp_path / "calls.csv"), "--resume", "--quiet"])
    assert ("", "") == capsys.readouterr()
    assert sandbox.ids() == set(ids_of(tmp_path / "calls.csv"))


def test_money_chooses_the_type_of_amounts(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An amount that does not fit is an error that names the option, and no file; with it, the amount is exact."""
    output = tmp_path / "calls.parquet"
    sandbox.insert({"voiceId": "odd", "cost": "0.123456789", "submitTime": (END - timedelta(minutes=5)).isoformat()})
    assert 1 == run(["export", *PAST, "-o", str(output)])
    named = "column cost (decimal128(18, 8)), record odd: choose a wider type with --money 38,18"
    assert named in capsys.readouterr().err
    assert not output.exists()
    assert 0 == run(["export", *PAST, "-o", str(output), "--money", "38,18"])
    rows = parquet.read_table(output).to_pylist()
    assert "0.123456789000000000" in {str(row["cost"]) for row in rows}


@pytest.mark.parametrize("money", ["38", "39,1", "8,18", "0,0", "a,b", "38,-1", "38,19", "٣,١"])
def test_wrong_money_is_refused(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], money: str
) -> None:
    """Digits that no decimal type has, and a format of text, exit with 2 before anything is requested."""
    sandbox.reset_requests()
    assert 2 == run(["export", "1d", "-o", str(tmp_path / "calls.parquet"), "--money", money])
    assert f"--money must be digits,decimals such as 38,18, with at most 38 digits and 18 decimals, not {money!r}" in (
        capsys.readouterr().err
    )
    assert 2 == run(["export", "1d", "-o", str(tmp_path / "calls.csv"), "--money", "38,18"])
    assert "--money is an option of the formats parquet and arrow, not of csv" in capsys.readouterr().err
    assert ([], []) == (sandbox.requests, list(tmp_path.iterdir()))
