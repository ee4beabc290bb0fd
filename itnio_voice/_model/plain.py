"""Plain values: what JSON holds, as `to_dict()` returns it. Pure."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs

__all__ = ["DICT_READER", "DictReader", "plain"]


def plain(value: Any) -> Any:  # noqa: PLR0911 -- a table of types
    """Return a value for JSON: amounts and times as text, collections as lists, other values as they are.

    An `Enum` becomes its value, and a value of an attrs class a dict by attribute names.
    """
    match value:
        case str() | int() | None:
            return value
        case Decimal():
            return str(value)
        case date():  # a datetime, too
            return value.isoformat()
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple() | AbstractSet():
            return [plain(item) for item in value]
        case Enum():
            return plain(value.value)
        case _ if attrs.has(type(value)):
            return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
        case _:
            return value


@attrs.define
class DictReader:
    """The function behind `from_dict()`.

    The root of the package sets it, because the function is in `_wire`, with the hooks of the fields' types, and this
    layer imports none above it.
    """

    read: Callable[[Mapping[str, Any], type[Any]], Any] = attrs.field(init=False)


DICT_READER = DictReader()
