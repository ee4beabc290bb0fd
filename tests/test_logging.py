"""What is logged: by whom, at which level, and with what beside the words."""

import logging
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import pytest
import stamina

from itnio_voice import Credentials, IncompleteWindowError, Retry, UserLockedError, VoiceSession, merge
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .conftest import QUICK, session_on

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parent.parent / "docs" / "observability.md"
NOW = datetime.now(UTC)
WEEK = timedelta(days=7)
WINDOW = {"itnio.window_start", "itnio.window_end"}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """Collect the log records of the library, and of stamina for it."""
    caplog.set_level(logging.DEBUG)
    handler = BufferingHandler(capacity=1_000_000)
    loggers = [logging.getLogger(name) for name in ("itnio_voice", "stamina")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler.buffer
    for logger in loggers:
        logger.removeHandler(handler)


def lines(told: list[logging.LogRecord], logger: str, level: int) -> list[logging.LogRecord]:
    """Return what a logger told at a level."""
    return [record for record in told if record.name == logger and record.levelno == level]


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record carries beside its words."""
    return {name: value for name, value in vars(record).items() if name.startswith(("itnio.", "stamina."))}


async def test_a_walk_without_trouble_is_told_at_debug(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """A line for each request and for each window, and none that anyone would see who did not ask for it."""
    async with session_on(itnio_sandbox) as session:
        found = await session.records(NOW - 8 * WEEK, NOW).collect()

    assert {logging.DEBUG} == {record.levelno for record in told}
    requests = lines(told, "itnio_voice.requests", logging.DEBUG)
    assert len(itnio_sandbox.requests) == len(requests)
    assert {"POST /recordGroupQuery"} == {extras(record)["itnio.request"] for record in requests}
    assert {("answered", 200, itnio_sandbox.api_key)} == {
        (extras(record)["itnio.outcome"], extras(record)["itnio.http_status"], extras(record)["itnio.api_key"])
        for record in requests
    }
    assert all(0 < extras(record)["itnio.seconds"] < 30 for record in requests)
    windows = [
        record for record in lines(told, "itnio_voice.windows", logging.DEBUG) if "complete" in record.getMessage()
    ]
    assert len(found) == sum(extras(record)["itnio.total"] for record in windows)
    assert all(WINDOW < extras(record).keys() for record in windows)


async def test_a_failed_request(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """Each failed attempt is one warning, with account, request, reason, number and wait; stamina logs none."""
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=2),))
    async with session_on(itnio_sandbox) as session:
        await session.page(NOW - WEEK, NOW)

    outcomes = [extras(record)["itnio.outcome"] for record in lines(told, "itnio_voice.requests", logging.DEBUG)]
    assert ["HTTPStatusError", "HTTPStatusError", "answered"] == outcomes
    retries = [record for record in told if record.levelno == logging.WARNING]
    assert ["itnio_voice.requests"] * 2 == [record.name for record in retries]
    assert [(1, 5), (2, 5)] == [
        (extras(record)["itnio.attempt"], extras(record)["itnio.attempts"]) for record in retries
    ]
    assert all(0 <= extras(record)["itnio.wait"] <= QUICK.wait_max for record in retries)
    assert {(itnio_sandbox.api_key, "POST /recordGroupQuery", "HTTPStatusError")} == {
        tuple(extras(record)[f"itnio.{name}"] for name in ("api_key", "request", "error")) for record in retries
    }
    assert re.fullmatch(
        r"POST /recordGroupQuery: HTTPStatusError: HTTP 503 .*; attempt 1 of 5, next in 0\.[0-9] s",
        retries[0].getMessage(),
    )


async def test_stamina_still_logs_other_retries(told: list[logging.LogRecord]) -> None:
    """Only the line about our own retries is left out."""
    async for attempt in stamina.retry_context(on=ValueError, wait_initial=0, wait_jitter=0):
        with attempt:
            if attempt.num == 1:
                raise ValueError

    assert ["stamina"] == [record.name for record in told]


async def test_too_many_requests(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """A 429 is not counted as an attempt."""
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("status_429", times=1),))
    async with session_on(itnio_sandbox) as session:
        await session.page(NOW - WEEK, NOW)

    (retry,) = lines(told, "itnio_voice.requests", logging.WARNING)
    assert 0 == extras(retry)["itnio.attempt"]
    assert re.search(r"HTTP 429 [^;]*; next in 0\.[0-9] s$", retry.getMessage())


async def test_signing_again(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """A request that is signed again by the server's clock is no warning."""
    itnio_sandbox.behaviour = Behaviour(clock_skew=7200)
    async with session_on(itnio_sandbox) as session:
        await session.page(NOW - WEEK, NOW)

    assert 2 == len(itnio_sandbox.requests)
    assert [] == [record for record in told if record.levelno >= logging.WARNING]


async def test_another_clock(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """What is learned of the server's clock is information, once."""
    itnio_sandbox.behaviour = Behaviour(clock_skew=7200)
    async with session_on(itnio_sandbox) as session:
        await session.page(NOW - WEEK, NOW)
        await session.page(NOW - WEEK, NOW)

    (learned,) = lines(told, "itnio_voice.requests", logging.INFO)
    assert 7200 == pytest.approx(extras(learned)["itnio.clock_offset"], abs=5)
    assert itnio_sandbox.api_key == extras(learned)["itnio.api_key"]


async def test_a_shorter_limit(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """So is what is learned of how long a window may be."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=16))
    async with session_on(itnio_sandbox) as session:
        await session.records(NOW - 6 * WEEK, NOW).collect()

    (learned,) = lines(told, "itnio_voice.windows", logging.INFO)
    assert "longer than the server allows" in learned.getMessage()
    assert WINDOW < extras(learned).keys()


async def test_records_that_do_not_add_up(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """And each pass over a window that cannot be cut and does not add up."""
    second = NOW.replace(microsecond=0) - timedelta(days=1)
    itnio_sandbox.insert(*({"submitTime": second.isoformat()} for _ in range(10)))
    itnio_sandbox.behaviour = Behaviour(always_first_page=True, omits={"current"}, max_size=3)
    async with session_on(itnio_sandbox) as session:
        stream = session.records(second, second + timedelta(seconds=2), page_size=3)
        with pytest.raises(IncompleteWindowError):
            await stream.collect()

    passes = [extras(record)["itnio.pass"] for record in lines(told, "itnio_voice.windows", logging.INFO)]
    assert [*range(1, len(passes) + 1)] == passes
    assert len(passes) >= 4


async def test_what_has_expired(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """What is left out as too old is a warning, with its ends."""
    async with session_on(itnio_sandbox) as session:
        stream = session.records(NOW - 20 * WEEK, NOW, expired="skip")
        await stream.collect()

    (left_out,) = lines(told, "itnio_voice.windows", logging.WARNING)
    (skipped,) = stream.skipped
    assert {
        "itnio.window_start": skipped.start.isoformat(),
        "itnio.window_end": skipped.end.isoformat(),
    } == extras(left_out)


async def test_one_of_several_fails(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """A stream that fails while the others go on is a warning when it does: the error itself comes at the end."""

    async def locked() -> AsyncIterator[Any]:
        message = "locked"
        raise UserLockedError(message)
        yield  # an iterator it must be

    async with session_on(itnio_sandbox) as session:
        streams: dict[str, AsyncIterable[Any]] = {"eu": session.records(NOW - WEEK, NOW), "us": locked()}
        with pytest.raises(ExceptionGroup):
            async with merge(streams, on_error="collect") as merged:
                async for _ in merged:
                    pass

    (failed,) = lines(told, "itnio_voice.merge", logging.WARNING)
    assert {"itnio.stream": "us", "itnio.error": "UserLockedError"} == extras(failed)


async def test_the_only_stream_fails(told: list[logging.LogRecord]) -> None:
    """Where no other stream is left, none is said to go on."""

    async def locked() -> AsyncIterator[Any]:
        raise UserLockedError("locked")  # noqa: EM101
        yield  # an iterator it must be

    with pytest.raises(ExceptionGroup):
        async with merge({"us": locked()}, on_error="collect") as merged:
            async for _ in merged:
                pass

    (failed,) = lines(told, "itnio_voice.merge", logging.WARNING)
    assert "reading 'us' failed: locked" == failed.getMessage()


async def test_all_of_it_is_in_the_documentation(itnio_sandbox: Sandbox, told: list[logging.LogRecord]) -> None:
    """Each logger, and each name that a record carries."""
    itnio_sandbox.behaviour = Behaviour(clock_skew=7200, faults=(Fault("status_503", times=1),))
    credentials = Credentials(itnio_sandbox.api_key, itnio_sandbox.api_secret)
    async with VoiceSession(credentials, base_url=itnio_sandbox.base_url, retry=QUICK) as session:
        await session.records(NOW - 20 * WEEK, NOW, expired="skip").collect()
    text = PAGE.read_text()

    assert Retry() != QUICK
    names = {name for record in told for name in extras(record)} | {record.name for record in told}
    assert len(names) > 10
    assert [] == [name for name in sorted(names) if f"`{name}`" not in text]
