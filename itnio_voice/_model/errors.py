"""Every error that the library raises, as one tree, split by who can act.

    ItnioError
    ├── APIError                    the vendor refused the request; `status`, `reason`
    │   ├── AuthenticationError     -1   wrong key or secret
    │   ├── IPRestrictedError       -2   the caller's address is not on the account's list
    │   ├── UserLockedError         -13  the account is locked
    │   ├── TimestampExpiredError   -16  the clocks differ too much
    │   ├── ServerError             -18  a fault of the vendor: try again later
    │   ├── ParameterError          -22  a bad request
    │   └── TimeRangeError          -25  too long, or too far back; `window`
    ├── ProtocolError               the answer is not as the API specifies; `excerpt`
    │   └── DecodeError             a value is invalid for its field; `voice_id`, `field`, `value`
    ├── TransportError              the network failed
    │   ├── RequestTimeoutError     no complete answer in time
    │   └── HTTPStatusError         an HTTP error without an API response body; `status_code`, `retry_after`
    ├── IncompleteWindowError       a window's records do not add up; `window`, `expected`, `received`
    └── RecordNotFoundError         there is no such record

A wrong argument is a ValueError. Wrong use of a session or a stream, such as reading a stream twice, is a RuntimeError.
No error holds a request of the HTTP library, or anything else that contains a secret or a signature.
"""

import sys
from http import HTTPStatus
from typing import Any, ClassVar

from .printable import Message, printable, server_words
from .windows import Window

__all__ = [
    "APIError",
    "AuthenticationError",
    "DecodeError",
    "HTTPStatusError",
    "IPRestrictedError",
    "IncompleteWindowError",
    "ItnioError",
    "ParameterError",
    "ProtocolError",
    "RecordNotFoundError",
    "RequestTimeoutError",
    "ServerError",
    "TimeRangeError",
    "TimestampExpiredError",
    "TransportError",
    "UserLockedError",
]


_LONGEST_TEXT = 1000
"""The maximum number of characters of a text in an error: texts come from the server, and are searched for secrets."""
_LARGEST_VALUE = 2**16
"""The maximum number of bytes of a value in an error: a record has about 6,000."""


class ItnioError(Exception):
    """The base class of all errors of the library. If `transient` is true, another attempt may succeed."""

    transient: bool = False

    def __str__(self) -> str:
        """Return the message with escapes for characters that are not printable: it may quote text from a server."""
        return printable(super().__str__())


def _carried(value: Any) -> Any:
    """Return a JSON value for an error: unchanged, unless it takes more than `_LARGEST_VALUE` bytes."""
    room, rest = _LARGEST_VALUE, [value]
    while rest:
        item = rest.pop()
        room -= sys.getsizeof(item)
        if room < 0:
            large = f"{type(value).__name__} of more than {_LARGEST_VALUE:,} bytes"
            return value[:_LONGEST_TEXT] if isinstance(value, str) else large
        if isinstance(item, dict):
            rest += [*item, *item.values()]
        elif isinstance(item, list):
            rest += item
    return value


class APIError(ItnioError):
    """The vendor refused the request. `status` is its code and `reason` its text, of at most 1,000 characters each."""

    advice: ClassVar[str] = "the vendor's list of status codes says what it means"

    def __init__(self, message: str, *, status: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.status: str = status[:_LONGEST_TEXT]
        self.reason: str = reason[:_LONGEST_TEXT]


class AuthenticationError(APIError):
    """-1: the key or the secret is wrong."""

    advice = "check the API key and secret, and that base_url is the brand's that issued them"


class IPRestrictedError(APIError):
    """-2: the caller's address is not on the account's list."""

    advice = "add this machine's public address to the account's list"


class UserLockedError(APIError):
    """-13: the account is locked."""

    advice = "ask the vendor to unlock the account"


class TimestampExpiredError(APIError):
    """-16: the request's timestamp is too far from the server's clock, also after correction by its Date header."""

    advice = "set this machine's clock"


class ServerError(APIError):
    """-18: a fault of the vendor. Raised only after all retries."""

    advice = "the fault is the vendor's: try again later"
    transient = True


class ParameterError(APIError):
    """-22: the request is invalid, according to the vendor."""

    advice = "check the filters and ids that were passed"


class TimeRangeError(APIError):
    """-25: the window is too long, or starts before the vendor's retention.

    `window` is the `Window` that was refused. `session.records()` splits a long range by itself, and with
    `expired="skip"` it skips the part that is too old.
    """

    advice = "a page covers at most 31 days of about the last two months; records() splits longer ranges"

    def __init__(self, message: str, *, status: str = "", reason: str = "", window: Window | None = None) -> None:
        super().__init__(message, status=status, reason=reason)
        self.window = window


class ProtocolError(ItnioError):
    """The answer is not as the API specifies: too large, not the vendor's JSON, or not the requested page or record.

    `excerpt` is a short excerpt of it without secrets. If the answer may have been damaged, or may belong to another
    request, the error is `transient`, and the request was retried.
    """

    def __init__(self, message: str, *, excerpt: str = "", transient: bool = False) -> None:
        super().__init__(message)
        self.excerpt = excerpt
        self.transient = transient


class DecodeError(ProtocolError):
    """A value is invalid for its field.

    `voice_id` is that of the record (None outside a record), `field` the wire name, and `value` the value. A text of
    more than 64 kB is cut; any other value of that size is replaced by the name of its type.
    """

    def __init__(self, message: str, *, voice_id: str | None = None, field: str = "", value: Any = None) -> None:
        super().__init__(message)
        self.voice_id: str | None = voice_id and voice_id[:_LONGEST_TEXT]
        self.field: str = field[:_LONGEST_TEXT]
        self.value: Any = _carried(value)


class TransportError(ItnioError):
    """The network failed, after all retries."""

    transient = True


class RequestTimeoutError(TransportError):
    """No complete answer was received in time."""


def is_transient_status(status_code: int) -> bool:
    """Return whether an HTTP status means that another attempt may succeed."""
    return status_code == HTTPStatus.TOO_MANY_REQUESTS or status_code >= HTTPStatus.INTERNAL_SERVER_ERROR


class HTTPStatusError(TransportError):
    """An HTTP error without an API response body, from the server or from a proxy or gateway in front of it.

    `retry_after` is the wait that its `Retry-After` header requires, in seconds; None without the header.
    """

    def __init__(self, message: str, *, status_code: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after
        self.transient: bool = is_transient_status(status_code)


def may_be_overload(error: Exception) -> bool:
    """Return whether an error after all retries may mean that a window has too many records for the server."""
    unavailable = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
    if isinstance(error, HTTPStatusError):
        return error.status_code in unavailable
    return isinstance(error, ServerError | RequestTimeoutError)


class IncompleteWindowError(ItnioError):
    """A window's records do not add up to the server's total, also after repeated reading.

    `window` is the smallest `Window` that was tried, `expected` the server's total (None if it sends none), and
    `received` the number of different records that were received.
    """

    def __init__(
        self, message: str, *, window: Window | None = None, expected: int | None = None, received: int = 0
    ) -> None:
        super().__init__(message)
        self.window = window
        self.expected = expected
        self.received = received


class RecordNotFoundError(ItnioError):
    """The server has no record, or no recording, with the requested id."""


REFUSALS: dict[str, type[APIError]] = {
    "-1": AuthenticationError,
    "-2": IPRestrictedError,
    "-13": UserLockedError,
    "-16": TimestampExpiredError,
    "-18": ServerError,
    "-22": ParameterError,
    "-25": TimeRangeError,
}
"""The error class of each of the vendor's status codes; for any other code it is `APIError`."""


def refusal_message(status: str, reason: str, advice: str) -> Message:
    """Return the message of an `APIError`: the start of the server's status and reason, and what to do about it."""
    return Message(f"{{status}}: {{reason}} ({advice})", status=status[:40], reason=server_words(reason[:300])[:200])
