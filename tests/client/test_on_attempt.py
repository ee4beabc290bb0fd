"""The hook `on_attempt`: one call for each attempt, without secrets, and without effect on the reading."""

import email.utils
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
import stamina

from itnio_voice import (
    Attempt,
    Credentials,
    HTTPStatusError,
    ItnioError,
    RecordNotFoundError,
    Retry,
    SipRecord,
    TimeRangeError,
    VoiceSession,
    Window,
)
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from ..conftest import QUICK, environment_of, session_on

pytestmark = pytest.mark.anyio

BASE_URL = "https://api.example.com/voice"
END = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
KEY, SECRET, PHONE = "bDqJFiq9", "7bz1lzh9", "8613800138000"
EMPTY = {"status": "0", "reason": "success", "data": {"total": 0, "records": []}}

URL = "https://files.example.com:8443/r/7.wav?sig=9f86d081"

Answer = Callable[[httpx.Request], httpx.Response]


def session_with(answer: Any, **options: Any) -> VoiceSession:
    """Return a session whose server is a function."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    defaults: dict[str, Any] = {"base_url": BASE_URL, "retry": QUICK}
    return VoiceSession(Credentials(KEY, SECRET), http_client=client, **defaults | options)


def in_turn(*answers: httpx.Response | Exception) -> Answer:
    """Return a server that gives these answers, and then empty pages."""
    left: Iterator[httpx.Response | Exception] = iter(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        given = next(left, httpx.Response(200, json=EMPTY))
        if isinstance(given, Exception):
            raise given
        return given

    return answer


async def test_each_request_of_a_walk_is_reported_once(itnio_sandbox: Sandbox) -> None:
    """There is a call for each request, with its host, path, window, page, status and duration."""
    attempts: list[Attempt] = []
    async with session_on(itnio_sandbox, on_attempt=attempts.append) as session:
        began = datetime.now(UTC)
        await session.records(END - 60 * DAY, END).collect()

    assert len(itnio_sandbox.requests) == len(attempts)
    assert {("POST", "/recordGroupQuery", 1, 200)} == {(a.method, a.path, a.number, a.status_code) for a in attempts}
    assert {(None, None, None)} == {(each.status, each.error, each.retry_in) for each in attempts}
    assert {f"http://{a.server_address}:{a.server_port}/voice{a.path}" for a in attempts} == {
        f"{itnio_sandbox.base_url}/recordGroupQuery"
    }
    assert {itnio_sandbox.api_key} == {each.api_key for each in attempts}
    assert all(each.window and each.page for each in attempts)
    assert len({(each.window, each.page) for each in attempts}) == len(attempts)
    assert all(each.seconds > 0 and began <= each.started <= datetime.now(UTC) for each in attempts)
    assert {0.0} == {each.clock_offset for each in attempts}


async def test_reading_ahead_reports_each_request(itnio_sandbox: Sandbox) -> None:
    """With `prefetch` too, there is a call for each request."""
    attempts: list[Attempt] = []
    async with session_on(itnio_sandbox, on_attempt=attempts.append) as session:
        async with session.records(END - 60 * DAY, END).prefetch() as ahead:
            assert [record async for record in ahead]
        assert len(itnio_sandbox.requests) == len(attempts)


async def test_attempts_are_numbered_and_say_whether_another_one_follows() -> None:
    """Each attempt of a call is reported in order, before the wait for the next one."""
    attempts: list[Attempt] = []
    server = in_turn(httpx.Response(503), httpx.ConnectError("refused"), httpx.Response(429))
    async with session_with(server, on_attempt=attempts.append) as session:
        await session.page(END - DAY, END)

    assert [1, 2, 3, 4] == [each.number for each in attempts]
    assert [503, None, 429, 200] == [each.status_code for each in attempts]
    assert ["HTTPStatusError", "TransportError", "HTTPStatusError", None] == [each.error for each in attempts]
    assert all(0 <= (each.retry_in or -1) <= 1 for each in attempts[:3])
    assert attempts[3].retry_in is None
    assert {Window(END - DAY, END)} == {each.window for each in attempts}


async def test_the_last_attempt_is_not_followed_by_another_one() -> None:
    """An attempt whose error is raised has no `retry_in`."""
    attempts: list[Attempt] = []
    server = in_turn(*[httpx.Response(503)] * 9)
    async with session_with(server, on_attempt=attempts.append, retry=Retry(attempts=2, wait_initial=0)) as session:
        with pytest.raises(HTTPStatusError):
            await session.page(END - DAY, END)

    assert [(1, True), (2, False)] == [(each.number, each.retry_in is not None) for each in attempts]


async def test_attempts_are_reported_while_stamina_is_not_active() -> None:
    """Without retries, the only attempt is reported, once."""
    attempts: list[Attempt] = []
    stamina.set_active(False)
    try:
        async with session_with(in_turn(httpx.Response(503)), on_attempt=attempts.append) as session:
            with pytest.raises(HTTPStatusError):
                await session.page(END - DAY, END)
    finally:
        stamina.set_active(True)

    assert [(1, 503, None)] == [(each.number, each.status_code, each.retry_in) for each in attempts]


async def test_a_refusal_has_the_vendors_status() -> None:
    """A refusal has HTTP status 200, the vendor's status, and the name of the error."""
    attempts: list[Attempt] = []
    refusal = httpx.Response(200, json={"status": "-25", "reason": "too long"})
    async with session_with(in_turn(refusal), on_attempt=attempts.append) as session:
        with pytest.raises(TimeRangeError):
            await session.page(END - 40 * DAY, END)

    (attempt,) = attempts
    assert (200, "-25", "TimeRangeError", None) == (
        attempt.status_code,
        attempt.status,
        attempt.error,
        attempt.retry_in,
    )


async def test_signing_again_is_reported_with_the_clock_offset() -> None:
    """A request that is signed again is sent at once, and the offset is known from then on."""
    attempts: list[Attempt] = []
    ahead = {"date": email.utils.formatdate(time.time() + 7200, usegmt=True)}
    server = in_turn(httpx.Response(200, json={"status": "-16", "reason": "time"}, headers=ahead))
    async with session_with(server, on_attempt=attempts.append) as session:
        await session.page(END - DAY, END)

    assert ["-16", None] == [each.status for each in attempts]
    assert 0 == attempts[0].retry_in
    assert all(each.clock_offset == pytest.approx(7200, abs=60) for each in attempts)


async def test_a_cancelled_attempt_is_reported_once() -> None:
    """A cancellation during an attempt is reported. A request that waits for its slot is no attempt yet."""
    attempts: list[Attempt] = []

    async def silence(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async with (
        session_with(silence, on_attempt=attempts.append, concurrency=1) as session,
        anyio.create_task_group() as group,
    ):
        for _ in range(3):
            group.start_soon(partial(session.page, END - DAY, END))
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    (attempt,) = attempts
    assert ("cancelled", None, None) == (attempt.error, attempt.status_code, attempt.retry_in)


async def test_a_cancellation_during_a_wait_reports_no_further_attempt() -> None:
    """The failed attempt is reported before the wait, and the request that is not sent is not."""
    attempts: list[Attempt] = []
    server, slow = in_turn(httpx.Response(503)), Retry(wait_initial=30)
    async with (
        session_with(server, on_attempt=attempts.append, retry=slow) as session,
        anyio.create_task_group() as group,
    ):
        group.start_soon(partial(session.page, END - DAY, END))
        while not attempts:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()

    assert [(503, True)] == [(each.status_code, (each.retry_in or 0) >= 30) for each in attempts]


async def test_an_error_of_the_callers_client_is_named() -> None:
    """An exception that is not the library's, such as that of an event hook, is reported by the name of its class."""
    attempts: list[Attempt] = []

    def answer(_: httpx.Request) -> httpx.Response:
        raise LookupError

    async with session_with(answer, on_attempt=attempts.append) as session:
        with pytest.raises(LookupError):
            await session.page(END - DAY, END)

    assert [("LookupError", None, None)] == [(each.error, each.status_code, each.retry_in) for each in attempts]


LIES = [
    httpx.Response(200, json={"status": PHONE, "reason": PHONE}),
    httpx.Response(200, json={"status": SECRET, "reason": SECRET}),
    httpx.Response(200, json={"status": "\x1b[31m-1", "reason": ""}),
    httpx.Response(200, json={"status": "-1" * 5000, "reason": ""}),
    httpx.Response(200, json={"status": ["-1"], "reason": {}}),
    httpx.Response(418, text=PHONE, headers={"location": f"https://{PHONE}.example.com"}),
    httpx.Response(200, text=f"<p>{SECRET} {PHONE}"),
    httpx.Response(200, json={"status": "0", "data": [PHONE, SECRET]}),
]


@pytest.mark.parametrize("lie", LIES, ids=range(len(LIES)))
async def test_an_attempt_has_no_text_of_the_server_or_of_the_caller(lie: httpx.Response) -> None:
    """Neither ids, filters and secrets nor text that a server chose are in an attempt."""
    attempts: list[Attempt] = []
    where = {"phone_name": PHONE}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(lie.status_code, headers=lie.headers, content=lie.content)

    async with session_with(answer, on_attempt=attempts.append, retry=Retry(attempts=1)) as session:
        for call in (
            lambda: session.page(END - DAY, END, of=SipRecord, where=where),
            lambda: session.record(PHONE),
            lambda: session.recording_url(PHONE, source="sip"),
        ):
            with pytest.raises((ItnioError, RecordNotFoundError)):
                await call()

    assert ["/recordSipQuery", "/recordGroup/{voice_id}", "/getRecordingFileUrl"] == [each.path for each in attempts]
    shown = repr(attempts)
    assert PHONE not in shown
    assert SECRET not in shown
    assert "\\x1b" not in shown
    assert all(each.status is None and each.error for each in attempts)


async def test_a_download_is_reported_without_its_url(tmp_path: Path) -> None:
    """The attempt at the host of a recording has its scheme and host only."""
    attempts: list[Attempt] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.example.com":
            return httpx.Response(200, json={"status": "0", "data": {"url": URL}})
        return httpx.Response(503 if len(attempts) < 2 else 200, content=b"RIFF")

    async with session_with(answer, on_attempt=attempts.append) as session:
        await session.download_recording("7", tmp_path / "7.wav", source="sip")

    assert [200, 503, 200] == [each.status_code for each in attempts]
    assert [1, 1, 2] == [each.number for each in attempts]
    assert [False, True, False] == [each.retry_in is not None for each in attempts]
    url, download, _ = attempts
    assert ("GET", "/getRecordingFileUrl", f"{BASE_URL}/getRecordingFileUrl") == (url.method, url.path, url.url)
    assert ("", "https://files.example.com:8443", "files.example.com", 8443) == (
        download.path,
        download.url,
        download.server_address,
        download.server_port,
    )


async def test_a_failing_hook_loses_no_record(itnio_sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Its exception is logged once, as a warning with its traceback, and it is still called for each attempt."""
    calls: list[Attempt] = []

    def fails(attempt: Attempt) -> None:
        calls.append(attempt)
        message = "the hook's own fault"
        raise LookupError(message)

    itnio_sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=2),))
    async with session_on(itnio_sandbox) as session:
        expected = await session.records(END - 30 * DAY, END).collect()
    itnio_sandbox.behaviour = Behaviour(faults=(Fault("status_503", times=2),))
    before = len(itnio_sandbox.requests)
    async with session_on(itnio_sandbox, on_attempt=fails) as session:
        assert expected == await session.records(END - 30 * DAY, END).collect()

    assert len(itnio_sandbox.requests) - before == len(calls)
    (warning,) = [record for record in caplog.records if record.name == "itnio_voice.observers"]
    assert logging.WARNING == warning.levelno
    assert "on_attempt failed: LookupError: the hook's own fault" in warning.getMessage()
    assert warning.exc_info
    assert warning.exc_info[1]
    assert warning.exc_info[1].__context__ is None


async def test_from_env_accepts_the_hook(itnio_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook is one of the options that all functions with sessions accept."""
    for name, value in environment_of(itnio_sandbox).items():
        monkeypatch.setenv(name, value)
    attempts: list[Attempt] = []
    async with VoiceSession.from_env(on_attempt=attempts.append) as session:
        await session.page(END - DAY, END)

    assert [200] == [each.status_code for each in attempts]


async def _coroutine(_: Attempt) -> None:
    raise AssertionError


class _Asynchronous:
    async def __call__(self, _: Attempt) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    "hook",
    ["print", 7, _coroutine, partial(_coroutine), _Asynchronous()],
    ids=lambda hook: type(hook).__name__,
)
def test_a_hook_that_cannot_be_called_is_refused(hook: Any) -> None:
    """What is not callable, or would return a coroutine that nothing awaits, is a TypeError at once."""
    with pytest.raises(TypeError, match="on_attempt must be a function that is not async"):
        VoiceSession(Credentials(KEY, SECRET), base_url=BASE_URL, on_attempt=hook)
