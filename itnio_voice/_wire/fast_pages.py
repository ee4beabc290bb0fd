"""The fast path from a page's JSON to records: code that is generated for each record class.

A field has the meaning that its hook in `scalars` gives it. The generated code reads the most common values in place
and calls the hook for all others. If anything on a page does not fit, `structuring` reads the page again and finds the
field for the error.
"""

import linecache
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property, partial
from itertools import chain
from operator import attrgetter
from types import MappingProxyType, NoneType
from typing import Any, Literal

import attrs
import msgspec

from .._model.errors import ItnioError
from .._model.records import CallRecord, R
from .late_records import LateRecords, Redact
from .scalars import (
    INLINE,
    INLINE_STRICT,
    SHORT_TIME,
    amount,
    boolean,
    floating,
    integer,
    known_amounts,
    number,
    opaque_json,
    text,
    timestamp,
    timestamps,
)
from .structuring import Hook, RecordHook, class_memo, structure_record

__all__ = ["PAGE_NUMBERS", "learn_extra_fields", "read_rows"]

PAGE_NUMBERS = ("total", "size", "current", "pages")
"""The numbers of an answer about the page and the complete result."""

_MOST_OTHERS = 64
_OWN_HOOKS = {amount, boolean, floating, integer, text, timestamp}
_KNOWN_EARLY: Mapping[str, Hook] = {"voice_id": text, "callee": text, "submit_time": timestamp}
"""The attributes that a walk needs before the records are built, with their usual hooks."""
_NONE_KNOWN: Mapping[str, Sequence[Any]] = MappingProxyType({})


@attrs.frozen(eq=False, repr=False)
class _Reader:
    """Reads answers whose rows have the fields of a record class and the fields `others`.

    With `is_strict`, it accepts only what most servers send: text or null for texts and amounts, numbers or null for
    integers, and for times no fractions of a second. msgspec itself checks that, which saves a check of each value.
    """

    hook: RecordHook
    others: tuple[str, ...]
    is_strict: bool
    decoder: msgspec.json.Decoder[Any]
    names: Mapping[str, str]
    may_be_late: bool
    times: tuple[str, ...]
    record_of: Callable[..., Any]

    @classmethod
    def make(cls, hook: RecordHook, others: tuple[str, ...] = (), *, is_strict: bool = True) -> "_Reader":
        """Make the reader for the class of a hook.

        Raises:
            ValueError: if msgspec does not accept one of the names in `others`.
        """
        names = {column.attribute: column.name for column in hook.columns}
        other_names = {f"other_{index}": name for index, name in enumerate(others)}
        times = tuple(column.attribute for column in hook.columns if column.read is timestamp)
        inline: Mapping[Hook, str] = INLINE
        types: dict[Hook, Any] = {timestamp: str | None}
        if is_strict:
            inline = {hook: expression for hook, (_, expression) in INLINE_STRICT.items()}
            types = {timestamp: SHORT_TIME} | {hook: of for hook, (of, _) in INLINE_STRICT.items()}
        row = msgspec.defstruct(
            "Row",
            [(column.attribute, types.get(column.read, Any), None) for column in hook.columns]
            + [(name, Any, msgspec.UNSET) for name in other_names],
            rename=names | other_names,
            forbid_unknown_fields=True,
            gc=False,  # plain values, without cycles
        )
        numbers = [(name, Any, None) for name in PAGE_NUMBERS]
        data = msgspec.defstruct("Data", [("records", list[row]), *numbers])  # type: ignore[valid-type] # made here
        answer = msgspec.defstruct("Answer", [("status", Literal["0"]), ("data", data)])
        return cls(
            hook,
            others,
            is_strict,
            msgspec.json.Decoder(answer, float_hook=number),
            names | other_names,
            # The hook of a user's own may do anything, so it is called where its errors were always raised.
            all(column.read in _OWN_HOOKS for column in hook.columns)
            and _KNOWN_EARLY.items() <= {column.attribute: column.read for column in hook.columns}.items(),
            times,
            _row_function(hook, others, inline, times),
        )

    @cached_property
    def of_any_value(self) -> "_Reader":
        """The reader for a server that sends numbers for texts, the reverse, or times with fractions of a second."""
        return self.make(self.hook, self.others, is_strict=False)

    def read(self, body: bytes, redact: Redact | None) -> tuple[dict[str, Any], Sequence[Any]]:
        """Return a page's numbers and its records; with `redact`, the records are built late if that is possible."""
        data = self.decoder.decode(body).data
        numbers = {name: getattr(data, name) for name in PAGE_NUMBERS}
        late = self._late(data.records, redact) if redact and self.may_be_late and data.records else None
        return numbers, self.build(data.records) if late is None else late

    def build(self, rows: Sequence[Any], known: Mapping[str, Sequence[Any]] = _NONE_KNOWN) -> tuple[Any, ...]:
        """Return the records of rows, of which the values of some attributes are known."""
        times = {**self._times_of(rows, [name for name in self.times if name not in known]), **known}
        return tuple(map(self.record_of, rows, *[times[name] for name in self.times]))

    def _times_of(self, rows: Sequence[Any], names: Sequence[str]) -> dict[str, list[datetime | None]]:
        """Return the times that attributes of rows hold as text, by attribute."""
        texts = [list(map(attrgetter(name), rows)) for name in names]
        return dict(zip(names, timestamps(texts, are_short=self.is_strict), strict=True))

    def _late(self, rows: Sequence[Any], redact: Redact) -> LateRecords[Any] | None:
        """Return the records of rows, to be built later; None if the walk needs them at once."""
        texts = [[row.voice_id for row in rows], [row.callee for row in rows]]
        if not (self.is_strict or {str, NoneType}.issuperset(map(type, chain(*texts)))):
            return None
        ids, callees = ([value or None for value in values] if "" in values else values for values in texts)
        known = {"voice_id": ids, "callee": callees, **self._times_of(rows, ["submit_time"])}

        def build(rows: Sequence[Any], known: Mapping[str, Sequence[Any]]) -> tuple[Any, ...] | ItnioError:
            try:
                return self.build(rows, known)
            except Exception:  # noqa: BLE001 -- `structuring` raises it again, with the field's name
                return _build_exactly(map(self.object_of, rows), self.hook.of, redact)

        return LateRecords(rows, known, build)

    def object_of(self, row: Any) -> dict[str, Any]:
        """Return a row as the JSON object that it was read from."""
        values = msgspec.structs.asdict(row)
        return {self.names[name]: value for name, value in values.items() if value is not msgspec.UNSET}


def _build_exactly(objects: Iterable[Mapping[str, Any]], of: type[R], redact: Redact) -> tuple[R, ...] | ItnioError:
    """Return the records of JSON objects, or the error for an invalid value; no frame and no text holds a secret."""
    try:
        return tuple(structure_record(each, of) for each in objects)
    except ItnioError as error:
        redact(error)
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)


def _row_function(
    hook: RecordHook, others: tuple[str, ...], inline: Mapping[Hook, str], times: tuple[str, ...]
) -> Callable[..., Any]:
    """Return the function that makes a record from a row and its times.

    It assigns the fields to an instance of a writable class with the same memory layout, and then sets the class. The
    `__init__` of a frozen class with 25 fields takes half the time that `json.loads` takes for their JSON, and the
    `__set__` of each slot a third of it.
    """
    lines = [f"def record_of({', '.join(('row', *times))}):", "    record = new(Writable)"]
    names: dict[str, Any] = {"new": object.__new__, "Writable": _writable(hook.of), "Record": hook.of}
    names |= {
        "known_amounts": known_amounts,
        "extra_of": partial(_extra_of, others),
    }
    for column in hook.columns:
        attribute = column.attribute
        if attribute in times:
            lines += [f"    record.{attribute} = {attribute}"]
        else:
            value = inline.get(column.read, "read({}, None)").format(f"row.{attribute}")
            lines += [f"    record.{attribute} = {value}".replace("read(", f"read_{attribute}(")]
            names[f"read_{attribute}"] = column.read
    values = "".join(f"row.other_{index}, " for index in range(len(others)))
    lines += [f"    record.extra = extra_of(({values}))" if others else "    record.extra = {}"]
    lines += ["    record.__class__ = Record", "    return record"]
    return _compile("record_of", lines, names, hook.of)


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


def read_rows(body: bytes, of: type[R], redact: Redact | None = None) -> tuple[dict[str, Any], Sequence[R]] | None:
    """Return the result of `_Reader.read`, with unchecked numbers; None if the exact path must read the page."""
    reader = _reader_of(of)
    if reader is None:
        return None
    with suppress(Exception):  # `structuring` raises it again, with the field's name
        return reader.read(body, redact)
    if reader.is_strict:
        with suppress(Exception):
            result = reader.of_any_value.read(body, redact)
            class_memo(of).reader = (reader.of_any_value,)
            return result
    return None


def learn_extra_fields(rows: Iterable[Mapping[str, Any]], of: type[CallRecord]) -> None:
    """Make a reader for the fields of these rows that the class does not have, so that later rows are read here."""
    reader = _reader_of(of)
    if reader is None:
        return
    others = {*reader.others, *(name for row in rows for name in row.keys() - reader.hook.known)}
    if len(reader.others) < len(others) <= _MOST_OTHERS:
        with suppress(ValueError):
            made = _Reader.make(reader.hook, tuple(sorted(others)), is_strict=reader.is_strict)
            class_memo(of).reader = (made,)
