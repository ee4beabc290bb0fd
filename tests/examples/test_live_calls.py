"""The web app's server-sent events: each client gets each new record once, and slow or gone clients cost nothing."""

import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import attrs
import httpx2
import pytest

from itnio_voice import RecordFollower
from itnio_voice.sandbox import Behaviour, Sandbox

from .loading import live_calls, load
from .serving import CONCURRENCY, RANGE, Server, client_of, handle_other_requests, until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

EVENTS = "/accounts/eu/events"
LARGE = 300
"""The number of records whose events fill the buffers of the network several times."""


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    """Run a sandbox for each test: a follower begins at the present, where the test before may have added records."""
    with Sandbox(records=10, accounts={"eu-key": "eu-s", "us-key": "us-s"}) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll all the time."""
    monkeypatch.setenv("WEB_APP_POLL_SECONDS", "0.05")


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of the events, with a patience that no busy machine exhausts."""
    module = live_calls()
    monkeypatch.setattr(module, "GRACE", math.inf)
    return module


@pytest.fixture
def follows(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the followers that are read."""
    counter = Counter[str]()
    batches = RecordFollower.batches

    def count(self: RecordFollower[Any]) -> Any:
        counter["read"] += 1
        return batches(self)

    monkeypatch.setattr(RecordFollower, "batches", count)
    return counter


@attrs.define
class Listener:
    """A client's stream of events."""

    lines: AsyncIterator[str]
    names: Counter[str] = attrs.field(factory=Counter[str])

    async def next(self) -> tuple[str, Any]:
        """Return the name and data of the next event."""
        name = await self._line("event: ")
        self.names[name] += 1
        return name, json.loads(await self._line("data: "))

    async def ids(self, *expected: str) -> list[str]:
        """Return the ids of the records until all that are expected have arrived."""
        found: list[str] = []
        while not {*expected} <= {*found}:
            name, data = await self.next()
            assert "call" == name
            found.append(data["voice_id"])
        return found

    async def comment(self) -> str:
        """Return the next comment."""
        return await self._line(": ")

    async def _line(self, start: str) -> str:
        while not (line := await anext(self.lines)).startswith(start):
            assert line == "" or line.startswith(":")
        return line.removeprefix(start)


@asynccontextmanager
async def listening(client: httpx2.AsyncClient) -> AsyncIterator[Listener]:
    """Open a stream of events."""
    async with client.stream("GET", EVENTS) as answer:
        assert 200 == answer.status_code
        assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
        listener = Listener(answer.aiter_lines())
        assert "connected" == await listener.comment()
        yield listener


async def test_each_client_gets_each_new_record_once(sandbox: Sandbox, server: Server, follows: Counter[str]) -> None:
    """All clients share one follower, and each gets the records that appear while it is connected, once."""
    found: list[list[str]] = []

    async def listen(listener: Listener, *expected: str) -> None:
        found.append(sorted(await listener.ids(*expected)))

    async with client_of(server) as client, listening(client) as one, listening(client) as two:
        early = sorted(sandbox.insert({}, {}, {}, account="eu-key"))
        sandbox.insert({}, account="us-key")
        for each in (one, two):
            await listen(each, *early)
        async with listening(client) as three:
            late = sorted(sandbox.insert(*[{}] * LARGE, account="eu-key"))
            async with anyio.create_task_group() as reading:
                for each in (one, two, three):
                    reading.start_soon(listen, each, *late)

    assert [early] * 2 + [late] * 3 == found
    assert 1 == follows["read"]


async def test_the_last_client_stops_the_follower(sandbox: Sandbox, server: Server, follows: Counter[str]) -> None:
    """Without clients no request is sent and no task is left. The next client starts another follower."""
    async with client_of(server) as client:
        await client.get("/totals", params=RANGE)
    await until(server.idle)
    tasks = server.tasks()
    for number in (1, 2):
        async with client_of(server) as client, listening(client) as one:
            async with listening(client):
                pass
            [inserted] = sandbox.insert({}, account="eu-key")
            assert [inserted] == await one.ids(inserted)
        await until(server.idle)
        await until(lambda: sandbox.in_flight == 0)
        await until(lambda: server.tasks() == tasks)
        requests = len(sandbox.requests)
        await handle_other_requests(server)
        assert requests == len(sandbox.requests)
        assert number == follows["read"]
    assert sandbox.connections <= CONCURRENCY * len(sandbox.accounts)


async def test_a_slow_client_is_dropped_and_delays_no_other(
    sandbox: Sandbox,
    server: Server,
    live: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A client that does not read gets the first records and the reason; another one gets all of them."""
    monkeypatch.setattr(live, "LARGEST_BUFFER", 1)
    inserted: list[str] = []
    found: list[str] = []
    async with client_of(server) as client, listening(client) as slow, listening(client) as fast:
        while "dropped" not in caplog.text:
            inserted += sandbox.insert(*[{}] * LARGE, account="eu-key")
            while len(found) < len(inserted):
                name, data = await fast.next()
                assert "call" == name
                found.append(data["voice_id"])
        events = [await slow.next()]
        while events[-1][0] == "call":
            events.append(await slow.next())
        with pytest.raises(StopAsyncIteration):
            await slow.next()
        assert found[: len(events) - 1] == [data["voice_id"] for _, data in events[:-1]]
        [last] = sandbox.insert({}, account="eu-key")
        assert [last] == await fast.ids(last)

    assert sorted(inserted) == sorted(found)
    assert ("dropped", {"reason": "the client reads too slowly: more than 1 bytes wait for it"}) == events[-1]
    assert 1 == caplog.text.count("is dropped: the client reads too slowly")


async def test_a_dropped_client_that_never_reads_leaves_no_task(
    sandbox: Sandbox,
    server: Server,
    live: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The app does not wait longer than the grace for a client that is dropped."""
    monkeypatch.setattr(live, "LARGEST_BUFFER", 1)
    monkeypatch.setattr(live, "GRACE", 0.0)
    async with client_of(server) as client, listening(client):
        while "dropped" not in caplog.text:
            sandbox.insert(*[{}] * LARGE, account="eu-key")
            await anyio.sleep(0.2)
        await until(server.idle)  # while the client is still connected
        await until(lambda: sandbox.in_flight == 0)


async def test_a_failure_is_an_event_and_following_continues(sandbox: Sandbox, server: Server) -> None:
    """Clients stay connected when the API fails, and get the records of the meantime."""
    async with client_of(server) as client, listening(client) as one:
        [first] = sandbox.insert({}, account="eu-key")
        assert [first] == await one.ids(first)
        sandbox.behaviour = Behaviour(locked=True)
        assert ("failed", {"error": "UserLockedError"}) == await one.next()
        [second] = sandbox.insert({}, account="eu-key")
        sandbox.behaviour = Behaviour()
        name, data = await one.next()
        while name == "failed":
            name, data = await one.next()
        assert ("call", second) == (name, data["voice_id"])


async def test_an_unexpected_failure_ends_the_streams(
    sandbox: Sandbox, server: Server, live: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect ends the streams of its clients with a reason, and neither the app nor the next client."""

    def fail(_: Any) -> bytes:
        raise LookupError

    async with client_of(server) as client:
        with monkeypatch.context() as patch:
            patch.setattr(live, "json_lines", fail)
            async with listening(client) as one, listening(client) as two:
                sandbox.insert({}, account="eu-key")
                for each in (one, two):
                    assert ("dropped", {"reason": "following has failed: LookupError"}) == await each.next()
                    with pytest.raises(StopAsyncIteration):
                        await each.next()
        async with listening(client) as one:
            [inserted] = sandbox.insert({}, account="eu-key")
            assert [inserted] == (await one.ids(inserted))[-1:]


async def test_comments_keep_the_connection_alive(
    sandbox: Sandbox, server: Server, live: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client without new records gets comments."""
    monkeypatch.setattr(live, "KEEP_ALIVE", 0.01)
    async with client_of(server) as client, listening(client) as one:
        assert ["keep-alive"] * 3 == [await one.comment() for _ in range(3)]
        [inserted] = sandbox.insert({}, account="eu-key")
        assert [inserted] == await one.ids(inserted)


async def test_the_app_shuts_down_while_clients_listen(sandbox: Sandbox, accounts: Path) -> None:
    """Shutdown ends the streams of idle clients, and no request or connection to the vendor is left."""
    assert accounts.is_file()
    server = Server(load("web_app").app)
    with server:
        async with client_of(server) as client, listening(client) as one, listening(client) as two:
            await until(lambda: len(sandbox.requests) > 3)
            await anyio.to_thread.run_sync(server.__exit__, None, None, None)
            for each in (one, two):
                with pytest.raises((httpx2.RemoteProtocolError, StopAsyncIteration)):
                    await each.next()
    await until(lambda: sandbox.in_flight == 0)
    await until(lambda: sandbox.connections == 0)


async def test_the_token_is_required(sandbox: Sandbox, accounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the token, no client gets events; an unknown account has none."""
    monkeypatch.setenv("WEB_APP_TOKEN", "right")
    assert accounts.is_file()
    with Server(load("web_app").app) as server:
        async with client_of(server) as client:
            refused = await client.get(EVENTS)
            unknown = await client.get(EVENTS.replace("eu", "nobody"), headers={"Authorization": "Bearer right"})
            assert [] == sandbox.requests
            async with client.stream("GET", EVENTS, headers={"Authorization": "Bearer right"}) as answer:
                accepted = answer.status_code

    assert (401, 404, 200) == (refused.status_code, unknown.status_code, accepted)


@pytest.mark.parametrize("text", ["0", "0.0", "-1", "", "x", "nan", "inf", "9" * 400])
async def test_a_wrong_interval_is_refused_at_the_start(
    sandbox: Sandbox, accounts: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """An interval that is not positive ends the app before it accepts clients."""
    monkeypatch.setenv("WEB_APP_POLL_SECONDS", text)
    module = load("web_app")
    assert accounts.is_file()
    with pytest.raises(ValueError, match="WEB_APP_POLL_SECONDS must be a positive number of seconds such as 30, not"):
        async with module.lifespan(module.app):
            pass
    assert [] == sandbox.requests
