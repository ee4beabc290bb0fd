"""An account on a sandbox in virtual time, and a probe of it."""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import anyio
import httpx

from itnio_voice import Credentials
from itnio_voice.cli.probing.findings import Report
from itnio_voice.cli.probing.probe import probe
from itnio_voice.sandbox import Behaviour, Sandbox

from ...support.virtual_time import START, backend_options

NOW = int(datetime(2026, 9, 10, 12, tzinfo=UTC).timestamp())
DAY = 86400
Record = dict[str, Any]


def now() -> float:
    """Return the time of both machines, in Unix seconds: that of the event loop."""
    return NOW + anyio.current_time() - START


def record(submitted: int, voice_id: str, *, wait: int = 11, length: int = 60) -> Record:
    """Return a record that was called `wait` seconds after its submit time, for `length` seconds."""
    times = {"submitTime": submitted, "callTime": submitted + wait, "hangupTime": submitted + wait + length}
    return {"voiceId": voice_id, **{name: _shown(second) for name, second in times.items()}}


def _shown(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def account(random: Random, *, per_day: int = 300, days: int = 40) -> list[Record]:
    """Return records of the last days: up to five in a second, of all times, and with ids that are in no order."""
    records = []
    for _ in range(per_day * days // 3):
        at, wait, length = NOW - random.randrange(days * DAY), random.randrange(40), random.randrange(5, 60)
        for _ in range(random.randrange(1, 6)):
            records.append(record(at, f"{random.getrandbits(64):016x}", wait=wait, length=length))
    return records


def probed(
    behaviour: Behaviour,
    records: list[Record],
    *,
    sandbox: Sandbox | None = None,
    backend: str = "asyncio",
    rate: float | None = None,
    minutes: float = 0.0,
) -> tuple[Report, Sandbox]:
    """Probe a sandbox with a behaviour and records; return the report, and the sandbox with its requests.

    The sandbox is a new one, or one of the caller, which gets the records unless it has some.
    """
    used = sandbox or Sandbox(clock=now)
    used.behaviour = behaviour
    used.reset_requests()

    async def run() -> Report:
        if not used.ids():
            used.insert(*records)
        transport = httpx.ASGITransport(app=used.app)
        async with httpx.AsyncClient(transport=transport, verify=False) as client:  # noqa: S501 -- there is no network
            return await probe(
                Credentials(used.api_key, used.api_secret),
                client,
                base_url="http://127.0.0.1/voice",
                rate=rate,
                minutes=minutes,
                clock=now,
            )

    try:
        return anyio.run(run, backend=backend, backend_options=backend_options(backend)), used
    finally:
        if sandbox is None:
            used.close()


def as_json(value: object) -> Any:
    """Return the value of a switch as the report has it."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return sorted(value) if isinstance(value, frozenset) else value


def values(report: Report) -> dict[str, Any]:
    """Return the values of a report's JSON."""
    read: dict[str, Any] = json.loads(report.to_json())
    return read
