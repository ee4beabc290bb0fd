"""Faults over real HTTP: the client's view, their number, and the cleanup."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import attrs
import httpx
import pytest
import trio
import trio.testing
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from itnio_voice.sandbox import Behaviour, Fault, Sandbox
from itnio_voice.sandbox._service.faults import WRITE
from itnio_voice.sandbox._service.listener import Listener

from .conftest import HANG, NOW, Client, Clock, at, eventually


def set_faults(client: Client, *faults: Fault) -> None:
    """Set the sandbox's faults."""
    client.sandbox.behaviour = Behaviour(faults=faults)


@contextmanager
def connected(client: Client) -> Iterator[socket.socket]:
    """Open a connection to the sandbox for the duration of the block."""
    port = httpx.URL(client.sandbox.base_url).port or 0
    with socket.create_connection(("127.0.0.1", port), timeout=HANG) as connection:
        yield connection


def written(client: Client, method: str = "GET", path: str = "/recordGroup/1", **options: Any) -> bytes:
    """Return the bytes of a signed request."""
    url = f"{client.sandbox.base_url}{path}"
    request = client.http.build_request(method, url, headers=client.headers(), **options)
    headers = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"{method} {request.url.path} HTTP/1.1\r\n{headers}\r\n".encode() + request.read()


def raw(client: Client) -> bytes:
    """Return all bytes received on a connection until the server closes it."""
    with connected(client) as connection:
        connection.sendall(written(client))
        return b"".join(iter(lambda: connection.recv(65536), b""))


def leave_unanswered(client: Client, request: bytes) -> None:
    """Send a request, disconnect when the server has recorded it without an answer, and check that nothing is left."""
    noted = len(client.sandbox.requests)
    with connected(client) as connection:
        connection.sendall(request)
        assert eventually(lambda: len(client.sandbox.requests) > noted)
        connection.setblocking(False)  # noqa: FBT003 -- the socket's own
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        assert client.sandbox.in_flight == 1
    assert eventually(lambda: client.sandbox.in_flight == 0)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_gateway_errors_are_html_with_a_status(client: Client, status: int) -> None:
    """A gateway's error is an HTTP status with a web page, optionally with `Retry-After`."""
    set_faults(client, Fault(f"status_{status}", retry_after=7))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    answer = client.query()

    assert answer.status_code == status
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Date" in answer.headers
    assert client.sandbox.requests[-1].answered == str(status)


def test_system_errors_are_sent_in_the_envelope(client: Client) -> None:
    """The vendor's own error is sent in its envelope."""
    set_faults(client, Fault("system_error"))

    assert client.query().json() == {"status": "-18", "reason": "Port program unusual", "data": None}
    assert client.sandbox.requests[-1].answered == "-18"


def test_expired_timestamps_may_have_any_date(client: Client) -> None:
    """The -16 of a server with a correct clock may have the date of any time, even of the calendar's end."""
    set_faults(client, *(Fault("timestamp_expired", times=1, date_ahead=ahead) for ahead in (-432_000, 1e15, -1e15)))

    refused = [client.query() for _ in range(3)]

    assert {answer.json()["status"] for answer in refused} == {"-16"}
    assert [answer.headers["Date"][5:16] for answer in refused] == ["27 Oct 2026", "31 Dec 9999", "01 Jan 1970"]
    assert client.query().headers["Date"][5:16] == "01 Nov 2026"


def test_window_times_out_over(client: Client) -> None:
    """A range that is too long gets no answer while the client waits; one that just fits gets one."""
    client.sandbox.behaviour = Behaviour(window_times_out_over=timedelta(seconds=60))

    body = {"params": {"strTime": at(-61), "endTime": at(0)}}
    leave_unanswered(client, written(client, "POST", "/recordGroupQuery", json=body))

    assert client.status(NOW - timedelta(seconds=60)) == "0"
    assert [request.answered for request in client.sandbox.requests] == ["hang", "0"]


def test_window_unavailable_over(client: Client) -> None:
    """A range that is too long is a gateway's error; one that just fits is answered."""
    client.sandbox.behaviour = Behaviour(window_unavailable_over=timedelta(seconds=60))

    refused = {client.query(NOW - timedelta(seconds=61)).status_code for _ in range(20)}

    assert refused == {503, 504}
    assert client.status(NOW - timedelta(seconds=60)) == "0"


def test_a_success_may_be_html_or_empty(client: Client) -> None:
    """An answer with status 200 may be a web page, or empty."""
    set_faults(client, Fault("html", times=1), Fault("empty", times=1))

    page, nothing = client.query(), client.query()

    assert (page.status_code, page.text[:15]) == (200, "<!DOCTYPE html>")
    assert (nothing.status_code, nothing.content) == (200, b"")
    assert [request.answered for request in client.sandbox.requests] == ["html", "empty"]


def test_a_body_may_be_truncated(client: Client) -> None:
    """A body may be complete for HTTP but truncated as JSON."""
    set_faults(client, Fault("truncated"))

    answer = client.query()

    assert len(answer.content) == int(answer.headers["Content-Length"]) > 0
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert client.sandbox.requests[-1].answered == "truncated"


def test_a_connection_may_close_halfway(client: Client) -> None:
    """A connection may close halfway through the body."""
    set_faults(client, Fault("half_body"))

    head, _, body = raw(client).partition(b"\r\n\r\n")
    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        client.query()

    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) == announced // 2
    assert client.sandbox.requests[-1].answered == "half_body"


def test_a_connection_may_close_without_an_answer(client: Client) -> None:
    """A connection may close without an answer; the server continues."""
    set_faults(client, Fault("drop", times=2))

    nothing = raw(client)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending"):
        client.query()

    assert nothing == b""
    assert client.status() == "0"
    assert client.sandbox.requests[0].answered == "drop"


def test_a_request_may_hang(client: Client) -> None:
    """There may be no answer; when the client disconnects, the request and the connection end."""
    set_faults(client, Fault("hang"))

    leave_unanswered(client, written(client))

    assert client.sandbox.most_in_flight == 1
    assert eventually(lambda: client.sandbox.connections == 0)
    assert client.sandbox.requests[-1].answered == "hang"


def test_a_body_may_be_sent_byte_by_byte(client: Client) -> None:
    """A body may be sent byte by byte, and is complete if the client waits."""
    set_faults(client, Fault("drip"))
    started = time.monotonic()

    answer = client.get("/recordGroup/1")

    assert answer.json()["status"] == "0"
    assert time.monotonic() - started > 0.045 * len(answer.content)


def test_dripping_stops_when_the_client_leaves(client: Client) -> None:
    """When the client disconnects, sending stops."""
    set_faults(client, Fault("drip"))

    with client.http.stream("GET", client.sandbox.base_url + "/recordGroup/1", headers=client.headers()) as answer:
        next(answer.iter_raw())

    assert eventually(lambda: client.sandbox.in_flight == 0)


def test_a_fault_applies_a_number_of_times(client: Client) -> None:
    """A fault applies a limited number of times; equal faults count separately, and a new behaviour keeps the count."""
    set_faults(client, Fault("status_500", times=1), Fault("status_500", times=1), Fault("status_503", times=0))

    codes = [client.query().status_code]
    client.sandbox.behaviour = attrs.evolve(client.sandbox.behaviour, ends="()")
    codes += [client.query().status_code for _ in range(2)]

    assert codes == [500, 500, 200]


def test_share_is_seeded(clock: Clock) -> None:
    """A share of the requests is affected, the same ones for the same seed."""

    def codes(seed: int) -> list[int]:
        behaviour = Behaviour(faults=[Fault("status_503", 0.5)])
        with Sandbox(seed=seed, behaviour=behaviour, clock=clock) as sandbox, httpx.Client(trust_env=False) as http:
            client = Client(sandbox, http, clock)
            return [client.query().status_code for _ in range(40)]

    first = codes(1)

    assert 8 < first.count(503) < 32
    assert codes(1) == first
    assert codes(2) != first


def test_a_fault_may_apply_to_one_endpoint(client: Client) -> None:
    """A fault may apply to one endpoint only, with the paths below it."""
    set_faults(client, Fault("status_500", path="/recordGroup"))

    assert client.get("/recordGroup/1").status_code == 500
    assert client.query().status_code == 200
    assert client.get("/recordSip/1").status_code == 200


def test_requests_beyond_the_rate_limit_are_refused(client: Client, clock: Clock) -> None:
    """Requests beyond the limit get `Retry-After`, and are answered after that."""
    client.sandbox.behaviour = Behaviour(rate_limit=2)

    codes = [client.query().status_code for _ in range(3)]
    limited = client.query()
    clock.at += 1
    later = [client.query().status_code for _ in range(3)]

    assert codes == [200, 200, 429]
    assert limited.headers["Retry-After"] == "1"
    assert later == [200, 200, 429]
    assert client.sandbox.requests[2].answered == "429"


def test_a_rate_limit_may_be_below_one_a_second(client: Client, clock: Clock) -> None:
    """A limit below one request a second allows one after the announced time; removing it takes effect at once."""
    client.sandbox.behaviour = Behaviour(rate_limit=0.1)

    assert client.query().status_code == 200
    assert client.query().headers["Retry-After"] == "10"
    clock.at += 10
    assert client.query().status_code == 200
    client.sandbox.behaviour = Behaviour()
    assert client.query().status_code == 200
    client.sandbox.behaviour = Behaviour(rate_limit=5)
    assert [client.query().status_code for _ in range(6)] == [200] * 5 + [429]


def test_a_rate_limit_may_be_per_minute(client: Client, clock: Clock) -> None:
    """A longer window allows more requests at once; a 429 may have no `Retry-After`."""
    client.sandbox.behaviour = Behaviour(rate_limit=0.1, rate_limit_window=60, rate_limit_retry_after=False)

    answers = [client.query() for _ in range(7)]
    clock.at += 10
    later = [client.query().status_code for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200] * 6 + [429]
    assert "Retry-After" not in answers[-1].headers
    assert later == [200, 429]


def test_an_answer_may_be_sent_twice(client: Client) -> None:
    """An answer may be sent twice on its connection, which stays open."""
    set_faults(client, Fault("surplus", times=1))
    received = b""
    with connected(client) as connection:
        for answers in (2, 3):
            connection.sendall(written(client))
            while received.count(b'"data":null}') < answers:
                received += connection.recv(65536)

    assert received.count(b"HTTP/1.1 200") == 3
    assert [request.answered for request in client.sandbox.requests] == ["surplus", "0"]


def test_latency_depends_on_the_page(client: Client) -> None:
    """Each answer may be delayed, a deep page more: in virtual time, without a server."""
    client.sandbox.insert(*[{"code": str(number)} for number in range(20)])
    client.sandbox.behaviour = Behaviour(latency=0.1, latency_per_row=0.01)

    async def seconds(current: int) -> float:
        body = {"params": {"strTime": at(-9), "endTime": at(0)}, "current": current, "size": 10}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(client.sandbox.app), timeout=HANG) as http:
            url, started = f"{client.sandbox.base_url}/recordGroupQuery", trio.current_time()
            answer = await http.post(url, json=body, headers=client.headers())
        assert len(answer.json()["data"]["records"]) == 10
        return trio.current_time() - started

    def in_virtual_time(current: int) -> float:
        spent: float = trio.run(seconds, current, clock=trio.testing.MockClock(autojump_threshold=0))
        return spent

    assert in_virtual_time(1) == pytest.approx(0.1)
    assert in_virtual_time(2) == pytest.approx(0.2)


def test_answers_are_sent_at_once(client: Client) -> None:
    """No answer waits for the client's acknowledgement of the headers: small packets are sent at once."""
    found: list[int] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope["state"][WRITE].__self__.get_extra_info("socket")
        found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await Response()(scope, receive, send)

    listener = Listener(look)
    assert client.http.get(f"http://127.0.0.1:{listener.port}/").status_code == 200
    listener.close()

    assert found
    assert all(found)


def test_latency_ends_when_the_client_leaves(client: Client) -> None:
    """A client that does not wait leaves no request in flight."""
    client.sandbox.behaviour = Behaviour(latency=30)

    leave_unanswered(client, written(client))

    assert eventually(lambda: client.sandbox.connections == 0)


def test_half_a_request_is_not_counted(client: Client) -> None:
    """A client that disconnects in the middle of its request is not counted."""
    port = httpx.URL(client.sandbox.base_url).port or 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /voice/recordGroupQuery HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert eventually(lambda: client.sandbox.in_flight == 1)

    assert eventually(lambda: client.sandbox.in_flight == client.sandbox.connections == 0)
    assert client.sandbox.requests == []
