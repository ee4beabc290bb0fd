"""Records on a cluster of two processes: each is returned once, with exact amounts, and no secret is sent."""

import json
import pickle
import sqlite3
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import anyio
import cloudpickle
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from distributed import Client, LocalCluster, wait

from itnio_voice import (
    IncompleteWindowError,
    Retry,
    SipRecord,
    TimeRangeError,
    TimestampExpiredError,
    UserLockedError,
    VoiceRecord,
)
from itnio_voice._client.accounts import find_accounts
from itnio_voice._model.records import CallRecord
from itnio_voice.outputs.arrow import MONEY, schema, to_table
from itnio_voice.outputs.cluster import read_records
from itnio_voice.outputs.partitions import mean_amount, partitions, read_partition
from itnio_voice.sandbox import Behaviour, Sandbox

ACCOUNTS = {"europe": ("key-of-europe", "secret-of-europe"), "america": ("key-of-america", "secret-of-america")}
KINDS: dict[type[CallRecord], Any] = {VoiceRecord: "group", SipRecord: "sip"}
WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=2)
START = END - 5 * WEEK
BOUNDARIES = [START + index * WEEK for index in range(1, 5)]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the sandbox's records."""
    return tmp_path_factory.mktemp("sandbox") / "records.db"


@pytest.fixture(scope="module")
def service(database: Path) -> Iterator[Sandbox]:
    """Run a sandbox with two accounts, and two records on each boundary of weeks and on each second beside it.

    No records are on the ends of the complete range, because the server decides to which range they belong.
    """
    options: dict[str, Any] = {"accounts": dict(ACCOUNTS.values()), "database": database}
    with Sandbox(records=400, sip_records=150, start=START + SECOND, end=END, **options) as sandbox:
        times = [at + step * SECOND for at in BOUNDARIES for step in (-1, 0, 1) for _ in range(2)]
        for kind in KINDS.values():
            for key in sandbox.accounts:
                sandbox.insert(*({"submitTime": at.isoformat()} for at in times), kind=kind, account=key)
        yield sandbox


@pytest.fixture(scope="module")
def client(service: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Run a cluster of two processes that find their accounts in a file, as this one does."""
    file = tmp_path_factory.mktemp("accounts") / "accounts.toml"
    file.touch(mode=0o600)
    table = '[{}]\napi_key = "{}"\napi_secret = "{}"\nbase_url = "{}"\n'
    file.write_text("".join(table.format(name, *pair, service.base_url) for name, pair in ACCOUNTS.items()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITNIO_ACCOUNTS", str(file))
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


@pytest.fixture
def sandbox(service: Sandbox, client: Client) -> Iterator[Sandbox]:  # noqa: ARG001 -- computations run there
    """Return the sandbox, without past requests and with default behaviour, beside a cluster."""
    service.reset_requests()
    yield service
    service.behaviour, service.on_request = Behaviour(), None


def sandbox_records(database: Path, account: str, kind: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return the sandbox's own records of a range, both ends included, as sent on the wire."""
    rows = sqlite3.connect(database)
    try:
        query = "SELECT wire FROM records WHERE account = ? AND kind = ? AND submitted BETWEEN ? AND ?"
        found = rows.execute(query, (ACCOUNTS[account][0], kind, start.timestamp(), end.timestamp())).fetchall()
    finally:
        rows.close()
    return [json.loads(wire, parse_float=Decimal) for (wire,) in found]


def read_in_one_session(account: str, start: datetime, end: datetime, of: type[CallRecord] = VoiceRecord) -> pa.Table:
    """Return the records of a range, read by one session."""

    async def read() -> pa.Table:
        async with find_accounts([account])[account].session() as session:
            return await to_table(session.records(start, end, of=of))

    return anyio.run(read)


def costs(records: Iterable[dict[str, Any]]) -> Decimal:
    """Return the exact sum of the costs on the wire."""
    return sum((Decimal(str(record["cost"])) for record in records if record.get("cost")), Decimal())


@pytest.mark.parametrize("of", KINDS)
def test_count_and_sum_are_exact(sandbox: Sandbox, database: Path, of: type[CallRecord]) -> None:
    """Number and cost of a cluster's rows equal those of the library's tables and of the server, to the digit."""
    frame = read_records(ACCOUNTS, START, END, of=of, span=WEEK)
    tables = [read_in_one_session(account, START, END, of) for account in ACCOUNTS]
    complete = pa.concat_tables(tables)
    own = {account: sandbox_records(database, account, KINDS[of], START, END) for account in ACCOUNTS}
    rows, cost = sum(map(len, own.values())), sum(map(costs, own.values()))
    by_account = frame.groupby("account").cost.sum().compute()

    assert 2 * 5 == frame.npartitions
    assert rows > 100
    assert cost > 0
    assert (rows, cost) == duckdb.from_arrow(complete).aggregate("count(*), sum(cost)").fetchall()[0]
    assert (rows, cost) == (len(frame), frame.cost.sum().compute())
    assert {account: costs(records) for account, records in own.items()} == by_account.to_dict()
    assert sandbox.requests


def test_sums_means_and_products_are_those_of_arrow(sandbox: Sandbox) -> None:
    """Sums, means and products of amounts have all digits of Arrow's, and sums keep their type."""
    table = pa.concat_tables([read_partition(**part) for part in partitions(ACCOUNTS, START, END, span=WEEK)])
    frame = read_records(ACCOUNTS, START, END, span=WEEK).persist()
    product: Any = pc.multiply(table["cost"], table["rate"])
    figures = frame.groupby("account").cost.agg(["sum", "count"])
    computed = figures.compute()

    for dask, arrow in ((frame.cost, table["cost"]), (frame.cost * frame.rate, product)):
        column: Any = arrow
        total = dask.sum().compute()
        assert str(pc.sum(column).as_py()) == str(total)
        assert pc.mean(column).as_py() == mean_amount(total, dask.count().compute())
        assert pd.ArrowDtype(pc.sum(column).type) == dask.to_frame("x").sum().compute().dtype
        assert pd.ArrowDtype(column.type) == dask.dtype == dask.compute().dtype
    assert pd.ArrowDtype(pc.sum(table["cost"]).type) == figures.dtypes["sum"] == computed.dtypes["sum"]
    for name, total, count in computed.itertuples():
        costs: Any = table.filter(pc.equal(table["account"], name))["cost"]
        assert pc.mean(costs).as_py() == mean_amount(total, count)
    assert sandbox.requests


@pytest.mark.filterwarnings("ignore:Series.values returning an ndarray")  # Dask's set_index uses it
def test_times_can_be_an_index(sandbox: Sandbox) -> None:
    """A frame is indexed by time and resampled: each day has the sum and number of its calls."""
    frame = read_records(["europe"], START, END, span=WEEK)
    indexed = frame.set_index("submit_time")
    sums, counts = indexed.cost.resample("1D").sum().compute(), indexed.voice_id.resample("1D").count().compute()
    complete = frame.compute().set_index("submit_time").resample("1D")
    quiet = read_records(["europe"], END + SECOND, END + timedelta(hours=1))

    pd.testing.assert_series_equal(complete["cost"].sum(), sums, check_freq=False)
    assert complete["voice_id"].count().to_dict() == counts.to_dict()
    assert pd.ArrowDtype(pa.decimal128(38, MONEY.scale)) == sums.dtype
    assert Decimal(0) == quiet.cost.sum().compute()
    assert sandbox.requests


@pytest.mark.parametrize("ends", ["[)", "(]", "[]", "()"])
@pytest.mark.parametrize(
    "cut",
    [
        (START, END, WEEK),
        (BOUNDARIES[0], BOUNDARIES[3], WEEK),
        (BOUNDARIES[1] - 3 * SECOND, BOUNDARIES[1] + 3 * SECOND, SECOND),
        (BOUNDARIES[1] - SECOND, BOUNDARIES[1] + SECOND, SECOND),
    ],
    ids=["weeks", "from one to another", "seconds", "two seconds"],
)
def test_records_on_boundaries_are_returned_once(
    sandbox: Sandbox, database: Path, ends: Any, cut: tuple[datetime, datetime, timedelta]
) -> None:
    """A record on the boundary of two partitions is returned once, whichever ends are inclusive."""
    start, end, span = cut
    sandbox.behaviour = Behaviour(ends=ends)
    frame = read_records(["europe"], start, end, span=span).compute()
    ids = sorted(map(str, read_in_one_session("europe", start, end).column("voice_id").to_pylist()))
    inside = {
        record["voiceId"] for record in sandbox_records(database, "europe", "group", start + SECOND, end - SECOND)
    }

    assert ids == sorted(frame.voice_id)
    assert len(ids) == len(set(ids))
    assert inside <= set(ids)
    assert {at for at in BOUNDARIES if start < at < end} <= set(frame.submit_time)


@pytest.mark.parametrize("of", KINDS)
def test_the_schema_costs_no_request(sandbox: Sandbox, of: type[CallRecord]) -> None:
    """Columns and dtypes are known before any request, and are the same for a range without records."""
    frame = read_records(["europe"], START, END, of=of)
    quiet = read_records(["europe"], END + SECOND, END + timedelta(hours=1), of=of)
    planned = frame.dtypes.to_dict()

    assert [] == sandbox.requests
    assert schema(of, account=True).names == list(planned)
    assert pd.ArrowDtype(MONEY) == planned["cost"]
    assert pd.ArrowDtype(pa.string()) == planned["account"]
    assert pd.DatetimeTZDtype("us", "UTC") == planned["submit_time"]
    assert (True, planned) == (len(frame) > 0, frame.compute().dtypes.to_dict())
    assert (0, planned) == (len(quiet), quiet.compute().dtypes.to_dict())


def test_repeated_text_is_plain(sandbox: Sandbox, tmp_path: Path) -> None:
    """Rows can be selected by a list of accounts, and a written Parquet file reads back equal."""
    frame = read_records(ACCOUNTS, START, START + WEEK)
    chosen = frame[frame.account.isin(["europe"])].compute()
    complete = frame.compute().reset_index(drop=True)
    complete.to_parquet(tmp_path / "calls.parquet")

    assert {"europe"} == set(chosen.account)
    assert complete.shape == pd.read_parquet(tmp_path / "calls.parquet").shape
    stored = pd.read_parquet(tmp_path / "calls.parquet", dtype_backend="pyarrow")
    pd.testing.assert_frame_equal(complete.astype(stored.dtypes), stored)
    assert sandbox.requests


def test_no_secret_is_sent_to_the_cluster(sandbox: Sandbox) -> None:
    """The graph sent to a cluster has the accounts' names, and no key, secret or URL of the API."""
    frame = read_records(ACCOUNTS, START, END, span=WEEK, concurrency=2)
    total = frame.groupby("account").cost.sum()
    graphs = [(thing.expr, thing.optimize().expr, dict(thing.__dask_graph__())) for thing in (frame, total)]
    pickled = [cloudpickle.dumps(part) for graph in graphs for part in graph] + [pickle.dumps(frame.expr)]
    secrets = [text for pair in ACCOUNTS.values() for text in pair] + [sandbox.base_url]

    for sent in pickled:
        assert all(name.encode() in sent for name in ACCOUNTS)
        assert [] == [secret for secret in secrets if secret.encode() in sent]


def test_errors_of_workers_are_raised_at_the_caller(sandbox: Sandbox) -> None:
    """An error of a worker's session is raised at the caller, with its class, text and data."""
    old = datetime.now(UTC) - timedelta(days=70)
    with pytest.raises(TimeRangeError) as too_old:
        read_records(["europe"], old, old + WEEK).compute()
    with pytest.raises(TimeRangeError) as here:
        read_in_one_session("europe", old, old + WEEK)
    sandbox.behaviour = Behaviour(locked=True)
    with pytest.raises(UserLockedError) as locked:
        read_records(["europe"], START, END).compute()

    assert (str(here.value), "-25") == (str(too_old.value), too_old.value.status)
    assert too_old.value.window is not None
    assert "-13" == locked.value.status
    assert "ask the vendor to unlock the account" in str(locked.value)


def test_a_partition_that_ends_after_now_is_an_error(sandbox: Sandbox) -> None:
    """A partition is complete or an error, so that every computation has the same result."""
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    with pytest.raises(IncompleteWindowError, match=r"account europe: .* end the range some minutes earlier") as error:
        read_records(["europe"], later - timedelta(hours=2), later).compute()

    assert error.value.window is not None
    assert later <= error.value.window.end
    assert sandbox.requests


def test_no_end_is_the_time_of_the_call(sandbox: Sandbox) -> None:
    """Without an end, every partition and every computation ends at the time of the call."""
    frame = read_records(["europe"], datetime.now(UTC) - timedelta(hours=1), span=timedelta(minutes=20))
    before = set(frame.voice_id.compute())
    time.sleep(2)
    (late,) = sandbox.insert({"submitTime": datetime.now(UTC).isoformat()}, account=ACCOUNTS["europe"][0])
    after = set(frame.voice_id.compute())
    sandbox.delete(late)

    assert before == after


def test_ranges_within_a_second_are_empty(sandbox: Sandbox) -> None:
    """A range within one second is an empty frame, also if it has just begun and has no end."""
    now = datetime.now(UTC)
    within = (START + SECOND * 0.2, START + SECOND * 0.7)
    frames = [read_records(["europe"], *within), read_records(["europe"], now - SECOND * 0.001)]

    assert [0, 0] == [len(frame) for frame in frames]
    assert [] == sandbox.requests


@pytest.mark.parametrize("ends", ["[)", "(]", "[]", "()"])
def test_frames_that_share_an_end_within_a_second_tile(sandbox: Sandbox, ends: Any) -> None:
    """Both ends are rounded down: two frames that share one have each record once."""
    sandbox.behaviour = Behaviour(ends=ends)
    times = [BOUNDARIES[0] - WEEK / 7, BOUNDARIES[0] + SECOND * 0.6, BOUNDARIES[0] + WEEK / 7]
    found = [list(read_records(["europe"], *pair, span=WEEK).voice_id.compute()) for pair in pairwise(times)]

    complete = read_in_one_session("europe", times[0], times[2])["voice_id"].to_pylist()
    assert sorted(map(str, complete)) == sorted(chain(*found))


@pytest.mark.parametrize("skew", [-7200, 7200])
def test_a_wrong_clock_loses_no_record(sandbox: Sandbox, skew: int) -> None:
    """A past range is complete with a clock that is hours off; days off is an error."""
    sandbox.behaviour = Behaviour(clock_skew=skew)
    assert sandbox.ids(START, END) == set(read_records(["europe"], START, END, span=WEEK).voice_id.compute())
    sandbox.behaviour = Behaviour(clock_skew=skew * 60)
    with pytest.raises(TimestampExpiredError):
        read_records(["europe"], START, END).compute()


def test_a_task_may_run_again(sandbox: Sandbox) -> None:
    """A failed partition is read again from its start, without duplicates; equal calls have equal graphs."""
    frame = read_records(["europe"], START, END, span=WEEK, retry=Retry(attempts=2), money=MONEY)
    again = read_records(["europe"], START, END, span=WEEK, retry=Retry(attempts=2))

    def refusals() -> int:
        return sum(request.answered == "-13" for request in sandbox.requests)

    def lock(sandbox: Sandbox, number: int) -> None:
        # A request of the test before may arrive late, so refusals are counted rather than numbers of requests.
        sandbox.behaviour = Behaviour(locked=number % 4 == 3 and refusals() < 3)

    sandbox.on_request = lock
    retried = frame.compute(retries=5)

    assert frame._name == again._name
    assert 3 == refusals()
    pd.testing.assert_frame_equal(again.compute(scheduler="synchronous"), retried)


def test_persisted_records_are_requested_once(sandbox: Sandbox, client: Client) -> None:
    """Persisted data are on both processes, and are computed with repeatedly without requests."""
    held = read_records(ACCOUNTS, START, END, span=WEEK).persist()
    wait(held)
    sandbox.reset_requests()
    rows, cost = len(held), held.cost.sum().compute()

    assert [True, True] == [bool(keys) for keys in client.has_what().values()]
    assert (rows, cost) == (len(held.compute()), held.cost.compute().sum())
    assert [] == sandbox.requests


@pytest.mark.anyio
async def test_computing_inside_a_running_loop(sandbox: Sandbox) -> None:
    """Computing works in the thread of an event loop, as in a notebook with the synchronous scheduler."""
    frame = read_records(["europe"], START, END)

    assert len(sandbox.ids(START, END)) == len(frame.compute(scheduler="synchronous"))


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        ((["europe"], START.replace(tzinfo=None), END), {}, "start must be a datetime with an offset"),
        ((["europe"], START, END.replace(tzinfo=None)), {}, "end must be a datetime with an offset"),
        ((["europe"], END, START), {}, "start must be before end"),
        ((["europe"], datetime.now(UTC) + WEEK), {}, "start must be before end"),
        ((["asia"], START, END), {}, "there is no account 'asia' in .*: there are europe, america"),
        ((["europe", "america", "europe"], START, END), {}, "named twice would be counted twice: europe"),
        (("europe", START, END), {}, r"accounts are names such as \['europe'\]"),
        ((["europe"], START, END), {"of": CallRecord}, "of must be one of VoiceRecord, SipRecord"),
        ((["europe"], START, END), {"where": {"phone_name": "x"}}, "unknown filter 'phone_name'"),
        ((["europe"], START, END), {"span": timedelta(0)}, "span must be a timedelta of whole seconds"),
        ((["europe"], START, END), {"span": timedelta(seconds=1.5)}, "span must be a timedelta of whole seconds"),
        ((["europe"], START, END), {"span": 7}, "span must be a timedelta of whole seconds"),
        ((["europe"], START, END), {"money": pa.float64()}, "money must be a decimal type"),
        ((["europe"], START, END), {"concurrency": 0}, "concurrency must be"),
        ((["europe"], START, END), {"http_client": None}, "http_client cannot be sent"),
        ((["europe"], START, END), {"base_url": "https://example.org"}, "base_url cannot be sent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_arguments_raise_at_the_call(sandbox: Sandbox, arguments: Any, options: Any, problem: str) -> None:
    """Wrong arguments raise at the call, before there is a graph."""
    with pytest.raises(ValueError, match=problem):
        read_records(*arguments, **options)
    assert [] == sandbox.requests


def test_filters_are_sent_to_the_workers(sandbox: Sandbox, database: Path) -> None:
    """Filters are sent to the workers, and no names mean all accounts."""
    frame = read_records((), START, END, of=SipRecord, where={"sip_group_name": "sales"}).compute()
    own = [record for account in ACCOUNTS for record in sandbox_records(database, account, "sip", START, END)]

    assert set(ACCOUNTS) == set(frame.account)
    assert {"sales"} == set(frame.sip_group_name)
    assert sum(record.get("sipGroupName") == "sales" for record in own) == len(frame)
    assert sandbox.requests
