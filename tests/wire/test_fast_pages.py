"""Fast reading of pages: it returns the same records as the slow reader, or nothing."""

import gc
import inspect
import json
import pickle
import re
import weakref
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import DecodeError, SipRecord, VoiceRecord, Window
from itnio_voice._model.records import CallRecord
from itnio_voice._wire.fast_pages import learn_extra_fields, read_rows
from itnio_voice._wire.pages import PageRequest
from itnio_voice._wire.responses import read_page
from itnio_voice._wire.scalars import brief
from itnio_voice._wire.structuring import ClassMemo, class_memo, converter, structure_hook, structure_record
from itnio_voice.outputs.arrow import record_batch
from itnio_voice.sandbox._data.dataset import generate

KINDS: list[type[CallRecord]] = [VoiceRecord, SipRecord]
REQUEST = PageRequest(Window(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 2, tzinfo=UTC)), 1, 100)


def page(*rows: Any) -> bytes:
    """Return an answer with these rows."""
    return json.dumps({"status": "0", "data": {"total": len(rows), "records": rows}}).encode()


def slow_read(body: bytes, of: type[CallRecord]) -> tuple[CallRecord, ...] | None:
    """Return a page's records as `converters` reads them, or None if one of them is invalid."""
    rows = msgspec.json.Decoder(float_hook=Decimal).decode(body)["data"]["records"]
    try:
        return tuple(structure_record(row, of) for row in rows)
    except DecodeError:
        return None


NAMES = [
    "voiceId",
    "callee",
    "submitTime",
    "answerTime",
    "callDuration",
    "cost",
    "rate",
    "calledInfo",
    "phoneName",
    "x",
]
EDGE_VALUES: list[Any] = [
    None,
    "",
    0,
    "0",
    "0.10",
    "1_0",
    "٣",
    "NaN",
    "2026-09-01T08:00:00+08:00",
    "2026-09-01T08:00:00+08:99",
]
EDGE_VALUES += [sign * 10**digits for sign in (1, -1) for digits in (17, 18, 19, 30)]
EDGE_VALUES += [1e3, 0.1, True, False, [], {}, [1], " 1", "x"]
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(EDGE_VALUES),
    st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()),
    st.decimals(allow_nan=True).map(str),
    st.integers(),
    st.text(),
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES), max_size=3)


def assert_both_agree(rows: list[dict[str, Any]], of: type[CallRecord]) -> None:
    """Compare the fast reader's records with those of `converters`, including offsets and digits."""
    body = page(*rows)
    read = read_rows(body, of)
    records = slow_read(body, of)

    assert records is None or read is None or repr(records) == repr(read[1])
    assert (records is None) <= (read is None)


@pytest.mark.parametrize("value", EDGE_VALUES, ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_both_readers_agree(name: str, value: Any) -> None:
    """Both readers return the same for a valid value, and neither returns anything for an invalid one."""
    learn_extra_fields([{"x": 1}], VoiceRecord)

    assert_both_agree([{name: value}], VoiceRecord)


EXPONENTS = [
    *(
        f"{digit}{mark}{power}"
        for digit in ("1", "0", "-1", "9.99", "12")
        for mark in "eE"
        for power in (40, 41, -40, -41)
    ),
    *("-0", "-0.0", "0e-10000000", "1e-10000000", "1e10000000", "1e100000000", "-1e100000000", "1e-57", "1e18", "1e19"),
    *("1e9999999999999999999", "1e-9999999999999999999", "1" + "0" * 40, "1" + "0" * 41, "9" * 4300, "9" * 5000),
    *(
        "0." + "0" * 39 + "1",
        "0." + "0" * 40 + "1",
        "1." + "0" * 100,
        "0.1000000000000000055511151231257827021181583404541",
    ),
]


@pytest.mark.parametrize("quoted", [False, True], ids=["a number", "text"])
@pytest.mark.parametrize("digits", EXPONENTS, ids=lambda digits: digits[:30])
@pytest.mark.parametrize("name", ["voiceId", "callee", "submitTime", "callDuration", "cost", "x"])
def test_both_readers_agree_on_exponents(name: str, digits: str, quoted: bool) -> None:
    """For a number with any exponent, both readers return the same value, or raise a DecodeError that names it.

    The returned value is short as text, in `to_dict()` and as Arrow, or is refused there by name as well.
    """
    learn_extra_fields([{"x": 1}], VoiceRecord)
    body = page({name: "HERE", "currency": "EUR"}).replace(
        b'"HERE"', f'"{digits}"'.encode() if quoted else digits.encode()
    )
    read = read_rows(body, VoiceRecord)
    try:
        page_read = read_page(body, REQUEST, VoiceRecord)
    except DecodeError as error:
        assert read is None
        assert name == error.field  # noqa: PT017
        assert f"{name} is {brief(error.value)}, but " in str(error)  # noqa: PT017
        return

    assert read is not None
    assert repr(page_read.records) == repr(read[1])
    (record,) = read[1]
    assert len(repr(record)) < 6000
    assert json.loads(json.dumps(record.to_dict()))["currency"] == "EUR"
    try:
        (row,) = record_batch([record]).to_pylist()
    except DecodeError as error:
        assert "cost" == name == error.field  # noqa: PT017
    else:
        assert row["cost"] == record.cost


@pytest.mark.parametrize("digits", ["1e100000000", "1e-100000000", "0e-10000000", "1e9999999999999999999", "9" * 5000])
@pytest.mark.parametrize("name", ["total", "size", "current", "pages"])
def test_exponents_of_a_pages_numbers_are_refused(name: str, digits: str) -> None:
    """A page's number with such an exponent raises a DecodeError that names it."""
    for number in (digits, f'"{digits}"'):
        body = f'{{"status": "0", "data": {{"records": [], "total": 0, "{name}": {number}}}}}'.encode()
        with pytest.raises(DecodeError) as caught:
            read_page(body, REQUEST, VoiceRecord)
        assert name == caught.value.field


@given(ROWS, st.sampled_from(KINDS))
def test_both_readers_agree_on_any_page(rows: list[dict[str, Any]], of: type[CallRecord]) -> None:
    """Both readers agree on any rows."""
    learn_extra_fields([{"x": 1}], of)

    assert_both_agree(rows, of)


@pytest.mark.parametrize("of", KINDS)
def test_documented_pages_are_read_fast(of: type[CallRecord]) -> None:
    """The documented fields are read fast, also with values missing, null, "" and as numbers."""
    rows: list[Mapping[str, Any]] = list(
        generate(
            500,
            start=datetime(2026, 9, 1, tzinfo=UTC),
            end=datetime(2026, 9, 20, tzinfo=UTC),
            seed=1,
            kind="sip" if of is SipRecord else "group",
        )
    )
    body = page(*rows, {}, {"voiceId": 7, "cost": 0.10, "callDuration": "9"})
    read = read_rows(body, of)

    assert read is not None
    assert {"total", "size", "current", "pages"} == read[0].keys()
    assert 502 == read[0]["total"]
    assert slow_read(body, of) == read[1]
    assert {of} == set(map(type, read[1]))
    assert Decimal("0.10") == read[1][-1].cost
    assert "0.1" == str(read[1][-1].cost)


TIMES = ["2026-09-01T08:00:00.125+08:00", "2026-09-01T00:00:00Z", "2026-09-01 08:00:00+08:00", "20260901T080000+0800"]


@pytest.mark.parametrize("time", TIMES)
def test_times_in_other_notations_are_read_fast(time: str) -> None:
    """A time in another notation is read fast too, with the same result."""
    body = page({"submitTime": time, "callTime": "2026-09-01T08:00:00+08:00"}, {"submitTime": ""}, {})
    read = read_rows(body, VoiceRecord)

    assert read is not None
    assert slow_read(body, VoiceRecord) == read[1]


def test_records_of_fast_pages_are_frozen() -> None:
    """A record that was read fast is like any other: frozen, hashable, and of the requested class."""
    read = read_rows(page({"voiceId": "1"}), VoiceRecord)

    assert read is not None
    (record,) = read[1]
    assert VoiceRecord(voice_id="1") == record
    assert hash(VoiceRecord(voice_id="1")) == hash(record)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.voice_id = "2"  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del record.voice_id


@attrs.frozen
class Learning(VoiceRecord):
    """A record class of this test only, whose learned names are not shared."""


def test_other_names_are_learned() -> None:
    """An unknown name needs the slow reader once; from then on it is read fast, into `extra`."""
    body = page({"voiceId": "1", "orders": [], "a": {"b": ""}}, {"voiceId": "2"})

    assert read_rows(body, Learning) is None
    learn_extra_fields([{"orders": 1, "voiceId": 1}, {"a": 1}], Learning)
    read = read_rows(body, Learning)
    assert read is not None
    assert [{"a": {"b": ""}, "orders": []}, {}] == [record.extra for record in read[1]]
    assert slow_read(body, Learning) == read[1]


def test_reading_a_page_learns_its_names() -> None:
    """The first page with an unknown name is read slowly, the next one fast."""

    @attrs.frozen
    class Learned(VoiceRecord):
        pass

    body = page({"voiceId": "1", "remark": "r"})

    assert read_rows(body, Learned) is None
    first = read_page(body, REQUEST, Learned).records
    read = read_rows(body, Learned)
    assert read is not None
    assert first == read[1] == (Learned(voice_id="1", extra={"remark": "r"}),)


def test_a_number_for_a_text_is_read_fast_from_then_on() -> None:
    """After the first page with one, the reader for text only is not tried again."""

    @attrs.frozen
    class Numbers(VoiceRecord):
        pass

    body = page({"voiceId": "1", "callee": 15551234567, "cost": 0.15})

    for _ in range(2):
        read = read_rows(body, Numbers)
        assert read is not None
        assert slow_read(body, Numbers) == read[1] == (Numbers("1", callee="15551234567", cost=Decimal("0.15")),)
        (reader,) = class_memo(Numbers).reader
        assert not reader.is_strict


@pytest.mark.parametrize(
    ("seconds", "microsecond"),
    [("40", 0), ("40.5", 500_000), ("40.123456", 123_456), ("40.1234567", 123_456), ("40.9999999", 999_999)],
)
@pytest.mark.parametrize("offset", ["Z", "z", "+08:00", "-0330"])
@pytest.mark.parametrize("separator", "Tt ")
def test_fractions_of_a_second_are_not_rounded(separator: str, seconds: str, microsecond: int, offset: str) -> None:
    """A time is never moved into the next second: more than six digits are cut, on every path."""

    @attrs.frozen
    class Call(VoiceRecord):
        pass

    text = f"2022-01-18{separator}14:42:{seconds}{offset}"
    body = page({"voiceId": "1", "submitTime": text, "answerTime": ""})
    read = read_rows(body, Call, redact=lambda _: None)

    assert read is not None
    (record,) = read[1]
    assert record.submit_time is not None
    assert (40, microsecond) == (record.submit_time.second, record.submit_time.microsecond)
    assert slow_read(body, Call) == (record,)
    assert record.answer_time is None
    assert class_memo(Call).reader[0].is_strict is (len(text) < 28)


def test_the_learned_names_are_bounded() -> None:
    """Names that change from row to row do not fill the memory, and names that cannot be learned do no harm."""

    @attrs.frozen
    class Careful(VoiceRecord):
        pass

    learn_extra_fields([{f"name {number}": 1} for number in range(1000)], Careful)
    assert read_rows(page({"name 1": 1}), Careful) is None
    learn_extra_fields([{'a "name"': 1}], Careful)
    assert read_rows(page({'a "name"': 1}), Careful) is None
    assert read_rows(page({}), Careful) is not None


@attrs.frozen
class Label:
    """A user's own type."""

    text: str


@attrs.frozen
class Labelled(VoiceRecord):
    """A record with a field of a user's own type."""

    label: Label | None = None


def test_a_users_hook_is_called() -> None:
    """A user's hook for a type is called by the fast reader too, with any value."""
    converter.register_structure_hook(Label | None, lambda value, _: Label(repr(value)))
    read = read_rows(page({"label": [1]}, {}), Labelled)

    assert read is not None
    assert [Label("[1]"), Label("None")] == [record.label for record in read[1]]


def test_postponed_annotations_are_resolved() -> None:
    """A class whose module postpones its annotations is read like any other."""
    names: dict[str, Any] = {"__name__": __name__, "VoiceRecord": VoiceRecord, "attrs": attrs}
    exec(  # noqa: S102
        "from __future__ import annotations\n"
        "from decimal import Decimal\n"
        "@attrs.frozen\n"
        "class Postponed(VoiceRecord):\n"
        "    bonus: Decimal | None = None\n",
        names,
    )
    postponed = names["Postponed"]

    assert "Decimal | None" == attrs.fields(postponed).bonus.type
    read = read_rows(page({"bonus": "0.10"}), postponed)
    assert read is not None
    assert "0.10" == str(read[1][0].bonus)


class Mood(Enum):
    """A type that cattrs can structure."""

    GOOD = "good"


@attrs.frozen(kw_only=True)
class Moody(VoiceRecord):
    """A record with a field of a type that cattrs can structure."""

    mood: Mood


def test_a_hook_of_cattrs_is_called() -> None:
    """A type that cattrs supports is structured by its hook in both readers."""
    read = read_rows(page({"mood": "good"}), Moody)

    assert read is not None
    assert Mood.GOOD is read[1][0].mood
    assert Moody(mood=Mood.GOOD) == structure_record({"mood": "good"}, Moody)
    with pytest.raises(DecodeError, match="mood is 'bad'"):
        structure_record({"mood": "bad"}, Moody)


@attrs.frozen
class Place:
    """A user's own value, which cattrs structures from a JSON object."""

    city: str


@attrs.frozen(kw_only=True)
class Placed(VoiceRecord):
    """A record with fields that cattrs structures, and refuses, by its own rules."""

    campaign_id: int
    place: Place | None = None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "campaignId is None"),
        ({"campaignId": []}, "campaignId is "),
        ({"campaignId": 1, "place": {}}, "place is {}"),
        ({"campaignId": 1, "place": 5}, "place is 5"),
    ],
)
def test_errors_of_cattrs_name_the_field(fields: dict[str, Any], message: str) -> None:
    """Any error with which cattrs refuses a value becomes a DecodeError that names the field."""
    good = read_rows(page({"campaignId": 1, "place": {"city": "Tunis"}}), Placed)
    assert good is not None
    assert (Placed(campaign_id=1, place=Place("Tunis")),) == good[1]

    assert read_rows(page(fields), Placed) is None
    with pytest.raises(DecodeError, match=re.escape(message)):
        structure_record({"voiceId": "1", **fields}, Placed)


def refuse_all(*_: Any) -> None:
    """Refuse any value."""
    message = "no"
    raise ValueError(message)


def doubled(text: str | None) -> str:
    """Change a value."""
    return f"{text}{text}"


@attrs.frozen
class Checked(VoiceRecord):
    """A record class that validates its fields."""

    tag: str | None = attrs.field(default=None, validator=refuse_all)


@attrs.frozen
class Changed(VoiceRecord):
    """A record class that converts its fields."""

    tag: str | None = attrs.field(default=None, converter=doubled)


@attrs.frozen
class Finished(VoiceRecord):
    """A record class with `__attrs_post_init__`."""

    def __attrs_post_init__(self) -> None:
        refuse_all()


@attrs.frozen(cache_hash=True)
class Cached(VoiceRecord):
    """A record class with a field that is not on the wire."""


class Undecorated(VoiceRecord):
    """A record class that is not made by attrs."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        refuse_all()


@pytest.mark.parametrize("of", [Checked, Changed, Finished, Cached, Undecorated])
def test_a_class_with_its_own_init_is_created_by_it(of: type[CallRecord]) -> None:
    """A record class whose `__init__` does more than storing is created by its `__init__`."""
    learn_extra_fields([{"x": 1}], of)

    assert read_rows(page({"tag": "a"}), of) is None


def test_a_hook_for_a_record_class_replaces_the_readers() -> None:
    """A user's hook for a record class replaces the readers."""

    @attrs.frozen
    class Own(VoiceRecord):
        pass

    converter.register_structure_hook(Own, lambda *_: Own(voice_id="own"))

    assert read_rows(page({}), Own) is None
    assert Own(voice_id="own") == structure_record({}, Own)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"status": "-25"}',
        b'{"status": 0, "data": {"records": []}}',
        b'{"status": "0", "data": {}}',
        b'{"status": "0", "data": {"records": null}}',
        b'{"status": "0", "data": {"records": [1]}}',
        b'{"status": "0", "data": {"records": [{"cost": 1e9999999999999999999}]}}',
        b'{"status": "0", "data": {"records": [' + b'{"x":' * 5000,
    ],
    ids=lambda body: body[:40],
)
def test_other_answers_are_left_to_the_slow_reader(body: bytes) -> None:
    """Any other answer is left to the slow reader."""
    assert read_rows(body, VoiceRecord) is None


def class_of_a_function(*, own_hook: bool) -> weakref.ref[type[VoiceRecord]]:
    """Read records of a class that is local to this function, and return a weak reference to it."""

    @attrs.frozen
    class Own(VoiceRecord):
        called_by: str | None = None

    if own_hook:
        structure_hook(Own)
    (own,) = read_page(page({"voiceId": "v", "calledBy": "me", "other": 1}), REQUEST, Own).records
    assert ("me", {"other": 1}) == (own.called_by, own.extra)
    assert read_rows(page({"voiceId": "v", "other": 1}), Own)
    return weakref.ref(Own)


@pytest.mark.parametrize("own_hook", [False, True])
def test_a_class_that_is_no_longer_used_is_collected(own_hook: bool) -> None:
    """A local class is not kept alive, neither by the library nor by cattrs."""
    made = class_of_a_function(own_hook=own_hook)
    gc.collect()

    assert made() is None


def test_a_hook_registered_later_is_used() -> None:
    """The readers of a class are rebuilt after any hook has been registered."""

    class Name(str):
        __slots__ = ()

    @attrs.frozen
    class Own(VoiceRecord):
        called_by: Name | None = None

    body = page({"voiceId": "v", "calledBy": "me"})
    assert "me" == read_page(body, REQUEST, Own).records[0].called_by
    converter.register_structure_hook(Name | None, lambda value, _: Name(f"<{value}>"))

    assert "<me>" == read_page(body, REQUEST, Own).records[0].called_by


def test_a_pickled_class_has_no_memo() -> None:
    """A class that is pickled by value, as by cloudpickle, does not include its generated readers."""
    read_rows(page({"voiceId": "v"}), VoiceRecord)
    (memo,) = [value for value in vars(VoiceRecord).values() if isinstance(value, ClassMemo)]
    copied = pickle.loads(pickle.dumps(memo))  # noqa: S301 -- ours

    assert memo.reader
    assert copied.reader is copied.registrations is None


def test_generated_code_has_its_source() -> None:
    """A traceback or a debugger shows the lines of a generated function, as those of any other."""
    read_rows(page({"voiceId": "1"}), VoiceRecord)
    (reader,) = class_memo(VoiceRecord).reader
    source = inspect.getsource(reader.record_of)

    assert source.startswith("def record_of(row, submit_time, ")
    assert "    record.voice_id = " in source
