"""`itnio-voice export`, as it is typed."""

import csv
import json
import os
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
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .conftest import ServerTime

COMMAND = [sys.executable, "-m", "itnio_voice", "export"]


def test_one_command(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file has every record, and nothing is told where there is no terminal."""
    assert 0 == run(["export", "61d", "-o", str(tmp_path / "calls.parquet")])

    assert sandbox.ids() == set(parquet.read_table(tmp_path / "calls.parquet")["voice_id"].to_pylist())
    assert ["calls.parquet"] == [path.name for path in tmp_path.iterdir()]
    assert ("", "") == capsys.readouterr()


def test_several_accounts(sandbox: Sandbox, accounts: Path, tmp_path: Path) -> None:
    """AccountOptions of a file are told in a column of their own."""
    words = ["61d", "--sip", "--output", str(tmp_path / "calls.jsonl"), "--accounts", str(accounts), "--resume"]

    assert 0 == run(["export", *words])
    rows = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert {key[:2]: sandbox.ids(kind="sip", account=key) for key in sandbox.accounts} == {
        name: {row["voice_id"] for row in rows if row["account"] == name} for name in ("eu", "us")
    }


def test_finished(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a finished output `--resume` changes and asks nothing; without the output it begins anew."""
    output = tmp_path / "calls.csv"
    words = ["export", "61d", "-o", str(output), "--resume"]
    assert 0 == run(words)
    before, asked = output.read_bytes(), len(sandbox.requests)
    assert (0, before, asked) == (run(words), output.read_bytes(), len(sandbox.requests))
    assert "calls.csv is finished" in capsys.readouterr().err
    output.unlink()
    sandbox.insert({"voiceId": "late", "submitTime": (datetime.now(UTC) - timedelta(minutes=5)).isoformat()})
    assert 0 == run(words)
    assert "late" in output.read_text()
    assert output.read_text().count("\n") == before.count(b"\n") + 1


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["61d", "-o", "calls.csv", "--sip"], "is the state of another export"),
        (["60d", "-o", "calls.csv"], "is the state of another export"),
        (["61d", "-o", "calls.xlsx"], "must end with one of .parquet, .csv, .jsonl, .arrow"),
        (["now", "61d", "-o", "new.csv"], "start must be before end"),
    ],
)
def test_wrong_usage(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What asks for something else than the state beside the output, or cannot be, exits with 2 and changes nothing."""
    monkeypatch.chdir(tmp_path)
    assert 0 == run(["export", "61d", "-o", "calls.csv", "--resume"])
    before = Path("calls.csv").read_bytes()

    assert 2 == run(["export", "--resume", *words])
    assert told in capsys.readouterr().err
    assert before == Path("calls.csv").read_bytes()


def test_gone_on_with(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been read is not read again; for another account of the same name it is not gone on with."""
    words = ["export", "61d", "-o", str(tmp_path / "calls.csv"), "--resume", "--concurrency", "1"]
    sandbox.behaviour = Behaviour(max_span=timedelta(days=4))

    def refuse(sandbox: Sandbox, number: int) -> None:
        if number == 12:
            sandbox.behaviour = Behaviour(allowed_addresses=())

    sandbox.on_request = refuse
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


def test_a_place_that_is_none(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there is exit code 1, before anything is asked."""
    assert 1 == run(["export", "61d", "-o", str(tmp_path / "none" / "calls.csv")])
    assert "Not a directory" in capsys.readouterr().err
    assert [] == sandbox.requests


def test_interrupted(sandbox: Sandbox, tmp_path: Path) -> None:
    """An interrupt is exit code 130 and leaves no file that could be taken for whole."""
    sandbox.behaviour = Behaviour(latency=0.3)
    command = [*COMMAND, "61d", "-o", str(tmp_path / "calls.csv")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:  # noqa: S603
        while not sandbox.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)

    assert (130, b"") == (process.returncode, errors)
    assert [] == list(tmp_path.iterdir())


# Clocks

CLOCKS = pytest.mark.parametrize("ahead", [-7200, 0, 7200])


def ids_of(output: Path) -> list[str]:
    """Return the ids in a file, in order."""
    with output.open(newline="") as file:
        return sorted(row["voice_id"] for row in csv.DictReader(file))


def insert(sandbox: Sandbox, *times: datetime) -> None:
    """Insert a record for each time, with the next letter as its id."""
    first = len(sandbox.ids())
    sandbox.insert(
        *({"voiceId": chr(97 + index), "submitTime": at.isoformat()} for index, at in enumerate(times, first))
    )


@CLOCKS
def test_a_later_run_reads_what_was_in_the_future(
    ahead: int, skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range that ends in the server's future is not finished: the same command reads the rest once it is over."""
    server_time.ahead = ahead
    output, start, end = tmp_path / "calls.csv", server_time.after(-86400), server_time.after(3600)
    words = ["export", start.isoformat(), end.isoformat(), "-o", str(output), "--resume"]
    insert(skewed, server_time.after(-7000), server_time.after(-60))
    for _ in range(2):
        assert 0 == run(words)
        assert ["a", "b"] == ids_of(output)
        errors = capsys.readouterr().err
        assert errors.startswith("itnio-voice: read up to ")
        assert errors.endswith(f"; run the command again after {end.isoformat()} for the rest\n")
        assert 1 == errors.count("\n")

    insert(skewed, end - timedelta(minutes=30))
    server_time.ahead += 7200
    assert 0 == run(words)
    assert ["a", "b", "c"] == ids_of(output)
    assert "" == capsys.readouterr().err
    skewed.reset_requests()
    assert 0 == run(words)
    assert "is finished" in capsys.readouterr().err
    assert [] == skewed.requests


def test_now_by_a_clock_that_is_ahead(
    skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export up to "now" is not finished before the server's clock has passed what this machine's showed."""
    server_time.ahead = -7200
    output = tmp_path / "calls.csv"
    words = ["export", "1d", "-o", str(output), "--resume"]
    insert(skewed, server_time.after(-60))
    assert 0 == run(words)
    assert "; run the command again after " in capsys.readouterr().err
    insert(skewed, server_time.after(600))
    server_time.ahead = 0

    assert 0 == run(words)
    assert ["a", "b"] == ids_of(output)
    assert "" == capsys.readouterr().err
    assert 0 == run(words)
    assert "is finished" in capsys.readouterr().err


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_now_by_a_clock_that_is_behind(
    resume: list[str], skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export up to "now" has the records of the server's last hours, which this machine's clock has not reached."""
    server_time.ahead = 7200
    insert(skewed, server_time.after(-7300), server_time.after(-60))

    assert 0 == run(["export", "1d", "-o", str(tmp_path / "calls.csv"), *resume])
    assert ["a", "b"] == ids_of(tmp_path / "calls.csv")
    assert "" == capsys.readouterr().err


@pytest.mark.parametrize("end", ["2100-01-01", "now"])
def test_without_resume_the_rest_is_reported(
    end: str, skewed: Sandbox, server_time: ServerTime, tmp_path: Path
) -> None:
    """Without `--resume` the same line does not propose another run. The library's warnings do not come with it."""
    server_time.ahead = -7200
    insert(skewed, server_time.after(-60))
    output = tmp_path / "calls.csv"
    done = subprocess.run(  # noqa: S603
        [*COMMAND, "1d", end, "-o", str(output)], capture_output=True, text=True, check=True, env=os.environ
    )

    assert ["a"] == ids_of(output)
    assert done.stderr.startswith("itnio-voice: read up to ")
    assert 1 == done.stderr.count("\n")
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
def test_a_range_within_a_second(
    resume: list[str], skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range within one second is a file without records, and sends no request."""
    at, output = server_time.after(-60), tmp_path / "calls.csv"
    insert(skewed, at)
    start, end = at + timedelta(seconds=0.2), at + timedelta(seconds=0.7)

    assert 0 == run(["export", start.isoformat(), end.isoformat(), "-o", str(output), *resume])
    assert [] == ids_of(output)
    assert ("", []) == (capsys.readouterr().err, skewed.requests)


@CLOCKS
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_past_range_with_a_wrong_clock(
    ahead: int, resume: list[str], skewed: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range that is over on the server's clock is complete, also where this machine's clock is hours off."""
    skewed.behaviour = Behaviour(clock_skew=ahead)
    ours = datetime.now(UTC).replace(microsecond=0)
    now = ours + timedelta(seconds=ahead)
    start, end = now - timedelta(days=1), now - timedelta(minutes=1)
    # The sandbox shows a record once its clock without the skew, which is this machine's, has passed it.
    insert(
        skewed, start + timedelta(seconds=1), min(now, ours) - timedelta(hours=2), min(end, ours) - timedelta(seconds=1)
    )

    output = tmp_path / "calls.csv"
    assert 0 == run(["export", start.isoformat(), end.isoformat(), "-o", str(output), *resume])
    assert ["a", "b", "c"] == ids_of(output)
    assert "" == capsys.readouterr().err


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
def test_a_clock_that_is_days_off(
    behaviour: Behaviour, skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that is off by more than the bound is an error that names both times, and leaves no file."""
    skewed.behaviour = behaviour
    words = ["export", server_time.after(-86400).isoformat(), server_time.after(-3600).isoformat()]

    assert 1 == run([*words, "-o", str(tmp_path / "calls.csv"), "--resume"])
    assert "set this machine's clock" in capsys.readouterr().err
    assert not (tmp_path / "calls.csv").exists()
