"""Records given by attribute names and with Python's values."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import pytest

from itnio_voice import SipRecord, VoiceRecord, structure_record

from .conftest import NOW, Client, at

MOMENT = NOW - timedelta(seconds=9)


def test_attribute_names_and_values_are_accepted(client: Client) -> None:
    """Attribute names, datetimes of any offset and Decimals become what the wire has."""
    local = MOMENT.astimezone(timezone(timedelta(hours=-3)))
    fields: dict[str, Any] = {"voice_id": "1", "submit_time": local, "cost": Decimal("1E+2"), "called_info": None}

    ids = client.sandbox.insert(fields | {"rate": ..., "newField": [1]})
    record = client.data()["records"][0]
    updated = client.sandbox.update("1", hangup_time=MOMENT, charged_duration=4)
    changed = client.data()["records"][0]

    assert (ids, updated) == (["1"], 1)
    assert record["submitTime"] == "2026-11-01T07:59:51+08:00"
    assert (record["cost"], record["calledInfo"], record["newField"]) == ("100", None, [1])
    assert "rate" not in record
    assert (changed["hangupTime"], changed["chargedDuration"]) == ("2026-11-01T07:59:51+08:00", 4)


@pytest.mark.parametrize(("kind", "of"), [("group", VoiceRecord), ("sip", SipRecord)])
def test_a_record_that_was_read_can_be_inserted(client: Client, kind: Any, of: type[VoiceRecord | SipRecord]) -> None:
    """The attributes of a record that the library has read are accepted, and read back as an equal record."""
    client.sandbox.insert({"submitTime": at(-9)}, kind=kind)
    first = structure_record(client.data(kind=kind)["records"][0], of)
    attributes = attrs.asdict(first, filter=attrs.filters.exclude("extra"))

    client.sandbox.delete(str(first.voice_id))
    client.sandbox.insert(attributes, kind=kind)

    assert structure_record(client.data(kind=kind)["records"][0], of) == first


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sumbit_time": NOW}, "no field 'sumbit_time': the fields are answer_time, "),
        ({5: 5}, "no field 5"),
        ({"voice_id": "1", "voiceId": "2"}, "voiceId is given twice, also as voiceId"),
        ({"submit_time": datetime(2026, 1, 1)}, "submit_time must have a time zone"),  # noqa: DTZ001
        ({"submit_time": NOW.date()}, r"submit_time must be text, .*, not datetime.date"),
        ({"cost": {1, 2}}, "cost must be text"),
        ("text", "a record must be a mapping of fields, not 'text'"),
        ({"submit_time": 5}, "ISO 8601, not 5"),
    ],
)
def test_wrong_fields_are_refused(client: Client, fields: Any, message: str) -> None:
    """A wrong name, type or time is an error, and no record is added, not even the others."""
    with pytest.raises(ValueError, match=message):
        client.sandbox.insert({"voiceId": "good"}, fields)

    assert client.sandbox.ids() == set()


def test_wrong_updates_are_refused(client: Client) -> None:
    """An update with a wrong field changes nothing."""
    client.sandbox.insert({"voice_id": "1", "submit_time": MOMENT, "cost": "1"})
    with pytest.raises(ValueError, match="sumbit_time"):
        client.sandbox.update("1", cost="2", sumbit_time=NOW)

    assert client.data()["records"][0]["cost"] == "1"
