"""`itnio-voice check`: one request per question, and a readable verdict."""

import re
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from itnio_voice.cli.app import run
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

WELL = {"clock": "✓", "address": "✓", "credentials": "✓", "retention": "✓"}


def verdicts(output: str) -> list[tuple[str, str]]:
    """Return the mark of each question."""
    return re.findall(r"(clock|address|credentials|retention) +([✓✗])", output)


def test_each_question_is_one_request(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """If everything works, each question is one request, and the exit code is 0."""
    assert 0 == run(["check"])
    assert WELL == dict(verdicts(capsys.readouterr().out))
    assert 4 == len(sandbox.requests)


@pytest.mark.parametrize(
    ("changes", "wrong", "text"),
    [
        ({"allowed_addresses": ["10.0.0.1"]}, {"address", "credentials", "retention"}, "-2:"),
        ({"retention": timedelta(days=30)}, {"retention"}, "records of 59 days ago are refused"),
        ({"faults": (Fault("status_503"),)}, {"address", "credentials", "retention"}, "HTTPStatusError"),
    ],
)
def test_failures_are_named(
    changes: dict[str, Any], wrong: set[str], text: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output names the failures and what is unknown because of them, and the exit code is 1."""
    sandbox.behaviour = attrs.evolve(Behaviour(), **changes)

    assert 1 == run(["check"])
    output = capsys.readouterr().out
    assert wrong == {question for question, mark in verdicts(output) if mark == "✗"}
    assert text in output


def test_a_wrong_clock_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A clock that is two hours off is reported; later requests are signed with the server's time."""
    with Sandbox(records=1, clock=lambda: time.time() + 7200) as sandbox:
        monkeypatch.setenv("ITNIO_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("ITNIO_API_KEY", sandbox.api_key)
        monkeypatch.setenv("ITNIO_API_SECRET", sandbox.api_secret)

        assert 1 == run(["check"])
    output = capsys.readouterr().out
    assert {**WELL, "clock": "✗"} == dict(verdicts(output))
    assert re.search(r"(7199|7200|7201) s behind", output)


def test_a_network_error_is_reported_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a response, each answer is unknown, for one reason that is printed once."""
    monkeypatch.setenv("ITNIO_API_KEY", "key-of-nobody")
    monkeypatch.setenv("ITNIO_API_SECRET", "secret-of-nobody")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("ITNIO_BASE_URL", f"http://127.0.0.1:{port}/voice")

    assert 1 == run(["check"])
    output = capsys.readouterr().out
    assert dict.fromkeys(WELL, "✗") == dict(verdicts(output))
    assert 1 == output.count("TransportError")
    assert 3 == output.count("not known, for the same reason")


def test_no_more_requests_without_a_response(sandbox: Sandbox) -> None:
    """After a first request without a response, no other one is sent."""
    sandbox.behaviour = Behaviour(faults=(Fault("drop"),))

    assert 1 == run(["check"])
    assert 1 == len(sandbox.requests)


def test_each_account_is_checked(accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each account of a file is checked."""
    assert 0 == run(["check", "--accounts", str(accounts)])
    output = capsys.readouterr().out
    assert 8 == len(verdicts(output))
    assert re.search(r"eu +clock.*us +clock", output, re.DOTALL)


def test_a_wrong_secret_is_reported_alone(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong secret says nothing about the address or the clock, and is not shown."""
    monkeypatch.setenv("ITNIO_API_SECRET", "hush-hush")

    assert 1 == run(["check"])
    output = capsys.readouterr().out
    assert {"credentials", "retention"} == {question for question, mark in verdicts(output) if mark == "✗"}
    assert "hush-hush" not in output
    assert 4 == len(sandbox.requests)
