"""The number of attempts, and the waits between them."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import (
    APIError,
    AuthenticationError,
    DecodeError,
    HTTPStatusError,
    ItnioError,
    Retry,
    ServerError,
    TransportError,
)
from itnio_voice._http.retry import Attempts, http_date


@pytest.mark.parametrize("name", ["attempts", "total", "wait_initial", "wait_max", "jitter"])
@pytest.mark.parametrize("value", [-1, "5", None, True, float("nan")])
def test_invalid_options_are_value_errors(name: Any, value: Any) -> None:
    """A number out of range, or another type, is a ValueError that names the option."""
    with pytest.raises(ValueError, match=f"{name} must be"):
        Retry(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("attempts", 0, False),
        ("attempts", 1, True),
        ("attempts", 1.0, False),
        ("total", 0, False),
        ("total", 0.001, True),
        ("wait_initial", 0, True),
        ("wait_max", 0.0, True),
        ("jitter", 0, True),
    ],
)
def test_limits_of_options(name: Any, value: Any, allowed: bool) -> None:
    """Attempts are integers from 1, the total is above 0, waits may be 0."""
    if allowed:
        assert value == getattr(Retry(**{name: value}), name)
    else:
        with pytest.raises(ValueError, match=f"{name} must be .*not {value}"):
            Retry(**{name: value})


@pytest.mark.parametrize(
    ("failures", "expected"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (65, 30.0), (10**9, 30.0)]
)
def test_backoff_doubles(failures: int, expected: float) -> None:
    """Without jitter the waits are exact, for any number of failures."""
    assert expected == Retry(jitter=0).backoff(failures)


def test_jitter_is_random() -> None:
    """Clients that failed together do not retry together."""
    waits = {Retry(wait_initial=0, jitter=1).backoff(1) for _ in range(20)}

    assert len(waits) > 1
    assert max(waits) <= 1


@given(st.integers(1, 1000))
def test_backoff_is_bounded(failures: int) -> None:
    """Waits double from `wait_initial`, plus at most `jitter`, up to `wait_max`."""
    wait = Retry(wait_initial=0.5, wait_max=30, jitter=1).backoff(failures)

    assert min(30, 0.5 * 2 ** (failures - 1)) <= wait <= min(30, 0.5 * 2 ** (failures - 1) + 1)


@pytest.mark.parametrize(
    ("error", "status", "headers", "wait"),
    [
        (ServerError(""), 200, {}, 0.5),
        (TransportError(""), 0, {}, 0.5),
        (HTTPStatusError("", status_code=503), 503, {"retry-after": "7"}, 7.0),
        (HTTPStatusError("", status_code=503), 503, {"retry-after": "1e3"}, 0.5),
        (HTTPStatusError("", status_code=503), 503, {"retry-after": "11"}, False),
        (HTTPStatusError("", status_code=404), 404, {"retry-after": "1"}, False),
        (ServerError(""), 200, {"retry-after": "Thu, 01 Jan 1970 00:01:44 GMT"}, 4.0),
        (
            ServerError(""),
            200,
            {"retry-after": "Thu, 01 Jan 1970 00:01:44 -0000", "date": "Thu, 01 Jan 1970 00:01:42 GMT"},
            2.0,
        ),
        (ServerError(""), 200, {"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        (AuthenticationError("", status="-1"), 503, {"retry-after": "1"}, False),
        (HTTPStatusError("", status_code=429), 429, {"retry-after": " 0 "}, 0.0),
        (HTTPStatusError("", status_code=429), 429, {"retry-after": "9.999"}, 9.999),
        (HTTPStatusError("", status_code=429), 429, {"retry-after": "10"}, False),
        (HTTPStatusError("", status_code=429), 429, {"retry-after": "9" * 400}, False),
        (HTTPStatusError("", status_code=429), 429, {"retry-after": "soon"}, 0.5),
        (ServerError(""), 200, {"retry-after": "Thu, 01 Jan 1970 00:01:51 GMT"}, False),
        (ServerError(""), 200, {"retry-after": "Thu, 01 Jan 1970 08:01:44 +0800"}, 4.0),
        (ServerError(""), 200, {"retry-after": "Thu, 01 Jan 1970 00:01:44 GMT", "date": "today"}, 4.0),
        (APIError("", status="-99"), 200, {}, False),
        (APIError("", status="-99"), 503, {}, 0.5),
        (DecodeError(""), 503, {}, False),
    ],
)
def test_transient_errors_are_waited_for(
    error: ItnioError, status: int, headers: dict[str, str], wait: float | bool
) -> None:
    """Transient errors are retried after the server's wait, or the policy's, if it fits into the rest of `total`."""
    attempts = Attempts(Retry(total=10, jitter=0))
    attempts.record_failure(error, status, headers, 100.0)

    actual = attempts.wait(error)

    assert (type(wait), wait) == (type(actual), actual)
    assert attempts.retry_after == getattr(error, "retry_after", attempts.retry_after)


def test_there_is_no_wait_after_the_total() -> None:
    """There is no wait after `total` or a cancellation, and 0 s before a request that is signed again."""
    attempts = Attempts(Retry(total=10, jitter=0), spent=9.9)
    error = ServerError("")
    attempts.record_failure(error, 200, {}, 0)

    assert attempts.wait(asyncio.CancelledError()) is False
    assert attempts.wait(error) is False
    attempts.signed_anew = True
    assert 0.0 == attempts.wait(error)
    assert attempts.wait(RuntimeError()) is False


@pytest.mark.parametrize("text", [None, "", "soon", "2026-01-01"])
def test_invalid_dates_have_no_time(text: str | None) -> None:
    """A text that is not an HTTP date has no time."""
    assert http_date(text) is None


@pytest.mark.parametrize(
    "text", ["Thu, 01 Jan 99999999999 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 +9999999999999999999"]
)
def test_dates_out_of_range_are_ignored(text: str) -> None:
    """A header with an impossible date is ignored like any other invalid one."""
    assert http_date(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 -0000",
        "Sun, 06 Nov 1994 16:49:37 +0800",
        "Sunday, 06-Nov-94 08:49:37 GMT",
    ],
)
def test_http_dates_are_in_utc_by_default(text: str) -> None:
    """An HTTP date without a zone is in UTC."""
    assert 784111777.0 == http_date(text)


def test_waits_grow_until_the_total_is_used_up() -> None:
    """Each failure doubles the wait, and waits count against the total."""
    attempts = Attempts(Retry(total=10, jitter=0))
    attempts.record_failure(ServerError(""), 200, {}, 0.0)

    assert [0.5, 1.0, 2.0, 4.0, False] == [attempts.wait(ServerError("")) for _ in range(5)]


def test_only_the_last_failure_counts() -> None:
    """A `Retry-After` is used once, and a final error after a transient one is final."""
    attempts = Attempts(Retry(total=100, jitter=0))
    attempts.record_failure(ServerError(""), 200, {"retry-after": "7"}, 0.0)
    assert 7.0 == attempts.wait(ServerError(""))
    attempts.record_failure(ServerError(""), 200, {}, 0.0)
    assert 1.0 == attempts.wait(ServerError(""))
    attempts.record_failure(AuthenticationError(""), 200, {}, 0.0)

    assert attempts.wait(AuthenticationError("")) is False


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), RuntimeError()])
@pytest.mark.parametrize("signed_anew", [False, True])
def test_foreign_errors_are_not_retried(error: BaseException, signed_anew: bool) -> None:
    """A cancellation, or any foreign error, ends the call, whatever the previous attempt recorded."""
    attempts = Attempts(Retry(), transient=True, retry_after=1.0, signed_anew=signed_anew)

    assert attempts.wait(error) is False
    assert (0, 0.0) == (attempts.failures, attempts.spent)


def test_a_429_waits_as_long_as_the_total_allows() -> None:
    """A 429 uses up `total`, but no attempt; time during which the server only refused counts too."""
    error = HTTPStatusError("", status_code=429)
    attempts = Attempts(Retry(attempts=1, total=10))
    waits = []
    for _ in range(4):
        attempts.begin()
        attempts.record_failure(error, 429, {}, 0.0)
        attempts.limited = 3.0
        waits.append(attempts.wait(error))

    assert [3.0, 3.0, 3.0, False] == waits
    assert (0, 0) == (attempts.counted, attempts.failures)
    attempts = Attempts(Retry(total=10), transient=True, limited=1.0, limited_for=9.5)
    assert attempts.wait(error) is False


def test_the_last_attempt_is_followed_by_no_wait() -> None:
    """The last attempt is followed by no wait, even if the request would only be signed again."""
    for signed_anew in (False, True):
        attempts = Attempts(Retry(attempts=3, jitter=0), transient=True, signed_anew=signed_anew)
        waits = [attempts.wait(ServerError("")) for _ in range(3)]
        assert ([0.0, 0.0, False] if signed_anew else [0.5, 1.0, False]) == waits


def test_an_attempt_starts_without_the_previous_record() -> None:
    """What an attempt recorded does not apply to the next one, which may fail before it is sent."""
    attempts = Attempts(Retry(), transient=True, signed_anew=True, retry_after=1.0, limited=1.0)
    attempts.begin()

    assert attempts.wait(HTTPStatusError("", status_code=429)) is False
