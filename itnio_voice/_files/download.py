"""One attempt to download a file from another host: unsigned, and limited in size, time and redirects.

The host is one that the API names, so nothing of the session is sent to it: neither signature nor cookies.
"""

import os
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs

from .._http.bodies import Decoder, end_early
from .._http.clients import CallersClient
from .._http.retry import retry_after
from .._model.errors import HTTPStatusError, ProtocolError, RequestTimeoutError, TransportError
from .._model.printable import Message, server_words
from .._model.records import RecordingFile
from .address import Address
from .atomic_file import new_file, sync_folder

if TYPE_CHECKING:  # its import takes longer than that of all other modules
    from .._http.own_client import OwnClient

__all__ = ["MAX_REDIRECTS", "SLOWEST", "Downloader"]

MAX_REDIRECTS = 5
SLOWEST = 4096
"""The least average rate of a body after the first `timeout` seconds, in bytes per second: half of a telephone call's
64 kbit/s. Without it, a server could keep a download open for ever."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_TYPE = 200


@attrs.frozen(eq=False, repr=False)
class Downloader:
    """Downloads over the HTTP client of a session. `timeout` is the seconds until the headers, and for each read.

    `clock` returns this machine's time in Unix seconds.
    """

    http: "CallersClient | OwnClient"
    timeout: float
    clock: Callable[[], float]

    async def download(self, address: Address, path: Path, max_bytes: int) -> RecordingFile:
        """Download a file in one attempt.

        Raises:
            ItnioError: if it cannot be downloaded; `path` is unchanged then.
            OSError: if it cannot be written.
        """
        for _ in range(MAX_REDIRECTS + 1):
            async with AsyncExitStack() as stack:
                with self._network(address, self.timeout):
                    answer = await stack.enter_async_context(self.http.open(str(address.url)))
                if answer.status_code == HTTPStatus.OK:
                    return await self._receive(answer, address, path, max_bytes)
                if answer.status_code not in _REDIRECTS:
                    raise HTTPStatusError(
                        Message("{address}: HTTP {code}", address=address, code=answer.status_code),
                        status_code=answer.status_code,
                        retry_after=retry_after(answer.headers, self.clock()),
                    )
                address = address.redirected(answer.headers.get("location", ""), self.http.library)
        message = f"the URL of the recording redirects more than {MAX_REDIRECTS} times, at last to {{address}}"
        raise ProtocolError(Message(message, address=address))

    async def _receive(self, answer: Any, address: Address, path: Path, max_bytes: int) -> RecordingFile:
        """Write the body of an answer into a file."""
        length = _content_length(answer, address)
        # An event hook of the caller's client may have read the body, which is decoded then.
        is_read = answer.is_stream_consumed
        decoder = Decoder("" if is_read else answer.headers.get("content-encoding", ""))
        parts = aiter(answer.aiter_bytes() if is_read else answer.aiter_raw())
        began, received = anyio.current_time(), 0
        with new_file(path, sync=False) as file:
            content = _Content(file, address, max_bytes)
            content.check(length or 0)
            try:
                while (part := await self._read(parts, address, began, received)) is not None:
                    received += len(part)
                    content.check(received)
                    for piece in decoder.decode(part):
                        content.write(piece)
            except BaseException:
                await end_early(parts, answer)
                raise
            is_encoded = is_read and "content-encoding" in answer.headers
            if length is not None and received != length and not is_encoded:
                message = f"{{address}}: the body has {received:,} bytes, but its Content-Length is {length:,}"
                raise TransportError(Message(message, address=address))
            decoder.end()
            file.flush()
            # In a thread, so that the event loop does not wait for the disk.
            await anyio.to_thread.run_sync(os.fsync, file.fileno())
        with anyio.CancelScope(shield=True):  # the file is complete
            await anyio.to_thread.run_sync(sync_folder, path.parent)
        content_type = answer.headers.get("content-type", "")[:_LONGEST_TYPE]
        return RecordingFile(path, content.size, content.digest.hexdigest(), content_type or None)

    async def _read(self, parts: AsyncIterator[bytes], address: Address, began: float, received: int) -> bytes | None:
        """Return the next part of a body; None at its end."""
        now = anyio.current_time()
        left = began + self.timeout + received / SLOWEST - now
        if left <= 0:
            message = f"{{address}}: the body arrives at less than {SLOWEST:,} bytes per second"
            raise RequestTimeoutError(Message(message, address=address))
        await anyio.lowlevel.checkpoint()  # a server may always have data ready
        with self._network(address, min(self.timeout, left)):
            return await anext(parts, None)

    @contextmanager
    def _network(self, address: Address, seconds: float) -> Generator[None]:
        """Limit the time of a network operation, and translate the errors of the HTTP library."""
        library = self.http.library
        try:
            with anyio.fail_after(seconds):
                yield
                return
        except (TimeoutError, library.TimeoutException):
            message = f"{{address}}: no data within {seconds:.3g} s"
            failure: TransportError = RequestTimeoutError(Message(message, address=address))
        except (library.RequestError, library.InvalidURL, library.StreamError, OSError) as error:
            failure = TransportError(Message("{address}: {story}", address=address, story=_story(error)))
        # Raised outside the handler, so without a context: the library's errors hold the request and its URL.
        raise failure


class _Content:
    """The content of a file, while it is written. `size` is the number of bytes so far."""

    def __init__(self, file: BinaryIO, address: Address, max_bytes: int) -> None:
        self.size = 0
        self.digest = sha256()
        self._file = file
        self._address = address
        self._max_bytes = max_bytes

    def check(self, size: int) -> None:
        """Refuse a size above the limit.

        Raises:
            ProtocolError: if it is.
        """
        if size > self._max_bytes:
            message = f"{{address}}: the recording has more than {self._max_bytes:,} bytes"
            raise ProtocolError(Message(message, address=self._address))

    def write(self, piece: bytes) -> None:
        """Write a piece, if the content remains within the limit."""
        self.size += len(piece)
        self.check(self.size)
        self.digest.update(piece)
        self._file.write(piece)


def _content_length(answer: Any, address: Address) -> int | None:
    """Return the length of a body; None if its end is marked in another way.

    Raises:
        ProtocolError: if the length is invalid, or the body ends with the connection: a part cannot be recognised then.
    """
    text = answer.headers.get("content-length")
    if text is not None:
        if text.isascii() and text.isdigit() and len(text) < 20:  # noqa: PLR2004 -- the digits of 64 bits
            return int(text)
        raise ProtocolError(Message("{address}: its Content-Length is invalid", address=address))
    is_http1 = answer.extensions.get("http_version") in {b"HTTP/1.0", b"HTTP/1.1"}
    if is_http1 and "transfer-encoding" not in answer.headers:
        raise ProtocolError(Message("{address}: its answer has no length, so it may be cut off", address=address))
    return None


def _story(error: BaseException) -> str:
    """Return the kinds of an error and of its root cause, and the text of the operating system."""
    root = error
    while deeper := root.__cause__ or root.__context__:
        root = deeper
    text = f" ({server_words(root.strerror)[:200]})" if isinstance(root, OSError) and root.strerror else ""
    return type(error).__name__ + text
