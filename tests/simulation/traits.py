"""The traits of servers and readers, one function each: deviations from a correct server."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from itnio_voice.sandbox import Fault

from .plan import DAY, SECOND, Plan

__all__ = ["TRAITS", "draw_traits"]

LAX = 10_000 * DAY
"""A tolerance of timestamps that no clock exceeds."""


def _heap(plan: Plan) -> None:
    """Order ties differently at each offset."""
    plan.change(order="heap", max_size=plan.more.choice([5, 20, 100, 100]))
    plan.crowds.append((plan.more.randrange(plan.length), plan.more.choice([12, 40, 90, 250])))
    plan.page_size = plan.more.choice([2, 5, 20, 20, 100])


def _fixed_order(plan: Plan) -> None:
    """Sort records by something other than time, while a few appear and expire."""
    plan.calm(order=plan.more.choice(["by_id", "by_hash", "by_hash"]))
    plan.length, plan.deep = plan.more.choice([30, 300, 5000]), 10_000
    plan.appearing, plan.expiring, plan.swapping = plan.more.choice([(0.1, 0.1, 0), (0, 0, 0.1), (0, 0, 0.3)])
    plan.most_changes = plan.more.choice([2, 4])
    plan.page_size, plan.rows, plan.tight = plan.more.choice([2, 5]), plan.more.randrange(5, 40), False


def _sizes(plan: Plan) -> None:
    """Honour only some page sizes."""
    plan.change(sizes=plan.more.choice(["reduced", "raised", "refused"]), max_size=plan.more.choice([10, 20, 100]))
    plan.page_size, plan.rows = plan.more.choice([10, 20, 100]), plan.more.randrange(10, 250)


def _limits(plan: Plan) -> None:
    """Read with a limit, on servers where windows need several passes."""
    plan.calm(
        order=plan.more.choice(["ascending", "by_hash", "heap", "unstable"]),
        sizes=plan.more.choice(["any", "any", "refused", "reduced"]),
        max_size=plan.more.choice([20, 100]),
    )
    plan.limit, plan.page_size, plan.tight = plan.more.choice([1, 7, 30]), plan.more.choice([10, 20, 100]), False
    plan.rows, plan.deep = plan.more.randrange(10, 150), 10_000


def _newest_first(plan: Plan) -> None:
    """Read backwards, on any server."""
    plan.tight = False
    plan.first_part = plan.more.choice([2, 10, 600])


def _count(plan: Plan) -> None:
    """Count ranges, on any server, or on one that is still, live, capped or near the limit of its retention."""
    draw = plan.more
    plan.counts, plan.few = draw.choice([1, 3]), draw.choice([1000, 1000, 20])
    if draw.random() < 0.7:
        length = draw.choice([2, 30, 300, 5000, 60 * DAY])
        plan.length = length
        plan.calm(latency=0.01, max_size=100)
        draw.choice(COUNTED)(plan)
    plan.tight = False
    plan.hot = [draw.randrange(plan.length) for _ in range(2)]
    plan.crowds += [(second, draw.choice([0, 1, 3, 12])) for second in plan.hot]


def _many(plan: Plan) -> None:
    """List many records on a still server, in windows of at most some days."""
    plan.rows = plan.more.choice([90, 250, 1200])
    plan.behaviour = attrs.evolve(plan.behaviour, max_span=plan.more.choice([1, 7, 31, 100]) * DAY * SECOND)


def _capped(plan: Plan) -> None:
    """Report no total above a number, of which some are round."""
    cap = plan.more.choice([40, 100, 130, 150, 200, 230, 1000])
    plan.behaviour = attrs.evolve(plan.behaviour, total_cap=cap)
    plan.rows = cap + plan.more.choice([-1, 0, 1, 60, 200])


def _lying(plan: Plan) -> None:
    """Report the rows of a page as the total, one too few, or count some records twice."""
    lies: list[dict[str, Any]] = [{"total_of_page": True}, {"total_one_short": True}, {"duplicates": 0.1}]
    plan.behaviour = attrs.evolve(plan.behaviour, **plan.more.choice(lies), max_size=plan.more.choice([10, 100]))
    plan.rows = plan.more.choice([20, 101, 150, 201])


def _changing(plan: Plan) -> None:
    """Change the records of a few seconds while they are counted."""
    plan.ago = plan.more.choice([100, 3600, 60 * DAY])
    plan.appearing, plan.expiring, plan.swapping = plan.more.choice([(0.1, 0, 0), (0, 0.1, 0), (0, 0, 0.1)])
    plan.most_changes = plan.more.choice([2, 60])


def _present(plan: Plan) -> None:
    """Count up to now, while records appear, some late."""
    plan.length, plan.ago = plan.more.choice([5, 300, 5000]), plan.more.choice([0, -3])
    plan.per_second, plan.late, plan.warm_up = plan.more.choice([0, 0.2, 5]), plan.more.choice([0, 0.2]), 30
    plan.machine_skew = plan.more.choice([0, 0, -1.7, 1.2])
    refuses = plan.more.random() < 0.3
    plan.behaviour = attrs.evolve(plan.behaviour, appears="submitted", refuses_future_end=refuses)


def _expired(plan: Plan) -> None:
    """Count near the limit of the retention, which moves."""
    kept = plan.length + plan.ago - plan.more.choice([-2, -1, 0, 1, plan.length // 2, plan.length - 1])
    plan.behaviour = attrs.evolve(plan.behaviour, retention=max(kept, 1) * SECOND, latency=plan.more.choice([0, 0.3]))
    plan.behaviour = attrs.evolve(plan.behaviour, refuses_beyond_retention=plan.more.random() < 0.7)


COUNTED: Sequence[Callable[[Plan], None]] = (_many, _capped, _lying, _changing, _changing, _present, _expired)
"""The servers on which ranges are counted."""


def _spellings(plan: Plan) -> None:
    """Write the times of records in different notations."""
    plan.spelled = True
    plan.page_size, plan.tight = plan.more.choice([2, 5, 100]), False


def _total_cap(plan: Plan) -> None:
    """Report no total above a round number."""
    size = plan.more.choice([1, 2, 5, 100])
    cap = 1000 if size == 100 else size * plan.more.choice([1, 2, 4])
    plan.change(total_cap=cap, max_size=100)
    plan.page_size, plan.rows = size, cap + plan.more.choice([1, cap // 10 + 1, cap // 2 + 1])


def _total_of_page(plan: Plan) -> None:
    """Report the number of records on the page as the total."""
    plan.change(total_of_page=True, max_size=100)
    plan.page_size, plan.rows = plan.more.choice([1, 2, 5, 20]), plan.more.randrange(10, 60)


def _total_one_short(plan: Plan) -> None:
    """Report one too few if the last page would have one record."""
    plan.change(total_one_short=True, max_size=100)
    plan.page_size = plan.more.choice([1, 2, 5, 20])
    plan.rows = plan.page_size * plan.more.randrange(1, 4) + 1


def _replicas(plan: Plan) -> None:
    """Answer from several replicas, some of them late."""
    order = plan.more.choice(["ascending", "descending", "descending"])
    plan.change(replicas=plan.more.choice([2, 2, 3]), replica_lag=plan.more.choice([1, 5, 600, 600]), order=order)
    plan.newest = plan.more.choice([1, 1, 1, 2, 5])
    plan.appearing = plan.more.choice([0, 0, 0.02, 0.1])
    plan.page_size, plan.rows, plan.tight = plan.more.choice([2, 5, 5, 100]), plan.more.randrange(10), False
    plan.crowds.append((plan.more.randrange(plan.length), plan.more.choice([0, 8, 10, 12])))


def _offset_ignored(plan: Plan) -> None:
    """Read times as the local time of the server."""
    plan.change(time_offset="ignored")


def _future_end_refused(plan: Plan) -> None:
    """Refuse ranges that end after now."""
    plan.calm(refuses_future_end=True)
    plan.length = plan.more.choice([30, 300, 5000, DAY])
    plan.ago = -plan.more.choice([0, 0, plan.length // 2])
    plan.open_end, plan.shuffled = plan.more.random() < 0.7, plan.more.random() < 0.5


def _deepest_row(plan: Plan) -> None:
    """Refuse deep pages, even if one second has more records."""
    plan.calm(deepest_row=120)
    plan.deep, plan.page_size = 20, plan.more.choice([20, 100])
    plan.crowds.append((plan.more.randrange(plan.length), plan.more.choice([60, 150, 250])))
    if plan.more.random() < 0.5:
        plan.behaviour = attrs.evolve(plan.behaviour, omits="total")


def _endless(plan: Plan) -> None:
    """Return one more page, forever."""
    counted = plan.more.random() < 0.3
    plan.calm(endless="counted" if counted else "uncounted", omits=() if counted else ("total", "pages"))
    plan.length = min(plan.length, 300)


def _shared_ids(plan: Plan) -> None:
    """Give different records of one second the same id."""
    plan.change(changes_after=None, max_size=100)
    plan.shared_id = "second"
    plan.page_size = plan.more.choice([1, 2, 5, 100])


def _placeholder_id(plan: Plan) -> None:
    """Give different records of any seconds the same id."""
    plan.change(changes_after=None, max_size=100)
    plan.shared_id = "everywhere"
    plan.page_size = plan.more.choice([1, 2, 5, 100])


def _slow_windows(plan: Plan) -> None:
    """Answer no long window within the timeout."""
    plan.length = plan.more.choice([5000, 60 * DAY])
    plan.calm(window_times_out_over=SECOND * max(plan.length // plan.more.choice([3, 60]), 2))


def _unavailable_windows(plan: Plan) -> None:
    """Answer a long window with HTTP 503 or 504."""
    plan.length = plan.more.choice([5000, 60 * DAY])
    plan.calm(window_unavailable_over=SECOND * max(plan.length // plan.more.choice([3, 60]), 2))


def _live(plan: Plan) -> None:
    """Read a busy account up to now: new records at any time, one in five of them late."""
    plan.calm(latency=0.01, appears="submitted", past_last="empty")
    plan.length, plan.ago, plan.late, plan.deep = 7200, 0, 0.2, 10_000
    plan.per_request, plan.per_second = plan.more.choice([(3, 0), (0.3, 0), (0, 10), (0, 100), (0, 300)])
    plan.warm_up = plan.more.choice([5, 10])
    plan.open_end, plan.page_size, plan.tight = plan.more.random() < 0.5, 100, False


def _sync(plan: Plan) -> None:
    """Read up to now repeatedly, each time from the last checkpoint."""
    plan.calm(latency=plan.more.choice([0.01, 0.3]), appears="submitted", refuses_future_end=plan.more.random() < 0.2)
    plan.length, plan.ago, plan.rounds = plan.more.choice([5, 30, 300]), 0, plan.more.randrange(3, 9)
    plan.per_second, plan.page_size, plan.tight = plan.more.choice([0.5, 5]), 100, False
    plan.machine_skew = plan.more.choice([0, 0, -1.7, -0.6, 0.6, 1.2, 1.9])


def _follow(plan: Plan) -> None:
    """Follow a live account, with late, changed and expiring records; stop and resume at any time."""
    plan.calm(
        latency=plan.more.choice([0.01, 0.3]),
        appears="submitted",
        refuses_future_end=plan.more.random() < 0.2,
        changes_after=plan.more.choice([None, 40]),
        duplicates=plan.more.choice([0, 0, 0.1]),
        max_size=plan.more.choice([20, 100, 100]),
        order=plan.more.choice(["ascending", "descending", "by_hash"]),
        faults=[Fault(plan.more.choice(["status_500", "system_error", "drop"]), plan.more.choice([0, 0.02, 0.1]))],
    )
    plan.length, plan.ago, plan.tight = plan.more.choice([5, 100]), 0, False
    # A window is narrowed only if the crowd is in it: in windows of two seconds, each poll takes a hundred requests.
    plan.deep = plan.more.choice([10_000, 10_000, 10_000, 120])
    plan.lookback = plan.more.choice([20, 60, 60])
    plan.every = plan.lookback * plan.more.choice([3, 6, 15]) // 10
    plan.per_second, plan.late = plan.more.choice([0.1, 0.3, 1]), plan.more.choice([0.2, 0.5, 1])
    plan.expiring, plan.most_changes = plan.more.choice([0, 0.1]), 1_000
    plan.warm_up = plan.more.choice([0, 30])
    plan.cancelling, plan.page_size = plan.more.choice([0, 0.05]), 100
    plan.patience = plan.more.choice([None, None, 0.5, 20])
    plan.crowds.append((plan.more.randrange(plan.length), plan.more.choice([0, 150])))


def _fractions(plan: Plan) -> None:
    """Start and end ranges within seconds."""
    plan.fractions = True
    plan.length = max(plan.length, 2)
    for _ in range(3):
        plan.crowds.append((plan.more.randrange(plan.length), 2))


def _machine_clock(plan: Plan) -> None:
    """Set the reader's clock wrong by hours; the server may accept any timestamp, and then does not report it."""
    plan.calm(timestamp_tolerance=plan.more.choice([30, LAX]))
    plan.machine_skew = plan.more.choice([-26, -2, -0.5, 0.5, 2, 26]) * 3600
    plan.ago = plan.more.choice([60, 3600, 100_000])


def _server_clock(plan: Plan) -> None:
    """Set the server's clock wrong by days or years."""
    ahead = plan.more.choice([-56 * 365, -5, -1, 1, 5, 9 * 365]) * DAY
    plan.calm(timestamp_tolerance=plan.more.choice([30, LAX]), clock_skew=ahead)
    plan.ago = plan.more.choice([60, 100_000, 10 * DAY])


def _wrong_date(plan: Plan) -> None:
    """Answer once or twice with a -16 that has the date of another time."""
    ahead = plan.more.choice([-30_000 * DAY, -5 * DAY, -3600, 3600, 9 * 365 * DAY, 10**15])
    times = plan.more.choice([1, 1, 2])
    plan.calm(timestamp_tolerance=LAX, faults=[Fault("timestamp_expired", 0.3, times, date_ahead=ahead)])
    plan.ago = plan.more.choice([0, 60, 100_000])
    plan.open_end = plan.ago == 0 or None


def _impatient(plan: Plan) -> None:
    """Allow each item a second or two, on a server that no longer has the start of the range."""
    plan.length = plan.more.choice([300, 5000, 60 * DAY])
    plan.calm(latency=0.3)
    kept = plan.length // plan.more.choice([2, 3, 7])
    plan.behaviour = attrs.evolve(plan.behaviour, retention=(plan.ago + kept) * SECOND)
    plan.expired, plan.patience, plan.concurrency = "skip", plan.more.choice([1, 2]), plan.more.choice([1, 4])


def _contradiction(plan: Plan) -> None:
    """List the records of one second in another order for each query."""
    plan.calm(order="unstable", max_size=10)
    plan.length, plan.deep = plan.more.choice([300, 5000, 60 * DAY]), 10_000
    plan.crowds.append((plan.more.randrange(plan.length), plan.more.choice([30, 60])))
    plan.rows, plan.page_size = plan.more.randrange(10), 10


def _outage(plan: Plan) -> None:
    """Fail many times at first, and report no totals."""
    plan.length, plan.deep = plan.more.choice([5000, 60 * DAY]), 10_000
    plan.calm(omits=("total", "pages"))
    # Not the first request, which is short: windows that fail are narrowed.
    plan.outage, plan.outage_from = (Fault("system_error", times=25),), plan.more.choice([3, 4, 6])
    plan.attempts, plan.page_size, plan.rows = 5, 100, plan.more.randrange(30)


def _rate_limited(plan: Plan) -> None:
    """Refuse more than a number of requests per second or per minute, with or without `Retry-After`."""
    plan.calm(
        rate_limit=plan.more.choice([1, 5, 20]),
        rate_limit_window=plan.more.choice([1, 60]),
        rate_limit_retry_after=plan.more.random() < 0.5,
        max_size=plan.more.choice([5, 100]),
    )


TRAITS: Mapping[str, Callable[[Plan], None]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        *(_heap, _fixed_order, _total_cap, _total_of_page, _total_one_short, _replicas, _offset_ignored),
        *(_future_end_refused, _deepest_row, _endless, _shared_ids, _placeholder_id, _slow_windows),
        *(_unavailable_windows, _live, _sync, _fractions, _machine_clock, _server_clock, _wrong_date, _impatient),
        *(_contradiction, _outage, _rate_limited, _spellings, _sizes, _limits, _newest_first, _follow, _count),
    )
}
"""Functions that apply a trait, by name."""


SHARES: Mapping[str, float] = {"newest_first": 0.2, "count": 0.2, "follow": 0.1}
"""The shares of the scenarios with these traits; a fifth has none, and the others are drawn equally often."""


def draw_traits(plan: Plan) -> tuple[str, ...]:
    """Draw a scenario's traits: one for four of five scenarios, and sometimes ranges within seconds in addition."""
    other = (0.8 - sum(SHARES.values())) / (len(TRAITS) - len(SHARES))
    weights = [0.2, *(SHARES.get(name, other) for name in TRAITS)]
    drawn = [name for name in plan.more.choices(["", *TRAITS], weights) if name]
    if plan.more.random() < 0.1 and not {"sync", "follow", "count"} & {*drawn}:
        drawn.append("fractions")
    return tuple(dict.fromkeys(drawn))
