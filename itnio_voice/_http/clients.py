"""Requests over a caller's own client: the part of the interface of httpx and httpx2 clients that a session uses."""

import logging
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

import attrs

from .bodies import Body, receive_body
from .credentials import Signature
from .request import APIRequest, signed_headers

__all__ = ["NO_TIMEOUT", "CallersClient", "HTTPClient", "library_of", "urls_of"]

NO_TIMEOUT: Mapping[str, Any] = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"))}
"""The extensions of a request without timeouts: the calls that await it have time limits, for all steps."""
_URLS = 8
"""How many URLs are kept parsed: those of the queries, and the last ones of single records."""


class HTTPClient(Protocol):
    """The methods and properties of `httpx.AsyncClient` and `httpx2.AsyncClient` that are used."""

    def build_request(
        self, method: str, url: Any, *, content: Any = ..., params: Any = ..., headers: Any = ..., timeout: Any = ...
    ) -> Any:
        """Build a request."""

    async def send(self, request: Any, *, stream: Any = ..., auth: Any = ..., follow_redirects: Any = ...) -> Any:
        """Send a request, and return the response; with `stream`, its body is not received yet."""

    @property
    def headers(self) -> Any:
        """The headers of every request."""

    @property
    def cookies(self) -> Any:
        """The cookies that responses have set."""

    async def aclose(self) -> None:
        """Close every connection."""


def urls_of(library: ModuleType, base_url: str) -> Callable[[str], Any]:
    """Return a function that returns the URL of a path of the API; the last few are kept, as parsing takes time."""
    base = base_url.rstrip("/")

    def parsed(path: str) -> Any:
        return library.URL(base + path)

    return lru_cache(_URLS)(parsed)


def library_of(client: HTTPClient) -> ModuleType:
    """Return the module of the client's class, httpx or httpx2, which also has the errors that it raises."""
    for cls in type(client).__mro__:
        module = sys.modules[cls.__module__.partition(".")[0]]
        if getattr(module, "AsyncClient", None) is cls:
            return module
    message = f"http_client must be an httpx.AsyncClient or an httpx2.AsyncClient, not {client!r}"
    raise TypeError(message)


@attrs.frozen(eq=False, repr=False)
class CallersClient:
    """Requests to one API over a caller's client. `library` is the module of its class."""

    client: HTTPClient
    library: ModuleType
    _url: Callable[[str], Any]

    async def exchange(self, request: APIRequest, signature: Signature) -> tuple[Any, Body]:
        """Send one request and receive its answer. The frame of this method holds the signature."""
        signed = self.client.build_request(
            request.method,
            self._url(request.path),
            content=request.content,
            params=request.params,
            headers=signed_headers(signature),
            timeout=None,
        )
        _remove_cookies(signed, self.client)
        answer = await self.client.send(signed, stream=True, follow_redirects=False)
        _forget_cookies(answer, self.client)
        return answer, await receive_body(answer)

    @asynccontextmanager
    async def open(self, url: str) -> AsyncGenerator[Any]:
        """Send an unsigned GET request to any host, and yield the response before its body is received.

        The request is not built by the client, so it has neither the client's headers nor its cookies. The client's
        `auth` is not used.
        """
        library = self.library
        agent = f"python-{library.__name__}/{library.__version__}"
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": agent}
        request = library.Request("GET", url, headers=headers, extensions=NO_TIMEOUT)
        with _without_query():
            answer = await self.client.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            _forget_cookies(answer, self.client)
            yield answer
        finally:
            await answer.aclose()


def _remove_cookies(request: Any, client: HTTPClient) -> None:
    """Remove from a request the cookies of its client's jar, which may belong to another account.

    A Cookie header that is set in the client's own headers is kept.
    """
    if "Cookie" in request.headers and "Cookie" not in client.headers:
        del request.headers["Cookie"]


def _forget_cookies(response: Any, client: HTTPClient) -> None:
    """Remove from a client's jar the cookies that a response has set: httpx has no option to ignore them."""
    if "Set-Cookie" in response.headers:
        for cookie in response.cookies.jar:
            with suppress(KeyError):
                client.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)


_WITHOUT_QUERY: ContextVar[bool] = ContextVar("itnio_voice_without_query", default=False)


def _remove_query(record: logging.LogRecord) -> bool:
    if _WITHOUT_QUERY.get() and isinstance(record.args, tuple):
        args: tuple[Any, ...] = record.args
        record.args = tuple(value.copy_with(query=None) if hasattr(value, "copy_with") else value for value in args)
    return True


for _library in ("httpx", "httpx2"):
    logging.getLogger(_library).addFilter(_remove_query)


@contextmanager
def _without_query() -> Generator[None]:
    """Let the HTTP libraries log URLs without their queries, which may hold signatures of others."""
    token = _WITHOUT_QUERY.set(True)
    try:
        yield
    finally:
        _WITHOUT_QUERY.reset(token)
