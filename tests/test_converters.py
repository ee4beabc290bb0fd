"""JSON values as fields: what each type of field may hold, and what names the one that does not fit."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itnio_voice import DecodeError, SipRecord, VoiceRecord
from itnio_voice.converters import (
    LARGEST_EXPONENT,
    Oversized,
    amount,
    instant,
    integer,
    milliseconds,
    natural,
    plain_instants,
    required,
    structure_field,
    structure_record,
    text,
)
from itnio_voice.models import CallRecord

CHINA = timezone(timedelta(hours=8))
KINDS: list[type[CallRecord]] = [VoiceRecord, SipRecord]

# The vendor's names, attribute by attribute, with a value that each may have.
COMMON: dict[str, tuple[str, Any, Any]] = {
    "voice_id": ("voiceId", "1", "1"),
    "callee": ("callee", "91856321412", "91856321412"),
    "display_num": ("displayNum", "1008122211", "1008122211"),
    "code": ("code", "Afghanistan(Kandahar)", "Afghanistan(Kandahar)"),
    "submit_time": ("submitTime", "2022-01-18T14:42:40+08:00", datetime(2022, 1, 18, 14, 42, 40, tzinfo=CHINA)),
    "call_time": ("callTime", "2022-01-18T06:42:41Z", datetime(2022, 1, 18, 6, 42, 41, tzinfo=UTC)),
    "ringing_time": ("ringingTime", "2022-01-18T14:42:42.5+08:00", datetime(2022, 1, 18, 6, 42, 42, 500_000, UTC)),
    "answer_time": ("answerTime", "2022-01-18T14:42:43+08:00", datetime(2022, 1, 18, 14, 42, 43, tzinfo=CHINA)),
    "hangup_time": ("hangupTime", "2022-01-18T14:42:44+08:00", datetime(2022, 1, 18, 14, 42, 44, tzinfo=CHINA)),
    "call_duration": ("callDuration", 5, 5),
    "charged_duration": ("chargedDuration", "6", 6),
    "termination_code": ("terminationCode", "200", "200"),
    "termination_reason": ("terminationReason", "success", "success"),
    "cost": ("cost", "2", Decimal(2)),
    "bill_period": ("billPeriod", "20+20", "20+20"),
    "rate": ("rate", "1.2", Decimal("1.2")),
    "settle_rate": ("settleRate", "1.2793", Decimal("1.2793")),
    "quote_exchange": ("quoteExchange", Decimal("0.938"), Decimal("0.938")),
    "settle_pay": ("settlePay", 7, Decimal(7)),
    "currency": ("currency", "EUR", "EUR"),
}
OWN: dict[type[CallRecord], dict[str, tuple[str, Any, Any]]] = {
    VoiceRecord: {
        "base_cost": ("baseCost", "1", Decimal(1)),
        "voice_file_id": ("voiceFileId", "a.mp3", "a.mp3"),
        "feedback_value": ("feedbackValue", "1", "1"),
        "called_info": ("calledInfo", "calledInfo", "calledInfo"),
    },
    SipRecord: {
        "sip_group_name": ("sipGroupName", "sales", "sales"),
        "phone_name": ("phoneName", "desk", "desk"),
        "recording_file_id": ("recordingFileId", "r1", "r1"),
    },
}


@pytest.mark.parametrize("of", KINDS)
def test_every_field_by_its_wire_name(of: type[CallRecord]) -> None:
    """The vendor's names are Python's in another spelling; nothing that is known lands in `extra`."""
    table = COMMON | OWN[of]
    record = structure_record({wire: value for wire, value, _ in table.values()}, of)

    assert of is type(record)
    assert {name: expected for name, (_, _, expected) in table.items()} | {"extra": {}} == attrs.asdict(record)


FIELDS = [(of, name, wire) for of in KINDS for name, (wire, _, _) in (COMMON | OWN[of]).items()]


@pytest.mark.parametrize(("of", "name", "wire"), FIELDS)
def test_what_is_missing_is_none(of: type[CallRecord], name: str, wire: str) -> None:
    """A field that is left out, null or "" is None, whatever it holds, while the others keep their values."""
    full = {wire_name: value for wire_name, value, _ in (COMMON | OWN[of]).values()}
    changes: dict[str, Any] = {name: None}
    expected = attrs.evolve(structure_record(full, of), **changes)

    for row in (full | {wire: None}, full | {wire: ""}, {key: full[key] for key in full if key != wire}):
        assert expected == structure_record(row, of)


@pytest.mark.parametrize(("of", "name", "wire"), FIELDS)
@pytest.mark.parametrize("value", [True, [], {}, [None]], ids=repr)
def test_no_field_holds_these(of: type[CallRecord], name: str, wire: str, value: Any) -> None:
    """A boolean or a container fits no field, and the error names the record, the wire's field and the value."""
    with pytest.raises(DecodeError) as caught:
        structure_record({"voiceId": "77", wire: value}, of)
    error = caught.value

    assert (None if name == "voice_id" else "77", wire, value) == (error.voice_id, error.field, error.value)
    assert f"{wire} is {value!r}, but " in str(error)
    assert ("record 77: " in str(error)) is (name != "voice_id")
    assert error.__suppress_context__


def test_the_first_misfit_is_named() -> None:
    """Of several values that do not fit, the error names the first; a long value or id is shortened in its text."""
    with pytest.raises(DecodeError) as caught:
        structure_record({"rate": "x" * 1000, "baseCost": "y", "voiceId": "1" * 1000}, VoiceRecord)

    assert "rate" == caught.value.field
    assert "x" * 1000 == caught.value.value
    assert len(str(caught.value)) < 250


def test_a_misfit_in_a_record_with_a_number_for_its_id() -> None:
    """The error names the record by the id that the record would have had."""
    with pytest.raises(DecodeError) as caught:
        structure_record({"voiceId": 2203031113381000002, "cost": "x"}, VoiceRecord)

    assert "2203031113381000002" == caught.value.voice_id


def test_unknown_fields() -> None:
    """They are in `extra` under their wire names, as they came; another kind's fields are unknown, too."""
    row = {"voiceId": "1", "newField": None, "voice_id": "2", "phoneName": "a", "extra": {"b": [1]}}
    record = structure_record(row, VoiceRecord)

    assert {"newField": None, "voice_id": "2", "phoneName": "a", "extra": {"b": [1]}} == record.extra
    assert "1" == record.voice_id


REFUSED: Any = NotImplemented
"""What a hook is expected to refuse; its name is the same in every process."""
HUGE = "9" * 30


@pytest.mark.parametrize(
    ("value", "as_text", "as_amount", "as_integer"),
    [
        (None, None, None, None),
        ("", None, None, None),
        ("5", "5", "5", 5),
        (5, "5", "5", 5),
        (0, "0", "0", 0),
        (-1, "-1", "-1", -1),
        ("-1", "-1", "-1", -1),
        ("+1", "+1", "1", 1),
        (" 5 ", " 5 ", "5", 5),
        ("  ", "  ", REFUSED, REFUSED),
        ("0.10", "0.10", "0.10", REFUSED),
        (Decimal("1.10"), "1.10", "1.10", REFUSED),
        (Decimal("5.0"), "5.0", "5.0", 5),
        ("5.00", "5.00", "5.00", 5),
        ("1e2", "1e2", "1E+2", 100),
        ("1e-2", "1e-2", "0.01", REFUSED),
        (HUGE, HUGE, HUGE, REFUSED),
        ("1e18", "1e18", "1E+18", 10**18),
        ("1e19", "1e19", "1E+19", REFUSED),
        ("1e40", "1e40", "1E+40", REFUSED),
        ("1e41", "1e41", REFUSED, REFUSED),
        ("1e-40", "1e-40", "1E-40", REFUSED),
        ("1e-41", "1e-41", REFUSED, REFUSED),
        ("0e40", "0e40", "0E+40", REFUSED),
        ("0e-41", "0e-41", REFUSED, REFUSED),
        ("1e999999", "1e999999", REFUSED, REFUSED),
        ("0e-10000000", "0e-10000000", REFUSED, REFUSED),
        (Decimal("1E+100000000"), "1E+100000000", REFUSED, REFUSED),
        (Oversized("1e9999999999999999999"), REFUSED, REFUSED, REFUSED),
        ("1e9999999999999999999", "1e9999999999999999999", REFUSED, REFUSED),
        ("five", "five", REFUSED, REFUSED),
        ("NaN", "NaN", REFUSED, REFUSED),
        ("sNaN", "sNaN", REFUSED, REFUSED),
        ("Infinity", "Infinity", REFUSED, REFUSED),
        ("-inf", "-inf", REFUSED, REFUSED),
        ("1_000", "1_000", REFUSED, REFUSED),
        ("1,000", "1,000", REFUSED, REFUSED),
        ("0x10", "0x10", REFUSED, REFUSED),
        ("１２", "１２", REFUSED, REFUSED),
        ("5\N{NO-BREAK SPACE}", "5\N{NO-BREAK SPACE}", REFUSED, REFUSED),
        (True, REFUSED, REFUSED, REFUSED),
        (False, REFUSED, REFUSED, REFUSED),
        ([], REFUSED, REFUSED, REFUSED),
        ({}, REFUSED, REFUSED, REFUSED),
        (1.5, REFUSED, REFUSED, REFUSED),
    ],
    ids=repr,
)
def test_numbers_and_text(value: Any, as_text: Any, as_amount: Any, as_integer: Any) -> None:
    """Digits are numbers and numbers are digits where the field says which; what is neither is refused."""
    for hook, expected in ((text, as_text), (amount, as_amount), (integer, as_integer)):
        if expected is REFUSED:
            with pytest.raises(ValueError, match="is expected"):
                hook(value)
        else:
            result = hook(value)
            assert expected == (str(result) if isinstance(result, Decimal) else result)
            assert not isinstance(result, bool)


@given(
    st.decimals(-(10**40), 10**40, allow_nan=False).filter(lambda number: abs(number.adjusted()) <= LARGEST_EXPONENT)
)
def test_amounts_are_exact(number: Decimal) -> None:
    """An amount is the Decimal that its text reads as, digit for digit, and JSON-ready text gives it back."""
    record = structure_record({"cost": str(number), "rate": number}, VoiceRecord)
    plain = json.loads(json.dumps(record.to_dict()))

    assert (number.as_tuple(), str(number)) == (Decimal(plain["cost"]).as_tuple(), plain["cost"])
    assert plain["cost"] == plain["rate"]


@given(st.integers(-(10**18), 10**18))
def test_whole_numbers_are_exact(number: int) -> None:
    """A whole number is the same from its digits, from a number and from a number with a point."""
    assert [number] * 3 == [integer(number), integer(str(number)), integer(Decimal(f"{number}.0"))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        (0, 0),
        ("3", 3),
        (Decimal("3.0"), 3),
        (-1, REFUSED),
        ("-1", REFUSED),
        ("many", REFUSED),
        (True, REFUSED),
    ],
    ids=repr,
)
def test_numbers_of_things(value: Any, expected: Any) -> None:
    """They are whole and from 0."""
    if expected is REFUSED:
        with pytest.raises(ValueError, match="is expected"):
            natural(value)
    else:
        assert expected == natural(value)


@pytest.mark.parametrize(
    "value",
    [
        "2022-01-18T14:42:40",
        "2022-01-18 14:42:40",
        "2022-01-18",
        "2022-02-30T00:00:00+08:00",
        "2022-01-18T14:42:40+25:00",
        "1642488160",
        " ",
        "yesterday",
        1642488160,
        0,
        False,
        True,
        Decimal("1.5"),
        [],
        {},
    ],
    ids=repr,
)
def test_times_that_are_none(value: Any) -> None:
    """A time without an offset is refused, as is what is no time: which instant it names would be a guess."""
    with pytest.raises(DecodeError, match="a time with an offset") as caught:
        structure_record({"voiceId": "1", "hangupTime": value}, SipRecord)

    assert ("1", "hangupTime", value) == (caught.value.voice_id, caught.value.field, caught.value.value)


@given(
    st.datetimes(
        timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_times_keep_their_offset(moment: datetime) -> None:
    """A time comes back as the instant that it names, in the offset that it came with."""
    at = instant(moment.isoformat())

    assert at is not None
    assert (moment, moment.utcoffset()) == (at, at.utcoffset())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1755679164264, datetime(2025, 8, 20, 8, 39, 24, 264_000, UTC)),
        ("1755679164264", datetime(2025, 8, 20, 8, 39, 24, 264_000, UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
        (10**15, REFUSED),
        (10**18, REFUSED),
        (10**400, REFUSED),
        ("2025-08-20T08:39:24Z", REFUSED),
        (Decimal("1.5"), REFUSED),
        (True, REFUSED),
    ],
)
def test_milliseconds(value: Any, expected: Any) -> None:
    """Unix milliseconds are a time in UTC; what lies outside the calendar is refused."""
    if expected is REFUSED:
        with pytest.raises(ValueError, match="expected"):
            milliseconds(value)
    else:
        assert expected == milliseconds(value)


@pytest.mark.parametrize("leaf", ["1", "[]"])
def test_how_deep_an_unknown_field_may_be(leaf: str) -> None:
    """It is kept as it came up to 32 levels, which JSON text, copies and pickles can follow; deeper it is refused."""
    depth = 32 - leaf.count("[")
    kept, refused = ({"voiceId": "1", "x": json.loads("[" * n + leaf + "]" * n)} for n in (depth, depth + 1))

    assert {"x": kept["x"]} == structure_record(kept, SipRecord).extra
    with pytest.raises(
        DecodeError, match=r"record 1: x is \[\[\[\.\.\.\]\]\], but a value of at most 32 levels"
    ) as caught:
        structure_record(refused, SipRecord)
    assert ("1", "x", refused["x"]) == (caught.value.voice_id, caught.value.field, caught.value.value)


@pytest.mark.parametrize("value", [None, "", 5, True, [], {}])
def test_required_text(value: Any) -> None:
    """Text that must be there is refused where it is not, and the error names its field."""
    with pytest.raises(DecodeError) as caught:
        structure_field({"url": value}, "url", required)

    assert (None, "url", value) == (caught.value.voice_id, caught.value.field, caught.value.value)
    assert "x" == structure_field({"url": "x"}, "url", required)
    assert structure_field({}, "total", natural) is None


VALUES = st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=6) | st.lists(st.none())
WIRE_NAMES = sorted({wire for _, _, wire in FIELDS} | {"unknown"})


@given(st.dictionaries(st.sampled_from(WIRE_NAMES), VALUES), st.sampled_from(KINDS))
def test_a_record_or_an_error_that_is_true(row: dict[str, Any], of: type[CallRecord]) -> None:
    """Whatever a row holds, it is a record of its kind, or an error that names one of its fields and that value."""
    try:
        record = structure_record(row, of)
    except DecodeError as error:
        assert row[error.field] is error.value  # noqa: PT017
    else:
        assert json.dumps(record.to_dict())


PLAIN = "2022-01-18T14:42:40+08:00"


@pytest.mark.parametrize(
    ("texts", "plain"),
    [
        ([], True),
        ([PLAIN], True),
        ([PLAIN, "2022-01-18T14:42:40-03:30", "2022-01-18 14:42:40+00:59"], True),
        ([PLAIN, "2022-01-18T14:42:40+08:60"], False),
        (["2022-01-18T14:42:40+08:99", PLAIN], False),
        ([PLAIN, "2022-01-18T14:42:40Z"], False),
        (["2022-01-18T14:42.40+08:00"], False),
        (["2022-01-18T14:42:40 08:00"], False),
        (["2022-01-18T14:42:40+0:800"], False),
        ([PLAIN[:-1], PLAIN + "0"], False),
        ([PLAIN[:-1] + "\u0660", PLAIN + " "], False),
    ],
)
def test_plain_instants(texts: list[str], plain: bool) -> None:
    """Times as the vendor's page writes them are plain; one that is not makes all of them others."""
    assert plain is plain_instants(texts)


@settings(max_examples=2000)
@given(st.lists(st.tuples(st.integers(0, 24), st.sampled_from("0569:.,+-ZTW \u0660")), max_size=4))
def test_a_plain_instant_needs_no_hook(changes: list[tuple[int, str]]) -> None:
    """Whatever else stands in a plain time, `fromisoformat` reads it as the hook does, or not at all."""
    characters = list(PLAIN)
    for place, character in changes:
        characters[place] = character
    changed = "".join(characters)
    if not plain_instants([changed]):
        return
    try:
        at = datetime.fromisoformat(changed)
    except ValueError:
        return
    read = instant(changed)

    assert read is not None
    assert (at, at.utcoffset()) == (read, read.utcoffset())
