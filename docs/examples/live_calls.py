"""Server-sent events of an account's new records: one follower for any number of clients. `web_app.py` uses it.

    live = LiveCalls(group, session.follow)     # group: a task group that is open while the app runs
    return EventResponse(live)                  # in an endpoint

The events:

    call       a record, as JSON
    failed     the vendor's API has failed: {"error": name}. Following continues, and no record is skipped
    dropped    the last event of a stream that the app ends: {"reason": text}

A slow client delays no other. Its events wait in a buffer, and a client whose buffer is full is dropped. All clients
share the memory of an event.
"""

import json
import logging
import os
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

import anyio
from anyio.abc import TaskGroup
from starlette.responses import StreamingResponse
from starlette.types import Send

from itnio_voice import ItnioError, RecordFollower, VoiceRecord
from itnio_voice.outputs.text import json_lines

LOGGER = logging.getLogger("web_app")

LARGEST_BUFFER = 4 * 2**20
"""The bytes that may wait for a client; more only if they are of one batch."""
KEEP_ALIVE = 15.0
"""The seconds without an event after which a comment is sent, so that proxies do not close the connection."""
GRACE = 10.0
"""The seconds that a dropped client has to read the rest before its connection is closed."""


def poll_seconds() -> float:
    """Return WEB_APP_POLL_SECONDS; a ValueError ends the app when it starts."""
    text = os.environ.get("WEB_APP_POLL_SECONDS", "30")
    if re.fullmatch(r"\d{1,5}(\.\d+)?", text, re.ASCII) and float(text) > 0:
        return float(text)
    message = f"WEB_APP_POLL_SECONDS must be a positive number of seconds such as 30, not {text!r}"
    raise ValueError(message)


def event(name: str, data: bytes) -> bytes:
    """Return an event. The data is JSON, so it has no line break."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


class Client:
    """The events that wait for one client."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self._waiting = deque[bytes]()
        self._size = 0
        self._is_ended = False
        self._changed = anyio.Event()

    def put(self, events: bytes) -> None:
        """Add events, or drop the client if they do not fit."""
        if self._waiting and self._size + len(events) > LARGEST_BUFFER:
            self.drop(f"the client reads too slowly: more than {LARGEST_BUFFER} bytes wait for it")
        if not self._is_ended:
            self._add(events)

    def drop(self, reason: str) -> None:
        """End the stream after the events that wait, and close the connection if the client does not read them."""
        if self._is_ended:
            return
        LOGGER.warning("a client of live calls is dropped: %s", reason)
        self._add(event("dropped", json.dumps({"reason": reason}).encode()))
        self._is_ended = True
        self.scope.deadline = anyio.current_time() + GRACE

    async def events(self) -> AsyncGenerator[bytes]:
        """Yield the events as they arrive, and comments between them."""
        yield b": connected\n\n"
        while self._waiting or not self._is_ended:
            if self._waiting:
                events = self._waiting.popleft()
                self._size -= len(events)
                yield events
                continue
            self._changed = anyio.Event()
            with anyio.move_on_after(KEEP_ALIVE):
                await self._changed.wait()
            if not self._waiting:
                yield b": keep-alive\n\n"

    def _add(self, events: bytes) -> None:
        self._waiting.append(events)
        self._size += len(events)
        self._changed.set()


class LiveCalls:
    """The new records of an account. A follower runs in the task group while there are clients."""

    def __init__(self, group: TaskGroup, follow: Callable[[], RecordFollower[VoiceRecord]]) -> None:
        self._group = group
        self._follow = follow
        self._clients = set[Client]()
        self._scope = anyio.CancelScope()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Add a client for the time of the context. The first one starts a follower, and the last one stops it."""
        if not self._clients:
            # A new set: a follower that is being stopped sends nothing to the clients of the next one.
            self._clients, self._scope = set[Client](), anyio.CancelScope()
            self._group.start_soon(self._run, self._clients, self._scope)
        clients, scope, client = self._clients, self._scope, Client()
        clients.add(client)
        try:
            yield client
        finally:
            clients.discard(client)
            if not clients:
                scope.cancel()

    async def _run(self, clients: set[Client], scope: anyio.CancelScope) -> None:
        """Send the records of a follower to clients."""
        with scope:
            try:
                await self._send_records(clients)
            except Exception as error:  # the app goes on without it, and the next client starts another follower
                LOGGER.exception("following an account has failed")
                for client in clients:
                    client.drop(f"following has failed: {type(error).__name__}")
                clients.clear()

    async def _send_records(self, clients: set[Client]) -> None:
        batches = self._follow().batches()
        while True:
            try:
                batch = await anext(batches)
                events = b"".join(event("call", line) for line in json_lines(batch.records).splitlines())
            except ItnioError as error:  # the follower tries again later, and continues where it was
                LOGGER.warning("live calls: %s: %s", type(error).__name__, error)
                events = event("failed", json.dumps({"error": type(error).__name__}).encode())
            for client in clients:
                client.put(events)


class EventResponse(StreamingResponse):
    """The response for a client of live calls."""

    def __init__(self, live: LiveCalls) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would collect events in a buffer
        super().__init__((), media_type="text/event-stream", headers=headers)
        self._live = live

    async def stream_response(self, send: Send) -> None:
        """Send events until the client disconnects or is dropped."""
        with self._live.client() as client, client.scope:
            self.body_iterator = client.events()
            await super().stream_response(send)
