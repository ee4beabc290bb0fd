"""The body of an answer: received and decompressed within limits."""

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

import anyio
import attrs

from .._model.errors import ProtocolError

__all__ = ["ENCODING", "LARGEST", "Body", "Decoder", "end_early", "receive", "receive_body"]

LARGEST = 16 * 2**20
"""The maximum size of a body in bytes, both compressed and decompressed. It bounds the memory and time for one answer.

That is 160 kB for each of the 100 records of the largest page. The vendor's records have about 1 kB.
"""
ENCODING = "gzip"
"""The only content encoding that is requested: zlib can stop within a body at the limit, at any compression ratio."""

_GZIP = zlib.MAX_WBITS + 16
_GZIP_NAMES = frozenset({ENCODING, "x-gzip"})
"""The second one is an alias: RFC 9110, 8.4.1.3."""
_MOST_READY = 2**17
"""More parts than a closed connection may still have: it has at most 64 kB in its buffer."""
_PIECE = 2**16
"""The maximum size in bytes of a piece of a decoded part."""


@attrs.frozen(eq=False, repr=False)
class Body:
    """A body as it was sent, and its content encoding. No repr shows them: a server may echo secrets in them."""

    content: bytes
    encoding: str = ""

    def decode(self) -> bytes:
        """Return the body without its content encoding.

        Raises:
            ProtocolError: if the encoding is not gzip, the data are damaged, or they decompress to more than `LARGEST`
                bytes.
        """
        encoding = self.encoding.lower()
        if encoding in {"", "identity"}:
            return self.content
        if encoding not in _GZIP_NAMES:
            message = f"the answer's Content-Encoding is {encoding[:40]!r}, but {ENCODING!r} was requested"
            raise ProtocolError(message)
        decoder = zlib.decompressobj(_GZIP)
        try:
            decoded = decoder.decompress(self.content, LARGEST + 1)
        except zlib.error as error:
            message = f"the answer is not {ENCODING} ({error})"
            raise ProtocolError(message, transient=True) from None
        if len(decoded) > LARGEST:
            raise _too_large(verb="decompresses to")
        if not decoder.eof or decoder.unused_data:
            raise _damaged(decoder)
        return decoded


def _damaged(decoder: Any) -> ProtocolError:
    """Return the error for data that do not end where the body ends."""
    message = f"the answer's {ENCODING} data " + ("have more after their end" if decoder.eof else "are cut off")
    return ProtocolError(message, transient=True)


class Decoder:
    """Removes the content encoding of a body that arrives in parts. A part is decoded in pieces of bounded size.

    Raises:
        ProtocolError: if the encoding is neither identity nor gzip.
    """

    def __init__(self, encoding: str) -> None:
        if encoding.lower() not in {"", "identity", *_GZIP_NAMES}:
            message = "the answer's Content-Encoding is neither identity, which was requested, nor gzip"
            raise ProtocolError(message)
        self._gzip = zlib.decompressobj(_GZIP) if encoding.lower() in _GZIP_NAMES else None

    def decode(self, part: bytes) -> Iterator[bytes]:
        """Yield the decoded pieces of a part.

        Raises:
            ProtocolError: if the data are damaged.
        """
        if self._gzip is None:
            yield part
            return
        piece = bytes(_PIECE)
        while part or len(piece) == _PIECE:
            try:
                piece = self._gzip.decompress(part, _PIECE)
            except zlib.error as error:
                message = f"the answer is not {ENCODING} ({error})"
                raise ProtocolError(message, transient=True) from None
            part = self._gzip.unconsumed_tail
            yield piece
            if self._gzip.unused_data:
                raise _damaged(self._gzip)

    def end(self) -> None:
        """Check that the data are complete.

        Raises:
            ProtocolError: if they are not.
        """
        if self._gzip is not None and not self._gzip.eof:
            raise _damaged(self._gzip)


async def receive_body(response: Any) -> Body:
    """Return the body of an httpx or httpx2 response that was sent with `stream=True`, and close the response.

    If the body was read before, for example by an event hook of the caller's client, it is already decompressed.

    Raises:
        ProtocolError: if it has more than `LARGEST` bytes.
    """
    try:
        if response.is_stream_consumed:
            return Body(await receive(response, response.aiter_bytes(), response.headers))
        content = await receive(response, response.aiter_raw(), response.headers)
        return Body(content, response.headers.get("content-encoding", ""))
    finally:
        await response.aclose()


async def receive(response: Any, parts: AsyncIterable[bytes], headers: Mapping[str, str]) -> bytes:
    """Join the parts of a response's body. If it is too large, the response is closed early.

    Raises:
        ProtocolError: if its Content-Length or its parts exceed `LARGEST` bytes. No more of it is received then.
    """
    length = 0
    with suppress(ValueError):
        length = int(headers.get("content-length", 0))
    if length > LARGEST:
        raise _too_large(length)
    body, size = BytesIO(), 0
    iterator = aiter(parts)
    async for part in iterator:
        size += len(part)
        if size > LARGEST:
            await end_early(iterator, response)
            raise _too_large()
        body.write(part)
    return body.getvalue()


async def end_early(iterator: AsyncIterator[bytes], response: Any) -> None:
    """Close a response, and cancel the next read, so that the HTTP library's innermost generator ends too.

    If only the outer generator is closed, httpx 0.28 leaves the inner ones to the garbage collector. The connection is
    closed first because anyio, on asyncio, does not cancel a task that always has data to read.
    """
    await response.aclose()
    with suppress(Exception), anyio.CancelScope() as scope:  # libraries raise different errors for a closed connection
        scope.cancel()
        for _ in range(_MOST_READY):  # a caller's transport may always have data, also after it was closed
            await anext(iterator)


def _too_large(length: int | None = None, verb: str = "has") -> ProtocolError:
    """Return the error for a body above the limit. It is not transient: each attempt could cost as much again."""
    size = f"more than {LARGEST:,}" if length is None else f"{length:,}"
    return ProtocolError(f"the answer {verb} {size} bytes, the limit is {LARGEST:,}: check base_url or lower page_size")
