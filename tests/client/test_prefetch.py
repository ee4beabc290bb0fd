"""Streams that are read ahead of their consumer."""

import functools
import gc
import math
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from traceback import TracebackException
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from itnio_voice import (
    Checkpoint,
    Credentials,
    DecodeError,
    PrefetchedStream,
    RecordStream,
    Retry,
    UserLockedError,
    VoiceSession,
)
from itnio_voice._model.windows import WIRE_ZONE

from ..support.virtual_time import backend_options

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WAYS = ["records", "pages", "windows"]
LOOPS = ["asyncio", "trio"]


class Service:
    """A server of one record in the middle of each minute, which takes a second for each answer."""

    def __init__(self, records: int) -> None:
        self.records = records
        self.latency: Callable[[int], float] = lambda _: 1.0
        self.fails: Callable[[int], bool] = lambda _: False
        self.fields: Callable[[int, httpx.Request], dict[str, Any]] = lambda _, __: {}
        self.requests = self.in_flight = self.most_in_flight = 0

    @property
    def end(self) -> datetime:
        """The end of the range that has all records."""
        return START + self.records * MINUTE

    @property
    def ids(self) -> list[str]:
        """The ids of all records, oldest first."""
        return [str(number) for number in range(self.records)]

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests += 1
        number = self.requests
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await anyio.sleep(self.latency(number))
        finally:
            self.in_flight -= 1
        if self.fails(number):
            return httpx.Response(200, json={"status": "-13", "reason": "user locked"})
        body = json_of(request)
        first, last = (
            (datetime.fromisoformat(body["params"][name]) - START) / MINUTE for name in ("strTime", "endTime")
        )
        names = range(max(0, math.ceil(first - 0.5)), min(self.records, math.floor(last - 0.5) + 1))
        size, current = body["size"], body["current"]
        page = [
            {"voiceId": str(name), "submitTime": submit_time(name)} | self.fields(name, request)
            for name in names[(current - 1) * size : current * size]
        ]
        data = {"total": len(names), "size": size, "current": current, "pages": -(-len(names) // size), "records": page}
        return httpx.Response(200, json={"status": "0", "reason": "", "data": data})

    def session(self, concurrency: int = 8) -> VoiceSession:
        """Return a session on this server that does not retry."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return VoiceSession(
            Credentials("key", "secret"), http_client=client, concurrency=concurrency, retry=Retry(attempts=1)
        )


@functools.cache
def submit_time(number: int) -> str:
    """Return the time of a record as it is on the wire."""
    return (START + (number + 0.5) * MINUTE).astimezone(WIRE_ZONE).isoformat()


def json_of(request: httpx.Request) -> Any:
    """Return a request's body."""
    return httpx.Response(200, content=request.content).json()


def run(main: Callable[[], Awaitable[None]], backend: str) -> None:
    """Run in virtual time; an object that is left behind is a warning, and so an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        anyio.run(main, backend=backend, backend_options=backend_options(backend))
        gc.collect()


def read(source: RecordStream[Any] | PrefetchedStream[Any], way: str) -> AsyncIterator[Any]:
    """Read a stream in one of `WAYS`."""
    return source.__aiter__() if way == "records" else getattr(source, way)()


def ids(item: Any, way: str) -> list[str]:
    """Return the ids of what one of `WAYS` returns."""
    return [item.voice_id] if way == "records" else [record.voice_id for record in item.records]


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("pages", [1, 3, 64])
@pytest.mark.parametrize("way", WAYS)
def test_reading_ahead_returns_the_same(way: str, pages: int, backend: str) -> None:
    """The same items as without it, in the same order, however far ahead."""
    service = Service(2050)

    async def main() -> None:
        async with service.session() as session:
            plain = [item async for item in read(session.records(START, service.end), way)]
            stream = session.records(START, service.end)
            async with stream.prefetch(pages) as ahead:
                items = [item async for item in read(ahead, way)]

        assert plain == items
        assert service.ids == [name for item in items for name in ids(item, way)]
        assert stream.checkpoint.done[0].end == service.end
        assert service.most_in_flight <= 8

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("pages", [1, 4, 10, 64])
@pytest.mark.parametrize("way", ["records", "pages"])
def test_no_more_pages_are_read_ahead_than_allowed(way: str, pages: int, backend: str) -> None:
    """The pages that wait or are in flight are counted; a consumer that has stopped gets no more."""
    service = Service(20_000)

    async def main() -> None:
        async with service.session() as session, session.records(START, service.end).prefetch(pages) as ahead:
            reading = read(ahead, way)
            await anext(reading)
            await anyio.sleep(1000)
            # The page that was taken, the boundary second, page 1 of a window that was too long, and page 1 again.
            taken = 1 + 3
            assert service.requests <= pages + taken
            assert service.requests >= min(pages, 60)
            before = service.requests
            await anyio.sleep(1000)
            assert before == service.requests

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
def test_requests_continue_while_the_consumer_works(backend: str) -> None:
    """A consumer that takes as long as eight requests in a row reads in its own time, after the first page."""
    service = Service(5950)

    async def main() -> None:
        started = anyio.current_time()
        async with service.session() as session, session.records(START, service.end).prefetch() as ahead:
            async for _ in ahead.pages():
                await anyio.sleep(1 / 4)
        assert anyio.current_time() - started <= 60 / 4 + 2

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
def test_room_is_used_while_a_slow_request_is_in_flight(backend: str) -> None:
    """The pages before it are taken, and as many after it are requested."""
    service, slow, pages = Service(5950), 12, 4
    service.latency = lambda number: 25.0 if number == slow else 1.0

    async def main() -> None:
        async with service.session() as session, session.records(START, service.end).prefetch(pages) as ahead:
            with anyio.move_on_after(35):
                async for _ in ahead.pages():
                    await anyio.sleep(2)
            assert slow + pages - 1 == service.requests

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("pause", [0, 0.05])
@pytest.mark.parametrize("way", WAYS)
def test_a_failure_is_raised_where_the_next_record_is_read(way: str, pause: float, backend: str) -> None:
    """All records before it have been returned, and reading on tries again."""
    service = Service(5000)
    service.fails = lambda number: number == 20

    async def main() -> None:
        found: list[str] = []
        failures = 0
        async with service.session() as session, session.records(START, service.end).prefetch() as ahead:
            reading = read(ahead, way)
            while True:
                try:
                    item = await anext(reading)
                except UserLockedError:
                    failures += 1
                    assert len(found) < 5000
                    before = service.requests
                    await anyio.sleep(100)
                    assert before == service.requests
                except StopAsyncIteration:
                    break
                else:
                    found += ids(item, way)
                    await anyio.sleep(pause)
        assert 1 == failures
        assert service.ids == found

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_an_unreadable_record_is_an_error_where_it_would_be_returned(way: str, ahead: bool, backend: str) -> None:
    """All pages or windows before it are returned. Reading on raises it again, and no checkpoint covers it."""
    service, bad = Service(12_000), 7654

    def fields(name: int, request: httpx.Request) -> dict[str, Any]:
        other = {"voiceId": "id of a customer"} if name == bad + 1 else {}
        return {"cost": f"x {request.headers['Sign']}"} if name == bad else other

    service.fields = fields

    async def main() -> None:
        found: list[str] = []
        async with service.session() as session:
            stream = session.records(START, service.end)
            async with stream.prefetch() if ahead else nullcontext(stream) as source:
                reading = read(source, way)
                with pytest.raises(DecodeError, match=rf"record {bad}: cost is 'x \*\*\*'") as error:
                    while True:
                        found += ids(await anext(reading), way)
                with pytest.raises(DecodeError, match=f"record {bad}"):
                    await anext(reading)
        assert "***" in error.value.value
        lines = TracebackException.from_exception(error.value, capture_locals=True, limit=-8).format()
        assert "id of a customer" not in "".join(line for line in lines if "test_prefetch" not in line)
        assert found == service.ids[: len(found)]
        assert len(found) <= bad if way == "windows" else bad - 100 < len(found) <= bad
        assert all(window.end <= START + bad * MINUTE for window in stream.checkpoint.done)

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("left_after", [0, 1, 3, 7])
@pytest.mark.parametrize("way", WAYS)
def test_the_checkpoint_is_what_the_consumer_took(way: str, left_after: int, backend: str) -> None:
    """Leaving at any item ends all requests; a stream that resumes returns the rest, and windows exactly the rest."""
    service = Service(40_000)

    async def main() -> None:
        found: list[str] = []
        async with service.session() as session:
            stream = session.records(START, service.end)
            checkpoint = stream.checkpoint
            async with stream.prefetch() as ahead:
                reading = read(ahead, way)
                for _ in range(left_after):
                    item = await anext(reading)
                    found += ids(item, way)
                    checkpoint = item.checkpoint if way == "windows" else stream.checkpoint
                    await anyio.sleep(2)
            assert 0 == service.in_flight
            with pytest.raises(RuntimeError, match="not read ahead any more"):
                [item async for item in reading]
            again = session.records(START, service.end, resume=Checkpoint.parse(str(checkpoint)))
            found += [str(record.voice_id) for record in await again.collect()]
        counts = Counter(found)
        assert service.ids == sorted(counts, key=int)
        assert way != "windows" or 1 == max(counts.values())

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
@pytest.mark.parametrize("way", WAYS)
def test_cancelled_calls_lose_nothing(way: str, backend: str) -> None:
    """The next call returns what a cancelled one did not."""
    service = Service(4000)
    service.latency = lambda number: 0.3 + number % 5 * 0.2

    async def main() -> None:
        found: list[str] = []
        cancelled = 0
        async with service.session() as session, session.records(START, service.end).prefetch(5) as ahead:
            reading = read(ahead, way)
            while True:
                item = None
                with anyio.move_on_after(0.07) as scope:
                    item = await anext(reading, None)
                if item is not None:
                    found += ids(item, way)
                elif not scope.cancelled_caught:
                    break
                cancelled += scope.cancelled_caught
        assert cancelled > 10
        assert service.ids == found

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
def test_a_limit_ends_the_requests(backend: str) -> None:
    """With a limit, only necessary pages are requested ahead."""
    service = Service(9000)

    async def main() -> None:
        async with service.session() as session, session.records(START, service.end, limit=250).prefetch() as ahead:
            assert service.ids[:250] == [record.voice_id async for record in ahead]

    run(main, backend)
    assert service.requests <= 12


@pytest.mark.parametrize("backend", LOOPS)
def test_errors_of_the_consumer_pass_unchanged(backend: str) -> None:
    """An exception inside the `async with` is not wrapped in an ExceptionGroup."""
    service = Service(3000)

    async def main() -> None:
        with pytest.raises(KeyError):
            async with service.session() as session, session.records(START, service.end).prefetch() as ahead:
                async for _ in ahead:
                    raise KeyError  # of the consumer
        assert 0 == service.in_flight

    run(main, backend)


@pytest.mark.parametrize("backend", LOOPS)
def test_wrong_use_is_an_error(backend: str) -> None:
    """Outside the `async with`, twice, with a wrong number of pages, or with windows and a limit."""
    service = Service(300)

    async def main() -> None:
        async with service.session() as session:
            for pages in (0, -1, 1.5, True, "8"):
                with pytest.raises(ValueError, match="pages must be a whole number from 1, not"):
                    session.records(START, service.end).prefetch(pages)  # type: ignore[arg-type]
            ahead = session.records(START, service.end).prefetch()
            with pytest.raises(RuntimeError, match="inside `async with`"):
                ahead.pages()
            async with ahead:
                assert 300 == len([record async for record in ahead])
                with pytest.raises(RuntimeError, match="this stream has been read"):
                    ahead.windows()
            with pytest.raises(RuntimeError, match="already entered"):
                async with ahead:
                    pass
            async with session.records(START, service.end, limit=1).prefetch() as ahead:
                with pytest.raises(ValueError, match="cannot be used with a limit"):
                    ahead.windows()

    run(main, backend)
