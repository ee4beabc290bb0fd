"""The bounded heap sort of PostgreSQL: which rows `ORDER BY … LIMIT …` keeps, and the order of ties."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, TypeVar

__all__ = ["lowest"]

T = TypeVar("T", bound=Sequence[Any])

_FILLS = 2


def lowest(rows: Sequence[T], count: int) -> list[T]:
    """Return the `count` (1 or more) rows whose first value is lowest, in order, as PostgreSQL's `tuplesort.c` does.

    It sorts all rows where they are at most twice `count`, and its sort leaves rows that are in order as they are.
    Otherwise it keeps the lowest in a heap of `count` rows with the highest on top: where ties stand then depends on
    `count`.
    """
    if len(rows) <= _FILLS * count:
        return sorted(rows, key=itemgetter(0))[:count]
    heap: list[T] = []
    for row in rows:
        if len(heap) < count:
            _insert(heap, row)
        elif row[0] < heap[0][0]:
            _replace_top(heap, row)
    descending: list[T] = []
    while heap:
        descending.append(heap[0])
        last = heap.pop()
        if heap:
            _replace_top(heap, last)
    return descending[::-1]


def _insert(heap: list[T], row: T) -> None:
    """Add a row at the bottom and let it rise past lower ones."""
    at = len(heap)
    heap.append(row)
    while at and row[0] > heap[(at - 1) // 2][0]:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = row


def _replace_top(heap: list[T], row: T) -> None:
    """Put a row in place of the top one and let it sink past higher ones."""
    at, size = 0, len(heap)
    while (child := 2 * at + 1) < size:
        if child + 1 < size and heap[child + 1][0] > heap[child][0]:
            child += 1
        if heap[child][0] <= row[0]:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = row
