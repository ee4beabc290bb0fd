"""The session's own client: its requests are those that a client of httpx would send, and its answers are complete."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import attrs
import httpx
import pytest
from anyio.abc import ByteStream

from itnio_voice import Credentials, HTTPStatusError, ItnioError, Retry, TransportError, VoiceSession
from itnio_voice._http import pool
from itnio_voice._http.pool import PooledTransport
from itnio_voice.sandbox import Sandbox

from ..support.loopback import listening

pytestmark = pytest.mark.anyio

CREDENTIALS = Credentials("api-key-1", "secret-of-1")
END = datetime(2026, 1, 2, tzinfo=UTC)
START = END - timedelta(days=1)
ONCE = Retry(attempts=1)
EMPTY = b'{"status": "0", "data": {"total": 0, "records": []}}'


@attrs.define
class Server:
    """A server that answers each request with the same bytes, and stores the requests."""

    answer: bytes
    requests: list[bytes] = attrs.field(factory=list)
    url: str = ""

    async def serve(self, stream: ByteStream) -> None:
        """Answer the requests of a connection."""
        received = b""
        async with stream:
            while True:
                try:
                    while b"\r\n\r\n" not in received:
                        received += await stream.receive()
                    head = received.partition(b"\r\n\r\n")[0]
                    _, found, length = head.lower().partition(b"content-length: ")
                    size = len(head) + 4 + (int(length.split(b"\r\n")[0]) if found else 0)
                    while len(received) < size:
                        received += await stream.receive()
                    self.requests.append(received[:size])
                    received = received[size:]
                    await stream.send(self.answer)
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return


def sized(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    """Return the bytes of an answer."""
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", body])


@asynccontextmanager
async def serving(answer: bytes) -> AsyncGenerator[Server]:
    """Run a server on loopback."""
    server = Server(answer)
    async with listening(server.serve) as url:
        server.url = f"{url}/voice"
        yield server


async def ask_everything(session: VoiceSession) -> None:
    """Send each kind of request."""
    await session.page(START, END)
    for question in (session.record("an id/ä?&"), session.record("2"), session.recording_url("a b&c=d", source="sip")):
        with suppress(ItnioError):
            await question


@pytest.mark.parametrize("path", ["", "/", "/a%20b//"])
async def test_requests_are_those_of_a_client_of_httpx(path: str) -> None:
    """Byte by byte, a session's own client sends what an `httpx.AsyncClient` sends."""
    async with serving(sized(EMPTY)) as server, httpx.AsyncClient() as client:
        sent = []
        for http_client in (None, client):
            async with VoiceSession(
                CREDENTIALS, base_url=server.url + path, retry=ONCE, http_client=http_client
            ) as session:
                session._transport.clock = lambda: 1_767_312_000.0
                await ask_everything(session)
            sent.append(server.requests.copy())
            server.requests.clear()

    assert 4 == len(sent[0])
    assert sent[1] == sent[0]


@pytest.mark.parametrize("location", [b"/elsewhere", b"https://user:word@example.com/", b"http://[", b"\xff"])
async def test_redirects_are_not_followed(location: bytes) -> None:
    """A redirect is an error after one request, wherever it leads."""
    async with serving(sized(b"", b"302 Found", b"Location: " + location)) as server:
        session = VoiceSession(CREDENTIALS, base_url=server.url)
        with pytest.raises(HTTPStatusError, match=r"302.*redirects are not followed") as caught:
            await session.page(START, END)
        await session.aclose()

    assert 302 == caught.value.status_code
    assert 1 == len(server.requests)


async def test_an_attempts_steps_have_no_time_limits_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `timeout` limits an attempt: httpx's five seconds for each step do not apply."""
    passed: list[Any] = []

    async def answer(_: PooledTransport, request: httpx.Request) -> httpx.Response:
        passed.append(request.extensions["timeout"])
        return httpx.Response(200, stream=httpx.ByteStream(EMPTY))

    monkeypatch.setattr(PooledTransport, "handle_async_request", answer)
    async with VoiceSession(CREDENTIALS) as session:
        await session.page(START, END)

    assert [{"connect": None, "pool": None, "read": None, "write": None}] == passed


async def test_nothing_but_the_library_logs_requests(itnio_sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, neither opening a session nor a request is logged: httpx's line would have the URL."""
    caplog.set_level(logging.INFO)
    credentials = Credentials(itnio_sandbox.api_key, itnio_sandbox.api_secret)
    async with VoiceSession(credentials, base_url=itnio_sandbox.base_url) as session:
        await session.page(datetime.now(UTC) - START.resolution, datetime.now(UTC))
        with pytest.raises(ItnioError):
            await session.record("nonesuch")

    assert [] == [record for record in caplog.records if record.name.startswith("http")]


async def test_aclose_closes_the_connections() -> None:
    """No connection is left, and none is opened again."""
    async with serving(sized(EMPTY)) as server:
        session = VoiceSession(CREDENTIALS, base_url=server.url)
        await session.page(START, END)
        client: Any = session._transport._http
        pool = client.transport._pool
        assert 1 == len(pool.connections)
        await session.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await session.page(START, END)

        assert [] == pool.connections


async def test_network_errors_have_the_names_of_httpx() -> None:
    """An error of the connection pool is reported as the error of httpx with that name."""
    async with serving(b"nonsense\r\n\r\n") as server:
        session = VoiceSession(CREDENTIALS, base_url=server.url, retry=ONCE)
        with pytest.raises(TransportError, match=r"^POST /recordGroupQuery: RemoteProtocolError: "):
            await session.page(START, END)
        await session.aclose()


async def test_a_session_may_be_closed_while_an_answer_is_checked() -> None:
    """Then there is no socket any more, and trio cannot say whether more was received."""

    def extra_info(name: str) -> Any:
        if name == "is_readable":
            message = "file descriptor cannot be a negative integer (-1)"
            raise ValueError(message)
        return SimpleNamespace(fileno=lambda: -1) if name == "socket" else None

    connection = SimpleNamespace(_h11_state=SimpleNamespace(trailing_data=(b"", False)))
    response: Any = SimpleNamespace(
        stream=SimpleNamespace(_stream=SimpleNamespace(_connection=connection)),
        extensions={"network_stream": SimpleNamespace(get_extra_info=extra_info)},
    )
    assert pool._unread(response) is pool.Unread.END
