"""The probe of servers that lie, that refuse, or that never answer. They share no code with the sandbox."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import formatdate
from typing import Any

import anyio
import httpx
import pytest

from itnio_voice import AuthenticationError, Credentials, HTTPStatusError, ItnioError, ServerError, TransportError
from itnio_voice.cli.probing.findings import Report
from itnio_voice.cli.probing.probe import most_requests, probe
from itnio_voice.cli.probing.watching import REACH, WATCHED

from ...support.virtual_time import backend_options
from .account import NOW, now, record, values

Answer = Mapping[str, Any]
Serve = Callable[[httpx.Request, Mapping[str, Any]], httpx.Response]

ROWS = [record(NOW - 1000 - 97 * number, f"{number * 7919 % 1000:03}-id") for number in range(80)]


def answered(data: object, status: str = "0") -> httpx.Response:
    """Return an answer of the API."""
    headers = {"Date": formatdate(now(), usegmt=True)}
    return httpx.Response(200, json={"status": status, "reason": "text", "data": data}, headers=headers)


def seconds(text: str) -> float:
    """Return a time of the wire in Unix seconds."""
    return datetime.fromisoformat(text).timestamp()


def page(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return an honest page: only the end of a range is inclusive, and the newest record is first."""
    start, end = (seconds(query["params"][name]) for name in ("strTime", "endTime"))
    rows = [row for row in ROWS if start < seconds(row["submitTime"]) <= end]
    first = (query["current"] - 1) * query["size"]
    return {"total": len(rows), "size": query["size"], "records": rows[first : first + query["size"]]}


def honest(_: httpx.Request, query: Mapping[str, Any]) -> httpx.Response:
    """Answer as `page` says; an unknown record is null."""
    return answered(page(query) if query else None)


def measure(serve: Serve, *, backend: str = "asyncio", minutes: float = 0.0) -> tuple[Report, list[httpx.Request]]:
    """Probe a server, and return the report and the requests."""
    requests = list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return serve(request, json.loads(request.content or "{}"))

    async def run() -> Report:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
            return await probe(
                Credentials("key", "secret"),
                client,
                base_url="https://api.test/voice",
                rate=None,
                minutes=minutes,
                clock=now,
            )

    try:
        return anyio.run(run, backend=backend, backend_options=backend_options(backend)), requests
    except ItnioError as error:
        error.add_note(str(len(requests)))
        raise


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_another_server_is_measured(backend: str) -> None:
    """The findings do not depend on the code of the sandbox."""
    found = values(measure(honest, backend=backend)[0])

    expected = {
        "ends": "(]",
        "order": "descending",
        "selects_by": "submit_time",
        "past_last": "empty",
        "missing_record": "null",
        "timestamp_tolerance": 600.0,
        "omits": ["current", "pages"],
    }
    assert expected.items() <= found.items()
    assert not {"retention", "max_span"} & found.keys()


def test_a_page_that_is_always_the_same_is_found() -> None:
    """A server with one answer for each request is reported as that; what it hides is not known."""
    rows = {"total": 80, "size": 100, "current": 1, "records": ROWS}
    found = values(measure(lambda _, query: answered(rows if query else None))[0])

    assert found["always_first_page"] is True
    assert not {"past_last", "endless", "selects_by", "ends", "time_offset", "total_cap"} & found.keys()


def test_missing_totals_are_found() -> None:
    """Without totals, pages are still studied, and nothing is said about totals."""

    def serve(_: httpx.Request, query: Mapping[str, Any]) -> httpx.Response:
        return answered({"records": page(query)["records"]} if query else {})

    found = values(measure(serve)[0])

    assert {"ends": "(]", "past_last": "empty", "omits": ["current", "pages", "size", "total"]}.items() <= found.items()
    assert not {"total_cap", "total_of_page", "total_one_short"} & found.keys()


def test_random_pages_prove_nothing() -> None:
    """A server that returns other records each time is not described: there is no order, no end and no last page."""
    numbers = iter(range(10**6))

    def serve(_: httpx.Request, query: Mapping[str, Any]) -> httpx.Response:
        rows = [record(NOW - next(numbers) * 7919 % 5000, f"{next(numbers)}") for _ in range(7)]
        return answered({"total": 7, "records": rows} if query else None)

    found = values(measure(serve)[0])

    assert not {"ends", "order", "selects_by", "time_offset", "past_last", "endless", "total_cap"} & found.keys()


@pytest.mark.parametrize(
    ("response", "error", "requests"),
    [
        (lambda: answered(None, "-1"), AuthenticationError, 1),
        (lambda: answered(None, "-18"), ServerError, 2),
        (lambda: httpx.Response(503), HTTPStatusError, 2),
        (lambda: httpx.Response(200, text="<html>"), ItnioError, 2),
    ],
)
def test_a_server_that_refuses_everything_ends_the_probe(
    response: Callable[[], httpx.Response], error: type[Exception], requests: int
) -> None:
    """The first question is enough: it is sent twice at most."""
    with pytest.raises(error) as raised:
        measure(lambda *_: response())

    assert [str(requests)] == raised.value.__notes__


def test_a_server_that_breaks_down_is_left_alone() -> None:
    """The third question in a row without an answer ends the probe."""
    answers = iter(range(8))

    def serve(request: httpx.Request, query: Mapping[str, Any]) -> httpx.Response:
        if next(answers, None) is None:
            message = "refused"
            raise httpx.ConnectError(message)
        return honest(request, query)

    with pytest.raises(TransportError) as raised:
        measure(serve)
    assert [str(8 + 2 * 3)] == raised.value.__notes__


def test_a_failed_watch_makes_no_record_late() -> None:
    """If the first request of the watch fails, the records that the next one returns have not appeared meanwhile."""
    began = list[float]()

    def serve(request: httpx.Request, query: Mapping[str, Any]) -> httpx.Response:
        if query and seconds(query["params"]["endTime"]) - seconds(query["params"]["strTime"]) == REACH:
            began.append(now())
            if now() == began[0]:
                return answered(None, "-22")
            return answered({"total": 1, "records": [record(NOW - 300, "old")]})
        return honest(request, query)

    report, _ = measure(serve, minutes=1.0)

    assert len(set(began)) > 2
    assert {"no record appeared meanwhile"} == {
        finding.evidence for finding in report.findings if finding.name in WATCHED
    }


def test_strange_values_are_survived() -> None:
    """Numbers, times, ids and rows of other types are read as missing."""
    rows: list[object] = [*ROWS[:30], None, 7, [], {"voiceId": 5, "submitTime": 7}, {"voiceId": None, "callTime": "x"}]
    data = {"total": -1, "size": "1e9", "current": [], "pages": True, "records": rows}

    report, requests = measure(lambda _, query: answered(data if query else [1]))

    assert "total_cap" not in report.values
    assert len(requests) <= most_requests()


@pytest.mark.parametrize("data", [None, [], "text", {"other": 1}])
def test_an_answer_that_is_no_page_ends_the_probe(data: object) -> None:
    """A first answer without a page is an error."""
    with pytest.raises(ItnioError, match="not a page"):
        measure(lambda *_: answered(data))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seconds", [0.0, 0.5, 3.5, 20.0])
def test_a_cancelled_probe_sends_nothing_more(backend: str, seconds: float) -> None:
    """After a cancellation, at any time, no request follows, and the client is the caller's to close."""
    requests = list[httpx.Request]()

    async def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        await anyio.sleep(0.7)
        return honest(request, json.loads(request.content or "{}"))

    async def run() -> int:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
            with anyio.move_on_after(seconds) as scope:
                await probe(Credentials("key", "secret"), client, base_url="https://api.test/voice", clock=now)
            sent = len(requests)
            await anyio.sleep(100)
            assert scope.cancelled_caught
            assert not client.is_closed
            return len(requests) - sent

    assert 0 == anyio.run(run, backend=backend, backend_options=backend_options(backend))
