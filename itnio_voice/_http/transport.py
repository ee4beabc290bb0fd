"""One bounded, signed and retried request to the API."""

import logging
import sys
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import attrs
from attrs.validators import instance_of, optional

from .._model.errors import (
    APIError,
    HTTPStatusError,
    ItnioError,
    ProtocolError,
    RequestTimeoutError,
    TimestampExpiredError,
    TransportError,
    refusal_message,
)
from .._model.observing import Observers, attempt_report
from .._model.printable import Message, get_logger
from .bodies import Body
from .clients import CallersClient, HTTPClient, library_of, urls_of
from .credentials import Credentials, Signature, sign
from .event_loop import OneEventLoop
from .fair_slots import FairSlots
from .pace import Pace
from .redaction import redact_error, without_frames
from .request import APIRequest, check_base_url
from .retry import CALLABLE, Attempts, Retry, count, log_retries, positive
from .server_clock import ServerClock

if TYPE_CHECKING:
    from .own_client import OwnClient

__all__ = ["Transport", "log_attempt"]

T = TypeVar("T")
Redact = Callable[[ItnioError], None]
Read = Callable[[bytes, Redact], T]

_LOGGER = get_logger("itnio_voice.requests")
_HTTP_ADVICE: Mapping[int, str] = {
    3: "redirects are not followed: check base_url",
    401: "check base_url, and what is between this machine and the API",
    403: "check base_url, and what is between this machine and the API",
    404: "check base_url",
    405: "check base_url",
    407: "check the user name and password of the proxy",
    429: "lower rate or concurrency",
    5: "try again later",
}
"""Advice for an HTTP status, or for all statuses that begin with a digit."""


@attrs.define(eq=False, kw_only=True, repr=False)
class Transport:
    """Requests to one account's API, from any number of callers at once.

    `concurrency` limits the requests in flight, granted round-robin between callers. `rate` limits the requests sent
    per second. `timeout` is the seconds that an attempt may take. The caller's own `client` is never closed here.
    `clock` returns this machine's time in Unix seconds. `observers` receive a report of each attempt.
    """

    credentials: Credentials = attrs.field(validator=instance_of(Credentials))
    base_url: str = attrs.field(validator=instance_of(str))
    client: HTTPClient | None
    concurrency: int = attrs.field(validator=count)
    rate: float | None = attrs.field(validator=optional(positive))
    timeout: float = attrs.field(validator=positive)
    retry: Retry = attrs.field(validator=instance_of(Retry))
    clock: Callable[[], float] = time.time
    observers: Observers = attrs.field(factory=Observers)

    _http: "CallersClient | OwnClient" = attrs.field(init=False)
    _address: Any = attrs.field(init=False)
    _network_errors: tuple[type[Exception], ...] = attrs.field(init=False)
    _timeouts: tuple[type[Exception], ...] = attrs.field(init=False)
    _gate: FairSlots = attrs.field(init=False)
    _slots: FairSlots = attrs.field(init=False)
    _pace: Pace = attrs.field(init=False)
    _server: ServerClock = attrs.field(factory=ServerClock, init=False)
    _loop: OneEventLoop = attrs.field(factory=partial(OneEventLoop, "VoiceSession"), init=False)
    _calls: "set[anyio.CancelScope]" = attrs.field(factory=set, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        check_base_url(self.base_url, library=None if self.client is None else library_of(self.client))
        if self.client is None:
            self._http = _own_client(self.base_url, self.concurrency)
        else:
            library = library_of(self.client)
            self._http = CallersClient(self.client, library, urls_of(library, self.base_url))
        library = self._http.library
        self._address = library.URL(self.base_url)
        self._network_errors = (library.RequestError, library.InvalidURL, OSError)
        self._timeouts = (library.TimeoutException, TimeoutError)
        self._gate = FairSlots(1)
        self._slots = FairSlots(self.concurrency)
        self._pace = Pace(self.rate, self.retry)

    def now(self) -> float:
        """Return the server's time in Unix seconds: this machine's time until an answer shows that they differ."""
        return self.clock() + self._server.least

    @property
    def clock_known(self) -> bool:
        """Whether an answer had a usable `Date`: one within two days of this machine's time."""
        return self._server.known

    async def aclose(self) -> None:
        """End the calls under way, send no more requests, and close our own client's connections.

        Raises:
            RuntimeError: if requests were sent in another event loop: only that one can close their connections.
        """
        if self._closed:
            return
        if self._loop.is_known:
            self._loop.check()
        self._closed = True
        for call in self._calls:
            call.cancel()
        if not isinstance(self._http, CallersClient):
            # In a separate task: the pool shields its closing from cancel scopes, but not from asyncio's cancel().
            async with anyio.create_task_group() as group:
                group.start_soon(self._http.aclose)

    async def send(self, request: APIRequest, read: Read[T], caller: Hashable = None) -> T:
        """Send a request with retries, and return the result of `read` for the answer's body.

        `read` is called within the attempt, so an error that it raises is retried like any other. Its second argument
        removes secrets from an error; it is for errors that are raised later. The requests of one `caller` share its
        turns; a request without a caller has turns of its own.

        Raises:
            ItnioError: from `read`, or a `TransportError`, after the last attempt.
            RuntimeError: if the session is closed, before or during the call, or belongs to another event loop.
        """
        return await self.run(partial(self._try, request, read, object() if caller is None else caller))

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a call, which ends when the session is closed.

        Raises:
            RuntimeError: if the session is closed, before or during the call, or belongs to another event loop.
        """
        self._loop.check()
        if not self._closed:
            with anyio.CancelScope() as scope:
                self._calls.add(scope)
                try:
                    return await call()
                finally:
                    self._calls.remove(scope)
        message = "this VoiceSession is closed: open another one"
        raise RuntimeError(message)

    @property
    def http(self) -> "CallersClient | OwnClient":
        """The HTTP client that sends the requests."""
        return self._http

    async def _try(self, request: APIRequest, read: Read[T], caller: Hashable) -> T:
        """Make attempts until one succeeds or the retry policy ends.

        The first attempt is made without stamina, because setting stamina up costs more than all other code of a
        request, and few requests need it. If the first attempt fails, its error is raised in stamina's first attempt.
        """
        attempts = Attempts(self.retry, began=anyio.current_time())
        try:
            return await self._attempt(request, read, attempts, caller)
        except ItnioError as error:
            first_error = error
        except BaseException:
            attempts.report()
            raise
        import stamina  # noqa: PLC0415 -- see above

        wait = log_retries(attempts, str(request), self.credentials.api_key)
        retries = stamina.retry_context(on=wait, attempts=None, timeout=None)  # `wait` counts them
        try:
            async for attempt in retries.with_name(CALLABLE, (str(request),), {}):
                with attempt:
                    if attempt.num == 1:
                        raise first_error
                    return await self._attempt(request, read, attempts, caller)
        finally:
            del first_error  # its traceback refers to this frame
            attempts.report()  # if no retry was considered
        raise AssertionError  # pragma: no cover -- the last attempt returns or raises

    async def _attempt(self, request: APIRequest, read: Read[T], attempts: Attempts, caller: Hashable) -> T:
        attempts.begin()
        turn = await self._take_turn(caller, attempts)
        try:
            return await self._send_once(request, read, attempts, turn)
        finally:
            self._pace.end(turn)
            self._slots.release()

    async def _take_turn(self, caller: Hashable, attempts: Attempts) -> int:
        """Take a slot when the pace allows another request, and return the number of the turn.

        One caller at a time passes the gate. So a slot is idle only while no request may be sent at all.
        """
        await self._gate.acquire(caller)
        try:
            await self._slots.acquire(caller)
            try:
                return await self._pace.turn(attempts.began, attempts.left)
            except BaseException:
                self._slots.release()
                raise
        finally:
            self._gate.release()

    async def _send_once(self, request: APIRequest, read: Read[T], attempts: Attempts, turn: int) -> T:
        began, sent, signed_with = anyio.current_time(), self.clock(), self._server.signing
        signature = sign(self.credentials, sent + signed_with)
        answer: Any = None
        outcome, refusal = "cancelled", None

        def redact(error: ItnioError) -> None:
            redact_error(error, (self.credentials.api_secret, signature.digest))

        handled = sys.exception()  # the caller's: its frames stay
        try:
            received, body = await self._exchange(request, signature, min(self.timeout, attempts.left))
            answer = received
            result = self._read_response(request, received, body, read, redact)
            outcome = "answered"
        except ItnioError as error:
            redact(error)
            outcome, refusal = type(error).__name__, getattr(error, "status", None)
            self._record_failure(attempts, error, answer, turn)
            if answer is None:
                pass
            elif isinstance(error, TimestampExpiredError):
                self._correct_clock(attempts, error, answer.headers, signed_with)
            elif isinstance(error, APIError):
                self._observe_clock(answer.headers, sent)
            elif isinstance(error, ProtocolError) and error.transient:
                _end_connection(answer)
            # Without its cause and the frames that read the answer: they hold text that a server may echo.
            error.__cause__ = error.__context__ = None
            raise error.with_traceback(None)  # noqa: B904 -- it is the same error
        except BaseException as error:  # noqa: BLE001 -- a cancellation too has frames of the HTTP library
            outcome = type(error).__name__ if isinstance(error, Exception) else outcome
            raise without_frames(error, (self.credentials.api_secret, signature.digest), handled)  # noqa: B904
        finally:
            seconds = anyio.current_time() - began
            attempts.spent += seconds
            status = None if answer is None else answer.status_code
            log_attempt(request, self.credentials.api_key, status, outcome, seconds)
            if self.observers:
                fields = {"status_code": status, "status": refusal, "started": sent, "seconds": seconds}
                self.observe(attempts, outcome, address=self._address, **request.reported(self.base_url), **fields)
        self._pace.answered(turn)
        self._observe_clock(received.headers, sent)
        attempts.report()
        return result

    def observe(self, attempts: Attempts, outcome: str, **fields: Any) -> None:
        """Let an attempt that has ended be reported when it is known whether another one follows.

        `fields` are those of `attempt_report`, as far as the transport does not know them.
        """
        fields |= {"api_key": self.credentials.api_key, "number": attempts.number, "outcome": outcome}
        attempts.ended = attempt_report(self.observers, lambda: self._server.reported, **fields)

    def _read_response(self, request: APIRequest, answer: Any, body: Body, read: Read[T], redact: Redact) -> T:
        """Return the result of `read` for an answer's body if its HTTP status is a success; else raise the error."""
        try:
            result = read(body.decode(), redact)
        except ProtocolError:
            if answer.is_success:
                raise
        else:
            if answer.is_success:
                return result
        code: int = answer.status_code
        advice = _HTTP_ADVICE.get(code) or _HTTP_ADVICE.get(code // 100, "check base_url")
        text = f"{{request}}: HTTP {code} without an API response body, from {{base_url}} ({advice})"
        message = Message(text, request=request, base_url=self.base_url)
        raise HTTPStatusError(message, status_code=code)

    def _record_failure(self, attempts: Attempts, error: ItnioError, answer: Any, turn: int) -> None:
        """Record how an attempt failed; `answer` is None if none was received."""
        status: int = 0 if answer is None else answer.status_code
        attempts.record_failure(error, status, {} if answer is None else answer.headers, self.clock())
        if not attempts.transient:
            self._pace.answered(turn)
        elif status == HTTPStatus.TOO_MANY_REQUESTS:
            attempts.limited = self._pace.refused(turn, attempts.retry_after)
            attempts.limited_for = self._pace.refused_for(attempts.began)

    def _observe_clock(self, headers: Mapping[str, str], sent: float) -> None:
        if self._server.observe(headers, sent, self.clock()):
            self._log_clock("the server's clock is %+.0f s from this machine's", self._server.offset)

    def _correct_clock(
        self, attempts: Attempts, error: TimestampExpiredError, headers: Mapping[str, str], signed_with: float
    ) -> None:
        received = self.clock()
        attempts.signed_anew = self._server.correct(headers, signed_with, received)
        if attempts.signed_anew:
            self._log_clock("the server's clock is %+.0f s from this machine's: signing by it", self._server.signing)
        else:
            error.args = (str(refusal_message(error.status, error.reason, self._server.advice(headers, received))),)

    def _log_clock(self, message: str, offset: float) -> None:
        extra = {"itnio.api_key": self.credentials.api_key, "itnio.clock_offset": offset}
        _LOGGER.info(message, offset, extra=extra)

    async def _exchange(self, request: APIRequest, signature: Signature, seconds: float) -> tuple[Any, Body]:
        """Send one request and receive its answer in time; translate the errors of the HTTP library."""
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + seconds):
                return await self._http.exchange(request, signature)
            # Only the deadline cancels this scope, so the time is up.
            failure: TransportError = RequestTimeoutError(
                Message(f"{{request}}: no complete answer within {seconds:.3g} s", request=request)
            )
        except self._network_errors as error:
            kind = RequestTimeoutError if isinstance(error, self._timeouts) else TransportError
            failure = kind(Message("{request}: {story}", request=request, story=_describe(error)))
        # Raised outside the handler, so without a context: the library's errors hold the request and its signature.
        raise failure


def log_attempt(request: object, api_key: str, status: int | None, outcome: str, seconds: float) -> None:
    """Log how an attempt ended; `status` is None if no answer was received."""
    if not _LOGGER.isEnabledFor(logging.DEBUG):
        return
    extra = {
        "itnio.api_key": api_key,
        "itnio.request": str(request),
        "itnio.outcome": outcome,
        "itnio.http_status": status,
        "itnio.seconds": round(seconds, 6),
    }
    _LOGGER.debug("%s: %s after %.3f s", request, outcome, seconds, extra=extra)


def _end_connection(answer: Any) -> None:
    """Close the connection of an answer, if the HTTP library shows it: another answer may follow on it."""
    stream = answer.extensions.get("network_stream")
    if stream is not None:
        from .pool import end_connection  # noqa: PLC0415 -- as above

        end_connection(stream)


def _own_client(base_url: str, connections: int) -> "OwnClient":
    """Return a client of our own.

    Raises:
        ValueError: if the proxies of the environment are invalid; its text holds no password of them.
    """
    from .own_client import OwnClient  # noqa: PLC0415 -- its import takes longer than that of all other modules

    try:
        return OwnClient.to(base_url, connections)
    except OSError:
        raise  # a file of certificates
    except Exception as error:  # noqa: BLE001 -- of httpx, and of what it needs for some proxies
        kind = type(error).__name__
    message = f"a proxy of the environment cannot be used ({kind}): check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY"
    raise ValueError(message)


def _describe(error: BaseException) -> str:
    """Return an error as text, with its root cause if that adds to it."""
    root = error
    while deeper := root.__cause__ or root.__context__:
        root = deeper
    text = _words(error)
    return text if str(root) in text else f"{text} (from {_words(root)})"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
