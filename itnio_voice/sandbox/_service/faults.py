"""Faults: which one a request meets, and how an answer is sent complete, in part, late or never."""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random
from typing import Literal

import anyio
import attrs
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..behaviour import Fault

__all__ = ["HANG_UP", "WRITE", "Canned", "Delivery", "FaultPicker", "RateLimit", "Reply", "canned"]

HANG_UP = "itnio_voice.hang_up"
"""The name, in an ASGI scope's state, of the function that closes the connection."""

WRITE = "itnio_voice.write"
"""The name, in an ASGI scope's state, of the function that writes bytes to the connection."""

Delivery = Literal["whole", "half_body", "drop", "hang", "drip", "surplus"]

_SECONDS_PER_BYTE = 0.05
_WEB_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


@attrs.frozen
class Canned:
    """An answer that does not depend on the request."""

    body: bytes
    status_code: int
    media_type: str = "text/html"


def _web_page(title: str, status_code: int) -> Canned:
    return Canned(_WEB_PAGE.format(title).encode(), status_code)


TOO_MANY = _web_page("429 Too Many Requests", 429)

_CANNED: Mapping[str, Canned] = {
    "status_500": _web_page("500 Internal Server Error", 500),
    "status_502": _web_page("502 Bad Gateway", 502),
    "status_503": _web_page("503 Service Unavailable", 503),
    "status_504": _web_page("504 Gateway Timeout", 504),
    "status_429": TOO_MANY,
    "html": _web_page("Down for maintenance", 200),
    "empty": Canned(b"", 200, "application/json"),
    "drop": Canned(b"", 200),
    "hang": Canned(b"", 200),
}

_DELIVERY: Mapping[str, Delivery] = {
    "half_body": "half_body",
    "drop": "drop",
    "hang": "hang",
    "drip": "drip",
    "surplus": "surplus",
}


def canned(fault: Fault | None) -> Canned | None:
    """Return the answer of a fault that does not depend on the request; None if the answer is the real one."""
    return _CANNED.get(fault.kind) if fault else None


def delivery(fault: Fault | None) -> Delivery:
    """Return how a fault has an answer sent."""
    return _DELIVERY.get(fault.kind, "whole") if fault else "whole"


class FaultPicker:
    """Draws the faults of requests, and counts how often each one was drawn."""

    def __init__(self, random: Random) -> None:
        self._random = random
        # By identity, because equal faults are counted separately; the fault is kept so that its id is not reused.
        self._struck: dict[int, tuple[Fault, int]] = {}

    def draw(self, faults: Iterable[Fault], path: str) -> Fault | None:
        """Return the first fault that is drawn for a request to `path`, if any."""
        return next((fault for fault in faults if self._strikes(fault, path)), None)

    def _strikes(self, fault: Fault, path: str) -> bool:
        _, times = self._struck.get(id(fault), (fault, 0))
        elsewhere = fault.path is not None and path != fault.path and not path.startswith(f"{fault.path}/")
        used_up = fault.times is not None and times >= fault.times
        if elsewhere or used_up or self._random.random() >= fault.share:
            return False
        self._struck[id(fault)] = (fault, times + 1)
        return True


class RateLimit:
    """A bucket that holds the requests of a window, at least one, and fills at the limit's pace."""

    def __init__(self) -> None:
        self._left = math.inf
        self._at = -math.inf

    def seconds_to_wait(self, limit: float | None, window: float, now: float) -> int:
        """Take a token from the bucket; return 0 if there was one, else the seconds until the next, rounded up."""
        if limit is None:
            self._left = math.inf
            return 0
        self._left = min(self._left + (now - self._at) * limit, max(limit * window, 1.0))
        self._at = now
        if self._left < 1:
            return math.ceil((1 - self._left) / limit)
        self._left -= 1
        return 0


async def _left(receive: Receive, within: float = math.inf) -> bool:
    """Wait until the client leaves, `within` seconds at most; return whether it did."""
    with anyio.move_on_after(within):
        # The body has been read, so the only message left is that the client has disconnected.
        await receive()
        return True
    return False


async def _end_connection(scope: Scope, receive: Receive) -> None:
    hang_up: Callable[[], None] | None = scope.get("state", {}).get(HANG_UP)
    if hang_up is None:
        # In-process there is no connection to end: the caller sees what its socket would have reported.
        message = "the sandbox dropped the connection"
        raise ConnectionResetError(message)
    hang_up()
    # Only once the server has noticed may the application return without an answer.
    await _left(receive)


class Reply(Response):
    """An answer, its delay in seconds, and how it is sent."""

    def __init__(
        self,
        body: bytes,
        *,
        status_code: int = 200,
        media_type: str = "application/json",
        headers: Mapping[str, str],
        delivery: Delivery = "whole",
        delay: float = 0.0,
    ) -> None:
        super().__init__(body, status_code, headers, media_type)
        self._delivery: Delivery = delivery
        self._delay = delay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then send; nothing is sent to a client that left."""
        if not (self._delay and await _left(receive, self._delay)):
            await _SENDERS[self._delivery](self, scope, receive, send)

    async def whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the complete answer."""
        await super().__call__(scope, receive, send)

    async def half(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the headers and half of the body, then end the connection."""
        await self._send_start(send)
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _end_connection(scope, receive)

    async def drop(self, scope: Scope, receive: Receive, send: Send) -> None:
        """End the connection without a byte."""
        del send
        await _end_connection(scope, receive)

    async def hang(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait until the client leaves."""
        del scope, send
        await _left(receive)

    async def drip(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body one byte at a time."""
        del scope
        await self._send_start(send)
        for byte in bytes(self.body):
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            # Python 3.11 does not trace on above a wait that was cancelled: the coverage ends here, not the function.
            if await _left(receive, _SECONDS_PER_BYTE):  # pragma: no branch
                return
        await send({"type": "http.response.body", "body": b""})  # pragma: no cover

    async def surplus(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer twice; in-process, where there is no connection, once."""
        await self.whole(scope, receive, send)
        write: Callable[[bytes], None] | None = scope.get("state", {}).get(WRITE)
        if write is not None:
            head = b"".join(b"%s: %s\r\n" % header for header in self.raw_headers)
            write(b"HTTP/1.1 %d \r\n%s\r\n%s" % (self.status_code, head, bytes(self.body)))

    async def _send_start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


_SENDERS: Mapping[Delivery, Callable[[Reply, Scope, Receive, Send], Awaitable[None]]] = {
    "whole": Reply.whole,
    "half_body": Reply.half,
    "drop": Reply.drop,
    "hang": Reply.hang,
    "drip": Reply.drip,
    "surplus": Reply.surplus,
}
