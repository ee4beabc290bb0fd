"""The command `records`."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from itnio_voice.cli.app import run
from itnio_voice.cli.commands.records import fair_shares
from itnio_voice.sandbox import Behaviour, Sandbox

from .conftest import END, ServerTime, on_a_terminal

COMMAND = [sys.executable, "-m", "itnio_voice", "records"]


@pytest.mark.parametrize(("words", "kind"), [([], "group"), (["--sip"], "sip")])
def test_each_record_is_one_json_line(
    words: list[str], kind: str, sandbox: Sandbox, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Without a terminal, each record is a line with a JSON object, and nothing else is printed."""
    assert 0 == run(["records", "61d", *words])

    output, errors = capfdbinary.readouterr()
    found = [json.loads(line)["voice_id"] for line in output.splitlines()]
    assert len(found) == len(set(found))
    assert sandbox.ids(kind=kind) == set(found)  # type: ignore[arg-type]
    assert b"" == errors


def lines_of(capture: pytest.CaptureFixture[bytes]) -> list[dict[str, Any]]:
    """Return the JSON objects that were printed."""
    return [json.loads(line) for line in capture.readouterr()[0].splitlines()]


def times_of(rows: list[dict[str, Any]]) -> list[datetime]:
    """Return the submit times of rows."""
    return [datetime.fromisoformat(row["submit_time"]) for row in rows]


@pytest.mark.parametrize("sip", [[], ["--sip"]])
def test_the_newest_records_are_first(
    sip: list[str], accounts: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The records of all accounts are in one order: newest first, or oldest first."""
    words = ["records", "61d", "--accounts", str(accounts), *sip]
    assert 0 == run(words)
    newest_first = lines_of(capfdbinary)
    assert 0 == run([*words, "--oldest-first"])
    oldest_first = lines_of(capfdbinary)

    assert {"eu", "us"} == {row["account"] for row in newest_first[:20]}
    assert sorted(times_of(newest_first), reverse=True) == times_of(newest_first)
    assert sorted(times_of(newest_first)) == times_of(oldest_first)
    assert {row["voice_id"] for row in newest_first} == {row["voice_id"] for row in oldest_first}
    assert len(newest_first) == len(oldest_first)


@pytest.mark.parametrize("option", ["--limit", "-n"])
@pytest.mark.parametrize("order", [[], ["--oldest-first"]])
def test_a_limit_counts_all_accounts(
    option: str, order: list[str], sandbox: Sandbox, accounts: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A limit ends after the first records of all accounts together; each record has its account."""
    words = ["records", "61d", "now", "--accounts", str(accounts), *order]
    assert 0 == run([*words, option, "170"])
    rows = lines_of(capfdbinary)
    assert 0 == run(words)

    assert lines_of(capfdbinary)[:170] == rows
    assert {"eu", "us"} == {row["account"] for row in rows}
    assert {row["voice_id"] for row in rows} < sandbox.ids(account="eu-key") | sandbox.ids(account="us-key")


def test_a_limit_of_0_requests_nothing(sandbox: Sandbox, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """No record is printed, and none is requested."""
    assert 0 == run(["records", "61d", "-n", "0"])
    assert ((b"", b""), []) == (capfdbinary.readouterr(), sandbox.requests)


def test_columns_are_the_keys(accounts: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """`--columns` chooses the keys of the JSON lines and their order; derived values can be chosen too."""
    words = ["records", "61d", "--accounts", str(accounts)]
    names = ["cost", "answered", "finished", "pressed_key", "account", "extra", "voice_id"]
    assert 0 == run([*words, "--columns", " , ".join([*names, "cost"])])
    rows = lines_of(capfdbinary)
    assert 0 == run(words)
    every = lines_of(capfdbinary)

    assert names == list(rows[0])
    shared = ["cost", "account", "extra", "voice_id"]
    assert [[row[name] for name in shared] for row in every] == [[row[name] for name in shared] for row in rows]
    assert [row["answer_time"] is not None for row in every] == [row["answered"] for row in rows]
    assert {True, False} == {row["answered"] for row in rows}


@pytest.mark.usefixtures("sandbox")
def test_the_account_can_be_a_column_without_a_file(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Without a file of accounts, the account is `default`."""
    assert 0 == run(["records", "61d", "-n", "1", "--columns", "account"])
    assert b'{"account":"default"}\n' == capfdbinary.readouterr()[0]


def test_columns_are_those_of_the_table(sandbox: Sandbox, accounts: Path) -> None:
    """`--columns` chooses the columns of the table and their order; times are in the time zone."""
    row = earlier() | {
        "callee": "\x1b[2J",
        "cost": "0.0000001",
        "new": {"a\x9b": "[bold]"},
        "answerTime": "",
        "rate": "",
    }
    sandbox.insert(row)
    at = datetime.fromisoformat(str(row["submitTime"])) + timedelta(hours=9)
    words = ("1h", "--accounts", str(accounts), "--account", "eu", "-n", "1", "--timezone", "Asia/Tokyo", "--quiet")

    names = "cost,callee,submit_time,answered,account,extra,rate"
    shown = on_a_terminal("records", *words, "--columns", names, columns=160)
    assert re.search(
        r"^ +cost +callee +submit_time \(Asia/Tokyo\) +answered +account +extra +rate", shown, re.MULTILINE
    )
    expected = rf" 0\.0000001 +\\x1b\[2J +{at:%Y-%m-%d %H:%M:%S} +no +eu +{{.*\[bold\].*}} +– *\r$"
    assert re.search(expected, shown, re.MULTILINE)


@pytest.mark.parametrize("order", [[], ["--oldest-first"]])
def test_json_lines_on_a_terminal(order: list[str], sandbox: Sandbox) -> None:
    """`--json` prints all records as JSON lines on a terminal too, without a bar between them."""
    rows = [json.loads(line) for line in on_a_terminal("records", "61d", "--json", *order, columns=80).splitlines()]

    assert len(rows) == len(sandbox.ids())
    assert sandbox.ids() == {row["voice_id"] for row in rows}
    assert sorted(times_of(rows), reverse=not order) == times_of(rows)


def test_an_account_is_selected_by_name(
    sandbox: Sandbox, accounts: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """An account is selected by its name."""
    assert 0 == run(["records", "61d", "--accounts", str(accounts), "--account", "us"])

    rows = [json.loads(line) for line in capfdbinary.readouterr()[0].splitlines()]
    assert sandbox.ids(account="us-key") == {row["voice_id"] for row in rows}
    assert ["us"] == sorted({row["account"] for row in rows})


def earlier() -> dict[str, str]:
    """Return a submit time of one minute ago: the current second is not read."""
    return {"submitTime": (datetime.now(UTC) - timedelta(minutes=1)).isoformat()}


def test_records_on_a_terminal_are_a_table(sandbox: Sandbox, accounts: Path) -> None:
    """On a terminal, records are a table with progress; the data can neither colour nor control it."""
    sandbox.insert(
        earlier() | {"callee": "[/red]", "code": "[/]", "terminationCode": "[bold]x", "currency": "[link=x]"}
    )
    sandbox.insert(earlier() | {"callee": "\x1b[2J\x9b\u202e", "code": "a\nb"})

    shown = on_a_terminal("records", "1h", "--accounts", str(accounts), "--account", "eu")
    assert re.search(
        r"^ +eu +\d\d-\d\d \d\d:\d\d +\[/red\] +\[/\] .* \[bold\]x .* \[link=x\] *\r$", shown, re.MULTILINE
    )
    assert re.search(r"\\x1b\[2J\\x9b\\u202e +a\\nb ", shown)
    assert "window 1/1" in shown
    assert "window" not in on_a_terminal("records", "1h", "--quiet")


def test_long_values_hide_no_other_columns(sandbox: Sandbox) -> None:
    """A long text in one record hides no duration and no cost of the others."""
    sandbox.insert(
        earlier() | {"callee": "1" * 500, "code": "x" * 500, "terminationCode": "9" * 500},
        earlier()
        | {
            "callee": "4915112345",
            "callDuration": 4321,
            "answerTime": END.isoformat(),
            "cost": "0.0712",
            "currency": "USD",
        },
    )

    shown = on_a_terminal("records", "1h", "--quiet", columns=120)
    assert re.search(r"4915112345 .* 4321 .* 0\.0712 USD", shown)


def test_json_lines_cannot_control_a_terminal(sandbox: Sandbox) -> None:
    """On a terminal, unprintable characters are JSON escapes, so the objects stay the same."""
    callee = "\x1b[2J\x7f\x9b2J\u202e\U000e0001é\u2028"
    sandbox.insert(earlier() | {"callee": callee})

    shown = on_a_terminal("records", "1h", "--json", "-n", "1", "--columns", "callee")
    assert {"callee": callee} == json.loads(shown)
    assert all(each.isprintable() for each in shown.strip())
    assert "é" in shown


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (("61d",), "Calls: 100 of 150, the newest "),
        (("61d", "-n", "7"), "Calls: 7 of 150, the newest "),
        (("61d", "-n", "7", "--oldest-first"), "Calls: 7 of 150, the oldest "),
        (("61d", "-n", "3", "--sip"), "Calls: 3 of 40, the newest "),
        (("61d", "--limit", "150"), "Calls: 150 "),
        (("61d", "--limit", "149"), "Calls: 149 of 150, the newest "),
        (("61d", "--limit", "0"), "Calls: 0 of 150, the newest "),
        (("2h", "1h", "--expired", "skip"), "Calls: [0-9]+ "),
        (("200d", "--expired", "skip"), "Calls: 100 of 150, the newest "),
    ],
)
def test_the_title_counts_the_records(words: tuple[str, ...], title: str, sandbox: Sandbox) -> None:
    """The title has the number of shown records, their total, and which ones they are."""
    assert re.search(f"^{title}", on_a_terminal("records", *words, "--quiet"), re.MULTILINE)
    assert 150 == len(sandbox.ids())


@pytest.mark.parametrize(
    ("behaviour", "title"),
    [
        (Behaviour(omits={"total", "pages"}), "Calls: 100 of 150, the oldest "),
        (Behaviour(order="descending"), "Calls: 100 of 150, the first "),
    ],
)
def test_the_title_without_totals_or_order(behaviour: Behaviour, title: str, sandbox: Sandbox) -> None:
    """Without totals, the records are counted; oldest first, records in another order are not called the oldest."""
    sandbox.behaviour = behaviour

    assert re.search(title, on_a_terminal("records", "61d", "--quiet", "--oldest-first"))


def test_an_expired_rest_is_not_counted(sandbox: Sandbox) -> None:
    """If the newest records are shown and the range starts too early, one line says so; that is no failure."""
    shown = on_a_terminal("records", "200d", "-n", "5", "--quiet")

    assert "Calls: 5 of more than 5, the newest" in shown
    assert re.search("the number of records is not known: TimeRangeError: .* pass --expired skip", shown)
    assert sandbox.requests


def test_a_table_shares_its_rows_between_accounts(sandbox: Sandbox, accounts: Path) -> None:
    """A table has equally many records of each account, sorted by time."""
    shown = on_a_terminal("records", "61d", "--accounts", str(accounts), "--limit", "20", "--quiet")

    rows = re.findall(r"^ +(eu|us) +(\d\d-\d\d \d\d:\d\d) ", shown, re.MULTILINE)
    assert {"eu": 10, "us": 10} == Counter(name for name, _ in rows)
    assert sorted((at for _, at in rows), reverse=True) == [at for _, at in rows]
    assert "Calls: 20 of 300, the newest of each account" in shown
    assert len(sandbox.requests) <= 40


@pytest.mark.parametrize(
    ("available", "limit", "expected"),
    [
        ([101, 101], 100, [50, 50]),
        ([101, 3], 100, [97, 3]),
        ([3, 101, 40], 100, [3, 57, 40]),
        ([2, 3], 100, [2, 3]),
        ([5, 5, 5], 2, [0, 1, 1]),
        ([5], 0, [0]),
        ([], 100, []),
    ],
)
def test_shares_are_as_equal_as_possible(available: list[int], limit: int, expected: list[int]) -> None:
    """Shares are as equal as the accounts' numbers of records allow, and add up to the limit."""
    assert expected == fair_shares(available, limit)


def test_a_table_uses_the_time_zone(sandbox: Sandbox) -> None:
    """Times without an offset are read in `--timezone`, and a table shows times in it."""
    sandbox.insert({"callee": "4915112345", "submitTime": "2026-11-01T10:30:00+09:00"})
    sandbox.behaviour = Behaviour(retention=None)

    words = ("2026-11-01 10:00", "2026-11-01 11:00", "--timezone", "Asia/Tokyo", "--quiet")
    shown = on_a_terminal("records", *words)
    assert "time (Asia/Tokyo)" in shown
    assert re.search(r"11-01 10:30 +4915112345", shown)


@pytest.mark.usefixtures("sandbox")
def test_an_expired_range_is_an_error_or_skipped(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A range older than the retention is an error that names the option, or is skipped and reported."""
    assert 1 == run(["records", "200d"])
    errors = capfdbinary.readouterr()[1]
    assert errors.startswith(b"itnio-voice: TimeRangeError: -25")
    assert b"--expired skip" in errors
    assert b"expired=" not in errors
    assert errors.endswith(b"; while reading 'default'\n")
    assert 0 == run(["records", "200d", "--expired", "skip"])

    output, errors = capfdbinary.readouterr()
    assert 150 == len(output.splitlines())
    assert re.fullmatch(
        rb"itnio-voice: default: skipped .* to .*, which is older than the server's retention\n", errors
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["now", "1d"], "start must be before end"),
        (["1d", "1d"], "start must be before end"),
        (["soon"], "START: 'soon' is not a time: write "),
        (["1d", "--account", "default", "us"], "END: 'us' is not a time: "),
        (["1d", "--account", "default", "us"], "each account needs its own --account"),
        (["2026-03-29T02:30", "--timezone", "Europe/Berlin"], "does not exist in Europe/Berlin"),
        (["1d", "--timezone", "Mars"], "there is no time zone 'Mars'"),
        (["1d", "--concurrency", "0"], "itnio-voice: --concurrency must be a whole number from 1"),
        (["1d", "--rate", "-1"], "itnio-voice: --rate must be"),
        (["1d", "--limit", "-1"], "--limit"),
        (["1d", "-n", "x"], "-n"),
        (
            ["1d", "--columns", "cost,kost"],
            "--columns: there is no column 'kost': choose from account, voice_id, callee",
        ),
        (["1d", "--columns", ""], "--columns: there is no column ''"),
        (["1d", "--columns", "cost,"], "--columns: there is no column ''"),
        (["1d", "--columns", "to_dict"], "--columns: there is no column 'to_dict'"),
        (["1d", "--columns", "\x1b[2J"], "\\x1b"),
        (["1d", "--sip", "--columns", "pressed_key"], "recording_file_id, answered, finished\n"),
        (["1d", "--columns", "recording_file_id"], "called_info, answered, finished, pressed_key\n"),
        (["1d", "--account", "asia"], "there is no account 'asia'"),
        (["1d", "--expired", "maybe"], "--expired"),
        (["1d", "--api-secret", "x"], "--api-secret"),
        ([], "START"),
    ],
)
def test_wrong_usage_requests_nothing(
    words: list[str], message: str, sandbox: Sandbox, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Wrong arguments exit with 2 and one line that describes the error; nothing is requested."""
    assert 2 == run(["records", *words])

    output, errors = capfdbinary.readouterr()
    assert (b"", 1) == (output, errors.count(b"\n"))
    assert message in errors.decode()
    assert [] == sandbox.requests


def test_an_accounts_file_that_others_can_read_is_refused(
    sandbox: Sandbox, accounts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An accounts file that others can read is refused."""
    accounts.chmod(0o644)

    assert 2 == run(["records", "1d", "--accounts", str(accounts)])
    assert "chmod 600" in capsys.readouterr().err
    assert [] == sandbox.requests


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("debug", [False, True])
def test_an_api_error_is_one_line_without_the_secret(debug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API error is exit code 1 and one line, with `--debug` its traceback; neither contains the secret."""
    monkeypatch.setenv("ITNIO_API_SECRET", "hush-hush")
    command = [*COMMAND, "1d", *["--debug"] * debug]
    assert 2 == subprocess.run([*command, "--rate", "0"], stderr=subprocess.DEVNULL, check=False).returncode  # noqa: S603
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603

    assert (1, "") == (done.returncode, done.stdout)
    assert "AuthenticationError: -1" in done.stderr
    assert debug == ("Traceback" in done.stderr)
    assert debug == (done.stderr.count("\n") > 1)
    assert "hush-hush" not in done.stderr


def test_an_interrupt_exits_with_130(sandbox: Sandbox) -> None:
    """An interrupt is exit code 130, without a traceback."""
    sandbox.behaviour = Behaviour(latency=0.5)
    with subprocess.Popen([*COMMAND, "61d"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        while not sandbox.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert (130, b"") == (process.returncode, errors)


@pytest.mark.usefixtures("sandbox")
def test_a_closed_pipe_exits_with_141() -> None:
    """A closed pipe ends the command as SIGPIPE does: exit code 141, and nothing on standard error."""
    with subprocess.Popen([*COMMAND, "61d"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()

    assert (141, b"") == (process.returncode, errors)


@pytest.fixture
def both(skewed: Sandbox, server_time: ServerTime) -> tuple[Sandbox, ServerTime]:
    """Return a sandbox and its clock."""
    return skewed, server_time


@pytest.mark.parametrize(
    ("case", "read", "reported"),
    [
        ((-7200,), 2, True),
        ((-7200, "--limit", "1"), 1, False),
        ((-7200, "--limit", "2"), 2, False),
        ((-7200, "--limit", "3"), 2, True),
        ((7200,), 2, False),
        ((0, "2100-01-01"), 2, True),
        ((0, "1m"), 1, False),
    ],
)
def test_the_unread_rest_is_reported(
    case: tuple[Any, ...],
    read: int,
    reported: bool,
    both: tuple[Sandbox, ServerTime],
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Records are read up to the server's time; one line reports the unread rest, unless a limit ended the reading."""
    sandbox, server_time = both
    server_time.ahead, *words = case
    sandbox.insert(*({"submitTime": server_time.after(-ago).isoformat()} for ago in (30, 7300)))

    assert 0 == run(["records", "1d", *words])
    output, errors = capfdbinary.readouterr()
    assert read == len(output.splitlines())
    assert reported == errors.startswith(b"itnio-voice: read up to ")
    assert reported == errors.count(b"\n")
