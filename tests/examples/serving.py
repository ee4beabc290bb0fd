"""The example app under uvicorn, its clients, and the accounts that it reads."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import anyio
import attrs
import httpx2
import uvicorn

from itnio_voice.sandbox import Sandbox

END = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
START = END - timedelta(days=20)
RANGE = {"start": START.isoformat(), "end": END.isoformat()}
EU = "/accounts/eu/calls"
CONCURRENCY = 8
"""The app's `concurrency` for each account."""
SMALL = 16 * 1024


def account(name: str, key: str, secret: str, vendor: Sandbox) -> str:
    """Return an account's table in the file."""
    return f'[{name}]\napi_key = "{key}"\napi_secret = "{secret}"\nbase_url = "{vendor.base_url}"\n'


@attrs.define
class Server:
    """A uvicorn that runs in a thread."""

    app: Any
    _uvicorn: uvicorn.Server = attrs.field(init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _loop: asyncio.AbstractEventLoop = attrs.field(init=False)
    url: str = attrs.field(init=False)

    def __enter__(self) -> Self:
        # Small buffers: a client that does not read blocks the app soon.
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        listening.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(self.app, lifespan="on", log_config=None, timeout_graceful_shutdown=1, backlog=2048)
        self._uvicorn = uvicorn.Server(config)

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._uvicorn.serve(sockets=[listening])

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),))
        self._thread.start()
        while not self._uvicorn.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()

    def tasks(self) -> int:
        """Return the number of tasks on the server's loop."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return asyncio.run_coroutine_threadsafe(count(), self._loop).result()

    def idle(self) -> bool:
        """Return whether no request is being answered."""
        return not self._uvicorn.server_state.tasks


@asynccontextmanager
async def client_of(server: Server, connections: int = 100) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client with small buffers."""
    transport = httpx2.AsyncHTTPTransport(
        limits=httpx2.Limits(max_connections=connections),
        socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)],
    )
    async with httpx2.AsyncClient(transport=transport, base_url=server.url, timeout=None) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    while not condition():
        await anyio.sleep(0.01)


async def handle_other_requests(server: Server) -> None:
    """Make the app and the sandbox handle many other requests, so that wrong extra work would show."""
    async with client_of(server) as client:
        for _ in range(5):
            # Together: small packets wait for the client's acknowledgement, which takes 40 ms.
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(client.get, "/health")
