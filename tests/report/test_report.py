"""The report: figures that can be checked by hand, on a page that needs nobody else."""

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice.arrow import record_batch, schema
from itnio_voice.cli.app import run
from itnio_voice.converters import structure_record
from itnio_voice.report import read_figures, write_page
from itnio_voice.sandbox.dataset import generate

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
START = datetime(2026, 9, 28, 22, tzinfo=UTC)  # a Monday
NEXT = START + timedelta(hours=3)


def call(**fields: Any) -> VoiceRecord:
    """Return a call that begins with the range."""
    return VoiceRecord(**{"submit_time": START, "call_time": START, "code": "A", **fields})


CALLS = [
    call(
        ringing_time=START + timedelta(seconds=2),
        answer_time=START + timedelta(seconds=5),
        call_duration=30,
        charged_duration=60,
        cost=Decimal("0.1"),
        termination_code="200",
        termination_reason="success",
        feedback_value="1",
    ),
    call(
        ringing_time=START + timedelta(seconds=4),
        answer_time=START + timedelta(seconds=5),
        call_duration=15,
        charged_duration=30,
        cost=Decimal("0.000000000000000002"),
        currency="EUR",
        termination_code="200",
        feedback_value="-1",
    ),
    # It rang before it was called: no delay that could be counted.
    call(ringing_time=START - timedelta(seconds=1), termination_code="486", code="B", submit_time=NEXT),
    call(cost=Decimal("0.2"), code=None, submit_time=NEXT, call_duration=99, currency="USD"),
]


def as_parquet(folder: Path, records: list[Any], of: type[Any] = VoiceRecord) -> Path:
    """Write records as an export does."""
    path = folder / "calls.parquet"
    parquet.write_table(pa.Table.from_batches([record_batch(records, of)]), path)
    return path


def as_duckdb(folder: Path, records: list[Any], of: type[Any] = VoiceRecord) -> Path:
    """Write records as a sync does, one of each kind in a table of its own."""
    path = folder / "calls.duckdb"
    tables = {"voice_records" if of is VoiceRecord else "sip_records": records}
    if of is VoiceRecord:
        tables["sip_records"] = []
    with duckdb.connect(str(path)) as connection:
        for table_schema in ("itnio_voice", "itnio_voice_staging"):
            connection.execute(f"CREATE SCHEMA {table_schema}")
            for name, rows in tables.items():
                kind = SipRecord if name == "sip_records" else VoiceRecord
                connection.register("rows", pa.Table.from_batches([record_batch(rows, kind)], schema(kind)))
                connection.execute(f"CREATE TABLE {table_schema}.{name} AS FROM rows")
                connection.unregister("rows")
    return path


WRITE: list[Callable[..., Path]] = [as_parquet, as_duckdb]


@pytest.mark.parametrize("write", WRITE)
def test_by_hand(write: Callable[..., Path], tmp_path: Path) -> None:
    """Each figure of a few calls is what a hand computes."""
    figures = read_figures(write(tmp_path, CALLS))
    headline = figures.headline

    assert (4, 2) == (headline.calls, headline.answered)
    assert (0.5, 22.5, 3.0, 1.5) == (
        headline.answer_seizure_ratio,
        headline.average_call_duration,
        headline.post_dial_delay,
        headline.billed_minutes,
    )
    assert {"EUR": Decimal("0.000000000000000002"), "USD": Decimal("0.3")} == headline.cost
    assert ("2026-09-28 22:00", "2026-09-29 01:00") == (headline.first, headline.last)
    assert [("2026-09-28", 2, 1.0), ("2026-09-29", 2, 0.0)] == [tuple(row.values()) for row in figures.by_day]
    assert [("A", 2, 22.5, 3.0), ("B", 1, None, None), ("unknown", 1, None, None)] == [
        (row["destination"], row["calls"], row["acd"], row["pdd"]) for row in figures.by_destination
    ]
    assert {("200", "success"): 2, ("486", ""): 1, ("none yet", ""): 1} == {
        (row["code"], row["reason"]): row["calls"] for row in figures.by_code
    }
    assert [("A", "EUR", Decimal("2E-18")), ("unknown", "USD", Decimal("0.2")), ("A", "USD", Decimal("0.1"))] == [
        (row["destination"], row["currency"], row["cost"]) for row in figures.by_currency
    ]
    assert [(1, 22, 2), (2, 1, 2)] == [tuple(row.values()) for row in figures.by_hour]
    assert [{"key": "1", "calls": 1}] == figures.by_key


@pytest.mark.parametrize("kind", ["group", "sip"])
@pytest.mark.parametrize("write", WRITE)
def test_by_python(write: Callable[..., Path], kind: Any, tmp_path: Path) -> None:
    """The figures of thousands of calls are those of plain Python, in a time zone of one's own."""
    of: type[Any] = VoiceRecord if kind == "group" else SipRecord
    made = generate(3000, start=START, end=START + timedelta(days=20), seed=7, kind=kind)
    records = [structure_record(json.loads(json.dumps(wire)), of) for wire in made]
    figures = read_figures(write(tmp_path, records, of), timezone="America/New_York")
    zone = ZoneInfo("America/New_York")
    answered = [record for record in records if record.answered]
    cost: Counter[str] = Counter()
    for record in records:
        if record.cost is not None:
            cost[record.currency or "USD"] += record.cost
    days = Counter(f"{record.submit_time.astimezone(zone):%Y-%m-%d}" for record in records)
    hours = Counter((at.isoweekday(), at.hour) for at in (record.submit_time.astimezone(zone) for record in records))

    assert (3000, len(answered)) == (figures.headline.calls, figures.headline.answered)
    assert dict(cost) == figures.headline.cost
    assert sum(record.call_duration or 0 for record in answered) / len(answered) == pytest.approx(
        figures.headline.average_call_duration
    )
    assert days == {row["day"]: row["calls"] for row in figures.by_day if row["calls"]}
    assert hours == {(row["weekday"], row["hour"]): row["calls"] for row in figures.by_hour}
    assert 3000 == sum(row["calls"] for row in figures.by_destination)
    assert dict(cost) == {
        currency: sum(row["cost"] for row in figures.by_currency if row["currency"] == currency) for currency in cost
    }


@pytest.mark.parametrize("write", WRITE)
def test_nothing(write: Callable[..., Path], tmp_path: Path) -> None:
    """A file without calls is a page that says so."""
    write_page(read_figures(write(tmp_path, [])), tmp_path / "report.html", source="calls")

    assert "There are no calls in this file." in (tmp_path / "report.html").read_text()


def test_many_destinations(tmp_path: Path) -> None:
    """Beyond a dozen, destinations are one, and nothing is left out of it."""
    records = [call(code=f"{number:02}", cost=Decimal(number)) for number in range(1, 31) for _ in range(number)]
    figures = read_figures(as_parquet(tmp_path, records))

    assert ["30", "29", "all others"] == [figures.by_destination[place]["destination"] for place in (0, 1, -1)]
    assert len(records) == sum(row["calls"] for row in figures.by_destination)
    assert figures.headline.cost["USD"] == sum(row["cost"] for row in figures.by_currency)


def test_the_page_needs_nobody(tmp_path: Path) -> None:
    """Nothing on the page is fetched, and no text of the data leads out of where it stands."""
    evil = '</script><script>document.title="broken"</script>'
    records = [call(code=evil, termination_code=evil, termination_reason=evil, feedback_value=evil, currency=evil)]
    records.append(attrs.evolve(CALLS[0], code=evil, currency=evil, termination_reason=evil))
    write_page(read_figures(as_parquet(tmp_path, records)), tmp_path / "report.html", source=evil)
    page = (tmp_path / "report.html").read_text()

    assert 2 == page.count("</script>")
    assert [] == re.findall(r"(?:src|href)=", re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))
    assert "default-src 'none'" in page
    assert ["calls.parquet", "report.html"] == sorted(path.name for path in tmp_path.iterdir())


def test_files_that_are_none(tmp_path: Path) -> None:
    """What is no file of call records is told, with what to do."""
    (tmp_path / "notes.duckdb").write_text("notes" * 5000)
    (tmp_path / "notes.parquet").write_text("notes")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE other (a INTEGER)")
    parquet.write_table(pa.table({"cost": ["many"]}), tmp_path / "other.parquet")
    wrong = {
        "notes.duckdb": "is no Parquet or DuckDB file of call records",
        "notes.parquet": "is no Parquet or DuckDB file of call records",
        "other.duckdb": "has no table voice_records or sip_records: fill it with",
        "other.parquet": "is no Parquet or DuckDB file of call records",
    }
    for name, text in wrong.items():
        with pytest.raises(ValueError, match=text):
            read_figures(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_figures(tmp_path / "none.parquet")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the headline of the page; wrong usage is exit code 2, a file that is not there 1."""
    source, output = str(as_parquet(tmp_path, CALLS)), tmp_path / "calls.html"

    assert 0 == run(["report", source, "-o", str(output)])
    printed = capsys.readouterr().out
    for figure in ("50.0%", "22.5 s", "3.0 s", "1.5 min", "0.3", "0.000000000000000002"):
        assert figure in printed
        assert f"<strong>{figure}</strong>" in output.read_text()
    assert 2 == run(["report", source, "--timezone", "Mars"])
    assert 2 == run(["report", __file__])
    assert 1 == run(["report", str(tmp_path / "none.parquet")])


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    """In a browser without a network every chart is drawn, and nothing fails."""
    made = generate(2000, start=START, end=START + timedelta(days=30), seed=3)
    records = [structure_record(json.loads(json.dumps(wire)), VoiceRecord) for wire in made]
    write_page(read_figures(as_parquet(tmp_path, records)), tmp_path / "report.html", source="calls.parquet")
    quiet = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    command = [str(CHROMIUM), "--headless", *quiet.split(), "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--window-size=1280,2600", f"--screenshot={tmp_path / 'report.png'}"]
    address = (tmp_path / "report.html").as_uri()
    done = [
        subprocess.run([*command, *what, address], capture_output=True, text=True, check=True, timeout=90)  # noqa: S603
        for what in ([], ["--dump-dom"])
    ]
    page = done[1].stdout

    charts = re.findall(r'id="chart-(\d+)"', page)
    assert len(charts) >= 7
    assert len(charts) == len(re.findall(r'<svg[^>]*class="marks"', page))
    assert "data-failed" not in page
    assert (tmp_path / "report.png").stat().st_size > 50_000
