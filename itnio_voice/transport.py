"""One request, bounded, signed and retried. The only module that awaits the network."""

import json
import logging
import re
import sys
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address
from types import ModuleType
from typing import Any, Protocol, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import anyio
import attrs
from attrs.validators import instance_of, optional

from .errors import (
    APIError,
    HTTPStatusError,
    ItnioError,
    ProtocolError,
    RequestTimeoutError,
    TimestampExpiredError,
    TransportError,
)
from .pace import Pace
from .retry import CALLABLE, Attempts, Retry, count, log_retries, positive
from .server_clock import ServerClock
from .signing import Credentials, Signature, sign
from .slots import Slots

__all__ = ["HTTPClient", "Question", "Transport"]

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)
_BLANK = "***"
_CONTENT_TYPE = "application/json;charset=UTF-8"
_TELLING = 6
"""So many characters of a secret in a row are a part of it that nobody may see."""


class HTTPClient(Protocol):
    """What is used of an `httpx.AsyncClient` or an `httpx2.AsyncClient`."""

    def build_request(
        self, method: str, url: Any, *, content: Any = ..., params: Any = ..., headers: Any = ..., timeout: Any = ...
    ) -> Any:
        """Build a request."""

    async def send(self, request: Any, *, follow_redirects: Any = ...) -> Any:
        """Send it, and read the answer."""

    async def aclose(self) -> None:
        """Close every connection."""


@attrs.frozen
class Question:
    """What is asked of the API, before it is signed."""

    method: str
    path: str
    content: bytes | None = None
    params: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _check_base_url(_: object, __: object, url: str) -> None:
    """Refuse a base URL that is none, or that would send the signature over an open network."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    bare = not (parts.username or parts.query or parts.fragment)
    if parts.scheme not in {"http", "https"} or not host or not bare or not _has_port(parts):
        message = f"base_url must be like https://api.itniotech.com/voice, not {parts.scheme}://{host}{parts.path}"
        raise ValueError(message)
    if parts.scheme == "http" and not _is_loopback(host):
        message = f"base_url must be https, for plain http shows the signature to others: {host} is not this machine"
        raise ValueError(message)


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port of a URL, if it has one, is a port."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _library(client: HTTPClient) -> ModuleType:
    """Return httpx or httpx2, whichever the client's class comes from: its errors are there."""
    for cls in type(client).__mro__:
        module = sys.modules[cls.__module__.partition(".")[0]]
        if getattr(module, "AsyncClient", None) is cls:
            return module
    message = f"http_client must be an httpx.AsyncClient or an httpx2.AsyncClient, not {client!r}"
    raise TypeError(message)


@attrs.define(eq=False, kw_only=True, repr=False)
class Transport:
    """The way to one account's API, for any number of callers at once.

    `concurrency` limits the requests in flight, for which callers take turns, and `rate` those sent per second.
    `timeout` is the seconds that an attempt may take. A `client` that the caller brought is never closed here. `clock`
    is this machine's, in Unix seconds.
    """

    credentials: Credentials = attrs.field(validator=instance_of(Credentials))
    base_url: str = attrs.field(validator=[instance_of(str), _check_base_url])
    client: HTTPClient | None
    concurrency: int = attrs.field(validator=count)
    rate: float | None = attrs.field(validator=optional(positive))
    timeout: float = attrs.field(validator=positive)
    retry: Retry = attrs.field(validator=instance_of(Retry))
    clock: Callable[[], float] = time.time

    _http: HTTPClient = attrs.field(init=False)
    _network_errors: tuple[type[Exception], ...] = attrs.field(init=False)
    _timeouts: type[Exception] = attrs.field(init=False)
    _gate: Slots = attrs.field(init=False)
    _slots: Slots = attrs.field(init=False)
    _pace: Pace = attrs.field(init=False)
    _server: ServerClock = attrs.field(factory=ServerClock, init=False)
    _calls: "set[anyio.CancelScope]" = attrs.field(factory=set, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        if self.client is None:
            from .pool import make_client  # noqa: PLC0415 -- it takes longer to import than all else of the core

            self._http = make_client(self.concurrency)
        else:
            self._http = self.client
        library = _library(self._http)
        self._network_errors = (library.RequestError, OSError)
        self._timeouts = library.TimeoutException
        self._gate = Slots(1)
        self._slots = Slots(self.concurrency)
        self._pace = Pace(self.rate, self.retry)

    def now(self) -> float:
        """Return the server's time in Unix seconds; this machine's until an answer shows that they differ."""
        return self.clock() + self._server.offset

    @property
    def clock_known(self) -> bool:
        """Whether an answer has shown the server's time, no farther from this machine's than is accepted."""
        return self._server.known

    async def aclose(self) -> None:
        """End the calls under way, send no more requests, and close our own client's connections."""
        self._closed = True
        for call in self._calls:
            call.cancel()
        if self.client is None:
            # In a task of its own: the pool shields its closing from cancel scopes, but not from asyncio's cancel().
            async with anyio.create_task_group() as group:
                group.start_soon(self._http.aclose)

    async def send(self, question: Question, read: Callable[[bytes], T], caller: Hashable = None) -> T:
        """Ask, and return what `read` makes of the answer, with retries.

        `read` is called inside the attempt, so that a failure that the body tells is retried like any other. Requests
        of one `caller` share its turns; without one, a request has its own.

        Raises:
            ItnioError: what `read` raised, or a `TransportError`, after the last attempt.
            RuntimeError: if the session is closed, be it meanwhile.
        """
        if not self._closed:
            with anyio.CancelScope() as call:
                self._calls.add(call)
                try:
                    return await self._try(question, read, object() if caller is None else caller)
                finally:
                    self._calls.remove(call)
        message = "this VoiceSession is closed: open another one"
        raise RuntimeError(message)

    async def _try(self, question: Question, read: Callable[[bytes], T], caller: Hashable) -> T:
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

    async def _attempt(self, question: Question, read: Callable[[bytes], T], attempts: Attempts, caller: Hashable) -> T:
        attempts.begin()
        async with self._turn(caller, attempts) as turn:
            began, sent, signed_with = time.monotonic(), self.clock(), self._server.signing
            signature = sign(self.credentials, sent + signed_with)
            answer: Any = None
            outcome = "cancelled"
            try:
                answer = received = await self._exchange(question, signature, min(self.timeout, attempts.left))
                result = _judge(received, read)
                outcome = "answered"
            except ItnioError as error:
                outcome = type(error).__name__
                _blank(error, self.credentials.api_secret, signature.digest)
                self._learn(attempts, error, answer, turn)
                if answer is None:
                    pass
                elif isinstance(error, TimestampExpiredError):
                    self._correct_clock(attempts, error, answer.headers, signed_with)
                elif isinstance(error, APIError):
                    self._observe_clock(answer.headers, sent)
                elif isinstance(error, ProtocolError) and error.transient:
                    _end_connection(answer)
                # Without what it came from, and the frames that read the answer: they hold what a server may echo.
                error.__context__ = None
                raise error.with_traceback(None)  # noqa: B904 -- it is the same error
            finally:
                seconds = time.monotonic() - began
                attempts.spent += seconds
                _tell(question, signature, answer, outcome, seconds)
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

    def _learn(self, attempts: Attempts, error: ItnioError, answer: Any, turn: int) -> None:
        """Take in how an attempt failed; `answer` is None if none came."""
        status: int = 0 if answer is None else answer.status_code
        attempts.learn(error, status, {} if answer is None else answer.headers, self.clock())
        if not attempts.transient:
            self._pace.answered(turn)
        elif status == HTTPStatus.TOO_MANY_REQUESTS:
            attempts.limited = self._pace.refused(turn, attempts.retry_after)
            attempts.limited_for = self._pace.refused_for(attempts.began)

    def _observe_clock(self, headers: Mapping[str, str], sent: float) -> None:
        if self._server.observe(headers, sent, self.clock()):
            self._tell_clock("the server's clock is %+.0f s from this machine's", self._server.offset)

    def _correct_clock(
        self, attempts: Attempts, error: TimestampExpiredError, headers: Mapping[str, str], signed_with: float
    ) -> None:
        received = self.clock()
        attempts.signed_anew = self._server.correct(headers, signed_with, received)
        if attempts.signed_anew:
            self._tell_clock("the server's clock is %+.0f s from this machine's: signing by it", self._server.signing)
        else:
            error.args = (f"{error.status}: {error.reason:.200} ({self._server.advice(headers, received)})",)

    def _tell_clock(self, message: str, offset: float) -> None:
        told = {"itnio.api_key": self.credentials.api_key, "itnio.clock_offset": offset}
        _LOGGER.info(message, offset, extra=told)

    async def _exchange(self, question: Question, signature: Signature, seconds: float) -> Any:
        """Send one request and read its answer; what the HTTP library raises becomes ours."""
        try:
            with anyio.fail_after(seconds):
                return await self._http.send(self._request(question, signature), follow_redirects=False)
        except TimeoutError:
            message = f"{question}: no whole answer within {seconds:.3g} s"
            failure: TransportError = RequestTimeoutError(message)
        except self._network_errors as error:
            kind = RequestTimeoutError if isinstance(error, self._timeouts) else TransportError
            failure = kind(f"{question}: {_story(error)}")
        # Raised out here, so that it has no context: the library's errors hold the request, and so the signature.
        raise failure

    def _request(self, question: Question, signature: Signature) -> Any:
        headers = {
            "Api-Key": signature.api_key,
            "Timestamp": signature.timestamp,
            "Sign": signature.digest,
            "Content-Type": _CONTENT_TYPE,
        }
        return self._http.build_request(
            question.method,
            self.base_url.rstrip("/") + question.path,
            content=question.content,
            params=question.params,
            headers=headers,
            timeout=None,
        )


def _tell(question: Question, signature: Signature, answer: Any, outcome: str, seconds: float) -> None:
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


def _judge(answer: Any, read: Callable[[bytes], T]) -> T:
    """Return what `read` makes of an answer's body, if its HTTP status agrees."""
    try:
        result = read(answer.content)
    except ProtocolError:
        if answer.is_success:
            raise
    else:
        if answer.is_success:
            return result
    message = f"HTTP {answer.status_code} without the vendor's words"
    raise HTTPStatusError(message, status_code=answer.status_code)


def _blank(error: ItnioError, *secrets: str) -> None:
    """Blank what a server echoed of secrets in all that an error says and carries; it stays the error that it is."""
    spelled = {spelling for secret in secrets for spelling in _spellings(secret)}
    traces = re.compile("|".join(map(_traces, sorted(spelled))), re.IGNORECASE | re.DOTALL)
    error.args = tuple(traces.sub(_BLANK, str(argument)) for argument in error.args)
    for name, value in vars(error).items():
        text = value if isinstance(value, str) else repr(value)
        if (isinstance(value, str) or name == "value") and traces.search(text):
            setattr(error, name, traces.sub(_BLANK, text))


def _spellings(secret: str) -> set[str]:
    """Return a secret as it is, and as Python, JSON and URLs write it."""
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}


def _traces(secret: str) -> str:
    """Return the pattern of what gives a secret away: so many characters of it in a row, or all of a shorter one.

    A text that is cut short may hold a part of it.
    """
    length = min(len(secret), _TELLING)
    parts = "|".join(re.escape(secret[at : at + length]) for at in range(len(secret) - length + 1))
    return f"(?:(?={parts}).)+.{{{length - 1}}}"


def _story(error: BaseException) -> str:
    """Return an error as text, and what it came from if that says more."""
    root = error
    while deeper := root.__cause__ or root.__context__:
        root = deeper
    told = _words(error)
    return told if str(root) in told else f"{told} (from {_words(root)})"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
