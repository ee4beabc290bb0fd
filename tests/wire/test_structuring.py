"""JSON values as fields: the valid values of each type, and errors that name the invalid ones."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Optional

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itnio_voice import DecodeError, SipRecord, VoiceRecord
from itnio_voice._model.records import CallRecord
from itnio_voice._wire import scalars
from itnio_voice._wire.fast_pages import read_rows
from itnio_voice._wire.scalars import (
    LARGEST_EXPONENT,
    Oversized,
    amount,
    integer,
    milliseconds,
    non_negative_int,
    required,
    text,
    timestamp,
    timestamps,
)
from itnio_voice._wire.structuring import converter, structure_field, structure_record

CHINA = timezone(timedelta(hours=8))
KINDS: list[type[CallRecord]] = [VoiceRecord, SipRecord]

# The vendor's names by attribute, each with a valid value.
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
def test_every_field_is_read_by_its_wire_name(of: type[CallRecord]) -> None:
    """The vendor's names are Python's in another spelling; no known field is in `extra`."""
    table = COMMON | OWN[of]
    record = structure_record({wire: value for wire, value, _ in table.values()}, of)

    assert of is type(record)
    assert {name: expected for name, (_, _, expected) in table.items()} | {"extra": {}} == attrs.asdict(record)


FIELDS = [(of, name, wire) for of in KINDS for name, (wire, _, _) in (COMMON | OWN[of]).items()]


@pytest.mark.parametrize(("of", "name", "wire"), FIELDS)
def test_missing_values_are_none(of: type[CallRecord], name: str, wire: str) -> None:
    """A field that is missing, null or "" is None, for every type, and the others keep their values."""
    full = {wire_name: value for wire_name, value, _ in (COMMON | OWN[of]).values()}
    changes: dict[str, Any] = {name: None}
    expected = attrs.evolve(structure_record(full, of), **changes)

    for row in (full | {wire: None}, full | {wire: ""}, {key: full[key] for key in full if key != wire}):
        assert expected == structure_record(row, of)


@pytest.mark.parametrize(("of", "name", "wire"), FIELDS)
@pytest.mark.parametrize("value", [True, [], {}, [None]], ids=repr)
def test_booleans_and_containers_are_refused(of: type[CallRecord], name: str, wire: str, value: Any) -> None:
    """A boolean or a container is invalid for every field; the error has record, wire name and value."""
    with pytest.raises(DecodeError) as caught:
        structure_record({"voiceId": "77", wire: value}, of)
    error = caught.value

    assert (None if name == "voice_id" else "77", wire, value) == (error.voice_id, error.field, error.value)
    assert f"{wire} is {value!r}, but " in str(error)
    assert ("record 77: " in str(error)) is (name != "voice_id")
    assert error.__suppress_context__


def test_the_first_invalid_value_is_named() -> None:
    """Of several invalid values, the error names the first; a long value or id is shortened in its text."""
    with pytest.raises(DecodeError) as caught:
        structure_record({"rate": "x" * 1000, "baseCost": "y", "voiceId": "1" * 1000}, VoiceRecord)

    assert "rate" == caught.value.field
    assert "x" * 1000 == caught.value.value
    assert len(str(caught.value)) < 250


def test_an_error_names_a_record_with_a_numeric_id() -> None:
    """The error has the id that the record would have had."""
    with pytest.raises(DecodeError) as caught:
        structure_record({"voiceId": 2203031113381000002, "cost": "x"}, VoiceRecord)

    assert "2203031113381000002" == caught.value.voice_id


def test_unknown_fields_are_kept_in_extra() -> None:
    """Unknown fields are in `extra` under their wire names, unchanged; so are fields of another kind."""
    row = {"voiceId": "1", "newField": None, "voice_id": "2", "phoneName": "a", "extra": {"b": [1]}}
    record = structure_record(row, VoiceRecord)

    assert {"newField": None, "voice_id": "2", "phoneName": "a", "extra": {"b": [1]}} == record.extra
    assert "1" == record.voice_id


REFUSED: Any = NotImplemented
"""Marks a value that a hook should refuse; its name is the same in every process."""
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
def test_numbers_and_text_are_converted(value: Any, as_text: Any, as_amount: Any, as_integer: Any) -> None:
    """Text of digits is read as a number and numbers as text, by the field's type; other values are refused."""
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
    """An amount is the Decimal of its text, digit for digit, and JSON-ready text reproduces it."""
    record = structure_record({"cost": str(number), "rate": number}, VoiceRecord)
    plain = json.loads(json.dumps(record.to_dict()))

    assert (number.as_tuple(), str(number)) == (Decimal(plain["cost"]).as_tuple(), plain["cost"])
    assert plain["cost"] == plain["rate"]


@given(st.integers(-(10**18), 10**18))
def test_whole_numbers_are_exact(number: int) -> None:
    """An integer is the same from text, from a number and from a number with a decimal point."""
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
def test_counts_are_integers_from_0(value: Any, expected: Any) -> None:
    """Counts are integers from 0."""
    if expected is REFUSED:
        with pytest.raises(ValueError, match="is expected"):
            non_negative_int(value)
    else:
        assert expected == non_negative_int(value)


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
def test_invalid_times_are_refused(value: Any) -> None:
    """A time without an offset is refused, like other invalid times: its instant would be a guess."""
    with pytest.raises(DecodeError, match="a time with an offset") as caught:
        structure_record({"voiceId": "1", "hangupTime": value}, SipRecord)

    assert ("1", "hangupTime", value) == (caught.value.voice_id, caught.value.field, caught.value.value)


@given(
    st.datetimes(
        timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_times_keep_their_offset(moment: datetime) -> None:
    """A time keeps its instant and its offset."""
    at = timestamp(moment.isoformat())

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
def test_milliseconds_are_read_as_utc(value: Any, expected: Any) -> None:
    """Unix milliseconds are a time in UTC; values outside the calendar are refused."""
    if expected is REFUSED:
        with pytest.raises(ValueError, match="expected"):
            milliseconds(value)
    else:
        assert expected == milliseconds(value)


@pytest.mark.parametrize("leaf", ["1", "[]"])
def test_the_depth_of_unknown_fields_is_limited(leaf: str) -> None:
    """Values up to 32 levels deep are kept, which JSON, copies and pickles support; deeper ones are refused."""
    depth = 32 - leaf.count("[")
    opaque_json, refused = ({"voiceId": "1", "x": json.loads("[" * n + leaf + "]" * n)} for n in (depth, depth + 1))

    assert {"x": opaque_json["x"]} == structure_record(opaque_json, SipRecord).extra
    with pytest.raises(
        DecodeError, match=r"record 1: x is \[\[\[\.\.\.\]\]\], but a value of at most 32 levels"
    ) as caught:
        structure_record(refused, SipRecord)
    assert ("1", "x", refused["x"]) == (caught.value.voice_id, caught.value.field, caught.value.value)


@pytest.mark.parametrize("value", [None, "", 5, True, [], {}])
def test_missing_required_text_is_refused(value: Any) -> None:
    """Required text that is missing is refused, and the error names its field."""
    with pytest.raises(DecodeError) as caught:
        structure_field({"url": value}, "url", required)

    assert (None, "url", value) == (caught.value.voice_id, caught.value.field, caught.value.value)
    assert "x" == structure_field({"url": "x"}, "url", required)
    assert structure_field({}, "total", non_negative_int) is None


VALUES = st.none() | st.booleans() | st.integers() | st.decimals() | st.text(max_size=6) | st.lists(st.none())
WIRE_NAMES = sorted({wire for _, _, wire in FIELDS} | {"unknown"})


@given(st.dictionaries(st.sampled_from(WIRE_NAMES), VALUES), st.sampled_from(KINDS))
def test_any_row_is_a_record_or_an_error_with_its_value(row: dict[str, Any], of: type[CallRecord]) -> None:
    """Any row is read as a record of its kind, or raises an error with one of its fields and that value."""
    try:
        record = structure_record(row, of)
    except DecodeError as error:
        assert row[error.field] is error.value  # noqa: PT017
    else:
        assert json.dumps(record.to_dict())


PLAIN = "2022-01-18T14:42:40+08:00"


def read_or_none(text: str, read: Callable[[str], datetime | None]) -> tuple[datetime, timedelta | None] | None:
    """Return the time of a text with its offset; None if it is refused."""
    try:
        at = read(text)
    except ValueError:
        return None
    assert at is not None
    return at, at.utcoffset()


@settings(max_examples=2000)
@given(
    st.sampled_from([PLAIN, "2022-01-18T14:42:40.123Z", "2022-01-18 23:59:59.1234567-0330"]),
    st.lists(st.tuples(st.integers(0, 24), st.sampled_from(["", *"0569:.,+-ZztTW \n\u0660", "5.", "00"])), max_size=4),
)
def test_a_column_of_times_is_read_as_each_of_them(text: str, changes: list[tuple[int, str]]) -> None:
    """With any characters changed, added or missing, a column has the same times as the hook, or both refuse it."""
    for place, characters in changes:
        text = text[:place] + characters + text[place + 1 :]
    expected = read_or_none(text, timestamp)

    assert expected == read_or_none(text, lambda each: timestamps([[each]], are_short=False)[0][0])
    if len(text) <= 27:
        assert expected == read_or_none(text, lambda each: timestamps([[each]], are_short=True)[0][0])


@settings(max_examples=2000)
@given(st.lists(st.tuples(st.integers(0, 24), st.sampled_from("0569:.,+-ZTW \u0660")), max_size=4))
def test_a_time_is_read_as_its_text_says(changes: list[tuple[int, str]]) -> None:
    """For any characters in a time, the hook agrees with `fromisoformat`, or one of them refuses the text."""
    characters = list(PLAIN)
    for place, character in changes:
        characters[place] = character
    text = "".join(characters)
    try:
        read, at = timestamp(text), datetime.fromisoformat(text)
    except ValueError:
        return

    assert read is not None
    assert (at, at.utcoffset()) == (read, read.utcoffset())


def record_class(of: Any, default: Any = None, **options: Any) -> Any:
    """Return a record class with a field `tag` of a type."""
    field = attrs.field(type=of, **({"kw_only": True} if default is REFUSED else {"default": default}), **options)
    return attrs.make_class("Own", {"tag": field}, bases=(VoiceRecord,), frozen=True)


def refused(row: dict[str, Any], of: type[CallRecord]) -> DecodeError:
    """Return the error that a row raises, which is the same in the fast reader."""
    assert read_rows(json.dumps({"status": "0", "data": {"records": [row]}}, default=str).encode(), of) is None
    with pytest.raises(DecodeError) as caught:
        structure_record(row, of)
    return caught.value


class Mood(Enum):
    """An enum of text."""

    GOOD = "good"


class Level(IntEnum):
    """An enum that extends `int`."""

    ONE = 1


@attrs.frozen
class Place:
    """A class inside a record."""

    city: str
    open: bool = False


@attrs.frozen
class Node:
    """A class that contains itself."""

    children: "list[Node]"


OF_TYPES: list[tuple[Any, Any, Any, list[tuple[Any, Any]], list[Any]]] = [
    # The type, its default, the result for a missing value, valid values with their results, and invalid values.
    (
        bool | None,
        None,
        None,
        [(True, True), (False, False), ("true", True), ("false", False)],
        ["False", 0, 1, "1", []],
    ),
    (Optional[bool], None, None, [(True, True), ("false", False)], ["no", 1]),  # noqa: UP045 -- as users write it
    (bool, REFUSED, REFUSED, [(True, True), (False, False), ("true", True), ("false", False)], ["False", 0, "x", {}]),
    (bool, True, True, [(False, False), ("false", False)], [0]),
    (int, REFUSED, REFUSED, [(5, 5), ("5", 5), (Decimal("5.0"), 5)], [Decimal("5.5"), True, "1e100000000", "x"]),
    (int, 3, 3, [(0, 0)], [[]]),
    (Decimal, REFUSED, REFUSED, [("0.10", Decimal("0.10")), (0, Decimal(0))], ["NaN", "1e41", False]),
    (float | None, None, None, [("0.5", 0.5), (Decimal("0.25"), 0.25)], ["nan", True, Decimal("1E400")]),
    (datetime, REFUSED, REFUSED, [("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC))], ["2026-01-01", 0]),
    (list[int], attrs.Factory(list), [], [([1, "2"], [1, 2]), ([], [])], ["12", {"1": 2}, [None], [True], 5]),
    (list[str] | None, None, None, [(["a", ""], ["a", ""])], ["ab", [[]], [None]]),
    (set[int] | None, None, None, [([1, 1], {1})], ["1", [[]]]),
    (tuple[int, ...], (), (), [([1, 2], (1, 2))], ["12", 5]),
    (tuple[int, str] | None, None, None, [([1, "a"], (1, "a"))], [[1], "1a", [1, "a", 2], 5]),
    (tuple[int], REFUSED, REFUSED, [([1], (1,))], [[], [1, 2], "1"]),
    (tuple | None, None, None, [([1, "a"], (1, "a"))], ["1a"]),
    (Sequence[int] | None, None, None, [([1, "2"], (1, 2))], ["12"]),
    (dict[str, Decimal] | None, None, None, [({"a": "1.5"}, {"a": Decimal("1.5")})], [[], "a", {"a": "1e100"}]),
    (Mood | None, None, None, [("good", Mood.GOOD)], ["bad", [], {}]),
    (Level | None, None, None, [(1, Level.ONE), ("1", Level.ONE)], [2, True, []]),
    (Place | None, None, None, [({"city": "Tunis", "open": "true"}, Place("Tunis", open=True))], [{}, 5, "x", [1]]),
    (list[Node] | None, None, None, [([{"children": [{"children": []}]}], [Node([Node([])])])], [[{}], [5]]),
    (bytes | None, None, None, [], [10**12, "a", [1]]),
]


@pytest.mark.parametrize(
    ("of", "default", "missing", "value", "expected"),
    [
        (of, default, missing, value, expected)
        for of, default, missing, reads, misfits in OF_TYPES
        for value, expected in [*reads, *((misfit, REFUSED) for misfit in misfits), (None, missing)]
    ],
    ids=repr,
)
def test_custom_fields_are_exact_or_refused(of: Any, default: Any, missing: Any, value: Any, expected: Any) -> None:
    """A field of a user's own type is read exactly or refused by name, in both readers."""
    kind = record_class(of, default)
    row = {"voiceId": "7", "tag": value}
    if expected is REFUSED:
        error = refused(row, kind)
        assert ("7", "tag", value) == (error.voice_id, error.field, error.value)
        assert str(error).startswith("record 7: tag is ")
        return
    read = structure_record(row, kind).tag

    assert expected == read
    assert type(expected) is type(read)
    if value is None:
        assert missing == structure_record({"voiceId": "7"}, kind).tag
    if missing is not REFUSED:
        assert missing == structure_record({"voiceId": "7", "tag": ""}, kind).tag
    body = json.dumps({"status": "0", "data": {"records": [row]}}, default=str).encode()
    quick = read_rows(body, kind)
    assert quick is not None
    assert expected == quick[1][0].tag


def test_required_text_may_be_empty() -> None:
    """Text without None may be empty; if it is missing, it is the default, or the record is refused."""
    assert ["", "5", "x"] == [structure_record({"tag": value}, record_class(str, "x")).tag for value in ("", 5, None)]
    assert "tag is None, but a value is expected" in str(refused({}, record_class(str, REFUSED)))


def test_a_private_attribute_has_the_name_of_its_argument() -> None:
    """A private attribute has the wire name of its argument."""

    @attrs.frozen
    class Own(VoiceRecord):
        _tag: int | None = None

    assert Own(tag=5) == structure_record({"tag": 5}, Own)


def fail_with(error: Exception) -> Callable[..., Any]:
    """Return a function that raises an error, for any arguments."""

    def fail(*_: Any) -> Any:
        raise error

    return fail


@attrs.frozen
class Refusing(VoiceRecord):
    """A record class that refuses all records in `__attrs_post_init__`."""

    def __attrs_post_init__(self) -> None:
        message = "no\x1b[0m"
        raise TypeError(message)


class Unmade(VoiceRecord):
    """A record class whose `__init__` has no arguments."""

    def __init__(self) -> None:
        pass


ERRORS = [
    TypeError("no\n"),
    ValueError("no"),
    KeyError("no"),
    ZeroDivisionError("no"),
    ExceptionGroup("no", [OSError()]),
]
ERRORS += [RecursionError("no"), attrs.exceptions.FrozenInstanceError(), RuntimeError()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize(
    "options",
    [
        lambda fail: {"validator": fail},
        lambda fail: {"validator": [attrs.validators.instance_of(str), fail]},
        lambda fail: {"converter": fail},
        lambda fail: {"converter": attrs.Converter(fail, takes_self=True, takes_field=True)},
    ],
    ids=["validator", "validators", "converter", "converter with the record"],
)
def test_errors_of_validators_and_converters_are_decode_errors(options: Any, error: Exception) -> None:
    """Any error of a validator or a converter becomes a DecodeError with record, field and value."""
    caught = refused({"voiceId": "7", "tag": "a"}, record_class(str | None, **options(fail_with(error))))

    assert ("7", "tag", "a") == (caught.voice_id, caught.field, caught.value)
    assert f"record 7: tag is 'a', but Own refuses it ({type(error).__name__}: " in str(caught)
    assert str(caught).isprintable()


@pytest.mark.parametrize("of", [Refusing, Unmade])
def test_a_record_refused_by_its_class_is_a_decode_error(of: type[CallRecord]) -> None:
    """If no single field is the cause, the DecodeError has the record and all of it."""
    caught = refused({"voiceId": "7"}, of)

    assert ("7", "", {"voiceId": "7"}) == (caught.voice_id, caught.field, caught.value)
    assert f"record 7 is refused by {of.__name__} (TypeError: " in str(caught)
    assert str(caught).isprintable()


@pytest.mark.parametrize("hook", [*map(fail_with, ERRORS), lambda *_: None, lambda *_: VoiceRecord()])
def test_a_failing_class_hook_is_a_decode_error(hook: Any) -> None:
    """A hook for a class that raises, or returns another type, causes a DecodeError with the record."""
    kind = record_class(str | None)
    converter.register_structure_hook(kind, hook)
    caught = refused({"voiceId": "7"}, kind)

    assert "7" == caught.voice_id
    assert "record 7 is refused by Own (" in str(caught)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_failing_type_hook_is_a_decode_error(error: Exception) -> None:
    """Any error of a hook for a type becomes a DecodeError with record, field and value."""
    kind = type("Kind", (), {})
    converter.register_structure_hook(kind, fail_with(error))
    caught = refused({"voiceId": "7", "tag": "a"}, record_class(kind | None))

    assert ("7", "tag", "a") == (caught.voice_id, caught.field, caught.value)


def test_server_text_in_errors_is_escaped() -> None:
    """Ids and names that are not printable are escaped."""
    error = refused({"voiceId": "7\x1b[31m\n", "x\x1b": [[]] * 3, "cost": "\x1b"}, VoiceRecord)
    other = refused({"voiceId": "7", "\x1b": Oversized("1e99")}, VoiceRecord)

    assert r"record 7\x1b[31m\n: cost is '\x1b', but " in str(error)
    assert str(other).startswith(r"record 7: \x1b is ")


def test_a_bounded_number_of_amounts_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has the value of its text; long texts and invalid ones are not kept."""
    monkeypatch.setattr(scalars, "_MOST_KNOWN", 10)
    known = scalars._KnownAmounts()

    for number in range(100):
        assert Decimal(f"{number}.50") == known[f"{number}.50"]
        assert len(known) <= 10
    assert known[""] is None
    assert known["0.50"] is known["0.50"]
    assert Decimal("0." + "1" * 60) == known["0." + "1" * 60]
    with pytest.raises(ValueError, match="an amount such as"):
        known["x"]
    assert not {"x", "0." + "1" * 60} & known.keys()
