"""The questions about pages: what lies past the last one, their sizes, and their totals."""

from ..._model.errors import TimeRangeError
from ..._wire.pages import LARGEST_PAGE
from .answers import Answer
from .exchange import Exchange
from .findings import Finding, certain, likely, not_known
from .sample import WIDTHS, Sample

__all__ = ["PAGES", "SIZES", "TOTALS", "ask_pages", "ask_sizes", "ask_totals"]

PAGES = ("past_last", "endless", "always_first_page")
SIZES = ("max_size", "sizes")
TOTALS = ("total_of_page", "total_one_short", "total_cap")

ODD = 7
"""A size of a page that is not a multiple of five."""
SLACK = 3
"""The difference of totals that is not a cap: records on the second between two ranges, and totals that are one off."""


async def ask_pages(exchange: Exchange, sample: Sample) -> list[Finding]:
    """Compare the first two pages, and request the two past the last one."""
    text = f"of {sample.count} records on pages of {sample.small}"
    if len(sample.pages) < 2 or not all(page.rows for page in sample.pages[:2]):  # noqa: PLR2004 -- the first two
        return [not_known(name, f"there is no second page {text}") for name in PAGES]
    always_first = certain("always_first_page", sample.always_first, f"pages 1 and 2 {text}")
    if not sample.is_listed:
        return [always_first, *_unknown("the pages could not be listed")]
    last = len(sample.pages)
    one, two = [
        await exchange.page(sample.start, sample.end, current=current, size=sample.small)
        for current in (last + 1, last + 2)
    ]
    return [always_first, *_past_last(sample, one, two)]


def _unknown(reason: str) -> list[Finding]:
    return [not_known(name, reason) for name in ("past_last", "endless")]


def _past_last(sample: Sample, one: Answer, two: Answer) -> list[Finding]:
    """Return the findings for the two pages past the last one."""
    if one.error or two.error:
        return _unknown(f"a page past the last is {(one if one.error else two).refusal}")
    new = [set(page.ids) - set(sample.single.ids) for page in (one, two)]
    if len(one.rows) == len(two.rows) == len(new[0]) == len(new[1]) == 1 and new[0] != new[1]:
        # A total that is that of the page, or one too low, still grows from one page to the next if it counts them.
        totals = [page.total for page in (sample.pages[0], one, two) if page.total is not None]
        counted = "counted" if totals[-1:] > [min(totals, default=0)] else "uncounted"
        endless = (certain if totals else likely)("endless", counted, "each page past the last has one more record")
        return [endless, not_known("past_last", "there is no last page")]
    if any(new):
        return _unknown("pages past the last have records that the range did not have")
    endless = certain("endless", "never", "no page past the last has another record")
    if not one.rows:
        return [endless, certain("past_last", "empty", "the page past the last has no records")]
    if one.current == 1:
        return [endless, certain("past_last", "first", "the page past the last is the first one, with its number")]
    found = certain if one.current is not None else likely
    return [endless, found("past_last", "first_silent", "the page past the last has the records of the first one")]


async def ask_sizes(exchange: Exchange, sample: Sample) -> list[Finding]:
    """Request a size that is not a multiple of five; the largest page was requested before."""
    largest = _largest(sample)
    if largest.is_known and largest.value <= ODD:
        return [largest, not_known("sizes", f"the largest page has {largest.value} records")]
    answer = await exchange.page(sample.start, sample.end, size=ODD)
    if answer.error is not None:
        refused = getattr(answer.error, "status", "") == "-22"
        found = (
            certain("sizes", "refused", f"a size of {ODD} is -22") if refused else not_known("sizes", answer.refusal)
        )
        return [largest, found]
    # With few records, only the server's own number shows the size.
    served = len(answer.rows) if sample.count > ODD + 5 else answer.sent_size
    kinds = {ODD: "any", ODD - 2: "reduced", ODD + 3: "raised"}
    if served not in kinds:
        reason = "there are too few records" if served is None else f"a page of {ODD} has {served} records"
        return [largest, not_known("sizes", reason)]
    return [largest, certain("sizes", kinds[served], f"a page of {ODD} has {served} records")]


def _largest(sample: Sample) -> Finding:
    text = f"for a size of {LARGEST_PAGE}"
    if sample.full is not None:
        return certain("max_size", len(sample.full.rows), f"a page of a longer list, {text}")
    if sample.single.sent_size is not None:
        return likely("max_size", sample.single.sent_size, f"by the answer's own number, {text}")
    return not_known("max_size", "there are too few records for a full page")


async def ask_totals(exchange: Exchange, sample: Sample) -> list[Finding]:
    """Request a page of one record, and the totals of a long range and of its halves."""
    reported, count = sample.single.total, sample.count
    if reported is None:
        return [not_known(name, "the server sends no total") for name in TOTALS]
    if not sample.is_listed:
        return [not_known(name, "the pages could not be listed") for name in TOTALS]
    one = await exchange.page(sample.start, sample.end, size=1)
    extra = max(reported - count, 0)  # of an endless list
    of_page = reported == count + extra and all(_is_of_page(page, extra) for page in sample.pages)
    found = [certain("total_of_page", of_page, f"totals of {count} records on pages of {sample.small}")]
    if of_page:
        return [*found, *(not_known(name, "the total is that of the page") for name in TOTALS[1:])]
    if reported < count - 1:
        short = not_known("total_one_short", "totals are capped")
        return [*found, short, certain("total_cap", reported, f"the total of {count} records")]
    if one.total in (reported, reported - 1) and count > 1:
        is_short = one.total == reported - 1
        found.append(
            certain(
                "total_one_short", is_short, f"totals of {one.total} and {reported} on pages of 1 and {LARGEST_PAGE}"
            )
        )
    else:
        found.append(not_known("total_one_short", "there are too few records"))
    return [*found, await _cap(exchange, sample)]


def _is_of_page(page: Answer, extra: int) -> bool:
    """Return whether a page's total is the number of its records; an endless list may add one for each page."""
    return page.total is not None and 0 <= page.total - len(page.rows) - extra < page.requested


async def _cap(exchange: Exchange, sample: Sample) -> Finding:
    """Compare the total of the widest range with those of its halves, and look past it if they do not add up."""
    end = sample.end
    start, widest = await _widest(exchange, end)
    if widest.error is not None:
        return not_known("total_cap", f"a long range is {widest.refusal}")
    middle = (start + end) // 2
    halves = [await exchange.page(start, middle, size=5), await exchange.page(middle, end, size=5)]
    total, early, late = (answer.total for answer in (widest, *halves))
    if total is None or early is None or late is None:
        return not_known("total_cap", "a total of a long range is missing")
    if early + late <= total + SLACK:
        return not_known("total_cap", f"no total up to {total} is capped")
    beyond = await exchange.page(start, end, current=total // 5 + 2, size=5)
    evidence = f"the halves of the range have {early} and {late}"
    if beyond.rows and not set(beyond.ids) & set(widest.ids):
        return certain("total_cap", total, f"{evidence}; there are records past it")
    return not_known("total_cap", f"the total is {total}, but {evidence}")


async def _widest(exchange: Exchange, end: int) -> tuple[int, Answer]:
    """Return the start of the widest range that is not refused for its length, and its answer."""
    *narrower, width = WIDTHS
    answer = await exchange.page(end - width, end, size=5)
    while narrower and isinstance(answer.error, TimeRangeError):
        width = narrower.pop()
        answer = await exchange.page(end - width, end, size=5)
    return end - width, answer
