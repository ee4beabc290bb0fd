"""`--on-error`, and the names of failing accounts."""

import csv
import json
import re
from pathlib import Path

import pytest

from itnio_voice.cli.app import run
from itnio_voice.sandbox import Sandbox

from .conftest import on_a_terminal


@pytest.fixture
def one_wrong(accounts: Path) -> Path:
    """Return the accounts file, the second account with a wrong secret."""
    accounts.write_text(accounts.read_text().replace("us-secret", "other"))
    return accounts


@pytest.mark.parametrize("command", [["records", "61d"], ["export", "61d", "-o", "calls.csv"]])
def test_the_first_failure_names_its_account(
    command: list[str],
    one_wrong: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """By default, the first failure ends the command with one line that names the account."""
    monkeypatch.chdir(tmp_path)

    assert 1 == run([*command, "--accounts", str(one_wrong)])
    assert re.fullmatch(r"itnio-voice: AuthenticationError: -1: .*; while reading 'us'\n", capfd.readouterr().err)
    assert not Path("calls.csv").exists()


def test_collect_prints_the_other_accounts(
    one_wrong: Path, sandbox: Sandbox, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With `collect`, the other accounts are read to their end; the failure is one line, and the exit code 1."""
    assert 1 == run(["records", "61d", "--on-error", "collect", "--accounts", str(one_wrong)])

    output, errors = capfdbinary.readouterr()
    assert sandbox.ids(account="eu-key") == {json.loads(line)["voice_id"] for line in output.splitlines()}
    assert re.fullmatch(rb"itnio-voice: AuthenticationError: .*; while reading 'us'\n", errors)


def test_a_table_names_the_failed_accounts(one_wrong: Path) -> None:
    """A table has the other accounts' records, and its title names those that failed."""
    words = ("61d", "--limit", "3", "--on-error", "collect", "--accounts", str(one_wrong), "--quiet")

    shown = on_a_terminal("records", *words, code=1)
    assert re.search("Calls: 3 of 150, the newest; failed: us ", shown)
    assert "while reading 'us'" in shown


def test_an_export_has_the_other_accounts(
    one_wrong: Path, accounts: Path, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file has the accounts that were read completely; the same command later adds the failed one."""
    output = tmp_path / "calls.csv"
    words = ["export", "61d", "-o", str(output), "--resume", "--on-error", "collect", "--accounts", str(one_wrong)]

    def accounts_in_file() -> dict[str, set[str]]:
        with output.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: {row["voice_id"] for row in rows if row["account"] == name} for name in ("eu", "us")}

    assert 1 == run(words)
    assert capsys.readouterr().err.count("while reading 'us'\n") == 1
    assert {"eu": sandbox.ids(account="eu-key"), "us": set()} == accounts_in_file()

    accounts.write_text(accounts.read_text().replace("other", "us-secret"))
    sandbox.reset_requests()
    assert 0 == run(words)
    assert {"eu": sandbox.ids(account="eu-key"), "us": sandbox.ids(account="us-key")} == accounts_in_file()


def test_an_export_without_any_account_keeps_the_file(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all accounts fail, an existing file is unchanged."""
    output = tmp_path / "calls.csv"
    output.write_text("before")
    monkeypatch.setenv("ITNIO_API_SECRET", "other")

    assert 1 == run(["export", "61d", "-o", str(output), "--on-error", "collect"])
    assert "before" == output.read_text()
    assert sandbox.requests
