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
    """The request for page `current`, counted from 1, of `size` records, of a window and its filters."""

    window: Window
    current: int
    size: int
    filters: Mapping[str, str] = attrs.field(factory=dict)

    def body(self) -> bytes:
        """Return the JSON of the request."""
        start, end = (at.astimezone(WIRE_ZONE).isoformat() for at in (self.window.start, self.window.end))
        params = {"strTime": start, "endTime": end, **self.filters}
        return json.dumps({"current": self.current, "size": self.size, "params": params}).encode()


@attrs.frozen
class Page(Generic[R]):
    """One answer: its records in the server's order, and what the server says of the complete result.

    `total` is the number of records and `pages` the number of pages, None where the server does not send them; `size`
    and `current` are those of the request where the server does not send them. `submit_times` are the records' submit
    times as text where the texts sort as the times do, else None: texts are quicker to compare. `is_substitute`: the
    server sent another page instead, and by its own numbers there is no such page.
    """

    records: tuple[R, ...]
    total: int | None
    size: int
    current: int
    pages: int | None
    submit_times: Sequence[str] | None = attrs.field(default=None, kw_only=True, eq=False, repr=False)
    is_substitute: bool = attrs.field(default=False, kw_only=True, eq=False, repr=False)
