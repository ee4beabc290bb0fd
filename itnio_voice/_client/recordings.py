"""Downloads of recordings: the URL, which is requested once more if it has expired, the retries, and the file."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

import anyio
import stamina

from .._files.address import Address
from .._files.atomic_file import check_place
from .._files.download import Downloader
from .._http.fair_slots import FairSlots
from .._http.redaction import without_frames
from .._http.request import is_loopback
from .._http.retry import CALLABLE, Attempts, log_retries
from .._http.transport import Transport, log_attempt
from .._model.errors import HTTPStatusError, ItnioError, RecordNotFoundError
from .._model.printable import Message
from .._model.records import RecordingFile, RecordingURL

__all__ = ["Recordings", "RequestURL"]

RequestURL = Callable[[], Awaitable[RecordingURL]]
"""Requests the URL of a recording."""

_MISSING: frozenset[int] = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_EXPIRED = _MISSING | {HTTPStatus.FORBIDDEN}
"""The HTTP statuses with which hosts answer a request for a URL that has expired."""


class Recordings:
    """The downloads of a session: at most `concurrency` at once, apart from the requests to the API."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._slots = FairSlots(transport.concurrency)
        self._downloader = Downloader(transport.http, transport.timeout, transport.clock)

    async def download(self, file_id: str, path: Path, max_bytes: int, request_url: RequestURL) -> RecordingFile:
        """Download a recording into a file.

        Raises:
            ItnioError: if there is no such recording, or it cannot be downloaded.
            OSError: if the file cannot be written; if its folder is missing or not writable, before any request.
        """
        check_place(path)
        handled = sys.exception()  # the caller's: its frames stay
        try:
            return await self._transport.run(partial(self._download, file_id, path, max_bytes, request_url))
        except (ItnioError, OSError) as error:
            failure = error
        except BaseException as error:  # noqa: BLE001 -- a cancellation too has frames that hold the URL
            raise without_frames(error, (), handled)  # noqa: B904
        # Without its context and the frames that hold the URL.
        failure.__cause__ = failure.__context__ = None
        try:
            raise failure.with_traceback(None)
        finally:
            del failure  # its traceback refers to this frame

    async def _download(self, file_id: str, path: Path, max_bytes: int, request_url: RequestURL) -> RecordingFile:
        async with self._slot():
            address, is_expired = await self._address(request_url)
            try:
                if not is_expired:
                    return await self._try(address, path, max_bytes)
            except HTTPStatusError as error:
                if error.status_code not in _EXPIRED:
                    raise
            address, _ = await self._address(request_url)
            try:
                return await self._try(address, path, max_bytes)
            except HTTPStatusError as error:
                if error.status_code not in _MISSING:
                    raise
                message = "there is no recording with the id {id}: {address} answers HTTP {code}"
                quotes = {"id": repr(file_id), "address": address, "code": error.status_code}
                raise RecordNotFoundError(Message(message, **quotes)) from None

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        await self._slots.acquire(object())
        try:
            yield
        finally:
            self._slots.release()

    async def _address(self, request_url: RequestURL) -> tuple[Address, bool]:
        """Return a recording's address, and whether it has expired by the server's clock."""
        found = await request_url()
        library = self._transport.http.library
        allows_http = is_loopback(library.URL(self._transport.base_url).host)
        address = Address.parse(found.url, library, allows_http=allows_http)
        return address, found.expires_at is not None and found.expires_at.timestamp() <= self._transport.now()

    async def _try(self, address: Address, path: Path, max_bytes: int) -> RecordingFile:
        """Make attempts until one succeeds or the retry policy ends. Only the waits count towards its `total`."""
        request = f"GET {address}"
        attempts = Attempts(self._transport.retry)
        wait = log_retries(attempts, request, self._transport.credentials.api_key)
        retries = stamina.retry_context(on=wait, attempts=None, timeout=None)  # `wait` counts them
        try:
            async for attempt in retries.with_name(CALLABLE, (request,), {}):
                with attempt:
                    attempts.begin()
                    return await self._attempt(address, path, max_bytes, attempts)
        finally:
            attempts.report()
        raise AssertionError  # pragma: no cover -- the last attempt returns or raises

    async def _attempt(self, address: Address, path: Path, max_bytes: int, attempts: Attempts) -> RecordingFile:
        began, sent, status, outcome = anyio.current_time(), self._transport.clock(), None, "cancelled"
        try:
            file = await self._downloader.download(address, path, max_bytes)
            status, outcome = HTTPStatus.OK.value, "answered"
        except ItnioError as error:
            status, outcome = getattr(error, "status_code", None), type(error).__name__
            attempts.transient, attempts.retry_after = error.transient, getattr(error, "retry_after", None)
            raise
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            seconds = anyio.current_time() - began
            log_attempt(f"GET {address}", self._transport.credentials.api_key, status, outcome, seconds)
            if self._transport.observers:
                # Neither path nor query: they may hold signatures of the host.
                target = {"method": "GET", "path": "", "url": str(address), "window": None, "page": None}
                fields = {"status_code": status, "status": None, "started": sent, "seconds": seconds}
                self._transport.observe(attempts, outcome, address=address.url, **target, **fields)
        return file
