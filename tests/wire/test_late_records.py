"""Records that are built when they are needed."""

import json
from datetime import datetime
from typing import Any

import attrs
import pytest

from itnio_voice import DecodeError, ItnioError, Page, VoiceRecord, Window
from itnio_voice._model.windows import SHORTEST
from itnio_voice._wire.late_records import LateRecords, column, picked
from itnio_voice._wire.pages import PageRequest, rows_of, with_records, without_rows
from itnio_voice._wire.responses import read_page

from ..model.test_windows import START

REQUEST = PageRequest(Window(START, START + SHORTEST), 1, 100)
TIMES = [f"2026-01-01T08:00:{second:02}+08:00" for second in range(60)]
SUBMITTED = list(map(datetime.fromisoformat, TIMES))


def rows(count: int = 5, **values: Any) -> list[dict[str, Any]]:
    """Return rows with an id, a time and a callee."""
    return [{"voiceId": str(at), "submitTime": TIMES[at], "callee": f"c{at}"} | values for at in range(count)]


def read(given: list[dict[str, Any]], *, late: bool = True, secret: str = "") -> Page[VoiceRecord]:
    """Read an answer, with records that are built late if that is possible."""

    def redact(error: ItnioError) -> None:
        error.args = tuple(str(each).replace(secret, "***") for each in error.args)

    body = json.dumps({"status": "0", "data": {"total": len(given), "records": given}}).encode()
    return read_page(body, REQUEST, VoiceRecord, redact=redact if late else None)


def test_late_records_are_the_same() -> None:
    """As a whole, in parts, and one by one."""
    records = read(rows(cost="0.10", other=[1]), late=False).records
    page = read(rows(cost="0.10", other=[1]))
    assert page.late is not None
    assert () == page.records
    assert records == tuple(rows_of(page))
    assert records[1:3] == tuple(rows_of(page)[1:3])
    assert records[-1] == rows_of(page)[-1]
    assert [records[4], records[0]] == list(picked(rows_of(page), [4, 0]))
    assert records[2:] == tuple(rows_of(without_rows(page, 2)))
    assert records == with_records(page, rows_of(page)).records


def test_columns_are_known_without_building() -> None:
    """The ids, callees and submit times are; other columns are read from the records."""
    records = rows_of(read(rows(3, callee="", cost="0.5")))

    assert ["0", "1", "2"] == column(records, "voice_id")
    assert [None] * 3 == column(records, "callee")
    assert SUBMITTED[:3] == column(records, "submit_time")
    assert SUBMITTED[1:3] == column(records[1:], "submit_time")
    assert ["0.5"] * 3 == [str(cost) for cost in column(records, "cost")]


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00Z", "2026-01-01T08:00:00.5+08:00", None])
def test_unusual_times_are_known_without_building(text: str | None) -> None:
    """A missing time too, and one with a fraction of a second."""
    records = rows_of(read(rows(2, submitTime=text)))

    assert isinstance(records, LateRecords)
    assert [text and datetime.fromisoformat(text)] * 2 == column(records, "submit_time")


@pytest.mark.parametrize("values", [{"voiceId": 5}, {"callee": 5}])
def test_unusual_values_are_built_at_once(values: dict[str, Any]) -> None:
    """Their columns would not be equal to those of the records."""
    page = read(rows(2, **values))

    assert page.late is None
    assert 2 == len(page.records)
    assert page.records == rows_of(page)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cost": "secret"}, "record 0: cost is '***', but an amount such as 0.15 is expected"),
        ({"callTime": "2026-02-31T00:00:00+08:00"}, "record 0: callTime is .*, but a time"),
        ({"callDuration": 1.5}, "record 0: callDuration is .*, but a whole number"),
        ({"code": []}, r"record 0: code is \[\], but text"),
    ],
)
def test_an_invalid_value_is_the_same_error_later(values: dict[str, Any], message: str) -> None:
    """It names record, field and value, holds no secret, and no frame with the answer."""
    page = read(rows(2, **values), secret="secret")
    assert isinstance(page.late, LateRecords)

    with pytest.raises(DecodeError, match=message.replace("*", r"\*").replace(r".\*", ".*")) as caught:
        list(rows_of(page))
    assert "0" == caught.value.voice_id
    assert caught.value.__cause__ is caught.value.__context__ is None
    frames = caught.traceback
    assert not any("rows" in frame.frame.f_locals for frame in frames[1:])
    assert "secret" not in repr(page)


@attrs.frozen
class NumberedRecord(VoiceRecord):
    """A record class with ids of another type."""

    voice_id: int | None = None  # type: ignore[assignment]


def test_columns_of_another_type_are_built_at_once() -> None:
    """What a walk compares must be the values of the records."""
    body = json.dumps({"status": "0", "data": {"total": 5, "records": rows()}}).encode()
    page = read_page(body, REQUEST, NumberedRecord, redact=lambda _: None)

    assert page.late is None
    assert [0, 1, 2, 3, 4] == [record.voice_id for record in page.records]
