"""The records that a probe studies: a range that fits on one page, and the same range on several smaller pages."""

import math

import attrs

from .answers import Answer
from .exchange import Exchange

__all__ = ["DAY", "HOUR", "WIDTHS", "Sample", "find_sample"]

HOUR, DAY = 3600, 86400
SETTLED = 15 * 60
"""The age in seconds from which records are studied: younger ones may still appear or change."""
WIDTHS = (HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY)
NARROWEST = 8
MOST_SEARCHES = 5
ENOUGH = 0.5
"""The share of a page from which a range has enough records."""


@attrs.define
class Sample:
    """What is known about the account's records.

    All records of the range from `start` to `end`, in Unix seconds, are on the page `single`; `again` is the answer to
    the same request a second time, and `pages` are the same records on smaller pages. `full` is the page of a range
    with more records than fit on it, from `full_start` to `end`, if there is one.
    """

    end: int
    start: int
    single: Answer
    again: Answer
    full_start: int | None = None
    full: Answer | None = None
    pages: list[Answer] = attrs.field(factory=list[Answer])
    selects_by: tuple[str, ...] = ()
    """The times that ranges may select by: one, or several that could not be distinguished."""

    @property
    def count(self) -> int:
        """The number of records of `single`."""
        return len(self.single.rows)

    @property
    def small(self) -> int:
        """The size of the smaller pages: about a third of the records, and a multiple of five if that is possible."""
        if self.count <= 5:  # noqa: PLR2004 -- the smallest multiple
            return max(1, self.count // 2)
        return 5 * max(1, round(self.count / 15))

    @property
    def always_first(self) -> bool:
        """Whether the second page is the first one again: most of its records are, in whichever order."""
        if len(self.pages) < 2:  # noqa: PLR2004 -- both
            return False
        first, second = (set(page.ids) for page in self.pages[:2])
        return len(first & second) > len(first) / 2

    @property
    def is_listed(self) -> bool:
        """Whether there are several smaller pages, all of them received, with the records of the single one."""
        listed = {voice_id for page in self.pages for voice_id in page.ids}
        is_complete = all(page.error is None for page in self.pages) and listed <= set(self.single.ids)
        return len(self.pages) > 1 and not self.always_first and is_complete


async def find_sample(exchange: Exchange) -> Sample | str:
    """Search for a range whose records fit on one page, and list it; return the reason if there is none.

    Raises:
        ItnioError: of the first request, if it is not answered with a page.
        LimitReachedError: if all requests have been sent.
    """
    end = exchange.now() - SETTLED
    answer = await exchange.page(end - HOUR, end)
    if exchange.offset:  # the first answer has the server's time
        end = exchange.now() - SETTLED
        answer = await exchange.page(end - HOUR, end)
    if answer.error is not None:
        raise answer.error
    tried = {HOUR: answer}
    for width in WIDTHS:
        if answer.is_full:
            break
        answer = tried.get(width) or await exchange.page(end - width, end)
        if answer.error is not None:
            break
        tried[width] = answer
    full = next((width for width, answer in tried.items() if answer.is_full), None)
    await _narrow(exchange, end, full, tried)
    full = min((width for width, answer in tried.items() if answer.is_full), default=None)
    single = max((width for width, answer in tried.items() if answer.rows and not answer.is_full), default=None)
    if single is None:
        return "there are no records in the last 30 days" if full is None else "every range has more than a page"
    again = await exchange.page(end - single, end)
    if set(again.ids) != set(tried[single].ids):
        return "the same request has other records the second time"
    sample = Sample(end, end - single, tried[single], again)
    if full is not None:
        sample.full_start, sample.full = end - full, tried[full]
    for current in range(1, math.ceil(sample.count / sample.small) + 1):
        sample.pages.append(await exchange.page(sample.start, end, current=current, size=sample.small))
    return sample


async def _narrow(exchange: Exchange, end: int, full: int | None, tried: dict[int, Answer]) -> None:
    """Try widths between one that has few records and one that has too many, until a page is half full."""
    low, high = max((width for width in tried if full is None or width < full), default=NARROWEST), full
    for _ in range(MOST_SEARCHES):
        rows = tried[low].rows if low in tried else ()
        if high is None or high <= low + 1 or len(rows) >= ENOUGH * len(tried[high].rows):
            return
        width = math.isqrt(low * high)
        tried[width] = answer = await exchange.page(end - width, end)
        if answer.error is not None:
            del tried[width]
            return
        low, high = (low, width) if answer.is_full else (width, high)
