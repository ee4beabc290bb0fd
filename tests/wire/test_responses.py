"""Reading of answers: pages, records and errors."""

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
    """Read a body as the answer to a request for page `current` of twenty records."""
    return read_page(body, PageRequest(WINDOW, current, 20), of)


def answer(*records: Any, **data: Any) -> bytes:
    """Return the body of a page of records."""
    return json.dumps({"status": "0", "data": {"total": len(records), "records": list(records)} | data}).encode()


def one(**fields: Any) -> Any:
    """Return the record with these wire fields."""
    return read(answer({"voiceId": "1"} | fields)).records[0]


def test_the_vendors_example_is_read() -> None:
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
    """A field that is missing, null or "" is None, for every type."""
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
    """An amount is the Decimal of its text, also from a JSON number."""
    body = b'{"status": 0, "data": {"total": "1", "records": [{"cost": %s}]}}' % json_text.encode()

    assert expected == str(read(body).records[0].cost)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_amounts_round_trip(amount: Decimal) -> None:
    """The text of any amount is reproduced."""
    assert str(amount) == one(cost=str(amount)).to_dict()["cost"]


MISFITS: dict[str, list[Any]] = {
    "cost": ["much", "NaN", "Infinity", "1_000", "１２", "1,5", True, [], {}, "0x10"],
    "callDuration": ["5.5", 5.5, "five", True, "1e30", []],
    "submitTime": ["2022-01-18T14:42:40", "yesterday", 1642488160, "2022-01-18", [], 0, False],
    "callee": [True, [], {}],
    "voiceId": [["1"]],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in MISFITS.items() for value in values])
def test_invalid_values_are_named(field: str, value: Any) -> None:
    """An invalid value raises a DecodeError with record, field and value."""
    with pytest.raises(DecodeError) as caught:
        one(**{field: value})
    error = caught.value

    assert (field, "1" if field != "voiceId" else None) == (error.field, error.voice_id)
    assert str(value) == str(error.value)
    assert field in str(error)
    assert "expected" in str(error)


def test_numbers_and_digits_are_converted() -> None:
    """Text of digits is read as a number and numbers as text, by the field's type; unknown fields are kept."""
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
def test_missing_numbers_of_a_page_have_defaults(data: Any, expected: tuple[Any, ...]) -> None:
    """A missing number of a page is None, or the requested one."""
    page = read(json.dumps({"status": 0, "data": data}).encode())

    assert expected == (len(page.records), page.total, page.size, page.current, page.pages)


@pytest.mark.parametrize("field", ["total", "size", "current", "pages"])
@pytest.mark.parametrize("value", [{}, None, ""])
def test_each_missing_number_of_a_page_has_its_default(field: str, value: Any) -> None:
    """A page's number that is missing, null or "" is None, or the requested one; the others are kept."""
    numbers: dict[str, Any] = {"total": 41, "size": 7, "current": 3, "pages": 6}
    data = {name: number for name, number in numbers.items() if name != field} | ({} if value == {} else {field: value})
    page = read(json.dumps({"status": "0", "data": {"records": [{}]} | data}).encode(), current=3)
    defaults = {"total": None, "size": 20, "current": 3, "pages": None}

    assert numbers | {field: defaults[field]} == {name: getattr(page, name) for name in numbers}
    assert (VoiceRecord(),) == page.records


def test_records_keep_the_servers_order() -> None:
    """Records stay in the server's order, including duplicates."""
    assert ["3", "1", "3", None] == [
        record.voice_id for record in read(answer({"voiceId": 3}, {"voiceId": "1"}, {"voiceId": "3"}, {})).records
    ]


def test_unknown_envelope_fields_are_ignored() -> None:
    """Unknown fields of the envelope are ignored."""
    body = b'{"x": [1], "status": "0", "data": {"records": [], "searchCount": true, "orders": [], "y": 1e5}}'

    assert Page((), None, 20, 1, None) == read(body)


def test_a_byte_order_mark_is_ignored() -> None:
    """A byte order mark is ignored."""
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
def test_invalid_answers_are_protocol_errors(body: bytes) -> None:
    """An answer that is not the vendor's page is a ProtocolError; only one that is not JSON is transient."""
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
def test_malformed_pages_name_the_field(data: Any, field: str) -> None:
    """The DecodeError names the field."""
    with pytest.raises(DecodeError) as caught:
        read(json.dumps({"status": "0", "data": data}).encode())

    assert field == caught.value.field


@pytest.mark.parametrize(
    ("data", "empty"),
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
def test_an_answer_for_another_page_is_rejected(data: dict[str, Any], empty: bool) -> None:
    """A page beyond the reported number of pages is empty; any other page number is rejected."""
    body = answer({"voiceId": "1"}, **data)
    if empty:
        assert ((), 5) == (read(body, current=5).records, read(body, current=5).current)
    else:
        with pytest.raises(
            ProtocolError, match=f"page 5 was requested, but the answer is page {data['current']}"
        ) as caught:
            read(body, current=5)
        assert caught.value.transient


@pytest.mark.parametrize(
    ("size", "allowed"),
    [(None, True), ("", True), (0, True), (1, True), (20, True), ("20", True), (21, False), (100, False)],
)
def test_a_page_larger_than_requested_is_a_transient_error(size: object, allowed: bool) -> None:
    """A smaller `size` is the server's limit and a missing one is accepted; a larger one belongs to another request."""
    body = answer({"voiceId": "1"}, size=size)
    if allowed:
        assert 1 == len(read(body).records)
    else:
        with pytest.raises(
            ProtocolError, match=f"20 records per page were requested, but the answer has {size}"
        ) as caught:
            read(body)
        assert caught.value.transient


@pytest.mark.parametrize("data", [{"current": 5, "pages": 2}, {"pages": 2}, {"current": None, "pages": 2}])
def test_an_answer_for_the_requested_page_keeps_its_records(data: dict[str, Any]) -> None:
    """A page with the requested number, or none, keeps its records, for any reported number of pages."""
    assert "1" == read(answer({"voiceId": "1"}, **data), current=5).records[0].voice_id


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
def test_each_status_has_its_error(status: Any, kind: type[APIError], reason: str | None) -> None:
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
def test_a_refusal_is_an_error_with_any_data(data: Any) -> None:
    """A refusal is an error with any data, also for single records and recordings, whose errors have no window."""
    body = json.dumps({"status": -25, "reason": "r", "data": data}).encode()
    with pytest.raises(TimeRangeError) as of_page:
        read(body)
    with pytest.raises(TimeRangeError) as of_record:
        read_record(body, "1", VoiceRecord)
    with pytest.raises(TimeRangeError) as of_recording:
        read_recording_url(body, "1")

    assert [WINDOW, None, None] == [caught.value.window for caught in (of_page, of_record, of_recording)]


def test_a_reason_is_shortened_only_in_the_text() -> None:
    """A reason of up to 1,000 characters is complete in the error, and shortened only in its text."""
    with pytest.raises(APIError) as caught:
        read(json.dumps({"status": "-22", "reason": "why " * 250}).encode())

    assert "why " * 250 == caught.value.reason
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body", [b'{"status": "%s"}' % (b"x" * 9000), b'{"status": "0", "data": {"voiceId": "%s"}}' % (b"x" * 9000)]
)
def test_messages_are_short(body: bytes) -> None:
    """An error's text is short, for any answer."""
    with pytest.raises(ItnioError) as caught:
        read_record(body, "1", VoiceRecord)

    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "data", ['"records": [], "total": {}', '"records": [{{"cost": {}}}]', '"records": [{{"x": {}}}]']
)
def test_numbers_out_of_range_are_errors(data: str) -> None:
    """A number that no type can hold raises one of our errors."""
    with pytest.raises(ProtocolError):
        read(('{"status": "0", "data": {' + data.format("1e9999999999999999999") + "}}").encode())


def test_an_excerpt_omits_signatures() -> None:
    """An excerpt omits words with many digits, such as a signature."""
    with pytest.raises(ProtocolError) as caught:
        read(b"<p>Sign 05d7a50893e22a5c4bb3216ae3396c7c \x00 is wrong</p>" + b"x" * 1000)

    assert caught.value.excerpt.startswith("<p>Sign … … is wrong</p>")
    assert 120 == len(caught.value.excerpt)


HEX = st.text("0123456789abcdef", min_size=32, max_size=64).filter(lambda text: sum(map(str.isdigit, text)) > 2)


@given(st.text(max_size=30), HEX, st.sampled_from(["", " ", '"', "=", ":", ">", "\n"]), st.text(max_size=30))
def test_an_excerpt_shows_no_digest(head: str, digest: str, mark: str, tail: str) -> None:
    """If an answer contains a signature, neither excerpt nor text shows it, in upper or lower case."""
    for echo in (digest, digest.upper()):
        with pytest.raises(ProtocolError) as caught:
            read(f"<{head}{mark}{echo}{mark}{tail}".encode("utf-8", "replace"))

        assert echo[:16] not in str(caught.value)
        assert len(caught.value.excerpt) <= 120


@attrs.frozen(kw_only=True)
class Demanding(SipRecord):
    """A user's record class with a required field."""

    campaign_id: int


@pytest.mark.parametrize("data", [None, {}, "", [], {"voiceId": "", "cost": None}])
def test_a_missing_record_is_not_found(data: Any) -> None:
    """A success without a record raises RecordNotFoundError, also for recordings."""
    body = json.dumps({"status": "0", "data": data}).encode()
    with pytest.raises(RecordNotFoundError, match="no SipRecord with the voice_id '1'"):
        read_record(body, "1", SipRecord)
    with pytest.raises(RecordNotFoundError, match="no Demanding with the voice_id '1'"):
        read_record(body, "1", Demanding)
    if not data:
        with pytest.raises(RecordNotFoundError, match="no recording with the id 'a'"):
            read_recording_url(body, "a")


@pytest.mark.parametrize(
    ("voice_id", "requested", "fits"),
    [("7", "7", True), (7, "7", True), (None, "7", True), ("", "7", True), ("8", "7", False)],
)
@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
def test_a_record_has_the_requested_id(voice_id: Any, requested: str, fits: bool, of: Any) -> None:
    """A record has the requested id, or none; a record with another id is rejected."""
    body = json.dumps({"status": "0", "data": {"voiceId": voice_id, "callee": "1", "n": 5}}).encode()
    if fits:
        assert of(voice_id=str(voice_id) if voice_id else None, callee="1", extra={"n": 5}) == read_record(
            body, requested, of
        )
    else:
        with pytest.raises(ProtocolError, match="record '7' was requested, but the answer is '8'") as caught:
            read_record(body, requested, of)
        assert caught.value.transient


def test_an_invalid_record_is_a_decode_error() -> None:
    """Its DecodeError has record, field and value; data of another type are reported as such."""
    with pytest.raises(DecodeError) as caught:
        read_record(b'{"status": "0", "data": {"voiceId": "7", "cost": "x"}}', "7", VoiceRecord)
    with pytest.raises(DecodeError) as other:
        read_record(b'{"status": "0", "data": [7]}', "7", VoiceRecord)

    assert ("7", "cost", "x") == (caught.value.voice_id, caught.value.field, caught.value.value)
    assert (None, "data", [7]) == (other.value.voice_id, other.value.field, other.value.value)


@pytest.mark.parametrize("data", [5, [1], "x"])
def test_single_answers_of_another_type_are_protocol_errors(data: Any) -> None:
    """Data of another type raise ProtocolError."""
    body = json.dumps({"status": "0", "data": data}).encode()
    with pytest.raises(ProtocolError):
        read_record(body, "1", VoiceRecord)
    with pytest.raises(ProtocolError):
        read_recording_url(body, "1")


def test_a_recordings_expiry_is_in_milliseconds() -> None:
    """`expireTime` is in Unix milliseconds."""
    body = b'{"status": "0", "data": {"url": "https://x", "expireTime": 1755679164264}}'
    expected = datetime(2025, 8, 20, 8, 39, 24, 264_000, tzinfo=UTC)

    assert RecordingURL("https://x", expected) == read_recording_url(body, "1")
    assert RecordingURL("https://x", None) == read_recording_url(b'{"status": 0, "data": {"url": "https://x"}}', "1")


@pytest.mark.parametrize("data", [{"url": None}, {"url": ""}, {"url": "x", "expireTime": 10**18}, {"url": 5}])
def test_malformed_recordings_are_decode_errors(data: Any) -> None:
    """A missing URL, or a time out of range, raises DecodeError."""
    with pytest.raises(DecodeError):
        read_recording_url(json.dumps({"status": "0", "data": data}).encode(), "1")


# Text that JSON does not allow, and how it is read.
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
    """Return a page of three records, the second with text in place of POISON."""
    return answer({"voiceId": "1", "x": "\n\ufffd"}, row, {"voiceId": "3", "cost": "0.10"}).replace(b"POISON", poison)


@pytest.mark.parametrize(("poison", "expected"), POISON)
@pytest.mark.parametrize("field", ["calledInfo", "terminationReason", "x"])
def test_damaged_text_is_read_with_a_warning(
    field: str, poison: bytes, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A page with damaged text in a record is read, and a warning names only that record."""
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
def test_damaged_text_of_a_single_record_is_read(poison: bytes, expected: str) -> None:
    """A single record with damaged text is read in the same way."""
    body = b'{"status": "0", "data": {"voiceId": "7", "calledInfo": "%s"}}' % poison

    assert expected == read_record(body, "7", VoiceRecord).called_info


@pytest.mark.parametrize(("poison", "expected"), POISON)
def test_a_damaged_id_is_an_error(poison: bytes, expected: str) -> None:
    """A record with a damaged id is a DecodeError with its place and the readable part; ids are never merged."""
    with pytest.raises(DecodeError) as caught:
        read(poisoned(poison, voiceId="12POISON", cost="0.1"))

    assert (None, "voiceId", f"12{expected}") == (caught.value.voice_id, caught.value.field, caught.value.value)
    assert str(caught.value).startswith(f"records[1]: voiceId is {f'12{expected}'!r}, but ")
    assert not caught.value.transient


@pytest.mark.parametrize("voice_id", [None, ""])
@pytest.mark.parametrize(("poison", "expected"), POISON)
def test_damaged_text_without_an_id_is_an_error(poison: bytes, expected: str, voice_id: Any) -> None:
    """A record without an id whose content is damaged raises a DecodeError with its place."""
    with pytest.raises(DecodeError, match=r"^records\[1\]: callee is ") as caught:
        read(poisoned(poison, voiceId=voice_id, callee="POISON"))

    assert (None, "callee", expected) == (caught.value.voice_id, caught.value.field, caught.value.value)


@pytest.mark.parametrize(("poison", "expected"), POISON)
@pytest.mark.parametrize("row", [{"costPOISON": "0.1"}, {"x": [{"aPOISON": 1}]}, {"voiceidPOISON": "3"}])
def test_a_damaged_field_name_is_an_error(row: Any, poison: bytes, expected: str) -> None:
    """A damaged field name raises a DecodeError with the record: its value would be lost under another name."""
    (name,) = row
    with pytest.raises(DecodeError, match=r"^record 2: .* a name without damage is expected") as caught:
        read(poisoned(poison, voiceId="2", **row))

    assert ("2", name.replace("POISON", expected)) == (caught.value.voice_id, caught.value.field)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("row", "field"),
    [({"cost": "0.1POISON5"}, "cost"), ({"submitTime": "2022-01-18T14:42:40+08:00POISON"}, "submitTime")],
)
def test_a_damaged_amount_or_time_is_an_error(row: Any, field: str) -> None:
    """Damaged text is not a valid amount or time: it raises a DecodeError with the record."""
    for poison in (b"\xff", b"\\ud800"):
        with pytest.raises(DecodeError, match=f"record 2: {field} is "):
            read(poisoned(poison, voiceId="2", **row))


@pytest.mark.parametrize("field", ["total", "size", "current", "pages"])
def test_a_damaged_number_of_a_page_is_an_error(field: str) -> None:
    """A damaged number of a page raises a DecodeError that names it."""
    with pytest.raises(DecodeError) as caught:
        read(answer({"voiceId": "1"}, **{field: "1POISON"}).replace(b"POISON", b"\xff"))

    assert field == caught.value.field


def test_a_refusal_in_another_encoding_keeps_its_status() -> None:
    """A reason that is not UTF-8 does not hide the status."""
    body = b'{"status": "-25", "reason": "%s \\ud800"}' % "时间".encode("gbk")
    with pytest.raises(TimeRangeError) as caught:
        read(body)

    assert str(caught.value).encode()
    assert caught.value.reason.encode()


@pytest.mark.parametrize("poison", [poison for poison, _ in POISON])
def test_a_damaged_recording_is_invalid_json(poison: bytes) -> None:
    """A URL with damaged text is not usable: the answer counts as invalid JSON."""
    with pytest.raises(ProtocolError) as caught:
        read_recording_url(b'{"status": "0", "data": {"url": "https://x/%s"}}' % poison, "1")

    assert caught.value.transient


@pytest.mark.parametrize("digits", ["9" * 5000, "-" + "9" * 5000, "1e9999999999999999999"])
@pytest.mark.parametrize("field", ["cost", "callee", "callDuration", "x"])
def test_a_number_that_no_type_can_hold_is_an_error(field: str, digits: str, caplog: pytest.LogCaptureFixture) -> None:
    """It raises a DecodeError with record and field, and no warning of damaged text."""
    with pytest.raises(DecodeError, match=f"record 2: {field} is ") as caught:
        read(poisoned(digits.encode(), voiceId="2", **{field: "HERE"}).replace(b'"HERE"', digits.encode()))

    assert ("2", field, digits) == (caught.value.voice_id, caught.value.field, repr(caught.value.value))
    assert [] == caplog.records


@pytest.mark.parametrize("place", ["calledInfo", "x"])
def test_damaged_text_is_read_up_to_the_depth_limit(place: str) -> None:
    """Damaged text is read up to the depth limit of unknown fields; deeper, one of our errors is raised."""
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
    """A record with damaged text is read from the first answer; a truncated answer is requested again."""
    complete = b'{"status": "0", "data": {"voiceId": "7", "calledInfo": "caf\xe9"}}'
    bodies = [complete[:-2], complete, complete]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=bodies.pop(0)))
    async with httpx.AsyncClient(transport=transport) as client:
        credentials, retry = Credentials("key", "secret"), Retry(wait_initial=0, wait_max=0, jitter=0)
        async with VoiceSession(credentials, http_client=client, retry=retry) as session:
            assert "caf\ufffd" == (await session.record("7")).called_info
    assert [complete] == bodies


@given(
    st.lists(
        st.tuples(st.sampled_from(["voiceId", "callee", "cost", "x"]), st.binary(max_size=6), st.booleans()), max_size=4
    )
)
def test_damaged_pages_keep_their_ids(texts: list[tuple[str, bytes, bool]]) -> None:
    """The ids of a damaged page are those that were sent, or one of our errors is raised."""
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
def test_reading_raises_only_our_errors(body: bytes) -> None:
    """Reading any answer returns a page or raises an ItnioError."""
    for current in (1, 2):
        try:
            assert isinstance(read(body, current), Page)
        except ItnioError as error:
            assert str(error)  # noqa: PT017
