"""Requests over a caller's own client: the part of the interface of httpx and httpx2 clients that a session uses."""

import sys
from contextlib import suppress
from types import ModuleType
from typing import Any, Protocol

import attrs

from .bodies import Body, receive_body
from .credentials import Signature
from .request import APIRequest, signed_headers

__all__ = ["CallersClient", "HTTPClient", "library_of"]


class HTTPClient(Protocol):
    """The methods and properties of `httpx.AsyncClient` and `httpx2.AsyncClient` that are used."""

    def build_request(
        self, method: str, url: Any, *, content: Any = ..., params: Any = ..., headers: Any = ..., timeout: Any = ...
    ) -> Any:
        """Build a request."""

    async def send(self, request: Any, *, stream: Any = ..., follow_redirects: Any = ...) -> Any:
        """Send a request, and return the response; with `stream`, its body is not received yet."""

    @property
    def headers(self) -> Any:
        """The headers of every request."""

    @property
    def cookies(self) -> Any:
        """The cookies that responses have set."""

    async def aclose(self) -> None:
        """Close every connection."""


def library_of(client: HTTPClient) -> ModuleType:
    """Return the module of the client's class, httpx or httpx2, which also has the errors that it raises."""
    for cls in type(client).__mro__:
        module = sys.modules[cls.__module__.partition(".")[0]]
        if getattr(module, "AsyncClient", None) is cls:
            return module
    message = f"http_client must be an httpx.AsyncClient or an httpx2.AsyncClient, not {client!r}"
    raise TypeError(message)


@attrs.frozen(eq=False)
class CallersClient:
    """Requests to one API over a caller's client. `library` is the module of its class."""

    client: HTTPClient
    library: ModuleType
    base_url: str

    async def exchange(self, request: APIRequest, signature: Signature) -> tuple[Any, Body]:
        """Send one request and receive its answer. The frame of this method holds the signature."""
        signed = self.client.build_request(
            request.method,
            self.base_url.rstrip("/") + request.path,
            content=request.content,
            params=request.params,
            headers=signed_headers(signature),
            timeout=None,
        )
        _remove_cookies(signed, self.client)
        answer = await self.client.send(signed, stream=True, follow_redirects=False)
        _forget_cookies(answer, self.client)
        return answer, await receive_body(answer)


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
