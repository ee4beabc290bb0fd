"""Streams that are read backwards: from the newest records to the oldest."""

import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from itnio_voice import (
    Checkpoint,
    Credentials,
    Retry,
    TimeRangeError,
    UserLockedError,
    VoiceRecord,
    VoiceSession,
    Window,
)
from itnio_voice._client import newest_first
from itnio_voice._model.windows import WIRE_ZONE

from ..support.virtual_time import backend_options
from .following.live_service import ENDS
from .test_prefetch import LOOPS, WAYS, ids, json_of, read

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Service:
    """A server of records at given seconds; `kept` is the oldest second that it still has."""

    def __init__(self, seconds: list[float], ends: str = "[]", kept: float = -math.inf, now: float = 1e6) -> None:
        self.seconds = sorted(seconds)
        self.after, self.before = ENDS[ends]
        self.kept, self.now = kept, now
        self.requests = 0
        self.fails: Callable[[int], bool] = lambda _: False

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests += 1
        await anyio.sleep(0.1)
        if self.fails(self.requests):
            return self._reply({"status": "-13", "reason": "user locked"})
        body = json_of(request)
        first, last = (
            (datetime.fromisoformat(body["params"][name]) - START) / SECOND for name in ("strTime", "endTime")
        )
        if first < self.kept or last - first > 31 * 86_400:
            return self._reply({"status": "-25", "reason": "out of time range"})
        listed = [
            (number, at) for number, at in enumerate(self.seconds) if self.after(first, at) and self.before(at, last)
        ]
        size, current = body["size"], body["current"]
        page = [
            {"voiceId": f"{number:05}", "submitTime": (START + at * SECOND).astimezone(WIRE_ZONE).isoformat()}
            for number, at in listed[(current - 1) * size : current * size]
        ]
        data = {"total": len(listed), "size": size, "current": current, "records": page}
        return self._reply({"status": "0", "reason": "", "data": data})

    def _reply(self, content: dict[str, Any]) -> httpx.Response:
        date = (START + timedelta(seconds=self.now)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return httpx.Response(200, json=content, headers={"Date": date})

    def session(self) -> VoiceSession:
        """Return a session on this server that does not retry, and whose clock is the server's."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        session = VoiceSession(Credentials("key", "secret"), http_client=client, retry=Retry(attempts=1))
        session._transport.clock = lambda: START.timestamp() + self.now
        return session


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first part be three seconds, so that ranges have many parts."""
    monkeypatch.setattr(newest_first, "FIRST", 3 * SECOND)
    monkeypatch.setattr(newest_first, "SHORTEST_PART", 2 * SECOND)
    monkeypatch.setattr(newest_first, "WIDENING", 2)
    monkeypatch.setattr(newest_first, "FITTING", 12)


def run(main: Any, backend: str = "asyncio") -> None:
    """Run in virtual time."""
    anyio.run(main, backend=backend, backend_options=backend_options(backend))


def at(second: float) -> datetime:
    """Return a time."""
    return START + second * SECOND


async def names(items: AsyncIterator[Any], way: str) -> list[str]:
    """Return the ids of all items."""
    return [name async for item in items for name in ids(item, way)]


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("seed", range(12))
def test_the_same_records_as_forwards_newest_first(ends: str, seed: int) -> None:
    """In all ways of reading and in adjacent calls; within a window sorted by submit time."""
    chance = random.Random(seed)
    length = chance.choice([2, 3, 5, 20, 100])
    seconds = [float(chance.randrange(-2, length + 3)) for _ in range(chance.choice([0, 5, 40, 300]))]
    service, cut = Service(seconds, ends), chance.randrange(length)
    way, ahead = chance.choice(WAYS), chance.choice([0, 3])

    async def main() -> None:
        async with service.session() as session:
            forwards = await names(read(session.records(at(0), at(length)), way), way)
            backwards: list[str] = []
            for start, end in [(cut, length), (0, cut)] if cut else [(0, length)]:
                stream = session.records(at(start), at(end), newest_first=True)
                async with stream.prefetch(ahead) if ahead else nullcontext(stream) as source:
                    backwards += await names(read(source, way), way)
                assert [Window(at(start), at(end))] == list(stream.checkpoint.done)
            assert sorted(forwards) == sorted(backwards)
            windows = [batch async for batch in session.records(at(0), at(length), newest_first=True).windows()]
        assert windows == sorted(windows, key=lambda batch: batch.window.start, reverse=True)
        for batch in windows:
            keys = [(record.submit_time, record.voice_id) for record in batch.records]
            assert keys == sorted(keys, reverse=True)

    run(main)


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("backend", LOOPS)
def test_resuming_after_any_window_returns_each_record_once(ends: str, backend: str) -> None:
    """The second that two windows share has been returned with the later one."""
    service = Service([second / 2 // 1 for second in range(200)], ends)
    stream = partial(VoiceSession.records, start=at(0), end=at(90), newest_first=True)

    async def main() -> None:
        async with service.session() as session:
            expected = [str(record.voice_id) async for record in session.records(at(0), at(90))]
            found: list[str] = []
            checkpoint: Checkpoint | None = None
            while checkpoint is None or checkpoint.done != (Window(at(0), at(90)),):
                batch = await anext(stream(session, resume=checkpoint).windows())
                found += [str(record.voice_id) for record in batch.records]
                checkpoint = Checkpoint.parse(str(batch.checkpoint))
        assert sorted(expected) == sorted(found)

    run(main, backend)


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize("limit", [1, 2, 17, 50, 99, 100, 150])
@pytest.mark.parametrize("way", ["records", "pages"])
def test_a_limit_returns_the_newest(limit: int, way: str) -> None:
    """The window in which it ends is not completed."""
    service = Service([float(second) for second in range(100)])

    async def main() -> None:
        async with service.session() as session:
            stream = session.records(at(0), at(200), limit=limit, newest_first=True)
            found = await names(read(stream, way), way)
        assert [f"{99 - number:05}" for number in range(99)][:limit] == found
        done = stream.checkpoint.done
        assert not done or done[0].start >= at(99 - limit)

    run(main)


@pytest.mark.parametrize("backend", LOOPS)
def test_an_error_is_raised_where_the_record_would_be_returned(backend: str) -> None:
    """Reading on tries again."""
    service = Service([float(second) for second in range(0, 100_000, 10)])
    service.fails = lambda number: number == 30

    async def main() -> None:
        found: list[str] = []
        failures = 0
        async with service.session() as session:
            reading = aiter(session.records(at(0), at(100_000), newest_first=True))
            while True:
                try:
                    found.append(str((await anext(reading)).voice_id))
                except UserLockedError:
                    failures += 1
                except StopAsyncIteration:
                    break
        assert 1 == failures
        assert [f"{number:05}" for number in range(9999, 0, -1)] == found

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
def test_cancelled_calls_lose_nothing(backend: str) -> None:
    """A timeout around each call, shorter than a part takes."""
    service = Service([float(second) for second in range(0, 100_000, 10)])

    async def main() -> None:
        found: list[str] = []
        async with service.session() as session:
            reading = aiter(session.records(at(0), at(100_000), newest_first=True))
            while True:
                with anyio.move_on_after(0.15) as scope:
                    record = await anext(reading, None)
                    if record is None:
                        break
                    found.append(str(record.voice_id))
                assert scope is not None
        assert [f"{number:05}" for number in range(9999, 0, -1)] == found

    run(main, backend)


@pytest.mark.parametrize("length", range(55, 70))
def test_a_dense_part_that_cannot_be_shortened_is_read(length: int) -> None:
    """It is about as long as the shortest part, and has many more records than wanted."""
    service = Service([second / 10 // 1 for second in range(10 * length)])

    async def main() -> None:
        async with service.session() as session:
            stream = session.records(at(-1), at(length), limit=10, newest_first=True)
            found = [str(record.voice_id) async for record in stream]
        assert [f"{10 * length - 1 - number:05}" for number in range(10)] == found
        assert service.requests < 20

    run(main)


@pytest.mark.parametrize("expired", ["raise", "skip"])
def test_what_is_too_old_ends_the_stream(expired: Any) -> None:
    """With an error after the newer records, or with the older part in `skipped`."""
    day = 86_400.0
    service = Service([number * day for number in range(100)], kept=40 * day, now=100 * day)

    async def main() -> None:
        found: list[str] = []
        async with service.session() as session:
            stream = session.records(at(0), expired=expired, newest_first=True)
            try:
                async for record in stream:
                    found.append(str(record.voice_id))
            except TimeRangeError:
                assert expired == "raise"
            else:
                assert expired == "skip"
                (skipped,) = stream.skipped
                assert at(0) == skipped.start
                assert at(40 * day) <= skipped.end < at(40 * day + 300)
        newest = [f"{number:05}" for number in range(99, 40, -1)]
        assert found == (newest if expired == "skip" else newest[: len(found)])

    run(main)


@pytest.mark.parametrize(
    ("records", "kept_days", "most"),
    [(0, None, 16), (0, 61, 16), (1, None, 16), (100, 61, 6), (10_000, 61, 4), (100_000, 61, 8)],
)
def test_the_newest_records_take_few_requests(records: int, kept_days: int | None, most: int) -> None:
    """On accounts without records and with many, spread over two months; again in the same session, no more."""
    now = 400 * 86_400.0
    kept = now - kept_days * 86_400 if kept_days else -math.inf
    apart = 60 * 86_400 / max(records, 1)
    service = Service([now - 60 - number * apart // 1 for number in range(records)], kept=kept, now=now)

    async def main() -> None:
        async with service.session() as session:
            for _ in range(2):
                service.requests = 0
                newest = await session.latest()
                expected = [f"{records - 1 - number:05}" for number in range(min(records, 50))]
                assert expected == [record.voice_id for record in newest]
                assert service.requests <= most

    run(main)


def test_what_the_server_does_not_keep_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As a warning if the caller chose the start. `latest()` without a start is meant to end where the records end."""
    caplog.set_level(logging.INFO, logger="itnio_voice.windows")
    service = Service([399.5 * 86_400], kept=340 * 86_400.0, now=400 * 86_400.0)

    async def levels(read: Callable[[VoiceSession], Awaitable[Any]]) -> set[int]:
        caplog.clear()
        async with service.session() as session:
            assert 1 == len(await read(session))
        return {entry.levelno for entry in caplog.records if "skipped" in entry.message}

    async def main() -> None:
        assert {logging.INFO} == await levels(lambda session: session.latest())
        assert {logging.WARNING} == await levels(
            lambda session: session.records(at(86_400), expired="skip", newest_first=True).collect()
        )
        with pytest.raises(TimeRangeError, match="choose a later one, or none"):
            await levels(lambda session: session.latest(start=at(86_400)))

    run(main)


def test_wrong_arguments_are_refused() -> None:
    """Before anything is requested."""
    service = Service([])

    async def main() -> None:
        async with service.session() as session:
            for limit in (0, -1, 1.5, True):
                with pytest.raises(ValueError, match="limit must be a whole number from 1"):
                    await session.latest(limit)  # type: ignore[arg-type]
            checkpoint = session.records(at(0), at(9)).checkpoint
            with pytest.raises(ValueError, match="start, end and newest_first must be the same"):
                session.records(at(0), at(9), newest_first=True, resume=checkpoint)
            assert [] == await session.latest(3, start=at(0), of=VoiceRecord, where=None)
        assert service.requests > 0

    run(main)
