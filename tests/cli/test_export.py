"""`itnio-voice export`, as it is typed."""

import csv
import json
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from pyarrow import parquet

from itnio_voice.cli.app import run
from itnio_voice.sandbox import Behaviour, Sandbox

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
    sandbox.insert({"voiceId": "late"})
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
    assert "NotADirectoryError" in capsys.readouterr().err
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
