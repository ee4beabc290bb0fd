"""Servers that share no code with the sandbox: each record is returned once, or an error is raised."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

import anyio
import attrs
import httpx
import pytest
import trio
import trio.testing

from itnio_voice import (
    Checkpoint,
    Credentials,
    IncompleteWindowError,
    Page,
    Retry,
    TimestampExpiredError,
    VoiceRecord,
    VoiceSession,
    Window,
)
from itnio_voice._walk.chunks import WalkPlan
from itnio_voice._walk.learned import Learned
from itnio_voice._walk.walk import Walk
from itnio_voice._walk.window_pass import WindowPass
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import session_on
from ..support.ticking import run_ticking

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(days=20)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def crowd(sandbox: Sandbox, number: int, at: datetime = START + HOUR / 2) -> list[str]:
    """Insert a number of records on one second, and return their ids."""
    return sandbox.insert(*({"submitTime": at.isoformat()} for _ in range(number)))


def spread(sandbox: Sandbox, number: int, over: timedelta = HOUR) -> list[str]:
    """Insert a number of records evenly over a duration from just after START, and return their ids."""
    times = (START + SECOND + (over * index / number) // SECOND * SECOND for index in range(number))
    return sandbox.insert(*({"submitTime": at.isoformat()} for at in times))


async def read(
    session: VoiceSession, start: datetime = START, end: datetime = START + HOUR, **options: Any
) -> list[str]:
    """Return the ids of the records in a range."""
    return [record.voice_id or "" async for record in session.records(start, end, **options)]


def assert_each_once(found: Iterable[str], expected: Iterable[str]) -> None:
    """Check that each expected id was found once, and no other."""
    assert dict.fromkeys(expected, 1) == dict(Counter(found))


# Ties and other orders


@pytest.mark.parametrize("page_size", [20, 100])
@pytest.mark.parametrize("number", [250, 900])
async def test_ties_in_another_order_on_each_page_are_returned_once(number: int, page_size: int) -> None:
    """The pages are stable, but repeat and miss records of one second: each record is still returned once."""
    with Sandbox(behaviour=Behaviour(order="heap")) as sandbox:
        names = crowd(sandbox, number)
        async with session_on(sandbox) as session:
            found = await read(session, page_size=page_size)

        assert_each_once(found, names)
        assert len(sandbox.requests) <= 60 + 10 * number / 100


async def test_orders_that_are_not_by_time_need_no_second_pass() -> None:
    """In such an order, a record may expire and another appear unnoticed, unless the pages overlap."""
    with Sandbox() as sandbox:
        names = spread(sandbox, 450)
        async with session_on(sandbox) as session:
            assert_each_once(await read(session), names)
            in_order = len(sandbox.requests)
            sandbox.behaviour = Behaviour(order="by_hash")
            assert_each_once(await read(session), names)

        assert 2 * in_order == len(sandbox.requests)


@pytest.mark.parametrize("number", [150, 450, 1450])
@pytest.mark.parametrize("sizes", ["reduced", "raised", "refused"])
async def test_servers_that_honour_only_some_sizes_are_read_in_plain_pages(sizes: Any, number: int) -> None:
    """Pages that overlap are given up for the session after the first window."""
    with Sandbox(behaviour=Behaviour(sizes=sizes)) as sandbox:
        names = spread(sandbox, number)
        async with session_on(sandbox, retry=Retry(attempts=2, wait_initial=0.001, jitter=0)) as session:
            assert_each_once(await read(session), names)
            sandbox.reset_requests()
            assert_each_once(await read(session), names)

        assert all(request.answered == "0" for request in sandbox.requests)
        assert len(sandbox.requests) <= number / 100 + 8


@pytest.mark.parametrize("refusal", [400, 500, "-3"])
async def test_sizes_may_be_refused_in_any_way(refusal: int | str) -> None:
    """Whatever the server answers to a size other than 100, the pages of later windows do not overlap."""

    async def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if body["size"] != 100:
            return (
                httpx.Response(refusal) if isinstance(refusal, int) else httpx.Response(200, json={"status": refusal})
            )
        first, last = (datetime.fromisoformat(body["params"][name]) for name in ("strTime", "endTime"))
        times = [at for at in (START + HOUR * 0.05 * (n + 0.5) for n in range(450)) if first <= at <= last]
        page = times[(body["current"] - 1) * 100 : body["current"] * 100]
        records = [{"voiceId": str(at), "submitTime": at.isoformat()} for at in page]
        return httpx.Response(200, json={"status": "0", "data": {"total": len(times), "records": records}})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with VoiceSession(Credentials("k", "s"), http_client=client, retry=Retry(attempts=1)) as session:
        assert 450 == len(set(await read(session, START, START + DAY)))


# Totals


@pytest.mark.parametrize(
    ("behaviour", "number"),
    [
        (Behaviour(total_cap=1000), 2500),
        (Behaviour(total_of_page=True), 500),
        (Behaviour(total_one_short=True), 201),
        (Behaviour(total_one_short=True, max_size=50), 251),
        (Behaviour(total_of_page=True, max_size=7), 60),
    ],
)
@pytest.mark.parametrize("on_one_second", [False, True])
async def test_totals_that_are_too_small_hide_no_record(
    behaviour: Behaviour, number: int, *, on_one_second: bool
) -> None:
    """A total that is capped, of the page, or one too small hides no record."""
    with Sandbox(behaviour=behaviour) as sandbox:
        names = (crowd if on_one_second else spread)(sandbox, number)
        async with session_on(sandbox, concurrency=8) as session:
            assert_each_once(await read(session), names)


@pytest.mark.parametrize("past_last", ["empty", "first", "first_silent"])
@pytest.mark.parametrize("names_page", [True, False])
@pytest.mark.parametrize(("page_size", "max_size"), [(1, 100), (3, 100), (100, 5), (100, 2), (3, 2)])
async def test_a_full_only_page_that_is_repeated_proves_nothing(
    past_last: Literal["empty", "first", "first_silent"], page_size: int, max_size: int, *, names_page: bool
) -> None:
    """If a server has only page 1 and its total is that page's length, pages of another size are requested."""
    omits = [] if names_page else ["current"]
    behaviour = Behaviour(
        total_of_page=True, always_first_page=True, past_last=past_last, omits=omits, max_size=max_size
    )
    with Sandbox(behaviour=behaviour) as sandbox:
        names = spread(sandbox, 10)
        async with session_on(sandbox, concurrency=8) as session:
            assert_each_once(await read(session, page_size=page_size), names)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_checking_correct_totals_costs_at_most_one_percent() -> None:
    """The checks of totals cost little: a page behind a full last one, and a split of round totals."""
    with Sandbox(records=60_000, start=START, end=NOW - HOUR) as sandbox:
        async with session_on(sandbox, concurrency=8) as session:
            found = await read(session, START, NOW - HOUR)

        windows = len({(request.start, request.end) for request in sandbox.requests})
        # The boundary second, and for each window a last page that is not full, and page 1 again.
        assert len(found) > 59_000
        assert len(sandbox.requests) <= 1.01 * (len(found) / 100 + 2 * windows) + 1


@pytest.mark.parametrize("lag", [1.0, 30.0])
async def test_passes_over_differing_replicas_do_not_count(lag: float) -> None:
    """A pass whose answers have different totals does not count; records that all replicas have are returned once."""
    now = NOW.timestamp()
    with Sandbox(clock=lambda: now) as sandbox:
        start = datetime.fromtimestamp(now, UTC) - HOUR
        names = sandbox.insert(*({"submitTime": (start + (15 * n + 1) * SECOND).isoformat()} for n in range(200)))
        now += lag + 5
        sandbox.behaviour = Behaviour(replicas=2, replica_lag=lag, timestamp_tolerance=1e6)

        def call(sandbox: Sandbox, number: int) -> None:
            nonlocal now
            now += lag / 7
            sandbox.insert({"submitTime": (start + 7 * number * SECOND).isoformat()})

        sandbox.on_request = call
        async with session_on(sandbox, concurrency=1) as session:
            found = Counter(await read(session, start, start + HOUR, page_size=20))

    assert set(names) <= found.keys()
    assert {1} == set(found.values())


# Boundaries and clocks


@pytest.mark.parametrize("ends", ["[)", "[]", "(]", "()"])
async def test_boundaries_within_a_second_tile(ends: Any) -> None:
    """Both ends are rounded down: two calls that meet within a second return each record once."""
    with Sandbox(behaviour=Behaviour(ends=ends)) as sandbox:
        names = spread(sandbox, 3600, HOUR)
        middle = START + HOUR / 2 + timedelta(milliseconds=500)
        async with session_on(sandbox) as session:
            found = await read(session, START - SECOND, middle) + await read(session, middle, START + HOUR + 2 * SECOND)

    assert_each_once(found, names)


async def test_a_range_within_one_second_is_empty() -> None:
    """It raises no error and sends no request; neither does a page of it."""
    with Sandbox() as sandbox:
        async with session_on(sandbox) as session:
            inside = START + timedelta(milliseconds=1)
            stream = session.records(inside, inside + timedelta(milliseconds=998))

            assert [] == await stream.collect()
            assert () == stream.checkpoint.done
            assert Page((), 0, 100, 1, 0) == await session.page(inside, inside + timedelta(milliseconds=998))
        assert [] == sandbox.requests


@pytest.mark.parametrize("hours", [-2, 2, 30])
async def test_a_machine_with_a_wrong_clock_reads_everything(hours: int) -> None:
    """A wrong local clock does not cut a past range: the server's `Date` header is requested first and used."""
    with Sandbox(clock=lambda: NOW.timestamp() + 3600 * hours) as sandbox:
        now = datetime.fromtimestamp(NOW.timestamp() + 3600 * hours, UTC)
        start = now - HOUR
        names = sandbox.insert(*({"submitTime": (start + n * SECOND).isoformat()} for n in range(10, 3000, 100)))
        async with session_on(sandbox) as session:
            assert_each_once(await read(session, start, now - timedelta(minutes=1)), names)
            stream = session.records(start)
            assert_each_once([record.voice_id or "" for record in await stream.collect()], names)

        (done,) = stream.checkpoint.done
        assert timedelta(seconds=1) <= now - done.end <= timedelta(seconds=3)


@pytest.mark.parametrize("date_ahead", [5 * 86400.0, -5 * 86400.0, 250e9, -1.79e9])
async def test_a_wrong_date_loses_no_record(date_ahead: float) -> None:
    """One `-16` with a `Date` that is days off raises an error; no record of a past range is lost silently."""
    with Sandbox() as sandbox:
        names = spread(sandbox, 50)
        faults = (Fault("timestamp_expired", times=1, date_ahead=date_ahead),)
        sandbox.behaviour = Behaviour(faults=faults)
        async with session_on(sandbox) as session:
            with pytest.raises(TimestampExpiredError, match="clock"):
                await read(session)
            assert_each_once(await read(session), names)


async def test_the_future_stays_unread(caplog: pytest.LogCaptureFixture) -> None:
    """A range that ends in the server's future is read to the last complete second, with one warning."""
    with Sandbox(clock=NOW.timestamp) as sandbox:
        names = sandbox.insert({"submitTime": (NOW - HOUR / 2).isoformat()})
        sandbox.insert({"submitTime": NOW.isoformat()})
        async with session_on(sandbox) as session:
            stream = session.records(NOW - HOUR, NOW + DAY)
            assert_each_once([record.voice_id or "" for record in await stream.collect()], names)
            later = session.records(NOW + HOUR, NOW + DAY)
            assert [] == await later.collect()

        assert (Window(NOW - HOUR, NOW - SECOND),) == stream.checkpoint.done
        assert () == stream.skipped == later.skipped == later.checkpoint.done
        assert (1, 1) == (stream.progress.windows_done, stream.progress.windows_planned)
    warnings = [record for record in caplog.records if record.name == "itnio_voice.windows"]
    assert 2 == len(warnings)
    assert (NOW + DAY).isoformat() in warnings[0].getMessage()
    assert NOW.isoformat() in warnings[0].getMessage()


async def test_an_end_in_the_past_is_reached() -> None:
    """An explicit end in the past is reached, also within the second that is not over yet."""
    with Sandbox(clock=lambda: NOW.timestamp() + 0.5) as sandbox:
        async with session_on(sandbox) as session:
            stream = session.records(NOW - HOUR, NOW + timedelta(milliseconds=400))
            await stream.collect()

    assert (Window(NOW - HOUR, NOW),) == stream.checkpoint.done


async def test_a_server_that_ignores_offsets_returns_the_same_records() -> None:
    """A server that reads every time as its local time, +08:00, returns the same records."""
    with Sandbox(behaviour=Behaviour(time_offset="ignored")) as sandbox:
        names = spread(sandbox, 100)
        async with session_on(sandbox) as session:
            assert_each_once(await read(session), names)


@pytest.mark.parametrize("ahead", [timedelta(), 3 * SECOND, HOUR])
async def test_windows_end_at_the_servers_last_complete_second(ahead: timedelta) -> None:
    """Windows end at the server's last complete second, and one `-25` near now costs only a few requests."""
    with Sandbox(behaviour=Behaviour(refuses_future_end=True), clock=lambda: NOW.timestamp() + 0.7) as sandbox:
        names = sandbox.insert(*({"submitTime": (NOW - n * HOUR / 10).isoformat()} for n in range(1, 100)))
        async with session_on(sandbox) as session:
            found = await read(session, NOW - DAY, NOW + ahead)
            assert_each_once(found, names)
            before = len(sandbox.requests)
            await read(session, NOW - 2 * DAY, NOW - DAY)

        assert before <= 12
        assert len(sandbox.requests) - before == 2


async def test_a_spurious_refusal_narrows_windows_temporarily() -> None:
    """A spurious `-25` narrows windows temporarily, not for the whole session."""
    refusals = {2, 4}
    answered: list[str] = []

    async def answer(_: httpx.Request) -> httpx.Response:
        refused = len(answered) in refusals
        answered.append("-25" if refused else "0")
        data = {"total": 0, "size": 100, "current": 1, "pages": 0, "records": []}
        return httpx.Response(200, json={"status": answered[-1], "reason": "", "data": None if refused else data})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    async with VoiceSession(Credentials("key", "secret"), http_client=client, concurrency=1) as session:
        for _ in range(40):
            await read(session, START, START + 15 * DAY)
        await read(session, START, START + 15 * DAY)
        before = len(answered)
        await read(session, START, START + 15 * DAY)

    assert before <= 200
    assert len(answered) - before <= 4


# Records that share an id


@pytest.mark.parametrize("page_size", [1, 2, 100])
async def test_records_that_share_an_id_are_all_returned(page_size: int, caplog: pytest.LogCaptureFixture) -> None:
    """Two calls with one id are two records, with any page size, and a warning names the id."""
    with Sandbox() as sandbox:
        names = spread(sandbox, 20)
        for callee in ("4930123456", "4930654321"):
            sandbox.insert({"voiceId": "two-legs", "callee": callee, "submitTime": (START + HOUR / 3).isoformat()})
        async with session_on(sandbox) as session:
            records = [record async for record in session.records(START, START + HOUR, page_size=page_size)]

    assert_each_once([f"{record.voice_id}" for record in records if record.voice_id != "two-legs"], names)
    assert ["4930123456", "4930654321"] == sorted(str(r.callee) for r in records if r.voice_id == "two-legs")
    assert [1] == [
        record.getMessage().count("two-legs") for record in caplog.records if record.levelno >= logging.WARNING
    ]


@pytest.mark.parametrize("apart", [HOUR, 15 * DAY])
async def test_a_placeholder_id_in_later_windows_is_returned_again(apart: timedelta) -> None:
    """Two calls with one id in two windows are both returned."""
    with Sandbox(behaviour=Behaviour(max_span=apart / 2)) as sandbox:
        for days in range(2):
            sandbox.insert({"voiceId": "0", "submitTime": (START + HOUR + days * apart * 0.7).isoformat()})
        async with session_on(sandbox) as session:
            found = await read(session, START, START + HOUR + apart)

    assert ["0", "0"] == found


# Endless, slow and failing servers


@pytest.mark.parametrize("concurrency", [1, 4, 8, 64])
async def test_windows_widen_again_after_many_errors(concurrency: int) -> None:
    """After 25 errors in a row windows are narrow, and widen again; few are open at a time."""
    without_totals = Behaviour(omits=["total", "pages"])
    with Sandbox(behaviour=without_totals) as sandbox:
        names = spread(sandbox, 400, 10 * DAY)

        def storm(sandbox: Sandbox, _: int) -> None:
            # After the two passes over the boundary second, which cannot be narrowed.
            passes = sum(request.end == START for request in sandbox.requests)
            if passes == 2 and sandbox.behaviour is without_totals:
                sandbox.behaviour = attrs.evolve(without_totals, faults=(Fault("system_error", times=25),))

        sandbox.on_request = storm
        async with session_on(sandbox, concurrency=concurrency) as session:
            assert_each_once(await read(session, START, START + 10 * DAY), names)

        assert 25 == sum(request.answered == "-18" for request in sandbox.requests)
        assert len(sandbox.requests) <= 25 + 220 + 6 * concurrency


@pytest.mark.parametrize("concurrency", [1, 4, 8, 64])
async def test_an_unverifiable_second_costs_no_more_with_concurrency(concurrency: int) -> None:
    """The requests ahead of a window that is narrowed do not grow with the square of the concurrency."""
    with Sandbox(behaviour=Behaviour(always_first_page=True, omits=["current", "total"])) as sandbox:
        crowd(sandbox, 300)
        async with session_on(sandbox, concurrency=concurrency) as session:
            with pytest.raises(IncompleteWindowError):
                await read(session, START, START + DAY)

        assert len(sandbox.requests) <= 100 + 3 * concurrency


@pytest.mark.parametrize("endless", ["counted", "uncounted"])
async def test_endless_pages_are_an_error(endless: Any) -> None:
    """A second with endless pages is an error after a bounded number of requests."""
    omits = ["total", "pages"] if endless == "uncounted" else []
    with Sandbox(behaviour=Behaviour(endless=endless, omits=omits)) as sandbox:
        crowd(sandbox, 150)
        async with session_on(sandbox) as session:
            with pytest.raises(IncompleteWindowError):
                await read(session)

        assert len(sandbox.requests) <= 2500


async def test_refused_deep_pages_are_a_clear_error() -> None:
    """If one second has more records than the server pages through, the error says so instead of showing `-22`."""
    with Sandbox(behaviour=Behaviour(deepest_row=200)) as sandbox:
        crowd(sandbox, 450)
        async with session_on(sandbox) as session:
            with pytest.raises(IncompleteWindowError, match="refuses the pages after"):
                await read(session)


async def test_a_window_with_refused_deep_pages_is_narrowed() -> None:
    """A window with more records than the server pages through is narrowed."""
    with Sandbox(behaviour=Behaviour(deepest_row=200)) as sandbox:
        names = spread(sandbox, 900)
        async with session_on(sandbox) as session:
            assert_each_once(await read(session), names)


def test_the_work_of_a_pass_is_linear_in_its_pages() -> None:
    """With thousands of one-record pages, the work for each page stays the same."""

    def calls(pages: int) -> int:
        reading: WindowPass[VoiceRecord] = WindowPass(Window(START, START + 2 * SECOND), 1, Learned())
        number = 0

        def count(*_: object) -> None:
            nonlocal number
            number += 1

        sys.setprofile(count)
        try:
            while current := reading.take_next():
                record = VoiceRecord(voice_id=str(current), submit_time=START)
                reading.add(current, Page((record,) if current <= pages else (), pages, 1, current, pages))
        finally:
            sys.setprofile(None)
        assert reading.is_read
        return number

    assert calls(4000) <= 4.2 * calls(1000)


def test_the_retention_search_continues_after_a_timeout(anyio_backend: str) -> None:
    """With `expired="skip"`, a reader that cancels each call after a few requests still makes progress."""
    run_ticking(search_with_little_time, anyio_backend, 0)


async def search_with_little_time() -> None:
    """Read with a timeout of five requests for each record."""
    sandbox = Sandbox(behaviour=Behaviour(latency=0.01)).open()
    with closing(sandbox):
        names = spread(sandbox, 10)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(sandbox.app))
        async with client, session_on(sandbox, http_client=client) as session:
            reading = aiter(session.records(START - 400 * DAY, START + HOUR, expired="skip"))
            found = []
            for _ in range(2000):
                with anyio.move_on_after(0.05):
                    record = await anext(reading, None)
                    if record is None:
                        break
                    found.append(record.voice_id or "")

        assert_each_once(found, names)


@pytest.mark.parametrize("status", ["timeout", 503, 504, "-18"])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_window_length_that_times_out_is_remembered(status: Any, concurrency: int) -> None:
    """A server too slow for more than three days is not sent wider windows repeatedly."""
    too_long: list[timedelta] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        params = json.loads(request.content)["params"]
        first, last = (datetime.fromisoformat(params[name]) for name in ("strTime", "endTime"))
        if last - first > 3 * DAY:
            too_long.append(last - first)
            if status == "timeout":
                await anyio.sleep(1000)
            if isinstance(status, int):
                return httpx.Response(status)
            return httpx.Response(200, json={"status": "-18", "reason": "busy"})
        data = {"total": 0, "size": 100, "current": 1, "pages": 0, "records": []}
        return httpx.Response(200, json={"status": "0", "data": data})

    async def main() -> None:
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        options: Any = {"http_client": client, "concurrency": concurrency, "retry": Retry(attempts=2)}
        async with client, VoiceSession(Credentials("key", "secret"), **options) as session:
            assert [] == await read(session, NOW - 60 * DAY, NOW - HOUR)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(too_long) <= 2 * 4


# A live account


@pytest.mark.parametrize(("per_request", "late"), [(3, 0.2), (1, 0.0), (3, 0.5)])
@pytest.mark.parametrize("concurrency", [1, 4, 8])
def test_a_busy_live_account_settles(per_request: int, late: float, concurrency: int) -> None:
    """With up to 300 calls a second, some visible half a minute late, the last seconds settle and no record is lost."""
    chance = Random(f"{per_request} {late}")
    epoch = NOW.timestamp()
    calls: list[tuple[float, float, VoiceRecord]] = []

    async def main() -> None:
        began = anyio.current_time()

        def now() -> float:
            return epoch + anyio.current_time() - began

        def call(at: float) -> None:
            delay = chance.expovariate(1 / 30) if chance.random() < late else 0
            second = datetime.fromtimestamp(int(at), UTC)
            calls.append((at, at + delay, VoiceRecord(voice_id=str(len(calls)), submit_time=second)))

        for number in range(2 * 3600):
            call(epoch - number * 1.0)

        async def fetch(window: Window, current: int, size: int) -> Page[VoiceRecord]:
            await anyio.sleep(0.01)
            for _ in range(per_request):
                call(now())
            first, last, at = window.start.timestamp(), window.end.timestamp(), now()
            rows = sorted((int(t), n) for n, (t, seen, _) in enumerate(calls) if first <= int(t) <= last and seen <= at)
            page = tuple(calls[n][2] for _, n in rows[(current - 1) * size : current * size])
            return Page(page, len(rows), size, current, None)

        start = NOW - timedelta(minutes=20)
        there = {record.voice_id for at, seen, record in calls if at > start.timestamp() and seen <= epoch}
        walk = Walk(
            WalkPlan(
                fetch=fetch,
                gaps=[Window(start, datetime(9999, 1, 1, tzinfo=UTC))],
                now=now,
                concurrency=concurrency,
                until_now=True,
            )
        )
        found: Counter[str | None] = Counter()
        while piece := await walk.advance():
            found.update(record.voice_id for record in piece.records)
        assert {1} == set(found.values())
        end = epoch - 1
        assert {name for name in there if calls[int(name or 0)][0] < end} <= found.keys()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Resuming


@pytest.mark.parametrize("ahead", [0.0, 0.5, 0.99, 1.5, 2.0, 2.5])
async def test_unread_time_is_read_later(ahead: float) -> None:
    """A checkpoint excludes the server's future; the same query, resumed later, reads it.

    The same holds if this machine's clock is a second or two ahead: the server's current second is not over.
    """
    now = NOW.timestamp()
    with Sandbox(clock=lambda: now) as sandbox:
        first = sandbox.insert({"submitTime": (NOW - HOUR).isoformat()})
        async with session_on(sandbox) as session:
            session._transport.clock = lambda: now + ahead
            stream = session.records(NOW - DAY, NOW + DAY)
            found = [record.voice_id or "" for record in await stream.collect()]
            now += 2 * 86400
            then = sandbox.insert({"submitTime": (NOW + HOUR).isoformat()}, {"submitTime": NOW.isoformat()})
            checkpoint = Checkpoint.parse(str(stream.checkpoint))
            found += await read(session, NOW - DAY, NOW + DAY, resume=checkpoint)

    assert_each_once(found, first + then)
