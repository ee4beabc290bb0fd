"""Scenarios of fixed bugs: a server that changes between two requests."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from itnio_voice import Credentials, RecordStream, Retry, ServerError, VoiceRecord, VoiceSession, Window

from ..support.ticking import run_ticking

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def stream_of(  # noqa: PLR0917 -- one argument for each property of the server
    rows: Callable[[int, int], dict[str, int]],
    oldest: Callable[[int], int],
    end: int,
    start: int = 0,
    longest: int = 10**9,
    seconds: float = 0,
    lasts: int = 10**9,
    **options: Any,
) -> RecordStream[VoiceRecord]:
    """Return a stream over a server.

    `rows(request, start)` returns its records (second by id) for a request's number and the first second of its window;
    `oldest(request)` is the oldest available second; `longest` is the longest window in seconds. Each answer takes
    `seconds`, and after `lasts` requests all answers are -18.
    """
    requests = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        await anyio.sleep(seconds)
        requests += 1
        if requests > lasts:
            return httpx.Response(200, json={"status": "-18", "reason": "system error"})
        body = json.loads(request.content)
        first, last = (
            (datetime.fromisoformat(body["params"][name]) - START) // SECOND for name in ("strTime", "endTime")
        )
        if first < oldest(requests) or last - first > longest:
            return httpx.Response(200, json={"status": "-25", "reason": "out of time range"})
        held = rows(requests, first)
        names = sorted((name for name, at in held.items() if first <= at <= last), key=lambda name: (held[name], name))
        size, current = body["size"], body["current"]
        page = [{"voiceId": name} for name in names[(current - 1) * size : current * size]]
        data = {"total": len(names), "current": current, "pages": -(-len(names) // size), "records": page}
        return httpx.Response(200, json={"status": "0", "data": data})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    # One request at a time, as the server changes with their numbers.
    session = VoiceSession(Credentials("key", "secret"), http_client=client, concurrency=1, retry=Retry(attempts=1))
    return session.records(START + start * SECOND, START + end * SECOND, **options)


async def test_a_window_that_expires_after_its_first_page_is_continued() -> None:
    """After a part is skipped in the middle of a window, reading continues from page 1, without duplicates."""
    rows = {f"v{at}": at for at in range(0, 3600, 60)}
    stream = stream_of(lambda *_: rows, lambda number: -60 if number <= 2 else 5, 3600, page_size=10, expired="skip")
    found = [record.voice_id async for record in stream]

    assert len(found) == len(set(found))
    (skipped,) = stream.skipped
    assert {name for name, at in rows.items() if START + at * SECOND >= skipped.end} <= set(found)


async def test_an_expired_range_of_two_seconds_is_skipped() -> None:
    """A range whose last two seconds expire is skipped completely."""
    stream = stream_of(lambda *_: {"x": 11}, lambda number: -60 if number <= 1 else 10, 12, 10, expired="skip")

    assert [] == await stream.collect()
    assert (Window(START + 10 * SECOND, START + 12 * SECOND),) == stream.skipped


async def test_a_record_on_a_second_of_three_windows_is_returned_once() -> None:
    """A record that the second of three two-second windows did not list is not returned again by the third."""
    stream = stream_of(lambda _, first: {} if first == 5 else {"x": 6}, lambda _: -60, 12, longest=2)

    assert ["x"] == [record.voice_id async for record in stream]


async def test_a_record_that_moves_to_a_read_page_is_returned() -> None:
    """The total stays the same, and a record moves from page 2 to page 1, which has been read: it is still returned."""
    before = {f"v{at:03}": at for at in range(0, 300, 10)}
    after = {name: at for name, at in before.items() if at} | {"late": 295}
    stream = stream_of(lambda number, _: before if number <= 2 else after, lambda _: -60, 300, page_size=10)
    found = [record.voice_id for record in await stream.collect()]

    assert len(found) == len(set(found))
    assert (before.keys() & after.keys()) <= set(found)


def test_a_reader_with_short_timeouts_finishes(anyio_backend: str) -> None:
    """A reading continues although every step with many requests is cancelled before its end."""
    run_ticking(read_with_little_time, anyio_backend, 0)


async def read_with_little_time() -> None:
    """Read with a timeout of two and a half requests for each page."""
    rows = {f"v{at:03}": at for at in range(1, 400)}
    stream = stream_of(lambda *_: rows, lambda _: -60, 400, seconds=0.01, page_size=2)
    reading = stream.pages()
    found: list[str | None] = []
    cancelled = 0
    while True:
        with anyio.move_on_after(0.025) as scope:
            page = await anext(reading, None)
        if scope.cancelled_caught:
            cancelled += 1
            assert cancelled < 400
        elif page is None:
            break
        else:
            found += [record.voice_id for record in page.records]

    assert cancelled
    assert sorted(rows) == sorted(map(str, found))


@pytest.mark.parametrize("lasts", range(1, 30))
async def test_a_permanent_failure_ends_the_walk(lasts: int) -> None:
    """A walk ends with the error of a server that fails permanently, also with several windows open."""
    rows = {f"v{at:03}": at for at in range(1, 400)}
    stream = stream_of(lambda *_: rows, lambda _: -60, 400, longest=60, page_size=20, lasts=lasts)
    with anyio.fail_after(60), pytest.raises(ServerError):
        await stream.collect()
