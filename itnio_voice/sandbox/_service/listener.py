"""An ASGI application on a loopback port: uvicorn's HTTP protocol in a thread with its own event loop.

`uvicorn.Server` is not used: it takes tenths of seconds to start and stop, logs, and waits for requests that hang.
"""

import asyncio
import logging
import os
import socket
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from .faults import HANG_UP, WRITE

__all__ = ["HOST", "Listener"]

HOST = "127.0.0.1"

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 60
_FAREWELL_SECONDS = 1.0
_FAREWELL_TURNS = 20
_LOGGER = logging.getLogger("itnio_voice.sandbox")


class _Protocol(H11Protocol):
    """A connection that the application can end or write to, and that keeps out of uvicorn's logs."""

    def __init__(self, config: Config, server_state: ServerState) -> None:
        super().__init__(config, server_state, app_state={})
        # Errors of the application itself are logged, under the sandbox's name.
        self.logger = _LOGGER
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {HANG_UP: transport.close, WRITE: transport.write}


class Listener:
    """A server that accepts connections from its creation until `close()`.

    Raises:
        OSError: if the port is in use.
    """

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._config = Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        self._config.load()
        self._state = ServerState()
        self._socket = _listening(port)
        self.port: int = self._socket.getsockname()[1]
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = Thread(target=self._run, name=f"itnio-sandbox-{self.port}", daemon=True)
        self._thread.start()
        try:
            self._loop, self._stop = self._started.result()
        except BaseException:
            self._socket.close()
            raise

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._state.connections)

    def close(self) -> None:
        """End all connections and stop, also while requests are being answered."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._started.done():  # pragma: no cover - only a defect of our own gets here
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        server = await loop.create_server(
            lambda: _Protocol(self._config, self._state), sock=self._socket, backlog=_BACKLOG
        )
        self._started.set_result((loop, stop))
        await stop.wait()
        # First stop accepting. asyncio makes no connection for a closed server and leaves the accepted socket open, so
        # the server is closed when all accepted connections are known. On Windows there are no readers to remove, and
        # no such delay.
        with suppress(NotImplementedError):
            loop.remove_reader(self._socket)
        # A connection that was accepted is known only some turns of the loop later, and so is the end of one.
        for _ in range(_FAREWELL_TURNS):
            for connection in list(self._state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
        server.close()
        # Every wait of the application ends when its client leaves, and all of them just have.
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_FAREWELL_SECONDS)
        await server.wait_closed()


def _listening(port: int) -> socket.socket:
    # Not socket.create_server(): asyncio sends small packets at once only where the socket says that its protocol is
    # TCP. Without that, each answer waits 40 ms for the client's acknowledgement of its headers.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # pragma: no branch
            # On Windows the option would let other processes use the port.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
