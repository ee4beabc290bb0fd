"""One request: signing, limits, retries and pace."""

import email.utils
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import anyio
import attrs
import httpx
import httpx2
import pytest

from itnio_voice import (
    APIError,
    AuthenticationError,
    Credentials,
    HTTPStatusError,
    IPRestrictedError,
    ItnioError,
    ProtocolError,
    Retry,
    ServerError,
    TimestampExpiredError,
    TransportError,
    UserLockedError,
    VoiceSession,
)
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import QUICK, session_on

pytestmark = pytest.mark.anyio

END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=20)
KEY, SECRET = "bDqJFiq9", "7bz1lzh9"
EMPTY = {"status": "0", "reason": "success", "data": {"total": 0, "records": []}}

Answer = Callable[[httpx.Request], httpx.Response]


def session_with(answer: Answer, **options: Any) -> VoiceSession:
    """Return a session whose server is a function."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return VoiceSession(Credentials(KEY, SECRET), http_client=client, **{"retry": QUICK, **options})


@attrs.define
class Script:
    """A server that returns its answers in turn, the last one repeatedly, and stores the requests."""

    answers: list[httpx.Response | Exception]
    requests: list[httpx.Request] = attrs.field(factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def status(code: str, http: int = 200, **headers: str) -> httpx.Response:
    """Return the vendor's refusal."""
    return httpx.Response(http, json={"status": code, "reason": "why"}, headers=headers)


DONE = httpx.Response(200, json=EMPTY)


async def request_concurrently(session: VoiceSession, times: int) -> None:
    """Request a page a number of times concurrently."""

    async def request_page() -> None:
        await session.page(START, END)

    async with anyio.create_task_group() as group:
        for _ in range(times):
            group.start_soon(request_page)


async def test_every_request_is_signed_as_documented() -> None:
    """Key, timestamp in Unix seconds, signature, content type and body are those of the vendor's page."""
    script = Script([DONE])
    await session_with(script).page(START, END, current=3, page_size=20)
    (request,) = script.requests

    assert "https://api.itniotech.com/voice/recordGroupQuery" == str(request.url)
    assert KEY == request.headers["Api-Key"]
    assert abs(time.time() - int(request.headers["Timestamp"])) <= 2
    assert 32 == len(request.headers["Sign"])
    assert "application/json;charset=UTF-8" == request.headers["Content-Type"]
    china = timezone(timedelta(hours=8))
    times = {"strTime": START.astimezone(china).isoformat(), "endTime": END.astimezone(china).isoformat()}
    assert {"current": 3, "size": 20, "params": times} == json.loads(request.content)


PASSING = [
    httpx.Response(429),
    httpx.Response(500),
    httpx.Response(503, text="<html>busy</html>"),
    httpx.Response(200, text="<html>hello</html>"),
    httpx.Response(200),
    httpx.Response(200, text='{"status": "0", "data": {"rec'),
    status("-18"),
    status("-18", 500),
    status("-99", 503),
    httpx.Response(500, json=EMPTY),
    httpx.ConnectError("refused"),
    httpx.ReadError(""),
    httpx.RemoteProtocolError("gone"),
    httpx.ReadTimeout("slow"),
    httpx.DecodingError("not gzip"),
    OSError("no route"),
]
FINAL: list[tuple[httpx.Response, type[ItnioError]]] = [
    (status("-1"), AuthenticationError),
    (status("-2", 403), IPRestrictedError),
    (status("-13", 500), UserLockedError),
    (status("-99"), APIError),
    (status("-16"), TimestampExpiredError),
    (httpx.Response(404, text="nothing here"), HTTPStatusError),
    (httpx.Response(302, headers={"Location": "https://elsewhere.example"}), HTTPStatusError),
    (httpx.Response(200, json=[]), ProtocolError),
    (httpx.Response(200, json=EMPTY | {"data": {"records": [{"cost": "much"}]}}), ProtocolError),
]


@pytest.mark.parametrize("fault", PASSING, ids=repr)
async def test_transient_faults_are_retried(fault: httpx.Response | Exception) -> None:
    """Faults that another attempt may fix are retried, and the call succeeds."""
    script = Script([fault, fault, DONE])
    page = await session_with(script).page(START, END)

    assert 0 == page.total
    assert 3 == len(script.requests)


@pytest.mark.parametrize(("answer", "kind"), FINAL, ids=repr)
async def test_final_errors_are_raised_at_once(answer: httpx.Response, kind: type[ItnioError]) -> None:
    """A refusal that no retry can fix is raised after one request."""
    script = Script([answer])
    with pytest.raises(kind) as caught:
        await session_with(script).page(START, END)

    assert kind is type(caught.value) or kind is ProtocolError
    assert 1 == len(script.requests)


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_attempts_count_every_request(attempts: int) -> None:
    """`attempts` requests are sent, and the last failure is raised."""
    script = Script([status("-18")])
    with pytest.raises(ServerError):
        await session_with(script, retry=attrs.evolve(QUICK, attempts=attempts)).page(START, END)

    assert attempts == len(script.requests)


@pytest.mark.parametrize("status_code", [500, 502, 503, 504])
async def test_a_server_error_that_persists_keeps_its_status(status_code: int) -> None:
    """After the attempts, the error has the HTTP status."""
    script = Script([httpx.Response(status_code)])
    with pytest.raises(HTTPStatusError) as caught:
        await session_with(script).page(START, END)

    assert (status_code, 5) == (caught.value.status_code, len(script.requests))


async def test_429_uses_up_no_attempt() -> None:
    """Between other failures, a 429 uses up no attempt."""
    limited, failed = httpx.Response(429), httpx.Response(503)
    script = Script([limited, failed, limited, limited, failed, limited, DONE])
    await session_with(script, retry=attrs.evolve(QUICK, attempts=3)).page(START, END)

    assert 7 == len(script.requests)


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
async def test_the_clock_is_corrected(skew: float) -> None:
    """A server two hours off is sent its own time after its first two answers; each attempt is signed afresh."""
    with Sandbox(records=500, behaviour=Behaviour(clock_skew=skew, timestamp_tolerance=30)) as sandbox:
        async with session_on(sandbox, concurrency=8) as session:
            found = await session.records(datetime.now(UTC) - timedelta(days=59)).collect()
            again = await session.records(datetime.now(UTC) - timedelta(days=59)).collect()
            assert 2 == sum(request.answered == "-16" for request in sandbox.requests)

            sandbox.behaviour = Behaviour(clock_skew=-skew, timestamp_tolerance=30)
            await session.records(datetime.now(UTC) - timedelta(days=59)).collect()
            assert 4 == sum(request.answered == "-16" for request in sandbox.requests)

    assert len(found) == len(again) > 400


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
async def test_a_clock_that_changes_during_a_walk_loses_no_record(skew: float, concurrency: int) -> None:
    """If the clock changes during a walk, only requests in flight are refused, and no record is lost."""
    end = END - timedelta(days=1)

    def set_clock(sandbox: Sandbox, number: int) -> None:
        if number in {60, 120}:
            ahead = -sandbox.behaviour.clock_skew
            sandbox.behaviour = attrs.evolve(sandbox.behaviour, clock_skew=ahead)

    behaviour = Behaviour(clock_skew=skew, timestamp_tolerance=30, latency=0.0025 * concurrency)
    with Sandbox(records=1500, start=START, end=end, behaviour=behaviour, on_request=set_clock) as sandbox:
        async with session_on(sandbox, concurrency=concurrency) as session:
            found = [record.voice_id async for record in session.records(START, end, page_size=10)]
        refused = [number for number, request in enumerate(sandbox.requests, 1) if request.answered == "-16"]

        assert sandbox.ids(START, end) == set(found)
        assert 1500 == len(found)
        assert concurrency == sandbox.most_in_flight
        assert {1, 60, 120} <= set(refused)
        assert len(refused) <= min(2, concurrency) + 2 * concurrency


async def test_concurrent_calls_are_refused_at_most_once_each() -> None:
    """Eight concurrent calls are refused at most once each, and later ones never."""
    with Sandbox(behaviour=Behaviour(clock_skew=7200, timestamp_tolerance=30, latency=0.02)) as sandbox:
        async with session_on(sandbox, concurrency=8) as session:
            for _ in range(3):
                await request_concurrently(session, 8)

        assert 8 == sandbox.most_in_flight
        assert 1 <= sum(request.answered == "-16" for request in sandbox.requests) <= 8
        assert all(request.answered == "0" for request in sandbox.requests[16:])


async def test_signing_again_counts_as_an_attempt() -> None:
    """With one attempt, a refused timestamp is final, but the next call uses the corrected clock."""
    date = email.utils.format_datetime(datetime.now(UTC) + timedelta(hours=5), usegmt=True)
    script = Script([status("-16", Date=date), DONE])
    session = session_with(script, retry=Retry(attempts=1))
    with pytest.raises(TimestampExpiredError):
        await session.page(START, END)
    await session.page(START, END)

    first, second = (int(request.headers["Timestamp"]) for request in script.requests)
    assert abs(second - first - 5 * 3600) <= 3


@pytest.mark.parametrize("way", ["seconds", "date"])
async def test_a_retry_after_beyond_the_total_is_raised_at_once(way: str) -> None:
    """A `Retry-After` longer than the rest of `total` is raised at once, with its seconds."""
    later = datetime.now(UTC) + timedelta(hours=1)
    retry_after = "3600" if way == "seconds" else email.utils.format_datetime(later, usegmt=True)
    script = Script([httpx.Response(429, headers={"Retry-After": retry_after})])
    with pytest.raises(HTTPStatusError) as caught:
        await session_with(script).page(START, END)

    assert 429 == caught.value.status_code
    assert caught.value.retry_after is not None
    assert abs(3600 - caught.value.retry_after) < 60
    assert 1 == len(script.requests)


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_a_callers_client_is_used_and_stays_open(itnio_sandbox: Sandbox, library: Any) -> None:
    """A client of httpx or httpx2, or of a subclass, is used, its errors are translated, and it stays open."""

    class Client(library.AsyncClient):  # type: ignore[misc]
        pass

    async with Client() as client:
        async with session_on(itnio_sandbox, http_client=client) as session:
            assert 200 == len(await session.records(END - timedelta(days=60), END).collect())
            itnio_sandbox.behaviour = Behaviour(faults=(Fault("drop"),))
            with pytest.raises(TransportError):
                await session.page(START, END)
        assert not client.is_closed
        with pytest.raises(RuntimeError, match="closed"):
            await session.page(START, END)


async def test_certificates_are_checked(tmp_path: Any) -> None:
    """A server with an untrusted certificate is a TransportError: certificates stay checked."""
    import ssl

    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    await anyio.run_process(command.split(), cwd=tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    import asyncio
    import threading

    started = threading.Event()
    stop: list[Any] = []

    def serve() -> None:
        async def main() -> None:
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
            stop.extend([asyncio.get_running_loop(), server.sockets[0].getsockname()[1], asyncio.Event()])
            started.set()
            await stop[2].wait()
            server.close()

        asyncio.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    started.wait()
    try:
        async with VoiceSession(
            Credentials(KEY, SECRET), base_url=f"https://localhost:{stop[1]}", retry=Retry(attempts=1)
        ) as session:
            with pytest.raises(TransportError, match=r"(?i)certificate"):
                await session.page(START, END)
    finally:
        stop[0].call_soon_threadsafe(stop[2].set)
        thread.join()
