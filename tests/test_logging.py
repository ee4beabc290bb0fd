"""Log records: their loggers, levels and fields."""

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
def log_records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """Collect the log records of the library, and of stamina for it."""
    caplog.set_level(logging.DEBUG)
    handler = BufferingHandler(capacity=1_000_000)
    loggers = [logging.getLogger(name) for name in ("itnio_voice", "stamina")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler.buffer
    for logger in loggers:
        logger.removeHandler(handler)


def lines(log_records: list[logging.LogRecord], logger: str, level: int) -> list[logging.LogRecord]:
    """Return a logger's records at a level."""
    return [record for record in log_records if record.name == logger and record.levelno == level]


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record's fields beside its message."""
    return {name: value for name, value in vars(record).items() if name.startswith(("itnio.", "stamina."))}


async def test_a_walk_without_failures_logs_at_debug(
    itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]
) -> None:
    """Each request and each window is one line at DEBUG, and there are no others."""
    async with session_on(itnio_sandbox) as session:
        found = await session.records(NOW - 8 * WEEK, NOW).collect()

    assert {logging.DEBUG} == {record.levelno for record in log_records}
    requests = lines(log_records, "itnio_voice.requests", logging.DEBUG)
    assert len(itnio_sandbox.requests) == len(requests)
    assert {"POST /recordGroupQuery"} == {extras(record)["itnio.request"] for record in requests}
    assert {("answered", 200, itnio_sandbox.api_key)} == {
        (extras(record)["itnio.outcome"], extras(record)["itnio.http_status"], extras(record)["itnio.api_key"])
        for record in requests
    }
    assert all(0 < extras(record)["itnio.seconds"] < 30 for record in requests)
    windows = [
        record
        for record in lines(log_records, "itnio_voice.windows", logging.DEBUG)
        if "complete" in record.getMessage()
    ]
    assert len(found) == sum(extras(record)["itnio.total"] for record in windows)
    assert all(WINDOW < extras(record).keys() for record in windows)


async def test_a_failed_attempt_is_one_warning(itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]) -> None:
    """Each failed attempt is one warning, with account, request, reason, number and wait; stamina logs none."""
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=2),))
    async with session_on(itnio_sandbox) as session:
        await session.page(NOW - WEEK, NOW)

    outcomes = [extras(record)["itnio.outcome"] for record in lines(log_records, "itnio_voice.requests", logging.DEBUG)]
    assert ["HTTPStatusError", "HTTPStatusError", "answered"] == outcomes
    retries = [record for record in log_records if record.levelno == logging.WARNING]
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


async def test_stamina_still_logs_other_retries(log_records: list[logging.LogRecord]) -> None:
    """Only the line about our own retries is suppressed."""
    async for attempt in stamina.retry_context(on=ValueError, wait_initial=0, wait_jitter=0):
        with attempt:
            if attempt.num == 1:
                raise ValueError

    assert ["stamina"] == [record.name for record in log_records]


async def test_429_is_logged_without_an_attempt(itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]) -> None:
    """A 429 is not counted as an attempt."""
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("status_429", times=1),))
    async with session_on(itnio_sandbox) as session:
        await session.page(NOW - WEEK, NOW)

    (retry,) = lines(log_records, "itnio_voice.requests", logging.WARNING)
    assert 0 == extras(retry)["itnio.attempt"]
    assert re.search(r"HTTP 429 [^;]*; next in 0\.[0-9] s$", retry.getMessage())


async def test_signing_again_is_no_warning(itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]) -> None:
    """A request that is signed again by the server's clock causes no warning."""
    itnio_sandbox.behaviour = Behaviour(clock_skew=7200)
    async with session_on(itnio_sandbox) as session:
        await session.page(NOW - WEEK, NOW)

    assert 2 == len(itnio_sandbox.requests)
    assert [] == [record for record in log_records if record.levelno >= logging.WARNING]


async def test_a_corrected_clock_is_logged(itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]) -> None:
    """A corrected clock is logged once, at INFO."""
    itnio_sandbox.behaviour = Behaviour(clock_skew=7200)
    async with session_on(itnio_sandbox) as session:
        await session.page(NOW - WEEK, NOW)
        await session.page(NOW - WEEK, NOW)

    (learned,) = lines(log_records, "itnio_voice.requests", logging.INFO)
    assert 7200 == pytest.approx(extras(learned)["itnio.clock_offset"], abs=5)
    assert itnio_sandbox.api_key == extras(learned)["itnio.api_key"]


async def test_a_shorter_limit_is_logged(itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]) -> None:
    """A shorter limit of windows is logged once, at INFO."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=16))
    async with session_on(itnio_sandbox) as session:
        await session.records(NOW - 6 * WEEK, NOW).collect()

    (learned,) = lines(log_records, "itnio_voice.windows", logging.INFO)
    assert "longer than the server allows" in learned.getMessage()
    assert WINDOW < extras(learned).keys()


async def test_passes_that_do_not_add_up_are_logged(
    itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]
) -> None:
    """Each pass over a window that cannot be narrowed and does not add up is logged at INFO."""
    second = NOW.replace(microsecond=0) - timedelta(days=1)
    itnio_sandbox.insert(*({"submitTime": second.isoformat()} for _ in range(10)))
    itnio_sandbox.behaviour = Behaviour(always_first_page=True, omits={"current"}, max_size=3)
    async with session_on(itnio_sandbox) as session:
        stream = session.records(second, second + timedelta(seconds=2), page_size=3)
        with pytest.raises(IncompleteWindowError):
            await stream.collect()

    passes: dict[str, list[int]] = {}
    for record in lines(log_records, "itnio_voice.windows", logging.INFO):
        passes.setdefault(extras(record)["itnio.window_end"], []).append(extras(record)["itnio.pass"])
    assert all([*range(1, len(numbers) + 1)] == numbers for numbers in passes.values())
    assert max(map(len, passes.values())) >= 4


async def test_a_skipped_range_is_a_warning(itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]) -> None:
    """A skipped range is a warning, with its ends."""
    async with session_on(itnio_sandbox) as session:
        stream = session.records(NOW - 20 * WEEK, NOW, expired="skip")
        await stream.collect()

    (left_out,) = lines(log_records, "itnio_voice.windows", logging.WARNING)
    (skipped,) = stream.skipped
    assert {
        "itnio.window_start": skipped.start.isoformat(),
        "itnio.window_end": skipped.end.isoformat(),
    } == extras(left_out)


async def test_one_of_several_failures_is_a_warning(
    itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]
) -> None:
    """A stream that fails while others continue is a warning at that time; its error is raised at the end."""

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

    (failed,) = lines(log_records, "itnio_voice.merge", logging.WARNING)
    assert {"itnio.stream": "us", "itnio.error": "UserLockedError"} == extras(failed)


async def test_the_failure_of_the_only_stream_is_logged(log_records: list[logging.LogRecord]) -> None:
    """If no other stream is left, the warning does not mention any."""

    async def locked() -> AsyncIterator[Any]:
        raise UserLockedError("locked")  # noqa: EM101
        yield  # an iterator it must be

    with pytest.raises(ExceptionGroup):
        async with merge({"us": locked()}, on_error="collect") as merged:
            async for _ in merged:
                pass

    (failed,) = lines(log_records, "itnio_voice.merge", logging.WARNING)
    assert "reading 'us' failed: locked" == failed.getMessage()


async def test_all_loggers_and_fields_are_documented(
    itnio_sandbox: Sandbox, log_records: list[logging.LogRecord]
) -> None:
    """Each logger and each field of a record is documented."""
    itnio_sandbox.behaviour = Behaviour(clock_skew=7200, faults=(Fault("status_503", times=1),))
    credentials = Credentials(itnio_sandbox.api_key, itnio_sandbox.api_secret)
    async with VoiceSession(credentials, base_url=itnio_sandbox.base_url, retry=QUICK) as session:
        await session.records(NOW - 20 * WEEK, NOW, expired="skip").collect()
    text = PAGE.read_text()

    assert Retry() != QUICK
    names = {name for record in log_records for name in extras(record)} | {record.name for record in log_records}
    assert len(names) > 10
    assert [] == [name for name in sorted(names) if f"`{name}`" not in text]
