"""The types that checkers infer for the public interface: checked, never run."""

from datetime import datetime
from decimal import Decimal
from typing import Any, assert_type

import attrs
import httpx
import httpx2

from itnio_voice import (
    Attempt,
    BillPeriod,
    Checkpoint,
    Credentials,
    Page,
    Progress,
    RecordingURL,
    RecordStream,
    Retry,
    SipRecord,
    VoiceRecord,
    VoiceSession,
    Window,
    WindowBatch,
    merge,
)


@attrs.frozen
class Own(VoiceRecord):
    """A user's own record class."""

    campaign_id: int | None = None


async def session(start: datetime, end: datetime) -> None:
    """Open sessions in every way."""
    credentials = Credentials("key", "secret")
    async with VoiceSession(credentials, http_client=httpx.AsyncClient(), retry=Retry(attempts=1)) as one:
        assert_type(one, VoiceSession)
    VoiceSession(credentials, http_client=httpx2.AsyncClient(), concurrency=8, rate=5.0, timeout=10)
    VoiceSession(credentials, on_attempt=lambda attempt: assert_type(attempt, Attempt))
    async with VoiceSession.from_env(concurrency=8) as other:
        assert_type(other, VoiceSession)
        assert_type(other.records(start), RecordStream[VoiceRecord])
        assert_type(other.records(start, end, of=SipRecord, where={"phone_name": "a"}), RecordStream[SipRecord])
        assert_type(await other.page(start, end), Page[VoiceRecord])
        assert_type(await other.page(start, end, of=SipRecord, current=2), Page[SipRecord])
        assert_type(await other.record("1"), VoiceRecord)
        assert_type(await other.record("1", of=SipRecord), SipRecord)
        assert_type((await other.record("1", of=Own)).campaign_id, int | None)
        assert_type(other.records(start, of=Own), RecordStream[Own])
        assert_type(await other.recording_url("1", source="sip"), RecordingURL)


async def stream(session: VoiceSession, start: datetime) -> None:
    """Read streams in every way."""
    async for record in session.records(start, of=SipRecord):
        assert_type(record, SipRecord)
    async for page in session.records(start).pages():
        assert_type(page, Page[VoiceRecord])
        assert_type(page.total, int | None)
    async for batch in session.records(start, of=SipRecord).windows():
        assert_type(batch, WindowBatch[SipRecord])
        assert_type(batch.window, Window)
        assert_type(batch.records, tuple[SipRecord, ...])
        assert_type(batch.checkpoint, Checkpoint)
    records = session.records(start, resume=Checkpoint.parse(""), expired="skip", limit=5)
    assert_type(await records.collect(), list[VoiceRecord])
    assert_type(records.progress, Progress)
    assert_type(records.skipped, tuple[Window, ...])
    assert_type(records.checkpoint, Checkpoint)
    assert_type(records.of, type[VoiceRecord])
    async with merge({"eu": session.records(start), "us": session.records(start)}, buffer=5) as merged:
        async for name, voice in merged:
            assert_type(name, str)
            assert_type(voice, VoiceRecord)
    assert_type(merged.failures, dict[str, Exception])


def record(voice: VoiceRecord, sip: SipRecord) -> None:
    """Read the attributes of records."""
    assert_type(voice.cost, Decimal | None)
    assert_type(voice.submit_time, datetime | None)
    assert_type(voice.call_duration, int | None)
    assert_type(voice.pressed_key, str | None)
    assert_type(voice.billing, BillPeriod | None)
    assert_type(voice.answered, bool)
    assert_type(sip.finished, bool)
    assert_type(sip.phone_name, str | None)
    assert_type(sip.to_dict(), dict[str, Any])
