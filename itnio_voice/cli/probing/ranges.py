"""The questions about ranges: which time they select by, which ends are inclusive, how long and how old they may be."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC
from itertools import combinations

from ..._model.errors import TimeRangeError
from .answers import TIMES, Answer, Row
from .exchange import Exchange
from .findings import Finding, certain, likely, not_known
from .sample import DAY, HOUR, Sample

__all__ = ["ENDS", "LIMITS", "SELECTS", "ask_ends", "ask_limits", "ask_selection"]

SELECTS = ("selects_by", "time_offset")
ENDS = ("ends",)
LIMITS = ("refuses_future_end", "retention", "refuses_beyond_retention", "max_span")

APART = 4
"""The number of seconds from which two times of a record are in different ranges."""
WITNESSES = 2
"""The number of records that are requested at the end of a range."""
AGES = (*range(1, 101), 120, 150, 182, 240, 300, 366, 550, 731, 1100)
"""Ages of a range in days, to search for the oldest one."""
ROUNDING = DAY // 2
"""A range starts this many seconds later than its age in days, so that a retention of whole days is found exactly."""
USUAL_SPAN = 31 * DAY
"""The longest range by the vendor's pages."""
SPANS = (HOUR, 6 * HOUR, 12 * HOUR, *(days * DAY for days in AGES))


async def ask_selection(exchange: Exchange, sample: Sample) -> list[Finding]:
    """Request the seconds around each time of a record whose times differ."""
    selects = await _selects_by(exchange, sample)
    return [selects, await _offset(exchange, sample)]


async def _selects_by(exchange: Exchange, sample: Sample) -> Finding:
    rows = {row.voice_id: row for row in exchange.rows if row.voice_id and len(row.times) == len(TIMES)}
    row = max(rows.values(), key=_spread, default=None)
    if row is None:
        return not_known("selects_by", "no record has an id and all three times")
    selected, silent = [], []
    for name, at in row.times.items():
        answer = await _around(exchange, int(at))
        if row.voice_id in answer.ids:
            selected.append(name)
        elif answer.error is None and not answer.is_full:
            silent.append(name)
    if any(_gap(row, one, other) >= APART for one, other in combinations(selected, 2)):
        return not_known("selects_by", "a record is in ranges that are around different times of it")
    sample.selects_by = tuple(selected)
    if len(selected) == 1:
        evidence = f"found by its {selected[0]}, and not by {' or '.join(silent) or 'another time'}"
        return (certain if len(silent) == len(TIMES) - 1 else likely)(
            "selects_by", selected[0], f"a record is {evidence}"
        )
    if selected:
        return not_known("selects_by", f"no record has a {' and a '.join(selected)} that differ")
    return not_known("selects_by", "no record was found by its times")


def _spread(row: Row) -> tuple[float, float]:
    """Return the smallest distance of two times of a record, as far as it matters, and then the sum of all."""
    gaps = [_gap(row, *pair) for pair in combinations(TIMES, 2)]
    return min(*gaps, APART), sum(min(gap, APART) for gap in gaps)


def _gap(row: Row, one: str, other: str) -> float:
    return abs(row.times[one] - row.times[other])


async def _around(exchange: Exchange, second: int) -> Answer:
    return await exchange.page(second - 1, second + 1)


def _witnesses(exchange: Exchange, sample: Sample) -> list[tuple[Row, int]]:
    """Return records with the second that ranges select them by: the same one by all times that are possible."""
    found = {}
    for row in exchange.rows:
        seconds = {row.times.get(name) for name in sample.selects_by}
        at = seconds.pop() if len(seconds) == 1 else None
        if at is not None and at == int(at) and row.voice_id:
            found[int(at)] = row
    return [(row, at) for at, row in list(found.items())[:WITNESSES]]


async def _offset(exchange: Exchange, sample: Sample) -> Finding:
    """Request the seconds around a record in UTC instead of the vendor's offset."""
    for row, at in _witnesses(exchange, sample)[:1]:
        answer = await exchange.page(at - 1, at + 1, zone=UTC)
        if row.voice_id in answer.ids:
            return certain("time_offset", "honoured", "a record is found by its time in UTC")
        if answer.error is None and not answer.is_full:
            return certain("time_offset", "ignored", "a record is not found by its time in UTC")
        return not_known("time_offset", "the page is full" if answer.error is None else answer.refusal)
    return not_known("time_offset", "no record on the boundary was found")


async def ask_ends(exchange: Exchange, sample: Sample) -> list[Finding]:
    """Request ranges that start or end at the second of a record."""
    starts, ends = set[bool | None](), set[bool | None]()
    witnesses = _witnesses(exchange, sample)
    for row, at in witnesses:
        starts.add(_has(row, await exchange.page(at, at + 1)))
        ends.add(_has(row, await exchange.page(at - 1, at)))
    if not witnesses:
        return [not_known("ends", "no record on the boundary was found")]
    if len(starts) > 1 or len(ends) > 1 or None in starts | ends:
        return [not_known("ends", "the answers for records on the boundary differ or are full")]
    (start,), (end,) = starts, ends
    # A record that the server selects by a time with hidden fractions of a second is after the second that it shows.
    is_sure = end or not start
    start_is, end_is = ("included" if included else "excluded" for included in (start, end))
    evidence = f"the start is {start_is}, the end {end_is}: {len(witnesses)} records on the boundary"
    return [(certain if is_sure else likely)("ends", ("[" if start else "(") + ("]" if end else ")"), evidence)]


def _has(row: Row, answer: Answer) -> bool | None:
    """Return whether a page has a record; None if it may be on another page."""
    has = row.voice_id in answer.ids
    return None if answer.error is not None or (answer.is_full and not has) else has


async def ask_limits(exchange: Exchange) -> list[Finding]:
    """Search for the oldest start and the longest range that are not refused."""
    now = exchange.now()
    future = await exchange.page(now - HOUR, now + HOUR, size=5)
    found = [_future(future)]

    async def accepts_age(days: int) -> bool | None:
        start = exchange.now() - days * DAY + ROUNDING
        return _accepted(await exchange.page(start, start + 2, size=5))

    kept = await _last(AGES, accepts_age)
    if kept is None:
        found += [not_known(name, "ranges of every age are refused or fail") for name in LIMITS[1:3]]
    elif kept == AGES[-1]:
        text = f"a range that starts {kept} days ago is accepted"
        found += [not_known("retention", text), certain("refuses_beyond_retention", value=False, evidence=text)]
    else:
        following = AGES[AGES.index(kept) + 1]
        text = f"a range that starts {kept} days ago is accepted, one of {following} days is -25"
        found += [(certain if following == kept + 1 else likely)("retention", kept * DAY, text)]
        found += [certain("refuses_beyond_retention", value=True, evidence=text)]
    return [*found, await _span(exchange, (kept or 0) * DAY)]


def _future(answer: Answer) -> Finding:
    accepted = _accepted(answer)
    if accepted is None:
        return not_known("refuses_future_end", answer.refusal)
    text = f"a range that ends in an hour is {'accepted' if accepted else '-25'}"
    return certain("refuses_future_end", not accepted, text)


def _accepted(answer: Answer) -> bool | None:
    return False if isinstance(answer.error, TimeRangeError) else answer.error is None or None


async def _last(candidates: Sequence[int], accepts: Callable[[int], Awaitable[bool | None]]) -> int | None:
    """Return the last accepted candidate by bisection; None if none is, or if an answer does not say."""
    low, high = -1, len(candidates)
    while high - low > 1:
        middle = (low + high) // 2
        accepted = await accepts(candidates[middle])
        if accepted is None:
            return None
        low, high = (middle, high) if accepted else (low, middle)
    return candidates[low] if low >= 0 else None


async def _span(exchange: Exchange, kept: int) -> Finding:
    """Search for the longest range, among those that start within the retention."""

    async def accepts(seconds: int) -> bool | None:
        end = exchange.now() - HOUR
        return _accepted(await exchange.page(end - seconds, end, size=5))

    spans = [span for span in SPANS if span + 2 * HOUR <= kept]
    if USUAL_SPAN in spans:
        usual = await accepts(USUAL_SPAN)
        if usual is None:
            return not_known("max_span", "a range of 31 days fails")
        if usual and await accepts(USUAL_SPAN + 1) is False:
            return certain("max_span", USUAL_SPAN, "31 days are accepted, and one second more is -25")
        spans = [span for span in spans if (span >= USUAL_SPAN if usual else span < USUAL_SPAN)]
    longest = await _last(spans, accepts)
    if longest is None:
        return not_known("max_span", "ranges of every length are refused or fail")
    if longest == spans[-1] and longest != USUAL_SPAN - DAY:
        return not_known("max_span", f"no range of up to {longest // DAY} days is refused")
    if await accepts(longest + 1) is False:
        return certain("max_span", longest, f"{longest} s are accepted, and one second more is -25")
    return likely("max_span", longest, f"{longest} s are accepted, {spans[spans.index(longest) + 1]} s are -25")
