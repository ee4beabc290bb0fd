"""Retries: how often and how long a call is tried, and how long it waits between attempts."""

import logging
import random
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from functools import lru_cache

import attrs

from .._model.errors import APIError, HTTPStatusError, ItnioError, is_transient_status
from .._model.printable import get_logger

__all__ = ["Attempts", "Retry", "count", "http_date", "log_retries", "positive", "retry_after"]

_LOGGER = get_logger("itnio_voice.requests")
CALLABLE = "itnio_voice.VoiceSession"
"""The name under which stamina's hooks see the retries."""

_DELAY = re.compile(r"[0-9]+(\.[0-9]+)?")


def count(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    """Refuse what is not a number of things from 1."""
    if type(value) is not int or value < 1:
        message = f"{attribute.name} must be a whole number from 1, not {value!r}"
        raise ValueError(message)


def positive(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    """Refuse what is not a number above 0."""
    if type(value) not in {int, float} or not value > 0:
        message = f"{attribute.name} must be a number above 0, not {value!r}"
        raise ValueError(message)


def _non_negative(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if type(value) not in {int, float} or not value >= 0:
        message = f"{attribute.name} must be a number of seconds from 0, not {value!r}"
        raise ValueError(message)


@attrs.frozen(kw_only=True)
class Retry:
    """How often and how long a call is tried.

    `attempts` counts every request sent, one that is only signed again too. An HTTP 429 is the exception: it is retried
    as long as `total` allows. `total` limits, in seconds, all attempts and the waits between them. Waiting for a free
    slot, for the turn that `rate` gives, or while the session is slowed down by a 429 of another call does not count. A
    call also ends once the server has answered all requests of the session with 429 for `total` seconds. A wait is
    `wait_initial` seconds, doubled with each failure, plus up to `jitter` at random, and at most `wait_max`.

    Raises:
        ValueError: for a number out of range, or something that is not one.
    """

    attempts: int = attrs.field(default=5, validator=count)
    total: float = attrs.field(default=120.0, validator=positive)
    wait_initial: float = attrs.field(default=0.5, validator=_non_negative)
    wait_max: float = attrs.field(default=30.0, validator=_non_negative)
    jitter: float = attrs.field(default=1.0, validator=_non_negative)

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after a number of failures."""
        grown = self.wait_initial * 2.0 ** min(failures - 1, 64)
        return min(self.wait_max, grown + random.uniform(0, self.jitter))  # noqa: S311 -- no secret depends on it


@attrs.define(eq=False, repr=False)
class Attempts:
    """The attempts of one call: the time they have taken, and how the last one failed."""

    retry: Retry
    began: float = 0.0
    spent: float = 0.0
    number: int = 0
    counted: int = 0
    failures: int = 0
    transient: bool = False
    signed_anew: bool = False
    retry_after: float | None = None
    limited: float | None = None
    """The seconds to wait after a 429."""
    limited_for: float = 0.0
    """How long the server has answered with nothing but 429, in seconds."""
    ended: Callable[[float | None], object] | None = None
    """Reports how the last attempt ended, with the seconds until the next one; None if that is reported."""

    @property
    def left(self) -> float:
        """The seconds that the call may still take."""
        return self.retry.total - self.spent

    def begin(self) -> None:
        """Begin another attempt: reset what is known about the last one."""
        self.number += 1
        self.transient = self.signed_anew = False
        self.retry_after = self.limited = None

    def record_failure(self, error: ItnioError, status: int, headers: Mapping[str, str], now: float) -> None:
        """Record how an attempt failed; `status` is 0 if no answer was received."""
        # A refusal with an unknown status of the vendor is retried if its HTTP status is a transient one.
        self.transient = error.transient or (type(error) is APIError and is_transient_status(status))
        self.retry_after = retry_after(headers, now)
        if isinstance(error, HTTPStatusError):
            error.retry_after = self.retry_after

    def report(self, retry_in: float | None = None) -> None:
        """Report how the last attempt ended, unless that is reported, or there is no one to report to."""
        if self.ended is not None:
            ended, self.ended = self.ended, None
            ended(retry_in)

    def wait(self, error: BaseException) -> float | bool:
        """Return the seconds to wait before the next attempt; False if there is no next attempt."""
        if not isinstance(error, ItnioError):
            # For example a cancellation: how the attempt before it failed does not count.
            return False
        if self.transient and self.limited is not None:
            self.spent += self.limited
            return self.limited if max(self.spent, self.limited_for + self.limited) < self.retry.total else False
        self.counted += 1
        if self.counted >= self.retry.attempts:
            return False
        if self.signed_anew:
            return 0.0
        if not self.transient:
            return False
        self.failures += 1
        pause = self.retry.backoff(self.failures) if self.retry_after is None else self.retry_after
        self.spent += pause
        return pause if self.left > 0 else False


def log_retries(attempts: Attempts, request: str, api_key: str) -> Callable[[BaseException], float | bool]:
    """Return `attempts.wait`, which also reports each attempt and logs each retry of a request."""

    def wait(error: BaseException) -> float | bool:
        pause = attempts.wait(error)
        attempts.report(None if pause is False else float(pause))
        if pause is not False and not attempts.signed_anew:
            extra = {
                "itnio.api_key": api_key,
                "itnio.request": request,
                "itnio.error": type(error).__name__,
                "itnio.attempt": attempts.counted,
                "itnio.attempts": attempts.retry.attempts,
                "itnio.wait": round(pause, 3),
            }
            reason = f"{type(error).__name__}: {error}".replace(f"{request}: ", "", 1)
            # A 429 is not counted as an attempt.
            limit = "" if attempts.limited is not None else f"attempt {attempts.counted} of {attempts.retry.attempts}, "
            _LOGGER.warning("%s: %s; %snext in %.1f s", request, reason, limit, pause, extra=extra)
        return pause

    return wait


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Return whether a log record of stamina's is not about our retries, which `log_retries` logs."""
    return getattr(record, "stamina.callable", None) != CALLABLE


logging.getLogger("stamina").addFilter(_is_not_ours)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3); None if there is none."""
    text = headers.get("retry-after", "").strip()
    if _DELAY.fullmatch(text):
        return float(text)
    until = http_date(text)
    if until is None:
        return None
    return max(0.0, until - (http_date(headers.get("date")) or now))


@lru_cache(maxsize=16)
def http_date(text: str | None) -> float | None:
    """Return an HTTP date in Unix seconds; None if it is invalid. The answers of one second have the same one."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 -- httpx imports it anyway, with the first session

    try:
        date = parsedate_to_datetime(text or "")
        # In UTC, so that every date that is returned is one that a datetime can hold.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None
