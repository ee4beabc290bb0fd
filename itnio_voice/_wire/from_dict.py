"""From the values of `to_dict()` back to records, by the hooks of the fields' types. Pure."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, get_args

import attrs

from .._model.errors import DecodeError
from .._model.plain import plain
from .._model.printable import printable
from .._model.records import CallRecord, R
from .scalars import brief, opaque_json
from .structuring import Column, RecordHook, class_memo

__all__ = ["record_from_dict"]

_CONVERTED = {Decimal, datetime, int, float, bool, list, tuple, set, frozenset, dict, NoneType}
"""Types that a hook always checks. Values of other types are kept: text, and those of a user's own classes."""


class _DictHook(RecordHook):
    """The hook of a record class for values under attribute names, with `extra` as one of them."""

    def extra_of(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of `extra`, as a copy."""
        extra = value.get("extra") or {}
        return {name: _copied(opaque_json(extra[name])) for name in sorted(extra)}


def _copied(value: Any) -> Any:
    """Return a JSON value that shares no list or dict with the given one."""
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    return list(map(_copied, value)) if isinstance(value, list) else value


def record_from_dict(values: Mapping[str, Any], of: type[R]) -> R:
    """Return the record with the values of a `to_dict()`.

    Raises:
        ValueError: if it is not a mapping, a key is unknown, a value is invalid for its field, or the class has a field
            that cannot be read.
    """
    if not isinstance(values, Mapping):
        message = f"{of.__name__} is read from a mapping such as to_dict() returns, not {brief(values)}"
        raise ValueError(message)  # noqa: TRY004 -- a wrong value like any other
    hook = _hook_of(of)
    others = [name for name in values if name not in hook.known and name != "extra"]
    for name in others:
        if not isinstance(name, str) or not isinstance(getattr(of, name, None), property):
            message = f"{of.__name__} has no field {brief(name)}: put fields of the API that it does not name in extra"
            raise ValueError(message)  # noqa: TRY004 -- as above
    extra = values.get("extra")
    extra = {} if extra is None else extra  # null in the lines of an export
    if not isinstance(extra, Mapping) or not all(isinstance(name, str) for name in extra):
        message = f"extra must be a mapping by names, not {brief(extra)}"
        raise ValueError(message)
    try:
        record: R = hook(values)  # type: ignore[assignment]  # it is the hook of this class
    except DecodeError as error:
        raise ValueError(printable(str(error))) from error
    for name in others:
        derived = plain(getattr(record, name))
        if derived != plain(values[name]):
            message = f"{name} is {brief(values[name])}, but it is {brief(derived)} by the fields that it derives from"
            raise ValueError(message)
    return record


def _hook_of(of: type[CallRecord]) -> _DictHook:
    memo = class_memo(of)
    if memo.from_dict is None:
        usual = RecordHook.make(of)
        fields = attrs.fields_dict(of)
        columns = tuple(_column(each, fields[each.attribute].type) for each in usual.columns)
        memo.from_dict = _DictHook(of, columns, frozenset(column.name for column in columns))
    hook: _DictHook = memo.from_dict
    return hook


def _column(column: Column, of: Any) -> Column:
    """Return the column of a field for plain values and for values of its type."""
    kept = [kind for kind in get_args(of) or (of,) if isinstance(kind, type) and kind not in _CONVERTED]

    def read(value: Any, _: Any = None) -> Any:
        return value if type(value) in kept else column.read(plain(opaque_json(value)), None)

    return attrs.evolve(column, name=column.attribute, read=read)
