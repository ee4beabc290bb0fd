"""The vendor's rules, over real HTTP: each one broken gives its status."""

from datetime import timedelta
from typing import Any

import attrs
import httpx
import pytest

from itnio_voice.sandbox import Behaviour, Sandbox
from itnio_voice.sandbox._service.rules import REASONS, digest

from .conftest import NOW, Client, Clock

RANGE = {"strTime": "2026-10-18T00:00:00+08:00", "endTime": "2026-10-19T00:00:00+08:00"}


def test_signature_known_answer() -> None:
    """The signature is the one of the vendor's worked example."""
    assert digest("bDqJFiq9", "7bz1lzh9", "1630468800") == "05d7a50893e22a5c4bb3216ae3396c7c"


def test_known_answer_is_let_in() -> None:
    """The vendor's worked example is let in, at its time, with its key."""
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
def test_headers(client: Client, changes: dict[str, str | None], status: str) -> None:
    """A request says who asks, when, and signs it; the time may be 300 seconds off."""
    latin = {name: value if value is None else value.encode().decode("latin-1") for name, value in changes.items()}
    headers: Any = client.headers(**({"Content-Type": "application/json"} | latin))
    if changes.get("Timestamp") == "":
        headers["Timestamp"] = ""
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}

    answer = client.http.post(f"{client.sandbox.base_url}/recordGroupQuery", json={"params": RANGE}, headers=encoded)

    assert answer.status_code == 200
    assert answer.json()["status"] == status
    assert answer.json()["reason"] == REASONS[status]


def test_signature_in_capitals(client: Client) -> None:
    """The signature's letters may be capitals."""
    sign = client.headers()["Sign"].upper()

    assert client.get("/recordGroup/1", Sign=sign).json()["status"] == "0"


def test_locked(client: Client) -> None:
    """A locked account is told so, but only with the right signature."""
    client.sandbox.behaviour = Behaviour(locked=True)

    assert client.status() == "-13"
    assert client.get("/recordGroup/1", Sign="0" * 32).json()["status"] == "-1"


def test_addresses(client: Client) -> None:
    """Only the addresses on the list are served."""
    client.sandbox.behaviour = Behaviour(allowed_addresses=["10.0.0.1"])
    refused = client.status()
    client.sandbox.behaviour = Behaviour(allowed_addresses=frozenset({"127.0.0.1"}))

    assert refused == "-2"
    assert client.status() == "0"


def test_clock_skew(client: Client) -> None:
    """A server whose clock is ahead refuses our timestamps, tells its time, and takes those that fit it."""
    client.sandbox.behaviour = Behaviour(clock_skew=3600, timestamp_tolerance=10)

    refused = client.get("/recordGroup/1")
    taken = client.get("/recordGroup/1", Timestamp=str(int(NOW.timestamp()) + 3595))

    assert refused.json()["status"] == "-16"
    assert refused.headers.get_list("Date") == ["Sun, 01 Nov 2026 01:00:00 GMT"]
    assert taken.json()["status"] == "0"


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
def test_wrong_bodies(client: Client, body: object) -> None:
    """A body that the page does not allow is a parameter exception."""
    answer = client.post("/recordGroupQuery", body).json()

    assert answer == {"status": "-22", "reason": "Parameter exception", "data": None}


def test_defaults_of_a_page(client: Client) -> None:
    """Without current and size the first 25 records come; digits are as good as numbers, and Z as an offset."""
    utc = {"strTime": "2026-10-18T00:00:00Z", "endTime": "2026-10-18T00:00:00Z"}

    bare = client.post("/recordGroupQuery", {"params": RANGE}).json()["data"]
    digits = client.post("/recordGroupQuery", {"params": utc, "current": "1", "size": "100"}).json()["data"]

    assert bare == {"total": 0, "size": 25, "current": 1, "pages": 0, "searchCount": True, "records": []}
    assert digits["size"] == 100


@pytest.mark.parametrize("name", ["sipGroupName", "phoneName"])
def test_filters_are_text(client: Client, name: str) -> None:
    """A phone record's filter that is no text is a parameter exception; for voice messages it is not looked at."""
    assert client.status(kind="sip", filters={name: 1}) == "-22"
    assert client.status(kind="sip", filters={name: ""}) == "0"
    assert client.status(kind="group", filters={name: 1}) == "0"


def test_span(client: Client) -> None:
    """31 days are served, a second more is not."""
    start = NOW - timedelta(days=40)

    assert client.status(start, start + timedelta(days=31)) == "0"
    assert client.status(start, start + timedelta(days=31, seconds=1)) == "-25"


def test_retention(client: Client) -> None:
    """A range that starts exactly on the limit is served, a second earlier is not; records before it are gone."""
    limit = NOW - timedelta(days=62)
    before = limit - timedelta(seconds=1)
    client.sandbox.insert({"voiceId": "old", "submitTime": before.isoformat()})
    client.sandbox.insert({"voiceId": "kept", "submitTime": limit.isoformat()})
    refused = client.status(before, NOW - timedelta(days=60))
    served = client.listed(limit, NOW - timedelta(days=60))
    single = client.get("/recordGroup/old").json()["data"]

    client.sandbox.behaviour = Behaviour(refuses_beyond_retention=False)
    silent = client.listed(before, NOW - timedelta(days=60))
    client.sandbox.behaviour = Behaviour(retention=None)
    unlimited = client.listed(before, NOW - timedelta(days=60))

    assert refused == "-25"
    assert served == ["kept"]
    assert single is None
    assert silent == ["kept"]
    assert unlimited == ["old", "kept"]


def test_window_fails_over(client: Client) -> None:
    """A query for more rows than the server bears is its error; one row fewer is served."""
    client.sandbox.insert({}, {}, {})
    client.sandbox.behaviour = Behaviour(window_fails_over=3)
    borne = client.status()
    client.sandbox.behaviour = attrs.evolve(client.sandbox.behaviour, window_fails_over=2)

    assert borne == "0"
    assert client.status() == "-18"
