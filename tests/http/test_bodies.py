"""Answers of any size and encoding: at most `LARGEST` bytes are received, and decompressed."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import httpx
import httpx2
import pytest
from anyio.abc import SocketStream

from itnio_voice import (
    Credentials,
    HTTPStatusError,
    ItnioError,
    ProtocolError,
    RequestTimeoutError,
    Retry,
    TransportError,
    VoiceSession,
)
from itnio_voice._http.bodies import LARGEST, Body

from ..support.loopback import listening

pytestmark = pytest.mark.anyio

END = datetime(2026, 11, 2, tzinfo=UTC)
START = END - timedelta(days=1)
CREDENTIALS = Credentials("api-key-1", "secret-of-1")
QUICK = Retry(attempts=3, wait_initial=0.001, wait_max=0.01, jitter=0)
PAGE = json.dumps({"status": "0", "data": {"total": 0, "records": []}}).encode()
HEAD = b"HTTP/1.1 200 OK\r\n"
CLIENTS = [None, httpx.AsyncClient, httpx2.AsyncClient]
MEGABYTE = 2**20


def sized(body: bytes, *headers: bytes) -> list[bytes]:
    """Return an answer with a Content-Length."""
    return [b"".join((HEAD, *headers, b"Content-Length: %d\r\n\r\n" % len(body), body))]


def until_the_end(part: bytes, times: int, *headers: bytes) -> list[bytes]:
    """Return an answer that ends when the connection closes."""
    return [b"".join((HEAD, *headers, b"\r\n")), *[part] * times]


def bomb(wbits: int, megabytes: int = 64) -> bytes:
    """Return compressed zeros."""
    compressor = zlib.compressobj(9, wbits=wbits)
    return b"".join([compressor.compress(bytes(MEGABYTE)) for _ in range(megabytes)]) + compressor.flush()


@attrs.define
class Server:
    """A server that sends one answer, piece by piece, to each request, and counts the bytes it could send."""

    pieces: Callable[[], AsyncGenerator[bytes]]
    url: str = ""
    requests: list[bytes] = attrs.field(factory=list)
    sent: int = 0

    async def serve(self, stream: SocketStream) -> None:
        """Answer one request of a connection, then close it."""
        async with stream:
            try:
                received = b""
                while not received.endswith(b"}"):
                    received += await stream.receive()
                self.requests.append(received)
                async with aclosing(self.pieces()) as pieces:
                    async for piece in pieces:
                        await stream.send(piece)
                        self.sent += len(piece)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass


@asynccontextmanager
async def serving(answer: list[bytes] | Callable[[], AsyncGenerator[bytes]]) -> AsyncGenerator[Server]:
    """Run a server on loopback."""

    async def pieces() -> AsyncGenerator[bytes]:
        assert isinstance(answer, list)
        for piece in answer:
            yield piece

    server = Server(pieces if isinstance(answer, list) else answer)
    async with listening(server.serve) as server.url:
        yield server


@asynccontextmanager
async def session_on(server: Server, client: Any = None, **options: Any) -> AsyncGenerator[VoiceSession]:
    """Open a session on a server, with its own client or with one of a given class."""
    own = client and client()
    async with VoiceSession(CREDENTIALS, base_url=server.url, http_client=own, **{"retry": QUICK} | options) as session:
        yield session
    if own:
        await own.aclose()


async def refusal(server: Server, client: Any = None, **options: Any) -> ItnioError:
    """Return the error raised by requesting a page of a server."""
    async with session_on(server, client, **options) as session:
        with pytest.raises(ItnioError) as caught:
            await session.page(START, END)
    return caught.value


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (sized(bomb(31), b"Content-Encoding: gzip\r\n"), "decompresses to more than 16,777,216 bytes"),
        (sized(bomb(31), b"Content-Encoding: X-GZip\r\n"), "decompresses to more than 16,777,216 bytes"),
        (sized(gzip.compress(bomb(31)), b"Content-Encoding: gzip, gzip\r\n"), "Content-Encoding is 'gzip, gzip'"),
        (sized(bomb(31), b"Content-Encoding: gzip\r\n" * 2), "Content-Encoding is 'gzip, gzip'"),
        (sized(bomb(15), b"Content-Encoding: deflate\r\n"), "Content-Encoding is 'deflate', but 'gzip' was requested"),
        (sized(b"\x1b", b"Content-Encoding: br\r\n"), "Content-Encoding is 'br'"),
        (sized(b"\x28\xb5\x2f\xfd", b"Content-Encoding: zstd\r\n"), "Content-Encoding is 'zstd'"),
        (sized(b"", b"Content-Encoding: %s\r\n" % (b"x" * 50_000)), f"Content-Encoding is '{'x' * 40}',"),
        ([HEAD + b"Content-Length: 1500000000\r\n\r\n"], "has 1,500,000,000 bytes, the limit is 16,777,216"),
        (until_the_end(bytes(MEGABYTE), 64), "has more than 16,777,216 bytes, the limit is 16,777,216: check base_url"),
        (
            until_the_end(b"100000\r\n%s\r\n" % bytes(MEGABYTE), 64, b"Transfer-Encoding: chunked\r\n"),
            "has more than 16,777,216 bytes",
        ),
    ],
    ids=["gzip", "x-gzip", "nested", "nested-2", "deflate", "br", "zstd", "unknown", "length", "plain", "chunked"],
)
async def test_a_body_is_limited(answer: list[bytes], message: str, client: Any) -> None:
    """A large body, or an encoding that was not requested, is a ProtocolError after one request, in little memory."""
    async with serving(answer) as server:
        tracemalloc.start()
        try:
            error = await refusal(server, client)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert type(error) is ProtocolError
    assert message in str(error)
    assert len(str(error)) < 200
    assert 1 == len(server.requests)
    assert peak < 3.5 * LARGEST
    assert server.sent < LARGEST + 16 * MEGABYTE  # the rest is in the sockets' buffers


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_body_up_to_the_limit_is_read(client: Any) -> None:
    """`LARGEST` bytes are accepted, compressed or not."""
    body = PAGE.ljust(LARGEST)
    for answer in (sized(body), sized(gzip.compress(body, 1), b"Content-Encoding: gzip\r\n")):
        async with serving(answer) as server, session_on(server, client) as session:
            assert 0 == (await session.page(START, END)).total


@pytest.mark.parametrize("client", CLIENTS)
async def test_only_gzip_is_requested(client: Any) -> None:
    """Every request accepts only gzip, even if the client's library supports more."""
    answer = sized(gzip.compress(PAGE), b"Content-Encoding: gzip\r\n")
    async with serving(answer) as server, session_on(server, client) as session:
        assert 0 == (await session.page(START, END)).total

    (request,) = server.requests
    lines = [line for line in request.lower().split(b"\r\n") if line.startswith(b"accept-encoding")]
    assert [b"accept-encoding: gzip"] == lines


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (PAGE, "is not gzip"),
        (gzip.compress(PAGE)[:-4], "cut off"),
        (b"", "cut off"),
        (gzip.compress(PAGE) + b"more", "have more after their end"),
        (gzip.compress(PAGE) * 2, "have more after their end"),
        (gzip.compress(PAGE)[:-8] + bytes(8), "is not gzip"),
    ],
    ids=["plain", "cut", "empty", "more", "twice", "checksum"],
)
async def test_damaged_gzip_is_a_transient_error(body: bytes, message: str) -> None:
    """Damaged compressed data raise a transient ProtocolError."""
    async with serving(sized(body, b"Content-Encoding: gzip\r\n")) as server:
        error = await refusal(server)

    assert message in str(error)
    assert isinstance(error, ProtocolError)
    assert error.transient
    assert 3 == len(server.requests)


@pytest.mark.parametrize("encoding", [b"br", b"gzip"])
async def test_an_error_page_in_another_encoding_keeps_its_status(encoding: bytes) -> None:
    """A proxy's 502 is retried, in any encoding of its page."""
    answer = b"HTTP/1.1 502 Bad\r\nContent-Encoding: %s\r\nContent-Length: 4\r\n\r\n????" % encoding
    async with serving([answer]) as server:
        error = await refusal(server)

    assert isinstance(error, HTTPStatusError)
    assert 502 == error.status_code
    assert 3 == len(server.requests)


def test_decoding_stops_at_the_limit() -> None:
    """Decompression stops shortly after the limit."""
    compressed = bomb(31)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="decompresses to more than"):
            Body(compressed, "gzip").decode()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2.5 * LARGEST


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_a_body_read_by_a_hook_is_limited_too(library: Any) -> None:
    """If a caller's hook has read the answer, the library has decompressed it; its size is checked too."""

    async def read(response: Any) -> None:
        await response.aread()

    def client() -> Any:
        return library.AsyncClient(event_hooks={"response": [read]})

    compressed = gzip.compress(PAGE)
    answer = sized(compressed, b"Content-Encoding: gzip\r\n")
    async with serving(answer) as server, session_on(server, client) as session:
        assert 0 == (await session.page(START, END)).total
    async with serving(sized(bomb(31, 17), b"Content-Encoding: gzip\r\n")) as server:
        error = await refusal(server, client)

    assert "more than 16,777,216 bytes" in str(error)


async def drip(head: bytes, piece: bytes) -> AsyncGenerator[bytes]:
    """Send a head, then a piece from time to time, without an end."""
    yield head
    while True:
        await anyio.sleep(0.01)
        yield piece


async def flood(head: bytes, piece: bytes) -> AsyncGenerator[bytes]:
    """Send a head, then pieces as fast as they are received, without an end."""
    yield head
    while True:
        yield piece


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("head", "piece", "pieces"),
    [
        (HEAD + b"\r\n", b" ", drip),
        (CHUNKED, b"1\r\n \r\n", drip),
        (b"HTTP", b"", drip),
        (HEAD, b"X: y\r\n", drip),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, flood),
        (CHUNKED, b"1;%s\r\n \r\n" % (b"x" * 50_000), flood),
    ],
    ids=["body", "chunks", "nothing", "headers", "1xx", "chunk-extensions"],
)
async def test_an_endless_answer_ends_with_its_timeout(head: bytes, piece: bytes, pieces: Any, client: Any) -> None:
    """An endless answer, slow or fast, ends after `timeout` seconds, in little memory."""
    async with serving(lambda: pieces(head, piece)) as server:
        tracemalloc.start()
        try:
            error = await refusal(server, client, timeout=0.2, retry=attrs.evolve(QUICK, attempts=1))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert isinstance(error, RequestTimeoutError)
    assert "0.2 s" in str(error)
    assert peak < 8 * MEGABYTE


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(100_000)) + b"\r\n",
        HEAD + b"X: " + b"y" * MEGABYTE + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"y" * MEGABYTE,
        CHUNKED + b"1;" + b"x" * MEGABYTE,
    ],
    ids=["100000-headers", "huge-header", "huge-reason", "huge-chunk-extension"],
)
async def test_heads_are_limited(head: bytes, client: Any) -> None:
    """A head of more than about 100 kB raises the HTTP library's error as a TransportError."""
    async with serving([head]) as server:
        error = await refusal(server, client)

    assert type(error) is TransportError
    assert "RemoteProtocolError" in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    "answer",
    [
        b'{"status": "-99", "reason": "%s"}' % (b"a1 " * (LARGEST // 4)),
        b'{"status": "%s", "reason": "x"}' % (b"a1 " * (LARGEST // 4)),
        b'{"status": "0", "data": {"records": [{"voiceId": "v1", "cost": "%s"}]}}' % (b"x" * (LARGEST // 2)),
        b'{"status": "0", "data": {"records": [{"voiceId": "%s", "cost": "x"}]}}' % (b"v" * (LARGEST // 2)),
        b'{"status": "0", "data": {"records": [{"voiceId": "v1", "cost": [1%s]}]}}' % (b",1" * (LARGEST // 8)),
        b'{"status": "0", "data": {"records": "%s"}}' % (b"x" * (LARGEST // 2)),
        b"x" * LARGEST,
    ],
    ids=["reason", "status", "value", "id", "list", "records", "html"],
)
async def test_errors_of_large_answers_are_small(answer: bytes) -> None:
    """The part of an answer that an error quotes or carries is cut before it is searched for secrets."""
    async with serving(sized(answer)) as server:
        error = await refusal(server, retry=attrs.evolve(QUICK, attempts=1))

    assert len(str(error)) < 300
    assert max(len(repr(value)) for value in vars(error).values()) <= 1002
