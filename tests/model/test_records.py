"""Records as values."""

import copy
import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import BillPeriod, SipRecord, VoiceRecord
from itnio_voice._model.records import content

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20+20", BillPeriod(20, 20)),
        (" 6 + 6 ", BillPeriod(6, 6)),
        ("1234567890+1", None),
        ("60+", None),
        (" 6 + 1 ", BillPeriod(6, 1)),
        ("60", None),
        ("", None),
        (None, None),
        ("a+b", None),
        ("1+2+3", None),
        ("-1+5", None),
        ("١+١", None),
    ],
)
def test_billing_steps_are_parsed(text: str | None, expected: BillPeriod | None) -> None:
    """Billing steps are read from `bill_period`; invalid ones are None."""
    assert expected == VoiceRecord(bill_period=text).billing


@pytest.mark.parametrize(("value", "key"), [("-1", None), (None, None), ("0", "0"), ("5", "5"), ("#", "#")])
def test_minus_1_is_no_pressed_key(value: str | None, key: str | None) -> None:
    """`-1` means no key."""
    assert key == VoiceRecord(feedback_value=value).pressed_key


def test_answered_and_finished_follow_from_fields() -> None:
    """A call with an answer time is answered, one with a termination code is finished."""
    assert not VoiceRecord().answered
    assert VoiceRecord(answer_time=AT).answered
    assert not SipRecord().finished
    assert SipRecord(termination_code="404").finished


def test_to_dict_is_ready_for_json() -> None:
    """It is JSON-ready, with attribute names, and amounts and times as text, also inside `extra`."""
    extra = {"nested": [Decimal("1.50"), {"when": None}], "n": 5}
    record = VoiceRecord(voice_id="1", cost=Decimal("0.10"), submit_time=AT, call_duration=5, extra=extra)
    plain: dict[str, Any] = json.loads(json.dumps(record.to_dict()))

    assert {field.name for field in attrs.fields(VoiceRecord)} == plain.keys()
    assert ("1", "0.10", "2026-01-01T00:00:00+00:00", 5) == tuple(
        plain[name] for name in ("voice_id", "cost", "submit_time", "call_duration")
    )
    assert {"nested": ["1.50", {"when": None}], "n": 5} == plain["extra"]
    assert plain["callee"] is None


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_to_dict_keeps_amounts(amount: Decimal) -> None:
    """An amount's text is the same after JSON, in a field and in `extra`, in a list or a tuple."""
    record = VoiceRecord(cost=amount, extra={"fee": (amount, [amount])})
    plain = json.loads(json.dumps(record.to_dict()))

    for text in (plain["cost"], plain["extra"]["fee"][0], plain["extra"]["fee"][1][0]):
        assert amount.as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
def test_records_are_frozen(of: type[VoiceRecord | SipRecord]) -> None:
    """No field can be set or added, and equal records are one element of a set."""
    for name in [field.name for field in attrs.fields(of)] + ["unknown"]:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(of(), name, "x")

    assert 1 == len({of(voice_id="1", cost=Decimal(1)), of(voice_id="1", cost=Decimal(1))})


def test_records_are_values() -> None:
    """Records are frozen, compared by content, hashable and picklable."""
    record = SipRecord(voice_id="1", extra={"a": [1]})

    assert record == pickle.loads(pickle.dumps(record))  # noqa: S301
    assert hash(record) == hash(SipRecord(voice_id="1", extra={"a": [1]}))
    assert record != SipRecord(voice_id="1")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.voice_id = "2"  # type: ignore[misc]


class Mood(Enum):
    """A value that is equal only to itself."""

    GOOD = "good"
    BAD = "bad"


class Place:
    """A class without its own `__eq__`."""

    def __init__(self, city: str) -> None:
        self.city = city


class Slotted:
    """A class without a hash and without `__dict__`."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # as a class with `__eq__` has it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted)

    def __repr__(self) -> str:
        return "Slotted()"


@attrs.frozen
class Tagged(VoiceRecord):
    """A record with a field of any type."""

    tag: Any = None


@attrs.frozen(eq=False)
class Unequal(VoiceRecord):
    """A record class without its own `__eq__`."""

    tag: Any = None


@pytest.mark.parametrize("of", [Tagged, Unequal])
@pytest.mark.parametrize(
    "values",
    [
        ([1, 2], [2, 1], [1], []),
        ({"a": [1]}, {"a": [2]}, {"b": [1]}),
        ({1, 2}, {1}, set()),
        (("a", ["b"]), ("a", ["c"])),
        (Mood.GOOD, Mood.BAD),
        (Place("Tunis"), Place("Sfax")),
        ([Place("Tunis")], [Place("Sfax")]),
        (VoiceRecord(callee="1"), SipRecord(callee="1"), VoiceRecord(callee="2")),
        (Slotted(), None),
        (bytearray(b"a"), bytearray(b"b")),
        (Decimal("1E+40"), Decimal("1E-40")),
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_records_have_a_hash_of_their_content(of: Any, values: tuple[Any, ...]) -> None:
    """Any record has a hash of its content: equal for equal content, and different for different content."""
    first, second = ([content(of(callee="1", tag=value)) for value in copy.deepcopy(values)] for _ in range(2))

    assert first == second
    assert len(values) == len({*first, *second})
    assert content(of(extra={"a": [1]})) != content(of(extra={"a": [2]}))


def test_excluded_fields_are_not_content() -> None:
    """A field that a class excludes from comparison is excluded from its content."""
    of: Any = attrs.make_class("Own", {"tag": attrs.field(default=None, eq=False)}, bases=(VoiceRecord,), frozen=True)

    assert content(of(tag=[1])) == content(of(tag=[2]))
