"""What a session reports about itself: attempts, windows and records, to observers that cannot disturb it."""

import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import attrs

from .printable import get_logger
from .windows import Window

__all__ = ["DEFAULT_OBSERVERS", "Attempt", "Observer", "Observers", "OnAttempt", "WindowReading", "attempt_report"]

_LOGGER = get_logger("itnio_voice.observers")
_PORTS = {"http": 80, "https": 443}
_STATUS = re.compile(r"-?[0-9]{1,4}")
"""The form of the vendor's statuses. Another text is not reported: a server may send any."""


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt to send a request, and how it ended. It has no secret, signature, filter, id or phone number.

    - `method` and `path`, such as `POST` and `/recordGroupQuery`. An id in the path is replaced by its name, as in
      `/recordGroup/{voice_id}`. The path is empty if a recording is downloaded.
    - `url`: `base_url` with the path, or scheme and host if a recording is downloaded; without query.
    - `server_address` and `server_port`: the host that is requested.
    - `api_key` names the account.
    - `window` and `page`: what is requested, if it is a page of records.
    - `number`: the number of the attempt among those of its call, from 1.
    - `status_code`: the HTTP status; None if no answer was received.
    - `status`: the vendor's status of a refusal, such as `-25`; None if there is none.
    - `error`: None if the attempt succeeded; else the name of the error's class, or `cancelled`.
    - `started`: when it was sent, by this machine's clock. `seconds`: its duration, without waiting for a slot.
    - `retry_in`: the seconds until the request is sent again; None if it is not.
    - `clock_offset`: how far the server's clock is ahead of this machine's, in seconds; None if it is not known.
    """

    method: str
    path: str
    url: str
    server_address: str
    server_port: int
    api_key: str
    window: Window | None
    page: int | None
    number: int
    status_code: int | None
    status: str | None
    error: str | None
    started: datetime
    seconds: float
    retry_in: float | None
    clock_offset: float | None


@attrs.frozen(eq=False, repr=False, kw_only=True)
class WindowReading:
    """The reading of a window, from its first request until it is complete, or closed to be read again.

    `records` is the number of records returned from it, `total` the server's. `pages` is the number of answers used,
    in `passes` passes. `error` is the name of the class of the error that closed it. `began` and `ended` are in seconds
    of the event loop's clock.
    """

    window: Window
    outcome: Literal["complete", "narrowed", "failed"]
    records: int
    total: int | None
    pages: int
    passes: int
    error: str | None
    began: float
    ended: float


class Observer:
    """Receives what a session reports; each method is called at once, in the task that caused the report."""

    def attempt(self, attempt: Attempt) -> None:
        """Receive an attempt that has ended."""

    def window(self, reading: WindowReading) -> None:
        """Receive a window that is complete, or is closed to be read again."""

    def records(self, number: int) -> None:
        """Receive the number of records that a stream or a follower returns next."""


class OnAttempt(Observer):
    """Calls a function with each attempt.

    Raises:
        TypeError: if it is not callable, or if it is a coroutine function, which would never be awaited.
    """

    def __init__(self, function: Callable[[Attempt], object]) -> None:
        call: Any = type(function).__call__ if callable(function) else None
        if call is None or inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
            message = f"on_attempt must be a function that is not async, called with an Attempt, not {function!r:.200}"
            raise TypeError(message)
        self._function = function

    def attempt(self, attempt: Attempt) -> None:
        """Call the function."""
        self._function(attempt)


DEFAULT_OBSERVERS: list[Observer] = []
"""The observers of every session that is created from now on."""


@attrs.define(eq=False, repr=False)
class Observers:
    """The observers of a session. An exception of an observer is logged, once for each observer, and not raised."""

    _observers: tuple[Observer, ...] = attrs.field(factory=lambda: tuple(DEFAULT_OBSERVERS))
    _failed: set[Observer] = attrs.field(factory=set[Observer], init=False)

    def __bool__(self) -> bool:
        return bool(self._observers)

    def add(self, observer: Observer, *, instead_of: type[Observer] | None = None) -> None:
        """Add an observer, in place of those of the class `instead_of`."""
        kept = [each for each in self._observers if instead_of is None or not isinstance(each, instead_of)]
        self._observers = (*kept, observer)

    def attempt(self, attempt: Attempt) -> None:
        """Report an attempt."""
        for observer in self._observers:
            self._call(observer, observer.attempt, attempt)

    def window(self, reading: WindowReading) -> None:
        """Report a window."""
        for observer in self._observers:
            self._call(observer, observer.window, reading)

    def records(self, number: int) -> None:
        """Report records, unless there are none."""
        for observer in self._observers if number else ():
            self._call(observer, observer.records, number)

    def _call(self, observer: Observer, report: Callable[[Any], object], value: object) -> None:
        try:
            report(value)
        except Exception as error:
            if observer in self._failed:
                return
            self._failed.add(observer)
            # Without its context, which may be the error of an attempt.
            error.__context__ = None
            name = "on_attempt" if isinstance(observer, OnAttempt) else type(observer).__name__
            _LOGGER.warning(
                "%s failed: %s: %s; reading continues, and its further failures are not logged",
                name,
                type(error).__name__,
                error,
                exc_info=error,
                extra={"itnio.error": type(error).__name__},
            )


def attempt_report(
    observers: Observers,
    clock_offset: Callable[[], float | None],
    *,
    address: Any,
    outcome: str,
    status: str | None,
    started: float,
    **fields: Any,
) -> Callable[[float | None], None]:
    """Return a function that reports an attempt, called with the seconds until the next one; None if none follows.

    `address` is the requested URL, as the HTTP library has parsed it, `outcome` is `answered`, or the attempt's
    `error`, and `started` is in Unix seconds. `fields` are the other fields of `Attempt`.
    """
    known = partial(
        Attempt,
        server_address=address.host,
        server_port=address.port or _PORTS[address.scheme],
        status=status if status and _STATUS.fullmatch(status) else None,
        error=None if outcome == "answered" else outcome,
        started=datetime.fromtimestamp(started, UTC),
        **fields,
    )
    return lambda retry_in: observers.attempt(known(retry_in=retry_in, clock_offset=clock_offset()))
