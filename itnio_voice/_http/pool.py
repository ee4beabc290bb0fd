"""The connections of a session: an httpx transport over the connection pool of httpcore2.

httpx 0.28 uses httpcore 1.0, whose pool loses the connections of cancelled requests (its issue 1093); the pool of
httpcore2 does not. With a custom transport, httpx ignores the proxies of the environment, so they are read here.
"""

import os
import socket
import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from functools import cache, partial
from http import HTTPStatus
from http.cookiejar import CookieJar
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies
from weakref import WeakKeyDictionary

import anyio
import httpcore2
import httpx

from .bodies import receive
from .request import is_loopback

__all__ = ["PooledTransport", "end_connection", "is_direct", "make_client", "proxy_mounts", "routed", "streamed"]

T = TypeVar("T", bound=httpx.AsyncBaseTransport)
_Make: TypeAlias = Callable[..., T]
"""Creates a transport from a context that checks certificates and, optionally, a proxy."""

_KEEPALIVE_SECONDS = 30.0
_POLL_SECONDS = 0.005
_POLLS = 2
_LONGEST_CHECK = 0.5
_TCP = socket.AF_INET, socket.SOCK_STREAM

_ERRORS: Mapping[type[Exception], type[httpx.TransportError]] = {
    httpcore2.ConnectError: httpx.ConnectError,
    httpcore2.ConnectTimeout: httpx.ConnectTimeout,
    httpcore2.LocalProtocolError: httpx.LocalProtocolError,
    httpcore2.PoolTimeout: httpx.PoolTimeout,
    httpcore2.ProxyError: httpx.ProxyError,
    httpcore2.ReadError: httpx.ReadError,
    httpcore2.ReadTimeout: httpx.ReadTimeout,
    httpcore2.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore2.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore2.WriteError: httpx.WriteError,
    httpcore2.WriteTimeout: httpx.WriteTimeout,
}


def make_client(connections: int, base_url: str | None = None) -> httpx.AsyncClient:
    """Return a client of httpx for one API, over the same connections as those of `routed`. It keeps no cookies.

    Raises:
        ValueError: if a proxy of the environment has an unknown scheme.
    """
    direct, mounts = _transports(partial(PooledTransport, connections), base_url)
    return httpx.AsyncClient(transport=direct, mounts=mounts, cookies=NoCookies())


def routed(connections: int, base_url: str) -> "tuple[PooledTransport, list[tuple[bytes, bytes]]]":
    """Return the transport to one API, and the headers that httpx would send with each request to it.

    Raises:
        ValueError: if a proxy of the environment has an unknown scheme.
    """
    return _chosen(partial(PooledTransport, connections), base_url)


def streamed(origin: str) -> tuple[httpx.AsyncHTTPTransport, list[tuple[bytes, bytes]]]:
    """Return a new transport to a host, which returns responses before their bodies, and the headers as in `routed`.

    It is for one request, so it reuses no connection.
    """

    def transport(context: ssl.SSLContext, proxy: httpx.Proxy | None = None) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=context, proxy=proxy, trust_env=False)

    return _chosen(transport, origin)


def _chosen(make: "_Make[T]", base_url: str) -> "tuple[T, list[tuple[bytes, bytes]]]":
    """Return the transport that httpx would choose for a URL, and the headers that it would send.

    How httpx matches the patterns of proxies is not public, so one of its clients is asked: its transports send
    nothing, they raise. `Accept-Encoding` is not among the headers.
    """

    def choice(transport: T) -> httpx.MockTransport:
        def choose(request: httpx.Request) -> httpx.Response:
            del request.headers["Accept-Encoding"]
            raise _Chosen(transport, request.headers.raw)

        return httpx.MockTransport(choose)

    direct, mounts = _transports(make, base_url)
    choices: dict[str, httpx.BaseTransport | None] = {
        pattern: None if transport is None else choice(transport) for pattern, transport in mounts.items()
    }
    with httpx.Client(transport=choice(direct), mounts=choices) as client:
        try:
            client.get(base_url)
        except _Chosen as chosen:
            transport, headers = chosen.args
            return transport, headers
    raise AssertionError


class _Chosen(Exception):  # noqa: N818 -- no error
    """The transport that httpx has chosen for a request, and the headers of the request."""


def _transports(make: "_Make[T]", base_url: str | None) -> "tuple[T, dict[str, T | None]]":
    """Return the transport without a proxy, and that for each httpx URL pattern, None for the one without a proxy.

    Each checks certificates. Requests use the environment's proxies, except
    requests to this machine: there a base URL may be `http://`, so a proxy would see the signature and the records.
    """
    context = _context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    proxies = getproxies()
    direct = base_url is not None and is_direct(urlsplit(base_url).hostname or "", proxies)
    mounts = {
        pattern: make(context, httpx.Proxy(proxy)) if proxy else None
        for pattern, proxy in ({} if direct else proxy_mounts(proxies)).items()
    }
    return make(context), mounts


@cache
def _context(*_: str | None) -> ssl.SSLContext:
    """Return the context that checks certificates, by environment variables; cached, as creating one takes 20 ms."""
    return httpx.create_ssl_context()


class NoCookies(CookieJar):
    """A cookie jar that stays empty, and does not parse the cookies that a server sets."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Ignore the cookies of a response."""


def is_direct(host: str, proxies: Mapping[str, str]) -> bool:
    """Return whether a host is this machine, or an address in a network that `NO_PROXY` lists.

    httpx itself does not support networks. `proxies` has the same form as for `proxy_mounts`.
    """
    if is_loopback(host):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(proxies.get("no", "")))


def _networks(hosts: str) -> Generator[IPv4Network | IPv6Network]:
    for host in hosts.split(","):
        with suppress(ValueError):
            yield ip_network(host.strip(), strict=False)


def proxy_mounts(proxies: Mapping[str, str]) -> dict[str, str | None]:
    """Return the proxy for each httpx URL pattern, None for a direct connection.

    `proxies` is the result of `urllib.request.getproxies`: a URL for each scheme, and under `no` the hosts without a
    proxy. Their names mean the same as in httpx: `example.com` is that host and its subdomains, `.example.com` only its
    subdomains, `*` every host.
    """
    direct = [host.strip() for host in proxies.get("no", "").split(",") if host.strip()]
    if "*" in direct:
        return {}
    mounts: dict[str, str | None] = {
        f"{scheme}://": url if "://" in url else f"http://{url}"
        for scheme in ("http", "https", "all")
        if (url := proxies.get(scheme))
    }
    return mounts | dict.fromkeys(map(_pattern, direct))


def _pattern(host: str) -> str:
    if "://" in host:
        return host
    if host.lower() == "localhost":
        return f"all://{host}"
    try:
        address = ip_address(host.partition("/")[0])
    except ValueError:
        return f"all://*{host}"
    return f"all://[{host}]" if address.version == 6 else f"all://{host}"  # noqa: PLR2004 -- IP's version


class PooledTransport(httpx.AsyncBaseTransport):
    """An httpx transport over httpcore2's pool of at most `connections`. It reads each answer completely.

    A connection with unread data is not reused. A server, or a proxy in front of it, may send an answer twice, and the
    copy would be read as the answer to the next request. The first answer on a connection always belongs to its
    request. A later answer is an error if unread data follow it.

    A copy may also arrive after the next request has been sent. So if an answer with status 200 has the same body as
    the previous one on the connection, it is returned only if no data follow for about the duration of one answer. This
    check ends once such an answer turned out not to be a copy. After a copy was found, no connection is reused.
    """

    def __init__(self, connections: int, context: ssl.SSLContext, proxy: httpx.Proxy | None = None) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            proxy=_proxy(proxy, context) if proxy else None,
            max_connections=connections,
            keepalive_expiry=_KEEPALIVE_SECONDS,
        )
        self._last: WeakKeyDictionary[Any, tuple[int, float]] = WeakKeyDictionary()
        self._checked = False
        self._reuses = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request over a connection of the pool, and read its answer."""
        with _as_httpx(request):
            began = anyio.current_time()
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    request.method,
                    _url(request.url),
                    headers=request.headers.raw,
                    content=request.read(),
                    extensions=request.extensions,
                )
            )
            headers = httpx.Headers(response.headers)
            try:
                body = await receive(response, response.aiter_stream(), headers)
                # Checked before the pool gets the connection back: the pool may reuse it at once.
                await self._check(response, body, anyio.current_time() - began)
            finally:
                await response.aclose()
        return httpx.Response(
            response.status,
            headers=headers,
            stream=httpx.ByteStream(body),
            extensions={"network_stream": response.extensions["network_stream"]},
        )

    async def _check(self, response: httpcore2.Response, body: bytes, seconds: float) -> None:
        """End a connection that has unread data, and refuse an answer that may belong to another request."""
        stream = response.extensions["network_stream"]
        digest = hash(body)
        last = self._last.get(stream)
        self._last[stream] = digest, seconds
        unread = _unread(response)
        repeated = last is not None and last[0] == digest and response.status == HTTPStatus.OK
        if repeated and last and not self._checked:
            end = anyio.current_time() + min(last[1] + _POLLS * _POLL_SECONDS, _LONGEST_CHECK)
            while not unread and anyio.current_time() < end:
                await anyio.sleep(_POLL_SECONDS)
                unread = _unread(response)
            self._checked = self._checked or not unread
        self._reuses = self._reuses and unread is not Unread.DATA
        if unread or not self._reuses:
            end_connection(stream)
        if last and (unread is Unread.DATA or (repeated and unread is Unread.UNKNOWN)):
            message = "the server sent more than one answer to a request"
            raise httpcore2.RemoteProtocolError(message)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


def end_connection(stream: Any) -> None:
    """End the connection of a response's `network_stream` extension, so that httpcore's pools do not reuse it.

    The socket is shut down: that makes it readable, and pools close a connection whose socket is readable. If the
    stream itself were closed, httpcore's check would fail on trio. The socket is a copy, since uvloop's own socket
    cannot be shut down.
    """
    with (
        suppress(AttributeError, OSError),
        socket.fromfd(stream.get_extra_info("socket").fileno(), *_TCP) as connection,
    ):
        connection.shutdown(socket.SHUT_RDWR)


class Unread(Enum):
    """The kind of data that a connection has received after an answer."""

    NOTHING = ""
    DATA = "data"
    END = "end"
    UNKNOWN = "data or end"

    def __bool__(self) -> bool:
        return self is not Unread.NOTHING


def _unread(response: httpcore2.Response) -> Unread:
    """Return what a connection has received after an answer: in h11's buffer, in the TLS buffer, or in the socket.

    Data that arrive later are noticed by httpcore2 when it reuses the connection.
    """
    stream = response.extensions["network_stream"]
    try:
        # httpcore2 has no public access to h11's buffer.
        trailing, _ = attrgetter("stream._stream._connection._h11_state.trailing_data")(response)
    except AttributeError:
        return Unread.UNKNOWN
    if trailing:
        return Unread.DATA
    tls: ssl.SSLObject | None = stream.get_extra_info("ssl_object")
    if tls is not None:
        try:
            return Unread.DATA if tls.read(1) else Unread.END
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            return Unread.END
    if not _is_readable(stream):
        return Unread.NOTHING
    return Unread.UNKNOWN if tls else _peek(stream)


def _is_readable(stream: Any) -> bool:
    """Return whether a socket has received something, or is closed."""
    try:
        return bool(stream.get_extra_info("is_readable"))
    except ValueError:  # on trio, if another task has closed the session meanwhile
        return True


def _peek(stream: Any) -> Unread:
    """Return what a readable socket has received."""
    try:
        with socket.fromfd(stream.get_extra_info("socket").fileno(), *_TCP) as connection:
            return Unread.DATA if connection.recv(1, socket.MSG_PEEK) else Unread.END
    except OSError:
        return Unread.END


@contextmanager
def _as_httpx(request: httpx.Request) -> Generator[None]:
    """Raise httpcore2's errors as the errors of httpx with the same names."""
    try:
        yield
    except tuple(_ERRORS) as error:
        raise _ERRORS[type(error)](str(error), request=request) from error


def _url(url: httpx.URL) -> httpcore2.URL:
    return httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _proxy(proxy: httpx.Proxy, context: ssl.SSLContext) -> httpcore2.Proxy:
    return httpcore2.Proxy(
        _url(proxy.url),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=context if proxy.url.scheme == "https" else None,
    )
