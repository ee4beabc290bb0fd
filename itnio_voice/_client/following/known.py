"""Which records were returned before: a digest of each, the same in every process. Pure."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Generic

import attrs

from ..._model.records import CallRecord, R, content
from ..._walk.seen import share_id

__all__ = ["DIGEST", "Known", "Sorted", "digest_of", "identity"]

DIGEST = 18
"""The bytes of a record's digest: its id, submit time, callee and content, in this order."""
_ID, _PART, _MARKS = 6, 3, 12
_MISSING = bytes(_PART)


def digest_of(record: CallRecord) -> bytes:
    """Return the digest of a record. Without an id, the content is used as its id."""
    whole = _hash(content(record), DIGEST - _MARKS)
    name = whole if record.voice_id is None else _hash(record.voice_id, _ID)
    return name + _part(record.submit_time) + _part(record.callee) + whole


def identity(digest: bytes) -> bytes:
    """Return the part of a digest that stays the same when the record changes."""
    return digest[:_MARKS]


def _hash(value: object, size: int) -> bytes:
    return blake2b(_text(value).encode("utf-8", "surrogatepass"), digest_size=size).digest()


def _part(value: object) -> bytes:
    return _MISSING if value is None else _hash(value, _PART)


def _text(value: object) -> str:
    """Return a text that is the same for equal values, in every process and however the server wrote them."""
    match value:
        case str() | int() | None:
            pass  # most values, and the other checks take longer
        case datetime():
            with suppress(OverflowError):  # in the year 1 or 9999
                value = value if value.utcoffset() is None else value.astimezone(UTC)
        case Decimal():
            return f"Decimal {value.normalize()}"
        case tuple():
            return f"({', '.join(map(_text, value))})"
        case AbstractSet():
            return f"{{{', '.join(sorted(map(_text, value)))}}}"
        case type():
            return value.__qualname__
        case _:
            pass
    return repr(value)


@attrs.frozen(eq=False, repr=False)
class Sorted(Generic[R]):
    """The records of an answer that were not returned before, and those that have changed since."""

    new: Sequence[R]
    changed: Sequence[R]


class Known:
    """The records that were returned before, by their digests."""

    def __init__(self, digests: Iterable[bytes], shared_ids: set[Hashable]) -> None:
        self._shared_ids = shared_ids
        self._by_id = defaultdict[bytes, list[bytes]](list)
        for digest in digests:
            self._by_id[digest[:_ID]].append(digest)

    def sort(self, rows: Iterable[tuple[bytes, R]]) -> Sorted[R]:
        """Sort the records of one reading, each with its digest, of which none is listed twice."""
        new, changed = list[R](), list[R]()
        for digest, record in rows:
            before = self._by_id.get(digest[:_ID], ())
            if any(digest[_MARKS:] == each[_MARKS:] for each in before):
                continue
            is_other = record.voice_id is None or record.voice_id in self._shared_ids
            if before and not is_other and not any(_may_be(digest, each) for each in before):
                share_id(record.voice_id, self._shared_ids)
                is_other = True
            (new if is_other or not before else changed).append(record)
        return Sorted(new, changed)


def _may_be(one: bytes, other: bytes) -> bool:
    """Return whether two records with the same id may be the same call. A missing time or callee matches any other."""
    parts = (slice(_ID, _ID + _PART), slice(_ID + _PART, _MARKS))
    return all(one[part] == other[part] or _MISSING in {one[part], other[part]} for part in parts)
