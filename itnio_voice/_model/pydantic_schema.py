"""How pydantic reads and writes records, and their JSON schema for OpenAPI. Imports pydantic only when it calls."""

import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import attrs

__all__ = ["core_schema_of", "json_schema_of"]

_TYPES: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?$"},
    datetime: {"type": "string", "format": "date-time"},
    NoneType: {"type": "null"},
}
"""The JSON schema of each type of field, as `to_dict()` returns its values. That of any other type is empty."""

_LISTS = {list, tuple, set, frozenset}

FIELDS: Mapping[str, tuple[str, Any]] = {
    "voice_id": ("unique id of the record", "2609010800001000001"),
    "callee": ("called number, country code first, 7 to 15 digits", "4915112345678"),
    "display_num": ("caller number that was shown", "4930123456"),
    "code": ("destination: operator and area of the called number", "Germany(Mobile)"),
    "submit_time": ("the call was submitted; ranges are taken to select by this time", "2026-09-01T08:00:00+08:00"),
    "call_time": ("the call was made", "2026-09-01T08:00:02+08:00"),
    "ringing_time": ("the callee's phone began to ring", "2026-09-01T08:00:05+08:00"),
    "answer_time": ("the call was answered", "2026-09-01T08:00:11+08:00"),
    "hangup_time": ("the call ended", "2026-09-01T08:00:41+08:00"),
    "call_duration": ("duration of the call, in seconds", 30),
    "charged_duration": ("duration that is charged, rounded up by the billing steps, in seconds", 40),
    "termination_code": ("SIP code with which the call ended; 200 is an answered call", "200"),
    "termination_reason": ("description of that code", "OK"),
    "cost": ("amount charged", "0.0124"),
    "bill_period": ("billing steps, in seconds: the first and the following ones", "20+20"),
    "rate": ("rate in the currency of the quotation", "0.0186"),
    "settle_rate": ("rate in the local currency", "0.0172"),
    "quote_exchange": ("exchange rate to the local currency", "0.92"),
    "settle_pay": ("amount charged in the local currency", "0.0115"),
    "currency": ("currency of the quotation; null for US dollars", "EUR"),
    "base_cost": ("basic cost, in US dollars", "0.01"),
    "voice_file_id": ("id of the voice file that was played", "12022022570cc2484c59.mp3"),
    "feedback_value": ("key that the callee pressed; -1 is no key", "1"),
    "called_info": ("the caller's own note, up to 1,000 characters", "invoice 4711"),
    "sip_group_name": ("name of the group of SIP phones", "sales"),
    "phone_name": ("name of the SIP phone", "sales-3"),
    "recording_file_id": ("id of the recording", "20260901080000.wav"),
    "extra": ("the fields of the API that have no name here, under their names in the API", {}),
}
"""The meaning of each of the library's fields, as on the page *Fields*, and its value in the example record."""


def core_schema_of(
    of: type[Any], read: Callable[[Mapping[str, Any]], Any], write: Callable[[Any], dict[str, Any]]
) -> Any:
    """Return the schema by which pydantic keeps records of a class, reads others, and writes them."""
    # Imported here, because only callers with pydantic need it.
    from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError, core_schema  # noqa: PLC0415

    def record(value: Any) -> Any:
        try:
            return value if isinstance(value, of) else read(value)
        except ValueError as error:
            # The cause is the `DecodeError` of a field. pydantic puts the place of the record before that of the field.
            field = getattr(error.__cause__, "field", "")
            details = InitErrorDetails(
                type=PydanticCustomError("value_error", "Value error, {error}", {"error": str(error)}),
                loc=(field,) if field else (),
                input=value.get(field) if field else value,
            )
            raise ValidationError.from_exception_data(of.__name__, [details]) from None

    # pydantic then knows the keys that may be left out with `exclude_none`.
    key = core_schema.typed_dict_field(core_schema.any_schema(), required=False)
    written = core_schema.typed_dict_schema(dict.fromkeys(attrs.fields_dict(of), key), extra_behavior="allow")
    return core_schema.no_info_plain_validator_function(
        record,
        ref=f"{of.__module__}.{of.__qualname__}:{id(of)}",
        serialization=core_schema.plain_serializer_function_ser_schema(write, return_schema=written),
    )


def json_schema_of(of: type[Any], *, validation: bool) -> dict[str, Any]:
    """Return the JSON schema of a record class: of what `from_dict()` accepts, or of what `to_dict()` returns."""
    fields = attrs.fields(attrs.resolve_types(of))
    schema: dict[str, Any] = {
        "title": of.__name__,
        "type": "object",
        "properties": {field.name: _property_of(field) for field in fields},
        "required": [field.name for field in fields if not validation or field.default is attrs.NOTHING],
        "examples": [{field.name: FIELDS[field.name][1] for field in fields if field.name in FIELDS}],
    }
    if of.__doc__:
        schema["description"] = inspect.cleandoc(of.__doc__).partition("\n\n")[0].replace("\n", " ")
    if validation:
        schema["additionalProperties"] = False
    return schema


def _property_of(field: "attrs.Attribute[Any]") -> dict[str, Any]:
    title = {"title": field.name.replace("_", " ").capitalize()}
    about = {"description": FIELDS[field.name][0]} if field.name in FIELDS else {}
    kind = {"type": "object", "additionalProperties": True} if field.name == "extra" else _schema_of(field.type)
    return title | about | kind


def _schema_of(of: Any) -> dict[str, Any]:
    """Return the JSON schema of a type."""
    origin, kinds = get_origin(of) or of, get_args(of)
    if origin in (Union, UnionType):
        return {"anyOf": [_schema_of(kind) for kind in kinds]}
    if origin in _LISTS:
        return {"type": "array", "items": _schema_of(kinds[0]) if kinds and {*kinds[1:]} <= {...} else {}}
    if isinstance(of, type) and issubclass(of, Enum):
        return {"enum": [member.value for member in of]}
    return dict(_TYPES.get(of, {}))
