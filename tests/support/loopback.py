"""A server on loopback that speaks bytes, not HTTP: a function that is called with each connection."""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener

__all__ = ["listening"]


@asynccontextmanager
async def listening(serve: Callable[[Any], Awaitable[None]], tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """Call `serve` with the stream of each connection; yield the URL, which is `https://localhost:…` with `tls`."""
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 -- no SQL
    async with listener, anyio.create_task_group() as group:
        group.start_soon((TLSListener(listener, tls, standard_compatible=False) if tls else listener).serve, serve)
        yield f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        group.cancel_scope.cancel()
