"""The sandbox's life cycle: entering, requests, changes and leaving, with and without event loops."""

import gc
import logging
import socket
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from starlette.applications import Starlette

from itnio_voice import sandbox as package
from itnio_voice.sandbox import Behaviour, Fault, Request, Sandbox
from itnio_voice.sandbox._service.listener import HOST, Listener

from .conftest import HANG, NOW, Client, Clock, at, eventually


def threads() -> set[str]:
    """Return the names of the sandboxes' threads."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("itnio")}


def test_all_is_complete_and_sorted() -> None:
    """The public names are complete and sorted."""
    assert package.__all__ == sorted(package.__all__) == ["Behaviour", "Fault", "Request", "Sandbox"]


def test_it_listens_from_entering_to_leaving(clock: Clock) -> None:
    """It listens from entering to leaving, on its own port, and leaves no thread."""
    sandbox = Sandbox(clock=clock)
    before = sandbox.base_url

    with sandbox, Sandbox(clock=clock) as other:
        urls = {sandbox.base_url, other.base_url}
        answer = httpx.get(f"{sandbox.base_url}/recordGroup/1", trust_env=False)

    assert before == sandbox.base_url == "http://127.0.0.1/voice"
    assert len(urls) == 2
    assert answer.json()["status"] == "-22"
    assert threads() == set()
    assert sandbox.connections == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{urls.pop()}/recordGroup/1", trust_env=False)
    sandbox.close()


def test_requests_can_be_read_after_leaving(client: Client) -> None:
    """Requests can still be read after leaving."""
    client.status()
    client.sandbox.close()

    assert len(client.sandbox.requests) == 1


def test_leaving_ends_requests_that_hang(clock: Clock) -> None:
    """Requests that hang, wait or drip do not delay the end: their clients are disconnected."""
    outcomes: list[type[Exception]] = []

    def request(url: str) -> None:
        try:
            httpx.get(url, timeout=HANG, trust_env=False)
        except httpx.TransportError as error:
            outcomes.append(type(error))

    behaviour = Behaviour(faults=(Fault("hang", times=2), Fault("drip", times=1)), latency=0.01)
    with Sandbox(behaviour=behaviour, clock=clock) as sandbox:
        clients = [threading.Thread(target=request, args=[f"{sandbox.base_url}/recordGroup/1"]) for _ in range(3)]
        for thread in clients:
            thread.start()
        assert eventually(lambda: sandbox.in_flight == 3)
    for thread in clients:
        thread.join()

    assert len(outcomes) == 3
    assert httpx.ReadTimeout not in outcomes
    assert sandbox.in_flight == 0
    assert sandbox.most_in_flight == 3


def test_a_port_in_use_is_an_error(clock: Clock) -> None:
    """A port in use raises on entering, and nothing is left open."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sandbox = Sandbox(port=taken.getsockname()[1], clock=clock)
        with pytest.raises(OSError, match="in use"), sandbox:
            pass  # pragma: no cover - not entered

    assert threads() == set()


def test_a_requested_port_is_used(clock: Clock) -> None:
    """A free port that was requested is used."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]

    with Sandbox(port=port, clock=clock) as sandbox:
        assert sandbox.base_url == f"http://127.0.0.1:{port}/voice"


def test_impossible_data_are_an_error(clock: Clock) -> None:
    """A data set that cannot be generated raises on entering, and nothing is left open."""
    with pytest.raises(ValueError, match="-1"), Sandbox(records=-1, clock=clock):
        pass  # pragma: no cover - not entered


def test_a_server_that_cannot_start_is_an_error() -> None:
    """A thread that cannot start its server raises in the caller."""

    class Broken(Listener):
        async def _serve(self) -> None:
            raise OSError(24, "Too many open files")

    async def app(scope: object, receive: object, send: object) -> None:
        pass  # pragma: no cover - never requested

    with pytest.raises(OSError, match="open files"):
        Broken(app)


@pytest.mark.anyio
async def test_it_can_be_entered_asynchronously(clock: Clock) -> None:
    """It can be entered and left in asyncio and trio; records are generated in a thread."""
    async with Sandbox(records=20, clock=clock) as sandbox, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{sandbox.base_url}/recordGroup/1")
        ids = sandbox.ids()

    assert answer.json()["status"] == "-22"
    assert len(ids) == 20
    assert threads() == set()


@pytest.mark.anyio
async def test_entering_does_not_block_the_loop(clock: Clock) -> None:
    """Other tasks run while the records are generated."""
    ticked = threading.Event()
    waited: list[bool] = []

    async def tick() -> None:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        ticked.set()

    def wait() -> float:
        waited.append(ticked.wait(HANG))
        return clock()

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        async with Sandbox(records=5, clock=wait):
            pass

    assert waited
    assert all(waited)


@pytest.mark.anyio
async def test_a_failure_to_enter_asynchronously_leaves_nothing(clock: Clock) -> None:
    """An error on entering is raised unchanged, and nothing is left open."""
    with pytest.raises(ValueError, match="-1"):
        async with Sandbox(records=-1, clock=clock):
            pass  # pragma: no cover - not entered

    assert threads() == set()


@pytest.mark.anyio
async def test_a_cancelled_block_stops_the_server(clock: Clock) -> None:
    """A cancelled block also stops the server."""
    with anyio.CancelScope() as scope:
        async with Sandbox(clock=clock):
            scope.cancel()
            await anyio.sleep_forever()

    assert threads() == set()


@pytest.mark.anyio
async def test_cancelled_entering_leaves_nothing(clock: Clock) -> None:
    """A timeout while the records are generated leaves nothing behind."""
    with anyio.move_on_after(0.01):
        async with Sandbox(records=3000, clock=clock):
            await anyio.sleep_forever()

    assert threads() == set()


@pytest.mark.anyio
async def test_the_application_answers_in_process(clock: Clock) -> None:
    """Its application answers without a server, in asyncio and trio, and generates its records on the first request."""
    sandbox = Sandbox(records=7, clock=clock)
    signed = Client(sandbox, httpx.Client(trust_env=False), clock)
    body = {"params": {"strTime": (NOW - timedelta(days=31)).isoformat(), "endTime": NOW.isoformat()}}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=sandbox.app, client=("10.1.1.1", 1))) as http:
        answer = await http.post(f"{sandbox.base_url}/recordGroupQuery", json=body, headers=signed.headers())
        sandbox.behaviour = Behaviour(allowed_addresses=frozenset({"127.0.0.1"}))
        refused = await http.get(f"{sandbox.base_url}/recordGroup/1", headers=signed.headers())
    sandbox.close()
    signed.http.close()

    assert 0 < answer.json()["data"]["total"] <= 7
    assert refused.json()["status"] == "-2"
    assert [request.path for request in sandbox.requests] == ["/recordGroupQuery", "/recordGroup/1"]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["drop", "half_body"])
async def test_connections_end_in_process(clock: Clock, kind: str) -> None:
    """Without a connection, its end raises the error that a socket would."""
    behaviour = Behaviour(faults=(Fault(kind),))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    sandbox = Sandbox(behaviour=behaviour, clock=clock).open()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=sandbox.app)) as http:
        with pytest.raises(ConnectionResetError):
            await http.get(f"{sandbox.base_url}/recordGroup/1")
    sandbox.close()


@pytest.mark.anyio
async def test_a_hanging_request_in_process_can_be_cancelled(clock: Clock) -> None:
    """A request that hangs ends when its caller is cancelled."""
    sandbox = Sandbox(behaviour=Behaviour(faults=(Fault("hang"),)), clock=clock).open()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=sandbox.app)) as http:
        with anyio.move_on_after(0.05) as scope:
            await http.get(f"{sandbox.base_url}/recordGroup/1")
    sandbox.close()

    assert scope.cancelled_caught
    assert sandbox.in_flight == 0


@pytest.mark.anyio
async def test_the_application_handles_lifespan_messages(clock: Clock) -> None:
    """Its application handles the lifespan messages of another server."""
    sent: list[str] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await Sandbox(clock=clock).app({"type": "lifespan", "asgi": {}}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_connections_are_counted(client: Client) -> None:
    """Open connections are counted until the client disconnects."""
    client.status()
    while_open = client.sandbox.connections
    client.http.close()

    assert while_open == 1
    assert eventually(lambda: client.sandbox.connections == 0)


def test_requests_are_recorded(client: Client) -> None:
    """Each request is recorded with its parameters and its outcome."""
    client.sandbox.insert({"submitTime": at(-1)}, {"submitTime": at(-1)})
    start = NOW - timedelta(days=1)
    client.data(start, NOW, current=2, size=1)
    client.status(start, NOW - timedelta(days=99))
    client.get("/recordSip/1", Sign="0" * 32)

    common = {"at": NOW.timestamp(), "method": "POST", "path": "/recordGroupQuery", "account": "sandbox-key"}
    assert client.sandbox.requests == [
        Request(**common, current=2, size=1, start=start, end=NOW, answered="0", rows=1),  # type: ignore[arg-type]
        Request(**common, answered="-22"),  # type: ignore[arg-type]
        Request(method="GET", path="/recordSip/1", at=NOW.timestamp(), answered="-1"),
    ]
    client.sandbox.reset_requests()
    assert client.sandbox.requests == []
    assert client.sandbox.most_in_flight == 0


def test_requests_one_after_another_are_one_in_flight(client: Client) -> None:
    """A client that waits for each answer never has two requests in flight, on any number of connections."""
    with httpx.Client(trust_env=False) as other:
        second = Client(client.sandbox, other, client.clock)
        for _ in range(100):
            client.status()
            second.status()

    assert client.sandbox.most_in_flight == 1


def test_a_hook_may_change_records_before_each_request(client: Client) -> None:
    """A hook before each request may change records and behaviour, and receives the request's number."""
    numbers: list[int] = []

    def between(sandbox: Sandbox, number: int) -> None:
        numbers.append(number)
        if number == 2:
            sandbox.insert({"submitTime": at(-1)})
        if number == 3:
            sandbox.behaviour = Behaviour(locked=True)

    client.sandbox.on_request = between

    assert [client.data()["total"] for _ in range(2)] == [0, 1]
    assert client.status() == "-13"
    client.sandbox.reset_requests()
    client.status()
    assert numbers == [1, 2, 3, 1]


def test_a_failing_hook_is_an_http_500(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """An error in the hook is an HTTP 500, and is logged under our name."""

    def fails(_sandbox: Sandbox, _number: int) -> None:
        raise ZeroDivisionError

    client.sandbox.on_request = fails

    assert client.query().status_code == 500
    assert eventually(lambda: [record.name for record in caplog.records] == ["itnio_voice.sandbox"])


def test_nothing_is_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Answering, faults and stopping log nothing, and loggers are unchanged."""
    access = logging.getLogger("uvicorn.access")
    before = (access.level, access.propagate, list(access.handlers))
    caplog.set_level(logging.DEBUG)
    behaviour = Behaviour(faults=(Fault("drop", times=1), Fault("half_body", times=1)))
    with Sandbox(behaviour=behaviour, clock=clock) as sandbox, httpx.Client(trust_env=False) as http:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                http.get(f"{sandbox.base_url}/recordGroup/1")
        assert http.get(f"{sandbox.base_url}/recordGroup/1").status_code == 200

    ours = ("httpx", "httpcore", "asyncio")
    assert [record for record in caplog.records if not record.name.startswith(ours)] == []
    assert (access.level, access.propagate, list(access.handlers)) == before


def test_records_can_be_changed(client: Client) -> None:
    """Records can be inserted, changed and deleted while it runs, and every answer reflects it."""
    sandbox = client.sandbox
    ids = sandbox.insert({"voiceId": "1", "submitTime": at(-9)}, {"submitTime": at(-8)})
    updated = sandbox.update("1", cost="9.5", code=..., submitTime=at(-7))
    record = client.get("/recordGroup/1").json()["data"]
    order = client.listed()
    removed = sandbox.delete("1", "nothing")

    assert ids[0] == "1"
    assert (updated, removed) == (1, 1)
    assert (record["cost"], "code" in record) == ("9.5", False)
    assert order == [ids[1], "1"]
    assert client.listed() == [ids[1]]
    assert sandbox.update("nothing", cost="1") == 0


def test_a_record_may_be_given_an_invalid_time(client: Client) -> None:
    """A record may be given an invalid submit time; it keeps its place."""
    client.sandbox.insert({"voiceId": "1", "submitTime": at(-9)})
    client.sandbox.update("1", submitTime="yesterday", callTime="2026-99-99")

    assert client.data()["records"][0]["submitTime"] == "yesterday"


def test_incomplete_records_can_be_inserted(client: Client) -> None:
    """A record may have no id, and times without an offset, read in the vendor's; its submit time must be valid."""
    local = (NOW - timedelta(seconds=5) + timedelta(hours=8)).replace(tzinfo=None).isoformat()

    ids = client.sandbox.insert({"voiceId": None, "submitTime": local}, {"voiceId": ..., "submitTime": local})

    assert ids == ["", ""]
    assert client.data(NOW - timedelta(seconds=5), NOW)["total"] == 2
    with pytest.raises(ValueError, match="soon"):
        client.sandbox.insert({"submitTime": "soon"})


def test_ids_are_returned_by_kind(client: Client) -> None:
    """Ids of a range are returned by kind, whether the records are visible or not."""
    client.sandbox.insert({"voiceId": "1", "submitTime": at(-9)}, {"voiceId": "2", "submitTime": at(99)})
    client.sandbox.insert({"voiceId": "3"}, kind="sip")

    client.sandbox.insert({"voiceId": "4", "submitTime": at(-99 * 86400)})

    assert client.sandbox.ids() == {"1", "2", "4"}
    assert client.sandbox.ids(NOW) == {"2"}
    assert client.sandbox.ids(end=NOW) == {"1", "4"}
    assert client.sandbox.ids(kind="sip") == {"3"}
    assert client.listed() == ["1"]


def test_accounts_have_their_own_records(clock: Clock) -> None:
    """Each account has its own secret and records, and sees no other's."""
    with (
        # All in one second, where only their numbers keep ids distinct.
        Sandbox(
            accounts={"a": "1", "b": "2"},
            records=5,
            sip_records=5,
            start=NOW - timedelta(seconds=1),
            end=NOW,
            clock=clock,
        ) as sandbox,
        httpx.Client(trust_env=False) as http,
    ):
        client = Client(sandbox, http, clock)
        sandbox.insert({"voiceId": "x"}, account="b")
        seen_by_a = client.get("/recordGroup/x").json()["data"]
        sandbox.api_key, sandbox.api_secret = "b", "2"
        seen_by_b = client.get("/recordGroup/x").json()["data"]
        kinds: tuple[Any, ...] = ("group", "sip")
        sets = [sandbox.ids(account=account, kind=kind) for account in "ab" for kind in kinds]
        with pytest.raises(KeyError):
            sandbox.insert({}, account="c")

    assert seen_by_a is None
    assert seen_by_b["voiceId"] == "x"
    assert [len(ids) for ids in sets] == [5, 5, 6, 5]
    assert len(set[str]().union(*sets)) == 21
    assert [request.account for request in sandbox.requests] == ["a", "b"]


def test_a_file_keeps_the_records(tmp_path: Path, clock: Clock) -> None:
    """A file keeps the records, and is reused when it is opened again."""
    database = tmp_path / "records.db"
    with Sandbox(records=5, database=database, clock=clock) as sandbox:
        sandbox.insert({"voiceId": "mine"})
        ids = sandbox.ids()
    with Sandbox(records=50, database=database, clock=clock) as again:
        assert again.ids() == ids
    assert len(ids) == 6


def test_opening_again_changes_nothing(clock: Clock) -> None:
    """Opening and serving again changes nothing."""
    sandbox = Sandbox(records=3, clock=clock).open()
    ids = sandbox.ids()
    with sandbox:
        url = sandbox.base_url
        assert sandbox.serve().base_url == url
        assert sandbox.open().ids() == ids


def test_default_range_is_inside_retention() -> None:
    """The default data set is within the retention, by the real clock."""
    with Sandbox(records=50) as sandbox:
        assert len(sandbox.ids()) == 50


def test_it_can_be_used_from_many_threads(clock: Clock) -> None:
    """Records may be changed from any thread while requests are answered."""
    errors: list[Exception] = []

    def repeatedly(action: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                for _ in range(30):
                    action()
            except Exception as error:  # noqa: BLE001 - checked below
                errors.append(error)

        return run

    with Sandbox(records=500, clock=clock) as sandbox, httpx.Client(trust_env=False) as http:
        client = Client(sandbox, http, clock)
        for_a_second = {"start": NOW, "end": NOW, "size": 100}

        def one_moment() -> None:
            page = client.data(**for_a_second)
            assert page["total"] == len(page["records"])

        actions = (lambda: sandbox.insert({}), one_moment, one_moment, sandbox.ids)
        running = [threading.Thread(target=repeatedly(action)) for action in actions]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    assert errors == []
    assert len(sandbox.requests) == 60


def test_connections_that_are_accepted_at_the_stop_are_closed() -> None:
    """Connections that the event loop accepts in the turn in which it stops leave no socket open."""
    clients: list[socket.socket] = []

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        listener = Listener(Starlette())

        def connect_and_stop() -> None:
            clients.extend(socket.create_connection((HOST, listener.port)) for _ in range(8))
            # The next turn stops first, and then accepts.
            listener._loop.call_soon(listener._stop.set)

        listener._loop.call_soon_threadsafe(connect_and_stop)
        listener._thread.join()
        for client in clients:
            client.close()
        gc.collect()

    assert [] == [str(warning.message) for warning in caught]
