"""A warehouse has each record once, in its latest state, after any number of interrupted loads."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Unpack

import attrs
import dlt
import duckdb
import httpx
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from itnio_voice import AuthenticationError, Credentials, IPRestrictedError, TimestampExpiredError, VoiceSession
from itnio_voice._client.accounts import Account
from itnio_voice._client.session import SessionOptions
from itnio_voice.outputs import warehouse
from itnio_voice.outputs.arrow import MONEY
from itnio_voice.outputs.warehouse import SyncResult, sync, voice_calls
from itnio_voice.sandbox import Behaviour, Sandbox

from ..conftest import environment_of
from ..support.postgres import PROGRAMS, postgres

KILLS = int(os.environ.get("ITNIO_KILLS", "2"))
SINCE = datetime.now(UTC) - timedelta(days=61)
RECENT = {"submitTime": (datetime.now(UTC) - timedelta(minutes=5)).isoformat()}
"""The current second is not read, so the inserted records were submitted before it."""
ACCOUNTS = {"eu-key": "eu-secret-of-the-sandbox", "us-key": "us-secret-of-the-sandbox"}
PLAIN = "SELECT account, voice_id, cost, call_duration, submit_time, extra FROM itnio_voice.voice_records"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox of two accounts."""
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    with Sandbox(records=400, sip_records=60, end=end, accounts=ACCOUNTS) as sandbox:
        yield sandbox


def accounts(sandbox: Sandbox, *names: str) -> dict[str, Account]:
    """Return accounts of a sandbox by name."""
    keys = {key[:2]: key for key in sandbox.accounts}
    return {
        name: Account(name, Credentials(keys[name], sandbox.accounts[keys[name]]), sandbox.base_url)
        for name in names or keys
    }


def query(database: Path, text: str) -> list[Any]:
    """Run a query on a DuckDB file."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(text).fetchall()


def names(database: Path, table: str = "voice_records") -> list[Any]:
    """Return the account and id of each row."""
    return query(database, f"SELECT account, voice_id FROM itnio_voice.{table} ORDER BY ALL")  # noqa: S608


def expected(sandbox: Sandbox, *which: str, kind: Any = "group") -> list[Any]:
    """Return the account and id of each expected row."""
    return sorted(
        (key[:2], name)
        for key in sandbox.accounts
        if not which or key[:2] in which
        for name in sandbox.ids(kind=kind, account=key)
    )


def cost(sandbox: Sandbox, kind: Any = "group") -> Decimal:
    """Return the sum of the costs on the sandbox's wire."""
    store = sandbox._opened()
    rows = store._connection.execute("SELECT json_extract(wire, '$.cost') FROM records WHERE kind = ?", [kind])
    with localcontext(prec=60):
        return sum((Decimal(str(value)) for (value,) in rows if value not in {None, ""}), Decimal())


# Rows


def test_every_record_is_stored_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """Both tables have each record of each account once, with exact costs, aware times and no float."""
    database = tmp_path / "calls.duckdb"
    synced = sync(accounts(sandbox), since=SINCE, database=database)

    assert {"voice_records": 800, "sip_records": 120} == synced.rows
    assert [] == synced.failures
    for table, kind in (("voice_records", "group"), ("sip_records", "sip")):
        assert expected(sandbox, kind=kind) == names(database, table)
        assert [(cost(sandbox, kind),)] == query(database, f"SELECT sum(cost) FROM itnio_voice.{table}")  # noqa: S608
    types = {row[0]: row[1] for row in query(database, "DESCRIBE itnio_voice.voice_records")}
    assert "DECIMAL(18,8)" == types["cost"]
    assert "TIMESTAMP WITH TIME ZONE" == types["submit_time"]
    assert not {"DOUBLE", "FLOAT"} & set(types.values())


def test_second_sync_changes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """A second run reads only the lookback again, and changes nothing."""
    database = tmp_path / "calls.duckdb"
    sync(accounts(sandbox), since=SINCE, database=database)
    before = sorted(query(database, PLAIN))
    sandbox.reset_requests()
    sync(accounts(sandbox), since=SINCE, database=database)

    assert before == sorted(query(database, PLAIN))
    assert len(sandbox.requests) <= 12


def test_late_and_changed_records_are_updated(sandbox: Sandbox, tmp_path: Path) -> None:
    """Records that appeared late, were unfinished or have changed within the lookback are right after the next run."""
    database = tmp_path / "calls.duckdb"
    at = datetime.now(UTC) - timedelta(days=1)
    sandbox.insert({"voiceId": "open", "submitTime": at.isoformat(), "terminationCode": None, "cost": None})
    sync(accounts(sandbox), since=SINCE, database=database)
    sandbox.update("open", terminationCode="200", cost="1.23456789")
    sandbox.insert({"voiceId": "late", "submitTime": (at - timedelta(days=1)).isoformat()})
    sandbox.insert({"voiceId": "too late", "submitTime": (at - timedelta(days=9)).isoformat()})
    sync(accounts(sandbox), since=SINCE, database=database)

    changed = "SELECT termination_code, cost FROM itnio_voice.voice_records WHERE voice_id = 'open'"
    assert [("200", Decimal("1.23456789"))] == query(database, changed)
    assert ("eu", "late") in names(database)
    assert ("eu", "too late") not in names(database)
    sync(accounts(sandbox), since=SINCE, lookback=timedelta(days=12), database=database)
    assert expected(sandbox) == names(database)


def test_rows_outside_the_requested_range_are_stored(tmp_path: Path) -> None:
    """If a server selects by another time than the submit time, all of its rows are stored."""
    with Sandbox(records=300, behaviour=Behaviour(selects_by="hangup_time")) as sandbox:
        account = {"one": Account("one", Credentials(sandbox.api_key, sandbox.api_secret), sandbox.base_url)}
        for days in (30, 0, 0):
            until = datetime.now(UTC) - timedelta(days=days)
            sync(account, since=SINCE, until=until, lookback=timedelta(), database=tmp_path / "calls.duckdb")

        assert sandbox.ids() == {name for _, name in names(tmp_path / "calls.duckdb")}


def test_text_with_a_nul_is_stored(sandbox: Sandbox, tmp_path: Path) -> None:
    """U+FFFD replaces NUL, also in an unknown field."""
    sandbox.insert(RECENT | {"voiceId": "nul", "callee": "a\0b", "newField": {"k\0": ["v\0"]}})
    sync(accounts(sandbox), since=SINCE, database=tmp_path / "calls.duckdb")

    text = "SELECT callee, extra FROM itnio_voice.voice_records WHERE voice_id = 'nul'"
    assert [("a\ufffdb", '{"newField":{"k\ufffd":["v\ufffd"]}}')] == query(tmp_path / "calls.duckdb", text)


def test_records_without_an_id_are_distinguished(sandbox: Sandbox, tmp_path: Path) -> None:
    """Records without an id are neither confused with each other nor duplicated by the next run."""
    database = tmp_path / "calls.duckdb"
    without = ({"voiceId": "", "callee": "1"}, {"voiceId": ..., "callee": "2"}, {"voiceId": None, "callee": "3"})
    sandbox.insert(*({**RECENT, **record} for record in without))
    for _ in range(2):
        sync(accounts(sandbox), since=SINCE, database=database)

    found = query(database, "SELECT callee FROM itnio_voice.voice_records WHERE voice_id LIKE 'none-%' ORDER BY ALL")
    assert [("1",), ("2",), ("3",)] == found


def test_one_id_in_two_accounts_is_two_records(sandbox: Sandbox, tmp_path: Path) -> None:
    """An id in two accounts is two records."""
    for key in ACCOUNTS:
        sandbox.insert(RECENT | {"voiceId": "same"}, account=key)
    sync(accounts(sandbox), since=SINCE, database=tmp_path / "calls.duckdb")

    assert {("eu", "same"), ("us", "same")} <= set(names(tmp_path / "calls.duckdb"))


# Range of a run


def test_a_new_account_is_read_from_the_beginning(sandbox: Sandbox, tmp_path: Path) -> None:
    """A new account is read from the beginning; so are all accounts when `since` is moved back."""
    database = tmp_path / "calls.duckdb"
    recent = datetime.now(UTC) - timedelta(days=10)
    sync(accounts(sandbox, "eu"), since=recent, database=database)
    assert len(names(database)) < 200
    sync(accounts(sandbox), since=recent, database=database)
    assert {"eu", "us"} == {account for account, _ in names(database)}
    sync(accounts(sandbox), since=SINCE, database=database)
    assert expected(sandbox) == names(database)


def test_another_account_of_the_same_name_is_read_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """Ranges that were read with one key do not count as read with another."""
    both = accounts(sandbox)
    for account in both.values():
        sync({"default": account}, since=SINCE, database=tmp_path / "calls.duckdb")

    assert sorted(name for _, name in expected(sandbox)) == [name for _, name in names(tmp_path / "calls.duckdb")]


def test_records_missed_by_a_clock_ahead_are_read_next(tmp_path: Path) -> None:
    """Records that a server with a late clock did not return are read by the next run, also without a lookback."""
    clock = now = time.time() - 7200
    with Sandbox(records=0, behaviour=Behaviour(timestamp_tolerance=60), clock=lambda: clock) as sandbox:
        account = {"one": Account("one", Credentials(sandbox.api_key, sandbox.api_secret), sandbox.base_url)}
        for hour in range(4):
            clock = now + hour * 1800
            sandbox.insert({"submitTime": datetime.fromtimestamp(clock - 900, UTC).isoformat()})
            sync(
                account,
                since=SINCE,
                until=datetime.fromtimestamp(clock + 7200, UTC),
                lookback=timedelta(),
                database=tmp_path / "calls.duckdb",
            )

        assert 4 == len(names(tmp_path / "calls.duckdb"))


def test_a_gap_is_read_later(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two ranges with a gap between them do not count as one."""
    database, now = tmp_path / "calls.duckdb", datetime.now(UTC)
    sync(accounts(sandbox), since=SINCE, until=now - timedelta(days=40), database=database)
    sync(accounts(sandbox), since=now - timedelta(days=20), database=database)
    assert len(names(database)) < 800
    sync(accounts(sandbox), since=SINCE, database=database)

    assert expected(sandbox) == names(database)


def test_a_gap_before_the_read_range_is_read_later(sandbox: Sandbox, tmp_path: Path) -> None:
    """An earlier range with a gap before the read range does not make the gap count as read."""
    database, now = tmp_path / "calls.duckdb", datetime.now(UTC)
    sync(accounts(sandbox), since=now - timedelta(days=10), database=database)
    sync(accounts(sandbox), since=SINCE, until=now - timedelta(days=40), database=database)
    assert len(names(database)) < 800
    sync(accounts(sandbox), since=SINCE, database=database)

    assert expected(sandbox) == names(database)


def test_syncs_that_share_an_end_within_a_second_tile(sandbox: Sandbox, tmp_path: Path) -> None:
    """Both ends are rounded down: two syncs that share one have each record, and count as one range."""
    database, middle = tmp_path / "calls.duckdb", datetime.now(UTC).replace(microsecond=600_000) - timedelta(days=9)
    sandbox.insert(*({"submitTime": (middle + timedelta(seconds=step)).isoformat()} for step in (-1.6, -0.6, 0, 0.4)))
    begin, no = middle - timedelta(days=2), timedelta()
    sync(accounts(sandbox), since=begin, until=middle, lookback=no, database=database)
    sync(accounts(sandbox), since=middle, until=middle + timedelta(days=1), lookback=no, database=database)
    between = {name for _, name in names(database)}
    sandbox.reset_requests()
    sync(accounts(sandbox), since=begin, until=middle + timedelta(days=1), lookback=no, database=database)

    both = sandbox.ids(begin, middle + timedelta(days=1)) | sandbox.ids(
        begin, middle + timedelta(days=1), account="us-key"
    )
    assert sandbox.ids(middle - timedelta(seconds=3), middle + timedelta(seconds=3)) <= between <= both
    assert [] == sandbox.requests


def test_a_sync_within_a_second_sends_no_request(sandbox: Sandbox, tmp_path: Path) -> None:
    """A range within one second has no rows, sends no request and is not recorded."""
    database, at = tmp_path / "calls.duckdb", (datetime.now(UTC) - timedelta(days=5)).replace(microsecond=200_000)
    synced = sync(accounts(sandbox), since=at, until=at + timedelta(seconds=0.5), database=database)
    assert ({"voice_records": 0, "sip_records": 0}, []) == (synced.rows, sandbox.requests)
    sync(accounts(sandbox), since=SINCE, database=database)

    assert expected(sandbox) == names(database)


@pytest.mark.parametrize("ahead", [-7200, 7200])
def test_a_sync_up_to_now_uses_the_servers_clock(ahead: int, tmp_path: Path) -> None:
    """Each sync reads all records up to the server's time, and the next continues there, also without a lookback."""
    clock = now = int(time.time()) + ahead
    with Sandbox(records=0, clock=lambda: clock) as sandbox:
        account = {"one": Account("one", Credentials(sandbox.api_key, sandbox.api_secret), sandbox.base_url)}
        for run in range(3):
            clock = now + run * 1800
            for ago in (10, 1000):
                sandbox.insert({"submitTime": datetime.fromtimestamp(clock - ago, UTC).isoformat()})
            sync(account, since=SINCE, lookback=timedelta(), database=tmp_path / "calls.duckdb")

            assert sandbox.ids() == {name for _, name in names(tmp_path / "calls.duckdb")}


def test_a_clock_that_is_days_off_is_an_error(sandbox: Sandbox, tmp_path: Path) -> None:
    """A clock that is off by more than the limit is an error, and no range counts as read."""
    database = tmp_path / "calls.duckdb"
    sandbox.behaviour = Behaviour(clock_skew=5 * 86400)
    synced = sync(accounts(sandbox, "eu"), since=SINCE, database=database)
    assert {TimestampExpiredError} == {type(failure) for failure in synced.failures}
    sandbox.behaviour = Behaviour()
    sync(accounts(sandbox, "eu"), since=SINCE, database=database)

    assert expected(sandbox, "eu") == names(database)


def test_a_deleted_database_is_filled_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """The state is only in the destination: a new database is filled from the beginning."""
    for database in (tmp_path / "calls.duckdb", tmp_path / "other.duckdb", tmp_path / "calls.duckdb"):
        database.unlink(missing_ok=True)
        sync(accounts(sandbox), since=SINCE, database=database)

        assert expected(sandbox) == names(database)


# Sessions


@attrs.frozen
class Observed(Account):
    """An account that records the requests in flight, of each session and in total."""

    seen: dict[str, int] = attrs.field(factory=lambda: {"sessions": 0, "in flight": 0, "at most": 0}, eq=False)

    def session(self, **options: Unpack[SessionOptions]) -> VoiceSession:
        """Return a session whose requests are counted."""
        options["http_client"] = httpx.AsyncClient(transport=Counting(self.seen), trust_env=False)
        return super().session(**options)


@attrs.define
class Counting(httpx.AsyncBaseTransport):
    """A transport that counts the requests in flight."""

    seen: dict[str, int]
    used: bool = False
    # It keeps no connections, because a session does not close its caller's client.
    sent: httpx.AsyncHTTPTransport = attrs.field(
        factory=lambda: httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
    )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        self.seen["sessions"] += not self.used
        self.used = True
        self.seen["in flight"] += 1
        self.seen["at most"] = max(self.seen["at most"], self.seen["in flight"])
        try:
            response = await self.sent.handle_async_request(request)
            await response.aread()
            return response
        finally:
            self.seen["in flight"] -= 1

    async def aclose(self) -> None:
        """Close the connections."""
        await self.sent.aclose()


@pytest.mark.parametrize("own", [False, True])
def test_all_tables_share_a_session_per_account(own: bool, sandbox: Sandbox, tmp_path: Path) -> None:
    """`concurrency` and `rate` limit an account, in `sync` and in the dlt source."""
    sandbox.behaviour = Behaviour(latency=0.02)
    both = {name: Observed(name, each.credentials, each.base_url) for name, each in accounts(sandbox).items()}
    if own:
        target = dlt.destinations.duckdb(str(tmp_path / "own.duckdb"))
        pipeline = dlt.pipeline("own", pipelines_dir=str(tmp_path), destination=target, dataset_name="calls")
        pipeline.run(voice_calls(both, since=SINCE, concurrency=1))
    else:
        sync(both, since=SINCE, database=tmp_path / "calls.duckdb", concurrency=1)

    assert {"eu": (1, 1), "us": (1, 1)} == {
        name: (each.seen["sessions"], each.seen["at most"]) for name, each in both.items()
    }


# Failures


def test_a_failing_account_does_not_stop_the_other(sandbox: Sandbox, tmp_path: Path) -> None:
    """An account with a wrong secret is reported once, with its tables, and does not stop the other.

    Later it is read like a new account.
    """
    database, both = tmp_path / "calls.duckdb", accounts(sandbox)
    wrong = both | {"us": Account("us", Credentials("us-key", "wrong"), sandbox.base_url)}
    synced = sync(wrong, since=SINCE, database=database)

    assert [AuthenticationError] == [type(failure) for failure in synced.failures]
    assert {"us": {"sip_records", "voice_records"}} == {name: set(errors) for name, errors in synced.failed.items()}
    assert "while reading 'us'" in synced.failures[0].__notes__
    assert expected(sandbox, "eu") == names(database)
    sync(both, since=SINCE, database=database)
    assert expected(sandbox) == names(database)


def test_a_failed_range_does_not_count_as_read(sandbox: Sandbox, tmp_path: Path) -> None:
    """A range whose reading fails half-way does not count as read."""

    def refuse(sandbox: Sandbox, number: int) -> None:
        if number == 4:
            sandbox.behaviour = Behaviour(allowed_addresses=())

    database = tmp_path / "calls.duckdb"
    sandbox.on_request = refuse
    synced = sync(accounts(sandbox), since=SINCE, database=database, concurrency=1)
    assert {IPRestrictedError} == {type(failure) for failure in synced.failures}
    sandbox.on_request, sandbox.behaviour = None, Behaviour()
    sync(accounts(sandbox), since=SINCE, database=database)

    assert expected(sandbox) == names(database)


def test_wrong_arguments_are_refused_before_any_request(sandbox: Sandbox, tmp_path: Path) -> None:
    """Wrong arguments, and destinations that would duplicate records, are refused before any request."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("start must be before end", {"since": SINCE, "until": SINCE - timedelta(days=1)}),
        ("with an offset", {"since": datetime(2026, 1, 1)}),  # noqa: DTZ001
        ("lookback must not be negative", {"since": SINCE, "lookback": timedelta(days=-1)}),
        ("concurrency must be", {"since": SINCE, "concurrency": 0}),
        ("dlt has no destination 'lake'", {"since": SINCE, "destination": "lake"}),
    ]
    if not find_spec("deltalake"):
        wrong.append(("merges Delta tables only", {"since": SINCE, "destination": "filesystem"}))
    for text, options in wrong:
        with pytest.raises(ValueError, match=text):
            sync(accounts(sandbox), **{"database": tmp_path / "calls.duckdb", **options})
    with pytest.raises(ValueError, match="no account"):
        voice_calls({}, since=SINCE)

    assert [] == sandbox.requests


def test_a_file_that_is_not_a_database_is_an_error(sandbox: Sandbox, tmp_path: Path) -> None:
    """A file that is not a database is an error that says so."""
    (tmp_path / "calls.duckdb").write_text("no database" * 1000)
    with pytest.raises(OSError, match="the destination failed"):
        sync(accounts(sandbox), since=SINCE, database=tmp_path / "calls.duckdb")


def test_no_secret_is_stored(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database and the files that a run writes contain no secret; the table's name is found in them."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    seen = b""

    def look(_: SyncResult) -> None:
        nonlocal seen
        seen += b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    sync(accounts(sandbox), since=SINCE, database=tmp_path / "calls.duckdb", on_progress=look)
    look(SyncResult())

    assert b"eu-secret-of-the-sandbox" not in seen
    assert b"voice_records" in seen
    assert [] == list((tmp_path / "temporary").iterdir())


def test_a_killed_sync_can_be_repeated(tmp_path: Path) -> None:
    """After being killed at random times and run again, a warehouse finally has every record once."""
    database, chance = tmp_path / "calls.duckdb", random.Random(1)
    with Sandbox(records=1500, sip_records=300, behaviour=Behaviour(latency=0.02)) as sandbox:
        environment = environment_of(sandbox) | {"TMPDIR": str(tmp_path)}
        command = [sys.executable, "-m", "itnio_voice", "sync", "--since", "61d", "--database", str(database)]
        for _ in range(KILLS):
            with subprocess.Popen(command, env=environment) as process:  # noqa: S603
                time.sleep(chance.uniform(0.8, 2.6))
                process.send_signal(signal.SIGKILL)
        subprocess.run(command, env=environment, check=True)  # noqa: S603

        assert sorted(sandbox.ids()) == [name for _, name in names(database)]
        assert sorted(sandbox.ids(kind="sip")) == [name for _, name in names(database, "sip_records")]


def test_an_interrupt_leaves_only_the_database(sandbox: Sandbox, tmp_path: Path) -> None:
    """An interrupt exits with code 130, without output, and leaves no file but the database."""
    sandbox.behaviour = Behaviour(latency=0.2)
    environment = environment_of(sandbox) | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "itnio_voice", "sync", "--since", "61d", "--database", "calls.duckdb"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE) as process:  # noqa: S603
        while len(sandbox.requests) < 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert (130, b"") == (process.returncode, errors)
    assert {"calls.duckdb"} >= {path.name for path in tmp_path.iterdir()}


# Money and loads


WIDE = pa.decimal128(38, 18)


def test_a_table_of_an_earlier_version_keeps_its_type(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with `DECIMAL(38,18)` and without a load id keeps its type, gets the column, and is exact."""
    database = tmp_path / "calls.duckdb"
    with monkeypatch.context() as earlier:
        earlier.setattr(warehouse, "with_load_id", lambda rows: rows)
        sync(accounts(sandbox), since=SINCE, database=database, money=WIDE)
    sandbox.insert(RECENT | {"voiceId": "exact", "cost": "0.123456789012345678"})
    sandbox.reset_requests()
    with pytest.raises(ValueError, match=r"^money cannot be decimal128\(18, 8\): the table \w+ was created with"):
        sync(accounts(sandbox), since=SINCE, database=database, money=MONEY)
    assert [] == sandbox.requests
    synced = sync(accounts(sandbox), since=SINCE, database=database)

    assert [] == synced.failures
    assert expected(sandbox) == names(database)
    assert [(Decimal("0.123456789012345678"), "DECIMAL(38,18)")] == query(
        database, "SELECT cost, typeof(cost) FROM itnio_voice.voice_records WHERE voice_id = 'exact'"
    )
    loads = query(database, "SELECT count(*), count(_dlt_load_id) FROM itnio_voice.voice_records")
    assert loads[0][0] > loads[0][1] > 0


def test_an_amount_that_does_not_fit_fails_its_account(sandbox: Sandbox, tmp_path: Path) -> None:
    """An amount with too many decimals is never rounded: its account fails with record, field and option."""
    database = tmp_path / "calls.duckdb"
    sandbox.insert(RECENT | {"voiceId": "odd", "cost": "0.123456789"}, account="eu-key")
    synced = sync(accounts(sandbox), since=SINCE, database=database)

    assert ["eu"] == list(synced.failed)
    assert "column cost (decimal128(18, 8)), record odd: choose a wider type with money=" in str(synced.failures[0])
    assert expected(sandbox, "us") == names(database)


def test_each_row_has_its_load(sandbox: Sandbox, tmp_path: Path) -> None:
    """`_dlt_load_id` of each row is a completed load, as models of dbt that read new rows need."""
    database = tmp_path / "calls.duckdb"
    for _ in range(2):
        sync(accounts(sandbox), since=SINCE, database=database)
        sandbox.insert(RECENT)

    rows = "SELECT count(*), count(load_id) FROM itnio_voice.voice_records LEFT JOIN"
    ((written, loaded),) = query(database, f"{rows} itnio_voice._dlt_loads ON _dlt_load_id = load_id AND status = 0")
    assert written == loaded > 800


# PostgreSQL


@pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed: apt-get install postgresql")
def test_postgres_has_the_same_rows(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL has the same rows and exact costs, also after a second run."""
    sandbox.insert(RECENT | {"voiceId": "exact", "cost": "12345678901234567890.123456789012345678"})
    sandbox.insert(RECENT | {"voiceId": "n\0l", "callee": "a\0", "newField": {"k\0": "v\0"}, "cost": "0"})
    with postgres() as address:
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", address)
        for _ in range(2):
            sync(accounts(sandbox), since=SINCE, destination="postgres", money=pa.decimal128(38, 18))
        connection = psycopg2.connect(address)
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), count(DISTINCT (account, voice_id)), sum(cost) FROM itnio_voice.voice_records"
            )
            counted = cursor.fetchall()
            cursor.execute(
                "SELECT data_type, numeric_precision, numeric_scale FROM information_schema.columns"
                " WHERE table_name = 'voice_records' AND table_schema = 'itnio_voice' AND column_name IN"
                " ('cost', 'submit_time') ORDER BY column_name"
            )
            types = cursor.fetchall()
            cursor.execute(
                "SELECT callee, extra::jsonb FROM itnio_voice.voice_records WHERE callee LIKE 'a%' AND callee <> 'a'"
            )
            replaced = cursor.fetchall()
        connection.close()

    assert [(802, 802, cost(sandbox))] == counted
    assert [("a\ufffd", {"newField": {"k\ufffd": "v\ufffd"}})] == replaced
    assert [("numeric", 38, 18), ("timestamp with time zone", None, None)] == types


@pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed: apt-get install postgresql")
def test_a_merge_into_postgres_uses_an_index(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each table has one index on its key, by which a merge finds rows; who may not create it still loads."""
    with postgres() as address:
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", address)
        for _ in range(2):
            sync(accounts(sandbox), since=SINCE, destination="postgres")
        connection = psycopg2.connect(address)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'itnio_voice' ORDER BY 1")
            indexes = [(table, text.partition("btree ")[2]) for table, text in cursor if table in warehouse.TABLES]
            cursor.execute(
                "INSERT INTO itnio_voice.voice_records (account, voice_id)"
                " SELECT 'eu', 'x' || n FROM generate_series(1, 100000) AS n"
            )
            cursor.execute("ANALYZE itnio_voice.voice_records")
            cursor.execute(
                "EXPLAIN DELETE FROM itnio_voice.voice_records AS d WHERE EXISTS (SELECT 1"
                " FROM itnio_voice_staging.voice_records AS s WHERE d.account = s.account AND d.voice_id = s.voice_id)"
            )
            plan = "\n".join(line for (line,) in cursor)
            cursor.execute("CREATE ROLE owner; DROP INDEX itnio_voice.sip_records_account_voice_id")
            cursor.execute("CREATE ROLE loader LOGIN; GRANT ALL ON SCHEMA itnio_voice, itnio_voice_staging TO loader")
            cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA itnio_voice, itnio_voice_staging TO loader")
            cursor.execute("GRANT ALL ON DATABASE postgres TO loader")
        connection.close()
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", address.replace("itnio:", "loader:"))
        synced = sync(accounts(sandbox), since=SINCE, destination="postgres")

    key = "(account, voice_id)"
    assert [("sip_records", key), ("voice_records", key)] == indexes
    assert "Index Scan using voice_records_account_voice_id" in plan
    assert "Seq Scan on voice_records d" not in plan
    assert [] == synced.failures
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("the index of sip_records was not created" in text and "must be owner" in text for text in warnings)
    assert "trusted" not in caplog.text


def test_a_missing_setting_is_named(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the environment variable to set."""
    monkeypatch.chdir(tmp_path)
    for destination, field in (("postgres", "CREDENTIALS"), ("filesystem", "BUCKET_URL")):
        with pytest.raises(ValueError, match=f"set DESTINATION__{destination.upper()}__{field}$"):
            sync(accounts(sandbox), since=SINCE, destination=destination)
    assert [] == sandbox.requests


@pytest.mark.skipif(not find_spec("deltalake"), reason="the extra deltalake is not installed")
def test_delta_tables_have_each_record_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A data lake has each record once, exact, also after a second run; another type of amounts is refused."""
    deltalake = pytest.importorskip("deltalake")
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", tmp_path.as_uri())
    for _ in range(2):
        sync(accounts(sandbox), since=SINCE, destination="filesystem")
    with pytest.raises(ValueError, match=r"money cannot be decimal128\(38, 18\)"):
        sync(accounts(sandbox), since=SINCE, destination="filesystem", money=WIDE)
    table = deltalake.DeltaTable(str(tmp_path / "itnio_voice" / "voice_records")).to_pyarrow_table()

    names = zip(table["account"].to_pylist(), table["voice_id"].to_pylist(), strict=True)
    assert expected(sandbox) == sorted(names)
    assert cost(sandbox) == pc.sum(table["cost"]).as_py()
    assert MONEY == table.schema.field("cost").type
