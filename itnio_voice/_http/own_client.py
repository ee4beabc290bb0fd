"""Requests over a session's own connections: straight to an httpx transport, without a client around it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import attrs
import httpx

from .bodies import Body
from .clients import NO_TIMEOUT, urls_of
from .credentials import Signature
from .pool import PooledTransport, routed, streamed
from .request import APIRequest, signed_headers

__all__ = ["OwnClient"]


@attrs.frozen(eq=False, repr=False)
class OwnClient:
    """Requests to one API over `transport`.

    Cookies are ignored, redirects are not followed, and there are no hooks: an `httpx.AsyncClient` around the transport
    would take a sixth of the CPU time of a page. `headers` are those that httpx would send with each request.
    """

    transport: PooledTransport
    headers: list[tuple[bytes, bytes]]
    library: ModuleType
    _url: Callable[[str], Any]

    @classmethod
    def to(cls, base_url: str, connections: int) -> "OwnClient":
        """Return one for an API, with at most `connections` connections.

        Raises:
            ValueError: if a proxy of the environment has an unknown scheme.
        """
        transport, headers = routed(connections, base_url)
        return cls(transport, headers, httpx, urls_of(httpx, base_url))

    async def exchange(self, request: APIRequest, signature: Signature) -> tuple[Any, Body]:
        """Send one request and receive its answer. The frame of this method holds the signature."""
        url, content = self._url(request.path), request.content or b""
        headers = [*self.headers]
        headers += [(name.encode(), value.encode("ascii")) for name, value in signed_headers(signature).items()]
        if request.content is not None:
            headers.append((b"Content-Length", b"%d" % len(content)))
        answer = await self.transport.handle_async_request(
            httpx.Request(
                request.method,
                url.copy_merge_params(request.params) if request.params else url,
                headers=headers,
                stream=httpx.ByteStream(content),
                extensions=NO_TIMEOUT,
            )
        )
        parts: Any = answer.stream  # received already, and limited in size
        return answer, Body(b"".join(parts), answer.headers.get("content-encoding", ""))

    @asynccontextmanager
    async def open(self, url: str) -> AsyncGenerator[Any]:
        """Send an unsigned GET request to any host, and yield the response before its body is received.

        The request has a connection of its own, because its host is usually another one than that of the API.
        """
        target = httpx.URL(url)
        transport, headers = streamed(f"{target.scheme}://{target.netloc.decode('ascii')}/")
        async with transport:
            request = httpx.Request(
                "GET", target, headers=[*headers, (b"Accept-Encoding", b"identity")], extensions=NO_TIMEOUT
            )
            answer = await transport.handle_async_request(request)
            try:
                yield answer
            finally:
                await answer.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self.transport.aclose()
