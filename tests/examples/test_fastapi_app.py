"""The documentation's FastAPI app, under uvicorn and against the sandbox: described, typed, and cleaned up."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx2
import pytest
from pydantic import TypeAdapter

from itnio_voice import VoiceRecord
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .loading import load
from .serving import END, RANGE, START, Server, client_of, handle_other_requests, until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

EU = "/accounts/eu/records"
COUNT = "/accounts/eu/count"
PATHS = [EU, f"{EU}.jsonl", COUNT]


@pytest.fixture
def app(accounts: Path) -> ModuleType:
    """Return the module of the app."""
    assert accounts.is_file()
    return load("fastapi_app")


@pytest.fixture
def server(app: ModuleType) -> Iterator[Server]:
    """Run the app."""
    with Server(app.app) as server:
        yield server


async def test_the_app_describes_its_answers(server: Server) -> None:
    """Each path is in /openapi.json, with the record as one component that all of them share."""
    async with client_of(server) as client:
        openapi = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")

    record = {"$ref": "#/components/schemas/VoiceRecord"}
    answers = {
        path.removeprefix("/accounts/{account}"): next(iter(item["get"]["responses"]["200"]["content"].values()))
        for path, item in openapi["paths"].items()
    }
    assert record == answers["/records"]["schema"]["items"]
    assert record == answers["/records.jsonl"]["itemSchema"]
    assert record == answers["/records/{voice_id}"]["schema"]
    assert "integer" == answers["/count"]["schema"]["type"]
    assert {"VoiceRecord", "HTTPValidationError", "ValidationError"} == openapi["components"]["schemas"].keys()
    schema = openapi["components"]["schemas"]["VoiceRecord"]
    assert {"type": "string", "format": "date-time"} == schema["properties"]["submit_time"]["anyOf"][0]
    assert list(schema["properties"]) == schema["required"]
    assert 200 == page.status_code


async def test_records_are_answered(sandbox: Sandbox, server: Server) -> None:
    """A list, lines, one record and a number are those of the range, and are read again as records."""
    expected = sandbox.ids(START, END)
    async with client_of(server) as client:
        every = await client.get(EU, params=RANGE)
        lines = await client.get(f"{EU}.jsonl", params=RANGE)
        count = await client.get(COUNT, params=RANGE)
        one = await client.get(f"{EU}/{min(expected)}")

    found = TypeAdapter(list[VoiceRecord]).validate_json(every.text)
    assert expected == {record.voice_id for record in found}
    assert len(expected) == len(found) == count.json()
    assert [record.to_dict() for record in found] == every.json()
    assert every.json() == [json.loads(line) for line in lines.text.splitlines()]
    assert min(expected) == one.json()["voice_id"]
    assert all(record.submit_time and record.submit_time.utcoffset() == timedelta(hours=8) for record in found)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, (422, "Field required")),
        (RANGE | {"start": "2026-10-01T08:00:00"}, (422, "Input should have timezone info")),
        (RANGE | {"end": "2026-10-01"}, (422, "Input should have timezone info")),
        (RANGE | {"start": "x" * 5000}, (422, "Input should be a valid datetime")),
        (RANGE | {"start": RANGE["end"]}, (400, "start must be before end")),
        (RANGE | {"start": (END - timedelta(days=70)).isoformat()}, (400, "at most 62 days, not 70")),
        ({"start": "0001-01-01T00:00:00Z", "end": "0001-01-02T00:00:00Z"}, (400, "the edge of the calendar")),
    ],
)
async def test_wrong_ranges_send_no_request(
    sandbox: Sandbox, server: Server, path: str, params: dict[str, str], expected: tuple[int, str]
) -> None:
    """A time without an offset, and a range that the library refuses, are the client's errors."""
    async with client_of(server) as client:
        answer = await client.get(path, params=params)
        unknown = await client.get(path.replace("eu", "nobody"), params=RANGE)

    assert (expected[0], 404) == (answer.status_code, unknown.status_code)
    assert expected[1] in answer.text
    assert [] == sandbox.requests


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Behaviour(retention=timedelta(days=5)), (422, "TimeRangeError")),
        (Behaviour(locked=True), (502, "UserLockedError")),
        (Behaviour(faults=(Fault("status_429", retry_after=1000),)), (502, "HTTPStatusError")),
    ],
)
async def test_errors_of_the_api_have_statuses(
    sandbox: Sandbox, server: Server, path: str, behaviour: Behaviour, expected: tuple[int, str]
) -> None:
    """A range that has expired is the client's error, with a text; a failure of the vendor is a gateway's error."""
    sandbox.behaviour = behaviour
    async with client_of(server) as client:
        answer = await client.get(path, params=RANGE)

    assert expected == (answer.status_code, answer.json()["error"])
    assert ("older than the records that the vendor keeps" in answer.text) == (expected[0] == 422)


async def test_authentication_is_the_apps_own_error(sandbox: Sandbox, accounts: Path) -> None:
    """Wrong credentials of the app are no error of its client."""
    accounts.write_text(accounts.read_text().replace("eu-s", "wrong"))
    with Server(load("fastapi_app").app) as server:
        async with client_of(server) as client:
            answers = [await client.get(path, params=RANGE) for path in [*PATHS, f"{EU}/1"]]

    assert {"eu-key", "us-key"} == set(sandbox.accounts)
    assert [(502, {"error": "AuthenticationError"})] * 4 == [(each.status_code, each.json()) for each in answers]


async def test_a_missing_record_is_not_found(server: Server) -> None:
    """An unknown id is a 404, and what cannot be an id a 400."""
    async with client_of(server) as client:
        unknown = await client.get(f"{EU}/1")
        no_id = await client.get(f"{EU}/{'1' * 1001}")

    assert (404, {"error": "RecordNotFoundError"}) == (unknown.status_code, unknown.json())
    assert (400, True) == (no_id.status_code, "voice_id must be an id" in no_id.text)


async def test_a_range_that_is_not_over_is_no_complete_answer(server: Server) -> None:
    """A list is an error, and lines end with one."""
    later = RANGE | {"end": (END + timedelta(days=2)).isoformat()}
    async with client_of(server) as client:
        answer = await client.get(EU, params=later)
        none = await client.get(f"{EU}.jsonl", params=later | {"start": (END + timedelta(days=1)).isoformat()})
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(f"{EU}.jsonl", params=later)

    assert [(422, "TimeRangeError")] * 2 == [(each.status_code, each.json()["error"]) for each in (answer, none)]


async def test_a_list_that_is_too_long_is_refused(
    sandbox: Sandbox, app: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list is never cut: one record more than the maximum is an error."""
    number = len(sandbox.ids(START, END))
    answers: list[Any] = []
    for most in (number, number - 1):
        monkeypatch.setattr(app, "MOST_RECORDS", most)
        with Server(app.app) as server:
            async with client_of(server) as client:
                answers.append(await client.get(EU, params=RANGE))

    assert [200, 422] == [answer.status_code for answer in answers]
    assert number == len(answers[0].json())
    assert f"the range has more than {number - 1} records" in answers[1].text


@pytest.mark.parametrize("path", [EU, f"{EU}.jsonl", COUNT, "/docs", "/openapi.json"])
async def test_strangers_get_nothing(sandbox: Sandbox, server: Server, path: str) -> None:
    """A foreign host name, and a request that a proxy has forwarded, are refused, as in the other app."""
    async with client_of(server) as client:
        host = await client.get(path, params=RANGE, headers={"Host": "example.com"})
        proxy = await client.get(path, params=RANGE, headers={"X-Forwarded-For": "127.0.0.1"})

    assert (400, 401) == (host.status_code, proxy.status_code)
    assert [] == sandbox.requests


@pytest.mark.parametrize("path", PATHS)
async def test_disconnected_clients_leave_nothing_behind(sandbox: Sandbox, server: Server, path: str) -> None:
    """Fetching for a disconnected client ends, and the next client is answered."""
    async with client_of(server) as client:
        await client.get(EU, params=RANGE)
    await until(server.idle)
    tasks, connections = server.tasks(), sandbox.connections
    sandbox.reset_requests()
    sandbox.behaviour = Behaviour(latency=30)
    async with client_of(server) as client, anyio.create_task_group() as clients:
        for _ in range(20):
            clients.start_soon(_request, client, path)
        await until(lambda: sandbox.in_flight > 0)
        clients.cancel_scope.cancel()
    await until(server.idle)
    await until(lambda: sandbox.in_flight == 0)

    requests = len(sandbox.requests)
    sandbox.behaviour = Behaviour()
    await handle_other_requests(server)
    assert (requests, tasks) == (len(sandbox.requests), server.tasks())
    assert sandbox.connections <= connections
    async with client_of(server) as client:
        assert 200 == (await client.get(path, params=RANGE)).status_code


async def _request(client: httpx2.AsyncClient, path: str) -> None:
    await client.get(path, params=RANGE)
