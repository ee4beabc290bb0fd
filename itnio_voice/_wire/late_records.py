"""Records that are built when they are needed. Pure.

A walk holds many pages before it returns their records. The rows of an answer, as they were decoded, take much less
time to write to memory than records with all their values. A few values of each row are enough to check a page.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Generic, overload

import attrs

from .._model.errors import ItnioError
from .._model.records import CallRecord, R

__all__ = ["LateRecords", "Redact", "column", "picked"]

Redact = Callable[[ItnioError], None]
"""Removes secrets from an error, in place."""


@attrs.define(eq=False, repr=False)
class LateRecords(Sequence[R], Generic[R]):
    """The rows of an answer, as a sequence of records.

    `values` are the values of some attributes, by name and row. `build` returns the records of rows of which these
    values are known, or the error for an invalid value.
    """

    _rows: Sequence[Any]
    _values: Mapping[str, Sequence[Any]]
    _build: Callable[[Sequence[Any], Mapping[str, Sequence[Any]]], tuple[R, ...] | ItnioError]
    _all: tuple[R, ...] | None = attrs.field(default=None, init=False)
    """All records, once they have been built."""

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> R: ...

    @overload
    def __getitem__(self, at: slice) -> "LateRecords[R]": ...

    def __getitem__(self, at: int | slice) -> "R | LateRecords[R]":
        if isinstance(at, slice):
            values = {name: values[at] for name, values in self._values.items()}
            return LateRecords(self._rows[at], values, self._build)
        (record,) = self.picked([at])
        return record

    def __iter__(self) -> Iterator[R]:
        """Build all records, and iterate over them.

        Raises:
            DecodeError: if a value of one of them is invalid for its field.
        """
        if self._all is None:
            built = self._build(self._rows, self._values)
            if isinstance(built, ItnioError):
                raise built
            self._all = built
        return iter(self._all)

    def column(self, name: str) -> Sequence[Any] | None:
        """Return the values of an attribute, if they are known without building the records."""
        return self._values.get(name)

    def picked(self, rows: Sequence[int]) -> "LateRecords[R]":
        """Return the records of some rows."""
        values = {name: [values[row] for row in rows] for name, values in self._values.items()}
        return LateRecords([self._rows[row] for row in rows], values, self._build)


def column(records: Sequence[CallRecord], name: str) -> Sequence[Any]:
    """Return the values of an attribute."""
    values = records.column(name) if isinstance(records, LateRecords) else None
    return list(map(attrgetter(name), records)) if values is None else values


def picked(records: Sequence[R], rows: Sequence[int]) -> Sequence[R]:
    """Return the records of some rows, without building them."""
    return records.picked(rows) if isinstance(records, LateRecords) else [records[row] for row in rows]
