"""Records in pydantic: read by `from_dict()`, written by `to_dict()`, and described for OpenAPI."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

import attrs
import httpx
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from itnio_voice import CallRecord, Credentials, SipRecord, VoiceRecord, VoiceSession
from itnio_voice._model.pydantic_schema import FIELDS
from tests.support.random_records import random_record

AT = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS_PAGE = Path(__file__).parent.parent.parent / "docs" / "fields.md"


class Level(Enum):
    """The values of an own field."""

    LOW = 1
    HIGH = 2


@attrs.frozen
class CampaignRecord(VoiceRecord):
    """A record of a campaign.

    Only the first paragraph is its description.
    """

    campaign_id: int | None = None
    level: Level | None = None
    fees: list[Decimal] = attrs.field(factory=list)
    other: Any = None
    points: int = attrs.field(kw_only=True)


@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
def test_ten_thousand_random_records_are_the_same_after_json(of: type[CallRecord]) -> None:
    """Every field of each record is equal, in its digits and its offset; the JSON is that of `to_dict()`."""
    adapter = TypeAdapter(list[of])  # type: ignore[valid-type]  # a class as a variable
    random = Random(20260901)
    records = [random_record(random, of) for _ in range(10_000)]

    text = adapter.dump_json(records)
    again: list[CallRecord] = adapter.validate_json(text)

    assert [record.to_dict() for record in records] == json.loads(text) == adapter.dump_python(records)
    assert 10_000 == len(again)
    for record, other in zip(records, again, strict=True):
        for field in attrs.fields(of):
            one, two = getattr(record, field.name), getattr(other, field.name)
            assert (one, repr(one)) == (two, repr(two)), field.name


def test_records_are_fields_of_models() -> None:
    """A model holds records of one class or of several, as they are, and reads them again from JSON."""

    class Answer(BaseModel):
        first: VoiceRecord | None = None
        calls: list[SipRecord | VoiceRecord]

    calls: list[SipRecord | VoiceRecord] = [
        VoiceRecord(voice_id="1", called_info="x"),
        SipRecord(voice_id="2", phone_name="sales-3"),
    ]
    answer = Answer(first=VoiceRecord(cost=Decimal("0.10")), calls=calls)

    assert all(one is two for one, two in zip(calls, answer.calls, strict=True))
    assert answer == Answer.model_validate_json(answer.model_dump_json())
    assert [type(call) for call in calls] == [type(call) for call in Answer.model_validate(answer.model_dump()).calls]
    assert {"SipRecord", "VoiceRecord"} == Answer.model_json_schema()["$defs"].keys()


def test_an_own_class_is_read_and_written_with_its_fields() -> None:
    """A subclass is read by its own fields, and written with all of them where the base class is expected."""
    record = CampaignRecord(voice_id="1", campaign_id=7, level=Level.HIGH, fees=[Decimal("0.10")], points=1)
    adapter = TypeAdapter(CampaignRecord)

    assert record == adapter.validate_json(adapter.dump_json(record))
    assert record is TypeAdapter(VoiceRecord).validate_python(record)
    assert record.to_dict() | {"level": 2} == TypeAdapter(CallRecord).dump_python(record)


def test_missing_values_can_be_left_out() -> None:
    """`exclude_none` leaves out the fields that are None, and such an answer is read again as the same record."""
    record = VoiceRecord(voice_id="1", cost=Decimal("0.10"), extra={"a": {"b": 1}})
    adapter = TypeAdapter(list[VoiceRecord])
    text = adapter.dump_json([record], exclude_none=True)

    assert b'[{"voice_id":"1","cost":"0.10","extra":{"a":{"b":1}}}]' == text
    assert [record] == adapter.validate_json(text)


def test_keys_of_an_own_to_dict_are_written() -> None:
    """A class may write derived values, and reads them again."""

    @attrs.frozen
    class Derived(SipRecord):
        def to_dict(self) -> dict[str, Any]:
            return {**SipRecord.to_dict(self), "answered": self.answered}

    record = Derived(answer_time=AT)
    adapter = TypeAdapter(Derived)

    assert json.loads(adapter.dump_json(record))["answered"] is True
    assert record == adapter.validate_json(adapter.dump_json(record))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('[{"voice_id": "7", "cost": "x"}]', (0, "cost"), "Value error, record 7: cost is 'x', but an amount"),
        ('[{"submit_time": "2026-01-01T00:00:00"}]', (0, "submit_time"), "a time with an offset such as"),
        ('[{}, {"cost": 0.1}]', (1, "cost"), "a float is not exact"),
        ('[{"extra": []}]', (0,), "extra must be a mapping by names"),
        ('[{"voiceId": "7"}]', (0,), "VoiceRecord has no field 'voiceId'"),
        ('[{"answered": true}]', (0,), "answered is True, but it is False"),
        ("[7]", (0,), "VoiceRecord is read from a mapping"),
        ('[{"cost": "{error}%s{0}"}]', (0, "cost"), "cost is '{error}%s{0}', but"),
    ],
)
def test_an_error_has_the_place_of_the_field(text: str, place: tuple[Any, ...], words: str) -> None:
    """pydantic reports the index of the record and the field, with the text of the error."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(list[VoiceRecord]).validate_json(text)

    (error,) = caught.value.errors()
    assert place == error["loc"]
    assert words in error["msg"]


def resolved(adapter: TypeAdapter[Any], mode: Any) -> dict[str, Any]:
    """Return the schema of the only record class."""
    (schema,) = adapter.json_schema(mode=mode)["$defs"].values()
    found: dict[str, Any] = schema
    return found


@pytest.mark.parametrize("of", [CallRecord, VoiceRecord, SipRecord, CampaignRecord])
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_the_schema_describes_each_field(of: type[CallRecord], mode: str) -> None:
    """Each field has a type, a title, and if it is one of the library's a description; the example can be read."""
    schema = resolved(TypeAdapter(list[of]), mode)  # type: ignore[valid-type]  # a class as a variable
    names = [field.name for field in attrs.fields(of)]

    assert (of.__name__, "object", names) == (schema["title"], schema["type"], list(schema["properties"]))
    assert (of.__doc__ or "").startswith(schema["description"][:20])
    assert "\n" not in schema["description"]
    for name, field in schema["properties"].items():
        assert re.fullmatch(r"[A-Z][a-z ]+", field["title"])
        assert ("description" in field) == (name in FIELDS)
    if of is not CampaignRecord:
        (example,) = schema["examples"]
        assert example.keys() == schema["properties"].keys()
        assert example == of.from_dict(example).to_dict()


def test_the_schema_has_the_types_of_plain_values() -> None:
    """Amounts are text with a pattern, times have a format, null is allowed where a field may be None."""
    read, written = (resolved(TypeAdapter(list[CampaignRecord]), mode) for mode in ("validation", "serialization"))
    kinds = {
        name: {key: field[key] for key in field.keys() - {"title", "description"}}
        for name, field in read["properties"].items()
    }
    null = {"type": "null"}
    amount = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?$"}

    assert {"anyOf": [{"type": "string"}, null]} == kinds["voice_id"]
    assert {"anyOf": [amount, null]} == kinds["cost"]
    assert {"anyOf": [{"type": "string", "format": "date-time"}, null]} == kinds["answer_time"]
    assert {"anyOf": [{"type": "integer"}, null]} == kinds["call_duration"]
    assert {"anyOf": [{"enum": [1, 2]}, null]} == kinds["level"]
    assert {"type": "array", "items": amount} == kinds["fees"]
    assert {"type": "object", "additionalProperties": True} == kinds["extra"]
    assert ({}, {"type": "integer"}) == (kinds["other"], kinds["points"])
    assert (["points"], False) == (read["required"], read["additionalProperties"])
    assert list(written["properties"]) == written["required"]
    assert "additionalProperties" not in written


def test_every_amount_matches_the_pattern() -> None:
    """The text of any amount matches the pattern of the schema, and the pattern matches no other text."""
    pattern = TypeAdapter(VoiceRecord).json_schema()["properties"]["cost"]["anyOf"][0]["pattern"]
    random = Random(1)
    for _ in range(1_000):
        for value in random_record(random, VoiceRecord).to_dict().values():
            if isinstance(value, str) and re.search(pattern, value):
                assert Decimal(value).is_finite()
    for digits in ("0", "-0.50", "1E+30", "1.5E-40", "0E-7"):
        assert re.search(pattern, str(Decimal(digits)))
    for text in ("", "NaN", "1_0", "x1", "1 ", "١"):
        assert not re.search(pattern, text)


def test_the_examples_are_those_of_the_documentation() -> None:
    """The table has the fields of the page *Fields*, and their examples."""
    rows = [
        line.split(" | ") for line in FIELDS_PAGE.read_text().splitlines() if re.match(r"\| `\w+` \| `\w+` \|", line)
    ]
    page = {row[0].strip("| `"): row[4].strip("`") for row in rows}

    assert FIELDS.keys() - {"extra"} == page.keys()
    for name, shown in page.items():
        assert str(FIELDS[name][1]).startswith(shown.partition("…")[0]), name


def test_two_classes_of_one_name_are_two_components() -> None:
    """Classes are distinguished by their identity."""
    field = {"note": attrs.field(type=str, default="")}
    one, two = (attrs.make_class("Same", field, bases=(base,), frozen=True) for base in (VoiceRecord, SipRecord))
    both: Any = one | two
    schema = TypeAdapter(both).json_schema()

    assert 2 == len(schema["$defs"])


def test_half_a_surrogate_pair_is_an_error() -> None:
    """JSON cannot hold it. Records from the API have none."""
    with pytest.raises(PydanticSerializationError, match="surrogates not allowed"):
        TypeAdapter(VoiceRecord).dump_json(VoiceRecord(callee="\ud800"))


@pytest.mark.anyio
async def test_records_of_a_strange_server_are_written() -> None:
    """Text that an attacker chose, unknown fields and numbers with many digits are the same after JSON."""
    info = r"\ud800 \u202e\u001b[0m </script> =1+1"
    row = (
        rf'{{"voiceId": "1", "cost": "0.10000000000000000001", "calledInfo": "{info}", "submitTime": '
        r'"2026-09-01T08:00:00+08:00", "score": 0.10, "callee_": {"a": [1, "\u0000"]}, "extra": {"cost": 1}}'
    )
    body = f'{{"status": "0", "data": {{"total": 1, "size": 100, "current": 1, "pages": 1, "records": [{row}]}}}}'
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body.encode()))
    async with httpx.AsyncClient(transport=transport) as client:
        session = VoiceSession(Credentials(api_key="k", api_secret="s"), http_client=client)
        (record,) = (await session.page(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 2, tzinfo=UTC))).records

    adapter = TypeAdapter(VoiceRecord)
    again = adapter.validate_json(adapter.dump_json(record))

    assert Decimal("0.10") == record.extra["score"]
    assert attrs.evolve(record, extra={**record.extra, "score": "0.10"}) == again
    assert {"cost": 1} == again.extra["extra"]
    assert Decimal("0.10000000000000000001").as_tuple() == (again.cost or Decimal()).as_tuple()
