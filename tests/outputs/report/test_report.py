"""The figures of a report: by hand for a few calls, and by a second computation in Python for thousands."""

import json
import math
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import mean, median, quantiles
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice._wire.structuring import structure_record
from itnio_voice.outputs.report import KindFigures, read_figures, write_page
from itnio_voice.sandbox._data.dataset import generate

from .writing import WRITE, Write, as_duckdb, as_json_lines, as_parquet

START = datetime(2026, 9, 28, 22, tzinfo=UTC)  # a Monday
NEXT = START + timedelta(hours=3)
SECOND = timedelta(seconds=1)
VOICE, PHONE = "Voice messages", "Phone calls"


def call(**fields: Any) -> VoiceRecord:
    """Return a call at the start."""
    return VoiceRecord(**{"submit_time": START, "call_time": START, "code": "A", **fields})


CALLS = [
    call(
        ringing_time=START + timedelta(seconds=2),
        answer_time=START + timedelta(seconds=5),
        hangup_time=START + timedelta(seconds=35),
        call_duration=30,
        charged_duration=60,
        cost=Decimal("0.1"),
        termination_code="200",
        termination_reason="success",
        feedback_value="1",
        display_num="1",
    ),
    call(
        ringing_time=START + timedelta(seconds=4),
        answer_time=START + timedelta(seconds=5),
        hangup_time=START + timedelta(seconds=20),
        call_duration=15,
        charged_duration=30,
        cost=Decimal("0.000000000000000002"),
        settle_pay=Decimal("0.25"),
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
    headline, kind = figures.headline, figures.kinds[VOICE]
    summary = kind.summary

    assert [VOICE] == list(figures.kinds)
    assert (4, 2, 1.5) == (headline.calls, headline.answered, headline.billed_minutes)
    assert (4, 2, 1.5) == (summary.calls, summary.answered, summary.billed_minutes)
    assert (0.5, 22.5) == (summary.answer_seizure_ratio, summary.average_call_duration)
    assert (3.0, 3.0, 3.9) == pytest.approx(
        (summary.post_dial_delay, summary.post_dial_delay_median, summary.post_dial_delay_p95)
    )
    # Three calls have ended, all at the callee; 90 seconds were charged for 45.
    assert (1.0, 0.0, 0.5) == (
        summary.network_effectiveness_ratio,
        summary.short_call_rate,
        summary.rounding_share,
    )
    assert (2, "2026-09-28 22:00:00") == (summary.peak_concurrency, summary.peak_at)
    assert {"EUR": Decimal("0.000000000000000002"), "USD": Decimal("0.3")} == headline.cost == summary.cost
    assert {"EUR": Decimal("0.000000000000000004"), "USD": Decimal("0.3")} == summary.cost_per_minute
    assert (Decimal("0.55"), 0) == (headline.home_cost, headline.unconverted)
    assert ("2026-09-28 22:00", "2026-09-29 01:00") == (headline.first, headline.last)
    assert [("2026-09-28", 2, True), ("2026-09-29", 2, True)] == [
        (row["day"], row["calls"], row["partial"]) for row in kind.by_day
    ]
    assert [("A", 2, 22.5, 3.0), ("B", 1, None, None), (None, 1, None, None)] == [
        (row["name"], row["calls"], row["acd"], row["pdd"]) for row in kind.by_destination
    ]
    assert {"1": 1, None: 3} == {row["name"]: row["calls"] for row in kind.by_caller}
    assert {("200", "success"): 2, ("486", ""): 1, ("none yet", ""): 1} == {
        (row["code"], row["reason"]): row["calls"] for row in kind.by_code
    }
    assert {"A": (Decimal("0.1"), Decimal("2E-18")), "B": (None, None), None: (Decimal("0.2"), None)} == {
        row["name"]: (row["cost_0"], row["cost_1"]) for row in kind.by_destination
    }
    assert ["USD", "EUR"] == kind.currencies
    assert [(1, 22, 2), (2, 1, 2)] == [tuple(row.values()) for row in kind.by_hour]
    assert [{"key": "1", "calls": 1}] == kind.by_key


def percentile(values: list[float], percent: int) -> float | None:
    """Return a percentile by linear interpolation."""
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def peak(records: Iterable[Any]) -> int:
    """Return the highest number of calls at the same time: those that have begun at a call's start, and not ended."""
    spans = [
        (min(known), record.hangup_time)
        for record in records
        if record.hangup_time
        and (known := list(filter(None, [record.call_time, record.ringing_time, record.answer_time])))
    ]
    spans = [(start, end) for start, end in spans if start < end <= start + timedelta(days=1)]
    starts, ends = sorted(start for start, _ in spans), sorted(end for _, end in spans)
    return max((bisect(starts, at) - bisect(ends, at) for at in starts), default=0)


def second_computation(records: list[Any]) -> dict[str, Any]:
    """Compute the figures of calls in plain Python."""
    answered = [record for record in records if record.answer_time]
    ended = [record for record in records if record.answer_time or record.termination_code]
    ended = [record for record in ended if record.answer_time or not 300 <= int(record.termination_code) < 400]
    reached = [
        record
        for record in ended
        if record.answer_time
        or record.termination_code in {"0", "200", "480", "486", "600", "603"}
        or (record.ringing_time and record.termination_code in {"408", "487"})
    ]
    delays = [
        (record.ringing_time - record.call_time).total_seconds()
        for record in records
        if record.ringing_time and record.call_time and record.ringing_time >= record.call_time
    ]
    timed = [record for record in answered if record.call_duration is not None]
    charged = [record for record in timed if record.charged_duration is not None]
    seconds = sum(record.charged_duration for record in charged)
    return {
        "calls": len(records),
        "answered": len(answered),
        "answer_seizure_ratio": len(answered) / len(records),
        "network_effectiveness_ratio": len(reached) / len(ended) if ended else None,
        "average_call_duration": mean(record.call_duration or 0 for record in answered) if answered else None,
        "short_call_rate": sum(record.call_duration <= 6 for record in timed) / len(timed) if timed else None,
        "post_dial_delay": mean(delays) if delays else None,
        "post_dial_delay_median": median(delays) if delays else None,
        "post_dial_delay_p95": percentile(delays, 95),
        "billed_minutes": sum(record.charged_duration or 0 for record in records) / 60,
        "rounding_share": (seconds - sum(record.call_duration for record in charged)) / seconds if seconds else None,
        "peak_concurrency": peak(records),
    }


def assert_same(expected: dict[str, Any], figures: KindFigures) -> None:
    """Compare the summary with that of the second computation."""
    assert expected == pytest.approx({name: getattr(figures.summary, name) for name in expected}, nan_ok=True)


@pytest.mark.parametrize("kind", ["group", "sip"])
@pytest.mark.parametrize("write", WRITE)
def test_figures_match_those_computed_by_python(write: Write, kind: Any, tmp_path: Path) -> None:
    """The figures of thousands of calls equal Python's, in another time zone than UTC."""
    of: type[Any] = VoiceRecord if kind == "group" else SipRecord
    made = generate(3000, start=START, end=START + timedelta(days=20), seed=7, kind=kind)
    records = [structure_record(json.loads(json.dumps(wire)), of) for wire in made]
    report = read_figures(write(tmp_path, records, of), timezone="America/New_York")
    figures = report.kinds[VOICE if kind == "group" else PHONE]
    zone = ZoneInfo("America/New_York")
    cost: Counter[str] = Counter()
    for record in records:
        if record.cost is not None:
            cost[record.currency or "USD"] += record.cost
    days = Counter(f"{record.submit_time.astimezone(zone):%Y-%m-%d}" for record in records)
    hours = Counter((at.isoweekday(), at.hour) for at in (record.submit_time.astimezone(zone) for record in records))

    assert_same(second_computation(records), figures)
    assert dict(cost) == report.headline.cost == figures.summary.cost
    home = sum(record.settle_pay or (record.cost if record.currency is None else 0) or 0 for record in records)
    assert home == report.headline.home_cost == figures.summary.home_cost
    assert days == {row["day"]: row["calls"] for row in figures.by_day if row["calls"]}
    assert hours == {(row["weekday"], row["hour"]): row["calls"] for row in figures.by_hour}
    keys: list[tuple[Callable[[Any], Any], list[dict[str, Any]]]] = [
        (lambda record: record.code, figures.by_destination),
        (lambda record: record.display_num, figures.by_caller),
    ]
    if kind == "sip":
        keys.append((lambda record: f"{record.sip_group_name}/{record.phone_name}", figures.by_phone))
    for key, rows in keys:
        groups = defaultdict[Any, list[Any]](list)
        for record in records:
            groups[key(record)].append(record)
        assert {name: len(group) for name, group in groups.items()} == {row["name"]: row["calls"] for row in rows}
        for row in rows:
            expected = second_computation(groups[row["name"]])
            names = ("asr", "ner", "acd", "short", "pdd", "pdd_median", "pdd_p95", "minutes", "rounding")
            wanted = [
                value for name, value in expected.items() if name not in {"calls", "answered", "peak_concurrency"}
            ]
            assert wanted == pytest.approx([row[name] for name in names])
            for place, currency in enumerate(figures.currencies):
                costs = [record.cost for record in groups[row["name"]] if (record.currency or "USD") == currency]
                assert (row[f"cost_{place}"] or 0) == sum(filter(None, costs))


CODES = ["0", "200", "302", "401", "402", "404", "407", "408", "480", "486", "487", "500", "503", "600", "603"]


def random_call(random: Random) -> VoiceRecord:
    """Return a call in which any field may be missing, and the times are in any order."""

    def maybe(value: Any) -> Any:
        return value if random.random() < 0.8 else None

    at = START + timedelta(seconds=random.randrange(3600))
    return VoiceRecord(
        submit_time=at,
        call_time=maybe(at + SECOND * random.randrange(9)),
        ringing_time=maybe(at + SECOND * random.randrange(9)),
        answer_time=maybe(at + SECOND * random.randrange(20)) if random.random() < 0.6 else None,
        hangup_time=maybe(at + SECOND * random.choice([0, 5, 30, 90, 86400, 99999])),
        call_duration=maybe(random.randrange(40)),
        charged_duration=maybe(random.randrange(90)),
        termination_code=maybe(random.choice(CODES)),
        cost=maybe(Decimal(random.randrange(999)) / 1000),
        settle_pay=random.choice([None, Decimal(random.randrange(999)) / 1000]),
        currency=random.choice([None, "USD", "EUR"]),
        code=random.choice("ABC"),
    )


@pytest.mark.parametrize("seed", range(12))
def test_figures_of_incomplete_calls_match_those_computed_by_python(seed: int, tmp_path: Path) -> None:
    """Missing and disordered values change no figure that does not need them."""
    random = Random(seed)
    records = [random_call(random) for _ in range(random.choice([1, 2, 5, 200]))]
    figures = read_figures(as_parquet(tmp_path, records)).kinds[VOICE]

    assert_same(second_computation(records), figures)
    converted = [
        record.settle_pay if record.settle_pay is not None else record.cost
        for record in records
        if record.settle_pay is not None or record.currency != "EUR"
    ]
    assert sum(filter(None, converted)) == figures.summary.home_cost
    left_out = sum(bool(record.cost) and record.currency == "EUR" and record.settle_pay is None for record in records)
    assert left_out == figures.summary.unconverted


# Kinds


def test_kinds_are_apart(tmp_path: Path) -> None:
    """Voice messages and phone calls of a database have figures of their own, and a common total."""
    voice = [call(answer_time=START, call_duration=20, cost=Decimal(1))] * 3
    phone = [SipRecord(submit_time=START, answer_time=START, call_duration=100, cost=Decimal(2), phone_name="p")] * 2
    figures = read_figures(as_duckdb(tmp_path, voice, phones=phone))

    assert {VOICE: 20, PHONE: 100} == {
        kind: of_kind.summary.average_call_duration for kind, of_kind in figures.kinds.items()
    }
    assert (5, {"USD": Decimal(7)}, Decimal(7)) == (
        figures.headline.calls,
        figures.headline.cost,
        figures.headline.home_cost,
    )
    assert ["p"] == [row["name"] for row in figures.kinds[PHONE].by_phone]
    assert [] == figures.kinds[VOICE].by_phone == figures.kinds[PHONE].by_key


# Partial days, comparison, days out of line


DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 9, 28, tzinfo=UTC)


def covered(since: datetime, until: datetime) -> dict[str, str]:
    """Return what a sync stores about an account."""
    return {"since": since.isoformat(), "until": until.isoformat(), "key": "k"}


@pytest.mark.parametrize(
    ("since", "until", "partial"),
    [
        (MIDNIGHT, MIDNIGHT + 3 * DAY, []),
        (MIDNIGHT - DAY + SECOND, MIDNIGHT + 9 * DAY, []),
        (MIDNIGHT + SECOND, MIDNIGHT + 3 * DAY, ["2026-09-28"]),
        (MIDNIGHT - DAY, MIDNIGHT + 3 * DAY, ["2026-09-28"]),
        (MIDNIGHT, MIDNIGHT + 3 * DAY - SECOND, ["2026-09-30"]),
        (MIDNIGHT + SECOND, MIDNIGHT + 3 * DAY - SECOND, ["2026-09-28", "2026-09-30"]),
        (MIDNIGHT + DAY + SECOND, MIDNIGHT + 3 * DAY, ["2026-09-28", "2026-09-29"]),
        (MIDNIGHT + 9 * DAY, MIDNIGHT + 9 * DAY, ["2026-09-28", "2026-09-29", "2026-09-30"]),
    ],
)
def test_days_that_were_read_in_part_are_partial(
    since: datetime, until: datetime, partial: list[str], tmp_path: Path
) -> None:
    """A day is complete if the range that sync has read of each account covers it."""
    records = [call(submit_time=MIDNIGHT + number * DAY + SECOND, answer_time=START) for number in range(3)]
    state = {"one": covered(MIDNIGHT - 8 * SECOND, MIDNIGHT + 9 * DAY), "other": covered(since, until)}
    figures = read_figures(as_duckdb(tmp_path, records, accounts=state)).kinds[VOICE]

    assert figures.range_known
    assert partial == [row["day"] for row in figures.by_day if row["partial"]]
    assert [row["partial"] for row in figures.by_day] == [row["asr"] is None for row in figures.by_day]
    assert (1.0 if len(partial) < 3 else None) == figures.calls_per_day


def test_partial_days_are_those_of_the_time_zone(tmp_path: Path) -> None:
    """Midnight is that of the report's time zone, also where clocks change."""
    zone = ZoneInfo("Europe/Berlin")
    first, end = datetime(2026, 10, 25, tzinfo=zone), datetime(2026, 10, 27, tzinfo=zone)
    records = [call(submit_time=first + SECOND), call(submit_time=end - SECOND)]
    source = as_duckdb(tmp_path, records, accounts={"one": covered(first, end)})

    assert [] == [row for row in read_figures(source, timezone="Europe/Berlin").kinds[VOICE].by_day if row["partial"]]
    assert 2 == sum(row["partial"] for row in read_figures(source).kinds[VOICE].by_day)


def test_first_and_last_day_of_an_export_are_partial(tmp_path: Path) -> None:
    """A file of an export does not say which range was read."""
    records = [call(submit_time=MIDNIGHT + number * DAY) for number in range(4)]
    figures = read_figures(as_parquet(tmp_path, records)).kinds[VOICE]

    assert not figures.range_known
    assert [True, False, False, True] == [row["partial"] for row in figures.by_day]


@pytest.mark.parametrize(
    ("days", "length"), [(2, 0), (3, 0), (4, 1), (15, 6), (16, 7), (22, 7), (29, 7), (30, 14), (60, 28)]
)
def test_the_last_complete_days_are_compared_with_those_before(days: int, length: int, tmp_path: Path) -> None:
    """The periods have the same number of complete days, of weeks if there are two."""
    counts = [number % 5 + 1 for number in range(days)]
    records = [
        call(submit_time=MIDNIGHT + number * DAY, cost=Decimal(number))
        for number in range(days)
        for _ in range(counts[number])
    ]
    compared = read_figures(as_parquet(tmp_path, records)).kinds[VOICE].comparison

    if not length:
        assert compared is None
        return
    assert compared
    last = slice(days - 1 - length, days - 1)
    before = slice(days - 1 - 2 * length, days - 1 - length)
    assert (length, length) == (len(compared.before_days), len(compared.after_days))
    assert f"{MIDNIGHT + (days - 2) * DAY:%Y-%m-%d}" == compared.after_days[-1]
    assert (sum(counts[before]), sum(counts[last])) == (compared.before.calls, compared.after.calls)
    costs = [number * count for number, count in enumerate(counts)]
    assert {"USD": Decimal(sum(costs[last]))} == compared.after.cost


def days_of(counts: list[int]) -> list[VoiceRecord]:
    """Return as many calls on each day, between two partial days."""
    return [
        call(submit_time=MIDNIGHT + number * DAY) for number, count in enumerate([1, *counts, 1]) for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ([100] * 6 + [500], [(7, 500, 100)]),
        ([100] * 7 + [109], []),  # by less than a tenth
        ([100, 110, 90, 105, 95, 100, 150, 101], [(7, 150, 100.5)]),
        ([100, 500], []),  # too few days
        ([100, 100, 100, 100, 100, 10, 10] * 4, []),  # weekends
        ([100, 100, 100, 100, 100, 10, 10] * 3 + [100, 100, 100, 100, 100, 100, 10], [(27, 100, 10)]),
        ([*range(100, 130)], []),
    ],
)
def test_days_out_of_line_are_found(counts: list[int], found: list[tuple[int, float, float]], tmp_path: Path) -> None:
    """A day is out of line if it is far from the median, in units of the MAD."""
    outliers = read_figures(as_parquet(tmp_path, days_of(counts))).kinds[VOICE].outliers

    assert [(f"{MIDNIGHT + day * DAY:%Y-%m-%d}", "Calls", value, usual) for day, value, usual in found] == [
        (outlier.day, outlier.measure, outlier.value, outlier.expected) for outlier in outliers
    ]


# Groups


@pytest.mark.parametrize("write", WRITE)
def test_a_file_without_calls_is_reported_as_such(write: Write, tmp_path: Path) -> None:
    """The page says that there are no calls."""
    write_page(read_figures(write(tmp_path, [])), tmp_path / "report.html", source="calls")

    assert "There are no calls in this file." in (tmp_path / "report.html").read_text()


def test_accounts_of_a_file_are_apart(tmp_path: Path) -> None:
    """The column of the account is optional; records without it have none."""
    path = as_json_lines(tmp_path, CALLS)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(None, 4)] == [(row["name"], row["calls"]) for row in read_figures(path).kinds[VOICE].by_account]
    path.write_text(
        "".join(json.dumps({"account": "ab"[place % 2], **line}) + "\n" for place, line in enumerate(lines))
    )

    assert [("a", 2), ("b", 2)] == [(row["name"], row["calls"]) for row in read_figures(path).kinds[VOICE].by_account]


def test_other_destinations_are_summed(tmp_path: Path) -> None:
    """Those with the most calls and those with the highest cost have rows; one row has the sums of all others."""
    records = [
        call(code=f"{number:02}", cost=Decimal(99 - number)) for number in range(99) for _ in range(1 + number // 10)
    ]
    rows = read_figures(as_parquet(tmp_path, records)).kinds[VOICE].by_destination
    shown = {row["name"] for row in rows if not row["others"]}
    costs: Counter[str] = Counter()
    for record in records:
        costs[str(record.code)] += int(record.cost or 0)

    assert {f"{number:02}" for number in range(79, 99) if number >= 90} <= shown
    assert {name for name, _ in costs.most_common(15)} <= shown
    assert 72 >= len(shown) == 99 - int(rows[-1]["name"])
    assert [False] * len(shown) + [True] == [row["others"] for row in rows]
    assert len(records) == sum(row["calls"] for row in rows)
    assert sum(costs.values()) == sum(row["home"] for row in rows)
    assert all(one["calls"] >= other["calls"] for one, other in pairwise(rows[:-1]))


def test_calls_that_end_before_they_begin_are_not_concurrent(tmp_path: Path) -> None:
    """They neither count for the peak nor against it; calls that follow each other at once are not concurrent."""

    def span(start: int, end: int) -> VoiceRecord:
        return call(call_time=START + start * SECOND, hangup_time=START + end * SECOND)

    records = [span(0, 10), span(5, 1), span(2, 3), span(3, 4), span(4, 4)]
    summary = read_figures(as_parquet(tmp_path, records)).kinds[VOICE].summary

    assert (2, "2026-09-28 22:00:02") == (summary.peak_concurrency, summary.peak_at)


def test_cost_per_minute_and_peak_of_nothing(tmp_path: Path) -> None:
    """A figure without a divisor is None, or absent."""
    summary = read_figures(as_parquet(tmp_path, [attrs.evolve(CALLS[3], cost=Decimal(1))])).kinds[VOICE].summary

    assert ({}, 0, None) == (summary.cost_per_minute, summary.peak_concurrency, summary.peak_at)
    assert summary.network_effectiveness_ratio is summary.rounding_share is summary.short_call_rate is None
    assert not any(isinstance(value, float) and math.isnan(value) for value in attrs.astuple(summary))
