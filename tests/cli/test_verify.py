"""The command `verify`."""

import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from itnio_voice.cli.app import run
from itnio_voice.sandbox import Sandbox

from .conftest import END, on_a_terminal, two_accounts

HOSTILE = "\x1b]0;title\x07[bold]'); DROP TABLE x"


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the database of a sync of the records that each sandbox has."""
    path = tmp_path_factory.mktemp("synced") / "calls.duckdb"
    with pytest.MonkeyPatch.context() as environment, two_accounts(environment):
        assert 0 == run(["sync", "--since", "50d", "--database", str(path), "--quiet"])
    return path


@pytest.fixture
def database(synced: Path, sandbox: Sandbox, tmp_path: Path) -> Path:
    """Return a copy of the database of a sync; the sandbox has its account and its records."""
    assert not sandbox.requests
    return Path(shutil.copy(synced, tmp_path / "calls.duckdb"))


def change(database: Path, query: str, *values: object) -> int:
    """Run a query that changes a database, and return the number of rows."""
    with duckdb.connect(str(database)) as connection:
        connection.execute("USE calls.itnio_voice")
        found = connection.execute(query, values).fetchone()
        return int(found[0]) if found else 0


def test_a_database_that_agrees_is_two_lines(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each kind has the numbers and the range; the exit code is 0."""
    assert 0 == run(["verify", str(database)])
    output, errors = capsys.readouterr()
    voice, sip = output.splitlines()

    assert voice.startswith("voice_records: missing 0, extra 0, changed 0 (")
    assert sip.startswith("sip_records: missing 0, extra 0, changed 0 (")
    assert "" == errors


def test_differences_exit_with_1_and_a_repair_with_0(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each id is a line. A repair merges the records; afterwards, all agree."""
    gone = change(database, "DELETE FROM voice_records WHERE hash(voice_id) % 20 = 0")
    assert gone
    changed = change(database, "UPDATE voice_records SET cost = 7 WHERE hash(voice_id) % 20 = 1")
    assert 1 == run(["verify", str(database), "--by-id", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"voice_records: missing {gone}, extra 0, changed {changed} (")
    assert gone == sum(line.startswith("  missing ") for line in lines)
    assert 0 == run(["verify", str(database), "--by-id", "--repair"])
    assert f"changed {changed}; merged {gone + changed} records (" in capsys.readouterr().out
    assert 0 == run(["verify", str(database), "--by-id"])


def test_an_extra_row_is_not_deleted(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is reported with its id, whose escapes are shown as text; after a repair the exit code is still 1."""
    query = "INSERT INTO voice_records SELECT * REPLACE ($1 AS voice_id) FROM voice_records LIMIT 1"
    assert 1 == change(database, query, HOSTILE)
    assert 1 == run(["verify", str(database), "--repair"])

    assert "  extra \\x1b]0;title\\x07[bold]'); DROP TABLE x\n" in capsys.readouterr().out
    shown = on_a_terminal("verify", str(database), code=1)
    assert "extra \\x1b]0;title\\x07[bold]'); DROP TABLE x" in shown


def test_a_terminal_shows_the_first_ids(database: Path) -> None:
    """At most twenty ids are shown, and how many more there are."""
    gone = change(database, "DELETE FROM voice_records")
    shown = on_a_terminal("verify", str(database), code=1)

    assert 20 == sum(line.startswith("  missing 2") for line in shown.splitlines())
    assert f"  missing: and {gone - 20} more" in shown


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv", "jsonl"])
def test_an_export_is_verified(
    ending: str, sandbox: Sandbox, accounts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of `export` agrees, also with several accounts; after a new record on the server it does not."""
    path, named = tmp_path / f"calls.{ending}", ["--accounts", str(accounts)]
    assert 0 == run(["export", "50d", "-o", str(path), *named, "--quiet"])
    assert 0 == run(["verify", str(path), "--by-id", *named])
    output = capsys.readouterr().out
    assert output.startswith("eu voice_records: missing 0, ")
    assert 2 == output.count("\n")
    sandbox.insert({"voiceId": "new", "submitTime": (END - timedelta(days=3)).isoformat()}, account="us-key")
    assert 1 == run(["verify", str(path), *named])

    assert "  missing new\n" in capsys.readouterr().out


def test_other_accounts_are_named(database: Path, accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of accounts that are not configured are named and not compared; if there are no others, nothing is."""
    change(database, "INSERT INTO voice_records SELECT * REPLACE ('old' AS account) FROM voice_records LIMIT 3")
    assert 0 == run(["verify", str(database)])
    assert (
        "itnio-voice: not compared: 3 rows of the account 'old', which is not configured\n" == capsys.readouterr().err
    )
    assert 2 == run(["verify", str(database), "--accounts", str(accounts)])

    assert "holds records of 'default', 'old', but the accounts are 'eu', 'us'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calls.jsonl"], "calls.jsonl cannot be read: line 1 is not a JSON object"),
        (["calls.txt"], "is neither a DuckDB database nor named"),
        (["other.duckdb"], "there is no table voice_records or sip_records"),
        (["calls.duckdb", "--since", "yesterday"], "--since: 'yesterday' is not a time"),
        (["calls.duckdb", "--until", "3 d"], "--until: '3 d' is not a time"),
        (["calls.duckdb", "--since", "1d", "--until", "2d"], "start must be before end"),
        (["calls.duckdb", "--dataset", "x"], "in the dataset 'x'"),
        (["calls.duckdb", "--account", "us"], "there is no account 'us'"),
        (["calls.duckdb", "--timezone", "Mars"], "there is no time zone 'Mars'"),
        (["calls.duckdb", "--concurrency", "0"], "--concurrency must be"),
        (["export.csv", "--repair"], "is a file, which cannot be repaired: export it again"),
    ],
)
def test_wrong_usage_sends_no_request(  # noqa: PLR0917 -- fixtures
    words: list[str],
    message: str,
    sandbox: Sandbox,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code is 2, and one line says what is wrong."""
    monkeypatch.chdir(database.parent)
    Path("calls.jsonl").write_text("hello\n")
    Path("calls.txt").write_text("hello\n")
    duckdb.connect("other.duckdb").execute("CREATE TABLE other (a INTEGER)").close()
    if "export.csv" in words:
        assert 0 == run(["export", "50d", "-o", "export.csv", "--quiet"])
        sandbox.reset_requests()
    assert 2 == run(["verify", *words])
    errors = capsys.readouterr().err

    assert message in errors
    assert 1 == errors.count("\n")
    assert [] == sandbox.requests


def test_a_missing_file_is_an_error(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names it."""
    assert 1 == run(["verify", "missing.duckdb"])
    assert "itnio-voice: No such file or directory (missing.duckdb)\n" == capsys.readouterr().err
    assert [] == sandbox.requests


def test_one_of_several_datasets_is_chosen(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--dataset`, a database with several is wrong usage."""
    assert 0 == run(["sync", "--since", "50d", "--database", str(database), "--dataset", "second", "--quiet"])
    assert 2 == run(["verify", str(database)])
    assert "choose one of itnio_voice, second with --dataset" in capsys.readouterr().err

    assert 0 == run(["verify", str(database), "--dataset", "second"])
