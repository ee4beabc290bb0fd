"""The rows that a page request names, and pages that overlap. Pure."""

from collections.abc import Sequence
from functools import lru_cache

import attrs

__all__ = ["Slice", "overlapping_slices"]

MAX_SLICES = 150
"""The maximum number of pages that overlap: enough for the deepest window with the largest pages."""


@attrs.frozen
class Slice:
    """The rows of a window that page `current` of `size` rows names; its first `repeated` are on the page before too.

    Rows are counted from 0, in the server's order. `start` is the first row, `stop` the row after the last.
    """

    current: int
    size: int
    repeated: int = 0

    @property
    def start(self) -> int:
        """The first row."""
        return (self.current - 1) * self.size

    @property
    def stop(self) -> int:
        """The row after the last one."""
        return self.current * self.size


@lru_cache(maxsize=64)
def overlapping_slices(largest: int, overlap: int, total: int) -> Sequence[Slice] | None:
    """Return the pages to read `total` rows with, each repeating at least `overlap` rows of the one before.

    The first has `largest` rows and no other has more. The last one reaches past the total, so that its answer shows
    the end. None if pages of this size cannot overlap by as much, or too many would be needed.
    """
    slices = [Slice(1, largest)]
    while slices[-1].stop <= total:
        before = slices[-1].stop
        if before <= overlap:
            return None
        # Page `k + 1` of `size` rows starts at row `k * size`, and that row must be repeated.
        fewest = -(-(before - overlap) // largest)
        sizes = [(k + 1, (before - overlap) // k) for k in range(fewest, fewest + 4)]
        current, size = max(sizes, key=lambda page: page[0] * page[1])
        slices.append(Slice(current, size, before - (current - 1) * size))
        if slices[-1].stop <= before or len(slices) > MAX_SLICES:
            return None
    return slices
