"""Pages and records over real HTTP, and every switch for their unknowns and their form."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import httpx
import pytest

from itnio_voice.sandbox import Behaviour, Sandbox

from .conftest import NOW, Client, Clock, at

MINUTE = NOW - timedelta(seconds=60)


def insert(sandbox: Sandbox, *seconds: float, **fields: Any) -> list[str]:
    """Insert records submitted some seconds after NOW."""
    return sandbox.insert(*({"submitTime": at(second)} | fields for second in seconds))


def test_pages_tile_the_range(client: Client) -> None:
    """The pages contain every record once, in order, and the total."""
    ids = insert(client.sandbox, *range(-50, 0))

    pages = [client.data(size=20, current=current) for current in (1, 2, 3)]

    assert [record["voiceId"] for page in pages for record in page["records"]] == ids
    assert {(page["total"], page["size"], page["pages"], page["searchCount"]) for page in pages} == {(50, 20, 3, True)}
    assert [page["current"] for page in pages] == [1, 2, 3]


@pytest.mark.parametrize(("ends", "held"), [("[]", 3), ("[)", 2), ("(]", 2), ("()", 1)])
def test_a_switch_sets_the_inclusive_ends(client: Client, ends: Any, held: int) -> None:
    """A switch sets which ends of a range are inclusive, for answers and for `ids()` alike."""
    insert(client.sandbox, -20, -15, -10)
    client.sandbox.behaviour = Behaviour(ends=ends)
    start, end = NOW - timedelta(seconds=20), NOW - timedelta(seconds=10)

    assert len(client.listed(start, end)) == held
    assert client.sandbox.ids(start, end) == set(client.listed(start, end))


def test_a_switch_sets_the_selecting_time(client: Client) -> None:
    """The range selects and sorts by the time that the switch names; records without it use their submit time."""
    client.sandbox.insert(
        {"voiceId": "a", "submitTime": at(-50), "callTime": at(-10), "hangupTime": at(-5)},
        {"voiceId": "b", "submitTime": at(-40), "callTime": at(-20), "hangupTime": None},
        {"voiceId": "c", "submitTime": at(-30), "callTime": "", "hangupTime": at(-1)},
    )
    orders = {}
    for name in ("submit_time", "call_time", "hangup_time"):
        client.sandbox.behaviour = attrs.evolve(client.sandbox.behaviour, selects_by=name)
        orders[name] = client.listed(MINUTE, NOW)

    assert orders == {
        "submit_time": ["a", "b", "c"],
        "call_time": ["c", "b", "a"],
        "hangup_time": ["b", "a", "c"],
    }
    assert client.sandbox.ids(NOW - timedelta(seconds=5)) == {"a", "c"}


def test_the_newest_record_may_be_first(client: Client) -> None:
    """The newest record may be first."""
    ids = insert(client.sandbox, -3, -2, -2, -1)
    client.sandbox.behaviour = Behaviour(order="descending")

    assert client.listed() == ids[::-1]


def test_ties_may_have_a_random_order(client: Client) -> None:
    """Records of one second may have another order each time; seconds stay in order, and no record is lost."""
    ids = insert(client.sandbox, -2, *[-1] * 12, 0)
    client.sandbox.behaviour = Behaviour(order="unstable")

    orders = [client.listed() for _ in range(8)]

    assert len({tuple(order) for order in orders}) > 1
    assert all(sorted(order) == sorted(ids) for order in orders)
    assert {(order[0], order[-1]) for order in orders} == {(ids[0], ids[-1])}


def test_ties_may_have_an_order_by_offset(client: Client) -> None:
    """Ties have another order at each offset: pages repeat exactly, but list some records twice and some never."""
    ids = insert(client.sandbox, -2, *[-1] * 248, 0)
    client.sandbox.behaviour = Behaviour(order="heap")

    def listed() -> list[list[str]]:
        return [client.listed(size=20, current=current) for current in range(1, 14)]

    pages = listed()
    rows = [voice_id for page in pages for voice_id in page]

    assert listed() == pages
    assert (len(rows), rows[0], rows[-1]) == (250, ids[0], ids[-1])
    assert 200 < len(set(rows)) < 250
    assert set(client.listed(size=100)) != set(rows[:100])


def test_heap_order_is_by_time_without_ties(client: Client) -> None:
    """Records of different seconds are in order, each on one page."""
    ids = insert(client.sandbox, *range(-100, 0))
    client.sandbox.behaviour = Behaviour(order="heap")

    assert [voice_id for current in range(1, 11) for voice_id in client.listed(size=10, current=current)] == ids


def test_records_may_be_ordered_by_id_or_hash(client: Client) -> None:
    """Records may be in a fixed order that is not by time: by id, or by a hash of it."""
    ids = [f"{number * 7 % 30:02}" for number in range(30)]
    for second, voice_id in enumerate(ids, -30):
        insert(client.sandbox, second, voiceId=voice_id)
    client.sandbox.behaviour = Behaviour(order="by_id")
    by_id = client.listed()
    client.sandbox.behaviour = Behaviour(order="by_hash", duplicates=0.5)
    by_hash = client.listed()

    assert by_id == sorted(ids)
    assert by_hash == client.listed(size=25, current=1) + client.listed(size=25, current=2)
    assert set(by_hash) == set(ids)
    assert list(dict.fromkeys(by_hash)) not in (ids, by_id)


@pytest.mark.parametrize(
    ("switches", "size", "totals", "pages"),
    [
        ({"total_cap": 3}, 2, [3, 3, 3], 2),
        ({"total_of_page": True}, 2, [2, 2, 1], 1),
        ({"total_one_short": True}, 2, [4, 4, 4], 2),
        ({"total_one_short": True}, 1, [4, 4, 4, 4, 4], 4),
        ({"total_one_short": True}, 3, [5, 5], 2),
    ],
)
def test_totals_may_be_too_low(
    client: Client, switches: dict[str, Any], size: int, totals: list[int], pages: int
) -> None:
    """The total may be too low: capped, of the page alone, or one too small; all records are still listed."""
    ids = insert(client.sandbox, *range(-5, 0))
    client.sandbox.behaviour = Behaviour(**switches)

    answers = [client.data(size=size, current=current) for current in range(1, len(totals) + 1)]

    assert [record["voiceId"] for answer in answers for record in answer["records"]] == ids
    assert [answer["total"] for answer in answers] == totals
    assert answers[0]["pages"] == pages


def test_pages_may_never_end(client: Client) -> None:
    """A page after the last may have one more record, a new one each time, and the total may count it."""
    insert(client.sandbox, -3, -2, -1)
    empty = (NOW - timedelta(hours=2), NOW - timedelta(hours=1))
    found = {}
    for endless in ("uncounted", "counted"):
        client.sandbox.behaviour = Behaviour(endless=endless)
        pages = [client.data(size=2, current=current) for current in range(1, 6)]
        found[endless] = [page["total"] for page in pages]
        assert [len(page["records"]) for page in pages] == [2, 1, 1, 1, 1]
        assert len({record["voiceId"] for page in pages for record in page["records"]}) == 6
        assert client.listed(*empty) == client.listed(*empty, current=2) == []

    assert found == {"uncounted": [3, 3, 3, 3, 3], "counted": [4, 4, 5, 6, 7]}


def test_deep_pages_may_be_refused(client: Client) -> None:
    """A page that starts too deep is -22, also if pages are smaller than requested."""
    insert(client.sandbox, *range(-5, 0))
    client.sandbox.behaviour = Behaviour(deepest_row=4, max_size=2)

    assert [client.status(size=100, current=current) for current in (1, 2, 3)] == ["0", "0", "-22"]
    assert [client.status(size=1, current=current) for current in (4, 5)] == ["0", "-22"]


def test_late_replicas_lack_recent_records(client: Client, clock: Clock) -> None:
    """Late replicas lack recently submitted or inserted records, in rows and in totals."""
    old = insert(client.sandbox, -100)
    clock.at += 10
    new = insert(client.sandbox, -50)  # appears late, with an old time
    client.sandbox.behaviour = Behaviour(replicas=3, replica_lag=5)

    answers = [client.data() for _ in range(30)]
    seen = {(answer["total"], *(record["voiceId"] for record in answer["records"])) for answer in answers}
    alone = {client.get(f"/recordGroup/{new[0]}").json()["data"] is None for _ in range(30)}
    clock.at += 5

    assert seen == {(1, *old), (2, *old, *new)}
    assert alone == {True, False}
    assert {client.data()["total"] for _ in range(30)} == {2}


def test_time_offsets_may_be_ignored(client: Client) -> None:
    """A server may read a time's digits as its own local time, eight hours ahead of UTC."""
    ids = insert(client.sandbox, -3600)
    client.sandbox.behaviour = Behaviour(time_offset="ignored")
    ahead = timezone(timedelta(hours=8))

    assert client.listed(NOW - timedelta(hours=2), NOW) == []
    assert client.listed(NOW - timedelta(hours=2) + timedelta(hours=8), NOW + timedelta(hours=8)) == ids
    assert client.listed((NOW - timedelta(hours=2)).astimezone(ahead), NOW.astimezone(ahead)) == ids
    assert client.sandbox.requests[-1].start == NOW - timedelta(hours=2)


def test_a_future_end_may_be_refused(client: Client) -> None:
    """A range that ends after the server's time may be -25."""
    client.sandbox.behaviour = Behaviour(refuses_future_end=True)
    late = NOW + timedelta(seconds=1)
    statuses = [client.status(MINUTE, NOW), client.status(MINUTE, late)]
    client.sandbox.behaviour = Behaviour(refuses_future_end=True, clock_skew=1)

    assert statuses == ["0", "-25"]
    assert client.status(MINUTE, late) == "0"


def test_records_may_share_an_id(client: Client) -> None:
    """Several records may share an id; they are changed and deleted together."""
    insert(client.sandbox, -2, -1, voiceId="same")
    listed = client.listed()

    assert listed == ["same", "same"]
    assert client.sandbox.update("same", callee="1") == 2
    assert client.sandbox.delete("same") == 2


@pytest.mark.parametrize(("past_last", "current", "rows"), [("empty", 9, 0), ("first", 1, 2), ("first_silent", 9, 2)])
def test_a_page_after_the_last_is_empty_or_page_1(client: Client, past_last: Any, current: int, rows: int) -> None:
    """A page after the last is empty or page 1, with its own number or the requested one."""
    insert(client.sandbox, -3, -2, -1)
    client.sandbox.behaviour = Behaviour(past_last=past_last)

    page = client.data(current=9, size=2)

    assert (page["current"], len(page["records"]), page["pages"], page["total"]) == (current, rows, 2, 3)


@pytest.mark.parametrize("past_last", ["empty", "first", "first_silent"])
def test_every_page_is_empty_without_records(client: Client, past_last: Any) -> None:
    """Without records, every page is empty, for any number."""
    client.sandbox.behaviour = Behaviour(past_last=past_last)

    assert client.data(current=10**17)["records"] == []
    assert client.data(current=1)["current"] == 1


def test_every_answer_may_be_page_1(client: Client) -> None:
    """A server may answer every request with page 1."""
    ids = insert(client.sandbox, -3, -2, -1)
    client.sandbox.behaviour = Behaviour(always_first_page=True)

    page = client.data(current=2, size=2)

    assert page["current"] == 1
    assert [record["voiceId"] for record in page["records"]] == ids[:2]


def test_a_record_may_appear_after_its_call(client: Client, clock: Clock) -> None:
    """A record may appear only after its call; count, page and single record agree."""
    client.sandbox.insert(
        {"voiceId": "over", "submitTime": at(-9), "hangupTime": at(-1)},
        {"voiceId": "soon", "submitTime": at(-9), "hangupTime": at(5)},
        {"voiceId": "failed", "submitTime": at(-9), "hangupTime": None, "terminationCode": "404"},
        {"voiceId": "going", "submitTime": at(-9), "hangupTime": None, "terminationCode": None},
    )
    client.sandbox.behaviour = Behaviour(appears="finished")
    first, total = client.listed(), client.data()["total"]
    missing = client.get("/recordGroup/soon").json()["data"]
    clock.at += 5

    assert first == ["over", "failed"]
    assert total == 2
    assert missing is None
    assert client.listed() == ["over", "soon", "failed"]


def test_future_records_are_not_seen(client: Client, clock: Clock) -> None:
    """A record is not visible before its submit time."""
    insert(client.sandbox, 10)
    end = NOW + timedelta(minutes=1)
    before = client.data(NOW, end)["total"]
    clock.at += 10

    assert before == 0
    assert client.data(NOW, end)["total"] == 1


def test_a_share_of_records_may_be_late(client: Client, clock: Clock) -> None:
    """A share of the records, the same each time, appears late."""
    ids = insert(client.sandbox, *[-1] * 60)
    client.sandbox.behaviour = Behaviour(late_share=0.5, late_by=10)
    early = client.listed()
    again = client.listed()
    clock.at += 9

    assert 15 < len(early) < 45
    assert again == early
    assert client.listed() == ids


def test_recent_records_may_change(client: Client, clock: Clock) -> None:
    """A recent record may show an unfinished call, in pages and alone, until it is complete."""
    insert(client.sandbox, -1, voiceId="1")
    client.sandbox.behaviour = Behaviour(changes_after=5)
    young, alone = client.data()["records"][0], client.get("/recordGroup/1").json()["data"]
    clock.at += 4
    old = client.data()["records"][0]

    assert young == alone
    assert set(old) - set(young) == {
        "answerTime",
        "hangupTime",
        "callDuration",
        "chargedDuration",
        "terminationCode",
        "terminationReason",
        "cost",
        "settlePay",
        "feedbackValue",
    }
    assert young["voiceId"] == old["voiceId"] == "1"


def test_records_may_be_stored_twice(client: Client) -> None:
    """A share of the records may be stored twice, and is counted and listed twice."""
    ids = insert(client.sandbox, *range(-60, 0))
    client.sandbox.behaviour = Behaviour(duplicates=0.5)
    some, total = client.listed(), client.data()["total"]
    client.sandbox.behaviour = Behaviour(duplicates=1.0)

    assert set(some) == set(ids)
    assert 75 < len(some) == total < 105
    assert client.data()["total"] == 120


def test_pages_may_be_smaller_than_requested(client: Client) -> None:
    """Pages may be smaller than requested, and then have their actual size."""
    insert(client.sandbox, *range(-5, 0))
    client.sandbox.behaviour = Behaviour(max_size=2)

    page = client.data(size=100, current=3)

    assert (page["size"], page["pages"], len(page["records"])) == (2, 3, 1)


@pytest.mark.parametrize(
    ("sizes", "requested", "served"),
    [
        ("any", 99, 99),
        ("reduced", 99, 95),
        ("raised", 96, 100),
        ("reduced", 3, 3),
        ("raised", 20, 20),
        ("refused", 95, 95),
    ],
)
def test_only_some_sizes_may_be_honoured(client: Client, sizes: Any, requested: int, served: int) -> None:
    """Sizes that are no multiple of five are changed or refused; those below are honoured."""
    insert(client.sandbox, *range(-5, 0))
    client.sandbox.behaviour = Behaviour(sizes=sizes)

    assert served == client.data(size=requested)["size"]


@pytest.mark.parametrize("name", ["total", "size", "current", "pages", "records"])
def test_a_field_of_a_page_may_be_missing(client: Client, name: str) -> None:
    """A field of a page may be missing."""
    client.sandbox.behaviour = Behaviour(omits=frozenset({name}))

    assert set(client.data()) == {"total", "size", "current", "pages", "searchCount", "records"} - {name}


def test_an_empty_page_may_have_null_records(client: Client) -> None:
    """An empty page may have null records; one with records does not."""
    client.sandbox.behaviour = Behaviour(null_records=True)
    empty = client.data()["records"]
    insert(client.sandbox, -1)

    assert empty is None
    assert len(client.data()["records"]) == 1


def test_numbers_may_be_text(client: Client) -> None:
    """Numbers in the data may be text; booleans stay booleans."""
    insert(client.sandbox, -1, weight=1.5)
    client.sandbox.behaviour = Behaviour(numbers_as_text=True)

    page = client.data()

    assert (page["total"], page["pages"], page["searchCount"]) == ("1", "1", True)
    assert page["records"][0]["callDuration"] == "5"
    assert page["records"][0]["weight"] == "1.5"


def test_the_status_may_be_a_number(client: Client) -> None:
    """The status may be a number."""
    client.sandbox.behaviour = Behaviour(status_as_number=True)

    assert client.query().json()["status"] == 0
    assert client.query(size=0).json()["status"] == -22


def test_a_body_may_start_with_a_byte_order_mark(client: Client) -> None:
    """A body may start with a byte order mark."""
    client.sandbox.behaviour = Behaviour(byte_order_mark=True)

    content = client.query().content

    assert content.startswith(b"\xef\xbb\xbf")
    assert json.loads(content.decode("utf-8-sig"))["status"] == "0"


def test_bodies_may_be_compressed(client: Client) -> None:
    """Bodies may be compressed if the client accepts it."""
    client.sandbox.behaviour = Behaviour(gzip=True)

    compressed = client.get("/recordGroup/1")
    plain = client.get("/recordGroup/1", **{"Accept-Encoding": "identity"})

    assert compressed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert compressed.json() == plain.json()


def test_text_of_any_script_is_unchanged(client: Client) -> None:
    """Text is returned unchanged, and the body's type is JSON."""
    insert(client.sandbox, -1, calledInfo="验证码 é 🙂")

    answer = client.query()

    assert answer.json()["data"]["records"][0]["calledInfo"] == "验证码 é 🙂"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Date"] == "Sun, 01 Nov 2026 00:00:00 GMT"


def test_a_record_is_found_by_its_id(client: Client) -> None:
    """Each kind of record is found by its id, under its own path."""
    client.sandbox.insert({"voiceId": "g"})
    client.sandbox.insert({"voiceId": "s"}, kind="sip")

    group, sip = client.get("/recordGroup/g").json()["data"], client.get("/recordSip/s").json()["data"]

    assert "voiceFileId" in group
    assert "recordingFileId" in sip
    assert client.get("/recordSip/g").json()["data"] is None


@pytest.mark.parametrize(
    ("switch", "answer"),
    [
        ("null", {"status": "0", "reason": "success", "data": None}),
        ("empty", {"status": "0", "reason": "success", "data": {}}),
        ("absent", {"status": "0", "reason": "success"}),
        ("parameter", {"status": "-22", "reason": "Parameter exception", "data": None}),
    ],
)
def test_a_missing_record_is_answered_in_one_of_four_ways(client: Client, switch: Any, answer: dict[str, Any]) -> None:
    """A missing record or recording is answered in one of four ways."""
    client.sandbox.behaviour = Behaviour(missing_record=switch)

    assert client.get("/recordGroup/404").json() == answer
    assert client.get("/getRecordingFileUrl?recordingFileId=404").json() == answer


@pytest.mark.parametrize(
    ("source", "kind", "field"),
    [
        ("", "group", "voiceFileId"),
        ("&sourceType=group", "group", "voiceFileId"),
        ("&sourceType=sip", "sip", "recordingFileId"),
    ],
)
def test_a_recording_url_returns_a_file(client: Client, source: str, kind: Any, field: str) -> None:
    """A recording's URL is on the sandbox, is valid for an hour, and returns a sound file."""
    client.sandbox.insert({field: "a b.wav"}, kind=kind)

    data = client.get(f"/getRecordingFileUrl?recordingFileId=a%20b.wav{source}").json()["data"]

    assert data["expireTime"] == (NOW.timestamp() + 3600) * 1000
    assert data["url"].startswith(client.sandbox.base_url)
    assert httpx.get(data["url"], trust_env=False).content.startswith(b"RIFF")


@pytest.mark.parametrize("query", ["", "?recordingFileId=", "?recordingFileId=1&sourceType=video"])
def test_invalid_recording_parameters_have_no_url(client: Client, query: str) -> None:
    """Without an id, or with an unknown source, there is no URL."""
    assert client.get(f"/getRecordingFileUrl{query}").json()["status"] == "-22"


def test_phone_records_can_be_filtered(client: Client) -> None:
    """Phone records can be filtered by exact group and phone."""
    for group, phone in (("sales", "1"), ("sales", "2"), ("support", "1")):
        client.sandbox.insert({"voiceId": group + phone, "sipGroupName": group, "phoneName": phone}, kind="sip")

    def ids(**filters: str) -> set[str]:
        return set(client.listed(kind="sip", filters=filters))

    assert ids() == {"sales1", "sales2", "support1"}
    assert ids(sipGroupName="sales") == {"sales1", "sales2"}
    assert ids(sipGroupName="sales", phoneName="2") == {"sales2"}
    assert ids(phoneName="1") == {"sales1", "support1"}
    assert ids(phoneName="Sales") == set()
    assert client.data(kind="sip", filters={"phoneName": "1"})["total"] == 2


def test_unknown_paths_are_404(client: Client) -> None:
    """An unknown path is 404, a wrong method 405; both are recorded."""
    missing = client.get("/balance")

    assert (missing.status_code, missing.headers["Date"]) == (404, "Sun, 01 Nov 2026 00:00:00 GMT")
    assert client.get("/recordGroupQuery").status_code == 405
    assert [request.answered for request in client.sandbox.requests] == ["404", "405"]


def test_a_sandbox_has_the_data_set_of_its_seed(clock: Clock) -> None:
    """A sandbox has the data set of its seed, both kinds, over the last 60 days."""
    with Sandbox(records=300, sip_records=100, clock=clock) as sandbox, httpx.Client(trust_env=False) as http:
        client = Client(sandbox, http, clock)
        start = NOW - timedelta(days=62)
        middle = start + timedelta(days=31)
        totals = {kind: client.data(start, middle, kind=kind)["total"] for kind in ("group", "sip")}
        rest = {kind: client.data(middle, NOW, kind=kind)["total"] for kind in ("group", "sip")}
        submitted = [datetime.fromisoformat(record["submitTime"]) for record in client.data()["records"]]

    assert totals["group"] + rest["group"] == 300
    assert totals["sip"] + rest["sip"] == 100
    assert submitted == sorted(submitted)
