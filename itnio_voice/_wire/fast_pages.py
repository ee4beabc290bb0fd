"""The fast path from a page's JSON to records: code that is generated for each record class.

A field has the meaning that its hook in `scalars` gives it. The generated code reads the most common values in place
and calls the hook for all others. If anything on a page does not fit, `structuring` reads the page again and finds the
field for the error.
"""

import linecache
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, Literal

import attrs
import msgspec

from .._model.records import CallRecord, R
from .scalars import INLINE, known_amounts, number, opaque_json, plain_instants, timestamp, written_alike
from .structuring import Hook, RecordHook, class_memo

__all__ = ["PAGE_NUMBERS", "learn_extra_fields", "read_rows"]

PAGE_NUMBERS = ("total", "size", "current", "pages")
"""The numbers of an answer about the page and the complete result."""

_MOST_OTHERS = 64

# On a page whose times all have the vendor's usual form, `fromisoformat` alone reads them.
_INLINE_PLAIN: Mapping[Hook, str] = {**INLINE, timestamp: "fromisoformat(value) if value else None"}


@attrs.frozen
class _Reader:
    """Reads answers whose rows have the fields of a record class and the fields `others`."""

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
            ValueError: if msgspec does not accept one of the names in `others`.
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
            gc=False,  # plain values, without cycles
        )
        times = "".join(f"row.{name}, " for name in instants)
        numbers = [(name, Any, None) for name in PAGE_NUMBERS]
        data = msgspec.defstruct("Data", [("records", list[row]), *numbers])  # type: ignore[valid-type] # made here
        answer = msgspec.defstruct("Answer", [("status", Literal["0"]), ("data", data)])
        return cls(
            hook,
            others,
            msgspec.json.Decoder(answer, float_hook=number),
            _compile("times_of", ["def times_of(row):", f"    return ({times})"], {}, hook.of),
            _row_function(hook, others, INLINE, "record_of"),
            _row_function(hook, others, _INLINE_PLAIN, "plain_record_of"),
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


def _row_function(
    hook: RecordHook, others: tuple[str, ...], inline: Mapping[Hook, str], name: str
) -> Callable[[Any], Any]:
    """Return the function that makes a record from a row.

    It assigns the fields to an instance of a writable class with the same memory layout, and then sets the class. The
    `__init__` of a frozen class with 25 fields takes half the time that `json.loads` takes for their JSON, and the
    `__set__` of each slot a third of it.
    """
    lines = [f"def {name}(row):", "    record = new(Writable)"]
    names: dict[str, Any] = {"new": object.__new__, "Writable": _writable(hook.of), "Record": hook.of}
    names |= {"known_amounts": known_amounts, "fromisoformat": datetime.fromisoformat, "extra_of": partial(_extra_of, others)}
    for column in hook.columns:
        attribute = column.attribute
        value = inline.get(column.read, "read(value, None)").replace("read(", f"read_{attribute}(")
        lines += [f"    value = row.{attribute}", f"    record.{attribute} = {value}"]
        names[f"read_{attribute}"] = column.read
    values = "".join(f"row.other_{index}, " for index in range(len(others)))
    lines += [f"    record.extra = extra_of(({values}))" if others else "    record.extra = {}"]
    lines += ["    record.__class__ = Record", "    return record"]
    return _compile(name, lines, names, hook.of)


def _writable(of: type[CallRecord]) -> type[CallRecord]:
    """Return a class with the attributes of a frozen record class, and the same memory layout, that can be written."""
    members = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(of.__name__, (of,), members)


def _extra_of(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    """Return the values that a row has of fields that its class does not have."""
    pairs = zip(names, values, strict=True)
    return {name: opaque_json(value) for name, value in pairs if value is not msgspec.UNSET}


def _compile(name: str, lines: list[str], names: dict[str, Any], of: type[CallRecord]) -> Callable[[Any], Any]:
    """Return a function by its source, which tracebacks show. The source holds names of attributes, no text of answers.

    The file name is the class's, so that the source of a class is kept once.
    """
    source, file = "\n".join(lines) + "\n", f"<itnio_voice generated {name} {of.__module__}.{of.__qualname__}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    exec(compile(source, file, "exec"), names)  # noqa: S102 -- as attrs and cattrs make theirs
    function: Callable[[Any], Any] = names[name]
    return function


def _init_only_assigns(of: type[CallRecord]) -> bool:
    """Return whether the `__init__` of a class only assigns its arguments."""
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
    """Return the reader for a class; None if it has its own hook, or its `__init__` does more than assign."""
    memo = class_memo(of)
    if memo.reader is None:
        memo.reader = (None,)
        with suppress(Exception):  # a class of a user's own may forbid subclasses
            if isinstance(memo.hook, RecordHook) and _init_only_assigns(of):
                memo.reader = (_Reader.make(memo.hook),)
    reader: _Reader | None = memo.reader[0]
    return reader


def read_rows(body: bytes, of: type[R]) -> tuple[dict[str, Any], tuple[R, ...], list[str] | None] | None:
    """Return the result of `_Reader.read`, with unchecked numbers; None if the exact path must read the page."""
    reader = _reader_of(of)
    if reader is None:
        return None
    try:
        return reader.read(body)
    except Exception:  # noqa: BLE001 -- `structuring` raises it again, with the field's name
        return None


def learn_extra_fields(rows: Iterable[Mapping[str, Any]], of: type[CallRecord]) -> None:
    """Make a reader for the fields of these rows that the class does not have, so that later rows are read here."""
    reader = _reader_of(of)
    if reader is None:
        return
    others = {*reader.others, *(name for row in rows for name in row.keys() - reader.hook.known)}
    if len(reader.others) < len(others) <= _MOST_OTHERS:
        with suppress(ValueError):
            class_memo(of).reader = (_Reader.make(reader.hook, tuple(sorted(others))),)
