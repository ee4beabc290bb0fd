"""One bounded, signed and retried request. The only module that awaits the network."""

import sys
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

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
from .._model.printable import Message, get_logger
from .bodies import Body, receive_body
from .clients import HTTPClient, forget_cookies, library_of
from .credentials import Credentials, Signature, sign
from .event_loop import OneEventLoop
from .fair_slots import FairSlots
from .pace import Pace
from .redaction import redact_error, without_frames
from .request import APIRequest, build_request, check_base_url
from .retry import CALLABLE, Attempts, Retry, count, log_retries, positive
from .server_clock import ServerClock

__all__ = ["Transport"]

T = TypeVar("T")

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
"""What to do about an HTTP status, or about all that begin with a digit."""


@attrs.define(eq=False, kw_only=True, repr=False)
class Transport:
    """The way to one account's API, for any number of callers at once.

    `concurrency` limits the requests in flight, for which callers take turns, and `rate` those sent per second.
    `timeout` is the seconds that an attempt may take. A `client` that the caller brought is never closed here. `clock`
    is this machine's, in Unix seconds.
    """

    credentials: Credentials = attrs.field(validator=instance_of(Credentials))
    base_url: str = attrs.field(validator=instance_of(str))
    client: HTTPClient | None
    concurrency: int = attrs.field(validator=count)
    rate: float | None = attrs.field(validator=optional(positive))
    timeout: float = attrs.field(validator=positive)
    retry: Retry = attrs.field(validator=instance_of(Retry))
    clock: Callable[[], float] = time.time

    _http: HTTPClient = attrs.field(init=False)
    _network_errors: tuple[type[Exception], ...] = attrs.field(init=False)
    _timeouts: type[Exception] = attrs.field(init=False)
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
            self._http = _make_client(self.concurrency, self.base_url)
        else:
            self._http = self.client
        library = library_of(self._http)
        self._network_errors = (library.RequestError, library.InvalidURL, OSError)
        self._timeouts = library.TimeoutException
        self._gate = FairSlots(1)
        self._slots = FairSlots(self.concurrency)
        self._pace = Pace(self.rate, self.retry)

    def now(self) -> float:
        """Return the server's time in Unix seconds; this machine's until an answer shows that they differ."""
        return self.clock() + self._server.least

    @property
    def clock_known(self) -> bool:
        """Whether an answer has shown the server's time, no farther from this machine's than is accepted."""
        return self._server.known

    async def aclose(self) -> None:
        """End the calls under way, send no more requests, and close our own client's connections.

        Raises:
            RuntimeError: if requests were sent in another event loop, where alone their connections can be closed.
        """
        if self._closed:
            return
        if self._loop.is_known:
            self._loop.check()
        self._closed = True
        for call in self._calls:
            call.cancel()
        if self.client is None:
            # In a task of its own: the pool shields its closing from cancel scopes, but not from asyncio's cancel().
            async with anyio.create_task_group() as group:
                group.start_soon(self._http.aclose)

    async def send(self, question: APIRequest, read: Callable[[bytes], T], caller: Hashable = None) -> T:
        """Ask, and return what `read` makes of the answer, with retries.

        `read` is called inside the attempt, so that a failure that the body tells is retried like any other. Requests
        of one `caller` share its turns; without one, a request has its own.

        Raises:
            ItnioError: what `read` raised, or a `TransportError`, after the last attempt.
            RuntimeError: if the session is closed, be it meanwhile, or belongs to another event loop.
        """
        self._loop.check()
        if not self._closed:
            with anyio.CancelScope() as call:
                self._calls.add(call)
                try:
                    return await self._try(question, read, object() if caller is None else caller)
                finally:
                    self._calls.remove(call)
        message = "this VoiceSession is closed: open another one"
        raise RuntimeError(message)

    async def _try(self, question: APIRequest, read: Callable[[bytes], T], caller: Hashable) -> T:
        attempts = Attempts(self.retry, began=anyio.current_time())
        try:
            return await self._attempt(question, read, attempts, caller)
        except ItnioError as error:
            failed = [error]
        # Nearly every call has ended by now: retries cost more to set up than all else here, so only for the others.
        import stamina  # noqa: PLC0415

        wait = log_retries(attempts, str(question), self.credentials.api_key)
        retries = stamina.retry_context(on=wait, attempts=None, timeout=None)  # `wait` counts them
        async for attempt in retries.with_name(CALLABLE, (str(question),), {}):
            with attempt:
                if failed:
                    raise failed.pop()
                return await self._attempt(question, read, attempts, caller)
        raise AssertionError  # pragma: no cover -- the last attempt returns or raises

    async def _attempt(
        self, question: APIRequest, read: Callable[[bytes], T], attempts: Attempts, caller: Hashable
    ) -> T:
        attempts.begin()
        async with self._turn(caller, attempts) as turn:
            began, sent, signed_with = anyio.current_time(), self.clock(), self._server.signing
            signature = sign(self.credentials, sent + signed_with)
            answer: Any = None
            outcome = "cancelled"
            handled = sys.exception()  # the caller's: its frames are not ours to remove
            try:
                received, body = await self._exchange(question, signature, min(self.timeout, attempts.left))
                answer = received
                result = self._read_response(question, received, body, read)
                outcome = "answered"
            except ItnioError as error:
                outcome = type(error).__name__
                redact_error(error, (self.credentials.api_secret, signature.digest))
                self._record_failure(attempts, error, answer, turn)
                if answer is None:
                    pass
                elif isinstance(error, TimestampExpiredError):
                    self._correct_clock(attempts, error, answer.headers, signed_with)
                elif isinstance(error, APIError):
                    self._observe_clock(answer.headers, sent)
                elif isinstance(error, ProtocolError) and error.transient:
                    _end_connection(answer)
                # Without what it came from, and the frames that read the answer: they hold what a server may echo.
                error.__cause__ = error.__context__ = None
                raise error.with_traceback(None)  # noqa: B904 -- it is the same error
            except BaseException as error:  # noqa: BLE001 -- a cancellation too has frames of the HTTP library
                raise without_frames(error, (self.credentials.api_secret, signature.digest), handled)  # noqa: B904
            finally:
                seconds = anyio.current_time() - began
                attempts.spent += seconds
                _log_attempt(question, signature, answer, outcome, seconds)
            self._pace.answered(turn)
            self._observe_clock(received.headers, sent)
            return result

    @asynccontextmanager
    async def _turn(self, caller: Hashable, attempts: Attempts) -> AsyncGenerator[int]:
        """Take a slot when the pace allows another request, and give it back at the end.

        One caller at a time passes the gate. So a slot is idle only while no other call may be sent either.
        """
        await self._gate.acquire(caller)
        try:
            await self._slots.acquire(caller)
            try:
                turn = await self._pace.turn(attempts.began, attempts.left)
            except BaseException:
                self._slots.release()
                raise
        finally:
            self._gate.release()
        try:
            yield turn
        finally:
            self._pace.end(turn)
            self._slots.release()

    def _read_response(self, question: APIRequest, answer: Any, body: Body, read: Callable[[bytes], T]) -> T:
        """Return what `read` makes of an answer's body, if its HTTP status agrees."""
        try:
            result = read(body.decode())
        except ProtocolError:
            if answer.is_success:
                raise
        else:
            if answer.is_success:
                return result
        code: int = answer.status_code
        advice = _HTTP_ADVICE.get(code) or _HTTP_ADVICE.get(code // 100, "check base_url")
        text = f"{{request}}: HTTP {code} without an API response body, from {{base_url}} ({advice})"
        message = Message(text, request=question, base_url=self.base_url)
        raise HTTPStatusError(message, status_code=code)

    def _record_failure(self, attempts: Attempts, error: ItnioError, answer: Any, turn: int) -> None:
        """Take in how an attempt failed; `answer` is None if none came."""
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
        told = {"itnio.api_key": self.credentials.api_key, "itnio.clock_offset": offset}
        _LOGGER.info(message, offset, extra=told)

    async def _exchange(self, question: APIRequest, signature: Signature, seconds: float) -> tuple[Any, Body]:
        """Send one request and receive its answer; what the HTTP library raises becomes ours."""
        try:
            with anyio.fail_after(seconds):
                request = build_request(self._http, self.base_url, question, signature)
                answer = await self._http.send(request, stream=True, follow_redirects=False)
                forget_cookies(answer, self._http)
                return answer, await receive_body(answer)
        except TimeoutError:
            failure: TransportError = RequestTimeoutError(
                Message(f"{{request}}: no complete answer within {seconds:.3g} s", request=question)
            )
        except self._network_errors as error:
            kind = RequestTimeoutError if isinstance(error, self._timeouts) else TransportError
            failure = kind(Message("{request}: {story}", request=question, story=_describe(error)))
        # Raised out here, so that it has no context: the library's errors hold the request, and so the signature.
        raise failure


def _log_attempt(question: APIRequest, signature: Signature, answer: Any, outcome: str, seconds: float) -> None:
    """Log how an attempt ended; `answer` is None if none came."""
    told = {
        "itnio.api_key": signature.api_key,
        "itnio.request": str(question),
        "itnio.outcome": outcome,
        "itnio.http_status": None if answer is None else answer.status_code,
        "itnio.seconds": round(seconds, 6),
    }
    _LOGGER.debug("%s: %s after %.3f s", question, outcome, seconds, extra=told)


def _end_connection(answer: Any) -> None:
    """End the connection that an answer came on, if the HTTP library shows it: it may hold another answer."""
    stream = answer.extensions.get("network_stream")
    if stream is not None:
        from .pool import end_connection  # noqa: PLC0415 -- as above

        end_connection(stream)


def _make_client(connections: int, base_url: str) -> HTTPClient:
    """Return a client of our own.

    Raises:
        ValueError: if the proxies of the environment are invalid; its text holds no password of them.
    """
    from .pool import make_client  # noqa: PLC0415 -- it takes longer to import than all else of the core

    try:
        return make_client(connections, base_url)
    except OSError:
        raise  # a file of certificates
    except Exception as error:  # noqa: BLE001 -- of httpx, and of what it needs for some proxies
        kind = type(error).__name__
    message = f"a proxy of the environment cannot be used ({kind}): check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY"
    raise ValueError(message)


def _describe(error: BaseException) -> str:
    """Return an error as text, and what it came from if that says more."""
    root = error
    while deeper := root.__cause__ or root.__context__:
        root = deeper
    told = _words(error)
    return told if str(root) in told else f"{told} (from {_words(root)})"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
