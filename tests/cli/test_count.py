"""The command `count`."""

import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from itnio_voice.cli.app import run
from itnio_voice.cli.commands.count import By, bar, periods
from itnio_voice.cli.options import Range
from itnio_voice.sandbox import Behaviour, Sandbox

from .conftest import END, ServerTime, on_a_terminal

COMMAND = [sys.executable, "-m", "itnio_voice", "count"]


@pytest.mark.parametrize(("words", "number"), [([], "150"), (["--sip"], "40")])
def test_the_number_of_records_is_one_line(
    words: list[str], number: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal, the number is digits and a line feed, and nothing else is printed."""
    assert 0 == run(["count", "61d", *words])

    assert (f"{number}\n", "") == capsys.readouterr()
    assert len(sandbox.requests) <= 8


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("by", ["day", "hour"])
def test_days_and_hours_add_up(by: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each day or hour of the range is a line with its number, in the order of time; together they are all records."""
    start = (END - timedelta(days=5)).isoformat()
    assert 0 == run(["count", start, END.isoformat()])
    assert 0 == run(["count", start, END.isoformat(), "--by", by, "--timezone", "Asia/Kathmandu"])

    number, *lines = capsys.readouterr().out.splitlines()
    rows = dict(line.split("\t") for line in lines)
    assert int(number) == sum(map(int, rows.values())) > 0
    assert sorted(rows) == list(rows)
    assert len(rows) == len(lines)
    pattern = {"day": r"20\d\d-\d\d-\d\d", "hour": r"20\d\d-\d\d-\d\dT\d\d:00\+05:45"}[by]
    assert all(re.fullmatch(pattern, label) for label in rows)
    assert len(rows) in {"day": {6, 7}, "hour": {120, 121}}[by]


def test_each_day_has_its_own_records(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A record is counted on its day in the time zone."""
    midnight = datetime(END.year, END.month, END.day, tzinfo=ZoneInfo("Asia/Shanghai")) - timedelta(days=3)
    before = dict[str, int]()
    words = ["count", (midnight - timedelta(days=1)).isoformat(), END.isoformat(), "--by", "day"]
    for added in (0, 1):
        for seconds in (-2, 5, 6) * added:
            sandbox.insert({"submitTime": (midnight + timedelta(seconds=seconds)).isoformat()})
        assert 0 == run([*words, "--timezone", "Asia/Shanghai"])
        rows = {label: int(text) for label, text in map(str.split, capsys.readouterr().out.splitlines())}
        if added:
            more = {label: rows[label] - before[label] for label in rows if rows[label] != before[label]}
            assert {f"{midnight - timedelta(days=1):%Y-%m-%d}": 1, f"{midnight:%Y-%m-%d}": 2} == more
        before = rows


def test_each_account_is_a_line(sandbox: Sandbox, accounts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a file of accounts, the name of each account comes first, in the order of the file."""
    sandbox.insert({"submitTime": END.isoformat()}, account="us-key")
    assert 0 == run(["count", "61d", "--accounts", str(accounts)])
    assert 0 == run(["count", "61d", "--accounts", str(accounts), "--account", "us"])

    assert ["eu\t150", "us\t151", "us\t151"] == capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("sandbox")
def test_a_terminal_shows_bars(accounts: Path) -> None:
    """On a terminal, the numbers are a table with bars; a single number is a line."""
    assert re.search(r"^150\r?$", on_a_terminal("count", "61d", "--quiet"), re.MULTILINE)
    assert "requests" in on_a_terminal("count", "61d")

    shown = on_a_terminal("count", "61d", "--by", "day", "--accounts", str(accounts), "--quiet", columns=90)
    rows = re.findall(r"^ +(eu|us) +(20\d\d-\d\d-\d\d) +(\d+) +(█*) *\r?$", shown, re.MULTILINE)
    assert 300 == sum(int(number) for _, _, number, _ in rows)
    assert all(bool(int(number)) == bool(shape) for _, _, number, shape in rows)
    longest = max(len(shape) for *_, shape in rows)
    assert longest > 20
    assert {max(int(number) for _, _, number, _ in rows)} == {int(row[2]) for row in rows if len(row[3]) == longest}
    assert "day (UTC)" in shown
    assert max(map(len, shown.splitlines())) <= 90


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1d", "--by", "week"], "--by"),
        (["1d", "--rate", "0"], "--rate"),
        (["1d", "--concurrency", "0"], "--concurrency"),
        (["now", "1d"], "before"),
        (["soon"], "START"),
        (["1d", "--timezone", "Mars"], "time zone"),
        (["2000-01-01", "--by", "hour"], "more than 10,000 hours"),
        (["0001-01-01T02:00Z", "0001-01-05T00:00Z", "--by", "day", "--timezone", "America/New_York"], "calendar"),
        (["1d", "--account", "asia"], "there is no account 'asia'"),
        ([], "START"),
    ],
)
def test_wrong_usage_requests_nothing(
    words: list[str], message: str, sandbox: Sandbox, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Wrong arguments exit with 2 and one line that describes the error; nothing is requested."""
    assert 2 == run(["count", *words])

    output, errors = capfdbinary.readouterr()
    assert (b"", 1) == (output, errors.count(b"\n"))
    assert message in errors.decode()
    assert [] == sandbox.requests


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("by", [[], ["--by", "day"]])
def test_an_expired_range_is_an_error_or_is_skipped(by: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The error says what to do; the skipped part is printed once."""
    assert 1 == run(["count", "90d", *by])
    output, errors = capsys.readouterr()
    assert ("", 1) == (output, errors.count("\n"))
    assert "--expired skip" in errors

    assert 0 == run(["count", "90d", "--expired", "skip", *by])
    output, errors = capsys.readouterr()
    assert 150 == sum(int(line.split()[-1]) for line in output.splitlines())
    assert ("skipped", 1) == (re.findall("skipped", errors)[0], errors.count("\n"))


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(("by", "output"), [([], "0\n"), (["--by", "day"], "")])
def test_a_range_that_is_skipped_has_no_records(by: list[str], output: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If all of a range is older than the retention, its number is 0."""
    assert 0 == run(["count", "90d", "80d", "--expired", "skip", *by])

    shown, errors = capsys.readouterr()
    assert (output, 1) == (shown, errors.count("skipped"))


@pytest.mark.parametrize(("collect", "output"), [(False, ""), (True, "eu\t150\n")])
def test_a_failed_account_is_named(
    collect: bool, output: str, accounts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--on-error collect`, the other accounts are counted; the exit code is 1 in either case."""
    accounts.write_text(accounts.read_text().replace("us-secret", "wrong"))

    assert 1 == run(["count", "61d", "--accounts", str(accounts), *["--on-error", "collect"] * collect])
    shown, errors = capsys.readouterr()
    assert (output, 1) == (shown, errors.count("\n"))
    assert "AuthenticationError" in errors
    assert "'us'" in errors


@pytest.mark.parametrize(("end", "ahead", "reported"), [("now", -7200, 0), ("now", 7200, 0), ("+2d", 0, 1)])
@pytest.mark.parametrize("by", [[], ["--by", "day"]])
def test_the_servers_future_is_not_counted(  # noqa: PLR0917 -- fixtures
    end: str,
    ahead: int,
    reported: int,
    by: list[str],
    skewed: Sandbox,
    server_time: ServerTime,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Records are counted up to the server's time; one line reports an END after it."""
    server_time.ahead = ahead
    skewed.insert(*({"submitTime": server_time.after(-ago).isoformat()} for ago in (30, 7300)))
    end = end if end == "now" else (datetime.now(UTC) + timedelta(days=2)).isoformat()

    assert 0 == run(["count", "1d", end, *by])
    output, errors = capsys.readouterr()
    assert 2 == sum(int(line.split()[-1]) for line in output.splitlines())
    assert reported == errors.count("\n") == errors.count("the rest stays unread")


def test_an_interrupt_exits_with_130(sandbox: Sandbox) -> None:
    """An interrupt is exit code 130, without a traceback."""
    sandbox.behaviour = Behaviour(latency=0.5)
    with subprocess.Popen([*COMMAND, "61d", "--by", "day"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        while not sandbox.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)

    assert (130, b"", b"") == (process.returncode, output, errors)


def labels(start: str, until: str, by: By, zone: str) -> list[str]:
    """Return the labels of the periods of a range; check that they tile it."""
    first, last = datetime.fromisoformat(start), datetime.fromisoformat(until)
    parts = list(periods(Range(first, last, last), by, ZoneInfo(zone)))
    ends = [part.end for part in parts]
    assert [first, *ends[:-1]] == [part.start for part in parts]
    assert last == ends[-1]
    return [part.label for part in parts]


def test_a_day_begins_at_midnight_of_the_zone() -> None:
    """Days have 23 or 25 hours where clocks change, also where that is at midnight; each day is listed once."""
    assert ["2026-03-28", "2026-03-29", "2026-03-30"] == labels(
        "2026-03-28T12:00Z", "2026-03-30T12:00Z", "day", "Europe/Berlin"
    )
    # In Santiago, the clocks are set forward and back at midnight.
    assert [f"2026-09-0{day}" for day in (4, 5, 6, 7)] == labels(
        "2026-09-04T12:00Z", "2026-09-07T12:00Z", "day", "America/Santiago"
    )
    assert [f"2026-04-0{day}" for day in (3, 4, 5, 6)] == labels(
        "2026-04-03T12:00Z", "2026-04-06T12:00Z", "day", "America/Santiago"
    )
    assert ["2026-05-01"] == labels("2026-05-01T00:00Z", "2026-05-02T00:00Z", "day", "UTC")
    assert [""] == labels("2026-05-01T00:00Z", "2026-07-02T00:00Z", None, "UTC")


def test_an_hour_is_labelled_with_its_offset() -> None:
    """The hour that occurs twice has two lines, with different offsets."""
    assert [f"2026-10-25T0{hour}:00+0{offset}:00" for hour, offset in ((1, 2), (2, 2), (2, 1), (3, 1))] == labels(
        "2026-10-24T23:10Z", "2026-10-25T02:30Z", "hour", "Europe/Berlin"
    )
    assert ["2026-05-01T05:00+05:45", "2026-05-01T06:00+05:45"] == labels(
        "2026-05-01T00:00Z", "2026-05-01T01:00Z", "hour", "Asia/Kathmandu"
    )


def test_a_bar_is_in_proportion() -> None:
    """The largest number has the longest bar, and every number but 0 has one."""
    assert ["", "█", "█████", "██████████"] == [bar(number, 1_000, 10) for number in (0, 1, 500, 1_000)]
    assert "" == bar(0, 0, 10)
