"""Records as tests write them: attribute names and Python's values become wire fields."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import EllipsisType
from typing import Any

import attrs

from ..._model.records import SipRecord, VoiceRecord
from .dataset import VENDOR_TIME

__all__ = ["wire_fields"]


def _wire_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


_WIRE_NAMES = {
    field.name: _wire_name(field.name)
    for kind in (VoiceRecord, SipRecord)
    for field in attrs.fields(kind)
    if field.name != "extra"
}
_WIRE_TYPES = (str, int, float, list, tuple, Mapping, EllipsisType, type(None))


def wire_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's fields by their wire names, with the values of the wire.

    A name is an attribute's, such as `submit_time`, or the wire's. A datetime becomes ISO 8601 text in the vendor's
    offset, and a `Decimal` becomes text.

    Raises:
        ValueError: for a name with an underscore that is no attribute, a field given twice, a datetime without a time
            zone, and a value that JSON does not have.
    """
    if not isinstance(record, Mapping):
        message = f"a record must be a mapping of fields, not {record!r:.80}"
        raise ValueError(message)  # noqa: TRY004 -- like other invalid records
    fields: dict[str, Any] = {}
    for name, value in record.items():
        wire_name = _WIRE_NAMES.get(name, name)
        if not isinstance(wire_name, str) or "_" in wire_name:
            message = f"a record has no field {name!r:.80}: the fields are {', '.join(sorted(_WIRE_NAMES))}"
            raise ValueError(message)
        if wire_name in fields:
            message = f"{wire_name} is given twice, also as {name}: give it once"
            raise ValueError(message)
        fields[wire_name] = _wire_value(name, value)
    return fields


def _wire_value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            message = f"{name} must have a time zone, not {value!r}: use datetime.now(UTC), for example"
            raise ValueError(message)
        return value.astimezone(VENDOR_TIME).isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if not isinstance(value, _WIRE_TYPES):
        message = f"{name} must be text, a number, a datetime or a Decimal, not {value!r:.80}"
        raise ValueError(message)  # noqa: TRY004 -- like other invalid records
    return value
