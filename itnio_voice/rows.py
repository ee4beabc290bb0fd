"""A page's records at full speed: JSON into rows, and rows into records by code that is made for their class.

What a field may hold is said by the hooks of `converters`, and they are called here too; only the commonest values of
the commonest are read in place. Whatever does not fit is left to `converters`, which finds out what it was.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import attrs
import msgspec

from .converters import Hook, RecordHook, amount, instant, integer, kept, structure_hook, text
from .models import CallRecord, R

__all__ = ["learn", "read_rows"]

_MOST_OTHERS = 64

# What a value often is, told without a call of its hook, which would return the same.
_OFTEN: Mapping[Hook, str] = {
    text: "(value or None) if type(value) is str or value is None",
    integer: "value if value is None or (type(value) is int and -(10**18) < value < 10**18)",
    instant: "None if value is None or value == ''",
    amount: "None if value is None or value == ''",
}


@attrs.frozen
class _Reader:
    """How answers are read whose rows have the fields of a record class, and these `others`."""

    hook: RecordHook
    others: tuple[str, ...]
    decoder: msgspec.json.Decoder[Any]
    build: Callable[[Any], Any]

    @classmethod
    def make(cls, hook: RecordHook, others: tuple[str, ...] = ()) -> "_Reader":
        """Make the reader for the class of a hook.

        Raises:
            ValueError: if one of the others is a name that msgspec cannot look for.
        """
        names = {column.attribute: column.name for column in hook.columns}
        other_names = {f"other_{index}": name for index, name in enumerate(others)}
        row = msgspec.defstruct(
            "Row",
            [*((name, Any, None) for name in names), *((name, Any, msgspec.UNSET) for name in other_names)],
            rename=names | other_names,
            forbid_unknown_fields=True,
            gc=False,  # plain values: there is nothing for the garbage collector to find
        )
        numbers = [(name, Any, None) for name in ("total", "size", "current", "pages")]
        data = msgspec.defstruct("Data", [("records", list[row]), *numbers])  # type: ignore[valid-type] # made here
        answer = msgspec.defstruct("Answer", [("status", Literal["0"]), ("data", data)])
        return cls(hook, others, msgspec.json.Decoder(answer, float_hook=Decimal), _builder(hook, others))


def _builder(hook: RecordHook, others: tuple[str, ...]) -> Callable[[Any], Any]:
    """Make the function that turns a row into a record. No text of a server's is in its code."""
    lines = ["def build(row):", "    record = new(Draft)"]
    for column in hook.columns:
        often = f"{_OFTEN[column.read]} else " if column.read in _OFTEN else ""
        lines.append(f"    value = row.{column.attribute}")
        lines.append(f"    record.{column.attribute} = {often}read_{column.attribute}(value, None)")
    values = "".join(f"row.other_{index}, " for index in range(len(others)))
    lines.append(f"    record.extra = kept_of(({values}))" if others else "    record.extra = {}")
    lines += ["    record.__class__ = Record", "    return record"]

    def kept_of(values: tuple[Any, ...]) -> dict[str, Any]:
        return {name: kept(value) for name, value in zip(others, values, strict=True) if value is not msgspec.UNSET}

    reads = {f"read_{column.attribute}": column.read for column in hook.columns}
    names: dict[str, Any] = {"new": object.__new__, "Draft": _draft(hook.of), "Record": hook.of, "kept_of": kept_of}
    exec("\n".join(lines), names | reads, names)  # noqa: S102 -- as attrs and cattrs make theirs
    build: Callable[[Any], Any] = names["build"]
    return build


def _draft(of: type[CallRecord]) -> type[CallRecord]:
    """Return a record class that can be written to, for a record until it is whole: it lies in memory as the other.

    The `__init__` of a frozen class with 25 fields takes half the time that `json.loads` takes for their JSON.
    """
    writable = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(of.__name__, (of,), writable)


def _only_stores(of: type[CallRecord]) -> bool:
    """Tell whether the `__init__` of a class does no more than store what it is given."""
    if "__attrs_props__" not in vars(of):
        return False
    made = attrs.inspect(of)
    return (
        made.added_init
        and made.hashability is not attrs.ClassProps.Hashability.HASHABLE_CACHED
        and not (hasattr(of, "__attrs_pre_init__") or hasattr(of, "__attrs_post_init__"))
        and all(field.init and not (field.validator or field.converter) for field in attrs.fields(of))
    )


_readers: dict[RecordHook, _Reader] = {}


def _reader_of(of: type[CallRecord]) -> _Reader | None:
    """Return the reader for a class; None for one that has its own hook, or does more than store its fields."""
    hook = structure_hook(of)
    if not isinstance(hook, RecordHook):
        return None
    if hook not in _readers and _only_stores(of):
        _readers[hook] = _Reader.make(hook)
    return _readers.get(hook)


def read_rows(body: bytes, of: type[R]) -> tuple[dict[str, Any], tuple[R, ...]] | None:
    """Return the numbers that a page tells, as they came, and its records; None if it needs a closer look."""
    reader = _reader_of(of)
    if reader is None:
        return None
    try:
        data = reader.decoder.decode(body).data
        return msgspec.structs.asdict(data), tuple(map(reader.build, data.records))
    except (ValueError, msgspec.MsgspecError, RecursionError, InvalidOperation):
        return None


def learn(rows: Iterable[Mapping[str, Any]], of: type[CallRecord]) -> None:
    """Take in which other names rows have than those of the class's fields, so that the next are read here."""
    reader = _reader_of(of)
    if reader is None:
        return
    others = {*reader.others, *(name for row in rows for name in row.keys() - reader.hook.known)}
    if len(reader.others) < len(others) <= _MOST_OTHERS:
        with suppress(ValueError):
            _readers[reader.hook] = _Reader.make(reader.hook, tuple(sorted(others)))
