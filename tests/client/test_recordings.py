"""Downloads of recordings: the file, the limits, what is sent to the host, and what errors show."""

import asyncio
import gc
import gzip
import hashlib
import json
import logging
import re
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import httpx2
import pytest

from itnio_voice import (
    Credentials,
    HTTPStatusError,
    ItnioError,
    ProtocolError,
    RecordingFile,
    RecordNotFoundError,
    RequestTimeoutError,
    Retry,
    SipRecord,
    TransportError,
    VoiceSession,
)
from itnio_voice._files.download import SLOWEST
from itnio_voice.sandbox import Sandbox

from ..conftest import session_on
from ..support.loopback import listening
from ..support.virtual_time import backend_options

BASE_URL = "https://api.example.com/voice"
QUERY = "X-Signature=9f86d081884c7d659a2feaa0c55ad015"
URL = f"https://files.example.com/r/1.wav?{QUERY}"
SOUND = b"RIFF" + bytes(range(256)) * 40
NOW = datetime.now(UTC)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")

Answer = Callable[[httpx.Request], httpx.Response]


class Host:
    """The API, whose answers name `urls` in turn, and the hosts behind them, which answer with `file`."""

    def __init__(self, file: Answer, *urls: str, expires: datetime | None = None) -> None:
        self.file = file
        self.urls = list(urls or [URL])
        self.expires = [expires]
        self.api: list[httpx.Request] = []
        self.hosts: list[httpx.Request] = []

    def __call__(self, request: Any) -> Any:
        """Answer a request."""
        if request.url.host != "api.example.com" and "/getRecordingFileUrl" not in request.url.path:
            self.hosts.append(request)
            return self.file(request)
        self.api.append(request)
        index = len(self.api) - 1
        data: dict[str, Any] = {"url": self.urls[min(index, len(self.urls) - 1)]}
        if expires := self.expires[min(index, len(self.expires) - 1)]:
            data["expireTime"] = int(expires.timestamp() * 1000)
        return httpx.Response(200, json={"status": "0", "reason": "success", "data": data})


def sound(_: httpx.Request) -> httpx.Response:
    """Answer with a file."""
    return httpx.Response(200, content=SOUND, headers={"Content-Type": "audio/wav"})


def session(host: Host, **options: Any) -> VoiceSession:
    """Return a session whose client is a caller's one, with headers, cookies and credentials of its own."""
    client = httpx.AsyncClient(
        transport=httpx.MockTransport(host),
        headers={"X-Own": "own", "Authorization": "Bearer own", "Cookie": "own=1"},
        cookies={"jar": "own"},
        auth=("own", "own"),
        params={"own": "1"},
    )
    options = {"base_url": BASE_URL, "retry": Retry(attempts=3, wait_initial=0, jitter=0), **options}
    return VoiceSession(Credentials("the-key", "the-secret"), http_client=client, **options)


async def download(host: Host, path: Path, *, session_options: Any = (), **options: Any) -> RecordingFile:
    """Download a recording in a session of its own."""
    async with session(host, **dict(session_options)) as opened:
        return await opened.download_recording("r1", path, **{"source": "sip", **options})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return the path of a file in an empty folder."""
    return tmp_path / "call.wav"


class Parts(httpx.AsyncByteStream):
    """A body that is sent in parts, each after a pause."""

    def __init__(self, *parts: bytes, pause: float = 0, endless: bool = False) -> None:
        self.parts = parts
        self.pause = pause
        self.endless = endless
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            for part in self.parts:
                await anyio.sleep(self.pause)
                self.sent += len(part)
                yield part
            if not self.endless:
                return


@pytest.mark.anyio
async def test_a_recording_is_written_with_its_size_and_digest(output: Path) -> None:
    """The file has the bytes of the host, and the result describes it. An existing file is replaced."""
    output.write_bytes(b"old")
    host = Host(sound)

    file = await download(host, output)

    assert SOUND == output.read_bytes()
    assert RecordingFile(output, len(SOUND), hashlib.sha256(SOUND).hexdigest(), "audio/wav") == file
    assert {"own": "1", "recordingFileId": "r1", "sourceType": "sip"} == dict(host.api[0].url.params)
    assert [URL] == [str(request.url) for request in host.hosts]
    assert [output] == list(output.parent.iterdir())


@pytest.mark.anyio
@pytest.mark.parametrize("source", ["group", "sip"])
async def test_the_recordings_of_the_sandbox_differ(source: Any, itnio_sandbox: Sandbox, tmp_path: Path) -> None:
    """The session's own client downloads recordings of both kinds, several at once."""
    itnio_sandbox.insert({"recordingFileId": "../a", "voiceFileId": "../a"}, {"voiceFileId": "b"}, kind=source)
    ids = ["../a", "b"]
    itnio_sandbox.insert({"recordingFileId": "b", "voiceFileId": "b"}, kind=source)
    async with session_on(itnio_sandbox) as opened, anyio.create_task_group() as group:
        for number, file_id in enumerate(ids):

            async def one(file_id: str = file_id, path: Path = tmp_path / str(number)) -> None:
                await opened.download_recording(file_id, path, source=source)

            group.start_soon(one)

    first, second = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert first.startswith(b"RIFF")
    assert first != second


@pytest.mark.anyio
async def test_a_recording_of_a_phone_call_is_downloaded(itnio_sandbox: Sandbox, output: Path) -> None:
    """The id is the field `recording_file_id`."""
    async with session_on(itnio_sandbox) as opened:
        page = await opened.page(NOW - timedelta(days=30), NOW, of=SipRecord)
        file_id = next(record.recording_file_id for record in page.records if record.recording_file_id)
        file = await opened.download_recording(file_id, str(output), source="sip")

    assert output.stat().st_size == file.size
    assert file.content_type == "audio/wav"


@pytest.mark.anyio
async def test_nothing_of_the_session_or_the_client_is_sent_to_the_host(output: Path) -> None:
    """The host receives neither the API's headers nor those, the cookies, the auth and the params of the client."""
    host = Host(sound, f"https://one.example.com/?{QUERY}")

    def redirecting(request: httpx.Request) -> httpx.Response:
        if request.url.host == "one.example.com":
            return httpx.Response(302, headers={"Location": "https://two.example.com/x", "Set-Cookie": "theirs=1"})
        return httpx.Response(200, content=SOUND, headers={"Set-Cookie": "theirs=2; Domain=example.com"})

    host.file = redirecting
    async with session(host) as opened:
        await opened.download_recording("r1", output, source="sip")
        await opened.download_recording("r1", output, source="sip")

    assert ["one.example.com", "two.example.com"] * 2 == [request.headers["host"] for request in host.hosts]
    for request in host.hosts:
        assert {"host", "accept", "accept-encoding", "user-agent"} == set(request.headers)
        assert "identity" == request.headers["accept-encoding"]
        assert "own" not in str(request.url)
    assert all("theirs" not in request.headers.get("cookie", "") for request in host.api)


@pytest.mark.anyio
@pytest.mark.parametrize("library", [None, httpx, httpx2])
async def test_the_request_on_the_wire_has_no_headers_of_the_api(
    library: Any, output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With each kind of client, a real host receives no signature, no log has the query, and no proxy is used."""
    caplog.set_level(logging.DEBUG)
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    received: list[bytes] = []
    urls: list[str] = []

    async def serve(stream: Any) -> None:
        async with stream:
            request = await stream.receive()
            received.append(request)
            body = SOUND
            if b"getRecordingFileUrl" in request:
                body = json.dumps({"status": "0", "data": {"url": f"{urls[0]}/r.wav?{QUERY}"}}).encode()
            await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with listening(serve) as url:
        urls.append(url)
        client = library and library.AsyncClient(trust_env=False, headers={"X-Own": "own"})
        opened = VoiceSession(Credentials("the-key", "the-secret"), base_url=url, http_client=client)
        async with opened:
            await opened.download_recording("r1", output, source="group")
        if client:
            await client.aclose()

    _, request = received
    assert SOUND == output.read_bytes()
    assert "X-Signature" not in caplog.text
    assert request.startswith(f"GET /r.wav?{QUERY} HTTP/1.1\r\n".encode())
    names = {line.partition(b":")[0].lower() for line in request.splitlines()[1:] if line}
    assert {b"host", b"accept", b"accept-encoding", b"user-agent"} <= names <= {
        b"host", b"accept", b"accept-encoding", b"user-agent", b"connection",
    }  # fmt: skip


@pytest.mark.anyio
async def test_a_proxy_of_the_environment_is_used_for_other_hosts(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API on this machine is requested directly, and the recording's host by way of the proxy."""
    received: list[bytes] = []

    async def serve(stream: Any) -> None:
        async with stream:
            request = await stream.receive()
            received.append(request)
            if request.startswith(b"CONNECT"):
                await stream.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            data = json.dumps({"status": "0", "data": {"url": URL}}).encode()
            await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)

    async with listening(serve) as url:
        for name in PROXIES:
            monkeypatch.setenv(name, url)
        opened = VoiceSession(Credentials("the-key", "the-secret"), base_url=url, retry=Retry(attempts=1))
        async with opened:
            with pytest.raises(TransportError, match=r"^https://files\.example\.com: ProxyError$"):
                await opened.download_recording("r1", output, source="group")

    _, request = received
    assert request.startswith(b"CONNECT files.example.com:443 HTTP/1.1\r\n")
    assert b"the-key" not in request
    assert not list(output.parent.iterdir())


@pytest.mark.anyio
async def test_certificates_are_checked(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose certificate is not trusted is an error; one that `SSL_CERT_FILE` trusts is not."""
    folder = tmp_path.parent / f"{tmp_path.name}-certificates"
    folder.mkdir()
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subject = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *subject], cwd=folder, check=True, capture_output=True)  # noqa: S603
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    hosts: list[str] = []

    async def serve(stream: Any) -> None:
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            async with stream:
                content = SOUND
                if b"getRecordingFileUrl" in await stream.receive():
                    content = json.dumps({"status": "0", "data": {"url": f"{hosts[0]}/r"}}).encode()
                await stream.send(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content) + content
                )

    async with listening(serve) as url, listening(serve, context) as host:
        hosts.append(host)
        opened = VoiceSession(Credentials("k", "the-secret"), base_url=url, retry=Retry(attempts=1))
        async with opened:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
            with pytest.raises(TransportError, match="CERTIFICATE"):
                await opened.download_recording("r1", output, source="sip")
            assert not list(output.parent.iterdir())
            monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
            await opened.download_recording("r1", output, source="sip")

    assert SOUND == output.read_bytes()


REFUSED = {
    "plain http": "http://files.example.com/a",
    "http to an address": "http://10.0.0.1/a",
    "http to loopback": "http://127.0.0.1:1/a",
    "user and password": "https://user:hunter2@files.example.com/a",
    "user": "https://user@files.example.com/a",
    "another scheme": "ftp://files.example.com/a",
    "a file": "file:///etc/passwd",
    "no scheme": "files.example.com/a",
    "no host": "https:///a",
    "a backslash": "https://files.example.com\\@evil.example.com/",
    "a control character": "https://files.example.com/\r\nX-Injected: 1",
    "a port that is none": "https://files.example.com:0/",
    "invalid text": "https://[files/",
    "a very long URL": "https://files.example.com/" + "a" * 10_000,
}


@pytest.mark.anyio
@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("redirected", [False, True])
async def test_urls_that_are_not_https_are_refused(url: str, redirected: bool, output: Path) -> None:
    """A URL or redirect that is not https, is invalid, or has a user is refused before the host receives a request."""
    if redirected:
        if "\r" in url or url == REFUSED["no scheme"]:
            pytest.skip("not a header, or a relative path")
        host = Host(lambda _: httpx.Response(302, headers={"Location": url}))
    else:
        host = Host(sound, url)

    with pytest.raises(ProtocolError, match="the URL of the recording") as caught:
        await download(host, output)

    assert redirected == len(host.hosts)
    assert "hunter2" not in full_text(caught.value)
    assert not list(output.parent.iterdir())


@pytest.mark.anyio
async def test_http_to_loopback_is_accepted_if_the_api_is_on_loopback(output: Path) -> None:
    """Plain http stays on this machine, and is accepted only if the API is on it."""
    host = Host(sound, "http://127.0.0.1:8/r")
    await download(host, output, session_options={"base_url": "http://localhost:7/voice"})
    assert SOUND == output.read_bytes()

    host = Host(sound, "http://files.example.com/r")
    with pytest.raises(ProtocolError, match=r"must be https, not http://files\.example\.com$"):
        await download(host, output, session_options={"base_url": "http://localhost:7/voice"})


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_five_redirects_are_followed(status: int, output: Path) -> None:
    """Five redirects are followed, also relative ones; a sixth is an error."""

    def redirect(request: httpx.Request) -> httpx.Response:
        left = int(request.url.params["left"])
        return httpx.Response(status, headers={"Location": f"?left={left - 1}"}) if left else sound(request)

    host = Host(redirect, "https://files.example.com/r?left=5")
    await download(host, output)
    assert 6 == len(host.hosts)

    host = Host(redirect, "https://files.example.com/r?left=6")
    with pytest.raises(ProtocolError, match=r"redirects more than 5 times, at last to https://files\.example\.com$"):
        await download(host, output)
    assert 6 == len(host.hosts)


@pytest.mark.anyio
async def test_a_redirect_without_a_location_is_an_error(output: Path) -> None:
    """A redirect names its target."""
    with pytest.raises(ProtocolError):
        await download(Host(lambda _: httpx.Response(302)), output)


def answers(*responses: Any) -> Answer:
    """Answer with each response in turn, and then always with the last one."""
    rest = list(responses)

    def answer(_: httpx.Request) -> httpx.Response:
        made = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(made, Exception):
            raise made
        response: httpx.Response = made()
        return response

    return answer


def body(*parts: bytes, headers: Any = (), **options: Any) -> Callable[[], httpx.Response]:
    """Return a function that returns a response with a streamed body."""
    return lambda: httpx.Response(200, stream=Parts(*parts, **options), headers=dict(headers))


TOO_LARGE = {
    "Content-Length": body(b"x", headers={"Content-Length": "101"}),
    "parts": body(b"x" * 50, endless=True),
    "one part": body(b"x" * 101),
    "gzip": body(gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": "gzip"}),
    "gzip without content": body(
        gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 20, headers={"Content-Encoding": "gzip"}
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("answer", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_a_body_above_the_limit_is_refused(answer: Any, output: Path) -> None:
    """The limit is for the bytes received and for those written; no attempt follows."""
    host = Host(answers(answer))
    with pytest.raises(ProtocolError, match="more than 100 bytes"):
        await download(host, output, max_bytes=100)

    assert 1 == len(host.hosts)
    assert not list(output.parent.iterdir())


@pytest.mark.anyio
async def test_a_body_of_the_limit_is_accepted(output: Path) -> None:
    """`max_bytes` itself is allowed."""
    assert 100 == (await download(Host(answers(body(b"x" * 100))), output, max_bytes=100)).size


@pytest.mark.anyio
async def test_gzip_is_decoded(output: Path) -> None:
    """A host that compresses although identity was requested is understood; another encoding is an error."""
    packed = gzip.compress(SOUND)
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}
    for parts in ([packed], [packed[:5], packed[5:]], [bytes([byte]) for byte in packed]):
        file = await download(Host(answers(body(*parts, headers=headers))), output)
        assert (len(SOUND), SOUND) == (file.size, output.read_bytes())
    for other in (packed[:-1], packed + b"x", b"no gzip"):
        with pytest.raises(ProtocolError, match="gzip"):
            await download(Host(answers(body(other, headers={"Content-Encoding": "gzip"}))), output)
    with pytest.raises(ProtocolError, match="neither identity"):
        await download(Host(answers(body(SOUND, headers={"Content-Encoding": "br"}))), output)


@pytest.mark.anyio
@pytest.mark.parametrize("length", [len(SOUND) + 1, len(SOUND) - 1])
async def test_a_body_of_another_length_is_an_error(length: int, output: Path) -> None:
    """A body must have its Content-Length. An existing file stays as it is, and no part is left."""
    output.write_bytes(b"old")
    host = Host(answers(body(SOUND, headers={"Content-Length": str(length)})))
    with pytest.raises(TransportError, match=f"{len(SOUND):,} bytes, but its Content-Length is {length:,}"):
        await download(host, output)

    assert 3 == len(host.hosts)  # it is retried
    assert b"old" == output.read_bytes()
    assert [output] == list(output.parent.iterdir())


@pytest.mark.anyio
@pytest.mark.parametrize("length", ["-1", "x", "1, 1", "9" * 30, ""])
async def test_an_invalid_length_is_an_error(length: str, output: Path) -> None:
    """A Content-Length that is no number is refused."""
    with pytest.raises(ProtocolError, match="Content-Length is invalid"):
        await download(Host(answers(body(b"x", headers={"Content-Length": length}))), output)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", TransportError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n63\r\n", TransportError),
        (b"HTTP/1.1 200 OK\r\n\r\n", ProtocolError),
        (b"HTTP/1.0 200 OK\r\n\r\n", ProtocolError),
        (b"\x1b[2J%s no HTTP\r\n\r\n" % QUERY.encode(), TransportError),
    ],
)
async def test_a_body_that_is_cut_off_is_an_error(head: bytes, error: Any, output: Path) -> None:
    """A connection that ends within a body, or a body whose end cannot be verified, is an error."""
    urls: list[str] = []

    async def serve(stream: Any) -> None:
        async with stream:
            if b"getRecordingFileUrl" in await stream.receive():
                data = json.dumps({"status": "0", "data": {"url": f"{urls[0]}/r.wav?{QUERY}"}}).encode()
                await stream.send(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data
                )
            else:
                await stream.send(head + b"some bytes")

    async with listening(serve) as url:
        urls.append(url)
        opened = VoiceSession(Credentials("k", "the-secret"), base_url=url, retry=Retry(attempts=1))
        async with opened:
            with pytest.raises(error) as caught:
                await opened.download_recording("r1", output, source="sip")

    assert QUERY not in full_text(caught.value)
    assert "no HTTP" not in str(caught.value)
    assert not list(output.parent.iterdir())


@pytest.mark.anyio
async def test_transient_failures_are_retried_from_the_start(output: Path) -> None:
    """Statuses of 5xx, 429 and broken connections are retried; the URL is the same."""
    host = Host(
        answers(
            lambda: httpx.Response(503),
            lambda: httpx.Response(429, headers={"Retry-After": "0"}),
            httpx.ConnectError("x"),
            body(SOUND[:9], headers={"Content-Length": str(len(SOUND))}),
            body(SOUND, headers={"Content-Length": str(len(SOUND))}),
        )
    )
    file = await download(host, output, session_options={"retry": Retry(attempts=5, wait_initial=0, jitter=0)})

    assert (1, 5, len(SOUND)) == (len(host.api), len(host.hosts), file.size)
    assert SOUND == output.read_bytes()


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "sent"), [(503, 3), (429, 3), (400, 1), (401, 1), (204, 1), (206, 1)])
async def test_other_statuses_are_errors(status: int, sent: int, output: Path) -> None:
    """The error has the status and the Retry-After of the host, and nothing of its text."""
    host = Host(answers(lambda: httpx.Response(status, text="\x1b[2Jsecret", headers={"Retry-After": "0"})))
    with pytest.raises(HTTPStatusError, match=rf"^https://files\.example\.com: HTTP {status}$") as caught:
        await download(host, output)

    assert (status, 0.0, sent) == (caught.value.status_code, caught.value.retry_after, len(host.hosts))


@pytest.mark.anyio
@pytest.mark.parametrize("status", [403, 404, 410])
async def test_an_expired_url_is_requested_again_once(status: int, output: Path) -> None:
    """A host that no longer knows a URL may know the next one."""
    new = "https://files.example.com/new"
    host = Host(lambda request: sound(request) if "new" in str(request.url) else httpx.Response(status), URL, new)
    await download(host, output)
    assert [URL, new] == [str(request.url) for request in host.hosts]

    host = Host(answers(lambda: httpx.Response(status)))
    with pytest.raises(HTTPStatusError if status == 403 else RecordNotFoundError, match=f"HTTP {status}"):
        await download(host, output)
    assert (2, 2) == (len(host.api), len(host.hosts))


@pytest.mark.anyio
async def test_a_url_that_has_expired_by_the_servers_clock_is_requested_again(output: Path) -> None:
    """An expired URL is not used, unless the next one has expired too."""
    past, future = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    host = Host(sound, URL, "https://files.example.com/new")
    host.expires = [past, future]
    await download(host, output)
    assert (2, ["/new"]) == (len(host.api), [request.url.path for request in host.hosts])

    host.expires = [past]
    host.api.clear()
    await download(host, output)
    assert (2, 2) == (len(host.api), len(host.hosts))


@pytest.mark.anyio
async def test_a_missing_recording_has_no_file(output: Path) -> None:
    """The API has no URL for it."""
    client = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json={"status": "0", "data": None}))
    )
    async with VoiceSession(Credentials("k", "the-secret"), http_client=client) as opened:
        with pytest.raises(RecordNotFoundError, match="no recording with the id 'r1'"):
            await opened.download_recording("r1", output, source="sip")
    assert not list(output.parent.iterdir())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"recording_file_id": ""}, ValueError),
        ({"recording_file_id": ".."}, ValueError),
        ({"recording_file_id": 5}, ValueError),
        ({"source": "phone"}, ValueError),
        ({"max_bytes": 0}, ValueError),
        ({"max_bytes": 1.5}, ValueError),
        ({"path": "a\0b"}, ValueError),
        ({"path": "."}, IsADirectoryError),
        ({"path": "missing/a.wav"}, NotADirectoryError),
        ({"path": "x" * 300}, OSError),
        ({"path": "/proc/a.wav"}, OSError),
    ],
)
async def test_wrong_arguments_are_refused_before_any_request(
    options: dict[str, Any], error: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong id, source, limit or path is an error, and nothing is requested."""
    monkeypatch.chdir(tmp_path)
    host = Host(sound)
    arguments = {"recording_file_id": "r1", "path": "a.wav", "source": "sip", **options}
    async with session(host) as opened:
        with pytest.raises(error):
            await opened.download_recording(**arguments)

    assert [] == host.api
    assert not list(tmp_path.iterdir())


def run_in_virtual_time(backend: str, function: Callable[[], Any]) -> None:
    """Run a test in virtual time."""
    anyio.run(function, backend=backend, backend_options=backend_options(backend))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_slow_body_ends(backend: str, output: Path) -> None:
    """A host that sends byte by byte is stopped; one that sends at the least rate is not, however long it takes."""
    single = Retry(attempts=1)

    async def check() -> None:
        slow = Host(answers(body(b"x", pause=1.0, endless=True)))
        with pytest.raises(RequestTimeoutError, match=r"less than 4,096 bytes per second|no data"):
            await download(slow, output, session_options={"timeout": 30.0, "retry": single})
        assert not list(output.parent.iterdir())
        silent = Host(answers(body(b"x" * 10**6, b"x", pause=31.0)))
        with pytest.raises(RequestTimeoutError, match="no data within 30 s"):
            await download(silent, output, session_options={"timeout": 30.0, "retry": single})
        # Its end is another error, because a thread that writes to the disk cannot be waited for in virtual time.
        length = {"Content-Length": str(1001 * SLOWEST)}
        steady = Host(answers(body(*[b"x" * SLOWEST] * 1000, pause=1.0, headers=length)))
        with pytest.raises(TransportError, match=f"has {1000 * SLOWEST:,} bytes, but"):
            await download(steady, output, session_options={"timeout": 30.0, "retry": single})

    run_in_virtual_time(backend, check)


@pytest.mark.anyio
@pytest.mark.parametrize("library", [None, httpx, httpx2])
async def test_an_endless_body_is_not_received(library: Any, output: Path) -> None:
    """At the limit, the connection is closed, and no generator of the HTTP library is left to the garbage collector."""
    urls: list[str] = []
    ended = anyio.Event()

    async def serve(stream: Any) -> None:
        async with stream:
            if b"getRecordingFileUrl" in await stream.receive():
                data = json.dumps({"status": "0", "data": {"url": f"{urls[0]}/r.wav"}}).encode()
                await stream.send(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data
                )
                return
            await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            with suppress(anyio.BrokenResourceError):
                while True:
                    await stream.send(b"400\r\n" + bytes(1024) + b"\r\n")
            ended.set()

    async with listening(serve) as url:
        urls.append(url)
        client = library and library.AsyncClient(trust_env=False)
        opened = VoiceSession(Credentials("k", "the-secret"), base_url=url, http_client=client)
        async with opened:
            with pytest.raises(ProtocolError, match="more than 100,000 bytes"):
                await opened.download_recording("r1", output, source="sip", max_bytes=100_000)
            await ended.wait()
        if client:
            await client.aclose()
        gc.collect()
    assert not list(output.parent.iterdir())


@pytest.mark.anyio
@pytest.mark.parametrize("library", [None, httpx])
async def test_a_cancelled_download_leaves_no_file(library: Any, output: Path) -> None:
    """Cancellation within the body, on a real connection: the part file and the connection are gone."""
    urls: list[str] = []
    began, ended = anyio.Event(), anyio.Event()

    async def serve(stream: Any) -> None:
        async with stream:
            if b"getRecordingFileUrl" in await stream.receive():
                data = json.dumps({"status": "0", "data": {"url": f"{urls[0]}/r.wav?{QUERY}"}}).encode()
                await stream.send(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data
                )
                return
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + SOUND)
            began.set()
            try:
                await stream.receive()
            except anyio.EndOfStream:
                ended.set()

    async with listening(serve) as url:
        urls.append(url)
        client = library and library.AsyncClient(trust_env=False)
        opened = VoiceSession(Credentials("k", "the-secret"), base_url=url, http_client=client)
        async with opened, anyio.create_task_group() as group:

            async def one() -> None:
                await opened.download_recording("r1", output, source="sip")

            group.start_soon(one)
            await began.wait()
            while not [path for path in output.parent.iterdir() if path.stat().st_size or path.suffix == ".part"]:
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()
        assert not list(output.parent.iterdir())
        await ended.wait()
        if client:
            await client.aclose()


@pytest.mark.anyio
async def test_a_body_that_is_always_ready_can_be_cancelled(output: Path) -> None:
    """A host that always has data does not keep the event loop to itself."""

    class Ready(httpx.AsyncByteStream):
        is_open = True

        async def __aiter__(self) -> AsyncIterator[bytes]:
            while self.is_open:
                yield b"x" * 1000

        async def aclose(self) -> None:
            self.is_open = False

    host = Host(lambda _: httpx.Response(200, stream=Ready()))
    async with anyio.create_task_group() as group:

        async def one() -> None:
            await download(host, output, max_bytes=10_000_000)

        group.start_soon(one)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert list(output.parent.iterdir())
        group.cancel_scope.cancel()

    assert not list(output.parent.iterdir())


@pytest.mark.parametrize("after", range(8))
def test_a_task_that_asyncio_cancels_leaves_no_file(after: int, output: Path) -> None:
    """asyncio's own cancellation, after any number of turns of the event loop, leaves no part file."""

    async def check() -> None:
        task = asyncio.create_task(download(Host(answers(body(b"x" * 10, endless=True))), output))
        while not list(output.parent.iterdir()):
            await asyncio.sleep(0)
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not list(output.parent.iterdir())

    asyncio.run(check())


@pytest.mark.anyio
async def test_closing_the_session_ends_a_download(output: Path) -> None:
    """A download under way, and one that begins later, raise a RuntimeError; no part is left."""
    host = Host(answers(body(b"x", pause=0.001, endless=True)))
    opened = session(host)
    errors: list[Exception] = []

    async def one() -> None:
        try:
            await opened.download_recording("r1", output, source="sip")
        except RuntimeError as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(one)
        while not list(output.parent.iterdir()):
            await anyio.sleep(0.001)
        await opened.aclose()
    await one()

    assert ["this VoiceSession is closed: open another one"] * 2 == [str(error) for error in errors]
    assert not list(output.parent.iterdir())


@pytest.mark.anyio
async def test_downloads_are_limited_and_do_not_block_requests(tmp_path: Path) -> None:
    """At most `concurrency` downloads run at once, and the API can be called meanwhile."""
    release, running, most = anyio.Event(), 0, 0

    class Waiting(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await release.wait()
            yield SOUND
            running -= 1

    host = Host(lambda _: httpx.Response(200, stream=Waiting()))
    async with session(host, concurrency=2) as opened, anyio.create_task_group() as group:
        for number in range(5):

            async def one(path: Path = tmp_path / str(number)) -> None:
                await opened.download_recording("r1", path, source="sip")

            group.start_soon(one)
        while running < 2:
            await anyio.sleep(0.001)
        await opened.recording_url("r1", source="sip")
        release.set()

    assert 2 == most
    assert 5 == len(list(tmp_path.iterdir()))


def full_text(error: BaseException) -> str:
    """Return the text of an error with the variables of its frames in the library."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in shown.stack if "itnio_voice/" in frame.filename]
    return "".join(shown.format_exception_only()) + repr([frame.locals for frame in ours]) + repr(vars(error))


HOSTILE: dict[str, Any] = {
    "a status": (lambda: httpx.Response(500, text=QUERY), URL),
    "a redirect": (lambda: httpx.Response(302, headers={"Location": f"http://x.example.com/?{QUERY}"}), URL),
    "a broken connection": (httpx.ReadError(f"broken {URL}"), URL),
    "an exception of a hook": (RuntimeError(f"hook {URL}"), URL),
    "too large": (body(b"x" * 2000, headers={"Content-Length": "2000"}), URL),
    "an encoding": (body(b"x", headers={"Content-Encoding": QUERY}), URL),
    "a length": (body(b"x", headers={"Content-Length": QUERY}), URL),
    "a status line": (httpx.RemoteProtocolError(f"illegal status line {QUERY}"), URL),
    "an invalid URL": (httpx.Response, f"http://files.example.com/?{QUERY}"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE.keys())
async def test_no_error_and_no_log_shows_the_query(case: Any, output: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The query of a URL is its signature: neither an error with its frames nor a log record has it."""
    caplog.set_level(logging.DEBUG)
    made, url = case
    with pytest.raises((ItnioError, RuntimeError)) as caught:
        await download(Host(answers(made), url), output, max_bytes=1000)

    ours = "" if isinstance(caught.value, RuntimeError) else str(caught.value)
    assert "X-Signature" not in ours
    assert "X-Signature" not in full_text(caught.value) or isinstance(caught.value, RuntimeError)
    assert "X-Signature" not in caplog.text
    assert not list(output.parent.iterdir())


@pytest.mark.anyio
async def test_the_log_of_the_http_library_has_no_query(output: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The library logs each request at INFO; the URL of a download has no query there."""
    caplog.set_level(logging.INFO)
    await download(Host(sound), output)

    (line,) = [record.getMessage() for record in caplog.records if "files.example.com" in record.getMessage()]
    assert re.search(r"GET https://files\.example\.com/r/1\.wav ", line)
