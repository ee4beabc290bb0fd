"""The pace of a session: at allowed `rate` requests per second, and slower after 429, in virtual time."""

import json
import random
from collections.abc import Callable
from itertools import pairwise
from math import inf
from typing import Any

import anyio
import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import Credentials, HTTPStatusError, Retry, VoiceSession
from itnio_voice._http.pace import Pace
from itnio_voice._http.request import APIRequest
from itnio_voice._model.windows import Window
from itnio_voice._wire.pages import PageRequest

from ..support.virtual_time import backend_options
from .test_surplus_answers import END, START, page_of

pytestmark = pytest.mark.anyio

Limit = Callable[[float], dict[str, str] | None]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each test in virtual time, on both event loops."""
    return request.param, backend_options(request.param)


@attrs.define
class Server:
    """A server with a latency in seconds. `limit` returns None, or the headers of a 429, at a time from 0."""

    limit: Limit = lambda _: None
    latency: float = 0.01
    began: float | None = None
    sent: list[float] = attrs.field(factory=list)
    refused: list[float] = attrs.field(factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        now = anyio.current_time()
        self.began = now if self.began is None else self.began
        self.sent.append(now - self.began)
        headers = self.limit(now - self.began)
        await anyio.sleep(self.latency)
        if headers is not None:
            self.refused.append(now - self.began)
            return httpx.Response(429, headers=headers)
        data = page_of(json.loads(request.content))
        return httpx.Response(200, json={"status": "0", "data": data})

    def session(self, **options: Any) -> VoiceSession:
        """Return a session on this server."""
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return VoiceSession(Credentials("key", "secret"), http_client=client, **options)


async def request_page(session: VoiceSession) -> None:
    """Request a page."""
    await session.page(START, END)


def token_bucket(rate: float, burst: int) -> Limit:
    """Allow `rate` requests a second, and `burst` at once after a pause."""
    left, last = float(burst), 0.0

    def limit(now: float) -> dict[str, str] | None:
        nonlocal left, last
        left, last = min(burst, left + (now - last) * rate), now
        if left < 1:
            return {}
        left -= 1
        return None

    return limit


def fixed_window(allowed: int, seconds: float) -> Limit:
    """Allow a number of requests in each window."""
    counts: dict[int, int] = {}

    def limit(now: float) -> dict[str, str] | None:
        window = int(now // seconds)
        counts[window] = counts.get(window, 0) + 1
        return {} if counts[window] > allowed else None

    return limit


LIMITS: dict[str, Callable[[], Limit]] = {
    "token bucket": lambda: token_bucket(1, 60),
    "token bucket without a burst": lambda: token_bucket(1, 1),
    "window of a minute": lambda: fixed_window(60, 60),
}


@pytest.mark.parametrize("concurrency", [1, 4, 8])
@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
async def test_a_limit_of_60_a_minute_ends_no_walk(limit: Callable[[], Limit], concurrency: int) -> None:
    """Without `Retry-After`, and with default retries, a walk ends without error, and few requests are refused."""
    server = Server(limit())
    found = await server.session(concurrency=concurrency).records(START, END, page_size=1).collect()

    assert 200 == len({record.voice_id for record in found}) == len(found)
    assert len(server.refused) <= 45
    assert server.sent[-1] < 320


@pytest.mark.parametrize("concurrency", [1, 4, 8])
@pytest.mark.parametrize("seconds", [6, 60])
async def test_no_request_is_sent_while_a_retry_after_lasts(seconds: float, concurrency: int) -> None:
    """The session waits with all its callers as long as the server says, and no call fails."""
    server = Server(lambda now: {"Retry-After": "1"} if 0.5 < now < seconds else None)
    session = server.session(concurrency=concurrency)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(session.records(START, END, page_size=1).collect)

    assert all(not refused < sent < refused + 1 for refused in server.refused for sent in server.sent)
    assert seconds - 2 < len(server.refused) < seconds + concurrency
    assert server.sent[-1] < seconds + 80


async def test_one_request_is_sent_at_a_time_after_a_429() -> None:
    """After a 429 with eight requests in flight, one is sent at a time; answers to the other seven do not end this."""
    server = Server(lambda now: {} if now < 5 else None, latency=0.4)
    session = server.session(concurrency=8)
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(request_page, session)

    sent, answered = server.sent[8:], server.refused[8:]
    assert [0.0] * 8 == server.sent[:8]
    assert all(later - earlier >= 0.4 for earlier, later in pairwise(sent[: len(answered) + 1]))
    pauses = [later - earlier for earlier, later in zip(server.refused[7:], sent, strict=False)]
    assert [0.5 * 2**number <= pause <= 0.5 * 2**number + 1 for number, pause in enumerate(pauses[: len(answered)])]


async def test_429_does_not_count_as_an_attempt() -> None:
    """`attempts` counts only the other requests."""
    server = Server(lambda now: {"Retry-After": "1"} if now < 6 else None)
    page = await server.session(retry=Retry(attempts=1)).page(START, END)

    assert 200 == page.total
    assert len(server.refused) == 6


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}, {"Retry-After": "0"}], ids=str)
async def test_calls_end_on_a_server_that_always_refuses(headers: dict[str, str]) -> None:
    """Every call ends after `total` seconds, for any number of waiting calls."""
    server = Server(lambda _: headers)
    session = server.session(concurrency=8)
    ended: list[float] = []
    began = anyio.current_time()

    async def call() -> None:
        with pytest.raises(HTTPStatusError) as caught:
            await session.page(START, END)
        assert 429 == caught.value.status_code
        ended.append(anyio.current_time() - began)

    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(call)

    assert 85 < min(ended) <= max(ended) < 121
    assert len(server.sent) < (80 if not headers else 250 if headers["Retry-After"] == "1" else 700)


async def test_a_retry_after_that_is_too_long_ends_other_calls_at_once() -> None:
    """A call that could not be sent within its `total` is not sent."""
    server = Server(lambda now: {"Retry-After": "3600"} if now < 3000 else None)
    session = server.session()
    for seconds in (3600, 3590):
        with pytest.raises(HTTPStatusError) as caught:
            await session.page(START, END)
        assert seconds == pytest.approx(caught.value.retry_after, abs=0.1)
        await anyio.sleep(10)

    assert 1 == len(server.sent)
    await anyio.sleep(3500)
    assert 200 == (await session.page(START, END)).total
    assert [0, 3600] == pytest.approx(server.sent, abs=0.1)


async def test_a_session_speeds_up_again() -> None:
    """A single 429 slows the session down for less than a minute."""
    server = Server(lambda now: {} if 0.995 < now < 1.005 else None, latency=0.05)
    session = server.session(concurrency=1)
    while not server.sent or server.sent[-1] < 60:
        await session.page(START, END, page_size=1)

    after = [at for at in server.sent if at > server.refused[0]]
    gaps = [later - earlier for earlier, later in pairwise(after)]
    assert 1 == len(server.refused)
    assert 0.5 == pytest.approx(gaps[0], abs=0.02)
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(gaps))
    assert gaps[-1] == pytest.approx(server.latency)


async def test_cancelled_calls_do_not_use_up_the_rate() -> None:
    """After 40 cancelled calls, the next one waits at allowed 1/rate seconds."""
    server = Server(latency=0)
    session = server.session(rate=2, concurrency=4)
    await session.page(START, END)
    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(request_page, session)
        await anyio.sleep(0.1)
        group.cancel_scope.cancel()
    await session.page(START, END)

    assert [0, 0.5] == pytest.approx(server.sent)


async def test_a_reader_with_timeouts_below_the_interval_makes_progress() -> None:
    """Calls that are each cancelled before they may be sent still make progress together."""
    server = Server(latency=0)
    session = server.session(rate=2)
    await session.page(START, END)
    ended = 0
    for _ in range(10):
        with anyio.move_on_after(0.2):
            await session.page(START, END)
            ended += 1

    assert ended >= 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(
    rate=st.sampled_from([0.3, 1, 7]),
    calls=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3) | st.none()), min_size=1, max_size=30),
    concurrency=st.integers(1, 5),
    latency=st.sampled_from([0, 0.01, 2]),
    refusals=st.sampled_from([0, 0.2]),
)
def test_rate_is_never_exceeded(  # noqa: PLR0917 -- drawn arguments
    backend: str,
    rate: float,
    calls: list[tuple[float, float | None]],
    concurrency: int,
    latency: float,
    refusals: float,
) -> None:
    """Requests are 1/rate seconds apart, with any cancelled, slow or refused calls."""
    chance = random.Random(1)
    server = Server(lambda _: {} if chance.random() < refusals else None, latency)

    async def main() -> None:
        session = server.session(rate=rate, concurrency=concurrency)

        async def call(start: float, patience: float | None) -> None:
            await anyio.sleep(start)
            with anyio.move_on_after(inf if patience is None else patience):
                await session.page(START, END, page_size=1)

        async with anyio.create_task_group() as group:
            for start, patience in calls:
                group.start_soon(call, start, patience)

    anyio.run(main, backend=backend, backend_options=backend_options(backend))

    assert all(later - earlier > 1 / rate - 1e-6 for earlier, later in pairwise(server.sent))


@pytest.mark.parametrize("rate", [None, 5.0])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_the_rate_is_shared_round_robin(rate: float | None, concurrency: int) -> None:
    """A caller with many requests delays a single request by one of them, not by one for each slot."""
    server = Server(latency=0.01)
    session = server.session(rate=rate, concurrency=concurrency)
    ended: list[float] = []

    async def call(caller: str) -> None:
        question = PageRequest(Window(START, END), 1, 1)
        await session._transport.send(APIRequest("POST", "/x", question.body()), lambda body, _: body, caller)
        if caller == "one":
            ended.append(len(server.sent))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(call, "many")
        await anyio.sleep(0.001)
        group.start_soon(call, "one")

    # Those sent before it arrived, one that was next, and those sent while it was answered.
    assert ended[0] <= 2 * concurrency + 2


async def test_a_pause_is_never_a_busy_loop() -> None:
    """A refusal without a wait, by the server or by the policy, still waits."""
    for retry_after in (0.0, None):
        pace = Pace(None, Retry(wait_initial=0, jitter=0))
        assert 0.01 == pytest.approx(pace.refused(await pace.turn(0, 1), retry_after))
