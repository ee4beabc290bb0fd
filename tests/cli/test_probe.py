"""`itnio-voice probe`: a table or JSON about the server, without a text of a record."""

import json
import re
import socket
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from itnio_voice.cli.app import run
from itnio_voice.cli.probing.probe import NAMES
from itnio_voice.cli.probing.watching import WATCHED
from itnio_voice.sandbox import Behaviour, Sandbox

FAST = ("probe", "--rate", "1000")


@pytest.fixture
def probed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return the sandbox of the environment, with a behaviour of its own."""
    monkeypatch.setenv("COLUMNS", "200")
    sandbox.behaviour = Behaviour(ends="(]", past_last="first", max_span=timedelta(days=7), null_records=True)
    return sandbox


def test_the_report_makes_a_sandbox_that_behaves_like_the_server(
    probed: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json, standard output is one object of the switches, and a sandbox is made from it."""
    assert 0 == run([*FAST, "--json"])
    output, errors = capsys.readouterr()

    copy = Behaviour.from_probe(output)
    assert probed.behaviour == attrs.evolve(copy, latency=0.0, clock_skew=0.0)
    assert json.loads(output)["confidence"].keys() == set(NAMES)
    assert re.fullmatch(r"itnio-voice: at most \d+ reads of default, for at most about \d s\n", errors)


def test_a_table_has_each_question(probed: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Each switch has a line with its confidence, and no line has an id."""
    assert 0 == run(list(FAST))
    output = capsys.readouterr().out

    assert [] == [name for name in NAMES if not re.search(rf"^ +{name} ", output, re.MULTILINE)]
    assert re.search(r"ends +\(\] +certain", output)
    assert f"{len(probed.requests)} requests" in output
    assert [] == [voice_id for voice_id in probed.ids() if voice_id in output]


def test_phone_records_are_measured(probed: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """With --sip, only the endpoints of phone records are used."""
    assert 0 == run([*FAST, "--sip", "--json"])
    assert "(]" == json.loads(capsys.readouterr().out)["ends"]
    assert all(request.path.startswith("/recordSip") for request in probed.requests)


def test_new_records_are_watched(probed: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """With --minutes, more requests follow; without new records, the evidence says so."""
    assert 0 == run([*FAST, "--json", "--minutes", "0.01"])
    evidence = json.loads(capsys.readouterr().out)["evidence"]

    assert {"no record appeared meanwhile"} == {evidence[name] for name in WATCHED}
    assert probed.requests[-1].current == 1


def test_an_empty_account_is_no_failure(skewed: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Without records, the table says what could not be found out."""
    assert 0 == run([*FAST, "--json"])
    assert "there are no records in the last 30 days" == json.loads(capsys.readouterr().out)["evidence"]["ends"]
    assert skewed.requests


def test_a_wrong_secret_is_one_line(
    probed: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends the command with exit code 1, after one request."""
    monkeypatch.setenv("ITNIO_API_SECRET", "hush-hush")

    assert 1 == run(list(FAST))
    output, errors = capsys.readouterr()
    assert "" == output
    assert 2 == errors.count("\n")
    assert "AuthenticationError: -1" in errors
    assert "hush-hush" not in errors
    assert 1 == len(probed.requests)


def test_no_network_is_one_line(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a server, the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("ITNIO_BASE_URL", f"http://127.0.0.1:{port}/voice")

    assert 1 == run(list(FAST))
    assert "TransportError" in capsys.readouterr().err
    assert not sandbox.requests


def test_one_account_is_measured(accounts: Path, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """With several accounts, one must be chosen."""
    assert 2 == run([*FAST, "--accounts", str(accounts)])
    assert "probe measures one account, not 2: choose it with --account" in capsys.readouterr().err
    assert not sandbox.requests
    assert 0 == run([*FAST, "--accounts", str(accounts), "--account", "us"])
    assert {"us-key", None} >= {request.account for request in sandbox.requests}


@pytest.mark.parametrize("words", [("--rate", "0"), ("--rate", "nan"), ("--minutes", "-1"), ("--minutes", "nan")])
def test_wrong_options_are_refused(
    words: tuple[str, str], sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number out of range is exit code 2, in one line and before a request."""
    assert 2 == run(["probe", *words])
    assert 1 == capsys.readouterr().err.count("\n")
    assert not sandbox.requests
