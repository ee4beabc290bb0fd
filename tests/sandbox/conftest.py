"""Shared by the sandbox's tests: a settable clock, a signing client, and the two event loops."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import httpx
import pytest

from itnio_voice.sandbox import Behaviour, Sandbox
from itnio_voice.sandbox._service.rules import digest

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HANG = 60.0
"""Timeout in seconds of what should not hang; a busy machine does not reach it."""
Asks = Callable[..., httpx.Response]


@attrs.define
class Clock:
    """A clock that stands still until it is set."""

    at: float = NOW.timestamp()

    def __call__(self) -> float:
        """Return the time, in Unix seconds."""
        return self.at


@attrs.define
class Client:
    """A client of a sandbox's port that signs as the vendor documents."""

    sandbox: Sandbox
    http: httpx.Client
    clock: Callable[[], float]

    def headers(self, **changes: str | None) -> dict[str, str]:
        """Return a signed request's headers; one changed to None is omitted."""
        timestamp = changes.get("Timestamp") or str(int(self.clock()))
        signed = {
            "Api-Key": self.sandbox.api_key,
            "Timestamp": timestamp,
            "Sign": digest(self.sandbox.api_key, self.sandbox.api_secret, timestamp),
        }
        return {name: value for name, value in (signed | changes).items() if value is not None}

    def get(self, path: str, **changes: str | None) -> httpx.Response:
        """Get a path below the base URL."""
        return self.http.get(self.sandbox.base_url + path, headers=self.headers(**changes))

    def post(self, path: str, body: object, **changes: str | None) -> httpx.Response:
        """Post a body, as JSON unless it is bytes."""
        typed: dict[str, str | None] = {"Content-Type": "application/json;charset=UTF-8"}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(self.sandbox.base_url + path, content=content, headers=self.headers(**(typed | changes)))

    def query(
        self,
        start: datetime = NOW - timedelta(days=30),
        end: datetime = NOW,
        *,
        kind: str = "group",
        filters: dict[str, Any] | None = None,
        **page: object,
    ) -> httpx.Response:
        """Request a page."""
        params = {"strTime": start.isoformat(), "endTime": end.isoformat()} | (filters or {})
        path = {"group": "/recordGroupQuery", "sip": "/recordSipQuery"}[kind]
        return self.post(path, page | {"params": params})

    def data(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Request a page and return its data, which must exist."""
        answer = self.query(*args, **options).json()
        assert answer["status"] == "0"
        data: dict[str, Any] = answer["data"]
        return data

    def listed(self, *args: Any, **options: Any) -> list[str]:
        """Request a page of 100 and return its ids, in order."""
        return [record["voiceId"] for record in self.data(*args, **({"size": 100} | options))["records"]]

    def status(self, *args: Any, **options: Any) -> str:
        """Request a page and return the status."""
        status: str = self.query(*args, **options).json()["status"]
        return status


def at(seconds: float) -> str:
    """Return a wire time some seconds after NOW."""
    return (NOW + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands at NOW."""
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    """Run a sandbox without records, whose clock stands at NOW."""
    with Sandbox(clock=clock, behaviour=Behaviour()) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox, clock: Clock) -> Iterator[Client]:
    """Return a client of the sandbox."""
    with httpx.Client(timeout=HANG, trust_env=False) as http:
        yield Client(sandbox, http, clock)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run asynchronous tests on both event loops."""
    backend: str = request.param
    return backend


def eventually(true: Callable[[], bool]) -> bool:
    """Wait until a condition is true; return whether it became true."""
    deadline = time.monotonic() + HANG
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()
