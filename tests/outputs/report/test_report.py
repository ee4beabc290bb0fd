"""The figures of a report, and its page in a browser."""

import json
import re
import shutil
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice._wire.structuring import structure_record
from itnio_voice.outputs.report import read_figures, write_page
from itnio_voice.sandbox._data.dataset import generate

from .writing import WRITE, Write, as_parquet

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
START = datetime(2026, 9, 28, 22, tzinfo=UTC)  # a Monday
NEXT = START + timedelta(hours=3)


def call(**fields: Any) -> VoiceRecord:
    """Return a call at the start."""
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
    # It rang before it was called, so it has no post-dial delay.
    call(ringing_time=START - timedelta(seconds=1), termination_code="486", code="B", submit_time=NEXT),
    call(cost=Decimal("0.2"), code=None, submit_time=NEXT, call_duration=99, currency="USD"),
]


@pytest.mark.parametrize("write", WRITE)
def test_figures_match_those_computed_by_hand(write: Write, tmp_path: Path) -> None:
    """The figures of a few calls are exact, in every format."""
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
def test_figures_match_those_computed_by_python(write: Write, kind: Any, tmp_path: Path) -> None:
    """The figures of thousands of calls equal Python's, in another time zone than UTC."""
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
def test_a_file_without_calls_is_reported_as_such(write: Write, tmp_path: Path) -> None:
    """The page says that there are no calls."""
    write_page(read_figures(write(tmp_path, [])), tmp_path / "report.html", source="calls")

    assert "There are no calls in this file." in (tmp_path / "report.html").read_text()


def test_other_destinations_are_summed(tmp_path: Path) -> None:
    """All calls and costs are on the page, those beyond a dozen destinations in one row."""
    records = [call(code=f"{number:02}", cost=Decimal(number)) for number in range(1, 31) for _ in range(number)]
    figures = read_figures(as_parquet(tmp_path, records))

    assert ["30", "29", "all others"] == [figures.by_destination[place]["destination"] for place in (0, 1, -1)]
    assert len(records) == sum(row["calls"] for row in figures.by_destination)
    assert figures.headline.cost["USD"] == sum(row["cost"] for row in figures.by_currency)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
def test_charts_are_drawn_in_a_browser(tmp_path: Path) -> None:
    """Every chart is drawn without a network."""
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
