"""The generated data: documented fields and plausible values."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice.sandbox._data.dataset import Kind, complete, generate
from itnio_voice.sandbox._data.destinations import DESTINATIONS

END = datetime(2026, 11, 1, tzinfo=UTC)
START = END - timedelta(days=60)

COMMON = {
    "voiceId", "callee", "displayNum", "code", "submitTime", "callTime", "ringingTime", "answerTime", "hangupTime",
    "callDuration", "chargedDuration", "terminationCode", "terminationReason", "cost", "billPeriod", "rate",
    "settleRate", "quoteExchange", "settlePay", "currency",
}  # fmt: skip
FIELDS: dict[Kind, set[str]] = {
    "group": COMMON | {"baseCost", "voiceFileId", "feedbackValue", "calledInfo"},
    "sip": COMMON | {"sipGroupName", "phoneName", "recordingFileId"},
}


def make(count: int, kind: Kind = "group", seed: int = 1, **options: Any) -> list[dict[str, Any]]:
    """Return generated records."""
    arguments: dict[str, Any] = {"start": START, "end": END} | options
    return list(generate(count, **arguments, seed=seed, kind=kind))


@pytest.fixture(scope="module", params=["group", "sip"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each kind of record."""
    kind: Kind = request.param
    return kind


@pytest.fixture(scope="module")
def records(kind: Kind) -> list[dict[str, Any]]:
    """Return a data set of each kind."""
    return make(5000, kind)


def test_fields_are_those_of_the_page(records: list[dict[str, Any]], kind: Kind) -> None:
    """Every field is documented by the vendor, and each documented field occurs; ids are set and unique."""
    assert set().union(*records) == FIELDS[kind]
    assert all(set(record) <= FIELDS[kind] for record in records)
    assert len({record["voiceId"] for record in records}) == len(records)
    assert all(record["voiceId"].isdigit() and len(record["voiceId"]) == 19 for record in records)


def test_times_are_in_order(records: list[dict[str, Any]]) -> None:
    """Records are sorted by submit time, within the range, in whole seconds and the vendor's offset."""
    times = [datetime.fromisoformat(record["submitTime"]) for record in records]

    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] < END
    assert all(record["submitTime"].endswith("+08:00") and len(record["submitTime"]) == 25 for record in records)
    assert max(Counter(times).values()) > 1


def test_costs_add_up(records: list[dict[str, Any]]) -> None:
    """The charged duration is whole billing steps, at least the call, and costs the rate plus the base cost."""
    for record in records:
        first, step = map(int, record["billPeriod"].split("+"))
        charged, length = record["chargedDuration"], record["callDuration"]
        if charged:
            assert length <= charged < length + max(first, step)
            assert (charged - first) % step == 0
        else:
            assert length == 0
        base = Decimal(record.get("baseCost") or 0)
        assert Decimal(record["cost"]) == Decimal(record["rate"]) * charged / 60 + base


def test_local_currency_only_outside_usd(records: list[dict[str, Any]]) -> None:
    """Four fields are set if the quotation is in euros, and empty, in different ways, otherwise."""
    euros = [record for record in records if record.get("currency") == "EUR"]
    others = [record for record in records if record.get("currency") != "EUR"]

    for record in euros:
        exchange = Decimal(record["quoteExchange"])
        assert abs(Decimal(record["settlePay"]) * exchange - Decimal(record["cost"])) <= Decimal("0.00001")
        assert abs(Decimal(record["settleRate"]) * exchange - Decimal(record["rate"])) <= Decimal("0.00001")
    assert {record.get("settlePay", ...) for record in others} == {"", None, ...}


def test_calls_are_plausible(records: list[dict[str, Any]], kind: Kind) -> None:
    """Some calls are answered, the others fail in every known way; most are short, a few long."""
    answered = [record for record in records if record.get("answerTime")]
    failed = [record for record in records if not record.get("answerTime")]
    lengths = sorted(record["callDuration"] for record in answered)

    assert 0.3 < len(answered) / len(records) < 0.6
    assert {record["terminationCode"] for record in answered} == {"200"}
    assert {record["terminationCode"] for record in failed} == {"486", "480", "487", "404", "503", "603"}
    assert all(record["callDuration"] == 0 and record["cost"] == "0" for record in failed)
    assert lengths[len(lengths) // 2] * 4 < lengths[-1]
    assert lengths[0] == 0
    assert all(record["callee"].isdigit() and 7 <= len(record["callee"]) <= 15 for record in records)
    if kind == "group":
        assert {record["feedbackValue"] for record in records} == {"-1", *"0123456789"}


def test_call_time_may_be_after_the_answer(records: list[dict[str, Any]]) -> None:
    """As in the vendor's example, some calls have a call time after their answer."""
    answered = [record for record in records if record.get("answerTime")]

    late = [record for record in answered if record["callTime"] > record["answerTime"]]
    assert 0 < len(late) < len(answered) / 10


def test_volume_varies_by_hour_and_weekday(records: list[dict[str, Any]]) -> None:
    """There are more calls by day than by night, and on weekdays than on Sundays."""
    times = [datetime.fromisoformat(record["submitTime"]) for record in records]
    hours = Counter(time.hour for time in times)
    days = Counter(time.weekday() for time in times)

    assert hours[10] > 5 * hours[3]
    assert days[1] > 2 * days[6]


def test_same_arguments_same_records(kind: Kind) -> None:
    """A seed produces the same records each time; another seed, others."""
    assert make(50, kind, seed=3) == make(50, kind, seed=3)
    assert make(50, kind, seed=3) != make(50, kind, seed=4)


def test_numbered_data_sets_share_no_id() -> None:
    """Data sets with different numbers have no id in common, even with the same seed."""
    first, second = make(500, first=1), make(500, first=501)

    assert not {record["voiceId"] for record in first} & {record["voiceId"] for record in second}


@given(count=st.integers(0, 60), seconds=st.integers(0, 10_000), seed=st.integers(0, 5))
def test_records_fit_into_any_range(count: int, seconds: int, seed: int) -> None:
    """The requested number of records is generated within any range, however short."""
    records = make(count, seed=seed, end=START + timedelta(seconds=seconds))

    assert len(records) == count
    limit = START + timedelta(seconds=max(seconds, 1))
    assert all(START <= datetime.fromisoformat(record["submitTime"]) < limit for record in records)


def test_impossible_data_sets_are_refused() -> None:
    """A negative count or a reversed range raises at once."""
    with pytest.raises(ValueError, match="-1"):
        generate(-1, start=START, end=END, seed=1)
    with pytest.raises(ValueError, match="ends after"):
        generate(1, start=END, end=START, seed=1)


def test_partial_records_are_completed(kind: Kind) -> None:
    """Missing fields are filled in around the submit time; an ellipsis removes a field, None stays."""
    given = {"voiceId": "1", "submitTime": "2026-10-01T00:00:00+08:00", "cost": ..., "code": None}

    record = complete(given, kind=kind, number=7, now=0)

    assert set(record) == FIELDS[kind] - {"cost"}
    assert record["voiceId"] == "1"
    assert record["code"] is None
    assert record["hangupTime"] == "2026-10-01T00:00:11+08:00"
    assert complete({}, kind=kind, number=7, now=0)["submitTime"] == "1970-01-01T08:00:00+08:00"
    assert complete({"submitTime": "soon"}, kind=kind, number=7, now=0)["submitTime"] == "soon"
    assert json.dumps(record)


@pytest.mark.parametrize("destination", DESTINATIONS, ids=lambda each: each.code)
def test_calls_are_charged_by_full_steps(destination: Any) -> None:
    """A duration of 0 costs nothing; otherwise full billing steps are charged."""
    first, step = destination.first_step, destination.step

    charged = [destination.charged(seconds) for seconds in (0, 1, first, first + 1, first + step)]

    assert charged == [0, first, first, first + step, first + step]
