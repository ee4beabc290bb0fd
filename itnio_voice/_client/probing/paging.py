"""The questions about pages: what lies past the last one, their sizes, and their totals."""

from collections.abc import Iterator

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


async def ask_pages(exchange: Exchange, sample: Sample) -> Iterator[Finding]:
    """Request the two pages past the last one."""
    return _pages(sample, [await _past(exchange, sample, extra) for extra in (1, 2) if sample.is_listed])


async def _past(exchange: Exchange, sample: Sample, extra: int) -> Answer:
    current = len(sample.pages) + extra
    return await exchange.page(sample.start, sample.end, current=current, size=sample.small)


def _pages(sample: Sample, past: list[Answer]) -> Iterator[Finding]:
    first = f"of {sample.count} records on pages of {sample.small}"
    if len(sample.pages) < 2 or not all(page.rows for page in sample.pages[:2]):  # noqa: PLR2004 -- the first two
        yield from (not_known(name, f"there is no second page {first}") for name in PAGES)
        return
    yield certain("always_first_page", sample.always_first, f"pages 1 and 2 {first}")
    if not past:
        yield from (not_known(name, "the pages could not be listed") for name in PAGES[:2])
        return
    one, two = past
    if one.error or two.error:
        refusal = (one if one.error else two).refusal
        yield from (not_known(name, f"a page past the last is {refusal}") for name in PAGES[:2])
        return
    new = [[voice_id for voice_id in page.ids if voice_id not in sample.single.ids] for page in past]
    if new[0] and new[1] and len(one.rows) == len(two.rows) == 1 and one.ids != two.ids:
        counted = one.total is not None and two.total is not None and two.total > one.total
        is_sure = two.total is not None
        text = "each page past the last has one more record"
        yield (certain if is_sure else likely)("endless", "counted" if counted else "uncounted", text)
        yield not_known("past_last", "there is no last page")
        return
    if new[0] or new[1]:
        yield from (
            not_known(name, "pages past the last have records that the range did not have") for name in PAGES[:2]
        )
        return
    yield certain("endless", "never", "no page past the last has another record")
    if not one.rows:
        yield certain("past_last", "empty", "the page past the last has no records")
    elif one.current == 1:
        yield certain("past_last", "first", "the page past the last is the first one, with its number")
    else:
        is_sure = one.current is not None
        text = "the page past the last has the records of the first one"
        yield (certain if is_sure else likely)("past_last", "first_silent", text)


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
        return certain("max_size", len(sample.full.rows), f"the page of a longer list {text}")
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
        found.append(certain("total_one_short", is_short, f"a total of {one.total} in place of {reported}"))
    else:
        found.append(not_known("total_one_short", "there are too few records"))
    return [*found, await _cap(exchange, sample)]


def _is_of_page(page: Answer, extra: int) -> bool:
    """Return whether a page's total is the number of its records; an endless list may add one for each page."""
    return page.total is not None and 0 <= page.total - len(page.rows) - extra < page.requested


async def _cap(exchange: Exchange, sample: Sample) -> Finding:
    """Compare the total of the widest range with those of its halves, and look past it if they do not add up."""
    end = sample.end
    for width in reversed(WIDTHS):
        start = end - width
        widest = await exchange.page(start, end, size=5)
        if not isinstance(widest.error, TimeRangeError):
            break
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
