"""How late records appear: the newest records, requested again and again for some minutes."""

from collections.abc import Sequence
from itertools import count
from statistics import quantiles

import anyio

from .answers import Row
from .exchange import Exchange, LimitReachedError
from .findings import Finding, certain, likely, not_known

__all__ = ["INTERVAL", "REACH", "WATCHED", "lateness", "watch"]

WATCHED = ("appears", "late_share", "late_by")
INTERVAL = 15.0
"""Seconds between two requests: a record appears up to this much earlier than it is seen."""
REACH = 900
"""Seconds before the present from which records are requested."""


async def watch(exchange: Exchange, minutes: float) -> list[Finding]:
    """Request the newest records every 15 seconds, and return how late the records that appear meanwhile are."""
    end = anyio.current_time() + minutes * 60
    seen: dict[str, tuple[Row, int]] = {}
    began: int | None = None
    try:
        while anyio.current_time() < end:
            now = exchange.now()
            rows = await _newest(exchange, now)
            if rows is not None:
                began = now if began is None else began
                seen = {row.voice_id: (row, now) for row in rows} | seen
            await anyio.sleep(min(INTERVAL, max(0.0, end - anyio.current_time())))
    except LimitReachedError:
        pass  # the records of a busy account have many pages: those that were seen are enough
    return lateness([each for each in seen.values() if each[1] != began])


async def _newest(exchange: Exchange, now: int) -> list[Row] | None:
    """Return the records of the last minutes, from as many pages as their total needs; None if a request fails."""
    rows = list[Row]()
    for current in count(1):
        answer = await exchange.page(now - REACH, now, current=current)
        if answer.error is not None:
            return None
        rows += [row for row in answer.rows if row.voice_id]
        if not answer.is_full or current * len(answer.rows) >= (answer.total or 0):
            break
    return rows


def lateness(seen: Sequence[tuple[Row, int]]) -> list[Finding]:
    """Return the findings for records that appeared, each with when it was first seen, in Unix seconds."""
    rows = [(row.times, at) for row, at in seen if "submit_time" in row.times]
    if not rows:
        return [not_known(name, "no record appeared meanwhile") for name in WATCHED]
    in_call = sum("hangup_time" not in times or times["hangup_time"] > at for times, at in rows)
    ended = [at - times["hangup_time"] for times, at in rows if "hangup_time" in times]
    long = sum(times.get("hangup_time", 0) - times["submit_time"] > 2 * INTERVAL for times, _ in rows)
    if in_call:
        appears = certain("appears", "submitted", f"{in_call} of {len(rows)} records appeared before the call's end")
    elif long:
        appears = likely("appears", "finished", f"{long} long calls, each of which appeared after its end")
    else:
        appears = not_known("appears", "no call was long enough")
    delays = sorted(at - times["submit_time"] for times, at in rows) if in_call or not ended else sorted(ended)
    late = [delay for delay in delays if delay > INTERVAL]
    share = f"{len(late)} of {len(delays)} records appeared more than {INTERVAL:.0f} s late"
    if not late:
        return [appears, likely("late_share", 0.0, share), not_known("late_by", "no record was late")]
    half = quantiles(late, n=2)[0] if len(late) > 1 else late[0]
    by = likely("late_by", half, f"the median of the late ones, to {INTERVAL:.0f} s; the latest: {late[-1]:.0f} s")
    return [appears, likely("late_share", round(len(late) / len(delays), 2), share), by]
