"""From bytes to pages and records, or to the error that an answer is."""

import json
import logging
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import (
    APIError,
    AuthenticationError,
    Credentials,
    DecodeError,
    IPRestrictedError,
    ItnioError,
    Page,
    ParameterError,
    ProtocolError,
    RecordingURL,
    RecordNotFoundError,
    Retry,
    ServerError,
    SipRecord,
    TimeRangeError,
    TimestampExpiredError,
    UserLockedError,
    VoiceRecord,
    VoiceSession,
    Window,
)
from itnio_voice._wire.pages import PageRequest
from itnio_voice._wire.responses import read_page, read_record, read_recording_url

START = datetime(2022, 1, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(days=1))
CHINA = timezone(timedelta(hours=8))

EXAMPLE = b"""
{"status": "0", "reason": "success", "data": {"total": 5, "size": 20, "current": 1, "pages": 1, "searchCount": true,
"records": [{"voiceId": "2203031113381000002", "callee": "91856321412", "displayNum": "1008122211",
"code": "Afghanistan(Kandahar)", "submitTime": "2022-01-18T14:42:40+08:00", "callTime": "2022-01-18T14:45:42+08:00",
"ringingTime": "2022-01-18T14:42:47+08:00", "answerTime": "2022-01-18T14:42:50+08:00",
"hangupTime": "2022-01-18T14:42:55+08:00", "callDuration": 5, "chargedDuration": 5, "terminationCode": "200",
"terminationReason": "success", "cost": "2", "billPeriod": "20+20", "rate": "1.2", "baseCost": "1",
"voiceFileId": "12022022570cc2484c59d4f8b9745d34226285b1e.mp3", "feedbackValue": "1", "calledInfo": "calledInfo",
"settleRate": "1.2793", "quoteExchange": "0.938", "currency":"EUR", "settlePay":"1.2793"}]}}
"""


def read(body: bytes, current: int = 1, of: Any = VoiceRecord) -> Page[Any]:
    """Read a body as the answer to page `current` of twenty records."""
    return read_page(body, PageRequest(WINDOW, current, 20), of)


def answer(*records: Any, **data: Any) -> bytes:
    """Return the body of a page of records."""
    return json.dumps({"status": "0", "data": {"total": len(records), "records": list(records)} | data}).encode()


def one(**fields: Any) -> Any:
    """Return what a record of these wire fields is read as."""
    return read(answer({"voiceId": "1"} | fields)).records[0]


def test_the_vendors_example() -> None:
    """The vendor's example answer, field by field."""

    def at(minute: int, second: int) -> datetime:
        return datetime(2022, 1, 18, 14, minute, second, tzinfo=CHINA)

    record = VoiceRecord(
        voice_id="2203031113381000002",
        callee="91856321412",
        display_num="1008122211",
        code="Afghanistan(Kandahar)",
        submit_time=at(42, 40),
        call_time=at(45, 42),
        ringing_time=at(42, 47),
        answer_time=at(42, 50),
        hangup_time=at(42, 55),
        call_duration=5,
        charged_duration=5,
        termination_code="200",
        termination_reason="success",
        cost=Decimal(2),
        bill_period="20+20",
        rate=Decimal("1.2"),
        base_cost=Decimal(1),
        voice_file_id="12022022570cc2484c59d4f8b9745d34226285b1e.mp3",
        feedback_value="1",
        called_info="calledInfo",
        settle_rate=Decimal("1.2793"),
        quote_exchange=Decimal("0.938"),
        currency="EUR",
        settle_pay=Decimal("1.2793"),
    )

    assert Page((record,), 5, 20, 1, 1) == read(EXAMPLE)
    assert {} == read(EXAMPLE).records[0].extra
    assert all(value is not None for name, value in record.to_dict().items())
    assert json.loads(EXAMPLE)["data"]["records"][0].keys() == {
        "".join([first, *(word.capitalize() for word in rest)])
        for first, *rest in (name.split("_") for name in record.to_dict() if name != "extra")
    }


@pytest.mark.parametrize("missing", [{}, None, ""])
def test_missing_values_are_none(missing: Any) -> None:
    """A field that is left out, null or "" is None, whatever it holds."""
    for of in (VoiceRecord, SipRecord):
        wire = json.loads(EXAMPLE)["data"]["records"][0] | {
            "sipGroupName": "a",
            "phoneName": "b",
            "recordingFileId": "c",
        }
        row = {} if missing == {} else dict.fromkeys(wire, missing)
        (record,) = read(answer(row), of=of).records

        values = [value for name, value in record.to_dict().items() if name != "extra"]
        assert {None} == set(values)


@pytest.mark.parametrize(
    ("json_text", "expected"),
    [
        ("1.10", "1.10"),
        ('"1.10"', "1.10"),
        ("0.12345678901234567890123", "0.12345678901234567890123"),
        ("7", "7"),
        ('" 2.5 "', "2.5"),
        ("0.10", "0.10"),
        ("100000000000000000000.10", "100000000000000000000.10"),
        ("-0.0", "-0.0"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1e2", "1E+2"),
        ('"-0.5"', "-0.5"),
    ],
)
def test_amounts_are_exact(json_text: str, expected: str) -> None:
    """An amount is the Decimal that its text reads as, also from a JSON number."""
    body = b'{"status": 0, "data": {"total": "1", "records": [{"cost": %s}]}}' % json_text.encode()

    assert expected == str(read(body).records[0].cost)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_amounts_round_trip(amount: Decimal) -> None:
    """Whatever the amount, its text comes back."""
    assert str(amount) == one(cost=str(amount)).to_dict()["cost"]


MISFITS: dict[str, list[Any]] = {
    "cost": ["much", "NaN", "Infinity", "1_000", "１２", "1,5", True, [], {}, "0x10"],
    "callDuration": ["5.5", 5.5, "five", True, "1e30", []],
    "submitTime": ["2022-01-18T14:42:40", "yesterday", 1642488160, "2022-01-18", [], 0, False],
    "callee": [True, [], {}],
    "voiceId": [["1"]],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in MISFITS.items() for value in values])
def test_misfits_are_named(field: str, value: Any) -> None:
    """A value that does not fit is a DecodeError that names record, field and value."""
    with pytest.raises(DecodeError) as caught:
        one(**{field: value})
    error = caught.value

    assert (field, "1" if field != "voiceId" else None) == (error.field, error.voice_id)
    assert str(value) == str(error.value)
    assert field in str(error)
    assert "expected" in str(error)


def test_clear_meanings_are_read() -> None:
    """Digits are numbers and numbers are digits where the field says which; unknown fields are kept."""
    record = one(
        voiceId=2203031113381000002, terminationCode=200, callDuration="5", chargedDuration=6.0, x=[1.5], y=None
    )

    assert ("2203031113381000002", "200", 5, 6) == (
        record.voice_id,
        record.termination_code,
        record.call_duration,
        record.charged_duration,
    )
    assert {"x": [Decimal("1.5")], "y": None} == record.extra
    assert "  " == one(calledInfo="  ").called_info


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"total": "3"}, (0, 3, 20, 1, None)),
        ({"records": None, "total": 0}, (0, 0, 20, 1, None)),
        ({"total": 0, "pages": 0, "current": 0}, (0, 0, 20, 1, 0)),
        ({"records": []}, (0, None, 20, 1, None)),
        ({"records": [{}], "size": "10", "current": 1.0, "pages": ""}, (1, None, 10, 1, None)),
    ],
)
def test_pages_that_tell_little(data: Any, expected: tuple[Any, ...]) -> None:
    """What a page does not tell is None, or what was asked for."""
    page = read(json.dumps({"status": 0, "data": data}).encode())

    assert expected == (len(page.records), page.total, page.size, page.current, page.pages)


@pytest.mark.parametrize("field", ["total", "size", "current", "pages"])
@pytest.mark.parametrize("value", [{}, None, ""])
def test_numbers_that_a_page_leaves_out(field: str, value: Any) -> None:
    """A page's number may be missing, null or "": then it is None, or what was asked for; the others are kept."""
    told: dict[str, Any] = {"total": 41, "size": 7, "current": 3, "pages": 6}
    data = {name: number for name, number in told.items() if name != field} | ({} if value == {} else {field: value})
    page = read(json.dumps({"status": "0", "data": {"records": [{}]} | data}).encode(), current=3)
    asked = {"total": None, "size": 20, "current": 3, "pages": None}

    assert told | {field: asked[field]} == {name: getattr(page, name) for name in told}
    assert (VoiceRecord(),) == page.records


def test_the_order_of_records() -> None:
    """Records stay in the server's order, duplicates among them."""
    assert ["3", "1", "3", None] == [
        record.voice_id for record in read(answer({"voiceId": 3}, {"voiceId": "1"}, {"voiceId": "3"}, {})).records
    ]


def test_fields_of_the_envelope_that_are_not_known() -> None:
    """They are read over."""
    body = b'{"x": [1], "status": "0", "data": {"records": [], "searchCount": true, "orders": [], "y": 1e5}}'

    assert Page((), None, 20, 1, None) == read(body)


def test_a_byte_order_mark() -> None:
    """It is read over."""
    assert 1 == len(read(b"\xef\xbb\xbf" + EXAMPLE).records)


NO_JSON = [
    b"",
    b"<html>hello</html>",
    EXAMPLE[:300],
    b"[" * 100_000,
    b'"\xff"',
    b"{} {}",
    b'{"status": NaN}',
    b" ",
    b"\x00",
    b"{'status': '0'}",
    b"\xef\xbb\xbf",
    b"\xef\xbb\xbf" * 2 + EXAMPLE,
    EXAMPLE[:-3],
    EXAMPLE.decode().encode("utf-16"),
    b'{"status": "0", "data": ' + b'{"a": ' * 50_000,
    b'{"status": "0\xff", "data": {"total": 0}}',
    b'{"st\xffatus": "0", "status": "0", "data": {"total": 0}}',
    b'{"status": "0", "data": {"total": 0, "records": [{"x": "\xff"}]',
    b'{"status": "0", "data": {"total": 0, "records": [{"x": \xff}]}}',
    b'{"status": "0", "data": {"total": 0, "records": [{"x": \x00 1}]}}',
    b'{"status": "0", "x": NaN, "data": {"total": 0, "records": [{"x": "\xff"}]}}',
    b'{"status": "0", "data": {"t\xffotal": 0, "total": 0, "records": [{"x": "\xff"}]}}',
]
NOT_THE_VENDORS = [
    b"[]",
    b"5",
    b"{}",
    b'{"status": null}',
    b'{"status": true}',
    b'{"status": 0.0}',
    b'{"status": []}',
    b'"0"',
    b"null",
    b"true",
    b'[{"status": "0"}]',
    b'{"data": {"records": []}}',
    b'{"status": {"a": 0}}',
    b'{"message": "Not Found"}',
]
NO_PAGE = [
    b'{"status": "0"}',
    b'{"status": "0", "x": "\xff"}',
    b'{"status": 0, "data": null}',
    b'{"status": 0, "data": []}',
    b'{"status": 0, "data": {}}',
    b'{"status": 0, "data": ""}',
    b'{"status": 0, "data": 5}',
    b'{"status": 0, "data": "records"}',
    b'{"status": 0, "data": {"pages": 1, "current": 1}}',
]


@pytest.mark.parametrize("body", NO_JSON + NOT_THE_VENDORS + NO_PAGE)
def test_answers_that_are_none(body: bytes) -> None:
    """What is not the vendor's page is a ProtocolError; only what is no JSON may be worth another try."""
    with pytest.raises(ProtocolError) as caught:
        read(body)

    assert type(caught.value) is ProtocolError
    assert (body in NO_JSON) == caught.value.transient
    assert caught.value.__context__ is None
    assert repr(caught.value.excerpt) in str(caught.value)
    assert len(caught.value.excerpt) <= 120
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"records": 5}, "records"),
        ({"records": {}}, "records"),
        ({"records": [{}, None]}, "records[1]"),
        ({"records": ["x"]}, "records[0]"),
        ({"records": [], "total": "many"}, "total"),
        ({"records": [], "total": -1}, "total"),
        ({"records": [], "pages": 1.5}, "pages"),
        ({"records": [], "current": True}, "current"),
        ({"records": [], "size": [20]}, "size"),
        ({"records": "none", "total": 0}, "records"),
        ({"records": False}, "records"),
        ({"records": [[]]}, "records[0]"),
        ({"records": [5]}, "records[0]"),
    ],
)
def test_pages_that_are_malformed(data: Any, field: str) -> None:
    """The DecodeError says where."""
    with pytest.raises(DecodeError) as caught:
        read(json.dumps({"status": "0", "data": data}).encode())

    assert field == caught.value.field


@pytest.mark.parametrize(
    ("told", "empty"),
    [
        ({"current": 1, "pages": 4}, True),
        ({"current": 1, "pages": 5}, False),
        ({"current": 1, "pages": None, "total": 80, "size": 20}, True),
        ({"current": 1, "total": 80}, True),
        ({"current": 6, "total": 81}, False),
        ({"current": 4, "total": None}, False),
        ({"current": "1", "pages": "4"}, True),
        ({"current": 1, "pages": 0}, True),
        ({"current": 1, "total": 81, "size": 20}, False),
        ({"current": 1, "total": 80, "size": 0}, True),
        ({"current": 1, "total": 40, "size": 10}, True),
        ({"current": 1, "total": 41, "size": 10}, False),
        ({"current": 1, "total": 0}, True),
        ({"current": 0, "total": 0, "pages": 0}, True),
    ],
)
def test_another_page_than_asked_for(told: dict[str, Any], empty: bool) -> None:
    """It is empty if the answer tells fewer pages than asked, else it is not believed."""
    body = answer({"voiceId": "1"}, **told)
    if empty:
        assert ((), 5) == (read(body, current=5).records, read(body, current=5).current)
    else:
        with pytest.raises(
            ProtocolError, match=f"page 5 was requested, but the answer is page {told['current']}"
        ) as caught:
            read(body, current=5)
        assert caught.value.transient


@pytest.mark.parametrize(
    ("size", "allowed"),
    [(None, True), ("", True), (0, True), (1, True), (20, True), ("20", True), (21, False), (100, False)],
)
def test_a_page_larger_than_requested_is_a_transient_error(size: object, allowed: bool) -> None:
    """A smaller `size` is the server's limit and a missing one proves nothing; a larger one is another request's."""
    body = answer({"voiceId": "1"}, size=size)
    if allowed:
        assert 1 == len(read(body).records)
    else:
        with pytest.raises(
            ProtocolError, match=f"20 records per page were requested, but the answer has {size}"
        ) as caught:
            read(body)
        assert caught.value.transient


@pytest.mark.parametrize("told", [{"current": 5, "pages": 2}, {"pages": 2}, {"current": None, "pages": 2}])
def test_the_page_that_was_asked_for(told: dict[str, Any]) -> None:
    """A page that says it is the one, or says nothing, keeps its records, whatever number of pages it tells."""
    assert "1" == read(answer({"voiceId": "1"}, **told), current=5).records[0].voice_id


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("-1", AuthenticationError),
        ("-2", IPRestrictedError),
        ("-13", UserLockedError),
        (-16, TimestampExpiredError),
        ("-18", ServerError),
        ("-22", ParameterError),
        (-25, TimeRangeError),
        ("-99", APIError),
        (1, APIError),
        (-1, AuthenticationError),
        ("-18 ", APIError),
        ("success", APIError),
        (10**25, APIError),
        ("00", APIError),
        ("", APIError),
    ],
)
@pytest.mark.parametrize("reason", ["the vendor's words", None])
def test_refusals(status: Any, kind: type[APIError], reason: str | None) -> None:
    """Each status has its error, with status and reason as text; `-25` has the window."""
    with pytest.raises(APIError) as caught:
        read(json.dumps({"status": status, "reason": reason}).encode())
    error = caught.value

    assert (kind, str(status)) == (type(error), error.status)
    assert (reason or "no reason given") == error.reason
    assert error.reason in str(error)
    assert WINDOW == getattr(error, "window", WINDOW)
    assert (kind is TimeRangeError) is hasattr(error, "window")
    assert kind.advice in str(error)


@pytest.mark.parametrize("data", [None, 5, [], "x", {"records": []}])
def test_refusals_carry_no_data(data: Any) -> None:
    """A refusal is one whatever its data, also for a single record and a recording, which have no window to tell."""
    body = json.dumps({"status": -25, "reason": "r", "data": data}).encode()
    with pytest.raises(TimeRangeError) as of_page:
        read(body)
    with pytest.raises(TimeRangeError) as of_record:
        read_record(body, "1", VoiceRecord)
    with pytest.raises(TimeRangeError) as of_recording:
        read_recording_url(body, "1")

    assert [WINDOW, None, None] == [caught.value.window for caught in (of_page, of_record, of_recording)]


def test_a_reason_is_kept_whole_and_told_short() -> None:
    """A reason of up to 1,000 characters is shortened in the error's text only."""
    with pytest.raises(APIError) as caught:
        read(json.dumps({"status": "-22", "reason": "why " * 250}).encode())

    assert "why " * 250 == caught.value.reason
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body", [b'{"status": "%s"}' % (b"x" * 9000), b'{"status": "0", "data": {"voiceId": "%s"}}' % (b"x" * 9000)]
)
def test_messages_are_short(body: bytes) -> None:
    """Whatever the server says, an error's text stays readable."""
    with pytest.raises(ItnioError) as caught:
        read_record(body, "1", VoiceRecord)

    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "data", ['"records": [], "total": {}', '"records": [{{"cost": {}}}]', '"records": [{{"x": {}}}]']
)
def test_numbers_out_of_range(data: str) -> None:
    """A number that nothing can hold is the answer's fault like any other: one of our errors."""
    with pytest.raises(ProtocolError):
        read(('{"status": "0", "data": {' + data.format("1e9999999999999999999") + "}}").encode())


def test_an_excerpt_is_safe() -> None:
    """Words with many digits, such as a signature, are left out of it."""
    with pytest.raises(ProtocolError) as caught:
        read(b"<p>Sign 05d7a50893e22a5c4bb3216ae3396c7c \x00 is wrong</p>" + b"x" * 1000)

    assert caught.value.excerpt.startswith("<p>Sign … … is wrong</p>")
    assert 120 == len(caught.value.excerpt)


HEX = st.text("0123456789abcdef", min_size=32, max_size=64).filter(lambda text: sum(map(str.isdigit, text)) > 2)


@given(st.text(max_size=30), HEX, st.sampled_from(["", " ", '"', "=", ":", ">", "\n"]), st.text(max_size=30))
def test_an_excerpt_shows_no_digest(head: str, digest: str, mark: str, tail: str) -> None:
    """Wherever an answer echoes a signature, neither excerpt nor text shows it, in either case of letters."""
    for echo in (digest, digest.upper()):
        with pytest.raises(ProtocolError) as caught:
            read(f"<{head}{mark}{echo}{mark}{tail}".encode("utf-8", "replace"))

        assert echo[:16] not in str(caught.value)
        assert len(caught.value.excerpt) <= 120


@attrs.frozen(kw_only=True)
class Demanding(SipRecord):
    """A record of a user's own with a field that must be there."""

    campaign_id: int


@pytest.mark.parametrize("data", [None, {}, "", [], {"voiceId": "", "cost": None}])
def test_no_record(data: Any) -> None:
    """A success without a record is a RecordNotFoundError, for recordings too."""
    body = json.dumps({"status": "0", "data": data}).encode()
    with pytest.raises(RecordNotFoundError, match="no SipRecord with the voice_id '1'"):
        read_record(body, "1", SipRecord)
    with pytest.raises(RecordNotFoundError, match="no Demanding with the voice_id '1'"):
        read_record(body, "1", Demanding)
    if not data:
        with pytest.raises(RecordNotFoundError, match="no recording with the id 'a'"):
            read_recording_url(body, "a")


@pytest.mark.parametrize(
    ("told", "asked", "fits"), [("7", "7", True), (7, "7", True), (None, "7", True), ("", "7", True), ("8", "7", False)]
)
@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
def test_a_record(told: Any, asked: str, fits: bool, of: Any) -> None:
    """A record is the one that was asked for, or does not say which it is; another one is not believed."""
    body = json.dumps({"status": "0", "data": {"voiceId": told, "callee": "1", "n": 5}}).encode()
    if fits:
        assert of(voice_id=str(told) if told else None, callee="1", extra={"n": 5}) == read_record(body, asked, of)
    else:
        with pytest.raises(ProtocolError, match="record '7' was requested, but the answer is '8'") as caught:
            read_record(body, asked, of)
        assert caught.value.transient


def test_a_record_that_does_not_fit() -> None:
    """Its DecodeError names record, field and value; data of another kind is named as such."""
    with pytest.raises(DecodeError) as caught:
        read_record(b'{"status": "0", "data": {"voiceId": "7", "cost": "x"}}', "7", VoiceRecord)
    with pytest.raises(DecodeError) as other:
        read_record(b'{"status": "0", "data": [7]}', "7", VoiceRecord)

    assert ("7", "cost", "x") == (caught.value.voice_id, caught.value.field, caught.value.value)
    assert (None, "data", [7]) == (other.value.voice_id, other.value.field, other.value.value)


@pytest.mark.parametrize("data", [5, [1], "x"])
def test_single_answers_that_are_none(data: Any) -> None:
    """Data of another kind is not the vendor's."""
    body = json.dumps({"status": "0", "data": data}).encode()
    with pytest.raises(ProtocolError):
        read_record(body, "1", VoiceRecord)
    with pytest.raises(ProtocolError):
        read_recording_url(body, "1")


def test_a_recording() -> None:
    """`expireTime` is in Unix milliseconds."""
    body = b'{"status": "0", "data": {"url": "https://x", "expireTime": 1755679164264}}'
    expected = datetime(2025, 8, 20, 8, 39, 24, 264_000, tzinfo=UTC)

    assert RecordingURL("https://x", expected) == read_recording_url(body, "1")
    assert RecordingURL("https://x", None) == read_recording_url(b'{"status": 0, "data": {"url": "https://x"}}', "1")


@pytest.mark.parametrize("data", [{"url": None}, {"url": ""}, {"url": "x", "expireTime": 10**18}, {"url": 5}])
def test_recordings_that_are_malformed(data: Any) -> None:
    """A URL that is missing, or a time out of range, is a DecodeError."""
    with pytest.raises(DecodeError):
        read_recording_url(json.dumps({"status": "0", "data": data}).encode(), "1")


# Text that JSON does not allow, and what it is read as.
POISON = [
    (b"a\\ud83dz", "a\ufffdz"),
    (b"\\udc00\\ud800", "\ufffd\ufffd"),
    (b"\\ud800\\u0041", "\ufffdA"),
    (b"caf\xe9", "caf\ufffd"),
    (b"\xff", "\ufffd"),
    (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
    (b"a\nb\x00", "a\nb\x00"),
    (b"\ttab", "\ttab"),
    (b"\xff\x01\\ud800", "\ufffd\x01\ufffd"),
]


def poisoned(poison: bytes, **row: Any) -> bytes:
    """Return a page of three records, the second with text in the place of POISON."""
    return answer({"voiceId": "1", "x": "\n\ufffd"}, row, {"voiceId": "3", "cost": "0.10"}).replace(b"POISON", poison)


@pytest.mark.parametrize(("poison", "expected"), POISON)
@pytest.mark.parametrize("field", ["calledInfo", "terminationReason", "x"])
def test_damaged_text(field: str, poison: bytes, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    """A page is read in spite of damaged text in a record, and a warning names that record and no other."""
    records = read(poisoned(poison, voiceId="2", rate="0.20", **{field: "POISON"})).records

    assert ["1", "2", "3"] == [record.voice_id for record in records]
    assert ["\n\ufffd", Decimal("0.20"), Decimal("0.10")] == [records[0].extra["x"], records[1].rate, records[2].cost]
    assert expected in (records[1].called_info, records[1].termination_reason, records[1].extra.get("x"))
    assert json.dumps(records[1].to_dict(), ensure_ascii=False).encode()
    ((logger, level, message),) = caplog.record_tuples
    assert ("itnio_voice.records", logging.WARNING) == (logger, level)
    assert message.startswith(f"record 2: {field}: ")
    assert message.isprintable()
    (logged,) = caplog.records
    assert ("2", [field]) == (vars(logged)["itnio.voice_id"], vars(logged)["itnio.fields"])


@pytest.mark.parametrize(("poison", "expected"), POISON)
def test_damaged_text_of_a_single_record(poison: bytes, expected: str) -> None:
    """A single record is read in the same way."""
    body = b'{"status": "0", "data": {"voiceId": "7", "calledInfo": "%s"}}' % poison

    assert expected == read_record(body, "7", VoiceRecord).called_info


@pytest.mark.parametrize(("poison", "expected"), POISON)
def test_a_damaged_id(poison: bytes, expected: str) -> None:
    """A record whose id is damaged is a DecodeError with its place and the readable part; two ids never become one."""
    with pytest.raises(DecodeError) as caught:
        read(poisoned(poison, voiceId="12POISON", cost="0.1"))

    assert (None, "voiceId", f"12{expected}") == (caught.value.voice_id, caught.value.field, caught.value.value)
    assert str(caught.value).startswith(f"records[1]: voiceId is {f'12{expected}'!r}, but ")
    assert not caught.value.transient


@pytest.mark.parametrize("voice_id", [None, ""])
@pytest.mark.parametrize(("poison", "expected"), POISON)
def test_damaged_text_without_an_id(poison: bytes, expected: str, voice_id: Any) -> None:
    """A record that only its content identifies is a DecodeError with its place if its content is damaged."""
    with pytest.raises(DecodeError, match=r"^records\[1\]: callee is ") as caught:
        read(poisoned(poison, voiceId=voice_id, callee="POISON"))

    assert (None, "callee", expected) == (caught.value.voice_id, caught.value.field, caught.value.value)


@pytest.mark.parametrize(("poison", "expected"), POISON)
@pytest.mark.parametrize("row", [{"costPOISON": "0.1"}, {"x": [{"aPOISON": 1}]}, {"voiceidPOISON": "3"}])
def test_a_damaged_name(row: Any, poison: bytes, expected: str) -> None:
    """A damaged name is a DecodeError that names the record: a value under another name would be lost."""
    (name,) = row
    with pytest.raises(DecodeError, match=r"^record 2: .* a name without damage is expected") as caught:
        read(poisoned(poison, voiceId="2", **row))

    assert ("2", name.replace("POISON", expected)) == (caught.value.voice_id, caught.value.field)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("row", "field"),
    [({"cost": "0.1POISON5"}, "cost"), ({"submitTime": "2022-01-18T14:42:40+08:00POISON"}, "submitTime")],
)
def test_a_damaged_amount_or_time(row: Any, field: str) -> None:
    """What is no text is no amount and no time either: a DecodeError that names the record."""
    for poison in (b"\xff", b"\\ud800"):
        with pytest.raises(DecodeError, match=f"record 2: {field} is "):
            read(poisoned(poison, voiceId="2", **row))


@pytest.mark.parametrize("field", ["total", "size", "current", "pages"])
def test_a_damaged_number_of_a_page(field: str) -> None:
    """A page's number that is damaged is a DecodeError that names it."""
    with pytest.raises(DecodeError) as caught:
        read(answer({"voiceId": "1"}, **{field: "1POISON"}).replace(b"POISON", b"\xff"))

    assert field == caught.value.field


def test_a_refusal_in_another_encoding() -> None:
    """A reason that is not UTF-8 does not hide which refusal it is."""
    body = b'{"status": "-25", "reason": "%s \\ud800"}' % "时间".encode("gbk")
    with pytest.raises(TimeRangeError) as caught:
        read(body)

    assert str(caught.value).encode()
    assert caught.value.reason.encode()


@pytest.mark.parametrize("poison", [poison for poison, _ in POISON])
def test_a_damaged_recording(poison: bytes) -> None:
    """A URL with damaged text is nothing to open: the answer is no JSON."""
    with pytest.raises(ProtocolError) as caught:
        read_recording_url(b'{"status": "0", "data": {"url": "https://x/%s"}}' % poison, "1")

    assert caught.value.transient


@pytest.mark.parametrize("digits", ["9" * 5000, "-" + "9" * 5000, "1e9999999999999999999"])
@pytest.mark.parametrize("field", ["cost", "callee", "callDuration", "x"])
def test_a_number_that_nothing_can_hold(field: str, digits: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is a DecodeError that names record and field, and no damaged text."""
    with pytest.raises(DecodeError, match=f"record 2: {field} is ") as caught:
        read(poisoned(digits.encode(), voiceId="2", **{field: "HERE"}).replace(b'"HERE"', digits.encode()))

    assert ("2", field, digits) == (caught.value.voice_id, caught.value.field, repr(caught.value.value))
    assert [] == caplog.records


@pytest.mark.parametrize("place", ["calledInfo", "x"])
def test_damaged_text_deep_down(place: str) -> None:
    """Damaged text is read up to the depth that an unknown field may have; deeper it is one of our errors."""
    for depth in (*range(1, 40), *range(300, 1100, 50)):
        deep = b"[" * depth + b'"\xff"' + b"]" * depth
        body = answer({"voiceId": "2", place: "HERE"}).replace(b'"HERE"', deep)
        if place == "x" and depth <= 32:
            assert json.loads(deep.decode(errors="replace")) == read(body).records[0].extra["x"]
        else:
            with pytest.raises(ProtocolError):
                read(body)


@pytest.mark.anyio
async def test_damaged_text_is_requested_once() -> None:
    """A record with damaged text is read from the first answer; an answer that is cut off is requested again."""
    whole = b'{"status": "0", "data": {"voiceId": "7", "calledInfo": "caf\xe9"}}'
    bodies = [whole[:-2], whole, whole]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=bodies.pop(0)))
    async with httpx.AsyncClient(transport=transport) as client:
        credentials, retry = Credentials("key", "secret"), Retry(wait_initial=0, wait_max=0, jitter=0)
        async with VoiceSession(credentials, http_client=client, retry=retry) as session:
            assert "caf\ufffd" == (await session.record("7")).called_info
    assert [whole] == bodies


@given(
    st.lists(
        st.tuples(st.sampled_from(["voiceId", "callee", "cost", "x"]), st.binary(max_size=6), st.booleans()), max_size=4
    )
)
def test_damaged_pages(texts: list[tuple[str, bytes, bool]]) -> None:
    """Ids of a damaged page are as they were sent, each of them, or the page is one of our errors."""
    rows = [{"voiceId": f"id {number}"} for number in range(len(texts))]
    body = answer(
        *(row | {name: f"<{number}>"} for number, (row, (name, _, _)) in enumerate(zip(rows, texts, strict=True)))
    )
    for number, (_, poison, escape) in enumerate(texts):
        written = json.dumps(poison.decode("utf-8", "surrogateescape"))[1:-1].encode() if escape else poison
        body = body.replace(f"<{number}>".encode(), written)
    try:
        page = read(body)
    except ItnioError as error:
        assert str(error).isprintable()  # noqa: PT017
        return

    for row, (name, poison, _), record in zip(rows, texts, page.records, strict=True):
        assert (poison.decode() or None if name == "voiceId" else row["voiceId"]) == record.voice_id
        assert repr(record.to_dict()).encode()
        assert json.dumps(record.to_dict(), ensure_ascii=False).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "records", "total", "pages", "current", "cost", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps({"status": "0", "data": value}).encode()))
def test_only_our_errors_come_out(body: bytes) -> None:
    """Whatever an answer is, reading it gives a page or an ItnioError."""
    for current in (1, 2):
        try:
            assert isinstance(read(body, current), Page)
        except ItnioError as error:
            assert str(error)  # noqa: PT017
