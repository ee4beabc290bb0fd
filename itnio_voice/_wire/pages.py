"""The page request and the page. Pure."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Generic

import attrs

from .._model.records import R
from .._model.windows import WIRE_ZONE, Window
from .late_records import LateRecords

__all__ = ["LARGEST_PAGE", "Page", "PageRequest", "rows_of", "with_records", "without_rows"]

LARGEST_PAGE = 100
"""The largest `size` that the vendor's page allows."""


@attrs.frozen
class PageRequest:
    """The request for page `current` (from 1), of `size` records, of a window with filters."""

    window: Window
    current: int
    size: int
    filters: Mapping[str, str] = attrs.field(factory=dict)

    def body(self) -> bytes:
        """Return the JSON body of the request."""
        params = _params(self.window, tuple(self.filters.items()))
        return f'{{"current": {self.current}, "size": {self.size}, "params": {params}}}'.encode()


@lru_cache(maxsize=64)
def _params(window: Window, filters: tuple[tuple[str, str], ...]) -> str:
    """Return the JSON that the requests for all pages of a window have in common."""
    start, end = (at.astimezone(WIRE_ZONE).isoformat() for at in (window.start, window.end))
    return json.dumps({"strTime": start, "endTime": end, **dict(filters)})


@attrs.frozen
class Page(Generic[R]):
    """One answer: its records in the server's order, and the server's numbers for the complete result.

    `total` is the number of records and `pages` the number of pages, or None if the server does not send them. `size`
    and `current` are those of the request if the server does not send them. `late` are the records of a page that a
    walk requests: they are built when they are returned, and `records` is empty until then. `is_substitute`: the server
    sent another page instead, and according to its own numbers the requested page does not exist.
    """

    records: tuple[R, ...]
    total: int | None
    size: int
    current: int
    pages: int | None
    late: LateRecords[R] | None = attrs.field(default=None, kw_only=True, eq=False, repr=False)
    is_substitute: bool = attrs.field(default=False, kw_only=True, eq=False, repr=False)


def rows_of(page: Page[R]) -> Sequence[R]:
    """Return the records of a page, also if they have not been built yet."""
    return page.records if page.late is None else page.late


def without_rows(page: Page[R], rows: int) -> Page[R]:
    """Return a page without its first rows."""
    return attrs.evolve(page, records=page.records[rows:], late=page.late and page.late[rows:])


def with_records(page: Page[R], records: Sequence[R]) -> Page[R]:
    """Return a page with other records."""
    return Page(tuple(records), page.total, page.size, page.current, page.pages, is_substitute=page.is_substitute)
