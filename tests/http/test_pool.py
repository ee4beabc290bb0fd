"""The session's own connections: proxies and errors are those of httpx."""

import functools
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import certifi
import httpx
import httpx2
import pytest

from itnio_voice import Credentials, Retry, TransportError, VoiceSession
from itnio_voice._http.pool import is_direct, make_client, proxy_mounts, routed
from itnio_voice.sandbox import Sandbox

from ..support.loopback import listening

END = datetime.now(UTC).replace(microsecond=0)
START = END - timedelta(days=30)


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [
        ({}, {}),
        ({"https": "http://proxy:3128"}, {"https://": "http://proxy:3128"}),
        ({"http": "proxy:3128", "all": "socks5://s"}, {"http://": "http://proxy:3128", "all://": "socks5://s"}),
        ({"https": "http://proxy", "no": "*"}, {}),
        ({"https": "http://proxy", "no": "a.example, *"}, {}),
        ({"ftp": "http://proxy"}, {}),
        ({"no": "example.com"}, {"all://*example.com": None}),
        ({"no": ".example.com"}, {"all://*.example.com": None}),
        ({"no": "localhost, 10.0.0.1"}, {"all://localhost": None, "all://10.0.0.1": None}),
        ({"no": "::1,10.0.0.0/8"}, {"all://[::1]": None, "all://10.0.0.0/8": None}),
        ({"no": "http://only.example"}, {"http://only.example": None}),
    ],
)
def test_proxies_are_read_as_httpx_reads_them(proxies: dict[str, str], expected: dict[str, Any]) -> None:
    """Each scheme has its proxy, and hosts without a proxy have None."""
    assert expected == proxy_mounts(proxies)


VARIABLES = [f"{scheme}_PROXY" for scheme in ("HTTP", "HTTPS", "ALL", "NO")]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove the proxies of the environment, and return what sets others."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def proxy_to(url: str) -> str | None:
    """Return the proxy of our transport to a URL, as `host:port`."""
    transport: Any = routed(1, url)[0]
    proxy = transport._pool._proxy
    return proxy and f"{proxy.url.host.decode()}:{proxy.url.port}"


@functools.cache
def certificates() -> ssl.SSLContext:
    """Return a context that checks certificates; creating one takes long."""
    return httpx.create_ssl_context()


def proxy_of_httpx(url: str) -> str | None:
    """Return the proxy that httpx's own client uses for a URL, as `host:port`."""
    client: Any = httpx.AsyncClient(verify=certificates())
    proxy = getattr(client._transport_for_url(httpx.URL(url))._pool, "_proxy_url", None)
    return proxy and f"{proxy.host.decode()}:{proxy.port}"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HTTPS_PROXY": "http://one:1"},
        {"https_proxy": "http://one:1"},
        {"HTTPS_PROXY": "one:1"},
        {"HTTPS_PROXY": "https://one:1"},
        {"HTTP_PROXY": "http://two:2"},
        {"ALL_PROXY": "http://three:3"},
        {"HTTP_PROXY": "http://two:2", "HTTPS_PROXY": "http://one:1", "ALL_PROXY": "http://three:3"},
        {"HTTP_PROXY": "http://two:2", "ALL_PROXY": "http://three:3"},
        {"ALL_PROXY": "http://three:3", "NO_PROXY": "*"},
        {"ALL_PROXY": "http://three:3", "NO_PROXY": "itniotech.com"},
        {"ALL_PROXY": "http://three:3", "NO_PROXY": ".itniotech.com"},
        {"ALL_PROXY": "http://three:3", "NO_PROXY": "api.itniotech.com,10.1.2.3"},
        {"HTTPS_PROXY": "http://one:1", "NO_PROXY": "https://api.itniotech.com:8443"},
        {"HTTPS_PROXY": "http://one:1", "NO_PROXY": "http://api.itniotech.com"},
        {"HTTPS_PROXY": "http://one:1", "NO_PROXY": "fd00::1"},
    ],
)
def test_proxies_are_chosen_as_httpx_chooses_them(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """For each URL and all variables, a session's requests use the proxy that httpx's own client would use."""
    for name, value in variables.items():
        environment.setenv(name, value)
    hosts = [
        "api.itniotech.com",
        "API.itniotech.com",
        "itniotech.com",
        "itniotech.com.example",
        "10.1.2.3",
        "[fd00::1]",
    ]
    urls = [f"https://{host}{port}/voice" for host in hosts for port in ("", ":443", ":8443")]

    assert [proxy_of_httpx(url) for url in urls] == [proxy_to(url) for url in urls]


@pytest.mark.parametrize(
    ("url", "direct"),
    [
        ("https://api.itniotech.com/voice", False),
        ("https://api.onbuka.com", True),
        ("https://onbuka.com", True),
        ("https://notonbuka.com", False),
        ("https://laaffic.com", False),
        ("https://api.laaffic.com", True),
        ("https://10.1.2.3", True),
    ],
)
def test_no_proxy_is_respected(monkeypatch: pytest.MonkeyPatch, url: str, direct: bool) -> None:
    """`NO_PROXY` works on our client as it does on httpx's own."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "onbuka.com,.laaffic.com,10.1.2.3")

    assert direct == (proxy_to(url) is None) == (proxy_of_httpx(url) is None)


def test_a_proxy_of_an_unknown_scheme_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when the session is created."""
    monkeypatch.setenv("HTTPS_PROXY", "gopher://proxy")
    with pytest.raises(ValueError, match="gopher"):
        routed(1, "https://api.itniotech.com/voice")


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """Run a proxy that stores the first line and the authorization of each request, and refuses it."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                heard.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://user:word@127.0.0.1:{listener.getsockname()[1]}", heard
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
async def test_requests_go_through_the_proxy(
    environment: pytest.MonkeyPatch, proxy: tuple[str, list[bytes]], name: str
) -> None:
    """https is tunnelled through the environment's proxy, with its authorization; a refusal is a TransportError."""
    url, heard = proxy
    environment.setenv(name, url)
    credentials = Credentials("api-key-1", "secret-of-1")
    async with VoiceSession(credentials, retry=Retry(attempts=1)) as session:
        with pytest.raises(TransportError, match="407"):
            await session.page(START, END)

    assert heard[0].startswith(b"CONNECT api.itniotech.com:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in heard[0]


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_uses_no_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: tuple[str, list[bytes]], itnio_sandbox: Sandbox, host: str
) -> None:
    """A loopback base URL uses none of the environment's proxies, which would see the signature."""
    url, heard = proxy
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    credentials = Credentials(itnio_sandbox.api_key, itnio_sandbox.api_secret)
    async with VoiceSession(credentials, base_url=itnio_sandbox.base_url.replace("127.0.0.1", host)) as session:
        await session.page(START, END)

    assert [] == heard


@pytest.mark.parametrize(
    ("host", "direct"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("192.168.7.9", True),
        ("192.168.8.1", False),
        ("fd00::5", True),
        ("fe80::5", False),
        ("8.8.8.8", False),
        ("localhost.example.com", False),
        ("api.itniotech.com", False),
        ("", False),
    ],
)
def test_loopback_and_no_proxy_addresses_are_direct(host: str, direct: bool) -> None:
    """Loopback addresses are, and those in a network of `NO_PROXY`."""
    assert direct == is_direct(host, {"no": "example.com, 10.0.0.0/8,192.168.7.1/24 ,fd00::/8,nonsense/99,"})


@pytest.mark.parametrize("url", ["https://10.1.2.3/voice", "https://api.itniotech.com/voice", "https://[::1]:8000"])
def test_no_proxy_may_name_networks(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Requests to an address in a network of `NO_PROXY` use no proxy; those to other addresses do."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")

    assert ("itniotech" not in url) == (proxy_to(url) is None)


def test_certificates_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions share their TLS context, while the environment names the same certificates."""

    def context() -> Any:
        transport: Any = routed(1, "https://api.itniotech.com/voice")[0]
        return transport._pool._ssl_context

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    first = context()

    assert first is context()
    assert first.check_hostname
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert first is not context()


@attrs.define
class CookieServer:
    """A transport whose answers set cookies, and that stores the Cookie header of each request."""

    library: Any
    setting: list[tuple[str, str]] = attrs.field(factory=list)
    received: list[str | None] = attrs.field(factory=list)

    def client(self, **options: Any) -> Any:
        """Return a client of the library."""
        return self.library.AsyncClient(transport=self.library.MockTransport(self.answer), **options)

    def answer(self, request: Any) -> Any:
        """Answer."""
        self.received.append(request.headers.get("Cookie"))
        page = {"status": "0", "data": {"total": 0, "records": []}}
        return self.library.Response(200, json=page, headers=[*self.setting])


@pytest.mark.anyio
@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_cookies_of_a_callers_client_are_neither_sent_nor_stored(library: Any) -> None:
    """A session neither sends a shared client's cookies nor adds any to its jar; the caller's own remain."""
    setting = [("Set-Cookie", f"name-{number}=value; Path=/voice") for number in range(20)]
    server = CookieServer(library, [*setting, ("Set-Cookie", "invalid; Domain=elsewhere.example")])
    async with server.client() as client:
        client.cookies.set("own", "kept", domain="api.itniotech.com")
        for key in ("api-key-1", "api-key-2"):
            session = VoiceSession(Credentials(key, "secret-of-1"), http_client=client)
            await session.page(START, END)
            await session.page(START, END)

        assert [("own", "kept")] == [(cookie.name, cookie.value) for cookie in client.cookies.jar]
        await client.get("https://api.itniotech.com/")

    assert [None, None, None, None, "own=kept"] == server.received


@pytest.mark.anyio
@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_a_cookie_header_of_a_callers_client_is_sent(library: Any) -> None:
    """A Cookie header among the client's own headers is sent."""
    server = CookieServer(library)
    async with server.client(headers={"Cookie": "gateway=1"}) as client:
        await VoiceSession(Credentials("api-key-1", "secret-of-1"), http_client=client).page(START, END)

    assert ["gateway=1"] == server.received


@pytest.mark.anyio
async def test_our_own_client_ignores_cookies() -> None:
    """Cookies of answers are neither stored nor sent, nor parsed."""
    received: list[bytes] = []
    body = b'{"status": "0", "data": {"total": 0, "records": []}}'
    cookies = b"".join(b"Set-Cookie: name-%d=value\r\n" % number for number in range(3000))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), cookies)

    async def serve(stream: Any) -> None:
        async with stream:
            request = b""
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    request += await stream.receive()
                    if request.endswith(b"}"):
                        received.append(request)
                        request = b""
                        await stream.send(head + body)

    async with (
        listening(serve) as url,
        VoiceSession(Credentials("api-key-1", "secret-of-1"), base_url=url) as session,
    ):
        await session.page(START, END)
        await session.page(START, END, current=2)

    assert 2 == len(received)
    assert not [request for request in received if b"cookie" in request.lower()]


def test_the_jar_of_a_client_over_our_connections_stays_empty() -> None:
    """An answer that sets a cookie leaves it empty."""
    client = make_client(1)
    request = httpx.Request("GET", "https://api.itniotech.com/")
    client.cookies.extract_cookies(httpx.Response(200, headers={"Set-Cookie": "a=b"}, request=request))

    assert [] == list(client.cookies.jar)
