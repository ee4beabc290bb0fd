"""The documentation's web app, under uvicorn and against the sandbox: bounded, fair, and cleaned up."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from itnio_voice.sandbox import Behaviour, Fault, Sandbox
from tests.conftest import environment_of

from .loading import EXAMPLES, load
from .serving import (
    CONCURRENCY,
    END,
    EU,
    RANGE,
    SMALL,
    START,
    Server,
    account,
    client_of,
    handle_other_requests,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

EVENTS = "/accounts/eu/events"
HISTORY = "/accounts/eu/history"
LONG_AGO = (END - timedelta(days=70)).isoformat()
SECOND = timedelta(seconds=1)


def ids(body: str) -> list[str]:
    """Return the ids of lines of records."""
    return [json.loads(line)["voice_id"] for line in body.splitlines()]


async def test_each_path_is_answered(sandbox: Sandbox, server: Server) -> None:
    """The app returns a page, all records, the totals of all accounts, and its health."""
    expected = sandbox.ids(START, END)
    async with client_of(server) as client:
        health = await client.get("/health")
        page = (await client.get(EU, params=RANGE | {"page": "2"})).json()
        every = await client.get(f"{EU}.ndjson", params=RANGE)
        none = await client.get(f"{EU}.ndjson", params={"start": RANGE["end"], "end": (END + SECOND * 10).isoformat()})
        totals = (await client.get("/totals", params=RANGE)).json()

    assert {"status": "ok"} == health.json()
    assert (2, 100, len(expected)) == (page["page"], len(page["records"]), page["total"])
    assert expected == set(ids(every.text))
    assert len(expected) == len(ids(every.text))
    assert "" == none.text
    records = [json.loads(line) for line in every.text.splitlines()]
    cost = sum(Decimal(record["cost"] or 0) for record in records)
    assert {"eu", "us"} == totals["accounts"].keys()
    assert len(records) == totals["accounts"]["eu"]["calls"]
    assert cost == sum(map(Decimal, totals["accounts"]["eu"]["cost"].values()))
    assert ({}, {}) == (totals["failed"], totals["partial"])


async def test_a_range_that_is_not_over_is_marked(sandbox: Sandbox, server: Server) -> None:
    """A client cannot mistake the records up to now for those of a range that ends later."""
    end = END + timedelta(days=30)
    later = RANGE | {"end": end.isoformat()}
    async with client_of(server) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(f"{EU}.ndjson", params=later)
        none = await client.get(f"{EU}.ndjson", params=later | {"start": RANGE["end"]})
        totals = (await client.get("/totals", params=later)).json()
        moment = {"start": "2026-10-01T00:00:00.2Z", "end": "2026-10-01T00:00:00.7Z"}
        empty = [await client.get(path, params=moment) for path in (EU, f"{EU}.ndjson", "/totals")]

    assert (422, "TimeRangeError") == (none.status_code, none.json()["error"])
    assert [len(sandbox.ids(START, END))] == [totals["accounts"]["eu"]["calls"]]
    assert {"eu", "us"} == totals["partial"].keys()
    assert END < datetime.fromisoformat(totals["partial"]["eu"]) < end
    assert [200] * 3 == [answer.status_code for answer in empty]
    assert (0, "", {}) == (empty[0].json()["total"], empty[1].text, empty[2].json()["partial"])


@pytest.mark.parametrize(
    ("path", "params", "words"),
    [
        (EU, {}, "start must be a time"),
        (EU, RANGE | {"start": "2026-10-01T08:00:00+08:00x"}, "%2B08:00"),
        (EU, RANGE | {"start": RANGE["end"]}, "start must be before end"),
        (EU, RANGE | {"start": "2026-10-01T08:00:00"}, "with an offset"),
        (EU, RANGE | {"start": "2026-10-01"}, "with an offset"),
        (EU, RANGE | {"end": "2026-10-01T08:00:00"}, "end must be a time with an offset"),
        (EU, RANGE | {"start": "0001-01-01T00:00:00+14:00"}, "start must be a time"),
        (EU, RANGE | {"start": "9" * 5000}, f"not {'9' * 40!r}"),
        (EU, RANGE | {"page": "0"}, "page must be a number from 1 to 10000, not '0'"),
        (EU, RANGE | {"page": "x"}, "'x'"),
        (EU, RANGE | {"page": "9" * 5000}, f"not {'9' * 40!r}"),
        (EU, RANGE | {"page": "101"}, "page * size must be at most 10000, not 10100: choose a shorter range"),
        (EU, RANGE | {"size": "0"}, "size must be a number from 1 to 100, not '0'"),
        (EU, RANGE | {"size": "101"}, "size must be a number from 1 to 100, not '101'"),
        (EU, RANGE | {"start": LONG_AGO}, "the range must be at most 62 days, not 70"),
        (f"{EU}.ndjson", RANGE | {"start": LONG_AGO}, "the range must be at most 62 days, not 70"),
        ("/totals", RANGE | {"start": LONG_AGO}, "the range must be at most 62 days, not 70"),
        (f"{EU}.ndjson", RANGE | {"end": RANGE["start"]}, "start must be before end"),
        (HISTORY, {}, "start must be a time"),
        (HISTORY, {"start": LONG_AGO}, "the range must be at most 62 days, not 70"),
        (HISTORY, {"start": "2100-01-01T00:00:00Z"}, "start must be before end"),
        (HISTORY, RANGE | {"cursor": ""}, "cursor is not valid"),
        (HISTORY, RANGE | {"cursor": "."}, "cursor is not valid"),
        (HISTORY, RANGE | {"cursor": "\udcff\x00ü.ü".encode(errors="replace").decode()}, "cursor is not valid"),
        (HISTORY, RANGE | {"cursor": "x" * 10_000}, "cursor is not valid"),
        ("/totals", {"start": RANGE["start"]}, "end must be a time"),
        ("/totals", RANGE | {"start": "2026-10-01T08:00:00"}, "with an offset"),
    ],
)
async def test_wrong_arguments_send_no_request(
    sandbox: Sandbox, server: Server, path: str, params: dict[str, str], words: str
) -> None:
    """The error describes the argument, and no request is sent."""
    async with client_of(server) as client:
        answer = await client.get(path, params=params)
        unknown = await client.get("/accounts/nobody/calls", params=params)

    assert 400 == answer.status_code
    assert words in answer.text
    assert 404 == unknown.status_code
    assert [] == sandbox.requests


async def test_a_page_has_the_requested_size(sandbox: Sandbox, server: Server) -> None:
    """A page has the requested number of records."""
    async with client_of(server) as client:
        page = (await client.get(EU, params=RANGE | {"size": "7", "page": "3"})).json()

    assert (3, 7, len(sandbox.ids(START, END))) == (page["page"], len(page["records"]), page["total"])


async def history(client: httpx2.AsyncClient, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of the history, and the cursor of the next one."""
    params = {"start": RANGE["start"]} | ({} if cursor is None else {"cursor": cursor})
    answer = await client.get(HISTORY, params=params)
    assert 200 == answer.status_code, answer.text
    page = answer.json()
    assert {"records"} | ({"next"} if "next" in page else set()) == page.keys()
    return page["records"], page.get("next")


async def test_the_history_is_paged_without_state(
    sandbox: Sandbox, accounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record is returned once, newest first, also if new ones appear and the app is restarted between pages."""
    monkeypatch.setenv("WEB_APP_KEY", "shared")
    expected = sandbox.ids(START)
    found: list[dict[str, Any]] = []
    cursor, pages = None, 0
    while pages == 0 or cursor:
        with Server(load("web_app").app) as server:
            async with client_of(server) as client:
                records, cursor = await history(client, cursor)
                again = await history(client, cursor) if cursor else None
                assert again is None or again == await history(client, cursor)  # the app has kept nothing
        found += records
        pages += 1
        assert len(records) >= 100 or cursor is None
        sandbox.insert({"submitTime": datetime.now(UTC).isoformat()}, account="eu-key")

    assert accounts.is_file()
    assert pages > 2
    assert len(found) == len(expected)
    assert expected == {record["voice_id"] for record in found}
    times = [datetime.fromisoformat(record["submit_time"]) for record in found]
    assert sorted(times, reverse=True) == times


async def test_the_history_of_an_account_without_records(sandbox: Sandbox, server: Server) -> None:
    """An empty history is one empty page; what the vendor no longer keeps is listed."""
    sandbox.behaviour = Behaviour(retention=timedelta(hours=1))
    async with client_of(server) as client:
        answer = await client.get(HISTORY, params={"start": RANGE["start"]})

    assert answer.json().keys() == {"records", "expired"}
    assert answer.json()["expired"][0].startswith(START.isoformat())


async def test_a_changed_or_foreign_cursor_is_refused(
    sandbox: Sandbox, accounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cursor is valid with its key, account and start only, and unchanged; otherwise no request is sent."""
    monkeypatch.setenv("WEB_APP_KEY", "old")
    with Server(load("web_app").app) as server:
        async with client_of(server) as client:
            _, cursor = await history(client, None)
            assert cursor
            sandbox.reset_requests()
            changed = [
                cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :] for place in (0, -2)
            ]
            changed += [f"{cursor}=", cursor[1:], cursor[:-1], cursor.partition(".")[0], f" {cursor}", f"{cursor}\n"]
            answers = [await client.get(HISTORY, params=RANGE | {"cursor": each}) for each in changed]
            later = (START + SECOND).isoformat()
            answers += [
                await client.get(HISTORY.replace("eu", "us"), params=RANGE | {"cursor": cursor}),
                await client.get(HISTORY, params={"start": later, "cursor": cursor}),
            ]
    for key in ("new", ""):  # without a key, each process has a random one
        monkeypatch.setenv("WEB_APP_KEY", key)
        with Server(load("web_app").app) as server:
            async with client_of(server) as client:
                answers.append(await client.get(HISTORY, params=RANGE | {"cursor": cursor}))

    assert accounts.is_file()
    assert [400] * len(answers) == [answer.status_code for answer in answers]
    assert ["checkpoint of another query" in answer.text for answer in answers[-4:]] == [True, True, False, False]
    assert [] == sandbox.requests


@pytest.mark.parametrize("path", [EU, f"{EU}.ndjson", "/totals"])
async def test_an_expired_range_is_a_client_error(sandbox: Sandbox, server: Server, path: str) -> None:
    """A range older than the retention is a client error, with a text."""
    sandbox.behaviour = Behaviour(retention=timedelta(days=5))
    async with client_of(server) as client:
        answer = await client.get(path, params=RANGE)

    assert 422 == answer.status_code
    assert "older than the records that the vendor keeps" in answer.json()["message"]


@pytest.mark.parametrize("path", [EU, f"{EU}.ndjson", EVENTS, "/totals", HISTORY, "/health"])
async def test_a_foreign_host_gets_no_records(sandbox: Sandbox, server: Server, path: str) -> None:
    """A page of another site whose name resolves to this machine gets no records."""
    async with client_of(server) as client:
        answer = await client.get(path, params=RANGE, headers={"Host": "example.com"})

    assert (400, "Invalid host header") == (answer.status_code, answer.text)
    assert [] == sandbox.requests


async def test_only_configured_hosts_are_answered(
    sandbox: Sandbox, accounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app answers only to the configured host names."""
    monkeypatch.setenv("WEB_APP_HOSTS", "calls.example.com,*.example.org")
    with Server(load("web_app").app) as server:
        async with client_of(server) as client:
            answers = [
                await client.get("/health", headers={"Host": host})
                for host in ("calls.example.com", "a.example.org", "localhost", "example.com")
            ]

    assert accounts.is_file()
    assert [] == sandbox.requests
    assert [200, 200, 400, 400] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("path", [EU, f"{EU}.ndjson", "/totals", HISTORY, "/accounts/nobody/calls"])
async def test_a_token_is_required_if_configured(
    sandbox: Sandbox, accounts: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """With a token, only requests that carry it are answered; the health check needs none."""
    monkeypatch.setenv("WEB_APP_TOKEN", "right")
    with Server(load("web_app").app) as server:
        async with client_of(server) as client:
            wrong = ["", "right", "Bearer", "Bearer wrong", "Bearer right right", "Bearer ü", "Basic right"]
            headers = [{}, *({b"Authorization": value.encode("latin-1")} for value in wrong)]
            refused = [await client.get(path, params=RANGE, headers=header) for header in headers]
            assert [] == sandbox.requests
            right = await client.get(path, params=RANGE, headers={"Authorization": "bearer right"})
            health = await client.get("/health")

    assert accounts.is_file()
    assert {(401, "Bearer")} == {(answer.status_code, answer.headers["www-authenticate"]) for answer in refused}
    assert "Authorization: Bearer <token>" in refused[0].text
    assert (404 if "nobody" in path else 200) == right.status_code
    assert 200 == health.status_code


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For"])
async def test_a_proxy_without_a_token_is_refused(sandbox: Sandbox, server: Server, header: str) -> None:
    """Without a token, a request forwarded by a proxy on this machine is refused."""
    async with client_of(server) as client:
        answer = await client.get(EU, params=RANGE, headers={header: "127.0.0.1"})

    assert 401 == answer.status_code
    assert "answers only the machine that it runs on" in answer.text
    assert [] == sandbox.requests


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("127.0.0.1", 1), True),
        (("::1", 1), True),
        (("192.0.2.1", 1), False),
        (("10.0.0.1", 1), False),
        (("testclient", 1), False),
        (None, False),
    ],
)
async def test_only_loopback_is_answered_without_a_token(client: tuple[str, int] | None, expected: bool) -> None:
    """Without a token, the client's address must be a loopback address."""
    module = load("web_app")
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/totals", "headers": [], "client": client}

    assert expected is module.may_read(module.Request(scope))


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour(locked=True), (502, "UserLockedError", None)),
        (Behaviour(retention=timedelta(days=5)), (422, "TimeRangeError", None)),
        (Behaviour(faults=(Fault("status_429", retry_after=1000),)), (502, "HTTPStatusError", "1000")),
    ],
)
async def test_vendor_errors_become_statuses(
    sandbox: Sandbox, server: Server, behaviour: Behaviour, expected: tuple[int, str, str | None]
) -> None:
    """Each error has a status, for a page and for a stream that has not started; the client sees only its name."""
    sandbox.behaviour = behaviour
    async with client_of(server) as client:
        answers = [await client.get(path, params=RANGE) for path in (EU, f"{EU}.ndjson")]

    assert [expected] * 2 == [
        (answer.status_code, answer.json()["error"], answer.headers.get("retry-after")) for answer in answers
    ]


async def test_every_error_has_a_status() -> None:
    """The table has a status for every error of the library."""
    import itnio_voice

    module = load("web_app")
    errors = [getattr(itnio_voice, name) for name in itnio_voice.__all__ if name.endswith("Error")]

    assert len(errors) > 10
    for kind in errors:
        answer = await module.answer_error(
            module.Request({"type": "http", "method": "GET", "path": "/", "headers": []}), kind("text")
        )
        assert 400 < answer.status_code < 600


async def test_totals_name_a_failed_account(sandbox: Sandbox, accounts: Path) -> None:
    """The totals are those of the other accounts, and name the missing one; if all fail, it is an error."""
    with accounts.open("a") as file:
        file.write(account("old", "gone-key", "gone-secret", sandbox))
    with Server(load("web_app").app) as server:
        async with client_of(server) as client:
            some = await client.get("/totals", params=RANGE)
            sandbox.behaviour = Behaviour(locked=True)
            none = await client.get("/totals", params=RANGE)

    assert {"old": "AuthenticationError"} == some.json()["failed"]
    assert {"eu", "us"} == some.json()["accounts"].keys()
    assert 502 == none.status_code


async def test_a_failed_stream_is_recognizable(sandbox: Sandbox, server: Server) -> None:
    """The end of a failed stream differs from that of a complete one."""

    def lock(sandbox: Sandbox, number: int) -> None:
        if number == 8:
            sandbox.behaviour = Behaviour(locked=True)

    sandbox.on_request = lock
    try:
        async with client_of(server) as client:
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.get(f"{EU}.ndjson", params=RANGE)
    finally:
        sandbox.on_request = None


async def test_two_hundred_clients_are_served_fairly(sandbox: Sandbox, server: Server) -> None:
    """Requests in flight are bounded; slow clients delay no others, and receive everything in the end."""
    sandbox.behaviour = Behaviour(latency=0.01)
    expected = sandbox.ids(START, END)
    answers: list[httpx2.Response] = []
    slow: list[list[str]] = []
    others_done = anyio.Event()
    reading = 0

    async with client_of(server, connections=200) as client:
        assert 200 == (await client.get(EU, params=RANGE)).status_code
        await until(server.idle)
        tasks, connections = server.tasks(), sandbox.connections

        async def request(path: str) -> None:
            answers.append(await client.get(path, params=RANGE))

        async def read_slowly() -> None:
            nonlocal reading
            async with client.stream("GET", f"{EU}.ndjson", params=RANGE) as answer:
                chunks = answer.aiter_text()
                body = await anext(chunks)
                reading += 1
                await others_done.wait()
                slow.append(ids(body + "".join([chunk async for chunk in chunks])))

        async with anyio.create_task_group() as all_clients:
            for _ in range(30):
                all_clients.start_soon(read_slowly)
            async with anyio.create_task_group() as others:
                for index in range(170):
                    others.start_soon(request, EU if index % 10 else f"{EU}.ndjson")
            await until(lambda: reading == 30)
            # The slow clients have received a little, and the app has stopped reading for them.
            await until(lambda: sandbox.in_flight == 0)
            requests = len(sandbox.requests)
            await handle_other_requests(server)
            assert requests == len(sandbox.requests)
            assert [] == slow
            others_done.set()

    assert [200] * 170 == [answer.status_code for answer in answers]
    streams = [ids(answer.text) for answer in answers if "ndjson" in answer.headers["content-type"]]
    assert 17 == len(streams)
    assert [expected] * 47 == [set(found) for found in streams + slow]
    assert [len(expected)] * 47 == [len(found) for found in streams + slow]
    assert CONCURRENCY == sandbox.most_in_flight
    await until(server.idle)
    assert (tasks, connections) <= (server.tasks(), CONCURRENCY)
    assert tasks == server.tasks()
    assert sandbox.connections <= CONCURRENCY


@pytest.mark.parametrize("path", [EU, f"{EU}.ndjson", "/totals", HISTORY])
async def test_disconnected_clients_leave_nothing_behind(sandbox: Sandbox, server: Server, path: str) -> None:
    """Fetching for a disconnected client ends, at the first request or half-way, and nothing is left."""
    async with client_of(server) as client:
        await client.get("/totals", params=RANGE)
    await until(server.idle)
    tasks, connections = server.tasks(), sandbox.connections
    sandbox.reset_requests()

    for begun in (False, True):
        sandbox.behaviour = Behaviour(latency=0.02 if begun else 30)
        async with client_of(server) as client, anyio.create_task_group() as clients:
            for _ in range(20):
                clients.start_soon(_begin, client, path)
            await until(lambda: sandbox.in_flight > 0)
            if begun:
                await until(lambda: len(sandbox.requests) > 30)
            clients.cancel_scope.cancel()
        await until(server.idle)
        await until(lambda: sandbox.in_flight == 0)

    requests = len(sandbox.requests)
    await handle_other_requests(server)
    assert requests == len(sandbox.requests)
    assert tasks == server.tasks()
    assert sandbox.connections <= connections
    sandbox.behaviour = Behaviour()
    async with client_of(server) as client:
        assert 200 == (await client.get(EU, params=RANGE)).status_code


async def _begin(client: httpx2.AsyncClient, path: str) -> None:
    """Request repeatedly."""
    while True:
        await client.get(path, params=RANGE)


async def test_the_app_shuts_down_while_streams_run(sandbox: Sandbox, accounts: Path, tmp_path: Path) -> None:
    """The app ends after SIGTERM although no client reads. A truncated stream is an error to its client."""
    script = (
        "import socket, sys, uvicorn; sys.path.insert(0, sys.argv[1]); import web_app;"
        "server = uvicorn.Server(uvicorn.Config(web_app.app, timeout_graceful_shutdown=1));"
        "server.run(sockets=[socket.socket(fileno=int(sys.argv[2]))])"
    )
    environment = environment_of(sandbox) | {"ITNIO_ACCOUNTS": str(accounts), "PYTHONDEVMODE": "1"}
    log = tmp_path / "log"
    # Connections wait in this socket until the app accepts them, and small buffers block the app until it is stopped.
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        descriptor = listening.fileno()
        command = [sys.executable, "-c", script, str(EXAMPLES), str(descriptor)]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, pass_fds=[descriptor])  # noqa: S603
    begun = cut = 0
    all_begun, ended = anyio.Event(), anyio.Event()
    transport = httpx2.AsyncHTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)])
    async with httpx2.AsyncClient(transport=transport, base_url=url, timeout=None) as client:

        async def read() -> None:
            nonlocal begun, cut
            async with client.stream("GET", f"{EU}.ndjson", params=RANGE) as answer:
                begun += 1
                if begun == 8:
                    all_begun.set()
                await ended.wait()
                try:
                    await answer.aread()
                except httpx2.TransportError:
                    cut += 1

        async with anyio.create_task_group() as clients:
            for _ in range(8):
                clients.start_soon(read)
            await all_begun.wait()
            os.kill(process.pid, signal.SIGTERM)
            code = await anyio.to_thread.run_sync(process.wait)
            ended.set()

    assert 8 == cut
    assert code in (0, -signal.SIGTERM), log.read_text()
    for complaint in ("never awaited", "destroyed", "unclosed", "never retrieved"):
        assert complaint not in log.read_text()
    await until(lambda: sandbox.in_flight == 0)
    assert 0 == sandbox.connections
