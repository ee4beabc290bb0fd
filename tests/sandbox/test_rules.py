"""The vendor's rules over real HTTP: breaking each one returns its status."""

from datetime import timedelta
from typing import Any

import attrs
import httpx
import pytest

from itnio_voice.sandbox import Behaviour, Sandbox
from itnio_voice.sandbox._service.rules import REASONS, digest

from .conftest import NOW, Client, Clock

RANGE = {"strTime": "2026-10-18T00:00:00+08:00", "endTime": "2026-10-19T00:00:00+08:00"}


def test_the_signature_is_that_of_the_worked_example() -> None:
    """The signature is that of the vendor's worked example."""
    assert digest("bDqJFiq9", "7bz1lzh9", "1630468800") == "05d7a50893e22a5c4bb3216ae3396c7c"


def test_the_worked_example_is_accepted() -> None:
    """The vendor's worked example is accepted, at its time, with its key."""
    clock = Clock(1630468800)
    headers = {
        "Api-Key": "bDqJFiq9",
        "Timestamp": "1630468800",
        "Sign": "05D7A50893E22A5C4BB3216AE3396C7C",
    }
    with Sandbox(api_key="bDqJFiq9", api_secret="7bz1lzh9", clock=clock) as sandbox:
        answer = httpx.get(f"{sandbox.base_url}/recordGroup/1", headers=headers, trust_env=False)

    assert answer.json() == {"status": "0", "reason": "success", "data": None}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Api-Key": None}, "-1"),
        ({"Api-Key": "nobody"}, "-1"),
        ({"Sign": None}, "-1"),
        ({"Sign": "0" * 32}, "-1"),
        ({"Sign": "é"}, "-1"),
        ({"Timestamp": ""}, "-22"),
        ({"Timestamp": "now"}, "-22"),
        ({"Timestamp": str(int(NOW.timestamp()) - 301)}, "-16"),
        ({"Timestamp": str(int(NOW.timestamp()) + 301)}, "-16"),
        ({"Timestamp": str(int(NOW.timestamp()) - 300)}, "0"),
        ({"Content-Type": "text/plain"}, "-22"),
        ({"Content-Type": "Application/JSON"}, "0"),
    ],
)
def test_key_time_and_signature_are_checked(client: Client, changes: dict[str, str | None], status: str) -> None:
    """A request needs key, time and signature; the time may be off by 300 seconds."""
    latin = {name: value if value is None else value.encode().decode("latin-1") for name, value in changes.items()}
    headers: Any = client.headers(**({"Content-Type": "application/json"} | latin))
    if changes.get("Timestamp") == "":
        headers["Timestamp"] = ""
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}

    answer = client.http.post(f"{client.sandbox.base_url}/recordGroupQuery", json={"params": RANGE}, headers=encoded)

    assert answer.status_code == 200
    assert answer.json()["status"] == status
    assert answer.json()["reason"] == REASONS[status]


def test_the_signature_may_be_in_capitals(client: Client) -> None:
    """The signature may be in capitals."""
    sign = client.headers()["Sign"].upper()

    assert client.get("/recordGroup/1", Sign=sign).json()["status"] == "0"


def test_a_locked_account_is_refused(client: Client) -> None:
    """A locked account is reported as such, but only with a valid signature."""
    client.sandbox.behaviour = Behaviour(locked=True)

    assert client.status() == "-13"
    assert client.get("/recordGroup/1", Sign="0" * 32).json()["status"] == "-1"


def test_only_listed_addresses_are_answered(client: Client) -> None:
    """Only listed addresses are answered."""
    client.sandbox.behaviour = Behaviour(allowed_addresses=["10.0.0.1"])
    refused = client.status()
    client.sandbox.behaviour = Behaviour(allowed_addresses=frozenset({"127.0.0.1"}))

    assert refused == "-2"
    assert client.status() == "0"


def test_timestamps_are_checked_by_the_servers_clock(client: Client) -> None:
    """A server whose clock is ahead refuses our timestamps, reports its time, and accepts those that match it."""
    client.sandbox.behaviour = Behaviour(clock_skew=3600, timestamp_tolerance=10)

    refused = client.get("/recordGroup/1")
    accepted = client.get("/recordGroup/1", Timestamp=str(int(NOW.timestamp()) + 3595))

    assert refused.json()["status"] == "-16"
    assert refused.headers.get_list("Date") == ["Sun, 01 Nov 2026 01:00:00 GMT"]
    assert accepted.json()["status"] == "0"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        {},
        {"params": None},
        {"params": []},
        {"params": {"strTime": RANGE["strTime"]}},
        {"params": RANGE, "current": ""},
        {"params": RANGE, "current": None},
        {"params": RANGE, "current": 0},
        {"params": RANGE, "current": -1},
        {"params": RANGE, "current": 1.0},
        {"params": RANGE, "current": "٣"},
        {"params": RANGE, "current": True},
        {"params": RANGE, "size": ""},
        {"params": RANGE, "size": None},
        {"params": RANGE, "size": 0},
        {"params": RANGE, "size": 101},
        {"params": RANGE | {"strTime": "2026-10-18"}},
        {"params": RANGE | {"strTime": "2026-10-18T00:00:00"}},
        {"params": RANGE | {"strTime": "2026-10-18T00:00:00.5+08:00"}},
        {"params": RANGE | {"strTime": "2026-13-18T00:00:00+08:00"}},
        {"params": RANGE | {"strTime": "0001-01-01T00:00:00+08:00"}},
        {"params": RANGE | {"strTime": 1760000000}},
        {"params": {"strTime": RANGE["endTime"], "endTime": RANGE["strTime"]}},
    ],
    ids=lambda body: str(body)[:60],
)
def test_invalid_bodies_are_parameter_exceptions(client: Client, body: object) -> None:
    """A body that the vendor's page does not allow is a parameter exception."""
    answer = client.post("/recordGroupQuery", body).json()

    assert answer == {"status": "-22", "reason": "Parameter exception", "data": None}


def test_a_page_has_defaults(client: Client) -> None:
    """Defaults are page 1 and size 25; numbers may be text, and Z is a valid offset."""
    utc = {"strTime": "2026-10-18T00:00:00Z", "endTime": "2026-10-18T00:00:00Z"}

    bare = client.post("/recordGroupQuery", {"params": RANGE}).json()["data"]
    digits = client.post("/recordGroupQuery", {"params": utc, "current": "1", "size": "100"}).json()["data"]

    assert bare == {"total": 0, "size": 25, "current": 1, "pages": 0, "searchCount": True, "records": []}
    assert digits["size"] == 100


@pytest.mark.parametrize("name", ["sipGroupName", "phoneName"])
def test_filters_must_be_text(client: Client, name: str) -> None:
    """An invalid filter of phone records is a parameter exception; for voice messages filters are ignored."""
    assert client.status(kind="sip", filters={name: 1}) == "-22"
    assert client.status(kind="sip", filters={name: ""}) == "0"
    assert client.status(kind="group", filters={name: 1}) == "0"


def test_a_range_has_at_most_31_days(client: Client) -> None:
    """A range of 31 days is answered, one second more is not."""
    start = NOW - timedelta(days=40)

    assert client.status(start, start + timedelta(days=31)) == "0"
    assert client.status(start, start + timedelta(days=31, seconds=1)) == "-25"


def test_a_range_before_the_retention_is_refused(client: Client) -> None:
    """A range that starts exactly at the limit is answered, one second earlier is not; older records are gone."""
    limit = NOW - timedelta(days=62)
    before = limit - timedelta(seconds=1)
    client.sandbox.insert({"voiceId": "old", "submitTime": before.isoformat()})
    client.sandbox.insert({"voiceId": "kept", "submitTime": limit.isoformat()})
    refused = client.status(before, NOW - timedelta(days=60))
    available = client.listed(limit, NOW - timedelta(days=60))
    single = client.get("/recordGroup/old").json()["data"]

    client.sandbox.behaviour = Behaviour(refuses_beyond_retention=False)
    silent = client.listed(before, NOW - timedelta(days=60))
    client.sandbox.behaviour = Behaviour(retention=None)
    unlimited = client.listed(before, NOW - timedelta(days=60))

    assert refused == "-25"
    assert available == ["kept"]
    assert single is None
    assert silent == ["kept"]
    assert unlimited == ["old", "kept"]


def test_a_query_for_too_many_rows_fails(client: Client) -> None:
    """A query for more rows than the limit is a server error; one row fewer is answered."""
    client.sandbox.insert({}, {}, {})
    client.sandbox.behaviour = Behaviour(window_fails_over=3)
    borne = client.status()
    client.sandbox.behaviour = attrs.evolve(client.sandbox.behaviour, window_fails_over=2)

    assert borne == "0"
    assert client.status() == "-18"
