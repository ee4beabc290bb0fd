"""A verification finds exactly the rows that differ, with few requests, and a repair merges them."""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import attrs
import duckdb
import httpx
import pyarrow as pa
import pytest
from pyarrow import parquet

from itnio_voice import (
    AuthenticationError,
    Credentials,
    IncompleteWindowError,
    Retry,
    SipRecord,
    VoiceRecord,
    structure_record,
)
from itnio_voice._client.accounts import Account
from itnio_voice.outputs._verify.comparison import differences
from itnio_voice.outputs.arrow import record_batch
from itnio_voice.outputs.text import csv_header, csv_lines, json_lines
from itnio_voice.outputs.verify import Verification, VerifiedTable, verify
from itnio_voice.outputs.warehouse import sync
from itnio_voice.sandbox import Behaviour, Sandbox

from ..conftest import environment_of

pytestmark = pytest.mark.anyio

SEEDS = int(os.environ.get("ITNIO_VERIFICATIONS", "3"))
KILLS = int(os.environ.get("ITNIO_KILLS", "2"))
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
END = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - 2 * DAY
START = END - 30 * DAY
ACCOUNT = {"eu": Account("eu", Credentials("eu-key", "eu-secret-of-the-test"), "http://127.0.0.1:9/voice")}
LOOPS = ("asyncio", "trio")
TABLES = ("voice_records", "sip_records")
TABLE = "calls.itnio_voice.voice_records"
PLAIN = "SELECT * EXCLUDE (_dlt_load_id) FROM"
"""A repair is a load of its own."""
HOSTILE = [
    "'); DROP TABLE voice_records; --",
    "\x1b[2J\x1b]0;title\x07",
    "../recordSip/1",
    "none-1",
    "a b\n\tü",
    "-1+1",
]


@attrs.define
class Api:
    """The vendor's API as this test imagines it: voice records as they are on the wire, by id.

    A range is `ends` of the field `selects`. `off` is added to each total.
    """

    rows: dict[str, dict[str, Any]]
    ends: str = "[]"
    selects: str = "submitTime"
    off: int = 0
    oldest: datetime | None = None
    status: str = "0"
    requests: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests += 1
        path = request.url.raw_path.decode().removeprefix("/voice/")
        if self.status != "0":
            return httpx.Response(200, json={"status": self.status, "reason": "Authentication error"})
        if request.method == "GET":
            return self._answer(self.rows.get(unquote(path.removeprefix("recordGroup/"))))
        body = json.loads(request.content)
        first, last = (datetime.fromisoformat(body["params"][name]) for name in ("strTime", "endTime"))
        if last - first > 31 * DAY or (self.oldest and first < self.oldest):
            return httpx.Response(200, json={"status": "-25", "reason": "Out of time range"})
        ends = first.timestamp(), last.timestamp()
        found = [row for row in self.rows.values() if self._is_in(seconds_of(row[self.selects]), *ends)]
        found = found if path == "recordGroupQuery" else []
        found.sort(key=lambda row: (row[self.selects], row["voiceId"]), reverse=True)
        size, current = body["size"], body["current"]
        page = found[(current - 1) * size : current * size]
        total = max(0, len(found) + self.off)
        return self._answer({"total": total, "size": size, "current": current, "pages": 1, "records": page})

    def _is_in(self, at: float, first: float, last: float) -> bool:
        return first < at < last or (at == first and self.ends[0] == "[") or (at == last and self.ends[1] == "]")

    def _answer(self, data: Any) -> httpx.Response:
        return httpx.Response(200, json={"status": "0", "reason": "success", "data": data})

    def options(self) -> Any:
        """Return the options of a session on this server."""
        return {"http_client": httpx.AsyncClient(transport=httpx.MockTransport(self)), "retry": Retry(attempts=1)}

    async def verify(self, source: Path, **options: Any) -> Verification:
        """Verify a file or database."""
        self.requests = 0
        return await verify(options.pop("accounts", ACCOUNT), source, **self.options(), **options)


@functools.cache
def seconds_of(text: str) -> float:
    """Return a time on the wire in Unix seconds."""
    return datetime.fromisoformat(text).timestamp()


def wire(name: str, at: datetime, chance: random.Random) -> dict[str, Any]:
    """Return a record as it is on the wire."""
    offset = timezone(timedelta(hours=8))
    return {
        "voiceId": name,
        "callee": f"+49{chance.randrange(10**9)}",
        "submitTime": at.astimezone(offset).isoformat(),
        "hangupTime": (at + timedelta(seconds=chance.randrange(300))).astimezone(offset).isoformat(),
        "cost": f"{chance.randrange(10**6)}e-{chance.randrange(9)}",
        "chargedDuration": chance.randrange(300),
        "currency": chance.choice(["USD", None, ""]),
        "calledInfo": chance.choice(["=1+1", "'=2", 'a,b\n"c"', None]),
        "newField": chance.choice([{"b": [1, "x"], "a": None}, "text", 7, ...]),
    }


def generated(count: int = 1200, seed: int = 1) -> dict[str, dict[str, Any]]:
    """Return records of a month, some of them exactly on midnight."""
    chance = random.Random(seed)
    seconds = int((END - START) / SECOND)
    times = [START + chance.randrange(1, seconds) * SECOND for _ in range(count)]
    times += [at.replace(hour=0, minute=0, second=0) for at in times[:20] if at.day != START.day]
    rows = {f"v{number}": wire(f"v{number}", at, chance) for number, at in enumerate(times)}
    return {name: {key: value for key, value in row.items() if value is not ...} for name, row in rows.items()}


ROWS = generated()


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with all records."""
    path = tmp_path_factory.mktemp("synced") / "calls.duckdb"
    assert not sync(ACCOUNT, since=START, until=END, database=path, **Api(ROWS).options()).failures
    return path


@pytest.fixture
def database(synced: Path, tmp_path: Path) -> Path:
    """Return a copy of the database."""
    return Path(shutil.copy(synced, tmp_path / "calls.duckdb"))


@pytest.fixture
def api() -> Api:
    """Return a server with all records."""
    return Api(dict(ROWS))


def change(database: Path, query: str, *values: Any) -> None:
    """Run a query that changes a database."""
    with duckdb.connect(str(database)) as connection:
        connection.execute(query, values)


def stored(database: Path, query: str) -> list[Any]:
    """Run a query."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(query).fetchall()


def voice(found: Verification) -> VerifiedTable:
    """Return the result for voice records, after a check of the other kind."""
    (table,) = (each for each in found.tables if each.table == "voice_records")
    assert all(each.agrees and not each.records for each in found.tables if each is not table)
    return table


def differing(found: Verification) -> tuple[list[str], list[str], list[str]]:
    """Return the ids that are missing, extra and changed."""
    table = voice(found)
    return sorted(table.missing), sorted(table.extra), sorted(table.changed)


def midday(days: int) -> datetime:
    """Return midday, a number of days after the start."""
    return START + days * DAY


# What is found


@pytest.mark.parametrize("ends", ["[]", "[)", "(]"])
async def test_a_month_that_agrees_costs_about_two_requests_a_day(ends: str, database: Path, api: Api) -> None:
    """Counts prove it, whichever ends of a range the server includes; the other kind has no rows."""
    api.ends = ends
    found = await api.verify(database)

    assert found.agrees
    assert ([], [], []) == differing(found)
    assert len(ROWS) >= voice(found).records > len(ROWS) - 20
    assert api.requests <= 80


async def test_three_missing_rows_cost_few_requests(database: Path, api: Api) -> None:
    """Only the days of missing rows are read."""
    gone = ["v100", "v200", "v300"]
    change(database, f"DELETE FROM {TABLE} WHERE voice_id IN (SELECT unnest($1))", gone)
    found = await api.verify(database)

    assert (sorted(gone), [], []) == differing(found)
    assert not found.agrees
    assert voice(found).read < 400
    assert api.requests <= 110


async def test_a_busy_day_is_halved(tmp_path: Path) -> None:
    """Of a day with many records, only the minutes around a missing one are read."""
    chance = random.Random(2)
    rows = {f"b{n}": wire(f"b{n}", midday(3) + n * 2 * SECOND, chance) for n in range(10_000)}
    api = Api({name: {key: value for key, value in row.items() if value is not ...} for name, row in rows.items()})
    source = as_json_lines(tmp_path, [row for name, row in api.rows.items() if name != "b7777"])
    found = await api.verify(source)

    assert (["b7777"], [], []) == differing(found)
    assert voice(found).read <= 500
    assert api.requests <= 60


@pytest.mark.parametrize(("seed", "ends"), [(seed, ("[]", "[)", "(]")[seed % 3]) for seed in range(SEEDS)])
async def test_random_differences_are_found_exactly(seed: int, ends: str, database: Path, api: Api) -> None:
    """Each row that was deleted, added or changed is found, and no other one, also if a row's time was changed."""
    api.ends = ends
    chance = random.Random(seed)
    names = chance.sample(sorted(ROWS), 60)
    gone, altered, twins = names[: chance.randrange(20)], names[20 : 20 + chance.randrange(20)], names[40:50]
    updates = [
        "cost = cost + 1e-8::DECIMAL(18, 8)",
        "submit_time = submit_time + INTERVAL 5 DAY",
        "submit_time = NULL",
        "extra = '{\"newField\": 8}'",
        "callee = NULL",
        "charged_duration = charged_duration + 1",
    ]
    added = [f"x{number}" for number in range(chance.randrange(20))]
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"DELETE FROM {TABLE} WHERE voice_id IN (SELECT unnest($1))", [gone])
        for name in altered:
            connection.execute(f"UPDATE {TABLE} SET {chance.choice(updates)} WHERE voice_id = $1", [name])
        for name, like in zip(added, names[50:], strict=False):
            insert = f"INSERT INTO {TABLE} SELECT * REPLACE ($1 AS voice_id) FROM {TABLE} WHERE voice_id = $2"
            connection.execute(insert, [name, like])
        for name in twins:
            connection.execute(f"INSERT INTO {TABLE} SELECT * FROM {TABLE} WHERE voice_id = $1", [name])
    added = added[: len(names[50:])]

    found = await api.verify(database, by_id=True)
    assert (sorted(gone), sorted([*added, *twins]), sorted(altered)) == differing(found)
    assert len(ROWS) == voice(found).read


async def test_differences_on_days_of_their_own_are_found_without_by_id(database: Path, api: Api) -> None:
    """A row that was deleted or added, or whose time was moved to another day, is found by the counts."""
    days = {datetime.fromisoformat(row["submitTime"]).astimezone(UTC).date(): name for name, row in ROWS.items()}
    gone, doubled, moved = (days[(START + number * DAY).date()] for number in (4, 9, 14))
    change(database, f"DELETE FROM {TABLE} WHERE voice_id = $1", gone)
    change(database, f"INSERT INTO {TABLE} SELECT * FROM {TABLE} WHERE voice_id = $1", doubled)
    change(database, f"UPDATE {TABLE} SET submit_time = submit_time - INTERVAL 3 DAY WHERE voice_id = $1", moved)
    found = await api.verify(database)

    assert ([gone], [doubled], [moved]) == differing(found)


async def test_by_id_finds_what_equal_counts_hide(database: Path, api: Api) -> None:
    """A missing and an extra row on one day, and a changed row, are found only by id, as the documentation says."""
    change(database, f"UPDATE {TABLE} SET voice_id = 'other' WHERE voice_id = 'v5'")
    change(database, f"UPDATE {TABLE} SET cost = 7 WHERE voice_id = 'v6'")

    assert (await api.verify(database)).agrees
    assert (["v5"], ["other"], ["v6"]) == differing(await api.verify(database, by_id=True))


async def test_a_server_that_selects_by_another_time_makes_no_difference(database: Path, api: Api) -> None:
    """Rows that the server lists on another day than that of their submit time agree."""
    api.selects = "hangupTime"
    inner = {"since": START + DAY, "until": END - DAY}
    assert (await api.verify(database, **inner)).agrees
    change(database, f"DELETE FROM {TABLE} WHERE voice_id = 'v9'")
    found = await api.verify(database, **inner)

    assert (["v9"], [], []) == differing(found)


@pytest.mark.parametrize("off", [-1, -50])
async def test_wrong_totals_are_no_differences(off: int, database: Path, api: Api) -> None:
    """A server whose totals are wrong costs requests, and makes no difference."""
    api.off = off
    assert ([], [], []) == differing(await api.verify(database))


async def test_totals_that_cannot_be_verified_are_an_error(database: Path, api: Api) -> None:
    """If a record that the server counts cannot be read, no verdict is given."""
    api.off = 1
    with pytest.raises(IncompleteWindowError):
        await api.verify(database)


async def test_expired_records_are_not_extra(database: Path, api: Api) -> None:
    """What is older than the retention is not compared, also with a `since` before it."""
    api.oldest = midday(10)
    for name in [name for name, row in ROWS.items() if datetime.fromisoformat(row["submitTime"]) < api.oldest]:
        del api.rows[name]
    for since in (None, START - 90 * DAY):
        table = voice(found := await api.verify(database, since=since))
        assert found.agrees
        assert table.window
        assert midday(10) < table.window.start < midday(11)
    api.oldest = END + DAY
    with pytest.raises(ValueError, match="older than the API's retention"):
        await api.verify(database)


async def test_a_missing_first_or_last_row_is_found(database: Path, api: Api) -> None:
    """The range of a database is what `sync` has read, not that of its rows."""
    by_time = sorted(ROWS, key=lambda name: (datetime.fromisoformat(ROWS[name]["submitTime"]), name))
    ends = [*by_time[:2], *by_time[-2:]]
    change(database, f"DELETE FROM {TABLE} WHERE voice_id IN (SELECT unnest($1))", ends)

    assert (sorted(ends), [], []) == differing(await api.verify(database))


async def test_an_empty_table_is_compared(database: Path, api: Api) -> None:
    """A table that was dropped counts as one without rows."""
    change(database, f"DROP TABLE {TABLE}")
    found = await api.verify(database)

    assert len(ROWS) == len(voice(found).missing) == voice(found).records


async def test_hostile_ids_are_data(tmp_path: Path, api: Api, database: Path) -> None:
    """Ids with SQL, paths and escapes are found like others, missing and extra."""
    row = ROWS["v1"]
    api.rows |= {name: row | {"voiceId": name} for name in HOSTILE}
    assert (sorted(HOSTILE), [], []) == differing(await api.verify(database))
    source = as_json_lines(tmp_path, list(api.rows.values()))
    assert (await api.verify(source, by_id=True)).agrees
    for name in HOSTILE:
        del api.rows[name]

    assert ([], sorted(HOSTILE), []) == differing(await api.verify(source))


# Files


def records(rows: list[dict[str, Any]]) -> list[VoiceRecord]:
    """Return rows as records."""
    return [structure_record(row, VoiceRecord) for row in rows]


def as_json_lines(folder: Path, rows: list[dict[str, Any]], account: str | None = "eu") -> Path:
    """Write an export."""
    path = folder / "calls.jsonl"
    path.write_bytes(json_lines(records(rows), account=account))
    return path


def as_csv(folder: Path, rows: list[dict[str, Any]], account: str | None = "eu", *, safe: bool = False) -> Path:
    """Write an export."""
    path = folder / "calls.csv"
    lines = csv_lines(records(rows), account=account, safe=safe)
    path.write_bytes(csv_header(VoiceRecord, account=account is not None) + lines)
    return path


def as_safe_csv(folder: Path, rows: list[dict[str, Any]], account: str | None = "eu") -> Path:
    """Write an export with apostrophes before formulas."""
    return as_csv(folder, rows, account, safe=True)


def as_parquet(folder: Path, rows: list[dict[str, Any]], account: str | None = "eu") -> Path:
    """Write an export."""
    path = folder / "calls.parquet"
    parquet.write_table(pa.Table.from_batches([record_batch(records(rows), VoiceRecord, account=account)]), path)
    return path


FORMATS = [as_json_lines, as_csv, as_safe_csv, as_parquet]


@pytest.mark.parametrize(
    ("write", "account", "anyio_backend"),
    [
        (write, account, LOOPS[(number + turn) % 2])
        for number, write in enumerate(FORMATS)
        for turn, account in enumerate(["eu", None])
    ],
)
async def test_a_file_is_verified_by_all_its_values(write: Any, account: str | None, api: Api, tmp_path: Path) -> None:
    """A file agrees with the API in each format; a missing, a doubled and a changed row are found."""
    without_id = [{**row, "voiceId": ""} for row in list(ROWS.values())[5:9]]
    api.rows |= {f"none{number}": row for number, row in enumerate(without_id)}
    rows = list(api.rows.values())
    found = await api.verify(write(tmp_path, rows, account), by_id=True)
    assert found.agrees
    assert voice(found).records >= len(rows) - 1
    by_time = sorted(rows, key=lambda row: datetime.fromisoformat(row["submitTime"]))
    gone, twin, altered = (row for row in by_time[100:110:4])
    rest = [row for row in by_time if row is not gone and row is not altered]
    rest += [twin, altered | {"chargedDuration": 4000}]
    found = await api.verify(write(tmp_path, rest, account), by_id=True)

    assert ([gone["voiceId"]], [twin["voiceId"]], [altered["voiceId"]]) == differing(found)


async def test_records_that_share_an_id_agree_in_a_file(api: Api, tmp_path: Path) -> None:
    """Different records with one id are distinguished by their content; one of them may be missing."""
    shared = [{**row, "voiceId": "shared"} for row in list(ROWS.values())[5:9]]
    api.rows |= {f"shared{number}": row for number, row in enumerate(shared)}
    rows = list(api.rows.values())
    assert (await api.verify(as_json_lines(tmp_path, rows), by_id=True)).agrees
    rows.remove(shared[2])

    assert (["shared"], [], []) == differing(await api.verify(as_json_lines(tmp_path, rows), by_id=True))


async def test_a_file_of_phone_records_is_of_its_kind(api: Api, tmp_path: Path) -> None:
    """Only phone records are compared."""
    path = tmp_path / "calls.jsonl"
    path.write_bytes(json_lines([SipRecord("1", submit_time=midday(1)), SipRecord("2", submit_time=midday(2))]))
    (table,) = (await api.verify(path)).tables

    assert ("sip_records", 0) == (table.table, table.records)
    assert "1" in table.extra


@pytest.mark.parametrize(
    ("theirs", "ours", "merged", "expected"),
    [
        ("a", "a", False, (0, 0, 0)),
        ("a", "", False, (1, 0, 0)),
        ("", "a", False, (0, 0, 1)),
        ("a", "b", False, (0, 1, 0)),
        ("a", "aa", False, (0, 0, 1)),
        ("a", "ab", True, (0, 0, 1)),
        ("ab", "a", False, (1, 0, 0)),
        ("ab", "a", True, (0, 0, 0)),
        ("ab", "", True, (1, 0, 0)),
        ("ab", "c", True, (0, 1, 0)),
        ("abc", "bd", False, (1, 1, 0)),
    ],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_rows_of_one_id_are_compared_by_content(theirs: str, ours: str, merged: bool, expected: Any) -> None:
    """The numbers are those of missing, changed and left-over rows. In a warehouse, one of the API's is enough."""
    one, other = ([{"voice_id": "1", "callee": each, "extra": None} for each in text] for text in (theirs, ours))
    found = differences(one, other, merged=merged)

    assert expected == tuple(map(len, (found.missing, found.changed, found.left_over)))


# Accounts and wrong arguments


async def test_rows_of_other_accounts_are_named(database: Path, api: Api) -> None:
    """Rows of an account that is not configured are counted, and not compared."""
    change(database, f"INSERT INTO {TABLE} SELECT * REPLACE ('us' AS account) FROM {TABLE} LIMIT 7")
    found = await api.verify(database)

    assert found.agrees
    assert {"us": 7} == found.not_compared


async def test_each_account_is_compared(database: Path, api: Api) -> None:
    """An account without rows is compared over the range of the others."""
    us = Account("us", Credentials("us-key", "us-secret-of-the-test"), "http://127.0.0.1:9/voice")
    found = await api.verify(database, accounts={**ACCOUNT, "us": us})

    assert {("eu", "voice_records"), ("eu", "sip_records"), ("us", "voice_records"), ("us", "sip_records")} == {
        (table.account, table.table) for table in found.tables
    }
    assert len(ROWS) >= sum(len(table.missing) for table in found.tables if table.account == "us") > 1000
    assert all(table.agrees for table in found.tables if table.account == "eu")


@pytest.mark.parametrize("name", ["text.jsonl", "other.duckdb", "notes.txt", "empty.jsonl", "columns.csv"])
async def test_a_source_without_records_is_refused_before_a_request(name: str, api: Api, tmp_path: Path) -> None:
    """A file that is no export, or a database without our tables, is a ValueError that names it."""
    path = tmp_path / name
    match path.suffix:
        case ".duckdb":
            duckdb.connect(str(path)).execute("CREATE TABLE other (a INTEGER)").close()
        case _:
            path.write_text({"text.jsonl": "hello\n", "columns.csv": "a,b\n1,2\n"}.get(name, ""))
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        await api.verify(path)

    assert 0 == api.requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accounts": {"us": attrs.evolve(ACCOUNT["eu"], name="us")}}, "records of 'eu', but the accounts are 'us'"),
        ({"since": END, "until": START}, "start must be before end"),
        ({"since": END.replace(tzinfo=None)}, "an offset"),
        ({"since": END + DAY}, "start must be before end"),
        ({"dataset": "other"}, "'other'"),
        ({"concurrency": 0}, "concurrency"),
    ],
)
async def test_a_wrong_argument_is_refused_before_a_request(
    options: Any, message: str, database: Path, api: Api
) -> None:
    """The message says what is wrong."""
    with pytest.raises(ValueError, match=message):
        await api.verify(database, **options)

    assert 0 == api.requests


async def test_a_range_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """A file whose rows are of one second has no range, unless one is passed."""
    row = ROWS["v1"]
    api = Api({"v1": row})
    source = as_json_lines(tmp_path, [row])
    with pytest.raises(ValueError, match="account 'eu': pass since and until"):
        await api.verify(source)
    assert 0 == api.requests

    assert (await api.verify(source, since=START, until=END, by_id=True)).agrees


async def test_a_file_cannot_be_repaired(api: Api, tmp_path: Path) -> None:
    """The message says to export it again."""
    with pytest.raises(ValueError, match="export it again"):
        await api.verify(as_json_lines(tmp_path, list(ROWS.values())), repair=True)

    assert 0 == api.requests


async def test_a_file_without_accounts_needs_a_single_one(api: Api, tmp_path: Path) -> None:
    """Of several accounts, the user must choose."""
    both = {**ACCOUNT, "us": Account("us", Credentials("us-key", "us-secret-of-the-test"))}
    with pytest.raises(ValueError, match="choose one of them with --account"):
        await api.verify(as_json_lines(tmp_path, list(ROWS.values()), None), accounts=both)


async def test_an_error_names_the_account(database: Path, api: Api) -> None:
    """An error of the API is raised, with the account in a note."""
    api.status = "-1"
    with pytest.raises(AuthenticationError) as caught:
        await api.verify(database)

    assert any("account 'eu'" in note for note in caught.value.__notes__)


async def test_a_cancelled_verification_leaves_the_database_free(database: Path, api: Api) -> None:
    """After a cancellation at any request, the database can be written."""
    for number in (1, 5, 40):
        with anyio.CancelScope() as scope:

            def answer(
                request: httpx.Request, number: int = number, scope: anyio.CancelScope = scope
            ) -> httpx.Response:
                if api.requests == number:
                    scope.cancel()
                return api(request)

            api.requests = 0
            client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
            await verify(ACCOUNT, database, http_client=client)
        assert scope.cancelled_caught
        change(database, f"DELETE FROM {TABLE} WHERE voice_id = $1", f"v{number}")

    assert ["v1", "v40", "v5"] == differing(await api.verify(database))[0]


# Repair


async def test_a_repair_merges_what_is_missing_and_changed(database: Path, api: Api) -> None:
    """The rows then agree, extra rows stay, and how far `sync` has read stays as it is."""
    before = stored(database, f"{PLAIN} {TABLE} ORDER BY voice_id")
    coverage = stored(database, "SELECT max(version) FROM calls.itnio_voice._dlt_pipeline_state")
    change(database, f"DELETE FROM {TABLE} WHERE voice_id IN ('v1', 'v2')")
    change(database, f"UPDATE {TABLE} SET cost = 7 WHERE voice_id = 'v3'")
    found = await api.verify(database, by_id=True, repair=True)

    assert (["v1", "v2"], [], ["v3"]) == differing(found)
    assert voice(found).repaired
    assert found.agrees
    assert before == stored(database, f"{PLAIN} {TABLE} ORDER BY voice_id")
    assert coverage == stored(database, "SELECT max(version) FROM calls.itnio_voice._dlt_pipeline_state")
    change(database, f"INSERT INTO {TABLE} SELECT * REPLACE ('x' AS voice_id) FROM {TABLE} WHERE voice_id = 'v4'")
    change(database, f"DELETE FROM {TABLE} WHERE voice_id = 'v1'")
    found = await api.verify(database, by_id=True, repair=True)

    assert (["v1"], ["x"], []) == differing(found)
    assert not found.agrees
    assert len(before) + 1 == len(stored(database, f"FROM {TABLE}"))


async def test_a_repair_of_a_complete_database_writes_nothing(database: Path, api: Api) -> None:
    """The file stays as it is, byte by byte."""
    before = database.read_bytes()
    assert (await api.verify(database, repair=True)).agrees

    assert before == database.read_bytes()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox with a month of records of both kinds."""
    with Sandbox(records=3000, sip_records=300, end=END, behaviour=Behaviour(latency=0.01)) as sandbox:
        yield sandbox


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_killed_repair_loses_and_doubles_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """After repairs that were killed at random times, one more repair makes all rows agree."""
    account = {"default": Account("default", Credentials(sandbox.api_key, sandbox.api_secret), sandbox.base_url)}
    database, chance = tmp_path / "calls.duckdb", random.Random(1)
    assert not sync(account, since=END - 50 * DAY, until=END, database=database).failures
    before = {table: stored(database, f"{PLAIN} itnio_voice.{table} ORDER BY voice_id") for table in TABLES}
    for table in TABLES:
        change(database, f"DELETE FROM calls.itnio_voice.{table} WHERE hash(voice_id) % 3 = 0")
        change(database, f"UPDATE calls.itnio_voice.{table} SET cost = 7 WHERE hash(voice_id) % 5 = 0")
    environment = environment_of(sandbox) | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "itnio_voice", "verify", str(database), "--by-id", "--repair"]
    for _ in range(KILLS):
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(2.0, 8.0))
            process.send_signal(signal.SIGKILL)
        for table, rows in before.items():
            names = [name for (name,) in stored(database, f"SELECT voice_id FROM itnio_voice.{table}")]
            assert len(names) == len(set(names)) <= len(rows)
    subprocess.run(command, env=environment, check=True)

    assert before == {table: stored(database, f"{PLAIN} itnio_voice.{table} ORDER BY voice_id") for table in TABLES}
