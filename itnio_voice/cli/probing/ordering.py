"""The question about the order of records: lists of the same records are compared."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise

import attrs

from .answers import TIMES, Row
from .exchange import Exchange
from .findings import Finding, certain, likely, not_known
from .sample import Sample

__all__ = ["ORDER", "Listings", "ask_order", "order_of"]

ORDER = ("order",)
Rows = Sequence[Row]
FEWEST_TIMES = 5
"""The number of different times from which a list shows the order."""
ENOUGH_TIES = 4
"""The number of records of equal time from which a repeated order is not by chance."""


@attrs.frozen
class Listings:
    """Lists of the same records: pairs that answer the same request, and pairs on pages of different sizes."""

    same_request: tuple[tuple[Rows, Rows], ...]
    other_pages: tuple[tuple[Rows, Rows], ...]

    @property
    def all(self) -> Iterator[Rows]:
        """All lists."""
        return (rows for pair in (*self.same_request, *self.other_pages) for rows in pair)


async def ask_order(exchange: Exchange, sample: Sample) -> list[Finding]:
    """Request the same pages again, and the first half of a full page."""
    same = [(sample.single.rows, sample.again.rows)]
    pages = sample.pages if sample.is_listed else sample.pages[:1]
    other = [(sample.single.rows, tuple(row for page in pages for row in page.rows))]
    if sample.full is not None and sample.full_start is not None:
        full = sample.full.rows
        again = await exchange.page(sample.full_start, sample.end)
        half = await exchange.page(sample.full_start, sample.end, size=max(5, len(full) // 10 * 5))
        same.append((full, again.rows))
        other.append((full, half.rows))
    times = dict.fromkeys((*sample.selects_by, *TIMES))
    return [order_of(Listings(tuple(same), tuple(other)), times)]


def order_of(listings: Listings, times: Iterable[str]) -> Finding:
    """Return the order of records; `times` are the times that it may be by, the most probable first."""
    lists = list(listings.all)
    found = None
    for name in times:
        if all(name in row.times for rows in lists for row in rows):
            if max((len({row.times[name] for row in rows}) for rows in lists), default=0) < FEWEST_TIMES:
                return not_known("order", f"there are fewer than {FEWEST_TIMES} records of different times")
            if all(_is_sorted(rows, name, 1) for rows in lists):
                return _ascending(listings, name)
            if all(_is_sorted(rows, name, -1) for rows in lists):
                found = found or name
    if found is not None:
        return certain("order", "descending", f"sorted by {found}, newest first")
    if all(left.voice_id <= right.voice_id for rows in lists for left, right in pairwise(rows)):
        return certain("order", "by_id", "sorted by voiceId and by no time")
    pairs = (*listings.same_request, *listings.other_pages)
    if all(_common(one, other) == _common(other, one) for one, other in pairs):
        return likely("order", "by_hash", "sorted by no time and not by voiceId, but in the same order each time")
    return not_known("order", "the order is by no time and changes")


def _ascending(listings: Listings, name: str) -> Finding:
    """Return the finding for lists that ascend by a time: how records of the same time are sorted."""
    repeated, changed = _ties(listings.same_request, name)
    others, moved = _ties(listings.other_pages, name)
    if changed:
        return certain("order", "unstable", f"{changed} of {repeated} records of one second moved in the same request")
    if moved and repeated >= ENOUGH_TIES:
        return certain("order", "heap", f"{moved} of {others} records of one second moved between sizes of a page")
    if moved:
        return not_known("order", f"sorted by {name}; records of one second move, too few to see why")
    evidence = f"sorted by {name}, oldest first; {repeated + others} comparisons of records of one second"
    is_clear = min(repeated, others) >= ENOUGH_TIES
    ids_ascend = all(left.voice_id <= right.voice_id for rows in listings.all for left, right in pairwise(rows))
    if ids_ascend:
        return likely("order", "ascending", f"{evidence}; voiceId has the same order")
    return (certain if is_clear else likely)("order", "ascending", evidence)


def _is_sorted(rows: Rows, name: str, sign: int) -> bool:
    return all(sign * left.times[name] <= sign * right.times[name] for left, right in pairwise(rows))


def _common(one: Rows, other: Rows) -> list[str]:
    """Return the ids of one list that the other one has, each once, in the order of the first one."""
    both = {row.voice_id for row in other}
    return list(dict.fromkeys(row.voice_id for row in one if row.voice_id in both))


def _ties(pairs: Iterable[tuple[Rows, Rows]], name: str) -> tuple[int, int]:
    """Return how many records share their time with the one before, and how many of them another list has elsewhere."""
    ties = moved = 0

    def by_time(row: Row) -> float:
        return row.times[name]

    for one, other in pairs:
        orders = [
            {at: _common(list(rows), counterpart) for at, rows in groupby(this, by_time)}
            for this, counterpart in ((one, other), (other, one))
        ]
        for at, ids in orders[0].items():
            ties += max(len(ids) - 1, 0)
            moved += sum(left != right for left, right in zip(ids, orders[1].get(at, ids), strict=False))
    return ties, moved
