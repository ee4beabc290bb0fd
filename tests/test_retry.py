"""How often and how long a call is tried."""

import asyncio
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import itnio_voice
from itnio_voice import APIError, DecodeError, HTTPStatusError, ItnioError, Retry, ServerError, TransportError
from itnio_voice.retry import Attempts, http_date


@pytest.mark.parametrize("name", ["attempts", "total", "wait_initial", "wait_max", "jitter"])
@pytest.mark.parametrize("value", [-1, "5", None, True, float("nan")])
def test_wrong_numbers(name: Any, value: Any) -> None:
    """A number out of range, or something else, is a ValueError that names it."""
    with pytest.raises(ValueError, match=f"{name} must be"):
        Retry(**{name: value})


@given(st.integers(1, 1000))
def test_backoff_is_bounded(failures: int) -> None:
    """Waits double from `wait_initial`, have up to `jitter` more, and end at `wait_max`."""
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
        (APIError("", status="-99"), 200, {}, False),
        (APIError("", status="-99"), 503, {}, 0.5),
        (DecodeError(""), 503, {}, False),
    ],
)
def test_wait(error: ItnioError, status: int, headers: dict[str, str], wait: float | bool) -> None:
    """What passes is waited for as the server asks, or as the policy says, if that fits into what is left."""
    attempts = Attempts(Retry(total=10, jitter=0))
    attempts.learn(error, status, headers, 100.0)

    assert wait == attempts.wait(error)
    assert type(wait) is type(attempts.wait(error)) or wait is not False


def test_wait_after_the_last() -> None:
    """No wait once `total` is used up, none for a cancellation, and 0 for a request that is signed anew."""
    attempts = Attempts(Retry(total=10, jitter=0), spent=9.9)
    error = ServerError("")
    attempts.learn(error, 200, {}, 0)

    assert attempts.wait(asyncio.CancelledError()) is False
    assert attempts.wait(error) is False
    attempts.signed_anew = True
    assert 0.0 == attempts.wait(error)
    assert attempts.wait(RuntimeError()) is False


@pytest.mark.parametrize("text", [None, "", "soon", "2026-01-01"])
def test_dates_that_are_none(text: str | None) -> None:
    """What is no HTTP date tells no time."""
    assert http_date(text) is None


@pytest.mark.parametrize("name", [name for name in itnio_voice.__all__ if name.endswith("Error")])
def test_errors_can_be_pickled(name: str) -> None:
    """An error that crosses to another process keeps its text and what it carries."""
    error = getattr(itnio_voice, name)("what happened")
    for field in ("status", "field", "status_code", "expected"):
        if hasattr(error, field):
            setattr(error, field, "7")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert (type(error), str(error), vars(error)) == (type(copy), str(copy), vars(copy))
