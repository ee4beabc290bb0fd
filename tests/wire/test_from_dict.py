"""Records from plain values: the inverse of `to_dict()`, and an error for everything else."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import CallRecord, SipRecord, VoiceRecord, converter
from tests.support.random_records import random_record

AT = datetime(2026, 1, 1, tzinfo=UTC)


def spelled(record: CallRecord) -> list[Any]:
    """Return the values of a record such that equal ones have the same digits and offset, too."""
    return [repr(value) for value in attrs.astuple(record, recurse=False)]


@pytest.mark.parametrize("of", [CallRecord, VoiceRecord, SipRecord])
@given(seed=st.integers())
def test_from_dict_is_the_inverse_of_to_dict(of: type[CallRecord], seed: int) -> None:
    """Every field is equal after JSON, and directly, in its digits and its offset; and so from Python values."""
    record = random_record(Random(seed), of)
    plain = record.to_dict()
    names = [field.name for field in attrs.fields(of)]

    for values in (plain, json.loads(json.dumps(plain)), {name: getattr(record, name) for name in names}):
        again = of.from_dict(values)
        assert type(again) is of
        assert again == record
        assert sorted(again.extra) == list(again.extra)
        assert spelled(record) == spelled(again)


class Line(StrEnum):
    """Text that only a class of the user's own has."""

    SALES = "sales"


class Level(Enum):
    """Numbers that only a class of the user's own has."""

    LOW = 1


@attrs.frozen
class Place:
    """A value in a field."""

    city: str
    rate: Decimal | None = None


class Opaque:
    """A class without a plain form."""


def _opaque(value: Any, _: Any) -> Opaque | None:
    if value is not None:
        message = "nothing is expected"
        raise ValueError(message)
    return None


def _upper(text: str | None) -> str | None:
    return text and text.upper()


def _date(value: Any, _: Any) -> date | None:
    return date.fromisoformat(value) if value else None


converter.register_structure_hook(Opaque | None, _opaque)
converter.register_structure_hook(date | None, _date)


@attrs.frozen
class Own(SipRecord):
    """A record with fields of many types."""

    campaign_id: int | None = None
    note: str = "none"
    ratio: float | None = None
    flag: bool | None = None
    line: Line | None = None
    level: Level = Level.LOW
    place: Place | None = None
    days: tuple[date | None, ...] = ()
    fees: list[Decimal] = attrs.field(factory=list)
    tags: frozenset[str] = frozenset()
    any: Any = None
    opaque: Opaque | None = None
    _hidden: str | None = attrs.field(default=None, converter=_upper)

    @property
    def doubled(self) -> int | None:
        """A value that derives from a field."""
        return self.campaign_id and self.campaign_id * 2


OWN = Own(
    voice_id="1",
    campaign_id=7,
    note="",
    ratio=0.1,
    flag=False,
    line=Line.SALES,
    place=Place("Tunis", Decimal("1.50")),
    days=(date(2026, 1, 1), None),
    fees=[Decimal("0.10")],
    tags=frozenset({"a", "b"}),
    any={"a": ["1"]},
    hidden="a",
    extra={"b": 1, "a": None},
)


def test_own_fields_are_read_by_their_hooks() -> None:
    """The fields of a subclass have the values of their types again, from JSON and from Python values."""
    plain = OWN.to_dict()

    assert OWN == Own.from_dict(json.loads(json.dumps(plain)))
    assert OWN == Own.from_dict({field.name: getattr(OWN, field.name) for field in attrs.fields(Own)})
    opaque = Opaque()
    assert opaque is Own.from_dict({"opaque": opaque}).opaque
    with pytest.raises(ValueError, match="opaque is 'x', but nothing is expected"):
        Own.from_dict({"opaque": "x"})


def test_a_hook_that_is_registered_later_is_used() -> None:
    """A class is read by the hooks that are registered when it is read."""

    class Mood(Enum):
        GOOD = "good"

    kind: Any = Mood | None
    mood = attrs.field(type=kind, default=None)
    of: Any = attrs.make_class("Moody", {"mood": mood}, bases=(SipRecord,), frozen=True)
    assert Mood.GOOD is of.from_dict({"mood": "good"}).mood
    converter.register_structure_hook(Mood | None, lambda value, _: Mood(value.lower()) if value else None)

    assert Mood.GOOD is of.from_dict({"mood": "GOOD"}).mood


def test_derived_values_may_be_given_and_must_be_right() -> None:
    """A derived value is compared with the fields, so that a contradiction is not swallowed."""
    record = VoiceRecord(answer_time=AT, feedback_value="1", bill_period="6+1")
    derived = {"answered": True, "finished": False, "pressed_key": "1", "billing": {"initial": 6, "increment": 1}}

    assert record == VoiceRecord.from_dict(record.to_dict() | derived)
    assert record == VoiceRecord.from_dict({**record.to_dict(), "billing": record.billing})
    for name, value in {"answered": False, "pressed_key": None, "billing": None}.items():
        with pytest.raises(ValueError, match=rf"^{name} is {value}, but it is .* by the fields that it derives from$"):
            VoiceRecord.from_dict(record.to_dict() | {name: value})
    assert 14 == Own.from_dict({"campaign_id": 7, "doubled": 14}).doubled


def test_missing_keys_are_none() -> None:
    """A missing key has the value that a missing field of the API has."""
    assert VoiceRecord(cost=Decimal("0.10")) == VoiceRecord.from_dict({"cost": "0.10"})
    assert Own() == Own.from_dict({})


def test_what_json_cannot_hold_stays_text() -> None:
    """An amount inside `extra` is text in `to_dict()`, with its digits, and stays text."""
    record = VoiceRecord(extra={"fee": Decimal("1.50"), "at": AT, "pair": (1, 2)})

    again = VoiceRecord.from_dict(record.to_dict())
    assert {"fee": "1.50", "at": "2026-01-01T00:00:00+00:00", "pair": [1, 2]} == again.extra
    assert record.to_dict() == again.to_dict()
    assert record == VoiceRecord.from_dict({"extra": record.extra})


def test_a_record_shares_no_list_with_the_values() -> None:
    """A later change of the given values does not change the record."""
    values: dict[str, Any] = {"extra": {"a": [{"b": [1]}]}}
    record = VoiceRecord.from_dict(values)
    values["extra"]["a"][0]["b"].append(2)
    values["extra"]["c"] = 1

    assert {"a": [{"b": [1]}]} == record.extra


def test_extra_may_be_null() -> None:
    """As in the JSON lines of an export."""
    assert VoiceRecord() == VoiceRecord.from_dict({"extra": None})


def test_extra_is_sorted_by_name() -> None:
    """The order of `extra` is that of records from the API."""
    assert ["a", "b", "c"] == list(VoiceRecord.from_dict({"extra": {"c": 1, "a": 2, "b": 3}}).extra)


def nested(levels: int) -> Any:
    """Return a list in a list, and so on."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (None, "VoiceRecord is read from a mapping such as to_dict() returns, not None"),
        ([], "VoiceRecord is read from a mapping such as to_dict() returns, not []"),
        ("{}", "VoiceRecord is read from a mapping such as to_dict() returns, not '{}'"),
        ({"voiceId": "1"}, "VoiceRecord has no field 'voiceId': put fields of the API that it does not name in extra"),
        ({"phone_name": None}, "VoiceRecord has no field 'phone_name': "),
        ({"to_dict": 1}, "VoiceRecord has no field 'to_dict': "),
        ({"__class__": 1}, "VoiceRecord has no field '__class__': "),
        ({1: 1}, "VoiceRecord has no field 1: "),
        ({"x" * 10_000: 1}, "VoiceRecord has no field 'xxx"),
        ({"\x1b[0m\u202e\n": 1}, r"VoiceRecord has no field '\x1b[0m\u202e\n': "),
        ({"voice_id": "7", "cost": "abc"}, "record 7: cost is 'abc', but an amount such as 0.15 is expected"),
        ({"voice_id": "\x1b[0m", "cost": "a\n"}, r"record \x1b[0m: cost is 'a\n', but an amount"),
        ({"voice_id": ["7"]}, "voice_id is ['7'], but text is expected"),
        ({"cost": 0.15}, 'cost is 0.15, but a number as text, such as "0.15", is expected: a float is not exact'),
        ({"cost": 10**5000}, "cost is an integer of 16,610 bits, but "),
        ({10**5000: 1}, "VoiceRecord has no field an integer of 16,610 bits: "),
        ({"cost": True}, "cost is True, but a number as text"),
        ({"cost": [1]}, "cost is [1], but a number as text"),
        ({"cost": "NaN"}, "cost is 'NaN', but an amount"),
        ({"cost": Decimal("Infinity")}, "cost is Decimal('Infinity'), but an amount"),
        ({"cost": "1e100000000"}, "but an amount with an exponent from -40 to 40"),
        ({"cost": "1_0"}, "cost is '1_0', but an amount"),
        ({"call_duration": "1.5"}, "call_duration is '1.5', but a whole number is expected"),
        ({"call_duration": False}, "call_duration is False, but a number"),
        ({"submit_time": "2026-01-01T00:00:00"}, "submit_time is '2026-01-01T00:00:00', but a time with an offset"),
        ({"submit_time": datetime(2026, 1, 1)}, "submit_time is datetime.datetime(2026, 1, 1, 0, 0), but a time with"),  # noqa: DTZ001
        ({"submit_time": date(2026, 1, 1)}, "but a time with an offset"),
        ({"submit_time": 1_700_000_000}, "submit_time is 1700000000, but a time with an offset"),
        ({"callee": b"1"}, "callee is b'1', but text is expected"),
        ({"callee": {"a": 1}}, "callee is {'a': 1}, but text is expected"),
        ({"callee": nested(100_000)}, "but a value of at most 32 levels is expected"),
        ({"extra": 0}, "extra must be a mapping by names, not 0"),
        ({"extra": [["a", 1]]}, "extra must be a mapping by names, not [['a', 1]]"),
        ({"extra": {1: 1}}, "extra must be a mapping by names, not {1: 1}"),
        (
            {"voice_id": "7", "extra": {"a": nested(100_000)}},
            "record 7: extra is {'a': [[...]]}, but a value of at most",
        ),
    ],
)
def test_wrong_values_are_named(values: Any, words: str) -> None:
    """The error names the record, the field and the value, in printable text of bounded length."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 -- the text is compared
        VoiceRecord.from_dict(values)

    text = str(error.value)
    assert text.startswith(words) or (words.startswith("but") and words in text)
    assert text.isprintable()
    assert len(text) <= 400


def test_the_classes_own_rules_hold() -> None:
    """A validator of a class refuses a value, and the error names the field; a required field must be there."""

    @attrs.frozen
    class Positive(VoiceRecord):
        points: int = attrs.field(kw_only=True, validator=attrs.validators.gt(0))

    assert 1 == Positive.from_dict({"points": 1}).points
    with pytest.raises(ValueError, match="points is 0, but Positive refuses it"):
        Positive.from_dict({"points": 0})
    with pytest.raises(ValueError, match="points is None, but a value is expected"):
        Positive.from_dict({})


def test_a_class_that_cannot_be_read_is_refused() -> None:
    """A field of a type without a hook is an error that names it."""
    odd = attrs.field(type=type(lambda: 0), default=None)
    of: Any = attrs.make_class("Odd", {"odd": odd}, bases=(VoiceRecord,))

    with pytest.raises(ValueError, match=r"Odd\.odd is function, which cannot be read"):
        of.from_dict({})
