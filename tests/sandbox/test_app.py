"""The ASGI application without a server: states between two of its steps."""

import json
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest

from itnio_voice.sandbox import Behaviour, Sandbox
from itnio_voice.sandbox._data.dataset import complete
from itnio_voice.sandbox._data.store import Selection, Store
from itnio_voice.sandbox._service.app import Service
from itnio_voice.sandbox._service.rules import digest

from .conftest import NOW, Clock

pytestmark = pytest.mark.anyio

SCOPE = {"type": "http", "http_version": "1.1", "query_string": b"", "server": ("127.0.0.1", 80), "scheme": "http"}


class Busy(Store):
    """A store into which a record is inserted after each count."""

    insertions: list[Thread]

    def count(self, selection: Selection) -> int:
        """Count, then insert a record."""
        total = super().count(selection)
        record = complete({"submitTime": NOW.isoformat()}, kind="group", number=1, now=0)
        thread = Thread(target=self.insert, args=[[record]], kwargs={"kind": "group", "account": "a"})
        thread.start()
        thread.join(0.1)
        self.insertions = [*getattr(self, "insertions", []), thread]
        return total


async def test_answers_are_of_one_moment() -> None:
    """A record that is inserted while a page is read is not on it, because the total does not count it."""
    store = Busy()
    timestamp = str(int(NOW.timestamp()))
    service = Service(
        store=lambda: store,
        accounts={"a": "b"},
        behaviour=Behaviour(),
        seed=1,
        clock=Clock(),
        before=lambda _: None,
    )
    headers = {
        "Content-Type": "application/json",
        "Api-Key": "a",
        "Timestamp": timestamp,
        "Sign": digest("a", "b", timestamp),
    }
    params = {"strTime": (NOW - timedelta(days=1)).isoformat(), "endTime": NOW.isoformat()}
    body = json.dumps({"params": params, "size": 100}).encode()
    pages: list[dict[str, Any]] = []
    for _ in range(3):
        pages.append(json.loads(await post(service, "/voice/recordGroupQuery", headers, body))["data"])
        store.insertions[-1].join()
    store.close()

    assert [len(page["records"]) for page in pages] == [page["total"] for page in pages]
    assert [0, 1, 2] == [page["total"] for page in pages]


async def test_answered_requests_are_not_in_flight() -> None:
    """A request is no longer in flight when the last part of its answer is sent."""
    sandbox = Sandbox(clock=Clock()).open()
    in_flight: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    async def send(message: object) -> None:
        del message
        in_flight.append(sandbox.in_flight)

    await sandbox.app({**SCOPE, "method": "GET", "path": "/voice/recordGroup/1", "headers": []}, receive, send)
    sandbox.close()

    assert in_flight == [1, 0]


async def post(service: Service, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Post to an application and return the body of the answer."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    answer = bytearray()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        answer.extend(message.get("body", b""))

    await service({**SCOPE, "method": "POST", "path": path, "headers": raw}, receive, send)
    return bytes(answer)
