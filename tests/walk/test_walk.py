"""Completeness: on any server, each record is returned once, or an error is raised."""

import itertools
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest
import trio
import trio.testing

from itnio_voice import (
    IncompleteWindowError,
    Page,
    ProtocolError,
    RecordStream,
    ServerError,
    TimeRangeError,
    VoiceRecord,
    Window,
)
from itnio_voice._walk.chunks import WalkPlan
from itnio_voice._walk.learned import Learned
from itnio_voice._walk.walk import Walk
from itnio_voice._walk.widths import DEEPEST
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import session_on

pytestmark = pytest.mark.anyio

END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=60)
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def filled() -> Iterator[Sandbox]:
    """Run a sandbox with 6,000 records in 60 days, some of them near the seconds where adjacent calls meet."""
    with Sandbox(records=6_000, start=START, end=END) as sandbox:
        about = itertools.product(range(6, 60, 6), (-1, 0, 1))
        sandbox.insert(*({"submitTime": (START + timedelta(day, second)).isoformat()} for day, second in about))
        yield sandbox


@pytest.fixture
def sandbox(filled: Sandbox) -> Iterator[Sandbox]:
    """Return the filled sandbox, with default behaviour."""
    filled.behaviour = Behaviour()
    filled.reset_requests()
    yield filled
    filled.on_request = None


def switches(behaviour: Behaviour) -> str:
    """Return the differences of a behaviour from the default; the same text in every process."""
    values = {field.name: getattr(behaviour, field.name) for field in attrs.fields(Behaviour)}
    return ",".join(
        f"{name}={'+'.join(sorted(value)) if isinstance(value, frozenset) else value}"
        for name, value in values.items()
        if value != getattr(Behaviour(), name)
    )


async def ids(stream: RecordStream[VoiceRecord]) -> list[str]:
    """Return the ids of a stream's records."""
    return [record.voice_id or "" async for record in stream]


def owned(sandbox: Sandbox, start: datetime, end: datetime) -> set[str]:
    """Return the ids of the records that a range returns: those on its start belong to the range before."""
    return sandbox.ids(start, end) - sandbox.ids(start, start)


def assert_each_once(found: list[str], expected: set[str]) -> None:
    """Check that each id was found once, and no other."""
    counts = Counter(found)

    assert not [name for name, count in counts.items() if count > 1]
    assert expected == set(counts)


ENDS = ("[)", "[]", "(]", "()")
ORDERS = ("ascending", "descending")


@pytest.mark.parametrize(("ends", "order"), list(itertools.product(ENDS, ORDERS)))
@pytest.mark.parametrize("days", [31, 3])
async def test_every_record_is_returned_once(sandbox: Sandbox, ends: Any, order: Any, days: int) -> None:
    """Holds whichever ends of a range are inclusive, in any order, and with any limit of a window."""
    sandbox.behaviour = Behaviour(ends=ends, order=order, max_span=timedelta(days=days))
    async with session_on(sandbox) as session:
        found = await ids(session.records(START, END))

    assert_each_once(found, sandbox.ids(START, END))


@pytest.mark.parametrize(("ends", "order"), list(itertools.product(ENDS, ORDERS)))
async def test_adjacent_calls_tile(sandbox: Sandbox, ends: Any, order: Any) -> None:
    """Ten adjacent calls together return the same records as one call."""
    sandbox.behaviour = Behaviour(ends=ends, order=order)
    found: list[str] = []
    async with session_on(sandbox) as session:
        for tenth in range(10):
            start = START + tenth * timedelta(days=6)
            found += await ids(session.records(start, start + timedelta(days=6)))

    assert_each_once(found, sandbox.ids(START, END))


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(max_size=7),
        Behaviour(past_last="first"),
        Behaviour(past_last="first_silent"),
        Behaviour(omits=frozenset({"total"})),
        Behaviour(omits=frozenset({"total", "size", "current", "pages"})),
        Behaviour(omits=frozenset({"size", "current", "pages"}), max_size=30),
        Behaviour(numbers_as_text=True, status_as_number=True, byte_order_mark=True, gzip=True),
        Behaviour(null_records=True),
        Behaviour(duplicates=0.05),
        Behaviour(order="unstable"),
        Behaviour(selects_by="hangup_time"),
        Behaviour(window_fails_over=900),
        Behaviour(max_span=timedelta(hours=12)),
    ],
    ids=switches,
)
async def test_unusual_servers_return_the_same_records(sandbox: Sandbox, behaviour: Behaviour) -> None:
    """Each unusual behaviour returns the same records."""
    sandbox.behaviour = behaviour
    start = END - timedelta(days=10)
    async with session_on(sandbox) as session:
        found = await ids(session.records(start, END, page_size=40))

    assert_each_once(found, owned(sandbox, start, END))


async def test_page_1_for_every_request_is_an_error(sandbox: Sandbox) -> None:
    """A server that answers every request with page 1, and says so, is rejected."""
    sandbox.behaviour = Behaviour(always_first_page=True)
    # The connection of such an answer is closed; another request may see that as a broken pipe.
    async with session_on(sandbox, concurrency=1) as session:
        with pytest.raises(ProtocolError, match=r"page \d+ was requested"):
            await session.records(START, END).collect()


async def test_page_1_without_its_number_is_detected(sandbox: Sandbox) -> None:
    """If answers do not name their page, windows of one page still return each record."""
    sandbox.behaviour = Behaviour(always_first_page=True, omits=frozenset({"current"}))
    start = END - timedelta(days=2)
    async with session_on(sandbox) as session:
        found = await ids(session.records(start, END))

    assert_each_once(found, owned(sandbox, start, END))


async def test_thousands_of_records_on_one_second_are_read() -> None:
    """Thousands of records on one second are read page by page."""
    at = START + timedelta(days=1, seconds=30)
    with Sandbox(records=0) as crowded:
        names = crowded.insert(*({"submitTime": at.isoformat()} for _ in range(2500)))
        async with session_on(crowded) as session:
            found = await ids(session.records(at - timedelta(hours=1), at + timedelta(hours=1)))

    assert_each_once(found, set(names))


async def test_a_window_that_never_adds_up_is_an_error() -> None:
    """A second whose pages always differ is an error with the expected number, not a gap."""
    at = START + timedelta(days=1)
    with Sandbox(behaviour=Behaviour(always_first_page=True, omits=frozenset({"current"}))) as crowded:
        crowded.insert(*({"submitTime": at.isoformat()} for _ in range(150)))
        async with session_on(crowded) as session:
            stream = session.records(at - timedelta(hours=1), at + timedelta(hours=1))
            with pytest.raises(IncompleteWindowError) as caught:
                await stream.collect()

    error = caught.value
    assert (150, 100) == (error.expected, error.received)
    assert error.window is not None
    assert error.window.start <= at <= error.window.end


async def test_records_that_shift_between_pages_are_not_lost() -> None:
    """Records that expire and appear between two pages cost no other record."""
    start = END - timedelta(days=30)
    with Sandbox(records=3000, start=start, end=END) as sandbox:
        there = owned(sandbox, start, END)
        oldest = iter(sorted(there))
        gone: set[str] = set()

        def shift(sandbox: Sandbox, number: int) -> None:
            if number % 7 == 0 and number < 400:
                name = next(oldest)
                gone.add(name)
                sandbox.delete(name)
            if number % 11 == 0:
                sandbox.insert({"submitTime": (start + timedelta(hours=number)).isoformat()})

        sandbox.on_request = shift
        async with session_on(sandbox) as session:
            found = Counter(await ids(session.records(start, END)))

    assert 1 == max(found.values())
    assert not there - gone - found.keys()


async def test_a_walk_up_to_now_ends() -> None:
    """Calls that arrive during the walk, some visible late, keep only small windows changing."""
    now = datetime.now(UTC)
    with Sandbox(records=2000, start=now - timedelta(days=20), end=now) as sandbox:
        # A record of the last half minute may be late, and so may still be missing.
        there = owned(sandbox, now - timedelta(days=20), now - timedelta(minutes=1))
        sandbox.behaviour = Behaviour(late_share=0.2)

        def call(sandbox: Sandbox, _: int) -> None:
            sandbox.insert({"submitTime": datetime.now(UTC).isoformat(timespec="seconds")})

        sandbox.on_request = call
        async with session_on(sandbox) as session:
            found = Counter(await ids(session.records(now - timedelta(days=20))))

        assert 1 == max(found.values())
        assert there <= found.keys()
        assert len(sandbox.requests) < 150


@pytest.mark.parametrize("limit", [timedelta(minutes=1), timedelta(hours=1), timedelta(days=3), timedelta(days=30)])
async def test_few_refusals_find_the_limit(sandbox: Sandbox, limit: timedelta) -> None:
    """About ten refusals are enough to learn any limit of a window."""
    sandbox.behaviour = Behaviour(max_span=limit)
    start = END - min(timedelta(days=40), 300 * limit)
    async with session_on(sandbox, concurrency=8) as session:
        found = await ids(session.records(start, END))
        refusals = sum(request.answered == "-25" for request in sandbox.requests)
        assert_each_once(found, owned(sandbox, start, END))
        assert refusals <= 10

        sandbox.reset_requests()
        await session.records(start, END, limit=50).collect()
        assert 0 == sum(request.answered == "-25" for request in sandbox.requests)


async def test_too_old_is_an_error(sandbox: Sandbox) -> None:
    """A range that starts before the server's retention is refused, with the window."""
    async with session_on(sandbox) as session:
        stream = session.records(END - timedelta(days=400), END)
        with pytest.raises(TimeRangeError, match="-25") as caught:
            await stream.collect()

    assert caught.value.window is not None
    assert END - timedelta(days=400) == caught.value.window.start
    assert 3 == len(sandbox.requests)


@pytest.mark.parametrize("years", [1, 10, 2000])
async def test_too_old_is_skipped(sandbox: Sandbox, years: int) -> None:
    """With `expired="skip"`, a walk starts a minute after the oldest available record and reports the skipped part."""
    start = END - timedelta(days=365 * years)
    kept = datetime.now(UTC) - timedelta(days=62)
    async with session_on(sandbox) as session:
        stream = session.records(start, END, expired="skip")
        found = await ids(stream)

    assert_each_once(found, sandbox.ids(START, END))
    (skipped,) = stream.skipped
    assert start == skipped.start
    assert kept - SECOND <= skipped.end <= kept + timedelta(minutes=3)
    assert sum(request.answered == "-25" for request in sandbox.requests) <= 60


async def test_an_entirely_expired_range_is_skipped(sandbox: Sandbox) -> None:
    """A range with no available records is skipped completely."""
    start, end = END - timedelta(days=400), END - timedelta(days=300)
    async with session_on(sandbox) as session:
        stream = session.records(start, end, expired="skip")

        assert [] == await stream.collect()
        assert (Window(start, end),) == stream.skipped


async def test_a_start_on_the_limit_of_retention_is_available() -> None:
    """A start exactly at the retention limit is available, although the second before it is not."""
    now = float(int(time.time()))
    start = datetime.fromtimestamp(now, UTC) - timedelta(days=62)
    with Sandbox(clock=lambda: now) as sandbox:
        names = sandbox.insert({"submitTime": (start + SECOND).isoformat()})
        async with session_on(sandbox) as session:
            found = await ids(session.records(start, start + timedelta(days=3)))

    assert names == found


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_deep_windows_are_narrowed() -> None:
    """No request goes deeper into a window than about ten thousand records."""
    with Sandbox(records=30_000, start=START, end=END) as sandbox:
        async with session_on(sandbox, concurrency=8) as session:
            found = await ids(session.records(START, END))

        assert_each_once(found, sandbox.ids(START, END))
        assert max((request.current or 0) * (request.size or 0) for request in sandbox.requests) <= 12_000
        assert len(sandbox.requests) <= 1.05 * 300


async def test_a_server_that_fails_for_every_window_ends_the_walk(sandbox: Sandbox) -> None:
    """If the server fails for every window, its error ends the walk, with the smallest window tried."""
    async with session_on(sandbox) as session:
        stream = session.records(START, END)
        reading = aiter(stream)
        await anext(reading)
        sandbox.behaviour = Behaviour(window_fails_over=0)
        with pytest.raises(ServerError) as caught:
            async for _ in reading:
                pass

    (note,) = caught.value.__notes__
    start, end = (datetime.fromisoformat(time) for time in note.removeprefix("while reading ").split(" to "))
    assert timedelta(seconds=2) == end - start


@pytest.mark.parametrize(
    "kind", ["status_500", "status_429", "system_error", "html", "empty", "truncated", "half_body", "drop"]
)
async def test_temporary_faults_are_retried(sandbox: Sandbox, kind: Any) -> None:
    """Temporary faults are retried, and no record is lost or doubled."""
    sandbox.behaviour = Behaviour(faults=(Fault(kind, share=0.2),))
    async with session_on(sandbox, retry=attrs.evolve(session_on(sandbox)._transport.retry, attempts=30)) as session:
        found = await ids(session.records(START, END))

    assert_each_once(found, sandbox.ids(START, END))


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_walk_uses_its_concurrency(sandbox: Sandbox, concurrency: int) -> None:
    """A long walk keeps exactly as many requests in flight as `concurrency` allows."""
    sandbox.behaviour = Behaviour(latency=0.01)
    async with session_on(sandbox, concurrency=concurrency) as session:
        found = await ids(session.records(START, END))

    assert_each_once(found, sandbox.ids(START, END))
    assert concurrency == sandbox.most_in_flight


async def test_the_first_record_takes_two_round_trips(sandbox: Sandbox) -> None:
    """The boundary second and page 1 are requested; then records are returned."""
    async with session_on(sandbox) as session:
        await anext(aiter(session.records(START + timedelta(days=31), END)))

    assert 2 == len(sandbox.requests)


SECONDS_APART = 72
"""Seconds between the records of a vendor whose answers take a second each: 1,200 a day."""


def round_trips(days: int, concurrency: int) -> tuple[int, int, int]:
    """Walk days of such a vendor; return the requests, and the seconds to the first record and to the end."""
    start = datetime(2026, 9, 1, 0, 0, 1, tzinfo=UTC)
    range_ = Window(start, start + timedelta(days=days))
    requests, times = 0, []

    async def answer(window: Window, current: int, size: int) -> Page[VoiceRecord]:
        nonlocal requests
        requests += 1
        await anyio.sleep(1)
        first, last = (-(-int(at.timestamp()) // SECONDS_APART) for at in (window.start, window.end))
        offset = first + size * (current - 1)
        numbers = range(offset, min(offset + size, last))
        records = tuple(
            VoiceRecord(voice_id=str(number), submit_time=datetime.fromtimestamp(number * SECONDS_APART, UTC))
            for number in numbers
        )
        return Page(records, last - first, size, current, None)

    async def main() -> None:
        walk = Walk(WalkPlan(fetch=answer, gaps=[range_], now=range_.end.timestamp, concurrency=concurrency))
        while await walk.advance():
            times.append(anyio.current_time())
        assert 1200 * days == walk.records

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0, rate=0))
    return requests, round(times[0]), round(times[-1])


@pytest.mark.parametrize(
    ("days", "concurrency", "to_the_first", "in_all"),
    [
        (5, 1, 2, 63),  # 60 pages: the boundary second, the page behind the last, and page 1 again
        (5, 8, 1, 10),
        (20, 1, 3, 251),  # 240 pages, in narrower windows
        (20, 8, 2, 33),  # eight workers who know the number of pages: 31
        (80, 8, 2, 125),  # 960 pages; eight workers: 121
    ],
)
def test_walks_take_few_round_trips(days: int, concurrency: int, to_the_first: int, in_all: int) -> None:
    """Records arrive after one round trip, or two if the first window is too deep, and few slots are ever idle."""
    requests, first, last = round_trips(days, concurrency)

    assert to_the_first == first
    assert last <= in_all
    assert requests <= 12 * days * 1.03 + 4


@pytest.mark.parametrize(("limit", "requests"), [(0, 0), (1, 2), (100, 2), (101, 3), (250, 4)])
async def test_a_limit_requests_only_necessary_pages(sandbox: Sandbox, limit: int, requests: int) -> None:
    """`limit` counts records, and no unnecessary page is requested."""
    async with session_on(sandbox, concurrency=8) as session:
        found = await ids(session.records(START, END, limit=limit))

    assert limit == len(found)
    assert requests == len(sandbox.requests)


async def test_a_second_stream_of_a_session_throws_no_first_page_away() -> None:
    """The first has learned how dense the records are; a stream of another query knows nothing."""
    times = [START + number * SECOND for number in range(1, 24_001)]
    gap, learned, too_deep = Window(START, START + 24_001 * SECOND), Learned(), 0

    async def fetch(window: Window, current: int, size: int) -> Page[VoiceRecord]:
        nonlocal too_deep
        first, last = bisect_left(times, window.start), bisect_right(times, window.end)
        too_deep += last - first > DEEPEST
        listed = times[first:last][(current - 1) * size : current * size]
        records = tuple(VoiceRecord(voice_id=str(at), submit_time=at) for at in listed)
        return Page(records, last - first, size, current, None)

    for query, expected in (("a", 1), ("a", 0), ("b", 1)):
        too_deep = 0
        walk = Walk(WalkPlan(fetch, [gap], now=END.timestamp, concurrency=4, learned=learned, query=query))
        while await walk.advance():
            pass
        assert 24_000 == walk.records
        assert expected == too_deep
