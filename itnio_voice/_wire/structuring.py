"""The exact path from decoded JSON to records, with errors that name the field. The only module that uses cattrs.

What a field may hold is said by the hooks of `values`, one for each type.
"""

from collections.abc import Callable, Iterable, Mapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from functools import partial
from types import NoneType
from typing import Any, get_args, get_origin

import attrs
import cattrs

from .._model.errors import DecodeError
from .._model.printable import Message
from .._model.records import CallRecord, R
from .scalars import amount, boolean, brief, floating, integer, opaque_json, text, timestamp

__all__ = ["Hook", "RecordHook", "class_memo", "converter", "structure_field", "structure_hook", "structure_record"]

Hook = Callable[[Any, Any], Any]

_MEMO = "_itnio_voice_memo"


def _wire_name(name: str) -> str:
    """Return the API's name of an attribute: that of `voice_id` is `voiceId`."""
    first, *rest = name.strip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)


def _field_error(value: Mapping[str, Any], name: str, why: str) -> DecodeError:
    """Return the error for a field of a JSON object; it names the record that the object is."""
    voice_id = _voice_id(value)
    whose = "record {voice_id}: " if voice_id else ""
    message = Message(
        whose + "{name} is {value}, but {why}",
        voice_id=(voice_id or "")[:40],
        name=name[:80],
        value=brief(value.get(name)),
        why=why[:200],
    )
    return DecodeError(message, voice_id=voice_id, field=name, value=value.get(name))


def _record_error(value: Mapping[str, Any], of: type[CallRecord], why: str) -> DecodeError:
    """Return the error for a record that is refused for no single field; `value` of the error is all of the record."""
    voice_id = _voice_id(value)
    whose = "record {voice_id}" if voice_id else "a record without an id"
    message = Message(f"{whose} is refused by {of.__name__} ({{why}})", voice_id=(voice_id or "")[:40], why=why[:200])
    return DecodeError(message, voice_id=voice_id, value=dict(value))


def _voice_id(value: Mapping[str, Any]) -> str | None:
    """Return the id of a record by its wire name, or by its attribute where `from_dict()` reads it."""
    try:
        return text(value.get("voiceId") or value.get("voice_id"))
    except ValueError:
        return None


def structure_field(value: Mapping[str, Any], name: str, hook: Hook) -> Any:
    """Return one field of a JSON object.

    Raises:
        DecodeError: naming the record, the field and the value, if the value is not what the field holds.
    """
    try:
        return hook(value.get(name), None)
    except ValueError as error:
        raise _field_error(value, name, str(error)) from None


_HOOKS: Mapping[type, Hook] = {
    str: text,
    Decimal: amount,
    int: integer,
    datetime: timestamp,
    bool: boolean,
    float: floating,
}
_FROM_LIST: Mapping[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    MutableSequence: list,
    tuple: tuple,
    Sequence: tuple,
    set: set,
    MutableSet: set,
    frozenset: frozenset,
    AbstractSet: frozenset,
}


def _always(hook: Hook, base: type) -> Hook:
    """Return the hook of a type without None, and of the classes that extend the type."""

    def always(value: Any, of: Any = None) -> Any:
        result = value if base is str and value == "" else hook(value, None)
        if result is None:
            message = "a value is expected"
            raise ValueError(message)
        return result if of in (None, base) else of(result)

    return always


def _no_bytes(*_: Any) -> bytes:
    """Refuse any value: `bytes` of a number are as many zeros."""
    message = "JSON has no bytes: register a structure hook"
    raise ValueError(message)


def _from_list(of: Any) -> Hook:
    """Return the hook of a collection. Only a JSON list is one: text would give its characters."""
    make = _FROM_LIST[get_origin(of) or of]
    types = get_args(of) or (Any,)
    fixed = (
        get_origin(of) is tuple and bool(get_args(of)) and get_args(of)[1:] != (...,)
    )  # each item has a type of its own
    try:
        hooks = [converter.get_structure_hook(item_type) for item_type in types if item_type is not ...]
    except RecursionError:  # a class that holds a list of itself
        hooks = [converter.structure for _ in types]

    def from_list(value: Any, _: Any = None) -> Any:
        if not isinstance(value, list) or (fixed and len(value) != len(types)):
            message = f"a list of {len(types)} values is expected" if fixed else "a list is expected"
            raise ValueError(message)
        if fixed:
            return make([hook(item, item_type) for hook, item, item_type in zip(hooks, value, types, strict=True)])
        return make([hooks[0](item, types[0]) for item in value])

    return from_list


def _name(of: Any) -> str:
    return of.__name__ if isinstance(of, type) else str(of)


def _words(error: Exception) -> str:
    # attrs' validators have the field and the value as further arguments.
    return f"{type(error).__name__}: {error.args[0] if error.args else error}"


def _column_hook(field: "attrs.Attribute[Any]") -> Hook:
    """Return the hook of a field. It refuses a value with a ValueError only.

    Where the field's type has no None, a value that is missing is the field's default, if it has one.
    """
    of = field.type
    hook = converter.get_structure_hook(of)
    if hook in _HOOKS.values():
        return hook
    nullable = of is Any or NoneType in get_args(of)
    if hook == _OPTIONAL_HOOK:
        # That hook looks for the hook of the type only when it reads a value.
        converter.get_structure_hook(*[inner for inner in get_args(of) if inner is not NoneType])
    default = (lambda: None) if nullable else _default(field)

    def read(value: Any, _: Any = None) -> Any:
        if value is None and default and not nullable:
            return default()
        opaque_json(value)
        try:
            return hook(value, of)
        except Exception as error:  # a hook of a user's own may raise anything
            if value == "" and default:
                return default()
            message = str(error) if isinstance(error, ValueError) else f"{_name(of)} is expected ({_words(error)})"
            raise ValueError(message) from error

    return read


def _default(field: "attrs.Attribute[Any]") -> Callable[[], Any] | None:
    """Return what makes the default of a field; None if there is none, or if it is made from other fields."""
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, in spite of its stub
        return None if default.takes_self else default.factory
    return None if default is attrs.NOTHING else lambda: default


@attrs.frozen(eq=False, repr=False)
class Column:
    """A field of a record: its attribute, its name in `__init__` and in the API, and the hook that reads it."""

    attribute: str
    argument: str
    name: str
    read: Hook


@attrs.frozen(eq=False, repr=False)
class RecordHook:
    """The hook of a record class: each column by its type's hook, and what no column names into `extra`."""

    of: type[CallRecord]
    columns: tuple[Column, ...]
    known: frozenset[str]

    @classmethod
    def make(cls, of: type[CallRecord]) -> "RecordHook":
        """Make the hook of a class, with what is registered for the types of its fields.

        Raises:
            ValueError: if a field cannot be read, for its type or otherwise.
        """
        try:
            attrs.resolve_types(of)  # they are text where annotations are postponed
        except Exception as error:
            message = f"the types of {of.__name__} cannot be resolved ({_words(error)})"
            raise ValueError(message) from error
        columns = tuple(_column(of, field) for field in attrs.fields(of) if field.name != "extra")
        known = frozenset(column.name for column in columns)
        if len(known) < len(columns):
            message = f"two fields of {of.__name__} have the same wire name"
            raise ValueError(message)
        return cls(of, columns, known)

    def __call__(self, value: Mapping[str, Any], _: Any = None) -> CallRecord:
        """Return a JSON object as a record."""
        get = value.get
        fields: dict[str, Any] = {}
        try:
            extra = self.extra_of(value)
            fields |= {column.argument: column.read(get(column.name), None) for column in self.columns}
            return self.of(**fields, extra=extra)
        except Exception as error:  # noqa: BLE001 -- a class of a user's own may raise anything
            # Only now is it worth the time to find out which field it was.
            for column in self.columns:
                structure_field(value, column.name, column.read)
            for name in value:
                structure_field(value, name, opaque_json)
            raise self._refused(value, fields, error) from None

    def extra_of(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return what no column names."""
        return {name: opaque_json(value[name]) for name in sorted(value.keys() - self.known)}

    def _refused(self, value: Mapping[str, Any], fields: Mapping[str, Any], error: Exception) -> DecodeError:
        """Return the error for a record that its class refuses: of the field whose converter or validator does."""
        named = attrs.fields_dict(self.of)
        name = ""
        try:
            draft = object.__new__(self.of)
            for column in self.columns:
                name, field, item = column.name, named[column.attribute], fields[column.argument]
                convert: Any = field.converter
                if isinstance(field.converter, attrs.Converter):
                    item = convert(item, draft, field)
                elif convert:
                    item = convert(item)
                object.__setattr__(draft, column.attribute, item)
            for column in self.columns:
                name, field = column.name, named[column.attribute]
                if field.validator:
                    field.validator(draft, field, getattr(draft, column.attribute))
        except Exception as refused:  # noqa: BLE001 -- whatever it is, it is of this field
            if name:
                return _field_error(value, name, f"{self.of.__name__} refuses it ({_words(refused)})")
        return _record_error(value, self.of, _words(error))


def _column(of: type[CallRecord], field: "attrs.Attribute[Any]") -> Column:
    """Return the column of a field.

    Raises:
        ValueError: if it has none.
    """
    if not field.init:
        message = f"{of.__name__}.{field.name} has init=False: only what `__init__` takes can be read; use a property"
        raise ValueError(message)
    try:
        hook = _column_hook(field)
    except Exception as error:  # cattrs has errors of several kinds for a type that it cannot read
        message = (
            f"{of.__name__}.{field.name} is {_name(field.type)}, which cannot be read from JSON without a structure "
            f"hook of your own ({_words(error)})"
        )
        raise ValueError(message) from error
    return Column(field.name, field.alias or "", _wire_name(field.name), hook)


converter: cattrs.Converter = cattrs.Converter(detailed_validation=False)
"""The `cattrs.Converter` that has the hooks, one for each type of field and one for all record classes."""

_OPTIONAL_HOOK = converter.get_structure_hook(CallRecord | None)
"""What cattrs has for `X | None` where nothing is registered for it."""

for _type, _hook in _HOOKS.items():
    converter.register_structure_hook(_type | None, _hook)
    converter.register_structure_hook(_type, _always(_hook, _type))
converter.register_structure_hook(bytes, _no_bytes)
converter.register_structure_hook_factory(lambda of: (get_origin(of) or of) in _FROM_LIST, _from_list)
converter.register_structure_hook_factory(
    lambda cls: isinstance(cls, type) and issubclass(cls, CallRecord), RecordHook.make
)


class _Registrations:
    """A class whose hook is another one after any hook has been registered: cattrs clears its cache then."""


def _new_hook(_: Any) -> Hook:
    return partial(opaque_json)


converter.register_structure_hook_factory(lambda of: of is _Registrations, _new_hook)


@attrs.define(eq=False, repr=False)
class ClassMemo:
    """What is made of a record class. The class itself keeps it, so both are collected together.

    cattrs would keep every class in its cache. A pickle of the class, as cloudpickle makes it, has an empty memo.
    """

    hook: Hook = opaque_json
    registrations: object = None
    reader: Any = None
    """What `rows` makes; a tuple of one, None before it is made."""
    from_dict: Any = None
    """The hook of `from_dict()`; None before it is made."""

    def __reduce__(self) -> tuple[type["ClassMemo"], tuple[()]]:
        return ClassMemo, ()


def class_memo(of: type[CallRecord]) -> ClassMemo:
    """Return the memo of a class; a new one after a hook has been registered.

    Raises:
        ValueError: for a class of which a field cannot be read.
    """
    registrations = converter.get_structure_hook(_Registrations)
    memo: ClassMemo | None = vars(of).get(_MEMO)
    if memo is None or memo.registrations is not registrations:
        memo = ClassMemo(converter.get_structure_hook(of, cache_result=False), registrations)
        with suppress(AttributeError, TypeError):  # a class of a user's own may forbid it
            setattr(of, _MEMO, memo)
    return memo


def structure_hook(of: type[CallRecord]) -> Hook:
    """Return what structures a class: a `RecordHook`, unless another has been registered for it."""
    return class_memo(of).hook


def structure_record(value: Mapping[str, Any], of: type[R]) -> R:
    """Return a JSON object as a record.

    Raises:
        DecodeError: if a value is not what its field holds.
        ValueError: for a class of which a field cannot be read.
    """
    hook = structure_hook(of)
    if isinstance(hook, RecordHook):
        return hook(value, of)  # type: ignore[return-value]  # it is the hook of this class
    for name in value:
        structure_field(value, name, opaque_json)
    try:
        record = hook(value, of)
    except DecodeError:
        raise
    except Exception as error:  # noqa: BLE001 -- a hook of a user's own may raise anything
        raise _record_error(value, of, _words(error)) from None
    if not isinstance(record, of):
        raise _record_error(value, of, f"its hook returned {brief(record)}")
    return record
