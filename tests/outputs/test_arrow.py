"""Records as Arrow: every value is exact in its column, or an error names it."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import anyio
import anyio.to_thread
import attrs
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import (
    AuthenticationError,
    Credentials,
    DecodeError,
    IncompleteWindowError,
    ServerError,
    SipRecord,
    VoiceRecord,
    Window,
)
from itnio_voice._client.accounts import Account
from itnio_voice.outputs.arrow import (
    MONEY,
    read_table,
    record_batch,
    record_batches,
    schema,
    to_pandas,
    to_polars,
    to_table,
)
from itnio_voice.sandbox import Behaviour, Sandbox

from ..client.test_stream import END, MANY, START, break_at
from ..conftest import environment_of, session_on

LONG_AGO = datetime.now(UTC) - timedelta(days=61)

texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
amounts = st.none() | st.decimals(
    min_value=Decimal(-(10**9)), max_value=Decimal(10**9), places=8, allow_nan=False, allow_infinity=False
)
offsets = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
times = st.none() | st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=offsets)  # noqa: DTZ001
integers = st.none() | st.integers(-(2**63), 2**63 - 1)
extras = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.integers(), max_size=2)

OF_TYPE: dict[Any, Any] = {
    attrs.fields(VoiceRecord).callee.type: texts,
    attrs.fields(VoiceRecord).cost.type: amounts,
    attrs.fields(VoiceRecord).call_time.type: times,
    attrs.fields(VoiceRecord).call_duration.type: integers,
    attrs.fields(VoiceRecord).extra.type: extras,
}


def records(of: type[Any]) -> st.SearchStrategy[Any]:
    """Return records of a kind, with any values that their fields may have."""
    return st.builds(of, **{field.name: OF_TYPE[field.type] for field in attrs.fields(of)})


def plain(record: Any) -> dict[str, Any]:
    """Return a record as the expected row."""
    values = attrs.asdict(record, recurse=False)
    return {**values, "extra": dict(record.extra) or None}


@given(st.lists(records(VoiceRecord), max_size=4))
def test_values_are_exact(made: list[VoiceRecord]) -> None:
    """Amounts keep each digit, times their instant; text, numbers and unknown fields are unchanged."""
    rows = record_batch(made).to_pylist()
    for row in rows:
        row["extra"] = row["extra"] and json.loads(row["extra"])

    assert [plain(record) for record in made] == rows


@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
def test_the_schema_is_the_attributes(of: type[Any]) -> None:
    """Columns are the attributes, in their order, after the account if there is one."""
    names = [field.name for field in attrs.fields(of)]

    assert names == schema(of).names
    assert ["account", *names] == schema(of, account=True).names
    assert pa.decimal128(18, 8) == schema(of).field("cost").type
    assert pa.decimal128(38, 18) == schema(of, money=pa.decimal128(38, 18)).field("rate").type
    assert pa.timestamp("us", tz="UTC") == schema(of).field("submit_time").type
    assert pa.dictionary(pa.int32(), pa.string()) == schema(of).field("code").type
    assert schema(of) == record_batch([of()], of).schema
    assert ["eu"] == record_batch([of()], of, account="eu")["account"].to_pylist()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("cost", Decimal("0.123456789"), r"0\.123456789'.*choose a wider type with money=, such as pa.decimal128"),
        ("cost", Decimal("0.1234567890123456789"), "0.1234567890123456789"),
        ("cost", Decimal(123456789012345678901), "123456789012345678901"),
        ("rate", Decimal("1E-19"), "1E-19"),
        ("cost", Decimal("1E-57"), "1E-57"),
        ("cost", Decimal("1E-10000000"), "1E-10000000"),
        ("cost", Decimal("1E+100000000"), r"1E\+100000000"),
        ("cost", Decimal(10) ** 20, "100000000000000000000"),
        ("cost", Decimal("NaN"), "NaN"),
        ("cost", Decimal("sNaN"), "sNaN"),
        ("cost", Decimal("-Infinity"), "-Infinity"),
        ("call_duration", 2**63, "9223372036854775808"),
        ("callee", "\ud800", r"\\ud800"),
        ("code", "\udc00", r"\\udc00"),
    ],
)
def test_values_that_a_column_cannot_hold_are_errors(field: str, value: Any, text: str) -> None:
    """A value that its column cannot hold exactly is an error with value, field and record; it is never rounded."""
    made = [VoiceRecord(voice_id=f"v{number}") for number in range(3)]
    made[1] = attrs.evolve(made[1], **{field: value})
    with pytest.raises(DecodeError, match=text) as caught:
        record_batch(made)

    assert ("v1", field, value) == (caught.value.voice_id, caught.value.field, caught.value.value)


WIDE = pa.decimal128(38, 18)


@pytest.mark.parametrize(
    ("amount", "money"),
    [
        *((text, MONEY) for text in ("0E+40", "0E-10000000", "-0", "0.5" + "0" * 60, "9999999999.99999999", "-1E-8")),
        *((text, WIDE) for text in ("0E+40", "99999999999999999999.999999999999999999", "-1E-18", "1E19")),
        ("99999", pa.decimal128(5, 0)),
    ],
)
def test_amounts_that_fit_are_stored(amount: str, money: Any) -> None:
    """An amount that a column can hold exactly is stored, with any number of trailing zeros."""
    record = VoiceRecord(cost=Decimal(amount))

    assert record.cost == record_batch([record], money=money)["cost"].to_pylist()[0]


@pytest.mark.parametrize(
    "money",
    [
        None,
        "38,18",
        (38, 18),
        pa.float64(),
        pa.string(),
        pa.decimal128(5, -2),
        pa.decimal128(5, 6),
        pa.decimal128(38, 19),
        pa.decimal256(38, 18),
    ],
)
def test_money_is_a_decimal_type(money: Any) -> None:
    """Another type than a decimal one, which could round amounts, is an error at the call."""
    with pytest.raises(ValueError, match=r"money must be a decimal type such as pa.decimal128\(38, 18\)"):
        record_batch([VoiceRecord()], money=money)


@pytest.mark.parametrize("cost", ["1.23456789", "9999999999.99999999"])
def test_products_sums_and_means_are_exact_in_each_tool(cost: str) -> None:
    """With the default type, they have all digits; Polars and DuckDB need the casts that the documentation shows."""
    calls = [VoiceRecord(cost=Decimal(cost), rate=Decimal("-0.00000003"))] * 3
    table = pa.Table.from_batches([record_batch(calls)])
    in_pandas: Any = table.to_pandas(types_mapper=pd.ArrowDtype)
    in_polars: Any = pl.from_arrow(table)
    in_duckdb = "sum(cost::DECIMAL(38, 8) * rate), sum(cost), sum(cost) / count(cost)"
    products = [
        pc.sum(pc.multiply(table["cost"], table["rate"])).as_py(),
        (in_pandas["cost"] * in_pandas["rate"]).sum(),
        in_polars.select(pl.col("cost").cast(pl.Decimal(38, 16)) * pl.col("rate")).sum().item(),
        duckdb.from_arrow(table).aggregate(in_duckdb).fetchall()[0][0],
    ]
    sums = [
        pc.sum(table["cost"]).as_py(),
        in_pandas["cost"].sum(),
        in_polars["cost"].sum(),
        duckdb.from_arrow(table).aggregate(in_duckdb).fetchall()[0][1],
    ]
    means = [pc.mean(table["cost"]).as_py(), in_pandas["cost"].mean(), in_polars["cost"].sum() / len(in_polars)]

    assert [3 * Decimal(cost) * Decimal("-0.00000003")] * 4 == products
    assert [3 * Decimal(cost)] * 4 == sums
    assert [Decimal(cost)] * 3 == means


def test_exponents_of_unknown_fields_are_not_expanded() -> None:
    """A number in an unknown field is JSON text as short as the server's, with any exponent."""
    extra = {"x": Decimal("1E+100000000"), "y": [Decimal("0E-10000000")]}
    (row,) = record_batch([VoiceRecord(extra=extra)]).to_pylist()

    assert '{"x":1E+100000000,"y":[0E-10000000]}' == row["extra"]


@pytest.mark.anyio
@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
async def test_batches_have_the_requested_size(itnio_sandbox: Sandbox, of: type[Any]) -> None:
    """Every record of a stream is in one batch, and all batches but the last have the requested size."""
    async with session_on(itnio_sandbox) as session:
        found = await session.records(LONG_AGO, of=of).collect()
        batches = [batch async for batch in record_batches(session.records(LONG_AGO, of=of), size=7)]

    assert {7} == {batch.num_rows for batch in batches[:-1]}
    assert [record.voice_id for record in found] == [
        name for batch in batches for name in batch["voice_id"].to_pylist()
    ]


@pytest.mark.anyio
async def test_a_table_converts_to_a_dataframe(itnio_sandbox: Sandbox) -> None:
    """A table converts to a DataFrame in one call, sums exactly, and has its columns even without rows."""
    async with session_on(itnio_sandbox) as session:
        found = await session.records(LONG_AGO).collect()
        table = await to_table(session.records(LONG_AGO))
        empty = await to_table(session.records(LONG_AGO, of=SipRecord, limit=0))

    frame: Any = pl.from_arrow(table)
    assert (200, sum(record.cost or 0 for record in found)) == (len(frame), frame["cost"].sum())
    assert schema(SipRecord) == empty.schema
    assert 0 == empty.num_rows


@MANY
@pytest.mark.anyio
@pytest.mark.parametrize("requests", [8, 15, 25])
async def test_a_table_that_fails_completes_no_window(itnio_sandbox: Sandbox, requests: int) -> None:
    """After an error, checkpoint and progress are empty, and a resumed stream returns all records."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=5))
    itnio_sandbox.on_request = break_at(requests)
    async with session_on(itnio_sandbox) as session:
        stream = session.records(START, END)
        with pytest.raises(ServerError):
            await to_table(stream)
        itnio_sandbox.behaviour = Behaviour()
        resumed = session.records(START, END, resume=stream.checkpoint)
        table = await to_table(resumed)

    assert () == stream.checkpoint.done
    assert (0, 0) == (stream.progress.records, stream.progress.windows_done)
    assert itnio_sandbox.ids(START, END) == set(table["voice_id"].to_pylist())
    assert (Window(START, END),) == resumed.checkpoint.done
    assert 3000 == resumed.progress.records


@pytest.mark.anyio
async def test_a_table_of_a_read_stream_is_an_error(itnio_sandbox: Sandbox) -> None:
    """It is an error, and leaves the stream's checkpoint and progress unchanged."""
    async with session_on(itnio_sandbox) as session:
        stream = session.records(LONG_AGO)
        reading = aiter(stream)
        await anext(reading)
        with pytest.raises(RuntimeError, match="has been read"):
            await to_table(stream)
        rest = [record async for record in reading]

    assert 200 == 1 + len(rest) == stream.progress.records
    assert stream.checkpoint.done


@MANY
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("requests", "size", "anyio_backend"),
    [
        (requests, size, ("asyncio", "trio")[(row + column) % 2])
        for row, requests in enumerate([8, 15, 25, 35])
        for column, size in enumerate([7, 300, 10_000])
    ],
)
async def test_batches_complete_only_their_own_windows(itnio_sandbox: Sandbox, requests: int, size: int) -> None:
    """The checkpoint covers only records in batches: batches and a resumed stream together have all records."""
    itnio_sandbox.behaviour = Behaviour(max_span=timedelta(days=5))
    itnio_sandbox.on_request = break_at(requests)
    found: list[str | None] = []
    async with session_on(itnio_sandbox) as session:
        stream = session.records(START, END)
        with pytest.raises(ServerError):
            async for batch in record_batches(stream, size=size):
                found += batch["voice_id"].to_pylist()
        itnio_sandbox.behaviour = Behaviour()
        rest = await to_table(session.records(START, END, resume=stream.checkpoint))

    assert itnio_sandbox.ids(START, END) == {*found, *rest["voice_id"].to_pylist()}
    assert len(found) == stream.progress.records
    assert (len(rest) < 3000) == bool(stream.checkpoint.done)


@pytest.mark.anyio
async def test_an_error_of_the_stream_is_raised(itnio_sandbox: Sandbox) -> None:
    """An error of the stream is raised unchanged, and an invalid size raises at the call."""
    minute_ago = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds")
    itnio_sandbox.insert({"voiceId": "bad", "cost": "0.00000000000000000001", "submitTime": minute_ago})
    async with session_on(itnio_sandbox) as session:
        with pytest.raises(DecodeError, match="does not fit into the column cost"):
            await to_table(session.records(LONG_AGO))
        with pytest.raises(ValueError, match="size must be a whole number from 1, not 0"):
            record_batches(session.records(LONG_AGO), size=0)


def test_custom_fields_are_columns() -> None:
    """A custom field is a column if its type is supported; otherwise the error says so."""

    @attrs.frozen
    class Own(VoiceRecord):
        bonus: Decimal | None = None

    @attrs.frozen
    class Odd(VoiceRecord):
        place: list[str] | None = None

    assert pa.decimal128(18, 8) == schema(Own).field("bonus").type
    with pytest.raises(ValueError, match=r"Odd.place is list\[str\] \| None, which has no Arrow type here"):
        schema(Odd)


# Blocking calls and DataFrames


ACCOUNTS = {"eu-key": "eu-secret-of-the-sandbox", "us-key": "us-secret-of-the-sandbox"}


def accounts_of(sandbox: Sandbox) -> dict[str, Account]:
    """Return the accounts of a sandbox by name."""
    return {
        key[:2]: Account(key[:2], Credentials(key, secret), sandbox.base_url)
        for key, secret in sandbox.accounts.items()
    }


def test_a_blocking_call_returns_the_records_of_all_accounts() -> None:
    """Each record of each account is in the table once, by account, after the account's name."""
    with Sandbox(records=120, accounts=ACCOUNTS) as sandbox:
        table = read_table(LONG_AGO, accounts=accounts_of(sandbox))
        empty = read_table(LONG_AGO, LONG_AGO + timedelta(seconds=1), accounts=accounts_of(sandbox), of=SipRecord)

        names = list(zip(table["account"].to_pylist(), table["voice_id"].to_pylist(), strict=True))
        assert sorted(names) == sorted((key[:2], name) for key in ACCOUNTS for name in sandbox.ids(account=key))
    assert ["eu"] * 120 + ["us"] * 120 == [account for account, _ in names]
    assert schema(account=True) == table.schema
    assert (schema(SipRecord, account=True), 0) == (empty.schema, empty.num_rows)


def test_a_blocking_call_finds_accounts_in_the_environment(
    itnio_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without names it reads all accounts of the environment; an unknown name is an error."""
    for name, value in environment_of(itnio_sandbox).items():
        monkeypatch.setenv(name, value)

    assert 200 == read_table(LONG_AGO).num_rows == read_table(LONG_AGO, accounts=["default"]).num_rows
    with pytest.raises(ValueError, match="there is no account 'eu'"):
        read_table(LONG_AGO, accounts=["eu"])
    with pytest.raises(ValueError, match=r"accounts must be names such as \['default'\], not 'default'"):
        read_table(LONG_AGO, accounts="default")
    with pytest.raises(ValueError, match="accounts must be names"):
        read_table(LONG_AGO, accounts=5)  # type: ignore[arg-type]  # a wrong argument
    with pytest.raises(ValueError, match="accounts must not be empty"):
        read_table(LONG_AGO, accounts={})
    with pytest.raises(ValueError, match="offset"):
        read_table(LONG_AGO.replace(tzinfo=None))


def test_a_blocking_call_raises_the_error_of_an_account(itnio_sandbox: Sandbox) -> None:
    """An account that fails ends the call with its error, not a group; a note names the account."""
    account = Account("eu", Credentials(itnio_sandbox.api_key, "wrong"), itnio_sandbox.base_url)
    with pytest.raises(AuthenticationError) as caught:
        read_table(LONG_AGO, accounts={"eu": account})

    assert any("eu" in note for note in caught.value.__notes__)


def test_a_range_that_is_not_over_is_an_error(itnio_sandbox: Sandbox) -> None:
    """A table never ends earlier than the range: an end in the future is an error."""
    account = Account("eu", Credentials(itnio_sandbox.api_key, itnio_sandbox.api_secret), itnio_sandbox.base_url)
    with pytest.raises(IncompleteWindowError, match=r"account eu: .* is not over on the server's clock"):
        read_table(LONG_AGO, datetime.now(UTC) + timedelta(hours=1), accounts={"eu": account})


@pytest.mark.anyio
async def test_a_blocking_call_in_an_event_loop_is_an_error(
    itnio_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names what to use instead, and both work."""
    for name, value in environment_of(itnio_sandbox).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=r"await to_table\(session.records\(start, end\)\)"):
        read_table(LONG_AGO)

    assert 200 == (await anyio.to_thread.run_sync(read_table, LONG_AGO)).num_rows


def test_an_interrupt_ends_a_blocking_call(itnio_sandbox: Sandbox) -> None:
    """SIGINT ends the process, with no request in flight and no traceback of another thread."""
    itnio_sandbox.behaviour = Behaviour(latency=30)
    imports = "from datetime import *; from itnio_voice.outputs.arrow import read_table; "
    command = [sys.executable, "-c", imports + "read_table(datetime.now(UTC) - timedelta(1))"]
    environment = environment_of(itnio_sandbox)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        while not itnio_sandbox.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert -signal.SIGINT == process.returncode


@pytest.mark.parametrize("of", [VoiceRecord, SipRecord])
@pytest.mark.anyio
async def test_records_convert_to_dataframes(itnio_sandbox: Sandbox, of: type[Any]) -> None:
    """One call makes a DataFrame of pandas or polars, with the columns of the records' kind and exact amounts."""
    async with session_on(itnio_sandbox) as session:
        found = await session.records(LONG_AGO, of=of).collect()
    in_pandas: Any = to_pandas(found)
    in_polars = to_polars(iter(found), account="eu")

    assert schema(of).names == list(in_pandas.columns)
    assert ["account", *schema(of).names] == in_polars.columns
    cost = sum(record.cost or 0 for record in found)
    assert cost == in_pandas["cost"].sum() == in_polars["cost"].sum()
    assert pd.ArrowDtype(MONEY) == in_pandas["cost"].dtype
    assert schema(of).names == list(to_pandas([], of).columns)
    with pytest.raises(ValueError, match="must be of one kind: there are"):
        to_polars([*found, SipRecord() if of is VoiceRecord else VoiceRecord()])
