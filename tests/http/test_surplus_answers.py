"""Servers that send an answer twice: no answer is matched to another request."""

import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import httpx
import httpx2
import pytest
from anyio.abc import ByteStream

from itnio_voice import Credentials, ProtocolError, Retry, VoiceSession

from ..support.loopback import listening

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=1)
RECORDS = [START + timedelta(seconds=60 + 7 * number) for number in range(200)]
CREDENTIALS = Credentials("key", "secret")
QUICK = Retry(wait_initial=0.001, wait_max=0.01, jitter=0)

Send = Callable[[ByteStream, bytes, int], Awaitable[None]]


@attrs.define
class Server:
    """A server with 200 records. `send` sends the answer to a request, by its number on its connection."""

    send: Send
    page_of: Callable[[dict[str, Any]], dict[str, Any]]
    connections: int = 0
    requests: int = 0
    url: str = ""

    async def serve(self, stream: ByteStream) -> None:
        """Answer the requests of a connection in order."""
        self.connections += 1
        number, received = 0, b""
        async with stream:
            while True:
                try:
                    while b"\r\n\r\n" not in received:
                        received += await stream.receive()
                    head, _, received = received.partition(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                    while len(received) < length:
                        received += await stream.receive()
                    body, received = received[:length], received[length:]
                    number += 1
                    self.requests += 1
                    await self.send(stream, http_answer(self.page_of(json.loads(body))), number)
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return


def page_of(question: dict[str, Any]) -> dict[str, Any]:
    """Return the page that a query requests."""
    start, end = (datetime.fromisoformat(question["params"][name]) for name in ("strTime", "endTime"))
    found = [(number, at) for number, at in enumerate(RECORDS) if start <= at <= end]
    size, current = question["size"], question["current"]
    rows = [{"voiceId": f"v{number}", "submitTime": at.isoformat()} for number, at in found]
    page = {"total": len(rows), "size": size, "current": current, "pages": -(-len(rows) // size)}
    return page | {"records": rows[(current - 1) * size : current * size]}


def http_answer(page: dict[str, Any]) -> bytes:
    """Return the bytes of an answer."""
    body = json.dumps({"status": "0", "reason": "success", "data": page}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@asynccontextmanager
async def serving(
    send: Send, page_of: Callable[[dict[str, Any]], dict[str, Any]] = page_of, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Server]:
    """Run a server on loopback."""
    server = Server(send, page_of)
    async with listening(server.serve, tls) as server.url:
        yield server


async def in_one_write(stream: ByteStream, answer: bytes, _: int) -> None:
    """Send an answer twice in one write."""
    await stream.send(answer + answer)


async def in_two_writes(stream: ByteStream, answer: bytes, _: int) -> None:
    """Send an answer twice, in two writes."""
    await stream.send(answer)
    await stream.send(answer)


async def in_two_tls_records(stream: ByteStream, answer: bytes, __: int) -> None:
    """Send an answer that fills one TLS record twice: both arrive together, and only one is decrypted."""
    head, _, body = answer.partition(b"\r\n\r\n")
    head = head.partition(b"Content-Length")[0] + b"Content-Length: 16000\r\nPadding: \r\n\r\n"
    head = head.replace(b"Padding: ", b"Padding: ".ljust(16384 - 16000 - len(head) + len(b"Padding: "), b"x"))
    await stream.send((head + body.ljust(16000)) * 2)


async def sometimes(stream: ByteStream, answer: bytes, number: int) -> None:
    """Send every third answer twice."""
    await stream.send(answer * (2 if number % 3 == 0 else 1))


async def in_part(stream: ByteStream, answer: bytes, _: int) -> None:
    """Send an answer, and the beginning of another."""
    await stream.send(answer + answer[:40])


def after(seconds: float) -> Send:
    """Return a function that sends an answer, and again some seconds later."""

    async def send(stream: ByteStream, answer: bytes, _: int) -> None:
        await stream.send(answer)
        await anyio.sleep(seconds)
        await stream.send(answer)

    return send


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("send", [in_one_write, in_two_writes, sometimes, in_part, after(0.003), after(0.02)])
async def test_a_walk_returns_every_record(send: Send, concurrency: int) -> None:
    """A walk over a server that sends answers twice returns each record once."""
    async with (
        serving(send) as server,
        VoiceSession(CREDENTIALS, base_url=server.url, concurrency=concurrency, retry=QUICK) as session,
    ):
        found = [record.voice_id for record in await session.records(START, END, page_size=20).collect()]

    assert [f"v{number}" for number in range(200)] == sorted(found, key=lambda name: int(str(name)[1:]))


@pytest.fixture
async def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the TLS context of a server that this process trusts."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    await anyio.run_process([*command.split(), "-addext", "subjectAltName=DNS:localhost"], cwd=tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    return context


@pytest.mark.parametrize("send", [in_one_write, in_two_writes, in_two_tls_records, sometimes])
async def test_a_walk_over_tls(send: Send, certificate: ssl.SSLContext) -> None:
    """The same holds over TLS."""
    async with (
        serving(send, tls=certificate) as server,
        VoiceSession(CREDENTIALS, base_url=server.url, retry=QUICK) as session,
    ):
        assert 200 == len(await session.records(START, END, page_size=20).collect())


@pytest.mark.parametrize("send", [in_one_write, in_part, in_two_tls_records])
async def test_unread_data_close_a_connection(send: Send, certificate: ssl.SSLContext) -> None:
    """A connection with unread data, in h11's buffer or in that of TLS, is not reused, so no request is repeated."""
    tls = certificate if send is in_two_tls_records else None
    async with serving(send, tls=tls) as server, VoiceSession(CREDENTIALS, base_url=server.url) as session:
        for current in (1, 2, 3):
            await session.page(START, END, current=current, page_size=20)

    assert (3, 3) == (server.connections, server.requests)


async def send_once(stream: ByteStream, answer: bytes, _: int) -> None:
    """Send an answer once."""
    await stream.send(answer)


async def and_close(stream: ByteStream, answer: bytes, number: int) -> None:
    """Close the connection after its second answer."""
    await stream.send(answer)
    if number == 2:
        await stream.aclose()


@pytest.mark.parametrize("over_tls", [False, True])
async def test_closed_connections_are_not_an_error(over_tls: bool, certificate: ssl.SSLContext) -> None:
    """A server may close a connection after any answer; other connections are reused."""
    async with (
        serving(and_close, tls=certificate if over_tls else None) as server,
        VoiceSession(CREDENTIALS, base_url=server.url) as session,
    ):
        for current in (1, 2, 3, 4, 5, 6):
            await session.page(START, END, current=current, page_size=20)

    assert (3, 6) == (server.connections, server.requests)


async def test_connections_are_reused() -> None:
    """A server that sends each answer once keeps its connection, even if answers are equal."""
    async with serving(send_once) as server, VoiceSession(CREDENTIALS, base_url=server.url) as session:
        for current in (1, 2, 3, 3, 3):
            await session.page(START, END, current=current)

    assert (1, 5) == (server.connections, server.requests)


@pytest.mark.parametrize("client", [None, httpx.AsyncClient, httpx2.AsyncClient])
async def test_an_answer_for_another_page_is_requested_again(client: Any) -> None:
    """An answer for another page closes its connection, also with the caller's own client."""
    wrong = iter([False, True, False])

    def sometimes_page_1(question: dict[str, Any]) -> dict[str, Any]:
        return page_of(question | {"current": 1} if next(wrong) else question)

    own = client and client()
    async with serving(send_once, sometimes_page_1) as server:
        async with VoiceSession(CREDENTIALS, base_url=server.url, http_client=own, retry=QUICK) as session:
            await session.page(START, END, current=1, page_size=20)
            page = await session.page(START, END, current=2, page_size=20)
        if own:
            await own.aclose()

    assert ["v20", "v21"] == [record.voice_id for record in page.records[:2]]
    assert (2, 3) == (server.connections, server.requests)


async def test_page_1_for_every_request_is_an_error() -> None:
    """It ends with a ProtocolError after the attempts, each on its own connection."""
    async with (
        serving(send_once, lambda question: page_of(question | {"current": 1})) as server,
        VoiceSession(CREDENTIALS, base_url=server.url, retry=attrs.evolve(QUICK, attempts=3)) as session,
    ):
        with pytest.raises(ProtocolError, match="page 2 was requested, but the answer is page 1"):
            await session.page(START, END, current=2, page_size=20)

    assert (3, 3) == (server.connections, server.requests)
