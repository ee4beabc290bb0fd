"""The documentation's webhook: each record is posted at least once, and a failing webhook loses none."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx
import pytest

from itnio_voice import Credentials, VoiceSession
from itnio_voice.sandbox import Sandbox

from .loading import load

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def test_each_record_is_posted_also_if_the_webhook_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Failures are posted again; the next run continues from the stored checkpoint."""
    webhook, posted, answers = load("webhook"), list[str](), [500, 0, 200]
    monkeypatch.setattr(webhook, "PAUSE", 0.01)
    received, file = anyio.Event(), tmp_path / "webhook.checkpoint"

    def receive(request: httpx.Request) -> httpx.Response:
        answer = answers.pop(0) if answers else 200
        if not answer:
            message = "no connection"
            raise httpx.ConnectError(message)
        if answer == 200:
            posted.extend(record["voice_id"] for record in json.loads(request.content))
            received.set()
        return httpx.Response(answer)

    async def run(sandbox: Sandbox) -> None:
        """Follow until a record has been posted and its checkpoint stored."""
        nonlocal received
        received, before = anyio.Event(), webhook.load(file)
        credentials = Credentials(sandbox.api_key, sandbox.api_secret)
        client = httpx.AsyncClient(transport=httpx.MockTransport(receive))
        async with VoiceSession(credentials, base_url=sandbox.base_url) as session, client:
            follower = session.follow(datetime.now(UTC) - timedelta(hours=1), every=0.2, resume=before)
            async with anyio.create_task_group() as group:
                group.start_soon(webhook.post, follower, client, "https://example.com/calls", file)
                await received.wait()
                while webhook.load(file) == before:
                    await anyio.sleep(0.01)
                group.cancel_scope.cancel()

    with Sandbox(records=0) as sandbox:
        for name in ("first", "second"):
            sandbox.insert({"voiceId": name, "submitTime": (datetime.now(UTC) - timedelta(minutes=1)).isoformat()})
            await run(sandbox)
    assert ["first", "second"] == posted
    assert [] == answers
