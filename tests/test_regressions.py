"""Walks that once went wrong, kept as they were found: a server that changes between two requests."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from itnio_voice import Credentials, RecordStream, Retry, VoiceRecord, VoiceSession, Window

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def stream_of(
    rows: Callable[[int], dict[str, int]],
    oldest: Callable[[int], int],
    end: int,
    start: int = 0,
    longest: int = 10**9,
    **options: Any,
) -> RecordStream[VoiceRecord]:
    """Return a stream over a server.

    `rows` are its records (second by id) for a window that begins at a second, `oldest` the first second that it
    serves by the number of the request, `longest` the seconds that a window may have.
    """
    asked_before = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked_before
        asked_before += 1
        asked = json.loads(request.content)
        first, last = (
            (datetime.fromisoformat(asked["params"][name]) - START) // SECOND for name in ("strTime", "endTime")
        )
        if first < oldest(asked_before) or last - first > longest:
            return httpx.Response(200, json={"status": "-25", "reason": "out of time range"})
        held = rows(first)
        names = sorted((name for name, at in held.items() if first <= at <= last), key=lambda name: (held[name], name))
        size, current = asked["size"], asked["current"]
        page = [{"voiceId": name} for name in names[(current - 1) * size : current * size]]
        data = {"total": len(names), "current": current, "pages": -(-len(names) // size), "records": page}
        return httpx.Response(200, json={"status": "0", "data": data})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    session = VoiceSession(Credentials("key", "secret"), http_client=client, retry=Retry(attempts=1))
    return session.records(START + start * SECOND, START + end * SECOND, **options)


async def test_a_window_expires_after_its_first_page() -> None:
    """What follows a part skipped in the middle of a window is given from its first page on, and nothing twice."""
    rows = {f"v{at}": at for at in range(0, 3600, 60)}
    stream = stream_of(lambda _: rows, lambda number: -60 if number <= 2 else 5, 3600, page_size=10, expired="skip")
    found = [record.voice_id async for record in stream]

    assert len(found) == len(set(found))
    (skipped,) = stream.skipped
    assert {name for name, at in rows.items() if START + at * SECOND >= skipped.end} <= set(found)


async def test_the_last_two_seconds_expire() -> None:
    """A range of which only two seconds are left when it expires is skipped as a whole."""
    stream = stream_of(lambda _: {"x": 11}, lambda number: -60 if number <= 1 else 10, 12, 10, expired="skip")

    assert [] == await stream.collect()
    assert (Window(START + 10 * SECOND, START + 12 * SECOND),) == stream.skipped


async def test_a_record_on_a_second_of_three_windows() -> None:
    """A record that the second of three windows of two seconds did not show is not given again by the third."""
    stream = stream_of(lambda first: {} if first == 5 else {"x": 6}, lambda _: -60, 12, longest=2)

    assert ["x"] == [record.voice_id async for record in stream]
