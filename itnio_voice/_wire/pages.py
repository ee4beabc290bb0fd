"""The page request and the page. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Generic

import attrs

from .._model.records import R
from .._model.windows import WIRE_ZONE, Window

__all__ = ["LARGEST_PAGE", "Page", "PageRequest"]

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
        start, end = (at.astimezone(WIRE_ZONE).isoformat() for at in (self.window.start, self.window.end))
        params = {"strTime": start, "endTime": end, **self.filters}
        return json.dumps({"current": self.current, "size": self.size, "params": params}).encode()


@attrs.frozen
class Page(Generic[R]):
    """One answer: its records in the server's order, and the server's numbers for the complete result.

    `total` is the number of records and `pages` the number of pages, or None if the server does not send them. `size`
    and `current` are those of the request if the server does not send them. `submit_times` are the records' submit
    times as text if the texts sort like the times, else None: texts are faster to compare. `is_substitute`: the server
    sent another page instead, and according to its own numbers the requested page does not exist.
    """

    records: tuple[R, ...]
    total: int | None
    size: int
    current: int
    pages: int | None
    submit_times: Sequence[str] | None = attrs.field(default=None, kw_only=True, eq=False, repr=False)
    is_substitute: bool = attrs.field(default=False, kw_only=True, eq=False, repr=False)
