"""The fast path from a page's JSON to records: code that is generated for each record class.

What a field may hold is said by the hooks of `values`, and they are called here too; only the commonest values of
the commonest are read in place. Whatever does not fit is left to `converters`, which finds out what it was.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Any, Literal

import attrs
import msgspec

from .._model.records import CallRecord, R
from .scalars import (
    LARGEST_EXPONENT,
    amount,
    integer,
    number,
    opaque_json,
    plain_instants,
    text,
    timestamp,
    written_alike,
)
from .structuring import Hook, RecordHook, class_memo

__all__ = ["PAGE_NUMBERS", "learn_extra_fields", "read_rows"]

PAGE_NUMBERS = ("total", "size", "current", "pages")
"""What an answer tells of the page and of the whole."""

_MOST_OTHERS = 64

# How a value is read where it need not be by a call of its hook, which would return the same.
_INLINE: Mapping[Hook, str] = {
    text: "(value or None) if value.__class__ is str or value is None else read(value, None)",
    integer: "value if value is None or (value.__class__ is int and -(10**18) < value < 10**18) else read(value, None)",
    amount: "None if not value and (value is None or value == '')"
    " else exact if value.__class__ is str and (exact := Decimal(value)).is_finite()"
    f" and {-LARGEST_EXPONENT} <= exact.adjusted() <= {LARGEST_EXPONENT}"
    " and '_' not in value and value.isascii() else read(value, None)",
}
# The same on a page whose times are all as the vendor's page writes them.
_INLINE_PLAIN: Mapping[Hook, str] = {**_INLINE, timestamp: "fromisoformat(value) if value else None"}


@attrs.frozen
class _Reader:
    """How answers are read whose rows have the fields of a record class, and these `others`."""

    hook: RecordHook
    others: tuple[str, ...]
    decoder: msgspec.json.Decoder[Any]
    instants: Callable[[Any], tuple[str | None, ...]]
    build: Callable[[Any], Any]
    build_plain: Callable[[Any], Any]

    @classmethod
    def make(cls, hook: RecordHook, others: tuple[str, ...] = ()) -> "_Reader":
        """Make the reader for the class of a hook.

        Raises:
            ValueError: if one of the others is a name that msgspec cannot look for.
        """
        names = {column.attribute: column.name for column in hook.columns}
        other_names = {f"other_{index}": name for index, name in enumerate(others)}
        instants = [column.attribute for column in hook.columns if column.read is timestamp]
        types: dict[str, Any] = dict.fromkeys(names, Any) | dict.fromkeys(instants, str | None)
        row = msgspec.defstruct(
            "Row",
            [(name, type_, None) for name, type_ in types.items()]
            + [(name, Any, msgspec.UNSET) for name in other_names],
            rename=names | other_names,
            forbid_unknown_fields=True,
            gc=False,  # plain values: there is nothing for the garbage collector to find
        )
        numbers = [(name, Any, None) for name in PAGE_NUMBERS]
        data = msgspec.defstruct("Data", [("records", list[row]), *numbers])  # type: ignore[valid-type] # made here
        answer = msgspec.defstruct("Answer", [("status", Literal["0"]), ("data", data)])
        return cls(
            hook,
            others,
            msgspec.json.Decoder(answer, float_hook=number),
            _compile(["def made(row):", f"    return ({''.join(f'row.{name}, ' for name in instants)})"], {}),
            _row_function(hook, others, _INLINE),
            _row_function(hook, others, _INLINE_PLAIN),
        )

    def read(self, body: bytes) -> tuple[dict[str, Any], tuple[Any, ...], list[str] | None]:
        """Return a page's numbers, its records, and their submit times as text if these sort like the times."""
        data = self.decoder.decode(body).data
        rows = data.records
        instants = [*filter(None, chain.from_iterable(map(self.instants, rows)))]
        if not plain_instants(instants):
            return msgspec.structs.asdict(data), tuple(map(self.build, rows)), None
        times = [row.submit_time for row in rows]
        sort_as_text = all(times) and written_alike(times)
        return msgspec.structs.asdict(data), tuple(map(self.build_plain, rows)), times if sort_as_text else None


def _row_function(hook: RecordHook, others: tuple[str, ...], reading: Mapping[Hook, str]) -> Callable[[Any], Any]:
    """Make the function that turns a row into a record."""
    lines = ["def made(row):", "    record = new(Draft)"]
    for column in hook.columns:
        value = reading.get(column.read, "read(value, None)").replace("read(", f"read_{column.attribute}(")
        lines += [f"    value = row.{column.attribute}", f"    record.{column.attribute} = {value}"]
    values = "".join(f"row.other_{index}, " for index in range(len(others)))
    lines.append(f"    record.extra = kept_of(({values}))" if others else "    record.extra = {}")
    lines += ["    record.__class__ = Record", "    return record"]

    def kept_of(values: tuple[Any, ...]) -> dict[str, Any]:
        return {
            name: opaque_json(value) for name, value in zip(others, values, strict=True) if value is not msgspec.UNSET
        }

    names: dict[str, Any] = {f"read_{column.attribute}": column.read for column in hook.columns}
    names |= {"new": object.__new__, "Draft": _draft(hook.of), "Record": hook.of}
    return _compile(lines, names | {"Decimal": Decimal, "fromisoformat": datetime.fromisoformat, "kept_of": kept_of})


def _compile(lines: list[str], names: dict[str, Any]) -> Callable[[Any], Any]:
    """Return the function `made` of some code. There are attributes' names in it, and no text of a server's."""
    exec("\n".join(lines), names)  # noqa: S102 -- as attrs and cattrs make theirs
    made: Callable[[Any], Any] = names["made"]
    return made


def _draft(of: type[CallRecord]) -> type[CallRecord]:
    """Return a record class that can be written to, for a record until it is whole: it lies in memory as the other.

    The `__init__` of a frozen class with 25 fields takes half the time that `json.loads` takes for their JSON.
    """
    writable = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(of.__name__, (of,), writable)


def _init_only_assigns(of: type[CallRecord]) -> bool:
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


def _reader_of(of: type[CallRecord]) -> _Reader | None:
    """Return the reader for a class; None for one that has its own hook, or does more than store its fields."""
    memo = class_memo(of)
    if memo.reader is None:
        memo.reader = (None,)
        with suppress(Exception):  # a class of a user's own may forbid that it is extended
            if isinstance(memo.hook, RecordHook) and _init_only_assigns(of):
                memo.reader = (_Reader.make(memo.hook),)
    reader: _Reader | None = memo.reader[0]
    return reader


def read_rows(body: bytes, of: type[R]) -> tuple[dict[str, Any], tuple[R, ...], list[str] | None] | None:
    """Return what `_Reader.read` does, the page's numbers as they came; None if the page needs a closer look."""
    reader = _reader_of(of)
    if reader is None:
        return None
    try:
        return reader.read(body)
    except Exception:  # noqa: BLE001 -- whatever it is, `converters` finds it again and names it
        return None


def learn_extra_fields(rows: Iterable[Mapping[str, Any]], of: type[CallRecord]) -> None:
    """Take in which other names rows have than those of the class's fields, so that the next are read here."""
    reader = _reader_of(of)
    if reader is None:
        return
    others = {*reader.others, *(name for row in rows for name in row.keys() - reader.hook.known)}
    if len(reader.others) < len(others) <= _MOST_OTHERS:
        with suppress(ValueError):
            class_memo(of).reader = (_Reader.make(reader.hook, tuple(sorted(others))),)
