"""VoiceSession: arguments that it refuses, and the calls that return no stream."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from itnio_voice import (
    Checkpoint,
    Credentials,
    DecodeError,
    HTTPStatusError,
    IncompleteWindowError,
    ParameterError,
    ProtocolError,
    RecordNotFoundError,
    Retry,
    SipRecord,
    TimeRangeError,
    VoiceRecord,
    VoiceSession,
    Window,
)
from itnio_voice.sandbox import Behaviour, Sandbox

from ..conftest import session_on

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(days=30)
CREDENTIALS = Credentials("key", "secret")


def session(**options: Any) -> VoiceSession:
    """Return a session that sends no requests."""
    return VoiceSession(CREDENTIALS, http_client=httpx.AsyncClient(), **options)


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 -- a naive time on purpose


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": NAIVE}, "offset"),
        ({"end": NAIVE}, "offset"),
        ({"start": "2026-01-01T00:00:00Z"}, "offset"),
        ({"start": START, "end": START}, "before"),
        ({"start": NOW, "end": START}, "before"),
        ({"start": datetime.min.replace(tzinfo=UTC)}, "calendar"),
        ({"page_size": 0}, "1 to 100"),
        ({"page_size": 101}, "1 to 100"),
        ({"page_size": "5"}, "1 to 100"),
        ({"limit": -1}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"of": Window}, "VoiceRecord"),
        ({"of": []}, "VoiceRecord"),
        ({"where": {"sip_group_name": "sales"}}, "unknown filter"),
        ({"of": SipRecord, "where": {"sipGroupName": "sales"}}, "sip_group_name, phone_name"),
        ({"of": SipRecord, "where": {"phone_name": ""}}, "not empty"),
        ({"expired": "ignore"}, "expired"),
        ({"resume": "{}"}, "Checkpoint.parse"),
        ({"resume": Checkpoint("another")}, "another query"),
    ],
)
def test_records_refuses_wrong_arguments_at_the_call(arguments: dict[str, Any], message: str) -> None:
    """A wrong argument raises a ValueError that describes it, before any request."""
    with pytest.raises(ValueError, match=message):
        session().records(**{"start": START, "end": NOW, **arguments})


@pytest.mark.parametrize(
    "other",
    [
        {"start": START + timedelta(seconds=1)},
        {"end": NOW - timedelta(seconds=1)},
        {"end": None},
        {"of": VoiceRecord},
        {"where": {"phone_name": "b"}},
        {"where": None},
    ],
)
def test_a_checkpoint_of_another_query_is_refused(other: dict[str, Any]) -> None:
    """A checkpoint is valid only for its own account, kind, filters, start and end."""
    query: dict[str, Any] = {"start": START, "end": NOW, "of": SipRecord, "where": {"phone_name": "a"}}
    checkpoint = session().records(**query).checkpoint
    query |= other
    if query["of"] is VoiceRecord:
        query["where"] = None
    with pytest.raises(ValueError, match="another query"):
        session().records(**query, resume=checkpoint)
    with pytest.raises(ValueError, match="another query"):
        elsewhere = VoiceSession(Credentials("other", "secret"), http_client=httpx.AsyncClient())
        elsewhere.records(START, NOW, of=SipRecord, where={"phone_name": "a"}, resume=checkpoint)


def test_a_checkpoint_is_valid_for_other_page_sizes_and_offsets() -> None:
    """Page size, limit and a time's UTC offset do not change the query."""
    checkpoint = session().records(START, NOW, where={}).checkpoint
    elsewhere = START.astimezone()
    stream = session().records(elsewhere, NOW, page_size=5, limit=7, resume=checkpoint)

    assert checkpoint == stream.checkpoint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "ftp://api.itniotech.com"}, "base_url"),
        ({"base_url": "api.itniotech.com/voice"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://user:pass@api.itniotech.com"}, "base_url"),
        ({"base_url": "https://api.itniotech.com/voice?x=1"}, "base_url"),
        ({"base_url": "https://api.itniotech.com:https/voice"}, "base_url"),
        ({"base_url": "https://api.itniotech.com:70000/voice"}, "base_url"),
        ({"base_url": "http://api.itniotech.com/voice"}, "https"),
        ({"base_url": "http://10.0.0.1/voice"}, "https"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 2.5}, "concurrency"),
        ({"rate": 0}, "rate"),
        ({"rate": "fast"}, "rate"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    """Options out of range, and URLs that would expose the signature, are refused."""
    with pytest.raises(ValueError, match=message) as caught:
        session(**options)

    assert "pass" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:1/voice", "http://127.0.0.9", "http://[::1]:8000/voice/"])
def test_plain_http_is_allowed_on_loopback(url: str) -> None:
    """Plain http is allowed on loopback."""
    assert session(base_url=url)


@pytest.mark.parametrize("options", [{"http_client": httpx.Client}, {"http_client": object}, {"retry": lambda: 3}])
def test_options_of_another_type_are_type_errors(options: dict[str, Any]) -> None:
    """An option of another type, such as a synchronous client, raises TypeError."""
    made = {name: make() for name, make in options.items()}
    with pytest.raises(TypeError):
        VoiceSession(CREDENTIALS, **made)
    with pytest.raises(TypeError):
        VoiceSession(("key", "secret"))  # type: ignore[arg-type]


def test_from_env_reads_credentials_and_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment provides key, secret and optionally the base URL; the error names the missing variables."""
    monkeypatch.delenv("ITNIO_API_KEY", raising=False)
    monkeypatch.delenv("ITNIO_API_SECRET", raising=False)
    monkeypatch.delenv("ITNIO_BASE_URL", raising=False)
    with pytest.raises(ValueError, match="ITNIO_API_KEY"):
        VoiceSession.from_env()
    monkeypatch.setenv("ITNIO_API_KEY", "key")
    with pytest.raises(ValueError, match="ITNIO_API_SECRET"):
        VoiceSession.from_env()
    monkeypatch.setenv("ITNIO_API_SECRET", "secret")

    assert "https://api.itniotech.com/voice" == VoiceSession.from_env()._transport.base_url
    monkeypatch.setenv("ITNIO_BASE_URL", "https://api.onbuka.com/v3/voice")
    assert "https://api.onbuka.com/v3/voice" == VoiceSession.from_env(concurrency=8)._transport.base_url
    assert "http://127.0.0.1" == VoiceSession.from_env(base_url="http://127.0.0.1")._transport.base_url


@pytest.mark.anyio
async def test_page_returns_one_page(itnio_sandbox: Sandbox) -> None:
    """A page contains its records and the server's numbers: total, pages, size."""
    async with session_on(itnio_sandbox) as session:
        page = await session.page(START, NOW, current=2, page_size=30)
        other = await session.page(START, NOW, of=SipRecord)

    assert (2, 30, 30) == (page.current, page.size, len(page.records))
    assert page.total == len(itnio_sandbox.ids(START, NOW))
    assert all(isinstance(record, SipRecord) for record in other.records)
    assert 2 == len(itnio_sandbox.requests)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "arguments", [{"current": 0}, {"current": "1"}, {"page_size": 0}, {"start": NOW + timedelta(1)}, {"end": NAIVE}]
)
async def test_page_refuses_wrong_arguments(itnio_sandbox: Sandbox, arguments: dict[str, Any]) -> None:
    """A wrong argument raises a ValueError, and no request is sent."""
    async with session_on(itnio_sandbox) as session:
        with pytest.raises(ValueError, match=r"must be"):
            await session.page(**{"start": START, "end": NOW, **arguments})

    assert 0 == len(itnio_sandbox.requests)


@pytest.mark.anyio
async def test_page_is_not_split(itnio_sandbox: Sandbox) -> None:
    """A page whose range is too long is refused, with that range."""
    async with session_on(itnio_sandbox) as session:
        with pytest.raises(TimeRangeError) as caught:
            await session.page(NOW - timedelta(days=32), NOW)

    assert Window(NOW - timedelta(days=32), NOW) == caught.value.window


@pytest.mark.anyio
async def test_filters_are_sent_by_wire_name(itnio_sandbox: Sandbox) -> None:
    """Filters are sent under their wire names."""
    async with session_on(itnio_sandbox) as session:
        records = await session.records(START, NOW, of=SipRecord).collect()
        name = records[0].phone_name or ""
        found = await session.records(START, NOW, of=SipRecord, where={"phone_name": name}).collect()

    assert [record for record in records if record.phone_name == name] == found
    assert 0 < len(found) < len(records)


@pytest.mark.anyio
@pytest.mark.parametrize("missing", ["null", "empty", "absent"])
async def test_record_returns_one_record_by_id(itnio_sandbox: Sandbox, missing: Any) -> None:
    """Fetch a record of either kind by its id; a missing one raises RecordNotFoundError."""
    itnio_sandbox.behaviour = Behaviour(missing_record=missing)
    async with session_on(itnio_sandbox) as session:
        voice = (await session.page(START, NOW)).records[0]
        sip = (await session.page(START, NOW, of=SipRecord)).records[0]

        assert voice == await session.record(voice.voice_id or "")
        assert sip == await session.record(sip.voice_id or "", of=SipRecord)
        with pytest.raises(RecordNotFoundError, match="no VoiceRecord with the voice_id 'a b'"):
            await session.record("a b")
        with pytest.raises(RecordNotFoundError, match=r"nothing\.mp3"):
            await session.recording_url("nothing.mp3", source="group")
        itnio_sandbox.behaviour = Behaviour(missing_record="parameter")
        with pytest.raises(ParameterError):
            await session.record("0")


@pytest.mark.anyio
async def test_recording_urls_carry_their_expiry(itnio_sandbox: Sandbox) -> None:
    """A recording's URL, and the time until which it is valid."""
    async with session_on(itnio_sandbox) as session:
        voice = await session.records(START, NOW).collect()
        sip = await session.records(START, NOW, of=SipRecord).collect()
        played = next(record.voice_file_id for record in voice if record.voice_file_id)
        recorded = next(record.recording_file_id for record in sip if record.recording_file_id)
        one = await session.recording_url(played, source="group")
        other = await session.recording_url(recorded, source="sip")

    assert played in one.url
    assert recorded in other.url
    assert one.expires_at is not None
    assert timedelta(minutes=50) < one.expires_at - datetime.now(UTC) < timedelta(minutes=70)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["", "..", " ", None, 5])
async def test_invalid_ids_are_value_errors(name: Any) -> None:
    """An id that could address another resource raises ValueError."""
    with pytest.raises(ValueError, match="must be an id"):
        await session().record(name)
    with pytest.raises(ValueError, match="must be an id"):
        await session().recording_url(name, source="sip")
    with pytest.raises(ValueError, match="source"):
        await session().recording_url("1", source="phone")  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_record_with_another_id_is_rejected() -> None:
    """A single record whose id differs from the requested one is rejected."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "0", "data": {"voiceId": "2"}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        mistaken = VoiceSession(CREDENTIALS, http_client=client, retry=Retry(attempts=1))
        with pytest.raises(ProtocolError, match="the answer is '2'"):
            await mistaken.record("1")


@pytest.mark.anyio
@pytest.mark.itnio_sandbox(records=4000)
async def test_a_page_does_not_wait_for_long_streams(itnio_sandbox: Sandbox) -> None:
    """A page waits for one request of each stream, not for all of their queued requests."""
    itnio_sandbox.behaviour = Behaviour(latency=0.01)
    async with session_on(itnio_sandbox, concurrency=8) as session, anyio.create_task_group() as group:

        async def read() -> None:
            async for _ in session.records(NOW - timedelta(days=59), NOW, page_size=10).pages():
                pass

        for _ in range(20):
            group.start_soon(read)
        while len(itnio_sandbox.requests) < 400:
            await anyio.sleep(0.01)
        before = len(itnio_sandbox.requests)
        await session.page(NOW - timedelta(hours=1), NOW)
        between = len(itnio_sandbox.requests) - before
        group.cancel_scope.cancel()

    assert between < 60


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["total", "size", "current", "pages"])
@pytest.mark.parametrize("value", [10**12 + 1, 10**18, 10**19, 10**400, -1, 1.5, 1e300, True, "x", "-1", [1], {"a": 1}])
async def test_invalid_numbers_of_a_page_are_decode_errors(name: str, value: Any) -> None:
    """An invalid number in an answer raises `DecodeError`, never an error of Python's own."""
    answer = {"total": 1, "size": 100, "current": 1, "pages": 1, "records": [], name: value}

    def serve(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "0", "data": answer})

    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as client:
        session = VoiceSession(CREDENTIALS, http_client=client, retry=Retry(attempts=1))
        for call in (session.page(START, NOW), session.records(START, NOW).collect()):
            with pytest.raises(
                DecodeError, match=f"{name} is .*, but a whole number from 0 to 1000000000000 is expect"
            ):
                await call


@pytest.mark.anyio
@pytest.mark.parametrize("value", [10**12, 10**11, 10**9, "1000000000000", 5.0])
async def test_an_implausible_total_ends_with_an_error(value: Any) -> None:
    """The largest total that is accepted also ends with an error, in bounded time and memory."""

    def serve(request: httpx.Request) -> httpx.Response:
        size = json.loads(request.content)["size"]
        return httpx.Response(200, json={"status": "0", "data": {"total": value, "size": size, "records": []}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as client:
        session = VoiceSession(CREDENTIALS, http_client=client, retry=Retry(attempts=1))
        assert int(value) == (await session.page(START, NOW)).total
        with pytest.raises(IncompleteWindowError):
            await session.records(NOW - timedelta(days=2), NOW - timedelta(days=1)).collect()


@pytest.mark.anyio
@pytest.mark.parametrize("value", [10**17, -(10**17), 10**400, 1.5, True, "x", [1]])
async def test_an_invalid_expiry_is_a_decode_error(value: Any) -> None:
    """An invalid expiry of a recording's URL raises `DecodeError` as well."""

    def serve(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "0", "data": {"url": "https://x", "expireTime": value}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(serve)) as client:
        session = VoiceSession(CREDENTIALS, http_client=client, retry=Retry(attempts=1))
        with pytest.raises(DecodeError, match="expireTime is"):
            await session.recording_url("1", source="sip")


@pytest.mark.anyio
async def test_an_error_advises_what_the_call_accepts(itnio_sandbox: Sandbox) -> None:
    """`page()` has no `expired`, and `records()` splits long ranges itself: each error advises accordingly."""
    async with session_on(itnio_sandbox) as session:
        with pytest.raises(TimeRangeError, match="a page covers at most 31 days of about the last two months") as page:
            await session.page(NOW - timedelta(days=40), NOW)
        with pytest.raises(TimeRangeError, match=r'starts before the oldest available record: .*expired="skip"'):
            await session.records(NOW - timedelta(days=80), NOW).collect()

    assert "expired=" not in str(page.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (302, "redirects are not followed: check base_url"),
        (401, "check base_url, and what is between this machine and the API"),
        (404, "check base_url"),
        (407, "check the user name and password of the proxy"),
        (418, "check base_url"),
        (503, "try again later"),
    ],
)
async def test_an_http_error_names_the_url(code: int, message: str) -> None:
    """An HTTP error without an API response body names its URL, and what to do."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(code))) as client:
        lost = VoiceSession(CREDENTIALS, base_url="https://x.example/v9", http_client=client, retry=Retry(attempts=1))
        with pytest.raises(HTTPStatusError) as caught:
            await lost.record("7")

    what = f"GET /recordGroup/7: HTTP {code} without an API response body, from https://x.example/v9"
    assert f"{what} ({message})" == str(caught.value)
