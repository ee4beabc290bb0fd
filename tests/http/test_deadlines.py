"""Time limits of an attempt and of a call, and waits that do not count, in virtual time."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import attrs
import httpx
import pytest

from itnio_voice import Credentials, HTTPStatusError, RequestTimeoutError, Retry, TransportError, VoiceSession
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import QUICK, session_on
from ..support.virtual_time import backend_options
from .test_surplus_answers import END, START, page_of

pytestmark = pytest.mark.anyio

NEVER = 1e9
"""Seconds that stand for an answer that never arrives."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each test in virtual time, on both event loops."""
    return request.param, backend_options(request.param)


class Dripping(httpx.AsyncByteStream):
    """A body that arrives byte by byte, one every 10 ms."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for byte in self._content:
            await anyio.sleep(0.01)
            yield bytes([byte])


@attrs.define
class Server:
    """A server that answers after `latency` seconds, or fails in one way."""

    kind: str = "answers"
    latency: float = 0.0
    retry_after: str | None = None
    requests: list[httpx.Request] = attrs.field(factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await anyio.sleep(NEVER if self.kind == "hang" else self.latency)
        finally:
            self.in_flight -= 1
        body = json.dumps({"status": "0", "data": page_of(json.loads(request.content))}).encode()
        if self.kind == "drip":
            return httpx.Response(200, stream=Dripping(body))
        if self.kind == "status_503":
            return httpx.Response(503, headers={"Retry-After": self.retry_after} if self.retry_after else {})
        return httpx.Response(200, content=body)

    def session(self, **options: Any) -> VoiceSession:
        """Return a session on this server, with short waits between retries."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return VoiceSession(Credentials("key", "secret"), http_client=client, **{"retry": QUICK, **options})


async def request_at_once(session: VoiceSession, times: int) -> None:
    """Request a number of pages concurrently."""

    async def request() -> None:
        await session.page(START, END)

    async with anyio.create_task_group() as group:
        for _ in range(times):
            group.start_soon(request)


class Stopwatch:
    """The seconds of virtual time since its creation."""

    def __init__(self) -> None:
        self._began = anyio.current_time()

    @property
    def seconds(self) -> Any:
        """The seconds, compared with a tolerance for rounding."""
        return pytest.approx(anyio.current_time() - self._began, abs=1e-6)


async def test_retry_after_replaces_the_backoff() -> None:
    """A server's `Retry-After` is the exact wait."""
    server = Server("status_503", retry_after="7")
    session, watch = server.session(retry=attrs.evolve(QUICK, attempts=2, wait_initial=60, wait_max=60)), Stopwatch()
    with pytest.raises(HTTPStatusError):
        await session.page(START, END)

    assert 7 == watch.seconds
    assert 2 == len(server.requests)


@pytest.mark.parametrize("kind", ["hang", "drip"])
async def test_an_attempt_ends_after_timeout_seconds(kind: str) -> None:
    """An attempt on a server that hangs, or sends its answer byte by byte, ends after `timeout` seconds."""
    server, retry = Server(kind), Retry(attempts=2, wait_initial=0.05, wait_max=0.05, jitter=0)
    session, watch = server.session(timeout=0.2, retry=retry), Stopwatch()
    with pytest.raises(RequestTimeoutError, match=r"within 0\.2 s"):
        await session.page(START, END)

    assert 0.2 + 0.05 + 0.2 == watch.seconds
    assert 2 == len(server.requests)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", ["hang", "drip"])
async def test_an_attempt_over_a_connection_ends(kind: Any) -> None:
    """The same over a real connection, in real time; the duration depends on the machine."""
    with Sandbox(behaviour=Behaviour(faults=(Fault(kind),))) as sandbox:
        async with session_on(sandbox, timeout=0.2, retry=attrs.evolve(QUICK, attempts=2)) as session:
            with pytest.raises(RequestTimeoutError, match=r"within 0\.2 s"):
                await session.page(START, END)


@pytest.mark.parametrize("kind", ["hang", "drip", "status_503"])
async def test_a_call_ends_after_total_seconds(kind: str) -> None:
    """All attempts and waits together take at most `total`."""
    retry = Retry(attempts=1000, total=0.6, wait_initial=0.1, jitter=0)
    session, watch = Server(kind).session(timeout=0.25, retry=retry), Stopwatch()
    with pytest.raises(TransportError):
        await session.page(START, END)

    # A hanging attempt ends after 0.25 s, the next one when `total` is over. A wait that would end later is
    # not started: 0.1 s and 0.2 s fit, the next 0.4 s do not.
    assert (0.3 if kind == "status_503" else 0.6) == watch.seconds


@pytest.mark.parametrize("kind", ["hang", "drip"])
async def test_an_attempt_is_limited_by_the_rest_of_total(kind: str) -> None:
    """An attempt that could take longer ends with `total` too."""
    server = Server(kind)
    session, watch = server.session(timeout=60, retry=attrs.evolve(QUICK, total=0.4)), Stopwatch()
    with pytest.raises(RequestTimeoutError, match=r"within 0\.4 s"):
        await session.page(START, END)

    assert 0.4 == watch.seconds
    assert 1 == len(server.requests)


async def test_a_retry_after_beyond_the_rest_of_total_is_raised() -> None:
    """A `Retry-After` is waited for only if it fits into the rest of `total`."""
    server = Server("status_503", retry_after="4")
    session, watch = server.session(retry=Retry(attempts=1000, total=10.0)), Stopwatch()
    with pytest.raises(HTTPStatusError) as caught:
        await session.page(START, END)

    assert 4 == caught.value.retry_after
    assert 3 == len(server.requests)
    assert 8 == watch.seconds


async def test_each_caller_has_its_own_total() -> None:
    """With more callers than slots, each has the full `total` for its own attempts, and no more."""
    server, ended, watch = Server("hang"), list[float](), Stopwatch()
    session = server.session(concurrency=2, timeout=60, retry=attrs.evolve(QUICK, total=0.3))

    async def request() -> None:
        with pytest.raises(RequestTimeoutError, match=r"within 0\.3 s"):
            await session.page(START, END)
        ended.append(watch.seconds)

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(request)

    assert 6 == len(server.requests)
    assert [0.3, 0.3, 0.6, 0.6, 0.9, 0.9] == ended


async def test_waits_between_attempts_overlap() -> None:
    """Waits hold no slot: six callers with one slot wait no longer than one of them."""
    session, watch = Server("status_503", retry_after="3").session(concurrency=1, retry=Retry(total=10.0)), Stopwatch()

    async def request() -> None:
        with pytest.raises(HTTPStatusError):
            await session.page(START, END)

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(request)

    assert 9 == watch.seconds


async def test_a_wait_between_attempts_holds_no_slot() -> None:
    """While one call waits to retry, another one is sent."""
    server = Server("status_503", retry_after="30")
    session, watch = server.session(concurrency=1), Stopwatch()

    async def fail() -> None:
        await session.page(START, END)

    async with anyio.create_task_group() as group:
        group.start_soon(fail)
        await anyio.sleep(1)
        server.kind = "answers"
        await session.page(START, END)
        assert 1 == watch.seconds
        group.cancel_scope.cancel()


async def test_waiting_for_the_rate_does_not_count() -> None:
    """Waiting for `rate` does not count; the rest of the call is limited as usual."""
    server = Server()
    session = server.session(rate=5, retry=Retry(attempts=1, total=0.5))
    await request_at_once(session, 6)
    assert 6 == len(server.requests)

    server.kind = "hang"
    with pytest.raises(RequestTimeoutError, match=r"within 0\.5 s"):
        await session.page(START, END)


async def test_waiting_for_a_slot_does_not_count() -> None:
    """`total` and `timeout` run only while a request holds a slot."""
    server = Server(latency=0.3)
    session = server.session(concurrency=1, timeout=0.5, retry=Retry(attempts=1, total=0.5))
    await request_at_once(session, 8)

    assert 8 == len(server.requests)
    assert 1 == server.most_in_flight


async def test_rate_limits_the_requests_per_second() -> None:
    """The first request is sent at once, the tenth after it half a second later, with any concurrency."""
    watch = Stopwatch()
    await request_at_once(Server().session(concurrency=8, rate=20), 11)

    assert 0.5 == watch.seconds
