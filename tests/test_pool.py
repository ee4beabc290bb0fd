"""The client that a session makes: proxies as httpx reads them, errors by httpx's names."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import certifi
import httpx
import pytest

from itnio_voice import TransportError
from itnio_voice.pool import make_client, proxy_mounts
from itnio_voice.sandbox import Sandbox

from .conftest import session_on

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
    """Each proxy by scheme, and None for the hosts that are asked directly."""
    assert expected == proxy_mounts(proxies)


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
def test_which_hosts_are_asked_directly(monkeypatch: pytest.MonkeyPatch, url: str, direct: bool) -> None:
    """`NO_PROXY` works on our client as it does on httpx's own."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "onbuka.com,.laaffic.com,10.1.2.3")
    ours, theirs = make_client(1), httpx.AsyncClient()

    for client in (ours, theirs):
        assert direct == (client._transport_for_url(httpx.URL(url)) is client._transport)


def test_a_proxy_of_an_unknown_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when the session is made."""
    monkeypatch.setenv("HTTPS_PROXY", "gopher://proxy")
    with pytest.raises(ValueError, match="gopher"):
        make_client(1)


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """Run a proxy that keeps the first line and the authorization of each request, and refuses it."""
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
async def test_requests_go_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: tuple[str, list[bytes]], itnio_sandbox: Sandbox
) -> None:
    """https is tunnelled through the environment's proxy, with its authorization; a refusal is a TransportError."""
    url, heard = proxy
    monkeypatch.setenv("HTTPS_PROXY", url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with session_on(itnio_sandbox) as session:
        await session.page(START, END)

        assert [] == heard
    async with make_client(1) as client:
        with pytest.raises(httpx.ProxyError, match="407"):
            await client.get("https://api.itniotech.com/voice")

    assert heard[0].startswith(b"CONNECT api.itniotech.com:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in heard[0]
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.delenv("NO_PROXY")
    async with session_on(itnio_sandbox) as session:
        with pytest.raises(TransportError, match="407"):
            await session.page(START, END)


def test_certificates_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients share what checks certificates, as long as the environment names the same ones."""

    def context() -> Any:
        transport: Any = make_client(1)._transport
        return transport._pool._ssl_context

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    first = context()

    assert first is context()
    assert first.check_hostname
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert first is not context()
